//! Where a server is, and how a client knows it.

use super::url::{Scheme, WEBSOCKET_PATH, split_port};
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;
use thiserror::Error;

/// Where a server is: a URL such as `mqtts://broker.example.org`, or `host:port` for plain TCP.
///
/// The schemes are those of listeners; see [`ListenerUrl`](super::ListenerUrl). Ports default to
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

    /// The path that WebSocket asks for; empty for the others.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Host and port, with brackets where they are needed.
    #[must_use]
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

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
