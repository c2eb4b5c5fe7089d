//! Much of everything on real processes: `cargo bench --bench soak [-- MINUTES [SEED]]`.
//!
//! For an hour, or as long as it is told, files are dropped and dropped again, people leave, faults come and go, and the
//! daemon is killed, stopped, and told to read its configuration, all by chance. Then all is well again, and the account is
//! compared with what was asked for: a receipt a file, a fate a row, nobody missing, nobody back who had left.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a soak that cannot go on says so at once"
)]

#[path = "../../tests/common/mod.rs"]
mod common;

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant, SystemTime},
};

use common::{Bench, UNLIMITED, address, assert_adds_up};
use mailchute::sandbox::{Permission, World};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rustix::process::Signal;

const MINUTES: u64 = 60;
const SEED: u64 = 1;
/// An hour's sign-ups, compressed: the account lets this many calls pass in a second.
const PER_SECOND: u32 = 50;
/// Files are older than this when they are dropped, so that nothing in them is taken for a fresh sign-up.
const AGE: Duration = Duration::from_hours(100);
/// The longest pause between two deeds.
const PAUSE_MILLIS: u64 = 600;
const ROWS: usize = 40;
/// Each passes by itself.
const FAULTS: [&str; 12] = [
    "500=next:5",
    "503=next:9",
    "html_503=next:3",
    "html_200=next:3",
    "empty_200=next:2",
    "lost=next:4",
    "cut=next:4",
    "reset=next:6",
    "throttled=next:5",
    "409=next:3",
    "activity_failed=once",
    "activity_timed_out=once",
];
/// One change of weather in so many is a fault; the others end it. The pauses of an outage are real ones: with more faults the
/// account would be out all the time, and nothing would be delivered that somebody could leave.
const GOOD_WEATHER: u32 = 10;
/// How far the clocks move at each look when the rest is waited for.
const STRIDE: Duration = Duration::from_mins(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// What coming to rest may take.
const PATIENCE: Duration = Duration::from_mins(20);

struct Soak {
    bench: Bench,
    luck: StdRng,
    people: usize,
    files: Vec<(String, String)>,
    left: BTreeSet<usize>,
    rows: usize,
    kills: u32,
    restarts: u32,
    faults: u32,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|word| word.parse::<u64>().ok());
    let (minutes, seed) = (numbers.next().unwrap_or(MINUTES), numbers.next().unwrap_or(SEED));
    let mut bench = Bench::with(|settings| {
        (settings.requests_per_second, settings.requests_per_day) = (PER_SECOND, UNLIMITED);
        settings.posts_per_address = None;
        settings.lists.push("Members".to_owned());
    });
    bench.route(&[(".", "Newsletter"), ("members", "Members")]);
    bench.implicit("members");
    bench.configure("delivery", "linger = \"2s\"");
    // The clocks move on by weeks in the end: no row is given up and no receipt is cleared away by that.
    bench.configure("delivery", "give_up_after = \"1000d\"");
    bench.configure("inbox", "keep_done = \"1000d\"");
    bench.start();
    let luck = StdRng::seed_from_u64(seed);
    let mut soak = Soak {
        bench,
        luck,
        people: 0,
        files: Vec::new(),
        left: BTreeSet::new(),
        rows: 0,
        kills: 0,
        restarts: 0,
        faults: 0,
    };
    let ends = Instant::now() + Duration::from_mins(minutes);
    while Instant::now() < ends {
        soak.deed();
        thread::sleep(Duration::from_millis(soak.luck.random_range(0..PAUSE_MILLIS)));
    }
    let calls = soak.bench.account(World::all_calls);
    soak.come_to_rest();
    soak.check();
    println!(
        "{minutes} min, seed {seed}: {} files, {} rows, {} people, {} left, {} kills, {} restarts, {} faults, {} calls, \
         {calls} of them before the end: every row is accounted for, nobody is missing, nobody is back who had left",
        soak.files.len(),
        soak.rows,
        soak.people,
        soak.left.len(),
        soak.kills,
        soak.restarts,
        soak.faults,
        soak.bench.account(World::all_calls)
    );
}

