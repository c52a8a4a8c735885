//! Schedule items: each changes the PTX as it should, what is printed can be pasted back, and what cannot be had is refused with reasons.

use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::compile::{Options, compile};
use tilewright_compiler::diagnostics::SourceMap;
use tilewright_compiler::front::Memory;
use tilewright_compiler::target::Target;

const GEMM: &str = include_str!("../../dsl_examples/gemm.tw");
const LAYOUTS: &str = include_str!("../../dsl_examples/gemm_layouts.tw");
const SPLIT: &str = include_str!("../../dsl_examples/gemm_splitk.tw");
const EXPERTS: &str = include_str!("../../dsl_examples/moe_gemm.tw");
const PACKED: &str = include_str!("../../dsl_examples/qgemm.tw");
const BYTES: &str = include_str!("../../dsl_examples/gemm_s8.tw");
const SOFTMAX: &str = include_str!("../../dsl_examples/softmax.tw");

fn try_compile(text: &str, kernel: &str, sets: &[(&str, &str)]) -> Result<Compiled, String> {
    let files = Memory::from([("program.tw", text)]);
    let mut sources = SourceMap::default();
    let mut options = Options::new(Target::Sm80);
    options.kernel = Some(kernel.into());
    options.settings.sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    compile(&mut sources, &files, "program.tw", &options).map_err(|d| d.render(&sources, false))
}

fn compiled(text: &str, kernel: &str, sets: &[(&str, &str)]) -> Compiled {
    try_compile(text, kernel, sets).unwrap_or_else(|e| panic!("{sets:?}: {e}"))
}

/// The small GEMM with more settings.
fn gemm(sets: &[(&str, &str)]) -> Compiled {
    let tile = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "3")];
    let own = |n: &str| sets.iter().any(|(m, _)| *m == n);
    let all: Vec<_> = tile.into_iter().filter(|(n, _)| !own(n)).chain(sets.iter().copied()).collect();
    compiled(GEMM, "gemm", &all)
}

fn softmax(sets: &[(&str, &str)]) -> Compiled {
    compiled(SOFTMAX, "softmax", sets)
}

/// The text of one variant's entry.
fn entry<'a>(c: &'a Compiled, variant: &str) -> &'a str {
    let start = c.ptx.find(&format!("_{variant}(")).expect("every kernel has three variants");
    let rest = &c.ptx[start..];
    &rest[..rest.find("\n}").unwrap_or(rest.len())]
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

#[test]
fn occupancy_is_what_the_assembler_is_told() {
    assert!(gemm(&[]).ptx.contains(".minnctapersm 1"));
    assert!(gemm(&[("occupancy", "3")]).ptx.contains(".minnctapersm 3"));
    assert!(softmax(&[("occupancy", "2")]).ptx.contains(".minnctapersm 2"));
}

#[test]
fn a_loop_is_unrolled_as_it_is_told() {
    let copies = |c: &Compiled| count(entry(c, "wide"), "// k: slot");
    assert_eq!((copies(&gemm(&[])), copies(&gemm(&[("k.unroll", "6")]))), (3, 6));
    let rows = |n| softmax(&[("BC", "1024"), ("c.unroll", n)]);
    // Both loops over c, the other's copies too.
    let copies = |c: &Compiled| count(entry(c, "wide"), "// c: slot");
    assert_eq!((copies(&rows("1")), copies(&rows("3"))), (0, 6));
}

#[test]
fn without_overlap_a_step_loads_its_own_fragments() {
    let first_matrix = |c: &Compiled| {
        let text = entry(c, "wide");
        let body = &text[text.find("loop_k:").expect("a loop")..];
        (
            body.find("ldmatrix").expect("fragments"),
            body.find("mma.sync").expect("products"),
            body.find("bar.sync"),
        )
    };
    let (load, product, barrier) = first_matrix(&gemm(&[("k.overlap", "false")]));
    assert!(barrier.is_some_and(|b| b < load) && load < product, "the wait is at the beginning of the step");
    let (_, product, barrier) = first_matrix(&gemm(&[]));
    assert!(barrier.is_some_and(|b| b > product), "the wait is at the end of the step");
}

