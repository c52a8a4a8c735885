//! Elements as registers of memory's types, and back: several narrow ones share a 32-bit register, so that a thread's neighbours are one access.

use super::elements::Element;
use super::ir::*;
use super::lower::Lower;
use crate::diagnostics::Span;
use crate::plan::Refusal;
use crate::tile::ir::ElemType;

/// How an element lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    Half(Half),
    /// f32, and tf32.
    Float,
    /// 32 bits.
    Word,
    Long,
    /// 8 or 16 bits that are no float of the machine's.
    Narrow(u32),
}

fn memory(elem: ElemType) -> Option<Memory> {
    Some(match elem {
        ElemType::F16 => Memory::Half(Half::F16),
        ElemType::Bf16 => Memory::Half(Half::Bf16),
        ElemType::F32 | ElemType::Tf32 => Memory::Float,
        ElemType::Int(32) | ElemType::Uint(32) => Memory::Word,
        ElemType::Int(64) | ElemType::Uint(64) => Memory::Long,
        ElemType::Bool | ElemType::Int(_) | ElemType::Uint(_) | ElemType::Small { .. } | ElemType::E8m0
            if matches!(elem.bits(), 8 | 16) =>
        {
            Memory::Narrow(elem.bits())
        }
        _ => return None,
    })
}

