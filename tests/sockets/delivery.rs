//! Messages and who gets them.

use crate::client::{ALL_QOS, Client, Dial, VERSIONS};
use crate::peer::{Peer, publish};
use crate::runtime::Runtime;
use std::thread;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::config::Limits;

pub(crate) fn every_qos_arrives<R: Runtime>() {
    let broker = R::start(Config::default());
    for version in VERSIONS {
        let subscriber = Client::connect(&broker, version, "subscriber");
        let publisher = Client::connect(&broker, version, "publisher");
        for subscribed in ALL_QOS {
            subscriber.subscribe("weather/today", subscribed);
            for published in ALL_QOS {
                publisher.publish("weather/today", published, false, "rain");
                let message = subscriber.message();
                assert_eq!(message.topic, "weather/today");
                assert_eq!(message.text(), "rain");
                assert_eq!(message.qos, published.min(subscribed), "{version:?}");
                assert!(!message.retain && !message.dup);
            }
        }
    }
    broker.stop();
}

pub(crate) fn retained_messages_wait_for_subscribers<R: Runtime>() {
    let broker = R::start(Config::default());
    for version in VERSIONS {
        let publisher = Client::connect(&broker, version, "publisher");
        publisher.publish("sign/door", QoS::AtLeastOnce, true, "open");
        publisher.publish("sign/door", QoS::AtLeastOnce, true, "closed");

        let late = Client::connect(&broker, version, "late");
        late.subscribe("sign/+", QoS::AtLeastOnce);
        let sign = late.message();
        assert_eq!((sign.text(), sign.retain), ("closed", true));

        // Who is there already gets it as news.
        publisher.publish("sign/door", QoS::AtLeastOnce, true, "open");
        let news = late.message();
        assert_eq!((news.text(), news.retain), ("open", false));

        // An empty payload takes the sign down.
        publisher.publish("sign/door", QoS::AtLeastOnce, true, "");
        assert_eq!(late.message().text(), "");
        let later = Client::connect(&broker, version, "later");
        later.subscribe("sign/+", QoS::AtLeastOnce);
        assert_eq!(later.messages_so_far("later/own"), []);
    }
    assert_eq!(broker.statistics().retained_messages, 0);
    broker.stop();
}

pub(crate) fn wills_speak_for_clients_that_vanish<R: Runtime>() {
    let broker = R::start(Config::default());
    for version in VERSIONS {
        let witness = Client::connect(&broker, version, "witness");
        witness.subscribe("will/#", QoS::ExactlyOnce);
        for qos in ALL_QOS {
            let dial = Dial {
                will: Some(("will/vanished", "gone", qos, true)),
                ..Dial::default()
            };
            Client::dial(&broker, version, "mortal", &dial).vanish();
            let will = witness.message();
            assert_eq!(
                (will.topic.as_str(), will.text()),
                ("will/vanished", "gone")
            );
            assert_eq!(will.qos, qos);

            // Who says goodbye needs no will.
            Client::dial(&broker, version, "mortal", &dial).disconnect();
            broker.until("only the witness is left", |s| s.clients_connected == 1);
            assert_eq!(witness.messages_so_far("witness/own"), []);
        }
        // It was to be retained.
        let late = Client::connect(&broker, version, "late");
        late.subscribe("will/vanished", QoS::AtMostOnce);
        assert!(late.message().retain);
        late.publish("will/vanished", QoS::AtLeastOnce, true, "");
        late.disconnect();
        witness.disconnect();
        broker.until("everybody has left", |s| s.clients_connected == 0);
    }
    broker.stop();
}

pub(crate) fn wildcards_match_whole_levels<R: Runtime>() {
    const TOPICS: [&str; 7] = ["a", "a/b", "a/b/c", "/a", "b/b", "a//c", "$hidden/b"];
    let cases: [(&str, &[&str]); 7] = [
        ("#", &["a", "a/b", "a/b/c", "/a", "b/b", "a//c"]),
        ("+", &["a"]),
        ("a/#", &["a", "a/b", "a/b/c", "a//c"]),
        ("+/b", &["a/b", "b/b"]),
        ("a/+/c", &["a/b/c", "a//c"]),
        ("/+", &["/a"]),
        ("$hidden/+", &["$hidden/b"]),
    ];
    let broker = R::start(Config::default());
    for version in VERSIONS {
        let publisher = Client::connect(&broker, version, "publisher");
        for (filter, expected) in cases {
            let subscriber = Client::connect(&broker, version, "subscriber");
            subscriber.subscribe(filter, QoS::AtLeastOnce);
            for topic in TOPICS {
                publisher.publish(topic, QoS::AtLeastOnce, false, "");
            }
            // The fence is outside of every filter but `#`, where it is told apart by its name.
            let heard = subscriber.messages_so_far("fence/of/subscriber");
            let heard: Vec<&str> = heard.iter().map(|m| m.topic.as_str()).collect();
            assert_eq!(heard, expected, "{filter}");
            subscriber.disconnect();
        }
    }
    broker.stop();
}