#[test]
fn an_operand_goes_by_the_way_it_is_told() {
    let ways = |c: &Compiled, variant| {
        let text = entry(c, variant);
        (count(text, "cp.async.cg") + count(text, "cp.async.ca"), count(text, "st.shared"))
    };
    let (both, none) = ways(&gemm(&[]), "wide");
    assert!(both > 0 && none == 0);
    let (half, stores) = ways(&gemm(&[("a.via", "direct")]), "wide");
    assert!(half == both / 2 && stores > 0, "{half} of {both}, {stores} stores");
    assert!(entry(&gemm(&[("a.via", "direct")]), "wide").contains("st.shared.v4.b32"));
    assert_eq!(ways(&gemm(&[("a.via", "direct"), ("b.via", "direct")]), "mid").0, 0);
    // Across the contracted range, too.
    let tile = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("b.via", "direct")];
    let across = compiled(LAYOUTS, "gemm_nn", &tile);
    assert!(entry(&across, "wide").contains("st.shared.v4.b32"));
}

#[test]
fn sums_are_promoted_as_often_as_is_said() {
    let adds = |c: &Compiled| {
        let text = entry(c, "wide");
        let body = &text[text.find("loop_k:").expect("a loop")..text.find("done_k:").expect("its end")];
        count(body, "add.f32")
    };
    // Of 64×64 in four warps a thread has 32 sums; the loop has three steps, or six.
    assert_eq!(adds(&gemm(&[])), 0);
    assert_eq!(adds(&gemm(&[("acc.promote", "1")])), 3 * 32);
    assert_eq!(adds(&gemm(&[("acc.promote", "3")])), 32);
    assert_eq!(adds(&gemm(&[("acc.promote", "2")])), 3 * 32);
}

#[test]
fn a_tensor_leaves_the_cache_as_it_is_told() {
    assert!(!gemm(&[]).ptx.contains("createpolicy"));
    let c = gemm(&[("b.evict", "last"), ("c.evict", "first")]);
    let text = entry(&c, "wide");
    assert!(text.contains("createpolicy.fractional.L2::evict_last.b64"));
    assert!(text.contains("createpolicy.fractional.L2::evict_first.b64"));
    let hinted = text.lines().filter(|l| l.contains("cp.async.cg") && l.contains("L2::cache_hint")).count();
    assert_eq!(2 * hinted, count(text, "cp.async.cg"), "b's copies, and not a's");
    assert!(text.lines().filter(|l| l.contains("st.global")).all(|l| l.contains("L2::cache_hint")));
    assert!(entry(&softmax(&[("x.evict", "first")]), "mid").contains("ld.global.L2::cache_hint"));
}

