//! Values as people write them, in a file or in the environment, and what a key accepts.
//!
//! [`Kind::read`] is the one place where a written value is checked; where it came from and where
//! it goes is for others.

use crate::nearest::nearest;
use std::ops::RangeInclusive;
use toml::de::DeValue;

/// A checked value, on its way into a field or out of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    /// `true` or `false`.
    Truth(bool),
    /// A number that fits the range of its key.
    Integer(u64),
    /// Any text.
    Text(String),
    /// One of the names of its kind.
    Choice(&'static str),
    /// Some of the names of its kind, in the order given.
    Choices(Vec<&'static str>),
    /// Any number of any texts.
    Texts(Vec<String>),
}

/// What a key accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`.
    Truth,
    /// A number from here to there.
    Integer(RangeInclusive<u64>, Unit),
    /// Any text.
    Text,
    /// One of these names.
    Choice(&'static [&'static str]),
    /// Any number of these names.
    Choices(&'static [&'static str]),
    /// Any number of any texts.
    Texts,
}

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Things.
    Count,
    /// Bytes: may also be written as `"64 KiB"`.
    Bytes,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
}

/// A value as it was written, not yet checked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Written<'a> {
    /// In a TOML file.
    Toml(&'a DeValue<'a>),
    /// In an environment variable or a flag, where everything is text.
    Text(&'a str),
}

/// The largest number a TOML file can hold.
pub(super) const TOML_MAXIMUM: u64 = i64::MAX.unsigned_abs();

const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Kind {
    /// Checks a written value.
    ///
    /// # Errors
    ///
    /// In words for the person who wrote it: what was expected, and what was found.
    pub(crate) fn read(&self, written: Written<'_>) -> Result<Value, String> {
        match self {
            Self::Truth => self.read_truth(written),
            Self::Integer(range, unit) => self.read_integer(written, range, *unit),
            Self::Text => match written {
                Written::Text(text) => Ok(Value::Text(text.to_owned())),
                Written::Toml(DeValue::String(text)) => Ok(Value::Text(text.to_string())),
                Written::Toml(_) => Err(self.mismatch(written)),
            },
            Self::Choice(names) => match written.as_text() {
                Some(text) => one_of(names, text).map(Value::Choice),
                None => Err(self.mismatch(written)),
            },
            Self::Choices(names) => self.read_choices(written, names),
            Self::Texts => {
                let parts = self.parts(written)?;
                Ok(Value::Texts(parts.into_iter().map(str::to_owned).collect()))
            }
        }
    }

    /// What is accepted, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Truth => "true or false".to_owned(),
            Self::Integer(range, unit) => {
                let of = match unit {
                    Unit::Count => "",
                    Unit::Bytes => " of bytes (or text such as \"64 KiB\")",
                    Unit::Milliseconds => " of milliseconds",
                    Unit::Seconds => " of seconds",
                };
                let least = unit.show(*range.start());
                if *range.end() == TOML_MAXIMUM {
                    return format!("a number{of}, {least} or more");
                }
                format!("a number{of} from {least} to {}", unit.show(*range.end()))
            }
            Self::Text => "text in quotes".to_owned(),
            Self::Choice(names) => format!("one of {}", quoted(names)),
            Self::Choices(names) => format!("a list of {}", quoted(names)),
            Self::Texts => "a list of texts".to_owned(),
        }
    }

    fn read_truth(&self, written: Written<'_>) -> Result<Value, String> {
        match written {
            Written::Toml(DeValue::Boolean(truth)) => Ok(Value::Truth(*truth)),
            Written::Text("true") => Ok(Value::Truth(true)),
            Written::Text("false") => Ok(Value::Truth(false)),
            Written::Toml(_) | Written::Text(_) => Err(self.mismatch(written)),
        }
    }

    fn read_integer(
        &self,
        written: Written<'_>,
        range: &RangeInclusive<u64>,
        unit: Unit,
    ) -> Result<Value, String> {
        let number = match written {
            Written::Toml(DeValue::Integer(digits)) => {
                i128::from_str_radix(digits.as_str(), digits.radix()).ok()
            }
            Written::Text(text) if is_number(text) => text.replace('_', "").parse().ok(),
            Written::Text(text) if unit == Unit::Bytes => Some(parse_size(text)?.into()),
            Written::Toml(DeValue::String(text)) if unit == Unit::Bytes => {
                Some(parse_size(text)?.into())
            }
            Written::Toml(_) | Written::Text(_) => return Err(self.mismatch(written)),
        };
        match number.and_then(|number| u64::try_from(number).ok()) {
            Some(number) if range.contains(&number) => Ok(Value::Integer(number)),
            Some(_) | None => Err(format!(
                "{} is out of range: expected {}",
                written.show(),
                self.describe()
            )),
        }
    }

    fn read_choices(
        &self,
        written: Written<'_>,
        names: &'static [&'static str],
    ) -> Result<Value, String> {
        let parts = self.parts(written)?;
        let mut chosen = Vec::with_capacity(parts.len());
        for part in parts {
            let name = one_of(names, part)?;
            if chosen.contains(&name) {
                return Err(format!("\"{name}\" is there twice"));
            }
            chosen.push(name);
        }
        Ok(Value::Choices(chosen))
    }

    /// The elements of a list. Where everything is text, commas stand between them; one text alone
    /// is a list too.
    fn parts<'a>(&self, written: Written<'a>) -> Result<Vec<&'a str>, String> {
        match written {
            Written::Text("") => Ok(Vec::new()),
            Written::Text(text) => Ok(text.split(',').map(str::trim).collect()),
            Written::Toml(DeValue::Array(items)) => items
                .iter()
                .map(|item| Written::Toml(item.get_ref()).as_text())
                .collect::<Option<_>>()
                .ok_or_else(|| self.mismatch(written)),
            Written::Toml(DeValue::String(text)) if *self == Self::Texts => Ok(vec![text]),
            Written::Toml(_) => Err(self.mismatch(written)),
        }
    }

    fn mismatch(&self, written: Written<'_>) -> String {
        format!("expected {}, found {}", self.describe(), written.show())
    }
}

