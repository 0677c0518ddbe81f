//! The log on a disk that forgets, lies, fills up and rots: `cargo test -p whimbrel-tests --test log`.

mod checkpoint;
mod commit;
mod crash;
mod damage;
mod errors;
mod golden;
mod harness;
mod real;
mod space;
mod sweep;
