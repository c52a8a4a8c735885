//! From decoded instructions to the final program: blocks, their order, what is live, and segments.
//!
//! **Order.** Blocks are placed in reverse post-order, successors that come later in the source visited first, so that a loop's body
//! stays together and its exit comes after it. A block whose fall-through is not placed next gets a jump.
//!
//! **Liveness** is computed on PTX registers, backwards over the blocks. A guarded definition does not end a register's life,
//! since the lanes that are off keep the old value. A segment stores only what is live behind it.
//!
//! **Segments** are maximal runs of lane operations within a block. When one instruction mixes lane operations and steps, the
//! temporaries it defines are stored too, since they cross the step.

use super::super::frame::{PredId, R32, R64};
use super::super::launch::ExecError;
use super::super::program::{LaneOp, LiveOut, Program, Segment, Step, StepKind, ValP};
use super::emit::{Decoder, Home};
use super::flatten::{Flat, Piece, Reg};
use super::{Decoded, Item};

/// What a lane operation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Def {
    Cell32(R32),
    Cell64(R64),
    Pred(PredId),
}

pub(super) fn lane_def(op: &LaneOp) -> Def {
    match *op {
        LaneOp::Mov32 { d, .. }
        | LaneOp::Int32 { d, .. }
        | LaneOp::Shift32 { d, .. }
        | LaneOp::Low { d, .. }
        | LaneOp::High { d, .. }
        | LaneOp::F32 { d, .. }
        | LaneOp::Fma32 { d, .. }
        | LaneOp::Flush32 { d, .. }
        | LaneOp::Bytes { d, .. }
        | LaneOp::Select32 { d, .. } => Def::Cell32(d),
        LaneOp::Mov64 { d, .. }
        | LaneOp::Int64 { d, .. }
        | LaneOp::Shift64 { d, .. }
        | LaneOp::MulWide { d, .. }
        | LaneOp::Widen { d, .. }
        | LaneOp::Pack { d, .. }
        | LaneOp::F64 { d, .. }
        | LaneOp::Fma64 { d, .. }
        | LaneOp::Select64 { d, .. } => Def::Cell64(d),
        LaneOp::Cmp32 { d, .. }
        | LaneOp::Cmp64 { d, .. }
        | LaneOp::CmpF32 { d, .. }
        | LaneOp::CmpF64 { d, .. }
        | LaneOp::PredMov { d, .. }
        | LaneOp::Pred { d, .. } => Def::Pred(d),
    }
}

#[derive(Debug, Default)]
struct Block {
    /// Decoded instructions, as a range.
    first: usize,
    end: usize,
    successors: Vec<usize>,
    /// The block reached by running off the end.
    falls_to: Option<usize>,
}

/// A set of PTX registers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct RegSet(Vec<u64>);

impl RegSet {
    fn new(registers: usize) -> RegSet {
        RegSet(vec![0; registers.div_ceil(64)])
    }
    fn insert(&mut self, Reg(reg): Reg) {
        self.0[reg / 64] |= 1 << (reg % 64);
    }
    fn remove(&mut self, Reg(reg): Reg) {
        self.0[reg / 64] &= !(1 << (reg % 64));
    }
    fn contains(&self, index: usize) -> bool {
        self.0[index / 64] >> (index % 64) & 1 != 0
    }
    fn join(&mut self, other: &RegSet) -> bool {
        let mut grew = false;
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            grew |= *theirs & !*mine != 0;
            *mine |= theirs;
        }
        grew
    }
}

