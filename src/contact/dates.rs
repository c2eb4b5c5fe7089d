//! The dates that people write, read so that each means one day.

use jiff::civil::Date;

/// A leap year: 29 February is somebody's birthday.
const LEAP_YEAR: i16 = 2000;

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

fn civil(year: &str, month: &str, day: &str) -> Option<Date> {
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}
