//! Every code that a diagnostic can have, with a few words for the manual.
//!
//! Codes are never reused. The first two digits are the subject: 00 syntax, 01 names, 02 types, 03 axes and shapes, 04 what is static, 05 statements,
//! 06 functions and instances, 07 schedules, 08 launches, 09 the back end.

use std::fmt;

/// The number of a kind of diagnostic: `E0101`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(pub u16);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:04}", self.0)
    }
}

impl Code {
    /// What the manual says about it: one sentence.
    pub fn explanation(self) -> Option<&'static str> {
        TABLE.iter().find(|e| e.code == self).map(|e| e.explanation)
    }
}

/// One line of the manual's table.
#[derive(Clone, Copy, Debug)]
pub struct CodeEntry {
    pub code: Code,
    /// The constant's name, in lower case with spaces a fair title.
    pub name: &'static str,
    pub explanation: &'static str,
}

macro_rules! codes {
    ($($number:literal $name:ident $explanation:literal;)*) => {
        $(#[doc = $explanation] pub const $name: Code = Code($number);)*
        /// All codes in order of number.
        pub const TABLE: &[CodeEntry] =
            &[$(CodeEntry { code: Code($number), name: stringify!($name), explanation: $explanation }),*];
    };
}

codes! {
    // 00: syntax
    1 SYNTAX "The text does not follow the grammar; the message says what could stand there.";
    2 UNKNOWN_CHARACTER "A character that no token of the language has.";
    3 BAD_NUMBER "A number is spelled in a way the language does not have, or does not fit 64 bits.";
    4 UNCLOSED "A bracket or string is not closed, or is closed by something else.";
    5 MISSING_SEMICOLON "A statement or item must end in `;`.";
    6 CHAINED_COMPARISON "Comparisons do not chain: write `a < b && b < c`.";
    7 ASSIGN_FOR_EQUAL "`=` assigns; a comparison is `==`.";
    8 STRAY_DOC_COMMENT "A `///` comment must stand before an item.";
    9 BAD_DIRECTIVE "A `//;` line that is not one of the corpus directives.";
    10 NOT_A_STATEMENT "An expression alone is not a statement: its value would be lost.";
    11 NOT_YET "The language reference marks this as a later addition.";
    12 BAD_PLACE "Only variables and their elements can stand to the left of an assignment.";
    13 TOO_DEEP "Expressions or blocks are nested deeper than the compiler goes.";
    // 01: names
    101 UNKNOWN_NAME "A name that nothing defines.";
    102 DUPLICATE_NAME "A name is defined twice where only one definition may stand.";
    103 SHADOWING "A name would hide another that is still visible; the language has no shadowing.";
    104 RESERVED_NAME "Type names and built-in names cannot be given to anything else.";
    105 NOT_A_VALUE "The name exists, and is not the kind of thing that may stand here.";
    106 CANNOT_IMPORT "An imported file cannot be read.";
    107 IMPORT_CYCLE "Files import each other in a circle.";
    108 RECURSION "A function calls itself, directly or through others; functions are inlined.";
    109 ARITY "A call has more or fewer arguments than the function takes.";
    110 UNKNOWN_GENERIC "An instance sets a parameter that its base kernel does not have.";
    111 NOT_CAPTURED "A function uses a name of its kernel without listing it in `using`.";
    // 07: schedules
    701 UNKNOWN_SCHEDULE_PATH "A schedule speaks of a loop, variable, parameter or setting that the kernel does not have.";
    702 UNKNOWN_TARGET "The compiler knows no such target.";
    // 08: launches
    890 ACCESS_CONFLICT "Two lanes or instances write one element without `atomic`, or an instance reads what another writes; only data decides it.";
    891 BAD_ARGUMENT "An argument does not fit the kernel's parameter.";
    // 09: the back end
    990 EVALUATOR_BUG "The evaluator met a malformed kernel: a bug of the compiler.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_print_as_four_digits() {
        assert!(TABLE.windows(2).all(|w| w[0].code < w[1].code), "numbers ascend, so none is used twice");
        assert_eq!(UNKNOWN_NAME.to_string(), "E0101");
        assert!(UNKNOWN_NAME.explanation().is_some());
    }
}
