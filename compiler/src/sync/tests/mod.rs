//! Tests of derivation: worked kernels as snapshots.

mod kernels;
mod oracle;
mod random;
mod roles;
mod shapes;
