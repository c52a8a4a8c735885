//! Binding arguments to a compiled kernel and launching it.
