//! `cargo xtask places`: looks for better places of small floats' bits, and writes `compiler/src/packed/floats.txt`.
//!
//! Simulated annealing on permutations of a group's bits: two bits change places, and what unpacking then costs decides. Whatever is found is kept where it beats the
//! table, so that more restarts only ever improve it.

use std::collections::HashMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use tilewright_compiler::packed::floats::TABLE;
use tilewright_compiler::tile::ElemType;
use tilewright_runtime::tensor::random::Stream;

use crate::steps::root;

/// Bits of a lane.
const LANE: usize = 16;
/// Exchanges of one restart, and the temperatures between which they cool down.
const STEPS: u64 = 6_000_000;
const HOT: f64 = 3.0;
const COLD: f64 = 0.12;

/// A type on its way to a format.
struct Way {
    name: String,
    mantissa: u32,
    bits: usize,
    words: usize,
    /// Bits of a lane where each bit of a code belongs.
    to: Vec<usize>,
    /// Its NaNs belong elsewhere: the sign is put in on its own.
    turned: bool,
}

impl Way {
    fn new(exponent: u8, m: u8, mantissa: u32) -> Option<Way> {
        let elem = ElemType::small(exponent, m)?;
        let bits = usize::from(1 + exponent + m);
        let low = (mantissa as usize).checked_sub(usize::from(m))?;
        let to = (0..bits).map(|b| if b + 1 == bits { LANE - 1 } else { low + b }).collect();
        let words = if bits.is_power_of_two() { 1 } else { bits >> bits.trailing_zeros() };
        let turned = elem == ElemType::E4M3 || elem == ElemType::E5M2 && mantissa == 7;
        Some(Way { name: elem.to_string(), mantissa, bits, words, to, turned })
    }

    fn members(&self) -> usize {
        self.words * LANE / self.bits
    }
}

/// Which bit of which member stands in each slot, and what that costs.
struct State<'a> {
    way: &'a Way,
    slots: Vec<usize>,
    /// Bits of a member that move together, by member, word and distance; and members that want a word so shifted.
    pieces: HashMap<(usize, usize, i32), u32>,
    shifts: HashMap<(usize, i32), u32>,
    cost: usize,
}

impl<'a> State<'a> {
    fn new(way: &'a Way, slots: Vec<usize>) -> State<'a> {
        let mut state = State { way, slots, pieces: HashMap::new(), shifts: HashMap::new(), cost: 0 };
        (0..state.slots.len()).for_each(|slot| state.put(slot));
        state
    }

    fn parts(&self, slot: usize) -> (usize, usize, i32, bool) {
        let (member, bit) = (self.slots[slot] / self.way.bits, self.slots[slot] % self.way.bits);
        let by = (slot % LANE) as i32 - self.way.to[bit] as i32;
        (member, slot / LANE, by, self.way.turned && bit + 1 == self.way.bits)
    }

    fn put(&mut self, slot: usize) {
        let (member, word, by, apart) = self.parts(slot);
        // A sign apart is chosen in any case; a piece of its own number keeps it so.
        let key = (if apart { member + 1000 } else { member }, word, by);
        let count = self.pieces.entry(key).or_insert(0);
        *count += 1;
        if *count == 1 {
            self.cost += 1;
            if by != 0 {
                let wanted = self.shifts.entry((word, by)).or_insert(0);
                *wanted += 1;
                self.cost += usize::from(*wanted == 1);
            }
        }
    }

    fn take(&mut self, slot: usize) {
        let (member, word, by, apart) = self.parts(slot);
        let key = (if apart { member + 1000 } else { member }, word, by);
        if let Some(count) = self.pieces.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                self.cost -= 1;
                if let Some(wanted) = self.shifts.get_mut(&(word, by)) {
                    *wanted -= 1;
                    self.cost -= usize::from(*wanted == 0);
                }
            }
        }
    }

    fn exchange(&mut self, a: usize, b: usize) {
        if a == b {
            return;
        }
        self.take(a);
        self.take(b);
        self.slots.swap(a, b);
        self.put(a);
        self.put(b);
    }
}

