//! Helpers shared by the whole-broker tests.

pub mod disk;
pub mod world;

pub use disk::{CrashStyle, Disk, Random};
pub use world::{Received, World};
