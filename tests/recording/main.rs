//! Recordings: what was recorded comes out again, what is secret is not in them, and what is
//! damaged or different is noticed. The simulator plays back what its processes record as well.

mod explain;
mod secrets;

use whimbrel_core::action::{Action, CloseReason, Event};
use whimbrel_core::codec::packet::{Connect, Publish, QoS, Version};
use whimbrel_core::codec::{Packet, ReasonCode};
use whimbrel_core::recording::{
    Chunk, FRAME_HEADER_BYTES, Input, Mark, PART_HEADER_BYTES, RecordOptions, Replay, ReplayError,
    Step, Stop, part_number,
};
use whimbrel_core::{Config, ConnectionId};
use whimbrel_tests::world::{VERSIONS, lasting, publish, will};
use whimbrel_tests::{World, play, written};

const PASSWORD: &[u8] = b"correct horse battery staple";
const PAYLOAD: &[u8] = b"nobody's business";

fn durable() -> World {
    World::new(Config {
        durable: true,
        ..Config::default()
    })
}

fn is_in(needle: &[u8], haystack: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// So many clients of all versions, with names, passwords and wills, that subscribe, publish, come
/// and go, and of which some do not read.
fn live(world: &mut World, count: usize) {
    let mut clients: Vec<ConnectionId> = Vec::new();
    for number in 0..count {
        let version = VERSIONS[number % 3];
        let name = format!("client-{number}");
        let connect = Connect {
            username: Some("somebody"),
            password: Some(PASSWORD),
            will: (number % 5 == 0).then(|| will("wills", PAYLOAD)),
            ..lasting(version, &name)
        };
        let (client, _) = world.enter(&connect);
        let filter = format!("t/{}/#", number % 50);
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][number % 3];
        world.subscribe(client, &filter, qos);
        world.subscribe(client, "$share/group/s", qos);
        clients.push(client);
    }
    for (number, client) in clients.iter().enumerate() {
        match number % 10 {
            3 => world.block(*client, true),
            7 => world.cut(*client),
            9 => world.disconnect(*client, ReasonCode::SUCCESS),
            _ => {}
        }
        world.now.monotonic.0 += 7;
        world.now.wall.0 += 7;
    }
    for (number, client) in clients.iter().enumerate() {
        if world.is_closed(*client) || number % 10 == 3 {
            continue;
        }
        let id = (number % 7 + 1) as u16;
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][number % 3];
        let topic = format!("t/{}/x", number % 60);
        world.send(*client, &Packet::Publish(publish(&topic, PAYLOAD, qos, id)));
        world.send(
            *client,
            &Packet::Publish(publish("s", PAYLOAD, qos, id + 10)),
        );
        if number % 4 == 0 {
            take(world, *client);
        }
    }
    world.pass_ms(5_000);
    for (number, client) in clients.iter().enumerate() {
        if number % 10 == 3 {
            world.block(*client, false);
        }
    }
    for number in (7..count).step_by(10) {
        let name = format!("client-{number}");
        world.resume(VERSIONS[number % 3], &name);
    }
}

/// Reads what came, and acknowledges it.
fn take(world: &mut World, client: ConnectionId) {
    for received in world.drain(client) {
        match received.packet() {
            Packet::Publish(publish) => match (publish.qos, publish.packet_id) {
                (QoS::AtLeastOnce, Some(id)) => {
                    world.answer(client, Packet::PubAck, id.get(), ReasonCode::SUCCESS);
                }
                (QoS::ExactlyOnce, Some(id)) => {
                    world.answer(client, Packet::PubRec, id.get(), ReasonCode::SUCCESS);
                }
                _ => {}
            },
            Packet::PubRec(ack) => {
                world.answer(
                    client,
                    Packet::PubRel,
                    ack.packet_id.get(),
                    ReasonCode::SUCCESS,
                );
            }
            _ => {}
        }
    }
}

