//! Helpers shared by the whole-broker tests.

pub mod authority;
mod compose;
pub mod disk;
pub mod fuzz;
#[cfg(feature = "initial")]
pub mod initial;
pub mod memory;
mod received;
mod recorded;
pub mod sim;
pub mod world;

pub use disk::{CrashStyle, Disk, Random};
pub use received::Received;
pub use recorded::{Parts, play, written};
pub use world::World;
