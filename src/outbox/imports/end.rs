//! An import ends: its rows are settled, given back, or held, a portion at a time.
//!
//! Promises that each row gets one fate, and that whoever waited behind it is next.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Transaction, params, types::ToSql};

use super::super::entries::{Final, RowKey, finish};
use super::super::{HeldBecause, Outbox, Result, delivered, millis, one};
use super::{PORTION, Portion};

/// The rows of an import up to an entry.
const RANGE: &str = "import = ?1 AND state = 'sending' AND id <= ?2";

/// Why a row of an import did not land.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The person had unsubscribed: a person must decide, with new consent.
    Unsubscribed(String),
    /// The account refuses the row.
    Refused(String),
    /// The account does not say; the row is given back once, then held.
    Unknown(String),
}

impl Outbox {
    /// Settles a portion of the rows that are still in a landed import.
    pub fn settle_import(&mut self, id: i64, lists: &str, now: Timestamp) -> Result<Portion> {
        self.write("settle an import", |transaction| {
            let Some(last) = portion_end(transaction, id)? else {
                transaction.execute("UPDATE import SET state = 'done' WHERE id = ?1", [id])?;
                return Ok(Portion::default());
            };
            let range: [&dyn ToSql; 2] = [&id, &last];
            delivered::remember_portion(transaction, RANGE, (id, last), lists, now)?;
            let file_finished = count_in_files(transaction, range, "imported", now)?;
            next_of_the_same_address(transaction, range, now)?;
            transaction.execute(
                &format!(
                    "UPDATE entry SET state = 'delivered', outcome = 'imported', due_at = NULL, reason = NULL,
                            settled_at = ?3 WHERE {RANGE}"
                ),
                params![id, last, millis(now)],
            )?;
            transaction.execute(
                "INSERT INTO fact (name, value) VALUES ('last_delivery', ?1)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                [millis(now)],
            )?;
            Ok(Portion { more: true, file_finished })
        })
    }

    /// Gives a portion of a failed import's rows back to the queue, each after a pause by how often it was tried; what
    /// was first tried before a time is held instead.
    pub fn give_back_import(
        &mut self,
        id: i64,
        pauses: &[Duration],
        tried_before: Timestamp,
        now: Timestamp,
    ) -> Result<Portion> {
        self.write("give an import's rows back", |transaction| {
            let (reason, rows) = portion_of_ended(transaction, id, "the import failed")?;
            let mut portion = Portion { more: !rows.is_empty(), file_finished: false };
            for row in rows {
                if row.tried_since <= millis(tried_before) {
                    let reason = format!("given up after {} imports: {reason}", row.attempts);
                    let held = Final::held(HeldBecause::GivenUp, &reason);
                    portion.file_finished |= finish(transaction, row.key(), "sending", &held, now)?;
                } else {
                    let step = usize::try_from(row.attempts).unwrap_or(usize::MAX).saturating_sub(1);
                    let pause = pauses.get(step).or(pauses.last()).copied().unwrap_or_default();
                    let at = now.checked_add(pause).unwrap_or(Timestamp::MAX);
                    give_back(transaction, row.key(), at, &reason)?;
                }
            }
            Ok(portion)
        })
    }

    /// Holds a portion of a refused import's rows.
    pub fn hold_import(&mut self, id: i64, now: Timestamp) -> Result<Portion> {
        self.write("hold an import's rows", |transaction| {
            let (reason, rows) = portion_of_ended(transaction, id, "the account refuses the import")?;
            let mut portion = Portion { more: !rows.is_empty(), file_finished: false };
            let held = Final::held(HeldBecause::RefusedCall, &reason);
            for row in rows {
                portion.file_finished |= finish(transaction, row.key(), "sending", &held, now)?;
            }
            Ok(portion)
        })
    }

    /// Settles rows of an import that did not land, each by its own verdict. Says whether a file was finished by it.
    pub fn settle_missing(
        &mut self,
        id: i64,
        missing: &[(i64, Missing)],
        again_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        self.write("settle rows that did not land", |transaction| {
            let mut file_finished = false;
            for (entry, missing) in missing {
                file_finished |= settle_one(transaction, id, *entry, missing, again_at, now)?;
            }
            Ok(file_finished)
        })
    }
}

/// Why an import ended, or else these words, and a portion of its rows; without any left it is done.
fn portion_of_ended(
    transaction: &Transaction<'_>,
    id: i64,
    otherwise: &str,
) -> rusqlite::Result<(String, Vec<SentRow>)> {
    let reason = transaction.query_row(
        "SELECT coalesce(reason, ?2) FROM import WHERE id = ?1",
        params![id, otherwise],
        |row| row.get(0),
    )?;
    let rows = sent_rows(transaction, id)?;
    if rows.is_empty() {
        transaction.execute("UPDATE import SET state = 'done' WHERE id = ?1", [id])?;
    }
    Ok((reason, rows))
}

