//! The companion as a process, and a person who does something with the address that it prints.

use std::{
    io::{BufRead, BufReader, Read},
    process::{ChildStdin, Command, Stdio},
};

use url::Url;

use super::{Bench, COMPANION, PATIENCE, within};

/// Runs the companion. Gives its exit status, and what it said on standard output after the address and on standard error.
pub fn companion_with(
    bench: &Bench,
    arguments: &[&str],
    browse: impl FnOnce(&Bench, Url, ChildStdin),
) -> (Option<i32>, String, String) {
    let mut child = Command::new(COMPANION)
        .args(arguments)
        .args(["--no-open", "--config"])
        .arg(bench.config())
        .env_remove("SSH_CONNECTION")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let input = child.stdin.take().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut errors = child.stderr.take().unwrap();
    let mut address = String::new();
    out.read_line(&mut address).unwrap();
    if let Ok(url) = Url::parse(address.trim()) {
        browse(bench, url, input);
    }
    within(PATIENCE, "the companion", move || {
        let (mut rest, mut said) = (String::new(), String::new());
        out.read_to_string(&mut rest).unwrap();
        errors.read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code(), rest, said)
    })
}

/// The loopback way.
pub fn companion(bench: &Bench, browse: impl FnOnce(&Bench, Url)) -> (Option<i32>, String, String) {
    companion_with(bench, &[], |bench, address, _input| browse(bench, address))
}
