//! Several shards are one broker: what a client sees does not depend on where it is.

mod backpressure;
mod bundles;
mod expiry;
mod groups;
mod retained;

use whimbrel_core::action::CloseReason;
use whimbrel_core::codec::packet::{Connect, PacketType, Publish, QoS, Version, Will};
use whimbrel_core::codec::{Packet, Properties, ReasonCode, SubscribeBuffer};
use whimbrel_core::id::PacketId;
use whimbrel_core::{Config, ConnectionId, Event};
use whimbrel_tests::world::{World, connect, lasting, publish};

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn durable() -> Config {
    Config {
        durable: true,
        ..Config::default()
    }
}

/// A client on this shard whose session lasts; with its name, which begins with `prefix`.
fn client_on(world: &mut World, shard: usize, prefix: &str) -> (ConnectionId, String) {
    for number in 0.. {
        let name = format!("{prefix}{number}");
        let connection = world.resume(Version::V5, &name);
        if world.shard_of(connection) == shard {
            return (connection, name);
        }
        world.cut(connection);
    }
    unreachable!("names are spread over the shards")
}

fn subscribe_to(filter: &str) -> (SubscribeBuffer, PacketId) {
    let mut filters = SubscribeBuffer::new();
    let options = whimbrel_core::codec::packet::SubscribeOptions {
        maximum_qos: QoS::ExactlyOnce,
        ..Default::default()
    };
    filters.push(filter, options);
    (filters, PacketId::new(0x5b5b).expect("not zero"))
}

fn send_subscribe(world: &mut World, connection: ConnectionId, filter: &str) {
    let (filters, packet_id) = subscribe_to(filter);
    let packet = whimbrel_core::codec::packet::Subscribe {
        packet_id,
        properties: Properties::EMPTY,
        filters: filters.as_filters(Version::V5),
    };
    world.send(connection, &Packet::Subscribe(packet));
}

fn send_unsubscribe(world: &mut World, connection: ConnectionId, filter: &str) {
    let length = u8::try_from(filter.len()).expect("a short one");
    let mut packet = vec![0xa2, 5 + length, 0, 1, 0, 0, length];
    packet.extend_from_slice(filter.as_bytes());
    world.send_bytes(connection, &packet);
}

#[test]
fn a_session_is_where_its_client_identifier_says_wherever_it_was_accepted() {
    let mut world = World::with_shards(Config::default(), 3);
    let mut on = [0; 3];
    for number in 0..60 {
        let connection = world.connect(Version::V5, &format!("client-{number}"));
        on[world.shard_of(connection)] += 1;
    }
    assert!(on.iter().all(|count| *count > 5), "spread: {on:?}");
    let says = world.statistics();
    assert_eq!(
        (
            says.connections_accepted,
            says.connections_open,
            says.clients_connected,
            says.sessions
        ),
        (60, 60, 60, 60),
        "nobody is counted twice"
    );
    let refused = world
        .events
        .iter()
        .any(|event| matches!(event, Event::Refused { .. }));
    assert!(!refused, "moving is not an event");
}

/// Whatever came behind CONNECT, in the same bytes or later ones, goes along.
#[test]
fn bytes_behind_connect_go_along_however_they_are_cut() {
    let mut bytes = Vec::new();
    let (filters, packet_id) = subscribe_to("t");
    let packets = [
        Packet::Connect(lasting(Version::V5, "eager-1")),
        Packet::Subscribe(whimbrel_core::codec::packet::Subscribe {
            packet_id,
            properties: Properties::EMPTY,
            filters: filters.as_filters(Version::V5),
        }),
        Packet::Publish(publish("t", b"mine", QoS::AtMostOnce, 1)),
    ];
    for packet in &packets {
        whimbrel_core::codec::encode(packet, Version::V5, &mut bytes).expect("it can be said");
    }
    for cut in 0..bytes.len() {
        let mut world = World::with_shards(Config::default(), 7);
        let connection = world.open();
        world.set_version(connection, Version::V5);
        // Before the runtime carries anything out.
        world.broker.receive(world.now, connection, &bytes[..cut]);
        world.broker.receive(world.now, connection, &bytes[cut..]);
        world.run();
        assert_ne!(world.shard_of(connection), 0, "it moves");
        let came = world.drain(connection);
        assert_eq!(
            came.len(),
            3,
            "cut at {cut}: CONNACK, SUBACK and the message: {came:?}"
        );
        assert_eq!(world.statistics().received_bytes, bytes.len() as u64);
    }
}

