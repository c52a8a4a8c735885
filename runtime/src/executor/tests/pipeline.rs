//! The hand-written product of `bench/kernels/wgmma_gemm.ptx`: a ring of tensor copies, mbarriers and `wgmma` as people write it. It is right and
//! clean, and breaking any one of what orders it is found out, each by its kind.

use super::super::launch::{ElementType, Swizzle};
use super::super::{Arg, FindingKind as F, Launch, Options, Outcome, TensorMap, run};

const PTX: &str = include_str!("../../../../bench/kernels/wgmma_gemm.ptx");
const M: usize = 128;
const N: usize = 256;
/// Six steps: the ring of four slots goes round.
const K: usize = 384;

/// Small whole numbers, whose products are exact.
fn operand(rows: usize, seed: usize) -> Vec<f32> {
    (0..rows * K).map(|i| ((i * 7 + seed * 13 + i / K * 5) % 9) as f32 - 4.0).collect()
}

fn halves(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect()
}

fn map(rows: usize, box_rows: u32) -> TensorMap {
    TensorMap {
        address: 0,
        ty: ElementType::F16,
        rank: 2,
        dims: [K as u64, rows as u64, 1, 1, 1],
        strides: [2, 2 * K as u64, 0, 0, 0],
        boxes: [64, box_rows, 1, 1, 1],
        element_strides: [1; 5],
        swizzle: Swizzle::Rows(128),
        interleave: 0,
        nan_fill: false,
        window: None,
    }
}

fn launch(ptx: &str, options: Options) -> (Outcome, Vec<u8>) {
    let mut buffers = vec![halves(&operand(M, 1)), halves(&operand(N, 2)), vec![0; 2 * M * N]];
    let outcome = run(Launch {
        ptx,
        entry: "wgmma_gemm",
        grid: [1, 1, 1],
        block: [384, 1, 1],
        cluster: [1; 3],
        shared_bytes: 196_672,
        args: vec![
            Arg::TensorMap { map: map(M, 128), buffer: 0 },
            Arg::TensorMap { map: map(N, 256), buffer: 1 },
            Arg::buffer(2),
            Arg::i32(N as i32),
            Arg::i32(K as i32),
        ],
        buffers: &mut buffers,
        options: Options { threads: Some(1), ..options },
    });
    (outcome.unwrap_or_else(|e| panic!("{e}")), buffers.swap_remove(2))
}

#[test]
fn the_product_is_right_and_nothing_is_found() {
    let (a, b) = (operand(M, 1), operand(N, 2));
    let want: Vec<f32> = (0..M * N)
        .map(|at| {
            let (a, b) = (&a[at / N * K..][..K], &b[at % N * K..][..K]);
            a.iter().zip(b).map(|(x, y)| x * y).sum()
        })
        .collect();
    for (sanitize, seed) in [(false, 0), (true, 0), (true, 3)] {
        let (outcome, c) = launch(PTX, Options { sanitize, seed, ..Options::default() });
        assert_eq!(outcome.findings, []);
        assert_eq!(c, halves(&want), "sanitize {sanitize}, seed {seed}");
    }
}

#[test]
fn breaking_the_pipeline_is_found() {
    let wait_full = "ARRIVED:\n    mbarrier.try_wait.parity.shared::cta.b64 %p1, [%r14], %parity;\n    @!%p1 bra ARRIVED;\n";
    let cases: [(&str, &str, &str, &[F]); 12] = [
        ("the consumer does not wait", wait_full, "", &[F::AsyncInFlight, F::Uninitialized]),
        ("the consumer waits for the other parity", "[%r14], %parity", "[%r14], %r17", &[F::AsyncInFlight]),
        (
            "the producer does not wait for a free slot",
            "    @!%p1 bra FREE;\n",
            "",
            &[F::Race, F::AsyncInFlight, F::BarrierMisuse],
        ),
        (
            "the slot is given back while it is read",
            "wait_group.sync.aligned 1",
            "wait_group.sync.aligned 2",
            &[F::AsyncInFlight],
        ),
        ("the sums are read in flight", "    wgmma.wait_group.sync.aligned 0;\n", "", &[F::AsyncInFlight]),
        ("products are not committed", "    wgmma.commit_group.sync.aligned;\n", "", &[F::AsyncInFlight]),
        ("no wgmma.fence", "    wgmma.fence.sync.aligned;\n", "", &[F::Race]),
        ("more bytes are expected than come", "[%r6], 49152", "[%r6], 65536", &[F::Deadlock]),
        (
            "one of two copies is expected",
            "[%r6], 49152",
            "[%r6], 16384",
            &[F::AsyncInFlight, F::BarrierMisuse, F::Deadlock],
        ),
        ("nobody arrives for the ninth time", "[%empty+0], 8", "[%empty+0], 9", &[F::Deadlock]),
        (
            "one warp frees for all",
            "[%empty+0], 8",
            "[%empty+0], 1",
            &[F::BarrierMisuse, F::Race, F::AsyncInFlight, F::Deadlock],
        ),
        (
            "the barriers are used before they are there",
            "READY:\n    bar.sync 0;\n",
            "READY:\n",
            &[F::Race, F::BarrierMisuse],
        ),
    ];
    for (what, from, to, kinds) in cases {
        assert!(PTX.contains(from), "{what}: the kernel has no {from:?}");
        for seed in [0, 5] {
            let ptx = PTX.replacen(from, to, 1);
            let (outcome, _) = launch(&ptx, Options { sanitize: true, seed, ..Options::default() });
            let found: Vec<F> = outcome.findings.iter().map(|f| f.kind).collect();
            assert!(found.iter().any(|k| kinds.contains(k)), "{what}, seed {seed}: {:?}", outcome.findings);
        }
    }
}
