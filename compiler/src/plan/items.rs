//! Schedule items that every kind of kernel has, and how an item is refused.
//!
//! A schedule is a list of `path = value`. What it may say of a kernel as a whole and of its tensors is read here; warps, rings and loops are
//! read by [`knobs`](super::knobs) (contractions) and [`general`](super::general). Everything that is read is printed back, so that
//! `--emit schedule` is complete.
//!
//! ```text
//! occupancy = 2        this many blocks on one SM: registers and shared memory are divided by it
//! a.via = direct       an operand by loads and stores through registers, and not by cp.async
//! b.evict = last       who leaves L2 first: a cache policy on every access to the tensor
//! ```

use super::instances;
use super::knobs::chosen_by;
use super::operand::Operand;
use super::refuse::Refusal;
use crate::artifact::{ChosenBy, ScheduleItem};
use crate::scheduled::ir::{Dispatch, Evict, Via};
use crate::target::Target;
use crate::tile::ir as t1;
use t1::ScheduleValue;

/// A value and where it came from.
pub type Pin<T> = (T, ChosenBy);

/// Rows of a tile up to which weights are read by few blocks.
const FEW_ROWS: u32 = 16;

/// What a schedule says of the kernel as a whole and of its tensors.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    pub occupancy: Option<Pin<u32>>,
    via: Vec<(t1::TensorId, Pin<Via>)>,
    evict: Vec<(t1::TensorId, Pin<Evict>)>,
    /// Packed tensors whose storage is said.
    pack: Vec<(t1::TensorId, ChosenBy)>,
}

