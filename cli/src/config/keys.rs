//! Every configuration key, each in one entry: name, field, what it does, why its default is what
//! it is. The defaults themselves are those of the types, so there is no second copy to keep in
//! step.

use super::access_keys::{ACCESS, QUOTAS, TENANTS, TOPICS};
use super::authentication_keys::AUTHENTICATION;
use super::key::{Key, Section};
use super::value::Unit::{Bytes, Milliseconds, Seconds};
use crate::runtime::THREADS;

/// All sections, in the order in which they are documented.
pub(crate) static SECTIONS: [Section; 12] = [
    Section {
        name: "server",
        doc: "The process as a whole.",
        repeated: false,
        keys: SERVER,
    },
    Section {
        name: "listener",
        doc: "A place where clients connect. May be there any number of times; without any, \
              the broker listens at the default address, which this machine alone can reach.",
        repeated: true,
        keys: LISTENER,
    },
    Section {
        name: "access",
        doc: "Who may do what; `docs/access.md` tells how rules are written and how they decide.",
        repeated: false,
        keys: ACCESS,
    },
    Section {
        name: "authentication",
        doc: "Who is asked about the names and passwords of clients, see authentication.md. Without \
              any of it nobody is: a user name is worth no more than none then, and `allow_anonymous` \
              of the listener holds for everybody.",
        repeated: false,
        keys: AUTHENTICATION,
    },
    Section {
        name: "storage",
        doc: "Where sessions, queued and retained messages are kept, and what an acknowledgement of \
              QoS 1 or 2 is worth.",
        repeated: false,
        keys: STORAGE,
    },
    Section {
        name: "log",
        doc: "What is written to standard error.",
        repeated: false,
        keys: LOG,
    },
    Section {
        name: "protocol",
        doc: "What is offered to clients: enforced, and announced to 5.0 clients.",
        repeated: false,
        keys: PROTOCOL,
    },
    Section {
        name: "session",
        doc: "How sessions live, queue and end.",
        repeated: false,
        keys: SESSION,
    },
    Section {
        name: "quotas",
        doc: "How much one client, user or address may have, however many threads there are; 0 is no \
              limit.",
        repeated: false,
        keys: QUOTAS,
    },
    Section {
        name: "topics",
        doc: "Where the topics of clients begin, and what clients may call their own; see tenants.md.",
        repeated: false,
        keys: TOPICS,
    },
    Section {
        name: "tenants",
        doc: "Namespaces that do not see each other, see tenants.md, and how much each of them may have; \
              0 is no limit. Clients without a tenant do not count.",
        repeated: false,
        keys: TENANTS,
    },
    Section {
        name: "limits",
        doc: "Numbers that bound memory and work.",
        repeated: false,
        keys: LIMITS,
    },
];

/// The section of that name.
pub(crate) fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// The section of listeners.
pub(super) fn listener() -> &'static Section {
    section("listener").expect("the table has it")
}

const SERVER: &[Key] = &[
    Key::new(
        "threads",
        |s| &mut s.server.threads,
        "Threads that serve clients, each with its share of the connections and sessions; 0 is one \
         for each core, and one with `sqlite`. It may differ after a restart. Limits on \
         connections, sessions and memory are divided among them.",
        "One core is enough for some hundred thousand messages a second.",
    )
    .range(*THREADS.start() as u64, *THREADS.end() as u64),
    Key::new(
        "shutdown_grace_ms",
        |s| &mut s.server.shutdown_grace_ms,
        "How long clients may take to receive their last bytes when the broker is asked to stop. A \
         second SIGINT or SIGTERM ends the wait.",
        "The last round trip of a slow link, and well below the 10 s after which container managers \
         kill.",
    )
    .unit(Milliseconds),
    Key::new(
        "read_buffer_bytes",
        |s| &mut s.server.read_buffer_bytes,
        "The one buffer connections are read with, and so what one of them may bring in a turn.",
        "Larger reads save hardly any system calls.",
    )
    .unit(Bytes)
    .range(1 << 10, 16 << 20),
];

