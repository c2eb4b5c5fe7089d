//! Rows on their way out: taken with a call, settled with its answer.
//!
//! Promises that a row is sent only after the call is written down, that a [`Job`] is settled once, that two rows of one
//! address are never under way together and go in the order they came, and that a file's counts change in the same
//! transaction as its rows.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::budget::{begin_call, end_call};
use super::consent::{Guard, guard};
use super::delivered;
use super::intake::{contact, json};
use super::opt_outs::Question;
use super::rank::{Rank, Turn};
use super::{CallRecord, Outbox, OutboxError, Result, at_most_one, millis, notes, one, timestamp, tries};
use crate::contact::Contact;
use crate::plan::Digest;

/// How many rows that turned out unchanged are settled in one transaction before others may write.
const UNCHANGED_AT_ONCE: usize = 500;

/// A route that can be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRoute {
    /// Its folder.
    pub folder: String,
    /// Its set of lists, as one string that is equal for equal sets.
    pub lists: String,
    /// Its lists' ids.
    pub list_ids: Vec<String>,
}

/// A row that is under way. Not `Clone`, and consumed by [`Outbox::settle`]: nothing is settled twice.
#[derive(Debug)]
pub struct Job {
    entry: i64,
    file: i64,
    call: i64,
    address: String,
    digest: Digest,
    lists: String,
    route: String,
    contact: Contact,
    rank: Rank,
    attempts: u32,
    tried_since: Timestamp,
    file_name: String,
    line: u64,
    /// Lists of its route, by id, that its person left.
    without: Vec<String>,
}

impl Job {
    pub(super) fn key(&self) -> RowKey<'_> {
        RowKey { entry: self.entry, file: self.file, address: &self.address }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Lists of its route, by id, that its person left: it does not go there.
    #[must_use]
    pub fn without(&self) -> &[String] {
        &self.without
    }

    /// Its place in the outbox.
    #[must_use]
    pub fn entry(&self) -> i64 {
        self.entry
    }

    /// Whom it is about.
    #[must_use]
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Its route's folder.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The name of the file it came from, and its line there.
    #[must_use]
    pub fn place(&self) -> (&str, u64) {
        (&self.file_name, self.line)
    }

    /// The call that is written down for it.
    #[must_use]
    pub fn call(&self) -> i64 {
        self.call
    }

    /// Whether it went before the backlog, or with it.
    #[must_use]
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// Whether a field was left out of it that the account refused: its digest is still that of the whole.
    #[must_use]
    pub fn lacks_a_field(&self) -> bool {
        self.contact.digest() != self.digest
    }

    /// Calls made for it, this one included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When its first call left.
    #[must_use]
    pub fn tried_since(&self) -> Timestamp {
        self.tried_since
    }
}

/// What a row's end needs to know of it.
#[derive(Clone, Copy)]
pub(super) struct RowKey<'a> {
    pub(super) entry: i64,
    pub(super) file: i64,
    pub(super) address: &'a str,
}

/// What [`Outbox::take`] found.
#[derive(Debug)]
pub enum Take {
    /// A row to send now.
    Job(Box<Job>),
    /// Rows that had nothing new to say were settled; look again. Says whether a file was finished by that.
    Skipped {
        /// A file's last row was among them.
        file_finished: bool,
    },
    /// Nothing is due.
    Nothing,
    /// The account must say first whether the next row's person left since.
    Ask(Question),
    /// A row of this rank is due, but the day has no more calls for it.
    Spent(Rank),
}

/// When the next row is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// Later.
    At(Timestamp),
    /// No row waits on these routes.
    Never,
}

/// A job whose fate could not be written down: it is still under way, and the write can be tried again.
#[derive(Debug)]
pub struct Unsettled {
    /// The job, given back.
    pub job: Job,
    /// Why.
    pub error: OutboxError,
}

/// What the account did with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// A new contact.
    Created,
    /// One that was there.
    Updated,
}

/// Why a row is held: what must be asked before it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBecause {
    /// The person left the account after giving consent: releasing it needs new consent.
    Left,
    /// It was tried too long.
    GivenUp,
    /// The account refuses the call, and not for what it says about the contact.
    RefusedCall,
    /// The operator wanted it.
    Operator,
}

impl HeldBecause {
    /// The word in the outbox.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::GivenUp => "given_up",
            Self::RefusedCall => "refused_call",
            Self::Operator => "operator",
        }
    }
}

