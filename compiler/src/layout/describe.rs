//! Layouts in one line, for dumps and messages.

use std::fmt;

use super::map::LinearMap;
use super::space::Label;

impl<I: Label, O: Label> LinearMap<I, O> {
    /// What each input bit moves, lowest bit first, with the caller's names for the outputs. `n2` is a step of 2 along n, `n2^m1` both at once,
    /// `-` a copy, `3×m32` an odd digit of radix 3 in steps of 32.
    ///
    /// ```
    /// use tilewright_compiler::layout::{Axis, atoms::mma_c};
    /// let c = mma_c(Axis(0), Axis(1)).unwrap();
    /// let name = |axis: Axis| if axis == Axis(0) { "m".into() } else { "n".into() };
    /// assert_eq!(c.describe(name), "reg(n1 m8) lane(n2 n4 m1 m2 m4)");
    /// ```
    pub fn describe(&self, name: impl Fn(O) -> String) -> String {
        let parts = self.ins().fields().iter().map(|&(label, bits)| {
            let bit = |b| {
                let moves = self.moves(label, b);
                let words: Vec<String> = moves.iter().map(|(o, by)| format!("{}{by}", name(*o))).collect();
                if words.is_empty() { "-".to_string() } else { words.join("^") }
            };
            let mut words: Vec<String> = (0..bits as u32).map(bit).collect();
            // Odd digits, innermost first like the bits; a digit's step is all that lies inside it on its output.
            for (i, d) in self.odd().iter().enumerate().rev().filter(|(_, d)| d.from == label) {
                let inside: u32 =
                    self.odd()[i + 1..].iter().filter(|e| e.to == d.to).map(|e| e.radix as u32).product();
                let step = (inside as u64) << self.outs().bits(d.to);
                words.push(format!("{}×{}{step}", d.radix, name(d.to)));
            }
            format!("{label}({})", words.join(" "))
        });
        parts.collect::<Vec<_>>().join(" ")
    }
}

impl<I: Label, O: Label> fmt::Display for LinearMap<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe(|o| format!("{o}+")))
    }
}
