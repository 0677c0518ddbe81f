//! What is kept, where, and what is said when it cannot be.

use crate::harness::{Directory, PATIENCE, Running, whimbrel};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Instant;

const ANY_PORT: &str = "tcp://127.0.0.1:0";

/// CONNECT of a 3.1.1 client called "a" that comes back: clean session 0.
const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\0\0\x3c\0\x01a";
/// The same client, with a will to "w".
const CONNECT_WITH_WILL: &[u8] = b"\x10\x13\0\x04MQTT\x04\x0c\0\x3c\0\x01a\0\x01w\0\x01x";
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

/// Disconnects, and comes back when the broker has closed: nothing is sent to it any more.
fn leave(mut transport: TcpStream) {
    transport.set_read_timeout(Some(PATIENCE)).unwrap();
    transport.write_all(b"\xe0\0").unwrap();
    let mut rest = Vec::new();
    transport.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"");
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
    // Elsewhere nobody can read what is locked.
    let who = match cfg!(unix) {
        true => format!("process {}", first.id()),
        false => "another process".to_owned(),
    };
    let expected = format!("{data} is in use by {who}; ");
    assert!(stderr.contains(&expected), "{stderr}");
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

/// A log of a broker that was killed, with one byte of its records changed, and the segment where
/// that was done. Client "a" has subscribed to "t" and has a will, one message waits for it, and it
/// has sent one of QoS 2 that it has not released.
fn damaged(directory: &Directory) -> (String, PathBuf) {
    let data = directory.path().join("data");
    let name = data.display().to_string();
    for is_last in [false, false, true] {
        let mut broker = Running::start(keeping(&name));
        let mut transport = TcpStream::connect(broker.address()).unwrap();
        let mut connack = [0; 4];
        transport.set_read_timeout(Some(PATIENCE)).unwrap();
        transport.write_all(CONNECT_WITH_WILL).unwrap();
        transport.read_exact(&mut connack).unwrap();
        exchange(&mut transport, SUBSCRIBE, b"\x90\x03\0\x01\x01");
        if is_last {
            exchange(&mut transport, b"\x34\x06\0\x01q\0\x05m", b"\x50\x02\0\x05");
            let mut publisher = TcpStream::connect(broker_address(&broker)).unwrap();
            exchange(&mut publisher, &CONNECT_OTHER, b"\x20\x02\0\0");
            exchange(&mut publisher, PUBLISH, b"\x40\x02\0\x02");
        }
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
        assert_eq!(said.contains("readable: "), command == "verify", "{said}");
        assert!(
            said.contains(&format!("whimbrel log repair {data}")),
            "{said}"
        );
    }
    assert_eq!(std::fs::read(&segment).unwrap(), before, "nothing changed");

    let (_, verified) = log("verify");
    let (code, said) = log("repair");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("given up: seg-"), "{said}");
    for lost in [
        "records 1 to 1\n",
        "what these records retained",
        "the session of client \"a\", which may lack subscriptions, so the next start ends it",
        "with 1 subscriptions and 1 messages that waited",
        "the will of client \"a\" to topic \"w\": it is not published",
    ] {
        let line = said.lines().filter(|line| line.starts_with("lost: "));
        let count = line
            .filter(|line| format!("{line}\n").contains(lost))
            .count();
        assert_eq!(count, 1, "{lost}: {said}");
        assert!(
            verified.contains(lost),
            "verify tells it before: {verified}"
        );
    }
    assert!(said.contains(": whole"), "{said}");
    let copy = format!("{}.damaged-1", segment.display());
    assert_eq!(std::fs::read(copy).unwrap(), before, "a copy is kept");

    let (code, said) = log("verify");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the next start ends it"), "{said}");
    let mut broker = Running::start(keeping(&data));
    broker.address();
    broker.kill();
    let (_, said) = log("verify");
    assert!(!said.contains("lost: "), "it is done: {said}");
}