const LISTENER: &[Key] = &[
    Key::new(
        "url",
        |s| &mut s.listener().url,
        "Where to listen: `tcp://ADDRESS:PORT`, with an IPv4 address or an IPv6 address in brackets. \
         `0.0.0.0` is all of IPv4, `[::]` is everything; port 0 lets the system choose one. In the \
         same way `tls://`, `ws://`, `wss://` and `quic://`; WebSocket also has a path, `/mqtt` if none \
         is named. Or a Unix socket: `unix://PATH`. `mqtt` and `mqtts` mean `tcp` and `tls`.",
        "This machine alone, so that a broker without configuration is not open to others.",
    )
    .example("\"tcp://0.0.0.0:1883\""),
    Key::new(
        "name",
        |s| &mut s.listener().name,
        "What it is called where it has to be told from others.",
        "It is called by its `url`.",
    )
    .example("\"factory floor\""),
    Key::new(
        "allow_anonymous",
        |s| &mut s.listener().allow_anonymous,
        "Who may connect without having shown who they are; Unix sockets count as loopback. A user \
         name that nobody can check, because no `[authentication]` is configured, shows nothing.",
        "A broker that is opened to the network by a slip is still closed.",
    )
    .live(),
    Key::new(
        "certificate_user",
        |s| &mut s.listener().certificate_user,
        "What of a client's certificate is the user: nothing, the common name (CN), the first \
         alternative name (SAN), or the organisation (O). A client with a certificate then needs no \
         password, and one whose certificate lacks that part is refused.",
        "A certificate alone says that a client may come, not who it is.",
    )
    .live(),
    Key::new(
        "connections_maximum",
        |s| &mut s.listener().connections_maximum,
        "Open connections on each thread; one more is closed before a byte of it was read. 0 is no limit.",
        "`limits.connections_maximum` holds for all listeners together.",
    ),
    Key::new(
        "tenant",
        |s| &mut s.listener().tenant,
        "The tenant of its clients: a name, for all of them; or where it comes from, `from:organization` \
         of the certificate, `from:user`, `from:user-domain` (what stands behind the last `@` of the \
         user), or `from:verdict` (whoever verified the client may name one). With every choice except \
         `from:verdict`, a client without a tenant is refused. See tenants.md.",
        "Without tenants all clients share one namespace.",
    )
    .example("\"from:organization\""),
    Key::new(
        "backlog",
        |s| &mut s.listener().backlog,
        "Connections the system holds until they are accepted; it may cut this (`net.core.somaxconn`).",
        "A reconnect storm of some milliseconds.",
    )
    .least(1),
    Key::new(
        "nodelay",
        |s| &mut s.listener().nodelay,
        "Send small packets at once (`TCP_NODELAY`).",
        "The broker batches by itself.",
    ),
    Key::new(
        "reuse_port",
        |s| &mut s.listener().reuse_port,
        "Let other processes listen at the same address (`SO_REUSEPORT`), where the system can.",
        "Starting the broker twice is an error.",
    ),
    Key::new(
        "ipv6_only",
        |s| &mut s.listener().ipv6_only,
        "Whether an IPv6 address refuses IPv4 clients.",
        "`[::]` serves both.",
    ),
    Key::new(
        "tcp_keepalive_s",
        |s| &mut s.listener().tcp_keepalive_s,
        "Let TCP probe connections that were silent for this long. Useful for clients that ask for no \
         keep alive.",
        "MQTT's keep alive does it.",
    )
    .unit(Seconds)
    .range(1, 32_767)
    .example("300"),
    Key::new(
        "send_buffer_bytes",
        |s| &mut s.listener().send_buffer_bytes,
        "The system's send buffer of each connection.",
        "The system chooses well.",
    )
    .unit(Bytes)
    .range(1, 1 << 30)
    .example("\"64 KiB\""),
    Key::new(
        "receive_buffer_bytes",
        |s| &mut s.listener().receive_buffer_bytes,
        "The system's receive buffer of each connection.",
        "The system chooses well.",
    )
    .unit(Bytes)
    .range(1, 1 << 30)
    .example("\"64 KiB\""),
    Key::new(
        "unix_mode",
        |s| &mut s.listener().unix_mode,
        "The permissions of a Unix socket's file, as for `chmod`. Who may write to it may connect.",
        "The owner and the group: on Unix sockets nobody has to show who they are.",
    )
    .example("\"600\""),
    Key::new(
        "unix_owner",
        |s| &mut s.listener().unix_owner,
        "Whom a Unix socket's file is given to: `user`, `user:group` or `:group`, by name or number.",
        "Whoever runs the broker.",
    )
    .example("\":mqtt\""),
    Key::new(
        "certificate",
        |s| &mut s.listener().certificate,
        "Files with a certificate chain each, in PEM, for `tls`, `wss` and `quic`. Of several, the name \
         decides that a client asks for; the first is for those that ask for none or another. Read again \
         on reload.",
        "Needed where there is TLS.",
    )
    .example("[\"/etc/whimbrel/server.crt\"]"),
    Key::new(
        "key",
        |s| &mut s.listener().key,
        "Files with the private key of each certificate, in PEM, in the same order.",
        "Needed where there is TLS.",
    )
    .example("[\"/etc/whimbrel/server.key\"]"),
    Key::new(
        "tls_versions",
        |s| &mut s.listener().tls_versions,
        "The versions of TLS that are spoken. QUIC has 1.3 alone.",
        "Both are sound; older ones are not there at all.",
    ),
    Key::new(
        "client_ca",
        |s| &mut s.listener().client_ca,
        "Files with authorities, in PEM: clients have to show a certificate of one of them.",
        "Clients are not asked for certificates.",
    )
    .example("[\"/etc/whimbrel/clients.crt\"]"),
    Key::new(
        "client_certificate",
        |s| &mut s.listener().client_certificate,
        "Where there is a `client_ca`, whether a client may also connect without a certificate. One \
         that it shows has to be good in any case.",
        "Who asks for certificates usually means it.",
    ),
    Key::new(
        "crl",
        |s| &mut s.listener().crl,
        "Files with lists of revoked client certificates, in PEM. Read again on reload. With such lists \
         TLS sessions are not resumed, so that every connection is checked.",
        "Nothing is revoked.",
    )
    .example("[\"/etc/whimbrel/revoked.pem\"]"),
    Key::new(
        "proxy_from",
        |s| &mut s.listener().proxy_from,
        "Networks of proxies. They alone may connect, and have to begin with a PROXY header, version 1 \
         or 2, which tells the address of the client; from then on that is its address.",
        "There is no proxy, and nobody may claim to be somebody else.",
    )
    .example("[\"192.0.2.0/24\", \"2001:db8::1\"]"),
    Key::new(
        "origins",
        |s| &mut s.listener().origins,
        "Origins of web pages that may connect over WebSocket. Clients that are no browsers say nothing \
         of an origin, and are not kept out.",
        "All pages may, with the credentials that they have to show.",
    )
    .example("[\"https://app.example.org\"]"),
    Key::new(
        "forwarded_for_from",
        |s| &mut s.listener().forwarded_for_from,
        "Networks of proxies that are believed what `X-Forwarded-For` says over WebSocket; where they say \
         nothing, the client has no address. Others may connect too, and what they say of it is passed over.",
        "Nobody is believed.",
    )
    .example("[\"127.0.0.1\"]"),
];

