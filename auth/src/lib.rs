//! x
mod cache;
pub mod hash;
mod pool;
mod scram;
mod secret;
pub mod users;
