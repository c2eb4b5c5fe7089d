//! What a person reads: help, first steps, status, as text.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{fs, process::Command};

use common::{Bench, COMPANION, DAEMON, table, text};

fn run(program: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("HOME", home.path()).env("PATH", "/usr/bin:/bin");
    let output = command.output().unwrap();
    let plain = |bytes: &[u8]| text(bytes).replace(&home.path().display().to_string(), "HOME");
    (output.status.code(), plain(&output.stdout), plain(&output.stderr))
}

#[test]
fn every_commands_help_has_an_example() {
    for command in [
        "run", "status", "check", "queue", "explain", "add", "pause", "resume", "backup", "init", "demo",
        "sandbox",
    ] {
        let (status, help, _) = run(DAEMON, &[command, "--help"]);
        assert_eq!(status, Some(0));
        assert!(help.contains(&format!("Example:\n  mailchute {command}")), "{help}");
    }
    assert!(run(COMPANION, &["--help"]).1.contains("Example:\n  mailchute-auth"));
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [&["fly"][..], &["run", "--twice"], &[]] {
        assert_eq!(run(DAEMON, arguments).0, Some(2), "{arguments:?}");
    }
    assert_eq!(run(COMPANION, &["--fly"]).0, Some(2));
}

#[test]
fn without_a_configuration_it_says_how_to_get_one() {
    let (status, _, said) = run(DAEMON, &["status"]);
    assert_eq!(status, Some(78));
    insta::assert_snapshot!(said, @"mailchute: HOME/.config/mailchute/mailchute.toml: there is no configuration here, nor at /etc/mailchute/mailchute.toml: `mailchute init` writes one");
}

#[test]
fn init_writes_a_start_that_says_what_to_fill_in_and_never_overwrites() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("sub/mailchute.toml");
    let init = || Command::new(DAEMON).args(["init", "--config"]).arg(&file).output().unwrap();
    let plain = |bytes: &[u8]| text(bytes).replace(&home.path().display().to_string(), "HOME");
    let first = init();
    assert_eq!(first.status.code(), Some(0));
    insta::assert_snapshot!(plain(&first.stdout), @"
    Wrote HOME/sub/mailchute.toml. Next:
      1. fill in client_id, the secret's file and your list in it
      2. mailchute-auth --config HOME/sub/mailchute.toml
      3. mailchute check --config HOME/sub/mailchute.toml
      4. mailchute run --config HOME/sub/mailchute.toml
    ");
    let second = init();
    assert_eq!(second.status.code(), Some(1));
    insta::assert_snapshot!(plain(&second.stderr), @"mailchute: HOME/sub/mailchute.toml is there already and is left as it is");
    let status = Command::new(DAEMON).args(["status", "--config"]).arg(&file).output().unwrap();
    insta::assert_snapshot!(plain(&status.stderr), @"mailchute: HOME/sub/mailchute.toml:9: `application.client_id`: is not filled in: copy the API key (client id) from the developer portal's application page");
    let filled = fs::read_to_string(&file).unwrap().replace("<API key>", "5a4dbe55");
    fs::write(&file, filled).unwrap();
    let status = Command::new(DAEMON)
        .args(["status", "--config"])
        .arg(&file)
        .env("STATE_DIRECTORY", home.path())
        .output()
        .unwrap();
    assert_eq!(status.status.code(), Some(77), "{}", text(&status.stderr));
}

#[test]
fn status_tells_the_truth_in_one_screen() {
    let mut bench = Bench::new();
    let screen = |bench: &Bench| {
        let output = bench.command(&["status"]);
        let lines = text(&output.stdout).replace(&bench.home.path().display().to_string(), "HOME");
        let stable = lines.lines().filter(|line| {
            !["  sign-in", "  daemon", "  delivered"].iter().any(|start| line.starts_with(start))
        });
        let text = stable
            .map(|line| line.split(", new ones").next().unwrap_or_default().to_owned() + "\n")
            .collect::<String>();
        (output.status.code(), text)
    };
    bench.configure("api", "requests_per_day = 10000");
    bench.drop_file("a.csv", format!("{}bad\n", table(0, 3)));
    bench.drop_file("b.csv", "PK\u{3}\u{4}");
    bench.run_once(65);
    let (status, text) = screen(&bench);
    assert_eq!(status, Some(0));
    insta::assert_snapshot!(text, @"
    mailchute ok

      outbox     0 queued, 0 sending, 3 delivered, 0 unchanged, 1 rejected, 0 held
      calls      5 of 10000 today
      inbox      0 files wait, 1 failed
    ");
    let json = bench.status();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "version",
            "health",
            "reason",
            "overdue_seconds",
            "outbox",
            "authorization",
            "api",
            "inbox",
            "daemon",
            "last_delivery_at"
        ]
    );
    bench.sandbox.change(mailchute::sandbox::World::revoke_all);
    bench.drop_file("c.csv", table(3, 1));
    bench.run_once(77);
    let (status, text) = screen(&bench);
    assert_eq!(status, Some(77));
    assert!(text.starts_with("mailchute attention: the service ended the authorization"), "{text}");
}

#[test]
fn what_is_logged_and_told_holds_no_secret_and_no_whole_address() {
    let mut bench = Bench::new();
    bench.start();
    bench.drop_file("a.csv", format!("{}bad@,x,y\n", table(0, 3)));
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.sandbox.change(mailchute::sandbox::World::expire_access_tokens);
    bench.drop_file("b.csv", table(3, 2));
    bench.wait_until("the second receipt", |bench| bench.receipts().len() == 2);
    bench.stop();
    let tokens: serde_json::Value =
        serde_json::from_slice(&fs::read(bench.state().join("tokens.json")).unwrap()).unwrap();
    let told = format!("{}{}", bench.log(), bench.status());
    assert!(told.contains("tokens renewed"), "{told}");
    for secret in [
        "sandbox-secret",
        tokens["access_token"].as_str().unwrap(),
        tokens["refresh_token"].as_str().unwrap(),
        "person0@example.org",
    ] {
        assert!(!told.contains(secret), "{secret} is in {told}");
    }
    assert!(
        !fs::read(bench.state().join("outbox.db"))
            .unwrap()
            .windows(14)
            .any(|bytes| bytes == b"sandbox-secret")
    );
}

#[test]
fn a_first_start_makes_every_folder_that_nobody_named() {
    let bench = Bench::new();
    let text = fs::read_to_string(bench.config()).unwrap();
    fs::write(bench.config(), text.replace("spool = \"spool\"\n", "")).unwrap();
    let data = bench.home.path().join("data");
    let output = Command::new(DAEMON)
        .args(["run", "--once", "--config"])
        .arg(bench.config())
        .env("STATE_DIRECTORY", &data)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", common::text(&output.stderr));
    for folder in ["inbox", "done", "failed"] {
        assert!(data.join("spool").join(folder).is_dir(), "{folder}");
    }
}
