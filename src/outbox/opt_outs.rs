//! Who left, as the account says it: read by the page, or looked up one by one.
//!
//! Owns how far the account was read. A reading begins a little before the latest date that the account itself has shown,
//! because its clock is not ours and it may show a change late. Its pages are stored as they come, so that it goes on
//! after a restart. Leaves when to read to `consent`, and calling to `drain`.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::budget::end_call;
use super::{CallRecord, Outbox, Result, millis, one, timestamp};

/// How much of what was read is read again. Others that read this service saw changes up to minutes late.
const OVERLAP: Duration = Duration::from_hours(1);
/// A page's address is not followed after this long: the account may have forgotten it.
const PAGE_GOOD_FOR: Duration = Duration::from_hours(1);

/// How people leave an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftBy {
    /// They, or the account for them, unsubscribed.
    Unsubscribing,
    /// The account deleted them.
    Deletion,
}

impl LeftBy {
    const ALL: [Self; 2] = [Self::Unsubscribing, Self::Deletion];

    fn as_str(self) -> &'static str {
        match self {
            Self::Unsubscribing => "unsubscribing",
            Self::Deletion => "deletion",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Unsubscribing => "unsubscribed_at",
            Self::Deletion => "deleted_at",
        }
    }
}

/// A page of people who left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// How.
    pub left_by: LeftBy,
    /// From which date on.
    pub since: Timestamp,
    /// The page's address; the first one has none.
    pub next: Option<String>,
}

/// What the account must be asked before a row goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// What it shows of one address.
    LookUp {
        /// The address, folded.
        address: String,
    },
    /// Who left.
    Read(Reading),
    /// A page of those who are on a list.
    Members {
        /// The list's id.
        list: String,
        /// The page's address; the first one has none.
        next: Option<String>,
        /// When the reading of the members began.
        began_at: Timestamp,
    },
}

/// What the account shows of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// When it unsubscribed, if it is.
    pub unsubscribed_at: Option<Timestamp>,
    /// When it was deleted, if it is.
    pub deleted_at: Option<Timestamp>,
    /// When it last changed; none when the account holds no such contact.
    pub updated_at: Option<Timestamp>,
    /// The ids of its lists.
    pub lists: Vec<String>,
}

/// What the answer to a reading brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadingAnswer {
    /// A page.
    Page {
        /// Folded addresses, and when each left.
        people: Vec<(String, Timestamp)>,
        /// The latest date of those that the question is about.
        latest: Option<Timestamp>,
        /// The next page's address.
        next: Option<String>,
    },
    /// Nothing; the same page can be asked for again.
    Nothing,
    /// The account refuses it: the next reading begins anew.
    Refused,
}

