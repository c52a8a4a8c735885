//! `sort` and `topk`: by rank.
//!
//! An element's place is the number of elements that come before it, so every thread counts for its own, over keys that all have put into
//! shared memory; then each goes where it belongs. Equal elements count by coordinate: places are all different, and stable. Work grows
//! with the square of the axis, which is short: experts, candidates.
//!
//! ```text
//! %key = sort.key %x     put.tile key <- %key     %rank = rank key     put.at out[%rank] <- %x     %v = get.ranked out
//! ```

use super::access::launch_scalar;
use super::elementwise;
use super::general::{General, partial_bits};
use super::layouts::Layouts;
use super::refuse::Refusal;
use crate::scheduled::ir::*;
use crate::tile::ir as t1;

impl General<'_> {
    /// One part of `sort` (`to` is `axis`) or `topk`.
    pub(super) fn sorted(
        &mut self,
        v: t1::ValueId,
        x: t1::ValueId,
        axis: t1::AxisId,
        to: t1::AxisId,
        part: t1::SortPart,
        name: String,
    ) -> Result<ValId, Refusal> {
        let (ty, span) = (self.kernel.ty(v).clone(), self.kernel.value(v).span);
        let from = self.kernel.ty(x).clone();
        if !matches!(self.layouts, Layouts::Digits(_)) || launch_scalar(self.kernel, x) {
            return Err(Refusal::construct(span, "sorting what a product gave")
                .note("an accumulator's columns lie on lanes in an order that sorting does not know")
                .help("write the product, and sort it in a kernel of its own"));
        }
        if !elementwise::holds(from.elem) || !from.elem.is_compute() {
            return Err(Refusal::construct(span, format!("sorting of {}", from.elem)));
        }
        let descending = matches!(self.kernel.value(v).op, t1::Op::TopK { .. });
        let of = self.value(x)?;
        let known = self.ranks.iter().find(|(y, a, d, _)| (*y, *a, *d) == (x, axis, descending));
        let rank = match known {
            Some((.., rank)) => *rank,
            None => {
                let word = if partial_bits(from.elem) == 64 { 64 } else { 32 };
                let elem = t1::ElemType::Int(word);
                let key = self.tile(elem, &from.axes, format!("{name}.key"), span)?;
                self.push(OpKind::SortKey { x: of, descending }, Some(key), span);
                let shape = [self.positions(key)];
                let buf = self.partials(&format!("{name}.key"), elem, word.into(), &shape, 0, span)?;
                self.push(OpKind::PutTile { buf, value: key }, None, span);
                let rank = self.tile(t1::ElemType::Int(32), &from.axes, format!("{name}.rank"), span)?;
                self.push(OpKind::Rank { buf, of: key, axis }, Some(rank), span);
                self.ranks.push((x, axis, descending, rank));
                rank
            }
        };
        let value = match part {
            t1::SortPart::Values => of,
            t1::SortPart::Coordinates => {
                let at = self.tile(ty.elem, &from.axes, format!("{name}.at"), span)?;
                self.push(OpKind::Position { axis }, Some(at), span);
                at
            }
        };
        let buf = self.partials(&name, ty.elem, partial_bits(ty.elem), &[self.positions(value)], 0, span)?;
        self.push(OpKind::PutAt { buf, value, rank, axis }, None, span);
        let id = self.tile(ty.elem, &ty.axes, name, span)?;
        self.push(OpKind::GetRanked { buf, of: value, axis, to, part }, Some(id), span);
        self.values.insert(v, id);
        Ok(id)
    }
}
