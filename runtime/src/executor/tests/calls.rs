//! Device functions, `vprintf` and `__assertfail`.

use super::super::{Arg, ExecError, FindingKind, Launch, Options, Outcome, run};
use super::Kernel;

const FUNCTIONS: &str = "
.func (.param .b32 r) twice (.param .b32 x);
.func (.param .b32 r) affine (.param .b32 x, .param .align 8 .b8 by[8])
{
    .reg .b32 %r<6>; .reg .pred %p<2>;
    ld.param.b32 %r1, [x];
    ld.param.v2.b32 {%r2, %r3}, [by];
    setp.eq.u32 %p1, %r1, 3;
    @%p1 bra THREE;
    mad.lo.u32 %r4, %r1, %r2, %r3;
    st.param.b32 [r], %r4;
    ret;
THREE:
    { .param .b32 a; .param .b32 b;
      st.param.b32 [a], 50;
      call.uni (b), twice, (a);
      ld.param.b32 %r4, [b]; }
    st.param.b32 [r], %r4;
    ret;
}
.func (.param .b32 r) twice (.param .b32 x)
{
    .reg .b32 %r<3>; .reg .pred %p<2>;
    ld.param.b32 %r1, [x];
    setp.gt.u32 %p1, %r1, 1000;
    st.param.b32 [r], %r1;
    @%p1 ret;
    add.u32 %r2, %r1, %r1;
    st.param.b32 [r], %r2;
}
.func (.reg .u32 r, .reg .pred q) swap_add (.reg .u32 a, .reg .u32 b)
{
    add.u32 a, a, b;
    mov.u32 r, a;
    setp.gt.u32 q, a, 100;
    ret;
}
.func (.param .b32 r) double_alias (.param .b32 x);
.alias double_alias, twice;
";

#[test]
fn calls_pass_parameters_and_return() {
    let input: Vec<[u32; 3]> = (0..32).map(|i| [i, 10 * i, 990 + i]).collect();
    let body = "
    { .param .b32 p0; .param .align 8 .b8 p1[8]; .param .b32 q;
      st.param.b32 [p0], %a; st.param.b32 [p1], %b; st.param.b32 [p1+4], 7;
      call.uni (q), affine, (p0, p1);
      ld.param.b32 %d, [q]; }";
    let got = Kernel::new(body).module(FUNCTIONS).run(&input);
    for ([a, b, _], got) in input.iter().zip(got) {
        assert_eq!(got, if *a == 3 { 100 } else { a * b + 7 }, "{a} {b}");
    }
    // Registers on both sides, on one side, a literal, a sink; the caller's registers keep their values.
    let body =
        "call (%r3, %p1), swap_add, (%a, 5); call (_, %p2), swap_add, (%b, %a); selp.b32 %r4, 1000, 0, %p1;
                selp.b32 %r5, 2000, 0, %p2; add.u32 %d, %r3, %r4; add.u32 %d, %d, %r5; add.u32 %d, %d, %a;";
    let got = Kernel::new(body).module(FUNCTIONS).run(&input);
    for ([a, b, _], got) in input.iter().zip(got) {
        let high = if a + b > 100 { 2000 } else { 0 };
        assert_eq!(got, a + 5 + a + high, "{a} {b}");
    }
    let got = Kernel::new("call (%d), twice, (%c);").module(FUNCTIONS).run(&input);
    assert!(input.iter().zip(got).all(|([_, _, c], got)| got == if *c > 1000 { *c } else { 2 * c }));
    let got =
        Kernel::new("call (%r1), double_alias, (%a); call (%d), twice, (%r1);").module(FUNCTIONS).run(&input);
    assert!(input.iter().zip(got).all(|([a, ..], got)| got == 4 * a));
}

#[test]
fn guarded_and_divergent_calls_come_back_together() {
    let input: Vec<[u32; 3]> = (0..32).map(|i| [i, i % 3, 0]).collect();
    // A guarded call, two calls in branches, then an instruction that needs the whole warp.
    let body = "mov.b32 %d, 1; setp.eq.u32 %p1, %b, 0; @%p1 call (%d), twice, (%a);
        setp.eq.u32 %p2, %b, 1; @%p2 bra ONE; call (%d), twice, (%d); bra.uni END;
        ONE: call (%d), twice, (50); call (%d), twice, (%d);
        END: bar.sync 0; mov.b32 %r9, -1; redux.sync.max.u32 %r8, %d, %r9; mad.lo.u32 %d, %r8, 1000, %d;";
    let got = Kernel::new(body).module(FUNCTIONS).sanitized().run(&input);
    for ([a, b, _], got) in input.iter().zip(got) {
        let value = match b {
            0 => 4 * a,
            1 => 200,
            _ => 2,
        };
        assert_eq!(got, 200_000 + value, "{a}");
    }
}

#[test]
fn recursion_and_unknown_functions_are_refused_before_the_launch() {
    let recursive = ".func f () { call.uni g; ret; } .func g () { ret; }";
    let refused = |module: &str, body: &str| {
        let kernel = Kernel::new(body);
        let kernel = kernel.module(module);
        match kernel.try_run(&[]) {
            Err(ExecError::Unsupported { line, instruction, why }) => (line, instruction, why),
            other => panic!("{other:?}"),
        }
    };
    let module = ".func f ();\n.func g () { call.uni f; ret; }\n.func f () { call.uni g; ret; }";
    let (line, instruction, why) = refused(module, "call.uni f;");
    assert_eq!((line, &*instruction), (5, "call.uni"), "{why}");
    assert!(why.contains("`f` calls itself"), "{why}");
    let (_, _, why) =
        refused(".extern .func (.param .b64 r) malloc (.param .b64 n);", "call (%rd5), malloc, (8);");
    assert!(why.contains("heap"), "{why}");
    let (_, _, why) = refused(".extern .func helper ();", "call helper;");
    assert!(why.contains("`helper`"), "{why}");
    // What is not called does not matter.
    Kernel::new("mov.b32 %d, 3;").module(&module.replace("\n", " ")).run(&[]);
    let text = Kernel::new("call f;").module(recursive).try_run(&[]);
    assert!(matches!(text, Err(ExecError::Parse { .. })), "a call before the declaration: {text:?}");
    let text = Kernel::new("call (%r1), %rd5, (%r2), proto;").module(FUNCTIONS).try_run(&[]);
    let Err(ExecError::Parse { message, .. }) = text else { panic!("{text:?}") };
    assert!(message.contains("indirect call"), "{message}");
}

