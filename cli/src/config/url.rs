//! The addresses listeners are given as: `tcp://ADDRESS:PORT`.

use super::field::Field;
use super::value::{Kind, Unit, Value};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;

/// The port of MQTT over TCP.
pub(crate) const MQTT_PORT: u16 = 1_883;

/// Why some text is not a place to listen at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum BadUrl {
    /// It does not begin with a known scheme.
    #[error("\"{0}\" should begin with \"tcp://\", such as \"tcp://127.0.0.1:1883\"")]
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
}

/// Reads where to listen. Without a port it is that of MQTT; `localhost` is 127.0.0.1.
///
/// # Errors
///
/// What is wrong with the text; the fault is of whoever wrote it.
pub(crate) fn parse_url(text: &str) -> Result<SocketAddr, BadUrl> {
    let Some(authority) = text.strip_prefix("tcp://") else {
        return Err(BadUrl::Scheme(text.to_owned()));
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let Some((host, port)) = rest.split_once(']') else {
                return Err(BadUrl::Brackets(text.to_owned()));
            };
            (host.parse::<Ipv6Addr>().map(IpAddr::V6).ok(), port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            if port.matches(':').count() > 1 {
                return Err(BadUrl::Brackets(text.to_owned()));
            }
            let host = match host {
                "localhost" => Some(Ipv4Addr::LOCALHOST),
                host => host.parse().ok(),
            };
            (host.map(IpAddr::V4), port)
        }
    };
    let host = host.ok_or_else(|| BadUrl::Host(text.to_owned()))?;
    let port = match port.strip_prefix(':').map(str::parse) {
        Some(Ok(port)) => port,
        None if port.is_empty() => MQTT_PORT,
        Some(Err(_)) | None => return Err(BadUrl::Port(text.to_owned())),
    };
    Ok(SocketAddr::new(host, port))
}

/// The inverse of [`parse_url`].
pub(crate) fn show_url(address: SocketAddr) -> String {
    format!("tcp://{address}")
}

impl Field for SocketAddr {
    fn kind(&self, _: Unit) -> Kind {
        Kind::Text
    }

    fn set(&mut self, value: Value) -> Result<(), String> {
        if let Value::Text(text) = value {
            *self = parse_url(&text).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn get(&self) -> Option<Value> {
        Some(Value::Text(show_url(*self)))
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
            ("tcp://localhost:18830/", "tcp://127.0.0.1:18830"),
        ] {
            let address = parse_url(text).unwrap();
            assert_eq!(show_url(address), shown);
            assert_eq!(parse_url(shown), Ok(address));
        }
    }

    #[test]
    fn what_cannot_be_listened_at_is_refused_for_its_reason() {
        let refused = |text: &str| parse_url(text).unwrap_err();
        let owned = str::to_owned;
        for text in ["", "127.0.0.1:1883", "mqtt://127.0.0.1", "tcp:/127.0.0.1"] {
            assert_eq!(refused(text), BadUrl::Scheme(owned(text)));
        }
        for text in [
            "tcp://",
            "tcp://:1883",
            "tcp://256.0.0.1:1",
            "tcp://[nonsense]:1",
            "tcp://broker.example.org",
        ] {
            assert_eq!(refused(text), BadUrl::Host(owned(text)));
        }
        for text in ["tcp://::1:1883", "tcp://[::1"] {
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
    }
}
