//! `docs/conformance.toml` against the tags, and `docs/conformance.md` made from both.
//!
//! With `WHIMBREL_BLESS=1` in the environment, statements that are `todo` and have both tag and
//! test become `implemented`, and the page is written anew.

use crate::tags::{Site, Tags, Test};
use crate::{BLESS, Problem, blessing};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

const LIST: &str = "docs/conformance.toml";
const PAGE: &str = "docs/conformance.md";
/// Whether statements may still be open.
const OPEN_ALLOWED: bool = false;

/// How a statement is met.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
enum State {
    Implemented,
    ByConstruction,
    ClientSide,
    Exception,
    Todo,
}

impl State {
    const ALL: [Self; 5] = [
        Self::Implemented,
        Self::ByConstruction,
        Self::ClientSide,
        Self::Exception,
        Self::Todo,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::Implemented => "implemented",
            Self::ByConstruction => "by construction",
            Self::ClientSide => "client-side",
            Self::Exception => "exception",
            Self::Todo => "todo",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    id: String,
    section: String,
    rule: String,
    /// Absent exactly where `same_as` stands.
    state: Option<State>,
    #[serde(default)]
    same_as: Vec<String>,
    reason: Option<String>,
    source: Option<Origin>,
}

/// Where the wording of a statement came from, if not from its section.
#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Origin {
    Appendix,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    statement: Vec<Statement>,
}

/// The list, with the line of each entry.
struct Conformance {
    statements: Vec<Statement>,
    lines: BTreeMap<String, usize>,
}

impl Conformance {
    fn parse(text: &str) -> Result<Self, String> {
        let list: List = toml::from_str(text).map_err(|error| error.to_string())?;
        let lines = text
            .lines()
            .enumerate()
            .filter_map(|(number, line)| Some((id_of(line)?.to_owned(), number + 1)));
        Ok(Self {
            lines: lines.collect(),
            statements: list.statement,
        })
    }

    fn problem(&self, id: &str, what: impl Into<String>) -> Problem {
        Problem::new(LIST, self.lines.get(id).copied().unwrap_or(0), what)
    }

    fn find(&self, id: &str) -> Option<&Statement> {
        self.statements.iter().find(|statement| statement.id == id)
    }

    /// The state of a statement, or the least of those that it is the same as.
    fn state(&self, statement: &Statement) -> State {
        let same = statement.same_as.iter().filter_map(|id| self.find(id));
        let least = same.filter_map(|same| same.state).max_by_key(|state| {
            let order = [
                State::ClientSide,
                State::ByConstruction,
                State::Implemented,
                State::Exception,
                State::Todo,
            ];
            order.iter().position(|other| other == state)
        });
        statement.state.or(least).unwrap_or(State::Todo)
    }

    /// Where the code decides a statement: by its own tag and those of what it is the same as.
    fn code<'a>(&self, statement: &Statement, tags: &'a Tags) -> Vec<&'a Site> {
        own_and_same(statement)
            .filter_map(|id| tags.code.get(id))
            .collect()
    }

    fn tests<'a>(&self, statement: &Statement, tags: &'a Tags) -> Vec<&'a Test> {
        own_and_same(statement)
            .filter_map(|id| tags.tests.get(id))
            .flatten()
            .collect()
    }
}

fn own_and_same(statement: &Statement) -> impl Iterator<Item = &String> {
    std::iter::once(&statement.id).chain(&statement.same_as)
}

/// The identifier on an `id = "…"` line.
fn id_of(line: &str) -> Option<&str> {
    line.strip_prefix("id = \"")?.strip_suffix('"')
}

