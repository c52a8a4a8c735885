//! The elementwise operations, reductions and comparisons of T1, their names, and their folding over constants.
//!
//! Numbers mean what language.md's "What numbers mean" says: integers wrap, `/` and `%` floor, `x / 0 == 0`, `x % 0 == x`,
//! shifts by the width or more give 0 or the sign, `min` and `max` ignore a NaN, `round` takes ties to even.
//! Folding works on mathematical integers and f64; whoever folds wraps or rounds to the type afterwards.

use super::launch::Const;
use std::fmt;

/// One operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnaryOp {
    Neg,
    /// `!`, on `bool`.
    Not,
    /// `~`, on integers.
    BitNot,
    Abs,
    Floor,
    Ceil,
    /// Ties to even.
    Round,
    Trunc,
    Exp,
    Exp2,
    Log,
    Log2,
    Sqrt,
    Rsqrt,
    Tanh,
    Erf,
    Sin,
    Cos,
    /// Number of set bits; the operand's type.
    Popc,
    /// Leading zeros within the type's width.
    Clz,
    /// Floor of the base-2 logarithm of an integer; -1 of 0 and of negative numbers.
    Ilog2,
}

/// Two operands of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    /// Integers: floors, and 0 by 0.
    Div,
    /// Integers: the divisor's sign, and x by 0. Floats: `x - floor(x / y) * y`.
    Rem,
    /// Integers: the quotient rounded up, and 0 by 0.
    Cdiv,
    Min,
    Max,
    /// On integers bitwise, on `bool` logical (both sides are evaluated: nothing here has effects).
    And,
    Or,
    Xor,
    Shl,
    /// Arithmetic on signed types, logical on unsigned ones.
    Shr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CmpOp {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// Reductions over axes. Of nothing: 0, -inf or least, +inf or greatest, false, true, -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReduceOp {
    Sum,
    Max,
    Min,
    Any,
    All,
    /// The coordinate (`index`) of the greatest element; ties go to the lower one.
    ArgMax,
    ArgMin,
}

/// Running reductions along one axis, the element itself included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScanOp {
    Sum,
    Max,
}

/// What a declared reduction (`acc op= …` on a variable the loop reads nowhere else), an `atomic` or a grid reduction combines with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Combine {
    Add,
    Max,
    Min,
    And,
    Or,
    Xor,
}

impl Combine {
    /// The elementwise operation of the same meaning.
    pub fn binary(self) -> BinaryOp {
        match self {
            Combine::Add => BinaryOp::Add,
            Combine::Max => BinaryOp::Max,
            Combine::Min => BinaryOp::Min,
            Combine::And => BinaryOp::And,
            Combine::Or => BinaryOp::Or,
            Combine::Xor => BinaryOp::Xor,
        }
    }
}

impl UnaryOp {
    /// The name in source text.
    pub fn name(self) -> &'static str {
        use UnaryOp::*;
        match self {
            Neg => "-",
            Not => "!",
            BitNot => "~",
            Abs => "abs",
            Floor => "floor",
            Ceil => "ceil",
            Round => "round",
            Trunc => "trunc",
            Exp => "exp",
            Exp2 => "exp2",
            Log => "log",
            Log2 => "log2",
            Sqrt => "sqrt",
            Rsqrt => "rsqrt",
            Tanh => "tanh",
            Erf => "erf",
            Sin => "sin",
            Cos => "cos",
            Popc => "popc",
            Clz => "clz",
            Ilog2 => "ilog2",
        }
    }

    /// The value on a constant where that needs no type (`popc`, `clz` and `~` do, and `erf` is not in the standard library).
    pub fn fold(self, x: Const) -> Option<Const> {
        use UnaryOp::*;
        Some(match (self, x) {
            (Not, Const::Bool(b)) => Const::Bool(!b),
            (Neg, Const::Int(v)) => Const::Int(v.checked_neg()?),
            (Abs, Const::Int(v)) => Const::Int(v.checked_abs()?),
            (BitNot, Const::Int(v)) => Const::Int(!v),
            (Ilog2, Const::Int(v)) => Const::Int(if v <= 0 { -1 } else { i128::from(v.ilog2()) }),
            (Floor | Ceil | Round | Trunc, Const::Int(v)) => Const::Int(v),
            (_, Const::Float(v)) => Const::Float(match self {
                Neg => -v,
                Abs => v.abs(),
                Floor => v.floor(),
                Ceil => v.ceil(),
                Round => v.round_ties_even(),
                Trunc => v.trunc(),
                Exp => v.exp(),
                Exp2 => v.exp2(),
                Log => v.ln(),
                Log2 => v.log2(),
                Sqrt => v.sqrt(),
                Rsqrt => 1.0 / v.sqrt(),
                Tanh => v.tanh(),
                Sin => v.sin(),
                Cos => v.cos(),
                Not | BitNot | Erf | Popc | Clz | Ilog2 => return None,
            }),
            _ => return None,
        })
    }
}

