//! The words of diagnostics: how types, axes and values are named to a person, and the errors that several passes report.

use super::Elab;
use super::value::Val;
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::tile::*;

impl Elab<'_> {
    /// `f32[i, k]`, or `f32`.
    pub(super) fn type_text(&self, ty: &TileType) -> String {
        if ty.is_scalar() { ty.elem.to_string() } else { format!("{}{}", ty.elem, self.axes_text(&ty.axes)) }
    }

    /// `[i, k]`
    pub(super) fn axes_text(&self, axes: &[AxisId]) -> String {
        let names: Vec<&str> = axes.iter().map(|a| self.k.axis(*a).name.as_str()).collect();
        format!("[{}]", names.join(", "))
    }

    pub(super) fn value_type_text(&self, v: ValueId) -> String {
        self.type_text(self.k.ty(v))
    }

    /// What an expression is, for "this is …".
    pub(super) fn describe(&self, v: &Val) -> String {
        match v {
            Val::Value(v) | Val::Sorted(v, _) => format!("`{}`", self.value_type_text(*v)),
            Val::Static(s) => match (s.ty, s.value) {
                (Some(ty), _) => format!("`{ty}`"),
                (None, Const::Int(_)) => "an integer".into(),
                (None, Const::Float(_)) => "a number".into(),
                (None, Const::Bool(_)) => "`bool`".into(),
            },
            Val::Range(a) => format!("the range `{}`", self.k.axis(*a).name),
            Val::Tensor(t) => format!("the tensor `{}`", self.k.tensor(*t).name),
            Val::Type(t) => format!("the type `{t}`"),
            Val::Function(_) | Val::Builtin(_) => "a function".into(),
            Val::Tuple(items) => format!("a tuple of {}", items.len()),
            Val::Poison => "an error".into(),
        }
    }

    /// Adds where axes came from, each once.
    pub(super) fn label_axes(&self, mut d: Diagnostic, axes: &[AxisId]) -> Diagnostic {
        let mut spans: Vec<Span> = d.labels.iter().map(|l| l.span).collect();
        for a in axes {
            let axis = self.k.axis(*a);
            if axis.span != Span::default() && !spans.contains(&axis.span) {
                spans.push(axis.span);
                d = d.secondary(axis.span, format!("axis `{}` comes from here", axis.name));
            }
        }
        d
    }

    /// Value axes that a place, variable or declared type does not have.
    pub(super) fn extra_axes(
        &mut self,
        value: ValueId,
        place: &[AxisId],
        span: Span,
        what: &str,
        place_span: Span,
    ) -> bool {
        let own = self.k.ty(value).axes.clone();
        let extra: Vec<AxisId> = own.iter().copied().filter(|a| !place.contains(a)).collect();
        if extra.is_empty() {
            return false;
        }
        let names: Vec<String> = extra.iter().map(|a| self.k.axis(*a).name.clone()).collect();
        let list = if let [one] = &names[..] { one.clone() } else { format!("({})", names.join(", ")) };
        let place_text = if place.is_empty() {
            "is a scalar".to_string()
        } else {
            format!("has axes `{}`", self.axes_text(place))
        };
        let twin = extra.iter().find_map(|a| {
            place.iter().find(|p| self.k.axis(**p).name == self.k.axis(*a).name).map(|p| (*a, *p))
        });
        let mut d = Diagnostic::error(
            codes::UNREDUCED_AXIS,
            format!("the value has axis `{}` that {what} lacks", names.join("`, `")),
        )
        .label(span, format!("this has axes `{}`", self.axes_text(&own)))
        .secondary(place_span, format!("{what} {place_text}"));
        d = self.label_axes(d, &extra);
        d = match twin {
            Some((a, p)) => {
                let name = self.k.axis(a).name.clone();
                self.label_axes(d, &[p])
                    .note(format!(
                        "two ranges named `{name}` are two axes; an axis is the range that made it"
                    ))
                    .help(format!("use one range `{name}` on both sides"))
            }
            None => {
                let op = if self.k.ty(value).elem == ElemType::Bool { "any" } else { "sum" };
                d.help(format!("reduce over {list} first: `{op}(… over {list})`"))
            }
        };
        self.error(d);
        true
    }

    /// Two operands of different types.
    pub(super) fn type_clash(&mut self, op: &str, l: (&Val, Span), r: (&Val, Span), span: Span) {
        let (lt, rt) = (self.describe(l.0), self.describe(r.0));
        let mut d = Diagnostic::error(codes::TYPE_MISMATCH, format!("`{op}` takes two operands of one type"))
            .label(l.1, format!("this is {lt}"))
            .label(r.1, format!("this is {rt}"));
        let _ = span;
        if let (Some(le), Some(re)) = (self.hint_of(l.0), self.hint_of(r.0)) {
            let (at, to) = if wider(le, re) { (r.1, le) } else { (l.1, re) };
            let which = if at == l.1 { "the left side" } else { "the right side" };
            d = d
                .note("nothing is converted silently")
                .help(format!("convert {which}: write `… as {to}` there"));
        }
        self.error(d);
    }

    /// A value where something else is wanted.
    pub(super) fn wrong_kind(&mut self, v: &Val, span: Span, wanted: &str) {
        if v.is_poison() {
            return;
        }
        let is = self.describe(v);
        let mut d = Diagnostic::error(codes::WRONG_KIND, format!("{wanted} is wanted here"))
            .label(span, format!("this is {is}"));
        d = match v {
            Val::Tensor(t) => {
                let t = self.k.tensor(*t);
                let dots = vec!["…"; t.shape.len()].join(", ");
                d.help(format!("read it by subscripts: `{}[{dots}]`", t.name))
            }
            Val::Tuple(_) => d.help("take it apart: `let (x, y) = …;`"),
            Val::Function(_) | Val::Builtin(_) => d.help("call it"),
            _ => d,
        };
        self.error(d);
    }

    /// Arithmetic on a storage type.
    pub(super) fn storage_arithmetic(&mut self, op: &str, elem: ElemType, span: Span) {
        let to = match elem {
            e if e.is_float() => "f32",
            _ => "i32",
        };
        self.error(
            Diagnostic::error(
                codes::STORAGE_ARITHMETIC,
                format!("`{elem}` is a storage type: `{op}` does not apply"),
            )
            .label(span, format!("this is `{elem}`"))
            .note("storage types are read, written, converted, compared for equality and multiplied by `@`")
            .help(format!("convert it first: `(… as {to})`")),
        );
    }

    pub(super) fn needs(&mut self, op: &str, wanted: &str, v: &Val, span: Span, help: &str) {
        let is = self.describe(v);
        let mut d = Diagnostic::error(codes::WRONG_OPERAND, format!("`{op}` takes {wanted}"))
            .label(span, format!("this is {is}"));
        if !help.is_empty() {
            d = d.help(help);
        }
        self.error(d);
    }

    pub(super) fn not_static(&mut self, what: &str, span: Span) {
        self.error(
            Diagnostic::error(codes::NOT_STATIC, format!("{what} must be known at compile time"))
                .label(span, "this is known only at launch or later")
                .note("static are literals, generic parameters, `tune` names, constants and what is computed from them"),
        );
    }
}

/// Converting to `a` loses less.
fn wider(a: ElemType, b: ElemType) -> bool {
    match (a.is_float(), b.is_float()) {
        (true, false) => true,
        (false, true) => false,
        _ => a.bits() >= b.bits(),
    }
}
