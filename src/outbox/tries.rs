//! How often an address may be tried.
//!
//! The service flags an address that is posted more than five times in 24 hours and then refuses it for 48, as if it
//! were a bad one. Owns the count, which is taken from the calls that are written down: it outlives a restart.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::{entries, millis, timestamp};

/// One less than what flags an address leaves one for other programs and for the web forms of the account.
const TRIES: u32 = 4;
/// In how long.
const WINDOW: Duration = Duration::from_hours(24);

/// Until when an address must be left alone; `None` when it may be tried now. Calls that surely did not reach the
/// contact (no connection, refused for a limit or a token) do not count; those whose answer was lost do.
pub(super) fn too_often(
    transaction: &Transaction<'_>,
    address: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<Timestamp>> {
    let since = now.checked_sub(WINDOW).unwrap_or(Timestamp::MIN);
    // The last of the tries that are allowed decides: when it leaves the window, there is room for another.
    let decisive = transaction
        .prepare_cached(
            "SELECT at FROM (
                SELECT attempt.started_at AS at FROM entry JOIN attempt ON attempt.entry = entry.id
                 WHERE entry.address = ?1 AND attempt.started_at > ?2 AND coalesce(attempt.reached, 1)
                UNION ALL
                SELECT import.posted_at FROM entry JOIN import ON import.id = entry.import
                 WHERE entry.address = ?1 AND import.posted_at > ?2)
              ORDER BY at DESC LIMIT 1 OFFSET ?3",
        )?
        .query_row(params![address, millis(since), TRIES - 1], |row| timestamp(0, row.get(0)?))
        .optional()?;
    Ok(decisive.map(|at| at.checked_add(WINDOW).unwrap_or(Timestamp::MAX)))
}

/// Leaves a row alone until a time.
pub(super) fn put_off(transaction: &Transaction<'_>, entry: i64, until: Timestamp) -> rusqlite::Result<()> {
    let reason = "the address was tried often enough for a day: more would make the service refuse it";
    entries::put_off(transaction, entry, until, reason)
}
