//! Connects to a server, and does everything that comes before MQTT.

use crate::transport::{Layered, Pipe, Transport};
use core::future::poll_fn;
use std::io;
use tokio::net::TcpStream;
use whimbrel_core::runtime::{Scheme, ServerUrl, TlsOptions};
use whimbrel_transport::client::layers;

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
            use crate::transport::quic::Quic;
            return Ok(Transport::Quic(Box::new(Quic::dial(server, tls).await?)));
        }
        #[cfg(not(feature = "quic"))]
        Scheme::Quic => return Err(whimbrel_transport::without("quic")),
        Scheme::Tcp | Scheme::Tls | Scheme::Ws | Scheme::Wss => {
            let stream = TcpStream::connect((server.host(), server.port())).await?;
            stream.set_nodelay(true)?;
            Pipe::Tcp(stream)
        }
    };
    let Some((layers, first)) = layers else {
        return Ok(Transport::Plain(pipe));
    };
    let mut layered = Layered::new(pipe, layers, first);
    poll_fn(|cx| layered.poll_open(cx)).await?;
    Ok(Transport::Layered(Box::new(layered)))
}
