//! Step 2: what each kind of conflict needs, as data.
//!
//! A row says: after an access like *source*, an access like *dest* to the same memory may be issued only after these steps, in
//! this order. The first row that matches counts. New hardware adds rows (and events), no code.
//!
//! | source → dest | steps |
//! | --- | --- |
//! | wgmma → wgmma, registers | none: wgmmas of one accumulator shape are ordered |
//! | wgmma → other use of the registers | wait for its group |
//! | other use of the registers → wgmma | `wgmma.fence` |
//! | cp.async → generic | wait for its group, hand over |
//! | cp.async write → async | wait for its group, `fence.proxy.async`, hand over |
//! | async read or write, FIFO → anything | wait for its group, hand over |
//! | generic write → async | `fence.proxy.async`, hand over |
//! | generic read or write → generic; generic read → async write | hand over |
//!
//! To *hand over* is nothing within a thread, `bar.warp.sync` within a warp, `bar.sync` within a role. Reads need no proxy fence: they
//! are complete when their values are there.

use super::model::{Class, Completion, Mode, Proxy};
use super::table::Site;

/// One thing to do between the two accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// Wait until the group of the source has completed.
    Wait(Class),
    FenceProxyAsync,
    WgmmaFence,
    /// Tell the threads that issue the destination.
    Handover,
}

/// Which accesses a side of a row speaks of. `None` is any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    registers: bool,
    proxy: Option<Proxy>,
    mode: Option<Mode>,
    completion: Option<Completion>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    source: Side,
    dest: Side,
    pub steps: &'static [Step],
}

const MEMORY: Side = Side { registers: false, proxy: None, mode: None, completion: None };
const REGISTERS: Side = Side { registers: true, ..MEMORY };
const GENERIC: Side = Side { proxy: Some(Proxy::Generic), ..MEMORY };
const ASYNC: Side = Side { proxy: Some(Proxy::Async), ..MEMORY };

const fn fifo(side: Side, class: Class) -> Side {
    Side { completion: Some(Completion::Fifo(class)), ..side }
}

const fn immediate(side: Side) -> Side {
    Side { completion: Some(Completion::Immediate), ..side }
}

const fn writing(side: Side) -> Side {
    Side { mode: Some(Mode::Write), ..side }
}

const fn reading(side: Side) -> Side {
    Side { mode: Some(Mode::Read), ..side }
}

const fn row(source: Side, dest: Side, steps: &'static [Step]) -> Row {
    Row { source, dest, steps }
}

pub(super) const TABLE: &[Row] = {
    use Class::*;
    use Step::*;
    &[
        row(fifo(REGISTERS, Wgmma), fifo(REGISTERS, Wgmma), &[]),
        row(fifo(REGISTERS, Wgmma), REGISTERS, &[Wait(Wgmma)]),
        row(REGISTERS, fifo(REGISTERS, Wgmma), &[WgmmaFence]),
        row(REGISTERS, REGISTERS, &[]),
        row(fifo(GENERIC, CpAsync), GENERIC, &[Wait(CpAsync), Handover]),
        row(writing(fifo(GENERIC, CpAsync)), ASYNC, &[Wait(CpAsync), FenceProxyAsync, Handover]),
        row(fifo(GENERIC, CpAsync), ASYNC, &[Wait(CpAsync), Handover]),
        row(fifo(ASYNC, Wgmma), MEMORY, &[Wait(Wgmma), Handover]),
        row(fifo(ASYNC, BulkRead), MEMORY, &[Wait(BulkRead), Handover]),
        row(fifo(ASYNC, BulkWrite), MEMORY, &[Wait(BulkWrite), Handover]),
        row(writing(immediate(GENERIC)), ASYNC, &[FenceProxyAsync, Handover]),
        row(reading(immediate(GENERIC)), ASYNC, &[Handover]),
        row(immediate(GENERIC), GENERIC, &[Handover]),
    ]
};

impl Side {
    fn matches(&self, site: &Site) -> bool {
        self.registers == site.in_registers()
            && self.proxy.is_none_or(|p| p == site.op.proxy)
            && self.mode.is_none_or(|m| m == site.access.mode)
            && self.completion.is_none_or(|c| c == site.op.completion)
    }
}

/// What a conflict needs; `None` if the table has no row for it.
pub(super) fn requirement(source: &Site, dest: &Site) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.source.matches(source) && row.dest.matches(dest))
}
