//! The unpacking of every packed type as PTX of its own: to be read, counted, tested exhaustively, and taken.
//!
//! What products do with packed operands ([`crate::warp::unpack`]) stands here without the product: a kernel for each type and each
//! format that it is converted to. Thread t loads one group of words and stores its values, two halves or four bytes in a register:
//!
//! ```text
//! unpack_u4_f16(words: u32[T, 1], values: f16[T, 4, 2])      values[t, m, h] = f16 of the code of member m in lane h of words[t]
//! unpack_i4_s8(words: u32[T, 1], values: s8[T, 2, 4])        the same of bytes, of which a register has four
//! ```
//! `ptx_templates/` holds them, a file per family; a test holds the files to what this module makes.

use crate::diagnostics::{SourceMap, Span};
use crate::packed::{Form, Placement, Toward};
use crate::ptx::{print, select::select};
use crate::target::Target;
use crate::tile::ir::ElemType;
use crate::warp::build::Builder;
use crate::warp::ir::*;
use crate::warp::unpack::{Shifted, finish, unpack, unpack_bytes};

/// What codes become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum To {
    Half(Half),
    /// Integers of eight bits: without sign for codes without one.
    Bytes,
}

impl To {
    pub const ALL: [To; 3] = [To::Half(Half::F16), To::Half(Half::Bf16), To::Bytes];

    /// The name of what codes of that type become.
    pub fn name(self, elem: ElemType) -> &'static str {
        match (self, elem) {
            (To::Half(half), _) => half.name(),
            (To::Bytes, ElemType::Uint(_)) => "u8",
            (To::Bytes, _) => "s8",
        }
    }

    pub fn toward(self) -> Toward {
        match self {
            To::Half(Half::F16) => Toward::F16,
            To::Half(Half::Bf16) => Toward::Bf16,
            To::Bytes => Toward::Bytes,
        }
    }

    /// Values of a register.
    pub fn lanes(self) -> usize {
        match self {
            To::Half(_) => 2,
            To::Bytes => 4,
        }
    }
}

/// How far a template goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Values without their factor and addend, which may meet with what comes next.
    Picked,
    /// Values.
    Finished,
}

/// One type to one format.
#[derive(Clone, Debug)]
pub struct Template {
    pub elem: ElemType,
    pub to: To,
    pub placement: Placement,
}

impl Template {
    /// `None` where the type has no fast way to the format.
    pub fn new(elem: ElemType, to: To) -> Option<Template> {
        let form = to.toward().form(elem);
        if to == To::Bytes && form != Form::Byte {
            return None;
        }
        let template = Template { elem, to, placement: Placement::new(elem, form) };
        template.kernel(Stage::Picked, 1).is_some().then_some(template)
    }

    /// The name of its entry.
    pub fn entry(&self, stage: Stage, groups: u32) -> String {
        let what = match stage {
            Stage::Picked => "pick",
            Stage::Finished => "unpack",
        };
        let many = if groups == 1 { String::new() } else { format!("_{groups}") };
        format!("{what}_{}_{}{many}", self.elem, self.to.name(self.elem))
    }

    /// Values of a group.
    pub fn values(&self) -> usize {
        self.to.lanes() * self.placement.members.len()
    }

    fn kernel(&self, stage: Stage, groups: u32) -> Option<Kernel> {
        let (p, lanes) = (&self.placement, self.to.lanes());
        let mut b = Builder::new(Span::default());
        let mut param = |index| {
            let d = b.reg(Class::B64);
            b.push(Op::Param { d, index });
            d
        };
        let (words, values) = (param(0), param(1));
        let tid = b.special(Special::TidX);
        let from = b.mad_wide(false, tid, i64::from(4 * groups * p.words), words);
        let to = b.mad_wide(false, tid, i64::from(4 * groups) * p.members.len() as i64, values);
        for group in 0..groups {
            let words: Vec<Reg> = (0..p.words)
                .map(|n| {
                    let d = b.reg(Class::B32);
                    let from = Address { base: from, offset: (4 * (group * p.words + n)) as i32 };
                    b.push(Op::LoadGlobal { d: vec![d], from });
                    d
                })
                .collect();
            let mut shifted = Shifted::default();
            for (n, member) in (0..).zip(&p.members) {
                let places: Vec<String> =
                    member.bits.iter().rev().map(|(w, bit)| format!("{w}.{bit}")).collect();
                let own: Vec<String> = (0..lanes).map(|l| (lanes * n as usize + l).to_string()).collect();
                b.comment(format!("values {}: word.bit {}", own.join(", "), places.join(" ")));
                let x = match self.to {
                    To::Half(half) => {
                        let kind = (self.elem, self.to.toward().form(self.elem), half);
                        let halves = unpack(&mut b, &mut shifted, kind, member, &words)?;
                        match stage {
                            Stage::Picked => halves.x,
                            Stage::Finished => finish(&mut b, half, halves),
                        }
                    }
                    To::Bytes => unpack_bytes(&mut b, &mut shifted, self.elem, member, &words)?,
                };
                let at = group * p.members.len() as u32 + n;
                b.push(Op::StoreGlobal { a: vec![x], to: Address { base: to, offset: 4 * at as i32 } });
            }
        }
        let (classes, body) = b.finish();
        Some(Kernel {
            entry: self.entry(stage, groups),
            params: ["words", "values"].map(|n| (n.into(), ParamTy::Pointer { align: 4 })).into(),
            threads: THREADS,
            min_blocks: None,
            shared_bytes: 0,
            tables: Vec::new(),
            classes,
            body,
        })
    }
}

/// Threads of a template's block.
pub const THREADS: u32 = 256;

/// The families of types, as the files are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Unsigned,
    Signed,
    Bipolar,
    Float,
}

impl Family {
    pub const ALL: [Family; 4] = [Family::Unsigned, Family::Signed, Family::Bipolar, Family::Float];

    pub fn name(self) -> &'static str {
        match self {
            Family::Unsigned => "unsigned",
            Family::Signed => "signed",
            Family::Bipolar => "bipolar",
            Family::Float => "float",
        }
    }

    /// The file of the folder that holds what its types become; `None` where none become that.
    pub fn file(self, to: To) -> Option<String> {
        let first = self.templates(to).first()?.elem;
        Some(format!("{}_{}.ptx", self.name(), to.name(first)))
    }

    /// The packed types of the family, narrow ones first.
    pub fn types(self) -> Vec<ElemType> {
        match self {
            Family::Unsigned => (1..=8).map(ElemType::Uint).collect(),
            Family::Signed => (1..=8).map(ElemType::Int).collect(),
            Family::Bipolar => (1..=8).map(ElemType::Bipolar).collect(),
            Family::Float => (3..=8u8)
                .flat_map(|bits| (1..bits).filter_map(move |x| ElemType::small(x, bits - 1 - x)))
                .collect(),
        }
    }

    pub fn templates(self, to: To) -> Vec<Template> {
        self.types().into_iter().filter_map(|elem| Template::new(elem, to)).collect()
    }
}

/// PTX of the templates: an entry for each, stage and number of groups that a thread unpacks one after another.
pub fn ptx(templates: &[Template], stages: &[Stage], groups: &[u32]) -> String {
    let mut kernels = Vec::new();
    for t in templates {
        for stage in stages {
            kernels.extend(groups.iter().filter_map(|n| t.kernel(*stage, *n)));
        }
    }
    print(&select(&kernels.iter().collect::<Vec<_>>(), Target::Sm80, &SourceMap::default()))
}
