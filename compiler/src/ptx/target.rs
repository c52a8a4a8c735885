//! Architectures and ISA versions: what a module says in its first lines, and what an instruction needs.

use std::fmt;

/// A PTX ISA version: `Isa(7, 5)` is `.version 7.5`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isa(pub u8, pub u8);

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// A `.target` architecture.
///
/// `sm_90a` is `Target { sm: 90, suffix: 'a' }`: architecture-specific code that no other architecture runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// The number: 80, 90, 120.
    pub sm: u16,
    /// Whether it carries a suffix.
    pub suffix: Suffix,
}

/// The letter behind the number of an architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suffix {
    /// Plain: runs on this and every later architecture.
    None,
    /// `f`: runs on this family.
    Family,
    /// `a`: runs on this architecture only.
    Arch,
}

impl Target {
    /// A100.
    pub const SM_80: Target = Target { sm: 80, suffix: Suffix::None };
    /// GA10x.
    pub const SM_86: Target = Target { sm: 86, suffix: Suffix::None };
    /// AD10x.
    pub const SM_89: Target = Target { sm: 89, suffix: Suffix::None };
    /// H100 with its architecture-specific instructions.
    pub const SM_90A: Target = Target { sm: 90, suffix: Suffix::Arch };

    /// Reads `sm_80`, `sm_90a`, `sm_120f`.
    pub fn parse(text: &str) -> Option<Target> {
        let rest = text.strip_prefix("sm_")?;
        let (digits, suffix) = match rest.as_bytes().last()? {
            b'a' => (&rest[..rest.len() - 1], Suffix::Arch),
            b'f' => (&rest[..rest.len() - 1], Suffix::Family),
            _ => (rest, Suffix::None),
        };
        if digits.is_empty() || digits.len() > 3 || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Target { sm: digits.parse().ok()?, suffix })
    }

    /// The first PTX ISA version that knows this architecture (PTX ISA, table of `.target` directives).
    pub fn floor(self) -> Isa {
        match (self.sm, self.suffix) {
            (..=75, _) => Isa(6, 3),
            (76..=80, _) => Isa(7, 0),
            (81..=86, _) => Isa(7, 1),
            (87, _) => Isa(7, 4),
            (88, _) => Isa(9, 0),
            (89, _) => Isa(7, 8),
            (90, Suffix::None) => Isa(7, 8),
            (90, _) => Isa(8, 0),
            (91..=101, Suffix::Family) => Isa(8, 8),
            (91..=101, _) => Isa(8, 6),
            (102..=109, _) => Isa(8, 8),
            (110, _) => Isa(9, 0),
            (111..=120, Suffix::Family) => Isa(8, 8),
            (111..=120, _) => Isa(8, 7),
            _ => Isa(8, 8),
        }
    }

    /// Whether code that needs `need` runs here.
    pub fn satisfies(self, need: &Requires) -> bool {
        self.sm >= need.sm
            && (!need.arch_specific || (self.suffix != Suffix::None && self.sm / 10 == need.sm / 10))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.suffix {
            Suffix::None => "",
            Suffix::Family => "f",
            Suffix::Arch => "a",
        };
        write!(f, "sm_{}{suffix}", self.sm)
    }
}

/// The least that an instruction needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Requires {
    /// The first PTX ISA version with this form of it.
    pub isa: Isa,
    /// The first architecture with it.
    pub sm: u16,
    /// Whether only the `a`/`f` flavour of that architecture has it (`wgmma`, `setmaxnreg`).
    pub arch_specific: bool,
}

impl Requires {
    /// Everything that this project targets has it.
    pub const BASE: Requires = Requires { isa: Isa(6, 3), sm: 75, arch_specific: false };

    /// From ISA `major.minor` on, on `sm` and later.
    pub const fn new(major: u8, minor: u8, sm: u16) -> Requires {
        Requires { isa: Isa(major, minor), sm, arch_specific: false }
    }

    /// The same, and only with the architecture's `a` flavour.
    pub const fn arch(major: u8, minor: u8, sm: u16) -> Requires {
        Requires { isa: Isa(major, minor), sm, arch_specific: true }
    }

    /// Both needs together.
    pub fn and(self, other: Requires) -> Requires {
        let arch_specific =
            (self.arch_specific && self.sm >= other.sm) || (other.arch_specific && other.sm >= self.sm);
        Requires { isa: self.isa.max(other.isa), sm: self.sm.max(other.sm), arch_specific }
    }

    /// `self` if `condition`, else [`Requires::BASE`].
    pub fn when(self, condition: bool) -> Requires {
        if condition { self } else { Requires::BASE }
    }
}