const STORAGE: &[Key] = &[
    Key::new(
        "backend",
        |s| &mut s.storage.backend,
        "`log` keeps them in files: what is acknowledged is there after a restart. `sqlite` does so in \
         an SQLite database, where other tools can look at them; it is slower, and only in programs \
         built with the feature `sqlite`. `memory` keeps nothing and needs no disk, whatever directory is \
         named; also said by `--memory`.",
        "What was acknowledged is kept; that is what acknowledging is for.",
    ),
    Key::new(
        "directory",
        |s| &mut s.storage.directory,
        "The directory of the log or the database; it is made if need be. Relative to where the broker is started. \
         One broker at a time can use it. Also `--data-dir`.",
        "Works without any permission, and is found again beside where it was started.",
    ),
    Key::new(
        "sync",
        |s| &mut s.storage.sync,
        "When an acknowledgement may be sent: `always` when the disk has confirmed it; `interval` when \
         it is written, and the disk confirms within `sync_interval_ms`; `never` when it is written. The \
         end of the broker loses nothing with any of them, a power cut does with the last two.",
        "Acknowledged means on disk. Messages that arrive meanwhile share one confirmation.",
    ),
    Key::new(
        "sync_interval_ms",
        |s| &mut s.storage.sync_interval_ms,
        "What a power cut may take at most, when `sync` is `interval`.",
        "Ten syncs a second are no load for a disk.",
    )
    .unit(Milliseconds)
    .least(1),
    Key::new(
        "sync_window_ms",
        |s| &mut s.storage.log.sync_window_ms,
        "How long what is to be kept may wait for company before it is written and synced. Every \
         acknowledgement comes so much later, and a memory card lasts longer.",
        "What arrives while the disk works shares the next sync anyway.",
    )
    .unit(Milliseconds)
    .range(0, 10_000),
    Key::new(
        "segment_bytes",
        |s| &mut s.storage.log.segment_bytes,
        "The size of a file of the log, a multiple of 4,096. At least two exist. Small devices choose \
         `\"1 MiB\"`.",
        "Preparing one takes well under a second on slow cards.",
    )
    .unit(Bytes)
    .range(64 << 10, 1 << 30),
    Key::new(
        "quota_bytes",
        |s| &mut s.storage.log.quota_bytes,
        "The most that all files of the log may take together, at least four segments; with `sqlite`, \
         the records. When it is \
         used up, messages of QoS 1 and 2 are refused until something is delivered, as on a full disk.",
        "What the disk has.",
    )
    .unit(Bytes)
    .least(256 << 10)
    .example("\"4 GiB\""),
    Key::new(
        "checkpoint_min_bytes",
        |s| &mut s.storage.log.checkpoint_min_bytes,
        "How much is written at least before what is still needed is written once more, so that older \
         files can be removed.",
        "Keeps the log of a small broker small, and that work rare.",
    )
    .unit(Bytes),
    Key::new(
        "on_corruption",
        |s| &mut s.storage.log.on_corruption,
        "When files turn out damaged that were known to be good: `refuse` to start and say what to do; or \
         `quarantine`, which keeps a copy, gives up what cannot be read, lists it and starts.",
        "A person should decide what may be lost. Devices that nobody reaches choose `quarantine`.",
    ),
];

