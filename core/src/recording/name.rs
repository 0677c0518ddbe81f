//! What the files of a ring are called.

use alloc::format;
use alloc::string::String;

/// A part with a greater number was never written.
pub const PART_NUMBER_MAX: u64 = 1 << 48;

/// What comes behind the name of the recording and a dot in that of a part of this shard:
/// `0.000007`.
#[must_use]
pub fn part_name(shard: u16, number: u64) -> String {
    format!("{shard}.{number:06}")
}

/// The shard and the number of a part that is called so. Only as they are written: `0.7` is
/// something else.
#[must_use]
pub fn parse_part_name(name: &str) -> Option<(u16, u64)> {
    let (shard, number) = name.split_once('.')?;
    let (shard, number) = (shard.parse().ok()?, number.parse().ok()?);
    (number <= PART_NUMBER_MAX && part_name(shard, number) == name).then_some((shard, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_named_as_they_are_written() {
        assert_eq!(parse_part_name("0.000007"), Some((0, 7)));
        assert_eq!(parse_part_name("12.1234567"), Some((12, 1_234_567)));
        for other in [
            "0.7",
            "0.0000007",
            "00.000007",
            "0.+00007",
            "0.000007.old",
            "0.18446744073709551615",
            "x",
        ] {
            assert_eq!(parse_part_name(other), None, "{other}");
        }
    }
}
