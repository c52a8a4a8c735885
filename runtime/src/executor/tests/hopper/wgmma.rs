//! `wgmma` against a scalar product: every type, both places of A, all layouts of shared operands.
//!
//! Values are small integers, so every sum is exact in every type and the order of additions does not matter.

use super::super::super::{Arg, FindingKind};
use super::{Hopper, POINTER, fill};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ty {
    F16,
    Bf16,
    Tf32,
    E4m3,
    E5m2,
    S8,
    U8,
    B1,
}

impl Ty {
    fn bits(self) -> usize {
        match self {
            Ty::F16 | Ty::Bf16 => 16,
            Ty::Tf32 => 32,
            Ty::B1 => 1,
            _ => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Ty::F16 => "f16",
            Ty::Bf16 => "bf16",
            Ty::Tf32 => "tf32",
            Ty::E4m3 => "e4m3",
            Ty::E5m2 => "e5m2",
            Ty::S8 => "s8",
            Ty::U8 => "u8",
            Ty::B1 => "b1",
        }
    }

    /// The bits of -2, -1, 0, 1, 2 (0, 1, 2 and 0, 1 for types without the others).
    fn code(self, value: i32) -> u32 {
        let sign = u32::from(value < 0);
        match self {
            Ty::F16 => half::f16::from_f32(value as f32).to_bits().into(),
            Ty::Bf16 => half::bf16::from_f32(value as f32).to_bits().into(),
            Ty::Tf32 => (value as f32).to_bits(),
            Ty::E4m3 => sign << 7 | [0, 0x38, 0x40][value.unsigned_abs() as usize],
            Ty::E5m2 => sign << 7 | [0, 0x3c, 0x40][value.unsigned_abs() as usize],
            Ty::S8 | Ty::U8 => value as u32 & 0xff,
            Ty::B1 => value as u32,
        }
    }

    fn value(self, dice: &mut u64) -> i32 {
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = (*dice >> 33) as i32;
        match self {
            Ty::U8 => x % 3,
            Ty::B1 => x % 2,
            _ => x % 5 - 2,
        }
    }
}

/// A matrix of `rows` (M or N) by K elements of 32 bytes, `k` slices of them.
struct Matrix {
    ty: Ty,
    values: Vec<Vec<i32>>,
}

impl Matrix {
    fn new(ty: Ty, rows: usize, depth: usize, dice: &mut u64) -> Matrix {
        Matrix { ty, values: (0..rows).map(|_| (0..depth).map(|_| ty.value(dice)).collect()).collect() }
    }

    /// 16 bytes from element `k` of row `row`, along K.
    fn along_k(&self, row: usize, k: usize) -> [u8; 16] {
        let mut out = [0; 16];
        let bits = self.ty.bits();
        for i in 0..128 / bits {
            let code = self.ty.code(self.values[row][k + i]);
            for b in 0..bits {
                out[(i * bits + b) / 8] |= ((code >> b & 1) as u8) << ((i * bits + b) % 8);
            }
        }
        out
    }

    /// Eight 16-bit elements from row `row` on, at `k`.
    fn along_rows(&self, row: usize, k: usize) -> [u8; 16] {
        let mut out = [0; 16];
        for i in 0..8 {
            let code = self.ty.code(self.values[row + i][k]) as u16;
            out[2 * i..2 * i + 2].copy_from_slice(&code.to_le_bytes());
        }
        out
    }
}

/// A matrix in shared memory as a tensor copy would leave it, and how its slice of K is described.
struct Placed {
    bytes: Vec<u8>,
    /// Leading and stride offsets, swizzle mode, start of slice `s`.
    leading: u32,
    stride: u32,
    mode: u64,
    slice: u32,
}

