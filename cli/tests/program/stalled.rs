//! What handshakes cost that never end: no more than `docs/listeners.md` says.

use crate::harness::{Directory, Running, forgetful};
use std::io::Write;
use std::net::TcpStream;
use whimbrel_tests::authority::Authority;
use whimbrel_tests::initial::Initial;

const STALLED: u64 = 400;

/// Memory of the process in bytes.
fn resident(broker: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", broker.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() << 10
}

/// A broker, and those who stall there: they stay, so that nobody is measured in the place of
/// another.
struct Crowd {
    broker: Running,
    stalled: Vec<TcpStream>,
}

impl Crowd {
    /// How much each of many connections costs that begin so.
    fn cost(&mut self, address: &str, beginning: &[u8], witness: &str) -> u64 {
        let before = resident(&self.broker);
        for _ in 0..STALLED {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(beginning).unwrap();
            self.stalled.push(stream);
        }
        // Everybody before these was read when the last of them is let in; but who has sent much
        // is read in several turns, and all is there when it grows no further.
        let (mut now, mut calm) = (before, 0);
        while calm < 20 {
            assert_eq!(crate::raw::answer(witness, "", ""), 0);
            let grown = resident(&self.broker);
            calm = if grown > now { 0 } else { calm + 1 };
            now = now.max(grown);
        }
        now.saturating_sub(before) / STALLED
    }
}

#[test]
fn class_12_stalled_handshakes_cost_no_more_than_is_stated() {
    let authority = Authority::new("stalled-memory");
    let pair = authority.server("server", &["localhost"]);
    let directory = Directory::new("stalled-memory");
    let config = directory.write(
        "whimbrel.toml",
        &format!(
            "[limits]\nconnect_timeout_ms = 600_000\n\
             [[listener]]\nurl = \"tcp://127.0.0.1:0\"\n\
             [[listener]]\nurl = \"tls://127.0.0.1:0\"\ncertificate = [{:?}]\nkey = [{:?}]\n\
             [[listener]]\nurl = \"ws://127.0.0.1:0\"\n\
             [[listener]]\nurl = \"tcp://127.0.0.1:0\"\nproxy_from = [\"127.0.0.1\"]\n",
            pair.certificate, pair.key
        ),
    );
    let mut broker = Running::start(forgetful(&["-c", &config]));
    let plain = broker.address();
    let tls = broker.address_of("tls");
    let web = broker.address_of("ws");
    let web = web.split('/').next().unwrap();
    let proxied = broker.address();
    let mut crowd = Crowd {
        broker,
        stalled: Vec::new(),
    };
    // Whatever is made once is there.
    crowd.cost(&plain, b"", &plain);
    let connection = crowd.cost(&plain, b"", &plain);

    // The most that is waited with: a ClientHello that announces 60 KiB, in records of 16 KiB; a
    // request; a header.
    let mut hello = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xF0, 0];
    hello.resize(5 + (16 << 10), 0);
    hello.extend([0x16, 3, 1, 0x3F, 0]);
    hello.resize((32 << 10) - 300, 0);
    let mut request = b"GET /mqtt HTTP/1.1\r\nCookie: ".to_vec();
    request.resize((8 << 10) - 10, b'x');
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x0F\xF0".to_vec();
    header.resize((4 << 10) - 10, 0);
    for (what, address, beginning, stated) in [
        ("TLS", &*tls, &hello, 32 << 10),
        ("WebSocket", web, &request, 8 << 10),
        ("PROXY", &*proxied, &header, 4 << 10),
    ] {
        let cost = crowd.cost(address, beginning, &plain);
        println!("{what}: {cost} bytes each, a connection {connection}");
        // What it is for itself, and a page or two that are not given back.
        let most = stated + connection + (8 << 10);
        assert!(cost <= most, "{what}: {cost} bytes each, of at most {most}");
        // It does hold what was sent, or nothing is measured here.
        assert!(cost >= stated / 2, "{what}: {cost} bytes each");
    }
}

/// Clients of QUIC that have shown that their addresses are their own. They begin a handshake in
/// every way that makes somebody wait for the rest of it.
#[test]
fn class_12_stalled_handshakes_of_quic_cost_no_more_than_is_stated() {
    const STALLED: u64 = 100;
    let authority = Authority::new("stalled-quic");
    let pair = authority.server("server", &["localhost"]);
    let directory = Directory::new("stalled-quic");
    let config = directory.write(
        "whimbrel.toml",
        &format!(
            "[limits]\nconnect_timeout_ms = 600_000\n\
             [[listener]]\nurl = \"quic://127.0.0.1:0\"\ncertificate = [{:?}]\nkey = [{:?}]\n",
            pair.certificate, pair.key
        ),
    );
    let mut broker = Running::start(forgetful(&["-c", &config]));
    let address = broker.address_of("quic").parse().unwrap();
    // A ClientHello that announces 60 KiB.
    let mut hello = vec![1, 0, 0xF0, 0];
    hello.resize(32 << 10, 0);
    let mut stalled = Vec::new();
    // What the handshakes are made of: pieces of this size, so far from each other, between these
    // places.
    let mut cost = |size: usize, step: usize, (begin, end): (usize, usize)| {
        let before = resident(&broker);
        for _ in 0..STALLED {
            let mut client = Initial::open(address).unwrap();
            let (size, step) = (size.min(client.room()), step.min(client.room()));
            for offset in (begin..end).step_by(step) {
                let piece = &hello[offset..end.min(offset + size)];
                client.say(offset, piece).unwrap();
                client.is_answered().unwrap();
            }
            stalled.push(client);
        }
        resident(&broker).saturating_sub(before) / STALLED
    };
    // Whatever is made once is there.
    cost(1, 1, (0, 1));
    let connection = cost(1, 1, (0, 1));
    let whole = usize::MAX;
    for (what, pieces, step, places, stated) in [
        ("in order", whole, whole, (0, 32 << 10), 48 << 10),
        (
            "all but the first byte",
            whole,
            whole,
            (1, 16 << 10),
            48 << 10,
        ),
        // The packet is kept with it.
        ("a byte of each packet", 1, 2, (1, 50), 48 << 10),
    ] {
        let cost = cost(pieces, step, places);
        println!("QUIC, {what}: {cost} bytes each, a connection {connection}");
        let most = stated + connection + (8 << 10);
        assert!(cost <= most, "{what}: {cost} bytes each, of at most {most}");
        // It does hold what was sent, or nothing is measured here.
        let held = (places.1 - places.0) as u64 / 2;
        assert!(cost >= connection / 2 + held, "{what}: {cost} bytes each");
    }
}
