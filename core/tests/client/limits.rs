//! What the server announces is kept to.

use crate::talk::Talk;
use whimbrel_core::client::{Config, Misuse, PublishRequest, SubscribeRequest};
use whimbrel_core::codec::packet::{QoS, SubscribeOptions, Version};
use whimbrel_core::codec::{Properties, Property, PropertyBuffer};

/// A connection to a server with these CONNACK properties.
fn server(properties: &[Property<'_>], config: Config) -> Talk {
    let mut buffer = PropertyBuffer::new();
    properties
        .iter()
        .for_each(|property| assert!(buffer.push(*property)));
    let properties = buffer.as_properties().as_bytes();
    let len = u8::try_from(properties.len()).unwrap();
    let mut talk = Talk::new(config);
    talk.reconnect(&[&[0x20, len + 3, 0, 0, len], properties].concat());
    talk
}

fn refusal(properties: &[Property<'_>], request: &PublishRequest<'_>) -> Misuse {
    let mut talk = server(properties, Config::default());
    let refusal = talk.client.publish(talk.now, request).unwrap_err();
    assert_eq!(talk.sent(), b"");
    assert_eq!(talk.client.unacknowledged_count(), 0);
    refusal
}

const PLAIN: PublishRequest<'static> = PublishRequest {
    topic: "t",
    payload: b"0123456789",
    qos: QoS::AtMostOnce,
    retain: false,
    properties: Properties::EMPTY,
};

#[test]
fn messages_the_server_does_not_take_are_refused() {
    let qos_2 = PublishRequest {
        qos: QoS::ExactlyOnce,
        ..PLAIN
    };
    let maximum = Property::MaximumQoS(QoS::AtLeastOnce);
    assert_eq!(refusal(&[maximum], &qos_2), Misuse::QoSNotSupported);

    let retained = PublishRequest {
        retain: true,
        ..PLAIN
    };
    let unavailable = Property::RetainAvailable(false);
    assert_eq!(
        refusal(&[unavailable], &retained),
        Misuse::RetainNotSupported
    );

    let maximum = Property::MaximumPacketSize(15);
    assert_eq!(refusal(&[maximum], &PLAIN), Misuse::PacketTooLarge);
    assert_eq!(refusal(&[maximum], &qos_2), Misuse::PacketTooLarge);
    let mut talk = server(&[Property::MaximumPacketSize(16)], Config::default());
    assert_eq!(talk.client.publish(talk.now, &PLAIN), Ok(None));
}

#[test]
fn messages_nobody_may_send_are_refused() {
    for topic in ["", "a/#", "+"] {
        let request = PublishRequest { topic, ..PLAIN };
        assert!(matches!(refusal(&[], &request), Misuse::TopicName(_)));
    }
    for property in [Property::TopicAlias(1), Property::SubscriptionIdentifier(1)] {
        let mut properties = PropertyBuffer::new();
        properties.push(property);
        let request = PublishRequest {
            properties: properties.as_properties(),
            ..PLAIN
        };
        assert_eq!(refusal(&[], &request), Misuse::Property);
    }
}

#[test]
fn subscriptions_the_server_does_not_take_are_refused() {
    let refusal = |property, filter, options| {
        let mut talk = server(&[property], Config::default());
        let request = SubscribeRequest {
            filters: &[(filter, options)],
            ..SubscribeRequest::default()
        };
        talk.client.subscribe(talk.now, &request).unwrap_err()
    };
    let plain = SubscribeOptions::default();
    let no_local = SubscribeOptions {
        no_local: true,
        ..plain
    };
    let wildcards = Property::WildcardSubscriptionAvailable(false);
    assert_eq!(
        refusal(wildcards, "a/#", plain),
        Misuse::WildcardNotSupported
    );
    let shared = Property::SharedSubscriptionAvailable(false);
    assert_eq!(
        refusal(shared, "$share/g/a", plain),
        Misuse::SharedNotSupported
    );
    assert_eq!(
        refusal(wildcards, "$share/g/a", no_local),
        Misuse::NoLocalOnShared
    );
    assert!(matches!(
        refusal(wildcards, "a/#/b", plain),
        Misuse::TopicFilter(_)
    ));

    let mut talk = Talk::connected(Config {
        version: Version::V4,
        ..Config::default()
    });
    let request = SubscribeRequest {
        filters: &[("a", no_local)],
        ..SubscribeRequest::default()
    };
    assert!(talk.client.subscribe(talk.now, &request).is_err());
}

#[test]
fn the_first_topics_get_aliases() {
    let config = Config {
        topic_aliases: 5,
        ..Config::default()
    };
    let mut talk = server(&[Property::TopicAliasMaximum(1)], config);
    talk.publish(QoS::AtMostOnce, "t");
    assert_eq!(talk.sent(), b"\x30\x08\0\x01t\x03\x23\0\x01x");
    talk.publish(QoS::AtLeastOnce, "t");
    assert_eq!(talk.sent(), b"\x32\x09\0\0\0\x01\x03\x23\0\x01x");
    talk.publish(QoS::AtMostOnce, "u");
    assert_eq!(talk.sent(), b"\x30\x05\0\x01u\0x");
}

#[test]
fn a_message_sent_by_its_alias_is_resent_by_its_name() {
    let config = Config {
        topic_aliases: 5,
        clean_start: false,
        session_expiry_s: 9,
        ..Config::default()
    };
    let mut talk = server(&[Property::TopicAliasMaximum(1)], config);
    talk.publish(QoS::AtMostOnce, "t");
    talk.publish(QoS::AtLeastOnce, "t");
    talk.lose();
    talk.reconnect(&[0x20, 3, 1, 0, 0]);
    assert_eq!(talk.sent(), b"\x3A\x07\0\x01t\0\x01\0x");
}

#[test]
fn no_more_waits_for_transmit_than_configured() {
    let mut talk = Talk::connected(Config {
        unsent_bytes_max: 20,
        ..Config::default()
    });
    talk.client.publish(talk.now, &PLAIN).unwrap();
    talk.client.publish(talk.now, &PLAIN).unwrap();
    assert_eq!(
        talk.client.publish(talk.now, &PLAIN),
        Err(Misuse::BufferFull)
    );
    talk.sent();
    talk.client.publish(talk.now, &PLAIN).unwrap();
}
