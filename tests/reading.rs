//! What of a file's contents is taken, and what its receipt says of the rest, through the real program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::fs;

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

/// Gives the bench's only route columns.
fn columns(bench: &Bench, columns: &str) {
    let text = fs::read_to_string(bench.config()).unwrap();
    fs::write(bench.config(), format!("{text}columns = {columns}\n")).unwrap();
}

#[test]
fn nested_json_is_taken_by_pointers_and_its_rejects_can_be_mended_and_dropped() {
    let bench = Bench::new();
    columns(
        &bench,
        r#"{ email = "/person/mail", first_name = "/person/name/given", phone_number = "/phones/0" }"#,
    );
    let person = |mail: &str| {
        format!(
            r#"{{"id":7,"person":{{"mail":"{mail}","name":{{"given":"Jane"}}}},"phones":[491701234567]}}"#
        )
    };
    bench.drop_file(
        "export.json",
        format!(r#"{{"page":1,"people":[{},{}]}}"#, person("jane@example.org"), person("joe@")),
    );
    bench.run_once(65);
    assert_eq!(counts(&bench.receipts()["export.json"]), "1 created, 1 rejected");
    let rejects = bench.rejects("export.json");
    assert!(rejects.starts_with("/person/mail,/person/name/given,/phones/0,id,mailchute_line"), "{rejects}");
    bench.drop_file("mended.csv", rejects.replace("joe@,", "joe@example.org,"));
    bench.run_once(0);
    assert_eq!(counts(&bench.receipts()["mended.csv"]), "1 created");
    bench.account(|world| {
        for address in ["jane@example.org", "joe@example.org"] {
            let details = &world.contact(address).expect(address).details;
            assert_eq!(details["first_name"], "Jane", "{address}");
            assert!(format!("{details:?}").contains("491701234567"), "{details:?}");
        }
    });
}

/// The most memory that a process has had so far, in MiB.
fn peak(pid: rustix::process::Pid) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_string_of_100_megabytes_and_a_thousand_levels_are_refused_without_harm() {
    const HUGE: usize = 100_000_000;
    let mut bench = Bench::new();
    bench.start();
    bench.drop_file("before.csv", "email\nbefore@example.org\n");
    bench.wait_until("the first file", |bench| bench.receipts().contains_key("before.csv"));
    let before = peak(bench.pid());
    let good = r#"{"email":"good@example.org"}"#;
    let huge = format!(r#"{{"email":"huge@example.org","note":"{}"}}"#, "x".repeat(HUGE));
    let deep = format!(r#"{{"email":"deep@example.org","x":{}{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
    bench.drop_file("huge.json", format!("[{good},{huge}]"));
    bench.drop_file("huge.jsonl", format!("{good}\n{huge}\n{good}\n"));
    bench.drop_file("huge.csv", format!("email,note\ngood@example.org,\"{}\"\n", "x".repeat(HUGE)));
    bench.drop_file("deep.json", format!("[{deep},{good}]"));
    bench.wait_until("all are answered", |bench| {
        let answered = bench.receipts();
        answered.contains_key("huge.jsonl")
            && answered.contains_key("deep.json")
            && bench.files("failed").len() == 4
    });
    let reason = |name: &str| {
        let found =
            bench.files("failed").into_iter().find(|path| path.ends_with(format!("{name}.reason.json")));
        let reason: Value = serde_json::from_slice(&fs::read(found.expect(name)).unwrap()).unwrap();
        format!("{}: {}", reason["place"].as_str().unwrap(), reason["reason"].as_str().unwrap())
    };
    assert_eq!(reason("huge.json"), "element 2: it has more than 1048576 bytes: that is no contact");
    assert!(reason("huge.csv").contains("the record has more than 1048576 bytes"), "{}", reason("huge.csv"));
    let receipts = bench.receipts();
    let refused = |name: &str| told(&receipts[name], "rejected").remove(0);
    assert_eq!(refused("huge.jsonl").0, 2);
    assert!(refused("huge.jsonl").2.starts_with("the line has more than 1048576 bytes"));
    assert_eq!(refused("deep.json").0, 1);
    assert!(refused("deep.json").2.contains("more than 128 levels deep"));
    assert!(bench.account(|world| world.contact("good@example.org").is_some()));
    let grown = peak(bench.pid()) - before;
    assert!(grown < 32, "{grown} MiB more than before");
    bench.stop();
}