#[test]
fn what_is_printed_can_be_pasted_back() {
    let pinned: [(&str, &str, &str, &[(&str, &str)]); 11] = [
        (GEMM, "gemm", "", &[]),
        (GEMM, "gemm", "", &[("k.split", "stream")]),
        (
            GEMM,
            "gemm",
            "",
            &[("BM", "64"), ("BN", "64"), ("BK", "32"), ("persistent", "static"), ("occupancy", "2")],
        ),
        (GEMM, "gemm", "", &[("BM", "64"), ("BN", "64"), ("BK", "32"), ("persistent", "dynamic")]),
        (GEMM, "gemm", "", &[("BM", "64"), ("BN", "64"), ("BK", "32"), ("acc.promote", "2")]),
        (PACKED, "qgemm", "", &[("w.pack", "dense")]),
        (SOFTMAX, "softmax", "", &[("persistent", "dynamic")]),
        (
            GEMM,
            "gemm",
            "",
            &[
                ("BM", "64"),
                ("BN", "128"),
                ("BK", "64"),
                ("warps", "(2, 4)"),
                ("raster", "4"),
                ("occupancy", "2"),
                ("k.stages", "2"),
                ("k.unroll", "4"),
                ("k.overlap", "false"),
                ("acc.atom", "m16n8k16.f16"),
                ("a.via", "cpasync"),
                ("b.evict", "last"),
                ("c.evict", "first"),
            ],
        ),
        (GEMM, "gemm_bias_gelu", "", &[("bias.evict", "last")]),
        (LAYOUTS, "gemm_tn", "", &[("a.via", "direct")]),
        (
            SOFTMAX,
            "softmax",
            "",
            &[("c.unroll", "2"), ("occupancy", "2"), ("x.evict", "last"), ("x.via", "direct")],
        ),
    ];
    for (text, kernel, _, sets) in pinned {
        let first = compiled(text, kernel, sets);
        let schedule = first.meta.schedule_text();
        for (path, value) in sets {
            assert!(schedule.contains(&format!("{path} = {value};")), "{path} is missing: {schedule}");
        }
        let again = compiled(&format!("{text}\n{schedule}"), kernel, &[]);
        assert_eq!(again.meta.schedule_text(), schedule, "{kernel}");
        // The lines of the schedule come after the kernel, so places in the source are the same.
        assert_eq!(again.ptx, first.ptx, "{kernel}");
        let paths: Vec<(String, String)> =
            first.meta.schedule.iter().map(|i| (i.path.clone(), i.value.clone())).collect();
        let paths: Vec<(&str, &str)> = paths.iter().map(|(p, v)| (p.as_str(), v.as_str())).collect();
        assert_eq!(compiled(text, kernel, &paths).ptx, first.ptx, "{kernel}, by --set");
    }
}

/// What is pinned narrows the choice of the rest, and is refused only where nothing fits beside it.
#[test]
fn the_model_chooses_beside_what_is_pinned() {
    const MOE: &str = include_str!("../../dsl_examples/moe_gemm.tw");
    let item = |c: &Compiled, path: &str| {
        let found = c.meta.schedule.iter().find(|i| i.path == path);
        found.map(|i| i.value.clone()).unwrap_or_default()
    };
    // Sixteen rows of 32 are 64 copies of sixteen bytes: work for two warps.
    let c = compiled(MOE, "moe_gemm", &[("BM", "16"), ("BK", "32")]);
    assert_eq!(item(&c, "warps"), "(1, 2)");
    let c = compiled(MOE, "moe_gemm", &[("BM", "16")]);
    assert_eq!(item(&c, "BM"), "16");
    // A whole tile for four warps in a row; slots that divide the turns of the loop.
    let c = compiled(GEMM, "gemm", &[("warps", "(1,4)")]);
    assert_eq!(item(&c, "warps"), "(1, 4)");
    assert_eq!(item(&compiled(GEMM, "gemm", &[("k.unroll", "5")]), "k.stages"), "5");
    // One warp holds no tile but the smallest.
    let c = compiled(MOE, "moe_gemm", &[("warps", "(1,1)")]);
    assert_eq!((item(&c, "BM"), item(&c, "BN")), ("32".into(), "64".into()));
    assert!(try_compile(GEMM, "gemm", &[("warps", "(16,1)")]).is_ok_and(|c| item(&c, "BM") == "256"));
}

/// Scans of 64-bit values take more registers than two tiles: other warps are chosen, or the tile is refused.
#[test]
fn scans_of_wide_values_choose_warps_that_hold_them() {
    let text = "kernel run<T: i64 | i32>(x: T[R, C], out y: T[R, C], out z: T[R, C]) {
        tune BC in {4096, 8192, 16384};
        grid r over R;
        let c = 0..C by BC;
        y[r, c] = cumsum(x[r, c] over c);
        z[r, c] = cummax(x[r, c] over rev(c));
    }";
    let warps = |t: &str, bc: &str| {
        let c = try_compile(text, "run", &[("T", t), ("BC", bc)]).ok()?;
        c.meta.schedule.iter().find(|i| i.path == "warps").map(|i| i.value.clone())
    };
    let chosen = [("i32", "4096"), ("i32", "16384"), ("i64", "4096"), ("i64", "8192")];
    let chosen = chosen.map(|(t, bc)| warps(t, bc));
    assert_eq!(chosen, [Some("8".into()), None, Some("16".into()), None]);
}

