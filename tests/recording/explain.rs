//! Why a client got a message, or did not: each answer once.

use crate::durable;
use std::sync::Arc;
use whimbrel_core::access::rules::Rules;
use whimbrel_core::action::DropReason;
use whimbrel_core::codec::packet::{Connect, Publish, QoS, SubscribeOptions, Version};
use whimbrel_core::codec::property::{Property, PropertyBuffer};
use whimbrel_core::codec::{Packet, Properties, ReasonCode};
use whimbrel_core::config::SessionConfig;
use whimbrel_core::explain::Outcome;
use whimbrel_core::id::{PacketId, PeerId};
use whimbrel_core::{Config, ConnectionId};
use whimbrel_rules::Format;
use whimbrel_tests::World;
use whimbrel_tests::world::{connect, publish};

/// What became of a message to "t", as far as "client" is concerned.
fn asked(world: &mut World, publisher: ConnectionId, qos: QoS) -> Vec<Outcome> {
    world.broker.explain("", "client", "t");
    world.send(publisher, &Packet::Publish(publish("t", b"m", qos, 77)));
    world.send(publisher, &Packet::Publish(publish("other", b"m", qos, 78)));
    outcomes(world)
}

fn outcomes(world: &mut World) -> Vec<Outcome> {
    std::iter::from_fn(|| world.broker.poll_explanation())
        .map(|explanation| {
            assert_eq!(&*explanation.topic, "t");
            explanation.outcome
        })
        .collect()
}

#[test]
fn who_has_no_session_or_no_subscription_is_told_so() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    assert_eq!(
        asked(&mut world, publisher, QoS::AtMostOnce),
        [Outcome::NoSession]
    );
    let client = world.connect(Version::V5, "client");
    assert_eq!(
        asked(&mut world, publisher, QoS::AtMostOnce),
        [Outcome::NoSubscription]
    );
    world.subscribe(client, "other", QoS::AtMostOnce);
    assert_eq!(
        asked(&mut world, publisher, QoS::AtMostOnce),
        [Outcome::NoSubscription]
    );
}

/// Whoever takes a message in does not know who is at another shard, and says which one does.
#[test]
fn a_client_of_another_shard_is_for_that_shard_to_say() {
    let mut world = World::with_shards(Config::default(), 2);
    let names = (0..9).map(|number| world.connect(Version::V5, &format!("publisher-{number}")));
    let publishers: Vec<_> = names.collect();
    let said = [0, 1].map(|shard| {
        let mut there = publishers.iter().copied();
        let publisher = there.find(|publisher| world.shard_of(*publisher) == shard);
        let publisher = publisher.expect("one of nine is there");
        world.shard(shard).explain("", "client", "t");
        world.send(
            publisher,
            &Packet::Publish(publish("t", b"m", QoS::AtMostOnce, 0)),
        );
        let said = world.shard(shard).poll_explanation();
        said.map(|explanation| explanation.outcome)
    });
    let owner = said
        .iter()
        .position(|outcome| *outcome == Some(Outcome::NoSession));
    let owner = owner.expect("one of them has to know");
    let elsewhere = Outcome::AtShard(PeerId(owner as u16));
    assert_eq!(said[1 - owner], Some(elsewhere));
}