impl BinaryOp {
    /// The operator or function name in source text.
    pub fn name(self) -> &'static str {
        use BinaryOp::*;
        match self {
            Add => "+",
            Sub => "-",
            Mul => "*",
            Div => "/",
            Rem => "%",
            Cdiv => "cdiv",
            Min => "min",
            Max => "max",
            And => "&",
            Or => "|",
            Xor => "^",
            Shl => "<<",
            Shr => ">>",
        }
    }

    /// Printed between its operands.
    pub fn is_infix(self) -> bool {
        !matches!(self, BinaryOp::Cdiv | BinaryOp::Min | BinaryOp::Max)
    }

    /// The value on two constants of one kind; `None` where 128 bits overflow or the kinds do not go together.
    pub fn fold(self, x: Const, y: Const) -> Option<Const> {
        use BinaryOp::*;
        match (x, y) {
            (Const::Int(x), Const::Int(y)) => self.fold_int(x, y).map(Const::Int),
            (Const::Bool(x), Const::Bool(y)) => Some(Const::Bool(match self {
                And | Min => x & y,
                Or | Max => x | y,
                Xor => x ^ y,
                _ => return None,
            })),
            (Const::Float(x), Const::Float(y)) => Some(Const::Float(match self {
                Add => x + y,
                Sub => x - y,
                Mul => x * y,
                Div => x / y,
                Rem => float_rem(x, y),
                // f64::min and max return the other operand where one is a NaN, which is what the language wants.
                Min => x.min(y),
                Max => x.max(y),
                Cdiv | And | Or | Xor | Shl | Shr => return None,
            })),
            // A literal of either kind may stand beside a float.
            (Const::Int(x), Const::Float(_)) => self.fold(Const::Float(x as f64), y),
            (Const::Float(_), Const::Int(y)) => self.fold(x, Const::Float(y as f64)),
            _ => None,
        }
    }

    fn fold_int(self, x: i128, y: i128) -> Option<i128> {
        use BinaryOp::*;
        match self {
            Add => x.checked_add(y),
            Sub => x.checked_sub(y),
            Mul => x.checked_mul(y),
            Div => Some(if y == 0 { 0 } else { floor_div(x, y)? }),
            Cdiv => Some(if y == 0 { 0 } else { floor_div(x.checked_neg()?, y)?.checked_neg()? }),
            Rem => Some(if y == 0 { x } else { x.checked_sub(floor_div(x, y)?.checked_mul(y)?)? }),
            Min => Some(x.min(y)),
            Max => Some(x.max(y)),
            And => Some(x & y),
            Or => Some(x | y),
            Xor => Some(x ^ y),
            Shl => match u32::try_from(y) {
                Ok(by) if by < 64 => x.checked_mul(1i128 << by),
                Ok(_) => Some(0),
                Err(_) => None,
            },
            Shr => match u32::try_from(y) {
                Ok(by) => Some(x >> by.min(127)),
                Err(_) => None,
            },
        }
    }
}

