//! Invariants 3 and 4, and the upkeep of an authorization: renewed in time, never spent twice, never given up needlessly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    fs,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::{Bench, COMPANION, DAEMON, real_part, table, text};
use mailchute::clock::MovableClock;
use mailchute::config::Config;
use mailchute::oauth::{Tokens, Unavailable};
use mailchute::sandbox::{Rotation, World};

const A_DAY: Duration = Duration::from_hours(24);
/// Half an hour before the end of an access token's day, which is within the margin.
const NEARLY_A_DAY: Duration = Duration::from_mins(24 * 60 - 30);

/// The token keeper of a bench, with a clock that can be moved.
fn keeper(bench: &Bench) -> (Arc<Tokens>, MovableClock) {
    let clock = MovableClock::default();
    let application = Config::load(Some(&bench.config())).unwrap().application().unwrap();
    (Arc::new(Tokens::open(&bench.state(), application, clock.clock().as_fn()).unwrap()), clock)
}

#[test]
fn tokens_are_renewed_before_they_end_and_not_before_each_call() {
    let bench = Bench::new();
    let (tokens, clock) = keeper(&bench);
    let generation = |tokens: &Tokens| bench.runtime().block_on(tokens.access()).unwrap().generation;
    assert_eq!((generation(&tokens), generation(&tokens)), (1, 1));
    let mut expected = 1;
    for _ in 0..5 {
        clock.advance(NEARLY_A_DAY);
        bench.sandbox.change(|world| world.advance_clock(NEARLY_A_DAY));
        expected += 1;
        assert_eq!(generation(&tokens), expected);
    }
}

#[test]
fn twenty_who_ask_at_once_spend_the_refresh_token_once() {
    let bench = Bench::with(|settings| settings.rotation = Rotation::Rotating { leeway: Duration::ZERO });
    let (one, two) = (keeper(&bench).0, keeper(&bench).0);
    let generations = bench.runtime().block_on(async {
        let asking = (0..20).map(|n| {
            let tokens = Arc::clone(if n % 2 == 0 { &one } else { &two });
            tokio::spawn(async move { tokens.refused(1).await.unwrap().generation })
        });
        let mut generations = Vec::new();
        for asked in asking.collect::<Vec<_>>() {
            generations.push(asked.await.unwrap());
        }
        generations
    });
    assert_eq!(generations, [2; 20]);
    assert!(bench.runtime().block_on(one.refused(2)).is_ok(), "the family lives: nothing was spent twice");
}

#[test]
fn faults_of_the_token_endpoint_end_no_authorization() {
    let bench = Bench::new();
    for fault in ["token_500", "token_429", "token_html_403", "token_invalid_client"] {
        let (tokens, _clock) = keeper(&bench);
        bench.sandbox.fault(&format!("{fault}=once")).unwrap();
        let generation = bench.runtime().block_on(tokens.access()).unwrap().generation;
        match bench.runtime().block_on(tokens.refused(generation)) {
            Err(Unavailable::Passing { .. }) if fault != "token_invalid_client" => {}
            Err(Unavailable::Refused { .. }) if fault == "token_invalid_client" => {}
            other => panic!("{fault}: {other:?}"),
        }
        assert_eq!(bench.status()["authorization"]["state"], "authorized", "{fault}");
        let (tokens, _clock) = keeper(&bench);
        let renewed = bench.runtime().block_on(tokens.refused(generation)).unwrap();
        assert_eq!(renewed.generation, generation + 1, "{fault}");
    }
}

#[test]
fn a_lost_answer_is_rescued_by_the_leeway() {
    let bench = Bench::new();
    let (tokens, _clock) = keeper(&bench);
    bench.sandbox.fault("token_lost=once").unwrap();
    let renewed = bench.runtime().block_on(tokens.refused(1)).unwrap();
    assert_eq!(renewed.generation, 2);
    assert!(bench.runtime().block_on(tokens.refused(2)).is_ok());
}

