//! Finding the contraction: a loop over ranges that carries accumulators `acc += a @ b`.
//!
//! The planner asks for what it needs and nothing more: one loop in the kernel's body whose carried states are all declared sums
//! of one product each, operands read straight from 16-bit float tensors. What stands before and after the loop is free.

use super::access::{self, dim_of_axis, index, structural};
use super::refuse::Refusal;
use super::{cover, instances};
use crate::diagnostics::Span;
use crate::packed::Toward;
use crate::scheduled::ir::{Index, MmaAtom, MmaType};
use crate::tile::{ir as t1, multiples::is_multiple};
use rustc_hash::FxHashSet;

/// One operand of the product.
#[derive(Clone, Debug)]
pub struct Operand {
    pub name: String,
    pub tensor: t1::TensorId,
    /// As it lies in memory.
    pub elem: t1::ElemType,
    /// As the product has it: `tf32` may be made of `f32` on the way.
    pub value: t1::ElemType,
    /// What the matrix instruction takes it as.
    pub ty: MmaType,
    pub ix: Vec<Index>,
    /// Dimensions whose coordinates are looked up or computed along one of the two ranges, as in `x[src[i], k]` and
    /// `kc[pages[j / P], j % P, d]`: each with its coordinates on that axis.
    pub gather: Vec<(usize, t1::ValueId)>,
    /// The axis that the result keeps.
    pub outer: t1::AxisId,
    /// Which of the kept and the contracted axis subscripts the tensor's last dimension, along which memory is contiguous.
    pub major: Major,
    /// Where the operand is computed on its way from shared memory to the product.
    pub computed: Option<Computed>,
    /// Under this condition, a scalar, its elements change their sign on the way.
    pub negative: Option<t1::ValueId>,
    /// Stored as the compiler likes.
    pub packed: bool,
    /// What a packed tensor's elements are converted to.
    pub toward: Toward,
    /// Further packed tensors that it is computed from, each with the read that stands for it.
    pub also: Vec<(t1::ValueId, Operand)>,
}

impl Operand {
    /// The tensors that travel through shared memory for it.
    pub fn tensors(&self) -> impl Iterator<Item = t1::TensorId> {
        std::iter::once(self.tensor).chain(self.also.iter().map(|(_, o)| o.tensor))
    }
}

impl Operand {
    /// Of a packed tensor: 2^shift neighbours along its rows share an element.
    pub fn shift(&self) -> u32 {
        self.ix.last().map_or(0, |i| i.shift)
    }

    /// The range along which coordinates are looked up or computed.
    pub fn gather_axis(&self) -> Option<t1::AxisId> {
        self.gather.first().and_then(|(d, _)| self.ix[*d].axis)
    }

    /// The axis along which a copy goes, row of memory by row of memory: that of the loop, if the operand moves with it, else the one that
    /// is not contiguous.
    pub fn down(&self, moving: Option<t1::AxisId>, contracted: t1::AxisId) -> t1::AxisId {
        match moving.filter(|m| self.ix.iter().any(|i| i.axis == Some(*m))) {
            Some(axis) => axis,
            None if self.ix.last().and_then(|i| i.axis) == Some(contracted) => self.outer,
            None => contracted,
        }
    }
}

/// An operand that elementwise work makes of what is staged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Computed {
    /// What is multiplied.
    pub value: t1::ValueId,
    /// The read that is staged.
    pub staged: t1::ValueId,
}

/// The axis of an operand along which memory is contiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Major {
    /// The contracted one: `a[i, k]`, `b[j, k].T`.
    K,
    /// The one that the result keeps: `a[k, i].T`, `b[k, j]`.
    Outer,
}

/// `for k … { acc += a[m, k] @ b[n, k].T }`, with the operands stored either way round.
#[derive(Clone, Debug)]
pub struct Contraction {
    pub loop_id: t1::LoopId,
    /// The T1 value after the loop.
    pub result: t1::ValueId,
    pub name: String,
    pub a: Operand,
    pub b: Operand,
    pub atom: MmaAtom,
    pub m: t1::AxisId,
    pub n: t1::AxisId,
    pub k: t1::AxisId,
    /// The constant that the accumulator starts from.
    pub init: f64,
}

/// Whether the kernel multiplies tiles at all.
pub fn any(kernel: &t1::Kernel) -> bool {
    kernel.values.iter().any(|v| matches!(v.op, t1::Op::Mma { .. }))
}

