//! Plays what other projects know about the wire: 1,826 connections of mosquitto's test data, and
//! the packets of mochi-mqtt and mqtt-packet.
//!
//! The data is not ours and is not part of this repository. It is looked for in the folder that
//! `WHIMBREL_CONFORMANCE` names, else in `shared/conformance` beside the checkout; without it the
//! tests say so and pass. They play against the core in a [`World`](whimbrel_tests::World), or, if
//! `WHIMBREL_ADDRESS` says where one listens, against a running program, which must then allow 10
//! topic aliases, packets of 2,000,000 bytes, and anonymous clients.
//! Start the program without these variables: it takes `WHIMBREL_…` it does not know for a mistake.

mod compare;
mod disagreements;
mod line;
mod packets;
mod sequences;

use disagreements::Disagreement;
use line::{Bottle, Network, Venue};
use std::path::PathBuf;
use std::{env, fs};

/// The lines of a file of the data; `None`, and a word about it, when it is not there.
fn data(file: &str) -> Option<Vec<serde_json::Value>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/conformance");
    let folder = env::var_os("WHIMBREL_CONFORMANCE").map_or_else(|| beside.into(), PathBuf::from);
    let path = folder.join(file);
    let Ok(text) = fs::read_to_string(&path) else {
        println!("not run: there is no {}", path.display());
        return None;
    };
    let lines = text.lines();
    Some(
        lines
            .map(|line| serde_json::from_str(line).expect("one JSON value a line"))
            .collect(),
    )
}

/// Where to play: against the core, or against the program.
fn venue() -> Box<dyn Venue> {
    match env::var("WHIMBREL_ADDRESS") {
        Ok(address) => {
            let mut network = Network::new(address);
            sequences::clear_retained(&mut network).expect("the program answers");
            Box::new(network)
        }
        Err(_) => Box::new(Bottle::default()),
    }
}

/// One case that was played: its name, and what was wrong.
type Played = (String, String, Result<(), String>);

/// Fails with every case that went otherwise than it should.
fn judge(played: &[Played], disagreements: &[Disagreement]) {
    let mut wrong = Vec::new();
    let is_known = |group: &str, name: &str| {
        disagreements
            .iter()
            .any(|known| known.group == group && known.names.contains(&name))
    };
    for (group, name, outcome) in played {
        if let Err(what) = outcome
            && !is_known(group, name)
        {
            wrong.push(format!("{group} | {name}: {what}"));
        }
    }
    for known in disagreements {
        for name in known.names {
            let differs =
                |case: &&Played| case.0 == known.group && case.1 == *name && case.2.is_err();
            if !played.iter().any(|case| differs(&case)) {
                let (group, reason) = (known.group, known.reason);
                wrong.push(format!(
                    "{group} | {name}: nothing differs any more ({reason})"
                ));
            }
        }
    }
    let count = played.len();
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let known: usize = disagreements.iter().map(|known| known.names.len()).sum();
    println!("{count} played, {known} disagreements");
}

#[test]
fn sequences_of_mosquitto() {
    let Some(lines) = data("sequences-mosquitto.jsonl") else {
        return;
    };
    let mut venue = venue();
    let played: Vec<Played> = lines
        .iter()
        .map(|line| sequences::play(venue.as_mut(), line))
        .collect();
    judge(&played, disagreements::MOSQUITTO);
}

#[test]
fn packets_of_mochi() {
    let Some(lines) = data("packets-mochi.jsonl") else {
        return;
    };
    let played = packets::play_all(venue().as_mut(), &lines);
    judge(&played, disagreements::MOCHI);
}

#[test]
fn packets_of_mqtt_packet() {
    let Some(lines) = data("packets-mqttjs.jsonl") else {
        return;
    };
    let played = packets::play_all(venue().as_mut(), &lines);
    judge(&played, disagreements::MQTT_PACKET);
}
