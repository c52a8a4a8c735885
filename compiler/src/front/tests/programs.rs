//! Everything that the language reference writes down loads.

use super::good;
use crate::front::{LocalKind, Res, ast};

pub const GEMM: &str = include_str!("../../../../dsl_examples/gemm.tw");

pub const ATTENTION: &str = r#"
fn causal(b, h, i, j) using S, L = j <= i + (L - S);
fn document(b, h, i, j) using dq: i32[B, S], dk: i32[B, L] = dq[b, i] == dk[b, j];
fn softcap(s, b, h, i, j) using cap: f32 = cap * tanh(s / cap);
fn learned(h) using sink_logit: f32[HQ] = sink_logit[h];
fn always(b, h, i, j) = true;
fn same(s, b, h, i, j) = s;
fn no_sink(h) = -inf;
kernel attention<T: f16 | bf16, D: 32..=576 = 128, DV: 32..=512 = D, fn mask(b, h, i, j) -> bool = always,
                 fn score(s, b, h, i, j) -> f32 = same, fn sink(h) -> f32 = no_sink>(
    q: T[B, HQ, S, D] strides(_, _, _, 1), k: T[B, HKV, L, D] strides(_, _, _, 1), v: T[B, HKV, L, DV] strides(_, _, _, 1),
    out o: T[B, HQ, S, DV] strides(_, _, _, 1), out lse: f32[B, HQ, S], scale: f32 = 1 / sqrt(D as f32),
) where HQ % HKV == 0 {
    tune BQ in {64, 128, 192, 16}, BR in {1, 4, 8, 16}, BKV in 32..=256 step 16 where BQ * BR <= 256;
    let R = HQ / HKV;
    grid b over B, g over HKV, r over R by BR, i over S by BQ;      // BR > 1 packs query heads into M
    let h = g * R + r;
    let mut m: f32[r, i] = sink(h) * LOG2E;
    let mut l: f32[r, i] = where(m > -inf, 1, 0);
    let mut acc: f32[r, i, DV] = 0;
    for j over L by BKV when mask(b, h, i, j) {
        let z = score((q[b, h, i, :] @ k[b, g, j, :].T) * scale, b, h, i, j) * LOG2E;
        let s: f32[r, i, j] = where(mask(b, h, i, j), z, -inf);
        let m_new = max(m, max(s over j));
        let base = where(m_new == -inf, 0, m_new);               // −inf − −inf would be NaN
        let p = exp2(s - base);
        let alpha = exp2(m - base);
        l = l * alpha + sum(p over j);
        acc = acc * alpha + (p as T) @ v[b, g, j, :];
        m = m_new;
    }
    o[b, h, i, :] = where(l > 0, acc / l, 0) as T;
    lse[b, h, i] = where(l > 0, (m + log2(l)) / LOG2E, -inf);
}
kernel attention_causal = attention<mask = causal, T = bf16>;
kernel attention_docs = attention<mask = document, score = softcap, sink = learned>;
schedule attention on sm_90a when S >= 1024 { BQ = 128; consumers = 2; cluster = (2, 1); persistent; pingpong; j.stages = 2; v.evict = last; acc.promote = 4; }
"#;

