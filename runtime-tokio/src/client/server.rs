//! Where a server is, and how to get there.

use crate::transport::{Layered, Layers, Pipe, Transport, can, without};
use crate::url::{Scheme, WEBSOCKET_PATH, split_port};
use core::fmt;
use core::future::poll_fn;
use core::str::FromStr;
use std::io;
#[cfg(feature = "tls")]
use std::path::Path;
use thiserror::Error;
use tokio::net::TcpStream;

/// Where a server is: a URL such as `mqtts://broker.example.org`, or `host:port` for plain TCP.
///
/// The schemes are those of listeners; see [`ListenerUrl`](crate::ListenerUrl). Ports default to
/// 1883 for `mqtt` and `tcp`, 8883 for `mqtts` and `tls`, 80 and 443 for `ws` and `wss`, 14567 for
/// `quic`; the path of WebSocket to `/mqtt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    scheme: Scheme,
    /// Without brackets; a path for Unix sockets.
    host: String,
    port: u16,
    /// Of WebSocket.
    path: String,
}

/// Some text names no server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" names no server; write one as \"mqtt://host:port\", or with one of mqtts, ws, wss, \
     unix, quic"
)]
pub struct BadServerUrl(String);

impl FromStr for ServerUrl {
    type Err = BadServerUrl;

    fn from_str(text: &str) -> Result<Self, BadServerUrl> {
        let bad = || BadServerUrl(text.to_owned());
        let (scheme, rest) = match Scheme::split(text) {
            Some(known) => known,
            None if text.contains("://") => return Err(bad()),
            None => (Scheme::Tcp, text),
        };
        let (host, port, path) = if scheme == Scheme::Unix {
            (rest, None, "")
        } else {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let (host, port) = split_port(authority).ok_or_else(bad)?;
            (host, port, path)
        };
        let is_line = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let path = match (scheme.has_websocket(), path) {
            (true, "") => WEBSOCKET_PATH,
            (true, path) if is_line(path) => path,
            (false, "" | "/") => "",
            _ => return Err(bad()),
        };
        if host.is_empty() || (scheme != Scheme::Unix && !is_line(host)) {
            return Err(bad());
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: match port {
                None => scheme.port(),
                Some(port) => port.parse().map_err(|_| bad())?,
            },
            path: path.to_owned(),
        })
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        match self.scheme {
            Scheme::Unix => f.write_str(&self.host),
            Scheme::Tcp | Scheme::Tls | Scheme::Ws | Scheme::Wss | Scheme::Quic => {
                write!(f, "{}{}", self.authority(), self.path)
            }
        }
    }
}

impl ServerUrl {
    /// Plain TCP to this host and port.
    #[must_use]
    pub fn tcp(host: &str, port: u16) -> Self {
        Self {
            scheme: Scheme::Tcp,
            host: host.to_owned(),
            port,
            path: String::new(),
        }
    }

    /// The same at another port.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    /// What MQTT is carried over.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The name or address, without brackets; of Unix sockets the path.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 for Unix sockets.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// The layers of a connection there.
    ///
    /// # Errors
    ///
    /// Files that are not what they should be, or something that this build cannot.
    pub(crate) fn layers(
        &self,
        #[cfg_attr(not(feature = "tls"), expect(unused))] tls: &TlsOptions,
    ) -> io::Result<Option<Layers>> {
        can(self.scheme)?;
        if self.scheme == Scheme::Quic || !self.scheme.has_tls() && !self.scheme.has_websocket() {
            return Ok(None);
        }
        let layers = Layers::default();
        #[cfg(feature = "tls")]
        let layers = match self.scheme.has_tls() {
            true => self.with_tls(layers, tls)?,
            false => layers,
        };
        #[cfg(feature = "websocket")]
        let layers = match self.scheme.has_websocket() {
            true => self.with_websocket(layers),
            false => layers,
        };
        Ok(Some(layers))
    }

    #[cfg(feature = "tls")]
    fn with_tls(&self, mut layers: Layers, tls: &TlsOptions) -> io::Result<Layers> {
        use crate::transport::Tls;
        let name = self.host.clone().try_into().map_err(io::Error::other)?;
        let config = tls.load().map_err(io::Error::other)?;
        layers.add_tls(Tls::client(config, name).map_err(io::Error::other)?);
        Ok(layers)
    }

    #[cfg(feature = "websocket")]
    fn with_websocket(&self, mut layers: Layers) -> Layers {
        use crate::transport::{Dial, WebSocket};
        let dial = Dial::new(&self.authority(), &self.path);
        layers.add_websocket(WebSocket::client(dial));
        layers
    }

    /// Connects, and waits until all handshakes are done.
    pub(super) async fn connect(&self, tls: &TlsOptions) -> io::Result<Transport> {
        let layers = self.layers(tls)?;
        let pipe = match self.scheme {
            #[cfg(unix)]
            Scheme::Unix => Pipe::Unix(tokio::net::UnixStream::connect(&self.host).await?),
            #[cfg(not(unix))]
            Scheme::Unix => {
                let why = "this system has no Unix sockets";
                return Err(io::Error::new(io::ErrorKind::Unsupported, why));
            }
            Scheme::Quic => return Err(without("quic")),
            Scheme::Tcp | Scheme::Tls | Scheme::Ws | Scheme::Wss => {
                let stream = TcpStream::connect((&*self.host, self.port)).await?;
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
}

/// How a client proves the server's identity and its own, where there is TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Files with the authorities, in PEM, whose certificates are believed. Default: those of the
    /// system.
    pub ca: Vec<String>,
    /// A file with this client's certificate chain, in PEM. Default: none is shown.
    pub certificate: Option<String>,
    /// A file with its private key, in PEM.
    pub key: Option<String>,
    /// Believe any certificate: whoever is in between can read and change everything. For tests.
    pub insecure: bool,
}

#[cfg(feature = "tls")]
impl TlsOptions {
    pub(crate) fn load(&self) -> Result<std::sync::Arc<rustls::ClientConfig>, String> {
        crate::transport::load_client(self)
    }

    /// Where systems keep the authorities that they believe, if not where `SSL_CERT_FILE` says.
    pub(crate) fn system_authorities() -> Option<String> {
        const FILES: [&str; 4] = [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ];
        let named = std::env::var("SSL_CERT_FILE").ok();
        let known = || FILES.iter().find(|file| Path::new(file).exists());
        named.or_else(|| known().map(|file| (*file).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_by_urls_or_host_and_port() {
        for (text, shown) in [
            ("localhost", "tcp://localhost:1883"),
            ("localhost:1", "tcp://localhost:1"),
            ("[::1]:1", "tcp://[::1]:1"),
            (
                "mqtts://broker.example.org",
                "tls://broker.example.org:8883",
            ),
            ("ws://broker", "ws://broker:80/mqtt"),
            ("wss://broker/x?y", "wss://broker:443/x?y"),
            ("unix:///run/w.sock", "unix:///run/w.sock"),
            ("quic://broker", "quic://broker:14567"),
        ] {
            let url: ServerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
        }
        for text in [
            "",
            "http://broker",
            "tls://",
            "tls://b/x",
            "b:x",
            "::1",
            "ws://b/ x",
        ] {
            assert!(text.parse::<ServerUrl>().is_err(), "{text}");
        }
    }
}
