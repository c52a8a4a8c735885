//! Functions of the run-time system: `vprintf` and `__assertfail`, lane by lane in lane order.
//!
//! `vprintf(format, arguments)` gets two generic pointers. Arguments lie behind each other, each at its natural alignment: integers of
//! 4 or 8 bytes as the format says, floating-point numbers as f64, pointers and strings as 8 bytes.
//!
//! ```text
//! "%d of %5.2f: %s\n"     i32 at 0, f64 at 8, pointer at 16
//! ```

use super::super::finding::FindingKind;
use super::super::frame::{Frame, blend32, blend64};
use super::super::memory::read_slice;
use super::super::program::{HostCall, HostFunction, HostValue, MemReg, MemSpace};
use super::access::lanes_of;
use super::block::{Env, Stop};
use super::warp::Warp;

/// Most bytes of one format or string: what a GPU's buffer takes at most is 1 MiB by default.
const MAX_STRING: u64 = 1 << 16;
/// Most bytes that a block prints; the rest is dropped, as on a GPU whose buffer is full.
const MAX_PRINTED: usize = 1 << 20;

impl Env<'_> {
    /// `%clock64` counts instructions of the block (no pipeline is simulated, and it is the same in every run); `%globaltimer` the
    /// nanoseconds since the launch.
    pub(super) fn clock(&mut self, warp: &mut Warp, d: MemReg, time: bool, mask: u32) {
        let now = match time {
            true => self.launch.started.elapsed().as_nanos() as u64,
            false => self.counters.warp_instructions,
        };
        let set = |frame: &mut Frame| match d {
            MemReg::R32(d) => blend32(frame.r32_mut(d), &[now as u32; 32], mask),
            MemReg::R64(d) => blend64(frame.r64_mut(d), &[now; 32], mask),
            MemReg::None => {}
        };
        set(&mut warp.frame);
        warp.twins(set);
    }

    pub(super) fn host_call(
        &mut self,
        warp: &mut Warp,
        line: u32,
        call: &HostCall,
        mask: u32,
    ) -> Result<(), Stop> {
        let mut results = [0u32; 32];
        for lane in lanes_of(mask) {
            let args: Vec<u64> = call.args.iter().map(|&value| self.host_value(warp, lane, value)).collect();
            match call.function {
                HostFunction::Printf => {
                    results[lane] = self.printf(warp.index, lane, line, args[0], args[1])?
                }
                HostFunction::AssertFail => {
                    let text = |at| self.host_string(warp.index, lane, at).unwrap_or_else(|| "?".into());
                    let message = format!(
                        "warp {} lane {lane}: assertion `{}` failed in {} ({}:{})",
                        warp.index,
                        text(args[0]),
                        text(args[3]),
                        text(args[1]),
                        args[2] as u32
                    );
                    self.report(FindingKind::Trap, line, None, || message);
                    return Err(Stop);
                }
            }
        }
        match call.result {
            Some(HostValue::R32(d)) => blend32(warp.frame.r32_mut(d), &results, mask),
            Some(HostValue::R64(d)) => blend64(warp.frame.r64_mut(d), &results.map(u64::from), mask),
            Some(HostValue::Local { address, bytes }) => {
                for lane in lanes_of(mask) {
                    let at = self.local_offset(warp.index, lane) + address as usize;
                    let value = u64::from(results[lane]).to_le_bytes();
                    self.local[at..at + usize::from(bytes)].copy_from_slice(&value[..usize::from(bytes)]);
                }
            }
            Some(HostValue::Imm(_)) | None => {}
        }
        Ok(())
    }

    fn host_value(&self, warp: &Warp, lane: usize, value: HostValue) -> u64 {
        match value {
            HostValue::Imm(value) => value,
            HostValue::R32(r) => warp.frame.r32(r)[lane].into(),
            HostValue::R64(r) => warp.frame.r64(r)[lane],
            HostValue::Local { address, bytes } => {
                let mut words = [0; 4];
                let at = self.local_offset(warp.index, lane) + address as usize;
                read_slice(&self.local, at, bytes.into(), &mut words);
                u64::from(words[0]) | u64::from(words[1]) << 32
            }
        }
    }

    /// A number of `bytes` at a generic address.
    fn host_read(&self, warp: usize, lane: usize, address: u64, bytes: usize) -> Option<u64> {
        let target = self.check_one(MemSpace::Generic, address, bytes as u64)?;
        let mut words = [0; 4];
        self.read_lane(target, warp, lane, address, bytes, &mut words);
        Some(u64::from(words[0]) | u64::from(words[1]) << 32)
    }

    /// The string at a generic address; `None` if it runs out of its memory.
    fn host_string(&self, warp: usize, lane: usize, address: u64) -> Option<String> {
        let mut bytes = Vec::new();
        for at in 0..MAX_STRING {
            match self.host_read(warp, lane, address.wrapping_add(at), 1)? as u8 {
                0 => break,
                byte => bytes.push(byte),
            }
        }
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn printf(&mut self, warp: usize, lane: usize, line: u32, format: u64, args: u64) -> Result<u32, Stop> {
        if format == 0 {
            return Ok(u32::MAX);
        }
        let Some(text) = self.host_string(warp, lane, format) else {
            return self.outside(warp, lane, line, "the format", format);
        };
        let mut out = String::new();
        let (mut count, mut next) = (0, args);
        let mut rest = text.as_str();
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            let Some((spec, behind)) = Spec::parse(&rest[at + 1..]) else {
                // No conversion: it stands for itself.
                out.push('%');
                rest = &rest[at + 1..];
                continue;
            };
            rest = behind;
            if spec.kind == '%' {
                out.push('%');
                continue;
            }
            let mut argument = |bytes: u64| {
                let at = next.wrapping_add(bytes - 1) & !(bytes - 1);
                next = at.wrapping_add(bytes);
                (at, self.host_read(warp, lane, at, bytes as usize))
            };
            let mut spec = spec;
            let mut values = [0; 3];
            let stars = [spec.width == Some(Count::Star), spec.precision == Some(Count::Star), true];
            for ((wanted, bytes), value) in stars.into_iter().zip([4, 4, spec.bytes()]).zip(&mut values) {
                if !wanted {
                    continue;
                }
                match argument(bytes) {
                    (_, Some(read)) => *value = read,
                    (address, None) => return self.outside(warp, lane, line, "an argument", address),
                }
                count += 1;
            }
            spec.fill(values[0] as i32, values[1] as i32);
            let value = values[2];
            if spec.kind == 's' {
                let Some(string) = self.host_string(warp, lane, value) else {
                    return self.outside(warp, lane, line, "a string", value);
                };
                spec.pad(&spec.cut(string), &mut out);
            } else {
                spec.number(value, &mut out);
            }
        }
        out.push_str(rest);
        if self.printed.len() + out.len() <= MAX_PRINTED {
            self.printed.push_str(&out);
        }
        self.effects += 1;
        Ok(count)
    }

    fn outside<T>(&mut self, warp: usize, lane: usize, line: u32, what: &str, at: u64) -> Result<T, Stop> {
        let place = self.describe(MemSpace::Generic, at, 1);
        self.report(FindingKind::OutOfBounds, line, None, || {
            format!("warp {warp} lane {lane}: {what} of vprintf at {place}")
        });
        Err(Stop)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Count {
    Given(usize),
    /// `*`: among the arguments.
    Star,
}

/// `%-08.3lld`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternative: bool,
    width: Option<Count>,
    precision: Option<Count>,
    /// Bits of the integer: 8, 16, 32 or 64.
    bits: u32,
    kind: char,
}