/// Rows of `span` bytes along K (or along the rows, `transposed`), groups of 16 bytes permuted by the row's number; `span` 0: pieces of 8 rows
/// of 16 bytes.
fn place(m: &Matrix, span: usize, transposed: bool, depth: usize) -> Placed {
    let rows = m.values.len();
    let per = 128 / m.ty.bits();
    let mode = match span {
        128 => 1,
        64 => 2,
        32 => 3,
        _ => 0,
    };
    let permuted = |line: usize, group: usize| match span {
        128 => group ^ (line % 8),
        64 => group ^ (line / 2 % 4),
        32 => group ^ (line / 4 % 2),
        _ => group,
    };
    if span == 0 && !transposed {
        // Piece (row / 8, k / 16 bytes): pieces along K are adjacent.
        let mut bytes = vec![0; rows * depth * m.ty.bits() / 8];
        let pieces = depth / per;
        for row in 0..rows {
            for piece in 0..pieces {
                let at = (row / 8 * pieces + piece) * 128 + row % 8 * 16;
                bytes[at..at + 16].copy_from_slice(&m.along_k(row, piece * per));
            }
        }
        return Placed { bytes, leading: 128, stride: 128 * pieces as u32, mode, slice: 256 };
    }
    if !transposed {
        // Tiles of `span` bytes of K, one behind the other; all rows of a tile.
        let (groups, tiles) = (span / 16, depth * m.ty.bits() / 8 / span);
        let mut bytes = vec![0; rows * span * tiles];
        for tile in 0..tiles {
            for row in 0..rows {
                for group in 0..groups {
                    let at = tile * rows * span + row * span + 16 * permuted(row, group);
                    bytes[at..at + 16].copy_from_slice(&m.along_k(row, (tile * groups + group) * per));
                }
            }
        }
        assert_eq!(tiles, 1, "slices of one tile");
        return Placed { bytes, leading: 16, stride: 8 * span as u32, mode, slice: 32 };
    }
    if span == 0 {
        // Piece (row / 8, k / 8): 8 values of k, each 8 rows; pieces along the rows are adjacent.
        let pieces = rows / 8;
        let mut bytes = vec![0; rows * depth * 2];
        for k in 0..depth {
            for piece in 0..pieces {
                let at = (k / 8 * pieces + piece) * 128 + k % 8 * 16;
                bytes[at..at + 16].copy_from_slice(&m.along_rows(8 * piece, k));
            }
        }
        let leading = 128 * pieces as u32;
        return Placed { bytes, leading, stride: 128, mode, slice: 2 * leading };
    }
    // Tiles of `span` bytes of rows; in each a line of `span` bytes for every k.
    let (groups, wide) = (span / 16, span / 2);
    let tiles = rows.div_ceil(wide);
    let mut bytes = vec![0; tiles * depth * span];
    for tile in 0..tiles {
        for k in 0..depth {
            for group in 0..groups {
                let row = tile * wide + 8 * group;
                if row < rows {
                    let at = tile * depth * span + k * span + 16 * permuted(k, group);
                    bytes[at..at + 16].copy_from_slice(&m.along_rows(row, k));
                }
            }
        }
    }
    let leading = (depth * span) as u32;
    Placed { bytes, leading, stride: 8 * span as u32, mode, slice: 16 * span as u32 }
}

fn descriptor(p: &Placed, start: u32, slice: u32) -> u64 {
    let start = start + slice * p.slice;
    u64::from(start >> 4) | u64::from(p.leading >> 4) << 16 | u64::from(p.stride >> 4) << 32 | p.mode << 62
}

#[derive(Clone, Copy, Debug)]
struct Case {
    a: Ty,
    b: Ty,
    /// f16 sums instead of f32.
    half: bool,
    n: usize,
    spans: (usize, usize),
    transposed: (bool, bool),
    from_registers: bool,
    signs: (i32, i32),
    /// D is not added in the first product.
    fresh: bool,
}

const B_AT: u32 = 32768;

