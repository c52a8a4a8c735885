//! What a compilation yields: PTX, and everything a launch needs to know about it.

use crate::packed::Recipe;
use crate::ptx;
use crate::scheduled::ir::Module;
use crate::target::Target;
use crate::tile::ir as t1;
use crate::tile::launch::LaunchExpr;
use serde_json::{Value, json};
use std::time::Duration;

/// A compiled kernel.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The bound tile-level kernel: parameters, dimensions, promises and the meaning to check against.
    pub kernel: t1::Kernel,
    /// The same with its loops cut as the schedule says: what the scheduled level speaks of.
    pub scheduled: t1::Kernel,
    pub target: Target,
    /// The text that ships.
    pub ptx: String,
    /// The same, typed.
    pub module: ptx::Module,
    pub meta: Meta,
    /// T2 and T3 as text, where they were asked for.
    pub dumps: Dumps,
    /// Wall time per pass, in order.
    pub timings: Vec<(&'static str, Duration)>,
    /// The scheduled level of each variant, in order, where [`Options::levels`](crate::compile::Options) asked for it.
    pub levels: Vec<Levels>,
    /// Where the planted fault's kind could have happened.
    #[doc(hidden)]
    pub places: usize,
}

/// One variant at the scheduled level, in the forms that [`crate::scheduled::eval`] runs.
#[derive(Clone, Debug)]
pub struct Levels {
    pub fused: Module,
    pub expanded: Module,
    /// Expanded, with synchronisation.
    pub ordered: Module,
}

/// Levels as text; filled when [`Options::dumps`](crate::compile::Options) asks.
#[derive(Clone, Debug, Default)]
pub struct Dumps {
    pub tile: String,
    pub scheduled: String,
    pub warp: String,
}

/// The launch side of a compiled kernel; `--emit meta` prints it as JSON.
#[derive(Clone, Debug)]
pub struct Meta {
    pub kernel: String,
    pub target: Target,
    /// Generics and function parameters.
    pub parameters: Vec<ScheduleItem>,
    /// Path and value of every schedule item in force, tune parameters first.
    pub schedule: Vec<ScheduleItem>,
    /// In order; each is one grid.
    pub launches: Vec<LaunchPlan>,
}

/// One schedule item as `--set` and `schedule` blocks spell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleItem {
    pub path: String,
    pub value: String,
    pub chosen_by: ChosenBy,
}

/// Where a value came from, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenBy {
    Set,
    Schedule,
    Cache,
    Model,
    /// Implied by an argument's type or shape.
    Arguments,
    Default,
}

impl ChosenBy {
    pub fn name(self) -> &'static str {
        match self {
            ChosenBy::Set => "set",
            ChosenBy::Schedule => "schedule",
            ChosenBy::Cache => "cache",
            ChosenBy::Model => "model",
            ChosenBy::Arguments => "arguments",
            ChosenBy::Default => "default",
        }
    }
}

/// One grid launch: the first variant whose guards hold is taken.
#[derive(Clone, Debug)]
pub struct LaunchPlan {
    pub workspace: Option<Workspace>,
    /// How the memory of packed tensors must be laid out.
    pub packed: Vec<(t1::TensorId, Recipe)>,
    pub variants: Vec<VariantMeta>,
}

/// Global memory that the instances of a launch share, given by whoever launches.
///
/// Parts need no initial value. Counters (32 bits each, as many as there are blocks, or tiles where [`Workers`] share their steps, or one where
/// they draw tiles) must be
/// zero before the first launch; every launch leaves them zero, so the same memory serves the next one on the same stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Bytes of one part, the same for every variant: a block has one, or two where [`Workers`] share steps. None where only a counter
    /// is wanted.
    pub part_bytes: u32,
}

#[derive(Clone, Debug)]
pub struct VariantMeta {
    /// `wide`, `mid` or `any`.
    pub name: &'static str,
    pub guards: Vec<Guard>,
    /// Name of the PTX entry.
    pub entry: String,
    pub grid: GridRule,
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    /// Dynamic shared memory.
    pub shared_bytes: u32,
    /// In the order of the PTX parameters.
    pub params: Vec<ParamSlot>,
    /// Every synchronisation op that was emitted, in words.
    pub sync: Vec<String>,
}

/// A fact that must hold for a variant: the tensor's base address, and the byte distance between rows (every stride but the
/// last dimension's) and the length of a row are multiples of `bytes`. The stride of an axis of extent 1 asks nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    pub tensor: t1::TensorId,
    pub bytes: u32,
}

/// Blocks along x: the product of `ceil(extent / by)`, or what [`Workers`] say; an empty range launches nothing. y and z are 1.
#[derive(Clone, Debug)]
pub struct GridRule {
    pub ranges: Vec<GridRange>,
    /// Blocks go from one tile to the next, so that only as many are launched as the GPU holds at once.
    pub workers: Option<Workers>,
}

/// Blocks of a persistent kernel: SMs · `per_sm`, and not more than there are tiles.
#[derive(Clone, Debug)]
pub struct Workers {
    pub per_sm: u32,
    pub share: Share,
}

/// What each of the blocks gets.
#[derive(Clone, Debug)]
pub enum Share {
    /// Block b of n the tiles b, b + n, ….
    Turns,
    /// Tile b, and then the next that nobody has: the workspace has one counter.
    Drawn,
    /// Stream-K: every tile has `max(1, ceil(extent / by))` steps that blocks share, so there are not more blocks than steps of
    /// all tiles. The workspace has two parts for each block, and a counter for each tile.
    Steps(GridRange),
}

