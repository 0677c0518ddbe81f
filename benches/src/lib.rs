//! What the measurements of the core share: a broker on a stage, traffic that can be played again
//! byte for byte, and an allocator that counts.
//!
//! Nothing here depends on the machine: time is virtual, and there are no sockets.

pub mod counting;
pub mod stage;
pub mod traffic;
