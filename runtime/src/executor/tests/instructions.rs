//! Lane-local instructions, each on 32 lanes of telling values, against the same in Rust.

use super::Kernel;

/// Operands where rules show: zeros, signs, extremes, subnormals, infinities, NaN.
fn operands() -> Vec<[u32; 3]> {
    let special = [
        0,
        1,
        2,
        31,
        32,
        33,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1234_5678,
        0x0000_ffff,
        0xffff_0000,
        0x3f80_0000,
        0xbf80_0000,
        0x7f80_0000,
        0xff80_0000,
        0x0000_0080,
        0x8000_8000,
        0x4049_0fdb,
        0xc2c8_0000,
    ];
    (0..32usize).map(|i| [special[i % 20], special[(7 * i + 3) % 20], special[(11 * i + 5) % 20]]).collect()
}

#[track_caller]
fn same(body: &str, want: impl Fn(u32, u32, u32) -> u32) {
    let input = operands();
    let got = Kernel::new(body).run(&input);
    for (lane, ([a, b, c], got)) in input.into_iter().zip(got).enumerate() {
        let want = want(a, b, c);
        assert_eq!(
            got, want,
            "{body}\nlane {lane}: a = {a:#x}, b = {b:#x}, c = {c:#x}: {got:#x}, expected {want:#x}"
        );
    }
}

#[track_caller]
fn same_f32(body: &str, want: impl Fn(f32, f32, f32) -> f32) {
    let input = operands();
    let got = Kernel::new(body).run(&input);
    for ([a, b, c], got) in input.into_iter().zip(got) {
        let (x, y, z, got) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c), f32::from_bits(got));
        let want = want(x, y, z);
        assert!(
            got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
            "{body}\n{x} {y} {z}: {got}, expected {want}"
        );
    }
}

