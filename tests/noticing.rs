//! How files are noticed: folders that come and go, folders without events, bursts, slow writers, old archives.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::{Bench, address, counts, real_part, table};
use mailchute::sandbox::World;

/// How a folder of the spool is watched, and why.
fn watched(bench: &Bench, folder: &Path) -> Option<(String, String)> {
    let status = bench.status();
    let folders = status["inbox"]["folders"].as_array().unwrap();
    let found = folders.iter().find(|told| told["path"] == folder.to_string_lossy().as_ref())?;
    let text = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
    Some((text("watch"), text("reason")))
}

fn start_and_watch(bench: &mut Bench) {
    bench.start();
    bench.wait_until("the inbox is watched", |bench| watched(bench, &bench.inbox()).is_some());
}

#[test]
fn folders_that_appear_move_and_vanish_are_followed() {
    let mut bench = Bench::new();
    bench.route(&[(".", "Newsletter"), ("late", "Newsletter"), ("moved", "Newsletter")]);
    // The rescan would hide what events do not tell.
    bench.configure("inbox", "rescan = \"1h\"");
    start_and_watch(&mut bench);
    let receipt = |bench: &mut Bench, name: &'static str| {
        bench.wait_until(name, |bench| bench.receipts().contains_key(name));
    };
    fs::remove_dir(bench.inbox().join("late")).unwrap();
    bench.wait_until("it is gone", |bench| watched(bench, &bench.inbox().join("late")).is_none());
    bench.drop_file("late/again.csv", table(0, 1));
    receipt(&mut bench, "again.csv");

    let outside = bench.home.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("inside.csv"), table(1, 1)).unwrap();
    fs::remove_dir(bench.inbox().join("moved")).unwrap();
    fs::rename(&outside, bench.inbox().join("moved")).unwrap();
    receipt(&mut bench, "inside.csv");

    fs::rename(bench.inbox().join("moved"), &outside).unwrap();
    bench.wait_until("it left", |bench| watched(bench, &bench.inbox().join("moved")).is_none());
    fs::rename(&outside, bench.inbox().join("moved")).unwrap();
    bench.wait_until("it is back", |bench| watched(bench, &bench.inbox().join("moved")).is_some());
    bench.drop_file("moved/back.csv", table(2, 1));
    receipt(&mut bench, "back.csv");
    assert_eq!(bench.account(World::contact_count), 3);
    bench.stop();
}

#[test]
fn an_inbox_that_is_made_anew_and_a_spool_that_comes_back_are_watched_again() {
    let mut bench = Bench::new();
    bench.configure("inbox", "rescan = \"1h\"");
    start_and_watch(&mut bench);
    fs::remove_dir_all(bench.inbox()).unwrap();
    let gone =
        |bench: &Bench| bench.status()["reason"].as_str().unwrap().contains("mount it or make it again");
    bench.wait_until("the missing inbox is said", gone);
    fs::create_dir(bench.inbox()).unwrap();
    bench.wait_until("the inbox is back", |bench| bench.status()["health"] == "ok");
    bench.drop_file("a.csv", table(0, 1));
    bench.wait_until("a receipt", |bench| bench.receipts().len() == 1);

    let away = bench.home.path().join("away");
    fs::rename(bench.spool(), &away).unwrap();
    fs::create_dir(bench.spool()).unwrap();
    // Nothing in the spool says that it left; a hint stands for the next regular look.
    rustix::process::kill_process(bench.pid(), rustix::process::Signal::USR1).unwrap();
    bench.wait_until("the missing spool is said", gone);
    assert_eq!(fs::read_dir(bench.spool()).unwrap().count(), 0, "nothing is made where it was mounted");
    fs::remove_dir(bench.spool()).unwrap();
    fs::rename(&away, bench.spool()).unwrap();
    bench.wait_until("the spool is back", |bench| bench.status()["health"] == "ok");
    bench.drop_file("b.csv", table(1, 1));
    bench.wait_until("the other receipt", |bench| bench.receipts().len() == 2);
    bench.stop();
}

