//! Implicit consent: rows leave in bulk, and each is accounted for although the account only counts.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;
#[path = "common/in_process.rs"]
mod in_process;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Bench, address, assert_adds_up, counts, table};
use in_process::{Rehearsal, rehearse};
use mailchute::sandbox::{Permission, Settings};
use serde_json::Value;

/// How far the clocks move at each look when polls and pauses must pass.
const STRIDE: Duration = Duration::from_secs(30);

/// A world whose inbox holds people with implicit consent.
fn bulk() -> Bench {
    let mut bench = Bench::new();
    bench.implicit(".");
    bench
}

/// The addresses that a receipt names, under `rejected` or `held`.
fn named(receipt: &Value, state: &str) -> BTreeSet<String> {
    receipt[state].as_array().unwrap().iter().map(|row| row["email"].as_str().unwrap().to_owned()).collect()
}

/// Runs the daemon inside with clocks that move until so many receipts are there.
fn run_until_answered(bench: &mut Bench, receipts: usize) {
    let inside = bench.start_inside();
    bench.wait_until("the receipts", |bench| {
        inside.advance(bench, STRIDE);
        bench.receipts().len() == receipts
    });
    inside.stop(bench);
}

#[test]
fn run_once_waits_for_an_import_and_its_receipt_says_imported() {
    let bench = bulk();
    bench.drop_file("a.csv", table(0, 30));
    bench.drop_file("b.csv", table(30, 10));
    bench.run_once(0);
    let receipts = bench.receipts();
    assert_eq!(
        (counts(&receipts["a.csv"]), counts(&receipts["b.csv"])),
        ("30 imported".into(), "10 imported".into())
    );
    bench.account(|world| {
        assert_eq!(world.members("Newsletter").len(), 40);
        assert_eq!(world.contact(&address(7)).unwrap().permission, Permission::Implicit);
        assert_eq!(world.contact(&address(7)).unwrap().details["first_name"], "First7");
        assert_eq!((world.calls("contacts_json_import"), world.calls("sign_up_form")), (1, 0));
    });
    // The same again costs no call.
    let calls = bench.account(mailchute::sandbox::World::all_calls);
    bench.drop_file("c.csv", table(0, 30));
    bench.run_once(0);
    assert_eq!(counts(&bench.receipts()["c.csv"]), "30 unchanged");
    assert_eq!(bench.account(mailchute::sandbox::World::all_calls), calls);
}

#[test]
fn of_twenty_thousand_rows_each_that_did_not_land_is_named() {
    const ROWS: usize = 20_000;
    let mut bench = bulk();
    let unsubscribed: BTreeSet<String> = (0..37).map(|n| address(n * 540)).collect();
    // What the account refuses looks unusual; else nobody could tell those rows from the ones that vanished.
    let long = |n: usize| format!("{}{}", "x".repeat(40), address(n));
    let refused_numbers: Vec<usize> = (0..12).map(|n| n * 1_600 + 1).collect();
    let refused: BTreeSet<String> = refused_numbers.iter().map(|n| long(*n)).collect();
    let lost: BTreeSet<String> = (0..5).map(|n| address(n * 3_900 + 2)).collect();
    bench.sandbox.change(|world| {
        for left in &unsubscribed {
            world.add_contact(left, Permission::Explicit);
            world.unsubscribe(left);
        }
        for address in &refused {
            world.refuse_in_imports(address);
        }
        for address in &lost {
            world.lose_in_imports(address);
        }
    });
    let mut rows = table(0, ROWS);
    for n in refused_numbers {
        rows = rows.replace(&format!("\n{},", address(n)), &format!("\n{},", long(n)));
    }
    bench.drop_file("a.csv", rows);
    run_until_answered(&mut bench, 1);
    let receipt = &bench.receipts()["a.csv"];
    assert_adds_up(receipt);
    let landed = ROWS - 37 - 12 - 5;
    assert_eq!(counts(receipt), format!("12 rejected, 42 held, {landed} imported"));
    assert_eq!(named(receipt, "rejected"), refused);
    assert_eq!(named(receipt, "held"), unsubscribed.into_iter().chain(lost).collect());
    bench.account(|world| {
        assert_eq!(world.members("Newsletter").len(), landed);
        assert!(world.calls("contacts_json_import") <= 2, "{}", world.calls("contacts_json_import"));
    });
}

