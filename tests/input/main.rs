//! What goes into the command line and comes out of it, from outside: tensors in files, and everything that a user can get wrong.

mod files;
mod import;
mod kit;
mod packed;
mod refusals;
mod strange;
