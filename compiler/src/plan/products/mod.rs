//! Loops that multiply several times, or do more with a product than add it up: attention, gated layers, scales per block.
//!
//! A contraction is one product per step, added to what the steps before left. Here a step is a program of its own: products, elementwise
//! work and reductions on them, several carried tiles. What is multiplied either travels through shared memory or is a tile that the step
//! computed, which stays in registers:
//! ```text
//! for j over L by 64 { let s = q[i, :] @ k[j, :].T;  …  acc = acc * alpha + (p as f16) @ v[j, :]; }
//!
//! product   left operand            right operand            sum
//! s         q: staged, before all   k: staged, every step    from zero, every step
//! acc       p: registers            v: staged, every step    from acc * alpha
//! ```
//! **Registers.** All products have the same rows, those of the left operands, cut over warps in the same way. So tiles on (row, column of a product) have
//! that product's accumulator layout, what is left of them when columns are reduced fits every other product's rows, and no tile is ever
//! converted. The accumulator layout of `m16n8k16` on (i, j) is the layout of a left operand on (i, contracted j): where columns
//! go on as what the next product contracts, each warp has all of them, warps beside each other the same, and columns do not interleave.
//!
//! **Pipeline.** One ring holds the operands of a step. Copies run ahead by all slots but one; a step waits, then the copies of a later step
//! are issued, then everything is computed in the order of the text, which the assembler overlaps.
//!
//! **Several loops.** One may follow another, and stand in ordinary loops; all keep the same rows, and each has a ring of its own. A ring is filled from its
//! first slot whenever its loop begins, whichever slot the loop left it at. So a trip of an ordinary loop around one ends with what ends an item
//! of a persistent block, an op that overwrites all of shared memory as far as synchronisation is concerned:
//! ```text
//! for j over N by 64 { for k over K by 32 { acc += a[i, k] @ b[j, k].T; } best = max(best, max(acc over j)); }
//!
//! loop j   prologue of k; loop k { … }; best; item.done
//! ```
//!
//! | file | decides |
//! | --- | --- |
//! | this one | what is multiplied |
//! | [`knobs`] | warps, stages: from the schedule, completed by rules, within the budgets |
//! | [`pipeline`] | the ops of a step |

pub mod knobs;
pub mod pipeline;

use super::access::launch_scalar;
use super::contraction::{self, multiplies, strip};
use super::fragments::Part;
use super::operand::{self, Operand};
use super::refuse::Refusal;
use super::{cover, monotone, simplify};
use crate::scheduled::ir::MmaAtom;
use crate::target::Target;
use crate::tile::ir as t1;
use rustc_hash::FxHashSet;
use t1::{AxisId, Op, ValueId};

/// The loops around products.
#[derive(Clone, Debug)]
pub struct Products {
    /// In the order of the text.
    pub loops: Vec<t1::LoopId>,
    /// What all left operands keep, outermost first, and how many coordinates each has.
    pub rows: Vec<(AxisId, u32)>,
    /// In the order of the text.
    pub products: Vec<Product>,
    /// Ranges that are neither rows nor columns of a product, and their coordinates: columns of tiles that other loops compute with.
    pub others: Vec<(AxisId, u32)>,
    /// The values of the loop's body that are computed in registers.
    pub computed: FxHashSet<ValueId>,
}

/// One product of a step.
#[derive(Clone, Debug)]
pub struct Product {
    /// Whose step it is of.
    pub loop_id: t1::LoopId,
    /// The value of T1 that the accumulator holds: the product, or `start + product`.
    pub value: ValueId,
    /// What the accumulator starts from, where that is not zero.
    pub start: Option<ValueId>,
    pub atom: MmaAtom,
    pub a: Factor,
    pub b: Operand,
    /// The column of the result, and what is contracted.
    pub n: AxisId,
    pub k: AxisId,
}

/// A left operand.
#[derive(Clone, Debug)]
pub enum Factor {
    Staged(Operand),
    /// A tile of the step.
    Tile(ValueId),
    /// Rows of several ranges, the same in every step: read once, and kept in registers.
    Held(ValueId),
}

