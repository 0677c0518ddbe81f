//! "Did you mean …?": the known name that a mistyped one was most likely meant to be.
//!
//! Not responsible for wording. Deterministic: of equally near names the first one given wins.

/// The name in `known` nearest to `given`, if one is near enough to be worth saying.
#[must_use]
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let tolerance = (given.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance_of_names(given, name), name))
        .filter(|(distance, name)| *distance <= tolerance && *distance < name.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// How far apart two names are, whatever their case, their separators and the order of their words:
/// `max-connections` is near `connections_maximum`.
fn distance_of_names(left: &str, right: &str) -> usize {
    let (left, right) = (words(left), words(right));
    let as_written = distance(&left.join("_"), &right.join("_"));
    if left.len() < 2 || as_written == 0 {
        return as_written;
    }
    as_written.min(1 + distance_of_words(&left, &right))
}

fn words(name: &str) -> Vec<String> {
    name.split(['_', '-', ' ', '.'])
        .map(str::to_ascii_lowercase)
        .collect()
}

/// Pairs the words of both names in sorted order; a word that abbreviates the other costs nothing.
fn distance_of_words(left: &[String], right: &[String]) -> usize {
    let (mut left, mut right) = (left.to_vec(), right.to_vec());
    left.sort_unstable();
    right.sort_unstable();
    if left.len() != right.len() {
        return usize::MAX / 2;
    }
    left.iter()
        .zip(&right)
        .map(|(left, right)| {
            if left.len() >= 3 && right.starts_with(left.as_str()) {
                0
            } else {
                distance(left, right)
            }
        })
        .sum()
}

/// Edit distance in characters, where swapping two neighbours counts once.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    // Rows of the table for the last two and the current prefix of `left`.
    let mut before = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i; right.len() + 1];
        for j in 1..=right.len() {
            let differs = usize::from(left[i - 1] != right[j - 1]);
            row[j] = (above[j] + 1)
                .min(row[j - 1] + 1)
                .min(above[j - 1] + differs);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = above;
        above = row;
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = [
        "connections_maximum",
        "sessions_maximum",
        "receive_maximum",
        "level",
        "url",
    ];

    #[test]
    fn mistakes_of_the_hand_and_of_memory_find_their_name() {
        for (given, meant) in [
            ("conections_maximum", "connections_maximum"),
            ("connections-maximum", "connections_maximum"),
            ("max_connections", "connections_maximum"),
            ("connections_max", "connections_maximum"),
            ("sesions_maximun", "sessions_maximum"),
            ("Level", "level"),
            ("levle", "level"),
            ("ulr", "url"),
        ] {
            assert_eq!(nearest(given, KNOWN), Some(meant), "{given}");
        }
    }

    #[test]
    fn nothing_is_better_than_a_wild_guess() {
        for given in ["", "x", "persistence", "bridge_attempt_unsubscribe"] {
            assert_eq!(nearest(given, KNOWN), None, "{given}");
        }
    }

    #[test]
    fn distance_counts_edits_and_swaps() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("form", "from"), 1);
    }
}
