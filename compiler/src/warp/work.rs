//! The workspace of reductions over the grid: putting, counting, getting.
//!
//! ```text
//! parts     [group][instance of the group][place][row of `width` registers][thread]     counters   [group]
//! ```
//! Threads put their registers as they hold them, neighbours side by side, so every access of a warp is whole lines and nothing is indexed.
//!
//! **Counting** is the pattern of the CUDA guide's threadFenceReduction: all threads of the block have put (a barrier), one of them makes
//! that known to the GPU (a fence, cumulative), counts, and learns whether everybody else had counted before; a second fence makes their parts
//! known here, and the meeting that tells the block which way to go also hands that on. The last one leaves the counter zero for the next launch.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use crate::plan::{Refusal, instances};
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;

impl Lower<'_> {
    /// The thread's address in the part of the instance that stands at `at` along the reduced variable.
    fn part(&mut self, work: &t2::Work, var: t1::GridId, at: Option<Src>) -> Result<Reg, Refusal> {
        let number = match self.item {
            Some(_) => self.item_part(at),
            None => self.part_number(var, at)?,
        };
        let parts = self.scalars.workspace()?;
        let part = self.b.mad_wide(false, number, i64::from(self.module.work_bytes()), parts);
        let tid = self.threads.tid;
        Ok(self.b.mad_wide(false, tid, i64::from(work.access()), part))
    }

    /// The number of a part: of the block itself, or of the instance of its group at `at`.
    fn part_number(&mut self, var: t1::GridId, at: Option<Src>) -> Result<Reg, Refusal> {
        let (own, count) = self.scalars.grid.tiles[var.0 as usize];
        let number = match at {
            None => own,
            Some(at) => {
                let g = self.kernel.grid_var(var);
                let lo = self.scalars.coordinate(&mut self.b, g.lo)?;
                let at = self.in_register(at, Class::B32);
                let from_lo = match lo {
                    Src::Int(0) => at,
                    lo => self.b.int(IntOp::Sub, IntTy::S32, at, lo),
                };
                match instances::step(self.kernel, g) {
                    1 => from_lo,
                    by => self.b.int(IntOp::Div, IntTy::U32, from_lo, i64::from(by)),
                }
            }
        };
        let group = self.group(var);
        let first = super::grid::mul(&mut self.b, group, count);
        Ok(match first {
            Src::Int(0) => number,
            first => self.b.add(number, first),
        })
    }

    /// The number of the block's group.
    fn group(&mut self, var: t1::GridId) -> Src {
        if let Some(item) = &self.item {
            return item.tile.into();
        }
        self.scalars.grid.group(&mut self.b, var)
    }

    /// Where row `n` of a place is, from the thread's address.
    fn row(&self, work: &t2::Work, base: Reg, n: usize) -> Address {
        let row = work.access() * self.module.threads();
        Address { base, offset: (work.base + n as u32 * row) as i32 }
    }

    /// Every register of a tile to the calling instance's part.
    pub fn emit_work_put(&mut self, work: t2::WorkId, value: t2::ValId) -> Result<(), Refusal> {
        let work = self.module.work(work).clone();
        let Some(var) = self.reduced() else { return Ok(()) };
        let base = self.part(&work, var, None)?;
        let registers: Vec<usize> = (0..self.map(value).registers).collect();
        for (n, row) in registers.chunks(work.width as usize).enumerate() {
            let mut a = Vec::new();
            for r in row {
                let e = self.element(value, *r)?;
                let class = match e {
                    Element::Int(_) | Element::Pred(_) => Class::B32,
                    Element::F32(_) | Element::Half(..) | Element::Code(..) => Class::F32,
                    Element::Long(_) => Class::B64,
                };
                let s = self.countable(e)?;
                a.push(self.in_register(s, class));
            }
            while a.len() < work.width as usize {
                a.push(a[0]);
            }
            let to = self.row(&work, base, n);
            self.b.push(Op::StoreGlobal { a, to });
        }
        Ok(())
    }

    /// The row of a tile that another instance has put, of which register `r` is one.
    pub fn emit_work_get(&mut self, work: t2::WorkId, v: t2::ValId, r: usize) -> Result<(), Refusal> {
        let work = self.module.work(work).clone();
        let Some(var) = self.reduced() else { return Ok(()) };
        let at = self.scalars.coordinate(&mut self.b, self.kernel.grid_var(var).var)?;
        let key = (var, work.base);
        let base = match self.parts.get(&key) {
            Some(base) => *base,
            None => {
                let base = self.part(&work, var, Some(at))?;
                self.parts.insert(key, base);
                base
            }
        };
        let t2::ValKind::Tile { elem, .. } = self.module.value(v).kind else {
            unreachable!("T2.1: what was put is a register tile");
        };
        let class = match elem.is_float() {
            true => Class::F32,
            false if work.each == 8 => Class::B64,
            false => Class::B32,
        };
        let n = r / work.width as usize;
        let d: Vec<Reg> = (0..work.width).map(|_| self.b.reg(class)).collect();
        let from = self.row(&work, base, n);
        self.b.push(Op::LoadGlobal { d: d.clone(), from });
        let registers = self.map(v).registers;
        for (at, d) in d.into_iter().enumerate() {
            let q = n * work.width as usize + at;
            if q < registers {
                self.keep(v, q, elem, d.into());
            }
        }
        Ok(())
    }

    /// All instances of the group but the last to come leave; or `others`, whether there are more to come.
    pub fn emit_work_last(&mut self, var: t1::GridId, others: Option<t2::ValId>) -> Result<(), Refusal> {
        self.b.comment("the last instance of its group goes on for all");
        let group = self.group(var);
        let counters = self.scalars.counters()?;
        let base = match group {
            Src::Int(0) => counters,
            group => self.b.mad_wide(false, group, 4, counters),
        };
        let at = Address { base, offset: 0 };
        let tid = self.threads.tid;
        let one = Some((self.b.set_int(Cmp::Eq, IntTy::U32, tid, 0), true));
        let before = self.b.mov(Class::B32, -1);
        self.b.guarded(one, Op::FenceGpu);
        self.b.guarded(one, Op::CountGlobal { d: before, at });
        // Where the host could only bound the range, blocks past its end are gone.
        let count = self.scalars.instances(&mut self.b, var)?;
        let last = match count {
            Src::Int(n) => Src::Int(n - 1),
            Src::Reg(n) => Src::Reg(self.b.add(n, -1)),
            other => other,
        };
        // Other threads hold -1, which no count reaches.
        let last = self.b.set_int(Cmp::Eq, IntTy::U32, before, last);
        let zero = self.b.mov(Class::B32, 0);
        self.b.guarded(one, Op::FenceGpu);
        self.b.guarded(Some((last, true)), Op::StoreGlobal { a: vec![zero], to: at });
        let all = self.b.reg(Class::Pred);
        self.b.push(Op::MeetAny { d: all, a: last });
        match others {
            None => self.b.guarded(Some((all, false)), Op::Exit),
            Some(v) => {
                let d = self.b.reg(Class::Pred);
                self.b.push(Op::PredNot { d, a: all });
                self.elements.insert((v, 0), Element::Pred(d));
            }
        }
        Ok(())
    }

    /// The grid variable that the module reduces over.
    fn reduced(&self) -> Option<t1::GridId> {
        if let t2::Dispatch::Stream(stream) = self.module.dispatch {
            return Some(stream.part);
        }
        self.module.body.iter().find_map(|n| match n {
            t2::Node::Op(t2::Op { kind: t2::OpKind::WorkLast { var }, .. }) => Some(*var),
            _ => None,
        })
    }

    /// Two tiles element by element.
    pub fn combined(
        &mut self,
        op: t1::ReduceOp,
        v: t2::ValId,
        x: t2::ValId,
        y: t2::ValId,
        r: usize,
    ) -> Result<(), Refusal> {
        let t2::ValKind::Tile { elem, .. } = self.module.value(v).kind else {
            unreachable!("T2.1: a combination is a register tile");
        };
        let (x, y) = (self.element(x, r)?, self.element(y, r)?);
        let (x, y) = (self.countable(x)?, self.countable(y)?);
        let s = self.combine(op, elem, x, y);
        self.keep(v, r, elem, s);
        Ok(())
    }
}
