//! Binding: arguments against a signature, with every check that shapes, strides and addresses decide.
//!
//! In order: kinds, element types and ranks; dimensions ([`super::dims`]); defaults of scalars; extents; strides; promises;
//! alignment; overlap. What comes out, [`Bound`], is all that choosing a variant and filling its parameters needs; nothing is
//! checked again after it.

use tilewright_compiler::tile::{
    BinaryOp, CmpOp, Const, DimId, DimSource, ElemType, LaunchExpr, LaunchFacts, Param, PromiseOrigin,
    ScalarId, Stride, Tensor, TensorId, TensorKind,
};

use super::dims::{DimFacts, DimOrigin, DimValues, Dims, bind_dims};
use super::error::LaunchError;
use super::generate::check_scalar;
use super::signature::{Signature, TensorFacts};
use crate::tensor::dense_strides;

/// One argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    Tensor(TensorFacts),
    Scalar(Const),
}

/// A launch whose arguments fit: every fact that it decides.
#[derive(Clone, Debug)]
pub struct Bound {
    pub dims: Dims,
    /// In the kernel's order, rounded to their types.
    pub scalars: Vec<Const>,
    /// In the kernel's order; `None` for what is no parameter (`temp`, constants).
    pub tensors: Vec<Option<TensorFacts>>,
}

impl LaunchFacts for Bound {
    fn dim(&self, dim: DimId) -> Option<i64> {
        Some(self.dims.get(dim))
    }
    fn scalar(&self, scalar: ScalarId) -> Option<Const> {
        self.scalars.get(scalar.0 as usize).copied()
    }
    fn stride(&self, tensor: TensorId, axis: usize) -> Option<i64> {
        let facts = self.tensors.get(tensor.0 as usize)?.as_ref()?;
        facts.strides.get(axis).map(|&s| s as i64)
    }
}

/// Arguments in the signature's order, `None` where not given: tensors, scalars.
pub type Placed = (Vec<Option<TensorFacts>>, Vec<Option<Const>>);

/// Sorts named arguments into the signature's order. Unknown names are errors.
pub fn place_arguments(
    signature: &Signature<'_>,
    arguments: &[(String, Argument)],
) -> Result<Placed, LaunchError> {
    let mut tensors = vec![None; signature.tensors.len()];
    let mut scalars = vec![None; signature.scalars.len()];
    for (name, argument) in arguments {
        match (find_param(signature, name)?, argument) {
            (Param::Tensor(t), Argument::Tensor(facts)) => {
                check_kind(&signature.tensors[t.0 as usize], facts)?;
                tensors[t.0 as usize] = Some(facts.clone());
            }
            (Param::Scalar(s), Argument::Scalar(value)) => {
                let scalar = &signature.scalars[s.0 as usize];
                scalars[s.0 as usize] = Some(fit_scalar(&scalar.name, scalar.elem, *value)?);
            }
            (Param::Tensor(t), Argument::Scalar(value)) => {
                return Err(LaunchError::WrongKind {
                    name: name.clone(),
                    want: format!("a tensor {}", describe(&signature.tensors[t.0 as usize])),
                    origin: "its argument".into(),
                    got: format!("the number {}", show(*value)),
                });
            }
            (Param::Scalar(s), Argument::Tensor(facts)) => {
                return Err(LaunchError::WrongKind {
                    name: name.clone(),
                    want: format!("a scalar of type {}", signature.scalars[s.0 as usize].elem),
                    origin: facts.origin.clone(),
                    got: format!("a tensor of shape {:?}", facts.shape),
                });
            }
        }
    }
    Ok((tensors, scalars))
}

/// The parameter of that name.
pub fn find_param(signature: &Signature<'_>, name: &str) -> Result<Param, LaunchError> {
    let names = signature.param_names();
    match names.iter().position(|n| *n == name) {
        Some(at) => Ok(signature.params[at]),
        None => Err(LaunchError::UnknownParameter {
            kernel: signature.name.into(),
            name: name.into(),
            near: tilewright_compiler::diagnostics::near(name, names.iter().copied()).map(String::from),
            known: names.into_iter().map(String::from).collect(),
        }),
    }
}

