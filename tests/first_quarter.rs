//! A new user's first quarter of an hour, with every mistake that is made in it: each message leads to its cure.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use common::companion::companion;
use common::{Bench, DAEMON, text};
use mailchute::sandbox::person;

/// The commented configuration that `init` writes: every key stands in it.
const EXAMPLE: &str = include_str!("../contrib/mailchute.toml");

/// Each key of the example with its table and value, whether it is commented out or not.
fn keys() -> Vec<(String, String, String)> {
    let (mut table, mut keys) = (String::new(), Vec::new());
    for line in EXAMPLE.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let name = bare.split('#').next().unwrap().trim();
        if name.starts_with('[') && name.ends_with(']') {
            name.clone_into(&mut table);
        } else if let Some((key, rest)) = bare.split_once(" = ")
            && key.bytes().all(|letter| letter.is_ascii_lowercase() || letter == b'_')
        {
            let value = rest
                .split(" # ")
                .next()
                .unwrap()
                .trim()
                .replace('…', "example.org")
                .replace("<API key>", "5a4dbe55");
            keys.push((table.clone(), key.to_owned(), value));
        }
    }
    keys
}

/// The smallest good configuration, with one key of a table under another name.
fn with(table: &str, key: &str, written: &str, value: &str) -> String {
    let mut tables = BTreeMap::from([
        (String::new(), vec![("spool", "\"spool\""), ("state", "\"state\"")]),
        ("[application]".to_owned(), vec![("client_id", "\"5a4dbe55\"")]),
        (
            "[[route]]".to_owned(),
            vec![("folder", "\".\""), ("lists", "[\"Newsletter\"]"), ("consent", "\"explicit\"")],
        ),
    ]);
    let lines = tables.entry(table.to_owned()).or_default();
    lines.retain(|(known, _)| *known != key);
    lines.push((written, value));
    let section = |(table, lines): (&String, &Vec<(&str, &str)>)| {
        let lines: String = lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("{table}\n{lines}")
    };
    tables.iter().map(section).collect()
}

fn status(file: &Path, text: &str) -> (Option<i32>, String) {
    fs::write(file, text).unwrap();
    let output = Command::new(DAEMON).args(["status", "--config"]).arg(file).output().unwrap();
    (output.status.code(), common::text(&output.stderr))
}

/// The slips of a hand: a letter too few, one too many, two in the wrong order, a dash, a capital.
fn slips(key: &str) -> Vec<String> {
    let middle = key.len() / 2;
    let (head, tail) = key.split_at(middle);
    let mut swapped: Vec<char> = key.chars().collect();
    swapped.swap(middle, middle - 1);
    let mut slips = vec![
        format!("{head}{}", &tail[1..]),
        format!("{head}{}{tail}", &head[middle - 1..]),
        swapped.into_iter().collect(),
        key.replace('_', "-"),
        format!("{}{}", key[..1].to_uppercase(), &key[1..]),
    ];
    slips.retain(|slip| slip != key);
    slips
}

#[test]
fn a_spelling_mistake_in_any_key_is_named_with_its_line_and_the_key_that_was_meant() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("mailchute.toml");
    let keys = keys();
    assert!(keys.len() >= 27, "the example lost keys: {keys:?}");
    for (table, key, value) in &keys {
        let good = with(table, key, key, value);
        let (code, said) = status(&file, &good);
        assert_ne!(code, Some(78), "`{key}` as the example has it is good:\n{good}\n{said}");
        for slip in slips(key) {
            let wrong = with(table, key, &slip, value);
            let (code, said) = status(&file, &wrong);
            let line = 1 + wrong.lines().position(|line| line.starts_with(&format!("{slip} = "))).unwrap();
            let place = format!("{}:{line}: `", file.display());
            assert_eq!(code, Some(78), "{slip}: {said}");
            assert!(said.contains(&place), "{slip}: {said}");
            assert!(said.contains(&format!("there is no such key; did you mean `{key}`?")), "{slip}: {said}");
        }
    }
    let tables: Vec<&str> = ["application", "inbox", "delivery", "metrics", "api", "route"].to_vec();
    for table in tables {
        let slip = format!("{table}{}", &table[table.len() - 1..]);
        let (code, said) = status(&file, &format!("{}\n[{slip}]\n", with("", "spool", "spool", "\"x\"")));
        assert_eq!(code, Some(78), "{slip}: {said}");
        assert!(said.contains(&format!("did you mean `{table}`?")), "{slip}: {said}");
    }
}

