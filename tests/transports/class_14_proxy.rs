//! Class 14: the PROXY protocol. What headers may look like is tested beside the code that reads
//! them, truncated at every byte and with lengths that lie; here is who is believed.

use crate::broker::{Broker, CONNECT, at, exchange, is_let_in, last_words};
use crate::class_13_websocket;
use crate::tls::{self, Dial};
use std::io::Write;
use std::sync::Arc;
use whimbrel_core::access::ban::{Ban, Bans};
use whimbrel_core::{Config, UnixTime};
use whimbrel_tests::authority::Authority;
use whimbrel_tokio::{Anonymous, ListenerConfig};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 203.0.113.7 50000 1883\r\n";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn behind(networks: &[&str]) -> ListenerConfig {
    let networks = networks.iter().map(|text| text.parse().unwrap());
    ListenerConfig {
        proxy_from: networks.collect(),
        allow_anonymous: Anonymous::Always,
        ..at("tcp://127.0.0.1:0")
    }
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, body].concat()
}

#[test]
fn a_listed_proxy_tells_whose_connection_it_is() {
    let broker = Broker::start(vec![behind(&["127.0.0.1"])]);
    let mut v6 = vec![0; 36];
    v6[..16].copy_from_slice(
        &"2001:db8::9"
            .parse::<core::net::Ipv6Addr>()
            .unwrap()
            .octets(),
    );
    v6[32..34].copy_from_slice(&50_000_u16.to_be_bytes());
    for (header, source) in [
        (V1.to_vec(), "192.0.2.7:50000"),
        (v2(0x21, 0x21, &v6), "[2001:db8::9]:50000"),
    ] {
        let mut stream = broker.dial();
        let proxy = stream.local_addr().unwrap();
        stream.write_all(&header).unwrap();
        is_let_in(&mut stream);
        let peer = broker.guest();
        assert_eq!(peer.address, Some(source.parse().unwrap()));
        assert_eq!(peer.proxy, Some(proxy));
    }
}

#[test]
fn a_header_may_come_byte_by_byte_and_with_what_follows() {
    let broker = Broker::start(vec![behind(&["127.0.0.0/8"])]);
    let mut stream = broker.dial();
    for byte in V1 {
        stream.write_all(&[*byte]).unwrap();
    }
    is_let_in(&mut stream);
    let mut at_once = broker.dial();
    let both = [V1, CONNECT].concat();
    exchange(&mut at_once, &both, b"\x20\x02\0\0");
}

/// A hundred clients behind one proxy are not one client that connects a hundred times, and
/// somebody who is kept out is kept out also there.
#[test]
fn clients_of_a_proxy_are_counted_by_their_own_addresses() {
    let banned = Ban {
        users: Vec::new(),
        clients: Vec::new(),
        addresses: vec!["203.0.113.0/24".parse().unwrap()],
        until: UnixTime::MAX,
    };
    let mut config = Config::default();
    config.quotas.connections_per_address_maximum = 1;
    config.quotas.connections_per_address_per_second_maximum = 1;
    config.access.bans = Arc::new(Bans::new(vec![banned]));
    let broker = Broker::with(config, vec![behind(&["127.0.0.1"])]);
    let from = |source: &str| {
        let mut stream = broker.dial();
        let header = format!("PROXY TCP4 {source} 203.0.113.7 50000 1883\r\n");
        stream.write_all(header.as_bytes()).unwrap();
        stream
    };
    let mut clients: Vec<_> = (1..=20)
        .map(|host| from(&format!("192.0.2.{host}")))
        .collect();
    clients.iter_mut().for_each(is_let_in);
    for refused in ["192.0.2.7", "203.0.113.9"] {
        let mut stream = from(refused);
        let _ = stream.write_all(CONNECT);
        assert_eq!(last_words(&mut stream), b"", "{refused}");
    }
    // The proxy itself is not kept out by what it carries.
    is_let_in(&mut from("192.0.2.77"));
}

