//! How fast rows leave, and what waiting costs: `cargo bench --bench drain [-- latency pace million idle]`.
//!
//! Runs the real daemon against the sandbox. Pace is reported as a ratio to the account's limit; the others are promises
//! in units of their own. Without words all four are measured, which takes about half an hour: `pace` and `idle` last ten
//! minutes each. Ends with status 1 when a figure is worse than what the project promises.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench that cannot go on says so at once"
)]

#[path = "../../tests/common/mod.rs"]
mod common;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs, thread,
    time::{Duration, Instant},
};

use common::{Bench, UNLIMITED, address, assert_adds_up};
use mailchute::sandbox::{Limiter, Permission};

/// From the rename of a form's file to its call at the account.
const FORM_MEDIAN: Duration = Duration::from_millis(100);
/// Forms that are measured, and the pause between them: each finds the daemon idle and the account's second empty.
const FORMS: usize = 40;
const FORM_PAUSE: Duration = Duration::from_millis(400);
/// How often the account is looked at; adds half of it to each time.
const LOOK: Duration = Duration::from_millis(1);
/// How long the pace and the idle daemon are watched.
const LONG: Duration = Duration::from_mins(10);
/// Calls in a second, and what of them must be reached.
const PER_SECOND: u32 = 4;
const PACE: f64 = 3.9;
/// Rows with implicit consent, and what they may cost.
const MILLION: usize = 1_000_000;
const MOST_IMPORTS: u64 = 30;
const MOST_OTHER_CALLS: u64 = 200;
const MOST_MEMORY_KIB: u64 = 64 << 10;
/// A sign-up among them.
const FIRST_CALL: Duration = Duration::from_secs(1);
/// An idle daemon's share of a processor, and its memory.
const IDLE_CPU: f64 = 0.001;
const IDLE_MEMORY_KIB: u64 = 16 << 10;
/// What the kernel counts processor time in: `getconf CLK_TCK` is 100 on every Linux that Rust runs on.
const TICK: Duration = Duration::from_millis(10);
/// What the million takes at most on a slow machine.
const PATIENCE: Duration = Duration::from_mins(30);

