//! Instructions that read other lanes' registers: `shfl`, `vote`, `match`, `redux`, and matrix multiplication.

use super::super::frame::{Frame, Lanes32, Lanes64, PredId, R32, R64, blend32, blend64};
use super::super::lanes::floats;
use super::super::program::{
    MemReg, Mma, MmaF64, MmaPlace, ReduxOp, Shuffle, ShuffleMode, ValP, VoteDst, VoteMode,
};
use super::run::valp;

/// `shfl.sync` by the definition of the PTX ISA: `c` holds a clamp value (bits 0-4) and a segment mask (bits 8-12).
pub fn shuffle(frame: &mut Frame, s: &Shuffle, mask: u32) {
    let (a, b, c) = (*frame.r32(s.a), *frame.r32(s.b), *frame.r32(s.c));
    let mut out: Lanes32 = [0; 32];
    let mut in_range = 0u32;
    for lane in 0..32u32 {
        let (b, c) = (b[lane as usize] & 31, c[lane as usize]);
        let (clamp, segment) = (c & 31, c >> 8 & 31);
        let max = (lane & segment) | (clamp & !segment);
        let min = lane & segment;
        let (source, ok) = match s.mode {
            ShuffleMode::Up => {
                let j = lane as i32 - b as i32;
                (j, j >= max as i32)
            }
            ShuffleMode::Down => {
                let j = (lane + b) as i32;
                (j, j <= max as i32)
            }
            ShuffleMode::Bfly => {
                let j = (lane ^ b) as i32;
                (j, j <= max as i32)
            }
            ShuffleMode::Idx => {
                let j = (min | (b & !segment)) as i32;
                (j, j <= max as i32)
            }
        };
        let source = if ok { source as u32 & 31 } else { lane };
        out[lane as usize] = a[source as usize];
        in_range |= u32::from(ok) << lane;
    }
    blend32(frame.r32_mut(s.d), &out, mask);
    if let Some(p) = s.p {
        let old = frame.pred(p);
        frame.set_pred(p, (old & !mask) | (in_range & mask));
    }
}

/// `vote.sync`.
pub fn vote(frame: &mut Frame, mode: VoteMode, dst: VoteDst, src: ValP, mask: u32) {
    let votes = valp(frame, src) & mask;
    let answer = match mode {
        VoteMode::All => votes == mask,
        VoteMode::Any => votes != 0,
        VoteMode::Uni => votes == 0 || votes == mask,
        VoteMode::Ballot => votes != 0,
    };
    match dst {
        VoteDst::Reg(d) => blend32(frame.r32_mut(d), &[votes; 32], mask),
        VoteDst::Pred(p) => {
            let old = frame.pred(p);
            frame.set_pred(p, (old & !mask) | if answer { mask } else { 0 });
        }
    }
}

/// `match.any.sync` and `match.all.sync`.
pub fn match_sync(frame: &mut Frame, all: bool, d: R32, p: Option<PredId>, a: MemReg, mask: u32) {
    let value = |lane: usize| match a {
        MemReg::R32(r) => u64::from(frame.r32(r)[lane]),
        MemReg::R64(r) => frame.r64(r)[lane],
        MemReg::None => 0,
    };
    let equal = |lane: usize| {
        (0..32).filter(|&l| mask >> l & 1 != 0 && value(l) == value(lane)).fold(0u32, |m, l| m | 1 << l)
    };
    let mut out: Lanes32 = std::array::from_fn(equal);
    let agree = (0..32).filter(|l| mask >> l & 1 != 0).all(|l| out[l] == mask);
    if all {
        out = [if agree { mask } else { 0 }; 32];
    }
    blend32(frame.r32_mut(d), &out, mask);
    if let Some(p) = p {
        let old = frame.pred(p);
        frame.set_pred(p, (old & !mask) | if agree { mask } else { 0 });
    }
}

/// `redux.sync`.
pub fn redux(frame: &mut Frame, op: ReduxOp, d: R32, a: R32, mask: u32) {
    let values = frame.r32(a);
    let active = (0..32).filter(|l| mask >> l & 1 != 0).map(|l| values[l]);
    let result = active.reduce(|x, y| match op {
        ReduxOp::Add => x.wrapping_add(y),
        ReduxOp::MinS => (x as i32).min(y as i32) as u32,
        ReduxOp::MaxS => (x as i32).max(y as i32) as u32,
        ReduxOp::MinU => x.min(y),
        ReduxOp::MaxU => x.max(y),
        ReduxOp::And => x & y,
        ReduxOp::Or => x | y,
        ReduxOp::Xor => x ^ y,
        ReduxOp::MinF => floats::of_two(floats::min_number, x, y),
        ReduxOp::MaxF => floats::of_two(floats::max_number, x, y),
        ReduxOp::MinNan => floats::of_two(floats::min_nan, x, y),
        ReduxOp::MaxNan => floats::of_two(floats::max_nan, x, y),
    });
    let is_float = matches!(op, ReduxOp::MinF | ReduxOp::MaxF | ReduxOp::MinNan | ReduxOp::MaxNan);
    let result = result.map(|bits| match f32::from_bits(bits) {
        nan if is_float && nan.is_nan() => floats::CANONICAL.to_bits(),
        _ => bits,
    });
    blend32(frame.r32_mut(d), &[result.unwrap_or(0); 32], mask);
}

