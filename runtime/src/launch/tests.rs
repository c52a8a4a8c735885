//! Binding, over signatures written by hand: what is accepted, and each refusal as a person reads it.

use proptest::prelude::*;
use tilewright_compiler::artifact::{GridRange, GridRule, Guard, LaunchPlan, ParamSlot, VariantMeta};
use tilewright_compiler::diagnostics::Span;
use tilewright_compiler::tile::{
    BinaryOp, Block, CmpOp, Const, Dim, DimId, DimSource, ElemType, Holds, Kernel, LaunchExpr, Param,
    Promise, PromiseOrigin, Scalar, ScalarId, ShapeEntry, Stride, Tensor, TensorId, TensorKind, UnaryOp,
};

use super::bind::{Argument, Bound, bind, shape_of};
use super::choose::{Chosen, choose};
use super::device_launch::{ParamValue, Scalar as Number};
use super::dims::{DimOrigin, DimValues};
use super::error::LaunchError;
use super::generate::{check_values, random_tensor};
use super::signature::{Memory, Signature, TensorFacts};
use crate::tensor::{HostTensor, dense_strides};

const F16: ElemType = ElemType::F16;

fn dim(d: u32) -> LaunchExpr {
    LaunchExpr::Dim(DimId(d))
}

fn binary(op: BinaryOp, x: LaunchExpr, y: LaunchExpr) -> LaunchExpr {
    LaunchExpr::Binary(op, Box::new(x), Box::new(y))
}

fn tensor(name: &str, elem: ElemType, kind: TensorKind, shape: &[(&str, LaunchExpr)]) -> Tensor {
    let entry = |(text, extent): &(&str, LaunchExpr)| ShapeEntry {
        extent: extent.clone(),
        text: (*text).into(),
        span: Span::default(),
    };
    Tensor {
        name: name.into(),
        elem,
        shape: shape.iter().map(entry).collect(),
        kind,
        strides: vec![Stride::Dense; shape.len()],
        align: 16,
        holds: None,
        captured: false,
        span: Span::default(),
    }
}

fn dims(names: &[&str]) -> Vec<Dim> {
    let source = DimSource::Shape { tensor: TensorId(0), axis: 0, scale: 1, offset: 0 };
    let make = |name: &&str| Dim {
        name: (*name).into(),
        source: source.clone(),
        frozen: None,
        span: Span::default(),
    };
    names.iter().map(make).collect()
}

/// The parts of a signature, owned.
struct Owned {
    dims: Vec<Dim>,
    tensors: Vec<Tensor>,
    scalars: Vec<Scalar>,
    promises: Vec<Promise>,
    params: Vec<Param>,
}

impl Owned {
    fn new(dims: Vec<Dim>, tensors: Vec<Tensor>, scalars: Vec<Scalar>) -> Owned {
        let params = (0..tensors.len() as u32)
            .map(|t| Param::Tensor(TensorId(t)))
            .chain((0..scalars.len() as u32).map(|s| Param::Scalar(ScalarId(s))))
            .collect();
        Owned { dims, tensors, scalars, promises: Vec::new(), params }
    }

    fn signature(&self) -> Signature<'_> {
        Signature {
            name: "k",
            dims: &self.dims,
            tensors: &self.tensors,
            scalars: &self.scalars,
            params: &self.params,
            promises: &self.promises,
        }
    }

    fn bind(&self, arguments: &[(&str, Argument)]) -> Result<Bound, LaunchError> {
        let arguments: Vec<_> = arguments.iter().map(|(n, a)| (n.to_string(), a.clone())).collect();
        bind(&self.signature(), &arguments, &DimValues::default())
    }

    fn refusal(&self, arguments: &[(&str, Argument)]) -> String {
        match self.bind(arguments) {
            Ok(_) => panic!("accepted"),
            Err(error) => error.to_string(),
        }
    }
}

fn facts(origin: &str, elem: ElemType, shape: &[usize]) -> TensorFacts {
    TensorFacts {
        origin: origin.into(),
        elem,
        shape: shape.to_vec(),
        strides: dense_strides(shape),
        memory: None,
    }
}

fn file(origin: &str, shape: &[usize]) -> Argument {
    Argument::Tensor(facts(origin, F16, shape))
}

