//! The outbox: the one truth about every file and every row, in a SQLite file.
//!
//! Owns all SQL, the schema and its migrations. Promises that a commit is on the disk when it returns
//! (`synchronous=FULL`), that each write touched the rows it meant to, and that a database it does not understand is left
//! as it is. Leaves deciding to `plan` and `drain`: here things are looked up and written down.

mod backup;
mod budget;
mod consent;
mod delivered;
mod directory;
mod entries;
mod files;
mod imports;
mod intake;
mod life;
mod notes;
mod opt_outs;
mod prune;
mod queue;
mod rank;
mod replace;
mod samples;
mod summary;
mod teller;
mod tries;
mod troubles;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, config::DbConfig};
use thiserror::Error;

pub use budget::CallRecord;
pub use directory::Directory;
pub use entries::{Delivered, Due, HeldBecause, Job, OpenRoute, Settlement, Take, Unsettled};
pub use files::{Counts, ReceiptFacts, RecordedFile, SettledRow};
pub use imports::{
    Fit, Import, ImportGuard, ImportState, ImportStep, Landing, LeavingImport, Missing, Portion,
};
pub use intake::{Intake, NewFile};
pub use life::{Attempt, Episode};
pub use notes::{Note, NotesRead};
pub use opt_outs::{LeftBy, Question, Reading, ReadingAnswer, Standing};
pub use queue::{Change, Listed, Selector, Touched};
pub use rank::{LIVE_ROWS, Rank, Turn};
pub use samples::Sample;
pub use summary::{Totals, WatchedFolder};
pub use teller::{Obstacle, Teller};
pub use troubles::{Health, OPERATOR, Trouble};

/// The database's name in the state folder.
pub const FILE_NAME: &str = "outbox.db";
/// SQLite's `application_id` of an outbox ("MCHT"), so that no other program's database is taken for one.
const APPLICATION_ID: i32 = 0x4D43_4854;
/// Every schema from the first release on, in order; `user_version` counts how many were applied.
const MIGRATIONS: [&str; 1] = [include_str!("schema/0001.sql")];
/// How often a lock is asked for, and in which pauses. The loops of the daemon hold it for moments, one after the other:
/// whoever waits must come back before the next one begins. A lock that lasts is a large file's or a stray shell's.
const SHORT_WAIT: Duration = Duration::from_millis(1);
const SHORT_WAITS: i32 = 1_000;
const LONG_WAIT: Duration = Duration::from_millis(25);
/// Together half a minute, longer than the commit of the largest file that is taken in; a stray shell that holds a lock
/// longer is an error.
const MOST_WAITS: i32 = SHORT_WAITS + 1_160;
/// Statements that a loop repeats for each row stay prepared.
const PREPARED_STATEMENTS: usize = 64;
/// Pages of the database that stay in memory, in KiB, for each of the daemon's two connections.
const CACHE_KIB: i64 = 4 << 10;
/// The same while files are taken in: addresses come in no order, so that a large file touches all of the index by
/// address again and again.
const INTAKE_CACHE_KIB: i64 = 16 << 10;
/// What is left of the write-ahead log after a large file, in bytes: enough for days of usual business.
const LOG_LEFT: i64 = 16 << 20;

/// What can go wrong with the outbox.
#[derive(Debug, Error)]
pub enum OutboxError {
    /// SQLite's own complaint.
    #[error("outbox {}: cannot {doing}: {source}{}", path.display(), hint(source))]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What was attempted.
        doing: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is not what SQLite wrote.
    #[error(
        "outbox {} is damaged ({source}). Nothing is begun anew over it: stop the daemon, move the file away with its \
         -wal and -shm, and put a backup in its place; the README says how",
        path.display()
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A write did not touch what it was for: the table is not as this program left it.
    #[error("outbox {}: {doing} touched {touched} rows instead of {expected}; stop the daemon and keep the file for inspection", path.display())]
    Touched {
        /// The database file.
        path: PathBuf,
        /// What was attempted.
        doing: &'static str,
        /// How many rows it was for.
        expected: usize,
        /// How many it touched.
        touched: usize,
    },
    /// A database of somebody else.
    #[error("{} is a database, but not an outbox of mailchute: move it away, or name another `state` folder", path.display())]
    Foreign {
        /// The database file.
        path: PathBuf,
    },
    /// A database from the future.
    #[error("outbox {} was written by a newer mailchute (schema {found}, this one knows {known}): install that version again", path.display())]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema.
        found: usize,
        /// The newest schema that this program knows.
        known: usize,
    },
    /// The file holds something that this program did not write there.
    #[error("outbox {}: {what}", path.display())]
    Content {
        /// The database file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
}

