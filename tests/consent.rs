//! Invariant 5: nobody who left after a row was made is put back by sending that row.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::time::Duration;

use common::{Bench, Inside, UNLIMITED, address, assert_adds_up, counts, table, text};
use mailchute::sandbox::{Permission, World};
use serde_json::Value;

const JANE: &str = "jane@example.org";
const NEWSLETTER: &str = "Newsletter";
/// Older than a row may be that goes without a question.
const TWO_HOURS: Duration = Duration::from_hours(2);
/// How far the clocks move at each look when pauses must pass.
const STRIDE: Duration = Duration::from_secs(30);

/// A file of one person, by first name and perhaps the time of the consent.
fn person(name: &str, consent: Option<jiff::Timestamp>) -> String {
    match consent {
        Some(at) => format!("email,first_name,consent_at\n{JANE},{name},{at}\n"),
        None => format!("email,first_name\n{JANE},{name}\n"),
    }
}

fn ago(by: Duration) -> jiff::Timestamp {
    jiff::Timestamp::now().checked_sub(by).unwrap()
}

/// A consent of just now, as a writer whose times have no fractions of a second would say it. What lies in the future counts
/// as now.
fn just_now() -> jiff::Timestamp {
    jiff::Timestamp::now().checked_add(Duration::from_secs(1)).unwrap()
}

fn today() -> String {
    jiff::tz::TimeZone::UTC.to_datetime(jiff::Timestamp::now()).date().to_string()
}

fn permission(bench: &Bench, address: &str) -> Permission {
    bench.account(|world| world.contact(address).unwrap().permission)
}

/// The only held row of a file, as address and reason.
fn held(bench: &Bench, file: &str) -> (String, String) {
    let receipt = &bench.receipts()[file];
    assert_adds_up(receipt);
    let [row] = receipt["held"].as_array().unwrap().as_slice() else { panic!("{receipt}") };
    let word = |name: &str| row[name].as_str().unwrap().to_owned();
    (word("email"), word("reason"))
}

/// Moves both clocks on until a file is answered.
fn answered(bench: &mut Bench, inside: &Inside, file: &str) -> Value {
    bench.wait_until(file, |bench| {
        inside.advance(bench, STRIDE);
        bench.receipts().contains_key(file)
    });
    bench.receipts()[file].clone()
}

/// Jane was signed up by a row that is some hours old.
fn jane_was_signed_up(bench: &Bench) {
    bench.drop_file("first.csv", person("Jane", Some(ago(TWO_HOURS))));
    bench.run_once(0);
    assert_eq!(permission(bench, JANE), Permission::Explicit);
}

#[test]
fn whoever_left_since_is_not_signed_up_again_by_an_older_row() {
    let bench = Bench::new();
    jane_was_signed_up(&bench);
    bench.sandbox.change(|world| world.unsubscribe(JANE));
    bench.drop_file("old.csv", person("Janet", Some(ago(TWO_HOURS))));
    bench.run_once(65);
    assert_eq!(held(&bench, "old.csv"), (JANE.into(), format!("left on {}", today())));
    assert_eq!(permission(&bench, JANE), Permission::Unsubscribed);
    assert!(bench.account(|world| world.members(NEWSLETTER).is_empty()));
}

#[test]
fn a_file_that_is_dropped_again_signs_nobody_up_again() {
    let bench = Bench::new();
    bench.drop_file("a.csv", person("Jane", None));
    bench.run_once(0);
    bench.drop_file("b.csv", person("Janet", None));
    bench.run_once(0);
    bench.sandbox.change(|world| world.unsubscribe(JANE));
    // It is written anew, but its bytes are old.
    bench.drop_file("again.csv", person("Jane", None));
    bench.run_once(65);
    assert_eq!(held(&bench, "again.csv"), (JANE.into(), format!("left on {}", today())));
    assert_eq!(permission(&bench, JANE), Permission::Unsubscribed);
    // What the account was last given is not given again, whatever happened since.
    let calls = bench.account(World::all_calls);
    bench.drop_file("same.csv", person("Janet", None));
    bench.run_once(0);
    assert_eq!(counts(&bench.receipts()["same.csv"]), "1 unchanged");
    assert_eq!(bench.account(World::all_calls), calls);
}

