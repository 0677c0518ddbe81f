//! The client role, byte by byte and through its public API alone.

mod connection;
mod hostile;
mod limits;
mod publish;
mod receive;
mod talk;