/// The rest of a floored division: of the divisor's sign, or zero. Exact, but where `x` is so much smaller than a `y` of the other sign
/// that `x + y` rounds; NaN where either is, or `x` is infinite, or `y` zero.
pub fn float_rem(x: f64, y: f64) -> f64 {
    let rest = x % y;
    if rest != 0.0 && (rest < 0.0) != (y < 0.0) { rest + y } else { rest }
}

fn floor_div(x: i128, y: i128) -> Option<i128> {
    let q = x.checked_div(y)?;
    Some(if x % y != 0 && (x < 0) != (y < 0) { q - 1 } else { q })
}

impl CmpOp {
    pub fn name(self) -> &'static str {
        match self {
            CmpOp::Eq => "==",
            CmpOp::Ne => "!=",
            CmpOp::Lt => "<",
            CmpOp::Le => "<=",
            CmpOp::Gt => ">",
            CmpOp::Ge => ">=",
        }
    }

    /// The operator with its sides exchanged: `a < b` is `b > a`.
    pub fn flipped(self) -> CmpOp {
        match self {
            CmpOp::Eq => CmpOp::Eq,
            CmpOp::Ne => CmpOp::Ne,
            CmpOp::Lt => CmpOp::Gt,
            CmpOp::Le => CmpOp::Ge,
            CmpOp::Gt => CmpOp::Lt,
            CmpOp::Ge => CmpOp::Le,
        }
    }

    /// `None` where the kinds do not go together.
    pub fn fold(self, x: Const, y: Const) -> Option<bool> {
        fn by<T: PartialOrd>(op: CmpOp, x: T, y: T) -> bool {
            match op {
                CmpOp::Eq => x == y,
                CmpOp::Ne => x != y,
                CmpOp::Lt => x < y,
                CmpOp::Le => x <= y,
                CmpOp::Gt => x > y,
                CmpOp::Ge => x >= y,
            }
        }
        Some(match (x, y) {
            (Const::Int(x), Const::Int(y)) => by(self, x, y),
            (Const::Float(x), Const::Float(y)) => by(self, x, y),
            (Const::Bool(x), Const::Bool(y)) => by(self, x, y),
            (Const::Int(x), Const::Float(y)) => by(self, x as f64, y),
            (Const::Float(x), Const::Int(y)) => by(self, x, y as f64),
            _ => return None,
        })
    }
}

impl fmt::Display for ReduceOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReduceOp::Sum => "sum",
            ReduceOp::Max => "max",
            ReduceOp::Min => "min",
            ReduceOp::Any => "any",
            ReduceOp::All => "all",
            ReduceOp::ArgMax => "argmax",
            ReduceOp::ArgMin => "argmin",
        })
    }
}

impl fmt::Display for ScanOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ScanOp::Sum => "cumsum",
            ScanOp::Max => "cummax",
        })
    }
}

impl fmt::Display for Combine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Combine::Add => "+=",
            Combine::Max => "max=",
            Combine::Min => "min=",
            Combine::And => "&=",
            Combine::Or => "|=",
            Combine::Xor => "^=",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(op: BinaryOp, x: i128, y: i128) -> Option<Const> {
        op.fold(Const::Int(x), Const::Int(y))
    }

    #[test]
    fn integer_division_floors_and_is_total() {
        assert_eq!(int(BinaryOp::Div, -1, 64), Some(Const::Int(-1)));
        assert_eq!(int(BinaryOp::Rem, -1, 64), Some(Const::Int(63)));
        assert_eq!(int(BinaryOp::Rem, 5, -3), Some(Const::Int(-1)));
        assert_eq!(int(BinaryOp::Div, 7, 0), Some(Const::Int(0)));
        assert_eq!(int(BinaryOp::Rem, 7, 0), Some(Const::Int(7)));
        assert_eq!(int(BinaryOp::Cdiv, 7, 2), Some(Const::Int(4)));
        assert_eq!(int(BinaryOp::Div, i128::MIN, -1), None);
    }
}