fn check(case: Case, seed: u64) {
    let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bits = case.a.bits();
    let per_slice = 256 / bits;
    // Two slices where they lie in one tile.
    let slices = if case.spans.0 == 32 || case.spans.1 == 32 { 1 } else { 2 };
    let shallow = |span: usize, transposed: bool| {
        if span == 0 || transposed { slices * per_slice } else { span * 8 / bits }
    };
    let depth = |span, transposed| shallow(span, transposed).max(slices * per_slice);
    let a = Matrix::new(case.a, 64, depth(case.spans.0, case.transposed.0), &mut dice);
    let b = Matrix::new(case.b, case.n, depth(case.spans.1, case.transposed.1), &mut dice);
    let placed_a = place(&a, case.spans.0, case.transposed.0, a.values[0].len());
    let placed_b = place(&b, case.spans.1, case.transposed.1, b.values[0].len());
    let integer = matches!(case.a, Ty::S8 | Ty::U8 | Ty::B1);
    let registers = if case.half { case.n / 4 } else { case.n / 2 };
    let start: Vec<i32> = (0..registers * 128 * 2).map(|_| Ty::S8.value(&mut dice)).collect();

    let d: Vec<String> = (0..registers).map(|i| format!("%r{}", 100 + i)).collect();
    let mut body = String::new();
    body += &fill(0, 0, placed_a.bytes.len() as u32, 128);
    body += &fill(1, B_AT, placed_b.bytes.len() as u32, 128);
    for (i, d) in d.iter().enumerate() {
        body += &format!("mad.wide.u32 %rd1, %t, 4, %g2;\nld.global.b32 {d}, [%rd1+{}];\n", 512 * i);
    }
    body += "fence.proxy.async.shared::cta;\nbar.sync 0;\n";
    for slice in 0..slices as u32 {
        for i in 0..if case.from_registers { 4 } else { 0 } {
            let at = 512 * (4 * slice + i);
            body += &format!(
                "mad.wide.u32 %rd1, %t, 4, %g3;\nld.global.b32 %r{}, [%rd1+{at}];\n",
                10 + 4 * slice + i
            );
        }
    }
    body += "wgmma.fence.sync.aligned;\n";
    for slice in 0..slices as u32 {
        let first = if slice == 0 && case.fresh { 0 } else { 1 };
        body += &format!(
            "mov.b64 %rd2, {};\nmov.b64 %rd3, {};\nsetp.ne.b32 %p1, {first}, 0;\n",
            descriptor(&placed_a, 0, slice),
            descriptor(&placed_b, B_AT, slice),
        );
        let a_operand = if case.from_registers {
            let r = 10 + 4 * slice;
            format!("{{%r{}, %r{}, %r{}, %r{}}}", r, r + 1, r + 2, r + 3)
        } else {
            "%rd2".into()
        };
        let mut tail = String::new();
        if !integer {
            tail += &format!(", {}, {}", case.signs.0, case.signs.1);
        }
        if bits == 16 {
            if !case.from_registers {
                tail += &format!(", {}", u8::from(case.transposed.0));
            }
            tail += &format!(", {}", u8::from(case.transposed.1));
        }
        body += &format!(
            "wgmma.mma_async.sync.aligned.m64n{}k{}.{}.{}.{}{} {{{}}}, {a_operand}, %rd3, %p1{tail};\n",
            case.n,
            per_slice,
            if integer {
                "s32"
            } else if case.half {
                "f16"
            } else {
                "f32"
            },
            case.a.name(),
            case.b.name(),
            if case.a == Ty::B1 { ".and.popc" } else { "" },
            d.join(", ")
        );
    }
    body += "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n";
    for (i, d) in d.iter().enumerate() {
        body += &format!("mad.wide.u32 %rd1, %t, 4, %g2;\nst.global.b32 [%rd1+{}], {d};\n", 512 * i);
    }

    // Accumulators: register i of thread t, as the ISA's table has it.
    let place_of = |t: usize, i: usize, e: usize| {
        let (w, l) = (t / 32, t % 32);
        let (i, column) = if case.half { (2 * i, 2 * (l % 4) + e) } else { (i, 2 * (l % 4) + i % 2) };
        (16 * w + l / 4 + 8 * (i / 2 % 2), 8 * (i / 4) + column)
    };
    let elements = if case.half { 2 } else { 1 };
    let mut sums = vec![0u8; registers * 512];
    let mut want = vec![0u8; registers * 512];
    for t in 0..128 {
        for i in 0..registers {
            let (mut before, mut after) = (0u32, 0u32);
            for e in 0..elements {
                let (row, column) = place_of(t, i, e);
                let c = start[(i * 128 + t) * 2 + e];
                let product: i32 =
                    (0..slices * per_slice).map(|k| a.values[row][k] * b.values[column][k]).sum();
                let sum = if case.fresh { 0 } else { c } + case.signs.0 * case.signs.1 * product;
                let code = |x: i32| {
                    if integer {
                        x as u32
                    } else if case.half {
                        Ty::F16.code(x) << (16 * e)
                    } else {
                        (x as f32).to_bits()
                    }
                };
                before |= code(c);
                after |= code(sum);
            }
            let at = (i * 128 + t) * 4;
            sums[at..at + 4].copy_from_slice(&before.to_le_bytes());
            want[at..at + 4].copy_from_slice(&after.to_le_bytes());
        }
    }
    // A in registers: register i of thread t holds the 32 bits from k = (32 / bits)·(t % 4) + (i / 2)·(128 / bits) of its row.
    let mut fragments = vec![0u8; slices * 4 * 512];
    for slice in 0..slices {
        for i in 0..4 {
            for t in 0..128 {
                let row = 16 * (t / 32) + t % 32 / 4 + 8 * (i % 2);
                let k = slice * per_slice + 128 / bits * (i / 2);
                let at = ((slice * 4 + i) * 128 + t) * 4;
                fragments[at..at + 4].copy_from_slice(&a.along_k(row, k)[4 * (t % 4)..][..4]);
            }
        }
    }
    let kernel = Hopper::new(&[POINTER; 4], body).block(128).shared(2 * B_AT);
    let args = [0, 1, 2, 3].map(Arg::buffer);
    let out = kernel.run(&args, &[placed_a.bytes, placed_b.bytes, sums, fragments]);
    // -0 and +0 are the same sum.
    let normal = |bytes: &[u8]| -> Vec<u32> {
        super::words(bytes)
            .into_iter()
            .map(|w| {
                if integer {
                    return w;
                }
                let zero = |x: u32, sign: u32| if x == sign { 0 } else { x };
                if case.half {
                    zero(w & 0xffff, 0x8000) | zero(w >> 16, 0x8000) << 16
                } else {
                    zero(w, 1 << 31)
                }
            })
            .collect()
    };
    assert_eq!(normal(&out[2]), normal(&want), "{case:?}");
}

