//! Which block computes what, in which order.
//!
//! Persistent blocks are imitated by a few: so many that tiles are shared, so few that blocks go on. They run one after another, in the
//! order of the grid; which tiles neighbour each other in a share is the code's own affair.

use super::block::Item;
use crate::scheduled::ir::{Dispatch, Module};
use crate::tile::eval::EvalError;
use crate::tile::eval::parts::{Frame, Machine, trips};
use crate::tile::ir::ValueId;

/// Blocks of a persistent kernel.
const BLOCKS: i64 = 3;

/// A scalar that the launch decides.
fn bound(machine: &Machine, entry: &Frame, v: ValueId) -> Result<i64, EvalError> {
    fn fill(machine: &Machine, frame: &mut Frame, v: ValueId) -> Result<(), EvalError> {
        for x in machine.kernel.value(v).op.operands() {
            fill(machine, frame, x)?;
        }
        let tile = machine.compute(frame, v)?;
        frame.set(v, tile);
        Ok(())
    }
    let mut frame = entry.clone();
    fill(machine, &mut frame, v)?;
    frame.int(v)
}

/// Every item: whether a block begins with it, the instance, and the part of it.
pub(super) fn of(
    machine: &Machine,
    entry: &Frame,
    module: &Module,
) -> Result<Vec<(bool, usize, Option<Item>)>, EvalError> {
    let instances = machine.instances.len();
    Ok(match module.dispatch {
        Dispatch::Each => (0..instances).map(|n| (true, n, None)).collect(),
        // Tiles that are drawn go to whoever comes first: here the blocks take turns.
        Dispatch::Persistent | Dispatch::Drawn => {
            let blocks = BLOCKS as usize;
            let of_block = |b: usize| (b..instances).step_by(blocks).map(move |n| (n == b, n, None));
            (0..blocks).flat_map(of_block).collect()
        }
        Dispatch::Stream(stream) => {
            let kernel = machine.kernel;
            let by = kernel.loop_(stream.steps).axis.map_or(1, |a| i64::from(kernel.axis(a).extent));
            let (lo, hi) = (bound(machine, entry, stream.lo)?, bound(machine, entry, stream.hi)?);
            let steps = trips(lo, hi, by).max(1);
            let all = steps * instances as i64;
            let blocks = BLOCKS.min(all);
            let start = |b: i64| b * (all / blocks.max(1)) + b.min(all % blocks.max(1));
            // Every cut lies where a share or a tile begins.
            let mut items = Vec::new();
            for b in 0..blocks {
                let mut at = start(b);
                while at < start(b + 1) {
                    let (tile, first) = (at / steps, at % steps);
                    let taken = (steps - first).min(start(b + 1) - at);
                    let item =
                        Item { number: 0, of: 0, lo: lo + first * by, hi: hi.min(lo + (first + taken) * by) };
                    items.push((at == start(b), tile as usize, item));
                    at += taken;
                }
            }
            let of = |tile: usize| items.iter().filter(|(_, t, _)| *t == tile).count() as i64;
            let counts: Vec<i64> = items.iter().map(|(_, tile, _)| of(*tile)).collect();
            let mut seen = vec![0; instances];
            let numbered = items.iter().zip(counts).map(|((first, tile, item), of)| {
                let number = seen[*tile];
                seen[*tile] += 1;
                (*first, *tile, Some(Item { number, of, ..*item }))
            });
            numbered.collect()
        }
    })
}
