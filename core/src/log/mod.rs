//! The log (placeholder until its branch lands).
pub mod batch;
pub use batch::{BatchError, BatchRef, BatchWriter, Op};
