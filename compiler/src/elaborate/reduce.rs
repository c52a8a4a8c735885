//! Reductions, scans, `topk`, `sort`, and reductions across grid instances: the calls with `over`.

use super::Elab;
use super::arith::Class;
use super::value::Val;
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::{Arg, ArgOver, Expr, ExprKind};
use crate::front::{Builtin, Res};
use crate::tile::*;

impl Elab<'_> {
    /// A call whose first argument has `over`. `None`: the name is no reduction.
    pub(super) fn over_call(&mut self, name: &str, args: &[Arg], hint: Option<ElemType>, span: Span) -> Val {
        let (Some(first), rest) = (args.first(), args.get(1..).unwrap_or_default()) else {
            return Val::Poison;
        };
        let Some(over) = &first.over else {
            self.error(
                Diagnostic::error(codes::BAD_REDUCTION, format!("`{name}` needs the axes it goes over"))
                    .label(span, "no `over` here")
                    .help(format!("write `{name}(x over k)`")),
            );
            return Val::Poison;
        };
        let wanted = usize::from(name == "topk");
        if rest.len() != wanted {
            self.error(
                Diagnostic::error(codes::ARITY, format!("`{name}` takes {} argument(s)", wanted + 1))
                    .label(span, format!("{} given", args.len())),
            );
            return Val::Poison;
        }
        let x = self.value(&first.value, hint);
        if over.grid {
            return self.grid_reduce(name, x, first, over, span);
        }
        let axes = self.over_axes(&over.axes);
        let (Some(x), Some((axes, rev))) = (x, axes) else { return Val::Poison };
        if !self.has_axes(x, first.value.span, &axes, over.span) {
            return Val::Poison;
        }
        if rev && !matches!(name, "cumsum" | "cummax") {
            self.error(
                Diagnostic::error(codes::BAD_REDUCTION, format!("`rev` has no meaning for `{name}`"))
                    .label(over.span, "only `cumsum` and `cummax` have a direction")
                    .help("leave `rev` out"),
            );
            return Val::Poison;
        }
        if let Some(op) = reduce_op(name) {
            return self.reduce(name, op, x, axes, first.value.span, span);
        }
        let [axis] = axes[..] else {
            self.error(
                Diagnostic::error(codes::BAD_REDUCTION, format!("`{name}` goes over one axis"))
                    .label(over.span, format!("here are {}", axes.len())),
            );
            return Val::Poison;
        };
        match name {
            "cumsum" | "cummax" => {
                if !self.require(name, Class::Number, x, first.value.span) {
                    return Val::Poison;
                }
                let op = if name == "cumsum" { ScanOp::Sum } else { ScanOp::Max };
                let ty = self.k.ty(x).clone();
                Val::Value(self.emit(Op::Scan { op, x, axis, rev }, ty, span))
            }
            "topk" => self.topk(x, axis, &rest[0].value, first.value.span, span),
            _ => {
                if !self.require(name, Class::Number, x, first.value.span) {
                    return Val::Poison;
                }
                let ty = self.k.ty(x).clone();
                let at = TileType { elem: ElemType::Index, axes: ty.axes.clone() };
                let v = self.emit(Op::Sort { x, axis, part: SortPart::Values }, ty, span);
                let at = self.emit(Op::Sort { x, axis, part: SortPart::Coordinates }, at, span);
                Val::Sorted(v, at)
            }
        }
    }

    fn topk(&mut self, x: ValueId, axis: AxisId, n: &Expr, at: Span, span: Span) -> Val {
        if !self.require("topk", Class::Number, x, at) {
            return Val::Poison;
        }
        let to = match self.expr(n, None) {
            Val::Range(a) => a,
            Val::Poison => return Val::Poison,
            other => {
                let is = self.describe(&other);
                self.error(
                    Diagnostic::error(
                        codes::BAD_REDUCTION,
                        "`topk` takes a range: it becomes the axis of the result",
                    )
                    .label(n.span, format!("this is {is}"))
                    .help("bind one: `let n = 0..8;`, and write `topk(x over c, n)`"),
                );
                return Val::Poison;
            }
        };
        let own = self.k.ty(x).clone();
        if own.axes.contains(&to) && to != axis {
            self.error(
                Diagnostic::error(codes::BAD_REDUCTION, "the new axis of `topk` is already one of the tile")
                    .label(n.span, "this range")
                    .secondary(at, format!("this is `{}`", self.type_text(&own))),
            );
            return Val::Poison;
        }
        let axes: Vec<AxisId> = own.axes.iter().map(|a| if *a == axis { to } else { *a }).collect();
        let ty = TileType { elem: own.elem, axes: axes.clone() };
        let v = self.emit(Op::TopK { x, axis, to, part: SortPart::Values }, ty, span);
        let ty = TileType { elem: ElemType::Index, axes };
        let at = self.emit(Op::TopK { x, axis, to, part: SortPart::Coordinates }, ty, span);
        Val::Tuple(vec![Val::Value(v), Val::Value(at)])
    }

    fn reduce(
        &mut self,
        name: &str,
        op: ReduceOp,
        x: ValueId,
        axes: Vec<AxisId>,
        at: Span,
        span: Span,
    ) -> Val {
        let class = if matches!(op, ReduceOp::Any | ReduceOp::All) { Class::Bool } else { Class::Number };
        if !self.require(name, class, x, at) {
            return Val::Poison;
        }
        let own = self.k.ty(x);
        let arg = matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin);
        if arg && axes.len() != 1 {
            self.error(
                Diagnostic::error(
                    codes::BAD_REDUCTION,
                    format!("`{name}` gives one coordinate, so it goes over one axis"),
                )
                .label(span, format!("here are {}", axes.len())),
            );
            return Val::Poison;
        }
        let elem = if arg { ElemType::Index } else { own.elem };
        let kept = own.axes.iter().copied().filter(|a| !axes.contains(a)).collect();
        Val::Value(self.emit(Op::Reduce { op, x, axes }, TileType { elem, axes: kept }, span))
    }

    /// The axes named after `over`, and whether it was `rev(k)`.
    fn over_axes(&mut self, e: &Expr) -> Option<(Vec<AxisId>, bool)> {
        if let ExprKind::Call { callee, args } = &e.kind
            && let ExprKind::Name(n) = &callee.kind
            && self.program.res(n) == Res::Builtin(Builtin("rev"))
            && let [one] = &args[..]
        {
            return Some((vec![self.over_axis(&one.value)?], true));
        }
        let mut axes = Vec::new();
        let items: Vec<&Expr> = match &e.kind {
            ExprKind::Tuple(items) => items.iter().collect(),
            _ => vec![e],
        };
        for i in items {
            let a = self.over_axis(i)?;
            if axes.contains(&a) {
                self.error(
                    Diagnostic::error(codes::BAD_REDUCTION, "an axis is named twice")
                        .label(i.span, "again here"),
                );
                return None;
            }
            axes.push(a);
        }
        Some((axes, false))
    }

    /// A range, or a static dimension by its name.
    pub(super) fn over_axis(&mut self, e: &Expr) -> Option<AxisId> {
        match self.expr(e, None) {
            Val::Range(a) => Some(a),
            Val::Static(s) if s.dim.is_some() && s.as_int().is_some() => {
                let (name, n) = (s.dim.clone()?, s.as_int()?);
                self.dim_axis(&name, n, e.span)
            }
            Val::Poison => None,
            other => {
                let is = self.describe(&other);
                let mut d = Diagnostic::error(codes::NOT_AN_AXIS, "an axis is wanted here")
                    .label(e.span, format!("this is {is}"))
                    .note(
                        "axes are ranges (`k over K by BK`, `let r = lo..hi;`) and static dimensions by name",
                    );
                // The dimension, where a range over it was meant.
                if let Val::Value(v) = other
                    && let Op::Dim(_) = self.k.value(v).op
                    && let Some(range) =
                        self.k.axes.iter().rev().find(|a| self.k.value(a.hi).op == self.k.value(v).op)
                {
                    d = d.help(format!("`{0}` runs over it: `over {0}`", range.name));
                }
                self.error(d);
                None
            }
        }
    }

    fn has_axes(&mut self, x: ValueId, at: Span, axes: &[AxisId], over: Span) -> bool {
        let own = self.k.ty(x).axes.clone();
        let Some(missing) = axes.iter().copied().find(|a| !own.contains(a)) else { return true };
        let name = self.k.axis(missing).name.clone();
        let twin = own.iter().copied().find(|a| self.k.axis(*a).name == name);
        let mut d =
            Diagnostic::error(codes::NOT_AN_AXIS, format!("the value has no axis `{name}` to reduce over"))
                .label(over, format!("axis `{name}`"))
                .secondary(at, format!("this is `{}`", self.value_type_text(x)));
        d = self.label_axes(d, &[missing]);
        if let Some(twin) = twin {
            d = self.label_axes(d, &[twin]).note(format!("two ranges named `{name}` are two axes"));
        }
        self.error(d);
        false
    }

    fn grid_reduce(
        &mut self,
        name: &str,
        x: Option<ValueId>,
        first: &Arg,
        over: &ArgOver,
        span: Span,
    ) -> Val {
        let items: Vec<&Expr> = match &over.axes.kind {
            ExprKind::Tuple(items) => items.iter().collect(),
            _ => vec![&over.axes],
        };
        let mut vars = Vec::new();
        for i in items {
            let v = self.expr(i, None);
            let var = match &v {
                Val::Range(a) => match self.k.axis(*a).kind {
                    AxisKind::Grid(g) => Some(g),
                    _ => None,
                },
                Val::Value(v) => match self.k.value(*v).op {
                    Op::GridVar(g) => Some(g),
                    _ => None,
                },
                Val::Poison => return Val::Poison,
                _ => None,
            };
            let Some(g) = var else {
                self.error(
                    Diagnostic::error(
                        codes::BAD_GRID_REDUCTION,
                        "`over grid` takes variables of the `grid` statement",
                    )
                    .label(i.span, "this is not one"),
                );
                return Val::Poison;
            };
            vars.push(g);
        }
        if !self.loops.is_empty() || self.if_depth > 0 {
            self.error(
                Diagnostic::error(
                    codes::BAD_GRID_REDUCTION,
                    "a reduction over the grid stands outside loops and `if`s",
                )
                .label(span, "inside one here")
                .note("every instance must come to it exactly once")
                .help("move it after the loop, on the accumulated value"),
            );
            return Val::Poison;
        }
        let Some(x) = x else { return Val::Poison };
        let Some(op) = reduce_op(name) else {
            self.error(
                Diagnostic::error(codes::BAD_GRID_REDUCTION, format!("`{name}` does not go over the grid"))
                    .label(span, "only `sum max min any all argmax argmin` do"),
            );
            return Val::Poison;
        };
        let class = if matches!(op, ReduceOp::Any | ReduceOp::All) { Class::Bool } else { Class::Number };
        if !self.require(name, class, x, first.value.span) {
            return Val::Poison;
        }
        let own = self.k.ty(x).clone();
        if let Some(axis) =
            vars.iter().find_map(|g| self.k.grid_var(*g).axis.filter(|a| own.axes.contains(a)))
        {
            let axis_name = self.k.axis(axis).name.clone();
            let d = Diagnostic::error(
                codes::BAD_GRID_REDUCTION,
                format!("the value still has the axis `{axis_name}` of the grid variable it is reduced over"),
            )
            .label(first.value.span, format!("this is `{}`", self.type_text(&own)))
            .help(format!(
                "reduce inside the instance first: `{name}({name}(x over {axis_name}) over grid {axis_name})`"
            ));
            let d = self.label_axes(d, &[axis]);
            self.error(d);
            return Val::Poison;
        }
        let elem = if matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) { ElemType::Index } else { own.elem };
        Val::Value(self.emit(Op::GridReduce { op, x, vars }, TileType { elem, axes: own.axes }, span))
    }
}

pub(super) fn reduce_op(name: &str) -> Option<ReduceOp> {
    Some(match name {
        "sum" => ReduceOp::Sum,
        "max" => ReduceOp::Max,
        "min" => ReduceOp::Min,
        "any" => ReduceOp::Any,
        "all" => ReduceOp::All,
        "argmax" => ReduceOp::ArgMax,
        "argmin" => ReduceOp::ArgMin,
        _ => return None,
    })
}
