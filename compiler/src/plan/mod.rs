//! T1 to T2.
