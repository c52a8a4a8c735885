//! Binding: the values of generics, functions and tune parameters, and where each came from.
//!
//! Strongest first: `--set`, an instance (`kernel NAME = base<…>`), for tune parameters the schedule whose `when` holds and what the model chose, what the
//! arguments imply, the default, the first alternative. Tune parameters that nothing fixes take the first combination that the constraints allow,
//! first values first.

use super::value::{Binding, GenericFn, Static, Val};
use super::{Elab, Target};
use crate::diagnostics::{Diagnostic, Span, codes, near};
use crate::front::Res;
use crate::front::ast::{self, Atom, AtomKind, Generic, NumberValue, Set, SetKind};
use crate::tile::*;

/// A generic's chosen value.
struct Chosen {
    value: BoundValue,
    from: ValueSource,
    /// Where it was written, if in the source.
    span: Option<Span>,
}

/// More values in a set than this are not listed one by one.
const MAX_VALUES: i64 = 4096;
impl Elab<'_> {
    pub(super) fn bind_generics(&mut self, target: &Target) {
        let kernel = self.program.kernel(target.kernel);
        for g in &kernel.generics {
            match g {
                Generic::Value { name, alternatives, default, span } => {
                    self.bind_generic(target, kernel, name, alternatives, default.as_ref(), *span);
                }
                Generic::Fn { name, ret, default, params, span } => {
                    self.bind_function(target, name, ret.as_ref(), params.len(), default, *span);
                }
            }
        }
    }

    fn bind_generic(
        &mut self,
        target: &Target,
        kernel: &ast::Kernel,
        name: &ast::Ident,
        alternatives: &[Set],
        default: Option<&Set>,
        span: Span,
    ) {
        let values = self.set_values(alternatives);
        let chosen = self.chosen_generic(target, kernel, name, default, values.first());
        let Some(mut chosen) = chosen else {
            if self.setting(name.as_str()).is_none() && alternatives.is_empty() && default.is_none() {
                self.error(
                    Diagnostic::error(codes::NO_VALUE, format!("nothing gives `{name}` a value"))
                        .label(span, "no alternatives, no default")
                        .help(format!("set it: `--set {name}=…`, or write a default: `{name} = …`")),
                );
            }
            return self.bind(name, Binding::Val(Val::Poison));
        };
        if !alternatives.is_empty() && !self.in_sets(&chosen.value, alternatives) {
            let mut d = Diagnostic::error(
                codes::BAD_SETTING,
                format!("`{name} = {}` is not among its alternatives", chosen.value),
            );
            d = match chosen.span {
                Some(at) if chosen.from == ValueSource::Implied => {
                    let param = kernel.params.iter().find(|p| p.name.span == at);
                    let given = self
                        .settings
                        .arguments
                        .iter()
                        .find(|a| param.is_some_and(|p| p.name.as_str() == a.name));
                    let label = match given.and_then(|a| a.origin.as_ref()) {
                        Some(file) => format!("what is given here implies it: {file}"),
                        None => "the argument given here implies it".into(),
                    };
                    d.label(at, label).secondary(span, "declared here")
                }
                Some(at) => d.label(at, "set here").secondary(span, "declared here"),
                None => d.label(span, "declared here"),
            };
            self.error(d.help(format!("`{name}` is one of {}", value_list(&values))));
            // One that is allowed stands in, so that the rest of the text can be judged.
            let usual = default.and_then(|d| self.quietly(|e| e.one_value(d))).or(values.first().cloned());
            match usual {
                Some(value) => chosen.value = value,
                None => return self.bind(name, Binding::Val(Val::Poison)),
            }
        }
        let val = static_val(&chosen.value, Some(&name.text));
        self.names.insert(name.text.clone(), (val.clone(), name.span));
        self.bind(name, Binding::Val(val));
        self.k.binding.push(Bound {
            name: name.to_string(),
            kind: BoundKind::Generic,
            value: chosen.value,
            from: chosen.from,
        });
    }

    fn chosen_generic(
        &mut self,
        target: &Target,
        kernel: &ast::Kernel,
        name: &ast::Ident,
        default: Option<&Set>,
        first: Option<&BoundValue>,
    ) -> Option<Chosen> {
        if let Some(text) = self.setting(name.as_str()) {
            let value = self.parse_value(&text);
            if value.is_none() {
                self.error(
                    Diagnostic::error(codes::BAD_SETTING, format!("`{text}` is no value for `{name}`"))
                        .label(name.span, "this parameter")
                        .help("a value is a type, an integer, `true`, `false`, or a constant of the file"),
                );
            }
            return value.map(|value| Chosen { value, from: ValueSource::Set, span: None });
        }
        for i in &target.instances {
            let instance = self.program.instance(*i);
            if let Some(s) = instance.settings.iter().find(|s| s.name.text == name.text) {
                let value = self.one_value(&s.value)?;
                return Some(Chosen { value, from: ValueSource::Instance, span: Some(s.span) });
            }
        }
        if let Some((value, param)) = self.implied(kernel, name) {
            return Some(Chosen { value, from: ValueSource::Implied, span: Some(param) });
        }
        let (value, span) = match default {
            Some(d) => (self.one_value(d)?, Some(d.span)),
            None => (first?.clone(), None),
        };
        Some(Chosen { value, from: ValueSource::Default, span })
    }

    /// What is known of the arguments fixes a type or size parameter: its value, and the parameter whose argument says so.
    fn implied(&self, kernel: &ast::Kernel, name: &ast::Ident) -> Option<(BoundValue, Span)> {
        let Res::Local(local) = self.program.res(name) else { return None };
        let is = |n: &ast::Ident| self.program.res(n) == Res::Local(local);
        for a in &self.settings.arguments {
            let Some(p) = kernel.params.iter().find(|p| p.name.as_str() == a.name) else { continue };
            if let Some(elem) = a.elem
                && is(&p.ty.name)
            {
                return Some((BoundValue::Type(elem), p.name.span));
            }
            for (n, e) in a.shape.iter().flatten().zip(&p.ty.shape) {
                if let ast::ExprKind::Name(d) = &e.kind
                    && is(d)
                {
                    return Some((BoundValue::Int(*n), p.name.span));
                }
            }
        }
        None
    }

    fn bind_function(
        &mut self,
        target: &Target,
        name: &ast::Ident,
        ret: Option<&ast::Type>,
        arity: usize,
        default: &Atom,
        span: Span,
    ) {
        let (f, from, at) = if let Some(text) = self.setting(name.as_str()) {
            let Some(f) = self.function_named(&text) else {
                let names: Vec<&str> = self.program.fns.iter().map(|f| f.name.as_str()).collect();
                let d = Diagnostic::error(
                    codes::BAD_SETTING,
                    format!("there is no function `{text}` for `{name}`"),
                )
                .label(span, format!("this parameter takes a function of {arity} argument(s)"));
                self.error(match near(&text, names) {
                    Some(n) => d.help(format!("did you mean `{n}`?")),
                    None => self.functions_of(arity, d),
                });
                return self.bind(name, Binding::Val(Val::Poison));
            };
            (f, ValueSource::Set, None)
        } else {
            let set = target.instances.iter().find_map(|i| {
                let instance = self.program.instance(*i);
                instance.settings.iter().find(|s| s.name.text == name.text).map(|s| &s.value)
            });
            let (atom, from) = match set.map(|s| &s.kind) {
                Some(SetKind::One(a)) => (a, ValueSource::Instance),
                Some(_) => return self.bind(name, Binding::Val(Val::Poison)),
                None => (default, ValueSource::Default),
            };
            let f = match &atom.kind {
                AtomKind::Path(p) => self.name(p.last()),
                _ => Val::Static(Static::int(0)),
            };
            (f, from, Some(atom.span))
        };
        let (text, params) = match &f {
            Val::Function(id) => {
                let f = self.program.function(*id);
                (f.name.to_string(), Some((f.params.len(), f.name.span)))
            }
            Val::Builtin(b) => (b.to_string(), None),
            Val::Poison => return self.bind(name, Binding::Val(Val::Poison)),
            other => {
                let is = self.describe(other);
                self.error(
                    Diagnostic::error(codes::BAD_SETTING, format!("`{name}` takes a function"))
                        .label(at.unwrap_or(span), format!("this is {is}"))
                        .secondary(span, "declared here"),
                );
                return self.bind(name, Binding::Val(Val::Poison));
            }
        };
        if let Some((own, declared)) = params
            && own != arity
        {
            let d = Diagnostic::error(
                codes::ARITY,
                format!("`{name}` is called with {arity} argument(s), and `{text}` takes {own}"),
            );
            let d = match at {
                Some(at) => d
                    .label(at, format!("`{text}` takes {own}"))
                    .secondary(span, format!("called with {arity}")),
                None => d.label(span, format!("called with {arity}")),
            };
            let d = d.secondary(declared, format!("`{text}` takes {own}"));
            self.error(self.functions_of(arity, d));
            return self.bind(name, Binding::Val(Val::Poison));
        }
        let ret = ret.and_then(|t| Some((self.elem_type(&t.name)?, t.span)));
        if let Res::Local(local) = self.program.res(name) {
            self.generic_fns.push(GenericFn { local, name: name.text.clone(), ret });
        }
        self.bind(name, Binding::Val(f));
        self.k.binding.push(Bound {
            name: name.to_string(),
            kind: BoundKind::Function,
            value: BoundValue::Function(text),
            from,
        });
    }

    /// Says which functions of the file could stand where one of so many arguments is wanted.
    fn functions_of(&self, arity: usize, d: Diagnostic) -> Diagnostic {
        let fitting =
            |f: &&ast::Function| f.params.len() == arity && f.name.span.file != self.program.prelude;
        let fitting: Vec<String> =
            self.program.fns.iter().filter(fitting).map(|f| format!("`{}`", f.name)).collect();
        match fitting.len() {
            0 => d.help(format!("no function of the file takes {arity} argument(s)")),
            1..=12 => d.help(format!("functions of {arity} argument(s): {}", fitting.join(", "))),
            n => d.help(format!(
                "functions of {arity} argument(s): {}, … ({n} in all)",
                fitting[..12].join(", ")
            )),
        }
    }

    /// The last `--set` of that name.
    pub(super) fn setting(&self, name: &str) -> Option<String> {
        self.settings.sets.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.trim().to_string())
    }

    /// A value as written on the command line.
    pub(super) fn parse_value(&mut self, text: &str) -> Option<BoundValue> {
        if let Some(t) = ElemType::from_name(text) {
            return Some(BoundValue::Type(t));
        }
        match text {
            "true" => return Some(BoundValue::Bool(true)),
            "false" => return Some(BoundValue::Bool(false)),
            _ => {}
        }
        if let Some(v) = parse_int(text) {
            return Some(BoundValue::Int(v));
        }
        if text.contains('.')
            && let Ok(v) = text.parse::<f64>()
        {
            return Some(BoundValue::Float(v));
        }
        let crate::front::Res::Const(id) = self.program.item_named(text) else { return None };
        match &self.program.constant(id).value {
            ast::ConstValue::Scalar(e) => bound_value(&self.expr(e, None)),
            ast::ConstValue::List { .. } => None,
        }
    }

    /// A function by its (perhaps dotted) name.
    fn function_named(&self, text: &str) -> Option<Val> {
        match self.program.item_named(text) {
            crate::front::Res::Fn(id) => Some(Val::Function(id)),
            _ => None,
        }
    }

    fn atom(&mut self, a: &Atom) -> Option<BoundValue> {
        match &a.kind {
            AtomKind::Number(n) => Some(match n.value {
                NumberValue::Int(v) => BoundValue::Int(i64::try_from(v).ok()?),
                NumberValue::Float(v) => BoundValue::Float(v),
            }),
            AtomKind::Bool(b) => Some(BoundValue::Bool(*b)),
            AtomKind::Path(p) => {
                let v = self.name(p.last());
                let bound = bound_value(&v);
                if bound.is_none() && !v.is_poison() {
                    self.wrong_kind(&v, a.span, "a type or a static number");
                }
                bound
            }
        }
    }

    /// A set that must be one value.
    fn one_value(&mut self, s: &Set) -> Option<BoundValue> {
        match &s.kind {
            SetKind::One(a) => self.atom(a),
            SetKind::Span { .. } => {
                self.error(
                    Diagnostic::error(codes::BAD_SETTING, "one value is wanted here")
                        .label(s.span, "this is a range of values"),
                );
                None
            }
            SetKind::Error => None,
        }
    }

    /// All values of alternatives, in order, as far as they can be listed.
    pub(super) fn set_values(&mut self, sets: &[Set]) -> Vec<BoundValue> {
        let mut out = Vec::new();
        for s in sets {
            match &s.kind {
                SetKind::One(a) => {
                    if let AtomKind::Path(p) = &a.kind
                        && let Res::FloatsOf(bits) = self.program.res(p.last())
                    {
                        for exponent in 1..bits {
                            if let Some(t) = ElemType::small(exponent, bits - 1 - exponent) {
                                out.push(BoundValue::Type(t));
                            }
                        }
                        continue;
                    }
                    out.extend(self.atom(a));
                }
                SetKind::Span { lo, hi, step } => {
                    let (l, h) = (self.atom(lo), self.atom(hi));
                    let (Some(l), Some(h)) = (l, h) else { continue };
                    let step = step.as_ref().map_or(1, |n| match n.value {
                        NumberValue::Int(v) => i64::try_from(v).unwrap_or(0),
                        NumberValue::Float(_) => 0,
                    });
                    if let (BoundValue::Int(l), BoundValue::Int(h)) = (&l, &h)
                        && step > 0
                        && i128::from(*h) - i128::from(*l) >= i128::from(step) * i128::from(MAX_VALUES)
                    {
                        self.error(
                            Diagnostic::error(
                                codes::BAD_SET,
                                format!("a set has at most {MAX_VALUES} values"),
                            )
                            .label(s.span, format!("from {l} to {h} by {step}"))
                            .help(format!("a larger step: `{l}..={h} step {}`", coarser(*l, *h))),
                        );
                        continue;
                    }
                    match span_values(&l, &h, step) {
                        Some(values) if !values.is_empty() => out.extend(values),
                        _ => self.error(
                            Diagnostic::error(codes::BAD_SET, "this is no set of values")
                                .label(s.span, format!("from {l} to {h} by {step}"))
                                .note("a set runs between two integers, or two integer types of one kind (`u1..=u8`), upwards"),
                        ),
                    }
                }
                SetKind::Error => {}
            }
        }
        out
    }

    fn in_sets(&mut self, v: &BoundValue, sets: &[Set]) -> bool {
        // Errors of the sets themselves have been reported when they were listed.
        let values = self.quietly(|s| s.set_values(sets));
        values.contains(v) || values.is_empty()
    }

    /// For `check`: the other alternatives of type parameters, as settings.
    pub(super) fn type_alternatives(&mut self, target: &Target) -> Vec<(String, String)> {
        let kernel = self.program.kernel(target.kernel);
        let mut out = Vec::new();
        for g in &kernel.generics {
            let Generic::Value { name, alternatives, .. } = g else { continue };
            let fixed = target
                .instances
                .iter()
                .any(|i| self.program.instance(*i).settings.iter().any(|s| s.name.text == name.text));
            let own = self.k.bound(name.as_str()).map(|b| b.value.clone());
            if fixed {
                continue;
            }
            for v in self.quietly(|s| s.set_values(alternatives)).into_iter().take(16) {
                if matches!(v, BoundValue::Type(_)) && own.as_ref() != Some(&v) {
                    out.push((name.to_string(), v.to_string()));
                }
            }
        }
        out
    }
}