impl Spec {
    /// What stands behind a `%`, and what is left behind that.
    fn parse(text: &str) -> Option<(Spec, &str)> {
        let mut spec = Spec { bits: 32, ..Spec::default() };
        let mut rest = text;
        let mut eat = |c: char| {
            let left = rest.strip_prefix(c);
            rest = left.unwrap_or(rest);
            left.is_some()
        };
        loop {
            match () {
                () if eat('-') => spec.left = true,
                () if eat('0') => spec.zero = true,
                () if eat('+') => spec.plus = true,
                () if eat(' ') => spec.space = true,
                () if eat('#') => spec.alternative = true,
                () => break,
            }
        }
        let count = |rest: &mut &str| {
            if let Some(left) = rest.strip_prefix('*') {
                *rest = left;
                return Some(Count::Star);
            }
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number = rest[..digits].parse().ok();
            *rest = &rest[digits..];
            number.map(|n: usize| Count::Given(n.min(4096)))
        };
        spec.width = count(&mut rest);
        if let Some(left) = rest.strip_prefix('.') {
            rest = left;
            spec.precision = Some(count(&mut rest).unwrap_or(Count::Given(0)));
        }
        for (length, bits) in [("hh", 8), ("h", 16), ("ll", 64), ("l", 64), ("j", 64), ("z", 64), ("t", 64)] {
            if let Some(left) = rest.strip_prefix(length) {
                (rest, spec.bits) = (left, bits);
                break;
            }
        }
        spec.kind = rest.chars().next()?;
        "diuxXocspfFeEgGaA%".contains(spec.kind).then(|| (spec, &rest[spec.kind.len_utf8()..]))
    }

