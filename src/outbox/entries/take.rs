//! The next due row is taken, and its call is written down with it.
//!
//! Promises that looking takes no lock, and that rows with nothing new to say are settled on the way.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Transaction, params};

use super::super::budget::begin_call;
use super::super::consent::{Guard, guard};
use super::super::intake::contact;
use super::super::rank::{Rank, Turn};
use super::super::{Outbox, Result, millis, one, timestamp, tries, unsigned};
use super::{Due, Job, OpenRoute, Take};

/// How many rows that turned out unchanged are settled in one transaction before others may write.
const UNCHANGED_AT_ONCE: usize = 500;

/// A row that is due, before it is decided whether it needs a call.
pub(in crate::outbox) struct Candidate {
    pub(in crate::outbox) entry: i64,
    due_at: i64,
    rank: Rank,
    pub(in crate::outbox) open: OpenRoute,
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
            line: unsigned(row.get(6)?),
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
