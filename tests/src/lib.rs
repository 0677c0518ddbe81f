//! Helpers shared by the whole-broker tests.

pub mod world;

pub use world::{Received, World};
