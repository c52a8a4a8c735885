//! Step 4: where synchronisation stands.
//!
//! Obligations are served level by level, the costly hand-over first: what needs all warps of the role gets barriers at the fewest gaps;
//! what a warp's lanes must tell each other rides on those barriers where it can and gets warp barriers else; what stays
//! within a thread rides on the waits that are there. Waits and fences stand right before the hand-over that they prepare. So a wait
//! is as late as its hand-over, and of equally good gaps those win whose waits may leave more groups pending, then those right before what
//! waits (not in the middle of a run of copies or loads), then the later.

use super::channel;
use super::error::SyncError;
use super::model::{Class, GapId, RoleId};
use super::obligation::Obligation;
use super::placed::{Placed, SyncOp};
use super::print;
use super::requirement::Step;
use super::stab::{Place, stab};
use super::table::{Reach, Table};

/// What stands in one gap.
#[derive(Clone, Debug, Default)]
struct Bundle {
    waits: Vec<(Class, u8)>,
    fence_async: bool,
    fence_wgmma: bool,
    bar_warp: bool,
    bar: bool,
}

/// A loop's gap costs this many times what a gap around the loop costs.
const TRIPS: u64 = 16;

/// A complete, perhaps redundant placement, in textual order.
pub(super) fn place(table: &Table, obligations: &[Obligation]) -> Result<Vec<Placed>, SyncError> {
    let mut bundles: Vec<Bundle> = vec![Bundle::default(); table.gaps.len()];
    for role in 0..table.roles.len() {
        let of = |reach: Reach, handover: bool| {
            obligations
                .iter()
                .filter(move |o| {
                    table.sites[o.sites.0].role.index() == role
                        && o.reach != Reach::Block
                        && (o.needs(Step::Handover) && o.reach != Reach::Thread) == handover
                        && (!handover || o.reach == reach)
                })
                .collect::<Vec<_>>()
        };
        serve(table, &mut bundles, &of(Reach::Role, true), |b| b.bar = true, |b| b.bar)?;
        serve(table, &mut bundles, &of(Reach::Warp, true), |b| b.bar_warp = true, |b| b.bar || b.bar_warp)?;
        let (waiting, fencing): (Vec<_>, Vec<_>) =
            of(Reach::Thread, false).into_iter().partition(|o| o.wait().is_some());
        serve(table, &mut bundles, &waiting, |_| (), |_| true)?;
        let (wgmma, proxy): (Vec<_>, Vec<_>) = fencing.into_iter().partition(|o| o.needs(Step::WgmmaFence));
        serve(table, &mut bundles, &wgmma, |_| (), |_| true)?;
        serve(table, &mut bundles, &proxy, |_| (), |_| true)?;
    }
    emit(table, &bundles, obligations)
}

/// Whether what stands in the gap already does everything that the obligation needs.
fn served(bundle: &Bundle, gap: usize, o: &Obligation, handed_over: impl Fn(&Bundle) -> bool) -> bool {
    let Some(newest) = o.fits(gap) else { return false };
    handed_over(bundle)
        && o.wait().is_none_or(|class| bundle.waits.iter().any(|&(c, n)| c == class && n <= newest))
        && (!o.needs(Step::FenceProxyAsync) || bundle.fence_async)
        && (!o.needs(Step::WgmmaFence) || bundle.fence_wgmma)
}

