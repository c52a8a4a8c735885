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
//! anyway ([`Form::coding`]). Storage is exactly as many bits per element as the type has.

pub mod floats;
pub mod placement;
pub mod storage;

use crate::layout::Layout;
use crate::tile::ir::ElemType;
use crate::warp::tilemap::TileMap;
pub use placement::{Form, Member, Placement, Toward};
pub use storage::{Storage, StorageError};

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
    /// Neighbouring warps that hold the same elements.
    pub same: u32,
    /// Of the fragment's registers and lanes, so many neighbours along k, 2^shift, share an element.
    pub shift: u32,
    /// Which bits of the lane's number tell elements apart.
    pub lanes: u32,
    /// By register of the fragment, which of the thread's elements it is.
    elements: Vec<u32>,
    /// Which element of the tile, on (row, k), each register of each thread has.
    map: TileMap,
}

/// Elements of a group of words: of so many, or a multiple, a thread holds whole words.
pub fn group_values(elem: ElemType, toward: Toward) -> u32 {
    match toward.form(elem) {
        Form::Planes => 32,
        _ => 32 >> elem.bits().trailing_zeros(),
    }
}

impl Recipe {
    /// The storage for a fragment's layout on (row, k), of which `warps` warps hold different elements, `same` neighbours the same, and
    /// 2^shift neighbours along k share one; `None` where a thread's elements fill no whole number of groups, or a tile no whole accesses.
    pub fn new(
        elem: ElemType,
        toward: Toward,
        layout: &Layout,
        (warps, same): (u32, u32),
        shift: u32,
    ) -> Option<Recipe> {
        let mut map = TileMap::of(layout);
        let bits = 5 + warps.trailing_zeros() as usize;
        for axis in &mut map.axes {
            axis.thread.drain(5..5 + same.trailing_zeros() as usize);
            axis.thread.truncate(bits);
        }
        let shape = layout.shape();
        let [(_, rows), (_, depth)] = shape[..] else { return None };
        let (map, lanes, elements) = shared(map, shift);
        let form = toward.form(elem);
        let placement = Placement::new(elem, form);
        let values = group_values(elem, toward) as usize;
        if map.registers == 0 || !map.registers.is_multiple_of(values) || !depth.is_multiple_of(1 << shift) {
            return None;
        }
        let words = (map.registers / values) as u32 * placement.words;
        let (tile, threads) = ((rows, depth >> shift), warps << lanes.count_ones());
        let recipe =
            Recipe { elem, form, tile, threads, placement, words, same, shift, lanes, elements, map };
        recipe.tile_bytes().is_multiple_of(16).then_some(recipe)
    }

    /// Which of the thread's elements a register of the fragment is.
    pub fn element(&self, register: usize) -> u32 {
        self.elements[register]
    }

