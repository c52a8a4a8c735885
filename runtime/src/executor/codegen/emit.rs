//! One segment as CLIF.

use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::{F32X4, F64X2, I8X16, I32, I32X4, I64, I64X2};
use cranelift_codegen::ir::{
    AbiParam, BlockArg, ConstantData, Function, InstBuilder, MemFlagsData, Signature, Type, UserFuncName,
    Value,
};
use cranelift_codegen::isa::TargetIsa;
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use rustc_hash::FxHashMap;

use super::super::frame::{CELL_BYTES, Frame, PredId, R32, R64};
use super::super::launch::ExecError;
use super::super::program::{
    FloatBin, FloatCmp, IntBin, IntCmp, LaneInst, LaneOp, PredBin, Segment, Shift, Val32, Val64, ValP,
};
use super::internal;

/// `fn(frame: *mut u8)` in the host's calling convention.
pub fn signature(isa: &dyn TargetIsa) -> Signature {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params.push(AbiParam::new(I64));
    signature
}

/// A 64-bit register of a chunk: lanes 0, 1 and lanes 2, 3.
#[derive(Clone, Copy)]
struct Pair(Value, Value);

/// Translates `segment` into `func`.
pub fn segment(
    segment: &Segment,
    register_cells: usize,
    isa: &dyn TargetIsa,
    func: &mut Function,
    context: &mut FunctionBuilderContext,
) -> Result<(), ExecError> {
    func.signature = signature(isa);
    func.name = UserFuncName::testcase("segment");
    let mut b = FunctionBuilder::new(func, context);
    let entry = b.create_block();
    b.append_block_params_for_function_params(entry);
    b.switch_to_block(entry);
    b.seal_block(entry);
    let frame = b.block_params(entry)[0];

    // Predicates that are read before they are written are whole masks, loaded once.
    let trusted = MemFlagsData::trusted();
    let mut masks = FxHashMap::default();
    let mut written: Vec<PredId> = Vec::new();
    for inst in &segment.code {
        for p in predicate_reads(inst) {
            if !written.contains(&p) && !masks.contains_key(&p) {
                masks.insert(
                    p,
                    b.ins().load(I32, trusted, frame, offset(Frame::predicate_offset(register_cells, p))?),
                );
            }
        }
        written.extend(predicate_write(&inst.op));
    }
    let zero64 = b.ins().iconst(I64, 0);
    let zero32 = b.ins().iconst(I32, 0);
    let header = b.create_block();
    b.append_block_param(header, I64);
    for _ in &segment.live_out.preds {
        b.append_block_param(header, I32);
    }
    let mut arguments: Vec<BlockArg> = vec![zero64.into()];
    arguments.extend(segment.live_out.preds.iter().map(|_| BlockArg::from(zero32)));
    b.ins().jump(header, &arguments);
    b.switch_to_block(header);

    let params = b.block_params(header).to_vec();
    let index = params[0];
    let base32 = b.ins().iadd(frame, index);
    let base64 = b.ins().iadd(base32, index);
    let lane64 = b.ins().ushr_imm_u(index, 2);
    let first_lane = b.ins().ireduce(I32, lane64);
    let mut e = Emitter {
        b,
        base32,
        base64,
        first_lane,
        masks,
        r32: FxHashMap::default(),
        r64: FxHashMap::default(),
        preds: FxHashMap::default(),
        constants: FxHashMap::default(),
        lane_bits: None,
    };
    for inst in &segment.code {
        e.inst(inst)?;
    }
    for &r in &segment.live_out.r32 {
        let value = e.r32(r)?;
        e.b.ins().store(trusted, value, base32, offset(r.0 as usize * CELL_BYTES)?);
    }
    for &r in &segment.live_out.r64 {
        let Pair(low, high) = e.r64(r)?;
        let at = offset(r.0 as usize * CELL_BYTES)?;
        e.b.ins().store(trusted, low, base64, at);
        e.b.ins().store(trusted, high, base64, at + 16);
    }
    let next = e.b.ins().iadd_imm_u(index, 16);
    let mut arguments: Vec<BlockArg> = vec![next.into()];
    let mut finals = Vec::new();
    for (number, &p) in segment.live_out.preds.iter().enumerate() {
        let mask = e.pred(p)?;
        let bits = e.b.ins().vhigh_bits(I32, mask);
        let placed = e.b.ins().ishl(bits, first_lane);
        let accumulated = e.b.ins().bor(params[1 + number], placed);
        finals.push(accumulated);
        arguments.push(accumulated.into());
    }
    let mut b = e.b;
    let more = b.ins().icmp_imm_u(IntCC::UnsignedLessThan, next, CELL_BYTES as i64);
    let exit = b.create_block();
    b.ins().brif(more, header, &arguments, exit, &[]);
    b.seal_block(header);
    b.switch_to_block(exit);
    b.seal_block(exit);
    for (&p, value) in segment.live_out.preds.iter().zip(finals) {
        b.ins().store(trusted, value, frame, offset(Frame::predicate_offset(register_cells, p))?);
    }
    b.ins().return_(&[]);
    b.finalize(isa.frontend_config());
    Ok(())
}