#[test]
fn a_job_that_ends_otherwise_is_sent_again() {
    for fault in ["activity_failed", "activity_timed_out", "activity_cancelled", "activity_forgotten"] {
        let mut bench = bulk();
        bench.sandbox.fault(&format!("{fault}=once")).unwrap();
        bench.drop_file("a.csv", table(0, 5));
        run_until_answered(&mut bench, 1);
        assert_eq!(counts(&bench.receipts()["a.csv"]), "5 imported", "{fault}");
        assert_eq!(bench.account(|world| world.calls("contacts_json_import")), 2, "{fault}");
    }
}

#[test]
fn an_import_whose_answer_was_lost_is_found_and_not_posted_again() {
    for fault in ["lost", "cut"] {
        let mut bench = bulk();
        bench.sandbox.fault(&format!("{fault}@contacts_json_import=once")).unwrap();
        bench.drop_file("a.csv", table(0, 5));
        run_until_answered(&mut bench, 1);
        assert_eq!(counts(&bench.receipts()["a.csv"]), "5 imported", "{fault}");
        assert_eq!(bench.account(|world| world.calls("contacts_json_import")), 1, "{fault}");
    }
    // One that never arrived is posted again.
    let mut bench = bulk();
    bench.sandbox.fault("reset@contacts_json_import=once").unwrap();
    bench.drop_file("a.csv", table(0, 5));
    run_until_answered(&mut bench, 1);
    assert_eq!(bench.account(|world| world.calls("contacts_json_import")), 2);
}

/// An account with so many lists and jobs that end with a poll, and a folder for each list.
fn lanes(number: usize, polls_until_done: u32) -> (Settings, String) {
    let lists: Vec<String> = (0..number).map(|number| format!("List {number}")).collect();
    let mut tables = "[api]\nbase_url = \"http://localhost/v3\"\n[inbox]\nsettle = \"1s\"\n\
                      [delivery]\nlinger = \"0s\"\n"
        .to_owned();
    for (number, list) in lists.iter().enumerate() {
        tables +=
            &format!("[[route]]\nfolder = \"f{number}\"\nlists = [\"{list}\"]\nconsent = \"implicit\"\n");
    }
    (Settings { lists, polls_until_done, ..Settings::default() }, tables)
}

