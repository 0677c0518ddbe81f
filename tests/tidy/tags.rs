//! Statement tags such as `MQTT-3.8.4-3` in square brackets: in core/src on the line that decides,
//! in tests in the first paragraph of the doc comment of the test that shows it.

use crate::Problem;
use crate::source::Source;
use crate::tree::File;
use std::collections::BTreeMap;

/// Where statements are decided: in core, and those about transports where these are.
const DECIDES: [&str; 2] = ["core/src/", "core/transport/src/"];

/// A place in the repository.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    /// Relative to the root.
    pub(crate) path: String,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// A test that names a tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Test {
    /// The function.
    pub(crate) name: String,
    /// Where it begins.
    pub(crate) site: Site,
}

/// All tags of the repository, by statement.
#[derive(Default)]
pub(crate) struct Tags {
    /// Where core/src decides.
    pub(crate) code: BTreeMap<String, Site>,
    /// What shows it.
    pub(crate) tests: BTreeMap<String, Vec<Test>>,
}

impl Tags {
    /// Finds the tags; one that stands twice in core/src, or on no test, is a problem.
    pub(crate) fn find(files: &[File], problems: &mut Vec<Problem>) -> Self {
        let mut tags = Self::default();
        for file in files.iter().filter(|file| file.is_rust()) {
            let source = Source::new(&file.text);
            if DECIDES.iter().any(|place| file.path.starts_with(place)) {
                tags.add_code(file, &source, problems);
            }
            tags.add_tests(file, &source, problems);
        }
        tags
    }

    fn add_code(&mut self, file: &File, source: &Source, problems: &mut Vec<Problem>) {
        if is_test_file(&file.path) {
            return;
        }
        for (number, line) in source.lines.iter().enumerate() {
            if source.is_test(number) {
                continue;
            }
            for id in ids(&line.comment) {
                let site = Site {
                    path: file.path.clone(),
                    line: number + 1,
                };
                let Some(first) = self.code.get(id) else {
                    self.code.insert(id.to_owned(), site);
                    continue;
                };
                let what = format!(
                    "[{id}] stands at {}:{} already; keep it on the line that decides, and say \
                     \"see …\" here",
                    first.path, first.line
                );
                problems.push(Problem::new(site.path, site.line, what));
            }
        }
    }

    fn add_tests(&mut self, file: &File, source: &Source, problems: &mut Vec<Problem>) {
        for function in source.functions() {
            let line = function.lines.start() + 1;
            let in_core = file.path.starts_with("core/src/");
            let is_code = in_core && !is_test_file(&file.path) && !source.is_test(line - 1);
            if is_code && !function.is_test {
                continue;
            }
            let paragraph = function.doc.iter().take_while(|text| !text.is_empty());
            for id in paragraph.flat_map(|text| ids(text)) {
                if !function.is_test {
                    let what = format!(
                        "[{id}] is in the doc comment of `{}`, which is no test; move it to the \
                         test that shows the rule",
                        function.name
                    );
                    problems.push(Problem::new(&file.path, line, what));
                    continue;
                }
                let test = Test {
                    name: function.name.clone(),
                    site: Site {
                        path: file.path.clone(),
                        line,
                    },
                };
                self.tests.entry(id.to_owned()).or_default().push(test);
            }
        }
    }
}

/// Files of core/src that hold nothing but tests.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The identifiers of all tags in a text.
pub(crate) fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split('[')
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(']')?.0))
        .filter(|inside| {
            ["MQTT-", "MQTT311-"].iter().any(|prefix| {
                let number = inside.strip_prefix(prefix);
                number.is_some_and(|number| {
                    number.starts_with(|first: char| first.is_ascii_digit())
                        && !number.contains(char::is_whitespace)
                })
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> File {
        File {
            path: path.to_owned(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn ids_are_found_among_other_brackets() {
        let text = "see [here] [MQTT-1.5.4-1] and [MQTT311-2.3.1-1], not [MQTT] or [MQTT-4.6]x";
        let found: Vec<&str> = ids(text).collect();
        assert_eq!(found, ["MQTT-1.5.4-1", "MQTT311-2.3.1-1", "MQTT-4.6"]);
    }

    #[test]
    fn code_and_tests_are_told_apart_and_doubles_are_reported() {
        let text = concat!(
            "let a = 1; // [MQTT-1.1.1-1]\n",
            "// again [MQTT-1.1.1-1]\n",
            "#[cfg(test)]\nmod tests {\n",
            "    /// [MQTT-1.1.1-1] [MQTT-1.1.1-2]\n    #[test]\n    fn shows() {}\n",
            "    /// [MQTT-1.1.1-3]\n    fn helps() {}\n}\n",
        );
        let mut problems = Vec::new();
        let tags = Tags::find(&[file("core/src/a.rs", text)], &mut problems);
        assert_eq!(tags.code.len(), 1);
        assert_eq!(tags.code["MQTT-1.1.1-1"].line, 1);
        assert_eq!(tags.tests.len(), 2);
        assert_eq!(tags.tests["MQTT-1.1.1-2"][0].name, "shows");
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 9]);
    }
}
