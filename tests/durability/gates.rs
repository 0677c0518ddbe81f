//! Which answer waits for which record, row by row, in every version; and what a full disk leaves.

use crate::{durable, id_of, persistent};
use whimbrel_core::codec::packet::{
    Ack, Connect, PacketType, Publish, QoS, Subscribe, SubscribeOptions, Unsubscribe, Version, Will,
};
use whimbrel_core::codec::{
    Packet, Properties, Property, PropertyBuffer, ReasonCode, SubscribeBuffer, UnsubscribeBuffer,
};
use whimbrel_core::config::{QueueOverflow, SessionConfig};
use whimbrel_core::id::PacketId;
use whimbrel_core::{Config, ConnectionId};
use whimbrel_tests::world::{VERSIONS, connect, lasting, properties, publish, will};
use whimbrel_tests::{Received, World};

const ID: PacketId = PacketId::FIRST;

/// What a connection hears of `act` while the log writes, and what when it has written.
fn heard(
    world: &mut World,
    connection: ConnectionId,
    act: impl FnOnce(&mut World),
) -> [Vec<Received>; 2] {
    world.persists_at_once = false;
    act(world);
    let before = world.drain(connection);
    world.persist();
    world.persists_at_once = true;
    [before, world.drain(connection)]
}

fn send(packet: Packet<'_>, connection: ConnectionId) -> impl FnOnce(&mut World) {
    move |world| world.send(connection, &packet)
}

/// One packet, and not before the log has the record.
fn waits([before, after]: [Vec<Received>; 2], what: &str) -> Received {
    assert!(before.is_empty(), "{what}, too soon: {before:?}");
    let [answer] = &after[..] else {
        panic!("{what}: {after:?}")
    };
    answer.clone()
}

/// One packet, at once.
fn does_not_wait([before, after]: [Vec<Received>; 2], what: &str) -> Received {
    assert!(after.is_empty(), "{what}, late: {after:?}");
    let [answer] = &before[..] else {
        panic!("{what}: {before:?}")
    };
    answer.clone()
}

fn ack() -> Ack<'static> {
    Ack::new(ID, ReasonCode::SUCCESS)
}

#[test]
fn a_message_for_somebody_who_is_away_is_acknowledged_when_it_is_kept() {
    for version in VERSIONS {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut world = durable();
            let (subscriber, _) = persistent(&mut world, version, "subscriber");
            world.subscribe(subscriber, "t", QoS::ExactlyOnce);
            world.cut(subscriber);
            let publisher = world.connect(version, "publisher");
            let packet = Packet::Publish(publish("t", b"x", qos, 1));
            let answer = heard(&mut world, publisher, send(packet, publisher));
            waits(answer, &format!("{version:?}, {qos:?}"));
        }
    }
}

/// That nobody is there has to be durable as well: a subscription that comes back has missed
/// nothing.
#[test]
fn a_message_for_nobody_is_acknowledged_when_the_last_subscriber_is_gone_for_good() {
    for version in VERSIONS {
        for ends_session in [false, true] {
            for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let mut world = durable();
                let (subscriber, _) = persistent(&mut world, version, "subscriber");
                world.subscribe(subscriber, "t", qos);
                let publisher = world.connect(version, "publisher");
                let packet = Packet::Publish(publish("t", b"x", qos, 1));
                let answer = heard(&mut world, publisher, |world| {
                    if ends_session {
                        world.open_with(&connect(version, "subscriber"));
                    } else {
                        unsubscribe(world, version, subscriber);
                    }
                    world.send(publisher, &packet);
                });
                waits(answer, &format!("{version:?}, {ends_session}, {qos:?}"));
            }
        }
    }
}

#[test]
fn a_retained_message_is_acknowledged_when_it_is_kept() {
    for version in VERSIONS {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for payload in [&b"x"[..], b""] {
                let mut world = durable();
                let publisher = world.connect(version, "publisher");
                world.publish(publisher, "t", b"before", QoS::AtLeastOnce);
                world.drain(publisher);
                let packet = Publish {
                    retain: true,
                    ..publish("t", payload, qos, 1)
                };
                let send_it = send(Packet::Publish(packet), publisher);
                let answer = heard(&mut world, publisher, send_it);
                if payload.is_empty() {
                    // Nothing was retained: nothing is to be kept.
                    does_not_wait(answer, &format!("{version:?}, {qos:?}"));
                } else {
                    waits(answer, &format!("{version:?}, {qos:?}"));
                }
            }
        }
    }
}