/// The contraction of a kernel, `None` if its body has no loop.
pub fn find(kernel: &t1::Kernel) -> Result<Option<Contraction>, Refusal> {
    let mut found = None;
    for stmt in &kernel.body.stmts {
        match stmt {
            t1::Stmt::Let(_) | t1::Stmt::Write(_) | t1::Stmt::Atomic(_) => {}
            t1::Stmt::For(id) if found.is_none() && multiplies(kernel, &kernel.loop_(*id).body) => {
                found = Some(contraction(kernel, *id)?)
            }
            t1::Stmt::For(id) => {
                return Err(Refusal::construct(kernel.loop_(*id).span, "a second loop in a kernel with `@`")
                    .note("what is around the product's loop stays in the lanes and registers that have the product")
                    .help("give it a kernel of its own that writes what it computes, and read that here"));
            }
            // Neither branch may multiply or loop.
            t1::Stmt::If(id) => {
                let i = kernel.if_(*id);
                let plain = |b: &t1::Block| !multiplies(kernel, b) && !loops(b);
                if !plain(&i.then_block) || !plain(&i.else_block) {
                    return Err(Refusal::construct(i.span, "`if` around a loop in a kernel with `@`")
                        .note("the loop's ring is filled before it, whatever the condition says")
                        .help("a loop without trips does nothing: bounds that depend on the condition; `where(c, x, y)` chooses values, `place = value when c;` what is written"));
                }
            }
        }
    }
    Ok(found)
}

fn loops(block: &t1::Block) -> bool {
    block.stmts.iter().any(|s| matches!(s, t1::Stmt::For(_) | t1::Stmt::If(_)))
}

/// Whether a block multiplies tiles.
pub(super) fn multiplies(kernel: &t1::Kernel, block: &t1::Block) -> bool {
    block.stmts.iter().any(|s| match s {
        t1::Stmt::Let(v) => matches!(kernel.value(*v).op, t1::Op::Mma { .. }),
        t1::Stmt::For(l) => multiplies(kernel, &kernel.loop_(*l).body),
        t1::Stmt::If(i) => {
            multiplies(kernel, &kernel.if_(*i).then_block) || multiplies(kernel, &kernel.if_(*i).else_block)
        }
        t1::Stmt::Write(_) | t1::Stmt::Atomic(_) => false,
    })
}

fn contraction(kernel: &t1::Kernel, id: t1::LoopId) -> Result<Contraction, Refusal> {
    let l = kernel.loop_(id);
    let Some(k) = l.axis else {
        return Err(Refusal::construct(l.span, format!("the loop over single coordinates `{}`", l.name))
            .note("a matrix instruction contracts tiles")
            .help(format!("`for {} over … by 32` visits tiles", l.name)));
    };
    if l.when.is_some() {
        return Err(Refusal::construct(l.span, "a loop with `when`"));
    }
    for stmt in &l.body.stmts {
        if !matches!(stmt, t1::Stmt::Let(_)) {
            return Err(Refusal::construct(l.span, "a loop around `@` that writes, branches or loops")
                .note("its copies run ahead of what it computes, so a step is straight code that adds up")
                .help("write behind the loop, or in a loop of its own; `where(c, x, y)` chooses values"));
        }
    }
    let [carried] = &l.carried[..] else {
        return Err(Refusal::construct(
            l.span,
            format!("a loop that carries {} values instead of one", l.carried.len()),
        ));
    };
    // The order of a declared reduction's steps means nothing, that of a recurrence's is the text's.
    if l.rev && carried.kind != t1::CarryKind::Assoc(t1::Combine::Add) {
        return Err(Refusal::construct(l.span, "a loop over `rev(…)` around `@`")
            .note("copies run ahead of a loop in ascending order only")
            .help("`acc += a @ b` leaves the order of the steps open"));
    }
    let product = match kernel.value(carried.next).op {
        t1::Op::Binary(t1::BinaryOp::Add, x, y) if x == carried.param => Some(y),
        t1::Op::Binary(t1::BinaryOp::Add, x, y) if y == carried.param => Some(x),
        _ => None,
    };
    let Some((a, b, contract, batch)) = product.and_then(|p| mma(kernel, p)) else {
        return Err(Refusal::construct(carried.span, format!("the recurrence of `{}`", carried.name))
            .note("a loop that carries `acc += a @ b` is lowered today"));
    };
    if !batch.is_empty() {
        return Err(batched(kernel.value(carried.next).span));
    }
    if contract != k {
        return Err(Refusal::construct(carried.span, "a product that does not contract the loop's range")
            .note("the loop brings the next tiles of what is contracted into shared memory")
            .help(
                "contract the loop's own range, as in `for k over K by 32 { acc += a[i, k] @ b[j, k].T; }`",
            ));
    }
    let Some(init) = constant(kernel, carried.init) else {
        return Err(Refusal::construct(
            carried.span,
            format!("`{}` starting from something else than a constant", carried.name),
        ));
    };
    let a = operand(kernel, a, k, None)?;
    let b = operand(kernel, b, k, None)?;
    if let Some(o) = [&a, &b].into_iter().find(|o| o.gather.len() > 1) {
        return Err(access::computed(kernel, o.tensor, l.span));
    }
    if a.ty.bits() != b.ty.bits() {
        return Err(mixed(carried.span, a.value, b.value));
    }
    Ok(Contraction {
        loop_id: id,
        result: carried.result,
        name: carried.name.clone(),
        m: a.outer,
        n: b.outer,
        atom: MmaAtom { a: a.ty, b: b.ty },
        a,
        b,
        k,
        init,
    })
}

