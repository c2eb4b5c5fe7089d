//! Forgetting what is long settled (`keep_history`), and giving the room back to the disk.
//!
//! Promises that only answered files go, whole, with their rows and calls; what the account was last told stays, so that
//! a nightly export goes on costing nothing. A part at a time, so that the loops are never kept waiting.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Outbox, Result, millis};

/// Rows that go in one transaction.
const AT_ONCE: i64 = 2_000;
/// Pages that are given back to the disk in one step (16 MiB).
const PAGES_AT_ONCE: i64 = 4_096;

impl Outbox {
    /// Forgets a part of what was settled before a time. Says whether there may be more.
    pub fn prune(&mut self, before: Timestamp) -> Result<bool> {
        let more = self.write("prune the history", |transaction| {
            let file: Option<(i64, i64)> = transaction
                .prepare_cached(
                    "SELECT id, first_entry + rows FROM file
                      WHERE stage = 'answered' AND held = 0 AND settled_at < ?1 ORDER BY id LIMIT 1",
                )?
                .query_row([millis(before)], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((file, _)) = file else {
                transaction.execute("DELETE FROM looked_up WHERE at < ?1", [millis(before)])?;
                let calls = transaction.execute(
                    "DELETE FROM attempt WHERE id IN
                        (SELECT id FROM attempt WHERE entry IS NULL AND started_at < ?1 LIMIT ?2)",
                    params![millis(before), AT_ONCE],
                )?;
                return Ok(calls > 0);
            };
            // From the last row backwards: what is left is still `first_entry` and the rows after it.
            let range = "SELECT id FROM entry WHERE file = ?1
                            AND id >= (SELECT first_entry FROM file WHERE id = ?1)
                            AND id < (SELECT first_entry + rows FROM file WHERE id = ?1)
                          ORDER BY id DESC LIMIT ?2";
            transaction
                .execute(&format!("DELETE FROM attempt WHERE entry IN ({range})"), params![file, AT_ONCE])?;
            transaction
                .execute(&format!("DELETE FROM note WHERE entry IN ({range})"), params![file, AT_ONCE])?;
            let gone = transaction
                .execute(&format!("DELETE FROM entry WHERE id IN ({range})"), params![file, AT_ONCE])?;
            if gone == 0 {
                transaction.execute("DELETE FROM file WHERE id = ?1", [file]).and_then(super::one)?;
            }
            Ok(true)
        })?;
        Ok(more)
    }

    /// Gives a part of the free room back to the disk. Says whether there may be more.
    pub fn shrink(&mut self) -> Result<bool> {
        self.doing("give free room back", |connection| {
            let free: i64 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
            if free == 0 {
                return Ok(false);
            }
            let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
            let mut rows = statement.query(())?;
            while rows.next()?.is_some() {}
            Ok(free > PAGES_AT_ONCE)
        })
    }
}