#[test]
fn an_assigned_identifier_belongs_where_it_was_assigned() {
    let mut world = World::with_shards(Config::default(), 5);
    for _ in 0..20 {
        let connection = world.connect(Version::V5, "");
        assert_eq!(world.shard_of(connection), 0);
    }
    assert_eq!(world.statistics().sessions, 20);
}

#[test]
fn a_takeover_finds_the_session_by_whichever_way_it_comes() {
    let mut world = World::with_shards(Config::default(), 3);
    let (first, name) = client_on(&mut world, 2, "client");
    let (second, present) = world.enter(&lasting(Version::V5, &name));
    assert!(present);
    assert_eq!(world.farewell(first), Some(ReasonCode::SESSION_TAKEN_OVER));
    assert_eq!(world.shard_of(second), 2);
}

#[test]
fn messages_pass_between_all_pairs_of_shards_in_order_and_once() {
    let mut world = World::with_shards(durable(), 3);
    for from in 0..3 {
        for to in 0..3 {
            for qos in QOS {
                let (publisher, _) = client_on(&mut world, from, "publisher");
                let (subscriber, _) = client_on(&mut world, to, "subscriber");
                world.subscribe(subscriber, "t/+", QoS::ExactlyOnce);
                for number in 0..50 {
                    let topic = format!("t/{}", number % 3);
                    let payload = number.to_string();
                    let packet = publish(&topic, payload.as_bytes(), qos, number + 1);
                    world.send(publisher, &Packet::Publish(packet));
                }
                let payloads = world.take_all(subscriber);
                let sent: Vec<String> = (0..50).map(|number| number.to_string()).collect();
                assert_eq!(payloads, sent, "{qos:?} from {from} to {to}");
                world.drain(publisher);
                world.disconnect(subscriber, ReasonCode::SUCCESS);
                world.disconnect(publisher, ReasonCode::SUCCESS);
                world.crash(); // Everybody begins anew.
                world.log.clear();
                world = World::with_shards(durable(), 3);
            }
        }
    }
}

/// SUBACK means: whatever is published from now on, anywhere, is for it.
#[test]
fn suback_waits_until_all_shards_know() {
    let mut world = World::with_shards(Config::default(), 3);
    let (subscriber, _) = client_on(&mut world, 1, "subscriber");
    let (publisher, _) = client_on(&mut world, 2, "publisher");
    world.letters_wait = true;
    send_subscribe(&mut world, subscriber, "t");
    world.hears_nothing(subscriber);
    while world.deliver_one(1, 0) {}
    world.run();
    while world.deliver_one(0, 1) {}
    world.run();
    world.hears_nothing(subscriber);
    while world.deliver_one(1, 2) {}
    world.run();
    world.hears_nothing(subscriber);
    while world.deliver_one(2, 1) {}
    world.run();
    let answer = world.hear(subscriber);
    assert!(matches!(answer.packet(), Packet::SubAck(_)), "{answer:?}");
    world.publish(publisher, "t", b"x", QoS::AtMostOnce);
    while world.deliver_one(2, 1) {}
    world.run();
    assert_eq!(world.payloads(subscriber), ["x"]);
}

/// Also the second to subscribe to something waits until the first is known.
#[test]
fn suback_waits_for_what_others_wait_for() {
    let mut world = World::with_shards(Config::default(), 2);
    let (first, _) = client_on(&mut world, 1, "first");
    let (second, _) = client_on(&mut world, 1, "second");
    world.letters_wait = true;
    send_subscribe(&mut world, first, "t");
    send_subscribe(&mut world, second, "t");
    world.hears_nothing(second);
    world.letters_wait = false;
    world.run();
    assert_eq!(world.drain(second).len(), 1);
}

