//! Figures about the whole outbox, for `status` and the end of `run --once`.

use jiff::Timestamp;
use rusqlite::OptionalExtension;

use super::files::{COUNTS, Counts, counts};
use super::{Outbox, Result, timestamp};

/// The whole outbox in figures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows by what became of them.
    pub counts: Counts,
    /// When the file of the oldest row that still waits came.
    pub oldest_queued: Option<Timestamp>,
    /// When a row last reached the account.
    pub last_delivery: Option<Timestamp>,
}

/// How a folder is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedFolder {
    /// The folder.
    pub path: String,
    /// `events` or `polling`.
    pub watch: String,
    /// Why it is polled; empty where there are events.
    pub reason: String,
}

impl Outbox {
    /// The whole outbox in figures. Cheap: it adds up the files, not the rows.
    pub fn totals(&mut self) -> Result<Totals> {
        self.doing("add up the files", |connection| {
            let sums = COUNTS.split(", ").map(|name| format!("coalesce(sum({name}), 0)")).collect::<Vec<_>>();
            let counts =
                connection
                    .query_row(&format!("SELECT {} FROM file", sums.join(", ")), (), |row| counts(row, 0))?;
            let time = |sql: &str| {
                let millis =
                    connection.query_row(sql, (), |row| row.get::<_, Option<i64>>(0)).optional()?.flatten();
                millis.map(|millis| timestamp(0, millis)).transpose()
            };
            Ok(Totals {
                counts,
                oldest_queued: time("SELECT min(received_at) FROM file WHERE queued + sending > 0")?,
                last_delivery: time("SELECT value FROM fact WHERE name = 'last_delivery'")?,
            })
        })
    }

    /// Files by name with what became of their rows, in the order they came.
    pub fn files(&mut self) -> Result<Vec<(String, String, Counts)>> {
        self.doing("list files", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT name, coalesce(archived_as, ''), {COUNTS} FROM file ORDER BY id"
            ))?;
            let files = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?, counts(row, 2)?)))?;
            files.collect()
        })
    }

    /// The files that came last, the latest first.
    pub fn latest_files(&mut self, limit: u32) -> Result<Vec<(String, String, Counts)>> {
        self.doing("list the latest files", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT name, coalesce(archived_as, ''), {COUNTS} FROM file ORDER BY id DESC LIMIT ?1"
            ))?;
            let files =
                statement.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?, counts(row, 2)?)))?;
            files.collect()
        })
    }

    /// How each folder is watched, as the daemon last said.
    pub fn watched(&mut self) -> Result<Vec<WatchedFolder>> {
        self.doing("list watched folders", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT path, watch, reason FROM watched ORDER BY path")?;
            let folders = statement.query_map((), |row| {
                Ok(WatchedFolder { path: row.get(0)?, watch: row.get(1)?, reason: row.get(2)? })
            })?;
            folders.collect()
        })
    }

    /// Replaces what is known of watched folders.
    pub fn set_watched(&mut self, folders: &[WatchedFolder]) -> Result<()> {
        self.write("write down watched folders", |transaction| {
            transaction.execute("DELETE FROM watched", ())?;
            for WatchedFolder { path, watch, reason } in folders {
                // Two names that are not UTF-8 may look the same when written down.
                let touched = transaction.execute(
                    "INSERT OR REPLACE INTO watched (path, watch, reason) VALUES (?1, ?2, ?3)",
                    [path, watch, reason],
                )?;
                super::one(touched)?;
            }
            Ok(())
        })
    }

    /// Files that were found by looking though an event should have told of them.
    pub fn count_missed_events(&mut self, files: u64) -> Result<()> {
        self.write("count missed events", |transaction| {
            let touched = transaction.execute(
                "INSERT INTO fact (name, value) VALUES ('missed_events', ?1)
                     ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                [super::signed(files)],
            )?;
            super::one(touched)
        })
    }

    /// How many files were found by looking so far.
    pub fn missed_events(&mut self) -> Result<u64> {
        self.doing("read the count of missed events", |connection| {
            let found = connection
                .query_row("SELECT value FROM fact WHERE name = 'missed_events'", (), |row| row.get(0))
                .optional()?;
            Ok(found.map(super::unsigned).unwrap_or_default())
        })
    }
}