/// Lays out the program.
pub(super) fn assemble(
    flat: &Flat<'_>,
    decoder: &mut Decoder<'_>,
    decoded: &[Decoded],
) -> Result<Program, ExecError> {
    decoder.index_homes();
    let (mut blocks, label_blocks) = split(flat)?;
    if blocks.is_empty() {
        blocks.push(Block::default());
    }
    let order = reverse_post_order(&blocks);
    let live_in = liveness(flat, decoded, &blocks, &order);
    let mut program = Program::default();
    let mut starts = vec![u32::MAX; blocks.len()];
    let mut fixups = Vec::new();
    let mut sources = Vec::new();
    for (position, &number) in order.iter().enumerate() {
        let block = &blocks[number];
        starts[number] = program.steps.len() as u32;
        let mut live_out = RegSet::new(flat.registers);
        for &successor in &block.successors {
            live_out.join(&live_in[successor]);
        }
        let body = &decoded[block.first..block.end];
        emit_block(flat, decoder, body, live_out, &mut program, &mut fixups, &mut sources);
        let line = decoded[block.first..block.end].last().map_or(0, |d| d.line);
        match block.falls_to {
            Some(next) if order.get(position + 1) != Some(&next) => {
                fixups.push((program.steps.len(), Target::Block(next)));
                program.steps.push(Step {
                    guard: ValP::ALWAYS,
                    line,
                    count: 0,
                    kind: StepKind::Jump(0),
                    block_start: false,
                });
            }
            None if block.successors.is_empty()
                && !ends_with_exit(flat, &decoded[block.first..block.end]) =>
            {
                // Running off the end of the body is a return.
                program.steps.push(Step {
                    guard: ValP::ALWAYS,
                    line,
                    count: 0,
                    kind: StepKind::Exit,
                    block_start: false,
                });
            }
            _ => {}
        }
        let start = starts[number] as usize;
        if start == program.steps.len() {
            program.steps.push(Step {
                guard: ValP::ALWAYS,
                line,
                count: 0,
                kind: StepKind::Nothing,
                block_start: true,
            });
        }
        program.steps[start].block_start = true;
    }
    for (step, target) in fixups {
        let resolve = |label: u32| starts[label_blocks[label as usize]];
        match (&mut program.steps[step].kind, target) {
            (StepKind::Jump(at), Target::Block(block)) => *at = starts[block],
            (StepKind::Jump(at), Target::Label) => *at = resolve(*at),
            (StepKind::JumpTable { targets, .. }, _) => targets.iter_mut().for_each(|at| *at = resolve(*at)),
            _ => {}
        }
    }
    program.wgmma_touches = wgmma_touches(flat, decoder, &program.steps, &sources);
    program.cells = decoder.next_cell;
    program.predicates = decoder.next_pred;
    program.inits = decoder.inits();
    Ok(program)
}

enum Target {
    Block(usize),
    Label,
}

fn ends_with_exit(flat: &Flat<'_>, body: &[Decoded]) -> bool {
    body.last().is_some_and(|last| flat.exits(&flat.pieces[last.piece]))
}

/// Cuts the body into blocks and finds their successors; also says which block each label starts.
fn split(flat: &Flat<'_>) -> Result<(Vec<Block>, Vec<usize>), ExecError> {
    let mut label_blocks = vec![usize::MAX; flat.labels as usize];
    let mut blocks: Vec<Block> = Vec::new();
    // The last piece of each block, where it has one.
    let mut last: Vec<Option<&Piece<'_>>> = Vec::new();
    let (mut next, mut open) = (0, false);
    for piece in &flat.pieces {
        if !open || matches!(piece, Piece::Label(_)) && blocks.last().is_some_and(|b| b.first != next) {
            blocks.push(Block { first: next, end: next, ..Block::default() });
            last.push(None);
        }
        if let Piece::Label(label) = piece {
            label_blocks[*label as usize] = blocks.len() - 1;
            open = true;
            continue;
        }
        next += 1;
        if let (Some(block), Some(last)) = (blocks.last_mut(), last.last_mut()) {
            block.end = next;
            *last = Some(piece);
        }
        open = !flat.ends_block(piece);
    }
    let count = blocks.len();
    for (number, (block, last)) in blocks.iter_mut().zip(last).enumerate() {
        let mut falls = (number + 1 < count).then_some(number + 1);
        let mut successors = Vec::new();
        if let Some(piece) = last {
            for label in flat.targets(piece) {
                match label_blocks[label as usize] {
                    usize::MAX => {
                        let message = "a branch to a label that is not defined".into();
                        return Err(ExecError::Invalid { line: 0, message });
                    }
                    target => successors.push(target),
                }
            }
            if flat.ends_block(piece) && flat.guard(piece).is_none() {
                falls = None;
            }
        }
        successors.extend(falls);
        successors.dedup();
        block.successors = successors;
        block.falls_to = falls;
    }
    Ok((blocks, label_blocks))
}

fn reverse_post_order(blocks: &[Block]) -> Vec<usize> {
    let mut order = Vec::with_capacity(blocks.len());
    let mut seen = vec![false; blocks.len()];
    // (block, successors still to visit, those later in the source on top)
    let sorted = |block: usize| {
        let mut list = blocks[block].successors.clone();
        list.sort_unstable();
        list
    };
    let mut stack = vec![(0, sorted(0))];
    seen[0] = true;
    while let Some((block, rest)) = stack.last_mut() {
        match rest.pop() {
            Some(next) if !seen[next] => {
                seen[next] = true;
                let list = sorted(next);
                stack.push((next, list));
            }
            Some(_) => {}
            None => {
                order.push(*block);
                stack.pop();
            }
        }
    }
    order.reverse();
    order
}

