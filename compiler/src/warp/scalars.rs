//! Launch-uniform and block-uniform scalars: parameters, dimensions, strides, coordinates.

use super::build::Builder;
use super::ir::*;
use crate::artifact::ParamSlot;
use crate::diagnostics::Span;
use crate::plan::{Refusal, cover, instances};
use crate::scheduled::accesses;
use crate::scheduled::ir::{Dispatch, Index, Module};
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// The scalars of one kernel; each is computed once, where it is first asked for (all before the main loop).
pub struct Scalars<'a> {
    pub(super) kernel: &'a t1::Kernel,
    pub slots: Vec<ParamSlot>,
    pub params: Vec<(String, ParamTy)>,
    /// Constants, and their addresses.
    pub tables: Vec<Table>,
    constants: Vec<(t1::TensorId, Reg)>,
    regs: Vec<Reg>,
    /// The block's place in the grid.
    pub(super) grid: super::grid::Place,
    pub known: Known,
}

/// What has been computed so far.
#[derive(Clone, Default)]
pub struct Known {
    wide: FxHashMap<t1::ValueId, Reg>,
    strides: FxHashMap<(t1::TensorId, usize), Reg>,
    /// The coordinate of each loop that is open, 32 bits.
    loops: FxHashMap<t1::LoopId, Reg>,
    /// Scalars that data decided, 32 bits.
    data: FxHashMap<t1::ValueId, Reg>,
    /// Grid variables whose values a loop runs through, and where it is.
    instances: FxHashMap<t1::GridId, Reg>,
}