impl OutboxError {
    /// A fault that passes by itself or with a free disk: the same step can be tried again.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Sqlite { source: rusqlite::Error::SqliteFailure(error, _), .. } if matches!(
            error.code,
            ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SystemIoFailure
                | ErrorCode::ReadOnly | ErrorCode::CannotOpen
        ))
    }
}

/// The result of every question to the outbox.
pub type Result<T, E = OutboxError> = std::result::Result<T, E>;

/// An open outbox.
pub struct Outbox {
    connection: Connection,
    path: PathBuf,
    /// It has the larger cache.
    is_taking_in: bool,
}

impl Outbox {
    /// Opens the outbox of a state folder, makes it when there is none, and brings its schema up to date.
    pub fn open(state: &Path) -> Result<Self> {
        let path = state.join(FILE_NAME);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut outbox = Self::connect(path, flags)?;
        // Before anything is set: what this program does not understand is left as it is, to the byte.
        let found = outbox.version()?;
        outbox.known(found)?;
        // Of effect only before the first table: then what is pruned can be given back to the disk.
        outbox.doing("set auto_vacuum", |connection| {
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")
        })?;
        outbox.doing("use the write-ahead log", |connection| {
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        })?;
        outbox.doing("set synchronous=FULL", |connection| {
            connection.pragma_update(None, "synchronous", "FULL")
        })?;
        outbox.doing("set foreign_keys=ON", |connection| {
            connection.pragma_update(None, "foreign_keys", true)
        })?;
        outbox.doing("set the sizes of its cache and log", |connection| {
            connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            connection.pragma_update_and_check(None, "journal_size_limit", LOG_LEFT, |_| Ok(()))
        })?;
        outbox.migrate(&MIGRATIONS)?;
        Ok(outbox)
    }

    /// Opens an existing outbox only to look at it, beside a running daemon or without one. `None` when there is none.
    pub fn open_to_look(state: &Path) -> Result<Option<Self>> {
        let path = state.join(FILE_NAME);
        if !path.exists() {
            return Ok(None);
        }
        let mut outbox =
            Self::connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        outbox.doing("set query_only", |connection| connection.pragma_update(None, "query_only", true))?;
        match outbox.version()? {
            0 => Ok(None),
            version => outbox.known(version).map(|()| Some(outbox)),
        }
    }

    fn connect(path: PathBuf, flags: OpenFlags) -> Result<Self> {
        let connection = Connection::open_with_flags(&path, flags)
            .and_then(|mut connection| connection.busy_handler(Some(wait_for_lock)).map(|()| connection))
            .map_err(|source| explain(path.clone(), "open it", source))?;
        connection.set_prepared_statement_cache_capacity(PREPARED_STATEMENTS);
        // A prepared statement keeps its plan. Otherwise SQLite may plan anew for each bound value, which costs more than
        // the look-up itself when a file has a million rows.
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
            .map_err(|source| OutboxError::Sqlite { path: path.clone(), doing: "set it up", source })?;
        Ok(Self { connection, path, is_taking_in: false })
    }

    /// Makes room in memory for files that are taken in.
    fn takes_in(&mut self) -> rusqlite::Result<()> {
        if !self.is_taking_in {
            self.connection.pragma_update(None, "cache_size", -INTAKE_CACHE_KIB)?;
            self.is_taking_in = true;
        }
        Ok(())
    }

    /// Gives back the memory that files needed, now that none is taken in.
    pub fn rest(&mut self) -> Result<()> {
        if !std::mem::take(&mut self.is_taking_in) {
            return Ok(());
        }
        self.doing("give memory back", |connection| {
            connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            connection.execute_batch("PRAGMA shrink_memory")
        })
    }

