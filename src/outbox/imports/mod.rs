//! Bulk imports: which rows went together, how far each is, and what became of its rows.
//!
//! Owns an import's steps; its rows are added in `fill`, guarded before they leave in `consent`, and settled in `end`.
//! Promises that an import and its rows survive the process, that its activity's id is stored before anything else is
//! done about it, and that long work is done in portions, so that nobody waits for the write lock. Leaves deciding what
//! happens next to `drain`.

mod consent;
mod end;
mod fill;

use jiff::Timestamp;
use rusqlite::{Row, Transaction, params};

use super::budget::{begin_call, end_call};
use super::intake::contact;
use super::{CallRecord, Outbox, Result, millis, one, signed, timestamp, unsigned};
use crate::contact::Contact;
pub use consent::{ImportGuard, LeavingImport};
pub use end::Missing;
pub use fill::Fit;

/// How many rows are added, settled or given back in one transaction: a fraction of a second on a slow disk.
const PORTION: u32 = 2_000;

/// How far an import is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportState {
    /// Rows are being added.
    Open,
    /// It is to be posted.
    Ready,
    /// The call has left.
    Posted,
    /// The call's answer was lost.
    Doubt,
    /// The account works on it.
    Running,
    /// Fewer rows landed than were sent.
    Short,
    /// Every row that is still in it has landed.
    Landed,
    /// Its rows go back to the queue.
    Failed,
    /// Its rows are held: the account refuses the call.
    Refused,
    /// Nothing is left to do.
    Done,
}

impl ImportState {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Open, "open"),
        (Self::Ready, "ready"),
        (Self::Posted, "posted"),
        (Self::Doubt, "doubt"),
        (Self::Running, "running"),
        (Self::Short, "short"),
        (Self::Landed, "landed"),
        (Self::Failed, "failed"),
        (Self::Refused, "refused"),
        (Self::Done, "done"),
    ];

    /// The word in the outbox.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(state, _)| *state == self).map_or("done", |(_, word)| word)
    }

    fn parse(word: &str) -> Self {
        Self::ALL.iter().find(|(_, known)| *known == word).map_or(Self::Done, |(state, _)| *state)
    }
}

/// What the account counted at the end of an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Landing {
    /// Contacts, those included that could not be put on a list.
    pub persons: u64,
    /// Rows that it refused.
    pub refused: u64,
    /// Contacts that it did not put on a list because they had unsubscribed.
    pub unsubscribed: u64,
}

/// A bulk import that is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// Its place in the outbox.
    pub id: i64,
    /// Its set of lists.
    pub lists: String,
    /// How far it is.
    pub state: ImportState,
    /// How many rows went with it.
    pub rows: u64,
    /// When the next thing is to be done about it.
    pub due_at: Timestamp,
    /// When its call left last.
    pub posted_at: Option<Timestamp>,
    /// The account's name for it.
    pub activity_id: Option<String>,
    /// When the account took it, by the account's clock.
    pub taken_at: Option<Timestamp>,
    /// Polls of a running job, or calls that came to nothing.
    pub tries: u32,
    /// What the account counted at the end.
    pub landing: Landing,
    /// Lists of the set, by id, that its people left.
    pub without: Vec<String>,
}

/// What a change of an import writes down.
#[derive(Debug, Clone)]
pub struct ImportStep {
    /// How far it is from now on.
    pub state: ImportState,
    /// When the next thing is to be done.
    pub due_at: Timestamp,
    /// Polls or calls so far.
    pub tries: u32,
    /// The account's name for it, once known.
    pub activity_id: Option<String>,
    /// When the account took it, once known.
    pub taken_at: Option<Timestamp>,
    /// What the account counted, once known.
    pub landing: Option<Landing>,
    /// Why, for people.
    pub reason: Option<String>,
}

impl ImportStep {
    /// A step to a state.
    #[must_use]
    pub fn to(state: ImportState, due_at: Timestamp) -> Self {
        Self { state, due_at, tries: 0, activity_id: None, taken_at: None, landing: None, reason: None }
    }
}

/// What a portion of work came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Portion {
    /// There is more to do.
    pub more: bool,
    /// A file's last row was settled by it.
    pub file_finished: bool,
}

const COLUMNS: &str = "id, lists, state, rows, due_at, posted_at, activity_id, tries, coalesce(persons, 0), \
                       coalesce(refused, 0), coalesce(unsubscribed, 0), taken_at, without";

fn import(row: &Row<'_>) -> rusqlite::Result<Import> {
    Ok(Import {
        id: row.get(0)?,
        lists: row.get(1)?,
        state: ImportState::parse(&row.get::<_, String>(2)?),
        rows: row.get::<_, i64>(3).map(unsigned)?,
        due_at: timestamp(4, row.get(4)?)?,
        posted_at: row.get::<_, Option<i64>>(5)?.map(|at| timestamp(5, at)).transpose()?,
        activity_id: row.get(6)?,
        taken_at: row.get::<_, Option<i64>>(11)?.map(|at| timestamp(11, at)).transpose()?,
        tries: row.get(7)?,
        landing: Landing {
            persons: row.get::<_, i64>(8).map(unsigned)?,
            refused: row.get::<_, i64>(9).map(unsigned)?,
            unsubscribed: row.get::<_, i64>(10).map(unsigned)?,
        },
        without: consent::lists_without(&row.get::<_, String>(12)?),
    })
}

