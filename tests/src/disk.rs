//! A disk that forgets: every file has a live image, which reads see, and a durable one, which a
//! crash leaves. What was written and not synced survives a crash or not, sector by sector, in any
//! order; names created, renamed and removed likewise, until the directory is synced.
//!
//! It can be full, fail any operation by its number, and lie after a failed sync as Linux does:
//! reads go on giving what was never written, and a later sync reports success without writing it.

use std::collections::{BTreeMap, BTreeSet};
use whimbrel_core::log::{Completion, DirectoryEntry, FileAction, IoFailure, IoFailureKind};

/// What is written or lost as a whole.
pub const SECTOR_BYTES: usize = 512;

type Sector = [u8; SECTOR_BYTES];
type Inode = usize;

/// Numbers that look random and are not: splitmix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Equal seeds give equal numbers.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub const fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Every version of each sector since the last sync, oldest first.
    pending: BTreeMap<usize, Vec<Sector>>,
    /// Every size since the last sync.
    pending_sizes: Vec<usize>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(String, Inode),
    Rename(String, String),
    Remove(String),
}

/// How a crash treats what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashStyle {
    /// Nothing of it is left.
    LosesAll,
    /// The process died, not the machine: all of it is left, and still not synced.
    KeepsAll,
    /// Each sector, size and name is left or lost as chance has it.
    Mixed,
}

/// A directory on a disk.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    contents: Vec<Content>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    name_changes: Vec<NameChange>,
    /// What all files together may take.
    pub capacity_bytes: Option<usize>,
    /// A file has one name only.
    pub no_links: bool,
    /// How it fails to make a file.
    pub refuses_files: Option<IoFailureKind>,
    /// Parts of files that cannot be read until they are written anew: their first and last byte.
    unreadable: BTreeSet<(Inode, usize, usize)>,
    failures: BTreeMap<u64, IoFailureKind>,
    /// How the next sync of a file fails, whichever operation that is.
    pub fails_next_sync: Option<IoFailureKind>,
    /// Operations carried out so far.
    pub step_count: u64,
    /// Bytes and entries of the last answer.
    bytes: Vec<u8>,
    entries: Vec<DirectoryEntry>,
}

impl Disk {
    /// Makes the operation with this number fail.
    pub fn fail(&mut self, step: u64, kind: IoFailureKind) {
        self.failures.insert(step, kind);
    }

    /// No more failures are planned.
    pub fn heal(&mut self) {
        self.failures.clear();
    }

    /// Carries out an operation.
    ///
    /// # Errors
    ///
    /// What was planned, or what the state of the disk brings about.
    pub fn run(&mut self, action: &FileAction<'_>) -> Result<Completion<'_>, IoFailure> {
        let step = self.step_count;
        self.step_count += 1;
        let is_sync = matches!(action, FileAction::Sync { .. });
        let planned = self.failures.get(&step).copied();
        let opens_none = matches!(
            action,
            FileAction::List
                | FileAction::SyncDirectory
                | FileAction::Rename { .. }
                | FileAction::Link { .. }
                | FileAction::Remove { .. }
        );
        let planned = planned.filter(|kind| !opens_none || *kind != IoFailureKind::NoDescriptor);
        if planned == Some(IoFailureKind::NoDescriptor) {
            return Err(failure(IoFailureKind::NoDescriptor));
        }
        if let Some(kind) = planned.or_else(|| self.fails_next_sync.take_if(|_| is_sync)) {
            self.half_do(action, step);
            return Err(failure(kind));
        }
        match *action {
            FileAction::List => {
                self.list();
                return Ok(Completion::Listed(&self.entries));
            }
            FileAction::ReadAt {
                file,
                offset,
                bytes,
            } => {
                let content = self.content(&file.to_string())?;
                let start = content.live.len().min(offset as usize);
                let end = content.live.len().min(start + bytes as usize);
                let inode = self.names.get(&file.to_string());
                let is_hit = |(at, first, last): &(Inode, usize, usize)| {
                    Some(at) == inode && *first < end && start <= *last
                };
                if self.unreadable.iter().any(is_hit) {
                    return Err(failure(IoFailureKind::Other));
                }
                self.bytes = content.live[start..end].to_vec();
                return Ok(Completion::Read(&self.bytes));
            }
            FileAction::Create { file } => match self.refuses_files {
                None => self.create(file.to_string())?,
                Some(kind) => return Err(failure(kind)),
            },
            FileAction::WriteAt {
                file,
                offset,
                bytes,
            } => self.write(&file.to_string(), offset as usize, bytes)?,
            FileAction::ZeroAt {
                file,
                offset,
                bytes,
            } => self.write(&file.to_string(), offset as usize, &vec![0; bytes as usize])?,
            FileAction::Sync { file } => {
                let content = self.content_mut(&file.to_string())?;
                content.sync();
            }
            FileAction::SyncDirectory => {
                self.durable_names.clone_from(&self.names);
                self.name_changes.clear();
            }
            FileAction::SetLength { file, bytes } => {
                let content = self.content_mut(&file.to_string())?;
                content.resize(bytes as usize);
            }
            FileAction::Rename { from, to } => self.rename(&from.to_string(), to.to_string())?,
            FileAction::Link { from, to } => self.link(&from.to_string(), to.to_string())?,
            FileAction::Remove { file } => self.remove(file.to_string())?,
        }
        Ok(Completion::Done)
    }

    /// The machine stops while `action` is under way; gives the disk as it is found afterwards.
    #[must_use]
    pub fn crash(&self, action: Option<&FileAction<'_>>, style: CrashStyle, seed: u64) -> Self {
        let mut dying = self.clone();
        let is_sync = matches!(
            action,
            Some(FileAction::Sync { .. } | FileAction::SyncDirectory)
        );
        if let Some(action) = action
            && !(is_sync && style == CrashStyle::KeepsAll)
        {
            dying.half_do(action, seed);
        }
        if style == CrashStyle::KeepsAll {
            dying.failures.clear();
            dying.step_count = 0;
            return dying;
        }
        let mut random = Random::new(seed);
        let mut names = dying.durable_names.clone();
        for change in &dying.name_changes {
            if style == CrashStyle::Mixed && random.below(2) == 0 {
                change.apply(&mut names);
            }
        }
        let reached: BTreeSet<Inode> = names.values().copied().collect();
        for (inode, content) in dying.contents.iter_mut().enumerate() {
            if reached.contains(&inode) {
                content.crash(style, &mut random);
            } else {
                *content = Content::default();
            }
        }
        Self {
            contents: dying.contents,
            durable_names: names.clone(),
            names,
            capacity_bytes: dying.capacity_bytes,
            no_links: dying.no_links,
            unreadable: dying.unreadable,
            ..Self::default()
        }
    }

    /// The names of all files.
    pub fn file_names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// What a file holds.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        let inode = self.names.get(name)?;
        Some(&self.contents[*inode].live)
    }

