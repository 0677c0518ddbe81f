//! The `whimbrel` program; everything is in the library beside it, where a fuzzer can reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    whimbrel::main()
}
