//! Splits Rust into code and comments, and finds functions. Knows strings, raw strings, characters
//! and nested comments; it is no parser, and macros that build items from pieces are beyond it.

use std::ops::RangeInclusive;

/// One line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Without comments; what stands in string and character literals is left out.
    pub(crate) code: String,
    /// The text of its comments, with the slashes of the first.
    pub(crate) comment: String,
}

/// A Rust file, line by line. Lines are counted from 0 here and from 1 in messages.
pub(crate) struct Source {
    /// All lines.
    pub(crate) lines: Vec<Line>,
    tests: Vec<RangeInclusive<usize>>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// From the line with `fn` to the closing brace.
    pub(crate) lines: RangeInclusive<usize>,
    /// Its doc comment, line by line, without slashes.
    pub(crate) doc: Vec<String>,
    /// Whether an attribute or a surrounding macro makes it a test.
    pub(crate) is_test: bool,
}

/// Where the lexer is at the end of a line.
#[derive(Clone, Copy)]
enum At {
    Code,
    Comment { depth: usize },
    String,
    RawString { hashes: usize },
}

impl Source {
    pub(crate) fn new(text: &str) -> Self {
        let mut at = At::Code;
        let lines = text.lines().map(|line| split(line, &mut at)).collect();
        let mut source = Self {
            lines,
            tests: Vec::new(),
        };
        source.tests = source.test_items();
        source
    }

    /// Whether the line belongs to an item under `#[cfg(test)]`.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&line))
    }

    /// All functions with a body, in order.
    pub(crate) fn functions(&self) -> Vec<Function> {
        let in_macros = self.macro_bodies();
        let mut functions = Vec::new();
        for (number, line) in self.lines.iter().enumerate() {
            let Some((column, name)) = function_name(&line.code) else {
                continue;
            };
            let Some(end) = self.end_of_item(number, column) else {
                continue;
            };
            let (doc, attributes) = self.above(number);
            let own = &line.code[..column];
            let is_test = is_test_attribute(own)
                || attributes.iter().any(|text| is_test_attribute(text))
                || in_macros.iter().any(|range| range.contains(&number));
            functions.push(Function {
                name: name.to_owned(),
                lines: number..=end,
                doc,
                is_test,
            });
        }
        functions
    }

    /// Doc comment and attributes directly above a line.
    fn above(&self, number: usize) -> (Vec<String>, Vec<&str>) {
        let mut doc = Vec::new();
        let mut attributes = Vec::new();
        for line in self.lines[..number].iter().rev() {
            let code = line.code.trim();
            if code.starts_with("#[") {
                attributes.push(code);
            } else if code.is_empty() && !line.comment.is_empty() {
                if let Some(text) = line.comment.strip_prefix("///") {
                    doc.push(text.trim().to_owned());
                }
            } else {
                break;
            }
        }
        doc.reverse();
        (doc, attributes)
    }

    /// The line where the item that begins here ends: at its closing brace, or its semicolon.
    fn end_of_item(&self, first: usize, column: usize) -> Option<usize> {
        let mut depth = 0usize;
        let mut nested = 0usize;
        for (number, line) in self.lines.iter().enumerate().skip(first) {
            let from = if number == first { column } else { 0 };
            for character in line.code[from..].chars() {
                match character {
                    '(' | '[' => nested += 1,
                    ')' | ']' => nested = nested.saturating_sub(1),
                    '{' => depth += 1,
                    '}' => {
                        depth = depth.saturating_sub(1);
                        if depth == 0 && nested == 0 {
                            return Some(number);
                        }
                    }
                    ';' if depth == 0 && nested == 0 => return Some(number),
                    _ => {}
                }
            }
        }
        None
    }

    /// The items that exist in tests only.
    fn test_items(&self) -> Vec<RangeInclusive<usize>> {
        let starts = self.lines.iter().enumerate().filter_map(|(number, line)| {
            let column = line.code.find("#[cfg(test)]")?;
            Some((number, column + "#[cfg(test)]".len()))
        });
        starts
            .filter_map(|(number, column)| Some(number..=self.end_of_item(number, column)?))
            .collect()
    }

    /// The bodies of `name! { … }` at item level: what defines tests by macro looks like this.
    fn macro_bodies(&self) -> Vec<RangeInclusive<usize>> {
        let starts = self.lines.iter().enumerate().filter(|(_, line)| {
            let code = line.code.trim();
            code.strip_suffix('{')
                .map(str::trim_end)
                .and_then(|head| head.strip_suffix('!'))
                .is_some_and(|name| !name.is_empty() && name.chars().all(is_path))
        });
        starts
            .filter_map(|(number, _)| Some(number..=self.end_of_item(number, 0)?))
            .collect()
    }
}

fn is_path(character: char) -> bool {
    is_word(character) || character == ':'
}

/// Whether the character can be part of an identifier.
pub(crate) fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn is_test_attribute(code: &str) -> bool {
    // `#[test]`, `#[tokio::test(…)]`, `#[quickcheck]`.
    let inside = code
        .split("#[")
        .skip(1)
        .filter_map(|rest| rest.split([']', '(']).next());
    inside
        .filter_map(|path| path.rsplit("::").next())
        .any(|name| matches!(name.trim(), "test" | "quickcheck"))
}

