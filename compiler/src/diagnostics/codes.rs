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
    13 TOO_DEEP "Expressions or blocks are nested deeper than the compiler goes, or calls inlined more often.";
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
    112 BAD_OVER "`over` names the axes of a reduction or scan, and stands nowhere else.";
    113 UNKNOWN_FIELD "The fields are `T`, `lo`, `hi` and `size`.";
    // 02: types
    201 TYPE_MISMATCH "Two types that must agree do not; nothing is converted silently but an integer beside an `index`.";
    202 STORAGE_ARITHMETIC "Arithmetic on a storage type: convert it with `as` first.";
    203 WRONG_OPERAND "An operation got an operand of a type that it does not take.";
    204 LITERAL_RANGE "A literal does not fit the type that its place asks for.";
    205 BAD_CAST "A conversion that does not exist.";
    206 MATMUL_TYPES "`@` takes two sides of one type; only integers, and floats of at most 8 bits, mix.";
    207 WRONG_KIND "A value, type, range, tensor or function stands where another of these is wanted.";
    208 NOT_SCALAR "A tile stands where one number is wanted.";
    209 BAD_TUPLE "A tuple does not have as many values as there are names, or is no tuple.";
    // 03: axes and shapes
    301 UNREDUCED_AXIS "The value has an axis that its place lacks: reduce over it first.";
    302 MATMUL_AXES "`@` contracts the last axis of its left side, which must come first on the right.";
    303 NOT_AN_AXIS "An axis is named that the value does not have, or that is none.";
    304 UNBOUND_RANGE "A range must be bound to a name before it can be used as a value.";
    305 RANK "As many subscripts, strides or entries as there are dimensions.";
    306 UNBOUND_DIMENSION "No argument says how large a dimension is.";
    307 TILE_TOO_BIG "A tile has at most 2^20 elements.";
    308 UNNAMED_DIMENSION "`:` and tile types take an axis' name from a dimension; a number has none.";
    309 PACKED_GATHER "A packed tensor is read by ranges only.";
    310 BAD_EXTENT "A range has between 1 and 2^20 lanes; a dimension is not negative.";
    311 BAD_TRANSPOSE "`.T` swaps the last two axes of a tile that has two.";
    312 BAD_REDUCTION "A reduction, scan, `topk` or `sort` over something that it cannot go over.";
    313 BAD_DOMAIN "A loop, grid or range goes over something that is no domain.";
    314 INEXACT_DIVISION "`/` in a shape must be exact; `cdiv` rounds up.";
    315 SWAPPED_SUBSCRIPTS "The subscripts fit the tensor's dimensions in another order; what lies outside reads as zero.";
    316 OUTSIDE "A subscript that is a number outside its dimension; what lies outside reads as zero.";
    // 04: what is static
    401 NOT_STATIC "Something that must be known at compile time depends on the launch or on data.";
    402 BAD_SETTING "A parameter is set to a value that it cannot have, or that is not there to set.";
    403 BAD_SET "A set of values that holds none.";
    404 CONSTRAINT "No values of the tune parameters satisfy their constraints.";
    405 NO_VALUE "Nothing gives a generic parameter a value.";
    406 REPEATED_VALUE "A list of values to choose from has one twice.";
    // 05: statements
    501 NOT_MUTABLE "Only `let mut` variables can be assigned.";
    502 NOT_WRITABLE "The tensor is read only.";
    503 NOT_READABLE "An `out` tensor can only be written.";
    504 SAME_ELEMENT "Several instances of the grid write one element.";
    506 BAD_GRID_REDUCTION "A reduction over the grid takes grid variables, and stands outside loops and `if`s.";
    507 MISPLACED "A statement or clause stands where it cannot.";
    // 06: functions and instances
    601 BAD_RETURN "A function returns another type than it is declared to.";
    602 CAPTURE_TYPE "A captured name has another type in the kernel than in the function.";
    603 UNKNOWN_CAPTURE "A captured name is neither the kernel's nor typed, so that it could become a parameter.";
    // 07: schedules
    701 UNKNOWN_SCHEDULE_PATH "A schedule speaks of a loop, variable, parameter or setting that the kernel does not have.";
    702 UNKNOWN_TARGET "The compiler knows no such target.";
    703 IMPOSSIBLE_SCHEDULE "The schedule does not fit the tile, the target's registers or its shared memory.";
    // 08: launches
    801 BROKEN_PROMISE "A `where` of the kernel is false for the parameters that are set.";
    802 NOT_LAUNCH "A shape, default or promise depends on more than the launch knows.";
    803 BAD_PARAMETER "A parameter, `temp` or attribute that cannot be.";
    890 ACCESS_CONFLICT "Two lanes or instances write one element without `atomic`, or an instance reads what another writes; only data decides it.";
    891 BAD_ARGUMENT "An argument does not fit the kernel's parameter.";
    892 OVERFLOW "Numbers on the way to a result are beyond what the program's own types hold, so it is inf or NaN.";
    901 NOT_LOWERED "The program is correct, and the back end has no code for this construct yet.";
    902 NO_KERNEL "The file has no kernel, or several and none was chosen.";
    990 EVALUATOR_BUG "The evaluator met a malformed kernel: a bug of the compiler.";
    999 INTERNAL "The compiler broke one of its own rules: a bug of ours.";
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
