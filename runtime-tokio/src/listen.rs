//! Listening sockets: opened with all their options before anything runs, then accepted from
//! without ever letting an error of one stop the others.

use core::net::SocketAddr;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tracing::{info, warn};
use whimbrel_core::Timestamp;
use whimbrel_core::runtime::ListenerConfig;

/// Why an address cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address}: {}", explain(source))]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

fn explain(error: &io::Error) -> String {
    let words = [
        (
            io::ErrorKind::AddrInUse,
            "the address is in use; is another broker running?",
        ),
        (
            io::ErrorKind::PermissionDenied,
            "no permission; ports below 1024 usually need privileges",
        ),
        (
            io::ErrorKind::AddrNotAvailable,
            "this machine does not have that address",
        ),
    ];
    words
        .iter()
        .find(|(kind, _)| *kind == error.kind())
        .map_or_else(|| error.to_string(), |(_, words)| (*words).into())
}

/// Opens a listening socket.
///
/// Where the system lets accepted sockets inherit them, the options of connections are set here,
/// once for all.
///
/// # Errors
///
/// What the system says, with the address.
pub(crate) fn bind(config: &ListenerConfig) -> Result<std::net::TcpListener, ListenError> {
    let open = || {
        let address = config.address;
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(config.ipv6_only)?;
        }
        #[cfg(unix)]
        {
            // Lets the broker come back at once; on Windows it would mean something else.
            socket.set_reuse_address(true)?;
            if config.reuse_port {
                socket.set_reuse_port(true)?;
            }
        }
        set_options(&SockRef::from(&socket), config)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
        Ok(socket.into())
    };
    open().map_err(|source| ListenError {
        address: config.address,
        source,
    })
}

fn set_options(socket: &SockRef<'_>, config: &ListenerConfig) -> io::Result<()> {
    if config.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(seconds) = config.tcp_keepalive_s {
        let period = Duration::from_secs(seconds.max(1).into());
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(period).with_interval(period))?;
    }
    if let Some(bytes) = config.send_buffer_bytes {
        socket.set_send_buffer_size(bytes as usize)?;
    }
    if let Some(bytes) = config.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes as usize)?;
    }
    Ok(())
}

/// How long a listener rests when the system is out of descriptors or memory.
const BACK_OFF_MS: u64 = 200;

/// One listening socket of a shard.
pub(crate) struct Listener {
    socket: TcpListener,
    /// Its place in the configuration.
    pub(crate) number: u16,
    config: ListenerConfig,
    waker: Waker,
    /// It may have somebody.
    pub(crate) ready: bool,
    /// It rests until then, because of an error.
    resting_until: Option<Timestamp>,
    /// There was such an error, it was reported, and somebody may be waiting still.
    in_trouble: bool,
}

impl Listener {
    /// # Errors
    ///
    /// The system cannot watch the socket.
    pub(crate) fn new(
        socket: std::net::TcpListener,
        number: u16,
        config: ListenerConfig,
        waker: Waker,
    ) -> io::Result<Self> {
        Ok(Self {
            socket: TcpListener::from_std(socket)?,
            number,
            config,
            waker,
            ready: true,
            resting_until: None,
            in_trouble: false,
        })
    }

    /// When it wants to be asked again, should it rest.
    pub(crate) const fn next_deadline(&self) -> Option<Timestamp> {
        if self.ready { self.resting_until } else { None }
    }

    /// The next connection. `None` when there is none now; `ready` says whether to ask again.
    pub(crate) fn accept(&mut self, now: Timestamp) -> Option<(TcpStream, SocketAddr)> {
        if self.resting_until.is_some_and(|until| now < until) {
            return None;
        }
        self.resting_until = None;
        let mut cx = Context::from_waker(&self.waker);
        loop {
            match self.socket.poll_accept(&mut cx) {
                Poll::Pending => {
                    self.ready = false;
                    if core::mem::take(&mut self.in_trouble) {
                        info!(listener = %self.config.address, "everybody is accepted again");
                    }
                    return None;
                }
                Poll::Ready(Ok((stream, address))) => {
                    // Linux lets connections inherit all options; elsewhere that is not certain. A
                    // connection that cannot have them has ended already, which its first read
                    // says.
                    if !cfg!(target_os = "linux") {
                        let _ = set_options(&SockRef::from(&stream), &self.config);
                    }
                    return Some((stream, address));
                }
                Poll::Ready(Err(error)) if is_about_one_connection(&error) => {}
                Poll::Ready(Err(error)) => {
                    if !core::mem::replace(&mut self.in_trouble, true) {
                        warn!(
                            listener = %self.config.address, %error,
                            "cannot accept connections; those that are open are served on"
                        );
                    }
                    self.resting_until = Some(now.after_ms(BACK_OFF_MS));
                    return None;
                }
            }
        }
    }
}

/// The peer went away between connecting and being accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> ListenerConfig {
        ListenerConfig::at("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn an_address_in_use_is_named() {
        let first = bind(&any_port()).unwrap();
        let address = first.local_addr().unwrap();
        let error = bind(&ListenerConfig::at(address)).unwrap_err();
        assert_eq!(error.source.kind(), io::ErrorKind::AddrInUse);
        let text = error.to_string();
        assert!(
            text.contains(&address.to_string()) && text.contains("in use"),
            "{text}"
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn connections_inherit_the_options() {
        let listener = bind(&ListenerConfig {
            tcp_keepalive_s: Some(77),
            ..any_port()
        })
        .unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let accepted = SockRef::from(&accepted);
        assert!(accepted.tcp_nodelay().unwrap());
        assert!(accepted.keepalive().unwrap());
        assert_eq!(accepted.tcp_keepalive_time().unwrap().as_secs(), 77);
    }

    #[test]
    fn shared_ports_and_dual_stack_are_options() {
        let shared = ListenerConfig {
            reuse_port: true,
            ..any_port()
        };
        let first = bind(&shared).unwrap();
        let again = ListenerConfig {
            address: first.local_addr().unwrap(),
            ..shared
        };
        bind(&again).unwrap();

        let Ok(dual) = bind(&ListenerConfig::at("[::]:0".parse().unwrap())) else {
            return; // a machine without IPv6
        };
        let port = dual.local_addr().unwrap().port();
        std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
}
