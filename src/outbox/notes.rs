//! What was done to a row besides its fate, in words for whoever dropped it: a field that was left out, a row that a newer
//! one replaced.
//!
//! Promises that a note lives as long as its row, and that rows without one cost nothing. The receipt tells them.

use rusqlite::{Connection, params};
use serde::Serialize;

use super::{Outbox, Result, SettledRow, one, unsigned};

/// A note on a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// The field that it is about, by its standard name; none where the row as a whole is meant.
    pub field: Option<String>,
    /// What was done, and why.
    pub reason: String,
}

/// Adds a note to a row, behind those that it has. `field` is a standard name, or none where the row as a whole is meant.
pub(super) fn add(
    transaction: &Connection,
    entry: i64,
    field: Option<&str>,
    reason: &str,
) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached(
            "INSERT INTO note (entry, number, field, reason)
             VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM note WHERE entry = ?1), ?2, ?3)",
        )?
        .execute(params![entry, field, reason])?;
    one(touched)
}

/// Adds a note about a row as a whole, unless the row has it already.
pub(super) fn add_once(transaction: &Connection, entry: i64, reason: &str) -> rusqlite::Result<()> {
    if of_entry(transaction, entry)?.iter().any(|note| note.reason == reason) {
        return Ok(());
    }
    add(transaction, entry, None, reason)
}

/// The notes on one row, in order.
pub(super) fn of_entry(connection: &Connection, entry: i64) -> rusqlite::Result<Vec<Note>> {
    let mut notes =
        connection.prepare_cached("SELECT field, reason FROM note WHERE entry = ?1 ORDER BY number")?;
    let notes = notes.query_map([entry], |note| Ok(Note { field: note.get(0)?, reason: note.get(1)? }))?;
    notes.collect()
}

/// Where a page of notes ended: the row, and the note's number in it.
pub type NotesRead = (i64, i64);

impl Outbox {
    /// A page of the notes on a file's rows, in the order of the file, after the given one; with where it ended.
    pub fn notes(&mut self, file: i64, after: NotesRead, limit: u32) -> Result<Vec<(NotesRead, SettledRow)>> {
        self.doing("list the notes on a file's rows", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT entry.id, number, line, coalesce(email, json_extract(contact, '$.email'), address),
                        note.field, note.reason
                   FROM note JOIN entry ON entry.id = note.entry
                  WHERE note.entry >= (SELECT first_entry FROM file WHERE id = ?1)
                    AND note.entry < (SELECT first_entry + rows FROM file WHERE id = ?1)
                    AND (note.entry, number) > (?2, ?3)
                  ORDER BY note.entry, number LIMIT ?4",
            )?;
            let notes = statement.query_map(params![file, after.0, after.1, limit], |row| {
                let id = row.get(0)?;
                let line = row.get::<_, i64>(2).map(unsigned)?;
                let (email, field, reason) = (row.get(3)?, row.get(4)?, row.get(5)?);
                Ok(((id, row.get(1)?), SettledRow { id, line, email, field, reason }))
            })?;
            notes.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use jiff::Timestamp;

    use super::*;
    use crate::contact::{Contact, Field, Row};
    use crate::outbox::NewFile;
    use crate::plan::plan;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Records rows with an unusable birthday each, as the inbox does when it may leave fields out.
    fn record(outbox: &mut Outbox, rows: u64) -> i64 {
        let file = NewFile {
            name: "a.csv".into(),
            route: ".".into(),
            received_at: at(0),
            modified_at: at(0),
            lists: "Newsletter".into(),
        };
        let readings = (2..2 + rows).map(|line| {
            let cells = vec![
                (Field::Email, "jane@example.org".to_owned()),
                (Field::Birthday, "soon".to_owned()),
                (Field::FirstName, "J".repeat(51)),
            ];
            Contact::from_usable(&Row { line, cells, ..Row::default() }).map(|contact| (line, contact))
        });
        let plan = plan(readings.collect(), &HashMap::new());
        let mut intake = outbox.begin(file).unwrap();
        intake.record(&plan).unwrap();
        intake.commit("digest").unwrap()
    }

    #[test]
    fn notes_are_read_page_by_page_in_the_order_of_the_file_and_go_with_their_rows() {
        let state = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(state.path()).unwrap();
        record(&mut outbox, 1);
        let file = record(&mut outbox, 3);
        drop(outbox);
        let mut outbox = Outbox::open(state.path()).unwrap();
        let (mut found, mut after) = (Vec::new(), (0, 0));
        loop {
            let page = outbox.notes(file, after, 2).unwrap();
            let Some((last, _)) = page.last() else { break };
            after = *last;
            found.extend(page.into_iter().map(|(_, row)| (row.line, row.email, row.field)));
        }
        let field = |name: &str| Some(name.to_owned());
        let jane = || Some("jane@example.org".to_owned());
        assert_eq!(
            found,
            [2, 3, 4]
                .map(|line| [(line, jane(), field("birthday")), (line, jane(), field("first_name"))])
                .concat(),
            "also those of rows that only repeat an address"
        );
        outbox
            .write("settle everything", |transaction| {
                transaction.execute_batch(
                    "UPDATE entry SET state = 'delivered', due_at = NULL;
                     UPDATE file SET stage = 'answered', created = queued, queued = 0, settled_at = 0;",
                )
            })
            .unwrap();
        while outbox.prune(at(0)).unwrap() {}
        let left: i64 = outbox
            .doing("count", |connection| {
                connection.query_row("SELECT count(*) FROM note", (), |row| row.get(0))
            })
            .unwrap();
        assert_eq!(left, 0);
    }
}
