//! Breaks comments that are too wide, which rustfmt leaves as they are.

use crate::style::without_tags;

/// A line that is nothing but a comment.
struct Comment<'a> {
    /// Indentation, slashes and the space after them.
    prefix: &'a str,
    text: &'a str,
}

impl<'a> Comment<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let indent = line.len() - line.trim_start().len();
        let slashes = ["///", "//!", "//"]
            .into_iter()
            .find(|slashes| line[indent..].starts_with(slashes))?;
        let end = indent + slashes.len();
        let end = end + usize::from(line[end..].starts_with(' '));
        Some(Self {
            prefix: &line[..end],
            text: &line[end..],
        })
    }

    /// Whether the text begins something of its own rather than going on with a sentence.
    fn begins_block(&self) -> bool {
        let text = self.text.trim_start();
        let numbered = text.split_once(". ").is_some_and(|(number, _)| {
            !number.is_empty() && number.chars().all(|digit| digit.is_ascii_digit())
        });
        let marks = ["- ", "* ", "+ ", "|", "#", ">", "```"];
        text.is_empty() || numbered || marks.iter().any(|mark| text.starts_with(mark))
    }

    /// The blanks below which a broken line goes on: under the text of a list item.
    fn hanging(&self) -> String {
        let text = self.text.trim_start();
        let blanks = self.text.len() - text.len();
        let item = match text.split_once(' ') {
            Some((mark, _)) if self.begins_block() => mark.len() + 1,
            _ => 0,
        };
        " ".repeat(blanks + item)
    }
}

/// The text with what is beyond the limit moved to the next line of the same comment. Tables,
/// drawings in fences, and words longer than a line stay as they are.
pub(crate) fn wrap(text: &str, columns: usize) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let mut in_fence = false;
    let mut next = 0;
    while let Some(line) = lines.get(next).cloned() {
        next += 1;
        let Some(comment) = Comment::parse(&line) else {
            continue;
        };
        in_fence ^= comment.text.trim_start().starts_with("```");
        let drawn = in_fence || comment.text.trim_start().starts_with('|');
        if drawn || without_tags(&line).chars().count() <= columns {
            continue;
        }
        let hanging = comment.hanging();
        let least = comment.prefix.len() + hanging.len();
        let limit = line
            .char_indices()
            .nth(columns + 1)
            .map_or(line.len(), |(at, _)| at);
        let Some(cut) = line[..limit].rfind(' ').filter(|&cut| cut > least) else {
            continue;
        };
        let rest = line[cut + 1..].trim();
        let mut moved = format!("{}{hanging}{rest}", comment.prefix);
        let goes_on = lines.get(next).and_then(|line| Comment::parse(line));
        match goes_on {
            Some(other) if other.prefix == comment.prefix && !other.begins_block() => {
                moved.push(' ');
                moved.push_str(other.text.trim_start());
                lines[next] = moved;
            }
            _ => lines.insert(next, moved),
        }
        lines[next - 1] = line[..cut].trim_end().to_owned();
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_wide_moves_to_the_next_line_of_the_comment() {
        let text = "    // one two three four\n    // five\n    f();\n";
        let wrapped = "    // one two\n    // three four\n    // five\n    f();\n";
        assert_eq!(wrap(text, 17), wrapped);
    }

    #[test]
    fn paragraphs_lists_tables_and_code_are_kept_apart() {
        let text = concat!(
            "/// - one two three\n/// - four\n///\n",
            "/// | a wide table line |\n/// ```\n/// a wide line of code\n/// ```\n",
            "let a = 1; // wide, beside code\n",
        );
        let wrapped = text.replacen("two three", "two\n///   three", 1);
        assert_eq!(wrap(text, 15), wrapped);
    }
}
