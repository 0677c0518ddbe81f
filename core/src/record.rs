//! Persistent records: keys and values, encode and decode only. `docs/log-format.md` shows them.
//!
//! | key | value | life |
//! |---|---|---|
//! | `B` | boot epoch | each start |
//! | `C` | the broker's wall clock, the machine's wall clock | now and then |
//! | `S` session | expiry, deadlines, will, client identifier, user | connect to end of session |
//! | `U` session filter | options, identifier | subscribe to unsubscribe |
//! | `M` message | the message | until nothing refers to it; no record says so |
//! | `Q` session sequence | message, flags, stage, packet identifier, subscription identifiers | until acknowledged |
//! | `I` session packet | nothing: an incoming QoS 2 message waits for PUBREL | PUBREC to PUBREL |
//! | `J` session packet shard | slots and shared subscriptions for which several shards took that message in | PUBREC to PUBREL |
//! | `F`+128 session packet | fingerprint of a message that was refused, and stays so | refused to identifier used again |
//! | `X`+128 session sequence | nothing: that delivery of a session that ends is another session's now | until the end of the session is recorded |
//! | `G`+128 first last | nothing: the sessions before this gap in the log have ended | until a checkpoint |
//! | `T` tenant | nothing: there are records of this tenant | from its first session on |
//! | `R` topic, or tenant NUL topic | message | retained until replaced or cleared |
//! | `P`+128 session filter | where a subscription stands in the retained messages, its QoS, identifier, last messages | subscribe until all are under way |
//!
//! All numbers little-endian. A value may be longer than what is read here: later versions append.

use crate::codec::packet::{QoS, RetainHandling, SubscribeOptions};
use crate::id::{MessageId, PacketId};
use crate::letter::{DeliveryId, ExchangeId};
use crate::log::batch::SKIPPABLE;
use crate::message::Message;
use crate::retained::{Author, Last};
use crate::session::Session;
use crate::session::cursors::Cursor;
use crate::session::inflight::Stage;
use crate::session::queue::{Delivery, Identifiers};
use crate::taken::Taken;
use crate::time::UnixTime;
use crate::topic::Subscription;
use crate::will::Will;
use alloc::boxed::Box;
use alloc::vec::Vec;

pub(crate) const BOOT: u8 = b'B';
pub(crate) const CLOCK: u8 = b'C';
pub(crate) const SESSION: u8 = b'S';
pub(crate) const SUBSCRIPTION: u8 = b'U';
pub(crate) const MESSAGE: u8 = b'M';
pub(crate) const DELIVERY: u8 = b'Q';
pub(crate) const RECEIVED: u8 = b'I';
pub(crate) const RETAINED: u8 = b'R';
pub(crate) const TAKEN: u8 = b'J';
/// A version that does not know it would take what belongs to a tenant for everybody's.
pub(crate) const TENANT: u8 = b'T';
/// A version that does not know it loses the rest of a fan-out of retained messages, as all did
/// before.
pub(crate) const CURSOR: u8 = b'P' | SKIPPABLE;

/// A version that does not know it may take a message in that it has refused before, and behind
/// later ones, as all did before.
pub(crate) const REFUSED: u8 = b'F' | SKIPPABLE;
/// A version that does not know it may deliver a message of a shared subscription twice after a
/// crash, as all did before.
pub(crate) const MOVED: u8 = b'X' | SKIPPABLE;

/// A version that does not know it ends sessions after a repair that a later one has ended already.
pub(crate) const HEEDED: u8 = b'G' | SKIPPABLE;

/// The records of a session: a kind and its number begin their keys, and they end with it.
pub(crate) const OF_SESSION: [u8; 6] = [SUBSCRIPTION, DELIVERY, RECEIVED, CURSOR, REFUSED, MOVED];

/// Reads values front to back; `None` at the first thing that is not there.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).and_then(|bytes| bytes.first().copied())
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.bytes(2)?
            .first_chunk()
            .map(|bytes| u16::from_le_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.bytes(4)?
            .first_chunk()
            .map(|bytes| u32::from_le_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.bytes(8)?
            .first_chunk()
            .map(|bytes| u64::from_le_bytes(*bytes))
    }

    pub(crate) fn message_id(&mut self) -> Option<MessageId> {
        Some(MessageId {
            origin: self.u64()?,
            sequence: self.u64()?,
        })
    }

    /// A length of four bytes, and as many bytes.
    fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.bytes(length)
    }
}

pub(crate) fn session_key(kind: u8, session: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&session.to_le_bytes());
    key
}