impl Soak {
    fn deed(&mut self) {
        match self.luck.random_range(0..20) {
            0..8 => self.new_file(),
            8..11 => self.an_old_file_again(),
            11..14 => self.somebody_leaves(),
            14..17 if self.luck.random_ratio(1, GOOD_WEATHER) => {
                let fault = FAULTS[self.luck.random_range(0..FAULTS.len())];
                self.bench.sandbox.fault(fault).unwrap();
                self.faults += 1;
            }
            14..17 => self.bench.sandbox.calm(),
            17 => {
                self.bench.kill();
                self.bench.start();
                self.kills += 1;
            }
            18 => {
                self.bench.stop();
                self.bench.start();
                self.restarts += 1;
            }
            _ => {
                // A process that has just begun does not catch it yet, and would end by it.
                self.bench.wait_until("the daemon catches SIGHUP", catches_hup);
                self.bench.signal(Signal::HUP);
            }
        }
    }

    fn new_file(&mut self) {
        let rows = self.luck.random_range(1..ROWS);
        let folder = if self.luck.random_bool(0.5) { "members/" } else { "" };
        let text = common::table(self.people, rows);
        self.people += rows;
        self.drop_file(folder, &text);
    }

    fn an_old_file_again(&mut self) {
        if !self.files.is_empty() {
            let (folder, text) = self.files[self.luck.random_range(0..self.files.len())].clone();
            self.drop_file(&folder, &text);
        }
    }

    fn drop_file(&mut self, folder: &str, text: &str) {
        let name = format!("{folder}{:05}.csv", self.files.len());
        let target = self.bench.inbox().join(&name);
        let hidden = target.with_file_name(".hidden");
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::write(&hidden, text).unwrap();
        let file = fs::File::options().write(true).open(&hidden).unwrap();
        file.set_modified(SystemTime::now() - AGE).unwrap();
        fs::rename(&hidden, &target).unwrap();
        self.rows += text.lines().count() - 1;
        self.files.push((folder.to_owned(), text.to_owned()));
    }

    fn somebody_leaves(&mut self) {
        if self.people > 0 {
            let who = self.luck.random_range(0..self.people);
            let there = self.bench.account(|world| world.contact(&address(who)).is_some());
            if there {
                self.bench.sandbox.change(|world| world.unsubscribe(&address(who)));
                self.left.insert(who);
            }
        }
    }

    fn come_to_rest(&mut self) {
        self.bench.stop();
        self.bench.sandbox.calm();
        let inside = self.bench.start_inside();
        let files = self.files.len();
        self.bench.wait_at_most(PATIENCE, "a receipt for each file", |bench| {
            inside.advance(bench, STRIDE);
            thread::sleep(LOOK);
            bench.receipts().len() == files
        });
        inside.stop(&self.bench);
    }

    fn check(&self) {
        let receipts = self.bench.receipts();
        receipts.values().for_each(assert_adds_up);
        let rows: u64 = receipts.values().map(|receipt| receipt["rows"].as_u64().unwrap()).sum();
        assert_eq!(rows, u64::try_from(self.rows).unwrap(), "every row is accounted for");
        let rejected: u64 =
            receipts.values().map(|receipt| receipt["counts"]["rejected"].as_u64().unwrap()).sum();
        assert_eq!(rejected, 0, "every row was good");
        assert!(!self.left.is_empty(), "nobody could leave: nothing was delivered before the end");
        self.bench.account(|world| {
            for who in 0..self.people {
                let contact =
                    world.contact(&address(who)).unwrap_or_else(|| panic!("{} is missing", address(who)));
                let out = contact.permission == Permission::Unsubscribed;
                assert_eq!(out, self.left.contains(&who), "{}: {:?}", address(who), contact.permission);
                assert_eq!(contact.details["first_name"], format!("First{who}"));
                assert_eq!(contact.lists.is_empty(), out, "{}", address(who));
            }
            assert_eq!(world.contact_count(), self.people, "nobody was made up");
        });
    }
}

/// Whether the daemon has a handler for SIGHUP, the lowest bit of the set in proc(5).
fn catches_hup(bench: &Bench) -> bool {
    let status =
        fs::read_to_string(format!("/proc/{}/status", bench.pid().as_raw_nonzero())).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|set| u64::from_str_radix(set.trim(), 16).is_ok_and(|set| set & 1 == 1))
}
