//! Class 5: text that is none, wildcards in topic names, topics that are very deep or long.

use crate::peer::{
    Neighbours, Peer, VERSIONS, field, is_cut_off, is_refused, no_properties, packet, protocol,
    publish, subscribe,
};
use crate::runtime::Runtime;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::Version;

/// Bytes that are not well-formed UTF-8, or hold U+0000.
const NOT_TEXT: [&[u8]; 9] = [
    b"\0",
    b"a\0b",
    b"\xED\xA0\x80",     // a surrogate
    b"\xED\xBF\xBF",     // another
    b"\xC0\x80",         // U+0000, over-long
    b"\xE0\x80\xAF",     // a slash, over-long
    b"\xF4\x90\x80\x80", // beyond the last character
    b"\xE2\x82",         // half a character
    b"\xFF",
];

pub(crate) fn text_is_checked_wherever_it_stands<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for text in NOT_TEXT {
        for version in VERSIONS {
            let none = no_properties(version);
            is_cut_off(&broker, version, "a topic", &publish(version, text, b"x"));
            is_cut_off(&broker, version, "a filter", &subscribe(version, text));
            let unsubscribe = [&[0, 1], none, &field(text)].concat();
            is_cut_off(&broker, version, "a filter", &packet(0xA2, &unsubscribe));
            let head = [&*protocol(version), &[2, 0, 0], none].concat();
            is_refused(
                &broker,
                "an identifier",
                &packet(0x10, &[head, field(text)].concat()),
            );
            let user = [
                &*protocol(version),
                &[0x82, 0, 0],
                none,
                &field("id"),
                &field(text),
            ];
            is_refused(&broker, "a user name", &packet(0x10, &user.concat()));
            let will = [
                &*protocol(version),
                &[6, 0, 0],
                none,
                &field("id"),
                none,
                &field(text),
                &field("x"),
            ];
            is_refused(&broker, "a topic of a will", &packet(0x10, &will.concat()));
        }
        let property = [&[0x26], &*field("name"), &field(text)].concat();
        let length = [u8::try_from(property.len()).expect("short")];
        let body = [&*field("neighbours/talk"), &length, &property].concat();
        is_cut_off(
            &broker,
            Version::V5,
            "a user property",
            &packet(0x30, &body),
        );
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn topic_names_have_no_wildcards<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    for version in VERSIONS {
        for topic in [
            "#",
            "+",
            "neighbours/#",
            "neighbours/+",
            "+/talk",
            "a#",
            "a+b",
        ] {
            let bytes = publish(version, topic.as_bytes(), b"x");
            is_cut_off(&broker, version, topic, &bytes);
        }
        for filter in ["a#", "#/a", "a/#/b", "a+", "+a", "a/+b/c", "##", "++"] {
            let bytes = subscribe(version, filter.as_bytes());
            is_cut_off(&broker, version, filter, &bytes);
        }
    }
    neighbours.notice_nothing();
    broker.stop();
}

pub(crate) fn depth_and_length_have_limits<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    let deepest = "/".repeat(127);
    let too_deep = "/".repeat(65_535);
    let too_long = "x".repeat(65_535);
    for version in VERSIONS {
        let mut peer = Peer::connected(&broker, version, "deep");
        peer.send(&publish(version, deepest.as_bytes(), b"x"));
        peer.is_served();
        for text in [format!("{deepest}/"), too_deep.clone(), too_long.clone()] {
            let bytes = publish(version, text.as_bytes(), b"x");
            is_cut_off(&broker, version, "a topic", &bytes);
            // A filter may also be refused in SUBACK.
            let mut peer = Peer::connected(&broker, version, "deep");
            peer.send(&subscribe(version, text.as_bytes()));
            match peer.next_packet() {
                Some(answer) if answer[0] == 0x90 => {
                    assert!(
                        answer.last().is_some_and(|code| *code >= 0x80),
                        "{answer:?}"
                    );
                }
                _ => {}
            }
        }
    }
    neighbours.notice_nothing();
    broker.stop();
}
