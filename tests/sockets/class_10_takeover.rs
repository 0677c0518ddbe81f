//! Class 10: many connections that want the same session at the same time.

use crate::client::{Client, Dial};
use crate::peer::{Neighbours, Peer, VERSIONS, at_once, packet, protocol, publish, subscribe};
use crate::peer::{field, no_properties};
use crate::runtime::Runtime;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::{QoS, Version};

/// A CONNECT that keeps its session.
fn persistent(version: Version, id: &str) -> Vec<u8> {
    let properties: &[u8] = match version {
        Version::V5 => &[5, 0x11, 0, 0, 1, 0],
        Version::V3 | Version::V4 => no_properties(version),
    };
    let body = [&*protocol(version), &[0, 0, 0], properties, &field(id)].concat();
    packet(0x10, &body)
}

pub(crate) fn a_fight_for_one_session_leaves_one<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    let address = broker.address();
    at_once(0..8_usize, |fighter| {
        let version = VERSIONS[fighter % VERSIONS.len()];
        for _ in 0..50 {
            let mut peer = Peer::at(address);
            peer.send(&persistent(version, "contested"));
            // All at once: whether it is still there when they arrive is chance.
            peer.send(&subscribe(version, b"contested/#"));
            peer.send(&publish(version, b"contested/a", b"x"));
            if fighter % 2 == 0 {
                let _ = peer.next_packet();
            }
        }
    });
    neighbours.notice_nothing();
    broker.until("the fight is over", |s| {
        s.connections_open == Neighbours::CLIENTS
    });
    let left = broker.statistics();
    assert_eq!(
        left.sessions,
        Neighbours::CLIENTS + 1,
        "one session came of it"
    );
    assert!(left.subscriptions <= 2, "with one subscription");

    // Who comes last has it, and it works.
    let dial = Dial {
        persistent: true,
        ..Dial::default()
    };
    let winner = Client::dial(&broker, Version::V5, "contested", &dial);
    assert!(winner.session_present);
    winner.subscribe("contested/#", QoS::AtLeastOnce);
    winner.publish("contested/mine", QoS::AtLeastOnce, false, "mine");
    while winner.message().text() != "mine" {}
    broker.stop();
}
