//! Scans: `cumsum` and `cummax` along one axis, from either end.
//!
//! The digits of a scanned axis are, from the lowest: neighbours in registers (A), lanes, warps, further registers (B); see
//! [`distribution`](crate::plan::distribution). So a thread scans its neighbours one after the other; lanes exchange the sums of their neighbours
//! as a butterfly, where the upper lane of each pair adds what the lower one had; warps do the same by way of shared memory; and
//! what is left, the B groups, follow one after another with a carry. From the end, everything is the same with the order turned.
//!
//! ```text
//! 128 elements, A = 4:  lane 0: a0 a0+a1 …     sums s0 s1 s2 s3 …   after one exchange  s0, s0+s1, s2, s2+s3 …  and so on, five times
//! ```
//! Elements that do not exist count as the neutral element. A sum's association is fixed by the layout.

use super::ir::*;
use super::lower::Lower;
use super::reductions::{LANE_BITS, Positions, class_of, ignores_nan, neutral};
use crate::plan::Refusal;
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use t1::{ReduceOp, ScanOp};

/// Registers of one tile along the scanned axis.
struct Run {
    /// Neighbours, in the order of the scan; the first stands for the group.
    registers: Vec<usize>,
    /// Number of the group along the axis.
    group: u32,
}

/// What the layout says about a scan.
struct Shape {
    /// Per row (coordinates of the other axes) its groups in the order of the scan.
    rows: Vec<Vec<Run>>,
    /// Lane bits in ascending order of what they move.
    lanes: Vec<usize>,
    /// Coordinate bits below the groups.
    below: u32,
}

fn as_reduction(op: ScanOp) -> ReduceOp {
    match op {
        ScanOp::Sum => ReduceOp::Sum,
        ScanOp::Max => ReduceOp::Max,
    }
}

