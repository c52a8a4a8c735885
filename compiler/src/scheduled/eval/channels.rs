//! Rings of shared memory: who holds which entry. The n-th acquire of a channel and its n-th wait have entry n.

use super::block::{Block, Halt, Turn};
use crate::diagnostics::Span;
use crate::scheduled::ir::*;

/// The iteration of what is in no loop.
const OUTSIDE: i64 = i64::MIN;

/// How far a channel has come.
#[derive(Default)]
pub(super) struct Hands {
    acquired: i64,
    committed: i64,
    waited: i64,
    released: i64,
}

impl Block<'_, '_> {
    /// An acquire or wait: the next ring entry, if it is free or filled.
    pub(super) fn take(&mut self, op: &Op, chan: ChanId, turn: Option<Turn>) -> Result<(), Halt> {
        let slots = i64::from(self.module.channel(chan).slots);
        let hands = &mut self.hands[chan.0 as usize];
        let (n, problem) = if matches!(op.kind, OpKind::Acquire { .. }) {
            let n = hands.acquired;
            hands.acquired += 1;
            (
                n,
                (n - slots >= hands.released)
                    .then(|| format!("acquire of ring entry {n} before {} is released", n - slots)),
            )
        } else {
            let n = hands.waited;
            hands.waited += 1;
            (n, (n >= hands.committed).then(|| format!("wait for ring entry {n} before it is committed")))
        };
        if let Some(problem) = problem {
            self.find(problem, op.span);
        }
        if let Some(result) = op.result {
            self.slots.insert((result, turn.map_or(OUTSIDE, |t| t.n)), n);
        }
        Ok(())
    }

    pub(super) fn slot(&mut self, slot: ValId, turn: Option<Turn>, span: Span) -> Result<i64, Halt> {
        let iteration = turn.map_or(OUTSIDE, |t| t.n);
        // A slot that was taken outside all loops holds the same in every iteration.
        let taken = self.slots.get(&(slot, iteration)).or_else(|| self.slots.get(&(slot, OUTSIDE)));
        match taken {
            Some(n) => Ok(*n),
            None => {
                let name = &self.module.value(slot).name;
                self.find(
                    format!("%{name} of iteration {iteration} is used before its channel gives it"),
                    span,
                );
                Err(Halt::Broken)
            }
        }
    }

    pub(super) fn commit(
        &mut self,
        chan: ChanId,
        slot: ValId,
        after: &[ValId],
        turn: Option<Turn>,
        span: Span,
    ) -> Result<(), Halt> {
        let n = self.slot(slot, turn, span)?;
        let hands = &mut self.hands[chan.0 as usize];
        let expected = std::mem::replace(&mut hands.committed, n + 1);
        if expected != n {
            self.find(format!("commit of ring entry {n} where {expected} is due"), span);
        }
        let asynchronous = |t: &ValId| matches!(self.module.value(*t).kind, ValKind::Tok(TokClass::CpAsync));
        if after.iter().any(asynchronous) {
            self.shared.commit();
        }
        Ok(())
    }

    pub(super) fn release(
        &mut self,
        chan: ChanId,
        slot: ValId,
        turn: Option<Turn>,
        span: Span,
    ) -> Result<(), Halt> {
        let n = self.slot(slot, turn, span)?;
        let hands = &mut self.hands[chan.0 as usize];
        let expected = std::mem::replace(&mut hands.released, n + 1);
        if expected != n {
            self.find(format!("release of ring entry {n} where {expected} is due"), span);
        }
        Ok(())
    }

    /// Between two items every ring begins anew.
    pub(super) fn begin_anew(&mut self) {
        self.hands.iter_mut().for_each(|hands| *hands = Hands::default());
    }
}
