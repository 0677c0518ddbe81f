//! The header of the PROXY protocol, versions 1 and 2: a proxy tells whose connection it passes on.
//!
//! Only asked for from proxies that the operator has listed; who is let in there may claim any
//! address, so nobody else gets that far.
//!
//! ```text
//! 1  PROXY TCP4 192.0.2.1 203.0.113.7 50000 1883\r\n
//! 2  signature, 12 bytes | version, command | family | length, 16 bits | addresses | TLVs
//! ```

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;

/// A header is at most this long. Version 1 is bounded by itself; version 2 may have 64 KiB, of
/// which proxies in use fill some hundred bytes.
pub const HEADER_BYTES_MAXIMUM: usize = 4_096;

/// The longest line of version 1, with its end.
const LINE_BYTES_MAXIMUM: usize = 107;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Whose connection it is.
    pub source: Source,
    /// The subject's common name of the client certificate that the proxy has verified.
    pub common_name: Option<String>,
}

/// Whose connection a proxy passes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// Its own, as for a health check.
    Proxy,
    /// Somebody's of whom it tells no address.
    #[default]
    Unknown,
    /// That of who connects from there.
    Address(SocketAddr),
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum BadHeader {
    #[error("no PROXY header came first")]
    Missing,
    #[error("the PROXY header is malformed")]
    Malformed,
    #[error("the PROXY header is longer than {HEADER_BYTES_MAXIMUM} bytes")]
    TooLong,
    #[error("a name in the PROXY header has control characters")]
    Control,
}

/// Reads a header from the front of `bytes`: what it says, and its length. `None` when more bytes
/// are needed; never asks for more than [`HEADER_BYTES_MAXIMUM`].
///
/// # Errors
///
/// What came is no header, or one that is not taken; more bytes do not change that.
pub fn read(bytes: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    if begins(bytes, SIGNATURE) {
        read_2(bytes)
    } else if begins(bytes, b"PROXY ") {
        read_1(bytes)
    } else {
        Err(BadHeader::Missing)
    }
}

/// Whether `bytes` begin with these, as far as there are any.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    let common = bytes.len().min(with.len());
    bytes[..common] == with[..common]
}

fn read_1(bytes: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    let line = &bytes[..bytes.len().min(LINE_BYTES_MAXIMUM)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_BYTES_MAXIMUM {
            Ok(None)
        } else {
            Err(BadHeader::Malformed)
        };
    };
    let text = core::str::from_utf8(&line[..end]).map_err(|_| BadHeader::Malformed)?;
    let source = source_1(text).ok_or(BadHeader::Malformed)?;
    let header = Header {
        source,
        ..Header::default()
    };
    Ok(Some((header, end + 2)))
}

/// `None` when it is malformed.
fn source_1(line: &str) -> Option<Source> {
    let mut words = line.split(' ');
    (words.next()? == "PROXY").then_some(())?;
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Source::Unknown);
    }
    let (source, destination): (IpAddr, IpAddr) = match family {
        "TCP4" => (
            words.next()?.parse::<Ipv4Addr>().ok()?.into(),
            words.next()?.parse::<Ipv4Addr>().ok()?.into(),
        ),
        "TCP6" => (
            words.next()?.parse::<Ipv6Addr>().ok()?.into(),
            words.next()?.parse::<Ipv6Addr>().ok()?.into(),
        ),
        _ => return None,
    };
    let (port, port_here) = (port(words.next()?)?, port(words.next()?)?);
    let _ = (destination, port_here);
    words.next().is_none().then_some(())?;
    Some(Source::Address(SocketAddr::new(source, port)))
}

/// Digits alone: `parse` would take a sign.
fn port(word: &str) -> Option<u16> {
    word.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| word.parse().ok())
        .flatten()
}

fn read_2(bytes: &[u8]) -> Result<Option<(Header, usize)>, BadHeader> {
    let Some((fixed, _)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(None);
    };
    let [.., version_and_command, family, high, low] = *fixed;
    let end = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    if end > HEADER_BYTES_MAXIMUM {
        return Err(BadHeader::TooLong);
    }
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(BadHeader::Malformed),
    };
    let Some(body) = bytes.get(FIXED_BYTES..end) else {
        return Ok(None);
    };
    let (source, tlvs) = source_2(family, body).ok_or(BadHeader::Malformed)?;
    let common_name = common_name(tlvs)?;
    let header = if is_local {
        Header {
            source: Source::Proxy,
            common_name: None,
        }
    } else {
        Header {
            source,
            common_name,
        }
    };
    Ok(Some((header, end)))
}

