//! T4: typed PTX.
