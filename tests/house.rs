//! The house rules that a compiler does not hold: which way imports may point, and what is absent on purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A crate and the only rooms that may use it.
const ONLY_IN: [(&str, &[&str]); 7] = [
    ("rusqlite", &["outbox"]),
    ("reqwest", &["constant_contact", "oauth", "daemon/heartbeat.rs"]),
    ("notify", &["inbox/watch"]),
    ("axum", &["web"]),
    ("prometheus_client", &["web/metrics.rs"]),
    ("sd_notify", &["daemon/service.rs"]),
    ("clap", &["cli", "log.rs"]),
];

/// Pure rooms, and what they must not touch.
const PURE: [&str; 29] = [
    "contact/mod.rs",
    "contact/email.rs",
    "contact/dates.rs",
    "contact/details.rs",
    "contact/evidence.rs",
    "contact/fields.rs",
    "inbox/spellings.rs",
    "plan.rs",
    "drain/verdict.rs",
    "drain/turns.rs",
    "forecast.rs",
    "drain/pace.rs",
    "drain/outage.rs",
    "drain/lanes.rs",
    "status/health.rs",
    "web/plot.rs",
    "drain/imports/search.rs",
    "constant_contact/import.rs",
    "inbox/decode.rs",
    "inbox/delimited.rs",
    "inbox/json/mod.rs",
    "inbox/json/object.rs",
    "inbox/json/walk.rs",
    "config/pointer.rs",
    "inbox/columns.rs",
    "inbox/settle.rs",
    "inbox/stuck.rs",
    "constant_contact/wire.rs",
    "constant_contact/refusal.rs",
];
const NOT_PURE: [&str; 9] = [
    "tokio",
    "rusqlite",
    "reqwest",
    "notify::",
    "std::fs::File",
    "fs::read",
    "Timestamp::now",
    "Instant::now()",
    "SystemTime::now",
];

/// A room, and the rooms that it must not know.
const STRANGERS: [(&str, &[&str]); 11] = [
    ("inbox", &["drain", "constant_contact", "oauth", "daemon", "cli", "status", "sandbox"]),
    ("drain", &["inbox", "daemon", "cli", "status", "sandbox"]),
    (
        "outbox",
        &["inbox", "drain", "constant_contact", "oauth", "daemon", "cli", "status", "sandbox", "config"],
    ),
    (
        "contact",
        &["inbox", "plan", "outbox", "drain", "constant_contact", "oauth", "daemon", "cli", "config"],
    ),
    ("plan.rs", &["inbox", "outbox", "drain", "constant_contact", "oauth", "daemon", "cli", "config"]),
    (
        "constant_contact",
        &["inbox", "outbox", "drain", "plan", "daemon", "cli", "status", "sandbox", "config"],
    ),
    (
        "oauth",
        &[
            "inbox",
            "outbox",
            "drain",
            "plan",
            "contact",
            "constant_contact",
            "daemon",
            "cli",
            "sandbox",
            "config",
        ],
    ),
    (
        "sandbox",
        &[
            "inbox",
            "outbox",
            "drain",
            "plan",
            "contact",
            "constant_contact",
            "oauth",
            "daemon",
            "cli",
            "config",
        ],
    ),
    ("daemon", &["cli", "sandbox"]),
    ("web", &["cli", "daemon", "sandbox", "inbox", "drain", "constant_contact", "oauth"]),
    ("status", &["cli", "daemon", "sandbox", "inbox", "drain", "constant_contact"]),
];

/// What must not be found in production code, and where it may be all the same.
const ABSENT: [(&str, &[&str]); 7] = [
    ("unsafe {", &[]),
    ("static mut", &[]),
    ("lazy_static", &[]),
    ("process::exit", &[]),
    ("cfg!(test)", &[]),
    ("TODO", &[]),
    ("tokio::spawn", &["cli", "sandbox"]),
];

fn sources() -> Vec<(String, String)> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() {
                collect(&entry, found);
            } else if entry.extension().is_some_and(|end| end == "rs") {
                found.push(entry);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &mut found);
    let text = |path: PathBuf| {
        let name = path.strip_prefix(&root).expect("below src").to_string_lossy().into_owned();
        (name, fs::read_to_string(path).expect("a source"))
    };
    found.into_iter().filter(|path| !path.ends_with("tests.rs")).map(text).collect()
}

/// The code without its tests and without comments.
fn code(text: &str) -> String {
    let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = production.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

fn is_in(file: &str, rooms: &[&str]) -> bool {
    rooms
        .iter()
        .any(|room| file == *room || file.starts_with(&format!("{room}/")) || file == format!("{room}.rs"))
}

/// Whether a name is used, and not as the end of a longer one.
fn uses(code: &str, name: &str) -> bool {
    let within = |place: usize| code[..place].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    code.match_indices(name).any(|(place, _)| !within(place))
}

/// Every breach of the rules, as file and what it uses.
fn breaches(sources: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources {
        let code = code(text);
        let mut breach = |what: &str| found.push(format!("{file} uses {what}"));
        for (name, rooms) in ONLY_IN {
            if uses(&code, &format!("{name}::")) && !is_in(file, rooms) {
                breach(name);
            }
        }
        if PURE.contains(&file.as_str()) {
            NOT_PURE.into_iter().filter(|name| uses(&code, name)).for_each(&mut breach);
        }
        for (_, strangers) in STRANGERS.into_iter().filter(|(room, _)| is_in(file, &[room])) {
            for stranger in strangers {
                if code.contains(&format!("crate::{stranger}::"))
                    || code.contains(&format!("crate::{stranger};"))
                {
                    breach(stranger);
                }
            }
        }
        for (name, rooms) in ABSENT {
            if uses(&code, name) && !is_in(file, rooms) {
                breach(name);
            }
        }
    }
    found
}

#[test]
fn imports_point_along_the_arrows_and_what_is_absent_stays_absent() {
    assert_eq!(breaches(&sources()), Vec::<String>::new());
}

#[test]
fn the_rules_are_about_files_that_exist() {
    let sources = sources();
    let missing: Vec<_> =
        PURE.into_iter().filter(|pure| !sources.iter().any(|(file, _)| file == pure)).collect();
    assert_eq!(missing, Vec::<&str>::new());
}

#[test]
fn a_breach_would_be_seen() {
    let sample = |file: &str, text: &str| vec![(file.to_owned(), text.to_owned())];
    assert_eq!(breaches(&sample("drain/mod.rs", "use crate::inbox::Inbox;")), ["drain/mod.rs uses inbox"]);
    assert_eq!(breaches(&sample("plan.rs", "let now = Timestamp::now();")), ["plan.rs uses Timestamp::now"]);
    assert_eq!(breaches(&sample("status.rs", "rusqlite::Connection::open(x)")), ["status.rs uses rusqlite"]);
    assert_eq!(breaches(&sample("status.rs", "// rusqlite::Connection")), Vec::<String>::new());
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(file, _)| file).collect();
    assert_eq!(silent, Vec::<String>::new());
}
