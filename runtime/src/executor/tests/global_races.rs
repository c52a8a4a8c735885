//! Races on global memory, within a block and between blocks.

use super::super::FindingKind;
use super::Kernel;

/// `%rd5`: 4 bytes of the output that all threads of all blocks share; `%rd6`: the 4 bytes behind.
const SHARED: &str = "mov.b64 %rd5, %rd2;\nadd.s64 %rd6, %rd2, 4;\nmov.u32 %r1, %ctaid.x;\nmov.u32 %r2, %tid.x;\n\
                      setp.eq.u32 %p1, %r1, 0;\nsetp.eq.u32 %p2, %r2, 0;\nand.pred %p3, %p1, %p2;\nnot.pred %p4, %p1;\nand.pred %p4, %p4, %p2;\n";

fn kinds(body: &str, block: u32, grid: u32) -> Vec<FindingKind> {
    let body = format!("{SHARED}{body}\nbra DONE;\nDONE: ret;");
    let kernel = Kernel { grid, ..Kernel::new(&body).block(block).sanitized() };
    let mut kinds: Vec<_> = kernel.findings().into_iter().map(|f| f.0).collect();
    kinds.dedup();
    kinds
}

#[test]
fn warps_of_a_block_need_a_barrier() {
    let body = "@%p3 st.global.b32 [%rd5], %t;\nbar.sync 0;\nld.global.b32 %r3, [%rd5];";
    assert_eq!(kinds(body, 64, 1), []);
    assert_eq!(kinds(&body.replace("bar.sync 0;\n", ""), 64, 1), [FindingKind::Race]);
}

#[test]
fn blocks_need_a_release_and_an_acquire() {
    let body = "mov.b32 %r5, 1;\n@%p3 st.global.b32 [%rd5], 7;\n@%p3 membar.gl;\n@%p3 atom.global.exch.b32 %r4, [%rd6], 1;\n\
                @!%p4 bra DONE;\nSPIN: atom.global.add.u32 %r4, [%rd6], 0;\nsetp.ne.u32 %p5, %r4, 1;\n@%p5 bra SPIN;\nmembar.gl;\nld.global.b32 %r3, [%rd5];";
    assert_eq!(kinds(body, 32, 2), []);
    assert_eq!(kinds(&body.replace("@%p3 membar.gl;\n", ""), 32, 2), [FindingKind::Race]);
    let released =
        body.replace("@%p3 membar.gl;\n", "").replace("atom.global.exch", "atom.release.gpu.global.exch");
    assert_eq!(kinds(&released, 32, 2), []);
    // The reader needs a fence as well, or an atomic that acquires.
    assert_eq!(kinds(&body.replace("SPIN;\nmembar.gl;", "SPIN;"), 32, 2), [FindingKind::Race]);
    let acquired = body
        .replace("SPIN;\nmembar.gl;", "SPIN;")
        .replace("SPIN: atom.global", "SPIN: atom.acquire.gpu.global");
    assert_eq!(kinds(&acquired, 32, 2), []);
}

#[test]
fn sums_of_blocks_need_atomics() {
    assert_eq!(kinds("red.global.add.u32 [%rd5], 1;", 32, 4), []);
    let plain = "ld.global.b32 %r3, [%rd5];\nadd.u32 %r3, %r3, 1;\n@%p2 st.global.b32 [%rd5], %r3;";
    assert_eq!(kinds(plain, 32, 4), [FindingKind::Race]);
}

#[test]
fn everybody_may_store_the_same() {
    assert_eq!(kinds("st.global.b32 [%rd5], 5;", 64, 3), []);
    assert_eq!(kinds("st.global.b32 [%rd5], %t;", 64, 1), [FindingKind::Race]);
    // Warps of a block by several instructions, too.
    let apart = "setp.lt.u32 %p5, %t, 32;\n@%p5 st.global.b32 [%rd5], 5;\n@!%p5 st.global.b32 [%rd5], 5;";
    assert_eq!(kinds(apart, 64, 1), []);
    assert_eq!(
        kinds(&apart.replace("@!%p5 st.global.b32 [%rd5], 5;", "@!%p5 st.global.b32 [%rd5], 6;"), 64, 1),
        [FindingKind::Race]
    );
}

