//! When a result is right: FlashAttention's rule.
//!
//! The bound is relative to what a plain evaluation in the kernel's own types gets wrong. With `exact` in f64 and `base` the typed
//! evaluation, `max|out − exact| ≤ 2 · max|base − exact| + 1e-5 · max(1, max|exact|)`. `exact` is the evaluator's *unrounded* result, not
//! rounded to the output's type either: the errors of `out` and of `base` both contain that rounding, so nothing needs to be added for
//! it. Where `exact` is not finite, `out` must be the same infinity, or a NaN. Integers are exact. Example: at K = 256 a typed f16
//! product is off by 0.03, so a kernel may be off by 0.06; one that adds in another order is off by 0.02 and passes, one that drops a row
//! of K is off by 3 and fails.
//!
//! **Overflow.** Where `exact` is finite and neither `base` nor `out` is, the program's own types are too narrow for what it computes: `exp(200)`
//! in f32, divided by a sum of such, is `inf / inf`. No compiler can do better, so such an element is not wrong; it is counted, and says nothing
//! about the others' bound. Where `base` is finite, a result that is not stays wrong. And where `exact` is just beyond the greatest number of the output's
//! type, and `base` by its roundings just below, a result that is as near to `base` as the bound allows is right, too.

use serde::Serialize;

/// How an output compares.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Greatest |out − exact| over elements whose exact value is finite.
    pub max_error: f64,
    /// Mean of |out − exact| over the same.
    pub mean_error: f64,
    /// What `max_error` may be.
    pub bound: f64,
    /// Elements beyond the bound, or not the infinity or NaN that they should be.
    pub wrong: usize,
    pub count: usize,
    /// The worst of the wrong ones: position in row-major order, what stands there, what should.
    pub worst: Option<Mismatch>,
    /// Elements that overflow the program's own types, and the first of them. They are none of the wrong ones.
    pub overflowed: usize,
    pub first_overflow: Option<Mismatch>,
    pub ok: bool,
}

/// One element that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Mismatch {
    /// In row-major order.
    pub at: usize,
    pub got: f64,
    pub want: f64,
}

/// Compares floats. The three have one length.
///
/// # Panics
/// Where lengths differ.
pub fn compare_floats(out: &[f64], exact: &[f64], base: &[f64]) -> Comparison {
    assert!(out.len() == exact.len() && base.len() == exact.len(), "results of different sizes");
    let greatest = exact.iter().filter(|e| e.is_finite()).fold(0.0, |m: f64, e| m.max(e.abs()));
    // Where the base overflows its own type it has no error, and sets no bound.
    let measured = base.iter().zip(exact).filter(|(b, e)| b.is_finite() && e.is_finite());
    let base_error = measured.map(|(b, e)| (b - e).abs()).fold(0.0, nan_max);
    let bound = 2.0 * base_error + 1e-5 * greatest.max(1.0);
    judged(out, exact, bound, Some(base))
}

/// Compares floats with a bound of the caller's. The two have one length.
///
/// # Panics
/// Where lengths differ.
pub fn compare_within(out: &[f64], exact: &[f64], bound: f64) -> Comparison {
    assert_eq!(out.len(), exact.len(), "results of different sizes");
    judged(out, exact, bound, None)
}

/// Compares element by element; `base` says where the program's own types overflow, and where they only nearly do.
fn judged(out: &[f64], exact: &[f64], bound: f64, base: Option<&[f64]>) -> Comparison {
    let overflows = |at: usize| base.is_some_and(|base| !base[at].is_finite());
    let as_good = |at: usize, got: f64| base.is_some_and(|base| (got - base[at]).abs() <= bound);
    let (mut worst, mut first_overflow): (Option<(f64, Mismatch)>, Option<Mismatch>) = (None, None);
    let (mut wrong, mut overflowed, mut total, mut finite_count, mut most) = (0, 0, 0.0, 0usize, 0.0);
    for (at, (&got, &want)) in out.iter().zip(exact).enumerate() {
        let badness = if want.is_finite() {
            if !got.is_finite() && overflows(at) {
                overflowed += 1;
                first_overflow.get_or_insert(Mismatch { at, got, want });
                continue;
            }
            let error = (got - want).abs();
            (total, most) = (total + error, nan_max(most, error));
            finite_count += 1;
            if error <= bound {
                continue;
            } else if error.is_nan() {
                f64::INFINITY
            } else {
                error
            }
        } else if got == want || (want.is_nan() && got.is_nan()) || (want.is_infinite() && as_good(at, got)) {
            continue;
        } else {
            f64::INFINITY
        };
        wrong += 1;
        if worst.as_ref().is_none_or(|(most, _)| badness > *most) {
            worst = Some((badness, Mismatch { at, got, want }));
        }
    }
    Comparison {
        max_error: most,
        mean_error: if finite_count == 0 { 0.0 } else { total / finite_count as f64 },
        bound,
        wrong,
        count: out.len(),
        worst: worst.map(|(_, mismatch)| mismatch),
        overflowed,
        first_overflow,
        ok: wrong == 0,
    }
}

