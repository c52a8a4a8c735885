//! Where every bit of a packed tensor lies, and nothing else: what a file of packed weights says of itself.
//!
//! A [`Recipe`](super::Recipe) also knows what unpacking makes of the codes; a reader of the bytes does not have to. A thread's words are cut into
//! *groups* of as many words as codes fill exactly, all alike, so that bit b of register r's code is bit `group[r % n][b]` of group `r / n`.
//! Thread and register say which element of the tile it is, by [`AxisMap`].
//!
//! ```text
//! u4, tile 64×32, 64 threads of 32 codes: group of 1 word and 8 codes, [[0, 1, 2, 3], [16, 17, 18, 19], [4, …], …]
//! ```
//!
//! Invariants, which [`Storage::from_json`] checks of what it is given: threads and registers meet every element of the tile once, and the
//! codes of a group every bit of its words once. So storage is a permutation of bits, and what was packed can be unpacked.

use serde_json::{Value, json};

use crate::tile::ir::ElemType;
use crate::warp::tilemap::AxisMap;

/// Bits of a word.
const WORD: u32 = 32;

/// The largest tile that a file may name, in elements: the elements of a block's shared memory at one bit are no more.
const MOST: u32 = 1 << 21;

/// The storage of a tensor on (row, k): tiles, rows of tiles outermost, each as this says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    pub elem: ElemType,
    /// Rows and depth of a tile.
    pub tile: (u32, u32),
    /// Threads that hold different elements.
    pub threads: u32,
    /// Words of a thread.
    pub words: u32,
    /// What is added to the bits of a code below the uppermost, wrapping, before it is stored.
    pub turn: u32,
    /// Bits of a code that are then stored inverted.
    pub flip: u32,
    /// Words of a group.
    pub group_words: u32,
    /// Of each code of a group, the lowest bit first, which bit of the group's words it is.
    pub group: Vec<Vec<u32>>,
    /// Row and k of each element.
    pub axes: [AxisMap; 2],
}

/// What a description of storage lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StorageError(String);

/// Bits of a code that move together: those under `mask` of the code, shifted, in a word of the thread.
#[derive(Clone, Copy, Debug)]
struct Run {
    word: u32,
    /// The code's lowest bit of the run, and the word's.
    from: u32,
    to: u32,
    mask: u32,
}

/// A tile's storage, ready to be used for many tiles.
#[derive(Clone, Debug)]
pub struct Packer<'a> {
    storage: &'a Storage,
    /// By register.
    runs: Vec<Vec<Run>>,
    /// By thread: the part of its elements' row and k.
    threads: Vec<(u32, u32)>,
    /// By word of a thread: byte offset of thread 0's, and how far apart the threads' are.
    words: Vec<(u32, u32)>,
}

impl Storage {
    /// A code as it is stored.
    pub fn stored(&self, code: u64) -> u64 {
        let low = (1u64 << (self.elem.bits() - 1)) - 1;
        (code & !low | code.wrapping_add(self.turn.into()) & low) ^ u64::from(self.flip)
    }

    /// What is stored as that.
    fn logical(&self, stored: u64) -> u64 {
        let low = (1u64 << (self.elem.bits() - 1)) - 1;
        let code = stored ^ u64::from(self.flip);
        code & !low | code.wrapping_sub(self.turn.into()) & low
    }

    /// Codes of a thread.
    pub fn registers(&self) -> u32 {
        self.words / self.group_words * self.group.len() as u32
    }

    /// The chunks of a thread's words that lie together: the first word and how many. Four at a time, what remains two and one at a time; of
    /// each chunk all threads' parts lie side by side.
    pub fn chunks(words: u32) -> Vec<(u32, u32)> {
        let mut chunks = Vec::new();
        let mut first = 0;
        while first < words {
            let n = [4, 2, 1].into_iter().find(|n| first + n <= words).unwrap_or(1);
            chunks.push((first, n));
            first += n;
        }
        chunks
    }

    /// Bytes of a tile: exactly its elements' bits.
    pub fn tile_bytes(&self) -> usize {
        self.tile.0 as usize * self.tile.1 as usize * self.elem.bits() as usize / 8
    }

