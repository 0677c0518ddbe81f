//! What is read from standard input, which others may never end.

use std::io::{self, BufRead, Read};

/// The next line with its end; empty behind the last. Of a longer one, the first bytes.
///
/// # Errors
///
/// It cannot be read.
pub(crate) fn read_line(bytes_maximum: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut input = io::stdin().lock().take(bytes_maximum);
    input.read_until(b'\n', &mut line)?;
    Ok(line)
}
