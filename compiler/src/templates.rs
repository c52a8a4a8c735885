//! The unpacking of every packed type as PTX of its own: to be read, counted, tested exhaustively, and taken.
//!
//! What products do with packed operands ([`crate::warp::unpack`]) stands here without the product: a kernel for each type and each
//! format that it is converted to. Thread t loads one group of words and stores its values, two in a register:
//!
//! ```text
//! unpack_u4_f16(words: u32[T, 1], values: f16[T, 4, 2])      values[t, m, h] = f16 of the code of member m in lane h of words[t]
//! ```
//! `ptx_templates/` holds them, a file per family; a test holds the files to what this module makes.

use crate::diagnostics::{SourceMap, Span};
use crate::packed::{Placement, Toward};
use crate::ptx::{print, select::select};
use crate::target::Target;
use crate::tile::ir::ElemType;
use crate::warp::build::Builder;
use crate::warp::ir::*;
use crate::warp::unpack::{Shifted, finish, unpack};

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
    pub half: Half,
    pub placement: Placement,
}

impl Template {
    /// `None` where the type has no fast way to the format.
    pub fn new(elem: ElemType, half: Half) -> Option<Template> {
        let placement = Placement::new(elem, toward(half).form(elem));
        let template = Template { elem, half, placement };
        template.kernel(Stage::Picked, 1).is_some().then_some(template)
    }

    /// The name of its entry.
    pub fn entry(&self, stage: Stage, groups: u32) -> String {
        let what = match stage {
            Stage::Picked => "pick",
            Stage::Finished => "unpack",
        };
        let many = if groups == 1 { String::new() } else { format!("_{groups}") };
        format!("{what}_{}_{}{many}", self.elem, self.half.name())
    }

    /// Values of a group.
    pub fn values(&self) -> usize {
        2 * self.placement.members.len()
    }

    fn kernel(&self, stage: Stage, groups: u32) -> Option<Kernel> {
        let (p, kind) = (&self.placement, (self.elem, toward(self.half).form(self.elem), self.half));
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
                b.comment(format!("values {}, {}: word.bit {}", 2 * n, 2 * n + 1, places.join(" ")));
                let halves = unpack(&mut b, &mut shifted, kind, member, &words)?;
                let x = match stage {
                    Stage::Picked => halves.x,
                    Stage::Finished => finish(&mut b, self.half, halves),
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

fn toward(half: Half) -> Toward {
    match half {
        Half::F16 => Toward::F16,
        Half::Bf16 => Toward::Bf16,
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

    pub fn templates(self, half: Half) -> Vec<Template> {
        self.types().into_iter().filter_map(|elem| Template::new(elem, half)).collect()
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
