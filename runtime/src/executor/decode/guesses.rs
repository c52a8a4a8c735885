//! Loads that are the first guess of a loop of `atom.cas`.
//!
//! ```text
//!      ld.global.u32  %r1, [%rd1];              a plain load, which races with the others' updates
//! L:   add.u32        %r2, %r1, 1;
//!      atom.global.cas.b32 %r3, [%rd1], %r1, %r2;
//!      setp.ne.u32    %p1, %r1, %r3;
//!      mov.u32        %r1, %r3;
//!      @%p1 bra       L;
//! ```
//!
//! The memory model calls that a race. But the exchange finds out whether the guess was right, so nothing depends on it, CUDA's guide and
//! its headers (`atomicAdd` of `__nv_bfloat16` before sm_90) write it, and so does everybody. Such a load counts as a relaxed one.

use rustc_hash::FxHashSet;
use tilewright_compiler::ptx::{AtomOp, Op, Semantics, op};

use super::emit::Decoder;
use super::flatten::{Flat, Piece, Reg, Side};

/// Registers that an exchange compares with, and those that are copied into them.
pub(super) fn guesses(flat: &Flat<'_>) -> FxHashSet<Reg> {
    let mut found = FxHashSet::default();
    for piece in &flat.pieces {
        if let Piece::Inst { scope, inst } = piece
            && let Op::Atom(op) = &inst.op
            && op.op == AtomOp::Cas
        {
            found.extend(op.b.iter().filter_map(|b| b.reg()).map(|reg| flat.reg(*scope, reg)));
        }
    }
    let mut before = 0;
    while found.len() != before {
        before = found.len();
        for piece in &flat.pieces {
            let (to, from) = match piece {
                Piece::Inst { scope, inst } => match &inst.op {
                    Op::Mov(op) => {
                        (Some(flat.reg(*scope, op.dst)), op.src.reg().map(|r| flat.reg(*scope, r)))
                    }
                    _ => continue,
                },
                Piece::Move { to: Side::Reg(to), from: Side::Reg(from), .. } => (Some(*to), Some(*from)),
                _ => continue,
            };
            if let (Some(to), Some(from)) = (to, from)
                && found.contains(&to)
            {
                found.insert(from);
            }
        }
    }
    found
}

impl Decoder<'_> {
    pub(super) fn is_guess(&self, op: &op::Ld) -> bool {
        let [dst] = &op.dst[..] else { return false };
        op.sem == Semantics::Weak
            && dst.reg().is_some_and(|reg| self.guesses.contains(&self.flat.reg(self.scope, reg)))
    }
}
