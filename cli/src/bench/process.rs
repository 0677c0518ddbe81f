//! What processes have used, as the system tells it: CPU time and resident memory.

use std::fs;
use std::io;

/// Runs this process on one core from now on.
#[cfg(target_os = "linux")]
pub(super) fn pin(core: usize) -> io::Result<()> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn pin(_core: usize) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What a process has used at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usage {
    pub(super) cpu_s: f64,
    /// Its own memory that is resident: without files and shared memory.
    pub(super) resident_bytes: u64,
    /// The most that was ever resident, files included, where the system tells.
    pub(super) peak_bytes: Option<u64>,
}

impl Usage {
    /// Of the process itself.
    pub(super) fn own() -> Option<Self> {
        Self::of(std::process::id())
    }

    /// `None` when there is no such process, or the system does not tell.
    pub(super) fn of(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Self {
            cpu_s: cpu_s(pid)?,
            resident_bytes: memory_bytes(&status, "RssAnon:")?,
            peak_bytes: memory_bytes(&status, "VmHWM:"),
        })
    }
}

/// The scheduler counts nanoseconds for each thread; a thread that has ended is missing. Clock
/// ticks, where that is not there.
fn cpu_s(pid: u32) -> Option<f64> {
    let mut nanoseconds = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
            return ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
        };
        nanoseconds += text.split(' ').next()?.parse::<f64>().ok()?;
    }
    Some(nanoseconds / 1e9)
}

/// User and system time, in hundredths of a second: Linux shows no other unit here.
fn ticks(stat: &str) -> Option<f64> {
    // The name stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

fn memory_bytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_tells_is_understood() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 9 0 0";
        assert_eq!(ticks(stat), Some(3.0));
        let status = "Name:\tx\nVmRSS:\t  9 kB\nRssAnon:\t   12 kB\nVmHWM:\t 20 kB\n";
        assert_eq!(memory_bytes(status, "RssAnon:"), Some(12 * 1_024));
        assert_eq!(memory_bytes(status, "VmHWM:"), Some(20 * 1_024));
    }
}
