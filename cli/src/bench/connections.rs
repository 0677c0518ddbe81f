//! Connects and idle: what it costs that clients come, and that they are there.

use super::Failure;
use super::network::{Heard, NO_PROPERTIES, Network};
use super::options::Options;
use super::report::{Meter, Report};
use super::schedule::{Progress, TURN, Watch, admit, subscribe};
use std::process;
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::Disconnect;
use whimbrel_core::codec::{Packet, ReasonCode};

/// So many clients connect, say goodbye and connect again.
pub(super) fn connects(options: &Options) -> Result<Report, Failure> {
    let mut network = Network::new(options)?;
    let total = options.count.unwrap_or(1);
    let run = process::id();
    let mut name = (0_u64..).map(|number| format!("bench-{run}-{number}"));
    let mut next = || name.next().unwrap_or_default();
    let end = options
        .duration_s
        .map(|seconds| Instant::now() + Duration::from_secs(u64::from(seconds)));
    let meter = Meter::start(options);
    let mut begun = 0;
    while begun < total.min(options.clients as u64) {
        network.open(&next(), true)?;
        begun += 1;
    }
    let (mut accepted, mut done) = (0_u64, 0_u64);
    let (mut welcomed, mut gone) = (Vec::new(), Vec::new());
    let mut watch = Watch::new();
    let mut shown = Progress::new(options.shows_progress);
    while done < begun {
        network.turn(TURN, |link, heard| match heard {
            Heard::Accepted => welcomed.push(link),
            Heard::Closed => gone.push(link),
            _ => {}
        })?;
        accepted += welcomed.len() as u64;
        for link in welcomed.drain(..) {
            let reason = ReasonCode::SUCCESS;
            let properties = NO_PROPERTIES;
            network.say(link, &Packet::Disconnect(Disconnect { reason, properties }));
        }
        let is_over = end.is_some_and(|end| Instant::now() >= end);
        for link in gone.drain(..) {
            done += 1;
            if begun < total && !is_over {
                network.reopen(link, &next(), true)?;
                begun += 1;
            }
        }
        shown.show(Instant::now(), "connected", accepted);
        watch.must_go_on(done + accepted, "connecting")?;
    }
    let used = meter.stop();
    let mut report = Report::new(options);
    report.add("connects", "connects", accepted as f64);
    if accepted < begun {
        report.complain(format!(
            "{} connections were closed unheard",
            begun - accepted
        ));
    }
    let per_second = accepted as f64 / used.wall.as_secs_f64();
    report.add("connects_per_s", "connects per second", per_second);
    let each_us = |cpu_s: f64| cpu_s * 1e6 / accepted as f64;
    if let Some(cpu_s) = used.broker_cpu_s {
        report.add(
            "broker_cpu_us_per_connect",
            "broker: CPU µs per connect",
            each_us(cpu_s),
        );
    }
    if let Some(cpu_s) = used.own_cpu_s {
        report.add(
            "own_cpu_us_per_connect",
            "this tool: CPU µs per connect",
            each_us(cpu_s),
        );
    }
    Ok(report)
}

/// Many clients that only are there; then each subscribes to a topic of its own.
pub(super) fn idle(options: &Options) -> Result<Report, Failure> {
    let mut network = Network::new(options)?;
    let mut report = Report::new(options);
    let (run, clients) = (process::id(), options.clients);
    let meter = Meter::start(options);
    let names = (0..clients).map(|number| format!("bench-{run}-{number}"));
    let links = admit(&mut network, names)?;
    let bare = rest(&mut network, &meter)?;
    let each = |bytes: f64| bytes / clients as f64;
    report.add("connections", "connections", clients as f64);
    if let Some(bytes) = bare.broker_grown_bytes {
        report.add(
            "bytes_per_connection",
            "broker: bytes per connection",
            each(bytes),
        );
    }
    let filters = links.map(|link| (link, format!("bench/{run}/{link}/command")));
    subscribe(&mut network, filters, options.qos)?;
    let subscribed = rest(&mut network, &meter)?;
    if let Some(bytes) = subscribed.broker_grown_bytes {
        let label = "broker: bytes per connection, subscribed";
        report.add("bytes_per_subscribed_connection", label, each(bytes));
    }
    let meter = Meter::start(options);
    let seconds = options.duration_s.unwrap_or(5).min(600);
    let end = Instant::now() + Duration::from_secs(u64::from(seconds));
    let mut closed = 0;
    while Instant::now() < end {
        network.turn(TURN, |_, heard| {
            closed += usize::from(heard == Heard::Closed)
        })?;
    }
    let used = meter.stop();
    if let Some(cpu_s) = used.broker_cpu_s {
        let share = cpu_s / used.wall.as_secs_f64() * 100.0;
        report.add(
            "broker_idle_percent",
            "broker: CPU while nobody speaks, %",
            share,
        );
    }
    used.add_memory(&mut report);
    if closed > 0 {
        report.complain(format!("{closed} connections were closed"));
    }
    Ok(report)
}

/// Gives the broker a moment to come to rest, and looks at it.
fn rest(network: &mut Network, meter: &Meter) -> Result<super::report::Used, Failure> {
    let end = Instant::now() + Duration::from_millis(500);
    while Instant::now() < end {
        network.turn(TURN, |_, _| {})?;
    }
    Ok(meter.stop())
}
