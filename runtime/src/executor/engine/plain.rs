//! Steps that do nothing but compute registers from registers, if with those of other lanes.

use super::super::frame::{Frame, blend32, blend64};
use super::super::program::{LaneCall, StepKind};
use super::cross;

/// Executes such a step for the lanes of `mask` (not empty); says whether it is one. What is compiled ([`StepKind::Segment`]) is not.
#[inline]
pub(super) fn compute(frame: &mut Frame, kind: &StepKind, mask: u32) -> bool {
    match kind {
        StepKind::Call(call) => lane_call(frame, call, mask),
        StepKind::MovMatrix { d, a } => cross::movmatrix(frame, *d, *a, mask),
        StepKind::Mma(mma) => cross::mma(frame, mma, mask),
        StepKind::MmaF64(mma) => cross::mma_f64(frame, mma, mask),
        StepKind::Shuffle(shuffle) => cross::shuffle(frame, shuffle, mask),
        StepKind::Vote { mode, dst, src, .. } => cross::vote(frame, *mode, *dst, *src, mask),
        StepKind::Match { all, d, p, a, .. } => cross::match_sync(frame, *all, *d, *p, *a, mask),
        StepKind::Redux { op, d, a, .. } => cross::redux(frame, *op, *d, *a, mask),
        StepKind::ActiveMask(d) => blend32(frame.r32_mut(*d), &[mask; 32], mask),
        StepKind::Elect { d, p, .. } => {
            let leader = mask.trailing_zeros();
            if let Some(d) = d {
                blend32(frame.r32_mut(*d), &[leader; 32], mask);
            }
            let old = frame.pred(*p);
            frame.set_pred(*p, (old & !mask) | 1 << leader);
        }
        _ => return false,
    }
    true
}

fn lane_call(frame: &mut Frame, call: &LaneCall, mask: u32) {
    match *call {
        LaneCall::C32 { f, d, a, b, c } => {
            let mut out = [0; 32];
            f(&mut out, frame.r32(a), frame.r32(b), frame.r32(c));
            blend32(frame.r32_mut(d), &out, mask);
        }
        LaneCall::C64 { f, d, a, b, c } => {
            let mut out = [0; 32];
            f(&mut out, frame.r64(a), frame.r64(b), frame.r64(c));
            blend64(frame.r64_mut(d), &out, mask);
        }
        LaneCall::Narrow { f, d, a } => {
            let mut out = [0; 32];
            f(&mut out, frame.r64(a));
            blend32(frame.r32_mut(d), &out, mask);
        }
        LaneCall::Widen { f, d, a } => {
            let mut out = [0; 32];
            f(&mut out, frame.r32(a));
            blend64(frame.r64_mut(d), &out, mask);
        }
        LaneCall::Mixed64 { f, d, a, b } => {
            let mut out = [0; 32];
            f(&mut out, frame.r64(a), frame.r32(b));
            blend64(frame.r64_mut(d), &out, mask);
        }
        LaneCall::Test { f, d, a, b } => {
            let value = f(frame.r32(a), frame.r32(b));
            let old = frame.pred(d);
            frame.set_pred(d, (old & !mask) | (value & mask));
        }
    }
}
