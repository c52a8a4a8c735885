//! `wmma`: matrices in memory times matrices in memory, for every type, shape and layout.
//!
//! Fragments are opaque, so what is compared is memory: D as stored against a scalar product of A, B and C as they lie there. Values are small integers.

use super::super::super::{Arg, FindingKind};
use super::{Hopper, POINTER};

#[derive(Clone, Copy, Debug, PartialEq)]
struct Ty(&'static str, usize);

impl Ty {
    /// The bits of a small integer.
    fn code(self, value: i32) -> u64 {
        match self.0 {
            "f16" => half::f16::from_f32(value as f32).to_bits().into(),
            "bf16" => half::bf16::from_f32(value as f32).to_bits().into(),
            "tf32" | "f32" => (value as f32).to_bits().into(),
            "f64" => f64::from(value).to_bits(),
            _ => value as u64 & ((1 << self.1) - 1),
        }
    }

    fn value(self, dice: &mut u64) -> i32 {
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (*dice >> 33) as i32;
        match self.0 {
            "u8" | "u4" => x % 4,
            "b1" => x % 2,
            _ => x % 7 - 3,
        }
    }
}

/// `rows` x `columns` values in memory, in rows or in columns, `stride` elements apart.
struct Matrix {
    ty: Ty,
    values: Vec<Vec<i32>>,
    in_rows: bool,
    stride: usize,
}

impl Matrix {
    fn new(ty: Ty, rows: usize, columns: usize, layout: &str, extra: usize, dice: &mut u64) -> Matrix {
        let in_rows = layout == "row";
        let stride = if in_rows { columns } else { rows } + extra;
        let values = (0..rows).map(|_| (0..columns).map(|_| ty.value(dice)).collect()).collect();
        Matrix { ty, values, in_rows, stride }
    }

    fn bytes(&self) -> Vec<u8> {
        let lines = if self.in_rows { self.values.len() } else { self.values[0].len() };
        let mut out = vec![0; lines * self.stride * self.ty.1 / 8];
        for (r, row) in self.values.iter().enumerate() {
            for (c, &value) in row.iter().enumerate() {
                let at = if self.in_rows { r * self.stride + c } else { c * self.stride + r };
                for bit in 0..self.ty.1 {
                    let to = at * self.ty.1 + bit;
                    out[to / 8] |= ((self.ty.code(value) >> bit & 1) as u8) << (to % 8);
                }
            }
        }
        out
    }
}

#[derive(Clone, Copy, Debug)]
struct Case {
    shape: (usize, usize, usize),
    factors: (Ty, Ty),
    sums: (Ty, Ty),
    layouts: (&'static str, &'static str, &'static str),
    /// Elements between lines, beyond their length; none: the stride is not said.
    extra: usize,
    /// Through shared memory, and with a generic address of A.
    shared: bool,
}

const F16: Ty = Ty("f16", 16);
const BF16: Ty = Ty("bf16", 16);
const TF32: Ty = Ty("tf32", 32);
const F32: Ty = Ty("f32", 32);
const F64: Ty = Ty("f64", 64);
const S32: Ty = Ty("s32", 32);

fn registers(case: &Case) -> [usize; 4] {
    let (m, n, k) = case.shape;
    let of = |elements: usize, ty: Ty| (elements * ty.1 / 1024).max(1);
    let sums = |ty: Ty| if ty == F64 { m * n / 32 } else { of(m * n, ty) };
    let (a, b) = match case.factors.0 {
        F16 => (8, 8),
        F64 => (1, 1),
        ty => (of(m * k, ty), of(n * k, ty)),
    };
    [sums(case.sums.0), a, b, sums(case.sums.1)]
}

fn check(case: Case) {
    let mut dice = (case.shape.0 * 7 + case.extra + case.factors.0.1) as u64;
    let (m, n, k) = case.shape;
    let (a_layout, b_layout, c_layout) = case.layouts;
    let (a_ty, b_ty) = case.factors;
    // Lines begin at multiples of 16 bytes.
    let (extra_a, extra_c) = (case.extra * 128 / a_ty.1, case.extra * 128 / case.sums.1.1);
    let a = Matrix::new(a_ty, m, k, a_layout, extra_a, &mut dice);
    let b = Matrix::new(b_ty, k, n, b_layout, extra_a, &mut dice);
    let c = Matrix::new(case.sums.1, m, n, c_layout, extra_c, &mut dice);
    let mut d = Matrix::new(case.sums.0, m, n, c_layout, case.extra * 128 / case.sums.0.1, &mut dice);
    let blank = vec![0u8; d.bytes().len()];
    for (r, row) in d.values.iter_mut().enumerate() {
        for (j, value) in row.iter_mut().enumerate() {
            let product: i32 = (0..k)
                .map(|i| {
                    let (x, y) = (a.values[r][i], b.values[i][j]);
                    if a_ty.0 == "b1" { x ^ y } else { x * y }
                })
                .sum();
            *value = c.values[r][j] + product;
        }
    }
    let [d_count, a_count, b_count, c_count] = registers(&case);
    let wide = if a_ty == F64 { "%fd" } else { "%r" };
    let list = |first: usize, count: usize| {
        let all: Vec<String> = (first..first + count).map(|i| format!("{wide}{i}")).collect();
        format!("{{{}}}", all.join(", "))
    };
    let (ra, rb, rc, rd) = (list(100, a_count), list(120, b_count), list(140, c_count), list(160, d_count));
    let shape = format!("m{m}n{n}k{k}");
    let stride = |matrix: &Matrix| {
        if case.extra == 0 { String::new() } else { format!(", {}", matrix.stride) }
    };
    let mut body = ".reg .f64 %fd<200>;\n".to_string();
    let space = if case.shared { "shared" } else { "global" };
    let (pa, pb, pc, pd) = if case.shared {
        for (i, bytes) in [a.bytes(), b.bytes(), c.bytes()].iter().enumerate() {
            body += &super::fill(i, 4096 * i as u32, bytes.len() as u32, 32);
        }
        body += "bar.sync 0;\ncvta.shared.u64 %rd7, %rd6;\n";
        body = body.replacen("bar.sync 0;", "bar.sync 0;\ncvt.u64.u32 %rd6, %smem;", 1);
        ("%rd7", "%smem+4096", "%smem+8192", "%smem+12288")
    } else {
        ("%g0", "%g1", "%g2", "%g3")
    };
    let a_space = if case.shared { String::new() } else { format!(".{space}") };
    // A stride in a register, one as a literal.
    body += &format!("mov.b32 %r9, {};\n", a.stride);
    let a_stride = if case.extra == 0 { "" } else { ", %r9" };
    body += &format!(
        "wmma.load.a.sync.aligned.{a_layout}.{shape}{a_space}.{} {ra}, [{pa}]{a_stride};\n\
         wmma.load.b.sync.aligned.{b_layout}.{shape}.{space}.{} {rb}, [{pb}]{};\n\
         wmma.load.c.sync.aligned.{c_layout}.{shape}.{space}.{} {rc}, [{pc}]{};\n",
        a_ty.0,
        b_ty.0,
        stride(&b),
        case.sums.1.0,
        stride(&c)
    );
    let (op, types) = match a_ty.0 {
        "f16" => ("", format!("{}.{}", case.sums.0.0, case.sums.1.0)),
        "b1" => (".xor.popc", "s32.b1.b1.s32".into()),
        ty => ("", format!("{}.{ty}.{}.{}", case.sums.0.0, b_ty.0, case.sums.1.0)),
    };
    // D over C where they are alike, so that what is read must be read before it is written.
    let rd = if case.sums.0 == case.sums.1 && case.extra == 0 { rc.clone() } else { rd };
    body += &format!(
        "wmma.mma{op}.sync.aligned.{a_layout}.{b_layout}.{shape}.{types} {rd}, {ra}, {rb}, {rc};\n\
         wmma.store.d.sync.aligned.{c_layout}.{shape}.{space}.{} [{pd}], {rd}{};\n",
        case.sums.0.0,
        stride(&d)
    );
    if case.shared {
        body = format!("{}{body}", super::fill(3, 12288, blank.len() as u32, 32));
        body += "bar.sync 0;\n";
        body += &super::drain(3, 12288, blank.len() as u32, 32);
    }
    let kernel = Hopper::new(&[POINTER; 4], body);
    let out = kernel.run(&[0, 1, 2, 3].map(Arg::buffer), &[a.bytes(), b.bytes(), c.bytes(), blank]);
    // -0 and +0 are the same sum: no product of these is -0, and no sum either.
    assert_eq!(out[3], d.bytes(), "{case:?}");
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let any = [(16, 16, 16), (32, 8, 16), (8, 32, 16)];
    let bytes = [("s8", "s8"), ("u8", "u8"), ("s8", "u8"), ("u8", "s8")];
    let mut add = |shapes: &[(usize, usize, usize)], factors: (Ty, Ty), sums: &[(Ty, Ty)], fixed: bool| {
        for &shape in shapes {
            for &sums in sums {
                for a in if fixed { &["row"][..] } else { &["row", "col"] } {
                    for b in if fixed { &["col"][..] } else { &["row", "col"] } {
                        for c in ["row", "col"] {
                            let (extra, shared) = ((all.len() % 3 != 0) as usize, all.len() % 4 == 1);
                            all.push(Case { shape, factors, sums, layouts: (a, b, c), extra, shared });
                        }
                    }
                }
            }
        }
    };
    add(&any, (F16, F16), &[(F32, F32), (F16, F16), (F32, F16), (F16, F32)], false);
    add(&any, (BF16, BF16), &[(F32, F32)], false);
    for (a, b) in bytes {
        add(&any, (Ty(a, 8), Ty(b, 8)), &[(S32, S32)], false);
    }
    add(&[(16, 16, 8)], (TF32, TF32), &[(F32, F32)], false);
    add(&[(8, 8, 4)], (F64, F64), &[(F64, F64)], false);
    for (a, b) in [("s4", "s4"), ("u4", "u4")] {
        add(&[(8, 8, 32)], (Ty(a, 4), Ty(b, 4)), &[(S32, S32)], true);
    }
    add(&[(8, 8, 128)], (Ty("b1", 1), Ty("b1", 1)), &[(S32, S32)], true);
    all
}

#[test]
fn every_type_shape_and_layout_multiplies() {
    let all = cases();
    assert!(all.len() > 200, "{}", all.len());
    all.into_iter().for_each(check);
}

#[test]
fn what_is_loaded_may_be_overwritten_by_the_product() {
    // D in registers of A: later tiles must not read what earlier ones wrote.
    let body = "wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r10, %r11, %r12, %r13, %r14, %r15, %r16, %r17}, [%g0];\n\
        wmma.load.b.sync.aligned.col.m16n16k16.global.f16 {%r20, %r21, %r22, %r23, %r24, %r25, %r26, %r27}, [%g0];\n\
        wmma.load.c.sync.aligned.row.m16n16k16.global.f16 {%r30, %r31, %r32, %r33}, [%g0];\n\
        wmma.mma.sync.aligned.row.col.m16n16k16.f16.f16 {%r10, %r11, %r12, %r13}, {%r10, %r11, %r12, %r13, %r14, %r15, %r16, %r17}, \
        {%r20, %r21, %r22, %r23, %r24, %r25, %r26, %r27}, {%r30, %r31, %r32, %r33};\n\
        wmma.store.d.sync.aligned.row.m16n16k16.global.f16 [%g1], {%r10, %r11, %r12, %r13};\n";
    // A is the unit matrix twice over: D = A * A^T + A.
    let element = |r: usize, c: usize| half::f16::from_f32(if r == c { 2.0 } else { 0.0 }).to_le_bytes();
    let unit: Vec<u8> = (0..256).flat_map(|i| element(i / 16, i % 16)).collect();
    let want: Vec<u8> = (0..256)
        .flat_map(|i| half::f16::from_f32(if i / 16 == i % 16 { 6.0 } else { 0.0 }).to_le_bytes())
        .collect();
    let out = Hopper::new(&[POINTER; 2], body).run(&[Arg::buffer(0), Arg::buffer(1)], &[unit, vec![0; 512]]);
    assert_eq!(out[1], want);
}

#[test]
fn fragments_are_checked_as_other_accesses_are() {
    let store = "mov.b32 %r10, 0;\nmov.b32 %r11, 0;\nmov.b32 %r12, 0;\nmov.b32 %r13, 0;\nmov.b32 %r14, 0;\nmov.b32 %r15, 0;\nmov.b32 %r16, 0;\nmov.b32 %r17, 0;\n\
        wmma.store.d.sync.aligned.row.m16n16k16.shared.f32 [%smem], {%r10, %r11, %r12, %r13, %r14, %r15, %r16, %r17};\n";
    let load = "wmma.load.a.sync.aligned.row.m16n16k16.shared.f16 {%r20, %r21, %r22, %r23, %r24, %r25, %r26, %r27}, [%smem];\n";
    let kinds = |body: String| {
        let kernel = Hopper::new(&[POINTER], body).block(64).shared(1024);
        kernel.kinds_any(&[Arg::buffer(0)], &[vec![0; 16]])
    };
    // Warp 0 stores, warp 1 loads, without a barrier.
    let body = format!("setp.ne.u32 %p1, %w, 0;\n@%p1 bra LOAD;\n{store}bra END;\nLOAD:\n{load}END:\n");
    assert!(kinds(body).iter().any(|k| matches!(k, FindingKind::Race | FindingKind::Uninitialized)));
    let far = store.replace("[%smem]", "[%smem+512]");
    assert!(kinds(far).contains(&FindingKind::OutOfBounds));
    // Half of a warp.
    let half = format!(
        "and.b32 %r1, %t, 16;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra END;\n{store}bra LAST;\nEND:\nadd.u32 %r1, %r1, 1;\nLAST:\n"
    );
    assert!(kinds(half).contains(&FindingKind::Divergence));
}
