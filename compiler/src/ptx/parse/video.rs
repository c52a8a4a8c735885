//! Video instructions.

use super::Parsed;
use super::body::Body;
use super::mods::Mods;
use super::module::Parser;
use crate::ptx::op::{Part, Video, VideoOp, VideoSource};
use crate::ptx::types::{CmpOp, Spelled, Type};

const W: Type = Type::B32;

impl<'a> Parser<'a> {
    pub(super) fn video(
        &mut self,
        body: &mut Body<'a>,
        head: &str,
        mut m: Mods<'a>,
    ) -> Parsed<Option<Video>> {
        let (name, lanes) = match head.strip_suffix(['2', '4']) {
            Some(name) => (name, head.as_bytes()[head.len() - 1] - b'0'),
            None => (head, 1),
        };
        let Some(op) = VideoOp::from_text(name) else { return Ok(None) };
        let alone = matches!(op, VideoOp::Shl | VideoOp::Shr | VideoOp::Mad);
        if alone && lanes > 1 || op == VideoOp::Average && lanes == 1 {
            return Ok(None);
        }
        let shift = matches!(op, VideoOp::Shl | VideoOp::Shr);
        let ty = if op == VideoOp::Set { Type::U32 } else { m.ty()? };
        let (aty, bty) = (m.ty()?, m.ty()?);
        let words = [ty, aty, bty].iter().all(|ty| matches!(ty, Type::U32 | Type::S32));
        m.require(
            words && !(shift && bty != Type::U32),
            "the types are .u32 or .s32, that of an amount .u32",
        )?;
        let plus_one = op == VideoOp::Mad && m.eat("po");
        let sat = op != VideoOp::Set && m.eat("sat");
        let scale = match op {
            VideoOp::Mad if m.eat("shr7") => 7,
            VideoOp::Mad if m.eat("shr15") => 15,
            _ => 0,
        };
        let wrap = shift && m.eat("wrap");
        if shift && !wrap {
            m.expect("clamp")?;
        }
        let cmp: Option<CmpOp> = if op == VideoOp::Set { Some(m.need("comparison")?) } else { None };
        m.require(
            cmp.is_none_or(|cmp| {
                matches!(cmp, CmpOp::Eq | CmpOp::Ne | CmpOp::Lt | CmpOp::Le | CmpOp::Gt | CmpOp::Ge)
            }),
            "the comparison is .eq, .ne, .lt, .le, .gt or .ge",
        )?;
        let second = if op == VideoOp::Mad { None } else { m.take() };
        m.require(
            lanes == 1 || matches!(second, None | Some(crate::ptx::op::VideoSecond::Add)),
            "values side by side are added up or not",
        )?;
        m.end()?;
        let dst = self.reg(body, W)?;
        let part = match self.cursor.dotted() {
            None => Video::default_mask(lanes),
            Some(text) if lanes == 1 => self.part(text)?,
            Some(text) => self.mask(text, lanes)?,
        };
        self.comma()?;
        let a = self.video_source(body, lanes, false)?;
        self.comma()?;
        let b = self.video_source(body, lanes, true)?;
        let third = lanes > 1 || op == VideoOp::Mad || second.is_some() || part != Part::Whole;
        let c = if third {
            self.comma()?;
            let negated = self.minus();
            Some(VideoSource { value: self.src(body, W)?, part: Part::Whole, negated })
        } else {
            None
        };
        let negations = [&a, &b].iter().any(|source| source.negated) || c.is_some_and(|c| c.negated);
        m.require(!negations || op == VideoOp::Mad && !plus_one, "no operand is negated here")?;
        m.require(
            lanes > 1 || part == Part::Whole || second.is_none() && op != VideoOp::Mad,
            "a result that goes to a part is not combined with the third operand",
        )?;
        Ok(Some(Video {
            op,
            lanes,
            ty,
            aty,
            bty,
            sat,
            wrap,
            plus_one,
            scale,
            cmp,
            second,
            dst,
            part,
            a,
            b,
            c,
        }))
    }

    /// Whether a `-` stands before a register; takes it.
    fn minus(&mut self) -> bool {
        let before = self.cursor.clone();
        let found = self.cursor.eat(b'-') && {
            let behind = self.cursor.clone();
            let named = self.cursor.name().is_some();
            self.cursor.rewind(behind);
            named
        };
        if !found {
            self.cursor.rewind(before);
        }
        found
    }

    fn video_source(&mut self, body: &mut Body<'a>, lanes: u8, right: bool) -> Parsed<VideoSource> {
        let negated = self.minus();
        let value = self.src(body, W)?;
        let part = match self.cursor.dotted() {
            None => Video::default_part(lanes, right),
            Some(text) if lanes == 1 => self.part(text)?,
            Some(text) => self.picks(text, lanes)?,
        };
        Ok(VideoSource { value, part, negated })
    }

    /// `.h0`, `.b3`.
    fn part(&mut self, text: &str) -> Parsed<Part> {
        match text.as_bytes() {
            [b'.', b'h', n @ b'0'..=b'1'] => Ok(Part::Half(n - b'0')),
            [b'.', b'b', n @ b'0'..=b'3'] => Ok(Part::Byte(n - b'0')),
            _ => Err(self.cursor.syntax("`.h0`, `.h1` or `.b0` to `.b3`")),
        }
    }

    /// The digits behind `.h` or `.b`, highest value first.
    fn digits<'t>(&mut self, text: &'t str, lanes: u8) -> Parsed<&'t [u8]> {
        let prefix = if lanes == 2 { ".h" } else { ".b" };
        match text.strip_prefix(prefix).map(str::as_bytes) {
            Some(digits) if !digits.is_empty() && digits.len() <= lanes.into() => Ok(digits),
            _ => Err(self.cursor.syntax(if lanes == 2 { "`.h` and digits" } else { "`.b` and digits" })),
        }
    }

    fn picks(&mut self, text: &str, lanes: u8) -> Parsed<Part> {
        let digits = self.digits(text, lanes)?;
        let mut picks = [0; 4];
        for (pick, &digit) in picks.iter_mut().zip(digits.iter().rev()) {
            *pick = digit.wrapping_sub(b'0');
        }
        if digits.len() != usize::from(lanes) || picks.iter().any(|&pick| pick >= 2 * lanes) {
            return Err(self.cursor.syntax("a digit for each value, 0 to 3 of halves, 0 to 7 of bytes"));
        }
        Ok(Part::Picks(picks))
    }

    fn mask(&mut self, text: &str, lanes: u8) -> Parsed<Part> {
        let digits = self.digits(text, lanes)?;
        let falling = digits.windows(2).all(|pair| pair[0] > pair[1]);
        if !falling || digits.iter().any(|digit| !(b'0'..b'0' + lanes).contains(digit)) {
            return Err(self.cursor.syntax("the values that are written, highest first"));
        }
        Ok(Part::Mask(digits.iter().fold(0, |mask, digit| mask | 1 << (digit - b'0'))))
    }
}