/// Strips reorderings: the order of axes is a matter of types, not of data.
pub(super) fn strip(kernel: &t1::Kernel, mut v: t1::ValueId) -> t1::ValueId {
    while let t1::Op::Reorder(x) = kernel.value(v).op {
        v = x;
    }
    v
}

fn mma(
    kernel: &t1::Kernel,
    v: t1::ValueId,
) -> Option<(t1::ValueId, t1::ValueId, t1::AxisId, Vec<t1::AxisId>)> {
    match &kernel.value(strip(kernel, v)).op {
        t1::Op::Mma { a, b, contract, batch } => {
            Some((strip(kernel, *a), strip(kernel, *b), *contract, batch.clone()))
        }
        _ => None,
    }
}

/// The constant that a tile holds everywhere, if it is one.
pub fn constant(kernel: &t1::Kernel, v: t1::ValueId) -> Option<f64> {
    match &kernel.value(v).op {
        t1::Op::Broadcast(x) | t1::Op::Reorder(x) | t1::Op::Cast(x) => constant(kernel, *x),
        t1::Op::Const(t1::Const::Float(f)) => Some(*f),
        t1::Op::Const(t1::Const::Int(i)) => Some(*i as f64),
        _ => None,
    }
}

/// The operand that a value is. Subscripts may be computed along the kept range, and along `moving`, the one that copies go along.
pub(super) fn operand(
    kernel: &t1::Kernel,
    v: t1::ValueId,
    k: t1::AxisId,
    moving: Option<t1::AxisId>,
) -> Result<Operand, Refusal> {
    let elem = kernel.ty(v).elem;
    // Rounding to tf32 is the one conversion that happens on the way.
    let v = match kernel.value(v).op {
        t1::Op::Cast(x)
            if elem == t1::ElemType::Tf32
                && matches!(kernel.ty(x).elem, t1::ElemType::F32 | t1::ElemType::Tf32) =>
        {
            strip(kernel, x)
        }
        _ => v,
    };
    let whole = v;
    let is_packed = |t: t1::TensorId| kernel.tensor(t).kind == t1::TensorKind::Packed;
    let (v, computed) = match kernel.value(v).op {
        // What is packed is unpacked by threads in any case.
        t1::Op::Read { tensor, .. } if is_packed(tensor) => (v, Some(Computed { value: v, staged: v })),
        t1::Op::Read { ref ix, .. } if !looks_up(kernel, ix, k) => (v, None),
        _ => {
            let staged = staged(kernel, v, k).ok_or_else(|| not_staged(kernel, v))?;
            (staged, Some(Computed { value: v, staged }))
        }
    };
    let value = kernel.value(v);
    let t1::Op::Read { tensor, ix } = &value.op else {
        unreachable!("an operand is a read or made of one");
    };
    let t = kernel.tensor(*tensor);
    let integers = matches!(elem, t1::ElemType::Int(8) | t1::ElemType::Uint(8 | 1));
    if computed.is_some() && !integers && !matches!(elem, t1::ElemType::F16 | t1::ElemType::Bf16) {
        return Err(Refusal::construct(
            kernel.value(whole).span,
            format!("a computed operand of `@` of {elem}"),
        )
        .note("computed operands of f16, bf16, i8 and u8 are lowered today: two or four of them share a register")
        .help("`as f16` or `as bf16` on both sides"));
    }
    let ty = matrix_type(elem, value.span)?;
    let (ix, gather) = subscripts(kernel, *tensor, ix, k, moving, value.span)?;
    let outer: Vec<t1::AxisId> = value.ty.axes.iter().copied().filter(|a| *a != k).collect();
    let (&[outer], Some(k_dim)) = (&outer[..], dim_of_axis(&ix, k)) else {
        return Err(Refusal::construct(
            value.span,
            format!("the operand `{}` of `@` with these axes", t.name),
        )
        .note("an operand has two: the contracted one, and one that the result keeps")
        .help("visit further axes by single coordinates: `grid b over B` in place of `grid b over B by 2`"));
    };
    let Some(outer_dim) = dim_of_axis(&ix, outer) else {
        return Err(Refusal::construct(
            value.span,
            format!("a diagonal of `{}` as an operand of `@`", t.name),
        )
        .note("copies to shared memory go along rows")
        .help("write the diagonal into a tensor of its own, in a kernel before this one"));
    };
    let major = match ix.len() {
        n if k_dim + 1 == n => Major::K,
        n if outer_dim + 1 == n && gather.iter().all(|(d, _)| *d != outer_dim) => Major::Outer,
        _ => {
            return Err(Refusal::construct(value.span, format!("the operand order of `{}`", t.name))
                .note("the contracted or the kept range must subscript the last dimension, as in `a[i, k]` and `a[k, i].T`")
                .help("write it in that order, in a kernel before this one"));
        }
    };
    let packed = t.kind == t1::TensorKind::Packed;
    if packed {
        tiles(kernel, *tensor, &ix, !gather.is_empty(), value.span)?;
    }
    let shared = ix.last().is_some_and(|i| i.shift > 0);
    let mut operand = Operand {
        name: t.name.clone(),
        tensor: *tensor,
        elem: value.ty.elem,
        value: elem,
        ty,
        ix,
        gather,
        outer,
        major,
        computed,
        negative: None,
        packed,
        toward: computed.filter(|_| !shared).map_or(Toward::Codes, |c| toward(kernel, c.value, c.staged)),
        also: Vec::new(),
    };
    if let Some(c) = computed {
        let mut reads = Vec::new();
        packed_reads(kernel, c.value, &mut reads);
        for v in reads.into_iter().filter(|v| *v != c.staged) {
            let other = beside(kernel, v, &operand, c.value, (k, moving))?;
            operand.also.push((v, other));
        }
    }
    Ok(operand)
}

