//! The bench: a world with an account, a spool, and the real daemon as a process.
//!
//! Owns the daemon: a test fails when it died unasked. Waits on conditions with a name and a time-out and never sleeps
//! for a guess. Asserts are made on the world's final state.
#![allow(dead_code, reason = "each test file uses its own part of the bench")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot go on says so at once"
)]

pub mod companion;

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use mailchute::clock::MovableClock;
use mailchute::config::Config;
use mailchute::daemon::DaemonError;
use mailchute::sandbox::{Sandbox, Settings, World};
use mailchute::wake::Wake;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// Longer than anything that is waited for should take on a slow machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// A limit per second for tests that are not about it.
pub const UNLIMITED: u32 = 1_000_000;

/// The programs under test.
pub const DAEMON: &str = env!("CARGO_BIN_EXE_mailchute");
/// The companion.
pub const COMPANION: &str = env!("CARGO_BIN_EXE_mailchute-auth");

/// A world to test in.
pub struct Bench {
    pub home: TempDir,
    pub sandbox: Sandbox,
    pub redirect_uri: String,
    runtime: tokio::runtime::Runtime,
    daemon: Option<Child>,
    /// Lines that are put into the configuration's `[inbox]`, `[api]` and so on.
    tables: BTreeMap<&'static str, String>,
    routes: Vec<(String, String)>,
    /// Folders whose people have not asked: bulk import.
    implicit: Vec<String>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            let _gone = daemon.kill();
            let _reaped = daemon.wait();
        }
    }
}

impl Bench {
    /// A world without limits, signed in.
    pub fn new() -> Self {
        Self::with(|settings| {
            (settings.requests_per_second, settings.requests_per_day) = (UNLIMITED, UNLIMITED);
            settings.posts_per_address = None;
        })
    }