#[test]
fn the_same_file_an_hour_later_names_who_left() {
    let mut bench = Bench::new();
    bench.drop_file("a.csv", table(0, 3));
    let inside = bench.start_inside();
    answered(&mut bench, &inside, "a.csv");
    bench.sandbox.change(|world| world.unsubscribe(&address(1)));
    inside.advance(&bench, TWO_HOURS);
    bench.drop_file("again.csv", table(0, 3));
    let receipt = answered(&mut bench, &inside, "again.csv");
    inside.stop(&bench);
    assert_eq!(counts(&receipt), "2 unchanged, 1 held");
    assert_eq!(held(&bench, "again.csv").0, address(1));
    assert_eq!(permission(&bench, &address(1)), Permission::Unsubscribed);
    assert_eq!(bench.sign_up_calls(), 3);
}

#[test]
fn whoever_left_between_two_tries_of_a_row_is_not_signed_up_by_the_second() {
    let mut bench = Bench::new();
    bench.sandbox.change(|world| {
        world.add_contact(JANE, Permission::Explicit);
    });
    bench.sandbox.fault("500@sign_up_form=always").unwrap();
    let inside = bench.start_inside();
    bench.drop_file("a.csv", person("Jane", None));
    bench.wait_until("a first try", |bench| bench.sign_up_calls() == 1);
    bench.sandbox.change(|world| world.unsubscribe(JANE));
    bench.sandbox.calm();
    answered(&mut bench, &inside, "a.csv");
    inside.stop(&bench);
    assert_eq!(held(&bench, "a.csv"), (JANE.into(), format!("left on {}", today())));
    assert_eq!(permission(&bench, JANE), Permission::Unsubscribed);
    assert_eq!(bench.sign_up_calls(), 1);
}

#[test]
fn whoever_left_while_a_call_was_in_doubt_is_not_signed_up_after_the_crash() {
    let mut bench = Bench::new();
    bench.sandbox.fault("hang@sign_up_form=once").unwrap();
    bench.drop_file("a.csv", person("Jane", None));
    bench.start();
    bench.wait_until("the call", |bench| bench.sign_up_calls() == 1);
    bench.kill();
    bench.sandbox.change(|world| {
        world.add_contact(JANE, Permission::Explicit);
        world.unsubscribe(JANE);
    });
    bench.run_once(65);
    assert_eq!(held(&bench, "a.csv").0, JANE);
    assert_eq!(permission(&bench, JANE), Permission::Unsubscribed);
}

#[test]
fn whoever_left_and_then_asked_again_is_signed_up() {
    let bench = Bench::new();
    jane_was_signed_up(&bench);
    bench.sandbox.change(|world| world.unsubscribe(JANE));
    // The same name as before: but for the time, the row says nothing new.
    bench.drop_file("again.csv", person("Jane", Some(just_now())));
    bench.run_once(0);
    assert_eq!(counts(&bench.receipts()["again.csv"]), "1 updated");
    assert_eq!(permission(&bench, JANE), Permission::Explicit);
    // And the older row is still of before.
    bench.sandbox.change(|world| world.unsubscribe(JANE));
    bench.drop_file("old.csv", person("Janet", Some(ago(TWO_HOURS))));
    bench.run_once(65);
    assert_eq!(permission(&bench, JANE), Permission::Unsubscribed);
}

#[test]
fn a_deleted_contact_comes_back_only_by_a_row_that_is_newer() {
    let bench = Bench::new();
    bench.sandbox.change(|world| {
        world.add_contact(JANE, Permission::Explicit);
        world.delete(JANE);
    });
    bench.drop_file("old.csv", person("Jane", Some(ago(TWO_HOURS))));
    bench.run_once(65);
    assert_eq!(held(&bench, "old.csv"), (JANE.into(), format!("was deleted on {}", today())));
    let deleted = |bench: &Bench| bench.account(|world| world.contact(JANE).unwrap().deleted_at.is_some());
    assert!(deleted(&bench));
    bench.drop_file("new.csv", person("Jane", None));
    bench.run_once(0);
    assert!(!deleted(&bench));
}

