//! Conversions inside a thread: register `i` of the result is register `source[i]` of the operand.
//!
//! PTX registers have no places, so this is a matter of names, as long as whole 32-bit registers are renamed. Elements of 16
//! or 8 bits share a register with their neighbours; where new neighbours meet, `prmt` picks bytes out of two registers.

use super::{Conversion, Cost, How, Sources};

/// Destination element register → source element register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterMove {
    pub source: Vec<u32>,
    /// For each 32-bit register of the result: taken over as it is, or made by `prmt`.
    pub words: Vec<Word>,
}

/// How one 32-bit register of the result comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is this 32-bit register of the operand.
    Renamed(u32),
    /// It is put together from this many registers of the operand.
    Permuted { from: u32 },
}

pub(super) fn plan(sources: &Sources, elem_bits: u32) -> Conversion {
    let columns: Vec<u64> = sources.reg.iter().map(|s| s.reg).collect();
    let (low, stride) = (1u32 << columns.len(), 1u32 << sources.source_regs);
    let one = |i: u32| crate::layout::f2::apply(&columns, i as u64) as u32;
    let all = (0..sources.repeats).flat_map(|odd| (0..low).map(move |i| (odd, i)));
    let source: Vec<u32> = all.map(|(odd, i)| odd * stride + one(i)).collect();
    let per_word = (32 / elem_bits.clamp(1, 32)) as usize;
    let words: Vec<Word> = source.chunks(per_word).map(|parts| word(parts, per_word as u32)).collect();
    let prmts = words.iter().map(|w| match w {
        Word::Renamed(_) => 0,
        // One prmt takes bytes of two registers; each further register needs another one.
        Word::Permuted { from } => (from - 1).max(1),
    });
    let cost = Cost { prmts: prmts.sum(), ..Cost::default() };
    Conversion { how: How::Registers(RegisterMove { source, words }), cost }
}

fn word(parts: &[u32], per_word: u32) -> Word {
    let first = parts[0];
    if first.is_multiple_of(per_word) && parts.iter().enumerate().all(|(i, &p)| p == first + i as u32) {
        return Word::Renamed(first / per_word);
    }
    let mut from: Vec<u32> = parts.iter().map(|p| p / per_word).collect();
    from.sort_unstable();
    from.dedup();
    Word::Permuted { from: from.len() as u32 }
}
