//! What an evaluation is given and what it gives back.

use super::error::EvalError;
use super::memory::{Memory, Uses};
use super::values::Values;
use crate::tile::ir::*;

/// Arguments of a kernel, by id.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// Every dimension.
    pub dims: Vec<i64>,
    /// Every scalar parameter, as a constant of its type's kind.
    pub scalars: Vec<Const>,
    /// Every tensor, dense row-major whatever its strides are in memory. `None` for `out` parameters, `temp`s and constants.
    pub tensors: Vec<Option<Values>>,
}

/// One tensor after an evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Outermost first.
    pub shape: Vec<usize>,
    pub values: Values,
    /// Which elements the kernel wrote (or combined into). What an `out` parameter holds elsewhere is unspecified; here it is zero.
    pub written: Vec<bool>,
}

/// What a kernel wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Outputs {
    /// By tensor; present for `out` and `inout` parameters and for `temp`s.
    pub tensors: Vec<Option<Output>>,
}

impl Outputs {
    /// The tensor of that name.
    pub fn named<'o>(&'o self, kernel: &Kernel, name: &str) -> Option<&'o Output> {
        let at = kernel.tensors.iter().position(|t| t.name == name)?;
        self.tensors[at].as_ref()
    }
}

/// Fills [`Inputs`] by name.
#[derive(Debug)]
pub struct InputsBuilder<'a> {
    kernel: &'a Kernel,
    dims: Vec<Option<i64>>,
    scalars: Vec<Option<Const>>,
    tensors: Vec<Option<Values>>,
    unknown: Vec<String>,
}

impl Inputs {
    /// Starts with what the kernel itself says: frozen dimensions and defaults.
    pub fn builder(kernel: &Kernel) -> InputsBuilder<'_> {
        InputsBuilder {
            kernel,
            dims: kernel.dims.iter().map(|d| d.frozen).collect(),
            scalars: vec![None; kernel.scalars.len()],
            tensors: vec![None; kernel.tensors.len()],
            unknown: Vec::new(),
        }
    }
}

impl InputsBuilder<'_> {
    /// Sets a dimension.
    pub fn dim(mut self, name: &str, value: i64) -> Self {
        match self.kernel.dims.iter().position(|d| d.name == name) {
            Some(at) => self.dims[at] = Some(value),
            None => self.unknown.push(format!("dimension {name}")),
        }
        self
    }

    /// Sets a scalar parameter.
    pub fn scalar(mut self, name: &str, value: Const) -> Self {
        match self.kernel.scalars.iter().position(|s| s.name == name) {
            Some(at) => self.scalars[at] = Some(value),
            None => self.unknown.push(format!("scalar {name}")),
        }
        self
    }

    /// Sets a tensor.
    pub fn tensor(mut self, name: &str, values: Values) -> Self {
        match self.kernel.tensors.iter().position(|t| t.name == name) {
            Some(at) => self.tensors[at] = Some(values),
            None => self.unknown.push(format!("tensor {name}")),
        }
        self
    }

    /// The arguments; scalars without a value take their defaults, and dimensions that are scalars take theirs.
    pub fn build(mut self) -> Result<Inputs, EvalError> {
        if let Some(what) = self.unknown.first() {
            return Err(EvalError::input(format!("{} has no {what}", self.kernel.name), None));
        }
        for (dim, value) in self.kernel.dims.iter().zip(&mut self.dims) {
            if let (None, DimSource::Scalar(s)) = (&value, &dim.source)
                && let Some(Const::Int(v)) = self.scalars[s.0 as usize]
            {
                *value = i64::try_from(v).ok();
            }
        }
        for (n, scalar) in self.kernel.scalars.iter().enumerate() {
            if self.scalars[n].is_none()
                && let Some(default) = &scalar.default
            {
                self.scalars[n] = default.eval(&Facts { dims: &self.dims, scalars: &self.scalars });
            }
        }
        let missing = |what: &str, name: &str, span| {
            EvalError::input(format!("no value for {what} {name}"), Some(span))
        };
        let dims = self.kernel.dims.iter().zip(self.dims);
        let dims = dims.map(|(d, v)| v.ok_or_else(|| missing("dimension", &d.name, d.span)));
        let dims = dims.collect::<Result<Vec<_>, _>>()?;
        let scalars = self.kernel.scalars.iter().zip(self.scalars);
        let scalars = scalars.map(|(s, v)| v.ok_or_else(|| missing("scalar", &s.name, s.span)));
        let scalars = scalars.collect::<Result<Vec<_>, _>>()?;
        Ok(Inputs { dims, scalars, tensors: self.tensors })
    }
}

/// Dimensions and scalars as far as they are known. Tensors are dense here, but nothing that the evaluator evaluates asks for strides.
struct Facts<'a> {
    dims: &'a [Option<i64>],
    scalars: &'a [Option<Const>],
}

impl LaunchFacts for Facts<'_> {
    fn dim(&self, dim: DimId) -> Option<i64> {
        self.dims.get(dim.0 as usize).copied().flatten()
    }

    fn scalar(&self, scalar: ScalarId) -> Option<Const> {
        self.scalars.get(scalar.0 as usize).copied().flatten()
    }

    fn stride(&self, _: TensorId, _: usize) -> Option<i64> {
        None
    }
}

/// Most elements of one tensor: 8 bytes each, and a tag or two.
const MAX_ELEMENTS: usize = 1 << 34;

