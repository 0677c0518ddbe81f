//! Servers that break rules, or are none.

use crate::talk::{ALL, Talk, connack};
use quickcheck::{Arbitrary, Gen, QuickCheck};
use whimbrel_core::Timestamp;
use whimbrel_core::client::{
    Authentication, Client, Config, DisconnectRequest, PublishRequest, SubscribeRequest,
};
use whimbrel_core::codec::ReasonCode;
use whimbrel_core::codec::packet::{QoS, SubscribeOptions, Version};
use whimbrel_core::id::PacketId;

fn config(version: Version) -> Config {
    Config {
        version,
        client_id: "c".into(),
        ..Config::default()
    }
}

#[test]
fn packets_that_do_not_belong_end_the_connection() {
    let packets: [&[u8]; 8] = [
        b"\x10\x0D\0\x04MQTT\x04\x02\0\x3C\0\x01c", // CONNECT
        b"\x82\x06\0\x01\0\x01b\0",                 // SUBSCRIBE
        b"\xC0\0",                                  // PINGREQ
        b"\x90\x03\0\x01\0",                        // SUBACK for nothing
        b"\x36\x05\0\x01t\0\x01",                   // QoS 3
        b"\0\0",
        b"\x30\x03\0\x01#",      // a wildcard
        b"\x30\xFF\xFF\xFF\x7F", // over the maximum packet size
    ];
    for version in ALL {
        for bytes in packets.into_iter().chain([connack(version)]) {
            let mut talk = Talk::connected(config(version));
            let events = talk.hear(bytes);
            assert_eq!(events.len(), 1, "{bytes:?}");
            assert!(events[0].starts_with("fault: "), "{events:?}");
            let sent = talk.sent();
            assert_eq!(!sent.is_empty(), version == Version::V5);
            assert_eq!(talk.hear(b"\x30\x03\0\x01t"), [""; 0]);
            assert_eq!(talk.sent(), b"");
        }
        let mut talk = Talk::new(config(version));
        talk.client.connected(talk.now);
        talk.sent();
        assert_eq!(
            talk.hear(b"\xD0\0"),
            ["fault: a packet comes before CONNACK"]
        );
    }
}

#[test]
fn acknowledgements_must_fit() {
    for bytes in [
        &b"\x50\x02\0\x01"[..],
        b"\x70\x02\0\x01",
        b"\x90\x03\0\x01\0",
    ] {
        let mut talk = Talk::connected(config(Version::V4));
        talk.publish(QoS::AtLeastOnce, "t");
        assert_eq!(
            talk.hear(bytes),
            [
                "abandoned 1",
                "fault: an acknowledgement does not fit what it acknowledges"
            ]
        );
    }
}

#[test]
fn the_receive_maximum_is_enforced() {
    let mut talk = Talk::connected(Config {
        receive_maximum: 1,
        ..config(Version::V5)
    });
    talk.hear(b"\x34\x06\0\x01t\0\x01\0");
    talk.hear(b"\x3C\x06\0\x01t\0\x01\0");
    assert!(talk.client.is_connected());
    let events = talk.hear(b"\x34\x06\0\x01t\0\x02\0");
    assert_eq!(
        events,
        ["fault: more messages in flight than the receive maximum"]
    );
}

#[test]
fn a_server_that_asks_and_does_not_listen_is_not_read() {
    let mut talk = Talk::connected(config(Version::V5));
    let pubrels = b"\x62\x02\0\x01".repeat(100_000);
    talk.hear(&pubrels);
    assert!(talk.client.is_paused());
    let before = talk.client.unsent_bytes();
    assert!(before < 100_000, "{before} bytes");
    talk.hear(b"");
    assert_eq!(talk.client.unsent_bytes(), before);
    let mut answers = 0;
    while !matches!(talk.sent().len(), 0) {
        answers += 1;
        talk.events();
    }
    assert!(answers > 5, "all are answered in the end");
    assert!(!talk.client.is_paused());
}

/// One thing that may happen to a client.
#[derive(Clone, Debug)]
enum Step {
    Connected,
    Heard(Vec<u8>),
    Lost,
    Passed(u16),
    Published(u8),
    Subscribed,
    Acknowledged(u16),
    Authenticated,
    Disconnected,
    Transmitted,
}

