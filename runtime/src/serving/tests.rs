//! Every key that a query sees is in exactly one item; items are dealt evenly; a request's pieces are its own; memory stays.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

fn n(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).expect("not zero")
}

fn settings(query_tile: u32, key_tile: u32, reach: Reach, split: Split, blocks: u32) -> Settings {
    let capacity = Capacity { rows: 4096, items: 1 << 16, slots: 1 << 20 };
    Settings { query_tile: n(query_tile), key_tile: n(key_tile), reach, split, blocks: n(blocks), capacity }
}

fn request(queries: u32, keys: u32) -> Request {
    Request { queries, keys }
}

/// The example of the module's documentation.
#[test]
fn two_requests_by_hand() {
    let capacity = Capacity { rows: 24, items: 8, slots: 40 };
    let settings = Settings { capacity, ..settings(16, 64, Reach::All, Split::Fixed(n(256)), 2) };
    let mut planner = Planner::new(settings).unwrap();
    let plan = planner.plan(&[request(1, 600), request(20, 100)]).unwrap();
    assert_eq!((plan.items, plan.slots, plan.rows), (5, 23, 21));
    assert_eq!(plan.req, [0, 0, 0, 1, 1, 0, 0, 0]);
    assert_eq!(plan.q0, [0, 0, 0, 1, 17, 0, 0, 0]);
    assert_eq!(plan.lo, [0, 256, 512, 0, 0, 0, 0, 0]);
    assert_eq!(plan.hi, [256, 512, 600, 100, 100, 0, 0, 0]);
    assert_eq!(plan.part, [0, 1, 2, 3, 19, -1, -1, -1]);
    assert_eq!((plan.first[..6].to_vec(), plan.first[21..].to_vec()), (vec![0, 3, 4, 5, 6, 7], vec![23; 4]));
    // Costs 288, 288, 160, 160, 160.
    assert_eq!((plan.turn[..5].to_vec(), plan.start.clone()), (vec![0, 2, 4, 1, 3], vec![0, 3, 5]));
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let capacity = Capacity { rows: 4, items: 3, slots: 5 };
    let mut planner =
        Planner::new(Settings { capacity, ..settings(2, 16, Reach::All, Split::Fixed(n(16)), 1) }).unwrap();
    let before = planner.plan(&[request(3, 16)]).unwrap().clone();
    for (batch, text) in [
        (vec![request(5, 1)], "the batch has 5 queries, and the plan was made for 4"),
        (vec![request(4, 32)], "the batch has 4 items, and the plan was made for 3"),
        (vec![request(2, 48)], "the batch has 6 partial results, and the plan was made for 5"),
        (vec![request(1, u32::MAX)], "a length of 4294967295 leaves the range"),
    ] {
        let error = planner.plan(&batch).unwrap_err().to_string();
        assert!(error.starts_with(text), "{error}");
        assert_eq!(*planner.last(), before);
    }
    let huge = Capacity { rows: u32::MAX, ..capacity };
    let huge = Settings { capacity: huge, ..*planner.settings() };
    assert!(matches!(Planner::new(huge), Err(PlanError::TooLarge { what: "rows", .. })));
}

/// Rows before the first key, requests without queries or keys, no requests.
#[test]
fn of_nothing_there_is_nothing() {
    let mut planner = Planner::new(settings(16, 64, Reach::Causal, Split::Balanced, 4)).unwrap();
    let plan = planner.plan(&[request(0, 100), request(5, 0), request(20, 3)]).unwrap();
    // Of 20 queries at 3 keys the last tile of 4 sees something.
    assert_eq!((plan.items, plan.q0[0], plan.lo[0], plan.hi[0]), (1, 21, 0, 3));
    assert_eq!((plan.first[21], plan.first[25]), (0, 4));
    let plan = planner.plan(&[]).unwrap();
    assert_eq!((plan.items, plan.slots, plan.rows), (0, 0, 0));
    assert!(plan.part.iter().all(|p| *p == -1) && plan.first.iter().all(|f| *f == 0));
}

fn reach() -> impl Strategy<Value = Reach> {
    prop_oneof![Just(Reach::All), Just(Reach::Causal), (0u32..300).prop_map(|left| Reach::Window { left })]
}

fn split() -> impl Strategy<Value = Split> {
    prop_oneof![
        Just(Split::None),
        Just(Split::Balanced),
        (1u32..400).prop_map(|length| Split::Fixed(n(length)))
    ]
}

fn batch() -> impl Strategy<Value = Vec<Request>> {
    let one = prop_oneof![(1u32..2), (0u32..70)].prop_flat_map(|q| (Just(q), 0u32..700));
    proptest::collection::vec(one.prop_map(|(queries, keys)| request(queries, keys)), 0..9)
}