impl Workers {
    /// The steps of a tile, where blocks share them.
    pub fn steps(&self) -> Option<&GridRange> {
        match &self.share {
            Share::Steps(steps) => Some(steps),
            Share::Turns | Share::Drawn => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct GridRange {
    pub name: String,
    pub extent: LaunchExpr,
    /// As written.
    pub text: String,
    pub by: u32,
}

/// What one PTX parameter holds.
#[derive(Clone, Debug, PartialEq)]
pub enum ParamSlot {
    /// The tensor's address (u64).
    Pointer(t1::TensorId),
    /// A dimension (u32; the launch checks that it fits 31 bits).
    Dim(t1::DimId),
    /// A stride in elements (u64) of a tensor's dimension.
    Stride(t1::TensorId, usize),
    /// A scalar parameter in its own type.
    Scalar(t1::ScalarId),
    /// The workspace's address (u64): see [`Workspace`].
    Workspace,
    /// The address of the workspace's counters (u64).
    Counters,
}

impl Meta {
    /// The schedule in the language's own syntax, complete: pasted into the file it pins what was chosen.
    pub fn schedule_text(&self) -> String {
        let mut out = format!("schedule {} on {} {{\n", self.kernel, self.target);
        for item in &self.schedule {
            out += &format!("    {} = {};\n", item.path, item.value);
        }
        out + "}\n"
    }

    /// The JSON of `--emit meta`.
    pub fn to_json(&self, kernel: &t1::Kernel) -> Value {
        let chosen: serde_json::Map<String, Value> = self
            .parameters
            .iter()
            .chain(&self.schedule)
            .map(|i| (i.path.clone(), json!(i.chosen_by.name())))
            .collect();
        let parameters: serde_json::Map<String, Value> =
            self.parameters.iter().map(|i| (i.path.clone(), json!(i.value))).collect();
        let schedule: serde_json::Map<String, Value> =
            self.schedule.iter().map(|i| (i.path.clone(), json!(i.value))).collect();
        json!({
            "kernel": self.kernel,
            "target": self.target.name(),
            "parameters": parameters,
            "schedule": schedule,
            "chosen_by": chosen,
            "launches": self.launches.iter().map(|l| json!({
                "workspace": l.workspace.map(|w| {
                    let workers = l.variants.iter().find_map(|v| v.grid.workers.as_ref());
                    let (parts, counters) = match workers.map(|w| &w.share) {
                        Some(Share::Steps(_)) => (2 * w.part_bytes, "one u32 per tile of the grid"),
                        Some(Share::Drawn) => (w.part_bytes, "one u32"),
                        Some(Share::Turns) | None => (w.part_bytes, "one u32 per block"),
                    };
                    json!({
                        "part_bytes_per_block": parts,
                        "counters": counters,
                        "initially": "counters are zero before the first launch; each launch leaves them zero",
                    })
                }),
                "variants": l.variants_json(kernel),
            })).collect::<Vec<_>>(),
        })
    }
}

impl LaunchPlan {
    fn variants_json(&self, kernel: &t1::Kernel) -> Value {
        let packed = self.packed_json(kernel);
        self.variants.iter().map(|v| v.to_json(kernel, &packed)).collect()
    }

    /// The storage of each packed tensor, as files of packed weights describe theirs.
    fn packed_json(&self, kernel: &t1::Kernel) -> Value {
        let one = |(t, recipe): &(t1::TensorId, Recipe)| {
            let mut storage = recipe.storage().to_json();
            storage["tensor"] = json!(kernel.tensor(*t).name);
            storage
        };
        self.packed.iter().map(one).collect()
    }
}

impl VariantMeta {
    fn to_json(&self, kernel: &t1::Kernel, packed: &Value) -> Value {
        let tensor = |t: &t1::TensorId| kernel.tensor(*t).name.clone();
        json!({
            "name": self.name,
            "guard": self.guards.iter().map(|g| json!({"tensor": tensor(&g.tensor), "base_and_row_stride_multiple_of": g.bytes})).collect::<Vec<_>>(),
            "entry": self.entry,
            "grid": self.grid.ranges.iter().map(|r| format!("cdiv({}, {})", r.text, r.by)).collect::<Vec<_>>().join(" * "),
            "workers": self.grid.workers.as_ref().map(|w| json!({
                "per_sm": w.per_sm,
                "steps": w.steps().map(|s| format!("cdiv({}, {})", s.text, s.by)),
                "drawn": matches!(w.share, Share::Drawn),
            })),
            "block": self.block,
            "cluster": self.cluster,
            "shared_bytes": self.shared_bytes,
            "params": self.params.iter().map(|p| match p {
                ParamSlot::Pointer(t) => json!({"pointer": tensor(t)}),
                ParamSlot::Dim(d) => json!({"dim": kernel.dim(*d).name, "type": "u32"}),
                ParamSlot::Workspace => json!({"workspace": "parts"}),
                ParamSlot::Counters => json!({"workspace": "counters"}),
                ParamSlot::Stride(t, axis) => json!({"stride": tensor(t), "axis": axis, "type": "u64"}),
                ParamSlot::Scalar(s) => json!({"scalar": kernel.scalar(*s).name, "type": kernel.scalar(*s).elem.to_string()}),
            }).collect::<Vec<_>>(),
            "tensor_maps": [],
            "packed": packed,
            "sync": self.sync,
        })
    }
}