/// The last entry of the next portion of an import's rows; `None` when none is left.
fn portion_end(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<Option<i64>> {
    transaction
        .prepare_cached(
            "SELECT max(id) FROM (SELECT id FROM entry WHERE import = ?1 AND state = 'sending' ORDER BY id LIMIT ?2)",
        )?
        .query_row(params![id, PORTION], |row| row.get(0))
}

/// Moves a portion's rows to another count of their files. Says whether a file was finished by it.
fn count_in_files(
    transaction: &Transaction<'_>,
    range: [&dyn ToSql; 2],
    count: &'static str,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let mut statement = transaction
        .prepare_cached(&format!("SELECT file, count(*) FROM entry WHERE {RANGE} GROUP BY file"))?;
    let files: Vec<(i64, i64)> =
        statement.query_map(range, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut finished = false;
    for (file, rows) in files {
        finished |= transaction.query_row(
            &format!(
                "UPDATE file SET sending = sending - ?2, {count} = {count} + ?2,
                        settled_at = CASE WHEN '{count}' <> 'queued' AND queued + sending = ?2 THEN ?3 ELSE settled_at END
                  WHERE id = ?1 RETURNING queued + sending = 0"
            ),
            params![file, rows, millis(now)],
            |row| row.get::<_, bool>(0),
        )?;
    }
    Ok(finished)
}

/// Moves the next waiting row of each address that was just settled to the front.
fn next_of_the_same_address(
    transaction: &Transaction<'_>,
    range: [&dyn ToSql; 2],
    now: Timestamp,
) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE entry SET due_at = ?3
          WHERE state = 'queued' AND due_at IS NULL
            AND id IN (SELECT min(waiting.id) FROM entry AS landed
                         JOIN entry AS waiting ON waiting.address = landed.address AND waiting.id <> landed.id
                                              AND waiting.state IN ('queued', 'sending')
                        WHERE landed.import = ?1 AND landed.state = 'sending' AND landed.id <= ?2
                        GROUP BY landed.address)",
        params![range[0], range[1], millis(now)],
    )?;
    Ok(())
}

fn settle_one(
    transaction: &Transaction<'_>,
    id: i64,
    entry: i64,
    missing: &Missing,
    again_at: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let found = sent(transaction, "id = ?1 AND import = ?2 AND state = 'sending'", params![entry, id])?.pop();
    // Settled before a crash: the search that found it again started from the beginning.
    let Some(row) = found else { return Ok(false) };
    let key = row.key();
    match missing {
        Missing::Unsubscribed(reason) => {
            finish(transaction, key, "sending", &Final::held(HeldBecause::Left, reason), now)
        }
        Missing::Refused(reason) => {
            finish(transaction, key, "sending", &Final::rejected(Some("email"), reason), now)
        }
        Missing::Unknown(reason) if row.attempts > 1 => {
            finish(transaction, key, "sending", &Final::held(HeldBecause::RefusedCall, reason), now)
        }
        Missing::Unknown(reason) => give_back(transaction, key, again_at, reason).map(|()| false),
    }
}

/// A row that went with an import.
struct SentRow {
    entry: i64,
    file: i64,
    address: String,
    attempts: u32,
    tried_since: i64,
}

impl SentRow {
    fn key(&self) -> RowKey<'_> {
        RowKey { entry: self.entry, file: self.file, address: &self.address }
    }
}

fn sent_rows(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<Vec<SentRow>> {
    sent(transaction, "import = ?1 AND state = 'sending' ORDER BY id LIMIT ?2", params![id, PORTION])
}

fn sent(transaction: &Transaction<'_>, which: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Vec<SentRow>> {
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT id, file, address, attempts, coalesce(tried_since, 0) FROM entry WHERE {which}"
    ))?;
    let rows = statement.query_map(values, |row| {
        Ok(SentRow {
            entry: row.get(0)?,
            file: row.get(1)?,
            address: row.get(2)?,
            attempts: row.get(3)?,
            tried_since: row.get(4)?,
        })
    })?;
    rows.collect()
}

pub(super) fn give_back(
    transaction: &Transaction<'_>,
    row: RowKey<'_>,
    at: Timestamp,
    reason: &str,
) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached(
            "UPDATE entry SET state = 'queued', import = NULL, due_at = ?2, reason = ?3
              WHERE id = ?1 AND state = 'sending'",
        )?
        .execute(params![row.entry, millis(at), reason])?;
    one(touched)?;
    let touched = transaction
        .prepare_cached("UPDATE file SET queued = queued + 1, sending = sending - 1 WHERE id = ?1")?
        .execute([row.file])?;
    one(touched)
}
