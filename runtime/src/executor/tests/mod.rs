//! Tests of the executor on small kernels and on kernels that other compilers wrote.

mod foreign;