const PLAIN: Case = Case {
    a: Ty::F16,
    b: Ty::F16,
    half: false,
    n: 16,
    spans: (128, 128),
    transposed: (false, false),
    from_registers: false,
    signs: (1, 1),
    fresh: false,
};

#[test]
fn every_type_multiplies() {
    let pairs = [
        (Ty::F16, Ty::F16),
        (Ty::Bf16, Ty::Bf16),
        (Ty::Tf32, Ty::Tf32),
        (Ty::E4m3, Ty::E4m3),
        (Ty::E4m3, Ty::E5m2),
        (Ty::E5m2, Ty::E4m3),
        (Ty::E5m2, Ty::E5m2),
        (Ty::S8, Ty::S8),
        (Ty::U8, Ty::S8),
        (Ty::S8, Ty::U8),
        (Ty::U8, Ty::U8),
        (Ty::B1, Ty::B1),
    ];
    for (seed, (a, b)) in pairs.into_iter().enumerate() {
        for from_registers in [false, true] {
            check(Case { a, b, from_registers, fresh: from_registers, ..PLAIN }, seed as u64);
            if matches!(a, Ty::F16 | Ty::E4m3 | Ty::E5m2) {
                check(Case { a, b, half: true, from_registers, ..PLAIN }, seed as u64);
            }
        }
    }
}

#[test]
fn every_swizzle_is_read() {
    for (seed, span) in [0, 32, 64, 128].into_iter().enumerate() {
        for other in [0, 128] {
            check(Case { spans: (span, other), ..PLAIN }, seed as u64);
            check(Case { spans: (other, span), a: Ty::S8, b: Ty::S8, ..PLAIN }, seed as u64);
        }
    }
}

#[test]
fn transposed_operands_are_read() {
    for (seed, span) in [0, 32, 64, 128].into_iter().enumerate() {
        for transposed in [(true, false), (false, true), (true, true)] {
            let spans = (if transposed.0 { span } else { 128 }, if transposed.1 { span } else { 128 });
            check(Case { transposed, spans, n: 72, ..PLAIN }, seed as u64);
        }
    }
}

#[test]
fn every_width_has_its_columns() {
    for n in [8, 24, 64, 104, 256] {
        check(Case { n, ..PLAIN }, n as u64);
        check(Case { n, half: true, ..PLAIN }, n as u64);
    }
    check(Case { n: 256, a: Ty::S8, b: Ty::U8, ..PLAIN }, 1);
}

