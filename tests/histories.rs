//! Random histories: files, people who leave and come back, faults, kills and corrected clocks, over weeks that a stopped
//! clock makes short. At the end of each, the account holds what it should, and every row is accounted for.
//!
//! Both loops, the client and SQLite are the real ones; the account is the sandbox, called as a function. The model knows
//! what people did and what files said, and nothing of how the program works.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

#[path = "common/in_process.rs"]
mod in_process;

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use in_process::{LOOK, Rehearsal, rehearse};
use jiff::{SignedDuration, Timestamp};
use mailchute::sandbox::{Permission, Settings, World};
use proptest::{prelude::*, test_runner::TestCaseResult};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const PEOPLE: usize = 6;
const NAMES: [&str; 4] = ["Ada", "Bo", "Cy", "Di"];
/// Folder, lists, and whether the people in it asked.
const ROUTES: [(&str, &[&str], bool); 3] =
    [(".", &["Newsletter"], true), ("members", &["Members"], false), ("shop", &["Newsletter", "Shop"], true)];
/// Each passes by itself, or with a `Calm`.
const FAULTS: [&str; 16] = [
    "500@sign_up_form=next:3",
    "503=next:4",
    "lost@sign_up_form=share:0.4",
    "lost@contacts_json_import=next:1",
    "cut=share:0.2",
    "reset=share:0.3",
    "hang=next:1",
    "throttled=next:2",
    "unknown_429=next:2",
    "quota=once",
    "html_200=next:2",
    "empty_200=next:2",
    "409=next:2",
    "activity_failed=once",
    "activity_forgotten=once",
    "activity_timed_out=once",
];
/// The day's calls: few enough to be used up by some histories.
const PER_DAY: u32 = 120;
/// A row that is younger than this when it is first sent is not asked about: nobody leaves before the first letter.
const UNGUARDED: SignedDuration = SignedDuration::from_hours(1);
/// Between two deeds.
const BETWEEN: Duration = Duration::from_secs(2);
/// After its last deed a history gets this long to come to rest: the day's calls and the four tries in a day may hold rows
/// back for days, and the account forgets imports after ten.
const REST: u32 = 30;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Deed {
    /// A file that was written some hours ago, with rows of person, name, and hours since consent if it says so.
    Drop {
        route: usize,
        age: i64,
        rows: Vec<(usize, usize, Option<i64>)>,
    },
    /// An earlier file once more, as it was or with a new time.
    DropAgain {
        which: prop::sample::Index,
        touched: bool,
    },
    Leaves(usize),
    LeavesList(usize, usize),
    IsDeleted(usize),
    ComesBack(usize),
    Fault(usize),
    Calm,
    Run {
        minutes: u64,
    },
    Killed {
        after_millis: u64,
    },
    ClockCorrected {
        minutes: i64,
    },
}

fn deed() -> impl Strategy<Value = Deed> {
    let row = (0..PEOPLE, 0..NAMES.len(), prop::option::weighted(0.4, 0..100_i64));
    let rows = prop::collection::vec(row, 1..5);
    prop_oneof![
        6 => (0..ROUTES.len(), prop_oneof![3 => Just(0), 2 => 1..100_i64], rows)
            .prop_map(|(route, age, rows)| Deed::Drop { route, age, rows }),
        3 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, touched)| Deed::DropAgain { which, touched }),
        3 => (0..PEOPLE).prop_map(Deed::Leaves),
        1 => (0..PEOPLE, 0..3_usize).prop_map(|(who, list)| Deed::LeavesList(who, list)),
        1 => (0..PEOPLE).prop_map(Deed::IsDeleted),
        1 => (0..PEOPLE).prop_map(Deed::ComesBack),
        3 => (0..FAULTS.len()).prop_map(Deed::Fault),
        2 => Just(Deed::Calm),
        6 => (1..600_u64).prop_map(|minutes| Deed::Run { minutes }),
        3 => (1..120_000_u64).prop_map(|after_millis| Deed::Killed { after_millis }),
        1 => (-8..8_i64).prop_map(|minutes| Deed::ClockCorrected { minutes }),
    ]
}