/// [MQTT-4.3.2-4] PUBACK means that the message is kept, wherever its subscribers are.
#[test]
fn puback_waits_for_the_records_of_other_shards() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut world = World::with_shards(durable(), 2);
        let (subscriber, name) = client_on(&mut world, 1, "subscriber");
        world.subscribe(subscriber, "t", QoS::ExactlyOnce);
        world.cut(subscriber);
        let (publisher, _) = client_on(&mut world, 0, "publisher");
        world.persists_at_once = false;
        world.publish(publisher, "t", b"x", qos);
        world.hears_nothing(publisher);
        // The log has what the publisher's shard wrote, and not what the other one did.
        let (mine, others): (Vec<_>, Vec<_>) = core::mem::take(&mut world.unpersisted)
            .into_iter()
            .partition(|batch| batch.shard == 0);
        assert_eq!(others.len(), 1, "the delivery is recorded there");
        for batch in mine {
            world.broker.persisted(world.now, batch.position);
        }
        world.run();
        world.hears_nothing(publisher);
        world.unpersisted = others;
        world.persist();
        let kind = world.hear(publisher).ack().0;
        assert!(matches!(kind, PacketType::PubAck | PacketType::PubRec));
        world.crash();
        let subscriber = world.resume(Version::V5, &name);
        world.persist();
        assert_eq!(world.take_all(subscriber), ["x"]);
    }
}

/// Whoever wanted a message and does not any more could want it again after a crash, and have
/// missed it: it is acknowledged when that is durable on the shard where it was said.
#[test]
fn puback_waits_until_it_is_durable_elsewhere_that_nobody_wants_it() {
    for (qos, filter, ends) in [
        (QoS::AtLeastOnce, "t", false),
        (QoS::ExactlyOnce, "t", true),
        (QoS::AtLeastOnce, "$share/g/t", false),
        (QoS::ExactlyOnce, "$share/g/t", true),
    ] {
        let mut world = World::with_shards(durable(), 3);
        let (subscriber, name) = client_on(&mut world, 1, "subscriber");
        world.subscribe(subscriber, filter, QoS::ExactlyOnce);
        let (publisher, _) = client_on(&mut world, 0, "publisher");
        world.persists_at_once = false;
        match ends {
            true => {
                let connect = connect(Version::V5, &name);
                world.open_with(&connect);
            }
            false => send_unsubscribe(&mut world, subscriber, filter),
        }
        world.publish(publisher, "t", b"x", qos);
        world.hears_nothing(publisher);
        // What the publisher's shard has to write does not help.
        while world.unpersisted.iter().any(|batch| batch.shard == 0) {
            world.persist_one(false);
        }
        world.hears_nothing(publisher);
        world.persist();
        let kind = world.hear(publisher).ack().0;
        assert!(matches!(kind, PacketType::PubAck | PacketType::PubRec));
        // And in steady traffic nothing waits.
        world.publish(publisher, "t", b"y", QoS::AtLeastOnce);
        assert_eq!(world.hear(publisher).ack().0, PacketType::PubAck);
    }
}

