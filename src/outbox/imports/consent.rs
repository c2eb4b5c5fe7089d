//! The guard before a bulk import leaves: an import restores deleted contacts, and puts back whoever left one list.
//!
//! Promises that rows of people who left are held before the call, and that those who left some of the lists go in an import
//! of their own without them. Of people who left the account the same must be known as for a single row; whoever was
//! delivered to these lists before must be seen on them now.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::super::consent::{
    CONSENT, Facts, GOOD_FOR, JUST_NOW, Leaving, WAITS, facts_from, facts_sql, words,
};
use super::super::directory::directory;
use super::super::entries::{Final, RowKey, finish};
use super::super::opt_outs::{self, Question};
use super::super::{HeldBecause, Outbox, Result, millis, one, signed};
use super::end::give_back;

/// Being on a list is looked at once for an import, however long that takes.
const SEEN_ON_LISTS_FOR: Duration = Duration::from_hours(1);
/// So few are looked up by themselves, without counting what pages would cost.
const LOOKED_UP_AT_MOST: usize = 20;
/// People on a page.
const PAGE: usize = 500;

/// Whether an import may leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportGuard {
    /// It may, as it is.
    Goes,
    /// Rows were taken out of it: look again.
    Changed {
        /// A file's last row was settled by that.
        file_finished: bool,
    },
    /// The account must be asked first.
    Ask(Question),
    /// The members of its lists must be read first.
    ReadMembers,
}

/// An import that is about to leave.
#[derive(Debug, Clone)]
pub struct LeavingImport {
    /// Its place in the outbox.
    pub id: i64,
    /// Its set of lists.
    pub lists: String,
    /// The ids of the lists that it goes to.
    pub list_ids: Vec<String>,
    /// The account is not asked before this: rows that need an answer go back to the queue.
    pub silent_until: Option<Timestamp>,
    /// The members of its lists were read: who is not known to be on them is looked up.
    pub members_read: bool,
}

/// A row of an import with what is known about it.
struct Sent {
    entry: i64,
    file: i64,
    address: String,
    facts: Facts,
}

impl Sent {
    fn key(&self) -> RowKey<'_> {
        RowKey { entry: self.entry, file: self.file, address: &self.address }
    }
}

impl Outbox {
    /// Takes out of an import whoever left, or says what must be asked first.
    pub fn guard_import(&mut self, import: &LeavingImport, now: Timestamp) -> Result<ImportGuard> {
        self.write("look who left before an import leaves", |transaction| guard(transaction, import, now))
    }
}

fn guard(
    transaction: &Transaction<'_>,
    import: &LeavingImport,
    now: Timestamp,
) -> rusqlite::Result<ImportGuard> {
    let gone = sent(transaction, import, "(opt_out.unsubscribed_at >= {} OR opt_out.deleted_at >= {})")?;
    if !gone.is_empty() {
        let left = gone.iter().filter_map(|row| Some((row, row.facts.left()?))).collect::<Vec<_>>();
        return hold(transaction, import, &left, now);
    }
    if let Some(guard) = news(transaction, import, now)? {
        return Ok(guard);
    }
    let mut given = sent(
        transaction,
        import,
        "EXISTS (SELECT 1 FROM delivered AS any_set WHERE any_set.address = entry.address)",
    )?;
    given.retain(|row| row.facts.may_have_left(&import.list_ids));
    let known_since = now.checked_sub(SEEN_ON_LISTS_FOR).map_or(i64::MIN, millis);
    let (mut unknown, mut left, mut partly) = (Vec::new(), Vec::new(), None);
    for row in &given {
        match row.facts.lists_left_for_an_import(&import.list_ids, known_since) {
            None => unknown.push(row),
            Some(lists) if lists.is_empty() => {}
            Some(lists) if lists.len() == import.list_ids.len() => left.push((row, Leaving::Lists)),
            Some(lists) => {
                let (without, rows) = partly.get_or_insert_with(|| (lists.clone(), Vec::new()));
                if *without == lists {
                    rows.push(row);
                }
            }
        }
    }
    if !left.is_empty() {
        return hold(transaction, import, &left, now);
    }
    if let Some((without, rows)) = partly {
        return split_off(transaction, import, &without, &rows, now);
    }
    let Some(first) = unknown.first() else { return Ok(ImportGuard::Goes) };
    if let Some(until) = import.silent_until {
        return give_back_until(transaction, import, &unknown, until);
    }
    if !import.members_read && pages_are_cheaper(transaction, import, unknown.len())? {
        return Ok(ImportGuard::ReadMembers);
    }
    Ok(ImportGuard::Ask(Question::LookUp { address: first.address.clone() }))
}

/// Rows of an import for which something is true; `{}` stands for the row's consent.
fn sent(transaction: &Transaction<'_>, import: &LeavingImport, which: &str) -> rusqlite::Result<Vec<Sent>> {
    let which = which.replace("{}", CONSENT);
    let sql = facts_sql(&format!("entry.import = ?1 AND entry.state = 'sending' AND {which}"));
    let (read, directory) = (opt_outs::known(transaction)?, directory(transaction)?);
    let mut statement = transaction.prepare_cached(&sql)?;
    let rows = statement.query_map(params![import.id, import.lists], |row| {
        Ok(Sent {
            facts: facts_from(row, read, &directory)?,
            entry: row.get(16)?,
            file: row.get(17)?,
            address: row.get(18)?,
        })
    })?;
    rows.collect()
}