#[test]
fn what_a_thousand_clients_did_is_done_again() {
    let mut world = durable();
    world.record(RecordOptions {
        part_bytes: 1 << 20,
        ..RecordOptions::default()
    });
    live(&mut world, 1_000);
    let steps = world.replay();
    assert!(steps > 10_000, "{steps} steps");
    assert!(is_in(PAYLOAD, &world.parts.files().concat()));
}

/// Which limit it is that ends a connection is told by event, and so it is in the replay. One that
/// no setting has ends what is recorded: nothing is told that was not.
#[test]
fn a_limit_that_ends_a_connection_is_named_again() {
    for (limit, stop) in [
        ("", Stop::Ended),
        ("limits.memory_budget_bytes", Stop::Ended),
        ("quotas.connections_per_user_maximum", Stop::Ended),
        ("a limit of somebody else", Stop::CutOff),
    ] {
        let why = CloseReason::Limit(ReasonCode::QUOTA_EXCEEDED, limit);
        let mut world = durable();
        world.record(RecordOptions::default());
        let client = world.connect(Version::V5, "client");
        world.expel(client, why);
        world.replay();
        let part = &world.parts.files()[0];
        assert_eq!(
            play(part).expect("it can be played").0,
            Some(stop),
            "{limit}"
        );
        let mut replay = Replay::new(part).expect("it can be played");
        let mut told = Vec::new();
        while let Some(step) = replay.step().expect("it can be played") {
            match step {
                Step::Input(Input::Disconnect(_, why), _)
                | Step::Action(Action::Event(Event::Disconnected { why, .. })) => told.push(why),
                _ => {}
            }
        }
        let wanted = if stop == Stop::Ended {
            vec![why; 2]
        } else {
            Vec::new()
        };
        assert_eq!(told, wanted, "{limit}");
    }
}

/// Each part is complete in itself, wherever it begins.
#[test]
fn any_part_can_be_played_without_those_before_it() {
    let mut world = durable();
    world.record(RecordOptions {
        part_bytes: 1,
        ..RecordOptions::default()
    });
    live(&mut world, 60);
    world.replay();
    let parts = world.parts.files();
    assert!(parts.len() > 1, "{} parts", parts.len());
    let last = parts.last().expect("there are some");
    assert_eq!(play(last).expect("it can be played").0, Some(Stop::Ended));
}

/// Passwords never, payloads on request; and what was left out is not needed.
#[test]
fn secrets_are_not_in_a_recording() {
    for redact_payloads in [false, true] {
        let mut world = durable();
        world.persists_at_once = false;
        world.record(RecordOptions {
            part_bytes: 5_000,
            redact_payloads,
            ..RecordOptions::default()
        });
        live_in_pieces(&mut world);
        world.persist();
        world.persists_at_once = true;
        live(&mut world, 60);
        world.replay();
        let all = world.parts.files().concat();
        assert!(world.parts.files().len() > 1);
        assert!(!is_in(PASSWORD, &all));
        assert_eq!(is_in(PAYLOAD, &all), !redact_payloads);
    }
}

/// A CONNECT and a PUBLISH byte by byte, so that no fragment has a whole secret.
fn live_in_pieces(world: &mut World) {
    let will = will("wills", PAYLOAD);
    for version in VERSIONS {
        let connect = Connect {
            username: Some("somebody"),
            password: Some(PASSWORD),
            will: Some(will),
            ..lasting(version, "in pieces")
        };
        let mut bytes = encoded(version, &Packet::Connect(connect));
        let message = publish("t/1/x", PAYLOAD, QoS::AtLeastOnce, 9);
        bytes.extend(encoded(version, &Packet::Publish(message)));
        for at_once in [1, 2, 13, bytes.len()] {
            let connection = world.open();
            for piece in bytes.chunks(at_once) {
                world.send_bytes(connection, piece);
            }
            world.persist();
        }
    }
}

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    whimbrel_core::codec::encode(packet, version, &mut bytes).expect("it can be said");
    bytes
}

