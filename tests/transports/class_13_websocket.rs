//! Class 13: WebSocket. A library speaks it where all is well; frames and requests that no library
//! would send are made by hand.

use crate::PATIENCE;
use crate::broker::{self, Broker, CONNACK, CONNECT, PING, at, exchange, last_words};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};
use whimbrel_core::access::ban::{Ban, Bans};
use whimbrel_core::{Config, UnixTime};
use whimbrel_tests::memory::{alone, memory_stays_flat};
use whimbrel_tokio::{Anonymous, ListenerConfig};

/// The key and the answer to it that the standard uses as its example.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request with the headers that are needed, without those whose name is in `without`, and with
/// `more`.
fn request(path: &str, without: &str, more: &str) -> String {
    let headers = [
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "keep-alive, Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Protocol", "mqtt"),
    ];
    let headers = headers.iter().filter(|(name, _)| *name != without);
    let lines: String = headers
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("GET {path} HTTP/1.1\r\n{lines}{more}\r\n")
}

/// The status of the answer.
fn asked(broker: &Broker, request: impl AsRef<[u8]>) -> (TcpStream, String) {
    let mut stream = broker.dial();
    stream.write_all(request.as_ref()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

/// A request that is granted, and how its answer begins.
pub(crate) fn opening() -> (String, &'static str) {
    (request("/mqtt", "", ""), "HTTP/1.1 101 ")
}

/// Asks for a WebSocket, says CONNECT and is let in.
pub(crate) fn is_let_in(mut stream: impl Read + Write) {
    assert_eq!(answer_to(&mut stream, ""), Some(0));
}

/// The same behind a proxy that says this, if anything.
pub(crate) fn forwarded_is_let_in(mut stream: TcpStream, forwarded: &str) {
    assert_eq!(answer_to(&mut stream, forwarded), Some(0), "{forwarded}");
}

/// Nobody is let in by that.
pub(crate) fn forwarded_is_refused(mut stream: TcpStream, forwarded: &str) {
    assert_ne!(answer_to(&mut stream, forwarded), Some(0), "{forwarded}");
}

/// What CONNECT is answered with.
fn answer_to(stream: &mut (impl Read + Write), forwarded: &str) -> Option<u8> {
    let header = match forwarded {
        "" => String::new(),
        said => format!("X-Forwarded-For: {said}\r\n"),
    };
    let request = request("/mqtt", "", &header);
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        head.push(byte[0]);
    }
    // Who is refused may be cut before it has said all.
    let _ = stream.write_all(&frame(BINARY, CONNECT));
    let mut answer = [0; 2 + CONNACK.len()];
    stream.read_exact(&mut answer).ok()?;
    (answer[..5] == [BINARY, 4, 0x20, 2, 0]).then_some(answer[5])
}

/// A connection that is open, for frames made by hand.
fn open(broker: &Broker) -> TcpStream {
    let (stream, head) = asked(broker, request("/mqtt", "", ""));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stream
}

fn listener() -> ListenerConfig {
    at("ws://127.0.0.1:0/mqtt")
}

/// A frame of a client: masked, with the length in as few bytes as possible.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 0xFF];
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | length as u8),
        length @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    bytes
}

const BINARY: u8 = 0x82;

/// What these tests, and others beside them, may need; far less than what is sent.
const MEMORY_BYTES: u64 = 40 << 20;

/// An unmasked frame of the server, in full.
fn of_server(first: u8, payload: &[u8]) -> Vec<u8> {
    [&[first, payload.len() as u8], payload].concat()
}

/// A library connects.
fn library(broker: &Broker) -> WebSocket<TcpStream> {
    let url = format!("ws://{}/mqtt", broker.address());
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("Sec-WebSocket-Protocol", "mqtt".parse().unwrap());
    let (socket, response) = client(request, broker.dial()).unwrap();
    assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "mqtt");
    socket
}