fn sees(reach: Reach, r: Request, i: u32, j: u32) -> bool {
    let (place, j) = (i64::from(i) + i64::from(r.keys) - i64::from(r.queries), i64::from(j));
    match reach {
        Reach::All => true,
        Reach::Causal => j <= place,
        Reach::Window { left } => j <= place && j >= place - i64::from(left),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_key_is_in_one_item(
        batch in batch(), reach in reach(), split in split(), tile in 1u32..40, step in 1u32..100, blocks in 1u32..20,
    ) {
        let mut planner = Planner::new(settings(tile, step, reach, split, blocks)).unwrap();
        let plan = planner.plan(&batch).unwrap().clone();
        let row_of: Vec<u32> = batch.iter().scan(0, |at, r| { let own = *at; *at += r.queries; Some(own) }).collect();
        // How often each pair of a row and a key is in an item, and which slots are written.
        let mut slots = vec![0; plan.slots];
        let mut seen: Vec<Vec<u32>> =
            batch.iter().flat_map(|r| (0..r.queries).map(|_| vec![0; r.keys as usize])).collect();
        for w in planner.work() {
            let r = batch[w.req as usize];
            prop_assert!(w.keys.start < w.keys.end && w.keys.end <= r.keys && w.rows <= tile);
            prop_assert!(w.q0 >= row_of[w.req as usize] && w.q0 + w.rows <= row_of[w.req as usize] + r.queries);
            for row in w.q0..w.q0 + w.rows {
                let slot = w.part as i32 + plan.first[row as usize] - plan.first[w.q0 as usize];
                prop_assert!((plan.first[row as usize]..plan.first[row as usize + 1]).contains(&slot));
                slots[slot as usize] += 1;
                w.keys.clone().for_each(|j| seen[row as usize][j as usize] += 1);
            }
        }
        prop_assert!(slots.iter().all(|count| *count == 1));
        for (req, r) in batch.iter().enumerate() {
            for i in 0..r.queries {
                for (j, count) in seen[(row_of[req] + i) as usize].iter().enumerate() {
                    prop_assert!(*count == 1 || *count == 0 && !sees(reach, *r, i, j as u32), "{req} {i} {j}: {count}");
                }
            }
        }
        // A row's slots ascend with its keys.
        for row in 0..plan.rows as u32 {
            let own = planner.work().iter().filter(|w| (w.q0..w.q0 + w.rows).contains(&row));
            let mut pieces: Vec<(u32, u32)> = own.map(|w| (w.part, w.keys.start)).collect();
            pieces.sort();
            prop_assert!(pieces.windows(2).all(|p| p[0].1 < p[1].1));
        }
        // Whole steps between the ends of pieces, where pieces are cut at steps.
        if let Split::Balanced = split {
            prop_assert!(planner.work().iter().all(|w| w.keys.start % step == 0));
        }
    }

    /// Every item is some block's, once; no block has more than the mean and one item.
    #[test]
    fn blocks_have_even_work(batch in batch(), reach in reach(), split in split(), blocks in 1u32..20) {
        let mut planner = Planner::new(settings(16, 64, reach, split, blocks)).unwrap();
        let plan = planner.plan(&batch).unwrap().clone();
        let mut turn = plan.turn[..plan.items].to_vec();
        turn.sort();
        prop_assert_eq!(turn, (0..plan.items as i32).collect::<Vec<_>>());
        let costs: Vec<u64> = planner.work().iter().map(|w| w.cost).collect();
        prop_assert!(costs.windows(2).all(|pair| pair[0] >= pair[1]));
        let (total, most) = (costs.iter().sum::<u64>(), costs.first().copied().unwrap_or(0));
        for block in plan.start.windows(2) {
            let load: u64 = plan.turn[block[0] as usize..block[1] as usize].iter().map(|w| costs[*w as usize]).sum();
            prop_assert!(load <= total / u64::from(blocks) + most, "{load} of {total}, {blocks} blocks");
        }
        // Balanced pieces are no more than blocks, unless there are more tiles already.
        if split == Split::Balanced {
            let mut whole = Planner::new(settings(16, 64, reach, Split::None, blocks)).unwrap();
            let tiles = whole.plan(&batch).unwrap().items;
            prop_assert!(plan.items <= tiles.max(blocks as usize));
        }
    }

    /// With a fixed length, a request's items are those that it has alone, and its rows' slots are as many.
    #[test]
    fn a_request_does_not_see_its_batch(
        batch in batch(), reach in reach(), length in 1u32..400, blocks in 1u32..20, tile in 1u32..40,
    ) {
        let of = settings(tile, 32, reach, Split::Fixed(n(length)), blocks);
        let mut planner = Planner::new(of).unwrap();
        let plan = planner.plan(&batch).unwrap().clone();
        let mut row = 0;
        for (req, r) in batch.iter().enumerate() {
            let mut alone = Planner::new(Settings { blocks: n(1), ..of }).unwrap();
            let own = alone.plan(&[*r]).unwrap().clone();
            let items = |planner: &Planner, req: u32, row: u32| {
                let own = planner.work().iter().filter(|w| w.req == req);
                let mut own: Vec<_> = own.map(|w| (w.q0 - row, w.rows, w.keys.start, w.keys.end, w.piece)).collect();
                own.sort();
                own
            };
            prop_assert_eq!(items(&planner, req as u32, row), items(&alone, 0, 0));
            for i in 0..r.queries as usize {
                let pieces = |first: &[i32], at: usize| first[at + 1] - first[at];
                prop_assert_eq!(pieces(&plan.first, row as usize + i), pieces(&own.first, i));
            }
            row += r.queries;
        }
    }

    /// Batches of every size are planned into the same memory, and what is promised to be enough is.
    #[test]
    fn memory_stays(
        batches in proptest::collection::vec(batch(), 1..5), tile in 1u32..40, length in 0u32..300,
    ) {
        let capacity = Capacity::for_fixed(n(tile), 8, 8 * 69, 899, length);
        let split = NonZeroU32::new(length).map_or(Split::None, Split::Fixed);
        let of = Settings { capacity, ..settings(tile, 16, Reach::Causal, split, 7) };
        let mut planner = Planner::new(of).unwrap();
        let places = |plan: &Plan| plan.tensors().map(|(_, t)| (t.as_ptr(), t.len()));
        let before = places(planner.last());
        for batch in batches {
            let plan = planner.plan(&batch).unwrap();
            prop_assert_eq!(places(plan), before);
            prop_assert!(plan.part[plan.items..].iter().all(|p| *p == -1));
            prop_assert!(plan.lo[plan.items..].iter().zip(&plan.hi[plan.items..]).all(|(lo, hi)| lo == hi));
        }
    }
}
