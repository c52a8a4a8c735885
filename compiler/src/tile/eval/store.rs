//! What a store keeps: the value in the place's type, or, in *unrounded* mode, what it was before it was rounded to that type.
//!
//! An output's error is measured from the exact result, so the reference must not have been rounded itself: at a value in the middle of
//! two neighbours of f16, the rounded reference is half a unit off, and a result that took the other neighbour would look a
//! whole unit wrong where it is right. Only the *last* rounding is left out, the one whose result does nothing but move to its
//! place: a store looks through broadcasts, reorderings and selections for a cast from one float type to another, and takes what the
//! cast was given. Everything else that rounds is a quantisation that the program declares, and keeps its meaning: a cast whose result is
//! computed with (for the other uses of the same cast, too), a cast to an integer, a cast from one.
//!
//! Worked example, with `p` and `l` of f32: in `acc += (p as f16) @ v[j, :]` the product sees `p` rounded; in `o[i, :] = (acc / l) as f16`
//! the place holds `acc / l` itself; in `y[i] = (x[i] as f16) as f32` it holds `x` rounded to f16, for the last cast only widens.
//!
//! Not precision but range is still the type's: what rounds to an infinity, saturates or has no NaN is stored as it rounds
//! ([`keep_range`]), so that a saturated 448 is compared with 448 and not with the 1000 that it was. `e8m0` rounds down to powers of
//! two, which is no approximation but a definition, and is always rounded. A tensor that is read back is rounded as it is read.

use super::Mode;
use super::elementwise;
use super::error::EvalError;
use super::machine::{Frame, Machine};
use super::values::{Operand, Values, map3};
use crate::numeric::Format;
use crate::tile::ir::*;

impl Machine<'_> {
    /// The elements of `v` on these axes, without the rounding of a last cast to `elem`.
    pub(super) fn unrounded(
        &self,
        frame: &Frame,
        v: ValueId,
        axes: &[AxisId],
        shape: &[usize],
    ) -> Result<Values, EvalError> {
        match self.kernel.value(v).op {
            Op::Broadcast(x) | Op::Reorder(x) => self.unrounded(frame, x, axes, shape),
            Op::Cast(x) if self.kernel.ty(x).elem.is_float() && self.kernel.ty(v).elem.is_float() => {
                Ok(frame.get(x)?.spread(axes, shape))
            }
            Op::Select(c, x, y) if self.kernel.ty(v).elem.is_float() => {
                let c = frame.get(c)?.spread(axes, shape);
                match (c, self.unrounded(frame, x, axes, shape)?, self.unrounded(frame, y, axes, shape)?) {
                    (Values::Int(c), Values::Float(x), Values::Float(y)) => {
                        let count = c.len();
                        let (c, x, y) = (each(c), each(x), each(y));
                        Ok(Values::Float(map3(&c, &x, &y, count, |c, x, y| if c != 0 { x } else { y })))
                    }
                    _ => Err(EvalError::internal("a selection of floats whose parts are something else")),
                }
            }
            _ => Ok(frame.get(v)?.spread(axes, shape)),
        }
    }
}

fn each<T: Copy>(values: Vec<T>) -> Operand<'static, T> {
    Operand::Each(values.into())
}

/// Makes values what memory of their type keeps of them.
pub(super) fn round(mode: Mode, values: &mut Values, elem: ElemType) {
    match mode {
        Mode::Unrounded => keep_range(values, elem),
        Mode::Exact | Mode::Typed => elementwise::round(values, elem),
    }
}

/// Gives floats the range of their type but not its precision; rounds what is no float.
fn keep_range(values: &mut Values, elem: ElemType) {
    match (&mut *values, elem.format()) {
        (Values::Float(x), Format::Float(f)) => {
            for x in x {
                let rounded = f.round(*x);
                if !x.is_finite() || !rounded.is_finite() || x.abs() > f.max() {
                    *x = rounded;
                }
            }
        }
        _ => elementwise::round(values, elem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(elem: &str, x: f64) -> f64 {
        let mut values = Values::Float(vec![x]);
        keep_range(&mut values, ElemType::from_name(elem).expect("a type"));
        match values {
            Values::Float(x) => x[0],
            Values::Int(_) => panic!("floats stay floats"),
        }
    }

    #[test]
    fn precision_is_kept_and_range_is_the_types() {
        let third = 1.0 / 3.0;
        for elem in ["f16", "bf16", "f32", "tf32", "e4m3", "e5m2", "e2m1"] {
            assert_eq!(kept(elem, third), third, "{elem}");
        }
        assert_eq!(kept("f16", 65_519.0), 65_504.0);
        assert_eq!(kept("f16", 65_520.0), f64::INFINITY);
        assert_eq!(kept("bf16", -1e39), f64::NEG_INFINITY);
        assert_eq!(kept("e4m3", 1000.0), 448.0);
        assert_eq!(kept("e4m3", f64::NEG_INFINITY), -448.0);
        assert_eq!(kept("e2m1", -7.0), -6.0);
        // A type without NaN has its greatest number instead.
        assert_eq!(kept("e2m1", f64::NAN), 6.0);
        assert!(kept("e4m3", f64::NAN).is_nan() && kept("f16", f64::NAN).is_nan());
        // Too small for the type is still a number: the error of a zero is measured from it.
        assert_eq!(kept("f16", 1e-12), 1e-12);
    }

    #[test]
    fn powers_of_two_round_down_always() {
        assert_eq!(kept("e8m0", 3.99), 2.0);
    }
}