/// Of a gap in the log: the first and the last number that were given up.
pub(crate) fn heeded_key((first, last): (u64, u64)) -> [u8; 17] {
    let mut key = [HEEDED; 17];
    key[1..9].copy_from_slice(&first.to_le_bytes());
    key[9..].copy_from_slice(&last.to_le_bytes());
    key
}

pub(crate) fn delivery_key(session: u64, sequence: u64) -> [u8; 17] {
    key_of_delivery(DELIVERY, DeliveryId { session, sequence })
}

pub(crate) fn moved_key(delivery: DeliveryId) -> [u8; 17] {
    key_of_delivery(MOVED, delivery)
}

fn key_of_delivery(kind: u8, delivery: DeliveryId) -> [u8; 17] {
    let mut key = [kind; 17];
    key[1..9].copy_from_slice(&delivery.session.to_le_bytes());
    key[9..].copy_from_slice(&delivery.sequence.to_le_bytes());
    key
}

pub(crate) fn received_key(session: u64, id: PacketId) -> [u8; 11] {
    key_of_packet(RECEIVED, session, id)
}

pub(crate) fn refused_key(session: u64, id: PacketId) -> [u8; 11] {
    key_of_packet(REFUSED, session, id)
}

fn key_of_packet(kind: u8, session: u64, id: PacketId) -> [u8; 11] {
    let mut key = [kind; 11];
    key[1..9].copy_from_slice(&session.to_le_bytes());
    key[9..].copy_from_slice(&id.get().to_le_bytes());
    key
}

pub(crate) fn taken_key(exchange: ExchangeId, shard: u16) -> [u8; 13] {
    let mut key = [TAKEN; 13];
    key[1..9].copy_from_slice(&exchange.session.to_le_bytes());
    key[9..11].copy_from_slice(&exchange.packet_id.get().to_le_bytes());
    key[11..].copy_from_slice(&shard.to_le_bytes());
    key
}

pub(crate) fn encode_taken(taken: &Taken, out: &mut Vec<u8>) {
    out.extend_from_slice(&taken.slots.to_le_bytes());
    for group in &taken.groups {
        out.extend_from_slice(&group.to_le_bytes());
    }
}

/// What one shard says, added to what others say.
pub(crate) fn decode_taken(value: &[u8], shard: u16, taken: &mut Taken) -> Option<()> {
    let mut fields = Fields(value);
    taken.slots |= fields.u64()?;
    taken.groups.extend(core::iter::from_fn(|| fields.u64()));
    taken.writers |= 1_u64.checked_shl(u32::from(shard))?;
    taken.is_restored = true;
    Some(())
}

pub(crate) fn message_id_bytes(id: MessageId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.origin.to_le_bytes());
    bytes[8..].copy_from_slice(&id.sequence.to_le_bytes());
    bytes
}

pub(crate) fn message_key(id: MessageId) -> [u8; 17] {
    let mut key = [MESSAGE; 17];
    key[1..].copy_from_slice(&message_id_bytes(id));
    key
}

/// What a session record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRecord {
    /// `None` is the default one.
    pub(crate) tenant: Option<Box<str>>,
    pub(crate) client_id: Box<str>,
    pub(crate) user: Option<Box<str>>,
    pub(crate) had_own_rules: bool,
    pub(crate) expiry_s: u32,
    /// `MAX` while it has a connection, or when it never ends.
    pub(crate) ends_at: UnixTime,
    /// Whether it had a connection when this was written.
    pub(crate) is_connected: bool,
    pub(crate) will_at: UnixTime,
    pub(crate) will: Option<Box<Will>>,
}

pub(crate) fn encode_session(session: &Session, tenant: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(&session.expiry_s.to_le_bytes());
    out.extend_from_slice(&session.ends_at.0.to_le_bytes());
    out.extend_from_slice(&session.will_at.0.to_le_bytes());
    let connected = u8::from(session.connection.is_some());
    let has_will = u8::from(session.will.is_some());
    let has_user = u8::from(session.user().is_some());
    let had_own_rules = u8::from(session.had_own_rules());
    let has_tenant = u8::from(tenant.is_some());
    out.push(connected | has_will << 1 | has_user << 2 | had_own_rules << 3 | has_tenant << 4);
    counted(session.client_id.as_bytes(), out);
    if let Some(will) = session.will.as_ref() {
        out.push(will.qos as u8 | u8::from(will.retain) << 2);
        out.push(u8::from(will.message_expiry_s.is_some()));
        out.extend_from_slice(&will.message_expiry_s.unwrap_or(0).to_le_bytes());
        out.extend_from_slice(&will.delay_s.to_le_bytes());
        counted(will.topic.as_bytes(), out);
        counted(&will.properties, out);
        counted(&will.payload, out);
    }
    if let Some(user) = session.user() {
        counted(user.as_bytes(), out);
    }
    if let Some(tenant) = tenant {
        counted(tenant.as_bytes(), out);
    }
}

