//! A client that keeps to no rule: packets that are half right, garbage, silence.
//!
//! Every other one is a *twin* of a player: it has its client identifier and names its topics, in
//! another tenant. Whatever it does must leave no trace with players, nor they with it.

use super::network::{Owner, Piece};
use super::scene::Scene;
use whimbrel_core::codec::packet::{
    Ack, Connect, Publish, QoS, Subscribe, SubscribeOptions, Version,
};
use whimbrel_core::codec::{self, Packet, Properties, ReasonCode, SubscribeBuffer, frame};
use whimbrel_core::id::PacketId;

/// The user name and the tenant of twins.
pub(super) const TWIN: &str = "twin";

/// Topics that players name.
const TOPICS: [&str; 6] = ["t/0/0", "t/1/0", "r/1", "r/2", "s/1/0", "w/1"];

/// Somebody who means no good. What it publishes begins with an `x`, and is for nobody else; what
/// twins publish does not, so that a player who gets it complains.
pub(super) struct Hostile {
    index: usize,
    is_twin: bool,
    version: Version,
    line: Option<u64>,
    /// What a twin has received, from the next packet on.
    inbox: Vec<u8>,
    /// What a twin has said on this line, from the next packet on.
    said: Vec<u8>,
    pub(super) act_at: u64,
}

impl Hostile {
    pub(super) fn new(index: usize, scene: &mut Scene) -> Self {
        Self {
            index,
            is_twin: index % 2 == 1,
            version: scene.chance.pick(&crate::world::VERSIONS),
            line: None,
            inbox: Vec::new(),
            said: Vec::new(),
            act_at: scene.chance.between(1, 2_000),
        }
    }

    /// Takes what the broker says, and forgets it. What players say is not for twins.
    pub(super) fn read(&mut self, scene: &mut Scene) {
        let line = self.line.and_then(|id| scene.network.lines.get_mut(&id));
        let Some(line) = line else { return };
        while let Some(piece) = line.down.pop(scene.now) {
            if let Piece::Bytes(bytes) = piece
                && self.is_twin
            {
                self.inbox.extend(bytes);
            }
        }
        while let Ok(Some((frame, length))) = frame::split(&self.inbox, u32::MAX) {
            if let Ok(Packet::Publish(publish)) = codec::decode(self.version, frame)
                && is_of_others(publish.payload)
                && !scene.twins_said.contains(publish.payload)
            {
                let text = String::from_utf8_lossy(publish.payload).into_owned();
                scene.oracle.fail(format!(
                    "a tenant gets {text} of another, at {}",
                    publish.topic
                ));
            }
            self.inbox.drain(..length);
        }
    }

    /// Remembers what garbage of a twin looks as if somebody else had said it.
    fn remember(&mut self, bytes: &[u8], scene: &mut Scene) {
        self.said.extend(bytes);
        while let Ok(Some((frame, length))) = frame::split(&self.said, u32::MAX) {
            if let Ok(Packet::Publish(publish)) = codec::decode(self.version, frame)
                && is_of_others(publish.payload)
            {
                scene.twins_said.insert(publish.payload.to_vec());
            }
            self.said.drain(..length);
        }
    }

    /// Does something that is not allowed.
    pub(super) fn work(&mut self, scene: &mut Scene) {
        if self.act_at > scene.now {
            return;
        }
        self.act_at = scene.now + scene.chance.between(1, 1_000);
        let is_open = self
            .line
            .and_then(|id| scene.network.lines.get(&id))
            .is_some_and(|line| line.place.is_some() || line.is_moving);
        if scene.is_calm || (is_open && scene.chance.one_in(5)) {
            return self.hang_up(scene);
        }
        let mut bytes = Vec::new();
        if !is_open {
            self.hang_up(scene);
            let at = scene.now + 1;
            let owner = Owner::Hostile(self.index);
            self.line = Some(scene.network.open(owner, self.version, at));
            self.inbox.clear();
            self.said.clear();
            self.say_connect(&mut bytes);
        }
        for _ in 0..scene.chance.between(0, 6) {
            self.say_something(&mut bytes, scene);
        }
        // Who a twin is must arrive: else it would be a player.
        if scene.chance.one_in(2) && (is_open || !self.is_twin) {
            scene.counts.fault("garbage");
            spoil(&mut bytes, scene);
        }
        if self.is_twin {
            self.remember(&bytes, scene);
        }
        if let Some(line) = self.line.and_then(|id| scene.network.lines.get_mut(&id)) {
            line.up
                .write(scene.now, &bytes, scene.weather, &mut scene.chance);
        }
    }