#[test]
fn a_folder_that_is_only_looked_at_works_and_says_so() {
    let mut bench = Bench::new();
    bench.configure("inbox", "watch = \"polling\"");
    start_and_watch(&mut bench);
    assert_eq!(watched(&bench, &bench.inbox()), Some(("polling".into(), "`watch` says so".into())));
    bench.drop_file("a.csv", table(0, 2));
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.stop();
}

/// A mount that is taken away again.
struct Mounted(std::path::PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _gone_already = Command::new("fusermount3").args(["-u", "-z"]).arg(&self.0).output();
    }
}

/// Mounts what lies behind a spool over it, by FUSE; `None` where that is not allowed, which is said.
fn mount(behind: &Path, spool: &Path) -> Option<Mounted> {
    if !real_part("bindfs", "--version") || !real_part("fusermount3", "--version") {
        return None;
    }
    let mount = Command::new("bindfs").arg(behind).arg(spool).output().unwrap();
    if !mount.status.success() {
        let said = common::text(&mount.stderr);
        common::real(false, &format!("a FUSE mount: {said}"));
        return None;
    }
    Some(Mounted(spool.to_owned()))
}

/// A spool that is a mount, and the folder behind it.
fn mounted_spool(bench: &Bench) -> Option<(std::path::PathBuf, Mounted)> {
    let behind = bench.home.path().join("behind");
    fs::rename(bench.spool(), &behind).unwrap();
    fs::create_dir(bench.spool()).unwrap();
    mount(&behind, &bench.spool()).map(|mounted| (behind, mounted))
}

/// Drops a file as another machine would: past the mount, so that no event can come.
fn drop_behind(behind: &Path, name: &str, text: &str) {
    let hidden = behind.join("inbox/.hidden");
    fs::write(&hidden, text).unwrap();
    fs::rename(&hidden, behind.join("inbox").join(name)).unwrap();
}

#[test]
fn a_spool_on_a_file_system_without_events_is_polled_and_says_why() {
    let mut bench = Bench::new();
    let Some((behind, _mounted)) = mounted_spool(&bench) else { return };
    start_and_watch(&mut bench);
    let (how, why) = watched(&bench, &bench.inbox()).unwrap();
    assert_eq!((how.as_str(), why.contains("FUSE")), ("polling", true), "{why}");
    drop_behind(&behind, "a.csv", &table(0, 2));
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    assert_eq!(counts(&bench.receipts()["a.csv"]), "2 created");
    bench.stop();
}

#[test]
fn a_file_that_no_event_told_of_is_found_by_the_rescan_and_counted() {
    let mut bench = Bench::new();
    bench.configure("inbox", "watch = \"events\"");
    let Some((behind, _mounted)) = mounted_spool(&bench) else { return };
    start_and_watch(&mut bench);
    bench.drop_file("told.csv", table(0, 1));
    bench.wait_until("the first receipt", |bench| bench.receipts().len() == 1);
    assert_eq!(bench.status()["inbox"]["missed_events"], 0);
    drop_behind(&behind, "untold.csv", &table(1, 1));
    bench.wait_until("the other receipt", |bench| bench.receipts().len() == 2);
    assert_eq!(bench.status()["inbox"]["missed_events"], 1);
    assert!(bench.log().contains("no event told of them"), "{}", bench.log());
    bench.stop();
}

