//! What of a file's contents is taken, and what its receipt says of the rest, through the real program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use common::{Bench, counts};
use serde_json::{Value, json};

/// The parts of a receipt's list that a test is about.
fn told(receipt: &Value, list: &str) -> Vec<(u64, String, String)> {
    let rows = receipt[list].as_array().expect(list);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    rows.iter().map(|row| (row["line"].as_u64().unwrap(), text(row, "field"), text(row, "reason"))).collect()
}

/// Rows with one bad field each; what is a person's own word on being mailed is not dropped.
const BAD_FIELDS: &str = "email,first_name,birthday,permission,consent_at,ip\n\
    jane@example.org,Jane,soon,,,\n\
    joe@example.org,Joe,,no,,\n\
    jim@example.org,Jim,,,last week,\n\
    jill@,Jill,,,,\n\
    jack@example.org,J\u{fffd}ck,02/30,,,nowhere\n\
    good@example.org,Good,02/09,,,\n";

#[test]
fn a_field_that_cannot_be_used_rejects_its_row_unless_it_may_be_dropped() {
    let mut bench = Bench::new();
    bench.drop_file("strict.csv", BAD_FIELDS);
    bench.run_once(65);
    let receipt = &bench.receipts()["strict.csv"];
    assert_eq!(counts(receipt), "1 created, 5 rejected");
    assert_eq!(receipt["notes"], json!([]));

    bench.configure("inbox", "on_bad_field = \"drop\"");
    bench.drop_file("lenient.csv", BAD_FIELDS);
    bench.run_once(65);
    let receipt = &bench.receipts()["lenient.csv"];
    assert_eq!(counts(receipt), "2 created, 1 unchanged, 3 rejected");
    let fields: Vec<(u64, String)> =
        told(receipt, "rejected").into_iter().map(|(line, field, _)| (line, field)).collect();
    assert_eq!(fields, [(3, "permission".into()), (4, "consent_at".into()), (5, "email".into())]);
    let notes = told(receipt, "notes");
    let fields: Vec<(u64, &str)> = notes.iter().map(|(line, field, _)| (*line, field.as_str())).collect();
    assert_eq!(fields, [(2, "birthday"), (6, "first_name"), (6, "birthday"), (6, "ip")]);
    assert!(notes[0].2.starts_with("left out: `soon` is no birthday"), "{}", notes[0].2);
    assert_eq!(receipt["notes"][0]["email"], "jane@example.org");
    bench.account(|world| {
        let jack = world.contact("jack@example.org").expect("jack is signed up");
        assert!(jack.details.is_empty(), "{:?}", jack.details);
    });
    let told = common::text(&bench.command(&["explain", "jane@example.org"]).stdout);
    assert!(told.contains("note      birthday: left out: `soon` is no birthday"), "{told}");
}

#[test]
fn the_receipt_says_which_of_several_columns_was_the_address() {
    let bench = Bench::new();
    bench.drop_file("two.csv", "Work email,Name,E-Mail\nwork@example.org,Jane Doe,jane@example.org\n");
    bench.drop_file("one.csv", "Name,E-Mail\nJoe Roe,joe@example.org\n");
    bench.run_once(0);
    let receipts = bench.receipts();
    assert_eq!(receipts["two.csv"]["address_column"], "E-Mail");
    assert_eq!(receipts["one.csv"].get("address_column"), None, "there was nothing to choose");
    bench.account(|world| assert!(world.contact("work@example.org").is_none()));
}