impl Lower<'_> {
    fn scan_shape(&mut self, v: t2::ValId, axis: t1::AxisId, rev: bool) -> Shape {
        let map = self.map(v);
        let (_, axes) = self.tile(v);
        let at = axes.iter().position(|a| *a == axis).unwrap_or(0);
        let along = &map.axes[at];
        let threads: u32 = along.thread.iter().fold(0, |m, c| m | c);
        let below = 32 - threads.leading_zeros();
        let mut rows: Vec<(Vec<u32>, Vec<Run>)> = Vec::new();
        let mut registers = self.distinct(v);
        registers.sort_by_key(|r| along.register[*r]);
        if rev {
            registers.reverse();
        }
        for r in registers {
            let key: Vec<u32> =
                (0..map.axes.len()).filter(|n| *n != at).map(|n| map.axes[n].register[r]).collect();
            let group = if threads == 0 { 0 } else { along.register[r] >> below };
            let row = match rows.iter().position(|(k, _)| *k == key) {
                Some(n) => n,
                None => {
                    rows.push((key, Vec::new()));
                    rows.len() - 1
                }
            };
            match rows[row].1.iter_mut().find(|run| run.group == group) {
                Some(run) => run.registers.push(r),
                None => rows[row].1.push(Run { registers: vec![r], group }),
            }
        }
        let mut lanes: Vec<usize> = (0..LANE_BITS).filter(|b| along.thread[*b] != 0).collect();
        lanes.sort_by_key(|b| along.thread[*b]);
        Shape { rows: rows.into_iter().map(|(_, runs)| runs).collect(), lanes, below }
    }

    /// Registers and lanes. Where warps share the axis, the result is each warp's own scan of each group, whose sums
    /// [`emit_put_totals`](Self::emit_put_totals) hands on; else it is the scan.
    pub fn emit_scan(
        &mut self,
        result: t2::ValId,
        x: t2::ValId,
        op: ScanOp,
        axis: t1::AxisId,
        rev: bool,
    ) -> Result<(), Refusal> {
        let how = as_reduction(op);
        let shape = self.scan_shape(x, axis, rev);
        let (elem, x_axes) = self.tile(x);
        let map = self.map(x);
        let warps = self.warps_along(x, axis);
        for row in &shape.rows {
            let mut carry: Option<Src> = None;
            for run in row {
                let mut sums: Vec<Src> = Vec::new();
                for q in &run.registers {
                    let e = self.element(x, *q)?;
                    let e = self.countable(e)?;
                    let exists = self.existing(&[axis], &x_axes, &map, *q)?;
                    let e = self.or_neutral(e, exists, how, elem);
                    sums.push(match sums.last() {
                        Some(before) => self.combine(how, elem, *before, e),
                        None if ignores_nan(how, elem) => self.combine(how, elem, e, neutral(how, elem)),
                        None => e,
                    });
                }
                let mut total = sums.last().copied().unwrap_or(neutral(how, elem));
                let before = self.before_lanes(&shape.lanes, &mut total, how, elem, rev);
                let offset = match (carry, before) {
                    (Some(c), Some(b)) => Some(self.combine(how, elem, c, b)),
                    (c, b) => c.or(b),
                };
                for (q, sum) in run.registers.iter().zip(sums) {
                    let sum = match offset {
                        Some(o) => self.combine(how, elem, o, sum),
                        None => sum,
                    };
                    let r = self.counterpart(x, *q, result);
                    self.keep(result, r, elem, sum);
                }
                if warps {
                    let r = self.counterpart(x, run.registers[0], result);
                    self.totals.insert((result, r), total);
                } else {
                    carry = Some(match carry {
                        Some(c) => self.combine(how, elem, c, total),
                        None => total,
                    });
                }
            }
        }
        Ok(())
    }

    /// What the lanes before this one sum up to; `total` becomes the sum over all lanes.
    fn before_lanes(
        &mut self,
        lanes: &[usize],
        total: &mut Src,
        how: ReduceOp,
        elem: t1::ElemType,
        rev: bool,
    ) -> Option<Src> {
        let class = class_of(elem);
        let before = (!lanes.is_empty()).then(|| self.b.mov(class, neutral(how, elem)))?;
        for bit in lanes {
            let a = self.in_register(*total, class);
            let other = self.shuffle(a, 1 << bit);
            let upper = self.thread_bit(*bit);
            let sum = self.combine(how, elem, other.into(), before.into());
            self.b.guarded(Some((upper, !rev)), Op::Mov { d: before, a: sum });
            *total = self.combine(how, elem, a.into(), other.into());
        }
        Some(before.into())
    }

    /// Holds where the thread's number has the bit.
    fn thread_bit(&mut self, bit: usize) -> Reg {
        if let Some(p) = self.thread_bits.get(&bit) {
            return *p;
        }
        let tid = self.threads.tid;
        let own = self.b.and(tid, 1 << bit);
        let p = self.b.set_int(Cmp::Ne, IntTy::B32, own, 0);
        self.thread_bits.insert(bit, p);
        p
    }

    fn warps_along(&mut self, v: t2::ValId, axis: t1::AxisId) -> bool {
        let map = self.map(v);
        let (_, axes) = self.tile(v);
        axes.iter().zip(&map.axes).any(|(a, m)| *a == axis && m.thread[LANE_BITS..].iter().any(|c| *c != 0))
    }

    /// Where the sum of each group stands among the warps' sums.
    fn total_positions(&mut self, v: t2::ValId, axis: t1::AxisId, below: u32, warps: u32) -> Positions {
        let map = self.map(v);
        let (elem, axes) = self.tile(v);
        let shape = self.module.layout(v).shape();
        let parts = axes.iter().zip(&map.axes).zip(&shape).map(|((a, m), (_, extent))| {
            if *a != axis {
                return (m.thread.clone(), m.register.clone(), extent.next_power_of_two());
            }
            let register = m.register.iter().map(|c| c >> below).collect();
            (vec![0; m.thread.len()], register, (extent.next_power_of_two() >> below).max(1))
        });
        self.positions_of(parts.collect(), map.registers, warps, class_of(elem).bytes())
    }

    /// Each warp's sum of each group, by one thread.
    pub fn emit_put_totals(&mut self, buf: t2::BufId, value: t2::ValId, axis: t1::AxisId, warps: u32) {
        let shape = self.scan_shape(value, axis, false);
        let at = self.total_positions(value, axis, shape.below, warps);
        let (elem, _) = self.tile(value);
        let base = self.module.buffer(buf).base as i32;
        let first = self.first_of(at.idle);
        for r in self.distinct(value) {
            let Some(total) = self.totals.get(&(value, r)).copied() else { continue };
            let a = self.in_register(total, class_of(elem));
            let mut to = self.threads.shared(&mut self.b, &at.columns, at.registers[r]);
            to.offset += base;
            self.b.guarded(first.map(|p| (p, true)), Op::StoreShared { a: vec![a], to });
        }
    }

    /// The scan, from the warps' own scans and the sums of all warps.
    #[allow(clippy::too_many_arguments)]
    pub fn emit_get_scan(
        &mut self,
        buf: t2::BufId,
        result: t2::ValId,
        x: t2::ValId,
        op: ScanOp,
        axis: t1::AxisId,
        rev: bool,
        warps: u32,
    ) -> Result<(), Refusal> {
        let how = as_reduction(op);
        let shape = self.scan_shape(x, axis, rev);
        let (elem, _) = self.tile(x);
        let class = class_of(elem);
        let at = self.total_positions(x, axis, shape.below, warps);
        let base = self.module.buffer(buf).base as i32;
        let mut columns = at.columns.clone();
        let mut mine = vec![0; columns.len()];
        let mut numbered = 0;
        for bit in LANE_BITS..columns.len() {
            if warps >> (bit - LANE_BITS) & 1 == 1 {
                columns[bit] = 0;
                mine[bit] = 1 << numbered;
                numbered += 1;
            }
        }
        let me = match self.threads.linear(&mut self.b, &mine) {
            Some(me) => me,
            None => self.b.mov(Class::B32, 0),
        };
        let count = 1u32 << warps.count_ones();
        let earlier: Vec<(u32, Reg)> = (0..count)
            .filter(|w| if rev { *w > 0 } else { w + 1 < count })
            .map(|w| {
                let cmp = if rev { Cmp::Lt } else { Cmp::Gt };
                (w, self.b.set_int(cmp, IntTy::U32, me, i64::from(w)))
            })
            .collect();
        for row in &shape.rows {
            let mut carry: Option<Src> = None;
            for run in row {
                let before = match carry {
                    Some(c) => self.b.mov(class, c),
                    None => self.b.mov(class, neutral(how, elem)),
                };
                let mut total = carry;
                for n in 0..count {
                    let w = if rev { count - 1 - n } else { n };
                    let mut from = self.threads.shared(&mut self.b, &columns, at.registers[run.registers[0]]);
                    from.offset += base + (w * at.pitch) as i32;
                    let d = self.b.reg(class);
                    self.b.push(Op::LoadShared { d, from, bytes: class.bytes() });
                    if let Some((_, p)) = earlier.iter().find(|(e, _)| *e == w) {
                        let sum = self.combine(how, elem, before.into(), d.into());
                        self.b.guarded(Some((*p, true)), Op::Mov { d: before, a: sum });
                    }
                    total = Some(match total {
                        Some(t) => self.combine(how, elem, t, d.into()),
                        None => d.into(),
                    });
                }
                for q in &run.registers {
                    let e = self.element(x, *q)?;
                    let own = self.countable(e)?;
                    let sum = self.combine(how, elem, before.into(), own);
                    let r = self.counterpart(x, *q, result);
                    self.keep(result, r, elem, sum);
                }
                carry = total;
            }
        }
        Ok(())
    }
}
