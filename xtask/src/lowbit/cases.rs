//! The cases of the grid, and what each should give, in plain arithmetic that shares nothing with the compiler.

use std::fmt;

use tilewright_compiler::target::Target;
use tilewright_compiler::templates::Family;
use tilewright_compiler::tile::ElemType;
use tilewright_runtime::tensor::random::Stream;

/// Weights that share a scale and a zero point; `None`: a scale for each output channel.
pub const GROUPS: [Option<usize>; 4] = [Some(32), Some(64), Some(128), None];
/// Decode, one tile, more than one, many.
pub const ROWS: [usize; 5] = [1, 3, 16, 65, 300];
pub const TARGETS: [Target; 4] = [Target::Sm80, Target::Sm86, Target::Sm89, Target::Sm90a];
/// What a case may pin; mostly nothing.
const SCHEDULES: [&[(&str, &str)]; 8] = [
    &[],
    &[],
    &[],
    &[("BM", "64"), ("BN", "128"), ("BK", "64"), ("warps", "(1,4)")],
    &[("BN", "64"), ("BK", "32"), ("k.stages", "3")],
    &[("BN", "128"), ("k.split", "2")],
    &[("k.split", "stream")],
    &[("BM", "32"), ("warps", "(1,2)")],
];

/// One product.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub weight: ElemType,
    pub group: Option<usize>,
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub target: Target,
    pub schedule: &'static [(&'static str, &'static str)],
}

impl Case {
    pub fn kernel(&self) -> &'static str {
        if self.group.is_some() { "qgemm" } else { "qgemm_channel" }
    }

    pub fn sets(&self) -> Vec<(String, String)> {
        let mut sets = vec![("W".to_string(), self.weight.to_string())];
        sets.extend(self.group.map(|g| ("G".to_string(), g.to_string())));
        sets.extend(self.schedule.iter().map(|(n, v)| (n.to_string(), v.to_string())));
        sets
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kernel(), self.weight)?;
        if let Some(g) = self.group {
            write!(f, " G={g}")?;
        }
        write!(f, " M={} N={} K={} {}", self.rows, self.columns, self.depth, self.target)?;
        self.schedule.iter().try_for_each(|(n, v)| write!(f, " {n}={v}"))
    }
}

/// Every type, group, number of rows and target, each once, in an order that the seed shuffles; N, K and schedule are drawn.
pub fn all(seed: u64) -> Vec<Case> {
    let mut cases = Vec::new();
    for weight in Family::ALL.into_iter().flat_map(Family::types) {
        for group in GROUPS {
            for rows in ROWS {
                for target in TARGETS {
                    let draw = Stream::new(seed, &format!("{weight} {group:?} {rows} {target}"));
                    // Ragged, or aligned enough for the wide variant; products stay small where there are many rows.
                    let step = [1, 8, 2, 64][draw.integer(0, 0, 3) as usize];
                    let most = if rows > 65 { 96 } else { 192 };
                    let columns = (draw.integer(1, 1, most) as usize).next_multiple_of(step);
                    let depth = match group {
                        Some(g) => g * draw.integer(2, 1, 768 / g as i64) as usize,
                        None => (draw.integer(2, 1, 640) as usize).next_multiple_of(step),
                    };
                    let schedule = SCHEDULES[draw.integer(3, 0, SCHEDULES.len() as i64 - 1) as usize];
                    cases
                        .push((draw.bits(4), Case { weight, group, rows, columns, depth, target, schedule }));
                }
            }
        }
    }
    cases.sort_by_key(|(key, _)| *key);
    cases.into_iter().map(|(_, case)| case).collect()
}

/// What a code of a type is worth, by the definitions of docs/language.md.
pub fn value(weight: ElemType, code: u64) -> f64 {
    match weight {
        ElemType::Uint(_) => code as f64,
        ElemType::Int(w) => (code as i64 - ((code >> (w - 1) & 1) << w) as i64) as f64,
        ElemType::Bipolar(w) => {
            (0..w).map(|k| f64::from(1u32 << k) * if code >> k & 1 == 1 { 1.0 } else { -1.0 }).sum()
        }
        ElemType::Small { exponent: x, mantissa: y } => {
            let sign = if code >> (x + y) & 1 == 1 { -1.0 } else { 1.0 };
            let (e, m) = ((code >> y & ((1 << x) - 1)) as i32, (code & ((1 << y) - 1)) as f64);
            let (bias, one) = ((1 << (x - 1)) - 1, f64::from(1u32 << y));
            match (x, y) {
                (4, 3) if e == 15 && m == 7.0 => return f64::NAN,
                (5, 2) if e == 31 => return if m == 0.0 { sign * f64::INFINITY } else { f64::NAN },
                _ => {}
            }
            let (fraction, e) = if e == 0 { (m / one, 1) } else { (1.0 + m / one, e) };
            sign * fraction * f64::from(e - bias).exp2()
        }
        other => unreachable!("{other} is no packed type"),
    }
}