#[test]
fn a_library_speaks_mqtt_over_it() {
    let broker = Broker::start(vec![listener()]);
    let mut socket = library(&broker);
    socket.send(Message::binary(CONNECT)).unwrap();
    assert_eq!(socket.read().unwrap(), Message::binary(CONNACK));
    socket.send(Message::Ping(vec![1, 2, 3].into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong(vec![1, 2, 3].into()));
    socket.close(None).unwrap();
    loop {
        match socket.read() {
            Ok(Message::Close(_)) => {}
            Err(Error::ConnectionClosed) => break,
            other => panic!("closing goes wrong: {other:?}"),
        }
    }
}

/// [MQTT-6.0.0-4]
#[test]
fn the_sub_protocol_is_selected_of_those_that_are_offered() {
    let broker = Broker::start(vec![listener()]);
    for (offered, selected) in [
        ("mqtt", "mqtt"),
        ("chat, mqtt", "mqtt"),
        ("mqttv3.1", "mqttv3.1"),
        ("mqttv3.1,mqtt", "mqttv3.1"),
    ] {
        let more = format!("Sec-WebSocket-Protocol: {offered}\r\n");
        let request = request("/mqtt", "Sec-WebSocket-Protocol", &more);
        let (mut stream, head) = asked(&broker, &request);
        assert!(
            head.contains(&format!("Sec-WebSocket-Protocol: {selected}\r\n")),
            "{head}"
        );
        assert!(
            head.contains(&format!("Sec-WebSocket-Accept: {ACCEPT}\r\n")),
            "{head}"
        );
        exchange(
            &mut stream,
            &frame(BINARY, CONNECT),
            &of_server(BINARY, CONNACK),
        );
    }
}

#[test]
fn a_request_has_to_ask_for_the_right_thing() {
    let mut listener = listener();
    listener.origins = vec!["https://app.example.org".to_owned()];
    let broker = Broker::start(vec![listener]);
    let long = format!("Cookie: {}\r\n", "x".repeat(9_000));
    let many = "A: b\r\n".repeat(80);
    let key = "Sec-WebSocket-Key";
    for (request, status) in [
        (
            request("/mqtt", "", "Origin: https://app.example.org\r\n"),
            "101",
        ),
        (request("/mqtt", "", ""), "101"),
        (
            request("/mqtt", "", "Origin: https://evil.example.org\r\n"),
            "403",
        ),
        (request("/mqtt", "", "Origin: null\r\n"), "403"),
        (request("/other", "", ""), "404"),
        (request("/mqtt?x", "", ""), "404"),
        (request("/mqtt", "Sec-WebSocket-Protocol", ""), "400"),
        (
            request(
                "/mqtt",
                "Sec-WebSocket-Protocol",
                "Sec-WebSocket-Protocol: chat\r\n",
            ),
            "400",
        ),
        (request("/mqtt", key, ""), "400"),
        (request("/mqtt", key, "Sec-WebSocket-Key: short\r\n"), "400"),
        (request("/mqtt", "", &format!("{key}: {KEY}\r\n")), "400"),
        (
            request(
                "/mqtt",
                "Sec-WebSocket-Version",
                "Sec-WebSocket-Version: 8\r\n",
            ),
            "426",
        ),
        (request("/mqtt", "Upgrade", ""), "426"),
        (
            request("/mqtt", "Connection", "Connection: close\r\n"),
            "426",
        ),
        (request("/mqtt", "", "").replace("GET", "POST"), "400"),
        (
            request("/mqtt", "", "").replace("HTTP/1.1", "HTTP/1.0"),
            "400",
        ),
        (request("/mqtt", "", "no header\r\n"), "400"),
        (request("/mqtt", "", &long), "431"),
        (request("/mqtt", "", &many), "431"),
        // Who speaks MQTT or TLS without it waits for an answer, and is not waited for.
        ("\x10\x0c\0\x04MQTT".to_owned(), "400"),
        ("\x16\x03\x01".to_owned(), "400"),
    ] {
        let (mut stream, head) = asked(&broker, &request);
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}{head}"
        );
        if status != "101" {
            assert_eq!(last_words(&mut stream), b"");
        }
    }
}

