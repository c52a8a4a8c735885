//! Packed operands: tiles as words, packed here from logical values by the recipe that the launch packs by.

use super::block::{Block, Halt, Turn};
use super::shared::Writer;
use crate::numeric::{IntFormat, Number};
use crate::packed::Recipe;
use crate::scheduled::ir::*;
use crate::tile::eval::Values;
use crate::tile::eval::parts::Tile;
use crate::tile::ir as t1;

impl Block<'_, '_> {
    fn recipe(&mut self, tensor: t1::TensorId) -> Result<Recipe, Halt> {
        let recipe = self.module.recipe(tensor).cloned();
        recipe.ok_or_else(|| self.malformed("a packed tensor without a recipe"))
    }

    /// A tile's words into a ring entry.
    pub(super) fn copy_packed(
        &mut self,
        op: &Op,
        slot: ValId,
        buf: BufId,
        tensor: t1::TensorId,
        ix: &[Index],
        turn: Option<Turn>,
    ) -> Result<(), Halt> {
        let ring = self.slot(slot, turn, op.span)?;
        let base = self.base(buf, ring);
        let recipe = self.recipe(tensor)?;
        let place = self.subscript(tensor, ix, turn, op.span)?;
        let data = self.read(tensor, &place, op.span)?;
        let [rows, depth] = place.shape[..] else {
            return Err(self.malformed("a packed tensor of other than two dimensions"));
        };
        let format = self.machine.kernel.tensor(tensor).elem.format();
        let code = |row: u32, k: u32| {
            let (row, k) = (row as usize, k as usize);
            (row < rows && k < depth).then(|| match &data {
                Values::Float(x) => format.encode_f64(x[row * depth + k]),
                Values::Int(x) => format.encode_int(x[row * depth + k], IntFormat::I64),
            })
        };
        let mut bytes = vec![0; recipe.tile_bytes() as usize];
        // A tile past the end is zero bits throughout, as its copy is zero-filled.
        if rows > 0 && depth > 0 {
            recipe.pack_tile(code, &mut bytes);
        }
        let module = self.module;
        let asynchronous =
            op.result.is_some_and(|t| matches!(module.value(t).kind, ValKind::Tok(TokClass::CpAsync)));
        let writer = Writer { by: op.result.map_or(u32::MAX, |t| t.0), asynchronous, bytes: 4 };
        let mut problem = None;
        for (n, word) in bytes.chunks(4).enumerate() {
            let bits = word.iter().rev().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
            if let Err(p) = self.shared.write(base + 4 * n as u32, bits, writer) {
                problem.get_or_insert(p);
            }
        }
        self.problem(problem, op, buf);
        Ok(())
    }

    /// The elements of a ring entry.
    pub(super) fn load_packed(
        &mut self,
        op: &Op,
        slot: ValId,
        buf: BufId,
        tensor: t1::TensorId,
        turn: Option<Turn>,
    ) -> Result<Tile, Halt> {
        let ring = self.slot(slot, turn, op.span)?;
        let base = self.base(buf, ring);
        let recipe = self.recipe(tensor)?;
        let (mut bytes, mut problem) = (Vec::new(), None);
        for n in 0..recipe.tile_bytes() / 4 {
            let word = self.shared.read(base + 4 * n, 4).unwrap_or_else(|p| {
                problem.get_or_insert(p);
                0xaaaa_aaaa
            });
            bytes.extend_from_slice(&(word as u32).to_le_bytes());
        }
        self.problem(problem, op, buf);
        let codes = recipe.unpack_tile(&bytes);
        let module = self.module;
        let Some(ValKind::Tile { axes, elem, .. }) = op.result.map(|r| &module.value(r).kind) else {
            return Err(self.malformed("a load that makes no tile"));
        };
        let shape = self.shape(axes)?;
        let [rows, depth] = shape[..] else { return Err(self.malformed("a packed tile of other axes")) };
        let format = elem.format();
        let (along, shift) = (recipe.tile.1 as usize, recipe.shift);
        let at = (0..rows).flat_map(|r| (0..depth).map(move |k| r * along + (k >> shift)));
        let numbers = at.map(|n| format.decode(codes[n]));
        let data = if elem.is_float() {
            Values::Float(numbers.map(|n| if let Number::Float(x) = n { x } else { f64::NAN }).collect())
        } else {
            Values::Int(numbers.map(|n| if let Number::Int(x) = n { x } else { i64::MIN }).collect())
        };
        Ok(Tile { axes: axes.clone(), shape, data })
    }
}
