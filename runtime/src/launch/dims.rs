//! Dimensions: their values, from what the arguments are.
//!
//! Worked example, `gemm(a: T[M, K], b: T[N, K], out c: T[M, N])` with `a` of shape [33, 7] and nothing else: M = 33 and K = 7
//! from `a`; N takes the value of `--dim`, else of the file's `//; dims:` line, else 256. Had `b` been given as [64, 8], the error
//! is "K is 7 in a (axis 1 of a.npy) but 8 in b (axis 1 of b.npy)".
//!
//! An entry that is affine in one dimension (`B + 1`, `2 * D`) binds it; one that divides it (`K / 8`) does where nothing else does; every other
//! entry is checked when all are known.

use tilewright_compiler::tile::{
    BinaryOp, CmpOp, Const, DimId, DimSource, LaunchExpr, LaunchFacts, ScalarId, TensorId,
};

use super::error::LaunchError;
use super::signature::{Signature, TensorFacts};

/// The value taken by a dimension that nothing fixes.
pub const DEFAULT_DIM: i64 = 256;

/// Where a dimension's value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DimOrigin {
    /// `a (axis 1 of a.npy)`
    Argument(String),
    /// The command line or the caller.
    Given,
    /// The file's `//; dims:` line.
    Directive,
    /// An equation among the kernel's promises, such as `KB == cdiv(K, 128)`.
    Promise,
    /// Nothing fixed it.
    Default,
}

impl std::fmt::Display for DimOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DimOrigin::Argument(place) => f.write_str(place),
            DimOrigin::Given => f.write_str("--dim"),
            DimOrigin::Directive => f.write_str("the file's `//; dims:` line"),
            DimOrigin::Promise => f.write_str("a promise of the kernel"),
            DimOrigin::Default => f.write_str("the default"),
        }
    }
}

/// Values of dimensions that come from outside the arguments.
#[derive(Clone, Debug, Default)]
pub struct DimValues {
    /// Win over everything but the arguments, which they must agree with.
    pub given: Vec<(String, i64)>,
    /// The file's `//; dims:` line: for what is still open.
    pub directive: Vec<(String, i64)>,
    /// Give what is still open [`DEFAULT_DIM`]; else that is an error.
    pub fill: bool,
}

/// Every dimension's value. Also the launch facts that only need dimensions and scalars.
#[derive(Clone, Debug, PartialEq)]
pub struct Dims {
    values: Vec<(i64, DimOrigin)>,
}

impl Dims {
    pub fn get(&self, dim: DimId) -> i64 {
        self.values[dim.0 as usize].0
    }

    pub fn origin(&self, dim: DimId) -> &DimOrigin {
        &self.values[dim.0 as usize].1
    }

    /// In the kernel's order.
    pub fn values(&self) -> impl Iterator<Item = i64> {
        self.values.iter().map(|(v, _)| *v)
    }
}

/// What is known when dimensions and scalars are.
pub struct DimFacts<'a> {
    pub dims: &'a Dims,
    pub scalars: &'a [Option<Const>],
}

impl LaunchFacts for DimFacts<'_> {
    fn dim(&self, dim: DimId) -> Option<i64> {
        Some(self.dims.get(dim))
    }
    fn scalar(&self, scalar: ScalarId) -> Option<Const> {
        *self.scalars.get(scalar.0 as usize)?
    }
    fn stride(&self, _: TensorId, _: usize) -> Option<i64> {
        None
    }
}

