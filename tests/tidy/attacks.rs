//! The list of attacks in `docs/security.md` against the tests that are called after them.

use crate::Problem;
use crate::source::Source;
use crate::tree::File;
use std::collections::{BTreeMap, BTreeSet};

const LIST: &str = "docs/security.md";
/// How many classes there are.
const CLASSES: u32 = 18;

/// The words of a text that are called `class_NN_` and something.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| {
        let rest = word
            .strip_prefix("class_")
            .and_then(|rest| rest.split_once('_'));
        rest.is_some_and(|(number, name)| number.len() == 2 && !name.is_empty())
    })
}

/// Says which tests the list does not have, which it has and nobody else, and which classes have
/// none.
pub(crate) fn check(files: &[File], problems: &mut Vec<Problem>) {
    // Only what declares a name counts.
    let mut declared: BTreeMap<String, (&str, usize)> = BTreeMap::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        for (number, line) in Source::new(&file.text).lines.iter().enumerate() {
            let words: Vec<&str> = line.code.split_whitespace().collect();
            let follows = words.iter().zip(words.iter().skip(1));
            let here = follows.filter(|(word, _)| ["fn", "mod"].contains(word));
            for name in here.flat_map(|(_, name)| names(name)) {
                let place = (&*file.path, number + 1);
                declared.entry(name.to_owned()).or_insert(place);
            }
        }
    }
    let Some(list) = files.iter().find(|file| file.path == LIST) else {
        return problems.push(Problem::new(LIST, 0, "is missing"));
    };
    let mut listed = BTreeSet::new();
    for (number, line) in list.text.lines().enumerate() {
        let Some(row) = line.strip_prefix("| ") else {
            continue;
        };
        for name in names(row) {
            listed.insert(name);
            let class = row.split_whitespace().next().unwrap_or_default();
            let is_here = name.starts_with(&format!("class_{class:0>2}_"));
            if !is_here || !declared.contains_key(name) {
                let what = format!("`{name}` is no test of class {class}");
                problems.push(Problem::new(LIST, number + 1, what));
            }
        }
    }
    for (name, (path, line)) in &declared {
        if !listed.contains(&**name) {
            let what = format!("`{name}` is not in the list of {LIST}");
            problems.push(Problem::new(*path, *line, what));
        }
    }
    for class in 1..=CLASSES {
        let begin = format!("class_{class:02}_");
        if !listed.iter().any(|name| name.starts_with(&begin)) {
            let what = format!("class {class} has no test");
            problems.push(Problem::new(LIST, 0, what));
        }
    }
}
