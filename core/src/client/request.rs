//! What the caller asks for.

use super::alias::Spelling;
use super::conversation::{Conversation, Stage};
use super::error::Misuse;
use super::event::{DisconnectRequest, End, PublishRequest, SubscribeRequest, UnsubscribeRequest};
use super::inflight::Stage as Exchange;
use crate::codec::packet::{
    Auth, Disconnect, Publish, QoS, Subscribe, SubscribeOptions, Unsubscribe,
};
use crate::codec::{Packet, Property, ReasonCode, SubscribeBuffer, UnsubscribeBuffer, encode};
use crate::error::EncodeError;
use crate::id::PacketId;
use crate::topic::{TopicFilter, TopicName};
use alloc::boxed::Box;
use alloc::vec::Vec;

impl Conversation {
    fn check_connected(&self) -> Result<(), Misuse> {
        if self.stage == Stage::Connected {
            Ok(())
        } else {
            Err(Misuse::NotConnected)
        }
    }

    pub(super) fn publish(
        &mut self,
        request: &PublishRequest<'_>,
    ) -> Result<Option<PacketId>, Misuse> {
        self.check_connected()?;
        TopicName::new(request.topic)?;
        let properties = request.properties;
        if properties.topic_alias().is_some() || properties.subscription_identifier().is_some() {
            return Err(Misuse::Property);
        }
        self.limits.admit_message(request.qos, request.retain)?;
        if self.unsent_bytes() >= self.config.unsent_bytes_max {
            return Err(Misuse::BufferFull);
        }
        let packet_id = match request.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(self.message_id()?),
        };
        let publish = Publish {
            dup: false,
            qos: request.qos,
            retain: request.retain,
            topic: request.topic,
            packet_id,
            properties,
            payload: request.payload,
        };
        let packet = self.send_publish(&publish)?;
        if let Some(packet_id) = packet_id {
            self.inflight
                .begin(packet_id, Exchange::Published(request.qos, packet));
        }
        Ok(packet_id)
    }

    /// A packet identifier for a message, while there is room for one. Nothing but messages is held
    /// back for want of room.
    fn message_id(&self) -> Result<PacketId, Misuse> {
        let room = self.window() > 0;
        let unused = room.then(|| self.inflight.unused_id()).flatten();
        unused.ok_or(Misuse::WindowFull)
    }

    /// Sends a message, with an alias where there is one. Gives the packet as it is to be resent,
    /// which is without: aliases end with the connection. It is empty at QoS 0.
    fn send_publish(&mut self, publish: &Publish<'_>) -> Result<Box<[u8]>, Misuse> {
        let resendable = publish.packet_id.is_some();
        let spelling = self.aliases.spelling(publish.topic);
        let (Spelling::NameAndAlias(alias) | Spelling::Alias(alias)) = spelling else {
            let start = self.send(&Packet::Publish(*publish))?;
            let packet: &[u8] = if resendable {
                self.sent_since(start)
            } else {
                &[]
            };
            return Ok(packet.into());
        };
        let mut plain = Vec::new();
        if resendable {
            encode(
                &Packet::Publish(*publish),
                self.profile.version(),
                &mut plain,
            )?;
            self.limits.admit_size(plain.len())?;
        }
        let mut properties = core::mem::take(&mut self.properties);
        properties.clear();
        properties.extend(publish.properties);
        properties.push(Property::TopicAlias(alias));
        let known = spelling == Spelling::Alias(alias);
        let sent = self.send(&Packet::Publish(Publish {
            topic: if known { "" } else { publish.topic },
            properties: properties.as_properties(),
            ..*publish
        }));
        self.properties = properties;
        sent?;
        if !known {
            self.aliases.insert(publish.topic, alias);
        }
        Ok(plain.into_boxed_slice())
    }

    pub(super) fn subscribe(&mut self, request: &SubscribeRequest<'_>) -> Result<PacketId, Misuse> {
        let packet_id = self.request_id()?;
        let identified = request.properties.subscription_identifier().is_some();
        if identified && !self.limits.subscription_identifiers_available {
            return Err(Misuse::IdentifierNotSupported);
        }
        let mut filters = SubscribeBuffer::new();
        for (filter, options) in request.filters {
            self.check_filter(filter, *options)?;
            filters.push(filter, *options);
        }
        self.send(&Packet::Subscribe(Subscribe {
            packet_id,
            properties: request.properties,
            filters: filters.as_filters(self.profile.version()),
        }))?;
        self.inflight
            .begin(packet_id, Exchange::Subscribing(request.filters.len()));
        Ok(packet_id)
    }

    pub(super) fn unsubscribe(
        &mut self,
        request: &UnsubscribeRequest<'_>,
    ) -> Result<PacketId, Misuse> {
        let packet_id = self.request_id()?;
        let mut filters = UnsubscribeBuffer::new();
        for filter in request.filters {
            TopicFilter::parse(filter)?;
            filters.push(filter);
        }
        self.send(&Packet::Unsubscribe(Unsubscribe {
            packet_id,
            properties: request.properties,
            filters: filters.as_filters(self.profile.version()),
        }))?;
        self.inflight
            .begin(packet_id, Exchange::Unsubscribing(request.filters.len()));
        Ok(packet_id)
    }

    /// A packet identifier for a request, while the caller has not asked for too much.
    fn request_id(&self) -> Result<PacketId, Misuse> {
        self.check_connected()?;
        let room = self.inflight.request_count() < usize::from(self.config.inflight_max);
        let unused = room.then(|| self.inflight.unused_id()).flatten();
        unused.ok_or(Misuse::WindowFull)
    }

    fn check_filter(&self, filter: &str, options: SubscribeOptions) -> Result<(), Misuse> {
        if !self.profile.has_properties() {
            let qos_alone = SubscribeOptions {
                maximum_qos: options.maximum_qos,
                ..SubscribeOptions::default()
            };
            TopicFilter::plain(filter)?;
            return if options == qos_alone {
                Ok(())
            } else {
                Err(EncodeError::NotInVersion.into())
            };
        }
        let parsed = TopicFilter::parse(filter)?;
        if parsed.filter.has_wildcards() && !self.limits.wildcards_available {
            return Err(Misuse::WildcardNotSupported);
        }
        if parsed.share.is_some() && !self.limits.shared_subscriptions_available {
            return Err(Misuse::SharedNotSupported);
        }
        if parsed.share.is_some() && options.no_local {
            return Err(Misuse::NoLocalOnShared);
        }
        Ok(())
    }

    pub(super) fn acknowledge(
        &mut self,
        packet_id: PacketId,
        reason: ReasonCode,
    ) -> Result<(), Misuse> {
        let known = self.received.decide(packet_id, reason);
        self.send_decided();
        if known {
            Ok(())
        } else {
            Err(Misuse::UnknownPacketId)
        }
    }

    pub(super) fn authenticate(&mut self, reason: ReasonCode, data: &[u8]) -> Result<(), Misuse> {
        if !self.is_active() {
            return Err(Misuse::NotConnected);
        }
        let Some(own) = &self.config.authentication else {
            return Err(Misuse::NoAuthentication);
        };
        let mut properties = core::mem::take(&mut self.properties);
        properties.clear();
        // The method is that of CONNECT for as long as the connection lasts.
        let mut complete = properties.push(Property::AuthenticationMethod(&own.method));
        complete &= properties.push(Property::AuthenticationData(data));
        let sent = self.send(&Packet::Auth(Auth {
            reason,
            properties: properties.as_properties(),
        }));
        self.properties = properties;
        sent?;
        debug_assert!(complete);
        Ok(())
    }

    /// After this nothing more is sent [MQTT311-3.14.4-2], and the caller closes the transport.
    /// [MQTT311-3.14.4-1]
    pub(super) fn disconnect(&mut self, request: &DisconnectRequest<'_>) -> Result<(), Misuse> {
        if !self.is_active() {
            return Err(Misuse::NotConnected);
        }
        let expiry_s = request.properties.session_expiry_interval();
        if expiry_s.is_some_and(|seconds| seconds != 0) && self.config.session_expiry_s == 0 {
            return Err(Misuse::Property);
        }
        self.send(&Packet::Disconnect(Disconnect {
            reason: request.reason,
            properties: request.properties,
        }))?;
        if let Some(seconds) = expiry_s {
            self.session_expires_after(seconds);
        }
        self.end(End::Local);
        Ok(())
    }
}
