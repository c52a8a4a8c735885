//! Builds T1 kernels by hand: values in order, blocks as they are closed.
//!
//! ```text
//! let mut k = Kit::new();
//! let (m, n) = (k.dim("M"), k.dim("N"));
//! let x = k.tensor("x", F32, &[m, n], TensorKind::In);
//! let i = k.grid_by("i", m, 4);
//! ...
//! k.finish()
//! ```

use crate::diagnostics::{FileId, Span};
use crate::tile::ir::*;
use crate::tile::verify::verify;

pub struct Kit {
    pub k: Kernel,
    /// Statements of the blocks that are open, innermost last; the first is the entry block until the body begins.
    open: Vec<Vec<Stmt>>,
    spans: usize,
}

pub const I: ElemType = ElemType::Index;
pub const F32: ElemType = ElemType::F32;

impl Kit {
    pub fn new() -> Kit {
        let span = Span::new(FileId(0), 0, 1);
        let k = Kernel {
            name: "hand".to_string(),
            doc: String::new(),
            span,
            binding: Vec::new(),
            schedule: Vec::new(),
            dims: Vec::new(),
            tensors: Vec::new(),
            scalars: Vec::new(),
            params: Vec::new(),
            promises: Vec::new(),
            values: Vec::new(),
            axes: Vec::new(),
            loops: Vec::new(),
            ifs: Vec::new(),
            entry: Block::default(),
            grid: Vec::new(),
            grid_when: None,
            body: Block::default(),
        };
        Kit { k, open: vec![Vec::new()], spans: 1 }
    }

    /// A new span each time, so that a test can tell whose an error is.
    fn span(&mut self) -> Span {
        self.spans += 1;
        Span::new(FileId(0), self.spans, self.spans + 1)
    }

    pub fn stmt(&mut self, s: Stmt) {
        self.open.last_mut().expect("a block is open").push(s);
    }

    /// A value that no `let` computes.
    fn bare(&mut self, elem: ElemType, axes: &[AxisId], op: Op) -> ValueId {
        let span = self.span();
        self.k.values.push(Value { ty: TileType { elem, axes: axes.to_vec() }, op, span, name: None });
        ValueId(self.k.values.len() as u32 - 1)
    }

    pub fn let_(&mut self, elem: ElemType, axes: &[AxisId], op: Op) -> ValueId {
        let v = self.bare(elem, axes, op);
        self.stmt(Stmt::Let(v));
        v
    }

    pub fn elem(&self, v: ValueId) -> ElemType {
        self.k.ty(v).elem
    }

    pub fn axes(&self, v: ValueId) -> Vec<AxisId> {
        self.k.ty(v).axes.clone()
    }

    pub fn int(&mut self, v: i64) -> ValueId {
        self.let_(I, &[], Op::Const(Const::Int(v.into())))
    }

    pub fn float(&mut self, v: f64) -> ValueId {
        self.let_(F32, &[], Op::Const(Const::Float(v)))
    }

    /// A dimension that the extent of `tensor` binds, and its value.
    pub fn dim(&mut self, name: &str) -> ValueId {
        let span = self.span();
        let source = DimSource::Shape { tensor: TensorId(0), axis: 0, scale: 1, offset: 0 };
        self.k.dims.push(Dim { name: name.to_string(), source, frozen: None, span });
        let id = DimId(self.k.dims.len() as u32 - 1);
        self.let_(I, &[], Op::Dim(id))
    }

    fn launch_expr(&self, v: ValueId) -> LaunchExpr {
        match self.k.value(v).op {
            Op::Dim(d) => LaunchExpr::Dim(d),
            Op::Const(c) => LaunchExpr::Const(c),
            Op::Binary(op, x, y) => {
                LaunchExpr::Binary(op, Box::new(self.launch_expr(x)), Box::new(self.launch_expr(y)))
            }
            ref other => panic!("no launch expression for {other:?}"),
        }
    }

    pub fn tensor(&mut self, name: &str, elem: ElemType, shape: &[ValueId], kind: TensorKind) -> TensorId {
        let span = self.span();
        let shape: Vec<ShapeEntry> = shape
            .iter()
            .map(|&v| ShapeEntry { extent: self.launch_expr(v), text: "…".to_string(), span })
            .collect();
        self.k.tensors.push(Tensor {
            name: name.to_string(),
            elem,
            strides: vec![Stride::Dense; shape.len()],
            shape,
            kind,
            align: 16,
            holds: None,
            captured: false,
            span,
        });
        TensorId(self.k.tensors.len() as u32 - 1)
    }