/// One part, whole.
fn recorded() -> Vec<u8> {
    let mut world = durable();
    world.record(RecordOptions::default());
    live(&mut world, 9);
    world.replay();
    world.parts.files()[0].clone()
}

#[test]
fn a_part_whose_end_is_missing_is_played_as_far_as_it_goes() {
    let part = recorded();
    let (stop, all) = play(&part).expect("it can be played");
    assert_eq!(stop, Some(Stop::Ended));
    let (stop, some) = play(&part[..part.len() - 1]).expect("it can be played");
    assert_eq!(stop, Some(Stop::CutOff));
    assert!(some < all);
}

#[test]
fn damage_is_noticed() {
    let part = recorded();
    for place in (PART_HEADER_BYTES..part.len()).step_by(97) {
        let mut damaged = part.clone();
        damaged[place] ^= 1;
        match play(&damaged) {
            Err(ReplayError::Damaged { at }) => assert!(at <= place),
            // The length of a frame: it looks as if its end were missing.
            Ok((stop, _)) => assert_eq!(stop, Some(Stop::CutOff)),
            Err(other) => panic!("{other}"),
        }
    }
    let mut other = part;
    other[8] ^= 1;
    assert!(matches!(play(&other), Err(ReplayError::Format { .. })));
    assert_eq!(play(b"#!/bin/sh\n"), Err(ReplayError::NotARecording));
}

/// The process was killed while it wrote a part over an older one: in the middle of a frame, or
/// between two.
#[test]
fn what_is_left_of_an_older_part_is_not_taken_for_more() {
    let older = recorded();
    let part = with_mark(&older, 2);
    let cuts = frame_ends(&part);
    let ends = cuts.iter().flat_map(|end| [end - 200, end - 1, *end]);
    // Without its whole state nothing of it can be played.
    for end in ends.filter(|end| *end >= cuts[0]) {
        let mut file = part[..end].to_vec();
        file.extend_from_slice(&older[end / 2..]);
        let whole = end == part.len();
        let (stop, _) = play(&file).expect("it is played as far as it goes");
        let expected = if whole { Stop::Ended } else { Stop::CutOff };
        assert_eq!(stop, Some(expected), "{end} of {}", part.len());
        let last = cuts.iter().rfind(|cut| **cut <= end);
        assert_eq!(last, Some(&written(&file)), "{end} of {}", part.len());
    }
}

/// A file is looked at in pieces; a frame may be many of them, and what is looked for may lie on
/// both sides of where one ends.
#[test]
fn what_is_written_is_found_in_files_of_any_size() {
    let mark = Mark::of_part(7);
    let mut part = mark.part_header().to_vec();
    for length in [0, 1, 31, 32, 65_535, 65_536, 65_537, 300_001] {
        let bytes: Vec<u8> = (0..length).map(|number: u32| number as u8).collect();
        part.extend_from_slice(&mark.frame_header(&bytes));
        part.extend_from_slice(&bytes);
        assert_eq!(written(&part), part.len(), "{length}");
        part.extend_from_slice(&[0; 100_000]);
        assert_eq!(written(&part), part.len() - 100_000, "{length}");
        for place in 65_500..65_600 {
            let mut damaged = part.clone();
            let at = damaged.len() - 100_000 + place;
            damaged[at..at + 8].copy_from_slice(&mark.part_header()[12..]);
            assert_eq!(written(&damaged), damaged.len(), "{length}: {place}");
        }
        part.truncate(part.len() - 100_000);
    }
}

/// The sum says that it was meant, and nobody could wait for it.
#[test]
fn more_calls_than_there_can_be_do_not_take_for_ever() {
    const POLLED: u8 = 15;
    let beginning = Replay::new(&recorded())
        .expect("it can be played")
        .until_here();
    let mut steps = beginning[PART_HEADER_BYTES + FRAME_HEADER_BYTES..].to_vec();
    steps.push(POLLED);
    steps.extend_from_slice(&[0xFF; 9]);
    steps.push(1);
    let mark = Mark::of_part(1);
    let part = [&mark.part_header()[..], &mark.frame_header(&steps), &steps].concat();
    assert_eq!(play(&part), Ok((Some(Stop::CutOff), 1)));
}

