//! Subscripts that nobody means: in another order than the tensor's dimensions, or numbers outside them.
//!
//! `b[j, k]` of `b: f16[K, N]`, where `j` runs over N and `k` over K, means something (what lies outside reads as zero), and is never what its author
//! wants. It is found where every range or coordinate that does not fit its own dimension ends exactly where another of these dimensions does, so that
//! exchanging them makes all fit.
//!
//! Worked example: of `x[b, j, i]` with `x: f32[B, M, N]` the last two are exchanged; `x[b, i, j]` was meant.
//!
//! The same holds for a number that lies outside a dimension whose size stands there as a number: `w[3]` of `w: f32[3]`, `x[-1]`.
//!
//! Invariant: nothing is said where two dimensions are one name or number, or where a range ends elsewhere: those programs may be right.

use super::ir::*;
use crate::diagnostics::{Diagnostic, Diagnostics, codes};

/// Subscripts in the wrong order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// What was probably meant, for a hint: `b[k, j]`.
    pub meant: String,
    /// What is wrong with the first of them.
    pub misfit: String,
}

/// Where a range or a dimension ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Dim(DimId),
    Number(i128),
}

/// What a subscript is if it is a range or the coordinate of a grid or loop: its name, and where it ends.
fn runs(kernel: &Kernel, v: ValueId) -> Option<(&str, End)> {
    let (name, hi) = match kernel.value(v).op {
        Op::Iota(a) => (&kernel.axis(a).name, kernel.axis(a).hi),
        // Where they are ranges, the variables are only where these begin.
        Op::GridVar(g) if kernel.grid_var(g).axis.is_none() => {
            (&kernel.grid_var(g).name, kernel.grid_var(g).hi)
        }
        Op::LoopVar(l) if kernel.loop_(l).axis.is_none() => (&kernel.loop_(l).name, kernel.loop_(l).hi),
        _ => return None,
    };
    match kernel.value(hi).op {
        Op::Dim(d) => Some((name, frozen(kernel, d))),
        Op::Const(Const::Int(n)) => Some((name, End::Number(n))),
        _ => None,
    }
}

fn frozen(kernel: &Kernel, d: DimId) -> End {
    kernel.dims[d.0 as usize].frozen.map_or(End::Dim(d), |n| End::Number(n.into()))
}

fn extent(kernel: &Kernel, entry: &ShapeEntry) -> Option<End> {
    match entry.extent {
        LaunchExpr::Dim(d) => Some(frozen(kernel, d)),
        ref e => e.eval_int(&NoFacts).map(|n| End::Number(n.into())),
    }
}

fn end_text(kernel: &Kernel, end: End) -> String {
    match end {
        End::Dim(d) => kernel.dims[d.0 as usize].name.clone(),
        End::Number(n) => n.to_string(),
    }
}

/// Whether a `where` says that two ends are one.
fn promised_equal(kernel: &Kernel, a: End, b: End) -> bool {
    kernel.promises.iter().any(|p| match &p.expr {
        LaunchExpr::Compare(CmpOp::Eq, x, y) => match (&**x, &**y) {
            (LaunchExpr::Dim(x), LaunchExpr::Dim(y)) => {
                let (x, y) = (frozen(kernel, *x), frozen(kernel, *y));
                (x, y) == (a, b) || (x, y) == (b, a)
            }
            _ => false,
        },
        _ => false,
    })
}

/// What a subscript runs over and what its dimension is, where the text says both and they differ.
pub fn misfit(kernel: &Kernel, tensor: TensorId, dim: usize, subscript: ValueId) -> Option<String> {
    let t = kernel.tensor(tensor);
    let (name, end) = runs(kernel, subscript)?;
    let entry = t.shape.get(dim)?;
    (extent(kernel, entry)? != end).then(|| {
        format!(
            "`{name}` runs over {}, and dimension {dim} of `{}` is {}",
            end_text(kernel, end),
            t.name,
            entry.text
        )
    })
}

