//! T1 made plain before it is planned: the same meaning in fewer forms.
//!
//! | step | guarantees |
//! | --- | --- |
//! | [`unit_axes`] | no grid range of a kernel with `@` has one coordinate |
//! | [`over_grid`] | places of extremes over the grid are reductions that combine numbers |
//! | [`vectors`] | both operands of a product keep an axis |
//! | [`one_step`] | no product over a static range stands outside a loop |
//! | [`unroll`] | no short loop of constant length stands around `@` inside another |
//! | [`factors`] | scalar factors of a tile are one |
//! | [`monotone`] | maxima of scaled products are scaled maxima |
//! | [`beyond`] | what enters a maximum is masked where a loop's range has ended |
//! | [`trim`] | a loop's `when` has bounded it as far as its condition says |
//! | [`widen`] | operands of `@` are of types that the matrix unit takes |
//! | [`start`] | sums of products start from constants |
//! | [`trim::full`] | loops of products know in which trips nothing needs masking |

use super::{beyond, factors, monotone, one_step, over_grid, start, trim, unit_axes, unroll, vectors, widen};
use crate::target::Target;
use crate::tile::ir::Kernel;
use std::borrow::Cow;

/// The kernel in plain form.
pub fn apply(kernel: &Kernel, target: Target) -> Cow<'_, Kernel> {
    let widened = |k: &Kernel| widen::apply(k, target);
    let steps: [&dyn Fn(&Kernel) -> Option<Kernel>; 12] = [
        &unit_axes::apply,
        &over_grid::apply,
        &vectors::apply,
        &one_step::apply,
        &unroll::apply,
        &factors::apply,
        &monotone::apply,
        &beyond::apply,
        &trim::apply,
        &widened,
        &start::apply,
        &trim::full,
    ];
    steps.into_iter().fold(Cow::Borrowed(kernel), |kernel, step| match step(&kernel) {
        Some(changed) => Cow::Owned(changed),
        None => kernel,
    })
}