    /// A world with changed settings, signed in, with its inbox as the only route.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let redirect_uri = format!("http://localhost:{}/callback", free_port());
        let mut settings = Settings { redirect_uris: vec![redirect_uri.clone()], ..Settings::default() };
        change(&mut settings);
        let (per_second, per_day) = (settings.requests_per_second, settings.requests_per_day);
        let sandbox = runtime.block_on(Sandbox::start(settings)).unwrap();
        let home = tempfile::Builder::new().prefix("mailchute-test-").tempdir().unwrap();
        let api = format!("requests_per_second = {per_second}\nrequests_per_day = {per_day}\n");
        let bench = Self {
            home,
            sandbox,
            redirect_uri,
            runtime,
            daemon: None,
            tables: BTreeMap::from([
                ("api", api),
                ("inbox", "settle = \"50ms\"\nrescan = \"1s\"\n".to_owned()),
            ]),
            routes: vec![(".".to_owned(), "Newsletter".to_owned())],
            implicit: Vec::new(),
        };
        fs::create_dir_all(bench.spool().join("inbox")).unwrap();
        bench.write_configuration();
        bench.sign_in();
        bench
    }

    pub fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    pub fn spool(&self) -> PathBuf {
        self.home.path().join("spool")
    }

    pub fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub fn inbox(&self) -> PathBuf {
        self.spool().join("inbox")
    }

    pub fn config(&self) -> PathBuf {
        self.home.path().join("mailchute.toml")
    }

    /// Adds a line to a table of the configuration.
    pub fn configure(&mut self, table: &'static str, line: &str) {
        let lines = self.tables.entry(table).or_default();
        let key = line.split('=').next().unwrap_or_default();
        *lines =
            lines.lines().filter(|known| !known.starts_with(key)).map(|known| format!("{known}\n")).collect();
        lines.push_str(line);
        lines.push('\n');
        self.write_configuration();
    }

    /// Sets the routes, as folder and list.
    pub fn route(&mut self, routes: &[(&str, &str)]) {
        self.routes =
            routes.iter().map(|(folder, list)| ((*folder).to_owned(), (*list).to_owned())).collect();
        self.write_configuration();
    }

    /// Makes the consent of a folder's rows implicit: they leave in bulk.
    pub fn implicit(&mut self, folder: &str) {
        self.implicit.push(folder.to_owned());
        self.write_configuration();
    }

    /// Makes it explicit again: one call each.
    pub fn explicit(&mut self, folder: &str) {
        self.implicit.retain(|known| known != folder);
        self.write_configuration();
    }

    pub fn write_configuration(&self) {
        let (id, secret) = (Settings::default().client_id, Settings::default().client_secret.unwrap());
        let secret_file = self.home.path().join("client_secret");
        fs::write(&secret_file, secret).unwrap();
        fs::set_permissions(&secret_file, fs::Permissions::from_mode(0o600)).unwrap();
        let mut text = format!(
            "spool = \"spool\"\nstate = \"state\"\n\n[application]\nclient_id = \"{id}\"\n\
             client_secret_file = \"client_secret\"\nredirect_uri = \"{}\"\n\n{}",
            self.redirect_uri,
            self.sandbox.configuration()
        );
        for (table, lines) in &self.tables {
            // The sandbox has begun the table of the API already.
            let header = if *table == "api" { String::new() } else { format!("\n[{table}]\n") };
            text += &format!("{header}{lines}");
        }
        for (folder, list) in &self.routes {
            let consent = if self.implicit.contains(folder) { "implicit" } else { "explicit" };
            text += &format!(
                "\n[[route]]\nfolder = \"{folder}\"\nlists = [\"{list}\"]\nconsent = \"{consent}\"\n"
            );
        }
        fs::write(self.config(), text).unwrap();
    }

    /// Puts good tokens into the store, as a sign-in long ago would have.
    pub fn sign_in(&self) {
        let issued =
            self.sandbox.change(|world| world.issue_tokens("contact_data account_read offline_access"));
        let now = jiff::Timestamp::now();
        let document = json!({
            "version": 1, "generation": 1, "account": "Sandbox Gardening Club", "state": "authorized",
            "access_token": issued.access_token, "access_expires_at": now + jiff::SignedDuration::from_hours(24),
            "refresh_token": issued.refresh_token, "refreshed_at": now, "rotating": null, "spending_since": null,
        });
        fs::create_dir_all(self.state()).unwrap();
        fs::set_permissions(self.state(), fs::Permissions::from_mode(0o700)).unwrap();
        let mut file = tempfile::NamedTempFile::new_in(self.state()).unwrap();
        file.write_all(document.to_string().as_bytes()).unwrap();
        file.persist(self.state().join("tokens.json")).unwrap();
    }

    /// Drops a file as every writer should: a hidden name first, then a rename.
    pub fn drop_file(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let target = self.inbox().join(path);
        let hidden = target.with_file_name(format!(".{}", target.file_name().unwrap().to_string_lossy()));
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&hidden, bytes).unwrap();
        fs::rename(&hidden, &target).unwrap();
    }

    /// Runs a command of the daemon's program to its end.
    pub fn command(&self, arguments: &[&str]) -> Output {
        Command::new(DAEMON).args(arguments).arg("--config").arg(self.config()).output().unwrap()
    }

    /// `run --once`, which must end with this status.
    pub fn run_once(&self, status: i32) -> String {
        let output = self.command(&["run", "--once"]);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "run --once said:\n{said}");
        said
    }

    /// Starts the daemon.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts the daemon with more in its environment.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.home.path().join("log")).unwrap();
        let mut command = Command::new(DAEMON);
        command.args(["run", "-v", "--config"]).arg(self.config()).envs(environment.iter().copied());
        self.daemon = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> rustix::process::Pid {
        let id = self.daemon.as_ref().expect("a daemon").id();
        rustix::process::Pid::from_raw(i32::try_from(id).unwrap()).unwrap()
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    /// Kills the daemon without a word.
    pub fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("a daemon");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Asks the daemon to stop and says how long it took; it must end well.
    pub fn stop(&mut self) -> Duration {
        let asked = Instant::now();
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).unwrap();
        let status = self.wait_for_end();
        assert!(status.success(), "the daemon ended with {status}:\n{}", self.log());
        asked.elapsed()
    }

    /// Waits until the daemon has ended.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        let daemon = self.daemon.as_mut().expect("a daemon");
        let ended = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = daemon.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < ended, "the daemon did not end");
            thread::park_timeout(LOOK);
        };
        self.daemon = None;
        status
    }

    /// Waits until something is true, while the daemon lives.
    pub fn wait_until(&mut self, what: &str, condition: impl FnMut(&Self) -> bool) {
        self.wait_at_most(PATIENCE, what, condition);
    }

    /// Waits until something is true, for a time.
    pub fn wait_at_most(&mut self, patience: Duration, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let ended = Instant::now() + patience;
        while !condition(self) {
            if let Some(daemon) = &mut self.daemon {
                let status = daemon.try_wait().unwrap();
                assert!(
                    status.is_none(),
                    "the daemon died ({status:?}) while waiting: {what}\n{}",
                    self.log()
                );
            }
            assert!(Instant::now() < ended, "waited in vain: {what}\n{}", self.log());
            thread::park_timeout(LOOK);
        }
    }

    /// The receipts of all files, by file name.
    pub fn receipts(&self) -> BTreeMap<String, Value> {
        let receipts =
            self.files("done").into_iter().filter(|path| path.to_string_lossy().ends_with(".receipt.json"));
        receipts
            .map(|path| {
                let name =
                    path.file_name().unwrap().to_string_lossy().trim_end_matches(".receipt.json").to_owned();
                (name, serde_json::from_slice(&fs::read(&path).unwrap()).unwrap())
            })
            .collect()
    }

    /// The rejects file of a dropped file.
    pub fn rejects(&self, name: &str) -> String {
        let wanted = format!("{name}.rejects.csv");
        let path = self.files("done").into_iter().find(|path| path.file_name().unwrap() == wanted.as_str());
        fs::read_to_string(path.expect("a rejects file")).unwrap()
    }

    /// Every file below a folder of the spool, sorted.
    pub fn files(&self, folder: &str) -> Vec<PathBuf> {
        fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    collect(&entry.path(), found);
                } else {
                    found.push(entry.path());
                }
            }
        }
        let mut found = Vec::new();
        collect(&self.spool().join(folder), &mut found);
        found.sort();
        found
    }

    pub fn account<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        self.sandbox.inspect(look)
    }

    pub fn sign_up_calls(&self) -> u64 {
        self.account(|world| world.calls("sign_up_form"))
    }

    pub fn status(&self) -> Value {
        let output = self.command(&["status", "--json"]);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)))
    }
}

