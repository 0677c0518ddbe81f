//! Keeping what was played as a test.

use super::Failure;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use whimbrel_core::recording::Replay as Player;

/// Where what should come of a saved recording is said.
fn expected(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".expected");
    name.into()
}

/// Nothing is written over.
pub(super) fn check(file: &Path) -> Result<(), Failure> {
    for file in [file.to_path_buf(), expected(file)] {
        if file.symlink_metadata().is_ok() {
            let shown = file.display();
            return Err(Failure::Misuse(format!(
                "--save writes over nothing, and there is {shown} already"
            )));
        }
    }
    Ok(())
}

/// Writes what was played so far, and beside it what came of it: the same, or something else before
/// the step `differs_before`.
pub(super) fn save(
    file: &Path,
    player: &Player,
    differs_before: Option<u64>,
) -> Result<(), Failure> {
    let text = match differs_before {
        None => format!("the same: {} steps\n", player.step_count()),
        Some(step) => format!("something else: before step {step}\n"),
    };
    write(file, &player.until_here())?;
    write(&expected(file), text.as_bytes())
}

/// There may be payloads in it: for its owner only, as recordings are.
fn write(file: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = || -> io::Result<()> { options.open(file)?.write_all(bytes) };
    written().map_err(|source| Failure::Write {
        file: file.display().to_string(),
        source,
    })
}