fn address(person: usize) -> String {
    format!("person{person}@example.org")
}

/// A row as the model remembers it.
#[derive(Debug, Clone)]
struct Said {
    person: usize,
    name: usize,
    route: usize,
    /// When the person agreed, as far as the file lets one know.
    consent: Timestamp,
    /// Whether the row itself says so.
    own: bool,
}

/// A file as it was dropped, to be dropped again.
#[derive(Debug, Clone)]
struct Written {
    route: usize,
    rows: Vec<(usize, usize, Option<Timestamp>)>,
    modified: Timestamp,
    bytes: String,
}

/// What last happened to a person by somebody else's hand.
#[derive(Debug, Clone, Copy, Default)]
struct Person {
    left: Option<Timestamp>,
    deleted: Option<Timestamp>,
    left_list: [Option<Timestamp>; 3],
    /// Anything at all happened to it beside our calls.
    touched: bool,
}

struct Story {
    house: Rehearsal,
    files: Vec<Written>,
    dropped: usize,
    said: Vec<Said>,
    people: [Person; PEOPLE],
    last_completed: (i64, i64),
    /// The most that our clock ever was wrong.
    margin: SignedDuration,
}

impl Story {
    fn begin(seed: u64) -> Self {
        let lists: BTreeSet<&str> = ROUTES.iter().flat_map(|(_, lists, _)| lists.iter().copied()).collect();
        let settings = Settings {
            requests_per_day: PER_DAY,
            lists: lists.into_iter().map(str::to_owned).collect(),
            latency: Duration::from_millis(10),
            seed,
            ..Settings::default()
        };
        Self {
            house: Rehearsal::new(settings, &tables()),
            files: Vec::new(),
            dropped: 0,
            said: Vec::new(),
            people: [Person::default(); PEOPLE],
            last_completed: (0, 0),
            margin: SignedDuration::ZERO,
        }
    }

    async fn happens(&mut self, deed: &Deed) {
        let now = self.house.now();
        match deed {
            Deed::Drop { route, age, rows } => self.write(*route, *age, rows),
            Deed::DropAgain { which, touched } if !self.files.is_empty() => {
                let mut file = which.get(&self.files).clone();
                if *touched {
                    file.modified = self.house.our_clock().now();
                }
                self.drop_file(&file);
            }
            Deed::DropAgain { .. } => {}
            Deed::Leaves(who) => {
                let was_there = self.change(*who, World::unsubscribe);
                self.people[*who].left = was_there.then_some(now).or(self.people[*who].left);
            }
            Deed::LeavesList(who, list) => {
                let name = ["Members", "Newsletter", "Shop"][*list];
                // Whoever is not on a list cannot leave it.
                let is_on_it =
                    self.house.account.inspect(|world| world.members(name).contains(&address(*who)));
                if is_on_it && self.change(*who, |world, address| world.leave_list(address, name)) {
                    self.people[*who].left_list[*list] = Some(now);
                }
            }
            Deed::IsDeleted(who) => {
                let was_there = self.change(*who, World::delete);
                self.people[*who].deleted = was_there.then_some(now).or(self.people[*who].deleted);
            }
            Deed::ComesBack(who) => {
                if self.change(*who, World::come_back) {
                    self.people[*who] = Person { touched: true, ..Person::default() };
                }
            }
            Deed::Fault(which) => self.house.account.change(|world| world.fault(FAULTS[*which])).unwrap(),
            Deed::Calm => self.house.account.change(World::calm),
            Deed::Run { minutes } => self.house.run(Duration::from_mins(*minutes)).await,
            Deed::Killed { after_millis } => {
                let killed = Box::pin(self.house.live(CancellationToken::new()));
                let _gone = tokio::time::timeout(Duration::from_millis(*after_millis), killed).await;
            }
            Deed::ClockCorrected { minutes } => {
                // Files that nobody saw come are ordered by time stamps, which a corrected clock makes useless.
                self.house.run(LOOK).await;
                let wrong = SignedDuration::from_mins(*minutes);
                self.house.set_our_clock_wrong_by(wrong);
                self.margin = self.margin.max(wrong.abs());
            }
        }
    }