#[test]
fn signs_negate_factors() {
    for signs in [(-1, 1), (1, -1), (-1, -1)] {
        check(Case { signs, ..PLAIN }, 3);
        check(Case { signs, a: Ty::E4m3, b: Ty::E5m2, from_registers: true, ..PLAIN }, 4);
        check(Case { signs, a: Ty::Tf32, b: Ty::Tf32, ..PLAIN }, 5);
    }
}

/// A product whose operands 128 threads write, with everything that orders it.
const WHOLE: &str = "mad.lo.u32 %r1, %t, 16, %smem;\nmov.b32 %r2, 0;\nst.shared.v4.b32 [%r1], {%r2, %r2, %r2, %r2};\n\
    st.shared.v4.b32 [%r1+2048], {%r2, %r2, %r2, %r2};\nmov.b32 %r4, 0;\nmov.b32 %r5, 0;\nmov.b32 %r6, 0;\nmov.b32 %r7, 0;\n\
    fence.proxy.async.shared::cta;\nbar.sync 0;\nmov.b64 %rd2, 70368744243200;\nwgmma.fence.sync.aligned;\n\
    wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%r4, %r5, %r6, %r7}, %rd2, %rd2, 1, 1, 1, 0, 0;\n\
    wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nadd.u32 %r8, %r4, %r5;\nst.shared.v4.b32 [%r1], {%r8, %r2, %r2, %r2};\n";

fn broken(from: &str, to: &str) -> Hopper {
    let body = WHOLE.replacen(from, to, 1);
    assert!(body != WHOLE || from == to, "`{from}` is not in the kernel");
    // The warps read each other's operands: before they are overwritten they meet.
    let body = body.replace("add.u32 %r8", "bar.sync 1;\nadd.u32 %r8");
    Hopper::new(&[POINTER], body).block(128)
}

fn kinds(from: &str, to: &str) -> Vec<FindingKind> {
    broken(from, to).kinds(&[Arg::buffer(0)], &[vec![0; 16]])
}

#[test]
fn what_orders_a_product_is_needed() {
    assert_eq!(kinds("", ""), []);
    assert_eq!(kinds("fence.proxy.async.shared::cta;\n", ""), [FindingKind::ProxyFence]);
    assert_eq!(kinds("wgmma.fence.sync.aligned;\n", ""), [FindingKind::Race]);
    let in_flight = [FindingKind::AsyncInFlight];
    assert_eq!(kinds("wgmma.wait_group.sync.aligned 0;\n", ""), in_flight);
    assert_eq!(kinds("wgmma.wait_group.sync.aligned 0", "wgmma.wait_group.sync.aligned 1"), in_flight);
    assert_eq!(kinds("wgmma.commit_group.sync.aligned;\n", ""), in_flight);
    let unordered = broken("bar.sync 0;\n", "").kinds_any(&[Arg::buffer(0)], &[vec![0; 16]]);
    assert!(unordered.contains(&FindingKind::Race), "{unordered:?}");
}

#[test]
fn descriptors_stay_inside() {
    let far = "mov.b64 %rd2, 70368744260607;";
    assert!(kinds("mov.b64 %rd2, 70368744243200;", far).contains(&FindingKind::OutOfBounds));
}

