//! The outbox against real files: schema, stages, taking and settling, and a model for random histories.

use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::contact::{Contact, Field, Rejection, Row};
use crate::plan::{Reading, plan};

const ROUTE: &str = ".";
const LISTS: &str = "Newsletter";
const ENOUGH: u32 = 10_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn open() -> (tempfile::TempDir, Outbox) {
    let state = tempfile::tempdir().unwrap();
    let outbox = Outbox::open(state.path()).unwrap();
    (state, outbox)
}

fn reading(line: u64, email: &str, first_name: &str) -> Reading {
    let cells = vec![(Field::Email, email.to_owned()), (Field::FirstName, first_name.to_owned())];
    Contact::from_row(&Row { line, cells, ..Row::default() }).map(|contact| (line, contact))
}

fn record(outbox: &mut Outbox, readings: &[Reading], now: Timestamp) -> i64 {
    let file = NewFile {
        name: "a.csv".into(),
        route: ROUTE.into(),
        received_at: now,
        modified_at: now,
        lists: LISTS.into(),
    };
    let mut intake = outbox.begin(file).unwrap();
    for chunk in readings.chunks(2) {
        let keys: Vec<String> = chunk.iter().flatten().map(|(_, contact)| contact.email().key()).collect();
        let known = intake.known(keys.iter().map(String::as_str)).unwrap();
        intake.record(&plan(chunk.to_vec(), &known)).unwrap();
    }
    intake.commit(&format!("{readings:?}")).unwrap()
}

fn routes() -> [OpenRoute; 1] {
    [OpenRoute { folder: ROUTE.into(), lists: LISTS.into(), list_ids: vec!["l-1".into()] }]
}

/// A turn in which live rows go first, with so many calls for all.
fn turn(calls: u32) -> Turn {
    Turn { first: Rank::Live, live_calls: calls, backlog_calls: Some(calls) }
}

fn take(outbox: &mut Outbox, now: Timestamp) -> Take {
    take_within(outbox, turn(ENOUGH), now)
}

/// Takes a row from an account that nobody left.
fn take_within(outbox: &mut Outbox, turn: Turn, now: Timestamp) -> Take {
    take_from(outbox, &routes(), turn, now)
}

/// The same for other routes.
pub(super) fn take_from(outbox: &mut Outbox, routes: &[OpenRoute], turn: Turn, now: Timestamp) -> Take {
    loop {
        let question = match outbox.take(routes, "sign_up_form", turn, now).unwrap() {
            Take::Ask(question) => question,
            other => return other,
        };
        let call = outbox.begin_account_call("contacts", ENOUGH, now).unwrap().unwrap();
        let record = CallRecord::default();
        match question {
            Question::LookUp { address } => {
                let lists = routes.iter().flat_map(|route| route.list_ids.clone()).collect();
                let there = Standing { updated_at: Some(now), lists, ..Standing::default() };
                outbox.record_look_up(call, &record, &address, Some(&there), now).unwrap();
            }
            Question::Read(reading) => {
                let nobody = ReadingAnswer::Page { people: Vec::new(), latest: None, next: None };
                outbox.record_reading(call, &record, &reading, &nobody, now).unwrap();
            }
            Question::Members { .. } => panic!("a question about imports"),
        }
    }
}

fn job(outbox: &mut Outbox, now: Timestamp) -> Job {
    match take(outbox, now) {
        Take::Job(job) => *job,
        other => panic!("no job but {other:?}"),
    }
}

fn created() -> Settlement {
    Settlement::Delivered { how: Delivered::Created, contact_id: "u-1".into() }
}

fn settle(outbox: &mut Outbox, job: Job, settlement: &Settlement, now: Timestamp) -> bool {
    outbox.settle(job, settlement, &CallRecord::default(), now).unwrap()
}

fn counts(outbox: &mut Outbox) -> Counts {
    outbox.totals().unwrap().counts
}

