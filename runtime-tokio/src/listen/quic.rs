//! QUIC: one UDP socket with a thread of its own, which drives all connections that come by it;
//! shards take newcomers from it as from any other listener. One socket, because a connection may
//! change its address, and only who has all of them recognises it.
//!
//! Nothing is done for an address, and nobody is counted under it, before it has answered (a Retry,
//! which costs no memory): addresses in UDP are as easily forged as written.

use crate::transport::quic;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use quinn::{AsyncTimer, AsyncUdpSocket, Endpoint, EndpointConfig, Incoming, TokioRuntime};
use socket2::{Protocol, Type};
use std::io;
use std::sync::Arc;
use std::time::Instant;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;
use tokio::task::yield_now;
use tokio::time::timeout;
use whimbrel_core::runtime::ListenerConfig;
use whimbrel_host::Threads;
use whimbrel_host::listen::socket_for;
use whimbrel_transport::Security;

/// How long the thread stays to tell peers that it is over, once nobody uses it any more.
const FAREWELL: Duration = Duration::from_secs(1);

/// Addresses that are asked in a row; then a shard serves others. Whoever forges them can send them
/// as fast as they are asked.
const RETRIES_IN_A_ROW: u32 = 64;

/// An open socket; clones share it and its thread.
#[derive(Clone)]
pub(super) struct Bound {
    endpoint: Endpoint,
    user: quic::User,
}

impl Bound {
    /// Opens the socket and starts the thread.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub(super) fn open(
        config: &ListenerConfig,
        address: SocketAddr,
        security: &Security,
        threads: &Threads,
    ) -> io::Result<Self> {
        let socket = socket_for(config, address, (Type::DGRAM, Protocol::UDP))?;
        socket.bind(&address.into())?;
        let runtime = Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let endpoint = Endpoint::new(
            EndpointConfig::default(),
            security.quic().map(|config| (*config).clone()),
            socket.into(),
            Arc::new(Aside(runtime.handle().clone())),
        )?;
        let (user, mut users) = mpsc::channel(1);
        let ours = endpoint.clone();
        threads.spawn("whimbrel-quic", 0, move || {
            runtime.block_on(async move {
                // Nothing is ever sent: this is the end of the last user.
                let _ = users.recv().await;
                ours.set_server_config(None);
                let _ = timeout(FAREWELL, ours.wait_idle()).await;
            });
        })?;
        Ok(Self { endpoint, user })
    }

    pub(super) fn port(&self) -> io::Result<u16> {
        Ok(self.endpoint.local_addr()?.port())
    }

    pub(super) fn into_acceptor(self) -> Acceptor {
        let Self { endpoint, user } = self;
        Acceptor {
            next: next(endpoint.clone()),
            endpoint,
            user,
        }
    }
}

/// What a shard accepts from.
pub(super) struct Acceptor {
    endpoint: Endpoint,
    user: quic::User,
    /// Waits for the next newcomer.
    next: Pin<Box<dyn Future<Output = Option<Incoming>>>>,
}

impl Acceptor {
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<quic::Newcomer>> {
        let incoming = ready!(self.next.as_mut().poll(cx));
        self.next = next(self.endpoint.clone());
        Poll::Ready(match incoming {
            Some(incoming) => Ok(quic::Newcomer {
                incoming,
                user: self.user.clone(),
            }),
            None => Err(io::Error::other("the endpoint has ended")),
        })
    }
}

/// A newcomer whose address has answered.
fn next(endpoint: Endpoint) -> Pin<Box<dyn Future<Output = Option<Incoming>>>> {
    Box::pin(async move {
        loop {
            for _ in 0..RETRIES_IN_A_ROW {
                let incoming = endpoint.accept().await?;
                if incoming.remote_address_validated() {
                    return Some(incoming);
                }
                // Who cannot be asked to show it has shown it.
                let _ = incoming.retry();
            }
            yield_now().await;
        }
    })
}

/// Drives everything on the thread of the endpoint, whoever starts it.
#[derive(Debug)]
struct Aside(Handle);

impl quinn::Runtime for Aside {
    fn new_timer(&self, at: Instant) -> Pin<Box<dyn AsyncTimer>> {
        let _inside = self.0.enter();
        TokioRuntime.new_timer(at)
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self.0.spawn(future);
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        let _inside = self.0.enter();
        TokioRuntime.wrap_udp_socket(socket)
    }
}
