//! Video instructions against the pseudocode of the PTX ISA, in 128 bits; atomics of 128 bits; reserved shared memory.

use super::Kernel;

/// Words where signs, carries and clamps show.
fn operands() -> Vec<[u32; 3]> {
    let words = [
        0,
        1,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x1234_5678,
        0x8765_4321,
        0x00ff_ff00,
        0x807f_ff01,
        0x7f80_01fe,
        0x8000_7fff,
        0x0000_001f,
        0x2020_2120,
    ];
    (0..64usize).map(|i| [words[i % 19], words[(7 * i + 3) % 19], words[(11 * i + 5) % 19]]).collect()
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

/// `bits` of `word` from bit `at`.
fn part(word: u32, at: u32, bits: u32, signed: bool) -> i128 {
    let field = i128::from(word >> at) & ((1 << bits) - 1);
    if signed && field >> (bits - 1) & 1 == 1 { field - (1 << bits) } else { field }
}

fn clamp(value: i128, bits: u32, signed: bool) -> i128 {
    if signed {
        value.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
    } else {
        value.clamp(0, (1 << bits) - 1)
    }
}

/// Part names of one value: (suffix, first bit, bits).
const PARTS: [(&str, u32, u32); 4] = [("", 0, 32), (".h1", 16, 16), (".b0", 0, 8), (".b2", 16, 8)];

fn ty(signed: bool) -> &'static str {
    if signed { "s32" } else { "u32" }
}

/// The three types of an instruction, signed or not.
fn types() -> impl Iterator<Item = [bool; 3]> {
    (0..8).map(|n| [n & 1 == 1, n & 2 == 2, n & 4 == 4])
}

fn second(op: &str, value: u32, c: u32, signed: bool) -> u32 {
    match (op, signed) {
        ("add", _) => value.wrapping_add(c),
        ("min", true) => (value as i32).min(c as i32) as u32,
        ("min", false) => value.min(c),
        ("max", true) => (value as i32).max(c as i32) as u32,
        _ => value.max(c),
    }
}

fn operation(op: &str, a: i128, b: i128) -> i128 {
    match op {
        "add" => a + b,
        "sub" => a - b,
        "absdiff" => (a - b).abs(),
        "min" => a.min(b),
        "max" => a.max(b),
        "shl" => a << b,
        "shr" => a >> b,
        // Halves away from zero.
        "avrg" => (a + b + i128::from(a + b >= 0)) >> 1,
        other => unreachable!("{other}"),
    }
}

#[test]
fn one_value_from_parts_of_words() {
    let mut which = 0usize;
    for op in ["add", "sub", "absdiff", "min", "max"] {
        for [d, l, r] in types() {
            for sat in [false, true] {
                which += 1;
                let (pa, pb) = (PARTS[which % 4], PARTS[which / 4 % 4]);
                let name = format!("v{op}.{}.{}.{}{}", ty(d), ty(l), ty(r), if sat { ".sat" } else { "" });
                let value = |a, b, bits| {
                    let value = operation(op, part(a, pa.1, pa.2, l), part(b, pb.1, pb.2, r));
                    (if sat { clamp(value, bits, d) } else { value }) as u32
                };
                let ab = format!("%a{}, %b{}", pa.0, pb.0);
                same(&format!("{name} %d, {ab};"), |a, b, _| value(a, b, 32));
                for two in ["add", "min", "max"] {
                    same(&format!("{name}.{two} %d, {ab}, %c;"), |a, b, c| {
                        second(two, value(a, b, 32), c, d)
                    });
                }
                for (suffix, at, bits) in [(".h0", 0, 16), (".h1", 16, 16), (".b1", 8, 8), (".b3", 24, 8)] {
                    same(&format!("{name} %d{suffix}, {ab}, %c;"), |a, b, c| {
                        let mask = (u32::MAX >> (32 - bits)) << at;
                        value(a, b, bits) << at & mask | c & !mask
                    });
                }
            }
        }
    }
}