fn offset(bytes: usize) -> Result<i32, ExecError> {
    i32::try_from(bytes).map_err(|_| internal("a frame beyond 2 GiB"))
}

fn predicate_write(op: &LaneOp) -> Option<PredId> {
    match *op {
        LaneOp::Cmp32 { d, .. }
        | LaneOp::Cmp64 { d, .. }
        | LaneOp::CmpF32 { d, .. }
        | LaneOp::CmpF64 { d, .. }
        | LaneOp::PredMov { d, .. }
        | LaneOp::Pred { d, .. } => Some(d),
        _ => None,
    }
}

fn predicate_reads(inst: &LaneInst) -> impl Iterator<Item = PredId> {
    let guarded_write = if inst.guard == ValP::ALWAYS { None } else { predicate_write(&inst.op) };
    let (a, b) = match inst.op {
        LaneOp::PredMov { a, .. } => (a.reg(), None),
        LaneOp::Pred { a, b, .. } => (a.reg(), b.reg()),
        LaneOp::Select32 { p, .. } | LaneOp::Select64 { p, .. } => (p.reg(), None),
        _ => (None, None),
    };
    [inst.guard.reg(), guarded_write, a, b].into_iter().flatten()
}

struct Emitter<'f> {
    b: FunctionBuilder<'f>,
    base32: Value,
    base64: Value,
    first_lane: Value,
    /// Whole masks of the predicates that were loaded at entry.
    masks: FxHashMap<PredId, Value>,
    r32: FxHashMap<R32, Value>,
    r64: FxHashMap<R64, Pair>,
    preds: FxHashMap<PredId, Value>,
    constants: FxHashMap<[u32; 4], Value>,
    lane_bits: Option<Value>,
}

