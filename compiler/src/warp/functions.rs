//! Functions of one f32 that the machine has only roughly or not at all, within 2 ulp. Coefficients are our own fits: Chebyshev
//! interpolation in double precision, the worst error measured over every 2^-17 of the interval.

use super::ir::*;
use super::lower::Lower;

/// `erf(x) / x - 1` in x² on [0, 1]; worst error 1.0 ulp.
const ERF_SMALL: [f32; 8] = [
    0.128_379_17,
    -0.376_126_38,
    0.112_837_83,
    -0.026_865_438,
    0.005_221_053_5,
    -0.000_848_439_6,
    0.000_112_682_54,
    -9.673_591e-6,
];
/// `-log2(erfc(t)) / t` in t on [1, 4]; worst error of erf 1.2 ulp.
const ERF_LARGE: [f32; 8] = [
    1.628_707_9,
    0.914_742,
    0.155_780_82,
    -0.036_389_187,
    0.006_256_262,
    -0.000_730_398_5,
    5.093_257_3e-5,
    -1.576_918e-6,
];
/// `(tanh(x) / x - 1) / x²` in x² on [0, 0.36]; worst error 0.8 ulp.
const TANH_SMALL: [f32; 5] = [-0.333_333_3, 0.133_329_23, -0.053_875_003, 0.021_115_715, -0.006_275_771_7];

impl Lower<'_> {
    fn polynomial(&mut self, coefficients: &[f32], x: Reg) -> Reg {
        let mut terms = coefficients.iter().rev();
        let mut sum: Src = Src::F32(terms.next().copied().unwrap_or(0.0));
        let mut last = None;
        for c in terms {
            let r = match sum {
                // The first step has two constants: one of them goes through a register.
                Src::F32(top) => {
                    let top = self.b.mov(Class::F32, Src::F32(top));
                    self.b.fma(top, x, Src::F32(*c))
                }
                other => self.b.fma(other, x, Src::F32(*c)),
            };
            sum = r.into();
            last = Some(r);
        }
        last.unwrap_or(x)
    }

    fn select(&mut self, p: Reg, yes: impl Into<Src>, no: impl Into<Src>) -> Reg {
        let d = self.b.reg(Class::F32);
        self.b.push(Op::Select { d, a: yes.into(), b: no.into(), p });
        d
    }

    fn less(&mut self, a: impl Into<Src>, b: impl Into<Src>) -> Reg {
        let d = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp: Cmp::Lt, d, a: a.into(), b: b.into() });
        d
    }

    /// e^x as 2^(x log2 e): the exponent's rounding error, which grows with x, is put right to first order where the result is finite.
    pub fn exp(&mut self, x: Reg) -> Reg {
        const LOW: f64 = std::f64::consts::LOG2_E - std::f32::consts::LOG2_E as f64;
        let high = Src::F32(std::f32::consts::LOG2_E);
        let t = self.b.float(FloatOp::Mul, x, high);
        let y = self.b.float_fn(FloatFn::Ex2, t);
        let minus = self.b.float_fn(FloatFn::Neg, t);
        let lost = self.b.fma(x, high, minus);
        let lost = self.b.fma(x, Src::F32(LOW as f32), lost);
        let scale = self.b.float(FloatOp::Mul, lost, Src::F32(std::f32::consts::LN_2));
        let corrected = self.b.fma(y, scale, y);
        let size = self.b.float_fn(FloatFn::Abs, x);
        let finite = self.less(size, Src::F32(88.0));
        self.select(finite, corrected, y)
    }

    /// Odd functions: `f(|x|)` with the sign of x.
    fn odd(&mut self, x: Reg, size: Reg) -> Reg {
        let minus = self.b.float_fn(FloatFn::Neg, size);
        let negative = self.less(x, Src::F32(0.0));
        self.select(negative, minus, size)
    }

    /// Where |x| < 1 a polynomial; beyond, 1 - 2^(-q(|x|)), which is 1 from 4 on.
    pub fn erf(&mut self, x: Reg) -> Reg {
        let square = self.b.float(FloatOp::Mul, x, x);
        let p = self.polynomial(&ERF_SMALL, square);
        let near = self.b.fma(p, x, x);
        let size = self.b.float_fn(FloatFn::Abs, x);
        let t = self.b.float(FloatOp::Min, size, Src::F32(4.0));
        let q = self.polynomial(&ERF_LARGE, t);
        let q = self.b.float(FloatOp::Mul, q, t);
        let q = self.b.float_fn(FloatFn::Neg, q);
        let tail = self.b.float_fn(FloatFn::Ex2, q);
        let one = self.b.mov(Class::F32, Src::F32(1.0));
        let far = self.b.float(FloatOp::Sub, one, tail);
        let far = self.odd(x, far);
        let is_far = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp: Cmp::Ge, d: is_far, a: size.into(), b: Src::F32(1.0) });
        self.select(is_far, far, near)
    }

    /// Where |x| < 0.6 a polynomial; beyond, 1 - 2 / (e^(2|x|) + 1).
    pub fn tanh(&mut self, x: Reg) -> Reg {
        let square = self.b.float(FloatOp::Mul, x, x);
        let p = self.polynomial(&TANH_SMALL, square);
        let p = self.b.float(FloatOp::Mul, p, square);
        let near = self.b.fma(p, x, x);
        let size = self.b.float_fn(FloatFn::Abs, x);
        let exponent = self.b.float(FloatOp::Mul, size, Src::F32(2.0 * std::f32::consts::LOG2_E));
        let power = self.b.float_fn(FloatFn::Ex2, exponent);
        let below = self.b.float(FloatOp::Add, power, Src::F32(1.0));
        let two = self.b.mov(Class::F32, Src::F32(2.0));
        let part = self.b.float(FloatOp::Div, two, below);
        let one = self.b.mov(Class::F32, Src::F32(1.0));
        let far = self.b.float(FloatOp::Sub, one, part);
        let far = self.odd(x, far);
        let is_far = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp: Cmp::Ge, d: is_far, a: size.into(), b: Src::F32(0.6) });
        self.select(is_far, far, near)
    }
}
