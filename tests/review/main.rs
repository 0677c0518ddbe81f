//! Faults that a review found, each as the story that showed it. What should be is what each
//! asserts.

use whimbrel_core::codec::packet::{
    Ack, Connect, PacketType, Publish, QoS, SubscribeOptions, Unsubscribe, Version, Will,
};
use whimbrel_core::codec::{
    self, Packet, Properties, Property, PropertyBuffer, ReasonCode, UnsubscribeBuffer,
};
use whimbrel_core::config::QueueOverflow;
use whimbrel_core::id::PacketId;
use whimbrel_core::{Action, Config, ConnectionId, Peer, Verdict};
use whimbrel_tests::World;
use whimbrel_tests::world::{connect, lasting, publish, will};

fn durable() -> Config {
    Config {
        durable: true,
        ..Config::default()
    }
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(packet, version, &mut bytes).expect("it can be said");
    bytes
}

fn resume(world: &mut World, client_id: &str) -> ConnectionId {
    world.enter(&lasting(Version::V4, client_id)).0
}

/// A peer that sends and never reads.
#[test]
fn who_never_reads_is_not_read_for_ever() {
    let mut world = World::default();
    let rude = world.connect(Version::V4, "rude");
    world.block(rude, true);
    let pings = [0xc0, 0].repeat(32 << 10);
    for _ in 0..200 {
        if world.is_paused(rude) {
            break;
        }
        world.send_bytes(rude, &pings);
    }
    let unsent = world.statistics().unsent_bytes;
    assert!(
        unsent <= u64::from(Config::default().limits.unsent_bytes_maximum),
        "{unsent} bytes wait for a client that takes none"
    );
}

/// The crash comes between two steps of a large fan-out.
#[test]
fn a_qos_2_message_acknowledged_after_a_crash_reaches_everybody() {
    let mut config = durable();
    config.limits.fanout_step = 2;
    let mut world = World::new(config);
    let names = ["s0", "s1", "s2", "s3", "s4"];
    for name in names {
        let subscriber = resume(&mut world, name);
        world.subscribe(subscriber, "t", QoS::AtLeastOnce);
        world.cut(subscriber);
    }
    let publisher = resume(&mut world, "publisher");
    let packet = publish("t", b"x", QoS::ExactlyOnce, 9);
    let bytes = encoded(Version::V4, &Packet::Publish(packet));
    world.broker.receive(world.now, publisher, &bytes);
    // As the runtime does: what is on offer is carried out before the next turn's `advance`.
    while let Some(action) = world.broker.poll_action() {
        if let Action::Persist(batch) = action {
            world.log.push(batch.operations);
        }
    }
    world.crash();
    let publisher = resume(&mut world, "publisher");
    world.send(
        publisher,
        &Packet::Publish(Publish {
            dup: true,
            ..packet
        }),
    );
    assert!(world.next(publisher).is_some(), "PUBREC");
    for name in names {
        let subscriber = resume(&mut world, name);
        assert_eq!(world.payloads(subscriber), ["x"], "{name}");
    }
}

