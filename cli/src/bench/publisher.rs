//! One client that publishes: as fast as its window allows, or when it is told.

use super::network::{BUFFER_BYTES, Network};
use super::options::Options;
use super::tally::Stamp;
use whimbrel_core::codec::packet::{QoS, Version};
use whimbrel_core::codec::{PublishFlags, PublishParts};
use whimbrel_core::id::PacketId;

/// A publisher with its one topic.
#[derive(Debug)]
pub(super) struct Publisher {
    pub(super) link: usize,
    number: u32,
    qos: QoS,
    /// Messages under way; 0 never waits.
    window: u32,
    /// Deliveries that follow from one message.
    fan_out: u64,
    pub(super) sent: u32,
    /// Messages that the broker has acknowledged.
    pub(super) acknowledged: u32,
    /// Deliveries of its messages that have come, or are given up.
    pub(super) delivered: u64,
    packet_id: PacketId,
    template: Vec<u8>,
    packet_id_at: usize,
    payload_at: usize,
}

impl Publisher {
    pub(super) fn new(options: &Options, link: usize, number: u32, topic: &str) -> Self {
        let mut publisher = Self {
            link,
            number,
            qos: options.qos,
            window: options.window,
            fan_out: 1,
            sent: 0,
            acknowledged: 0,
            delivered: 0,
            packet_id: PacketId::FIRST,
            template: Vec::new(),
            packet_id_at: 0,
            payload_at: 0,
        };
        publisher.set_topic(options.version, topic, &vec![b'.'; options.size], false);
        publisher
    }

    pub(super) const fn with_fan_out(mut self, fan_out: u64) -> Self {
        self.fan_out = fan_out;
        self
    }

    /// Encodes what its messages have in common.
    pub(super) fn set_topic(
        &mut self,
        version: Version,
        topic: &str,
        payload: &[u8],
        retain: bool,
    ) {
        let parts = PublishParts {
            flags: PublishFlags::of(self.qos).with_retain(retain),
            topic,
            packet_id: None,
            properties: [&[], &[]],
            payload,
        };
        self.template.clear();
        let at = parts.encode(version, u32::MAX, &mut self.template);
        self.packet_id_at = at.unwrap_or_default();
        self.payload_at = self.template.len().saturating_sub(payload.len());
    }

    /// How many more may be under way now.
    pub(super) const fn allowance(&self) -> u32 {
        if self.window == 0 {
            return u32::MAX;
        }
        let open = match self.qos {
            QoS::AtMostOnce => {
                (self.sent as u64 * self.fan_out).saturating_sub(self.delivered) / self.fan_out
            }
            QoS::AtLeastOnce | QoS::ExactlyOnce => (self.sent - self.acknowledged) as u64,
        };
        (self.window as u64).saturating_sub(open) as u32
    }

    /// What has not been delivered so far never will be.
    pub(super) const fn give_up(&mut self) {
        self.delivered = self.sent as u64 * self.fan_out;
    }

    /// Publishes as many as window, output and `limit` allow. How many that were.
    pub(super) fn publish(&mut self, network: &mut Network, limit: u32, now_ns: u64) -> u32 {
        let room = BUFFER_BYTES.saturating_sub(network.unsent(self.link));
        let fits = room.div_ceil(self.template.len()) as u32;
        let count = self.allowance().min(limit).min(fits);
        if count == 0 {
            return 0;
        }
        let out = network.out(self.link);
        for _ in 0..count {
            self.write(out, now_ns);
        }
        count
    }

    /// Whether it can publish more of `left` without hearing anything before.
    pub(super) fn can_go_on(&self, network: &Network, left: u32) -> bool {
        self.allowance().min(left) > 0 && network.unsent(self.link) == 0
    }

    /// Publishes one, whatever the window.
    pub(super) fn publish_one(&mut self, network: &mut Network, due_ns: u64) {
        self.write(network.out(self.link), due_ns);
    }

    fn write(&mut self, out: &mut Vec<u8>, sent_ns: u64) {
        let start = out.len();
        out.extend_from_slice(&self.template);
        if self.qos > QoS::AtMostOnce {
            let at = start + self.packet_id_at;
            out[at..at + 2].copy_from_slice(&self.packet_id.get().to_be_bytes());
            self.packet_id = self.packet_id.next();
        }
        let payload = &mut out[start + self.payload_at..];
        if !payload.is_empty() {
            let stamp = Stamp {
                sender: self.number,
                sequence: self.sent,
                sent_ns,
            };
            stamp.write(payload);
        }
        self.sent += 1;
    }
}
