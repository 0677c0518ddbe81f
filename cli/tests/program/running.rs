//! A broker that runs, and how it ends.

use crate::harness::{Directory, PATIENCE, Running, forgetful, whimbrel};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

const ANY_PORT: &str = "tcp://127.0.0.1:0";

/// CONNECT of a 5.0 client called "a", clean start, keep alive of a minute.
const CONNECT: &[u8] = b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01a";

/// A transport on which CONNECT was sent, and the reason code of CONNACK.
fn connect(address: &str) -> (TcpStream, u8) {
    let mut transport = TcpStream::connect(address).unwrap();
    transport.set_read_timeout(Some(PATIENCE)).unwrap();
    transport.write_all(CONNECT).unwrap();
    let mut header = [0; 2];
    transport.read_exact(&mut header).unwrap();
    assert_eq!(header[0], 0x20, "a CONNACK");
    let mut rest = vec![0; header[1].into()];
    transport.read_exact(&mut rest).unwrap();
    (transport, rest[1])
}

#[test]
fn it_says_where_it_listens_and_what_it_promises_and_to_no_log_what_to_type() {
    let mut broker = Running::start(forgetful(&["-l", ANY_PORT]));
    let address = broker.address();
    broker.wait_for("what is acknowledged is lost when the broker stops");
    let (_, reason) = connect(&address);
    assert_eq!(reason, 0);
    let line = broker.wait_for("client disconnected");
    let expected = r#"version=5.0 "#;
    assert!(line.contains(expected), "{line}");
    let expected = r#"reason="connection closed without DISCONNECT""#;
    assert!(line.ends_with(expected), "{line}");
    assert!(
        !broker.said.iter().any(|line| line.contains("type")),
        "{:#?}",
        broker.said
    );
}

#[test]
fn it_listens_at_every_address() {
    let mut broker = Running::start(forgetful(&["serve", "-l", ANY_PORT, "-l", ANY_PORT]));
    let (first, second) = (broker.address(), broker.address());
    assert_ne!(first, second);
    TcpStream::connect(first).unwrap();
    TcpStream::connect(second).unwrap();
}

#[test]
fn an_open_address_comes_with_the_remedy() {
    let mut broker = Running::start(forgetful(&["-l", "tcp://0.0.0.0:0"]));
    let line = broker.wait_for("will be refused");
    assert!(
        line.contains("WHIMBREL_LISTENER_ALLOW_ANONYMOUS=always"),
        "{line}"
    );

    let mut command = forgetful(&["-l", "tcp://0.0.0.0:0"]);
    command.env("WHIMBREL_LISTENER_ALLOW_ANONYMOUS", "always");
    let mut broker = Running::start(command);
    broker.wait_for("is let in without showing anything");
    assert!(broker.said.iter().all(|line| !line.contains("refused")));
}

#[test]
fn flags_win_over_the_environment_that_over_the_file() {
    let directory = Directory::new("precedence");
    let file = directory.write("json.toml", "[log]\nformat = \"json\"\n");
    for (flag, variable, file, json) in [
        (None, None, None, false),
        (None, None, Some(&file), true),
        (None, Some("human"), Some(&file), false),
        (Some("json"), Some("human"), Some(&file), true),
        (Some("human"), None, Some(&file), false),
        (None, Some("json"), None, true),
    ] {
        let mut command = forgetful(&["-l", ANY_PORT]);
        if let Some(file) = file {
            command.args(["-c", file]);
        }
        if let Some(format) = variable {
            command.env("WHIMBREL_LOG_FORMAT", format);
        }
        if let Some(format) = flag {
            command.args(["--log-format", format]);
        }
        let mut broker = Running::start(command);
        let line = broker.wait_for("listening");
        let case = format!("flag {flag:?}, variable {variable:?}, file {file:?}: {line}");
        assert_eq!(line.starts_with('{'), json, "{case}");
    }
}