/// Where the frames of a part end.
fn frame_ends(part: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = PART_HEADER_BYTES;
    while at < part.len() {
        let length = u32::from_le_bytes(part[at + 8..at + 12].try_into().expect("four"));
        at += FRAME_HEADER_BYTES + length as usize;
        ends.push(at);
    }
    ends
}

/// The same part, as the one with this number, with sums that are right.
fn with_mark(part: &[u8], number: u64) -> Vec<u8> {
    let mark = Mark::of_part(number);
    let mut marked = mark.part_header().to_vec();
    let mut at = PART_HEADER_BYTES;
    for end in frame_ends(part) {
        let bytes = &part[at + FRAME_HEADER_BYTES..end];
        marked.extend_from_slice(&mark.frame_header(bytes));
        marked.extend_from_slice(bytes);
        at = end;
    }
    marked
}

/// One byte of a topic is another one, and the sum over the frame is right: something else comes
/// out, and the time at which it does is named.
#[test]
fn a_difference_is_found_where_it_is() {
    let mut part = recorded();
    let mut replay = Replay::new(&part).expect("it can be played");
    let mut sent_at = None;
    while let Some(step) = replay.step().expect("it can be played") {
        if let Step::Input(Input::Receive(_, bytes), _) = &step
            && is_in(b"t/0/x", bytes)
        {
            let now = replay.now().monotonic;
            sent_at.get_or_insert(now);
        }
    }
    let place = part.windows(5).rposition(|window| window == b"t/0/x");
    part[place.expect("it was sent") + 2] = b'9';
    let part = with_mark(&part, 1);
    let found = play(&part).expect_err("it differs");
    let ReplayError::Differs { after, .. } = found else {
        panic!("{found}")
    };
    assert_eq!(Some(after), sent_at);
}

/// Of several shards one may have a client before another is ready.
#[test]
fn a_broker_at_rest_is_recorded_from_the_first_input_on() {
    let mut world = durable();
    world.broker.record(RecordOptions::default());
    let begun = world.broker.poll_chunk(false);
    assert!(matches!(begun, Some(Chunk::Begin)));
}

const RECORDINGS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings");

/// What happened elsewhere and was kept here: `whimbrel replay FILE --until … --save
/// tests/recordings/NAME.whimrec`. It does what the file beside it expects: at first the same, and
/// something else from some step on when what it shows is mended. A state of another version cannot
/// be read: the file has had its time then, or is the example and is written anew.
#[test]
fn what_was_recorded_elsewhere_does_what_is_expected() {
    if std::env::var_os("WHIMBREL_BLESS").is_some_and(|value| value == "1") {
        let (part, expected) = example();
        let path = format!("{RECORDINGS}/example.whimrec");
        std::fs::write(&path, part).expect("it can be written");
        std::fs::write(path + ".expected", expected).expect("it can be written");
    }
    let mut count = 0;
    for entry in std::fs::read_dir(RECORDINGS).expect("the directory is there") {
        let path = entry.expect("it can be listed").path();
        let is_recording = path
            .extension()
            .is_some_and(|extension| extension == "whimrec");
        if is_recording {
            let part = std::fs::read(&path).expect("it can be read");
            let expected = path.with_extension("whimrec.expected");
            let expected = std::fs::read_to_string(expected).expect("it says what is expected");
            assert_eq!(came_of(&part), expected, "{}", path.display());
            count += 1;
        }
    }
    assert!(count > 0, "there is an example at least");
}

