//! Device functions: their heads, `.alias`, and calls of them.
//!
//! ```text
//! .func (.param .b32 r) twice (.param .b32 x) { … }      Function { returns: [Param(0)], inputs: [Param(1)], .. }
//! call.uni (result0), twice, (param0);                   Call { returns: [Param(result0)], args: [Param(param0)], .. }
//! ```
//!
//! Parameters are registers or variables in `.param` space, on both sides independently: an assembler takes a register where the
//! function has a `.param`, and the other way round, so sizes are all that is compared.

use rustc_hash::FxHashMap;

use super::body::Body;
use super::mods::Mods;
use super::module::{Parser, syntax, unsupported};
use super::{ParseErrorKind, Parsed};
use crate::ptx::module::{Entry, Formal, FuncId, Function, Linkage, Module, Param, ParamId};
use crate::ptx::op::{Actual, Call};
use crate::ptx::operand::{RegId, Symbol};
use crate::ptx::types::{Space, Type};

/// Bytes of each parameter of a function.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Signature {
    returns: Vec<u32>,
    inputs: Vec<u32>,
}

/// A function's head while it is read.
#[derive(Default)]
struct Head<'a> {
    params: FxHashMap<&'a str, u32>,
    regs: Vec<(&'a str, Type)>,
    sizes: Vec<u32>,
    formals: Vec<Formal>,
}

impl<'a> Parser<'a> {
    /// What stands behind `.func`.
    pub(super) fn function(&mut self, module: &mut Module, linkage: Linkage) -> Parsed<()> {
        let mut code = Entry { linkage, ..Entry::new("") };
        let mut head = Head::default();
        // Attributes may stand in front; the results do in any case.
        while self.cursor.eat_dotted(".attribute") {
            self.parenthesised()?;
        }
        if self.cursor.peek() == b'(' {
            self.formals(&mut code, &mut head)?;
        }
        let returned = head.formals.len();
        let name = self.cursor.need_name()?;
        code.name = name.into();
        if self.cursor.peek() == b'(' {
            self.formals(&mut code, &mut head)?;
        }
        while self.cursor.eat_dotted(".abi_preserve") || self.cursor.eat_dotted(".abi_preserve_control") {
            self.cursor.integer()?;
        }
        self.launch(&mut code.launch)?;
        let inputs = head.formals.split_off(returned);
        let sizes = head.sizes.split_off(returned);
        let signature = Signature { returns: head.sizes, inputs: sizes };
        let id = match self.functions.get(name) {
            Some(id) => *id,
            None => {
                let id = FuncId(module.functions.len() as u32);
                self.functions.insert(name, id);
                self.signatures.push(signature.clone());
                module.functions.push(Function {
                    code: Entry::new(name),
                    defined: false,
                    returns: Vec::new(),
                    inputs: Vec::new(),
                    alias: None,
                });
                id
            }
        };
        let slot = id.0 as usize;
        if self.signatures[slot] != signature {
            return Err(syntax("the parameters of the earlier declaration", name));
        }
        let known = module.functions[slot].defined;
        let defined = !self.cursor.eat(b';');
        if defined {
            self.within = Some(name);
            let read = self.body(module, &mut code, head.params, &head.regs);
            self.within = None;
            read?;
            if known {
                return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
            }
        } else {
            // The registers of the head, so that it can be printed.
            let mut body = Body::new(FxHashMap::default());
            body.formals(&head.regs)?;
            body.into_registers(&mut code);
        }
        if defined || !known {
            let alias = module.functions[slot].alias;
            module.functions[slot] = Function { code, defined, returns: head.formals, inputs, alias };
        }
        Ok(())
    }

    /// `(.param .b32 a, .reg .f32 b)`
    fn formals(&mut self, code: &mut Entry, head: &mut Head<'a>) -> Parsed<()> {
        self.cursor.expect(b'(', "`(`")?;
        if self.cursor.eat(b')') {
            return Ok(());
        }
        loop {
            if self.cursor.eat_dotted(".reg") {
                let word = self.cursor.dotted().ok_or_else(|| self.cursor.syntax("a type"))?;
                let ty = Type::from_word(word).ok_or_else(|| syntax("a register type", word))?;
                let name = self.cursor.need_name()?;
                head.formals.push(Formal::Reg(RegId(head.regs.len() as u32)));
                head.regs.push((name, ty));
                head.sizes.push(ty.bytes());
            } else {
                let (name, mut param) = self.param()?;
                let number = code.params.len() as u32;
                // `_` in declarations names nothing.
                if name == "_" {
                    param = Param { name: format!("_{number}").into(), ..param };
                } else if head.params.insert(name, number).is_some() {
                    return Err(Box::new(ParseErrorKind::Redeclared { name: name.into() }));
                }
                head.formals.push(Formal::Param(ParamId(number)));
                head.sizes.push(param.bytes());
                code.params.push(param);
            }
            if !self.cursor.eat(b',') {
                break;
            }
        }
        self.cursor.expect(b')', "`,` or `)`")
    }