#[test]
fn gemm() {
    let p = good(GEMM);
    let k = p.kernel(p.kernel_named("gemm").unwrap());
    assert_eq!(k.doc, None, "the doc comment stands before `plain`");
    assert_eq!(p.fns[0].doc.as_deref(), Some("C = A · Bᵀ"));
    assert_eq!(p.entry_names(), ["gemm", "gemm_bias_gelu"]);
    assert_eq!(p.directives.len(), 1);
    // Every name of `acc += a[i, k] @ b[j, k].T` means what it should.
    let ast::StmtKind::For { body, var, .. } = &k.body.stmts[3].kind else { panic!("a loop") };
    let ast::StmtKind::Update { place, value, .. } = &body.stmts[0].kind else { panic!("an update") };
    let kind = |i: &ast::Ident| match p.res(i) {
        Res::Local(l) => p.local(l).kind,
        other => panic!("{i}: {other:?}"),
    };
    let ast::ExprKind::Name(acc) = &place.kind else { panic!("a name") };
    assert_eq!(kind(acc), LocalKind::LetMut);
    let ast::ExprKind::Binary { lhs, .. } = &value.kind else { panic!("a product") };
    let ast::ExprKind::Index { base, subscripts } = &lhs.kind else { panic!("a read") };
    let ast::ExprKind::Name(a) = &base.kind else { panic!("a name") };
    assert_eq!(kind(a), LocalKind::Param);
    let ast::Subscript::Expr(ast::Expr { kind: ast::ExprKind::Name(i), .. }) = &subscripts[0] else {
        panic!("i")
    };
    let ast::Subscript::Expr(ast::Expr { kind: ast::ExprKind::Name(kk), .. }) = &subscripts[1] else {
        panic!("k")
    };
    assert_eq!((kind(i), kind(kk)), (LocalKind::GridVar, LocalKind::LoopVar));
    assert_eq!(p.res(kk), p.res(&var.name), "a use and its binding are one local");
    let ast::ExprKind::Name(m) = &k.params[0].ty.shape[0].kind else { panic!("M") };
    assert_eq!(kind(m), LocalKind::Dim);
}

#[test]
fn attention() {
    let p = good(ATTENTION);
    assert_eq!(p.entry_names(), ["attention", "attention_causal", "attention_docs"]);
    let f = p.fns.iter().find(|f| f.name.as_str() == "document").unwrap();
    let ast::ExprKind::Name(b) = &f.using[0].ty.as_ref().unwrap().shape[0].kind else { panic!("B") };
    let Res::Local(b) = p.res(b) else { panic!("a local") };
    assert_eq!(p.local(b).kind, LocalKind::CaptureDim);
}