/// `a: f16[M, K], b: f16[N, K], out c: f16[M, N]`
fn gemm() -> Owned {
    let (m, n, k) = (("M", dim(0)), ("N", dim(1)), ("K", dim(2)));
    Owned::new(
        dims(&["M", "N", "K"]),
        vec![
            tensor("a", F16, TensorKind::In, &[m.clone(), k.clone()]),
            tensor("b", F16, TensorKind::In, &[n.clone(), k]),
            tensor("c", F16, TensorKind::Out, &[m, n]),
        ],
        vec![],
    )
}

fn three(a: &[usize], b: &[usize], c: &[usize]) -> [(&'static str, Argument); 3] {
    [("a", file("a.npy", a)), ("b", file("b.npy", b)), ("c", file("c.npy", c))]
}

#[test]
fn shapes_bind_dimensions() {
    let bound = gemm().bind(&three(&[33, 7], &[64, 7], &[33, 64])).unwrap();
    assert_eq!(bound.dims.values().collect::<Vec<_>>(), [33, 64, 7]);
}

#[test]
fn every_refusal_shows_both_sides() {
    let g = gemm();
    assert_eq!(
        g.refusal(&three(&[33, 72], &[64, 64], &[33, 64])),
        "K is 72 in a (axis 1 of a.npy) but 64 in b (axis 1 of b.npy)"
    );
    assert_eq!(
        g.refusal(&three(&[33], &[64, 64], &[33, 64])),
        "a has 2 dimensions [M, K], but a.npy has shape [33]"
    );
    assert_eq!(
        g.refusal(&[("a", file("a.npy", &[1, 1]))]),
        "dimension N has no value: give an argument that has it, or --dim N=N"
    );
    assert_eq!(
        g.refusal(&[("a", file("a.npy", &[1, 1])), ("b", file("b.npy", &[1, 1]))]),
        "c was not given: k wants a tensor f16[M, N]"
    );
    assert_eq!(
        g.refusal(&[("aa", file("a.npy", &[1, 1]))]),
        "k has no parameter \"aa\" (did you mean a?); its parameters are a, b, c"
    );
    let wrong = Argument::Tensor(facts("a.npy", ElemType::F32, &[1, 1]));
    assert_eq!(g.refusal(&[("a", wrong)]), "a has elements of type f16, but a.npy has f32");
    assert_eq!(
        g.refusal(&[("a", Argument::Scalar(Const::Int(3)))]),
        "a is a tensor f16[M, K], but its argument is the number 3"
    );
}

#[test]
fn given_dimensions_must_agree_with_arguments() {
    let g = gemm();
    let outside = DimValues {
        given: vec![("K".into(), 64)],
        directive: vec![("N".into(), 384), ("K".into(), 9), ("ELSE".into(), 1)],
        fill: true,
    };
    let tensors = [None, None, None];
    let d = super::dims::bind_dims(&g.signature(), &tensors, &[], &outside).unwrap();
    assert_eq!(d.values().collect::<Vec<_>>(), [256, 384, 64]);
    assert_eq!((d.origin(DimId(0)), d.origin(DimId(1))), (&DimOrigin::Default, &DimOrigin::Directive));
    let a = facts("a.npy", F16, &[33, 72]);
    let clash = super::dims::bind_dims(&g.signature(), &[Some(&a), None, None], &[], &outside).unwrap_err();
    assert_eq!(clash.to_string(), "K is 72 in a (axis 1 of a.npy) but 64 in --dim");
    let unknown = DimValues { given: vec![("KK".into(), 1)], ..DimValues::default() };
    let unknown = super::dims::bind_dims(&g.signature(), &tensors, &[], &unknown).unwrap_err();
    assert_eq!(
        unknown.to_string(),
        "k has no dimension \"KK\" (did you mean K?); its dimensions are M, N, K"
    );
}

#[test]
fn equations_among_the_promises_fill_open_dimensions() {
    // where KB == cdiv(K, 128)
    let mut owned = Owned::new(
        dims(&["K", "KB"]),
        vec![
            tensor("x", F16, TensorKind::In, &[("K", dim(0))]),
            tensor("s", F16, TensorKind::In, &[("KB", dim(1))]),
        ],
        vec![],
    );
    let blocks = binary(BinaryOp::Cdiv, dim(0), LaunchExpr::int(128));
    owned.promises.push(Promise {
        expr: LaunchExpr::Compare(CmpOp::Eq, Box::new(dim(1)), Box::new(blocks)),
        text: "KB == cdiv(K, 128)".into(),
        origin: PromiseOrigin::Where,
        span: Span::default(),
    });
    let of = |given: &[(&str, i64)]| {
        let given = given.iter().map(|(name, value)| (name.to_string(), *value)).collect();
        let outside = DimValues { given, fill: true, ..DimValues::default() };
        let dims = super::dims::bind_dims(&owned.signature(), &[None, None], &[], &outside).unwrap();
        dims.values().collect::<Vec<_>>()
    };
    assert_eq!(of(&[("K", 300)]), [300, 3]);
    assert_eq!(of(&[]), [256, 2]);
    assert_eq!(of(&[("K", 300), ("KB", 5)]), [300, 5]);
}

#[test]
fn affine_entries_bind_and_others_are_checked() {
    let i32s = ElemType::I32;
    let b_plus_1 = binary(BinaryOp::Add, dim(0), LaunchExpr::int(1));
    let half = binary(BinaryOp::Div, dim(1), LaunchExpr::int(2));
    let mut owned = Owned::new(
        dims(&["B", "D"]),
        vec![
            tensor("cu", i32s, TensorKind::In, &[("B + 1", b_plus_1)]),
            tensor("x", i32s, TensorKind::In, &[("D", dim(1))]),
            tensor("y", i32s, TensorKind::In, &[("D / 2", half.clone())]),
        ],
        vec![],
    );
    let exact = binary(BinaryOp::Rem, dim(1), LaunchExpr::int(2));
    owned.promises.push(Promise {
        expr: LaunchExpr::Compare(CmpOp::Eq, Box::new(exact), Box::new(LaunchExpr::int(0))),
        text: "D / 2 is exact".into(),
        origin: PromiseOrigin::ExactDivision,
        span: Span::default(),
    });
    let args = |cu: usize, x: usize, y: usize| {
        [("cu", cu), ("x", x), ("y", y)].map(|(name, n)| (name, Argument::Tensor(facts("given", i32s, &[n]))))
    };
    assert_eq!(owned.bind(&args(5, 8, 4)).unwrap().dims.values().collect::<Vec<_>>(), [4, 8]);
    // Nothing else says what D is.
    let (cu, y) = (facts("given", i32s, &[5]), facts("given", i32s, &[6]));
    let given = [Some(&cu), None, Some(&y)];
    let bound = super::dims::bind_dims(&owned.signature(), &given, &[], &DimValues::default()).unwrap();
    assert_eq!(bound.values().collect::<Vec<_>>(), [4, 12]);
    assert_eq!(
        owned.refusal(&args(0, 8, 4)),
        "cu has extent B + 1 along axis 0, but given has 0 there, and no B gives that"
    );
    assert_eq!(
        owned.refusal(&args(5, 8, 5)),
        "y must have extent D / 2 = 4 along axis 0: D is 8, but given has 5"
    );
    assert_eq!(
        owned.refusal(&args(5, 7, 3)),
        "D / 2 is exact must hold (a `/` in a shape), but it does not: D is 7 in x (axis 0 of given); D must be a multiple of 2"
    );
}

#[test]
fn scalars_take_defaults_and_serve_as_dimensions() {
    let root = LaunchExpr::Unary(UnaryOp::Sqrt, Box::new(LaunchExpr::Cast(ElemType::F32, Box::new(dim(0)))));
    let scale = binary(BinaryOp::Div, LaunchExpr::Const(Const::Float(1.0)), root);
    let scalar = |name: &str, elem, default| Scalar {
        name: name.into(),
        elem,
        default,
        holds: None,
        captured: false,
        span: Span::default(),
    };
    let mut owned = Owned::new(
        dims(&["D", "n"]),
        vec![tensor("x", F16, TensorKind::In, &[("D", dim(0))])],
        vec![scalar("scale", ElemType::F32, Some(scale)), scalar("n", ElemType::I32, None)],
    );
    owned.dims[1].source = DimSource::Scalar(ScalarId(1));
    let bound = owned.bind(&[("x", file("x.npy", &[16])), ("n", Argument::Scalar(Const::Int(3)))]).unwrap();
    assert_eq!(bound.scalars, [Const::Float(0.25), Const::Int(3)]);
    assert_eq!(bound.dims.values().collect::<Vec<_>>(), [16, 3]);
    let wide = [("x", file("x.npy", &[16])), ("n", Argument::Scalar(Const::Int(1 << 40)))];
    assert_eq!(owned.refusal(&wide), "n = 1099511627776 does not fit in i32");
    let negative = [("x", file("x.npy", &[16])), ("n", Argument::Scalar(Const::Int(-1)))];
    assert_eq!(owned.refusal(&negative), "n is negative: -1 (from the argument n)");
}

#[test]
fn strides_alignment_and_overlap() {
    let mut g = gemm();
    let at = |shape: &[usize], strides: &[usize], address: u64| {
        let memory = Some(Memory { address, len: None });
        Argument::Tensor(TensorFacts {
            strides: strides.to_vec(),
            memory,
            ..facts("the argument", F16, shape)
        })
    };
    let with = |a: Argument, c: Argument| [("a", a), ("b", at(&[8, 8], &[8, 1], 0x2000)), ("c", c)];
    let c = || at(&[8, 8], &[8, 1], 0x3000);
    assert!(g.bind(&with(at(&[8, 8], &[8, 1], 0x1000), c())).is_ok());
    assert_eq!(
        g.refusal(&with(at(&[8, 8], &[16, 1], 0x1000), c())),
        "a must be dense row-major, but the argument has strides [16, 1] for shape [8, 8]; make it contiguous, or declare the \
         parameter with strides(_, _)"
    );
    assert_eq!(
        g.refusal(&with(at(&[8, 8], &[8, 1], 0x1002), c())),
        "a must start at a multiple of 16 bytes, but the argument starts at 0x1002; copy it, or declare the parameter with \
         align(2)"
    );
    assert_eq!(
        g.refusal(&with(at(&[8, 8], &[8, 1], 0x1000), at(&[8, 8], &[8, 1], 0x2070))),
        "b and c overlap in memory, and c is written: give each a tensor of its own"
    );
    // Two that are only read may overlap.
    assert!(g.bind(&with(at(&[8, 8], &[8, 1], 0x2000), c())).is_ok());
    g.tensors[0].strides = vec![Stride::Free, Stride::Given(LaunchExpr::int(1))];
    assert!(g.bind(&with(at(&[8, 8], &[16, 1], 0x1000), c())).is_ok());
    assert_eq!(
        g.refusal(&with(at(&[8, 8], &[1, 8], 0x1000), c())),
        "a has stride 1 along axis 1, but the argument has stride 8 there; make it contiguous, or declare that stride as `_`"
    );
    // The stride of an axis with one element is never used.
    let one_wide = [("a", at(&[8, 1], &[3, 77], 0x1000)), ("b", at(&[8, 1], &[1, 1], 0x2000)), ("c", c())];
    assert!(g.bind(&one_wide).is_ok());
    g.tensors[2].strides = vec![Stride::Free, Stride::Free];
    assert_eq!(
        g.refusal(&with(at(&[8, 8], &[8, 1], 0x1000), at(&[8, 8], &[0, 1], 0x3000))),
        "c is written, but the argument has stride 0 along axis 0: several elements share memory"
    );
}

#[test]
fn generated_values_keep_promises() {
    let i32s = ElemType::I32;
    let mut owned = Owned::new(
        dims(&["B", "T"]),
        vec![
            tensor("cu", i32s, TensorKind::In, &[("B", dim(0))]),
            tensor("page", i32s, TensorKind::In, &[("T", dim(1))]),
        ],
        vec![],
    );
    owned.tensors[0].holds = Some(Holds::Ascending { lo: LaunchExpr::int(0), hi: dim(1) });
    owned.tensors[1].holds = Some(Holds::In {
        lo: LaunchExpr::int(-2),
        hi: LaunchExpr::int(3),
        inclusive: false,
        distinct: false,
    });
    let signature = owned.signature();
    let shapes = [facts("cu.npy", i32s, &[6]), facts("page.npy", i32s, &[50])];
    let bound = owned
        .bind(&[("cu", Argument::Tensor(shapes[0].clone())), ("page", Argument::Tensor(shapes[1].clone()))])
        .unwrap();
    let cu = random_tensor(&signature, &owned.tensors[0], &bound, 1).unwrap();
    let values = cu.to_i64();
    assert!(values[0] == 0 && values[5] == 50 && values.is_sorted(), "{values:?}");
    check_values(&signature, &owned.tensors[0], &bound, &cu, "cu").unwrap();
    let page = random_tensor(&signature, &owned.tensors[1], &bound, 1).unwrap();
    assert!(page.to_i64().iter().all(|v| (-2..3).contains(v)));

    let bad = HostTensor::from_i64(i32s, &[3], &[0, 3, 1]).unwrap();
    let message =
        check_values(&signature, &owned.tensors[1], &bound, &bad, "page.npy").unwrap_err().to_string();
    assert_eq!(message, "page must hold numbers from -2 to 2, but 3 stands at [1] of page.npy");
    let bad = HostTensor::from_i64(i32s, &[4], &[0, 7, 5, 50]).unwrap();
    let message =
        check_values(&signature, &owned.tensors[0], &bound, &bad, "cu.npy").unwrap_err().to_string();
    assert_eq!(
        message,
        "cu must go from 0 to 50 and never fall along its last dimension (T is 50), but cu.npy has 5 at [2] after 7"
    );

    // As many numbers as there are, some of many, and one too many.
    for (hi, enough) in [(50, true), (3000, true), (49, false)] {
        let (lo, hi) = (LaunchExpr::int(0), LaunchExpr::int(hi));
        owned.tensors[1].holds = Some(Holds::In { lo, hi, inclusive: false, distinct: true });
        let signature = owned.signature();
        let slots = random_tensor(&signature, &owned.tensors[1], &bound, 1);
        assert_eq!(slots.is_ok(), enough);
        if let Ok(slots) = slots {
            check_values(&signature, &owned.tensors[1], &bound, &slots, "slots").unwrap();
        }
    }
    let bad = HostTensor::from_i64(i32s, &[4], &[0, 7, 5, 7]).unwrap();
    let signature = owned.signature();
    let message =
        check_values(&signature, &owned.tensors[1], &bound, &bad, "slots.npy").unwrap_err().to_string();
    assert_eq!(message, "page must hold no number twice, but slots.npy has 7 at [1] and at [3]");
}

#[test]
fn every_type_has_random_numbers() {
    for name in [
        "bool", "i1", "i3", "u1", "u4", "b3", "i64", "u64", "f16", "bf16", "f32", "e4m3", "e2m1", "e8m0",
        "tf32",
    ] {
        let elem = ElemType::from_name(name).expect(name);
        let owned =
            Owned::new(dims(&["N"]), vec![tensor("x", elem, TensorKind::In, &[("N", dim(0))])], vec![]);
        let bound = owned.bind(&[("x", Argument::Tensor(facts("x", elem, &[300])))]).unwrap();
        let values = random_tensor(&owned.signature(), &owned.tensors[0], &bound, 0).unwrap().to_f64();
        assert!(values.iter().all(|v| v.is_finite()), "{name}");
        assert!(values.iter().any(|v| *v != values[0]), "{name} is constant");
    }
}

/// A plan with the three variants of a GEMM: 16-byte accesses, 4-byte ones, anything.
fn plan() -> LaunchPlan {
    let variant = |name: &'static str, bytes: u32| VariantMeta {
        name,
        guards: (0..3).map(|t| Guard { tensor: TensorId(t), bytes }).collect(),
        entry: format!("gemm_{name}"),
        grid: GridRule {
            ranges: vec![
                GridRange { name: "i".into(), extent: dim(0), text: "M".into(), by: 128 },
                GridRange { name: "j".into(), extent: dim(1), text: "N".into(), by: 64 },
            ],
            workers: None,
        },
        block: [128, 1, 1],
        cluster: [1; 3],
        shared_bytes: 1024,
        params: vec![
            ParamSlot::Pointer(TensorId(0)),
            ParamSlot::Dim(DimId(2)),
            ParamSlot::Stride(TensorId(1), 0),
        ],
        sync: Vec::new(),
    };
    LaunchPlan {
        workspace: None,
        packed: Vec::new(),
        variants: vec![variant("wide", 16), variant("mid", 4), variant("any", 2)],
    }
}