/// A member of a group at another shard than the message came to: that one chooses. Another
/// subscriber beside it makes the message come there, where nobody says more than is known.
#[test]
fn groups_are_for_the_shard_that_chooses_to_say() {
    let mut world = World::with_shards(Config::default(), 2);
    let names = (0..9).map(|number| world.connect(Version::V5, &format!("publisher-{number}")));
    let publishers: Vec<_> = names.collect();
    let client = world.connect(Version::V5, "client");
    let here = world.shard_of(client);
    world.subscribe(client, "$share/g/t", QoS::AtMostOnce);
    let mut of = |shard| {
        let mut there = publishers.iter().copied();
        let publisher = there.find(|publisher| world.shard_of(*publisher) == shard);
        publisher.expect("one of nine is there")
    };
    let (beside, colleague) = (of(here), of(1 - here));
    world.subscribe(beside, "t", QoS::AtMostOnce);
    world.subscribe(colleague, "$share/g/t", QoS::AtMostOnce);
    world.shard(here).explain("", "client", "t");
    for _ in 0..4 {
        let message = publish("t", b"m", QoS::AtMostOnce, 0);
        world.send(colleague, &Packet::Publish(message));
    }
    let said = std::iter::from_fn(|| world.shard(here).poll_explanation());
    let said: Vec<_> = said.map(|explanation| explanation.outcome).collect();
    let sent = Outcome::Sent {
        qos: QoS::AtMostOnce,
        packet_id: None,
    };
    assert!(said.iter().all(|outcome| *outcome == sent), "{said:?}");
    assert!((1..4).contains(&said.len()), "each gets some: {said:?}");
    // Where nothing was said, it may be asked.
    let silence = world.shard(here).explain_silence("", "client", "t");
    assert_eq!(silence, Some(Outcome::OtherMember { client_id: None }));
}

/// More than can be kept in one step is counted.
#[test]
fn answers_that_find_no_room_are_counted() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    world.broker.explain("", "client", "t");
    for _ in 0..5_000 {
        world.send(
            publisher,
            &Packet::Publish(publish("t", b"m", QoS::AtMostOnce, 0)),
        );
    }
    assert_eq!(outcomes(&mut world).len(), 4_096);
    assert_eq!(world.broker.explanations_lost(), 904);
}

#[test]
fn what_is_sent_at_once_is_sent() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect(Version::V5, "client");
    world.subscribe(client, "t", QoS::AtLeastOnce);
    let sent = |qos, packet_id| Outcome::Sent { qos, packet_id };
    assert_eq!(
        asked(&mut world, publisher, QoS::AtMostOnce),
        [sent(QoS::AtMostOnce, None)]
    );
    assert_eq!(
        asked(&mut world, publisher, QoS::ExactlyOnce),
        [sent(QoS::AtLeastOnce, PacketId::new(1))]
    );
}

#[test]
fn who_does_not_want_its_own_messages_does_not_get_them() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    let options = SubscribeOptions {
        no_local: true,
        ..SubscribeOptions::default()
    };
    world.subscribe_with(client, "t", options, Properties::EMPTY);
    assert_eq!(
        asked(&mut world, client, QoS::AtMostOnce),
        [Outcome::NoLocal]
    );
}

/// What a new subscription brings, and what it does not.
#[test]
fn a_retained_message_that_a_subscription_does_not_bring_is_explained() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    let other = world.connect(Version::V5, "other");
    for publisher in [client, other] {
        let packet = Publish {
            retain: true,
            ..publish("t", b"x", QoS::AtMostOnce, 0)
        };
        world.send(publisher, &Packet::Publish(packet));
        world.drain(client);
        world.broker.explain("", "client", "t");
        let options = SubscribeOptions {
            no_local: true,
            ..SubscribeOptions::default()
        };
        world.subscribe_with(client, "+", options, Properties::EMPTY);
        let outcome = match publisher == client {
            true => Outcome::NoLocal,
            false => Outcome::Sent {
                qos: QoS::AtMostOnce,
                packet_id: None,
            },
        };
        assert_eq!(outcomes(&mut world), [outcome]);
    }
}

#[test]
fn another_member_of_the_group_is_named() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    for client_id in ["client", "colleague"] {
        let member = world.connect(Version::V5, client_id);
        world.subscribe(member, "$share/g/t", QoS::AtMostOnce);
    }
    let mut seen = asked(&mut world, publisher, QoS::AtMostOnce);
    seen.extend(asked(&mut world, publisher, QoS::AtMostOnce));
    let other = Outcome::OtherMember {
        client_id: Some("colleague".into()),
    };
    assert_eq!(seen.len(), 2);
    assert!(seen.contains(&other), "{seen:?}");
}

