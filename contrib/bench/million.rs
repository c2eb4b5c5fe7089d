//! A million rows with implicit consent, and somebody who signs up meanwhile: `cargo bench --bench million [-- ROWS]`.
//!
//! The real daemon against the sandbox, with the service's own limits. Says how many calls it took, how much memory the
//! daemon had at most, whether each row that the account did not take is named, and how long a sign-up's first call took
//! from the moment its row was durable. Ends with status 1 when one is worse than what the project promises.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that cannot go on says so at once"
)]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufWriter, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mailchute::sandbox::{Permission, Sandbox, Settings};
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

/// What is promised.
const MOST_IMPORTS: u64 = 30;
const MOST_OTHER_CALLS: u64 = 200;
const MOST_MEMORY_KIB: u64 = 64 << 10;
const FIRST_CALL_WITHIN: Duration = Duration::from_secs(1);
/// Rows that the account does not take, of three kinds.
const UNSUBSCRIBED: usize = 37;
const REFUSED: usize = 12;
const VANISHED: usize = 5;
/// Sign-ups that come while the others wait.
const SIGN_UPS: usize = 20;
/// How often things are looked at.
const LOOK: Duration = Duration::from_millis(1);
/// Longer than everything takes on a slow machine.
const PATIENCE: Duration = Duration::from_hours(1);

fn address(number: usize) -> String {
    format!("person{number}@example.org")
}

/// What the account refuses looks unusual.
fn odd_address(number: usize) -> String {
    format!("{}{}", "x".repeat(40), address(number))
}

/// Spreads a few numbers over all rows; `kind` keeps those of one kind apart from the others.
fn spread(count: usize, rows: usize, kind: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |number| number * (rows / count) + kind)
}

fn main() {
    let rows = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let settings = Settings { lists: vec!["Newsletter".into(), "Members".into()], ..Settings::default() };
    let sandbox = runtime.block_on(Sandbox::start(settings)).unwrap();
    let left: BTreeSet<String> = spread(UNSUBSCRIBED, rows, 0).map(address).collect();
    let refused: BTreeSet<String> = spread(REFUSED, rows, 1).map(odd_address).collect();
    let vanished: BTreeSet<String> = spread(VANISHED, rows, 2).map(address).collect();
    sandbox.change(|world| {
        for address in &left {
            world.add_contact(address, Permission::Explicit);
            world.unsubscribe(address);
        }
        for address in &refused {
            world.refuse_in_imports(address);
        }
        for address in &vanished {
            world.lose_in_imports(address);
        }
    });
    let mut daemon = Daemon::start(&sandbox);
    let began = Instant::now();
    write_table(&daemon.inbox().join(".members"), rows);
    fs::rename(daemon.inbox().join(".members"), daemon.inbox().join("members/members.csv")).unwrap();
    daemon.wait("the file", |daemon| daemon.ask("SELECT count(*) FROM file") == Some(1));
    println!("{rows} rows are durable after {:.1} s", began.elapsed().as_secs_f64());

    let mut first_calls: Vec<Duration> =
        (0..SIGN_UPS).map(|number| sign_up(&mut daemon, &sandbox, number)).collect();
    first_calls.sort();
    let slowest = first_calls[SIGN_UPS - 1];
    println!(
        "{SIGN_UPS} sign-ups meanwhile, durable to first call: median {:.0} ms, slowest {:.0} ms",
        first_calls[SIGN_UPS / 2].as_secs_f64() * 1e3,
        slowest.as_secs_f64() * 1e3
    );
    daemon.wait("the receipt", |daemon| daemon.receipt("members.csv").is_some());
    let receipt = daemon.receipt("members.csv").unwrap();
    let named = |state: &str| -> BTreeSet<String> {
        let rows = receipt[state].as_array().unwrap();
        rows.iter().map(|row| row["email"].as_str().unwrap().to_owned()).collect()
    };
    let (imports, all) = sandbox.inspect(|world| (world.calls("contacts_json_import"), world.all_calls()));
    let others = all - imports - SIGN_UPS as u64;
    println!("delivered after {:.0} s: {}", began.elapsed().as_secs_f64(), receipt["counts"]);
    println!("{imports} imports, {others} other calls, {} MiB at most", daemon.peak_kib() >> 10);
    let all_named = named("rejected") == refused && named("held") == left.union(&vanished).cloned().collect();
    println!("every row that did not land is named: {all_named}");
    let good = all_named
        && imports <= MOST_IMPORTS
        && others <= MOST_OTHER_CALLS
        && daemon.peak_kib() <= MOST_MEMORY_KIB
        && slowest <= FIRST_CALL_WITHIN;
    println!("{}", if good { "all within what is promised" } else { "NOT within what is promised" });
    std::process::exit(i32::from(!good));
}

