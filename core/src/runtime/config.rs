//! What an operator sets about sockets, threads and stopping: plain data, each default with its
//! reason. What the broker itself is set to is [`Config`](crate::Config).

use super::tenancy::TenantSource;
use super::url::ListenerUrl;
use crate::access::identity::Certificate;
use crate::access::network::Network;
use crate::action::Peer;
use crate::log::LogConfig;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

/// Configuration of one server: a broker and the sockets it listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Protocol, sessions and limits.
    pub broker: crate::Config,
    /// Where clients connect. Default: `127.0.0.1:1883` alone, which cannot be reached from
    /// outside. Empty is allowed: then only this program's own links connect.
    pub listeners: Vec<ListenerConfig>,
    /// Where sessions and messages are kept. Default: in memory.
    pub storage: StorageConfig,
    /// Whether everything that goes into the broker is written down, to be played back by
    /// `whimbrel replay`. Default: no.
    pub recording: Option<RecordingConfig>,
    /// Shards, each with a thread of its own, 1 to 64; 0 is one for each core that this process may
    /// use. Default 1, and always that with SQLite.
    pub threads: u16,
    /// How long a graceful stop waits for clients to take their last bytes, in milliseconds.
    /// Default 5 s: enough for a slow link's last round trip, and well below the 10 s after which
    /// container managers kill.
    pub shutdown_grace_ms: u32,
    /// Size of the one buffer a shard reads with, in bytes, and what one connection may put in a
    /// turn. Default 64 KiB: larger reads save hardly any system calls, and the buffer stays in the
    /// cache.
    pub read_buffer_bytes: usize,
}

impl ServerConfig {
    /// What the broker itself is set to: with what stands elsewhere here.
    #[must_use]
    pub fn broker(&self) -> crate::Config {
        let mut broker = self.broker.clone();
        broker.durable = self.storage.is_durable();
        let listeners = self.listeners.iter();
        broker.quotas.connections_per_listener_maximum = listeners
            .map(|listener| listener.connections_maximum)
            .collect();
        broker
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            broker: crate::Config::default(),
            listeners: vec![ListenerConfig::default()],
            storage: StorageConfig::default(),
            recording: None,
            threads: 1,
            shutdown_grace_ms: 5_000,
            read_buffer_bytes: 64 << 10,
        }
    }
}

/// What a batch may hold beside one packet of the largest size: the core closes batches long
/// before.
const BATCH_MARGIN_BYTES: u32 = 8 << 20;

/// What may have been read, and not been handed to the log, when that has fallen behind.
const READ_AHEAD_BYTES: u32 = 512 << 10;

/// Makes the settings of a log and of the brokers that write to it fit each other: batches have
/// room for whatever a broker lets in, and a disk that is found full has room for whatever is on
/// its way to the log by then. Gives those of the log.
#[must_use]
pub fn fit(log: &LogConfig, broker: &mut crate::Config) -> LogConfig {
    let packet_bytes = broker.protocol.maximum_packet_size;
    let needed = packet_bytes.saturating_add(BATCH_MARGIN_BYTES);
    let shards = u32::from(broker.identity.shards.max(1));
    let half = u32::try_from(log.segment_bytes / 2).unwrap_or(u32::MAX);
    let unpersisted = &mut broker.limits.unpersisted_bytes_maximum;
    *unpersisted = (*unpersisted).min((half / shards).max(1));
    // Once as it comes, and once more by a checkpoint. Of what is read ahead most is refused.
    let behind_bytes = u64::from(*unpersisted) * 5 / 2;
    let burst_bytes = u64::from(shards) * (behind_bytes + u64::from(READ_AHEAD_BYTES));
    // A small quota is for messages, not for what may come.
    let burst_bytes = burst_bytes.min(log.quota_bytes.map_or(u64::MAX, |quota| quota / 4));
    LogConfig {
        batch_bytes_max: log.batch_bytes_max.max(needed),
        burst_bytes: log.burst_bytes.max(burst_bytes),
        ..log.clone()
    }
}

/// Where sessions and messages are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StorageConfig {
    /// In memory: what is acknowledged is lost when the process ends. Default for embedding, which
    /// asks for no directory.
    #[default]
    Memory,
    /// In a log on disk: what is acknowledged is on stable storage.
    Log {
        /// The directory, made if need be. Only one process may use it at a time.
        directory: PathBuf,
        /// The log's own settings.
        log: LogConfig,
    },
    /// In an SQLite database: what is acknowledged is on stable storage. Only runtimes with the
    /// feature `sqlite` can.
    Sqlite {
        /// The directory, made if need be. Only one process may use it at a time.
        directory: PathBuf,
        /// The database's own settings.
        database: SqliteConfig,
    },
}