    /// Tiles along rows and along k.
    pub fn tiles(&self, rows: usize, depth: usize) -> (usize, usize) {
        (rows.div_ceil(self.tile.0 as usize), depth.div_ceil(self.tile.1 as usize))
    }

    /// Bytes of a tensor of this shape; `None` where nobody could have so many.
    pub fn bytes(&self, rows: usize, depth: usize) -> Option<usize> {
        let (i, j) = self.tiles(rows, depth);
        let bytes = i.checked_mul(j)?.checked_mul(self.tile_bytes())?;
        (bytes <= isize::MAX as usize).then_some(bytes)
    }

    /// The tables that packing needs.
    pub fn packer(&self) -> Packer<'_> {
        let n = self.group.len() as u32;
        let runs = (0..self.registers()).map(|r| {
            let first = r / n * self.group_words;
            let mut runs: Vec<Run> = Vec::new();
            for (b, bit) in (0..).zip(&self.group[(r % n) as usize]) {
                let (word, to) = (first + bit / WORD, bit % WORD);
                match runs.last_mut() {
                    Some(run) if run.word == word && to + run.from == run.to + b => {
                        run.mask = run.mask << 1 | 1;
                    }
                    _ => runs.push(Run { word, from: b, to, mask: 1 }),
                }
            }
            runs
        });
        let part = |axis: &AxisMap, thread: u32| {
            let moved = axis.thread.iter().enumerate().filter(|(b, _)| thread >> b & 1 == 1);
            moved.fold(0, |sum, (_, c)| sum ^ c)
        };
        let [rows, depth] = &self.axes;
        let words = Self::chunks(self.words)
            .into_iter()
            .flat_map(|(first, n)| (0..n).map(move |w| (4 * first * self.threads + 4 * w, 4 * n)));
        Packer {
            storage: self,
            runs: runs.collect(),
            threads: (0..self.threads).map(|t| (part(rows, t), part(depth, t))).collect(),
            words: words.collect(),
        }
    }

    /// A tensor of logical codes, row by row, as it is stored.
    pub fn pack(&self, codes: &[u64], rows: usize, depth: usize) -> Vec<u8> {
        let packer = self.packer();
        let (ti, tj) = self.tiles(rows, depth);
        let mut out = vec![0; ti * tj * self.tile_bytes()];
        for (n, tile) in out.chunks_mut(self.tile_bytes()).enumerate() {
            packer.pack_nth(n, (rows, depth), |r, k| codes[r * depth + k], tile);
        }
        out
    }

    /// What [`pack`](Self::pack) was given.
    pub fn unpack(&self, bytes: &[u8], rows: usize, depth: usize) -> Vec<u64> {
        let packer = self.packer();
        let mut out = vec![0; rows * depth];
        for (n, tile) in bytes.chunks(self.tile_bytes()).enumerate() {
            packer.unpack_nth(n, (rows, depth), tile, |r, k, code| out[r * depth + k] = code);
        }
        out
    }

    /// A number that is the same for the same storage and no other: FNV-1a over the type, the tile and every bit's place in it, however
    /// it came about.
    pub fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut eat = |n: u32| {
            for byte in n.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        };
        self.elem.to_string().bytes().for_each(|b| eat(b.into()));
        [self.tile.0, self.tile.1, self.turn << 16 | self.flip].into_iter().for_each(&mut eat);
        let packer = self.packer();
        let (registers, depth) = (self.registers() as usize, self.tile.1);
        let mut owner = vec![(0u32, 0u32); self.tile.0 as usize * depth as usize];
        packer.each(|thread, register, (row, k)| owner[(row * depth + k) as usize] = (thread, register));
        let n = self.group.len();
        let places: Vec<Vec<(u32, u32)>> = (0..registers)
            .map(|r| {
                let first = (r / n) as u32 * self.group_words;
                self.group[r % n].iter().map(|bit| (first + bit / WORD, bit % WORD)).collect()
            })
            .collect();
        for (thread, register) in owner {
            for (word, bit) in &places[register as usize] {
                let (base, stride) = packer.words[*word as usize];
                eat(8 * (base + stride * thread) + bit);
            }
        }
        hash
    }

    /// What differs from `other`, in words, for who has one and needs the other.
    pub fn difference(&self, other: &Storage) -> String {
        let tile = |s: &Storage| format!("{}x{}", s.tile.0, s.tile.1);
        if self.elem != other.elem {
            format!("its type is {}, not {}", self.elem, other.elem)
        } else if self.tile != other.tile {
            format!("its tiles are {}, not {}", tile(self), tile(other))
        } else if self.threads != other.threads {
            format!(
                "its tiles are for {} warps, not {}",
                self.threads.div_ceil(32),
                other.threads.div_ceil(32)
            )
        } else {
            "the same tiles in another order of bits".into()
        }
    }

    /// The description that `meta` and files hold.
    pub fn to_json(&self) -> Value {
        let axis = |a: &AxisMap| json!({"thread": a.thread, "register": a.register});
        json!({
            "type": self.elem.to_string(),
            "tile": [self.tile.0, self.tile.1],
            "threads": self.threads,
            "words": self.words,
            "turn": self.turn,
            "flip": self.flip,
            "group_words": self.group_words,
            "group": self.group,
            "row": axis(&self.axes[0]),
            "k": axis(&self.axes[1]),
            "hash": format!("{:016x}", self.hash()),
        })
    }

    /// Reads a description, and trusts nothing in it.
    pub fn from_json(value: &Value) -> Result<Storage, StorageError> {
        let wrong = |what: String| StorageError(what);
        let number = |name: &str| -> Result<u32, StorageError> {
            let n = value[name].as_u64().and_then(|n| u32::try_from(n).ok());
            n.ok_or_else(|| wrong(format!("`{name}` is no number of 32 bits")))
        };
        let numbers = |value: &Value, name: &str| -> Result<Vec<u32>, StorageError> {
            let list = value.as_array().map(|list| list.iter().map(|n| n.as_u64()?.try_into().ok()));
            let list: Option<Option<Vec<u32>>> = list.map(Iterator::collect);
            list.flatten().ok_or_else(|| wrong(format!("`{name}` is no list of numbers")))
        };
        let elem = value["type"].as_str().and_then(ElemType::from_name).filter(|e| e.bits() <= 8);
        let elem = elem.ok_or_else(|| wrong(format!("{} is no type of at most 8 bits", value["type"])))?;
        let &[rows, depth] = &numbers(&value["tile"], "tile")?[..] else {
            return Err(wrong("`tile` is not two numbers".into()));
        };
        let groups = value["group"].as_array().ok_or_else(|| wrong("`group` is no list".into()))?;
        let group = groups.iter().map(|g| numbers(g, "group")).collect::<Result<Vec<_>, _>>()?;
        let axis = |name: &str| -> Result<AxisMap, StorageError> {
            let (thread, register) = (&value[name]["thread"], &value[name]["register"]);
            Ok(AxisMap {
                thread: numbers(thread, &format!("{name}.thread"))?,
                register: numbers(register, &format!("{name}.register"))?,
            })
        };
        let storage = Storage {
            elem,
            tile: (rows, depth),
            threads: number("threads")?,
            words: number("words")?,
            turn: number("turn")?,
            flip: number("flip")?,
            group_words: number("group_words")?,
            group,
            axes: [axis("row")?, axis("k")?],
        };
        storage.check()?;
        if value["hash"].as_str() != Some(&format!("{:016x}", storage.hash())) {
            return Err(wrong("its hash is not that of the storage it describes".into()));
        }
        Ok(storage)
    }

    /// The invariants of the module.
    fn check(&self) -> Result<(), StorageError> {
        let holds = |holds: bool, what: &str| match holds {
            true => Ok(()),
            false => Err(StorageError(what.into())),
        };
        let elements = self.tile.0.checked_mul(self.tile.1).filter(|n| (1..=MOST).contains(n));
        let elements = elements.ok_or_else(|| StorageError("its tile is empty or too large".into()))?;
        holds(
            self.threads.is_power_of_two() && self.threads <= 1024,
            "threads are no power of two up to 1024",
        )?;
        holds(
            self.group_words > 0
                && self.group_words <= WORD
                && self.words > 0
                && self.words.is_multiple_of(self.group_words),
            "its groups of words do not fill a thread's words",
        )?;
        let bits = self.elem.bits();
        holds(
            u64::from(self.words) * 32 * u64::from(self.threads) == u64::from(elements) * u64::from(bits),
            "its words do not fill its tile",
        )?;
        holds(self.flip >> bits == 0, "it inverts bits that codes do not have")?;
        holds(self.turn >> (bits - 1) == 0, "it adds more to codes than they hold")?;
        let mut seen = vec![false; (self.group_words * WORD) as usize];
        for code in &self.group {
            holds(
                code.len() == bits as usize,
                "a code of its group has another number of bits than the type",
            )?;
            for bit in code {
                let slot = seen.get_mut(*bit as usize);
                holds(slot.is_some_and(|s| !std::mem::replace(s, true)), "bits of its group overlap")?;
            }
        }
        holds(seen.iter().all(|s| *s), "its group leaves bits of its words over")?;
        for axis in &self.axes {
            let fits = axis.thread.len() == self.threads.trailing_zeros() as usize
                && axis.register.len() == self.registers() as usize
                && axis.thread.iter().chain(&axis.register).all(|c| *c < MOST);
            holds(fits, "its maps of elements do not fit its threads and words")?;
        }
        let mut met = vec![false; elements as usize];
        let mut once = true;
        self.packer().each(|_, _, (row, k)| {
            let at = (row < self.tile.0 && k < self.tile.1).then(|| (row * self.tile.1 + k) as usize);
            once &= at.is_some_and(|at| !std::mem::replace(&mut met[at], true));
        });
        holds(once, "an element of its tile has no place of its own")
    }
}