/// x of `rows` by `depth`, weights, scales and zero points as numbers.
pub struct Problem {
    pub rows: usize,
    pub columns: usize,
    pub depth: usize,
    pub group: Option<usize>,
    pub x: Vec<f64>,
    pub w: Vec<f64>,
    pub s: Vec<f64>,
    pub z: Vec<f64>,
}

impl Problem {
    /// y in f64, of weights in f64.
    pub fn exact(&self) -> Vec<f64> {
        self.product(|w, z, s| (w - z) * s, |sum, s| sum * s, |sum, x, w| sum + x * w)
    }

    /// y as programs in the kernel's own types have it: f16 after every step of a weight, sums in f32. The language has two ways, `(w - z) * s` and
    /// `w * s - z * s` in one step; of each element the one that is further off.
    pub fn plain(&self, half: impl Fn(f64) -> f64 + Copy) -> Vec<f64> {
        let one = self.plainly(half, |w, z, s| half(half(w - z) * s));
        let other = self.plainly(half, |w, z, s| half(w * s - half(z * s)));
        let further = |((one, other), exact): ((f64, f64), f64)| {
            if (other - exact).abs() > (one - exact).abs() { other } else { one }
        };
        one.into_iter().zip(other).zip(self.exact()).map(further).collect()
    }

    fn plainly(&self, half: impl Fn(f64) -> f64, weight: impl Fn(f64, f64, f64) -> f64) -> Vec<f64> {
        let sum = |sum: f64, x: f64, w: f64| f64::from(sum as f32 + (x * w) as f32);
        let y = self.product(weight, |sum, s| f64::from(sum as f32 * s as f32), sum);
        y.into_iter().map(half).collect()
    }

    fn product(
        &self,
        weight: impl Fn(f64, f64, f64) -> f64,
        scale: impl Fn(f64, f64) -> f64,
        add: impl Fn(f64, f64, f64) -> f64,
    ) -> Vec<f64> {
        let Problem { rows, columns, depth, .. } = *self;
        let groups = self.group.map_or(0, |g| depth / g);
        let weights: Vec<f64> = match self.group {
            None => self.w.clone(),
            Some(g) => (0..columns * depth)
                .map(|at| {
                    let of = at / depth * groups + at % depth / g;
                    weight(self.w[at], self.z[of], self.s[of])
                })
                .collect(),
        };
        let mut y = Vec::with_capacity(rows * columns);
        for i in 0..rows {
            for j in 0..columns {
                let (x, w) = (&self.x[i * depth..][..depth], &weights[j * depth..][..depth]);
                let sum = x.iter().zip(w).fold(0.0, |sum, (x, w)| add(sum, *x, *w));
                y.push(if self.group.is_none() { scale(sum, self.s[j]) } else { sum });
            }
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_group_and_number_of_rows_occurs_once_for_each_target() {
        let cases = all(1);
        assert_eq!(cases.len(), 51 * GROUPS.len() * ROWS.len() * TARGETS.len());
        let key = |c: &Case| format!("{} {:?} {} {}", c.weight, c.group, c.rows, c.target);
        let keys: std::collections::HashSet<String> = cases.iter().map(key).collect();
        assert_eq!(keys.len(), cases.len());
        assert!(cases.iter().all(|c| c.group.is_none_or(|g| c.depth.is_multiple_of(g))));
        assert!(cases.iter().any(|c| c.columns % 2 == 1) && all(2) != cases);
    }

    #[test]
    fn codes_are_worth_what_the_formats_say() {
        let of = |weight: ElemType, codes: &[u64]| -> Vec<f64> {
            codes.iter().map(|c| value(weight, *c)).collect()
        };
        assert_eq!(of(ElemType::Int(1), &[0, 1]), [0.0, -1.0]);
        assert_eq!(of(ElemType::Int(4), &[7, 8, 15]), [7.0, -8.0, -1.0]);
        assert_eq!(of(ElemType::Bipolar(2), &[0, 1, 2, 3]), [-3.0, -1.0, 1.0, 3.0]);
        let e2m1 = of(ElemType::Small { exponent: 2, mantissa: 1 }, &[0, 1, 2, 3, 4, 5, 6, 7, 15]);
        assert_eq!(e2m1, [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -6.0]);
        assert_eq!(of(ElemType::E4M3, &[0x7e, 0x01]), [448.0, 1.0 / 512.0]);
        assert!(value(ElemType::E4M3, 0xff).is_nan() && value(ElemType::E5M2, 0xfc) == f64::NEG_INFINITY);
    }
}
