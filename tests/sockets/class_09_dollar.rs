//! Class 9: topics that begin with `$` are out of reach for wildcards, and harmless to publish to.

use crate::client::{Client, VERSIONS};
use crate::peer::{Neighbours, Peer, publish};
use crate::runtime::Runtime;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::QoS;

pub(crate) fn wildcards_do_not_reach_dollar_topics<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for version in VERSIONS {
        let curious = Client::connect(&broker, version, "curious");
        for filter in ["#", "+/#", "+", "+/broker/version", "+/+/+"] {
            curious.subscribe(filter, QoS::AtMostOnce);
        }
        let mut hostile = Peer::connected(&broker, version, "hostile");
        for topic in [
            "$SYS",
            "$SYS/broker/version",
            "$share/a/b",
            "$",
            "$x/broker/version",
        ] {
            // The broker may refuse it; nobody may hear it.
            hostile.send(&publish(version, topic.as_bytes(), b"forged"));
        }
        neighbours.notice_nothing();
        let heard = curious.messages_so_far("curious/own");
        let heard: Vec<&str> = heard.iter().map(|m| m.topic.as_str()).collect();
        assert!(
            heard.iter().all(|topic| topic.starts_with("neighbours/")),
            "{heard:?}"
        );
    }
    broker.stop();
}
