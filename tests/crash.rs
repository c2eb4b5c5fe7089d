//! Invariants 1 and 2: the real program is killed at any instant, and in the end every row and every file is where it
//! belongs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use common::{Bench, DAEMON, address, assert_adds_up, counts, real_part, table, text};
use mailchute::sandbox::World;
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Kills of the test at random instants.
const KILLS: usize = 220;
/// The longest that a process lives before it is killed: long enough to read, send and answer a few files.
const LONGEST_LIFE: Duration = Duration::from_millis(160);

/// How far the clocks move at each look when the kills are over.
const STRIDE: Duration = Duration::from_mins(1);

/// Rows of the file of the named steps: so many that one thread receives several answers.
const ROWS: usize = 6;

/// Every step at which a process must have been killed for the proof to hold.
const STEPS: [&str; 8] = [
    "after the file was read",
    "after its rows were committed",
    "before the archive rename",
    "after the archive rename",
    "before a call",
    "after a call",
    "before its result was written",
    "after its result was written",
];

/// System calls at which processes are killed, each at its first, second, … occurrence; of the many writes to the
/// outbox, which come in pairs for a page, every fifth is enough.
const KILLED_AT: [(&str, usize); 8] = [
    ("read", 1),
    ("mkdir", 1),
    ("renameat2", 1),
    ("rename", 1),
    ("fsync", 1),
    ("writev", 1),
    ("recvfrom", 1),
    ("pwrite64", 5),
];
/// More occurrences than a run has.
const MOST_OCCURRENCES: usize = 200;

fn assert_settled(bench: &Bench, rows: usize, files: usize) {
    assert_eq!(bench.files("inbox"), Vec::<std::path::PathBuf>::new(), "nothing is left in the inbox");
    let receipts = bench.receipts();
    assert_eq!(receipts.len(), files, "each file has a receipt");
    receipts.values().for_each(assert_adds_up);
    let half = bench
        .files("done")
        .into_iter()
        .find(|path| path.file_name().unwrap().to_string_lossy().starts_with('.'));
    assert_eq!(half, None, "nothing is half written");
    bench.account(|world| {
        let missing: Vec<_> =
            (0..rows).map(address).filter(|address| world.contact(address).is_none()).collect();
        assert_eq!(missing, Vec::<String>::new());
        assert_eq!(world.members("Newsletter").len(), rows);
    });
}

#[test]
fn killed_at_two_hundred_random_instants_every_row_arrives() {
    let mut bench = Bench::new();
    let mut luck = StdRng::seed_from_u64(42);
    let (mut rows, mut bad) = (0, 0);
    for kill in 0..KILLS {
        if kill % 2 == 0 {
            let good = luck.random_range(1..5);
            bench.drop_file(&format!("f{kill:03}.csv"), format!("{}bad,Bad,Row\n", table(rows, good)));
            rows += good;
            bad += 1;
        }
        bench.start();
        let end = Instant::now() + LONGEST_LIFE.mul_f64(luck.random::<f64>());
        bench.wait_until("its random end", |_| Instant::now() >= end);
        bench.kill();
    }
    // A call that a kill cut short was a try all the same, and an address is tried only so often in a day.
    let inside = bench.start_inside();
    bench.wait_until("all receipts", |bench| {
        inside.advance(bench, STRIDE);
        bench.receipts().len() == bad
    });
    inside.stop(&bench);
    assert_settled(&bench, rows, bad);
    for (name, receipt) in bench.receipts() {
        assert_eq!(receipt["counts"]["rejected"], 1, "{name}: {receipt}");
        let delivered =
            receipt["counts"]["created"].as_u64().unwrap() + receipt["counts"]["updated"].as_u64().unwrap();
        assert_eq!(delivered + 1, receipt["rows"].as_u64().unwrap(), "{name}: {receipt}");
    }
}

/// Runs the program once and kills it at the n-th call of a kind. Gives the trace if it was killed.
fn killed_at(bench: &Bench, call: &str, occurrence: usize) -> Option<String> {
    let trace = bench.home.path().join("trace");
    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-s",
        "64",
        "-y",
        "-e",
        "trace=read,mkdir,renameat2,rename,fsync,writev,recvfrom,pwrite64",
    ]);
    command.arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={occurrence}"));
    command.arg("-o").arg(&trace).args([DAEMON, "run", "--once", "--config"]).arg(bench.config());
    let output = command.output().unwrap();
    let trace = fs::read_to_string(trace).unwrap();
    if output.status.code().is_some() && !trace.contains("killed by SIGKILL") {
        assert_eq!(output.status.code(), Some(65), "{}", text(&output.stderr));
        return None;
    }
    Some(trace)
}

/// The lines of a trace with calls that another thread interrupted put together again, in the order of their ends; the
/// calls that never ended come last.
fn calls(trace: &str) -> Vec<String> {
    let (mut ended, mut begun) = (Vec::new(), std::collections::BTreeMap::new());
    for line in trace.lines() {
        let (thread, call) = line.split_once(' ').unwrap_or_default();
        if let Some(start) = call.trim_start().strip_suffix("<unfinished ...>") {
            begun.insert(thread, start.to_owned());
        } else if let Some((_, rest)) = call.split_once(" resumed>") {
            ended.push(begun.remove(thread).unwrap_or_default() + rest);
        } else {
            ended.push(call.trim_start().to_owned());
        }
    }
    ended.extend(begun.into_values());
    ended
}