/// Settings of [`StorageConfig::Sqlite`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SqliteConfig {
    /// From how many bytes of records on new messages are refused. Default: none.
    pub quota_bytes: Option<u64>,
    /// See [`LogConfig::sync_window_ms`].
    pub sync_window_ms: u64,
}

impl StorageConfig {
    /// Whether acknowledgements wait for the disk.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        !matches!(self, Self::Memory)
    }
}

/// What is recorded, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingConfig {
    /// What the files of the recording are named after. Its directory must exist.
    pub file: PathBuf,
    /// What all files of all shards may take together, in bytes; each shard has its share of it.
    /// Default 256 MiB: minutes at full load, days of a quiet broker.
    pub ring_bytes: u64,
    /// Blots out payloads. Passwords always are. Default: no.
    pub redact_payloads: bool,
}

impl RecordingConfig {
    /// The defaults, with this file.
    #[must_use]
    pub const fn new(file: PathBuf) -> Self {
        Self {
            file,
            ring_bytes: 256 << 20,
            redact_payloads: false,
        }
    }
}

/// One listening socket, and what clients have to say there before MQTT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where it listens. Port 0 lets the system choose; the runtime's `Handle::listeners` tells.
    /// Default `tcp://127.0.0.1:1883`.
    pub url: ListenerUrl,
    /// What it is called in rules and reports. Default: its URL.
    pub name: Option<String>,
    /// Open connections, at most, on each shard; one more is closed before a byte of it was read. 0
    /// is no limit, the default: `limits.connections_maximum` holds for all of them together.
    pub connections_maximum: u32,
    /// Connections the system holds until they are accepted. Default 1,024: a reconnect storm of
    /// some milliseconds. The system may cut it (`net.core.somaxconn`).
    pub backlog: u32,
    /// Send small packets at once (`TCP_NODELAY`). Default yes: the broker batches by itself, and
    /// waiting for acknowledgements of the peer costs up to 40 ms.
    pub nodelay: bool,
    /// Let other sockets listen on the same address (`SO_REUSEPORT`). Default no, so that starting
    /// the broker twice is an error. Ignored where the system has no such option.
    pub reuse_port: bool,
    /// Whether an IPv6 socket refuses IPv4 clients. Default no: `[::]` serves both.
    pub ipv6_only: bool,
    /// Let TCP itself probe connections that were silent for this many seconds. Default: none, as
    /// MQTT's keep alive does it; useful for clients that ask for no keep alive.
    pub tcp_keepalive_s: Option<u32>,
    /// The system's send buffer for each connection, in bytes. Default: what the system chooses.
    pub send_buffer_bytes: Option<u32>,
    /// The system's receive buffer for each connection, in bytes. Default: what the system chooses.
    pub receive_buffer_bytes: Option<u32>,
    /// Who may connect without having shown who they are. Default: only from this machine, Unix
    /// sockets included.
    pub allow_anonymous: Anonymous,
    /// What of a verified client certificate is the user. Default: nothing; the user is shown by
    /// other means.
    pub certificate_user: CertificateUser,
    /// Where the tenants of its clients come from. Default: from whoever verifies them.
    pub tenant: TenantSource,
    /// Who may open the file of a Unix socket, as the three digits of `chmod`. Default 660: the
    /// owner and the group.
    pub unix_mode: FileMode,
    /// Whom the file of a Unix socket belongs to, as `user`, `user:group` or `:group`, by name or
    /// number. Default: whoever runs the broker.
    pub unix_owner: Option<String>,
    /// Files with a certificate chain each, in PEM: what `tls`, `wss` and `quic` show. Which one,
    /// the name decides that a client asks for; the first is for those that ask for none or
    /// another.
    pub certificate: Vec<String>,
    /// Files with the private key of each certificate, in PEM, in the same order.
    pub key: Vec<String>,
    /// The versions of TLS that are spoken. Default: 1.2 and 1.3.
    pub tls_versions: Vec<TlsVersion>,
    /// Files with the authorities, in PEM, whose certificates clients may show. Default: none, and
    /// no client is asked.
    pub client_ca: Vec<String>,
    /// Whether a client has to show a certificate, where there is a `client_ca`. Default: yes.
    pub client_certificate: ClientCertificate,
    /// Files with lists of revoked certificates, in PEM.
    pub crl: Vec<String>,
    /// Who connects here is a proxy, of one of these networks, and begins with a PROXY header of
    /// version 1 or 2; everybody else is refused. Default: no proxies, no headers.
    pub proxy_from: Vec<Network>,
    /// Web pages of these origins may connect over WebSocket. Default: all. Clients that are no
    /// browsers say nothing of an origin and are not kept out.
    pub origins: Vec<String>,
    /// Proxies of these networks are believed what `X-Forwarded-For` says. Default: nobody is.
    pub forwarded_for_from: Vec<Network>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2.
    Tls12,
    /// 1.3.
    Tls13,
}

