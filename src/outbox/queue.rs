//! The operator's hand in the queue: listing rows, and moving them between the states that a person may choose.
//!
//! Promises that a row that is under way is never touched, that a file's counts move with its rows, that rows of one
//! address still go one at a time in the order they came, and that a long change lets the loops write in between.
//! Whoever left a list is put back only by somebody who says that the person asked for it.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde::Serialize;

use super::{Outbox, Result, millis, one, timestamp, unsigned};

/// Rows that are changed in one transaction: the loops wait for a fraction of a second at most.
const AT_ONCE: u32 = 500;
/// Why a row that its person left the list of is held; the drain writes it.
const LEFT: &str = "left";

/// Which rows are meant; what is not given does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    /// These, by number.
    pub ids: Vec<i64>,
    /// Those of files of this name, as dropped or as archived.
    pub file: Option<String>,
    /// Those of this address, in lower case.
    pub address: Option<String>,
    /// Those in this state.
    pub state: Option<String>,
}

/// A row for people and scripts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// Its number.
    pub id: i64,
    /// One of the contract's states.
    pub state: String,
    /// The address, or what stood in its place.
    pub email: Option<String>,
    /// Its route's folder.
    pub route: String,
    /// Its file's name as dropped.
    pub file: String,
    /// Its line in the file.
    pub line: u64,
    /// When its file came.
    pub received_at: Timestamp,
    /// When it is tried; none while an older row of the address is before it.
    pub due_at: Option<Timestamp>,
    /// Calls made for it so far.
    pub attempts: u32,
    /// What exactly became of it.
    pub outcome: Option<String>,
    /// The field that is wrong, if one is.
    pub field: Option<String>,
    /// Why it is where it is.
    pub reason: Option<String>,
    /// When it reached a state that it does not leave by itself.
    pub settled_at: Option<Timestamp>,
}

/// What an operator may do with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Queued rows are due now.
    Retry,
    /// Queued rows wait for a person.
    Hold,
    /// Held rows are queued again; people who left only with their consent.
    Release {
        /// Whoever asks says that these people asked to be on the list again.
        consent: bool,
    },
    /// Queued and held rows are never sent; they count as rejected.
    Drop,
}

/// What a change came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touched {
    /// Rows that were changed.
    pub changed: u64,
    /// Rows that were meant and are under way: an answer decides about them.
    pub under_way: u64,
    /// Held rows whose person left, and for whom nobody said that they asked again.
    pub left: u64,
}

const COLUMNS: &str =
    "entry.id, state, coalesce(email, json_extract(contact, '$.email'), address), folder, name, line,
     received_at, due_at, attempts, outcome, field, reason, entry.settled_at";
const TABLES: &str = "entry JOIN route ON route.id = entry.route JOIN file ON file.id = entry.file";
/// By index, one state after the other, what a person must look at first. `NOT INDEXED` would read a million rows.
const OPEN: [&str; 4] = [
    "state = 'held' ORDER BY entry.id",
    "state = 'sending' ORDER BY entry.id",
    "state = 'queued' AND due_at IS NOT NULL AND entry.route = ?2 ORDER BY rank, due_at, entry.id",
    "state = 'queued' AND due_at IS NULL AND entry.id >= (SELECT min(first_entry) FROM file WHERE queued > 0)
       ORDER BY entry.id",
];

