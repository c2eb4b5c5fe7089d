//! Operating it: every command beside the daemon, what a person is told, and what mends it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{fs, io::Write, net::TcpListener, os::unix::fs::PermissionsExt};

use common::{Bench, address, assert_adds_up, counts, free_port, table, text};
use mailchute::sandbox::World;
use rustix::process::Signal;
use serde_json::Value;

/// A command that must end with this status; what it printed, with the world's folder as HOME.
fn said(bench: &Bench, status: i32, arguments: &[&str]) -> String {
    let output = bench.command(arguments);
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{arguments:?} said:\n{said}");
    said.replace(&bench.home.path().display().to_string(), "HOME")
}

/// The same without the times, which are of today.
fn timeless(text: &str) -> String {
    let word = |word: &str| match word.len() {
        10 if word.starts_with("20") && word.contains('-') => "DAY".to_owned(),
        5 if word.as_bytes().get(2) == Some(&b':') => "TIME".to_owned(),
        _ => word.to_owned(),
    };
    let part = |text: &str| text.split('/').map(word).collect::<Vec<_>>().join("/");
    let words = |line: &str| line.split(' ').map(part).collect::<Vec<_>>().join(" ");
    text.lines().map(|line| words(line).trim_end().to_owned() + "\n").collect()
}

