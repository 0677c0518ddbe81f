//! Allocations per message, once everything is warm.

use whimbrel_benches::counting::counts;
use whimbrel_benches::stage::{Stage, connect, publish};
use whimbrel_benches::traffic::{Extra, Shape, Traffic};
use whimbrel_core::action::{Action, Peer, Verdict};
use whimbrel_core::codec::packet::{PacketType, QoS, Version};
use whimbrel_core::codec::{self, Packet, Properties, Property, PropertyBuffer, ReasonCode, frame};
use whimbrel_core::id::{PacketId, PeerId};
use whimbrel_core::letter::{Confirmation, Interest, Letter, Narrowed, Parcel};
use whimbrel_core::{Broker, Config, ConnectionId, Now};

const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];
const FAN_OUTS: [usize; 3] = [1, 10, 50];
const BATCH: usize = 10;
const WARM_TURNS: usize = 60;
const TURNS: usize = 40;

/// As many as fit into one write, and messages are kept for.
const BURST: u16 = 1_000;

/// Plays traffic and answers how many allocations there were in `TURNS` of it.
fn allocations(traffic: &Traffic) -> u64 {
    let recording = traffic.record(WARM_TURNS + TURNS);
    let mut stage = traffic.stage();
    recording.play(&mut stage, 0..WARM_TURNS);
    let before = (counts().allocations, stage.broker.statistics());
    recording.play(&mut stage, WARM_TURNS..WARM_TURNS + TURNS);
    let after = (counts().allocations, stage.broker.statistics());
    let messages = after.1.publishes_received - before.1.publishes_received;
    let deliveries = after.1.publishes_sent - before.1.publishes_sent;
    assert_eq!(deliveries, messages * traffic.fan_out() as u64);
    assert_eq!(after.1.dropped, before.1.dropped);
    assert_eq!(messages, (TURNS * traffic.batch) as u64);
    after.0 - before.0
}

fn traffic(qos: QoS, version: Version, subscribers: usize, extra: Extra) -> Traffic {
    Traffic {
        shape: Shape::FanOut(subscribers),
        qos,
        version,
        payload_bytes: 64,
        batch: BATCH,
        extra,
    }
}

/// All versions, fan-outs, and what 5.0 adds; those that exceed the limit, with their count.
fn above(limit: u64, qos: QoS) -> Vec<(Traffic, u64)> {
    let mut above = Vec::new();
    for version in VERSIONS {
        for subscribers in FAN_OUTS {
            for extra in [
                Extra::None,
                Extra::InboundAlias,
                Extra::OutboundAlias,
                Extra::SubscriptionIdentifier,
            ] {
                if extra != Extra::None && version != Version::V5 {
                    continue;
                }
                let traffic = traffic(qos, version, subscribers, extra);
                let count = allocations(&traffic);
                if count > limit {
                    above.push((traffic, count));
                }
            }
        }
    }
    above
}

#[test]
fn a_qos_0_message_allocates_nothing() {
    assert_eq!(above(0, QoS::AtMostOnce), []);
}

/// It takes the place of one that is over, whatever the fan-out.
#[test]
fn a_qos_1_message_allocates_nothing() {
    assert_eq!(above(0, QoS::AtLeastOnce), []);
}

#[test]
fn a_qos_2_message_allocates_nothing() {
    assert_eq!(above(0, QoS::ExactlyOnce), []);
}

/// Nor do those of a burst, once there was one: what a subscriber needs for so many that it
/// acknowledges at once is kept for a while.
#[test]
fn a_burst_allocates_nothing() {
    let mut stage = Stage::new(Config::default());
    let version = Version::V4;
    let publisher = stage.connect(&connect(version, "publisher"));
    let subscriber = stage.connect(&connect(version, "subscriber"));
    let (to, qos) = ((subscriber, version), QoS::AtLeastOnce);
    stage.subscribe(to, "t", qos, Properties::EMPTY);
    let (mut burst, mut allocations) = (Vec::new(), 0);
    for id in 1..=BURST {
        let message = Packet::Publish(publish("t", b"x", qos, id));
        codec::encode(&message, version, &mut burst).expect("it exists");
    }
    for turn in 0..4 {
        let mut acks = Vec::new();
        for id in 1..=BURST {
            let id = PacketId::new(turn * BURST + id).expect("it is not 0");
            let ack = (id, ReasonCode::SUCCESS);
            codec::encode_ack(PacketType::PubAck, ack, version, &mut acks);
        }
        let before = counts().allocations;
        stage.broker.receive(stage.now, publisher, &burst);
        stage.run(|_, _| ());
        assert!(stage.broker.statistics().inflight_bytes > 64 * u64::from(BURST));
        stage.broker.receive(stage.now, subscriber, &acks);
        stage.run(|_, _| ());
        assert_eq!(stage.broker.statistics().inflight_bytes, 0);
        allocations = counts().allocations - before;
    }
    assert_eq!(allocations, 0);
}