/// Moves `live` from behind an instruction to before it.
fn step_back(flat: &Flat<'_>, decoded: &Decoded, live: &mut RegSet) {
    let piece = &flat.pieces[decoded.piece];
    let guard = flat.guard(piece);
    if guard.is_none() {
        flat.defs(piece, |reg| live.remove(reg));
    }
    flat.uses(piece, |reg| live.insert(reg));
    if let Some(guard) = guard {
        live.insert(guard);
    }
}

/// Registers live at the start of each block.
fn liveness(flat: &Flat<'_>, decoded: &[Decoded], blocks: &[Block], order: &[usize]) -> Vec<RegSet> {
    let mut live_in = vec![RegSet::new(flat.registers); blocks.len()];
    loop {
        let mut changed = false;
        for &number in order.iter().rev() {
            let block = &blocks[number];
            let mut live = RegSet::new(flat.registers);
            for &successor in &block.successors {
                live.join(&live_in[successor]);
            }
            for instruction in decoded[block.first..block.end].iter().rev() {
                step_back(flat, instruction, &mut live);
            }
            changed |= live_in[number].join(&live);
        }
        if !changed {
            return live_in;
        }
    }
}

/// Emits a block's steps; `live` is what is live behind it.
fn emit_block(
    flat: &Flat<'_>,
    decoder: &Decoder<'_>,
    body: &[Decoded],
    live: RegSet,
    program: &mut Program,
    fixups: &mut Vec<(usize, Target)>,
    sources: &mut Vec<(usize, usize)>,
) {
    // Live sets behind each instruction, for the places where a segment may end.
    let mut behind = vec![None; body.len()];
    let mut live = live;
    for (i, instruction) in body.iter().enumerate().rev() {
        let next_has_step = body
            .get(i + 1)
            .is_none_or(|next| next.items.iter().any(|item| matches!(item, Item::Step { .. })));
        let mixed = instruction.items.iter().any(|item| matches!(item, Item::Step { .. }));
        if next_has_step || mixed {
            let mut set = live.clone();
            if mixed {
                // A segment that ends inside this instruction must keep what the rest of it reads or leaves alone.
                let mut before = live.clone();
                step_back(flat, instruction, &mut before);
                set.join(&before);
                flat.defs(&flat.pieces[instruction.piece], |reg| set.insert(reg));
            }
            behind[i] = Some(set);
        }
        step_back(flat, instruction, &mut live);
    }
    let mut open: Option<Open> = None;
    for (i, instruction) in body.iter().enumerate() {
        let mixed = instruction.items.iter().any(|item| matches!(item, Item::Step { .. }));
        let mut counted = false;
        for item in &instruction.items {
            match item {
                Item::Lane(inst) => {
                    let segment = open.get_or_insert_with(Open::default);
                    segment.line = if segment.line == 0 { instruction.line } else { segment.line };
                    if !counted {
                        counted = true;
                        // An instruction with a step is counted there.
                        if !mixed {
                            segment.count += 1;
                            segment.segment.lines.push(instruction.line);
                        }
                    }
                    // The segment becomes the next step.
                    if sources.last() != Some(&(program.steps.len(), instruction.piece)) {
                        sources.push((program.steps.len(), instruction.piece));
                    }
                    segment.define(decoder, lane_def(&inst.op), mixed);
                    segment.segment.code.push(*inst);
                }
                Item::Step { guard, kind } => {
                    let at = if counted { i } else { i.saturating_sub(1) };
                    close(&mut open, decoder, behind[at].as_ref(), program);
                    if matches!(kind, StepKind::Jump(_) | StepKind::JumpTable { .. }) {
                        fixups.push((program.steps.len(), Target::Label));
                    }
                    let last = instruction.items.iter().rposition(|item| matches!(item, Item::Step { .. }));
                    let this = instruction.items.iter().position(|other| std::ptr::eq(other, item));
                    sources.push((program.steps.len(), instruction.piece));
                    program.steps.push(Step {
                        guard: *guard,
                        line: instruction.line,
                        count: u32::from(last == this),
                        kind: kind.clone(),
                        block_start: false,
                    });
                }
            }
        }
    }
    let end = body.len().saturating_sub(1);
    close(&mut open, decoder, behind.get(end).and_then(Option::as_ref), program);
}

