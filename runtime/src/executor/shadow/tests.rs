use super::*;

fn at(warp: usize, line: u32) -> Agent {
    Agent { warp, lane: 0, line }
}

fn barrier(shadow: &mut Shadow, warps: usize) {
    let mut clock = Published::default();
    (0..warps).for_each(|w| shadow.publish(w, &mut clock));
    (0..warps).for_each(|w| shadow.synchronise(w, &clock));
}

#[test]
fn a_barrier_orders_a_write_before_a_read() {
    let mut shadow = Shadow::new(64, 2);
    assert_eq!(shadow.touch(at(0, 1), Touch::Write, 0, 4), None);
    barrier(&mut shadow, 2);
    assert_eq!(shadow.touch(at(1, 2), Touch::Read, 0, 4), None);
    let fault = shadow.touch(at(0, 3), Touch::Write, 0, 4).expect("write after read without a barrier");
    assert_eq!((fault.kind, fault.other_line, fault.other_writes), (FindingKind::Race, Some(2), false));
}

#[test]
fn without_a_barrier_it_is_a_race_whatever_the_order() {
    let mut shadow = Shadow::new(64, 2);
    shadow.touch(at(0, 1), Touch::Write, 8, 4);
    assert_eq!(shadow.touch(at(1, 2), Touch::Read, 8, 4).map(|f| f.kind), Some(FindingKind::Race));
    let mut shadow = Shadow::new(64, 2);
    assert_eq!(shadow.touch(at(1, 2), Touch::Read, 8, 4).map(|f| f.kind), Some(FindingKind::Uninitialized));
    assert_eq!(shadow.touch(at(0, 1), Touch::Write, 8, 4).map(|f| f.kind), Some(FindingKind::Race));
}

#[test]
fn neighbouring_halves_do_not_race() {
    let mut shadow = Shadow::new(64, 2);
    assert_eq!(shadow.touch(at(0, 1), Touch::Write, 0, 2), None);
    assert_eq!(shadow.touch(at(1, 2), Touch::Write, 2, 2), None);
    assert_eq!(shadow.touch(at(1, 2), Touch::Write, 1, 1).map(|f| f.offset), Some(1));
}

#[test]
fn every_reader_must_be_ordered_before_the_next_write() {
    let mut shadow = Shadow::new(64, 3);
    shadow.touch(at(0, 1), Touch::Write, 0, 4);
    barrier(&mut shadow, 3);
    assert_eq!(shadow.touch(at(1, 2), Touch::Read, 0, 4), None);
    assert_eq!(shadow.touch(at(2, 3), Touch::Read, 0, 4), None);
    // Only warps 0 and 2 meet; warp 1's read stays unordered.
    let mut clock = Published::default();
    shadow.publish(0, &mut clock);
    shadow.publish(2, &mut clock);
    shadow.synchronise(0, &clock);
    shadow.synchronise(2, &clock);
    assert_eq!(shadow.touch(at(0, 4), Touch::Write, 0, 4).and_then(|f| f.other_line), Some(2));
}

#[test]
fn a_copy_in_flight_must_not_be_touched() {
    let mut shadow = Shadow::new(64, 1);
    assert_eq!(shadow.issue(at(0, 5), 16, 16), None);
    let fault = shadow.touch(at(0, 6), Touch::Read, 20, 4).expect("read of bytes in flight");
    assert_eq!((fault.kind, fault.other_line), (FindingKind::AsyncInFlight, Some(5)));
    assert_eq!(shadow.complete(at(0, 7), 16, 16, None).map(|f| f.kind), None);
    assert_eq!(shadow.touch(at(0, 8), Touch::Read, 20, 4), None);
}

#[test]
fn a_completed_copy_is_visible_to_its_own_lane_until_the_lanes_meet() {
    let mut shadow = Shadow::new(64, 1);
    shadow.issue(at(0, 1), 0, 16);
    shadow.complete(at(0, 1), 0, 16, None);
    assert_eq!(shadow.touch(at(0, 2), Touch::Read, 0, 4), None);
    let other = Agent { warp: 0, lane: 3, line: 2 };
    assert_eq!(shadow.touch(other, Touch::Read, 0, 4).map(|f| f.kind), Some(FindingKind::Race));
    shadow.advance(0);
    assert_eq!(shadow.touch(other, Touch::Read, 4, 4), None);
}

#[test]
fn an_issue_must_be_ordered_after_the_readers_of_the_old_contents() {
    let mut shadow = Shadow::new(64, 2);
    shadow.touch(at(0, 1), Touch::Write, 0, 16);
    barrier(&mut shadow, 2);
    assert_eq!(shadow.touch(at(1, 2), Touch::Read, 0, 16), None);
    assert_eq!(shadow.issue(at(0, 3), 0, 16).map(|f| f.kind), Some(FindingKind::Race));
}

#[test]
fn atomics_do_not_race_with_each_other() {
    let mut shadow = Shadow::new(64, 2);
    shadow.touch(at(0, 1), Touch::Write, 0, 4);
    barrier(&mut shadow, 2);
    assert_eq!(shadow.touch(at(0, 2), Touch::Atomic, 0, 4), None);
    assert_eq!(shadow.touch(at(1, 2), Touch::Atomic, 0, 4), None);
    assert_eq!(shadow.touch(at(1, 3), Touch::Read, 0, 4), None);
    assert_eq!(shadow.touch(at(0, 4), Touch::Read, 0, 4).map(|f| f.kind), Some(FindingKind::Race));
}
