//! Forms that compilers seldom write: directed roundings, saturating and flushing halves, packed integers, searches for bits. The
//! models here are written from the ISA and share nothing with the executor.

use half::{bf16, f16};

use super::Kernel;

/// Operands where rules show.
fn operands() -> Vec<[u32; 3]> {
    let words = [
        0,
        1,
        0x8000,
        0x3c00_bc00,
        0x0001_8001,
        0x7c00_fc00,
        0x7e00_3800,
        0x3f80_bf80,
        0x0040_8040,
        0x7f80_ff80,
        0x7fc0_3f00,
        0xffff_ffff,
        0x7fff_ffff,
        0x8000_0000,
        0x1234_5678,
        0x8765_4321,
        0x3f80_0001,
        0x7f7f_ffff,
        0x0000_0400,
        0x4170_0000,
        0x4f80_0000,
        0xcf00_0001,
        0x477f_f000,
        0x00ff_00ff,
        0x3dcc_cccd,
        0x3eaa_aaab,
    ];
    (0..64usize).map(|i| [words[i % 26], words[(7 * i + 3) % 26], words[(11 * i + 5) % 26]]).collect()
}

#[track_caller]
fn same(body: &str, want: impl Fn(u32, u32, u32) -> u32) {
    let input = operands();
    let got = Kernel::new(body).block(64).run(&input);
    for ([a, b, c], got) in input.into_iter().zip(got) {
        let want = want(a, b, c);
        assert_eq!(got, want, "{body}\na = {a:#x}, b = {b:#x}, c = {c:#x}: {got:#x}, expected {want:#x}");
    }
}