/// Compares list, tags and page; blesses first when asked to.
pub(crate) fn check(root: &Path, tags: &Tags, problems: &mut Vec<Problem>) {
    let mut text = fs::read_to_string(root.join(LIST)).expect("the conformance list is there");
    let blessing = blessing();
    if blessing {
        text = turned_over(&text, tags);
        fs::write(root.join(LIST), &text).expect("the conformance list can be written");
    }
    let list = match Conformance::parse(&text) {
        Ok(list) => list,
        Err(error) => {
            problems.push(Problem::new(LIST, 0, error));
            return;
        }
    };
    check_entries(&list, problems);
    check_tags(&list, tags, problems);
    check_states(&list, tags, problems);

    let page = page(&list, tags);
    if blessing {
        fs::write(root.join(PAGE), &page).expect("the conformance page can be written");
    }
    if fs::read_to_string(root.join(PAGE)).unwrap_or_default() != page {
        let what = format!("is not what the list and the tags make; write it anew with `{BLESS}`");
        problems.push(Problem::new(PAGE, 0, what));
    }
    print_open(&list, tags, blessing);
}

/// The list as text, with every `todo` that has tag and test `implemented`.
fn turned_over(text: &str, tags: &Tags) -> String {
    let mut id = "";
    let mut lines = Vec::new();
    for line in text.lines() {
        id = id_of(line).unwrap_or(id);
        let done = tags.code.contains_key(id) && tags.tests.contains_key(id);
        if done && line == "state = \"todo\"" {
            lines.push("state = \"implemented\"");
        } else {
            lines.push(line);
        }
    }
    lines.join("\n") + "\n"
}

/// The list by itself.
fn check_entries(list: &Conformance, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for statement in &list.statements {
        let id = &statement.id;
        if !seen.insert(id) {
            problems.push(list.problem(id, format!("{id} stands twice in the list")));
        }
        if statement.state.is_some() != statement.same_as.is_empty() {
            let what = format!("{id} needs either `state` or `same_as`");
            problems.push(list.problem(id, what));
        }
        for same in &statement.same_as {
            if list.find(same).is_none_or(|same| same.state.is_none()) {
                let what = format!("{id} is the same as {same}, which has no state of its own");
                problems.push(list.problem(id, what));
            }
        }
        let needs_reason = matches!(
            statement.state,
            Some(State::ByConstruction | State::Exception)
        );
        if needs_reason != statement.reason.as_ref().is_some_and(|r| !r.is_empty()) {
            let what = format!(
                "{id}: a `reason` belongs to `by-construction` and `exception`, and only there"
            );
            problems.push(list.problem(id, what));
        }
    }
}

/// Tags that name nothing.
fn check_tags(list: &Conformance, tags: &Tags, problems: &mut Vec<Problem>) {
    let tests = tags
        .tests
        .iter()
        .flat_map(|(id, tests)| tests.iter().map(move |test| (id, &test.site)));
    for (id, site) in tags.code.iter().chain(tests) {
        if list.find(id).is_none() {
            let what = format!(
                "[{id}] is not in {LIST}; mend the tag, or for a rule without a number write \
                 `MQTT 5.0 §…`"
            );
            problems.push(Problem::new(&site.path, site.line, what));
        }
    }
}

/// What each state promises.
fn check_states(list: &Conformance, tags: &Tags, problems: &mut Vec<Problem>) {
    for statement in &list.statements {
        let id = &statement.id;
        let Some(state) = statement.state else {
            continue;
        };
        let code = tags.code.get(id);
        let test = tags.tests.get(id).and_then(|tests| tests.first());
        match state {
            State::Implemented => {
                if code.is_none() {
                    let what = format!(
                        "{id} is implemented, but no line of core/src carries [{id}]; tag the \
                         line that decides: {}",
                        statement.rule
                    );
                    problems.push(list.problem(id, what));
                }
                if test.is_none() {
                    let place = code.map_or(String::new(), |site| {
                        format!(" (decided at {}:{})", site.path, site.line)
                    });
                    let what = format!(
                        "{id} is implemented{place}, but no test names [{id}] in the first \
                         paragraph of its doc comment: {}",
                        statement.rule
                    );
                    problems.push(list.problem(id, what));
                }
            }
            State::Todo => {
                if code.is_some() && test.is_some() {
                    let what = format!("{id} has tag and test; turn it over with `{BLESS}`");
                    problems.push(list.problem(id, what));
                } else if !OPEN_ALLOWED {
                    let what = format!("{id} is still to be done: {}", statement.rule);
                    problems.push(list.problem(id, what));
                }
            }
            State::ByConstruction | State::ClientSide | State::Exception => {}
        }
    }
}

