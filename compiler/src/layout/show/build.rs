//! What the names of the expression language stand for.

use std::ops::Range;

use super::error::{ExprError, near};
use super::parse::Tuple;
use crate::layout::atoms::{interleave, matrix_rows, mma_a};
use crate::layout::{
    Accessor, Axis, Dim, Layout, LayoutError, LinearMap, Offset, Order, OuterDigit, SharedLayout, Space,
    Swizzle, coalesced, panel, replicated, solve_shared, spread, spread_over,
};

pub(super) enum Value {
    Layout(Layout),
    Memory(SharedLayout),
    Swizzle(Swizzle),
}

pub(super) enum Argument {
    Number(u32),
    Word(String),
    Value(Box<Value>),
}

/// All functions, as they are suggested to people.
pub(super) const FUNCTIONS: &[&str] = &[
    "spatial",
    "column_spatial",
    "local",
    "column_local",
    "warps",
    "column_warps",
    "inst",
    "cta",
    "loop",
    "seg",
    "replicated",
    "interleave",
    "permute",
    "transpose",
    "reduce",
    "slice",
    "left_divide",
    "coalesced",
    "row_major",
    "column_major",
    "swizzle",
    "panels",
    "shared",
];

pub(super) const TYPES: &[&str] = &["u8", "s8", "e4m3", "e5m2", "f16", "bf16", "f32", "tf32", "s32", "f64"];

pub(super) fn type_bits(name: &str) -> Option<u32> {
    Some(match name {
        "u8" | "s8" | "i8" | "e4m3" | "e5m2" => 8,
        "f16" | "bf16" | "i16" | "u16" => 16,
        "f32" | "tf32" | "i32" | "u32" | "s32" => 32,
        "f64" | "i64" | "u64" => 64,
        _ => return None,
    })
}

pub(super) const DIMS: &[(&str, Dim)] = &[
    ("bit", Dim::Bit),
    ("reg", Dim::Reg),
    ("lane", Dim::Lane),
    ("warp", Dim::Warp),
    ("inst", Dim::Inst),
    ("cta", Dim::Cta),
    ("slot", Dim::Slot),
    ("loop", Dim::Loop),
    ("seg", Dim::Seg),
];

impl Argument {
    /// A bare word that stands for itself: a dimension or a type.
    pub(super) fn is_word(word: &str) -> bool {
        type_bits(word).is_some() || DIMS.iter().any(|d| d.0 == word)
    }
}

