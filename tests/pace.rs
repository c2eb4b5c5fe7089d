//! The account's limits, used to the full and kept: the whole drain on a stopped clock, against each way of counting a
//! second that was met.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

#[path = "common/in_process.rs"]
mod in_process;

use std::{fmt::Write as _, time::Duration};

use in_process::{Rehearsal, rehearse};
use mailchute::sandbox::{Limiter, Settings};

const TABLES: &str = "[api]\nbase_url = \"http://localhost/v3\"\nrequests_per_day = 1000000\n\
                      [inbox]\nsettle = \"1s\"\n\
                      [[route]]\nfolder = \".\"\nlists = [\"Newsletter\"]\nconsent = \"explicit\"\n";
const MINUTES: u64 = 10;
/// Where a second begins by the service's clock is anywhere in ours.
const LIMITERS: [Limiter; 3] =
    [Limiter::Sliding, Limiter::ClockSecond(Duration::from_millis(370)), Limiter::Bucket];

/// Calls that were taken, and those that were one too many, in so many minutes.
async fn drained(limiter: Limiter, latency: Duration, minutes: u64) -> (u64, u64) {
    let settings = Settings { limiter, latency, requests_per_day: 1_000_000, ..Settings::default() };
    let house = Rehearsal::new(settings, TABLES);
    let mut rows = "email\n".to_owned();
    for number in 0..4 * 60 * (minutes + 1) {
        writeln!(rows, "person{number}@example.org").unwrap();
    }
    house.drop_file("rows.csv", &rows);
    tokio::time::advance(Duration::from_secs(2)).await;
    house.run(Duration::from_mins(minutes)).await;
    house.account.inspect(|world| {
        let taken = world.calls_by_status().iter().filter(|((_, status), _)| *status < 300);
        (taken.map(|(_, calls)| calls).sum(), world.over_a_limit())
    })
}

#[test]
fn where_answers_come_at_once_at_least_3_9_calls_leave_in_a_second_and_none_is_refused() {
    for limiter in LIMITERS {
        let (taken, refused) = rehearse(drained(limiter, Duration::from_millis(2), MINUTES));
        assert_eq!(refused, 0, "{limiter:?}");
        assert!(taken * 10 >= 39 * 60 * MINUTES, "{limiter:?}: {taken} calls in {MINUTES} minutes");
    }
}

/// What the first minutes of learning how late answers are may cost.
const LEARNING: u64 = 5;

/// Who does not know when within 300 ms a call arrives cannot keep a limit in any second and use more than about 3.27 of
/// its 4 calls (simulated: calls leave as soon as fewer than one in 1,000 would be refused). A bucket is kinder.
#[test]
fn where_answers_are_late_by_chance_the_pace_adapts() {
    for (limiter, tenths) in [(Limiter::Sliding, 30), (Limiter::Bucket, 36)] {
        let (taken, refused) = rehearse(drained(limiter, Duration::from_millis(300), MINUTES));
        assert!(refused <= LEARNING, "{limiter:?}: {refused} refused of {taken}");
        assert!(taken * 10 >= tenths * 60 * MINUTES, "{limiter:?}: {taken} calls in {MINUTES} minutes");
    }
}