/// [MQTT-6.0.0-2]
#[test]
fn packets_may_be_split_and_merged_over_frames_in_any_way() {
    let broker = Broker::start(vec![listener()]);
    // Byte by byte of the wire, one byte in each frame, some of them empty.
    let mut split = open(&broker);
    let mut frames = Vec::new();
    for byte in CONNECT {
        frames.extend(frame(BINARY, &[]));
        frames.extend(frame(BINARY, &[*byte]));
    }
    for byte in &frames {
        split.write_all(&[*byte]).unwrap();
    }
    exchange(&mut split, &[], &of_server(BINARY, CONNACK));
    // One message of many frames, pings between them, two packets in it and the beginning of a
    // third.
    let mut merged = open(&broker);
    let bytes = [CONNECT, PING.0, &PING.0[..1]].concat();
    let (first, rest) = bytes.split_at(3);
    let mut sent = frame(0x02, first);
    sent.extend(frame(0x89, b"are you there?"));
    sent.extend(frame(0x00, rest));
    sent.extend(frame(0x80, &PING.0[1..]));
    merged.write_all(&sent).unwrap();
    let mut heard = Vec::new();
    let both = [CONNACK, PING.1, PING.1].concat();
    let mut pongs = 0;
    while heard.len() < both.len() || pongs == 0 {
        let mut head = [0; 2];
        merged.read_exact(&mut head).unwrap();
        let mut payload = vec![0; head[1].into()];
        merged.read_exact(&mut payload).unwrap();
        match head[0] {
            BINARY => heard.extend(payload),
            0x8A => {
                assert_eq!(payload, b"are you there?");
                pongs += 1;
            }
            other => panic!("a frame {other:02x}"),
        }
    }
    assert_eq!((heard, pongs), (both, 1));
}

#[test]
fn long_frames_pass() {
    let broker = Broker::start(vec![listener()]);
    let mut stream = open(&broker);
    exchange(
        &mut stream,
        &frame(BINARY, CONNECT),
        &of_server(BINARY, CONNACK),
    );
    let subscribe = b"\x82\x06\0\x01\0\x01t\0";
    exchange(
        &mut stream,
        &frame(BINARY, subscribe),
        &of_server(BINARY, b"\x90\x03\0\x01\0"),
    );
    let payload: Vec<u8> = (0..500_000_u32).map(|number| number as u8).collect();
    let publish = [&b"\x30\xA3\xC2\x1E\0\x01t"[..], &payload].concat();
    stream.write_all(&frame(BINARY, &publish)).unwrap();
    let mut heard = Vec::new();
    while heard.len() < publish.len() {
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                u16::from_be_bytes(length).into()
            }
            short => usize::from(short),
        };
        let before = heard.len();
        heard.resize(before + length, 0);
        stream.read_exact(&mut heard[before..]).unwrap();
    }
    assert!(heard == publish);
}

