//! Launch-uniform and block-uniform scalars: parameters, dimensions, strides, the block's place in the grid.

use super::build::Builder;
use super::ir::*;
use crate::artifact::{GridRange, GridRule, ParamSlot};
use crate::plan::Refusal;
use crate::scheduled::ir::Raster;
use crate::tile::ir as t1;
use rustc_hash::FxHashMap;

/// The scalars of one kernel; each is computed once, where it is first asked for (all before the main loop).
pub struct Scalars<'a> {
    kernel: &'a t1::Kernel,
    pub slots: Vec<ParamSlot>,
    pub params: Vec<(String, ParamTy)>,
    regs: Vec<Reg>,
    /// The coordinate of each grid variable, 32 bits.
    grid: Vec<Reg>,
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
    /// every dimension that is not frozen.
    pub fn load(kernel: &'a t1::Kernel, b: &mut Builder) -> Result<Scalars<'a>, Refusal> {
        let mut slots = Vec::new();
        let mut params = Vec::new();
        for p in &kernel.params {
            match *p {
                t1::Param::Tensor(t) => {
                    let tensor = kernel.tensor(t);
                    slots.push(ParamSlot::Pointer(t));
                    params.push((tensor.name.clone(), ParamTy::U64Pointer));
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
        for (i, d) in kernel.dims.iter().enumerate() {
            if d.frozen.is_none() {
                slots.push(ParamSlot::Dim(t1::DimId(i as u32)));
                params.push((format!("dim_{}", d.name), ParamTy::U32));
            }
        }
        let mut regs = Vec::new();
        for (index, (_, ty)) in params.iter().enumerate() {
            let class = match ty {
                ParamTy::U64Pointer | ParamTy::U64 => Class::B64,
                ParamTy::F32 => Class::F32,
                ParamTy::B16 => Class::B16,
                ParamTy::U32 | ParamTy::S32 => Class::B32,
            };
            let d = b.reg(class);
            b.push(Op::Param { d, index });
            regs.push(d);
        }
        Ok(Scalars { kernel, slots, params, regs, grid: Vec::new(), known: Known::default() })
    }

    fn slot(&self, slot: &ParamSlot) -> Option<Reg> {
        self.slots.iter().position(|s| s == slot).map(|i| self.regs[i])
    }

    pub fn pointer(&self, t: t1::TensorId) -> Result<Reg, Refusal> {
        self.slot(&ParamSlot::Pointer(t))
            .ok_or_else(|| Refusal::construct(self.kernel.tensor(t).span, "a tensor that is no parameter"))
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
                None => Src::Reg(self.grid[g.0 as usize]),
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
            t1::Op::Cast(x) if self.kernel.ty(*x).elem == t1::ElemType::Index => self.index(b, *x)?,
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

    /// A floating-point or integer scalar that element computations use.
    pub fn scalar_param(&self, s: t1::ScalarId) -> Option<Reg> {
        self.slot(&ParamSlot::Scalar(s))
    }

    fn launch_expr(
        &mut self,
        b: &mut Builder,
        e: &t1::LaunchExpr,
        span: crate::diagnostics::Span,
    ) -> Result<Reg, Refusal> {
        match e {
            t1::LaunchExpr::Const(t1::Const::Int(c)) => Ok(b.mov(Class::B64, *c as i64)),
            t1::LaunchExpr::Dim(d) => Ok(match self.dim(*d) {
                Src::Reg(r) => b.widen(false, r),
                imm => b.mov(Class::B64, imm),
            }),
            t1::LaunchExpr::Binary(op, x, y) => {
                let op = match op {
                    t1::BinaryOp::Add => IntOp::Add,
                    t1::BinaryOp::Sub => IntOp::Sub,
                    t1::BinaryOp::Mul => IntOp::MulLo,
                    t1::BinaryOp::Div => IntOp::Div,
                    _ => return Err(Refusal::construct(span, "this shape expression")),
                };
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

    /// The stride of a dimension in bytes, 64 bits.
    pub fn stride_bytes(&mut self, b: &mut Builder, t: t1::TensorId, dim: usize) -> Result<Reg, Refusal> {
        if let Some(r) = self.known.strides.get(&(t, dim)) {
            return Ok(*r);
        }
        let tensor = self.kernel.tensor(t);
        let elem_bytes = i64::from(tensor.elem.bits() / 8);
        let elems = match self.slot(&ParamSlot::Stride(t, dim)) {
            Some(r) => r,
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

    /// Decodes the block number into grid coordinates, and says how many blocks there are.
    ///
    /// The last two ranges are rastered: blocks go down the first of them within a group of `raster.group` tiles of the second, so
    /// that neighbours in time share rows and columns in L2. Earlier variables are outermost.
    pub fn decode_grid(&mut self, b: &mut Builder, raster: Raster) -> Result<GridRule, Refusal> {
        let mut ranges = Vec::new();
        let mut counts = Vec::new();
        for g in &self.kernel.grid {
            let by = g.axis.map_or(1, |a| self.kernel.axis(a).extent);
            if self.kernel.const_int(g.lo) != Some(0) {
                return Err(Refusal::construct(
                    g.span,
                    format!("the grid range `{}` that does not start at 0", g.name),
                ));
            }
            let (extent, text) = match &self.kernel.value(g.hi).op {
                t1::Op::Dim(d) => (t1::LaunchExpr::Dim(*d), self.kernel.dim(*d).name.clone()),
                t1::Op::Const(t1::Const::Int(c)) => (t1::LaunchExpr::int(*c as i64), c.to_string()),
                _ => {
                    return Err(Refusal::construct(
                        g.span,
                        format!("the computed end of the grid range `{}`", g.name),
                    ));
                }
            };
            counts.push(match self.coordinate(b, g.hi)? {
                Src::Reg(hi) => Src::Reg(ceil_div(b, hi, by)),
                Src::Int(hi) => Src::Int((hi + i64::from(by) - 1) / i64::from(by)),
                other => other,
            });
            ranges.push(GridRange { name: g.name.clone(), extent, text, by });
        }
        let mut pid = b.special(Special::CtaidX);
        let n = counts.len();
        let mut tiles = vec![pid; n];
        // Outer variables last, so that the rastered pair is what remains.
        if n >= 2 {
            let (ni, nj) = (counts[n - 2], counts[n - 1]);
            let inner = mul(b, ni, nj);
            let (outer, rest) = if n > 2 { div_rem(b, pid, inner) } else { (pid, pid) };
            (tiles[n - 2], tiles[n - 1]) = rastered(b, rest, ni, nj, raster.group);
            pid = outer;
            for v in (0..n - 2).rev() {
                (pid, tiles[v]) = if v == 0 { (pid, pid) } else { div_rem(b, pid, counts[v]) };
            }
        }
        self.grid = tiles
            .iter()
            .zip(&ranges)
            .map(|(t, r)| if r.by == 1 { *t } else { b.int(IntOp::MulLo, IntTy::U32, *t, i64::from(r.by)) })
            .collect();
        Ok(GridRule { ranges })
    }
}

fn ceil_div(b: &mut Builder, x: Reg, by: u32) -> Reg {
    if by == 1 {
        return x;
    }
    let up = b.int(IntOp::Add, IntTy::U32, x, i64::from(by) - 1);
    if by.is_power_of_two() {
        b.shift(up, -(by.trailing_zeros() as i32))
    } else {
        b.int(IntOp::Div, IntTy::U32, up, i64::from(by))
    }
}

fn mul(b: &mut Builder, x: Src, y: Src) -> Src {
    match (x, y) {
        (Src::Int(x), Src::Int(y)) => Src::Int(x * y),
        (Src::Reg(x), y) | (y, Src::Reg(x)) => Src::Reg(b.int(IntOp::MulLo, IntTy::U32, x, y)),
        (x, _) => x,
    }
}

fn div_rem(b: &mut Builder, x: Reg, by: Src) -> (Reg, Reg) {
    (b.int(IntOp::Div, IntTy::U32, x, by), b.int(IntOp::Rem, IntTy::U32, x, by))
}

fn rastered(b: &mut Builder, pid: Reg, ni: Src, nj: Src, group: u32) -> (Reg, Reg) {
    let group = i64::from(group);
    let per_group = mul(b, ni, Src::Int(group));
    let (which, rest) = div_rem(b, pid, per_group);
    let first = b.int(IntOp::MulLo, IntTy::U32, which, group);
    let nj = match nj {
        Src::Reg(r) => r,
        imm => b.mov(Class::B32, imm),
    };
    let left = b.int(IntOp::Sub, IntTy::U32, nj, first);
    let width = b.int(IntOp::Min, IntTy::U32, left, group);
    let (i, j) = div_rem(b, rest, Src::Reg(width));
    let j = b.int(IntOp::Add, IntTy::U32, j, first);
    (i, j)
}