/// The same of a message that was on its way when its subscriber ended: what that one leaves to the
/// others of its group is settled first, and until then it could come back.
#[test]
fn puback_waits_for_the_end_of_who_leaves_something_to_others() {
    let mut world = World::with_shards(durable(), 3);
    let (heir, _) = client_on(&mut world, 2, "heir");
    let (publisher, _) = client_on(&mut world, 0, "publisher");
    let (ends, name) = client_on(&mut world, 1, "ends");
    for filter in ["t", "$share/g/x"] {
        world.subscribe(ends, filter, QoS::ExactlyOnce);
    }
    world.cut(ends);
    world.publish(publisher, "x", b"left", QoS::AtLeastOnce);
    world.hear(publisher).ack();
    world.subscribe(heir, "$share/g/x", QoS::ExactlyOnce);
    world.persists_at_once = false;
    world.letters_wait = true;
    world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
    world.open_with(&connect(Version::V5, &name));
    while world.deliver_one(0, 1) || world.deliver_one(1, 0) {
        world.run();
    }
    // The shard of the heir has not even heard of what it gets.
    while world.persist_one(false) {
        while world.deliver_one(0, 1) || world.deliver_one(1, 0) {
            world.run();
        }
    }
    world.hears_nothing(publisher);
    world.letters_wait = false;
    world.run();
    world.persist();
    assert_eq!(world.hear(publisher).ack().0, PacketType::PubAck);
    assert_eq!(world.take_all(heir), ["left"]);
}

/// [MQTT-4.8.2-4] Every message goes to one member, wherever members are, and all get as many.
#[test]
fn a_shared_subscription_has_members_on_all_shards() {
    let mut world = World::with_shards(Config::default(), 3);
    let places = [0, 1, 1, 2, 2, 2];
    let members: Vec<ConnectionId> = places
        .iter()
        .zip(0..)
        .map(|(shard, number)| client_on(&mut world, *shard, &format!("member{number}-")).0)
        .collect();
    for member in &members {
        world.subscribe(*member, "$share/g/t", QoS::AtLeastOnce);
    }
    for shard in 0..3 {
        let (publisher, _) = client_on(&mut world, shard, "publisher");
        for _ in 0..120 {
            world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
        }
    }
    let counts: Vec<usize> = members
        .iter()
        .map(|one| world.take_all(*one).len())
        .collect();
    assert_eq!(counts, [60; 6]);
}

/// Members that are away get nothing while others are there, on whichever shard.
#[test]
fn members_that_are_there_come_before_members_that_are_away() {
    let mut world = World::with_shards(Config::default(), 2);
    let (here, _) = client_on(&mut world, 0, "here");
    let (there, name) = client_on(&mut world, 1, "there");
    let (publisher, _) = client_on(&mut world, 0, "publisher");
    for member in [here, there] {
        world.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
    }
    world.cut(there);
    for _ in 0..10 {
        world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
    }
    assert_eq!(world.take_all(here).len(), 10);
    world.cut(here);
    let there = world.resume(Version::V5, &name);
    assert_eq!(world.take_all(there).len(), 0);
    for _ in 0..10 {
        world.publish(publisher, "t", b"y", QoS::AtLeastOnce);
    }
    assert_eq!(world.take_all(there).len(), 10);
}

/// The last member there leaves while a message is on its way: it goes to somebody else, and is
/// acknowledged only then.
#[test]
fn a_shared_message_whose_members_are_gone_goes_to_others() {
    let mut world = World::with_shards(durable(), 3);
    let (leaving, _) = client_on(&mut world, 1, "leaving");
    let (staying, _) = client_on(&mut world, 2, "staying");
    let (publisher, _) = client_on(&mut world, 0, "publisher");
    for member in [leaving, staying] {
        world.subscribe(member, "$share/g/t", QoS::AtLeastOnce);
    }
    world.letters_wait = true;
    for _ in 0..4 {
        world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
    }
    let packet = whimbrel_core::codec::packet::Disconnect {
        reason: ReasonCode::SUCCESS,
        properties: Properties::EMPTY,
    };
    let mut filters = whimbrel_core::codec::UnsubscribeBuffer::new();
    filters.push("$share/g/t");
    world.send(
        leaving,
        &Packet::Unsubscribe(whimbrel_core::codec::packet::Unsubscribe {
            packet_id: PacketId::FIRST,
            properties: Properties::EMPTY,
            filters: filters.as_filters(Version::V5),
        }),
    );
    world.send(leaving, &Packet::Disconnect(packet));
    world.persists_at_once = false;
    world.hears_nothing(publisher);
    world.letters_wait = false;
    world.run();
    world.hears_nothing(publisher);
    world.persist();
    assert_eq!(world.drain(publisher).len(), 4);
    assert_eq!(world.take_all(staying).len(), 4);
}