/// Whether the kernel's products are more than a plain contraction: not one loop that carries one sum of products, and no other loop.
pub fn wanted(kernel: &t1::Kernel) -> bool {
    let all = |s: &t1::Stmt| match s {
        t1::Stmt::For(l) => Some(*l),
        _ => None,
    };
    let all: Vec<t1::LoopId> = kernel.body.stmts.iter().filter_map(all).collect();
    let around = |l: &t1::LoopId| multiplies(kernel, &kernel.loop_(*l).body);
    let loops: Vec<t1::LoopId> = all.iter().copied().filter(around).collect();
    let id = match loops[..] {
        [] => return false,
        [id] if all.len() == 1 && kernel.grid_when.is_none() && steps(kernel, id) => id,
        _ => return true,
    };
    let l = kernel.loop_(id);
    let plain = match &l.carried[..] {
        [c] => match kernel.value(c.next).op {
            Op::Binary(t1::BinaryOp::Add, x, y) => {
                let product = |v: ValueId| matches!(kernel.value(strip(kernel, v)).op, Op::Mma { .. });
                // A recurrence adds to what it starts from, first of all.
                let starts = matches!(c.kind, t1::CarryKind::Assoc(_))
                    || contraction::constant(kernel, c.init).is_some();
                starts && (x == c.param && product(y) || y == c.param && product(x))
            }
            _ => false,
        },
        _ => false,
    };
    let lets = l.body.stmts.iter().all(|s| matches!(s, t1::Stmt::Let(_)));
    // What is added up may itself be made of a product of the step, as in `acc += f(x[i, :] @ v[h, :].T) @ w[j, h].T`.
    let one = l.body.stmts.iter().filter(|s| is_product(kernel, s)).count() == 1;
    lets && !(plain && one && l.when.is_none())
}

/// Whether the kernel's loops of products can be planned as its tune parameters stand: how many warps beside each other then compute the same.
pub fn fits(kernel: &t1::Kernel, target: Target) -> Option<u32> {
    let plain = simplify::apply(kernel, target);
    let found = find(&plain).ok()?;
    let knobs = knobs::read(&plain, &found, target).ok()?;
    if knobs::shared_estimate(&plain, &found, &knobs) > target.shared_limit() {
        return None;
    }
    knobs::tilings(&plain, &found, knobs.warps).iter().map(|t| t.same).max()
}

/// Whether a loop's own step multiplies, rather than a loop in it.
fn steps(kernel: &t1::Kernel, id: t1::LoopId) -> bool {
    kernel.loop_(id).body.stmts.iter().any(|s| is_product(kernel, s))
}

fn is_product(kernel: &t1::Kernel, s: &t1::Stmt) -> bool {
    matches!(s, t1::Stmt::Let(v) if matches!(kernel.value(*v).op, Op::Mma { .. }))
}

