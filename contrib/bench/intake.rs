//! How fast the inbox is: `cargo bench --bench intake [-- ROWS…]`.
//!
//! Measures the real daemon, from the rename of a file to its commit as another connection sees it, against the sqlite3
//! shell's `.import` of the same file into a table with a unique index on the address, in the same run on the same disk.
//! The figures are ratios for that reason. Ends with status 1 when one is worse than what the project promises.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that cannot go on says so at once"
)]

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};

/// What is promised: at most so many times the shell's time for the size that people call large, and so much memory.
const MOST_TIMES_THE_SHELL: f64 = 2.5;
const MOST_MEMORY_KIB: u64 = 64 << 10;
/// The ratio to the shell may grow by this factor from the smallest to the largest file and still be called flat. The times
/// themselves grow for both, once the index by address is larger than the memory that either keeps of it.
const FLAT: f64 = 2.0;
/// A newsletter of a middling club.
const MIDDLING: usize = 10_000;
const MIDDLING_IN: Duration = Duration::from_millis(300);
/// A web form's files, one row each.
const FORMS: usize = 300;
const FORM_MEDIAN: Duration = Duration::from_millis(50);
const FORM_P99: Duration = Duration::from_secs(1);
/// Between two forms, so that each finds the daemon waiting.
const FORM_PAUSE: Duration = Duration::from_millis(10);
/// How often the outbox is looked at; adds half of it to each time.
const LOOK: Duration = Duration::from_millis(1);
/// The shell and the daemon are each run so often on sizes that are quick; the best counts.
const REPEAT: usize = 3;
const QUICK: usize = 1_000_000;

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![100_000, 1_000_000, 5_000_000] } else { sizes };
    let folder = tempfile::Builder::new().prefix("mailchute-bench-").tempdir().unwrap();
    let mut good = true;
    let mut ratios = Vec::new();
    println!("{:>9} {:>9} {:>9} {:>7} {:>9} {:>8}", "rows", "shell", "daemon", "ratio", "in done", "peak");
    for rows in sizes {
        let file = folder.path().join("people.csv");
        write_table(&file, rows);
        let repeat = if rows <= QUICK { REPEAT } else { 1 };
        let shell = (0..repeat).map(|_| shell_import(folder.path(), &file)).min().unwrap();
        let run = (0..repeat).map(|_| take_in(folder.path(), &file)).min_by_key(|run| run.durable).unwrap();
        let ratio = run.durable.as_secs_f64() / shell.as_secs_f64();
        println!(
            "{rows:>9} {:>8.2}s {:>8.2}s {ratio:>7.2} {:>8.2}s {:>5} MiB",
            shell.as_secs_f64(),
            run.durable.as_secs_f64(),
            run.archived.as_secs_f64(),
            run.peak_kib >> 10
        );
        ratios.push(ratio);
        good &= rows != QUICK || ratio <= MOST_TIMES_THE_SHELL;
        good &= run.peak_kib <= MOST_MEMORY_KIB;
    }
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    let flat = worst / ratios.first().copied().unwrap_or(worst);
    println!("ratio, worst size to smallest: {flat:.2}");
    good &= flat <= FLAT;

    let file = folder.path().join("middling.csv");
    write_table(&file, MIDDLING);
    let run = (0..REPEAT).map(|_| take_in(folder.path(), &file)).min_by_key(|run| run.durable).unwrap();
    println!("{MIDDLING} rows durable in {:.3}s", run.durable.as_secs_f64());
    good &= run.durable <= MIDDLING_IN;

    let times = forms(folder.path());
    let (median, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
    println!(
        "{FORMS} forms, rename to durable: median {:.1} ms, 99th percentile {:.1} ms",
        median.as_secs_f64() * 1e3,
        p99.as_secs_f64() * 1e3
    );
    good &= median <= FORM_MEDIAN && p99 <= FORM_P99;
    println!("{}", if good { "all within what is promised" } else { "NOT within what is promised" });
    std::process::exit(i32::from(!good));
}