    /// Changes a file behind everybody's back, durably.
    pub fn tamper(&mut self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let inode = match self.names.get(name) {
            Some(inode) => *inode,
            None => {
                self.contents.push(Content::default());
                let inode = self.contents.len() - 1;
                self.names.insert(name.to_owned(), inode);
                self.durable_names.insert(name.to_owned(), inode);
                inode
            }
        };
        let content = &mut self.contents[inode];
        change(&mut content.live);
        content.durable.clone_from(&content.live);
        content.pending.clear();
        content.pending_sizes.clear();
    }

    /// What lies there cannot be read any more.
    pub fn spoil(&mut self, name: &str, bytes: core::ops::RangeInclusive<usize>) {
        let spoilt = (self.names[name], *bytes.start(), *bytes.end());
        self.unreadable.insert(spoilt);
    }

    /// Loses a file behind everybody's back, durably.
    pub fn lose(&mut self, name: &str) {
        self.names.remove(name);
        self.durable_names.remove(name);
    }

    /// What all files take together.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        let inodes: BTreeSet<Inode> = self.names.values().copied().collect();
        let contents = inodes.into_iter().map(|inode| &self.contents[inode]);
        contents.map(|content| content.live.len()).sum()
    }

    /// Part of what an operation does that does not succeed.
    fn half_do(&mut self, action: &FileAction<'_>, seed: u64) {
        let mut random = Random::new(seed);
        match *action {
            FileAction::WriteAt {
                file,
                offset,
                bytes,
            } => {
                let part = random.below(bytes.len() + 1);
                let _ = self.write(&file.to_string(), offset as usize, &bytes[..part]);
            }
            FileAction::ZeroAt {
                file,
                offset,
                bytes,
            } => {
                let part = random.below(bytes as usize + 1);
                let _ = self.write(&file.to_string(), offset as usize, &vec![0; part]);
            }
            FileAction::Sync { file } => {
                if let Ok(content) = self.content_mut(&file.to_string()) {
                    content.fail_sync(&mut random);
                }
            }
            FileAction::Create { file } if random.below(2) == 0 => {
                let _ = self.create(file.to_string());
            }
            FileAction::List
            | FileAction::ReadAt { .. }
            | FileAction::Create { .. }
            | FileAction::SyncDirectory
            | FileAction::SetLength { .. }
            | FileAction::Rename { .. }
            | FileAction::Link { .. }
            | FileAction::Remove { .. } => {}
        }
    }

    fn list(&mut self) {
        let entry = |(name, inode): (&String, &Inode)| DirectoryEntry {
            name: name.clone(),
            bytes: self.contents[*inode].live.len() as u64,
        };
        self.entries = self.names.iter().map(entry).collect();
    }

    fn create(&mut self, name: String) -> Result<(), IoFailure> {
        self.has_room(1)?;
        if let Some(inode) = self.names.get(&name) {
            self.contents[*inode].resize(0);
            return Ok(());
        }
        self.contents.push(Content::default());
        let inode = self.contents.len() - 1;
        self.change_names(NameChange::Link(name, inode));
        Ok(())
    }

    fn write(&mut self, name: &str, offset: usize, bytes: &[u8]) -> Result<(), IoFailure> {
        let content = self.content(name)?;
        let more = (offset + bytes.len()).saturating_sub(content.live.len());
        let room = self.room();
        let written = if more > room {
            bytes.len() - (more - room).min(bytes.len())
        } else {
            bytes.len()
        };
        let content = self.content_mut(name)?;
        content.write(offset, &bytes[..written]);
        if written < bytes.len() {
            return Err(failure(IoFailureKind::NoSpace));
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: String) -> Result<(), IoFailure> {
        self.content(from)?;
        self.change_names(NameChange::Rename(from.to_owned(), to));
        Ok(())
    }

    fn link(&mut self, from: &str, to: String) -> Result<(), IoFailure> {
        if self.no_links || self.names.contains_key(&to) {
            return Err(failure(IoFailureKind::Other));
        }
        let inode = *self
            .names
            .get(from)
            .ok_or_else(|| failure(IoFailureKind::NotFound))?;
        self.change_names(NameChange::Link(to, inode));
        Ok(())
    }

    fn remove(&mut self, name: String) -> Result<(), IoFailure> {
        self.content(&name)?;
        self.change_names(NameChange::Remove(name));
        Ok(())
    }

    fn change_names(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn room(&self) -> usize {
        let capacity = self.capacity_bytes.unwrap_or(usize::MAX);
        capacity.saturating_sub(self.used_bytes())
    }

    fn has_room(&self, bytes: usize) -> Result<(), IoFailure> {
        if self.room() < bytes {
            return Err(failure(IoFailureKind::NoSpace));
        }
        Ok(())
    }

    fn content(&self, name: &str) -> Result<&Content, IoFailure> {
        let inode = self.names.get(name);
        inode
            .map(|inode| &self.contents[*inode])
            .ok_or_else(|| failure(IoFailureKind::NotFound))
    }

    fn content_mut(&mut self, name: &str) -> Result<&mut Content, IoFailure> {
        let inode = self.names.get(name).copied();
        inode
            .map(|inode| &mut self.contents[inode])
            .ok_or_else(|| failure(IoFailureKind::NotFound))
    }
}

impl NameChange {
    /// A change may be applied although one before it was lost.
    fn apply(&self, names: &mut BTreeMap<String, Inode>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Content {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len();
        if end > self.live.len() {
            // The system may write back a file that grows at any size in between.
            let old = self.live.len().max(offset);
            let between = (old + end) / 2 / SECTOR_BYTES * SECTOR_BYTES;
            self.pending_sizes.push(between.max(self.live.len()));
            self.live.resize(end, 0);
            self.pending_sizes.push(end);
        }
        self.live[offset..end].copy_from_slice(bytes);
        for sector in offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let version = sector_of(&self.live, sector);
            self.pending.entry(sector).or_default().push(version);
        }
    }

    fn resize(&mut self, bytes: usize) {
        self.live.resize(bytes, 0);
        self.pending_sizes.push(bytes);
    }

    fn sync(&mut self) {
        // After a failed sync the two images differ where nothing is pending: that stays lost.
        for (sector, versions) in &self.pending {
            let last = versions.last().expect("a pending sector has a version");
            put_sector(&mut self.durable, *sector, last);
        }
        self.durable.resize(self.live.len(), 0);
        self.pending.clear();
        self.pending_sizes.clear();
    }

    /// Some of it is written; all of it is forgotten.
    fn fail_sync(&mut self, random: &mut Random) {
        let live = self.live.clone();
        self.crash(CrashStyle::Mixed, random);
        self.live = live;
    }

    fn crash(&mut self, style: CrashStyle, random: &mut Random) {
        let keeps = |random: &mut Random| style == CrashStyle::Mixed && random.below(2) == 0;
        let mut size = self.durable.len();
        for pending in &self.pending_sizes {
            if keeps(random) {
                size = *pending;
            }
        }
        for (sector, versions) in &self.pending {
            if keeps(random) {
                let version = random.below(versions.len());
                put_sector(&mut self.durable, *sector, &versions[version]);
            }
        }
        self.durable.resize(size, 0);
        self.pending.clear();
        self.pending_sizes.clear();
        self.live.clone_from(&self.durable);
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> Sector {
    let mut copy = [0; SECTOR_BYTES];
    let from = bytes.get(sector * SECTOR_BYTES..).unwrap_or_default();
    let count = from.len().min(SECTOR_BYTES);
    copy[..count].copy_from_slice(&from[..count]);
    copy
}

fn put_sector(bytes: &mut Vec<u8>, sector: usize, version: &Sector) {
    let start = sector * SECTOR_BYTES;
    if bytes.len() < start + SECTOR_BYTES {
        bytes.resize(start + SECTOR_BYTES, 0);
    }
    bytes[start..start + SECTOR_BYTES].copy_from_slice(version);
}

fn failure(kind: IoFailureKind) -> IoFailure {
    IoFailure { kind, code: None }
}
