//! T2, the scheduled level.
