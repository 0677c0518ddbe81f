//! What an operator sets about sockets, threads and stopping: plain data, each default with its
//! reason. What the broker itself is set to is [`whimbrel_core::Config`].

use crate::storage::StorageConfig;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;
use whimbrel_auth::{Anonymous, CertificateUser, Entrance, Prepared, Problem};

/// Configuration of one server: a broker and the sockets it listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Protocol, sessions and limits.
    pub broker: whimbrel_core::Config,
    /// Where clients connect. Default: `127.0.0.1:1883` alone, which cannot be reached from
    /// outside. Empty is allowed: then only this program's own links connect.
    pub listeners: Vec<ListenerConfig>,
    /// Who is asked about credentials. Default: nobody, so that the listeners' rules on anonymous
    /// clients hold for everybody.
    pub authentication: whimbrel_auth::Config,
    /// Where sessions and messages are kept. Default: in memory.
    pub storage: StorageConfig,
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

impl ServerConfig {
    /// Reads everything that decides who may connect, and changes nothing: for
    /// [`Server::prepared`](crate::Server::prepared), or to reload a broker that runs, see
    /// [`Handle::reload_authentication`](crate::Handle::reload_authentication).
    ///
    /// # Errors
    ///
    /// Everything that is wrong with `authentication` or with a file that it names.
    pub fn prepare_authentication(&self) -> Result<Prepared, Vec<Problem>> {
        let entrances = self.listeners.iter().map(ListenerConfig::entrance);
        Prepared::read(&self.authentication, entrances.collect())
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            broker: whimbrel_core::Config::default(),
            listeners: vec![ListenerConfig::default()],
            authentication: whimbrel_auth::Config::default(),
            storage: StorageConfig::default(),
            threads: 1,
            shutdown_grace_ms: 5_000,
            read_buffer_bytes: 64 << 10,
        }
    }
}

/// One listening TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Where it listens. Port 0 lets the system choose; see
    /// [`Handle::addresses`](crate::Handle::addresses). Default `127.0.0.1:1883`.
    pub address: SocketAddr,
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
    /// Who may connect without having shown who they are. Default: only clients of this machine.
    pub allow_anonymous: Anonymous,
    /// What of a verified client certificate is the user. Default: nothing; the user is shown by
    /// other means.
    pub certificate_user: CertificateUser,
}

impl ListenerConfig {
    /// A listener with the defaults at another address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self {
            address,
            ..Self::default()
        }
    }

    /// What it says about who may connect.
    const fn entrance(&self) -> Entrance {
        Entrance {
            anonymous: self.allow_anonymous,
            certificate_user: self.certificate_user,
        }
    }
}

impl Default for ListenerConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            backlog: 1_024,
            nodelay: true,
            reuse_port: false,
            ipv6_only: false,
            tcp_keepalive_s: None,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            allow_anonymous: Anonymous::default(),
            certificate_user: CertificateUser::default(),
        }
    }
}

/// How long a closed connection may take to read its last bytes before it is cut. Two round trips
/// on a bad mobile link; a graceful stop may cut it short.
pub(crate) const LINGER: Duration = Duration::from_secs(3);
