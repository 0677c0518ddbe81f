//! The broker over real sockets: an independent client (rumqttc) has to find a whole broker, and
//! hostile peers must not be noticed by those beside them.
//!
//! Every story is written once and told of every runtime: see [`runtime::Runtime`]. Nothing sleeps to
//! wait for something; what is waited for is waited for by name, and for at most [`PATIENCE`].
//!
//! | module | stories of |
//! |---|---|
//! | `delivery` | QoS, retained messages, wills, wildcards, shared subscriptions, large and many |
//! | `sessions` | resumption, takeover, the features of 5.0 |
//! | `class_…` | hostile peers: one module for each class of attack that TCP and the core can meet |
//!
//! The classes are those in which MQTT brokers were broken so far. Those that are about access rules,
//! transports, administration or the log are tested where these live.

mod client;
mod delivery;
mod runtime;
mod sessions;

use core::time::Duration;

/// How long anything may take that has to happen. Long, because only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells every story of one runtime.
macro_rules! tell_of {
    ($($runtime:ident as $module:ident),*; $stories:tt) => {
        $(tell_of!(@ $runtime as $module; $stories);)*
    };
    (@ $runtime:ident as $module:ident; { $($chapter:ident: [$($story:ident),* $(,)?])* }) => {
        mod $module {
            $(mod $chapter {
                $(#[test]
                fn $story() {
                    crate::$chapter::$story::<crate::runtime::$runtime>();
                })*
            })*
        }
    };
}

tell_of!(OnTokio as tokio; {
    delivery: [
        every_qos_arrives,
        retained_messages_wait_for_subscribers,
        wills_speak_for_clients_that_vanish,
        wildcards_match_whole_levels,
        shared_subscriptions_divide_the_work,
        a_payload_of_1_mib_arrives_whole,
        ten_thousand_messages_keep_their_order,
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
});