impl Items {
    /// Reads the item if it is one of these; `staged` are the tensors that travel through shared memory.
    pub fn take(
        &mut self,
        kernel: &t1::Kernel,
        item: &t1::ScheduleItem,
        staged: &[t1::TensorId],
        target: Target,
    ) -> Result<bool, Refusal> {
        let by = chosen_by(item.from);
        let (first, setting) = match &item.path[..] {
            [one] if one == "occupancy" => {
                self.occupancy = Some((integer(item, 1..=32)?, by));
                return Ok(true);
            }
            [first, setting] => (first, setting),
            _ => return Ok(false),
        };
        let tensor = kernel.tensors.iter().position(|t| t.name == *first);
        let Some(tensor) = tensor.map(|n| t1::TensorId(n as u32)) else { return Ok(false) };
        match &setting[..] {
            "via" => {
                let via = self.read_via(item, staged.contains(&tensor), target)?;
                self.via.retain(|(t, _)| *t != tensor);
                self.via.push((tensor, (via, by)));
            }
            "evict" => {
                let evict = match &item.value {
                    Some(ScheduleValue::Name(n)) => Evict::ALL.into_iter().find(|e| e.name() == n),
                    _ => None,
                };
                let Some(evict) = evict else {
                    return Err(wrong(item, "`first`, `normal` or `last`", "last"));
                };
                self.evict.retain(|(t, _)| *t != tensor);
                self.evict.push((tensor, (evict, by)));
            }
            "pack" if kernel.tensor(tensor).kind == t1::TensorKind::Packed => match &item.value {
                Some(ScheduleValue::Name(n)) if n == "dense" => self.pack.push((tensor, by)),
                Some(ScheduleValue::Name(n)) if n == "planes" => {
                    let path = item.path.join(".");
                    return Err(Refusal::schedule(
                        item.span,
                        format!("`{path} = planes`: there is no storage in planes of 4, 2 and 1 bits"),
                        format!(
                            "`{path} = dense`: groups of words that elements of any width fill exactly, which are unpacked in fewer instructions"
                        ),
                    ));
                }
                _ => return Err(wrong(item, "`dense`", "dense")),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn read_via(&self, item: &t1::ScheduleItem, staged: bool, target: Target) -> Result<Via, Refusal> {
        let path = item.path.join(".");
        match &item.value {
            Some(ScheduleValue::Name(n)) if n == "direct" => Ok(Via::Direct),
            Some(ScheduleValue::Name(n)) if n == "cpasync" && staged => Ok(Via::CpAsync),
            Some(ScheduleValue::Name(n)) if n == "cpasync" => Err(Refusal::schedule(
                item.span,
                format!("`{path} = cpasync`: this tensor does not go through shared memory"),
                format!("`{path} = direct`; the operands of `@` go through shared memory"),
            )),
            Some(ScheduleValue::Name(n)) if n == "tma" || n == "bulk" => Err(Refusal::schedule(
                item.span,
                format!("`{path} = {n}`: code for {target} has no such copies"),
                if staged { format!("`{path} = cpasync` or `direct`") } else { format!("`{path} = direct`") },
            )
            .note("they need sm_90a, for which sm_80's code is compiled today")),
            _ => Err(wrong(item, if staged { "`cpasync` or `direct`" } else { "`direct`" }, "direct")),
        }
    }

    /// How a staged tensor travels where alignment leaves the choice.
    pub fn via(&self, tensor: t1::TensorId) -> Via {
        self.via.iter().find(|(t, _)| *t == tensor).map_or(Via::CpAsync, |(_, (via, _))| *via)
    }

    /// The tensor goes through registers, unless the schedule says otherwise.
    pub fn through_registers(&mut self, tensor: t1::TensorId) {
        if !self.via.iter().any(|(t, _)| *t == tensor) {
            self.via.push((tensor, (Via::Direct, ChosenBy::Default)));
        }
    }

    /// Refuses packed tensors of an operand that a schedule sends through registers.
    pub fn check_packed(&self, kernel: &t1::Kernel, operand: &Operand) -> Result<(), Refusal> {
        let own = operand.packed.then_some(operand.tensor);
        let direct = |t: &t1::TensorId| self.via(*t) == Via::Direct;
        let Some(t) = own.into_iter().chain(operand.also.iter().map(|(_, o)| o.tensor)).find(direct) else {
            return Ok(());
        };
        let t = kernel.tensor(t);
        Err(Refusal::schedule(
            t.span,
            format!("`{}.via = direct`: packed tiles are copied as they are", t.name),
            format!("`{}.via = cpasync`", t.name),
        ))
    }

    /// Packed weights of a product with few rows: each is read once, and what was read need not stay in L2, unless a schedule says so.
    pub fn stream_weights(&mut self, operand: &Operand, rows: u32) {
        let weights = operand.packed.then_some(operand.tensor).into_iter();
        for t in weights.chain(operand.also.iter().map(|(_, o)| o.tensor)) {
            if rows <= FEW_ROWS && !self.evict.iter().any(|(x, _)| *x == t) {
                self.evict.push((t, (Evict::First, ChosenBy::Model)));
            }
        }
    }

    /// Tensors with a priority of their own in L2.
    pub fn evict(&self) -> Vec<(t1::TensorId, Evict)> {
        let own = self.evict.iter().map(|(t, (e, _))| (*t, *e));
        own.filter(|(_, e)| *e != Evict::Normal).collect()
    }

    /// `path = value` of the tensors, in the order of the parameters.
    pub fn tensors(&self, kernel: &t1::Kernel, staged: &[t1::TensorId]) -> Vec<ScheduleItem> {
        let mut out = Vec::new();
        for p in &kernel.params {
            let t1::Param::Tensor(t) = p else { continue };
            let name = &kernel.tensor(*t).name;
            let default = if staged.contains(t) { Via::CpAsync } else { Via::Direct };
            let via = self.via.iter().find(|(x, _)| x == t).map_or((default, ChosenBy::Default), |(_, v)| *v);
            let evict = self
                .evict
                .iter()
                .find(|(x, _)| x == t)
                .map_or((Evict::Normal, ChosenBy::Default), |(_, e)| *e);
            out.push(printed(format!("{name}.via"), via.0.name(), via.1));
            out.push(printed(format!("{name}.evict"), evict.0.name(), evict.1));
            if kernel.tensor(*t).kind == t1::TensorKind::Packed {
                let own = self.pack.iter().rev().find(|(x, _)| x == t);
                out.push(printed(
                    format!("{name}.pack"),
                    "dense",
                    own.map_or(ChosenBy::Default, |(_, by)| *by),
                ));
            }
        }
        out
    }
}

/// An item as `--emit schedule` prints it.
pub fn printed(path: impl Into<String>, value: impl ToString, chosen_by: ChosenBy) -> ScheduleItem {
    ScheduleItem { path: path.into(), value: value.to_string(), chosen_by }
}

/// An integer in a range.
pub fn integer(item: &t1::ScheduleItem, range: std::ops::RangeInclusive<u32>) -> Result<u32, Refusal> {
    match item.value {
        Some(ScheduleValue::Int(n)) if u32::try_from(n).is_ok_and(|n| range.contains(&n)) => Ok(n as u32),
        _ => Err(wrong(
            item,
            &format!("an integer from {} to {}", range.start(), range.end()),
            &range.start().max(&2).to_string(),
        )),
    }
}

/// `path;`, `path = true` or `path = false`.
pub fn flag(item: &t1::ScheduleItem) -> Result<bool, Refusal> {
    match item.value {
        None => Ok(true),
        Some(ScheduleValue::Bool(b)) => Ok(b),
        _ => Err(wrong(item, "`true` or `false`", "false")),
    }
}

/// A value that the item cannot have: what is given, and what it takes.
pub fn wrong(item: &t1::ScheduleItem, takes: &str, example: &str) -> Refusal {
    let path = item.path.join(".");
    // On the command line a bare name and `NAME=true` are one thing.
    let bare = if item.from == t1::ValueSource::Set { "`true`" } else { "no value" };
    let given = item.value.as_ref().map_or(bare.into(), |v| format!("`{}`", spelled(v)));
    Refusal::schedule(
        item.span,
        format!("`{path}` takes {takes}, and is given {given}"),
        format!("for example `{path} = {example}`"),
    )
}

/// A value as it is written.
pub fn spelled(value: &ScheduleValue) -> String {
    match value {
        ScheduleValue::Int(n) => n.to_string(),
        ScheduleValue::Bool(b) => b.to_string(),
        ScheduleValue::Name(n) => n.clone(),
        ScheduleValue::Tuple(v) => format!("({})", v.iter().map(spelled).collect::<Vec<_>>().join(", ")),
    }
}

/// `persistent`, `persistent = static`, `dynamic`, or a flag.
pub fn read_persistent(kernel: &t1::Kernel, item: &t1::ScheduleItem) -> Result<Dispatch, Refusal> {
    let dispatch = match &item.value {
        Some(ScheduleValue::Name(n)) if n == "static" => Dispatch::Persistent,
        Some(ScheduleValue::Name(n)) if n == "dynamic" => Dispatch::Drawn,
        None | Some(ScheduleValue::Bool(true)) => Dispatch::Persistent,
        Some(ScheduleValue::Bool(false)) => return Ok(Dispatch::Each),
        _ => return Err(wrong(item, "`static`, `dynamic`, `true` or `false`", "static")),
    };
    let exact = |e: &instances::Extent| matches!(e, instances::Extent::Exact(_));
    if !instances::extents(kernel)?.iter().all(exact) {
        return Err(Refusal::schedule(
            item.span,
            "`persistent` blocks of a grid whose tiles data counts",
            "leave it: blocks without a tile end at once",
        ));
    }
    if kernel.values.iter().any(|v| matches!(v.op, t1::Op::GridReduce { .. })) {
        return Err(Refusal::schedule(
            item.span,
            "`persistent` blocks of a kernel that reduces over the grid",
            "`k.split = stream` is persistent by itself; else leave it",
        ));
    }
    if kernel.grid.is_empty() {
        return Err(Refusal::schedule(
            item.span,
            format!("`persistent` blocks of `{}`, which has no `grid` and so is one instance", kernel.name),
            "leave it",
        ));
    }
    Ok(dispatch)
}

/// What `persistent` is given to have blocks come by tiles in this way.
pub fn persistence(dispatch: Dispatch) -> &'static str {
    match dispatch {
        Dispatch::Each | Dispatch::Stream(_) => "false",
        Dispatch::Persistent => "static",
        Dispatch::Drawn => "dynamic",
    }
}

/// An item that means nothing here; `can` lists what does.
pub fn unknown(kernel: &t1::Kernel, item: &t1::ScheduleItem, target: Target, can: &str) -> Refusal {
    let path = item.path.join(".");
    let refusal = Refusal::schedule(
        item.span,
        format!("the schedule item `{path}` has no meaning for `{}` on {target}", kernel.name),
        format!("what can be set here: a tune parameter, {can}"),
    );
    match item.path.last().map(String::as_str) {
        Some("consumers" | "producer" | "cluster" | "pingpong" | "multicast") => refusal
            .note("it speaks of warpgroups, TMA or clusters: that needs sm_90a, for which sm_80's code is compiled today"),
        Some("order") => refusal.note("the places of a pipeline's ops follow from `stages` and `overlap`"),
        Some("pack") => {
            refusal.note("only a parameter that is declared `packed` is stored as the compiler likes")
        }
        _ => refusal,
    }
}

/// Refuses an occupancy that blocks of so many warps and so much shared memory cannot have.
pub fn check_occupancy(
    kernel: &t1::Kernel,
    occupancy: u32,
    warps: u32,
    shared: u32,
    target: Target,
) -> Result<(), Refusal> {
    let (threads, most) = (occupancy * warps * 32, target.threads_per_sm());
    if threads > most {
        return Err(Refusal::schedule(
            kernel.span,
            format!("occupancy = {occupancy} wants {threads} threads on an SM; {target} has {most}"),
            format!("at most {} blocks of {} threads", most / (warps * 32), warps * 32),
        ));
    }
    let (wanted, has) = (occupancy * (shared + RESERVED), target.shared_per_sm());
    if wanted > has {
        let bytes = |n: u32| super::knobs::bytes(n.into());
        return Err(Refusal::schedule(
            kernel.span,
            format!(
                "occupancy = {occupancy} wants {} of shared memory on an SM; {target} has {}",
                bytes(wanted),
                bytes(has)
            ),
            "fewer stages, or a smaller tile",
        )
        .note(format!(
            "a block takes {}, of which the driver keeps {}",
            bytes(shared + RESERVED),
            bytes(RESERVED)
        )));
    }
    Ok(())
}

/// Bytes of shared memory that the driver keeps of every block.
const RESERVED: u32 = 1024;

/// Registers that a thread may have, where so many blocks of so many warps share an SM.
pub fn register_cap(warps: u32, occupancy: u32, target: Target) -> u32 {
    target.register_limit().min(target.registers_per_sm() / (occupancy * warps * 32) / 8 * 8)
}
