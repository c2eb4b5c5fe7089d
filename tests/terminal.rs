//! A terminal and everything else: colours and bars only for a person who looks, nothing but text for a pipe.
//!
//! The terminal is a real one, from `script` of util-linux.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::process::{Command, Stdio};

use common::{Bench, DAEMON, real_part, table, text};
use mailchute::outbox::Outbox;

const ESCAPE: char = '\u{1b}';
/// What a bar is drawn with.
const BLOCK: char = '█';

fn at_a_terminal(bench: &Bench, arguments: &str, environment: &[(&str, &str)]) -> String {
    at_a_terminal_with(bench, arguments, environment, 0)
}

fn at_a_terminal_with(bench: &Bench, arguments: &str, environment: &[(&str, &str)], status: i32) -> String {
    let command = format!("{DAEMON} {arguments} --config {}", bench.config().display());
    at_a_terminal_as_it_is(&command, environment, status)
}

fn at_a_terminal_as_it_is(command: &str, environment: &[(&str, &str)], status: i32) -> String {
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", command, "/dev/null"])
        .env_remove("NO_COLOR")
        .env("TERM", "xterm-256color")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(status), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Both streams of a command that nobody looks at.
fn piped(bench: &Bench, arguments: &[&str]) -> String {
    let output = bench.command(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

fn plain(said: &str) {
    assert!(!said.contains([ESCAPE, '\r', BLOCK]), "{said:?}");
}

#[test]
fn colour_is_for_a_terminal_and_for_nobody_who_does_not_want_it() {
    if !real_part("script", "--version") {
        return;
    }
    let bench = Bench::new();
    bench.run_once(0);
    let coloured = at_a_terminal(&bench, "status", &[]);
    assert!(coloured.contains("mailchute \u{1b}[1m\u{1b}[32mok\u{1b}[0m"), "{coloured:?}");
    for refused in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let said = at_a_terminal(&bench, "status", &[refused]);
        assert!(said.contains("mailchute ok") && !said.contains(ESCAPE), "{refused:?}: {said:?}");
    }
    assert!(
        at_a_terminal(&bench, "status", &[("NO_COLOR", "")]).contains(ESCAPE),
        "an empty NO_COLOR is none"
    );
    plain(&piped(&bench, &["status"]));
    // Log lines are coloured by the same rule.
    let logged = |environment: &[(&str, &str)]| {
        bench.drop_file("a.csv", "no table at all");
        at_a_terminal_with(&bench, "run --once -v", environment, 65)
    };
    let coloured = logged(&[]);
    assert!(coloured.contains("\u{1b}[33m WARN"), "{coloured:?}");
    let refused = logged(&[("NO_COLOR", "1")]);
    assert!(refused.contains(" WARN ") && !refused.contains("\u{1b}[33m"), "{refused:?}");
    plain(&piped(&bench, &["run", "--once", "-v"]));
}

#[test]
fn long_work_shows_a_bar_at_a_terminal_and_only_text_in_a_pipe() {
    if !real_part("script", "--version") {
        return;
    }
    let bench = Bench::new();
    bench.sandbox.fault("slow@sign_up_form=once").unwrap();
    bench.drop_file("a.csv", table(0, 60));
    let watched = at_a_terminal(&bench, "run --once", &[]);
    assert!(watched.contains("/60 rows") && watched.contains(BLOCK), "{watched:?}");
    assert!(watched.contains("60 created"), "{watched:?}");
    // A log line stands on a line of its own, not behind the bar.
    let lines = watched.split(['\r', '\n']).filter(|line| line.contains("taken in"));
    assert!(lines.clone().count() > 0 && lines.clone().all(|line| !line.contains(BLOCK)), "{watched:?}");
    bench.drop_file("b.csv", table(100, 5));
    plain(&piped(&bench, &["run", "--once"]));
    // A copy of more than one step has a bar: a few megabytes.
    Outbox::open(&bench.state()).unwrap().pause("", jiff::Timestamp::now()).unwrap();
    bench.drop_file("c.csv", table(1_000, 6_000));
    bench.run_once(75);
    let copy = |name: &str| bench.home.path().join(name).display().to_string();
    let watched = at_a_terminal(&bench, &format!("backup {}", copy("one.db")), &[]);
    assert!(watched.contains(" pages") && watched.contains("is a whole copy"), "{watched:?}");
    plain(&piped(&bench, &["backup", &copy("two.db")]));
}

#[test]
fn the_demo_shows_a_bar_at_a_terminal_and_only_text_in_a_pipe() {
    if !real_part("script", "--version") {
        return;
    }
    let watched = at_a_terminal_as_it_is(&format!("{DAEMON} demo --rows 1"), &[], 0);
    assert!(watched.contains(" rows") && watched.contains(BLOCK), "{watched:?}");
    assert!(watched.contains("The account holds exactly what it should."), "{watched:?}");
    let output = Command::new(DAEMON).args(["demo", "--rows", "1"]).output().unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && said.contains("The account holds exactly what it should."), "{said}");
    plain(&said);
}
