//! Where the bits of packed codes lie in a thread's words, so that unpacking is cheap.
//!
//! A word has two *lanes* of 16 bits, and two neighbours (a *member*) have the same bits of both, so that one instruction with the same mask
//! in both lanes unpacks both; where bytes are wanted it has four of 8 bits, and a member four neighbours, and for tables eight of 4 bits. A *group* is the least number of words that members fill exactly: one word holds 16/N members where N
//! divides 16, and N words hold 16 where N is odd. Unpacking moves a member's bits to where its *form* wants them: the mantissa of a
//! magic number for integers, exponent and mantissa and sign of the format for floats. Bits that move by the same distance move
//! together, as one *piece*: a shift where the distance is not zero, and one `lop3` that picks the piece's bits out.
//!
//! ```text
//! u4 to f16, 1 word, 4 members: fields at 0, 4 | 8, 12. A code may lie at bits 0 to 6 of the mantissa, so that the third and fourth take
//!     one shift by 8 between them:   0: w & 0x000f | 0x6400      1: w & 0x00f0 | 0x6400 (16 times as much)
//!                        w' = w >> 8,  2: w' & 0x000f | 0x6400     3: w' & 0x00f0 | 0x6400           5 instructions for 8 values
//! e2m1 to f16: exponent and mantissa belong at 9 to 11, the sign at 15. Which bits lie where was searched for ([`super::floats`]).
//! ```
//!
//! Invariants: the places of a group's members are disjoint and fill its words; no place depends on anything but the type and the form.

use super::floats;
use crate::tile::ir::ElemType;

/// Bits of a lane that becomes a half.
pub const LANE: u32 = 16;

/// What unpacking makes of two neighbouring codes, in the two halves of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The mantissa's upper end of a power of two: `1024 + code · 2^at` in f16, `128 + code · 2^at` in bf16. The mantissa has `room` bits.
    Magic { room: u32 },
    /// A float whose exponent has the wrong bias: `mantissa` bits of the wide format's mantissa.
    Float { mantissa: u32 },
    /// A byte of two's complement or without sign.
    Byte,
    /// Words of single bits: as many words as a code has bits, of 32 neighbours in the order of [`Form::lane_at`].
    Planes,
    /// Codes of at most four bits, eight neighbours in the nibbles of a word: selectors of bytes.
    Nibbles,
    /// The codes themselves.
    Codes,
}

impl Form {
    /// How codes are changed before they are stored: what is added to the bits below the uppermost, wrapping, and which bits are then inverted.
    ///
    /// Signed integers are stored as the number less the least one: unpacking adds a constant anyway. Of floats with infinities or NaNs that the
    /// wide format has elsewhere those come first, so that one addition, which carries for all others, moves them there; zero stays zero bits.
    pub fn coding(self, elem: ElemType) -> (u64, u64) {
        match (elem, self) {
            // Bits that are used one by one stay what they are.
            (ElemType::Int(w), form) if form != Form::Planes => (0, 1 << (w - 1)),
            (ElemType::E4M3, Form::Float { .. }) => (1, 1),
            (ElemType::E5M2, Form::Float { mantissa: 7 }) => (4, 4),
            _ => (0, 0),
        }
    }

    /// Where in a word the lane of neighbour `n` begins. Single bits lie as eight words of bytes have theirs after an exchange of words and bits
    /// ([`crate::warp::bits`]); which neighbour is where does not matter to a product, if both its operands agree.
    pub fn lane_at(self, n: u32) -> u32 {
        if self == Form::Planes { n % 4 * 8 + n / 4 } else { n * self.lane() }
    }

    /// Bits of a lane.
    pub fn lane(self) -> u32 {
        match self {
            Form::Byte => 8,
            Form::Planes => 1,
            Form::Nibbles => 4,
            Form::Magic { .. } | Form::Float { .. } | Form::Codes => LANE,
        }
    }
}

/// The formats that unpacking may aim at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Toward {
    F16,
    Bf16,
    /// Integers of 8 bits.
    Bytes,
    /// Single bits of the codes, each on its own.
    Bits,
    /// What a table of at most sixteen values holds.
    Table,
    /// Something else: codes as integers.
    Codes,
}

impl Toward {
    /// Bits of the format's mantissa.
    fn mantissa(self) -> Option<u32> {
        match self {
            Toward::F16 => Some(10),
            Toward::Bf16 => Some(7),
            Toward::Bytes | Toward::Bits | Toward::Table | Toward::Codes => None,
        }
    }

