//! All instances of a kernel: which there are, in which order they run, and reductions across them.
//!
//! The top-level statements are cut at each `sum(… over grid s)` into *phases*. All instances run a phase before any runs the next; between
//! two phases the operands of the reduction are gathered from the instances that differ only in `s`, and each gets the result. An
//! instance is suspended simply by keeping its environment. A kernel without such reductions has one phase, and an instance's
//! environment lives only while it runs.
//!
//! Instances of a phase run on all cores, unless the order could be seen (atomics, tensors both read and written, writes that
//! several instances repeat).

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::error::EvalError;
use super::inputs::uses;
use super::machine::{Frame, Machine, trips};
use super::memory::{InstanceId, MAX_INSTANCES};
use super::reduce;
use super::values::{Tile, Values};
use crate::tile::ir::*;

/// Runs every instance; `entry` has the launch's values. `threads` is 1 for a run whose faults come in a defined order.
pub(super) fn run(machine: &Machine, entry: &Frame, threads: usize) -> Result<(), EvalError> {
    let body = &machine.kernel.body.stmts;
    let phases = phases(machine.kernel);
    let tracked = uses(machine.kernel).iter().any(|u| u.read && (u.written || u.combined));
    let threads_of = |phase: &Range<usize>| {
        if tracked || order_matters(machine.kernel, &body[phase.clone()]) { 1 } else { threads }
    };
    let count = machine.instances.len();
    let order = &machine.freedom.order.of(count);
    if let [phase] = &phases[..] {
        return each_on_threads(order, threads_of(phase), |n| match start(machine, entry, n)? {
            Some(mut frame) => machine.statements(&mut frame, &body[phase.clone()]),
            None => Ok(()),
        });
    }
    let frames: Vec<Mutex<Option<Frame>>> = (0..count).map(|_| Mutex::new(None)).collect();
    for (at, phase) in phases.iter().enumerate() {
        each_on_threads(order, threads_of(phase), |n| {
            // A poisoned lock means that a thread panicked, which the scope reports anyway.
            let mut slot = frames[n].lock().unwrap_or_else(|p| p.into_inner());
            if at == 0 {
                *slot = start(machine, entry, n)?;
            }
            match &mut *slot {
                Some(frame) => machine.statements(frame, &body[phase.clone()]),
                None => Ok(()),
            }
        })?;
        if let Some(Stmt::Let(v)) = body.get(phase.end) {
            grid_reduce(machine, &frames, *v)?;
        }
    }
    Ok(())
}

/// Top-level statements between reductions over the grid.
fn phases(kernel: &Kernel) -> Vec<Range<usize>> {
    let mut phases = Vec::new();
    let mut start = 0;
    for (n, stmt) in kernel.body.stmts.iter().enumerate() {
        if let Stmt::Let(v) = stmt
            && matches!(kernel.value(*v).op, Op::GridReduce { .. })
        {
            phases.push(start..n);
            start = n + 1;
        }
    }
    phases.push(start..kernel.body.stmts.len());
    phases
}

fn order_matters(kernel: &Kernel, stmts: &[Stmt]) -> bool {
    stmts.iter().any(|stmt| match stmt {
        Stmt::Let(_) => false,
        Stmt::Write(w) => !w.once_over.is_empty(),
        Stmt::Atomic(_) => true,
        Stmt::For(l) => order_matters(kernel, &kernel.loop_(*l).body.stmts),
        Stmt::If(i) => {
            let i = kernel.if_(*i);
            order_matters(kernel, &i.then_block.stmts) || order_matters(kernel, &i.else_block.stmts)
        }
    })
}

/// The coordinates of every instance, outermost grid variable slowest.
pub(crate) fn instances(machine: &Machine, entry: &Frame) -> Result<Vec<Vec<i64>>, EvalError> {
    let mut all = Vec::new();
    enumerate(machine, &mut entry.clone(), &mut Vec::new(), &mut all)?;
    Ok(all)
}

fn enumerate(
    machine: &Machine,
    frame: &mut Frame,
    prefix: &mut Vec<i64>,
    all: &mut Vec<Vec<i64>>,
) -> Result<(), EvalError> {
    let Some(var) = machine.kernel.grid.get(prefix.len()) else {
        if all.len() >= MAX_INSTANCES {
            return Err(EvalError::input(
                "too many instances to evaluate".to_string(),
                Some(machine.kernel.span),
            ));
        }
        all.push(prefix.clone());
        return Ok(());
    };
    machine.block(frame, &var.block)?;
    let (lo, hi) = (frame.int(var.lo)?, frame.int(var.hi)?);
    let step = var.axis.map_or(1, |a| machine.kernel.axis(a).extent.into());
    for n in 0..trips(lo, hi, step) {
        let at = lo + n * step;
        frame.set_int(var.var, at);
        prefix.push(at);
        enumerate(machine, frame, prefix, all)?;
        prefix.pop();
    }
    Ok(())
}

