//! Class 12: handshakes below MQTT that take their time. Each is a connection that has not sent
//! CONNECT, ends with the time for that, and nobody else waits for it.

use crate::PATIENCE;
use crate::broker::{Broker, at, is_let_in, last_words};
use crate::tls::{Dial, listener};
use std::io::Write;
use std::net::TcpStream;
use whimbrel_core::Config;
use whimbrel_tests::authority::Authority;

/// The beginning of a record that announces a ClientHello, and never goes on.
const HALF_HELLO: &[u8] = b"\x16\x03\x01\x02\0\x01\0\x01\xFC\x03\x03";

const STALLED: usize = 50;

fn quick() -> Config {
    let mut config = Config::default();
    config.limits.connect_timeout_ms = 700;
    config
}

/// All of them begin, say `beginning`, and stay.
fn stall(broker: &Broker, beginning: &[u8]) -> Vec<TcpStream> {
    let mut stalled: Vec<TcpStream> = (0..STALLED).map(|_| broker.dial()).collect();
    for stream in &mut stalled {
        stream.write_all(beginning).unwrap();
    }
    stalled
}

#[test]
fn a_stalled_tls_handshake_ends_in_time() {
    let authority = Authority::new("stalled");
    let broker = Broker::with(quick(), vec![listener(&authority, "tls")]);
    for beginning in [&b""[..], &HALF_HELLO[..1], HALF_HELLO] {
        let stalled = stall(&broker, beginning);
        is_let_in(&mut Dial::of(&authority).open(&broker));
        for mut stream in stalled {
            last_words(&mut stream);
        }
    }
}

#[test]
fn a_stalled_websocket_request_ends_in_time() {
    let broker = Broker::with(quick(), vec![at("ws://127.0.0.1:0/mqtt")]);
    for beginning in [
        &b""[..],
        b"GET /mqtt HT",
        b"GET /mqtt HTTP/1.1\r\nHost: a\r\n",
    ] {
        for mut stream in stall(&broker, beginning) {
            last_words(&mut stream);
        }
    }
    broker.had_no_guest();
}

#[test]
fn a_stalled_proxy_header_ends_in_time() {
    let mut listener = at("tcp://127.0.0.1:0");
    listener.proxy_from = vec!["127.0.0.1".parse().unwrap()];
    let broker = Broker::with(quick(), vec![listener]);
    for beginning in [
        &b""[..],
        b"PROXY TCP4 ",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0F\xFF",
    ] {
        for mut stream in stall(&broker, beginning) {
            assert_eq!(last_words(&mut stream), b"");
        }
    }
    broker.had_no_guest();
}

/// Record after record, each of them well-formed, none of them the end of the message.
#[test]
fn an_endless_handshake_message_is_cut() {
    let authority = Authority::new("endless");
    // It is not the time that ends it.
    let mut config = Config::default();
    config.limits.connect_timeout_ms = u32::try_from(4 * PATIENCE.as_millis()).unwrap();
    let broker = Broker::with(config, vec![listener(&authority, "tls")]);
    let mut stream = broker.dial();
    // A ClientHello of 16 MiB, in records of 16 KiB.
    let mut record = vec![0x16, 3, 1, 0x40, 0];
    record.extend([1, 0xFF, 0xFF, 0xFF]);
    record.resize(5 + (16 << 10), 0);
    let mut sent = 0;
    while stream.write_all(&record).is_ok() && sent < 64 {
        record[5..9].fill(0);
        sent += 1;
    }
    last_words(&mut stream);
    is_let_in(&mut Dial::of(&authority).open(&broker));
}

/// What is no TLS at all is told so, and costs nobody anything.
#[test]
fn garbage_is_answered_with_an_alert() {
    let authority = Authority::new("garbage");
    let broker = Broker::start(vec![listener(&authority, "tls")]);
    for garbage in [
        &b"\x10\x0c\0\x04MQTT\x04\x02\0\0\0\0"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xFF; 100],
        b"\x16\x03\x01\0\0",
        b"\x17\x03\x03\0\x01x",
    ] {
        let mut stream = broker.dial();
        stream.write_all(garbage).unwrap();
        let words = last_words(&mut stream);
        assert!(words.is_empty() || words[0] == 0x15, "{words:02x?}");
    }
    broker.had_no_guest();
    assert_eq!(broker.statistics().transport_faults, 5);
    is_let_in(&mut Dial::of(&authority).open(&broker));
}