/// What a value means in expressions.
pub(super) fn static_val(v: &BoundValue, dim: Option<&ast::Symbol>) -> Val {
    match v {
        BoundValue::Type(t) => Val::Type(*t),
        BoundValue::Int(v) => Val::Static(Static { dim: dim.cloned(), ..Static::int(*v) }),
        BoundValue::Bool(b) => Val::Static(Static::free(Const::Bool(*b))),
        BoundValue::Float(f) => Val::Static(Static::free(Const::Float(*f))),
        BoundValue::Function(_) => Val::Poison,
    }
}

pub(super) fn bound_value(v: &Val) -> Option<BoundValue> {
    match v {
        Val::Type(t) => Some(BoundValue::Type(*t)),
        Val::Static(s) => Some(match s.value {
            Const::Int(v) => BoundValue::Int(i64::try_from(v).ok()?),
            Const::Bool(b) => BoundValue::Bool(b),
            Const::Float(f) => BoundValue::Float(f),
        }),
        _ => None,
    }
}

/// The least power of two that is step enough.
fn coarser(lo: i64, hi: i64) -> i128 {
    let length = i128::from(hi) - i128::from(lo);
    (1..).map(|bits| 1i128 << bits).find(|step| length / step < i128::from(MAX_VALUES)).unwrap_or(1)
}

