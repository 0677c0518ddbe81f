//! The disk: records appended to a file of zeros, with a sync after each batch.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The file is as long as a segment of the log, and begun anew at its end.
const FILE_BYTES: u64 = 16 << 20;

/// A file of zeros that is on the disk already, so that a sync has only data to write.
pub(crate) struct Disk {
    file: File,
    path: PathBuf,
    offset: u64,
    /// How long each write with its sync took, in microseconds.
    pub(crate) syncs_us: Vec<f64>,
}

impl Disk {
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join("bare");
        let mut options = OpenOptions::new();
        let file = options
            .create(true)
            .write(true)
            .truncate(true)
            .open(&path)?;
        file.write_all_at(&vec![0; FILE_BYTES as usize], 0)?;
        file.sync_all()?;
        Ok(Self {
            file,
            path,
            offset: 0,
            syncs_us: Vec::new(),
        })
    }

    /// Writes one batch, and syncs it.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.offset + bytes.len() as u64 > FILE_BYTES {
            self.offset = 0;
        }
        let began = Instant::now();
        self.file.write_all_at(bytes, self.offset)?;
        self.file.sync_data()?;
        self.syncs_us.push(began.elapsed().as_secs_f64() * 1e6);
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Batches of `batch` records one after the other: records a second, and the median time of one
/// write and its sync in microseconds.
pub(crate) fn alone(
    directory: &Path,
    batch: usize,
    record_bytes: usize,
    time: Duration,
) -> io::Result<(f64, f64)> {
    let mut disk = Disk::new(directory)?;
    let bytes = vec![0x5A; batch * record_bytes];
    let began = Instant::now();
    while began.elapsed() < time {
        disk.append(&bytes)?;
    }
    let records = disk.syncs_us.len() * batch;
    let seconds = began.elapsed().as_secs_f64();
    let syncs_us = core::mem::take(&mut disk.syncs_us);
    Ok((records as f64 / seconds, crate::median(syncs_us)))
}
