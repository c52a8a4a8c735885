//! The syntax tree: what the text says, before anything is known about types or axes.
//!
//! The tree follows the grammar of the language reference one production at a time. Parentheses leave no node (spans keep them), `where(c, x, y)`
//! is an ordinary call of the name `where`, and `else if` is an `else` block that holds one `if`.
//!
//! ```text
//! acc += a[i, k] @ b[j, k].T;
//!
//! Update { place: Name(acc), op: Add,
//!          value: Binary { op: MatMul, lhs: Index { base: Name(a), subscripts: [i, k] },
//!                          rhs: Field { base: Index { base: Name(b), subscripts: [j, k] }, field: T } } }
//! ```
//!
//! Invariants:
//! - every node has a span in the file it came from, and a parent's span holds its children's;
//! - every identifier, binding or use, has a [`NodeId`] of its own, by which [`Program::res`](super::Program::res) says what it means;
//! - a node named `Error` stands only where a diagnostic has been reported already: whoever meets one stays silent.

mod expr;
mod item;
mod stmt;

pub use expr::*;
pub use item::*;
pub use stmt::*;

use crate::diagnostics::Span;
use std::fmt;
use std::sync::Arc;

/// Interned-enough text: cheap to clone, compares by content.
pub type Symbol = Arc<str>;

/// The number of one identifier in the text; unique within a [`Program`](super::Program), not stable between compilations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// One identifier as it stands in the text, binding or use.
#[derive(Clone)]
pub struct Ident {
    pub text: Symbol,
    pub span: Span,
    pub id: NodeId,
}

impl Ident {
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Ident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.text)
    }
}

/// `v.causal`: an item's name, perhaps reached through `import … as v`. The last identifier carries the resolution.
#[derive(Clone, Debug)]
pub struct Path {
    /// At least one.
    pub segments: Vec<Ident>,
    pub span: Span,
}

impl Path {
    /// The identifier that says which item is meant.
    pub fn last(&self) -> &Ident {
        self.segments.last().expect("the grammar yields no empty path")
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, s) in self.segments.iter().enumerate() {
            write!(f, "{}{s}", if n == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}
