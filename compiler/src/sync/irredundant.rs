//! Step 6: nothing that the proof can do without.
//!
//! Each synchronisation is taken out in turn, the most expensive first; if the proof still holds it stays out. Then each wait is
//! allowed as many pending groups as the proof accepts. What is left is necessary, and the pairs of accesses that become unordered
//! without it are its obligations.

use super::obligation::Obligation;
use super::placed::{ObligationId, Placed, SyncOp};
use super::proof::Prover;
use super::table::Table;

/// A `wait_group` cannot leave more groups pending than this.
const MAX_NEWEST: u8 = 7;

/// What is necessary of a complete placement, weakened where possible, with its obligations.
pub(super) fn irredundant(table: &Table, obligations: &[Obligation], mut placed: Vec<Placed>) -> Vec<Placed> {
    // Barriers in loops first; a wait that only a barrier made useful goes after it.
    let cost = |p: &Placed| (table.gaps[p.gap.index()].depth, matches!(p.op, SyncOp::Bar { .. }));
    let mut order: Vec<usize> = (0..placed.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(cost(&placed[i])));
    let mut kept = vec![true; placed.len()];
    for (nth, &i) in order.iter().enumerate() {
        kept[i] = false;
        let rest = placed.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(p, _)| p);
        let unordered = Prover::new(table, rest).unordered();
        kept[i] = !unordered.is_empty();
        if !is_hand_over(placed[i].op) {
            placed[i].obligations = ids(obligations, &unordered);
        }
        if !kept[i] {
            // Those before it were tried in its presence: they may have more to do now.
            for &j in order[..nth].iter().filter(|j| !is_hand_over(placed[**j].op)).collect::<Vec<_>>() {
                placed[j].obligations.clear();
            }
        }
    }
    let mut keep = kept.into_iter();
    placed.retain(|_| keep.next().unwrap_or(true));

    let mut weakened = false;
    for i in 0..placed.len() {
        while let SyncOp::WaitGroup { class, newest } = placed[i].op
            && newest < MAX_NEWEST
        {
            placed[i].op = SyncOp::WaitGroup { class, newest: newest + 1 };
            if Prover::new(table, placed.iter()).prove().is_err() {
                placed[i].op = SyncOp::WaitGroup { class, newest };
                break;
            }
            weakened = true;
        }
    }

    for i in 0..placed.len() {
        if (weakened || placed[i].obligations.is_empty()) && !is_hand_over(placed[i].op) {
            let rest = placed.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, p)| p);
            let unordered = Prover::new(table, rest).unordered();
            placed[i].obligations = ids(obligations, &unordered);
        }
    }
    placed
}

/// Operations on memory barriers name their obligations by their channel.
fn is_hand_over(op: SyncOp) -> bool {
    matches!(
        op,
        SyncOp::WaitFull { .. }
            | SyncOp::WaitEmpty { .. }
            | SyncOp::ExpectTx { .. }
            | SyncOp::ArriveFull { .. }
            | SyncOp::ArriveEmpty { .. }
    )
}

fn ids(obligations: &[Obligation], pairs: &[(usize, usize)]) -> Vec<ObligationId> {
    obligations.iter().filter(|o| pairs.binary_search(&o.sites).is_ok()).map(|o| o.id).collect()
}
