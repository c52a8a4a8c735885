//! `wmma`: matrices of opaque layout, as loads, `mma` and stores.
//!
//! PTX does not say which lane holds which element, only that loads, products and stores agree. Here a fragment is those of the `mma` that computes
//! it, tile by tile, so that a product is one `mma` for each 16 (or 8) rows and 8 columns:
//!
//! ```text
//! m16n16k16   A one tile           B columns 0-7, 8-15       C, D: two tiles of m16n8
//! m32n8k16    A rows 0-15, 16-31   B one tile                C, D: two tiles of m16n8
//! m8n32k16    A one tile of 8      B four tiles              C, D: four tiles of m8n8
//! ```
//! Fragments of f16 factors have eight registers, more than the elements need: the rest repeats the first ones, so that a program that scales all
//! of a fragment finds nothing undefined.
//!
//! With g = lane / 4 and q = lane % 4 a register holds elements at `across` = g + a constant (row of A, column of B, row of C) and `along` = PER·q + a
//! constant (k, k, column), PER elements that are neighbours along. In memory one of the two is contiguous and the other has the stride: neighbours
//! along are one access if that is the contiguous one, else one each.

use tilewright_compiler::ptx::{MatLayout, MatShape, Operand, RegId, Space, Type, op};

use super::super::frame::{Lanes32, R32, R64};
use super::super::launch::ExecError;
use super::super::matrix::{self, MmaSum};
use super::super::program::{
    Addr, AddrBase, CellInit, Extend, IntBin, LaneOp, MemAccess, MemReg, Mma, MmaF64, Order, Reach, Shift,
    StepKind, Val32, Val64,
};
use super::emit::{Decoder, Home};
use super::warp::{mma_input, mma_sum};

type Result<T = ()> = std::result::Result<T, ExecError>;

/// Where a register's first element lies: constants to add to g, and to PER·q.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    across: u32,
    along: u32,
}

/// The distinct registers of a fragment, in order, and PER.
fn places(matrix: op::WmmaMatrix, shape: MatShape, ty: Type) -> (Vec<Place>, u32) {
    let (m, n, k) = shape.mnk();
    let mut all = Vec::new();
    match matrix {
        op::WmmaMatrix::A | op::WmmaMatrix::B => {
            let per = if ty == Type::F64 { 1 } else { 32 / ty.bits() };
            // Rows of A in tiles of 16, or of 8 if there are no more; columns of B in tiles of 8.
            let (lines, tile) = if matrix == op::WmmaMatrix::A { (m, m.min(16)) } else { (n, 8) };
            for first in (0..lines).step_by(tile as usize) {
                for along in (0..k).step_by(4 * per as usize) {
                    all.extend((0..tile).step_by(8).map(|half| Place { across: first + half, along }));
                }
            }
            (all, per)
        }
        op::WmmaMatrix::C => {
            // Two neighbouring columns: one register of f16, two of anything else.
            let parts = if ty == Type::F16 { 1 } else { 2 };
            for row in (0..m).step_by(16) {
                for column in (0..n).step_by(8) {
                    for half in (0..m.min(16)).step_by(8) {
                        all.extend((0..parts).map(|e| Place { across: row + half, along: column + e }));
                    }
                }
            }
            (all, 2)
        }
    }
}

/// A matrix in memory, for one lane.
struct Memory {
    /// The address of the lane's element at `Place { 0, 0 }`.
    base: Val64,
    /// Bytes from one line to the next.
    stride: Val64,
    /// Neighbours along are neighbours in memory.
    contiguous: bool,
    bits: u32,
    /// Lines that were added to the base, and where.
    lines: Vec<(u32, R64)>,
}

fn low_half(d: &mut Lanes32, a: &Lanes32, _: &Lanes32, _: &Lanes32) {
    *d = a.map(|word| half::f16::from_bits(word as u16).to_f32().to_bits());
}

fn high_half(d: &mut Lanes32, a: &Lanes32, _: &Lanes32, _: &Lanes32) {
    *d = a.map(|word| half::f16::from_bits((word >> 16) as u16).to_f32().to_bits());
}

fn halves(d: &mut Lanes32, a: &Lanes32, b: &Lanes32, _: &Lanes32) {
    let bits = |word: u32| u32::from(half::f16::from_f32(f32::from_bits(word)).to_bits());
    *d = std::array::from_fn(|lane| bits(a[lane]) | bits(b[lane]) << 16);
}

