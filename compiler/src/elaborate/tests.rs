//! Elaboration on real programs: everything in the corpus elaborates and verifies; every diagnostic has a file whose rendered text is
//! a snapshot; settings win in their order; nothing panics.

mod corpus;
mod errors;
mod evaluated;
mod facts;
mod fuzz;
mod settings;

use super::{Settings, elaborate};
use crate::diagnostics::{Diagnostics, SourceMap};
use crate::front::{Memory, Program, load};
use crate::tile::Kernel;

/// Loads one file; the diagnostics are the front end's.
fn program(text: &str) -> (SourceMap, Program, Diagnostics) {
    let mut sources = SourceMap::default();
    let (program, diagnostics) = load(&mut sources, &Memory::from([("test.tw", text)]), "test.tw");
    (sources, program, diagnostics)
}

/// The kernel of that name, which must elaborate and verify.
fn kernel(text: &str, name: &str, settings: &Settings) -> Kernel {
    let (sources, program, mut diagnostics) = program(text);
    let (kernel, more) = elaborate(&program, name, settings);
    diagnostics.append(more);
    assert!(!diagnostics.has_errors(), "{}", diagnostics.render(&sources, false));
    let kernel = kernel.expect("no kernel and no errors");
    let findings = crate::tile::verify::verify(&kernel);
    assert!(findings.is_empty(), "{findings:#?}\n{kernel}");
    kernel
}
