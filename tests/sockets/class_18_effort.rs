//! Class 18: little for a peer to ask, much for a broker to do. Subscriptions by the thousand,
//! wildcards in every combination, names that were chosen to collide.

use crate::client::Client;
use crate::peer::{
    Neighbours, Peer, VERSIONS, alone, field, memory_stays_flat, no_properties, packet, publish,
};
use crate::runtime::Runtime;
use siphasher::sip::SipHasher13;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::{QoS, Version};

fn subscribe(version: Version, filters: impl Iterator<Item = String>) -> Vec<u8> {
    let filters: Vec<u8> = filters.flat_map(|f| [&*field(f), &[0]].concat()).collect();
    packet(0x82, &[&[0, 1], no_properties(version), &filters].concat())
}

pub(crate) fn subscriptions_have_a_limit<R: Runtime>() {
    alone(|| {
        const BOMBS: usize = 10;
        const FILTERS: usize = 5_000;
        let broker = R::start(Config::default());
        let neighbours = Neighbours::of(&broker);
        let limit = u64::from(Config::default().limits.subscriptions_per_session_maximum);
        for version in VERSIONS {
            memory_stays_flat(128 << 20, || {
                let mut hostile = Peer::connected(&broker, version, "hostile");
                for bomb in 0..BOMBS {
                    let filters = (0..FILTERS).map(|number| format!("bomb/{bomb}/+/{number}/#"));
                    assert!(hostile.send(&subscribe(version, filters)));
                    let answer = hostile.next_packet().expect("SUBACK comes");
                    let refused = answer.iter().rev().take(FILTERS).all(|code| *code >= 0x80);
                    assert_eq!(
                        refused,
                        bomb >= 2,
                        "the first two bombs are within the limit"
                    );
                    neighbours.notice_nothing();
                }
                assert_eq!(broker.statistics().subscriptions, limit + 1);
            });
            broker.until("they are gone", |s| s.subscriptions == 1);
        }
        neighbours.notice_nothing();
        broker.stop();
    });
}

pub(crate) fn wildcards_in_every_combination_are_one_delivery<R: Runtime>() {
    const LEVELS: u32 = 10;
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    let mut hostile = Peer::connected(&broker, Version::V4, "hostile");
    // `+` or the level itself, for each level: all of them match.
    let filters = (0..1_u32 << LEVELS).map(|choice| {
        let level = |at| if choice >> at & 1 == 1 { "+" } else { "a" };
        (0..LEVELS).map(level).collect::<Vec<_>>().join("/")
    });
    assert!(hostile.send(&subscribe(Version::V4, filters)));
    assert_eq!(hostile.next_packet().expect("SUBACK comes")[0], 0x90);
    let publisher = Client::connect(&broker, Version::V5, "publisher");
    let topic = vec!["a"; LEVELS as usize].join("/");
    for _ in 0..100 {
        publisher.publish(&topic, QoS::AtLeastOnce, false, "x");
        neighbours.notice_nothing();
    }
    for _ in 0..100 {
        assert_eq!(hostile.next_packet().expect("a message")[0], 0x30);
    }
    assert!(hostile.send(&[0xC0, 0]));
    assert_eq!(
        hostile.next_packet().expect("PINGRESP"),
        [0xD0, 0],
        "each came once"
    );
    broker.stop();
}

/// Names of which a hash, without the key that the broker draws at its start, is the same in its
/// low bits: as somebody chooses them who knows the source.
fn colliding(key: u64, bits: u32, begin: &'static str) -> impl Iterator<Item = String> {
    let is_chosen = move |name: &String| {
        let hash = SipHasher13::new_with_keys(0, key).hash(name.as_bytes());
        hash.trailing_zeros() >= bits
    };
    let names = (0_u32..).map(move |number| format!("{begin}{number}"));
    names.filter(is_chosen)
}

/// Clients whose sessions all fall on one shard, and who talk about topics that were chosen to
/// collide, are served like others, and others as if these were not there.
pub(crate) fn names_chosen_to_collide_are_like_any_others<R: Runtime>() {
    const CLIENTS: usize = 100;
    // What tells the slot of a client identifier, of 64; see `placement` of the core.
    const SLOT: (u64, u32) = (0x5a4d, 6);
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    let mut topics = colliding(0, 10, "flood/");
    let clients = colliding(SLOT.0, SLOT.1, "flood-").take(CLIENTS);
    let mut flood: Vec<Peer> = clients
        .zip(VERSIONS.into_iter().cycle())
        .map(|(name, version)| {
            let mut peer = Peer::connected(&broker, version, &name);
            let filters = topics.by_ref().take(10).collect::<Vec<_>>();
            assert!(peer.send(&subscribe(version, filters.iter().cloned())));
            assert_eq!(peer.next_packet().expect("SUBACK comes")[0], 0x90);
            for topic in &filters {
                assert!(peer.send(&publish(version, topic.as_bytes(), b"x")));
                let message = peer.next_packet().expect("its own message comes");
                assert_eq!(message[0], 0x30);
            }
            peer
        })
        .collect();
    neighbours.notice_nothing();
    for peer in &mut flood {
        peer.is_served();
    }
    assert_eq!(broker.statistics().sessions, CLIENTS as u64 + 2);
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn answers_to_nothing_are_harmless<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for version in VERSIONS {
        let mut hostile = Peer::connected(&broker, version, "hostile");
        let mut storm = Vec::new();
        for id in 1..=2_000_u16 {
            let [high, low] = id.to_be_bytes();
            for first_byte in [0x40, 0x50, 0x62, 0x70] {
                storm.extend(packet(first_byte, &[high, low]));
            }
        }
        // It may be answered, or cut off; it may not be felt.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                hostile.send(&storm);
                hostile.finish();
                hostile.last_words()
            });
            neighbours.notice_nothing();
        });
    }
    neighbours.notice_nothing();
    broker.stop();
}
