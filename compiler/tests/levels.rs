//! Every level of the example GEMM as a snapshot, and its PTX for each target.
//!
//! A small tile with two stages keeps the dumps short enough to read from text to PTX.

use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::Memory;
use tilewright_compiler::target::Target;
use tilewright_compiler::tile::ir as t1;

fn gemm(target: Target, sets: &[(&str, &str)]) -> Result<Compiled, String> {
    example("gemm.tw", include_str!("../../dsl_examples/gemm.tw"), "gemm", target, sets)
}

fn example(
    file: &str,
    text: &str,
    kernel: &str,
    target: Target,
    sets: &[(&str, &str)],
) -> Result<Compiled, String> {
    let files = Memory::from([(file, text)]);
    let mut sources = SourceMap::default();
    let mut options = Options::new(target);
    options.dumps = true;
    options.verify = true;
    options.settings.sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    options.kernel = Some(kernel.into());
    compile(&mut sources, &files, file, &options).map_err(|d| d.render(&sources, false))
}

fn small(target: Target) -> Compiled {
    gemm(target, &[("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "2")]).expect("it compiles")
}

/// The part of a dump that belongs to the wide variant.
fn wide(text: &str, start: &str, end: &str) -> String {
    let from = text.find(start).unwrap_or(0);
    let rest = &text[from..];
    rest[..rest.find(end).unwrap_or(rest.len())].to_string()
}

#[test]
fn tile() {
    insta::assert_snapshot!(small(Target::Sm80).dumps.tile);
}

#[test]
fn scheduled() {
    let text = small(Target::Sm80).dumps.scheduled;
    insta::assert_snapshot!(text);
}

#[test]
fn warp() {
    let text = small(Target::Sm80).dumps.warp;
    insta::assert_snapshot!(wide(&text, "warp gemm_wide", "warp gemm_mid"));
}

#[test]
fn ptx_of_each_target() {
    let mut plain: Option<String> = None;
    for target in Target::ALL {
        let text = small(target).ptx;
        assert!(text.contains(&format!(".target {target}")), "{target}");
        // The same code for every target: only the first lines differ.
        let code = text[text.find(".visible").expect("an entry")..].to_string();
        match &plain {
            None => {
                insta::assert_snapshot!("ptx_sm_80", wide(&text, ".version", ".visible .entry gemm_mid"));
                plain = Some(code);
            }
            Some(first) => assert_eq!(first, &code, "{target}"),
        }
    }
}

#[test]
fn operands_across_the_contracted_axis() {
    let text = include_str!("../../dsl_examples/gemm_layouts.tw");
    let sets = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "2")];
    let tn = example("gemm_layouts.tw", text, "gemm_tn", Target::Sm80, &sets).expect("it compiles");
    insta::assert_snapshot!("tn_scheduled", wide(&tn.dumps.scheduled, "scheduled", "variant mid"));
    insta::assert_snapshot!("tn_warp", wide(&tn.dumps.warp, "warp gemm_tn_wide", "warp gemm_tn_mid"));
}

#[test]
fn blocks_that_share_steps() {
    let sets = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "2"), ("k.split", "stream")];
    let c = gemm(Target::Sm80, &sets).expect("it compiles");
    insta::assert_snapshot!("stream_scheduled", wide(&c.dumps.scheduled, "scheduled", "variant mid"));
    let meta = c.meta.to_json(&c.kernel);
    let launch = &meta["launches"][0];
    insta::assert_snapshot!(
        "stream_meta",
        serde_json::to_string_pretty(&[&launch["workspace"], &launch["variants"][0]["workers"]])
            .expect("JSON")
    );
}

#[test]
fn meta_and_schedule() {
    let c = small(Target::Sm80);
    insta::assert_snapshot!("meta", serde_json::to_string_pretty(&c.meta.to_json(&c.kernel)).expect("JSON"));
    insta::assert_snapshot!("schedule", c.meta.schedule_text());
}

#[test]
fn the_schedule_pins_what_was_chosen() {
    let chosen = gemm(Target::Sm80, &[]).expect("it compiles");
    let sets: Vec<(&str, &str)> =
        chosen.meta.schedule.iter().map(|i| (i.path.as_str(), i.value.as_str())).collect();
    let pinned = gemm(Target::Sm80, &sets).expect("it compiles again");
    assert_eq!(chosen.ptx, pinned.ptx);
}

