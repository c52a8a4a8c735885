//! Tensor maps: the 128 bytes that `cp.async.bulk.tensor` reads.
//!
//! The object is opaque to a kernel, except that `tensormap.replace` sets its fields one by one. The layout here follows the one that
//! public sources give for sm_90 where they agree, so that a map which was made elsewhere has a chance to be understood:
//!
//! ```text
//! @0  u64     global address
//! @8  u32     bits 4-6 rank - 1, 7-10 element type, 11-12 interleave, 13-14 swizzle, 15 fill with NaN
//! @12 u32[4]  strides of dimensions 1 to 4 in 16 bytes, low 32 bits;   @28 their next four bits, packed
//! @32 u32[5]  extents - 1
//! @52 u32     element strides - 1 (three bits each), bits 24-31 box[0] - 1;   @56 box[1] - 1 to box[4] - 1, a byte each
//! ```
//! Dimension 0 is the innermost; its elements are adjacent.
//!
//! **Windows** (im2col). Such a map has bit 0 of @8 set. Dimensions are channels, one to three of an image, and the number of the image. A copy takes
//! `channels` of each of `pixels` pixels, one after the other from where it starts: along the image's first dimension up to the end of a box, then
//! from the box's beginning in the next line, and so on, image after image. The box is the image less `lower` at its beginning and plus `upper` at its end. To each
//! pixel the copy's offsets (the place in a filter) are added, and what lies outside of the image then is filled:
//!
//! ```text
//! an image of 5 pixels, a filter of 3, padding 1:   lower -1, upper -1   the box is -1..4
//! offset 0: pixels -1 0 1 2 3    offset 1: 0 1 2 3 4    offset 2: 1 2 3 4 5        (-1 and 5 are filled)
//! ```
//! @52 bits 24-31 are channels - 1 there, @56 is pixels - 1, and @60 holds the corners, `lower` then `upper`, in two fields of 16, four of 8 or six of 5 bits.

use super::super::program::{BulkType, MapField};

/// Bytes of a tensor map.
pub const MAP_BYTES: usize = 128;

/// How rows of a box are permuted in shared memory, in groups of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swizzle {
    None,
    /// Within rows of 32, 64 or 128 bytes.
    Rows(u32),
}

impl Swizzle {
    /// Bytes of a permuted row; `None` for none.
    pub fn span(self) -> Option<u32> {
        match self {
            Swizzle::None => None,
            Swizzle::Rows(bytes) => Some(bytes),
        }
    }

    /// Where the byte at `address` of shared memory really lies.
    #[inline]
    pub fn apply(self, address: u32) -> u32 {
        match self {
            Swizzle::None => address,
            Swizzle::Rows(bytes) => address ^ ((address >> 7 & (bytes / 16 - 1)) << 4),
        }
    }
}

/// Where a copy starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Innermost first.
    pub coords: [i32; 5],
    /// Of windows: in the dimensions of the image, innermost first.
    pub offsets: [u16; 3],
}

/// What a copy of windows takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Where the box of a pixel's coordinates begins, innermost first.
    pub lower: [i32; 3],
    /// What is added to the image's extent where it ends.
    pub upper: [i32; 3],
    /// Channels of a pixel.
    pub channels: u32,
    /// Pixels of a copy.
    pub pixels: u32,
}

/// Bits of a corner's coordinate, for a rank of 3, 4 or 5.
fn corner_bits(rank: usize) -> u32 {
    [16, 8, 5][rank.clamp(3, 5) - 3]
}

/// A tensor and the box that copies move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorMap {
    pub address: u64,
    pub ty: BulkType,
    pub rank: usize,
    /// Elements, innermost first.
    pub dims: [u64; 5],
    /// Bytes from one element to the next; the first is the element itself.
    pub strides: [u64; 5],
    pub boxes: [u32; 5],
    pub element_strides: [u32; 5],
    pub swizzle: Swizzle,
    /// 0: none. Nothing else is supported.
    pub interleave: u32,
    pub nan_fill: bool,
    /// Copies take windows of an image rather than `boxes`.
    pub window: Option<Window>,
}

