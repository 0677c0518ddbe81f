//! `whimbrel serve --record` and `whimbrel replay`.

use crate::harness::{Directory, PATIENCE, Running, forgetful, whimbrel};
use crate::raw::{self, Raw};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};
use whimbrel_core::recording::{FRAME_HEADER_BYTES, Mark, PART_HEADER_BYTES, part_number};

const ANY_PORT: &str = "tcp://127.0.0.1:0";

/// A broker that records, and the port it listens on.
fn recording(file: &str, more: &[&str]) -> (Running, String) {
    let mut arguments = vec!["serve", "-l", ANY_PORT, "--record", file];
    arguments.extend(more);
    let mut command = forgetful(&arguments);
    // Clients that do not care that it stops are not waited for.
    command.env("WHIMBREL_SERVER_SHUTDOWN_GRACE_MS", "0");
    let mut broker = Running::start(command);
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
    let (mut broker, port) = recording(&file, &["-t", "2"]);
    bench(&port, "idle --clients 1000 --duration 1");
    bench(&port, "pairs --count 2000 --qos 2 --clients 20 --version 5");
    bench(&port, "fan-out --count 50 --qos 1 --clients 50");
    broker.signal("TERM");
    assert!(broker.wait().success());
    let (said, complaint, code) = replay(&[&file]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    assert!(
        said.starts_with("the same came out: 2 shards, 2 parts"),
        "{said}"
    );
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
    let (broker, port) = recording(&file, &["-t", "1", "--record-size", "1"]);
    bench(&port, "pairs --count 20000 --qos 0 --clients 2 --size 200");
    // Until a part has begun and is not full, so that it has no end.
    until(|| {
        bench(&port, "pairs --count 10 --qos 0 --clients 2");
        replay(&[&file]).0.contains("the end is missing")
    });
    broker.kill();
    let before = parts(&directory);
    let size = |path: &PathBuf| path.metadata().unwrap().len();
    assert!(before.iter().map(size).sum::<u64>() <= (1 << 20) + (128 << 10));
    assert!(before.len() > 3, "{before:?}");
    assert!(!before[0].ends_with("incident.0.000001"), "{before:?}");
    let (said, complaint, code) = replay(&[&file]);
    assert_eq!(code, Some(0), "{complaint}");
    assert!(said.contains("the end is missing"), "{said}");

    let (broker, port) = recording(&file, &["-t", "1", "--record-size", "1"]);
    bench(&port, "pairs --count 10 --qos 0 --clients 2");
    broker.kill();
    let after = parts(&directory);
    assert!(after.last() > before.last());
    // Time goes on behind the kill, and the file that ends with it is named.
    let (said, complaint, code) = replay(&[&file, "--trace"]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    let processes = said
        .lines()
        .filter(|line| line.ends_with("not recorded before"));
    assert_eq!(processes.count(), 2);
    let times: Vec<f64> = said.lines().filter_map(time_of).collect();
    assert!(times.len() > 100 && times.is_sorted(), "{times:?}");
    let killed = before.last().unwrap().display().to_string();
    assert!(said.lines().last().unwrap().contains(&killed), "{killed}");
}

/// When something happened, by a line that says so.
fn time_of(line: &str) -> Option<f64> {
    let time = line.trim_start().split(' ').next()?;
    time.strip_suffix('s')?.parse().ok()
}

/// A client in the broker on this port.
fn client(port: &str, client_id: &str) -> Raw {
    let (client, reason) = raw::connect_as(&format!("127.0.0.1:{port}"), client_id, "", "");
    assert_eq!(reason, raw::ACCEPTED);
    client
}

/// Each of eight clients gets a message, whichever shard it and the publisher are at, and who is
/// no client does not.
#[cfg(unix)]
#[test]
fn all_shards_are_played_and_answer_together() {
    let directory = Directory::new("recorded-shards");
    let file = file_of(&directory);
    let (mut broker, port) = recording(&file, &["-t", "2"]);
    let names: Vec<String> = (0..8).map(|number| format!("client-{number}")).collect();
    let mut clients: Vec<Raw> = names.iter().map(|name| client(&port, name)).collect();
    for client in &mut clients {
        client.subscribe("sensors/#");
    }
    let mut pump = client(&port, "pump");
    pump.publish("sensors/1");
    for client in &mut clients {
        assert_eq!(client.next().0, 0x30);
    }
    broker.signal("TERM");
    broker.wait();

    let (said, ..) = replay(&[&file, "--trace"]);
    let times: Vec<f64> = said.lines().filter_map(time_of).collect();
    assert!(times.is_sorted(), "{times:?}");
    for shard in ["0:", "1:"] {
        let is_of = |line: &str| {
            line.split_whitespace()
                .nth(1)
                .is_some_and(|s| s.starts_with(shard))
        };
        assert!(said.lines().any(is_of), "{said}");
    }
    for name in &names {
        let (said, complaint, code) = replay(&[&file, "--explain", name, "sensors/#"]);
        assert_eq!((code, complaint.as_str()), (Some(0), ""));
        let answers: Vec<_> = said
            .lines()
            .filter(|line| line.contains("message "))
            .collect();
        let [answer] = answers[..] else {
            panic!("{said}")
        };
        assert!(answer.ends_with("sensors/1: sent at QoS 0"), "{answer}");
        // The same by the number of the message.
        let number = answer.split_once("message ").unwrap().1;
        let number = number.split(|char: char| char != '.' && !char.is_ascii_digit());
        let number = number.into_iter().next().unwrap();
        let (by_number, ..) = replay(&[&file, "--explain", name, number]);
        assert_eq!(by_number, said);
        assert!(
            said.contains("the same came out: 2 shards, 2 parts"),
            "{said}"
        );
    }
    for (name, topic, answer) in [
        (
            "pump",
            "sensors/1",
            "sensors/1: not delivered: no subscription matches",
        ),
        (
            "nobody",
            "sensors/1",
            "sensors/1: not delivered: the client has no session",
        ),
        ("nobody", "sensors/1", "no client nobody was ever here"),
        ("pump", "sensors/2", "nothing was published to sensors/2"),
        ("pump", "7.12345", "there was no message 7.12345 in what"),
    ] {
        let (said, ..) = replay(&[&file, "--explain", name, topic]);
        assert_eq!(said.matches(answer).count(), 1, "{name}, {topic}: {said}");
        assert_eq!(said.contains("no client"), name == "nobody", "{said}");
    }
    let (said, _, code) = replay(&[&file, "--shard", "1"]);
    assert!(
        said.starts_with("the same came out: 1 shard, 1 part,"),
        "{said}"
    );
    assert_eq!(code, Some(0));

    std::fs::remove_file(format!("{file}.1.000001")).unwrap();
    let (_, complaint, code) = replay(&[&file]);
    assert!(
        complaint.contains("had 2 shards, and there are 1"),
        "{complaint}"
    );
    assert_eq!(code, Some(1));
}

/// A message that comes to two shards, neither of which has the client, is told of once, and what
/// is told of those behind it is not held up.
#[cfg(unix)]
#[test]
fn two_shards_that_leave_the_answer_to_a_third_get_one() {
    let directory = Directory::new("recorded-three");
    let file = file_of(&directory);
    let (mut broker, port) = recording(&file, &["-t", "3"]);
    // Which shard has a session follows from its name, for ever: 0, 1, and of "absent" 2.
    let mut pumps = ["pump-1", "pump-2"].map(|name| client(&port, name));
    for pump in &mut pumps {
        pump.subscribe("sensors/#");
    }
    let mut meter = client(&port, "meter");
    for topic in ["sensors/1", "sensors/2"] {
        meter.publish(topic);
        for pump in &mut pumps {
            assert_eq!(pump.next().0, 0x30);
        }
    }
    broker.signal("TERM");
    broker.wait();
    let (said, complaint, code) = replay(&[&file, "--explain", "absent", "sensors/#"]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    for topic in ["sensors/1", "sensors/2"] {
        let answer = format!("{topic}: not delivered: the client has no session");
        assert_eq!(said.matches(&answer).count(), 1, "{said}");
    }
    std::fs::remove_file(format!("{file}.2.000001")).unwrap();
    let (said, ..) = replay(&[&file, "--explain", "absent", "sensors/#"]);
    assert_eq!(
        said.matches("and was not recorded then").count(),
        2,
        "{said}"
    );
}

/// Of each process every shard is there, and the files of one do not tell of another's time.
#[cfg(unix)]
#[test]
fn a_shard_that_lacks_a_process_is_named() {
    let directory = Directory::new("recorded-processes");
    let file = file_of(&directory);
    for name in ["first", "second"] {
        let (mut broker, port) = recording(&file, &["-t", "2"]);
        drop(client(&port, name));
        broker.signal("TERM");
        broker.wait();
    }
    let (said, complaint, code) = replay(&[&file, "--trace"]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    let all: Vec<f64> = said.lines().filter_map(time_of).collect();
    assert!(all.is_sorted(), "{said}");
    // One that begins behind the end is there, too.
    let (said, complaint, code) = replay(&[&file, "--until", "0s"]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    std::fs::remove_file(format!("{file}.1.000002")).unwrap();
    let (_, complaint, code) = replay(&[&file]);
    assert!(
        complaint.contains("of shard 1 there is nothing"),
        "{complaint}"
    );
    assert_eq!(code, Some(1));
}

/// A payload with packets in it is one, wherever a part begins, and a second CONNECT makes nobody
/// somebody else.
#[cfg(unix)]
#[test]
fn a_payload_is_not_taken_for_packets() {
    let directory = Directory::new("recorded-payload");
    let file = file_of(&directory);
    let (mut broker, port) = recording(&file, &["-t", "1", "--record-size", "1"]);
    let mut mallory = client(&port, "mallory");
    let fake = b"\x10\x11\0\x04MQTT\x05\x02\0\0\0\0\x05admin";
    let payload = fake.repeat(800);
    let body = [&b"\0\x01t\0"[..], &payload].concat();
    for _ in 0..80 {
        mallory.send(0x30, &body);
    }
    mallory.is_there();
    broker.signal("TERM");
    broker.wait();
    let (said, complaint, code) = replay(&[&file, "--trace"]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    assert!(parts(&directory).len() > 2);
    assert!(said.contains("mallory"), "{said}");
    for forged in ["as \"admin\"", " admin ", "no packet"] {
        assert!(!said.contains(forged), "{forged}: {said}");
    }
}

/// What is missing or damaged is named, the rest is played, and the exit code says so.
#[cfg(unix)]
#[test]
fn gaps_and_damage_are_named() {
    let directory = Directory::new("recorded-gaps");
    let original = directory.path().join("original");
    std::fs::create_dir(&original).unwrap();
    let whole = original.join("incident").display().to_string();
    let (mut broker, port) = recording(&whole, &["-t", "1", "--record-size", "1"]);
    bench(&port, "pairs --count 5000 --qos 0 --clients 2 --size 100");
    broker.signal("TERM");
    broker.wait();
    let all = std::fs::read_dir(&original).unwrap().count() as u64;
    assert!(all > 3, "{all}");

    type Harm = fn(&dyn Fn(u64) -> PathBuf);
    let cases: [(&str, Harm, &str, u64); 8] = [
        (
            "one is missing",
            |part| std::fs::remove_file(part(2)).unwrap(),
            ".0.000002 is missing",
            1,
        ),
        (
            "two are missing",
            |part| (2..4).for_each(|number| std::fs::remove_file(part(number)).unwrap()),
            ".0.000002 to 000003 are missing",
            2,
        ),
        (
            "swapped",
            |part| {
                std::fs::rename(part(1), part(9_999)).unwrap();
                std::fs::rename(part(2), part(1)).unwrap();
                std::fs::rename(part(9_999), part(2)).unwrap();
            },
            ".0.000002 is not played: it was written as part 1",
            2,
        ),
        (
            "cut in the middle of a frame",
            |part| cut(&part(2), |length| length - 3),
            "the end of",
            0,
        ),
        (
            "cut in its beginning",
            |part| cut(&part(2), |_| PART_HEADER_BYTES as u64 + 7),
            ".0.000002 (nothing of it can be played)",
            1,
        ),
        (
            "the last frame is damaged",
            |part| flip(&part(2), |length| length - 3),
            ".0.000002: the recording is damaged at byte",
            0,
        ),
        (
            "its mark is damaged",
            |part| flip(&part(2), |_| 17),
            ".0.000002 is not played: it has a damaged beginning",
            1,
        ),
        (
            "it is something else",
            |part| {
                std::fs::write(part(2), "#!/bin/sh\necho This is no recording at all.\n").unwrap()
            },
            ".0.000002: this is no part of a recording",
            1,
        ),
    ];
    for (name, harm, complained, fewer) in cases {
        let copy = directory.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        for entry in std::fs::read_dir(&original).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
        }
        let file = copy.join("incident").display().to_string();
        harm(&|number| format!("{file}.0.{number:06}").into());
        let (said, complaint, code) = replay(&[&file]);
        assert_eq!(code, Some(1), "{name}: {complaint}");
        assert!(complaint.contains(complained), "{name}: {complaint}");
        let played = format!("the same came out: 1 shard, {} parts", all - fewer);
        assert!(said.contains(&played), "{name}: {said} {complaint}");
        assert!(
            said.starts_with("something is missing or damaged"),
            "{name}: {said}"
        );
        std::fs::remove_dir_all(&copy).unwrap();
    }
    // What is no part is not one, whatever it is called.
    std::fs::write(format!("{whole}.0.7"), "").unwrap();
    let (said, complaint, code) = replay(&[&whole]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
}

fn cut(file: &Path, length: impl Fn(u64) -> u64) {
    let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
    file.set_len(length(file.metadata().unwrap().len()))
        .unwrap();
}

fn flip(file: &Path, place: impl Fn(usize) -> usize) {
    let mut bytes = std::fs::read(file).unwrap();
    let place = place(bytes.len());
    bytes[place] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

/// The clients watcher and pump, of which one subscribes to a topic and the other publishes there.
#[cfg(unix)]
fn record_one_message(file: &str, topic: &str) {
    let (mut broker, port) = recording(file, &["-t", "1"]);
    let mut watcher = client(&port, "watcher");
    watcher.subscribe("#");
    let mut pump = client(&port, "pump-with-a-name-of-more-than-24-characters");
    // So that it is another turn, at another time.
    std::thread::sleep(Duration::from_millis(20));
    pump.publish(topic);
    watcher.next();
    broker.signal("TERM");
    broker.wait();
}

/// Where it differs can be looked at: at the time and the step that the trace has, and in the turn
/// itself.
#[cfg(unix)]
#[test]
fn a_difference_is_shown() {
    let directory = Directory::new("recorded-different");
    let file = file_of(&directory);
    record_one_message(&file, "some/topic");
    let part = format!("{file}.0.000001");
    let mut bytes = std::fs::read(&part).unwrap();
    let place = bytes
        .windows(10)
        .rposition(|window| window == b"some/topic");
    bytes[place.unwrap() + 5] = b'T';
    std::fs::write(&part, sealed(&bytes)).unwrap();

    let saved = directory.path().join("saved").display().to_string();
    let (said, complaint, code) = replay(&[&file, "--save", &saved]);
    assert_eq!(code, Some(3), "{complaint}");
    assert!(said.contains("<- PUBLISH some/Topic"), "{said}");
    assert!(!said.contains("CONNACK"), "{said}");
    let (traced, ..) = replay(&[&part, "--trace"]);
    let (_, turn) = said.split_once('\n').unwrap();
    assert!(traced.ends_with(turn), "{traced}");
    let (_, step) = complaint.split_once("before step ").unwrap();
    let (step, command) = step.split_once(';').unwrap();
    assert!(
        command.contains(&format!("whimbrel replay {part} --trace")),
        "{command}"
    );
    let (_, _, code) = replay(&[&saved]);
    assert_eq!(code, Some(3));
    let expected = std::fs::read_to_string(format!("{saved}.expected")).unwrap();
    assert_eq!(expected, format!("something else: before step {step}\n"));
}

/// The same part with sums that are right.
#[cfg(unix)]
fn sealed(part: &[u8]) -> Vec<u8> {
    let mark = Mark::of_part(part_number(part).unwrap());
    let mut sealed = mark.part_header().to_vec();
    let mut rest = &part[PART_HEADER_BYTES..];
    while let Some((header, behind)) = rest.split_first_chunk::<FRAME_HEADER_BYTES>() {
        let length = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        let (bytes, later) = behind.split_at(length);
        sealed.extend(mark.frame_header(bytes));
        sealed.extend(bytes);
        rest = later;
    }
    sealed
}

/// What a client says cannot look like another line, and names are there whole.
#[cfg(unix)]
#[test]
fn what_is_told_is_what_happened() {
    let directory = Directory::new("recorded-forged");
    let file = file_of(&directory);
    record_one_message(&file, "x/\u{1b}[31m\n 9.9 admin");
    let (said, complaint, code) = replay(&[&file, "--trace"]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    assert!(!said.contains('\u{1b}'), "{said:?}");
    assert!(
        said.contains("PUBLISH x/\\u{1b}[31m\\n 9.9 admin"),
        "{said}"
    );
    // A time, and which step of which shard it is.
    let mut steps = said.lines().filter_map(|line| {
        time_of(line)?;
        line.split_whitespace().nth(1)?.strip_prefix("0:")
    });
    assert!(steps.all(|step| step.parse::<u64>().is_ok()), "{said}");
    let long = "pump-with-a-name-of-more-than-24-characters";
    let (said, ..) = replay(&[&file, "--client", long]);
    assert!(
        said.lines().filter(|line| line.contains(long)).count() > 3,
        "{said}"
    );
    let (said, ..) = replay(&[&file, "--client", "nobody"]);
    assert!(said.contains("no client nobody was ever here"), "{said}");

    // A time as it is printed, and nothing after it.
    let connected = said_at(&file, "is connected, with a new session");
    let (said, ..) = replay(&[&file, "--trace", "--until", &connected]);
    assert!(
        said.contains("watcher") && said.contains("is connected"),
        "{said}"
    );
    let last = said.lines().filter_map(time_of).next_back();
    assert_eq!(last, connected.trim_end_matches('s').parse().ok());
}

/// When the first line with this was, as it is printed.
#[cfg(unix)]
fn said_at(file: &str, text: &str) -> String {
    let (said, ..) = replay(&[file, "--trace"]);
    let line = said.lines().find(|line| line.contains(text)).unwrap();
    line.trim_start().split(' ').next().unwrap().to_owned()
}

#[cfg(unix)]
#[test]
fn what_is_saved_writes_over_nothing_and_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = Directory::new("recorded-saved");
    let file = file_of(&directory);
    record_one_message(&file, "t");
    let part = format!("{file}.0.000001");
    let before = std::fs::read(&part).unwrap();
    let (_, complaint, code) = replay(&[&part, "--save", &part]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("writes over nothing"), "{complaint}");
    assert_eq!(std::fs::read(&part).unwrap(), before);
    let saved = directory.path().join("saved.whimrec").display().to_string();
    let (_, complaint, code) = replay(&[&file, "--until", "watcher", "--save", &saved]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    let mode = std::fs::metadata(&saved).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (said, ..) = replay(&[&saved]);
    let expected = std::fs::read_to_string(format!("{saved}.expected")).unwrap();
    let steps = expected.strip_prefix("the same: ").unwrap().trim_end();
    assert!(said.contains(steps), "{said}, {expected}");
}

/// Each shard has a file of its own, which says what came of it.
#[cfg(unix)]
#[test]
fn of_several_shards_each_is_saved() {
    let directory = Directory::new("recorded-saved-shards");
    let file = file_of(&directory);
    let (mut broker, port) = recording(&file, &["-t", "2"]);
    bench(&port, "pairs --count 500 --qos 1 --clients 8");
    broker.signal("TERM");
    assert!(broker.wait().success());
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (said, complaint, code) = replay(&[&file, "--save", &path("saved.whimrec")]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    for shard in 0..2 {
        let saved = path(&format!("saved.{shard}.whimrec"));
        let line = format!("--- saved of shard {shard}: {saved}\n");
        assert!(said.contains(&line), "{said}");
        let expected = std::fs::read_to_string(format!("{saved}.expected")).unwrap();
        let steps = expected.strip_prefix("the same: ").unwrap().trim_end();
        let (alone, _, code) = replay(&[&saved]);
        assert_eq!(code, Some(0), "{alone}");
        assert!(alone.contains(steps), "{alone}, {expected}");
        assert!(!steps.starts_with("0 "), "{expected}");
    }
    assert!(!Path::new(&path("saved.whimrec")).exists());

    // Nothing is written over, and then nothing is written.
    std::fs::write(path("other.1.whimrec"), "mine").unwrap();
    let (_, complaint, code) = replay(&[&file, "--save", &path("other.whimrec")]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("other.1.whimrec already"), "{complaint}");
    assert!(!Path::new(&path("other.0.whimrec")).exists());

    // One of them alone is called as it was said, and before the beginning there is only that.
    let (said, ..) = replay(&[&file, "--shard", "1", "--save", &path("one")]);
    assert!(!said.contains("saved"), "{said}");
    assert!(Path::new(&path("one.expected")).exists());
    let (said, complaint, code) = replay(&[&file, "--until", "0s", "--save", &path("none")]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    assert!(said.contains("--- saved of shard 0: "), "{said}");
}

#[cfg(unix)]
#[test]
fn what_is_typed_wrong_is_said() {
    let directory = Directory::new("recorded-typed");
    let file = file_of(&directory);
    record_one_message(&file, "t");
    let part = format!("{file}.0.000001");
    for (arguments, why) in [
        (&[&*file, "--until", "0.3"][..], "a time is in seconds"),
        (&[&file, "--until", "1ms"], "a time is in seconds"),
        (&[&file, "--until", "-5s"], "a time is in seconds"),
        (
            &[&file, "--until", "nobody"],
            "no client nobody was connected",
        ),
        (&[&file, "--tenant", "x"], "--tenant is that of the client"),
        (&[&part, "--shard", "7"], "--shard is for whole recordings"),
    ] {
        let (_, complaint, code) = replay(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.contains(why), "{arguments:?}: {complaint}");
    }
    // A file of that name that is none hides nothing; one that is has to be told apart.
    std::fs::write(&file, "notes").unwrap();
    let (said, complaint, code) = replay(&[&file]);
    assert_eq!((code, complaint.as_str()), (Some(0), ""), "{said}");
    std::fs::copy(&part, &file).unwrap();
    let (_, complaint, code) = replay(&[&file]);
    assert_eq!(code, Some(2));
    assert!(complaint.contains("say which of them"), "{complaint}");
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
    until(has_come);
    broker.kill();
}

/// Waits for what another process does.
fn until(mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "it does not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
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
    let slash = format!("{}/", directory.path().display());
    for (arguments, why) in [
        (&["--record-redact-payloads"][..], "name them with --record"),
        (&["--record-size", "1"], "name them with --record"),
        (&["--record", &file, "--record-size", "0"], "at least 1 MiB"),
        (
            &["--record", &file, "--record-size", "-1"],
            "from 0 to 1844",
        ),
        (&["--record", ""], "the name of a file"),
        (&["--record", &slash], "the name of a file"),
        (
            &["--record", slash.trim_end_matches('/')],
            "the name of a file",
        ),
        // It may be there at the next start.
        (&["--record", &nowhere], "make it first: mkdir -p"),
    ] {
        let kept = directory.path().join("kept").display().to_string();
        let output = whimbrel(&["serve", "-l", ANY_PORT, "-d", &kept])
            .args(arguments)
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(complaint.contains(why), "{arguments:?}: {complaint}");
        let code = if why.contains("mkdir") { 1 } else { 2 };
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(!Path::new(&kept).exists(), "{arguments:?}");
    }
}