#[test]
fn what_waits_for_who_is_away_is_queued_and_sent_later_or_has_expired() {
    let mut world = durable();
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.resume(Version::V5, "client");
    // One of several: each is looked at by itself.
    world.subscribe(client, "another", QoS::AtMostOnce);
    world.subscribe(client, "t", QoS::AtLeastOnce);
    world.cut(client);
    assert_eq!(
        asked(&mut world, publisher, QoS::AtMostOnce),
        [Outcome::AwayAtQoS0]
    );
    let away = Outcome::Queued {
        is_connected: false,
    };
    assert_eq!(asked(&mut world, publisher, QoS::AtLeastOnce), [away]);
    let mut properties = PropertyBuffer::new();
    properties.push(Property::MessageExpiryInterval(1));
    let message = Publish {
        properties: properties.as_properties(),
        ..publish("t", b"short", QoS::AtLeastOnce, 79)
    };
    world.send(publisher, &Packet::Publish(message));
    outcomes(&mut world);
    world.pass_ms(2_000);
    world.resume(Version::V5, "client");
    let sent = Outcome::Sent {
        qos: QoS::AtLeastOnce,
        packet_id: PacketId::new(1),
    };
    assert_eq!(
        outcomes(&mut world),
        [sent, Outcome::Dropped(DropReason::Expired)]
    );
}

#[test]
fn what_finds_no_room_is_dropped() {
    let mut world = World::new(Config {
        session: SessionConfig {
            queue_messages_maximum: 1,
            ..SessionConfig::default()
        },
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.resume(Version::V5, "client");
    world.subscribe(client, "t", QoS::AtLeastOnce);
    world.cut(client);
    asked(&mut world, publisher, QoS::AtLeastOnce);
    assert_eq!(
        asked(&mut world, publisher, QoS::AtLeastOnce),
        [Outcome::Dropped(DropReason::QueueFull)]
    );
}

#[test]
fn what_was_not_taken_in_says_why() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    world.connect(Version::V5, "client");
    world.broker.explain("", "client", "$SYS/#");
    let message = publish("$SYS/x", b"m", QoS::AtLeastOnce, 1);
    world.send(publisher, &Packet::Publish(message));
    let said = world.broker.poll_explanation().expect("it says why");
    assert_eq!(said.outcome, Outcome::Refused(ReasonCode::NOT_AUTHORIZED));
    assert_eq!(said.message, None);
}

#[test]
fn who_left_without_a_session_has_none() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.connect(Version::V5, "client");
    world.subscribe(client, "t", QoS::AtLeastOnce);
    world.cut(client);
    assert_eq!(
        asked(&mut world, publisher, QoS::AtLeastOnce),
        [Outcome::NoSession]
    );
}

#[test]
fn what_the_client_does_not_accept_is_too_large() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let mut properties = PropertyBuffer::new();
    properties.push(Property::MaximumPacketSize(20));
    let (client, _) = world.enter(&Connect {
        properties: properties.as_properties(),
        ..connect(Version::V5, "client")
    });
    world.subscribe(client, "t", QoS::AtLeastOnce);
    world.broker.explain("", "client", "t");
    let message = publish("t", &[b'm'; 20], QoS::AtLeastOnce, 1);
    world.send(publisher, &Packet::Publish(message));
    assert_eq!(
        outcomes(&mut world),
        [Outcome::Dropped(DropReason::TooLarge)]
    );
}

fn rules(text: &str) -> Option<Arc<Rules>> {
    let set = whimbrel_rules::parse(text, Format::Toml, &[]).expect("they are rules");
    Some(Arc::new(Rules::new(set)))
}

#[test]
fn what_the_client_may_not_receive_is_denied() {
    const ALL: &str = "[[rule]]\nallow = \"all\"\ntopics = \"#\"\n";
    const DENIED: &str = "wide_subscriptions = \"filter\"\n[[rule]]\ndeny = \"receive\"\n\
                          topics = \"t\"\n[[rule]]\nallow = \"all\"\ntopics = \"#\"\n";
    let mut world = World::default();
    let now = world.now;
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.resume(Version::V5, "client");
    world.subscribe(client, "#", QoS::AtLeastOnce);
    world.cut(client);
    let [queued] = &asked(&mut world, publisher, QoS::AtLeastOnce)[..] else {
        panic!("it waits")
    };
    assert!(matches!(queued, Outcome::Queued { .. }));
    world.broker.set_rules(now, rules(DENIED));
    world.run();
    let client = world.resume(Version::V5, "client");
    assert_eq!(
        outcomes(&mut world),
        [Outcome::Dropped(DropReason::NotAllowed)]
    );
    assert_eq!(
        asked(&mut world, publisher, QoS::AtLeastOnce),
        [Outcome::Denied]
    );
    world.broker.set_rules(now, rules(ALL));
    world.run();
    let [sent] = &asked(&mut world, publisher, QoS::AtMostOnce)[..] else {
        panic!("it is sent")
    };
    assert!(matches!(sent, Outcome::Sent { .. }));
    assert!(!world.is_closed(client));
}

