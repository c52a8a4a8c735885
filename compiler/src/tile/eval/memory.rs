//! Tensors while a kernel runs: shared between instances, every write checked.
//!
//! A tensor that the kernel only reads is a plain array. One that it writes is an array of atomic words (the bits of an `f64` or an
//! `i64`), so that instances on several threads may write their own elements without locks, and carries *tags*: which instance wrote, read
//! or combined each element. The rules (language reference, "Statements" and "Errors"):
//! - two lanes of one statement may not write one element;
//! - nor may two instances, unless both only combine it by `atomic`;
//! - no instance reads an element that another one writes or combines.
//!
//! A tag is 0 (nobody), n + 1 (instance n), or [`MANY`].

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::freedom::Order;
use super::place::{Extent, OUTSIDE, Place};
use super::values::Values;

/// Index of an instance in the order of the grid, outermost variable slowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstanceId(pub u32);

impl InstanceId {
    fn tag(self) -> u32 {
        self.0 + 1
    }
}

/// The tag of an element that several instances have read or combined.
const MANY: u32 = u32::MAX;

/// Most instances of a launch.
pub(crate) const MAX_INSTANCES: usize = (u32::MAX - 2) as usize;

/// Two accesses that exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conflict {
    pub offset: usize,
    pub kind: ConflictKind,
    /// The instance on the other side, if it is one.
    pub other: Option<InstanceId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConflictKind {
    TwoLanes,
    TwoWriters,
    /// This one writes, the other reads.
    WrittenAfterRead,
    /// This one reads, the other writes.
    ReadAfterWrite,
    /// One writes plainly, the other by `atomic`.
    AtomicAndPlain,
}

/// A tensor.
pub(crate) struct Memory {
    pub shape: Vec<usize>,
    extents: Vec<Extent>,
    float: bool,
    cells: Cells,
}

enum Cells {
    Constant(Values),
    Shared {
        words: Vec<AtomicU64>,
        writers: Vec<AtomicU32>,
        /// Present where the kernel also reads the tensor.
        readers: Option<Vec<AtomicU32>>,
        /// Present where the kernel combines into it.
        combiners: Option<Vec<AtomicU32>>,
    },
}

/// What a kernel does with a tensor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Uses {
    pub read: bool,
    pub written: bool,
    pub combined: bool,
}

impl Memory {
    pub fn new(shape: Vec<usize>, values: Values, uses: Uses) -> Memory {
        let len = values.len();
        let tags = |wanted: bool| wanted.then(|| (0..len).map(|_| AtomicU32::new(0)).collect::<Vec<_>>());
        let float = matches!(values, Values::Float(_));
        let cells = if uses.written || uses.combined {
            let words = match &values {
                Values::Float(x) => x.iter().map(|v| AtomicU64::new(v.to_bits())).collect(),
                Values::Int(x) => x.iter().map(|&v| AtomicU64::new(v as u64)).collect(),
            };
            Cells::Shared {
                words,
                writers: tags(true).unwrap_or_default(),
                readers: tags(uses.read),
                combiners: tags(uses.combined),
            }
        } else {
            Cells::Constant(values)
        };
        Memory { extents: Extent::dense(&shape), shape, float, cells }
    }

    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Whether the kernel combines into it, so that in *exact* mode its elements may not be rounded yet.
    pub fn is_combined(&self) -> bool {
        matches!(self.cells, Cells::Shared { combiners: Some(_), .. })
    }

    /// Whether the kernel writes it or combines into it, so that in *unrounded* mode its elements may not be rounded.
    pub fn is_written(&self) -> bool {
        matches!(self.cells, Cells::Shared { .. })
    }

    /// Coordinates of an offset, for messages.
    pub fn coordinates(&self, offset: usize) -> Vec<usize> {
        self.extents.iter().map(|e| offset / e.stride % e.len.max(1)).collect()
    }

    /// Reads every lane for an instance; lanes outside are zero.
    pub fn read(&self, place: &Place, me: InstanceId) -> Result<Values, Conflict> {
        match &self.cells {
            Cells::Constant(Values::Float(x)) => Ok(Values::Float(place.load(x))),
            Cells::Constant(Values::Int(x)) => Ok(Values::Int(place.load(x))),
            Cells::Shared { words, writers, readers, combiners } => {
                for at in place.offsets().into_iter().filter(|&at| at != OUTSIDE) {
                    if let Some(readers) = readers {
                        join(&readers[at], me);
                    }
                    for tags in [Some(writers), combiners.as_ref()].into_iter().flatten() {
                        foreign(&tags[at], me, &|_| false).map_err(|other| Conflict {
                            offset: at,
                            kind: ConflictKind::ReadAfterWrite,
                            other,
                        })?;
                    }
                }
                Ok(if self.float {
                    Values::Float(place.load_with(|at| f64::from_bits(words[at].load(Relaxed))))
                } else {
                    Values::Int(place.load_with(|at| words[at].load(Relaxed) as i64))
                })
            }
        }
    }

