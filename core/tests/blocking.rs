//! The example of a broker on plain threads: it serves.

#[path = "../examples/blocking/broker.rs"]
mod broker;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

fn connected(address: SocketAddr, name: u8) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the broker listens");
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).expect("a time-out");
    let connect = [&b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01"[..], &[name]].concat();
    stream.write_all(&connect).expect("it can be written");
    expect(&mut stream, b"\x20\x02\0\0");
    stream
}

fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut bytes = vec![0; expected.len()];
    stream.read_exact(&mut bytes).expect("the broker answers");
    assert_eq!(bytes, expected);
}

#[test]
fn a_message_goes_from_one_client_to_another() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || broker::serve(listener));

    let mut reader = connected(address, b'r');
    reader
        .write_all(b"\x82\x06\0\x01\0\x01#\x01")
        .expect("SUBSCRIBE");
    expect(&mut reader, b"\x90\x03\0\x01\x01");
    let mut writer = connected(address, b'w');
    for _ in 0..100 {
        writer.write_all(b"\x30\x05\0\x01thi").expect("PUBLISH");
    }
    for _ in 0..100 {
        expect(&mut reader, b"\x30\x05\0\x01thi");
    }
    // A second client of the same name: the first is told to go.
    let mut again = connected(address, b'r');
    assert_eq!(reader.read(&mut [0; 8]).expect("the broker closes"), 0);
    again.write_all(b"\xC0\0").expect("PINGREQ");
    expect(&mut again, b"\xD0\0");
}
