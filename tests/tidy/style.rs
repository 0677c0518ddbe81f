//! What a machine can see of the house style.

use crate::source::{Source, is_word};
use crate::tags::ids;
use crate::tree::File;
use crate::{BLESS, Problem};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How wide a line of Rust may be.
pub(crate) const LINE_COLUMNS: usize = 100;
const FILE_LINES: usize = 900;
const FUNCTION_LINES: usize = 100;

/// Something that is longer than it may be, may not grow, and has a reason.
struct Longer {
    /// The file, or the file and the function: `core/src/broker.rs` or
    /// `core/src/broker.rs::receive`.
    what: &'static str,
    /// How long it is now.
    lines: usize,
    /// Why it is not shorter.
    reason: &'static str,
}

/// Files over the limit.
const LONGER_FILES: [Longer; 0] = [];
/// Functions over the limit.
const LONGER_FUNCTIONS: [Longer; 0] = [];

/// Beginnings of paths that exist on one machine only, in two parts so that this file is clean.
const MACHINE_PATHS: [(&str, &str); 5] = [
    ("/ho", "me/"),
    ("/ro", "ot/"),
    ("/wo", "rk/"),
    ("/Us", "ers/"),
    ("/tmp/", "bash"),
];
/// Modules of `std` that touch the world. The core is pure.
const IMPURE: [&str; 7] = ["env", "fs", "io", "net", "process", "thread", "time"];

/// Checks every file.
pub(crate) fn check(root: &Path, files: &[File], problems: &mut Vec<Problem>) {
    let mut lengths = Lengths::default();
    for file in files {
        check_machine_paths(file, problems);
        if file.path.ends_with(".md") {
            check_links(root, file, problems);
        }
        if !file.is_rust() && !file.path.ends_with(".md") {
            let lines = file.text.lines().enumerate();
            for (number, line) in lines {
                check_notes(file, number, line, problems);
            }
        }
        if file.is_rust() {
            let source = Source::new(&file.text);
            check_lines(file, problems);
            check_words(file, &source, problems);
            lengths.add(file, &source);
            if file.path.starts_with("core/src/") {
                check_purity(file, &source, problems);
            }
        }
    }
    lengths.check(problems);
    check_modules(files, problems);
}

/// Where core names errors of the system, which others had and hand on; `std::io` alone does
/// nothing.
const NAMES_ERRORS: &str = "core/src/runtime/";

fn check_lines(file: &File, problems: &mut Vec<Problem>) {
    for (number, line) in file.text.lines().enumerate() {
        let columns = without_tags(line).chars().count();
        if columns > LINE_COLUMNS && !is_unbreakable(line) {
            let what = format!(
                "{columns} columns; break the line at {LINE_COLUMNS} (comments: `{BLESS}`)"
            );
            problems.push(Problem::new(&file.path, number + 1, what));
        }
    }
}

/// A line that cannot be broken without harm: a row of a table or a drawing, or one with a text
/// that is searched for as a whole.
fn is_unbreakable(line: &str) -> bool {
    let line = line.trim_start();
    let comment = line
        .trim_start_matches('/')
        .trim_start_matches('!')
        .trim_start();
    let is_text = line.contains('"') || line.ends_with('\\');
    comment.starts_with('|') || is_text
}

/// A line without the tags at its end: they may stand beyond the limit, beside what they name.
pub(crate) fn without_tags(line: &str) -> &str {
    let mut rest = line;
    while let Some((before, tag)) = rest.trim_end().rsplit_once('[') {
        if !tag.ends_with(']') || ids(&rest[before.len()..]).next().is_none() {
            break;
        }
        rest = before;
    }
    rest.trim_end().trim_end_matches("//").trim_end()
}

/// Notes to self.
fn check_notes(file: &File, number: usize, text: &str, problems: &mut Vec<Problem>) {
    for word in ["TODO", "FIXME", "XXX"] {
        if has_word(text, word) && !text.contains(&format!("{word}(#")) {
            let what = format!("{word} without an issue; do it, or write `{word}(#12): …`");
            problems.push(Problem::new(&file.path, number + 1, what));
        }
    }
}

/// Notes to self, and tests that do not run.
fn check_words(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    for (number, line) in source.lines.iter().enumerate() {
        check_notes(file, number, &line.comment, problems);
        if line.code.contains("#[ignore") || line.comment.contains("```ignore") {
            let what = "an ignored test or example shows nothing; make it run, or remove it";
            problems.push(Problem::new(&file.path, number + 1, what));
        }
    }
}