    /// Changes a contact that is there.
    fn change(&mut self, who: usize, change: impl FnOnce(&mut World, &str)) -> bool {
        let address = address(who);
        let there = self.house.account.inspect(|world| world.contact(&address).is_some());
        if there {
            self.house.account.change(|world| change(world, &address));
            self.people[who].touched = true;
        }
        there
    }

    fn write(&mut self, route: usize, age: i64, rows: &[(usize, usize, Option<i64>)]) {
        let now = self.house.our_clock().now();
        let ago = |hours: i64| now - SignedDuration::from_hours(hours);
        let rows: Vec<_> = rows.iter().map(|(who, name, consent)| (*who, *name, consent.map(ago))).collect();
        let mut bytes = "email,first_name,consent_at\n".to_owned();
        for (who, name, consent) in &rows {
            let consent = consent.map_or_else(String::new, |at| at.to_string());
            writeln!(bytes, "{},{},{consent}", address(*who), NAMES[*name]).unwrap();
        }
        let file = Written { route, rows, modified: ago(age), bytes };
        self.drop_file(&file);
        self.files.push(file);
    }

    fn drop_file(&mut self, file: &Written) {
        let folder = self.house.config.inbox_folder().join(ROUTES[file.route].0);
        let hidden = folder.join(".hidden");
        fs::write(&hidden, &file.bytes).unwrap();
        let since = Duration::from_millis(file.modified.as_millisecond().unsigned_abs());
        let modified = std::time::SystemTime::UNIX_EPOCH + since;
        fs::File::options().write(true).open(&hidden).unwrap().set_modified(modified).unwrap();
        let target = folder.join(format!("{:04}.csv", self.dropped));
        fs::rename(&hidden, &target).unwrap();
        self.completed_after_all_others(&target);
        self.dropped += 1;
        let now = self.house.our_clock().now();
        for (person, name, own) in &file.rows {
            let consent = own.unwrap_or(file.modified).min(now);
            let (person, name, route) = (*person, *name, file.route);
            self.said.push(Said { person, name, route, consent, own: own.is_some() });
        }
    }

    /// Files are taken in the order in which they were completed, which the kernel notes in ticks of some milliseconds.
    fn completed_after_all_others(&mut self, file: &Path) {
        let changed = || fs::metadata(file).map(|meta| (meta.ctime(), meta.ctime_nsec())).unwrap();
        while changed() <= self.last_completed {
            fs::set_permissions(file, fs::metadata(file).unwrap().permissions()).unwrap();
        }
        self.last_completed = changed();
    }

    /// All is well again, and time passes until nothing waits.
    async fn comes_to_rest(&self) -> bool {
        self.house.run(LOOK).await;
        self.house.account.change(World::calm);
        self.house.set_our_clock_wrong_by(SignedDuration::ZERO);
        for _ in 0..REST {
            self.house.run(Duration::from_hours(2)).await;
            for _ in 0..11 {
                if self.house.waits() == 0 {
                    // What was settled after the last look is answered at the next one.
                    self.house.run(LOOK * 2).await;
                    return true;
                }
                self.house.run(Duration::from_hours(2)).await;
            }
        }
        false
    }

    fn check(&self) -> TestCaseResult {
        self.every_row_is_accounted_for()?;
        for (who, person) in self.people.iter().enumerate() {
            self.nobody_is_mailed_against_their_will(who, person)?;
            self.who_asked_is_there(who, person)?;
        }
        let (over, calls) =
            self.house.account.inspect(|world| (world.over_a_limit(), world.calls_by_status().clone()));
        // With a wrong clock, our day is not the service's: it then may refuse, and that does no harm.
        if self.margin.is_zero() {
            prop_assert_eq!(over, 0, "calls that were too many in a second or a day: {:?}", calls);
        }
        let refused: u64 =
            calls.iter().filter(|((_, status), _)| *status == 400).map(|(_, calls)| *calls).sum();
        prop_assert_eq!(refused, 0, "an address was tried too often, or a call was wrong: {:?}", calls);
        Ok(())
    }