/// A sparse product of one slice: A stored, its metadata random, against the same with zeros.
fn check_sparse((a_ty, b_ty): (Ty, Ty), half: bool, from_registers: bool, span: usize, selector: usize) {
    let mut dice = (a_ty.bits() * 3 + span + selector) as u64;
    let (bits, n) = (a_ty.bits(), 24);
    let (stored, depth) = (256 / bits, 512 / bits);
    let a = Matrix::new(a_ty, 64, (128 * 8 / bits).max(stored), &mut dice);
    let b = Matrix::new(b_ty, n, if span == 0 { depth } else { span * 8 / bits }, &mut dice);
    let (placed_a, placed_b) =
        (place(&a, 128, false, a.values[0].len()), place(&b, span, false, b.values[0].len()));
    // The place of each stored element, and 2 bits for each (4 for tf32).
    let mut places = vec![vec![0; stored]; 64];
    let mut metadata = vec![0u8; 512];
    let mut set = |lane: usize, shift: usize, code: u32| {
        let at = &mut metadata[4 * lane..4 * lane + 4];
        let word = u32::from_le_bytes([at[0], at[1], at[2], at[3]]) | code << shift;
        at.copy_from_slice(&word.to_le_bytes());
    };
    for (row, places) in places.iter_mut().enumerate() {
        let lanes = 32 * (row / 16) + 4 * (row % 8);
        let upper = row / 8 % 2;
        if bits == 32 {
            for (s, place) in places.iter_mut().enumerate() {
                let second = U1.value(&mut dice) as usize;
                *place = 2 * s + second;
                set(lanes + 2 * selector + s / 4, 16 * upper + 4 * (s % 4), [0b0100, 0b1110][second]);
            }
            continue;
        }
        for chunk in 0..stored / 2 {
            let pick = (U1.value(&mut dice) + 2 * U1.value(&mut dice) + U1.value(&mut dice)) as usize;
            let (first, second) = [(0, 1), (0, 3), (1, 2), (2, 3), (1, 3)][pick];
            (places[2 * chunk], places[2 * chunk + 1]) = (4 * chunk + first, 4 * chunk + second);
            let code = (first | second << 2) as u32;
            if bits == 16 {
                set(lanes + 2 * selector + chunk / 4, 16 * upper + 4 * (chunk % 4), code);
            } else {
                set(lanes + upper + 2 * (chunk / 8), 4 * (chunk % 8), code);
            }
        }
    }
    let registers = if half { n / 4 } else { n / 2 };
    let d: Vec<String> = (0..registers).map(|i| format!("%r{}", 100 + i)).collect();
    let integer = matches!(a_ty, Ty::S8 | Ty::U8);
    let mut body =
        fill(0, 0, placed_a.bytes.len() as u32, 128) + &fill(1, B_AT, placed_b.bytes.len() as u32, 128);
    body += "fence.proxy.async.shared::cta;\nbar.sync 0;\n";
    for i in 0..4 {
        body += &format!("mad.wide.u32 %rd1, %t, 4, %g4;\nld.global.b32 %r{}, [%rd1+{}];\n", 10 + i, 512 * i);
    }
    body += "mad.wide.u32 %rd1, %t, 4, %g3;\nld.global.b32 %r20, [%rd1];\n";
    body += &format!(
        "mov.b64 %rd2, {};\nmov.b64 %rd3, {};\nwgmma.fence.sync.aligned;\n",
        descriptor(&placed_a, 0, 0),
        descriptor(&placed_b, B_AT, 0)
    );
    let operand = if from_registers { "{%r10, %r11, %r12, %r13}" } else { "%rd2" };
    let tail = match (integer, bits, from_registers) {
        (true, ..) => "",
        (false, 16, true) => ", 1, 1, 0",
        (false, 16, false) => ", 1, 1, 0, 0",
        _ => ", 1, 1",
    };
    let sum = if integer {
        "s32"
    } else if half {
        "f16"
    } else {
        "f32"
    };
    body += &format!(
        "wgmma.mma_async.sp.sync.aligned.m64n{n}k{depth}.{sum}.{}.{} {{{}}}, {operand}, %rd3, %r20, {selector}, 0{tail};\n\
         wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n",
        a_ty.name(),
        b_ty.name(),
        d.join(", ")
    );
    for (i, d) in d.iter().enumerate() {
        body += &format!("mad.wide.u32 %rd1, %t, 4, %g2;\nst.global.b32 [%rd1+{}], {d};\n", 512 * i);
    }
    let mut fragments = vec![0u8; 4 * 512];
    for i in 0..4 {
        for t in 0..128 {
            let row = 16 * (t / 32) + t % 32 / 4 + 8 * (i % 2);
            let at = (i * 128 + t) * 4;
            fragments[at..at + 4].copy_from_slice(&a.along_k(row, 128 / bits * (i / 2))[4 * (t % 4)..][..4]);
        }
    }
    let kernel = Hopper::new(&[POINTER; 5], body).block(128).shared(2 * B_AT);
    let buffers = [placed_a.bytes, placed_b.bytes, vec![0; registers * 512], metadata, fragments];
    let out = kernel.run(&[0, 1, 2, 3, 4].map(Arg::buffer), &buffers);
    for (number, got) in super::words(&out[2]).into_iter().enumerate() {
        let (i, t) = (number / 128, number % 128);
        for e in 0..if half { 2 } else { 1 } {
            let l = t % 32;
            let (i, column) = if half { (2 * i, 2 * (l % 4) + e) } else { (i, 2 * (l % 4) + i % 2) };
            let (row, column) = (16 * (t / 32) + l / 4 + 8 * (i / 2 % 2), 8 * (i / 4) + column);
            let want: i32 = (0..stored).map(|s| a.values[row][s] * b.values[column][places[row][s]]).sum();
            let got = match (integer, half) {
                (true, _) => got as i32,
                (_, true) => half::f16::from_bits((got >> (16 * e)) as u16).to_f32() as i32,
                _ => f32::from_bits(got) as i32,
            };
            assert_eq!(got, want, "{a_ty:?} {b_ty:?} span {span} at ({row}, {column})");
        }
    }
}

