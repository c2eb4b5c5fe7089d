//! The dates that people write, read so that each means one day.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, tz::TimeZone};

/// A leap year: 29 February is somebody's birthday.
const LEAP_YEAR: i16 = 2000;
/// A Unix time above this counts milliseconds: in seconds it would lie beyond the year 5000.
const SECONDS_UNTIL: i64 = 100_000_000_000;

/// A day as YYYY-MM-DD, from the forms that the service documents.
pub(super) fn anniversary(text: &str) -> Result<String, String> {
    let numbers: Vec<&str> = text.split(['-', '/']).collect();
    let date = match numbers[..] {
        [year, month, day] if year.len() == 4 => civil(year, month, day),
        // Only the slash form is documented with the year last, and it is month first.
        [month, day, year] if year.len() == 4 && text.contains('/') => civil(year, month, day),
        _ => None,
    };
    date.map(|date| date.to_string())
        .ok_or_else(|| format!("`{text}` is not a date: write YYYY-MM-DD or MM/DD/YYYY"))
}

/// Month and day of birth.
pub(super) fn birthday(month: &str, day: &str) -> Result<(u8, u8), String> {
    let date = civil(&LEAP_YEAR.to_string(), month, day);
    date.and_then(|date| Some((u8::try_from(date.month()).ok()?, u8::try_from(date.day()).ok()?))).ok_or_else(
        || format!("month `{month}` and day `{day}` are no day of the year: write numbers, 1-12 and 1-31"),
    )
}

/// A point in time. Where no zone is written, UTC; where no time is written, the day's first moment; where day and month
/// could be either way round, the earlier of the two.
pub(super) fn instant(text: &str) -> Result<Timestamp, String> {
    let unreadable = || format!("`{text}` is not a time: write YYYY-MM-DD HH:MM:SS or 2026-11-24T10:00:00Z");
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(number) = text.parse::<i64>() {
        let from =
            if number.abs() < SECONDS_UNTIL { Timestamp::from_second } else { Timestamp::from_millisecond };
        // Less than a year of seconds is a number that counts something else.
        return Some(number)
            .filter(|number| *number >= 100_000_000)
            .and_then(|number| from(number).ok())
            .ok_or_else(unreadable);
    }
    let (day, rest) = text.split_once([' ', 'T']).unwrap_or((text, ""));
    let time = clock(rest.trim()).ok_or_else(unreadable)?;
    let day = days(day.trim_end_matches(',')).ok_or_else(unreadable)?;
    TimeZone::UTC.to_timestamp(DateTime::from_parts(day, time)).map_err(|_| unreadable())
}

/// The earliest day that three numbers can mean.
fn days(text: &str) -> Option<Date> {
    let numbers: Vec<&str> = text.split(['-', '/', '.']).collect();
    match numbers[..] {
        [year, month, day] if year.len() == 4 => civil(year, month, day),
        [first, second, year] if year.len() == 4 => {
            let ways = [civil(year, first, second), civil(year, second, first)];
            ways.into_iter().flatten().min()
        }
        _ => None,
    }
}

/// A time of day: `10:00`, `10:00:05`, `10:00:05 AM`, or nothing.
fn clock(text: &str) -> Option<Time> {
    let lower = text.to_ascii_lowercase();
    let bare = lower.trim_end_matches("utc").trim_end_matches("gmt").trim_end();
    let (bare, noon) = match (bare.strip_suffix("am"), bare.strip_suffix("pm")) {
        (Some(bare), _) => (bare.trim_end(), Some(0)),
        (_, Some(bare)) => (bare.trim_end(), Some(12)),
        _ => (bare, None),
    };
    let bare = bare.split('.').next().unwrap_or_default();
    let mut numbers =
        bare.split(':').map(|number| if number.is_empty() { Some(0) } else { number.parse::<i8>().ok() });
    let hour = numbers.next()??;
    let (minute, second) = (numbers.next().unwrap_or(Some(0))?, numbers.next().unwrap_or(Some(0))?);
    let hour = match noon {
        Some(noon) if (1..=12).contains(&hour) => hour % 12 + noon,
        Some(_) => return None,
        None => hour,
    };
    Time::new(hour, minute, second, 0).ok()
}

fn civil(year: &str, month: &str, day: &str) -> Option<Date> {
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}
