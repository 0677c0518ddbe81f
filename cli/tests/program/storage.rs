//! What is kept, where, and what is said when it cannot be.

use crate::harness::{Directory, PATIENCE, Running, whimbrel};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Output};

const ANY_PORT: &str = "tcp://127.0.0.1:0";

/// CONNECT of a 3.1.1 client called "a" that comes back: clean session 0.
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\0\0\x3c\0\x01a";
/// SUBSCRIBE to "t" with QoS 1.
const SUBSCRIBE: &[u8] = b"\x82\x06\0\x01\0\x01t\x01";
/// PUBLISH of "m" to "t" with QoS 1.
const PUBLISH: &[u8] = b"\x32\x06\0\x01t\0\x02m";

/// Sends, and reads as many bytes as expected.
fn exchange(transport: &mut TcpStream, sent: &[u8], expected: &[u8]) {
    transport.set_read_timeout(Some(PATIENCE)).unwrap();
    transport.write_all(sent).unwrap();
    let mut received = vec![0; expected.len()];
    transport.read_exact(&mut received).unwrap();
    assert_eq!(received, expected);
}

/// A broker that keeps things in `data`, in small files so that they are quickly made.
fn keeping(data: &str) -> Command {
    let mut command = whimbrel(&["-l", ANY_PORT, "-d", data]);
    command.env("WHIMBREL_STORAGE_SEGMENT_BYTES", "64 KiB");
    command
}

fn refused(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{stderr}");
    stderr
}

#[test]
fn without_settings_it_keeps_everything_beside_where_it_was_started() {
    let directory = Directory::new("default-storage");
    let mut command = whimbrel(&["-l", ANY_PORT]);
    command.current_dir(directory.path());
    let mut broker = Running::start(command);
    broker.wait_for("acknowledged means on disk: kept in whimbrel-data");
    assert!(directory.path().join("whimbrel-data").is_dir());
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash() {
    let directory = Directory::new("kept");
    let data = directory.path().join("data").display().to_string();
    let start = || Running::start(keeping(&data));

    let mut broker = start();
    let mut transport = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut transport, CONNECT, b"\x20\x02\0\0");
    exchange(&mut transport, SUBSCRIBE, b"\x90\x03\0\x01\x01");
    transport.write_all(b"\xe0\0").unwrap();
    transport.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = transport.read_to_end(&mut Vec::new());
    let mut transport = TcpStream::connect(broker_address(&broker)).unwrap();
    exchange(&mut transport, &CONNECT_OTHER, b"\x20\x02\0\0");
    exchange(&mut transport, PUBLISH, b"\x40\x02\0\x02");
    broker.kill();

    let mut broker = start();
    let mut transport = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut transport, CONNECT, b"\x20\x02\x01\0");
    exchange(&mut transport, b"", b"\x32\x06\0\x01t\0\x01m");
}

/// CONNECT of a 3.1.1 client called "b" that does not come back.
const CONNECT_OTHER: [u8; 15] = *b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01b";

fn broker_address(broker: &Running) -> String {
    let line = broker.said.iter().find(|line| line.contains("listening"));
    let (_, address) = line.unwrap().split_once("url=tcp://").unwrap();
    address.trim().to_owned()
}

