//! T3, the warp level.
