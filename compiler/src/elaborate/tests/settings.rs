//! Where values come from, schedules, and the space of tune parameters.

use super::*;
use crate::elaborate::{Argument, tune_space};
use crate::tile::*;

const GEMM: &str = "
fn plain(x, i, j) = x;
fn twice(x, i, j) = x + x;
kernel gemm<T: f16 | bf16, fn epilogue(x, i, j) -> f32 = plain>(a: T[M, K], b: T[N, K], out c: T[M, N]) {
    tune BM in {64, 128, 256}, BN in {64, 128, 192, 256}, BK in {32, 64} where BM * BN <= 32768;
    grid i over M by BM, j over N by BN;
    let mut acc: f32[i, j] = 0;
    for k over K by BK { acc += a[i, k] @ b[j, k].T; }
    c[i, j] = epilogue(acc, i, j) as T;
}
schedule gemm on sm_90a when M >= 1024 { BM = 128; BN = 256; consumers = 2; cluster = (2, 1); persistent; k.stages = 4; k.split = stream; b.evict = last; }
schedule gemm on sm_90a { BM = 64; k.stages = 3; }
";

fn sets(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect()
}

fn bound(k: &Kernel, name: &str) -> (BoundValue, ValueSource) {
    let b = k.bound(name).expect(name);
    (b.value.clone(), b.from)
}

#[test]
fn first_values_are_the_default() {
    let k = kernel(GEMM, "gemm", &Settings::default());
    assert_eq!(bound(&k, "T"), (BoundValue::Type(ElemType::F16), ValueSource::Default));
    assert_eq!(bound(&k, "BM"), (BoundValue::Int(64), ValueSource::Default));
    assert!(k.schedule.is_empty());
}

#[test]
fn set_wins_over_schedule_wins_over_model() {
    let settings = Settings {
        sets: sets(&[
            ("BN", "128"),
            ("T", "bf16"),
            ("epilogue", "twice"),
            ("k.stages", "5"),
            ("warps", "(2, 2)"),
        ]),
        target: Some("sm_90a".into()),
        likely_dims: vec![("M".into(), 4096)],
        model: vec![("BM".into(), BoundValue::Int(256)), ("BK".into(), BoundValue::Int(64))],
        ..Settings::default()
    };
    let k = kernel(GEMM, "gemm", &settings);
    assert_eq!(bound(&k, "T"), (BoundValue::Type(ElemType::Bf16), ValueSource::Set));
    assert_eq!(bound(&k, "epilogue"), (BoundValue::Function("twice".into()), ValueSource::Set));
    assert_eq!(bound(&k, "BM"), (BoundValue::Int(128), ValueSource::Schedule));
    assert_eq!(bound(&k, "BN"), (BoundValue::Int(128), ValueSource::Set));
    assert_eq!(bound(&k, "BK"), (BoundValue::Int(64), ValueSource::Model));
    let items: Vec<String> = k.schedule.iter().map(|i| format!("{i} ({})", i.from)).collect();
    let wanted = [
        "consumers = 2 (schedule)",
        "cluster = (2, 1) (schedule)",
        "persistent (schedule)",
        "k.split = stream (schedule)",
        "b.evict = last (schedule)",
        "k.stages = 5 (set)",
        "warps = (2, 2) (set)",
    ];
    assert_eq!(items, wanted);
}

#[test]
fn a_schedule_applies_where_its_condition_is_known_to_hold() {
    let on = |target: &str, m: Option<i64>| {
        let settings = Settings {
            target: Some(target.into()),
            likely_dims: m.map(|m| ("M".to_string(), m)).into_iter().collect(),
            ..Settings::default()
        };
        kernel(GEMM, "gemm", &settings).schedule.len()
    };
    assert_eq!(on("sm_90a", Some(1024)), 6);
    assert_eq!(on("sm_90a", Some(1023)), 1);
    assert_eq!(on("sm_90a", None), 1);
    assert_eq!(on("sm_80", Some(4096)), 0);
}