const LOG: &[Key] = &[
    Key::new(
        "level",
        |s| &mut s.log.level,
        "The least important lines that are written. `info` has one line for each connection, written \
         when it ends; `debug` adds its beginning and what it subscribes to; `trace` is for developers.",
        "Shows how each connection went, and nothing per message.",
    )
    .live(),
    Key::new(
        "format",
        |s| &mut s.log.format,
        "Lines for people, or one JSON object a line for machines.",
        "People read it first.",
    ),
];

const PROTOCOL: &[Key] = &[
    Key::new(
        "versions",
        |s| &mut s.server.broker.protocol.versions,
        "The versions of MQTT that are served.",
        "All that are in use.",
    ),
    Key::new(
        "maximum_qos",
        |s| &mut s.server.broker.protocol.maximum_qos,
        "The highest QoS a client may publish with; subscriptions are granted at most this.",
        "No restriction.",
    ),
    Key::new(
        "retain_available",
        |s| &mut s.server.broker.protocol.retain_available,
        "Whether messages may be retained.",
        "No restriction.",
    ),
    Key::new(
        "wildcard_subscription_available",
        |s| &mut s.server.broker.protocol.wildcard_subscription_available,
        "Whether topic filters may have wildcards.",
        "No restriction.",
    ),
    Key::new(
        "shared_subscription_available",
        |s| &mut s.server.broker.protocol.shared_subscription_available,
        "Whether `$share/…` may be subscribed to, by clients of any version.",
        "No restriction.",
    ),
    Key::new(
        "subscription_identifiers_available",
        |s| &mut s.server.broker.protocol.subscription_identifiers_available,
        "Whether subscriptions may carry an identifier.",
        "No restriction.",
    ),
    Key::new(
        "receive_maximum",
        |s| &mut s.server.broker.protocol.receive_maximum,
        "QoS 1 and 2 messages a client may have unacknowledged towards the broker.",
        "Covers 10,000 messages a second at 100 ms of delay.",
    )
    .least(1),
    Key::new(
        "maximum_packet_size",
        |s| &mut s.server.broker.protocol.maximum_packet_size,
        "The largest packet a client may send. Larger ones are refused from their first five bytes.",
        "A payload of 1 MiB with its topic and properties.",
    )
    .unit(Bytes)
    .range(128, 268_435_460),
    Key::new(
        "topic_alias_maximum",
        |s| &mut s.server.broker.protocol.topic_alias_maximum,
        "Topic aliases a client may set.",
        "At most 64 topics remembered for each connection.",
    ),
    Key::new(
        "topic_alias_outbound_maximum",
        |s| &mut s.server.broker.protocol.topic_alias_outbound_maximum,
        "Topic aliases the broker sets towards a client that allows them, at most.",
        "The hottest topics of a client; more cost memory and save little.",
    ),
    Key::new(
        "server_keep_alive_s",
        |s| &mut s.server.broker.protocol.server_keep_alive_s,
        "Replaces the keep alive every client asks for.",
        "Clients know their network.",
    )
    .unit(Seconds)
    .least(1)
    .example("60"),
    Key::new(
        "keep_alive_maximum_s",
        |s| &mut s.server.broker.protocol.keep_alive_maximum_s,
        "The longest keep alive, whatever a client asks for; none at all counts as longer. Who is silent \
         for one and a half times as long is disconnected. 5.0 clients are told what holds for them; \
         3.x clients cannot be told, and are held to it. 0 allows any.",
        "Clients that are gone without a word are missed within one and a half hours; routers forget \
         connections that are silent for longer, so a client that means to stay speaks more often.",
    )
    .unit(Seconds),
    Key::new(
        "response_information",
        |s| &mut s.server.broker.protocol.response_information,
        "Response information for 5.0 clients that ask for it; `%c` stands for the client identifier.",
        "Few clients ask.",
    )
    .example("\"responses/%c\""),
    Key::new(
        "server_reference",
        |s| &mut s.server.broker.protocol.server_reference,
        "Another server, named to 5.0 clients when they are refused with \"use another server\" or \
         \"server moved\", and when this one stops.",
        "There is no other server.",
    )
    .example("\"other.example.org:1883\""),
    Key::new(
        "check_payload_format",
        |s| &mut s.server.broker.protocol.check_payload_format,
        "Refuse payloads that are declared UTF-8 and are not.",
        "The standard makes it optional, and it costs a pass over each such payload.",
    ),
    Key::new(
        "shared_strategy",
        |s| &mut s.server.broker.protocol.shared_strategy,
        "Who of a shared subscription gets the next message. Members that are connected and can take \
         it are always preferred.",
        "Spreads evenly without looking at anyone.",
    ),
];

