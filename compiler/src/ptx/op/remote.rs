//! `st.async` and `red.async`: registers into another block's shared memory, with an mbarrier that is told.

use super::{BulkReduce, Instruction, Mnemonic, OpKind};
use crate::ptx::operand::{Address, Operand, OperandVisitor};
use crate::ptx::target::Requires;
use crate::ptx::types::Type;

/// `st.async.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 [a], {b, c}, [mbar];`
#[derive(Clone, Debug, PartialEq)]
pub struct StoreAsync {
    /// `red.async`: combine instead of overwrite.
    pub reduce: Option<BulkReduce>,
    /// Of an element.
    pub ty: Type,
    /// Destination.
    pub addr: Address,
    /// One value; 2 or 4 of a store.
    pub src: Box<[Operand]>,
    /// The mbarrier beside the destination.
    pub mbar: Address,
}

impl Instruction for StoreAsync {
    fn mnemonic(&self, m: &mut Mnemonic<'_>) {
        m.op(if self.reduce.is_some() { "red.async.relaxed.cluster" } else { "st.async" });
        m.op(".shared::cluster.mbarrier::complete_tx::bytes");
        m.opt(self.reduce);
        match self.src.len() {
            2 => m.op(".v2"),
            4 => m.op(".v4"),
            _ => m,
        };
        m.m(self.ty);
    }
    fn operands(&self, v: &mut dyn OperandVisitor) {
        v.address(&self.addr);
        if let [value] = &self.src[..] {
            v.value(value);
        } else {
            v.values(&self.src);
        }
        v.address(&self.mbar);
    }
    fn requires(&self) -> Requires {
        Requires::new(8, 1, 90)
    }
    fn kind(&self) -> OpKind {
        OpKind::Async
    }
}