    /// `( … )`, thrown away.
    fn parenthesised(&mut self) -> Parsed<()> {
        self.cursor.expect(b'(', "`(`")?;
        while !self.cursor.eat(b')') {
            if self.cursor.dotted().is_none() && self.cursor.name().is_none() {
                self.cursor.literal()?;
            }
            self.cursor.eat(b',');
        }
        Ok(())
    }

    /// `.alias name, function;`
    pub(super) fn alias(&mut self, module: &mut Module) -> Parsed<()> {
        let name = self.cursor.need_name()?;
        self.cursor.expect(b',', "`,`")?;
        let target = self.cursor.need_name()?;
        self.cursor.expect(b';', "`;`")?;
        let find = |name: &str| {
            let undeclared = || Box::new(ParseErrorKind::Undeclared { name: name.into() });
            self.functions.get(name).copied().ok_or_else(undeclared)
        };
        let (name, target) = (find(name)?, find(target)?);
        let target = module.functions[target.0 as usize].alias.unwrap_or(target);
        if target != name {
            module.functions[name.0 as usize].alias = Some(target);
        }
        Ok(())
    }

    /// Everything behind `call{.uni}`.
    pub(super) fn call(&mut self, body: &mut Body<'a>, mut m: Mods<'a>) -> Parsed<Call> {
        let uniform = m.eat("uni");
        m.end()?;
        let returns = if self.cursor.peek() == b'(' {
            let returns = self.actuals(body)?;
            m.require(
                !returns.iter().any(|a| matches!(a, Actual::Imm(_))),
                "a literal cannot take a result",
            )?;
            self.comma()?;
            returns
        } else {
            Box::default()
        };
        let name = self.cursor.need_name()?;
        let Some(&function) = self.functions.get(name) else {
            if body.register(name).is_some() {
                return Err(unsupported("`call` through a register (an indirect call)"));
            }
            return Err(Box::new(ParseErrorKind::Undeclared { name: name.into() }));
        };
        let args = if self.more() { self.actuals(body)? } else { Box::default() };
        m.require(!args.contains(&Actual::Sink), "`_` is no argument")?;
        let signature = &self.signatures[function.0 as usize];
        for (what, actuals, formals) in
            [("results", &returns, &signature.returns), ("arguments", &args, &signature.inputs)]
        {
            if actuals.len() != formals.len() {
                let (has, takes) = (actuals.len(), formals.len());
                return Err(m.illegal(format!("`{name}` has {takes} {what}, the call gives {has}")));
            }
            for (actual, &formal) in actuals.iter().zip(formals) {
                let bytes = match *actual {
                    Actual::Reg(reg) => body.regs[reg.index()].ty.bytes(),
                    Actual::Param(var) => body.vars[var.0 as usize].bytes() as u32,
                    Actual::Imm(_) | Actual::Sink => formal,
                };
                // Narrow values travel in wider containers.
                if bytes != formal && !(bytes <= 4 && formal <= 4) {
                    return Err(m.illegal(format!(
                        "`{name}` has {what} of {formal} bytes where the call has {bytes}"
                    )));
                }
            }
        }
        Ok(Call { uniform, function, returns, args })
    }

    fn actuals(&mut self, body: &mut Body<'a>) -> Parsed<Box<[Actual]>> {
        self.cursor.expect(b'(', "`(`")?;
        let mut actuals = Vec::new();
        if self.cursor.eat(b')') {
            return Ok(Box::default());
        }
        loop {
            let actual = match self.cursor.name() {
                None => Actual::Imm(self.cursor.literal()?),
                Some("_") => Actual::Sink,
                Some(name) => match (body.register(name), body.symbol(name, &self.globals)) {
                    (Some(reg), _) => Actual::Reg(reg),
                    (None, Some(Symbol::Local(var))) if body.vars[var.0 as usize].space == Space::Param => {
                        Actual::Param(var)
                    }
                    (None, Some(_)) => return Err(syntax("a register or a `.param` variable", name)),
                    (None, None) => {
                        return Err(Box::new(ParseErrorKind::Undeclared { name: name.into() }));
                    }
                },
            };
            actuals.push(actual);
            if !self.cursor.eat(b',') {
                break;
            }
        }
        self.cursor.expect(b')', "`,` or `)`")?;
        Ok(actuals.into())
    }
}
