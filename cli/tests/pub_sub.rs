//! `whimbrel pub` and `whimbrel sub` as people use them: the real binary, against a broker that
//! runs in this process.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is the report")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use whimbrel_core::codec::packet::{QoS, SubscribeOptions, Version};
use whimbrel_core::codec::{Packet, PropertyBuffer, decode, frame};
use whimbrel_tokio::client::{self, Config, Connection, Event, Events, Message};
use whimbrel_tokio::{Handle, ListenerConfig, Server, ServerConfig};

struct Broker {
    _handle: Handle,
    address: String,
    port: String,
}

impl Broker {
    fn start() -> Self {
        let handle = Server::new(ServerConfig {
            listeners: vec![ListenerConfig::at("127.0.0.1:0".parse().unwrap())],
            ..ServerConfig::default()
        })
        .start()
        .unwrap();
        let address = handle.addresses()[0];
        Self {
            _handle: handle,
            address: address.to_string(),
            port: address.port().to_string(),
        }
    }

    /// The program with these arguments, and this broker's port.
    fn program(&self, arguments: &[&str]) -> Command {
        let mut program = program(arguments);
        program.args(["-h", "127.0.0.1", "-p", &self.port]);
        program
    }

    /// Runs the program to its end.
    fn run(&self, arguments: &[&str]) -> Output {
        self.program(arguments).output().unwrap()
    }

    /// A subscriber to everything.
    async fn watch(&self, config: Config) -> (Connection, Events) {
        let (connection, events) = client::open(&self.address, config).await.unwrap();
        let options = SubscribeOptions {
            maximum_qos: QoS::ExactlyOnce,
            retain_as_published: true,
            ..SubscribeOptions::default()
        };
        let filters = vec![("#".to_owned(), options)];
        connection
            .subscribe(filters, PropertyBuffer::new())
            .await
            .unwrap();
        (connection, events)
    }
}

fn program(arguments: &[&str]) -> Command {
    // As in `program/harness.rs`.
    let built = || env!("CARGO_BIN_EXE_whimbrel").into();
    let mut program = Command::new(std::env::var_os("WHIMBREL").unwrap_or_else(built));
    program
        .args(arguments)
        .env_remove("WHIMBREL_PASSWORD")
        .stdin(Stdio::null());
    program
}

fn spawn(mut program: Command) -> Child {
    program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    program.spawn().unwrap()
}

#[track_caller]
fn assert_silent_success(output: &Output) {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(output.status.code(), Some(0));
}

#[track_caller]
fn assert_failure(output: &Output, code: i32, expected: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(expected), "{stderr}");
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert_eq!(output.stdout, b"");
}

