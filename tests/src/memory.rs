//! What this process takes.

use std::process::Command;
use std::{env, fs, thread};

/// Memory of this process in bytes, broker and clients together; `None` where the system does not
/// say.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// Runs the body of a test in a process of its own, where no other test takes memory beside it.
///
/// # Panics
///
/// The test fails there.
pub fn alone(body: impl FnOnce()) {
    const VARIABLE: &str = "WHIMBREL_TEST_ALONE";
    let thread = thread::current();
    // A test runs on a thread of its name, unless they come one after the other.
    let name = thread.name().filter(|name| *name != "main");
    let Some(name) = name.filter(|_| env::var_os(VARIABLE).is_none()) else {
        return body();
    };
    let status = env::current_exe().and_then(|program| {
        Command::new(program)
            .args(["--exact", name, "--nocapture"])
            .env(VARIABLE, "1")
            .status()
    });
    assert!(
        status.is_ok_and(|status| status.success()),
        "{name} fails by itself"
    );
}

/// Runs `story`, and asserts that memory has not grown by more than `bytes` meanwhile. For tests
/// that run [`alone`].
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
