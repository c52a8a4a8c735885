//! The address space of a launch, and who may touch what.
//!
//! Addresses are made up; no host address is ever visible to a kernel. Each buffer has a 64 GiB window to itself, of which only
//! its own bytes are mapped, so an address that ran off one buffer never lands in the next:
//!
//! ```text
//! 0                      null and small numbers: nothing
//! 1 << 32                generic window of shared memory: the block's own, then (rank + 1) << 24 from there that of each block of
//!                        its cluster; addresses of `.shared` are the same without the 1 << 32
//! 2 << 32                generic window of the thread's local memory
//! 3 << 32                generic window of parameters
//! 4 << 32                generic window of the constant bank
//! (16 + i) << 36         buffer i, then the module's own .global variables
//! ```
//!
//! An access of a warp is checked once (smallest and largest address of its active lanes in one window) and only if
//! that fails lane by lane, to say which lane and why.

mod global;
pub mod tensor_map;

pub use global::GlobalMemory;

/// Bits of an offset in a block's shared memory; above them stands the rank in the cluster plus one, or 0 for one's own.
pub const SHARED_RANK_BITS: u32 = 24;
/// Bits of a buffer's window.
pub const WINDOW_BITS: u32 = 36;
/// Number of the first buffer's window.
pub const FIRST_WINDOW: u64 = 16;
/// Generic address of shared memory's first byte.
pub const SHARED_BASE: u64 = 1 << 32;
/// Generic address of local memory's first byte.
pub const LOCAL_BASE: u64 = 2 << 32;
/// Generic address of the parameter block.
pub const PARAM_BASE: u64 = 3 << 32;
/// Generic address of the constant bank.
pub const CONST_BASE: u64 = 4 << 32;

/// The address of byte `offset` of buffer (or module variable) `index`.
pub fn buffer_address(index: usize, offset: u64) -> u64 {
    ((FIRST_WINDOW + index as u64) << WINDOW_BITS) + offset
}

/// Bytes of up to 16 per lane on their way between memory and registers.
pub type LaneWords = [[u32; 4]; 32];

/// Where an address of some space lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Global window (index into [`GlobalMemory`]) and offset.
    Global {
        window: usize,
        offset: u64,
    },
    Shared(u64),
    Local(u64),
    Param(u64),
    Const(u64),
    /// In no window.
    Nowhere,
}

/// Finds the window of a generic address.
pub fn place_generic(address: u64) -> Place {
    match address >> 32 {
        1 => Place::Shared(address - SHARED_BASE),
        2 => Place::Local(address - LOCAL_BASE),
        3 => Place::Param(address - PARAM_BASE),
        4 => Place::Const(address - CONST_BASE),
        _ => place_global(address),
    }
}

/// Finds the buffer of a global address.
pub fn place_global(address: u64) -> Place {
    match (address >> WINDOW_BITS).checked_sub(FIRST_WINDOW) {
        Some(window) => Place::Global { window: window as usize, offset: address & ((1 << WINDOW_BITS) - 1) },
        None => Place::Nowhere,
    }
}

/// Copies `bytes` (a multiple of 1) from `from` at `offset` into `words`; the caller has checked the range.
#[inline]
pub fn read_slice(from: &[u8], offset: usize, bytes: usize, words: &mut [u32; 4]) {
    let source = &from[offset..offset + bytes];
    match bytes {
        4 => words[0] = u32::from_le_bytes([source[0], source[1], source[2], source[3]]),
        16 => {
            for (word, chunk) in words.iter_mut().zip(source.as_chunks::<4>().0) {
                *word = u32::from_le_bytes(*chunk);
            }
        }
        _ => {
            let mut raw = [0u8; 16];
            raw[..bytes].copy_from_slice(source);
            for (word, chunk) in words.iter_mut().zip(raw.chunks_exact(4)) {
                *word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
            }
        }
    }
}

/// Writes 16 bytes at `offset`; the caller has checked the range.
#[inline]
pub fn write_halves(to: &mut [u8], offset: usize, [low, high]: [u64; 2]) {
    let target = &mut to[offset..offset + 16];
    target[..8].copy_from_slice(&low.to_le_bytes());
    target[8..].copy_from_slice(&high.to_le_bytes());
}

/// Copies `bytes` of `words` into `to` at `offset`; the caller has checked the range.
#[inline]
pub fn write_slice(to: &mut [u8], offset: usize, bytes: usize, words: &[u32; 4]) {
    let mut raw = [0u8; 16];
    for (chunk, word) in raw.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    let target = &mut to[offset..offset + bytes];
    // Copies of a known length are moves and not calls.
    match bytes {
        4 => target.copy_from_slice(&raw[..4]),
        8 => target.copy_from_slice(&raw[..8]),
        16 => target.copy_from_slice(&raw),
        _ => target.copy_from_slice(&raw[..bytes]),
    }
}