async fn next(events: &mut Events) -> Message {
    let event = tokio::time::timeout(Duration::from_secs(20), events.next()).await;
    match event.expect("a message comes in time") {
        Some(Event::Message { message, .. }) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_message_arrives_in_every_version_at_every_qos() {
    let broker = Broker::start();
    let (_watching, mut events) = broker.watch(Config::default()).await;
    for version in ["3.1", "4", "5"] {
        for qos in ["0", "1", "2"] {
            let arguments = [
                "pub", "-V", version, "-q", qos, "-t", "a/b", "-m", "-x", "-r",
            ];
            assert_silent_success(&broker.run(&arguments));
            let message = next(&mut events).await;
            assert_eq!(message.topic, "a/b");
            assert_eq!(message.payload, b"-x");
            assert_eq!((message.qos as u8).to_string(), qos);
            assert!(message.retain);
        }
    }
}

#[tokio::test]
async fn properties_arrive() {
    let broker = Broker::start();
    let (_watching, mut events) = broker.watch(Config::default()).await;
    let output = broker.run(&[
        "pub",
        "-t",
        "t",
        "-n",
        "-D",
        "content-type=text/plain",
        "-D",
        "user-property=k=v=w",
        "-D",
        "publish:response-topic=answers",
        "-D",
        "correlation-data=7",
        "-D",
        "connect:user-property=a=b",
    ]);
    assert_silent_success(&output);
    let message = next(&mut events).await;
    let properties = message.properties.as_properties();
    assert_eq!(message.payload, b"");
    assert_eq!(properties.content_type(), Some("text/plain"));
    assert_eq!(properties.response_topic(), Some("answers"));
    assert_eq!(properties.correlation_data(), Some(&b"7"[..]));
    assert_eq!(properties.user_property(), Some(("k", "v=w")));
}

#[tokio::test]
async fn payloads_come_from_files_and_the_standard_input() {
    let broker = Broker::start();
    let (_watching, mut events) = broker.watch(Config::default()).await;
    let path = std::env::temp_dir().join(format!("whimbrel-pub-{}", std::process::id()));
    std::fs::write(&path, b"from\na file\n").unwrap();
    let output = broker.run(&["pub", "-t", "t", "-f", path.to_str().unwrap()]);
    std::fs::remove_file(&path).unwrap();
    assert_silent_success(&output);
    assert_eq!(next(&mut events).await.payload, b"from\na file\n");

    for arguments in [&["-s"][..], &["-f", "-"]] {
        let arguments = [&["pub", "-t", "t"], arguments].concat();
        let mut child = spawn(broker.program(&arguments));
        child.stdin.take().unwrap().write_all(b"in\0put\n").unwrap();
        assert_silent_success(&child.wait_with_output().unwrap());
        assert_eq!(next(&mut events).await.payload, b"in\0put\n");
    }
    let missing = broker.run(&["pub", "-t", "t", "-f", "/nonexistent/file"]);
    assert_failure(&missing, 2, "cannot read /nonexistent/file");
    #[cfg(unix)]
    {
        let endless = broker.run(&["pub", "-t", "t", "-f", "/dev/zero"]);
        assert_failure(&endless, 1, "/dev/zero is too large");
    }
}

#[tokio::test]
async fn lines_arrive_in_order_and_all_of_them() {
    let broker = Broker::start();
    let (_watching, mut events) = broker.watch(Config::default()).await;
    for qos in ["0", "1", "2"] {
        let mut child = spawn(broker.program(&["pub", "-t", "t", "-q", qos, "-l"]));
        let mut stdin = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || {
            (0..3_000).for_each(|n| writeln!(stdin, "line {n}").unwrap());
            write!(stdin, "the last").unwrap();
        });
        for n in 0..3_000 {
            assert_eq!(
                next(&mut events).await.payload,
                format!("line {n}").as_bytes()
            );
        }
        assert_eq!(next(&mut events).await.payload, b"the last");
        writer.join().unwrap();
        assert_silent_success(&child.wait_with_output().unwrap());
    }
}

#[tokio::test]
async fn a_line_that_no_message_can_be_is_named() {
    let broker = Broker::start();
    let (_watching, mut events) = broker.watch(Config::default()).await;
    let mut child = spawn(broker.program(&["pub", "-t", "t", "-q", "1", "-l"]));
    let mut stdin = child.stdin.take().unwrap();
    // More than this broker takes.
    let large = vec![b'x'; 2 << 20];
    stdin.write_all(b"first\n\n").unwrap();
    stdin.write_all(&large).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_failure(
        &output,
        1,
        "line 3: the packet is larger than the server takes",
    );
    assert_eq!(next(&mut events).await.payload, b"first");
    assert_eq!(next(&mut events).await.payload, b"");
    #[cfg(unix)]
    {
        let endless = std::fs::File::open("/dev/zero").unwrap();
        let mut program = broker.program(&["pub", "-t", "t", "-l"]);
        let output = program.stdin(endless).output().unwrap();
        assert_failure(&output, 1, "line 1: the packet is larger than");
    }
}

#[test]
fn sub_writes_in_every_format() {
    let broker = Broker::start();
    assert_silent_success(&broker.run(&["pub", "-t", "a/b", "-m", "x\"y", "-r", "-q", "1"]));
    let written = |arguments: &[&str]| {
        let arguments = [
            &["sub", "-t", "a/+", "-q", "1", "-C", "1", "-W", "20"],
            arguments,
        ];
        let output = broker.run(&arguments.concat());
        assert_silent_success(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(written(&[]), "x\"y\n");
    assert_eq!(written(&["-v"]), "a/b x\"y\n");
    assert_eq!(written(&["--hex", "-V", "3.1.1"]), "782279\n");
    let json = written(&["--json", "-D", "subscription-identifier=9"]);
    let (time, rest) = json.split_once(',').unwrap();
    assert!(
        time.starts_with("{\"time\":\"2") && time.ends_with("Z\""),
        "{json}"
    );
    assert_eq!(
        rest,
        "\"topic\":\"a/b\",\"qos\":1,\"retain\":true,\"payload\":\"x\\\"y\",\
         \"properties\":{\"subscription_identifiers\":[9]}}\n"
    );
}

#[test]
fn sub_leaves_out_what_is_not_wanted() {
    let broker = Broker::start();
    for topic in ["a", "b"] {
        assert_silent_success(&broker.run(&["pub", "-t", topic, "-m", topic, "-r"]));
    }
    let output = broker.run(&["sub", "-t", "#", "-T", "a", "-C", "1", "-W", "20"]);
    assert_eq!(output.stdout, b"b\n");
    let output = broker.run(&["sub", "-t", "#", "-R", "-W", "1"]);
    assert_silent_success(&output);
    assert_eq!(output.stdout, b"");
    let output = broker.run(&[
        "sub",
        "-t",
        "#",
        "--retain-handling",
        "2",
        "-C",
        "1",
        "-W",
        "1",
    ]);
    assert_failure(&output, 1, "0 of 1 messages came within 1 seconds");
    // Nor does it wait longer for who takes connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let arguments = ["sub", "-p", &port, "-t", "#", "-W", "1"];
    let output = program(&arguments).output().unwrap();
    assert_failure(&output, 1, "nobody has answered within 1 seconds");
}

#[tokio::test]
async fn sub_takes_no_more_of_its_session_than_it_writes() {
    let broker = Broker::start();
    let config = Config {
        client_id: "me".into(),
        clean_start: false,
        session_expiry_s: 100,
        ..Config::default()
    };
    let (session, mut events) = broker.watch(config).await;
    session.disconnect(&mut events).await;
    for n in 1..=5 {
        assert_silent_success(&broker.run(&["pub", "-q", "1", "-t", "t", "-m", &n.to_string()]));
    }
    let take = |count| {
        let arguments = [
            "sub", "-c", "-i", "me", "-q", "2", "-t", "#", "-C", count, "-W", "20",
        ];
        let output = broker.run(&arguments);
        assert_silent_success(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(take("3"), "1\n2\n3\n");
    assert_eq!(take("2"), "4\n5\n");
    // Given up, the session gets nothing more.
    assert_silent_success(&broker.run(&["sub", "-c", "-i", "me", "-U", "#"]));
    assert_silent_success(&broker.run(&["pub", "-q", "1", "-t", "t", "-m", "6"]));
    let output = broker.run(&["sub", "-c", "-i", "me", "-t", "other", "-W", "1"]);
    assert_silent_success(&output);
    assert_eq!(output.stdout, b"");
}

#[cfg(unix)]
#[tokio::test]
async fn an_interrupt_ends_sub_without_its_will() {
    let broker = Broker::start();
    assert_silent_success(&broker.run(&["pub", "-t", "kept", "-m", "x", "-r"]));
    let (_watching, mut events) = broker.watch(Config::default()).await;
    next(&mut events).await;
    for signal in ["-INT", "-TERM"] {
        let arguments = [
            "sub",
            "-t",
            "kept",
            "--will-topic",
            "will",
            "--will-payload",
            "gone",
        ];
        let mut child = spawn(broker.program(&arguments));
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "x\n");
        let kill = Command::new("kill")
            .args([signal, &child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        assert_silent_success(&child.wait_with_output().unwrap());
        assert_silent_success(&broker.run(&["pub", "-t", "t", "-m", "next"]));
        assert_eq!(next(&mut events).await.payload, b"next");
    }
}

#[test]
fn a_reader_that_leaves_ends_sub_quietly() {
    let broker = Broker::start();
    assert_silent_success(&broker.run(&["pub", "-t", "t", "-m", "x", "-r"]));
    let mut child = spawn(broker.program(&["sub", "-t", "t"]));
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    drop(stdout);
    assert_silent_success(&broker.run(&["pub", "-t", "t", "-m", "y", "-q", "1"]));
    assert_silent_success(&child.wait_with_output().unwrap());
}

#[test]
fn what_is_wrong_is_told_in_one_line() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port().to_string()
    };
    let output = program(&["pub", "-p", &nobody, "-t", "t", "-m", "x"])
        .output()
        .unwrap();
    assert_failure(
        &output,
        1,
        &format!("cannot connect to localhost:{nobody}: "),
    );
    assert_failure(
        &output,
        1,
        "start one with `whimbrel`, or name another with -h and -p",
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1);

    for (arguments, expected) in [
        (&["pub", "-t", "t"][..], "give one of -m, -f, -l, -s, -n"),
        (&["pub", "-t", "t", "-n", "-m", "x"], "give one of"),
        (
            &["pub", "-t", "a/#", "-m", "x"],
            "a topic name contains a wildcard",
        ),
        (&["pub", "-t", "t", "-n", "-q", "3"], "expected 0, 1 or 2"),
        (
            &["pub", "-t", "t", "-n", "-V", "6"],
            "expected 3.1, 3.1.1 or 5",
        ),
        (
            &["pub", "-t", "t", "-n", "-V", "3.1.1", "-x", "1"],
            "-x needs MQTT 5.0",
        ),
        (
            &["pub", "-t", "t", "-n", "-D", "colour=red"],
            "no property colour",
        ),
        (&["pub", "-t", "t", "-n", "--will-retain"], "--will-topic"),
        (&["pub", "-t", "t", "-n", "-V", "3.1", "-P", "x"], "-u"),
        (&["sub"], "-t\nRun `whimbrel sub --help`"),
        (
            &["sub", "-t", "t", "-h", "127.0.0.1:1884"],
            "-h 127.0.0.1 -p 1884",
        ),
        (&["sub", "-t", "t", "-h", "[::1]:1884"], "-h [::1] -p 1884"),
        (
            &["pub", "-t", "t", "-n", "-h", "unix:/run/s"],
            "write -h unix:///run/s",
        ),
        (
            &["pub", "-t", "t", "-n", "--cafile", "f"],
            "unknown flag --cafile; did you mean --ca?",
        ),
        (
            &["pub", "-t", "t", "-n", "--insecure"],
            "write -h mqtts://NAME",
        ),
        (&["sub", "-t", "a/#/b"], "`#` is not the whole last level"),
        (&["sub", "-t", "t", "-c"], "-c needs -i"),
        (&["sub", "-t", "t", "--hex", "--json"], "exclude each other"),
        (
            &["sub", "-t", "t", "--no-local", "-V", "3.1.1"],
            "--no-local needs MQTT 5.0",
        ),
    ] {
        assert_failure(&program(arguments).output().unwrap(), 2, expected);
    }
}

#[cfg(feature = "tls")]
#[test]
fn a_file_that_is_not_what_it_should_be_is_a_mistake() {
    let authority = whimbrel_tests::authority::Authority::new("pub-files");
    let (good, other) = (
        authority.client("a", "a", "b"),
        authority.client("c", "c", "d"),
    );
    let (ca, text) = (authority.file(), authority.write("text", "no PEM"));
    let none = authority.path("none");
    let (certificate, key) = (good.certificate.as_str(), good.key.as_str());
    for (arguments, flag, file, expected) in [
        (&["--ca", &none][..], "--ca", &*none, "cannot read"),
        (
            &["--ca", &ca, "--ca", &text],
            "--ca",
            &text,
            "no certificate; name a file",
        ),
        (
            &["--ca", key],
            "--ca",
            key,
            "no certificate; it has a private key",
        ),
        (
            &["--cert", &none, "--key", key],
            "--cert",
            &none,
            "cannot read",
        ),
        (
            &["--cert", &text, "--key", key],
            "--cert",
            &text,
            "no certificate; name a file",
        ),
        (
            &["--cert", certificate, "--key", &none],
            "--key",
            &none,
            "cannot read",
        ),
        (
            &["--cert", certificate, "--key", &text],
            "--key",
            &text,
            "should have one in PEM",
        ),
        (
            &["--cert", certificate, "--key", &other.key],
            "--key",
            &other.key,
            "is not the key of",
        ),
    ] {
        for command in [&["pub", "-n"][..], &["sub"]] {
            let server = ["-t", "t", "-h", "mqtts://127.0.0.1:1"];
            let output = program(&[command, &server, arguments].concat())
                .output()
                .unwrap();
            assert_failure(&output, 2, &format!("whimbrel: {flag}: "));
            assert_failure(&output, 2, file);
            assert_failure(&output, 2, expected);
        }
    }
    // With good ones it is tried.
    let server = ["pub", "-n", "-t", "t", "-h", "mqtts://127.0.0.1:1"];
    let files = ["--ca", &ca, "--cert", certificate, "--key", key];
    let output = program(&[&server[..], &files].concat()).output().unwrap();
    assert_failure(&output, 1, "cannot connect to tls://127.0.0.1:1: ");
}

#[test]
fn a_will_that_waits_needs_a_session_that_does() {
    let broker = Broker::start();
    for (arguments, waits) in [
        (&["--will-delay", "5"][..], false),
        (&["--will-delay", "5", "-x", "0"], false),
        (&["--will-delay", "5", "-c", "-i", "me", "-x", "0"], false),
        (&["--will-delay", "0"], true),
        (&["--will-delay", "5", "-x", "9"], true),
        (&["--will-delay", "5", "-c", "-i", "me"], true),
    ] {
        let own = ["pub", "-t", "t", "-n", "--will-topic", "w"];
        let output = broker.run(&[&own, arguments].concat());
        match waits {
            true => assert_silent_success(&output),
            false => assert_failure(&output, 2, "--will-delay needs -x or -c: a will is sent"),
        }
    }
}

/// Answers one connection with these bytes and gives the CONNECT it got.
fn play_server(answer: &'static [u8]) -> (String, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut connect = vec![0; 4_096];
        let len = stream.read(&mut connect).unwrap();
        connect.truncate(len);
        stream.write_all(answer).unwrap();
        connect
    });
    (port, server)
}

#[test]
fn the_reason_of_the_server_is_told() {
    for (answer, expected) in [
        (
            &b"\x20\x03\0\x86\0"[..],
            "bad user name or password; check -u and the password",
        ),
        (
            b"\x20\x0C\0\x87\x09\x1F\0\x06no way",
            "not authorized (no way); check -u",
        ),
        (
            b"\x20\x0C\0\x8A\x09\x1F\0\x06banned",
            "refused the connection: banned\n",
        ),
        (
            b"\x20\x03\0\x85\0",
            "client identifier not valid; name another with -i",
        ),
        (
            b"\x20\x03\0\0\0\xE0\x02\x8E\0",
            "session taken over; another client has the same",
        ),
        (
            b"",
            "; if that port is for TLS, write -h mqtts://127.0.0.1:",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "speaks no plain MQTT; if that port is for TLS, write -h mqtts://127.0.0.1:",
        ),
        // The alert of a server that expects TLS.
        (b"\x15\x03\x03\0\x02\x02\x32", "if that port is for TLS"),
        (
            b"\xD0\0",
            "the server broke the protocol: a packet comes before CONNACK",
        ),
    ] {
        let (port, server) = play_server(answer);
        let arguments = ["sub", "-h", "127.0.0.1", "-p", &port, "-t", "t"];
        let output = program(&arguments).output().unwrap();
        assert_failure(&output, 1, expected);
        server.join().unwrap();
    }
}

#[test]
fn passwords_come_from_where_others_do_not_look() {
    let path = std::env::temp_dir().join(format!("whimbrel-password-{}", std::process::id()));
    std::fs::write(&path, b"from a file\r\nnot this").unwrap();
    let file = path.to_str().unwrap();
    for (arguments, expected) in [
        (&["-u", "me", "-P", "typed"][..], Some(&b"typed"[..])),
        (&["-u", "me", "--password-file", file], Some(b"from a file")),
        (&["-u", "me"], Some(b"from the environment")),
        (&[], None),
    ] {
        let (port, server) = play_server(b"");
        let own = [
            "pub",
            "-h",
            "127.0.0.1",
            "-p",
            &port,
            "-t",
            "t",
            "-n",
            "-V",
            "3.1.1",
        ];
        let mut program = program(&[&own, arguments].concat());
        program
            .env("WHIMBREL_PASSWORD", "from the environment")
            .output()
            .unwrap();
        let connect = server.join().unwrap();
        let (frame, _) = frame::split(&connect, 4_096).unwrap().unwrap();
        let Packet::Connect(connect) = decode(Version::V4, frame).unwrap() else {
            panic!("no CONNECT");
        };
        assert_eq!(connect.password, expected);
    }
    std::fs::remove_file(&path).unwrap();
}