fn printing(body: &str, block: u32, grid: u32) -> Outcome {
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64
.extern .func (.param .b32 r) vprintf (.param .b64 f, .param .b64 a);
.extern .func __assertfail (.param .b64 m, .param .b64 f, .param .b32 l, .param .b64 n, .param .b64 s);
.global .align 1 .b8 fmt[] = {{37,100,32,37,46,50,102,32,37,115,32,37,108,108,120,10,0}};
.global .align 1 .b8 name[] = {{104,105,0}};
.visible .entry k()
{{
    .local .align 8 .b8 depot[32]; .reg .b64 %SP, %SPL, %rd<9>; .reg .b32 %r<9>; .reg .f64 %fd<3>; .reg .pred %p<3>;
    mov.u64 %SPL, depot; cvta.local.u64 %SP, %SPL; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x;
    mad.lo.u32 %r1, %r2, 100, %r1;
    {body}
    ret;
}}
"
    );
    run(Launch {
        ptx: &text,
        entry: "k",
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        cluster: [1; 3],
        shared_bytes: 0,
        args: Vec::<Arg>::new(),
        buffers: &mut [],
        options: Options::default(),
    })
    .unwrap_or_else(|e| panic!("{e}\n{text}"))
}

#[test]
fn vprintf_prints_in_order() {
    let body = "cvt.rn.f64.u32 %fd1, %r1; mov.u64 %rd3, name; cvta.global.u64 %rd4, %rd3; mov.u64 %rd5, 0xfeedbeefcafe;
    st.local.u32 [%SPL], %r1; st.local.f64 [%SPL+8], %fd1; st.local.u64 [%SPL+16], %rd4; st.local.u64 [%SPL+24], %rd5;
    mov.u64 %rd1, fmt; cvta.global.u64 %rd2, %rd1; add.u64 %rd6, %SP, 0;
    { .param .b64 param0; st.param.b64 [param0+0], %rd2; .param .b64 param1; st.param.b64 [param1+0], %rd6; .param .b32 retval0;
      call.uni (retval0), vprintf, (param0, param1); ld.param.b32 %r5, [retval0+0]; }
    setp.ne.u32 %p1, %r5, 4; @%p1 trap;";
    let outcome = printing(body, 3, 4);
    assert_eq!(outcome.findings, []);
    let want: String = (0..4)
        .flat_map(|block| (0..3).map(move |thread| 100 * block + thread))
        .map(|n| format!("{n} {n}.00 hi feedbeefcafe\n"))
        .collect();
    assert_eq!(outcome.printed, want);
    let outcome = printing("mov.b32 %r6, 0; cvt.u64.u32 %rd2, %r1; call (%r5), vprintf, (1234, %rd2);", 1, 1);
    assert_eq!(outcome.findings[0].kind, FindingKind::OutOfBounds);
}

#[test]
fn a_failed_assertion_says_which() {
    let body = "mov.u64 %rd1, name; cvta.global.u64 %rd2, %rd1; setp.eq.u32 %p1, %r1, 2;
        @%p1 call __assertfail, (%rd2, %rd2, 42, %rd2, 1);";
    let outcome = printing(body, 4, 1);
    assert_eq!(outcome.findings.len(), 1);
    assert_eq!(outcome.findings[0].kind, FindingKind::Trap);
    assert!(
        outcome.findings[0].message.contains("lane 2: assertion `hi` failed in hi (hi:42)"),
        "{:?}",
        outcome.findings
    );
}

#[test]
fn tables_of_functions_can_be_read_by_who_does_not_call() {
    let module = format!("{FUNCTIONS}.global .align 8 .u64 table[3] = {{twice, 0, affine}};");
    // Two different addresses and a null; nothing lies at the address of a function.
    let body = "ld.global.u64 %rd5, [table];\nld.global.u64 %rd6, [table+16];\nld.global.u64 %rd7, [table+8];\n\
                setp.ne.u64 %p1, %rd5, %rd6;\nselp.b32 %d, 1, 0, %p1;\nsetp.eq.u64 %p1, %rd7, 0;\n@%p1 add.u32 %d, %d, 2;\n\
                setp.ne.u64 %p1, %rd5, 0;\n@%p1 add.u32 %d, %d, 4;";
    assert_eq!(Kernel::new(body).module(&module).run(&[]), [7; 32]);
    let body = "ld.global.u64 %rd5, [table];\nld.global.b32 %d, [%rd5];";
    let kernel = Kernel::new(body).module(&module);
    assert_eq!(kernel.findings()[0].0, FindingKind::OutOfBounds);
    let parsed = tilewright_compiler::ptx::parse(&kernel.text()).expect("it is PTX");
    let printed = tilewright_compiler::ptx::print(&parsed);
    assert!(printed.contains("{twice, 0, affine}"), "{printed}");
}
