//! Subscriptions, retained and offline: what a broker keeps, and how fast it takes it in and gives
//! it out.

use super::Failure;
use super::messages;
use super::network::{Heard, NO_PROPERTIES, Network};
use super::options::{Options, Scenario};
use super::publisher::Publisher;
use super::report::{Meter, Report, Used};
use super::schedule::{Progress, QUIET, TURN, Watch, admit, ask, options as asked, subscribe};
use super::tally::{Received, Stamp};
use std::process;
use std::time::{Duration, Instant};
use whimbrel_core::codec::packet::{Disconnect, QoS};
use whimbrel_core::codec::{Packet, ReasonCode, SubscribeBuffer};

/// Filters in one SUBSCRIBE.
const FILTERS_PER_PACKET: u64 = 50;

/// Clients that hold the subscriptions: no broker allows one client all of them.
const HOLDERS: u64 = 100;

/// Many subscriptions, and then pairs that have nothing to do with them.
pub(super) fn subscriptions(options: &Options) -> Result<Report, Failure> {
    let mut network = Network::new(options)?;
    let mut report = Report::new(options);
    let (run, total) = (process::id(), options.count.unwrap_or(1));
    let names = (0..HOLDERS as usize).map(|number| format!("bench-{run}-holder-{number}"));
    let first = admit(&mut network, names)?.start;
    let meter = Meter::start(options);
    let (mut asked_for, mut packets, mut refused) = (0, 0_u64, 0);
    let mut answered = 0_u64;
    let mut watch = Watch::new();
    while asked_for < total || answered < packets {
        while asked_for < total && packets - answered < HOLDERS {
            let mut filters = SubscribeBuffer::new();
            let end = total.min(asked_for + FILTERS_PER_PACKET);
            for number in asked_for..end {
                filters.push(&foreign(run, number), asked(options.qos));
            }
            ask(&mut network, first + (packets % HOLDERS) as usize, &filters);
            asked_for = end;
            packets += 1;
        }
        let mut closed = false;
        network.turn(TURN, |_, heard| match heard {
            Heard::Subscribed { refused: some } => {
                answered += 1;
                refused += some;
            }
            Heard::Closed => closed = true,
            _ => {}
        })?;
        if closed {
            return Err(Failure::Closed);
        }
        watch.must_go_on(answered, "subscribing")?;
    }
    let used = meter.stop();
    report.add("subscriptions", "subscriptions", total as f64);
    add_rate(
        &mut report,
        (
            "subscriptions_per_s",
            "broker_cpu_us_per_subscription",
            "subscriptions per second",
        ),
        total,
        &used,
    );
    add_growth(
        &mut report,
        ("bytes_per_subscription", "broker: bytes per subscription"),
        total,
        &used,
    );
    if refused > 0 {
        report.complain(format!("{refused} subscriptions were refused"));
    }
    let pairs = Options {
        scenario: Scenario::Pairs,
        count: None,
        duration_s: Some(options.duration_s.unwrap_or(5)),
        ..options.clone()
    };
    messages::traffic(&mut network, &pairs, &mut report)?;
    Ok(report)
}

/// One of many filters: exact, with `+`, with `#`.
fn foreign(run: u32, number: u64) -> String {
    let site = number % 1_000;
    match number % 3 {
        0 => format!("sites/{run}/{site}/device/{number}/state"),
        1 => format!("sites/{run}/{site}/+/{number}/state"),
        _ => format!("sites/{run}/{site}/device/{number}/#"),
    }
}

