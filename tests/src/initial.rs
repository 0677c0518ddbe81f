//! The beginning of a QUIC connection, by hand: a client that shows that its address is its own,
//! says as much of its handshake as it likes, in any order, and never goes on.
//!
//! Packets as in RFC 9000, section 17.2, protected as in RFC 9001, section 5.

use rustls::Side;
use rustls::crypto::ring;
use rustls::quic::{Keys, Suite, Version};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

const VERSION_1: u32 = 1;
/// The form of a long header; the two low bits of that of an Initial are the length of its packet
/// number, less one.
const INITIAL: u8 = 0xC0;
const RETRY: u8 = 0xF0;
const TAG_BYTES: usize = 16;
/// What the largest datagrams may have, and those with an Initial have to.
const DATAGRAM_BYTES: usize = 1_200;

/// Such a client.
pub struct Initial {
    socket: UdpSocket,
    keys: Keys,
    /// Whom the server is called by.
    server: Vec<u8>,
    /// What has shown that its address is its own.
    token: Vec<u8>,
    next_number: u32,
}

/// A number in the form that QUIC has for them, of four bytes.
fn number(value: usize) -> [u8; 4] {
    let value = u32::try_from(value).expect("a small number");
    (value | 0x8000_0000).to_be_bytes()
}

fn keys(server: &[u8]) -> Keys {
    let suite = ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
    let suite = suite.tls13().expect("a suite of 1.3");
    let quic = suite.quic_suite().expect("one for QUIC");
    let Suite { suite, quic } = quic;
    Keys::initial(Version::V1, suite, quic, server, Side::Client)
}

impl Initial {
    /// Says hello to the server at this address, and does what it asks for before it does anything.
    ///
    /// # Errors
    ///
    /// What the system says, or what it asks for is not that.
    pub fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let first_name = vec![7; 8];
        let mut client = Self {
            socket,
            keys: keys(&first_name),
            server: first_name,
            token: Vec::new(),
            next_number: 0,
        };
        client.say(0, &[])?;
        let mut answer = [0; 2 * DATAGRAM_BYTES];
        let count = client.socket.recv(&mut answer)?;
        let answer = &answer[..count];
        let retry = Self::retry(answer);
        (client.server, client.token) = retry.ok_or(io::ErrorKind::InvalidData)?;
        client.keys = keys(&client.server);
        Ok(client)
    }

    /// The name and the token in a Retry.
    fn retry(packet: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        let (first, rest) = packet.split_first()?;
        let rest = rest.strip_prefix(&VERSION_1.to_be_bytes())?;
        let (ours, rest) = rest.split_first()?;
        let rest = rest.get(usize::from(*ours)..)?;
        let (theirs, rest) = rest.split_first()?;
        let (server, rest) = rest.split_at_checked(usize::from(*theirs))?;
        let (token, _) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
        (first & 0xF0 == RETRY).then(|| (server.to_vec(), token.to_vec()))
    }

    /// Sends these bytes of the handshake, which begin at this place in it, in one datagram.
    ///
    /// # Errors
    ///
    /// What the system says.
    ///
    /// # Panics
    ///
    /// They are more than fit.
    pub fn say(&mut self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        let packet_number = self.next_number.to_be_bytes();
        self.next_number += 1;
        let mut header = vec![INITIAL | 3];
        header.extend(VERSION_1.to_be_bytes());
        header.push(u8::try_from(self.server.len()).expect("a short name"));
        header.extend(&self.server);
        header.push(0);
        header.extend(number(self.token.len()));
        header.extend(&self.token);
        let room = DATAGRAM_BYTES - header.len() - 4;
        header.extend(number(room));
        let number_at = header.len();
        header.extend(packet_number);
        let mut payload = vec![0; room - packet_number.len() - TAG_BYTES];
        let frame = [&[6][..], &number(offset), &number(bytes.len()), bytes].concat();
        payload[..frame.len()].copy_from_slice(&frame);
        let sealed = self.keys.local.packet.encrypt_in_place(
            u64::from(u32::from_be_bytes(packet_number)),
            &header,
            &mut payload,
        );
        payload.extend(sealed.expect("a short packet").as_ref());
        // The sample is where a packet number of four bytes would end.
        let (first, rest) = header.split_at_mut(number_at);
        let sample = &payload[..self.keys.local.header.sample_len()];
        let masked = self
            .keys
            .local
            .header
            .encrypt_in_place(sample, &mut first[0], rest);
        masked.expect("a sample of its length");
        self.socket.send(&[header, payload].concat())?;
        Ok(())
    }

    /// Waits until the server has said something, which it does about everything.
    ///
    /// # Errors
    ///
    /// It says nothing.
    pub fn is_answered(&self) -> io::Result<()> {
        let mut answer = [0; 2 * DATAGRAM_BYTES];
        loop {
            match self.socket.recv(&mut answer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answered => return answered.map(drop),
            }
        }
    }

    /// How much of the handshake fits into a datagram.
    #[must_use]
    pub fn room(&self) -> usize {
        let header = 1 + 4 + 1 + self.server.len() + 1 + 4 + self.token.len() + 4 + 4;
        DATAGRAM_BYTES - header - TAG_BYTES - (1 + 4 + 4)
    }
}