impl Value {
    /// As it is written in a TOML file.
    pub(crate) fn show(&self, unit: Unit) -> String {
        match self {
            Self::Truth(truth) => truth.to_string(),
            Self::Integer(number) => unit.show(*number),
            Self::Text(text) => toml::Value::from(text.as_str()).to_string(),
            Self::Choice(name) => format!("\"{name}\""),
            Self::Choices(names) => format!("[{}]", quoted(names)),
            Self::Texts(texts) => toml::Value::from(texts.clone()).to_string(),
        }
    }
}

impl Unit {
    /// A number in this unit as it is written in a TOML file: sizes in the largest unit that is
    /// exact.
    pub(crate) fn show(self, number: u64) -> String {
        let size = SIZES
            .iter()
            .find(|(_, bytes)| *bytes > 1 && number >= *bytes && number.is_multiple_of(*bytes));
        match (self, size) {
            (Self::Bytes, Some((name, bytes))) => format!("\"{} {name}\"", number / bytes),
            _ if number >= 10_000 => grouped(number),
            _ => number.to_string(),
        }
    }
}

impl<'a> Written<'a> {
    fn as_text(self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Toml(DeValue::String(text)) => Some(text),
            Self::Toml(_) => None,
        }
    }

    /// For a message: the value itself when it is short, otherwise only what it is.
    fn show(self) -> String {
        const SHORT: usize = 40;
        match self {
            Self::Text(text) if text.len() <= SHORT => format!("\"{text}\""),
            Self::Text(_) => "a long text".to_owned(),
            Self::Toml(DeValue::String(text)) if text.len() <= SHORT => {
                format!("the text \"{text}\"")
            }
            Self::Toml(DeValue::String(_)) => "a long text".to_owned(),
            Self::Toml(DeValue::Integer(number)) => number.to_string(),
            Self::Toml(DeValue::Float(number)) => format!("the fraction {number}"),
            Self::Toml(DeValue::Boolean(truth)) => truth.to_string(),
            Self::Toml(DeValue::Datetime(_)) => "a date or time".to_owned(),
            Self::Toml(DeValue::Array(_)) => "a list".to_owned(),
            Self::Toml(DeValue::Table(_)) => "a table".to_owned(),
        }
    }
}

