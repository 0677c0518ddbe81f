//! SCRAM-SHA-256 (RFC 5802, RFC 7677) at a broker that runs, as a client reckons it: to connect,
//! and to show once more who it is.

use crate::harness::{Directory, Running, forgetful, whimbrel};
use crate::raw::{ACCEPTED, NOT_AUTHORIZED, Raw, text};
use base64ct::{Base64, Encoding};
use core::num::NonZeroU32;
use ring::{digest, hmac, pbkdf2};

const METHOD: &[u8] = b"SCRAM-SHA-256";
const PASSWORD: &str = "secret";
const FIRST: &str = "n,,n=alice,r=fyko+d2lbbFgONRv9qkxdawL";

const CONNACK: u8 = 0x20;
const DISCONNECT: u8 = 0xE0;
const AUTH: u8 = 0xF0;
const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;

/// What a client that knows the password sends last, and what the broker has to answer.
fn last_messages(server_first: &str, password: &str) -> (String, String) {
    let sign = |key: &[u8], what: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        hmac::sign(&key, what).as_ref().to_vec()
    };
    let fields: Vec<&str> = server_first.split(',').map(|field| &field[2..]).collect();
    let (nonce, salt) = (fields[0], Base64::decode_vec(fields[1]).unwrap());
    let iterations: NonZeroU32 = fields[2].parse().unwrap();
    let mut salted = [0; 32];
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
    pbkdf2::derive(
        algorithm,
        iterations,
        &salt,
        password.as_bytes(),
        &mut salted,
    );
    let client_key = sign(&salted, b"Client Key");
    let without_proof = format!("c=biws,r={nonce}");
    let bare = FIRST.strip_prefix("n,,").unwrap();
    let said = format!("{bare},{server_first},{without_proof}");
    let stored_key = digest::digest(&digest::SHA256, &client_key);
    let signature = sign(stored_key.as_ref(), said.as_bytes());
    let proof: Vec<u8> = client_key
        .iter()
        .zip(signature)
        .map(|(a, b)| a ^ b)
        .collect();
    let of_server = sign(&sign(&salted, b"Server Key"), said.as_bytes());
    (
        format!("{without_proof},p={}", Base64::encode_string(&proof)),
        format!("v={}", Base64::encode_string(&of_server)),
    )
}

/// The properties that name the method and have this message.
fn properties(message: &str) -> Vec<u8> {
    let all = [
        &[0x15][..],
        &text(METHOD),
        &[0x16],
        &text(message.as_bytes()),
    ]
    .concat();
    let length = u8::try_from(all.len()).unwrap();
    match length {
        0..128 => [&[length][..], &all].concat(),
        128.. => [&[length, 1][..], &all].concat(),
    }
}

/// The message in a packet of the broker that begins with so many bytes before its properties.
fn message_in(packet: &[u8], begin: usize) -> String {
    let long = usize::from(packet[begin] >= 128);
    let properties = &packet[begin + 1 + long..];
    let at = properties
        .windows(METHOD.len())
        .position(|part| part == METHOD);
    let data = properties[at.unwrap() + METHOD.len()..]
        .strip_prefix(&[0x16, 0])
        .unwrap();
    let (length, data) = data.split_first().unwrap();
    String::from_utf8(data[..usize::from(*length)].to_vec()).unwrap()
}

fn auth(client: &mut Raw, reason: u8, message: &str) {
    client.send(AUTH, &[&[reason][..], &properties(message)].concat());
}

/// What the broker asks after the first message.
fn question(client: &mut Raw) -> String {
    let (first, body) = client.next();
    assert_eq!((first, body[0]), (AUTH, CONTINUE), "{body:02x?}");
    message_in(&body, 1)
}

/// A client that has been asked.
fn begin(address: &str) -> (Raw, String) {
    let mut client = Raw::dial(address);
    let connect = [
        &b"\0\x04MQTT\x05\x02\0\x3c"[..],
        &properties(FIRST),
        &[0, 0],
    ]
    .concat();
    client.send(0x10, &connect);
    let question = question(&mut client);
    (client, question)
}

#[test]
fn a_client_shows_and_shows_again_that_it_knows_the_password() {
    let directory = Directory::new("scram");
    let users = directory.path().join("users.txt").display().to_string();
    let set = |password: &str| {
        let set = [
            "passwd",
            "set",
            &users,
            "alice",
            "--scram",
            "--visible-password",
            password,
        ];
        assert!(whimbrel(&set).output().unwrap().status.success());
    };
    set(PASSWORD);
    let config = directory.write(
        "whimbrel.toml",
        &format!(
            "[[listener]]\nurl = \"tcp://127.0.0.1:0\"\nallow_anonymous = \"never\"\n\
             [authentication]\npassword_file = {users:?}\n"
        ),
    );
    let mut broker = Running::start(forgetful(&["-c", &config]));
    let address = broker.address();

    let (mut guessing, question_1) = begin(&address);
    let (proof, _) = last_messages(&question_1, "guess");
    auth(&mut guessing, CONTINUE, &proof);
    let (first, body) = guessing.next();
    assert_eq!((first, body[1]), (CONNACK, NOT_AUTHORIZED));

    let let_in = || {
        let (mut client, question) = begin(&address);
        let (proof, of_server) = last_messages(&question, PASSWORD);
        auth(&mut client, CONTINUE, &proof);
        let (first, body) = client.next();
        assert_eq!((first, body[1]), (CONNACK, ACCEPTED));
        assert_eq!(message_in(&body, 2), of_server, "the broker knows it, too");
        client
    };
    let mut client = let_in();
    client.is_there();
    for _ in 0..2 {
        auth(&mut client, AGAIN, FIRST);
        let asked = question(&mut client);
        let (proof, of_server) = last_messages(&asked, PASSWORD);
        auth(&mut client, CONTINUE, &proof);
        let (first, body) = client.next();
        assert_eq!((first, body[0]), (AUTH, 0));
        assert_eq!(message_in(&body, 1), of_server);
        client.is_there();
    }
    // An old proof is none, and ends what was there.
    auth(&mut client, AGAIN, FIRST);
    let asked = question(&mut client);
    assert_ne!(asked, question_1);
    auth(&mut client, CONTINUE, &proof);
    let (first, body) = client.next();
    assert_eq!((first, body[0]), (DISCONNECT, NOT_AUTHORIZED));

    // Another password ends what the last one has opened.
    #[cfg(unix)]
    {
        let mut client = let_in();
        set("another");
        broker.signal("HUP");
        broker.wait_for("disconnected_clients=1");
        client.is_sent_away(NOT_AUTHORIZED);
    }
}
