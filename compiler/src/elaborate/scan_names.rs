//! What a block assigns: the variables from outside that a loop or conditional may change.

use crate::front::ast::{Block, Expr, ExprKind, Pattern, Stmt, StmtKind};
use crate::front::{LocalId, Program, Res};

/// Locals that statements in these blocks assign and that are not declared in them, in order of first assignment.
pub(super) fn assigned(program: &Program, blocks: &[&Block]) -> Vec<LocalId> {
    let mut scan = Scan { program, assigned: Vec::new(), declared: Vec::new() };
    for b in blocks {
        scan.block(b);
    }
    let Scan { assigned, declared, .. } = scan;
    assigned.into_iter().filter(|l| !declared.contains(l)).collect()
}

struct Scan<'p> {
    program: &'p Program,
    assigned: Vec<LocalId>,
    declared: Vec<LocalId>,
}

impl Scan<'_> {
    fn block(&mut self, b: &Block) {
        for s in &b.stmts {
            self.stmt(s);
        }
    }

    fn stmt(&mut self, s: &Stmt) {
        match &s.kind {
            StmtKind::Let { pattern, .. } => {
                let names: Vec<_> = match pattern {
                    Pattern::Name(n) => vec![n],
                    Pattern::Tuple { names, .. } => names.iter().flatten().collect(),
                };
                for n in names {
                    if let Res::Local(l) = self.program.res(n) {
                        self.declared.push(l);
                    }
                }
            }
            StmtKind::Assign { place, .. } | StmtKind::Update { place, .. } => self.place(place),
            StmtKind::For { body, .. } => self.block(body),
            StmtKind::If { then, otherwise, .. } => {
                self.block(then);
                if let Some(b) = otherwise {
                    self.block(b);
                }
            }
            StmtKind::Grid { body: Some(b), .. } | StmtKind::Error { body: Some(b), .. } => self.block(b),
            _ => {}
        }
    }

    fn place(&mut self, place: &Expr) {
        match &place.kind {
            ExprKind::Name(n) => {
                if let Res::Local(l) = self.program.res(n)
                    && !self.assigned.contains(&l)
                {
                    self.assigned.push(l);
                }
            }
            ExprKind::Tuple(items) => items.iter().for_each(|i| self.place(i)),
            _ => {}
        }
    }
}