/// For a second, and each time anew; by whatever way it ends, and counted until then.
#[test]
fn what_a_burst_has_needed_is_given_back() {
    let mut stage = Stage::new(Config::default());
    let version = Version::V5;
    let publisher = stage.connect(&connect(version, "publisher"));
    let mut lasting = connect(version, "subscriber");
    let mut properties = PropertyBuffer::new();
    properties.push(Property::SessionExpiryInterval(600));
    lasting.properties = properties.as_properties();
    let mut narrow = lasting;
    let mut properties = properties.clone();
    properties.push(Property::MaximumPacketSize(20));
    narrow.properties = properties.as_properties();
    narrow.clean_start = false;
    lasting.clean_start = false;
    let mut burst = Vec::new();
    for id in 1..=BURST {
        let message = publish("topic", b"more than 20 bytes of it", QoS::AtLeastOnce, id);
        codec::encode(&Packet::Publish(message), version, &mut burst).expect("it exists");
    }
    for is_acknowledged in [true, true, false, true] {
        let mut subscriber = stage.connect(&lasting);
        let to = (subscriber, version);
        stage.subscribe(to, "topic", QoS::AtLeastOnce, Properties::EMPTY);
        stage.broker.receive(stage.now, publisher, &burst);
        let mut ids = Vec::new();
        stage.run(|to, bytes| {
            if to == subscriber {
                ids.extend(packet_ids(bytes));
            }
        });
        assert_eq!(ids.len(), usize::from(BURST));
        if is_acknowledged {
            let mut acks = Vec::new();
            for id in ids {
                let ack = (id, ReasonCode::SUCCESS);
                codec::encode_ack(PacketType::PubAck, ack, version, &mut acks);
            }
            stage.broker.receive(stage.now, subscriber, &acks);
            stage.run(|_, _| ());
        } else {
            // None of them fits into what the client takes now.
            stage.cut(subscriber);
            subscriber = stage.connect(&narrow);
        }
        assert_eq!(stage.broker.statistics().inflight_bytes, 0);
        let before = (counts().live_bytes, stage.broker.statistics().memory_bytes);
        stage.now.monotonic = stage.now.monotonic.after_ms(1_000);
        stage.broker.advance(stage.now);
        let given_back = before.0 - counts().live_bytes;
        let counted = before.1 - stage.broker.statistics().memory_bytes;
        assert!(given_back > 32 * i64::from(BURST), "{given_back}");
        assert!(counted.abs_diff(given_back as u64) < 1_000, "{counted}");
        stage.cut(subscriber);
    }
}

/// The identifiers of these messages.
fn packet_ids(mut bytes: &[u8]) -> Vec<PacketId> {
    let mut ids = Vec::new();
    while let Ok(Some((frame, length))) = frame::split(bytes, u32::MAX) {
        if let Ok(Packet::Publish(publish)) = codec::decode(Version::V5, frame) {
            ids.extend(publish.packet_id);
        }
        bytes = &bytes[length..];
    }
    ids
}

/// Nor does one for another shard: many share a few allocations.
#[test]
fn messages_for_another_shard_allocate_together() {
    let mut config = Config::default();
    config.identity.shards = 2;
    let Stage {
        mut broker, now, ..
    } = Stage::new(config);
    let interest = Parcel::Interest(Interest {
        tenant: None,
        filter: "t".into(),
        members: 1,
        present: 1,
    });
    let letter = Letter {
        number: 1,
        clock: 0,
        confirms: Confirmation::default(),
        narrowed: Narrowed::default(),
        parcels: vec![interest],
    };
    broker.routed(now, PeerId(1), letter);
    let publisher = (0..)
        .find_map(|number| enter(&mut broker, now, &format!("publisher {number}")))
        .expect("some name belongs here");
    let mut bytes = Vec::new();
    for _ in 0..500 {
        let message = Packet::Publish(publish("t", &[b'x'; 64], QoS::AtMostOnce, 1));
        codec::encode(&message, Version::V4, &mut bytes).expect("it exists");
    }
    let before = counts().allocations;
    broker.receive(now, publisher, &bytes);
    let mut messages = 0;
    while let Some(action) = broker.poll_action() {
        let Action::Route { letter, .. } = action else {
            continue;
        };
        for parcel in letter.parcels {
            if let Parcel::Bundle(bundle) = parcel {
                messages += bundle.iter().count();
            }
        }
    }
    assert_eq!(messages, 500);
    let allocations = counts().allocations - before;
    assert!(allocations < 50, "{allocations}");
}

/// Connects a client, if it belongs to this shard.
fn enter(broker: &mut Broker, now: Now, name: &str) -> Option<ConnectionId> {
    let connection = broker.accept(now, Peer::default());
    let mut bytes = Vec::new();
    let packet = Packet::Connect(connect(Version::V4, name));
    codec::encode(&packet, Version::V4, &mut bytes).expect("it exists");
    broker.receive(now, connection, &bytes);
    while let Some(action) = broker.poll_action() {
        if let Action::Authenticate { connection, .. } = action {
            broker.authenticated(now, connection, Verdict::accept());
        } else if let Action::HandOver { .. } = action {
            return None;
        }
    }
    Some(connection)
}