/// The reads of packed tensors that a value is made of, in order.
fn packed_reads(kernel: &t1::Kernel, v: t1::ValueId, found: &mut Vec<t1::ValueId>) {
    let op = &kernel.value(v).op;
    if let t1::Op::Read { tensor, .. } = op
        && kernel.tensor(*tensor).kind == t1::TensorKind::Packed
    {
        if !found.contains(&v) {
            found.push(v);
        }
        return;
    }
    op.operands().into_iter().for_each(|x| packed_reads(kernel, x, found));
}

/// A packed tensor that another operand is computed from, too: on the same axes, and staged beside it.
fn beside(
    kernel: &t1::Kernel,
    v: t1::ValueId,
    first: &Operand,
    whole: t1::ValueId,
    (k, moving): (t1::AxisId, Option<t1::AxisId>),
) -> Result<Operand, Refusal> {
    let value = kernel.value(v);
    let t1::Op::Read { tensor, ix } = &value.op else { unreachable!("a packed tensor is read") };
    let t = kernel.tensor(*tensor);
    let (ix, gather) = subscripts(kernel, *tensor, ix, k, moving, value.span)?;
    tiles(kernel, *tensor, &ix, !gather.is_empty(), value.span)?;
    let axes = |ix: &[Index]| ix.iter().filter_map(|i| i.axis).collect::<Vec<_>>();
    if axes(&ix) != axes(&first.ix) {
        let what = format!("`packed {}` beside `{}` on other ranges", t.name, first.name);
        return Err(Refusal::construct(value.span, what)
            .note("packed tensors that make up one operand are copied side by side")
            .help("subscript both with the same ranges"));
    }
    let shared = ix.last().is_some_and(|i| i.shift > 0);
    let other = Operand {
        name: t.name.clone(),
        tensor: *tensor,
        elem: value.ty.elem,
        ix,
        gather,
        computed: None,
        packed: true,
        toward: if shared { Toward::Codes } else { toward(kernel, whole, v) },
        also: Vec::new(),
        ..first.clone()
    };
    check(kernel, &other, value.span)?;
    Ok(other)
}

