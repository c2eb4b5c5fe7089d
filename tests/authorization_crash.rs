//! Invariant 3 under fire: the real program is killed at each step of a refresh, its disk fails at each write, twenty
//! processes refresh at once, and three years pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    env, fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::{Bench, DAEMON, UNLIMITED, counts, real_part, table, text};
use mailchute::clock::{Clock, MovableClock};
use mailchute::config::Config;
use mailchute::oauth::{Tokens, Unavailable};
use mailchute::sandbox::{Rotation, World};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

/// What the service usually has, and what nobody may count on.
const LEEWAYS: [Duration; 2] = [Duration::from_secs(30), Duration::ZERO];

/// A step of a refresh, the system call at which it is hit, and whether the old token is spent by then. The first write
/// of the store is the journal, the second the new pair; each begins by removing an older draft. The first connection is
/// for the refresh, the second for the first call with the new token.
const STEPS: [(&str, &str, &str, usize, bool); 8] = [
    ("before the journal", DRAFT, "unlink", 1, false),
    ("while the journal is written", DRAFT, "fsync", 1, false),
    ("before the journal's rename", DRAFT, "rename", 1, false),
    ("after the journal", ANYWHERE, "connect", 1, false),
    ("after the answer", DRAFT, "unlink", 2, true),
    ("while the new pair is written", DRAFT, "fsync", 2, true),
    ("before the rename", DRAFT, "rename", 2, true),
    ("after the rename", ANYWHERE, "connect", 2, false),
];
const DRAFT: &str = ".tokens.json.draft";
const FOLDER: &str = "";
const ANYWHERE: &str = "anywhere";

/// A world whose access token has ended, with a row that waits: the next run refreshes.
fn about_to_refresh(leeway: Duration) -> Bench {
    let bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
        settings.rotation = Rotation::Rotating { leeway };
    });
    bench.sandbox.change(World::expire_access_tokens);
    edit_store(&bench, |document| {
        document["access_expires_at"] = document["refreshed_at"].clone();
    });
    bench.drop_file("a.csv", table(0, 1));
    bench
}

fn stored(bench: &Bench) -> Value {
    serde_json::from_slice(&fs::read(bench.state().join("tokens.json")).unwrap()).unwrap()
}

fn edit_store(bench: &Bench, edit: impl FnOnce(&mut Value)) {
    let mut document = stored(bench);
    edit(&mut document);
    fs::write(bench.state().join("tokens.json"), document.to_string()).unwrap();
}

/// Runs the program once while strace does something at a system call on a file of the state folder.
fn run_injected(bench: &Bench, file: &str, call: &str, injection: &str) -> std::process::Output {
    let path = if file.is_empty() { bench.state() } else { bench.state().join(file) };
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-o", "/dev/null"]);
    if file != ANYWHERE {
        command.arg("-P").arg(path);
    }
    command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{injection}")]);
    command.args([DAEMON, "run", "--once", "--config"]).arg(bench.config()).output().unwrap()
}

/// What must hold after a refresh was hit: the authorization lives, or the need of a person is said exactly.
fn assert_mended(bench: &Bench, survives: bool, what: &str) {
    let state = || bench.status()["authorization"]["state"].as_str().unwrap().to_owned();
    if survives {
        bench.run_once(0);
        assert_eq!(counts(&bench.receipts()["a.csv"]), "1 created", "{what}");
        assert_eq!(
            (state().as_str(), bench.account(World::good_authorizations)),
            ("authorized", 1),
            "{what}"
        );
    } else {
        let said = bench.run_once(77);
        assert_eq!(state(), "needed", "{what}: {said}");
        let reason = bench.status()["reason"].as_str().unwrap().to_owned();
        assert!(
            reason.contains("was lost") && reason.contains("mailchute-auth --config"),
            "{what}: {reason}"
        );
    }
}