/// Whether a client has to show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificate {
    /// Nobody gets in without.
    #[default]
    Required,
    /// Who shows one has to show a good one.
    Optional,
}

/// Permissions of a file, 0 to 0o777.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileMode(pub u32);

impl Default for FileMode {
    fn default() -> Self {
        Self(0o660)
    }
}

impl ListenerConfig {
    /// A listener for plain TCP with the defaults at another address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self::new(ListenerUrl::tcp(address))
    }

    /// A listener with the defaults elsewhere.
    #[must_use]
    pub fn new(url: ListenerUrl) -> Self {
        Self {
            url,
            ..Self::default()
        }
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.url.to_string())
    }
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            url: ListenerUrl::default(),
            name: None,
            connections_maximum: 0,
            backlog: 1_024,
            nodelay: true,
            reuse_port: false,
            ipv6_only: false,
            tcp_keepalive_s: None,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            allow_anonymous: Anonymous::default(),
            certificate_user: CertificateUser::default(),
            tenant: TenantSource::default(),
            unix_mode: FileMode::default(),
            unix_owner: None,
            certificate: Vec::new(),
            key: Vec::new(),
            tls_versions: vec![TlsVersion::Tls12, TlsVersion::Tls13],
            client_ca: Vec::new(),
            client_certificate: ClientCertificate::default(),
            crl: Vec::new(),
            proxy_from: Vec::new(),
            origins: Vec::new(),
            forwarded_for_from: Vec::new(),
        }
    }
}

/// Who may connect without having shown who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Clients on this machine: those with a loopback address, and those on a Unix socket. A broker
    /// that is opened to the network by a slip is then still closed.
    #[default]
    LoopbackOnly,
    /// Everybody.
    Always,
    /// Nobody.
    Never,
}

impl Anonymous {
    /// Whether this peer may connect without having shown who it is.
    #[must_use]
    pub fn allows(self, peer: &Peer) -> bool {
        // A dual-stack socket shows IPv4 clients as `::ffff:127.0.0.1`.
        let is_local = |address: SocketAddr| address.ip().to_canonical().is_loopback();
        match (self, peer.address) {
            (Self::Always, _) => true,
            (Self::Never, _) => false,
            // What a proxy on another machine calls local is not local here.
            (Self::LoopbackOnly, Some(address)) => {
                is_local(address) && peer.proxy.is_none_or(is_local)
            }
            (Self::LoopbackOnly, None) => peer.proxy.is_none(),
        }
    }
}

/// What of a verified client certificate is the user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CertificateUser {
    /// Nothing: a certificate opens the listener, and the user is shown by other means.
    #[default]
    None,
    /// The common name of the subject (CN).
    CommonName,
    /// The first subject alternative name (SAN).
    AlternativeName,
    /// The organisation of the subject (O).
    Organization,
}

impl CertificateUser {
    /// The user that a certificate names; `None` when it does not have that part.
    #[must_use]
    pub fn of(self, certificate: &Certificate) -> Option<&str> {
        match self {
            Self::None => None,
            Self::CommonName => certificate.common_name(),
            Self::AlternativeName => certificate.alternative_names().next(),
            Self::Organization => certificate.organization(),
        }
    }
}

/// How long a closed connection may take to read its last bytes before it is cut. Two round trips
/// on a bad mobile link; a graceful stop may cut it short.
pub const LINGER: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(address: Option<&str>, proxy: Option<&str>) -> Peer {
        Peer {
            address: address.map(|address| address.parse().unwrap()),
            proxy: proxy.map(|proxy| proxy.parse().unwrap()),
            ..Peer::default()
        }
    }

    #[test]
    fn this_machine_is_recognised_in_all_its_forms() {
        for (address, proxy, is_local) in [
            (Some("127.0.0.1:1"), None, true),
            (Some("127.9.9.9:1"), None, true),
            (Some("[::1]:1"), None, true),
            (Some("[::ffff:127.0.0.1]:1"), None, true),
            (None, None, true),
            (Some("192.0.2.1:1"), None, false),
            (Some("[2001:db8::1]:1"), None, false),
            (Some("[::ffff:192.0.2.1]:1"), None, false),
            (Some("127.0.0.1:1"), Some("192.0.2.1:1"), false),
            (Some("127.0.0.1:1"), Some("127.0.0.1:2"), true),
            (Some("192.0.2.1:1"), Some("127.0.0.1:2"), false),
            (None, Some("192.0.2.1:1"), false),
        ] {
            let peer = peer(address, proxy);
            assert_eq!(Anonymous::LoopbackOnly.allows(&peer), is_local, "{peer:?}");
            assert!(Anonymous::Always.allows(&peer));
            assert!(!Anonymous::Never.allows(&peer));
        }
    }
}
