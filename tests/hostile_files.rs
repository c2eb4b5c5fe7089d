//! What people and attackers put into an inbox besides good files: each is refused with a reason or left and said, and
//! the good file beside it is taken.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    process::Command,
};

use common::{Bench, DAEMON, counts, real_part, table};
use serde_json::Value;

/// The reason beside a failed file.
fn reason(bench: &Bench, name: &str) -> String {
    let wanted = format!("{name}.reason.json");
    let path = bench.files("failed").into_iter().find(|path| path.file_name().unwrap() == wanted.as_str());
    let path = path.unwrap_or_else(|| panic!("no {wanted} in {:?}", bench.files("failed")));
    let reason: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let told = path.with_file_name(name);
    assert!(fs::symlink_metadata(told).is_ok(), "the file is beside its reason");
    reason["reason"].as_str().unwrap().to_owned()
}

/// Runs once with a good file beside, which must arrive.
fn run_beside_a_good_one(bench: &Bench) {
    bench.drop_file("good.csv", table(0, 2));
    bench.run_once(65);
    assert_eq!(counts(&bench.receipts()["good.csv"]), "2 created");
    let hidden = |path: &Path| path.file_name().unwrap().as_bytes().starts_with(b".");
    let left: Vec<_> = bench.files("inbox").into_iter().filter(|path| !hidden(path)).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

#[test]
fn what_is_no_plain_file_is_refused_and_never_opened() {
    let bench = Bench::new();
    let secret = bench.home.path().join("secret.csv");
    fs::write(&secret, table(7, 1)).unwrap();
    let inbox = bench.inbox();
    std::os::unix::fs::symlink(&secret, inbox.join("link.csv")).unwrap();
    let fifo = Command::new("mkfifo").arg(inbox.join("pipe.csv")).status().unwrap();
    assert!(fifo.success());
    let _socket = std::os::unix::net::UnixListener::bind(inbox.join("socket.csv")).unwrap();
    fs::create_dir_all(inbox.join("folder.csv")).unwrap();
    fs::write(inbox.join("folder.csv/inside.csv"), table(8, 1)).unwrap();
    std::os::unix::fs::symlink(bench.home.path(), inbox.join("way-out.csv")).unwrap();
    run_beside_a_good_one(&bench);
    assert_eq!(reason(&bench, "link.csv"), "this is a symbolic link: drop the file itself");
    assert_eq!(reason(&bench, "way-out.csv"), "this is a symbolic link: drop the file itself");
    assert_eq!(reason(&bench, "pipe.csv"), "this is a pipe: write a file");
    assert_eq!(reason(&bench, "socket.csv"), "this is a socket: write a file");
    assert_eq!(
        reason(&bench, "folder.csv"),
        "this is a folder with the name of a file: drop the files themselves"
    );
    assert!(secret.exists(), "what a link leads to is not touched");
    assert_eq!(bench.account(mailchute::sandbox::World::contact_count), 2);
}

#[test]
fn a_device_is_refused() {
    let bench = Bench::new();
    let made =
        Command::new("mknod").arg(bench.inbox().join("null.csv")).args(["c", "1", "3"]).output().unwrap();
    if !made.status.success() {
        assert!(std::env::var_os("CI").is_none(), "a device can be made where the checks run");
        writeln!(std::io::stderr(), "NOT RUN: this test needs the right to make a device (root)").unwrap();
        return;
    }
    run_beside_a_good_one(&bench);
    assert_eq!(reason(&bench, "null.csv"), "this is a device: write a file");
}

#[test]
fn a_file_that_anybody_may_have_linked_in_is_refused_and_its_own_links_are_not() {
    let bench = Bench::new();
    let other = bench.home.path().join("other.csv");
    fs::write(&other, table(5, 1)).unwrap();
    fs::hard_link(&other, bench.inbox().join("mine.csv")).unwrap();
    bench.run_once(0);
    assert_eq!(
        counts(&bench.receipts()["mine.csv"]),
        "1 created",
        "linked into place by the only one who can"
    );
    fs::set_permissions(bench.inbox(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::hard_link(&other, bench.inbox().join("foreign.csv")).unwrap();
    run_beside_a_good_one(&bench);
    let reason = reason(&bench, "foreign.csv");
    assert!(reason.starts_with("this is a file that has other names besides (hard links)"), "{reason}");
    assert_eq!(fs::read_to_string(other).unwrap(), table(5, 1), "what it leads to is not touched");
}

#[test]
fn names_are_kept_where_they_can_be_written_down_and_refused_where_not() {
    let bench = Bench::new();
    let inbox = bench.inbox();
    let long = format!("{}.csv", "n".repeat(251));
    for (number, name) in ["two\nlines.csv", "..csv.csv", "a..b.csv", &long].into_iter().enumerate() {
        fs::write(inbox.join(name), table(10 + number, 1)).unwrap();
    }
    fs::write(inbox.join(OsStr::from_bytes(b"bad\xff.csv")), table(20, 1)).unwrap();
    run_beside_a_good_one(&bench);
    let receipts = bench.receipts();
    let names: Vec<&str> = receipts.values().map(|receipt| receipt["file"].as_str().unwrap()).collect();
    assert!(names.contains(&"two\nlines.csv") && names.contains(&"a..b.csv"), "{names:?}");
    assert!(names.contains(&long.as_str()), "the receipt names the whole name");
    let short = receipts.keys().find(|name| name.starts_with("nnn")).unwrap();
    assert!(short.len() < 255 - ".receipt.json".len() && short.ends_with("n.csv"), "{short}");
    assert!(!names.contains(&"..csv.csv"), "a name that begins with a dot is hidden");
    assert_eq!(
        reason(&bench, "bad\u{fffd}.csv"),
        "the name of the file or of its folder is not UTF-8: rename it"
    );
}

#[test]
fn contents_that_only_pretend_say_what_they_are() {
    let mut bench = Bench::new();
    bench.configure("inbox", "max_file_size = \"1MiB\"");
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(b"email\n").unwrap();
    for _ in 0..2_000 {
        bomb.write_all(&[b'\n'; 4096]).unwrap();
    }
    bench.drop_file("bomb.csv.gz", bomb.finish().unwrap());
    bench.drop_file("book.csv", b"PK\x03\x04\x14\x00\x06\x00xl/workbook.xml");
    bench.drop_file("old.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1rest");
    bench.drop_file("page.csv", "<!DOCTYPE html>\n<html><body>502 Bad Gateway</body></html>\n");
    run_beside_a_good_one(&bench);
    assert!(reason(&bench, "bomb.csv.gz").contains("max_file_size"), "{}", reason(&bench, "bomb.csv.gz"));
    assert!(reason(&bench, "book.csv").contains("workbook"), "{}", reason(&bench, "book.csv"));
    assert!(reason(&bench, "old.csv").contains("workbook"), "{}", reason(&bench, "old.csv"));
    assert!(reason(&bench, "page.csv").to_lowercase().contains("web page"), "{}", reason(&bench, "page.csv"));
}

/// Makes a file that nobody can rename, as root can; gives the freedom back when dropped.
struct Immutable<'a>(&'a Path);

impl<'a> Immutable<'a> {
    fn new(path: &'a Path) -> Option<Self> {
        let done = Command::new("chattr").arg("+i").arg(path).output();
        let done = done.is_ok_and(|output| output.status.success());
        done.then_some(Self(path))
    }
}

impl Drop for Immutable<'_> {
    fn drop(&mut self) {
        let _gone_already = Command::new("chattr").arg("-i").arg(self.0).output();
    }
}

#[test]
fn a_file_that_cannot_be_moved_is_left_said_and_does_not_stop_the_others() {
    let mut bench = Bench::new();
    let (stuck, broken) = (bench.inbox().join("stuck.csv"), bench.inbox().join("broken.json"));
    fs::write(&stuck, table(0, 3)).unwrap();
    fs::write(&broken, "{]").unwrap();
    let (Some(first), Some(second)) = (Immutable::new(&stuck), Immutable::new(&broken)) else {
        assert!(std::env::var_os("CI").is_none(), "files can be made immutable where the checks run");
        writeln!(std::io::stderr(), "NOT RUN: this test needs chattr +i (root, a file system that has it)")
            .unwrap();
        return;
    };
    bench.start();
    bench.drop_file("good.csv", table(10, 2));
    bench.wait_until("the good file's receipt", |bench| bench.receipts().contains_key("good.csv"));
    bench.wait_until("the stuck ones are said", |bench| {
        let status = bench.status();
        let reason = status["reason"].as_str().unwrap();
        status["health"] != "ok" && reason.contains("broken.json: ") && reason.contains("(and 1 more)")
    });
    assert!(stuck.exists() && broken.exists());
    bench.wait_until("its rows went out", |bench| {
        bench.account(mailchute::sandbox::World::contact_count) == 5
    });
    drop((first, second));
    bench.wait_until("both are moved when they can be", |bench| {
        bench.receipts().contains_key("stuck.csv") && bench.files("failed").len() == 2
    });
    bench.wait_until("nothing is in the way any more", |bench| bench.status()["health"] == "ok");
    assert_eq!(counts(&bench.receipts()["stuck.csv"]), "3 created", "once");
    bench.stop();
}

#[test]
fn a_file_that_we_may_not_read_fails_with_what_would_help() {
    if !real_part("setpriv", "--version") {
        return;
    }
    let bench = Bench::new();
    bench.drop_file("theirs.csv", table(0, 2));
    bench.drop_file("good.csv", table(5, 2));
    let theirs = bench.inbox().join("theirs.csv");
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = Command::new(DAEMON);
    if rustix::process::geteuid().is_root() {
        // Root reads everything: the daemon runs as somebody else, to whom all but this file belongs.
        let nobody = "65534";
        let owned = Command::new("chown").args(["-R", nobody]).arg(bench.home.path()).status().unwrap();
        assert!(owned.success());
        std::os::unix::fs::chown(&theirs, Some(0), Some(0)).unwrap();
        command = Command::new("setpriv");
        command.args(["--reuid", nobody, "--regid", nobody, "--clear-groups", DAEMON]);
    }
    let output = command.args(["run", "--once", "--config"]).arg(bench.config()).output().unwrap();
    assert_eq!(output.status.code(), Some(65), "{}", common::text(&output.stderr));
    assert_eq!(counts(&bench.receipts()["good.csv"]), "2 created");
    let reason = reason(&bench, "theirs.csv");
    assert!(reason.ends_with("let the user that runs mailchute read it"), "{reason}");
}