/// What is written beside a recording.
fn came_of(part: &[u8]) -> String {
    match play(part) {
        Ok((_, steps)) => format!("the same: {steps} steps\n"),
        Err(ReplayError::Differs { step, .. }) => format!("something else: before step {step}\n"),
        Err(error) => format!("{error}; docs/recording.md says how the example is written anew\n"),
    }
}

/// A short story, cut before its end as `--save` does.
fn example() -> (Vec<u8>, String) {
    let part = recorded();
    let mut replay = Replay::new(&part).expect("it can be played");
    while replay.step().expect("it can be played").is_some() && replay.step_count() < 150 {}
    let part = replay.until_here();
    let expected = came_of(&part);
    (part, expected)
}

/// Whoever writes cannot for a while: the part that was begun ends without its end, and the next
/// one begins when it is asked for.
#[test]
fn recording_can_be_suspended() {
    let mut world = World::default();
    world.record(RecordOptions::default());
    let client = world.connect(Version::V5, "client");
    world.parts.take(&mut world.broker, true);
    world.broker.suspend_recording();
    assert_eq!(world.statistics().recording, 0);
    assert_eq!(world.broker.poll_chunk(true), Some(Chunk::GivenUp));
    world.subscribe(client, "t", QoS::AtMostOnce);
    assert!(!world.broker.has_unwritten());
    assert_eq!(world.broker.poll_chunk(true), None);

    world.broker.resume_recording();
    world.subscribe(client, "u", QoS::AtMostOnce);
    assert_eq!(world.statistics().recording, 1);
    world.subscribe(client, "v", QoS::AtMostOnce);
    world.replay();
    let parts = world.parts.files();
    let stops = parts
        .iter()
        .map(|part| play(part).expect("it can be played").0);
    let stops: Vec<_> = stops.collect();
    assert_eq!(stops, [Some(Stop::CutOff), Some(Stop::Ended)]);
    let filters = [&b"t"[..], b"u", b"v"].map(|filter| [b"\0\x01", filter, b"\0"].concat());
    let [t, u, v] = filters.map(|filter| is_in(&filter, &parts[1]));
    assert_eq!((t, u, v), (false, true, true), "the state has the other");
}

/// A state that is too large is not written at all, and nothing but its size is kept of it.
#[test]
fn a_state_that_is_too_large_is_not_recorded() {
    let mut world = World::default();
    let client = world.connect(Version::V5, "client");
    let retain = |world: &mut World, payload: &[u8]| {
        let message = publish("t", payload, QoS::AtMostOnce, 0);
        let retain = true;
        world.send(client, &Packet::Publish(Publish { retain, ..message }));
    };
    retain(&mut world, &[b'x'; 10_000]);
    world.broker.record(RecordOptions {
        part_bytes_maximum: 15_000,
        ..RecordOptions::default()
    });
    assert_eq!(world.broker.poll_action(), None);
    let Some(Chunk::StateTooLarge(bytes)) = world.broker.poll_chunk(true) else {
        panic!("it is said");
    };
    assert!((10_000..15_000).contains(&bytes), "{bytes}");
    world.pass_ms(1);
    assert_eq!(world.broker.poll_chunk(true), None);
    assert_eq!(world.statistics().recording, 0);

    // When it is smaller, it goes on, and says that something is missing.
    retain(&mut world, b"");
    world.broker.resume_recording();
    assert_eq!(world.broker.poll_action(), None);
    assert_eq!(world.statistics().recording, 1);
    world.replay();
    let [part] = world.parts.files() else {
        panic!("one part");
    };
    let replay = Replay::new(part).expect("it can be played");
    assert_eq!(replay.parts_given_up(), 1);
}

/// Each part knows its number, whatever it is.
#[test]
fn a_part_knows_its_number() {
    for number in [0, 1, 7, 1 << 40, u64::MAX] {
        let header = Mark::of_part(number).part_header();
        assert_eq!(part_number(&header), Some(number));
    }
    assert_eq!(part_number(&[0; 64]), None);
}