#[test]
fn a_file_is_recorded_whole_or_not_at_all() {
    let (_state, mut outbox) = open();
    let file = NewFile {
        name: "a.csv".into(),
        route: ROUTE.into(),
        received_at: at(0),
        modified_at: at(0),
        lists: LISTS.into(),
    };
    let mut intake = outbox.begin(file).unwrap();
    intake.record(&plan(vec![reading(2, "jane@example.org", "Jane")], &HashMap::new())).unwrap();
    drop(intake);
    assert_eq!(counts(&mut outbox).rows(), 0);
    assert_eq!(outbox.recorded_files().unwrap(), []);
}

#[test]
fn every_row_is_counted_by_what_became_of_it() {
    let (_state, mut outbox) = open();
    let rejection = Err(Rejection { line: 5, email: None, field: None, reason: "no".into() });
    let readings = vec![
        reading(2, "jane@example.org", "Jane"),
        reading(3, "joe@example.org", "Joe"),
        reading(4, "JANE@example.org", "Janet"),
        rejection,
    ];
    record(&mut outbox, &readings, at(0));
    assert_eq!(counts(&mut outbox), Counts { queued: 2, duplicate: 1, rejected: 1, ..Counts::default() });
    let jane = job(&mut outbox, at(1));
    assert_eq!(jane.contact().details().first_name.as_deref(), Some("Janet"), "the later line's field wins");
    settle(&mut outbox, jane, &created(), at(1));
    let joe = job(&mut outbox, at(1));
    let refused = Settlement::Rejected { field: Some("email".into()), reason: "no".into() };
    assert!(settle(&mut outbox, joe, &refused, at(2)), "the file's last row");
    assert_eq!(counts(&mut outbox), Counts { created: 1, duplicate: 1, rejected: 2, ..Counts::default() });
}

#[test]
fn what_was_delivered_before_costs_no_call() {
    let (_state, mut outbox) = open();
    record(&mut outbox, &[reading(2, "jane@example.org", "Jane")], at(0));
    let jane = job(&mut outbox, at(1));
    settle(&mut outbox, jane, &created(), at(1));
    let calls = outbox.calls_today(at(1)).unwrap();
    record(
        &mut outbox,
        &[reading(2, "jane@example.org", "Jane"), reading(3, "jane@example.org", "Jane")],
        at(2),
    );
    assert!(matches!(take(&mut outbox, at(3)), Take::Nothing));
    assert_eq!(outbox.calls_today(at(3)).unwrap(), calls);
    assert_eq!(counts(&mut outbox), Counts { created: 1, unchanged: 1, duplicate: 1, ..Counts::default() });
}

#[test]
fn a_row_that_says_the_old_again_is_not_unchanged_while_a_newer_one_waits() {
    let (_state, mut outbox) = open();
    let drop = |outbox: &mut Outbox, name| record(outbox, &[reading(2, "jane@example.org", name)], at(0));
    let mut names = Vec::new();
    let mut deliver = |outbox: &mut Outbox, jane: Job| {
        names.extend(jane.contact().details().first_name.clone());
        settle(outbox, jane, &created(), at(2));
    };
    drop(&mut outbox, "Jane");
    let jane = job(&mut outbox, at(1));
    deliver(&mut outbox, jane);
    drop(&mut outbox, "Janet");
    // The call is under way when the old comes again.
    let janet = job(&mut outbox, at(1));
    drop(&mut outbox, "Jane");
    deliver(&mut outbox, janet);
    let jane = job(&mut outbox, at(2));
    deliver(&mut outbox, jane);
    assert_eq!(names, ["Jane", "Janet", "Jane"]);
}

#[test]
fn rows_of_one_address_go_one_at_a_time_and_in_order() {
    let (_state, mut outbox) = open();
    record(&mut outbox, &[reading(2, "jane@example.org", "Jane")], at(0));
    let first = job(&mut outbox, at(1));
    record(&mut outbox, &[reading(2, "jane@example.org", "Janet")], at(0));
    assert!(matches!(take(&mut outbox, at(1)), Take::Nothing), "the second waits behind the first");
    let later = Settlement::Later { at: at(60), reason: "x".into(), counts: true };
    settle(&mut outbox, first, &later, at(1));
    assert!(matches!(take(&mut outbox, at(2)), Take::Nothing), "and behind its pause");
    let first = job(&mut outbox, at(60));
    assert_eq!(first.attempts(), 2);
    settle(&mut outbox, first, &created(), at(60));
    assert_eq!(job(&mut outbox, at(60)).contact().details().first_name.as_deref(), Some("Janet"));
}