/// The last step that a trace passed before the kill.
fn step(trace: &str) -> &'static str {
    let mut step = "before anything";
    let mut sent = false;
    for line in calls(trace) {
        // strace leaves a call that was killed without a result.
        let ended = line.contains(") = ") && !line.contains(") = ?");
        let after = |before: &'static str, after: &'static str| if ended { after } else { before };
        if line.starts_with("read(") && line.contains("/inbox/a.csv>") {
            step = "after the file was read";
        } else if line.starts_with("fsync(") && line.contains("outbox.db-wal") {
            step = match step {
                "after the file was read" => after(step, "after its rows were committed"),
                "before its result was written" => after(step, "after its result was written"),
                step => step,
            };
        } else if line.starts_with("renameat2(") {
            step = after("before the archive rename", "after the archive rename");
        } else if line.contains("POST /v3/contacts/sign_up_form") {
            sent |= ended;
            step = after("before a call", "after a call");
        } else if sent && line.starts_with("recvfrom(") && line.contains("HTTP/1.1 20") {
            step = "before its result was written";
        }
    }
    step
}

/// Between a call and its answer there is no system call that surely comes: here the service itself says that the call
/// came, and is late with its answer.
fn killed_while_the_account_answers(bench: &mut Bench) -> &'static str {
    bench.sandbox.fault("slow@sign_up_form=always").unwrap();
    bench.start();
    bench.wait_until("a call", |bench| bench.account(World::contact_count) > 1);
    bench.kill();
    bench.sandbox.calm();
    "after a call"
}

/// Kills at the n-th call of a kind on the dropped file or on the outbox's log alone. strace counts for each thread by
/// itself, and in a count of all calls the few of a thread that does one thing only are never met.
fn killed_over_the_file(bench: &Bench, call: &str, occurrence: usize) -> &'static str {
    let trace = bench.home.path().join("trace");
    let mut command = Command::new("strace");
    command.args(["-f", "-y", "-e", "trace=read,pwrite64,fsync,renameat2"]);
    command.arg("-e").arg(format!("inject={call}:signal=SIGKILL:when={occurrence}"));
    command.arg("-P").arg(bench.inbox().join("a.csv")).arg("-P").arg(bench.state().join("outbox.db-wal"));
    command.arg("-o").arg(&trace).args([DAEMON, "run", "--once", "--config"]).arg(bench.config());
    command.output().unwrap();
    step(&fs::read_to_string(trace).unwrap())
}

/// Kills on until a step was met, and looks at what comes of that.
fn killed_at_step(wanted: &'static str, call: &str) -> &'static str {
    for occurrence in 1..MOST_OCCURRENCES {
        let bench = about_to_take_in();
        if killed_over_the_file(&bench, call, occurrence) == wanted {
            assert_mended(&bench, wanted);
            return wanted;
        }
    }
    panic!("not killed {wanted}")
}

/// A world whose account is known already, so that the first call is the one that matters, and a file to be killed over.
fn about_to_take_in() -> Bench {
    let bench = Bench::new();
    bench.drop_file("first.csv", table(0, 1));
    bench.run_once(0);
    bench.drop_file("a.csv", format!("{}bad,Bad,Row\n", table(1, ROWS)));
    bench
}

fn assert_mended(bench: &Bench, kill: &str) {
    bench.run_once(if bench.receipts().contains_key("a.csv") { 0 } else { exit_after(bench) });
    assert_settled(bench, 1 + ROWS, 2);
    let told = counts(&bench.receipts()["a.csv"]);
    assert!(told.ends_with("1 rejected"), "{kill}: {told}");
}

#[test]
fn killed_at_each_named_step_every_row_arrives() {
    if !real_part("strace", "-V") {
        return;
    }
    let mut seen = BTreeSet::new();
    for (call, stride) in KILLED_AT {
        for occurrence in (1..MOST_OCCURRENCES).step_by(stride) {
            let bench = about_to_take_in();
            let Some(trace) = killed_at(&bench, call, occurrence) else { break };
            seen.insert(step(&trace));
            assert_mended(&bench, &format!("{call} {occurrence}"));
        }
    }
    seen.insert(killed_at_step("after the file was read", "read"));
    seen.insert(killed_at_step("after its rows were committed", "pwrite64"));
    let mut bench = about_to_take_in();
    seen.insert(killed_while_the_account_answers(&mut bench));
    assert_mended(&bench, "while the account answers");
    let missed: Vec<_> = STEPS.into_iter().filter(|step| !seen.contains(step)).collect();
    assert_eq!(missed, Vec::<&str>::new(), "killed only at {seen:?}");
}

/// The run after the kill says 65 when it is the one that records the refused row.
fn exit_after(bench: &Bench) -> i32 {
    let recorded = bench.status()["outbox"]["rejected"] == 1;
    if recorded { 0 } else { 65 }
}
