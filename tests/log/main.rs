//! The log on a disk that forgets, lies, fills up and rots. What is about class 17 of attacks, a
//! store that is damaged, full or open to others, is called so.

#![expect(clippy::unwrap_used, reason = "the helpers of a test are a test")]

mod checkpoint;
mod class_17_damage;
mod class_17_files;
mod class_17_space;
mod class_17_sweep;
mod commit;
mod crash;
mod errors;
mod golden;
mod harness;
mod read_back;
