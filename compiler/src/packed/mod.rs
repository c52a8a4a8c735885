//! How a `packed` tensor lies in memory: every thread finds the bits of its own fragment side by side.
//!
//! A tensor on (row, k) is cut into tiles, rows of tiles outermost; what is missing at the edges is zero bits. In a tile, an element's place
//! follows from who multiplies it: register `e` of thread `t` in the fragment's layout. A thread's elements 2i and 2i + 1 are a *member*
//! of a group of words ([`placement`]), which says where their bits are.
//!
//! ```text
//! u4: word w of a thread, members i = 4w … 4w + 3      31        24        16 15         8         0
//!                                                        | 2i+7 | 2i+5 | 2i+3 | 2i+1 | 2i+6 | 2i+4 | 2i+2 | 2i |
//! ```
//! A thread's words are loaded four at a time, what remains two and one at a time: of each such *chunk* all threads' parts lie side by side,
//! and chunk after chunk.
//!
//! Signed integers are stored with their sign bit inverted, that is, as the number less the least one: unpacking adds a constant
//! anyway. Storage is exactly as many bits per element as the type has.

pub mod placement;

use crate::layout::Layout;
use crate::tile::ir::ElemType;
use crate::warp::tilemap::TileMap;
pub use placement::{Form, Member, Placement, Toward};

/// The storage of one packed tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    pub elem: ElemType,
    /// What unpacking makes of the codes.
    pub form: Form,
    /// Rows and depth of a tile.
    pub tile: (u32, u32),
    /// Threads that hold different elements.
    pub threads: u32,
    pub placement: Placement,
    /// Words of a thread.
    pub words: u32,
    /// Which element of the tile, on (row, k), each register of each thread has.
    map: TileMap,
}

impl Recipe {
    /// The storage for a fragment's layout on (row, k), of which the first `warps` warps hold different elements; `None` where a thread's
    /// elements fill no whole number of groups.
    pub fn new(elem: ElemType, toward: Toward, layout: &Layout, warps: u32) -> Option<Recipe> {
        let mut map = TileMap::of(layout);
        let bits = 5 + warps.trailing_zeros();
        map.axes.iter_mut().for_each(|a| a.thread.truncate(bits as usize));
        let shape = layout.shape();
        let [(_, rows), (_, depth)] = shape[..] else { return None };
        let form = toward.form(elem);
        let placement = Placement::new(elem, form);
        let values = placement.members.len() * (32 / form.lane()) as usize;
        if map.registers == 0 || !map.registers.is_multiple_of(values) {
            return None;
        }
        let words = (map.registers / values) as u32 * placement.words;
        Some(Recipe { elem, form, tile: (rows, depth), threads: 32 * warps, placement, words, map })
    }

    /// The chunks of a thread's words: the first word and how many.
    pub fn chunks(&self) -> Vec<(u32, u32)> {
        let mut chunks = Vec::new();
        let mut first = 0;
        while first < self.words {
            let n = [4, 2, 1].into_iter().find(|n| first + n <= self.words).unwrap_or(1);
            chunks.push((first, n));
            first += n;
        }
        chunks
    }

    /// Byte offset in the tile of a chunk's part that is thread 0's; the other threads' follow.
    pub fn chunk_offset(&self, (first, _): (u32, u32)) -> u32 {
        4 * first * self.threads
    }

    /// The member that a register is of, the first word of its group, and the lowest bit of its lane.
    pub fn member(&self, register: u32) -> (&Member, u32, u32) {
        let lanes = 32 / self.form.lane();
        let (n, member) = (self.placement.members.len() as u32, register / lanes);
        let group = member / n * self.placement.words;
        (&self.placement.members[(member % n) as usize], group, register % lanes * self.form.lane())
    }

    /// Bytes of a tile: exactly its elements' bits.
    pub fn tile_bytes(&self) -> u32 {
        self.tile.0 * self.tile.1 * self.elem.bits() / 8
    }

    /// Tiles along rows and along k.
    pub fn tiles(&self, rows: usize, depth: usize) -> (usize, usize) {
        (rows.div_ceil(self.tile.0 as usize), depth.div_ceil(self.tile.1 as usize))
    }