#[test]
fn a_sign_up_that_has_just_come_costs_one_call() {
    let bench = Bench::new();
    bench.drop_file("a.csv", person("Jane", None));
    bench.run_once(0);
    bench.account(|world| {
        assert_eq!((world.calls("sign_up_form"), world.calls("contacts")), (1, 0));
    });
}

#[test]
fn an_old_file_costs_pages_and_not_a_question_for_each_row() {
    const ROWS: usize = 2_000;
    const LEFT: usize = 700;
    let bench = Bench::new();
    let stated = ago(TWO_HOURS);
    bench.sandbox.change(|world| {
        for number in 0..LEFT {
            world.add_contact(&address(number), Permission::Explicit);
            world.unsubscribe(&address(number));
        }
    });
    let mut rows = "email,consent_at\n".to_owned();
    for number in 0..ROWS {
        rows += &format!("{},{stated}\n", address(number));
    }
    bench.drop_file("a.csv", rows);
    bench.run_once(65);
    let receipt = &bench.receipts()["a.csv"];
    assert_adds_up(receipt);
    assert_eq!(counts(receipt), format!("{} created, {LEFT} held", ROWS - LEFT));
    bench.account(|world| {
        let members = world.members(NEWSLETTER);
        assert!((0..LEFT).all(|number| !members.contains(&address(number))));
        // Two pages of those who unsubscribed, one of those who were deleted, and the last rows when that grew old.
        assert!(world.calls("contacts") <= 10, "{}", world.calls("contacts"));
        assert_eq!(world.calls("sign_up_form"), (ROWS - LEFT) as u64);
    });
}

#[test]
fn when_the_account_does_not_say_who_left_only_old_rows_wait() {
    let mut bench = Bench::new();
    bench.sandbox.fault("503@contacts=always").unwrap();
    let old =
        format!("email,consent_at\n{},{}\n{},{}\n", address(1), ago(TWO_HOURS), address(2), ago(TWO_HOURS));
    bench.drop_file("old.csv", old);
    bench.sandbox.change(|world| {
        world.add_contact(&address(2), Permission::Explicit);
        world.unsubscribe(&address(2));
    });
    bench.start();
    bench.wait_until("a question", |bench| bench.account(|world| world.calls("contacts")) > 0);
    bench.drop_file("live.csv", person("Jane", None));
    bench.wait_until("the live one", |bench| bench.receipts().contains_key("live.csv"));
    assert_eq!(bench.sign_up_calls(), 1);
    bench.stop();
    bench.sandbox.calm();
    let inside = bench.start_inside();
    answered(&mut bench, &inside, "old.csv");
    inside.stop(&bench);
    assert_eq!(counts(&bench.receipts()["old.csv"]), "1 created, 1 held");
    assert_eq!(held(&bench, "old.csv").0, address(2));
}

#[test]
fn a_kill_in_the_middle_of_reading_who_left_lets_nobody_slip() {
    const LEFT: usize = 1_600;
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
    });
    bench.sandbox.change(|world| {
        for number in 0..LEFT {
            world.add_contact(&address(number), Permission::Explicit);
            world.unsubscribe(&address(number));
        }
    });
    bench.sandbox.fault("hang@contacts=nth:3").unwrap();
    let mut rows = "email,consent_at\n".to_owned();
    for number in (0..LEFT + 40).step_by(20) {
        rows += &format!("{},{}\n", address(number), ago(TWO_HOURS));
    }
    bench.drop_file("a.csv", rows);
    bench.start();
    bench.wait_until("the third page", |bench| bench.account(|world| world.calls("contacts")) == 3);
    assert_eq!(bench.sign_up_calls(), 0);
    bench.kill();
    bench.run_once(65);
    assert_eq!(counts(&bench.receipts()["a.csv"]), format!("2 created, {} held", LEFT / 20));
    // It went on with the third page, and the two rows that were left then were looked up.
    assert_eq!(bench.account(|world| world.calls("contacts")), 3 + 2 + 2);
}

