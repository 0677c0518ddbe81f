//! The example of README.md is one that compiles.

#[test]
fn the_readme_shows_the_example_of_the_runtime() {
    let readme = include_str!("../../../README.md");
    let (_, shown) = readme.split_once("```rust\n").expect("there is an example");
    let (shown, _) = shown.split_once("```").expect("it ends");
    let mut example = include_str!("../../../runtime-tokio/examples/embed.rs").lines();
    for line in shown.lines().map(str::trim).filter(|line| !line.is_empty()) {
        assert!(
            example.any(|candidate| candidate.trim() == line),
            "runtime-tokio/examples/embed.rs has no {line:?}, or in another order"
        );
    }
}