impl Decoder<'_> {
    /// Computes what all addresses of the instruction begin with.
    fn wmma_memory(
        &mut self,
        (matrix, layout, shape, ty): (op::WmmaMatrix, MatLayout, MatShape, Type),
        addr: &tilewright_compiler::ptx::Address,
        stride: Option<&Operand>,
    ) -> Result<Memory> {
        let (m, n, k) = shape.mnk();
        let (rows, columns) = match matrix {
            op::WmmaMatrix::A => (m, k),
            op::WmmaMatrix::B => (k, n),
            op::WmmaMatrix::C => (m, n),
        };
        let in_rows = layout == MatLayout::Row;
        // Along is a row's direction for A and C, a column's for B.
        let contiguous = in_rows != (matrix == op::WmmaMatrix::B);
        let elements = match stride {
            Some(stride) => self.v32(stride, Type::U32)?,
            None => Val32::Imm(if in_rows { columns } else { rows }),
        };
        let bits = ty.bits();
        let stride = match elements {
            Val32::Imm(count) => Val64::Imm(u64::from(count) * u64::from(bits) / 8),
            Val32::Reg(_) => {
                let (wide, bytes) = (self.t64(), self.t64());
                self.lane(LaneOp::MulWide { signed: false, d: wide, a: elements, b: Val32::Imm(bits) });
                self.lane(LaneOp::Shift64 { op: Shift::RightU, d: bytes, a: Val64::Reg(wide), by: 3 });
                Val64::Reg(bytes)
            }
        };
        let Addr { base, offset } = self.addr(addr)?;
        let start = match base {
            AddrBase::Abs => Val64::Imm(0),
            AddrBase::R64(r) => Val64::Reg(r),
            AddrBase::R32(r) => {
                let wide = self.t64();
                self.lane(LaneOp::Widen { signed: false, d: wide, a: Val32::Reg(r) });
                Val64::Reg(wide)
            }
        };
        let lane = Val32::Reg(R32(self.cell(CellInit::LaneId)));
        let (g, q) = (self.t32(), self.t32());
        self.lane(LaneOp::Shift32 { op: Shift::RightU, d: g, a: lane, by: 2 });
        self.lane(LaneOp::Int32 { op: IntBin::And, d: q, a: lane, b: Val32::Imm(3) });
        let (_, per) = places(matrix, shape, ty);
        let (g, q) = (Val32::Reg(g), Val32::Reg(q));
        // Which number counts lines and which bytes within one, and the factors of each.
        let (line, times, inner, bytes) =
            if contiguous { (g, 1, q, per * bits / 8) } else { (q, per, g, bits / 8) };
        let (lines, skipped, within) = (self.t64(), self.t64(), self.t64());
        self.lane(LaneOp::MulWide { signed: false, d: lines, a: line, b: Val32::Imm(times) });
        self.lane(LaneOp::Int64 { op: IntBin::Mul, d: skipped, a: Val64::Reg(lines), b: stride });
        self.lane(LaneOp::MulWide { signed: false, d: within, a: inner, b: Val32::Imm(bytes) });
        let (sum, total, at) = (self.t64(), self.t64(), self.t64());
        let add = |d, a, b| LaneOp::Int64 { op: IntBin::Add, d, a, b };
        self.lane(add(sum, Val64::Reg(skipped), Val64::Reg(within)));
        self.lane(add(total, start, Val64::Reg(sum)));
        self.lane(add(at, Val64::Reg(total), Val64::Imm(offset as u64)));
        Ok(Memory { base: Val64::Reg(at), stride, contiguous, bits, lines: Vec::new() })
    }

    /// The address of the lane's element at a place.
    fn wmma_address(&mut self, memory: &mut Memory, place: Place) -> Addr {
        let (line, within) =
            if memory.contiguous { (place.across, place.along) } else { (place.along, place.across) };
        let offset = i64::from(within * memory.bits / 8);
        let base = match memory.lines.iter().find(|(known, _)| *known == line) {
            Some(&(_, base)) => base,
            None => {
                let (skipped, base) = (self.t64(), self.t64());
                self.lane(LaneOp::Int64 {
                    op: IntBin::Mul,
                    d: skipped,
                    a: memory.stride,
                    b: Val64::Imm(line.into()),
                });
                self.lane(LaneOp::Int64 { op: IntBin::Add, d: base, a: memory.base, b: Val64::Reg(skipped) });
                memory.lines.push((line, base));
                base
            }
        };
        Addr { base: AddrBase::R64(base), offset }
    }

    /// The accesses of a register: address and shift of its part of the register, and bytes of each.
    fn wmma_parts(
        &mut self,
        memory: &mut Memory,
        place: Place,
        (matrix, ty, per): (op::WmmaMatrix, Type, u32),
    ) -> (Vec<(Addr, u8)>, u8) {
        let whole = if matrix == op::WmmaMatrix::C { ty.bits().max(32) } else { 32 };
        let elements = match ty {
            Type::F64 => 1,
            _ if matrix == op::WmmaMatrix::C => 32 / ty.bits(),
            _ => per,
        };
        if memory.contiguous || elements == 1 {
            let bytes = if ty == Type::F64 { 8 } else { whole / 8 };
            return (vec![(self.wmma_address(memory, place), 0)], bytes as u8);
        }
        let part = |e: u32| Place { along: place.along + e, ..place };
        let parts =
            (0..elements).map(|e| (self.wmma_address(memory, part(e)), (e * ty.bits()) as u8)).collect();
        (parts, (ty.bits() / 8) as u8)
    }

    fn wmma_register(&self, reg: RegId) -> Result<MemReg> {
        match self.home(reg) {
            Home::R32(r) => Ok(MemReg::R32(r)),
            Home::R64(r) => Ok(MemReg::R64(r)),
            _ => self.invalid(format!("{} cannot be of a fragment", self.entry.reg_name(reg))),
        }
    }

    fn wmma_access(&self, space: Space, addr: Addr, bytes: u8, reg: MemReg) -> MemAccess {
        let (extend, order) = (Extend::Zero, Order::Weak);
        let reach = Reach::Everybody;
        MemAccess {
            space: self.space(space),
            addr,
            bytes,
            extend,
            order,
            reach,
            align: 0,
            regs: [reg].into(),
        }
    }

    pub(super) fn wmma_load(&mut self, op: &op::WmmaLoad) -> Result {
        let key = (op.matrix, op.layout, op.shape, op.ty);
        let mut memory = self.wmma_memory(key, &op.addr, op.stride.as_ref())?;
        let (places, per) = places(op.matrix, op.shape, op.ty);
        let mut parts = Vec::new();
        for &place in &places {
            parts.push(self.wmma_parts(&mut memory, place, (op.matrix, op.ty, per)));
        }
        self.step(StepKind::Converged);
        // Everything is loaded before a register is written that an address may need.
        for (number, (parts, bytes)) in parts.iter().enumerate() {
            let copies: Vec<RegId> = op.dst.iter().copied().skip(number).step_by(places.len()).collect();
            if let &[(addr, _)] = &parts[..] {
                for copy in copies {
                    let reg = self.wmma_register(copy)?;
                    self.step(StepKind::Load(self.wmma_access(op.space, addr, *bytes, reg)));
                }
                continue;
            }
            let mut word: Option<R32> = None;
            for &(addr, shift) in parts {
                let (part, shifted, both) = (self.t32(), self.t32(), self.t32());
                self.step(StepKind::Load(self.wmma_access(op.space, addr, *bytes, MemReg::R32(part))));
                self.lane(LaneOp::Shift32 { op: Shift::Left, d: shifted, a: Val32::Reg(part), by: shift });
                let old = word.map_or(Val32::Imm(0), Val32::Reg);
                self.lane(LaneOp::Int32 { op: IntBin::Or, d: both, a: old, b: Val32::Reg(shifted) });
                word = Some(both);
            }
            for copy in copies {
                let (d, a) = (self.d32(copy)?, word.map_or(Val32::Imm(0), Val32::Reg));
                self.lane(LaneOp::Mov32 { d, a });
            }
        }
        Ok(())
    }

    pub(super) fn wmma_store(&mut self, op: &op::WmmaStore) -> Result {
        let matrix = op::WmmaMatrix::C;
        let key = (matrix, op.layout, op.shape, op.ty);
        let mut memory = self.wmma_memory(key, &op.addr, op.stride.as_ref())?;
        let (places, per) = places(matrix, op.shape, op.ty);
        self.step(StepKind::Converged);
        for (&place, &reg) in places.iter().zip(&op.src) {
            let (parts, bytes) = self.wmma_parts(&mut memory, place, (matrix, op.ty, per));
            for (addr, shift) in parts {
                let mut value = self.wmma_register(reg)?;
                if let (MemReg::R32(r), 1..) = (value, shift) {
                    let part = self.t32();
                    self.lane(LaneOp::Shift32 { op: Shift::RightU, d: part, a: Val32::Reg(r), by: shift });
                    value = MemReg::R32(part);
                }
                self.step(StepKind::Store(self.wmma_access(op.space, addr, bytes, value)));
            }
        }
        Ok(())
    }

    pub(super) fn wmma_mma(&mut self, op: &op::WmmaMma) -> Result {
        let (m, n, k) = op.shape.mnk();
        if op.aty == Type::F64 {
            let wide = |regs: &[RegId]| regs.iter().map(|&reg| self.d64(reg)).collect::<Result<Box<[R64]>>>();
            let mma = MmaF64 { d: wide(&op.d)?, a: wide(&op.a)?, b: wide(&op.b)?, c: wide(&op.c)? };
            self.step(StepKind::MmaF64(Box::new(mma)));
            return Ok(());
        }
        let mixed = op.dty != op.cty;
        let sum = if mixed { MmaSum::F32 } else { mma_sum(op.dty, op.satfinite && op.dty == Type::S32) };
        let (Some(a_type), Some(b_type)) = (mma_input(op.aty, op.bit_op), mma_input(op.bty, op.bit_op))
        else {
            return self.unsupported("these operand types");
        };
        let Some(f) = matrix::select(k, a_type, b_type, sum) else {
            return self.unsupported("this combination of types and shape");
        };
        let cells = |regs: &[RegId]| regs.iter().map(|&reg| self.d32(reg)).collect::<Result<Vec<R32>>>();
        let (d, a, b, mut c) = (cells(&op.d)?, cells(&op.a)?, cells(&op.b)?, cells(&op.c)?);
        if mixed && op.cty == Type::F16 {
            let mut wide = Vec::new();
            for r in c {
                let (low, high) = (self.t32(), self.t32());
                self.call32(low_half, low, &[Val32::Reg(r)]);
                self.call32(high_half, high, &[Val32::Reg(r)]);
                wide.extend([low, high]);
            }
            c = wide;
        }
        // Later products must not read what earlier ones wrote.
        let aliased =
            d.iter().any(|r| a.contains(r) || b.contains(r)) || (d != c && d.iter().any(|r| c.contains(r)));
        let narrow = mixed && op.dty == Type::F16;
        let sums: Vec<R32> =
            if aliased || narrow { c.iter().map(|_| self.t32()).collect() } else { d.clone() };
        let whole = m >= 16;
        let [mut per_d, mut per_a, per_b] = matrix::registers(k, a_type, sum);
        if !whole {
            (per_d, per_a) = (per_d / 2, per_a / 2);
        }
        let columns = (n / 8) as usize;
        for (tile, (d, c)) in sums.chunks_exact(per_d).zip(c.chunks_exact(per_d)).enumerate() {
            let (row, column) = (tile / columns, tile % columns);
            let a = &a[row * per_a..(row + 1) * per_a];
            let b = &b[column * per_b..(column + 1) * per_b];
            let (mut d, mut a, mut c) = (d.to_vec(), a.to_vec(), c.to_vec());
            if !whole {
                // The upper 8 of 16 rows are zeros, and what comes out there goes nowhere.
                let zero = R32(self.cell(CellInit::Const32(0)));
                a = a.into_iter().flat_map(|r| [r, zero]).collect();
                c.extend(vec![zero; per_d]);
                d.extend((0..per_d).map(|_| self.t32()).collect::<Vec<_>>());
            }
            self.step(StepKind::Mma(Box::new(Mma::new(f, d.into(), a.into(), b.into(), c.into()))));
        }
        if narrow {
            for (&d, pair) in d.iter().zip(sums.chunks_exact(2)) {
                self.call32(halves, d, &[Val32::Reg(pair[0]), Val32::Reg(pair[1])]);
            }
        } else if aliased {
            for (&d, &sum) in d.iter().zip(&sums) {
                self.lane(LaneOp::Mov32 { d, a: Val32::Reg(sum) });
            }
        }
        Ok(())
    }
}
