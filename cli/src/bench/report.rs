//! What came out: one list of figures, shown as a table or as JSON.

use super::options::Options;
use super::process::Usage;
use std::fmt::Write as _;
use std::time::Duration;
use whimbrel_core::codec::packet::Version;

/// One figure.
#[derive(Debug)]
struct Figure {
    /// In JSON; ends in the unit.
    key: &'static str,
    /// In the table.
    label: &'static str,
    value: f64,
}

/// Figures in the order in which they are shown.
#[derive(Debug, Default)]
pub(super) struct Report {
    title: String,
    fields: Vec<(&'static str, String)>,
    figures: Vec<Figure>,
    wrong: Vec<String>,
}

impl Report {
    pub(super) fn new(options: &Options) -> Self {
        let version = match options.version {
            Version::V3 => "3.1",
            Version::V4 => "3.1.1",
            Version::V5 => "5.0",
        };
        let name = options.scenario.name();
        let qos = options.qos as u8;
        Self {
            title: format!(
                "{name}, MQTT {version}, QoS {qos}, {} bytes, {} clients, window {}",
                options.size, options.clients, options.window
            ),
            fields: vec![
                ("scenario", format!("\"{name}\"")),
                ("version", format!("\"{version}\"")),
                ("qos", qos.to_string()),
                ("payload_bytes", options.size.to_string()),
                ("clients", options.clients.to_string()),
                ("window", options.window.to_string()),
            ],
            ..Self::default()
        }
    }

    pub(super) fn add(&mut self, key: &'static str, label: &'static str, value: f64) {
        self.figures.push(Figure { key, label, value });
    }

    /// Something that must not be.
    pub(super) fn complain(&mut self, what: String) {
        self.wrong.push(what);
    }

    pub(super) fn wrong(&self) -> &[String] {
        &self.wrong
    }

    pub(super) fn to_table(&self) -> String {
        let mut text = format!("{}\n", self.title);
        for Figure { label, value, .. } in &self.figures {
            let _ = writeln!(text, "  {label:<42} {:>14}", shown(*value));
        }
        text
    }

    pub(super) fn to_json(&self) -> String {
        let mut text = String::from("{");
        for (key, value) in &self.fields {
            let _ = write!(text, "\"{key}\":{value},");
        }
        for Figure { key, value, .. } in &self.figures {
            let value = if value.is_finite() {
                value.to_string()
            } else {
                "null".to_owned()
            };
            let _ = write!(text, "\"{key}\":{value},");
        }
        let _ = writeln!(text, "\"ok\":{}}}", self.wrong.is_empty());
        text
    }
}

/// Four digits that mean something, and thousands set apart. A dash for what has no value, such as
/// the cost of each of none.
fn shown(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if value.abs() < 1_000.0 && value.fract() != 0.0 {
        let digits = match value.abs() {
            small if small < 10.0 => 3,
            middle if middle < 100.0 => 2,
            _ => 1,
        };
        return format!("{value:.digits$}");
    }
    let whole = format!("{:.0}", value.abs());
    let mut text = String::new();
    if value < 0.0 {
        text.push('-');
    }
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What broker and tool have used since the beginning of something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    pid: Option<u32>,
    broker: Option<Usage>,
    own: Option<Usage>,
    start: std::time::Instant,
}

/// What was used in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) wall: Duration,
    pub(super) broker_cpu_s: Option<f64>,
    pub(super) own_cpu_s: Option<f64>,
    /// How much more private memory is resident.
    pub(super) broker_grown_bytes: Option<f64>,
    broker: Option<Usage>,
}

impl Used {
    /// What the broker holds.
    pub(super) fn add_memory(&self, report: &mut Report) {
        let Some(broker) = self.broker else {
            return;
        };
        let kib = |bytes: u64| bytes as f64 / 1_024.0;
        report.add(
            "broker_resident_kib",
            "broker: private memory, KiB",
            kib(broker.resident_bytes),
        );
        if let Some(bytes) = broker.peak_bytes {
            report.add(
                "broker_peak_kib",
                "broker: most memory since its start, files included, KiB",
                kib(bytes),
            );
        }
    }
}

impl Meter {
    pub(super) fn start(options: &Options) -> Self {
        Self {
            pid: options.pid,
            broker: options.pid.and_then(Usage::of),
            own: Usage::own(),
            start: std::time::Instant::now(),
        }
    }

    pub(super) fn stop(&self) -> Used {
        let wall = self.start.elapsed();
        let broker = self.pid.and_then(Usage::of).zip(self.broker);
        let own = Usage::own().zip(self.own);
        Used {
            wall,
            broker_cpu_s: broker.map(|(now, then)| now.cpu_s - then.cpu_s),
            own_cpu_s: own.map(|(now, then)| now.cpu_s - then.cpu_s),
            broker_grown_bytes: broker
                .map(|(now, then)| now.resident_bytes as f64 - then.resident_bytes as f64),
            broker: broker.map(|(now, _)| now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_with_what_means_something() {
        for (value, text) in [
            (0.0, "0"),
            (0.1234, "0.123"),
            (12.345, "12.35"),
            (7.0, "7"),
            (999.96, "1000.0"),
            (1_234_567.8, "1,234,568"),
            (-12_345.0, "-12,345"),
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
        ] {
            assert_eq!(shown(value), text);
        }
    }
}
