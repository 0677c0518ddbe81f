//! The keys about what clients may do, and how much.

use super::key::Key;
use super::value::Unit::Bytes;

pub(super) const ACCESS: &[Key] = &[
    Key::new(
        "file",
        |s| &mut s.access.file,
        "The file with the rules: TOML if its name ends in `.toml`, else as mosquitto's `acl_file`. \
         What no rule allows is denied then; an empty file allows nothing.",
        "Everybody who may connect may do everything but publish below `$SYS`.",
    )
    .live()
    .example("\"access.toml\""),
    Key::new(
        "shadow_file",
        |s| &mut s.access.shadow_file,
        "A file with rules that are tried: what they would deny and the rules in force allow is \
         counted and written to the log.",
        "Nothing is tried.",
    )
    .live()
    .example("\"access-new.toml\""),
    Key::new(
        "ban_file",
        |s| &mut s.access.ban_file,
        "A TOML file that says who is kept out, and until when.",
        "Nobody is.",
    )
    .live()
    .example("\"bans.toml\""),
];

pub(super) const QUOTAS: &[Key] = &[
    Key::new(
        "connections_per_address_maximum",
        |s| &mut s.server.broker.quotas.connections_per_address_maximum,
        "Open connections from one IPv4 address, or from one IPv6 network of 64 bits.",
        "A whole fleet may be behind one address.",
    ),
    Key::new(
        "connections_per_address_per_second_maximum",
        |s| &mut s.server.broker.quotas.connections_per_address_per_second_maximum,
        "New connections from one such address in a second. A second's worth may come at once; what \
         is more is closed before a byte of it was read.",
        "A whole fleet may be behind one address, and come back at once.",
    ),
    Key::new(
        "connections_per_user_maximum",
        |s| &mut s.server.broker.quotas.connections_per_user_maximum,
        "Connections of one verified user. One more is refused (0x97). Threads tell each other once a \
         turn; who comes to several of them at the same moment may exceed it.",
        "A fleet may share one user.",
    ),
    Key::new(
        "publish_messages_per_second_maximum",
        |s| &mut s.server.broker.quotas.publish_messages_per_second_maximum,
        "Messages that one client may publish in a second. A second's worth may come at once.",
        "Only you know how busy a publisher should be.",
    ),
    Key::new(
        "publish_bytes_per_second_maximum",
        |s| &mut s.server.broker.quotas.publish_bytes_per_second_maximum,
        "Bytes of topics and payloads that one client may publish in a second. A second's worth may \
         come at once.",
        "Only you know how busy a publisher should be.",
    )
    .unit(Bytes),
    Key::new(
        "publish_excess",
        |s| &mut s.server.broker.quotas.publish_excess,
        "What happens to a client that publishes more: `throttle`, it is not read until it has earned \
         what it took; or `disconnect` (0x96), and the message that was too much is not taken in.",
        "Nothing is lost, and TCP slows the client down.",
    ),
];

pub(super) const TENANTS: &[Key] = &[
    Key::new(
        "maximum",
        |s| &mut s.server.broker.tenants.maximum,
        "How many tenants there may be; clients of further ones are refused (0x97). One that was there \
         once is until the broker stops, at less than a kilobyte.",
        "More than most brokers will ever have, and little memory should somebody make them up.",
    ),
    Key::new(
        "connections_maximum",
        |s| &mut s.server.broker.tenants.connections_maximum,
        "Connected clients of one tenant; further ones are refused (0x97).",
        "Only you know how much a tenant may have.",
    ),
    Key::new(
        "sessions_maximum",
        |s| &mut s.server.broker.tenants.sessions_maximum,
        "Sessions of one tenant, connected or not; who would open a further one is refused (0x97).",
        "Only you know how much a tenant may have.",
    ),
    Key::new(
        "subscriptions_maximum",
        |s| &mut s.server.broker.tenants.subscriptions_maximum,
        "Subscriptions of all sessions of one tenant; a further one is refused (0x97).",
        "Only you know how much a tenant may have.",
    ),
    Key::new(
        "retained_messages_maximum",
        |s| &mut s.server.broker.tenants.retained_messages_maximum,
        "Retained messages of one tenant. A further one of QoS 1 or 2 is refused (0x97), one of QoS 0 \
         is not retained.",
        "Only you know how much a tenant may have.",
    ),
    Key::new(
        "retained_bytes_maximum",
        |s| &mut s.server.broker.tenants.retained_bytes_maximum,
        "Bytes of the same.",
        "Only you know how much a tenant may have.",
    )
    .unit(Bytes),
    Key::new(
        "queued_bytes_maximum",
        |s| &mut s.server.broker.tenants.queued_bytes_maximum,
        "Bytes that wait for clients of one tenant, in all; what is more is dropped and counted. \
         Divided among the threads.",
        "Only you know how much a tenant may have.",
    )
    .unit(Bytes),
];

pub(super) const TOPICS: &[Key] = &[
    Key::new(
        "required_prefix",
        |s| &mut s.server.broker.topics.required_prefix,
        "The levels with which every topic and filter of a client must begin; everything else is refused \
         as if a rule denied it, whatever the rules allow. `%u` stands for the user, `%c` for the client \
         identifier, `%t` for the tenant. A client for whom one of these is missing, or could not stand in \
         a topic, is refused.",
        "Topics may be anything.",
    )
    .example("\"%t/%c\""),
    Key::new(
        "session_prefix",
        |s| &mut s.server.broker.topics.session_prefix,
        "What each client calls its own topics, in all that it says and is told.",
        "Topics have one name.",
    )
    .example("\"v1/devices/me\""),
    Key::new(
        "session_prefix_means",
        |s| &mut s.server.broker.topics.session_prefix_means,
        "What these are for everybody else, with `%u`, `%c` or `%t` in it.",
        "It is left out with `session_prefix`.",
    )
    .example("\"v1/devices/%c\""),
];
