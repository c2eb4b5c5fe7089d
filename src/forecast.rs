//! When what waits will be delivered, at the configured pace and within each day's calls.
//!
//! Pure. A forecast and not a promise: it knows nothing of rows that are still to come, of pauses or of faults.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::config::{Consent, Limits, Route};

/// Rows of one bulk import.
const ROWS_AN_IMPORT: u64 = 36_000;
/// Calls of one import: it is posted, asked after while the account works on it, and searched where rows are missing.
const CALLS_AN_IMPORT: u64 = 7;
/// Imports go one after the other, and the account takes minutes for each.
const IMPORT_TAKES: SignedDuration = SignedDuration::from_mins(3);
/// A UTC day has no other length: Unix time knows no leap seconds.
const SECONDS_A_DAY: i64 = 24 * 60 * 60;
/// What takes longer than this is said at once: nobody should have to wonder the next morning.
const DAYS: Duration = Duration::from_hours(24);

/// What waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Rows with explicit consent: a call each.
    pub single: u64,
    /// Rows with implicit consent: bulk imports.
    pub bulk: u64,
}

impl Waiting {
    /// What waits, by the folders of the routes. Rows of routes that are configured no more go nowhere.
    #[must_use]
    pub fn of(by_folder: &[(String, u64)], routes: &[Route]) -> Self {
        let mut sum = Self::default();
        for (folder, rows) in by_folder {
            match routes.iter().find(|route| route.folder == *folder).map(|route| route.consent) {
                Some(Consent::Explicit) => sum.single += rows,
                Some(Consent::Implicit) => sum.bulk += rows,
                None => {}
            }
        }
        sum
    }

    /// Whether anything waits.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

/// When everything that waits will be delivered, if nothing else comes; `None` if no call may ever leave.
#[must_use]
pub fn done_at(waiting: Waiting, limits: Limits, calls_today: u64, now: Timestamp) -> Option<Timestamp> {
    let imports = waiting.bulk.div_ceil(ROWS_AN_IMPORT);
    let (per_day, per_second) = (u64::from(limits.backlog_per_day()), u64::from(limits.per_second.get()));
    // A day has no more calls than seconds for them.
    let of_a_day = |seconds: i64| per_day.min(u64::try_from(seconds).unwrap_or_default() * per_second);
    let mut calls = waiting.single + imports * CALLS_AN_IMPORT;
    let midnight = (now.as_second().div_euclid(SECONDS_A_DAY) + 1) * SECONDS_A_DAY;
    let today = of_a_day(midnight - now.as_second()).min(per_day.saturating_sub(calls_today));
    let by_calls = if calls <= today {
        plus(now, calls / per_second)?
    } else {
        calls -= today;
        let whole_day = of_a_day(SECONDS_A_DAY);
        // The last day is not a whole one.
        let days = calls.div_ceil(whole_day.max(1)).checked_sub(1).filter(|_| whole_day > 0)?;
        let begins =
            plus(Timestamp::from_second(midnight).ok()?, days.checked_mul(SECONDS_A_DAY.unsigned_abs())?)?;
        plus(begins, (calls - days * whole_day) / per_second)?
    };
    let by_imports = now.checked_add(IMPORT_TAKES.checked_mul(i32::try_from(imports).ok()?)?).ok()?;
    Some(by_calls.max(by_imports))
}

/// Whether that is so far away that people are told.
#[must_use]
pub fn takes_days(done_at: Timestamp, now: Timestamp) -> bool {
    Duration::try_from(done_at.duration_since(now)).is_ok_and(|takes| takes > DAYS)
}

fn plus(time: Timestamp, seconds: u64) -> Option<Timestamp> {
    time.checked_add(Duration::from_secs(seconds)).ok()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn limits(per_second: u32, per_day: u32) -> Limits {
        Limits { per_second: NonZeroU32::new(per_second).unwrap(), per_day }
    }

    fn forecast(single: u64, bulk: u64, calls_today: u64) -> String {
        let noon = "2026-11-24T12:00:00Z".parse().unwrap();
        done_at(Waiting { single, bulk }, limits(4, 10_000), calls_today, noon).unwrap().to_string()
    }

    #[test]
    fn the_pace_decides_while_the_day_has_calls_and_the_day_decides_afterwards() {
        assert_eq!(forecast(0, 0, 0), "2026-11-24T12:00:00Z");
        assert_eq!(forecast(400, 0, 0), "2026-11-24T12:01:40Z");
        // The backlog has 9,500 calls a day.
        assert_eq!(forecast(9_500, 0, 0), "2026-11-24T12:39:35Z");
        assert_eq!(forecast(9_504, 0, 0), "2026-11-25T00:00:01Z");
        assert_eq!(forecast(400, 0, 9_500), "2026-11-25T00:01:40Z");
        assert_eq!(forecast(400, 0, 10_000), "2026-11-25T00:01:40Z");
        assert_eq!(forecast(9_500 * 3, 0, 0), "2026-11-26T00:39:35Z");
        assert_eq!(forecast(100_000, 0, 0), "2026-12-04T00:20:50Z");
    }

    #[test]
    fn imports_take_minutes_each_and_few_calls() {
        assert_eq!(forecast(0, 20, 0), "2026-11-24T12:03:00Z");
        assert_eq!(forecast(0, 1_000_000, 0), "2026-11-24T13:24:00Z");
        assert_eq!(forecast(0, 1_000_000, 9_400), "2026-11-25T00:00:24Z");
    }

    #[test]
    fn a_slow_pace_fills_no_day_and_a_day_without_calls_never_ends() {
        let evening = "2026-11-24T23:59:50Z".parse().unwrap();
        let single = |single| Waiting { single, bulk: 0 };
        let slow = done_at(single(100_000), limits(1, 1_000_000), 0, evening).unwrap();
        assert_eq!(slow.to_string(), "2026-11-26T03:46:30Z");
        assert_eq!(done_at(single(1), limits(4, 0), 0, evening), None);
        assert_eq!(
            done_at(single(u64::MAX / 8), limits(4, 10_000), 0, evening),
            None,
            "beyond all calendars"
        );
    }

    #[test]
    fn days_are_more_than_one() {
        let now = Timestamp::UNIX_EPOCH;
        assert!(!takes_days(now, now));
        assert!(!takes_days(plus(now, 86_400).unwrap(), now));
        assert!(takes_days(plus(now, 86_401).unwrap(), now));
    }
}