/// `lo, lo + step, … ≤ hi` of integers, or of the widths of one kind of integer type.
fn span_values(lo: &BoundValue, hi: &BoundValue, step: i64) -> Option<Vec<BoundValue>> {
    if step < 1 {
        return None;
    }
    let (l, h, make): (i64, i64, fn(i64) -> Option<BoundValue>) = match (lo, hi) {
        (BoundValue::Int(l), BoundValue::Int(h)) => (*l, *h, |v| Some(BoundValue::Int(v))),
        (BoundValue::Type(l), BoundValue::Type(h)) => {
            let letter = |t: &ElemType| match t {
                ElemType::Int(_) => Some('i'),
                ElemType::Uint(_) => Some('u'),
                ElemType::Bipolar(_) => Some('b'),
                _ => None,
            };
            let kind = letter(l).filter(|k| letter(h) == Some(*k))?;
            let make: fn(i64) -> Option<BoundValue> = match kind {
                'i' => |v| ElemType::from_name(&format!("i{v}")).map(BoundValue::Type),
                'u' => |v| ElemType::from_name(&format!("u{v}")).map(BoundValue::Type),
                _ => |v| ElemType::from_name(&format!("b{v}")).map(BoundValue::Type),
            };
            (l.bits().into(), h.bits().into(), make)
        }
        _ => return None,
    };
    if h < l || (h.checked_sub(l)?) / step >= MAX_VALUES {
        return None;
    }
    let mut out = Vec::new();
    let mut v = l;
    while v <= h {
        out.extend(make(v));
        v = v.checked_add(step)?;
    }
    Some(out)
}