/// Numbers of element types in the object.
const TYPES: [(BulkType, u32); 13] = [
    (BulkType::U8, 0),
    (BulkType::U16, 1),
    (BulkType::U32, 2),
    (BulkType::S32, 3),
    (BulkType::U64, 4),
    (BulkType::S64, 5),
    (BulkType::F16, 6),
    (BulkType::F32, 7),
    (BulkType::F32, 8),
    (BulkType::F64, 9),
    (BulkType::Bf16, 10),
    (BulkType::F32, 11),
    (BulkType::F32, 12),
];

fn word(bytes: &[u8; MAP_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn set_word(bytes: &mut [u8; MAP_BYTES], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn set_bits(bytes: &mut [u8; MAP_BYTES], at: usize, shift: u32, width: u32, value: u32) {
    let mask = ((1u64 << width) - 1) as u32;
    let old = word(bytes, at);
    set_word(bytes, at, (old & !(mask << shift)) | (value & mask) << shift);
}

/// Sets one field as `tensormap.replace` does: `value` in that instruction's terms, `ord` the dimension.
pub fn replace(bytes: &mut [u8; MAP_BYTES], field: MapField, ord: u32, value: u64) {
    let at = ord.min(4);
    let low = value as u32;
    match field {
        MapField::Address => bytes[..8].copy_from_slice(&value.to_le_bytes()),
        MapField::Rank => set_bits(bytes, 8, 4, 3, low),
        MapField::Type => set_bits(bytes, 8, 7, 4, low),
        MapField::Interleave => set_bits(bytes, 8, 11, 2, low),
        MapField::Swizzle => set_bits(bytes, 8, 13, 2, low),
        MapField::Fill => set_bits(bytes, 8, 15, 1, low),
        MapField::Stride => {
            let at = at.min(3);
            let units = value >> 4;
            set_word(bytes, 12 + 4 * at as usize, units as u32);
            set_bits(bytes, 28, 4 * at, 4, (units >> 32) as u32);
        }
        MapField::Dim => set_word(bytes, 32 + 4 * at as usize, low.wrapping_sub(1)),
        MapField::ElementStride => set_bits(bytes, 52, 3 * at, 3, low.wrapping_sub(1)),
        MapField::Box if at == 0 => set_bits(bytes, 52, 24, 8, low.wrapping_sub(1)),
        MapField::Box => bytes[55 + at as usize] = low.wrapping_sub(1) as u8,
    }
}

impl TensorMap {
    /// The object in memory.
    pub fn encode(&self) -> [u8; MAP_BYTES] {
        let mut bytes = [0; MAP_BYTES];
        let ty = TYPES.iter().find(|(ty, _)| *ty == self.ty).map_or(0, |(_, number)| *number);
        let swizzle = match self.swizzle {
            Swizzle::None => 0,
            Swizzle::Rows(span) => (span / 32).ilog2() + 1,
        };
        let mut set = |field, ord: usize, value: u64| replace(&mut bytes, field, ord as u32, value);
        set(MapField::Address, 0, self.address);
        set(MapField::Rank, 0, self.rank as u64 - 1);
        set(MapField::Type, 0, ty.into());
        set(MapField::Interleave, 0, self.interleave.into());
        set(MapField::Swizzle, 0, swizzle.into());
        set(MapField::Fill, 0, self.nan_fill.into());
        for d in 0..self.rank {
            set(MapField::Dim, d, self.dims[d]);
            set(MapField::Box, d, self.boxes[d].into());
            set(MapField::ElementStride, d, self.element_strides[d].into());
            if d > 0 {
                set(MapField::Stride, d - 1, self.strides[d]);
            }
        }
        if let Some(window) = self.window {
            set_bits(&mut bytes, 8, 0, 1, 1);
            replace(&mut bytes, MapField::Box, 0, window.channels.into());
            set_word(&mut bytes, 56, window.pixels.wrapping_sub(1));
            let bits = corner_bits(self.rank);
            for d in 0..self.rank.saturating_sub(2).min(3) {
                let corner = |upper: usize| bits * (upper * (self.rank - 2) + d) as u32;
                set_bits(&mut bytes, 60, corner(0), bits, window.lower[d] as u32);
                set_bits(&mut bytes, 60, corner(1), bits, window.upper[d] as u32);
            }
        }
        bytes
    }

    /// Reads an object.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn decode(bytes: &[u8; MAP_BYTES]) -> Result<TensorMap, String> {
        let flags = word(bytes, 8);
        let number = flags >> 7 & 15;
        let Some(&(ty, _)) = TYPES.iter().find(|(_, n)| *n == number) else {
            return Err(format!("no tensor map: its element type is {number}"));
        };
        let rank = (flags >> 4 & 7) as usize + 1;
        let windows = flags & 1 != 0;
        if rank > 5 || (windows && rank < 3) {
            return Err(format!("no tensor map: its rank is {rank}"));
        }
        let mut map = TensorMap {
            address: u64::from(word(bytes, 0)) | u64::from(word(bytes, 4)) << 32,
            ty,
            rank,
            dims: [1; 5],
            strides: [ty.bytes() as u64, 0, 0, 0, 0],
            boxes: [1; 5],
            element_strides: [1; 5],
            swizzle: match flags >> 13 & 3 {
                0 => Swizzle::None,
                n => Swizzle::Rows(16 << n),
            },
            interleave: flags >> 11 & 3,
            nan_fill: flags >> 15 & 1 != 0,
            window: None,
        };
        for d in 0..rank {
            map.dims[d] = u64::from(word(bytes, 32 + 4 * d)) + 1;
            map.element_strides[d] = (word(bytes, 52) >> (3 * d) & 7) + 1;
            if !windows {
                map.boxes[d] =
                    if d == 0 { (word(bytes, 52) >> 24) + 1 } else { u32::from(bytes[55 + d]) + 1 };
            }
            if d > 0 {
                let high = u64::from(word(bytes, 28) >> (4 * (d - 1)) & 15);
                map.strides[d] = (u64::from(word(bytes, 12 + 4 * (d - 1))) | high << 32) << 4;
            }
        }
        if windows {
            let (bits, image) = (corner_bits(rank), rank - 2);
            let corner = |number: usize| {
                let field = word(bytes, 60) >> (bits * number as u32) << (32 - bits);
                field as i32 >> (32 - bits)
            };
            let mut window = Window {
                lower: [0; 3],
                upper: [0; 3],
                channels: (word(bytes, 52) >> 24) + 1,
                pixels: word(bytes, 56).saturating_add(1),
            };
            for d in 0..image {
                (window.lower[d], window.upper[d]) = (corner(d), corner(image + d));
            }
            map.window = Some(window);
        }
        map.check()?;
        Ok(map)
    }

    /// The rules that the driver enforces where maps are made, as far as copies depend on them.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn check(&self) -> Result<(), String> {
        if self.interleave != 0 {
            return Err("an interleaved tensor map, which is not supported".into());
        }
        if !self.address.is_multiple_of(16) {
            return Err(format!("a tensor map of address {:#x}, no multiple of 16", self.address));
        }
        if let Some(window) = self.window {
            if self.rank < 3 {
                return Err(format!("an im2col tensor map of rank {}; it has 3 to 5", self.rank));
            }
            if window.channels > 256 || window.pixels > 1024 {
                let Window { channels, pixels, .. } = window;
                return Err(format!(
                    "an im2col tensor map of {channels} channels and {pixels} pixels; at most 256 and 1024"
                ));
            }
            if self.element_strides[0] != 1 {
                return Err("an im2col tensor map that skips channels".into());
            }
            for d in 0..self.rank - 2 {
                let (lower, upper) = (window.lower[d], window.upper[d]);
                let half = 1 << (corner_bits(self.rank) - 1);
                if !(-half..half).contains(&lower) || !(-half..half).contains(&upper) {
                    return Err(format!(
                        "an im2col tensor map with corners {lower} and {upper}; they are at least {} and at most {}",
                        -half,
                        half - 1
                    ));
                }
                if i64::from(lower) >= self.dims[d + 1] as i64 + i64::from(upper) {
                    return Err(format!("an im2col tensor map whose box {lower}, {upper} is empty"));
                }
            }
        }
        let inner = self.row_bytes();
        if !inner.is_multiple_of(16) {
            return Err(format!("a tensor map whose box has rows of {inner} bytes, no multiple of 16"));
        }
        if let Some(span) = self.swizzle.span()
            && inner > span
        {
            return Err(format!(
                "a tensor map whose box has rows of {inner} bytes, more than its swizzle's {span}"
            ));
        }
        Ok(())
    }

    /// Elements of the box in shared memory along dimension `d`.
    pub fn extent(&self, d: usize) -> u32 {
        if let (0, Some(window)) = (d, self.window) {
            return window.channels;
        }
        self.boxes[d].div_ceil(self.element_strides[d])
    }

    /// Bytes of a row of the box.
    pub fn row_bytes(&self) -> u32 {
        self.extent(0) * self.ty.bytes() as u32
    }

    /// Bytes from one row to the next in shared memory: a swizzled row that is shorter than the span takes all of it.
    pub fn pitch(&self) -> u32 {
        self.swizzle.span().unwrap_or(0).max(self.row_bytes())
    }

    /// Rows of the box.
    pub fn rows(&self) -> u32 {
        if let Some(window) = self.window {
            return window.pixels;
        }
        (1..self.rank).map(|d| self.extent(d)).product()
    }

    /// Bytes that a copy counts: the whole box, inside the tensor or not.
    pub fn box_bytes(&self) -> u32 {
        self.row_bytes() * self.rows()
    }

    /// Rows that are a stride apart: the extent of dimension 1.
    pub fn run(&self) -> u32 {
        if self.window.is_some() || self.rank < 2 { 1 } else { self.extent(1) }
    }

    /// The rows of the run that begins at row `first` which lie in the tensor, each with all of its elements, and the address of the first of them; `None`
    /// if there are none, or elements are not neighbours, or not aligned to 16 bytes.
    pub fn rows_inside(&self, origin: &Origin, first: u32) -> Option<(u64, std::ops::Range<u32>)> {
        let plain = self.window.is_none() && self.rank > 1 && self.element_strides[..2] == [1, 1];
        let columns = i64::from(origin.coords[0]);
        if !plain || columns < 0 || columns + i64::from(self.boxes[0]) > self.dims[0] as i64 {
            return None;
        }
        let start = i64::from(origin.coords[1]);
        let skipped = (-start).clamp(0, self.boxes[1].into());
        let end = (self.dims[1] as i64 - start).clamp(skipped, self.boxes[1].into());
        let (address, _) = self.row(origin, first + skipped as u32)?;
        (skipped < end && address.is_multiple_of(16)).then_some((address, skipped as u32..end as u32))
    }

    /// Of windows: where dimension `d` (an image's) is after so many steps from `start`, and how often it began anew.
    fn step(&self, window: &Window, d: usize, start: i64, steps: i64) -> (i64, i64) {
        let step = i64::from(self.element_strides[d]);
        let (lower, end) =
            (i64::from(window.lower[d - 1]), self.dims[d] as i64 + i64::from(window.upper[d - 1]));
        let steps_to_end = |from: i64| ((end - from + step - 1) / step).max(1);
        let first = steps_to_end(start);
        if steps < first {
            return (start + steps * step, 0);
        }
        let (line, left) = (steps_to_end(lower), steps - first);
        (lower + left % line * step, 1 + left / line)
    }

    /// The row (or pixel) `number` of the box at `origin`: its address where it lies in the tensor, and the range of its elements that do.
    pub fn row(&self, origin: &Origin, number: u32) -> Option<(u64, std::ops::Range<u32>)> {
        let coords = &origin.coords;
        let mut left = number;
        let mut address = self.address;
        for d in 1..self.rank {
            let at = match &self.window {
                None => {
                    let extent = self.extent(d);
                    let at = i64::from(coords[d]) + i64::from(left % extent * self.element_strides[d]);
                    left /= extent;
                    at
                }
                Some(window) if d + 1 < self.rank => {
                    let (at, again) = self.step(window, d, coords[d].into(), left.into());
                    left = again as u32;
                    at + i64::from(origin.offsets[d - 1])
                }
                Some(_) => i64::from(coords[d]) + i64::from(left * self.element_strides[d]),
            };
            if at < 0 || at as u64 >= self.dims[d] {
                return None;
            }
            address = address.wrapping_add((at as u64).wrapping_mul(self.strides[d]));
        }
        let (start, step) = (i64::from(coords[0]), i64::from(self.element_strides[0]));
        let extent = i64::from(self.extent(0));
        let first = if start < 0 { (-start + step - 1) / step } else { 0 }.min(extent);
        let inside = (self.dims[0] as i64 - start + step - 1).div_euclid(step).clamp(first, extent);
        let from = address.wrapping_add_signed((start + first * step) * self.ty.bytes() as i64);
        (first < inside).then_some((from, first as u32..inside as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> TensorMap {
        TensorMap {
            address: 0x10_0000_0000,
            ty: BulkType::F16,
            rank: 3,
            dims: [100, 7, 3, 1, 1],
            strides: [2, 208, 208 * 7, 0, 0],
            boxes: [32, 4, 2, 1, 1],
            element_strides: [1; 5],
            swizzle: Swizzle::Rows(64),
            interleave: 0,
            nan_fill: false,
            window: None,
        }
    }

    fn at(coords: [i32; 5]) -> Origin {
        Origin { coords, offsets: [0; 3] }
    }

    #[test]
    fn the_object_holds_every_field() {
        assert_eq!(TensorMap::decode(&map().encode()), Ok(map()));
        let wide =
            TensorMap { strides: [2, 1 << 38, 208 * 7, 0, 0], ty: BulkType::Bf16, nan_fill: true, ..map() };
        assert_eq!(TensorMap::decode(&wide.encode()), Ok(wide));
        for (rank, corner) in [(3, 300), (4, 100), (5, 9)] {
            let some = |value: i32| std::array::from_fn(|d| if d + 2 < rank { value - d as i32 } else { 0 });
            let window = Window { lower: some(-corner), upper: some(corner), channels: 32, pixels: 1000 };
            let mut windows = TensorMap {
                rank,
                boxes: [1; 5],
                window: Some(window),
                strides: [2, 208, 208 * 7, 0, 0],
                ..map()
            };
            (3..rank).for_each(|d| windows.strides[d] = 4096 * d as u64);
            assert_eq!(TensorMap::decode(&windows.encode()), Ok(windows));
        }
    }

    #[test]
    fn rows_are_clipped_to_the_tensor() {
        let m = map();
        assert_eq!((m.row_bytes(), m.pitch(), m.rows(), m.box_bytes()), (64, 64, 8, 512));
        assert_eq!(m.row(&at([0, 0, 0, 0, 0]), 5), Some((m.address + 208 + 208 * 7, 0..32)));
        assert_eq!(m.row(&at([90, 0, 0, 0, 0]), 0), Some((m.address + 180, 0..10)));
        assert_eq!(m.row(&at([-3, 1, 0, 0, 0]), 0), Some((m.address + 208, 3..32)));
        assert_eq!(m.row(&at([0, 5, 0, 0, 0]), 2), None);
        assert_eq!(m.row(&at([0, -1, 0, 0, 0]), 0), None);
        assert_eq!(m.row(&at([100, 0, 0, 0, 0]), 0), None);
    }

    #[test]
    fn swizzles_permute_groups_of_16_bytes() {
        assert_eq!(Swizzle::Rows(128).apply(0x80), 0x90);
        assert_eq!(Swizzle::Rows(128).apply(0x3f0), 0x380);
        assert_eq!(Swizzle::Rows(64).apply(0x80), 0x90);
        assert_eq!(Swizzle::Rows(64).apply(0x200), 0x200);
        assert_eq!(Swizzle::Rows(32).apply(0x80), 0x90);
        assert_eq!(Swizzle::None.apply(0x80), 0x80);
    }
}
