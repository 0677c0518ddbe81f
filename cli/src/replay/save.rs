//! Keeping what was played as a test.

use super::Failure;
use super::files::Shards;
use super::line::plain;
use super::row::Row;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use whimbrel_core::recording::Replay as Player;

/// Where the last part of each shard is written, in the order in which they are played.
pub(super) struct Saved(Vec<(u16, PathBuf)>);

impl Saved {
    /// To this file, if to any. Where there are several shards, each has its own, with its number
    /// before the extension.
    pub(super) fn new(file: Option<&Path>, shards: Option<&Shards>) -> Self {
        let Some(file) = file else {
            return Self(Vec::new());
        };
        match shards.filter(|shards| shards.len() > 1) {
            None => Self(vec![(0, file.to_path_buf())]),
            Some(shards) => {
                let shards = shards.keys();
                Self(
                    shards
                        .map(|shard| (*shard, of_shard(file, *shard)))
                        .collect(),
                )
            }
        }
    }

    /// Nothing is written over.
    pub(super) fn check(&self) -> Result<(), Failure> {
        for file in self
            .0
            .iter()
            .flat_map(|(_, file)| [file.clone(), expected(file)])
        {
            if file.symlink_metadata().is_ok() {
                let shown = file.display();
                return Err(Failure::Misuse(format!(
                    "--save writes over nothing, and there is {shown} already"
                )));
            }
        }
        Ok(())
    }

    /// Writes what was played so far of these rows; in one of them something else may have come
    /// out, before this step. Gives what there is to say of it: nothing where there is only the
    /// file that was typed.
    pub(super) fn write(
        &self,
        rows: &[Row<'_>],
        differs: Option<(usize, u64)>,
    ) -> Result<Vec<String>, Failure> {
        let mut lines = Vec::new();
        for (at, ((shard, file), row)) in self.0.iter().zip(rows).enumerate() {
            let place = match &row.open {
                Some(open) => {
                    let differs = differs.filter(|(row, _)| *row == at);
                    save(file, &open.player, differs.map(|(_, step)| step))?;
                    file.display().to_string()
                }
                None => "nothing of it was played".to_owned(),
            };
            let line = format!("--- saved of shard {shard}: {place}");
            lines.push(format!("{}\n", plain(&line)));
        }
        if self.0.len() < 2 {
            lines.clear();
        }
        Ok(lines)
    }
}

/// `wrong.whimrec` is `wrong.0.whimrec` for shard 0.
fn of_shard(file: &Path, shard: u16) -> PathBuf {
    file.with_extension(match file.extension() {
        Some(extension) => format!("{shard}.{}", extension.display()),
        None => shard.to_string(),
    })
}

/// Where what should come of a saved recording is said.
fn expected(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".expected");
    name.into()
}

/// Writes what was played so far, and beside it what came of it: the same, or something else before
/// the step `differs_before`.
fn save(file: &Path, player: &Player, differs_before: Option<u64>) -> Result<(), Failure> {
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
