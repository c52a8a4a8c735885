//! Addresses: XOR-linear functions of the thread number, split into lane bases and immediates.
//!
//! A shared-memory offset is `lane ^ register` with both parts linear over F2. Where the register part has bits that the lane part
//! never sets, it is an immediate of the access; the bits that collide (a swizzle) make one more base register per distinct value.
//! For a 64-byte row with two swizzled bits that is two bases for a fragment: slice 0 and `base ^ 32` for slice 1.

use super::build::Builder;
use super::ir::*;
use rustc_hash::FxHashMap;

/// The thread number and what has been computed from it.
pub struct Threads {
    pub tid: Reg,
    shared_base: Reg,
    pub known: Known,
}

/// What has been computed so far.
#[derive(Clone, Default)]
pub struct Known {
    linear: FxHashMap<Vec<u32>, Option<Reg>>,
    /// By columns, then by constant.
    bases: FxHashMap<Vec<u32>, FxHashMap<u32, Reg>>,
}

impl Threads {
    pub fn new(b: &mut Builder) -> Threads {
        let tid = b.special(Special::TidX);
        let shared_base = b.reg(Class::B32);
        b.push(Op::SharedBase { d: shared_base });
        Threads { tid, shared_base, known: Known::default() }
    }

    /// XOR of `columns[bit]` over the set bits of the thread number; `None` if every column is zero.
    ///
    /// Columns are gathered by how far they move their bit, so that a run of bits moves with one shift.
    pub fn linear(&mut self, b: &mut Builder, columns: &[u32]) -> Option<Reg> {
        if let Some(r) = self.known.linear.get(columns) {
            return *r;
        }
        let mut by_shift: Vec<(i32, i64)> = Vec::new();
        for (bit, column) in columns.iter().enumerate() {
            for out in (0..32).filter(|o| column >> o & 1 == 1) {
                let shift = out - bit as i32;
                match by_shift.iter_mut().find(|(s, _)| *s == shift) {
                    Some((_, mask)) => *mask |= 1 << bit,
                    None => by_shift.push((shift, 1 << bit)),
                }
            }
        }
        let mut sum: Option<Reg> = None;
        for (shift, mask) in by_shift {
            let masked = b.and(self.tid, mask);
            let moved = b.shift(masked, shift);
            sum = Some(match sum {
                None => moved,
                Some(s) => b.xor(s, moved),
            });
        }
        self.known.linear.insert(columns.to_vec(), sum);
        sum
    }

    /// The shared address `linear(columns) ^ constant`, plus nothing: slots and buffers are added to the offset by the caller.
    pub fn shared(&mut self, b: &mut Builder, columns: &[u32], constant: u32) -> Address {
        let lane_bits = columns.iter().fold(0, |m, c| m | c);
        let (clash, free) = (constant & lane_bits, constant & !lane_bits);
        let base = match self.known.bases.get(columns).and_then(|known| known.get(&clash)) {
            Some(r) => *r,
            None => {
                let base = match (self.linear(b, columns), clash) {
                    (None, _) => self.shared_base,
                    (Some(lane), 0) => b.add(lane, self.shared_base),
                    (Some(lane), c) => {
                        let moved = b.xor(lane, i64::from(c));
                        b.add(moved, self.shared_base)
                    }
                };
                self.known.bases.entry(columns.to_vec()).or_default().insert(clash, base);
                base
            }
        };
        Address { base, offset: free as i32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Span;

    /// Runs straight-line integer T3 for one thread number.
    fn run(tid: u32, columns: &[u32], constant: u32) -> u32 {
        let mut b = Builder::new(Span::default());
        let mut threads = Threads::new(&mut b);
        let address = threads.shared(&mut b, columns, constant);
        let (classes, stmts) = b.finish();
        let mut regs = vec![0u32; classes.len()];
        let get = |regs: &[u32], s: Src| match s {
            Src::Reg(r) => regs[r.0 as usize],
            Src::Int(i) => i as u32,
            Src::F32(_) => unreachable!("addresses are integers"),
        };
        for stmt in stmts {
            let Stmt::Inst(inst) = stmt else { continue };
            match inst.op {
                Op::Special { d, .. } => regs[d.0 as usize] = tid,
                Op::SharedBase { d } => regs[d.0 as usize] = 1 << 20,
                Op::Int { op, d, a, b, .. } => {
                    let (a, b) = (get(&regs, a), get(&regs, b));
                    regs[d.0 as usize] = match op {
                        IntOp::Add => a + b,
                        IntOp::And => a & b,
                        IntOp::Xor => a ^ b,
                        IntOp::Shl => a << b,
                        IntOp::Shr => a >> b,
                        other => unreachable!("{other:?} is not used for addresses"),
                    };
                }
                other => unreachable!("{other:?} is not used for addresses"),
            }
        }
        regs[address.base.0 as usize] + address.offset as u32
    }

    #[test]
    fn bases_and_immediates_make_the_swizzled_offset() {
        // 64-byte rows: thread bits 0-1 are the chunk, bits 2-6 the row; row bits 1-2 are XORed into the chunk.
        let columns = [16, 32, 64, 128 ^ 16, 256 ^ 32, 512, 1024];
        for tid in 0..128u32 {
            let lane = (0..7).filter(|b| tid >> b & 1 == 1).fold(0, |x, b| x ^ columns[b as usize]);
            for constant in [0, 32, 48, 2048, 2048 + 16] {
                assert_eq!(
                    run(tid, &columns, constant),
                    (1 << 20) + (lane ^ constant),
                    "thread {tid}, {constant}"
                );
            }
        }
    }
}