    /// How codes of that type become the format's.
    pub fn form(self, elem: ElemType) -> Form {
        if self == Toward::Bits {
            let integer = matches!(elem, ElemType::Uint(_) | ElemType::Int(_) | ElemType::Bipolar(_));
            return if integer { Form::Planes } else { Form::Codes };
        }
        if self == Toward::Table {
            return if matches!(elem, ElemType::Uint(1..=4) | ElemType::Int(1..=4)) {
                Form::Nibbles
            } else {
                Form::Codes
            };
        }
        if self == Toward::Bytes {
            return match elem {
                ElemType::Uint(_) | ElemType::Int(_) => Form::Byte,
                ElemType::Bipolar(w) if w < 8 => Form::Byte,
                _ => Form::Codes,
            };
        }
        let Some(mantissa) = self.mantissa() else { return Form::Codes };
        match elem {
            ElemType::Uint(w) | ElemType::Int(w) if u32::from(w) <= mantissa => {
                Form::Magic { room: mantissa }
            }
            // Twice the code has to fit.
            ElemType::Bipolar(w) if u32::from(w) < mantissa => Form::Magic { room: mantissa },
            ElemType::Small { exponent, mantissa: m } if u32::from(m) <= mantissa => {
                // The format's own infinities and NaNs are in the way of a type with as wide an exponent, but for e5m2, which has them too, and
                // e5m0, whose greatest number is none of f16's.
                let fits = match self {
                    Toward::F16 => exponent < 5 || elem == ElemType::E5M2 || (exponent, m) == (5, 0),
                    _ => exponent < 8,
                };
                if fits { Form::Float { mantissa } } else { Form::Codes }
            }
            _ => Form::Codes,
        }
    }
}

/// Bits of a member that move by the same distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Word of the group.
    pub word: u32,
    /// How far to the right the word is shifted; to the left where negative.
    pub right: i32,
    /// The bits of a lane that are this piece's after the shift.
    pub mask: u32,
}

/// Two or four neighbours of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Where the code's lowest bit comes to lie.
    pub at: u32,
    pub pieces: Vec<Piece>,
    /// Word of the group and bit of the lane of each bit of the code, the lowest first.
    pub bits: Vec<(u32, u32)>,
}

/// The places of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub words: u32,
    pub members: Vec<Member>,
}

impl Placement {
    /// For codes of that type, unpacked to that form.
    pub fn new(elem: ElemType, form: Form) -> Placement {
        let width = elem.bits();
        let words = match form {
            Form::Planes => width,
            _ if width.is_power_of_two() => 1,
            _ => width >> width.trailing_zeros(),
        };
        let members = words * form.lane() / width;
        let mut free = Free { words: vec![(1 << form.lane()) - 1; words as usize] };
        let mut placed = match form {
            Form::Float { mantissa } => {
                let bits = floats::places(elem, mantissa, members);
                return Placement {
                    words,
                    members: bits.into_iter().map(|bits| member(elem, form, 0, bits)).collect(),
                };
            }
            Form::Magic { room } => integers(elem, form, room, &mut free),
            Form::Byte | Form::Nibbles | Form::Codes => integers(elem, form, form.lane(), &mut free),
            // Word after word.
            Form::Planes => Vec::new(),
        };
        // What is left of the words makes the last members, bit by bit.
        while placed.len() < members as usize {
            let bits = (0..width).filter_map(|_| free.lowest()).collect();
            placed.push(member(elem, form, lowest_place(elem, form), bits));
        }
        Placement { words, members: placed }
    }
}

/// The bits of a group's lanes that no code has yet.
struct Free {
    words: Vec<u32>,
}

impl Free {
    fn take(&mut self, word: u32, bit: u32) -> (u32, u32) {
        self.words[word as usize] &= !(1 << bit);
        (word, bit)
    }

    fn lowest(&mut self) -> Option<(u32, u32)> {
        let word = self.words.iter().position(|w| *w != 0)? as u32;
        Some(self.take(word, self.words[word as usize].trailing_zeros()))
    }
}

/// The least bit that a code's lowest may come to lie at: the values of bipolar codes are odd, twice the code and one, so that a half has no
/// bit for them beside the magic one, and in a byte the lowest bit is to be set.
fn lowest_place(elem: ElemType, form: Form) -> u32 {
    u32::from(matches!((elem, form), (ElemType::Bipolar(_), Form::Magic { .. } | Form::Byte)))
}

/// Where bit `b` of a code comes to lie.
fn place(elem: ElemType, form: Form, at: u32, b: u32) -> u32 {
    match (form, elem) {
        (Form::Float { .. }, _) if b + 1 == elem.bits() => LANE - 1,
        (Form::Float { mantissa }, ElemType::Small { mantissa: m, .. }) => mantissa - u32::from(m) + b,
        _ => at + b,
    }
}

fn member(elem: ElemType, form: Form, at: u32, bits: Vec<(u32, u32)>) -> Member {
    let mut pieces: Vec<Piece> = Vec::new();
    for (b, (word, bit)) in (0..).zip(&bits) {
        let to = place(elem, form, at, b);
        let right = *bit as i32 - to as i32;
        match pieces.iter_mut().find(|p| p.word == *word && p.right == right) {
            Some(piece) => piece.mask |= 1 << to,
            None => pieces.push(Piece { word: *word, right, mask: 1 << to }),
        }
    }
    Member { at, pieces, bits }
}