/// What was sent and not acknowledged, and what still waited.
#[test]
fn what_another_connection_supersedes_says_so() {
    let mut world = World::new(Config {
        session: SessionConfig {
            inflight_maximum: 1,
            ..SessionConfig::default()
        },
        ..Config::default()
    });
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.resume(Version::V5, "client");
    world.subscribe(client, "t", QoS::AtLeastOnce);
    let sent = Outcome::Sent {
        qos: QoS::AtLeastOnce,
        packet_id: PacketId::new(1),
    };
    assert_eq!(asked(&mut world, publisher, QoS::AtLeastOnce), [sent]);
    let queued = Outcome::Queued { is_connected: true };
    assert_eq!(asked(&mut world, publisher, QoS::AtLeastOnce), [queued]);

    let over = |session_goes_on| Outcome::TakenOver { session_goes_on };
    let again = world.resume(Version::V5, "client");
    assert!(world.is_closed(client));
    assert_eq!(
        outcomes(&mut world),
        [over(true), over(true), Outcome::SentAgain]
    );

    world.connect(Version::V5, "client");
    assert!(world.is_closed(again));
    let dropped = Outcome::Dropped(DropReason::SessionEnded);
    assert_eq!(
        outcomes(&mut world),
        [over(false), over(false), dropped.clone(), dropped]
    );
}

/// Whether it only was sent, or has arrived.
#[test]
fn what_is_acknowledged_has_arrived_and_what_is_not_is_sent_again() {
    for (qos, kind) in [
        (QoS::AtLeastOnce, Packet::PubAck as fn(_) -> _),
        (QoS::ExactlyOnce, Packet::PubRec),
    ] {
        let mut world = World::default();
        let publisher = world.connect(Version::V5, "publisher");
        let client = world.resume(Version::V5, "client");
        world.subscribe(client, "t", qos);
        let packet_id = PacketId::new(1);
        let sent = Outcome::Sent { qos, packet_id };
        assert_eq!(asked(&mut world, publisher, qos), [sent]);
        world.cut(client);
        let client = world.resume(Version::V5, "client");
        assert_eq!(outcomes(&mut world), [Outcome::SentAgain]);
        world.answer(client, kind, 1, ReasonCode::SUCCESS);
        let acknowledged = Outcome::Acknowledged(ReasonCode::SUCCESS);
        assert_eq!(outcomes(&mut world), [acknowledged]);
        // Once: what comes behind it says nothing more of the message.
        world.answer(client, kind, 1, ReasonCode::SUCCESS);
        world.cut(client);
        world.resume(Version::V5, "client");
        assert_eq!(outcomes(&mut world), []);
    }
}

#[test]
fn what_a_session_of_a_group_leaves_is_passed_on() {
    let mut world = World::default();
    let publisher = world.connect(Version::V5, "publisher");
    let client = world.resume(Version::V5, "client");
    world.subscribe(client, "$share/g/t", QoS::AtLeastOnce);
    asked(&mut world, publisher, QoS::AtLeastOnce);
    let colleague = world.connect(Version::V5, "colleague");
    world.subscribe(colleague, "$share/g/t", QoS::AtLeastOnce);
    world.cut(client);
    world.connect(Version::V5, "client");
    assert_eq!(outcomes(&mut world), [Outcome::PassedOn]);
    assert_eq!(world.next_publish(colleague).1, b"m");
}
