//! Where a listener listens and what it carries MQTT over, as a URL.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What MQTT is carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Plain TCP; also written `mqtt`.
    Tcp,
    /// TLS over TCP; also written `mqtts`.
    Tls,
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// A Unix socket.
    Unix,
    /// One stream of a QUIC connection.
    Quic,
}

/// Every scheme, its names, and its port; see [`Scheme::port`].
const SCHEMES: [(&str, Scheme, u16); 8] = [
    ("tcp", Scheme::Tcp, 1_883),
    ("mqtt", Scheme::Tcp, 1_883),
    ("tls", Scheme::Tls, 8_883),
    ("mqtts", Scheme::Tls, 8_883),
    ("ws", Scheme::Ws, 80),
    ("wss", Scheme::Wss, 443),
    ("unix", Scheme::Unix, 0),
    ("quic", Scheme::Quic, 14_567),
];

/// The path of WebSocket URLs that name none.
pub(crate) const WEBSOCKET_PATH: &str = "/mqtt";

impl Scheme {
    /// The scheme of a URL, and what follows `://`.
    pub(crate) fn split(url: &str) -> Option<(Self, &str)> {
        let (name, rest) = url.split_once("://")?;
        let known = SCHEMES.iter().find(|(known, ..)| *known == name);
        known.map(|(_, scheme, _)| (*scheme, rest))
    }

    /// How it is written in a URL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
            Self::Quic => "quic",
        }
    }

    /// The port when none is named: those registered for MQTT and HTTP, and for QUIC the one that
    /// other brokers use. 0 for Unix sockets, which have none.
    #[must_use]
    pub fn port(self) -> u16 {
        let known = SCHEMES.iter().find(|(_, scheme, _)| *scheme == self);
        known.map_or(0, |(.., port)| *port)
    }

    /// Whether it is encrypted, and so needs a certificate.
    #[must_use]
    pub const fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss | Self::Quic)
    }

    /// Whether it speaks WebSocket, and so has a path.
    #[must_use]
    pub const fn has_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// Where a listener listens.
///
/// Written `tcp://ADDRESS:PORT`, `tls://ADDRESS:PORT`, `ws://ADDRESS:PORT/PATH`,
/// `wss://ADDRESS:PORT/PATH`, `quic://ADDRESS:PORT` or `unix://PATH`. Addresses are those of this
/// machine, never names but `localhost`; IPv6 stands in brackets. Port 0 lets the system choose.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerUrl {
    scheme: Scheme,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Place {
    /// The path is empty but for WebSocket.
    Address(SocketAddr, String),
    File(PathBuf),
}

impl ListenerUrl {
    /// Plain TCP at this address.
    #[must_use]
    pub const fn tcp(address: SocketAddr) -> Self {
        Self {
            scheme: Scheme::Tcp,
            place: Place::Address(address, String::new()),
        }
    }

    /// A Unix socket of this name.
    #[must_use]
    pub const fn unix(path: PathBuf) -> Self {
        Self {
            scheme: Scheme::Unix,
            place: Place::File(path),
        }
    }

    /// What MQTT is carried over.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The address; none for Unix sockets.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        match &self.place {
            Place::Address(address, _) => Some(*address),
            Place::File(_) => None,
        }
    }

    /// The file of a Unix socket.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match &self.place {
            Place::Address(..) => None,
            Place::File(path) => Some(path),
        }
    }

    /// The path that WebSocket clients ask for; empty for the others.
    #[must_use]
    pub fn path(&self) -> &str {
        match &self.place {
            Place::Address(_, path) => path,
            Place::File(_) => "",
        }
    }

    /// The same with the port that the system has chosen.
    #[must_use]
    pub fn at_port(mut self, port: u16) -> Self {
        if let Place::Address(address, _) = &mut self.place {
            address.set_port(port);
        }
        self
    }

    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address()
            .is_none_or(|address| address.ip().is_loopback())
    }
}

impl Default for ListenerUrl {
    /// `tcp://127.0.0.1:1883`, which cannot be reached from outside.
    fn default() -> Self {
        Self::tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, Scheme::Tcp.port())))
    }
}

impl fmt::Display for ListenerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.name())?;
        match &self.place {
            Place::Address(address, path) => write!(f, "{address}{path}"),
            Place::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Why some text is not a place to listen at. The fault is of whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BadUrl {
    /// It does not begin with a known scheme.
    #[error(
        "\"{0}\" should begin with \"tcp://\", such as \"tcp://127.0.0.1:1883\", or with one of \
         tls, ws, wss, unix, quic"
    )]
    Scheme(String),
    /// What stands where the address should is none.
    #[error(
        "\"{0}\" names no address of this machine; write \"tcp://0.0.0.0:1883\" for all IPv4, or \
         \"tcp://[::]:1883\" for all addresses"
    )]
    Host(String),
    /// An IPv6 address without brackets cannot be told from its port.
    #[error("\"{0}\" has too many colons; write IPv6 addresses in brackets: \"tcp://[::1]:1883\"")]
    Brackets(String),
    /// The port is not a number from 0 to 65535.
    #[error("\"{0}\" does not end with a port from 0 to 65535")]
    Port(String),
    /// Only WebSocket has paths.
    #[error("\"{0}\" has a path, and only ws and wss have one; end it with the port")]
    Path(String),
    /// A Unix socket is a file.
    #[error("\"{0}\" names no file; write \"unix:///run/whimbrel.sock\"")]
    File(String),
}