/// The key of a retained message. No topic and no tenant has a NUL.
pub(crate) fn retained_key(message: &Message, key: &mut Vec<u8>) {
    let view = message.view();
    key.push(RETAINED);
    if !view.tenant.is_empty() {
        key.extend_from_slice(view.tenant.as_bytes());
        key.push(0);
    }
    key.extend_from_slice(view.topic.as_bytes());
}

/// Tenant and topic of what stands in it, the tenant empty if there is none.
pub(crate) fn retained_topic(text: &str) -> (&str, &str) {
    text.split_once('\0').unwrap_or(("", text))
}

/// The message that is retained, and in eight more bytes its author, if that is known.
pub(crate) fn encode_retained(last: Last) -> ([u8; 24], usize) {
    let mut value = [0; 24];
    value[..16].copy_from_slice(&message_id_bytes(last.id));
    let Some(author) = last.author else {
        return (value, 16);
    };
    value[16..].copy_from_slice(&author.get().to_le_bytes());
    (value, 24)
}

pub(crate) fn decode_retained(value: &[u8]) -> Option<Last> {
    let mut fields = Fields(value);
    Some(Last {
        id: fields.message_id()?,
        author: fields.u64().and_then(Author::new),
    })
}

fn counted(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

pub(crate) fn decode_session(value: &[u8]) -> Option<SessionRecord> {
    let mut fields = Fields(value);
    let expiry_s = fields.u32()?;
    let ends_at = UnixTime(fields.u64()?);
    let will_at = UnixTime(fields.u64()?);
    let flags = fields.u8()?;
    let client_id = core::str::from_utf8(fields.counted()?).ok()?.into();
    let will = if flags & 2 == 0 {
        None
    } else {
        Some(Box::new(decode_will(&mut fields)?))
    };
    let user = if flags & 4 == 0 {
        None
    } else {
        Some(core::str::from_utf8(fields.counted()?).ok()?.into())
    };
    let tenant = if flags & 16 == 0 {
        None
    } else {
        Some(core::str::from_utf8(fields.counted()?).ok()?.into())
    };
    Some(SessionRecord {
        tenant,
        client_id,
        user,
        had_own_rules: flags & 8 != 0,
        expiry_s,
        ends_at,
        is_connected: flags & 1 != 0,
        will_at,
        will,
    })
}

fn decode_will(fields: &mut Fields<'_>) -> Option<Will> {
    let flags = fields.u8()?;
    let expires = fields.u8()? != 0;
    let expiry = fields.u32()?;
    let delay_s = fields.u32()?;
    Some(Will {
        topic: core::str::from_utf8(fields.counted()?).ok()?.into(),
        properties: fields.counted()?.to_vec(),
        payload: fields.counted()?.into(),
        qos: QoS::from_bits(flags & 3)?,
        retain: flags & 4 != 0,
        delay_s,
        message_expiry_s: expires.then_some(expiry),
    })
}

pub(crate) fn encode_subscription(subscription: Subscription) -> [u8; 5] {
    let options = subscription.options;
    let flags = options.maximum_qos as u8
        | u8::from(options.no_local) << 2
        | u8::from(options.retain_as_published) << 3
        | (options.retain_handling as u8) << 4;
    let [a, b, c, d] = subscription.identifier.to_le_bytes();
    [flags, a, b, c, d]
}

pub(crate) fn decode_subscription(value: &[u8]) -> Option<Subscription> {
    let mut fields = Fields(value);
    let flags = fields.u8()?;
    let options = SubscribeOptions {
        maximum_qos: QoS::from_bits(flags & 3)?,
        no_local: flags & 4 != 0,
        retain_as_published: flags & 8 != 0,
        retain_handling: match flags >> 4 & 3 {
            0 => RetainHandling::Send,
            1 => RetainHandling::SendIfNew,
            _ => RetainHandling::DoNotSend,
        },
    };
    Some(Subscription {
        options,
        identifier: fields.u32()?,
    })
}

pub(crate) fn encode_cursor(cursor: &Cursor, out: &mut Vec<u8>) {
    out.push(cursor.maximum_qos as u8);
    out.extend_from_slice(&cursor.identifier.to_le_bytes());
    out.extend_from_slice(&message_id_bytes(cursor.last));
    // No topic is empty.
    counted(cursor.after.as_deref().unwrap_or("").as_bytes(), out);
    for sequence in &cursor.elsewhere {
        out.extend_from_slice(&sequence.to_le_bytes());
    }
}

pub(crate) fn decode_cursor(filter: &str, value: &[u8]) -> Option<Cursor> {
    let mut fields = Fields(value);
    let maximum_qos = QoS::from_bits(fields.u8()?)?;
    let identifier = fields.u32()?;
    let last = fields.message_id()?;
    let after = core::str::from_utf8(fields.counted()?).ok()?;
    let elsewhere = core::iter::from_fn(|| fields.u64()).collect();
    Some(Cursor {
        filter: filter.into(),
        after: (!after.is_empty()).then(|| after.into()),
        maximum_qos,
        identifier,
        without: None,
        last,
        elsewhere,
        is_recorded: true,
        has_moved: false,
    })
}

/// What a delivery record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DeliveryRecord {
    pub(crate) message: MessageId,
    pub(crate) flags: u8,
    /// `None` while it waits in the queue.
    pub(crate) exchange: Option<(Stage, PacketId)>,
    pub(crate) identifiers: Identifiers,
}

