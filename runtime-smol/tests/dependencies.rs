//! What this crate is for depends on what it does not depend on.

use std::process::Command;

#[test]
fn tokio_is_nowhere_in_the_tree() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "whimbrel-smol", "--all-features"])
        .args(["--edges", "normal,build", "--prefix", "none", "--offline"])
        .args(["--format", "{p}"])
        .output()
        .unwrap();
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.contains(&"polling"), "{tree}");
    assert!(!names.iter().any(|name| name.contains("tokio")), "{tree}");
}