#[test]
fn pubrec_and_pubcomp_wait_for_the_identifier_of_a_session_that_stays() {
    for version in VERSIONS {
        let mut world = durable();
        let (publisher, _) = persistent(&mut world, version, "publisher");
        let packet = Packet::Publish(publish("nobody", b"x", QoS::ExactlyOnce, 1));
        let answer = heard(&mut world, publisher, send(packet, publisher));
        waits(answer, &format!("PUBREC, {version:?}"));
        let answer = heard(
            &mut world,
            publisher,
            send(Packet::PubRel(ack()), publisher),
        );
        waits(answer, &format!("PUBCOMP, {version:?}"));
    }
}

#[test]
fn nothing_is_kept_of_an_exchange_with_a_session_that_ends() {
    for version in VERSIONS {
        let mut world = durable();
        let publisher = world.connect(version, "publisher");
        let packet = Packet::Publish(publish("nobody", b"x", QoS::ExactlyOnce, 1));
        let answer = heard(&mut world, publisher, send(packet, publisher));
        does_not_wait(answer, &format!("PUBREC, {version:?}"));
        let answer = heard(
            &mut world,
            publisher,
            send(Packet::PubRel(ack()), publisher),
        );
        does_not_wait(answer, &format!("PUBCOMP, {version:?}"));
        assert!(world.log.is_empty());
    }
}

#[test]
fn a_delivery_waits_for_its_record_with_qos_2_alone() {
    for version in VERSIONS {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut world = durable();
            let (subscriber, _) = persistent(&mut world, version, "subscriber");
            world.subscribe(subscriber, "t", qos);
            let publisher = world.connect(version, "publisher");
            let packet = Packet::Publish(publish("t", b"x", QoS::ExactlyOnce, 1));
            let delivery = heard(&mut world, subscriber, send(packet, publisher));
            let what = format!("{version:?}, {qos:?}");
            if qos < QoS::ExactlyOnce {
                does_not_wait(delivery, &what);
                continue;
            }
            let id = id_of(&waits(delivery, &what));
            let received = Packet::PubRec(Ack::new(id, ReasonCode::SUCCESS));
            let release = heard(&mut world, subscriber, send(received, subscriber));
            waits(release, &format!("PUBREL, {version:?}"));
        }
    }
}

#[test]
fn what_a_delivery_ends_with_is_not_waited_for() {
    for version in VERSIONS {
        let mut world = durable();
        let (subscriber, _) = persistent(&mut world, version, "subscriber");
        world.subscribe(subscriber, "t", QoS::AtLeastOnce);
        let publisher = world.connect(version, "publisher");
        world.publish(publisher, "t", b"first", QoS::AtLeastOnce);
        let id = id_of(&world.hear(subscriber));
        let second = Packet::Publish(publish("t", b"second", QoS::AtLeastOnce, 2));
        let next = heard(&mut world, subscriber, |world| {
            let ack = Ack::new(id, ReasonCode::SUCCESS);
            world.send(subscriber, &Packet::PubAck(ack));
            world.send(publisher, &second);
        });
        does_not_wait(next, &format!("{version:?}"));
    }
}

fn subscribe(world: &mut World, version: Version, subscriber: ConnectionId) {
    let mut filters = SubscribeBuffer::new();
    filters.push("t", SubscribeOptions::default());
    let packet = Subscribe {
        packet_id: ID,
        properties: Properties::EMPTY,
        filters: filters.as_filters(version),
    };
    world.send(subscriber, &Packet::Subscribe(packet));
}

fn unsubscribe(world: &mut World, version: Version, subscriber: ConnectionId) {
    let mut filters = UnsubscribeBuffer::new();
    filters.push("t");
    let packet = Unsubscribe {
        packet_id: ID,
        properties: Properties::EMPTY,
        filters: filters.as_filters(version),
    };
    world.send(subscriber, &Packet::Unsubscribe(packet));
}

#[test]
fn a_subscription_and_its_end_wait_where_the_session_stays() {
    for version in VERSIONS {
        let mut world = durable();
        let (subscriber, _) = persistent(&mut world, version, "subscriber");
        let act = |world: &mut World| subscribe(world, version, subscriber);
        let answer = heard(&mut world, subscriber, act);
        waits(answer, &format!("SUBACK, {version:?}"));
        let act = |world: &mut World| unsubscribe(world, version, subscriber);
        let answer = heard(&mut world, subscriber, act);
        waits(answer, &format!("UNSUBACK, {version:?}"));

        let subscriber = world.connect(version, "passer-by");
        let act = |world: &mut World| subscribe(world, version, subscriber);
        let answer = heard(&mut world, subscriber, act);
        does_not_wait(answer, &format!("SUBACK, {version:?}"));
        let act = |world: &mut World| unsubscribe(world, version, subscriber);
        let answer = heard(&mut world, subscriber, act);
        does_not_wait(answer, &format!("UNSUBACK, {version:?}"));
    }
}

