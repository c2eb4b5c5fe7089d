//! One file's way into the outbox: a single transaction from its first row to its last.
//!
//! Promises all or nothing: an [`Intake`] that is dropped leaves no trace. Memory stays that of one chunk, however long
//! the file is.

use std::{borrow::Cow, collections::HashMap};

use jiff::Timestamp;
use rusqlite::{Transaction, TransactionBehavior, params};

use super::consent::{Ending, end_of_file};
use super::delivered::last_given;
use super::files::Counts;
use super::rank::Ranking;
use super::replace::{self, Newer};
use super::{Outbox, OutboxError, Result, explain, millis, notes, one, signed, timestamp};
use crate::contact::{Contact, Evidence, Rejection};
use crate::plan::{Amendment, Destination, Earlier, Fate, Known, Plan, PlannedRow};

/// A drop file that is about to be recorded.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its name as dropped.
    pub name: String,
    /// Its route's folder.
    pub route: String,
    /// When it was seen complete.
    pub received_at: Timestamp,
    /// When it was last written: the consent time of rows that bring none.
    pub modified_at: Timestamp,
    /// What [`OpenRoute::lists`](super::OpenRoute) has for the route.
    pub lists: String,
}

/// A file on its way in.
pub struct Intake<'a> {
    transaction: Transaction<'a>,
    path: &'a std::path::Path,
    file: NewFile,
    id: i64,
    route: i64,
    first_entry: i64,
    /// The first row that may still wait when the file begins.
    first_waiting: Option<i64>,
    /// The account was given anything yet.
    any_delivered: bool,
    /// The earliest consent that a row states.
    earliest_consent: Option<i64>,
    counts: Counts,
    ranking: Ranking,
    address_column: Option<String>,
}

impl Outbox {
    /// Begins to record a file.
    pub fn begin(&mut self, file: NewFile) -> Result<Intake<'_>> {
        self.takes_in().map_err(|source| explain(self.path.clone(), "make room for a file", source))?;
        let path = &self.path;
        let fail = |source| explain(path.clone(), "begin a file", source);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        let first_waiting = transaction
            .query_row("SELECT min(first_entry) FROM file WHERE queued + sending > 0", (), |row| row.get(0))
            .map_err(fail)?;
        let any_delivered = transaction
            .query_row("SELECT EXISTS (SELECT 1 FROM delivered)", (), |row| row.get(0))
            .map_err(fail)?;
        let (route, id, first_entry) = start(&transaction, &file).map_err(fail)?;
        let counts = Counts::default();
        let earliest_consent = None;
        Ok(Intake {
            transaction,
            path,
            file,
            id,
            route,
            first_entry,
            first_waiting,
            any_delivered,
            earliest_consent,
            counts,
            ranking: Ranking::default(),
            address_column: None,
        })
    }
}

fn start(transaction: &Transaction<'_>, file: &NewFile) -> rusqlite::Result<(i64, i64, i64)> {
    transaction.execute("INSERT INTO route (folder) VALUES (?1) ON CONFLICT DO NOTHING", [&file.route])?;
    let route =
        transaction.query_row("SELECT id FROM route WHERE folder = ?1", [&file.route], |row| row.get(0))?;
    let first = transaction.query_row("SELECT coalesce(max(id), 0) + 1 FROM entry", (), |row| row.get(0))?;
    let id = transaction.query_row(
        "INSERT INTO file (name, route, sha256, received_at, modified_at, stage, first_entry, consent_from, rows,
                           queued, sending, created, updated, imported, unchanged, duplicate, rejected, held)
         VALUES (?1, ?2, '', ?3, ?4, 'recorded', ?5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) RETURNING id",
        params![file.name, route, millis(file.received_at), millis(file.modified_at), first],
        |row| row.get(0),
    )?;
    Ok((route, id, first))
}

