//! `keep_done`: archived files, their receipts and rejects leave `done/` when they are old enough, by folders of a day.
//!
//! Promises to touch nothing that it did not put there: only folders named like a day, only files in them, and none that
//! is still needed for a receipt. What is in `failed/` waits for a person and is left alone.

use std::{collections::HashSet, fs, io, path::Path, sync::Arc, time::Duration};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{Inbox, Parts};
use crate::outbox::{Outbox, OutboxError};

/// Days end once a day; an hour late is early enough.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

impl Inbox {
    /// Removes what is older than `keep_done`, now and then.
    pub(super) async fn sweep(&mut self, now: Timestamp) -> Result<(), OutboxError> {
        if now < self.sweep_at {
            return Ok(());
        }
        self.sweep_at = now.checked_add(SWEEP_EVERY).unwrap_or(Timestamp::MAX);
        let parts = Arc::clone(&self.parts);
        self.parts.outbox.ask(move |outbox| sweep(outbox, &parts, now)).await
    }
}

fn sweep(outbox: &mut Outbox, parts: &Parts, now: Timestamp) -> Result<(), OutboxError> {
    let done = parts.spool.join("done");
    let Some(oldest) = oldest_kept(now, parts.settings.keep_done) else { return Ok(()) };
    let old: Vec<_> = fs::read_dir(&done)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_str().and_then(day).is_some_and(|day| day < oldest))
        .collect();
    if old.is_empty() {
        return Ok(());
    }
    let needed: HashSet<_> =
        outbox.unanswered_archives()?.into_iter().map(|archive| parts.spool.join(archive)).collect();
    for folder in old {
        match empty(&folder.path(), |path| needed.contains(path)) {
            Ok(0) => {}
            Ok(files) => {
                tracing::info!(folder = ?folder.path(), files, "removed from the archive after `keep_done`");
            }
            Err(error) => {
                tracing::warn!(folder = ?folder.path(), %error, "cannot be removed from the archive");
            }
        }
    }
    Ok(())
}

/// The first day that is kept: a file of a day's last minute has been kept long enough when the day after that is.
fn oldest_kept(now: Timestamp, keep: Duration) -> Option<Date> {
    let kept_since = now.checked_sub(keep).ok()?;
    Some(TimeZone::UTC.to_datetime(kept_since).date())
}

fn day(name: &str) -> Option<Date> {
    name.parse::<Date>().ok().filter(|day| day.to_string() == name)
}

/// Removes a folder's files, and the folder when nothing is left in it. Says how many files went.
fn empty(folder: &Path, needed: impl Fn(&Path) -> bool) -> io::Result<usize> {
    let mut removed = 0;
    let mut left = false;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() || needed(&path) {
            left = true;
            continue;
        }
        fs::remove_file(path)?;
        removed += 1;
    }
    if !left {
        fs::remove_dir(folder)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_kept_until_its_last_minute_is_old_enough() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let keep = Duration::from_hours(24);
        let oldest = |now| oldest_kept(at(now), keep).unwrap().to_string();
        assert_eq!(oldest("2026-11-25T23:59:59Z"), "2026-11-24");
        assert_eq!(oldest("2026-11-26T00:00:00Z"), "2026-11-25");
    }

    #[test]
    fn only_folders_of_days_are_ours() {
        assert!(day("2026-11-25").is_some());
        for name in ["2026-11-31", "20261125", "2026-11-25T00:00", "keep", "2026-1-1"] {
            assert_eq!(day(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_needed_or_not_a_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let day = folder.path().join("2026-01-01");
        fs::create_dir_all(day.join("mine")).unwrap();
        for name in ["a.csv", "a.csv.receipt.json", "needed.csv"] {
            fs::write(day.join(name), "x").unwrap();
        }
        assert_eq!(empty(&day, |path| path.ends_with("needed.csv")).unwrap(), 2);
        assert!(day.join("mine").exists() && day.join("needed.csv").exists());
        fs::remove_dir(day.join("mine")).unwrap();
        assert_eq!(empty(&day, |_| false).unwrap(), 1);
        assert!(!day.exists());
    }
}
