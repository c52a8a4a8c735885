//! Laws of the algebra, as properties and as examples.

mod atoms;
mod memory;