#[test]
fn a_call_that_says_nothing_about_the_row_does_not_lengthen_its_pauses() {
    let (_state, mut outbox) = open();
    record(&mut outbox, &[reading(2, "jane@example.org", "Jane")], at(0));
    for second in 0..5 {
        let jane = job(&mut outbox, at(second));
        assert_eq!(jane.attempts(), 1);
        settle(
            &mut outbox,
            jane,
            &Settlement::Later { at: at(second), reason: "x".into(), counts: false },
            at(second),
        );
    }
}

#[test]
fn a_lost_answer_is_in_doubt_and_due_again_after_a_restart() {
    let (state, mut outbox) = open();
    record(&mut outbox, &[reading(2, "jane@example.org", "Jane")], at(0));
    let _lost_with_the_process = job(&mut outbox, at(1));
    drop(outbox);
    let mut outbox = Outbox::open(state.path()).unwrap();
    assert_eq!(counts(&mut outbox).sending, 1);
    assert_eq!(outbox.recover(at(5)).unwrap(), 1);
    assert_eq!(counts(&mut outbox), Counts { queued: 1, ..Counts::default() });
    assert_eq!(job(&mut outbox, at(5)).attempts(), 2);
}

#[test]
fn the_days_calls_are_counted_across_restarts_and_end_with_the_utc_day() {
    let (state, mut outbox) = open();
    let readings: Vec<_> = (0..5).map(|n| reading(n + 2, &format!("p{n}@example.org"), "P")).collect();
    record(&mut outbox, &readings, at(0));
    for _ in 0..2 {
        let next = outbox.take(&routes(), "sign_up_form", turn(3), at(0)).unwrap();
        assert!(matches!(next, Take::Job(_)));
        drop(outbox);
        outbox = Outbox::open(state.path()).unwrap();
    }
    assert!(outbox.begin_account_call("contact_lists", 3, at(0)).unwrap().is_some());
    assert!(matches!(
        outbox.take(&routes(), "sign_up_form", turn(3), at(0)).unwrap(),
        Take::Spent(Rank::Live)
    ));
    assert_eq!(outbox.begin_account_call("contact_lists", 3, at(0)).unwrap(), None);
    assert_eq!(outbox.calls_today(at(0)).unwrap(), 3);
    let tomorrow = at(0).checked_add(Duration::from_hours(24)).unwrap();
    assert!(matches!(take_within(&mut outbox, turn(3), tomorrow), Take::Job(_)));
}

/// So many people, none of whom is in another file.
fn people(count: usize, name: &str) -> Vec<Reading> {
    (0..count).map(|n| reading(n as u64 + 2, &format!("{name}{n}@example.org"), "P")).collect()
}

/// Whom the next calls are about, by the first letter of their addresses.
fn called(outbox: &mut Outbox, turn: Turn, calls: usize, now: Timestamp) -> String {
    (0..calls)
        .map(|_| match take_within(outbox, turn, now) {
            Take::Job(job) => {
                let letter = job.contact().email().key().chars().next().unwrap();
                settle(outbox, *job, &created(), now);
                letter
            }
            Take::Spent(Rank::Live) => 'L',
            Take::Spent(Rank::Backlog) => 'B',
            _ => '-',
        })
        .collect()
}

#[test]
fn a_small_file_goes_before_a_large_one_that_came_earlier_unless_it_is_the_backlogs_turn() {
    let (_state, mut outbox) = open();
    record(&mut outbox, &people(LIVE_ROWS + 1, "b"), at(0));
    record(&mut outbox, &people(3, "l"), at(1));
    assert_eq!(called(&mut outbox, turn(ENOUGH), 1, at(2)), "l");
    let backlog_first = Turn { first: Rank::Backlog, ..turn(ENOUGH) };
    assert_eq!(called(&mut outbox, backlog_first, 1, at(2)), "b");
    assert_eq!(called(&mut outbox, turn(ENOUGH), 4, at(2)), "llbb");
    // Also what the large file queued before anybody could know that it is large.
    record(&mut outbox, &people(1, "m"), at(3));
    assert_eq!(
        called(&mut outbox, turn(ENOUGH), LIVE_ROWS - 1, at(4)),
        format!("m{}", "b".repeat(LIVE_ROWS - 2))
    );
    assert_eq!(called(&mut outbox, turn(ENOUGH), 1, at(4)), "-");
}