/// Coins.
const U1: Ty = Ty::B1;

#[test]
fn sparse_products_take_what_the_metadata_says() {
    for from_registers in [false, true] {
        for span in [0, 64, 128] {
            for selector in 0..2 {
                for ty in [Ty::F16, Ty::Bf16, Ty::Tf32] {
                    check_sparse((ty, ty), false, from_registers, span, selector);
                }
                check_sparse((Ty::F16, Ty::F16), true, from_registers, span, selector);
            }
            for pair in [(Ty::E4m3, Ty::E5m2), (Ty::E5m2, Ty::E5m2), (Ty::S8, Ty::S8), (Ty::U8, Ty::S8)] {
                check_sparse(pair, false, from_registers, span, 0);
            }
            check_sparse((Ty::E4m3, Ty::E4m3), true, from_registers, span, 0);
        }
    }
}

#[test]
fn one_thread_may_free_a_slot_for_the_warpgroup() {
    // Ones everywhere; thread 0 overwrites B when its own warp has waited. Products are the whole warpgroup's, so those of the others are done.
    let mut body = String::from(
        "shl.b32 %r1, %t, 4;\nadd.u32 %r1, %r1, %smem;\nmov.b32 %r2, 0x3c003c00;\nst.shared.v4.b32 [%r1], {%r2, %r2, %r2, %r2};\n\
         setp.lt.u32 %p1, %t, 16;\n@%p1 st.shared.v4.b32 [%r1+4096], {%r2, %r2, %r2, %r2};\nfence.proxy.async.shared::cta;\nbar.sync 0;\n\
         cvt.u64.u32 %rd1, %smem;\nshr.u64 %rd1, %rd1, 4;\nor.b64 %rd1, %rd1, 0x1000080000;\nadd.s64 %rd2, %rd1, 256;\nmov.b32 %r3, 0;\n\
         wgmma.fence.sync.aligned;\n\
         wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%r10, %r11, %r12, %r13}, %rd1, %rd2, 0, 1, 1, 0, 0;\n\
         wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nsetp.ne.u32 %p2, %t, 0;\n@%p2 bra STORE;\n",
    );
    for at in 0..16 {
        body += &format!("st.shared.v4.b32 [%smem+{}], {{%r3, %r3, %r3, %r3}};\n", 4096 + 16 * at);
    }
    body += "STORE: mad.wide.u32 %rd3, %t, 16, %g0;\nst.global.v4.b32 [%rd3], {%r10, %r11, %r12, %r13};";
    let kernel = Hopper::new(&[POINTER], body.clone()).block(128);
    let out = kernel.run(&[Arg::buffer(0)], &[vec![0; 2048]]);
    assert_eq!(super::words(&out[0]), [16f32.to_bits(); 512]);
    // Without the wait nothing is done, and those of other warps may not have begun.
    let early = Hopper::new(&[POINTER], body.replace("wgmma.wait_group.sync.aligned 0;", "")).block(128);
    assert_eq!(
        early.kinds(&[Arg::buffer(0)], &[vec![0; 2048]]),
        [FindingKind::Race, FindingKind::AsyncInFlight]
    );
}
