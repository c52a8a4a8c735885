//! Which elementwise ops the emitter knows, on which element types.

use super::refuse::Refusal;
use crate::tile::ir as t1;
use t1::{BinaryOp, ElemType, UnaryOp};

/// Element types that registers hold: floats as f32, 32-bit integers and coordinates as 32 bits, booleans as predicates.
pub fn holds(elem: ElemType) -> bool {
    matches!(
        elem,
        ElemType::F32
            | ElemType::F16
            | ElemType::Bf16
            | ElemType::Int(32)
            | ElemType::Uint(32)
            | ElemType::Index
            | ElemType::Bool
    )
}

/// Refuses an elementwise op that the emitter does not know.
pub fn check(kernel: &t1::Kernel, v: t1::ValueId) -> Result<(), Refusal> {
    let value = kernel.value(v);
    let types = std::iter::once(v).chain(value.op.operands()).map(|x| kernel.ty(x).elem);
    for elem in types {
        if !holds(elem) {
            return Err(Refusal::construct(value.span, format!("elementwise work on {elem}")));
        }
    }
    let float = |x: &t1::ValueId| kernel.ty(*x).elem.is_float();
    let known = match &value.op {
        t1::Op::Cast(x) => !(kernel.ty(*x).elem == ElemType::Bool || value.ty.elem == ElemType::Bool),
        t1::Op::Broadcast(_) | t1::Op::Compare(..) | t1::Op::Select(..) => true,
        t1::Op::Fma(x, ..) => float(x),
        t1::Op::Unary(op, x) => match op {
            UnaryOp::Neg | UnaryOp::Abs => true,
            UnaryOp::Not => true,
            UnaryOp::BitNot => !float(x),
            UnaryOp::Floor | UnaryOp::Ceil | UnaryOp::Round | UnaryOp::Trunc => float(x),
            UnaryOp::Erf | UnaryOp::Tanh => float(x),
            UnaryOp::Exp | UnaryOp::Exp2 | UnaryOp::Log | UnaryOp::Log2 | UnaryOp::Sqrt | UnaryOp::Rsqrt => {
                float(x)
            }
            _ => false,
        },
        t1::Op::Binary(op, x, y) => match op {
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Min | BinaryOp::Max => true,
            BinaryOp::Div if float(x) => true,
            BinaryOp::Div | BinaryOp::Rem => divisor(kernel, *y).is_some_and(|d| d > 0),
            BinaryOp::Shl | BinaryOp::Shr => !float(x),
            BinaryOp::And | BinaryOp::Or | BinaryOp::Xor => true,
            _ => false,
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

/// The constant that a divisor is, through broadcasts and casts between integers.
fn divisor(kernel: &t1::Kernel, v: t1::ValueId) -> Option<i64> {
    match kernel.value(v).op {
        t1::Op::Broadcast(x) | t1::Op::Cast(x) if kernel.ty(x).elem.is_integer() => divisor(kernel, x),
        _ => kernel.const_int(v).filter(|d| i32::try_from(*d).is_ok()),
    }
}