#[test]
fn who_knows_not_how_much_is_lost_says_so() {
    let directory = Directory::new("end-lost");
    let data = directory.path().join("data");
    let name = data.display().to_string();
    let mut broker = Running::start(keeping(&name));
    let mut transport = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut transport, CONNECT, b"\x20\x02\0\0");
    // Three segments of 64 KiB.
    for topic in 0..150_u8 {
        let mut publish = vec![0x33, 0xB0, 0x09, 0, 1, b'0' + topic % 64, topic, 1];
        publish.resize(3 + 0x4B0, b'x');
        exchange(&mut transport, &publish, &[0x40, 2, topic, 1]);
    }
    let is_used = |path: &PathBuf| {
        let payload = [b'x'; 100];
        let bytes = std::fs::read(path).unwrap();
        bytes.windows(payload.len()).any(|part| part == payload)
    };
    // What is lost shows by the segment behind it, which is made ahead, in its own time.
    let started = Instant::now();
    let last = loop {
        let entries = std::fs::read_dir(&data).unwrap();
        let paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        let is_segment = |path: &&PathBuf| path.display().to_string().contains("/seg-");
        let newest = paths.iter().filter(is_segment).max().cloned();
        let last = paths.into_iter().filter(is_used).max();
        if last < newest {
            break last.unwrap();
        }
        assert!(started.elapsed() < PATIENCE, "no segment is made ahead");
        thread::yield_now();
    };
    broker.kill();
    std::fs::remove_file(last).unwrap();
    let Output { stdout, .. } = whimbrel(&["log", "verify", &name]).output().unwrap();
    let said = String::from_utf8(stdout).unwrap();
    assert!(said.contains("on; how many is not known"), "{said}");
}

/// Neither is it read without end, nor copied.
#[test]
fn what_is_no_segment_is_named_with_what_to_do_about_it() {
    let directory = Directory::new("no-segment");
    let (data, segment) = damaged(&directory);
    let name = segment.file_name().unwrap().to_str().unwrap();
    let good = std::fs::read(segment.with_file_name("seg-0000000000000002")).unwrap();
    for (is_directory, expected) in [
        (true, "it is no file; move it away"),
        (
            false,
            "does not belong to this log; move it away, or bring back what was there",
        ),
    ] {
        let _ = std::fs::remove_file(&segment);
        let _ = std::fs::remove_dir(&segment);
        if is_directory {
            std::fs::create_dir(&segment).unwrap();
        } else {
            std::fs::write(&segment, &good).unwrap();
        }
        let commands = ["verify", "dump", "repair"];
        let commands = commands.map(|command| whimbrel(&["log", command, &data]));
        for command in commands.into_iter().chain([keeping(&data)]) {
            let said = refused(command);
            assert!(said.contains(name), "{said}");
            assert!(said.contains(expected), "{said}");
        }
    }
    let is_copy = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.unwrap().file_name().display().to_string();
        name.contains("damaged") || name.contains("rewrite")
    };
    assert!(!std::fs::read_dir(&data).unwrap().any(is_copy));
}

#[test]
fn a_device_that_nobody_reaches_comes_up_without_what_cannot_be_read() {
    let directory = Directory::new("quarantine");
    let (data, segment) = damaged(&directory);
    let before = std::fs::read(&segment).unwrap();
    let start = || {
        let mut command = keeping(&data);
        command.env("WHIMBREL_STORAGE_ON_CORRUPTION", "quarantine");
        Running::start(command)
    };
    let mut broker = start();
    broker.wait_for("given up as the configuration says");
    for expected in ["had retained or cleared", "lost: a session"] {
        let line = broker.wait_for(expected);
        let names_it = ["client_id=\"a\"", "will_topic=\"w\""];
        let is_named = names_it.iter().all(|name| line.contains(name));
        assert!(is_named || !expected.starts_with("lost: "), "{line}");
    }
    // It may have lost subscriptions, so its client has to begin anew.
    let mut transport = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut transport, CONNECT, b"\x20\x02\0\0");
    exchange(&mut transport, SUBSCRIBE, b"\x90\x03\0\x01\x01");
    let copy = format!("{}.damaged-1", segment.display());
    assert_eq!(std::fs::read(copy).unwrap(), before, "a copy is kept");
    // And it has to do so once.
    broker.kill();
    let mut broker = start();
    let mut transport = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut transport, CONNECT, b"\x20\x02\x01\0");
}

#[test]
fn a_log_whose_only_file_is_emptied_is_not_a_new_one() {
    let directory = Directory::new("emptied");
    let data = directory.path().join("data");
    let name = data.display().to_string();
    std::fs::create_dir(&data).unwrap();
    for command in ["verify", "dump", "repair"] {
        let said = refused(whimbrel(&["log", command, &name]));
        assert!(said.contains("there is no log in"), "{command}: {said}");
    }

    let mut broker = Running::start(keeping(&name));
    let mut transport = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut transport, CONNECT, b"\x20\x02\0\0");
    exchange(&mut transport, SUBSCRIBE, b"\x90\x03\0\x01\x01");
    let spare = data.join("seg-0000000000000003");
    let deadline = Instant::now() + PATIENCE;
    while !spare.exists() && Instant::now() < deadline {
        thread::yield_now();
    }
    broker.kill();
    std::fs::write(data.join("seg-0000000000000001"), "").unwrap();
    let verified = whimbrel(&["log", "verify", &name]).output().unwrap();
    assert_eq!(verified.status.code(), Some(3), "{verified:?}");
    let said = refused(keeping(&name));
    assert!(said.contains("the header is damaged"), "{said}");
}

