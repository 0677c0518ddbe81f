//! The `whimbrel` program.

fn main() {}