const SESSION: &[Key] = &[
    Key::new(
        "expiry_maximum_s",
        |s| &mut s.server.broker.session.expiry_maximum_s,
        "The longest a session outlives its connection. Longer wishes are cut to this, and 5.0 \
         clients are told.",
        "7 days: sessions of client identifiers that never come back would pile up.",
    )
    .unit(Seconds),
    Key::new(
        "expiry_3x_s",
        |s| &mut s.server.broker.session.expiry_3x_s,
        "How long the session of a 3.x client with clean session 0 outlives its connection; cut to \
         `expiry_maximum_s`.",
        "7 days, for the same reason.",
    )
    .unit(Seconds),
    Key::new(
        "queue_messages_maximum",
        |s| &mut s.server.broker.session.queue_messages_maximum,
        "Messages that wait for one client, at most.",
        "A message a second for almost three hours.",
    )
    .least(1),
    Key::new(
        "queue_bytes_maximum",
        |s| &mut s.server.broker.session.queue_bytes_maximum,
        "Bytes of messages that wait for one client, at most.",
        "Some of the largest messages, and many small ones.",
    )
    .unit(Bytes),
    Key::new(
        "queue_overflow",
        |s| &mut s.server.broker.session.queue_overflow,
        "What happens to a message that finds the queue of its client full. It is counted in any case.",
        "What was accepted first is kept.",
    ),
    Key::new(
        "queue_qos0",
        |s| &mut s.server.broker.session.queue_qos0,
        "Whether QoS 0 messages are queued for clients that are away. In memory only: they are gone \
         with the process.",
        "QoS 0 asks for no such effort.",
    ),
    Key::new(
        "inflight_maximum",
        |s| &mut s.server.broker.session.inflight_maximum,
        "QoS 1 and 2 messages in flight to one client at most, if it allows so many.",
        "A client that takes everything from many publishers is never the one that is waited for; \
         what waits beyond that is still in the queue.",
    )
    .least(1),
    Key::new(
        "inflight_bytes_maximum",
        |s| &mut s.server.broker.session.inflight_bytes_maximum,
        "Bytes of messages in flight to one client, from which no further one is begun.",
        "A fast link stays busy, and a client that acknowledges nothing costs no more, however large \
         its messages.",
    )
    .unit(Bytes),
    Key::new(
        "retransmit_interval_ms",
        |s| &mut s.server.broker.session.retransmit_interval_ms,
        "Resend to a connected 3.x client what it has not acknowledged for this long; 0 never does.",
        "TCP already does it, and 5.0 forbids it.",
    )
    .unit(Milliseconds),
    Key::new(
        "retransmit_maximum",
        |s| &mut s.server.broker.session.retransmit_maximum,
        "How often one message is resent at most before the connection is closed.",
        "Only with `retransmit_interval_ms`: a client that ignores three is not going to answer.",
    ),
    Key::new(
        "revoked_subscription",
        |s| &mut s.server.broker.session.revoked_subscription,
        "What happens to a connected client when a subscription of it is no longer allowed and ends: \
         `disconnect` (0x87), or `stay`; then nothing tells the client, only the log.",
        "MQTT has no other way to tell it, and it would believe to be subscribed.",
    ),
    Key::new(
        "other_user",
        |s| &mut s.server.broker.session.other_user,
        "What happens to a client whose identifier names the session of another user: `refuse` it, \
         or `replace` the session by a new one. What waits in it is handed over in no case. A \
         session without a user belongs to nobody, and is replaced.",
        "Whoever knows a client identifier could otherwise end the session of its owner.",
    ),
    Key::new(
        "duplicate_client",
        |s| &mut s.server.broker.session.duplicate_client,
        "What happens when a client connects whose identifier is connected already: it takes over \
         (`take-over`), it is refused (`refuse`), or it takes over unless that happens again and again \
         (`back-off`): then newcomers are refused for a second, for two, up to 64. Of 4,096 \
         identifiers at a time; with more fights than that, further ones are as with `take-over`.",
        "As the standard says. `refuse` locks a client out that has lost its network until the keep \
         alive of its old connection has passed.",
    ),
    Key::new(
        "duplicate_takeovers_maximum",
        |s| &mut s.server.broker.session.duplicate_takeovers_maximum,
        "For `back-off`: takeovers of one session within `duplicate_window_s` before newcomers are \
         refused.",
        "A client that reconnects in spite of itself does so less often.",
    )
    .least(1),
    Key::new(
        "duplicate_window_s",
        |s| &mut s.server.broker.session.duplicate_window_s,
        "For `back-off`: the window.",
        "Two clients that push each other off do so within seconds.",
    )
    .unit(Seconds)
    .least(1),
];

