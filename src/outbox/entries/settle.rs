//! A row is settled with its call's answer, or waits for another.
//!
//! Promises that a row's state, its file's counts and the next row of its address change together.

use jiff::Timestamp;
use rusqlite::{Transaction, params};

use super::super::budget::end_call;
use super::super::intake::json;
use super::super::{CallRecord, HeldBecause, Outbox, at_most_one, delivered, millis, notes, one};
use super::{Delivered, Job, RowKey, Settlement, Unsettled};
use crate::contact::Contact;

impl Outbox {
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
pub(in crate::outbox) struct Final<'a> {
    state: &'static str,
    /// The column of `file`; also the outcome.
    count: &'static str,
    contact_id: Option<&'a str>,
    field: Option<&'a str>,
    reason: Option<&'a str>,
    held_because: Option<&'static str>,
}

impl<'a> Final<'a> {
    pub(in crate::outbox) fn unchanged() -> Self {
        Self { state: "unchanged", count: "unchanged", ..Self::default() }
    }

    fn delivered(how: Delivered, contact_id: &'a str) -> Self {
        let count = match how {
            Delivered::Created => "created",
            Delivered::Updated => "updated",
        };
        Self { state: "delivered", count, contact_id: Some(contact_id), ..Self::default() }
    }

    pub(in crate::outbox) fn rejected(field: Option<&'a str>, reason: &'a str) -> Self {
        Self { state: "rejected", count: "rejected", field, reason: Some(reason), ..Self::default() }
    }

    pub(in crate::outbox) fn held(because: HeldBecause, reason: &'a str) -> Self {
        let held_because = Some(because.as_str());
        Self { state: "held", count: "held", reason: Some(reason), held_because, ..Self::default() }
    }
}

/// Moves a row to its final state and the next row of the same address to the front.
pub(in crate::outbox) fn finish(
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

/// Leaves a waiting row alone until a time, and says why.
pub(in crate::outbox) fn put_off(
    transaction: &Transaction<'_>,
    entry: i64,
    until: Timestamp,
    reason: &str,
) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached("UPDATE entry SET due_at = ?2, reason = ?3 WHERE id = ?1 AND state = 'queued'")?
        .execute(params![entry, millis(until), reason])?;
    one(touched)
}
