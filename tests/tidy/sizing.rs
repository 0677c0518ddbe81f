//! What the documentation says that a memory budget comes to, against what it comes to.

use super::Problem;
use super::tree::File;
use whimbrel_core::Config;

const PAGE: &str = "docs/small-devices.md";

/// The budgets, one for each column.
const BUDGETS: [u64; 5] = [1 << 20, 4 << 20, 16 << 20, 64 << 20, 4 << 30];

/// What a limit is called, and how much it is.
type Row = (&'static str, fn(&Config) -> String);

const WITH_LOG: [Row; 14] = [
    ("connections", |c| count(c.limits.connections_maximum)),
    ("sessions", |c| count(c.limits.sessions_maximum)),
    WAITING[0],
    WAITING[1],
    ("those of them that are in memory", |c| {
        bytes(c.limits.queued_payload_memory_bytes)
    }),
    WAITING[2],
    WAITING[3],
    ("retained messages", |c| {
        count(c.limits.retained_messages_maximum)
    }),
    ("their bytes", |c| bytes(c.limits.retained_bytes_maximum)),
    ("in flight to and from one client", |c| {
        count(c.session.inflight_maximum)
    }),
    ("largest packet", |c| bytes(c.protocol.maximum_packet_size)),
    ("largest CONNECT", |c| {
        bytes(c.limits.connect_packet_size_maximum)
    }),
    ("subscriptions of one session", |c| {
        count(c.limits.subscriptions_per_session_maximum)
    }),
    ("unsent bytes of one connection", |c| {
        bytes(c.limits.unsent_bytes_maximum)
    }),
];

const WAITING: [Row; 4] = [
    ("messages that wait, in all", |c| {
        count(c.limits.queue_messages_total_maximum)
    }),
    ("their bytes", |c| bytes(c.limits.queue_bytes_total_maximum)),
    ("messages that wait for one client", |c| {
        count(c.session.queue_messages_maximum)
    }),
    ("their bytes", |c| {
        bytes(c.session.queue_bytes_maximum as u64)
    }),
];

fn count(number: impl Into<u64>) -> String {
    let digits = number.into().to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups = groups.map(|group| String::from_utf8_lossy(group));
    groups.collect::<Vec<_>>().join(",")
}

fn bytes(number: impl Into<u64>) -> String {
    let number = number.into();
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.iter().find(|(shift, _)| number % (1 << shift) == 0);
    whole.map_or_else(
        || number.to_string(),
        |(shift, unit)| format!("{} {unit}", number >> shift),
    )
}

/// A table as it has to be.
fn table(name: &str, rows: &[Row], sized: fn(u64) -> Config) -> String {
    let mut lines = format!("| {name} | {} |\n", BUDGETS.map(bytes).join(" | "));
    lines += "|---|--:|--:|--:|--:|--:|\n";
    for (what, value) in rows {
        let values = BUDGETS.map(|budget| value(&sized(budget)));
        lines += &format!("| {what} | {} |\n", values.join(" | "));
    }
    lines
}

/// Whether both tables are there as they have to be.
pub(crate) fn check(files: &[File], problems: &mut Vec<Problem>) {
    let page = files.iter().find(|file| file.path == PAGE);
    let text = page.map_or("", |page| &*page.text);
    let tables = [
        table(
            "`memory_budget_bytes`",
            &WITH_LOG,
            Config::for_memory_with_log,
        ),
        table(
            "`memory_budget_bytes`, no log",
            &WAITING,
            Config::for_memory,
        ),
    ];
    for table in tables.iter().filter(|table| !text.contains(&**table)) {
        let what = format!("the code says otherwise; write\n{table}");
        problems.push(Problem::new(PAGE, 0, what));
    }
}
