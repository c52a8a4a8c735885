//! A layout for programs: its columns by name.

use serde_json::{Value, json};

use super::Shown;
use crate::layout::{Label, LinearMap};

/// `{"kind": "distributed" | "memory", "shape", "inputs" | "bytes" …, "columns": [{"from", "bit", "moves"}], …}`.
///
/// Column `bit` of input `from` moves the named outputs by the given amounts (XOR); a layout is the XOR of the columns of
/// the bits that are set, plus the odd digits.
pub fn json(shown: &Shown) -> Value {
    match shown {
        Shown::Distributed(layout) => {
            let inputs: serde_json::Map<String, Value> =
                layout.ins().fields().iter().map(|f| (f.0.to_string(), json!(layout.size_in(f.0)))).collect();
            let odd: Vec<Value> = layout
                .odd()
                .iter()
                .map(|d| json!({"radix": d.radix, "from": d.from.to_string(), "to": d.to.to_string()}))
                .collect();
            json!({
                "kind": "distributed",
                "shape": layout.shape().iter().map(|s| s.1).collect::<Vec<_>>(),
                "inputs": inputs,
                "columns": columns(layout),
                "odd": odd,
                "copies": 1u64.checked_shl(layout.ins().total() - layout.rank()).unwrap_or(u64::MAX),
            })
        }
        Shown::Memory(memory) => {
            let outer: Vec<Value> = memory
                .outer()
                .iter()
                .map(|d| json!({"axis": d.axis.to_string(), "extent": d.extent, "stride": d.stride}))
                .collect();
            json!({
                "kind": "memory",
                "shape": memory.shape().iter().map(|s| s.1).collect::<Vec<_>>(),
                "element_bytes": memory.elem_bytes(),
                "bytes": memory.bytes(),
                "align": memory.align(),
                "columns": columns(memory.map()),
                "outer": outer,
            })
        }
    }
}

fn columns<I: Label, O: Label>(map: &LinearMap<I, O>) -> Vec<Value> {
    (0..map.ins().total())
        .filter_map(|i| map.ins().locate(i))
        .map(|(label, bit)| {
            let moves: serde_json::Map<String, Value> =
                map.moves(label, bit).into_iter().map(|(o, by)| (o.to_string(), json!(by))).collect();
            json!({"from": label.to_string(), "bit": bit, "moves": moves})
        })
        .collect()
}