impl Packer<'_> {
    /// Calls `f` with a thread, a register, and the place of their element in the tile.
    fn each(&self, mut f: impl FnMut(u32, u32, (u32, u32))) {
        let [rows, depth] = &self.storage.axes;
        for (thread, (row, k)) in (0..).zip(&self.threads) {
            for (register, (dr, dk)) in (0..).zip(rows.register.iter().zip(&depth.register)) {
                f(thread, register, (row + dr, k + dk));
            }
        }
    }

    /// One tile from the codes of its elements; those that do not exist are zero bits.
    pub fn pack_tile(&self, code: impl Fn(u32, u32) -> Option<u64>, out: &mut [u8]) {
        let [rows, depth] = &self.storage.axes;
        let mut own = vec![0u32; self.words.len()];
        for (thread, (row, k)) in (0..).zip(&self.threads) {
            own.fill(0);
            for (runs, (dr, dk)) in self.runs.iter().zip(rows.register.iter().zip(&depth.register)) {
                let Some(code) = code(row + dr, k + dk) else { continue };
                let code = self.storage.stored(code) as u32;
                for run in runs {
                    own[run.word as usize] |= (code >> run.from & run.mask) << run.to;
                }
            }
            for (word, (base, stride)) in own.iter().zip(&self.words) {
                let at = (base + stride * thread) as usize;
                out[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
    }

    /// Calls `f` with row, k and code of every element of a tile.
    pub fn unpack_tile(&self, bytes: &[u8], mut f: impl FnMut(u32, u32, u64)) {
        let [rows, depth] = &self.storage.axes;
        for (thread, (row, k)) in (0..).zip(&self.threads) {
            let word = |n: u32| {
                let (base, stride) = self.words[n as usize];
                let at = (base + stride * thread) as usize;
                bytes[at..at + 4].iter().rev().fold(0u32, |word, byte| word << 8 | u32::from(*byte))
            };
            for (runs, (dr, dk)) in self.runs.iter().zip(rows.register.iter().zip(&depth.register)) {
                let code = runs.iter().fold(0, |code, r| code | (word(r.word) >> r.to & r.mask) << r.from);
                f(row + dr, k + dk, self.storage.logical(code.into()));
            }
        }
    }

    /// The n-th tile of a tensor with so many rows and so deep.
    pub fn pack_nth(
        &self,
        n: usize,
        shape: (usize, usize),
        code: impl Fn(usize, usize) -> u64,
        out: &mut [u8],
    ) {
        let (i, j) = self.corner(n, shape);
        let code = |r: u32, k: u32| {
            let (r, k) = (i + r as usize, j + k as usize);
            (r < shape.0 && k < shape.1).then(|| code(r, k))
        };
        self.pack_tile(code, out);
    }

    /// Calls `f` with row, k and code of the n-th tile's elements that the tensor has.
    pub fn unpack_nth(
        &self,
        n: usize,
        shape: (usize, usize),
        bytes: &[u8],
        mut f: impl FnMut(usize, usize, u64),
    ) {
        let (i, j) = self.corner(n, shape);
        self.unpack_tile(bytes, |r, k, code| {
            let (r, k) = (i + r as usize, j + k as usize);
            if r < shape.0 && k < shape.1 {
                f(r, k, code);
            }
        });
    }

    /// Row and k of the n-th tile's first element.
    fn corner(&self, n: usize, (rows, depth): (usize, usize)) -> (usize, usize) {
        let (_, across) = self.storage.tiles(rows, depth);
        let (i, j) = (n / across.max(1), n % across.max(1));
        (i * self.storage.tile.0 as usize, j * self.storage.tile.1 as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Recipe, Toward};
    use super::*;
    use crate::plan::fragments::Tiling;
    use crate::scheduled::ir::{MmaAtom, MmaType};
    use proptest::prelude::*;

    fn every_type() -> Vec<ElemType> {
        let mut all: Vec<ElemType> =
            (1..=8).flat_map(|w| [ElemType::Uint(w), ElemType::Int(w), ElemType::Bipolar(w)]).collect();
        for bits in 3..=8u8 {
            all.extend((1..bits).filter_map(|exponent| ElemType::small(exponent, bits - 1 - exponent)));
        }
        all
    }

    fn tiling((bn, bk, wn): (u32, u32, u32)) -> Tiling {
        let atom = MmaAtom { a: MmaType::F16, b: MmaType::F16 };
        Tiling { bm: 64, bn, bk, wm: 1, wn, same: 1, atom, interleave: true }
    }

    fn recipe(ty: ElemType, toward: Toward, tile: (u32, u32, u32)) -> Option<Recipe> {
        shared(ty, toward, tiling(tile), 0)
    }

    /// Storage of which 2^shift neighbours share an element.
    fn shared(ty: ElemType, toward: Toward, tiling: Tiling, shift: u32) -> Option<Recipe> {
        Recipe::new(ty, toward, &tiling.b_part(tiling.bk, &[true, false]), (tiling.wn, 1), shift)
    }

    fn tiles() -> Vec<(u32, u32, u32)> {
        vec![(64, 32, 1), (64, 64, 2), (128, 32, 4), (128, 64, 2), (96, 64, 1), (64, 64, 4), (128, 64, 4)]
    }

    fn codes(seed: u64, bits: u32, count: usize) -> Vec<u64> {
        let mut x = seed | 1;
        let next = |_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x & ((1 << bits) - 1)
        };
        (0..count).map(next).collect()
    }

    /// The places of all codes' bits, one bit at a time: what is stored when that bit alone is set in an otherwise equal tensor.
    fn same_storage(a: &Storage, b: &Storage) -> bool {
        if (a.elem, a.tile) != (b.elem, b.tile) {
            return false;
        }
        let (rows, depth) = (a.tile.0 as usize, a.tile.1 as usize);
        (0..4).all(|seed| {
            let codes = codes(0x9e37_79b9 * (seed + 1), a.elem.bits(), rows * depth);
            a.pack(&codes, rows, depth) == b.pack(&codes, rows, depth)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn unpacking_undoes_packing_and_exactly_n_bits_are_stored(
            ty in proptest::sample::select(every_type()),
            toward in proptest::sample::select(vec![Toward::F16, Toward::Bf16, Toward::Bytes, Toward::Bits, Toward::Codes]),
            tile in proptest::sample::select(tiles()),
            rows in 1usize..200,
            depth in 1usize..150,
            shift in 0u32..5,
            seed: u64,
        ) {
            let toward = if shift == 0 { toward } else { Toward::Codes };
            let Some(recipe) = shared(ty, toward, tiling(tile), shift) else { return Ok(()) };
            let storage = recipe.storage();
            let codes = codes(seed, ty.bits(), rows * depth);
            let packed = storage.pack(&codes, rows, depth);
            let (i, j) = storage.tiles(rows, depth);
            prop_assert_eq!(packed.len() * 8, i * j * (tile.0 * (tile.1 >> shift) * ty.bits()) as usize);
            prop_assert_eq!(Storage::from_json(&storage.to_json()), Ok(storage.clone()));
            prop_assert_eq!(storage.unpack(&packed, rows, depth), codes);
        }

        #[test]
        fn the_hash_tells_storage_apart_and_nothing_else(
            ty in proptest::sample::select(every_type()),
            towards in proptest::sample::select(vec![(Toward::F16, Toward::Bf16), (Toward::F16, Toward::F16), (Toward::Codes, Toward::F16), (Toward::Bytes, Toward::F16)]),
            first in proptest::sample::select(tiles()),
            second in proptest::sample::select(tiles()),
        ) {
            let (Some(a), Some(b)) = (recipe(ty, towards.0, first), recipe(ty, towards.1, second)) else { return Ok(()) };
            let (a, b) = (a.storage(), b.storage());
            prop_assert_eq!(a.hash() == b.hash(), same_storage(&a, &b));
        }

        #[test]
        fn descriptions_read_back(
            ty in proptest::sample::select(every_type()),
            toward in proptest::sample::select(vec![Toward::F16, Toward::Bf16, Toward::Bytes, Toward::Bits, Toward::Codes]),
            tile in proptest::sample::select(tiles()),
        ) {
            let Some(recipe) = recipe(ty, toward, tile) else { return Ok(()) };
            let storage = recipe.storage();
            prop_assert_eq!(Storage::from_json(&storage.to_json()), Ok(storage));
        }

        #[test]
        fn damaged_descriptions_are_errors_and_never_panics(
            field in proptest::sample::select(vec!["type", "tile", "threads", "words", "turn", "flip", "group_words", "group", "row", "k", "hash"]),
            value in proptest::sample::select(vec![json!(0), json!(1), json!(u32::MAX), json!(-1), json!([]), json!([1, u32::MAX]), json!([65536, 65536]),
                json!("i64"), json!([[0]]), json!(null), json!({"thread": [0, 0, 0, 0, 0, 0], "register": [0]})]),
        ) {
            let storage = recipe(ElemType::Uint(4), Toward::F16, (64, 32, 2)).expect("a recipe").storage();
            let mut json = storage.to_json();
            prop_assume!(json[field] != value);
            json[field] = value;
            prop_assert!(Storage::from_json(&json).is_err());
        }
    }

    #[test]
    fn the_way_to_the_same_storage_does_not_matter() {
        // One word a thread and twice the threads, or two single words: nothing but the description differs.
        let (ty, toward) = (ElemType::Uint(4), Toward::F16);
        let storage = recipe(ty, toward, (64, 32, 2)).expect("a recipe").storage();
        let mut doubled = storage.clone();
        doubled.group = storage
            .group
            .iter()
            .cloned()
            .chain(storage.group.iter().map(|c| c.iter().map(|b| b + 32).collect()))
            .collect();
        doubled.group_words = 2;
        assert_eq!(doubled.check(), Ok(()));
        assert_ne!(doubled, storage);
        assert_eq!(doubled.hash(), storage.hash());
        let mut inverted = storage.clone();
        inverted.flip = 8;
        assert_ne!(inverted.hash(), storage.hash());
        assert_eq!(storage.difference(&inverted), "the same tiles in another order of bits");
    }
}
