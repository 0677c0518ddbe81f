//! Files of every released format version can be opened for ever.
//!
//! `WHIMBREL_BLESS=1 cargo test -p whimbrel-tests --test log golden` writes the file of the present
//! version anew; that is only right before its first release.

use crate::harness::{open, small};
use std::path::PathBuf;
use whimbrel_core::log::{FORMAT_VERSION, LogEnd};
use whimbrel_tests::Disk;

fn path(version: u32) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    directory.join(format!("log/golden/log-v{version}.seg"))
}

/// One segment with puts, a delete, an empty value, two batches in one commit, and a proper end.
fn written_now() -> Vec<u8> {
    let (mut log, ..) = open(&small(), Disk::default());
    log.put("Skitchen", b"on");
    log.append(&[(b"Skitchen", None), (b"Rempty", Some(b""))])
        .unwrap();
    log.append(&[(b"Mlong", Some(&[0xA5; 300]))]).unwrap();
    log.run();
    log.engine.close();
    log.run();
    let bytes = log.disk.file("seg-0000000000000001").unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[..end.next_multiple_of(8)].to_vec()
}

#[test]
fn golden_this_version_writes_what_it_always_wrote() {
    let path = path(FORMAT_VERSION);
    if std::env::var_os("WHIMBREL_BLESS").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, written_now()).unwrap();
    }
    let golden = std::fs::read(path).expect("the golden file is in the repository");
    assert!(
        golden == written_now(),
        "the format has changed without its version"
    );
}

#[test]
fn golden_every_version_is_read() {
    for version in 1..=FORMAT_VERSION {
        let mut bytes = std::fs::read(path(version)).expect("the golden file is in the repository");
        bytes.resize(16 << 10, 0);
        let mut disk = Disk::default();
        disk.tamper("seg-0000000000000001", |file| *file = bytes);
        let (mut log, contents, summary) = open(&small(), disk);
        assert_eq!(summary.end, LogEnd::Clean);
        assert_eq!(summary.batches, 3);
        assert_eq!(contents.state.len(), 2);
        assert_eq!(contents.state[&b"Rempty"[..]], b"");
        assert_eq!(contents.state[&b"Mlong"[..]], [0xA5; 300]);
        log.put("goes", b"on");
    }
}
