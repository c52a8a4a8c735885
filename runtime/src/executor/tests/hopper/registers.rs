//! `setmaxnreg` as hardware wants it.

use super::super::super::{Arg, FindingKind, Options};
use super::{Hopper, POINTER};

/// What the sanitizer says of three warpgroups in a kernel for at most 168 registers: kinds and messages.
fn found(body: &str, cap: bool) -> Vec<(FindingKind, String)> {
    let kernel = Hopper::new(&[POINTER], body).block(384);
    let text = kernel.text();
    let capped = text.replacen(")\n{", ")\n.maxnreg 168\n{", 1);
    let mut buffers = [vec![0; 16]];
    let outcome = super::run(super::Launch {
        ptx: if cap { &capped } else { &text },
        entry: "k",
        grid: [1, 1, 1],
        block: [384, 1, 1],
        cluster: [1, 1, 1],
        shared_bytes: 0,
        args: vec![Arg::buffer(0)],
        buffers: &mut buffers,
        options: Options { sanitize: true, ..Options::default() },
    })
    .unwrap_or_else(|e| panic!("{e}"));
    outcome.findings.into_iter().map(|f| (f.kind, f.message)).collect()
}

/// Warpgroup 0 loads, the others multiply.
fn roles(load: &str, multiply: &str) -> String {
    format!(
        "setp.lt.u32 %p1, %w, 4;\n@%p1 bra LOAD;\nsetmaxnreg.{multiply};\nadd.u32 %r1, %t, 1;\nbra END;\nLOAD:\nsetmaxnreg.{load};\nadd.u32 %r1, %t, 2;\nEND:\n"
    )
}

#[test]
fn pools_that_add_up_are_fine() {
    let good = roles("dec.sync.aligned.u32 24", "inc.sync.aligned.u32 240");
    assert_eq!(found(&good, true), []);
    assert_eq!(found(&good, false), []);
}

#[test]
fn more_than_the_pool_is_found() {
    let much = roles("dec.sync.aligned.u32 40", "inc.sync.aligned.u32 240");
    for cap in [true, false] {
        let all = found(&much, cap);
        let [(FindingKind::BarrierMisuse, message)] = &all[..] else { panic!("{all:?}") };
        let pool = if cap { 64512 } else { 65536 };
        assert!(message.contains("66560") && message.contains(&pool.to_string()), "{message}");
    }
}

#[test]
fn the_direction_is_checked() {
    let up = roles("dec.sync.aligned.u32 200", "dec.sync.aligned.u32 120");
    let all = found(&up, true);
    assert!(
        all.iter().any(|(_, m)| m.contains("setmaxnreg.dec to 200 registers, but it has 168")),
        "{all:?}"
    );
    assert_eq!(found(&up, false), []);
}

#[test]
fn all_warps_of_a_warpgroup_take_part() {
    let some = "setp.lt.u32 %p1, %w, 6;\n@%p1 bra LESS;\nbra END;\nLESS:\nsetmaxnreg.dec.sync.aligned.u32 80;\nEND:\n";
    let all = found(some, true);
    assert!(
        all.iter().any(|(k, m)| *k == FindingKind::BarrierMisuse && m.contains("warps 4 and 6")),
        "{all:?}"
    );
    // Two roles in a warpgroup may each have their own instruction.
    let apart = "setp.lt.u32 %p1, %w, 6;\n@%p1 bra LESS;\nsetmaxnreg.dec.sync.aligned.u32 80;\nbra END;\nLESS:\nsetmaxnreg.dec.sync.aligned.u32 80;\nadd.u32 %r1, %t, 1;\nEND:\n";
    assert_eq!(found(apart, true), []);
    assert_ne!(found(&apart.replacen("u32 80", "u32 88", 1), true), []);
    // Half a warp.
    let part = "and.b32 %r1, %t, 16;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra END;\nsetmaxnreg.dec.sync.aligned.u32 80;\nbra LAST;\nEND:\nadd.u32 %r1, %r1, 1;\nLAST:\n";
    assert!(found(part, true).iter().any(|(k, _)| *k == FindingKind::Divergence));
}