#[test]
fn what_cannot_be_had_is_refused_with_reasons() {
    let refusals: [&[(&str, &str)]; 24] = [
        &[("k.stages", "9")],
        &[("k.stages", "fast")],
        &[("k.stages", "3"), ("k.unroll", "4")],
        &[("warps", "(3, 2)")],
        &[("BM", "64"), ("BN", "64"), ("BK", "32"), ("warps", "(8, 2)")],
        &[("occupancy", "40")],
        &[("BM", "128"), ("BN", "128"), ("BK", "32"), ("k.stages", "4"), ("occupancy", "4")],
        &[
            ("BM", "64"),
            ("BN", "64"),
            ("BK", "32"),
            ("k.stages", "3"),
            ("warps", "(2, 4)"),
            ("occupancy", "9"),
        ],
        &[("a.via", "tma")],
        &[("c.via", "cpasync")],
        &[("b.evict", "never")],
        &[("acc.atom", "m16n8k8.f16")],
        &[("consumers", "2")],
        &[("producer", "tma")],
        &[("cluster", "(2, 1)")],
        &[("pingpong", "true")],
        &[("b.multicast", "true")],
        &[("b.pack", "dense")],
        &[("acc.promote", "0")],
        &[("acc.promote", "4"), ("k.unroll", "6")],
        &[("acc.promote", "5"), ("k.stages", "3")],
        &[("persistent", "often")],
        &[("k.split", "0")],
        &[("k.overlap", "2")],
    ];
    let mut all = String::new();
    for sets in refusals {
        let error = try_compile(GEMM, "gemm", sets).expect_err("no such schedule can be had");
        assert!(error.contains("E0703"), "{sets:?}: {error}");
        let sets: Vec<String> = sets.iter().map(|(n, v)| format!("--set {n}={v}")).collect();
        all += &format!("{}\n{error}\n", sets.join(" "));
    }
    let grids = "kernel p(a: f16[M, K], b: f16[N, K], out c: f32[M, N]) {
    grid i over M by 64, j over N by 64;
    let mut acc: f32[i, j] = 0;
    for k over 0..j.hi by 32 { acc += a[i, k] @ b[j, k].T; }
    c[i, j] = acc;
}";
    for (text, kernel, set) in [
        (SOFTMAX, "softmax", ("c.split", "stream")),
        (SPLIT, "gemm_splitk", ("k.split", "stream")),
        (SPLIT, "gemm_splitk", ("persistent", "static")),
        (PACKED, "qgemm", ("w.pack", "planes")),
        (BYTES, "gemm_s8", ("acc.promote", "2")),
        (EXPERTS, "moe_gemm", ("k.split", "stream")),
        (EXPERTS, "moe_gemm", ("persistent", "static")),
        (grids, "p", ("k.split", "stream")),
    ] {
        let error = try_compile(text, kernel, &[set]).expect_err("no such schedule can be had");
        all += &format!("{kernel} --set {}={}\n{error}\n", set.0, set.1);
    }
    let depth = GEMM.replace("BK in {32, 64}", "BK in {48, 96}");
    for sets in [&[][..], &[("warps", "(2, 2)")]] {
        all +=
            &format!("BK = 48 {sets:?}\n{}\n", try_compile(&depth, "gemm", sets).expect_err("a depth of 48"));
    }
    insta::assert_snapshot!("refusals", all);
}