    /// The chunks of a thread's words: the first word and how many.
    pub fn chunks(&self) -> Vec<(u32, u32)> {
        Storage::chunks(self.words)
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
        (&self.placement.members[(member % n) as usize], group, self.form.lane_at(register % lanes))
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

    /// Where every bit lies, which is what files say of themselves.
    pub fn storage(&self) -> Storage {
        let code = |m: &Member, lane: u32| m.bits.iter().map(|(w, b)| 32 * w + b + lane).collect();
        let form = self.form;
        let codes = |m| (0..32 / form.lane()).map(move |n| code(m, form.lane_at(n)));
        let (turn, flip) = self.form.coding(self.elem);
        let axis = |n: usize| self.map.axes.get(n).cloned().unwrap_or_default();
        Storage {
            elem: self.elem,
            tile: self.tile,
            threads: self.threads,
            words: self.words,
            turn: turn as u32,
            flip: flip as u32,
            group_words: self.placement.words,
            group: self.placement.members.iter().flat_map(codes).collect(),
            axes: [axis(0), axis(1)],
        }
    }

    /// One tile from the codes of its elements; those that do not exist are 0.
    pub fn pack_tile(&self, code: impl Fn(u32, u32) -> Option<u64>, out: &mut [u8]) {
        self.storage().packer().pack_tile(code, out);
    }

    /// The codes of one tile's elements, row by row.
    pub fn unpack_tile(&self, bytes: &[u8]) -> Vec<u64> {
        let mut codes = vec![0; (self.tile.0 * self.tile.1) as usize];
        let depth = self.tile.1;
        self.storage().packer().unpack_tile(bytes, |r, k, code| codes[(r * depth + k) as usize] = code);
        codes
    }
}

/// A fragment of which 2^shift neighbours along k share an element: each element once, the bits of the lane's number that still tell elements
/// apart, and which element each register is.
fn shared(mut map: TileMap, shift: u32) -> (TileMap, u32, Vec<u32>) {
    let Some(along) = map.axes.last_mut() else { return (map, 0, Vec::new()) };
    along.thread.iter_mut().chain(&mut along.register).for_each(|c| *c >>= shift);
    let lanes = (0..5).filter(|b| map.axes.iter().any(|a| a.thread[*b] != 0)).fold(0, |all, b| all | 1 << b);
    let distinct = map.distinct();
    let at = |r: usize| map.axes.iter().map(|a| a.register[r]).collect::<Vec<u32>>();
    let number = |r: usize| distinct.iter().position(|d| at(*d) == at(r)).map_or(0, |n| n as u32);
    let elements = match shift {
        0 => (0..map.registers as u32).collect(),
        _ => (0..map.registers).map(number).collect(),
    };
    for axis in &mut map.axes {
        let mut bit = 0;
        axis.thread.retain(|_| {
            bit += 1;
            bit > 5 || lanes >> (bit - 1) & 1 == 1
        });
        axis.register = distinct.iter().map(|r| axis.register[*r]).collect();
    }
    map.registers = distinct.len();
    (map, lanes, elements)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fragments::Tiling;
    use crate::scheduled::ir::{MmaAtom, MmaType};

    fn tiling(bn: u32, bk: u32, wn: u32) -> Tiling {
        let atom = MmaAtom { a: MmaType::F16, b: MmaType::F16 };
        Tiling { bm: 64, bn, bk, wm: 1, wn, same: 1, atom, interleave: true }
    }

    #[test]
    fn a_nibble_is_where_the_picture_says() {
        let t = tiling(64, 32, 2);
        let recipe = Recipe::new(ElemType::Uint(4), Toward::F16, &t.b_part(32, &[true, false]), (2, 1), 0)
            .expect("a recipe");
        assert_eq!(recipe.chunks(), [(0, 4)]);
        // Thread 0 holds k = 0 and 1 of column 0 in registers 0 and 1: the lowest fields of the two halves.
        let codes = |r: u32, k: u32| (r == 0 && k < 2).then_some(u64::from(k + 10));
        let mut tile = vec![0; recipe.tile_bytes() as usize];
        recipe.pack_tile(codes, &mut tile);
        assert_eq!(tile[..4], [10, 0, 11, 0]);
    }

    /// Lanes that differ in two bits of k alone read the same bytes, and the two halves of a register are one code.
    #[test]
    fn eight_neighbours_share_a_code() {
        let t = tiling(64, 64, 2);
        let layout = t.b_part(64, &[true, false]);
        let recipe = Recipe::new(ElemType::Uint(8), Toward::Codes, &layout, (2, 1), 3).expect("a recipe");
        assert_eq!((recipe.tile, recipe.threads, recipe.lanes), ((64, 8), 16, 0b11100));
        assert_eq!(recipe.tile_bytes(), 64 * 8);
        assert_eq!(recipe.element(0), recipe.element(1));
        assert_ne!(recipe.element(0), recipe.element(2));
        let code = |r: u32, k: u32| Some(u64::from((r * 8 + k) % 251));
        let mut tile = vec![0; recipe.tile_bytes() as usize];
        recipe.pack_tile(code, &mut tile);
        let back = recipe.unpack_tile(&tile);
        assert!((0..64).all(|r| (0..8).all(|k| Some(back[(r * 8 + k) as usize]) == code(r, k))));
    }
}