#[test]
fn killed_at_each_step_of_a_refresh_the_authorization_survives_where_it_can() {
    if !real_part("strace", "-V") {
        return;
    }
    for leeway in LEEWAYS {
        for (step, file, call, occurrence, spent) in STEPS {
            let bench = about_to_refresh(leeway);
            let output = run_injected(&bench, file, call, &format!("signal=SIGKILL:when={occurrence}"));
            assert!(!output.status.success() && output.status.code() != Some(77), "{step}: {output:?}");
            let refreshed = bench.account(World::refreshes);
            assert_eq!(refreshed, u64::from(occurrence == 2), "{step}: killed somewhere else");
            let what = format!("{step}, leeway {leeway:?}");
            assert_mended(&bench, !spent || !leeway.is_zero(), &what);
        }
    }
}

#[test]
fn killed_during_the_exchange_it_is_in_doubt_and_never_replayed_later() {
    for leeway in LEEWAYS {
        let mut bench = about_to_refresh(leeway);
        bench.sandbox.fault("token_slow=always").unwrap();
        bench.start();
        bench.wait_until("the exchange", |bench| bench.account(World::refreshes) == 1);
        bench.kill();
        bench.sandbox.calm();
        assert_eq!(bench.status()["authorization"]["state"], "in_doubt");
        assert_mended(&bench, !leeway.is_zero(), &format!("during the exchange, leeway {leeway:?}"));
    }
    let mut bench = about_to_refresh(LEEWAYS[0]);
    bench.sandbox.fault("token_slow=always").unwrap();
    bench.start();
    bench.wait_until("the exchange", |bench| bench.account(World::refreshes) == 1);
    bench.kill();
    bench.sandbox.calm();
    // The machine stayed off for two hours: now the old token would count as stolen.
    edit_store(&bench, |document| {
        let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
        document["spending_since"] = long_ago.to_string().into();
    });
    let said = bench.run_once(77);
    assert!(said.contains("mailchute-auth --config"), "{said}");
    assert_eq!(bench.status()["authorization"]["state"], "in_doubt");
    assert_eq!(bench.account(World::refreshes), 1, "it is not sent again");
    assert_eq!(bench.account(World::good_authorizations), 1, "and nothing that is good is ended");
}

#[test]
fn a_disk_that_fails_at_any_write_of_the_store_loses_no_token() {
    if !real_part("strace", "-V") {
        return;
    }
    // The folder is synced by the outbox, too: which of the first syncs are the store's differs.
    let places =
        [(DRAFT, "openat"), (DRAFT, "write"), (DRAFT, "fsync"), (DRAFT, "rename"), (FOLDER, "fsync")];
    let whens = |file: &str| if file == DRAFT { ["1", "2", "2..4"] } else { ["1", "2", "3..5"] };
    // They mostly wait for the next try: all at once.
    for error in ["ENOSPC", "EIO"] {
        std::thread::scope(|scope| {
            for (file, call) in places {
                for when in whens(file) {
                    scope.spawn(move || fails_and_mends(file, call, error, when));
                }
            }
        });
    }
}

/// The first write is the journal, the second the new pair.
fn fails_and_mends(file: &str, call: &str, error: &str, when: &str) {
    let what = format!("{call} of {file:?} {error} {when}");
    let bench = about_to_refresh(Duration::ZERO);
    let output = run_injected(&bench, file, call, &format!("error={error}:when={when}"));
    let said = text(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 75)), "{what}: {said}");
    if file == DRAFT {
        assert!(said.contains("token store") && said.contains("cannot"), "{what} is said: {said}");
    }
    if !bench.receipts().contains_key("a.csv") {
        bench.run_once(0);
    }
    assert_eq!(counts(&bench.receipts()["a.csv"]), "1 created", "{what}");
    let left = (stored(&bench)["spending_since"].is_null(), bench.account(World::good_authorizations));
    assert_eq!(left, (true, 1), "{what}");
}

/// Names the configuration for the process that is to refresh.
const CHILD: &str = "MAILCHUTE_TEST_REFRESHES";
const PROCESSES: usize = 20;