/// `movmatrix.trans`: lane l has elements (l/4, 2·(l%4)) and the next of an 8x8 matrix; afterwards those of its transpose.
pub fn movmatrix(frame: &mut Frame, d: R32, a: R32, mask: u32) {
    let from = *frame.r32(a);
    let element = |row: usize, col: usize| from[4 * row + col / 2] >> (16 * (col % 2)) & 0xffff;
    let out = std::array::from_fn(|lane| {
        let (row, col) = (lane / 4, 2 * (lane % 4));
        element(col, row) | element(col + 1, row) << 16
    });
    blend32(frame.r32_mut(d), &out, mask);
}

/// Most registers that one fragment of an `mma` has.
const MAX_FRAGMENT: usize = 8;

/// A matrix multiplication on fragments in the frame.
pub fn mma(frame: &mut Frame, mma: &Mma, mask: u32) {
    let in_range = [&mma.d, &mma.a, &mma.b, &mma.c].iter().all(|f| f.len() <= MAX_FRAGMENT);
    if mask == u32::MAX && mma.place != MmaPlace::Anywhere && in_range {
        return mma_in_place(frame, mma);
    }
    let mut d = [[0u32; 32]; MAX_FRAGMENT];
    let d = &mut d[..mma.d.len().min(MAX_FRAGMENT)];
    {
        let none: &Lanes32 = &[0; 32];
        let gather = |registers: &[R32]| {
            let mut out = [none; MAX_FRAGMENT];
            for (slot, &r) in out.iter_mut().zip(registers) {
                *slot = frame.r32(r);
            }
            out
        };
        let (a, b, c) = (gather(&mma.a), gather(&mma.b), gather(&mma.c));
        (mma.f)(
            d,
            &a[..mma.a.len().min(MAX_FRAGMENT)],
            &b[..mma.b.len().min(MAX_FRAGMENT)],
            &c[..mma.c.len().min(MAX_FRAGMENT)],
        );
    }
    for (&register, value) in mma.d.iter().zip(d.iter()) {
        blend32(frame.r32_mut(register), value, mask);
    }
}

/// The same where D can be written where it lies.
fn mma_in_place(frame: &mut Frame, mma: &Mma) {
    let mut sums: [Lanes32; 4];
    let mut none = [[0; 32]; 0];
    let (d, others) = frame.split_at_range(mma.d[0], mma.d.len());
    let old: &mut [Lanes32] = if mma.place == MmaPlace::Accumulates && d.len() <= 4 {
        sums = [[0; 32]; 4];
        sums[..d.len()].copy_from_slice(d);
        &mut sums
    } else {
        &mut none
    };
    let dummy: &Lanes32 = &[0; 32];
    let (mut a, mut b, mut c) = ([dummy; MAX_FRAGMENT], [dummy; MAX_FRAGMENT], [dummy; MAX_FRAGMENT]);
    a.iter_mut().zip(&mma.a).for_each(|(slot, &r)| *slot = others.r32(r));
    b.iter_mut().zip(&mma.b).for_each(|(slot, &r)| *slot = others.r32(r));
    if mma.place == MmaPlace::Accumulates {
        c.iter_mut().zip(old.iter()).for_each(|(slot, sum)| *slot = sum);
    } else {
        c.iter_mut().zip(&mma.c).for_each(|(slot, &r)| *slot = others.r32(r));
    }
    (mma.f)(d, &a[..mma.a.len()], &b[..mma.b.len()], &c[..mma.c.len()]);
}

/// A multiplication of f64 matrices in the frame.
pub fn mma_f64(frame: &mut Frame, mma: &MmaF64, mask: u32) {
    let gather = |registers: &[R64]| -> Vec<Lanes64> { registers.iter().map(|&r| *frame.r64(r)).collect() };
    let (a, b, c) = (gather(&mma.a), gather(&mma.b), gather(&mma.c));
    let mut d = c.clone();
    super::super::matrix::mma_f64(&mut d, &a, &b, &c);
    for (&register, value) in mma.d.iter().zip(&d) {
        blend64(frame.r64_mut(register), value, mask);
    }
}
