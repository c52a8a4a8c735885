//! A picture of one block over time, for Chrome's and Perfetto's viewers: a row per warp, the tensor cores, copies on their way.
//!
//! The executor does not simulate a GPU's pipelines, so the time here is a *model's*, simple enough to be checked by hand. Functional execution
//! says what happens and who waits for whom; the model gives each event a moment, in cycles:
//!
//! | what | costs |
//! | --- | --- |
//! | any instruction | its warp one cycle |
//! | loads from shared memory, `ldmatrix` | the data are there 30 cycles later |
//! | loads from global memory, atomics | 500 cycles later |
//! | `cp.async`, bulk and tensor copies | 500 cycles, and 32 bytes a cycle through one pipe that the block's copies share, in the order of issue |
//! | `mma`, `wgmma` | one of four tensor cores (warp number modulo 4) for m·n·k / 256 cycles in f16, half of that in kernels that use `wgmma`; other types in proportion |
//! | barriers, mbarriers, group waits | until the last arrival, copy or product that they wait for |
//!
//! Loads one after another overlap; whatever else follows them waits for the last. Lanes of a warp share its clock. Caches, bank conflicts,
//! other blocks and register dependences are not in the model: it shows the *shape* of a pipeline (what overlaps with what, who waits, where
//! bubbles are), not how long a kernel takes. One cycle is drawn as one nanosecond.

use serde_json::{Value, json};

use super::finding::SourceLoc;

/// Which row an event is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// Number of the warp in its block.
    Warp(usize),
    /// One of the block's four tensor cores.
    TensorCore(usize),
    /// Copies that a warp issued.
    Copies(usize),
}

/// What a slice shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    Compute,
    Load,
    Store,
    /// Issuing matrix instructions (in a warp's row), or carrying them out.
    Matrix,
    /// Issuing copies, or data on their way.
    Copy,
    Synchronise,
    Wait,
}

impl Activity {
    /// As the viewers show it.
    pub fn name(self) -> &'static str {
        match self {
            Activity::Compute => "compute",
            Activity::Load => "load",
            Activity::Store => "store",
            Activity::Matrix => "matrix",
            Activity::Copy => "copy",
            Activity::Synchronise => "synchronise",
            Activity::Wait => "wait",
        }
    }
}

/// Something that takes time.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    /// Rank of the block in its cluster.
    pub block: usize,
    pub row: Row,
    pub activity: Activity,
    pub name: String,
    /// Cycles.
    pub start: u64,
    pub end: u64,
    /// PTX lines of its first and last instruction.
    pub lines: (u32, u32),
    pub instructions: u64,
    pub source: Option<SourceLoc>,
}

/// What one block (its whole cluster, where there are clusters) did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    pub kernel: String,
    /// `%ctaid` of the blocks, by rank.
    pub blocks: Vec<[u32; 3]>,
    /// By start.
    pub slices: Vec<Slice>,
    /// There were more slices than are kept.
    pub truncated: bool,
}

impl Trace {
    /// Slices that are kept at most.
    pub const LIMIT: usize = 400_000;