const LIMITS: &[Key] = &[
    Key::new(
        "connections_maximum",
        |s| &mut s.server.broker.limits.connections_maximum,
        "Open connections.",
        "The operating system's limit on open files is met first.",
    )
    .least(1),
    Key::new(
        "sessions_maximum",
        |s| &mut s.server.broker.limits.sessions_maximum,
        "Sessions, connected or not.",
        "Twice the connections.",
    )
    .least(1),
    Key::new(
        "connect_timeout_ms",
        |s| &mut s.server.broker.limits.connect_timeout_ms,
        "From the connection to a complete CONNECT packet and the verdict on it.",
        "Silent connections end; slow networks still manage.",
    )
    .unit(Milliseconds)
    .least(1),
    Key::new(
        "connect_packet_size_maximum",
        |s| &mut s.server.broker.limits.connect_packet_size_maximum,
        "Bytes of a CONNECT packet. A will with a large payload needs more.",
        "Identifier, credentials and a small will, from someone not yet known.",
    )
    .unit(Bytes)
    .least(64),
    Key::new(
        "client_id_bytes_maximum",
        |s| &mut s.server.broker.limits.client_id_bytes_maximum,
        "Bytes of a client identifier.",
        "Every session keeps one.",
    )
    .unit(Bytes),
    Key::new(
        "topic_bytes_maximum",
        |s| &mut s.server.broker.limits.topic_bytes_maximum,
        "Bytes of a topic name or filter.",
        "Far above what people can read.",
    )
    .unit(Bytes)
    .least(1),
    Key::new(
        "topic_levels_maximum",
        |s| &mut s.server.broker.limits.topic_levels_maximum,
        "Levels of a topic name or filter.",
        "The work of matching grows with it.",
    )
    .least(1),
    Key::new(
        "subscriptions_per_session_maximum",
        |s| &mut s.server.broker.limits.subscriptions_per_session_maximum,
        "Subscriptions of one session.",
        "Each is kept in memory; a wildcard usually does it.",
    ),
    Key::new(
        "user_properties_maximum",
        |s| &mut s.server.broker.limits.user_properties_maximum,
        "User properties in one packet.",
        "They are kept and copied with the message.",
    ),
    Key::new(
        "queue_messages_total_maximum",
        |s| &mut s.server.broker.limits.queue_messages_total_maximum,
        "Messages that wait for clients, in all.",
        "A thousand full queues.",
    ),
    Key::new(
        "queue_bytes_total_maximum",
        |s| &mut s.server.broker.limits.queue_bytes_total_maximum,
        "Bytes that wait for clients, in all.",
        "Half of the memory budget.",
    )
    .unit(Bytes),
    Key::new(
        "retained_messages_maximum",
        |s| &mut s.server.broker.limits.retained_messages_maximum,
        "Retained messages. Further ones are refused with \"quota exceeded\".",
        "The last value of as many sensors.",
    ),
    Key::new(
        "retained_bytes_maximum",
        |s| &mut s.server.broker.limits.retained_bytes_maximum,
        "Bytes of retained messages.",
        "A quarter of the memory budget.",
    )
    .unit(Bytes),
    Key::new(
        "unsent_bytes_maximum",
        |s| &mut s.server.broker.limits.unsent_bytes_maximum,
        "Encoded bytes that wait for one connection to take them. Above this, QoS 0 messages for it are \
         dropped and counted, and higher QoS stays in the queue.",
        "A second of 10 Mbit/s.",
    )
    .unit(Bytes),
    Key::new(
        "unsent_bytes_pause",
        |s| &mut s.server.broker.limits.unsent_bytes_pause,
        "Unsent bytes of a connection from which its publishers are no longer read. Not above \
         `unsent_bytes_maximum`.",
        "Slows publishers before anything has to be dropped.",
    )
    .unit(Bytes),
    Key::new(
        "slow_consumer_grace_ms",
        |s| &mut s.server.broker.limits.slow_consumer_grace_ms,
        "How long publishers wait for a connection that does not take its bytes, before it counts as \
         slow and they go on without it; 0 never waits.",
        "A hiccup of the network is waited for, a dead subscriber is not.",
    )
    .unit(Milliseconds),
    Key::new(
        "unpersisted_bytes_maximum",
        |s| &mut s.server.broker.limits.unpersisted_bytes_maximum,
        "What may wait for the disk, half a segment of the log at most. Above it nobody is read until \
         the disk has caught up with half of it; nobody is disconnected for silence meanwhile.",
        "A second of a slow disk.",
    )
    .unit(Bytes),
    Key::new(
        "memory_budget_bytes",
        |s| &mut s.server.broker.limits.memory_budget_bytes,
        "What sessions, queues, retained messages and buffers may take in all, by the broker's own \
         count. Lowers the defaults of the other limits that would not fit into it, as \
         `docs/small-devices.md` shows. Above it new sessions are refused, QoS 0 for slow clients is dropped, and publishers of \
         QoS above 0 are told \"quota exceeded\".",
        "Set it to what the machine can spare.",
    )
    .unit(Bytes)
    // Below it, the limits that follow leave room for one client of everything.
    .least(256 << 10),
    Key::new(
        "queued_payload_memory_bytes",
        |s| &mut s.server.broker.limits.queued_payload_memory_bytes,
        "What may be held in memory of the messages of QoS 1 and 2 that wait for clients, with a log. The rest \
         is read back from there when it is due. Each message counts once, however many wait for it.",
        "256 MiB keep at hand what clients miss while they are briefly away; small devices set less.",
    )
    .unit(Bytes),
    Key::new(
        "fanout_step",
        |s| &mut s.server.broker.limits.fanout_step,
        "Deliveries one input may start before the rest is put off to the next turn.",
        "One message to many subscribers does not hold up everyone else.",
    )
    .least(1),
    Key::new(
        "events_maximum",
        |s| &mut s.server.broker.limits.events_maximum,
        "Events that wait for the log at most; further ones are counted, not kept.",
        "A storm of connections does not grow memory.",
    ),
];