/// The source address, and the TLVs behind the addresses. `None` when it is malformed.
fn source_2(family: u8, body: &[u8]) -> Option<(Source, &[u8])> {
    let (ip, rest): (IpAddr, _) = match family {
        0x00 => return Some((Source::Unknown, body)),
        0x11 => {
            let (addresses, rest) = body.split_first_chunk::<8>()?;
            let source: [u8; 4] = *addresses.first_chunk()?;
            (source.into(), rest)
        }
        0x21 => {
            let (addresses, rest) = body.split_first_chunk::<32>()?;
            let source: [u8; 16] = *addresses.first_chunk()?;
            (source.into(), rest)
        }
        // A Unix socket: two names of 108 bytes.
        0x31 => return Some((Source::Unknown, body.get(216..)?)),
        _ => return None,
    };
    let ([high, low, _, _], tlvs) = rest.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes([*high, *low]);
    Some((Source::Address(SocketAddr::new(ip, port)), tlvs))
}

/// Type and value of the first TLV, and what follows. `None` when it is cut off.
fn split_tlv(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let ([kind, high, low], rest) = bytes.split_first_chunk::<3>()?;
    let (value, rest) = rest.split_at_checked(u16::from_be_bytes([*high, *low]).into())?;
    Some((*kind, value, rest))
}

/// What the host name is that the client asked for.
const AUTHORITY: u8 = 0x02;
/// What the proxy knows about the client's TLS: one byte of flags, four of verification, TLVs.
const SSL: u8 = 0x20;
const SSL_COMMON_NAME: u8 = 0x22;
/// The certificate came with this connection or with its session.
const CERTIFICATE_SHOWN: u8 = 0x02 | 0x04;

/// Looks through all TLVs: none may be cut off, and no name may have control characters, also in
/// those that nobody asks for.
fn common_name(mut tlvs: &[u8]) -> Result<Option<String>, BadHeader> {
    let mut common_name = None;
    while !tlvs.is_empty() {
        let (kind, value, rest) = split_tlv(tlvs).ok_or(BadHeader::Malformed)?;
        tlvs = rest;
        match kind {
            AUTHORITY => drop(name(value)?),
            SSL => {
                let ([flags, verification @ ..], mut inner) =
                    value.split_first_chunk::<5>().ok_or(BadHeader::Malformed)?;
                while !inner.is_empty() {
                    let (kind, value, rest) = split_tlv(inner).ok_or(BadHeader::Malformed)?;
                    inner = rest;
                    let is_verified = *verification == [0; 4] && flags & CERTIFICATE_SHOWN != 0;
                    let name = name_if(kind == SSL_COMMON_NAME, value)?;
                    common_name = name.filter(|_| is_verified).or(common_name);
                }
            }
            _ => {}
        }
    }
    Ok(common_name)
}

fn name_if(is_name: bool, value: &[u8]) -> Result<Option<String>, BadHeader> {
    if is_name {
        name(value).map(Some)
    } else {
        Ok(None)
    }
}

