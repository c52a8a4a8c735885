//! Operands of a product: the tensors that travel through shared memory for one, how they are subscripted, and what is computed of them on the way.
//!
//! ```text
//! x[i, k]                                        x, as it is
//! (w[j, k] as f16 - z[j, k / 64]) * s[j, k / 64]  w is staged; z and s are read where they are used
//! t[c[j, k / 8], k % 8] + u[d[j, k]]             c is staged, and d beside it; what they look up is read
//! ```

use super::access::{self, dim_of_axis, index, structural};
use super::contraction::strip;
use super::refuse::Refusal;
use super::{cover, instances};
use crate::diagnostics::Span;
use crate::packed::Toward;
use crate::scheduled::ir::{Index, MmaType};
use crate::tile::{ir as t1, multiples::is_multiple};

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
        self.parts().map(|o| o.tensor)
    }

    /// Of a packed tensor: 2^shift neighbours along its rows share an element.
    pub fn shift(&self) -> u32 {
        self.ix.last().map_or(0, |i| i.shift)
    }

    /// The operand itself, and the packed tensors beside it.
    pub fn parts(&self) -> impl Iterator<Item = &Operand> {
        std::iter::once(self).chain(self.also.iter().map(|(_, o)| o))
    }

    /// What its elements, read as `staged`, are converted to on their way to `whole`. Codes that neighbours share are taken one by one.
    fn taken_as(&self, kernel: &t1::Kernel, whole: t1::ValueId, staged: t1::ValueId) -> Toward {
        if self.shift() > 0 { Toward::Codes } else { toward(kernel, whole, staged) }
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
        toward: Toward::Codes,
        also: Vec::new(),
    };
    if let Some(c) = computed {
        operand.toward = operand.taken_as(kernel, c.value, c.staged);
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
    let mut other = Operand {
        name: t.name.clone(),
        tensor: *tensor,
        elem: value.ty.elem,
        ix,
        gather,
        computed: None,
        packed: true,
        toward: Toward::Codes,
        also: Vec::new(),
        ..first.clone()
    };
    other.toward = other.taken_as(kernel, whole, v);
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
pub(super) fn looks_up(kernel: &t1::Kernel, ix: &[t1::ValueId], k: t1::AxisId) -> bool {
    let codes = |axes: &[t1::AxisId]| axes.len() > 1 && axes.contains(&k);
    ix.iter().any(|x| index(kernel, *x).is_none() && codes(&kernel.ty(*x).axes))
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
pub(super) fn small_table(kernel: &t1::Kernel, tensor: t1::TensorId) -> bool {
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