    /// Writes `values[lane]` to every lane that is inside and for which `enabled` holds. Another instance's access to the same element is a
    /// conflict unless `fine` says that the two count as one.
    pub fn write(
        &self,
        place: &Place,
        values: &Values,
        enabled: Option<&[i64]>,
        me: InstanceId,
        fine: &dyn Fn(InstanceId) -> bool,
    ) -> Result<(), Conflict> {
        let Cells::Shared { words, writers, readers, combiners } = &self.cells else {
            return Ok(());
        };
        let offsets = enabled_offsets(place, enabled);
        if !place.surely_distinct() {
            two_lanes(&offsets)?;
        }
        for (lane, &at) in offsets.iter().enumerate() {
            if at == OUTSIDE {
                continue;
            }
            let before = writers[at].swap(me.tag(), SeqCst);
            if before != 0 && before != me.tag() && !fine(InstanceId(before - 1)) {
                let other = Some(InstanceId(before - 1));
                return Err(Conflict { offset: at, kind: ConflictKind::TwoWriters, other });
            }
            let others =
                [(readers, ConflictKind::WrittenAfterRead), (combiners, ConflictKind::AtomicAndPlain)];
            for (tags, kind) in others {
                if let Some(tags) = tags {
                    foreign(&tags[at], me, fine).map_err(|other| Conflict { offset: at, kind, other })?;
                }
            }
            words[at].store(word(values, lane), Relaxed);
        }
        Ok(())
    }

    /// Combines into every lane's element, the lanes in `order`; gives each lane's old word (0 where nothing was combined).
    /// Only one thread may do this at a time, or the order would not be defined.
    pub fn combine(
        &self,
        place: &Place,
        values: &Values,
        enabled: Option<&[i64]>,
        me: InstanceId,
        order: Order,
        op: &dyn Fn(u64, u64) -> u64,
    ) -> Result<Values, Conflict> {
        let mut old = vec![0; place.lanes()];
        if let Cells::Shared { words, writers, readers, combiners } = &self.cells {
            let offsets = enabled_offsets(place, enabled);
            for lane in order.of(offsets.len()) {
                let at = offsets[lane];
                if at == OUTSIDE {
                    continue;
                }
                if let Some(combiners) = combiners {
                    join(&combiners[at], me);
                }
                let others = [
                    (Some(writers), ConflictKind::AtomicAndPlain),
                    (readers.as_ref(), ConflictKind::WrittenAfterRead),
                ];
                for (tags, kind) in others {
                    if let Some(tags) = tags {
                        foreign(&tags[at], me, &|_| false).map_err(|other| Conflict {
                            offset: at,
                            kind,
                            other,
                        })?;
                    }
                }
                old[lane] = words[at].load(Relaxed);
                words[at].store(op(old[lane], word(values, lane)), Relaxed);
            }
        }
        Ok(if self.float {
            Values::Float(old.into_iter().map(f64::from_bits).collect())
        } else {
            Values::Int(old.into_iter().map(|w| w as i64).collect())
        })
    }

    /// The elements, and which of them were written or combined.
    pub fn finish(self) -> (Values, Vec<bool>) {
        match self.cells {
            Cells::Constant(values) => {
                let written = vec![false; values.len()];
                (values, written)
            }
            Cells::Shared { words, writers, combiners, .. } => {
                let mut written: Vec<bool> = writers.into_iter().map(|w| w.into_inner() != 0).collect();
                for (w, c) in written.iter_mut().zip(combiners.into_iter().flatten()) {
                    *w |= c.into_inner() != 0;
                }
                let words = words.into_iter().map(AtomicU64::into_inner);
                let values = if self.float {
                    Values::Float(words.map(f64::from_bits).collect())
                } else {
                    Values::Int(words.map(|w| w as i64).collect())
                };
                (values, written)
            }
        }
    }
}

fn word(values: &Values, lane: usize) -> u64 {
    match values {
        Values::Float(x) => x[lane].to_bits(),
        Values::Int(x) => x[lane] as u64,
    }
}

fn enabled_offsets(place: &Place, enabled: Option<&[i64]>) -> Vec<usize> {
    let mut offsets = place.offsets();
    for (at, &on) in offsets.iter_mut().zip(enabled.unwrap_or_default()) {
        if on == 0 {
            *at = OUTSIDE;
        }
    }
    offsets
}

fn two_lanes(offsets: &[usize]) -> Result<(), Conflict> {
    let mut sorted: Vec<usize> = offsets.iter().copied().filter(|&at| at != OUTSIDE).collect();
    sorted.sort_unstable();
    match sorted.windows(2).find(|w| w[0] == w[1]) {
        Some(w) => Err(Conflict { offset: w[0], kind: ConflictKind::TwoLanes, other: None }),
        None => Ok(()),
    }
}

/// Adds an instance to a tag.
fn join(tag: &AtomicU32, me: InstanceId) {
    let before = tag.load(SeqCst);
    if before == me.tag() || before == MANY {
        return;
    }
    let after = if before == 0 { me.tag() } else { MANY };
    if tag.compare_exchange(before, after, SeqCst, SeqCst).is_err() {
        // Somebody else joined in between.
        tag.store(MANY, SeqCst);
    }
}

/// An error if a tag holds an instance that counts as another one than `me`.
fn foreign(
    tag: &AtomicU32,
    me: InstanceId,
    fine: &dyn Fn(InstanceId) -> bool,
) -> Result<(), Option<InstanceId>> {
    match tag.load(SeqCst) {
        0 => Ok(()),
        t if t == me.tag() => Ok(()),
        MANY => Err(None),
        t if fine(InstanceId(t - 1)) => Ok(()),
        t => Err(Some(InstanceId(t - 1))),
    }
}
