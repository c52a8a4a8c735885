//! What follows the loop that blocks share out (`k.split = stream`): whoever finishes a tile goes on with it.
//!
//! An item is a tile's steps or a part of them. Most items are whole tiles, and for those nothing is put or counted:
//! ```text
//! %part = item.part
//! %others = if %part { work.put acc <- %acc; %more = work.last k_part; yield %more } else { yield %part }
//! if %others {
//! } else {
//!     %whole = if %part { for k_part over instances carry %total … yield %total } else { yield %acc }
//!     write.reg c[i, j] <- %whole
//! }
//! item.done
//! ```
//! The parts of a tile are added in ascending order of blocks, which is the order of their steps: for a number of blocks the result has
//! the same bits in every run.

use super::across_grid::Survey;
use super::general::General;
use super::refuse::Refusal;
use crate::diagnostics::Span;
use crate::scheduled::ir::*;
use crate::tile::ir as t1;
use t1::{Op as T1, ValueId};

impl General<'_> {
    /// The statements from the reductions over a tile's items on.
    pub(super) fn across_items(
        &mut self,
        var: t1::GridId,
        reductions: &[ValueId],
        stmts: &[&t1::Stmt],
    ) -> Result<(), Refusal> {
        let kernel = self.kernel;
        let span = kernel.value(reductions[0]).span;
        let mut sums = Vec::new();
        for v in reductions {
            let T1::GridReduce { x, .. } = kernel.value(*v).op else { continue };
            sums.push((*v, x, self.value(x)?));
        }
        let part = self.flag("part", span)?;
        self.push(OpKind::ItemPart, Some(part), span);

        self.open.push(Vec::new());
        let mut places = Vec::new();
        for (_, x, value) in &sums {
            let work = self.place(*value);
            self.push(OpKind::WorkPut { work, value: *value }, None, span);
            places.push((*x, work));
        }
        let more = self.flag("more", span)?;
        self.push(OpKind::WorkLast { var }, Some(more), span);
        let put = self.open.pop().unwrap_or_default();
        let others = self.flag("others", span)?;
        let merges = vec![Merge { then_value: more, else_value: part, result: others }];
        self.push_if(If { cond: part, then_body: put, else_body: Vec::new(), merges, span });

        self.open.push(Vec::new());
        self.whole(var, part, &sums, &places, span)?;
        for stmt in stmts {
            match stmt {
                t1::Stmt::Let(v) if reductions.contains(v) => {}
                // Whichever block comes last writes.
                t1::Stmt::Write(w) => {
                    let once_over = w.once_over.iter().copied().filter(|g| *g != var).collect();
                    self.write(&t1::Write { once_over, ..w.clone() })?;
                }
                other => self.statements(std::iter::once(*other))?,
            }
        }
        let rest = self.open.pop().unwrap_or_default();
        self.push_if(If { cond: others, then_body: Vec::new(), else_body: rest, merges: Vec::new(), span });
        Ok(())
    }

    /// The sums over all items of the tile, from the workspace unless the block has done every step.
    fn whole(
        &mut self,
        var: t1::GridId,
        part: ValId,
        sums: &[(ValueId, ValueId, ValId)],
        places: &[(ValueId, WorkId)],
        span: Span,
    ) -> Result<(), Refusal> {
        let kernel = self.kernel;
        let reductions: Vec<ValueId> = sums.iter().map(|(v, ..)| *v).collect();
        self.open.push(Vec::new());
        self.reduce_instances(var, &reductions, places, &mut Survey::new(kernel, var))?;
        let then_body = self.open.pop().unwrap_or_default();
        let mut merges = Vec::new();
        for (v, _, own) in sums {
            let ty = &kernel.value(*v).ty;
            let result =
                self.tile(ty.elem, &ty.axes, format!("{}.whole", self.module.value(*own).name), span)?;
            let then_value = self.value(*v)?;
            merges.push(Merge { then_value, else_value: *own, result });
            self.values.insert(*v, result);
        }
        self.push_if(If { cond: part, then_body, else_body: Vec::new(), merges, span });
        Ok(())
    }

    /// A `bool` without axes.
    fn flag(&mut self, name: &str, span: Span) -> Result<ValId, Refusal> {
        self.tile(t1::ElemType::Bool, &[], name, span)
    }

    fn push_if(&mut self, i: If) {
        if let Some(list) = self.open.last_mut() {
            list.push(Node::If(i));
        }
    }
}
