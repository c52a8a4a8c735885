//! Random numbers that are the same on every machine.
//!
//! Counter-based: number `n` of a stream is a hash of the stream's key and `n`, so elements can be made in any order. The hash is
//! SplitMix64's finaliser (Steele, Lea, Flood 2014). A stream's key comes from a seed and a name, so that a parameter keeps its
//! values when another is added beside it. Normal numbers come from the inverse of the distribution function (Acklam's rational
//! approximation, relative error 1.15e-9) with a logarithm of our own: only `+ - * /` and square roots, which IEEE defines, and
//! no library function, which differs from machine to machine.

/// A stream of numbers, indexed.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    key: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Stream {
    /// The stream of a name under a seed.
    pub fn new(seed: u64, name: &str) -> Stream {
        let start = mix(seed.wrapping_add(GOLDEN));
        let key = name.bytes().fold(start, |key, b| mix(key ^ u64::from(b)).wrapping_add(GOLDEN));
        Stream { key }
    }

    /// 64 uniform bits.
    pub fn bits(self, n: u64) -> u64 {
        mix(mix(self.key.wrapping_add(n.wrapping_mul(GOLDEN))) ^ self.key.rotate_left(32))
    }

    /// Strictly between 0 and 1.
    pub fn uniform(self, n: u64) -> f64 {
        ((self.bits(n) >> 12) as f64 + 0.5) * (1.0 / (1u64 << 52) as f64)
    }

    /// Standard normal.
    pub fn normal(self, n: u64) -> f64 {
        inverse_normal(self.uniform(n))
    }

    /// Uniform in `lo..=hi`; `lo` where that is empty.
    pub fn integer(self, n: u64, lo: i64, hi: i64) -> i64 {
        if hi <= lo {
            return lo;
        }
        let span = (i128::from(hi) - i128::from(lo) + 1) as u128;
        let offset = (u128::from(self.bits(n)) * span) >> 64;
        (i128::from(lo) + offset as i128) as i64
    }
}

/// ln x for normal positive x: x = m·2^e with m in [√½, √2), ln m = 2 artanh((m − 1) / (m + 1)) by its series.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = (bits >> 52) as i64 - 1023;
    let mut m = f64::from_bits(bits & !(0x7ff << 52) | 1023 << 52);
    if m > std::f64::consts::SQRT_2 {
        m /= 2.0;
        exponent += 1;
    }
    let t = (m - 1.0) / (m + 1.0);
    let t2 = t * t;
    // |t| ≤ 0.172, so t2^11 is below 2e-17.
    let series = (0..11).rev().fold(0.0, |sum, k| sum * t2 + 1.0 / (2 * k + 1) as f64);
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * t * series
}

/// The number below which a standard normal one falls with probability `p`, 0 < p < 1 (P. J. Acklam, 2003).
// The coefficients as Acklam printed them: sixteen digits, some of which an f64 does not keep.
#[allow(clippy::excessive_precision)]
fn inverse_normal(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969683028665376e+01,
        2.209460984245205e+02,
        -2.759285104469687e+02,
        1.383577518672690e+02,
        -3.066479806614716e+01,
        2.506628277459239e+00,
    ];
    const B: [f64; 6] = [
        -5.447609879822406e+01,
        1.615858368580409e+02,
        -1.556989798598866e+02,
        6.680131188771972e+01,
        -1.328068155288572e+01,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784894002430293e-03,
        -3.223964580411365e-01,
        -2.400758277161838e+00,
        -2.549732539343734e+00,
        4.374664141464968e+00,
        2.938163982698783e+00,
    ];
    const D: [f64; 5] =
        [7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00, 1.0];
    let poly = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, c| sum * x + c);
    let tail = |p: f64| {
        let q = (-2.0 * ln(p)).sqrt();
        poly(&C, q) / poly(&D, q)
    };
    if p < 0.02425 {
        tail(p)
    } else if p > 1.0 - 0.02425 {
        -tail(1.0 - p)
    } else {
        let q = p - 0.5;
        let r = q * q;
        poly(&A, r) * q / poly(&B, r)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_one() {
        for x in [1e-300, 1e-5, 0.3, 0.707, 0.9999999, 1.0, 1.5, 2.0, 1e10] {
            assert!((ln(x) - x.ln()).abs() <= 4e-16 * x.ln().abs().max(1.0), "{x}");
        }
    }

    #[test]
    fn normal_numbers_have_the_moments_of_normal_numbers() {
        let s = Stream::new(0, "a");
        let n = 200_000;
        let x: Vec<f64> = (0..n).map(|i| s.normal(i)).collect();
        let moment = |k: i32| x.iter().map(|x| x.powi(k)).sum::<f64>() / n as f64;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.015, "{} {}", moment(1), moment(2));
        assert!(moment(3).abs() < 0.04 && (moment(4) - 3.0).abs() < 0.1, "{} {}", moment(3), moment(4));
        let beyond = x.iter().filter(|x| x.abs() > 2.5758).count() as f64 / n as f64;
        assert!((beyond - 0.01).abs() < 0.001, "{beyond}");
    }

    #[test]
    fn streams_are_fixed_for_good() {
        // Results that users have saved depend on these: a change here is a change of every seed.
        let s = Stream::new(3, "a");
        assert_eq!(s.bits(0), Stream::new(3, "a").bits(0));
        assert_ne!(s.bits(0), Stream::new(3, "b").bits(0));
        assert_ne!(s.bits(0), Stream::new(4, "a").bits(0));
        assert_eq!((s.bits(0), s.bits(1)), (0x04d8_c326_3335_0f42, 0x33fa_2f1a_a0ca_eb06));
        assert_eq!((s.normal(0), s.normal(1)), (-2.076312470655367, -0.8308249773604024));
    }

    #[test]
    fn integers_fill_their_range() {
        let s = Stream::new(1, "pages");
        let mut seen = [0; 5];
        for n in 0..1000 {
            seen[(s.integer(n, -2, 2) + 2) as usize] += 1;
        }
        assert!(seen.iter().all(|&c| c > 120), "{seen:?}");
        assert_eq!(s.integer(0, 7, 6), 7);
        s.integer(0, i64::MIN, i64::MAX);
    }
}
