//! Invariants 6 and 7: never more calls than allowed, and no passing fault costs a row.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::time::{Duration, Instant};

use common::{Bench, UNLIMITED, address, assert_adds_up, counts, table};
use mailchute::sandbox::World;

/// How far the clocks move at each look when days must pass.
const STRIDE: Duration = Duration::from_mins(1);
const A_DAY: Duration = Duration::from_hours(24);

#[test]
fn no_second_sees_more_than_four_calls_and_none_is_refused() {
    let mut bench = Bench::with(|_| ());
    bench.drop_file("a.csv", table(0, 24));
    bench.start();
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    // A restart must not forget the second before it.
    bench.kill();
    bench.drop_file("b.csv", table(24, 8));
    bench.start();
    bench.wait_until("the second receipt", |bench| bench.receipts().len() == 2);
    bench.stop();
    bench.account(|world| {
        assert_eq!(world.contact_count(), 32);
        assert!(world.highest_rate() <= 4, "{} calls in a second", world.highest_rate());
        let refused: u64 =
            world.calls_by_status().iter().filter(|((_, status), _)| *status == 429).map(|(_, n)| n).sum();
        assert_eq!(refused, 0);
    });
}

/// Watches for a while that no further call is made.
fn assert_silence(bench: &mut Bench, calls: u64) {
    let began = Instant::now();
    bench.wait_until("some silence", |bench| {
        assert_eq!(bench.account(World::all_calls), calls, "a call beyond the day's limit");
        began.elapsed() > Duration::from_millis(1500)
    });
}

#[test]
fn the_days_calls_are_never_exceeded_also_after_a_restart_and_the_next_day_goes_on() {
    const A_FEW: u32 = 12;
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
    });
    bench.configure("api", &format!("requests_per_day = {A_FEW}"));
    bench.drop_file("a.csv", table(0, 20));
    bench.start();
    bench.wait_until("the day's calls", |bench| bench.account(World::all_calls) == u64::from(A_FEW));
    assert_silence(&mut bench, u64::from(A_FEW));
    bench.kill();
    bench.start();
    bench.wait_until("the daemon says it", |bench| bench.status()["health"] == "waiting");
    assert_silence(&mut bench, u64::from(A_FEW));
    let status = bench.status();
    assert!(
        status["reason"].as_str().unwrap().starts_with("the day's 12 calls are spent, until "),
        "{status}"
    );
    assert_eq!(status["api"]["calls_today"], 12);
    assert!(status["api"]["paused_until"].is_string(), "{status}");
    bench.stop();
    bench.run_once(75);
    assert_eq!(bench.account(World::all_calls), u64::from(A_FEW));

    let inside = bench.start_inside();
    inside.advance(&bench, A_DAY);
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    inside.stop(&bench);
    assert_eq!(counts(&bench.receipts()["a.csv"]), "20 created");
}

#[test]
fn of_a_day_that_ends_in_the_middle_of_everything_only_the_reserve_is_used_and_the_next_goes_on() {
    const A_DAYS_CALLS: u32 = 60;
    // One in twenty.
    const RESERVE: u32 = 3;
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
        settings.lists.push("Members".to_owned());
    });
    bench.route(&[(".", "Newsletter"), ("members", "Members")]);
    bench.implicit("members");
    bench.configure("api", &format!("requests_per_day = {A_DAYS_CALLS}"));
    bench.configure("delivery", "linger = \"0s\"");
    bench.drop_file("backlog.csv", table(0, 150));
    bench.start();
    let backlog = u64::from(A_DAYS_CALLS - RESERVE);
    bench.wait_until("the backlog's share", |bench| bench.account(World::all_calls) == backlog);
    bench.drop_file("members/bulk.csv", table(1000, 5));
    assert_silence(&mut bench, backlog);
    let status = bench.status();
    assert_eq!(status["health"], "waiting");
    let reason = status["reason"].as_str().unwrap();
    let expected = "the day's 57 calls for the backlog are spent; 3 are left for what just comes in, until ";
    assert!(reason.starts_with(expected), "{reason}");
    bench.drop_file("live.csv", table(2000, 3));
    bench.wait_until("the live receipt", |bench| bench.receipts().contains_key("live.csv"));
    bench.drop_file("later.csv", table(3000, 1));
    assert_silence(&mut bench, u64::from(A_DAYS_CALLS));
    bench.kill();
    bench.start();
    assert_silence(&mut bench, u64::from(A_DAYS_CALLS));
    bench.stop();
    let inside = bench.start_inside();
    for day in 2..=3 {
        inside.advance(&bench, A_DAY);
        bench.wait_until("the next day's calls", |bench| {
            let calls = bench.account(World::all_calls);
            assert!(calls <= u64::from(A_DAYS_CALLS * day), "{calls} calls by day {day}");
            bench.receipts().len() == 4 || calls >= u64::from(A_DAYS_CALLS * day - RESERVE)
        });
        assert!(bench.receipts().contains_key("later.csv"), "live rows go before the backlog");
    }
    inside.advance(&bench, A_DAY);
    bench.wait_until("everything", |bench| {
        inside.advance(bench, STRIDE);
        bench.receipts().len() == 4
    });
    inside.stop(&bench);
    assert_eq!(bench.account(World::contact_count), 159);
}