/// A different number of threads after a restart: everything is somewhere else, and still there.
#[test]
fn another_number_of_shards_after_a_restart_has_everything() {
    let mut world = World::with_shards(durable(), 2);
    let names: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    for name in &names {
        let subscriber = world.resume(Version::V5, name);
        world.subscribe(subscriber, "t", QoS::ExactlyOnce);
        world.cut(subscriber);
    }
    let mut expected: Vec<String> = Vec::new();
    for (round, shards) in [3, 1, 5, 2, 1, 2].into_iter().enumerate() {
        let publisher = world.connect(Version::V5, "publisher");
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let payload = format!("{round}-{qos:?}");
            world.publish(publisher, "t", payload.as_bytes(), qos);
            expected.push(payload);
        }
        let retained = format!("{round}");
        retained::publish_retained(&mut world, publisher, retained.as_bytes());
        world.crash_into(shards);
        let late = world.connect(Version::V5, "late");
        world.subscribe(late, "r", QoS::AtMostOnce);
        assert_eq!(world.payloads(late), [retained]);
        assert_eq!(world.statistics().sessions, names.len() as u64 + 1);
        // One of them has read it all, and gets nothing of it again.
        let reader = world.resume(Version::V5, &names[round]);
        assert_eq!(
            sorted(world.take_all(reader)),
            sorted(expected.clone()),
            "{shards} shards"
        );
        let again = world.resume(Version::V5, &names[round]);
        world.hears_nothing(again);
        world.cut(again);
    }
    for name in &names[6..] {
        let reader = world.resume(Version::V5, name);
        assert_eq!(
            sorted(world.take_all(reader)),
            sorted(expected.clone()),
            "{name}"
        );
    }
}

/// Messages of different QoS may overtake each other.
fn sorted(mut payloads: Vec<String>) -> Vec<String> {
    payloads.sort();
    payloads
}

/// A shard that does not take letters in stops the publishers that send there, and nobody else.
#[test]
fn publishers_wait_for_a_shard_that_does_not_keep_up() {
    let mut world = World::with_shards(Config::default(), 2);
    let (subscriber, _) = client_on(&mut world, 1, "subscriber");
    let (far, _) = client_on(&mut world, 0, "far");
    let (near, _) = client_on(&mut world, 0, "near");
    world.subscribe(subscriber, "far", QoS::AtMostOnce);
    world.subscribe(near, "near", QoS::AtMostOnce);
    world.letters_wait = true;
    let mut sent = 0;
    while !world.is_paused(far) {
        world.publish(far, "far", &[0; 1_000], QoS::AtMostOnce);
        sent += 1;
        assert!(sent < 10_000, "it is stopped some time");
    }
    for _ in 0..10_000 {
        world.publish(near, "near", &[0; 10], QoS::AtMostOnce);
        world.drain(near);
    }
    assert!(!world.is_paused(near));
    world.letters_wait = false;
    world.run();
    assert!(!world.is_paused(far));
    assert_eq!(world.payloads(subscriber).len(), sent);
}

/// Two shards that have filled each other's way do not wait for each other.
#[test]
fn two_shards_that_route_to_each_other_do_not_stand_still() {
    let mut world = World::with_shards(Config::default(), 2);
    let clients = [0, 1].map(|shard| client_on(&mut world, shard, &format!("on{shard}-")).0);
    for (client, topic) in clients.into_iter().zip(["0", "1"]) {
        world.subscribe(client, topic, QoS::AtLeastOnce);
    }
    world.letters_wait = true;
    for (client, topic) in clients.into_iter().zip(["1", "0"]) {
        for id in 1..=700 {
            let packet = publish(topic, &[0; 2_000], QoS::AtLeastOnce, id);
            world.send(client, &Packet::Publish(packet));
        }
        assert!(world.is_paused(client));
    }
    world.letters_wait = false;
    world.run();
    for client in clients {
        let came = world.drain(client);
        let acks = came
            .iter()
            .filter(|one| matches!(one.packet(), Packet::PubAck(_)));
        assert_eq!((came.len(), acks.count()), (1_400, 700));
    }
}

