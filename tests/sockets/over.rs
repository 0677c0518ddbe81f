//! Brokers over other transports than TCP. Stories know TCP alone, so a relay
//! stands in between: it takes TCP, and speaks the transport to the broker by libraries that share
//! no code with the broker's side of it.

use crate::runtime::{Listens, OnSmol, OnTokio, Runtime};
use core::marker::PhantomData;
use core::net::SocketAddr;
use futures_util::{SinkExt, StreamExt};
use quinn::crypto::rustls::QuicClientConfig;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use whimbrel_core::Config;
use whimbrel_core::codec::packet::QoS;
use whimbrel_core::runtime::{LinkError, ListenerConfig, ListenerUrl, Scheme};
use whimbrel_core::statistics::Statistics;
use whimbrel_tests::authority::Authority;
use whimbrel_tokio::client::{self, Connection, Events, OpenError};

/// Which transport.
pub(crate) trait Kind: Sync {
    const SCHEME: &'static str;
}

macro_rules! kinds {
    ($($kind:ident $scheme:literal $over:ident $($smol:ident)?),*) => {$(
        pub(crate) struct $kind;
        impl Kind for $kind {
            const SCHEME: &'static str = $scheme;
        }
        pub(crate) type $over = Over<$kind, OnTokio>;
        $(pub(crate) type $smol = Over<$kind, OnSmol>;)?
    )*};
}

kinds!(
    Unix "unix" OverUnix SmolOverUnix,
    Tls "tls" OverTls SmolOverTls,
    Ws "ws" OverWs SmolOverWs,
    Wss "wss" OverWss SmolOverWss,
    Quic "quic" OverQuic
);

/// The broker, and a relay in front of it.
pub(crate) struct Over<K, B> {
    broker: B,
    address: SocketAddr,
    /// Ends the relay when it is dropped.
    _until: oneshot::Sender<()>,
    relay: JoinHandle<()>,
    _authority: Authority,
    kind: PhantomData<K>,
}

impl<K: Kind, B: Listens> Runtime for Over<K, B> {
    fn start(config: Config) -> Self {
        let authority = Authority::new(&format!("{}-{:?}", K::SCHEME, thread::current().id()));
        let pair = authority.server("server", &["localhost"]);
        let place = match K::SCHEME {
            "unix" => authority.path("broker.sock"),
            _ => "127.0.0.1:0".to_owned(),
        };
        let url = format!("{}://{place}", K::SCHEME);
        let mut listener = ListenerConfig::new(url.parse().expect("a URL"));
        if listener.url.scheme().has_tls() {
            listener.certificate = vec![pair.certificate];
            listener.key = vec![pair.key];
        }
        let broker = B::with(config, listener);
        let (address, until, relay) = relay(broker.listener(), authority.file());
        Self {
            broker,
            address,
            _until: until,
            relay,
            _authority: authority,
            kind: PhantomData,
        }
    }

    fn address(&self) -> SocketAddr {
        self.address
    }

    fn statistics(&self) -> Statistics {
        self.broker.statistics()
    }

    fn publish(&self, topic: &str, payload: &[u8], qos: QoS) -> Result<(), LinkError> {
        self.broker.publish(topic, payload, qos)
    }

    fn connect(&self, config: client::Config) -> Result<(Connection, Events), OpenError> {
        self.broker.connect(config)
    }

    fn subscribe(
        &self,
        filter: &str,
        qos: QoS,
    ) -> Result<impl FnMut() -> Option<whimbrel_core::runtime::Message> + 'static, LinkError> {
        self.broker.subscribe(filter, qos)
    }

    fn stop(self) {
        self.broker.stop();
        drop(self._until);
        self.relay.join().expect("the relay does not panic");
    }
}