impl<'a> Scalars<'a> {
    /// Declares and loads every parameter: for each argument its pointer (with the strides that the launch gives) or value, then
    /// every dimension that is not frozen. A module that reduces across instances has a workspace.
    pub fn load(kernel: &'a t1::Kernel, module: &Module, b: &mut Builder) -> Result<Scalars<'a>, Refusal> {
        let mut slots = Vec::new();
        let mut params = Vec::new();
        for p in &kernel.params {
            match *p {
                t1::Param::Tensor(t) => {
                    let tensor = kernel.tensor(t);
                    slots.push(ParamSlot::Pointer(t));
                    let align = accesses::widest(module, kernel, t);
                    params.push((tensor.name.clone(), ParamTy::Pointer { align }));
                    for (axis, stride) in tensor.strides.iter().enumerate() {
                        if *stride == t1::Stride::Free {
                            slots.push(ParamSlot::Stride(t, axis));
                            params.push((format!("{}_stride{axis}", tensor.name), ParamTy::U64));
                        }
                    }
                }
                t1::Param::Scalar(s) => {
                    let scalar = kernel.scalar(s);
                    let ty = match scalar.elem {
                        t1::ElemType::F32 => ParamTy::F32,
                        t1::ElemType::Int(32) => ParamTy::S32,
                        t1::ElemType::Uint(32) => ParamTy::U32,
                        t1::ElemType::Int(64) | t1::ElemType::Uint(64) | t1::ElemType::Index => ParamTy::U64,
                        t1::ElemType::Int(16) => ParamTy::S16,
                        t1::ElemType::Uint(16) => ParamTy::U16,
                        t1::ElemType::Int(8) => ParamTy::S8,
                        t1::ElemType::Uint(8) | t1::ElemType::Bool => ParamTy::U8,
                        t1::ElemType::F16 | t1::ElemType::Bf16 => ParamTy::B16,
                        other => {
                            return Err(Refusal::construct(
                                scalar.span,
                                format!("the scalar parameter of type {other}"),
                            ));
                        }
                    };
                    slots.push(ParamSlot::Scalar(s));
                    params.push((scalar.name.clone(), ty));
                }
            }
        }
        if !module.work.is_empty() {
            slots.extend([ParamSlot::Workspace, ParamSlot::Counters]);
            params.push(("workspace".into(), ParamTy::Pointer { align: 16 }));
            params.push(("counters".into(), ParamTy::Pointer { align: 4 }));
        } else if module.dispatch == Dispatch::Drawn {
            slots.push(ParamSlot::Counters);
            params.push(("counters".into(), ParamTy::Pointer { align: 4 }));
        }
        for (i, d) in kernel.dims.iter().enumerate() {
            if d.frozen.is_none() {
                slots.push(ParamSlot::Dim(t1::DimId(i as u32)));
                params.push((format!("dim_{}", d.name), ParamTy::U32));
            }
        }
        let mut regs = Vec::new();
        for (index, (_, ty)) in params.iter().enumerate() {
            let class = match ty {
                ParamTy::Pointer { .. } | ParamTy::U64 => Class::B64,
                ParamTy::F32 => Class::F32,
                ParamTy::B16 => Class::B16,
                ParamTy::U32 | ParamTy::S32 | ParamTy::U16 | ParamTy::S16 | ParamTy::U8 | ParamTy::S8 => {
                    Class::B32
                }
            };
            let d = b.reg(class);
            b.push(Op::Param { d, index });
            regs.push(d);
        }
        let (mut tables, mut constants) = (Vec::new(), Vec::new());
        for (n, tensor) in kernel.tensors.iter().enumerate() {
            let t1::TensorKind::Const(list) = &tensor.kind else { continue };
            let bits = tensor.elem.bits();
            if !bits.is_multiple_of(8) {
                let what = format!("a constant of {}, which is no whole byte,", tensor.elem);
                return Err(Refusal::construct(tensor.span, what));
            }
            let d = b.reg(Class::B64);
            b.push(Op::Table { d, index: tables.len() });
            constants.push((t1::TensorId(n as u32), d));
            tables.push(Table {
                name: tensor.name.clone(),
                bits,
                codes: list.iter().map(|c| bits_of(tensor.elem, c)).collect(),
            });
        }
        Ok(Scalars {
            kernel,
            slots,
            params,
            tables,
            constants,
            regs,
            grid: super::grid::Place::default(),
            known: Known::default(),
        })
    }

    pub(super) fn slot(&self, slot: &ParamSlot) -> Option<Reg> {
        self.slots.iter().position(|s| s == slot).map(|i| self.regs[i])
    }

    pub fn pointer(&self, t: t1::TensorId) -> Result<Reg, Refusal> {
        let constant = self.constants.iter().find(|(c, _)| *c == t).map(|(_, r)| *r);
        constant
            .or_else(|| self.slot(&ParamSlot::Pointer(t)))
            .ok_or_else(|| Refusal::construct(self.kernel.tensor(t).span, "a tensor that is no parameter"))
    }

    /// The address of the workspace's parts.
    pub fn workspace(&self) -> Result<Reg, Refusal> {
        self.given(&ParamSlot::Workspace)
    }

    /// The address of the workspace's counters.
    pub fn counters(&self) -> Result<Reg, Refusal> {
        self.given(&ParamSlot::Counters)
    }

    fn given(&self, slot: &ParamSlot) -> Result<Reg, Refusal> {
        self.slot(slot)
            .ok_or_else(|| Refusal::construct(self.kernel.span, "a workspace that is no parameter"))
    }

    fn dim(&self, d: t1::DimId) -> Src {
        match (self.kernel.dim(d).frozen, self.slot(&ParamSlot::Dim(d))) {
            (Some(v), _) => Src::Int(v),
            (None, Some(r)) => Src::Reg(r),
            (None, None) => unreachable!("every dimension that is not frozen has a parameter"),
        }
    }

    /// A coordinate or bound in 32 bits: dimensions are below 2^31 by the launch's check, so are grid coordinates.
    pub fn coordinate(&mut self, b: &mut Builder, v: t1::ValueId) -> Result<Src, Refusal> {
        if let Some(r) = self.known.data.get(&v) {
            return Ok(Src::Reg(*r));
        }
        match &self.kernel.value(v).op {
            t1::Op::Const(t1::Const::Int(c)) if i32::try_from(*c).is_ok() => Ok(Src::Int(*c as i64)),
            t1::Op::Dim(d) => Ok(self.dim(*d)),
            t1::Op::GridVar(g) => Ok(match self.known.instances.get(g) {
                Some(at) => Src::Reg(*at),
                None => Src::Reg(self.grid.coordinates[g.0 as usize]),
            }),
            t1::Op::LoopVar(l) if self.known.loops.contains_key(l) => Ok(Src::Reg(self.known.loops[l])),
            _ => {
                let wide = self.index(b, v)?;
                Ok(Src::Reg(b.narrow(wide)))
            }
        }
    }

    /// The register of a scalar that data decided.
    pub fn learn(&mut self, v: t1::ValueId, r: Reg) {
        self.known.data.insert(v, r);
    }

    /// The coordinate of a loop inside its body.
    pub fn enter_loop(&mut self, l: t1::LoopId, at: Reg) {
        self.known.loops.insert(l, at);
    }

    /// The coordinate of a loop that is open.
    pub fn loop_at(&self, l: t1::LoopId) -> Option<Reg> {
        self.known.loops.get(&l).copied()
    }

    /// The coordinate of a grid variable in a loop through its values. What was computed from the block's own no longer holds.
    pub fn enter_instance(&mut self, g: t1::GridId, at: Reg) {
        self.known.wide.clear();
        self.known.instances.insert(g, at);
    }

    /// The extent of a tensor's dimension, 32 bits: the launch checks that dimensions fit 31.
    pub fn extent(&mut self, b: &mut Builder, t: t1::TensorId, dim: usize) -> Result<Src, Refusal> {
        let entry = &self.kernel.tensor(t).shape[dim];
        match &entry.extent {
            t1::LaunchExpr::Dim(d) => Ok(self.dim(*d)),
            t1::LaunchExpr::Const(t1::Const::Int(c)) if i32::try_from(*c).is_ok() => Ok(Src::Int(*c as i64)),
            other => {
                let wide = self.launch_expr(b, other, entry.span)?;
                Ok(Src::Reg(b.narrow(wide)))
            }
        }
    }

    /// An `index` scalar in 64 bits.
    pub fn index(&mut self, b: &mut Builder, v: t1::ValueId) -> Result<Reg, Refusal> {
        if let Some(r) = self.known.wide.get(&v) {
            return Ok(*r);
        }
        if let Some(r) = self.known.data.get(&v) {
            let wide = b.widen(true, *r);
            self.known.wide.insert(v, wide);
            return Ok(wide);
        }
        let value = self.kernel.value(v);
        let reg = match &value.op {
            t1::Op::Const(t1::Const::Int(c)) => b.mov(Class::B64, *c as i64),
            t1::Op::LoopVar(l) if !self.known.loops.contains_key(l) => {
                return Err(Refusal::construct(value.span, "a loop's coordinate in this place"));
            }
            t1::Op::Dim(_) | t1::Op::GridVar(_) | t1::Op::LoopVar(_) => match self.coordinate(b, v)? {
                Src::Reg(r) => b.widen(false, r),
                imm => b.mov(Class::B64, imm),
            },
            t1::Op::Param(s) if value.ty.elem.bits() == 32 && value.ty.elem.is_integer() => {
                let signed = value.ty.elem.is_signed();
                match self.scalar_param(*s) {
                    Some(r) => b.widen(signed, r),
                    None => return Err(Refusal::construct(value.span, "this scalar")),
                }
            }
            t1::Op::Cast(x)
                if self.kernel.ty(*x).elem.is_integer() && value.ty.elem == t1::ElemType::Index =>
            {
                self.index(b, *x)?
            }
            t1::Op::Read { tensor, ix } => self.entry(b, *tensor, ix, value.span)?,
            t1::Op::Binary(op @ (t1::BinaryOp::Div | t1::BinaryOp::Cdiv | t1::BinaryOp::Rem), x, y) => {
                // Rounding down and rounding to zero are the same where nothing is negative.
                let by = self.kernel.const_int(*y).filter(|c| *c > 0);
                if !instances::not_negative(self.kernel, *x) || !instances::not_negative(self.kernel, *y) {
                    return Err(Refusal::construct(
                        value.span,
                        format!("`{}` of these coordinates", op.name()),
                    )
                    .note("division of and by what is known not to be negative is lowered today"));
                }
                let mut x = self.index(b, *x)?;
                let Some(by) = by else {
                    let by = self.index(b, *y)?;
                    let reg = divided(b, *op, x, by);
                    self.known.wide.insert(v, reg);
                    return Ok(reg);
                };
                if *op == t1::BinaryOp::Cdiv {
                    x = b.int(IntOp::Add, IntTy::S64, x, by - 1);
                }
                match (op, by.count_ones()) {
                    (t1::BinaryOp::Rem, 1) => b.int(IntOp::And, IntTy::B64, x, by - 1),
                    (t1::BinaryOp::Rem, _) => b.int(IntOp::Rem, IntTy::S64, x, by),
                    (_, 1) => b.int(IntOp::Shr, IntTy::S64, x, i64::from(by.trailing_zeros())),
                    _ => b.int(IntOp::Div, IntTy::S64, x, by),
                }
            }
            t1::Op::Binary(op, x, y) => {
                let (x, y) = (self.index(b, *x)?, self.index(b, *y)?);
                let op = match op {
                    t1::BinaryOp::Add => IntOp::Add,
                    t1::BinaryOp::Sub => IntOp::Sub,
                    t1::BinaryOp::Mul => IntOp::MulLo,
                    t1::BinaryOp::Min => IntOp::Min,
                    t1::BinaryOp::Max => IntOp::Max,
                    _ => {
                        return Err(Refusal::construct(
                            value.span,
                            format!("`{}` of coordinates", op.name()),
                        ));
                    }
                };
                b.int(op, IntTy::S64, x, y)
            }
            _ => return Err(Refusal::construct(value.span, "this computed coordinate")),
        };
        self.known.wide.insert(v, reg);
        Ok(reg)
    }

    /// An element of an integer tensor as a coordinate, the same for the whole block: 64 bits; zero outside the tensor.
    fn entry(
        &mut self,
        b: &mut Builder,
        tensor: t1::TensorId,
        ix: &[t1::ValueId],
        span: Span,
    ) -> Result<Reg, Refusal> {
        let elem = self.kernel.tensor(tensor).elem;
        if !matches!(elem, t1::ElemType::Int(32) | t1::ElemType::Uint(32)) {
            return Err(Refusal::construct(span, format!("a coordinate that is read as {elem}")));
        }
        let mut base = self.pointer(tensor)?;
        let mut inside: Option<Reg> = None;
        for (dim, &v) in ix.iter().enumerate() {
            let at = self.index(b, v)?;
            let index = Index { offset: Some(v), ..Index::default() };
            if !cover::inside(self.kernel, tensor, dim, &index) {
                let extent = match self.extent(b, tensor, dim)? {
                    Src::Reg(r) => Src::Reg(b.widen(false, r)),
                    imm => imm,
                };
                // A negative coordinate is a large unsigned number.
                let p = b.set_int(Cmp::Lt, IntTy::U64, at, extent);
                inside = Some(inside.map_or(p, |q| b.pred_and(p, q)));
            }
            let stride = self.stride_bytes(b, tensor, dim)?;
            base = b.mad(IntTy::S64, at, stride, base);
        }
        let d = b.mov(Class::B32, 0);
        let from = Address { base, offset: 0 };
        b.guarded(inside.map(|p| (p, true)), Op::LoadGlobal { d: vec![d], from });
        Ok(b.widen(elem.is_signed(), d))
    }

    /// A floating-point or integer scalar that element computations use.
    pub fn scalar_param(&self, s: t1::ScalarId) -> Option<Reg> {
        self.slot(&ParamSlot::Scalar(s))
    }

    pub(super) fn launch_expr(
        &mut self,
        b: &mut Builder,
        e: &t1::LaunchExpr,
        span: Span,
    ) -> Result<Reg, Refusal> {
        match e {
            t1::LaunchExpr::Const(t1::Const::Int(c)) => Ok(b.mov(Class::B64, *c as i64)),
            t1::LaunchExpr::Dim(d) => Ok(match self.dim(*d) {
                Src::Reg(r) => b.widen(false, r),
                imm => b.mov(Class::B64, imm),
            }),
            t1::LaunchExpr::Cast(t1::ElemType::Index, x) => self.launch_expr(b, x, span),
            t1::LaunchExpr::Scalar(s) => {
                let elem = self.kernel.scalar(*s).elem;
                match self.scalar_param(*s).filter(|_| elem.bits() == 32 && elem.is_integer()) {
                    Some(r) => Ok(b.widen(elem.is_signed(), r)),
                    None => Err(Refusal::construct(span, format!("a shape that a scalar of {elem} gives"))
                        .help("a scalar of i32 or u32 may serve as a dimension")),
                }
            }
            t1::LaunchExpr::Binary(op, x, y) => {
                let op = match op {
                    t1::BinaryOp::Add => IntOp::Add,
                    t1::BinaryOp::Sub => IntOp::Sub,
                    t1::BinaryOp::Mul => IntOp::MulLo,
                    t1::BinaryOp::Div | t1::BinaryOp::Cdiv => IntOp::Div,
                    t1::BinaryOp::Min => IntOp::Min,
                    t1::BinaryOp::Max => IntOp::Max,
                    _ => return Err(Refusal::construct(span, "this shape expression")),
                };
                if let t1::LaunchExpr::Binary(t1::BinaryOp::Cdiv, x, y) = e {
                    let (x, y) = (self.launch_expr(b, x, span)?, self.launch_expr(b, y, span)?);
                    let up = b.int(IntOp::Add, IntTy::S64, x, y);
                    let up = b.int(IntOp::Sub, IntTy::S64, up, 1);
                    return Ok(b.int(IntOp::Div, IntTy::S64, up, y));
                }
                // What is divided is not negative: the launch checks every extent.
                if let (IntOp::Div, t1::LaunchExpr::Const(t1::Const::Int(c))) = (op, &**y)
                    && *c > 0
                    && c & (c - 1) == 0
                {
                    let x = self.launch_expr(b, x, span)?;
                    return Ok(b.int(IntOp::Shr, IntTy::U64, x, i64::from(c.trailing_zeros())));
                }
                let (x, y) = (self.launch_expr(b, x, span)?, self.launch_expr(b, y, span)?);
                Ok(b.int(op, IntTy::S64, x, y))
            }
            _ => Err(Refusal::construct(span, "this shape expression")),
        }
    }

    /// The stride of a dimension in elements, where it is a dense row's length: that fits in 32 bits.
    pub fn row_elements(&self, t: t1::TensorId, dim: usize) -> Option<Src> {
        let tensor = self.kernel.tensor(t);
        let [row] = &tensor.shape[dim + 1..] else { return None };
        match (&tensor.strides[dim], &row.extent) {
            (t1::Stride::Dense, t1::LaunchExpr::Dim(d)) => Some(self.dim(*d)),
            (t1::Stride::Dense, extent) => extent.eval_int(&t1::NoFacts).map(Src::Int),
            _ => None,
        }
    }

    /// The stride of a dimension in bytes, where the program alone decides it, in 31 bits.
    pub fn static_stride_bytes(&self, t: t1::TensorId, dim: usize) -> Option<i64> {
        let tensor = self.kernel.tensor(t);
        let bytes = i64::from(tensor.elem.bits()) / 8;
        let dense = tensor.elem.bits().is_multiple_of(8) && tensor.strides[dim] == t1::Stride::Dense;
        let extents = tensor.shape[dim + 1..].iter().map(|e| e.extent.eval_int(&t1::NoFacts));
        let stride = extents.fold(dense.then_some(bytes), |all, e| all?.checked_mul(e?));
        stride.filter(|s| (0..1 << 31).contains(s))
    }

    /// The stride of a dimension in bytes, 64 bits.
    pub fn stride_bytes(&mut self, b: &mut Builder, t: t1::TensorId, dim: usize) -> Result<Reg, Refusal> {
        if let Some(r) = self.known.strides.get(&(t, dim)) {
            return Ok(*r);
        }
        let tensor = self.kernel.tensor(t);
        let bits = i64::from(tensor.elem.bits());
        if bits % 8 != 0 {
            // Rows start on bytes.
            let Some((row, outer)) = tensor.shape[dim + 1..].split_last() else {
                unreachable!("a last dimension of bits has no stride of its own")
            };
            let row = self.launch_expr(b, &row.extent, row.span)?;
            let row = b.mad(IntTy::S64, row, bits, Src::Int(7));
            let mut bytes = b.int(IntOp::Shr, IntTy::U64, row, 3);
            for entry in outer {
                let extent = self.launch_expr(b, &entry.extent, entry.span)?;
                bytes = b.int(IntOp::MulLo, IntTy::S64, bytes, extent);
            }
            self.known.strides.insert((t, dim), bytes);
            return Ok(bytes);
        }
        let elem_bytes = bits / 8;
        let elems = match self.slot(&ParamSlot::Stride(t, dim)) {
            Some(r) => r,
            None if matches!(tensor.strides[dim], t1::Stride::Given(_)) => {
                let t1::Stride::Given(e) = &tensor.strides[dim] else { unreachable!("just matched") };
                let e = e.clone();
                self.launch_expr(b, &e, tensor.span)?
            }
            None => {
                let mut product: Option<Reg> = None;
                for entry in &tensor.shape[dim + 1..] {
                    let extent = self.launch_expr(b, &entry.extent, entry.span)?;
                    product = Some(match product {
                        None => extent,
                        Some(p) => b.int(IntOp::MulLo, IntTy::S64, p, extent),
                    });
                }
                match product {
                    Some(p) => p,
                    None => b.mov(Class::B64, 1),
                }
            }
        };
        let bytes = b.int(IntOp::MulLo, IntTy::S64, elems, elem_bytes);
        self.known.strides.insert((t, dim), bytes);
        Ok(bytes)
    }
}

/// A coordinate divided by another, of which neither is negative: 0 where the divisor is, and then all of it is left over.
fn divided(b: &mut Builder, op: t1::BinaryOp, x: Reg, by: Reg) -> Reg {
    let some = b.set_int(Cmp::Gt, IntTy::S64, by, 0);
    let safe = b.int(IntOp::Max, IntTy::S64, by, 1);
    let (result, otherwise) = match op {
        t1::BinaryOp::Rem => (b.int(IntOp::Rem, IntTy::S64, x, safe), Src::Reg(x)),
        t1::BinaryOp::Cdiv => {
            let up = b.int(IntOp::Add, IntTy::S64, x, safe);
            let up = b.int(IntOp::Sub, IntTy::S64, up, 1);
            (b.int(IntOp::Div, IntTy::S64, up, safe), Src::Int(0))
        }
        _ => (b.int(IntOp::Div, IntTy::S64, x, safe), Src::Int(0)),
    };
    let d = b.reg(Class::B64);
    b.push(Op::Select { d, a: result.into(), b: otherwise, p: some });
    d
}

/// The bits of a constant of that type.
pub fn bits_of(elem: t1::ElemType, c: &t1::Const) -> u64 {
    match *c {
        t1::Const::Int(i) if !elem.is_float() => i as u64 & (u64::MAX >> (64 - elem.bits())),
        t1::Const::Int(i) => elem.format().encode_f64(i as f64),
        t1::Const::Float(x) => elem.format().encode_f64(x),
        t1::Const::Bool(b) => u64::from(b),
    }
}