/// The message of a retained delivery, and a checkpoint that has passed its session.
#[test]
fn a_checkpoint_keeps_messages_that_sessions_behind_it_still_need() {
    let mut world = World::new(durable());
    let early = resume(&mut world, "early");
    let filler = resume(&mut world, "filler");
    world.subscribe(filler, "fill", QoS::AtLeastOnce);
    world.cut(filler);
    let publisher = world.connect(Version::V4, "publisher");
    for _ in 0..20 {
        world.publish(publisher, "fill", &[0; 10_000], QoS::AtLeastOnce);
    }
    let retained = Publish {
        retain: true,
        ..publish("r", b"kept", QoS::AtLeastOnce, 1)
    };
    world.send(publisher, &Packet::Publish(retained));
    world.drain(publisher);

    let before = world.log.len();
    world.persists_at_once = false;
    world.broker.checkpoint(world.now);
    world.run();
    let batch = world.unpersisted.remove(0);
    world.log.push(batch.operations);
    world.broker.persisted(world.now, batch.position);
    world.run();
    // The walk is somewhere in the filler. Behind it the retained message is delivered, not yet
    // acknowledged; before it that is cleared.
    let mut filters = codec::SubscribeBuffer::new();
    filters.push(
        "r",
        SubscribeOptions {
            maximum_qos: QoS::AtLeastOnce,
            ..Default::default()
        },
    );
    world.send(
        early,
        &Packet::Subscribe(codec::packet::Subscribe {
            packet_id: PacketId::FIRST,
            properties: Properties::EMPTY,
            filters: filters.as_filters(Version::V4),
        }),
    );
    let clear = Publish {
        payload: b"",
        ..retained
    };
    world.send(publisher, &Packet::Publish(clear));
    world.persist();
    // The checkpoint is complete: the log before it goes.
    world.log.drain(..before);
    world.crash();
    let early = resume(&mut world, "early");
    assert_eq!(world.payloads(early), ["kept", ""]);
}

/// The slot of a session that ended is given to a newcomer while a fan-out is under way.
#[test]
fn a_newcomer_gets_nothing_that_was_meant_for_the_one_before() {
    let mut config = Config::default();
    config.limits.fanout_step = 2;
    let mut world = World::new(config);
    let mut last = None;
    for name in ["s0", "s1", "s2", "s3"] {
        let subscriber = world.connect(Version::V4, name);
        world.subscribe(subscriber, "secret", QoS::AtMostOnce);
        last = Some(subscriber);
    }
    let publisher = world.connect(Version::V4, "publisher");
    let bytes = encoded(
        Version::V4,
        &Packet::Publish(publish("secret", b"x", QoS::AtMostOnce, 1)),
    );
    world.broker.receive(world.now, publisher, &bytes);
    world.broker.closed(world.now, last.expect("four"));
    let newcomer = world.broker.accept(world.now, Peer::default());
    let hello = encoded(
        Version::V4,
        &Packet::Connect(connect(Version::V4, "newcomer")),
    );
    world.broker.receive(world.now, newcomer, &hello);
    let accept = Verdict::accept();
    world.broker.authenticated(world.now, newcomer, accept);
    world.broker.advance(world.now);
    let mut out = Vec::new();
    world.broker.transmit(world.now, newcomer, &mut out);
    assert_eq!(out, [0x20, 2, 0, 0], "CONNACK and nothing else");
}

/// Nothing may come before CONNACK. [MQTT-3.2.0-1]
#[test]
fn a_ping_response_does_not_overtake_connack() {
    let mut world = World::new(durable());
    world.persists_at_once = false;
    let mortal = world.open_with(&Connect {
        will: Some(will("w", b"gone")),
        ..connect(Version::V4, "mortal")
    });
    world.send(mortal, &Packet::PingReq);
    world.hears_nothing(mortal);
    world.persist();
    assert!(matches!(world.hear(mortal).packet(), Packet::ConnAck(_)));
}