#[test]
fn a_variable_may_name_the_file() {
    let directory = Directory::new("named");
    let file = directory.write(
        "whimbrel.toml",
        "[log]\nformat = \"json\"\n[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n",
    );
    let mut command = forgetful(&[]);
    command.env("WHIMBREL_CONFIG", &file);
    let mut broker = Running::start(command);
    let line = broker.wait_for("listening");
    assert!(line.starts_with('{'), "{line}");
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = forgetful(&["-l", &format!("tcp://{address}")])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains(&address) && stderr.contains("in use"),
        "{stderr}"
    );
}

#[test]
fn a_data_directory_that_is_a_file_is_said_to_be_one() {
    let directory = Directory::new("data-file");
    let file = directory.write("data", "");
    let output = whimbrel(&["-l", ANY_PORT, "-d", &file]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("is a file and no directory"), "{stderr}");
}

#[test]
fn an_address_of_another_machine_is_one_clear_line() {
    // Kept for documentation, so no machine has it.
    let output = forgetful(&["-l", "tcp://192.0.2.1:1883"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains("192.0.2.1:1883"), "{stderr}");
}

#[cfg(unix)]
#[test]
fn either_signal_stops_it_in_order() {
    for signal in ["INT", "TERM"] {
        let mut broker = Running::start(forgetful(&["-l", ANY_PORT]));
        broker.address();
        broker.signal(signal);
        assert_eq!(broker.wait().code(), Some(0), "{signal}");
        let last = broker.said.last().unwrap();
        assert!(last.contains("stopped"), "{last}");
    }
}

#[cfg(unix)]
#[test]
fn clients_are_told_that_it_stops() {
    let mut broker = Running::start(forgetful(&["-l", ANY_PORT]));
    let (mut client, reason) = connect(&broker.address());
    assert_eq!(reason, 0x00);
    broker.signal("INT");
    let mut last = Vec::new();
    client.read_to_end(&mut last).unwrap();
    assert_eq!((last[0], last[2]), (0xe0, 0x8b), "{last:02x?}");
    drop(client);
    assert_eq!(broker.wait().code(), Some(0));
}

#[test]
fn a_listener_may_be_closed_to_everyone() {
    let mut command = forgetful(&["-l", ANY_PORT]);
    command.env("WHIMBREL_LISTENER_ALLOW_ANONYMOUS", "never");
    let mut broker = Running::start(command);
    let (_, reason) = connect(&broker.address());
    assert_eq!(reason, 0x87);
    broker.wait_for("client refused");
}

#[cfg(unix)]
#[test]
fn a_second_signal_does_not_wait_for_clients() {
    for second in ["INT", "TERM"] {
        let mut command = forgetful(&["-l", ANY_PORT]);
        // Longer than this test waits.
        command.env("WHIMBREL_SERVER_SHUTDOWN_GRACE_MS", "600000");
        let mut broker = Running::start(command);
        // It is told, and does not go.
        let (_client, _) = connect(&broker.address());
        broker.signal("INT");
        broker.wait_for("stopping");
        broker.signal(second);
        broker.wait_for("stopping at once");
        assert_eq!(broker.wait().code(), Some(0), "{second}");
    }
}

#[cfg(unix)]
#[test]
fn statistics_are_written_on_demand() {
    let mut broker = Running::start(forgetful(&["-l", ANY_PORT]));
    let _silent = TcpStream::connect(broker.address()).unwrap();
    broker.signal("USR1");
    let line = broker.wait_for("statistics");
    for expected in ["shard=0", "connections_accepted=", "dropped_queue_full=0"] {
        assert!(line.contains(expected), "{line}");
    }
}

/// A flood for one reason does not hide another.
#[test]
fn refusals_are_told_by_their_reason_with_the_user_name() {
    let directory = Directory::new("refusals");
    let text = "[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n[limits]\nsessions_maximum = 1\n\
                [quotas]\nconnections_per_user_maximum = 1\n";
    let file = directory.write("whimbrel.toml", text);
    let mut broker = Running::start(forgetful(&["-c", &file]));
    let address = broker.address();
    let (_first, reason) = connect(&address);
    assert_eq!(reason, 0);
    // The same with another identifier and the user name "u".
    let mut other = TcpStream::connect(&address).unwrap();
    other
        .write_all(b"\x10\x11\0\x04MQTT\x05\x82\0\x3c\0\0\x01b\0\x01u")
        .unwrap();
    let line = broker.wait_for("client refused");
    for expected in [
        r#"client_id="b" username="u""#,
        r#"reason="broker limit: quota exceeded (limits.sessions_maximum)""#,
    ] {
        assert!(line.contains(expected), "{line}");
    }
}

#[cfg(all(unix, feature = "tokio"))]
#[test]
fn several_shards_have_a_sum() {
    let mut broker = Running::start(forgetful(&["-l", "tcp://127.0.0.1:0", "-t", "2"]));
    broker.address();
    broker.signal("USR1");
    broker.wait_for("total statistics");
    broker.wait_for("shard=1");
    broker.signal("TERM");
    assert!(broker.wait().success());
}

#[cfg(unix)]
#[test]
fn the_level_of_the_log_is_taken_over() {
    let directory = Directory::new("log-level");
    let text = "[[listener]]\nurl = \"tcp://127.0.0.1:0\"\n";
    let file = directory.write("whimbrel.toml", text);
    let mut broker = Running::start(forgetful(&["-c", &file]));
    let address = broker.address();
    directory.write(
        "whimbrel.toml",
        &format!("[log]\nlevel = \"debug\"\n{text}"),
    );
    broker.signal("HUP");
    broker.wait_for("reloaded");
    let (_client, _) = connect(&address);
    broker.wait_for("client connected");
    directory.write(
        "whimbrel.toml",
        &format!("[log]\nlevel = \"error\"\n{text}"),
    );
    broker.signal("HUP");
    broker.signal("TERM");
    assert!(broker.wait().success());
}

/// Each of them has a line; a pipe that nobody reads takes a few hundred.
#[cfg(unix)]
#[test]
fn nobody_waits_for_who_reads_the_log() {
    let mut broker = Running::start_unheard(forgetful(&["-l", ANY_PORT]));
    let address = broker.address();
    let (mut witness, _) = connect(&address);
    for _ in 0..2_000 {
        assert_eq!(crate::raw::answer(&address, "", ""), 0);
    }
    witness.write_all(b"\xc0\0").unwrap();
    let mut pong = [0; 2];
    witness.read_exact(&mut pong).unwrap();
    assert_eq!(pong, *b"\xd0\0");
    // Whoever reads it again is told, with the next line.
    std::thread::spawn(move || {
        while let Ok(mut stream) = TcpStream::connect(&address) {
            let _ = stream.write_all(CONNECT);
            let _ = stream.read(&mut [0; 64]);
        }
    });
    broker.wait_for("lines of this log were lost: nobody has read them");
}

#[cfg(unix)]
#[test]
fn a_unix_socket_is_open_to_whoever_may_open_its_file() {
    use std::os::unix::net::UnixStream;
    let directory = Directory::new("unix");
    let path = directory.path().join("whimbrel.sock");
    let url = format!("unix://{}", path.display());
    let mut broker = Running::start(forgetful(&["-l", &url]));
    broker.wait_for(&format!("listening url={url}"));
    let mut transport = UnixStream::connect(&path).unwrap();
    transport.set_read_timeout(Some(PATIENCE)).unwrap();
    transport.write_all(CONNECT).unwrap();
    let mut answer = [0; 4];
    transport.read_exact(&mut answer).unwrap();
    assert_eq!((answer[0], answer[3]), (0x20, 0), "it is let in");
    broker.signal("TERM");
    assert!(broker.wait().success());
    assert!(!path.exists());
}
