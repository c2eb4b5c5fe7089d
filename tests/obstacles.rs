//! What stands in the way: each obstacle has its exit status and a message that helps, and nothing is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{fs, process::Command, time::Duration};

use common::{Bench, counts, table, text};
use mailchute::sandbox::{Sandbox, World};

#[test]
fn without_a_sign_in_rows_are_taken_in_and_wait_for_it() {
    let mut bench = Bench::new();
    fs::remove_file(bench.state().join("tokens.json")).unwrap();
    bench.drop_file("a.csv", table(0, 3));
    let said = bench.run_once(77);
    assert!(
        said.contains(&format!(
            "3 rows wait for an authorization: sign in with `mailchute-auth --config {}`",
            bench.config().display()
        )),
        "{said}"
    );
    let status = bench.status();
    assert_eq!(
        (status["health"].as_str(), status["authorization"]["state"].as_str()),
        (Some("attention"), Some("none"))
    );
    assert_eq!(bench.command(&["status"]).status.code(), Some(77));
    bench.start();
    bench.wait_until("the daemon", |bench| bench.status()["daemon"]["running"] == true);
    bench.sign_in();
    bench.wait_at_most(Duration::from_secs(20), "the new sign-in is taken up", |bench| {
        bench.receipts().len() == 1
    });
    bench.wait_until("health", |bench| bench.status()["health"] == "ok");
    bench.stop();
}

#[test]
fn a_revoked_authorization_is_said_and_keeps_the_rows() {
    let bench = Bench::new();
    bench.sandbox.change(World::revoke_all);
    bench.drop_file("a.csv", table(0, 3));
    let said = bench.run_once(77);
    assert!(said.contains("the service ended the authorization"), "{said}");
    assert_eq!(bench.status()["authorization"]["state"], "needed");
    bench.sign_in();
    bench.run_once(0);
    assert_eq!(bench.account(World::contact_count), 3);
}

#[test]
fn a_list_that_is_missing_is_made_once_where_that_is_wanted_whatever_gets_lost() {
    for fault in ["", "lost@contact_lists=nth:2", "cut@contact_lists=nth:2", "500@contact_lists=nth:2"] {
        let mut bench = Bench::new();
        bench.configure("delivery", "create_lists = true");
        bench.route(&[(".", "Newsletter"), ("fans", "Fan Club"), ("more", "fan club")]);
        bench.drop_file("fans/a.csv", table(0, 2));
        bench.drop_file("more/b.csv", table(2, 2));
        if !fault.is_empty() {
            bench.sandbox.fault(fault).unwrap();
        }
        let inside = bench.start_inside();
        bench.wait_until("the receipts", |bench| {
            inside.advance(bench, Duration::from_secs(15));
            bench.receipts().len() == 2
        });
        inside.stop(&bench);
        bench.account(|world| {
            assert_eq!(world.members("Fan Club").len(), 4, "{fault}");
            assert_eq!(world.list_names(), ["Newsletter", "Fan Club"], "{fault}");
        });
    }
}

#[test]
fn a_kill_between_the_making_of_a_list_and_its_answer_makes_no_second_one() {
    let mut bench = Bench::new();
    bench.configure("delivery", "create_lists = true");
    bench.route(&[(".", "Newsletter"), ("fans", "Fan Club")]);
    bench.drop_file("fans/a.csv", table(0, 2));
    bench.sandbox.fault("slow@contact_lists=always").unwrap();
    bench.start();
    bench.wait_until("the list", |bench| bench.account(|world| world.list_names().len() == 2));
    bench.kill();
    bench.sandbox.calm();
    bench.run_once(0);
    bench.account(|world| {
        assert_eq!(world.list_names(), ["Newsletter", "Fan Club"]);
        assert_eq!(world.members("Fan Club").len(), 2);
    });
}

#[test]
fn a_list_that_cannot_be_made_stops_its_route_only() {
    let mut bench = Bench::new();
    bench.configure("delivery", "create_lists = true");
    let long = "x".repeat(256);
    bench.route(&[(".", "Newsletter"), ("long", &long)]);
    bench.drop_file("a.csv", table(0, 2));
    bench.drop_file("long/b.csv", table(2, 2));
    let said = bench.run_once(78);
    assert!(said.contains("and it could not be made: name is too long"), "{said}");
    assert_eq!(bench.account(World::contact_count), 2);
}

