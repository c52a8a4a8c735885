//! The words of schedules: one table of what may stand in a path and as a value, and the check of a path's shape.
//!
//! A path is a tune parameter (`BM = 128`), a setting of the kernel (`persistent`), or a name of the kernel with a setting of its own kind
//! (`k.stages`, `acc.promote`, `b.via`). Whether a value is possible for a target is the planner's business.

/// Settings of the kernel as a whole.
pub const KERNEL_SETTINGS: &[&str] =
    &["warps", "consumers", "producer", "cluster", "persistent", "raster", "occupancy", "pingpong"];
/// Settings of a loop: `k.stages`.
pub const LOOP_SETTINGS: &[&str] = &["stages", "unroll", "split", "overlap", "order"];
/// Settings of an accumulator: `acc.promote`.
pub const VALUE_SETTINGS: &[&str] = &["promote", "atom"];
/// Settings of a parameter: `b.via`.
pub const PARAM_SETTINGS: &[&str] = &["via", "evict", "multicast", "pack"];
/// Words that stand as values. Names of atoms are not among them; they are looked up where the atom is chosen.
pub const VALUE_WORDS: &[&str] = &[
    "static", "dynamic", "tma", "cpasync", "bulk", "direct", "first", "last", "normal", "planes", "dense",
    "stream", "wide", "mid", "any",
];
/// Targets, oldest first.
pub const TARGETS: &[&str] = &["sm_80", "sm_86", "sm_89", "sm_90a", "sm_100a", "sm_120a"];

use super::program::LocalKind;

/// The settings that a name of this kind has.
pub fn settings_of(kind: LocalKind) -> &'static [&'static str] {
    match kind {
        LocalKind::LoopVar | LocalKind::GridVar => LOOP_SETTINGS,
        LocalKind::Let | LocalKind::LetMut => VALUE_SETTINGS,
        LocalKind::Param => PARAM_SETTINGS,
        _ => &[],
    }
}