    /// Bytes of a tensor of this shape.
    pub fn bytes(&self, rows: usize, depth: usize) -> usize {
        let (i, j) = self.tiles(rows, depth);
        i * j * self.tile_bytes() as usize
    }

    /// Elements of a thread.
    pub fn registers(&self) -> u32 {
        self.map.registers as u32
    }

    /// A code as it is stored.
    fn stored(&self, code: u64) -> u64 {
        match self.elem {
            ElemType::Int(w) => code ^ (1 << (w - 1)),
            _ => code,
        }
    }

    /// Calls `f` with a thread, a register, and the place of their element in the tile.
    fn each(&self, mut f: impl FnMut(u32, u32, (u32, u32))) {
        let at = |axis: usize, thread: u32, register: u32| {
            let a = &self.map.axes[axis];
            let moved = a.thread.iter().enumerate().filter(|(b, _)| thread >> b & 1 == 1);
            moved.fold(0, |sum, (_, c)| sum ^ c) + a.register[register as usize]
        };
        for thread in 0..self.threads {
            for register in 0..self.registers() {
                f(thread, register, (at(0, thread, register), at(1, thread, register)));
            }
        }
    }

    /// One tile from the codes of its elements; those that do not exist are 0.
    pub fn pack_tile(&self, code: impl Fn(u32, u32) -> Option<u64>, out: &mut [u8]) {
        let places = self.places();
        self.each(|thread, register, (row, k)| {
            let Some(code) = code(row, k) else { return };
            let code = self.stored(code);
            for (b, (word, bit)) in places[register as usize].iter().enumerate() {
                let at = word.of(thread) + bit / 8;
                out[at as usize] |= ((code >> b & 1) << (bit % 8)) as u8;
            }
        });
    }

    /// The codes of one tile's elements, row by row.
    pub fn unpack_tile(&self, bytes: &[u8]) -> Vec<u64> {
        let places = self.places();
        let mut codes = vec![0; (self.tile.0 * self.tile.1) as usize];
        self.each(|thread, register, (row, k)| {
            let mut code = 0;
            for (b, (word, bit)) in places[register as usize].iter().enumerate() {
                let at = word.of(thread) + bit / 8;
                code |= u64::from(bytes[at as usize] >> (bit % 8) & 1) << b;
            }
            codes[(row * self.tile.1 + k) as usize] = self.stored(code);
        });
        codes
    }

    /// Of each register, where its code's bits are: the word, and the bit in the word.
    fn places(&self) -> Vec<Vec<(WordAt, u32)>> {
        let words: Vec<WordAt> = self
            .chunks()
            .into_iter()
            .flat_map(|c| (0..c.1).map(move |n| (c, n)))
            .map(|(c, n)| WordAt { base: self.chunk_offset(c) + 4 * n, stride: 4 * c.1 })
            .collect();
        (0..self.registers())
            .map(|r| {
                let (member, first, lane) = self.member(r);
                member.bits.iter().map(|(w, bit)| (words[(first + w) as usize], bit + lane)).collect()
            })
            .collect()
    }

    /// A tensor of logical codes, row by row, as it is stored.
    pub fn pack(&self, codes: &[u64], rows: usize, depth: usize) -> Vec<u8> {
        let mut out = vec![0; self.bytes(rows, depth)];
        let (ti, tj) = self.tiles(rows, depth);
        let (tr, td) = (self.tile.0 as usize, self.tile.1 as usize);
        for (n, tile) in out.chunks_mut(self.tile_bytes() as usize).enumerate().take(ti * tj) {
            let (i, j) = (n / tj * tr, n % tj * td);
            let code = |r: u32, k: u32| {
                let (r, k) = (i + r as usize, j + k as usize);
                (r < rows && k < depth).then(|| codes[r * depth + k])
            };
            self.pack_tile(code, tile);
        }
        out
    }

    /// What [`pack`](Self::pack) was given.
    pub fn unpack(&self, bytes: &[u8], rows: usize, depth: usize) -> Vec<u64> {
        let mut out = vec![0; rows * depth];
        let (_, tj) = self.tiles(rows, depth);
        let (tr, td) = (self.tile.0 as usize, self.tile.1 as usize);
        for (n, tile) in bytes.chunks(self.tile_bytes() as usize).enumerate() {
            let codes = self.unpack_tile(tile);
            let (i, j) = (n / tj * tr, n % tj * td);
            for r in 0..tr.min(rows.saturating_sub(i)) {
                for k in 0..td.min(depth.saturating_sub(j)) {
                    out[(i + r) * depth + j + k] = codes[r * td + k];
                }
            }
        }
        out
    }