/// The lines of the reference's "Enough for" table, and other fragments of it, each in a kernel that has the names it needs.
pub const FRAGMENTS: &[&str] = &[
        // split-K
        "kernel t<SPLIT: 1..=16 = 4>(a: f16[M, K], b: f16[N, K], out c: f16[M, N]) { tune BM in {64}, BN in {64}, BK in {32};
           grid i over M by BM, j over N by BN, s over SPLIT; let mut acc: f32[i, j] = 0;
           for k over part(K by BK, s, SPLIT) { acc += a[i, k] @ b[j, k].T; } c[i, j] = sum(acc over grid s) as f16; }",
        // other operand orders, batch
        "kernel t(a: f16[B, K, M], w: f16[B, K, N], out c: f32[B, M, N]) { grid b over B, i over M by 64, j over N by 64;
           let mut acc: f32[i, j] = 0; for k over K by 32 { acc += a[b, k, i].T @ w[b, k, j]; } c[b, i, j] = acc; }",
        // MoE
        "kernel t(x: f16[T, K], w: f16[E, N, K], src: i32[P] in 0..T, dst: i32[P] in 0..T, off: i32[E + 1] ascending 0..P, out y: f16[T, N]) {
           tune BM in {64}, BN in {64}; grid e over E, i over off[e]..off[e + 1] by BM, j over N by BN;
           let mut acc: f32[i, j] = 0; for k over K by 32 { acc += x[src[i], k] @ w[e, j, k].T; } y[dst[i], j] = acc as f16; }",
        // group scales
        "kernel t<W: u1..=u8 = u4, G: 32..=128 step 32 = 64>(x: f16[M, K], w: W[N, K], z: f16[N, K / G], s: f16[N, cdiv(K, G)], g_idx: i32[K] in 0..K / G, out y: f32[M, N])
           where K % 16 == 0, stride(x, 0) % 8 == 0 { grid i over M by 64, j over N by 64; let mut acc: f32[i, j] = 0;
           for k over K by 32 { let wf = (w[j, k] as f16 - z[j, k / G]) * s[j, g_idx[k]]; acc += x[i, k] @ wf.T; } y[i, j] = acc; }",
        // NF4, MXFP4
        "const NF4: f16[16] = [-1, -0.6961928, -0.5250731, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0, 0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1,];
         kernel t(c: u4[N, K], s: f16[N, K / 64], e: e8m0[N, K / 32], w: e2m1[N, K], out y: f16[N, K]) { grid j over N by 64, k over K by 64;
           y[j, k] = NF4[c[j, k]] * s[j, k / 64] + (w[j, k] as bf16 * (e[j, k / 32] as bf16)) as f16; }",
        // fp8 block scales
        "kernel t(a: e4m3[M, K], b: e4m3[N, K], sa: f32[M, K / 128], sb: f32[N / 128, K / 128], out c: f32[M, N]) { tune BK in {64, 128} where 128 % BK == 0;
           grid i over M by 64, j over N by 64; let mut acc: f32[i, j] = 0;
           for k over K by BK { acc += (a[i, k] @ b[j, k].T) * sa[i, k.lo / 128] * sb[j / 128, k.lo / 128]; } c[i, j] = acc; }",
        // bit planes
        "kernel t(x: u8[M, K], w: u2[N, K], out y: i32[M, N]) { grid i over M by 64, j over N by 64; let mut acc: i32[i, j] = 0;
           for k over K by 128 { for p over 2 { for q over 8 { acc += ((((x[i, k] >> q) as u1) @ ((w[j, k] >> p) as u1).T) << (p + q)) * where((p == 1) != (q == 7), -1, 1); } } }
           y[i, j] = acc; }",
        // rotary, on a literal dimension by name
        "kernel t<D: 64..=128 = 64>(a: f32[S, D], cos: f32[S, D], sin: f32[S, D], out y: f32[S, D]) { grid t over S by 64; let d = 0..D; let x = a[t, d] * cos(1.0);
           y[t, d] = x * cos[t, d] + x[.., (d + D / 2) % D] * where(d < D / 2, -sin[t, d], sin[t, d]); }",
        // paged, ragged
        "kernel t(q: f16[T, HQ, D], pages: i32[B, PG] in 0..NP, kc: f16[NP, P, HKV, D], cu: i32[B + 1] ascending 0..T, len: i32[B] in 1..=L, lim: f16[L], out o: f16[T, HQ, D]) {
           grid b over B, h over HQ, i over cu[b]..cu[b + 1] by 64 when i.lo >= 0; let g = h; let d = 0..64;
           for j over min(len[b], 4096) by 64 when j <= i - cu[b] { let pg = pages[b, j / P]; let k = kc[pg, j % P, g, d]; }
           o[i, h, d] = 0; }",
        // split-KV merge
        "kernel t(am: f32[C, S], al: f32[C, S], out y: f32[S]) { grid n over C, i over S by 64; let m = am[n, i]; let l = al[n, i];
           let top = max(m over grid n); let w = exp2(m - where(top == -inf, 0, top)); y[i] = sum(w * l over grid n) / sum(l * w over grid n); }",
        // block-sparse
        "kernel t(ptr: i32[H, NB + 1] ascending 0..NZ, col: i32[NZ] in 0..NB, kk: f16[L, 64], out o: f32[H, S]) { tune BLK in {64};
           grid h over H, i over S by 64; let mut acc: f32[i] = 0;
           for t over ptr[h, i.lo / BLK]..ptr[h, i.lo / BLK + 1] { let j = col[t] * BLK..L by BLK; acc += sum(kk[j, 0] as f32 over j); } o[h, i] = acc; }",
        // gated linear attention
        "kernel t<DK: 64..=64 = 64>(gate: f32[B, S, DK], k: f16[B, S, DK], v: f16[B, S, E], slope: f32[B], out y: f32[B, DK, E]) {
           grid b over B, e over E by 64; let mut st: f32[DK, e] = 0;
           for i over S by 64 { let g = cumsum(gate[b, i, :] over i); let kl = (k[b, i, :] as f32 * exp2(g[i.hi - 1, :] - g)) as f16; st = exp2(g[i.hi - 1, :]) * st + kl.T @ v[b, i, e];
             let decay = exp2(-slope[b] * ((i - i') as f32)); let near = where(i' <= i, decay, 0); }
           y[b, :, e] = st; }",
        // routing
        "kernel t<E: 8..=256 = 64>(logits: f32[T, E], off: i32[E], out row: i32[R], out wts: f32[T, 8]) { let n8 = 0..8; let e = 0..E; let mut n: i32[e] = 0;
           for t over T by 64 { let (v, at) = topk(logits[t, :] over E, n8); let (_, best) = sort(v over n8); let hit = where(at[t, 0] == e, 1, 0); n += sum(hit over t);
             row[where(hit == 1, off[e] + n + cumsum(hit over t) - 1, -1)] = t as i32; wts[t, n8] = v; } }",
        // atomics, reductions by `max=`, conditional writes, bitcasts, if and else
        "kernel t<CAUSAL: true | false = true>(x: f32[M, N], inout hist: i32[256], out y: e4m3[M, N], out rank: i32[M]) { grid i over M by 64; let mut ss: f32[i] = 0; let mut top: f32[i] = 0;
           for c over N by 128 { let v = x[i, c]; ss += sum(v * v over c); top max= max(abs(v) over c); }
           for c over rev(N) by 128 { if CAUSAL && c.lo > 0 { y[i, c] = (x[i, c] / top) as e4m3; } else if c.lo == 0 { y[i, c] = x[i, c] as e4m3; } else { } 
             let u = bits(x[i, c], u32) >> 23 & 0xff; atomic hist[u] += 1 when u > 0; }
           let old = atomic hist[i] += 1; rank[i] = old; let d = 0..64; let f = fwht(x[i, d], d, 64); }",
        // a schedule inside a kernel, an inner tuple assignment, a function with a block
        "fn rescale(m, l, s, j) { let m_new = max(m, max(s over j)); let l_new = l * exp2(m - m_new); (m_new, l_new) }
         kernel t(x: f32[M, N], packed w: u4[M, N] align(4), out y: f32[M]) { tune BN in {64, 128};
           grid i over M by 64; let mut m: f32[i] = -inf; let mut l: f32[i] = 0;
           for j over N by BN { (m, l) = rescale(m, l, x[i, j], j); } y[i] = l;
           schedule sm_80 when M >= 1024 { BN = 128; warps = (2, 2); j.stages = 4; x.via = cpasync; m.promote = 4; } }",
    ];

