//! Global memory: the caller's buffers, shared by all blocks of a launch.
//!
//! Blocks run on several threads and a kernel may race with itself, so every access here is an atomic one (relaxed): a racing
//! kernel then computes nonsense, as on a GPU, and not undefined behaviour of this process. This is one of the few modules with
//! `unsafe`; the argument is in [`GlobalMemory::new`].

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};

/// A buffer's storage, aligned for 64-bit atomics.
struct Window {
    base: *mut u8,
    len: usize,
    name: String,
}

/// All buffers of a launch.
pub struct GlobalMemory<'a> {
    windows: Vec<Window>,
    /// Buffers whose storage was not aligned to 8 bytes: (window, copy); written back by [`GlobalMemory::finish`].
    copies: Vec<(usize, Vec<u64>, &'a mut Vec<u8>)>,
    /// Storage of the module's own variables.
    _own: Vec<Vec<u64>>,
    /// Held by updates of 128 bits, which are two accesses of 64 each: no processor that this runs on has to have wider ones.
    wide: Mutex<()>,
    _buffers: PhantomData<&'a mut [u8]>,
}

// SAFETY: the windows are only accessed through atomics; see `new`.
unsafe impl Send for GlobalMemory<'_> {}
// SAFETY: as above.
unsafe impl Sync for GlobalMemory<'_> {}

fn to_words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .chunks(8)
        .map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        })
        .collect()
}

