//! QUIC, by quinn: one connection with one stream in both directions, which the client opens and
//! which carries MQTT as TCP would. Encryption, certificates and retransmission are in the
//! connection, so nothing is laid on it.
//!
//! A connection is driven where its endpoint is; what a shard holds are the ends of its stream,
//! which may be used from any thread.

use super::layers::Fault;
use super::tls;
use core::convert::Infallible;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    Connection, ConnectionError, Endpoint, IdleTimeout, Incoming, RecvStream, SendStream,
    TransportConfig, VarInt,
};
use rustls::pki_types::CertificateDer;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use whimbrel_core::Peer;
use whimbrel_core::runtime::{ListenerConfig, ServerUrl, TlsVersion};

/// What a connection may hold of bytes that are on their way, in each direction, unless the
/// listener says otherwise: 50 Mbit/s at a round trip of 40 ms.
const WINDOW_BYTES: u32 = 256 << 10;

/// What waits of a handshake that has gaps: a chain of client certificates.
const HANDSHAKE_BYTES: usize = 32 << 10;

/// Clients that wait to be accepted, and what each may send meanwhile: its first flight.
const WAITING_MAXIMUM: usize = 1_024;
const WAITING_BYTES: u64 = 8 << 10;

/// Keeps the thread of an endpoint for as long as somebody uses what comes from there.
pub(crate) type User = mpsc::Sender<Infallible>;

/// A client that has shown that its address is its own, and for which nothing else has been done.
pub(crate) struct Newcomer {
    pub(crate) incoming: Incoming,
    pub(crate) user: User,
}

/// A boxed future that a connection goes through.
type Step<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// One connection and its stream.
pub(crate) struct Quic {
    state: State,
    /// `None` as a client.
    _user: Option<User>,
    /// Who it is, until that has been told.
    peer: Option<Box<Peer>>,
    address: Option<SocketAddr>,
    /// Why there was no connection.
    fault: Option<Fault>,
}

enum State {
    /// The handshake is not done, or there is no stream yet.
    Opening(Step<Result<(Connection, Stream), ConnectionError>>),
    Open(Box<Stream>),
    Failed,
}

/// The stream that carries MQTT.
struct Stream {
    sender: SendStream,
    receiver: RecvStream,
    /// No more is sent; ready when the peer has everything, or will not have it.
    finishing: Option<Step<()>>,
}

impl Stream {
    fn new((sender, receiver): (SendStream, RecvStream)) -> Self {
        Self {
            sender,
            receiver,
            finishing: None,
        }
    }
}

impl Quic {
    /// The handshake begins when this is read.
    pub(crate) fn server(newcomer: Newcomer, config: Arc<quinn::ServerConfig>, peer: Peer) -> Self {
        let Newcomer { incoming, user } = newcomer;
        let opening = async move {
            let connection = incoming.accept_with(config)?.await?;
            let stream = Stream::new(connection.accept_bi().await?);
            Ok((connection, stream))
        };
        Self {
            state: State::Opening(Box::pin(opening)),
            _user: Some(user),
            address: peer.address,
            peer: Some(Box::new(peer)),
            fault: None,
        }
    }

