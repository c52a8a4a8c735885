//! T1, the tile level, and its evaluator.
