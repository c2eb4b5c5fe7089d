//! The main job, through the real programs: a dropped file becomes contacts in the account.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::time::Duration;

use common::{Bench, assert_adds_up, counts, table};
use mailchute::sandbox::Permission;
use serde_json::json;

#[test]
fn a_thousand_rows_and_a_json_drop_and_the_same_again() {
    let mut bench = Bench::new();
    bench.route(&[(".", "Newsletter")]);
    let mut text = table(0, 990);
    text += "no-at-sign,Bad,Row\n,Empty,Row\nshort@example.org\nlong@example.org,a,b,c\n";
    text += "PERSON1@example.org,Renamed,Last\n";
    text += &format!("late@example.org,{},x\n", "x".repeat(51));
    text += "jörg@example.org,J,x\na@b,c,d\nfine@exämple.org,F,x\n=cmd@,x,y\n";
    assert_eq!(text.lines().count(), 1 + 1000);
    bench.drop_file("people.csv", &text);
    bench.drop_file(
        "form.json",
        r#"{"email": "Jane@Example.org", "first_name": "Jane", "company_name": "Doe"}"#,
    );
    bench.run_once(65);

    let receipts = bench.receipts();
    assert_eq!(counts(&receipts["people.csv"]), "991 created, 1 duplicate, 8 rejected");
    assert_eq!(counts(&receipts["form.json"]), "1 created");
    receipts.values().for_each(assert_adds_up);
    bench.account(|world| {
        assert_eq!(world.contact_count(), 992);
        assert_eq!(world.members("Newsletter").len(), 992);
        assert_eq!(world.contact("person1@example.org").unwrap().details["first_name"], "Renamed");
        assert_eq!(world.contact("jane@example.org").unwrap().details["company_name"], "Doe");
        assert_eq!(world.contact("jane@example.org").unwrap().permission, Permission::Explicit);
        assert!(world.contact("fine@xn--exmple-cua.org").is_some());
    });
    insta::assert_snapshot!(bench.rejects("people.csv"), @"
    email,first_name,last_name,mailchute_line,mailchute_reason
    no-at-sign,Bad,Row,992,`no-at-sign` is not an e-mail address: it has no @
    ,Empty,Row,993,the row has no address
    short@example.org,,,994,\"line 994 has 1 cells and the header 3: a delimiter is missing, or one stands unquoted in a cell\"
    long@example.org,a,b,995,\"line 995 has 4 cells and the header 3: a delimiter is missing, or one stands unquoted in a cell\"
    late@example.org,xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx,x,997,51 characters: the service takes at most 50 for first_name
    jörg@example.org,J,x,998,`jörg@example.org` is not an e-mail address: the part before the @ has letters that mail cannot carry everywhere
    a@b,c,d,999,`a@b` is not an e-mail address: the part after the @ is not a full domain like example.org
    '=cmd@,x,y,1001,`=cmd@` is not an e-mail address: nothing follows the @
    ");
    let rejected = receipts["people.csv"]["rejected"].as_array().unwrap();
    assert_eq!(
        rejected[0],
        json!({"line": 992, "email": "no-at-sign", "field": "email", "reason": "`no-at-sign` is not an e-mail address: it has no @"})
    );

    let calls = bench.account(mailchute::sandbox::World::all_calls);
    bench.drop_file("again.csv", &text);
    bench.run_once(65);
    assert_eq!(counts(&bench.receipts()["again.csv"]), "991 unchanged, 1 duplicate, 8 rejected");
    assert_eq!(bench.account(mailchute::sandbox::World::all_calls), calls, "the same again costs no call");
}

#[test]
fn a_rejects_file_that_was_mended_is_taken_as_it_is() {
    let bench = Bench::new();
    bench.drop_file("a.csv", "email,first_name\njane.example.org,=Jane\n");
    bench.run_once(65);
    let mended = bench.rejects("a.csv").replace("jane.example.org,", "jane@example.org,");
    bench.drop_file("a.csv", mended);
    bench.run_once(0);
    let name =
        bench.account(|world| world.contact("jane@example.org").unwrap().details["first_name"].clone());
    assert_eq!(name, "=Jane");
    let names: Vec<_> = bench.receipts().into_keys().collect();
    assert_eq!(names, ["a (2).csv", "a.csv"], "nothing in done is overwritten");
}

#[test]
fn sub_folders_are_routes_to_their_own_lists() {
    let mut bench = Bench::with(|settings| {
        settings.lists = vec!["Newsletter".into(), "Members".into()];
        settings.custom_fields = vec!["Member No".into()];
    });
    bench.route(&[(".", "newsletter"), ("club/members", "Members")]);
    bench.drop_file("a.csv", "email\njane@example.org\n");
    bench.drop_file("club/members/b.csv", "email,cf:Member_No\njane@example.org,7\njoe@example.org,8\n");
    bench.drop_file("club/c.csv", "email\nnobody@example.org\n");
    bench.run_once(65);
    bench.account(|world| {
        assert_eq!(world.members("Newsletter").len(), 1);
        assert_eq!(world.members("Members").len(), 2);
        assert_eq!(world.contact_count(), 2);
        assert!(world.contact("jane@example.org").unwrap().details.values().any(|value| value == "7"));
    });
    let failed: Vec<_> = bench
        .files("failed")
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(failed, ["c.csv", "c.csv.reason.json"]);
}

#[test]
fn a_running_daemon_delivers_what_is_dropped_and_says_so() {
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until("the daemon runs", |bench| bench.status()["daemon"]["running"] == true);
    bench.drop_file("a.csv", table(0, 5));
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    std::fs::write(bench.inbox().join("in-place.csv"), table(5, 5)).unwrap();
    bench.wait_until("the receipt of a file written in place", |bench| bench.receipts().len() == 2);
    let status = bench.status();
    assert_eq!((status["health"].as_str(), status["outbox"]["delivered"].as_u64()), (Some("ok"), Some(10)));
    assert_eq!(status["inbox"]["folders"][0]["watch"], "events");
    assert_eq!(status["authorization"]["state"], "authorized");
    bench.stop();
    assert_eq!(bench.status()["daemon"]["running"], false);
    assert_eq!(bench.account(mailchute::sandbox::World::contact_count), 10);
}

#[test]
fn a_writer_that_takes_its_time_is_waited_for() {
    let mut bench = Bench::new();
    bench.configure("inbox", "settle = \"400ms\"");
    bench.start();
    let path = bench.inbox().join("slow.csv");
    let mut out = std::fs::File::create(&path).unwrap();
    for line in table(0, 20).lines() {
        std::io::Write::write_all(&mut out, format!("{line}\n").as_bytes()).unwrap();
        let written = std::time::Instant::now();
        bench.wait_until("the writer's pause", move |_| written.elapsed() > Duration::from_millis(100));
    }
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    assert_eq!(bench.receipts()["slow.csv"]["rows"], 20, "once, and whole");
    assert_eq!(bench.account(mailchute::sandbox::World::contact_count), 20);
}

#[test]
fn a_deleted_contact_comes_back_by_a_newer_sign_up() {
    let bench = Bench::new();
    bench.sandbox.change(|world| {
        world.add_contact("gone@example.org", Permission::Implicit);
        world.delete("gone@example.org");
    });
    bench.drop_file("a.csv", "email\ngone@example.org\n");
    bench.run_once(0);
    assert!(bench.account(|world| world.members("Newsletter").contains("gone@example.org")));
    assert_eq!(counts(&bench.receipts()["a.csv"]), "1 updated");
}