/// Refuses subscripts of a packed tensor that are not those of whole tiles: a range each for rows and depth, which begin where tiles do.
fn tiles(
    kernel: &t1::Kernel,
    tensor: t1::TensorId,
    ix: &[Index],
    gathered: bool,
    span: Span,
) -> Result<(), Refusal> {
    let t = kernel.tensor(tensor);
    let refused = |what: &str| {
        Refusal::construct(span, format!("`packed {}` {what}", t.name))
            .note("a packed tensor is read in whole tiles, by ranges of its last two dimensions that begin at multiples of their own length, as in `w[e, j, k]`")
    };
    let Some((tile, leading)) = ix.split_last_chunk::<2>().map(|(rest, tile)| (tile, rest)) else {
        return Err(refused("of less than two dimensions"));
    };
    if gathered {
        return Err(refused("with rows that are looked up"));
    }
    if leading.iter().any(|i| i.axis.is_some() || i.tile.is_some()) {
        return Err(refused("with a range in front of its last two dimensions"));
    }
    for index in tile {
        let Some(axis) = index.axis.filter(|_| index.offset.is_none()) else {
            return Err(refused("from a row that is no tile's"));
        };
        let a = kernel.axis(axis);
        if !begins_with_tiles(kernel, axis) {
            return Err(refused(&format!("by `{}`, which may begin inside a tile", a.name)));
        }
        let together = 1u32 << index.shift;
        if index.shift > 0
            && !instances::groups_below(kernel, axis, together.into(), &t.shape[t.shape.len() - 1].extent)
        {
            return Err(refused(&format!("by `{} / {together}`, which may leave the tensor", a.name))
                .help(format!("`{}` must be as long as its range has runs of {together}: `K / {together}` for `k over K`", t.name)));
        }
    }
    Ok(())
}

/// Whether a range begins at a multiple of its length.
fn begins_with_tiles(kernel: &t1::Kernel, axis: t1::AxisId) -> bool {
    let a = kernel.axis(axis);
    let lo = match kernel.value(a.lo).op {
        t1::Op::GridVar(g) => kernel.grid_var(g).lo,
        t1::Op::LoopVar(l) => kernel.loop_(l).lo,
        _ => a.lo,
    };
    is_multiple(kernel, lo, a.extent)
}

/// Whether a subscript is a tile of codes, a coordinate for every element: a codebook, `NF4[c[j, k]]`. A coordinate for every row is no such.
fn looks_up(kernel: &t1::Kernel, ix: &[t1::ValueId], k: t1::AxisId) -> bool {
    let codes = |axes: &[t1::AxisId]| axes.len() > 1 && axes.contains(&k);
    ix.iter().any(|x| index(kernel, *x).is_none() && codes(&kernel.ty(*x).axes))
}

/// How many reads of an operand find each element by codes, in memory.
pub(super) fn lookups(kernel: &t1::Kernel, operand: &Operand, k: t1::AxisId) -> u32 {
    let mut open: Vec<t1::ValueId> = operand.computed.iter().map(|c| c.value).collect();
    let (mut seen, mut found) = (FxHashSet::default(), 0);
    while let Some(v) = open.pop() {
        if !seen.insert(v) {
            continue;
        }
        let op = &kernel.value(v).op;
        let in_registers = |t: t1::TensorId| operand.toward == Toward::Table && small_table(kernel, t);
        if let t1::Op::Read { tensor, ix } = op {
            found += u32::from(looks_up(kernel, ix, k) && !in_registers(*tensor));
        }
        open.extend(op.operands());
    }
    found
}