/// Packets that may be right, and what becomes of them when a byte is not.
fn packet(g: &mut Gen) -> Vec<u8> {
    let id = *g.choose(&[0, 1, 1, 2, 3]).unwrap();
    let samples: [Vec<u8>; 16] = [
        vec![0x20, 2, 0, 0],
        vec![0x20, 3, u8::from(bool::arbitrary(g)), 0, 0],
        vec![0x20, 6, 0, 0, 3, 0x21, 0, id],
        vec![0x30, 6, 0, 1, b't', 0, id, b'x'],
        vec![0x32, 6, 0, 1, b't', 0, id, 0],
        vec![0x34, 6, 0, 1, b't', 0, id, 0],
        vec![0x30, 7, 0, 1, b't', 3, 0x23, 0, id],
        vec![0x30, 6, 0, 0, 3, 0x23, 0, id],
        vec![0x40, 2, 0, id],
        vec![0x50, 2, 0, id],
        vec![0x62, 2, 0, id],
        vec![0x70, 2, 0, id],
        vec![0x90, 4, 0, id, 0, 0],
        vec![0xB0, 2, 0, id],
        vec![0xF0, 6, 0x18, 4, 0x15, 0, 1, b'M'],
        vec![0xE0, 0],
    ];
    let mut bytes = g.choose(&samples).unwrap().clone();
    if u8::arbitrary(g) < 16 {
        let at = usize::arbitrary(g) % bytes.len();
        bytes[at] = u8::arbitrary(g);
    }
    bytes
}

impl Arbitrary for Step {
    fn arbitrary(g: &mut Gen) -> Self {
        match u8::arbitrary(g) % 24 {
            0 => Self::Connected,
            1 => Self::Heard(Vec::arbitrary(g)),
            2 => Self::Lost,
            3 => Self::Passed(u16::arbitrary(g)),
            4..=6 => Self::Published(u8::arbitrary(g) % 3),
            7 => Self::Subscribed,
            8 => Self::Acknowledged(u16::arbitrary(g) % 4),
            9 => Self::Authenticated,
            10 => Self::Disconnected,
            11 => Self::Transmitted,
            12 => Self::Heard([packet(g), packet(g)].concat()),
            _ => Self::Heard(packet(g)),
        }
    }
}

fn take(client: &mut Client, step: &Step, now: &mut Timestamp) {
    match step {
        Step::Connected => {
            client.connected(*now);
            client.receive(*now, &[0x20, 3, 0, 0, 0]);
        }
        Step::Heard(bytes) => client.receive(*now, bytes),
        Step::Lost => client.transport_closed(*now),
        Step::Passed(ms) => {
            *now = now.after_ms(u64::from(*ms));
            client.advance(*now);
        }
        Step::Published(qos) => {
            let request = PublishRequest {
                topic: "t",
                qos: QoS::from_bits(*qos).unwrap(),
                ..PublishRequest::default()
            };
            let _ = client.publish(*now, &request);
        }
        Step::Subscribed => {
            let filters = [("a", SubscribeOptions::default())];
            let request = SubscribeRequest {
                filters: &filters,
                ..SubscribeRequest::default()
            };
            let _ = client.subscribe(*now, &request);
        }
        Step::Acknowledged(id) => {
            if let Some(id) = PacketId::new(*id) {
                let _ = client.acknowledge(*now, id, ReasonCode::SUCCESS);
            }
        }
        Step::Authenticated => {
            let _ = client.authenticate(*now, b"data");
        }
        Step::Disconnected => {
            let _ = client.disconnect(*now, &DisconnectRequest::default());
        }
        Step::Transmitted => client.transmit(&mut Vec::new()),
    }
}

/// No order of calls and no bytes panic, or make a client forget its limits; deadlines move.
fn survives(version: Version, flags: u8, steps: &[Step]) {
    let mut now = Timestamp(0);
    let config = Config {
        receive_maximum: 2,
        inflight_max: 2,
        topic_aliases: 2,
        clean_start: flags & 1 != 0,
        session_expiry_s: u32::from(flags & 2),
        manual_acknowledgement: flags & 4 != 0,
        authentication: (version == Version::V5 && flags & 8 != 0).then(|| Authentication {
            method: "M".into(),
            data: None,
        }),
        ..config(version)
    };
    let mut client = Client::new(config, now).unwrap();
    for (n, step) in steps.iter().enumerate() {
        take(&mut client, step, &mut now);
        if n % 3 != 0 {
            while client.poll_event().is_some() {}
        }
        assert!(client.unacknowledged_count() <= 2);
        if let Some(deadline) = client.next_deadline().filter(|at| *at <= now) {
            client.advance(now);
            assert!(client.next_deadline() > Some(deadline) || client.next_deadline().is_none());
        }
    }
}

#[test]
fn no_order_of_calls_and_no_bytes_panic() {
    fn property(flags: u8, steps: Vec<Step>) {
        for version in ALL {
            survives(version, flags, &steps);
        }
    }
    QuickCheck::new()
        .tests(2_000)
        .quickcheck(property as fn(u8, Vec<Step>));
}

#[test]
fn random_bytes_do_not_panic() {
    fn property(bytes: Vec<u8>) {
        for version in ALL {
            Talk::connected(config(version)).hear(&bytes);
            let mut talk = Talk::new(config(version));
            talk.client.connected(talk.now);
            talk.hear(&bytes);
        }
    }
    QuickCheck::new()
        .tests(5_000)
        .quickcheck(property as fn(Vec<u8>));
}