fn name(value: &[u8]) -> Result<String, BadHeader> {
    let name = core::str::from_utf8(value).map_err(|_| BadHeader::Malformed)?;
    if name.chars().any(char::is_control) {
        return Err(BadHeader::Control);
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, body].concat()
    }

    fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(value.len()).unwrap().to_be_bytes();
        [&[kind], &length[..], value].concat()
    }

    const V4: [u8; 12] = [192, 0, 2, 1, 203, 0, 113, 7, 0xC3, 0x50, 0x07, 0x5B];

    fn ssl(flags: u8, verification: u8, name: &[u8]) -> Vec<u8> {
        let head = [flags, 0, 0, 0, verification];
        let inner = [
            &head[..],
            &tlv(0x21, b"TLSv1.3"),
            &tlv(SSL_COMMON_NAME, name),
        ]
        .concat();
        tlv(SSL, &inner)
    }

    fn examples() -> Vec<(Vec<u8>, Header)> {
        let from = |source: &str| Header {
            source: Source::Address(source.parse().unwrap()),
            common_name: None,
        };
        let of_the_proxy = Header {
            source: Source::Proxy,
            common_name: None,
        };
        let mut v6 = vec![0; 32];
        v6[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        v6.extend([0xC3, 0x50, 0x07, 0x5B]);
        let named = [&V4[..], &tlv(AUTHORITY, b"broker"), &ssl(7, 0, b"device 7")].concat();
        let unverified = [&V4[..], &ssl(7, 1, b"device 7")].concat();
        vec![
            (
                b"PROXY TCP4 192.0.2.1 203.0.113.7 50000 1883\r\n".to_vec(),
                from("192.0.2.1:50000"),
            ),
            (
                b"PROXY TCP6 2001:db8::1 2001:db8::2 50000 1883\r\n".to_vec(),
                from("[2001:db8::1]:50000"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), Header::default()),
            (
                b"PROXY UNKNOWN some more words\r\n".to_vec(),
                Header::default(),
            ),
            (v2(0x21, 0x11, &V4), from("192.0.2.1:50000")),
            (v2(0x21, 0x21, &v6), from("[2001:db8::1]:50000")),
            (v2(0x21, 0x31, &[b'x'; 216]), Header::default()),
            (v2(0x21, 0x00, &[]), Header::default()),
            (v2(0x20, 0x00, &[]), of_the_proxy.clone()),
            // LOCAL: what it says about addresses does not count.
            (v2(0x20, 0x11, &V4), of_the_proxy),
            (v2(0x21, 0x11, &unverified), from("192.0.2.1:50000")),
            (
                v2(0x21, 0x11, &named),
                Header {
                    common_name: Some("device 7".to_owned()),
                    ..from("192.0.2.1:50000")
                },
            ),
        ]
    }

    #[test]
    fn both_versions_say_whose_connection_it_is() {
        for (bytes, header) in examples() {
            let mut with_more = bytes.clone();
            with_more.extend(b"\x10\x0c\0\x04MQTT");
            assert_eq!(read(&with_more), Ok(Some((header, bytes.len()))));
        }
    }

    /// Class 14: truncated at every byte.
    #[test]
    fn a_header_cut_off_anywhere_is_waited_for() {
        for (bytes, _) in examples() {
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Ok(None), "{end} of {bytes:02x?}");
            }
        }
    }

    /// Class 14: lengths that lie, within the header.
    #[test]
    fn a_length_that_lies_is_refused() {
        let with_tlvs = [&V4[..], &tlv(4, b"padding"), &ssl(7, 0, b"n")].concat();
        let whole = v2(0x21, 0x11, &with_tlvs);
        let parts: Vec<usize> = vec![12, 12 + 10, with_tlvs.len()];
        for length in 0..with_tlvs.len() {
            let mut lying = whole.clone();
            lying[14..16].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            let said = read(&lying);
            if parts.contains(&length) {
                assert_eq!(said.unwrap().unwrap().1, FIXED_BYTES + length);
            } else {
                assert_eq!(said, Err(BadHeader::Malformed), "{length}");
            }
        }
        // An inner length beyond the outer one.
        let inner = [
            &V4[..],
            &tlv(SSL, &[7, 0, 0, 0, 0, SSL_COMMON_NAME, 0, 9, b'n']),
        ]
        .concat();
        assert_eq!(read(&v2(0x21, 0x11, &inner)), Err(BadHeader::Malformed));
    }

    /// Class 14: bounded.
    #[test]
    fn long_headers_are_refused_before_they_are_read() {
        let mut long = v2(0x21, 0x11, &V4);
        long[14..16].copy_from_slice(&[0xFF, 0xFF]);
        assert_eq!(read(&long[..FIXED_BYTES]), Err(BadHeader::TooLong));
        let line = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
        assert_eq!(read(&line), Err(BadHeader::Malformed));
    }

    /// Class 14: control characters, also in names that nobody asks for.
    #[test]
    fn control_characters_are_refused() {
        for bad in [&b"a\nb"[..], b"a\0", b"\x7f", "a\u{85}".as_bytes()] {
            for tlv in [tlv(AUTHORITY, bad), ssl(7, 0, bad), ssl(0, 1, bad)] {
                let header = v2(0x21, 0x11, &[&V4[..], &tlv].concat());
                assert_eq!(read(&header), Err(BadHeader::Control));
            }
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        for bytes in [
            &b"\x10\x0c\0\x04MQTT"[..],
            b"GET / HTTP/1.1\r\n",
            b"proxy TCP4 ",
            b"\r\n\r\n\0\r\nQUIT\r",
        ] {
            assert_eq!(read(bytes), Err(BadHeader::Missing));
        }
        for line in [
            "PROXY TCP4 192.0.2.1 203.0.113.7 50000\r\n",
            "PROXY TCP4 192.0.2.1 203.0.113.7 50000 1883 1\r\n",
            "PROXY TCP4 192.0.2.1 203.0.113.7 +5000 1883\r\n",
            "PROXY TCP4 192.0.2.1 203.0.113.7 65536 1883\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 50000 1883\r\n",
            "PROXY TCP6 192.0.2.1 203.0.113.7 50000 1883\r\n",
            "PROXY TCP4  192.0.2.1 203.0.113.7 50000 1883\r\n",
            "PROXY UDP4 192.0.2.1 203.0.113.7 50000 1883\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(BadHeader::Malformed), "{line}");
        }
        for header in [
            v2(0x11, 0x11, &V4),
            v2(0x22, 0x11, &V4),
            v2(0x21, 0x12, &V4),
            v2(0x21, 0x41, &V4),
            v2(0x21, 0x11, &V4[..11]),
            v2(0x21, 0x21, &V4),
        ] {
            assert_eq!(read(&header), Err(BadHeader::Malformed), "{header:02x?}");
        }
    }
}