#[test]
fn a_spool_that_is_unmounted_is_waited_for_and_comes_back() {
    let mut bench = Bench::new();
    let Some((behind, mounted)) = mounted_spool(&bench) else { return };
    start_and_watch(&mut bench);
    drop(mounted);
    bench.wait_until("the missing spool is said", |bench| {
        bench.status()["reason"].as_str().unwrap().contains("mount it or make it again")
    });
    assert_eq!(fs::read_dir(bench.spool()).unwrap().count(), 0, "nothing is made where it was mounted");
    drop_behind(&behind, "a.csv", &table(0, 2));
    let Some(_mounted) = mount(&behind, &bench.spool()) else { return };
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    bench.wait_until("all is well", |bench| bench.status()["health"] == "ok");
    bench.stop();
}

#[test]
fn a_writer_that_appends_a_line_every_100_ms_for_20_seconds_is_taken_once_and_whole() {
    let mut bench = Bench::new();
    bench.configure("inbox", "settle = \"2s\"");
    start_and_watch(&mut bench);
    let script = "echo email > \"$1\"; i=0; while [ $i -lt 200 ]; do \
                  echo \"person$i@example.org\" >> \"$1\"; i=$((i+1)); sleep 0.1; done";
    let mut writer =
        Command::new("sh").args(["-c", script, "sh"]).arg(bench.inbox().join("log.csv")).spawn().unwrap();
    bench.wait_until("the writer is done", |bench| {
        assert_eq!(bench.receipts().len(), 0, "half a file was taken");
        writer.try_wait().unwrap().is_some()
    });
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    assert_eq!(counts(&bench.receipts()["log.csv"]), "200 created");
    assert_eq!(bench.files("failed").len(), 0);
    bench.stop();
}

/// Files before the burst.
const WARM: usize = 20;

/// What the daemon may take, in KiB. SQLite's page caches fill up to their bound while thousands of files pass, and no more.
const MOST_MEMORY: u64 = 64 << 10;

/// Open files and resident memory (KiB) of the daemon.
fn size(bench: &Bench) -> (usize, u64) {
    let process = format!("/proc/{}", bench.pid().as_raw_nonzero());
    let files = fs::read_dir(format!("{process}/fd")).unwrap().count();
    let status = fs::read_to_string(format!("{process}/status")).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (files, memory.trim().trim_end_matches(" kB").parse().unwrap())
}

#[test]
fn files_dropped_at_once_by_four_processes_are_each_settled_once() {
    // The promise is about 10,000: `MAILCHUTE_BURST=2500 cargo test --release --test noticing at_once`.
    let each: usize = std::env::var("MAILCHUTE_BURST").ok().map_or(60, |text| text.parse().unwrap());
    let mut bench = Bench::new();
    start_and_watch(&mut bench);
    // Connections to the account and caches are there before it is measured.
    for number in 0..WARM {
        bench.drop_file(&format!("warm{number}.csv"), table(number, 1));
    }
    bench.wait_until("the first receipts", |bench| bench.receipts().len() == WARM);
    let before = size(&bench);
    let hidden = bench.inbox().join(".batch");
    fs::create_dir(&hidden).unwrap();
    for number in 0..4 * each {
        let text = format!("{{\"email\": \"{}\"}}", address(WARM + number));
        fs::write(hidden.join(format!("{number}.json")), text).unwrap();
    }
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let script = format!(
                "i={writer}; while [ $i -lt {} ]; do mv {1}/$i.json {2}/$i.json; i=$((i+4)); done",
                4 * each,
                hidden.display(),
                bench.inbox().display()
            );
            Command::new("sh").args(["-c", &script]).spawn().unwrap()
        })
        .collect();
    for mut writer in writers {
        assert!(writer.wait().unwrap().success());
    }
    let patience = common::PATIENCE + Duration::from_millis(100) * u32::try_from(4 * each).unwrap();
    let all = WARM + 4 * each;
    bench.wait_at_most(patience, "all calls", |bench| bench.sign_up_calls() == all as u64);
    bench.wait_at_most(patience, "all receipts", |bench| bench.files("done").len() == 2 * all);
    let rows: BTreeSet<u64> =
        bench.receipts().values().map(|receipt| receipt["rows"].as_u64().unwrap()).collect();
    assert_eq!((bench.receipts().len(), rows), (all, BTreeSet::from([1])));
    assert_eq!(bench.sign_up_calls(), all as u64, "one call each");
    assert_eq!(bench.status()["outbox"]["delivered"], all);
    let after = size(&bench);
    assert!(after.0 <= before.0 + 8, "open files: {} before, {} after", before.0, after.0);
    assert!(after.1 <= MOST_MEMORY, "memory: {} KiB before, {} after", before.1, after.1);
    bench.stop();
}