impl<'a> GlobalMemory<'a> {
    /// Lends `buffers` to a launch, followed by the module's variables `own` (name and initial bytes).
    ///
    /// Soundness: each window's pointer comes from a `&'a mut` borrow that nobody else can use before `self` is gone (or from
    /// a vector that `self` owns and never touches otherwise), spans `len` initialised bytes, and is only used for atomic accesses
    /// inside `0..len`, which every method checks.
    pub fn new(buffers: &'a mut [Vec<u8>], own: &[(String, Vec<u8>)]) -> GlobalMemory<'a> {
        let mut memory = GlobalMemory {
            windows: Vec::new(),
            copies: Vec::new(),
            _own: Vec::new(),
            wide: Mutex::new(()),
            _buffers: PhantomData,
        };
        for (index, buffer) in buffers.iter_mut().enumerate() {
            let (len, name) = (buffer.len(), format!("buffer {index}"));
            if (buffer.as_ptr() as usize).is_multiple_of(8) || len == 0 {
                memory.windows.push(Window { base: buffer.as_mut_ptr(), len, name });
            } else {
                let mut copy = to_words(buffer);
                memory.windows.push(Window { base: copy.as_mut_ptr().cast(), len, name });
                memory.copies.push((index, copy, buffer));
            }
        }
        for (name, bytes) in own {
            let mut copy = to_words(bytes);
            memory.windows.push(Window {
                base: copy.as_mut_ptr().cast(),
                len: bytes.len(),
                name: format!("variable {name}"),
            });
            memory._own.push(copy);
        }
        memory
    }

    /// Brings copied buffers back. Call it when all blocks are done.
    pub fn finish(mut self) {
        for (window, _storage, buffer) in std::mem::take(&mut self.copies) {
            let window = &self.windows[window];
            for (at, byte) in buffer.iter_mut().enumerate() {
                // SAFETY: `at < len` (the copy has the buffer's length), see `new`; `_storage` is still alive.
                *byte = unsafe { AtomicU8::from_ptr(window.base.add(at)) }.load(Relaxed);
            }
        }
    }

    /// Bytes of window `index`; `None` if there is no such window.
    #[inline]
    pub fn len(&self, index: usize) -> Option<u64> {
        self.windows.get(index).map(|w| w.len as u64)
    }

    /// Bytes of each window.
    pub fn sizes(&self) -> impl Iterator<Item = u64> {
        self.windows.iter().map(|w| w.len as u64)
    }

    /// What to call window `index` in messages.
    pub fn name(&self, index: usize) -> &str {
        self.windows.get(index).map_or("no buffer", |w| &w.name)
    }

    /// Whether `bytes` at `offset` lie in window `index`.
    #[inline]
    pub fn contains(&self, index: usize, offset: u64, bytes: u64) -> bool {
        self.len(index).is_some_and(|len| offset.checked_add(bytes).is_some_and(|end| end <= len))
    }

    #[inline]
    fn pointer(&self, index: usize, offset: u64, bytes: u64) -> *mut u8 {
        assert!(self.contains(index, offset, bytes), "unchecked global access");
        // SAFETY: inside the window by the assertion.
        unsafe { self.windows[index].base.add(offset as usize) }
    }

    /// Asks the processor to fetch the line at `offset`, if there is one: somebody will soon read it.
    #[inline]
    pub fn prefetch(&self, index: usize, offset: u64) {
        #[cfg(target_arch = "x86_64")]
        if let Some(window) = self.windows.get(index)
            && offset < window.len as u64
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            // SAFETY: inside the window; a prefetch reads nothing that the program could see.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(window.base.add(offset as usize).cast()) }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (index, offset);
    }

    /// Reads `bytes` (at most 16) at `offset` of window `index`.
    ///
    /// # Panics
    /// If the range was not checked with [`GlobalMemory::contains`] (a bug of the executor).
    #[inline]
    pub fn read(&self, index: usize, offset: u64, bytes: usize, words: &mut [u32; 4]) {
        let pointer = self.pointer(index, offset, bytes as u64);
        if bytes == 16 && (pointer as usize).is_multiple_of(8) {
            // SAFETY: sixteen bytes inside the window (`pointer`), aligned to 8, atomic as everything here (`new`).
            let halves =
                [0, 8].map(|at| unsafe { AtomicU64::from_ptr(pointer.add(at).cast()) }.load(Relaxed));
            *words = [halves[0] as u32, (halves[0] >> 32) as u32, halves[1] as u32, (halves[1] >> 32) as u32];
        } else if bytes.is_multiple_of(4) && (pointer as usize).is_multiple_of(4) {
            for (i, word) in words.iter_mut().enumerate().take(bytes / 4) {
                // SAFETY: inside the window (`pointer`), aligned to 4, atomic as everything here (`new`).
                *word = unsafe { AtomicU32::from_ptr(pointer.add(4 * i).cast()) }.load(Relaxed);
            }
        } else {
            *words = [0; 4];
            for i in 0..bytes.min(16) {
                // SAFETY: inside the window; bytes are always aligned.
                let byte = unsafe { AtomicU8::from_ptr(pointer.add(i)) }.load(Relaxed);
                words[i / 4] |= u32::from(byte) << (8 * (i % 4));
            }
        }
    }

    /// Reads 16 bytes at each offset (of lanes in `mask`) of window `index`, where they are aligned to 8: as halves, since what goes on to memory
    /// should not be put together from smaller stores first. The line behind each is fetched: pipelines walk along rows.
    ///
    /// # Panics
    /// As [`GlobalMemory::read`]; also if they are not aligned.
    #[inline]
    pub fn read_halves(
        &self,
        index: usize,
        mask: u32,
        offset: impl Fn(usize) -> u64,
        mut each: impl FnMut(usize, [u64; 2]),
    ) {
        let window = &self.windows[index];
        let last = (window.len as u64).checked_sub(16).expect("a window of 16 bytes and more");
        assert!((window.base as usize).is_multiple_of(8), "unaligned halves");
        let mut left = mask;
        while left != 0 {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            let at = offset(lane);
            assert!(at <= last && at.is_multiple_of(8), "unchecked global access");
            // SAFETY: sixteen bytes inside the window, aligned to 8 (both asserted), atomic as everything here (`new`).
            let pointer = unsafe { window.base.add(at as usize) };
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                // SAFETY: a prefetch reads nothing that the program could see, wherever it points.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(pointer.wrapping_add(64).cast()) }
            }
            // SAFETY: as above.
            let halves =
                [0, 8].map(|at| unsafe { AtomicU64::from_ptr(pointer.add(at).cast()) }.load(Relaxed));
            each(lane, halves);
        }
    }

