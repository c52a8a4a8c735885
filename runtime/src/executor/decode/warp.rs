//! Cross-lane and matrix instructions, barriers and control flow.

use tilewright_compiler::ptx::{BoolOp, MatLayout, MatShape, Operand, RegId, Type, op};

use super::super::frame::{R32, R64};
use super::super::launch::ExecError;
use super::super::matrix::{self, MmaInput, MmaSum};
use super::super::program::{
    Barrier, BarrierReduce, BarrierReduceOp, CellInit, MatrixAccess, MemReg, Mma, MmaF64, ReduxOp, Shuffle,
    ShuffleMode, StepKind, Val32, Val64, VoteDst, VoteMode,
};
use super::emit::{Decoder, Home};

type Result<T = ()> = std::result::Result<T, ExecError>;

/// The element type of a factor of a matrix product.
pub(super) fn mma_input(ty: Type, bits: Option<BoolOp>) -> Option<MmaInput> {
    Some(match ty {
        Type::F16 => MmaInput::F16,
        Type::Bf16 => MmaInput::Bf16,
        Type::Tf32 => MmaInput::Tf32,
        Type::E4m3 => MmaInput::E4m3,
        Type::E5m2 => MmaInput::E5m2,
        Type::S8 => MmaInput::S8,
        Type::U8 => MmaInput::U8,
        Type::S4 => MmaInput::S4,
        Type::U4 => MmaInput::U4,
        Type::B1 if bits == Some(BoolOp::Xor) => MmaInput::XorBits,
        Type::B1 => MmaInput::AndBits,
        _ => return None,
    })
}

/// The type of the sums of a matrix product.
pub(super) fn mma_sum(ty: Type, clamped: bool) -> MmaSum {
    match ty {
        Type::F16 => MmaSum::F16,
        Type::F32 => MmaSum::F32,
        _ if clamped => MmaSum::S32Sat,
        _ => MmaSum::S32,
    }
}

