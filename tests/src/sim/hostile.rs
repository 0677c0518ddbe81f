//! A client that keeps to no rule: packets that are half right, garbage, silence.

use super::network::Owner;
use super::scene::Scene;
use whimbrel_core::codec::packet::{Ack, Publish, QoS, Subscribe, SubscribeOptions, Version};
use whimbrel_core::codec::{self, Packet, Properties, ReasonCode, SubscribeBuffer};
use whimbrel_core::id::PacketId;

/// Somebody who means no good. What it publishes begins with an `x`, and is for nobody else.
pub(super) struct Hostile {
    index: usize,
    version: Version,
    line: Option<u64>,
    pub(super) act_at: u64,
}

impl Hostile {
    pub(super) fn new(index: usize, scene: &mut Scene) -> Self {
        Self {
            index,
            version: scene.chance.pick(&crate::world::VERSIONS),
            line: None,
            act_at: scene.chance.between(1, 2_000),
        }
    }

    /// Takes what the broker says, and forgets it.
    pub(super) fn read(&mut self, scene: &mut Scene) {
        let line = self.line.and_then(|id| scene.network.lines.get_mut(&id));
        if let Some(line) = line {
            while line.down.pop(scene.now).is_some() {}
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
            self.say_connect(&mut bytes);
        }
        for _ in 0..scene.chance.between(0, 6) {
            self.say_something(&mut bytes, scene);
        }
        if scene.chance.one_in(2) {
            scene.counts.fault("garbage");
            spoil(&mut bytes, scene);
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
        let client_id = format!("hostile-{}", self.index);
        let connect = crate::world::connect(self.version, &client_id);
        let said = codec::encode(&Packet::Connect(connect), self.version, bytes);
        debug_assert!(said.is_ok(), "it can be said");
    }

    fn say_something(&self, bytes: &mut Vec<u8>, scene: &mut Scene) {
        let chance = &mut scene.chance;
        let id = PacketId::new(chance.between(1, 4) as u16).unwrap_or(PacketId::FIRST);
        let ack = Ack::new(id, ReasonCode::SUCCESS);
        let mut filters = SubscribeBuffer::new();
        filters.push("hostile/#", SubscribeOptions::default());
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
                topic: "hostile/talk",
                packet_id: (qos > QoS::AtMostOnce).then_some(id),
                properties: Properties::EMPTY,
                payload: b"x",
            }),
        };
        let said = codec::encode(&packet, self.version, bytes);
        debug_assert!(said.is_ok(), "it can be said");
    }
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