#[test]
fn a_text_that_ends_in_the_middle_is_given_time() {
    let mut bench = Bench::new();
    bench.configure("inbox", "settle = \"400ms\"");
    start_and_watch(&mut bench);
    let path = bench.inbox().join("slow.json");
    fs::write(&path, "[{\"email\": \"jane@example.org\"},").unwrap();
    bench.wait_until("it was read once", |bench| bench.log().contains("its writer may only be slow"));
    let mut out = fs::OpenOptions::new().append(true).open(&path).unwrap();
    out.write_all(b"{\"email\": \"joe@example.org\"}]").unwrap();
    drop(out);
    bench.wait_until("the receipt", |bench| bench.receipts().len() == 1);
    assert_eq!(counts(&bench.receipts()["slow.json"]), "2 created");
    fs::write(bench.inbox().join("half.json"), "[{\"email\": ").unwrap();
    bench.wait_until("half a text fails in the end", |bench| bench.files("failed").len() == 2);
    bench.stop();
}

#[test]
fn an_older_export_after_a_newer_one_counts_again() {
    let bench = Bench::new();
    let export = |name: &str| format!("email,first_name\njane@example.org,{name}\n");
    for (number, (name, expected)) in
        [("Old", "1 created"), ("New", "1 updated"), ("Old", "1 updated"), ("Old", "1 unchanged")]
            .iter()
            .enumerate()
    {
        let file = format!("{number}.csv");
        bench.drop_file(&file, export(name));
        bench.run_once(0);
        assert_eq!(counts(&bench.receipts()[&file]), *expected, "{file}");
    }
}

#[test]
fn files_are_taken_in_the_order_they_were_completed() {
    let bench = Bench::new();
    for (name, first) in [("z.csv", "One"), ("m.csv", "Two"), ("a.csv", "Three")] {
        bench.drop_file(name, format!("email,first_name\njane@example.org,{first}\n"));
        // Time stamps of the same tick of the kernel's clock have no order.
        let dropped = Instant::now();
        while dropped.elapsed() < Duration::from_millis(20) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    bench.run_once(0);
    let last =
        bench.account(|world| world.contact("jane@example.org").unwrap().details["first_name"].clone());
    assert_eq!(last, "Three", "whatever the names are");
}

#[test]
fn archived_files_go_after_keep_done_and_failed_ones_stay() {
    let mut bench = Bench::new();
    bench.configure("inbox", "keep_done = \"3d\"");
    bench.drop_file("a.csv", "email\njane@example.org\nbad\n");
    bench.drop_file("broken.json", "{]");
    let inside = bench.start_inside();
    bench.wait_until("the answers", |bench| {
        bench.files("done").len() == 3 && bench.files("failed").len() == 2
    });
    inside.advance(&bench, Duration::from_hours(48));
    bench.drop_file("b.csv", table(5, 1));
    bench.wait_until("a newer answer", |bench| bench.receipts().contains_key("b.csv"));
    assert!(bench.receipts().contains_key("a.csv"), "two days are not three");
    inside.advance(&bench, Duration::from_hours(49));
    bench.wait_until("the old day is gone", |bench| !bench.receipts().contains_key("a.csv"));
    assert!(bench.receipts().contains_key("b.csv"));
    assert_eq!(bench.files("failed").len(), 2, "a person has not looked at these yet");
    inside.stop(&bench);
}
