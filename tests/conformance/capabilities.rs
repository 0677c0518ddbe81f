//! MQTT 5.0 §3.2.2.3: what a broker may be configured not to do, announced and enforced.

use whimbrel_core::codec::Packet;
use whimbrel_core::codec::packet::{Connect, Publish, QoS, SubscribeOptions, Version};
use whimbrel_core::codec::property::Property;
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::config::{Config, Protocol};
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect, properties, publish, will};

fn configured(protocol: Protocol) -> World {
    World::new(Config {
        protocol,
        ..Config::default()
    })
}

#[test]
fn what_is_not_restricted_is_not_announced() {
    let mut world = World::default();
    let client = world.open_with(&Connect {
        keep_alive_s: 60,
        ..connect(Version::V5, "client")
    });
    let received = world.hear(client);
    let properties = received.conn_ack().properties;
    assert_eq!(properties.maximum_qos(), None);
    assert_eq!(properties.retain_available(), None);
    assert_eq!(properties.wildcard_subscription_available(), None);
    assert_eq!(properties.subscription_identifier_available(), None);
    assert_eq!(properties.shared_subscription_available(), None);
    assert_eq!(properties.server_keep_alive(), None);
    assert_eq!(properties.assigned_client_identifier(), None);
    assert_eq!(properties.session_expiry_interval(), None);
}

fn up_to(maximum_qos: QoS) -> World {
    configured(Protocol {
        maximum_qos,
        ..Protocol::default()
    })
}

/// [MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-11]
#[test]
fn a_broker_of_lower_qos_says_so_grants_what_it_has_and_refuses_more() {
    for maximum in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        for version in VERSIONS {
            let mut world = up_to(maximum);
            let client = world.open_with(&connect(version, "client"));
            let received = world.hear(client);
            if version == Version::V5 {
                let announced = received.conn_ack().properties.maximum_qos();
                assert_eq!(announced, Some(maximum));
            }
            let granted = world.subscribe(client, "t", QoS::ExactlyOnce);
            assert_eq!(granted, maximum as u8);
            world.publish(client, "t", b"x", maximum);
            assert!(!world.is_closed(client));
            world.drain(client);
            let message = Packet::Publish(publish("t", b"x", QoS::ExactlyOnce, 1));
            let told = (version == Version::V5).then_some(ReasonCode::QOS_NOT_SUPPORTED);
            assert_eq!(world.refused(client, &message), told);
        }
    }
}

/// [MQTT-3.2.2-12]
#[test]
fn a_will_above_the_maximum_qos_is_refused() {
    for version in VERSIONS {
        let mut world = up_to(QoS::AtLeastOnce);
        let mut last = will("w", b"gone");
        last.qos = QoS::ExactlyOnce;
        let client = world.open_with(&Connect {
            will: Some(last),
            ..connect(version, "client")
        });
        let told = (version == Version::V5).then_some(ReasonCode::QOS_NOT_SUPPORTED);
        assert_eq!(world.farewell(client), told);
    }
}

fn without_retain() -> World {
    configured(Protocol {
        retain_available: false,
        ..Protocol::default()
    })
}

/// [MQTT-3.2.2-13]
#[test]
fn a_retained_will_is_refused_where_nothing_is_retained() {
    for version in VERSIONS {
        let mut world = without_retain();
        let mut last = will("w", b"gone");
        last.retain = true;
        let client = world.open_with(&Connect {
            will: Some(last),
            ..connect(version, "client")
        });
        let told = (version == Version::V5).then_some(ReasonCode::RETAIN_NOT_SUPPORTED);
        assert_eq!(world.farewell(client), told);
    }
}

/// [MQTT-3.2.2-14]
#[test]
fn a_retained_message_is_refused_where_nothing_is_retained() {
    for version in VERSIONS {
        let mut world = without_retain();
        let client = world.open_with(&connect(version, "client"));
        let received = world.hear(client);
        if version == Version::V5 {
            let announced = received.conn_ack().properties.retain_available();
            assert_eq!(announced, Some(false));
        }
        let message = Publish {
            retain: true,
            ..publish("t", b"x", QoS::AtMostOnce, 1)
        };
        let told = (version == Version::V5).then_some(ReasonCode::RETAIN_NOT_SUPPORTED);
        assert_eq!(world.refused(client, &Packet::Publish(message)), told);
    }
}

/// [MQTT311-3.8.3-2]
#[test]
fn wildcards_can_be_switched_off() {
    for version in VERSIONS {
        let mut world = configured(Protocol {
            wildcard_subscription_available: false,
            ..Protocol::default()
        });
        let client = world.open_with(&connect(version, "client"));
        let received = world.hear(client);
        let refused = match version {
            Version::V3 | Version::V4 => 0x80,
            Version::V5 => {
                let properties = received.conn_ack().properties;
                assert_eq!(properties.wildcard_subscription_available(), Some(false));
                ReasonCode::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED.0
            }
        };
        for filter in ["#", "a/+", "$share/g/a/#"] {
            assert_eq!(world.subscribe(client, filter, QoS::AtMostOnce), refused);
        }
        assert_eq!(world.subscribe(client, "a/b", QoS::AtMostOnce), 0);
    }
}

#[test]
fn shared_subscriptions_can_be_switched_off() {
    for version in VERSIONS {
        let mut world = configured(Protocol {
            shared_subscription_available: false,
            ..Protocol::default()
        });
        let client = world.open_with(&connect(version, "client"));
        let received = world.hear(client);
        let refused = match version {
            Version::V3 | Version::V4 => 0x80,
            Version::V5 => {
                let properties = received.conn_ack().properties;
                assert_eq!(properties.shared_subscription_available(), Some(false));
                ReasonCode::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED.0
            }
        };
        assert_eq!(
            world.subscribe(client, "$share/g/a", QoS::AtMostOnce),
            refused
        );
        assert_eq!(world.subscribe(client, "a", QoS::AtMostOnce), 0);
    }
}

#[test]
fn subscription_identifiers_can_be_switched_off() {
    let mut world = configured(Protocol {
        subscription_identifiers_available: false,
        ..Protocol::default()
    });
    let client = world.open_with(&connect(Version::V5, "client"));
    let received = world.hear(client);
    let announced = received.conn_ack().properties;
    assert_eq!(announced.subscription_identifier_available(), Some(false));
    let list = properties(&[Property::SubscriptionIdentifier(1)]);
    let options = SubscribeOptions::default();
    let reason = world.subscribe_with(client, "t", options, list.as_properties());
    let refused = ReasonCode::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED.0;
    assert_eq!(reason, refused);
    assert_eq!(world.subscribe(client, "t", QoS::AtMostOnce), 0);
}