/// What is said of a computed operand of which nothing can travel through shared memory.
fn not_staged(kernel: &t1::Kernel, v: t1::ValueId) -> Refusal {
    let value = kernel.value(v);
    let what = match &value.op {
        t1::Op::Read { tensor, .. } => {
            format!("the computed subscript of `{}`", kernel.tensor(*tensor).name)
        }
        _ => "a computed operand of `@`".into(),
    };
    if let Some(t) = of_few_bits(kernel, v) {
        let refusal = Refusal::construct(value.span, format!("`@` of `{}`, dense bits in memory,", t.name));
        let note = format!("copies move whole bytes, and elements of {} are no whole bytes", t.elem);
        let help = format!(
            "`packed {}: {}[…]`: the launch stores it as the matrix instructions want it, in as many bits",
            t.name, t.elem
        );
        return refusal.note(note).help(help);
    }
    Refusal::construct(value.span, what)
        .note("what is computed element by element from numbers of 8 or 16 bits, or packed ones, that lie side by side along the contracted range is lowered today, and what such numbers look up")
        .help("write it as f16 or bf16 in a kernel before this one, and multiply that; a factor of rows or columns can follow the product; for f32 in memory, `as tf32` on both sides multiplies it as it is")
}

/// The first tensor of less than a byte an element that an operand is made of, and that could be packed.
fn of_few_bits(kernel: &t1::Kernel, v: t1::ValueId) -> Option<&t1::Tensor> {
    match &kernel.value(v).op {
        t1::Op::Read { tensor, .. } => Some(kernel.tensor(*tensor))
            .filter(|t| t.elem.bits() < 8 && t.kind == t1::TensorKind::In && t.shape.len() >= 2),
        op if op.is_elementwise() || matches!(op, t1::Op::Reorder(_)) => {
            op.operands().into_iter().find_map(|x| of_few_bits(kernel, x))
        }
        _ => None,
    }
}

/// What is said of a product for each coordinate of a range inside one tile.
pub(super) fn batched(span: Span) -> Refusal {
    Refusal::construct(span, "a product with batch axes inside one tile")
        .note("a matrix instruction multiplies one pair of matrices")
        .help("visit the batch by single coordinates: `grid b over B` in place of `grid b over B by 2`")
}

/// What is said of operands of two sizes.
pub(super) fn mixed(span: Span, a: t1::ElemType, b: t1::ElemType) -> Refusal {
    Refusal::construct(span, format!("`@` of {a} and {b}"))
        .note("a matrix instruction takes elements of one size")
        .help("convert the narrower side, as in `(b[j, k] as f16)`")
}

/// The type as which matrix instructions take elements.
pub(super) fn matrix_type(elem: t1::ElemType, span: Span) -> Result<MmaType, Refusal> {
    Ok(match elem {
        t1::ElemType::F16 => MmaType::F16,
        t1::ElemType::Bf16 => MmaType::Bf16,
        t1::ElemType::Tf32 => MmaType::Tf32,
        t1::ElemType::Int(8) => MmaType::S8,
        t1::ElemType::Uint(8) => MmaType::U8,
        t1::ElemType::Uint(1) => MmaType::B1,
        t1::ElemType::E4M3 => MmaType::E4m3,
        t1::ElemType::E5M2 => MmaType::E5m2,
        t1::ElemType::F32 => {
            return Err(Refusal::construct(span, "`@` of f32")
                .note("matrix units have no f32; f16, bf16, tf32, i8 and u8 are lowered today")
                .help("`as tf32` rounds both operands to 11 bits and adds up in f32: `(a[i, k] as tf32) @ (b[j, k] as tf32).T`"));
        }
        other => {
            return Err(Refusal::construct(span, format!("`@` of {other}"))
                .note("matrix units have no such type; f16, bf16, tf32, i8 and u8 are lowered today")
                .help(
                    "`as f16`, `as bf16` or `as tf32` on both sides; integers of at most 8 bits as they are",
                ));
        }
    })
}

/// What a staged tile's elements are converted to where they are used.
fn toward(kernel: &t1::Kernel, v: t1::ValueId, staged: t1::ValueId) -> Toward {
    let value = kernel.value(v);
    match &value.op {
        t1::Op::Cast(_) if value.ty.elem == t1::ElemType::Uint(1) => Toward::Bits,
        t1::Op::Cast(x) if strip(kernel, *x) == staged => match value.ty.elem {
            t1::ElemType::F16 => Toward::F16,
            t1::ElemType::Bf16 => Toward::Bf16,
            t1::ElemType::Int(8) | t1::ElemType::Uint(8) => Toward::Bytes,
            // By way of halves, which have every such number.
            t1::ElemType::F32 => Toward::F16,
            _ => Toward::Codes,
        },
        t1::Op::Cast(x) if differs_from(kernel, *x, staged) => match value.ty.elem {
            t1::ElemType::F16 => Toward::F16,
            t1::ElemType::Bf16 => Toward::Bf16,
            _ => Toward::Codes,
        },
        t1::Op::Read { tensor, ix } if small_table(kernel, *tensor) && subscripted_by(kernel, ix, staged) => {
            Toward::Table
        }
        t1::Op::Read { .. }
            if v == staged && matches!(value.ty.elem, t1::ElemType::Int(8) | t1::ElemType::Uint(8)) =>
        {
            Toward::Bytes
        }
        t1::Op::Reorder(x) => toward(kernel, *x, staged),
        op if op.is_elementwise() => {
            let found = op.operands().into_iter().map(|x| toward(kernel, x, staged));
            found.into_iter().find(|t| *t != Toward::Codes).unwrap_or(Toward::Codes)
        }
        _ => Toward::Codes,
    }
}

