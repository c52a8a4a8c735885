//! Subscripts: reading tensors and tiles, and the places of writes.
//!
//! `t[e0, e1, …]` is `t` at every combination of its subscripts: the axes of the result are those of the subscripts in order of
//! first appearance. Tiles are subscripted in the coordinates of the ranges they live on.

use super::Elab;
use super::value::Val;
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::{Expr, Subscript};
use crate::tile::*;

/// A subscripted tensor on the left of an assignment.
pub(super) struct Place {
    pub tensor: TensorId,
    pub ix: Vec<ValueId>,
    pub axes: Vec<AxisId>,
    pub span: Span,
}

impl Elab<'_> {
    pub(super) fn index_expr(&mut self, base: &Expr, subscripts: &[Subscript], span: Span) -> Val {
        match self.expr(base, None) {
            Val::Tensor(t) => {
                let Some(ix) = self.tensor_subscripts(t, base.span, subscripts, span) else {
                    return Val::Poison;
                };
                if !self.readable(t, base.span) {
                    return Val::Poison;
                }
                self.packed_by_ranges(t, &ix, subscripts, span);
                let ty = TileType { elem: self.k.tensor(t).elem, axes: self.k.subscript_axes(&ix) };
                Val::Value(self.emit(Op::Read { tensor: t, ix }, ty, span))
            }
            Val::Poison => {
                // Still look into the subscripts for errors of their own.
                for s in subscripts {
                    if let Subscript::Expr(e) = s {
                        self.expr(e, Some(ElemType::Index));
                    }
                }
                Val::Poison
            }
            v => {
                let Some(tile) = self.value_of(&v, None, base.span) else { return Val::Poison };
                self.tile_read(tile, base.span, subscripts, span)
            }
        }
    }

    fn tile_read(&mut self, tile: ValueId, at: Span, subscripts: &[Subscript], span: Span) -> Val {
        let ty = self.k.ty(tile).clone();
        if ty.is_scalar() {
            self.error(
                Diagnostic::error(codes::RANK, "a scalar has no subscripts")
                    .label(span, "subscripted here")
                    .secondary(at, format!("this is `{}`", self.type_text(&ty))),
            );
            return Val::Poison;
        }
        let what = format!("this is `{}`", self.type_text(&ty));
        let Some(slots) = self.slots(subscripts, ty.axes.len(), at, &what, span) else { return Val::Poison };
        let mut ix = Vec::new();
        let mut ok = true;
        for (n, slot) in slots.iter().enumerate() {
            match slot {
                None => ix.push(self.iota(ty.axes[n])),
                Some(e) => match self.index_value(e, "a subscript") {
                    Some(v) => ix.push(v),
                    None => ok = false,
                },
            }
        }
        if !ok {
            return Val::Poison;
        }
        if ix.iter().zip(&ty.axes).all(|(x, a)| *x == self.iota(*a)) {
            return Val::Value(tile);
        }
        let axes = self.k.subscript_axes(&ix);
        Val::Value(self.emit(Op::TileRead { tile, ix }, TileType { elem: ty.elem, axes }, span))
    }

    /// One expression per dimension, `None` for `:` and for what `..` stands for.
    fn slots<'e>(
        &mut self,
        subscripts: &'e [Subscript],
        rank: usize,
        at: Span,
        what: &str,
        span: Span,
    ) -> Option<Vec<Option<&'e Expr>>> {
        let rest = subscripts.iter().filter(|s| matches!(s, Subscript::Rest(_))).count();
        let given = subscripts.len() - rest;
        if rest > 1 || (rest == 1 && !matches!(subscripts[0], Subscript::Rest(_))) {
            self.error(
                Diagnostic::error(
                    codes::RANK,
                    "`..` stands for all leading axes, so it comes first and once",
                )
                .label(span, "in these subscripts"),
            );
            return None;
        }
        if given > rank || (rest == 0 && given != rank) {
            let plural = |n: usize| if n == 1 { "" } else { "s" };
            let message = format!("{given} subscript{} for {rank} dimension{}", plural(given), plural(rank));
            let mut d = Diagnostic::error(codes::RANK, message)
                .label(span, format!("{given} given"))
                .secondary(at, what);
            if given < rank {
                d = d.help("write `:` for a whole static dimension, `..` for all leading ones");
            }
            self.error(d);
            for s in subscripts {
                if let Subscript::Expr(e) = s {
                    self.expr(e, Some(ElemType::Index));
                }
            }
            return None;
        }
        let mut slots = vec![None; rank - given];
        for s in subscripts {
            match s {
                Subscript::Rest(_) => {}
                Subscript::All(_) => slots.push(None),
                Subscript::Expr(e) => slots.push(Some(e)),
            }
        }
        Some(slots)
    }

    fn tensor_subscripts(
        &mut self,
        t: TensorId,
        at: Span,
        subscripts: &[Subscript],
        span: Span,
    ) -> Option<Vec<ValueId>> {
        let tensor = self.k.tensor(t);
        let rank = tensor.shape.len();
        let shape: Vec<&str> = tensor.shape.iter().map(|s| s.text.as_str()).collect();
        let what = format!("`{}` is `{}[{}]`", tensor.name, tensor.elem, shape.join(", "));
        let slots = self.slots(subscripts, rank, at, &what, span)?;
        let mut ix = Vec::new();
        let mut ok = true;
        for (n, slot) in slots.iter().enumerate() {
            let v = match slot {
                Some(e) => self.index_value(e, "a subscript"),
                None => {
                    // Counted from the right, as `..` on the left stands for any number.
                    let from_right = rank - n;
                    let at =
                        subscripts.len().checked_sub(from_right).map_or(span, |at| subscripts[at].span());
                    self.whole_dimension(t, n, at)
                }
            };
            match v {
                Some(v) => ix.push(v),
                None => ok = false,
            }
        }
        ok.then_some(ix)
    }

    /// `:` on dimension `n`: the coordinates of the dimension's own axis.
    fn whole_dimension(&mut self, t: TensorId, n: usize, at: Span) -> Option<ValueId> {
        if let Some(Some((name, size))) = self.entry_dims.get(t.0 as usize).and_then(|d| d.get(n)).cloned() {
            let axis = self.dim_axis(&name, size, self.k.tensor(t).shape[n].span)?;
            return Some(self.iota(axis));
        }
        let entry = &self.k.tensor(t).shape[n];
        let (text, declared) = (entry.text.clone(), entry.span);
        let d = if entry.extent.eval_int(&NoFacts).is_some() {
            Diagnostic::error(codes::UNNAMED_DIMENSION, "`:` takes its axis' name from the dimension, and this one has no name")
                .label(at, "whole dimension")
                .secondary(declared, format!("`{text}` is not a name"))
                .help("name it: a generic parameter (`<D: 64>`) or `const D = …;` in the shape; or bind a range: `let d = 0..…;`")
        } else {
            Diagnostic::error(
                codes::NOT_STATIC,
                format!("`:` needs a static dimension, and `{text}` is known only at launch"),
            )
            .label(at, "whole dimension")
            .secondary(declared, format!("`{text}` is bound by the arguments"))
            .help(format!("visit it by ranges: `for x over {text} by 64`; or freeze it: `--dim {text}=…`"))
        };
        self.error(d);
        None
    }

    fn readable(&mut self, t: TensorId, at: Span) -> bool {
        let tensor = self.k.tensor(t);
        if tensor.kind.readable() {
            return true;
        }
        let (name, span) = (tensor.name.clone(), tensor.span);
        self.error(
            Diagnostic::error(codes::NOT_READABLE, format!("`{name}` is `out`: it can only be written"))
                .label(at, "read here")
                .secondary(span, "declared here")
                .help("declare it `inout` if its old contents are meant"),
        );
        false
    }

    /// A `packed` tensor has no addresses to gather from; neighbours along its rows may share an element, as with `c[j, k / 8]`.
    fn packed_by_ranges(&mut self, t: TensorId, ix: &[ValueId], subscripts: &[Subscript], span: Span) {
        if self.k.tensor(t).kind != TensorKind::Packed {
            return;
        }
        for (n, x) in ix.iter().enumerate() {
            let v = self.k.value(*x);
            let shared = n + 1 == ix.len() && self.k.shared_by_neighbours(*x).is_some();
            if v.ty.is_scalar() || matches!(v.op, Op::Iota(_)) || shared {
                continue;
            }
            let name = self.k.tensor(t).name.clone();
            let at = subscripts.get(n).map_or(span, Subscript::span);
            self.error(
                Diagnostic::error(
                    codes::PACKED_GATHER,
                    format!("`{name}` is packed: it is read by ranges only"),
                )
                .label(at, "this is a computed index tile")
                .secondary(self.k.tensor(t).span, "declared `packed`")
                .help("read it with a range, in its last dimension also with one that is divided by a power of two, as in `c[j, k / 8]`; or drop `packed`"),
            );
        }
    }

    /// The tensor elements that an assignment writes. The place may be read too where `read` says so.
    pub(super) fn tensor_place(
        &mut self,
        base: &Expr,
        subscripts: &[Subscript],
        span: Span,
        read: bool,
    ) -> Option<Place> {
        let v = self.expr(base, None);
        let t = match v {
            Val::Tensor(t) => t,
            Val::Poison => {
                self.index_expr(base, subscripts, span);
                return None;
            }
            other => {
                let is = self.describe(&other);
                self.error(
                    Diagnostic::error(
                        codes::BAD_PLACE,
                        "elements of a tile cannot be assigned: a tile is a value",
                    )
                    .label(span, "assigned here")
                    .secondary(base.span, format!("this is {is}"))
                    .help("make a new tile: `x = where(condition, new, x);`"),
                );
                return None;
            }
        };
        let ix = self.tensor_subscripts(t, base.span, subscripts, span);
        let tensor = self.k.tensor(t);
        if !tensor.kind.writable() {
            let (name, declared) = (tensor.name.clone(), tensor.span);
            self.error(
                Diagnostic::error(codes::NOT_WRITABLE, format!("`{name}` is read only"))
                    .label(base.span, "written here")
                    .secondary(declared, "declared here")
                    .help(format!("declare it `out {name}: …` or `inout {name}: …`")),
            );
            return None;
        }
        if read && !self.readable(t, base.span) {
            return None;
        }
        let ix = ix?;
        let axes = self.k.subscript_axes(&ix);
        Some(Place { tensor: t, ix, axes, span })
    }
}
