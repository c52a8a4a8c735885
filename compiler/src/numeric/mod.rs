//! Exact arithmetic of the number formats: conversions with rounding and saturation.
