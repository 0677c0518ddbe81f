//! Dates, as TOML and people write them (RFC 3339), and milliseconds since 1970.

use whimbrel_core::UnixTime;

/// The time that a text names: `2027-01-31T12:00:00Z`, or with another offset. `None` of anything
/// else.
#[must_use]
pub fn parse_time(text: &str) -> Option<UnixTime> {
    unix_time(&text.parse().ok()?)
}

/// The text that [`parse_time`] reads, in UTC; fractions of a second are cut off.
#[must_use]
pub fn show_time(at: UnixTime) -> String {
    let seconds = at.0 / 1_000;
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute) = (second_of_day / 3_600, second_of_day / 60 % 60);
    let second = second_of_day % 60;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Milliseconds since 1970; `None` without date, time or offset, or before 1970.
pub(super) fn unix_time(at: &toml::value::Datetime) -> Option<UnixTime> {
    let (date, time) = (at.date?, at.time?);
    let offset_minutes = match at.offset? {
        toml::value::Offset::Z => 0,
        toml::value::Offset::Custom { minutes } => i64::from(minutes),
    };
    let days = days_from_civil(date.year.into(), date.month.into(), date.day.into());
    let minutes = days * 1_440 + i64::from(time.hour) * 60 + i64::from(time.minute);
    let seconds = (minutes - offset_minutes) * 60 + i64::from(time.second.unwrap_or(0));
    u64::try_from(seconds.checked_mul(1_000)?)
        .ok()
        .map(UnixTime)
}

/// Days since 1970-01-01 of a day in the Gregorian calendar. Years begin in March here, so that the
/// day that not every year has is the last one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The year, month and day that are so many days after 1970-01-01.
const fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    // Of 146,097 days, those are left out that every 4, not every 100, and every 400 years have
    // more.
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + (month <= 2) as u64;
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, days) in [
            ((1970, 1, 1), 0),
            ((2000, 2, 29), 11_016),
            ((2000, 3, 1), 11_017),
            ((2026, 11, 21), 20_778),
            ((2100, 3, 1), 47_541),
        ] {
            assert_eq!(days_from_civil(date.0, date.1, date.2), days, "{date:?}");
        }
        assert_eq!(
            parse_time("2026-01-01T01:00:00+01:00"),
            Some(UnixTime(1_767_225_600_000))
        );
        for none in [
            "2026-01-01T01:00:00",
            "1969-01-01T01:00:00Z",
            "12:00:00",
            "soon",
            "",
        ] {
            assert_eq!(parse_time(none), None, "{none}");
        }
    }

    #[test]
    fn what_is_shown_is_read_as_the_same() {
        // Every day of 400 years, and a time that moves through the day.
        for day in 0..146_097 {
            let at = UnixTime((day * 86_400 + day * 7_919 % 86_400) * 1_000);
            assert_eq!(parse_time(&show_time(at)), Some(at), "{}", show_time(at));
        }
        assert_eq!(
            show_time(UnixTime(1_801_396_800_999)),
            "2027-01-31T12:00:00Z"
        );
    }
}