impl Outbox {
    /// What still waits, at most so many rows: held ones first, then those under way, then by when they are due.
    pub fn open_rows(&mut self, limit: u32) -> Result<Vec<Listed>> {
        self.doing("list what waits", |connection| {
            let routes: Vec<i64> = connection
                .prepare_cached("SELECT id FROM route ORDER BY folder")?
                .query_map((), |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let open: i64 = connection.query_row(
                "SELECT coalesce(sum(queued + sending + held), 0) FROM file WHERE queued + sending + held > 0",
                (),
                |row| row.get(0),
            )?;
            // Nothing is looked for that is not there: rows that wait for others are in no index.
            let limit = i64::from(limit).min(open);
            let mut found = Vec::new();
            for rows in OPEN {
                let each: &[i64] = if rows.contains("?2") { &routes } else { &[0] };
                for route in each {
                    let left = limit - i64::try_from(found.len()).unwrap_or(i64::MAX);
                    if left <= 0 {
                        return Ok(found);
                    }
                    // A parameter that a statement does not use is refused: both are always there.
                    let sql = format!("SELECT {COLUMNS} FROM {TABLES} WHERE ?2 >= 0 AND {rows} LIMIT ?1");
                    let mut statement = connection.prepare_cached(&sql)?;
                    for row in statement.query_map(params![left, route], listed)? {
                        found.push(row?);
                    }
                }
            }
            Ok(found)
        })
    }

    /// Rows that are meant, in the order they came, after the given one.
    pub fn rows(&mut self, selector: &Selector, after: i64, limit: u32) -> Result<Vec<Listed>> {
        self.doing("list rows", |connection| {
            let mut found = Vec::new();
            for id in numbers(connection, selector, after, limit)? {
                let mut statement = connection
                    .prepare_cached(&format!("SELECT {COLUMNS} FROM {TABLES} WHERE entry.id = ?1"))?;
                found.extend(statement.query_row([id], listed).optional()?);
            }
            Ok(found)
        })
    }

    /// Changes the rows that are meant, a part at a time; `progress` hears how many were looked at.
    pub fn change(
        &mut self,
        selector: &Selector,
        change: Change,
        now: Timestamp,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Touched> {
        let (mut after, mut looked, mut touched) = (0, 0, Touched::default());
        loop {
            let ids = self.doing("list rows", |connection| numbers(connection, selector, after, AT_ONCE))?;
            let Some(last) = ids.last().copied() else { return Ok(touched) };
            self.write("change rows as the operator says", |transaction| {
                for id in &ids {
                    change_one(transaction, *id, selector, change, now, &mut touched)?;
                }
                Ok(())
            })?;
            looked += ids.len() as u64;
            progress(looked);
            after = last;
        }
    }
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    let time = |column: usize| {
        row.get::<_, Option<i64>>(column)?.map(|millis| timestamp(column, millis)).transpose()
    };
    Ok(Listed {
        id: row.get(0)?,
        state: row.get(1)?,
        email: row.get(2)?,
        route: row.get(3)?,
        file: row.get(4)?,
        line: row.get(5).map(unsigned)?,
        received_at: timestamp(6, row.get(6)?)?,
        due_at: time(7)?,
        attempts: row.get(8)?,
        outcome: row.get(9)?,
        field: row.get(10)?,
        reason: row.get(11)?,
        settled_at: time(12)?,
    })
}

/// A page of the rows that are meant, by number, from the most telling index.
fn numbers(
    connection: &Connection,
    selector: &Selector,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<i64>> {
    let Selector { ids, file, address, state } = selector;
    let named = "(name = ?2 OR archived_as = ?2 OR archived_as LIKE '%/' || ?2)";
    let by = match (ids.is_empty(), address, file, state.as_deref()) {
        (false, ..) => "FROM json_each(?5) CROSS JOIN entry ON entry.id = json_each.value",
        (true, Some(_), ..) => "FROM entry",
        (true, None, Some(_), _) => {
            "FROM file AS place CROSS JOIN entry
               ON entry.id >= place.first_entry AND entry.id < place.first_entry + place.rows
              AND entry.file = place.id"
        }
        (true, None, None, _) => "FROM entry",
    };
    let sql = format!(
        "SELECT entry.id {by} WHERE entry.id > ?1
            AND (?2 IS NULL OR entry.file IN (SELECT id FROM file WHERE {named}))
            AND (?3 IS NULL OR entry.state = ?3) AND {}
            AND (?5 = '[]' OR entry.id IN (SELECT value FROM json_each(?5)))
          ORDER BY entry.id LIMIT ?6",
        // Written out so that the index on addresses is used.
        if address.is_some() { "entry.address = ?4" } else { "?4 IS NULL" }
    );
    let ids = serde_json::to_string(ids).unwrap_or_else(|_| "[]".to_owned());
    let mut statement = connection.prepare_cached(&sql)?;
    let found = statement.query_map(params![after, file, state, address, ids, limit], |row| row.get(0))?;
    found.collect()
}

fn change_one(
    transaction: &Transaction<'_>,
    id: i64,
    selector: &Selector,
    change: Change,
    now: Timestamp,
    touched: &mut Touched,
) -> rusqlite::Result<()> {
    let (state, because): (String, Option<String>) = transaction
        .prepare_cached("SELECT state, held_because FROM entry WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if selector.state.as_ref().is_some_and(|wanted| *wanted != state) {
        // It moved on between the listing and this transaction.
        return Ok(());
    }
    let left = because.as_deref() == Some(LEFT);
    match (change, state.as_str()) {
        (_, "sending") => {
            touched.under_way += 1;
            return Ok(());
        }
        (Change::Retry, "queued") => due_now(transaction, id, now)?,
        (Change::Hold, "queued") => {
            settle(transaction, id, &state, "held", "held by the operator", Some("operator"), now)?;
        }
        (Change::Release { consent: false }, "held") if left => {
            touched.left += 1;
            return Ok(());
        }
        (Change::Release { .. }, "held") => release(transaction, id, left, now)?,
        (Change::Drop, "queued" | "held") => {
            settle(transaction, id, &state, "rejected", "dropped by the operator", None, now)?;
        }
        _ => return Ok(()),
    }
    touched.changed += 1;
    Ok(())
}

/// A row that waits for an older one of its address goes on waiting for it.
fn due_now(transaction: &Transaction<'_>, id: i64, now: Timestamp) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE entry SET due_at = min(due_at, ?2) WHERE id = ?1 AND state = 'queued'")?
        .execute(params![id, millis(now)])
        .and_then(one)
}

/// To a state that the row does not leave by itself.
fn settle(
    transaction: &Transaction<'_>,
    id: i64,
    from: &str,
    to: &str,
    reason: &str,
    because: Option<&str>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached(
            "UPDATE entry SET state = ?2, outcome = ?2, due_at = NULL, reason = ?3, held_because = ?4, settled_at = ?5
              WHERE id = ?1 AND state = ?6",
        )?
        .execute(params![id, to, reason, because, millis(now), from])?;
    one(touched)?;
    // A file that was answered with the row held is answered again, now that the row is something else.
    let touched = transaction
        .prepare_cached(&format!(
            "UPDATE file SET {from} = {from} - 1, {to} = {to} + 1,
                    settled_at = CASE WHEN queued + sending - ?2 = 0 THEN ?3 ELSE settled_at END,
                    stage = CASE stage WHEN 'answered' THEN 'archived' ELSE stage END
              WHERE id = (SELECT file FROM entry WHERE id = ?1)"
        ))?
        .execute(params![id, i64::from(from == "queued"), millis(now)])?;
    one(touched)?;
    let address = address(transaction, id)?;
    order(transaction, address.as_deref(), now)
}

fn release(transaction: &Transaction<'_>, id: i64, consent: bool, now: Timestamp) -> rusqlite::Result<()> {
    let touched = transaction
        .prepare_cached(
            "UPDATE entry SET state = 'queued', outcome = NULL, due_at = NULL, reason = 'released by the operator',
                    held_because = NULL, settled_at = NULL, attempts = 0, tried_since = NULL,
                    consent_at = CASE WHEN ?2 THEN ?3 ELSE consent_at END
              WHERE id = ?1 AND state = 'held'",
        )?
        .execute(params![id, consent, millis(now)])?;
    one(touched)?;
    let touched = transaction
        .prepare_cached(
            "UPDATE file SET held = held - 1, queued = queued + 1, settled_at = NULL,
                    stage = CASE stage WHEN 'answered' THEN 'archived' ELSE stage END
              WHERE id = (SELECT file FROM entry WHERE id = ?1)",
        )?
        .execute([id])?;
    one(touched)?;
    let address = address(transaction, id)?;
    order(transaction, address.as_deref(), now)
}

fn address(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<Option<String>> {
    transaction.prepare_cached("SELECT address FROM entry WHERE id = ?1")?.query_row([id], |row| row.get(0))
}

/// Of the waiting rows of an address, one is due: the one under way, else the oldest.
fn order(transaction: &Transaction<'_>, address: Option<&str>, now: Timestamp) -> rusqlite::Result<()> {
    let Some(address) = address else { return Ok(()) };
    let first: Option<(i64, String)> = transaction
        .prepare_cached(
            "SELECT id, state FROM entry WHERE address = ?1 AND state IN ('queued', 'sending')
              ORDER BY state = 'queued', id LIMIT 1",
        )?
        .query_row([address], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((first, state)) = first else { return Ok(()) };
    transaction
        .prepare_cached(
            "UPDATE entry SET due_at = NULL
              WHERE address = ?1 AND state IN ('queued', 'sending') AND state = 'queued' AND id <> ?2 AND due_at IS NOT NULL",
        )?
        .execute(params![address, first])?;
    if state == "queued" {
        transaction
            .prepare_cached("UPDATE entry SET due_at = coalesce(due_at, ?2) WHERE id = ?1")?
            .execute(params![first, millis(now)])
            .and_then(one)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::{Contact, Field, Row as Read};
    use crate::outbox::{Counts, NewFile};
    use crate::plan::plan;

    fn now() -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    /// An outbox with a row for each address, in one file of its own for each row.
    fn outbox(addresses: &[&str]) -> (tempfile::TempDir, Outbox) {
        let state = tempfile::tempdir().unwrap();
        let mut outbox = Outbox::open(state.path()).unwrap();
        for (number, address) in addresses.iter().enumerate() {
            let file = NewFile {
                name: format!("{number}.csv"),
                route: ".".into(),
                received_at: now(),
                modified_at: now(),
                lists: "Newsletter".into(),
            };
            let cells = vec![(Field::Email, (*address).to_owned()), (Field::FirstName, number.to_string())];
            let reading =
                Contact::from_row(&Read { line: 2, cells, ..Read::default() }).map(|contact| (2, contact));
            let mut intake = outbox.begin(file).unwrap();
            let known = intake.known([*address]).unwrap();
            intake.record(&plan(vec![reading], &known)).unwrap();
            intake.commit("digest").unwrap();
        }
        (state, outbox)
    }

    fn change(outbox: &mut Outbox, id: i64, change: Change) -> Touched {
        let selector = Selector { ids: vec![id], ..Selector::default() };
        outbox.change(&selector, change, now(), &mut |_| ()).unwrap()
    }

    fn states(outbox: &mut Outbox) -> Vec<(String, bool)> {
        let rows = outbox.rows(&Selector::default(), 0, 100).unwrap();
        rows.into_iter().map(|row| (row.state, row.due_at.is_some())).collect()
    }

    fn row(state: &str, due: bool) -> (String, bool) {
        (state.to_owned(), due)
    }

    #[test]
    fn rows_of_one_address_stay_in_order_whatever_is_held_released_and_dropped() {
        let (_state, mut outbox) = outbox(&["jane@example.org"; 3]);
        let ids: Vec<i64> =
            outbox.rows(&Selector::default(), 0, 9).unwrap().iter().map(|row| row.id).collect();
        assert_eq!(states(&mut outbox), [row("queued", true), row("queued", false), row("queued", false)]);
        change(&mut outbox, ids[0], Change::Hold);
        assert_eq!(states(&mut outbox), [row("held", false), row("queued", true), row("queued", false)]);
        change(&mut outbox, ids[0], Change::Release { consent: false });
        assert_eq!(states(&mut outbox), [row("queued", true), row("queued", false), row("queued", false)]);
        change(&mut outbox, ids[1], Change::Drop);
        assert_eq!(states(&mut outbox), [row("queued", true), row("rejected", false), row("queued", false)]);
        change(&mut outbox, ids[0], Change::Drop);
        assert_eq!(
            states(&mut outbox),
            [row("rejected", false), row("rejected", false), row("queued", true)]
        );
        let counts = outbox.totals().unwrap().counts;
        assert_eq!(counts, Counts { queued: 1, rejected: 2, ..Counts::default() });
    }

    #[test]
    fn a_row_whose_person_left_is_released_only_with_consent_which_then_counts_from_now() {
        let (_state, mut outbox) = outbox(&["jane@example.org"]);
        let id = outbox.rows(&Selector::default(), 0, 1).unwrap()[0].id;
        change(&mut outbox, id, Change::Hold);
        outbox.connection.execute("UPDATE entry SET held_because = 'left'", ()).unwrap();
        let refused = change(&mut outbox, id, Change::Release { consent: false });
        assert_eq!(refused, Touched { left: 1, ..Touched::default() });
        assert_eq!(states(&mut outbox), [row("held", false)]);
        let released = change(&mut outbox, id, Change::Release { consent: true });
        assert_eq!(released, Touched { changed: 1, ..Touched::default() });
        assert_eq!(states(&mut outbox), [row("queued", true)]);
        let episode = &outbox.life("jane@example.org").unwrap()[0];
        assert_eq!((episode.consent_at, episode.consent_is_stated), (now(), true));
    }

    #[test]
    fn each_selector_finds_its_rows_and_two_of_them_find_what_both_do() {
        let (_state, mut outbox) = outbox(&["jane@example.org", "joe@example.org", "jane@example.org"]);
        let mut lines = |selector: Selector| {
            let rows = outbox.rows(&selector, 0, 9).unwrap();
            rows.into_iter().map(|row| row.file).collect::<Vec<_>>()
        };
        let jane = Selector { address: Some("jane@example.org".into()), ..Selector::default() };
        assert_eq!(lines(jane.clone()), ["0.csv", "2.csv"]);
        assert_eq!(lines(Selector { file: Some("2.csv".into()), ..jane }), ["2.csv"]);
        assert_eq!(lines(Selector { file: Some("1.csv".into()), ..Selector::default() }), ["1.csv"]);
        assert_eq!(lines(Selector { state: Some("held".into()), ..Selector::default() }), [""; 0]);
        assert_eq!(lines(Selector { ids: vec![2, 99], ..Selector::default() }), ["1.csv"]);
    }
}