/// [MQTT-6.0.0-1]
#[test]
fn frames_that_break_a_rule_end_the_connection() {
    let broker = Broker::start(vec![listener()]);
    let unmasked = [&[BINARY, CONNECT.len() as u8], CONNECT].concat();
    let long_ping = frame(0x89, &[0; 126]);
    let mut endless = frame(BINARY, b"")[..1].to_vec();
    endless.extend([0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    let mut too_long = vec![BINARY, 0xFF];
    too_long.extend(((256_u64 << 20) + 6).to_be_bytes());
    too_long.extend([0; 4]);
    for (what, bytes) in [
        ("text", frame(0x81, CONNECT)),
        ("unmasked", unmasked),
        ("a long ping", long_ping),
        ("a split ping", frame(0x09, b"")),
        ("a reserved bit", frame(0xC2, CONNECT)),
        ("a reserved kind", frame(0x83, CONNECT)),
        ("a reserved control frame", frame(0x8B, b"")),
        ("nothing to continue", frame(0x80, CONNECT)),
        (
            "a message within another",
            [frame(0x02, b""), frame(BINARY, CONNECT)].concat(),
        ),
        ("a length of 63 bits", endless),
        ("a length beyond any packet", too_long),
    ] {
        let mut stream = open(&broker);
        stream.write_all(&bytes).unwrap();
        // A close frame, perhaps, and nothing else.
        let words = last_words(&mut stream);
        assert!(words.is_empty() || words[0] == 0x88, "{what}: {words:02x?}");
    }
    broker.had_no_guest();
}

/// A frame that announces more than it holds is a packet that has not come: nothing is read beyond.
#[test]
fn a_remaining_length_larger_than_its_frame_waits_for_the_next() {
    let broker = Broker::start(vec![listener()]);
    let mut stream = open(&broker);
    let (first, rest) = CONNECT.split_at(CONNECT.len() / 2);
    stream.write_all(&frame(BINARY, first)).unwrap();
    exchange(
        &mut stream,
        &frame(BINARY, rest),
        &of_server(BINARY, CONNACK),
    );
}

#[test]
fn floods_of_pings_are_bounded() {
    alone(|| {
        let mut config = Config::default();
        config.limits.connect_timeout_ms = u32::try_from(4 * PATIENCE.as_millis()).unwrap();
        let broker = Broker::with(config, vec![listener()]);
        let mut bystander = open(&broker);
        exchange(
            &mut bystander,
            &frame(BINARY, CONNECT),
            &of_server(BINARY, CONNACK),
        );
        let mut flooding = open(&broker);
        let pings = frame(0x89, &[7; 125]).repeat(500);
        memory_stays_flat(MEMORY_BYTES, || {
            for _ in 0..1_000 {
                // It never reads; 65 MB of pings are answered by as few pongs as fit into the
                // sockets.
                flooding.write_all(&pings).unwrap();
                exchange(
                    &mut bystander,
                    &frame(BINARY, PING.0),
                    &of_server(BINARY, PING.1),
                );
            }
        });
        // It is still heard.
        flooding.write_all(&frame(BINARY, CONNECT)).unwrap();
        broker.guest();
    });
}

#[test]
fn a_message_that_never_ends_costs_no_memory() {
    alone(|| {
        let broker = Broker::start(vec![listener()]);
        let mut stream = open(&broker);
        exchange(
            &mut stream,
            &frame(BINARY, CONNECT),
            &of_server(BINARY, CONNACK),
        );
        stream.write_all(&frame(0x02, b"")).unwrap();
        // A packet of 1 KiB in each frame, all of them in one message of 67 MB.
        let publish = [&b"\x30\xFD\x07\0\x01t"[..], &[7; 1_018]].concat();
        assert_eq!(publish.len(), 1 << 10);
        let frames = frame(0x00, &publish).repeat(64);
        memory_stays_flat(MEMORY_BYTES, || {
            for _ in 0..1_024 {
                stream.write_all(&frames).unwrap();
            }
            exchange(
                &mut stream,
                &frame(0x00, PING.0),
                &of_server(BINARY, PING.1),
            );
        });
    });
}

/// What is in them is heard before the message ends that they are parts of.
#[test]
fn tiny_frames_are_not_collected() {
    let broker = Broker::start(vec![listener()]);
    let mut stream = open(&broker);
    exchange(
        &mut stream,
        &frame(BINARY, CONNECT),
        &of_server(BINARY, CONNACK),
    );
    // A message that never ends, of frames of one byte and of none: every byte is part of a
    // PINGREQ.
    let mut frames = frame(0x02, b"");
    for byte in PING.0.repeat(5_000) {
        frames.extend(frame(0x00, &[byte]));
        frames.extend(frame(0x00, &[]));
    }
    let mut reader = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| stream.write_all(&frames).unwrap());
        let mut pongs = 0;
        while pongs < 5_000 {
            let mut head = [0; 2];
            reader.read_exact(&mut head).unwrap();
            let length = match head[1] {
                126 => {
                    let mut length = [0; 2];
                    reader.read_exact(&mut length).unwrap();
                    u16::from_be_bytes(length).into()
                }
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            reader.read_exact(&mut payload).unwrap();
            pongs += length / 2;
        }
    });
}

