//! The broker over real sockets: an independent client (rumqttc) has to find a whole broker, and
//! hostile peers must not be noticed by those beside them.
//!
//! Every story is written once and told of every runtime: see [`runtime::Runtime`]. Nothing sleeps
//! to wait for something; what is waited for is waited for by name, and for at most [`PATIENCE`].
//!
//! | module | stories of |
//! |---|---|
//! | `delivery` | QoS, retained messages, wills, wildcards, shared subscriptions, large and many |
//! | `embedded` | clients inside the program |
//! | `sessions` | resumption, takeover, the features of 5.0 |
//! | `class_…` | hostile peers: one module for each class of attack that TCP and the core can meet |
//!
//! The classes are those in which MQTT brokers were broken so far; `docs/security.md` lists them,
//! those with it that are tested elsewhere.

mod class_01_handshake;
mod class_02_lengths;
mod class_03_properties;
mod class_04_fields;
mod class_05_text;
mod class_09_dollar;
mod class_10_takeover;
mod class_11_exactly_once;
mod class_12_slow_peers;
mod class_18_effort;
mod client;
mod delivery;
mod embedded;
mod over;
mod peer;
mod runtime;
mod sessions;

use core::time::Duration;

/// How long anything may take that has to happen. Long, because only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells every story of one runtime.
macro_rules! tell_of {
    ($($from:ident::$runtime:ident as $module:ident),*; $stories:tt) => {
        $(tell_of!(@ $from::$runtime as $module; $stories);)*
    };
    (
        @ $from:ident::$runtime:ident as $module:ident;
        { $($chapter:ident: [$($story:ident),* $(,)?])* }
    ) => {
        mod $module {
            $(mod $chapter {
                $(#[test]
                fn $story() {
                    crate::$chapter::$story::<crate::$from::$runtime>();
                })*
            })*
        }
    };
}

tell_of!(
    runtime::OnTokio as tokio,
    runtime::OnTokioThreads as tokio_threads,
    runtime::OnSmol as smol;
{
    delivery: [
        every_qos_arrives,
        retained_messages_wait_for_subscribers,
        wills_speak_for_clients_that_vanish,
        wildcards_match_whole_levels,
        shared_subscriptions_divide_the_work,
        a_payload_of_1_mib_arrives_whole,
        ten_thousand_messages_keep_their_order,
        who_says_much_and_leaves_is_heard,
        unsubscribing_ends_delivery,
    ]
    embedded: [
        messages_arrive_at_every_qos,
        who_publishes_faster_than_somebody_reads_loses_nothing_at_qos_1,
        what_is_not_mqtt_is_refused_and_harms_nobody,
        dropping_a_subscription_ends_it,
        a_client_may_have_everything_that_clients_have,
        a_link_outlives_a_short_keep_alive,
        links_end_with_the_broker,
        many_threads_may_publish,
    ]
    sessions: [
        a_session_outlives_its_connection,
        unacknowledged_messages_come_again,
        a_second_connection_takes_the_session_over,
        properties_pass_through,
        subscription_identifiers_and_options_are_kept,
        topic_aliases_stand_for_topics,
        versions_speak_with_each_other,
    ]
    class_01_handshake: [
        nothing_comes_before_connect,
        a_second_connect_is_the_last,
        only_a_server_sends_these,
        connect_may_come_byte_by_byte,
        connect_must_come_in_time,
        a_thousand_silent_connections_cost_little,
    ]
    class_02_lengths: [
        five_bytes_of_length_are_too_many,
        too_large_is_seen_from_five_bytes,
        packets_may_end_at_every_byte,
        contents_end_with_their_packet,
        empty_is_not_a_length_for_everything,
        properties_end_with_their_packet,
    ]
    class_03_properties: [
        what_may_not_stand_in_connect,
        what_may_not_stand_elsewhere,
        many_user_properties_cost_no_more_than_their_bytes,
    ]
    class_04_fields: [
        reserved_bits_are_checked,
        there_is_no_qos_3,
        packet_identifiers_are_not_zero,
        a_password_needs_a_user_before_5_0,
        malformed_shares_are_refused,
        aliases_are_set_before_they_are_used,
    ]
    class_05_text: [
        text_is_checked_wherever_it_stands,
        topic_names_have_no_wildcards,
        depth_and_length_have_limits,
    ]
    class_09_dollar: [
        wildcards_do_not_reach_dollar_topics,
    ]
    class_10_takeover: [
        a_fight_for_one_session_leaves_one,
    ]
    class_11_exactly_once: [
        unreleased_messages_are_delivered_once,
        the_receive_maximum_bounds_them,
    ]
    class_12_slow_peers: [
        who_never_reads_is_not_waited_for,
        who_never_acknowledges_fills_only_its_queue,
        who_is_not_read_is_missed_when_it_is_gone,
        who_drips_holds_up_nobody,
        half_a_packet_costs_half_a_packet,
    ]
    class_18_effort: [
        subscriptions_have_a_limit,
        wildcards_in_every_combination_are_one_delivery,
        answers_to_nothing_are_harmless,
        names_chosen_to_collide_are_like_any_others,
    ]
});

// What a transport could get wrong: the same over each of the others. Packets that break a rule
// look the same from there on.
tell_of!(
    over::OverUnix as over_unix,
    over::OverTls as over_tls,
    over::OverWs as over_ws,
    over::OverWss as over_wss,
    over::OverQuic as over_quic,
    over::SmolOverUnix as smol_over_unix,
    over::SmolOverTls as smol_over_tls,
    over::SmolOverWs as smol_over_ws,
    over::SmolOverWss as smol_over_wss; {
    delivery: [
        every_qos_arrives,
        retained_messages_wait_for_subscribers,
        wills_speak_for_clients_that_vanish,
        wildcards_match_whole_levels,
        shared_subscriptions_divide_the_work,
        a_payload_of_1_mib_arrives_whole,
        ten_thousand_messages_keep_their_order,
        who_says_much_and_leaves_is_heard,
        unsubscribing_ends_delivery,
    ]
    sessions: [
        a_session_outlives_its_connection,
        unacknowledged_messages_come_again,
        a_second_connection_takes_the_session_over,
        properties_pass_through,
        subscription_identifiers_and_options_are_kept,
        topic_aliases_stand_for_topics,
        versions_speak_with_each_other,
    ]
    class_01_handshake: [
        nothing_comes_before_connect,
        a_second_connect_is_the_last,
        connect_may_come_byte_by_byte,
        connect_must_come_in_time,
    ]
    class_02_lengths: [
        too_large_is_seen_from_five_bytes,
        packets_may_end_at_every_byte,
    ]
    class_10_takeover: [
        a_fight_for_one_session_leaves_one,
    ]
    class_12_slow_peers: [
        who_drips_holds_up_nobody,
        half_a_packet_costs_half_a_packet,
    ]
});

// 256 MiB, so only over the layer with the most to hold back.
tell_of!(over::OverTls as over_tls_slowly, over::SmolOverTls as smol_over_tls_slowly; {
    class_12_slow_peers: [who_never_reads_is_not_waited_for]
});
