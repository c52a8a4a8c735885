//! The executor: PTX on a CPU.