#[test]
fn an_atomic_counts_as_far_as_its_scope_goes() {
    let add = "red.relaxed.gpu.global.add.u32 [%rd5], 1;";
    assert_eq!(kinds(add, 64, 4), []);
    assert_eq!(kinds(&add.replace("gpu", "cta"), 64, 4), [FindingKind::Race]);
    assert_eq!(kinds(&add.replace("gpu", "cta"), 64, 1), [], "one block");
    let flag = "@%p3 st.relaxed.gpu.global.b32 [%rd5], 1;\n@%p4 ld.relaxed.gpu.global.b32 %r3, [%rd5];";
    assert_eq!(kinds(flag, 32, 2), []);
    assert_eq!(kinds(&flag.replace("ld.relaxed.gpu", "ld.relaxed.cta"), 32, 2), [FindingKind::Race]);
}

#[test]
fn a_grid_meets_at_its_workspace() {
    // As cooperative groups have it: the first block adds what flips the top bit when all others have added 1.
    let body = "mad.wide.u32 %rd7, %r1, 4, %rd5;\n@%p2 st.global.b32 [%rd7], %r1;\nmov.u32 %r3, %envreg1;\nmov.u32 %r4, %envreg2;\n\
                mov.b64 %rd8, {%r4, %r3};\nbar.sync 0;\nmov.u32 %r5, %nctaid.x;\nsub.u32 %r5, 0x80000001, %r5;\nselp.b32 %r5, %r5, 1, %p1;\n\
                @!%p2 bra MET;\natom.add.release.gpu.u32 %r6, [%rd8+4], %r5;\n\
                SPIN: ld.acquire.gpu.u32 %r7, [%rd8+4];\nxor.b32 %r7, %r7, %r6;\nsetp.ge.s32 %p5, %r7, 0;\n@%p5 bra SPIN;\n\
                MET: bar.sync 0;\nxor.b32 %r8, %r1, 3;\nmad.wide.u32 %rd7, %r8, 4, %rd5;\nld.global.b32 %r9, [%rd7];\n\
                setp.ne.u32 %p6, %r9, %r8;\n@%p6 trap;";
    assert_eq!(kinds(body, 64, 4), []);
    assert!(kinds(&body.replace("ld.acquire", "ld.relaxed"), 64, 4).contains(&FindingKind::Race));
}

#[test]
fn the_first_guess_of_an_exchange_may_be_a_plain_load() {
    let body = "ld.global.b32 %r5, [%rd5];\nmov.b32 %r3, %r5;\nL: add.u32 %r4, %r3, 1;\natom.global.cas.b32 %r6, [%rd5], %r3, %r4;\n\
                setp.ne.u32 %p5, %r6, %r3;\nmov.b32 %r3, %r6;\n@%p5 bra L;";
    assert_eq!(kinds(body, 32, 4), []);
    // What is written without an exchange races as ever.
    let plain = body.replace(
        "atom.global.cas.b32 %r6, [%rd5], %r3, %r4;",
        "st.global.b32 [%rd5], %r4;\nmov.b32 %r6, %r3;",
    );
    assert_eq!(kinds(&plain, 32, 4), [FindingKind::Race]);
}

#[test]
fn a_load_that_no_exchange_compares_with_is_as_plain_as_ever() {
    let guess = "ld.global.b32 %r3, [%rd6+-4];\nL: add.u32 %r4, %r3, 1;\natom.global.cas.b32 %r6, [%rd5], %r3, %r4;\n\
                 setp.ne.u32 %p5, %r6, %r3;\nmov.b32 %r3, %r6;\n@%p5 bra L;\n";
    // %rd5 and %rd6 are sums of one register: this is the exchange's own word.
    assert_eq!(kinds(guess, 32, 4), []);
    // The register holds another word before, which all the blocks add to.
    let other =
        format!("red.global.add.u32 [%rd6], 1;\nld.global.b32 %r3, [%rd6];\nadd.u32 %r7, %r3, 1;\n{guess}");
    assert_eq!(kinds(&other, 32, 4), [FindingKind::Race]);
    // It holds the exchange's word, for another purpose.
    let early = format!("ld.global.b32 %r3, [%rd5];\nadd.u32 %r7, %r3, 1;\n{guess}");
    assert_eq!(kinds(&early, 32, 4), [FindingKind::Race]);
    // The address moves on between load and exchange.
    let moves = guess.replace("[%rd6+-4];", "[%rd5];\nadd.s64 %rd5, %rd5, 4;");
    let moves = format!("red.global.add.u32 [%rd5], 1;\n{moves}");
    assert_eq!(kinds(&moves, 32, 4), [FindingKind::Race]);
}