/// Whether a value is `w as i32 - z`, integers of which w is what is staged: halves have the same difference ([`crate::warp::pairs`]).
fn differs_from(kernel: &t1::Kernel, v: t1::ValueId, staged: t1::ValueId) -> bool {
    match kernel.value(v).op {
        t1::Op::Binary(t1::BinaryOp::Sub, x, _) if matches!(kernel.ty(v).elem, t1::ElemType::Int(16..)) => {
            matches!(kernel.value(x).op, t1::Op::Cast(w) if strip(kernel, w) == staged)
        }
        _ => false,
    }
}

/// Whether a tensor is a constant of as many values as four bits choose among, in whole bytes of a product's types.
fn small_table(kernel: &t1::Kernel, tensor: t1::TensorId) -> bool {
    let t = kernel.tensor(tensor);
    matches!(&t.kind, t1::TensorKind::Const(list) if list.len() <= 16)
        && t.shape.len() == 1
        && matches!(t.elem.bits(), 8 | 16)
}

/// Whether the subscript is what is staged, converted or moved by a constant.
fn subscripted_by(kernel: &t1::Kernel, ix: &[t1::ValueId], staged: t1::ValueId) -> bool {
    let &[mut x] = ix else { return false };
    while x != staged {
        x = match kernel.value(x).op {
            t1::Op::Cast(y) | t1::Op::Reorder(y) => y,
            t1::Op::Binary(t1::BinaryOp::Add | t1::BinaryOp::Sub, y, z) => {
                match (kernel.const_int(y), kernel.const_int(z)) {
                    (None, Some(_)) => y,
                    (Some(_), None) => z,
                    _ => return false,
                }
            }
            _ => return false,
        };
    }
    true
}

/// The first read, of those that a value is made of element by element, that has the value's axes as plain subscripts: the one that
/// is worth staging. `None` where something else than elementwise work is in between.
fn staged(kernel: &t1::Kernel, v: t1::ValueId, k: t1::AxisId) -> Option<t1::ValueId> {
    let axes = &kernel.ty(v).axes;
    let value = kernel.value(v);
    match &value.op {
        t1::Op::Read { tensor, ix } => {
            let t = kernel.tensor(*tensor);
            let packed = t.kind == t1::TensorKind::Packed;
            let index = |x: &t1::ValueId| {
                index(kernel, *x).or_else(|| packed.then(|| shared_index(kernel, *x)).flatten())
            };
            let plain = |a: &t1::AxisId| ix.iter().any(|x| index(x).is_some_and(|i| i.axis == Some(*a)));
            let last = ix.last().and_then(index).and_then(|i| i.axis);
            let elem = t.elem.bits();
            let whole = axes.len() == 2 && axes.iter().all(plain) && last == Some(k);
            // What looks something up is computed, too, from what its subscripts read.
            let found = (whole && (packed || matches!(elem, 8 | 16))).then_some(v);
            found.or_else(|| ix.iter().find_map(|x| staged(kernel, *x, k)))
        }
        t1::Op::Reorder(x) => staged(kernel, *x, k),
        op if op.is_elementwise() => op.operands().into_iter().find_map(|x| staged(kernel, x, k)),
        _ => None,
    }
}

