//! QUIC, by quinn: one connection with one stream in both directions, which the client opens and
//! which carries MQTT as TCP would. Encryption, certificates and retransmission are in the
//! connection, so nothing is laid on it.
//!
//! A connection is driven where its endpoint is; what a shard holds are the ends of its stream,
//! which may be used from any thread.

use core::convert::Infallible;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::pin::Pin;
use core::task::{Context, Poll, ready};
use core::time::Duration;
use quinn::{Connection, ConnectionError, Endpoint, Incoming, RecvStream, SendStream};
use rustls::pki_types::CertificateDer;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::timeout;
use whimbrel_core::Peer;
use whimbrel_core::runtime::{ServerUrl, TlsOptions};
use whimbrel_transport::{Fault, quic, read_certificate};

/// Keeps the thread of an endpoint for as long as somebody uses what comes from there.
pub(crate) type User = mpsc::Sender<Infallible>;

/// A client that has shown that its address is its own, and for which nothing else has been done.
pub(crate) struct Newcomer {
    pub(crate) incoming: Incoming,
    pub(crate) user: User,
}

/// How long an address of several may be silent before the next is tried: where nobody listens, UDP
/// does not say so.
const SILENCE: Duration = Duration::from_secs(2);

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
    Opening(Step<Result<Stream, ConnectionError>>),
    Open(Box<Stream>),
    Failed,
}

/// The stream that carries MQTT.
struct Stream {
    connection: Connection,
    sender: SendStream,
    receiver: RecvStream,
    /// No more is sent; ready when the peer has everything, or will not have it.
    finishing: Option<Step<()>>,
}

impl Stream {
    fn new(connection: Connection, (sender, receiver): (SendStream, RecvStream)) -> Self {
        Self {
            connection,
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
            let stream = connection.accept_bi().await?;
            Ok(Stream::new(connection, stream))
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
    pub(crate) async fn dial(server: &ServerUrl, tls: &TlsOptions) -> io::Result<Self> {
        let config = quic::connect_with(tls).map_err(io::Error::other)?;
        let mut result = Err(io::ErrorKind::NotFound.into());
        let addresses = tokio::net::lookup_host((server.host(), server.port())).await?;
        let mut addresses = addresses.peekable();
        while let Some(address) = addresses.next() {
            let opening = open(address, config.clone(), server.host());
            result = match addresses.peek() {
                None => opening.await,
                Some(_) => timeout(SILENCE, opening)
                    .await
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
            };
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

    /// Whether the connection has ended, though bytes of the stream may be unread.
    pub(crate) fn has_left(&self) -> bool {
        match &self.state {
            State::Open(stream) => stream.connection.close_reason().is_some(),
            State::Opening(_) | State::Failed => false,
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Stream>> {
        if let State::Opening(opening) = &mut self.state {
            let opened = ready!(opening.as_mut().poll(cx)).map_err(Fault::from);
            let opened = opened.and_then(|stream: Stream| {
                self.identify(&stream.connection)?;
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
            && let Some(certificate) = read_certificate(&chain)?
            && let Some(peer) = &mut self.peer
        {
            peer.certificate = Some(Box::new(certificate));
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
    let stream = connection.open_bi().await?;
    Ok(Stream::new(connection, stream))
}
