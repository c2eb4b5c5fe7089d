//! A newer row for an address whose older row still waits: the older one goes with what both say, so that the newer has
//! nothing left to say when its turn comes, and costs no call.
//!
//! Promises that nothing is lost by it: both rows keep their places and get their own ends, so that the newer one is sent
//! itself if the older is refused or held. Each keeps its own time of consent: what somebody agreed to yesterday does not
//! make an agreement of last year younger. Rows of another route stay apart, because they go to other lists.

use rusqlite::{Transaction, params};

use super::intake::{contact, json};
use super::{notes, one};
use crate::contact::Contact;
use crate::plan::Digest;

/// A row that is being recorded while older ones of its address wait.
pub(super) struct Newer<'a> {
    pub(super) file: &'a str,
    pub(super) line: u64,
    pub(super) route: i64,
    pub(super) contact: &'a Contact,
    /// Where rows of older files begin and where those of its own file do.
    pub(super) older: (i64, i64),
}

/// What became of it.
pub(super) struct Merged {
    /// What both say, where the newer one's words win.
    pub(super) contact: Contact,
    /// The row that goes first.
    pub(super) first: i64,
    /// What is to be said about it on the newer row, if it changed anything.
    pub(super) note: Option<String>,
}

struct Older {
    entry: i64,
    line: i64,
    file: String,
    digest: Digest,
    contact: Contact,
}

/// Gives the waiting rows of the same address and route what the newer one says. `None` where none of them waits, or the
/// only one is under way: its answer decides about it as it was sent.
pub(super) fn replace(transaction: &Transaction<'_>, newer: &Newer<'_>) -> rusqlite::Result<Option<Merged>> {
    let waiting = waiting(transaction, newer)?;
    let Some(first) = waiting.first() else { return Ok(None) };
    let mut merged = first.contact.clone();
    for contact in waiting.iter().skip(1).map(|older| &older.contact).chain([newer.contact]) {
        merged.merge(contact);
    }
    let digest = merged.digest();
    let mut changed = false;
    for older in waiting.iter().filter(|older| older.digest != digest) {
        changed = true;
        transaction
            .prepare_cached("UPDATE entry SET contact = ?2, digest = ?3 WHERE id = ?1 AND state = 'queued'")?
            .execute(params![older.entry, json(&merged)?, digest])
            .and_then(one)?;
        let note = format!("goes with what line {} of {} says, which is newer", newer.line, newer.file);
        notes::add_once(transaction, older.entry, &note)?;
    }
    let note =
        changed.then(|| format!("merged into line {} of {}, which still waited", first.line, first.file));
    let contact = merged.with_evidence(newer.contact.evidence().clone());
    Ok(Some(Merged { contact, first: first.entry, note }))
}

fn waiting(transaction: &Transaction<'_>, newer: &Newer<'_>) -> rusqlite::Result<Vec<Older>> {
    let mut statement = transaction.prepare_cached(
        "SELECT entry.id, line, name, digest, contact FROM entry JOIN file ON file.id = entry.file
          WHERE address = ?1 AND entry.id >= ?2 AND entry.id < ?3 AND entry.route = ?4
                AND state = 'queued' AND contact IS NOT NULL ORDER BY entry.id",
    )?;
    let (from, to) = newer.older;
    let rows = statement.query_map(params![newer.contact.email().key(), from, to, newer.route], |row| {
        Ok(Older {
            entry: row.get(0)?,
            line: row.get(1)?,
            file: row.get(2)?,
            digest: row.get(3)?,
            contact: contact(row, 4)?,
        })
    })?;
    rows.collect()
}