#[test]
fn a_held_row_is_sent_after_somebody_says_that_the_person_asked_again() {
    let bench = Bench::new();
    jane_was_signed_up(&bench);
    bench.sandbox.change(|world| world.unsubscribe(JANE));
    bench.drop_file("old.csv", person("Janet", Some(ago(TWO_HOURS))));
    bench.run_once(65);
    let refused = bench.command(&["queue", "release", "--state", "held"]);
    assert!(
        text(&refused.stderr).contains("--i-have-consent")
            || text(&refused.stdout).contains("--i-have-consent")
    );
    bench.run_once(0);
    assert_eq!(permission(&bench, JANE), Permission::Unsubscribed);
    let released = bench.command(&["queue", "release", "--state", "held", "--i-have-consent"]);
    assert!(released.status.success(), "{}", text(&released.stderr));
    bench.run_once(0);
    assert_eq!(permission(&bench, JANE), Permission::Explicit);
    assert_eq!(counts(&bench.receipts()["old.csv"]), "1 updated");
}

#[test]
fn a_list_that_a_person_left_is_not_given_back_by_an_older_row() {
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
        settings.lists.push("Members".to_owned());
    });
    bench.route(&[(".", NEWSLETTER), ("both", "Newsletter\", \"Members")]);
    bench.drop_file("a.csv", person("Jane", Some(ago(TWO_HOURS))));
    bench.drop_file("both/b.csv", person("Jane", Some(ago(TWO_HOURS))));
    bench.run_once(0);
    bench.sandbox.change(|world| world.leave_list(JANE, NEWSLETTER));
    bench.drop_file("old.csv", person("Janet", Some(ago(TWO_HOURS))));
    bench.drop_file("both/old2.csv", person("Janet", Some(ago(TWO_HOURS))));
    bench.run_once(65);
    assert_eq!(held(&bench, "old.csv"), (JANE.into(), "left the list Newsletter".to_owned()));
    assert_eq!(counts(&bench.receipts()["old2.csv"]), "1 updated");
    bench.account(|world| {
        assert!(!world.members(NEWSLETTER).contains(JANE) && world.members("Members").contains(JANE));
        assert_eq!(world.contact(JANE).unwrap().details["first_name"], "Janet");
    });
    // Whoever asks again is put back.
    bench.drop_file("new.csv", person("Janette", Some(just_now())));
    bench.run_once(0);
    assert!(bench.account(|world| world.members(NEWSLETTER).contains(JANE)));
}

/// A world whose inbox holds people with implicit consent, and who goes on two lists.
fn bulk() -> Bench {
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
        settings.lists.push("Members".to_owned());
    });
    bench.route(&[(".", NEWSLETTER), ("both", "Newsletter\", \"Members")]);
    bench.implicit(".");
    bench.implicit("both");
    bench
}

#[test]
fn an_import_does_not_give_a_list_back_that_a_person_left() {
    let bench = bulk();
    bench.drop_file("a.csv", person("Jane", None));
    bench.drop_file("both/b.csv", table(0, 2));
    bench.run_once(0);
    bench.sandbox.change(|world| {
        world.leave_list(JANE, NEWSLETTER);
        world.leave_list(&address(0), NEWSLETTER);
    });
    let imports = bench.account(|world| world.calls("contacts_json_import"));
    bench.drop_file("a2.csv", person("Janet", None));
    bench.drop_file("both/b2.csv", table(0, 2).replace("Last", "New"));
    bench.run_once(65);
    assert_eq!(held(&bench, "a2.csv"), (JANE.into(), "left the list Newsletter".to_owned()));
    assert_eq!(counts(&bench.receipts()["b2.csv"]), "2 imported");
    bench.account(|world| {
        assert_eq!(world.members(NEWSLETTER).into_iter().collect::<Vec<_>>(), [address(1)]);
        assert_eq!(world.members("Members").len(), 2);
        for number in 0..2 {
            assert_eq!(world.contact(&address(number)).unwrap().details["last_name"], "New");
        }
        assert_eq!(world.calls("contacts_json_import"), imports + 2, "one without the list that was left");
    });
}

