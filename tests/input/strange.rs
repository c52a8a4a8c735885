//! Checkpoints that nobody wrote: files whose containers are sound and whose tensors have any type, shape and bytes. Reading one gives modules or
//! an error, and never a panic; what it gives has the shapes that it says.

use super::kit::Folder;
use serde_json::json;
use tilewright_runtime::checkpoint::{ActOrder, Checkpoint, Format, Options, import};

const TYPES: [(&str, usize); 8] =
    [("I32", 4), ("F16", 2), ("BF16", 2), ("F32", 4), ("U8", 1), ("F8_E4M3", 1), ("F8_E8M0", 1), ("U32", 4)];

const NAMES: [&str; 12] = [
    "m.qweight",
    "m.qzeros",
    "m.scales",
    "m.g_idx",
    "m.bias",
    "m_blocks",
    "m_scales",
    "m.weight_packed",
    "m.weight_scale",
    "m.weight_global_scale",
    "m.weight",
    "m.weight_scale_2",
];

/// Modules that fit, of which something is then changed.
const FITTING: [&[(&str, usize, &[usize])]; 4] = [
    &[("m.qweight", 0, &[4, 16]), ("m.qzeros", 0, &[2, 2]), ("m.scales", 1, &[2, 16]), ("m.g_idx", 0, &[32])],
    &[("m.qweight", 0, &[32, 2]), ("m.qzeros", 0, &[2, 2]), ("m.scales", 1, &[2, 16])],
    &[("m_blocks", 4, &[2, 3, 2, 16]), ("m_scales", 4, &[2, 3, 2])],
    &[("m.weight_packed", 4, &[3, 16]), ("m.weight_scale", 5, &[3, 2]), ("m.weight_global_scale", 3, &[1])],
];

type Tensors = Vec<(&'static str, usize, Vec<usize>)>;

/// A sound container.
fn container(tensors: &Tensors, seed: u64) -> Vec<u8> {
    let (mut header, mut at, mut x) = (serde_json::Map::new(), 0, seed | 1);
    for (name, ty, shape) in tensors {
        let (dtype, size) = TYPES[*ty];
        let end = at + size * shape.iter().product::<usize>();
        header.insert((*name).into(), json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]}));
        at = end;
    }
    let header = json!(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend((0..at).map(|_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        // Mostly zeros, so that indices are often in range.
        if x >> 60 < 12 { 0 } else { x as u8 }
    }));
    file
}

/// Pseudo-random numbers, the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % most
    }

    fn shape(&mut self) -> Vec<usize> {
        let size = |r: &mut Random| [0, 1, 2, 8, 16, 32, r.below(40)][r.below(7)];
        (0..self.below(4)).map(|_| size(self)).collect()
    }

    /// Any tensors, or those of a module that fits but for one of them.
    fn tensors(&mut self) -> Tensors {
        if self.below(2) == 0 {
            let there: Vec<&'static str> = NAMES.into_iter().filter(|_| self.below(2) == 0).collect();
            return there.into_iter().map(|name| (name, self.below(TYPES.len()), self.shape())).collect();
        }
        let module = FITTING[self.below(FITTING.len())];
        let mut all: Tensors = module.iter().map(|(n, t, s)| (*n, *t, s.to_vec())).collect();
        let at = self.below(all.len());
        match self.below(4) {
            0 => all[at].1 = self.below(TYPES.len()),
            1 => all[at].2 = self.shape(),
            2 => drop(all.remove(at)),
            _ => {}
        }
        all
    }
}

#[test]
fn any_checkpoint_is_read_or_refused() {
    let folder = Folder::new();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let formats = [
        None,
        Some(Format::Gptq),
        Some(Format::GptqV2),
        Some(Format::Awq),
        Some(Format::Mxfp4),
        Some(Format::Nvfp4),
    ];
    let (mut given, mut refused) = (0, 0);
    for seed in 1..2000u64 {
        let tensors = random.tensors();
        let mut file = container(&tensors, seed);
        if random.below(10) == 0 {
            file.truncate(random.below(file.len() + 1));
        }
        let path = folder.file("c.safetensors", file);
        let Ok(mut checkpoint) = Checkpoint::open(path.as_ref()) else { continue };
        // Found out half of the time.
        let format = formats[random.below(2) * random.below(formats.len())];
        let act_order = if random.below(2) == 0 { ActOrder::Permute } else { ActOrder::Keep };
        for name in checkpoint.modules().into_iter().chain(["m".into(), "none".into()]) {
            match import(&mut checkpoint, &name, &Options { format, act_order }) {
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    refused += 1;
                }
                Ok(modules) => {
                    for module in modules {
                        let (_, w) = &module.tensors[0];
                        assert_eq!(w.shape, module.shape, "{tensors:?}");
                        assert_eq!(w.bytes.len(), module.shape[0] * module.shape[1], "{tensors:?}");
                        given += 1;
                    }
                }
            }
        }
    }
    assert!(given > 50 && refused > 1000, "{given} {refused}");
}

#[test]
fn what_fits_is_read() {
    for module in FITTING {
        let all: Tensors = module.iter().map(|(n, t, s)| (*n, *t, s.to_vec())).collect();
        let folder = Folder::new();
        let mut file = container(&all, 1);
        // Zeros are an index and a code; a scale of the whole tensor must not be one.
        let elements =
            file.len() - all.iter().map(|(_, t, s)| TYPES[*t].1 * s.iter().product::<usize>()).sum::<usize>();
        file[elements..].fill(0);
        if let Some(last) = file.last_mut() {
            *last = if module.len() == 3 && module[0].1 == 4 { 0x3f } else { 0 };
        }
        let path = folder.file("c.safetensors", file);
        let mut checkpoint = Checkpoint::open(path.as_ref()).expect("sound");
        let modules = import(&mut checkpoint, "m", &Options::default());
        assert!(modules.is_ok_and(|m| !m.is_empty()), "{module:?}");
    }
}