/// The loops whose steps multiply, in the order of the text.
fn loops(kernel: &t1::Kernel, block: &t1::Block, found: &mut Vec<t1::LoopId>) -> Result<(), Refusal> {
    for stmt in &block.stmts {
        match stmt {
            t1::Stmt::For(id) if !multiplies(kernel, &kernel.loop_(*id).body) => {}
            t1::Stmt::For(id) if steps(kernel, *id) => found.push(*id),
            t1::Stmt::For(id) => {
                let l = kernel.loop_(*id);
                if l.when.is_some() {
                    return Err(Refusal::construct(l.span, "a loop with `when` around a loop around `@`")
                        .note("the block would meet in the inner loop, or not, by what data says")
                        .help("bounds of the loop in place of its condition, or `when` on the inner loop"));
                }
                loops(kernel, &l.body, found)?;
            }
            t1::Stmt::Let(v) if matches!(kernel.value(*v).op, Op::Mma { .. }) => {
                let span = kernel.value(*v).span;
                return Err(Refusal::construct(span, "this `@` outside a loop")
                    .note("products of tiles that memory holds over a static range are put into a loop")
                    .help("contract in a loop: `for k over K by 32 { acc += a[i, k] @ b[j, k].T; }`"));
            }
            t1::Stmt::If(id) => {
                let i = kernel.if_(*id);
                if multiplies(kernel, &i.then_block) || multiplies(kernel, &i.else_block) {
                    return Err(Refusal::construct(i.span, "`if` around a loop in a kernel with `@`")
                        .note("the loop's ring is filled before it, whatever the condition says")
                        .help("a loop without trips does nothing: bounds that depend on the condition; `where(c, x, y)` chooses values, `place = value when c;` what is written"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The products of the kernel's loops.
pub fn find(kernel: &t1::Kernel) -> Result<Products, Refusal> {
    let mut ids = Vec::new();
    loops(kernel, &kernel.body, &mut ids)?;
    if ids.is_empty() {
        return Err(Refusal::construct(kernel.span, "`@` outside a loop"));
    }
    let mut products: Vec<Product> = Vec::new();
    for id in &ids {
        let l = kernel.loop_(*id);
        if l.axis.is_none() {
            return Err(Refusal::construct(
                l.span,
                format!("the loop over single coordinates `{}` around `@`", l.name),
            )
            .note("a matrix instruction contracts tiles")
            .help(format!("`for {} over … by 32` visits tiles", l.name)));
        }
        // The order of declared reductions' steps means nothing.
        if l.rev && !l.carried.iter().all(|c| matches!(c.kind, t1::CarryKind::Assoc(_))) {
            return Err(Refusal::construct(l.span, "a loop over `rev(…)` around `@`")
                .note("copies run ahead of a loop in ascending order only")
                .help("without `rev`; what `+=` declares a reduction leaves the order of the steps open"));
        }
        let earlier = products.len();
        for stmt in &l.body.stmts {
            if let t1::Stmt::Let(v) = stmt
                && let Op::Mma { .. } = kernel.value(*v).op
            {
                let product = product(kernel, *id, *v, &products[earlier..])?;
                products.push(product);
            }
        }
    }
    let rows = rows(kernel, &products)?;
    let computed = ids.iter().flat_map(|id| computed(kernel, kernel.loop_(*id), &products)).collect();
    let is_other = |a: &AxisId| !rows.iter().any(|(r, _)| r == a) && !products.iter().any(|p| p.n == *a);
    let all = (0..kernel.axes.len() as u32).map(AxisId);
    let others = all.filter(is_other).map(|a| (a, kernel.axis(a).extent)).collect();
    let found = Products { loops: ids, rows, products, others, computed };
    if let Some(p) = found.products.iter().find(|p| found.part(p.n).is_some()) {
        return Err(Refusal::construct(kernel.value(p.value).span, "a product of a range with itself")
            .note("rows and columns of a product are on different warps and lanes")
            .help("a second range over the same dimension, as in `let j = i.lo..i.hi by 64;`"));
    }
    Ok(found)
}

impl Product {
    /// A left operand that is read before the loop and stays in registers.
    pub fn held(&self) -> Option<ValueId> {
        match self.a {
            Factor::Held(v) => Some(v),
            Factor::Staged(_) | Factor::Tile(_) => None,
        }
    }
}

impl Products {
    /// Rows of a tile.
    pub fn height(&self) -> u32 {
        self.rows.iter().map(|(_, n)| n).product()
    }

    /// Which part of the row an axis is.
    pub fn part(&self, axis: AxisId) -> Option<Part> {
        let at = self.rows.iter().position(|(a, _)| *a == axis)?;
        if self.rows.len() == 1 {
            return Some(Part::Row);
        }
        let inner: u32 = self.rows[at + 1..].iter().map(|(_, n)| n.trailing_zeros()).sum();
        Some(Part::Rows { from: inner, bits: self.rows[at].1.trailing_zeros() })
    }

    /// Every operand that is staged: whether it is a left one, its product's number, and itself.
    pub fn staged(&self) -> impl Iterator<Item = (bool, usize, &Operand)> {
        self.products.iter().enumerate().flat_map(|(n, p)| {
            let a = match &p.a {
                Factor::Staged(a) => Some((true, n, a)),
                Factor::Tile(_) | Factor::Held(_) => None,
            };
            a.into_iter().chain([(false, n, &p.b)])
        })
    }

    /// Whether a product's columns are what another contracts.
    pub fn contracted_again(&self, p: &Product) -> bool {
        self.products.iter().any(|q| matches!(q.a, Factor::Tile(_)) && q.k == p.n)
    }

    /// Whether columns of one product are what another contracts.
    pub fn chained(&self) -> bool {
        self.products.iter().any(|p| matches!(p.a, Factor::Tile(_)))
    }
}

fn product(
    kernel: &t1::Kernel,
    loop_id: t1::LoopId,
    v: ValueId,
    before: &[Product],
) -> Result<Product, Refusal> {
    let value = kernel.value(v);
    let Op::Mma { a, b, contract, ref batch } = value.op else { unreachable!("called for products") };
    if !batch.is_empty() {
        return Err(contraction::batched(value.span));
    }
    let l = kernel.loop_(loop_id);
    let (a, b) = (strip(kernel, a), strip(kernel, b));
    let a_value = a;
    let b = operand(kernel, loop_id, b, contract)?;
    let a = if made_in_step(kernel, a, before) {
        Factor::Tile(a)
    } else if kernel.ty(a).axes.len() > 2 {
        Factor::Held(a)
    } else if let Some((negative, plain)) = monotone::turned(kernel, a) {
        let operand = operand(kernel, loop_id, plain, contract)?;
        Factor::Staged(Operand { negative: Some(negative), ..operand })
    } else {
        Factor::Staged(operand(kernel, loop_id, a, contract)?)
    };
    let ty = match &a {
        Factor::Staged(a) => a.ty,
        Factor::Tile(t) | Factor::Held(t) => operand::matrix_type(kernel.ty(*t).elem, value.span)?,
    };
    if let Factor::Held(t) = a
        && (kernel.ty(t).elem.bits() != 16 || moves(kernel, loop_id, t))
    {
        return Err(Refusal::construct(
            value.span,
            "rows of several ranges that change from step to step, or are not of 16 bits,",
        )
        .note("they are read into registers once, before the loop")
        .help("rows of one range: the others by single coordinates, as in `grid r over R`"));
    }
    if ty.bits() != b.ty.bits() {
        return Err(contraction::mixed(value.span, kernel.ty(a_value).elem, b.value));
    }
    if let Factor::Tile(t) = a {
        let known = |p: &&Product| p.n == contract;
        if kernel.ty(t).elem.bits() != 16 || !before.iter().any(|p| known(&p)) {
            return Err(Refusal::construct(value.span, "this computed left operand of `@`")
                .note("a tile of f16 or bf16 whose contracted range is the columns of an earlier product is lowered today")
                .help("`as f16` or `as bf16` on it; what is no product's columns is written first, and read by a loop behind"));
        }
    }
    // `x + a @ b` where the product goes nowhere else.
    let users: Vec<ValueId> = l
        .body
        .stmts
        .iter()
        .filter_map(|s| match s {
            t1::Stmt::Let(u) if kernel.value(*u).op.operands().contains(&v) => Some(*u),
            _ => None,
        })
        .collect();
    let carried = l.carried.iter().any(|c| c.next == v);
    let (value, start) = match users[..] {
        [u] if !carried => match kernel.value(u).op {
            Op::Binary(t1::BinaryOp::Add, x, y) if (x == v) != (y == v) => {
                (u, Some(if x == v { y } else { x }))
            }
            _ => (v, None),
        },
        _ => (v, None),
    };
    let atom = MmaAtom { a: ty, b: b.ty };
    Ok(Product { loop_id, value, start, atom, a, n: b.outer, k: contract, b })
}

/// An operand that travels through shared memory.
fn operand(kernel: &t1::Kernel, loop_id: t1::LoopId, v: ValueId, k: AxisId) -> Result<Operand, Refusal> {
    let operand = operand::operand(kernel, v, k, kernel.loop_(loop_id).axis)?;
    let span = kernel.value(v).span;
    operand::check(kernel, &operand, span)?;
    let moving = kernel.loop_(loop_id).axis;
    let range = operand.gather_axis();
    // Rows that stay where they are while the loop moves along them.
    let kept =
        range == Some(operand.outer) && moving.is_some() && operand.ix.last().map(|i| i.axis) == Some(moving);
    if let Some(dim) = operand.ix.iter().position(|i| i.checked && i.axis.is_some() && !kept) {
        return Err(cover::may_leave(kernel, operand.tensor, dim, &operand.ix[dim], span));
    }
    if range.is_some() && !kept && range != Some(operand.down(moving, k)) {
        let name = &kernel.tensor(operand.tensor).name;
        return Err(Refusal::construct(
            span,
            format!("`{name}`, looked up along another range than its copies go,"),
        )
        .note("the threads that copy a row are the ones that look it up")
        .help("look it up along the loop's range, or write the rows in order in a kernel before this one"));
    }
    Ok(operand)
}

/// Whether a value comes from what the step has computed, or the step before: not from memory alone.
fn made_in_step(kernel: &t1::Kernel, v: ValueId, before: &[Product]) -> bool {
    match &kernel.value(v).op {
        Op::Mma { .. } | Op::LoopParam(..) | Op::Reduce { .. } | Op::Scan { .. } => true,
        _ if before.iter().any(|p| p.value == v) => true,
        op => op.operands().into_iter().any(|x| made_in_step(kernel, x, before)),
    }
}

/// Whether a value depends on where the loop stands.
pub fn moves(kernel: &t1::Kernel, id: t1::LoopId, v: ValueId) -> bool {
    match &kernel.value(v).op {
        Op::LoopVar(l) => *l == id,
        Op::Iota(a) => kernel.axis(*a).kind == t1::AxisKind::Loop(id),
        op => op.operands().into_iter().any(|x| moves(kernel, id, x)),
    }
}

/// The axes that every left operand keeps.
fn rows(kernel: &t1::Kernel, products: &[Product]) -> Result<Vec<(AxisId, u32)>, Refusal> {
    let mut rows: Option<Vec<AxisId>> = None;
    for p in products {
        let span = kernel.value(p.value).span;
        let kept = match &p.a {
            Factor::Staged(a) => vec![a.outer],
            Factor::Tile(t) | Factor::Held(t) => {
                kernel.ty(*t).axes.iter().copied().filter(|a| *a != p.k).collect::<Vec<_>>()
            }
        };
        let same = |rows: &Vec<AxisId>| rows.len() == kept.len() && kept.iter().all(|a| rows.contains(a));
        if rows.as_ref().is_some_and(|rows| !same(rows)) {
            return Err(Refusal::construct(
                span,
                "products that keep different ranges of their left operands",
            )
            .note("products of the same rows in one loop are lowered today: so no tile changes its lanes on the way")
            .help("a kernel for each"));
        }
        rows.get_or_insert(kept);
    }
    let rows = rows.unwrap_or_default();
    let several = rows.len() > 1;
    let sized = |a: AxisId| (a, kernel.axis(a).extent);
    let sized: Vec<(AxisId, u32)> = rows.into_iter().map(sized).collect();
    if several && sized.iter().any(|(_, n)| !n.is_power_of_two()) {
        return Err(Refusal::schedule(
            kernel.span,
            "several ranges make up the rows of this loop's products, and not all are a power of two",
            "sizes that are powers of two",
        ));
    }
    Ok(sized)
}

/// What registers compute in a step: everything that a carried value needs, but what staged operands are read as.
fn computed(kernel: &t1::Kernel, l: &t1::Loop, products: &[Product]) -> FxHashSet<ValueId> {
    let mut done = FxHashSet::default();
    let mut open: Vec<ValueId> = l.carried.iter().map(|c| c.next).collect();
    open.extend(l.when.iter().map(|w| w.cond));
    while let Some(v) = open.pop() {
        if launch_scalar(kernel, v) || !done.insert(v) {
            continue;
        }
        match products.iter().find(|p| p.value == v) {
            Some(p) => {
                open.extend(p.start);
                if let Factor::Tile(t) = p.a {
                    open.push(t);
                }
            }
            None => open.extend(kernel.value(v).op.operands()),
        }
    }
    done
}