/// Binds every dimension. `tensors` and `scalars` are in the kernel's order, `None` where not given.
pub fn bind_dims(
    signature: &Signature<'_>,
    tensors: &[Option<&TensorFacts>],
    scalars: &[Option<Const>],
    outside: &DimValues,
) -> Result<Dims, LaunchError> {
    let mut bound: Vec<Option<(i64, DimOrigin)>> = vec![None; signature.dims.len()];
    for (tensor, facts) in signature.tensors.iter().zip(tensors) {
        let Some(facts) = facts else { continue };
        for (axis, entry) in tensor.shape.iter().enumerate() {
            let Some(&got) = facts.shape.get(axis) else { continue };
            let got = i64::try_from(got).map_err(|_| LaunchError::TooLarge {
                what: format!("{} along axis {axis}", tensor.name),
                value: got as u64,
                most: i64::MAX as u64,
                limit: "a dimension may be".into(),
            })?;
            let Some((dim, scale, offset)) = affine(&entry.extent) else { continue };
            let name = &signature.dims[dim.0 as usize].name;
            let rest = i128::from(got) - i128::from(offset);
            if rest % i128::from(scale) != 0 || rest / i128::from(scale) < 0 {
                return Err(LaunchError::NotAffine {
                    name: tensor.name.clone(),
                    axis,
                    text: entry.text.clone(),
                    origin: facts.origin.clone(),
                    got,
                    dim: name.clone(),
                });
            }
            let value = (rest / i128::from(scale)) as i64;
            let place = format!("{} (axis {axis} of {})", tensor.name, facts.origin);
            put(&mut bound, signature, dim, value, DimOrigin::Argument(place))?;
        }
    }
    for (at, dim) in signature.dims.iter().enumerate() {
        let id = DimId(at as u32);
        if let DimSource::Scalar(scalar) = dim.source
            && let Some(value) = scalars.get(scalar.0 as usize).copied().flatten()
            && let Const::Int(value) = value
        {
            let place = format!("the argument {}", dim.name);
            put(&mut bound, signature, id, clamp(value), DimOrigin::Argument(place))?;
        }
    }
    for (name, value) in &outside.given {
        let id = find_dim(signature, name)?;
        put(&mut bound, signature, id, *value, DimOrigin::Given)?;
    }
    for (at, dim) in signature.dims.iter().enumerate() {
        if let Some(value) = dim.frozen {
            put(&mut bound, signature, DimId(at as u32), value, DimOrigin::Given)?;
        }
    }
    // `K / 8` is exact, so what has so many tells K, if nothing else does.
    for (tensor, facts) in signature.tensors.iter().zip(tensors) {
        let Some(facts) = facts else { continue };
        for (axis, entry) in tensor.shape.iter().enumerate() {
            let (Some(&got), Some((dim, by))) = (facts.shape.get(axis), quotient(&entry.extent)) else {
                continue;
            };
            let value = i64::try_from(got).ok().and_then(|got| got.checked_mul(by));
            if let (None, Some(value)) = (&bound[dim.0 as usize], value) {
                let place = format!("{} (axis {axis} of {})", tensor.name, facts.origin);
                put(&mut bound, signature, dim, value, DimOrigin::Argument(place))?;
            }
        }
    }
    for (name, value) in &outside.directive {
        // A file's line may name dimensions of its other kernels.
        if let Ok(id) = find_dim(signature, name) {
            bound[id.0 as usize].get_or_insert((*value, DimOrigin::Directive));
        }
    }
    if outside.fill {
        fill_open(signature, scalars, &mut bound);
    }
    let values = bound.into_iter().zip(signature.dims).map(|(value, dim)| match value {
        Some((value, origin)) if value < 0 => {
            Err(LaunchError::Negative { what: dim.name.clone(), value, facts: format!(" (from {origin})") })
        }
        Some(value) => Ok(value),
        None => Err(LaunchError::Unbound { dim: dim.name.clone() }),
    });
    Ok(Dims { values: values.collect::<Result<_, _>>()? })
}

/// Gives open dimensions a value: what an equation of the promises says, else the default. Those without an equation come first, since
/// equations use them.
fn fill_open(signature: &Signature<'_>, scalars: &[Option<Const>], bound: &mut [Option<(i64, DimOrigin)>]) {
    let equations: Vec<(usize, &LaunchExpr)> = signature
        .promises
        .iter()
        .filter_map(|promise| match &promise.expr {
            LaunchExpr::Compare(CmpOp::Eq, x, y) => Some((x.as_ref(), y.as_ref())),
            _ => None,
        })
        .flat_map(|(x, y)| [(x, y), (y, x)])
        .filter_map(|(x, y)| match x {
            LaunchExpr::Dim(d) => Some((d.0 as usize, y)),
            _ => None,
        })
        .collect();
    for at in 0..bound.len() {
        if bound[at].is_none() && !equations.iter().any(|(dim, _)| *dim == at) {
            bound[at] = Some((DEFAULT_DIM, DimOrigin::Default));
        }
    }
    // As often as there are equations, so that one may use what another gives.
    for _ in 0..equations.len() {
        for (at, value) in &equations {
            let facts = Partial { bound, scalars };
            if bound[*at].is_none()
                && let Some(value @ 0..) = value.eval_int(&facts)
            {
                bound[*at] = Some((value, DimOrigin::Promise));
            }
        }
    }
    for open in bound.iter_mut().filter(|value| value.is_none()) {
        *open = Some((DEFAULT_DIM, DimOrigin::Default));
    }
}

