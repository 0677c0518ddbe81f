//! What a proxy says before anything else.

use core::net::IpAddr;
use whimbrel_transport::proxy::{HEADER_BYTES_MAXIMUM, Header, Source, read};

/// Beginnings that are tried one byte after the other.
const BEGINNINGS: usize = 300;

/// A header as it may come, with what follows it. However it is cut into pieces the same is read,
/// and no more of it than there may be; and what was read can be written, and is read again.
pub fn proxy(data: &[u8]) {
    let whole = read(data);
    let ends = 0..data.len().min(BEGINNINGS);
    if let Some(end) = ends.into_iter().find(|end| read(&data[..*end]) != Ok(None)) {
        assert_eq!(read(&data[..end]), whole, "{end} bytes say something else");
    }
    match whole {
        Err(_) => {}
        Ok(None) => assert!(data.len() < HEADER_BYTES_MAXIMUM, "it asks for more"),
        Ok(Some((header, length))) => {
            assert!(length <= data.len() && length <= HEADER_BYTES_MAXIMUM);
            assert_eq!(read(&data[..length - 1]), Ok(None), "it was too long");
            if let Some(name) = &header.common_name {
                assert!(!name.chars().any(char::is_control), "{name:?}");
                assert_ne!(header.source, Source::Proxy, "it is nobody's");
            }
            let again = version_2(&header);
            // Less fits beside a name than came alone.
            if again.len() <= HEADER_BYTES_MAXIMUM {
                assert_eq!(read(&again), Ok(Some((header, again.len()))));
            }
        }
    }
}

/// The header in version 2.
fn version_2(header: &Header) -> Vec<u8> {
    let (command, family, mut body) = match header.source {
        Source::Proxy => (0x20, 0x00, Vec::new()),
        Source::Unknown => (0x21, 0x00, Vec::new()),
        Source::Address(address) => {
            let (family, octets) = match address.ip() {
                IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
                IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
            };
            let ports = [address.port().to_be_bytes(), [0, 0]].concat();
            (0x21, family, [&octets, &octets, &*ports].concat())
        }
    };
    if let Some(name) = &header.common_name {
        // Its certificate was shown, and verified.
        let inner = [&[7, 0, 0, 0, 0], &*tlv(0x22, name.as_bytes())].concat();
        body.extend(tlv(0x20, &inner));
    }
    let length = length_of(&body);
    [
        &b"\r\n\r\n\0\r\nQUIT\n"[..],
        &[command, family],
        &length[..],
        &body,
    ]
    .concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], &length_of(value)[..], value].concat()
}

fn length_of(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len())
        .expect("no more than a header")
        .to_be_bytes()
}