#[test]
fn integer_arithmetic() {
    same("add.s32 %d, %a, %b;", |a, b, _| a.wrapping_add(b));
    same("sub.s32 %d, %a, 5;", |a, _, _| a.wrapping_sub(5));
    same("mul.lo.s32 %d, %a, %b;", |a, b, _| a.wrapping_mul(b));
    same("mul.hi.u32 %d, %a, %b;", |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    same("mul.hi.s32 %d, %a, %b;", |a, b, _| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32);
    same("mad.lo.s32 %d, %a, %b, %c;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    same("min.s32 %d, %a, %b;", |a, b, _| (a as i32).min(b as i32) as u32);
    same("max.u32 %d, %a, %b;", |a, b, _| a.max(b));
    same("neg.s32 %d, %a;", |a, _, _| a.wrapping_neg());
    same("abs.s32 %d, %a;", |a, _, _| (a as i32).wrapping_abs() as u32);
    same("div.s32 %d, %a, 7;", |a, _, _| (a as i32 / 7) as u32);
    same("rem.u32 %d, %a, 10;", |a, _, _| a % 10);
    same("sad.u32 %d, %a, %b, %c;", |a, b, c| a.abs_diff(b).wrapping_add(c));
    same("popc.b32 %d, %a;", |a, _, _| a.count_ones());
    same("clz.b32 %d, %a;", |a, _, _| a.leading_zeros());
    same("brev.b32 %d, %a;", |a, _, _| a.reverse_bits());
}

#[test]
fn wide_arithmetic() {
    let low_and_high = "mov.b64 {%r1, %r2}, %rd9; xor.b32 %d, %r1, %r2;";
    let fold = |v: u64| v as u32 ^ (v >> 32) as u32;
    let join = |a: u32, b: u32| u64::from(b) << 32 | u64::from(a);
    same(&format!("mul.wide.s32 %rd9, %a, %b; {low_and_high}"), |a, b, _| {
        fold((i64::from(a as i32) * i64::from(b as i32)) as u64)
    });
    same(&format!("mad.wide.u32 %rd9, %a, %b, %rd1; sub.s64 %rd9, %rd9, %rd1; {low_and_high}"), |a, b, _| {
        fold(u64::from(a) * u64::from(b))
    });
    let pack = "mov.b64 %rd3, {%a, %b}; mov.b64 %rd4, {%b, %c};";
    same(&format!("{pack} add.s64 %rd9, %rd3, %rd4; {low_and_high}"), |a, b, c| {
        fold(join(a, b).wrapping_add(join(b, c)))
    });
    same(&format!("{pack} mul.lo.s64 %rd9, %rd3, %rd4; {low_and_high}"), |a, b, c| {
        fold(join(a, b).wrapping_mul(join(b, c)))
    });
    same(&format!("{pack} max.s64 %rd9, %rd3, %rd4; {low_and_high}"), |a, b, c| {
        fold((join(a, b) as i64).max(join(b, c) as i64) as u64)
    });
    same(&format!("{pack} shl.b64 %rd9, %rd3, 13; {low_and_high}"), |a, b, _| fold(join(a, b) << 13));
    same(&format!("{pack} shr.s64 %rd9, %rd3, %c; {low_and_high}"), |a, b, c| {
        fold(((join(a, b) as i64) >> c.min(63)) as u64)
    });
    same(&format!("{pack} setp.lt.u64 %p1, %rd3, %rd4; selp.b32 %d, 1, 2, %p1;"), |a, b, c| {
        if join(a, b) < join(b, c) { 1 } else { 2 }
    });
    same(&format!("{pack} setp.gt.s64 %p1, %rd3, %rd4; selp.b32 %d, 1, 2, %p1;"), |a, b, c| {
        if join(a, b) as i64 > join(b, c) as i64 { 1 } else { 2 }
    });
    same(&format!("cvt.s64.s32 %rd9, %a; {low_and_high}"), |a, _, _| fold(a as i32 as i64 as u64));
    same(&format!("{pack} cvt.u32.u64 %d, %rd3;"), |a, _, _| a);
    same(
        &format!("{pack} selp.b64 %rd9, %rd3, %rd4, 1; {low_and_high}")
            .replace(", 1;", ", %p2;")
            .replace(pack, &format!("{pack} setp.ne.b32 %p2, %c, 0;")),
        |a, b, c| fold(if c != 0 { join(a, b) } else { join(b, c) }),
    );
}

#[test]
fn logic_and_shifts() {
    same("and.b32 %d, %a, %b;", |a, b, _| a & b);
    same("not.b32 %d, %a;", |a, _, _| !a);
    same("shl.b32 %d, %a, %b;", |a, b, _| a.checked_shl(b).unwrap_or(0));
    same("shr.u32 %d, %a, 40;", |_, _, _| 0);
    same("shr.s32 %d, %a, %b;", |a, b, _| ((a as i32) >> b.min(31)) as u32);
    same("shr.s32 %d, %a, 40;", |a, _, _| ((a as i32) >> 31) as u32);
    same("bfe.u32 %d, %a, 4, 8;", |a, _, _| a >> 4 & 0xff);
    same("bfe.s32 %d, %a, 8, 16;", |a, _, _| (a >> 8) as u16 as i16 as i32 as u32);
    same("bfi.b32 %d, %a, %b, 8, 4;", |a, b, _| (b & !0xf00) | (a & 15) << 8);
    same("prmt.b32 %d, %a, %b, 0x5410;", |a, b, _| a & 0xffff | b << 16);
    same("shf.l.wrap.b32 %d, %a, %b, %c;", |a, b, c| {
        (((u64::from(b) << 32 | u64::from(a)) << (c & 31)) >> 32) as u32
    });
    for lut in [0x00u32, 0x1e, 0x96, 0xe8, 0xca, 0xfe, 0x80, 0x2d, 0xb4, 0x6a, 0xff, 0xd8, 0x47] {
        same(&format!("lop3.b32 %d, %a, %b, %c, {lut};"), |a, b, c| {
            (0..32)
                .fold(0, |d, i| d | (lut >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i)
        });
    }
}

#[test]
fn sixteen_bits() {
    let split = "mov.b32 {%h1, %h2}, %a; mov.b32 {%h3, %h4}, %b;";
    let low = |v: u32| v as u16;
    same(&format!("{split} add.s16 %h5, %h1, %h3; cvt.u32.u16 %d, %h5;"), |a, b, _| {
        low(a).wrapping_add(low(b)).into()
    });
    same(&format!("{split} cvt.s32.s16 %d, %h2;"), |a, _, _| (a as i32 >> 16) as u32);
    same(&format!("{split} max.s16 %h5, %h1, %h3; mov.b32 %d, {{%h5, %h2}};"), |a, b, _| {
        u32::from((low(a) as i16).max(low(b) as i16) as u16) | a & 0xffff_0000
    });
    same(&format!("{split} shr.s16 %h5, %h1, 3; cvt.u32.u16 %d, %h5;"), |a, _, _| {
        (((low(a) as i16) >> 3) as u16).into()
    });
    same(&format!("{split} mul.wide.s16 %d, %h1, %h3;"), |a, b, _| {
        (i32::from(low(a) as i16) * i32::from(low(b) as i16)) as u32
    });
    same(&format!("{split} setp.lt.s16 %p1, %h1, %h3; selp.b32 %d, 1, 0, %p1;"), |a, b, _| {
        ((low(a) as i16) < low(b) as i16).into()
    });
    same("cvt.u32.u8 %d, %a;", |a, _, _| a & 0xff);
    same("cvt.s32.s8 %d, %a;", |a, _, _| a as u8 as i8 as i32 as u32);
    same("cvt.sat.u8.s32 %d, %a;", |a, _, _| (a as i32).clamp(0, 255) as u32);
}

#[test]
fn predicates() {
    same("setp.lt.s32 %p1, %a, %b; selp.b32 %d, %a, %b, %p1;", |a, b, _| (a as i32).min(b as i32) as u32);
    same(
        "setp.lt.u32 %p1|%p2, %a, %b; selp.b32 %r1, 1, 0, %p1; selp.b32 %r2, 2, 0, %p2; or.b32 %d, %r1, %r2;",
        |a, b, _| {
            if a < b { 1 } else { 2 }
        },
    );
    same("setp.ne.s32 %p3, %c, 0; setp.eq.and.b32 %p1, %a, %b, !%p3; @%p1 mov.b32 %d, 9;", |a, b, c| {
        if a == b && c == 0 { 9 } else { 0 }
    });
    same(
        "setp.hi.u32 %p1, %a, %b; not.pred %p2, %p1; xor.pred %p3, %p1, %p2; @!%p2 add.s32 %d, %d, 4; @%p3 add.s32 %d, %d, 1;",
        |a, b, _| {
            if a > b { 5 } else { 1 }
        },
    );
    // A guarded comparison that overwrites its own guard, twice.
    same(
        "setp.ne.u32 %p1, %a, 0; setp.ne.u32 %p2, %a, %a; @%p1 setp.lt.u32 %p1|%p2, %a, %b; selp.b32 %r1, 1, 0, %p1; selp.b32 %d, 2, %r1, %p2;",
        |a, b, _| {
            if a == 0 {
                0
            } else if a < b {
                1
            } else {
                2
            }
        },
    );
    same("set.lt.u32.s32 %d, %a, %b;", |a, b, _| if (a as i32) < b as i32 { u32::MAX } else { 0 });
}

const INTO: &str = "mov.b32 %f1, %a; mov.b32 %f2, %b; mov.b32 %f3, %c;";

#[track_caller]
fn float(op: &str, want: impl Fn(f32, f32, f32) -> f32) {
    same_f32(&format!("{INTO} {op} mov.b32 %d, %f9;"), want);
}

fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

#[test]
fn floats() {
    float("add.f32 %f9, %f1, %f2;", |a, b, _| a + b);
    float("sub.rn.f32 %f9, %f1, %f2;", |a, b, _| a - b);
    float("mul.ftz.f32 %f9, %f1, %f2;", |a, b, _| flush(flush(a) * flush(b)));
    float("fma.rn.f32 %f9, %f1, %f2, %f3;", |a, b, c| a.mul_add(b, c));
    float("fma.rn.ftz.f32 %f9, %f1, %f2, %f3;", |a, b, c| flush(flush(a).mul_add(flush(b), flush(c))));
    float("min.f32 %f9, %f1, %f2;", |a, b, _| {
        if a.is_nan() {
            b
        } else if b.is_nan() {
            a
        } else {
            a.min(b)
        }
    });
    float("max.f32 %f9, %f1, %f2;", |a, b, _| {
        if a.is_nan() {
            b
        } else if b.is_nan() {
            a
        } else {
            a.max(b)
        }
    });
    float("max.NaN.f32 %f9, %f1, %f2;", |a, b, _| if a.is_nan() || b.is_nan() { f32::NAN } else { a.max(b) });
    float("neg.f32 %f9, %f1;", |a, _, _| -a);
    float("abs.f32 %f9, %f1;", |a, _, _| a.abs());
    float("div.rn.f32 %f9, %f1, %f2;", |a, b, _| a / b);
    float("div.full.f32 %f9, %f1, %f2;", |a, b, _| a / b);
    float("sqrt.rn.f32 %f9, %f1;", |a, _, _| a.sqrt());
    float("add.sat.f32 %f9, %f1, %f2;", |a, b, _| if a + b > 0.0 { (a + b).min(1.0) } else { 0.0 });
    float("ex2.approx.f32 %f9, %f3;", |_, _, c| c.exp2());
    float("copysign.f32 %f9, %f1, %f2;", |a, b, _| b.copysign(a));
}

// Written as the ISA has it: what NaN does is the point.
#[allow(clippy::double_comparisons, clippy::neg_cmp_op_on_partial_ord)]
#[test]
fn float_comparisons() {
    for (op, want) in [
        ("eq", (|a, b| a == b) as fn(f32, f32) -> bool),
        ("ne", |a, b| a < b || a > b),
        ("lt", |a, b| a < b),
        ("ge", |a, b| a >= b),
        ("neu", |a, b| a != b),
        ("ltu", |a, b| !(a >= b)),
        ("geu", |a, b| !(a < b)),
        ("equ", |a, b| !(a < b || a > b)),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ] {
        same(&format!("{INTO} setp.{op}.f32 %p1, %f1, %f2; selp.b32 %d, 1, 0, %p1;"), |a, b, _| {
            want(f32::from_bits(a), f32::from_bits(b)).into()
        });
    }
}

#[test]
fn conversions() {
    same_f32("cvt.rn.f32.s32 %f9, %a; mov.b32 %d, %f9;", |a, _, _| a.to_bits() as i32 as f32);
    same_f32("cvt.rn.f32.u32 %f9, %a; mov.b32 %d, %f9;", |a, _, _| a.to_bits() as f32);
    same(&format!("{INTO} cvt.rzi.s32.f32 %d, %f1;"), |a, _, _| f32::from_bits(a) as i32 as u32);
    same(&format!("{INTO} cvt.rni.s32.f32 %d, %f1;"), |a, _, _| {
        f32::from_bits(a).round_ties_even() as i32 as u32
    });
    same(&format!("{INTO} cvt.rzi.u32.f32 %d, %f1;"), |a, _, _| f32::from_bits(a) as u32);
    same(
        &format!("{INTO} cvt.rn.f16.f32 %h1, %f1; mov.b32 %d, {{%h1, %h1}}; and.b32 %d, %d, 0xffff;"),
        |a, _, _| {
            let x = f32::from_bits(a);
            if x.is_nan() { 0x7fff } else { half::f16::from_f32(x).to_bits().into() }
        },
    );
    same_f32("mov.b32 {%h1, %h2}, %a; cvt.f32.f16 %f9, %h2; mov.b32 %d, %f9;", |a, _, _| {
        half::f16::from_bits((a.to_bits() >> 16) as u16).to_f32()
    });
    same(&format!("{INTO} cvt.rn.bf16x2.f32 %d, %f1, %f2;"), |a, b, _| {
        let one = |v: u32| {
            let x = f32::from_bits(v);
            if x.is_nan() { 0x7fff } else { u32::from(half::bf16::from_f32(x).to_bits()) }
        };
        one(a) << 16 | one(b)
    });
    same(
        &format!(
            "{INTO} cvt.f64.f32 %fd1, %f1; cvt.rn.f64.s32 %fd2, %b; fma.rn.f64 %fd3, %fd1, %fd2, %fd1; cvt.rni.s32.f64 %d, %fd3;"
        ),
        |a, b, _| {
            let (x, y) = (f64::from(f32::from_bits(a)), f64::from(b as i32));
            x.mul_add(y, x).round_ties_even() as i32 as u32
        },
    );
}

#[test]
fn halves() {
    let f16 = |bits: u32| half::f16::from_bits(bits as u16).to_f32();
    let both = |a: u32, b: u32, f: fn(f32, f32) -> f32| {
        let one = |a: u32, b: u32| {
            let x = f(f16(a), f16(b));
            if x.is_nan() { 0x7fff } else { u32::from(half::f16::from_f32(x).to_bits()) }
        };
        one(a & 0xffff, b & 0xffff) | one(a >> 16, b >> 16) << 16
    };
    same("add.f16x2 %d, %a, %b;", |a, b, _| both(a, b, |x, y| x + y));
    same("mul.rn.f16x2 %d, %a, %b;", |a, b, _| both(a, b, |x, y| x * y));
}

#[test]
fn special_registers_and_cross_lane() {
    let lanes = |f: fn(u32) -> u32| (0..32).map(f).collect::<Vec<_>>();
    let run = |body: &str| Kernel::new(body).run(&[]);
    assert_eq!(run("mov.u32 %d, %laneid;"), lanes(|l| l));
    assert_eq!(run("mov.u32 %d, %lanemask_lt;"), lanes(|l| (1 << l) - 1));
    assert_eq!(run("mov.u32 %d, %ntid.x;"), lanes(|_| 32));
    assert_eq!(run("shfl.sync.bfly.b32 %d, %t, 5, 31, -1;"), lanes(|l| l ^ 5));
    assert_eq!(
        run("shfl.sync.down.b32 %d|%p1, %t, 3, 31, -1; @!%p1 mov.b32 %d, 99;"),
        lanes(|l| if l + 3 < 32 { l + 3 } else { 99 })
    );
    assert_eq!(run("shfl.sync.up.b32 %d, %t, 2, 0, -1;"), lanes(|l| if l < 2 { l } else { l - 2 }));
    assert_eq!(run("shfl.sync.idx.b32 %d, %t, 1, 0x181f, -1;"), lanes(|l| l / 8 * 8 + 1));
    assert_eq!(
        run("and.b32 %r1, %t, 1; setp.eq.u32 %p1, %r1, 0; vote.sync.ballot.b32 %d, %p1, -1;"),
        lanes(|_| 0x5555_5555)
    );
    assert_eq!(
        run("setp.lt.u32 %p1, %t, 40; vote.sync.all.pred %p2, %p1, -1; selp.b32 %d, 7, 0, %p2;"),
        lanes(|_| 7)
    );
    assert_eq!(run("redux.sync.add.s32 %d, %t, -1;"), lanes(|_| 496));
    assert_eq!(run("shr.u32 %r1, %t, 3; match.any.sync.b32 %d, %r1, -1;"), lanes(|l| 0xff << (l / 8 * 8)));
}

#[test]
fn dot_products_of_bytes() {
    let s8 = |w: u32, i: u32| i32::from((w >> (8 * i)) as i8);
    let u8 = |w: u32, i: u32| i32::from((w >> (8 * i)) as u8);
    let s16 = |w: u32, i: u32| i32::from((w >> (16 * i)) as i16);
    same("dp4a.s32.s32 %d, %a, %b, %c;", |a, b, c| {
        (0..4).fold(c, |sum, i| sum.wrapping_add((s8(a, i) * s8(b, i)) as u32))
    });
    same("dp4a.u32.s32 %d, %a, %b, %c;", |a, b, c| {
        (0..4).fold(c, |sum, i| sum.wrapping_add((u8(a, i) * s8(b, i)) as u32))
    });
    same("dp2a.hi.s32.u32 %d, %a, %b, %c;", |a, b, c| {
        (0..2).fold(c, |sum, i| sum.wrapping_add((s16(a, i) * u8(b, 2 + i)) as u32))
    });
}

#[test]
fn integers_become_halves_in_one_rounding() {
    same("cvt.rn.f16.s32 %h1, %a;\ncvt.u32.u16 %d, %h1;", |a, _, _| {
        let x = f64::from(a as i32);
        // The nearest f16 by search over its neighbours.
        let start = half::f16::from_f64(x).to_bits();
        let best = (start.saturating_sub(1)..=start.saturating_add(1)).min_by(|p, q| {
            let value = |bits: u16| match half::f16::from_bits(bits).to_f64() {
                v if v.is_infinite() => 65536f64.copysign(v),
                v => v,
            };
            let (dp, dq) = ((value(*p) - x).abs(), (value(*q) - x).abs());
            dp.total_cmp(&dq).then((p & 1).cmp(&(q & 1)))
        });
        best.map_or(0, u32::from)
    });
}

#[test]
fn carries() {
    let fold = |v: u64| v as u32 ^ (v >> 32) as u32;
    let join = |a: u32, b: u32| u64::from(b) << 32 | u64::from(a);
    let xor = "xor.b32 %d, %r1, %r2;";
    same(&format!("add.cc.u32 %r1, %a, %b; addc.u32 %r2, %b, %c; {xor}"), |a, b, c| {
        fold(join(a, b).wrapping_add(join(b, c)))
    });
    same(&format!("sub.cc.u32 %r1, %a, %b; subc.u32 %r2, %b, %c; {xor}"), |a, b, c| {
        fold(join(a, b).wrapping_sub(join(b, c)))
    });
    // Three words: the middle one takes and gives a carry.
    let three = |sub: bool| {
        move |a: u32, b: u32, c: u32| {
            let (x, y) =
                (u128::from(join(a, b)) | u128::from(c) << 64, u128::from(join(b, c)) | u128::from(a) << 64);
            let sum = if sub { x.wrapping_sub(y) } else { x.wrapping_add(y) };
            sum as u32 ^ (sum >> 32) as u32 ^ (sum >> 64) as u32
        }
    };
    let more = "xor.b32 %d, %d, %r3;";
    same(
        &format!("add.cc.s32 %r1, %a, %b; addc.cc.s32 %r2, %b, %c; addc.s32 %r3, %c, %a; {xor} {more}"),
        three(false),
    );
    same(
        &format!("sub.cc.s32 %r1, %a, %b; subc.cc.s32 %r2, %b, %c; subc.s32 %r3, %c, %a; {xor} {more}"),
        three(true),
    );
    // 32 x 32 + 64 bits.
    same(&format!("mad.lo.cc.u32 %r1, %a, %b, %c; madc.hi.u32 %r2, %a, %b, %a; {xor}"), |a, b, c| {
        fold((u64::from(a) * u64::from(b)).wrapping_add(join(c, a)))
    });
    same(&format!("mad.lo.cc.s32 %r1, %a, %b, %c; madc.hi.s32 %r2, %a, %b, %a; {xor}"), |a, b, c| {
        fold((i64::from(a as i32) * i64::from(b as i32)).wrapping_add(join(c, a) as i64) as u64)
    });
    same(
        &format!(
            "mad.hi.cc.u32 %r1, %a, %b, %c; madc.lo.cc.u32 %r2, %a, %b, %a; addc.u32 %r3, 0, 0; {xor} {more}"
        ),
        |a, b, c| {
            let product = u64::from(a) * u64::from(b);
            let first = (product >> 32) + u64::from(c);
            let second = (product & 0xffff_ffff) + u64::from(a) + (first >> 32);
            first as u32 ^ second as u32 ^ (second >> 32) as u32
        },
    );
    // 64-bit words, and a carry that a guard keeps from being written.
    let pack = "mov.b64 %rd3, {%a, %b}; mov.b64 %rd4, {%b, %c};";
    same(
        &format!(
            "{pack} add.cc.u64 %rd5, %rd3, %rd4; addc.u64 %rd6, %rd4, %rd3; cvt.u32.u64 %r1, %rd5; cvt.u32.u64 %r2, %rd6; {xor}"
        ),
        |a, b, c| {
            let (low, carry) = join(a, b).overflowing_add(join(b, c));
            low as u32 ^ low.wrapping_add(carry.into()) as u32
        },
    );
    same(
        &format!(
            "{pack} mad.lo.cc.u64 %rd5, %rd3, %rd4, %rd3; madc.hi.u64 %rd6, %rd3, %rd4, %rd4; cvt.u32.u64 %r1, %rd5; cvt.u32.u64 %r2, %rd6; {xor}"
        ),
        |a, b, c| {
            let (x, y) = (u128::from(join(a, b)), u128::from(join(b, c)));
            let all = (x * y).wrapping_add(x | y << 64);
            all as u32 ^ (all >> 64) as u32
        },
    );
    same(
        "setp.ne.u32 %p1, %c, 0; sub.cc.u32 %r1, 0, 1; @%p1 add.cc.u32 %r1, %a, %b; addc.u32 %d, 0, 0;",
        |a, b, c| {
            if c != 0 { u32::from(a.checked_add(b).is_none()) } else { 1 }
        },
    );
}

#[test]
fn every_function_of_three_bits() {
    for lut in 0..256u32 {
        same(&format!("lop3.b32 %d, %a, %b, %c, {lut};"), |a, b, c| {
            let index = |i: u32| 4 * (a >> i & 1) + 2 * (b >> i & 1) + (c >> i & 1);
            (0..32).fold(0, |d, i| d | (lut >> index(i) & 1) << i)
        });
    }
    // Into one of its operands.
    same("lop3.b32 %a, %a, %b, %c, 0xca;\nmov.b32 %d, %a;", |a, b, c| (a & b) | (!a & c));
}

#[test]
fn bytes_shifts_and_fields_at_known_places() {
    let joined = |a: u32, b: u32| u64::from(b) << 32 | u64::from(a);
    for n in [0, 1, 13, 31, 32, 33, 45] {
        let (wrapped, clamped) = (n & 31, n.min(32));
        for (mode, n_used) in [("wrap", wrapped), ("clamp", clamped)] {
            same(&format!("shf.l.{mode}.b32 %d, %a, %b, {n};"), |a, b, _| {
                (joined(a, b) << n_used >> 32) as u32 | if n_used == 32 { a } else { 0 }
            });
            same(&format!("shf.r.{mode}.b32 %d, %a, %b, {n};"), |a, b, _| (joined(a, b) >> n_used) as u32);
        }
    }
    for select in [0x3210u32, 0x7531, 0x0000, 0x6543, 0x5140, 0x7777, 0xba98] {
        same(&format!("prmt.b32 %d, %a, %b, {select};"), |a, b, _| {
            (0..4).fold(0, |d, i| {
                let pick = select >> (4 * i) & 15;
                let byte = (joined(a, b) >> (8 * (pick & 7)) & 0xff) as u32;
                d | if pick & 8 == 0 { byte } else { 0xff * (byte >> 7) } << (8 * i)
            })
        });
    }
    for (pos, len) in [(0, 1), (4, 8), (31, 1), (28, 8), (0, 32), (7, 0), (33, 4), (5, 200)] {
        same(&format!("bfi.b32 %d, %a, %b, {pos}, {len};"), |a, b, _| {
            let inside = |i: u32| i >= pos && i < pos + len && pos < 32;
            (0..32).fold(0, |d, i| d | if inside(i) { a >> (i - pos) & 1 } else { b >> i & 1 } << i)
        });
        for (ty, signed) in [("u32", false), ("s32", true)] {
            // By registers, which are calls, and as literals.
            let model = |a: u32| {
                let sign = if signed && len > 0 { a >> (pos + len - 1).min(31) & 1 } else { 0 };
                (0..32)
                    .fold(0, |d, i| d | if i < len && pos + i < 32 { a >> (pos + i) & 1 } else { sign } << i)
            };
            same(&format!("bfe.{ty} %d, %a, {pos}, {len};"), |a, _, _| model(a));
            let moved = format!("mov.b32 %r1, {pos};\nmov.b32 %r2, {len};\nbfe.{ty} %d, %a, %r1, %r2;");
            same(&moved, |a, _, _| model(a));
        }
    }
}
