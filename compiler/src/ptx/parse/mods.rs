//! The modifiers of a mnemonic, taken from left to right.

use super::{Failure, ParseErrorKind, Parsed};
use crate::ptx::types::{Spelled, Type};

/// What is left of a mnemonic: `rn.f16x2.f32` of `cvt.rn.f16x2.f32`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mods<'a> {
    /// The whole mnemonic, for messages.
    pub(super) name: &'a str,
    rest: Option<&'a str>,
    /// Which words are taken, a bit each, where they may come in any order.
    taken: Option<u64>,
}

impl<'a> Mods<'a> {
    /// Splits the first word off.
    pub(super) fn new(name: &'a str) -> (&'a str, Mods<'a>) {
        match name.split_once('.') {
            Some((head, rest)) => (head, Mods { name, rest: Some(rest), taken: None }),
            None => (name, Mods { name, rest: None, taken: None }),
        }
    }

    /// The same modifiers, each of which may be taken before those to its left. The document gives them an order; assemblers take
    /// any (`ld.global.acquire.gpu`), and so people write any.
    pub(super) fn in_any_order(self) -> Mods<'a> {
        Mods { taken: Some(0), ..self }
    }

    /// Whether instructions `head` have modifiers that are told apart by what they are called, wherever they stand.
    pub(super) fn have_any_order(head: &str) -> bool {
        const ATOMS: [&str; 4] = ["atom", "red", "fence", "membar"];
        const MEMORY: [&str; 4] = ["ld", "ldu", "st", "prefetch"];
        const SUMS: [&str; 9] = ["add", "sub", "mul", "mad", "fma", "div", "min", "max", "cvt"];
        const UNARY: [&str; 10] = ["neg", "abs", "rcp", "sqrt", "rsqrt", "ex2", "lg2", "sin", "cos", "tanh"];
        const WARP: [&str; 6] = ["setp", "set", "shfl", "vote", "redux", "match"];
        [&ATOMS[..], &MEMORY, &SUMS, &UNARY, &WARP].iter().any(|heads| heads.contains(&head))
    }

    /// Takes the first word that `wanted` holds for, if order does not matter.
    fn pick(&mut self, wanted: impl Fn(&'a str) -> bool) -> Option<&'a str> {
        let taken = self.taken.as_mut()?;
        let words = self.rest.into_iter().flat_map(|rest| rest.split('.')).enumerate().take(64);
        let (number, word) =
            words.into_iter().find(|(number, word)| *taken >> number & 1 == 0 && wanted(word))?;
        *taken |= 1 << number;
        Some(word)
    }

    /// The next modifier without its dot.
    pub(super) fn peek(&self) -> Option<&'a str> {
        if self.taken.is_some() {
            return Mods { ..*self }.pick(|_| true);
        }
        self.rest.map(|rest| rest.split_once('.').map_or(rest, |(first, _)| first))
    }

    fn advance(&mut self) {
        self.rest = self.rest.and_then(|rest| rest.split_once('.')).map(|(_, rest)| rest);
    }

    /// Takes the next modifier if it is a `T`.
    pub(super) fn take<T: Spelled>(&mut self) -> Option<T> {
        if self.taken.is_some() {
            return self.pick(|word| !word.is_empty() && T::from_text(word).is_some()).and_then(T::from_text);
        }
        // The empty spelling is absence, never a modifier: `ld..b32` is not PTX.
        let found = T::from_text(self.peek().filter(|text| !text.is_empty())?)?;
        self.advance();
        Some(found)
    }

    /// Takes the next modifier, which must be a `T`; `what` names it.
    pub(super) fn need<T: Spelled>(&mut self, what: &'static str) -> Parsed<T> {
        match self.take() {
            Some(found) => Ok(found),
            None => Err(match self.peek() {
                Some(_) => self.unknown(),
                None => Box::new(ParseErrorKind::MissingModifier { name: self.name.into(), what }),
            }),
        }
    }

    /// The type that comes last.
    pub(super) fn ty(&mut self) -> Parsed<Type> {
        self.need("type")
    }

    /// Takes `word` if it is next.
    pub(super) fn eat(&mut self, word: &str) -> bool {
        if self.taken.is_some() {
            return self.pick(|found| found == word).is_some();
        }
        let found = self.peek() == Some(word);
        if found {
            self.advance();
        }
        found
    }

    /// Takes `words`, dots between them, if all are next.
    pub(super) fn eat_all(&mut self, words: &[&str]) -> bool {
        let before = *self;
        let found = words.iter().all(|word| self.eat(word));
        if !found {
            *self = before;
        }
        found
    }

    /// `word` must be next.
    pub(super) fn expect(&mut self, word: &'static str) -> Parsed<()> {
        if self.eat(word) {
            return Ok(());
        }
        Err(match self.peek() {
            Some(_) => self.unknown(),
            None => Box::new(ParseErrorKind::MissingModifier { name: self.name.into(), what: word }),
        })
    }

    /// Nothing may be left.
    pub(super) fn end(&self) -> Parsed<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unknown()),
        }
    }

    /// The next modifier is not known here.
    pub(super) fn unknown(&self) -> Failure {
        match self.peek() {
            Some(modifier) => Box::new(ParseErrorKind::UnknownModifier {
                modifier: modifier.into(),
                name: self.name.into(),
            }),
            None => Box::new(ParseErrorKind::UnknownInstruction { name: self.name.into() }),
        }
    }

    /// The combination is not legal.
    pub(super) fn illegal(&self, why: impl Into<String>) -> Failure {
        Box::new(ParseErrorKind::Illegal { name: self.name.into(), why: why.into() })
    }

    /// Checks a condition on the combination.
    pub(super) fn require(&self, condition: bool, why: &str) -> Parsed<()> {
        if condition { Ok(()) } else { Err(self.illegal(why)) }
    }
}