/// What is measured, by name; says whether all was as promised.
type Part = (&'static str, fn() -> bool);

fn main() {
    let wanted: BTreeSet<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let parts: [Part; 4] = [("latency", latency), ("pace", pace), ("million", million), ("idle", idle)];
    let mut good = true;
    for (name, part) in parts {
        if wanted.is_empty() || wanted.contains(name) {
            good &= part();
        }
    }
    println!("{}", if good { "all within what is promised" } else { "NOT within what is promised" });
    std::process::exit(i32::from(!good));
}

/// One sign-up on an idle daemon, from the rename to the call.
fn latency() -> bool {
    let mut bench = Bench::with(|settings| settings.requests_per_day = UNLIMITED);
    bench.start();
    bench.drop_file("first.csv", common::table(0, 1));
    bench.wait_until("the first call", |bench| bench.sign_up_calls() == 1);
    let mut times: Vec<Duration> = (1..=FORMS)
        .map(|number| {
            thread::sleep(FORM_PAUSE);
            let calls = bench.sign_up_calls();
            let began = Instant::now();
            bench.drop_file(&format!("{number}.csv"), common::table(number, 1));
            while bench.sign_up_calls() == calls {
                thread::sleep(LOOK);
            }
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("{FORMS} sign-ups on an idle daemon, drop to call: median {median:.1?}, worst {worst:.1?}");
    median <= FORM_MEDIAN
}

/// Calls that the account took in ten minutes, as a ratio to its limit.
fn pace() -> bool {
    let ahead = Duration::from_millis(370);
    let limiters = [
        ("in any second", Limiter::Sliding),
        ("by a clock ahead of ours", Limiter::ClockSecond(ahead)),
        ("by a bucket", Limiter::Bucket),
    ];
    let mut good = true;
    // At the same time, because each lasts ten minutes and does next to nothing.
    thread::scope(|scope| {
        let running: Vec<_> =
            limiters.map(|(name, limiter)| (name, scope.spawn(move || paced(limiter)))).into_iter().collect();
        for (name, running) in running {
            let (taken, refused) = running.join().unwrap();
            let rate = taken as f64 / LONG.as_secs_f64();
            println!(
                "limit counted {name}: {rate:.3} calls a second, {:.3} of the limit, {refused} refused",
                rate / f64::from(PER_SECOND)
            );
            good &= rate >= PACE && refused == 0;
        }
    });
    good
}

fn paced(limiter: Limiter) -> (u64, u64) {
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (PER_SECOND, UNLIMITED);
        settings.limiter = limiter;
    });
    bench.drop_file("people.csv", common::table(0, 4 * 60 * 11));
    bench.start();
    bench.wait_until("the first call", |bench| bench.sign_up_calls() > 0);
    let before = bench.sign_up_calls();
    thread::sleep(LONG);
    let (after, refused) = bench.account(|world| (world.calls("sign_up_form"), world.over_a_limit()));
    (after - before - refused, refused)
}

/// A million rows with implicit consent, 54 of which do not land, and a sign-up in their midst.
fn million() -> bool {
    let mut bench = Bench::with(|settings| {
        settings.lists.push("Members".to_owned());
    });
    bench.route(&[(".", "Newsletter"), ("members", "Members")]);
    bench.implicit("members");
    let unsubscribed: BTreeSet<String> = (0..37).map(|n| address(n * 27_000)).collect();
    let refused: BTreeSet<String> = (0..12).map(|n| unusual(n * 83_000 + 1)).collect();
    let lost: BTreeSet<String> = (0..5).map(|n| address(n * 190_000 + 2)).collect();
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
    bench.start();
    // The account's lists are known, as they are to a daemon that has run for a while.
    bench.drop_file("before.csv", common::table(MILLION + 1, 1));
    bench.wait_until("the receipt before", |bench| bench.receipts().contains_key("before.csv"));
    bench.drop_file("members/all.csv", a_million_rows(&refused));
    let began = Instant::now();
    bench.wait_at_most(PATIENCE, "the rows are durable", |bench| {
        bench.inbox().join("members").read_dir().unwrap().count() == 0
    });
    let taken_in = began.elapsed();
    let dropped = Instant::now();
    bench.drop_file("form.csv", common::table(MILLION, 1));
    let outbox = rusqlite::Connection::open(bench.state().join("outbox.db")).unwrap();
    let recorded = "SELECT EXISTS (SELECT 1 FROM file WHERE name = 'form.csv')";
    while !outbox.query_row(recorded, (), |row| row.get::<_, bool>(0)).unwrap() {
        thread::sleep(LOOK);
    }
    let (durable, form_taken_in) = (Instant::now(), dropped.elapsed());
    bench.wait_until("the sign-up's call", |bench| bench.sign_up_calls() == 2);
    let first_call = durable.elapsed();
    bench.wait_at_most(PATIENCE, "the receipt", |bench| bench.receipts().contains_key("all.csv"));
    let (took, peak) = (began.elapsed(), memory_kib(&bench, "VmHWM:"));
    let receipt = &bench.receipts()["all.csv"];
    assert_adds_up(receipt);
    let named = |state: &str| -> BTreeSet<String> {
        let rows = receipt[state].as_array().unwrap().iter();
        rows.map(|row| row["email"].as_str().unwrap().to_owned()).collect()
    };
    let all_named = named("held").union(&named("rejected")).cloned().collect::<BTreeSet<_>>()
        == unsubscribed.union(&refused).cloned().chain(lost).collect();
    let (imports, all) = bench.account(|world| (world.calls("contacts_json_import"), world.all_calls()));
    println!(
        "{MILLION} rows with implicit consent: durable in {taken_in:.1?}, answered in {took:.1?}; {imports} imports and {} \
         other calls, peak memory {} MiB; {}; the 54 that did not land are {}",
        all - imports,
        peak >> 10,
        common::counts(receipt),
        if all_named { "each named" } else { "NOT the ones named" }
    );
    println!("a sign-up in their midst: durable after {form_taken_in:.1?}, its call {first_call:.1?} later");
    imports <= MOST_IMPORTS
        && all - imports <= MOST_OTHER_CALLS
        && peak <= MOST_MEMORY_KIB
        && all_named
        && first_call <= FIRST_CALL
}

/// What the account refuses looks unusual; else nobody could tell those rows from the ones that vanished.
fn unusual(number: usize) -> String {
    format!("{}{}", "x".repeat(40), address(number))
}

fn a_million_rows(refused: &BTreeSet<String>) -> String {
    let mut rows = "email,first_name,last_name\n".to_owned();
    for number in 0..MILLION {
        let unusual = unusual(number);
        let address = if refused.contains(&unusual) { unusual } else { address(number) };
        writeln!(rows, "{address},First{number},Last").unwrap();
    }
    rows
}

/// What a daemon costs that has nothing to do.
fn idle() -> bool {
    let mut bench = Bench::new();
    bench.configure("inbox", "rescan = \"60s\"");
    bench.start();
    bench.drop_file("first.csv", common::table(0, 1));
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    let before = processor_time(&bench);
    thread::sleep(LONG);
    let used = processor_time(&bench).saturating_sub(before);
    let share = used.as_secs_f64() / LONG.as_secs_f64();
    let memory = memory_kib(&bench, "VmRSS:");
    println!("idle for {LONG:?}: {:.3} % of a processor, {:.1} MiB", share * 100.0, memory as f64 / 1024.0);
    share < IDLE_CPU && memory < IDLE_MEMORY_KIB
}

fn memory_kib(bench: &Bench, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", bench.pid())).unwrap();
    let found = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    found.trim().trim_end_matches(" kB").parse().unwrap()
}

fn processor_time(bench: &Bench) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", bench.pid())).unwrap();
    // The fields behind the name, which may hold anything: user and system time are the 12th and 13th of them.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    TICK * fields[11..13].iter().map(|ticks| ticks.parse::<u32>().unwrap()).sum::<u32>()
}
