//! What a broker counts as its memory beside what it takes of the allocator, for everything that a
//! client can make it keep. The count is what `limits.memory_budget_bytes` is held against, so it
//! must not be too small; and who is refused by it should be so for a reason, so neither too large.

use whimbrel_benches::counting::counts;
use whimbrel_benches::stage::{Stage, connect, publish};
use whimbrel_core::codec::packet::{QoS, Version, Will};
use whimbrel_core::codec::{Packet, Properties, Property, PropertyBuffer};
use whimbrel_core::{Config, Peer};

/// The count may be below the truth by so much: tables that double are full or half empty.
const LEAST: f64 = 0.8;

/// And above it.
const MOST: f64 = 1.8;

fn roomy() -> Config {
    let mut config = Config::default();
    config.session.queue_messages_maximum = 10_000_000;
    config.session.queue_bytes_maximum = 1 << 30;
    config.limits.subscriptions_per_session_maximum = 1_000_000;
    config.limits.topic_levels_maximum = 1_000;
    config.limits.connect_packet_size_maximum = 1 << 20;
    config.protocol.topic_alias_maximum = 1_000;
    config.limits.client_id_bytes_maximum = 2_000;
    config
}

/// Runs a load on a broker that refuses nothing, and compares.
fn check(what: &str, load: impl FnOnce(&mut Stage)) {
    compare(what, &mut Stage::new(roomy()), load);
}

fn compare(what: &str, stage: &mut Stage, load: impl FnOnce(&mut Stage)) {
    let taken = counts().live_bytes;
    let counted = stage.broker.statistics().memory_bytes;
    load(stage);
    let taken = (counts().live_bytes - taken) as f64;
    let counted = (stage.broker.statistics().memory_bytes - counted) as f64;
    let ratio = counted / taken;
    println!("{what}: counted {counted:.0} of {taken:.0} bytes, {ratio:.2}");
    assert!(
        (LEAST..=MOST).contains(&ratio),
        "{what}: {counted} bytes are counted of {taken}"
    );
}

fn name(number: usize) -> String {
    format!("client-{number:06}")
}

#[test]
fn connections_that_say_nothing() {
    check("connections without CONNECT", |stage| {
        for _ in 0..20_000 {
            stage.broker.accept(stage.now, Peer::default());
        }
    });
}

#[test]
fn connections_with_sessions() {
    for padding in [0, 1_000] {
        check(&format!("connections, names + {padding}"), |stage| {
            for number in 0..20_000 {
                let name = format!("{}{:.>padding$}", name(number), "");
                stage.connect(&connect(Version::V4, &name));
            }
        });
    }
}

#[test]
fn sessions_of_clients_that_are_away() {
    for padding in [0, 1_000] {
        check(&format!("sessions, names + {padding}"), |stage| {
            for number in 0..20_000 {
                let name = format!("{}{:.>padding$}", name(number), "");
                let mut hello = connect(Version::V4, &name);
                hello.clean_start = false;
                let id = stage.connect(&hello);
                stage.cut(id);
            }
        });
    }
}

#[test]
fn wills() {
    check("wills", |stage| {
        for number in 0..2_000 {
            let name = name(number);
            let mut properties = PropertyBuffer::new();
            for _ in 0..10 {
                properties.push(Property::UserProperty("a property", "of a will"));
            }
            let mut hello = connect(Version::V5, &name);
            hello.will = Some(Will {
                qos: QoS::AtLeastOnce,
                retain: false,
                topic: "a/topic/of/wills",
                properties: properties.as_properties(),
                payload: &[b'x'; 100],
            });
            stage.connect(&hello);
        }
    });
}

/// Filters that 100 sessions have, which are there before.
fn check_filters(what: &str, count: usize, filter: impl Fn(usize) -> String) {
    let stage = &mut Stage::new(roomy());
    let sessions: Vec<_> = (0..100)
        .map(|number| stage.connect(&connect(Version::V4, &name(number))))
        .collect();
    compare(what, stage, |stage| {
        for number in 0..count {
            let subscriber = (sessions[number % 100], Version::V4);
            let filter = filter(number);
            stage.subscribe(subscriber, &filter, QoS::AtLeastOnce, Properties::EMPTY);
        }
    });
}

#[test]
fn subscriptions() {
    check_filters("exact filters", 20_000, |number| {
        format!("site/{}/device/{number}/state", number % 100)
    });
    check_filters("filters with wildcards", 20_000, |number| {
        format!("site/{}/+/{number}/state", number % 100)
    });
    check_filters("long filters", 2_000, |number| {
        format!("{:x>1000}/{number}", "")
    });
    check_filters("long levels before a wildcard", 2_000, |number| {
        format!("{number}/{:x>1000}/#", "")
    });
    check_filters("filters of a hundred levels", 500, |number| {
        format!("{number}{}", "/x".repeat(100))
    });
    check_filters("a hundred levels before a wildcard", 500, |number| {
        format!("{number}{}/#", "/x".repeat(100))
    });
    check_filters("shared groups", 10_000, |number| {
        format!("$share/group-{number}/a/b")
    });
    check_filters("shared filters", 10_000, |number| {
        format!("$share/group/a/{number}")
    });
}