    fn every_row_is_accounted_for(&self) -> TestCaseResult {
        let receipts = self.receipts();
        prop_assert_eq!(receipts.len(), self.dropped, "a receipt a file");
        let rows: u64 = receipts.iter().map(|receipt| receipt["rows"].as_u64().unwrap()).sum();
        prop_assert_eq!(rows, u64::try_from(self.said.len()).unwrap());
        for receipt in &receipts {
            let counts = receipt["counts"].as_object().unwrap();
            let counted: u64 = counts.values().map(|count| count.as_u64().unwrap()).sum();
            prop_assert_eq!(Some(counted), receipt["rows"].as_u64(), "{}", receipt);
            prop_assert_eq!(&receipt["counts"]["rejected"], 0, "{}", receipt);
        }
        Ok(())
    }

    fn receipts(&self) -> Vec<Value> {
        let mut receipts = Vec::new();
        let days = fs::read_dir(self.house.home.path().join("spool/done")).into_iter().flatten();
        for file in days.flat_map(|day| fs::read_dir(day.unwrap().path()).unwrap()) {
            let path: PathBuf = file.unwrap().path();
            if path.to_string_lossy().ends_with(".receipt.json") {
                receipts.push(serde_json::from_slice(&fs::read(path).unwrap()).unwrap());
            }
        }
        receipts
    }

    fn rows_of(&self, who: usize) -> impl Iterator<Item = &Said> {
        self.said.iter().filter(move |said| said.person == who)
    }

    /// Who left, was deleted, or left a list is back only by a row that is younger than that.
    fn nobody_is_mailed_against_their_will(&self, who: usize, person: &Person) -> TestCaseResult {
        let Some((permission, deleted, lists)) = self.held(who) else { return Ok(()) };
        let newer = |than: Timestamp, on: Option<&str>| {
            self.rows_of(who).any(|said| {
                let (_, lists, explicit) = ROUTES[said.route];
                let fits = on.is_none_or(|list| lists.contains(&list)) && (explicit || on.is_some());
                fits && said.consent >= than - UNGUARDED - self.margin
            })
        };
        if let Some(left) = person.left {
            let out = permission == Permission::Unsubscribed;
            prop_assert!(
                out || newer(left, None),
                "person {} left {} and is back: {:#?}",
                who,
                left,
                self.said
            );
        }
        if let Some(deleted_at) = person.deleted {
            let any = self.rows_of(who).any(|said| said.consent >= deleted_at - UNGUARDED - self.margin);
            prop_assert!(deleted || any, "person {} was deleted {} and is back", who, deleted_at);
        }
        for (list, left) in ["Members", "Newsletter", "Shop"].into_iter().zip(person.left_list) {
            if let Some(left) = left {
                let on_it = lists.contains(list);
                prop_assert!(!on_it || newer(left, Some(list)), "person {} left {} at {}", who, list, left);
            }
        }
        Ok(())
    }

    /// Whom nobody else touched is there as the last row says, on every list; who asked again after leaving is back.
    fn who_asked_is_there(&self, who: usize, person: &Person) -> TestCaseResult {
        let Some(last) = self.rows_of(who).last() else { return Ok(()) };
        let held = self.held(who);
        if !person.touched {
            let wanted: BTreeSet<&str> =
                self.rows_of(who).flat_map(|said| ROUTES[said.route].1.iter().copied()).collect();
            prop_assert!(held.is_some(), "person {} is missing", who);
            let (_, _, lists) = held.unwrap();
            prop_assert_eq!(
                lists.iter().map(String::as_str).collect::<BTreeSet<_>>(),
                wanted,
                "person {}",
                who
            );
            let name = self.house.account.inspect(|world| {
                world.contact(&address(who)).and_then(|contact| contact.details.get("first_name").cloned())
            });
            prop_assert_eq!(name, Some(json!(NAMES[last.name])), "person {}: {:#?}", who, self.said);
            return Ok(());
        }
        let away = person.left.max(person.deleted);
        if let Some(away) = away {
            let asked = self
                .rows_of(who)
                .any(|said| ROUTES[said.route].2 && said.own && said.consent > away + self.margin);
            let back = held
                .is_some_and(|(permission, deleted, _)| permission != Permission::Unsubscribed && !deleted);
            prop_assert!(back || !asked, "person {} left {}, asked again, and is not there", who, away);
        }
        Ok(())
    }

