//! The one sign-in, through the real companion: all three ways, every refusal, and everybody who should not be heard.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::ChildStdin,
    time::Duration,
};

use common::companion::{companion, companion_with};
use common::{Bench, UNLIMITED, counts, table, text};
use mailchute::sandbox::{Settings, World, person};
use url::Url;

/// Longer than a code lives.
const TOO_LATE: Duration = Duration::from_mins(6);

/// The person allows it and sees this page in the end.
fn allow_and_see(bench: &Bench, address: &Url, page: &str) {
    let seen = bench.runtime().block_on(person::allow(address)).unwrap();
    assert!(seen.contains(page), "{seen}");
}

fn allow(bench: &Bench, address: &Url) {
    allow_and_see(bench, address, "Signed in");
}

fn unsigned(change: impl FnOnce(&mut Settings)) -> Bench {
    let bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
        settings.device_interval = Duration::from_secs(1);
        change(settings);
    });
    fs::remove_file(bench.state().join("tokens.json")).unwrap();
    bench
}

/// A world whose application has no secret.
fn unsigned_public() -> Bench {
    let bench = unsigned(|settings| settings.client_secret = None);
    let text = fs::read_to_string(bench.config()).unwrap();
    fs::write(bench.config(), text.replace("client_secret_file = \"client_secret\"\n", "")).unwrap();
    bench
}

/// A person who visits the address on another machine and brings the one on which the browser ended.
fn bring(bench: &Bench, address: &Url, mut input: ChildStdin, first: &str) {
    let ended = bench.runtime().block_on(person::press(address, "allow")).unwrap();
    writeln!(input, "{first}\n{ended}").unwrap();
}