#[test]
fn impossible_schedules_are_said_before_ptx() {
    let say = |target, sets: &[(&str, &str)]| gemm(target, sets).map(|_| ()).expect_err("it must be refused");
    let big = [("BM", "128"), ("BN", "256"), ("BK", "64"), ("k.stages", "6")];
    insta::assert_snapshot!("too_much_shared", say(Target::Sm86, &big));
    let few = [("BM", "128"), ("BN", "256"), ("BK", "32"), ("warps", "(2,2)")];
    insta::assert_snapshot!("too_many_registers", say(Target::Sm80, &few));
    let thin = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("warps", "(8,1)")];
    insta::assert_snapshot!("warps_do_not_divide", say(Target::Sm80, &thin));
    insta::assert_snapshot!("seven_stages", say(Target::Sm80, &[("k.stages", "7")]));
}

#[test]
fn what_only_the_evaluator_runs_is_refused_plainly() {
    let files = Memory::from([(
        "rows.tw",
        "kernel rows(x: f64[R, C], out y: f64[R, C]) { grid r over R by 8, c over C by 32; y[r, c] = sqrt(x[r, c]); }",
    )]);
    let mut sources = SourceMap::default();
    let refused = compile(&mut sources, &files, "rows.tw", &Options::new(Target::Sm80));
    insta::assert_snapshot!(refused.map(|_| ()).expect_err("no code for it yet").render(&sources, false));
}

/// Every refusal says why, and what to write instead.
#[test]
fn refusals_say_why_and_what_to_do() {
    let text = include_str!("refused/programs.tw");
    let files = Memory::from([("programs.tw", text)]);
    let names = text.lines().filter_map(|l| l.strip_prefix("kernel ")?.split('(').next());
    let mut said = String::new();
    for name in names {
        let mut sources = SourceMap::default();
        let mut options = Options::new(Target::Sm80);
        options.kernel = Some(name.into());
        let refused = compile(&mut sources, &files, "programs.tw", &options).map(|_| ());
        let refused = refused.expect_err(&format!("{name}: no code for it yet"));
        for d in refused.iter() {
            assert!(d.notes.len() > 1 && !d.help.is_empty(), "{name}: {}", refused.render(&sources, false));
        }
        said += &format!("{name}\n{}\n", refused.render(&sources, false));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn same_input_same_bytes() {
    assert_eq!(small(Target::Sm80).ptx, small(Target::Sm80).ptx);
}

#[test]
fn a_row_kernel_at_every_level() {
    let files = Memory::from([("softmax.tw", include_str!("../../dsl_examples/softmax.tw"))]);
    let mut sources = SourceMap::default();
    let mut options = Options::new(Target::Sm80);
    options.dumps = true;
    options.verify = true;
    options.settings.sets = vec![("BC".into(), "256".into()), ("warps".into(), "2".into())];
    let compiled = match compile(&mut sources, &files, "softmax.tw", &options) {
        Ok(c) => c,
        Err(d) => panic!("{}", d.render(&sources, false)),
    };
    insta::assert_snapshot!("softmax_tile", compiled.dumps.tile);
    insta::assert_snapshot!("softmax_scheduled", compiled.dumps.scheduled);
    insta::assert_snapshot!("softmax_ptx", compiled.ptx);
}

/// With the row's length frozen, its tile holds the row, and each element is loaded once.
#[test]
fn a_frozen_row_is_read_once() {
    let rows = [
        ("softmax.tw", include_str!("../../dsl_examples/softmax.tw"), 1),
        ("rmsnorm.tw", include_str!("../../dsl_examples/rmsnorm.tw"), 2),
        ("layernorm.tw", include_str!("../../dsl_examples/layernorm.tw"), 3),
    ];
    for (name, text, tensors) in rows {
        let files = Memory::from([(name, text)]);
        let mut sources = SourceMap::default();
        let mut options = Options::new(Target::Sm80);
        options.settings.dims = vec![("C".into(), 4096)];
        let compiled = match compile(&mut sources, &files, name, &options) {
            Ok(c) => c,
            Err(d) => panic!("{}", d.render(&sources, false)),
        };
        let reads = compiled.kernel.values.iter().filter(|v| matches!(v.op, t1::Op::Read { .. })).count();
        assert_eq!((reads, compiled.kernel.loops.len()), (tensors, 0), "{name}");
    }
}

/// A golden file of this level alone notices a changed number, wherever it stands.
#[test]
fn the_scheduled_level_shows_every_number() {
    let text = |bound: &str, scale: &str| {
        let source = format!(
            "kernel k(x: f32[N], out y: f32[N], s: f32 = 1.0) {{
                grid n over N by 128;
                let t = s * {scale};
                y[n] = max(x[n] * t, {bound});
            }}"
        );
        let compiled = example("k.tw", &source, "k", Target::Sm80, &[]).expect("it compiles");
        wide(&compiled.dumps.scheduled, "scheduled", "variant mid")
    };
    let one = text("5.0", "3.0");
    assert_ne!(one, text("6.0", "3.0"));
    assert_ne!(one, text("5.0", "4.0"));
    insta::assert_snapshot!("numbers_scheduled", one);
}