/// A failed operation that does not know yet where it stands.
pub(super) struct Misuse(String, Option<&'static str>);

impl Misuse {
    pub(super) fn at(self, span: Range<usize>) -> ExprError {
        let error = ExprError::new(span, self.0);
        match self.1 {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

pub(super) fn compose(outer: Value, inner: Value) -> Result<Value, Misuse> {
    match (outer, inner) {
        (Value::Swizzle(s), Value::Memory(m)) => {
            m.swizzled(&s).map(Value::Memory).map_err(|e| Misuse(e.to_string(), None))
        }
        _ => Err(Misuse(
            "`o` composes a swizzle with a memory layout".into(),
            Some("for example `swizzle(3,4,3) o row_major(f16, 64, 64)`; `*` multiplies distributed layouts"),
        )),
    }
}

/// Checked access to the arguments of one call.
struct Arguments<'a> {
    name: &'a str,
    usage: &'static str,
    all: &'a [(Argument, Range<usize>)],
    span: Range<usize>,
}

impl Arguments<'_> {
    fn misuse(&self, span: Range<usize>, what: impl Into<String>) -> ExprError {
        ExprError::new(span, what).help(format!("usage: `{}`", self.usage))
    }

    fn count(&self, wanted: usize) -> Result<(), ExprError> {
        if self.all.len() == wanted {
            return Ok(());
        }
        let what = format!("`{}` takes {wanted} arguments, not {}", self.name, self.all.len());
        Err(self.misuse(self.span.clone(), what))
    }

    fn number(&self, i: usize) -> Result<u32, ExprError> {
        match self.all.get(i) {
            Some((Argument::Number(n), _)) => Ok(*n),
            Some((_, span)) => Err(self.misuse(span.clone(), "a number must stand here")),
            None => Err(self.misuse(self.span.clone(), format!("`{}` needs more arguments", self.name))),
        }
    }

    fn numbers(&self, from: usize) -> Result<Vec<u32>, ExprError> {
        (from..self.all.len().max(from + 1)).map(|i| self.number(i)).collect()
    }

    fn axis(&self, i: usize) -> Result<Axis, ExprError> {
        let n = self.number(i)?;
        u16::try_from(n).map(Axis).map_err(|_| self.misuse(self.all[i].1.clone(), format!("no axis {n}")))
    }

    fn layout(&self, i: usize) -> Result<&Layout, ExprError> {
        match self.all.get(i) {
            Some((Argument::Value(v), span)) => match v.as_ref() {
                Value::Layout(layout) => Ok(layout),
                _ => Err(self.misuse(span.clone(), "a distributed layout must stand here")),
            },
            Some((_, span)) => Err(self.misuse(span.clone(), "a layout must stand here")),
            None => Err(self.misuse(self.span.clone(), format!("`{}` needs more arguments", self.name))),
        }
    }

    fn elem_bits(&self, i: usize) -> Result<u32, ExprError> {
        match self.all.get(i) {
            Some((Argument::Word(w), span)) => {
                type_bits(w).ok_or_else(|| self.misuse(span.clone(), format!("`{w}` is not a type")))
            }
            Some((_, span)) => Err(self.misuse(span.clone(), "a type must stand here").expected(TYPES)),
            None => Err(self.misuse(self.span.clone(), format!("`{}` needs more arguments", self.name))),
        }
    }

    fn dim(&self, i: usize) -> Result<Dim, ExprError> {
        let (word, span) = match self.all.get(i) {
            Some((Argument::Word(w), span)) => (w.as_str(), span.clone()),
            Some((_, span)) => ("", span.clone()),
            None => ("", self.span.clone()),
        };
        DIMS.iter().find(|d| d.0 == word).map(|d| d.1).ok_or_else(|| {
            let names: Vec<&str> = DIMS.iter().map(|d| d.0).collect();
            let error = self.misuse(span, "a dimension must stand here").expected(&names);
            match near(word, names.iter().copied()).first() {
                Some(close) => error.help(format!("did you mean `{close}`?")),
                None => error,
            }
        })
    }
}

fn usage(name: &str) -> &'static str {
    match name {
        "spatial" => "spatial(8, 4)",
        "column_spatial" => "column_spatial(8, 4)",
        "local" => "local(2, 1)",
        "column_local" => "column_local(2, 1)",
        "warps" => "warps(2, 2)",
        "column_warps" => "column_warps(2, 2)",
        "inst" => "inst(3, 1)",
        "cta" => "cta(2, 1)",
        "loop" => "loop(4, 1)",
        "seg" => "seg(2, 1)",
        "replicated" => "replicated(lane, 4)",
        "interleave" => "interleave(local(1, 4) * mma.m16n8k16.C, 1, 4)",
        "permute" => "permute(local(1, 8), 1, 1, 2, 0)",
        "transpose" => "transpose(mma.m16n8k16.B)",
        "reduce" => "reduce(mma.m16n8k16.C, 1)",
        "slice" => "slice(mma.m16n8k16.C, 1)",
        "left_divide" => "left_divide(spatial(8, 4) * local(1, 2), spatial(8, 4))",
        "coalesced" => "coalesced(128, 64, 8, 128)",
        "row_major" => "row_major(f16, 64, 64)",
        "column_major" => "column_major(f16, 64, 64)",
        "swizzle" => "swizzle(3, 4, 3) o row_major(f16, 64, 64)",
        "panels" => "panels(f16, 128, 64, 128)",
        _ => "shared(f16, 128, 64)",
    }
}

/// Calls one of [`FUNCTIONS`].
pub(super) fn call(
    name: &str,
    all: &[(Argument, Range<usize>)],
    span: Range<usize>,
) -> Result<Value, ExprError> {
    let args = Arguments { name, usage: usage(name), all, span: span.clone() };
    let fail = |e: LayoutError| ExprError::new(span.clone(), e.to_string());
    let spreading = |dim, order| spread(dim, &args.numbers(0)?, order).map_err(fail);
    let layout = match name {
        "spatial" => spreading(Dim::Lane, Order::Row)?,
        "column_spatial" => spreading(Dim::Lane, Order::Column)?,
        "local" => spreading(Dim::Reg, Order::Row)?,
        "column_local" => spreading(Dim::Reg, Order::Column)?,
        "warps" => spreading(Dim::Warp, Order::Row)?,
        "column_warps" => spreading(Dim::Warp, Order::Column)?,
        "inst" => spreading(Dim::Inst, Order::Row)?,
        "cta" => spreading(Dim::Cta, Order::Row)?,
        "loop" => spreading(Dim::Loop, Order::Row)?,
        "seg" => spreading(Dim::Seg, Order::Row)?,
        "replicated" => {
            args.count(2)?;
            replicated(args.dim(0)?, args.number(1)?).map_err(fail)?
        }
        "interleave" => {
            args.count(3)?;
            let (layout, axis, atoms) = (args.layout(0)?, args.axis(1)?, args.number(2)?);
            let bits = layout.outs().bits(axis);
            if !atoms.is_power_of_two() || 3 + atoms.trailing_zeros() > bits {
                let what = format!("{atoms} atoms of 8 do not fit an axis of {}", 1u64 << bits);
                return Err(args.misuse(all[2].1.clone(), what));
            }
            layout.permute_axis(axis, &interleave(bits, 1, 2, atoms.trailing_zeros())).map_err(fail)?
        }
        "permute" => args.layout(0)?.permute_axis(args.axis(1)?, &args.numbers(2)?).map_err(fail)?,
        "transpose" => {
            args.count(1)?;
            let swap = |a: Axis| if a.0 < 2 { Axis(1 - a.0) } else { a };
            args.layout(0)?.rename_outs(swap).map_err(fail)?
        }
        "reduce" | "slice" => {
            args.count(2)?;
            let (layout, axis) = (args.layout(0)?, args.axis(1)?);
            let rest = if name == "reduce" { layout.reduce(axis) } else { layout.slice(axis) };
            let closed = rest.map_err(fail)?;
            closed.rename_outs(|a| if a > axis { Axis(a.0 - 1) } else { a }).map_err(fail)?
        }
        "left_divide" => {
            args.count(2)?;
            args.layout(0)?.divide_left(args.layout(1)?).map_err(fail)?
        }
        "coalesced" => {
            args.count(4)?;
            let n = args.numbers(0)?;
            coalesced((Axis(0), n[0]), (Axis(1), n[1]), n[2], n[3]).map_err(fail)?
        }
        "swizzle" => {
            args.count(3)?;
            let n = args.numbers(0)?;
            return Swizzle::new(n[0], n[1], n[2]).map(Value::Swizzle).map_err(fail);
        }
        _ => return memory(name, &args).map(Value::Memory),
    };
    Ok(Value::Layout(layout))
}

fn memory(name: &str, args: &Arguments<'_>) -> Result<SharedLayout, ExprError> {
    let fail = |e: LayoutError| ExprError::new(args.span.clone(), e.to_string());
    let bits = args.elem_bits(0)?;
    let extents = args.numbers(1)?;
    let shape: Vec<(Axis, u32)> = extents.iter().enumerate().map(|(i, &e)| (Axis(i as u16), e)).collect();
    match name {
        "row_major" => SharedLayout::row_major(&shape, bits).map_err(fail),
        "column_major" => {
            let reversed: Vec<_> = shape.into_iter().rev().collect();
            SharedLayout::row_major(&reversed, bits).map_err(fail)
        }
        "panels" => {
            args.count(4)?;
            panel::panels([shape[0], shape[1]], bits, extents[2]).map_err(fail)
        }
        _ => {
            args.count(3)?;
            let accessors = gemm_accessors(&shape, bits).map_err(fail)?;
            solve_shared(&shape, bits, &accessors).map(|s| s.layout).map_err(fail)
        }
    }
}

/// A 16-byte copy by 128 threads, and ldmatrix.x4 of mma fragments where the type and size allow them.
fn gemm_accessors(shape: &[(Axis, u32)], bits: u32) -> Result<Vec<Accessor>, LayoutError> {
    let (row, column) = (shape[0], shape[1]);
    let mut accessors = vec![Accessor::vector(16, coalesced(row, column, 128 / bits.max(8), 128)?)];
    if bits == 16 && row.1 % 16 == 0 && column.1 % 16 == 0 {
        let tile = spread_over(Dim::Reg, &[(row.0, row.1 / 16), (column.0, column.1 / 16)], Order::Row)?;
        let fragment = tile.product(&mma_a(16, 16, row.0, column.0)?)?;
        if let Some(access) = matrix_rows(&fragment, 16, column.0, false, &[1, 2]) {
            accessors.push(Accessor::matrix(4, access.rows));
        }
    }
    Ok(accessors)
}

/// A CuTe layout: one axis per mode, each a list of (extent, stride) with the fastest first.
pub(super) fn memory_from_modes(
    shape: &Tuple,
    stride: &Tuple,
    elem_bits: u32,
) -> Result<SharedLayout, String> {
    let bytes = elem_bits / 8;
    let modes: Vec<(&Tuple, &Tuple)> = match (shape, stride) {
        (Tuple::Node(a), Tuple::Node(b)) if a.len() == b.len() => a.iter().zip(b).collect(),
        (Tuple::Leaf(_), Tuple::Leaf(_)) => vec![(shape, stride)],
        _ => return Err("shape and stride must have the same structure".into()),
    };
    let (mut cols, mut fields, mut outer) = (Vec::new(), Vec::new(), Vec::new());
    for (i, (extents, strides)) in modes.into_iter().enumerate() {
        let axis = Axis(i as u16);
        let mut leaves = Vec::new();
        flatten(extents, strides, &mut leaves)?;
        let mut column = Vec::new();
        for (at, &(extent, step)) in leaves.iter().enumerate() {
            let last = at + 1 == leaves.len();
            if extent == 0 {
                return Err("an extent is zero".into());
            }
            let step = step as u64 * bytes as u64;
            let linear = if step.is_power_of_two() { extent.trailing_zeros() } else { 0 };
            column.extend((0..linear).map(|b| step << b));
            let rest = extent >> linear;
            if rest > 1 {
                if !last {
                    return Err(format!(
                        "{extent}:{} is not a power of two and not the slowest part of its mode",
                        step / bytes as u64
                    ));
                }
                let stride =
                    u32::try_from(step << linear).map_err(|_| "a stride is too large".to_string())?;
                outer.push(OuterDigit { axis, extent: rest, stride });
            }
        }
        fields.push((axis, column.len() as u8));
        cols.push((axis, column));
    }
    let largest = cols.iter().flat_map(|c| &c.1).copied().max().unwrap_or(1).max(bytes as u64);
    let out_bits = 64 - largest.leading_zeros();
    let ins = Space::new(fields);
    let order =
        ins.fields().iter().flat_map(|f| cols.iter().filter(|c| c.0 == f.0).flat_map(|c| c.1.clone()));
    let map =
        LinearMap::new(ins.clone(), Space::new([(Offset, out_bits as u8)]), order.collect(), Vec::new())
            .map_err(|e| e.to_string())?;
    let memory = SharedLayout::new(map, outer, bytes).map_err(|e| match e {
        LayoutError::NotInvertible { .. } => "two elements share one place".to_string(),
        e => e.to_string(),
    })?;
    check_overlap(&memory)?;
    Ok(memory)
}

fn flatten(extents: &Tuple, strides: &Tuple, into: &mut Vec<(u32, u32)>) -> Result<(), String> {
    match (extents, strides) {
        (Tuple::Leaf(e), Tuple::Leaf(s)) => into.push((*e, *s)),
        (Tuple::Node(e), Tuple::Node(s)) if e.len() == s.len() => {
            e.iter().zip(s).try_for_each(|(e, s)| flatten(e, s, into))?
        }
        _ => return Err("shape and stride must have the same structure".into()),
    }
    Ok(())
}

/// Outer digits may run into the linear part if somebody writes such strides; small layouts are checked one by one.
fn check_overlap(memory: &SharedLayout) -> Result<(), String> {
    let shape = memory.shape();
    let elements: u64 = shape.iter().fold(1, |p: u64, s| p.saturating_mul(s.1 as u64));
    if memory.outer().is_empty() || elements > super::cells::LIMIT {
        return Ok(());
    }
    let mut seen = std::collections::HashSet::new();
    for i in 0..elements as u32 {
        let mut rest = i;
        let at: Vec<_> = shape
            .iter()
            .map(|&(a, n)| {
                let c = rest % n;
                rest /= n;
                (a, c)
            })
            .collect();
        if !seen.insert(memory.offset(&at)) {
            return Err("two elements share one place".into());
        }
    }
    Ok(())
}