/// The daemon inside the test's process, with a clock that can be moved: for days that would be too long to wait.
pub struct Inside {
    pub clock: MovableClock,
    wake: Wake,
    stop: CancellationToken,
    daemon: tokio::task::JoinHandle<Result<(), DaemonError>>,
}

impl Inside {
    /// Moves the daemon's and the service's clocks on.
    pub fn advance(&self, bench: &Bench, by: Duration) {
        self.clock.advance(by);
        bench.sandbox.change(|world| world.advance_clock(by));
        self.wake.hint();
    }

    /// Stops the daemon, which must not have failed.
    pub fn stop(self, bench: &Bench) {
        self.stop.cancel();
        let ended = bench.runtime().block_on(async { tokio::time::timeout(PATIENCE, self.daemon).await });
        ended.expect("the daemon stops").expect("no panic").expect("no error");
    }
}

impl Bench {
    /// Starts the daemon inside this process.
    pub fn start_inside(&self) -> Inside {
        let (clock, wake, stop) = (MovableClock::default(), Wake::default(), CancellationToken::new());
        let config = Config::load(Some(&self.config())).unwrap();
        let daemon =
            self.runtime.spawn(mailchute::daemon::run(config, clock.clock(), wake.clone(), stop.clone()));
        Inside { clock, wake, stop, daemon }
    }
}

/// Runs something that may hang, on a thread that is given up after a while.
pub fn within<T: Send + 'static>(
    patience: Duration,
    what: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(patience).unwrap_or_else(|_| panic!("not done in time: {what}"))
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The address of the n-th person.
pub fn address(number: usize) -> String {
    format!("person{number}@example.org")
}

/// A table of so many good rows from a number on.
pub fn table(from: usize, rows: usize) -> String {
    let mut text = "email,first_name,last_name\n".to_owned();
    for number in from..from + rows {
        text += &format!("{},First{number},Last\n", address(number));
    }
    text
}

/// The counts of a receipt that are not zero, as text.
pub fn counts(receipt: &Value) -> String {
    let counts = receipt["counts"].as_object().unwrap();
    let told =
        counts.iter().filter(|(_, count)| **count != json!(0)).map(|(name, count)| format!("{count} {name}"));
    told.collect::<Vec<_>>().join(", ")
}

/// A receipt's counts must add up to its rows.
pub fn assert_adds_up(receipt: &Value) {
    let sum: u64 = receipt["counts"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(receipt["rows"].as_u64(), Some(sum), "{receipt}");
}

/// Whether a program that a test needs is here. On a machine without it the test says so and passes; where the checks
/// run (`CI` is set) that is a failure.
pub fn real_part(program: &str, question: &str) -> bool {
    let there = Command::new(program).arg(question).output().is_ok_and(|output| output.status.success());
    // The programs let nobody but root look into their memory.
    if there && program == "strace" && !rustix::process::geteuid().is_root() {
        return real(false, "strace as root");
    }
    real(there, &format!("{program} (apt-get install {program})"))
}

/// The same for a file that a test needs.
pub fn real_file(path: &Path, how: &str) -> bool {
    real(path.exists(), &format!("{} ({how})", path.display()))
}

/// Says what is missing; where the checks run that is a failure.
pub fn real(there: bool, what: &str) -> bool {
    if !there {
        assert!(std::env::var_os("CI").is_none(), "{what} is needed and not there");
        // Not `eprintln!`: the harness would swallow it.
        let _nobody_reads = writeln!(std::io::stderr(), "NOT RUN: this test needs {what}");
    }
    there
}
