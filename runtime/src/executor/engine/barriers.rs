//! Barriers of a block and of a cluster, and what a deadlock report says.

use super::super::finding::FindingKind;
use super::super::frame::Frame;
use super::super::program::{Barrier, BarrierReduce, BarrierReduceOp, StepKind, VoteDst};
use super::super::shadow::Published;
use super::block::{Block, Stop};
use super::run::valp;
use super::warp::{Fragment, Wait, Warp};

/// One of the sixteen named barriers.
#[derive(Clone, Debug, Default)]
pub(super) struct BarrierState {
    /// Threads that arrived in this phase, by the rule of the barrier (whole warps, or lanes).
    arrived: u32,
    /// Lanes that arrived.
    lanes: u32,
    /// Thread count of this phase, if one was given.
    count: Option<u32>,
    /// PTX line of the first arrival of this phase.
    line: u32,
    clock: Option<Published>,
    /// `bar.red`: population count so far, and over how many lanes.
    votes: u32,
}

/// `barrier.cluster`: all threads of a cluster arrive, and wait later.
#[derive(Clone, Debug, Default)]
pub(super) struct ClusterBarrier {
    /// What those who arrived in the current phase publish.
    open: Published,
    /// What completed phases published.
    done: Published,
}

impl Block<'_> {
    /// Fragment `fragment` of warp `index` is at a barrier instruction.
    pub(super) fn arrive(&mut self, index: usize, fragment: usize, arrive_only: bool) -> Result<(), Stop> {
        let program = &self.env.launch.kernel.program;
        let warp = &mut self.warps[index];
        let rank = warp.rank;
        let f = warp.fragments[fragment];
        let step = &program.steps[f.at as usize];
        let StepKind::Barrier(barrier) = &step.kind else { return Ok(()) };
        let lane = f.mask.trailing_zeros() as usize;
        let value = |v| super::run::val32(&warp.frame, v, lane);
        let (id, count) = (value(barrier.id), barrier.count.map(value));
        let line = step.line;
        if id > 15 || count.is_some_and(|n| n == 0 || n % 32 != 0) {
            self.env.report(FindingKind::BarrierMisuse, line, None, || match count {
                Some(n) if id <= 15 => {
                    format!("barrier {id} is used with {n} threads, which is no positive multiple of 32")
                }
                _ => format!("there is no barrier {id}; barriers are numbered 0 to 15"),
            });
            return Err(Stop);
        }
        if barrier.aligned && f.mask != warp.live {
            let (mask, live) = (f.mask, warp.live);
            self.env.report(FindingKind::Divergence, line, None, || {
                format!("warp {index}: lanes {mask:#010x} execute an aligned barrier while lanes {:#010x} are elsewhere", live & !mask)
            });
        }
        let state = &mut self.ctas[rank].barriers[id as usize];
        if state.lanes > 0 && state.count != count {
            let (first, before) = (state.line, state.count);
            let say = |n: Option<u32>| n.map_or("all threads".to_string(), |n| format!("{n} threads"));
            self.env.report(FindingKind::BarrierMisuse, line, Some(first), || {
                format!(
                    "barrier {id} is used for {} here and for {} at PTX line {first} in the same phase",
                    say(count),
                    say(before)
                )
            });
            return Err(Stop);
        }
        if state.lanes == 0 {
            *state = BarrierState { line, count, ..BarrierState::default() };
        }
        state.lanes += f.mask.count_ones();
        state.arrived += if f.mask == warp.live { 32 } else { f.mask.count_ones() };
        if let Some(reduce) = &barrier.reduce {
            state.votes += (valp(&warp.frame, reduce.src) & f.mask).count_ones();
        }
        if let Some(tracer) = &mut self.env.tracer {
            tracer.barrier_arrive(index, id, line);
        }
        if let Some(shadow) = &mut self.env.shadow {
            let clock = state.clock.get_or_insert_default();
            shadow.meet(index);
            shadow.publish(index, clock);
            if arrive_only {
                shadow.advance(index);
            }
        }
        if arrive_only {
            warp.fragments[fragment].at += 1;
        } else {
            warp.fragments[fragment].wait = Wait::Barrier(id);
        }
        if let Some(n) = count
            && self.ctas[rank].barriers[id as usize].arrived > n
        {
            let arrived = self.ctas[rank].barriers[id as usize].arrived;
            self.env.report(FindingKind::BarrierMisuse, line, None, || {
                format!("{arrived} threads arrived at barrier {id}, which is for {n}")
            });
            return Err(Stop);
        }
        self.env.effects += 1;
        self.env.meetings += 1;
        self.try_complete(rank, id as usize);
        Ok(())
    }

    /// Releases barrier `id` of a block if everybody whom it waits for has arrived.
    pub(super) fn try_complete(&mut self, rank: usize, id: usize) {
        let state = &self.ctas[rank].barriers[id];
        if state.lanes == 0 {
            return;
        }
        let complete = match state.count {
            Some(n) => state.arrived >= n,
            None => {
                state.lanes >= {
                    let warps = self.warps.iter().filter(|w| w.rank == rank);
                    warps.map(|w| w.live.count_ones()).sum()
                }
            }
        };
        if !complete {
            return;
        }
        let state = std::mem::take(&mut self.ctas[rank].barriers[id]);
        let program = &self.env.launch.kernel.program;
        if let Some(tracer) = &mut self.env.tracer {
            let waits =
                |w: &&Warp| w.rank == rank && w.fragments.iter().any(|f| f.wait == Wait::Barrier(id as u32));
            let warps: Vec<usize> = self.warps.iter().filter(waits).map(|w| w.index).collect();
            tracer.barrier_complete(rank, id as u32, &warps);
        }
        for warp in self.warps.iter_mut().filter(|w| w.rank == rank) {
            let mut released = false;
            for number in 0..warp.fragments.len() {
                let f = warp.fragments[number];
                if f.wait != Wait::Barrier(id as u32) {
                    continue;
                }
                if let StepKind::Barrier(Barrier { reduce: Some(reduce), .. }) =
                    &program.steps[f.at as usize].kind
                {
                    write_reduction(&mut warp.frame, reduce, f.mask, state.votes, state.lanes);
                    warp.twins(|twin| write_reduction(twin, reduce, f.mask, state.votes, state.lanes));
                }
                warp.fragments[number].wait = Wait::Ready;
                warp.fragments[number].at += 1;
                released = true;
            }
            if let (true, Some(shadow), Some(clock)) = (released, &mut self.env.shadow, &state.clock) {
                shadow.synchronise(warp.index, clock);
            }
        }
    }

    /// Fragment `fragment` of warp `index` arrives at, or waits for, the barrier of the cluster.
    pub(super) fn cluster_barrier(&mut self, index: usize, fragment: usize, wait: bool) -> Result<(), Stop> {
        let warp = &mut self.warps[index];
        let Fragment { mask, at, .. } = warp.fragments[fragment];
        if wait {
            let strangers = mask & !warp.cluster_entered;
            if strangers != 0 {
                let (line, lanes) = (self.line_of(at), warp_lanes(strangers));
                self.env.report(FindingKind::BarrierMisuse, line, None, || {
                    format!("warp {index}: {lanes} wait at the cluster barrier without having arrived there")
                });
                return Err(Stop);
            }
            warp.cluster_entered &= !mask;
            // Lanes whose phase is complete have nothing to wait for.
            if warp.cluster_arrived & mask == 0 {
                if let Some(tracer) = &mut self.env.tracer {
                    let line = self.env.launch.kernel.program.steps[at as usize].line;
                    tracer.cluster_complete(index, line);
                }
                warp.fragments[fragment].at += 1;
                if let Some(shadow) = &mut self.env.shadow {
                    shadow.pass_cluster_barrier(index, &self.cluster.done);
                }
            } else {
                warp.fragments[fragment].wait = Wait::Cluster;
            }
            return Ok(());
        }
        if warp.cluster_arrived & mask != 0 {
            let (line, lanes) = (self.line_of(at), warp_lanes(self.warps[index].cluster_arrived & mask));
            self.env.report(FindingKind::BarrierMisuse, line, None, || {
                format!("warp {index}: {lanes} arrive at the cluster barrier a second time without waiting")
            });
            return Err(Stop);
        }
        warp.cluster_arrived |= mask;
        warp.cluster_entered |= mask;
        if let Some(tracer) = &mut self.env.tracer {
            tracer.cluster_arrive(index);
        }
        warp.fragments[fragment].at += 1;
        let step = &self.env.launch.kernel.program.steps[at as usize];
        if let Some(shadow) = &mut self.env.shadow {
            if matches!(step.kind, StepKind::ClusterArrive { relaxed: true, .. }) {
                shadow.publish_fenced(index, &mut self.cluster.open);
            } else {
                shadow.publish(index, &mut self.cluster.open);
            }
            shadow.release(index);
        }
        self.env.effects += 1;
        self.try_complete_cluster();
        Ok(())
    }

    /// Completes the phase of the cluster barrier if every thread that is left has arrived.
    pub(super) fn try_complete_cluster(&mut self) {
        let arrived = self.warps.iter().any(|w| w.cluster_arrived != 0);
        if !arrived || self.warps.iter().any(|w| w.live & !w.cluster_arrived != 0) {
            return;
        }
        let open = std::mem::take(&mut self.cluster.open);
        self.cluster.done.join(&open);
        for warp in &mut self.warps {
            warp.cluster_arrived = 0;
            let mut released = false;
            for fragment in &mut warp.fragments {
                if fragment.wait == Wait::Cluster {
                    if let Some(tracer) = &mut self.env.tracer {
                        let line = self.env.launch.kernel.program.steps[fragment.at as usize].line;
                        tracer.cluster_complete(warp.index, line);
                    }
                    fragment.wait = Wait::Ready;
                    fragment.at += 1;
                    released = true;
                }
            }
            if let (Some(shadow), true) = (&mut self.env.shadow, released) {
                shadow.pass_cluster_barrier(warp.index, &self.cluster.done);
            }
        }
    }

    pub(super) fn report_deadlock(&mut self) {
        let mut lines = Vec::new();
        let mut waits = Vec::new();
        for warp in &self.warps {
            for f in &warp.fragments {
                let line = self.line_of(f.at);
                lines.push(line);
                waits.push(match f.wait {
                    Wait::Barrier(id) => {
                        let state = &self.ctas[warp.rank].barriers[id as usize];
                        let wanted = state.count.map_or("all threads of the block".to_string(), |n| format!("{n} threads"));
                        format!(
                            "warp {} (lanes {:#010x}) waits at barrier {id}, PTX line {line}: {} lanes of {wanted} have arrived",
                            warp.index, f.mask, state.lanes
                        )
                    }
                    Wait::Members(mask) => format!(
                        "warp {} (lanes {:#010x}) waits at PTX line {line} for lanes {mask:#010x}, which are elsewhere",
                        warp.index, f.mask
                    ),
                    Wait::Mbarrier(offset) => format!(
                        "warp {} (lanes {:#010x}) waits at PTX line {line} for {}",
                        warp.index,
                        f.mask,
                        self.env.describe_mbarrier(offset)
                    ),
                    Wait::Cluster => format!(
                        "warp {} (lanes {:#010x}) waits at the cluster barrier, PTX line {line}",
                        warp.index, f.mask
                    ),
                    Wait::Wgmma { .. } => format!(
                        "warp {} waits at PTX line {line} for products of its warpgroup, which other warps of it have not started",
                        warp.index
                    ),
                    Wait::Ready => format!("warp {} is ready at PTX line {line}", warp.index),
                });
            }
        }
        let line = lines.first().copied().unwrap_or(0);
        self.env.report(FindingKind::Deadlock, line, None, || {
            format!("nobody in the block can go on: {}", waits.join("; "))
        });
    }
}

fn warp_lanes(mask: u32) -> String {
    format!("lanes {mask:#010x}")
}

fn write_reduction(frame: &mut Frame, reduce: &BarrierReduce, mask: u32, votes: u32, lanes: u32) {
    let truth = match reduce.op {
        BarrierReduceOp::Popc => votes != 0,
        BarrierReduceOp::And => votes == lanes,
        BarrierReduceOp::Or => votes != 0,
    };
    match reduce.dst {
        VoteDst::Reg(d) => super::super::frame::blend32(frame.r32_mut(d), &[votes; 32], mask),
        VoteDst::Pred(p) => {
            let old = frame.pred(p);
            frame.set_pred(p, (old & !mask) | if truth { mask } else { 0 });
        }
    }
}
