//! The packet tables of two other projects, if they are at hand: `packets-mochi.jsonl` (mochi-mqtt)
//! and `packets-mqttjs.jsonl` (mqtt-packet), one packet a line, in the folder that
//! `WHIMBREL_CONFORMANCE` names. Those tables follow the choices of their projects; where we
//! differ, [`DISAGREEMENTS`] says why.

use std::path::{Path, PathBuf};
use std::{env, fs};
use whimbrel_core::codec::packet::Version;
use whimbrel_core::codec::{decode, encode, frame};

/// Packets on which we differ, by table, version and bytes, with what we say about them.
const DISAGREEMENTS: &[(&str, u8, &str, &str)] = &[
    // Theirs: valid in a CONNACK of 3.1.1. A return code there is 0 to 5, these are reason codes of
    // 5.0.
    ("mochi", 4, "20020082", "Malformed(ReasonCode)"),
    ("mochi", 4, "20020182", "Malformed(ReasonCode)"),
    ("mochi", 4, "20020185", "Malformed(ReasonCode)"),
    ("mochi", 4, "20020186", "Malformed(ReasonCode)"),
    ("mochi", 4, "20020187", "Malformed(ReasonCode)"),
    ("mochi", 4, "20020188", "Malformed(ReasonCode)"),
    // Theirs: DUP at QoS 0 is valid. MQTT-3.3.1-2: it must be 0.
    (
        "mochi",
        4,
        "380a0003612f6268656c6c6f",
        "Malformed(DupAtMostOnce)",
    ),
    // Theirs: the bridge bit of mosquitto in the protocol level is valid. No version has that
    // level.
    (
        "mqttjs",
        4,
        "101200064d51497364708300001e000474657374",
        "Version",
    ),
    (
        "mqttjs",
        4,
        "101200064d51497364708400001e000474657374",
        "Version",
    ),
    // Theirs: valid in 5.0 mode, being CONNACKs of 3.1.1. In 5.0 the property length may not be
    // left out, and 1 is not a reason code.
    ("mqttjs", 5, "20020001", "Malformed(ReasonCode)"),
    ("mqttjs", 5, "200101", "Malformed(Truncated)"),
    ("mqttjs", 5, "20020100", "Malformed(Truncated)"),
    // Theirs: a maximum QoS of 2 is valid. MQTT 5.0 §3.2.2.3.4: a protocol error, it is said by
    // silence.
    (
        "mqttjs",
        5,
        "205700005411000004d22101b0240225012700000064120004746573742201c81f000474657374260004746573740004\
         74657374280129012a001304d21a0004746573741c0004746573741500047465737416000401020304",
        "PropertyValue",
    ),
    (
        "mqttjs",
        5,
        "206400006111000004d22101b0240225012700000064120004746573742201c81f000474657374260004746573740004\
         74657374260004746573740004746573742801290\
         12a001304d21a0004746573741c0004746573741500047465737416000401020304",
        "PropertyValue",
    ),
    // Theirs: invalid. This is 3.1, where a packet may end before the user name that its flags
    // announce.
    (
        "mqttjs",
        4,
        "102000064d514973647003f6001e0005746f70696300077061796c6f616400020000",
        "ok",
    ),
];

fn folder() -> Option<PathBuf> {
    env::var_os("WHIMBREL_CONFORMANCE").map(PathBuf::from)
}

#[test]
fn the_tables_of_other_projects_agree_but_for_known_reasons() {
    let Some(folder) = folder() else {
        println!("not run: WHIMBREL_CONFORMANCE is not set");
        return;
    };
    let mut failures = Vec::new();
    for name in ["mochi", "mqttjs"] {
        let lines = read(&folder, name);
        let mut count = 0;
        for line in lines.lines() {
            let Some((bytes, version, valid)) = entry(line) else {
                continue;
            };
            count += 1;
            let expected = DISAGREEMENTS
                .iter()
                .find(|known| (known.0, known.1, known.2) == (name, version, bytes))
                .map(|known| known.3);
            let verdict = verdict(version, bytes);
            let agreed = match expected {
                Some(expected) => verdict == expected,
                None => valid == (verdict == "ok"),
            };
            if !agreed {
                failures.push(format!("{verdict}: {line}"));
            }
        }
        println!("{name}: {count} packets");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn read(folder: &Path, name: &str) -> String {
    let path = folder.join(format!("packets-{name}.jsonl"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Bytes, version and validity of a line that is about decoding.
fn entry(line: &str) -> Option<(&str, u8, bool)> {
    let valid = match field(line, "verdict").or_else(|| field(line, "kind"))? {
        "valid" | "valid-decode" => true,
        "invalid" => false,
        _ => return None,
    };
    // Cases for encoders or for rules about content are not about the bytes.
    if !matches!(field(line, "use"), None | Some("both" | "decode")) {
        return None;
    }
    let version = match field(line, "version")? {
        "3" => 3,
        "5" => 5,
        _ => 4,
    };
    Some((field(line, "hex")?, version, valid))
}

/// The first value of this name in a line of JSON: a number, or a text without escapes.
fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("\"{name}\": "))?;
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => rest.split([',', '}']).next(),
    }
}

fn verdict(version: u8, hex: &str) -> String {
    let version = match version {
        3 => Version::V3,
        4 => Version::V4,
        _ => Version::V5,
    };
    let bytes = crate::notation::bytes(hex);
    match frame::split(&bytes, u32::MAX) {
        Err(violation) => format!("{violation:?}"),
        Ok(None) => "incomplete".to_owned(),
        Ok(Some((_, len))) if len < bytes.len() => "more than one packet".to_owned(),
        Ok(Some((frame, _))) => match decode(version, frame) {
            Err(violation) => format!("{violation:?}"),
            Ok(packet) => {
                let mut out = Vec::new();
                encode(&packet, version, &mut out).expect("what was decoded can be said");
                "ok".to_owned()
            }
        },
    }
}