/// Order of QoS 0 behind messages that were queued while away.
#[test]
fn what_was_queued_comes_before_what_is_published_now() {
    let mut config = Config::default();
    config.session.queue_qos0 = true;
    config.session.inflight_maximum = 1;
    let mut world = World::new(config);
    let subscriber = resume(&mut world, "subscriber");
    world.subscribe(subscriber, "#", QoS::AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.connect(Version::V4, "publisher");
    world.publish(publisher, "a", b"q1", QoS::AtLeastOnce);
    world.publish(publisher, "a", b"q2", QoS::AtLeastOnce);
    world.publish(publisher, "t", b"first", QoS::AtMostOnce);
    let subscriber = resume(&mut world, "subscriber");
    world.publish(publisher, "t", b"second", QoS::AtMostOnce);
    let came = world.take_all(subscriber);
    let of_t: Vec<_> = came.iter().filter(|p| !p.starts_with('q')).collect();
    assert_eq!(of_t, ["first", "second"]);
}

/// Two share groups with a common member that leaves.
#[test]
fn each_group_gets_its_own_copy_back_from_a_member_that_leaves() {
    let mut world = World::default();
    let leaver = world.connect(Version::V4, "leaver");
    world.subscribe(leaver, "$share/one/t", QoS::AtLeastOnce);
    world.subscribe(leaver, "$share/two/t", QoS::AtLeastOnce);
    let publisher = world.connect(Version::V4, "publisher");
    world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
    assert_eq!(world.payloads(leaver), ["x", "x"]);
    let one = world.connect(Version::V4, "one");
    world.subscribe(one, "$share/one/t", QoS::AtLeastOnce);
    let two = world.connect(Version::V4, "two");
    world.subscribe(two, "$share/two/t", QoS::AtLeastOnce);
    world.cut(leaver);
    assert_eq!(
        (world.payloads(one), world.payloads(two)),
        (vec!["x".into()], vec!["x".into()])
    );
}

/// A device starts in 1970, hears the time, and the broker is restarted before it wrote anything.
#[test]
fn the_time_that_arrives_late_ends_no_session() {
    let mut world = World::new(durable());
    let real = world.now.wall;
    world.now.wall.0 = 0;
    world.crash(); // Starts in 1970.
    let subscriber = resume(&mut world, "subscriber");
    world.subscribe(subscriber, "t", QoS::AtLeastOnce);
    world.cut(subscriber);
    let publisher = world.connect(Version::V4, "publisher");
    world.publish(publisher, "t", b"kept", QoS::AtLeastOnce);
    world.now.wall = real; // The time server answers.
    for _ in 0..10 {
        world.publish(publisher, "nobody", b"", QoS::AtMostOnce);
        world.pass_ms(3_600_000);
    }
    world.crash();
    let subscriber = resume(&mut world, "subscriber");
    assert_eq!(world.payloads(subscriber), ["kept"]);
}

/// A subscriber that never acknowledges, and pings, does not hold publishers again and again.
#[test]
fn who_does_not_acknowledge_holds_publishers_once() {
    let mut config = Config::default();
    config.session.inflight_maximum = 1;
    let mut world = World::new(config);
    let lazy = world.connect(Version::V4, "lazy");
    world.subscribe(lazy, "t", QoS::AtLeastOnce);
    let publisher = world.connect(Version::V4, "publisher");
    for _ in 0..40 {
        if !world.is_paused(publisher) {
            world.publish(publisher, "t", &[0; 10_000], QoS::AtLeastOnce);
        }
    }
    assert!(world.is_paused(publisher), "held, once");
    world.pass_ms(1_000);
    assert!(!world.is_paused(publisher), "and let go");
    world.send(lazy, &Packet::PingReq);
    world.publish(publisher, "t", &[0; 10_000], QoS::AtLeastOnce);
    assert!(!world.is_paused(publisher), "it is known to be slow");
}

/// UNSUBSCRIBE, again and again, while the disk is busy.
#[test]
fn answers_that_wait_for_the_log_are_bounded() {
    let mut world = World::new(durable());
    let client = resume(&mut world, "client");
    world.subscribe(client, "t", QoS::AtLeastOnce);
    let other = resume(&mut world, "other");
    world.persists_at_once = false;
    let mut filters = codec::SubscribeBuffer::new();
    filters.push("t", Default::default());
    world.send(
        other,
        &Packet::Subscribe(codec::packet::Subscribe {
            packet_id: PacketId::FIRST,
            properties: Properties::EMPTY,
            filters: filters.as_filters(Version::V4),
        }),
    );
    let one = [0xa2, 5, 0, 1, 0, 1, b'z'];
    world.send_bytes(client, &one.repeat(100_000));
    assert!(world.is_paused(client));
}

/// A QoS 2 PUBLISH is not resent before the log has its identifier.
#[test]
fn retransmission_waits_for_the_log_too() {
    let mut config = durable();
    config.session.retransmit_interval_ms = 100;
    let mut world = World::new(config);
    let subscriber = resume(&mut world, "subscriber");
    world.subscribe(subscriber, "t", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V4, "publisher");
    world.persists_at_once = false;
    world.publish(publisher, "t", b"x", QoS::ExactlyOnce);
    world.pass_ms(150);
    world.hears_nothing(subscriber);
    let _ = Ack::new(PacketId::FIRST, ReasonCode::SUCCESS);
}

/// A will whose fan-out takes several steps.
#[test]
fn a_will_reaches_everybody_though_the_broker_dies_on_the_way() {
    let mut config = durable();
    config.limits.fanout_step = 2;
    let mut world = World::new(config);
    let names = ["s0", "s1", "s2", "s3", "s4"];
    for name in names {
        let subscriber = resume(&mut world, name);
        world.subscribe(subscriber, "w", QoS::AtLeastOnce);
        world.cut(subscriber);
    }
    let mortal = world
        .enter(&Connect {
            will: Some(Will {
                qos: QoS::AtLeastOnce,
                ..will("w", b"gone")
            }),
            ..connect(Version::V4, "mortal")
        })
        .0;
    world.broker.closed(world.now, mortal);
    while let Some(action) = world.broker.poll_action() {
        if let Action::Persist(batch) = action {
            world.log.push(batch.operations);
        }
    }
    world.crash();
    for name in names {
        let subscriber = resume(&mut world, name);
        assert_eq!(world.payloads(subscriber), ["gone"], "{name}");
    }
}

/// One burst to some hundred persistent subscribers is one batch, larger than the log takes.
#[test]
fn a_batch_is_never_larger_than_the_log_takes() {
    let mut world = World::new(durable());
    for number in 0..500 {
        let subscriber = resume(&mut world, &format!("s{number}"));
        world.subscribe(subscriber, "t", QoS::AtLeastOnce);
        world.cut(subscriber);
    }
    let publisher = world.connect(Version::V4, "publisher");
    let mut bytes = Vec::new();
    for id in 1..=1_024 {
        let packet = Packet::Publish(publish("t", b"", QoS::AtLeastOnce, id));
        bytes.extend(encoded(Version::V4, &packet));
    }
    world.persists_at_once = false;
    world.send_bytes(publisher, &bytes);
    let largest = world
        .unpersisted
        .iter()
        .map(|batch| batch.operations.len())
        .max();
    let limit = whimbrel_core::log::LogConfig::default().batch_bytes_max;
    assert!(
        largest < Some(limit as usize),
        "{} bytes read make a batch of {largest:?}",
        bytes.len()
    );
}

/// The same by a checkpoint of a session with many long filters.
#[test]
fn a_checkpoint_step_is_bounded_also_within_a_session() {
    let mut world = World::new(durable());
    let client = resume(&mut world, "client");
    for number in 0..5_000 {
        world.subscribe(
            client,
            &format!("{number}/{}", "x".repeat(4_000)),
            QoS::AtLeastOnce,
        );
    }
    world.persists_at_once = false;
    world.broker.checkpoint(world.now);
    world.run();
    let position = world.unpersisted.remove(0).position;
    world.broker.persisted(world.now, position);
    world.run();
    let largest = world
        .unpersisted
        .iter()
        .map(|batch| batch.operations.len())
        .max();
    assert!(largest < Some(1 << 20), "{largest:?}");
}

/// Wills count as memory.
#[test]
fn wills_are_inside_the_memory_budget() {
    let mut config = Config::default();
    config.limits.memory_budget_bytes = 1 << 20;
    let mut world = World::new(config);
    let payload = [0; 60_000];
    for number in 0..100 {
        let name = format!("c{number}");
        world.open_with(&Connect {
            will: Some(will("w", &payload)),
            ..connect(Version::V4, &name)
        });
    }
    let kept = world.statistics().sessions * 60_000;
    assert!(kept < 2 << 20, "{kept} bytes of wills");
}

/// QoS 0 for who does not read is inside the memory budget.
#[test]
fn unsent_qos_0_is_inside_the_memory_budget() {
    let mut config = Config::default();
    config.limits.memory_budget_bytes = 4 << 20;
    config.limits.slow_consumer_grace_ms = 0;
    let mut world = World::new(config);
    for number in 0..50 {
        let reader = world.connect(Version::V4, &format!("c{number}"));
        world.subscribe(reader, "t", QoS::AtMostOnce);
        world.block(reader, true);
    }
    let publisher = world.connect(Version::V4, "publisher");
    for _ in 0..100 {
        world.publish(publisher, "t", &[0; 10_000], QoS::AtMostOnce);
    }
    let unsent = world.statistics().unsent_bytes;
    assert!(unsent < 5 << 20, "{unsent}");
}

/// Retained QoS 0 messages need the disk as well.
#[test]
fn a_full_disk_keeps_no_retained_qos_0() {
    let mut world = World::new(durable());
    let publisher = world.connect(Version::V5, "publisher");
    world.broker.storage_pressure(world.now, true);
    let before = world.log.len();
    for number in 0..10 {
        let topic = format!("t/{number}");
        let kept = Publish {
            retain: true,
            ..publish(&topic, b"x", QoS::AtMostOnce, 1)
        };
        world.send(publisher, &Packet::Publish(kept));
    }
    assert_eq!(world.log.len(), before);
}

/// 3.x clients are not refused when the disk is full, so their messages wait. What frees room must
/// not wait behind them.
#[test]
fn what_frees_room_is_handled_behind_messages_that_need_it() {
    let mut world = World::new(durable());
    let client = resume(&mut world, "client");
    world.subscribe(client, "mine", QoS::AtLeastOnce);
    let other = world.connect(Version::V5, "other");
    world.publish(other, "mine", b"x", QoS::AtLeastOnce);
    let delivered = world.hear(client);
    let Packet::Publish(delivered) = delivered.packet() else {
        panic!("{delivered:?}")
    };
    world.broker.storage_pressure(world.now, true);
    let clear = Publish {
        retain: true,
        ..publish("t", b"", QoS::AtLeastOnce, 2)
    };
    let mut filters = UnsubscribeBuffer::new();
    filters.push("mine");
    let unsubscribe = Unsubscribe {
        packet_id: PacketId::new(7).expect("not zero"),
        filters: filters.as_filters(Version::V4),
        properties: Properties::EMPTY,
    };
    let id = delivered.packet_id.expect("QoS 1");
    let bytes = [
        Packet::Publish(clear),
        Packet::Publish(publish("t", b"1", QoS::AtLeastOnce, 1)),
        Packet::PubAck(Ack::new(id, ReasonCode::SUCCESS)),
        // In its order.
        Packet::Publish(Publish {
            packet_id: PacketId::new(3),
            ..clear
        }),
        Packet::Unsubscribe(unsubscribe),
        Packet::PingReq,
    ]
    .map(|packet| encoded(Version::V4, &packet))
    .concat();
    // However it is cut.
    for piece in bytes.chunks(7) {
        world.send_bytes(client, piece);
    }
    assert_eq!(world.statistics().inflight_bytes, 0);
    assert_eq!(world.hear(client).ack().1, 2, "what clears is taken in");
    assert!(matches!(world.hear(client).packet(), Packet::PingResp));
    let unsubscribed = world.hear(client);
    assert!(matches!(unsubscribed.packet(), Packet::UnsubAck(_)));
    world.hears_nothing(client);
    // More than is kept is not read.
    let long = [b'x'; 5_000];
    for id in 4..9 {
        let message = publish("t", &long, QoS::AtLeastOnce, id);
        world.send(client, &Packet::Publish(message));
    }
    assert!(world.is_paused(client));
    world.broker.storage_pressure(world.now, false);
    world.run();
    assert!(!world.is_paused(client));
    for id in [1, 3, 4, 5, 6, 7, 8] {
        assert_eq!(
            world.hear(client).ack(),
            (PacketType::PubAck, id, ReasonCode::SUCCESS)
        );
    }
}

/// 3.x knows no refusal but the end of the connection, and the client sends everything again that
/// was not acknowledged: what came behind the refused message must not come before it.
#[test]
fn what_comes_behind_a_refused_message_is_not_taken_in() {
    let mut config = Config::default();
    config.limits.retained_messages_maximum = 0;
    let mut world = World::new(config);
    let reader = world.connect(Version::V4, "reader");
    world.subscribe(reader, "#", QoS::AtMostOnce);
    let client = world.connect(Version::V4, "client");
    let refused = Publish {
        retain: true,
        ..publish("t", b"1", QoS::AtLeastOnce, 1)
    };
    let bytes = [refused, publish("t", b"2", QoS::AtLeastOnce, 2)]
        .map(|message| encoded(Version::V4, &Packet::Publish(message)))
        .concat();
    world.send_bytes(client, &bytes);
    assert!(world.is_closed(client));
    world.hears_nothing(reader);
}

/// A message that no queue of this size can hold must not empty one.
#[test]
fn what_does_not_fit_at_all_drives_nothing_out() {
    let mut config = Config::default();
    config.session.queue_overflow = QueueOverflow::DropOldest;
    config.session.queue_bytes_maximum = 10_000;
    let mut world = World::new(config);
    let away = resume(&mut world, "away");
    world.subscribe(away, "t", QoS::AtLeastOnce);
    world.cut(away);
    let publisher = world.connect(Version::V4, "publisher");
    world.publish(publisher, "t", b"small", QoS::AtLeastOnce);
    world.publish(publisher, "t", &[b'x'; 20_000], QoS::AtLeastOnce);
    let away = resume(&mut world, "away");
    assert_eq!(world.take_all(away), ["small"]);
}

/// A refusal is lost with its connection, and there is room again: the message comes once more,
/// behind one that was taken in meanwhile. Its answer stands.
#[test]
fn what_was_refused_does_not_come_behind_what_was_taken_in_after_it() {
    for crashes in [false, true] {
        let mut world = World::new(durable());
        let reader = world.enter(&lasting(Version::V5, "reader")).0;
        world.subscribe(reader, "#", QoS::ExactlyOnce);
        world.cut(reader);
        let client = world.enter(&lasting(Version::V5, "client")).0;
        let message = |payload, id| publish("t", payload, QoS::ExactlyOnce, id);
        world.broker.storage_pressure(world.now, true);
        world.send(client, &Packet::Publish(message(b"1", 1)));
        world.broker.storage_pressure(world.now, false);
        world.send(client, &Packet::Publish(message(b"2", 2)));
        world.cut(client);
        if crashes {
            world.crash();
        }
        let client = world.enter(&lasting(Version::V5, "client")).0;
        let again = Publish {
            dup: true,
            ..message(b"1", 1)
        };
        for (packet, expected) in [
            (again, ReasonCode::QUOTA_EXCEEDED),
            (again, ReasonCode::QUOTA_EXCEEDED),
            // Another message, whatever it says: the client has heard.
            (message(b"1", 1), ReasonCode::SUCCESS),
            (again, ReasonCode::SUCCESS),
        ] {
            world.send(client, &Packet::Publish(packet));
            assert_eq!(world.hear(client).ack().2, expected, "{packet:?}");
        }
        let reader = world.enter(&lasting(Version::V5, "reader")).0;
        assert_eq!(world.take_all(reader), ["2", "1"]);
    }
}

/// As long as nothing came behind it, it may be taken in.
#[test]
fn what_was_refused_may_come_again_before_anything_else() {
    let mut world = World::new(durable());
    let client = world.enter(&lasting(Version::V5, "client")).0;
    let message = publish("t", b"1", QoS::AtLeastOnce, 1);
    world.broker.storage_pressure(world.now, true);
    world.send(client, &Packet::Publish(message));
    world.broker.storage_pressure(world.now, false);
    world.cut(client);
    let client = world.enter(&lasting(Version::V5, "client")).0;
    let again = Publish {
        dup: true,
        ..message
    };
    world.send(client, &Packet::Publish(again));
    let taken_in = ReasonCode::NO_MATCHING_SUBSCRIBERS;
    assert_eq!(world.hear(client).ack().2, taken_in);
}

/// A client that comes back in time is told that its will is not to come: a crash must not bring
/// it.
#[test]
fn connack_waits_for_the_end_of_an_earlier_will() {
    let mut world = World::new(durable());
    let mut properties = PropertyBuffer::new();
    properties.push(Property::WillDelayInterval(3_600));
    let will = Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "will",
        payload: b"x",
        properties: properties.as_properties(),
    };
    let mut session = PropertyBuffer::new();
    session.push(Property::SessionExpiryInterval(7_200));
    let packet = Connect {
        clean_start: false,
        properties: session.as_properties(),
        ..connect(Version::V5, "mortal")
    };
    let mortal = world.open_with(&Connect {
        will: Some(will),
        ..packet
    });
    assert!(matches!(world.hear(mortal).packet(), Packet::ConnAck(_)));
    world.cut(mortal);
    world.persists_at_once = false;
    let mortal = world.open_with(&packet);
    world.hears_nothing(mortal);
    world.persists_at_once = true;
    world.persist();
    assert!(matches!(world.hear(mortal).packet(), Packet::ConnAck(_)));
    world.cut(mortal);
    world.persists_at_once = false;
    let mortal = world.open_with(&packet);
    assert!(
        matches!(world.hear(mortal).packet(), Packet::ConnAck(_)),
        "nothing was promised that the log does not know"
    );
}

