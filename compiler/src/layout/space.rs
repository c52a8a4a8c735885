//! Names: the dimensions of the hardware, the axes of a tile, and lists of named bit fields.

use std::fmt;
use std::hash::Hash;

/// A dimension of the machine that holds values: which bit of a word, which register, which lane …
///
/// The order is the order of significance in a layout's input index: bits of a word are lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    /// A bit (or a packed value) inside one stored word.
    Bit,
    /// An element register of a thread. Two 16-bit elements `2i` and `2i+1` share one 32-bit register.
    Reg,
    /// A lane of a warp.
    Lane,
    /// A warp of a role instance.
    Warp,
    /// An instance of a role (a consumer warpgroup).
    Inst,
    /// A CTA of a cluster.
    Cta,
    /// A slot of a pipelined buffer.
    Slot,
    /// An iteration of a loop.
    Loop,
    /// A segment: a part of a value that is handled one after the other.
    Seg,
}

/// An axis of a tile. What the number means belongs to the user of the algebra; names are supplied for printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Axis(pub u16);

/// The one output of a memory layout: a byte offset from the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset;

/// A name of a bit field. Sealed in spirit: [`Dim`], [`Axis`] and [`Offset`].
pub trait Label: Copy + Eq + Ord + Hash + fmt::Debug + fmt::Display {
    /// Whether a field of zero bits is still worth a mention: an axis of extent one is, an absent lane is not.
    const KEEP_EMPTY: bool;

    /// Fields are concatenated in ascending place, lowest bits first.
    fn place(self) -> u32;

    /// Whether an odd digit (the 3 of 96 = 3·32) may live here.
    fn takes_odd(self) -> bool;
}

impl Label for Dim {
    const KEEP_EMPTY: bool = false;

    fn place(self) -> u32 {
        self as u32
    }

    fn takes_odd(self) -> bool {
        matches!(self, Dim::Reg | Dim::Loop | Dim::Seg | Dim::Inst | Dim::Cta)
    }
}

impl Label for Axis {
    const KEEP_EMPTY: bool = true;

    /// Row-major: the last axis has the lowest bits.
    fn place(self) -> u32 {
        u16::MAX as u32 - self.0 as u32
    }

    fn takes_odd(self) -> bool {
        true
    }
}

impl Label for Offset {
    const KEEP_EMPTY: bool = true;

    fn place(self) -> u32 {
        0
    }

    fn takes_odd(self) -> bool {
        true
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dim::Bit => "bit",
            Dim::Reg => "reg",
            Dim::Lane => "lane",
            Dim::Warp => "warp",
            Dim::Inst => "inst",
            Dim::Cta => "cta",
            Dim::Slot => "slot",
            Dim::Loop => "loop",
            Dim::Seg => "seg",
        })
    }
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "axis{}", self.0)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("offset")
    }
}

/// Named bit fields side by side in one `u64`, each label at most once, ascending by [`Label::place`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Space<L> {
    fields: Vec<(L, u8)>,
}

impl<L: Label> Default for Space<L> {
    fn default() -> Self {
        Space { fields: Vec::new() }
    }
}

impl<L: Label> Space<L> {
    /// Sorts the fields into place; widths of a label that occurs twice add up. Total width is checked by the map.
    pub fn new(fields: impl IntoIterator<Item = (L, u8)>) -> Self {
        let mut space = Space::default();
        for (label, bits) in fields {
            space.grow(label, bits);
        }
        space
    }

    fn grow(&mut self, label: L, bits: u8) {
        if bits > 0 || L::KEEP_EMPTY {
            self.widen(label, bits);
        }
    }

    /// The space with a field for `label`, be it of no bits: the place of something that is not a bit.
    pub(super) fn mentioning(mut self, label: L) -> Self {
        self.widen(label, 0);
        self
    }

    fn widen(&mut self, label: L, bits: u8) {
        match self.fields.iter_mut().find(|f| f.0 == label) {
            Some(field) => field.1 = field.1.saturating_add(bits),
            None => {
                let at = self.fields.partition_point(|f| f.0.place() < label.place());
                self.fields.insert(at, (label, bits));
            }
        }
    }

    /// Fields from the lowest bits up.
    pub fn fields(&self) -> &[(L, u8)] {
        &self.fields
    }

    pub fn has(&self, label: L) -> bool {
        self.fields.iter().any(|f| f.0 == label)
    }

    /// Width of a field; zero where there is none.
    pub fn bits(&self, label: L) -> u32 {
        self.fields.iter().find(|f| f.0 == label).map_or(0, |f| f.1 as u32)
    }

    /// Position of a field's lowest bit; zero where there is none.
    pub fn start(&self, label: L) -> u32 {
        let mut at = 0;
        for &(l, bits) in &self.fields {
            if l == label {
                return at;
            }
            at += bits as u32;
        }
        0
    }

    /// Width of all fields together.
    pub fn total(&self) -> u32 {
        self.fields.iter().map(|f| f.1 as u32).sum()
    }

    /// Mask of a field inside the concatenation.
    pub fn mask(&self, label: L) -> u64 {
        ones(self.bits(label)) << (self.start(label) & 63)
    }

    /// The value of one field of `x`.
    pub fn get(&self, x: u64, label: L) -> u64 {
        (x & self.mask(label)) >> (self.start(label) & 63)
    }

    /// `value` moved to where `label` lives. Bits beyond the field are cut off.
    pub fn put(&self, label: L, value: u64) -> u64 {
        (value & ones(self.bits(label))) << (self.start(label) & 63)
    }

    /// The label and bit number within its field of bit `i` of the concatenation.
    pub fn locate(&self, i: u32) -> Option<(L, u32)> {
        let mut at = 0;
        for &(label, bits) in &self.fields {
            if i < at + bits as u32 {
                return Some((label, i - at));
            }
            at += bits as u32;
        }
        None
    }

    /// `x` of this space, its fields shifted up by `shift(label)` bits and laid out as `into` wants them.
    pub(super) fn transfer(&self, x: u64, into: &Space<L>, shift: impl Fn(L) -> u32) -> u64 {
        self.fields.iter().fold(0, |acc, &(label, _)| {
            acc | into.put(label, self.get(x, label).checked_shl(shift(label)).unwrap_or(0))
        })
    }
}

/// The lowest `n` bits set.
pub(super) fn ones(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}
