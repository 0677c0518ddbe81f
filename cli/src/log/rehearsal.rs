//! A repair that changes nothing: what it would write stays in memory, and can be read back.

use std::collections::BTreeMap;
use whimbrel_core::log::{
    Completion, DirectoryEntry, FileAction, FileName, IoFailure, IoFailureKind,
};
use whimbrel_host::Executor;

/// A directory, and what would have been changed in it.
pub(super) struct Rehearsal {
    below: Executor,
    /// What a file would hold; `None` for one that would be gone.
    changed: BTreeMap<FileName, Option<Vec<u8>>>,
    entries: Vec<DirectoryEntry>,
}

impl Rehearsal {
    pub(super) const fn new(below: Executor) -> Self {
        Self {
            below,
            changed: BTreeMap::new(),
            entries: Vec::new(),
        }
    }

    /// As [`Executor::run`].
    pub(super) fn run(&mut self, action: &FileAction<'_>) -> Result<Completion<'_>, IoFailure> {
        match *action {
            FileAction::List => return self.list(),
            FileAction::ReadAt {
                file,
                offset,
                bytes,
            } => {
                if self.changed.contains_key(&file) {
                    let content = self.content(file)?;
                    let start = content.len().min(at(offset));
                    let end = content.len().min(start + bytes as usize);
                    return Ok(Completion::Read(&content[start..end]));
                }
                return self.below.run(action);
            }
            FileAction::WriteAt {
                file,
                offset,
                bytes,
            } => {
                let content = self.content(file)?;
                let end = at(offset) + bytes.len();
                content.resize(content.len().max(end), 0);
                content[at(offset)..end].copy_from_slice(bytes);
            }
            FileAction::Create { file } | FileAction::Link { to: file, .. } => {
                self.changed.insert(file, Some(Vec::new()));
            }
            FileAction::Rename { from, to } => {
                // What is only renamed is not read again.
                let content = self.changed.insert(from, None).flatten();
                self.changed.insert(to, Some(content.unwrap_or_default()));
            }
            FileAction::Remove { file } => {
                self.changed.insert(file, None);
            }
            // No repair does it.
            FileAction::ZeroAt { .. } | FileAction::SetLength { .. } => return Err(NOT_THERE),
            FileAction::Sync { .. } | FileAction::SyncDirectory => {}
        }
        Ok(Completion::Done)
    }

    fn content(&mut self, file: FileName) -> Result<&mut Vec<u8>, IoFailure> {
        let content = self.changed.get_mut(&file).and_then(Option::as_mut);
        content.ok_or(NOT_THERE)
    }

    fn list(&mut self) -> Result<Completion<'_>, IoFailure> {
        let Completion::Listed(below) = self.below.run(&FileAction::List)? else {
            return Err(NOT_THERE);
        };
        let is_changed = |entry: &&DirectoryEntry| {
            FileName::parse(&entry.name).is_some_and(|file| self.changed.contains_key(&file))
        };
        let kept = below.iter().filter(|entry| !is_changed(entry)).cloned();
        self.entries = kept.collect();
        for (file, content) in &self.changed {
            let made = content.as_ref().map(|content| DirectoryEntry {
                name: file.to_string(),
                bytes: content.len() as u64,
            });
            self.entries.extend(made);
        }
        Ok(Completion::Listed(&self.entries))
    }
}

const NOT_THERE: IoFailure = IoFailure {
    kind: IoFailureKind::NotFound,
    code: None,
};

fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
