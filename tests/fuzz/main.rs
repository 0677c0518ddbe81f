//! The fuzz targets as ordinary tests: `cargo test -p whimbrel-tests --test fuzz`.
//!
//! Each target gets its committed corpus, every input of it damaged in a few ways, and a few
//! thousand random inputs from a fixed seed. What coverage-guided fuzzing found out is so tried
//! again by every stable toolchain; finding out more is what `fuzz/README.md` is about.

use std::path::PathBuf;
use std::{fs, thread};
use whimbrel_tests::Random;
use whimbrel_tests::fuzz::TARGETS;

/// Random inputs for each target.
const INPUTS: usize = 2_000;
/// Damaged forms of each input of the corpus.
const DAMAGED: usize = 4;

/// Shows the input when the target panics.
struct Shown<'a>(&'a str, &'a [u8]);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let hex: String = self.1.iter().map(|byte| format!("{byte:02x}")).collect();
            eprintln!("the input, {}: {hex}", self.0);
        }
    }
}

fn run(name: &str) {
    let (name, target) = TARGETS
        .into_iter()
        .find(|target| target.0 == name)
        .expect("a target of this name");
    let run = |which: &str, input: &[u8]| {
        let _shown = Shown(which, input);
        target(input);
    };
    let mut random = Random::new(0x5EED);
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(&corpus)
        .unwrap_or_else(|error| panic!("{}: {error}", corpus.display()))
        .map(|entry| entry.expect("the corpus can be read").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "there is a corpus");
    for file in files {
        let input = fs::read(&file).expect("the corpus can be read");
        let which = file.display().to_string();
        run(&which, &input);
        for _ in 0..DAMAGED {
            run(
                &format!("{which}, damaged"),
                &damage(&mut random, input.clone()),
            );
        }
    }
    for _ in 0..INPUTS {
        let length = random.below(200);
        let input: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
        run("random", &input);
    }
}

fn damage(random: &mut Random, mut input: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(3) {
        let at = random.below(input.len() + 1);
        match random.below(4) {
            0 => input.truncate(at),
            1 => input.insert(at, random.next() as u8),
            2 if at < input.len() => drop(input.remove(at)),
            _ => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
    }
    input
}

#[test]
fn a_broker_withstands_any_script() {
    run("broker");
}

#[test]
fn class_15_a_client_withstands_any_server() {
    run("client");
}

#[test]
fn nobody_is_let_in_by_anything_but_a_secret() {
    run("credentials");
}

#[test]
fn decoding_withstands_any_bytes() {
    run("decode");
}

#[test]
fn the_topic_index_agrees_with_a_naive_one() {
    run("filter");
}

#[test]
fn class_14_a_proxy_says_the_same_however_it_comes() {
    run("proxy");
}

#[test]
fn a_damaged_recording_is_played_as_far_as_it_is_whole() {
    run("recording");
}

#[test]
fn a_damaged_log_is_read_as_far_as_it_is_whole() {
    run("recover");
}

#[test]
fn any_records_make_a_broker_or_are_refused() {
    run("restore");
}

#[test]
fn what_decodes_encodes_to_the_same() {
    run("roundtrip");
}

#[test]
fn what_operators_write_is_understood_or_refused_with_its_place() {
    run("settings");
}

#[test]
fn every_target_is_run_here_and_by_the_fuzzer() {
    let targets = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../fuzz/fuzz_targets");
    let mut files: Vec<String> = fs::read_dir(targets)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let names = TARGETS.map(|(name, _)| format!("{name}.rs"));
    assert_eq!(files, names);
}