    /// Reads the 16 bytes number 0 up to `chunks` from `offset` on; number i goes to place i ^ `flip` of `out`. They are aligned to 8.
    ///
    /// # Panics
    /// As [`GlobalMemory::read`]; also if they are not aligned or `out` is too short.
    #[inline]
    pub fn read_row(&self, index: usize, offset: u64, chunks: usize, flip: usize, out: &mut [u8]) {
        let pointer = self.pointer(index, offset, 16 * chunks as u64);
        assert!((pointer as usize).is_multiple_of(8), "an unaligned row");
        let out = out.as_chunks_mut::<16>().0;
        for i in 0..chunks {
            // SAFETY: sixteen bytes inside the window (`pointer`), aligned to 8, atomic as everything here (`new`).
            let [low, high] = [0, 8]
                .map(|at| unsafe { AtomicU64::from_ptr(pointer.add(16 * i + at).cast()) }.load(Relaxed));
            let place = &mut out[i ^ flip];
            place[..8].copy_from_slice(&low.to_le_bytes());
            place[8..].copy_from_slice(&high.to_le_bytes());
        }
    }

    /// Writes a word at `offset` of window `index`, a multiple of 4.
    ///
    /// # Panics
    /// As [`GlobalMemory::read`]; also if it is not aligned.
    #[inline]
    pub fn write_word(&self, index: usize, offset: u64, word: u32) {
        let pointer = self.pointer(index, offset, 4);
        assert!((pointer as usize).is_multiple_of(4), "an unaligned word");
        // SAFETY: four bytes inside the window (`pointer`), aligned to 4, atomic as everything here (`new`).
        unsafe { AtomicU32::from_ptr(pointer.cast()) }.store(word, Relaxed);
    }

    /// Writes `bytes` (at most 16) at `offset` of window `index`.
    ///
    /// # Panics
    /// As [`GlobalMemory::read`].
    #[inline]
    pub fn write(&self, index: usize, offset: u64, bytes: usize, words: &[u32; 4]) {
        let pointer = self.pointer(index, offset, bytes as u64);
        if bytes.is_multiple_of(4) && (pointer as usize).is_multiple_of(4) {
            for (i, word) in words.iter().enumerate().take(bytes / 4) {
                // SAFETY: as in `read`.
                unsafe { AtomicU32::from_ptr(pointer.add(4 * i).cast()) }.store(*word, Relaxed);
            }
        } else {
            for i in 0..bytes.min(16) {
                let byte = (words[i / 4] >> (8 * (i % 4))) as u8;
                // SAFETY: as in `read`.
                unsafe { AtomicU8::from_ptr(pointer.add(i)) }.store(byte, Relaxed);
            }
        }
    }

    /// Reads `out.len()` bytes at `offset` of window `index`.
    ///
    /// # Panics
    /// As [`GlobalMemory::read`].
    pub fn read_block(&self, index: usize, offset: u64, out: &mut [u8]) {
        let pointer = self.pointer(index, offset, out.len() as u64);
        if !(pointer as usize).is_multiple_of(8) {
            for (i, byte) in out.iter_mut().enumerate() {
                // SAFETY: inside the window (`pointer`); bytes are always aligned; atomic as everything here (`new`).
                *byte = unsafe { AtomicU8::from_ptr(pointer.add(i)) }.load(Relaxed);
            }
            return;
        }
        let (words, rest) = out.as_chunks_mut::<8>();
        for (i, chunk) in words.iter_mut().enumerate() {
            // SAFETY: eight bytes inside the window, aligned to 8.
            let word = unsafe { AtomicU64::from_ptr(pointer.add(8 * i).cast()) }.load(Relaxed);
            *chunk = word.to_le_bytes();
        }
        for (i, byte) in rest.iter_mut().enumerate() {
            // SAFETY: inside the window.
            *byte = unsafe { AtomicU8::from_ptr(pointer.add(8 * words.len() + i)) }.load(Relaxed);
        }
    }