pub(crate) fn encode_delivery(
    delivery: &Delivery,
    message: MessageId,
    exchange: Option<(Stage, PacketId)>,
    out: &mut Vec<u8>,
) {
    let (stage, id) = match exchange {
        None => (0, 0),
        Some((Stage::Published, id)) => (1, id.get()),
        Some((Stage::Released, id)) => (2, id.get()),
    };
    out.extend_from_slice(&message_id_bytes(message));
    out.push(delivery.flags());
    out.push(stage);
    out.extend_from_slice(&id.to_le_bytes());
    let count = delivery.identifiers().iter().count();
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
    for identifier in delivery.identifiers().iter().take(usize::from(u16::MAX)) {
        out.extend_from_slice(&identifier.to_le_bytes());
    }
}

pub(crate) fn decode_delivery(value: &[u8]) -> Option<DeliveryRecord> {
    let mut fields = Fields(value);
    let message = fields.message_id()?;
    let flags = fields.u8()?;
    let stage = fields.u8()?;
    let id = fields.u16()?;
    let exchange = match stage {
        0 => None,
        1 => Some((Stage::Published, PacketId::new(id)?)),
        2 => Some((Stage::Released, PacketId::new(id)?)),
        _ => return None,
    };
    let mut identifiers = Identifiers::default();
    for _ in 0..fields.u16()? {
        identifiers.push(fields.u32()?);
    }
    Some(DeliveryRecord {
        message,
        flags,
        exchange,
        identifiers,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::TenantId;

    #[test]
    fn a_session_remembers_its_user_and_one_of_an_earlier_version_has_none() {
        let mut session = Session::new(TenantId::DEFAULT, "c".into(), 7);
        session.expiry_s = 60;
        let mut value = Vec::new();
        encode_session(&session, None, &mut value);
        // As every version before users wrote it.
        const EARLIER: &[u8] = b"\x3c\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\
            \xff\xff\xff\xff\xff\xff\xff\xff\0\x01\0\0\0c";
        assert_eq!(value, EARLIER);
        let decoded = decode_session(EARLIER).unwrap();
        assert_eq!((decoded.user, decoded.expiry_s), (None, 60));
        assert_eq!(decoded.tenant, None);

        session.belongs_to(Some("alice"), false);
        value.clear();
        encode_session(&session, None, &mut value);
        assert_eq!(
            decode_session(&value).unwrap().user.as_deref(),
            Some("alice")
        );

        value.clear();
        encode_session(&session, Some("acme"), &mut value);
        let decoded = decode_session(&value).unwrap();
        assert_eq!(decoded.user.as_deref(), Some("alice"));
        assert_eq!(decoded.tenant.as_deref(), Some("acme"));
    }

    #[test]
    fn a_retained_message_remembers_its_author_and_one_of_an_earlier_version_has_none() {
        let id = MessageId {
            origin: 1,
            sequence: 2,
        };
        for author in [None, Author::of("client")] {
            let last = Last { id, author };
            let (value, length) = encode_retained(last);
            assert_eq!(decode_retained(&value[..length]), Some(last));
            assert_eq!(
                value[..16],
                message_id_bytes(id),
                "as every version wrote it"
            );
        }
        assert_eq!(decode_retained(&[0; 15]), None);
    }
}
