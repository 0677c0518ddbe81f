//! What the measurements of the core share: a broker on a stage, traffic that can be played again
//! byte for byte, and an allocator that counts. There time is virtual, and nothing depends on the
//! machine.

pub mod counting;
pub mod sockets;
pub mod stage;
pub mod traffic;
