//! Codebooks without memory: a table of at most sixteen values is looked up by permuting bytes, four codes at a time.
//!
//! `prmt` chooses four of eight bytes by four nibbles. Sixteen values are two times eight, for each byte of a value; the upper bit of a code says
//! which. Codes of four bits lie one in a nibble, in order ([`crate::packed::Form::Nibbles`]):
//!
//! ```text
//! word w, eight codes      s = w & 0x77777777, s >> 16        what is left of four codes each
//!                          m = prmt(0, ~0, w >> 1)            ff where the code is 8 or more: bit 3 of it is bit 2 of a nibble here, and the
//!                                                             other bits choose between equals; w >> 17 for the other four
//! a byte of each value     p = prmt(T0, T1, s)   q = prmt(T2, T3, s)   m ? q : p
//! halves of two bytes      prmt(low, high, 0x5140)  prmt(low, high, 0x7362)
//! ```
//! Halves take 22 instructions for eight values, bytes 12, and what the assembler moves of the table's constants; a load for each would take an
//! address, too. Narrower codes choose among at most eight values: there is no upper bit, and one `prmt` does for each byte of a value. They share
//! nibbles, two of two bits or one of three and a bit of another code; those in upper bits are shifted down, or put together:
//!
//! ```text
//! u2   s = w & 0x33333333    s' = w >> 2 & 0x33333333                     21 instructions for 16 halves
//! u3   s = w & 0x77777777 of three words; s' of the bits 3 of all         45 instructions for 32 halves
//! ```
//! What a code cannot look up reads as zero, as
//! anywhere, and so does a code below zero: the table holds the values by code as it is stored.

use super::ir::*;
use super::lower::Lower;
use super::unpack;
use crate::packed::{Form, Member};
use crate::scheduled::ir as t2;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;
use t1::{BinaryOp, ElemType};

/// Values that codes of four bits choose among.
const VALUES: usize = 16;

/// A lookup that needs no memory.
struct Table {
    tensor: t1::TensorId,
    /// The subscript, and the packed tile of codes that it is computed from.
    subscript: t2::ValId,
    codes: t2::ValId,
    /// Values by code as stored, in their bits.
    values: [u64; VALUES],
    bytes: usize,
    /// Bits of a code.
    width: u32,
}

/// What four codes of a step share: by their group's first word, and which four of it.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    /// Selectors, and bytes of ones where a code of four bits has its upper bit.
    selectors: FxHashMap<(Reg, u32), (Reg, Option<Reg>)>,
    /// Of a table and a subscript, the bytes of four values: the lowest byte of each first.
    planes: FxHashMap<(t1::TensorId, t2::ValId, Reg, u32), Vec<Reg>>,
}

impl Looked {
    pub fn clear(&mut self) {
        self.selectors.clear();
        self.planes.clear();
    }
}

/// `c ? a : b` bit by bit.
const CHOOSE: u8 = 0xe4;