    /// Bytes of the argument.
    fn bytes(&self) -> u64 {
        match self.kind {
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => u64::from(self.bits.max(32) / 8),
            'c' => 4,
            _ => 8,
        }
    }

    /// Puts numbers where `*` is; a negative width is one to the left.
    fn fill(&mut self, width: i32, precision: i32) {
        if self.width == Some(Count::Star) {
            self.left |= width < 0;
            self.width = Some(Count::Given((width.unsigned_abs() as usize).min(4096)));
        }
        if self.precision == Some(Count::Star) {
            self.precision = usize::try_from(precision).ok().map(|n| Count::Given(n.min(4096)));
        }
    }

    fn places(&self) -> Option<usize> {
        match self.precision {
            Some(Count::Given(n)) => Some(n),
            _ => None,
        }
    }

    /// A string is cut to the precision.
    fn cut(&self, text: String) -> String {
        self.places().map_or(text.clone(), |n| text.chars().take(n).collect())
    }

    fn pad(&self, text: &str, out: &mut String) {
        let width = match self.width {
            Some(Count::Given(n)) => n,
            _ => 0,
        };
        let missing = width.saturating_sub(text.chars().count());
        if self.left {
            out.push_str(text);
        }
        out.extend(std::iter::repeat_n(' ', missing));
        if !self.left {
            out.push_str(text);
        }
    }

    fn number(&self, value: u64, out: &mut String) {
        let wide = |bits: u32| value << (64 - bits);
        let (sign, digits) = match self.kind {
            'c' => return self.pad(&char::from(value as u8).to_string(), out),
            'd' | 'i' => {
                let value = wide(self.bits) as i64 >> (64 - self.bits);
                (value < 0, self.at_least(value.unsigned_abs().to_string()))
            }
            'u' => (false, self.at_least((wide(self.bits) >> (64 - self.bits)).to_string())),
            'x' | 'X' | 'o' => {
                let value = wide(self.bits) >> (64 - self.bits);
                let (digits, prefix) = match self.kind {
                    'x' => (format!("{value:x}"), "0x"),
                    'X' => (format!("{value:X}"), "0X"),
                    _ => (format!("{value:o}"), "0"),
                };
                let prefix = if self.alternative && value != 0 { prefix } else { "" };
                return self.padded(prefix, &self.at_least(digits), self.places().is_none(), out);
            }
            'p' => return self.pad(&format!("{value:#x}"), out),
            _ => {
                let value = f64::from_bits(value);
                let text = self.float(value.abs());
                (value.is_sign_negative() && !value.is_nan(), text)
            }
        };
        let sign = match (sign, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) if self.kind != 'u' => "+",
            (_, _, true) if self.kind != 'u' => " ",
            _ => "",
        };
        let integer = matches!(self.kind, 'd' | 'i' | 'u');
        let finite = digits.starts_with(|c: char| c.is_ascii_digit());
        self.padded(sign, &digits, finite && !(integer && self.places().is_some()), out);
    }

    /// Zeros between sign and digits if they are asked for and `may` be there.
    fn padded(&self, sign: &str, digits: &str, may: bool, out: &mut String) {
        let width = match self.width {
            Some(Count::Given(n)) if self.zero && !self.left && may => n,
            _ => 0,
        };
        let zeros = "0".repeat(width.saturating_sub(sign.len() + digits.len()));
        self.pad(&format!("{sign}{zeros}{digits}"), out);
    }

    /// The precision of an integer is its least number of digits.
    fn at_least(&self, digits: String) -> String {
        let digits = if self.places() == Some(0) && digits == "0" { String::new() } else { digits };
        format!("{}{digits}", "0".repeat(self.places().unwrap_or(1).saturating_sub(digits.len())))
    }

    /// A number without its sign.
    fn float(&self, value: f64) -> String {
        let upper = self.kind.is_ascii_uppercase();
        if !value.is_finite() {
            let name = if value.is_nan() { "nan" } else { "inf" };
            return if upper { name.to_uppercase() } else { name.into() };
        }
        let places = self.places().unwrap_or(6);
        let exponential = |value: f64, places: usize| {
            let text = format!("{value:.places$e}");
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let (sign, digits) = match exponent.strip_prefix('-') {
                Some(digits) => ('-', digits),
                None => ('+', exponent),
            };
            (mantissa.to_string(), format!("e{sign}{digits:0>2}"), exponent.parse::<i32>().unwrap_or(0))
        };
        let text = match self.kind.to_ascii_lowercase() {
            'e' => {
                let (mantissa, exponent, _) = exponential(value, places);
                mantissa + &exponent
            }
            'g' => {
                let digits = places.max(1);
                let (mantissa, exponent, power) = exponential(value, digits - 1);
                let trim = |text: String| match text.contains('.') && !self.alternative {
                    true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
                    false => text,
                };
                if power < -4 || power >= digits as i32 {
                    trim(mantissa) + &exponent
                } else {
                    let places = (digits as i32 - 1 - power).max(0) as usize;
                    trim(format!("{value:.places$}"))
                }
            }
            'a' => hexadecimal(value, self.places()),
            _ => format!("{value:.places$}"),
        };
        if upper { text.to_uppercase() } else { text }
    }
}

