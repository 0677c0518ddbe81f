//! Reads the repository and says what is out of place: `cargo test -p whimbrel-tests --test tidy`.
//!
//! Four checks, each of which lists everything it found at once: the conformance list against the
//! tags in code and tests ([`conformance`]), the list of attacks against the tests that are called
//! after them ([`attacks`]), what the documentation says of memory budgets against what they come
//! to ([`sizing`]), and the house style as far as a machine sees it ([`style`]).
//! [`source`] splits Rust into code and comments, [`tags`] finds statement tags, [`tree`] the
//! files.

mod attacks;
mod conformance;
mod sizing;
mod source;
mod style;
mod tags;
mod tree;
mod wrap;

use source::{Line, Source};
use std::sync::{Mutex, PoisonError};
use std::{env, fmt, fs};

/// What writes anew whatever this test can write itself.
const BLESS: &str = "WHIMBREL_BLESS=1 cargo test -p whimbrel-tests --test tidy";

/// Held by each check, so that neither reads what the other is writing.
static TREE: Mutex<()> = Mutex::new(());

fn blessing() -> bool {
    env::var_os("WHIMBREL_BLESS").is_some_and(|value| value == "1")
}

/// Something out of place, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    /// Relative to the root of the repository.
    path: String,
    /// Counted from 1; 0 means the file as a whole.
    line: usize,
    /// What is wrong, and the remedy.
    what: String,
}

impl Problem {
    fn new(path: impl Into<String>, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Fails with all problems, in the order of their places.
fn report(mut problems: Vec<Problem>) {
    problems.sort();
    problems.dedup();
    let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(
        list.is_empty(),
        "{} out of place:\n\n{}\n",
        list.len(),
        list.join("\n")
    );
}

#[test]
fn conformance_list_code_and_tests_agree() {
    let _tree = TREE.lock().unwrap_or_else(PoisonError::into_inner);
    let files = tree::read();
    let mut problems = Vec::new();
    let tags = tags::Tags::find(&files, &mut problems);
    conformance::check(&tree::root(), &tags, &mut problems);
    report(problems);
}

#[test]
fn every_class_of_attacks_is_tested_by_name() {
    let _tree = TREE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut problems = Vec::new();
    attacks::check(&tree::read(), &mut problems);
    report(problems);
}

/// What has to stay small, in lines of code: the second runtime, so that rules stay in core, and
/// the broker on plain threads.
const SMALL: [(&str, usize); 2] = [("runtime-smol/src/", 700), ("core/examples/blocking/", 200)];

#[test]
fn what_is_to_be_small_is() {
    let _tree = TREE.lock().unwrap_or_else(PoisonError::into_inner);
    let files = tree::read();
    let mut problems = Vec::new();
    for (directory, maximum) in SMALL {
        let lines = files
            .iter()
            .filter(|file| file.is_rust() && file.path.starts_with(directory))
            .map(|file| {
                let source = Source::new(&file.text);
                let code = |line: &&Line| !line.code.trim().is_empty();
                source.lines.iter().filter(code).count()
            });
        let lines: usize = lines.sum();
        if lines == 0 || lines > maximum {
            let what = format!("{lines} lines of code; at most {maximum}, and some");
            problems.push(Problem::new(directory, 0, what));
        }
    }
    report(problems);
}

#[test]
fn memory_budgets_come_to_what_is_said() {
    let _tree = TREE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut problems = Vec::new();
    sizing::check(&tree::read(), &mut problems);
    report(problems);
}

#[test]
fn sources_keep_the_house_style() {
    let _tree = TREE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut files = tree::read();
    if blessing() {
        for file in files.iter_mut().filter(|file| file.is_rust()) {
            let wrapped = wrap::wrap(&file.text, style::LINE_COLUMNS);
            if wrapped != file.text {
                fs::write(tree::root().join(&file.path), &wrapped).expect("sources can be written");
                file.text = wrapped;
            }
        }
    }
    let mut problems = Vec::new();
    style::check(&tree::root(), &files, &mut problems);
    report(problems);
}