/// What became of a row after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It is in the account.
    Delivered {
        /// New or not.
        how: Delivered,
        /// The account's name for it.
        contact_id: String,
    },
    /// It is tried again.
    Later {
        /// When.
        at: Timestamp,
        /// Why not now.
        reason: String,
        /// False when the call says nothing about this row (a limit, a token): it does not lengthen its pauses.
        counts: bool,
    },
    /// It is sent once more without a field that the service refuses.
    LeftOut {
        /// What is left of it.
        contact: Box<Contact>,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The service refuses it.
    Rejected {
        /// The field that is wrong, if the service named one.
        field: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// A person must decide.
    Held {
        /// Of which kind the reason is.
        because: HeldBecause,
        /// Why, in words.
        reason: String,
    },
}

/// A row that is due, before it is decided whether it needs a call.
pub(super) struct Candidate {
    pub(super) entry: i64,
    due_at: i64,
    rank: Rank,
    pub(super) open: OpenRoute,
}

impl Outbox {
    /// When the next row of the routes is due that may go. Looking needs no lock: an idle daemon never takes one.
    pub fn due(&mut self, routes: &[OpenRoute], turn: Turn, now: Timestamp) -> Result<Due> {
        self.doing("look for a due row", |connection| {
            let mut next = None;
            for rank in turn.order() {
                let at = next_due(connection, routes, rank)?.map(|candidate| candidate.due_at);
                next = next.into_iter().chain(at).min();
            }
            match next {
                Some(at) if at <= millis(now) => Ok(Due::Now),
                Some(at) => timestamp(0, at).map(Due::At),
                None => Ok(Due::Never),
            }
        })
    }

    /// Takes the next due row of the routes that can be sent, and writes its call down.
    pub fn take(
        &mut self,
        routes: &[OpenRoute],
        endpoint: &'static str,
        turn: Turn,
        now: Timestamp,
    ) -> Result<Take> {
        self.write("take a row", |transaction| take(transaction, routes, endpoint, turn, now))
    }

    /// Writes down what became of a row. Says whether its file's last row was settled by that.
    pub fn settle(
        &mut self,
        job: Job,
        settlement: &Settlement,
        record: &CallRecord,
        now: Timestamp,
    ) -> Result<bool, Box<Unsettled>> {
        let settled = self.write("settle a row", |transaction| {
            end_call(transaction, job.call, record, now)?;
            settle(transaction, &job, settlement, now)
        });
        settled.map_err(|error| Box::new(Unsettled { job, error }))
    }

    /// At start: rows whose answer was lost with the process before go back to the queue. Says how many.
    ///
    /// Repeating them is safe: the sign-up call is an upsert that leaves the same contact behind.
    pub fn recover(&mut self, now: Timestamp) -> Result<usize> {
        self.write("recover rows that were under way", |transaction| {
            // Rows in imports stay in them: an import outlives the process.
            transaction.execute(
                "UPDATE file SET queued = queued + single.rows, sending = sending - single.rows
                   FROM (SELECT file, count(*) AS rows FROM entry WHERE state = 'sending' AND import IS NULL
                          GROUP BY file) AS single
                  WHERE single.file = file.id",
                (),
            )?;
            super::imports::recover(transaction, now)?;
            transaction.execute(
                "UPDATE entry SET state = 'queued', due_at = ?1,
                        reason = 'in doubt: the answer of the last call was lost'
                  WHERE state = 'sending' AND import IS NULL",
                [millis(now)],
            )
        })
    }

    /// Folders of routes whose rows wait, with how many.
    pub fn waiting_routes(&mut self) -> Result<Vec<(String, u64)>> {
        self.doing("count waiting rows by route", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT folder, sum(queued) FROM file JOIN route ON route.id = file.route
                  WHERE queued > 0 GROUP BY folder ORDER BY folder",
            )?;
            let routes = statement
                .query_map((), |row| Ok((row.get(0)?, row.get::<_, i64>(1).map(super::unsigned)?)))?;
            routes.collect()
        })
    }
}

/// The earliest due row of a rank over the open routes.
fn next_due(
    connection: &rusqlite::Connection,
    routes: &[OpenRoute],
    rank: Rank,
) -> rusqlite::Result<Option<Candidate>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, due_at FROM entry
          WHERE route = (SELECT id FROM route WHERE folder = ?1) AND rank = ?2
                AND state = 'queued' AND due_at IS NOT NULL
          ORDER BY due_at, id LIMIT 1",
    )?;
    let mut next: Option<Candidate> = None;
    for open in routes {
        let found = statement
            .query_row(params![open.folder, rank.number()], |row| {
                Ok(Candidate { entry: row.get(0)?, due_at: row.get(1)?, rank, open: open.clone() })
            })
            .optional()?;
        next = match (next, found) {
            (Some(a), Some(b)) if (a.due_at, a.entry) <= (b.due_at, b.entry) => Some(a),
            (a, b) => b.or(a),
        };
    }
    Ok(next)
}