/// Rows as an export has them: in no order of the address, 50 bytes each.
fn write_table(path: &Path, rows: usize) {
    const FIRST: [&str; 8] = ["Anna", "Ben", "Carla", "David", "Eva", "Frank", "Greta", "Hassan"];
    const LAST: [&str; 7] = ["Meyer", "Okafor", "Ruiz", "Smith", "Tanaka", "Virtanen", "Young"];
    const HOSTS: [&str; 5] =
        ["example.org", "mail.example.com", "example.net", "club.example", "post.example.de"];
    let mut out = BufWriter::new(fs::File::create(path).unwrap());
    writeln!(out, "email,first,last,company").unwrap();
    for number in 0..u32::try_from(rows).unwrap() {
        // An odd factor permutes the numbers below 2^32: no two are equal and no order is left.
        let mixed = number.wrapping_mul(2_654_435_761);
        let pick = |from: &[&'static str], shift: u32| from[(mixed >> shift) as usize % from.len()];
        let (first, last, host) = (pick(&FIRST, 5), pick(&LAST, 11), pick(&HOSTS, 17));
        writeln!(out, "{first}{mixed:x}@{host},{first},{last},Company {}", mixed % 5_000).unwrap();
    }
    out.flush().unwrap();
}

fn shell_import(folder: &Path, file: &Path) -> Duration {
    let database = folder.join("shell.db");
    for end in ["", "-wal", "-shm"] {
        let _absent = fs::remove_file(folder.join(format!("shell.db{end}")));
    }
    let script = format!(
        "PRAGMA journal_mode=WAL;\nPRAGMA synchronous=FULL;\n\
         CREATE TABLE people (email TEXT, first TEXT, last TEXT, company TEXT);\n\
         CREATE UNIQUE INDEX people_email ON people (email);\n\
         .import --csv --skip 1 {} people\n",
        file.display()
    );
    let started = Instant::now();
    let mut shell = Command::new("sqlite3")
        .arg(&database)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the sqlite3 shell (apt-get install sqlite3)");
    shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
    let took = started.elapsed();
    let _gone = fs::remove_file(&database);
    took
}

struct Run {
    durable: Duration,
    archived: Duration,
    peak_kib: u64,
}

fn take_in(folder: &Path, file: &Path) -> Run {
    let mut daemon = Daemon::start(folder);
    let hidden = daemon.inbox().join(".people.csv");
    fs::copy(file, &hidden).unwrap();
    fs::File::open(&hidden).unwrap().sync_all().unwrap();
    let started = Instant::now();
    fs::rename(&hidden, daemon.inbox().join("people.csv")).unwrap();
    daemon.wait_for_files(1);
    let durable = started.elapsed();
    while daemon.inbox().join("people.csv").exists() {
        thread::sleep(LOOK);
    }
    Run { durable, archived: started.elapsed(), peak_kib: daemon.peak_kib() }
}

fn forms(folder: &Path) -> Vec<Duration> {
    let mut daemon = Daemon::start(folder);
    let mut times: Vec<_> = (1..=FORMS)
        .map(|number| {
            let hidden = daemon.inbox().join(".form");
            fs::write(&hidden, format!("{{\"email\":\"person{number}@example.org\",\"first_name\":\"P\"}}"))
                .unwrap();
            let started = Instant::now();
            fs::rename(&hidden, daemon.inbox().join(format!("{number}.json"))).unwrap();
            daemon.wait_for_files(number);
            let took = started.elapsed();
            thread::sleep(FORM_PAUSE);
            took
        })
        .collect();
    times.sort();
    times
}

/// The real daemon, without an account: nothing leaves, everything is taken in.
struct Daemon {
    process: Child,
    home: PathBuf,
    outbox: Option<Connection>,
}

impl Daemon {
    fn start(folder: &Path) -> Self {
        let home = folder.join("home");
        let _absent = fs::remove_dir_all(&home);
        fs::create_dir_all(home.join("spool/inbox")).unwrap();
        let config = home.join("mailchute.toml");
        // Port 9 discards: there is no account behind it, and without a sign-in none is asked.
        fs::write(
            &config,
            "spool = \"spool\"\nstate = \"state\"\n[application]\nclient_id = \"bench\"\n\
             [api]\nbase_url = \"http://127.0.0.1:9/v3\"\n\
             [[route]]\nfolder = \".\"\nlists = [\"Newsletter\"]\nconsent = \"explicit\"\n",
        )
        .unwrap();
        let log = fs::File::create(home.join("log")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_mailchute"))
            .args(["run", "--config"])
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut daemon = Self { process, home, outbox: None };
        while !daemon.is_watching() {
            assert!(daemon.process.try_wait().unwrap().is_none(), "the daemon died: see {}", daemon.log());
            thread::sleep(LOOK);
        }
        daemon
    }

    fn inbox(&self) -> PathBuf {
        self.home.join("spool/inbox")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }

    fn ask(&mut self, sql: &str) -> Option<i64> {
        if self.outbox.is_none() {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
            self.outbox = Connection::open_with_flags(self.home.join("state/outbox.db"), flags).ok();
        }
        self.outbox.as_ref()?.prepare_cached(sql).ok()?.query_row((), |row| row.get(0)).ok()
    }

    fn is_watching(&mut self) -> bool {
        self.ask("SELECT count(*) FROM watched").is_some_and(|folders| folders > 0)
    }

    fn wait_for_files(&mut self, files: usize) {
        while self.ask("SELECT count(*) FROM file") != i64::try_from(files).ok() {
            assert!(self.process.try_wait().unwrap().is_none(), "the daemon died: {}", self.log());
            thread::sleep(LOOK);
        }
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
