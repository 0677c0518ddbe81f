//! Deliberate defects, between the broker and the world: the oracle must catch each of them.
//!
//! A defect strikes now and then, not always, as real ones do. Nothing in the core knows of it.

use super::chance::Chance;
use super::network::Owner;
use std::collections::BTreeSet;
use whimbrel_core::codec::packet::{QoS, SubscribeOptions, Version};
use whimbrel_core::codec::{
    self, Packet, Properties, Property, PropertyBuffer, ReasonCode, SubscribeBuffer, frame,
};
use whimbrel_core::id::PacketId;
use whimbrel_core::letter::{Letter, Parcel};
use whimbrel_core::log::{BatchRef, BatchWriter, Op};

/// What is wrong with the broker under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Defect {
    /// Everything waiting is released as soon as it is handed to the log.
    AcknowledgesBeforePersisting,
    /// Syncs report success and do nothing.
    SyncIsALie,
    /// Recovery leaves out the last batch.
    LosesTheLastBatch,
    /// A message is missing from the log.
    LosesAMessageRecord,
    /// A reference to a queued message is missing from the log.
    LosesADeliveryRecord,
    /// A subscription is missing from the log.
    LosesASubscriptionRecord,
    /// An incoming packet identifier is missing from the log.
    LosesAReceivedRecord,
    /// A retained message is missing from the log.
    LosesARetainedRecord,
    /// A session is missing from the log.
    LosesASessionRecord,
    /// The log goes on to have an incoming packet identifier that was released.
    KeepsAReceivedRecord,
    /// A PUBREL is forgotten.
    ForgetsAPubRel,
    /// A PUBACK to a publisher is forgotten.
    ForgetsAPubAck,
    /// A delivery of QoS 1 or 2 never leaves.
    SwallowsADelivery,
    /// A message is acknowledged and thrown away.
    AcknowledgesAndDrops,
    /// A resent message does not say so.
    ClearsDup,
    /// Two open messages have one packet identifier.
    ReusesAPacketId,
    /// The last byte of a payload is missing.
    CutsAPayload,
    /// A subscription of QoS 2 is one of QoS 1, and SUBACK says otherwise.
    GrantsLess,
    /// SUBACK says more than was asked for.
    ClaimsToGrantMore,
    /// SUBACK says that there is no room for a subscription that is made.
    RefusesInVain,
    /// What SUBACK says is in another order than the filters.
    TurnsReasonsAround,
    /// UNSUBACK says that there was a subscription, and there was none.
    InventsASubscription,
    /// UNSUBACK says that there was no subscription, and there was one.
    DeniesASubscription,
    /// Two messages change places.
    SwapsTwoPublishes,
    /// A QoS 2 message is sent again under another packet identifier.
    SendsQoS2Twice,
    /// A message of a shared subscription goes to two members.
    ServesTwoMembers,
    /// A lost connection looks like a DISCONNECT.
    SwallowsAWill,
    /// A will that is delayed waits for ever.
    SwallowsADelayedWill,
    /// A connection that is taken over looks as if it had said DISCONNECT before.
    DropsAWillOnTakeover,
    /// A will is published in spite of a DISCONNECT.
    InventsAWill,
    /// A will that is to be retained is not.
    RetainsNoWill,
    /// A will is retained that is not to be.
    RetainsEveryWill,
    /// A will that was retained is missing from the log.
    LosesARetainedWill,
    /// CONNACK denies a session that there is.
    DeniesASession,
    /// CONNACK speaks of a session that there is not.
    InventsASession,
    /// The acknowledgement of a subscriber is not taken note of.
    LeaksInflight,
    /// A clean start leaves the session before as it was, and what waits in it.
    KeepsAnEndedSession,
    /// More waits for a session, and is in flight to it, than is configured.
    IgnoresLimits,
    /// The same of the bytes that wait alone.
    IgnoresQueueBytes,
    /// More is in memory than is configured for the whole broker.
    IgnoresTheBudget,
    /// That something is dropped is told to nobody.
    DropsInSilence,
    /// What was read back from the disk is thrown away.
    LosesWhatItReads,
    /// That something could not be read back is told to nobody.
    HidesAnError,
    /// The next deadline is always now.
    NeverRests,
    /// The disk has something to do now, and again, and it brings nothing.
    TheLogNeverRests,
    /// Something is decided by more than the seed.
    IsNotDeterministic,
    /// A shard does not hear what another one subscribes to, and SUBACK is sent nevertheless.
    LosesAnInterest,
    /// A shard does not hear how far another one has come.
    LosesAConfirmation,
    /// A shard says that it has kept what its log has not.
    ConfirmsTooSoon,
    /// A message does not arrive at another shard.
    LosesARoutedMessage,
    /// A message goes to another shard twice.
    RoutesTwice,
    /// A message goes to two members of a group on another shard.
    SharesTwice,
    /// A letter overtakes the one before.
    LettersOvertake,
    /// An exchange is complete on one shard, and another one goes on to remember it.
    LosesACompletion,
    /// Which shards have taken a QoS 2 message in is missing from the log.
    LosesATakenRecord,
    /// A connection arrives at the shard of its session without its will.
    LosesAWillOnTheWay,
    /// A publisher is not told that it need not wait for a subscriber elsewhere any longer.
    LosesARelease,
    /// Who published what is retained is not told to other shards.
    ForgetsAnAuthor,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 58] = [
        Self::AcknowledgesBeforePersisting,
        Self::SyncIsALie,
        Self::LosesTheLastBatch,
        Self::LosesAMessageRecord,
        Self::LosesADeliveryRecord,
        Self::LosesASubscriptionRecord,
        Self::LosesAReceivedRecord,
        Self::LosesARetainedRecord,
        Self::LosesASessionRecord,
        Self::KeepsAReceivedRecord,
        Self::ForgetsAPubRel,
        Self::ForgetsAPubAck,
        Self::SwallowsADelivery,
        Self::AcknowledgesAndDrops,
        Self::ClearsDup,
        Self::ReusesAPacketId,
        Self::CutsAPayload,
        Self::GrantsLess,
        Self::ClaimsToGrantMore,
        Self::RefusesInVain,
        Self::TurnsReasonsAround,
        Self::InventsASubscription,
        Self::DeniesASubscription,
        Self::SwapsTwoPublishes,
        Self::SendsQoS2Twice,
        Self::ServesTwoMembers,
        Self::SwallowsAWill,
        Self::SwallowsADelayedWill,
        Self::DropsAWillOnTakeover,
        Self::InventsAWill,
        Self::RetainsNoWill,
        Self::RetainsEveryWill,
        Self::LosesARetainedWill,
        Self::DeniesASession,
        Self::InventsASession,
        Self::LeaksInflight,
        Self::KeepsAnEndedSession,
        Self::IgnoresLimits,
        Self::IgnoresQueueBytes,
        Self::IgnoresTheBudget,
        Self::DropsInSilence,
        Self::LosesWhatItReads,
        Self::HidesAnError,
        Self::NeverRests,
        Self::TheLogNeverRests,
        Self::IsNotDeterministic,
        Self::LosesAnInterest,
        Self::LosesAConfirmation,
        Self::ConfirmsTooSoon,
        Self::LosesARoutedMessage,
        Self::RoutesTwice,
        Self::SharesTwice,
        Self::LettersOvertake,
        Self::LosesACompletion,
        Self::LosesATakenRecord,
        Self::LosesAWillOnTheWay,
        Self::LosesARelease,
        Self::ForgetsAnAuthor,
    ];

    /// Whether it takes several shards to show.
    pub(super) const fn is_between_shards(self) -> bool {
        self as u8 >= Self::LosesAnInterest as u8
    }

    /// The kind of record that it loses.
    const fn lost_kind(self) -> Option<u8> {
        Some(match self {
            Self::LosesAMessageRecord => b'M',
            Self::LosesADeliveryRecord => b'Q',
            Self::LosesASubscriptionRecord => b'U',
            Self::LosesAReceivedRecord => b'I',
            Self::LosesARetainedRecord => b'R',
            Self::LosesASessionRecord => b'S',
            Self::LosesATakenRecord => b'J',
            _ => return None,
        })
    }
}

