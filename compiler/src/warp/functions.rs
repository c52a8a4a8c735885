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

/// `(sin(x) / x - 1) / x²` in x² on [0, (π/4)²]: the series, whose first term left out is 1.8e-9.
const SINE: [f32; 4] = [-0.166_666_67, 0.008_333_333_5, -1.984_127e-4, 2.755_731_9e-6];
/// `(cos(x) - 1) / x²` there; the first term left out is 1.2e-10.
const COSINE: [f32; 5] = [-0.5, 0.041_666_668, -0.001_388_888_9, 2.480_158_7e-5, -2.755_731_9e-7];
/// The first 224 bits of 2/π after the point.
const TWO_OVER_PI: [u32; 7] =
    [0xa2f9_836e, 0x4e44_1529, 0xfc27_57d1, 0xf534_ddc0, 0xdb62_9599, 0x3c43_9041, 0xfe51_63ab];
/// π/2 as a sum of three f32.
const HALF_PI: [f32; 3] = [1.570_796_4, -4.371_138_8e-8, -1.715_124_5e-15];
/// Up to here the sum of three is enough.
const NEAR: f32 = 65536.0;

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

    /// `sin(x + quarters π/2)`.
    ///
    /// The argument less the nearest multiple j of π/2 is at most π/4, where a polynomial does; j's last bits say which one, and with which
    /// sign. Each step of the subtraction keeps what it rounded away, since x may be close to a multiple.
    pub fn sine(&mut self, x: Reg, quarters: i64) -> Reg {
        let j = self.b.float(FloatOp::Mul, x, Src::F32(std::f32::consts::FRAC_2_PI));
        let j = self.b.float_fn(FloatFn::Round, j);
        let count = self.b.reg(Class::B32);
        self.b.push(Op::FloatToInt { signed: true, d: count, a: j });
        let minus = self.b.float_fn(FloatFn::Neg, j);
        // x - j·c0 in two parts: the product and what its rounding lost.
        let product = self.b.float(FloatOp::MulExactly, minus, Src::F32(HALF_PI[0]));
        let back = self.b.float_fn(FloatFn::Neg, product);
        let lost = self.b.fma(minus, Src::F32(HALF_PI[0]), back);
        let high = self.b.float(FloatOp::AddExactly, x, product);
        let (high, low) = self.exact_sum(high, lost);
        let second = self.b.float(FloatOp::MulExactly, minus, Src::F32(HALF_PI[1]));
        let back = self.b.float_fn(FloatFn::Neg, second);
        let lost = self.b.fma(minus, Src::F32(HALF_PI[1]), back);
        let (high, more) = self.exact_sum(high, second);
        let low = self.b.float(FloatOp::AddExactly, low, lost);
        let low = self.b.float(FloatOp::AddExactly, low, more);
        let low = self.b.fma(minus, Src::F32(HALF_PI[2]), low);
        let rest = self.b.float(FloatOp::AddExactly, high, low);

        let size = self.b.float_fn(FloatFn::Abs, x);
        let far = self.b.reg(Class::Pred);
        self.b.push(Op::SetFloat { cmp: Cmp::Gt, d: far, a: size.into(), b: Src::F32(NEAR) });
        self.b.open();
        let (far_rest, far_count) = self.far_argument(x);
        self.b.push(Op::Mov { d: rest, a: far_rest.into() });
        self.b.push(Op::Mov { d: count, a: far_count.into() });
        let then_body = self.b.close();
        self.b.stmt(Stmt::If(If { cond: far, then_body, else_body: Vec::new() }));

        // An infinity or NaN makes the rest a NaN; anything else leaves it as it is.
        let rest = self.b.fma(x, Src::F32(0.0), rest);
        let quadrant = if quarters == 0 { count } else { self.b.add(count, quarters) };
        let square = self.b.float(FloatOp::Mul, rest, rest);
        let p = self.polynomial(&SINE, square);
        let p = self.b.float(FloatOp::Mul, p, square);
        let sine = self.b.fma(p, rest, rest);
        let p = self.polynomial(&COSINE, square);
        let one = self.b.mov(Class::F32, Src::F32(1.0));
        let cosine = self.b.fma(p, square, one);
        let odd = self.b.and(quadrant, 1);
        let odd = self.b.set_int(Cmp::Ne, IntTy::B32, odd, 0);
        let value = self.select(odd, cosine, sine);
        let turned = self.b.and(quadrant, 2);
        let sign = self.b.shift(turned, 30);
        let bits = self.b.mov(Class::B32, value);
        let bits = self.b.xor(bits, sign);
        self.b.mov(Class::F32, bits)
    }

    /// `a + b` rounded, and what rounding lost.
    fn exact_sum(&mut self, a: Reg, b: Reg) -> (Reg, Reg) {
        let sum = self.b.float(FloatOp::AddExactly, a, b);
        let of_b = self.b.float(FloatOp::SubExactly, sum, a);
        let of_a = self.b.float(FloatOp::SubExactly, sum, of_b);
        let (lost_a, lost_b) =
            (self.b.float(FloatOp::SubExactly, a, of_a), self.b.float(FloatOp::SubExactly, b, of_b));
        (sum, self.b.float(FloatOp::AddExactly, lost_a, lost_b))
    }

    /// A large argument less the nearest multiple of π/2, and which multiple that is, modulo 4 (Payne and Hanek).
    ///
    /// `x = m 2^e` with an integer m of 32 bits: of the bits of 2/π, those whose product with x is a multiple of 4 do not matter, nor do those
    /// far below. So 96 of them, from a place that e decides, times m give the quotient's last two bits and 62 bits of its fraction.
    fn far_argument(&mut self, x: Reg) -> (Reg, Reg) {
        let bits = self.b.mov(Class::B32, x);
        let field = self.b.shift(bits, 1);
        let field = self.b.shift(field, -24);
        let exponent = self.b.add(field, -126);
        let m = self.b.shift(bits, 8);
        let m = self.b.int(IntOp::Or, IntTy::B32, m, 0x8000_0000);
        let first = self.b.shift(exponent, -5);
        let by = self.b.and(exponent, 31);
        // Words first - 1 to first + 2; before the point there are zeros. f32 exponents end at 128.
        let mut words = Vec::new();
        for k in 0..4usize {
            // 2/π as a multiple of 4: two bits further down.
            let bits = |n: usize| n.checked_sub(1).and_then(|n| TWO_OVER_PI.get(n)).copied().unwrap_or(0);
            let word = |n: usize| if n == 0 { 0 } else { bits(n - 1) << 30 | bits(n) >> 2 };
            let mut chosen = self.b.mov(Class::B32, i64::from(word(k)));
            for n in 1..=4usize {
                let here = self.b.set_int(Cmp::Eq, IntTy::B32, first, n as i64);
                let d = self.b.reg(Class::B32);
                self.b.push(Op::Select { d, a: Src::Int(i64::from(word(n + k))), b: chosen.into(), p: here });
                chosen = d;
            }
            words.push(chosen);
        }
        let mut window = Vec::new();
        for pair in words.windows(2) {
            let d = self.b.reg(Class::B64);
            self.b.push(Op::Join32 { d, lo: pair[1], hi: pair[0] });
            let moved = self.b.int(IntOp::Shl, IntTy::B64, d, by);
            let (lo, hi) = (self.b.reg(Class::B32), self.b.reg(Class::B32));
            self.b.push(Op::Split32 { lo, hi, a: moved });
            window.push(hi);
        }
        let zero = self.b.mov(Class::B64, 0);
        let low = self.b.mad_wide(false, m, window[2], zero);
        let carried = self.b.int(IntOp::Shr, IntTy::U64, low, 32);
        let middle = self.b.mad_wide(false, m, window[1], carried);
        let top = self.b.int(IntOp::MulLo, IntTy::U32, m, window[0]);
        let none = self.b.mov(Class::B32, 0);
        let up = self.b.reg(Class::B64);
        self.b.push(Op::Join32 { d: up, lo: none, hi: top });
        let product = self.b.add(middle, up);
        // Two bits before the point; half a quarter more rounds to the nearest.
        let half = self.b.add(product, 1 << 61);
        let count = self.b.int(IntOp::Shr, IntTy::U64, half, 62);
        let count = self.b.narrow(count);
        let up = self.b.int(IntOp::Shl, IntTy::B64, product, 2);
        let fraction = self.b.reg(Class::F32);
        self.b.push(Op::IntToFloat { signed: true, d: fraction, a: up });
        let scale = (std::f64::consts::FRAC_PI_2 * (-64f64).exp2()) as f32;
        let rest = self.b.float(FloatOp::Mul, fraction, Src::F32(scale));
        let minus = self.b.float_fn(FloatFn::Neg, rest);
        let back = self.b.int(IntOp::Sub, IntTy::S32, none, count);
        let negative = self.less(x, Src::F32(0.0));
        let rest = self.select(negative, minus, rest);
        let d = self.b.reg(Class::B32);
        self.b.push(Op::Select { d, a: back.into(), b: count.into(), p: negative });
        (rest, d)
    }
}