#[test]
fn limits_hold_for_all_shards_together() {
    let mut config = Config::default();
    config.limits.connections_maximum = 8;
    let mut world = World::with_shards(config, 4);
    for number in 0..60 {
        world.open_with(&lasting(Version::V5, &format!("client{number}")));
    }
    let open = world.statistics().connections_open;
    assert!((4..=8).contains(&open), "{open}");
    let full = |event: &&Event| {
        matches!(
            event,
            Event::Refused {
                why: CloseReason::Limit(ReasonCode::SERVER_BUSY, "limits.connections_maximum"),
                ..
            }
        )
    };
    assert_eq!(world.events.iter().filter(full).count() as u64, 60 - open);
}

/// [MQTT-4.3.3-10] A crash leaves the records of some shards and not those of others. The client
/// sends again what was not acknowledged, and everybody gets it once.
#[test]
fn qos_2_is_exactly_once_whatever_part_of_it_a_crash_leaves() {
    for case in 0..2 * 2 * 2 * 3 {
        let (survives, shards) = (
            [case & 1, case >> 1 & 1, case >> 2 & 1],
            [1, 3, 4][case / 8],
        );
        let mut world = World::with_shards(durable(), 3);
        let (publisher, name) = client_on(&mut world, 0, "publisher");
        let mut names = Vec::new();
        for shard in 0..3 {
            for number in 0..3 {
                let (subscriber, name) = client_on(&mut world, shard, &format!("s{number}-"));
                world.subscribe(subscriber, "t", QoS::ExactlyOnce);
                world.cut(subscriber);
                names.push(name);
            }
        }
        let mut members = Vec::new();
        for shard in 0..3 {
            let (member, name) = client_on(&mut world, shard, "member");
            world.subscribe(member, "$share/g/+", QoS::ExactlyOnce);
            world.cut(member);
            members.push(name);
        }
        world.persists_at_once = false;
        let packet = publish("t", b"x", QoS::ExactlyOnce, 9);
        world.send(publisher, &Packet::Publish(packet));
        world.hears_nothing(publisher);
        for batch in core::mem::take(&mut world.unpersisted) {
            if survives[batch.shard] == 1 {
                world.log.push(batch.operations);
            }
        }
        world.persists_at_once = true;
        world.crash_into(shards);
        let publisher = world.resume(Version::V5, &name);
        world.send(
            publisher,
            &Packet::Publish(Publish {
                dup: true,
                ..packet
            }),
        );
        assert_eq!(world.hear(publisher).ack().0, PacketType::PubRec, "{case}");
        // Once more, to be sure.
        world.send(
            publisher,
            &Packet::Publish(Publish {
                dup: true,
                ..packet
            }),
        );
        assert_eq!(world.hear(publisher).ack().0, PacketType::PubRec);
        world.answer(publisher, Packet::PubRel, 9, ReasonCode::SUCCESS);
        assert_eq!(
            world.hear(publisher).ack(),
            (PacketType::PubComp, 9, ReasonCode::SUCCESS)
        );
        // The identifier is free: the same again is another message.
        world.send(publisher, &Packet::Publish(packet));
        assert_eq!(world.hear(publisher).ack().0, PacketType::PubRec);
        for name in names {
            let subscriber = world.resume(Version::V5, &name);
            assert_eq!(
                world.take_all(subscriber),
                ["x", "x"],
                "{name}, case {case}"
            );
        }
        let shared = members.iter().map(|name| {
            let member = world.resume(Version::V5, name);
            world.take_all(member).len()
        });
        assert_eq!(shared.sum::<usize>(), 2, "case {case}");
    }
}

