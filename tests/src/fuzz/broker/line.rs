//! One transport as its client sees it: what is heard must be what a broker may say.

use std::collections::{BTreeSet, VecDeque};
use whimbrel_core::ConnectionId;
use whimbrel_core::codec::packet::{Packet, Publish, QoS, Version};
use whimbrel_core::codec::{self, frame};
use whimbrel_core::id::PacketId;
use whimbrel_core::topic::TopicName;

/// What a client owes the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owed {
    /// PUBACK.
    Receipt(PacketId),
    /// PUBREC.
    Record(PacketId),
    /// PUBCOMP.
    Completion(PacketId),
}

/// A transport.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: ConnectionId,
    /// The core has not let go of it, nor was told that it is gone.
    pub(super) is_open: bool,
    /// It takes no bytes.
    pub(super) is_blocked: bool,
    /// It has sent something, so a CONNECT does not come first any more.
    pub(super) has_spoken: bool,
    /// It has sent things that are not followed here: only the form of the answers is checked.
    pub(super) is_wild: bool,
    /// In which its CONNECT was, if that came first.
    pub(super) version: Option<Version>,
    /// How many unacknowledged messages it takes.
    pub(super) receive_maximum: usize,
    /// The largest packet it takes.
    pub(super) packet_maximum: usize,
    /// What is to be acknowledged, in order.
    pub(super) owed: VecDeque<Owed>,
    inbox: Vec<u8>,
    is_in: bool,
    /// Identifiers of messages that were not acknowledged to their end.
    outstanding: BTreeSet<PacketId>,
}

impl Line {
    pub(super) fn new(id: ConnectionId) -> Self {
        Self {
            id,
            is_open: true,
            is_blocked: false,
            has_spoken: false,
            is_wild: false,
            version: None,
            receive_maximum: usize::from(u16::MAX),
            packet_maximum: usize::MAX,
            owed: VecDeque::new(),
            inbox: Vec::new(),
            is_in: false,
            outstanding: BTreeSet::new(),
        }
    }

    /// Bytes came from the broker.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.inbox.extend_from_slice(bytes);
        let inbox = core::mem::take(&mut self.inbox);
        let mut rest = inbox.as_slice();
        while let Some((frame, length)) = frame::split(rest, u32::MAX).expect("well-formed packets")
        {
            match self.version {
                Some(version) if !self.is_wild => {
                    let packet = codec::decode(version, frame).expect("well-formed packets");
                    assert!(
                        length <= self.packet_maximum,
                        "{length} bytes, larger than the client takes: {packet:?}"
                    );
                    self.understand(version, &packet);
                }
                _ => {
                    let understood = |version| codec::decode(version, frame).is_ok();
                    let all = crate::world::VERSIONS;
                    assert!(all.into_iter().any(understood), "{frame:?} is no packet");
                }
            }
            rest = &rest[length..];
        }
        self.inbox = rest.to_vec();
    }

    /// The broker has closed it, with its last bytes.
    pub(super) fn close(&mut self, last_bytes: &[u8]) {
        self.hear(last_bytes);
        assert!(self.inbox.is_empty(), "the last packet is whole");
        self.is_open = false;
    }

    fn understand(&mut self, version: Version, packet: &Packet<'_>) {
        if let Packet::ConnAck(answer) = packet {
            assert!(!self.is_in, "a second CONNACK");
            assert!(!(answer.reason.is_error() && answer.session_present));
            self.is_in = !answer.reason.is_error();
        } else if !matches!(packet, Packet::Auth(_)) {
            assert!(self.is_in, "{packet:?} comes before CONNACK");
        }
        match packet {
            Packet::Publish(publish) => self.hear_publish(version, publish),
            Packet::PubRel(ack) => self.owed.push_back(Owed::Completion(ack.packet_id)),
            Packet::Disconnect(_) => assert_eq!(version, Version::V5, "only 5.0 knows this"),
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq => {
                panic!("a broker does not send {packet:?}")
            }
            Packet::ConnAck(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubComp(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingResp
            | Packet::Auth(_) => {}
        }
    }

    fn hear_publish(&mut self, version: Version, publish: &Publish<'_>) {
        let aliased = publish.topic.is_empty() && publish.properties.topic_alias().is_some();
        assert!(
            aliased || TopicName::new(publish.topic).is_ok(),
            "{publish:?}"
        );
        let Some(id) = publish.packet_id else {
            return;
        };
        let is_new = self.outstanding.insert(id);
        // 3.x clients may be sent the same again while they are connected.
        let may_repeat = version != Version::V5 && publish.dup;
        assert!(
            is_new || may_repeat,
            "the identifier is in use: {publish:?}"
        );
        assert!(
            self.outstanding.len() <= self.receive_maximum,
            "more in flight than the receive maximum, {}",
            self.receive_maximum
        );
        self.owed.push_back(match publish.qos {
            QoS::AtMostOnce | QoS::AtLeastOnce => Owed::Receipt(id),
            QoS::ExactlyOnce => Owed::Record(id),
        });
    }

    /// It has acknowledged a message to its end.
    pub(super) fn settle(&mut self, id: PacketId) {
        self.outstanding.remove(&id);
    }
}