#[test]
fn shifts_and_comparisons_of_parts() {
    for op in ["shl", "shr"] {
        for [d, l, sat] in types() {
            for wrap in [false, true] {
                let name = format!(
                    "v{op}.{}.{}.u32{}.{}",
                    ty(d),
                    ty(l),
                    if sat { ".sat" } else { "" },
                    if wrap { "wrap" } else { "clamp" }
                );
                for (pa, pb) in [(PARTS[0], PARTS[0]), (PARTS[1], PARTS[2])] {
                    same(&format!("{name} %d, %a{}, %b{};", pa.0, pb.0), |a, b, _| {
                        let by = part(b, pb.1, pb.2, false);
                        let by = if wrap { by & 31 } else { by.min(32) };
                        let value = operation(op, part(a, pa.1, pa.2, l), by);
                        (if sat { clamp(value, 32, d) } else { value }) as u32
                    });
                }
            }
        }
    }
    type Compare = fn(&i128, &i128) -> bool;
    let comparisons: [(&str, Compare); 6] = [
        ("eq", i128::eq),
        ("ne", i128::ne),
        ("lt", i128::lt),
        ("le", i128::le),
        ("gt", i128::gt),
        ("ge", i128::ge),
    ];
    for (cmp, holds) in comparisons {
        for [l, r, _] in types() {
            same(&format!("vset.{}.{}.{cmp} %d, %a, %b.h0;", ty(l), ty(r)), |a, b, _| {
                holds(&part(a, 0, 32, l), &part(b, 0, 16, r)).into()
            });
            same(&format!("vset.{}.{}.{cmp}.add %d, %a.b3, %b.b1, %c;", ty(l), ty(r)), |a, b, c| {
                u32::from(holds(&part(a, 24, 8, l), &part(b, 8, 8, r))).wrapping_add(c)
            });
            same(&format!("vset4.{}.{}.{cmp} %d, %a, %b, %c;", ty(l), ty(r)), |a, b, _| {
                (0..4)
                    .map(|n| u32::from(holds(&part(a, 8 * n, 8, l), &part(b, 8 * n, 8, r))) << (8 * n))
                    .sum()
            });
        }
    }
}

#[test]
fn multiply_and_add_parts() {
    // (sign of the product, sign of c, plus one)
    let signs = [("", "", ""), ("-", "", ""), ("", "-", ""), ("", "", ".po")];
    for [d, l, r] in types() {
        for (product_sign, c_sign, po) in signs {
            for (sat, scale) in [("", 0), (".sat", 0), ("", 7), (".sat", 7), (".sat", 15), ("", 15)] {
                let shr = if scale == 0 { String::new() } else { format!(".shr{scale}") };
                for (pa, pb) in [(PARTS[0], PARTS[0]), (PARTS[1], PARTS[3])] {
                    let body = format!(
                        "vmad.{}.{}.{}{po}{sat}{shr} %d, {product_sign}%a{}, %b{}, {c_sign}%c;",
                        ty(d),
                        ty(l),
                        ty(r),
                        pa.0,
                        pb.0
                    );
                    same(&body, |a, b, c| {
                        let signed = l || r || product_sign == "-" || c_sign == "-";
                        let product = part(a, pa.1, pa.2, l) * part(b, pb.1, pb.2, r);
                        let product = if product_sign == "-" { -product } else { product };
                        // `~c + 1`, with the sign of what that leaves in 32 bits.
                        let c =
                            if c_sign == "-" { part(!c, 0, 32, true) + 1 } else { part(c, 0, 32, signed) };
                        let value = (product + c + i128::from(po == ".po")) >> scale;
                        (if sat == ".sat" { clamp(value, 32, signed) } else { value }) as u32
                    });
                }
            }
        }
    }
}

#[test]
fn values_side_by_side() {
    for (lanes, letter) in [(2u32, 'h'), (4, 'b')] {
        let bits = 32 / lanes;
        // Which parts of `b:a`, lowest first; which of the results.
        let usual: Vec<u32> = (0..lanes).collect();
        let right: Vec<u32> = (lanes..2 * lanes).collect();
        let mixed: Vec<u32> = (0..lanes).map(|n| (3 * n + 1) % (2 * lanes)).collect();
        let digits = |picks: &[u32]| {
            picks.iter().rev().fold(format!(".{letter}"), |text, pick| format!("{text}{pick}"))
        };
        for op in ["add", "sub", "absdiff", "min", "max", "avrg"] {
            for [d, l, r] in types() {
                for (sat, add, all, swapped) in [
                    ("", "", true, false),
                    (".sat", "", true, false),
                    ("", ".add", true, false),
                    (".sat", ".add", false, true),
                    ("", "", false, true),
                ] {
                    let name = format!("v{op}{lanes}.{}.{}.{}{sat}{add}", ty(d), ty(l), ty(r));
                    let (from_a, from_b) = if swapped { (&mixed, &usual) } else { (&usual, &right) };
                    let written: Vec<u32> = if all { usual.clone() } else { vec![lanes - 1] };
                    let body = match (all, swapped) {
                        (true, false) => format!("{name} %d, %a, %b, %c;"),
                        _ => format!(
                            "{name} %d{}, %a{}, %b{}, %c;",
                            digits(&written),
                            digits(from_a),
                            digits(from_b)
                        ),
                    };
                    same(&body, |a, b, c| {
                        let pick = |pick: u32, signed| {
                            let word = if pick < lanes { a } else { b };
                            part(word, pick % lanes * bits, bits, signed)
                        };
                        let mut out = c;
                        for &n in &written {
                            let value =
                                operation(op, pick(from_a[n as usize], l), pick(from_b[n as usize], r));
                            let value = if sat == ".sat" { clamp(value, bits, d) } else { value };
                            if add == ".add" {
                                out = out.wrapping_add(value as u32);
                            } else {
                                let mask = (u32::MAX >> (32 - bits)) << (n * bits);
                                out = out & !mask | (value as u32) << (n * bits) & mask;
                            }
                        }
                        out
                    });
                }
            }
        }
    }
}

