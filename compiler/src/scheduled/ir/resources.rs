//! What a module declares: roles, buffers in shared memory, channels, places in the workspace, and values.

use crate::layout::Layout;
use crate::tile::ir as t1;

/// Which of a module's roles; a role instance is the unit of program order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RoleId(pub u16);
/// Which ring of shared-memory slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufId(pub u16);
/// Which channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChanId(pub u16);
/// Which place in an instance's part of the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkId(pub u16);
/// A value of T2 (a register tile, a slot, a token).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValId(pub u32);

/// Which threads of a role take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    All,
    /// One elected thread.
    Elect,
}

/// A group of warps that runs one program.
#[derive(Clone, Debug)]
pub struct Role {
    pub name: String,
    /// Instances, each with its own place in the tile.
    pub instances: u32,
    /// Warps of one instance.
    pub warps: u32,
    /// 32-bit registers per thread that the budget allows.
    pub registers: u32,
    pub active: Active,
}

impl Role {
    /// Threads of one instance.
    pub fn threads(&self) -> u32 {
        self.warps * 32
    }
}

/// A ring of equal tiles in shared memory.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub name: String,
    pub elem: t1::ElemType,
    pub slots: u32,
    /// What each axis of `layout` stands for, axis 0 first; for an operand the kept axis, then the contracted one; none for partial results.
    pub axes: Vec<t1::AxisId>,
    /// Static extent of each.
    pub shape: Vec<u32>,
    /// Element coordinates to byte offset inside a slot.
    pub layout: crate::layout::SharedLayout,
    /// The layout in words, for dumps.
    pub layout_name: String,
    /// Bytes of one slot.
    pub slot_bytes: u32,
    /// Byte offset of slot 0 in the block's shared memory.
    pub base: u32,
    /// Bytes from one slot to the next.
    pub slot_stride: u32,
}

/// A place in every instance's part of the workspace (global memory) that holds one register tile as the threads have it: register
/// `r` of thread `t` is place `r % width` of the thread's `width` places in row `r / width`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub name: String,
    /// Byte offset in the instance's part.
    pub base: u32,
    pub bytes: u32,
    /// Bytes of a register: 4 or 8.
    pub each: u32,
    /// Registers that one access moves: 1, 2 or 4.
    pub width: u32,
}

impl Work {
    /// Bytes that one access moves.
    pub fn access(&self) -> u32 {
        self.each * self.width
    }
}

/// A hand-over of ring entries from one role to others.
#[derive(Clone, Debug)]
pub struct Channel {
    pub name: String,
    pub bufs: Vec<BufId>,
    pub slots: u32,
    pub from: RoleId,
    pub to: Vec<RoleId>,
    /// Payload of one ring entry.
    pub bytes: u32,
}

/// When an asynchronous op is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokClass {
    /// In order per issuing thread, by `cp.async` groups.
    CpAsync,
    /// At once: the op is not asynchronous.
    Immediate,
}

/// What a T2 value is.
#[derive(Clone, Debug)]
pub enum ValKind {
    /// A tile in a role's registers. Columns of `layout`: (register, lane, warp) to tile axes, in elements.
    Tile {
        elem: t1::ElemType,
        axes: Vec<t1::AxisId>,
        layout: Layout,
        acc: bool,
    },
    /// One ring entry of a channel.
    Slot(ChanId),
    Tok(TokClass),
}

#[derive(Clone, Debug)]
pub struct Value {
    pub kind: ValKind,
    pub name: String,
}