/// What must be known of people who left the account, if any row needs it and it is not.
fn news(
    transaction: &Transaction<'_>,
    import: &LeavingImport,
    now: Timestamp,
) -> rusqlite::Result<Option<ImportGuard>> {
    let just_now = now.checked_sub(JUST_NOW).map_or(i64::MIN, millis);
    let guarded = format!("({CONSENT} < {just_now} OR entry.attempts > 1 OR file.replay_of IS NOT NULL)");
    let (earliest, came): (Option<i64>, Option<i64>) = transaction.query_row(
        &format!(
            "SELECT min({CONSENT}), max(file.received_at) FROM entry JOIN file ON file.id = entry.file
              WHERE entry.import = ?1 AND entry.state = 'sending' AND {guarded}"
        ),
        [import.id],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    let Some((earliest, came)) = earliest.zip(came) else { return Ok(None) };
    let recent = now.checked_sub(GOOD_FOR).map_or(i64::MIN, millis);
    let needed_at = came.max(recent).min(millis(now));
    let fresh = opt_outs::known(transaction)?
        .is_some_and(|(from, at)| from <= earliest && (needed_at..=millis(now)).contains(&at));
    if fresh {
        return Ok(None);
    }
    if let Some(until) = import.silent_until {
        let rows = sent(transaction, import, &guarded)?;
        return give_back_until(transaction, import, &rows.iter().collect::<Vec<_>>(), until).map(Some);
    }
    let question = opt_outs::next_reading(transaction, earliest, needed_at, now)?;
    Ok(question.map(|reading| ImportGuard::Ask(Question::Read(reading))))
}

fn hold(
    transaction: &Transaction<'_>,
    import: &LeavingImport,
    left: &[(&Sent, Leaving)],
    now: Timestamp,
) -> rusqlite::Result<ImportGuard> {
    let mut file_finished = false;
    for (row, leaving) in left {
        let reason = words(transaction, leaving, &import.list_ids)?;
        let held = Final::held(HeldBecause::Left, &reason);
        file_finished |= finish(transaction, row.key(), "sending", &held, now)?;
    }
    taken_out(transaction, import.id, left.len())?;
    Ok(ImportGuard::Changed { file_finished })
}

fn give_back_until(
    transaction: &Transaction<'_>,
    import: &LeavingImport,
    rows: &[&Sent],
    until: Timestamp,
) -> rusqlite::Result<ImportGuard> {
    for row in rows {
        give_back(transaction, row.key(), until, WAITS)?;
        // It was not tried.
        let touched = transaction
            .prepare_cached("UPDATE entry SET attempts = max(attempts - 1, 0) WHERE id = ?1")?
            .execute([row.entry])?;
        one(touched)?;
    }
    taken_out(transaction, import.id, rows.len())?;
    Ok(ImportGuard::Changed { file_finished: false })
}

/// Rows were taken out of an import; an empty one is done.
fn taken_out(transaction: &Transaction<'_>, id: i64, rows: usize) -> rusqlite::Result<()> {
    let touched = transaction.execute(
        "UPDATE import SET rows = rows - ?2, state = CASE WHEN rows = ?2 THEN 'done' ELSE state END WHERE id = ?1",
        params![id, signed(rows as u64)],
    )?;
    one(touched)
}

/// Rows whose people left some of the lists go in an import of their own, without these.
fn split_off(
    transaction: &Transaction<'_>,
    import: &LeavingImport,
    without: &[String],
    rows: &[&Sent],
    now: Timestamp,
) -> rusqlite::Result<ImportGuard> {
    let all: String =
        transaction.query_row("SELECT without FROM import WHERE id = ?1", [import.id], |row| row.get(0))?;
    let mut all = lists_without(&all);
    all.extend(without.iter().cloned());
    let all = serde_json::to_string(&all).unwrap_or_else(|_| "[]".to_owned());
    let other: i64 = transaction.query_row(
        "INSERT INTO import (lists, state, due_at, rows, without) VALUES (?1, 'ready', ?2, ?3, ?4) RETURNING id",
        params![import.lists, millis(now), signed(rows.len() as u64), all],
        |row| row.get(0),
    )?;
    for row in rows {
        let touched = transaction
            .prepare_cached(
                "UPDATE entry SET import = ?2 WHERE id = ?1 AND import = ?3 AND state = 'sending'",
            )?
            .execute(params![row.entry, other, import.id])?;
        one(touched)?;
    }
    taken_out(transaction, import.id, rows.len())?;
    Ok(ImportGuard::Changed { file_finished: false })
}

/// Whether reading the members of the lists costs fewer calls than looking so many people up. Whom Mailchute delivered is all
/// that is known of how many members there are.
fn pages_are_cheaper(
    transaction: &Transaction<'_>,
    import: &LeavingImport,
    unknown: usize,
) -> rusqlite::Result<bool> {
    if unknown <= LOOKED_UP_AT_MOST {
        return Ok(false);
    }
    let most = unknown * PAGE;
    let members: i64 = transaction.query_row(
        "SELECT count(*) FROM (SELECT 1 FROM delivered WHERE lists = ?1 LIMIT ?2)",
        params![import.lists, signed(most as u64)],
        |row| row.get(0),
    )?;
    let pages = usize::try_from(members).unwrap_or(most).div_ceil(PAGE) * import.list_ids.len();
    Ok(pages < unknown)
}

/// The lists, by id, that an import goes without, as they are stored.
pub(super) fn lists_without(stored: &str) -> Vec<String> {
    serde_json::from_str(stored).unwrap_or_default()
}
