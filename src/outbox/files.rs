//! Files after their rows are recorded: archived, then answered.
//!
//! Owns a file's stages. Each stage is written before the step that it names may be relied upon: the archive's name
//! before the rename, the stage after it, so that a start after a crash knows where to look.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::{Outbox, Result, millis, one, timestamp, unsigned};

/// How many rows of a file came to what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for a call.
    pub queued: u64,
    /// In a call.
    pub sending: u64,
    /// New in the account.
    pub created: u64,
    /// Changed in the account.
    pub updated: u64,
    /// Given to the account in bulk, which does not say created or updated.
    pub imported: u64,
    /// The account had it already from us.
    pub unchanged: u64,
    /// Said again what an earlier row of the file said.
    pub duplicate: u64,
    /// Refused, here or by the service.
    pub rejected: u64,
    /// Waiting for a person.
    pub held: u64,
}

impl Counts {
    /// All rows.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.queued
            + self.sending
            + self.created
            + self.updated
            + self.imported
            + self.unchanged
            + self.duplicate
            + self.rejected
            + self.held
    }
}

/// The columns of `file` that [`counts`] reads, in its order.
pub(super) const COUNTS: &str =
    "queued, sending, created, updated, imported, unchanged, duplicate, rejected, held";

/// Reads [`COUNTS`] from the given column on.
pub(super) fn counts(row: &Row<'_>, first: usize) -> rusqlite::Result<Counts> {
    let count = |offset: usize| row.get::<_, i64>(first + offset).map(unsigned);
    Ok(Counts {
        queued: count(0)?,
        sending: count(1)?,
        created: count(2)?,
        updated: count(3)?,
        imported: count(4)?,
        unchanged: count(5)?,
        duplicate: count(6)?,
        rejected: count(7)?,
        held: count(8)?,
    })
}

/// A file whose rows are recorded and which still lies in the inbox, as far as the outbox knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedFile {
    /// Its place in the outbox.
    pub id: i64,
    /// Its name as dropped.
    pub name: String,
    /// Its route's folder.
    pub route: String,
    /// The digest of its bytes.
    pub sha256: String,
    /// Where it was about to be renamed to, below the spool.
    pub archive: Option<PathBuf>,
}

/// What a receipt says, but for its lists of rows.
#[derive(Debug, Clone)]
pub struct ReceiptFacts {
    /// The file's place in the outbox.
    pub id: i64,
    /// Its name as dropped.
    pub name: String,
    /// The digest of its bytes.
    pub sha256: String,
    /// Its route's folder.
    pub route: String,
    /// When it was seen complete.
    pub received_at: Timestamp,
    /// When its last row was settled.
    pub settled_at: Timestamp,
    /// The archived file, below the spool.
    pub archived_as: PathBuf,
    /// What became of its rows.
    pub counts: Counts,
    /// The column that the addresses were taken from, where several could hold them.
    pub address_column: Option<String>,
}

/// A row that a receipt names: rejected or held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettledRow {
    /// Its place in the outbox.
    pub id: i64,
    /// The line in the file.
    pub line: u64,
    /// The address as far as there was one.
    pub email: Option<String>,
    /// The field that is wrong, if one is.
    pub field: Option<String>,
    /// What is wrong and what would be right.
    pub reason: String,
}

