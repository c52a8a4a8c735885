//! Every code of every packed type, at every place of a group, is unpacked to what it means.

use std::path::Path;
use tilewright_compiler::numeric::{Format, Number};
use tilewright_compiler::templates::{Family, Stage, THREADS, Template, To, ptx};
use tilewright_compiler::warp::ir::Half;
use tilewright_runtime::executor::{Arg, Launch, Options, run};

/// The code at a place of a thread: over the threads every place has every code.
fn code(t: &Template, thread: usize, value: usize) -> u64 {
    ((thread + 37 * value) as u64) & ((1 << t.elem.bits()) - 1)
}

/// As it is stored: signed integers with the sign inverted, floats with NaNs after those.
fn stored(t: &Template, code: u64) -> u64 {
    let (turn, flip) = t.to.toward().form(t.elem).coding(t.elem);
    let sign = 1 << (t.elem.bits() - 1);
    (code & sign | (code + turn) & (sign - 1)) ^ flip
}

/// The values' bits.
fn unpacked(t: &Template) -> Vec<u64> {
    let threads = THREADS as usize;
    let p = &t.placement;
    let mut words = vec![0u32; threads * p.words as usize];
    for thread in 0..threads {
        for value in 0..t.values() {
            let code = stored(t, code(t, thread, value));
            for (b, (word, bit)) in p.members[value / t.to.lanes()].bits.iter().enumerate() {
                let bit = bit + (32 / t.to.lanes() * (value % t.to.lanes())) as u32;
                words[thread * p.words as usize + *word as usize] |= ((code >> b & 1) as u32) << bit;
            }
        }
    }
    let text = ptx(std::slice::from_ref(t), &[Stage::Finished], &[1]);
    let bytes = 4 / t.to.lanes();
    let mut buffers =
        vec![words.iter().flat_map(|w| w.to_le_bytes()).collect(), vec![0; bytes * threads * t.values()]];
    let outcome = run(Launch {
        ptx: &text,
        entry: &t.entry(Stage::Finished, 1),
        grid: [1, 1, 1],
        block: [THREADS, 1, 1],
        cluster: [1, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::buffer(0), Arg::buffer(1)],
        buffers: &mut buffers,
        options: Options::default(),
    });
    assert!(outcome.is_ok_and(|o| o.findings.is_empty()), "{}:\n{text}", t.elem);
    buffers[1].chunks(bytes).map(|b| b.iter().rev().fold(0, |bits, b| bits << 8 | u64::from(*b))).collect()
}

#[test]
fn every_code_is_unpacked_to_what_it_means() {
    for to in To::ALL {
        let format = if to == To::Half(Half::F16) { Format::F16 } else { Format::BF16 };
        let mut count = 0;
        for t in Family::ALL.into_iter().flat_map(|f| f.templates(to)) {
            count += 1;
            let got = unpacked(&t);
            for thread in 0..THREADS as usize {
                for value in 0..t.values() {
                    let code = code(&t, thread, value);
                    let want = match t.elem.format().decode(code) {
                        Number::Float(x) => x,
                        Number::Int(i) => i as f64,
                    };
                    let bits = got[thread * t.values() + value];
                    let same = match (to, format.decode(bits)) {
                        (To::Bytes, _) => bits == want as i64 as u64 & 0xff,
                        (_, Number::Float(x)) if want.is_nan() => x.is_nan(),
                        _ => bits == format.encode_f64(want),
                    };
                    assert!(same, "{} code {code:#x} as {to:?}: {bits:#06x} for {want}", t.elem);
                }
            }
        }
        // All but those that the format does not hold: e5m0 to e7m0 and their kin in f16; eight bits, seven of bipolar, e5m2 in bf16.
        // Bytes are made of integers, but for the bipolar ones of eight bits.
        assert!(if to == To::Bytes { count == 23 } else { count >= 40 }, "{count} types to {to:?}");
    }
}

#[test]
fn the_folder_holds_what_the_compiler_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ptx_templates");
    for to in To::ALL {
        for family in Family::ALL {
            let Some(name) = family.file(to) else { continue };
            let text = std::fs::read_to_string(root.join(&name)).unwrap_or_default();
            let now = ptx(&family.templates(to), &[Stage::Finished], &[1]);
            assert!(
                text == now,
                "ptx_templates/{name} differs from what is emitted: `cargo xtask templates --write`"
            );
        }
    }
}