#[test]
fn a_file_that_will_take_days_is_said_at_once_with_the_day() {
    let mut bench = Bench::new();
    bench.configure("api", "requests_per_day = 100");
    bench.drop_file("a.csv", table(0, 300));
    bench.start();
    bench.wait_until("the warning", |bench| {
        bench.log().contains("300 rows with explicit consent wait, a call each: the day's calls last until ")
    });
    bench.wait_until("the day's calls", |bench| bench.account(World::all_calls) == 95);
    let status = bench.status();
    assert_eq!(status["health"], "waiting", "{status}");
    let done: jiff::Timestamp = status["api"]["forecast_done_at"].as_str().unwrap().parse().unwrap();
    let hours = done.duration_since(jiff::Timestamp::now()).as_hours();
    // Two or three midnights from now.
    assert!((24..=72).contains(&hours), "{hours}");
    let screen = common::text(&bench.command(&["status"]).stdout);
    let day = done.to_zoned_datetime(jiff::tz::TimeZone::system()).strftime("%Y-%m-%d").to_string();
    assert!(screen.contains(&format!("  forecast   what waits is delivered about {day} ")), "{screen}");
    bench.stop();
}

#[test]
fn a_sign_up_overtakes_a_backlog_of_hours() {
    let mut bench = Bench::with(|_| ());
    // At four calls a second this would take longer than anybody waits here.
    bench.drop_file("backlog.csv", table(0, 2000));
    bench.start();
    bench.wait_until("the backlog's first rows", |bench| bench.account(World::contact_count) > 3);
    for number in 0..3 {
        bench.drop_file(&format!("{number}.csv"), table(5000 + number, 1));
    }
    bench.wait_until("the sign-ups", |bench| bench.receipts().len() == 3);
    let before = bench.account(World::contact_count);
    bench.wait_until("the backlog goes on", |bench| bench.account(World::contact_count) > before + 2);
    bench.stop();
}

#[test]
fn when_the_service_says_that_the_day_is_over_nothing_is_asked_before_the_next() {
    const A_FEW: u32 = 10;
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, A_FEW);
    });
    bench.configure("api", "requests_per_day = 10000");
    bench.drop_file("a.csv", table(0, 15));
    bench.start();
    // Calls that were under way when the service said so are refused, too.
    bench.wait_until("the service's no", |bench| bench.status()["health"] == "waiting");
    bench.stop();
    let calls = bench.account(World::all_calls);
    assert!(calls > u64::from(A_FEW) && calls < 2 * u64::from(A_FEW), "{calls}");
    bench.start();
    assert_silence(&mut bench, calls);
    bench.stop();
    let inside = bench.start_inside();
    inside.advance(&bench, A_DAY);
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    inside.stop(&bench);
    assert_eq!(counts(&bench.receipts()["a.csv"]), "15 created");
}

/// Every fault that passes, as a share of the calls or once.
const BURST: [&str; 16] = [
    "500=share:0.1",
    "502=share:0.05",
    "503@sign_up_form=share:0.1",
    "html_503=share:0.05",
    "html_200@sign_up_form=share:0.1",
    "empty_200=share:0.05",
    "reset=share:0.1",
    "lost@sign_up_form=share:0.1",
    "cut=share:0.1",
    "throttled=share:0.1",
    "unknown_429=share:0.05",
    "queue_full=once",
    "409@sign_up_form=share:0.1",
    "401=nth:20",
    "list_unknown=nth:15",
    "array_429=always",
];