#[test]
fn a_proxy_may_speak_for_itself() {
    let broker = Broker::start(vec![behind(&["127.0.0.1"])]);
    let mut stream = broker.dial();
    let address = stream.local_addr().unwrap();
    stream.write_all(&v2(0x20, 0, &[])).unwrap();
    is_let_in(&mut stream);
    let peer = broker.guest();
    assert_eq!((peer.address, peer.proxy), (Some(address), None));
}

fn from_nowhere() -> [Vec<u8>; 3] {
    let unix = v2(0x21, 0x31, &[b'x'; 216]);
    [b"PROXY UNKNOWN\r\n".to_vec(), v2(0x21, 0, &[]), unix]
}

#[test]
fn a_proxy_may_tell_no_address() {
    let broker = Broker::start(vec![behind(&["127.0.0.1"])]);
    for header in from_nowhere() {
        let mut stream = broker.dial();
        let proxy = stream.local_addr().unwrap();
        stream.write_all(&header).unwrap();
        is_let_in(&mut stream);
        let peer = broker.guest();
        assert_eq!((peer.address, peer.proxy), (None, Some(proxy)));
    }
}

/// The address that was told is the one that rules apply to.
#[test]
fn nobody_becomes_local_behind_a_local_proxy() {
    let listener = ListenerConfig {
        allow_anonymous: Anonymous::LoopbackOnly,
        ..behind(&["127.0.0.1"])
    };
    let broker = Broker::start(vec![listener]);
    for header in [V1.to_vec()].into_iter().chain(from_nowhere()) {
        let mut stream = broker.dial();
        stream.write_all(&header).unwrap();
        exchange(&mut stream, CONNECT, b"\x20\x02\0\x05");
    }
    broker.had_no_guest();
}

#[test]
fn who_is_not_listed_is_not_heard() {
    let broker = Broker::start(vec![behind(&["192.0.2.0/24"])]);
    for sent in [[V1, CONNECT].concat(), CONNECT.to_vec()] {
        let mut stream = broker.dial();
        // It may be closed before this is written.
        let _ = stream.write_all(&sent);
        assert_eq!(last_words(&mut stream), b"");
    }
    broker.had_no_guest();
}

#[test]
fn a_header_must_come_first_and_only_where_it_is_expected() {
    let broker = Broker::start(vec![behind(&["127.0.0.1"]), at("tcp://127.0.0.1:0")]);
    let mut without = broker.dial();
    without.write_all(CONNECT).unwrap();
    assert_eq!(last_words(&mut without), b"");
    let mut unexpected = crate::broker::dial(broker.handle.addresses()[1]);
    unexpected.write_all(&[V1, CONNECT].concat()).unwrap();
    assert_eq!(last_words(&mut unexpected), b"");
    broker.had_no_guest();
}