/// While the messages of a 3.x client wait for the disk, the rest of what it sends is handled: no
/// more of it than it takes the answers of.
#[test]
fn who_waits_for_the_disk_and_reads_nothing_is_not_read_for_ever() {
    let mut world = World::new(durable());
    let rude = world.connect(Version::V4, "rude");
    world.block(rude, true);
    world.broker.storage_pressure(world.now, true);
    let message = publish("t", b"x", QoS::AtLeastOnce, 1);
    world.send(rude, &Packet::Publish(message));
    let pings = [0xc0, 0].repeat(32 << 10);
    for _ in 0..200 {
        if world.is_paused(rude) {
            break;
        }
        world.send_bytes(rude, &pings);
    }
    assert!(world.is_paused(rude));
    let unsent = world.statistics().unsent_bytes;
    assert!(unsent <= u64::from(Config::default().limits.unsent_bytes_maximum));
    world.block(rude, false);
    world.run();
    assert!(!world.is_paused(rude), "it takes its answers again");
}

/// What frees room may come in the same read as the rest of a message that waits.
#[test]
fn what_frees_room_is_handled_however_it_was_read() {
    let mut world = World::new(durable());
    let client = resume(&mut world, "client");
    world.broker.storage_pressure(world.now, true);
    let message = Packet::Publish(publish("t", b"x", QoS::AtLeastOnce, 1));
    let bytes = encoded(Version::V4, &message);
    world.send_bytes(client, &bytes[..5]);
    world.send_bytes(client, &[&bytes[5..], &[0xc0, 0]].concat());
    assert!(matches!(world.hear(client).packet(), Packet::PingResp));
}