#[test]
fn a_large_file_of_which_little_is_new_is_live() {
    let (_state, mut outbox) = open();
    record(&mut outbox, &people(LIVE_ROWS, "a"), at(0));
    assert_eq!(called(&mut outbox, turn(ENOUGH), LIVE_ROWS, at(0)), "a".repeat(LIVE_ROWS));
    record(&mut outbox, &people(LIVE_ROWS + 1, "b"), at(1));
    record(&mut outbox, &people(LIVE_ROWS + 9, "a"), at(2));
    assert_eq!(called(&mut outbox, turn(ENOUGH), 10, at(3)), "aaaaaaaaab");
}

#[test]
fn the_backlog_leaves_a_share_of_the_day_to_live_rows() {
    let (_state, mut outbox) = open();
    record(&mut outbox, &people(LIVE_ROWS + 1, "b"), at(0));
    let turn = Turn { first: Rank::Live, live_calls: 6, backlog_calls: Some(4) };
    assert_eq!(called(&mut outbox, turn, 5, at(1)), "bbbbB");
    record(&mut outbox, &people(3, "l"), at(2));
    assert_eq!(called(&mut outbox, turn, 3, at(3)), "llL");
    let live_only = Turn { backlog_calls: None, ..turn };
    assert_eq!(outbox.due(&routes(), live_only, at(3)).unwrap(), Due::Now);
    let tomorrow = at(0).checked_add(Duration::from_hours(24)).unwrap();
    assert_eq!(called(&mut outbox, live_only, 2, tomorrow), "l-");
    // Asking who left meanwhile is counted, too.
    let enough = Turn { backlog_calls: Some(ENOUGH), ..turn };
    assert_eq!(called(&mut outbox, enough, 2, tomorrow), "bb");
}

#[test]
fn a_file_passes_its_stages_once() {
    let (_state, mut outbox) = open();
    let file = record(&mut outbox, &[reading(2, "bad", "")], at(0));
    assert!(outbox.receipt_due(0).unwrap().is_none(), "not before it is archived");
    outbox.intend_archive(file, Path::new("done/2026-11-24/a.csv")).unwrap();
    outbox.archived(file).unwrap();
    assert!(matches!(outbox.archived(file), Err(OutboxError::Touched { touched: 0, .. })));
    let facts = outbox.receipt_due(0).unwrap().unwrap();
    assert_eq!((facts.id, facts.counts.rejected), (file, 1));
    assert_eq!(outbox.settled_rows(file, "rejected", 0, 10).unwrap()[0].line, 2);
    outbox.answered(file, at(1)).unwrap();
    assert!(outbox.receipt_due(0).unwrap().is_none());
}

#[test]
fn a_trouble_keeps_its_beginning_until_it_is_over() {
    let (_state, mut outbox) = open();
    outbox.set_trouble("account", Health::Waiting, "slow", None, at(0)).unwrap();
    outbox.set_trouble("account", Health::Waiting, "slower", Some(at(9)), at(5)).unwrap();
    outbox.set_trouble("route a", Health::Attention, "no list", None, at(6)).unwrap();
    let troubles = outbox.troubles().unwrap();
    let seen: Vec<_> = troubles.iter().map(|t| (t.scope.as_str(), t.reason.as_str(), t.since)).collect();
    assert_eq!(seen, [("route a", "no list", at(6)), ("account", "slower", at(0))]);
    outbox.clear_trouble("account").unwrap();
    assert_eq!(outbox.troubles().unwrap().len(), 1);
}