/// No world in the core: no module of `std` that touches it, and no printing.
fn check_purity(file: &File, source: &Source, problems: &mut Vec<Problem>) {
    for (number, line) in source.lines.iter().enumerate() {
        for name in ["println!", "eprintln!", "print!", "eprint!", "dbg!"] {
            if has_word(&line.code, name.trim_end_matches('!')) && line.code.contains(name) {
                let what = format!("`{name}` in core; report facts as `Action::Event`");
                problems.push(Problem::new(&file.path, number + 1, what));
            }
        }
        if source.is_test(number) {
            continue;
        }
        let hands_on = file.path.starts_with(NAMES_ERRORS);
        for module in IMPURE
            .into_iter()
            .filter(|module| !hands_on || *module != "io")
        {
            let path = format!("std::{module}");
            if has_word(&line.code, &path) {
                let what = format!("`{path}` in core, which is pure; take it as an input");
                problems.push(Problem::new(&file.path, number + 1, what));
            }
        }
    }
}

/// Whether the word stands in the text, with nothing of a word beside it.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn check_machine_paths(file: &File, problems: &mut Vec<Problem>) {
    for (number, line) in file.text.lines().enumerate() {
        for (first, second) in MACHINE_PATHS {
            let path = format!("{first}{second}");
            let found = line.match_indices(&path).any(|(at, _)| {
                // The middle of a longer path or of an address is something else.
                let before = line[..at].chars().next_back();
                !before.is_some_and(|before| is_word(before) || "-.~}".contains(before))
            });
            if found {
                let what = format!("`{path}` is a path of one machine; say it relative, or with ~");
                problems.push(Problem::new(&file.path, number + 1, what));
            }
        }
    }
}

/// Relative links of Markdown lead to something.
fn check_links(root: &Path, file: &File, problems: &mut Vec<Problem>) {
    let directory = Path::new(&file.path)
        .parent()
        .unwrap_or_else(|| Path::new(""));
    let mut in_fence = false;
    for (number, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        if in_fence {
            continue;
        }
        for target in links(line) {
            let path = target.split(['#', ' ']).next().unwrap_or_default();
            let elsewhere = path.is_empty() || path.contains(':');
            if !elsewhere && !root.join(directory).join(path).exists() {
                let what = format!("links to `{path}`, which does not exist");
                problems.push(Problem::new(&file.path, number + 1, what));
            }
        }
    }
}

/// The targets of inline links and of link definitions.
fn links(line: &str) -> Vec<&str> {
    // A target may follow a name in backticks; only what stands between those is left out.
    let outside: Vec<&str> = line.split('`').step_by(2).collect();
    let mut targets: Vec<&str> = outside
        .iter()
        .flat_map(|text| text.split("](").skip(1))
        .filter_map(|rest| Some(rest.split_once(')')?.0))
        .collect();
    targets.extend(
        line.strip_prefix('[')
            .and_then(|rest| rest.split_once("]: "))
            .map(|(_, target)| target.trim()),
    );
    targets
}

/// A file of a `src` directory that no `mod` names is dead.
fn check_modules(files: &[File], problems: &mut Vec<Problem>) {
    let sources: BTreeMap<&str, &File> = files
        .iter()
        .filter(|file| file.is_rust())
        .map(|file| (file.path.as_str(), file))
        .collect();
    for path in sources.keys() {
        let Some((package, inside)) = path.split_once("/src/") else {
            continue;
        };
        let module = inside.trim_end_matches(".rs").trim_end_matches("/mod");
        let is_root = matches!(module, "lib" | "main") || module.starts_with("bin/");
        if is_root {
            continue;
        }
        let (parent, name) = module.rsplit_once('/').unwrap_or(("", module));
        let candidates = if parent.is_empty() {
            vec!["lib.rs".to_owned(), "main.rs".to_owned()]
        } else {
            vec![format!("{parent}.rs"), format!("{parent}/mod.rs")]
        };
        let declared = candidates.iter().any(|candidate| {
            let file = sources.get(format!("{package}/src/{candidate}").as_str());
            file.is_some_and(|file| has_word(&file.text, &format!("mod {name};")))
        });
        if !declared {
            let what = format!("no `mod {name};` leads here; declare the module or remove it");
            problems.push(Problem::new(*path, 0, what));
        }
    }
}

/// Lengths of files and functions, against the limits and what is allowed beyond them.
#[derive(Default)]
struct Lengths {
    files: BTreeMap<String, (String, usize, usize)>,
    functions: BTreeMap<String, (String, usize, usize)>,
}