#[test]
fn exchanges_of_128_bits() {
    // Every lane swaps its number in; what comes out is what the lane before it put in, whose number is in both halves.
    for (space, place, declare) in [
        ("shared", "buf", ".shared .align 16 .b8 buf[32];"),
        ("global", "buf", ".global .align 16 .b8 buf[32];"),
    ] {
        let body = format!(
            "mov.u64 %rd5, {place};\ncvt.u64.u32 %rd6, %t;\nnot.b64 %rd7, %rd6;\nmov.b128 %q1, {{%rd6, %rd7}};\n\
             setp.eq.u32 %p1, %t, 0;\nmov.u64 %rd8, 77;\nmov.u64 %rd9, 78;\n@%p1 st.{space}.v2.b64 [%rd5], {{%rd8, %rd9}};\nbar.sync 0;\n\
             atom.{space}.exch.b128 %q2, [%rd5], %q1;\n\
             mov.b128 {{%rd10, %rd11}}, %q2;\nadd.s64 %rd12, %rd10, %rd11;\ncvt.u32.u64 %r1, %rd10;\ncvt.u32.u64 %r2, %rd12;\nmad.lo.s32 %d, %r1, 1000, %r2;"
        );
        let mut got = Kernel::new(&body).module(declare).sanitized().run(&[]);
        got.sort_unstable();
        // n and !n add up to -1.
        let mut want: Vec<u32> =
            (0..31u32).map(|n| (n * 1000).wrapping_sub(1)).chain([77 * 1000 + 155]).collect();
        want.sort_unstable();
        assert_eq!(got, want, "{space}");
        // A lock-free sum of both halves: each lane adds its number to the low and one to the high.
        let body = format!(
            "mov.u64 %rd5, {place};\ncvt.u64.u32 %rd6, %t;\nsetp.eq.u32 %p1, %t, 0;\nmov.u64 %rd8, 0;\n@%p1 st.{space}.v2.b64 [%rd5], {{%rd8, %rd8}};\nbar.sync 0;\n\
             mov.b128 %q1, {{%rd8, %rd8}};\nAGAIN:\nmov.b128 {{%rd10, %rd11}}, %q1;\nadd.s64 %rd12, %rd10, %rd6;\nadd.s64 %rd13, %rd11, 1;\n\
             mov.b128 %q2, {{%rd12, %rd13}};\natom.{space}.cas.b128 %q3, [%rd5], %q1, %q2;\nmov.b128 {{%rd14, %rd15}}, %q3;\n\
             setp.ne.s64 %p2, %rd14, %rd10;\nsetp.ne.s64 %p3, %rd15, %rd11;\nor.pred %p2, %p2, %p3;\nmov.b128 %q1, %q3;\n@%p2 bra AGAIN;\n\
             bar.sync 0;\nld.{space}.v2.b64 {{%rd10, %rd11}}, [%rd5];\ncvt.u32.u64 %r1, %rd10;\ncvt.u32.u64 %r2, %rd11;\nmad.lo.s32 %d, %r2, 1000, %r1;"
        );
        assert_eq!(
            Kernel::new(&body).module(declare).block(64).sanitized().run(&[]),
            [64 * 1000 + 63 * 32; 64]
        );
    }
}

#[test]
fn kernels_that_ask_for_reserved_shared_memory_have_it() {
    // It is no variable's, it is zero, and it may be written.
    let body = "mov.u32 %r1, %reserved_smem_offset_1;\nmov.u32 %r2, %reserved_smem_offset_end;\nmov.u32 %r3, %total_smem_size;\nmov.u32 %r4, buf;\n\
                shl.b32 %r5, %t, 2;\nadd.s32 %r1, %r1, %r5;\nld.shared.b32 %r6, [%r1];\nst.shared.b32 [%r1], %t;\nld.shared.b32 %r7, [%r1];\n\
                sub.s32 %r8, %r4, %r2;\nadd.s32 %d, %r6, %r7;\nadd.s32 %d, %d, %r8;\nmad.lo.s32 %d, %r3, 1000, %d;";
    let got = Kernel::new(body).module(".shared .align 16 .b8 buf[32];").sanitized().run(&[]);
    assert_eq!(got, (0..32).map(|t| 32 * 1000 + t).collect::<Vec<u32>>());
}