fn kernel_of(owned: &Owned) -> Kernel {
    Kernel {
        name: "gemm".into(),
        doc: String::new(),
        span: Span::default(),
        binding: Vec::new(),
        schedule: Vec::new(),
        dims: owned.dims.clone(),
        tensors: owned.tensors.clone(),
        scalars: owned.scalars.clone(),
        params: owned.params.clone(),
        promises: Vec::new(),
        values: Vec::new(),
        axes: Vec::new(),
        loops: Vec::new(),
        ifs: Vec::new(),
        entry: Block::default(),
        grid: Vec::new(),
        grid_when: None,
        body: Block::default(),
    }
}

#[test]
fn the_first_variant_whose_rows_are_aligned_is_taken() {
    let g = gemm();
    let kernel = kernel_of(&g);
    let plan = plan();
    let variant = |k: usize, n: usize| {
        let bound = g.bind(&three(&[257, k], &[n, k], &[257, n])).unwrap();
        match choose(&kernel, &plan, &bound, 108).unwrap() {
            Chosen::Launch { variant, launch } => (variant.to_string(), launch.grid[0]),
            Chosen::Nothing => ("nothing".into(), 0),
        }
    };
    assert_eq!(variant(72, 64), ("wide".into(), 3));
    assert_eq!(variant(72, 130), ("mid".into(), 9));
    assert_eq!(variant(7, 64), ("any".into(), 3));
    assert_eq!(variant(7, 0), ("nothing".into(), 0));
    // One row has no stride that could be misaligned, but it still ends inside of a 16-byte access.
    let one = g.bind(&three(&[1, 1], &[1, 1], &[1, 1])).unwrap();
    assert!(matches!(choose(&kernel, &plan, &one, 108), Ok(Chosen::Launch { variant: "any", .. })));
    assert_eq!(variant(0, 64), ("wide".into(), 3));
}