impl Decoder<'_> {
    fn cell32(&mut self, operand: &Operand, ty: Type) -> Result<R32> {
        let value = self.v32(operand, ty)?;
        Ok(self.reg32(value))
    }

    pub(super) fn shfl(&mut self, op: &op::Shfl) -> Result {
        let mode = match op.mode {
            op::ShflMode::Up => ShuffleMode::Up,
            op::ShflMode::Down => ShuffleMode::Down,
            op::ShflMode::Bfly => ShuffleMode::Bfly,
            op::ShflMode::Idx => ShuffleMode::Idx,
        };
        let d = match self.dst32(op.dst)? {
            Some(d) => d,
            None => self.t32(),
        };
        let p = op.pred.map(|p| self.dst_pred(p)).transpose()?.flatten();
        let shuffle = Shuffle {
            mode,
            d,
            p,
            a: self.cell32(&op.a, Type::B32)?,
            b: self.cell32(&op.b, Type::U32)?,
            c: self.cell32(&op.c, Type::U32)?,
            members: self.cell32(&op.mask, Type::U32)?,
        };
        self.step(StepKind::Shuffle(shuffle));
        Ok(())
    }

    pub(super) fn vote(&mut self, op: &op::Vote) -> Result {
        let mode = match op.mode {
            op::VoteMode::All => VoteMode::All,
            op::VoteMode::Any => VoteMode::Any,
            op::VoteMode::Uni => VoteMode::Uni,
            op::VoteMode::Ballot => VoteMode::Ballot,
        };
        let dst = match self.home(op.dst) {
            Home::Pred(p) => VoteDst::Pred(p),
            Home::R32(r) => VoteDst::Reg(r),
            _ => return self.invalid("no such destination"),
        };
        let src = self.vp(&op.src)?;
        let src = if op.negated { src.negated() } else { src };
        let members = self.v32(&op.mask, Type::U32)?;
        self.step(StepKind::Vote { mode, dst, src, members });
        Ok(())
    }

    pub(super) fn activemask(&mut self, op: &op::Activemask) -> Result {
        let d = self.d32(op.dst)?;
        self.step(StepKind::ActiveMask(d));
        Ok(())
    }

    pub(super) fn redux(&mut self, op: &op::Redux) -> Result {
        let signed = op.ty.is_signed();
        let kind = match (op.op, signed) {
            (op::ReduxOp::Min, _) if op.ty.is_float() && op.nan => ReduxOp::MinNan,
            (op::ReduxOp::Max, _) if op.ty.is_float() && op.nan => ReduxOp::MaxNan,
            (op::ReduxOp::Min, _) if op.ty.is_float() => ReduxOp::MinF,
            (op::ReduxOp::Max, _) if op.ty.is_float() => ReduxOp::MaxF,
            _ if op.ty.is_float() => return self.unsupported("this reduction of floats"),
            (op::ReduxOp::Add, _) => ReduxOp::Add,
            (op::ReduxOp::Min, true) => ReduxOp::MinS,
            (op::ReduxOp::Max, true) => ReduxOp::MaxS,
            (op::ReduxOp::Min, false) => ReduxOp::MinU,
            (op::ReduxOp::Max, false) => ReduxOp::MaxU,
            (op::ReduxOp::And, _) => ReduxOp::And,
            (op::ReduxOp::Or, _) => ReduxOp::Or,
            (op::ReduxOp::Xor, _) => ReduxOp::Xor,
        };
        let (d, mut a, members) =
            (self.d32(op.dst)?, self.cell32(&op.src, op.ty)?, self.v32(&op.mask, Type::U32)?);
        if op.abs {
            a = self.magnitude(Val32::Reg(a));
        }
        self.step(StepKind::Redux { op: kind, d, a, members });
        Ok(())
    }

    pub(super) fn match_sync(&mut self, op: &op::MatchSync) -> Result {
        let d = match self.dst32(op.dst)? {
            Some(d) => d,
            None => self.t32(),
        };
        let p = op.pred.map(|p| self.dst_pred(p)).transpose()?.flatten();
        let a = if op.ty.bits() == 64 {
            let value: Val64 = self.v64(&op.src, op.ty)?;
            MemReg::R64(self.reg64(value))
        } else {
            MemReg::R32(self.cell32(&op.src, op.ty)?)
        };
        let members = self.v32(&op.mask, Type::U32)?;
        self.step(StepKind::Match { all: op.all, d, p, a, members });
        Ok(())
    }

    pub(super) fn elect(&mut self, op: &op::ElectSync) -> Result {
        let (d, p, members) = (self.dst32(op.dst)?, self.dp(op.pred)?, self.v32(&op.mask, Type::U32)?);
        self.step(StepKind::Elect { d, p, members });
        Ok(())
    }

    fn fragment(&self, regs: &[RegId]) -> Result<Box<[R32]>> {
        regs.iter().map(|&reg| self.d32(reg)).collect()
    }

    pub(super) fn ldmatrix(&mut self, op: &op::Ldmatrix) -> Result {
        if op.shape != MatShape::M8n8 || op.ty != Type::B16 {
            return self.unsupported("matrices other than m8n8 of 16 bits");
        }
        let access =
            MatrixAccess { addr: self.addr(&op.addr)?, transposed: op.trans, regs: self.fragment(&op.dst)? };
        self.step(StepKind::LdMatrix(access));
        Ok(())
    }

    pub(super) fn movmatrix(&mut self, op: &op::Movmatrix) -> Result {
        let (d, a) = (self.d32(op.dst)?, self.d32(op.src)?);
        self.step(StepKind::MovMatrix { d, a });
        Ok(())
    }

    pub(super) fn stmatrix(&mut self, op: &op::Stmatrix) -> Result {
        if op.shape != MatShape::M8n8 || op.ty != Type::B16 {
            return self.unsupported("matrices other than m8n8 of 16 bits");
        }
        let access =
            MatrixAccess { addr: self.addr(&op.addr)?, transposed: op.trans, regs: self.fragment(&op.src)? };
        self.step(StepKind::StMatrix(access));
        Ok(())
    }

    pub(super) fn mma(&mut self, op: &op::Mma) -> Result {
        let (m, n, k) = op.shape.mnk();
        if (m, n, k, op.aty) == (8, 8, 4, Type::F16) {
            return self.mma_quads(op);
        }
        let row_col = op.a_layout == MatLayout::Row && op.b_layout == MatLayout::Col;
        if !row_col || n != 8 || op.f8f6f4 || op.dty != op.cty {
            return self.unsupported("this shape or layout");
        }
        if op.aty == Type::F64 {
            return self.mma_f64(op, m, k);
        }
        if m != 16 && op.dty != Type::S32 {
            return self.unsupported("this shape or layout");
        }
        let sum = mma_sum(op.dty, op.satfinite);
        let (Some(a), Some(b)) = (mma_input(op.aty, op.bit_op), mma_input(op.bty, op.bit_op)) else {
            return self.unsupported("these operand types");
        };
        if let Some(sparse) = &op.sparse {
            return self.mma_sparse(op, sparse, matrix::sparse(k, a, b, sum));
        }
        let Some(f) = matrix::select(k, a, b, sum) else {
            return self.unsupported("this combination of types and shape");
        };
        let wanted = matrix::registers(k, a, sum);
        let half = if m == 8 { 2 } else { 1 };
        let (sums, left) = (wanted[0] / half, wanted[1] / half);
        if [op.d.len(), op.a.len(), op.b.len(), op.c.len()] != [sums, left, wanted[2], sums] {
            return self.invalid("fragments of the wrong size");
        }
        let batch = if m == 8 { None } else { matrix::batch(k, a, b, sum) };
        let (mut d, mut a) = (self.fragment(&op.d)?.into_vec(), self.fragment(&op.a)?.into_vec());
        let mut c = self.fragment(&op.c)?.into_vec();
        if m == 8 {
            // Integers of 8 rows: the lower 8 of 16 are zeros, and what comes out there goes nowhere.
            let zero = R32(self.cell(CellInit::Const32(0)));
            a = a.into_iter().flat_map(|r| [r, zero]).collect();
            c.extend([zero; 2]);
            d.extend([self.t32(), self.t32()]);
        }
        let b = self.fragment(&op.b)?;
        let mma = Mma { batch, ..Mma::new(f, d.into(), a.into(), b, c.into()) };
        self.step(StepKind::Mma(Box::new(mma)));
        Ok(())
    }

    /// `m8n8k4` on halves.
    fn mma_quads(&mut self, op: &op::Mma) -> Result {
        let half = |ty: Type| ty == Type::F16;
        let known = |ty: Type| matches!(ty, Type::F16 | Type::F32);
        if op.bty != Type::F16 || !known(op.dty) || !known(op.cty) || op.sparse.is_some() {
            return self.unsupported("this combination of types and shape");
        }
        let sums = |ty: Type| if half(ty) { 4 } else { 8 };
        if [op.d.len(), op.a.len(), op.b.len(), op.c.len()] != [sums(op.dty), 2, 2, sums(op.cty)] {
            return self.invalid("fragments of the wrong size");
        }
        let f = matrix::quads(matrix::Quads {
            a_columns: op.a_layout == MatLayout::Col,
            b_rows: op.b_layout == MatLayout::Row,
            d_half: half(op.dty),
            c_half: half(op.cty),
        });
        let (d, a) = (self.fragment(&op.d)?, self.fragment(&op.a)?);
        let (b, c) = (self.fragment(&op.b)?, self.fragment(&op.c)?);
        self.step(StepKind::Mma(Box::new(Mma::new(f, d, a, b, c))));
        Ok(())
    }

    /// Metadata and selector go with A.
    fn mma_sparse(
        &mut self,
        op: &op::Mma,
        sparse: &op::Sparsity,
        found: Option<(matrix::MmaFn, u8)>,
    ) -> Result {
        let Some((f, selectors)) = found else {
            return self.unsupported("this combination of types and shape");
        };
        if sparse.selector >= selectors {
            return self.invalid(format!("the selector is below {selectors} here"));
        }
        let mut a = self.fragment(&op.a)?.into_vec();
        let selector = self.cell(CellInit::Const32(sparse.selector.into()));
        a.extend([self.d32(sparse.metadata)?, R32(selector)]);
        let (d, b, c) = (self.fragment(&op.d)?, self.fragment(&op.b)?, self.fragment(&op.c)?);
        self.step(StepKind::Mma(Box::new(Mma::new(f, d, a.into(), b, c))));
        Ok(())
    }

    fn mma_f64(&mut self, op: &op::Mma, m: u32, k: u32) -> Result {
        let (blocks, steps) = ((m / 8) as usize, (k / 4) as usize);
        if [op.d.len(), op.a.len(), op.b.len(), op.c.len()] != [2 * blocks, blocks * steps, steps, 2 * blocks]
        {
            return self.invalid("fragments of the wrong size");
        }
        let fragment = |regs: &[RegId]| regs.iter().map(|&reg| self.d64(reg)).collect::<Result<Box<[R64]>>>();
        let mma =
            MmaF64 { d: fragment(&op.d)?, a: fragment(&op.a)?, b: fragment(&op.b)?, c: fragment(&op.c)? };
        self.step(StepKind::MmaF64(Box::new(mma)));
        Ok(())
    }

    pub(super) fn bar(&mut self, op: &op::Bar) -> Result {
        let id = self.v32(&op.id, Type::U32)?;
        let count = op.threads.as_ref().map(|n| self.v32(n, Type::U32)).transpose()?;
        let reduce = match op.op {
            op::BarOp::Sync | op::BarOp::Arrive => None,
            op::BarOp::Reduce { op: how, dst, src } => Some(BarrierReduce {
                op: match how {
                    BoolOp::And => BarrierReduceOp::And,
                    BoolOp::Or => BarrierReduceOp::Or,
                    BoolOp::Xor => return self.invalid("no such reduction"),
                },
                src: self.pred_use(src)?,
                dst: VoteDst::Pred(self.dp(dst)?),
            }),
            op::BarOp::Popc { dst, src } => Some(BarrierReduce {
                op: BarrierReduceOp::Popc,
                src: self.pred_use(src)?,
                dst: VoteDst::Reg(self.d32(dst)?),
            }),
        };
        let arrive_only = op.op == op::BarOp::Arrive;
        self.step(StepKind::Barrier(Barrier { id, count, arrive_only, aligned: op.aligned, reduce }));
        Ok(())
    }

    pub(super) fn bar_warp(&mut self, op: &op::BarWarp) -> Result {
        let members = self.v32(&op.mask, Type::U32)?;
        self.step(StepKind::WarpSync(members));
        Ok(())
    }

    pub(super) fn bra(&mut self, op: &op::Bra) -> Result {
        let target = self.label(op.target);
        self.step(StepKind::Jump(target));
        Ok(())
    }

    pub(super) fn brx(&mut self, op: &op::BrxIdx) -> Result {
        let index = self.d32(op.index)?;
        let targets = op.targets.iter().map(|&label| self.label(label)).collect();
        self.step(StepKind::JumpTable { index, targets });
        Ok(())
    }

    pub(super) fn exit(&mut self) -> Result {
        self.step(StepKind::Exit);
        Ok(())
    }

    pub(super) fn trap(&mut self, op: &op::Trap) -> Result {
        self.step(if op.breakpoint { StepKind::Nothing } else { StepKind::Trap });
        Ok(())
    }

    pub(super) fn nothing(&mut self) -> Result {
        self.step(StepKind::Nothing);
        Ok(())
    }
}
