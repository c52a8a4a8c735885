//! The smallest case that still fails: dimensions towards one, schedule towards the default, seed kept.
//!
//! Greedy: of the smaller cases beside the present one the first that fails is taken, until none does. Any failure counts, also at
//! another level: the least example of a bug is wanted, whatever it shows. Where launches never end, few are tried.

use std::time::Instant;

use super::case::Case;
use super::levels::{self, Failure};
use super::{Found, Settings, Subject, VerifyError};

/// Shrinks a failing case.
pub fn shrink(
    subject: Subject<'_>,
    settings: &Settings,
    case: Case,
    failure: Failure,
) -> Result<Found, VerifyError> {
    let began = Instant::now();
    let mut found = Found { first: case.clone(), case, failure, tried: 0 };
    'again: loop {
        for smaller in smaller(&found.case, settings) {
            if found.tried >= settings.shrink || began.elapsed() > 3 * settings.patience {
                break 'again;
            }
            found.tried += 1;
            // What the program or its promises refuse is no smaller case.
            if let Ok(ran) = levels::run(subject, settings, &smaller)
                && let Some(failure) = ran.failure
            {
                found.case = smaller;
                found.failure = failure;
                continue 'again;
            }
        }
        break;
    }
    Ok(found)
}

/// Simpler cases, boldest first.
fn smaller(case: &Case, settings: &Settings) -> Vec<Case> {
    let mut all = Vec::new();
    for n in settings.sets.len()..case.sets.len() {
        let mut sets = case.sets.clone();
        sets.remove(n);
        all.push(Case { sets, ..case.clone() });
    }
    if case.frozen && settings.freeze == super::Freeze::Random {
        all.push(Case { frozen: false, ..case.clone() });
    }
    for (at, (name, value)) in case.dims.iter().enumerate() {
        if settings.dims.iter().any(|(given, _)| given == name) {
            continue;
        }
        // Multiples of eight stay such for a while, so that the variant stays.
        let candidates = [1, 8, value / 2, value / 2 / 8 * 8, value - 64, value - 8, value - 1];
        let mut tried: Vec<i64> = candidates.into_iter().filter(|c| (1..*value).contains(c)).collect();
        tried.dedup();
        for c in tried {
            let mut dims = case.dims.clone();
            dims[at].1 = c;
            all.push(Case { dims, ..case.clone() });
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use tilewright_compiler::target::Target;

    #[test]
    fn what_the_user_fixed_stays() {
        let pair = |n: &str, v: &str| (n.to_string(), v.to_string());
        let case = Case {
            seed: 3,
            target: Target::Sm80,
            sets: vec![pair("BM", "64"), pair("BN", "64")],
            dims: vec![("M".into(), 100), ("N".into(), 7)],
            frozen: false,
        };
        let settings =
            Settings { sets: vec![pair("BM", "64")], dims: vec![("N".into(), 7)], ..Settings::default() };
        let all = smaller(&case, &settings);
        assert!(all.iter().all(|c| c.sets[0] == pair("BM", "64") && c.dims[1].1 == 7 && c.seed == 3));
        assert!(all.iter().any(|c| c.sets.len() == 1));
        assert_eq!(all.iter().filter(|c| c.dims[0].1 < 100).count(), 7);
    }
}
