//! Every code of every packed type, at every place of a group, is unpacked to what it means.

use std::path::Path;
use tilewright_compiler::numeric::{Format, Number};
use tilewright_compiler::packed::placement::LANE;
use tilewright_compiler::templates::{Family, Stage, THREADS, Template, ptx};
use tilewright_compiler::tile::ir::ElemType;
use tilewright_compiler::warp::ir::Half;
use tilewright_runtime::executor::{Arg, Launch, Options, run};

/// The code at a place of a thread: over the threads every place has every code.
fn code(t: &Template, thread: usize, value: usize) -> u64 {
    ((thread + 37 * value) as u64) & ((1 << t.elem.bits()) - 1)
}

/// As it is stored: signed integers with the sign inverted.
fn stored(elem: ElemType, code: u64) -> u64 {
    match elem {
        ElemType::Int(w) => code ^ 1 << (w - 1),
        _ => code,
    }
}

fn unpacked(t: &Template) -> Vec<u16> {
    let threads = THREADS as usize;
    let p = &t.placement;
    let mut words = vec![0u32; threads * p.words as usize];
    for thread in 0..threads {
        for value in 0..t.values() {
            let code = stored(t.elem, code(t, thread, value));
            for (b, (word, bit)) in p.members[value / 2].bits.iter().enumerate() {
                let bit = bit + LANE * (value % 2) as u32;
                words[thread * p.words as usize + *word as usize] |= ((code >> b & 1) as u32) << bit;
            }
        }
    }
    let text = ptx(std::slice::from_ref(t), &[Stage::Finished], &[1]);
    let mut buffers =
        vec![words.iter().flat_map(|w| w.to_le_bytes()).collect(), vec![0; 2 * threads * t.values()]];
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
    buffers[1].chunks(2).map(|b| u16::from_le_bytes([b[0], b[1]])).collect()
}

#[test]
fn every_code_is_unpacked_to_what_it_means() {
    for half in [Half::F16, Half::Bf16] {
        let format = if half == Half::F16 { Format::F16 } else { Format::BF16 };
        let mut count = 0;
        for t in Family::ALL.into_iter().flat_map(|f| f.templates(half)) {
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
                    let same = match format.decode(bits.into()) {
                        Number::Float(x) if want.is_nan() => x.is_nan(),
                        _ => u64::from(bits) == format.encode_f64(want),
                    };
                    assert!(same, "{} code {code:#x} as {half:?}: {bits:#06x} for {want}", t.elem);
                }
            }
        }
        // All but those that the format does not hold: e5m0 to e7m0 and their kin in f16; eight bits, seven of bipolar, e5m2 in bf16.
        assert!(count >= 40, "{count} types to {half:?}");
    }
}

#[test]
fn the_folder_holds_what_the_compiler_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ptx_templates");
    for half in [Half::F16, Half::Bf16] {
        for family in Family::ALL {
            let name = format!("{}_{}.ptx", family.name(), half.name());
            let text = std::fs::read_to_string(root.join(&name)).unwrap_or_default();
            let now = ptx(&family.templates(half), &[Stage::Finished], &[1]);
            assert!(
                text == now,
                "ptx_templates/{name} differs from what is emitted: `cargo xtask templates --write`"
            );
        }
    }
}
