//! The `whimbrel` program.

mod config;
mod nearest;
fn main() {}
