//! What later passes ask of T1: affine subscripts, and a verifier that sees what is broken.

use super::*;
use crate::tile::affine::Affine;
use crate::tile::verify::verify;
use crate::tile::*;

const PACKED_HEADS: &str = "
kernel k(q: f32[HQ, S], col: i32[N], out o: f32[HQ, S]) {
    let R = 4;
    grid g over HQ / R, r over R by 4, i over S by 64;
    o[g * R + r, i] = q[g * R + r, i - 1] + q[0, i / 2] + q[col[0] * 8 + r, 2 * i + 3];
}";

#[test]
fn subscripts_are_affine_in_their_axes() {
    let k = kernel(PACKED_HEADS, "k", &Settings::default());
    let axis = |name: &str| AxisId(k.axes.iter().position(|a| a.name == name).expect(name) as u32);
    let reads: Vec<Vec<Option<Affine>>> = k
        .values
        .iter()
        .filter_map(|v| match &v.op {
            Op::Read { tensor, ix } if k.tensor(*tensor).name == "q" => Some(k.affine_subscripts(ix)),
            _ => None,
        })
        .collect();
    let [shifted, halved, computed] = &reads[..] else { panic!("{k}") };
    let row = shifted[0].as_ref().expect("affine");
    assert_eq!((row.coefficient(axis("r")), row.scalars.len(), row.scalars[0].1), (1, 1, 4));
    let column = shifted[1].as_ref().expect("affine");
    assert_eq!((column.axes.clone(), column.constant), (vec![(axis("i"), 1)], -1));
    assert_eq!(halved[0].as_ref().and_then(Affine::as_constant), Some(0));
    assert_eq!(halved[1], None, "i / 2 is not affine");
    assert_eq!(
        computed[0].as_ref().map(|a| a.scalars[0].1),
        Some(1),
        "a product of i32 may wrap, so it is one opaque scalar"
    );
    assert_eq!(computed[1].as_ref().map(|a| (a.coefficient(axis("i")), a.constant)), Some((2, 3)));
}

/// What the verifier says about the GEMM after a change.
fn broken(change: impl FnOnce(&mut Kernel)) -> Vec<String> {
    let text = include_str!("../../../../dsl_examples/gemm.tw");
    let mut k = kernel(text, "gemm", &Settings::default());
    change(&mut k);
    verify(&k)
}

fn find(k: &Kernel, what: impl Fn(&Op) -> bool) -> ValueId {
    ValueId(k.values.iter().position(|v| what(&v.op)).expect("the GEMM has one") as u32)
}

#[test]
fn the_verifier_sees_what_is_broken() {
    assert!(broken(|_| {}).is_empty());
    let rule = |rule: &str, change: &dyn Fn(&mut Kernel)| {
        let findings = broken(|k| change(k));
        assert!(findings.iter().any(|f| f.starts_with(rule)), "{rule}: {findings:#?}");
    };
    rule("T1.1", &|k| {
        let mma = find(k, |op| matches!(op, Op::Mma { .. }));
        k.values[mma.0 as usize].ty.axes.reverse();
    });
    rule("T1.1", &|k| {
        let cast = find(k, |op| matches!(op, Op::Cast(_)));
        k.values[cast.0 as usize].ty.elem = ElemType::F32;
    });
    rule("T1.2", &|k| k.axes[0].extent = 0);
    rule("T1.3", &|k| {
        if let Some(Stmt::Write(w)) = k.body.stmts.last_mut() {
            w.ix.pop();
        }
    });
    rule("T1.4", &|k| {
        let result = k.loops[0].carried[0].result;
        k.values[result.0 as usize].ty.elem = ElemType::F16;
    });
    rule("T1.5", &|k| {
        let write = k.body.stmts.pop().expect("the write");
        k.entry.stmts.push(write);
    });
    rule("T1.6", &|k| {
        let param = k.loops[0].carried[0].param;
        let mma = find(k, |op| matches!(op, Op::Mma { .. }));
        k.values[mma.0 as usize].op = Op::Unary(UnaryOp::Neg, param);
    });
    rule("T1.8", &|k| k.tensors[2].kind = TensorKind::In);
    rule("T1.9", &|k| {
        let read = find(k, |op| matches!(op, Op::Read { .. }));
        k.values[read.0 as usize].span = Default::default();
    });
    rule("Order", &|k| k.loops[0].body.stmts.reverse());
    rule("Order", &|k| {
        let first = k.body.stmts[0].clone();
        k.body.stmts.push(first);
    });
    rule("ids", &|k| k.values[0].ty.axes.push(AxisId(99)));
}
