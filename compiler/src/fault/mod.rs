//! Planted faults: the compiler made wrong on purpose, one place at a time, to try whether verification finds it.
//!
//! Each kind belongs to a pass and spoils what that pass has just made, in the way in which the pass could have got it wrong. `nth`
//! chooses among the places where it can happen. Only tests of the verification ask for one; there is no option for it.
//!
//! ```text
//! Fault { kind: FaultKind::DropWait, nth: 0 }     the first wait that synchronisation derived is lost
//! ```
//!
//! | file | spoils |
//! | --- | --- |
//! | `tile` | T1 that has been simplified: bounds of loops, what is said of their steps |
//! | `plant` | T2, T3, PTX and its text |

mod plant;
mod tile;

pub(crate) use plant::Plant;

use crate::passes::Pass;

/// One planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fault {
    pub kind: FaultKind,
    /// Which of the places where the kind can happen, over all variants.
    pub nth: usize,
}

/// The kinds: name, pass, and what it gets wrong.
macro_rules! kinds {
    ($($name:ident: $pass:ident, $what:literal;)*) => {
        /// What a pass gets wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FaultKind {
            $(#[doc = concat!(stringify!($pass), ": ", $what, ".")] $name,)*
        }

        impl FaultKind {
            pub const ALL: &[FaultKind] = &[$(FaultKind::$name),*];

            /// The pass that gets it wrong.
            pub fn pass(self) -> Pass {
                match self {
                    $(FaultKind::$name => Pass::$pass,)*
                }
            }
        }
    };
}

kinds! {
    ExchangeAxes: Plan, "two axes of an access change places";
    WrongSlice: Plan, "a fragment is loaded from the neighbouring slice of the contracted range";
    WrongInit: Plan, "an accumulator starts one too high";
    OverlappingSlots: Plan, "the entries of a ring overlap";
    WrongCombination: Plan, "a reduction or an atomic combines by another operation";
    SharedSlot: Plan, "the partial results of two warps share a slot";
    LostCondition: Plan, "a write or atomic forgets its condition";
    WrittenByAll: Plan, "every instance writes what one should";
    LatePromotion: Plan, "an accumulator begins anew only after every second promotion";
    LostPart: Plan, "what an instance has is not put into the workspace";
    SkipPart: Plan, "the combination of instances leaves out every other one";
    LateStart: Plan, "a loop that simplifying has cut or made begins one step late";
    EarlyEnd: Plan, "such a loop ends one step early";
    WideFull: Plan, "the steps in which nothing needs masking are one more";
    LastPlace: Plan, "of several instances with the same extreme the last one counts";
    LostRescale: Plan, "what a loop of products carries is not multiplied before a step is added";
    WrongPart: Plan, "a product of parts in registers takes the first part again";
    LostSign: Plan, "an operand does not change its sign on its way";
    LostDone: Plan, "nobody waits for the end of an item";
    WrongStage: Expand, "a copy in the steady loop works for the next iteration";
    LostPrologue: Expand, "an op of the prologue is missing";
    DropWait: Synchronise, "a wait is missing";
    LateWait: Synchronise, "a wait leaves one more group pending";
    DropBarrier: Synchronise, "a barrier is missing";
    SwapFragments: Lower, "two registers of a fragment change places";
    SwapElements: Lower, "two registers of a store to global memory change places";
    SkipShuffle: Lower, "a step of a reduction across lanes combines what a lane has with itself";
    WrongSlot: Lower, "a partial result is stored or loaded one place beside its own";
    ShiftSwizzle: Lower, "the constant of a swizzled address lies one bit higher";
    WrongOffset: Lower, "a load from shared memory takes the neighbouring place";
    MaskOffByOne: Lower, "a comparison that guards an edge takes one more";
    InvertMask: Lower, "a comparison that guards an edge is its opposite";
    DropFence: Lower, "an instance counts itself without making known what it has put, or goes on without knowing what others have";
    WrongCount: Lower, "the first instance to count itself goes on for all, and not the last";
    StuckCounter: Lower, "who was last does not set the counter of its group back to zero";
    WrongSearch: Lower, "the search for a part of a ragged range adds up other lanes";
    SwapWords: Lower, "two words of a packed tile change places";
    WrongMask: Lower, "a mask that picks codes out of words is one bit off";
    WrongExchange: Lower, "where words and bits change places, the other half of the bits stays";
    WrongEntry: Lower, "bytes of a table change places";
    WrongShift: Lower, "a shift by a constant is one bit further";
    OtherPlaces: Lower, "bits of a packed code are looked for where the launch has put others";
    WrongRow: Lower, "a copy reads where the one before it has read";
    WrongLane: Lower, "a lane takes what another one than its owner has read";
    LostMask: Lower, "an element that is to be left out enters as it is";
    WrongSeam: Lower, "steps without masks go on to the end of the loop";
    LostAdvance: Lower, "a loop does not count its turns";
    NegateGuard: Select, "a guard holds where it should not";
    Misprint: Print, "a number is off by one";
}