/// A library that makes every sync of a program fail while the file `FAILING` names exists.
/// `None` where there is no C compiler to make it with.
#[cfg(target_os = "linux")]
fn failing_sync(directory: &Directory) -> Option<String> {
    let source = directory.write(
        "failing.c",
        r#"
        #include <errno.h>
        #include <stdlib.h>
        #include <sys/syscall.h>
        #include <unistd.h>
        static int sync_or_fail(long call, int fd) {
            if (access(getenv("FAILING"), F_OK) == 0) {
                errno = EIO;
                return -1;
            }
            return syscall(call, fd);
        }
        int fdatasync(int fd) { return sync_or_fail(SYS_fdatasync, fd); }
        int fsync(int fd) { return sync_or_fail(SYS_fsync, fd); }
        "#,
    );
    let library = directory.path().join("failing.so").display().to_string();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", &library, &source])
        .status();
    if compiled.is_ok_and(|status| status.success()) {
        Some(library)
    } else {
        println!("not run: there is no C compiler to make a disk fail with");
        None
    }
}

/// What every backend has to show when the disk fails.
#[cfg(target_os = "linux")]
fn nothing_is_acknowledged_after_a_failed_sync(name: &str, backend: &str) {
    let directory = Directory::new(name);
    let Some(library) = failing_sync(&directory) else {
        return;
    };
    let data = directory.path().join("data").display().to_string();
    let failing = directory.path().join("fails-now");
    let command = || {
        let mut command = keeping(&data);
        command
            .env("WHIMBREL_STORAGE_BACKEND", backend)
            .env("LD_PRELOAD", &library)
            .env("FAILING", &failing);
        command
    };
    let mut broker = Running::start(command());
    let address = broker.address();
    let mut subscriber = TcpStream::connect(&address).unwrap();
    exchange(&mut subscriber, CONNECT, b"\x20\x02\0\0");
    exchange(&mut subscriber, SUBSCRIBE, b"\x90\x03\0\x01\x01");
    let mut publisher = TcpStream::connect(&address).unwrap();
    exchange(&mut publisher, &CONNECT_OTHER, b"\x20\x02\0\0");
    exchange(&mut publisher, PUBLISH, b"\x40\x02\0\x02");

    std::fs::write(&failing, "").unwrap();
    publisher.write_all(PUBLISH).unwrap();
    let mut answer = Vec::new();
    // The end may come as a reset.
    let _ = publisher.read_to_end(&mut answer);
    assert_eq!(answer, b"", "closed without an acknowledgement");
    assert_eq!(broker.wait().code(), Some(1), "{:#?}", broker.said);
    let said = broker.said.join("\n");
    assert!(
        said.contains("the disk has failed, and this broker must stop"),
        "{said}"
    );

    // What it finds is written anew before anybody is served, and that fails as well.
    let stderr = refused(command());
    assert!(!stderr.contains("listening"), "{stderr}");

    std::fs::remove_file(&failing).unwrap();
    let mut broker = Running::start(command());
    let mut subscriber = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut subscriber, CONNECT, b"\x20\x02\x01\0");
    exchange(&mut subscriber, b"", b"\x3a\x06\0\x01t\0\x01m");
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_acknowledged_after_a_failed_sync_of_the_log() {
    nothing_is_acknowledged_after_a_failed_sync("failed-sync", "log");
}

/// What is written to files without names is not kept, so it does not go on with them.
#[cfg(target_os = "linux")]
#[test]
fn a_directory_that_is_removed_stops_it() {
    let directory = Directory::new("removed");
    let data = directory.path().join("data").display().to_string();
    let mut broker = Running::start(keeping(&data));
    let address = broker.address();
    let mut publisher = publisher_to_who_is_away(&address);
    // The broker makes files all the time, so removing them may not be done the first time.
    while Path::new(&data).exists() {
        let _ = std::fs::remove_dir_all(&data);
    }
    // Until it is closed: enough for several segments.
    let mut packet = b"\x32\x95\x4e\0\x01t\0\x02".to_vec();
    packet.resize(packet.len() + 10_000, 0);
    publisher.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut written = 0;
    while publisher.write_all(&packet).is_ok() {
        written += 1;
        assert!(written < 10_000, "it goes on");
    }
    assert_eq!(broker.wait().code(), Some(1), "{:#?}", broker.said);
    let said = broker.said.join("\n");
    assert!(said.contains("or its directory is not"), "{said}");
}

#[cfg(all(target_os = "linux", feature = "sqlite"))]
#[test]
fn nothing_is_acknowledged_after_a_failed_sync_of_the_database() {
    nothing_is_acknowledged_after_a_failed_sync("failed-sync-sqlite", "sqlite");
}