/// Connects; what comes before and after the log has written.
fn entering(world: &mut World, packet: &Connect<'_>) -> [Vec<Received>; 2] {
    world.persists_at_once = false;
    let connection = world.open_with(packet);
    let before = world.drain(connection);
    world.persist();
    world.persists_at_once = true;
    [before, world.drain(connection)]
}

/// What is too large for the new connection is released as what has arrived is.
#[test]
fn what_is_given_up_is_released_when_the_log_knows() {
    let mut world = durable();
    let client = world.resume(Version::V5, "client");
    world.subscribe(client, "t", QoS::ExactlyOnce);
    let publisher = world.connect(Version::V5, "publisher");
    world.publish_exactly_once(publisher, "t", &[b'x'; 60]);
    world.hear(client).publish();
    world.cut(client);
    let list = properties(&[
        Property::SessionExpiryInterval(3600), // as before
        Property::MaximumPacketSize(40),
    ]);
    let small = Connect {
        properties: list.as_properties(),
        ..lasting(Version::V5, "client")
    };
    let released = (PacketType::PubRel, 1, ReasonCode::SUCCESS);
    let [before, after] = entering(&mut world, &small);
    assert!(before[0].conn_ack().session_present);
    assert_eq!(before.len(), 1, "{before:?}");
    assert_eq!(
        after.iter().map(Received::ack).collect::<Vec<_>>(),
        [released]
    );
    // Whoever comes next, after a crash, too.
    world.crash();
    let client = world.resume(Version::V5, "client");
    assert_eq!(world.hear(client).ack(), released);
    world.hears_nothing(client);
}

#[test]
fn who_is_let_in_anew_waits_until_the_session_before_is_gone_for_good() {
    for version in VERSIONS {
        let mut world = durable();
        let (before, _) = persistent(&mut world, version, "client");
        world.cut(before);
        let packet = Connect {
            clean_start: true,
            ..connect(version, "client")
        };
        waits(entering(&mut world, &packet), &format!("{version:?}"));
        // There is none any more.
        does_not_wait(entering(&mut world, &packet), &format!("{version:?}"));
    }
}

/// Though the session is there: what was before it must not be, after a crash.
#[test]
fn who_comes_back_to_a_session_begun_anew_waits_as_well() {
    let mut world = durable();
    let (before, _) = persistent(&mut world, Version::V5, "client");
    world.cut(before);
    let anew = Connect {
        clean_start: true,
        ..lasting(Version::V5, "client")
    };
    let again = lasting(Version::V5, "client");
    world.persists_at_once = false;
    world.open_with(&anew);
    let present = waits(entering(&mut world, &again), "begun anew");
    assert!(present.conn_ack().session_present);
    does_not_wait(entering(&mut world, &again), "as before");
}

/// Though their wills are in the log.
#[test]
fn nobody_waits_for_the_end_of_clients_that_have_nothing_kept() {
    for version in VERSIONS {
        let mut world = durable();
        let with_will = Connect {
            will: Some(will("will", b"x")),
            ..connect(version, "passer-by")
        };
        let (passer_by, _) = world.enter(&with_will);
        world.subscribe(passer_by, "t", QoS::AtLeastOnce);
        let publisher = world.connect(version, "publisher");
        let packet = Packet::Publish(publish("t", b"x", QoS::AtLeastOnce, 1));
        let answer = heard(&mut world, publisher, |world| {
            world.cut(passer_by);
            world.send(publisher, &packet);
        });
        does_not_wait(answer, &format!("{version:?}"));
    }
}

/// As when it ends: a message is delivered as the new one says, and nothing is kept.
#[test]
fn a_subscription_that_asks_for_less_is_an_end_of_the_one_before() {
    for version in VERSIONS {
        let mut world = durable();
        let (subscriber, _) = persistent(&mut world, version, "subscriber");
        world.subscribe(subscriber, "t", QoS::AtLeastOnce);
        let publisher = world.connect(version, "publisher");
        let packet = Packet::Publish(publish("t", b"x", QoS::AtLeastOnce, 1));
        let answer = heard(&mut world, publisher, |world| {
            subscribe(world, version, subscriber);
            world.send(publisher, &packet);
        });
        waits(answer, &format!("{version:?}"));
    }
}