/// Fields side by side in each word; those that one shift brings into the room share it.
fn integers(elem: ElemType, form: Form, room: u32, free: &mut Free) -> Vec<Member> {
    let (width, least) = (elem.bits(), lowest_place(elem, form));
    let mut members = Vec::new();
    for word in 0..free.words.len() as u32 {
        let mut right = 0i32;
        for field in 0..form.lane() / width {
            let from = (field * width) as i32;
            let fits = |right: i32| {
                let at = from - right;
                // Plain codes and bytes have nothing to scale them back.
                let exact = !matches!(form, Form::Byte | Form::Nibbles | Form::Codes) || at == least as i32;
                at >= least as i32 && at as u32 + width <= room && exact
            };
            if !fits(right) {
                right = from - least as i32;
            }
            let bits = (0..width).map(|b| free.take(word, field * width + b)).collect();
            members.push(member(elem, form, (from - right) as u32, bits));
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types() -> Vec<ElemType> {
        let mut all: Vec<ElemType> =
            (1..=8).flat_map(|w| [ElemType::Uint(w), ElemType::Int(w), ElemType::Bipolar(w)]).collect();
        for bits in 3..=8u8 {
            for exponent in 1..bits - 1 {
                all.push(ElemType::Small { exponent, mantissa: bits - 1 - exponent });
            }
        }
        all
    }

    #[test]
    fn members_fill_their_words_without_overlap() {
        for elem in types() {
            for toward in
                [Toward::F16, Toward::Bf16, Toward::Bytes, Toward::Bits, Toward::Table, Toward::Codes]
            {
                let form = toward.form(elem);
                let p = Placement::new(elem, form);
                let mut seen = vec![0u32; p.words as usize];
                for m in &p.members {
                    assert_eq!(m.bits.len() as u32, elem.bits(), "{elem} {toward:?}");
                    for (word, bit) in &m.bits {
                        assert_eq!(seen[*word as usize] >> bit & 1, 0, "{elem} {toward:?}");
                        seen[*word as usize] |= 1 << bit;
                    }
                }
                assert!(seen.iter().all(|w| *w == (1 << form.lane()) - 1), "{elem} {toward:?}: {seen:x?}");
            }
        }
    }

    #[test]
    fn a_nibble_takes_one_shift_for_four_members() {
        let p = Placement::new(ElemType::Uint(4), Toward::F16.form(ElemType::Uint(4)));
        let shown: Vec<(u32, i32, u32)> =
            p.members.iter().map(|m| (m.at, m.pieces[0].right, m.pieces[0].mask)).collect();
        assert_eq!(shown, [(0, 0, 0x0f), (4, 0, 0xf0), (0, 8, 0x0f), (4, 8, 0xf0)]);
    }

    /// Shifts, and three-input operations, for a group's values: what the docs' table promises. Infinities and NaNs take an addition, and a choice
    /// between them and the sign.
    fn cost(elem: ElemType, toward: Toward) -> f64 {
        let form = toward.form(elem);
        let p = Placement::new(elem, form);
        let specials = matches!((form, form.coding(elem)), (Form::Float { .. }, (turn, _)) if turn > 0);
        let mut shifts: Vec<(u32, i32)> = Vec::new();
        let mut logic = 0;
        for m in &p.members {
            let magnitude = m.pieces.iter().filter(|p| p.mask != 1 << (LANE - 1)).count();
            logic += if specials { magnitude + 2 } else { m.pieces.len() };
            shifts.extend(m.pieces.iter().filter(|p| p.right != 0).map(|p| (p.word, p.right)));
        }
        shifts.sort_unstable();
        shifts.dedup();
        (shifts.len() + logic) as f64 / (2 * p.members.len()) as f64
    }

    #[test]
    fn unpacking_is_cheap_for_every_type() {
        let mut over = Vec::new();
        for (elem, toward) in types().into_iter().flat_map(|e| [(e, Toward::F16), (e, Toward::Bf16)]) {
            let limit = match (elem, toward) {
                // NaNs take an addition.
                (ElemType::E4M3, Toward::F16) => 2.0,
                (ElemType::E4M3, _) | (ElemType::E5M2, Toward::Bf16) => 2.25,
                (ElemType::Small { .. }, _) => 1.5,
                _ => 1.4,
            };
            let c = cost(elem, toward);
            if toward.form(elem) != Form::Codes && c > limit {
                over.push((elem, toward, c));
            }
        }
        assert!(cost(ElemType::Uint(4), Toward::F16) <= 0.65);
        assert!(over.is_empty(), "{over:?}");
    }
}