/// Compares integers, exactly.
///
/// # Panics
/// Where lengths differ.
pub fn compare_integers(out: &[i64], exact: &[i64]) -> Comparison {
    assert_eq!(out.len(), exact.len(), "results of different sizes");
    let mut worst: Option<(f64, Mismatch)> = None;
    let (mut wrong, mut total) = (0, 0.0);
    for (at, (&got, &want)) in out.iter().zip(exact).enumerate() {
        if got == want {
            continue;
        }
        let error = got.abs_diff(want) as f64;
        wrong += 1;
        total += error;
        if worst.as_ref().is_none_or(|(most, _)| error > *most) {
            worst = Some((error, Mismatch { at, got: got as f64, want: want as f64 }));
        }
    }
    Comparison {
        max_error: worst.as_ref().map_or(0.0, |(error, _)| *error),
        mean_error: if out.is_empty() { 0.0 } else { total / out.len() as f64 },
        bound: 0.0,
        wrong,
        count: out.len(),
        worst: worst.map(|(_, mismatch)| mismatch),
        overflowed: 0,
        first_overflow: None,
        ok: wrong == 0,
    }
}

/// The greater, and NaN where either is.
fn nan_max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_the_plain_evaluations_error_is_allowed() {
        let exact = [1.0, 2.0];
        let base = [1.001, 2.0];
        assert!(compare_floats(&[1.002, 2.0], &exact, &base).ok);
        let bad = compare_floats(&[1.0, 2.003], &exact, &base);
        assert!(!bad.ok && bad.wrong == 1);
        assert_eq!(bad.worst.map(|m| m.at), Some(1));
        assert!((bad.bound - 0.00202).abs() < 1e-12, "{}", bad.bound);
    }

    /// At 26 neighbours of f16 are 1/64 apart. The plain evaluation rounded each exact value to the nearest.
    #[test]
    fn one_unit_beyond_the_rule_fails() {
        let exact = [26.109375 + 0.0078, 8.0001];
        let base = [26.109375, 8.0];
        // The other neighbour of a value in the middle is as good.
        assert!(compare_floats(&[26.125, 8.0], &exact, &base).ok);
        // Twice the baseline's greatest error reaches one neighbour further, at elements whose own baseline is exact.
        assert!(compare_floats(&[26.125, 8.0078125], &exact, &base).ok);
        assert!(!compare_floats(&[26.125 + 0.015625, 8.0], &exact, &base).ok);
        assert!(!compare_floats(&[26.109375 - 0.015625, 8.0], &exact, &base).ok);
        assert!(!compare_floats(&[26.125, 8.0234375], &exact, &base).ok);
    }

    /// Where the plain evaluation is exact there is nothing to allow but the absolute term.
    #[test]
    fn an_exact_baseline_allows_no_unit() {
        let exact = [26.109375, 1.0];
        assert!(compare_floats(&exact, &exact, &exact).ok);
        assert!(!compare_floats(&[26.125, 1.0], &exact, &exact).ok);
        assert!(!compare_floats(&[26.109375, 1.0009765625], &exact, &exact).ok);
        assert!(compare_floats(&[26.109375, 1.0002], &exact, &exact).ok);
    }

    #[test]
    fn non_finite_values_must_be_the_same() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert!(compare_floats(&[inf, -inf, nan], &[inf, -inf, nan], &[inf, -inf, nan]).ok);
        for out in [[1.0, 0.0], [-inf, 0.0], [nan, 0.0], [inf, nan], [inf, inf]] {
            assert!(!compare_floats(&out, &[inf, 0.0], &[inf, 0.0]).ok, "{out:?}");
        }
        // A base that overflowed sets no bound of its own.
        assert!(!compare_floats(&[2.0], &[1.0], &[inf]).ok);
    }

    #[test]
    fn what_overflows_the_programs_own_types_is_counted_and_not_wrong() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let c = compare_floats(&[1.0, nan, inf], &[1.0, 0.5, 1e39], &[1.0, nan, inf]);
        assert!(c.ok && c.overflowed == 2 && c.max_error == 0.0, "{c:?}");
        assert_eq!(c.first_overflow.map(|m| (m.at, m.want)), Some((1, 0.5)));
        // Another value that is not finite is as good, for orders differ; a finite one must be right.
        assert!(compare_floats(&[-inf], &[0.5], &[nan]).ok);
        assert!(!compare_floats(&[0.0], &[0.5], &[nan]).ok);
        // The baseline shows that the types are wide enough, or the element's bound is its own.
        for out in [nan, inf] {
            let c = compare_floats(&[out, nan], &[1.0, 0.5], &[1.0, nan]);
            assert_eq!((c.wrong, c.overflowed), (1, 1));
        }
        // An element that overflows does not widen, nor close, the bound of the others.
        assert!(compare_floats(&[1.001, nan], &[1.0, 0.5], &[1.001, nan]).ok);
        assert!(!compare_floats(&[1.1, nan], &[1.0, 0.5], &[1.001, nan]).ok);
    }

    /// 65519.9 is 65504 in f16, 65520.1 is infinite.
    #[test]
    fn at_the_greatest_number_either_side_is_right() {
        let inf = f64::INFINITY;
        assert!(compare_floats(&[65504.0, 1.0], &[inf, 1.0], &[65504.0, 1.0]).ok);
        assert!(compare_floats(&[inf], &[inf], &[65504.0]).ok);
        for wrong in [60000.0, -inf, f64::NAN] {
            assert!(!compare_floats(&[wrong], &[inf], &[65504.0]).ok, "{wrong}");
        }
        assert!(!compare_floats(&[65504.0], &[inf], &[inf]).ok);
    }

    #[test]
    fn integers_are_exact() {
        assert!(compare_integers(&[1, -5], &[1, -5]).ok);
        let bad = compare_integers(&[1, -5], &[1, -4]);
        assert_eq!((bad.ok, bad.max_error, bad.worst.map(|m| m.at)), (false, 1.0, Some(1)));
        assert!(compare_floats(&[], &[], &[]).ok && compare_integers(&[], &[]).ok);
    }
}