#[test]
fn a_burst_of_every_fault_costs_no_row() {
    let mut bench = Bench::new();
    for fault in BURST {
        bench.sandbox.fault(fault).unwrap();
    }
    let inside = bench.start_inside();
    bench.drop_file("a.csv", table(0, 60));
    bench.wait_until("two hundred calls in the burst", |bench| {
        inside.advance(bench, STRIDE);
        bench.account(World::all_calls) > 200 || bench.receipts().len() == 1
    });
    bench.drop_file("b.csv", table(60, 20));
    bench.sandbox.fault("quota=once").unwrap();
    bench.wait_until("the first file of the burst", |bench| {
        inside.advance(bench, STRIDE);
        bench.account(World::contact_count) > 60
    });
    bench.sandbox.calm();
    bench.wait_until("all receipts", |bench| {
        inside.advance(bench, STRIDE);
        bench.receipts().len() == 2
    });
    inside.stop(&bench);
    for (name, receipt) in bench.receipts() {
        assert_adds_up(&receipt);
        let told = counts(&receipt);
        assert!(!told.contains("rejected") && !told.contains("held"), "{name}: {told}");
    }
    bench.account(|world| {
        assert_eq!(world.contact_count(), 80);
        assert!((0..80).all(|number| world.members("Newsletter").contains(&address(number))));
        let statuses: Vec<u16> = world.calls_by_status().keys().map(|(_, status)| *status).collect();
        assert!(
            [401, 404, 409, 429, 500, 503].iter().all(|status| statuses.contains(status)),
            "{statuses:?}"
        );
    });
}

#[test]
fn a_retry_after_is_heeded_in_both_its_forms() {
    for form in ["retry_after", "retry_after_date"] {
        let mut bench = Bench::new();
        bench.sandbox.fault("throttled@sign_up_form=once").unwrap();
        bench.sandbox.fault(&format!("{form}=always")).unwrap();
        bench.drop_file("a.csv", table(0, 1));
        let inside = bench.start_inside();
        bench.wait_until("the refusal", |bench| bench.sign_up_calls() == 1);
        let calls = bench.account(World::all_calls);
        inside.advance(&bench, Duration::from_secs(25));
        assert_silence(&mut bench, calls);
        inside.advance(&bench, Duration::from_secs(10));
        bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
        inside.stop(&bench);
        assert_eq!(bench.sign_up_calls(), 2, "{form}");
    }
}

#[test]
fn no_address_is_tried_more_than_four_times_in_any_24_hours_also_after_restarts() {
    let mut bench = Bench::new();
    bench.sandbox.fault("lost@sign_up_form=share:0.5").unwrap();
    bench.sandbox.fault("500@sign_up_form=always").unwrap();
    bench.drop_file("a.csv", table(0, 1));
    let mut gone = Duration::ZERO;
    for calls in [2, 4, 5, 9] {
        let inside = bench.start_inside();
        inside.clock.advance(gone);
        bench.wait_until("further tries", |bench| {
            gone += STRIDE * 10;
            inside.advance(bench, STRIDE * 10);
            bench.sign_up_calls() >= calls
        });
        inside.stop(&bench);
    }
    let told = bench.command(&["explain", &address(0), "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    let calls = &told["entries"][0]["calls"];
    let times: Vec<jiff::Timestamp> = calls
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call["started_at"].as_str().unwrap().parse().unwrap())
        .collect();
    assert!(times.len() >= 9, "{told}");
    for five in times.windows(5) {
        let hours = five[4].duration_since(five[0]).as_secs_f64() / 3600.0;
        assert!(hours >= 24.0, "five tries within {hours} hours: {times:?}");
    }
}

#[test]
fn a_call_that_is_never_answered_is_given_up_and_made_again() {
    let mut bench = Bench::new();
    bench.sandbox.fault("hang@sign_up_form=once").unwrap();
    bench.start();
    bench.drop_file("a.csv", table(0, 5));
    bench.wait_until("the others", |bench| bench.account(World::contact_count) == 4);
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.stop();
    assert_eq!(bench.account(World::contact_count), 5);
}

#[test]
fn told_to_stop_while_busy_it_stops_within_five_seconds_with_everything_recorded() {
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
        settings.latency = Duration::from_millis(20);
    });
    bench.sandbox.fault("hang@sign_up_form=nth:10").unwrap();
    bench.start();
    bench.drop_file("a.csv", table(0, 3000));
    bench.wait_until("some deliveries", |bench| bench.account(World::contact_count) > 100);
    let took = bench.stop();
    assert!(took < Duration::from_secs(5), "{took:?}");
    let outbox = &bench.status()["outbox"];
    let delivered = bench.account(World::contact_count);
    assert_eq!(outbox["delivered"].as_u64(), Some(u64::try_from(delivered).unwrap()), "{outbox}");
    assert_eq!(outbox["sending"], 1, "the call that hangs is known to be in doubt: {outbox}");
}