#[test]
fn a_list_that_the_account_refuses_holds_its_route_and_the_others_go_on() {
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (common::UNLIMITED, common::UNLIMITED);
        settings.lists.push("Members".to_owned());
    });
    bench.route(&[(".", "Newsletter"), ("members", "Members")]);
    bench.drop_file("a.csv", table(0, 1));
    bench.run_once(0);
    // Somebody deletes a list that was read before.
    bench.sandbox.change(|world| world.remove_list("Members"));
    let inside = bench.start_inside();
    bench.drop_file("members/b.csv", table(1, 300));
    bench.wait_until("the refusal", |bench| bench.status()["health"] == "attention");
    let reason = bench.status()["reason"].to_string();
    assert!(reason.contains("route `members`: the account "), "{reason}");
    bench.drop_file("c.csv", table(400, 20));
    bench.wait_until("the other route", |bench| bench.receipts().contains_key("c.csv"));
    // A few calls were under way: the others of the route were not even tried.
    let refused: u64 = bench.account(|world| {
        world.calls_by_status().iter().filter(|((_, status), _)| *status == 404).map(|(_, n)| n).sum()
    });
    assert!((1..=8).contains(&refused), "{refused} calls were refused");
    // Custom fields and lists are read again when one is unknown.
    bench.sandbox.change(|world| world.add_list("Members"));
    bench.wait_until("the route goes on", |bench| {
        inside.advance(bench, Duration::from_secs(15));
        bench.receipts().len() == 3
    });
    inside.stop(&bench);
    assert_eq!(counts(&bench.receipts()["b.csv"]), "300 created");
    bench.account(|world| assert_eq!(world.members("Members").len(), 300));
}

#[test]
fn a_field_that_the_account_refuses_is_left_out_and_said_or_refuses_its_row() {
    let rows = "email,first_name,last_name\nann@example.org,A. N.,Other\njoe@example.org,Joe,Doe\n";
    let mut bench = Bench::new();
    bench.sandbox.fault("strict_names=always").unwrap();
    bench.drop_file("a.csv", rows);
    bench.run_once(65);
    let receipt = &bench.receipts()["a.csv"];
    assert_eq!(counts(receipt), "1 created, 1 rejected");
    assert_eq!(receipt["rejected"][0]["field"], "first_name");

    bench.configure("inbox", "on_bad_field = \"drop\"");
    bench.drop_file("b.csv", rows);
    bench.run_once(0);
    let receipt = &bench.receipts()["b.csv"];
    assert_eq!(counts(receipt), "1 created, 1 unchanged");
    let note = &receipt["notes"][0];
    assert_eq!((note["line"].as_u64(), note["field"].as_str()), (Some(2), Some("first_name")));
    assert_eq!(note["reason"], "left out: the account refuses it: first_name is invalid");
    bench.account(|world| {
        let ann = world.contact("ann@example.org").unwrap();
        assert_eq!((ann.details.get("first_name"), ann.details["last_name"].as_str()), (None, Some("Other")));
        assert_eq!(world.calls("sign_up_form"), 4);
    });
    // The same export again costs nothing, although not all of it is in the account.
    bench.drop_file("c.csv", rows);
    bench.run_once(0);
    assert_eq!(counts(&bench.receipts()["c.csv"]), "2 unchanged");
    assert_eq!(bench.sign_up_calls(), 4);
}

#[test]
fn a_wrong_list_name_stops_its_route_only() {
    let mut bench = Bench::new();
    bench.route(&[(".", "Newsletter"), ("members", "Newslettr"), ("fans", "Fan Club")]);
    bench.drop_file("a.csv", table(0, 2));
    bench.drop_file("members/b.csv", table(2, 2));
    bench.drop_file("fans/c.csv", table(4, 2));
    let said = bench.run_once(78);
    assert!(
        said.contains("route `members`: the account has no list `Newslettr`; did you mean `Newsletter`?"),
        "{said}"
    );
    assert!(said.contains("route `fans`: the account has no list `Fan Club`; it has: Newsletter"), "{said}");
    assert_eq!(bench.account(World::contact_count), 2, "the other route goes on");
    let status = bench.status();
    assert_eq!(
        (status["health"].as_str(), status["outbox"]["queued"].as_u64()),
        (Some("attention"), Some(4))
    );
    bench.sandbox.change(|world| world.add_list("Fan Club"));
    bench.route(&[(".", "Newsletter"), ("members", "Newsletter"), ("fans", "Fan Club")]);
    let inside = bench.start_inside();
    bench.wait_until("the list is found", |bench| {
        inside.advance(bench, Duration::from_mins(1));
        bench.receipts().len() == 3
    });
    inside.stop(&bench);
    assert_eq!(bench.account(|world| world.members("Fan Club").len()), 2);
    assert_eq!(bench.status()["health"], "ok");
}

