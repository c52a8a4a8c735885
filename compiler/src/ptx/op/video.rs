//! Video instructions: integer arithmetic on selected parts of registers, on one value or on two or four side by side.
//!
//! ```text
//! vadd.s32.u32.s32.sat.add %r1, %r2.b0, %r3.h1, %r4;   sat32(byte 0 of %r2, unsigned + high half of %r3, signed) + %r4
//! vabsdiff4.u32.u32.u32.add %r1, %r2, %r3, %r4;         %r4 + the four distances of bytes
//! vadd2.s32.s32.s32.sat %r1.h1, %r2, %r3, %r4;          high half: a sum of high halves; low half: %r4's
//! ```

use super::{Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Operand, OperandVisitor, RegId};
use crate::ptx::types::{CmpOp, Type, spelled};

spelled! {
    /// Which.
    VideoOp {
        Add = "vadd", Sub = "vsub", AbsDiff = "vabsdiff", Min = "vmin", Max = "vmax",
        Shl = "vshl", Shr = "vshr", Mad = "vmad", Set = "vset", Average = "vavrg",
    }
}

spelled! {
    /// What is done with the result and `c`.
    VideoSecond { Add = "add", Min = "min", Max = "max" }
}

/// What of a register is taken, or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All 32 bits.
    Whole,
    /// Half 0 (low) or 1.
    Half(u8),
    /// Byte 0 (lowest) to 3.
    Byte(u8),
    /// Of values side by side: for each, lowest first, the number of its half (0 to 3) or byte (0 to 7) in `b:a`.
    Picks([u8; 4]),
    /// Of a result side by side: those that are computed, a bit each; the others are `c`'s.
    Mask(u8),
}

/// A source and what of it is taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoSource {
    /// Register or literal.
    pub value: Operand,
    /// Which part.
    pub part: Part,
    /// `-` in front: `vmad` only.
    pub negated: bool,
}

/// One instruction.
#[derive(Clone, Debug, PartialEq)]
pub struct Video {
    /// Which.
    pub op: VideoOp,
    /// Values side by side: 1, 2 or 4.
    pub lanes: u8,
    /// Result, `u32` or `s32`; `u32` of `vset`.
    pub ty: Type,
    /// Left.
    pub aty: Type,
    /// Right.
    pub bty: Type,
    /// The result is clamped to its type, or to the part of it that is written.
    pub sat: bool,
    /// Amounts of shifts modulo 32 instead of at most 32.
    pub wrap: bool,
    /// `vmad`: one is added.
    pub plus_one: bool,
    /// `vmad`: bits by which the sum is shifted right: 0, 7 or 15.
    pub scale: u8,
    /// `vset`: the comparison.
    pub cmp: Option<CmpOp>,
    /// What is done with the result and `c`.
    pub second: Option<VideoSecond>,
    /// Written.
    pub dst: RegId,
    /// Which part of it; the rest is `c`'s.
    pub part: Part,
    /// Left.
    pub a: VideoSource,
    /// Right.
    pub b: VideoSource,
    /// Third.
    pub c: Option<VideoSource>,
}

impl Video {
    /// The parts that are taken where nothing is said.
    pub fn default_part(lanes: u8, right: bool) -> Part {
        match (lanes, right) {
            (2, false) => Part::Picks([0, 1, 0, 0]),
            (2, true) => Part::Picks([2, 3, 0, 0]),
            (4, false) => Part::Picks([0, 1, 2, 3]),
            (4, true) => Part::Picks([4, 5, 6, 7]),
            _ => Part::Whole,
        }
    }

    /// All values of a result.
    pub fn default_mask(lanes: u8) -> Part {
        if lanes == 1 { Part::Whole } else { Part::Mask((1 << lanes) - 1) }
    }

    fn suffix(&self, part: Part) -> String {
        let letter = if self.lanes == 2 { 'h' } else { 'b' };
        let digits = |picked: &mut dyn Iterator<Item = u8>| {
            picked.fold(format!(".{letter}"), |text, digit| format!("{text}{digit}"))
        };
        match part {
            Part::Whole => String::new(),
            Part::Half(n) => format!(".h{n}"),
            Part::Byte(n) => format!(".b{n}"),
            Part::Picks(picks) => digits(&mut picks.into_iter().take(self.lanes.into()).rev()),
            Part::Mask(mask) => digits(&mut (0..self.lanes).rev().filter(|&n| mask >> n & 1 == 1)),
        }
    }

    fn source(&self, v: &mut dyn OperandVisitor, source: &VideoSource, usual: Part) {
        if source.negated {
            v.minus();
        }
        v.value(&source.value);
        if source.part != usual {
            v.suffix(&self.suffix(source.part));
        }
    }
}

impl Instruction for Video {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        use crate::ptx::types::Spelled;
        m.op(self.op.text()).op(match self.lanes {
            2 => "2",
            4 => "4",
            _ => "",
        });
        if self.op != VideoOp::Set {
            m.m(self.ty);
        }
        m.m(self.aty).m(self.bty);
        m.flag(self.plus_one, ".po").flag(self.sat, ".sat");
        m.flag(self.scale == 7, ".shr7").flag(self.scale == 15, ".shr15");
        if matches!(self.op, VideoOp::Shl | VideoOp::Shr) {
            m.op(if self.wrap { ".wrap" } else { ".clamp" });
        }
        m.opt(self.cmp).opt(self.second);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.def(self.dst);
        if self.part != Video::default_mask(self.lanes) {
            v.suffix(&self.suffix(self.part));
        }
        self.source(v, &self.a, Video::default_part(self.lanes, false));
        self.source(v, &self.b, Video::default_part(self.lanes, true));
        if let Some(c) = &self.c {
            self.source(v, c, Part::Whole);
        }
    }
    fn kind(&self) -> OpKind {
        OpKind::Lane
    }
}
