//! Other values of a schedule item: what verification and tuning try where nobody has set it.
//!
//! Only the form of the value is known here. Which of them a kernel allows is decided where they are read, so a value from this
//! table may be refused with a diagnostic. Example: `k.stages` may be 2 to 6; with a tile of 128×256×64 only 3 fit sm_80.

/// Values to try for the item at `path`, which now has `value`, as `--set` spells them; none where nothing else is known.
pub fn alternatives(path: &str, value: &str) -> Vec<String> {
    let words = |values: &[&str]| values.iter().map(ToString::to_string).collect();
    let numbers = |values: &[u32]| values.iter().map(u32::to_string).collect();
    match path.rsplit('.').next() {
        Some("warps") => {
            let powers = [1u32, 2, 4, 8];
            let pairs = powers.iter().flat_map(|m| powers.iter().map(move |n| (m, n)));
            pairs.filter(|(m, n)| (2..=16).contains(&(*m * *n))).map(|(m, n)| format!("({m}, {n})")).collect()
        }
        Some("stages") => numbers(&[2, 3, 4, 5, 6]),
        Some("raster") => numbers(&[1, 2, 3, 8, 16]),
        Some("split") => words(&["1", "2", "3", "4", "stream"]),
        Some("promote") => words(&["false", "false", "1", "2", "4"]),
        Some("persistent") => words(&["static", "dynamic", "false", "false"]),
        Some("vector") => numbers(&[1, 2, 4, 8]),
        Some("occupancy") => numbers(&[1, 1, 2]),
        // A pipelined loop's follows its stages.
        Some("unroll") if value == "1" => numbers(&[1, 2, 3]),
        Some("overlap") => words(&["true", "false"]),
        // What goes directly by default cannot go otherwise.
        Some("via") if value == "cpasync" => words(&["cpasync", "cpasync", "direct"]),
        Some("evict") => words(&["first", "normal", "normal", "last"]),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_known_by_their_last_name() {
        assert_eq!(alternatives("k.stages", "3"), ["2", "3", "4", "5", "6"]);
        assert!(alternatives("warps", "4").contains(&"(2, 4)".to_string()));
        assert!(alternatives("colour", "1").is_empty());
    }
}