    /// The first damage that SQLite finds when it reads the whole file; `None` when it is sound.
    pub fn is_sound(&mut self) -> Result<Option<String>> {
        let said: String = self.doing("check the file", |connection| {
            connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))
        })?;
        Ok((said != "ok").then_some(said))
    }

    /// Applies the schemas that are missing, each in a transaction of its own.
    fn migrate(&mut self, schemas: &[&str]) -> Result<()> {
        let applied = self.version()?;
        for (number, schema) in schemas.iter().enumerate().skip(applied) {
            let version = signed(number as u64 + 1);
            self.write("migrate the schema", |transaction| {
                transaction.execute_batch(schema)?;
                transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
                transaction.pragma_update(None, "user_version", version)
            })?;
        }
        Ok(())
    }

    /// How many schemas were applied; 0 only for a file without any table.
    fn version(&mut self) -> Result<usize> {
        let (application, version, tables) = self.doing("read its schema's version", |connection| {
            let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
            let tables =
                connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get::<_, i64>(0))?;
            Ok((number("application_id")?, number("user_version")?, tables))
        })?;
        match (application == i64::from(APPLICATION_ID), tables) {
            (false, 0) => Ok(0),
            (true, _) => Ok(usize::try_from(version).unwrap_or(usize::MAX)),
            (false, _) => Err(OutboxError::Foreign { path: self.path.clone() }),
        }
    }

    fn known(&self, version: usize) -> Result<()> {
        if version > MIGRATIONS.len() {
            let path = self.path.clone();
            return Err(OutboxError::Newer { path, found: version, known: MIGRATIONS.len() });
        }
        Ok(())
    }

    /// Runs statements outside a transaction and gives a failure its words.
    fn doing<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        work(&self.connection).map_err(|source| explain(self.path.clone(), doing, source))
    }

    /// Runs a transaction that takes the write lock at once: what it reads stays true until it commits.
    fn write<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let path = self.path.clone();
        let run = || {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|source| explain(path, doing, source))
    }
}

/// SQLite asks for each time that a lock is taken whether to go on waiting for it.
fn wait_for_lock(waits: i32) -> bool {
    std::thread::sleep(if waits < SHORT_WAITS { SHORT_WAIT } else { LONG_WAIT });
    waits < MOST_WAITS
}

/// A write that touched the wrong number of rows travels through rusqlite's error type and comes out as ours.
fn explain(path: PathBuf, doing: &'static str, source: rusqlite::Error) -> OutboxError {
    match source {
        rusqlite::Error::StatementChangedRows(touched) => {
            OutboxError::Touched { path, doing, expected: 1, touched }
        }
        rusqlite::Error::SqliteFailure(error, _)
            if matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) =>
        {
            OutboxError::Damaged { path, source }
        }
        source => OutboxError::Sqlite { path, doing, source },
    }
}

/// What would help against a fault that is the machine's.
fn hint(source: &rusqlite::Error) -> &'static str {
    let rusqlite::Error::SqliteFailure(error, _) = source else { return "" };
    match error.code {
        ErrorCode::DiskFull => "; make room on the disk, then it goes on by itself",
        ErrorCode::ReadOnly => {
            "; the disk or the file is write-protected: mend that, then it goes on by itself"
        }
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
            "; another program holds it, for example a sqlite3 shell in a transaction: close that"
        }
        ErrorCode::CannotOpen | ErrorCode::PermissionDenied => {
            "; the user who runs mailchute must be able to read and write the state folder"
        }
        _ => "",
    }
}

/// Refuses a write that did not touch exactly one row.
fn one(touched: usize) -> rusqlite::Result<()> {
    if touched == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(touched)) }
}

/// Refuses a write that touched more than one row.
fn at_most_one(touched: usize) -> rusqlite::Result<()> {
    if touched <= 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(touched)) }
}

fn millis(time: Timestamp) -> i64 {
    time.as_millisecond()
}

/// Times that SQLite holds were written by [`millis`]; one outside jiff's range can only be a damaged file.
fn timestamp(column: usize, millis: i64) -> rusqlite::Result<Timestamp> {
    Timestamp::from_millisecond(millis).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Integer, Box::new(error))
    })
}

/// Counts are never negative in the schema, so nothing is lost here.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// An outbox that an asynchronous loop can use: SQLite blocks, so each question runs on a thread that may.
#[derive(Clone)]
pub struct SharedOutbox(Arc<Mutex<Outbox>>);

impl SharedOutbox {
    /// Shares an open outbox.
    #[must_use]
    pub fn new(outbox: Outbox) -> Self {
        Self(Arc::new(Mutex::new(outbox)))
    }

    /// Asks the outbox on a blocking thread.
    pub async fn ask<T, F>(&self, question: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&mut Outbox) -> T + Send + 'static,
    {
        let shared = Arc::clone(&self.0);
        let asked = tokio::task::spawn_blocking(move || {
            // A panic in an earlier question rolled its transaction back; the connection itself is sound.
            question(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match asked.await {
            Ok(answer) => answer,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

#[cfg(test)]
mod tests;
