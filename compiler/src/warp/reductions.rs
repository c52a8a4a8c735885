//! Reductions: registers first, then lanes by `shfl.bfly`, then warps through shared memory.
//!
//! Elements of a short last tile that do not exist count as the operation's neutral element. Sums combine in one fixed order (registers by number,
//! lanes as a butterfly, warps ascending), so the same inputs give the same bits in every run. Booleans are reduced as 0 and 1.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use super::tilemap::TileMap;
use crate::plan::Refusal;
use crate::plan::beyond::{Beyond, beyond};
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use std::rc::Rc;
use t1::{ElemType, ReduceOp};

pub const LANE_BITS: usize = 5;

/// Where a reduction's result stands among the partial results: byte columns of thread bits, byte constants of registers.
pub struct Positions {
    pub columns: Vec<u32>,
    pub registers: Vec<u32>,
    /// Bytes from one warp's results to the next.
    pub pitch: u32,
    /// Thread bits that move nothing: threads that differ in them hold the same.
    pub idle: u32,
}

/// Per axis: the coordinate bits that each thread bit moves, the coordinate of each register, and the padded extent.
pub type AxisParts = (Vec<u32>, Vec<u32>, u32);

impl Lower<'_> {
    /// Element type and axes of a tile.
    pub fn tile(&self, v: t2::ValId) -> (ElemType, Vec<t1::AxisId>) {
        match &self.module.value(v).kind {
            t2::ValKind::Tile { elem, axes, .. } => (*elem, axes.clone()),
            other => unreachable!("{other:?} is no register tile: T2.1"),
        }
    }

    /// The registers of a tile that hold distinct elements.
    pub fn distinct(&mut self, v: t2::ValId) -> Vec<usize> {
        if let Some(known) = self.distinct.get(&v) {
            return known.clone();
        }
        let distinct = self.map(v).distinct();
        self.distinct.insert(v, distinct.clone());
        distinct
    }

    /// Registers and lanes of one warp.
    pub fn emit_reduce(
        &mut self,
        result: t2::ValId,
        x: t2::ValId,
        op: ReduceOp,
        axes: &[t1::AxisId],
        nan: bool,
    ) -> Result<(), Refusal> {
        let map = self.map(x);
        let (elem, x_axes) = self.tile(x);
        let mut sums: Vec<(usize, Option<Src>)> =
            self.distinct(result).into_iter().map(|r| (r, None)).collect();
        let masked: Vec<t1::AxisId> =
            axes.iter().copied().filter(|a| !self.neutral_beyond(x, *a, op)).collect();
        for q in self.distinct(x) {
            let r = self.counterpart(x, q, result);
            let e = self.element(x, q)?;
            let e = self.countable(e)?;
            let exists = self.existing(&masked, &x_axes, &map, q)?;
            let e = self.or_neutral(e, exists, op, elem);
            let at = sums.iter().position(|(s, _)| *s == r).unwrap_or(0);
            let sum = match sums[at].1 {
                None => e,
                Some(sum) => self.combine(op, elem, sum, e),
            };
            sums[at].1 = Some(sum);
        }
        let moves =
            |bit: usize| x_axes.iter().zip(&map.axes).any(|(a, m)| axes.contains(a) && m.thread[bit] != 0);
        let lanes: Vec<usize> = (0..LANE_BITS).filter(|b| moves(*b)).collect();
        for (r, sum) in sums {
            let mut sum = match sum {
                Some(sum) if ignores_nan(op, elem) && !nan => self.combine(op, elem, sum, neutral(op, elem)),
                Some(sum) => sum,
                None => neutral(op, elem),
            };
            for bit in &lanes {
                let a = self.in_register(sum, class_of(elem));
                let d = self.shuffle(a, 1 << bit);
                sum = self.combine(op, elem, a.into(), d.into());
            }
            self.keep(result, r, elem, sum);
        }
        Ok(())
    }

    /// Whether what a tile holds where a range has ended changes nothing.
    fn neutral_beyond(&self, x: t2::ValId, axis: t1::AxisId, op: ReduceOp) -> bool {
        match op {
            ReduceOp::Sum => self.beyond(x, axis) == Some(Beyond::Zero),
            ReduceOp::Max => self.beyond(x, axis) == Some(Beyond::NegativeInfinity),
            _ => false,
        }
    }

    /// What a tile holds where a range has ended.
    pub fn beyond(&self, x: t2::ValId, axis: t1::AxisId) -> Option<Beyond> {
        match self.producers.get(&x)? {
            t2::OpKind::Elementwise { value, .. } => beyond(self.kernel, *value, axis),
            t2::OpKind::Spread { x } => self.beyond(*x, axis),
            _ => None,
        }
    }

    /// Lane bits along which a tile's elements are copies.
    fn copies(&mut self, v: t2::ValId) -> Vec<usize> {
        let map = self.map(v);
        (0..LANE_BITS).filter(|bit| map.axes.iter().all(|a| a.thread[*bit] == 0)).collect()
    }

    /// A thread's own sum along the axes that a result does not have.
    pub fn emit_reduce_own(
        &mut self,
        result: t2::ValId,
        x: t2::ValId,
        axes: &[t1::AxisId],
    ) -> Result<(), Refusal> {
        let map = self.map(x);
        let (elem, x_axes) = self.tile(x);
        let masked: Vec<t1::AxisId> =
            axes.iter().copied().filter(|a| !self.neutral_beyond(x, *a, ReduceOp::Sum)).collect();
        let mut sums: Vec<(usize, Option<Src>)> =
            self.distinct(result).into_iter().map(|r| (r, None)).collect();
        for q in self.distinct(x) {
            let r = self.counterpart(x, q, result);
            let e = self.element(x, q)?;
            let e = self.countable(e)?;
            let exists = self.existing(&masked, &x_axes, &map, q)?;
            let e = self.or_neutral(e, exists, ReduceOp::Sum, elem);
            if let Some((_, sum)) = sums.iter_mut().find(|(s, _)| *s == r) {
                *sum = Some(match *sum {
                    None => e,
                    Some(sum) => self.combine(ReduceOp::Sum, elem, sum, e),
                });
            }
        }
        for (r, sum) in sums {
            let sum = sum.unwrap_or_else(|| neutral(ReduceOp::Sum, elem));
            self.keep(result, r, elem, sum);
        }
        Ok(())
    }

    /// An element as the first lane's share.
    pub fn share(&mut self, v: t2::ValId, e: Element) -> Result<Element, Refusal> {
        let mask = self.copies(v).into_iter().fold(0, |mask, bit| mask | 1i64 << bit);
        let (elem, _) = self.tile(v);
        let lane = self.threads.tid;
        let lane = self.b.and(lane, mask);
        let first = self.b.set_int(Cmp::Eq, IntTy::B32, lane, 0);
        let e = self.countable(e)?;
        Ok(Element::F32(self.or_neutral(e, Some(first), ReduceOp::Sum, elem)))
    }

    /// The sum of the lanes' shares.
    pub fn emit_total(&mut self, result: t2::ValId, x: t2::ValId) -> Result<(), Refusal> {
        let (elem, _) = self.tile(x);
        let lanes = self.copies(x);
        for r in self.distinct(result) {
            let q = self.counterpart(result, r, x);
            let e = self.element(x, q)?;
            let mut sum = self.countable(e)?;
            for bit in &lanes {
                let a = self.in_register(sum, class_of(elem));
                let d = self.shuffle(a, 1 << bit);
                sum = self.combine(ReduceOp::Sum, elem, a.into(), d.into());
            }
            self.keep(result, r, elem, sum);
        }
        Ok(())
    }

    /// The element where it exists, else what changes nothing.
    pub fn or_neutral(&mut self, e: Src, exists: Option<Reg>, op: ReduceOp, elem: ElemType) -> Src {
        let Some(p) = exists else { return e };
        let d = self.b.reg(class_of(elem));
        self.b.push(Op::Select { d, a: e, b: neutral(op, elem), p });
        d.into()
    }

    /// The register of the lane whose number differs in these bits.
    pub fn shuffle(&mut self, a: Reg, mask: u32) -> Reg {
        if self.b.class(a) != Class::B64 {
            let d = self.b.reg(self.b.class(a));
            self.b.push(Op::ShuffleXor { d, a, mask });
            return d;
        }
        let (lo, hi) = (self.b.reg(Class::B32), self.b.reg(Class::B32));
        self.b.push(Op::Split32 { lo, hi, a });
        let (lo, hi) = (self.shuffle(lo, mask), self.shuffle(hi, mask));
        let d = self.b.reg(Class::B64);
        self.b.push(Op::Join32 { d, lo, hi });
        d
    }

    /// One combination, in registers of the type's class.
    pub fn combine(&mut self, op: ReduceOp, elem: ElemType, x: Src, y: Src) -> Src {
        if elem.is_float() {
            let op = match op {
                ReduceOp::Max | ReduceOp::ArgMax => FloatOp::Max,
                ReduceOp::Min | ReduceOp::ArgMin => FloatOp::Min,
                ReduceOp::Sum | ReduceOp::Any | ReduceOp::All => FloatOp::Add,
            };
            return self.b.float(op, x, y).into();
        }
        let ty = int_ty(elem);
        let bits = if ty.class() == Class::B64 { IntTy::B64 } else { IntTy::B32 };
        let (op, ty) = match op {
            ReduceOp::Sum => (IntOp::Add, ty),
            ReduceOp::Max | ReduceOp::ArgMax => (IntOp::Max, ty),
            ReduceOp::Min | ReduceOp::ArgMin => (IntOp::Min, ty),
            ReduceOp::Any => (IntOp::Or, bits),
            ReduceOp::All => (IntOp::And, bits),
        };
        let x = self.in_register(x, ty.class());
        self.b.int(op, ty, x, y).into()
    }

    /// An element as something to combine: booleans as 0 and 1.
    pub fn countable(&mut self, e: Element) -> Result<Src, Refusal> {
        match e {
            Element::Int(s) | Element::Long(s) => Ok(s),
            Element::Pred(p) => {
                let d = self.b.reg(Class::B32);
                self.b.push(Op::Select { d, a: Src::Int(1), b: Src::Int(0), p });
                Ok(d.into())
            }
            float => {
                let span = self.b.span;
                self.float(float, span)
            }
        }
    }

    /// Makes a combined value the element in register `r`.
    pub fn keep(&mut self, v: t2::ValId, r: usize, elem: ElemType, s: Src) {
        let e = match elem {
            ElemType::Bool => {
                let a = self.in_register(s, Class::B32);
                Element::Pred(self.b.set_int(Cmp::Ne, IntTy::B32, a, 0))
            }
            e if e.is_float() => Element::F32(s),
            e if class_of(e) == Class::B64 => Element::Long(s),
            e => Element::Int(self.wrapped(s, e)),
        };
        self.elements.insert((v, r), e);
    }

    /// Where the elements of a tile of partial results stand, `bytes` apart.
    pub fn positions(&mut self, v: t2::ValId, warps: u32, bytes: u32) -> Positions {
        let map: Rc<TileMap> = self.map(v);
        let shape = self.module.layout(v).shape();
        let parts = map
            .axes
            .iter()
            .zip(&shape)
            .map(|(m, (_, extent))| (m.thread.clone(), m.register.clone(), extent.next_power_of_two()))
            .collect();
        self.positions_of(parts, map.registers, warps, bytes)
    }

    pub fn positions_of(
        &mut self,
        parts: Vec<AxisParts>,
        registers: usize,
        warps: u32,
        bytes: u32,
    ) -> Positions {
        let mut shift = bytes.trailing_zeros();
        let mut shifts = vec![0u32; parts.len()];
        for (n, (_, _, extent)) in parts.iter().enumerate().rev() {
            shifts[n] = shift;
            shift += extent.trailing_zeros();
        }
        let bits = LANE_BITS + self.module.role(t2::RoleId(0)).warps.trailing_zeros() as usize;
        let mut numbered = 0;
        let mut idle = 0;
        let columns = (0..bits)
            .map(|bit| {
                let own = parts
                    .iter()
                    .zip(&shifts)
                    .fold(0, |at, ((thread, ..), s)| at | thread.get(bit).copied().unwrap_or(0) << s);
                if bit >= LANE_BITS && warps >> (bit - LANE_BITS) & 1 == 1 {
                    numbered += 1;
                    return 1 << (shift + numbered - 1);
                }
                if own == 0 {
                    idle |= 1 << bit;
                }
                own
            })
            .collect();
        let registers = (0..registers)
            .map(|r| parts.iter().zip(&shifts).fold(0, |at, ((_, register, _), s)| at | register[r] << s))
            .collect();
        Positions { columns, registers, pitch: 1 << shift, idle }
    }

    /// The calling warps' partial results, each by one thread.
    pub fn emit_put(&mut self, buf: t2::BufId, value: t2::ValId, warps: u32) -> Result<(), Refusal> {
        let (elem, _) = self.tile(value);
        match self.producers.get(&value) {
            Some(t2::OpKind::Scan { axis, .. }) => {
                let axis = *axis;
                self.emit_put_totals(buf, value, axis, warps);
                return Ok(());
            }
            Some(t2::OpKind::Reduce { op: ReduceOp::ArgMax | ReduceOp::ArgMin, .. }) => {
                self.emit_put_pairs(buf, value, warps);
                return Ok(());
            }
            _ => {}
        }
        let at = self.positions(value, warps, class_of(elem).bytes());
        let base = self.module.buffer(buf).base as i32;
        let first = self.first_of(at.idle);
        for r in self.distinct(value) {
            let e = self.element(value, r)?;
            let s = self.countable(e)?;
            let a = self.in_register(s, class_of(elem));
            let mut to = self.threads.shared(&mut self.b, &at.columns, at.registers[r]);
            to.offset += base;
            self.b.guarded(first.map(|p| (p, true)), Op::StoreShared { a: vec![a], to });
        }
        Ok(())
    }

    /// All partial results, combined in the order of warps by every thread.
    pub fn emit_get(&mut self, buf: t2::BufId, result: t2::ValId, op: ReduceOp, warps: u32) {
        let (elem, _) = self.tile(result);
        if matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) {
            let elem = self.module.buffer(buf).elem;
            return self.emit_get_pairs(buf, result, op, elem, warps);
        }
        let at = self.positions(result, warps, class_of(elem).bytes());
        let base = self.module.buffer(buf).base as i32;
        let mut columns = at.columns.clone();
        for (bit, c) in columns.iter_mut().enumerate().skip(LANE_BITS) {
            if warps >> (bit - LANE_BITS) & 1 == 1 {
                *c = 0;
            }
        }
        for r in self.distinct(result) {
            let mut sum = None;
            for w in 0..1 << warps.count_ones() {
                let mut from = self.threads.shared(&mut self.b, &columns, at.registers[r]);
                from.offset += base + (w * at.pitch) as i32;
                let d = self.b.reg(class_of(elem));
                self.b.push(Op::LoadShared { d, from, bytes: class_of(elem).bytes() });
                sum = Some(match sum {
                    None => Src::Reg(d),
                    Some(s) => self.combine(op, elem, s, d.into()),
                });
            }
            self.keep(result, r, elem, sum.unwrap_or(neutral(op, elem)));
        }
    }

    /// Holds in the threads whose number has none of these bits; `None` if there are none.
    pub fn first_of(&mut self, idle: u32) -> Option<Reg> {
        if idle == 0 {
            return None;
        }
        let tid = self.threads.tid;
        let own = self.b.and(tid, i64::from(idle));
        Some(self.b.set_int(Cmp::Eq, IntTy::B32, own, 0))
    }
}

