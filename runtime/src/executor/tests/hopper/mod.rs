//! sm_90: mbarriers, bulk and tensor copies, `wgmma`, clusters, each against a model that shares nothing with the executor.

mod bulk;
mod clusters;
mod mbarriers;
mod orders;
mod registers;
mod remote;
mod tensors;
mod wgmma;
mod windows;
mod wmma;

use super::super::{Arg, FindingKind, Launch, Options, Outcome, run};

/// A kernel of parameters `p0`, `p1`, … and a body.
pub(super) struct Hopper {
    pub(super) params: Vec<&'static str>,
    pub(super) body: String,
    pub(super) block: u32,
    pub(super) grid: u32,
    pub(super) cluster: u32,
    pub(super) shared: u32,
}

pub(super) const POINTER: &str = ".param .u64";
pub(super) const MAP: &str = ".param .align 64 .b8";

impl Hopper {
    pub(super) fn new(params: &[&'static str], body: impl Into<String>) -> Hopper {
        let (params, body) = (params.to_vec(), body.into());
        Hopper { params, body, block: 32, grid: 1, cluster: 1, shared: 16384 }
    }

    pub(super) fn block(self, block: u32) -> Hopper {
        Hopper { block, ..self }
    }

    pub(super) fn clusters(self, grid: u32, cluster: u32) -> Hopper {
        Hopper { grid, cluster, ..self }
    }

    pub(super) fn shared(self, shared: u32) -> Hopper {
        Hopper { shared, ..self }
    }

    /// `%t` is the thread, `%w` the warp, `%smem` the start of shared memory, `%g0`, `%g1`, … the parameters (maps: their generic addresses).
    pub(super) fn text(&self) -> String {
        let mut params = Vec::new();
        let mut loads = String::new();
        for (i, kind) in self.params.iter().enumerate() {
            if *kind == MAP {
                params.push(format!("{kind} p{i}[128]"));
                loads += &format!("mov.b64 %g{i}, p{i};\ncvta.param.u64 %g{i}, %g{i};\n");
            } else {
                params.push(format!("{kind} p{i}"));
                loads += &format!("ld.param.u64 %g{i}, [p{i}];\n");
            }
        }
        format!(
            ".version 8.6\n.target sm_90a\n.address_size 64\n.extern .shared .align 1024 .b8 smem[];\n\
             .visible .entry k({})\n{{\n.reg .b32 %r<600>, %t, %w, %smem;\n.reg .b64 %rd<60>, %g<8>;\n.reg .pred %p<20>;\n\
             {loads}mov.u32 %t, %tid.x;\nshr.u32 %w, %t, 5;\nmov.u32 %smem, smem;\n{}\nret;\n}}\n",
            params.join(", "),
            self.body
        )
    }

    #[track_caller]
    pub(super) fn outcome(&self, args: Vec<Arg>, buffers: &mut [Vec<u8>], options: Options) -> Outcome {
        let text = self.text();
        run(Launch {
            ptx: &text,
            entry: "k",
            grid: [self.grid, 1, 1],
            block: [self.block, 1, 1],
            cluster: [self.cluster, 1, 1],
            shared_bytes: self.shared,
            args,
            buffers,
            options: Options { threads: Some(1), ..options },
        })
        .unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    /// Runs eagerly, lazily and watched, with several orders of warps; nothing may be found, and every run must give the same.
    #[track_caller]
    pub(super) fn run(&self, args: &[Arg], buffers: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut results: Vec<Vec<Vec<u8>>> = Vec::new();
        for (sanitize, lazy, seed) in
            [(false, false, 0), (false, false, 3), (false, true, 0), (true, true, 0), (true, true, 5)]
        {
            let mut buffers = buffers.to_vec();
            let outcome = self.outcome(
                args.to_vec(),
                &mut buffers,
                Options { sanitize, lazy, seed, ..Options::default() },
            );
            assert_eq!(outcome.findings, [], "sanitize {sanitize} lazy {lazy} seed {seed}\n{}", self.text());
            results.push(buffers);
        }
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "runs differ\n{}", self.text());
        results.swap_remove(0)
    }

    /// The kinds that the sanitizer finds, in any order of warps the same.
    #[track_caller]
    pub(super) fn kinds(&self, args: &[Arg], buffers: &[Vec<u8>]) -> Vec<FindingKind> {
        let mut all = self.kinds_by_order(args, buffers);
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "orders differ: {all:?}\n{}", self.text());
        all.swap_remove(0)
    }

    /// The kinds that it finds in some order of warps; it must find something in each.
    #[track_caller]
    pub(super) fn kinds_any(&self, args: &[Arg], buffers: &[Vec<u8>]) -> Vec<FindingKind> {
        let all = self.kinds_by_order(args, buffers);
        assert!(all.iter().all(|kinds| !kinds.is_empty()), "missed: {all:?}\n{}", self.text());
        all.concat()
    }

    fn kinds_by_order(&self, args: &[Arg], buffers: &[Vec<u8>]) -> Vec<Vec<FindingKind>> {
        let mut all = Vec::new();
        for seed in [0, 2, 9] {
            let mut buffers = buffers.to_vec();
            let options = Options { sanitize: true, seed, ..Options::default() };
            let outcome = self.outcome(args.to_vec(), &mut buffers, options);
            let mut kinds: Vec<_> = outcome.findings.iter().map(|f| f.kind).collect();
            kinds.sort_unstable();
            kinds.dedup();
            all.push(kinds);
        }
        all
    }
}

pub(super) fn pattern(bytes: usize, seed: u32) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

pub(super) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

/// Waits for parity `parity` of the mbarrier at `at`.
pub(super) fn wait(at: &str, parity: &str, label: &str) -> String {
    format!(
        "{label}:\nmbarrier.try_wait.parity.shared::cta.b64 %p19, [{at}], {parity};\n@!%p19 bra {label};\n"
    )
}

/// All threads of a block of `threads` copy `bytes` from `%g<param>` to shared memory at `%smem + at`.
pub(super) fn fill(param: usize, at: u32, bytes: u32, threads: u32) -> String {
    format!(
        "mov.u32 %r590, %t;\nFILL{at}:\nsetp.ge.u32 %p18, %r590, {words};\n@%p18 bra FILLED{at};\n\
         mad.wide.u32 %rd50, %r590, 4, %g{param};\nld.global.b32 %r591, [%rd50];\nmad.lo.u32 %r592, %r590, 4, %smem;\n\
         st.shared.b32 [%r592+{at}], %r591;\nadd.u32 %r590, %r590, {threads};\nbra FILL{at};\nFILLED{at}:\n",
        words = bytes / 4
    )
}

/// The other way.
pub(super) fn drain(param: usize, at: u32, bytes: u32, threads: u32) -> String {
    format!(
        "mov.u32 %r590, %t;\nDRAIN{at}:\nsetp.ge.u32 %p18, %r590, {words};\n@%p18 bra DRAINED{at};\n\
         mad.wide.u32 %rd50, %r590, 4, %g{param};\nmad.lo.u32 %r592, %r590, 4, %smem;\nld.shared.b32 %r591, [%r592+{at}];\n\
         st.global.b32 [%rd50], %r591;\nadd.u32 %r590, %r590, {threads};\nbra DRAIN{at};\nDRAINED{at}:\n",
        words = bytes / 4
    )
}
