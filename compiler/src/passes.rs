//! The passes, in order: what each guarantees, and which dump follows it.
//!
//! `--time-passes` and `--emit` come from this table. The reasons for the order: roles and access plans come before layouts, because they decide
//! the anchors; buffers come before synchronisation and budgets, because every buffer may cost a barrier; synchronisation comes after
//! expansion, because the count of a group wait is only defined on the expanded order.

use std::time::{Duration, Instant};

/// A pass of the compiler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Pass {
    Load,
    Elaborate,
    Plan,
    Expand,
    Synchronise,
    Lower,
    Select,
    Print,
}

/// A level of the compiler that can be printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    Ast,
    Tile,
    Scheduled,
    Warp,
    Ptx,
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct PassInfo {
    pub pass: Pass,
    pub name: &'static str,
    /// What holds afterwards.
    pub guarantees: &'static str,
    /// The level that it completes.
    pub completes: Option<Level>,
}

/// Every pass in the order in which it runs.
pub const PASSES: [PassInfo; 8] = [
    info(Pass::Load, "load", "files are parsed, imports loaded, every name is known", Some(Level::Ast)),
    info(
        Pass::Elaborate,
        "elaborate",
        "generics, tune parameters and functions are bound; types and axes agree (T1)",
        Some(Level::Tile),
    ),
    info(
        Pass::Plan,
        "plan",
        "roles, access plans, layouts, buffers and channels exist, within the budgets (T2 fused)",
        None,
    ),
    info(
        Pass::Expand,
        "expand",
        "stages are prologue and steady loop; every op names its iteration (T2 expanded)",
        None,
    ),
    info(
        Pass::Synchronise,
        "synchronise",
        "every conflicting pair is ordered, proved; no barrier or wait is superfluous",
        Some(Level::Scheduled),
    ),
    info(Pass::Lower, "lower", "registers, addresses and predicates exist (T3)", Some(Level::Warp)),
    info(
        Pass::Select,
        "select",
        "one PTX instruction per op; the lowest PTX version that has them all (T4)",
        None,
    ),
    info(Pass::Print, "print", "text, with lines back to the source", Some(Level::Ptx)),
];

const fn info(
    pass: Pass,
    name: &'static str,
    guarantees: &'static str,
    completes: Option<Level>,
) -> PassInfo {
    PassInfo { pass, name, guarantees, completes }
}

impl Pass {
    pub fn name(self) -> &'static str {
        PASSES[self as usize].name
    }
}

/// Wall time of passes; a pass that runs once per variant adds up.
#[derive(Clone, Debug, Default)]
pub struct Timer {
    spent: Vec<(Pass, Duration)>,
}

impl Timer {
    /// Runs a pass and adds its time.
    pub fn time<R>(&mut self, pass: Pass, run: impl FnOnce() -> R) -> R {
        let start = Instant::now();
        let result = run();
        let spent = start.elapsed();
        match self.spent.iter_mut().find(|(p, _)| *p == pass) {
            Some((_, t)) => *t += spent,
            None => self.spent.push((pass, spent)),
        }
        result
    }

    /// (name, time) in the order of the passes.
    pub fn finish(mut self) -> Vec<(&'static str, Duration)> {
        self.spent.sort_by_key(|(p, _)| *p);
        self.spent.into_iter().map(|(p, t)| (p.name(), t)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_passes() {
        for (i, info) in PASSES.iter().enumerate() {
            assert_eq!(info.pass as usize, i, "{}", info.name);
        }
    }
}
