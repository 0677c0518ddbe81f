//! What is measured, and what it is to reach.

use crate::broker::Broker;
use std::io;
use std::path::Path;
use std::process::Command;

/// One row of the table.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// For `whimbrel bench`.
    arguments: &'static str,
    /// The figure that counts, by its key in the report.
    key: &'static str,
    /// What one of it is.
    pub(crate) unit: &'static str,
    /// What Whimbrel sets out to stay below: half of the best peer known.
    pub(crate) bar: Option<f64>,
}

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// `None` when the broker did not get through.
    pub(crate) figure: Option<f64>,
    /// Nothing was lost, repeated or out of order.
    pub(crate) is_whole: bool,
}

const CPU: &str = "broker_cpu_s_per_million";
const CPU_UNIT: &str = "CPU s per million";

const fn traffic(name: &'static str, arguments: &'static str, bar: f64) -> Row {
    Row {
        name,
        arguments,
        key: CPU,
        unit: CPU_UNIT,
        bar: Some(bar),
    }
}

const fn other(
    name: &'static str,
    arguments: &'static str,
    (key, unit): (&'static str, &'static str),
    bar: Option<f64>,
) -> Row {
    Row {
        name,
        arguments,
        key,
        unit,
        bar,
    }
}

/// In the order in which they are shown.
pub(crate) static ROWS: [Row; 18] = [
    traffic("10 pairs, QoS 0", "pairs -q 0 --duration 2", 0.35),
    traffic("10 pairs, QoS 1", "pairs -q 1 --duration 2", 0.72),
    traffic("10 pairs, QoS 2", "pairs -q 2 --duration 2", 1.65),
    traffic("fan-in 50 → 1, QoS 0", "fan-in -q 0 --duration 2", 0.39),
    traffic("fan-in 50 → 1, QoS 1", "fan-in -q 1 --duration 2", 0.52),
    traffic("fan-in 50 → 1, QoS 2", "fan-in -q 2 --duration 2", 0.88),
    traffic("fan-out 1 → 50, QoS 0", "fan-out -q 0 --duration 2", 0.25),
    traffic("fan-out 1 → 50, QoS 1", "fan-out -q 1 --duration 2", 0.40),
    traffic("fan-out 1 → 50, QoS 2", "fan-out -q 2 --duration 2", 0.60),
    traffic(
        "500 pairs, window 4, QoS 0",
        "pairs -q 0 --duration 2 --clients 500 --window 4",
        5.0,
    ),
    traffic(
        "10 pairs, 1 KiB, QoS 0",
        "pairs -q 0 --duration 2 --size 1024",
        0.78,
    ),
    traffic(
        "fan-in 50 → 1, 1 KiB, QoS 0",
        "fan-in -q 0 --duration 2 --size 1024",
        0.62,
    ),
    traffic(
        "fan-out 1 → 50, 1 KiB, QoS 0",
        "fan-out -q 0 --duration 2 --size 1024",
        0.43,
    ),
    other(
        "connect and disconnect",
        "connects --count 10000",
        ("broker_cpu_us_per_connect", "CPU µs"),
        Some(35.0),
    ),
    other(
        "idle connection, 10,000",
        "idle --clients 10000 --duration 1",
        ("bytes_per_connection", "bytes"),
        Some(1_382.0),
    ),
    other(
        "with a subscription, 10,000",
        "idle --clients 10000 --duration 1",
        ("bytes_per_subscribed_connection", "bytes"),
        Some(1_536.0),
    ),
    other(
        "latency at 10,000/s, p50",
        "latency --rate 10000 --duration 3",
        ("p50_us", "µs"),
        None,
    ),
    other(
        "latency at 10,000/s, p99",
        "latency --rate 10000 --duration 3",
        ("p99_us", "µs"),
        None,
    ),
];

impl Row {
    /// Puts the load on a broker, from another core.
    pub(crate) fn run(&self, whimbrel: &Path, broker: &Broker, core: usize) -> io::Result<Outcome> {
        let output = Command::new("timeout")
            .arg("120")
            .arg(whimbrel)
            .arg("bench")
            .args(self.arguments.split(' '))
            .args(["--json", "-p", &broker.port.to_string()])
            .args(["--pid", &broker.pid().to_string()])
            .args(["--pin", &core.to_string()])
            .output()?;
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null);
        if report.is_null() {
            eprint!("  {}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(Outcome {
            figure: report[self.key].as_f64(),
            is_whole: report["ok"].as_bool().unwrap_or(false),
        })
    }
}
