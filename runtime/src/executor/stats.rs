//! What a launch cost, in the units that GPU profilers use.
//!
//! Counts are exact properties of the executed instruction stream (they do not depend on timing): warp instructions by
//! opcode, *wavefronts* of shared-memory accesses (the passes over the 32 banks that an access needs; one is ideal for up to
//! 128 bytes), 32-byte *sectors* of global accesses, and operations of the tensor cores.
//!
//! A [`Roofline`] says how long a named GPU would take at least: for the products at its tensor cores' peak, for the bytes at its memory's
//! (if no access hit a cache: all of them are counted), and for issuing the instructions. The largest of the three is the bound.

use std::collections::BTreeMap;

/// Counts of one memory instruction (one PTX line).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MemoryCount {
    /// PTX line, from 1.
    pub line: u32,
    /// Warp instructions with at least one active lane; bulk copies, one by one.
    pub requests: u64,
    /// Shared memory: wavefronts needed.
    pub wavefronts: u64,
    /// Shared memory: wavefronts beyond what the access width makes unavoidable, that is bank conflicts.
    pub extra_wavefronts: u64,
    /// Global memory: 32-byte sectors touched.
    pub sectors: u64,
    /// Bytes moved by active lanes.
    pub bytes: u64,
}

/// Counts of one launch. With `Options::stats` off only `warp_instructions` and `mma` are filled.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    pub warp_instructions: u64,
    /// Matrix instructions issued.
    pub mma: u64,
    /// Warp instructions by opcode with its modifiers.
    pub mix: BTreeMap<String, u64>,
    /// Operations of the tensor cores (two for a multiply-add), by the type of what is multiplied.
    pub tensor_ops: BTreeMap<MatrixKind, u64>,
    /// Shared-memory instructions (ld, st, ldmatrix, stmatrix, the writing side of cp.async) by PTX line.
    pub shared: Vec<MemoryCount>,
    /// Global-memory instructions, bulk and tensor copies included, by PTX line.
    pub global: Vec<MemoryCount>,
    pub global_bytes_read: u64,
    pub global_bytes_written: u64,
}

impl Stats {
    /// Bank conflicts of the whole launch.
    pub fn bank_conflicts(&self) -> u64 {
        self.shared.iter().map(|m| m.extra_wavefronts).sum()
    }

    /// Counts the operations of the matrix instructions in `mix`.
    pub(super) fn count_tensor_ops(&mut self) {
        for (mnemonic, count) in &self.mix {
            if let Some(shape) = MatrixShape::parse(mnemonic) {
                *self.tensor_ops.entry(shape.kind).or_default() += 2 * shape.multiply_adds * count;
            }
        }
    }

    /// How long `gpu` would take at least.
    pub fn roofline(&self, gpu: &Gpu) -> Roofline {
        let tensor = self.tensor_ops.iter().map(|(kind, &ops)| ops as f64 / gpu.ops(*kind)).sum::<f64>();
        let bytes = self.global_bytes_read + self.global_bytes_written;
        let issue = self.warp_instructions as f64 / (f64::from(gpu.sms) * 4.0 * gpu.clock_ghz * 1e9);
        let memory = bytes as f64 / (gpu.memory_gb_s * 1e9);
        let bounds = [("tensor cores", tensor), ("memory", memory), ("instruction issue", issue)];
        let bound = bounds.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or("nothing", |b| b.0);
        let [tensor_us, memory_us, issue_us] = bounds.map(|(_, seconds)| seconds * 1e6);
        let statement = format!(
            "on {}: at least {:.3} us, bound by {bound} (tensor cores {tensor_us:.3} us, memory without cache hits {memory_us:.3} us, instruction issue {issue_us:.3} us)",
            gpu.name,
            tensor_us.max(memory_us).max(issue_us)
        );
        Roofline { gpu: gpu.name, bound, tensor_us, memory_us, issue_us, statement }
    }
}

/// A lower bound of a GPU's time.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Roofline {
    pub gpu: &'static str,
    pub bound: &'static str,
    pub tensor_us: f64,
    pub memory_us: f64,
    pub issue_us: f64,
    /// In words.
    pub statement: String,
}

/// What tensor cores multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MatrixKind {
    F16,
    Bf16,
    Tf32,
    F8,
    Int8,
    Int4,
    Bits,
    F64,
}

impl MatrixKind {
    /// As JSON has it.
    pub fn name(self) -> &'static str {
        match self {
            MatrixKind::F16 => "f16",
            MatrixKind::Bf16 => "bf16",
            MatrixKind::Tf32 => "tf32",
            MatrixKind::F8 => "f8",
            MatrixKind::Int8 => "int8",
            MatrixKind::Int4 => "int4",
            MatrixKind::Bits => "bits",
            MatrixKind::F64 => "f64",
        }
    }

    /// Multiply-adds a cycle beside those in f16.
    pub fn speed(self) -> f64 {
        match self {
            MatrixKind::F16 | MatrixKind::Bf16 => 1.0,
            MatrixKind::Tf32 => 0.5,
            MatrixKind::F8 | MatrixKind::Int8 => 2.0,
            MatrixKind::Int4 => 4.0,
            MatrixKind::Bits => 16.0,
            MatrixKind::F64 => 1.0 / 16.0,
        }
    }
}

/// The work of one warp's matrix instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MatrixShape {
    pub kind: MatrixKind,
    /// By the warp alone: a quarter of a `wgmma`.
    pub multiply_adds: u64,
}