/// Sets many retained messages, and has one subscriber get them all. Clears them in the end.
pub(super) fn retained(options: &Options) -> Result<Report, Failure> {
    let mut network = Network::new(options)?;
    let mut report = Report::new(options);
    let (run, total) = (process::id(), options.count.unwrap_or(1));
    let names = ["publisher", "subscriber"].iter();
    let links = admit(
        &mut network,
        names.map(|name| format!("bench-{run}-{name}")),
    )?;
    let mut publisher = Publisher::new(options, links.start, 0, "");
    let meter = Meter::start(options);
    let payload = vec![b'.'; options.size];
    set_all(&mut network, options, &mut publisher, (total, &payload))?;
    let used = meter.stop();
    report.add("retained", "retained messages", total as f64);
    add_rate(
        &mut report,
        ("set_per_s", "broker_cpu_us_per_set", "set per second"),
        total,
        &used,
    );
    add_growth(
        &mut report,
        ("bytes_per_retained", "broker: bytes per message"),
        total,
        &used,
    );

    let meter = Meter::start(options);
    let mut filters = SubscribeBuffer::new();
    filters.push(&format!("bench/{run}/#"), asked(options.qos));
    ask(&mut network, links.start + 1, &filters);
    let (received, used) = receive(&mut network, options, total, &meter)?;
    report.add("delivered", "delivered", received.count as f64);
    add_rate(
        &mut report,
        (
            "delivered_per_s",
            "broker_cpu_us_per_delivered",
            "delivered per second",
        ),
        received.count,
        &used,
    );
    check(&mut report, &received, total);

    let mut clearing = Publisher::new(options, links.start, 0, "");
    set_all(&mut network, options, &mut clearing, (total, &[]))?;
    Ok(report)
}

/// Publishes one retained message to each topic, and waits until the broker has them all.
fn set_all(
    network: &mut Network,
    options: &Options,
    publisher: &mut Publisher,
    (total, payload): (u64, &[u8]),
) -> Result<(), Failure> {
    let run = process::id();
    let mut watch = Watch::new();
    let mut shown = Progress::new(options.shows_progress);
    let mut sent = 0;
    let mut ponged = false;
    while u64::from(publisher.acknowledged) < total && !ponged {
        let now_ns = network.now_ns();
        let before = sent;
        while sent < total {
            publisher.set_topic(
                options.version,
                &format!("bench/{run}/{sent}"),
                payload,
                true,
            );
            // At QoS 0 nothing is delivered yet that the window could count.
            publisher.give_up();
            if publisher.publish(network, 1, now_ns) == 0 {
                break;
            }
            sent += 1;
        }
        if sent == total && before < total && options.qos == QoS::AtMostOnce {
            network.say(publisher.link, &Packet::PingReq);
        }
        let mut closed = false;
        network.flush();
        publisher.give_up();
        let left = u32::try_from(total - sent).unwrap_or(u32::MAX);
        let wait = match publisher.can_go_on(network, left) {
            true => Duration::ZERO,
            false => TURN,
        };
        network.turn(wait, |_, heard| match heard {
            Heard::Acknowledged => publisher.acknowledged += 1,
            Heard::Pong => ponged = true,
            Heard::Closed => closed = true,
            _ => {}
        })?;
        if closed {
            return Err(Failure::Closed);
        }
        shown.show(Instant::now(), "set", sent);
        watch.must_go_on(sent + u64::from(publisher.acknowledged), "publishing")?;
    }
    Ok(())
}