pub(crate) fn shared_subscriptions_divide_the_work<R: Runtime>() {
    const MESSAGES: usize = 60;
    let broker = R::start(Config::default());
    for version in VERSIONS {
        let workers = ["one", "two", "three"].map(|id| {
            let worker = Client::connect(&broker, version, id);
            worker.subscribe("$share/crew/job/+", QoS::AtLeastOnce);
            worker
        });
        let observer = Client::connect(&broker, version, "observer");
        observer.subscribe("job/+", QoS::AtLeastOnce);
        let publisher = Client::connect(&broker, version, "publisher");
        for number in 0..MESSAGES {
            publisher.publish("job/new", QoS::AtLeastOnce, false, &number.to_string());
        }
        for number in 0..MESSAGES {
            assert_eq!(observer.message().text(), number.to_string());
        }
        let mut done = Vec::new();
        for (index, worker) in workers.iter().enumerate() {
            let own = worker.messages_so_far(&format!("own/{index}"));
            assert!(!own.is_empty(), "worker {index} has nothing to do");
            done.extend(
                own.iter()
                    .map(|m| m.text().parse::<usize>().expect("a number")),
            );
        }
        done.sort_unstable();
        assert_eq!(done, Vec::from_iter(0..MESSAGES), "each job is done once");
    }
    broker.stop();
}

pub(crate) fn a_payload_of_1_mib_arrives_whole<R: Runtime>() {
    // No period that a power of two would hide.
    let payload: Vec<u8> = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect();
    let broker = R::start(Config::default());
    for version in VERSIONS {
        let subscriber = Client::connect(&broker, version, "subscriber");
        subscriber.subscribe("large", QoS::ExactlyOnce);
        let publisher = Client::connect(&broker, version, "publisher");
        for qos in ALL_QOS {
            publisher.send("large", qos, false, payload.clone());
            let message = subscriber.message();
            assert_eq!(message.qos, qos);
            assert!(
                message.payload == payload,
                "{version:?} {qos:?}: it is another payload"
            );
        }
    }
    broker.stop();
}

pub(crate) fn ten_thousand_messages_keep_their_order<R: Runtime>() {
    const MESSAGES: usize = 10_000;
    let broker = R::start(Config::default());
    for version in VERSIONS {
        for qos in ALL_QOS {
            let subscriber = Client::connect(&broker, version, "subscriber");
            subscriber.subscribe("count", qos);
            let publisher = Client::connect(&broker, version, "publisher");
            let counting = thread::spawn(move || {
                for number in 0..MESSAGES {
                    publisher.send("count", qos, false, number.to_string());
                }
                publisher
            });
            for number in 0..MESSAGES {
                assert_eq!(
                    subscriber.message().text(),
                    number.to_string(),
                    "{version:?} {qos:?}"
                );
            }
            counting.join().expect("all is published").disconnect();
        }
    }
    broker.stop();
}

/// Its messages wait for their turn when its connection ends.
pub(crate) fn who_says_much_and_leaves_is_heard<R: Runtime>() {
    const MESSAGES: usize = 500;
    let limits = Limits {
        fanout_step: 1,
        ..Limits::default()
    };
    let broker = R::start(Config {
        limits,
        ..Config::default()
    });
    for version in VERSIONS {
        let subscriber = Client::connect(&broker, version, "subscriber");
        subscriber.subscribe("t", QoS::AtMostOnce);
        let mut publisher = Peer::connected(&broker, version, "publisher");
        let mut all = Vec::new();
        for number in 0..MESSAGES {
            all.extend(publish(version, b"t", number.to_string().as_bytes()));
        }
        all.extend([0xE0, 0]);
        assert!(publisher.send(&all));
        drop(publisher);
        for number in 0..MESSAGES {
            assert_eq!(subscriber.message().text(), number.to_string());
        }
    }
    broker.stop();
}

pub(crate) fn unsubscribing_ends_delivery<R: Runtime>() {
    let broker = R::start(Config::default());
    for version in VERSIONS {
        let reader = Client::connect(&broker, version, "reader");
        let publisher = Client::connect(&broker, version, "publisher");
        reader.subscribe("paper", QoS::AtLeastOnce);
        publisher.publish("paper", QoS::AtLeastOnce, false, "monday");
        assert_eq!(reader.message().text(), "monday");
        reader.unsubscribe("paper");
        publisher.publish("paper", QoS::AtLeastOnce, false, "tuesday");
        assert_eq!(reader.messages_so_far("reader/own"), []);
    }
    broker.stop();
}