impl FromStr for ListenerUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let bad = |why: fn(String) -> BadUrl| why(text.to_owned());
        let (scheme, rest) = Scheme::split(text).ok_or_else(|| bad(BadUrl::Scheme))?;
        if scheme == Scheme::Unix {
            if rest.is_empty() || rest.ends_with('/') {
                return Err(bad(BadUrl::File));
            }
            return Ok(Self::unix(rest.into()));
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = match (scheme.has_websocket(), path) {
            (true, "") => WEBSOCKET_PATH,
            (true, path) if is_path(path) => path,
            (false, "" | "/") => "",
            _ => return Err(bad(BadUrl::Path)),
        };
        let (host, port) = split_port(authority).ok_or_else(|| bad(BadUrl::Brackets))?;
        let host = match host {
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host if authority.starts_with('[') => host.parse().map(Ipv6Addr::into).ok(),
            host => host.parse().map(Ipv4Addr::into).ok(),
        };
        let host = host.ok_or_else(|| bad(BadUrl::Host))?;
        let port = match port {
            None => scheme.port(),
            Some(port) => port.parse().map_err(|_| bad(BadUrl::Port))?,
        };
        Ok(Self {
            scheme,
            place: Place::Address(SocketAddr::new(host, port), path.to_owned()),
        })
    }
}

/// Whether a client can ask for this path: what the request line of HTTP has room for.
fn is_path(path: &str) -> bool {
    path.bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Host without brackets, and what follows its colon. `None` when an IPv6 address has no brackets,
/// or something stands behind them.
pub(crate) fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    match rest.strip_prefix(':') {
        Some(port) if port.contains(':') => None,
        Some(port) => Some((host, Some(port))),
        None if rest.is_empty() => Some((host, None)),
        // Something else stands behind the brackets: a port that is none.
        None => Some((host, Some(""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn urls_are_shown_as_they_are_read() {
        for (text, shown) in [
            ("tcp://127.0.0.1:1883", "tcp://127.0.0.1:1883"),
            ("tcp://0.0.0.0", "tcp://0.0.0.0:1883"),
            ("mqtt://0.0.0.0", "tcp://0.0.0.0:1883"),
            ("tcp://[::1]:0", "tcp://[::1]:0"),
            ("tcp://[::]", "tcp://[::]:1883"),
            ("tcp://localhost:18830/", "tcp://127.0.0.1:18830"),
            ("mqtts://[::]", "tls://[::]:8883"),
            ("ws://127.0.0.1:8080", "ws://127.0.0.1:8080/mqtt"),
            ("ws://127.0.0.1/", "ws://127.0.0.1:80/"),
            ("wss://0.0.0.0/a/b?c", "wss://0.0.0.0:443/a/b?c"),
            ("quic://0.0.0.0", "quic://0.0.0.0:14567"),
            ("unix:///run/whimbrel.sock", "unix:///run/whimbrel.sock"),
            ("unix://here.sock", "unix://here.sock"),
        ] {
            let url: ListenerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse(), Ok(url));
        }
    }

    #[test]
    fn what_cannot_be_listened_at_is_refused_for_its_reason() {
        let refused = |text: &str| text.parse::<ListenerUrl>().unwrap_err();
        let owned = str::to_owned;
        for text in ["", "127.0.0.1:1883", "http://127.0.0.1", "tcp:/127.0.0.1"] {
            assert_eq!(refused(text), BadUrl::Scheme(owned(text)));
        }
        for text in [
            "tcp://",
            "tcp://:1883",
            "tcp://256.0.0.1:1",
            "tcp://[nonsense]:1",
            "tcp://[127.0.0.1]:1",
            "tls://broker.example.org",
        ] {
            assert_eq!(refused(text), BadUrl::Host(owned(text)));
        }
        for text in ["tcp://::1:1883", "tcp://[::1", "ws://::1/mqtt"] {
            assert_eq!(refused(text), BadUrl::Brackets(owned(text)));
        }
        for text in [
            "tcp://0.0.0.0:",
            "tcp://0.0.0.0:65536",
            "tcp://0.0.0.0:-1",
            "tcp://[::1]1883",
        ] {
            assert_eq!(refused(text), BadUrl::Port(owned(text)));
        }
        for text in [
            "tcp://0.0.0.0/mqtt",
            "quic://[::]:1/x",
            "ws://0.0.0.0/a b",
            "ws://0.0.0.0/a#b",
        ] {
            assert_eq!(refused(text), BadUrl::Path(owned(text)));
        }
        for text in ["unix://", "unix:///run/"] {
            assert_eq!(refused(text), BadUrl::File(owned(text)));
        }
    }
}