    /// Connects to a server, by each of its addresses in turn.
    ///
    /// # Errors
    ///
    /// What the last of them came to.
    pub(crate) async fn dial(
        server: &ServerUrl,
        tls: Arc<rustls::ClientConfig>,
    ) -> io::Result<Self> {
        let crypto = QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(limits(WINDOW_BYTES, WINDOW_BYTES)));
        let mut result = Err(io::ErrorKind::NotFound.into());
        for address in tokio::net::lookup_host((server.host(), server.port())).await? {
            result = open(address, config.clone(), server.host()).await;
            if result.is_ok() {
                break;
            }
        }
        Ok(Self {
            state: State::Open(Box::new(result?)),
            _user: None,
            peer: None,
            address: None,
            fault: None,
        })
    }

    /// Who it is, once that is known; told once.
    pub(crate) fn introduce(&mut self) -> Option<Peer> {
        match self.state {
            State::Open(_) => self.peer.take().map(|peer| *peer),
            State::Opening(_) | State::Failed => None,
        }
    }

    /// What the peer did wrong before there was a stream, and where it comes from.
    pub(crate) fn fault(&self) -> Option<(Option<SocketAddr>, &Fault)> {
        self.fault.as_ref().map(|fault| (self.address, fault))
    }

    /// Whether there is a stream whose end can be said.
    pub(crate) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Stream>> {
        if let State::Opening(opening) = &mut self.state {
            let opened = ready!(opening.as_mut().poll(cx)).map_err(Fault::from);
            let opened = opened.and_then(|(connection, stream)| {
                self.identify(&connection)?;
                Ok(stream)
            });
            self.state = match opened {
                Ok(stream) => State::Open(Box::new(stream)),
                Err(fault) => {
                    self.fault = Some(fault);
                    State::Failed
                }
            };
        }
        Poll::Ready(self.stream())
    }

    fn stream(&mut self) -> io::Result<&mut Stream> {
        match &mut self.state {
            State::Open(stream) => Ok(stream),
            State::Opening(_) | State::Failed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Reads the certificate that a client has shown.
    fn identify(&mut self, connection: &Connection) -> Result<(), Fault> {
        let chain = connection.peer_identity();
        let chain = chain.and_then(|chain| chain.downcast::<Vec<CertificateDer<'_>>>().ok());
        if let Some(chain) = chain
            && let Some(der) = chain.first()
            && let Some(peer) = &mut self.peer
        {
            peer.certificate = Some(Box::new(tls::facts::read(der)?));
        }
        Ok(())
    }
}

impl AsyncRead for Quic {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let stream = ready!(self.get_mut().poll_stream(cx))?;
        AsyncRead::poll_read(Pin::new(&mut stream.receiver), cx, buffer)
    }
}

impl AsyncWrite for Quic {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut().stream()?;
        AsyncWrite::poll_write(Pin::new(&mut stream.sender), cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was taken is sent as soon as the network lets it.
        Poll::Ready(Ok(()))
    }

    /// Ready when the peer has everything: what is on its way is lost when a connection is dropped.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let stream = self.get_mut().stream()?;
        let sender = &mut stream.sender;
        let finishing = stream.finishing.get_or_insert_with(|| {
            // Fails only when the peer wants no more of it, which is as good.
            let _ = sender.finish();
            let stopped = sender.stopped();
            Box::pin(async move {
                let _ = stopped.await;
            })
        });
        finishing.as_mut().poll(cx).map(Ok)
    }
}

/// Opens a connection and its stream.
async fn open(address: SocketAddr, config: quinn::ClientConfig, name: &str) -> io::Result<Stream> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let connecting = Endpoint::client(any)?.connect_with(config, address, name);
    let connection = connecting.map_err(io::Error::other)?.await?;
    Ok(Stream::new(connection.open_bi().await?))
}

/// What a listener accepts with.
///
/// # Errors
///
/// In words: TLS 1.3 is not among the versions.
pub(crate) fn accept_with(
    tls: Arc<rustls::ServerConfig>,
    listener: &ListenerConfig,
) -> Result<quinn::ServerConfig, String> {
    if !listener.tls_versions.contains(&TlsVersion::Tls13) {
        return Err("QUIC has TLS 1.3 alone: name \"1.3\" in `tls_versions`".to_owned());
    }
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| error.to_string())?;
    let mut limits = limits(
        listener.send_buffer_bytes.unwrap_or(WINDOW_BYTES),
        listener.receive_buffer_bytes.unwrap_or(WINDOW_BYTES),
    );
    if let Some(seconds) = listener.tcp_keepalive_s {
        let seconds = seconds.max(1);
        limits.keep_alive_interval(Some(Duration::from_secs(seconds.into())));
        // As long as three probes.
        let silence = VarInt::from_u32(seconds.saturating_mul(3_000));
        limits.max_idle_timeout(Some(IdleTimeout::from(silence)));
    }
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(Arc::new(limits))
        .max_incoming(WAITING_MAXIMUM)
        .incoming_buffer_size(WAITING_BYTES)
        .incoming_buffer_size_total(WAITING_BYTES * WAITING_MAXIMUM as u64);
    Ok(config)
}

/// One stream, and silence for as long as MQTT allows it.
fn limits(send_bytes: u32, receive_bytes: u32) -> TransportConfig {
    let mut limits = TransportConfig::default();
    limits
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .send_window(send_bytes.into())
        .stream_receive_window(VarInt::from_u32(receive_bytes))
        .receive_window(VarInt::from_u32(receive_bytes))
        .crypto_buffer_size(HANDSHAKE_BYTES)
        .max_idle_timeout(None);
    limits
}