#[test]
fn who_comes_back_in_time_is_let_in_when_its_will_is_gone_for_good() {
    let mut world = durable();
    let list = properties(&[Property::WillDelayInterval(10)]);
    let first = Connect {
        will: Some(Will {
            properties: list.as_properties(),
            ..will("will", b"x")
        }),
        ..lasting(Version::V5, "client")
    };
    let again = lasting(Version::V5, "client");
    // It takes its own connection over, or comes back to its session.
    for is_cut in [false, true] {
        let (connection, _) = world.enter(&first);
        if is_cut {
            world.cut(connection);
        }
        waits(entering(&mut world, &again), &format!("{is_cut}"));
        does_not_wait(entering(&mut world, &again), &format!("{is_cut}"));
    }
}

#[test]
fn who_has_a_will_is_let_in_when_that_is_kept() {
    let mut properties = PropertyBuffer::new();
    properties.push(Property::WillDelayInterval(10));
    for version in VERSIONS {
        let mut world = durable();
        let properties = match version {
            Version::V5 => properties.as_properties(),
            _ => Properties::EMPTY,
        };
        let packet = Connect {
            will: Some(Will {
                topic: "will",
                payload: b"x",
                qos: QoS::AtLeastOnce,
                retain: false,
                properties,
            }),
            ..connect(version, "client")
        };
        waits(entering(&mut world, &packet), &format!("{version:?}"));
    }
}