/// Says how much is still open, and after blessing what. Past the test runner, which would keep it.
fn print_open(list: &Conformance, tags: &Tags, in_full: bool) {
    let open: Vec<&Statement> = list
        .statements
        .iter()
        .filter(|statement| statement.state == Some(State::Todo))
        .collect();
    let mut text = String::new();
    for statement in open.iter().filter(|_| in_full) {
        let missing = match (
            tags.code.contains_key(&statement.id),
            tags.tests.contains_key(&statement.id),
        ) {
            (true, _) => "test missing",
            (false, true) => "tag missing",
            (false, false) => "tag and test missing",
        };
        let _ = writeln!(
            text,
            "todo: {} ({missing}): {}",
            statement.id, statement.rule
        );
    }
    if !open.is_empty() {
        let all = list.statements.len();
        let _ = writeln!(text, "conformance: {} of {all} are todo", open.len());
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The page for readers.
fn page(list: &Conformance, tags: &Tags) -> String {
    let mut page = format!(
        "# Conformance\n\n\
         Every normative statement of MQTT 5.0 and MQTT 3.1.1, in our words, with the place in \
         `core/src` that decides it\nand the tests that show it. MQTT 3.1 has no numbered \
         statements; it is handled as 3.1.1, except that\n\n\
         - CONNECT names `MQIsdp` 3, may end before the name and the password that its flags \
         announce, and may have bits of a will that is not there;\n\
         - PUBREL, SUBSCRIBE and UNSUBSCRIBE may have DUP, when a client sends them again;\n\
         - CONNACK does not say whether there is a session, and the client identifier must not be \
         empty; one of more than 23 characters is welcome.\n\n\
         A subscription that was not granted is answered with 0x80, which 3.1 does not know; \
         its clients would otherwise wait for ever.\n\n\
         No local ([MQTT-3.8.3-3]) holds for what is retained as well, with one exception: a will \
         has no publishing connection any more.\n\n\
         Made from [conformance.toml](conformance.toml), and the tags in code and tests:\n\
         `{BLESS}`.\n\n"
    );
    let standards = [("MQTT 5.0", "MQTT-"), ("MQTT 3.1.1", "MQTT311-")];
    summary(&mut page, list, &standards);
    for (title, prefix) in standards {
        let statements = list
            .statements
            .iter()
            .filter(|statement| statement.id.starts_with(prefix));
        let _ = write!(
            page,
            "\n## {title}\n\n\
             | statement | § | rule | state | code | tests |\n|---|---|---|---|---|---|\n"
        );
        for statement in statements {
            row(&mut page, list, tags, statement);
        }
    }
    page
}

fn summary(page: &mut String, list: &Conformance, standards: &[(&str, &str)]) {
    let names: Vec<&str> = State::ALL.iter().map(|state| state.words()).collect();
    let rule = "|---".repeat(names.len() + 2);
    let _ = writeln!(page, "| | {} | all |\n{rule}|", names.join(" | "));
    for (title, prefix) in standards {
        let states: Vec<State> = list
            .statements
            .iter()
            .filter(|statement| statement.id.starts_with(prefix))
            .map(|statement| list.state(statement))
            .collect();
        let _ = write!(page, "| {title} |");
        for state in State::ALL {
            let count = states.iter().filter(|&&other| other == state).count();
            let _ = write!(page, " {count} |");
        }
        let _ = writeln!(page, " {} |", states.len());
    }
}

fn row(page: &mut String, list: &Conformance, tags: &Tags, statement: &Statement) {
    let mut state = list.state(statement).words().to_owned();
    if let Some(reason) = &statement.reason {
        let _ = write!(state, ": {reason}");
    }
    if !statement.same_as.is_empty() {
        let _ = write!(state, ", as {}", statement.same_as.join(", "));
    }
    let mut rule = statement.rule.clone();
    if statement.source == Some(Origin::Appendix) {
        rule.push_str(" (wording from the appendix)");
    }
    let files: BTreeSet<&str> = list
        .code(statement, tags)
        .iter()
        .map(|site| site.path.as_str())
        .collect();
    let files: Vec<String> = files
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix("core/src/").unwrap_or(path);
            format!("[{name}](../{path})")
        })
        .collect();
    let tests: BTreeSet<&str> = list
        .tests(statement, tags)
        .iter()
        .map(|test| test.name.as_str())
        .collect();
    let tests: Vec<String> = tests.into_iter().map(|name| format!("`{name}`")).collect();
    let _ = writeln!(
        page,
        "| {} | {} | {} | {} | {} | {} |",
        statement.id,
        statement.section,
        cell(&rule),
        cell(&state),
        files.join(", "),
        tests.join(", ")
    );
}

