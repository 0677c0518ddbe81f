//! Connects to a server, and does everything that comes before MQTT.

use crate::transport::{Layered, Layers, Pipe, Transport, can};
use core::future::poll_fn;
use std::io;
use tokio::net::TcpStream;
use whimbrel_core::runtime::{Scheme, ServerUrl, TlsOptions};

/// The layers of a connection there.
///
/// # Errors
///
/// Files that are not what they should be, or something that this build cannot.
fn layers(
    server: &ServerUrl,
    #[cfg_attr(not(feature = "tls"), expect(unused_variables))] tls: &TlsOptions,
) -> io::Result<Option<Layers>> {
    can(server.scheme())?;
    if server.scheme() == Scheme::Quic
        || !server.scheme().has_tls() && !server.scheme().has_websocket()
    {
        return Ok(None);
    }
    let layers = Layers::default();
    #[cfg(feature = "tls")]
    let layers = match server.scheme().has_tls() {
        true => with_tls(server, layers, tls)?,
        false => layers,
    };
    #[cfg(feature = "websocket")]
    let layers = match server.scheme().has_websocket() {
        true => with_websocket(server, layers),
        false => layers,
    };
    Ok(Some(layers))
}

#[cfg(feature = "tls")]
fn with_tls(server: &ServerUrl, mut layers: Layers, tls: &TlsOptions) -> io::Result<Layers> {
    use crate::transport::Tls;
    let name = server
        .host()
        .to_owned()
        .try_into()
        .map_err(io::Error::other)?;
    let config = crate::transport::load_client(tls).map_err(io::Error::other)?;
    layers.add_tls(Tls::client(config, name).map_err(io::Error::other)?);
    Ok(layers)
}

#[cfg(feature = "websocket")]
fn with_websocket(server: &ServerUrl, mut layers: Layers) -> Layers {
    use crate::transport::{Dial, WebSocket};
    let dial = Dial::new(&server.authority(), server.path());
    layers.add_websocket(WebSocket::client(dial));
    layers
}

/// Connects, and waits until all handshakes are done.
pub(super) async fn connect(server: &ServerUrl, tls: &TlsOptions) -> io::Result<Transport> {
    let layers = layers(server, tls)?;
    let pipe = match server.scheme() {
        #[cfg(unix)]
        Scheme::Unix => Pipe::Unix(tokio::net::UnixStream::connect(server.host()).await?),
        #[cfg(not(unix))]
        Scheme::Unix => {
            let why = "this system has no Unix sockets";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        #[cfg(feature = "quic")]
        Scheme::Quic => {
            use crate::transport::{load_client, quic::Quic};
            let tls = load_client(tls).map_err(io::Error::other)?;
            return Ok(Transport::Quic(Box::new(Quic::dial(server, tls).await?)));
        }
        #[cfg(not(feature = "quic"))]
        Scheme::Quic => return Err(crate::transport::without("quic")),
        Scheme::Tcp | Scheme::Tls | Scheme::Ws | Scheme::Wss => {
            let stream = TcpStream::connect((server.host(), server.port())).await?;
            stream.set_nodelay(true)?;
            Pipe::Tcp(stream)
        }
    };
    let Some(mut layers) = layers else {
        return Ok(Transport::Plain(pipe));
    };
    let mut first = Vec::new();
    layers.start(&mut first).map_err(io::Error::other)?;
    let mut layered = Layered::new(pipe, layers, first);
    poll_fn(|cx| layered.poll_open(cx)).await?;
    Ok(Transport::Layered(Box::new(layered)))
}
