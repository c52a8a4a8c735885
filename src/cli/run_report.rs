//! What `run` says: for people a few aligned lines, with `--json` one object.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tilewright_compiler::artifact::Compiled;
use tilewright_compiler::diagnostics::{Diagnostic, Diagnostics, codes};
use tilewright_compiler::tile::{Const, Kernel, TensorKind};
use tilewright_runtime::cuda::Device;
use tilewright_runtime::executor::Finding;
use tilewright_runtime::launch::bind::show;
use tilewright_runtime::launch::on_cpu::CpuRun;
use tilewright_runtime::launch::on_cuda::CudaRun;
use tilewright_runtime::launch::{Compared, DeviceLaunch, Prepared, Verdict};
use tilewright_runtime::tensor::convert::position;
use tilewright_runtime::tensor::{FilePlace, store_all};

use super::source::Loaded;
use super::{Failure, Ui};

/// What running gave, wherever it ran.
#[derive(Debug, Default)]
pub struct Ran {
    pub device: String,
    pub variants: Vec<String>,
    pub launches: Vec<DeviceLaunch>,
    pub findings: Vec<Finding>,
    /// Making PTX runnable: the executor's or the driver's compilation.
    pub load_ms: f64,
    pub run_ms: f64,
    pub notes: Vec<String>,
}

impl From<CpuRun> for Ran {
    fn from(run: CpuRun) -> Ran {
        Ran {
            device: "cpu".into(),
            variants: run.variants,
            launches: run.launches,
            findings: run.findings,
            load_ms: run.compile_time.as_secs_f64() * 1e3,
            run_ms: run.run_time.as_secs_f64() * 1e3,
            notes: Vec::new(),
        }
    }
}

impl Ran {
    pub fn on_cuda(device: &Device, run: CudaRun) -> Ran {
        Ran {
            device: device.name().into(),
            variants: run.variants,
            launches: run.launches,
            load_ms: run.compile_ms.into(),
            run_ms: run.run_ms.into(),
            ..Ran::default()
        }
    }

    pub fn on_evaluator(time: Duration) -> Ran {
        Ran { device: "eval".into(), run_ms: time.as_secs_f64() * 1e3, ..Ran::default() }
    }
}

/// Everything there is to say.
pub struct Report<'a> {
    pub kernel: &'a Kernel,
    /// Absent where the evaluator ran.
    pub compiled: Option<&'a Compiled>,
    /// With `--check`.
    pub verdicts: Option<Vec<Verdict>>,
    pub prepared: &'a Prepared,
    pub outputs: &'a [(String, FilePlace)],
    pub saved: &'a [PathBuf],
    pub compile_ms: f64,
    pub ran: &'a Ran,
}

