//! The front end: text to syntax tree to tile level.
