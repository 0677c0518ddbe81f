//! Class 16: ways to administer a broker that others have found first. There is none over a
//! network: files, signals and the program itself are all there is, and they are the system's to
//! guard. What is shown here is that nothing else came in unnoticed. Secrets in the log are in
//! `authentication`.

use crate::harness::{Directory, Running, whimbrel};
use crate::raw::{Raw, connect, text};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The inodes of the sockets of a process.
fn sockets(process: u32) -> BTreeSet<String> {
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let links = open.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    let inode = |link: std::path::PathBuf| {
        let link = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(link.to_owned())
    };
    links.filter_map(inode).collect()
}

/// The ports of these sockets that somebody could connect to.
fn open_ports(inodes: &BTreeSet<String>) -> Vec<u16> {
    let mut ports = Vec::new();
    // Listening, and for UDP not connected.
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let table = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (local, port) = fields[1].rsplit_once(':').unwrap();
            if fields[3] == state && inodes.contains(fields[9]) {
                assert_eq!(local, "0100007F", "127.0.0.1");
                ports.push(u16::from_str_radix(port, 16).unwrap());
            }
        }
    }
    ports
}

#[test]
fn nothing_can_be_reached_but_the_listeners_that_are_named() {
    let mut command = whimbrel(&[
        "--memory",
        "-l",
        "tcp://127.0.0.1:0",
        "-l",
        "ws://127.0.0.1:0",
    ]);
    command.env(
        "WHIMBREL_SERVER_THREADS",
        if cfg!(feature = "tokio") { "2" } else { "1" },
    );
    let mut broker = Running::start(command);
    let port = |address: String| -> u16 {
        let address = address.split('/').next().unwrap();
        address.rsplit_once(':').unwrap().1.parse().unwrap()
    };
    let mut named = vec![port(broker.address()), port(broker.address_of("ws"))];
    named.sort_unstable();
    let mut open = open_ports(&sockets(broker.id()));
    open.sort_unstable();
    // Each thread may have an end of its own.
    open.dedup();
    assert_eq!(open, named);
}

/// Every path below a directory, as text.
fn all_below(directory: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all_below(&path));
        }
        found.insert(path.display().to_string());
    }
    found
}

/// What clients are called, and what they call their topics, is nowhere part of the name of a file.
#[test]
fn no_name_that_a_client_chooses_is_a_path() {
    let directory = Directory::new("names-and-paths");
    let data = directory.path().join("data");
    let data_text = data.to_str().unwrap();
    let mut broker = Running::start(whimbrel(&["-l", "tcp://127.0.0.1:0", "-d", data_text]));
    let address = broker.address();
    let names = [
        "../../escaped",
        "/escaped",
        "..",
        "a/../../escaped",
        "escaped",
    ];
    for name in names {
        let mut client = Raw::dial(&address);
        // 3.1.1, with a session that is kept.
        let head = b"\0\x04MQTT\x04\0\0\x3c";
        client.send(0x10, &[&head[..], &text(name.as_bytes())].concat());
        assert_eq!(client.next(), (0x20, vec![0, 0]));
        client.send(0x82, &[&[0, 1][..], &text(name.as_bytes()), &[1]].concat());
        assert_eq!(client.next(), (0x90, vec![0, 1, 1]));
        // Retained, and to be acknowledged when it is kept.
        let publish = [&text(name.as_bytes())[..], &[0, 2], b"x"].concat();
        client.send(0x33, &publish);
        while client.next().0 != 0x40 {}
    }
    let (_, answer) = connect(&address, "", "");
    assert_eq!(answer, 0);
    broker.signal("TERM");
    assert!(broker.wait().success());
    for path in all_below(directory.path()) {
        assert!(!path.contains("escaped"), "{path}");
        let is_ours = path == data_text || path.starts_with(&format!("{data_text}/"));
        assert!(is_ours, "{path}");
    }
    assert!(!directory.path().join("../escaped").exists());
    assert!(!Path::new("/escaped").exists());
}

/// Without a configuration, nobody outside of this machine is served, and nobody has a password
/// that others know.
#[test]
fn without_configuration_the_broker_is_this_machines_alone() {
    let output = whimbrel(&["check", "--print-defaults"]).output().unwrap();
    let defaults = String::from_utf8(output.stdout).unwrap();
    let directory = Directory::new("open-by-default");
    let file = directory.write("whimbrel.toml", &defaults);
    let output = whimbrel(&["check", &file]).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let listens: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("listens"))
        .collect();
    assert_eq!(
        listens,
        ["listens at tcp://127.0.0.1:1883 (open to this machine)"]
    );
    assert!(!said.contains("asks "), "{said}");
}