impl Emitter<'_> {
    fn constant(&mut self, words: [u32; 4]) -> Value {
        if let Some(&value) = self.constants.get(&words) {
            return value;
        }
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let handle = self.b.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
        let value = self.b.ins().vconst(I32X4, handle);
        self.constants.insert(words, value);
        value
    }

    fn cast(&mut self, ty: Type, value: Value) -> Value {
        let flags = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.b.ins().bitcast(ty, flags, value)
    }

    fn r32(&mut self, r: R32) -> Result<Value, ExecError> {
        if let Some(&value) = self.r32.get(&r) {
            return Ok(value);
        }
        let value = self.b.ins().load(
            I32X4,
            MemFlagsData::trusted(),
            self.base32,
            offset(r.0 as usize * CELL_BYTES)?,
        );
        self.r32.insert(r, value);
        Ok(value)
    }

    fn r64(&mut self, r: R64) -> Result<Pair, ExecError> {
        if let Some(&value) = self.r64.get(&r) {
            return Ok(value);
        }
        let at = offset(r.0 as usize * CELL_BYTES)?;
        let low = self.b.ins().load(I64X2, MemFlagsData::trusted(), self.base64, at);
        let high = self.b.ins().load(I64X2, MemFlagsData::trusted(), self.base64, at + 16);
        self.r64.insert(r, Pair(low, high));
        Ok(Pair(low, high))
    }

    /// The predicate as a mask of this chunk's lanes.
    fn pred(&mut self, p: PredId) -> Result<Value, ExecError> {
        if let Some(&value) = self.preds.get(&p) {
            return Ok(value);
        }
        let mask = *self.masks.get(&p).ok_or_else(|| internal("predicate without a mask"))?;
        let shifted = self.b.ins().ushr(mask, self.first_lane);
        let all = self.b.ins().splat(I32X4, shifted);
        let bits = match self.lane_bits {
            Some(bits) => bits,
            None => {
                let bits = self.constant([1, 2, 4, 8]);
                *self.lane_bits.insert(bits)
            }
        };
        let own = self.b.ins().band(all, bits);
        let value = self.b.ins().icmp(IntCC::Equal, own, bits);
        self.preds.insert(p, value);
        Ok(value)
    }

    fn val32(&mut self, v: Val32) -> Result<Value, ExecError> {
        match v {
            Val32::Reg(r) => self.r32(r),
            Val32::Imm(bits) => Ok(self.constant([bits; 4])),
        }
    }

    fn val64(&mut self, v: Val64) -> Result<Pair, ExecError> {
        match v {
            Val64::Reg(r) => self.r64(r),
            Val64::Imm(bits) => {
                let (low, high) = (bits as u32, (bits >> 32) as u32);
                let words = self.constant([low, high, low, high]);
                let value = self.cast(I64X2, words);
                Ok(Pair(value, value))
            }
        }
    }

    fn valp(&mut self, v: ValP) -> Result<Value, ExecError> {
        match v {
            ValP::Reg(p) => self.pred(p),
            ValP::Not(p) => {
                let value = self.pred(p)?;
                Ok(self.b.ins().bnot(value))
            }
            ValP::Const(value) => Ok(self.constant([if value { u32::MAX } else { 0 }; 4])),
        }
    }

    /// A lane mask as masks of the two halves of a 64-bit register.
    fn widen_mask(&mut self, mask: Value) -> Pair {
        Pair(self.b.ins().swiden_low(mask), self.b.ins().swiden_high(mask))
    }

    /// The low (or high) words of a 64-bit register.
    fn words(&mut self, Pair(low, high): Pair, upper: bool) -> Value {
        let (low, high) = (self.cast(I8X16, low), self.cast(I8X16, high));
        let lanes: [u8; 4] = if upper { [1, 3, 5, 7] } else { [0, 2, 4, 6] };
        let bytes: Vec<u8> = lanes.iter().flat_map(|l| (0..4).map(move |byte| l * 4 + byte)).collect();
        let mask = self.b.func.dfg.immediates.push(ConstantData::from(&bytes[..]));
        let shuffled = self.b.ins().shuffle(low, high, mask);
        self.cast(I32X4, shuffled)
    }

    fn set32(&mut self, guard: ValP, d: R32, value: Value) -> Result<(), ExecError> {
        let value = if guard == ValP::ALWAYS {
            value
        } else {
            let (mask, old) = (self.valp(guard)?, self.r32(d)?);
            self.b.ins().bitselect(mask, value, old)
        };
        self.r32.insert(d, value);
        Ok(())
    }

    fn set64(&mut self, guard: ValP, d: R64, value: Pair) -> Result<(), ExecError> {
        let value = if guard == ValP::ALWAYS {
            value
        } else {
            let (mask, old) = (self.valp(guard)?, self.r64(d)?);
            let Pair(m0, m1) = self.widen_mask(mask);
            Pair(self.b.ins().bitselect(m0, value.0, old.0), self.b.ins().bitselect(m1, value.1, old.1))
        };
        self.r64.insert(d, value);
        Ok(())
    }

    fn setp(&mut self, guard: ValP, d: PredId, value: Value) -> Result<(), ExecError> {
        let value = if guard == ValP::ALWAYS {
            value
        } else {
            let (mask, old) = (self.valp(guard)?, self.pred(d)?);
            self.b.ins().bitselect(mask, value, old)
        };
        self.preds.insert(d, value);
        Ok(())
    }

    fn both(&mut self, a: Pair, b: Pair, mut f: impl FnMut(&mut Self, Value, Value) -> Value) -> Pair {
        Pair(f(self, a.0, b.0), f(self, a.1, b.1))
    }

    fn int(&mut self, op: IntBin, a: Value, b: Value) -> Value {
        let i = self.b.ins();
        match op {
            IntBin::Add => i.iadd(a, b),
            IntBin::Sub => i.isub(a, b),
            IntBin::Mul => i.imul(a, b),
            IntBin::And => i.band(a, b),
            IntBin::Or => i.bor(a, b),
            IntBin::Xor => i.bxor(a, b),
            IntBin::MinS => i.smin(a, b),
            IntBin::MaxS => i.smax(a, b),
            IntBin::MinU => i.umin(a, b),
            IntBin::MaxU => i.umax(a, b),
        }
    }

    /// 64-bit minimum and maximum have no vector instruction: compare and select.
    fn int64(&mut self, op: IntBin, a: Value, b: Value) -> Value {
        let cc = match op {
            IntBin::MinS => IntCC::SignedLessThan,
            IntBin::MaxS => IntCC::SignedGreaterThan,
            IntBin::MinU => IntCC::UnsignedLessThan,
            IntBin::MaxU => IntCC::UnsignedGreaterThan,
            _ => return self.int(op, a, b),
        };
        let mask = self.b.ins().icmp(cc, a, b);
        self.b.ins().bitselect(mask, a, b)
    }

    fn shift(&mut self, op: Shift, a: Value, by: u8) -> Value {
        let amount = self.b.ins().iconst(I32, i64::from(by));
        match op {
            Shift::Left => self.b.ins().ishl(a, amount),
            Shift::RightU => self.b.ins().ushr(a, amount),
            Shift::RightS => self.b.ins().sshr(a, amount),
        }
    }

    fn float(&mut self, op: FloatBin, a: Value, b: Value) -> Value {
        match op {
            FloatBin::Add => self.b.ins().fadd(a, b),
            FloatBin::Sub => self.b.ins().fsub(a, b),
            FloatBin::Mul => self.b.ins().fmul(a, b),
            FloatBin::Min | FloatBin::Max => {
                // CLIF's fmin and fmax yield NaN if either operand is one; PTX wants the other operand.
                let ty = self.b.func.dfg.value_type(a);
                let both =
                    if op == FloatBin::Min { self.b.ins().fmin(a, b) } else { self.b.ins().fmax(a, b) };
                let a_nan = self.b.ins().fcmp(FloatCC::Unordered, a, a);
                let b_nan = self.b.ins().fcmp(FloatCC::Unordered, b, b);
                let (a_mask, b_mask) = (self.cast(ty, a_nan), self.cast(ty, b_nan));
                let without_b = self.b.ins().bitselect(b_mask, a, both);
                self.b.ins().bitselect(a_mask, b, without_b)
            }
        }
    }

    fn fcmp(&mut self, cmp: FloatCmp, a: Value, b: Value) -> Value {
        let simple = |e: &mut Self, cc, a, b| e.b.ins().fcmp(cc, a, b);
        let or_nan = |e: &mut Self, cc, a, b| {
            let ordered = e.b.ins().fcmp(cc, a, b);
            let unordered = e.b.ins().fcmp(FloatCC::Unordered, a, b);
            e.b.ins().bor(ordered, unordered)
        };
        match cmp {
            FloatCmp::Eq => simple(self, FloatCC::Equal, a, b),
            FloatCmp::Ne => {
                let (less, greater) =
                    (self.b.ins().fcmp(FloatCC::LessThan, a, b), self.b.ins().fcmp(FloatCC::LessThan, b, a));
                self.b.ins().bor(less, greater)
            }
            FloatCmp::Lt => simple(self, FloatCC::LessThan, a, b),
            FloatCmp::Le => simple(self, FloatCC::LessThanOrEqual, a, b),
            FloatCmp::Gt => simple(self, FloatCC::LessThan, b, a),
            FloatCmp::Ge => simple(self, FloatCC::LessThanOrEqual, b, a),
            FloatCmp::EqU => or_nan(self, FloatCC::Equal, a, b),
            FloatCmp::NeU => simple(self, FloatCC::NotEqual, a, b),
            FloatCmp::LtU => or_nan(self, FloatCC::LessThan, a, b),
            FloatCmp::LeU => or_nan(self, FloatCC::LessThanOrEqual, a, b),
            FloatCmp::GtU => or_nan(self, FloatCC::LessThan, b, a),
            FloatCmp::GeU => or_nan(self, FloatCC::LessThanOrEqual, b, a),
            FloatCmp::Num => simple(self, FloatCC::Ordered, a, b),
            FloatCmp::Nan => simple(self, FloatCC::Unordered, a, b),
        }
    }

    fn inst(&mut self, inst: &LaneInst) -> Result<(), ExecError> {
        let guard = inst.guard;
        match inst.op {
            LaneOp::Mov32 { d, a } => {
                let value = self.val32(a)?;
                self.set32(guard, d, value)
            }
            LaneOp::Mov64 { d, a } => {
                let value = self.val64(a)?;
                self.set64(guard, d, value)
            }
            LaneOp::Int32 { op, d, a, b } => {
                let (a, b) = (self.val32(a)?, self.val32(b)?);
                let value = self.int(op, a, b);
                self.set32(guard, d, value)
            }
            LaneOp::Int64 { op, d, a, b } => {
                let (a, b) = (self.val64(a)?, self.val64(b)?);
                let value = self.both(a, b, |e, a, b| e.int64(op, a, b));
                self.set64(guard, d, value)
            }
            LaneOp::Shift32 { op, d, a, by } => {
                let a = self.val32(a)?;
                let value = self.shift(op, a, by);
                self.set32(guard, d, value)
            }
            LaneOp::Shift64 { op, d, a, by } => {
                let a = self.val64(a)?;
                let value = self.both(a, a, |e, a, _| e.shift(op, a, by));
                self.set64(guard, d, value)
            }
            LaneOp::MulWide { signed, d, a, b } => {
                let (a, b) = (self.val32(a)?, self.val32(b)?);
                let (a, b) = (self.widen(signed, a), self.widen(signed, b));
                let value = self.both(a, b, |e, a, b| e.b.ins().imul(a, b));
                self.set64(guard, d, value)
            }
            LaneOp::Widen { signed, d, a } => {
                let a = self.val32(a)?;
                let value = self.widen(signed, a);
                self.set64(guard, d, value)
            }
            LaneOp::Low { d, a } => {
                let a = self.val64(a)?;
                let value = self.words(a, false);
                self.set32(guard, d, value)
            }
            LaneOp::High { d, a } => {
                let a = self.val64(a)?;
                let value = self.words(a, true);
                self.set32(guard, d, value)
            }
            LaneOp::Pack { d, lo, hi } => {
                let (lo, hi) = (self.val32(lo)?, self.val32(hi)?);
                let (lo, hi) = (self.widen(false, lo), self.widen(false, hi));
                let value = self.both(lo, hi, |e, lo, hi| {
                    let upper = e.shift(Shift::Left, hi, 32);
                    e.b.ins().bor(lo, upper)
                });
                self.set64(guard, d, value)
            }
            LaneOp::F32 { op, d, a, b } => {
                let (a, b) = (self.float32(a)?, self.float32(b)?);
                let value = self.float(op, a, b);
                let value = self.cast(I32X4, value);
                self.set32(guard, d, value)
            }
            LaneOp::Fma32 { d, a, b, c } => {
                let (a, b, c) = (self.float32(a)?, self.float32(b)?, self.float32(c)?);
                let value = self.b.ins().fma(a, b, c);
                let value = self.cast(I32X4, value);
                self.set32(guard, d, value)
            }
            LaneOp::Bytes { d, a, b, pick } => {
                let (a, b) = (self.val32(a)?, self.val32(b)?);
                let (a, b) = (self.cast(I8X16, a), self.cast(I8X16, b));
                let place = |lane: u8, from: u8| 4 * lane + from % 4 + if from < 4 { 0 } else { 16 };
                let bytes: Vec<u8> = (0..4).flat_map(|lane| pick.map(|from| place(lane, from))).collect();
                let mask = self.b.func.dfg.immediates.push(ConstantData::from(&bytes[..]));
                let value = self.b.ins().shuffle(a, b, mask);
                let value = self.cast(I32X4, value);
                self.set32(guard, d, value)
            }
            LaneOp::Flush32 { d, a } => {
                let a = self.val32(a)?;
                let (exponent, sign) = (self.constant([0x7f80_0000; 4]), self.constant([0x8000_0000; 4]));
                let zero = self.constant([0; 4]);
                let bits = self.b.ins().band(a, exponent);
                let tiny = self.b.ins().icmp(IntCC::Equal, bits, zero);
                let signed_zero = self.b.ins().band(a, sign);
                let value = self.b.ins().bitselect(tiny, signed_zero, a);
                self.set32(guard, d, value)
            }
            LaneOp::F64 { op, d, a, b } => {
                let (a, b) = (self.float64(a)?, self.float64(b)?);
                let value = self.both(a, b, |e, a, b| {
                    let value = e.float(op, a, b);
                    e.cast(I64X2, value)
                });
                self.set64(guard, d, value)
            }
            LaneOp::Fma64 { d, a, b, c } => {
                let (a, b, c) = (self.float64(a)?, self.float64(b)?, self.float64(c)?);
                let (low, high) = (self.b.ins().fma(a.0, b.0, c.0), self.b.ins().fma(a.1, b.1, c.1));
                let value = Pair(self.cast(I64X2, low), self.cast(I64X2, high));
                self.set64(guard, d, value)
            }
            LaneOp::Cmp32 { cmp, d, a, b } => {
                let (a, b) = (self.val32(a)?, self.val32(b)?);
                let value = self.b.ins().icmp(int_cc(cmp), a, b);
                self.setp(guard, d, value)
            }
            LaneOp::Cmp64 { cmp, d, a, b } => {
                let (a, b) = (self.val64(a)?, self.val64(b)?);
                let masks = self.both(a, b, |e, a, b| e.b.ins().icmp(int_cc(cmp), a, b));
                let value = self.words(masks, false);
                self.setp(guard, d, value)
            }
            LaneOp::CmpF32 { cmp, d, a, b } => {
                let (a, b) = (self.float32(a)?, self.float32(b)?);
                let value = self.fcmp(cmp, a, b);
                self.setp(guard, d, value)
            }
            LaneOp::CmpF64 { cmp, d, a, b } => {
                let (a, b) = (self.float64(a)?, self.float64(b)?);
                let masks = self.both(a, b, |e, a, b| e.fcmp(cmp, a, b));
                let value = self.words(masks, false);
                self.setp(guard, d, value)
            }
            LaneOp::PredMov { d, a } => {
                let value = self.valp(a)?;
                self.setp(guard, d, value)
            }
            LaneOp::Pred { op, d, a, b } => {
                let (a, b) = (self.valp(a)?, self.valp(b)?);
                let value = match op {
                    PredBin::And => self.b.ins().band(a, b),
                    PredBin::Or => self.b.ins().bor(a, b),
                    PredBin::Xor => self.b.ins().bxor(a, b),
                };
                self.setp(guard, d, value)
            }
            LaneOp::Select32 { d, p, a, b } => {
                let (mask, a, b) = (self.valp(p)?, self.val32(a)?, self.val32(b)?);
                let value = self.b.ins().bitselect(mask, a, b);
                self.set32(guard, d, value)
            }
            LaneOp::Select64 { d, p, a, b } => {
                let (mask, a, b) = (self.valp(p)?, self.val64(a)?, self.val64(b)?);
                let Pair(m0, m1) = self.widen_mask(mask);
                let value = Pair(self.b.ins().bitselect(m0, a.0, b.0), self.b.ins().bitselect(m1, a.1, b.1));
                self.set64(guard, d, value)
            }
        }
    }

    fn widen(&mut self, signed: bool, a: Value) -> Pair {
        if signed {
            Pair(self.b.ins().swiden_low(a), self.b.ins().swiden_high(a))
        } else {
            Pair(self.b.ins().uwiden_low(a), self.b.ins().uwiden_high(a))
        }
    }

    fn float32(&mut self, v: Val32) -> Result<Value, ExecError> {
        let value = self.val32(v)?;
        Ok(self.cast(F32X4, value))
    }

    fn float64(&mut self, v: Val64) -> Result<Pair, ExecError> {
        let Pair(low, high) = self.val64(v)?;
        Ok(Pair(self.cast(F64X2, low), self.cast(F64X2, high)))
    }
}

fn int_cc(cmp: IntCmp) -> IntCC {
    match cmp {
        IntCmp::Eq => IntCC::Equal,
        IntCmp::Ne => IntCC::NotEqual,
        IntCmp::LtS => IntCC::SignedLessThan,
        IntCmp::LeS => IntCC::SignedLessThanOrEqual,
        IntCmp::GtS => IntCC::SignedGreaterThan,
        IntCmp::GeS => IntCC::SignedGreaterThanOrEqual,
        IntCmp::LtU => IntCC::UnsignedLessThan,
        IntCmp::LeU => IntCC::UnsignedLessThanOrEqual,
        IntCmp::GtU => IntCC::UnsignedGreaterThan,
        IntCmp::GeU => IntCC::UnsignedGreaterThanOrEqual,
    }
}
