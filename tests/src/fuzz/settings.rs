//! What operators write: the configuration, access rules in both formats, bans.

use super::filter::naive_matches;
use super::script::Script;
use whimbrel_core::access::rule::Operation;
use whimbrel_core::access::rules::{Decision, Origin, Rules, Subject};
use whimbrel_core::topic::TopicFilter;
use whimbrel_rules::Format;

/// Names of topics, and filters that match some of them.
const TOPICS: [&str; 8] = ["a", "a/b", "a/u", "u", "c/a", "$SYS/a", "/", "a/b/c"];
const FILTERS: [&str; 8] = ["#", "+", "a/#", "a/+", "+/a", "u/#", "$SYS/#", "+/+/#"];

/// Names that a client may have chosen so that rules take them for something else.
const NAMES: [&str; 6] = ["u", "c", "#", "+", "a/b", ""];

/// What follows the first byte, as the text of one of the files. A mistake is told with its place,
/// which is in the text, in one line. Rules say the same of a filter and of the topics that it
/// matches.
pub fn settings(data: &[u8]) {
    let mut script = Script::new(data);
    let (kind, name) = (script.below(4), script.below(256));
    let Ok(text) = str::from_utf8(script.take(usize::MAX)) else {
        return;
    };
    let listeners = ["internal".to_owned()];
    let format = match kind {
        0 => {
            for problem in whimbrel::problems_in("file", text) {
                check_problem(&problem, text);
            }
            return;
        }
        1 => Format::Toml,
        2 => Format::Mosquitto,
        _ => {
            if let Err(problems) = whimbrel_rules::parse_bans(text) {
                assert!(!problems.is_empty(), "refused without a word");
                problems.iter().for_each(|p| check_rule_problem(p, text));
            }
            return;
        }
    };
    match whimbrel_rules::parse(text, format, &listeners) {
        Ok(set) => check_decisions(&Rules::new(set), name),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a word");
            problems.iter().for_each(|p| check_rule_problem(p, text));
        }
    }
}

fn check_problem(problem: &str, text: &str) {
    assert!(!problem.contains('\n'), "{problem:?}");
    let place = problem.strip_prefix("file:");
    let place = place.unwrap_or_else(|| panic!("nowhere: {problem}"));
    let (line, _) = place.split_once(':').expect("a line and what is wrong");
    let line: usize = line.parse().expect("a line is a number");
    check_line(line, text);
}

fn check_rule_problem(problem: &whimbrel_rules::Problem, text: &str) {
    assert!(!problem.message.is_empty() && !problem.message.contains('\n'));
    check_line(problem.line, text);
}

/// The end of a text is after its last line.
fn check_line(line: usize, text: &str) {
    let lines = 1 + text.bytes().filter(|byte| *byte == b'\n').count();
    assert!((1..=lines).contains(&line), "line {line} of {lines}");
}

fn check_decisions(rules: &Rules, name: usize) {
    let subject = Subject {
        user: Some(NAMES[name % 6]).filter(|user| !user.is_empty()),
        client_id: NAMES[name / 6 % 6],
        tenant: None,
        groups: &[],
        rules: &[],
        from: Some(Origin::default()),
    };
    let operation = Operation::ALL[name / 36 % 3];
    let decide = |text| {
        let filter = TopicFilter::plain(text).expect("all of them are filters");
        rules.decide(&subject, operation, filter)
    };
    for filter in FILTERS {
        let whole = decide(filter);
        for topic in TOPICS {
            if !naive_matches(filter, topic) {
                continue;
            }
            match (whole, decide(topic)) {
                (Decision::Allowed(_), Decision::Allowed(_))
                | (Decision::Denied(_), Decision::Denied(_))
                | (Decision::Partly(_), Decision::Allowed(_) | Decision::Denied(_)) => {}
                (whole, one) => panic!("{filter} is {whole:?}, but {topic} is {one:?}"),
            }
        }
    }
}