#[test]
fn arguments_imply_generics() {
    let text = "kernel k<T: f16 | bf16, D: 32..=64 = 32>(a: T[M, D], out c: T[M, D]) { grid i over M by 64; c[i, :] = a[i, :]; }";
    let arguments = vec![Argument {
        name: "a".into(),
        elem: Some(ElemType::Bf16),
        shape: Some(vec![10, 48]),
        origin: None,
    }];
    let k = kernel(text, "k", &Settings { arguments, ..Settings::default() });
    assert_eq!(bound(&k, "T"), (BoundValue::Type(ElemType::Bf16), ValueSource::Implied));
    assert_eq!(bound(&k, "D"), (BoundValue::Int(48), ValueSource::Implied));
}

#[test]
fn an_argument_that_implies_no_alternative_is_shown() {
    let text = "kernel k<T: f16 | bf16>(a: T[M], out c: T[M]) { grid i over M by 64; c[i] = a[i]; }";
    let arguments = vec![Argument { name: "a".into(), elem: Some(ElemType::F32), shape: None, origin: None }];
    let mut sources = SourceMap::default();
    let (program, _) = load(&mut sources, &Memory::from([("t.tw", text)]), "t.tw");
    let (_, diagnostics) = elaborate(&program, "k", &Settings { arguments, ..Settings::default() });
    let said = diagnostics.render(&sources, false);
    assert!(said.contains("`T = f32` is not among its alternatives"), "{said}");
    assert!(said.contains("the argument given here implies it"), "{said}");
    assert!(said.contains("t.tw:1:25"), "the place is the parameter `a`: {said}");
}

#[test]
fn the_first_legal_combination_is_taken_and_all_are_listed() {
    let text = "kernel k(out c: f32[M, N]) {
        tune A in {128, 32}, B in 32..=96 step 32, C in {7, 8} where A + B <= 128, B % A == 0 || A == 32;
        grid i over M by A, j over N by B; c[i, j] = C as f32;
    }";
    let k = kernel(text, "k", &Settings::default());
    assert_eq!((bound(&k, "A").0, bound(&k, "B").0), (BoundValue::Int(32), BoundValue::Int(32)));
    let (_, program, _) = program(text);
    let (space, diagnostics) = tune_space(&program, "k", &Settings::default(), 1000);
    assert!(diagnostics.is_empty());
    assert_eq!(space.len(), 3 * 2, "A = 32, B in {{32, 64, 96}}, C in {{7, 8}}");
    let settings = Settings { sets: sets(&[("B", "64")]), ..Settings::default() };
    assert_eq!(tune_space(&program, "k", &settings, 1000).0.len(), 2);
}

#[test]
fn gemm_has_the_combinations_that_fit() {
    let (_, program, _) = program(GEMM);
    let (space, _) = tune_space(&program, "gemm", &Settings::default(), 1000);
    assert_eq!(space.len(), (4 + 4 + 2) * 2, "256 goes with 64 and 128 only");
}

#[test]
fn a_misspelled_dimension_is_guessed() {
    let settings = Settings { dims: vec![("KK".into(), 64)], ..Settings::default() };
    let (sources, program, _) = program(GEMM);
    let (_, diagnostics) = elaborate(&program, "gemm", &settings);
    insta::assert_snapshot!(diagnostics.render(&sources, false));
}

#[test]
fn frozen_dimensions_are_static() {
    let text = "kernel k(a: f32[M, K], out c: f32[M]) { grid i over M by 64; c[i] = sum(a[i, :] over K); }";
    let k = kernel(text, "k", &Settings { dims: vec![("K".into(), 96)], ..Settings::default() });
    assert_eq!(k.dims[1].frozen, Some(96));
    assert!(k.axes.iter().any(|a| a.name == "K" && a.extent == 96 && a.kind == AxisKind::Dim));
}