impl Intake<'_> {
    /// What is known about the addresses of a chunk, by [`EmailAddress::key`](crate::contact::EmailAddress::key). An
    /// address that nothing is known about is not in it.
    pub fn known<'k>(&self, keys: impl IntoIterator<Item = &'k str>) -> Result<HashMap<String, Known>> {
        let mut known = HashMap::new();
        if !self.any_delivered && self.look_from().is_none() {
            return Ok(known);
        }
        for key in keys {
            let found = self.look_up(key).map_err(|source| self.fail("look up an address", source))?;
            if let Some(found) = found {
                known.insert(key.to_owned(), found);
            }
        }
        Ok(known)
    }

    /// The first row that a look at an address must take in: one that waits, or else one of this file.
    fn look_from(&self) -> Option<i64> {
        let own = (self.counts.rows() > 0).then_some(self.first_entry);
        self.first_waiting.or(own)
    }

    fn look_up(&self, key: &str) -> rusqlite::Result<Option<Known>> {
        let mut known = Known::default();
        if self.any_delivered {
            known.delivered = last_given(&self.transaction, key, &self.file.lists)?;
        }
        if let Some(from) = self.look_from() {
            let mut statement = self.transaction.prepare_cached(
                "SELECT id, contact, consent_at, evidence FROM entry
                  WHERE address = ?1 AND id >= ?2 AND (id >= ?3 OR state IN ('queued', 'sending'))
                        AND contact IS NOT NULL ORDER BY id",
            )?;
            let mut rows = statement.query(params![key, from, self.first_entry])?;
            while let Some(row) = rows.next()? {
                let entry: i64 = row.get(0)?;
                if entry >= self.first_entry {
                    let contact = contact(row, 1)?.with_evidence(evidence(row, 2)?);
                    known.earlier = Some(Earlier { entry, contact });
                    break;
                }
                known.waiting = true;
            }
        }
        let Known { delivered, waiting, earlier } = &known;
        Ok((delivered.is_some() || *waiting || earlier.is_some()).then_some(known))
    }

    /// Writes a chunk's plan.
    pub fn record(&mut self, plan: &Plan) -> Result<()> {
        for amendment in &plan.amendments {
            self.amend(amendment).map_err(|source| self.fail("amend a row", source))?;
        }
        for row in &plan.rows {
            self.insert(row)
                .and_then(|()| self.note(row))
                .map_err(|source| self.fail("record a row", source))?;
        }
        Ok(())
    }

    fn amend(&mut self, amendment: &Amendment) -> rusqlite::Result<()> {
        let before: String = self
            .transaction
            .prepare_cached("SELECT state FROM entry WHERE id = ?1")?
            .query_row([amendment.entry], |row| row.get(0))?;
        let (state, outcome, due_at) = self.place(amendment.destination);
        let consent_at = self.consent_at(&amendment.contact);
        let mut contact = Cow::Borrowed(&amendment.contact);
        if amendment.destination == Destination::Behind {
            let line = replace::line_of(&self.transaction, amendment.entry)?;
            if let Some((merged, note)) = self.join_older(line, &amendment.contact)? {
                contact = Cow::Owned(merged);
                note.iter().try_for_each(|note| notes::add_once(&self.transaction, amendment.entry, note))?;
            }
        }
        let touched = self
            .transaction
            .prepare_cached(
                "UPDATE entry SET contact = ?2, digest = ?3, state = ?4, outcome = ?5, due_at = ?6,
                                  consent_at = ?7, evidence = ?8, rank = ?9
                  WHERE id = ?1",
            )?
            .execute(params![
                amendment.entry,
                json(&contact)?,
                contact.digest(),
                state,
                outcome,
                due_at,
                consent_at,
                kept(amendment.contact.evidence())?,
                self.ranking.next().number()
            ])?;
        if before != "queued" && state == "queued" {
            self.ranking.queued(&self.transaction, amendment.entry)?;
        }
        *self.count(&before, None) -= 1;
        *self.count(state, outcome) += 1;
        one(touched)
    }

    fn insert(&mut self, row: &PlannedRow) -> rusqlite::Result<()> {
        match &row.fate {
            Fate::Take(contact, destination) => self.insert_contact(row.line, contact, *destination),
            Fate::Duplicate(email) => {
                self.counts.duplicate += 1;
                self.insert_settled(row.line, Some(&email.key()), "unchanged", Some("duplicate"), None)
            }
            Fate::Reject(rejection) => {
                self.counts.rejected += 1;
                self.insert_settled(row.line, None, "rejected", None, Some(rejection))
            }
        }
    }

    /// Writes down what was left out of the row that was just inserted.
    fn note(&self, row: &PlannedRow) -> rusqlite::Result<()> {
        let entry = self.transaction.last_insert_rowid();
        for left_out in &row.left_out {
            let reason = format!("left out: {}", left_out.reason);
            notes::add(&self.transaction, entry, Some(&left_out.field.name()), &reason)?;
        }
        Ok(())
    }

    /// Gives older rows of the address that wait what this one says, and says what it is to hold itself, with a note.
    fn join_older(
        &mut self,
        line: u64,
        contact: &Contact,
    ) -> rusqlite::Result<Option<(Contact, Option<String>)>> {
        let Some(from) = self.first_waiting else { return Ok(None) };
        let (file, route, older) = (self.file.name.as_str(), self.route, (from, self.first_entry));
        let merged = replace::replace(&self.transaction, &Newer { file, line, route, contact, older })?;
        Ok(merged.map(|merged| {
            self.ranking.joined(merged.first);
            (merged.contact, merged.note)
        }))
    }

    fn insert_contact(&mut self, line: u64, contact: &Contact, to: Destination) -> rusqlite::Result<()> {
        let joined = if to == Destination::Behind { self.join_older(line, contact)? } else { None };
        let (contact, note) = match &joined {
            Some((merged, note)) => (merged, note.as_deref()),
            None => (contact, None),
        };
        let (state, outcome, due_at) = self.place(to);
        let consent_at = self.consent_at(contact);
        let touched = self
            .transaction
            .prepare_cached(
                "INSERT INTO entry (file, route, line, address, contact, digest, state, outcome, due_at, consent_at,
                                    evidence, rank)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            )?
            .execute(params![
                self.id,
                self.route,
                signed(line),
                contact.email().key(),
                json(contact)?,
                contact.digest(),
                state,
                outcome,
                due_at,
                consent_at,
                kept(contact.evidence())?,
                self.ranking.next().number()
            ])?;
        *self.count(state, outcome) += 1;
        one(touched)?;
        let entry = self.transaction.last_insert_rowid();
        note.map_or(Ok(()), |note| notes::add_once(&self.transaction, entry, note))?;
        if state == "queued" { self.ranking.queued(&self.transaction, entry) } else { Ok(()) }
    }

    fn insert_settled(
        &self,
        line: u64,
        address: Option<&str>,
        state: &str,
        outcome: Option<&str>,
        rejection: Option<&Rejection>,
    ) -> rusqlite::Result<()> {
        let touched = self
            .transaction
            .prepare_cached(
                "INSERT INTO entry (file, route, line, address, state, outcome, email, field, reason, settled_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                self.id,
                self.route,
                signed(line),
                address,
                state,
                outcome,
                rejection.and_then(|rejection| rejection.email.as_deref()),
                rejection.and_then(|rejection| rejection.field.as_deref()),
                rejection.map(|rejection| rejection.reason.as_str()),
                millis(self.file.received_at),
            ])?;
        one(touched)
    }

    /// When the person agreed, as far as the row says it. Nobody agrees in the future: a clock that is wrong, or a zone
    /// that is not written, must not make a consent younger than somebody's later refusal.
    fn consent_at(&mut self, contact: &Contact) -> Option<i64> {
        let stated = contact.evidence().consent_at.map(|at| millis(at.min(self.file.received_at)));
        self.earliest_consent = self.earliest_consent.into_iter().chain(stated).min();
        stated
    }

    /// The columns that say where a contact goes: state, outcome, due time.
    fn place(&self, destination: Destination) -> (&'static str, Option<&'static str>, Option<i64>) {
        match destination {
            Destination::Queue => ("queued", None, Some(millis(self.file.received_at))),
            Destination::Behind => ("queued", None, None),
            Destination::Unchanged => ("unchanged", Some("unchanged"), None),
        }
    }

    /// Only rows that were taken as contacts move between these counts: a duplicate stays one.
    fn count(&mut self, state: &str, outcome: Option<&str>) -> &mut u64 {
        match (state, outcome) {
            (_, Some("duplicate")) => &mut self.counts.duplicate,
            ("unchanged", _) => &mut self.counts.unchanged,
            _ => &mut self.counts.queued,
        }
    }

    /// Keeps the column that the addresses came from, where several could hold them.
    pub fn took_addresses_from(&mut self, column: Option<String>) {
        self.address_column = column;
    }

    /// Commits the file with its digest; from here on it is recorded. Returns its place in the outbox.
    pub fn commit(self, sha256: &str) -> Result<i64> {
        let path = self.path.to_owned();
        self.finish(sha256).map_err(|source| explain(path, "record a file", source))
    }

    fn finish(self, sha256: &str) -> rusqlite::Result<i64> {
        let mut counts = self.counts;
        let ending = Ending {
            file: self.id,
            sha256,
            lists: &self.file.lists,
            rows: counts.rows(),
            unchanged: counts.unchanged,
            earliest: self.earliest_consent,
        };
        let renewed = end_of_file(&self.transaction, &ending)?;
        counts.unchanged -= renewed;
        counts.queued += renewed;
        let touched = self.transaction.execute(
            "UPDATE file SET sha256 = ?2, rows = ?3, queued = ?4, unchanged = ?5, duplicate = ?6, rejected = ?7,
                             address_column = ?8
              WHERE id = ?1",
            params![
                self.id,
                sha256,
                signed(counts.rows()),
                signed(counts.queued),
                signed(counts.unchanged),
                signed(counts.duplicate),
                signed(counts.rejected),
                self.address_column
            ],
        )?;
        one(touched)?;
        self.ranking.finish(&self.transaction)?;
        self.transaction.commit()?;
        Ok(self.id)
    }

    fn fail(&self, doing: &'static str, source: rusqlite::Error) -> OutboxError {
        explain(self.path.to_owned(), doing, source)
    }
}

pub(super) fn json(contact: &Contact) -> rusqlite::Result<String> {
    serde_json::to_string(contact).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// What a row says about a consent besides its time, or NULL.
fn kept(evidence: &Evidence) -> rusqlite::Result<Option<String>> {
    if evidence.source.is_none() && evidence.ip.is_none() {
        return Ok(None);
    }
    let text = serde_json::to_string(evidence);
    text.map(Some).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// The evidence that this program stored, from the columns `consent_at` and `evidence`.
fn evidence(row: &rusqlite::Row<'_>, first: usize) -> rusqlite::Result<Evidence> {
    let text: Option<String> = row.get(first + 1)?;
    let kept = text.map_or_else(|| Ok(Evidence::default()), |text| serde_json::from_str(&text));
    let kept = kept.map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(first + 1, rusqlite::types::Type::Text, Box::new(error))
    })?;
    let consent_at = row.get::<_, Option<i64>>(first)?.map(|at| timestamp(first, at)).transpose()?;
    Ok(Evidence { consent_at, ..kept })
}

/// A contact that this program stored.
pub(super) fn contact(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Contact> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