/// Binds a launch. Every parameter must be there but scalars with defaults.
pub fn bind(
    signature: &Signature<'_>,
    arguments: &[(String, Argument)],
    outside: &DimValues,
) -> Result<Bound, LaunchError> {
    let (tensors, scalars) = place_arguments(signature, arguments)?;
    let given: Vec<Option<&TensorFacts>> = tensors.iter().map(Option::as_ref).collect();
    let dims = bind_dims(signature, &given, &scalars, outside)?;
    let scalars = fill_scalars(signature, &dims, scalars)?
        .into_iter()
        .zip(signature.scalars)
        .map(|(value, scalar)| {
            value.ok_or_else(|| missing(signature, &scalar.name, format!("a scalar of type {}", scalar.elem)))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let bound = Bound { dims, scalars, tensors };
    for param in signature.params {
        if let Param::Tensor(id) = param {
            let tensor = &signature.tensors[id.0 as usize];
            match &bound.tensors[id.0 as usize] {
                None => {
                    return Err(missing(signature, &tensor.name, format!("a tensor {}", describe(tensor))));
                }
                Some(facts) => check_tensor(signature, &bound, tensor, facts)?,
            }
        }
    }
    check_scalars(signature, &bound)?;
    check_promises(signature, &bound)?;
    check_overlap(signature, &bound)?;
    Ok(bound)
}

fn missing(signature: &Signature<'_>, name: &str, want: String) -> LaunchError {
    LaunchError::Missing { kernel: signature.name.into(), name: name.into(), want }
}

/// Gives scalars without an argument their dimension or default; `None` where they have neither.
pub fn fill_scalars(
    signature: &Signature<'_>,
    dims: &Dims,
    mut scalars: Vec<Option<Const>>,
) -> Result<Vec<Option<Const>>, LaunchError> {
    for (at, dim) in signature.dims.iter().enumerate() {
        if let DimSource::Scalar(id) = dim.source {
            let value = Const::Int(dims.get(DimId(at as u32)).into());
            let scalar = &signature.scalars[id.0 as usize];
            scalars[id.0 as usize].get_or_insert(fit_scalar(&scalar.name, scalar.elem, value)?);
        }
    }
    for (at, scalar) in signature.scalars.iter().enumerate() {
        if let (None, Some(default)) = (scalars[at], &scalar.default) {
            let facts = DimFacts { dims, scalars: &scalars };
            let value = default.eval(&facts).ok_or_else(|| LaunchError::NoValue {
                what: format!("the default of {}", scalar.name),
                facts: facts_of(signature, default, &facts),
            })?;
            scalars[at] = Some(fit_scalar(&scalar.name, scalar.elem, value)?);
        }
    }
    Ok(scalars)
}

/// A value as the scalar's type holds it: floats round, integers must fit.
pub fn fit_scalar(name: &str, elem: ElemType, value: Const) -> Result<Const, LaunchError> {
    use tilewright_compiler::numeric::Number;
    let range = || LaunchError::ScalarRange { name: name.into(), value: show(value), elem };
    let float = match value {
        Const::Float(x) => x,
        Const::Int(v) => v as f64,
        Const::Bool(_) if elem == ElemType::Bool => return Ok(value),
        Const::Bool(_) => return Err(range()),
    };
    if elem.is_float() {
        return match elem.format().convert_f64(float) {
            Number::Float(x) => Ok(Const::Float(x)),
            Number::Int(_) => Err(range()),
        };
    }
    match value {
        Const::Int(v) if elem == ElemType::Bool && (0..=1).contains(&v) => Ok(Const::Bool(v == 1)),
        Const::Int(v) if elem.is_integer() => {
            let bits = elem.bits();
            let (least, most) = if elem.is_signed() {
                (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
            } else {
                (0, (1i128 << bits) - 1)
            };
            if (least..=most).contains(&v) { Ok(value) } else { Err(range()) }
        }
        _ => Err(range()),
    }
}

/// `f16[M, K]`
pub fn describe(tensor: &Tensor) -> String {
    let shape: Vec<&str> = tensor.shape.iter().map(|entry| entry.text.as_str()).collect();
    format!("{}[{}]", tensor.elem, shape.join(", "))
}

fn check_kind(tensor: &Tensor, facts: &TensorFacts) -> Result<(), LaunchError> {
    if tensor.elem != facts.elem {
        return Err(LaunchError::WrongElement {
            name: tensor.name.clone(),
            want: tensor.elem,
            origin: facts.origin.clone(),
            got: facts.elem,
        });
    }
    if tensor.shape.len() != facts.shape.len() || facts.strides.len() != facts.shape.len() {
        return Err(LaunchError::WrongRank {
            name: tensor.name.clone(),
            want: tensor.shape.len(),
            shape: tensor.shape.iter().map(|entry| entry.text.as_str()).collect::<Vec<_>>().join(", "),
            origin: facts.origin.clone(),
            got: facts.shape.clone(),
        });
    }
    Ok(())
}

/// The shape of a tensor when dimensions and scalars are known.
pub fn shape_of(
    signature: &Signature<'_>,
    tensor: &Tensor,
    facts: &dyn LaunchFacts,
) -> Result<Vec<usize>, LaunchError> {
    let extent = |(axis, entry): (usize, &tilewright_compiler::tile::ShapeEntry)| {
        let what = || format!("extent {} of {} (axis {axis})", entry.text, tensor.name);
        let value = entry.extent.eval_int(facts).ok_or_else(|| LaunchError::NoValue {
            what: what(),
            facts: facts_of(signature, &entry.extent, facts),
        })?;
        usize::try_from(value).map_err(|_| LaunchError::Negative {
            what: what(),
            value,
            facts: facts_of(signature, &entry.extent, facts),
        })
    };
    tensor.shape.iter().enumerate().map(extent).collect()
}

fn check_tensor(
    signature: &Signature<'_>,
    bound: &Bound,
    tensor: &Tensor,
    facts: &TensorFacts,
) -> Result<(), LaunchError> {
    let name = || tensor.name.clone();
    let origin = || facts.origin.clone();
    let want = shape_of(signature, tensor, bound)?;
    for (axis, entry) in tensor.shape.iter().enumerate() {
        if want[axis] != facts.shape[axis] {
            return Err(LaunchError::WrongExtent {
                name: name(),
                axis,
                text: entry.text.clone(),
                want: want[axis] as i64,
                facts: facts_of(signature, &entry.extent, bound),
                origin: origin(),
                got: facts.shape[axis] as i64,
            });
        }
    }
    let empty = facts.shape.contains(&0);
    let dense = dense_strides(&facts.shape);
    for (axis, stride) in tensor.strides.iter().enumerate() {
        let (extent, got) = (facts.shape[axis], facts.strides[axis]);
        // The stride of an axis with one element (or none) is never used.
        if empty || extent == 1 {
            continue;
        }
        match stride {
            Stride::Dense if got != dense[axis] => {
                return Err(LaunchError::NotDense {
                    name: name(),
                    origin: origin(),
                    shape: facts.shape.clone(),
                    got: facts.strides.clone(),
                });
            }
            Stride::Given(expr) => {
                let want = expr.eval_int(bound).ok_or_else(|| LaunchError::NoValue {
                    what: format!("the stride of {} along axis {axis}", tensor.name),
                    facts: facts_of(signature, expr, bound),
                })?;
                if i64::try_from(got) != Ok(want) {
                    return Err(LaunchError::WrongStride { name: name(), axis, want, origin: origin(), got });
                }
            }
            Stride::Dense | Stride::Free => {}
        }
        if got == 0 && tensor.kind.writable() {
            return Err(LaunchError::Broadcast { name: name(), axis, origin: origin() });
        }
    }
    let Some(memory) = facts.memory else { return Ok(()) };
    if !empty && memory.address % u64::from(tensor.align.max(1)) != 0 {
        return Err(LaunchError::Misaligned {
            name: name(),
            want: tensor.align,
            origin: origin(),
            address: memory.address,
            fits: 1 << memory.address.trailing_zeros().min(63),
        });
    }
    let reach = facts.reach().filter(|&reach| memory.address.checked_add(reach).is_some());
    let reach = reach.ok_or_else(|| LaunchError::TooLarge {
        what: format!("the size of {} in bytes", tensor.name),
        value: u64::MAX,
        most: u64::MAX - memory.address,
        limit: "fit behind its address".into(),
    })?;
    match memory.len {
        Some(len) if len < reach => Err(LaunchError::TooShort { name: name(), origin: origin(), len, reach }),
        _ => Ok(()),
    }
}

/// What scalars promise by `in`.
fn check_scalars(signature: &Signature<'_>, bound: &Bound) -> Result<(), LaunchError> {
    for (scalar, value) in signature.scalars.iter().zip(&bound.scalars) {
        if let Const::Int(value) = value {
            check_scalar(signature, scalar, bound, *value)?;
        }
    }
    Ok(())
}

fn check_promises(signature: &Signature<'_>, bound: &Bound) -> Result<(), LaunchError> {
    for promise in signature.promises {
        let facts = || facts_of(signature, &promise.expr, bound);
        let reasons = || {
            let hint = multiple(signature, &promise.expr).map(|h| format!("; {h}")).unwrap_or_default();
            placed(signature, &bound.dims, facts()) + &hint
        };
        match promise.expr.eval(bound) {
            Some(Const::Bool(true)) => {}
            Some(_) => {
                let origin = match promise.origin {
                    PromiseOrigin::Where => format!(" (the `where` of {})", signature.name),
                    PromiseOrigin::ExactDivision => " (a `/` in a shape)".into(),
                };
                return Err(LaunchError::BrokenPromise {
                    text: promise.text.clone(),
                    origin,
                    facts: reasons(),
                });
            }
            None => return Err(LaunchError::NoValue { what: promise.text.clone(), facts: facts() }),
        }
    }
    Ok(())
}

/// Facts in which each dimension that a file or tensor of the caller's has says so: `: HQ is 5 in q (axis 1 of q.npy)`.
fn placed(signature: &Signature<'_>, dims: &Dims, facts: String) -> String {
    let Some(facts) = facts.strip_prefix(": ") else { return facts };
    let place = |fact: &str| {
        let (name, _) = fact.split_once(" is ")?;
        let at = signature.dims.iter().position(|d| d.name == name)?;
        match dims.origin(DimId(at as u32)) {
            // What was made for the user only repeats the dimension.
            DimOrigin::Argument(place) if !place.contains("of the argument ") => {
                Some(format!("{fact} in {place}"))
            }
            _ => None,
        }
    };
    let facts: Vec<String> = facts.split(", ").map(|f| place(f).unwrap_or_else(|| f.to_string())).collect();
    format!(": {}", facts.join(", "))
}

/// What `x % y == 0` asks for, in words.
fn multiple(signature: &Signature<'_>, promise: &LaunchExpr) -> Option<String> {
    let name = |e: &LaunchExpr| match e {
        LaunchExpr::Dim(d) => Some(signature.dims[d.0 as usize].name.clone()),
        LaunchExpr::Scalar(s) => Some(signature.scalars[s.0 as usize].name.clone()),
        LaunchExpr::Const(c) => Some(show(*c)),
        _ => None,
    };
    let LaunchExpr::Compare(CmpOp::Eq, rest, zero) = promise else { return None };
    match (&**rest, &**zero) {
        (LaunchExpr::Binary(BinaryOp::Rem, x, y), LaunchExpr::Const(Const::Int(0))) => {
            Some(format!("{} must be a multiple of {}", name(x)?, name(y)?))
        }
        _ => None,
    }
}

fn check_overlap(signature: &Signature<'_>, bound: &Bound) -> Result<(), LaunchError> {
    let mut pieces: Vec<(u64, u64, &Tensor)> = Vec::new();
    for (tensor, facts) in signature.tensors.iter().zip(&bound.tensors) {
        if let Some(facts) = facts
            && let (Some(memory), Some(reach @ 1..)) = (facts.memory, facts.reach())
        {
            pieces.push((memory.address, memory.address + reach, tensor));
        }
    }
    for (at, (start, end, tensor)) in pieces.iter().enumerate() {
        for (other_start, other_end, other) in &pieces[at + 1..] {
            if start < other_end && other_start < end && (tensor.kind.writable() || other.kind.writable()) {
                let written = if tensor.kind.writable() { tensor } else { other };
                return Err(LaunchError::Overlap {
                    first: tensor.name.clone(),
                    second: other.name.clone(),
                    written: written.name.clone(),
                });
            }
        }
    }
    Ok(())
}

/// ` (K = 72 from a (axis 1 of a.npy), stride(q, 2) = 33)`: the facts that an expression used, and where they came from.
pub fn facts_of(signature: &Signature<'_>, expr: &LaunchExpr, facts: &dyn LaunchFacts) -> String {
    let mut seen = Vec::new();
    collect(signature, expr, facts, &mut seen);
    seen.dedup();
    if seen.is_empty() { String::new() } else { format!(": {}", seen.join(", ")) }
}

fn collect(signature: &Signature<'_>, expr: &LaunchExpr, facts: &dyn LaunchFacts, seen: &mut Vec<String>) {
    let mut add = |text: String| {
        if !seen.contains(&text) {
            seen.push(text);
        }
    };
    match expr {
        LaunchExpr::Const(_) => {}
        LaunchExpr::Dim(d) => {
            if let Some(value) = facts.dim(*d) {
                add(format!("{} is {value}", signature.dims[d.0 as usize].name));
            }
        }
        LaunchExpr::Scalar(s) => {
            if let Some(value) = facts.scalar(*s) {
                add(format!("{} is {}", signature.scalars[s.0 as usize].name, show(value)));
            }
        }
        LaunchExpr::Stride(t, axis) => {
            if let Some(value) = facts.stride(*t, *axis) {
                add(format!("stride({}, {axis}) is {value}", signature.tensors[t.0 as usize].name));
            }
        }
        LaunchExpr::Unary(_, x) | LaunchExpr::Cast(_, x) => collect(signature, x, facts, seen),
        LaunchExpr::Binary(_, x, y) | LaunchExpr::Compare(_, x, y) => {
            collect(signature, x, facts, seen);
            collect(signature, y, facts, seen);
        }
        LaunchExpr::Select(c, x, y) => {
            collect(signature, c, facts, seen);
            collect(signature, x, facts, seen);
            collect(signature, y, facts, seen);
        }
    }
}

/// A constant as a person writes it.
pub fn show(value: Const) -> String {
    match value {
        Const::Bool(b) => b.to_string(),
        Const::Int(v) => v.to_string(),
        Const::Float(x) => x.to_string(),
    }
}

/// Whether a tensor is given by the caller (and not a `temp` or a constant).
pub fn is_parameter(tensor: &Tensor) -> bool {
    !matches!(tensor.kind, TensorKind::Temp { .. } | TensorKind::Const(_))
}