#[test]
fn only_listed_proxies_forward_for_others() {
    let mut listener = listener();
    listener.allow_anonymous = Anonymous::Always;
    listener.forwarded_for_from = vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    let mut deaf = self::listener();
    deaf.forwarded_for_from = vec!["10.0.0.0/8".parse().unwrap()];
    let broker = Broker::start(vec![listener, deaf]);
    for (header, address) in [
        ("X-Forwarded-For: 192.0.2.7\r\n", Some("192.0.2.7:0")),
        // What the client itself claims stands left of what the proxies saw.
        (
            "X-Forwarded-For: 127.0.0.1, 192.0.2.7, 10.1.2.3\r\n",
            Some("192.0.2.7:0"),
        ),
        (
            "X-Forwarded-For: 192.0.2.8\r\nx-forwarded-for: 192.0.2.7:99\r\n",
            Some("192.0.2.7:0"),
        ),
        (
            "X-Forwarded-For: [2001:db8::1]:99\r\n",
            Some("[2001:db8::1]:0"),
        ),
        // A proxy that tells nobody is not the client.
        ("", None),
    ] {
        let (mut stream, _) = asked(&broker, request("/mqtt", "", header));
        exchange(
            &mut stream,
            &frame(BINARY, CONNECT),
            &of_server(BINARY, CONNACK),
        );
        let address = address.map(|address| address.parse().unwrap());
        let peer = broker.guest();
        assert_eq!(peer.address, address, "{header}");
        assert_eq!(peer.proxy, Some(stream.local_addr().unwrap()));
    }
    let bad = request("/mqtt", "", "X-Forwarded-For: 192.0.2.7, unknown\r\n");
    assert!(asked(&broker, &bad).1.starts_with("HTTP/1.1 400 "));

    // A proxy that is not listed is a client like others.
    let mut stream = broker::dial(broker.handle.addresses()[1]);
    let request = request("/mqtt", "", "X-Forwarded-For: 192.0.2.7\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.write_all(&frame(BINARY, CONNECT)).unwrap();
    assert_eq!(broker.guest().address, Some(stream.local_addr().unwrap()));
}

/// What may be said behind a listed proxy, and whom it makes of the client: nobody at all, somebody
/// without an address, or somebody with this one.
const FORWARDED: [(&[u8], Option<Option<&str>>); 13] = [
    // Neither text nor an address: nobody knows what the proxy has seen.
    (b"X-Forwarded-For: \xFF, 192.0.2.7\r\n", None),
    (
        b"X-Forwarded-For: \xFF\r\nX-Forwarded-For: 192.0.2.7\r\n",
        None,
    ),
    (b"X-Forwarded-For: 192.0.2.7, \xFF\r\n", None),
    (b"X-Forwarded-For:\r\n", None),
    (b"X-Forwarded-For: ,\r\n", None),
    (b"X-Forwarded-For: 192.0.2.7,\r\n", None),
    (b"X-Forwarded-For: 192.0.2.7, 127.0.0.1.\r\n", None),
    // Nobody is told of.
    (b"", Some(None)),
    (b"Forwarded: for=127.0.0.1\r\n", Some(None)),
    // All of them are proxies. The client of another machine's own is that machine.
    (b"X-Forwarded-For: 10.1.2.3\r\n", Some(Some("10.1.2.3"))),
    (
        b"X-Forwarded-For: 127.0.0.1, 10.1.2.3\r\n",
        Some(Some("10.1.2.3")),
    ),
    (
        b"X-Forwarded-For: ::ffff:127.0.0.1, 10.1.2.3\r\n",
        Some(Some("10.1.2.3")),
    ),
    // Said by this machine of this machine.
    (b"X-Forwarded-For: 127.0.0.1\r\n", Some(Some("127.0.0.1"))),
];

/// A broker whose only listener believes proxies on this machine and in another network.
fn behind_proxies(anonymous: Anonymous, config: Config) -> Broker {
    let listener = ListenerConfig {
        forwarded_for_from: vec!["127.0.0.1".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
        allow_anonymous: anonymous,
        ..listener()
    };
    Broker::with(config, vec![listener])
}

/// Connects with these headers; the connection, if it was let in.
fn forwarded(broker: &Broker, headers: &[u8]) -> Option<TcpStream> {
    let mut request = request("/mqtt", "", "").into_bytes();
    let end = request.len() - 2;
    request.splice(end..end, headers.iter().copied());
    let (mut stream, _) = asked(broker, request);
    // Who is refused may be cut before it has said all.
    let _ = stream.write_all(&frame(BINARY, CONNECT));
    let mut answer = [0; 2 + CONNACK.len()];
    let is_in = stream.read_exact(&mut answer).is_ok() && answer[2..] == *CONNACK;
    is_in.then_some(stream)
}

#[test]
fn no_header_makes_a_stranger_a_client_of_this_machine() {
    let broker = behind_proxies(Anonymous::LoopbackOnly, Config::default());
    for (headers, client) in FORWARDED {
        let is_local = client == Some(Some("127.0.0.1"));
        let is_in = forwarded(&broker, headers).is_some();
        assert_eq!(is_in, is_local, "{}", headers.escape_ascii());
    }
}

#[test]
fn no_header_leads_past_a_ban() {
    let mut config = Config::default();
    let addresses = ["10.1.2.3", "127.0.0.1"].map(|address| address.parse().unwrap());
    config.access.bans = Arc::new(Bans::new(vec![Ban {
        users: Vec::new(),
        clients: Vec::new(),
        addresses: addresses.to_vec(),
        until: UnixTime::MAX,
    }]));
    let broker = behind_proxies(Anonymous::Always, config);
    for (headers, client) in FORWARDED {
        // Of whom nothing is known there is nothing to ban.
        let is_in = forwarded(&broker, headers).is_some();
        assert_eq!(is_in, client == Some(None), "{}", headers.escape_ascii());
    }
}

#[test]
fn no_header_leads_past_a_quota_of_an_address() {
    let mut config = Config::default();
    config.quotas.connections_per_address_maximum = 1;
    let broker = behind_proxies(Anonymous::Always, config);
    let mut clients = BTreeMap::new();
    for (headers, client) in FORWARDED {
        let Some(address) = client else {
            assert!(forwarded(&broker, headers).is_none());
            continue;
        };
        let stream = forwarded(&broker, headers);
        let has_place = address.is_none() || !clients.contains_key(&address);
        assert_eq!(stream.is_some(), has_place, "{}", headers.escape_ascii());
        if let Some(stream) = stream {
            clients.insert(address, stream);
        }
    }
    assert_eq!(clients.len(), 3);
}

#[test]
fn other_listeners_do_not_speak_it() {
    let broker = Broker::start(vec![at("tcp://127.0.0.1:0")]);
    let mut stream = broker.dial();
    stream
        .write_all(request("/mqtt", "", "").as_bytes())
        .unwrap();
    assert_eq!(last_words(&mut stream), b"");
    broker::is_let_in(&mut broker.dial());
}
