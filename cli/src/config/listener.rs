//! An address at which clients connect.

use super::field::Field;
use super::value::{Kind, Unit, Value};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use thiserror::Error;

/// An address at which clients connect, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listener {
    /// Where.
    pub(crate) url: ListenerUrl,
    /// Whether clients from elsewhere may connect without a verdict on who they are.
    pub(crate) allow_anonymous: bool,
}

/// Where to listen: `tcp://ADDRESS:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListenerUrl {
    host: String,
    port: u16,
}

/// The port of MQTT over TCP.
const MQTT_PORT: u16 = 1_883;

impl Default for ListenerUrl {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: MQTT_PORT,
        }
    }
}

impl ListenerUrl {
    /// The address or host name, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 lets the system choose.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// Why some text is not a place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadUrl {
    /// It does not begin with a known scheme.
    #[error("\"{0}\" should begin with \"tcp://\", such as \"tcp://127.0.0.1:1883\"")]
    Scheme(String),
    /// Nothing, or nonsense, stands where the address should.
    #[error("\"{0}\" has no address to listen at; write \"tcp://0.0.0.0:1883\" for all of IPv4")]
    Host(String),
    /// An IPv6 address without brackets cannot be told from its port.
    #[error("\"{0}\" has too many colons; write IPv6 addresses in brackets: \"tcp://[::1]:1883\"")]
    Brackets(String),
    /// The port is not a number from 0 to 65535.
    #[error("\"{0}\" does not end with a port from 0 to 65535")]
    Port(String),
}

impl FromStr for ListenerUrl {
    type Err = BadUrl;

    fn from_str(text: &str) -> Result<Self, BadUrl> {
        let Some(authority) = text.strip_prefix("tcp://") else {
            return Err(BadUrl::Scheme(text.to_owned()));
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let Some((host, rest)) = rest.split_once(']') else {
                    return Err(BadUrl::Brackets(text.to_owned()));
                };
                if host.parse::<std::net::Ipv6Addr>().is_err() {
                    return Err(BadUrl::Host(text.to_owned()));
                }
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err(BadUrl::Port(text.to_owned())),
                }
            }
            None => match authority.split_once(':') {
                Some((_, port)) if port.contains(':') => {
                    return Err(BadUrl::Brackets(text.to_owned()));
                }
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let is_host = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(BadUrl::Host(text.to_owned()));
        }
        let port = match port {
            Some(port) => port
                .parse()
                .map_err(|_| BadUrl::Port(text.to_owned()))?,
            None => MQTT_PORT,
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for ListenerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => write!(f, "tcp://[{address}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => write!(f, "tcp://{}:{}", self.host, self.port),
        }
    }
}

impl Field for ListenerUrl {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Text
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Text(text) = value {
            *self = text.parse().map_err(|error: BadUrl| error.to_string())?;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Text(self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_shown_as_they_are_read() {
        for (text, shown) in [
            ("tcp://127.0.0.1:1883", "tcp://127.0.0.1:1883"),
            ("tcp://0.0.0.0", "tcp://0.0.0.0:1883"),
            ("tcp://[::1]:0", "tcp://[::1]:0"),
            ("tcp://[::]", "tcp://[::]:1883"),
            ("tcp://localhost:18830/", "tcp://localhost:18830"),
        ] {
            let url: ListenerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.to_string().parse(), Ok(url));
        }
    }

    #[test]
    fn what_cannot_be_listened_at_is_refused_for_its_reason() {
        let refused = |text: &str| text.parse::<ListenerUrl>().unwrap_err();
        let owned = str::to_owned;
        for text in ["", "127.0.0.1:1883", "mqtt://127.0.0.1", "tcp:/127.0.0.1"] {
            assert_eq!(refused(text), BadUrl::Scheme(owned(text)));
        }
        for text in ["tcp://", "tcp://:1883", "tcp://a b:1", "tcp://[nonsense]:1"] {
            assert_eq!(refused(text), BadUrl::Host(owned(text)));
        }
        for text in ["tcp://::1:1883", "tcp://[::1"] {
            assert_eq!(refused(text), BadUrl::Brackets(owned(text)));
        }
        for text in ["tcp://a:", "tcp://a:65536", "tcp://a:-1", "tcp://[::1]1883"] {
            assert_eq!(refused(text), BadUrl::Port(owned(text)));
        }
    }
}