#[test]
fn without_a_leeway_a_lost_answer_needs_the_person_who_is_told_so() {
    let bench = Bench::with(|settings| settings.rotation = Rotation::Rotating { leeway: Duration::ZERO });
    let (tokens, _clock) = keeper(&bench);
    bench.sandbox.fault("token_lost=once").unwrap();
    match bench.runtime().block_on(tokens.refused(1)) {
        Err(Unavailable::Login { reason }) => assert!(reason.contains("mailchute-auth --config"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bench.status()["authorization"]["state"], "needed");
}

#[test]
fn a_long_lived_refresh_token_stays_and_one_that_is_left_out_is_kept() {
    let bench = Bench::with(|settings| settings.rotation = Rotation::LongLived);
    let (tokens, _clock) = keeper(&bench);
    bench.sandbox.fault("omit_refresh_token=once").unwrap();
    for generation in 1..4 {
        assert_eq!(bench.runtime().block_on(tokens.refused(generation)).unwrap().generation, generation + 1);
    }
    assert_eq!(bench.status()["authorization"]["rotating"], false);
}

#[test]
fn a_refresh_that_was_under_way_long_ago_is_never_repeated() {
    let bench = Bench::new();
    let path = bench.state().join("tokens.json");
    let text = fs::read_to_string(&path).unwrap();
    let long_ago = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(2);
    fs::write(&path, text.replace("\"spending_since\":null", &format!("\"spending_since\":\"{long_ago}\"")))
        .unwrap();
    assert_eq!(bench.status()["authorization"]["state"], "in_doubt");
    let (tokens, clock) = keeper(&bench);
    assert!(bench.runtime().block_on(tokens.access()).is_ok(), "the access token is good to its end");
    clock.advance(A_DAY);
    assert!(matches!(bench.runtime().block_on(tokens.access()), Err(Unavailable::Login { .. })));
    assert!(bench.account(World::all_calls) == 0);
}

#[test]
fn a_refused_secret_keeps_the_authorization_and_calls_a_person() {
    let mut bench = Bench::new();
    bench.sandbox.change(World::expire_access_tokens);
    bench.sandbox.fault("token_invalid_client=always").unwrap();
    bench.start();
    bench.drop_file("a.csv", table(0, 1));
    bench.wait_until("attention", |bench| bench.status()["health"] == "attention");
    let status = bench.status();
    assert!(status["reason"].as_str().unwrap().contains("client_secret_file"), "{status}");
    assert_eq!(status["authorization"]["state"], "authorized");
    bench.sandbox.calm();
    bench.wait_until("the row", |bench| bench.receipts().contains_key("a.csv"));
    bench.stop();
}

#[test]
fn the_end_so_soon_after_a_good_refresh_points_to_another_program() {
    let bench = Bench::new();
    let (tokens, clock) = keeper(&bench);
    bench.sandbox.change(World::revoke_all);
    clock.advance(A_DAY);
    match bench.runtime().block_on(tokens.access()) {
        Err(Unavailable::Login { reason }) => {
            assert!(reason.contains("uses the same application key: give each installation"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_refusal_of_the_api_leads_to_one_refresh_and_a_forbidden_call_to_none() {
    for (fault, refreshes) in [("401@sign_up_form=once", 1), ("403@sign_up_form=once", 0)] {
        let bench = Bench::new();
        bench.sandbox.fault(fault).unwrap();
        bench.drop_file("a.csv", table(0, 1));
        let output = bench.command(&["run", "--once"]);
        assert_eq!(bench.account(World::refreshes), refreshes, "{fault}: {output:?}");
        assert_eq!(output.status.success(), refreshes == 1, "{fault}: {output:?}");
    }
}

#[test]
fn an_idle_authorization_is_refreshed_weekly_and_not_more_often() {
    let bench = Bench::new();
    let (tokens, clock) = keeper(&bench);
    for day in 1..=30_u64 {
        clock.advance(A_DAY);
        bench.sandbox.change(|world| world.advance_clock(A_DAY));
        let next = bench.runtime().block_on(tokens.upkeep());
        assert!(next > clock.clock().now(), "it is not looked at without a pause");
        assert_eq!(bench.account(World::refreshes), day / 7, "day {day}");
    }
    bench.sandbox.fault("token_500=always").unwrap();
    clock.advance(A_DAY * 7);
    let next = bench.runtime().block_on(tokens.upkeep());
    assert!(next > clock.clock().now(), "nor while the refresh fails");
}

#[test]
fn nobody_can_look_into_the_memory_of_either_program() {
    if !real_part("strace", "-V") {
        return;
    }
    let bench = Bench::new();
    for (program, arguments) in [(DAEMON, &["status"][..]), (COMPANION, &["--paste", "--no-open"][..])] {
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=prctl,prlimit64,setrlimit", program]).args(arguments);
        let output = command.arg("--config").arg(bench.config()).stdin(Stdio::null()).output().unwrap();
        let trace = text(&output.stderr);
        assert!(trace.contains("PR_SET_DUMPABLE, SUID_DUMP_DISABLE) = 0"), "{trace}");
        assert!(trace.contains("RLIMIT_CORE, {rlim_cur=0, rlim_max=0}"), "{trace}");
    }
}
