//! Operands of `wgmma` as the kernels want them, kept while the shared memory behind them does not change.
//!
//! The four warps of a warpgroup, and often several warpgroups, multiply with the same B. It is unpacked once: a *panel*, found again by its
//! descriptor, and valid as long as no page of shared memory under it has a new version.

/// What a panel was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PanelKey {
    pub rank: usize,
    pub descriptor: u64,
    /// The step of the `wgmma`, which fixes type, width and transposition.
    pub step: usize,
}

/// An unpacked operand.
#[derive(Clone, Debug)]
pub struct Panel {
    key: PanelKey,
    /// Pages it was read from, and the sum of their versions.
    pages: (usize, usize),
    version: u64,
    /// Turn of its last use.
    used: u64,
    pub data: Vec<f32>,
}

/// The panels of running blocks.
#[derive(Clone, Debug, Default)]
pub struct Panels {
    all: Vec<Panel>,
    turn: u64,
}

/// Panels that are kept: a stage of 64 elements of K for two products, twice.
const KEPT: usize = 16;

fn version(pages: &[u32], (first, end): (usize, usize)) -> u64 {
    pages[first..end].iter().map(|&v| u64::from(v)).sum()
}

impl Panels {
    /// The number of the panel for `key`, unpacked by `unpack` if it is not there or out of date. It keeps that number while fewer than
    /// [`KEPT`] others are asked for.
    ///
    /// `unpack` gets an old buffer to fill, and says which pages it read.
    pub fn get<E>(
        &mut self,
        key: PanelKey,
        pages: &[u32],
        unpack: impl FnOnce(&mut Vec<f32>) -> Result<(usize, usize), E>,
    ) -> Result<usize, E> {
        self.turn += 1;
        let found = self.all.iter().position(|p| p.key == key);
        if let Some(at) = found
            && version(pages, self.all[at].pages) == self.all[at].version
        {
            self.all[at].used = self.turn;
            return Ok(at);
        }
        let oldest = || (0..self.all.len()).min_by_key(|&i| self.all[i].used);
        let at = match found {
            Some(at) => at,
            None if self.all.len() < KEPT => {
                self.all.push(Panel { key, pages: (0, 0), version: 0, used: 0, data: Vec::new() });
                self.all.len() - 1
            }
            None => oldest().unwrap_or(0),
        };
        let mut data = std::mem::take(&mut self.all[at].data);
        let read = unpack(&mut data)?;
        self.all[at] = Panel { key, pages: read, version: version(pages, read), used: self.turn, data };
        Ok(at)
    }

    /// What a panel holds.
    pub fn data(&self, number: usize) -> &[f32] {
        &self.all[number].data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_is_unpacked_again_when_its_pages_change() {
        let mut panels = Panels::default();
        let mut pages = [0; 4];
        let key = PanelKey { rank: 0, descriptor: 7, step: 1 };
        let mut unpacked = 0;
        let mut get = |pages: &[u32]| {
            let result = panels.get::<()>(key, pages, |data| {
                unpacked += 1;
                *data = vec![unpacked as f32];
                Ok((1, 3))
            });
            result.map(|number| panels.data(number)[0])
        };
        assert_eq!(get(&pages), Ok(1.0));
        pages[3] += 1;
        assert_eq!(get(&pages), Ok(1.0), "another page");
        pages[2] += 1;
        assert_eq!(get(&pages), Ok(2.0));
    }
}
