//! What people read on standard output and standard error, outside the log. A closed pipe ends
//! nothing.

use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

/// Writes to standard output what was asked for.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // Whoever closed the pipe has read enough.
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Writes a line to standard error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Says why something did not work, if it did not, and how the program ends then.
pub(crate) fn ended<F: Display>(
    result: Result<(), F>,
    code: impl FnOnce(&F) -> ExitCode,
) -> ExitCode {
    let Err(failure) = result else {
        return ExitCode::SUCCESS;
    };
    complain(&failure.to_string());
    code(&failure)
}

/// Writes to standard error why something did not work.
pub(crate) fn complain(why: &str) {
    say(&format!("whimbrel: {why}"));
}
