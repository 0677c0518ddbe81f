//! The disk alone: records appended to a file of zeros, with a sync after each batch.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What it did.
pub(crate) struct Bare {
    pub(crate) records_per_second: f64,
    /// The median time of one write and its sync.
    pub(crate) sync_us: f64,
}

/// The file is as long as a segment of the log, and begun anew at its end.
const FILE_BYTES: u64 = 16 << 20;

/// Writes batches of `batch` records, as many as clients that wait would give, and syncs each.
pub(crate) fn append_and_sync(
    directory: &Path,
    batch: usize,
    record_bytes: usize,
    time: Duration,
) -> io::Result<Bare> {
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
    let bytes = vec![0x5A; batch * record_bytes];
    let (mut offset, mut syncs) = (0, Vec::new());
    let began = Instant::now();
    while began.elapsed() < time {
        let one = Instant::now();
        file.write_all_at(&bytes, offset)?;
        file.sync_data()?;
        syncs.push(one.elapsed().as_secs_f64() * 1e6);
        offset += bytes.len() as u64;
        if offset + bytes.len() as u64 > FILE_BYTES {
            offset = 0;
        }
    }
    let records = syncs.len() * batch;
    let seconds = began.elapsed().as_secs_f64();
    fs::remove_file(&path)?;
    Ok(Bare {
        records_per_second: records as f64 / seconds,
        sync_us: crate::median(syncs),
    })
}