impl MatrixShape {
    /// From a mnemonic such as `mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32`; `None` for other instructions.
    pub fn parse(mnemonic: &str) -> Option<MatrixShape> {
        let mut parts = mnemonic.split('.');
        let share = match parts.next()? {
            "mma" => 1,
            "wmma" if parts.next()? == "mma" => 1,
            "wgmma" => 4,
            _ => return None,
        };
        let mut multiply_adds = None;
        // The types of A: the second one behind the shape.
        let mut types = Vec::new();
        for part in parts {
            if let Some(shape) = dimensions(part) {
                multiply_adds = Some(shape / share);
            } else if multiply_adds.is_some()
                && let Some(kind) = kind(part)
            {
                types.push(kind);
            }
        }
        // `wmma.mma` of f16 names D and C only.
        let f16 = mnemonic.starts_with("wmma") && types.len() == 2;
        let kind = if f16 { Some(MatrixKind::F16) } else { *types.get(1).or(types.first())? };
        Some(MatrixShape { kind: kind?, multiply_adds: multiply_adds? })
    }
}

/// m·n·k of `m16n8k16`.
fn dimensions(text: &str) -> Option<u64> {
    let (m, rest) = text.strip_prefix('m')?.split_once('n')?;
    let (n, k) = rest.split_once('k')?;
    Some(m.parse::<u64>().ok()? * n.parse::<u64>().ok()? * k.parse::<u64>().ok()?)
}

/// An operand type; `Some(None)` for types that only sums have.
fn kind(text: &str) -> Option<Option<MatrixKind>> {
    Some(match text {
        "f16" => Some(MatrixKind::F16),
        "bf16" => Some(MatrixKind::Bf16),
        "tf32" => Some(MatrixKind::Tf32),
        "e4m3" | "e5m2" => Some(MatrixKind::F8),
        "s8" | "u8" => Some(MatrixKind::Int8),
        "s4" | "u4" => Some(MatrixKind::Int4),
        "b1" => Some(MatrixKind::Bits),
        "f64" => Some(MatrixKind::F64),
        "f32" | "s32" => None,
        _ => return None,
    })
}

/// A GPU's peaks, from its data sheet (dense).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gpu {
    pub name: &'static str,
    pub sms: u32,
    pub clock_ghz: f64,
    /// In f16 with f32 sums.
    pub tensor_tflops: f64,
    pub f64_tflops: f64,
    pub memory_gb_s: f64,
}

impl Gpu {
    /// Those that are known.
    pub const ALL: [Gpu; 5] = [
        Gpu {
            name: "a100",
            sms: 108,
            clock_ghz: 1.41,
            tensor_tflops: 312.0,
            f64_tflops: 19.5,
            memory_gb_s: 2039.0,
        },
        Gpu {
            name: "h100",
            sms: 132,
            clock_ghz: 1.83,
            tensor_tflops: 989.4,
            f64_tflops: 66.9,
            memory_gb_s: 3352.0,
        },
        Gpu {
            name: "h200",
            sms: 132,
            clock_ghz: 1.83,
            tensor_tflops: 989.4,
            f64_tflops: 66.9,
            memory_gb_s: 4800.0,
        },
        Gpu {
            name: "l40s",
            sms: 142,
            clock_ghz: 2.52,
            tensor_tflops: 362.0,
            f64_tflops: 1.4,
            memory_gb_s: 864.0,
        },
        Gpu {
            name: "rtx4090",
            sms: 128,
            clock_ghz: 2.52,
            tensor_tflops: 165.2,
            f64_tflops: 1.3,
            memory_gb_s: 1008.0,
        },
    ];

    /// By name.
    pub fn named(name: &str) -> Option<&'static Gpu> {
        Gpu::ALL.iter().find(|gpu| gpu.name.eq_ignore_ascii_case(name))
    }

    /// The one that code for `target` is usually meant for.
    pub fn of_target(target: &str) -> &'static Gpu {
        let name = match target {
            t if t.starts_with("sm_9") || t.starts_with("sm_10") => "h100",
            "sm_89" => "l40s",
            _ => "a100",
        };
        Gpu::named(name).unwrap_or(&Gpu::ALL[0])
    }

    /// Operations a second on what is multiplied.
    fn ops(&self, kind: MatrixKind) -> f64 {
        match kind {
            MatrixKind::F64 => self.f64_tflops * 1e12,
            kind => self.tensor_tflops * 1e12 * kind.speed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrix_instructions_say_what_they_multiply() {
        let of = |text| MatrixShape::parse(text).map(|s| (s.kind, s.multiply_adds));
        let f16 = Some((MatrixKind::F16, 2048));
        assert_eq!(of("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"), f16);
        assert_eq!(of("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16"), f16);
        assert_eq!(of("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64"), Some((MatrixKind::F64, 256)));
        assert_eq!(
            of("mma.sync.aligned.m16n8k32.row.col.satfinite.s32.s8.u8.s32"),
            Some((MatrixKind::Int8, 4096))
        );
        let wgmma = "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16";
        assert_eq!(of(wgmma), Some((MatrixKind::Bf16, 65536)));
        assert_eq!(of("add.s32"), None);
    }

    #[test]
    fn the_slowest_part_is_the_bound() {
        let mut stats = Stats { global_bytes_read: 3_352_000, warp_instructions: 966, ..Stats::default() };
        stats.mix.insert("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32".into(), 1000);
        stats.count_tensor_ops();
        assert_eq!(stats.tensor_ops[&MatrixKind::F16], 4_096_000);
        let line = stats.roofline(Gpu::of_target("sm_90a"));
        assert_eq!((line.gpu, line.bound), ("h100", "memory"));
        assert!((line.memory_us - 1.0).abs() < 1e-9 && line.tensor_us < 0.005, "{line:?}");
    }
}