#[test]
fn a_database_that_is_not_ours_or_newer_is_left_as_it_is() {
    let (state, outbox) = open();
    outbox.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(outbox);
    assert!(matches!(Outbox::open(state.path()), Err(OutboxError::Newer { found: 99, .. })));
    let other = tempfile::tempdir().unwrap();
    let path = other.path().join(FILE_NAME);
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(matches!(Outbox::open(other.path()), Err(OutboxError::Foreign { .. })));
    let garbage = tempfile::tempdir().unwrap();
    std::fs::write(garbage.path().join(FILE_NAME), [7_u8; 8192]).unwrap();
    assert!(matches!(Outbox::open(garbage.path()), Err(OutboxError::Damaged { .. })));
    assert_eq!(std::fs::read(garbage.path().join(FILE_NAME)).unwrap(), [7_u8; 8192]);
}

#[test]
fn every_commit_is_on_the_disk() {
    let (_state, outbox) = open();
    let synchronous: i64 =
        outbox.connection.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap();
    let journal: String =
        outbox.connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!((synchronous, journal.as_str()), (2, "wal"), "2 is FULL");
}

/// What may happen to an outbox.
#[derive(Debug, Clone)]
enum Event {
    Drop(Vec<(u8, u8)>),
    Deliver,
    Fail,
    Restart,
    Wait,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => prop::collection::vec((0_u8..4, 0_u8..3), 1..5).prop_map(Event::Drop),
        4 => Just(Event::Deliver),
        2 => Just(Event::Fail),
        1 => Just(Event::Restart),
        1 => Just(Event::Wait),
    ]
}

fn address(person: u8) -> String {
    format!("p{person}@example.org")
}

/// Takes and settles one row and keeps the account as the service would.
fn deliver(outbox: &mut Outbox, account: &mut HashMap<String, String>, now: Timestamp, succeed: bool) {
    let Take::Job(job) = take(outbox, now) else { return };
    if !succeed {
        let at = now.checked_add(Duration::from_secs(3)).unwrap();
        settle(outbox, *job, &Settlement::Later { at, reason: "x".into(), counts: true }, now);
        return;
    }
    let name = job.contact().details().first_name.clone().unwrap_or_default();
    account.insert(job.contact().email().key(), name);
    settle(outbox, *job, &created(), now);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever happens, the account ends as if every row had been sent in turn, and every row is counted once.
    #[test]
    fn the_account_ends_as_the_rows_say(events in prop::collection::vec(event(), 1..40)) {
        let (state, mut outbox) = open();
        let (mut now, mut rows) = (at(0), 0);
        let (mut account, mut model) = (HashMap::new(), HashMap::new());
        for event in events {
            match event {
                Event::Drop(people) => {
                    let named: Vec<_> = people.iter().map(|(person, name)| (address(*person), format!("N{name}"))).collect();
                    let readings: Vec<_> = (2..).zip(&named).map(|(line, (email, name))| reading(line, email, name)).collect();
                    record(&mut outbox, &readings, now);
                    rows += u64::try_from(named.len()).unwrap();
                    model.extend(named);
                }
                Event::Deliver => deliver(&mut outbox, &mut account, now, true),
                Event::Fail => deliver(&mut outbox, &mut account, now, false),
                Event::Restart => {
                    let _lost = take(&mut outbox, now);
                    drop(outbox);
                    outbox = Outbox::open(state.path()).unwrap();
                    outbox.recover(now).unwrap();
                }
                Event::Wait => now = now.checked_add(Duration::from_secs(2)).unwrap(),
            }
            prop_assert_eq!(counts(&mut outbox).rows(), rows);
        }
        while counts(&mut outbox).queued > 0 {
            now = now.checked_add(Duration::from_secs(5)).unwrap();
            deliver(&mut outbox, &mut account, now, true);
        }
        prop_assert_eq!(account, model);
    }
}

