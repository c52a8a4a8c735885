//! Tune parameters: their values, their constraints, and all legal combinations.

use super::bind::{bound_value, static_val, value_list};
use super::value::{Binding, Val};
use super::{Elab, Target, Tuning};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::ast::{self, StmtKind, TuneChoices};
use crate::front::{LocalKind, Res};
use crate::tile::*;

/// A tune parameter and its values.
struct TuneParam {
    name: ast::Ident,
    values: Vec<BoundValue>,
}

/// Combinations of tune parameters that are looked at before giving up.
const MAX_COMBINATIONS: usize = 1 << 20;

impl Elab<'_> {
    fn tune_statements<'k>(&self, kernel: &'k ast::Kernel) -> Vec<(&'k [ast::Tune], &'k [ast::Expr])> {
        let tunes = kernel.body.stmts.iter().filter_map(|s| match &s.kind {
            StmtKind::Tune { entries, constraints } => Some((&entries[..], &constraints[..])),
            _ => None,
        });
        tunes.collect()
    }

    fn tune_params(&mut self, kernel: &ast::Kernel) -> Vec<TuneParam> {
        let mut params = Vec::new();
        for (entries, _) in self.tune_statements(kernel) {
            for t in entries {
                let values = match &t.choices {
                    TuneChoices::Set(s) => self.set_values(std::slice::from_ref(s)),
                    TuneChoices::List(list) => {
                        let mut values: Vec<BoundValue> = Vec::new();
                        let mut written: Vec<(BoundValue, Span)> = Vec::new();
                        for e in list {
                            let v = self.expr(e, None);
                            match bound_value(&v) {
                                // What names come to may well be one value, of which one is enough; what is written twice is a slip.
                                Some(v) => {
                                    if matches!(e.kind, ast::ExprKind::Number(_) | ast::ExprKind::Bool(_)) {
                                        if let Some((_, first)) = written.iter().find(|(w, _)| *w == v) {
                                            self.repeated(&t.name, &v, *first, e.span);
                                        }
                                        written.push((v.clone(), e.span));
                                    }
                                    if !values.contains(&v) {
                                        values.push(v);
                                    }
                                }
                                None if v.is_poison() && !self.names_tune(e) => {}
                                None => self.not_static("a value of a tune parameter", e.span),
                            }
                        }
                        values
                    }
                };
                if values.is_empty() && !self.diags.has_errors() {
                    self.error(
                        Diagnostic::error(
                            codes::BAD_SET,
                            format!("`{}` has no values to choose from", t.name),
                        )
                        .label(t.span, "an empty set"),
                    );
                }
                params.push(TuneParam { name: t.name.clone(), values });
            }
        }
        params
    }

    fn repeated(&mut self, name: &ast::Ident, value: &BoundValue, first: Span, again: Span) {
        self.error(
            Diagnostic::error(codes::REPEATED_VALUE, format!("`{name}` can be {value} twice"))
                .label(again, "the same value again")
                .secondary(first, "first here")
                .help("leave one out, or write the value that was meant"),
        );
    }

    /// Binds every tune parameter: what is fixed first, the rest by the first legal combination.
    pub(super) fn bind_tune(&mut self, kernel: &ast::Kernel) {
        let params = self.tune_params(kernel);
        let mut fixed = Vec::new();
        for p in &params {
            fixed.push(self.fixed_tune(p));
        }
        let choices: Vec<Vec<BoundValue>> = params
            .iter()
            .zip(&fixed)
            .map(|(p, f)| f.as_ref().map_or_else(|| p.values.clone(), |(v, _)| vec![v.clone()]))
            .collect();
        let constraints: Vec<&ast::Expr> =
            self.tune_statements(kernel).iter().flat_map(|(_, c)| c.iter()).collect();
        let found = self.combinations(&params, &choices, &constraints, 1);
        let combination = found.into_iter().next();
        if combination.is_none() && !self.diags.has_errors() {
            self.no_combination(&params, &choices, &constraints);
        }
        for (n, p) in params.iter().enumerate() {
            let value = combination.as_ref().map(|c| c[n].clone()).or_else(|| choices[n].first().cloned());
            let Some(value) = value else {
                self.bind(&p.name, Binding::Val(Val::Poison));
                continue;
            };
            let val = static_val(&value, Some(&p.name.text));
            self.names.insert(p.name.text.clone(), (val.clone(), p.name.span));
            self.bind(&p.name, Binding::Val(val));
            let from = fixed[n].as_ref().map_or(ValueSource::Default, |(_, from)| *from);
            self.k.binding.push(Bound { name: p.name.to_string(), kind: BoundKind::Tune, value, from });
        }
    }

    /// The name of a tune parameter, which has no value while the lists are read.
    fn names_tune(&self, e: &ast::Expr) -> bool {
        let ast::ExprKind::Name(n) = &e.kind else { return false };
        match self.program.res(n) {
            Res::Local(l) => self.program.local(l).kind == LocalKind::Tune,
            _ => false,
        }
    }

    /// A schedule's value for a tune parameter, if it is one of the parameter's.
    fn scheduled_value(&mut self, p: &TuneParam, v: &ScheduleValue, at: Span) -> Option<BoundValue> {
        let value = match v {
            ScheduleValue::Int(v) => Some(BoundValue::Int(*v)),
            ScheduleValue::Bool(b) => Some(BoundValue::Bool(*b)),
            ScheduleValue::Name(n) => ElemType::from_name(n).map(BoundValue::Type),
            ScheduleValue::Tuple(_) => None,
        };
        if let Some(v) = value.filter(|v| p.values.contains(v)) {
            return Some(v);
        }
        self.error(
            Diagnostic::error(codes::BAD_SETTING, format!("this is not among the values of `{}`", p.name))
                .label(at, "the schedule wants this")
                .secondary(p.name.span, "declared here")
                .help(format!("`{}` is one of {}", p.name, value_list(&p.values))),
        );
        None
    }

    fn fixed_tune(&mut self, p: &TuneParam) -> Option<(BoundValue, ValueSource)> {
        if let Some(text) = self.setting(p.name.as_str()) {
            let value = self.parse_value(&text);
            return match value {
                Some(v) if p.values.contains(&v) => Some((v, ValueSource::Set)),
                // What is wrong with the set has been said.
                _ if p.values.is_empty() => None,
                _ => {
                    self.error(
                        Diagnostic::error(
                            codes::BAD_SETTING,
                            format!("`{} = {text}` is not among its values", p.name),
                        )
                        .label(p.name.span, "declared here")
                        .help(format!(
                            "`{}` is one of {}",
                            p.name,
                            value_list(&p.values)
                        )),
                    );
                    None
                }
            };
        }
        for (name, v, at) in self.idle_tune.clone() {
            if name == p.name.as_str() {
                self.scheduled_value(p, &v, at);
            }
        }
        if let Some((_, v, at)) = self.schedule_tune.iter().find(|(n, ..)| n == p.name.as_str()).cloned() {
            return self.scheduled_value(p, &v, at).map(|v| (v, ValueSource::Schedule));
        }
        let model = self.settings.model.iter().find(|(n, _)| n == p.name.as_str()).map(|(_, v)| v.clone());
        model.filter(|v| p.values.contains(v)).map(|v| (v, ValueSource::Model))
    }

    /// Legal combinations, first values first, at most `limit`.
    fn combinations(
        &mut self,
        params: &[TuneParam],
        choices: &[Vec<BoundValue>],
        constraints: &[&ast::Expr],
        limit: usize,
    ) -> Vec<Vec<BoundValue>> {
        let mut out = Vec::new();
        if choices.iter().any(Vec::is_empty) {
            return out;
        }
        let mut at = vec![0usize; choices.len()];
        for _ in 0..MAX_COMBINATIONS {
            for (p, (c, n)) in params.iter().zip(choices.iter().zip(&at)) {
                self.bind(&p.name, Binding::Val(static_val(&c[*n], Some(&p.name.text))));
            }
            if constraints.iter().all(|c| self.constraint_holds(c)) {
                out.push(choices.iter().zip(&at).map(|(c, n)| c[*n].clone()).collect());
                if out.len() >= limit {
                    break;
                }
            }
            // The last parameter turns fastest.
            let mut digit = at.len();
            loop {
                if digit == 0 {
                    return out;
                }
                digit -= 1;
                at[digit] += 1;
                if at[digit] < choices[digit].len() {
                    break;
                }
                at[digit] = 0;
            }
        }
        out
    }

    fn constraint_holds(&mut self, c: &ast::Expr) -> bool {
        match self.expr(c, Some(ElemType::Bool)) {
            Val::Static(s) => s.as_bool().unwrap_or(false),
            Val::Poison => true,
            _ => {
                self.not_static("a constraint of tune parameters", c.span);
                true
            }
        }
    }

    fn no_combination(
        &mut self,
        params: &[TuneParam],
        choices: &[Vec<BoundValue>],
        constraints: &[&ast::Expr],
    ) {
        let mut d = Diagnostic::error(
            codes::CONSTRAINT,
            "no combination of tune parameters satisfies the constraints",
        );
        for c in constraints {
            d = d.label(c.span, "must hold");
        }
        for (p, c) in params.iter().zip(choices) {
            d = d.note(format!(
                "{} is {}",
                p.name,
                if c.len() == 1 { c[0].to_string() } else { format!("one of {}", value_list(c)) }
            ));
        }
        self.error(d);
    }

    /// All legal combinations under the settings.
    pub(super) fn tune_combinations(&mut self, target: &Target, limit: usize) -> Vec<Tuning> {
        let kernel = self.program.kernel(target.kernel);
        self.bind_generics(target);
        self.header(kernel);
        let params = self.tune_params(kernel);
        let mut choices = Vec::new();
        for p in &params {
            let set = self.setting(p.name.as_str()).is_some();
            let fixed = if set { self.fixed_tune(p) } else { None };
            choices.push(fixed.map_or_else(|| p.values.clone(), |(v, _)| vec![v]));
        }
        let constraints: Vec<&ast::Expr> =
            self.tune_statements(kernel).iter().flat_map(|(_, c)| c.iter()).collect();
        let found = self.combinations(&params, &choices, &constraints, limit);
        found
            .into_iter()
            .map(|c| params.iter().zip(c).map(|(p, v)| (p.name.to_string(), v)).collect())
            .collect()
    }
}
