//! Shared-memory bank conflicts, exactly.
//!
//! Shared memory has 32 banks of 4-byte words: word `w` lives in bank `w % 32`. A warp's access of `V` bytes per lane goes
//! in phases of 128 bytes: all 32 lanes for V ≤ 4, 16 lanes at a time for 8, 8 lanes for 16 (and 8 row addresses per matrix of
//! ldmatrix). A phase takes as many wavefronts as the most words that any one bank must deliver; lanes that ask for the same
//! word share it, so broadcasts are free.
//!
//! Two ways to count: [`wavefronts`] takes addresses, and is the definition. [`phase_wavefronts`] takes the columns of a
//! linear map and needs no addresses: the words of a phase are a subspace W, those of them in one bank are a coset of
//! the kernel of `W → bank`, so the answer is `2^(dim W − rank(W → bank))`, the same for every warp and register.

use super::f2;
use super::map::OffsetMap;
use super::space::Dim;

/// Lanes that are served together when each accesses `vector_bytes`.
pub fn lanes_per_phase(vector_bytes: u32) -> u32 {
    match vector_bytes {
        0..=4 => 32,
        8 => 16,
        _ => 8,
    }
}

/// Wavefronts of one warp instruction, given each active lane's byte address and the access width (1, 2, 4, 8 or 16).
///
/// `addresses` holds lane 0's address first; `None` is an inactive lane.
pub fn wavefronts(addresses: &[Option<u32>], vector_bytes: u32) -> u32 {
    let lanes = lanes_per_phase(vector_bytes) as usize;
    addresses.chunks(lanes).map(|phase| one_phase(phase, vector_bytes)).sum()
}

fn one_phase(addresses: &[Option<u32>], vector_bytes: u32) -> u32 {
    let mut words: Vec<u32> = Vec::with_capacity(32);
    for address in addresses.iter().flatten() {
        let last = address.wrapping_add(vector_bytes.max(1) - 1);
        (address / 4..=last / 4).for_each(|w| words.push(w));
    }
    words.sort_unstable();
    words.dedup();
    let mut per_bank = [0u32; 32];
    words.iter().for_each(|w| per_bank[(w % 32) as usize] += 1);
    per_bank.into_iter().max().unwrap_or(0)
}

/// Wavefronts of one phase of a linear access: `lanes` are the byte-offset columns of the lane bits that are served
/// together, lowest first. More lane bits than a phase has are ignored.
pub fn phase_wavefronts(lanes: &[u64], vector_bytes: u32) -> u32 {
    let phase = lanes_per_phase(vector_bytes).trailing_zeros() as usize;
    let mut words: Vec<u64> = lanes.iter().take(phase).map(|c| c >> 2).collect();
    words.extend((2..vector_bytes.max(1).trailing_zeros()).map(|b| 1u64 << (b - 2)));
    1 << (f2::rank(words.iter().copied()) - f2::rank(words.iter().map(|w| w & 31)))
}

/// Wavefronts of one warp instruction of a linear access (the same for all of them), lanes 0..32.
///
/// The minimum is the number of phases in which something happens: 1, 2 or 4 for full warps of 4, 8, 16 bytes.
pub fn instruction_wavefronts(access: &OffsetMap, vector_bytes: u32) -> u32 {
    let lanes = access.cols_of(Dim::Lane);
    let per_phase = phase_wavefronts(lanes, vector_bytes);
    let active = 1u32 << lanes.len().min(5);
    per_phase * (active / lanes_per_phase(vector_bytes)).max(1)
}

/// How many wavefronts one instruction takes beyond the fewest possible: zero is conflict-free.
pub fn conflicts(access: &OffsetMap, vector_bytes: u32) -> u32 {
    let lanes = access.cols_of(Dim::Lane);
    let phases = ((1u32 << lanes.len().min(5)) / lanes_per_phase(vector_bytes)).max(1);
    instruction_wavefronts(access, vector_bytes) - phases
}