#[test]
fn malformed_headers_end_the_connection() {
    let broker = Broker::start(vec![behind(&["127.0.0.1"])]);
    let address = [192, 0, 2, 1, 203, 0, 113, 7, 0, 1, 0, 2];
    for header in [
        v2(0x21, 0x11, &address[..11]),
        v2(0x21, 0x11, &[&address[..], &[0x04, 0, 9]].concat()),
        v2(
            0x21,
            0x11,
            &[&address[..], &[0x02, 0, 2, b'a', b'\n']].concat(),
        ),
        [SIGNATURE, &[0x21, 0x11, 0xFF, 0xFF]].concat(),
        b"PROXY TCP4 192.0.2.1 203.0.113.7 50000\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1\n203.0.113.7 50000 1883\r\n".to_vec(),
        [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat(),
    ] {
        let mut stream = broker.dial();
        let _ = stream.write_all(&[&header[..], CONNECT].concat());
        assert_eq!(last_words(&mut stream), b"", "{header:02x?}");
    }
    broker.had_no_guest();
}

#[test]
fn a_verified_name_from_the_proxy_is_a_certificate() {
    let broker = Broker::start(vec![behind(&["127.0.0.1"])]);
    let inner = [&[7, 0, 0, 0, 0, 0x22, 0, 6][..], b"device"].concat();
    let length = u16::try_from(inner.len()).unwrap().to_be_bytes();
    let address = [192, 0, 2, 1, 203, 0, 113, 7, 0, 1, 0, 2];
    let body = [&address[..], &[0x20], &length, &inner].concat();
    let mut stream = broker.dial();
    stream.write_all(&v2(0x21, 0x11, &body)).unwrap();
    is_let_in(&mut stream);
    let certificate = broker.guest().certificate.expect("a certificate");
    assert_eq!(certificate.common_name(), Some("device"));
}

/// The header comes before everything else that a listener has.
#[test]
fn a_header_comes_before_tls_and_websocket() {
    let authority = Authority::new("proxy-layers");
    for scheme in ["tls", "ws", "wss"] {
        let listener = ListenerConfig {
            proxy_from: vec!["127.0.0.1".parse().unwrap()],
            allow_anonymous: Anonymous::Always,
            ..match scheme {
                "ws" => at("ws://127.0.0.1:0"),
                _ => tls::listener(&authority, scheme),
            }
        };
        let broker = Broker::start(vec![listener]);
        let mut socket = broker.dial();
        let proxy = socket.local_addr().unwrap();
        socket.write_all(V1).unwrap();
        match scheme {
            "ws" => class_13_websocket::is_let_in(socket),
            "wss" => class_13_websocket::is_let_in(Dial::of(&authority).over(socket)),
            _ => is_let_in(&mut Dial::of(&authority).over(socket)),
        }
        let peer = broker.guest();
        assert_eq!(peer.address, Some("192.0.2.7:50000".parse().unwrap()));
        assert_eq!(peer.proxy, Some(proxy), "{scheme}");
        // Without one, there is nothing to talk about.
        let mut without = broker.dial();
        let _ = without.write_all(b"\x16\x03\x01\x02\0\x01");
        assert_eq!(last_words(&mut without), b"", "{scheme}");
    }
}

/// A PROXY header, and behind it a proxy for WebSocket: each is believed what it is listed for, and
/// nobody behind them becomes local.
#[test]
fn proxies_may_stand_in_a_row() {
    let listener = ListenerConfig {
        proxy_from: vec!["127.0.0.1".parse().unwrap()],
        forwarded_for_from: vec!["192.0.2.0/24".parse().unwrap()],
        allow_anonymous: Anonymous::Always,
        ..at("ws://127.0.0.1:0")
    };
    let strict = ListenerConfig {
        allow_anonymous: Anonymous::LoopbackOnly,
        ..listener.clone()
    };
    let open = Broker::start(vec![listener]);
    let strict = Broker::start(vec![strict]);
    let other = &b"PROXY TCP4 198.51.100.1 203.0.113.7 50000 1883\r\n"[..];
    for (header, forwarded, address) in [
        (V1, "203.0.113.9", Some("203.0.113.9:0")),
        (V1, "203.0.113.9, 192.0.2.8", Some("203.0.113.9:0")),
        // Its own loopback is not ours, whoever is in between.
        (V1, "127.0.0.1", Some("192.0.2.7:0")),
        (V1, "::1", Some("192.0.2.7:0")),
        (V1, "", None),
        // Who is not listed is a client that says something.
        (other, "127.0.0.1", Some("198.51.100.1:50000")),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1", None),
    ] {
        let mut socket = open.dial();
        let proxy = socket.local_addr().unwrap();
        socket.write_all(header).unwrap();
        class_13_websocket::forwarded_is_let_in(socket, forwarded);
        let peer = open.guest();
        let address = address.map(|address| address.parse().unwrap());
        assert_eq!(
            (peer.address, peer.proxy),
            (address, Some(proxy)),
            "{forwarded}"
        );

        let mut socket = strict.dial();
        socket.write_all(header).unwrap();
        class_13_websocket::forwarded_is_refused(socket, forwarded);
        strict.had_no_guest();
    }
}
