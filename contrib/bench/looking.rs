//! How soon an operator sees something beside a daemon at work: `cargo bench --bench looking [-- ROWS]`.
//!
//! Takes in a file of a million rows, twice: with nobody looking, and with `status` and `queue list` running one after the
//! other all the while. Says how long they took, as whole processes, and what they cost the daemon as a ratio of the two
//! intakes. Ends with status 1 when even one look took longer than is promised. Wants a machine that does nothing else.
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
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mailchute::sandbox::{Sandbox, Settings};

const ROWS: usize = 1_000_000;
/// What is promised for a look.
const A_LOOK: Duration = Duration::from_millis(100);
/// Between two looks, as a person or a scraper would pause.
const PAUSE: Duration = Duration::from_millis(100);

fn main() {
    let rows = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(ROWS);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sandbox = runtime.block_on(Sandbox::start(Settings::default())).unwrap();
    let alone = run(&sandbox, rows, false).0;
    let (watched, mut looks) = run(&sandbox, rows, true);
    looks.sort_unstable();
    let (median, worst) = (looks[looks.len() / 2], looks[looks.len() - 1]);
    println!(
        "{rows} rows: taken in in {alone:.1?} alone, {watched:.1?} while somebody looked: {:.2} times as long",
        watched.as_secs_f64() / alone.as_secs_f64()
    );
    println!("{} looks: median {median:.1?}, worst {worst:.1?} (promised: {A_LOOK:?})", looks.len());
    if worst > A_LOOK {
        std::process::exit(1);
    }
}

/// The time of an intake, and of each look beside it.
fn run(sandbox: &Sandbox, rows: usize, looking: bool) -> (Duration, Vec<Duration>) {
    let home = tempfile::Builder::new().prefix("mailchute-bench-").tempdir().unwrap();
    let config = configure(home.path(), sandbox);
    let file = home.path().join("spool/inbox/.people.csv");
    let mut out = BufWriter::new(fs::File::create(&file).unwrap());
    writeln!(out, "email,first_name,last_name").unwrap();
    for row in 0..rows {
        writeln!(out, "person{row}@example.org,First{row},Last{row}").unwrap();
    }
    out.flush().unwrap();
    let mut daemon = mailchute(&config, &["run"]).spawn().unwrap();
    // The pause keeps the drain out of the measurement; it needs an outbox to be written into.
    while !mailchute(&config, &["pause"]).status().unwrap().success() {
        thread::park_timeout(PAUSE);
    }
    let began = Instant::now();
    fs::rename(&file, home.path().join("spool/inbox/people.csv")).unwrap();
    let mut looks = Vec::new();
    while !taken_in(home.path()) {
        if looking {
            for command in [&["status"][..], &["queue", "list"]] {
                let look = Instant::now();
                mailchute(&config, command).status().unwrap();
                looks.push(look.elapsed());
            }
        }
        thread::park_timeout(PAUSE);
    }
    let took = began.elapsed();
    stop(&mut daemon);
    (took, looks)
}

fn taken_in(home: &Path) -> bool {
    let left = fs::read_dir(home.join("spool/inbox")).unwrap().flatten();
    left.filter(|file| !file.file_name().to_string_lossy().starts_with('.')).count() == 0
}

fn configure(home: &Path, sandbox: &Sandbox) -> std::path::PathBuf {
    fs::create_dir_all(home.join("spool/inbox")).unwrap();
    let file = home.join("mailchute.toml");
    let text = format!(
        "spool = \"spool\"\nstate = \"state\"\n\n[application]\nclient_id = \"bench\"\n\n{}\n[inbox]\nsettle = \"10ms\"\n\n\
         [[route]]\nfolder = \".\"\nlists = [\"Newsletter\"]\nconsent = \"explicit\"\n",
        sandbox.configuration()
    );
    fs::write(&file, text).unwrap();
    file
}

fn mailchute(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mailchute"));
    command.args(arguments).arg("--config").arg(config).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn stop(daemon: &mut Child) {
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}
