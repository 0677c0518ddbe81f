//! Class 11: exchanges of QoS 2 that are begun and never finished.

use crate::peer::{
    Neighbours, Peer, VERSIONS, alone, field, memory_stays_flat, no_properties, packet,
};
use crate::runtime::Runtime;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::Version;

fn publish(version: Version, id: u16, topic: &str) -> Vec<u8> {
    let body = [
        &*field(topic),
        &id.to_be_bytes(),
        no_properties(version),
        b"x",
    ]
    .concat();
    packet(0x34, &body)
}

pub(crate) fn unreleased_messages_are_delivered_once<R: Runtime>() {
    let broker = R::start(Config::default());
    for version in VERSIONS {
        let mut reader = Peer::connected(&broker, version, "reader");
        reader.send(&crate::peer::subscribe(version, b"once/+"));
        assert_eq!(reader.next_packet().expect("SUBACK comes")[0], 0x90);
        let mut hostile = Peer::connected(&broker, version, "hostile");
        for _ in 0..3 {
            for id in 1..=100 {
                assert!(hostile.send(&publish(version, id, "once/x")));
                assert_eq!(hostile.next_packet().expect("PUBREC comes")[0], 0x50);
            }
        }
        hostile.send(&crate::peer::publish(version, b"once/end", b""));
        let mut count = 0;
        loop {
            let message = reader.next_packet().expect("messages come");
            if message.windows(8).any(|part| part == b"once/end") {
                break;
            }
            count += 1;
        }
        assert_eq!(count, 100, "once for each identifier");
    }
    broker.stop();
}

pub(crate) fn the_receive_maximum_bounds_them<R: Runtime>() {
    alone(|| {
        let broker = R::start(Config::default());
        let neighbours = Neighbours::of(&broker);
        memory_stays_flat(64 << 20, || {
            let mut hostile = Peer::connected(&broker, Version::V5, "hostile");
            let maximum = Config::default().protocol.receive_maximum;
            for id in 1..=maximum {
                assert!(hostile.send(&publish(Version::V5, id, "nobody/listens")));
            }
            hostile.is_served();
            hostile.send(&publish(Version::V5, maximum + 1, "nobody/listens"));
            let words = hostile.last_words();
            assert_eq!(
                (words[0], words[2]),
                (0xE0, 0x93),
                "receive maximum exceeded"
            );

            // 3.1.1 has no such number, but only so many identifiers.
            let mut hostile = Peer::connected(&broker, Version::V4, "hostile");
            let ids: Vec<u16> = (1..=u16::MAX).collect();
            for some in ids.chunks(1_000) {
                let publishes = some
                    .iter()
                    .map(|id| publish(Version::V4, *id, "nobody/listens"));
                assert!(hostile.send(&publishes.collect::<Vec<_>>().concat()));
                for _ in some {
                    assert_eq!(hostile.next_packet().expect("PUBREC comes")[0], 0x50);
                }
            }
            hostile.is_served();
        });
        neighbours.notice_nothing();
        broker.stop();
    });
}