/// From when on it is known who left, and when that was read; `None` before the first reading is whole.
pub(super) fn known(transaction: &Transaction<'_>) -> rusqlite::Result<Option<(i64, i64)>> {
    transaction
        .prepare_cached(
            "SELECT max(covered_from), min(known_at) FROM opt_out_reading
              WHERE known_at IS NOT NULL HAVING count(*) = 2",
        )?
        .query_row((), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// How far one kind of leaving was read.
#[derive(Default)]
struct Progress {
    covered_from: Option<i64>,
    known_at: Option<i64>,
    seen_at: Option<i64>,
    under_way: Option<(i64, i64)>,
    next: Option<String>,
}

/// The page to ask for so that everybody who left since a time is known, by a reading that began late enough; `None` when
/// they are. Consents of all rows that wait are taken in, so that one reading does for them all.
pub(super) fn next_reading(
    transaction: &Transaction<'_>,
    from: i64,
    needed_at: i64,
    now: Timestamp,
) -> rusqlite::Result<Option<Reading>> {
    let earliest: Option<i64> = transaction
        .prepare_cached("SELECT min(consent_from) FROM file WHERE queued + sending > 0")?
        .query_row((), |row| row.get(0))?;
    let from = earliest.map_or(from, |earliest| earliest.min(from));
    for left_by in LeftBy::ALL {
        let progress = progress(transaction, left_by)?;
        let covered = progress.covered_from.is_some_and(|covered| covered <= from);
        let fresh = progress.known_at.is_some_and(|at| (needed_at..=millis(now)).contains(&at));
        if covered && fresh {
            continue;
        }
        let begin = progress.seen_at.filter(|_| covered).unwrap_or(from);
        let since = begin.saturating_sub(length(OVERLAP)).max(0);
        if let Some((began_at, reads_since)) = progress.under_way
            && reads_since <= since
            && (millis(now).saturating_sub(length(PAGE_GOOD_FOR))..=millis(now)).contains(&began_at)
        {
            let since = timestamp(0, reads_since)?;
            return Ok(Some(Reading { left_by, since, next: progress.next }));
        }
        begin_reading(transaction, left_by, since, now)?;
        return Ok(Some(Reading { left_by, since: timestamp(0, since)?, next: None }));
    }
    Ok(None)
}

/// A duration as the outbox counts it.
pub(super) fn length(of: Duration) -> i64 {
    i64::try_from(of.as_millis()).unwrap_or(i64::MAX)
}

fn progress(transaction: &Transaction<'_>, left_by: LeftBy) -> rusqlite::Result<Progress> {
    let mut statement = transaction.prepare_cached(
        "SELECT covered_from, known_at, seen_at, began_at, since, next FROM opt_out_reading WHERE left_by = ?1",
    )?;
    let found = statement
        .query_row([left_by.as_str()], |row| {
            let (began_at, since): (Option<i64>, Option<i64>) = (row.get(3)?, row.get(4)?);
            Ok(Progress {
                covered_from: row.get(0)?,
                known_at: row.get(1)?,
                seen_at: row.get(2)?,
                under_way: began_at.zip(since),
                next: row.get(5)?,
            })
        })
        .optional()?;
    Ok(found.unwrap_or_default())
}

fn begin_reading(
    transaction: &Transaction<'_>,
    left_by: LeftBy,
    since: i64,
    now: Timestamp,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO opt_out_reading (left_by, began_at, since) VALUES (?1, ?2, ?3)
                 ON CONFLICT (left_by) DO UPDATE SET began_at = excluded.began_at, since = excluded.since,
                    next = NULL, latest = NULL",
        )?
        .execute(params![left_by.as_str(), millis(now), since])
        .and_then(one)
}

impl Outbox {
    /// Writes down what a reading brought, with its call.
    pub fn record_reading(
        &mut self,
        call: i64,
        record: &CallRecord,
        reading: &Reading,
        answer: &ReadingAnswer,
        now: Timestamp,
    ) -> Result<()> {
        self.write("write down who left", |transaction| {
            end_call(transaction, call, record, now)?;
            match answer {
                ReadingAnswer::Nothing => Ok(()),
                ReadingAnswer::Refused => transaction
                    .execute(
                        "UPDATE opt_out_reading SET began_at = NULL, since = NULL, next = NULL WHERE left_by = ?1",
                        [reading.left_by.as_str()],
                    )
                    .map(|_| ()),
                ReadingAnswer::Page { people, latest, next } => {
                    store(transaction, reading, people)?;
                    // A date of the future would leave out those that come before it.
                    go_on(transaction, reading, latest.map(|at| at.min(now)), next.as_deref())
                }
            }
        })
    }

    /// Writes down who is on a list, as a page with its call says it: addresses, folded, and when each contact changed last.
    pub fn record_members(
        &mut self,
        call: i64,
        record: &CallRecord,
        (list, began_at): (&str, Timestamp),
        members: &[(String, Timestamp)],
        now: Timestamp,
    ) -> Result<()> {
        self.write("write down who is on a list", |transaction| {
            end_call(transaction, call, record, now)?;
            // What was seen before this reading began is replaced, what it has seen on another list is added to.
            let mut statement = transaction.prepare_cached(
                "INSERT INTO looked_up (address, at, updated_at, active, lists) VALUES (?1, ?2, ?3, 1, json_array(?4))
                     ON CONFLICT (address) DO UPDATE SET at = excluded.at, updated_at = excluded.updated_at, active = 1,
                        lists = CASE WHEN at >= ?5 THEN json_insert(lists, '$[#]', ?4) ELSE json_array(?4) END",
            )?;
            members.iter().try_for_each(|(address, updated_at)| {
                let values = params![address, millis(now), millis(*updated_at), list, millis(began_at)];
                statement.execute(values).and_then(one)
            })
        })
    }

    /// Writes down what a look-up showed, with its call; `None` when nothing came of it.
    pub fn record_look_up(
        &mut self,
        call: i64,
        record: &CallRecord,
        address: &str,
        standing: Option<&Standing>,
        now: Timestamp,
    ) -> Result<()> {
        self.write("write down what a look-up showed", |transaction| {
            end_call(transaction, call, record, now)?;
            standing.map_or(Ok(()), |standing| look_up(transaction, address, standing, now))
        })
    }
}

fn store(
    transaction: &Transaction<'_>,
    reading: &Reading,
    people: &[(String, Timestamp)],
) -> rusqlite::Result<()> {
    let column = reading.left_by.column();
    let mut statement = transaction.prepare_cached(&format!(
        "INSERT INTO opt_out (address, {column}) VALUES (?1, ?2)
             ON CONFLICT (address) DO UPDATE SET {column} = max(excluded.{column}, coalesce({column}, 0))"
    ))?;
    people.iter().try_for_each(|(address, left_at)| {
        statement.execute(params![address, millis(*left_at)]).and_then(one)
    })
}

/// The reading goes on, or is whole. An answer to a page that is not the one it is at (two asked for it) changes nothing.
fn go_on(
    transaction: &Transaction<'_>,
    reading: &Reading,
    latest: Option<Timestamp>,
    next: Option<&str>,
) -> rusqlite::Result<()> {
    let latest = latest.map(millis);
    let set = if next.is_some() {
        "next = ?4, latest = max(coalesce(latest, since), coalesce(?5, since))"
    } else {
        "known_at = began_at, covered_from = min(coalesce(covered_from, since), since),
         seen_at = max(coalesce(seen_at, since), coalesce(latest, since), coalesce(?5, since)),
         began_at = NULL, since = NULL, next = ?4, latest = NULL"
    };
    transaction
        .prepare_cached(&format!(
            "UPDATE opt_out_reading SET {set} WHERE left_by = ?1 AND since = ?2 AND next IS ?3"
        ))?
        .execute(params![reading.left_by.as_str(), millis(reading.since), reading.next, next, latest])?;
    Ok(())
}

/// A look-up is the last word about an address: who came back since is not out any more.
fn look_up(
    transaction: &Transaction<'_>,
    address: &str,
    standing: &Standing,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let (unsubscribed_at, deleted_at) =
        (standing.unsubscribed_at.map(millis), standing.deleted_at.map(millis));
    if unsubscribed_at.or(deleted_at).is_some() {
        transaction
            .prepare_cached(
                "INSERT INTO opt_out (address, unsubscribed_at, deleted_at) VALUES (?1, ?2, ?3)
                     ON CONFLICT (address) DO UPDATE SET unsubscribed_at = excluded.unsubscribed_at,
                        deleted_at = excluded.deleted_at",
            )?
            .execute(params![address, unsubscribed_at, deleted_at])
            .and_then(one)?;
    } else {
        transaction.prepare_cached("DELETE FROM opt_out WHERE address = ?1")?.execute([address])?;
    }
    let active = standing.updated_at.is_some() && unsubscribed_at.is_none() && deleted_at.is_none();
    let lists = serde_json::to_string(&standing.lists).unwrap_or_else(|_| "[]".to_owned());
    transaction
        .prepare_cached(
            "INSERT INTO looked_up (address, at, updated_at, active, lists) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (address) DO UPDATE SET at = excluded.at, updated_at = excluded.updated_at,
                    active = excluded.active, lists = excluded.lists",
        )?
        .execute(params![address, millis(now), standing.updated_at.map(millis), active, lists])
        .and_then(one)
}