    /// Permission, whether it is deleted, and lists by name.
    fn held(&self, who: usize) -> Option<(Permission, bool, BTreeSet<String>)> {
        self.house.account.inspect(|world| {
            let contact = world.contact(&address(who))?;
            let lists = ["Members", "Newsletter", "Shop"];
            let on = lists.into_iter().filter(|list| world.members(list).contains(&address(who)));
            let lists = on.map(str::to_owned).collect();
            Some((contact.permission, contact.deleted_at.is_some(), lists))
        })
    }
}

fn tables() -> String {
    let mut text = format!(
        "[api]\nbase_url = \"http://localhost/v3\"\nrequests_per_day = {PER_DAY}\n\
         [inbox]\nsettle = \"1s\"\nkeep_done = \"1000d\"\n\
         [delivery]\ngive_up_after = \"90d\"\nkeep_history = \"1000d\"\n"
    );
    for (folder, lists, explicit) in ROUTES {
        let consent = if explicit { "explicit" } else { "implicit" };
        write!(text, "[[route]]\nfolder = \"{folder}\"\nlists = {lists:?}\nconsent = \"{consent}\"\n")
            .unwrap();
    }
    text
}

async fn told(deeds: &[Deed], seed: u64) -> TestCaseResult {
    let mut story = Story::begin(seed);
    for deed in deeds {
        story.happens(deed).await;
        // Nothing happens in the same instant as the next; a file's last change is longer ago than `settle`.
        tokio::time::advance(BETWEEN).await;
    }
    prop_assert!(story.comes_to_rest().await, "{} rows still wait", story.house.waits());
    story.check()
}

/// Histories that once came out wrong, as they were shrunk.
#[test]
fn of_two_imports_in_doubt_neither_is_taken_for_the_other() {
    let deeds = [
        Deed::Drop { route: 0, age: 0, rows: vec![(0, 0, None)] },
        Deed::Fault(3),
        Deed::Run { minutes: 1 },
        Deed::Drop { route: 1, age: 0, rows: vec![(1, 0, Some(1)), (0, 0, None)] },
        Deed::Fault(1),
    ];
    rehearse(told(&deeds, 0)).unwrap();
}

#[test]
fn a_list_that_one_route_gave_and_a_person_left_is_not_given_back_by_another() {
    let alone = [
        Deed::Drop { route: 0, age: 0, rows: vec![(4, 0, None)] },
        Deed::Run { minutes: 60 },
        Deed::LeavesList(4, 1),
        Deed::Drop { route: 2, age: 0, rows: vec![(4, 0, Some(2))] },
    ];
    rehearse(told(&alone, 0)).unwrap();
    let with_others = [
        Deed::Drop { route: 2, age: 0, rows: vec![(1, 0, None)] },
        Deed::Run { minutes: 60 },
        Deed::Drop { route: 0, age: 0, rows: vec![(1, 0, Some(1))] },
        Deed::LeavesList(1, 1),
    ];
    rehearse(told(&with_others, 0)).unwrap();
}

#[test]
fn a_file_with_a_time_in_the_future_is_taken_before_one_that_came_later() {
    let deeds = [
        Deed::Run { minutes: 2 },
        Deed::Drop { route: 0, age: 0, rows: vec![(0, 0, None)] },
        Deed::Drop { route: 0, age: -1, rows: vec![(0, 1, None)] },
        Deed::Drop { route: 0, age: 0, rows: vec![(0, 0, None)] },
    ];
    rehearse(told(&deeds, 0)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_the_account_is_what_it_should_be(
        deeds in prop::collection::vec(deed(), 1..25),
        seed in any::<u64>(),
    ) {
        rehearse(told(&deeds, seed))?;
    }
}
