//! The parser: any PTX text to a [`Module`], or every error in it.
//!
//! Scannerless recursive descent over bytes: PTX has one statement a `;`, mnemonics that contain `::` and dots, and directives
//! without an end mark (`.loc`), so a token stream would only be taken apart again.
//!
//! | file | reads |
//! | --- | --- |
//! | `cursor` | blanks, comments, names, numbers |
//! | `module` | what stands outside entries |
//! | `function` | device functions and calls of them |
//! | `body` | scopes, statements, labels |
//! | `mods` | the modifiers of a mnemonic |
//! | `operands` | registers, literals, symbols, addresses, with their width checked against the instruction |
//! | `data`, `arithmetic`, `memory`, `asynchronous`, `sync`, `matrix` | one function a family |
//!
//! Errors never stop it: a bad statement is reported and skipped up to its `;`, so all of them appear at once.

mod arithmetic;
mod asynchronous;
mod body;
mod cursor;
mod data;
mod function;
mod matrix;
mod memory;
mod mods;
mod module;
mod operands;
mod sync;
mod video;
mod wmma;

use super::module::Module;

/// What is wrong with a PTX text, and where. All of them are the text's fault or the limits of this parser, never of the machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {kind}")]
pub struct ParseError {
    /// From 1.
    pub line: u32,
    /// From 1, in bytes.
    pub column: u32,
    /// What.
    pub kind: ParseErrorKind,
    /// The entry or function in whose body it is.
    pub within: Option<Box<str>>,
}

/// The kinds of errors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseErrorKind {
    /// The text does not continue as PTX does.
    #[error("expected {expected}, found {found}")]
    Syntax {
        /// What would have been fine.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// No such instruction, or one that is not supported.
    #[error("unknown or unsupported instruction `{name}`")]
    UnknownInstruction {
        /// With all its modifiers.
        name: String,
    },
    /// The instruction is known, this modifier on it is not.
    #[error("unknown or unsupported modifier `.{modifier}` in `{name}`")]
    UnknownModifier {
        /// Without its dot.
        modifier: String,
        /// With all its modifiers.
        name: String,
    },
    /// A modifier is missing.
    #[error("`{name}` lacks its {what}")]
    MissingModifier {
        /// With all its modifiers.
        name: String,
        /// Which kind: "type", "rounding mode".
        what: &'static str,
    },
    /// A modifier that makes no sense with the others.
    #[error("`{name}`: {why}")]
    Illegal {
        /// With all its modifiers.
        name: String,
        /// Why not.
        why: String,
    },
    /// A name that nothing declares.
    #[error("`{name}` is not declared")]
    Undeclared {
        /// The name.
        name: String,
    },
    /// A name that is declared twice in one scope.
    #[error("`{name}` is declared twice")]
    Redeclared {
        /// The name.
        name: String,
    },
    /// A register of the wrong width.
    #[error("`{name}` has {have} bits where `{instruction}` takes {want}")]
    Width {
        /// The register.
        name: String,
        /// Its width.
        have: u32,
        /// What the instruction takes.
        want: u32,
        /// With all its modifiers.
        instruction: String,
    },
    /// Legal PTX that this parser does not take.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
}

/// At most this many errors are collected.
const MAX_ERRORS: usize = 200;

/// Reads a PTX file.
///
/// # Errors
/// All mistakes, by place.
pub fn parse(text: &str) -> Result<Module, Vec<ParseError>> {
    let (module, errors) = parse_partly(text);
    if errors.is_empty() { Ok(module) } else { Err(errors) }
}

/// Reads what can be read of a PTX file: statements with mistakes are missing from it, and the mistakes are listed by place. Bodies that no mistake names
/// in [`ParseError::within`] are complete.
pub fn parse_partly(text: &str) -> (Module, Vec<ParseError>) {
    let mut parser = module::Parser::new(text);
    let module = parser.module();
    parser.errors.sort_by_key(|error| (error.line, error.column));
    (module, parser.errors)
}

/// An error without its place, which the statement loop adds. Boxed, since the good case should be small.
type Failure = Box<ParseErrorKind>;
type Parsed<T> = Result<T, Failure>;