#[test]
fn parameters_follow_their_slots() {
    let g = gemm();
    let bound = g.bind(&three(&[257, 72], &[64, 72], &[257, 64])).unwrap();
    let kernel = kernel_of(&g);
    let plan = plan();
    let Chosen::Launch { launch, .. } = choose(&kernel, &plan, &bound, 108).unwrap() else {
        panic!("an empty grid")
    };
    assert_eq!(
        launch.params,
        [
            ParamValue::Pointer(TensorId(0)),
            ParamValue::Number(Number::U32(72)),
            ParamValue::Number(Number::U64(72))
        ]
    );
    assert_eq!((launch.entry.as_str(), launch.block, launch.shared_bytes), ("gemm_wide", [128, 1, 1], 1024));
}

#[test]
fn addresses_of_the_caller_choose_the_variant() {
    let mut g = gemm();
    for tensor in &mut g.tensors {
        tensor.align = 2;
    }
    let at = |shape: &[usize], address: u64| {
        let memory = Some(Memory { address, len: None });
        Argument::Tensor(TensorFacts { memory, ..facts("the argument", F16, shape) })
    };
    let variant = |address: u64| {
        let arguments = [("a", at(&[8, 8], address)), ("b", at(&[8, 8], 0x2000)), ("c", at(&[8, 8], 0x3000))];
        let bound = g.bind(&arguments).unwrap();
        let plan = plan();
        match choose(&kernel_of(&g), &plan, &bound, 108).unwrap() {
            Chosen::Launch { variant, .. } => variant.to_string(),
            Chosen::Nothing => "nothing".into(),
        }
    };
    assert_eq!([variant(0x1000), variant(0x1004), variant(0x1002)], ["wide", "mid", "any"]);
    let mut only_wide = plan();
    only_wide.variants.truncate(1);
    let bound = g.bind(&three(&[8, 7], &[8, 7], &[8, 8])).unwrap();
    let kernel = kernel_of(&g);
    let refused = choose(&kernel, &only_wide, &bound, 108).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "no variant of gemm fits these arguments' addresses and strides (it has wide); align them to 16 bytes"
    );
}

proptest! {
    #[test]
    fn any_shapes_are_bound_or_refused(a in prop::collection::vec(0usize..4, 0..4), b in prop::collection::vec(0usize..4, 0..3), c in prop::collection::vec(0usize..4, 0..3)) {
        let g = gemm();
        let fits = matches!((&a[..], &b[..], &c[..]), ([m, k], [n, k2], [m2, n2]) if k == k2 && m == m2 && n == n2);
        match g.bind(&three(&a, &b, &c)) {
            Ok(bound) => {
                prop_assert!(fits);
                let signature = g.signature();
                for (tensor, shape) in g.tensors.iter().zip([&a, &b, &c]) {
                    prop_assert_eq!(&shape_of(&signature, tensor, &bound).unwrap(), shape);
                }
            }
            Err(_) => prop_assert!(!fits),
        }
    }
}