/// Values that no range can have are never looked at by the model, and refused where they are asked for.
#[test]
fn values_of_tune_parameters_may_be_anything() {
    let text = |tune: &str| {
        format!(
            "kernel p(a: f16[M, K], b: f16[N, K], out c: f32[M, N]) {{
                 tune {tune};
                 grid i over M by BM, j over N by 64;
                 let mut acc: f32[i, j] = 0;
                 for k over K by BK {{ acc += a[i, k] @ b[j, k].T; }}
                 c[i, j] = acc;
             }}"
        )
    };
    for tune in [
        "BK in {32, 0}, BM in {64}",
        "BK in {32}, BM in {64, 0}",
        "BK in {32, 48, 1, 7, 524288, 1048576, 1099511627776, 9223372036854775807}, BM in {64, 1048576, 9223372036854775807}",
        "BK in {32, -1}, BM in {64, -64}",
    ] {
        compiled(&text(tune), "p", &[]);
    }
    for (n, code) in [("0", "E0310"), ("1099511627776", "E0310"), ("1048576", "E0307"), ("7", "E0703")] {
        let said =
            try_compile(&text("BK in {32, 0, 7, 1048576, 1099511627776}, BM in {64}"), "p", &[("BK", n)]);
        assert!(said.as_ref().is_err_and(|e| e.contains(code)), "{n}: {:?}", said.err());
    }
    // Nor do they overflow where rows are to be held whole.
    let rows = "kernel r(x: f32[R, 100], out y: f32[R]) {
        tune BC in {32, 9223372036854775807}, X in {1, 9223372036854775807};
        grid i over R by 8;
        let mut s: f32[i] = 0;
        for c over 100 by BC { s += sum(x[i, c] over c); }
        y[i] = s;
    }";
    compiled(rows, "r", &[]);
}

/// What the text alone puts beyond 32 bits is refused, and nothing else is.
#[test]
fn coordinates_beyond_32_bits_are_refused() {
    let text = |range: &str, at: &str| {
        format!(
            "kernel p(x: f32[N], b: i32, out y: f32[N], out c: i64[N]) {{
                 grid i over N by 64;
                 let mut n: i64 = 0;
                 for t over {range} {{ n += t as i64; }}
                 c[i] = n;
                 y[i] = x[{at}];
             }}"
        )
    };
    for (range, at, what) in [
        ("4294967290..4294967301", "i", "the start of the loop over `t`, which is 4294967290,"),
        ("4294967297", "i", "the end of the loop over `t`, which is 4294967297,"),
        ("-2147483648..2147483647", "i", "the length of the loop over `t`, which is 4294967295,"),
    ] {
        let said = try_compile(&text(range, at), "p", &[]).map(|_| ()).expect_err("refused");
        assert!(said.contains(what) && said.contains("E0901"), "{said}");
    }
    for (range, at) in [("0..2147483647", "i"), ("4294967297..4294967297", "i"), ("4", "(i + 1) * b - 3")] {
        compiled(&text(range, at), "p", &[]);
    }
}

/// A scalar that promises to lie inside needs no test of its own; another has one, before the loop.
#[test]
fn a_promised_scalar_is_a_subscript_of_an_operand() {
    let text = |promise: &str| {
        format!(
            "kernel p(x: f16[B, M, K], w: f16[N, K], at: i32{promise}, out y: f32[M, N]) {{
                 grid i over M by 64, j over N by 64;
                 let mut acc: f32[i, j] = 0;
                 for k over K by 32 {{ acc += x[at, i, k] @ w[j, k].T; }}
                 y[i, j] = acc;
             }}"
        )
    };
    let tested = |promise: &str| compiled(&text(promise), "p", &[]).ptx.contains("setp.lt.u64");
    assert!(!tested(" in 0..B"));
    for promise in ["", " in 0..=B", " in -1..B", " in 0..M"] {
        assert!(tested(promise), "{promise}");
    }
}