    /// Writes `data` at `offset` of window `index`.
    ///
    /// # Panics
    /// As [`GlobalMemory::read`].
    pub fn write_block(&self, index: usize, offset: u64, data: &[u8]) {
        let pointer = self.pointer(index, offset, data.len() as u64);
        let aligned = (pointer as usize).is_multiple_of(8);
        for (i, chunk) in data.chunks(8).enumerate() {
            if let (true, Ok(word)) = (aligned, <[u8; 8]>::try_from(chunk)) {
                // SAFETY: eight bytes inside the window, aligned to 8.
                unsafe { AtomicU64::from_ptr(pointer.add(8 * i).cast()) }
                    .store(u64::from_le_bytes(word), Relaxed);
                continue;
            }
            for (j, byte) in chunk.iter().enumerate() {
                // SAFETY: inside the window.
                unsafe { AtomicU8::from_ptr(pointer.add(8 * i + j)) }.store(*byte, Relaxed);
            }
        }
    }

    /// Replaces the value of 1, 2, 4 or 8 `bytes` at `offset` by `f(value)`, atomically; returns the old value.
    ///
    /// # Panics
    /// As [`GlobalMemory::read`]; also if `offset` is not a multiple of `bytes`.
    pub fn update(&self, index: usize, offset: u64, bytes: usize, mut f: impl FnMut(u64) -> u64) -> u64 {
        let pointer = self.pointer(index, offset, bytes as u64);
        assert!(offset.is_multiple_of(bytes as u64), "unaligned atomic");
        if bytes == 8 {
            // SAFETY: inside the window, and aligned to 8 because windows are.
            let cell = unsafe { AtomicU64::from_ptr(pointer.cast()) };
            return cell.fetch_update(SeqCst, SeqCst, |old| Some(f(old))).unwrap_or_else(|old| old);
        }
        if bytes == 4 {
            // SAFETY: inside the window, and aligned to 4 because windows are aligned to 8.
            let cell = unsafe { AtomicU32::from_ptr(pointer.cast()) };
            let old = cell
                .fetch_update(SeqCst, SeqCst, |old| Some(f(u64::from(old)) as u32))
                .unwrap_or_else(|old| old);
            return u64::from(old);
        }
        if bytes == 1 {
            // SAFETY: inside the window.
            let cell = unsafe { AtomicU8::from_ptr(pointer) };
            let old = cell
                .fetch_update(SeqCst, SeqCst, |old| Some(f(u64::from(old)) as u8))
                .unwrap_or_else(|old| old);
            return u64::from(old);
        }
        // SAFETY: inside the window; 2-byte values are aligned to 2.
        let cell = unsafe { std::sync::atomic::AtomicU16::from_ptr(pointer.cast()) };
        let old =
            cell.fetch_update(SeqCst, SeqCst, |old| Some(f(u64::from(old)) as u16)).unwrap_or_else(|old| old);
        u64::from(old)
    }

    /// As [`GlobalMemory::update`], of 16 bytes: one of them at a time. Narrower accesses may see half of it, as PTX allows.
    ///
    /// # Panics
    /// As [`GlobalMemory::update`].
    pub fn update_wide(&self, index: usize, offset: u64, mut f: impl FnMut(u128) -> u128) -> u128 {
        let pointer = self.pointer(index, offset, 16);
        assert!(offset.is_multiple_of(16), "unaligned atomic");
        let _turn = self.wide.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: all 16 bytes are inside the window, and aligned to 8 because windows are.
        let halves =
            unsafe { [AtomicU64::from_ptr(pointer.cast()), AtomicU64::from_ptr(pointer.add(8).cast())] };
        let old = u128::from(halves[0].load(SeqCst)) | u128::from(halves[1].load(SeqCst)) << 64;
        let new = f(old);
        halves[0].store(new as u64, SeqCst);
        halves[1].store((new >> 64) as u64, SeqCst);
        old
    }
}