impl Lower<'_> {
    /// Two halves of a tile that a table gives, in one register.
    pub fn halves_of_table(&mut self, v: t2::ValId, (a, b): (usize, usize), half: Half) -> Option<Reg> {
        let table = self.table(v)?;
        let wanted = match half {
            Half::F16 => ElemType::F16,
            Half::Bf16 => ElemType::Bf16,
        };
        if self.kernel.tensor(table.tensor).elem != wanted {
            return None;
        }
        let (a, b) = (self.counterpart(v, a, table.codes), self.counterpart(v, b, table.codes));
        if b != a + 1 || !a.is_multiple_of(2) {
            return None;
        }
        let planes = self.planes(&table, a);
        let select = if a % 4 == 0 { 0x5140 } else { 0x7362 };
        Some(self.permute(planes[0], planes[1], Src::Int(select)))
    }

    /// Four bytes of a tile that a table gives, in one register.
    pub fn bytes_of_table(&mut self, v: t2::ValId, four: [usize; 4]) -> Option<Reg> {
        let table = self.table(v).filter(|t| t.bytes == 1)?;
        let from = four.map(|r| self.counterpart(v, r, table.codes));
        let neighbours = from.iter().zip(from[0]..).all(|(r, n)| *r == n) && from[0].is_multiple_of(4);
        neighbours.then(|| self.planes(&table, from[0])[0])
    }

    /// The bytes of the four values around register `r` of the codes.
    fn planes(&mut self, table: &Table, r: usize) -> Vec<Reg> {
        let recipe = match self.producers.get(&table.codes) {
            Some(t2::OpKind::LoadPacked { tensor, .. }) => self.recipe(*tensor),
            _ => unreachable!("codes of a table are packed"),
        };
        let (member, first, lowest) = recipe.member(r as u32);
        let all = self.fragment(table.codes, recipe.words as usize);
        let words = &all[first as usize..(first + recipe.placement.words) as usize];
        let eight = r as u32 / 8 % recipe.placement.members.len() as u32;
        let four = 2 * eight + lowest / 16;
        let key = (table.tensor, table.subscript, words[0], four);
        if let Some(known) = self.looked.planes.get(&key) {
            return known.clone();
        }
        let (select, high) = self.selector(table.width, member, words, four);
        let planes: Vec<Reg> = (0..table.bytes)
            .map(|n| {
                let byte = |value: &u64| value >> (8 * n) & 0xff;
                let bytes = |eight: &[u64]| eight.iter().map(byte).collect::<Vec<u64>>();
                let (low, up) = (bytes(&table.values[..8]), bytes(&table.values[8..]));
                let p = self.one_of_eight(&low, select);
                match high.filter(|_| low != up) {
                    None => self.in_register(p, Class::B32),
                    Some(high) => {
                        let q = self.one_of_eight(&up, select);
                        self.b.lop3(q, p, high, CHOOSE)
                    }
                }
            })
            .collect();
        self.looked.planes.insert(key, planes.clone());
        planes
    }

    /// Selectors of four codes.
    fn selector(&mut self, width: u32, member: &Member, words: &[Reg], four: u32) -> (Reg, Option<Reg>) {
        let key = (words[0], four);
        if let Some(known) = self.looked.selectors.get(&key) {
            return *known;
        }
        let select = match four % 2 {
            0 => {
                let (picked, mask) = unpack::pick(&mut self.b, &mut self.shifted, &member.pieces, words, 4);
                self.b.and(picked, unpack::all_lanes(4, mask & 7))
            }
            _ => {
                let (all, _) = self.selector(width, member, words, four - 1);
                self.b.shift(all, -16)
            }
        };
        let high = (width == 4).then(|| {
            let moved = self.b.shift(words[0], -1 - 16 * (four % 2) as i32);
            self.permute(Src::Int(0), Src::Int(0xffff_ffff), moved)
        });
        self.looked.selectors.insert(key, (select, high));
        (select, high)
    }

    /// Of eight bytes those that four selectors choose.
    fn one_of_eight(&mut self, bytes: &[u64], select: Reg) -> Src {
        let word = |four: &[u64]| Src::Int(four.iter().rev().fold(0, |w, b| w << 8 | b) as i64);
        match bytes.iter().all(|b| *b == bytes[0]) {
            true => word(&bytes[..4]),
            false => self.permute(word(&bytes[..4]), word(&bytes[4..]), select).into(),
        }
    }

    pub fn permute(&mut self, a: impl Into<Src>, b: impl Into<Src>, select: impl Into<Src>) -> Reg {
        let d = self.b.reg(Class::B32);
        self.b.push(Op::Permute { d, a: a.into(), b: b.into(), select: select.into() });
        d
    }

    /// The table that a tile is looked up in, if it is small enough and its codes are packed for it.
    fn table(&self, v: t2::ValId) -> Option<Table> {
        let Some(t2::OpKind::ReadReg { tensor, ix, .. }) = self.producers.get(&v) else { return None };
        let t = self.kernel.tensor(*tensor);
        let (t1::TensorKind::Const(list), [t2::Index { tile: Some(tile), .. }]) = (&t.kind, &ix[..]) else {
            return None;
        };
        let codes = self.codes_of(*tile)?;
        let Some(t2::OpKind::LoadPacked { tensor: packed, .. }) = self.producers.get(&codes) else {
            return None;
        };
        let recipe = self.recipe(*packed);
        if recipe.form != Form::Nibbles || !matches!(t.elem.bits(), 8 | 16) {
            return None;
        }
        let width = recipe.elem.bits();
        let mut values = [0; VALUES];
        for (stored, value) in (0..).zip(&mut values) {
            if stored >> width != 0 {
                break;
            }
            let code = if recipe.elem.is_signed() { stored - (1 << (width - 1)) } else { stored };
            let at = self.index_of(*tile, code)?;
            if let Some(c) = usize::try_from(at).ok().and_then(|at| list.get(at)) {
                *value = super::scalars::bits_of(t.elem, c);
            }
        }
        let bytes = t.elem.bits() as usize / 8;
        Some(Table { tensor: *tensor, subscript: *tile, codes, values, bytes, width })
    }

    /// The packed tile that a subscript is computed from.
    fn codes_of(&self, tile: t2::ValId) -> Option<t2::ValId> {
        match self.producers.get(&tile)? {
            t2::OpKind::LoadPacked { .. } => Some(tile),
            t2::OpKind::Elementwise { args, .. } => match args[..] {
                [x] => self.codes_of(x),
                _ => None,
            },
            _ => None,
        }
    }

    /// What a subscript is for one code; `None` where it is more than a code converted, and a constant.
    fn index_of(&self, tile: t2::ValId, code: i64) -> Option<i64> {
        let t2::OpKind::Elementwise { value, args } = self.producers.get(&tile)? else { return Some(code) };
        let &[x] = &args[..] else { return None };
        let of = self.index_of(x, code)?;
        let v = self.kernel.value(*value);
        let exact = match v.op {
            t1::Op::Cast(_) => of,
            t1::Op::Binary(op @ (BinaryOp::Add | BinaryOp::Sub), x, y) => {
                match (op, self.kernel.const_int(x), self.kernel.const_int(y)) {
                    (BinaryOp::Add, Some(c), None) | (BinaryOp::Add, None, Some(c)) => of.checked_add(c)?,
                    (BinaryOp::Sub, None, Some(c)) => of.checked_sub(c)?,
                    (BinaryOp::Sub, Some(c), None) => c.checked_sub(of)?,
                    _ => return None,
                }
            }
            _ => return None,
        };
        match v.ty.elem {
            ElemType::Index => Some(exact),
            // Narrow types wrap.
            ElemType::Int(w @ 1..=32) => Some(exact << (64 - w) >> (64 - w)),
            ElemType::Uint(w @ 1..=32) => Some(exact & ((1 << w) - 1)),
            _ => None,
        }
    }
}