impl Lengths {
    fn add(&mut self, file: &File, source: &Source) {
        let lines = file.text.lines().count();
        self.files
            .insert(file.path.clone(), (file.path.clone(), 0, lines));
        for function in source.functions() {
            let first = *function.lines.start();
            let lines = function.lines.end() + 1 - first;
            let what = format!("{}::{}", file.path, function.name);
            let longest = self.functions.entry(what).or_default();
            if lines > longest.2 {
                *longest = (file.path.clone(), first + 1, lines);
            }
        }
    }

    fn check(&self, problems: &mut Vec<Problem>) {
        ratchet(&self.files, FILE_LINES, &LONGER_FILES, problems);
        ratchet(&self.functions, FUNCTION_LINES, &LONGER_FUNCTIONS, problems);
    }
}

/// Nothing is longer than the limit except what is listed, and that does not grow.
fn ratchet(
    found: &BTreeMap<String, (String, usize, usize)>,
    limit: usize,
    allowed: &[Longer],
    problems: &mut Vec<Problem>,
) {
    for (what, (path, line, lines)) in found {
        let longer = allowed.iter().find(|longer| longer.what == what);
        let limit = longer.map_or(limit, |longer| longer.lines);
        if *lines > limit {
            let what = format!("{lines} lines, of at most {limit}; look for the missing noun");
            problems.push(Problem::new(path, *line, what));
        }
    }
    let mut seen = BTreeSet::new();
    for longer in allowed {
        let lines = found.get(longer.what).map_or(0, |(_, _, lines)| *lines);
        if lines < longer.lines || longer.reason.is_empty() || !seen.insert(longer.what) {
            let what = format!(
                "{} has {lines} lines, {} are allowed; lower the number or remove the entry, and \
                 keep a reason",
                longer.what, longer.lines
            );
            problems.push(Problem::new("tests/tidy/style.rs", 0, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(path: &str, text: &str) -> Vec<(usize, String)> {
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let mut problems = Vec::new();
        check(Path::new("."), &[file], &mut problems);
        problems.into_iter().map(|p| (p.line, p.what)).collect()
    }

    #[test]
    fn clean_text_has_no_problems() {
        let text = "// A method, xTODOx, TODO(#3): later.\nlet a = \"std::fs dbg!\";\n";
        assert_eq!(problems("core/src/lib.rs", text), []);
        let page = "[a](https://example.org/home/x) [b](#there) `[c](gone)` ~/wo rk/\n";
        assert_eq!(problems("docs/a.md", page), []);
    }

    #[test]
    fn tags_at_the_end_do_not_count_for_the_width() {
        let line = "f(x); // [MQTT-1.5.4-1] [MQTT311-1.5.3-1]";
        assert_eq!(without_tags(line), "f(x);");
        assert_eq!(without_tags("f(x); // a[1]"), "f(x); // a[1]");
        let line = "f(x); // why [MQTT-1.5.4-1]";
        assert_eq!(without_tags(line), "f(x); // why");
    }

    #[test]
    fn what_is_out_of_place_is_found_with_its_line() {
        let long = format!("// {}\n", "x".repeat(98));
        let note = "// TODO: later\n";
        let impure = "use std::time::Instant;\n";
        let print = "dbg!(1);\n";
        let ignored = "#[ignore = \"slow\"]\n";
        let text = [long.as_str(), note, impure, print, ignored].concat();
        let lines: Vec<usize> = problems("core/src/lib.rs", &text)
            .into_iter()
            .map(|(line, _)| line)
            .collect();
        assert_eq!(lines, [1, 2, 5, 3, 4]);
    }

    #[test]
    fn links_and_paths_of_one_machine_are_found() {
        let (first, second) = MACHINE_PATHS[0];
        let text = format!("[a](gone.md)\n\n[b]: gone.md\nin {first}{second}me\n");
        let lines: Vec<usize> = problems("docs/a.md", &text)
            .into_iter()
            .map(|(line, _)| line)
            .collect();
        assert_eq!(lines, [4, 1, 3]);
    }

    #[test]
    fn a_long_function_and_a_dead_module_are_found() {
        let body = "    f();\n".repeat(FUNCTION_LINES);
        let text = format!("fn long() {{\n{body}}}\n");
        let found = problems("core/src/lost.rs", &text);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0].0, 1);
        assert_eq!(found[1].0, 0);
    }
}
