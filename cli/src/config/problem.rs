//! What is wrong with a configuration, and where it was written.

use std::fmt;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// In a file as a whole.
    File(String),
    /// In a file, at a line and a column (in characters), both counted from 1.
    Text(String, usize, usize),
    /// In a file, at a line.
    Line(String, usize),
    /// In an environment variable.
    Variable(String),
    /// In a flag.
    Flag(&'static str),
    /// Nowhere: it is a default.
    Default,
}

/// One mistake, in words for the person who made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Problem {
    /// Where it is.
    pub(crate) place: Place,
    /// What is wrong and what to do, without a full stop.
    pub(crate) message: String,
}

impl Place {
    /// The place of a byte in a file.
    pub(crate) fn in_text(path: &str, text: &str, offset: usize) -> Self {
        let mut offset = offset.min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Self::Text(path.to_owned(), line, column)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.write_str(path),
            Self::Text(path, line, column) => write!(f, "{path}:{line}:{column}"),
            Self::Line(path, line) => write!(f, "{path}:{line}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let text = "a = 1\nö = \"ü\" x\n";
        for (offset, shown) in [
            (0, "f:1:1"),
            (4, "f:1:5"),
            (6, "f:2:1"),
            (text.find('x').unwrap(), "f:2:9"),
            (9_999, "f:3:1"),
        ] {
            assert_eq!(Place::in_text("f", text, offset).to_string(), shown);
        }
    }
}
