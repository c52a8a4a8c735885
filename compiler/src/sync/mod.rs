//! Deriving synchronisation.
