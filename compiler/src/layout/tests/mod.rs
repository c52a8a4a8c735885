//! Laws of the algebra, as properties and as examples.

mod algebra;
mod atoms;
mod convert;
mod memory;