    /// A number that tells recipes apart, for files: FNV-1a over all that decides where a bit goes.
    pub fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut eat = |n: u64| {
            for byte in n.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
        };
        self.elem.to_string().bytes().for_each(|b| eat(b.into()));
        eat(self.tile.0.into());
        eat(self.tile.1.into());
        eat(self.form.lane().into());
        for (word, bit) in self.placement.members.iter().flat_map(|m| &m.bits) {
            eat((16 * word + bit).into());
        }
        for axis in &self.map.axes {
            axis.thread.iter().chain(&axis.register).for_each(|c| eat((*c).into()));
        }
        hash
    }
}

/// A thread's word: where thread 0's is, and how far apart the threads' are.
#[derive(Clone, Copy, Debug)]
struct WordAt {
    base: u32,
    stride: u32,
}

impl WordAt {
    fn of(self, thread: u32) -> u32 {
        self.base + self.stride * thread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fragments::Tiling;
    use crate::scheduled::ir::{MmaAtom, MmaType};
    use proptest::prelude::*;

    fn tiling(bn: u32, bk: u32, wn: u32) -> Tiling {
        let atom = MmaAtom { a: MmaType::F16, b: MmaType::F16 };
        Tiling { bm: 64, bn, bk, wm: 1, wn, atom, interleave: true }
    }

    fn types() -> Vec<ElemType> {
        let mut all: Vec<ElemType> = (1..=8).flat_map(|w| [ElemType::Uint(w), ElemType::Int(w)]).collect();
        all.extend((1..=8).map(ElemType::Bipolar));
        all.push(ElemType::Small { exponent: 2, mantissa: 1 });
        all.push(ElemType::Small { exponent: 4, mantissa: 3 });
        all.push(ElemType::Small { exponent: 3, mantissa: 2 });
        all
    }

    #[test]
    fn a_nibble_is_where_the_picture_says() {
        let t = tiling(64, 32, 2);
        let recipe =
            Recipe::new(ElemType::Uint(4), Toward::F16, &t.b_part(32, &[true, false]), 2).expect("a recipe");
        assert_eq!(recipe.chunks(), [(0, 4)]);
        // Thread 0 holds k = 0 and 1 of column 0 in registers 0 and 1: the lowest fields of the two halves.
        let codes = |r: u32, k: u32| (r == 0 && k < 2).then_some(u64::from(k + 10));
        let mut tile = vec![0; recipe.tile_bytes() as usize];
        recipe.pack_tile(codes, &mut tile);
        assert_eq!(tile[..4], [10, 0, 11, 0]);
    }

    proptest! {
        #[test]
        fn unpacking_undoes_packing(
            ty in proptest::sample::select(types()),
            toward in proptest::sample::select(vec![Toward::F16, Toward::Bf16, Toward::Bytes, Toward::Codes]),
            (bn, bk, wn) in proptest::sample::select(vec![(64, 32, 1), (64, 64, 2), (128, 32, 4), (128, 64, 2), (96, 64, 1)]),
            rows in 1usize..200,
            depth in 1usize..150,
            seed: u64,
        ) {
            let Some(recipe) = Recipe::new(ty, toward, &tiling(bn, bk, wn).b_part(bk, &[true, false]), wn) else {
                return Ok(());
            };
            let mask = (1u64 << ty.bits()) - 1;
            let mut x = seed | 1;
            let codes: Vec<u64> = (0..rows * depth).map(|_| {
                x ^= x << 13;
                x ^= x >> 7;
                x ^= x << 17;
                x & mask
            }).collect();
            let packed = recipe.pack(&codes, rows, depth);
            prop_assert_eq!(packed.len() * 8, {
                let (i, j) = recipe.tiles(rows, depth);
                i * j * (bn * bk * ty.bits()) as usize
            });
            prop_assert_eq!(recipe.unpack(&packed, rows, depth), codes);
        }
    }
}