/// Whether these subscripts fit in another order.
pub fn find(kernel: &Kernel, tensor: TensorId, ix: &[ValueId]) -> Option<Swapped> {
    let t = kernel.tensor(tensor);
    let wrong: Vec<(usize, &str, End, End)> = ix
        .iter()
        .enumerate()
        .filter_map(|(dim, v)| {
            let (name, end) = runs(kernel, *v)?;
            let wanted = extent(kernel, &t.shape[dim])?;
            (wanted != end && !promised_equal(kernel, wanted, end)).then_some((dim, name, end, wanted))
        })
        .collect();
    let mut names: Vec<Option<&str>> = ix.iter().map(|v| runs(kernel, *v).map(|(name, _)| name)).collect();
    let mut left = wrong.clone();
    for (dim, _, _, wanted) in &wrong {
        let fits = left.iter().position(|(_, _, end, _)| end == wanted)?;
        names[*dim] = Some(left.swap_remove(fits).1);
    }
    let first = wrong.first()?.0;
    let list: Vec<&str> = names.into_iter().map(|n| n.unwrap_or("…")).collect();
    let turned = kernel.values.iter().any(|v| match v.op {
        Op::Reorder(x) => {
            matches!(&kernel.value(x).op, Op::Read { tensor: of, ix: at } if *of == tensor && at == ix)
        }
        _ => false,
    });
    Some(Swapped {
        meant: format!(
            "probably meant: `{}[{}]`{}",
            t.name,
            list.join(", "),
            if turned { ", and then without `.T`" } else { "" }
        ),
        misfit: misfit(kernel, tensor, first, ix[first])?,
    })
}

/// The first subscript that is a number outside its dimension.
fn outside(kernel: &Kernel, tensor: TensorId, ix: &[ValueId]) -> Option<String> {
    let t = kernel.tensor(tensor);
    ix.iter().zip(&t.shape).enumerate().find_map(|(dim, (v, entry))| {
        let at = kernel.const_int(*v)?;
        // A generic of another value may have the element, and a condition may guard it.
        let below = entry.text.parse().ok().is_none_or(|n: i64| at < n);
        (at < 0 || !below)
            .then(|| format!("subscript {dim} is {at}, and that dimension of `{}` is {}", t.name, entry.text))
    })
}

/// A warning for each read and write whose subscripts stand in the wrong order, or are numbers outside the tensor.
pub fn warnings(kernel: &Kernel) -> Diagnostics {
    let mut all = Diagnostics::default();
    for v in &kernel.values {
        if let Op::Read { tensor, ix } = &v.op {
            warn(kernel, &mut all, *tensor, ix, v.span, "what lies outside a tensor reads as zero");
        }
    }
    for_each_place(kernel, &kernel.body, &mut |tensor, ix, span| {
        warn(kernel, &mut all, tensor, ix, span, "what is written outside a tensor is dropped");
    });
    all
}

fn for_each_place(
    kernel: &Kernel,
    block: &Block,
    f: &mut impl FnMut(TensorId, &[ValueId], crate::diagnostics::Span),
) {
    for s in &block.stmts {
        match s {
            Stmt::Write(w) => f(w.tensor, &w.ix, w.span),
            Stmt::Atomic(a) => f(a.tensor, &a.ix, a.span),
            Stmt::For(l) => for_each_place(kernel, &kernel.loop_(*l).body, f),
            Stmt::If(i) => {
                for_each_place(kernel, &kernel.if_(*i).then_block, f);
                for_each_place(kernel, &kernel.if_(*i).else_block, f);
            }
            Stmt::Let(_) => {}
        }
    }
}

fn warn(
    kernel: &Kernel,
    all: &mut Diagnostics,
    tensor: TensorId,
    ix: &[ValueId],
    span: crate::diagnostics::Span,
    effect: &str,
) {
    let t = kernel.tensor(tensor);
    if let Some(why) = outside(kernel, tensor, ix) {
        let mut d =
            Diagnostic::warning(codes::OUTSIDE, format!("this element of `{}` does not exist", t.name))
                .label(span, why)
                .secondary(t.span, "declared here")
                .note(effect);
        if ix.iter().any(|v| kernel.const_int(*v).is_some_and(|at| at < 0)) {
            d = d.help("nothing counts from the end: the last coordinate of a dimension N is `N - 1`");
        }
        all.push(d);
        return;
    }
    let Some(swapped) = find(kernel, tensor, ix) else { return };
    all.push(
        Diagnostic::warning(
            codes::SWAPPED_SUBSCRIPTS,
            format!("the subscripts of `{}` are in another order than its dimensions", t.name),
        )
        .label(span, swapped.misfit)
        .secondary(t.span, "declared here")
        .note(effect)
        .help(swapped.meant),
    );
}
