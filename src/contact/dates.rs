//! The dates that people write, read so that each means one day.
//!
//! Pure. Promises that a text that could mean two days is read by a rule that README states, or not at all.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Timestamp, tz::TimeZone};

/// A leap year: 29 February is somebody's birthday.
const LEAP_YEAR: i16 = 2000;
/// The months' names, lower case.
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// A Unix time above this counts milliseconds: in seconds it would lie beyond the year 5000.
const SECONDS_UNTIL: i64 = 100_000_000_000;

/// What exports write for a day that nobody knows.
pub(super) fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c == '0' || c == '-' || c == '/' || c == '.')
}

/// A day as YYYY-MM-DD.
pub(super) fn anniversary(text: &str) -> Result<String, String> {
    day(text).map(|date| date.to_string()).ok_or_else(|| {
        format!("`{text}` is not a date: write YYYY-MM-DD, MM/DD/YYYY, DD.MM.YYYY or 9 February 2020")
    })
}

/// Month and day of birth in one text, with or without the year.
pub(super) fn day_of_birth(text: &str) -> Result<(u8, u8), String> {
    let leap = LEAP_YEAR.to_string();
    let date = day(text).or_else(|| {
        if let Some((month, day)) = text.trim_start_matches("--").split_once(['-', '/']) {
            return civil(&leap, month, day);
        }
        if let Some((day, month)) = text.trim_end_matches('.').split_once('.') {
            return civil(&leap, month, day);
        }
        day(&format!("{text} {leap}"))
    });
    date.and_then(|date| Some((u8::try_from(date.month()).ok()?, u8::try_from(date.day()).ok()?)))
        .ok_or_else(|| format!("`{text}` is no birthday: write YYYY-MM-DD, MM/DD, DD.MM. or 9 February"))
}

/// The one day that a text means. A slash puts the month first, as the service documents it; a dot puts the day first, as
/// everybody does who writes dots; a month's name can be nothing else.
fn day(text: &str) -> Option<Date> {
    // A time of midnight or noon behind the day is what databases add to it.
    let text = text.split_once('T').filter(|(day, _)| day.len() == 10).map_or(text, |(day, _)| day);
    let text = text.split_once(' ').filter(|(_, rest)| rest.contains(':')).map_or(text, |(day, _)| day);
    let numbers: Vec<&str> = text.split(['-', '/', '.']).map(str::trim).collect();
    match numbers[..] {
        [year, month, day] if year.len() == 4 => civil(year, month, day),
        [month, day, year] if year.len() == 4 && text.contains('/') => civil(year, month, day),
        [day, month, year] if year.len() == 4 && text.contains('.') => civil(year, month, day),
        _ => with_month_name(text),
    }
}

/// `9 February 2020`, `Feb 9, 2020`, `9-Feb-2020`.
fn with_month_name(text: &str) -> Option<Date> {
    let words: Vec<&str> = text.split([' ', ',', '-', '.', '/']).filter(|word| !word.is_empty()).collect();
    let [first, second, year] = words[..] else { return None };
    let month_of = |word: &str| {
        let lower = word.to_lowercase();
        let place = MONTHS
            .iter()
            .position(|month| *month == lower || (lower.len() >= 3 && month.starts_with(&lower)))?;
        Some((place + 1).to_string())
    };
    match (month_of(first), month_of(second)) {
        (Some(month), None) => civil(year, &month, second),
        (None, Some(month)) => civil(year, &month, first),
        _ => None,
    }
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
    let clock_at = text.find(':').map_or(text.len(), |colon| text[..colon].rfind([' ', 'T']).unwrap_or(0));
    let (day, rest) = text.split_at(clock_at);
    let rest = rest.trim_start_matches([' ', 'T']);
    let time = clock(rest.trim()).ok_or_else(unreadable)?;
    let day = days(day.trim_end_matches([',', ' '])).ok_or_else(unreadable)?;
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
        _ => with_month_name(text),
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