    pub fn axis(&mut self, name: &str, extent: u32, lo: ValueId, hi: ValueId, kind: AxisKind) -> AxisId {
        let span = self.span();
        self.k.axes.push(Axis { name: name.to_string(), extent, lo, hi, kind, span });
        AxisId(self.k.axes.len() as u32 - 1)
    }

    /// The coordinates of an axis.
    pub fn iota(&mut self, axis: AxisId) -> ValueId {
        self.let_(I, &[axis], Op::Iota(axis))
    }

    /// A grid variable over `0..hi`; `by` 0 makes it a scalar. Ends the entry block or the one before.
    pub fn grid(&mut self, name: &str, hi: ValueId, by: u32) -> (ValueId, Option<AxisId>) {
        let lo = self.int(0);
        self.grid_from(name, lo, hi, by)
    }

    pub fn grid_from(&mut self, name: &str, lo: ValueId, hi: ValueId, by: u32) -> (ValueId, Option<AxisId>) {
        let id = GridId(self.k.grid.len() as u32);
        let stmts = std::mem::take(&mut self.open[0]);
        let block = if id.0 == 0 {
            self.k.entry = Block { stmts };
            Block::default()
        } else {
            Block { stmts }
        };
        let var = self.bare(I, &[], Op::GridVar(id));
        let axis = (by > 0).then(|| self.axis(name, by, var, hi, AxisKind::Grid(id)));
        let span = self.span();
        self.k.grid.push(GridVar { name: name.to_string(), block, var, axis, lo, hi, span });
        (var, axis)
    }

    pub fn grid_by(&mut self, name: &str, hi: ValueId, by: u32) -> AxisId {
        self.grid(name, hi, by).1.expect("a range")
    }

    /// Everything since the last grid variable was its condition's.
    pub fn grid_when(&mut self, cond: ValueId) {
        let stmts = std::mem::take(&mut self.open[0]);
        self.k.grid_when = Some(When { block: Block { stmts }, cond });
    }

    /// A loop over `0..hi` by `by` (0: scalars); `init` are the carried values, `f` gives the next ones.
    pub fn for_(
        &mut self,
        name: &str,
        hi: ValueId,
        by: u32,
        init: &[ValueId],
        f: impl FnOnce(&mut Kit, ValueId, Option<AxisId>, &[ValueId]) -> Vec<ValueId>,
    ) -> Vec<ValueId> {
        self.for_when(name, hi, by, init, |_, _, _| None, f)
    }

    pub fn for_when(
        &mut self,
        name: &str,
        hi: ValueId,
        by: u32,
        init: &[ValueId],
        when: impl FnOnce(&mut Kit, ValueId, Option<AxisId>) -> Option<ValueId>,
        f: impl FnOnce(&mut Kit, ValueId, Option<AxisId>, &[ValueId]) -> Vec<ValueId>,
    ) -> Vec<ValueId> {
        let lo = self.int(0);
        let id = LoopId(self.k.loops.len() as u32);
        let span = self.span();
        let var = self.bare(I, &[], Op::LoopVar(id));
        let axis = (by > 0).then(|| self.axis(name, by, var, hi, AxisKind::Loop(id)));
        self.k.loops.push(Loop {
            name: name.to_string(),
            var,
            axis,
            lo,
            hi,
            rev: false,
            when: None,
            carried: Vec::new(),
            body: Block::default(),
            full: None,
            span,
        });
        self.open.push(Vec::new());
        let cond = when(self, var, axis);
        let stmts = self.open.pop().expect("pushed");
        let when = cond.map(|cond| When { block: Block { stmts }, cond });
        let types: Vec<TileType> = init.iter().map(|&v| self.k.ty(v).clone()).collect();
        let params: Vec<ValueId> =
            types.iter().enumerate().map(|(n, t)| self.bare(t.elem, &t.axes, Op::LoopParam(id, n))).collect();
        self.open.push(Vec::new());
        let nexts = f(self, var, axis, &params);
        let stmts = self.open.pop().expect("pushed");
        let results: Vec<ValueId> = types
            .iter()
            .enumerate()
            .map(|(n, t)| self.bare(t.elem, &t.axes, Op::LoopResult(id, n)))
            .collect();
        let carried = (0..init.len())
            .map(|n| Carried {
                name: format!("c{n}"),
                init: init[n],
                param: params[n],
                next: nexts[n],
                result: results[n],
                kind: CarryKind::Seq,
                span,
            })
            .collect();
        let l = &mut self.k.loops[id.0 as usize];
        l.when = when;
        l.carried = carried;
        l.body = Block { stmts };
        self.stmt(Stmt::For(id));
        results
    }