impl Outbox {
    /// Files whose archive rename is not known to be done.
    pub fn recorded_files(&mut self) -> Result<Vec<RecordedFile>> {
        self.doing("list recorded files", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT file.id, name, folder, sha256, archived_as FROM file JOIN route ON route.id = file.route
                  WHERE stage = 'recorded' ORDER BY file.id",
            )?;
            let files = statement.query_map((), |row| {
                Ok(RecordedFile {
                    id: row.get(0)?,
                    name: row.get(1)?,
                    route: row.get(2)?,
                    sha256: row.get(3)?,
                    archive: row.get::<_, Option<String>>(4)?.map(PathBuf::from),
                })
            })?;
            files.collect()
        })
    }

    /// Writes down where a file is about to be renamed to, below the spool.
    pub fn intend_archive(&mut self, file: i64, archive: &Path) -> Result<()> {
        let archive = archive.to_string_lossy().into_owned();
        self.write("write down an archive's name", |transaction| {
            let touched = transaction.execute(
                "UPDATE file SET archived_as = ?2 WHERE id = ?1 AND stage = 'recorded'",
                params![file, archive],
            )?;
            one(touched)
        })
    }

    /// The rename is done and synced.
    pub fn archived(&mut self, file: i64) -> Result<()> {
        self.write("write down an archived file", |transaction| {
            let touched = transaction
                .execute("UPDATE file SET stage = 'archived' WHERE id = ?1 AND stage = 'recorded'", [file])?;
            one(touched)
        })
    }

    /// The next file whose last row is settled and whose receipt is not written, after the given one.
    pub fn receipt_due(&mut self, after: i64) -> Result<Option<ReceiptFacts>> {
        self.doing("look for a receipt that is due", |connection| {
            let sql = format!(
                "SELECT file.id, name, sha256, folder, received_at, coalesce(settled_at, received_at), archived_as,
                        address_column, {COUNTS}
                   FROM file JOIN route ON route.id = file.route
                  WHERE stage = 'archived' AND queued = 0 AND sending = 0 AND file.id > ?1 ORDER BY file.id LIMIT 1"
            );
            let mut statement = connection.prepare_cached(&sql)?;
            statement
                .query_row([after], |row| {
                    Ok(ReceiptFacts {
                        id: row.get(0)?,
                        name: row.get(1)?,
                        sha256: row.get(2)?,
                        route: row.get(3)?,
                        received_at: timestamp(4, row.get(4)?)?,
                        settled_at: timestamp(5, row.get(5)?)?,
                        archived_as: PathBuf::from(row.get::<_, String>(6)?),
                        address_column: row.get(7)?,
                        counts: counts(row, 8)?,
                    })
                })
                .optional()
        })
    }

    /// A page of a file's rejected or held rows, after a place in the outbox: a receipt for a million rows is written page
    /// by page, and each page begins where the last one ended.
    pub fn settled_rows(
        &mut self,
        file: i64,
        state: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<SettledRow>> {
        self.doing("list a file's rows", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, line, coalesce(email, json_extract(contact, '$.email'), address), field, coalesce(reason, '')
                   FROM entry
                  WHERE id > max(?3, (SELECT first_entry - 1 FROM file WHERE id = ?1))
                    AND id < (SELECT first_entry + rows FROM file WHERE id = ?1)
                    AND state = ?2
                  ORDER BY id LIMIT ?4",
            )?;
            let rows = statement.query_map(params![file, state, after, limit], |row| {
                Ok(SettledRow {
                    id: row.get(0)?,
                    line: row.get::<_, i64>(1).map(unsigned)?,
                    email: row.get(2)?,
                    field: row.get(3)?,
                    reason: row.get(4)?,
                })
            })?;
            rows.collect()
        })
    }

    /// The receipt is written.
    pub fn answered(&mut self, file: i64, now: Timestamp) -> Result<()> {
        self.write("write down an answered file", |transaction| {
            let touched = transaction.execute(
                "UPDATE file SET stage = 'answered', settled_at = coalesce(settled_at, ?2)
                  WHERE id = ?1 AND stage = 'archived' AND queued = 0 AND sending = 0",
                params![file, millis(now)],
            )?;
            one(touched)
        })
    }

    /// Archived files that are not answered yet, below the spool: they are needed for their receipts.
    pub fn unanswered_archives(&mut self) -> Result<Vec<PathBuf>> {
        self.doing("list archived files without an answer", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT archived_as FROM file WHERE stage <> 'answered' AND archived_as IS NOT NULL",
            )?;
            let files = statement.query_map((), |row| row.get::<_, String>(0).map(PathBuf::from))?;
            files.collect()
        })
    }
}