/// Starts a relay to this listener: where it is, what ends it, and its thread.
fn relay(url: ListenerUrl, authority: String) -> (SocketAddr, oneshot::Sender<()>, JoinHandle<()>) {
    let (until, over) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime for the relay");
    let bound = runtime.block_on(TcpListener::bind("127.0.0.1:0"));
    let listener = bound.expect("a port for the relay");
    let address = listener.local_addr().expect("an address");
    let relay = thread::spawn(move || {
        runtime.block_on(async move {
            let accepting = async {
                while let Ok((stream, _)) = listener.accept().await {
                    let (url, authority) = (url.clone(), authority.clone());
                    tokio::spawn(async move { pass_on(stream, &url, &authority).await });
                }
            };
            tokio::select! {
                () = accepting => {}
                _ = over => {}
            }
        });
    });
    (address, until, relay)
}

async fn pass_on(mut tcp: TcpStream, url: &ListenerUrl, authority: &str) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let Some(address) = url.address() else {
        let path = url.file().expect("a Unix socket has one");
        let mut unix = UnixStream::connect(path).await?;
        return copy_bidirectional(&mut tcp, &mut unix).await.map(drop);
    };
    if url.scheme() == Scheme::Quic {
        return one_stream(tcp, address, believing(authority)?).await;
    }
    let plain = TcpStream::connect(address).await?;
    plain.set_nodelay(true)?;
    if !url.scheme().has_tls() {
        return frames(tcp, plain, url.path()).await;
    }
    let config = believing(authority)?;
    let name = "localhost".try_into().map_err(io::Error::other)?;
    let mut tls = TlsConnector::from(Arc::new(config))
        .connect(name, plain)
        .await?;
    if url.scheme().has_websocket() {
        return frames(tcp, tls, url.path()).await;
    }
    copy_bidirectional(&mut tcp, &mut tls).await.map(drop)
}

/// A client that believes this authority.
fn believing(authority: &str) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_file(authority).map_err(io::Error::other)?;
    roots.add(root).map_err(io::Error::other)?;
    let mut config =
        ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    Ok(config)
}

/// A connection with one stream, as other clients of MQTT over QUIC open it.
async fn one_stream(mut tcp: TcpStream, address: SocketAddr, tls: ClientConfig) -> io::Result<()> {
    let crypto = QuicClientConfig::try_from(tls).map_err(io::Error::other)?;
    let endpoint = quinn::Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    // By itself it would give up after 30 s of silence, as on a busy machine there may be.
    let mut patient = quinn::TransportConfig::default();
    patient.max_idle_timeout(None);
    config.transport_config(Arc::new(patient));
    let connecting = endpoint.connect_with(config, address, "localhost");
    let connection = connecting.map_err(io::Error::other)?.await?;
    let (sender, receiver) = connection.open_bi().await?;
    let mut stream = tokio::io::join(receiver, sender);
    copy_bidirectional(&mut tcp, &mut stream).await?;
    // Until the broker has everything.
    let _ = stream.into_inner().1.stopped().await;
    Ok(())
}

/// Frames as long as whatever was read, so packets are split over them and merged in them.
async fn frames(
    tcp: TcpStream,
    below: impl AsyncRead + AsyncWrite + Unpin,
    path: &str,
) -> io::Result<()> {
    let request = format!("ws://localhost{path}").into_client_request();
    let mut request = request.map_err(io::Error::other)?;
    let protocol = "mqtt".parse().map_err(io::Error::other)?;
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let (socket, _) = client_async(request, below)
        .await
        .map_err(io::Error::other)?;
    let (mut sink, mut frames) = socket.split();
    let (mut reader, mut writer) = tcp.into_split();
    let up = async {
        let mut buffer = vec![0; 9_000];
        loop {
            match reader.read(&mut buffer).await? {
                0 => return sink.close().await.map_err(io::Error::other),
                count => {
                    let frame = Message::binary(buffer[..count].to_vec());
                    sink.send(frame).await.map_err(io::Error::other)?;
                }
            }
        }
    };
    let down = async {
        while let Some(frame) = frames.next().await {
            if let Message::Binary(bytes) = frame.map_err(io::Error::other)? {
                writer.write_all(&bytes).await?;
            }
        }
        writer.shutdown().await
    };
    tokio::try_join!(up, down).map(drop)
}