/// A command as the person types it, and what it answered, as one text.
struct Terminal<'a> {
    bench: &'a Bench,
    seen: String,
}

impl Terminal<'_> {
    fn types(&mut self, status: i32, arguments: &[&str]) {
        let output = self.bench.command(arguments);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {said}");
        self.sees(&format!("mailchute {}", arguments.join(" ")), &said);
    }

    fn signs_in(&mut self, status: i32) {
        let (code, _, said) = companion(self.bench, |bench, address| {
            let _what_the_page_says = bench.runtime().block_on(person::allow(&address)).unwrap();
        });
        assert_eq!(code, Some(status), "{said}");
        self.sees("mailchute-auth", &said);
    }

    /// Without what is another each time: folders, ports, times, log lines.
    fn sees(&mut self, command: &str, said: &str) {
        let plain = said.replace(&self.bench.home.path().display().to_string(), "HOME");
        let port = self.bench.redirect_uri.rsplit(':').next().unwrap().split('/').next().unwrap().to_owned();
        let plain = plain.replace(&port, "PORT");
        let kept =
            |line: &&str| !line.contains(" INFO ") && !line.contains(" WARN ") && !line.contains("after ");
        self.seen += &format!("$ {command}\n");
        plain.lines().filter(kept).for_each(|line| self.seen += &format!("{}\n", line.trim_end()));
    }

    fn has_seen(&mut self) -> String {
        std::mem::take(&mut self.seen)
    }
}

#[test]
fn from_init_to_the_first_delivery_with_a_wrong_list_and_a_wrong_secret_on_the_way() {
    let mut bench = Bench::new();
    fs::remove_file(bench.state().join("tokens.json")).unwrap();
    // `init` and filling it in are tested in `commands`; here the bench has filled it in, with a slip in the list's name.
    bench.route(&[(".", "Newsleter")]);
    let good_secret = fs::read_to_string(bench.home.path().join("client_secret")).unwrap();
    fs::write(bench.home.path().join("client_secret"), "not the secret").unwrap();
    let mut terminal = Terminal { bench: &bench, seen: String::new() };
    terminal.types(77, &["check"]);
    let seen = terminal.has_seen();
    assert!(seen.contains("sign in with `mailchute-auth --config HOME/mailchute.toml`"), "{seen}");
    terminal.signs_in(78);
    insta::assert_snapshot!(terminal.has_seen(), @"
    $ mailchute-auth
    Sign in as the user who created the application: the account's owner.
    The portal must have exactly this redirect URI: http://localhost:PORT/callback
    Visit this address:
    mailchute: the service does not know this application (The client secret supplied for a confidential client is invalid.): compare client_id with the portal's API key, and the secret in client_secret_file; the way of signing in must be the one that the application was registered for
    ");
    fs::write(bench.home.path().join("client_secret"), good_secret).unwrap();
    let mut terminal = Terminal { bench: &bench, seen: String::new() };
    terminal.signs_in(78);
    insta::assert_snapshot!(terminal.has_seen(), @"
    $ mailchute-auth
    Sign in as the user who created the application: the account's owner.
    The portal must have exactly this redirect URI: http://localhost:PORT/callback
    Visit this address:
    Done: mailchute may now write to the account `Sandbox Gardening Club`. A running daemon takes it up by itself. Refresh tokens rotate: a backup or a second copy of this installation must not use them.
    mailchute: the account has no list `Newsleter`; it has Newsletter
    You need not sign in again: mend the configuration or the account
    ");
    terminal.types(78, &["check"]);
    let seen = terminal.has_seen();
    assert!(
        seen.contains(
            "WRONG  route .        the account has no list `Newsleter`; did you mean `Newsletter`?"
        ),
        "{seen}"
    );
    bench.route(&[(".", "Newsletter")]);
    let mut terminal = Terminal { bench: &bench, seen: String::new() };
    terminal.types(0, &["check"]);
    assert!(!terminal.has_seen().contains("WRONG"));
    terminal.types(0, &["add", "jane@example.org", "--first-name", "Jane"]);
    terminal.types(0, &["run", "--once"]);
    terminal.types(0, &["status"]);
    let seen = terminal.has_seen();
    assert!(seen.contains("1 created, 0 updated") && seen.contains("\nmailchute ok\n"), "{seen}");
    assert!(bench.account(|world| world.contact("jane@example.org").is_some()));
}