#[test]
fn two_imports_that_are_short_at_once_are_searched_one_after_the_other() {
    const ROWS: usize = 3_000;
    let (settings, tables) = lanes(2, 6);
    let (counts, reads) = rehearse(async {
        let house = Rehearsal::new(settings, &tables);
        for lane in 0..2 {
            let first = lane * ROWS;
            house.account.change(|world| world.lose_in_imports(&address(first + 7)));
            house.drop_file(&format!("f{lane}/{lane}.csv"), &table(first, ROWS));
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        house.run(Duration::from_hours(2)).await;
        let reads = house.account.inspect(|world| world.calls("contacts"));
        (house.counts(), reads)
    });
    assert_eq!((counts.held, counts.imported), (2, 2 * ROWS as u64 - 2));
    // Each search: a row of the end, six pages, a row that was on none; and the row once more, after it was sent again.
    // Before that, it was asked twice who has left the account.
    assert_eq!(reads, 2 * (1 + 6 + 1 + 1) + 2);
}

#[test]
fn several_imports_are_asked_after_with_one_call() {
    const JOBS: usize = 5;
    let (settings, tables) = lanes(JOBS, 12);
    let (waits, posts, polls) = rehearse(async {
        let house = Rehearsal::new(settings, &tables);
        for number in 0..JOBS {
            house.drop_file(&format!("f{number}/{number}.csv"), &table(number * 10, 3));
        }
        tokio::time::advance(Duration::from_secs(2)).await;
        house.run(Duration::from_mins(30)).await;
        let calls = |name| house.account.inspect(|world| world.calls(name));
        (house.waits(), calls("contacts_json_import"), calls("activities"))
    });
    assert_eq!((waits, posts), (0, JOBS as u64));
    // Each job ends with its twelfth poll; those that were posted first are asked after alone once or twice.
    assert!((12..=24).contains(&polls), "{polls} calls for {JOBS} jobs of twelve polls each");
}

#[test]
fn a_nightly_export_costs_what_changed_in_it() {
    const ROWS: usize = 50_000;
    let mut bench = bulk();
    bench.drop_file("monday.csv", table(0, ROWS));
    bench.run_once(0);
    let calls = |bench: &Bench| {
        let names = ["contacts_json_import", "activities", "contacts", "contact_lists", "sign_up_form"];
        bench.account(|world| names.map(|name| world.calls(name)))
    };
    let monday = calls(&bench);
    assert_eq!(monday[0], 2, "two imports hold all rows");
    let mut tuesday = table(0, ROWS);
    for number in (0..ROWS).step_by(ROWS / 20) {
        tuesday = tuesday.replace(
            &format!("\n{},First{number},", address(number)),
            &format!("\n{},New{number},", address(number)),
        );
    }
    bench.drop_file("tuesday.csv", &tuesday);
    bench.run_once(0);
    assert_eq!(counts(&bench.receipts()["tuesday.csv"]), "49980 unchanged, 20 imported");
    let now = calls(&bench);
    let since: Vec<u64> = now.iter().zip(monday).map(|(now, before)| now - before).collect();
    // Whoever is to be changed is looked up once: an import would put them back on a list that they left since.
    assert_eq!((since[0], since[2], since[3], since[4]), (1, 20, 0, 0), "{since:?}");
    assert!((1..=5).contains(&since[1]), "{} polls", since[1]);
    bench.account(|world| {
        assert_eq!(world.contact(&address(2500)).unwrap().details["first_name"], "New2500");
        assert_eq!(world.contact(&address(2501)).unwrap().details["first_name"], "First2501");
    });
    // One call for each row that changed, where each has its own; not one more.
    bench.drop_file("wednesday.csv", tuesday.replace(",New", ",Newer"));
    bench.explicit(".");
    bench.run_once(0);
    assert_eq!(counts(&bench.receipts()["wednesday.csv"]), "20 updated, 49980 unchanged");
    let last = calls(&bench);
    let since: Vec<u64> = last.iter().zip(now).map(|(now, before)| now - before).collect();
    assert_eq!(since, [0, 0, 0, 0, 20]);
}

#[test]
fn a_kill_while_the_account_imports_costs_nothing() {
    let mut bench = bulk();
    bench.configure("delivery", "linger = \"0s\"");
    bench.drop_file("a.csv", table(0, 50));
    bench.start();
    bench.wait_until("the import", |bench| bench.account(|world| world.calls("contacts_json_import")) == 1);
    bench.kill();
    run_until_answered(&mut bench, 1);
    assert_eq!(counts(&bench.receipts()["a.csv"]), "50 imported");
    assert_eq!(bench.account(|world| world.calls("contacts_json_import")), 1);
}

#[test]
fn one_row_that_makes_the_account_refuse_the_whole_import_is_found_by_halving() {
    let mut bench = bulk();
    bench.sandbox.change(|world| world.refuse_in_imports(&address(17)));
    bench.sandbox.fault("import_invalid=always").unwrap();
    bench.drop_file("a.csv", table(0, 40));
    run_until_answered(&mut bench, 1);
    let receipt = &bench.receipts()["a.csv"];
    assert_eq!(counts(receipt), "1 rejected, 39 imported");
    assert_eq!(named(receipt, "rejected"), BTreeSet::from([address(17)]));
}

#[test]
fn too_many_activities_make_imports_wait_and_sign_ups_go_on() {
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (common::UNLIMITED, common::UNLIMITED);
        settings.lists.push("Members".to_owned());
    });
    bench.route(&[(".", "Newsletter"), ("members", "Members")]);
    bench.implicit("members");
    bench.configure("delivery", "linger = \"0s\"");
    bench.sandbox.fault("queue_full@contacts_json_import=always").unwrap();
    bench.drop_file("members/m.csv", table(0, 5));
    bench.start();
    bench.wait_until("the refusal", |bench| bench.account(|world| world.calls("contacts_json_import")) == 1);
    bench.drop_file("s.csv", table(5, 3));
    bench.wait_until("the sign-ups", |bench| bench.receipts().contains_key("s.csv"));
    bench.stop();
    bench.sandbox.calm();
    run_until_answered(&mut bench, 2);
    assert_eq!(counts(&bench.receipts()["m.csv"]), "5 imported");
}