/// Whether a NaN counts for nothing, so that a reduction of nothing else is one of nothing: an infinity, where the machine's maximum of
/// two NaNs is one.
pub fn ignores_nan(op: ReduceOp, elem: ElemType) -> bool {
    elem.is_float() && matches!(op, ReduceOp::Max | ReduceOp::Min)
}

/// The class of register that an element is combined in.
pub fn class_of(elem: ElemType) -> Class {
    match elem {
        e if e.is_float() => Class::F32,
        ElemType::Int(64) | ElemType::Uint(64) => Class::B64,
        _ => Class::B32,
    }
}

/// The type of integer instructions on an element.
pub fn int_ty(elem: ElemType) -> IntTy {
    match (class_of(elem), elem.is_signed()) {
        (Class::B64, true) => IntTy::S64,
        (Class::B64, false) => IntTy::U64,
        (_, true) => IntTy::S32,
        (_, false) => IntTy::U32,
    }
}

/// The element that changes nothing.
pub fn neutral(op: ReduceOp, elem: ElemType) -> Src {
    if elem.is_float() {
        return Src::F32(match op {
            ReduceOp::Max | ReduceOp::ArgMax => f32::NEG_INFINITY,
            ReduceOp::Min | ReduceOp::ArgMin => f32::INFINITY,
            ReduceOp::Sum | ReduceOp::Any | ReduceOp::All => 0.0,
        });
    }
    // Coordinates take 32 bits in registers.
    let bits = match elem {
        ElemType::Int(w) | ElemType::Uint(w) => u32::from(w),
        _ => 32,
    };
    let (least, greatest) = match elem.is_signed() {
        true => (-1i64 << (bits - 1), i64::MAX >> (64 - bits)),
        false => (0, (u64::MAX >> (64 - bits)) as i64),
    };
    Src::Int(match op {
        ReduceOp::Max | ReduceOp::ArgMax => least,
        ReduceOp::Min | ReduceOp::ArgMin => greatest,
        ReduceOp::All => 1,
        ReduceOp::Sum | ReduceOp::Any => 0,
    })
}
