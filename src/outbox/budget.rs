//! The calls: each written before it leaves, counted against the UTC day, and closed with its answer.
//!
//! Promises that the count survives a restart, because the service never says how many calls are left.

use jiff::{Timestamp, tz::TimeZone};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Outbox, Result, millis, one, timestamp, unsigned};

/// What an answer left behind, for the history of an entry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallRecord {
    /// Whether the call may have reached the contact. A limit, a token or a missing connection stops it before.
    pub reached: bool,
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// The service's `error_key`, if it gave one.
    pub error_key: Option<String>,
    /// The service's or the network's words.
    pub message: Option<String>,
}

/// The UTC day that a time belongs to, as the budget writes it.
pub(super) fn day(now: Timestamp) -> String {
    TimeZone::UTC.to_datetime(now).date().to_string()
}

/// Counts a call and writes it down, unless the day has no more. It may leave only after the transaction's commit.
pub(super) fn begin_call(
    transaction: &Transaction<'_>,
    entry: Option<i64>,
    endpoint: &str,
    per_day: u32,
    now: Timestamp,
) -> rusqlite::Result<Option<i64>> {
    let counted = transaction
        .prepare_cached(
            "INSERT INTO budget (day, calls) SELECT ?1, 1 WHERE ?2 > 0
                 ON CONFLICT (day) DO UPDATE SET calls = calls + 1 WHERE calls < ?2",
        )?
        .execute(params![day(now), per_day])?;
    if counted == 0 {
        return Ok(None);
    }
    one(counted)?;
    transaction
        .prepare_cached("INSERT INTO attempt (entry, endpoint, started_at) VALUES (?1, ?2, ?3) RETURNING id")?
        .query_row(params![entry, endpoint, millis(now)], |row| row.get(0))
        .map(Some)
}

/// Closes a call with its answer.
pub(super) fn end_call(
    transaction: &Transaction<'_>,
    call: i64,
    record: &CallRecord,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached(
            "UPDATE attempt SET answered_at = ?2, status = ?3, error_key = ?4, message = ?5, reached = ?6
              WHERE id = ?1 AND answered_at IS NULL",
        )?
        .execute(params![
            call,
            millis(now),
            record.status,
            record.error_key,
            record.message,
            record.reached
        ])?;
    one(touched)
}

impl Outbox {
    /// Writes down a call that concerns the account as a whole; `None` when the day has no more.
    pub fn begin_account_call(
        &mut self,
        endpoint: &'static str,
        per_day: u32,
        now: Timestamp,
    ) -> Result<Option<i64>> {
        self.write("write down a call", |transaction| begin_call(transaction, None, endpoint, per_day, now))
    }

    /// Closes a call that concerns the account as a whole.
    pub fn end_account_call(&mut self, call: i64, record: &CallRecord, now: Timestamp) -> Result<()> {
        self.write("write down an answer", |transaction| end_call(transaction, call, record, now))
    }

    /// Calls of the UTC day so far.
    pub fn calls_today(&mut self, now: Timestamp) -> Result<u64> {
        self.doing("count the day's calls", |connection| {
            let calls = connection
                .prepare_cached("SELECT calls FROM budget WHERE day = ?1")?
                .query_row([day(now)], |row| row.get::<_, i64>(0))
                .optional()?;
            Ok(calls.map_or(0, unsigned))
        })
    }

    /// When the newest calls left or were answered, the latest first: what the pace must know after a restart.
    pub fn latest_calls(&mut self, limit: u32) -> Result<Vec<Timestamp>> {
        self.doing("list the latest calls", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT coalesce(answered_at, started_at) FROM attempt ORDER BY id DESC LIMIT ?1",
            )?;
            let times = statement.query_map([limit], |row| timestamp(0, row.get(0)?))?;
            times.collect()
        })
    }
}
