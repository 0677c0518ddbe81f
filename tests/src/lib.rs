//! Helpers shared by the whole-broker tests.

mod compose;
pub mod disk;
mod received;
pub mod world;

pub use disk::{CrashStyle, Disk, Random};
pub use received::Received;
pub use world::World;