/// Subscripts of an operand, some of which may be tiles of coordinates along one range: the first of these stands for the range.
#[allow(clippy::type_complexity)]
fn subscripts(
    kernel: &t1::Kernel,
    tensor: t1::TensorId,
    ix: &[t1::ValueId],
    k: t1::AxisId,
    moving: Option<t1::AxisId>,
    span: Span,
) -> Result<(Vec<Index>, Vec<(usize, t1::ValueId)>), Refusal> {
    let t = kernel.tensor(tensor);
    let packed = t.kind == t1::TensorKind::Packed;
    let plain = |v: t1::ValueId| match kernel.ty(v).is_scalar() && structural(kernel, v) {
        true => Some(Index { offset: Some(v), ..Index::default() }),
        false => index(kernel, v).or_else(|| packed.then(|| shared_index(kernel, v)).flatten()),
    };
    // Rows that are shifted, as in `x[l + s, k]`, may leave the tensor: they are computed, and tested.
    let leaves = |d: usize| {
        plain(ix[d]).is_some_and(|i| {
            let row = d + 1 < ix.len() && i.axis.is_some_and(|a| a != k && Some(a) != moving);
            row && i.offset.is_some() && !cover::inside(kernel, tensor, d, &i)
        })
    };
    let computed: Vec<usize> = (0..ix.len()).filter(|d| plain(ix[*d]).is_none() || leaves(*d)).collect();
    let along: Vec<&[t1::AxisId]> = computed.iter().map(|d| &kernel.ty(ix[*d]).axes[..]).collect();
    let range = match along.first() {
        Some([one]) if along.iter().all(|a| *a == [*one]) => Some(*one),
        Some(_) => return Err(access::computed(kernel, tensor, span)),
        None => None,
    };
    if range.is_some_and(|r| {
        moving != Some(r) && (r == k || computed.iter().any(|d| depends_on(kernel, ix[*d], k)))
    }) {
        return Err(Refusal::construct(
            span,
            format!("a subscript of `{}` that changes along the contracted range", t.name),
        )
        .note("copies to shared memory go along that range, many elements at once")
        .help("look the elements up in a kernel before this one that writes them in order"));
    }
    // Rows of the range that the result keeps are tested where nothing promises that they are inside.
    let tested = |d: usize| {
        let only = computed.len() == 1 && range != moving;
        only && d + 1 < ix.len() && !instances::below(kernel, ix[d], &t.shape[d].extent)
    };
    for dim in &computed {
        if !tested(*dim) && !instances::below(kernel, ix[*dim], &t.shape[*dim].extent) {
            return Err(Refusal::construct(
                span,
                format!("subscript {dim} of `{}`, which may leave the tensor,", t.name),
            )
            .help(format!(
                "promise that the index tensor holds rows of `{}`, as in `src: i32[R] in 0..{}`",
                t.name, t.shape[*dim].text
            )));
        }
    }
    let one = |(d, v): (usize, &t1::ValueId)| match computed.iter().position(|c| *c == d) {
        Some(0) => Index { axis: range, checked: tested(d), ..Index::default() },
        Some(_) => Index::default(),
        None => plain(*v).unwrap_or_default(),
    };
    let mut indices: Vec<Index> = ix.iter().enumerate().map(one).collect();
    for (dim, index) in indices.iter_mut().enumerate() {
        // What data decides is tested once.
        index.checked |=
            index.axis.is_none() && index.offset.is_some() && !cover::inside(kernel, tensor, dim, index);
    }
    Ok((indices, computed.into_iter().map(|d| (d, ix[d])).collect()))
}

/// A range whose neighbours share an element, as in `c[j, k / 8]`.
fn shared_index(kernel: &t1::Kernel, v: t1::ValueId) -> Option<Index> {
    let (axis, shift) = kernel.shared_by_neighbours(v)?;
    Some(Index { axis: Some(axis), shift, ..Index::default() })
}

/// Whether a tile is computed from the position of an axis.
fn depends_on(kernel: &t1::Kernel, v: t1::ValueId, axis: t1::AxisId) -> bool {
    let value = kernel.value(v);
    match value.op {
        t1::Op::Iota(a) => a == axis,
        t1::Op::LoopVar(l) => kernel.loop_(l).axis == Some(axis),
        ref op => op.operands().into_iter().any(|x| depends_on(kernel, x, axis)),
    }
}

/// Refuses an operand that could leave its tensor on an existing lane.
pub fn check(kernel: &t1::Kernel, operand: &Operand, span: Span) -> Result<(), Refusal> {
    for (dim, at) in operand.ix.iter().enumerate() {
        let gathered = operand.gather.iter().any(|(d, _)| *d == dim);
        // Packed tensors' are looked at with their tiles.
        if !gathered && at.shift == 0 && !cover::inside(kernel, operand.tensor, dim, at) {
            return Err(cover::may_leave(kernel, operand.tensor, dim, at, span));
        }
    }
    cover::strides(kernel, operand.tensor, span)
}
