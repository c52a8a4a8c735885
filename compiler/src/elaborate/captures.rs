//! What functions name after `using`: the kernel's own, or further parameters.

use super::Elab;
use super::value::{Binding, Val};
use crate::diagnostics::{Diagnostic, Span, codes};
use crate::front::Res;
use crate::front::ast::{self, Expr, ExprKind};
use crate::tile::*;

impl Elab<'_> {
    /// Binds what a function names after `using`: the kernel's own, or a further parameter.
    pub(super) fn bind_captures(&mut self, f: &ast::Function) {
        for c in &f.using {
            let Res::Local(l) = self.program.res(&c.name) else { continue };
            if !matches!(self.env.get(l.0 as usize), Some(Binding::Unbound)) {
                continue;
            }
            let v = match self.names.get(&c.name.text).cloned() {
                Some((v, declared)) => {
                    if let Some(t) = &c.ty {
                        self.bind_capture_dims(t, None);
                        self.capture_agrees(&v, declared, t, c.name.as_str());
                    }
                    v
                }
                None => self.new_capture(c),
            };
            if let Some(slot) = self.env.get_mut(l.0 as usize) {
                *slot = Binding::Val(v);
            }
        }
    }

    /// The dimensions in a capture's type: the kernel's, or new ones bound by tensor `new`.
    fn bind_capture_dims(&mut self, t: &ast::Type, new: Option<TensorId>) {
        let mut names = Vec::new();
        for e in &t.shape {
            collect_names(e, &mut names);
        }
        for n in names {
            if let Some(l) = self.unbound_dim(n)
                && let Some((v, _)) = self.names.get(&n.text).cloned()
            {
                self.env[l.0 as usize] = Binding::Val(v);
            }
        }
        if let Some(tensor) = new {
            self.bind_dims(&t.shape, tensor, false);
            self.bind_dims(&t.shape, tensor, true);
        }
    }

    /// The element type of a capture: a type, or a type parameter of the kernel.
    fn capture_elem(&mut self, name: &ast::Ident) -> Option<ElemType> {
        if let Res::Local(l) = self.program.res(name)
            && let Some(Binding::Unbound) = self.env.get(l.0 as usize)
        {
            let Some((v, _)) = self.names.get(&name.text).cloned() else {
                self.error(
                    Diagnostic::error(codes::UNKNOWN_CAPTURE, format!("the kernel has no type `{name}`"))
                        .label(name.span, "a type must stand here")
                        .help("name a type such as `f32`, or a type parameter that the kernel has"),
                );
                return None;
            };
            self.env[l.0 as usize] = Binding::Val(v);
        }
        self.elem_type(name)
    }

    fn new_capture(&mut self, c: &ast::Typed) -> Val {
        let Some(ty) = &c.ty else {
            self.error(
                Diagnostic::error(
                    codes::UNKNOWN_CAPTURE,
                    format!("the kernel has no `{}`, and its type is not given here", c.name),
                )
                .label(c.span, "captured here")
                .help(format!("to make it a further parameter, write its type: `using {}: f32[N]`", c.name)),
            );
            return Val::Poison;
        };
        let Some(elem) = self.capture_elem(&ty.name) else { return Val::Poison };
        let val = if ty.shape.is_empty() {
            self.k.scalars.push(Scalar {
                name: c.name.to_string(),
                elem,
                default: None,
                holds: None,
                captured: true,
                span: c.span,
            });
            let id = ScalarId(self.k.scalars.len() as u32 - 1);
            self.k.params.push(Param::Scalar(id));
            Val::Value(self.param_value(id, c.name.span))
        } else {
            let t = self.push_tensor(c.name.as_str(), elem, TensorKind::In, ty.shape.len(), c.span);
            self.k.tensors[t.0 as usize].captured = true;
            self.k.params.push(Param::Tensor(t));
            self.bind_capture_dims(ty, Some(t));
            self.finish_tensor(t, &ty.shape, &[]);
            Val::Tensor(t)
        };
        self.names.insert(c.name.text.clone(), (val.clone(), c.span));
        val
    }

    fn capture_agrees(&mut self, v: &Val, declared: Span, t: &ast::Type, name: &str) {
        let Some(elem) = self.capture_elem(&t.name) else { return };
        let own = match v {
            Val::Tensor(id) => self.k.tensor(*id).elem,
            _ => match self.hint_of(v) {
                Some(e) => e,
                None => return,
            },
        };
        let own_rank = if let Val::Tensor(id) = v { self.k.tensor(*id).shape.len() } else { 0 };
        let mut agrees = own == elem && own_rank == t.shape.len();
        if let (true, Val::Tensor(id)) = (agrees, v) {
            for (n, e) in t.shape.iter().enumerate() {
                if !self.bound_names(e) {
                    return;
                }
                let Some(wanted) = self.extent(e) else { return };
                agrees &= self.k.tensor(*id).shape[n].extent == wanted;
            }
        }
        if agrees {
            return;
        }
        self.error(
            Diagnostic::error(
                codes::CAPTURE_TYPE,
                format!("the kernel's `{name}` has another type than the function expects"),
            )
            .label(t.span, "expected by the function")
            .secondary(declared, "the kernel's own")
            .help("give both one type, or one of them another name"),
        );
    }
}

fn collect_names<'e>(e: &'e Expr, out: &mut Vec<&'e ast::Ident>) {
    match &e.kind {
        ExprKind::Name(n) => out.push(n),
        ExprKind::Binary { lhs, rhs, .. } => {
            collect_names(lhs, out);
            collect_names(rhs, out);
        }
        ExprKind::Unary { operand, .. } => collect_names(operand, out),
        ExprKind::Call { args, .. } => args.iter().for_each(|a| collect_names(&a.value, out)),
        _ => {}
    }
}