/// Carries a defect out.
pub(super) struct Mischief {
    defect: Option<Defect>,
    chance: Chance,
    /// What is to be sent to another connection: a whole PUBLISH.
    pub(super) stray: Option<Vec<u8>>,
    next_id: u16,
    /// SUBSCRIBE packets that ask for less than their client meant.
    lowered: BTreeSet<(Owner, u16)>,
}

impl Mischief {
    pub(super) const fn new(defect: Option<Defect>, seed: u64) -> Self {
        Self {
            defect,
            chance: Chance::new(seed, 99),
            stray: None,
            next_id: 60_000,
            lowered: BTreeSet::new(),
        }
    }

    pub(super) fn is(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    /// Whether this defect shows now.
    pub(super) fn strikes(&mut self, defect: Defect) -> bool {
        self.is(defect) && self.chance.one_in(4)
    }

    /// A batch on its way to the log.
    pub(super) fn batch(&mut self, operations: &mut Vec<u8>) {
        let keeps = self.is(Defect::KeepsAReceivedRecord);
        let loses_wills = self.is(Defect::LosesARetainedWill);
        let lost = self.defect.and_then(Defect::lost_kind);
        if !keeps && !loses_wills && lost.is_none() {
            return;
        }
        let mut kept = Vec::with_capacity(operations.len());
        let mut writer = BatchWriter::new(&mut kept);
        for op in BatchRef::new(operations) {
            match op.expect("the broker writes whole operations") {
                Op::Put { key, .. } if lost == Some(key[0]) && self.chance.one_in(4) => {}
                Op::Put { key, .. } if loses_wills && key.starts_with(b"Rw/") => {}
                Op::Delete { key } if keeps && key[0] == b'I' && self.chance.one_in(4) => {}
                Op::Put { key, value } => writer.put(key, value),
                Op::Delete { key } => writer.delete(key),
            }
        }
        *operations = kept;
    }

    /// A letter from one shard to another.
    pub(super) fn letter(&mut self, letter: &mut Letter) {
        if self.strikes(Defect::LosesAConfirmation) {
            letter.confirms.kept = 0;
        }
        if self.is(Defect::ConfirmsTooSoon) {
            letter.confirms.kept = u64::MAX / 2;
        }
        for mut parcel in core::mem::take(&mut letter.parcels) {
            if let Parcel::Message(routed) = &mut parcel
                && self.is(Defect::ForgetsAnAuthor)
            {
                routed.author = None;
            }
            let is_lost = match &parcel {
                Parcel::Interest(interest) => {
                    interest.members > 0 && self.strikes(Defect::LosesAnInterest)
                }
                Parcel::Message(_) | Parcel::Bundle(_) => self.strikes(Defect::LosesARoutedMessage),
                Parcel::Completed(_) => self.strikes(Defect::LosesACompletion),
                Parcel::Shared(_)
                | Parcel::Returned(_)
                | Parcel::Counts(_)
                | Parcel::User(_)
                | Parcel::Gone(_)
                | Parcel::Hold(_) => false,
                Parcel::Release(_) => self.strikes(Defect::LosesARelease),
            };
            let is_doubled = match &parcel {
                Parcel::Message(_) | Parcel::Bundle(_) => self.strikes(Defect::RoutesTwice),
                Parcel::Shared(_) => self.strikes(Defect::SharesTwice),
                _ => false,
            };
            if is_doubled {
                letter.parcels.push(parcel.clone());
            }
            if !is_lost {
                letter.parcels.push(parcel);
            }
        }
    }

    /// What was read of a connection that goes to another shard: CONNECT comes first.
    pub(super) fn hand_over(&mut self, version: Version, bytes: &mut Vec<u8>) {
        if !self.strikes(Defect::LosesAWillOnTheWay) {
            return;
        }
        let Ok(Some((frame, length))) = frame::split(bytes, u32::MAX) else {
            return;
        };
        if let Ok(Packet::Connect(connect)) = codec::decode(version, frame) {
            let connect = codec::packet::Connect {
                will: None,
                ..connect
            };
            let mut spoilt = Vec::new();
            let said = codec::encode(&Packet::Connect(connect), version, &mut spoilt);
            debug_assert!(said.is_ok(), "it was a packet");
            spoilt.extend_from_slice(&bytes[length..]);
            *bytes = spoilt;
        }
    }

    /// The batches that were read from the log.
    pub(super) fn recovered(&mut self, batches: &mut Vec<Vec<u8>>) {
        if self.is(Defect::LosesTheLastBatch) {
            batches.pop();
        }
    }

    /// Whole packets on their way to a client.
    pub(super) fn down(&mut self, (to, version): (Owner, Version), bytes: Vec<u8>) -> Vec<u8> {
        if self.defect.is_none() {
            return bytes;
        }
        let mut packets: Vec<Vec<u8>> = packets_of(&bytes).map(<[u8]>::to_vec).collect();
        if self.is(Defect::SwapsTwoPublishes) {
            self.swap(version, &mut packets);
        }
        let mut out = Vec::new();
        let mut open: Option<PacketId> = None;
        for mut packet in packets {
            self.spoil_answer((to, version), &mut packet);
            let twin = self.spoil(version, &mut packet, &mut open);
            out.extend_from_slice(&packet);
            out.extend_from_slice(&twin.unwrap_or_default());
        }
        out
    }

    /// Spoils one packet. Gives what is to be sent behind it.
    fn spoil(
        &mut self,
        version: Version,
        packet: &mut Vec<u8>,
        open: &mut Option<PacketId>,
    ) -> Option<Vec<u8>> {
        let copy = packet.clone();
        match parsed(version, &copy)? {
            Packet::ConnAck(_) if self.strikes(Defect::DeniesASession) => packet[2] = 0,
            Packet::ConnAck(answer)
                if !answer.reason.is_error() && self.strikes(Defect::InventsASession) =>
            {
                packet[2] = 1;
            }
            Packet::PubRel(_) if self.strikes(Defect::ForgetsAPubRel) => packet.clear(),
            Packet::Publish(publish)
                if publish.payload.len() > 100 && self.strikes(Defect::CutsAPayload) =>
            {
                let cut = codec::packet::Publish {
                    payload: &publish.payload[..publish.payload.len() - 1],
                    ..publish
                };
                *packet = encoded(version, &cut);
            }
            Packet::PubAck(_) if self.strikes(Defect::ForgetsAPubAck) => packet.clear(),
            Packet::Publish(publish) if publish.qos > QoS::AtMostOnce => {
                let twice = publish.qos == QoS::ExactlyOnce && self.strikes(Defect::SendsQoS2Twice);
                let strays =
                    publish.topic.starts_with("s/") && self.strikes(Defect::ServesTwoMembers);
                if self.strikes(Defect::SwallowsADelivery) {
                    packet.clear();
                } else if self.is(Defect::ClearsDup) {
                    packet[0] &= !0b1000;
                } else if let Some(id) = open.filter(|_| self.strikes(Defect::ReusesAPacketId)) {
                    let reused = codec::packet::Publish {
                        packet_id: Some(id),
                        ..publish
                    };
                    *packet = encoded(version, &reused);
                } else if twice || strays {
                    self.next_id += 1;
                    let other = codec::packet::Publish {
                        packet_id: PacketId::new(self.next_id),
                        ..publish
                    };
                    let twin = encoded(version, &other);
                    if twice {
                        return Some(twin);
                    }
                    self.stray = Some(twin);
                }
                *open = publish.packet_id;
            }
            _ => {}
        }
        None
    }

    /// Spoils what SUBACK or UNSUBACK says: a reason for each filter, at its end.
    fn spoil_answer(&mut self, (to, version): (Owner, Version), packet: &mut [u8]) {
        const QUOTA_EXCEEDED: u8 = ReasonCode::QUOTA_EXCEEDED.0;
        const UNSPECIFIED: u8 = ReasonCode::UNSPECIFIED.0;
        const SUCCESS: u8 = ReasonCode::SUCCESS.0;
        const NO_SUBSCRIPTION_EXISTED: u8 = ReasonCode::NO_SUBSCRIPTION_EXISTED.0;
        let (is_subscribe, id, count) = match parsed(version, packet) {
            Some(Packet::SubAck(answer)) => (true, answer.packet_id, answer.reasons.len()),
            Some(Packet::UnsubAck(answer)) => (false, answer.packet_id, answer.reasons.len()),
            _ => return,
        };
        let (_, reasons) = packet.split_at_mut(packet.len() - count);
        let was_lowered = self.lowered.remove(&(to, id.get()));
        if is_subscribe && count > 1 && self.strikes(Defect::TurnsReasonsAround) {
            reasons.reverse();
        }
        let Some(last) = reasons.last_mut() else {
            return; // UNSUBACK before 5.0
        };
        let says_instead = match (is_subscribe, *last) {
            (true, 1) if was_lowered => 2,
            (true, 0 | 1) if self.strikes(Defect::ClaimsToGrantMore) => *last + 1,
            (true, 0..=2) if self.strikes(Defect::RefusesInVain) => match version {
                Version::V5 => QUOTA_EXCEEDED,
                Version::V3 | Version::V4 => UNSPECIFIED,
            },
            (false, NO_SUBSCRIPTION_EXISTED) if self.strikes(Defect::InventsASubscription) => {
                SUCCESS
            }
            (false, SUCCESS) if self.strikes(Defect::DeniesASubscription) => {
                NO_SUBSCRIPTION_EXISTED
            }
            _ => *last,
        };
        *last = says_instead;
    }

    fn swap(&mut self, version: Version, packets: &mut [Vec<u8>]) {
        let is_acknowledged = |packet: &Vec<u8>| match parsed(version, packet) {
            Some(Packet::Publish(publish)) => publish.qos > QoS::AtMostOnce,
            _ => false,
        };
        for place in 1..packets.len() {
            if is_acknowledged(&packets[place - 1])
                && is_acknowledged(&packets[place])
                && self.chance.one_in(4)
            {
                packets.swap(place - 1, place);
            }
        }
    }

    /// A CONNECT on its way to the broker.
    pub(super) fn connect(&self, version: Version, bytes: &mut Vec<u8>) {
        if self.defect.is_none() {
            return;
        }
        let copy = bytes.clone();
        let Some(Packet::Connect(connect)) = parsed(version, &copy) else {
            return;
        };
        let Some(will) = connect.will.as_ref() else {
            return;
        };
        let is_delayed = will.properties.will_delay_interval().unwrap_or(0) > 0;
        let mut properties = PropertyBuffer::new();
        properties.push(Property::WillDelayInterval(u32::MAX));
        let retain = match self.defect {
            Some(Defect::RetainsNoWill) => false,
            Some(Defect::RetainsEveryWill) => true,
            _ => will.retain,
        };
        let spoilt = codec::packet::Will {
            properties: match is_delayed && self.is(Defect::SwallowsADelayedWill) {
                true => properties.as_properties(),
                false => will.properties,
            },
            retain,
            ..*will
        };
        let connect = codec::packet::Connect {
            will: Some(spoilt),
            ..connect
        };
        bytes.clear();
        codec::encode(&Packet::Connect(connect), version, bytes).expect("it was a packet");
    }

    /// What makes a session that is as one would be that a clean start has not ended: nobody comes
    /// back to it, and it goes on to collect what it subscribes to.
    pub(super) fn kept_session(&mut self) -> Option<Vec<u8>> {
        if !self.strikes(Defect::KeepsAnEndedSession) {
            return None;
        }
        let mut properties = PropertyBuffer::new();
        properties.push(Property::SessionExpiryInterval(u32::MAX));
        let connect = codec::packet::Connect {
            properties: properties.as_properties(),
            ..crate::world::connect(Version::V5, "kept")
        };
        let options = SubscribeOptions {
            maximum_qos: QoS::ExactlyOnce,
            ..SubscribeOptions::default()
        };
        let mut filters = SubscribeBuffer::new();
        filters.push("t/#", options);
        let packets = [
            Packet::Connect(connect),
            Packet::Subscribe(codec::packet::Subscribe {
                packet_id: PacketId::FIRST,
                properties: Properties::EMPTY,
                filters: filters.as_filters(Version::V5),
            }),
            Packet::Disconnect(codec::packet::Disconnect {
                reason: ReasonCode::SUCCESS,
                properties: Properties::EMPTY,
            }),
        ];
        let mut bytes = Vec::new();
        for packet in &packets {
            codec::encode(packet, Version::V5, &mut bytes).expect("they can be said");
        }
        Some(bytes)
    }

    /// Whole packets on their way to the broker. Gives what is answered without it.
    pub(super) fn up(&mut self, (from, version): (Owner, Version), bytes: &mut Vec<u8>) -> Vec<u8> {
        let mut answers = Vec::new();
        if self.defect.is_none() {
            return answers;
        }
        let mut kept = Vec::new();
        for packet in packets_of(bytes) {
            let before = kept.len();
            let swallowed = match parsed(version, packet) {
                Some(Packet::PubAck(_) | Packet::PubComp(_)) => self.strikes(Defect::LeaksInflight),
                Some(Packet::Disconnect(_)) => self.strikes(Defect::InventsAWill),
                Some(Packet::Publish(publish)) if publish.qos == QoS::AtLeastOnce => {
                    let drops = self.strikes(Defect::AcknowledgesAndDrops);
                    if drops && let Some(id) = publish.packet_id {
                        answers.extend_from_slice(&[0x40, 2]);
                        answers.extend_from_slice(&id.get().to_be_bytes());
                    }
                    drops
                }
                _ => false,
            };
            if !swallowed {
                kept.extend_from_slice(packet);
            }
            // The options of its last filter come last.
            if self.is(Defect::GrantsLess)
                && let Some(Packet::Subscribe(subscribe)) = parsed(version, packet)
                && let Some(options) = kept[before..].last_mut()
                && *options & 3 == 2
            {
                *options -= 1;
                self.lowered.insert((from, subscribe.packet_id.get()));
            }
        }
        *bytes = kept;
        answers
    }
}

fn packets_of(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (_, length) = frame::split(rest, u32::MAX).ok()??;
        let (packet, later) = rest.split_at(length);
        rest = later;
        Some(packet)
    })
}

fn parsed(version: Version, packet: &[u8]) -> Option<Packet<'_>> {
    let (frame, _) = frame::split(packet, u32::MAX).ok()??;
    codec::decode(version, frame).ok()
}

fn encoded(version: Version, publish: &codec::packet::Publish<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode(&Packet::Publish(*publish), version, &mut bytes).expect("it was a packet");
    bytes
}