/// The environment at the start of the body, or nothing where the grid's `when` excludes the instance.
pub(crate) fn start(machine: &Machine, entry: &Frame, n: usize) -> Result<Option<Frame>, EvalError> {
    let mut frame = entry.clone();
    frame.me = InstanceId(n as u32);
    for (var, &at) in machine.kernel.grid.iter().zip(&machine.instances[n]) {
        machine.block(&mut frame, &var.block)?;
        frame.set_int(var.var, at);
    }
    if let Some(when) = &machine.kernel.grid_when
        && !machine.when(&mut frame, when)?
    {
        return Ok(None);
    }
    Ok(Some(frame))
}

/// Calls `f` for each number, in order on one thread or in any on several; stops at an error.
fn each_on_threads(
    order: &[usize],
    threads: usize,
    f: impl Fn(usize) -> Result<(), EvalError> + Sync,
) -> Result<(), EvalError> {
    if threads.min(order.len()) <= 1 {
        return order.iter().try_for_each(|&n| f(n));
    }
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(order.len()) {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    let Some(&n) = order.get(next.fetch_add(1, Relaxed)) else { break };
                    if let Err(e) = f(n) {
                        stop.store(true, Relaxed);
                        failed.lock().unwrap_or_else(|p| p.into_inner()).get_or_insert(e);
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(|p| p.into_inner()) {
        Some(e) => Err(e),
        None => Ok(()),
    }
}

/// Reduces a value across the instances that differ in the reduction's variables, ascending, and gives it to each of them.
fn grid_reduce(machine: &Machine, frames: &[Mutex<Option<Frame>>], v: ValueId) -> Result<(), EvalError> {
    let kernel = machine.kernel;
    let Op::GridReduce { op, x, vars } = &kernel.value(v).op else {
        return Err(EvalError::internal("a phase ends at something else than a reduction"));
    };
    let varies = |g: usize| vars.contains(&GridId(g as u32));
    // Instances are numbered outermost variable slowest, so a group's members come in ascending order.
    let mut groups: BTreeMap<Vec<i64>, Vec<usize>> = BTreeMap::new();
    for (n, at) in machine.instances.iter().enumerate() {
        let key: Vec<i64> = at.iter().enumerate().filter(|(g, _)| !varies(*g)).map(|(_, &c)| c).collect();
        groups.entry(key).or_default().push(n);
    }
    let lock = |n: usize| frames[n].lock().unwrap_or_else(|p| p.into_inner());
    for members in groups.values() {
        let mut tiles = Vec::new();
        let mut coordinates = Vec::new();
        for &n in members {
            if let Some(frame) = &*lock(n) {
                tiles.push(frame.get(*x)?.clone());
                // `argmax` over several variables would have no single coordinate; it gives the first one's.
                coordinates.push(vars.first().map_or(-1, |g| machine.instances[n][g.0 as usize]));
            }
        }
        let Some(first) = tiles.first() else {
            continue;
        };
        if tiles.iter().any(|t| t.shape != first.shape) {
            let message = "instances reduce tiles of different sizes over the grid".to_string();
            return Err(EvalError::fault(message, kernel.value(v).span));
        }
        // The tiles stacked along an axis that no kernel has.
        let across = AxisId(u32::MAX);
        let data = match &first.data {
            Values::Float(_) => Values::Float(tiles.iter().flat_map(|t| t.floats().into_owned()).collect()),
            Values::Int(_) => Values::Int(tiles.iter().flat_map(|t| t.ints().into_owned()).collect()),
        };
        let stacked = Tile {
            axes: [&[across], &first.axes[..]].concat(),
            shape: [&[tiles.len()], &first.shape[..]].concat(),
            data,
        };
        let ty = kernel.ty(*x);
        let rounding = machine.rounding(ty.elem);
        let result = Arc::new(reduce::reduce(*op, &stacked, ty.elem, &[across], &coordinates, rounding));
        for &n in members {
            if let Some(frame) = &mut *lock(n) {
                frame.set(v, result.clone());
            }
        }
    }
    Ok(())
}