fn pairs(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

/// f16 in f64: exact for sums and products.
fn f16s(f: impl Fn(f64, f64) -> f64) -> impl Fn(u16, u16) -> u16 {
    move |a, b| {
        let value = f(f16::from_bits(a).to_f64(), f16::from_bits(b).to_f64());
        if value.is_nan() { 0x7fff } else { f16::from_f64_const(value).to_bits() }
    }
}

fn flushed(bits: u16) -> u16 {
    if f16::from_bits(bits).to_f64().abs() < 2f64.powi(-14) { bits & 0x8000 } else { bits }
}

fn clamped(bits: u16) -> u16 {
    let value = f16::from_bits(bits).to_f64();
    if value > 1.0 {
        0x3c00
    } else if value > 0.0 {
        bits
    } else {
        0
    }
}

#[test]
fn halves_flush_and_saturate() {
    same("add.ftz.f16x2 %d, %a, %b;", |a, b, _| {
        pairs(a, b, |x, y| flushed(f16s(|x, y| x + y)(flushed(x), flushed(y))))
    });
    same("mul.sat.f16x2 %d, %a, %b;", |a, b, _| pairs(a, b, |x, y| clamped(f16s(|x, y| x * y)(x, y))));
    same("sub.ftz.sat.f16x2 %d, %a, %b;", |a, b, _| {
        pairs(a, b, |x, y| clamped(flushed(f16s(|x, y| x - y)(flushed(x), flushed(y)))))
    });
    same("fma.rn.ftz.sat.f16x2 %d, %a, %b, %a;", |a, b, _| {
        pairs(a, b, |x, y| clamped(flushed(f16s(|x, y| x * y + x)(flushed(x), flushed(y)))))
    });
    same("abs.ftz.f16x2 %d, %a;", |a, _, _| pairs(a, 0, |x, _| flushed(x) & 0x7fff));
    same("min.xorsign.abs.f16x2 %d, %a, %b;", |a, b, _| {
        pairs(a, b, |x, y| {
            let (p, q) = (f16::from_bits(x & 0x7fff), f16::from_bits(y & 0x7fff));
            let least = if q.is_nan() || p.to_f64() < q.to_f64() { p } else { q };
            let bits = if p.is_nan() && q.is_nan() { 0x7fff } else { least.to_bits() };
            bits | (x ^ y) & 0x8000
        })
    });
    same("max.NaN.xorsign.abs.bf16x2 %d, %a, %b;", |a, b, _| {
        pairs(a, b, |x, y| {
            let (p, q) = (bf16::from_bits(x & 0x7fff), bf16::from_bits(y & 0x7fff));
            let bits = if p.is_nan() || q.is_nan() { 0x7fff } else { p.to_bits().max(q.to_bits()) };
            bits | (x ^ y) & 0x8000
        })
    });
}

#[test]
fn comparisons_of_halves() {
    let less = |a: u16, b: u16| f16::from_bits(a).to_f64() < f16::from_bits(b).to_f64();
    same("set.lt.f16x2.f16x2 %d, %a, %b;", |a, b, _| pairs(a, b, |x, y| if less(x, y) { 0x3c00 } else { 0 }));
    same("set.geu.bf16x2.bf16x2 %d, %a, %b;", |a, b, _| {
        pairs(a, b, |x, y| {
            let below = bf16::from_bits(x).to_f64() < bf16::from_bits(y).to_f64();
            if below { 0 } else { 0x3f80 }
        })
    });
    same(
        "setp.lt.f16x2 %p1|%p2, %a, %b; selp.b32 %r1, 1, 0, %p1; selp.b32 %r2, 2, 0, %p2; or.b32 %d, %r1, %r2;",
        |a, b, _| {
            u32::from(less(a as u16, b as u16)) | u32::from(less((a >> 16) as u16, (b >> 16) as u16)) << 1
        },
    );
    same(
        "mov.b32 {%h1, %h2}, %a; mov.b32 {%h3, %h4}, %b; set.lt.ftz.u32.f16 %r1, %h1, %h3; set.lt.u16.f16 %h5, %h2, %h4; cvt.u32.u16 %r2, %h5; xor.b32 %d, %r1, %r2;",
        |a, b, _| {
            let low = less(flushed(a as u16), flushed(b as u16));
            let high = less((a >> 16) as u16, (b >> 16) as u16);
            (if low { u32::MAX } else { 0 }) ^ (if high { 0xffff } else { 0 })
        },
    );
}

#[test]
fn directed_roundings_of_f32() {
    // Division is judged by its remainder, the rest by exact f64.
    let into = "mov.b32 %f1, %a; mov.b32 %f2, %b; mov.b32 %f3, %c;";
    let f = f32::from_bits;
    let step = |value: f64, up: bool| {
        let nearest = value as f32;
        if value.is_nan() {
            return 0x7fff_ffff;
        }
        let exact = f64::from(nearest);
        let result = match (up, exact < value, exact > value) {
            (true, true, _) => nearest.next_up(),
            (false, _, true) => nearest.next_down(),
            _ => nearest,
        };
        result.to_bits()
    };
    same(&format!("{into} mul.rp.f32 %f4, %f1, %f2; mov.b32 %d, %f4;"), |a, b, _| {
        step(f64::from(f(a)) * f64::from(f(b)), true)
    });
    same(&format!("{into} mul.rm.f32 %f4, %f1, %f2; mov.b32 %d, %f4;"), |a, b, _| {
        step(f64::from(f(a)) * f64::from(f(b)), false)
    });
    same(
        &format!(
            "{into} cvt.f64.f32 %fd1, %f1; cvt.f64.f32 %fd2, %f2; add.f64 %fd1, %fd1, %fd2; cvt.rp.f32.f64 %f4, %fd1; mov.b32 %d, %f4;"
        ),
        |a, b, _| step(f64::from(f(a)) + f64::from(f(b)), true),
    );
    same("cvt.rm.f32.s32 %f4, %a; mov.b32 %d, %f4;", |a, _, _| step(f64::from(a as i32), false));
    same("cvt.rp.f32.u32 %f4, %a; mov.b32 %d, %f4;", |a, _, _| step(f64::from(a), true));
}

#[test]
fn saturating_conversions() {
    let pack = "mov.b64 %rd3, {%a, %b};";
    let wide = |a: u32, b: u32| u64::from(b) << 32 | u64::from(a);
    same(&format!("{pack} cvt.sat.s32.s64 %d, %rd3;"), |a, b, _| {
        (wide(a, b) as i64).clamp(i32::MIN.into(), i32::MAX.into()) as u32
    });
    same(&format!("{pack} cvt.sat.u8.u64 %d, %rd3;"), |a, b, _| wide(a, b).min(255) as u32);
    same(&format!("{pack} cvt.sat.s16.u64 %d, %rd3;"), |a, b, _| wide(a, b).min(0x7fff) as u32);
    same("cvt.sat.u64.s32 %rd3, %a; cvt.u32.u64 %d, %rd3;", |a, _, _| (a as i32).max(0) as u32);
    same(
        &format!("{pack} cvt.sat.s64.u64 %rd4, %rd3; mov.b64 {{%r1, %r2}}, %rd4; xor.b32 %d, %r1, %r2;"),
        |a, b, _| {
            let v = wide(a, b).min(i64::MAX as u64);
            v as u32 ^ (v >> 32) as u32
        },
    );
    let half = |v: f64| if v.is_nan() { 0x7fff } else { f16::from_f64_const(v).to_bits() };
    same("cvt.rn.sat.f16.s32 %h1, %a; cvt.u32.u16 %d, %h1;", |a, _, _| {
        half(f64::from(a as i32).clamp(0.0, 1.0)).into()
    });
    same(
        &format!("{pack} mov.b64 %fd1, %rd3; cvt.rn.sat.f16.f64 %h1, %fd1; cvt.u32.u16 %d, %h1;"),
        |a, b, _| {
            let v = f64::from_bits(wide(a, b));
            half(if v > 0.0 { v.min(1.0) } else { 0.0 }).into()
        },
    );
    same(
        "mov.b32 %f1, %a; cvt.sat.f64.f32 %fd1, %f1; cvt.rn.f32.f64 %f2, %fd1; mov.b32 %d, %f2;",
        |a, _, _| {
            let v = f32::from_bits(a);
            (if v > 0.0 { v.min(1.0) } else { 0.0 }).to_bits()
        },
    );
    same("mov.b32 %f1, %a; mov.b32 %f2, %b; cvt.rn.satfinite.f16x2.f32 %d, %f1, %f2;", |a, b, _| {
        let one = |bits: u32| {
            let v = f32::from_bits(bits);
            if v.is_nan() { 0x7fffu32 } else { half(f64::from(v).clamp(-65504.0, 65504.0)).into() }
        };
        one(a) << 16 | one(b)
    });
}

#[test]
fn packed_integers_and_rare_products() {
    same("add.u16x2 %d, %a, %b;", |a, b, _| pairs(a, b, u16::wrapping_add));
    same("max.s16x2 %d, %a, %b;", |a, b, _| pairs(a, b, |x, y| (x as i16).max(y as i16) as u16));
    same("min.relu.s16x2 %d, %a, %b;", |a, b, _| pairs(a, b, |x, y| (x as i16).min(y as i16).max(0) as u16));
    same("max.relu.s32 %d, %a, %b;", |a, b, _| (a as i32).max(b as i32).max(0) as u32);
    same("mad.hi.sat.s32 %d, %a, %b, %c;", |a, b, c| {
        (((i64::from(a as i32) * i64::from(b as i32)) >> 32) as i32).saturating_add(c as i32) as u32
    });
    let low = |v: u32| i64::from((v << 8) as i32 >> 8);
    same("mul24.hi.s32 %d, %a, %b;", |a, b, _| ((low(a) * low(b)) >> 16) as u32);
    same("mad24.hi.sat.s32 %d, %a, %b, %c;", |a, b, c| {
        (((low(a) * low(b)) >> 16) as i32).saturating_add(c as i32) as u32
    });
    let halves = "mov.b32 {%h1, %h2}, %a; mov.b32 {%h3, %h4}, %b;";
    same(&format!("{halves} mad.hi.s16 %h5, %h1, %h3, %h2; cvt.u32.u16 %d, %h5;"), |a, b, _| {
        let high = (i32::from(a as i16) * i32::from(b as i16)) >> 16;
        (high as u16).wrapping_add((a >> 16) as u16).into()
    });
    same(&format!("{halves} sad.s16 %h5, %h1, %h3, %h2; cvt.u32.u16 %d, %h5;"), |a, b, _| {
        (a as i16).abs_diff(b as i16).wrapping_add((a >> 16) as u16).into()
    });
    same(
        "mov.b64 %rd3, {%a, %b}; mov.b64 %rd4, {%b, %c}; sad.s64 %rd5, %rd3, %rd4, %rd3; cvt.u32.u64 %d, %rd5;",
        |a, b, c| {
            let (x, y) = (u64::from(b) << 32 | u64::from(a), u64::from(c) << 32 | u64::from(b));
            (x as i64).abs_diff(y as i64).wrapping_add(x) as u32
        },
    );
}

#[test]
fn clamped_integers_are_packed() {
    let clamp = |v: u32, low: i64, high: i64| i64::from(v as i32).clamp(low, high) as u32;
    same("cvt.pack.sat.s16.s32 %d, %a, %b;", |a, b, _| {
        clamp(a, -32768, 32767) << 16 | clamp(b, -32768, 32767) & 0xffff
    });
    same("shr.s32 %r1, %a, 22; shr.s32 %r2, %b, 22; cvt.pack.sat.u8.s32.b32 %d, %r1, %r2, %c;", |a, b, c| {
        let byte = |v: u32| clamp(((v as i32) >> 22) as u32, 0, 255);
        byte(b) | byte(a) << 8 | c << 16
    });
    same("cvt.pack.sat.s8.s32.b32 %r1, %a, %b, 0; cvt.pack.sat.s8.s32.b32 %d, %b, %c, %r1;", |a, b, c| {
        let byte = |v: u32| clamp(v, -128, 127) & 0xff;
        byte(c) | byte(b) << 8 | byte(b) << 16 | byte(a) << 24
    });
    same("cvt.pack.sat.s4.s32.b32 %d, %a, %b, %c;", |a, b, c| {
        clamp(b, -8, 7) & 15 | (clamp(a, -8, 7) & 15) << 4 | c << 8
    });
    same("cvt.pack.sat.u2.s32.b32 %d, %a, %b, %c;", |a, b, c| clamp(b, 0, 3) | clamp(a, 0, 3) << 2 | c << 4);
}

#[test]
fn searches_extensions_and_masks() {
    same(
        "and.b32 %r1, %b, 31; and.b32 %r2, %c, 7; sub.u32 %r2, %r2, 3; fns.b32 %d, %a, %r1, %r2;",
        |a, b, c| {
            let (base, offset) = ((b & 31) as i32, (c & 7) as i32 - 3);
            let (mut at, mut left) = (base, if offset == 0 { 1 } else { offset.abs() });
            let direction = if offset < 0 { -1 } else { 1 };
            if offset == 0 {
                return if a >> base & 1 == 1 { base as u32 } else { u32::MAX };
            }
            while (0..32).contains(&at) {
                left -= i32::try_from(a >> at & 1).expect("one bit");
                if left == 0 {
                    return at as u32;
                }
                at += direction;
            }
            u32::MAX
        },
    );
    let extended = |a: u32, n: u32| {
        if n == 0 {
            0
        } else if n >= 32 {
            a
        } else {
            ((u64::from(a) << (64 - n)) as i64 >> (64 - n)) as u32
        }
    };
    same("szext.clamp.s32 %d, %a, %b;", |a, b, _| extended(a, b.min(32)));
    same("szext.wrap.s32 %d, %a, %b;", |a, b, _| extended(a, b & 31));
    same("szext.wrap.u32 %d, %a, %b;", |a, b, _| a & ((1u64 << (b & 31)) - 1) as u32);
    same("bmsk.clamp.b32 %d, %b, %c;", |_, b, c| {
        (0u32..32)
            .filter(|&i| u64::from(i) >= u64::from(b) && u64::from(i) < u64::from(b) + u64::from(c.min(32)))
            .fold(0, |m, i| m | 1 << i)
    });
    same("bmsk.wrap.b32 %d, %b, %c;", |_, b, c| {
        (0u32..32).filter(|&i| i >= b & 31 && i < (b & 31) + (c & 31)).fold(0, |m, i| m | 1 << i)
    });
    for (question, want) in [
        ("finite", (|v: f64| v.is_finite()) as fn(f64) -> bool),
        ("infinite", f64::is_infinite),
        ("number", |v| !v.is_nan()),
        ("notanumber", f64::is_nan),
        ("normal", f64::is_normal),
        ("subnormal", f64::is_subnormal),
    ] {
        let body =
            format!("mov.b64 %fd1, {{%a, %b}}; testp.{question}.f64 %p1, %fd1; selp.b32 %d, 1, 0, %p1;");
        same(&body, |a, b, _| want(f64::from_bits(u64::from(b) << 32 | u64::from(a))).into());
        let body = format!(
            "and.b32 %r1, %b, 0xfffff; or.b32 %r1, %r1, 0x7ff00000; mov.b64 %fd1, {{%a, %r1}}; testp.{question}.f64 %p1, %fd1; selp.b32 %d, 1, 0, %p1;"
        );
        same(&body, |a, b, _| {
            want(f64::from_bits(u64::from(b & 0xfffff | 0x7ff0_0000) << 32 | u64::from(a))).into()
        });
    }
}

#[test]
fn products_of_eight_rows() {
    for (shape, signs, per) in
        [("m8n8k16", "s8.u8", 4usize), ("m8n8k32", "u4.s4", 8), ("m8n8k128", "b1.b1", 32)]
    {
        let suffix = if per == 32 { ".xor.popc" } else { "" };
        let body = format!(
            "mov.b32 %r1, %c; mov.b32 %r2, %a; mma.sync.aligned.{shape}.row.col.s32.{signs}.s32{suffix} {{%r3, %r4}}, {{%a}}, {{%b}}, {{%r1, %r2}};
             mul.lo.u32 %d, %r4, 31; xor.b32 %d, %d, %r3;"
        );
        let input: Vec<[u32; 3]> = (0..32u32)
            .map(|i| [0x9e37_79b9u32.wrapping_mul(i + 1), 0x85eb_ca6bu32.wrapping_mul(i + 7), 1000 * i])
            .collect();
        let got = Kernel::new(&body).run(&input);
        let bits = 32 / per as u32;
        let element = |word: u32, e: usize, signed: bool| {
            let raw = i64::from(word >> (bits * e as u32)) & ((1 << bits) - 1);
            if signed && raw >> (bits - 1) == 1 { raw - (1 << bits) } else { raw }
        };
        let (left, right) = signs.split_once('.').expect("two types");
        for (lane, got) in got.into_iter().enumerate() {
            let sum = |i: usize| {
                let (row, col) = (lane / 4, 2 * (lane % 4) + i);
                let start = i64::from(if i == 0 { input[lane][2] } else { input[lane][0] } as i32);
                let products = (0..4 * per).map(|k| {
                    let x = element(input[4 * row + k / per][0], k % per, left.starts_with('s'));
                    let y = element(input[4 * col + k / per][1], k % per, right.starts_with('s'));
                    if per == 32 { x ^ y } else { x * y }
                });
                (start + products.sum::<i64>()) as u32
            };
            assert_eq!(got, sum(1).wrapping_mul(31) ^ sum(0), "{shape} lane {lane}");
        }
    }
}
