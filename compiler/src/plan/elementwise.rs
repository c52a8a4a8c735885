//! Which elementwise ops the emitter knows, on which element types.

use super::refuse::Refusal;
use crate::tile::ir as t1;
use t1::{BinaryOp, ElemType, UnaryOp};

/// Element types that registers hold: floats as f32, those of at most 8 bits as codes; integers and coordinates in 32 bits, the
/// widest in 64; booleans as predicates.
pub fn holds(elem: ElemType) -> bool {
    match elem {
        ElemType::F32 | ElemType::F16 | ElemType::Bf16 | ElemType::Tf32 | ElemType::E8m0 => true,
        ElemType::Int(_) | ElemType::Uint(_) | ElemType::Index | ElemType::Bool => true,
        ElemType::Small { .. } => true,
        ElemType::F64 | ElemType::Bipolar(_) => false,
    }
}

/// Refuses an elementwise op that the emitter does not know.
pub fn check(kernel: &t1::Kernel, v: t1::ValueId) -> Result<(), Refusal> {
    let value = kernel.value(v);
    let types = std::iter::once(v).chain(value.op.operands()).map(|x| kernel.ty(x).elem);
    // Bipolar codes are numbers as soon as they are unpacked: they can be converted, and nothing else.
    let converted = |elem: ElemType| matches!((&value.op, elem), (t1::Op::Cast(_), ElemType::Bipolar(_)));
    for elem in types {
        if !(holds(elem) || converted(elem) && elem != value.ty.elem) {
            return Err(Refusal::construct(value.span, format!("elementwise work on {elem}"))
                .note("registers hold floats as f32, and integers in 32 or 64 bits")
                .help(match elem {
                    ElemType::F64 => "f32 in memory, and `as f32` where a scalar comes as f64",
                    _ => "as an operand of `@`, from a `packed` tensor; else `i8` in memory",
                }));
        }
    }
    let float = |x: &t1::ValueId| kernel.ty(*x).elem.is_float();
    let known = match &value.op {
        t1::Op::Cast(_)
        | t1::Op::Bits(_)
        | t1::Op::Broadcast(_)
        | t1::Op::Compare(..)
        | t1::Op::Select(..) => true,
        t1::Op::Fma(x, ..) => float(x),
        t1::Op::Unary(op, x) => match op {
            UnaryOp::Neg | UnaryOp::Abs => true,
            UnaryOp::Not => true,
            UnaryOp::BitNot => !float(x),
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => float(x),
            UnaryOp::Erf | UnaryOp::Tanh | UnaryOp::Sin | UnaryOp::Cos => float(x),
            UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Log | UnaryOp::Log2 | UnaryOp::Sqrt | UnaryOp::Rsqrt => {
                float(x)
            }
            UnaryOp::Popc | UnaryOp::Clz | UnaryOp::Ilog2 => !float(x),
        },
        t1::Op::Binary(op, x, _) => match op {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Min | BinaryOp::Max => true,
            BinaryOp::Div | BinaryOp::Rem => true,
            BinaryOp::Shl | BinaryOp::Shr | BinaryOp::Cdiv => !float(x),
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => true,
        },
        _ => false,
    };
    if known {
        return Ok(());
    }
    let name = match &value.op {
        t1::Op::Unary(op, _) => format!("`{}` of {}", op.name(), value.ty.elem),
        t1::Op::Binary(op, ..) => format!("`{}` of {}", op.name(), value.ty.elem),
        t1::Op::Cast(x) => format!("the conversion of {} to {}", kernel.ty(*x).elem, value.ty.elem),
        _ => "this elementwise operation".into(),
    };
    Err(Refusal::construct(value.span, name))
}