/// Adds to the bundles what serves the obligations: `mark` puts the hand-over into a bundle, `handed` finds one there.
fn serve(
    table: &Table,
    bundles: &mut [Bundle],
    obligations: &[&Obligation],
    mark: impl Fn(&mut Bundle),
    handed: impl Fn(&Bundle) -> bool,
) -> Result<(), SyncError> {
    let open: Vec<&&Obligation> = obligations
        .iter()
        .filter(|o| !bundles.iter().enumerate().any(|(gap, b)| served(b, gap, o, &handed)))
        .collect();
    let mut demands = Vec::with_capacity(open.len());
    for o in &open {
        let mut gaps: Vec<usize> =
            (0..bundles.len()).filter(|&g| table.gaps[g].allowed && o.fits(g).is_some()).collect();
        // What is pending when a loop is left is waited for once, after it: in the loop every turn would wait for its newest groups.
        let depth = |g: usize| table.gaps[g].depth;
        let around = depth(table.sites[o.sites.1].gap.index());
        if o.wait().is_some() && gaps.iter().any(|&g| depth(g) <= around) {
            gaps.retain(|&g| depth(g) <= around);
        }
        if gaps.is_empty() {
            return Err(SyncError::NoPlace(print::explain(table.program, o)));
        }
        demands.push(gaps);
    }
    let places: Vec<Place> = (0..bundles.len())
        .map(|gap| {
            // Groups left in flight count most. Then comes the start of a run of accesses that wait, those that read what was
            // written before those that overwrite.
            let merit = |o: &&&Obligation| {
                let Some(newest) = o.fits(gap) else { return 0 };
                let pending = if o.wait().is_some() { i64::from(newest) } else { 0 };
                let (source, dest) = (&table.sites[o.sites.0], &table.sites[o.sites.1]);
                let here = table.gaps[gap].fresh && dest.gap.index() == gap;
                let waits = match here {
                    true if source.writes() && !dest.writes() => 1000,
                    true => 1,
                    false => 0,
                };
                1_000_000 * pending + waits
            };
            Place { weight: TRIPS.pow(table.gaps[gap].depth.min(8)), merit: open.iter().map(merit).sum() }
        })
        .collect();
    let chosen = stab(&places, &demands);
    // Obligations with one possible gap settle the waits; the others then prefer a wait that is there.
    let mut order: Vec<usize> = (0..open.len()).collect();
    let ways = |i: usize| chosen.iter().filter(|g| demands[i].contains(g)).count();
    order.sort_by_key(|&i| ways(i));
    for i in order {
        let o = open[i];
        let usable = || chosen.iter().copied().filter(|g| demands[i].contains(g));
        let already = usable().any(|g| served(&bundles[g], g, o, &handed));
        if already {
            continue;
        }
        let Some(gap) = usable().max_by_key(|&g| o.fits(g)) else { continue };
        let bundle = &mut bundles[gap];
        mark(bundle);
        bundle.fence_async |= o.needs(Step::FenceProxyAsync);
        bundle.fence_wgmma |= o.needs(Step::WgmmaFence);
        if let (Some(class), Some(newest)) = (o.wait(), o.fits(gap)) {
            match bundle.waits.iter_mut().find(|(c, _)| *c == class) {
                Some((_, n)) => *n = newest.min(*n),
                None => bundle.waits.push((class, newest)),
            }
        }
    }
    Ok(())
}

fn emit(table: &Table, bundles: &[Bundle], obligations: &[Obligation]) -> Result<Vec<Placed>, SyncError> {
    let mut placed = Vec::new();
    for (index, bundle) in bundles.iter().enumerate() {
        let role: RoleId = table.gaps[index].role;
        let mut ops: Vec<SyncOp> =
            bundle.waits.iter().map(|&(class, newest)| SyncOp::WaitGroup { class, newest }).collect();
        if bundle.fence_async {
            ops.push(SyncOp::FenceProxyAsync);
        }
        if bundle.bar {
            ops.push(SyncOp::Bar { role, id: 0, threads: 32 * table.program.roles[role.index()].warps });
        } else if bundle.bar_warp {
            ops.push(SyncOp::BarWarp);
        }
        if bundle.fence_wgmma {
            ops.push(SyncOp::WgmmaFence);
        }
        placed.extend(ops.into_iter().map(|op| Placed {
            gap: GapId(index as u32),
            op,
            obligations: Vec::new(),
            order_only: false,
        }));
        placed.extend(channel::mechanism(table, index, obligations)?);
    }
    Ok(placed)
}
