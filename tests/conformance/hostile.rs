//! Packets in an order or of a kind that no honest client sends.

use whimbrel_core::ConnectionId;
use whimbrel_core::codec::packet::{Ack, ConnAck, QoS, SubAck, Version};
use whimbrel_core::codec::reason::ReasonCode;
use whimbrel_core::codec::{Packet, Properties};
use whimbrel_core::id::PacketId;
use whimbrel_tests::World;
use whimbrel_tests::world::{VERSIONS, connect};

/// Somebody well-behaved, who notices nothing.
struct Neighbour {
    client: ConnectionId,
}

impl Neighbour {
    fn new(world: &mut World) -> Self {
        let client = world.connect(Version::V4, "neighbour");
        world.subscribe(client, "neighbour", QoS::AtLeastOnce);
        Self { client }
    }

    #[track_caller]
    fn is_well(&self, world: &mut World) {
        world.publish(self.client, "neighbour", b"hello", QoS::AtMostOnce);
        assert_eq!(world.take_all(self.client), ["hello"]);
    }
}

#[test]
fn packets_that_only_a_server_sends_end_the_connection() {
    for version in VERSIONS {
        let mut world = World::default();
        let neighbour = Neighbour::new(&mut world);
        let reason = ReasonCode::SUCCESS;
        let properties = Properties::EMPTY;
        let packet_id = PacketId::FIRST;
        let session_present = false;
        let connack = ConnAck {
            session_present,
            reason,
            properties,
        };
        let suback = SubAck {
            packet_id,
            properties,
            reasons: &[0],
        };
        for packet in [
            Packet::ConnAck(connack),
            Packet::SubAck(suback),
            Packet::PingResp,
        ] {
            let client = world.connect(version, "client");
            let told = (version == Version::V5).then_some(ReasonCode::PROTOCOL_ERROR);
            assert_eq!(world.refused(client, &packet), told);
            neighbour.is_well(&mut world);
        }
    }
}

/// One byte string that is malformed, whatever the version.
#[test]
fn malformed_bytes_end_the_connection_wherever_they_come() {
    let bad: [&[u8]; 12] = [
        &[0x00, 0x00],                         // no such packet
        &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01], // a length of five bytes
        &[0x36, 0x05, 0, 1, b't', 0, 1],       // QoS 3
        &[0x32, 0x05, 0, 1, b't', 0, 0],       // packet identifier 0
        &[0x38, 0x03, 0, 1, b't'],             // DUP at QoS 0
        &[0x30, 0x04, 0, 2, 0xff, 0xfe],       // not UTF-8
        &[0x30, 0x03, 0, 1, 0],                // U+0000
        &[0x30, 0x03, 0, 9, b't'],             // a topic that runs past the end
        &[0x80, 0x06, 0, 1, 0, 1, b't', 0],    // reserved flags
        &[0x82, 0x02, 0, 1],                   // nothing to subscribe to
        &[0x60, 0x02, 0, 1],                   // PUBREL with wrong flags
        &[0xc0, 0x01, 0],                      // PINGREQ with a body
    ];
    for version in VERSIONS {
        let mut world = World::default();
        let neighbour = Neighbour::new(&mut world);
        for bytes in bad {
            let client = world.connect(version, "client");
            world.send_bytes(client, bytes);
            assert!(world.is_closed(client), "{version:?} {bytes:02x?}");
            let silent = world.open();
            world.send_bytes(silent, bytes);
            assert!(world.is_closed(silent), "{bytes:02x?}");
            neighbour.is_well(&mut world);
        }
    }
}

#[test]
fn a_connect_cut_anywhere_is_waited_for_and_then_given_up() {
    for version in VERSIONS {
        let mut bytes = Vec::new();
        let packet = Packet::Connect(connect(version, "client"));
        whimbrel_core::codec::encode(&packet, version, &mut bytes).expect("it can be said");
        let mut world = World::default();
        let neighbour = Neighbour::new(&mut world);
        for end in 0..bytes.len() {
            let client = world.open();
            world.set_version(client, version);
            world.send_bytes(client, &bytes[..end]);
            assert!(!world.is_closed(client));
            world.hears_nothing(client);
            world.pass_ms(10_000);
            assert!(world.is_closed(client));
        }
        // Byte by byte it is as good as in one piece.
        let client = world.open();
        world.set_version(client, version);
        for byte in &bytes {
            world.send_bytes(client, &[*byte]);
        }
        assert_eq!(world.hear(client).conn_ack().reason, ReasonCode::SUCCESS);
        neighbour.is_well(&mut world);
    }
}

#[test]
fn a_qos_2_exchange_in_any_order_harms_nobody() {
    let kinds: [fn(Ack<'static>) -> Packet<'static>; 4] = [
        Packet::PubAck,
        Packet::PubRec,
        Packet::PubRel,
        Packet::PubComp,
    ];
    for version in VERSIONS {
        let mut world = World::default();
        let neighbour = Neighbour::new(&mut world);
        for first in kinds {
            for second in kinds {
                for third in kinds {
                    let client = world.connect(version, "client");
                    world.subscribe(client, "t", QoS::ExactlyOnce);
                    world.publish(client, "t", b"x", QoS::ExactlyOnce);
                    for kind in [first, second, third] {
                        world.answer(client, kind, 1, ReasonCode::SUCCESS);
                    }
                    neighbour.is_well(&mut world);
                }
            }
        }
    }
}

#[test]
fn many_silent_connections_cost_little_and_end() {
    let mut world = World::default();
    let neighbour = Neighbour::new(&mut world);
    let silent: Vec<_> = (0..1_000).map(|_| world.open()).collect();
    neighbour.is_well(&mut world);
    world.pass_ms(10_000);
    assert!(silent.into_iter().all(|client| world.is_closed(client)));
    assert_eq!(world.statistics().connections_open, 1);
}