    pub fn read(&mut self, tensor: TensorId, ix: &[ValueId]) -> ValueId {
        let axes = self.k.subscript_axes(ix);
        self.let_(self.k.tensor(tensor).elem, &axes, Op::Read { tensor, ix: ix.to_vec() })
    }

    pub fn write(&mut self, tensor: TensorId, ix: &[ValueId], value: ValueId) {
        self.write_when(tensor, ix, value, None, &[]);
    }

    pub fn write_when(
        &mut self,
        tensor: TensorId,
        ix: &[ValueId],
        value: ValueId,
        when: Option<ValueId>,
        once_over: &[GridId],
    ) {
        let span = self.span();
        let write = Write { tensor, ix: ix.to_vec(), value, when, once_over: once_over.to_vec(), span };
        self.stmt(Stmt::Write(write));
    }

    fn union(&self, operands: &[ValueId]) -> Vec<AxisId> {
        self.k.subscript_axes(operands)
    }

    pub fn binary(&mut self, op: BinaryOp, x: ValueId, y: ValueId) -> ValueId {
        let axes = self.union(&[x, y]);
        self.let_(self.elem(x), &axes, Op::Binary(op, x, y))
    }

    pub fn compare(&mut self, op: CmpOp, x: ValueId, y: ValueId) -> ValueId {
        let axes = self.union(&[x, y]);
        self.let_(ElemType::Bool, &axes, Op::Compare(op, x, y))
    }

    pub fn cast(&mut self, elem: ElemType, x: ValueId) -> ValueId {
        let axes = self.axes(x);
        self.let_(elem, &axes, Op::Cast(x))
    }

    pub fn broadcast(&mut self, x: ValueId, axes: &[AxisId]) -> ValueId {
        self.let_(self.elem(x), axes, Op::Broadcast(x))
    }

    pub fn transpose(&mut self, x: ValueId) -> ValueId {
        let mut axes = self.axes(x);
        let n = axes.len();
        axes.swap(n - 2, n - 1);
        self.let_(self.elem(x), &axes, Op::Reorder(x))
    }

    pub fn reduce(&mut self, op: ReduceOp, x: ValueId, over: &[AxisId]) -> ValueId {
        let axes: Vec<AxisId> = self.axes(x).into_iter().filter(|a| !over.contains(a)).collect();
        let elem = if matches!(op, ReduceOp::ArgMax | ReduceOp::ArgMin) { I } else { self.elem(x) };
        self.let_(elem, &axes, Op::Reduce { op, x, axes: over.to_vec() })
    }

    pub fn grid_reduce(&mut self, op: ReduceOp, x: ValueId, vars: &[GridId]) -> ValueId {
        let axes = self.axes(x);
        self.let_(self.elem(x), &axes, Op::GridReduce { op, x, vars: vars.to_vec() })
    }

    pub fn mma(&mut self, elem: ElemType, a: ValueId, b: ValueId) -> ValueId {
        let (x, y) = (self.axes(a), self.axes(b));
        let contract = *x.last().expect("an axis");
        let batch: Vec<AxisId> = x.iter().copied().filter(|t| *t != contract && y.contains(t)).collect();
        let axes: Vec<AxisId> = self.union(&[a, b]).into_iter().filter(|t| *t != contract).collect();
        self.let_(elem, &axes, Op::Mma { a, b, contract, batch })
    }

    pub fn tile_read(&mut self, tile: ValueId, ix: &[ValueId]) -> ValueId {
        let axes = self.union(ix);
        self.let_(self.elem(tile), &axes, Op::TileRead { tile, ix: ix.to_vec() })
    }

    pub fn atomic(
        &mut self,
        op: Combine,
        tensor: TensorId,
        ix: &[ValueId],
        value: ValueId,
        old: bool,
    ) -> Option<ValueId> {
        let axes = self.union(ix);
        let elem = self.k.tensor(tensor).elem;
        let old = old.then(|| self.bare(elem, &axes, Op::AtomicOld));
        let span = self.span();
        self.stmt(Stmt::Atomic(Atomic { op, tensor, ix: ix.to_vec(), value, when: None, old, span }));
        old
    }

    /// The kernel, verified.
    pub fn finish(mut self) -> Kernel {
        let stmts = std::mem::take(&mut self.open[0]);
        self.k.body = Block { stmts };
        let findings = verify(&self.k);
        assert!(findings.is_empty(), "{findings:#?}\n{}", self.k);
        self.k
    }
}

/// A reproducible sequence of numbers in -1..1, multiples of 1/64 so that small formats hold some of them.
pub fn noise(seed: u64, len: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) % 129) as f64 / 64.0 - 1.0
        })
        .collect()
}