/// [MQTT-4.3.3-12] The client has released its message; a crash leaves the end of the exchange with
/// some shards. The identifier is free everywhere all the same.
#[test]
fn a_released_identifier_is_free_on_all_shards_whatever_a_crash_leaves() {
    for case in 0..2 * 2 * 2 * 3 {
        let (survives, shards) = (
            [case & 1, case >> 1 & 1, case >> 2 & 1],
            [1, 3, 4][case / 8],
        );
        let mut world = World::with_shards(durable(), 3);
        let (publisher, name) = client_on(&mut world, 0, "publisher");
        let mut names = Vec::new();
        for shard in 0..3 {
            let (subscriber, name) = client_on(&mut world, shard, "s");
            world.subscribe(subscriber, "t", QoS::ExactlyOnce);
            world.cut(subscriber);
            names.push(name);
        }
        let send = |world: &mut World, publisher, payload| {
            let message = publish("t", payload, QoS::ExactlyOnce, 9);
            world.send(publisher, &Packet::Publish(message));
            assert_eq!(world.hear(publisher).ack().0, PacketType::PubRec);
        };
        send(&mut world, publisher, b"x");
        world.persists_at_once = false;
        world.answer(publisher, Packet::PubRel, 9, ReasonCode::SUCCESS);
        world.hears_nothing(publisher);
        for batch in core::mem::take(&mut world.unpersisted) {
            if survives[batch.shard] == 1 {
                world.log.push(batch.operations);
            }
        }
        world.persists_at_once = true;
        world.crash_into(shards);
        let publisher = world.resume(Version::V5, &name);
        world.answer(publisher, Packet::PubRel, 9, ReasonCode::SUCCESS);
        assert_eq!(world.hear(publisher).ack().0, PacketType::PubComp);
        send(&mut world, publisher, b"y");
        for name in names {
            let subscriber = world.resume(Version::V5, &name);
            assert_eq!(
                world.take_all(subscriber),
                ["x", "y"],
                "{name}, case {case}"
            );
        }
    }
}

/// Crashes after each batch that anybody writes, in two orders of the shards, into another number
/// of shards, and once more after the first batch of the next life.
fn wherever_it_crashes(mut story: impl FnMut(&mut dyn FnMut(&mut World), &str)) {
    for (of_the_last, shards, batches) in (0..2 * 3 * 14).map(|case| {
        let shards = [1, 3, 4][case / 2 % 3];
        (case % 2 == 1, shards, case / 6)
    }) {
        let mut crash = |world: &mut World| {
            for _ in 0..batches {
                world.persist_one(of_the_last);
            }
            world.crash_into(shards);
            world.persist_one(of_the_last);
            world.crash_into(shards);
            world.persists_at_once = true;
            world.persist();
        };
        let name = format!("{batches} batches, the last shard first: {of_the_last}, then {shards}");
        story(&mut crash, &name);
    }
}

