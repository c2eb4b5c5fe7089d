//! An import is filled: waiting rows go into it as long as they fit.
//!
//! Promises that a row is added once, and that rows with nothing new to say are settled without a call. Leaves what fits to
//! whoever asks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::super::entries::{Final, RowKey, finish, put_off};
use super::super::intake::contact;
use super::super::{HeldBecause, Outbox, Result, delivered, millis, one, timestamp, tries, unsigned};
use super::{PORTION, Portion};
use crate::contact::Contact;

/// Stands where nothing is due, above every time.
const NEVER: i64 = i64::MAX;

/// Whether a row can go with the import that is being filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    /// It goes.
    Goes,
    /// The import is full.
    Full,
    /// It cannot go before somebody does something.
    Waits {
        /// Until when it is left alone.
        until: Timestamp,
        /// Why.
        reason: String,
    },
    /// It cannot go.
    Held(String),
}

impl Outbox {
    /// When the earliest row of these folders is or was due, and how many rows wait there; `None` when none does.
    pub fn backlog(&mut self, folders: &[String]) -> Result<Option<(Timestamp, u64)>> {
        let folders = folders_json(folders);
        self.doing("look at a lane's backlog", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT min(min(ifnull((SELECT due_at FROM entry WHERE entry.route = route.id AND rank = 0
                                          AND state = 'queued' AND due_at IS NOT NULL ORDER BY due_at LIMIT 1), ?2),
                                ifnull((SELECT due_at FROM entry WHERE entry.route = route.id AND rank = 1
                                          AND state = 'queued' AND due_at IS NOT NULL ORDER BY due_at LIMIT 1), ?2))),
                        sum((SELECT sum(queued) FROM file WHERE file.route = route.id AND queued > 0))
                   FROM route WHERE folder IN (SELECT value FROM json_each(?1))",
            )?;
            let (due, rows) = statement.query_row(params![folders, NEVER], |row| {
                Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
            })?;
            let Some(due) = due.filter(|due| *due < NEVER) else { return Ok(None) };
            Ok(Some((timestamp(0, due)?, rows.map(unsigned).unwrap_or_default())))
        })
    }

    /// Begins an import.
    pub fn open_import(&mut self, lists: &str, now: Timestamp) -> Result<i64> {
        self.write("begin an import", |transaction| {
            transaction.query_row(
                "INSERT INTO import (lists, state, due_at) VALUES (?1, 'open', ?2) RETURNING id",
                params![lists, millis(now)],
                |row| row.get(0),
            )
        })
    }

    /// Adds a portion of due rows of the folders to an open import, as long as they fit. Without more to add, or with
    /// one that does not fit, the import is ready, or gone if it is empty.
    pub fn fill_import(
        &mut self,
        id: i64,
        folders: &[String],
        lists: &str,
        now: Timestamp,
        mut fits: impl FnMut(&Contact) -> Fit,
    ) -> Result<Portion> {
        let folders = folders_json(folders);
        self.write("fill an import", |transaction| {
            let mut portion = Portion::default();
            let rows = due_rows(transaction, &folders, now)?;
            portion.more = rows.len() == PORTION as usize;
            let mut added = BTreeMap::<i64, u32>::new();
            for row in rows {
                let key = RowKey { entry: row.entry, file: row.file, address: &row.address };
                if let Some(until) = tries::too_often(transaction, &row.address, now)? {
                    tries::put_off(transaction, row.entry, until)?;
                    continue;
                }
                if says_nothing_new(transaction, &row, lists)? {
                    portion.file_finished |= finish(transaction, key, "queued", &Final::unchanged(), now)?;
                    continue;
                }
                match fits(&row.contact) {
                    Fit::Goes => {
                        add(transaction, id, row.entry, now)?;
                        *added.entry(row.file).or_default() += 1;
                    }
                    Fit::Full => {
                        portion.more = false;
                        break;
                    }
                    Fit::Waits { until, reason } => put_off(transaction, row.entry, until, &reason)?,
                    Fit::Held(reason) => {
                        let held = Final::held(HeldBecause::RefusedCall, &reason);
                        portion.file_finished |= finish(transaction, key, "queued", &held, now)?;
                    }
                }
            }
            count_added(transaction, id, &added)?;
            if !portion.more {
                transaction.execute("DELETE FROM import WHERE id = ?1 AND rows = 0", [id])?;
                transaction.execute("UPDATE import SET state = 'ready' WHERE id = ?1", [id])?;
            }
            Ok(portion)
        })
    }
}

/// The folders as a list that SQL can look into.
fn folders_json(folders: &[String]) -> String {
    serde_json::to_string(folders).unwrap_or_default()
}

struct DueRow {
    entry: i64,
    file: i64,
    address: String,
    digest: crate::plan::Digest,
    contact: Contact,
}

fn due_rows(transaction: &Transaction<'_>, folders: &str, now: Timestamp) -> rusqlite::Result<Vec<DueRow>> {
    let mut statement = transaction.prepare_cached(
        "SELECT id, file, address, digest, contact FROM entry
          WHERE route IN (SELECT id FROM route WHERE folder IN (SELECT value FROM json_each(?1)))
            AND rank IN (0, 1) AND state = 'queued' AND due_at <= ?2 LIMIT ?3",
    )?;
    let rows = statement.query_map(params![folders, millis(now), PORTION], |row| {
        Ok(DueRow {
            entry: row.get(0)?,
            file: row.get(1)?,
            address: row.get(2)?,
            digest: row.get(3)?,
            contact: contact(row, 4)?,
        })
    })?;
    rows.collect()
}

fn says_nothing_new(transaction: &Transaction<'_>, row: &DueRow, lists: &str) -> rusqlite::Result<bool> {
    // When the person agreed does not matter here: an import brings nobody back who left.
    let given = delivered::last_given(transaction, &row.address, lists)?;
    Ok(given.is_some_and(|given| given.says_all(row.digest, None)))
}

fn add(transaction: &Transaction<'_>, id: i64, entry: i64, now: Timestamp) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached(
            "UPDATE entry SET state = 'sending', import = ?2, attempts = attempts + 1,
                    tried_since = coalesce(tried_since, ?3), reason = NULL WHERE id = ?1 AND state = 'queued'",
        )?
        .execute(params![entry, id, millis(now)])?;
    one(touched)
}

fn count_added(transaction: &Transaction<'_>, id: i64, added: &BTreeMap<i64, u32>) -> rusqlite::Result<()> {
    for (file, rows) in added {
        let touched = transaction.execute(
            "UPDATE file SET queued = queued - ?2, sending = sending + ?2 WHERE id = ?1",
            params![file, rows],
        )?;
        one(touched)?;
    }
    let rows: u32 = added.values().sum();
    transaction.execute("UPDATE import SET rows = rows + ?2 WHERE id = ?1", params![id, rows])?;
    Ok(())
}
