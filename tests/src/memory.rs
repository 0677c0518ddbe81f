//! What this process takes.

use std::fs;

/// Memory of this process in bytes, broker and clients together; `None` where the system does not
/// say.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// Runs `story`, and asserts that memory has not grown by more than `bytes` meanwhile: generously,
/// as other tests run beside it.
///
/// # Panics
///
/// It has grown by more.
pub fn memory_stays_flat(bytes: u64, story: impl FnOnce()) {
    let before = resident_bytes();
    story();
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        let grown = after.saturating_sub(before);
        assert!(grown < bytes, "memory has grown by {} MiB", grown >> 20);
    }
}