#[test]
fn all_three_ways_work_with_a_secret_and_without() {
    for (way, public) in
        ["loopback", "--paste", "--device"].into_iter().flat_map(|way| [(way, false), (way, true)])
    {
        let bench = if public { unsigned_public() } else { unsigned(|_| ()) };
        let (status, rest, said) = match way {
            "--paste" => companion_with(&bench, &[way], |bench, address, input| {
                bring(bench, &address, input, "what?");
            }),
            "--device" => companion_with(&bench, &[way], |bench, address, _| {
                bench.runtime().block_on(person::activate(&address, "allow")).unwrap();
            }),
            _ => companion(&bench, |bench, address| allow(bench, &address)),
        };
        assert_eq!((status, rest.as_str()), (Some(0), ""), "{way}, public {public}: {said}");
        assert!(said.contains("write to the account `Sandbox Gardening Club`"), "{said}");
        assert!(said.contains("Refresh tokens rotate"), "the first refresh has shown it: {said}");
        assert_eq!(said.contains(&bench.redirect_uri), way != "--device", "the string to register: {said}");
        let mode = fs::metadata(bench.state().join("tokens.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        bench.drop_file("a.csv", table(0, 3));
        bench.run_once(0);
        assert_eq!(counts(&bench.receipts()["a.csv"]), "3 created");
    }
}

#[test]
fn what_is_asked_for_is_what_the_service_needs() {
    for (bench, public) in [(unsigned(|_| ()), false), (unsigned_public(), true)] {
        let text = fs::read_to_string(bench.config()).unwrap();
        let forgetful =
            text.replace("[application]", "[application]\nscopes = [\"contact_data\", \"account_read\"]");
        fs::write(bench.config(), forgetful).unwrap();
        let (status, _, said) = companion(&bench, |bench, address| {
            let asked = |name: &str| {
                address.query_pairs().find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
            };
            assert_eq!(asked("prompt").as_deref(), Some("login"));
            assert_eq!(asked("redirect_uri").as_deref(), Some(bench.redirect_uri.as_str()));
            assert_eq!(asked("scope").as_deref(), Some("contact_data account_read offline_access"));
            assert!(asked("state").is_some_and(|state| state.len() >= 22));
            assert_eq!(asked("code_challenge_method").as_deref(), public.then_some("S256"));
            allow(bench, &address);
        });
        assert_eq!(status, Some(0), "{said}");
    }
}

#[test]
fn what_a_person_reads_at_a_sign_in() {
    let bench = unsigned(|_| ());
    let mut page = String::new();
    let (_, _, said) = companion(&bench, |bench, address| {
        page = bench.runtime().block_on(person::allow(&address)).unwrap();
    });
    insta::assert_snapshot!(said.replace(&bench.redirect_uri, "REDIRECT"), @"
    Sign in as the user who created the application: the account's owner.
    The portal must have exactly this redirect URI: REDIRECT
    Visit this address:
    Done: mailchute may now write to the account `Sandbox Gardening Club`. A running daemon takes it up by itself. Refresh tokens rotate: a backup or a second copy of this installation must not use them.
    ");
    insta::assert_snapshot!(words(&page), @"
    Mailchute
    ✓ Signed in
    Mailchute may now write to the account “Sandbox Gardening Club”.
    What happens next: a running daemon takes this up by itself within seconds and sends what waited. If none runs yet, start it with “mailchute run”.
    Nobody needs to sign in again. You can close this window.
    ");
}

/// The text of a page without its mark-up.
fn words(page: &str) -> String {
    let body = page.split_once("<main>").unwrap().1;
    let spaced = body.replace("</p>", "\n").replace("</h1>", "\n");
    let mut inside = false;
    spaced
        .chars()
        .filter(|c| {
            inside = *c == '<' || (inside && *c != '>');
            !inside && *c != '>'
        })
        .collect()
}

#[test]
fn each_refusal_has_its_own_page_status_and_message() {
    let refusals = [
        ("deny=once", "Not authorized", 77, "access_denied"),
        ("token_invalid_client=always", "The application was not recognised", 78, "the portal's API key"),
        ("omit_refresh_token=once", "Not lasting", 78, "`offline_access` must be among `scopes`"),
        ("token_scope=once", "Not enough rights", 77, "the scope `contact_data` was not granted"),
        (
            "campaign_manager=once",
            "Not enough rights",
            77,
            "contacts:write, contacts:lists:read in the account `Sandbox",
        ),
        ("no_account=once", "No account", 77, "this login probably belongs to no account"),
        ("token_500=always", "The service cannot be reached", 69, "try again in a while"),
    ];
    let bench = unsigned(|_| ());
    for (fault, page, expected, words) in refusals {
        bench.sandbox.fault(fault).unwrap();
        let (status, _, said) = companion(&bench, |bench, address| allow_and_see(bench, &address, page));
        assert_eq!(status, Some(expected), "{fault}: {said}");
        assert!(said.contains(words), "{fault}: {said}");
        assert!(!bench.state().join("tokens.json").exists(), "{fault}: nothing is stored");
        bench.sandbox.calm();
    }
}

#[test]
fn a_person_who_refuses_is_told_who_may_sign_in() {
    let bench = unsigned(|_| ());
    let (status, _, said) = companion(&bench, |bench, address| {
        let page = bench.runtime().block_on(person::deny(&address)).unwrap();
        assert!(page.contains("Not authorized"), "{page}");
    });
    assert_eq!(status, Some(77));
    assert!(said.contains("access_denied") && said.contains("account's owner"), "{said}");
}

#[test]
fn a_code_that_comes_too_late_is_told_from_a_redirect_that_is_not_registered() {
    let bench = unsigned(|_| ());
    let (status, _, said) = companion(&bench, |bench, address| {
        let ended = bench.runtime().block_on(person::press(&address, "allow")).unwrap();
        bench.sandbox.change(|world| world.advance_clock(TOO_LATE));
        let page = bench.runtime().block_on(person::visit(&ended)).unwrap();
        assert!(page.contains("The code was not taken"), "{page}");
    });
    assert_eq!(status, Some(77));
    assert!(said.contains("codes live five minutes") && said.contains(&bench.redirect_uri), "{said}");
}

#[test]
fn a_device_that_is_refused_told_to_slow_down_or_too_late_is_told_so() {
    let bench = unsigned(|_| ());
    let (status, _, said) = companion_with(&bench, &["--device"], |bench, address, _| {
        bench.runtime().block_on(person::activate(&address, "deny")).unwrap();
    });
    assert_eq!(status, Some(77), "{said}");
    assert!(said.contains("access_denied"), "{said}");
    let (status, _, said) = companion_with(&bench, &["--device"], |bench, _, _| {
        bench.sandbox.change(|world| world.advance_clock(TOO_LATE * 2));
    });
    assert_eq!(status, Some(77), "{said}");
    assert!(said.contains("nobody entered the code within 10 minutes"), "{said}");
    bench.sandbox.fault("slow_down=once").unwrap();
    bench.sandbox.fault("token_500=nth:2").unwrap();
    let (status, _, said) = companion_with(&bench, &["--device"], |bench, address, _| {
        bench.runtime().block_on(person::activate(&address, "allow")).unwrap();
    });
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn names_that_the_account_lacks_are_said_with_those_that_it_has() {
    let mut bench = unsigned(|settings| settings.custom_fields = vec!["Member no".to_owned()]);
    bench.route(&[(".", "Newsletter"), ("members", "Membres")]);
    let text = fs::read_to_string(bench.config()).unwrap();
    let text = text.replacen("consent", "columns = { \"cf:shoe\" = \"Shoe\" }\nconsent", 1);
    fs::write(bench.config(), text).unwrap();
    let (status, _, said) =
        companion(&bench, |bench, address| allow_and_see(bench, &address, "no list `Membres`"));
    assert_eq!(status, Some(78));
    for words in [
        "has no list `Membres`; it has Newsletter",
        "no custom field `shoe`; it has Member_no",
        "need not sign in again",
    ] {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(bench.status()["authorization"]["state"], "authorized");
}

#[test]
fn another_account_than_the_one_that_rows_wait_for_is_taken_only_on_request() {
    let bench = Bench::with(|settings| settings.organization_name = "Rival Club".to_owned());
    let before = fs::read(bench.state().join("tokens.json")).unwrap();
    let (status, _, said) =
        companion(&bench, |bench, address| allow_and_see(bench, &address, "Another account"));
    assert_eq!(status, Some(77));
    assert!(said.contains("`Sandbox Gardening Club`") && said.contains("--other-account"), "{said}");
    assert_eq!(fs::read(bench.state().join("tokens.json")).unwrap(), before, "nothing was changed");
    let (status, _, said) =
        companion_with(&bench, &["--other-account"], |bench, address, _input| allow(bench, &address));
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(bench.status()["authorization"]["account"], "Rival Club");
}

#[test]
fn a_new_sign_in_is_taken_up_by_the_running_daemon() {
    let mut bench = Bench::new();
    bench.sandbox.change(World::revoke_all);
    bench.start();
    bench.drop_file("a.csv", table(0, 3));
    bench.wait_until("the need", |bench| bench.status()["authorization"]["state"] == "needed");
    let (status, _, said) = companion(&bench, |bench, address| allow(bench, &address));
    assert_eq!(status, Some(0), "{said}");
    bench.wait_until("what waited", |bench| bench.receipts().contains_key("a.csv"));
    assert_eq!(counts(&bench.receipts()["a.csv"]), "3 created");
    bench.stop();
}

#[test]
fn pasting_names_the_ready_line_for_ssh_and_what_was_wrong() {
    let bench = unsigned(|_| ());
    let port = Url::parse(&bench.redirect_uri).unwrap().port().unwrap();
    let (status, _, said) = companion_with(&bench, &["--paste"], |bench, address, input| {
        bring(bench, &address, input, &format!("{}?code=abc&state=another", bench.redirect_uri));
    });
    assert_eq!(status, Some(0), "{said}");
    assert!(said.contains(&format!("`ssh -L {port}:localhost:{port} ")), "{said}");
    assert!(said.contains("belongs to another sign-in"), "{said}");
    let (status, _, said) = companion_with(&bench, &["--paste"], |_, _, input| drop(input));
    assert_eq!(status, Some(77));
    assert!(said.contains("no address was pasted"), "{said}");
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

/// Sends bytes to the listener and gives what comes back.
fn knock(port: u16, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    // Who sends too much may be cut off in the middle, which is an answer too.
    let _cut = stream.write_all(request);
    let mut answer = Vec::new();
    let _cut = stream.read_to_end(&mut answer);
    text(&answer)
}

#[test]
fn strangers_at_the_listener_change_nothing() {
    let bench = unsigned(|_| ());
    let port = Url::parse(&bench.redirect_uri).unwrap().port().unwrap();
    let (status, _, said) = companion(&bench, |bench, address| {
        let state = address.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let good = format!("/callback?code=x&state={state}");
        let get = |path: &str, host: &str| {
            knock(port, format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
        };
        let not_good = |answer: &str, what: &str| {
            let status = answer.split(' ').nth(1).unwrap_or("cut");
            assert!(["400", "404", "405", "431", "cut"].contains(&status), "{what}: {answer}");
        };
        for odd in [
            "/callback?code=x&state=wrong",
            "/callback",
            "/elsewhere",
            "/callback?error=access_denied",
            "//callback",
            "/callback/",
        ] {
            not_good(&get(odd, "localhost"), odd);
        }
        for host in ["evil.example", &format!("evil.example:{port}"), ""] {
            not_good(&get(&good, host), host);
        }
        not_good(
            &knock(
                port,
                format!("POST {good} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n").as_bytes(),
            ),
            "POST",
        );
        not_good(&knock(port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), "TLS");
        let mut huge = format!("GET {good} HTTP/1.1\r\nHost: localhost\r\nCookie: ").into_bytes();
        huge.resize(10 << 20, b'a');
        not_good(&knock(port, &huge), "10 MB of headers");
        // Some who dribble, and hold on to their connections while the real browser comes.
        let slow: Vec<TcpStream> = (0..50)
            .map(|_| {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
                stream.write_all(b"GET /callback?code=").unwrap();
                stream
            })
            .collect();
        let ended = bench.runtime().block_on(person::press(&address, "allow")).unwrap();
        let page = bench.runtime().block_on(person::visit(&ended)).unwrap();
        assert!(page.contains("Signed in"), "{page}");
        drop(slow);
    });
    assert_eq!(status, Some(0), "{said}");
}

#[test]
fn a_second_good_callback_is_shown_what_became_of_the_first_and_spends_nothing() {
    let bench = unsigned(|_| ());
    bench.sandbox.fault("token_slow=once").unwrap();
    let (status, _, said) = companion(&bench, |bench, address| {
        let ended = bench.runtime().block_on(person::press(&address, "allow")).unwrap();
        let port = ended.port().unwrap();
        let path = &ended[url::Position::BeforePath..];
        let first = knock(port, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        assert!(first.contains("Nearly done"), "the browser is answered before the code is spent: {first}");
        let replay = Url::parse(&ended.as_str().replace("code=", "code=other")).unwrap();
        let reload = bench.runtime().block_on(person::visit(&replay));
        assert!(reload.unwrap().contains("Signed in"));
    });
    assert_eq!(status, Some(0), "{said}");
}