#[test]
fn captures_become_parameters_in_order_of_appearance() {
    let text = "
fn f(x, j) using bias: f32[N], scale: f32 = x * scale + bias[j];
fn g(x, j) using shift: f32[B + 1] = f(x, j) + shift[j];
fn plain(x, j) = x;
kernel k<fn e(x, j) -> f32 = plain>(a: f32[N], out c: f32[N]) { grid j over N by 64; c[j] = e(a[j], j); }
kernel kg = k<e = g>;";
    let k = kernel(text, "kg", &Settings::default());
    let names: Vec<&str> = k
        .params
        .iter()
        .map(|p| match p {
            Param::Tensor(t) => k.tensor(*t).name.as_str(),
            Param::Scalar(s) => k.scalar(*s).name.as_str(),
        })
        .collect();
    assert_eq!(names, ["a", "c", "shift", "bias", "scale"]);
    let b = k.dims.iter().find(|d| d.name == "B").expect("B is bound by the capture");
    assert!(matches!(b.source, DimSource::Shape { axis: 0, scale: 1, offset: 1, .. }));
}

#[test]
fn a_declared_reduction_is_one_that_the_loop_reads_nowhere_else() {
    let kinds = |body: &str| {
        let text = format!(
            "kernel k(a: f32[M, K], out c: f32[M]) {{ grid i over M by 64; let mut s: f32[i] = 0;
             for k over K by 32 {{ {body} }} c[i] = s; }}"
        );
        let k = kernel(&text, "k", &Settings::default());
        k.loops.iter().map(|l| l.carried[0].kind).collect::<Vec<_>>()
    };
    let add = CarryKind::Assoc(Combine::Add);
    assert_eq!(kinds("s += sum(a[i, k] over k);"), [add]);
    assert_eq!(kinds("s = s + sum(a[i, k] over k);"), [CarryKind::Seq]);
    assert_eq!(kinds("s += sum(a[i, k] over k); s max= 1;"), [CarryKind::Seq]);
    assert_eq!(kinds("s += sum(a[i, k] over k) * s;"), [CarryKind::Seq]);
    assert_eq!(kinds("s -= sum(a[i, k] over k);"), [CarryKind::Seq]);
    assert_eq!(kinds("for q over 4 { s += a[i, q]; }"), [add, add]);
    assert_eq!(kinds("for q over 4 { s += a[i, q]; } c[i] = s;"), [CarryKind::Seq, add]);
    assert_eq!(kinds("if k.lo > 3 { s += sum(a[i, k] over k); }"), [add]);
    assert_eq!(kinds("s max= max(a[i, k] over k);"), [CarryKind::Assoc(Combine::Max)]);
}

#[test]
fn a_write_that_depends_on_nothing_happens_once() {
    let text = "kernel k(a: f32[M], out c: f32[M]) { grid i over M by 64, s over 4; c[i] = a[i]; }";
    let k = kernel(text, "k", &Settings::default());
    let once: Vec<_> = k
        .body
        .stmts
        .iter()
        .filter_map(|s| match s {
            Stmt::Write(w) => Some(w.once_over.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(once, [vec![GridId(1)]]);
}

#[test]
fn static_conditions_keep_one_branch() {
    let text = "kernel k<WIDE: true | false>(a: f32[M], b: f16[M], out c: f32[M]) { grid i over M by 64;
        if WIDE { c[i] = a[i]; } else { c[i] = b[i] as f32; } }";
    for (wide, tensor) in [("true", "a"), ("false", "b")] {
        let k = kernel(text, "k", &Settings { sets: sets(&[("WIDE", wide)]), ..Settings::default() });
        let read: Vec<&str> = k
            .values
            .iter()
            .filter_map(|v| match &v.op {
                Op::Read { tensor, .. } => Some(k.tensor(*tensor).name.as_str()),
                _ => None,
            })
            .collect();
        assert!(k.ifs.is_empty());
        assert_eq!(read, [tensor]);
    }
}
