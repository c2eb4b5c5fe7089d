//! Bulk imports: which rows went together, how far each is, and what became of its rows.
//!
//! Promises that an import and its rows survive the process, that its activity's id is stored before anything else is
//! done about it, and that long work is done in portions, so that nobody waits for the write lock. Leaves deciding what
//! happens next to `drain`.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Row, Transaction, params, types::ToSql};

use super::budget::{begin_call, end_call};
use super::delivered;
use super::entries::{Final, RowKey, finish};
use super::import_consent::lists_without;
use super::intake::contact;
use super::{CallRecord, HeldBecause, Outbox, Result, millis, one, signed, timestamp, tries, unsigned};
use crate::contact::Contact;

/// How many rows are added, settled or given back in one transaction: a fraction of a second on a slow disk.
const PORTION: u32 = 2_000;
/// Stands where nothing is due, above every time.
const NEVER: i64 = i64::MAX;

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

/// What a portion of work came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Portion {
    /// There is more to do.
    pub more: bool,
    /// A file's last row was settled by it.
    pub file_finished: bool,
}

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
        without: lists_without(&row.get::<_, String>(12)?),
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

/// The folders as a list that SQL can look into.
fn folders_json(folders: &[String]) -> String {
    serde_json::to_string(folders).unwrap_or_default()
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
            let mut added = std::collections::BTreeMap::<i64, u32>::new();
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
                    Fit::Waits { until, reason } => wait(transaction, row.entry, until, &reason)?,
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
            let reason: String = transaction.query_row(
                "SELECT coalesce(reason, 'the import failed') FROM import WHERE id = ?1",
                [id],
                |row| row.get(0),
            )?;
            let rows = sent_rows(transaction, id)?;
            if rows.is_empty() {
                transaction.execute("UPDATE import SET state = 'done' WHERE id = ?1", [id])?;
            }
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
            let reason: String = transaction.query_row(
                "SELECT coalesce(reason, 'the account refuses the import') FROM import WHERE id = ?1",
                [id],
                |row| row.get(0),
            )?;
            let rows = sent_rows(transaction, id)?;
            if rows.is_empty() {
                transaction.execute("UPDATE import SET state = 'done' WHERE id = ?1", [id])?;
            }
            let mut portion = Portion { more: !rows.is_empty(), file_finished: false };
            let held = Final::held(HeldBecause::RefusedCall, &reason);
            for row in rows {
                portion.file_finished |= finish(transaction, row.key(), "sending", &held, now)?;
            }
            Ok(portion)
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

/// The rows of an import up to an entry.
const RANGE: &str = "import = ?1 AND state = 'sending' AND id <= ?2";

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

fn wait(transaction: &Transaction<'_>, entry: i64, until: Timestamp, reason: &str) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached("UPDATE entry SET due_at = ?2, reason = ?3 WHERE id = ?1 AND state = 'queued'")?
        .execute(params![entry, millis(until), reason])?;
    one(touched)
}

fn count_added(
    transaction: &Transaction<'_>,
    id: i64,
    added: &std::collections::BTreeMap<i64, u32>,
) -> rusqlite::Result<()> {
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
