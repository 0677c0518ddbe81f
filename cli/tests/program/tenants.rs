//! A broker that serves two tenants, each by a listener of its own.

use crate::harness::{Directory, PATIENCE, Running, forgetful, whimbrel};
use std::io::{Read, Write};
use std::net::TcpStream;

/// CONNECT of a 3.1.1 client called "a", clean start, keep alive of a minute.
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01a";
/// SUBSCRIBE to "#", at QoS 0.
const SUBSCRIBE: &[u8] = b"\x82\x06\0\x01\0\x01#\0";
const PING: &[u8] = b"\xc0\0";
const PONG: &[u8] = b"\xd0\0";

/// Sends, and reads as many bytes as expected.
#[track_caller]
fn exchange(transport: &mut TcpStream, sent: &[u8], expected: &[u8]) {
    transport.set_read_timeout(Some(PATIENCE)).unwrap();
    transport.write_all(sent).unwrap();
    let mut received = vec![0; expected.len()];
    transport.read_exact(&mut received).unwrap();
    assert_eq!(received, expected);
}

fn serve(directory: &Directory, tenants: &[&str], more: &str) -> Running {
    let listeners = tenants.iter().map(|tenant| {
        format!("[[listener]]\nurl = \"tcp://127.0.0.1:0\"\ntenant = \"{tenant}\"\n")
    });
    let text = listeners.collect::<String>() + more;
    let config = directory.write("whimbrel.toml", &text);
    Running::start(forgetful(&["-c", &config]))
}

#[test]
fn listeners_of_two_tenants_have_nothing_to_do_with_each_other() {
    // A light build has one.
    let threads = if cfg!(feature = "tokio") { 2 } else { 1 };
    for threads in ["1", "3"].into_iter().take(threads) {
        let directory = Directory::new(&format!("tenants-{threads}"));
        let server = format!("[server]\nthreads = {threads}\n");
        let mut broker = serve(&directory, &["blue", "green"], &server);
        let addresses = [broker.address(), broker.address()];
        // One identifier for both, and both are there.
        let [mut blue, mut green] = addresses.map(|address| {
            let mut transport = TcpStream::connect(address).unwrap();
            exchange(&mut transport, CONNECT, b"\x20\x02\0\0");
            exchange(&mut transport, SUBSCRIBE, b"\x90\x03\0\x01\0");
            transport
        });
        let publish = b"\x30\x04\0\x01tm";
        exchange(&mut blue, publish, publish);
        exchange(&mut green, PING, PONG);
        exchange(&mut blue, PING, PONG);
    }
}

#[test]
fn who_has_no_tenant_is_not_let_in_where_one_is_asked_for() {
    let directory = Directory::new("tenants-none");
    let mut broker = serve(&directory, &["from:user-domain", "from:user"], "");
    for address in [broker.address(), broker.address()] {
        let mut transport = TcpStream::connect(address).unwrap();
        // Not authorized.
        exchange(&mut transport, CONNECT, b"\x20\x02\0\x05");
    }
}

#[test]
fn a_quota_counts_for_each_tenant() {
    let directory = Directory::new("tenants-quota");
    let quotas = "[tenants]\nsubscriptions_maximum = 1\n";
    let mut broker = serve(&directory, &["blue", "green"], quotas);
    for address in [broker.address(), broker.address()] {
        let mut transport = TcpStream::connect(address).unwrap();
        exchange(&mut transport, CONNECT, b"\x20\x02\0\0");
        exchange(&mut transport, SUBSCRIBE, b"\x90\x03\0\x01\0");
        // The same again is no further one; another is.
        exchange(&mut transport, SUBSCRIBE, b"\x90\x03\0\x01\0");
        let another = b"\x82\x06\0\x01\0\x01b\0";
        exchange(&mut transport, another, b"\x90\x03\0\x01\x80");
    }
}

#[test]
fn tenants_that_nobody_could_be_in_are_a_mistake() {
    let directory = Directory::new("tenants-mistake");
    for (tenant, remedy) in [
        ("from:moon", "from:organization"),
        ("", "from:organization"),
        ("from:organization", "client_ca"),
    ] {
        let text = format!("[[listener]]\ntenant = \"{tenant}\"\n");
        let config = directory.write("whimbrel.toml", &text);
        let output = whimbrel(&["check", &config]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(
            stderr.contains("whimbrel.toml:2") && stderr.contains(remedy),
            "{stderr}"
        );
    }
}

/// What each tenant has of what it may have, whenever somebody asks.
#[cfg(unix)]
#[test]
fn what_a_tenant_has_can_be_asked_about() {
    // A light build has one.
    let threads = if cfg!(feature = "tokio") { 2 } else { 1 };
    let directory = Directory::new("tenants-usage");
    let more = format!(
        "[server]\nthreads = {threads}\n[tenants]\nconnections_maximum = 7\nsubscriptions_maximum = 9\n"
    );
    let mut broker = serve(&directory, &["blue", "green"], &more);
    let address = broker.address();
    let mut blue: Vec<TcpStream> = (0..3)
        .map(|_| TcpStream::connect(&address).unwrap())
        .collect();
    for (client, letter) in blue.iter_mut().zip(*b"abc") {
        let connect = [&CONNECT[..14], &[letter]].concat();
        exchange(client, &connect, b"\x20\x02\0\0");
        exchange(client, SUBSCRIBE, b"\x90\x03\0\x01\0");
    }
    // Retained, acknowledged when it is known everywhere.
    exchange(&mut blue[0], b"\x33\x06\0\x01t\0\x02m", b"\x30\x04\0\x01tm");
    exchange(&mut blue[1], PING, b"\x30\x04\0\x01tm");
    broker.signal("USR1");
    let line = broker.wait_for("tenant=\"blue\"");
    for part in [
        " connections=3 connections_maximum=7 sessions=3 subscriptions=3 subscriptions_maximum=9 ",
        " retained_messages=1 ",
        " queued_bytes=0",
    ] {
        assert!(line.contains(part), "{line}");
    }
    assert!(!line.contains("sessions_maximum"), "{line}");
}
