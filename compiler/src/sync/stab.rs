//! The fewest gaps that serve all obligations.
//!
//! Each obligation allows a set of gaps; in a loop the sets are circular intervals, across a loop's edge they are an interval and a
//! part of the loop. We look for a set of gaps of least total weight that meets every obligation's set (gaps inside loops weigh more),
//! and among equal ones for the better places. Obligations whose set contains another's set are free, and gaps that serve the same
//! obligations as a better one are useless; what remains has a handful of gaps, and branch and bound is exact.
//!
//! ```text
//! obligation 1 allows {2,3,4}, 2 allows {3,4,0}, 3 allows {0,1,2,3,4}   ->  one gap, 3 or 4
//! ```

/// A set of small numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Bits(Vec<u64>);

impl Bits {
    fn of(count: usize, members: impl Iterator<Item = usize>) -> Bits {
        let mut bits = Bits(vec![0; count.div_ceil(64)]);
        for m in members {
            bits.0[m / 64] |= 1 << (m % 64);
        }
        bits
    }

    fn subset(&self, other: &Bits) -> bool {
        self.0.iter().zip(&other.0).all(|(a, b)| a & !b == 0)
    }

    fn has(&self, m: usize) -> bool {
        self.0[m / 64] >> (m % 64) & 1 == 1
    }
}

/// A gap that may be chosen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// What choosing it costs.
    pub weight: u64,
    /// Among gaps that serve the same obligations, the greatest is best.
    pub merit: i64,
}

/// The search gives up on optimality, and keeps the best found so far, after this many steps.
const STEPS: u32 = 20_000;

/// Indices of `places`, ascending, so that each of `demands` (sets of indices, none empty) contains one of them.
pub(super) fn stab(places: &[Place], demands: &[Vec<usize>]) -> Vec<usize> {
    // Obligations that another one implies.
    let mut sets: Vec<Bits> = demands.iter().map(|d| Bits::of(places.len(), d.iter().copied())).collect();
    sets.sort();
    sets.dedup();
    let implied =
        |set: &Bits, i: usize| sets.iter().enumerate().any(|(j, other)| i != j && other.subset(set));
    let sets: Vec<&Bits> =
        sets.iter().enumerate().filter(|(i, set)| !implied(set, *i)).map(|(_, s)| s).collect();

    // What each gap serves; of equal or weaker ones only the best stays.
    let serves: Vec<Bits> = (0..places.len())
        .map(|p| Bits::of(sets.len(), (0..sets.len()).filter(|&i| sets[i].has(p))))
        .collect();
    let better = |a: usize, b: usize| {
        let strictly = serves[a] != serves[b] || places[a].weight < places[b].weight;
        let key = |p: usize| (places[p].merit, p);
        serves[b].subset(&serves[a])
            && places[a].weight <= places[b].weight
            && (key(a) > key(b) || (strictly && !same(&serves, places, a, b)))
    };
    let useful: Vec<usize> = (0..places.len())
        .filter(|&b| sets.iter().any(|s| s.has(b)) && !(0..places.len()).any(|a| a != b && better(a, b)))
        .collect();

    let mut search = Search { places, sets: &sets, useful: &useful, best: None, steps: 0 };
    search.run(&mut Vec::new(), 0);
    let mut chosen = search.best.map_or_else(Vec::new, |(_, chosen)| chosen);
    chosen.sort_unstable();
    chosen
}

fn same(serves: &[Bits], places: &[Place], a: usize, b: usize) -> bool {
    serves[a] == serves[b] && places[a].weight == places[b].weight
}

struct Search<'a> {
    places: &'a [Place],
    sets: &'a [&'a Bits],
    useful: &'a [usize],
    /// Weight and negated merit, and the choice.
    best: Option<((u64, i64), Vec<usize>)>,
    steps: u32,
}

impl Search<'_> {
    fn run(&mut self, chosen: &mut Vec<usize>, weight: u64) {
        self.steps += 1;
        if self.best.as_ref().is_some_and(|(best, _)| weight > best.0 || self.steps > STEPS) {
            return;
        }
        let open = |set: &&&Bits| !chosen.iter().any(|&c| set.has(c));
        let options = |set: &Bits| self.useful.iter().filter(|&&p| set.has(p)).count();
        // The obligation with the fewest ways is decided first.
        let Some(set) = self.sets.iter().filter(open).min_by_key(|set| options(set)) else {
            let cost = (weight, -chosen.iter().map(|&c| self.places[c].merit).sum::<i64>());
            if self.best.as_ref().is_none_or(|(best, _)| cost < *best) {
                self.best = Some((cost, chosen.clone()));
            }
            return;
        };
        let mut ways: Vec<usize> = self.useful.iter().copied().filter(|&p| set.has(p)).collect();
        ways.sort_by_key(|&p| (self.places[p].weight, -self.places[p].merit));
        for p in ways {
            chosen.push(p);
            self.run(chosen, weight + self.places[p].weight);
            chosen.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn flat(count: usize) -> Vec<Place> {
        vec![Place { weight: 1, merit: 0 }; count]
    }

    #[test]
    fn one_gap_serves_circular_intervals() {
        let chosen = stab(&flat(5), &[vec![2, 3, 4], vec![3, 4, 0], vec![0, 1, 2, 3, 4]]);
        assert_eq!(chosen, [4], "of equal gaps the later one");
    }

    #[test]
    fn merit_decides_among_equals_and_weight_before_merit() {
        let mut places = flat(3);
        places[0].merit = 5;
        assert_eq!(stab(&places, &[vec![0, 1, 2]]), [0]);
        places[0].weight = 2;
        assert_eq!(stab(&places, &[vec![0, 1, 2]]), [2]);
    }

    #[test]
    fn two_cheap_gaps_beat_one_in_a_loop() {
        let mut places = flat(3);
        places[1].weight = 16;
        assert_eq!(stab(&places, &[vec![0, 1], vec![1, 2]]), [0, 2]);
    }

    proptest! {
        #[test]
        fn never_heavier_than_any_other_choice(
            weights in prop::collection::vec(1u64..5, 1..8),
            demands in prop::collection::vec(prop::collection::vec(0usize..8, 1..5), 0..7),
        ) {
            let n = weights.len();
            let places: Vec<Place> = weights.iter().map(|&weight| Place { weight, merit: 0 }).collect();
            let demands: Vec<Vec<usize>> = demands.into_iter().map(|d| d.into_iter().map(|p| p % n).collect()).collect();
            let serves = |chosen: &dyn Fn(usize) -> bool| demands.iter().all(|d| d.iter().any(|&p| chosen(p)));
            let weight = |chosen: &dyn Fn(usize) -> bool| (0..n).filter(|&p| chosen(p)).map(|p| weights[p]).sum::<u64>();
            let found = stab(&places, &demands);
            prop_assert!(serves(&|p| found.contains(&p)));
            let best = (0u32..1 << n)
                .filter(|set| serves(&|p| set >> p & 1 == 1))
                .map(|set| weight(&|p| set >> p & 1 == 1))
                .min();
            prop_assert_eq!(Some(weight(&|p| found.contains(&p))), best);
        }
    }
}
