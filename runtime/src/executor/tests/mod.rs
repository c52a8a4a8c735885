//! Tests of the executor on small kernels and on kernels that other compilers wrote.
//!
//! Small kernels are written with [`Kernel`]: a body over three input registers and a result, run by one or more warps on
//! arrays of words.

mod blackwell;
mod calls;
mod control;
mod documented;
mod foreign;
mod forms;
mod fuzz;
mod generated;
mod global_races;
mod hopper;
mod instructions;
mod memory;
mod mistakes;
mod pipeline;
mod rare;
mod sanitizer;
mod video;

use super::{Arg, ExecError, FindingKind, Launch, Options, Outcome, run};

/// A test kernel: declarations and a body between a fixed prologue and epilogue.
///
/// The prologue loads `%a`, `%b`, `%c` from `in[3 * tid ..]`; the epilogue stores `%d` to `out[tid]`. `%rd1` is `in`, `%rd2`
/// is `out`, `%t` the thread, `%out` the address of the thread's result.
struct Kernel<'a> {
    /// Version and target.
    head: &'a str,
    /// Before the entry: shared and global variables.
    module: &'a str,
    body: &'a str,
    block: u32,
    grid: u32,
    shared: u32,
    options: Options,
}

impl<'a> Kernel<'a> {
    fn new(body: &'a str) -> Kernel<'a> {
        Kernel {
            head: ".version 8.0\n.target sm_80",
            module: "",
            body,
            block: 32,
            grid: 1,
            shared: 0,
            options: Options { threads: Some(1), ..Options::default() },
        }
    }

    fn block(self, block: u32) -> Self {
        Kernel { block, ..self }
    }

    fn module(self, module: &'a str) -> Self {
        Kernel { module, ..self }
    }

    fn sanitized(self) -> Self {
        Kernel { options: Options { sanitize: true, ..self.options.clone() }, ..self }
    }

    fn text(&self) -> String {
        format!(
            "{}\n.address_size 64\n{}\n.visible .entry k(.param .u64 p_in, .param .u64 p_out)\n{{\n\
             .reg .b32 %a, %b, %c, %d, %t, %r<40>;\n.reg .b64 %rd<40>, %in, %out;\n.reg .pred %p<20>;\n\
             .reg .b16 %h<20>;\n.reg .b128 %q<4>;\n.reg .f32 %f<20>;\n.reg .f64 %fd<20>;\n\
             ld.param.u64 %rd1, [p_in];\nld.param.u64 %rd2, [p_out];\nmov.u32 %t, %tid.x;\n\
             mad.wide.u32 %in, %t, 12, %rd1;\nmad.wide.u32 %out, %t, 4, %rd2;\n\
             ld.global.b32 %a, [%in];\nld.global.b32 %b, [%in+4];\nld.global.b32 %c, [%in+8];\nmov.b32 %d, 0;\n\
             {}\nst.global.b32 [%out], %d;\nret;\n}}\n",
            self.head, self.module, self.body
        )
    }

    /// PTX line of the first line of the body that contains `what`.
    fn line(&self, what: &str) -> u32 {
        let text = self.text();
        let at = text.lines().position(|line| line.contains(what));
        at.unwrap_or_else(|| panic!("no `{what}` in the kernel")) as u32 + 1
    }

    fn try_run(&self, input: &[[u32; 3]]) -> Result<(Vec<u32>, Outcome), ExecError> {
        let words = |w: &[u32]| w.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let mut padded = input.to_vec();
        padded.resize(self.block as usize, [0; 3]);
        let mut buffers = [words(padded.as_flattened()), vec![0xee; 4 * self.block as usize]];
        let outcome = run(Launch {
            ptx: &self.text(),
            entry: "k",
            grid: [self.grid, 1, 1],
            block: [self.block, 1, 1],
            cluster: [1; 3],
            shared_bytes: self.shared,
            args: vec![Arg::buffer(0), Arg::buffer(1)],
            buffers: &mut buffers,
            options: self.options.clone(),
        })?;
        let out = buffers[1].chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Ok((out, outcome))
    }

    /// Runs a kernel that must do nothing wrong.
    fn run(&self, input: &[[u32; 3]]) -> Vec<u32> {
        let (out, outcome) = self.try_run(input).unwrap_or_else(|e| panic!("{e}\n{}", self.text()));
        assert_eq!(outcome.findings, [], "{}", self.text());
        out
    }

    /// The findings of a kernel that does something wrong: kind, line, other line.
    fn findings(&self) -> Vec<(FindingKind, u32, Option<u32>)> {
        let (_, outcome) = self.try_run(&[]).unwrap_or_else(|e| panic!("{e}\n{}", self.text()));
        outcome.findings.iter().map(|f| (f.kind, f.line, f.other_line)).collect()
    }
}