/// Text that is safe inside a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('#', "\\#")
        .replace('<', "&lt;")
        .replace("+ ", "\\+ ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = concat!(
        "[[statement]]\nid = \"MQTT-1.1.1-1\"\nsection = \"1\"\nrule = \"One\"\nstate = \"todo\"\n",
        "[[statement]]\nid = \"MQTT-1.1.1-2\"\nsection = \"1\"\nrule = \"Two\"\n",
        "state = \"implemented\"\n",
        "[[statement]]\nid = \"MQTT311-1.1.1-1\"\nsection = \"1\"\nrule = \"Both\"\n",
        "same_as = [\"MQTT-1.1.1-1\", \"MQTT-1.1.1-2\"]\n",
    );

    fn site(line: usize) -> Site {
        let path = "core/src/a.rs".to_owned();
        Site { path, line }
    }

    fn tagged(id: &str) -> Tags {
        let mut tags = Tags::default();
        tags.code.insert(id.to_owned(), site(1));
        let name = "shows".to_owned();
        let site = site(9);
        tags.tests.insert(id.to_owned(), vec![Test { name, site }]);
        tags
    }

    #[test]
    fn disagreement_is_reported_with_its_place() {
        let list = Conformance::parse(TEXT).expect("well-formed");
        let mut problems = Vec::new();
        check_states(&list, &tagged("MQTT-1.1.1-1"), &mut problems);
        let lines: Vec<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 7, 7], "{problems:#?}");

        problems.clear();
        check_tags(&list, &tagged("MQTT-9.9.9-9"), &mut problems);
        assert_eq!(problems.len(), 2, "{problems:#?}");
    }

    #[test]
    fn blessing_turns_over_what_has_tag_and_test() {
        let blessed = turned_over(TEXT, &tagged("MQTT-1.1.1-1"));
        assert_eq!(
            blessed,
            TEXT.replacen("\"todo\"", "\"implemented\"", 1),
            "only the first"
        );
        assert_eq!(turned_over(TEXT, &Tags::default()), TEXT);
    }

    #[test]
    fn a_statement_that_says_the_same_has_the_least_state_and_all_tests() {
        let list = Conformance::parse(TEXT).expect("well-formed");
        let both = list.find("MQTT311-1.1.1-1").expect("listed");
        let tags = tagged("MQTT-1.1.1-2");
        assert_eq!(list.state(both), State::Todo);
        assert_eq!(list.tests(both, &tags).len(), 1);
        let mut problems = Vec::new();
        check_entries(&list, &mut problems);
        assert_eq!(problems, []);
    }
}