/// What is known before every dimension is.
struct Partial<'a> {
    bound: &'a [Option<(i64, DimOrigin)>],
    scalars: &'a [Option<Const>],
}

impl LaunchFacts for Partial<'_> {
    fn dim(&self, dim: DimId) -> Option<i64> {
        self.bound.get(dim.0 as usize)?.as_ref().map(|(value, _)| *value)
    }
    fn scalar(&self, scalar: ScalarId) -> Option<Const> {
        *self.scalars.get(scalar.0 as usize)?
    }
    fn stride(&self, _: TensorId, _: usize) -> Option<i64> {
        None
    }
}

fn clamp(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

fn find_dim(signature: &Signature<'_>, name: &str) -> Result<DimId, LaunchError> {
    let names = || signature.dims.iter().map(|d| d.name.as_str());
    names().position(|n| n == name).map(|at| DimId(at as u32)).ok_or_else(|| LaunchError::UnknownDimension {
        kernel: signature.name.into(),
        name: name.into(),
        near: tilewright_compiler::diagnostics::near(name, names()).map(String::from),
        known: names().map(String::from).collect(),
    })
}

/// Sets a dimension, or checks that it has that value.
fn put(
    bound: &mut [Option<(i64, DimOrigin)>],
    signature: &Signature<'_>,
    dim: DimId,
    value: i64,
    origin: DimOrigin,
) -> Result<(), LaunchError> {
    match &bound[dim.0 as usize] {
        Some((first, first_origin)) if *first != value => Err(LaunchError::DimensionClash {
            dim: signature.dims[dim.0 as usize].name.clone(),
            first: *first,
            first_origin: first_origin.to_string(),
            second: value,
            second_origin: origin.to_string(),
        }),
        Some(_) => Ok(()),
        None => {
            bound[dim.0 as usize] = Some((value, origin));
            Ok(())
        }
    }
}

/// `(dim, c)` of an expression `dim / c`, which divides without a rest.
fn quotient(expr: &LaunchExpr) -> Option<(DimId, i64)> {
    match expr {
        LaunchExpr::Binary(BinaryOp::Div, x, c) => match (x.as_ref(), c.as_ref()) {
            (LaunchExpr::Dim(dim), LaunchExpr::Const(Const::Int(c))) => {
                Some((*dim, i64::try_from(*c).ok().filter(|c| *c > 0)?))
            }
            _ => None,
        },
        LaunchExpr::Cast(_, x) => quotient(x),
        _ => None,
    }
}

/// `(dim, scale, offset)` of an expression `scale * dim + offset` with a scale that is not 0.
fn affine(expr: &LaunchExpr) -> Option<(DimId, i64, i64)> {
    fn parts(expr: &LaunchExpr) -> Option<(Option<DimId>, i64, i64)> {
        Some(match expr {
            LaunchExpr::Dim(dim) => (Some(*dim), 1, 0),
            LaunchExpr::Const(Const::Int(v)) => (None, 0, i64::try_from(*v).ok()?),
            LaunchExpr::Cast(_, x) => parts(x)?,
            LaunchExpr::Binary(op, x, y) => {
                let (x, y) = (parts(x)?, parts(y)?);
                match op {
                    BinaryOp::Add | BinaryOp::Sub => {
                        let sign = if *op == BinaryOp::Sub { -1 } else { 1 };
                        if x.0.is_some() && y.0.is_some() {
                            return None;
                        }
                        let scale = x.1.checked_add(y.1.checked_mul(sign)?)?;
                        (x.0.or(y.0), scale, x.2.checked_add(y.2.checked_mul(sign)?)?)
                    }
                    BinaryOp::Mul => {
                        let (var, factor) = match (x.0, y.0) {
                            (_, None) => (x, y.2),
                            (None, _) => (y, x.2),
                            _ => return None,
                        };
                        (var.0, var.1.checked_mul(factor)?, var.2.checked_mul(factor)?)
                    }
                    _ => return None,
                }
            }
            _ => return None,
        })
    }
    match parts(expr)? {
        (Some(dim), scale, offset) if scale != 0 => Some((dim, scale, offset)),
        _ => None,
    }
}
