//! Tests of derivation: worked kernels as snapshots.

mod kernels;