impl Lower<'_> {
    /// Elements as registers of the tensor's type.
    pub fn stored(&mut self, elem: ElemType, elements: &[Element], span: Span) -> Result<Vec<Reg>, Refusal> {
        let Some(how) = memory(elem) else {
            return Err(Refusal::construct(span, format!("storing {elem}"))
                .note("memory has integers of 8 to 64 bits, and floats of 8 to 32")
                .help(if elem == ElemType::Index {
                    "`as i64` or `as i32`, into a tensor of that type"
                } else {
                    "`as` one of these types"
                }));
        };
        match how {
            Memory::Half(to) => {
                let mut sources = Vec::new();
                for e in elements {
                    sources.push(match *e {
                        Element::F32(s) | Element::Half(_, s) => s,
                        other => self.float(other, span)?,
                    });
                }
                if let [one] = sources[..] {
                    let d = self.b.reg(Class::B16);
                    self.b.push(Op::ToHalf { to, d, a: one });
                    return Ok(vec![d]);
                }
                let mut out = Vec::new();
                for pair in sources.chunks(2) {
                    let d = self.b.reg(Class::B32);
                    self.b.push(Op::PackHalf { to, d, lo: pair[0], hi: pair[1] });
                    out.push(d);
                }
                Ok(out)
            }
            Memory::Float => {
                let mut out = Vec::new();
                for e in elements {
                    let s = self.float(*e, span)?;
                    out.push(self.in_register(s, Class::F32));
                }
                Ok(out)
            }
            Memory::Word | Memory::Long => {
                let mut out = Vec::new();
                for e in elements {
                    out.push(match *e {
                        Element::Int(s) => self.in_register(s, Class::B32),
                        Element::Long(s) => self.in_register(s, Class::B64),
                        _ => return Err(Refusal::construct(span, format!("storing this as {elem}"))),
                    });
                }
                Ok(out)
            }
            Memory::Narrow(bits) => {
                let mut codes = Vec::new();
                for e in elements {
                    codes.push(match *e {
                        Element::Int(s) | Element::Code(_, s) => self.in_register(s, Class::B32),
                        Element::Pred(p) => {
                            let d = self.b.reg(Class::B32);
                            self.b.push(Op::Select { d, a: Src::Int(1), b: Src::Int(0), p });
                            d
                        }
                        _ => return Err(Refusal::construct(span, format!("storing this as {elem}"))),
                    });
                }
                Ok(self.packed(bits, codes))
            }
        }
    }

    /// Codes side by side in 32-bit registers; fewer than that fills in one narrower register.
    pub fn packed(&mut self, bits: u32, mut codes: Vec<Reg>) -> Vec<Reg> {
        let total = bits * codes.len() as u32;
        let mut width = bits;
        while width < 32 && codes.len() > 1 {
            let select = Src::Int(if width == 8 { 0x0040 } else { 0x5410 });
            codes = codes
                .chunks(2)
                .map(|pair| {
                    let d = self.b.reg(Class::B32);
                    self.b.push(Op::Permute { d, a: pair[0].into(), b: pair[1].into(), select });
                    d
                })
                .collect();
            width *= 2;
        }
        if total >= 32 {
            return codes;
        }
        let class = if total == 8 { Class::B8 } else { Class::B16 };
        let (lo, hi) = (self.b.reg(class), self.b.reg(Class::B16));
        self.b.push(Op::Split16 { lo, hi, a: codes[0] });
        vec![lo]
    }

    /// `n` neighbours of a tensor, zero where `guard` does not hold.
    pub fn loaded(
        &mut self,
        elem: ElemType,
        n: usize,
        from: Address,
        guard: Option<Reg>,
        span: Span,
    ) -> Result<Vec<Element>, Refusal> {
        let Some(how) = memory(elem) else { return Err(Refusal::construct(span, format!("reading {elem}"))) };
        let total = elem.bits() * n as u32;
        let class = match (how, total) {
            (Memory::Float, _) => Class::F32,
            (Memory::Long, _) => Class::B64,
            (_, 8) => Class::B8,
            (_, 16) => Class::B16,
            _ => Class::B32,
        };
        let count = total.div_ceil(class.bytes() * 8);
        let d: Vec<Reg> = (0..count)
            .map(|_| self.b.mov(class, if class == Class::F32 { Src::F32(0.0) } else { Src::Int(0) }))
            .collect();
        self.b.guarded(guard.map(|g| (g, true)), Op::LoadGlobal { d: d.clone(), from });
        self.loaded_as(elem, n, d, span)
    }

    /// Registers that hold `n` neighbours as they lie in memory, as elements.
    pub fn loaded_as(
        &mut self,
        elem: ElemType,
        n: usize,
        d: Vec<Reg>,
        span: Span,
    ) -> Result<Vec<Element>, Refusal> {
        let Some(how) = memory(elem) else { return Err(Refusal::construct(span, format!("reading {elem}"))) };
        let total = elem.bits() * n as u32;
        Ok(match how {
            Memory::Float => d.into_iter().map(|r| Element::F32(r.into())).collect(),
            Memory::Word => d.into_iter().map(|r| Element::Int(r.into())).collect(),
            Memory::Long => d.into_iter().map(|r| Element::Long(r.into())).collect(),
            Memory::Half(from) => {
                let mut halves = Vec::new();
                for a in d {
                    if self.b.class(a) == Class::B16 {
                        halves.push(a);
                        continue;
                    }
                    let (lo, hi) = (self.b.reg(Class::B16), self.b.reg(Class::B16));
                    self.b.push(Op::Split16 { lo, hi, a });
                    halves.extend([lo, hi]);
                }
                let mut out = Vec::new();
                for a in halves {
                    let d = self.b.widen_half(from, a);
                    out.push(Element::F32(d.into()));
                }
                out
            }
            Memory::Narrow(bits) => {
                let mut words = d;
                if total < 32 {
                    let (hi, d) = (self.b.mov(Class::B16, 0), self.b.reg(Class::B32));
                    self.b.push(Op::Join16 { d, lo: words[0], hi });
                    words = vec![d];
                }
                (0..n as u32)
                    .map(|k| self.narrow_element(elem, bits, words[(k * bits / 32) as usize], k * bits % 32))
                    .collect()
            }
        })
    }

    /// The element at a bit of a word.
    pub fn narrow_element(&mut self, elem: ElemType, bits: u32, word: Reg, at: u32) -> Element {
        if matches!(elem, ElemType::Int(_)) {
            let up = self.b.shift(word, (32 - bits - at) as i32);
            return Element::Int(self.b.int(IntOp::Shr, IntTy::S32, up, i64::from(32 - bits)).into());
        }
        let down = self.b.shift(word, -(at as i32));
        let code = if at + bits == 32 { down } else { self.b.and(down, (1 << bits) - 1) };
        match elem {
            ElemType::Bool => Element::Pred(self.b.set_int(Cmp::Ne, IntTy::B32, code, 0)),
            ElemType::Uint(_) => Element::Int(code.into()),
            ElemType::Bipolar(w) => {
                let twice = self.b.shift(code, 1);
                Element::Int(self.b.add(twice, 1 - (1 << w)).into())
            }
            _ => Element::Code(elem, code.into()),
        }
    }
}