fn parse_int(text: &str) -> Option<i64> {
    let clean: String = text.chars().filter(|c| *c != '_').collect();
    let (negative, digits) = match clean.strip_prefix('-') {
        Some(d) => (true, d),
        None => (false, clean.as_str()),
    };
    let v = if let Some(hex) = digits.strip_prefix("0x") {
        i64::from_str_radix(hex, 16).ok()?
    } else if let Some(bin) = digits.strip_prefix("0b") {
        i64::from_str_radix(bin, 2).ok()?
    } else {
        digits.parse().ok()?
    };
    if negative { v.checked_neg() } else { Some(v) }
}

pub(super) fn value_list(values: &[BoundValue]) -> String {
    // Many integers at one distance: their ends say more than the first dozen.
    let numbers: Vec<i64> =
        values.iter().filter_map(|v| if let BoundValue::Int(n) = v { Some(*n) } else { None }).collect();
    if let (&[first, second, .., last], true) =
        (&numbers[..], values.len() > 12 && numbers.len() == values.len())
        && numbers.windows(2).all(|pair| pair[1] - pair[0] == second - first)
    {
        return match second - first {
            1 => format!("the integers from `{first}` to `{last}`"),
            step => format!("`{first}`, `{second}`, … `{last}`, in steps of {step}"),
        };
    }
    let shown: Vec<String> = values.iter().take(12).map(|v| format!("`{v}`")).collect();
    let more = if values.len() > 12 { format!(", … ({} in all)", values.len()) } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
