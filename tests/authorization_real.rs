//! The sign-in and the rotation at an authorization server that others wrote (npm `oidc-provider`), and in a real Chromium.
//!
//! Needs node, the packages of `tests/authorization_server` (`npm install` there), and for one test chromium. Where these
//! are missing the tests say so; where the checks run they fail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::Arc,
};

use common::companion::{companion, companion_with};
use common::{Bench, UNLIMITED, counts, real_part, table, text};
use mailchute::clock::Clock;
use mailchute::config::Config;
use mailchute::oauth::{Tokens, Unavailable};
use mailchute::sandbox::person;
use url::Url;

/// As `server.mjs` knows it.
const SECRET: &str = "a-secret-of-the-test";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/authorization_server")
}

/// The authorization server as a process; it ends when its standard input does.
struct Server {
    process: Child,
    /// Held open: the server has more to say, and would end of a closed pipe.
    _says: BufReader<ChildStdout>,
    issuer: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

impl Server {
    fn start(redirect_uri: &str) -> Self {
        let mut process = node("server.mjs", &[redirect_uri])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut issuer = String::new();
        let mut says = BufReader::new(process.stdout.take().unwrap());
        says.read_line(&mut issuer).unwrap();
        assert!(issuer.starts_with("http://127.0.0.1:"), "the server said: {issuer}");
        Self { process, _says: says, issuer: issuer.trim().to_owned() }
    }
}

fn node(script: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("node");
    command.arg(folder().join(script)).args(arguments);
    command
}

/// Runs a script to its end and gives what it printed.
fn run(script: &str, arguments: &[&str]) -> String {
    let output = node(script, arguments).output().unwrap();
    assert!(output.status.success(), "{script} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// Whether node and the packages are here.
fn server_is_here() -> bool {
    let packages = folder().join("node_modules/oidc-provider/package.json");
    real_part("node", "--version")
        && common::real_file(&packages, "npm install in tests/authorization_server")
}

/// A world whose account takes the tokens of another server, and that server.
fn world(client: &str) -> (Bench, Server) {
    let bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
        settings.foreign_tokens = true;
    });
    fs::remove_file(bench.state().join("tokens.json")).unwrap();
    let server = Server::start(&bench.redirect_uri);
    let text = fs::read_to_string(bench.config()).unwrap();
    let lines = text.lines().filter_map(|line| {
        let key = line.split(' ').next().unwrap_or_default();
        Some(match key {
            "client_id" => format!("client_id = \"{client}\""),
            "client_secret_file" if client == "public" => return None,
            "authorize_url" => format!("authorize_url = \"{}/auth\"", server.issuer),
            "token_url" => format!("token_url = \"{}/token\"", server.issuer),
            "device_url" => format!("device_url = \"{}/device/auth\"", server.issuer),
            _ => line.to_owned(),
        })
    });
    let changed: String = lines.map(|line| line + "\n").collect();
    fs::write(bench.config(), changed).unwrap();
    let secret = bench.home.path().join("client_secret");
    fs::write(secret, SECRET).unwrap();
    (bench, server)
}

/// Signs in by a way, as a person with a plain browser.
fn sign_in(bench: &Bench, way: &str) {
    let arguments: &[&str] = if way == "loopback" { &[] } else { &[way] };
    let (status, _, said) = companion_with(bench, arguments, |bench, address, mut input| {
        let ended = run("person.mjs", &[address.as_str(), &bench.redirect_uri]);
        match way {
            "loopback" => {
                let ended = Url::parse(&ended).unwrap();
                let page = bench.runtime().block_on(person::visit(&ended)).unwrap();
                assert!(page.contains("Signed in"), "{page}");
            }
            "--paste" => writeln!(input, "{ended}").unwrap(),
            _ => {}
        }
    });
    assert_eq!(status, Some(0), "{way}: {said}");
    assert!(said.contains("Refresh tokens rotate"), "{way}: {said}");
}

fn keeper(bench: &Bench) -> Tokens {
    let application = Config::load(Some(&bench.config())).unwrap().application().unwrap();
    Tokens::open(&bench.state(), application, Clock::system().as_fn()).unwrap()
}

/// Three rotations in a row; then a token that was spent is used again, as from a restored backup.
fn rotate_and_reuse(bench: &Bench) {
    let tokens = keeper(bench);
    let generation = bench.runtime().block_on(tokens.access()).unwrap().generation;
    let store = bench.state().join("tokens.json");
    let spent = fs::read(&store).unwrap();
    for rotation in 0..3 {
        let renewed = bench.runtime().block_on(tokens.refused(generation + rotation)).unwrap();
        assert_eq!(renewed.generation, generation + rotation + 1);
    }
    let newest = fs::read(&store).unwrap();
    fs::write(&store, spent).unwrap();
    match bench.runtime().block_on(keeper(bench).refused(generation)) {
        Err(Unavailable::Login { reason }) => assert!(reason.contains("the service ended"), "{reason}"),
        other => panic!("a spent token was taken again: {other:?}"),
    }
    assert_eq!(bench.status()["authorization"]["state"], "needed");
    // The reuse ended the newest as well: this is what the lock and the journal keep from happening.
    fs::write(&store, newest).unwrap();
    let after = bench.runtime().block_on(Arc::new(keeper(bench)).refused(generation + 3));
    assert!(matches!(after, Err(Unavailable::Login { .. })), "{after:?}");
}

#[test]
fn every_way_in_and_the_rotation_work_at_a_server_that_others_wrote() {
    if !server_is_here() {
        return;
    }
    for client in ["confidential", "public"] {
        for way in ["loopback", "--paste", "--device"] {
            let (bench, _server) = world(client);
            sign_in(&bench, way);
            bench.drop_file("a.csv", table(0, 2));
            bench.run_once(0);
            assert_eq!(counts(&bench.receipts()["a.csv"]), "2 created");
            rotate_and_reuse(&bench);
        }
    }
}

#[test]
fn a_wrong_secret_is_told_by_that_server_too_and_nothing_is_stored() {
    if !server_is_here() {
        return;
    }
    let (bench, _server) = world("confidential");
    fs::write(bench.home.path().join("client_secret"), "wrong").unwrap();
    let (status, _, said) = companion(&bench, |bench, address| {
        let ended = Url::parse(&run("person.mjs", &[address.as_str(), &bench.redirect_uri])).unwrap();
        let page = bench.runtime().block_on(person::visit(&ended)).unwrap();
        assert!(page.contains("not recognised"), "{page}");
    });
    assert_eq!(status, Some(78), "{said}");
    assert!(said.contains("does not know this application"), "{said}");
    assert!(!bench.state().join("tokens.json").exists());
}

#[test]
fn a_person_in_a_real_browser_sees_which_account_it_is() {
    if !server_is_here() || !real_part("chromium", "--version") {
        return;
    }
    let (bench, _server) = world("public");
    let screenshot = Path::new(env!("CARGO_TARGET_TMPDIR")).join("signed-in.png");
    let mut seen = String::new();
    let (status, _, said) = companion(&bench, |bench, address| {
        let arguments = [address.as_str(), &bench.redirect_uri, screenshot.to_str().unwrap()];
        seen = run("browser.mjs", &arguments);
    });
    assert_eq!(status, Some(0), "{said}");
    assert!(seen.contains("Signed in") && seen.contains("“Sandbox Gardening Club”"), "{seen}");
    assert!(fs::metadata(screenshot).unwrap().len() > 1_000, "a screenshot is kept");
}