#[test]
fn two_brokers_do_not_share_a_directory() {
    let directory = Directory::new("two");
    let data = directory.path().join("data").display().to_string();
    let mut first = Running::start(keeping(&data));
    first.address();
    let stderr = refused(keeping(&data));
    assert!(
        stderr.contains(&data) && stderr.contains("in use by another process"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[cfg(unix)]
#[test]
fn a_directory_that_cannot_be_made_is_one_clear_line() {
    let directory = Directory::new("no-directory");
    let file = directory.write("a-file", "");
    let stderr = refused(keeping(&format!("{file}/data")));
    assert!(stderr.contains("a-file/data"), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// A log of a broker that was stopped in order, with one byte of its records changed, and the
/// segment where that was done.
fn damaged(directory: &Directory) -> (String, PathBuf) {
    let data = directory.path().join("data");
    let name = data.display().to_string();
    for _ in 0..3 {
        let mut broker = Running::start(keeping(&name));
        let mut transport = TcpStream::connect(broker.address()).unwrap();
        let mut connack = [0; 4];
        transport.set_read_timeout(Some(PATIENCE)).unwrap();
        transport.write_all(CONNECT).unwrap();
        transport.read_exact(&mut connack).unwrap();
        exchange(&mut transport, SUBSCRIBE, b"\x90\x03\0\x01\x01");
        drop(transport);
        broker.kill();
    }
    let segments = std::fs::read_dir(&data).unwrap();
    let segments = segments.map(|entry| entry.unwrap().path());
    let used = segments.filter(|path| {
        let bytes = std::fs::read(path).unwrap();
        bytes.iter().skip(4_096).any(|byte| *byte != 0)
    });
    let segment = used.min().expect("records behind the header");
    let mut bytes = std::fs::read(&segment).unwrap();
    let at = 4_096 + bytes[4_096..].iter().position(|byte| *byte != 0).unwrap();
    bytes[at + 20] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    (name, segment)
}

#[test]
fn damage_is_refused_with_its_place_and_the_command_that_helps() {
    let directory = Directory::new("damage");
    let (data, segment) = damaged(&directory);
    let stderr = refused(keeping(&data));
    let segment = segment.file_name().unwrap().to_str().unwrap();
    for expected in [
        segment,
        "damaged from byte",
        "lost",
        &format!("whimbrel log verify {data}"),
        &format!("whimbrel log repair {data}"),
    ] {
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
}

#[test]
fn a_damaged_log_is_verified_repaired_and_served() {
    let directory = Directory::new("repair");
    let (data, segment) = damaged(&directory);
    let log = |command: &str| {
        let Output {
            status,
            stdout,
            stderr,
        } = whimbrel(&["log", command, &data]).output().unwrap();
        let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        (status.code(), said)
    };
    let before = std::fs::read(&segment).unwrap();

    for command in ["verify", "dump"] {
        let (code, said) = log(command);
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("damaged from byte"), "{said}");
        assert!(
            said.contains(&format!("whimbrel log repair {data}")),
            "{said}"
        );
    }
    assert_eq!(std::fs::read(&segment).unwrap(), before, "nothing changed");

    let (code, said) = log("repair");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("given up: seg-"), "{said}");
    assert!(said.contains(": whole"), "{said}");
    let copy = format!("{}.damaged-1", segment.display());
    assert_eq!(std::fs::read(copy).unwrap(), before, "a copy is kept");

    let (code, said) = log("verify");
    assert_eq!(code, Some(0), "{said}");
    let mut broker = Running::start(keeping(&data));
    broker.address();
}

#[test]
fn a_log_is_printed_without_payloads_unless_asked() {
    let directory = Directory::new("dump");
    let data = directory.path().join("data").display().to_string();
    let mut broker = Running::start(keeping(&data));
    let address = broker.address();
    let mut subscriber = TcpStream::connect(&address).unwrap();
    exchange(&mut subscriber, CONNECT, b"\x20\x02\0\0");
    exchange(&mut subscriber, SUBSCRIBE, b"\x90\x03\0\x01\x01");
    let mut publisher = TcpStream::connect(&address).unwrap();
    exchange(&mut publisher, &CONNECT_OTHER, b"\x20\x02\0\0");
    exchange(
        &mut publisher,
        b"\x33\x0b\0\x01t\0\x02secret",
        b"\x40\x02\0\x02",
    );

    let busy = whimbrel(&["log", "dump", &data]).output().unwrap();
    assert_eq!(busy.status.code(), Some(1));
    let said = String::from_utf8(busy.stderr).unwrap();
    assert!(said.contains("stop the broker first"), "{said}");
    broker.kill();

    let dump = |arguments: &[&str]| {
        let output = whimbrel(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let printed = dump(&["log", "dump", &data]);
    for expected in [
        "start number 1",
        "session client=\"a\"",
        "subscribed client=\"a\" filter=\"t\" qos=1",
        "topic=\"t\" qos=1 properties=0 bytes payload=6 bytes",
        "delivery client=\"a\" sequence=",
        "retained topic=\"t\" message",
    ] {
        assert!(printed.contains(expected), "{expected}: {printed}");
    }
    assert!(!printed.contains("secret"), "{printed}");
    assert!(dump(&["log", "dump", "--payload", &data]).contains("payload \"secret\""));
    let verified = dump(&["log", "verify", &data]);
    assert!(
        verified
            .contains("holds 1 sessions, 1 subscriptions, 1 deliveries, 1 retained, 1 messages"),
        "{verified}"
    );
}

#[test]
fn a_log_that_is_not_there_is_not_made() {
    let directory = Directory::new("nowhere");
    let data = directory.path().join("data").display().to_string();
    for command in ["verify", "dump", "repair"] {
        let said = refused(whimbrel(&["log", command, &data]));
        assert!(said.contains("is not a directory"), "{said}");
    }
    assert!(!directory.path().join("data").exists());
}

/// Two megabytes wait, and 64 KiB of them may be in memory.
#[test]
fn what_waits_on_disk_comes_back_in_order_after_a_crash() {
    const COUNT: u32 = 200;
    const PAYLOAD: usize = 10_000;
    let directory = Directory::new("on-disk");
    let data = directory.path().join("data").display().to_string();
    let start = || {
        let mut command = keeping(&data);
        command.env("WHIMBREL_LIMITS_QUEUED_PAYLOAD_MEMORY_BYTES", "64 KiB");
        Running::start(command)
    };
    let mut broker = start();
    let mut transport = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut transport, CONNECT, b"\x20\x02\0\0");
    exchange(&mut transport, SUBSCRIBE, b"\x90\x03\0\x01\x01");
    drop(transport);
    let mut publisher = TcpStream::connect(broker_address(&broker)).unwrap();
    exchange(
        &mut publisher,
        b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01p",
        b"\x20\x02\0\0",
    );
    let of = |number: u32| {
        // The identifier is the publisher's first, and the broker's later.
        let mut packet = b"\x32\x95\x4e\0\x01t".to_vec();
        packet.extend_from_slice(&u16::try_from(number + 1).unwrap().to_be_bytes());
        packet.resize(packet.len() + PAYLOAD - 4, 0);
        packet.extend_from_slice(&number.to_be_bytes());
        packet
    };
    for number in 0..COUNT {
        let [high, low] = u16::try_from(number + 1).unwrap().to_be_bytes();
        exchange(&mut publisher, &of(number), &[0x40, 2, high, low]);
    }
    broker.kill();

    let mut broker = start();
    let mut transport = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut transport, CONNECT, b"\x20\x02\x01\0");
    for number in 0..COUNT {
        let [high, low] = u16::try_from(number + 1).unwrap().to_be_bytes();
        exchange(&mut transport, b"", &of(number));
        transport.write_all(&[0x40, 2, high, low]).unwrap();
    }
}
