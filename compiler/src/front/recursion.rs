//! Functions are inlined and constants are computed, so neither may use itself, directly or through others.

use super::program::Res;
use super::resolve::Resolver;
use crate::diagnostics::{Diagnostic, Span, codes};
use std::collections::{HashMap, HashSet};

/// Reports each circle once.
pub fn check(r: &mut Resolver) {
    let mut edges: HashMap<Res, Vec<(Res, Span)>> = HashMap::new();
    let mut order = vec![];
    for (from, to, span) in &r.uses {
        if !edges.contains_key(from) {
            order.push(*from);
        }
        edges.entry(*from).or_default().push((*to, *span));
    }
    let mut done: HashSet<Res> = HashSet::new();
    for start in order {
        if done.contains(&start) {
            continue;
        }
        // The path walked so far: an item and how many of its edges are taken. A stack of our own, as chains of calls may be long.
        let mut path: Vec<(Res, usize)> = vec![(start, 0)];
        while let Some((item, taken)) = path.last_mut() {
            let next = edges.get(item).and_then(|e| e.get(*taken)).copied();
            *taken += 1;
            let Some((to, _)) = next else {
                done.insert(*item);
                path.pop();
                continue;
            };
            if let Some(at) = path.iter().position(|(i, _)| *i == to) {
                let circle: Vec<(Res, Span)> =
                    path[at..].iter().map(|(i, n)| (*i, edges[i][n - 1].1)).collect();
                report(r, &circle);
            } else if !done.contains(&to) {
                path.push((to, 0));
            }
        }
    }
}

fn name(r: &Resolver, item: Res) -> (String, Span) {
    match item {
        Res::Fn(id) => {
            let f = &r.items.fns[id.0 as usize].name;
            (f.to_string(), f.span)
        }
        Res::Const(id) => {
            let c = &r.items.consts[id.0 as usize].name;
            (c.to_string(), c.span)
        }
        _ => (String::new(), Span::default()),
    }
}

fn report(r: &mut Resolver, circle: &[(Res, Span)]) {
    let Some((first, use_at)) = circle.first().copied() else { return };
    let (who, at) = name(r, first);
    let what =
        if matches!(first, Res::Fn(_)) { "a function calls itself" } else { "a constant is made of itself" };
    let mut d = Diagnostic::error(codes::RECURSION, format!("{what}: `{who}`"));
    if circle.len() == 1 {
        d = d.label(use_at, "used inside itself").secondary(at, "defined here");
    } else {
        d = d.label(at, "the circle starts here");
        for (n, (item, span)) in circle.iter().enumerate() {
            let to = name(r, circle[(n + 1) % circle.len()].0).0;
            d = d.secondary(*span, format!("`{}` uses `{to}`", name(r, *item).0));
        }
    }
    if matches!(first, Res::Fn(_)) {
        d = d.note("functions are inlined; a `for` loop repeats");
    }
    r.diagnostics.push(d);
}