#[cfg(not(feature = "sqlite"))]
#[test]
fn a_program_without_sqlite_says_how_to_get_it() {
    let mut command = whimbrel(&["-l", ANY_PORT]);
    command.env("WHIMBREL_STORAGE_BACKEND", "sqlite");
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{stderr}");
    for expected in [
        "WHIMBREL_STORAGE_BACKEND",
        "built without SQLite",
        "--features sqlite",
    ] {
        assert!(stderr.contains(expected), "{expected}: {stderr}");
    }
}

#[cfg(feature = "sqlite")]
#[test]
fn a_database_is_for_one_thread() {
    let mut command = whimbrel(&["-l", ANY_PORT, "-t", "2"]);
    command.env("WHIMBREL_STORAGE_BACKEND", "sqlite");
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("server.threads"), "{stderr}");
}

#[cfg(feature = "sqlite")]
#[test]
fn neither_backend_forgets_what_the_other_keeps() {
    for (first, second) in [("log", "sqlite"), ("sqlite", "log")] {
        let directory = Directory::new(&format!("{first}-then-{second}"));
        let data = directory.path().join("data").display().to_string();
        let with = |backend| {
            let mut command = keeping(&data);
            command.env("WHIMBREL_STORAGE_BACKEND", backend);
            command
        };
        let mut broker = Running::start(with(first));
        broker.address();
        broker.kill();
        let stderr = refused(with(second));
        assert!(
            stderr.contains(&format!("the backend \"{first}\" keeps")),
            "{stderr}"
        );
    }
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

/// PUBLISH of 10,000 bytes to "t" with QoS 1. The identifier is the publisher's first, and the
/// broker's later.
fn large(number: u32) -> Vec<u8> {
    let mut packet = b"\x32\x95\x4e\0\x01t".to_vec();
    packet.extend_from_slice(&u16::try_from(number + 1).unwrap().to_be_bytes());
    packet.resize(packet.len() + 10_000 - 4, 0);
    packet.extend_from_slice(&number.to_be_bytes());
    packet
}

/// Whoever has subscribed to "t" has left, and its session stays: a publisher to it.
#[cfg(target_os = "linux")]
fn publisher_to_who_is_away(address: &str) -> TcpStream {
    let mut subscriber = TcpStream::connect(address).unwrap();
    exchange(&mut subscriber, CONNECT, b"\x20\x02\0\0");
    exchange(&mut subscriber, SUBSCRIBE, b"\x90\x03\0\x01\x01");
    leave(subscriber);
    let mut publisher = TcpStream::connect(address).unwrap();
    exchange(&mut publisher, &CONNECT_OTHER, b"\x20\x02\0\0");
    publisher
}

fn publish_large(publisher: &mut TcpStream, number: u32) {
    let [high, low] = u16::try_from(number + 1).unwrap().to_be_bytes();
    exchange(publisher, &large(number), &[0x40, 2, high, low]);
}

/// Clients have taken every descriptor that there is; the log goes from file to file with its own.
#[cfg(target_os = "linux")]
#[test]
fn who_takes_all_descriptors_does_not_stop_the_log() {
    let directory = Directory::new("descriptors");
    let data = directory.path().join("data").display().to_string();
    let mut broker = Running::start(keeping(&data));
    let address = broker.address();
    let mut publisher = publisher_to_who_is_away(&address);
    broker.limit_descriptors(64);
    let crowd: Vec<_> = (0..64).map(|_| TcpStream::connect(&address)).collect();
    broker.wait_for("cannot accept connections");
    (0..200).for_each(|number| publish_large(&mut publisher, number));
    let files = std::fs::read_dir(&data).unwrap().count();
    assert!(files > 30, "{files}");
    drop(crowd);
    broker.wait_for("everybody is accepted again");
}

/// Two megabytes wait, and 64 KiB of them may be in memory.
#[test]
fn what_waits_on_disk_comes_back_in_order_after_a_crash() {
    const COUNT: u32 = 200;
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
    leave(transport);
    let mut publisher = TcpStream::connect(broker_address(&broker)).unwrap();
    exchange(&mut publisher, &CONNECT_OTHER, b"\x20\x02\0\0");
    (0..COUNT).for_each(|number| publish_large(&mut publisher, number));
    broker.kill();

    let mut broker = start();
    let mut transport = TcpStream::connect(broker.address()).unwrap();
    exchange(&mut transport, CONNECT, b"\x20\x02\x01\0");
    for number in 0..COUNT {
        let [high, low] = u16::try_from(number + 1).unwrap().to_be_bytes();
        exchange(&mut transport, b"", &large(number));
        transport.write_all(&[0x40, 2, high, low]).unwrap();
    }
}
