//! The client over a real socket, against a server that says what the test wants.

use futures_lite::future::block_on;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use whimbrel_smol::client::{self, Config};

/// A PUBLISH of 5.0 at QoS 0 to `t`, without a payload.
const MESSAGE: [u8; 6] = [0x30, 4, 0, 1, b't', 0];

/// Whoever closes with anything unread takes back what the server has not read yet.
#[test]
fn a_goodbye_waits_until_the_server_has_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).unwrap();
        assert_eq!(said.last_chunk(), Some(&[0xe0, 0]), "DISCONNECT");
        // Every one of them would be answered with a reset by a client that has closed.
        for _ in 0..10_000 {
            stream.write_all(&MESSAGE).expect("the client still reads");
        }
    });
    block_on(async {
        let (connection, mut events) = client::open(&address, Config::default()).await.unwrap();
        connection.disconnect(&mut events).await;
    });
    server.join().unwrap();
}
