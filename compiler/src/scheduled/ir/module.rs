//! A whole: one variant of a kernel, its form, and how blocks come by their work.

use super::*;
use crate::layout::Layout;
use crate::packed::Recipe;
use crate::tile::ir as t1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Fused,
    Expanded,
}

/// How grid instances map to blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raster {
    /// Blocks that are neighbours in launch order share this many tiles of the first grid range, so that their operands meet in L2.
    pub group: u32,
    /// The two ranges that `group` speaks of; the others are outside them.
    pub pair: Option<(t1::GridId, t1::GridId)>,
}

/// How blocks come by their work. What a module's body computes is one *item*: a tile, or some steps of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispatch {
    /// A block for every instance of the grid.
    Each,
    /// As many blocks as the GPU holds at once; block b of n takes the instances b, b + n, b + 2n, …
    Persistent,
    /// The same blocks; each begins with the instance of its own number, and draws the next from a counter when it begins one.
    Drawn,
    /// The same blocks, but what they share evenly is the steps of all instances in a row.
    Stream(Stream),
}

/// Stream-K: with 3 tiles of 4 steps and 2 blocks, block 0 takes tile 0 and the first half of tile 1, block 1 the rest.
///
/// An item's steps are those from `lo` to `hi` of the loop; `part` is a grid variable of one value, in whose place the blocks that share a
/// tile are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    pub part: t1::GridId,
    /// The loop that is shared out: its bounds inside an item are values of their own.
    pub steps: t1::LoopId,
    /// Where all of a tile's steps begin and end.
    pub lo: t1::ValueId,
    pub hi: t1::ValueId,
}

/// Which facts about a launch a module relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    /// Bases and row strides are multiples of 16 bytes.
    Wide,
    /// Multiples of 4 bytes.
    Mid,
    /// Anything.
    Any,
}

impl Variant {
    pub const ALL: [Variant; 3] = [Variant::Wide, Variant::Mid, Variant::Any];

    pub fn name(self) -> &'static str {
        match self {
            Variant::Wide => "wide",
            Variant::Mid => "mid",
            Variant::Any => "any",
        }
    }

    /// Bytes that bases and row strides are multiples of, given the element's own size.
    pub fn alignment(self, elem_bytes: u32) -> u32 {
        match self {
            Variant::Wide => 16,
            Variant::Mid => 4.max(elem_bytes),
            Variant::Any => elem_bytes,
        }
    }
}

/// One scheduled variant of a kernel.
#[derive(Clone, Debug)]
pub struct Module {
    pub name: String,
    pub variant: Variant,
    pub form: Form,
    pub roles: Vec<Role>,
    pub buffers: Vec<Buffer>,
    pub channels: Vec<Channel>,
    pub values: Vec<Value>,
    pub body: Vec<Node>,
    pub raster: Raster,
    pub dispatch: Dispatch,
    /// Blocks that one SM shall hold at least; without it the assembler decides.
    pub occupancy: Option<u32>,
    /// Tensors with a priority of their own in L2.
    pub evict: Vec<(t1::TensorId, Evict)>,
    pub shared_bytes: u32,
    /// Scalars of T1 that data decides and that bounds, positions of axes or subscripts need, with the tile (without axes) that
    /// holds each.
    pub uniforms: Vec<(t1::ValueId, ValId)>,
    /// Places in every instance's part of the workspace; empty without reductions over the grid.
    pub work: Vec<Work>,
    /// How packed tensors lie in memory.
    pub packed: Vec<(t1::TensorId, Recipe)>,
    /// Tensors that threads read and write at places that other threads wrote or read: the order of their accesses counts.
    pub ordered: Vec<t1::TensorId>,
}

impl Module {
    /// A fused module of one role that computes nothing yet.
    pub fn new(name: &str, variant: Variant, role: Role) -> Module {
        Module { name: name.into(), roles: vec![role], ..Module::empty(variant) }
    }

    /// Nothing: what stands in a module's place while another hand works on it.
    pub fn empty(variant: Variant) -> Module {
        Module {
            name: String::new(),
            variant,
            form: Form::Fused,
            roles: Vec::new(),
            buffers: Vec::new(),
            channels: Vec::new(),
            values: Vec::new(),
            body: Vec::new(),
            raster: Raster { group: 1, pair: None },
            dispatch: Dispatch::Each,
            occupancy: None,
            evict: Vec::new(),
            shared_bytes: 0,
            uniforms: Vec::new(),
            work: Vec::new(),
            packed: Vec::new(),
            ordered: Vec::new(),
        }
    }

    /// How a packed tensor lies in memory.
    pub fn recipe(&self, tensor: t1::TensorId) -> Option<&Recipe> {
        self.packed.iter().find(|(t, _)| *t == tensor).map(|(_, recipe)| recipe)
    }

    /// The buffer that passes on what is drawn, if tiles are.
    pub fn told(&self) -> Option<BufId> {
        self.body.iter().find_map(|n| match n {
            Node::Op(Op { kind: OpKind::ItemTell { buf, .. }, .. }) => Some(*buf),
            _ => None,
        })
    }

    pub fn value(&self, id: ValId) -> &Value {
        &self.values[id.0 as usize]
    }

    pub fn buffer(&self, id: BufId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    pub fn channel(&self, id: ChanId) -> &Channel {
        &self.channels[id.0 as usize]
    }

    pub fn role(&self, id: RoleId) -> &Role {
        &self.roles[id.0 as usize]
    }

    /// Threads of a block: the sum over role instances.
    pub fn threads(&self) -> u32 {
        self.roles.iter().map(|r| r.instances * r.threads()).sum()
    }

    pub fn work(&self, id: WorkId) -> &Work {
        &self.work[id.0 as usize]
    }

    /// Bytes of one instance's part of the workspace, a multiple of 16.
    pub fn work_bytes(&self) -> u32 {
        self.work.last().map_or(0, |w| w.base + w.bytes).next_multiple_of(16)
    }

    /// The layout of a register tile.
    pub fn layout(&self, id: ValId) -> &Layout {
        match &self.value(id).kind {
            ValKind::Tile { layout, .. } => layout,
            other => unreachable!("{other:?} is no register tile: T2.1"),
        }
    }

    pub fn new_value(&mut self, kind: ValKind, name: impl Into<String>) -> ValId {
        self.values.push(Value { kind, name: name.into() });
        ValId(self.values.len() as u32 - 1)
    }
}
