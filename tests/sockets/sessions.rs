//! What outlives a connection, and what 5.0 adds.

use crate::client::{Client, Dial, VERSIONS, to_v5};
use crate::runtime::Runtime;
use rumqttc::v5::mqttbytes::v5::{
    Filter, PublishProperties, RetainForwardRule, SubscribeProperties,
};
use whimbrel_core::Config;
use whimbrel_core::codec::packet::{QoS, Version};

pub(crate) fn a_session_outlives_its_connection<R: Runtime>() {
    let broker = R::start(Config::default());
    let dial = Dial {
        persistent: true,
        ..Dial::default()
    };
    for version in VERSIONS {
        let traveller = Client::dial(&broker, version, "traveller", &dial);
        assert!(!traveller.session_present);
        traveller.subscribe("mail/#", QoS::ExactlyOnce);
        traveller.vanish();
        broker.until("the traveller is away", |s| s.clients_connected == 0);

        let writer = Client::connect(&broker, version, "writer");
        writer.publish("mail/1", QoS::AtLeastOnce, false, "first");
        writer.publish("mail/2", QoS::ExactlyOnce, false, "second");

        let traveller = Client::dial(&broker, version, "traveller", &dial);
        assert!(traveller.session_present);
        for (text, qos) in [("first", QoS::AtLeastOnce), ("second", QoS::ExactlyOnce)] {
            let letter = traveller.message();
            assert_eq!((letter.text(), letter.qos, letter.dup), (text, qos, false));
        }
        // The subscription is still there.
        writer.publish("mail/3", QoS::AtLeastOnce, false, "third");
        assert_eq!(traveller.message().text(), "third");
        traveller.disconnect();
        writer.disconnect();
        broker.until("everybody has left", |s| s.clients_connected == 0);

        // A clean start forgets all of it.
        let stranger = Client::connect(&broker, version, "traveller");
        assert!(!stranger.session_present);
        stranger.disconnect();
        broker.until("nothing is left", |s| s.sessions == 0);
    }
    broker.stop();
}

pub(crate) fn unacknowledged_messages_come_again<R: Runtime>() {
    let broker = R::start(Config::default());
    let forgetful = Dial {
        persistent: true,
        never_acknowledges: true,
        ..Dial::default()
    };
    let careful = Dial {
        never_acknowledges: false,
        ..forgetful
    };
    for version in VERSIONS {
        let receiver = Client::dial(&broker, version, "receiver", &forgetful);
        receiver.subscribe("parcel", QoS::ExactlyOnce);
        let sender = Client::connect(&broker, version, "sender");
        for number in 0..5_u8 {
            let qos = [QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(number % 2)];
            sender.publish("parcel", qos, false, &number.to_string());
        }
        for number in 0..5_u8 {
            assert_eq!(receiver.message().text(), number.to_string());
        }
        receiver.vanish();

        let receiver = Client::dial(&broker, version, "receiver", &careful);
        assert!(receiver.session_present);
        for number in 0..5_u8 {
            let parcel = receiver.message();
            assert_eq!((parcel.text(), parcel.dup), (&*number.to_string(), true));
        }
        // Acknowledged now: no third time.
        assert_eq!(receiver.messages_so_far("receiver/own"), []);
        receiver.disconnect();
        let receiver = Client::dial(&broker, version, "receiver", &careful);
        assert_eq!(receiver.messages_so_far("receiver/own"), []);
        receiver.disconnect();
        broker.until("only the sender is left", |s| s.clients_connected == 1);
        drop(Client::connect(&broker, version, "receiver"));
    }
    broker.stop();
}

pub(crate) fn a_second_connection_takes_the_session_over<R: Runtime>() {
    let broker = R::start(Config::default());
    let dial = Dial {
        persistent: true,
        ..Dial::default()
    };
    for version in VERSIONS {
        let first = Client::dial(&broker, version, "phone", &dial);
        first.subscribe("call", QoS::AtLeastOnce);
        let second = Client::dial(&broker, version, "phone", &dial);
        assert!(second.session_present, "with all that it had");
        let why = first.end();
        if version == Version::V5 {
            assert!(why.contains("SessionTakenOver"), "{why}");
        }
        let caller = Client::connect(&broker, version, "caller");
        caller.publish("call", QoS::AtLeastOnce, false, "hello");
        assert_eq!(second.message().text(), "hello");
        second.disconnect();
        caller.disconnect();
        broker.until("everybody has left", |s| s.clients_connected == 0);
        Client::connect(&broker, version, "phone").disconnect();
        broker.until("the session has ended", |s| s.sessions == 0);
    }
    broker.stop();
}