/// The tensors' memory at the start of a launch: checked against the shapes, every element rounded to its type.
pub(super) fn memory(kernel: &Kernel, inputs: &Inputs) -> Result<Vec<Memory>, EvalError> {
    let dims: Vec<Option<i64>> = inputs.dims.iter().copied().map(Some).collect();
    let scalars: Vec<Option<Const>> = inputs.scalars.iter().copied().map(Some).collect();
    let facts = Facts { dims: &dims, scalars: &scalars };
    if dims.len() != kernel.dims.len() || scalars.len() != kernel.scalars.len() {
        return Err(EvalError::input(format!("arguments of another kernel than {}", kernel.name), None));
    }
    for (dim, value) in kernel.dims.iter().zip(&inputs.dims) {
        if *value < 0 {
            return Err(EvalError::input(format!("dimension {} is {value}", dim.name), Some(dim.span)));
        }
        if let Some(frozen) = dim.frozen
            && frozen != *value
        {
            let message =
                format!("dimension {} is {value}, and the kernel was compiled for {frozen}", dim.name);
            return Err(EvalError::input(message, Some(dim.span)));
        }
    }
    let uses = uses(kernel);
    let shapes = kernel.tensors.iter().map(|tensor| shape(tensor, &facts)).collect::<Result<Vec<_>, _>>()?;
    room_for(&shapes)?;
    let mut memory = Vec::new();
    for (n, (tensor, shape)) in kernel.tensors.iter().zip(shapes).enumerate() {
        let given = inputs.tensors.get(n).and_then(Option::as_ref);
        memory.push(Memory::new(shape.clone(), initial(tensor, &shape, given)?, uses[n]));
    }
    Ok(memory)
}

/// Refuses what would end in an abort for want of memory: asks for all of it at once, and gives it back.
fn room_for(shapes: &[Vec<usize>]) -> Result<(), EvalError> {
    // The given value, the rounded one, the element that instances share, and three tags.
    const BYTES: usize = 8 + 8 + 8 + 3 * 4;
    let elements = shapes.iter().fold(0usize, |n, shape| n.saturating_add(shape.iter().product()));
    let bytes = elements.saturating_mul(BYTES);
    Vec::<u8>::new().try_reserve_exact(bytes).map_err(|_| {
        let message =
            format!("evaluating {elements} elements takes {bytes} bytes, more than this machine gives");
        EvalError::input(message, None)
    })
}

fn shape(tensor: &Tensor, facts: &Facts) -> Result<Vec<usize>, EvalError> {
    let mut shape = Vec::new();
    for entry in &tensor.shape {
        let extent = entry.extent.eval_int(facts).and_then(|v| usize::try_from(v).ok()).ok_or_else(|| {
            let message = format!("{}: the extent {} is no size", tensor.name, entry.text);
            EvalError::input(message, Some(entry.span))
        })?;
        shape.push(extent);
    }
    let elements = shape.iter().try_fold(1usize, |n, &x| n.checked_mul(x));
    match elements {
        Some(n) if n <= MAX_ELEMENTS => Ok(shape),
        _ => Err(EvalError::input(format!("{} is too large to evaluate", tensor.name), Some(tensor.span))),
    }
}

fn initial(tensor: &Tensor, shape: &[usize], given: Option<&Values>) -> Result<Values, EvalError> {
    let len: usize = shape.iter().product();
    let float = tensor.elem.is_float();
    let filled = |c: Const| match super::machine::constant(c).data {
        Values::Float(x) => Values::Float(vec![x[0]; len]),
        Values::Int(x) => Values::Int(vec![x[0]; len]),
    };
    let mut values = match (&tensor.kind, given) {
        (TensorKind::Const(list), _) => {
            let tiles = list.iter().map(|&c| super::machine::constant(c));
            if float {
                Values::Float(tiles.map(|t| t.floats()[0]).collect())
            } else {
                Values::Int(tiles.map(|t| t.as_int()).collect())
            }
        }
        (TensorKind::Temp { init: Some(c) }, _) => filled(*c),
        (TensorKind::Temp { init: None } | TensorKind::Out, _) => Values::zeros(float, len),
        (TensorKind::In | TensorKind::InOut | TensorKind::Packed, Some(values)) => values.clone(),
        (TensorKind::In | TensorKind::InOut | TensorKind::Packed, None) => {
            return Err(EvalError::input(format!("no value for {}", tensor.name), Some(tensor.span)));
        }
    };
    if values.len() != len || matches!(values, Values::Float(_)) != float {
        let kind = if float { "floats" } else { "integers" };
        let message =
            format!("{} wants {len} {kind} (shape {shape:?}), {} were given", tensor.name, values.len());
        return Err(EvalError::input(message, Some(tensor.span)));
    }
    super::elementwise::round(&mut values, tensor.elem);
    Ok(values)
}

/// What the kernel does with each tensor.
pub(super) fn uses(kernel: &Kernel) -> Vec<Uses> {
    let mut uses = vec![Uses::default(); kernel.tensors.len()];
    for value in &kernel.values {
        if let Op::Read { tensor, .. } = value.op {
            uses[tensor.0 as usize].read = true;
        }
    }
    let mut blocks = vec![&kernel.body];
    blocks.extend(kernel.loops.iter().map(|l| &l.body));
    blocks.extend(kernel.ifs.iter().flat_map(|i| [&i.then_block, &i.else_block]));
    for stmt in blocks.into_iter().flat_map(|b| &b.stmts) {
        match stmt {
            Stmt::Write(w) => uses[w.tensor.0 as usize].written = true,
            Stmt::Atomic(a) => uses[a.tensor.0 as usize].combined = true,
            Stmt::Let(_) | Stmt::For(_) | Stmt::If(_) => {}
        }
    }
    uses
}
