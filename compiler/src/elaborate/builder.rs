//! Emitting values: constants, sharing of equal values, blocks, axes.
//!
//! Equal pure operations in one scope are one value, so that a loop's `when` and the same condition in its body are recognisably the
//! same. Constants, dimensions and scalar parameters live in the kernel's entry block.

use super::Elab;
use super::value::{Static, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::Symbol;
use crate::tile::verify::MAX_TILE;
use crate::tile::*;

impl Elab<'_> {
    /// A new value that some statement other than `Let` defines.
    pub(super) fn fresh(&mut self, op: Op, ty: TileType, span: Span) -> ValueId {
        self.k.values.push(Value { ty, op, span, name: None });
        ValueId(self.k.values.len() as u32 - 1)
    }

    /// The value of an operation in the current block, or an equal one computed before. Memory that the kernel writes is read anew each time.
    pub(super) fn emit(&mut self, op: Op, ty: TileType, span: Span) -> ValueId {
        let elements: u64 =
            ty.axes.iter().fold(1, |n, a| n.saturating_mul(u64::from(self.k.axis(*a).extent)));
        if elements > MAX_TILE {
            let text = self.type_text(&ty);
            self.error(
                Diagnostic::error(codes::TILE_TOO_BIG, format!("a tile of {elements} elements is too big"))
                    .label(span, format!("this is `{text}`"))
                    .note(format!("a tile has at most 2^20 = {MAX_TILE} elements"))
                    .help("cut the ranges smaller with `by`, or reduce before combining"),
            );
        }
        let shared = match &op {
            Op::Read { tensor, .. } => !self.k.tensor(*tensor).kind.writable(),
            _ => true,
        };
        let key = (op, ty);
        if shared && let Some(v) = self.cse.get(&key) {
            return *v;
        }
        let v = self.fresh(key.0.clone(), key.1.clone(), span);
        self.block.push(Stmt::Let(v));
        if shared {
            self.cse.insert(key.clone(), v);
            self.cse_log.push(key);
        }
        v
    }

    /// A value in the entry block, one per operation.
    fn entry(&mut self, op: Op, ty: TileType, span: Span) -> ValueId {
        let key = (op, ty);
        if let Some(v) = self.entry_cse.get(&key) {
            return *v;
        }
        let v = self.fresh(key.0.clone(), key.1.clone(), span);
        self.entry.push(Stmt::Let(v));
        self.entry_cse.insert(key, v);
        v
    }

    pub(super) fn constant(&mut self, value: Const, elem: ElemType, span: Span) -> ValueId {
        self.entry(Op::Const(value), TileType::scalar(elem), span)
    }

    pub(super) fn index(&mut self, value: i64, span: Span) -> ValueId {
        self.constant(Const::Int(value.into()), ElemType::Index, span)
    }

    pub(super) fn dim_value(&mut self, dim: DimId, span: Span) -> ValueId {
        self.entry(Op::Dim(dim), TileType::scalar(ElemType::Index), span)
    }

    pub(super) fn param_value(&mut self, scalar: ScalarId, span: Span) -> ValueId {
        let elem = self.k.scalar(scalar).elem;
        self.entry(Op::Param(scalar), TileType::scalar(elem), span)
    }

    /// Runs `f` with a new block and gives back its statements; what was computed in it is not shared with what follows.
    pub(super) fn in_block<R>(&mut self, f: impl FnOnce(&mut Self) -> R) -> (Block, R) {
        let outer = std::mem::take(&mut self.block);
        let mark = self.cse_log.len();
        let result = f(self);
        for key in self.cse_log.drain(mark..) {
            self.cse.remove(&key);
        }
        let stmts = std::mem::replace(&mut self.block, outer);
        (Block { stmts }, result)
    }

    /// Takes the statements so far as a block of their own; what follows is in the same scope.
    pub(super) fn cut_block(&mut self) -> Block {
        Block { stmts: std::mem::take(&mut self.block) }
    }

    // ------------------------------------------------------------------------------------------------------------ axes

    /// A new axis, its coordinates computed in the current block.
    pub(super) fn new_axis(&mut self, axis: Axis) -> AxisId {
        let span = axis.span;
        let id = self.push_axis(axis);
        let iota = self.fresh(Op::Iota(id), TileType { elem: ElemType::Index, axes: vec![id] }, span);
        self.block.push(Stmt::Let(iota));
        self.iotas.push(iota);
        id
    }

    fn push_axis(&mut self, axis: Axis) -> AxisId {
        self.k.axes.push(axis);
        AxisId(self.k.axes.len() as u32 - 1)
    }

    /// The axis that a whole static dimension has; one per name and size.
    pub(super) fn dim_axis(&mut self, name: &Symbol, extent: i64, span: Span) -> Option<AxisId> {
        let lanes = self.lanes(extent, span)?;
        if let Some(a) = self.dim_axes.get(&(name.clone(), lanes)) {
            return Some(*a);
        }
        let (lo, hi) = (self.index(0, span), self.index(extent, span));
        let id =
            self.push_axis(Axis { name: name.to_string(), extent: lanes, lo, hi, kind: AxisKind::Dim, span });
        let ty = TileType { elem: ElemType::Index, axes: vec![id] };
        let iota = self.entry(Op::Iota(id), ty, span);
        self.iotas.push(iota);
        self.dim_axes.insert((name.clone(), lanes), id);
        Some(id)
    }

    /// `r'`: one axis per range. Its coordinates are computed beside those of `of`, wherever it is first used.
    pub(super) fn primed(&mut self, of: AxisId) -> AxisId {
        if let Some(a) = self.primes.get(&of) {
            return *a;
        }
        let base = self.k.axis(of).clone();
        let id = self.push_axis(Axis {
            name: format!("{}'", base.name),
            kind: AxisKind::Primed(of),
            ..base.clone()
        });
        let ty = TileType { elem: ElemType::Index, axes: vec![id] };
        let iota = self.fresh(Op::Iota(id), ty, base.span);
        self.iotas.push(iota);
        self.beside.entry(self.iotas[of.0 as usize]).or_default().push(iota);
        self.primes.insert(of, id);
        id
    }

    /// A static extent as a number of lanes, or an error.
    pub(super) fn lanes(&mut self, extent: i64, span: Span) -> Option<u32> {
        if (1..=MAX_TILE as i64).contains(&extent) {
            return Some(extent as u32);
        }
        self.error(
            Diagnostic::error(codes::BAD_EXTENT, format!("a range cannot have {extent} lanes"))
                .label(span, format!("this is {extent}"))
                .note("a range has between 1 and 2^20 lanes; how many of them exist is decided at run time"),
        );
        None
    }

    pub(super) fn iota(&self, axis: AxisId) -> ValueId {
        self.iotas[axis.0 as usize]
    }

    /// `r.hi`: one past the last coordinate that exists.
    pub(super) fn axis_end(&mut self, axis: AxisId, span: Span) -> ValueId {
        let Axis { extent, lo, hi, .. } = *self.k.axis(axis);
        if self.static_distance(lo, hi) == Some(extent.into()) {
            return hi;
        }
        let extent = self.index(extent.into(), span);
        let end = self.binary_value(BinaryOp::Add, lo, extent, span);
        self.binary_value(BinaryOp::Min, end, hi, span)
    }

    /// `hi - lo` where both are affine in the same scalars.
    pub(super) fn static_distance(&self, lo: ValueId, hi: ValueId) -> Option<i64> {
        let (lo, hi) = (self.k.affine(lo)?, self.k.affine(hi)?);
        hi.add(&lo.scale(-1)?)?.as_constant()
    }

    // -------------------------------------------------------------------------------------------------------- operations

    /// Left's axes, then right's new ones.
    pub(super) fn union(&self, values: &[ValueId]) -> Vec<AxisId> {
        let mut axes = Vec::new();
        for v in values {
            for a in &self.k.ty(*v).axes {
                if !axes.contains(a) {
                    axes.push(*a);
                }
            }
        }
        axes
    }

    /// An elementwise operation on two values of one type (shifts: two integers), without the steps that do nothing.
    pub(super) fn binary_value(&mut self, op: BinaryOp, x: ValueId, y: ValueId, span: Span) -> ValueId {
        let elem = self.k.ty(x).elem;
        if let (Op::Const(a), Op::Const(b)) = (&self.k.value(x).op, &self.k.value(y).op)
            && elem.is_integer()
            && let Some(Const::Int(v)) = op.fold(*a, *b)
        {
            let v = crate::tile::launch::wrap(v, elem.bits(), elem.is_signed());
            return self.constant(Const::Int(v), elem, span);
        }
        let (cx, cy) = (self.k.const_int(x), self.k.const_int(y));
        use BinaryOp::*;
        match (op, cx, cy) {
            (Add | Sub | Or | Xor | Shl | Shr, _, Some(0)) | (Mul | Div | Cdiv, _, Some(1)) => return x,
            (Add | Or | Xor, Some(0), _) | (Mul, Some(1), _) => return y,
            _ => {}
        }
        let axes = self.union(&[x, y]);
        self.emit(Op::Binary(op, x, y), TileType { elem, axes }, span)
    }

    pub(super) fn unary_value(&mut self, op: UnaryOp, x: ValueId, span: Span) -> ValueId {
        let ty = self.k.ty(x).clone();
        self.emit(Op::Unary(op, x), ty, span)
    }

    pub(super) fn cast_value(&mut self, x: ValueId, elem: ElemType, span: Span) -> ValueId {
        let ty = self.k.ty(x);
        if ty.elem == elem {
            return x;
        }
        if let (Op::Const(c), true) = (&self.k.value(x).op, ty.is_scalar())
            && let Some(c) = crate::tile::launch::fold_cast(elem, *c)
        {
            return self.constant(c, elem, span);
        }
        let ty = TileType { elem, axes: ty.axes.clone() };
        self.emit(Op::Cast(x), ty, span)
    }

    /// The value on exactly these axes in this order; its own must be among them.
    pub(super) fn spread(&mut self, v: ValueId, axes: &[AxisId], span: Span) -> ValueId {
        let own = &self.k.ty(v).axes;
        if own == axes {
            return v;
        }
        let ty = TileType { elem: self.k.ty(v).elem, axes: axes.to_vec() };
        let op = if own.len() == axes.len() { Op::Reorder(v) } else { Op::Broadcast(v) };
        self.emit(op, ty, span)
    }

    /// Gives a value the name of the `let` that binds it, if it has none and a line of its own.
    pub(super) fn name_value(&mut self, v: ValueId, name: &str) {
        let value = &mut self.k.values[v.0 as usize];
        let plain = matches!(
            value.op,
            Op::Const(_) | Op::Param(_) | Op::Dim(_) | Op::Iota(_) | Op::GridVar(_) | Op::LoopVar(_)
        );
        if value.name.is_none() && !plain {
            value.name = Some(name.to_string());
        }
    }

    // -------------------------------------------------------------------------------------------------- statics to values

    /// A static number as a constant of its own type, else of `hint`, else `i32`, `f32` or `bool`.
    pub(super) fn materialize(&mut self, s: &Static, hint: Option<ElemType>, span: Span) -> Option<ValueId> {
        let natural = match s.value {
            Const::Bool(_) => ElemType::Bool,
            Const::Int(v) if i32::try_from(v).is_err() => ElemType::Int(64),
            Const::Int(_) => ElemType::I32,
            Const::Float(_) => ElemType::F32,
        };
        let suits = |h: &ElemType| match s.value {
            Const::Bool(_) => *h == ElemType::Bool,
            Const::Int(_) => *h != ElemType::Bool,
            Const::Float(_) => h.is_float(),
        };
        let elem = s.ty.or(hint.filter(suits)).unwrap_or(natural);
        match (s.value, elem) {
            (Const::Int(v), _) if elem.is_float() => {
                Some(self.constant(Const::Float(round_to(v as f64, elem)), elem, span))
            }
            (Const::Float(v), _) => Some(self.constant(Const::Float(round_to(v, elem)), elem, span)),
            (Const::Int(v), ElemType::Bipolar(w)) => {
                let most = (1i128 << w) - 1;
                if v.abs() <= most && (v + most) % 2 == 0 {
                    return Some(self.constant(Const::Int(v), elem, span));
                }
                self.literal_range(v, elem, span)
            }
            (Const::Int(v), _) => {
                if crate::tile::launch::wrap(v, elem.bits(), elem.is_signed()) == v {
                    return Some(self.constant(Const::Int(v), elem, span));
                }
                self.literal_range(v, elem, span)
            }
            (Const::Bool(_), _) => Some(self.constant(s.value, ElemType::Bool, span)),
        }
    }

    fn literal_range(&mut self, v: i128, elem: ElemType, span: Span) -> Option<ValueId> {
        self.error(
            Diagnostic::error(codes::LITERAL_RANGE, format!("{v} is not a value of `{elem}`"))
                .label(span, format!("must be `{elem}` here"))
                .help("write a cast with `as` on a wider literal if wrapping is meant"),
        );
        None
    }

    /// What type an operand would give to a literal beside it.
    pub(super) fn hint_of(&self, v: &Val) -> Option<ElemType> {
        match v {
            Val::Value(v) | Val::Sorted(v, _) => Some(self.k.ty(*v).elem),
            Val::Range(_) => Some(ElemType::Index),
            Val::Static(s) => s.ty,
            _ => None,
        }
    }
}

/// The number of a float type nearest to `v`.
pub(super) fn round_to(v: f64, elem: ElemType) -> f64 {
    match elem.format().convert_f64(v) {
        crate::numeric::Number::Float(v) => v,
        crate::numeric::Number::Int(v) => v as f64,
    }
}