pub(crate) fn properties_pass_through<R: Runtime>() {
    let broker = R::start(Config::default());
    let responder = Client::connect(&broker, Version::V5, "responder");
    responder.subscribe("request", QoS::AtLeastOnce);
    let requester = Client::connect(&broker, Version::V5, "requester");
    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        message_expiry_interval: Some(1_000),
        response_topic: Some("answer/7".to_owned()),
        correlation_data: Some(vec![0, 255, 7].into()),
        user_properties: vec![
            ("colour".to_owned(), "green".to_owned()),
            ("colour".to_owned(), "blue".to_owned()),
            (String::new(), "ü".to_owned()),
        ],
        content_type: Some("text/plain".to_owned()),
        ..PublishProperties::default()
    };
    requester.send_with("request", QoS::AtLeastOnce, "what?", sent.clone());
    let heard = responder.message().properties;
    let left = heard.message_expiry_interval.expect("it is passed on");
    assert!((900..=1_000).contains(&left), "{left} s are left");
    let expected = PublishProperties {
        message_expiry_interval: Some(left),
        ..sent
    };
    assert_eq!(heard, expected);
    broker.stop();
}

pub(crate) fn subscription_identifiers_and_options_are_kept<R: Runtime>() {
    let broker = R::start(Config::default());
    let client = Client::connect(&broker, Version::V5, "client");
    let other = Client::connect(&broker, Version::V5, "other");
    client.publish("topic/kept", QoS::AtLeastOnce, true, "kept");
    let subscribe = |id, path: &str, change: fn(&mut Filter)| {
        let mut filter = Filter::new(path, to_v5(QoS::AtLeastOnce));
        change(&mut filter);
        let properties = SubscribeProperties {
            id: Some(id),
            user_properties: Vec::new(),
        };
        let granted = client.subscribe_with(filter, Some(properties));
        assert_eq!(granted, [Some(QoS::AtLeastOnce)]);
    };
    subscribe(1, "topic/#", |f| {
        f.retain_forward_rule = RetainForwardRule::Never
    });
    subscribe(268_435_455, "topic/new", |f| f.preserve_retain = true);
    subscribe(7, "silent", |f| f.nolocal = true);

    // Two subscriptions, one message, both identifiers; and RETAIN as it was published.
    other.publish("topic/new", QoS::AtLeastOnce, true, "news");
    let news = client.message();
    let mut identifiers = news.properties.subscription_identifiers.clone();
    identifiers.sort_unstable();
    assert_eq!(identifiers, [1, 268_435_455]);
    assert!(news.retain);

    // Not to oneself, but to others.
    client.publish("silent", QoS::AtLeastOnce, false, "own");
    other.publish("silent", QoS::AtLeastOnce, false, "others'");
    let message = client.message();
    assert_eq!(message.text(), "others'");
    assert_eq!(message.properties.subscription_identifiers, [7]);
    broker.stop();
}

pub(crate) fn topic_aliases_stand_for_topics<R: Runtime>() {
    let broker = R::start(Config::default());
    let dial = Dial {
        topic_aliases: Some(4),
        ..Dial::default()
    };
    let subscriber = Client::dial(&broker, Version::V5, "subscriber", &dial);
    subscriber.subscribe("sensor/#", QoS::AtMostOnce);
    let publisher = Client::connect(&broker, Version::V5, "publisher");
    let alias = |number| PublishProperties {
        topic_alias: Some(number),
        ..PublishProperties::default()
    };
    // The broker's own aliases, and the publisher's, are nobody else's business.
    for round in 0..20_u16 {
        for number in 1..=8_u16 {
            let topic = format!("sensor/of/the/long/name/{number}");
            publisher.send_with(&topic, QoS::AtLeastOnce, &round.to_string(), alias(number));
            let message = subscriber.message();
            assert_eq!(
                (message.text(), &message.topic),
                (&*round.to_string(), &topic)
            );
        }
    }
    broker.stop();
}

pub(crate) fn versions_speak_with_each_other<R: Runtime>() {
    let broker = R::start(Config::default());
    let old = Client::connect(&broker, Version::V4, "old");
    let new = Client::connect(&broker, Version::V5, "new");
    for client in [&old, &new] {
        client.subscribe("square", QoS::ExactlyOnce);
    }
    let properties = PublishProperties {
        content_type: Some("text/plain".to_owned()),
        ..PublishProperties::default()
    };
    new.send_with("square", QoS::ExactlyOnce, "from new", properties.clone());
    assert_eq!(old.message().text(), "from new");
    assert_eq!(new.message().properties, properties);
    old.send("square", QoS::ExactlyOnce, false, "from old");
    assert_eq!(new.message().text(), "from old");
    assert_eq!(old.message().text(), "from old");
    broker.stop();
}
