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

    /// How each folder is watched, as the daemon last said.
    pub fn watched(&mut self) -> Result<Vec<(String, String)>> {
        self.doing("list watched folders", |connection| {
            let mut statement = connection.prepare_cached("SELECT path, watch FROM watched ORDER BY path")?;
            let folders = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
            folders.collect()
        })
    }

    /// Replaces what is known of watched folders.
    pub fn set_watched(&mut self, folders: &[(String, &'static str)]) -> Result<()> {
        self.write("write down watched folders", |transaction| {
            transaction.execute("DELETE FROM watched", ())?;
            for (path, watch) in folders {
                super::one(
                    transaction
                        .execute("INSERT INTO watched (path, watch) VALUES (?1, ?2)", [path, *watch])?,
                )?;
            }
            Ok(())
        })
    }
}