/// The cheapest places that one restart finds.
fn search(way: &Way, seed: u64, steps: u64) -> (usize, Vec<usize>) {
    let total = way.members() * way.bits;
    let draw = Stream::new(seed, &format!("{} {}", way.name, way.mantissa));
    let mut slots: Vec<usize> = (0..total).collect();
    for i in (1..total).rev() {
        slots.swap(i, draw.bits(u64::MAX - i as u64) as usize % (i + 1));
    }
    let mut state = State::new(way, slots);
    let mut best = (state.cost, state.slots.clone());
    let mut heat = HOT;
    let cooling = (COLD / HOT).powf(1.0 / steps as f64);
    for step in 0..steps {
        let bits = draw.bits(step);
        let (a, b) = ((bits & 0xffff) as usize % total, (bits >> 16 & 0xffff) as usize % total);
        let before = state.cost;
        state.exchange(a, b);
        let chance = (bits >> 32) as f64 / f64::from(u32::MAX);
        if state.cost > before && ((before as f64 - state.cost as f64) / heat).exp() < chance {
            state.exchange(a, b);
        } else if state.cost < best.0 {
            best = (state.cost, state.slots.clone());
        }
        heat *= cooling;
    }
    best
}

/// A line of the table.
fn line(way: &Way, slots: &[usize]) -> String {
    let mut line = format!("{} {}", way.name, way.mantissa);
    for word in slots.chunks(LANE) {
        line.push(' ');
        for slot in word.iter().rev() {
            let _ = write!(line, "{}{}", (b'a' + (slot / way.bits) as u8) as char, slot % way.bits);
        }
    }
    line
}

/// The slots of a line of the table.
fn slots(way: &Way, line: &str) -> Option<Vec<usize>> {
    let mut slots = Vec::new();
    for word in line.split_ascii_whitespace().skip(2) {
        for field in word.as_bytes().chunks_exact(2).rev() {
            slots.push(
                usize::from(field[0].checked_sub(b'a')?) * way.bits
                    + usize::from(field[1].checked_sub(b'0')?),
            );
        }
    }
    (slots.len() == way.members() * way.bits).then_some(slots)
}

/// Every line's way.
fn ways() -> Vec<Way> {
    let named = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let name = fields.next()?.strip_prefix('e')?;
        let (x, y) = name.split_once('m')?;
        Way::new(x.parse().ok()?, y.parse().ok()?, fields.next()?.parse().ok()?)
    };
    TABLE.lines().filter_map(named).collect()
}

/// Searches so often for every type and format, and writes the table anew with what is better.
pub fn run(restarts: u64, only: &str) -> Result<()> {
    let mut text = TABLE.lines().take_while(|l| l.starts_with('#')).fold(String::new(), |t, l| t + l + "\n");
    for way in ways() {
        let name = format!("{} {} ", way.name, way.mantissa);
        let known = TABLE.lines().find(|l| l.starts_with(&name)).and_then(|l| slots(&way, l));
        let known = known.with_context(|| format!("floats.txt has a broken line for {name}"))?;
        let mut best = (State::new(&way, known.clone()).cost, known);
        let before = best.0;
        if name.starts_with(only) {
            for seed in 0..restarts {
                let found = search(&way, seed, STEPS);
                if found.0 < best.0 {
                    best = found;
                }
            }
        }
        let each = |cost: usize| cost as f64 / (2 * way.members()) as f64;
        eprintln!("   {name}{:.3} instructions a value before, {:.3} now", each(before), each(best.0));
        text.push_str(&line(&way, &best.1));
        text.push('\n');
    }
    let path = root().join("compiler/src/packed/floats.txt");
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_writes_back_and_a_search_finds_what_it_has() {
        let lines: Vec<&str> = TABLE.lines().filter(|l| !l.starts_with('#')).collect();
        let ways = ways();
        assert_eq!(ways.len(), lines.len());
        for (way, text) in ways.iter().zip(lines) {
            assert_eq!(line(way, &slots(way, text).expect("slots")), text);
        }
        let way = Way::new(1, 2, 10).expect("e1m2");
        let (cost, found) = search(&way, 1, 40_000);
        assert!((9..=10).contains(&cost), "{cost}");
        assert_eq!(State::new(&way, found).cost, cost);
    }
}