#[test]
fn evidence_stands_in_its_columns_and_a_consent_is_never_younger_than_its_file() {
    let (_state, mut outbox) = open();
    let with = |line, name: &str, at: &str, source: &str| {
        let cells = vec![
            (Field::Email, format!("{name}@example.org")),
            (Field::ConsentAt, at.to_owned()),
            (Field::Source, source.to_owned()),
        ];
        Contact::from_row(&Row { line, cells, ..Row::default() }).map(|contact| (line, contact))
    };
    record(
        &mut outbox,
        &[
            with(2, "jane", "2020-01-01", "fair"),
            with(3, "joe", "", ""),
            // Another chunk, so that the first row is amended.
            with(4, "jane", "2024-01-01", ""),
            with(5, "ann", "2999-01-01", ""),
        ],
        at(0),
    );
    let stored: Vec<(Option<i64>, Option<String>)> = outbox
        .connection
        .prepare("SELECT consent_at, evidence FROM entry WHERE contact IS NOT NULL ORDER BY id")
        .unwrap()
        .query_map((), |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let year_2024 = millis("2024-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(
        stored,
        [
            (Some(year_2024), Some(r#"{"source":"fair"}"#.to_owned())),
            (None, None),
            (Some(millis(at(0))), None)
        ]
    );
}

/// An outbox as a released version left it: its schema, and rows in each state that they can be in.
fn released(state: &std::path::Path, schema: usize) {
    const SAMPLES: [&str; 1] = [include_str!("../../tests/fixtures/outboxes/0001.sql")];
    let connection = Connection::open(state.join(FILE_NAME)).unwrap();
    let wal = connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()));
    wal.and_then(|()| MIGRATIONS[..schema].iter().try_for_each(|sql| connection.execute_batch(sql))).unwrap();
    connection.execute_batch(SAMPLES[schema - 1]).unwrap();
    connection.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    connection.pragma_update(None, "user_version", signed(schema as u64)).unwrap();
}

#[test]
fn an_outbox_of_every_released_schema_is_brought_up_to_date_with_all_that_is_in_it() {
    for schema in 1..=MIGRATIONS.len() {
        let state = tempfile::tempdir().unwrap();
        released(state.path(), schema);
        let mut outbox = Outbox::open(state.path()).unwrap();
        assert_eq!(outbox.version().unwrap(), MIGRATIONS.len());
        assert_eq!(outbox.is_sound().unwrap(), None);
        let counts = counts(&mut outbox);
        let told = (counts.queued, counts.created, counts.unchanged, counts.rejected, counts.held);
        assert_eq!(told, (1, 1, 1, 1, 1), "schema {schema}");
        // What waited goes on.
        let waiting = job(&mut outbox, at(0));
        assert_eq!(
            (waiting.contact().email().as_str(), waiting.place()),
            ("jim@example.org", ("old.csv", 3))
        );
        settle(&mut outbox, waiting, &created(), at(1));
        assert_eq!(take_kind(&mut outbox), "nothing");
    }
}

fn take_kind(outbox: &mut Outbox) -> &'static str {
    match take(outbox, at(2)) {
        Take::Nothing => "nothing",
        _ => "something",
    }
}

#[test]
fn a_schema_is_applied_whole_or_not_at_all_and_only_once() {
    let (state, mut outbox) = open();
    record(&mut outbox, &[reading(2, "jane@example.org", "Jane")], at(0));
    let version = MIGRATIONS.len();
    let next = "ALTER TABLE file ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'";
    let broken = "ALTER TABLE file ADD COLUMN shape TEXT; UPDATE nowhere SET x = 1";
    let schemas = |more: &[&'static str]| [&MIGRATIONS[..], more].concat();
    assert!(outbox.migrate(&schemas(&[next, broken])).is_err());
    let columns = |outbox: &Outbox| -> Vec<String> {
        let mut statement = outbox.connection.prepare("SELECT name FROM pragma_table_info('file')").unwrap();
        statement.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(outbox.version().unwrap(), version + 1, "the good one is kept");
    assert!(
        columns(&outbox).contains(&"colour".to_owned()) && !columns(&outbox).contains(&"shape".to_owned())
    );
    outbox.migrate(&schemas(&[next])).unwrap();
    assert_eq!((outbox.version().unwrap(), counts(&mut outbox).queued), (version + 1, 1));
    drop(outbox);
    // This version does not touch what a newer one has made of it.
    assert!(matches!(Outbox::open(state.path()), Err(OutboxError::Newer { .. })));
}