/// What touches a register that some `wgmma` uses as D or A, that is no `wgmma`: (step, cell, written). `sources` says which
/// statements each step comes from.
fn wgmma_touches(
    flat: &Flat<'_>,
    decoder: &Decoder<'_>,
    steps: &[Step],
    sources: &[(usize, usize)],
) -> Vec<(u32, u32, bool)> {
    let mut used = rustc_hash::FxHashSet::default();
    for step in steps {
        if let StepKind::Wgmma(op) = &step.kind {
            used.extend(op.d.iter().map(|r| r.0));
            used.extend(op.reads().map(|r| r.0));
        }
    }
    let mut touches = Vec::new();
    if used.is_empty() {
        return touches;
    }
    for &(step, piece) in sources {
        let Some(at) = steps.get(step) else { continue };
        if matches!(at.kind, StepKind::Wgmma(_)) {
            continue;
        }
        let mut touch = |reg: Reg, writes| {
            if let Home::R32(R32(cell)) = decoder.homes[reg.0]
                && used.contains(&cell)
            {
                touches.push((step as u32, cell, writes));
            }
        };
        flat.uses(&flat.pieces[piece], |reg| touch(reg, false));
        flat.defs(&flat.pieces[piece], |reg| touch(reg, true));
    }
    touches.sort_unstable();
    touches.dedup();
    touches
}

/// A segment that is being collected.
#[derive(Debug, Default)]
struct Open {
    segment: Segment,
    line: u32,
    count: u32,
    defs: Vec<Def>,
    /// Temporaries that a step of the same instruction reads.
    escaping: Vec<Def>,
}

impl Open {
    fn define(&mut self, decoder: &Decoder<'_>, def: Def, mixed: bool) {
        let extra = match def {
            Def::Cell32(R32(cell)) | Def::Cell64(R64(cell)) => decoder.is_extra(cell),
            Def::Pred(p) => decoder.is_extra_pred(p),
        };
        let list = match (extra, mixed) {
            (false, _) => &mut self.defs,
            (true, true) => &mut self.escaping,
            (true, false) => return,
        };
        if !list.contains(&def) {
            list.push(def);
        }
    }
}

fn close(open: &mut Option<Open>, decoder: &Decoder<'_>, live: Option<&RegSet>, program: &mut Program) {
    let Some(mut open) = open.take() else { return };
    let mut out = LiveOut::default();
    for def in open.defs.iter().filter(|def| is_live(decoder, **def, live)).chain(&open.escaping) {
        match *def {
            Def::Cell32(r) => out.r32.push(r),
            Def::Cell64(r) => out.r64.push(r),
            Def::Pred(p) => out.preds.push(p),
        }
    }
    open.segment.live_out = out;
    program.steps.push(Step {
        guard: ValP::ALWAYS,
        line: open.line,
        count: open.count,
        kind: StepKind::Segment(program.segments.len() as u32),
        block_start: false,
    });
    program.segments.push(open.segment);
}

fn is_live(decoder: &Decoder<'_>, def: Def, live: Option<&RegSet>) -> bool {
    let Some(live) = live else { return true };
    decoder.register_of(def).is_none_or(|index| live.contains(index))
}

impl Decoder<'_> {
    /// The PTX register that a definition belongs to.
    fn register_of(&self, def: Def) -> Option<usize> {
        match def {
            Def::Cell32(r) => self.by_cell.get(r.0 as usize).copied().flatten(),
            Def::Cell64(r) => self.by_cell.get(r.0 as usize).copied().flatten(),
            Def::Pred(p) => self.by_pred.get(p.0 as usize).copied(),
        }
    }

    /// Reverse tables from cells and predicates to PTX registers.
    pub(super) fn index_homes(&mut self) {
        self.by_cell = vec![None; self.next_cell as usize];
        for (index, home) in self.homes.iter().enumerate() {
            match *home {
                Home::Pred(p) => {
                    debug_assert_eq!(p.0 as usize, self.by_pred.len());
                    self.by_pred.push(index);
                }
                Home::R32(r) => self.by_cell[r.0 as usize] = Some(index),
                Home::R64(r) => self.by_cell[r.0 as usize] = Some(index),
                Home::R128(low, high) => {
                    self.by_cell[low.0 as usize] = Some(index);
                    self.by_cell[high.0 as usize] = Some(index);
                }
            }
        }
    }
}
