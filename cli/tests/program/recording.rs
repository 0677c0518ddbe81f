//! `whimbrel serve --record` and `whimbrel replay`.

use crate::harness::{Directory, Running, forgetful, whimbrel};
use std::path::PathBuf;
use std::process::Output;

const ANY_PORT: &str = "tcp://127.0.0.1:0";

/// A broker that records, and the port it listens on.
fn recording(file: &str, more: &[&str]) -> (Running, String) {
    let mut arguments = vec!["serve", "-l", ANY_PORT, "--record", file];
    arguments.extend(more);
    let mut broker = Running::start(forgetful(&arguments));
    let (_, port) = broker.address().rsplit_once(':').map(owned).unwrap();
    (broker, port)
}

fn owned((host, port): (&str, &str)) -> (String, String) {
    (host.to_owned(), port.to_owned())
}

fn bench(port: &str, line: &str) {
    let mut command = whimbrel(&["bench"]);
    command.args(line.split(' ')).args(["--port", port]);
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
}

/// What replaying says, and how it ends.
fn replay(arguments: &[&str]) -> (String, String, Option<i32>) {
    let output = whimbrel(&["replay"]).args(arguments).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    (said, complaint, output.status.code())
}

fn file_of(directory: &Directory) -> String {
    directory.path().join("incident").display().to_string()
}

fn parts(directory: &Directory) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.path()).unwrap();
    let mut parts: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    parts.sort();
    parts
}

#[cfg(unix)]
#[test]
fn what_a_thousand_clients_did_is_done_again() {
    let directory = Directory::new("recorded-thousand");
    let file = file_of(&directory);
    let (mut broker, port) = recording(&file, &[]);
    bench(&port, "idle --clients 1000 --duration 1");
    bench(&port, "pairs --count 2000 --qos 2 --clients 20 --version 5");
    bench(&port, "fan-out --count 50 --qos 1 --clients 50");
    broker.signal("TERM");
    assert!(broker.wait().success());
    let (said, complaint, code) = replay(&[&file]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    assert!(said.starts_with("the same came out: 1 parts"), "{said}");
    assert!(!said.contains("missing"), "{said}");
}

#[cfg(unix)]
#[test]
fn a_recording_tells_what_happened_and_keeps_passwords_to_itself() {
    let directory = Directory::new("recorded-told");
    let file = file_of(&directory);
    let (mut broker, port) = recording(&file, &["--record-redact-payloads"]);
    let published = whimbrel(&["pub", "-p", &port, "-t", "a/b", "-m", "nobody's business"])
        .args([
            "-q",
            "2",
            "-i",
            "pump",
            "-u",
            "somebody",
            "-P",
            "open sesame",
        ])
        .output();
    assert!(published.is_ok());
    broker.signal("TERM");
    broker.wait();
    let bytes = std::fs::read(&parts(&directory)[0]).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("somebody"));
    assert!(!text.contains("open sesame") && !text.contains("business"));
    let (said, ..) = replay(&[&file, "--client", "pump"]);
    for line in ["may \"somebody\" connect?", "-> CONNECT", "<- CONNACK"] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let (said, ..) = replay(&[&file, "--trace", "--until", "0s"]);
    assert!(!said.contains("CONNECT"), "{said}");
}

/// A process that was killed leaves what it had written; one that goes on later begins a new part;
/// and all of them together take no more than they may.
#[test]
fn a_recording_goes_on_after_a_kill_and_stays_a_ring() {
    let directory = Directory::new("recorded-ring");
    let file = file_of(&directory);
    let (broker, port) = recording(&file, &["--record-size", "1"]);
    bench(&port, "pairs --count 20000 --qos 0 --clients 2 --size 200");
    broker.kill();
    let before = parts(&directory);
    let size = |path: &PathBuf| path.metadata().unwrap().len();
    assert!(before.iter().map(size).sum::<u64>() <= (1 << 20) + (128 << 10));
    assert!(before.len() > 3, "{before:?}");
    assert!(!before[0].ends_with("incident.0.000001"), "{before:?}");
    let (said, complaint, code) = replay(&[&file]);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("the end is missing"), "{said}");

    let (broker, port) = recording(&file, &["--record-size", "1"]);
    bench(&port, "pairs --count 10 --qos 0 --clients 2");
    broker.kill();
    assert!(parts(&directory).last() > before.last());
}

/// What was recorded last is written soon, also when nothing else happens afterwards.
#[test]
fn the_last_of_what_happened_is_written_soon() {
    let directory = Directory::new("recorded-soon");
    let file = file_of(&directory);
    let (broker, port) = recording(&file, &["-t", "1"]);
    let sent = |message: &str| {
        let line = ["pub", "-p", &port, "-t", "a/b", "-q", "1", "-m", message];
        assert!(whimbrel(&line).status().unwrap().success());
    };
    sent("the first");
    sent("the second");
    let has_come = || {
        let bytes = std::fs::read(&parts(&directory)[0]).unwrap();
        String::from_utf8_lossy(&bytes).contains("the second")
    };
    for _ in 0..100 {
        if has_come() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    broker.kill();
    assert!(has_come());
}

#[test]
fn what_cannot_be_played_is_said() {
    let directory = Directory::new("recorded-not");
    let file = file_of(&directory);
    let (_, complaint, code) = replay(&[&file]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("there is no recording"), "{complaint}");
    let other = directory.write("other", "#!/bin/sh\n");
    let (_, complaint, code) = replay(&[&other]);
    assert_eq!(code, Some(1));
    assert!(complaint.contains("no part of a recording"), "{complaint}");
    let nowhere = format!("{file}/nowhere/incident");
    let output = forgetful(&["serve", "-l", ANY_PORT, "--record", &nowhere]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot record to"));
    let slash = format!("{}/", directory.path().display());
    for arguments in [
        &["--record-redact-payloads"][..],
        &["--record-size", "1"],
        &["--record", ""],
        &["--record", &slash],
        &["--record", slash.trim_end_matches('/')],
    ] {
        let output = forgetful(&["serve", "-l", ANY_PORT])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
}
