//! Bytes that stay: per connection, subscription, retained and queued message. Of the core alone;
//! what the runtime and the system add is measured on the running program.
//!
//! Tables that double are measured where they have just doubled and where they are nearly full; the
//! mean of the two is what a broker of any size has to expect.

use whimbrel_benches::counting::counts;
use whimbrel_benches::stage::{Stage, connect, publish};
use whimbrel_core::Config;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::codec::{Packet, Properties};

/// Just doubled, and nearly full, whether a table grows at powers of two or at 7/8 of one.
const COUNTS: [usize; 2] = [17_000, 28_000];

/// Bytes for each of `count` things that `add` adds.
fn bytes_each(count: usize, stage: &mut Stage, mut add: impl FnMut(&mut Stage, usize)) -> f64 {
    let before = counts().live_bytes;
    for number in 0..count {
        add(stage, number);
    }
    (counts().live_bytes - before) as f64 / count as f64
}

/// Measures at both sizes, prints, and checks the mean. The limits are where things stand, to get
/// worse no further, or what was promised, where that is reached.
fn check(what: &str, limit: f64, measure: impl Fn(usize) -> f64) {
    let [doubled, full] = COUNTS.map(measure);
    let mean = f64::midpoint(doubled, full);
    println!("{what}: {mean:.0} bytes ({doubled:.0} just doubled, {full:.0} nearly full)");
    assert!(
        mean <= limit,
        "{what}: {mean:.0} bytes are more than {limit}"
    );
}

fn roomy() -> Stage {
    let mut config = Config::default();
    config.session.queue_messages_maximum = 1_000_000;
    config.session.queue_bytes_maximum = 1 << 30;
    config.limits.subscriptions_per_session_maximum = 1_000_000;
    Stage::new(config)
}

#[test]
fn an_idle_connection_with_its_session() {
    check("idle connection and session", 630.0, |count| {
        bytes_each(count, &mut roomy(), |stage, number| {
            stage.connect(&connect(Version::V4, &format!("client-{number:06}")));
        })
    });
}

#[test]
fn an_idle_connection_with_a_subscription() {
    check("idle connection, session, subscription", 790.0, |count| {
        bytes_each(count, &mut roomy(), |stage, number| {
            let id = stage.connect(&connect(Version::V4, &format!("client-{number:06}")));
            let filter = format!("device/{number}/command");
            stage.subscribe(
                (id, Version::V4),
                &filter,
                QoS::AtLeastOnce,
                Properties::EMPTY,
            );
        })
    });
}

#[test]
fn a_session_whose_client_is_away() {
    check("session of a client that is away", 325.0, |count| {
        bytes_each(count, &mut roomy(), |stage, number| {
            let name = format!("client-{number:06}");
            let mut hello = connect(Version::V4, &name);
            hello.clean_start = false;
            let id = stage.connect(&hello);
            stage.cut(id);
        })
    });
}

#[test]
fn a_subscription() {
    check("subscription, mixed exact, + and #", 155.0, |count| {
        let stage = &mut roomy();
        let sessions: Vec<_> = (0..100)
            .map(|number| stage.connect(&connect(Version::V4, &format!("client-{number}"))))
            .collect();
        bytes_each(count, stage, |stage, number| {
            let filter = match number % 3 {
                0 => format!("site/{}/device/{number}/state", number % 100),
                1 => format!("site/{}/+/{number}/state", number % 100),
                _ => format!("site/{}/device/{number}/#", number % 100),
            };
            let subscriber = (sessions[number % 100], Version::V4);
            stage.subscribe(subscriber, &filter, QoS::AtLeastOnce, Properties::EMPTY);
        })
    });
}

#[test]
fn a_retained_message_of_64_bytes() {
    check("retained message of 64 bytes", 218.0, |count| {
        let stage = &mut roomy();
        let id = stage.connect(&connect(Version::V4, "publisher"));
        bytes_each(count, stage, |stage, number| {
            let topic = format!("site/building/{number}/temperature");
            let mut message = publish(&topic, &[b'x'; 64], QoS::AtMostOnce, 0);
            message.retain = true;
            stage.send(id, Version::V4, &Packet::Publish(message));
        })
    });
}

#[test]
fn a_queued_qos_1_message_of_64_bytes() {
    check("queued QoS 1 message of 64 bytes", 228.0, |count| {
        let stage = &mut roomy();
        let mut hello = connect(Version::V4, "away");
        hello.clean_start = false;
        let away = stage.connect(&hello);
        stage.subscribe(
            (away, Version::V4),
            "site/#",
            QoS::AtLeastOnce,
            Properties::EMPTY,
        );
        stage.cut(away);
        let id = stage.connect(&connect(Version::V4, "publisher"));
        let bytes = bytes_each(count, stage, |stage, _| {
            let topic = "site/building/7/temperature";
            let message = publish(topic, &[b'x'; 64], QoS::AtLeastOnce, 1);
            stage.send(id, Version::V4, &Packet::Publish(message));
        });
        assert_eq!(stage.broker.statistics().queued_messages, count as u64);
        bytes
    });
}