    /// The trace as Chrome's `chrome://tracing` and Perfetto read it.
    pub fn to_chrome_json(&self) -> String {
        let mut events = Vec::new();
        for (rank, block) in self.blocks.iter().enumerate() {
            let pid = rank + 1;
            let name = format!("{} block ({}, {}, {})", self.kernel, block[0], block[1], block[2]);
            events.push(json!({"ph": "M", "pid": pid, "name": "process_name", "args": {"name": name}}));
            let mut rows: Vec<Row> = self.slices.iter().filter(|s| s.block == rank).map(|s| s.row).collect();
            rows.sort_unstable();
            rows.dedup();
            for row in rows.into_iter().filter(|row| !matches!(row, Row::Copies(_))) {
                let (tid, name) = (tid(row), row_name(row));
                events.push(
                    json!({"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}),
                );
                events.push(
                    json!({"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}),
                );
            }
        }
        for (number, slice) in self.slices.iter().enumerate() {
            let mut args = json!({"ptx_line": slice.lines.0, "cycles": slice.end - slice.start});
            if slice.lines.1 != slice.lines.0 {
                args["last_ptx_line"] = json!(slice.lines.1);
            }
            if slice.instructions > 0 {
                args["instructions"] = json!(slice.instructions);
            }
            if let Some(source) = &slice.source {
                args["source"] = json!(format!("{}:{}", source.file, source.line));
            }
            let (pid, ts) = (slice.block + 1, microseconds(slice.start));
            let cat = slice.activity.name();
            if let Row::Copies(warp) = slice.row {
                // Copies overlap each other, which slices of one row must not.
                let id = format!("{number:#x}");
                events.push(
                    json!({"ph": "b", "cat": cat, "id": id, "pid": pid, "tid": warp, "name": slice.name, "ts": ts, "args": args}),
                );
                let end = microseconds(slice.end);
                events.push(json!({"ph": "e", "cat": cat, "id": id, "pid": pid, "tid": warp, "name": slice.name, "ts": end}));
            } else {
                let dur = microseconds(slice.end - slice.start);
                events.push(
                    json!({"ph": "X", "cat": cat, "pid": pid, "tid": tid(slice.row), "name": slice.name, "ts": ts, "dur": dur, "args": args}),
                );
            }
        }
        let about = json!({
            "kernel": self.kernel,
            "time": "cycles of a cost model, drawn as nanoseconds; see docs/executor.md",
            "truncated": self.truncated,
        });
        let lines: Vec<String> = events.iter().map(Value::to_string).collect();
        format!(
            "{{\"displayTimeUnit\": \"ns\", \"otherData\": {about}, \"traceEvents\": [\n{}\n]}}\n",
            lines.join(",\n")
        )
    }

    /// The last moment of all.
    pub fn end(&self) -> u64 {
        self.slices.iter().map(|slice| slice.end).max().unwrap_or(0)
    }

    /// A drawing of the first block's cycles `from..to`: a row per warp and per tensor core, copies in rows of their own.
    pub fn to_svg(&self, from: u64, to: u64) -> String {
        let (width, left, height, gap) = (1500.0, 130.0, 18.0, 6.0);
        let span = to.saturating_sub(from).max(1) as f64;
        let x = |cycle: u64| left + (cycle.clamp(from, to) - from) as f64 / span * (width - left - 10.0);
        let seen = |s: &&Slice| s.block == 0 && s.end > from && s.start < to;
        let mut rows: Vec<(Row, usize)> = Vec::new();
        // Copies of a warp that overlap take lanes of their own.
        let mut lanes: Vec<(usize, usize, u64)> = Vec::new();
        let mut body = String::new();
        let mut placed: Vec<(&Slice, Row, usize)> = Vec::new();
        for slice in self.slices.iter().filter(seen) {
            let mut lane = 0;
            if let Row::Copies(warp) = slice.row {
                let free = lanes.iter_mut().find(|(w, _, until)| *w == warp && *until <= slice.start);
                lane = match free {
                    Some(free) => {
                        free.2 = slice.end;
                        free.1
                    }
                    None => {
                        let lane = lanes.iter().filter(|(w, ..)| *w == warp).count();
                        lanes.push((warp, lane, slice.end));
                        lane
                    }
                };
                // More would make the picture higher than it is wide.
                lane = lane.min(7);
            }
            if !rows.contains(&(slice.row, lane)) {
                rows.push((slice.row, lane));
            }
            placed.push((slice, slice.row, lane));
        }
        rows.sort_unstable();
        let top = |row: (Row, usize)| {
            30.0 + rows.iter().position(|r| *r == row).unwrap_or(0) as f64 * (height + gap)
        };
        for &(row, lane) in &rows {
            let name = if lane == 0 { row_name(row) } else { String::new() };
            body += &format!(
                "<text x=\"4\" y=\"{:.0}\" font-size=\"12\">{name}</text>\n",
                top((row, lane)) + height - 5.0
            );
        }
        for (slice, row, lane) in placed {
            let colour = match slice.activity {
                Activity::Compute => "#9aa5b1",
                Activity::Load => "#4c9be8",
                Activity::Store => "#8a6fd1",
                Activity::Matrix => "#2e9e5b",
                Activity::Copy => "#e8a33d",
                Activity::Synchronise => "#5c6670",
                Activity::Wait => "#f3c6c2",
            };
            let (x0, x1) = (x(slice.start), x(slice.end));
            body += &format!(
                "<rect x=\"{x0:.1}\" y=\"{:.0}\" width=\"{:.1}\" height=\"{height}\" fill=\"{colour}\"><title>{} ({} to {}), PTX line {}</title></rect>\n",
                top((row, lane)),
                (x1 - x0).max(0.4),
                escaped(&slice.name),
                slice.start,
                slice.end,
                slice.lines.0
            );
        }
        let total = 40.0 + rows.len() as f64 * (height + gap);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{total:.0}\" font-family=\"sans-serif\">\n\
             <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
             <text x=\"{left}\" y=\"18\" font-size=\"13\">{} · cycles {from} to {to} of a cost model · grey compute, blue load, orange copy in flight, green matrix, pink wait</text>\n{body}</svg>\n",
            escaped(&self.kernel)
        )
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A cycle is a nanosecond; the format counts in microseconds.
fn microseconds(cycles: u64) -> f64 {
    cycles as f64 / 1e3
}

fn tid(row: Row) -> usize {
    match row {
        Row::Warp(warp) | Row::Copies(warp) => warp,
        Row::TensorCore(unit) => 1000 + unit,
    }
}

fn row_name(row: Row) -> String {
    match row {
        Row::Warp(warp) => format!("warp {warp}"),
        Row::TensorCore(unit) => format!("tensor core {unit}"),
        Row::Copies(warp) => format!("copies, warp {warp}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(row: Row, activity: Activity, start: u64, end: u64) -> Slice {
        let name = activity.name().into();
        Slice { block: 0, row, activity, name, start, end, lines: (7, 9), instructions: 3, source: None }
    }

    #[test]
    fn both_forms_hold_every_slice() {
        let trace = Trace {
            kernel: "k<1>".into(),
            blocks: vec![[0, 0, 0]],
            slices: vec![
                slice(Row::Warp(1), Activity::Compute, 0, 5),
                slice(Row::Copies(1), Activity::Copy, 2, 600),
                slice(Row::Copies(1), Activity::Copy, 3, 610),
                slice(Row::TensorCore(1), Activity::Matrix, 4, 12),
            ],
            truncated: false,
        };
        assert_eq!(trace.end(), 610);
        let chrome: Value = serde_json::from_str(&trace.to_chrome_json()).unwrap();
        let events = chrome["traceEvents"].as_array().unwrap();
        let of = |ph: &str| events.iter().filter(|e| e["ph"] == ph).count();
        assert_eq!((of("X"), of("b"), of("e"), of("M")), (2, 2, 2, 5));
        let compute = events.iter().find(|e| e["name"] == "compute").unwrap();
        assert_eq!((&compute["args"]["ptx_line"], &compute["dur"]), (&json!(7), &json!(0.005)));
        let svg = trace.to_svg(0, 610);
        assert_eq!(svg.matches("<title>").count(), 4);
        assert!(svg.contains("k&lt;1&gt;"));
    }
}