/// `Full` in the log means that nothing is durable any more until there is room; `High` that new
/// messages are refused. Either way QoS 0, and signs of life, go on.
#[test]
fn on_a_full_disk_messages_are_refused_and_the_rest_goes_on() {
    for is_stuck in [false, true] {
        let mut world = durable();
        let (away, _) = persistent(&mut world, Version::V5, "away");
        world.subscribe(away, "t", QoS::ExactlyOnce);
        world.cut(away);
        let subscriber = world.connect(Version::V5, "subscriber");
        world.subscribe(subscriber, "t", QoS::AtMostOnce);
        let publishers: Vec<_> = VERSIONS
            .iter()
            .map(|version| (*version, world.connect(*version, &format!("{version:?}"))))
            .collect();
        world.persists_at_once = !is_stuck;
        world.broker.storage_pressure(world.now, true);
        world.run();
        for (version, publisher) in publishers {
            let what = format!("{version:?}, stuck: {is_stuck}");
            for (packet_id, qos) in [(1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
                world.send(
                    publisher,
                    &Packet::Publish(publish("t", b"x", qos, packet_id)),
                );
            }
            let refused = world.drain(publisher);
            let reasons: Vec<_> = refused
                .iter()
                .map(|answer| match answer.packet() {
                    Packet::PubAck(ack) | Packet::PubRec(ack) => ack.reason,
                    other => panic!("{what}: {other:?}"),
                })
                .collect();
            if version == Version::V5 {
                assert_eq!(reasons, [ReasonCode::QUOTA_EXCEEDED; 2], "{what}");
                assert!(matches!(refused[0].packet(), Packet::PubAck(_)), "{what}");
                assert!(matches!(refused[1].packet(), Packet::PubRec(_)), "{what}");
            } else {
                assert!(reasons.is_empty(), "{what}: there is no word for it");
            }
            assert!(world.drain(subscriber).is_empty(), "{what}");
            world.send(publisher, &Packet::PingReq);
            let answer = world.hear(publisher);
            assert!(matches!(answer.packet(), Packet::PingResp), "{what}");
            world.publish(publisher, "t", b"0", QoS::AtMostOnce);
            assert_eq!(world.next_publish(subscriber).1, b"0", "{what}");
        }
        // There is room again.
        world.broker.storage_pressure(world.now, false);
        world.run();
        world.persist();
        let taken = VERSIONS.len() - 1;
        assert_eq!(
            world.drain(subscriber).len(),
            taken * 2,
            "who was not told waits"
        );
    }
}

/// What is refused for want of room on the disk costs nobody a place in a queue, whatever goes
/// first when that is full; and what the queue has kept is kept, also by the next process.
#[test]
fn on_a_full_disk_a_full_queue_stays_as_it_is() {
    for (queue_overflow, expected) in [
        (QueueOverflow::DropNewest, ["0", "1", "2"]),
        (QueueOverflow::DropOldest, ["2", "3", "4"]),
        (QueueOverflow::Disconnect, ["0", "1", "2"]),
    ] {
        for (version, crashes) in VERSIONS.into_iter().flat_map(|v| [(v, false), (v, true)]) {
            let what = format!("{queue_overflow:?} {version:?} {crashes}");
            let mut world = World::new(Config {
                durable: true,
                session: SessionConfig {
                    queue_messages_maximum: 3,
                    queue_overflow,
                    ..SessionConfig::default()
                },
                ..Config::default()
            });
            let (away, _) = persistent(&mut world, Version::V5, "away");
            world.subscribe(away, "t", QoS::AtLeastOnce);
            world.cut(away);
            let publisher = world.connect(version, "publisher");
            for number in 0..5 {
                let payload = number.to_string();
                world.publish(publisher, "t", payload.as_bytes(), QoS::AtLeastOnce);
                assert!(world.next(publisher).is_some(), "{what}");
            }
            world.broker.storage_pressure(world.now, true);
            world.run();
            world.publish(publisher, "t", b"5", QoS::AtLeastOnce);
            let answers = world.drain(publisher).len();
            assert_eq!(answers, usize::from(version == Version::V5), "{what}");
            if crashes {
                world.crash();
                world.broker.storage_pressure(world.now, true);
                world.run();
            }
            let (away, is_present) = persistent(&mut world, Version::V5, "away");
            assert!(is_present, "{what}");
            assert_eq!(world.take_all(away), expected, "{what}");
            world.broker.storage_pressure(world.now, false);
            world.run();
            // Who was told, or is gone, has to send it again.
            let waited = version != Version::V5 && !crashes;
            let late = world.take_all(away);
            assert_eq!(late, ["5"][..usize::from(waited)], "{what}");
        }
    }
}

/// What would have to be kept is refused; who makes room is let in.
#[test]
fn on_a_full_disk_nobody_brings_a_new_session_or_will() {
    for version in VERSIONS {
        let mut world = durable();
        world.resume(version, "known");
        world.broker.storage_pressure(world.now, true);
        let with_will = Connect {
            will: Some(will("will", b"x")),
            ..connect(version, "with a will")
        };
        let known_with_will = Connect {
            will: Some(will("will", b"x")),
            ..lasting(version, "known")
        };
        for (packet, is_let_in) in [
            (lasting(version, "new"), false),
            (with_will, false),
            (connect(version, "passes by"), true),
            (lasting(version, "known"), true),
            (known_with_will, true),
            (connect(version, "known"), true),
        ] {
            let connection = world.open_with(&packet);
            let reason = world.hear(connection).conn_ack().reason;
            let refusal = match version {
                Version::V5 => ReasonCode::QUOTA_EXCEEDED,
                Version::V3 | Version::V4 => ReasonCode::SERVER_UNAVAILABLE,
            };
            let expected = if is_let_in {
                ReasonCode::SUCCESS
            } else {
                refusal
            };
            assert_eq!(reason, expected, "{version:?} {packet:?}");
        }
    }
}

/// It has been kept since its client came.
#[test]
fn on_a_full_disk_a_will_is_retained() {
    let mut world = durable();
    let packet = Connect {
        will: Some(Will {
            retain: true,
            qos: QoS::AtLeastOnce,
            ..will("status", b"offline")
        }),
        ..connect(Version::V5, "client")
    };
    let (client, _) = world.enter(&packet);
    world.publish(client, "status", b"online", QoS::AtMostOnce);
    world.broker.storage_pressure(world.now, true);
    world.cut(client);
    let other = world.connect(Version::V5, "other");
    world.subscribe(other, "status", QoS::AtMostOnce);
    assert_eq!(world.payloads(other), ["offline"]);
}

/// [MQTT-3.1.0-1] Messages wait for room; one before CONNECT does not, and is not passed over.
#[test]
fn on_a_full_disk_connect_comes_first_as_well() {
    for version in VERSIONS {
        let mut world = durable();
        world.broker.storage_pressure(world.now, true);
        let client = world.open();
        let early = publish("t", b"x", QoS::AtLeastOnce, 1);
        world.send_bytes(client, &encoded(version, &Packet::Publish(early)));
        world.send_bytes(
            client,
            &encoded(version, &Packet::Connect(connect(version, "client"))),
        );
        assert!(world.is_closed(client), "{version:?}");
        assert!(world.drain(client).is_empty(), "{version:?}");
    }
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    whimbrel_core::codec::encode(packet, version, &mut bytes).expect("it can be said");
    bytes
}