#[test]
fn fragments() {
    FRAGMENTS.iter().for_each(|k| {
        good(k);
    });
}

#[test]
fn imports_bring_items_in() {
    use crate::diagnostics::SourceMap;
    use crate::front::{Memory, load};
    let files = Memory::from([
        (
            "main.tw",
            "import \"lib/masks.tw\" as v; import \"lib/plain.tw\"; kernel k<fn mask(i) -> bool = v.all_of>(out y: f32[N]) { grid i over N by 64; y[i] = where(mask(i), v.one(i), twice(2)) + v.HALF; } kernel k2 = k<mask = v.none_of>;",
        ),
        (
            "lib/masks.tw",
            "import \"plain.tw\"; const HALF: f32 = 0.5; fn all_of(i) = true; fn none_of(i) = false; fn one(i) = twice(1);",
        ),
        ("lib/plain.tw", "fn twice(x) = x + x;"),
    ]);
    let mut sources = SourceMap::default();
    let (program, diagnostics) = load(&mut sources, &files, "main.tw");
    assert!(diagnostics.is_empty(), "{}", diagnostics.render(&sources, false));
    assert_eq!(program.fns.iter().filter(|f| f.name.as_str() == "twice").count(), 1, "read once");
    assert_eq!(program.entry_names(), ["k", "k2"]);
    // Names as the command line writes them.
    let Res::Fn(f) = program.item_named("v.one") else { panic!("a function of `v`") };
    assert_eq!(program.function(f).name.as_str(), "one");
    assert!(matches!(program.item_named("twice"), Res::Fn(_)), "imported without a name of its own");
    assert!(matches!(program.item_named("gelu"), Res::Fn(_)), "the prelude's");
    assert_eq!(program.item_named("one"), Res::Unresolved);
    assert_eq!(program.item_named("v.twice"), Res::Unresolved, "an import's imports do not come along");
}