/// The name after `fn`, and the column of `fn`.
fn function_name(code: &str) -> Option<(usize, &str)> {
    let column = code.match_indices("fn ").map(|(at, _)| at).find(|&at| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(is_word)
    })?;
    let rest = code[column + 3..].trim_start();
    let end = rest
        .find(|character| !is_word(character))
        .unwrap_or(rest.len());
    (end > 0).then(|| (column, &rest[..end]))
}

/// Takes one line apart, going on where the line before it ended.
fn split(text: &str, at: &mut At) -> Line {
    let mut line = Line::default();
    let characters: Vec<char> = text.chars().collect();
    let mut next = 0;
    while next < characters.len() {
        let rest = &characters[next..];
        next += match *at {
            At::Code => code(rest, &mut line, at),
            At::Comment { depth } => comment(rest, depth, &mut line, at),
            At::String => string(rest, at),
            At::RawString { hashes } => raw_string(rest, hashes, at),
        };
    }
    line
}

/// Handles what is at the front of `rest` and says how many characters it took.
fn code(rest: &[char], line: &mut Line, at: &mut At) -> usize {
    let word_before = line.code.chars().next_back().is_some_and(is_word);
    match rest {
        ['/', '/', ..] => {
            line.comment.extend(rest);
            rest.len()
        }
        ['/', '*', ..] => {
            *at = At::Comment { depth: 1 };
            2
        }
        ['"', ..] => {
            line.code.push('"');
            *at = At::String;
            1
        }
        ['r', ..] | ['b' | 'c', 'r', ..] if !word_before && raw_prefix(rest).is_some() => {
            let (length, hashes) = raw_prefix(rest).expect("just found");
            line.code.push('"');
            *at = At::RawString { hashes };
            length
        }
        ['\'', '\\', _, tail @ ..] => {
            let close = tail.iter().position(|&character| character == '\'');
            3 + close.map_or(tail.len(), |position| position + 1)
        }
        ['\'', _, '\'', ..] => 3,
        [character, ..] => {
            line.code.push(*character);
            1
        }
        [] => 1,
    }
}

/// The length of `r#"` and the like, and the number of hashes.
fn raw_prefix(rest: &[char]) -> Option<(usize, usize)> {
    let letters = if rest.first() == Some(&'r') { 1 } else { 2 };
    let tail = &rest[letters..];
    let hashes = tail
        .iter()
        .take_while(|&&character| character == '#')
        .count();
    (tail.get(hashes) == Some(&'"')).then_some((letters + hashes + 1, hashes))
}

fn comment(rest: &[char], depth: usize, line: &mut Line, at: &mut At) -> usize {
    match rest {
        ['*', '/', ..] => {
            *at = match depth {
                1 => At::Code,
                _ => At::Comment { depth: depth - 1 },
            };
            2
        }
        ['/', '*', ..] => {
            *at = At::Comment { depth: depth + 1 };
            2
        }
        [character, ..] => {
            line.comment.push(*character);
            1
        }
        [] => 1,
    }
}

fn string(rest: &[char], at: &mut At) -> usize {
    match rest {
        ['\\', _, ..] => 2,
        ['"', ..] => {
            *at = At::Code;
            1
        }
        _ => 1,
    }
}

fn raw_string(rest: &[char], hashes: usize, at: &mut At) -> usize {
    let closes = rest[0] == '"'
        && rest.len() > hashes
        && rest[1..=hashes].iter().all(|&character| character == '#');
    if closes {
        *at = At::Code;
        1 + hashes
    } else {
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_characters_are_no_code_and_no_comment() {
        let source = Source::new(concat!(
            "let a = \"// no { comment\"; // yes\n",
            "let b = r#\"{ \" //\"#; let c = '{'; let d = '\\''; /* in */ f::<'a>(\n",
        ));
        assert_eq!(source.lines[0].code, "let a = \"; ");
        assert_eq!(source.lines[0].comment, "// yes");
        assert_eq!(
            source.lines[1].code,
            "let b = \"; let c = ; let d = ;  f::<'a>("
        );
        assert_eq!(source.lines[1].comment, " in ");
    }

    #[test]
    fn functions_have_their_docs_and_their_length() {
        let text = concat!(
            "/// First.\n///\n/// More.\n#[test]\nfn one(a: [u8; 2]) {\n    let f: fn(u8);\n}\n",
            "fn two();\n",
            "quickcheck! {\n    /// Third.\n    fn three() -> bool {\n        true\n    }\n}\n",
        );
        let functions = Source::new(text).functions();
        let seen: Vec<_> = functions
            .iter()
            .map(|f| (f.name.as_str(), f.lines.clone(), f.is_test, f.doc.len()))
            .collect();
        assert_eq!(
            seen,
            [
                ("one", 4..=6, true, 3),
                ("two", 7..=7, false, 0),
                ("three", 10..=12, true, 1)
            ]
        );
    }

    #[test]
    fn items_for_tests_are_told_from_code() {
        let source = Source::new("fn a() {}\n#[cfg(test)]\nmod tests {\n    // x\n}\nfn b() {}\n");
        let seen: Vec<bool> = (0..6).map(|line| source.is_test(line)).collect();
        assert_eq!(seen, [false, true, true, true, true, false]);
    }
}