/// The row whose turn it is, if one is due.
fn whose_turn(
    transaction: &Transaction<'_>,
    routes: &[OpenRoute],
    turn: Turn,
    now: Timestamp,
) -> rusqlite::Result<Option<Candidate>> {
    for rank in turn.order() {
        let next = next_due(transaction, routes, rank)?;
        if let Some(candidate) = next.filter(|candidate| candidate.due_at <= millis(now)) {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

fn take(
    transaction: &Transaction<'_>,
    routes: &[OpenRoute],
    endpoint: &str,
    turn: Turn,
    now: Timestamp,
) -> rusqlite::Result<Take> {
    let mut file_finished = false;
    for skipped in 0..=UNCHANGED_AT_ONCE {
        let Some(candidate) = whose_turn(transaction, routes, turn, now)? else {
            return Ok(if skipped == 0 { Take::Nothing } else { Take::Skipped { file_finished } });
        };
        let mut job = load(transaction, &candidate, now)?;
        if let Some(until) = tries::too_often(transaction, &job.address, now)? {
            tries::put_off(transaction, job.entry, until)?;
            continue;
        }
        match guard(transaction, &job, &candidate, routes, now)? {
            Guard::Settled(finished) => file_finished |= finished,
            // What was settled so far is committed first: this transaction has done its part.
            _ if skipped > 0 => return Ok(Take::Skipped { file_finished }),
            Guard::Ask(question) => return Ok(Take::Ask(question)),
            Guard::Goes(without) => {
                job.without = without;
                let per_day = turn.calls(job.rank).unwrap_or_default();
                return begin(transaction, job, endpoint, per_day, now);
            }
        }
    }
    Ok(Take::Skipped { file_finished })
}

fn load(transaction: &Transaction<'_>, candidate: &Candidate, now: Timestamp) -> rusqlite::Result<Job> {
    let mut statement = transaction.prepare_cached(
        "SELECT file, address, digest, contact, attempts, coalesce(tried_since, ?2), line,
                (SELECT name FROM file WHERE file.id = entry.file)
           FROM entry WHERE id = ?1",
    )?;
    statement.query_row(params![candidate.entry, millis(now)], |row| {
        Ok(Job {
            entry: candidate.entry,
            file: row.get(0)?,
            call: 0,
            address: row.get(1)?,
            digest: row.get(2)?,
            lists: candidate.open.lists.clone(),
            route: candidate.open.folder.clone(),
            contact: contact(row, 3)?,
            rank: candidate.rank,
            attempts: row.get::<_, u32>(4)?.saturating_add(1),
            tried_since: timestamp(5, row.get(5)?)?,
            line: super::unsigned(row.get(6)?),
            file_name: row.get(7)?,
            without: Vec::new(),
        })
    })
}

fn begin(
    transaction: &Transaction<'_>,
    mut job: Job,
    endpoint: &str,
    per_day: u32,
    now: Timestamp,
) -> rusqlite::Result<Take> {
    let Some(call) = begin_call(transaction, Some(job.entry), endpoint, per_day, now)? else {
        return Ok(Take::Spent(job.rank));
    };
    job.call = call;
    let touched = transaction
        .prepare_cached(
            "UPDATE entry SET state = 'sending', attempts = ?2, tried_since = ?3, reason = NULL
              WHERE id = ?1 AND state = 'queued'",
        )?
        .execute(params![job.entry, job.attempts, millis(job.tried_since)])?;
    one(touched)?;
    let touched = transaction
        .prepare_cached("UPDATE file SET queued = queued - 1, sending = sending + 1 WHERE id = ?1")?
        .execute([job.file])?;
    one(touched)?;
    Ok(Take::Job(Box::new(job)))
}

fn settle(
    transaction: &Transaction<'_>,
    job: &Job,
    settlement: &Settlement,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    match settlement {
        Settlement::Delivered { how, contact_id } => {
            remember(transaction, job, now)?;
            finish(transaction, job.key(), "sending", &Final::delivered(*how, contact_id), now)
        }
        Settlement::Rejected { field, reason } => {
            finish(transaction, job.key(), "sending", &Final::rejected(field.as_deref(), reason), now)
        }
        Settlement::Held { because, reason } => {
            finish(transaction, job.key(), "sending", &Final::held(*because, reason), now)
        }
        Settlement::LeftOut { contact, field, reason } => {
            leave_out(transaction, job, contact, (field, reason), now)?;
            Ok(false)
        }
        Settlement::Later { at, reason, counts } => {
            later(transaction, job, *at, reason, *counts)?;
            Ok(false)
        }
    }
}

fn later(
    transaction: &Transaction<'_>,
    job: &Job,
    at: Timestamp,
    reason: &str,
    counts: bool,
) -> rusqlite::Result<()> {
    let attempts = if counts { job.attempts } else { job.attempts.saturating_sub(1) };
    let touched = transaction
        .prepare_cached(
            "UPDATE entry SET state = 'queued', due_at = ?2, reason = ?3, attempts = ?4
              WHERE id = ?1 AND state = 'sending'",
        )?
        .execute(params![job.entry, millis(at), reason, attempts])?;
    one(touched)?;
    let touched = transaction
        .prepare_cached("UPDATE file SET queued = queued + 1, sending = sending - 1 WHERE id = ?1")?
        .execute([job.file])?;
    one(touched)
}

/// The digest stays that of the row as it came, so that the same row in a later file says nothing new.
fn leave_out(
    transaction: &Transaction<'_>,
    job: &Job,
    rest: &Contact,
    (field, reason): (&str, &str),
    now: Timestamp,
) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached("UPDATE entry SET contact = ?2 WHERE id = ?1 AND state = 'sending'")?
        .execute(params![job.entry, json(rest)?])?;
    one(touched)?;
    notes::add(transaction, job.entry, Some(field), &format!("left out: {reason}"))?;
    later(transaction, job, now, reason, true)
}

/// What the account now holds for the address on these lists.
fn remember(transaction: &Transaction<'_>, job: &Job, now: Timestamp) -> rusqlite::Result<()> {
    delivered::remember(transaction, &job.address, &job.lists, &job.contact, job.digest, now)?;
    let touched = transaction
        .prepare_cached(
            "INSERT INTO fact (name, value) VALUES ('last_delivery', ?1)
                 ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute([millis(now)])?;
    one(touched)
}

/// A state that a row does not leave by itself, with the file's count that goes with it.
#[derive(Default)]
pub(super) struct Final<'a> {
    state: &'static str,
    /// The column of `file`; also the outcome.
    count: &'static str,
    contact_id: Option<&'a str>,
    field: Option<&'a str>,
    reason: Option<&'a str>,
    held_because: Option<&'static str>,
}

impl<'a> Final<'a> {
    pub(super) fn unchanged() -> Self {
        Self { state: "unchanged", count: "unchanged", ..Self::default() }
    }

    fn delivered(how: Delivered, contact_id: &'a str) -> Self {
        let count = match how {
            Delivered::Created => "created",
            Delivered::Updated => "updated",
        };
        Self { state: "delivered", count, contact_id: Some(contact_id), ..Self::default() }
    }

    pub(super) fn rejected(field: Option<&'a str>, reason: &'a str) -> Self {
        Self { state: "rejected", count: "rejected", field, reason: Some(reason), ..Self::default() }
    }

    pub(super) fn held(because: HeldBecause, reason: &'a str) -> Self {
        let held_because = Some(because.as_str());
        Self { state: "held", count: "held", reason: Some(reason), held_because, ..Self::default() }
    }
}

/// Moves a row to its final state and the next row of the same address to the front.
pub(super) fn finish(
    transaction: &Transaction<'_>,
    row: RowKey<'_>,
    from: &'static str,
    to: &Final<'_>,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let touched = transaction
        .prepare_cached(
            "UPDATE entry SET state = ?2, outcome = ?3, contact_id = ?4, field = ?5, reason = ?6, due_at = NULL,
                    settled_at = ?7, held_because = ?9 WHERE id = ?1 AND state = ?8",
        )?
        .execute(params![
            row.entry,
            to.state,
            to.count,
            to.contact_id,
            to.field,
            to.reason,
            millis(now),
            from,
            to.held_because
        ])?;
    one(touched)?;
    let count = to.count;
    let finished = transaction
        .prepare_cached(&format!(
            "UPDATE file SET {from} = {from} - 1, {count} = {count} + 1,
                    settled_at = CASE WHEN queued + sending = 1 THEN ?2 ELSE settled_at END
              WHERE id = ?1 RETURNING queued + sending = 0"
        ))?
        .query_row(params![row.file, millis(now)], |row| row.get(0))?;
    let touched = transaction
        .prepare_cached(
            "UPDATE entry SET due_at = ?2 WHERE id =
                (SELECT id FROM entry
                  WHERE address = ?1 AND state IN ('queued', 'sending')
                    AND id >= (SELECT min(first_entry) FROM file WHERE queued + sending > 0)
                  ORDER BY id LIMIT 1)
                AND due_at IS NULL AND state = 'queued'",
        )?
        .execute(params![row.address, millis(now)])?;
    at_most_one(touched)?;
    Ok(finished)
}
