//! Where the bits of small floats lie in a group's words, so that few shifts and three-input operations put them where a wider format has them.
//!
//! Exponent and mantissa belong side by side just above the missing mantissa bits, the sign at the top of the lane. No rule that we tried comes near
//! what a search finds: `cargo xtask places` looks for better tables by simulated annealing, counts what [`super::placement`]'s test counts, and
//! writes `floats.txt`. A line has the type, the mantissa bits of the wide format and each word from its highest bit down, every bit as
//! the letter of its member and the number of its bit in the code:
//!
//! ```text
//! e2m1 10 b3d2d3b0b2b1a3d1d0c3a2a1a0c2c1c0      member c's magnitude (c2 c1 c0) lies lowest and its sign at 6: shifts by 9 to the left
//! ```
//!
//! Changing a line changes what is stored, and so the hash that files of packed weights are refused by.

use crate::tile::ir::ElemType;

/// The table; `#` begins a comment.
pub const TABLE: &str = include_str!("floats.txt");

/// Word and bit of the lane of each bit of every member's code, the lowest first.
///
/// # Panics
/// For a type that the table does not have; a test looks every one up.
pub fn places(elem: ElemType, mantissa: u32, members: u32) -> Vec<Vec<(u32, u32)>> {
    let name = elem.to_string();
    let found = TABLE.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let own = fields.next() == Some(&name) && fields.next()?.parse() == Ok(mantissa);
        own.then_some(fields)
    });
    let Some(words) = found else { unreachable!("floats.txt has no line for {name} and {mantissa} bits") };
    let mut places = vec![vec![(0, 0); elem.bits() as usize]; members as usize];
    for (n, word) in (0..).zip(words) {
        for (lane, field) in (0..).zip(word.as_bytes().chunks_exact(2).rev()) {
            places[usize::from(field[0] - b'a')][usize::from(field[1] - b'0')] = (n, lane);
        }
    }
    places
}