/// Drops a form's file and says how long its call took to come once its row was durable.
fn sign_up(daemon: &mut Daemon, sandbox: &Sandbox, number: usize) -> Duration {
    let files = daemon.ask("SELECT count(*) FROM file").unwrap();
    let calls = sandbox.inspect(|world| world.calls("sign_up_form"));
    let hidden = daemon.inbox().join(".form");
    fs::write(&hidden, format!("{{\"email\":\"form{number}@example.org\"}}")).unwrap();
    fs::rename(&hidden, daemon.inbox().join(format!("{number}.json"))).unwrap();
    daemon.wait("the form", |daemon| daemon.ask("SELECT count(*) FROM file") == Some(files + 1));
    let durable = Instant::now();
    daemon.wait("the call", |_| sandbox.inspect(|world| world.calls("sign_up_form")) > calls);
    durable.elapsed()
}

fn write_table(path: &Path, rows: usize) {
    let refused: BTreeSet<usize> = spread(REFUSED, rows, 1).collect();
    let mut out = BufWriter::new(fs::File::create(path).unwrap());
    writeln!(out, "email,first_name,last_name").unwrap();
    for number in 0..rows {
        let email = if refused.contains(&number) { odd_address(number) } else { address(number) };
        writeln!(out, "{email},First{number},Last").unwrap();
    }
    out.flush().unwrap();
}

/// The real daemon, signed in to the sandbox.
struct Daemon {
    process: Child,
    home: tempfile::TempDir,
    outbox: Option<Connection>,
}

impl Daemon {
    fn start(sandbox: &Sandbox) -> Self {
        let home = tempfile::Builder::new().prefix("mailchute-bench-").tempdir().unwrap();
        let config = home.path().join("mailchute.toml");
        fs::create_dir_all(home.path().join("spool/inbox/members")).unwrap();
        sign_in(sandbox, &home.path().join("state"));
        let (application, route) = (Settings::default(), |folder: &str, list: &str, consent: &str| {
            format!("[[route]]\nfolder = \"{folder}\"\nlists = [\"{list}\"]\nconsent = \"{consent}\"\n")
        });
        let secret = home.path().join("client_secret");
        fs::write(&secret, application.client_secret.unwrap()).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let text = format!(
            "spool = \"spool\"\nstate = \"state\"\n[application]\nclient_id = \"{}\"\n\
             client_secret_file = \"client_secret\"\n{}[delivery]\nlinger = \"0s\"\n{}{}",
            application.client_id,
            sandbox.configuration(),
            route(".", "Newsletter", "explicit"),
            route("members", "Members", "implicit"),
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(home.path().join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_mailchute"))
            .args(["run", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Self { process, home, outbox: None };
        daemon.wait("the daemon", |daemon| daemon.ask("SELECT count(*) > 0 FROM watched") == Some(1));
        daemon
    }

    fn inbox(&self) -> PathBuf {
        self.home.path().join("spool/inbox")
    }

    fn wait(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let ends = Instant::now() + PATIENCE;
        while !condition(self) {
            let log = || fs::read_to_string(self.home.path().join("log")).unwrap_or_default();
            assert!(self.process.try_wait().unwrap().is_none(), "the daemon died: {}", log());
            assert!(Instant::now() < ends, "waited in vain for {what}: {}", log());
            thread::sleep(LOOK);
        }
    }

    fn ask(&mut self, sql: &str) -> Option<i64> {
        if self.outbox.is_none() {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
            let path = self.home.path().join("state/outbox.db");
            self.outbox = Connection::open_with_flags(path, flags).ok();
        }
        self.outbox.as_ref()?.prepare_cached(sql).ok()?.query_row((), |row| row.get(0)).ok()
    }

    fn receipt(&self, name: &str) -> Option<Value> {
        let days = fs::read_dir(self.home.path().join("spool/done")).ok()?;
        let mut found = days.flatten().map(|day| day.path().join(format!("{name}.receipt.json")));
        let path = found.find(|path| path.exists())?;
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    fn peak_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}

/// Puts good tokens into the store, as a sign-in long ago would have.
fn sign_in(sandbox: &Sandbox, state: &Path) {
    let issued = sandbox.change(|world| world.issue_tokens("contact_data account_read offline_access"));
    let now = jiff::Timestamp::now();
    let document = json!({
        "version": 1, "generation": 1, "account": "Sandbox Gardening Club", "state": "authorized",
        "access_token": issued.access_token, "access_expires_at": now + jiff::SignedDuration::from_hours(24),
        "refresh_token": issued.refresh_token, "refreshed_at": now, "rotating": null, "spending_since": null,
    });
    fs::create_dir_all(state).unwrap();
    fs::set_permissions(state, fs::Permissions::from_mode(0o700)).unwrap();
    let path = state.join("tokens.json");
    fs::write(&path, document.to_string()).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}