    fn hang_up(&mut self, scene: &mut Scene) {
        if let Some(line) = self
            .line
            .take()
            .and_then(|id| scene.network.lines.get_mut(&id))
        {
            line.is_client_there = false;
            line.cut(scene.now, scene.now + 1);
        }
    }

    fn say_connect(&self, bytes: &mut Vec<u8>) {
        let client_id = match self.is_twin {
            true => format!("player-{}", self.index),
            false => format!("hostile-{}", self.index),
        };
        let connect = Connect {
            username: self.is_twin.then_some(TWIN),
            ..crate::world::connect(self.version, &client_id)
        };
        let said = codec::encode(&Packet::Connect(connect), self.version, bytes);
        debug_assert!(said.is_ok(), "it can be said");
    }

    fn say_something(&self, bytes: &mut Vec<u8>, scene: &mut Scene) {
        let chance = &mut scene.chance;
        let id = PacketId::new(chance.between(1, 4) as u16).unwrap_or(PacketId::FIRST);
        let ack = Ack::new(id, ReasonCode::SUCCESS);
        let mut filters = SubscribeBuffer::new();
        let (filter, topic, payload) = match self.is_twin {
            true => {
                let filter = chance.pick(&["#", "+/1", "$share/g/s/#", "t/0/0"]);
                (filter, chance.pick(&TOPICS), &b"of a twin"[..])
            }
            false => ("hostile/#", "hostile/talk", &b"x"[..]),
        };
        filters.push(filter, SubscribeOptions::default());
        let qos = chance.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]);
        let packet = match chance.below(8) {
            0 => Packet::PubAck(ack),
            1 => Packet::PubRec(ack),
            2 => Packet::PubRel(ack),
            3 => Packet::PubComp(ack),
            4 => Packet::PingReq,
            5 => Packet::Subscribe(Subscribe {
                packet_id: id,
                properties: Properties::EMPTY,
                filters: filters.as_filters(self.version),
            }),
            _ => Packet::Publish(Publish {
                dup: qos > QoS::AtMostOnce && chance.one_in(2),
                qos,
                retain: chance.one_in(2),
                topic,
                packet_id: (qos > QoS::AtMostOnce).then_some(id),
                properties: Properties::EMPTY,
                payload,
            }),
        };
        let said = codec::encode(&packet, self.version, bytes);
        debug_assert!(said.is_ok(), "it can be said");
    }
}

/// Whether a payload begins as those of players, their wills and other hostile clients do.
fn is_of_others(payload: &[u8]) -> bool {
    matches!(payload.first(), Some(b'm' | b'w' | b'x'))
}

/// Changes some bytes, cuts some off, or adds some.
fn spoil(bytes: &mut Vec<u8>, scene: &mut Scene) {
    let chance = &mut scene.chance;
    for _ in 0..chance.between(1, 4) {
        let length = bytes.len() as u64;
        match chance.below(4) {
            0 | 1 if length > 0 => {
                let place = chance.below(length) as usize;
                bytes[place] = chance.number() as u8;
            }
            2 if length > 0 => bytes.truncate(chance.below(length) as usize),
            _ => {
                let more = chance.between(1, 40);
                bytes.extend((0..more).map(|_| chance.number() as u8));
            }
        }
    }
}