#[test]
fn the_log_as_json_ties_a_call_to_its_row_and_file_and_masks_the_address() {
    let bench = Bench::new();
    bench.sandbox.fault("503@sign_up_form=once").unwrap();
    bench.drop_file("a.csv", table(0, 2));
    let output = bench.command(&["run", "--once", "-v", "--log-format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let log = text(&output.stderr);
    assert!(!log.contains("person0@"), "a whole address: {log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = |message: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line["fields"]["message"] == message).collect()
    };
    let taken = said("taken in");
    assert_eq!((taken.len(), taken[0]["spans"][0]["name"].as_str()), (1, Some("file")), "{log}");
    assert_eq!(taken[0]["level"], "INFO");
    assert_eq!(taken[0]["spans"][0]["file_name"], "a.csv");
    let answers = said("the account answered");
    let spans: Vec<Value> = answers.iter().map(|line| line["spans"].clone()).collect();
    let names = |spans: &Value| -> Vec<String> {
        spans.as_array().unwrap().iter().map(|span| span["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(answers.len(), 3, "a row was tried twice: {log}");
    assert!(spans.iter().all(|spans| names(spans) == ["file", "row", "call"]), "{log}");
    let failed = answers.iter().find(|line| line["fields"]["status"] == 503).expect("the fault's answer");
    assert_eq!(
        (failed["level"].as_str(), failed["spans"][2]["try_number"].as_u64()),
        (Some("DEBUG"), Some(1))
    );
    assert_eq!(failed["spans"][0]["file_name"], "a.csv");
    let row = &failed["spans"][1];
    assert!(
        row["email"].as_str().unwrap().ends_with("…@example.org") && row["line"].as_u64() >= Some(2),
        "{row}"
    );
    // The calls' numbers are those that `explain` and the outbox know.
    let ids: std::collections::BTreeSet<u64> =
        spans.iter().filter_map(|spans| spans[2]["id"].as_u64()).collect();
    assert_eq!(ids.len(), 3, "{log}");
}

#[test]
fn a_pause_holds_over_a_restart_takes_files_in_and_ends_by_a_command() {
    let mut bench = Bench::new();
    bench.run_once(0);
    insta::assert_snapshot!(said(&bench, 0, &["pause", "new", "list"]), @"Sending is paused; files are still taken in. `mailchute resume` goes on.");
    bench.start();
    bench.drop_file("a.csv", table(0, 3));
    bench.wait_until("it is taken in", |bench| bench.status()["outbox"]["queued"] == 3);
    bench.stop();
    bench.run_once(75);
    bench.start();
    bench.wait_until("the daemon", |bench| bench.status()["daemon"]["running"] == true);
    let status = bench.status();
    assert_eq!(
        (status["daemon"]["paused"].as_str(), status["health"].as_str()),
        (Some("new list"), Some("waiting"))
    );
    assert_eq!(bench.sign_up_calls(), 0);
    insta::assert_snapshot!(said(&bench, 0, &["resume"]), @"Sending goes on.");
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    insta::assert_snapshot!(said(&bench, 0, &["resume"]), @"Sending was not paused.");
    assert_eq!(bench.status()["daemon"]["paused"], Value::Null);
    bench.stop();
}

#[test]
fn the_queue_is_listed_held_released_and_dropped_and_every_row_stays_accounted_for() {
    let bench = Bench::new();
    bench.run_once(0);
    said(&bench, 0, &["pause"]);
    bench.drop_file("a.csv", table(0, 4));
    bench.run_once(75);
    insta::assert_snapshot!(timeless(&said(&bench, 0, &["queue", "list", "--limit", "2"])), @"
    id  state   email                file   line  tries  due               reason
    1   queued  person0@example.org  a.csv  2     0      DAY TIME
    2   queued  person1@example.org  a.csv  3     0      DAY TIME
    … and more: --limit N shows more of them, --json all
    ");
    insta::assert_snapshot!(said(&bench, 0, &["queue", "hold", "--email", "PERSON1@example.org"]), @"1 entry held.");
    insta::assert_snapshot!(said(&bench, 0, &["queue", "drop", "--email", "person2@example.org"]), @"1 entry dropped, and counted as rejected.");
    insta::assert_snapshot!(timeless(&said(&bench, 0, &["queue", "list", "--state", "held"])), @"
    id  state  email                file   line  tries  due  reason
    2   held   person1@example.org  a.csv  3     0           held by the operator
    ");
    insta::assert_snapshot!(said(&bench, 0, &["queue", "retry", "--all"]), @"2 entries due now.");
    insta::assert_snapshot!(said(&bench, 0, &["queue", "list", "--state", "sending"]), @"No entry.");
    said(&bench, 0, &["resume"]);
    bench.run_once(0);
    assert_eq!(
        bench.status()["reason"],
        "1 row is held for a person to decide: `mailchute queue list --state held`"
    );
    let receipt = &bench.receipts()["a.csv"];
    assert_adds_up(receipt);
    assert_eq!(counts(receipt), "2 created, 1 rejected, 1 held");
    said(&bench, 0, &["queue", "release", "--state", "held"]);
    bench.run_once(0);
    let receipt = &bench.receipts()["a.csv"];
    assert_adds_up(receipt);
    assert_eq!(counts(receipt), "3 created, 1 rejected", "the receipt tells the end of the story");
    assert_eq!(bench.status()["health"], "ok");
    for usage in [
        &["queue", "hold"][..],
        &["queue", "hold", "--all", "--id", "1"],
        &["queue", "list", "--state", "lost"],
    ] {
        said(&bench, 2, usage);
    }
}

#[test]
fn the_queues_json_is_one_object_a_line_with_the_keys_of_the_contract() {
    let bench = Bench::new();
    bench.drop_file("a.csv", format!("{}bad@,x,y\n", table(0, 2)));
    bench.run_once(65);
    let lines = said(&bench, 0, &["queue", "list", "--file", "a.csv", "--json"]);
    let rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    let keys: Vec<&String> = rows[0].as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "id",
            "state",
            "email",
            "route",
            "file",
            "line",
            "received_at",
            "due_at",
            "attempts",
            "outcome",
            "field",
            "reason",
            "settled_at"
        ]
    );
    assert_eq!((rows[2]["state"].as_str(), rows[2]["line"].as_u64()), (Some("rejected"), Some(4)));
    assert_eq!(
        said(&bench, 0, &["queue", "list", "--state", "delivered", "--json", "--limit", "1"]).lines().count(),
        1
    );
    assert_eq!(said(&bench, 0, &["queue", "list", "--json"]), "", "nothing waits");
}

#[test]
fn explain_tells_the_life_of_an_address_and_what_the_account_says_now() {
    let bench = Bench::new();
    bench.sandbox.fault("503@sign_up_form=once").unwrap();
    bench.drop_file("a.csv", table(0, 1));
    bench.run_once(0);
    let life = said(&bench, 0, &["explain", "Person0@example.org", "--live"]);
    let contact = life.lines().find_map(|line| line.trim().strip_prefix("contact   ")).unwrap().to_owned();
    insta::assert_snapshot!(timeless(&life.replace(&contact, "CONTACT")), @"
    Person0@example.org

    #1 delivered (created): a.csv, line 2, route `.`
      came      DAY TIME
      consent   DAY TIME (the file's time)
      file      done/DAY/a.csv
      call      DAY TIME sign_up_form → 503 contacts.api.unavailable: Service Not Available
      call      DAY TIME sign_up_form → 201
      contact   CONTACT
      next      nothing; settled DAY TIME

    the account now holds
      contact   CONTACT
      may mail  explicit
      lists     Newsletter
    ");
    let json: Value =
        serde_json::from_str(&said(&bench, 0, &["explain", "person0@example.org", "--json"])).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["entries"][0]["calls"].as_array().unwrap().len(), 2);
    assert_eq!(json["entries"][0]["calls"][0]["status"], 503);
    assert_eq!(json["entries"][0]["contact_id"], contact.as_str());
    assert!(json.get("live").is_none());
    insta::assert_snapshot!(said(&bench, 0, &["explain", "nobody@example.org"]), @"
    nobody@example.org

    no entry: it was in no file that is still remembered (`keep_history`)
    ");
    said(&bench, 2, &["explain", "no address"]);
}

/// The keys of an object, in their order.
fn keys(object: &Value) -> String {
    object.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn explains_json_has_the_keys_of_the_contract() {
    let mut bench = Bench::new();
    bench.configure("inbox", "on_bad_field = \"drop\"");
    let long = "x".repeat(300);
    bench.drop_file("a.csv", format!("email,job_title,source\n{},{long},fair\n", address(0)));
    bench.run_once(0);
    let explain = |email: &str| -> Value {
        serde_json::from_str(&said(&bench, 0, &["explain", email, "--live", "--json"])).unwrap()
    };
    let told = explain(&address(0));
    let entry = &told["entries"][0];
    assert_eq!(keys(&told), "version email entries live");
    assert_eq!(
        keys(entry),
        "id state email route file line received_at due_at attempts outcome field reason settled_at \
         archived_as consent_at consent_is_stated evidence contact_id calls notes"
    );
    assert_eq!(keys(&entry["calls"][0]), "endpoint started_at answered_at status error_key message");
    assert_eq!(keys(&entry["notes"][0]), "field reason");
    assert_eq!(entry["evidence"]["source"], "fair");
    assert_eq!(keys(&told["live"]), "contact_id permission created_at updated_at deleted_at lists");
    let nobody = explain("nobody@example.org");
    assert_eq!((keys(&nobody), nobody["live"].is_null()), ("version email entries live".to_owned(), true));
}

#[test]
fn add_puts_one_contact_into_the_inbox() {
    let mut bench = Bench::new();
    bench.route(&[(".", "Newsletter"), ("members", "Newsletter")]);
    bench.run_once(0);
    let add = |more: &[&str]| {
        let arguments =
            [&["add", "Jane@Example.org", "--first-name", "Jane", "--last-name", "Doe"], more].concat();
        said(&bench, 0, &arguments)
    };
    let words = add(&["--field", "company_name=Acme, Inc.", "--route", "members"]);
    assert!(
        words.ends_with("lies in the inbox; `mailchute explain Jane@example.org` says what becomes of it.\n"),
        "{words}"
    );
    bench.run_once(0);
    let account =
        bench.account(|world| world.contacts().map(|contact| format!("{contact:?}")).collect::<String>());
    for what in ["Jane@example.org", "Doe", "Acme, Inc."] {
        assert!(account.contains(what), "{what} is not in {account}");
    }
    insta::assert_snapshot!(said(&bench, 1, &["add", "x@example.org", "--route", "fans"]), @"mailchute: there is no route `fans`; there are: `.`, `members`");
    said(&bench, 2, &["add", "not an address"]);
    said(&bench, 2, &["add", "x@example.org", "--field", "novalue"]);
}

#[test]
fn check_finds_what_is_wrong_and_says_what_would_be_right() {
    let mut bench = Bench::new();
    bench.run_once(0);
    // How late the self-test's event came is another number each time.
    let timeless = |line: &str| format!("{}\n", line.split(" after ").next().unwrap_or_default());
    let told: String = said(&bench, 0, &["check"]).lines().map(timeless).collect();
    insta::assert_snapshot!(told, @"
    ok     configuration  HOME/mailchute.toml
    ok     application    with a client secret
    ok     folder         HOME/spool/done
    ok     folder         HOME/spool/failed
    ok     folder         HOME/state
    ok     folder         HOME/spool/inbox
    ok     noticing       HOME/spool/inbox: an event came
    ok     outbox         0 rows, 0 wait, 0 are held
    note   daemon         not running
    ok     sign-in        Sandbox Gardening Club
    ok     privileges     contacts:write, contacts:read, contacts:lists:read
    ok     clock          agrees with the service's
    ok     account        Sandbox Gardening Club
    ok     route .        list `Newsletter`
    ");
    bench.route(&[(".", "Newsletr")]);
    let wrong = said(&bench, 78, &["check"]);
    assert!(
        wrong
            .contains("WRONG  route .        the account has no list `Newsletr`; did you mean `Newsletter`?"),
        "{wrong}"
    );
    bench.route(&[(".", "Newsletter")]);
    bench.sandbox.fault("503=always").unwrap();
    assert!(
        said(&bench, 69, &["check"]).contains("WRONG  account        the account cannot be asked: HTTP 503")
    );
    assert!(!said(&bench, 0, &["check", "--offline"]).contains("privileges"));
    bench.sandbox.fault("503=off").unwrap();
    bench.sandbox.change(World::revoke_all);
    assert!(
        said(&bench, 77, &["check"]).contains("sign in with `mailchute-auth --config HOME/mailchute.toml`")
    );
    fs::remove_file(bench.state().join("tokens.json")).unwrap();
    assert!(said(&bench, 77, &["check", "--offline"]).contains("nobody has signed in yet"));
}

#[test]
fn a_backup_is_whole_while_the_daemon_writes_and_comes_back_as_a_drill() {
    let mut bench = Bench::new();
    bench.start();
    bench.drop_file("a.csv", table(0, 50));
    bench.wait_until("some are delivered", |bench| bench.sign_up_calls() > 5);
    let copy = bench.home.path().join("copy.db");
    said(&bench, 0, &["backup", copy.to_str().unwrap()]);
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
    let refused = said(&bench, 1, &["backup", copy.to_str().unwrap()]);
    assert!(refused.contains("exists"), "{refused}");
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.drop_file("b.csv", table(50, 5));
    bench.wait_until("the second receipt", |bench| bench.receipts().len() == 2);
    bench.stop();
    // The machine is lost: a new one gets the copy, and a sign-in, because tokens are in no backup.
    fs::remove_dir_all(bench.state()).unwrap();
    fs::create_dir(bench.state()).unwrap();
    fs::set_permissions(bench.state(), fs::Permissions::from_mode(0o700)).unwrap();
    fs::copy(&copy, bench.state().join("outbox.db")).unwrap();
    assert!(!text(&fs::read(&copy).unwrap()).contains("refresh_token"));
    bench.run_once(77);
    bench.sign_in();
    // What was delivered after the copy is sent again, which changes nothing twice.
    bench.run_once(0);
    assert_eq!(bench.account(World::contact_count), 55);
    assert_eq!(bench.status()["outbox"]["delivered"].as_u64(), Some(50));
    assert!(said(&bench, 0, &["explain", &address(0)]).contains("delivered"));
}

#[test]
fn an_outbox_that_cannot_be_used_is_said_and_never_begun_anew() {
    let bench = Bench::new();
    bench.drop_file("a.csv", table(0, 3));
    bench.run_once(0);
    let file = bench.state().join("outbox.db");
    let whole = fs::read(&file).unwrap();
    let newer = {
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.execute_batch("PRAGMA user_version = 999; PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        drop(connection);
        fs::read(&file).unwrap()
    };
    let mut torn = whole.clone();
    torn[4096..].fill(0xa5);
    let cases: [(&str, Vec<u8>, &str); 4] = [
        (
            "rubbish",
            b"this is no database, but it is long enough to be taken for one, or is it? It is not."
                .repeat(20),
            "is damaged",
        ),
        ("torn", torn, "is damaged"),
        ("newer", newer, "was written by a newer mailchute (schema 999"),
        (
            "foreign",
            {
                let other = bench.home.path().join("other.db");
                rusqlite::Connection::open(&other)
                    .unwrap()
                    .execute_batch("CREATE TABLE cats (name TEXT)")
                    .unwrap();
                fs::read(other).unwrap()
            },
            "not an outbox of mailchute",
        ),
    ];
    for (name, bytes, words) in cases {
        for rest in ["outbox.db-wal", "outbox.db-shm"] {
            let _none = fs::remove_file(bench.state().join(rest));
        }
        fs::write(&file, &bytes).unwrap();
        for command in [&["run", "--once"][..], &["status"], &["queue", "list"]] {
            let said = said(&bench, 1, command);
            assert!(said.contains(words), "{name}, {command:?}: {said}");
        }
        assert!(fs::read(&file).unwrap() == bytes, "{name} was changed");
    }
}

#[test]
fn a_stray_shell_in_a_transaction_delays_and_costs_nothing() {
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until("the daemon", |bench| bench.log().contains("ready"));
    let stray = rusqlite::Connection::open(bench.state().join("outbox.db")).unwrap();
    stray.execute_batch("BEGIN IMMEDIATE").unwrap();
    bench.drop_file("a.csv", table(0, 3));
    // Looking is possible all the while.
    assert_eq!(bench.command(&["status"]).status.code(), Some(0));
    assert_eq!(said(&bench, 0, &["queue", "list"]), "No entry.\n");
    stray.execute_batch("ROLLBACK").unwrap();
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.stop();
}

#[test]
fn what_is_settled_long_ago_leaves_the_outbox_and_the_file_shrinks_again() {
    let mut bench = Bench::new();
    bench.drop_file("a.csv", table(0, 3_000));
    bench.drop_file("b.csv", format!("{}bad@,x,y\n", table(0, 1)));
    bench.run_once(65);
    let size = |bench: &Bench| {
        let file = bench.state().join("outbox.db");
        rusqlite::Connection::open(&file).unwrap().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        fs::metadata(&file).unwrap().len()
    };
    let before = size(&bench);
    bench.configure("delivery", "keep_history = \"1ms\"");
    bench.start();
    bench.wait_until("it is pruned", |bench| bench.log().contains("history pruned"));
    bench.stop();
    assert_eq!(said(&bench, 0, &["queue", "list", "--state", "delivered"]), "No entry.\n");
    let after = size(&bench);
    // What the account was last told stays, so that the same export costs nothing again.
    assert!(after * 3 < before, "{before} bytes became {after}");
    let calls = bench.sign_up_calls();
    bench.drop_file("again.csv", table(0, 3_000));
    bench.run_once(0);
    assert_eq!(bench.sign_up_calls(), calls);
    assert_eq!(
        said(&bench, 0, &["queue", "list", "--file", "again.csv"]),
        "No entry.\n",
        "`run --once` prunes too"
    );
}

#[test]
fn the_status_page_is_for_this_machine_only() {
    let mut bench = Bench::new();
    bench.configure("metrics", "listen = \"0.0.0.0:9464\"");
    let refused = said(&bench, 78, &["status"]);
    assert!(
        refused.contains(
            "`metrics.listen`: 0.0.0.0:9464 could be reached from elsewhere: write a loopback address"
        ),
        "{refused}"
    );
    let listen = format!("127.0.0.1:{}", free_port());
    bench.configure("metrics", &format!("listen = \"{listen}\""));
    bench.drop_file("<b>list<b>.csv", format!("{}bad@,x,y\n", table(0, 3)));
    bench.start();
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    said(&bench, 0, &["pause", "<script>alert(1)</script>"]);
    bench.drop_file("later.csv", table(10, 1));
    bench.wait_until("a row waits", |bench| bench.status()["outbox"]["queued"] == 1);
    let get = |path: &str, host: &str| ask(&listen, path, host);
    let page = get("/", &listen);
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    for header in [
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(page.contains(header), "{header} is not in {page}");
    }
    for words in ["waiting", "p…@example.org", "&lt;b&gt;list&lt;b&gt;.csv", "&lt;script&gt;", "<svg role"]
    {
        assert!(page.contains(words), "{words} is not in {page}");
    }
    for secret in ["<script>", "person", "<b>list", "access_token"] {
        assert!(!page.contains(secret), "{secret} is in {page}");
    }
    assert!(get("/health", &listen).contains("waiting: sending is paused since"));
    let metrics = get("/metrics", &listen);
    for line in [
        "# TYPE mailchute_outbox_rows gauge",
        "mailchute_outbox_rows{state=\"delivered\"} 3.0",
        "mailchute_overdue_seconds 0.0",
        "mailchute_health{state=\"waiting\"} 1.0",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let status = get("/status", &listen);
    let body: Value = serde_json::from_str(status.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(body["health"], "waiting");
    let rebound = get("/", "evil.example");
    assert!(rebound.starts_with("HTTP/1.1 421") && !rebound.contains("mailchute"), "{rebound}");
    assert!(get("/nothing", &listen).starts_with("HTTP/1.1 404"));
    // A port that somebody else has is said, and everything else goes on.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    bench.configure("metrics", &format!("listen = \"{}\"", taken.local_addr().unwrap()));
    said(&bench, 0, &["resume"]);
    bench.signal(Signal::HUP);
    bench.wait_until("the port is said", |bench| {
        bench.status()["reason"].to_string().contains("there is no status page")
    });
    bench.wait_until("the second receipt", |bench| bench.receipts().len() == 2);
    bench.stop();
}

fn ask(listen: &str, path: &str, host: &str) -> String {
    let mut stream = std::net::TcpStream::connect(listen).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
    text(&answer)
}