fn one_of(names: &'static [&'static str], text: &str) -> Result<&'static str, String> {
    names
        .iter()
        .find(|name| **name == text)
        .copied()
        .ok_or_else(|| {
            let hint = nearest(text, names.iter().copied())
                .map(|name| format!("; did you mean \"{name}\"?"))
                .unwrap_or_default();
            format!("\"{text}\" is not one of {}{hint}", quoted(names))
        })
}

fn parse_size(text: &str) -> Result<u64, String> {
    let split = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '_')
        .unwrap_or(text.len());
    let (digits, unit) = (&text[..split], text[split..].trim());
    let factor = match SIZES.iter().find(|(name, _)| *name == unit) {
        Some((_, bytes)) => *bytes,
        None if unit.is_empty() => 1,
        None => 0,
    };
    let number = digits.replace('_', "").parse::<u64>().ok();
    if factor == 0 || number.is_none() {
        return Err(format!(
            "\"{text}\" is not a size: write a whole number of B, KiB, MiB, GiB or TiB, such as \"64 KiB\""
        ));
    }
    number
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("\"{text}\" is larger than anything this program can count"))
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|letter: char| letter.is_ascii_digit())
        && digits
            .chars()
            .all(|letter| letter.is_ascii_digit() || letter == '_')
}

fn quoted(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    quoted.join(", ")
}

/// `1234567` as `1_234_567`, which TOML reads.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('_');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str, unit: Unit) -> Result<Value, String> {
        Kind::Integer(0..=u64::MAX, unit).read(Written::Text(text))
    }

    #[test]
    fn sizes_are_whole_numbers_of_binary_units() {
        for (text, bytes) in [
            ("0", 0),
            ("65536", 65_536),
            ("1_000", 1_000),
            ("12 B", 12),
            ("64 KiB", 65_536),
            ("64KiB", 65_536),
            ("16 MiB", 16 << 20),
            ("2 GiB", 2 << 30),
            ("1 TiB", 1 << 40),
        ] {
            assert_eq!(
                number(text, Unit::Bytes),
                Ok(Value::Integer(bytes)),
                "{text}"
            );
        }
        for text in [
            "",
            "KiB",
            "1.5 MiB",
            "64 KB",
            "64 kib",
            "-1 KiB",
            "99999999 TiB",
        ] {
            assert!(number(text, Unit::Bytes).is_err(), "{text}");
        }
    }

    #[test]
    fn only_sizes_take_units() {
        assert!(number("10 KiB", Unit::Count).is_err());
        assert!(number("10s", Unit::Seconds).is_err());
    }

    #[test]
    fn what_is_shown_is_read_back() {
        for unit in [Unit::Count, Unit::Bytes, Unit::Seconds] {
            for value in [0, 1, 1_023, 1_024, 10_000, 1_234_567, 1_114_112, u64::MAX] {
                let shown = unit.show(value);
                let document = format!("key = {shown}");
                let table = toml::de::DeTable::parse(&document);
                // TOML promises 64 signed bits only.
                let Ok(table) = table else {
                    assert_eq!(value, u64::MAX);
                    continue;
                };
                let read = table.get_ref().get("key").map(|value| {
                    Kind::Integer(0..=u64::MAX, unit).read(Written::Toml(value.get_ref()))
                });
                assert_eq!(read, Some(Ok(Value::Integer(value))), "{shown}");
            }
        }
    }
}
