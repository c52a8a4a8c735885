//! What a kernel without matrix instructions reads and writes: subscripts, how wide an access is, writes and atomics, tiles at coordinates.

use super::access;
use super::cover;
use super::elementwise;
use super::general::{General, partial_bits};
use super::instances;
use super::order::{self, Access};
use super::refuse::Refusal;
use crate::diagnostics::Span;
use crate::layout::{Axis, Dim, Layout};
use crate::scheduled::ir::*;
use crate::tile::{ir as t1, multiples::is_multiple};

impl General<'_> {
    pub(super) fn subscripts(
        &mut self,
        tensor: t1::TensorId,
        ix: &[t1::ValueId],
        span: Span,
    ) -> Result<Vec<Index>, Refusal> {
        let t = self.kernel.tensor(tensor);
        let dense = t.strides.iter().all(|s| matches!(s, t1::Stride::Dense));
        if !t.elem.bits().is_multiple_of(8) && !dense {
            return Err(Refusal::construct(span, format!("a tensor of {} with strides", t.elem))
                .note("elements that are no whole bytes have addresses in dense rows only")
                .help("no `strides`, or 8 bits an element in memory"));
        }
        let mut out = Vec::new();
        for (dim, &v) in ix.iter().enumerate() {
            let mut index = self.index(v)?;
            let extent = &self.kernel.tensor(tensor).shape[dim].extent;
            index.checked = !cover::inside(self.kernel, tensor, dim, &index)
                && !instances::group_below(self.kernel, v, extent)
                && !instances::below(self.kernel, v, extent);
            out.push(index);
        }
        Ok(out)
    }

    /// A subscript; what the structure's arithmetic needs of it is known from here on.
    pub(super) fn index(&mut self, v: t1::ValueId) -> Result<Index, Refusal> {
        let index = match access::index(self.kernel, v) {
            Some(index) => index,
            None => Index { tile: Some(self.value(v)?), ..Index::default() },
        };
        if let Some(o) = index.offset {
            self.uniform(o)?;
        }
        if let Some(a) = index.axis {
            self.uniform(self.kernel.axis(a).lo)?;
        }
        Ok(index)
    }

    /// A tile at coordinates: through shared memory.
    pub(super) fn lookup(
        &mut self,
        v: t1::ValueId,
        tile: t1::ValueId,
        ix: &[t1::ValueId],
        name: String,
    ) -> Result<ValId, Refusal> {
        let (ty, span) = (self.kernel.ty(v).clone(), self.kernel.value(v).span);
        let of = self.value(tile)?;
        if !elementwise::holds(ty.elem) {
            return Err(Refusal::construct(span, format!("subscripts of a tile of {}", ty.elem)));
        }
        let buf = self.partials(&name, ty.elem, partial_bits(ty.elem), &[self.positions(of)], 0, span)?;
        self.push(OpKind::PutTile { buf, value: of }, None, span);
        let ix = ix.iter().map(|v| self.index(*v)).collect::<Result<Vec<_>, _>>()?;
        let id = self.tile(ty.elem, &ty.axes, name, span)?;
        self.push(OpKind::GetTile { buf, of, ix }, Some(id), span);
        self.values.insert(v, id);
        Ok(id)
    }

    /// Notes an access through a tile on these axes.
    pub(super) fn access(
        &mut self,
        tensor: t1::TensorId,
        ix: &[Index],
        axes: &[t1::AxisId],
        kind: order::Kind,
    ) {
        let place = order::place(self.kernel, &self.layouts, ix, axes);
        self.accesses.push(Access { tensor, kind, place });
    }

    /// Elements per access of a tile on these axes: as many as the variant's alignment allows, where the last subscript is a range from an
    /// aligned start, and a thread's registers hold side by side.
    pub(super) fn vector(
        &self,
        tensor: t1::TensorId,
        ix: &[Index],
        axes: &[t1::AxisId],
        layout: &Layout,
    ) -> u32 {
        let t = self.kernel.tensor(tensor);
        let bytes = t.elem.bits() / 8;
        if !cover::unit_stride(self.kernel, tensor, t.shape.len().saturating_sub(1)) {
            return 1;
        }
        match ix.split_last() {
            Some((Index { axis: Some(axis), offset: None, checked: false, .. }, rows))
                if bytes > 0 && !rows.iter().any(|i| self.moves(i, *axis)) =>
            {
                let held = axes.iter().position(|a| a == axis).map_or(1, |at| side_by_side(layout, at));
                let most = (self.variant.alignment(bytes) / bytes).clamp(1, held);
                access::vector(self.kernel, tensor, *axis, most)
            }
            _ => 1,
        }
    }

    /// The same where the last subscript counts a range's coordinates in turns, and the others are the same in each: `t[c[j, k / 8], k % 8]`.
    pub(super) fn vector_in_turns(&self, tensor: t1::TensorId, read: t1::ValueId, layout: &Layout) -> u32 {
        let (kernel, t) = (self.kernel, self.kernel.tensor(tensor));
        let (value, bytes) = (kernel.value(read), t.elem.bits() / 8);
        let t1::Op::Read { ix, .. } = &value.op else { return 1 };
        let Some((last, rows)) = ix.split_last() else { return 1 };
        let Some((axis, turn)) = kernel.in_turns(*last).filter(|_| bytes > 0) else { return 1 };
        let row = t.shape.last().and_then(|e| e.extent.eval_int(&t1::NoFacts));
        let dense = t.strides.iter().all(|s| matches!(s, t1::Stride::Dense));
        let (Some(at), Some(row), true) = (value.ty.axes.iter().position(|a| *a == axis), row, dense) else {
            return 1;
        };
        let most = (self.variant.alignment(bytes) / bytes).clamp(1, side_by_side(layout, at)).min(turn);
        let a = kernel.axis(axis);
        let fits = |n: &u32| {
            row % i64::from(*n) == 0
                && [a.lo, a.hi].iter().all(|end| is_multiple(kernel, *end, *n))
                && rows.iter().all(|v| access::steady(kernel, *v, axis, *n))
        };
        (0..=most.ilog2()).rev().map(|b| 1 << b).find(fits).unwrap_or(1)
    }

    /// Whether a subscript changes along an axis. What moves along the last dimension must stay in its row: on a diagonal neighbours are rows apart.
    fn moves(&self, i: &Index, axis: t1::AxisId) -> bool {
        let along = |v: ValId| match &self.module.value(v).kind {
            ValKind::Tile { axes, .. } => axes.contains(&axis),
            ValKind::Slot(_) | ValKind::Tok(_) => false,
        };
        i.axis == Some(axis) || i.tile.is_some_and(along)
    }

    /// A value on all axes of the place that it goes to.
    pub(super) fn on_place(
        &mut self,
        v: t1::ValueId,
        ix: &[t1::ValueId],
        span: Span,
    ) -> Result<ValId, Refusal> {
        let axes = self.kernel.subscript_axes(ix);
        let value = self.value(v)?;
        self.spread(value, v, &axes, span)
    }

    pub(super) fn atomic(&mut self, a: &t1::Atomic) -> Result<(), Refusal> {
        let elem = self.kernel.tensor(a.tensor).elem;
        let known = match elem {
            t1::ElemType::Int(32 | 64) | t1::ElemType::Uint(32 | 64) => true,
            t1::ElemType::F32 => matches!(a.op, t1::Combine::Add | t1::Combine::Max | t1::Combine::Min),
            _ => false,
        };
        if !known {
            return Err(Refusal::construct(a.span, format!("this `atomic` on {elem}"))
                .note("memory combines integers of 32 and 64 bits, and of floats f32 by `+=`, `max=` and `min=`")
                .help("into a tensor of such a type, which a kernel behind this one converts"));
        }
        let ix = self.subscripts(a.tensor, &a.ix, a.span)?;
        let value = self.on_place(a.value, &a.ix, a.span)?;
        let when = match a.when {
            Some(c) => Some(self.value(c)?),
            None => None,
        };
        let axes = self.kernel.subscript_axes(&a.ix);
        self.access(a.tensor, &ix, &axes, order::Kind::Atomic);
        let kind = OpKind::Atomic { op: a.op, tensor: a.tensor, ix, value, when };
        let Some(old) = a.old else {
            self.push(kind, None, a.span);
            return Ok(());
        };
        // The first holder of each element knows what was there; others learn it through shared memory.
        let name = self.kernel.value(old).name.clone().unwrap_or_else(|| "old".into());
        let own = self.tile(elem, &axes, format!("{name}.own"), a.span)?;
        self.push(kind, Some(own), a.span);
        let everybody = !order::spread_over_threads(&self.layouts, &axes);
        let id = if everybody {
            let buf = self.partials(&name, elem, partial_bits(elem), &[self.positions(own)], 0, a.span)?;
            self.push(OpKind::PutTile { buf, value: own }, None, a.span);
            let ix = axes.iter().map(|a| Index { axis: Some(*a), ..Index::default() }).collect();
            let id = self.tile(elem, &axes, name, a.span)?;
            self.push(OpKind::GetTile { buf, of: own, ix }, Some(id), a.span);
            id
        } else {
            own
        };
        self.values.insert(old, id);
        Ok(())
    }

    /// Refuses writes of elements that share a byte with what others write, or with what stays.
    fn whole_bytes(&self, w: &t1::Write, ix: &[Index]) -> Result<(), Refusal> {
        let elem = self.kernel.tensor(w.tensor).elem;
        if elem.bits().is_multiple_of(8) {
            return Ok(());
        }
        let wanted = access::neighbours_of_bytes(elem.bits());
        let whole = match ix.split_last() {
            Some((&Index { axis: Some(axis), offset: None, tile: None, .. }, rows)) => {
                access::vector(self.kernel, w.tensor, axis, wanted) == wanted
                    && !rows.iter().any(|i| self.moves(i, axis))
            }
            _ => false,
        };
        if whole && w.when.is_none() {
            return Ok(());
        }
        let what = format!("a write of {elem}, of which bytes may hold what others write, too,");
        Err(Refusal::construct(w.span, what)
            .note(format!("ranges along rows that begin at multiples of {wanted}, and end so or with the row, are lowered, without `when`"))
            .help("a range over whole rows, or 8 bits an element in memory"))
    }

    pub(super) fn write(&mut self, w: &t1::Write) -> Result<(), Refusal> {
        let ix = self.subscripts(w.tensor, &w.ix, w.span)?;
        let value = self.on_place(w.value, &w.ix, w.span)?;
        let when = match w.when {
            Some(c) => Some(self.value(c)?),
            None => None,
        };
        self.whole_bytes(w, &ix)?;
        let vec = match &self.module.value(value).kind {
            ValKind::Tile { axes, layout, .. } if when.is_none() => self.vector(w.tensor, &ix, axes, layout),
            _ => 1,
        };
        let once = w.once_over.clone();
        let axes = self.kernel.subscript_axes(&w.ix);
        self.access(w.tensor, &ix, &axes, order::Kind::Write);
        self.push(OpKind::WriteReg { tensor: w.tensor, ix, value, vec, when, once }, None, w.span);
        Ok(())
    }
}

/// Coordinates along a tile's axis that a thread's registers hold side by side, a power of two.
fn side_by_side(layout: &Layout, axis: usize) -> u32 {
    let along = layout.cols_of(Dim::Reg).iter().map(|c| layout.outs().get(*c, Axis(axis as u16)));
    let along: Vec<u64> = along.collect();
    let run = (0..16).find(|bit| !along.contains(&(1 << bit))).unwrap_or(16);
    1 << run
}
