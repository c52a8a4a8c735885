//! Where lines end: at the author's breaks, put where they belong, and at more of them in lines that are too long.
//!
//! ```text
//! f(a,          f(          a +        a             f(aaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbbbbbbbbb)     f(
//!   b)    stays,  a,  stays,  b    →     + b  and                                                    →      aaaaaaaaaaaaaaaaa, …,
//!                 b,                                                                                    )
//!              )
//! ```
//!
//! Invariant: breaks are only added. A break that is kept once is kept when the output is read again, which is why formatting twice changes nothing.

use super::WIDTH;
use super::emit::{Line, Place};
use super::pieces::{BlockKind, Group, Piece, Role};
use crate::front::lexer::Token;

/// For each token, whether a line break stands before it. Statements and the brackets of blocks follow `open_blocks`.
pub struct Breaks {
    pub before: Vec<bool>,
    /// For each opening bracket of a block, whether its statements have lines of their own.
    pub open_blocks: Vec<bool>,
    /// The block around each block, and the blocks of the same `if` (from either side).
    around: Vec<Vec<usize>>,
}

impl Breaks {
    /// What the source asks for.
    pub fn read(all: &[Piece<'_>]) -> Breaks {
        let n = all.len();
        let mut b = Breaks { before: vec![false; n], open_blocks: vec![false; n], around: vec![vec![]; n] };
        let asked = |i: usize| i < n && (all[i].newline || !all[i].comments.is_empty());
        for i in 0..n {
            let previous = i.checked_sub(1).map(|p| all[p].role);
            let kept = match (previous, all[i].role) {
                (_, Role::Close(_) | Role::Open(Group::Block(_))) => false,
                (Some(Role::Open(Group::Block(_))), _) | (None, _) => false,
                (Some(Role::Open(_) | Role::Comma | Role::Assign), _) | (_, Role::Clause) => asked(i),
                // A break behind an operator goes before it.
                (_, Role::Binary(_)) => {
                    asked(i) || (asked(i + 1) && all.get(i + 1).is_some_and(|p| p.comments.is_empty()))
                }
                _ => false,
            };
            b.before[i] = kept || (!all[i].comments.is_empty() && !matches!(all[i].role, Role::Close(_)));
            // A comment before a closing bracket: it and what it closes have lines of their own.
            let open = all[i].partner;
            if matches!(all[i].role, Role::Close(_)) && !all[i].comments.is_empty() && open + 1 < i {
                b.before[open + 1] = true;
            }
        }
        b.relate(all);
        let mut breaks = 0;
        // How many line breaks and comments stand before each token, itself included.
        let sums: Vec<usize> = (0..n)
            .map(|i| {
                breaks += usize::from(asked(i));
                breaks
            })
            .collect();
        for i in 0..n {
            let Role::Open(Group::Block(kind)) = all[i].role else { continue };
            let close = all[i].partner;
            let several = match kind {
                BlockKind::Plain => all[i].count > 1,
                // A `let` and the value.
                BlockKind::Fn => all[i].count > 2,
                BlockKind::Kernel => true,
                BlockKind::Schedule => false,
            };
            let empty = close == i + 1 && all[close].comments.is_empty();
            if !empty && (several || sums[close] > sums[i]) {
                b.open_block(all, i);
            }
        }
        b
    }

    /// Notes which blocks open together.
    fn relate(&mut self, all: &[Piece<'_>]) {
        let mut stack: Vec<usize> = vec![];
        // The last closed block, where an `else` may follow, by its closing bracket.
        let mut chain: Option<usize> = None;
        for i in 0..all.len() {
            match all[i].role {
                Role::Open(Group::Block(_)) => {
                    self.around[i].extend(stack.last());
                    if let Some(before) = chain.take() {
                        self.around[i].push(before);
                        self.around[before].push(i);
                    }
                    stack.push(i);
                }
                Role::Close(Group::Block(_)) => {
                    stack.pop();
                    chain = all.get(i + 1).filter(|p| p.kind == Token::Else).map(|_| all[i].partner);
                }
                _ => {}
            }
        }
    }

    /// Gives the statements of a block lines of their own, and those of the blocks that must go with it.
    fn open_block(&mut self, all: &[Piece<'_>], block: usize) {
        let mut work = vec![block];
        while let Some(i) = work.pop() {
            let empty = all[i].partner == i + 1 && all[i + 1].comments.is_empty();
            if !self.open_blocks[i] && !empty {
                self.open_blocks[i] = true;
                work.extend(&self.around[i]);
            }
        }
    }

    /// Breaks a line that is too long. False where nothing can be done.
    pub fn relieve(&mut self, all: &[Piece<'_>], line: &Line, at: &[Place]) -> bool {
        let (first, last) = (line.first, line.last);
        for i in first..=last {
            let block = matches!(all[i].role, Role::Open(Group::Block(_)));
            if block && all[i].partner <= last && !self.open_blocks[i] && all[i].partner > i + 1 {
                self.open_block(all, i);
                return true;
            }
        }
        let points = Points::read(all, first, last);
        let head = all[first].kind == Token::Kernel && all[first].starts == first;
        if head {
            let group = |wanted| points.groups.iter().copied().find(|g| all[*g].role == Role::Open(wanted));
            if let Some(params) = group(Group::Call)
                && self.spread(all, params)
            {
                return true;
            }
            if let Some(generics) = group(Group::Angle) {
                let end = all[generics].partner.min(last);
                let inside = Points::read(all, generics + 1, end.saturating_sub(1));
                if self.fill(&inside.steps, line, at) || self.spread(all, generics) {
                    return true;
                }
            }
        }
        if all[first].kind == Token::Fn
            && all[first].starts == first
            && let Some(value) = points.assigns.first()
        {
            return self.cut(*value);
        }
        if self.fill(&points.steps, line, at) {
            return true;
        }
        if let Some(loosest) = points.operators.iter().map(|(p, _)| *p).min() {
            let here: Vec<usize> =
                points.operators.iter().filter(|(p, _)| *p == loosest).map(|(_, i)| *i).collect();
            if self.fill(&here, line, at) {
                return true;
            }
        }
        let crosses = |g: &&usize| at[all[**g].partner.min(last)].end() > WIDTH;
        let width = |g: &&usize| at[all[**g].partner.min(last)].end() - at[**g].column;
        let group = points.groups.iter().find(crosses).or(points.groups.iter().max_by_key(width));
        if let Some(group) = group.filter(|g| width(g) > 12)
            && self.spread(all, *group)
        {
            return true;
        }
        points.assigns.first().is_some_and(|value| self.cut(*value))
    }

    /// A break before a token; false where there is one.
    fn cut(&mut self, before: usize) -> bool {
        !std::mem::replace(&mut self.before[before], true)
    }

    /// What a bracket holds gets lines of its own.
    fn spread(&mut self, all: &[Piece<'_>], open: usize) -> bool {
        all[open].partner > open + 1 && self.cut(open + 1)
    }

    /// Breaks before as few of these tokens as make the line's parts fit, each part as long as it can be.
    fn fill(&mut self, points: &[usize], line: &Line, at: &[Place]) -> bool {
        let mut shift = 0isize;
        let mut changed = false;
        for (n, point) in points.iter().enumerate() {
            let next = points.get(n + 1).map_or(line.last + 1, |p| *p);
            // The part up to the next point, with the comma that ends it.
            let end = at[next - 1].end() as isize;
            if end + shift > WIDTH as isize && !self.before[*point] {
                shift = at[*point].indent as isize - at[*point].column as isize;
                changed |= self.cut(*point);
            }
        }
        changed
    }
}

/// Where a line may break, directly at its own level of brackets.
#[derive(Default)]
struct Points {
    /// Tokens behind a comma, and clauses.
    steps: Vec<usize>,
    /// Operators, with how tightly they bind.
    operators: Vec<(u8, usize)>,
    /// Tokens behind a `=`.
    assigns: Vec<usize>,
    /// Opening brackets.
    groups: Vec<usize>,
}

impl Points {
    fn read(all: &[Piece<'_>], first: usize, last: usize) -> Points {
        let mut points = Points::default();
        let mut i = first;
        while i <= last {
            match all[i].role {
                Role::Comma if i < last => points.steps.push(i + 1),
                Role::Clause if i > first => points.steps.push(i),
                Role::Binary(p) if i > first => points.operators.push((p, i)),
                Role::Assign if i < last => points.assigns.push(i + 1),
                Role::Open(group) if !matches!(group, Group::Block(_)) => {
                    points.groups.push(i);
                    i = all[i].partner;
                }
                _ => {}
            }
            i += 1;
        }
        points
    }
}