/// At start: what was being filled is posted as it is, what had left is in doubt.
pub(super) fn recover(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<()> {
    transaction.execute(
        "UPDATE import SET state = CASE state WHEN 'open' THEN 'ready' ELSE 'doubt' END, due_at = ?1
          WHERE state IN ('open', 'posted')",
        [millis(now)],
    )?;
    Ok(())
}

impl Outbox {
    /// Imports that are not done, the next due first.
    pub fn imports(&mut self) -> Result<Vec<Import>> {
        self.doing("list imports", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM import WHERE state <> 'done' ORDER BY due_at, id"
            ))?;
            let imports = statement.query_map((), import)?;
            imports.collect()
        })
    }

    /// The account's jobs that are known to be those of imports, also of imports that are done.
    pub fn claimed_activities(&mut self) -> Result<Vec<String>> {
        self.doing("list the account's jobs", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT activity_id FROM import WHERE activity_id IS NOT NULL")?;
            let jobs = statement.query_map((), |row| row.get(0))?;
            jobs.collect()
        })
    }

    /// Contacts of an import after an entry, with their entries.
    pub fn import_rows(&mut self, id: i64, after: i64, limit: u32) -> Result<Vec<(i64, Contact)>> {
        self.doing("list an import's rows", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id, contact FROM entry
                  WHERE import = ?1 AND state = 'sending' AND id > ?2 ORDER BY id LIMIT ?3",
            )?;
            let rows =
                statement.query_map(params![id, after, limit], |row| Ok((row.get(0)?, contact(row, 1)?)))?;
            rows.collect()
        })
    }

    /// Writes down that an import's call leaves; `None` when the day has no more.
    pub fn post_import(
        &mut self,
        id: i64,
        endpoint: &'static str,
        per_day: u32,
        now: Timestamp,
    ) -> Result<Option<i64>> {
        self.write("post an import", |transaction| {
            let Some(call) = begin_call(transaction, None, endpoint, per_day, now)? else { return Ok(None) };
            let touched = transaction.execute(
                "UPDATE import SET state = 'posted', posted_at = ?2 WHERE id = ?1 AND state = 'ready'",
                params![id, millis(now)],
            )?;
            one(touched)?;
            Ok(Some(call))
        })
    }

    /// Writes down a call's answer and the steps that imports take by it.
    pub fn step_imports(
        &mut self,
        call: Option<&(i64, CallRecord)>,
        steps: &[(i64, ImportStep)],
        now: Timestamp,
    ) -> Result<()> {
        self.write("write down how imports are", |transaction| {
            if let Some((call, record)) = call {
                end_call(transaction, *call, record, now)?;
            }
            steps.iter().try_for_each(|(id, step)| take_step(transaction, *id, step))
        })
    }

    /// Makes two imports of one that the account refuses for one of its rows: the second half becomes another.
    pub fn split_import(&mut self, id: i64, now: Timestamp) -> Result<()> {
        self.write("split an import", |transaction| {
            let (first, last): (i64, i64) = transaction.query_row(
                "SELECT rows / 2, rows - rows / 2 FROM import WHERE id = ?1",
                [id],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            let other: i64 = transaction.query_row(
                "INSERT INTO import (lists, state, due_at, rows, without)
                 SELECT lists, 'ready', ?2, ?3, without FROM import WHERE id = ?1 RETURNING id",
                params![id, millis(now), last],
                |row| row.get(0),
            )?;
            let moved = transaction.execute(
                "UPDATE entry SET import = ?2 WHERE id IN
                    (SELECT id FROM entry WHERE import = ?1 AND state = 'sending' ORDER BY id LIMIT -1 OFFSET ?3)",
                params![id, other, first],
            )?;
            if signed(moved as u64) != last {
                return Err(rusqlite::Error::StatementChangedRows(moved));
            }
            let touched = transaction.execute(
                "UPDATE import SET state = 'ready', rows = ?2, due_at = ?3 WHERE id = ?1",
                params![id, first, millis(now)],
            )?;
            one(touched)
        })
    }
}

fn take_step(transaction: &Transaction<'_>, id: i64, step: &ImportStep) -> rusqlite::Result<()> {
    let landing = |number: fn(&Landing) -> u64| step.landing.as_ref().map(|landing| signed(number(landing)));
    let touched = transaction.execute(
        "UPDATE import SET state = ?2, due_at = ?3, tries = ?4, activity_id = coalesce(?5, activity_id),
                persons = coalesce(?6, persons), refused = coalesce(?7, refused),
                unsubscribed = coalesce(?8, unsubscribed), reason = ?9, taken_at = coalesce(?10, taken_at)
          WHERE id = ?1",
        params![
            id,
            step.state.as_str(),
            millis(step.due_at),
            step.tries,
            step.activity_id,
            landing(|landing| landing.persons),
            landing(|landing| landing.refused),
            landing(|landing| landing.unsubscribed),
            step.reason,
            step.taken_at.map(millis),
        ],
    )?;
    one(touched)
}