impl Report<'_> {
    /// Writes the files that `--out` asks for.
    pub fn write_outputs(&self) -> Result<(), Failure> {
        let placed = self.outputs.iter().filter_map(|(name, place)| {
            let at = self.kernel.tensors.iter().position(|t| t.name == *name)?;
            Some((name.as_str(), place, &self.prepared.tensors[at]))
        });
        store_all(placed).map_err(Failure::input)
    }

    /// Says it.
    pub fn show(&self, ui: &Ui) {
        if ui.json {
            ui.object(&self.object());
        } else if !ui.quiet {
            ui.print(&self.text());
        } else if let Some(verdicts) = &self.verdicts {
            ui.print(&verdicts.iter().map(judgement).collect::<Vec<_>>().join("\n"));
        }
    }

    /// A result that is not the program's meaning is our fault, and so is what the executor found in our PTX.
    /// What overflows the program's own types is the program's.
    pub fn judge(&self, loaded: &Loaded) -> Result<(), Failure> {
        if let Some(finding) = self.ran.findings.first() {
            let more = match self.ran.findings.len() {
                1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            return Err(Failure::Bug(format!("the PTX of {} is faulty: {finding}{more}", self.kernel.name)));
        }
        let wrong = self.verdicts.iter().flatten().find(|v| !v.comparison.ok);
        if let Some(verdict) = wrong {
            return Err(Failure::Bug(format!("{}'s result is not what the program means", verdict.name)));
        }
        let mut all = Diagnostics::default();
        self.verdicts.iter().flatten().filter_map(|v| self.overflow(v)).for_each(|d| all.push(d));
        if all.is_empty() { Ok(()) } else { Err(loaded.failure(all)) }
    }

    /// The diagnostic about elements that the program's own types cannot hold.
    fn overflow(&self, verdict: &Verdict) -> Option<Diagnostic> {
        let c = &verdict.comparison;
        let first = c.first_overflow?;
        let tensor = self.kernel.tensors.iter().find(|t| t.name == verdict.name)?;
        let message = format!(
            "{} overflows in {} of {} elements: at {:?} it is {} where real numbers give {:.3e}",
            verdict.name,
            c.overflowed,
            c.count,
            position(first.at, &verdict.shape),
            first.got,
            first.want
        );
        Some(
            Diagnostic::error(codes::OVERFLOW, message)
                .label(tensor.span, "computed in the program's own types")
                .note("a plain evaluation in the same types gives inf or NaN there, too: numbers on the way are beyond what the type holds (f32: 3.4e38, f16: 65504), or two infinities met")
                .help("keep what is computed small, as `exp(x - max(x over j))` does, or give smaller inputs; --device eval computes in f64"),
        )
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("{}: {}", self.kernel.name, self.tensors())];
        let mut line = |name: &str, text: String| {
            if !text.is_empty() {
                lines.push(format!("  {name:<11} {text}"));
            }
        };
        let dims: Vec<String> = self
            .kernel
            .dims
            .iter()
            .zip(self.prepared.bound.dims.values())
            .map(|(d, v)| format!("{} = {v}", d.name))
            .collect();
        line("dimensions", dims.join(", "));
        line("chosen", self.prepared.notes.join(", "));
        let scalars: Vec<String> = self
            .kernel
            .scalars
            .iter()
            .zip(&self.prepared.bound.scalars)
            .map(|(s, v)| format!("{} = {}", s.name, show(*v)))
            .collect();
        line("scalars", scalars.join(", "));
        if let Some(compiled) = self.compiled {
            let items: Vec<String> = compiled
                .meta
                .parameters
                .iter()
                .chain(&compiled.meta.schedule)
                .map(|item| format!("{} = {} ({})", item.path, item.value, item.chosen_by.name()))
                .collect();
            line("schedule", items.join(", "));
            line("target", compiled.target.name().into());
            if self.ran.launches.is_empty() {
                line("variant", "nothing to compute: the grid is empty, so nothing is written".into());
            }
        }
        for (variant, launch) in self.ran.variants.iter().zip(&self.ran.launches) {
            line(
                "variant",
                format!(
                    "{variant}: grid {}, block {}, {} bytes of shared memory",
                    launch.grid.iter().product::<u32>(),
                    launch.block.iter().product::<u32>(),
                    launch.shared_bytes
                ),
            );
        }
        line("device", self.device());
        for verdict in self.verdicts.iter().flatten() {
            line("check", judgement(verdict));
        }
        line("time", self.times());
        for note in &self.ran.notes {
            line("note", note.clone());
        }
        for (name, place) in self.outputs {
            line("wrote", format!("{name} to {place}"));
        }
        for path in self.saved {
            line("wrote", format!("the launch to {}", path.display()));
        }
        lines.join("\n")
    }

    fn device(&self) -> String {
        match self.ran.device.as_str() {
            "cpu" => "cpu (the PTX, on the executor)".into(),
            "eval" => "eval (the program's meaning, in f64)".into(),
            gpu => gpu.into(),
        }
    }

    fn times(&self) -> String {
        match self.compiled {
            Some(_) => format!(
                "compile {:.1} ms, load {:.1} ms, run {:.3} ms",
                self.compile_ms, self.ran.load_ms, self.ran.run_ms
            ),
            None => format!("run {:.1} ms", self.ran.run_ms),
        }
    }

    /// `a f16[512, 256], b f16[384, 256] -> c f16[512, 384]`
    fn tensors(&self) -> String {
        let list = |written: bool| -> String {
            let all = self.kernel.tensors.iter().zip(&self.prepared.tensors);
            let some = all.filter(|(t, _)| match t.kind {
                TensorKind::In | TensorKind::Packed => !written,
                TensorKind::Out => written,
                TensorKind::InOut => true,
                TensorKind::Temp { .. } | TensorKind::Const(_) => false,
            });
            some.map(|(t, host)| format!("{} {}{:?}", t.name, t.elem, host.shape()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!("{} -> {}", list(false), list(true))
    }

    fn object(&self) -> Value {
        let dims: serde_json::Map<String, Value> = self
            .kernel
            .dims
            .iter()
            .zip(self.prepared.bound.dims.values())
            .map(|(d, v)| (d.name.clone(), json!(v)))
            .collect();
        let scalars: serde_json::Map<String, Value> = self
            .kernel
            .scalars
            .iter()
            .zip(&self.prepared.bound.scalars)
            .map(|(s, v)| (s.name.clone(), number(*v)))
            .collect();
        let outputs: Vec<Value> = self
            .kernel
            .tensors
            .iter()
            .zip(&self.prepared.tensors)
            .filter(|(t, _)| matches!(t.kind, TensorKind::Out | TensorKind::InOut))
            .map(|(t, host)| {
                let path =
                    self.outputs.iter().find(|(name, _)| *name == t.name).map(|(_, place)| place.to_string());
                json!({"name": t.name, "dtype": t.elem.to_string(), "shape": host.shape(), "path": path})
            })
            .collect();
        let mut object = json!({
            "kernel": self.kernel.name,
            "device": self.ran.device,
            "dims": dims,
            "scalars": scalars,
            "chosen": self.prepared.notes,
            "outputs": outputs,
            "run_ms": self.ran.run_ms,
        });
        if let Some(compiled) = self.compiled {
            let meta = compiled.meta.to_json(self.kernel);
            object["target"] = json!(compiled.target.name());
            object["parameters"] = meta["parameters"].clone();
            object["schedule"] = meta["schedule"].clone();
            object["chosen_by"] = meta["chosen_by"].clone();
            object["launches"] = self.ran.variants.iter().zip(&self.ran.launches).map(|(variant, launch)| {
                json!({"variant": variant, "entry": launch.entry, "grid": launch.grid, "block": launch.block, "cluster": launch.cluster,
                       "shared_bytes": launch.shared_bytes})
            }).collect();
            object["compile_ms"] = json!(self.compile_ms);
            object["load_ms"] = json!(self.ran.load_ms);
            object["findings"] = json!(self.ran.findings);
        }
        if let Some(verdicts) = &self.verdicts {
            object["check"] = json!(verdicts);
            object["ok"] = json!(verdicts.iter().all(|v| v.comparison.ok && v.comparison.overflowed == 0));
        }
        if !self.saved.is_empty() {
            object["saved"] = json!(self.saved);
        }
        if !self.ran.notes.is_empty() {
            object["notes"] = json!(self.ran.notes);
        }
        object
    }
}

/// `c: fine, max error 0.0012 of 0.0049 allowed, mean 0.0003`
fn judgement(verdict: &Verdict) -> String {
    let c = &verdict.comparison;
    if verdict.compared == Compared::NotCompared {
        return format!("{}: {}", verdict.name, verdict.compared.remark().unwrap_or_default());
    }
    let errors =
        format!("max error {:.3e} of {:.3e} allowed, mean {:.3e}", c.max_error, c.bound, c.mean_error);
    match &c.worst {
        None if c.overflowed > 0 => format!(
            "{}: OVERFLOWS its own types in {} of {} elements; right in the others ({errors})",
            verdict.name, c.overflowed, c.count
        ),
        None => match verdict.compared.remark() {
            None => format!("{}: right ({errors})", verdict.name),
            Some(remark) => format!("{}: right ({errors}); {remark}", verdict.name),
        },
        Some(worst) => format!(
            "{}: WRONG in {} of {} elements ({errors}); at {:?} it is {} and should be {}",
            verdict.name,
            c.wrong,
            c.count,
            position(worst.at, &verdict.shape),
            worst.got,
            worst.want
        ),
    }
}

fn number(value: Const) -> Value {
    match value {
        Const::Bool(b) => json!(b),
        Const::Int(v) => i64::try_from(v).map_or_else(|_| json!(v.to_string()), |v| json!(v)),
        Const::Float(x) if x.is_finite() => json!(x),
        // JSON has no infinity.
        Const::Float(x) => json!(x.to_string()),
    }
}