/// A will goes to all shards, and a crash leaves the records of some. Everybody gets it once.
#[test]
fn a_will_comes_once_whatever_part_of_it_a_crash_leaves() {
    for (persistent, retain) in [(false, false), (true, false), (true, true)] {
        wherever_it_crashes(|crash, case| {
            let mut world = World::with_shards(durable(), 3);
            let mut names = Vec::new();
            let mut members = Vec::new();
            for shard in 0..3 {
                let (subscriber, name) = client_on(&mut world, shard, "s");
                world.subscribe(subscriber, "will", QoS::ExactlyOnce);
                world.cut(subscriber);
                names.push(name);
                let (member, name) = client_on(&mut world, shard, "member");
                world.subscribe(member, "$share/g/+", QoS::ExactlyOnce);
                world.cut(member);
                members.push(name);
            }
            let (mortal, name) = client_on(&mut world, 0, "mortal");
            world.cut(mortal);
            let lasts = lasting(Version::V5, &name);
            let mortal = world.open_with(&Connect {
                clean_start: !persistent,
                will: Some(Will {
                    topic: "will",
                    payload: b"gone",
                    qos: QoS::ExactlyOnce,
                    retain,
                    properties: Properties::EMPTY,
                }),
                ..match persistent {
                    true => lasts,
                    false => connect(Version::V5, &name),
                }
            });
            assert!(world.next(mortal).is_some());
            world.persists_at_once = false;
            world.cut(mortal);
            crash(&mut world);
            for subscriber in &names {
                let subscriber = world.resume(Version::V5, subscriber);
                assert_eq!(world.take_all(subscriber), ["gone"], "{case}, {persistent}");
            }
            let shared = members.iter().map(|name| {
                let member = world.resume(Version::V5, name);
                world.take_all(member).len()
            });
            assert_eq!(shared.sum::<usize>(), 1, "{case}, {persistent}");
            // The next one is another one.
            let mortal = world.open_with(&Connect {
                will: Some(Will {
                    topic: "will",
                    payload: b"again",
                    qos: QoS::ExactlyOnce,
                    retain: false,
                    properties: Properties::EMPTY,
                }),
                ..lasting(Version::V5, &name)
            });
            assert!(world.next(mortal).is_some());
            world.crash();
            let subscriber = world.resume(Version::V5, &names[1]);
            assert_eq!(
                world.take_all(subscriber),
                ["again"],
                "{case}, {persistent}"
            );
        });
    }
}

/// What waits for a member that ends its session goes to a member on another shard, and a crash
/// leaves the records of one of them.
#[test]
fn a_shared_message_that_moves_is_not_lost_by_a_crash() {
    wherever_it_crashes(|crash, case| {
        let mut world = World::with_shards(durable(), 3);
        let (leaving, leaver) = client_on(&mut world, 1, "leaving");
        let (publisher, _) = client_on(&mut world, 0, "publisher");
        world.subscribe(leaving, "$share/g/t", QoS::AtLeastOnce);
        world.cut(leaving);
        for payload in [b"1", b"2", b"3"] {
            world.publish(publisher, "t", payload, QoS::AtLeastOnce);
        }
        assert_eq!(world.drain(publisher).len(), 3);
        let (staying, stayer) = client_on(&mut world, 2, "staying");
        world.subscribe(staying, "$share/g/t", QoS::AtLeastOnce);
        world.cut(staying);
        world.persists_at_once = false;
        world.open_with(&Connect {
            clean_start: true,
            ..lasting(Version::V5, &leaver)
        });
        crash(&mut world);
        let mut got = Vec::new();
        for name in [&leaver, &stayer] {
            let member = world.resume(Version::V5, name);
            got.extend(world.take_all(member));
        }
        got.sort();
        got.dedup();
        assert_eq!(got, ["1", "2", "3"], "{case}");
    });
}

/// A client that was told that its session is gone does not find it again.
#[test]
fn a_session_whose_messages_moved_is_gone_when_its_client_hears_so() {
    for of_the_last in [false, true] {
        let mut world = World::with_shards(durable(), 3);
        let (leaving, leaver) = client_on(&mut world, 1, "leaving");
        let (publisher, _) = client_on(&mut world, 0, "publisher");
        world.subscribe(leaving, "$share/g/t", QoS::AtLeastOnce);
        world.cut(leaving);
        world.publish(publisher, "t", b"x", QoS::AtLeastOnce);
        let (staying, stayer) = client_on(&mut world, 2, "staying");
        world.subscribe(staying, "$share/g/t", QoS::AtLeastOnce);
        world.cut(staying);
        world.persists_at_once = false;
        let leaving = world.open_with(&connect(Version::V5, &leaver));
        while !world.has_more(leaving) {
            assert!(world.persist_one(of_the_last), "CONNACK comes in the end");
        }
        world.crash();
        world.persists_at_once = true;
        world.persist();
        let (_, present) = world.enter(&lasting(Version::V5, &leaver));
        assert!(!present);
        let staying = world.resume(Version::V5, &stayer);
        assert_eq!(world.take_all(staying), ["x"]);
    }
}
