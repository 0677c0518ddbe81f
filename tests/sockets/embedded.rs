//! Publishing and subscribing from inside the program that the broker is part of.

use crate::runtime::{Runtime, in_time};
use futures_lite::future::block_on;
use std::thread;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::{QoS, SubscribeOptions};
use whimbrel_core::codec::{Property, PropertyBuffer};
use whimbrel_core::runtime::{LinkError, Message};
use whimbrel_tokio::client;

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

fn start<R: Runtime>() -> R {
    R::start(Config::default())
}

pub(crate) fn messages_arrive_at_every_qos<R: Runtime>() {
    in_time(|| {
        let broker = start::<R>();
        for qos in ALL {
            let mut next = broker.subscribe("room/+/light", qos).unwrap();
            broker.publish("room/1/light", b"on", qos).unwrap();
            let expected = Message {
                topic: "room/1/light".into(),
                payload: b"on".into(),
                qos,
                retain: false,
            };
            assert_eq!(next(), Some(expected));
        }
    });
}

pub(crate) fn who_publishes_faster_than_somebody_reads_loses_nothing_at_qos_1<R: Runtime>() {
    const COUNT: u32 = 2_000;
    in_time(|| {
        let broker = start::<R>();
        let mut next = broker.subscribe("t", QoS::AtLeastOnce).unwrap();
        for number in 0..COUNT {
            let payload = [&number.to_be_bytes()[..], &[0; 200]].concat();
            broker.publish("t", &payload, QoS::AtLeastOnce).unwrap();
        }
        for number in 0..COUNT {
            assert_eq!(next().unwrap().payload[..4], number.to_be_bytes());
        }
    });
}

pub(crate) fn what_is_not_mqtt_is_refused_and_harms_nobody<R: Runtime>() {
    in_time(|| {
        let broker = start::<R>();
        let error = broker.publish("a/#", b"", QoS::AtMostOnce);
        assert!(matches!(error, Err(LinkError::Misuse(_))));
        let error = broker.subscribe("a/#/b", QoS::AtMostOnce).err();
        assert!(matches!(error, Some(LinkError::Misuse(_))));
        broker.publish("a", b"", QoS::AtLeastOnce).unwrap();
    });
}

pub(crate) fn dropping_a_subscription_ends_it<R: Runtime>() {
    let broker = start::<R>();
    drop(broker.subscribe("t", QoS::AtMostOnce).unwrap());
    broker.until("the subscription is gone", |is| is.subscriptions == 0);
}

pub(crate) fn a_client_may_have_everything_that_clients_have<R: Runtime>() {
    let broker = start::<R>();
    let mut wills = broker.subscribe("will", QoS::AtLeastOnce).unwrap();
    let (client, mut events) = broker
        .connect(client::Config {
            client_id: "inside".to_owned(),
            will: Some(client::Will {
                topic: "will".to_owned(),
                payload: b"gone".to_vec(),
                qos: QoS::AtLeastOnce,
                retain: false,
                properties: PropertyBuffer::new(),
            }),
            ..client::Config::default()
        })
        .unwrap();
    block_on(client.subscribe(
        vec![("t".to_owned(), SubscribeOptions::default())],
        PropertyBuffer::new(),
    ))
    .unwrap();
    let mut message = client::Message {
        topic: "t".to_owned(),
        ..client::Message::default()
    };
    let _ = message.properties.push(Property::ContentType("text/plain"));
    block_on(client.publish(message.clone())).unwrap();
    let Some(client::Event::Message {
        message: received, ..
    }) = block_on(events.next())
    else {
        panic!("the message arrives");
    };
    assert_eq!(received, message);
    drop(client);
    assert_eq!(wills().unwrap().payload, b"gone");
}

pub(crate) fn a_link_outlives_a_short_keep_alive<R: Runtime>() {
    let mut config = Config::default();
    config.protocol.server_keep_alive_s = Some(1);
    let broker = R::start(config);
    let mut next = broker.subscribe("t", QoS::AtMostOnce).unwrap();
    // For longer than the broker waits for a sign of life it hears nothing but those signs.
    let before = broker.statistics().received_bytes;
    broker.until("it has given three signs of life", |is| {
        is.received_bytes >= before + 6
    });
    broker.publish("t", b"still here", QoS::AtMostOnce).unwrap();
    assert_eq!(next().unwrap().payload, b"still here");
}

pub(crate) fn links_end_with_the_broker<R: Runtime>() {
    let broker = start::<R>();
    let mut next = broker.subscribe("t", QoS::AtLeastOnce).unwrap();
    broker.publish("t", b"last", QoS::AtLeastOnce).unwrap();
    broker.stop();
    assert_eq!(next().unwrap().payload, b"last");
    assert_eq!(next(), None);
}

pub(crate) fn many_threads_may_publish<R: Runtime>() {
    const THREADS: usize = 4;
    const EACH: usize = 50;
    let broker = start::<R>();
    let mut next = broker.subscribe("t", QoS::ExactlyOnce).unwrap();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..EACH {
                    broker.publish("t", b"", QoS::ExactlyOnce).unwrap();
                }
            });
        }
        for _ in 0..THREADS * EACH {
            assert!(next().is_some());
        }
    });
}
