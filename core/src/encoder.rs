//! Encoding a PUBLISH for one client, or once for many of a kind.

use crate::codec::packet::Version;
use crate::codec::property::{Property, PropertyBuffer};
use crate::codec::{PublishFlags, PublishParts};
use crate::connection::{Aliased, Connection};
use crate::id::PacketId;
use crate::message::MessageView;
use crate::session::queue::IdentifiersRef;
use crate::time::UnixTime;
use alloc::vec::Vec;

/// At most what a PUBLISH takes beside topic, payload and other properties: fixed header, lengths,
/// packet identifier and topic alias.
const ALIASED_BYTES: usize = 5 + 2 + 2 + 4 + 3;

/// How a PUBLISH to one client looks.
#[derive(Clone, Copy)]
pub(crate) struct Form<'a> {
    pub(crate) flags: PublishFlags,
    pub(crate) packet_id: Option<PacketId>,
    pub(crate) identifiers: IdentifiersRef<'a>,
}

/// Encodes PUBLISH packets; owns the working space for that.
#[derive(Default)]
pub(crate) struct Encoder {
    properties: PropertyBuffer,
    /// While one message is fanned out, one encoded packet for each version class and flags without
    /// DUP. There is no QoS 3: four are never used.
    templates: [Template; 16],
    /// Which of them are of the present message, one bit each.
    valid: u16,
}

#[derive(Default)]
struct Template {
    bytes: Vec<u8>,
    packet_id_at: usize,
}

impl Encoder {
    /// The next message differs from the one before.
    pub(crate) const fn begin(&mut self) {
        self.valid = 0;
    }

    /// Appends a PUBLISH to the output of a connection. `false` when it is larger than the client
    /// accepts; nothing was appended then. [MQTT-3.1.2-24]
    pub(crate) fn publish(
        &mut self,
        connection: &mut Connection,
        view: &MessageView<'_>,
        form: Form<'_>,
        wall: UnixTime,
    ) -> bool {
        let version = connection.profile.version();
        let called = connection
            .names()
            .and_then(|names| names.called(view.topic));
        let mut topic = called.as_deref().unwrap_or(view.topic);
        let mut properties = [view.properties, &[]];
        if connection.profile.has_properties() {
            self.properties.clear();
            self.expiry(view.expires_at, wall);
            for identifier in form.identifiers.iter() {
                self.properties
                    .push(Property::SubscriptionIdentifier(identifier));
            }
            // Room for the alias as well, or the client would not hear which topic it stands for.
            let has_room = connection.maximum_packet_size as usize
                >= (ALIASED_BYTES + topic.len() + view.payload.len())
                    .saturating_add(view.properties.len() + self.properties.len_bytes());
            if let Some(extra) = connection.extra.as_mut() {
                let aliased = match has_room {
                    true => extra.outbound.choose(topic),
                    false => extra.outbound.known(topic),
                };
                match aliased {
                    Aliased::Plain => {}
                    Aliased::Introduced(alias) => {
                        self.properties.push(Property::TopicAlias(alias));
                    }
                    Aliased::Known(alias) => {
                        topic = "";
                        self.properties.push(Property::TopicAlias(alias));
                    }
                }
            }
            // Nearly always none: then the length that was set just now is not read with the rest.
            if !self.properties.is_empty() {
                properties[1] = self.properties.as_properties().as_bytes();
            }
        }
        let parts = PublishParts {
            flags: form.flags,
            topic,
            packet_id: form.packet_id,
            properties,
            payload: view.payload,
        };
        let maximum = connection.maximum_packet_size;
        parts
            .encode(version, maximum, &mut connection.outbox)
            .is_some()
    }

    /// The remaining lifetime, in seconds. [MQTT-3.3.2-6]
    fn expiry(&mut self, expires_at: UnixTime, wall: UnixTime) {
        if expires_at != UnixTime::MAX {
            // To the nearest second: the clocks of two shards may be a turn apart, and it must not
            // be more than what the publisher gave.
            let left = expires_at.since(wall);
            let seconds = ((left + 500) / 1_000).max(u64::from(left > 0));
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            self.properties
                .push(Property::MessageExpiryInterval(seconds));
        }
    }

    /// The same for one of many recipients: encoded once for each kind, then copied and patched.
    pub(crate) fn publish_copy(
        &mut self,
        connection: &mut Connection,
        view: &MessageView<'_>,
        form: Form<'_>,
        wall: UnixTime,
    ) -> bool {
        let has_alias = connection
            .extra
            .as_ref()
            .is_some_and(|extra| !extra.outbound.is_off() || extra.names.is_some());
        if !form.identifiers.is_empty() || has_alias {
            return self.publish(connection, view, form, wall);
        }
        let version = connection.profile.version();
        debug_assert!(
            !form.flags.dup(),
            "what is copied is delivered for the first time"
        );
        let class = u8::from(connection.profile.has_properties());
        let place = usize::from(class << 3 | form.flags.with_dup(false).bits());
        if self.valid & 1 << place == 0 {
            self.fill(place, view, form, (version, wall));
        }
        let template = &self.templates[place];
        let size = template.bytes.len();
        if size == 0 || size > connection.maximum_packet_size as usize {
            return false;
        }
        let start = connection.outbox.len();
        connection.outbox.extend_from_slice(&template.bytes);
        if let Some(id) = form.packet_id {
            let at = start + template.packet_id_at;
            connection.outbox[at..at + 2].copy_from_slice(&id.get().to_be_bytes());
        }
        true
    }

    fn fill(
        &mut self,
        place: usize,
        view: &MessageView<'_>,
        form: Form<'_>,
        (version, wall): (Version, UnixTime),
    ) {
        self.properties.clear();
        if version == Version::V5 {
            self.expiry(view.expires_at, wall);
        }
        let parts = PublishParts {
            flags: form.flags.with_dup(false),
            topic: view.topic,
            packet_id: form.packet_id,
            properties: [view.properties, self.properties.as_properties().as_bytes()],
            payload: view.payload,
        };
        let template = &mut self.templates[place];
        template.bytes.clear();
        // It stays empty when the protocol cannot say it.
        let at = parts.encode(version, u32::MAX, &mut template.bytes);
        template.packet_id_at = at.unwrap_or_default();
        self.valid |= 1 << place;
    }
}
