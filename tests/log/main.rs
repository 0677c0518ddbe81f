//! The log on a disk that forgets, lies, fills up and rots.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

mod checkpoint;
mod commit;
mod crash;
mod damage;
mod errors;
mod golden;
mod harness;
mod read_back;
mod real;
mod space;
mod sweep;