#[test]
fn an_account_that_cannot_be_reached_leaves_the_rows_waiting() {
    let mut bench = Bench::new();
    bench.drop_file("a.csv", table(0, 2));
    let elsewhere =
        bench.runtime().block_on(Sandbox::start(mailchute::sandbox::Settings::default())).unwrap();
    let old = std::mem::replace(&mut bench.sandbox, elsewhere);
    drop(old);
    let said = bench.run_once(69);
    assert!(
        said.contains("the account cannot be reached; 2 rows wait and are tried at the next run"),
        "{said}"
    );
    assert_eq!(bench.status()["outbox"]["queued"], 2);
}

#[test]
fn a_configuration_that_is_missing_or_wrong_is_status_78_with_its_place() {
    let bench = Bench::new();
    let good = fs::read_to_string(bench.config()).unwrap();
    let said = |text: &str| {
        fs::write(bench.config(), text).unwrap();
        let output = bench.command(&["run", "--once"]);
        assert_eq!(output.status.code(), Some(78));
        common::text(&output.stderr).replace(&bench.home.path().display().to_string(), "HOME")
    };
    insta::assert_snapshot!(said(&good.replace("spool =", "spol =")), @"mailchute: HOME/mailchute.toml:1: `spol`: there is no such key; did you mean `spool`?");
    insta::assert_snapshot!(said(&good.replace("\"spool\"", "\"elsewhere\"")), @"mailchute: HOME/mailchute.toml: `spool`: there is no folder HOME/elsewhere: make it (`mkdir -p HOME/elsewhere`), mount it, or name another");
    insta::assert_snapshot!(said("spool = "), @"mailchute: HOME/mailchute.toml:1: `spool`: string values must be quoted, expected literal string");
    let consent = said(&good.replace("consent = \"explicit\"\n", ""));
    assert!(
        consent.contains("`route.consent`: is missing. Say \"explicit\" when each person asked"),
        "{consent}"
    );
    fs::remove_file(bench.config()).unwrap();
    let output = bench.command(&["run"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("cannot be read: No such file"), "{}", text(&output.stderr));
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let bench = Bench::new();
    let secret = bench.home.path().join("client_secret");
    fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let output = bench.command(&["run", "--once"]);
    assert_eq!(output.status.code(), Some(78));
    let said = text(&output.stderr);
    assert!(said.contains("chmod 600") && !said.contains("sandbox-secret"), "{said}");
}

#[test]
fn a_second_daemon_is_refused_with_the_firsts_pid() {
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until("the daemon", |bench| bench.status()["daemon"]["running"] == true);
    let output = bench.command(&["run"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains(&format!("(pid {})", bench.pid().as_raw_nonzero())), "{said}");
    bench.stop();
}

#[test]
fn a_spool_that_goes_away_and_comes_back_is_only_a_delay() {
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until("the daemon", |bench| bench.status()["daemon"]["running"] == true);
    let away = bench.home.path().join("away");
    fs::rename(bench.spool(), &away).unwrap();
    bench.wait_until("the daemon says it", |bench| bench.status()["health"] == "waiting");
    assert!(bench.status()["reason"].as_str().unwrap().contains("mount it or make it again"));
    fs::rename(&away, bench.spool()).unwrap();
    bench.drop_file("a.csv", table(0, 2));
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.wait_until("health", |bench| bench.status()["health"] == "ok");
    bench.stop();
}

/// A small file system of its own, unmounted at the end.
struct Disk(std::path::PathBuf);

impl Disk {
    /// `None` where mounting is not allowed, which is said.
    fn mount(at: &std::path::Path, size: &str) -> Option<Self> {
        let options = format!("size={size},mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        assert!(std::env::var_os("CI").is_none(), "this test must be allowed to mount a tmpfs");
        let _nobody_reads = std::io::Write::write_all(
            &mut std::io::stderr(),
            b"NOT RUN: this test needs the right to mount a tmpfs\n",
        );
        None
    }

    fn remount(&self, how: &str) {
        let status =
            Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").args(["--lazy".as_ref(), self.0.as_os_str()]).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_and_goes_on_when_there_is_room() {
    let mut bench = Bench::new();
    let Some(disk) = Disk::mount(&bench.state(), "16m") else { return };
    bench.sign_in();
    bench.start();
    bench.wait_until("the daemon", |bench| bench.status()["daemon"]["running"] == true);
    let filler = disk.0.join("filler");
    let _full = fs::write(&filler, vec![0; 32 << 20]);
    bench.drop_file("a.csv", table(0, 300));
    bench.wait_until("the daemon says it", |bench| bench.log().contains("the outbox cannot be written"));
    assert!(bench.inbox().join("a.csv").exists(), "the file stays in the inbox");
    fs::remove_file(&filler).unwrap();
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    assert_eq!(counts(&bench.receipts()["a.csv"]), "300 created");
    bench.stop();
}

#[test]
fn a_write_protected_spool_keeps_files_where_they_are_until_it_is_writable() {
    let mut bench = Bench::new();
    let Some(disk) = Disk::mount(&bench.spool(), "4m") else { return };
    for folder in ["inbox", "done", "failed"] {
        fs::create_dir_all(bench.spool().join(folder)).unwrap();
    }
    bench.start();
    bench.wait_until("the daemon", |bench| bench.status()["daemon"]["running"] == true);
    bench.drop_file("a.csv", table(0, 3));
    disk.remount("ro");
    bench.wait_until("the rows are delivered or the file waits", |bench| {
        bench.account(World::contact_count) == 3 || bench.status()["health"] == "waiting"
    });
    disk.remount("rw");
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    assert_eq!(bench.files("inbox").len(), 0);
    assert_eq!(bench.account(World::contact_count), 3);
    bench.stop();
}

#[test]
fn a_write_protected_state_folder_is_said_at_the_start() {
    let bench = Bench::new();
    let Some(disk) = Disk::mount(&bench.state(), "1m") else { return };
    bench.sign_in();
    disk.remount("ro");
    bench.drop_file("a.csv", table(0, 2));
    let said = bench.run_once(1);
    assert!(said.contains("Read-only file system"), "{said}");
    disk.remount("rw");
    bench.run_once(0);
    assert_eq!(bench.account(World::contact_count), 2);
}

#[test]
fn a_disk_that_becomes_write_protected_under_the_outbox_is_said_and_waited_out() {
    if !common::real_part("strace", "-V") {
        return;
    }
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until("the daemon", |bench| bench.log().contains("ready"));
    // Every write into the outbox's log fails, as on a file system that the kernel has remounted.
    let mut strace = Command::new("strace")
        .args(["-f", "-qq", "-p", &bench.pid().as_raw_nonzero().to_string(), "-o"])
        .arg(bench.home.path().join("strace"))
        .args(["-e", "trace=pwrite64", "-e", "inject=pwrite64:error=EROFS", "-P"])
        .arg(bench.state().join("outbox.db-wal"))
        .spawn()
        .unwrap();
    let tracer = |bench: &Bench| {
        let status = fs::read_to_string(format!("/proc/{}/status", bench.pid().as_raw_nonzero()));
        status
            .unwrap_or_default()
            .lines()
            .any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0"))
    };
    bench.wait_until("strace holds it", tracer);
    bench.drop_file("a.csv", table(0, 3));
    bench.wait_until("it is said", |bench| {
        bench.log().contains("the outbox cannot be written; files stay in the inbox")
    });
    assert!(bench.inbox().join("a.csv").exists(), "the file stays in the inbox");
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(i32::try_from(strace.id()).unwrap()).unwrap(),
        rustix::process::Signal::INT,
    )
    .unwrap();
    strace.wait().unwrap();
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    assert_eq!(counts(&bench.receipts()["a.csv"]), "3 created");
    bench.stop();
}

#[test]
fn an_outbox_that_is_copied_with_its_log_while_the_daemon_runs_is_whole() {
    let mut bench = Bench::new();
    bench.start();
    bench.drop_file("a.csv", table(0, 40));
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    // Nothing was moved from the log into the file yet: the file alone is an older outbox.
    let copy = bench.home.path().join("copy");
    fs::create_dir(&copy).unwrap();
    for name in ["outbox.db", "outbox.db-wal"] {
        fs::copy(bench.state().join(name), copy.join(name)).unwrap();
    }
    let mut outbox = mailchute::outbox::Outbox::open_to_look(&copy).unwrap().expect("an outbox");
    assert_eq!(outbox.totals().unwrap().counts.created, 40);
    drop(outbox);
    let alone = bench.home.path().join("alone");
    fs::create_dir(&alone).unwrap();
    fs::copy(bench.state().join("outbox.db"), alone.join("outbox.db")).unwrap();
    // It is either no outbox yet or one with fewer rows, and never one that is taken for damaged or written anew.
    let looked = mailchute::outbox::Outbox::open_to_look(&alone).unwrap();
    let known = looked.map_or(0, |mut outbox| outbox.totals().unwrap().counts.created);
    assert!(known < 40, "the README says that a plain copy of the file alone is no backup");
    bench.stop();
}
