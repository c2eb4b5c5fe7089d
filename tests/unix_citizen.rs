//! The daemon among other programs: what systemd is told, signals, a second daemon, a reader that goes away.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    fs,
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use common::{Bench, DAEMON, PATIENCE, table, text};
use mailchute::sandbox::World;
use rustix::process::Signal;

/// systemd's end of the notification socket.
struct Manager(UnixDatagram);

impl Manager {
    fn new(bench: &Bench) -> Self {
        let socket = UnixDatagram::bind(bench.home.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        Self(socket)
    }

    fn start(bench: &mut Bench, more: &[(&str, &str)]) -> Self {
        let manager = Self::new(bench);
        let path = bench.home.path().join("notify").display().to_string();
        bench.start_with(&[&[("NOTIFY_SOCKET", path.as_str())], more].concat());
        manager
    }

    /// The next message, if one comes within a second.
    fn next(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        self.0.recv(&mut buffer).ok().map(|length| text(&buffer[..length]))
    }

    /// Waits for a message that begins so, and gives what came before it, too.
    fn until(&self, start: &str) -> Vec<String> {
        let (mut came, ends) = (Vec::new(), Instant::now() + PATIENCE);
        while Instant::now() < ends {
            came.extend(self.next());
            if came.last().is_some_and(|message| message.starts_with(start)) {
                return came;
            }
        }
        panic!("no {start} but {came:?}");
    }

    /// Reads until nothing came for a second.
    fn drain(&self) {
        while self.next().is_some() {}
    }
}

#[test]
fn systemd_is_told_of_start_health_reload_and_stop() {
    let mut bench = Bench::new();
    let manager = Manager::start(&mut bench, &[]);
    // Loops turn before it is said that they do: the sentence may be the first of the two.
    let mut came = manager.until("READY=1");
    let is_sentence = |message: &String| message.starts_with("STATUS=");
    if !came.iter().any(is_sentence) {
        came.extend(manager.until("STATUS="));
    }
    let sentences: Vec<&str> =
        came.iter().filter(|message| is_sentence(message)).map(|status| status.trim_end()).collect();
    assert_eq!(sentences, ["STATUS=ok"]);
    bench.signal(Signal::HUP);
    let reloading = manager.until("RELOADING=1").pop().unwrap();
    assert!(reloading.contains("\nMONOTONIC_USEC="), "one message says both: {reloading}");
    manager.until("READY=1");
    bench.sandbox.change(World::revoke_all);
    bench.drop_file("a.csv", table(0, 1));
    manager.until("STATUS=attention: the service ended the authorization");
    bench.signal(Signal::TERM);
    manager.until("STOPPING=1");
    assert!(bench.wait_for_end().success());
}

#[test]
fn the_watchdog_is_fed_by_both_loops_and_starves_when_one_of_them_hangs() {
    let mut bench = Bench::new();
    let manager = Manager::start(&mut bench, &[("WATCHDOG_USEC", "2000000")]);
    manager.until("WATCHDOG=1");
    manager.until("WATCHDOG=1");
    // The inbox waits for a lock that somebody else holds: it hangs in the midst of its work.
    let stray = rusqlite::Connection::open(bench.state().join("outbox.db")).unwrap();
    stray.execute_batch("BEGIN IMMEDIATE").unwrap();
    bench.drop_file("a.csv", table(0, 3));
    let began = Instant::now();
    let mut quiet = 0;
    while quiet < 3 {
        assert!(began.elapsed() < PATIENCE, "the pings go on while a loop hangs");
        let pinged = manager.next().is_some_and(|message| message.starts_with("WATCHDOG=1"));
        quiet = if pinged { 0 } else { quiet + 1 };
    }
    stray.execute_batch("ROLLBACK").unwrap();
    manager.until("WATCHDOG=1");
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.stop();
}

#[test]
fn a_new_configuration_is_checked_and_then_swapped_and_a_bad_one_changes_nothing() {
    let mut bench = Bench::new();
    bench.sandbox.change(|world| world.add_list("Members"));
    let manager = Manager::start(&mut bench, &[]);
    manager.until("READY=1");
    let pid = bench.pid();
    let good = fs::read_to_string(bench.config()).unwrap();
    for (bad, said) in [
        (good.replace("consent", "consnet"), "did you mean `consent`?"),
        (good.replace("state = \"state\"", "state = \"other\""), "a running daemon keeps its state folder"),
        (good.replace("\"client_secret\"", "\"nowhere\""), "nowhere cannot be read"),
    ] {
        fs::write(bench.config(), bad).unwrap();
        bench.signal(Signal::HUP);
        manager.until("RELOADING=1");
        manager.until("READY=1");
        assert!(bench.log().contains(said), "{}", bench.log());
        fs::write(bench.config(), &good).unwrap();
        let status = bench.status();
        assert_eq!(status["health"], "attention");
        let reason = status["reason"].as_str().unwrap();
        assert!(reason.contains("the one before stays") && reason.contains(said), "{reason}");
    }
    bench.drop_file("a.csv", table(0, 2));
    bench.wait_until("the old configuration works on", |bench| bench.receipts().len() == 1);
    bench.route(&[(".", "Newsletter"), ("members", "Members")]);
    manager.drain();
    bench.signal(Signal::HUP);
    manager.until("READY=1");
    bench.drop_file("members/b.csv", table(2, 2));
    let mut swapped = |bench: &Bench| bench.receipts().len() == 2;
    bench.wait_until("the new route works", &mut swapped);
    assert_eq!(bench.account(|world| world.members("Members").len()), 2);
    bench.wait_until("health", |bench| bench.status()["health"] == "ok");
    assert_eq!(bench.pid(), pid, "the same process");
    bench.stop();
}

#[test]
fn a_second_daemon_is_refused_with_the_firsts_pid() {
    let mut bench = Bench::new();
    bench.start();
    bench.wait_until("the daemon", |bench| bench.status()["daemon"]["running"] == true);
    let second = bench.command(&["run"]);
    assert_eq!(second.status.code(), Some(1));
    let pid = bench.pid().as_raw_nonzero().to_string();
    assert!(text(&second.stderr).contains(&format!("(pid {pid})")), "{}", text(&second.stderr));
    bench.stop();
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bench = Bench::new();
    bench.drop_file("a.csv", table(0, 3));
    bench.run_once(0);
    let (bad, somebody) = ("bad.csv", common::address(1));
    bench.drop_file(bad, "email\nnobody\n");
    bench.run_once(65);
    for arguments in [
        &["status"][..],
        &["status", "--json"],
        &["check"],
        &["queue", "list"],
        &["queue", "list", "--json"],
        &["explain", &somebody],
        &["explain", &somebody, "--json"],
        &["explain", &somebody, "--live"],
        &["run", "--once"],
    ] {
        let mut command = Command::new(DAEMON);
        command.args(arguments).arg("--config").arg(bench.config());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Nobody reads: the pipe is broken before the first line.
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn a_look_now_finds_what_the_next_rescan_would_have() {
    let mut bench = Bench::new();
    bench.configure("inbox", "watch = \"polling\"");
    bench.configure("inbox", "rescan = \"1h\"");
    bench.start();
    bench.wait_until("the daemon", |bench| bench.log().contains("ready"));
    bench.drop_file("a.csv", table(0, 1));
    bench.signal(Signal::USR1);
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.stop();
}