/// `%a`: `0x1.8p+1`.
fn hexadecimal(value: f64, places: Option<usize>) -> String {
    let bits = value.to_bits();
    let (mut exponent, mut fraction) = ((bits >> 52 & 0x7ff) as i32, bits & ((1 << 52) - 1));
    let mut lead = u64::from(exponent != 0);
    exponent = if exponent == 0 { if fraction == 0 { 0 } else { -1022 } } else { exponent - 1023 };
    let mut digits = 13;
    if let Some(places) = places.filter(|&n| n < 13) {
        let drop = 4 * (13 - places) as u32;
        let whole = lead << 52 | fraction;
        let (half, low) = (1 << (drop - 1), whole & ((1 << drop) - 1));
        let odd = whole >> drop & 1;
        let rounded = (whole >> drop) + u64::from(low > half || (low == half && odd == 1));
        (lead, fraction) = (rounded >> (52 - drop), rounded & ((1 << (52 - drop)) - 1));
        digits = places;
    }
    let mut text = if digits == 0 { String::new() } else { format!("{fraction:0digits$x}") };
    match places {
        None => text = text.trim_end_matches('0').into(),
        Some(n) => text.extend(std::iter::repeat_n('0', n.saturating_sub(13))),
    }
    let point = if text.is_empty() { "" } else { "." };
    format!("0x{lead}{point}{text}p{exponent:+}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(format: &str, value: u64) -> String {
        let (spec, rest) =
            Spec::parse(format.strip_prefix('%').expect("a conversion")).expect("a conversion");
        assert_eq!(rest, "");
        let mut out = String::new();
        spec.number(value, &mut out);
        out
    }

    /// What C's `printf` writes.
    #[test]
    fn conversions_are_those_of_c() {
        for (format, value, want) in [
            ("%d", -7i64 as u64, "-7"),
            ("%5d", 42, "   42"),
            ("%-5d|", 0, ""),
            ("%05d", -42i64 as u64, "-0042"),
            ("%+d", 3, "+3"),
            ("%.3d", 7, "007"),
            ("%u", 0xffff_ffff, "4294967295"),
            ("%lld", u64::MAX, "-1"),
            ("%#x", 255, "0xff"),
            ("%08X", 0xbeef, "0000BEEF"),
            ("%o", 8, "10"),
            ("%c", 65, "A"),
            ("%hhd", 0x1ff, "-1"),
        ] {
            if let Some(format) = format.strip_suffix('|') {
                assert_eq!(one(format, 42), "42   ");
            } else {
                assert_eq!(one(format, value), want, "{format}");
            }
        }
        for (format, value, want) in [
            ("%f", 1.5, "1.500000"),
            ("%.2f", -0.005, "-0.01"),
            ("%8.3f", 2.71849, "   2.718"),
            ("%08.2f", -2.71349, "-0002.71"),
            ("%e", 12345.678, "1.234568e+04"),
            ("%g", 0.0001, "0.0001"),
            ("%g", 1e-5, "1e-05"),
            ("%g", 1e6, "1e+06"),
            ("%g", 100000.0, "100000"),
            ("%g", 0.5, "0.5"),
            ("%a", 3.0, "0x1.8p+1"),
            ("%.1a", 1.999, "0x2.0p+0"),
            ("%f", f64::NEG_INFINITY, "-inf"),
            ("%F", f64::NAN, "NAN"),
        ] {
            assert_eq!(one(format, f64::to_bits(value)), want, "{format}");
        }
    }
}
