//! Which files a recording consists of.

use super::Failure;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use whimbrel_core::recording::{MAGIC, parse_part_name};

/// The parts of a recording by shard, each with its number, oldest first.
pub(super) type Shards = BTreeMap<u16, VecDeque<(u64, PathBuf)>>;

/// What is to be played.
pub(super) enum Found {
    /// This file.
    Part(PathBuf),
    /// Rows of parts.
    Shards(Shards),
}

/// Finds what `file` names: a part, or a recording with all its shards, or `shard` of it.
pub(super) fn find(file: &Path, shard: Option<u16>) -> Result<Found, Failure> {
    let shown = file.display().to_string();
    let mut shards = shards_of(file)?;
    if file.is_file() && (shards.is_empty() || is_part(file)) {
        if let Some(parts) = shards.into_values().next()
            && let Some((_, part)) = parts.front()
        {
            return Err(Failure::Misuse(format!(
                "{shown} is a part of a recording, and so are {} and so on: say which of them, or \
                 give {shown} another name",
                part.display()
            )));
        }
        return match shard {
            None => Ok(Found::Part(file.to_path_buf())),
            Some(_) => Err(Failure::Misuse(format!(
                "{shown} is one file, of one shard: --shard is for whole recordings"
            ))),
        };
    }
    if let Some(shard) = shard {
        shards.retain(|number, _| *number == shard);
    }
    if shards.is_empty() {
        let shard = shard.unwrap_or_default();
        return Err(Failure::None { file: shown, shard });
    }
    Ok(Found::Shards(shards))
}

/// The files that are named as parts of this recording are.
fn shards_of(file: &Path) -> Result<Shards, Failure> {
    let directory = match file.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let entries = std::fs::read_dir(directory).map_err(|source| Failure::Read {
        file: file.display().to_string(),
        source,
    })?;
    let prefix = format!(
        "{}.",
        file.file_name().unwrap_or_default().to_string_lossy()
    );
    let mut found = BTreeMap::<u16, Vec<_>>::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_str().and_then(|name| name.strip_prefix(&prefix));
        if let Some((shard, number)) = name.and_then(parse_part_name) {
            let parts = found.entry(shard).or_default();
            parts.push((number, entry.path()));
        }
    }
    let sorted = found.into_iter().map(|(shard, mut parts)| {
        parts.sort_unstable();
        (shard, parts.into())
    });
    Ok(sorted.collect())
}

fn is_part(file: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    File::open(file).is_ok_and(|mut file| file.read_exact(&mut magic).is_ok()) && magic == MAGIC
}
