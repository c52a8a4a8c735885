//! The example GEMM in every form equals its meaning; with a fault in the schedule it does not, or says why.

use super::*;
use crate::artifact::{Compiled, Levels};
use crate::compile::{Options, compile};
use crate::diagnostics::SourceMap;
use crate::fault::{Fault, FaultKind};
use crate::front::Memory;
use crate::target::Target;
use crate::tile::eval::{Values, evaluate};

fn gemm(sets: &[(&str, &str)], fault: Option<Fault>) -> Compiled {
    kernel_of(include_str!("../../../../dsl_examples/gemm.tw"), "gemm", sets, fault)
}

fn kernel_of(text: &str, kernel: &str, sets: &[(&str, &str)], fault: Option<Fault>) -> Compiled {
    let files = Memory::from([("program.tw", text)]);
    let mut sources = SourceMap::default();
    let mut options = Options::new(Target::Sm80);
    options.settings.sets = sets.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    (options.levels, options.verify, options.fault) = (true, fault.is_none(), fault);
    options.kernel = Some(kernel.into());
    match compile(&mut sources, &files, "program.tw", &options) {
        Ok(compiled) => compiled,
        Err(d) => panic!("{}", d.render(&sources, false)),
    }
}

fn inputs(kernel: &t1::Kernel, [m, n, k]: [i64; 3]) -> Inputs {
    let mut seed = 1u64;
    let mut noise = |count: i64| {
        let next = |_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 40) as f64 / (1u64 << 23) as f64 - 1.0
        };
        Values::Float((0..count).map(next).collect())
    };
    let (a, b) = (noise(m * k), noise(n * k));
    let builder = Inputs::builder(kernel).dim("M", m).dim("N", n).dim("K", k);
    builder.tensor("a", a).tensor("b", b).build().expect("every dimension and tensor is given")
}

/// The forms of a variant, and whether synchronisation counts in each.
fn forms(levels: &Levels) -> [(&'static str, &Module, bool); 3] {
    [
        ("fused", &levels.fused, false),
        ("expanded", &levels.expanded, false),
        ("ordered", &levels.ordered, true),
    ]
}

/// What is wrong with a form: findings, or the greatest difference.
fn wrong(kernel: &t1::Kernel, module: &Module, inputs: &Inputs, ordered: bool) -> Option<String> {
    let exact = evaluate(kernel, inputs, Mode::Exact).expect("the GEMM has a meaning");
    let outcome = run(kernel, module, inputs, Mode::Exact, ordered).expect("every op of the GEMM is known");
    if let Some(f) = outcome.findings.first() {
        return Some(f.message.clone());
    }
    let (want, got) = (exact.named(kernel, "c")?, outcome.outputs.named(kernel, "c")?);
    let (Values::Float(x), Values::Float(y)) = (&want.values, &got.values) else {
        return Some("kinds".into());
    };
    if want.written != got.written {
        return Some("other elements are written".into());
    }
    // Sums of up to 200 products, rounded to f16 once: another order of the exact sum moves that by a unit at most.
    let near = |x: f64, y: f64| (x - y).abs() <= x.abs() / 512.0;
    let far = x.iter().zip(y).find(|(x, y)| !near(**x, **y));
    far.map(|(x, y)| format!("{y} where {x} is right"))
}

#[test]
fn every_form_of_every_variant_is_the_gemm() {
    for sets in [
        &[("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "3")][..],
        &[("BM", "64"), ("BN", "192"), ("BK", "32"), ("k.stages", "2")],
    ] {
        let compiled = gemm(sets, None);
        for shape in [[1, 1, 1], [65, 70, 72], [64, 64, 200], [3, 5, 0], [0, 4, 4]] {
            let inputs = inputs(&compiled.kernel, shape);
            for levels in &compiled.levels {
                for (form, module, ordered) in forms(levels) {
                    let what = wrong(&compiled.kernel, module, &inputs, ordered);
                    let variant = module.variant.name();
                    assert_eq!(what, None, "{sets:?} {shape:?} {variant} {form}");
                }
            }
        }
    }
}

#[test]
fn every_form_of_every_operand_order_is_the_gemm() {
    let layouts = include_str!("../../../../dsl_examples/gemm_layouts.tw");
    let tf32 = include_str!("../../../../dsl_examples/gemm_tf32.tw");
    let sets = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "3")];
    for (kernel, text) in
        [("gemm_nn", layouts), ("gemm_tn", layouts), ("gemm_tt", layouts), ("gemm_tf32", tf32)]
    {
        let compiled = kernel_of(text, kernel, &sets, None);
        for shape in [[1, 1, 1], [65, 70, 72], [3, 5, 0]] {
            let inputs = inputs(&compiled.kernel, shape);
            for levels in &compiled.levels {
                for (form, module, ordered) in forms(levels) {
                    let what = wrong(&compiled.kernel, module, &inputs, ordered);
                    assert_eq!(what, None, "{kernel} {shape:?} {} {form}", module.variant.name());
                }
            }
        }
    }
}

#[test]
fn faults_of_planning_expansion_and_synchronisation_show() {
    let sets = [("BM", "64"), ("BN", "64"), ("BK", "32"), ("k.stages", "3")];
    for kind in FaultKind::ALL.iter().copied() {
        // Faults of later passes are not at this level, and a plain product has no reduction, condition, promotion, mask or shared write
        // to get wrong, and carries nothing but its sum.
        use FaultKind::{
            EarlyEnd, LastPlace, LatePromotion, LateStart, LostCondition, LostDone, LostPart, LostRescale,
            LostSign, SharedSlot, SkipPart, WideFull, WrittenByAll, WrongCombination, WrongPart,
        };
        let elsewhere = matches!(
            kind,
            EarlyEnd
                | LastPlace
                | LatePromotion
                | LateStart
                | LostCondition
                | LostDone
                | LostPart
                | LostRescale
                | LostSign
                | SharedSlot
                | SkipPart
                | WideFull
                | WrittenByAll
                | WrongCombination
                | WrongPart
        );
        if elsewhere || kind.pass() > crate::passes::Pass::Synchronise {
            continue;
        }
        let first = gemm(&sets, Some(Fault { kind, nth: usize::MAX }));
        assert!(first.places > 0, "{kind:?} can happen nowhere");
        for nth in 0..first.places {
            let compiled = gemm(&sets, Some(Fault { kind, nth }));
            let inputs = inputs(&compiled.kernel, [70, 80, 32 * 9 + 7]);
            let found = compiled.levels.iter().any(|levels| {
                forms(levels)
                    .iter()
                    .any(|(_, module, ordered)| wrong(&compiled.kernel, module, &inputs, *ordered).is_some())
            });
            assert!(found, "{kind:?} number {nth} of {} is not found", first.places);
        }
    }
}
