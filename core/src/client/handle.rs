//! What the server sends.

use super::conversation::{Conversation, Stage};
use super::error::Fault;
use super::event::{ClientEvent, End};
use super::inflight::Stage as Exchange;
use super::limits::ServerLimits;
use super::received::Arrival;
use crate::codec::packet::{Ack, Auth, ConnAck, Disconnect, Publish, QoS, SubAck};
use crate::codec::{Frame, Packet, Properties, ReasonCode, decode};
use crate::error::Violation;
use crate::topic::TopicName;

/// What a packet comes to: something to tell the caller, or nothing.
type Handled<'a> = Result<Option<ClientEvent<'a>>, Fault>;

impl Conversation {
    /// Handles one packet. A message whose topic is an alias comes back without its topic.
    pub(super) fn handle<'a>(&mut self, frame: Frame<'a>) -> Handled<'a> {
        let packet = decode(self.profile.version(), frame)?;
        match (self.stage, packet) {
            (Stage::Idle | Stage::Ending, _) => Ok(None),
            (Stage::Connecting, Packet::ConnAck(connack)) => self.handle_connack(connack),
            (_, Packet::Auth(auth)) => self.handle_auth(auth),
            (Stage::Connecting, _) => Err(Fault::BeforeConnAck),
            (Stage::Connected, Packet::ConnAck(_)) => Err(Fault::SecondConnAck),
            (Stage::Connected, Packet::Publish(publish)) => self.handle_publish(publish),
            (Stage::Connected, Packet::PubAck(ack)) => self.handle_puback(ack),
            (Stage::Connected, Packet::PubRec(ack)) => self.handle_pubrec(ack),
            (Stage::Connected, Packet::PubRel(ack)) => self.handle_pubrel(ack),
            (Stage::Connected, Packet::PubComp(ack)) => self.handle_pubcomp(ack),
            (Stage::Connected, Packet::SubAck(suback)) => self.handle_suback(suback),
            (Stage::Connected, Packet::UnsubAck(unsuback)) => self.handle_unsuback(unsuback),
            (Stage::Connected, Packet::PingResp) => {
                self.answered();
                Ok(None)
            }
            (Stage::Connected, Packet::Disconnect(disconnect)) => {
                self.handle_disconnect(disconnect)
            }
            (
                Stage::Connected,
                Packet::Connect(_)
                | Packet::Subscribe(_)
                | Packet::Unsubscribe(_)
                | Packet::PingReq,
            ) => Err(Violation::WrongDirection.into()),
        }
    }

    fn handle_connack<'a>(&mut self, connack: ConnAck<'a>) -> Handled<'a> {
        if connack.reason != ReasonCode::SUCCESS {
            self.retire();
            return Ok(Some(ClientEvent::Refused(connack)));
        }
        self.check_method(connack.properties)?;
        self.accepted(ServerLimits::of(&connack), connack.session_present)?;
        Ok(Some(ClientEvent::Connected(connack)))
    }

    fn handle_auth<'a>(&mut self, auth: Auth<'a>) -> Handled<'a> {
        if self.config.authentication.is_none() {
            return Err(Violation::Auth.into());
        }
        self.check_method(auth.properties)?;
        let fits = match auth.reason {
            ReasonCode::CONTINUE_AUTHENTICATION => true,
            ReasonCode::SUCCESS => self.stage == Stage::Connected,
            _ => false,
        };
        if !fits {
            return Err(Violation::Auth.into());
        }
        self.answered();
        Ok(Some(ClientEvent::Authentication(auth)))
    }

    /// The server speaks of the method that CONNECT named, or of none when it named none.
    fn check_method(&self, properties: Properties<'_>) -> Result<(), Violation> {
        let own = self.config.authentication.as_ref();
        if properties.authentication_method() == own.map(|own| own.method.as_str()) {
            Ok(())
        } else {
            Err(Violation::Auth)
        }
    }

    fn handle_publish<'a>(&mut self, publish: Publish<'a>) -> Handled<'a> {
        self.check_topic(&publish)?;
        let Some(packet_id) = publish.packet_id else {
            return Ok(Some(ClientEvent::Message(publish)));
        };
        // Whatever becomes of the message, it is acknowledged. [MQTT-4.5.0-2]
        match self.received.arrival(packet_id, publish.qos) {
            Arrival::New => {
                self.check_window()?;
                if self.config.manual_acknowledgement {
                    self.received.hold(packet_id, publish.qos);
                } else {
                    self.received.own(packet_id, publish.qos);
                    self.send_ack(packet_id, publish.qos, ReasonCode::SUCCESS);
                }
            }
            Arrival::Again => {}
            Arrival::Held => return Ok(None),
            Arrival::Owned => {
                self.reply(&Packet::PubRec(Ack::new(packet_id, ReasonCode::SUCCESS)));
                return Ok(None);
            }
            Arrival::InUse => return Err(Fault::PacketIdInUse),
        }
        Ok(Some(ClientEvent::Message(publish)))
    }

    fn check_topic(&mut self, publish: &Publish<'_>) -> Result<(), Violation> {
        let named = !publish.topic.is_empty();
        if named {
            TopicName::new(publish.topic)?;
        }
        match publish.properties.topic_alias() {
            Some(alias) if named && self.server_aliases.insert(alias, publish.topic) => Ok(()),
            Some(alias) if !named && self.server_aliases.get(alias).is_some() => Ok(()),
            Some(_) => Err(Violation::TopicAlias),
            None if named => Ok(()),
            None => Err(Violation::TopicName),
        }
    }

    /// Before 5.0 there is no receive maximum, and packet identifiers are all the bound there is.
    fn check_window(&self) -> Result<(), Violation> {
        let maximum = usize::from(self.config.receive_maximum);
        if self.profile.has_receive_maximum() && self.received.open_count() >= maximum {
            return Err(Violation::ReceiveMaximum);
        }
        Ok(())
    }

    fn handle_puback<'a>(&mut self, ack: Ack<'a>) -> Handled<'a> {
        match self.inflight.stage(ack.packet_id) {
            None => Ok(None), // of a session that is gone
            Some(Exchange::Published(QoS::AtLeastOnce, _)) => Ok(Some(self.acknowledged(ack))),
            Some(_) => Err(Fault::Acknowledgement),
        }
    }

    fn handle_pubrec<'a>(&mut self, ack: Ack<'a>) -> Handled<'a> {
        let reason = match self.inflight.stage(ack.packet_id) {
            Some(Exchange::Published(QoS::ExactlyOnce, _)) if ack.reason.is_error() => {
                return Ok(Some(self.acknowledged(ack)));
            }
            Some(Exchange::Published(QoS::ExactlyOnce, _)) => {
                self.inflight.released(ack.packet_id);
                ReasonCode::SUCCESS
            }
            Some(Exchange::Released) => ReasonCode::SUCCESS,
            Some(_) => return Err(Fault::Acknowledgement),
            // Of a session that is gone. The server waits for an answer.
            None if ack.reason.is_error() => return Ok(None),
            None => ReasonCode::PACKET_IDENTIFIER_NOT_FOUND,
        };
        self.reply(&Packet::PubRel(Ack::new(ack.packet_id, reason)));
        Ok(None)
    }

    fn handle_pubrel<'a>(&mut self, ack: Ack<'a>) -> Handled<'a> {
        let reason = if self.received.release(ack.packet_id) {
            ReasonCode::SUCCESS
        } else {
            ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
        };
        self.reply(&Packet::PubComp(Ack::new(ack.packet_id, reason)));
        Ok(None)
    }

    fn handle_pubcomp<'a>(&mut self, ack: Ack<'a>) -> Handled<'a> {
        match self.inflight.stage(ack.packet_id) {
            None => Ok(None),
            Some(Exchange::Released) => Ok(Some(self.acknowledged(ack))),
            Some(_) => Err(Fault::Acknowledgement),
        }
    }

    /// An exchange has ended, which makes room for others.
    fn acknowledged<'a>(&mut self, ack: Ack<'a>) -> ClientEvent<'a> {
        self.inflight.end(ack.packet_id);
        self.resend();
        ClientEvent::Acknowledged(ack)
    }

    fn handle_suback<'a>(&mut self, suback: SubAck<'a>) -> Handled<'a> {
        match self.inflight.stage(suback.packet_id) {
            Some(Exchange::Subscribing(filters)) if *filters == suback.reasons.len() => {
                self.inflight.end(suback.packet_id);
                Ok(Some(ClientEvent::Subscribed(suback)))
            }
            _ => Err(Fault::Acknowledgement),
        }
    }

    fn handle_unsuback<'a>(&mut self, unsuback: SubAck<'a>) -> Handled<'a> {
        let reason_count = unsuback.reasons.len();
        match self.inflight.stage(unsuback.packet_id) {
            // Before 5.0 there are no reasons.
            Some(Exchange::Unsubscribing(filters))
                if *filters == reason_count || !self.profile.has_properties() =>
            {
                self.inflight.end(unsuback.packet_id);
                Ok(Some(ClientEvent::Unsubscribed(unsuback)))
            }
            _ => Err(Fault::Acknowledgement),
        }
    }

    fn handle_disconnect<'a>(&mut self, disconnect: Disconnect<'a>) -> Handled<'a> {
        if !self.profile.hears_disconnect() {
            return Err(Violation::WrongDirection.into());
        }
        self.retire();
        Ok(Some(ClientEvent::Disconnected(End::Server(disconnect))))
    }
}
