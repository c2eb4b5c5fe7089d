//! Invariants 3 and 4, and the one sign-in, through the real companion and the token store.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use common::{Bench, COMPANION, PATIENCE, UNLIMITED, counts, table, within};
use mailchute::clock::MovableClock;
use mailchute::config::Config;
use mailchute::oauth::{Tokens, Unavailable};
use mailchute::sandbox::{Rotation, Settings, World, person};
use url::Url;

const A_DAY: Duration = Duration::from_hours(24);
/// Half an hour before the end of an access token's day, which is within the margin.
const NEARLY_A_DAY: Duration = Duration::from_mins(24 * 60 - 30);

/// Runs the companion with a person at the browser who does something with the address.
fn companion(bench: &Bench, browse: impl FnOnce(&Bench, Url)) -> (Option<i32>, String, String) {
    let mut child = Command::new(COMPANION)
        .args(["--no-open", "--config"])
        .arg(bench.config())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut errors = child.stderr.take().unwrap();
    let mut address = String::new();
    out.read_line(&mut address).unwrap();
    if let Ok(url) = Url::parse(address.trim()) {
        browse(bench, url);
    }
    within(PATIENCE, "the companion", move || {
        let (mut rest, mut said) = (String::new(), String::new());
        out.read_to_string(&mut rest).unwrap();
        errors.read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code(), rest, said)
    })
}

fn allow(bench: &Bench, address: Url) {
    let page = bench.runtime().block_on(async move { person::allow(&address).await });
    assert!(page.unwrap().contains("Signed in"));
}

fn unsigned(change: impl FnOnce(&mut Settings)) -> Bench {
    let bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
        change(settings);
    });
    fs::remove_file(bench.state().join("tokens.json")).unwrap();
    bench
}

#[test]
fn one_sign_in_in_a_browser_is_enough() {
    let bench = unsigned(|_| ());
    let (status, rest, said) = companion(&bench, allow);
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(rest, "", "the address stands alone on standard output");
    assert!(said.contains("the account `Sandbox Gardening Club`"), "{said}");
    assert!(said.contains(&bench.redirect_uri), "the string to register is named: {said}");
    let mode = fs::metadata(bench.state().join("tokens.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    bench.drop_file("a.csv", table(0, 3));
    bench.run_once(0);
    assert_eq!(counts(&bench.receipts()["a.csv"]), "3 created");
}

#[test]
fn an_application_without_a_secret_proves_itself_by_pkce() {
    let bench = unsigned(|settings| settings.client_secret = None);
    let text = fs::read_to_string(bench.config()).unwrap();
    fs::write(bench.config(), text.replace("client_secret_file = \"client_secret\"\n", "")).unwrap();
    let (status, _, said) = companion(&bench, |bench, address| {
        assert!(
            address.query_pairs().any(|(name, value)| name == "code_challenge_method" && value == "S256")
        );
        allow(bench, address);
    });
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn a_refusal_and_a_wrong_secret_are_told_apart() {
    let bench = unsigned(|_| ());
    let (status, _, said) = companion(&bench, |bench, address| {
        let page = bench.runtime().block_on(async move { person::deny(&address).await });
        assert!(page.unwrap().contains("Not authorized"));
    });
    assert_eq!(status, Some(77));
    assert!(said.contains("access_denied") && said.contains("account's owner"), "{said}");
    bench.sandbox.fault("token_invalid_client=always").unwrap();
    let (status, _, said) = companion(&bench, allow);
    assert_eq!(status, Some(78));
    assert!(said.contains("compare client_id with the portal's API key"), "{said}");
    assert!(!bench.state().join("tokens.json").exists());
}

#[test]
fn a_taken_port_is_said_before_anybody_is_sent_anywhere() {
    let bench = unsigned(|_| ());
    let port = Url::parse(&bench.redirect_uri).unwrap().port().unwrap();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (status, _, said) = companion(&bench, |_, address| panic!("{address} was shown"));
    assert_eq!(status, Some(1));
    assert!(said.contains(&format!("port {port} of redirect_uri is in use")), "{said}");
}

#[test]
fn strangers_at_the_listener_change_nothing() {
    let bench = unsigned(|_| ());
    let (status, _, said) = companion(&bench, |bench, address| {
        let callback = Url::parse(&bench.redirect_uri).unwrap();
        for odd in
            ["/callback?code=x&state=wrong", "/callback", "/elsewhere", "/callback?error=access_denied"]
        {
            let url = callback.join(odd).unwrap();
            let request =
                format!("GET {} HTTP/1.0\r\nHost: localhost\r\n\r\n", &url[url::Position::BeforePath..]);
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", callback.port().unwrap())).unwrap();
            std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.contains(" 400 ") || answer.contains(" 404 "), "{odd}: {answer}");
        }
        allow(bench, address);
    });
    assert_eq!(status, Some(0), "{said}");
}

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
            Err(Unavailable::Passing { .. }) => {}
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
