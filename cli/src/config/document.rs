//! The documentation of all keys, written from the table: `docs/whimbrel.toml`, and the tables in
//! `docs/configuration.md`.

use super::keys::SECTIONS;
#[cfg(test)]
use super::{
    key::{Key, Section},
    value::{Kind, TOML_MAXIMUM, Unit},
};

const WIDTH: usize = 100;

/// A configuration file with every key, its meaning and its default, where everything is commented
/// out.
pub(crate) fn example_file() -> String {
    let mut out = String::from(
        "# Every setting of Whimbrel, with its default. Lines that begin with `#` and a name are settings:\n\
         # take the `#` away to change one. Check what you wrote with `whimbrel check FILE`.\n",
    );
    for section in &SECTIONS {
        out.push('\n');
        comment(&mut out, section.doc);
        // An empty section changes nothing, but a listener without keys would be one.
        let hash = if section.repeated { "#" } else { "" };
        out.push_str(&format!("{hash}{}\n", section.heading()));
        for key in section.keys {
            out.push('\n');
            comment(&mut out, key.doc);
            comment(&mut out, &format!("Takes {}.", key.kind().describe()));
            if key.is_live {
                comment(&mut out, "Taken over by a running broker at SIGHUP.");
            }
            match (key.default(), key.example) {
                (Some(default), _) if default != "[]" => {
                    comment(&mut out, &format!("Why this default: {}", key.why));
                    out.push_str(&format!("#{} = {default}\n", key.name));
                }
                (_, example) => {
                    comment(&mut out, &format!("Left out by default: {}", key.why));
                    let example = example.unwrap_or_default();
                    comment(&mut out, &format!("Example: {} = {example}", key.name));
                }
            }
        }
    }
    out
}

/// Appends text as comment lines.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > WIDTH {
            out.push_str(&line);
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(&line);
    out.push('\n');
}

/// The keys of a section as a Markdown table.
#[cfg(test)]
pub(super) fn reference_table(section: &Section) -> String {
    let mut out = format!(
        "{}\n\n| key | default | unit | values | what, and why that default |\n|---|---|---|---|---|\n",
        section.doc
    );
    for key in section.keys {
        let default = key
            .default()
            .map_or_else(|| "–".to_owned(), |default| format!("`{default}`"));
        let (unit, values) = unit_and_values(&key.kind());
        let (doc, why) = (key.doc, key.why);
        let live = if key.is_live { " ↻" } else { "" };
        let name = format!("`{}`{live}", key.name);
        out.push_str(&format!(
            "| {name} | {default} | {unit} | {values} | {doc} *{why}* |\n"
        ));
    }
    out
}

#[cfg(test)]
fn unit_and_values(kind: &Kind) -> (&'static str, String) {
    let code = |names: &[&str]| -> String {
        let names: Vec<String> = names.iter().map(|name| format!("`\"{name}\"`")).collect();
        names.join(", ")
    };
    match kind {
        Kind::Truth => ("", "`true`, `false`".to_owned()),
        Kind::Integer(range, unit) => {
            let unit_words = match unit {
                Unit::Count => "",
                Unit::Bytes => "bytes",
                Unit::Milliseconds => "ms",
                Unit::Seconds => "s",
            };
            let least = unit.show(*range.start());
            let values = if *range.end() == TOML_MAXIMUM {
                format!("`{least}` or more")
            } else {
                format!("`{least}` to `{}`", unit.show(*range.end()))
            };
            (unit_words, values)
        }
        Kind::Text => ("", "text".to_owned()),
        Kind::Choice(names) => ("", code(names)),
        Kind::Choices(names) => ("", format!("a list of {}", code(names))),
        Kind::Texts => ("", "a list of texts".to_owned()),
    }
}

/// A whole document with the text between the markers of each section replaced by its table.
#[cfg(test)]
pub(super) fn with_reference_tables(document: &str) -> Option<String> {
    let mut document = document.to_owned();
    for section in &SECTIONS {
        let begin = format!("<!-- keys of {} -->\n", section.name);
        let end = format!("<!-- end of {} -->", section.name);
        let from = document.find(&begin)? + begin.len();
        let to = from + document[from..].find(&end)?;
        document.replace_range(from..to, &reference_table(section));
    }
    Some(document)
}

#[cfg(test)]
pub(super) fn every_key() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}
