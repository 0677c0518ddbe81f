//! Class 6: what a client calls itself is data, in the question to a service too.

use crate::{authority, let_in, verdict, with_password};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use whimbrel_auth::{Config, HttpFormat};
use whimbrel_core::action::Credentials;

/// A service that answers every question alike, and tells what it was asked.
pub(crate) struct Answering {
    pub(crate) address: SocketAddr,
    questions: Receiver<Question>,
}

/// One request, as it came.
struct Question {
    /// The first line and the headers.
    head: String,
    body: String,
    /// Which connection it came on.
    connection: usize,
}

impl Answering {
    pub(crate) fn start(status: &str, body: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let length = body.len();
        let answer = if status.starts_with("204") {
            format!("HTTP/1.1 {status}\r\n\r\n")
        } else {
            format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}")
        };
        let (sender, questions) = channel();
        // It ends with the process: nobody waits for it.
        thread::spawn(move || {
            for (connection, stream) in listener.incoming().map_while(Result::ok).enumerate() {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut stream = stream;
                while let Some((head, body)) = read_request(&mut reader) {
                    let question = Question {
                        head,
                        body,
                        connection,
                    };
                    // Whoever asked may not care.
                    let _ = sender.send(question);
                    if stream.write_all(answer.as_bytes()).is_err() {
                        break;
                    }
                }
            }
        });
        Self { address, questions }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = lower.split("content-length: ").nth(1)?;
    let length: usize = length.split("\r\n").next()?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).ok()?))
}

pub(crate) fn config_for(address: SocketAddr) -> Config {
    Config {
        http_url: Some(format!("http://{address}/mqtt/auth?from=broker")),
        ..Config::default()
    }
}

/// Names that have ended a field, a line or a string somewhere.
const NASTY: &[&str] = &[
    "a&result=allow&username=root",
    "a=b;c#d?e/f%26",
    "a\", \"username\": \"root",
    "a\\",
    "a\r\nx-admin: 1\r\n\r\n",
    "../../admin",
    "+ #$SYS/",
    "zoë \u{202e}",
    "%u%c{}",
];

fn nasty(text: &str) -> Credentials {
    Credentials {
        client_id: text.to_owned(),
        ..with_password(text, text)
    }
}

#[test]
fn json_says_exactly_what_the_client_said() {
    let service = Answering::start("204 No Content", "");
    let authority = authority(&config_for(service.address));
    for text in NASTY {
        let (user, _) = let_in(verdict(&authority, nasty(text)));
        assert_eq!(user.as_deref(), Some(*text));
        let question = service.questions.recv().unwrap();
        let body: serde_json::Value = serde_json::from_str(&question.body).unwrap();
        for field in ["username", "password", "client_id"] {
            assert_eq!(body[field], *text, "{field}");
        }
        assert_eq!(body["address"], "192.0.2.1");
        assert_eq!(body["version"], "5.0");
        assert_eq!(body.as_object().unwrap().len(), 5);
        assert!(
            question
                .head
                .starts_with("POST /mqtt/auth?from=broker HTTP/1.1\r\n")
        );
        assert!(!question.head.contains("x-admin"));
    }
}

#[test]
fn a_form_says_exactly_what_the_client_said() {
    let service = Answering::start("204 No Content", "");
    let authority = authority(&Config {
        http_format: HttpFormat::Form,
        ..config_for(service.address)
    });
    for text in NASTY {
        let_in(verdict(&authority, nasty(text)));
        let question = service.questions.recv().unwrap();
        let fields: Vec<(&str, String)> = question
            .body
            .split('&')
            .map(|field| field.split_once('=').unwrap())
            .map(|(name, value)| (name, decoded(value)))
            .collect();
        for field in ["username", "password", "client_id"] {
            let values = fields.iter().filter(|(name, _)| *name == field);
            let values: Vec<&String> = values.map(|(_, value)| value).collect();
            assert_eq!(values, [text], "{field}");
        }
        assert_eq!(fields.len(), 5);
        assert!(
            question
                .head
                .to_ascii_lowercase()
                .contains("application/x-www-form-urlencoded")
        );
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                u8::from_str_radix(core::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            byte => byte,
        });
    }
    String::from_utf8(plain).unwrap()
}

/// CVE-2026-32696: a client without a user name, or with a password that is no text.
#[test]
fn what_cannot_be_asked_about_is_refused_unasked() {
    let service = Answering::start("204 No Content", "");
    let authority = authority(&config_for(service.address));
    for (username, password) in [
        (None, Some(&b"x"[..])),
        (Some("alice"), None),
        (Some("alice"), Some(b"\xff")),
    ] {
        let credentials = Credentials {
            username: username.map(str::to_owned),
            password: password.map(<[u8]>::to_vec),
            ..nasty("c")
        };
        assert_eq!(verdict(&authority, credentials), crate::WRONG);
    }
    assert!(service.questions.try_recv().is_err());
}

#[test]
fn connections_to_the_service_are_kept() {
    let service = Answering::start("204 No Content", "");
    let token = crate::Temporary::new("bearer", "s3cret\n");
    let authority = authority(&Config {
        http_connections: 1,
        http_token_file: token.path(),
        ..config_for(service.address)
    });
    for _ in 0..5 {
        let_in(crate::try_password(&authority, "alice", "secret"));
        let question = service.questions.recv().unwrap();
        assert_eq!(question.connection, 0);
        assert!(question.head.contains("Bearer s3cret\r\n"));
    }
}
