//! Class 12: peers that take their time. They do not read, or send one byte where there should be
//! many.

use crate::client::Client;
use crate::peer::{Neighbours, Peer, alone, field, memory_stays_flat, packet, publish, subscribe};
use crate::runtime::Runtime;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::{QoS, Version};

const PAYLOAD_BYTES: usize = 16 << 10;

/// What the clients of these tests and others beside them may need; far less than what is
/// published.
const MEMORY_BYTES: u64 = 192 << 20;

/// Publishers wait so long, once, for who does not read. Who reads on a busy machine must not be
/// taken for one: what is for it at QoS 0 would be dropped.
const GRACE_MS: u32 = 3_000;

/// A client that has subscribed to `flood` and never reads again.
fn deaf(broker: &impl Runtime, version: Version, qos: u8) -> Peer {
    let mut peer = Peer::connected(broker, version, "deaf");
    let mut bytes = subscribe(version, b"flood");
    *bytes.last_mut().expect("options are last") = qos;
    peer.send(&bytes);
    assert_eq!(peer.next_packet().expect("SUBACK comes")[0], 0x90);
    peer
}

/// Publishes more than any buffer takes; `reader` gets all of it, in order.
fn flood(broker: &impl Runtime, qos: QoS, megabytes: usize) {
    let reader = Client::connect(broker, Version::V4, "reader");
    reader.subscribe("flood", qos);
    let publisher = Client::connect(broker, Version::V4, "publisher");
    let count = (megabytes << 20) / PAYLOAD_BYTES;
    std::thread::scope(|scope| {
        let publishing = scope.spawn(move || {
            for number in 0..count {
                let mut payload = vec![0; PAYLOAD_BYTES];
                payload[..8].copy_from_slice(&(number as u64).to_be_bytes());
                publisher.send("flood", qos, false, payload);
            }
            publisher
        });
        for number in 0..count {
            let message = reader.message();
            assert_eq!(message.payload[..8], (number as u64).to_be_bytes());
        }
        let publisher = publishing.join().expect("all is published");
        publisher.disconnect();
    });
}

pub(crate) fn who_never_reads_is_not_waited_for<R: Runtime>() {
    alone(|| {
        let mut config = Config::default();
        config.limits.slow_consumer_grace_ms = GRACE_MS;
        let limits = config.limits.clone();
        let broker = R::start(config);
        let neighbours = Neighbours::of(&broker);
        let deaf = deaf(&broker, Version::V5, 0);
        memory_stays_flat(MEMORY_BYTES, || flood(&broker, QoS::AtMostOnce, 256));
        let says = broker.statistics();
        assert!(
            says.unsent_bytes <= 2 * u64::from(limits.unsent_bytes_maximum),
            "{says:?}"
        );
        assert!(
            says.dropped.iter().sum::<u64>() > 0,
            "what it did not take is counted"
        );
        neighbours.notice_nothing();
        drop(deaf);
        broker.until("it is gone", |s| {
            s.clients_connected == Neighbours::CLIENTS && s.unsent_bytes == 0
        });
        broker.stop();
    });
}

pub(crate) fn who_never_acknowledges_fills_only_its_queue<R: Runtime>() {
    alone(|| {
        let mut config = Config::default();
        config.limits.slow_consumer_grace_ms = GRACE_MS;
        let queue_bytes_maximum = u64::from(config.session.queue_bytes_maximum);
        let broker = R::start(config);
        let neighbours = Neighbours::of(&broker);
        let deaf = deaf(&broker, Version::V4, 1);
        memory_stays_flat(MEMORY_BYTES, || flood(&broker, QoS::AtLeastOnce, 128));
        let says = broker.statistics();
        assert!(says.queued_bytes <= queue_bytes_maximum, "{says:?}");
        neighbours.notice_nothing();
        drop(deaf);
        broker.until("its queue is gone with it", |s| s.queued_messages == 0);
        broker.stop();
    });
}

pub(crate) fn who_is_not_read_is_missed_when_it_is_gone<R: Runtime>() {
    let mut config = Config::default();
    config.quotas.publish_bytes_per_second_maximum = 100;
    let broker = R::start(config);
    let mut hasty = Peer::connected(&broker, Version::V4, "hasty");
    // The first is more than it may say in minutes; behind the second comes its end.
    hasty.send(&publish(Version::V4, b"flood", &[7; 20_000]).repeat(2));
    broker.until("it is paused", |s| s.publishers_throttled > 0);
    drop(hasty);
    broker.until("it is gone", |s| s.connections_open == 0);
    broker.stop();
}

pub(crate) fn who_drips_holds_up_nobody<R: Runtime>() {
    let broker = R::start(Config::default());
    let neighbours = Neighbours::of(&broker);
    let mut dripping = Peer::connected(&broker, Version::V5, "dripping");
    let bytes = publish(Version::V5, b"neighbours/else", &[7; 200]);
    let (last, first) = bytes.split_last().expect("a packet");
    for part in first.chunks(16) {
        assert!(dripping.send(part));
        neighbours.notice_nothing();
    }
    // Not one byte of it was heard of; the last one makes it a message like any other.
    let witness = Client::connect(&broker, Version::V5, "witness");
    witness.subscribe("neighbours/else", QoS::AtMostOnce);
    assert!(dripping.send(&[*last]));
    assert_eq!(witness.message().payload, [7; 200]);
    drop(dripping);
    broker.stop();
}

pub(crate) fn half_a_packet_costs_half_a_packet<R: Runtime>() {
    alone(|| {
        const PEERS: usize = 64;
        let broker = R::start(Config::default());
        let neighbours = Neighbours::of(&broker);
        // They announce the largest packet there may be, and send a few bytes of it.
        let body = [&*field("large"), &[0], &vec![0; 1 << 20]].concat();
        let large = packet(0x30, &body);
        memory_stays_flat(MEMORY_BYTES / 2, || {
            let mut peers: Vec<Peer> = (0..PEERS)
                .map(|number| Peer::connected(&broker, Version::V5, &format!("half {number}")))
                .collect();
            for peer in &mut peers {
                assert!(peer.send(&large[..1_000]));
            }
            neighbours.notice_nothing();
        });
        broker.until("they are gone", |s| {
            s.connections_open == Neighbours::CLIENTS
        });
        broker.stop();
    });
}