/// The line of a row that is recorded already.
pub(super) fn line_of(transaction: &Transaction<'_>, entry: i64) -> rusqlite::Result<u64> {
    transaction
        .prepare_cached("SELECT line FROM entry WHERE id = ?1")?
        .query_row([entry], |row| row.get(0).map(super::unsigned))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use crate::contact::{Contact, Field, Row};
    use crate::outbox::tests::take_from;
    use crate::outbox::{CallRecord, Delivered, NewFile, OpenRoute, Outbox, Rank, Settlement, Take, Turn};
    use crate::plan::plan;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn open() -> (tempfile::TempDir, Outbox) {
        let state = tempfile::tempdir().unwrap();
        let outbox = Outbox::open(state.path()).unwrap();
        (state, outbox)
    }

    /// Records a file of rows about Jane, a chunk for each.
    fn record(
        outbox: &mut Outbox,
        name: &str,
        route: &str,
        rows: &[&[(Field, &str)]],
        now: Timestamp,
    ) -> i64 {
        let file = NewFile {
            name: name.into(),
            route: route.into(),
            received_at: now,
            modified_at: now,
            lists: route.into(),
        };
        let mut intake = outbox.begin(file).unwrap();
        for (line, cells) in (2..).zip(rows) {
            let jane = [(Field::Email, "jane@example.org".to_owned())];
            let cells =
                jane.into_iter().chain(cells.iter().map(|(field, text)| (field.clone(), (*text).to_owned())));
            let row = Row { line, cells: cells.collect(), ..Row::default() };
            let known = intake.known(["jane@example.org"]).unwrap();
            let reading = Contact::from_row(&row).map(|contact| (line, contact));
            intake.record(&plan(vec![reading], &known)).unwrap();
        }
        intake.commit("digest").unwrap()
    }

    fn take(outbox: &mut Outbox, now: Timestamp) -> Take {
        let routes = ["a", "b"].map(|name| OpenRoute {
            folder: name.into(),
            lists: name.into(),
            list_ids: vec![name.into()],
        });
        let turn = Turn { first: Rank::Live, live_calls: 99, backlog_calls: Some(99) };
        take_from(outbox, &routes, turn, now)
    }

    /// Delivers what is due and says of each call what it sent; `-` for rows that had nothing new to say.
    fn deliver(outbox: &mut Outbox, now: Timestamp) -> Vec<String> {
        let mut sent = Vec::new();
        loop {
            match take(outbox, now) {
                Take::Job(job) => {
                    let details = job.contact().details();
                    let words = [&details.first_name, &details.last_name]
                        .map(|name| name.clone().unwrap_or_default());
                    sent.push(format!("{}: {}", job.route(), words.join(" ").trim()));
                    let done = Settlement::Delivered { how: Delivered::Updated, contact_id: "u-1".into() };
                    outbox.settle(*job, &done, &CallRecord::default(), now).unwrap();
                }
                Take::Skipped { .. } => sent.push("-".to_owned()),
                Take::Nothing | Take::Spent(_) | Take::Ask(_) => return sent,
            }
        }
    }

    fn notes(outbox: &mut Outbox, file: i64) -> Vec<String> {
        outbox.notes(file, (0, 0), 99).unwrap().into_iter().map(|(_, row)| row.reason).collect()
    }

    #[test]
    fn what_a_newer_row_says_goes_with_the_older_one_and_both_say_so() {
        let (_state, mut outbox) = open();
        let older = record(
            &mut outbox,
            "old.csv",
            "a",
            &[&[(Field::FirstName, "Jane"), (Field::LastName, "Doe")]],
            at(0),
        );
        let newer = record(&mut outbox, "new.csv", "a", &[&[(Field::FirstName, "Janet")]], at(1));
        let newest = record(&mut outbox, "last.csv", "a", &[&[(Field::LastName, "Roe")]], at(2));
        assert_eq!(deliver(&mut outbox, at(3)), ["a: Janet Roe", "-"]);
        assert_eq!(
            notes(&mut outbox, older),
            [
                "goes with what line 2 of new.csv says, which is newer",
                "goes with what line 2 of last.csv says, which is newer"
            ]
        );
        assert_eq!(
            notes(&mut outbox, newer),
            [
                "merged into line 2 of old.csv, which still waited",
                "goes with what line 2 of last.csv says, which is newer"
            ]
        );
        assert_eq!(notes(&mut outbox, newest), ["merged into line 2 of old.csv, which still waited"]);
        let counts = outbox.totals().unwrap().counts;
        assert_eq!((counts.updated, counts.unchanged), (1, 2));
    }

    #[test]
    fn a_row_that_says_nothing_new_is_not_noted() {
        let (_state, mut outbox) = open();
        let files =
            [0, 1].map(|n| record(&mut outbox, "a.csv", "a", &[&[(Field::FirstName, "Jane")]], at(n)));
        assert_eq!(deliver(&mut outbox, at(3)), ["a: Jane", "-"]);
        assert!(files.iter().all(|file| notes(&mut outbox, *file).is_empty()));
    }

    #[test]
    fn repeated_rows_of_the_newer_file_are_merged_as_one() {
        let (_state, mut outbox) = open();
        let older = record(&mut outbox, "old.csv", "a", &[&[(Field::FirstName, "Jane")]], at(0));
        record(
            &mut outbox,
            "new.csv",
            "a",
            &[&[(Field::FirstName, "Janet")], &[(Field::LastName, "Roe")], &[(Field::FirstName, "Joan")]],
            at(1),
        );
        assert_eq!(deliver(&mut outbox, at(3)), ["a: Joan Roe", "-"]);
        assert_eq!(notes(&mut outbox, older), ["goes with what line 2 of new.csv says, which is newer"]);
    }

    #[test]
    fn rows_of_other_routes_and_rows_under_way_stay_as_they_are() {
        let (_state, mut outbox) = open();
        record(&mut outbox, "old.csv", "a", &[&[(Field::FirstName, "Jane")]], at(0));
        record(&mut outbox, "other.csv", "b", &[&[(Field::FirstName, "Janet")]], at(1));
        let Take::Job(under_way) = take(&mut outbox, at(2)) else { panic!("nothing to do") };
        record(&mut outbox, "new.csv", "a", &[&[(Field::FirstName, "Joan")]], at(3));
        assert_eq!(under_way.contact().details().first_name.as_deref(), Some("Jane"));
        let done = Settlement::Delivered { how: Delivered::Created, contact_id: "u-1".into() };
        outbox.settle(*under_way, &done, &CallRecord::default(), at(4)).unwrap();
        assert_eq!(deliver(&mut outbox, at(5)), ["b: Janet", "a: Joan"]);
    }

    #[test]
    fn the_newer_row_is_sent_itself_if_the_older_is_refused_and_each_keeps_its_consent() {
        let (_state, mut outbox) = open();
        let agreed = |day: &'static str| [(Field::FirstName, "Jane"), (Field::ConsentAt, day)];
        record(&mut outbox, "old.csv", "a", &[&agreed("2020-01-01")], at(0));
        record(
            &mut outbox,
            "new.csv",
            "a",
            &[&[(Field::FirstName, "Joan"), (Field::ConsentAt, "2026-05-05")]],
            at(1),
        );
        let Take::Job(older) = take(&mut outbox, at(2)) else { panic!("nothing to do") };
        let refused = Settlement::Rejected { field: None, reason: "no".into() };
        outbox.settle(*older, &refused, &CallRecord::default(), at(3)).unwrap();
        assert_eq!(deliver(&mut outbox, at(4)), ["a: Joan"]);
        let consents: Vec<_> =
            outbox.life("jane@example.org").unwrap().iter().map(|row| row.consent_at.to_string()).collect();
        assert_eq!(consents, ["2020-01-01T00:00:00Z", "2026-05-05T00:00:00Z"]);
    }

    #[test]
    fn a_row_of_the_backlog_that_a_live_one_adds_to_goes_with_the_live_ones() {
        let (_state, mut outbox) = open();
        record(&mut outbox, "old.csv", "a", &[&[(Field::FirstName, "Jane")]], at(0));
        outbox.connection.execute("UPDATE entry SET rank = 1", ()).unwrap();
        record(&mut outbox, "new.csv", "a", &[&[(Field::FirstName, "Joan")]], at(1));
        let routes = [OpenRoute { folder: "a".into(), lists: "a".into(), list_ids: vec!["a".into()] }];
        let live_only = Turn { first: Rank::Live, live_calls: 99, backlog_calls: None };
        assert!(matches!(outbox.take(&routes, "sign_up_form", live_only, at(2)).unwrap(), Take::Job(_)));
    }
}
