//! What an operator sets about sockets, threads and stopping: plain data, each default with its
//! reason. What the broker itself is set to is [`Config`](crate::Config).

use super::url::ListenerUrl;
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
    /// Shards, each with a thread of its own. Default 1; more are refused until shards can hand
    /// connections to each other.
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
}

impl StorageConfig {
    /// Whether acknowledgements wait for the disk.
    #[must_use]
    pub const fn is_durable(&self) -> bool {
        matches!(self, Self::Log { .. })
    }
}

/// What is recorded, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingConfig {
    /// What the files of the recording are named after. Its directory must exist.
    pub file: PathBuf,
    /// What all files of a shard may take together, in bytes. Default 256 MiB: minutes at full
    /// load, days of a quiet broker.
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
    /// Who may connect without a user name. Default: only from this machine, Unix sockets
    /// included.
    pub allow_anonymous: Anonymous,
    /// Who may open the file of a Unix socket, as the three digits of `chmod`. Default 660: the
    /// owner and the group.
    pub unix_mode: FileMode,
    /// Whom the file of a Unix socket belongs to, as `user`, `user:group` or `:group`, by name or
    /// number. Default: whoever runs the broker.
    pub unix_owner: Option<String>,
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
            backlog: 1_024,
            nodelay: true,
            reuse_port: false,
            ipv6_only: false,
            tcp_keepalive_s: None,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            allow_anonymous: Anonymous::default(),
            unix_mode: FileMode::default(),
            unix_owner: None,
        }
    }
}

/// Who may connect without a user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Clients on this machine: those with a loopback address, and those that come over a Unix
    /// socket. A broker that is opened to the network by a slip is then still closed.
    #[default]
    LoopbackOnly,
    /// Everybody.
    Always,
    /// Nobody.
    Never,
}

impl Anonymous {
    /// Whether a client at `address` may connect without a user name; one without an address comes
    /// over a Unix socket.
    #[must_use]
    pub fn allows(self, address: Option<SocketAddr>) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            // A dual-stack socket shows IPv4 clients as `::ffff:127.0.0.1`.
            Self::LoopbackOnly => {
                address.is_none_or(|address| address.ip().to_canonical().is_loopback())
            }
        }
    }
}

/// How long a closed connection may take to read its last bytes before it is cut. Two round trips
/// on a bad mobile link; a graceful stop may cut it short.
pub const LINGER: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_recognised_in_all_its_forms() {
        for (address, loopback) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("192.0.2.1:1", false),
            ("[2001:db8::1]:1", false),
            ("[::ffff:192.0.2.1]:1", false),
        ] {
            let address = Some(address.parse().unwrap());
            assert_eq!(
                Anonymous::LoopbackOnly.allows(address),
                loopback,
                "{address:?}"
            );
            assert!(Anonymous::Always.allows(address));
            assert!(!Anonymous::Never.allows(address));
        }
        assert!(Anonymous::LoopbackOnly.allows(None), "a Unix socket");
    }
}