#[test]
fn an_import_does_not_give_a_list_back_that_another_folder_gave_and_a_person_left() {
    let bench = bulk();
    bench.drop_file("a.csv", person("Jane", None));
    bench.run_once(0);
    bench.sandbox.change(|world| world.leave_list(JANE, NEWSLETTER));
    bench.drop_file("both/b.csv", format!("{}{},Ann\n", person("Jane", None), address(0)));
    bench.run_once(0);
    assert_eq!(counts(&bench.receipts()["b.csv"]), "2 imported");
    bench.account(|world| {
        assert_eq!(world.members(NEWSLETTER).into_iter().collect::<Vec<_>>(), [address(0)]);
        assert_eq!(world.members("Members").len(), 2);
    });
}

#[test]
fn an_import_restores_nobody_who_was_deleted_after_the_row_was_made() {
    let bench = bulk();
    bench.sandbox.change(|world| {
        for number in 0..2 {
            world.add_contact(&address(number), Permission::Implicit);
            world.delete(&address(number));
        }
    });
    let rows = format!("{},{}\n{},{}\n", address(0), ago(TWO_HOURS), address(1), just_now());
    bench.drop_file("a.csv", format!("email,consent_at\n{rows}"));
    bench.run_once(65);
    assert_eq!(held(&bench, "a.csv"), (address(0), format!("was deleted on {}", today())));
    let deleted =
        |number| bench.account(|world| world.contact(&address(number)).unwrap().deleted_at.is_some());
    assert_eq!((deleted(0), deleted(1)), (true, false), "the later of the two counts");
}

#[test]
fn many_changed_rows_of_an_import_cost_pages_of_its_list() {
    const ROWS: usize = 600;
    let bench = bulk();
    bench.drop_file("a.csv", table(0, ROWS));
    bench.run_once(0);
    bench.sandbox.change(|world| world.leave_list(&address(7), NEWSLETTER));
    bench.drop_file("b.csv", table(0, ROWS).replace("Last", "New"));
    bench.run_once(65);
    assert_eq!(counts(&bench.receipts()["b.csv"]), format!("1 held, {} imported", ROWS - 1));
    assert_eq!(held(&bench, "b.csv").0, address(7));
    // Two pages, and a look-up of the one who is on neither.
    assert_eq!(bench.account(|world| world.calls("contacts")), 3);
}

#[test]
fn when_the_account_does_not_say_who_left_an_import_goes_without_old_rows() {
    let mut bench = bulk();
    bench.sandbox.fault("503@contacts=always").unwrap();
    bench.drop_file(
        "a.csv",
        format!("email,consent_at\n{},{}\n{},\n", address(0), ago(TWO_HOURS), address(1)),
    );
    let inside = bench.start_inside();
    bench.wait_until("the new one", |bench| {
        inside.advance(bench, STRIDE);
        bench.account(|world| world.members(NEWSLETTER).contains(&address(1)))
    });
    assert!(!bench.account(|world| world.members(NEWSLETTER).contains(&address(0))));
    bench.sandbox.calm();
    let receipt = answered(&mut bench, &inside, "a.csv");
    inside.stop(&bench);
    assert_eq!(counts(&receipt), "2 imported");
}

#[test]
fn a_contact_that_has_yet_to_confirm_is_shown_as_such() {
    let bench = Bench::with(|settings| settings.confirmed_opt_in = true);
    bench.drop_file("a.csv", person("Jane", None));
    bench.run_once(0);
    let said = || text(&bench.command(&["explain", JANE, "--live"]).stdout);
    let pending = "may mail  pending_confirmation: not before the person follows the link in its mail";
    assert!(said().contains(pending), "{}", said());
    bench.sandbox.change(|world| world.confirm(JANE));
    assert!(said().contains("may mail  explicit"), "{}", said());
}
