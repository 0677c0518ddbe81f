//! What is measured, and what it is to reach.

use crate::broker::Broker;
use std::io;
use std::path::Path;
use std::process::Command;

/// One load, and what is read off it.
pub(crate) struct Load {
    /// For `whimbrel bench`.
    arguments: &'static str,
    pub(crate) figures: &'static [Figure],
}

/// One row of the table.
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// In the report.
    key: &'static str,
    /// What one of it is.
    pub(crate) unit: &'static str,
    /// What Whimbrel sets out to stay below: half of the best peer known.
    pub(crate) bar: Option<f64>,
    /// What the limit took on the machine that the bar is from: there as well a program that only
    /// forwards, or only accepts and answers, but not this one.
    pub(crate) bare: Option<f64>,
}

/// What one measurement gave.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// As many as the load has; `None` when the broker did not get through.
    pub(crate) figures: Vec<Option<f64>>,
    /// Nothing was lost, repeated or out of order.
    pub(crate) is_whole: bool,
}

/// What the broker used for messages.
const fn cpu(name: &'static str, bare: f64, bar: f64) -> Figure {
    Figure {
        name,
        key: "broker_cpu_s_per_million",
        unit: "CPU s per million",
        bar: Some(bar),
        bare: Some(bare),
    }
}

const fn figure(
    name: &'static str,
    (key, unit): (&'static str, &'static str),
    bar: Option<f64>,
) -> Figure {
    Figure {
        name,
        key,
        unit,
        bar,
        bare: None,
    }
}

/// What each may cost, in microseconds, for a core to do so many a second.
const fn at_rate(per_s: f64) -> Option<f64> {
    Some(1e6 / per_s)
}

const fn load(arguments: &'static str, figures: &'static [Figure]) -> Load {
    Load { arguments, figures }
}

/// In the order in which they are shown.
pub(crate) static LOADS: [Load; 21] = [
    load(
        "pairs -q 0 --duration 2",
        &[cpu("10 pairs, QoS 0", 0.14, 0.35)],
    ),
    load(
        "pairs -q 1 --duration 2",
        &[cpu("10 pairs, QoS 1", 0.34, 0.72)],
    ),
    load(
        "pairs -q 2 --duration 2",
        &[cpu("10 pairs, QoS 2", 0.66, 1.65)],
    ),
    load(
        "fan-in -q 0 --duration 2",
        &[cpu("fan-in 50 → 1, QoS 0", 0.16, 0.39)],
    ),
    load(
        "fan-in -q 1 --duration 2",
        &[cpu("fan-in 50 → 1, QoS 1", 0.25, 0.52)],
    ),
    load(
        "fan-in -q 2 --duration 2",
        &[cpu("fan-in 50 → 1, QoS 2", 0.35, 0.88)],
    ),
    load(
        "fan-out -q 0 --duration 2",
        &[cpu("fan-out 1 → 50, QoS 0", 0.07, 0.25)],
    ),
    load(
        "fan-out -q 1 --duration 2",
        &[cpu("fan-out 1 → 50, QoS 1", 0.19, 0.40)],
    ),
    load(
        "fan-out -q 2 --duration 2",
        &[cpu("fan-out 1 → 50, QoS 2", 0.30, 0.60)],
    ),
    load(
        "pairs -q 0 --duration 2 --clients 500 --window 4",
        &[cpu("500 pairs, window 4, QoS 0", 3.20, 5.0)],
    ),
    load(
        "pairs -q 0 --duration 2 --size 1024",
        &[cpu("10 pairs, 1 KiB, QoS 0", 0.58, 0.78)],
    ),
    load(
        "fan-in -q 0 --duration 2 --size 1024",
        &[cpu("fan-in 50 → 1, 1 KiB, QoS 0", 0.46, 0.62)],
    ),
    load(
        "fan-out -q 0 --duration 2 --size 1024",
        &[cpu("fan-out 1 → 50, 1 KiB, QoS 0", 0.32, 0.43)],
    ),
    load(
        "pairs -q 0 --window 0 --duration 5",
        &[
            figure(
                "10 pairs that never wait, QoS 0: lost",
                ("lost", "messages"),
                Some(0.0),
            ),
            figure(
                "the same: most memory, files included",
                ("broker_peak_kib", "KiB"),
                Some(16_384.0),
            ),
        ],
    ),
    load(
        "connects --count 10000",
        &[Figure {
            name: "connect and disconnect",
            key: "broker_cpu_us_per_connect",
            unit: "CPU µs",
            bar: Some(35.0),
            bare: Some(27.0),
        }],
    ),
    load(
        "idle --clients 10000 --duration 1",
        &[
            figure(
                "idle connection, 10,000",
                ("bytes_per_connection", "bytes"),
                Some(1_382.0),
            ),
            figure(
                "with a subscription, 10,000",
                ("bytes_per_subscribed_connection", "bytes"),
                Some(1_536.0),
            ),
        ],
    ),
    load(
        "subscriptions --count 100000 --duration 2",
        &[
            figure(
                "subscription, 100,000",
                ("bytes_per_subscription", "bytes"),
                Some(250.0),
            ),
            figure(
                "10 pairs over 100,000 foreign subscriptions",
                ("broker_cpu_s_per_million", "CPU s per million"),
                Some(1.5),
            ),
        ],
    ),
    load(
        "retained --count 100000",
        &[
            figure(
                "retained message, 64 B, 100,000",
                ("bytes_per_retained", "bytes"),
                Some(300.0),
            ),
            figure(
                "setting a retained message",
                ("broker_cpu_us_per_set", "CPU µs"),
                at_rate(250_000.0),
            ),
            figure(
                "delivering it to a # subscriber",
                ("broker_cpu_us_per_delivered", "CPU µs"),
                at_rate(1_500_000.0),
            ),
        ],
    ),
    load(
        "offline -q 1 --count 100000",
        &[
            figure(
                "queued QoS 1 message, 64 B, 100,000",
                ("bytes_per_queued", "bytes"),
                Some(200.0),
            ),
            figure(
                "queueing it",
                ("broker_cpu_us_per_queued", "CPU µs"),
                at_rate(300_000.0),
            ),
            figure(
                "delivering it on return",
                ("broker_cpu_us_per_delivered", "CPU µs"),
                at_rate(800_000.0),
            ),
        ],
    ),
    load(
        "latency --rate 10000 --duration 3",
        &[
            figure("latency at 10,000/s, p50", ("p50_us", "µs"), None),
            figure("latency at 10,000/s, p99", ("p99_us", "µs"), None),
        ],
    ),
    load(
        "latency --rate 50000 --duration 3",
        &[
            figure("latency at 50,000/s, p50", ("p50_us", "µs"), None),
            figure("latency at 50,000/s, p99", ("p99_us", "µs"), None),
        ],
    ),
];

impl Load {
    /// Whether it needs no more than that messages are forwarded.
    pub(crate) fn is_bare(&self) -> bool {
        self.figures.iter().any(|figure| figure.bare.is_some())
    }

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
        let figures = self.figures.iter();
        Ok(Outcome {
            figures: figures.map(|one| report[one.key].as_f64()).collect(),
            // At QoS 0 a broker may lose; it only looks faster then.
            is_whole: report["ok"].as_bool().unwrap_or(false)
                && report["lost"].as_f64().unwrap_or(0.0) == 0.0,
        })
    }
}
