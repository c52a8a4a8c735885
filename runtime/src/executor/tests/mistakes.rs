//! What is said of PTX with several mistakes.

use super::super::{ExecError, Grid, Options};
use super::{Arg, Launch, run};

const TWO: &str = ".version 8.6
.target sm_90
.address_size 64
.visible .entry broken(.param .u64 p) {
.reg .b32 %r<4>; .reg .b64 %rd<4>;
add.u33 %r1, %r2, %r3;
mov.u32 %r1, %q7;
alloca.u64 %rd1, %rd2;
ret;
}
.visible .entry fine(.param .u64 p) {
.reg .b32 %r<4>; .reg .b64 %rd<2>;
ld.param.u64 %rd1, [p];
mov.u32 %r1, 7;
st.global.u32 [%rd1], %r1;
ret;
}
.visible .entry unsupported(.param .u64 p) {
.reg .b32 %r<4>; .reg .b64 %rd<4>;
alloca.u64 %rd1, %rd2;
stacksave.u64 %rd1;
ret;
}
";

fn launch(entry: &str) -> Result<Vec<u8>, ExecError> {
    let mut buffers = [vec![0; 4]];
    let Grid { grid, block, cluster, shared_bytes } = Grid::default();
    let args = vec![Arg::buffer(0)];
    let options = Options::default();
    run(Launch {
        ptx: TWO,
        entry,
        grid,
        block,
        cluster,
        shared_bytes,
        args,
        buffers: &mut buffers,
        options,
    })?;
    Ok(buffers[0].clone())
}

fn lines(error: &ExecError) -> Vec<Option<u32>> {
    error.each().iter().map(ExecError::line).collect()
}

#[test]
fn all_mistakes_are_told_at_once() {
    let error = launch("broken").expect_err("it has mistakes");
    assert_eq!(lines(&error), [Some(6), Some(7), Some(8)], "{error}");
    assert_eq!(error.to_string().lines().count(), 3, "{error}");
    let error = launch("unsupported").expect_err("it is refused");
    assert_eq!(lines(&error), [Some(20), Some(21)], "{error}");
    assert_eq!(error.line(), Some(20));
}

#[test]
fn mistakes_in_other_kernels_do_not_matter() {
    assert_eq!(launch("fine"), Ok(vec![7, 0, 0, 0]));
}

#[test]
fn mistakes_in_functions_that_are_not_called_do_not_matter() {
    let ptx = TWO.replace(
        ".visible .entry broken",
        ".func unused () { .reg .b64 %rd<4>; alloca.u64 %rd1, %rd2; ret; }\n.visible .entry broken",
    );
    let run_with = |text: &str| {
        let mut buffers = [vec![0; 4]];
        let Grid { grid, block, cluster, shared_bytes } = Grid::default();
        let (args, options) = (vec![Arg::buffer(0)], Options::default());
        let buffers = &mut buffers;
        let launch =
            Launch { ptx: text, entry: "fine", grid, block, cluster, shared_bytes, args, buffers, options };
        run(launch).map(|outcome| outcome.findings.len())
    };
    assert_eq!(run_with(&ptx), Ok(0));
    let called = ptx.replace("mov.u32 %r1, 7;", "call unused, ();\nmov.u32 %r1, 7;");
    assert!(run_with(&called).is_err());
}