/// One of the twenty: waits for the word, then asks for a token instead of the one that was refused.
#[allow(clippy::print_stdout, reason = "the parent reads it there")]
fn refresh_as_child(config: &Path) {
    let config = Config::load(Some(config)).unwrap();
    let application = config.application().unwrap();
    let tokens = Tokens::open(&config.state, application, Clock::system().as_fn()).unwrap();
    let mut word = [0];
    std::io::stdin().read_exact(&mut word).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let token = runtime.block_on(tokens.refused(u64::from(word[0]))).unwrap();
    println!("generation {}", token.generation);
}

#[test]
fn twenty_processes_that_refresh_at_once_spend_each_token_once() {
    if let Some(config) = env::var_os(CHILD) {
        return refresh_as_child(Path::new(&config));
    }
    let bench = Bench::with(|settings| settings.rotation = Rotation::Rotating { leeway: Duration::ZERO });
    for round in 1..=3_u8 {
        let mut children: Vec<_> = (0..PROCESSES)
            .map(|_| {
                let mut command = Command::new(env::current_exe().unwrap());
                command.args([
                    "--exact",
                    "twenty_processes_that_refresh_at_once_spend_each_token_once",
                    "--nocapture",
                ]);
                command
                    .env(CHILD, bench.config())
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for child in &mut children {
            child.stdin.take().unwrap().write_all(&[round]).unwrap();
        }
        for child in children {
            let output = child.wait_with_output().unwrap();
            let said = text(&output.stdout);
            assert!(said.contains(&format!("generation {}\n", round + 1)), "round {round}: {said}");
        }
        assert_eq!(bench.account(World::refreshes), u64::from(round), "each token is spent once");
        assert_eq!(bench.account(World::good_authorizations), 1);
    }
}

/// Faults of a bad day, and how many of them there are in a row at most.
const BAD_DAYS: [&str; 6] = [
    "token_500=next:3",
    "token_429=next:2",
    "token_html_403=once",
    "token_lost=once",
    "token_invalid_client=next:2",
    "token_500=always",
];
const THREE_YEARS: usize = 3 * 365;

#[test]
fn in_three_years_of_bad_days_nobody_has_to_sign_in_again() {
    let bench = Bench::new();
    let application = Config::load(Some(&bench.config())).unwrap().application().unwrap();
    let clock = MovableClock::default();
    let open = || Arc::new(Tokens::open(&bench.state(), application.clone(), clock.clock().as_fn()).unwrap());
    let (mut tokens, mut luck, mut day, mut refreshes) = (open(), StdRng::seed_from_u64(3), 0, 0);
    let advance = |by: Duration| {
        clock.advance(by);
        bench.sandbox.change(|world| world.advance_clock(by));
    };
    while day < THREE_YEARS {
        // Usually a night, sometimes a fortnight's holiday with the machine off.
        let nights = if luck.random_bool(0.03) { luck.random_range(2..20) } else { 1 };
        day += nights;
        advance(Duration::from_hours(24 * u64::try_from(nights).unwrap()));
        if luck.random_bool(0.2) {
            bench.sandbox.calm();
            bench.sandbox.fault(BAD_DAYS[luck.random_range(0..BAD_DAYS.len())]).unwrap();
        }
        if luck.random_bool(0.1) {
            bench.sandbox.change(World::expire_access_tokens);
        }
        if luck.random_bool(0.1) {
            tokens = open();
        }
        // The day's work: looked at every quarter of an hour until it is done, in a service that recovers at noon.
        for quarter in 0..96 {
            if quarter == 48 {
                bench.sandbox.calm();
            }
            let got = bench.runtime().block_on(async {
                let token = tokens.access().await?;
                if luck.random_bool(0.05) { tokens.refused(token.generation).await } else { Ok(token) }
            });
            match got {
                Ok(token) => {
                    refreshes = token.generation;
                    break;
                }
                Err(Unavailable::Login { reason }) => panic!("day {day}: {reason}"),
                Err(Unavailable::Passing { .. } | Unavailable::Refused { .. }) => {
                    advance(Duration::from_mins(15));
                }
            }
            assert!(quarter < 95, "day {day}: not recovered");
        }
        bench.runtime().block_on(tokens.upkeep());
    }
    assert!(refreshes > 800, "it was refreshed {refreshes} times only");
    assert_eq!(bench.account(World::good_authorizations), 1);
}
