//! Random programs: what derivation yields must satisfy the oracle, and nothing of it may be superfluous.

use proptest::prelude::*;

use super::super::model::*;
use super::super::{SyncError, derive, print};
use super::oracle;

/// One operation, before resources are known.
#[derive(Clone, Debug)]
struct Spec {
    kind: u8,
    resource: u8,
    ring: i32,
    write: bool,
    part: u8,
    guarded: bool,
    commit: bool,
}

fn spec() -> impl Strategy<Value = Spec> {
    (0u8..10, 0u8..4, -1i32..4, any::<bool>(), 0u8..8, any::<bool>(), any::<bool>()).prop_map(
        |(kind, resource, ring, write, part, guarded, commit)| Spec {
            kind,
            resource,
            ring,
            write,
            part,
            guarded,
            commit,
        },
    )
}

#[derive(Clone, Debug)]
struct Plan {
    warps: u32,
    slots: (u32, u32),
    overlap: bool,
    prologue: Vec<Spec>,
    body: Vec<Spec>,
    /// 0 plain, 1 nested loop, 2 branch in the body, 3 two segments, 4 unrolled twice.
    shape: u8,
    inner: Vec<Spec>,
    epilogue: Vec<Spec>,
    at_least_once: bool,
    no_gap: bool,
    /// Every operation is its own group, so that there is always a place to wait for it.
    own_groups: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let ops = |n| prop::collection::vec(spec(), 0..n);
    (
        (prop_oneof![Just(1u32), Just(2), Just(4)], (1u32..5, 1u32..4), any::<bool>()),
        (ops(4), ops(5), 0u8..5, ops(3), ops(3)),
        (any::<bool>(), prop::bool::weighted(0.2), any::<bool>()),
    )
        .prop_map(
            |(
                (warps, slots, overlap),
                (prologue, body, shape, inner, epilogue),
                (at_least_once, no_gap, own_groups),
            )| {
                Plan {
                    warps,
                    slots,
                    overlap,
                    prologue,
                    body,
                    shape,
                    inner,
                    epilogue,
                    at_least_once,
                    no_gap,
                    own_groups,
                }
            },
        )
}

struct Builder {
    next: u32,
    resources: Vec<ResourceId>,
    counter: CounterId,
    own_groups: bool,
}

impl Builder {
    fn ops(&mut self, specs: &[Spec]) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut open: Vec<Class> = Vec::new();
        for s in specs {
            let id = self.next;
            self.next += 1;
            let resource = self.resources[usize::from(s.resource) % 3];
            let acc = self.resources[3];
            let mode = if s.write { Mode::Write } else { Mode::Read };
            let part = match s.part {
                0 => Part::Thread(0),
                1 => Part::Thread(1),
                2 => Part::Warp(0),
                _ => Part::Any,
            };
            let op = match s.kind {
                0..=3 => Op::new(id, "use").touches(resource, s.ring, mode, part),
                4 | 5 => Op::cp_async(id, "copy").touches(resource, s.ring, Mode::Write, part),
                6 => Op::wgmma(id, "mma").reads(resource, s.ring).touches(acc, 0, Mode::Write, Part::Any),
                7 => Op::new(id, "acc").touches(acc, 0, mode, Part::Any),
                8 => {
                    Op { threads: Threads::Elect, ..Op::new(id, "one").touches(resource, s.ring, mode, part) }
                }
                _ => Op {
                    threads: Threads::Elect,
                    proxy: Proxy::Async,
                    completion: Completion::Fifo(Class::BulkRead),
                    ..Op::new(id, "bulk").reads(resource, s.ring)
                },
            };
            // The analysis understands guards that speak of the ring number which is touched; others cost precision.
            let on_ring = s.kind < 6 && s.ring >= 0 && resource != self.resources[2];
            let op = if s.guarded && on_ring { op.guarded(self.counter, s.ring) } else { op };
            if let Completion::Fifo(class) = op.completion
                && !open.contains(&class)
            {
                open.push(class);
            }
            nodes.push(Node::Op(op));
            if s.commit || self.own_groups {
                nodes.extend(open.drain(..).map(Node::Commit));
            }
        }
        nodes.extend(open.drain(..).map(Node::Commit));
        nodes
    }
}

fn build(plan: &Plan) -> Program {
    let mut p = Program { name: "random".into(), ..Program::default() };
    let k = p.add_counter("k");
    let a = p.add_ring("A", plan.slots.0, k);
    let b = p.add_ring("B", plan.slots.1, k);
    let c = p.add_buffer("C");
    let acc = p.add_resource("acc", ResourceKind::Acc, 1, None);
    if plan.overlap {
        p.overlaps.push((a, c));
    }
    let mut builder =
        Builder { next: 0, resources: vec![a, b, c, acc], counter: k, own_groups: plan.own_groups };
    let mut code = builder.ops(&plan.prologue);
    let mut body = builder.ops(&plan.body);
    if plan.no_gap && body.len() > 2 {
        body.insert(1, Node::NoGap);
    }
    let repeat = |body| Node::Loop(Loop { label: "k".into(), min_trips: plan.at_least_once.into(), body });
    let inner = builder.ops(&plan.inner);
    match plan.shape {
        1 => body.push(Node::repeat("inner", inner)),
        2 => body.push(Node::Branch(vec![inner, Vec::new()])),
        3 => {
            let mut first = inner;
            first.push(Node::Advance(k));
            code.push(repeat(first));
        }
        4 => {
            body.push(Node::Advance(k));
            body.extend(inner);
        }
        _ => {}
    }
    body.push(Node::Advance(k));
    code.push(repeat(body));
    code.push(Node::End(k));
    code.extend(builder.ops(&plan.epilogue));
    p.add_role("math", plan.warps, code);
    p
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn derivation_is_complete_and_irredundant(plan in plan()) {
        let program = build(&plan);
        match derive(&program) {
            Ok(synced) => {
                let trips = 2 * plan.slots.0.max(plan.slots.1) + 4;
                let checked = oracle::check(&synced, trips, 400);
                prop_assert!(checked.is_ok(), "{}\n{}", checked.unwrap_err(), print::synced(&synced));
            }
            Err(SyncError::NoPlace(_)) if plan.no_gap || !plan.own_groups => {}
            Err(other) => prop_assert!(false, "{other}\n{}", print::program(&program)),
        }
    }
}
