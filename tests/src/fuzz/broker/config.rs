//! Configurations in which limits are met.

use crate::fuzz::script::Script;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::config::{
    AccessConfig, DuplicateClient, Identity, Limits, Protocol, PublishExcess, QueueOverflow,
    QuotaConfig, SessionConfig, SharedStrategy, TenantsConfig, TopicsConfig,
};

/// A configuration that can run.
pub(super) fn config(script: &mut Script<'_>) -> Config {
    let durable = script.flag();
    let config = Config {
        protocol: protocol(script),
        session: session(script),
        limits: limits(script),
        identity: Identity {
            shards: if script.flag() { 2 } else { 1 },
            boot_epoch: 1,
            ..Identity::default()
        },
        durable,
        access: AccessConfig::default(),
        quotas: quotas(script),
        tenants: tenants(script),
        topics: topics(script),
    };
    config
        .validate()
        .expect("each choice is valid, and so are all together");
    config
}

/// Some whose names begin every topic, or stand for topics of the others.
fn topics(script: &mut Script<'_>) -> TopicsConfig {
    let prefix = |text: &str| text.parse().ok();
    let said = script.flag().then_some("a/b");
    TopicsConfig {
        required_prefix: script.flag().then(|| prefix("a")).flatten(),
        session_prefix: said.and_then(prefix),
        session_prefix_means: said.and_then(|_| prefix("a/%c")),
    }
}

/// So little that one tenant meets it.
fn tenants(script: &mut Script<'_>) -> TenantsConfig {
    TenantsConfig {
        maximum: 1,
        connections_maximum: script.below(4) as u32,
        sessions_maximum: script.below(4) as u32,
        subscriptions_maximum: script.below(4) as u32,
        retained_messages_maximum: script.below(3) as u64,
        retained_bytes_maximum: 0,
        queued_bytes_maximum: script.below(3) as u64 * 200,
    }
}

/// Rates so low that they are met.
fn quotas(script: &mut Script<'_>) -> QuotaConfig {
    let mut few = |most| script.below(most) as u32;
    QuotaConfig {
        connections_per_address_maximum: few(4),
        connections_per_address_per_second_maximum: few(4),
        connections_per_user_maximum: few(3),
        publish_messages_per_second_maximum: few(8),
        publish_bytes_per_second_maximum: few(64),
        publish_excess: match few(2) {
            0 => PublishExcess::Throttle,
            _ => PublishExcess::Disconnect,
        },
        ..QuotaConfig::default()
    }
}

fn protocol(script: &mut Script<'_>) -> Protocol {
    let flags = script.u8();
    let rare = |bit: u8| flags & bit == bit;
    Protocol {
        maximum_qos: if rare(0b11) {
            QoS::AtLeastOnce
        } else {
            QoS::ExactlyOnce
        },
        retain_available: !rare(0b101),
        wildcard_subscription_available: !rare(0b1001),
        shared_subscription_available: !rare(0b1_0001),
        subscription_identifiers_available: !rare(0b10_0001),
        check_payload_format: rare(0b100_0000),
        server_keep_alive_s: rare(0b1000_0001).then_some(5),
        receive_maximum: script.choose(&[1_024, 1, 3]),
        maximum_packet_size: script.choose(&[1 << 20, 128, 1_000]),
        topic_alias_maximum: script.choose(&[64, 0, 1]),
        topic_alias_outbound_maximum: script.choose(&[16, 0, 1]),
        shared_strategy: script.choose(&[
            SharedStrategy::RoundRobin,
            SharedStrategy::Sticky,
            SharedStrategy::Random,
            SharedStrategy::LeastInflight,
        ]),
        ..Protocol::default()
    }
}

fn session(script: &mut Script<'_>) -> SessionConfig {
    SessionConfig {
        expiry_maximum_s: script.choose(&[u32::MAX, 10, 0]),
        queue_messages_maximum: script.choose(&[10_000, 1, 4]),
        queue_bytes_maximum: script.choose(&[1 << 20, 100]),
        queue_overflow: script.choose(&[
            QueueOverflow::DropNewest,
            QueueOverflow::DropOldest,
            QueueOverflow::Disconnect,
        ]),
        queue_qos0: script.flag(),
        inflight_maximum: script.choose(&[1_024, 1, 2]),
        retransmit_interval_ms: script.choose(&[0, 100]),
        retransmit_maximum: 2,
        duplicate_client: script.choose(&[
            DuplicateClient::TakeOver,
            DuplicateClient::Refuse,
            DuplicateClient::BackOff,
        ]),
        ..SessionConfig::default()
    }
}

fn limits(script: &mut Script<'_>) -> Limits {
    Limits {
        connections_maximum: script.choose(&[100, 3]),
        sessions_maximum: script.choose(&[100, 2]),
        connect_timeout_ms: 1_000,
        subscriptions_per_session_maximum: script.choose(&[100, 2]),
        user_properties_maximum: 4,
        topic_levels_maximum: script.choose(&[128, 2]),
        queue_messages_total_maximum: script.choose(&[1_000, 5]),
        queue_bytes_total_maximum: script.choose(&[1 << 20, 500]),
        retained_messages_maximum: script.choose(&[100, 2]),
        retained_bytes_maximum: script.choose(&[1 << 20, 200]),
        unsent_bytes_maximum: script.choose(&[1 << 20, 200]),
        unsent_bytes_pause: script.choose(&[200, 0, 50]),
        slow_consumer_grace_ms: script.choose(&[1_000, 0, 10]),
        memory_budget_bytes: script.choose(&[1 << 30, 6_000]),
        queued_payload_memory_bytes: script.choose(&[1 << 30, 0, 300]),
        fanout_step: script.choose(&[1_024, 1, 2]),
        events_maximum: script.choose(&[4_096, 0, 1]),
        ..Limits::default()
    }
}