/// Queues many messages for a client that is away, and has it come back.
pub(super) fn offline(options: &Options) -> Result<Report, Failure> {
    if options.qos == QoS::AtMostOnce {
        let why = "offline: messages of QoS 0 are not queued; take --qos 1 or 2";
        return Err(Failure::Misuse(why.to_owned()));
    }
    let mut network = Network::new(options)?;
    let mut report = Report::new(options);
    let (run, total) = (process::id(), options.count.unwrap_or(1));
    let name = format!("bench-{run}-away");
    let away = network.open(&name, false)?;
    wait(&mut network, Heard::Accepted)?;
    let filter = format!("bench/{run}/0");
    subscribe(
        &mut network,
        [(away, filter.clone())].into_iter(),
        options.qos,
    )?;
    leave(&mut network, away)?;

    let link = admit(&mut network, [format!("bench-{run}-publisher")].into_iter())?.start;
    let mut publisher = Publisher::new(options, link, 0, &filter);
    let meter = Meter::start(options);
    let mut watch = Watch::new();
    let total_u32 = u32::try_from(total).unwrap_or(u32::MAX);
    while publisher.acknowledged < total_u32 {
        let now_ns = network.now_ns();
        let left = total_u32 - publisher.sent;
        publisher.publish(&mut network, left, now_ns);
        let mut closed = false;
        network.turn(TURN, |_, heard| match heard {
            Heard::Acknowledged => publisher.acknowledged += 1,
            Heard::Closed => closed = true,
            _ => {}
        })?;
        if closed {
            return Err(Failure::Closed);
        }
        watch.must_go_on(u64::from(publisher.acknowledged), "publishing")?;
    }
    let used = meter.stop();
    report.add("queued", "messages published", total as f64);
    add_rate(
        &mut report,
        (
            "queued_per_s",
            "broker_cpu_us_per_queued",
            "queued per second",
        ),
        total,
        &used,
    );

    let meter = Meter::start(options);
    network.reopen(away, &name, false)?;
    let (received, used_then) = receive(&mut network, options, total, &meter)?;
    // Where it has kept fewer than it was given.
    add_growth(
        &mut report,
        ("bytes_per_queued", "broker: bytes per message kept"),
        received.count,
        &used,
    );
    report.add("delivered", "delivered on return", received.count as f64);
    add_rate(
        &mut report,
        (
            "delivered_per_s",
            "broker_cpu_us_per_delivered",
            "delivered per second",
        ),
        received.count,
        &used_then,
    );
    check(&mut report, &received, total);

    // Leaves nothing behind: a clean start ends the session.
    leave(&mut network, away)?;
    network.reopen(away, &name, true)?;
    wait(&mut network, Heard::Accepted)?;
    leave(&mut network, away)?;
    Ok(report)
}

/// Says goodbye, and waits until the broker has closed.
fn leave(network: &mut Network, link: usize) -> Result<(), Failure> {
    let reason = ReasonCode::SUCCESS;
    let properties = NO_PROPERTIES;
    network.say(link, &Packet::Disconnect(Disconnect { reason, properties }));
    wait(network, Heard::Closed)
}

/// Waits for one thing to be heard.
fn wait(network: &mut Network, what: Heard<'static>) -> Result<(), Failure> {
    let mut watch = Watch::new();
    let mut came = false;
    while !came {
        network.turn(TURN, |_, heard| came |= heard == what)?;
        watch.must_go_on(0, "waiting for an answer")?;
    }
    Ok(())
}

/// Receives `total` messages, or as many as come.
fn receive(
    network: &mut Network,
    options: &Options,
    total: u64,
    meter: &Meter,
) -> Result<(Received, Used), Failure> {
    let mut received = Received::default();
    let mut watch = Watch::new();
    let mut shown = Progress::new(options.shows_progress);
    let mut closed = false;
    while received.count < total {
        network.turn(TURN, |_, heard| match heard {
            Heard::Message { payload, .. } => {
                if let Some(stamp) = Stamp::read(payload) {
                    received.take(stamp.sequence);
                }
            }
            Heard::Closed => closed = true,
            _ => {}
        })?;
        if closed {
            return Err(Failure::Closed);
        }
        let now = Instant::now();
        shown.show(now, "delivered", received.count);
        // Looked at after the last as well: what has passed since is taken off below.
        if watch.look(now, received.count) > QUIET {
            break;
        }
    }
    let mut used = meter.stop();
    used.wall = used.wall.saturating_sub(watch.changed.elapsed());
    Ok((received, used))
}

fn check(report: &mut Report, received: &Received, total: u64) {
    let lost = total.saturating_sub(received.count);
    report.add("lost", "lost", lost as f64);
    if lost > 0 {
        report.complain(format!("{lost} messages are lost"));
    }
}

/// How fast it was, and what each cost.
fn add_rate(
    report: &mut Report,
    (key, cost, label): (&'static str, &'static str, &'static str),
    count: u64,
    used: &Used,
) {
    report.add(key, label, count as f64 / used.wall.as_secs_f64());
    if let Some(cpu_s) = used.broker_cpu_s {
        let label = "  broker: CPU µs for each";
        report.add(cost, label, cpu_s * 1e6 / count as f64);
    }
}

/// What each takes in memory.
fn add_growth(
    report: &mut Report,
    (key, label): (&'static str, &'static str),
    count: u64,
    used: &Used,
) {
    if let Some(bytes) = used.broker_grown_bytes.filter(|_| count > 0) {
        report.add(key, label, bytes / count as f64);
    }
}