#[test]
fn aliases_that_publishers_set() {
    check("topic aliases", |stage| {
        let ids: Vec<_> = (0..20)
            .map(|number| stage.connect(&connect(Version::V5, &name(number))))
            .collect();
        for id in ids {
            for alias in 1..=1_000 {
                let topic = format!("{:x>200}/{alias}", "");
                let mut properties = PropertyBuffer::new();
                properties.push(Property::TopicAlias(alias));
                let mut message = publish(&topic, b"", QoS::AtMostOnce, 0);
                message.properties = properties.as_properties();
                stage.send(id, Version::V5, &Packet::Publish(message));
            }
        }
    });
}

#[test]
fn retained_messages() {
    for (levels, bytes) in [(1, 1), (1, 64), (1, 2_000), (60, 1)] {
        let what = format!("retained messages of {bytes} bytes and {levels} levels");
        check(&what, |stage| {
            let id = stage.connect(&connect(Version::V4, "publisher"));
            for number in 0..10_000 {
                let topic = format!("site/{number}{}", "/x".repeat(levels));
                let payload = vec![b'x'; bytes];
                let mut message = publish(&topic, &payload, QoS::AtMostOnce, 0);
                message.retain = true;
                stage.send(id, Version::V4, &Packet::Publish(message));
            }
        });
    }
}

/// So many clients that are away, and one who publishes for them.
fn check_queues(what: &str, config: Config, (sessions, messages, bytes): (usize, usize, usize)) {
    let stage = &mut Stage::new(config);
    for number in 0..sessions {
        let name = name(number);
        let mut hello = connect(Version::V4, &name);
        hello.clean_start = false;
        let away = stage.connect(&hello);
        let subscriber = (away, Version::V4);
        stage.subscribe(subscriber, "a/#", QoS::AtLeastOnce, Properties::EMPTY);
        stage.cut(away);
    }
    let id = stage.connect(&connect(Version::V4, "publisher"));
    compare(what, stage, |stage| {
        for _ in 0..messages {
            let payload = vec![b'x'; bytes];
            let message = publish("a/topic", &payload, QoS::AtLeastOnce, 1);
            stage.send(id, Version::V4, &Packet::Publish(message));
            stage.broker.advance(stage.now);
            stage.run(|_, _| {});
        }
    });
}

#[test]
fn queues() {
    for durable in [false, true] {
        let with = |what| format!("{what}, {}", if durable { "logged" } else { "in memory" });
        let mut config = roomy();
        config.durable = durable;
        check_queues(&with("empty messages"), config.clone(), (1, 50_000, 0));
        check_queues(&with("64 bytes"), config.clone(), (1, 50_000, 64));
        check_queues(&with("10,000 bytes"), config.clone(), (1, 1_000, 10_000));
        check_queues(&with("one each"), config, (200, 1, 64));
    }
}

#[test]
fn queues_that_the_log_has() {
    let mut config = roomy();
    config.durable = true;
    let what = "10,000 bytes for each of 200";
    check_queues(what, config.clone(), (200, 100, 10_000));
    config.limits.queued_payload_memory_bytes = 0;
    check_queues("stubs", config.clone(), (1, 10_000, 1_000));
    check_queues("stubs for each of 50", config, (50, 1_000, 1_000));
}

#[test]
fn packets_that_came_in_part() {
    check("halves of packets", |stage| {
        for number in 0..500 {
            let id = stage.connect(&connect(Version::V4, &name(number)));
            let mut half = vec![0x30, 0xA0, 0x8D, 0x06];
            half.resize(20_000, b'x');
            stage.broker.receive(stage.now, id, &half);
        }
    });
}

#[test]
fn identifiers_that_are_not_released() {
    check("received identifiers", |stage| {
        let ids: Vec<_> = (0..20)
            .map(|number| stage.connect(&connect(Version::V4, &name(number))))
            .collect();
        for id in ids {
            for number in 1..=u16::MAX {
                let message = publish("a", b"", QoS::ExactlyOnce, number);
                stage.send(id, Version::V4, &Packet::Publish(message));
            }
        }
    });
}

#[test]
fn messages_that_nobody_acknowledges() {
    check("messages in flight", |stage| {
        for number in 0..10 {
            let id = stage.connect(&connect(Version::V4, &name(number)));
            let subscriber = (id, Version::V4);
            stage.subscribe(subscriber, "a/#", QoS::ExactlyOnce, Properties::EMPTY);
        }
        let id = stage.connect(&connect(Version::V4, "publisher"));
        for _ in 0..10_000 {
            let message = publish("a/topic", &[b'x'; 64], QoS::AtLeastOnce, 1);
            stage.send(id, Version::V4, &Packet::Publish(message));
        }
    });
}

#[test]
fn retained_messages_that_are_owed() {
    let stage = &mut Stage::new(roomy());
    let id = stage.connect(&connect(Version::V4, "publisher"));
    for number in 0..10_000 {
        let topic = format!("site/{number}");
        let mut message = publish(&topic, &[b'x'; 64], QoS::AtLeastOnce, 1);
        message.retain = true;
        stage.send(id, Version::V4, &Packet::Publish(message));
    }
    // The window is one message, so each subscription waits with what it is owed.
    let mut properties = PropertyBuffer::new();
    properties.push(Property::ReceiveMaximum(1));
    let mut hello = connect(Version::V5, "slow");
    hello.properties = properties.as_properties();
    let slow = stage.connect(&hello);
    compare("retained messages that are owed", stage, |stage| {
        for number in 0..10_000 {
            let filter = format!("+/{number}");
            stage.subscribe(
                (slow, Version::V5),
                &filter,
                QoS::AtLeastOnce,
                Properties::EMPTY,
            );
        }
    });
}
