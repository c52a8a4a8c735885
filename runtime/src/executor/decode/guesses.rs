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
//! its headers (`atomicAdd` of `__nv_bfloat16` before sm_90) write it, and so does everybody. Such a load counts as a relaxed one: one that reads what the exchange, further down, changes, into a register that
//! comes to what it compares with. Any other load into such a register is as plain as ever.

use rustc_hash::{FxHashMap, FxHashSet};
use tilewright_compiler::ptx::{
    Address, AtomOp, Base, Imm, Inst, Op, Operand, RegId, Semantics, Space,
    op::{self, IntBinaryOp},
};

use super::emit::Decoder;
use super::flatten::{Flat, Piece, Reg, Side};

/// Steps from a register back to what it was computed from.
const STEPS: usize = 16;

/// What an address starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    Reg(Reg),
    /// A symbol, or nothing, in an activation.
    Fixed(usize, Base),
}

/// Which registers are written where.
struct Definitions<'f, 'm> {
    flat: &'f Flat<'m>,
    at: FxHashMap<Reg, Vec<usize>>,
}

impl<'f, 'm> Definitions<'f, 'm> {
    fn new(flat: &'f Flat<'m>) -> Definitions<'f, 'm> {
        let mut at: FxHashMap<Reg, Vec<usize>> = FxHashMap::default();
        for (number, piece) in flat.pieces.iter().enumerate() {
            flat.defs(piece, |reg| at.entry(reg).or_default().push(number));
        }
        Definitions { flat, at }
    }

    /// Pieces between `from` and `to` that write `reg`.
    fn between(&self, reg: Reg, from: usize, to: usize) -> impl Iterator<Item = usize> {
        self.at.get(&reg).into_iter().flatten().copied().filter(move |at| (from + 1..to).contains(at))
    }

    /// What an address comes from: registers that are written once are followed through copies, sums with a constant and
    /// conversions. With the first piece on the way.
    fn origin(&self, scope: usize, addr: Address, from: usize) -> (Root, i64, usize) {
        let Address { base, offset } = addr;
        let Base::Reg(reg) = base else { return (Root::Fixed(scope, base), offset, from) };
        let (mut reg, mut offset, mut first) = (self.flat.reg(scope, reg), offset, from);
        for _ in 0..STEPS {
            let Some(&[at]) = self.at.get(&reg).map(Vec::as_slice) else { break };
            let Piece::Inst { scope, inst } = &self.flat.pieces[at] else { break };
            let Some((next, more)) = source(inst) else { break };
            (reg, offset, first) = (self.flat.reg(*scope, next), offset.wrapping_add(more), first.min(at));
        }
        (Root::Reg(reg), offset, first)
    }

    /// Whether two addresses, at pieces `a` and `b` behind it, are the same: they come from one register, which nobody writes in between.
    fn same(&self, (a, from): (usize, Address), (b, to): (usize, Address), scopes: (usize, usize)) -> bool {
        let unchanged = |reg: Reg, since: usize| self.between(reg, since, b).next().is_none();
        if from == to && scopes.0 == scopes.1 {
            match from.base {
                Base::Reg(reg) if !unchanged(self.flat.reg(scopes.0, reg), a) => {}
                _ => return true,
            }
        }
        let (root, offset, first) = self.origin(scopes.0, from, a);
        let (other, distance, earlier) = self.origin(scopes.1, to, b);
        let stays = match root {
            Root::Reg(reg) => unchanged(reg, first.min(earlier)),
            Root::Fixed(..) => true,
        };
        (root, offset) == (other, distance) && stays
    }
}

/// The register that `inst` copies, and what it adds.
fn source(inst: &Inst) -> Option<(RegId, i64)> {
    if inst.guard.is_some() {
        return None;
    }
    match &inst.op {
        Op::Mov(op) => Some((op.src.reg()?, 0)),
        Op::Cvta(op) => Some((op.src.reg()?, 0)),
        Op::IntBinary(op) if op.op == IntBinaryOp::Add && !op.sat => match op.b {
            Operand::Imm(Imm::Int(more)) => Some((op.a.reg()?, more)),
            _ => None,
        },
        _ => None,
    }
}

/// Generic addresses are those of global memory; what they are of others is not looked at.
fn window(space: Space) -> Space {
    if space == Space::Generic { Space::Global } else { space }
}

/// The loads that are guesses.
pub(super) fn guesses(flat: &Flat<'_>) -> FxHashSet<*const op::Ld> {
    let mut found = FxHashSet::default();
    let exchange = |piece: &Piece<'_>| matches!(piece, Piece::Inst { inst, .. } if matches!(&inst.op, Op::Atom(op) if op.op == AtomOp::Cas));
    if !flat.pieces.iter().any(exchange) {
        return found;
    }
    let definitions = Definitions::new(flat);
    let is_copy = |at: usize| copied(flat, &flat.pieces[at]).is_some();
    for (number, piece) in flat.pieces.iter().enumerate().filter(|(_, piece)| exchange(piece)) {
        let Piece::Inst { scope, inst } = piece else { continue };
        let Op::Atom(cas) = &inst.op else { continue };
        let compared = cas.b.iter().filter_map(|b| b.reg()).map(|reg| flat.reg(*scope, reg));
        let mut left: Vec<Reg> = compared.collect();
        let mut seen: FxHashSet<Reg> = left.iter().copied().collect();
        while let Some(reg) = left.pop() {
            for &at in definitions.at.get(&reg).into_iter().flatten() {
                if let Some(from) = copied(flat, &flat.pieces[at]) {
                    if seen.insert(from) {
                        left.push(from);
                    }
                    continue;
                }
                let Piece::Inst { scope: there, inst } = &flat.pieces[at] else { continue };
                let Op::Ld(load) = &inst.op else { continue };
                if at > number
                    || load.dst.len() != 1
                    || load.sem != Semantics::Weak
                    || window(load.space) != window(cas.space)
                {
                    continue;
                }
                // Where the register got something else in between, that is what is compared.
                let other = definitions.between(reg, at, number).any(|at| !is_copy(at));
                if !other && definitions.same((at, load.addr), (number, cas.addr), (*there, *scope)) {
                    found.insert(std::ptr::from_ref(load));
                }
            }
        }
    }
    found
}

/// The register that `piece` copies.
fn copied(flat: &Flat<'_>, piece: &Piece<'_>) -> Option<Reg> {
    match piece {
        Piece::Inst { scope, inst } => match &inst.op {
            Op::Mov(op) => op.src.reg().map(|reg| flat.reg(*scope, reg)),
            _ => None,
        },
        Piece::Move { to: Side::Reg(_), from: Side::Reg(from), .. } => Some(*from),
        _ => None,
    }
}

impl Decoder<'_> {
    pub(super) fn is_guess(&self, op: &op::Ld) -> bool {
        self.guesses.contains(&std::ptr::from_ref(op))
    }
}
