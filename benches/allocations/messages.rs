//! Allocations per message, once everything is warm.

use whimbrel_benches::counting::counts;
use whimbrel_benches::traffic::{Extra, Shape, Traffic};
use whimbrel_core::codec::packet::{QoS, Version};

const VERSIONS: [Version; 3] = [Version::V3, Version::V4, Version::V5];
const FAN_OUTS: [usize; 3] = [1, 10, 50];
const BATCH: usize = 10;
const WARM_TURNS: usize = 60;
const TURNS: usize = 40;
const MESSAGES: u64 = (TURNS * BATCH) as u64;

/// Plays traffic and answers how many allocations there were while `MESSAGES` came in.
fn allocations(traffic: &Traffic) -> u64 {
    let recording = traffic.record(WARM_TURNS + TURNS);
    let mut stage = traffic.stage();
    recording.play(&mut stage, 0..WARM_TURNS);
    let before = (counts().allocations, stage.broker.statistics());
    recording.play(&mut stage, WARM_TURNS..WARM_TURNS + TURNS);
    let after = (counts().allocations, stage.broker.statistics());
    let messages = after.1.publishes_received - before.1.publishes_received;
    let deliveries = after.1.publishes_sent - before.1.publishes_sent;
    assert_eq!(deliveries, messages * traffic.fan_out() as u64);
    assert_eq!(after.1.dropped, before.1.dropped);
    assert_eq!(messages, MESSAGES);
    after.0 - before.0
}

fn traffic(qos: QoS, version: Version, subscribers: usize, extra: Extra) -> Traffic {
    Traffic {
        shape: Shape::FanOut(subscribers),
        qos,
        version,
        payload_bytes: 64,
        batch: BATCH,
        extra,
    }
}

/// All versions, fan-outs, and what 5.0 adds; those that exceed the limit, with their count.
fn above(limit: u64, qos: QoS) -> Vec<(Traffic, u64)> {
    let mut above = Vec::new();
    for version in VERSIONS {
        for subscribers in FAN_OUTS {
            for extra in [
                Extra::None,
                Extra::InboundAlias,
                Extra::OutboundAlias,
                Extra::SubscriptionIdentifier,
            ] {
                if extra != Extra::None && version != Version::V5 {
                    continue;
                }
                let traffic = traffic(qos, version, subscribers, extra);
                let count = allocations(&traffic);
                if count > limit {
                    above.push((traffic, count));
                }
            }
        }
    }
    above
}

#[test]
fn a_qos_0_message_allocates_nothing() {
    assert_eq!(above(0, QoS::AtMostOnce), []);
}

#[test]
fn a_qos_1_message_allocates_once_whatever_the_fan_out() {
    assert_eq!(above(MESSAGES, QoS::AtLeastOnce), []);
}

#[test]
fn a_qos_2_message_allocates_once_whatever_the_fan_out() {
    assert_eq!(above(MESSAGES, QoS::ExactlyOnce), []);
}
