//! Which rows of an import did not land: asked with as few calls as will do.
//!
//! Pure: says the next question and takes its answer. The account only counts; it names nobody. First those who
//! unsubscribed are asked for (a page for 500), then rows that look as if the service might refuse them, then the end of
//! the import (what is too long is cut there), and only then each row by itself, everybody on the list by pages, or an
//! export of the list, whichever costs fewer calls. The search ends as soon as as many are found as are missing.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::constant_contact::{Activity, ContactsPage, Progress, Shown, Which};
use crate::outbox::{Landing, Missing};

/// Contacts on a page.
const PAGE: usize = 500;
/// Rows that everything else left over are looked up by themselves, unless they are more than this: then the account
/// lost so many that they are sent again without a question.
const LOOKED_UP_AT_MOST: usize = 200;
/// What an export costs at most: one call to begin it, one to read it, and polls of a job that takes minutes. A list of
/// fewer pages is read by pages.
const EXPORT_COSTS: usize = 10;
/// An export that is not done after so many polls, which takes a quarter of an hour, is given up.
const MOST_POLLS: u32 = 18;
/// The import's specification takes addresses up to this length, though others of its pages take more.
const LONGEST_USUAL_ADDRESS: usize = 50;

const REFUSED: &str =
    "the account refuses the row: mend the address, the dates or the birthday and drop it again";
const NOT_ARRIVED: &str =
    "the account says that the import is done, but the row did not arrive, and it does not say why";

/// What the search does now.
#[derive(Debug)]
enum Stage {
    Unsubscribed,
    /// Rows to look up; whether the first that is there ends it.
    LookUp {
        rows: VecDeque<String>,
        ends_when_found: bool,
        then: After,
    },
    OnList,
    Export(Export),
    Over,
}

/// How far an export is.
#[derive(Debug, Clone)]
enum Export {
    Wanted,
    Begun { job: String, polls: u32 },
    Made { file: String },
}

/// What a search asks next.
#[derive(Debug, Clone)]
pub enum Question {
    /// A page of contacts.
    Contacts(Which),
    /// An export of a list, by its id.
    Export(String),
    /// How far an export is: the job, and how often that was asked.
    Job(String, u32),
    /// Which of these rows are in an export's file.
    File(String, Rows),
}

/// Rows by folded address.
pub type Rows = Arc<BTreeMap<String, i64>>;

/// What follows single look-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Tail,
    OnList,
    Over,
}

/// A search under way.
#[derive(Debug)]
pub struct Search {
    list: String,
    since: Timestamp,
    landing: Landing,
    sent: usize,
    /// Rows of which it is not known whether they landed: entry by folded address.
    rows: Rows,
    found: Vec<(i64, Missing)>,
    /// Rows that the account does not know: whether they look unusual, and their entries.
    absent: Vec<(bool, i64)>,
    stage: Stage,
    next: Option<String>,
}

impl Search {
    /// A search for the rows of an import, by folded address, on a list's id, among those that changed since a time.
    #[must_use]
    pub fn new(rows: BTreeMap<String, i64>, list: String, since: Timestamp, landing: Landing) -> Self {
        let mut search = Self {
            list,
            since,
            landing,
            sent: rows.len(),
            rows: Arc::new(rows),
            found: Vec::new(),
            absent: Vec::new(),
            stage: Stage::Unsubscribed,
            next: None,
        };
        if landing.unsubscribed == 0 {
            search.look_at_suspects();
        }
        search
    }

    /// How many rows are missing by the account's own count. Those who unsubscribed are among its persons.
    fn missing(&self) -> usize {
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let not_persons = self.sent.saturating_sub(number(self.landing.persons));
        number(self.landing.unsubscribed).saturating_add(not_persons.max(number(self.landing.refused)))
    }

    fn still_missing(&self) -> usize {
        self.missing().saturating_sub(self.found.len() + self.absent.len())
    }

    fn pages(&self) -> usize {
        self.sent.div_ceil(PAGE)
    }

    /// The next question, or what was found.
    pub fn next(&mut self) -> Result<Question, Vec<(i64, Missing)>> {
        loop {
            if self.found.len() + self.absent.len() >= self.missing() {
                self.stage = Stage::Over;
                self.next = None;
            }
            if let Some(next) = self.next.clone() {
                return Ok(Question::Contacts(Which::Next(next)));
            }
            let which = match &mut self.stage {
                Stage::Over => {
                    self.judge_absent();
                    return Err(std::mem::take(&mut self.found));
                }
                Stage::Export(export) => {
                    return Ok(match export.clone() {
                        Export::Wanted => Question::Export(self.list.clone()),
                        Export::Begun { job, polls } => Question::Job(job, polls),
                        Export::Made { file } => Question::File(file, Arc::clone(&self.rows)),
                    });
                }
                Stage::Unsubscribed => Which::Unsubscribed,
                Stage::OnList => Which::OnList { list: self.list.clone(), since: self.since },
                Stage::LookUp { rows, then, .. } => match (rows.front(), *then) {
                    (Some(address), _) => Which::Address(address.clone()),
                    (None, After::Tail) => {
                        self.look_at_the_tail();
                        continue;
                    }
                    (None, After::OnList) => {
                        self.look_at_everybody();
                        continue;
                    }
                    (None, After::Over) => {
                        self.stage = Stage::Over;
                        continue;
                    }
                },
            };
            return Ok(Question::Contacts(which));
        }
    }

    /// The job of an export that this search had made, which is no import's.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        match &self.stage {
            Stage::Export(Export::Begun { job, .. }) => Some(job),
            _ => None,
        }
    }

    /// Takes how far an export is. Without one, or with one that ended badly, the list is read by pages.
    pub fn export_is(&mut self, activity: Option<&Activity>) {
        let Stage::Export(export) = &mut self.stage else { return };
        let polls = match export {
            Export::Begun { polls, .. } => *polls + 1,
            _ => 0,
        };
        *export = match activity.map(|activity| (activity.progress, activity)) {
            Some((Progress::Completed, Activity { file: Some(file), .. })) => {
                Export::Made { file: file.clone() }
            }
            Some((Progress::UnderWay, Activity { activity_id, .. })) if polls < MOST_POLLS => {
                Export::Begun { job: activity_id.clone(), polls }
            }
            _ => {
                self.stage = Stage::OnList;
                return;
            }
        };
    }

    /// Takes which rows an export holds; if it broke off, the others are looked for on pages.
    pub fn exported(&mut self, there: &HashSet<i64>, whole: bool) {
        Arc::make_mut(&mut self.rows).retain(|_, entry| !there.contains(entry));
        if whole {
            self.look_at_the_rest();
        } else {
            self.stage = Stage::OnList;
        }
    }

    /// Takes the answer to the last question.
    pub fn answer(&mut self, page: &ContactsPage) {
        self.next.clone_from(&page.next);
        match &mut self.stage {
            Stage::Over | Stage::Export(_) => {}
            Stage::Unsubscribed => self.some_unsubscribed(page),
            Stage::OnList => {
                for shown in page.items.iter().filter(|shown| !shown.unsubscribed && !shown.deleted) {
                    Arc::make_mut(&mut self.rows).remove(&shown.address.to_lowercase());
                }
                // As many are left as did not arrive: further pages show other people's rows.
                if self.next.is_none() || self.rows.len() <= self.still_missing() {
                    self.next = None;
                    self.look_at_the_rest();
                }
            }
            Stage::LookUp { rows, ends_when_found, .. } => {
                let ends_when_found = *ends_when_found;
                let Some(address) = rows.pop_front() else { return };
                self.next = None;
                let landed = self.judge(&address, page);
                if let Stage::LookUp { rows, .. } = &mut self.stage
                    && landed
                    && ends_when_found
                {
                    rows.clear();
                }
            }
        }
    }

    fn some_unsubscribed(&mut self, page: &ContactsPage) {
        for shown in page.items.iter().filter(|shown| shown.unsubscribed) {
            if let Some(entry) = Arc::make_mut(&mut self.rows).remove(&shown.address.to_lowercase()) {
                self.found.push((entry, unsubscribed()));
            }
        }
        let all = usize::try_from(self.landing.unsubscribed).unwrap_or(usize::MAX);
        // An account that many left has more of these pages than the import has rows.
        let too_many = page.count.is_some_and(|count| count.div_ceil(PAGE as u64) > self.pages() as u64 + 1);
        if self.next.is_none() || self.found.len() >= all || too_many {
            self.next = None;
            self.look_at_suspects();
        }
    }

    /// Judges one row by what the account shows for its address. Says whether it landed.
    fn judge(&mut self, address: &str, page: &ContactsPage) -> bool {
        let shown = page.items.iter().find(|shown| shown.address.eq_ignore_ascii_case(address));
        let Some(entry) = Arc::make_mut(&mut self.rows).remove(address) else { return false };
        match shown {
            Some(Shown { unsubscribed: true, .. }) => self.found.push((entry, unsubscribed())),
            Some(shown) if !shown.deleted && shown.lists.contains(&self.list) => return true,
            Some(_) => self.found.push((entry, Missing::Unknown(NOT_ARRIVED.to_owned()))),
            None => self.absent.push((is_unusual(address), entry)),
        }
        false
    }

    /// The account says how many rows it refused and not which. Those that look unusual are believed to be among them;
    /// the others are only if that explains all of them.
    fn judge_absent(&mut self) {
        let mut absent = std::mem::take(&mut self.absent);
        let refused = usize::try_from(self.landing.refused).unwrap_or(usize::MAX);
        absent.sort_unstable_by_key(|(unusual, entry)| (!unusual, *entry));
        let unusual = absent.iter().filter(|(unusual, _)| *unusual).count();
        let certain = if absent.len() <= refused { absent.len() } else { unusual.min(refused) };
        let (all, left) = (absent.len() - certain, refused - certain.min(refused));
        for (place, (_, entry)) in absent.into_iter().enumerate() {
            let missing = if place < certain {
                Missing::Refused(REFUSED.to_owned())
            } else if left > 0 {
                Missing::Unknown(format!("{NOT_ARRIVED}; of {all} such rows it refused {left}"))
            } else {
                Missing::Unknown(NOT_ARRIVED.to_owned())
            };
            self.found.push((entry, missing));
        }
    }

    fn look_at_suspects(&mut self) {
        let suspects: VecDeque<String> =
            self.rows.keys().filter(|address| is_unusual(address)).take(self.pages() + 1).cloned().collect();
        // More suspects than pages: reading everybody is cheaper.
        let rows = if suspects.len() > self.pages() { VecDeque::new() } else { suspects };
        self.stage = Stage::LookUp { rows, ends_when_found: false, then: After::Tail };
    }

    fn look_at_the_tail(&mut self) {
        let mut rows: Vec<(&String, &i64)> = self.rows.iter().collect();
        rows.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(**entry));
        let rows = rows.into_iter().take(self.pages()).map(|(address, _)| address.clone()).collect();
        self.stage = Stage::LookUp { rows, ends_when_found: true, then: After::OnList };
    }

    fn look_at_everybody(&mut self) {
        if self.rows.len() <= self.pages() {
            self.look_at_the_rest();
        } else if self.pages() > EXPORT_COSTS {
            self.stage = Stage::Export(Export::Wanted);
        } else {
            self.stage = Stage::OnList;
        }
    }

    /// Rows that were not seen are looked up, because the list may lag behind.
    fn look_at_the_rest(&mut self) {
        if self.rows.len() <= LOOKED_UP_AT_MOST {
            let rows = self.rows.keys().cloned().collect();
            self.stage = Stage::LookUp { rows, ends_when_found: false, then: After::Over };
            return;
        }
        let lost = Arc::unwrap_or_clone(std::mem::take(&mut self.rows)).into_values();
        let reason = "the account says that the import is done, but many of its rows did not arrive";
        self.found.extend(lost.map(|entry| (entry, Missing::Unknown(reason.to_owned()))));
        self.stage = Stage::Over;
    }
}

fn unsubscribed() -> Missing {
    Missing::Unsubscribed(
        "the person has unsubscribed from the account, which does not put them back".to_owned(),
    )
}

/// Rows that the service may refuse although they are good by the rules that are known.
fn is_unusual(address: &str) -> bool {
    address.len() > LONGEST_USUAL_ADDRESS
        || !address.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constant_contact::Tally;

    const LIST: &str = "l-1";

    /// An account that holds some of the rows, and how many questions it was asked.
    struct Account {
        on_list: Vec<String>,
        left: Vec<String>,
        asked: usize,
        refuses_exports: bool,
        /// `None`: never.
        polls_until_done: Option<u32>,
        breaks_off: bool,
    }

    impl Account {
        fn page(&mut self, which: &Which, place: &mut Vec<String>) -> ContactsPage {
            self.asked += 1;
            let shown = |address: &String, unsubscribed| Shown {
                address: address.to_uppercase(),
                unsubscribed,
                lists: if unsubscribed { Vec::new() } else { vec![LIST.to_owned()] },
                ..Shown::default()
            };
            if let Which::Address(address) = which {
                let there = self.on_list.contains(address).then(|| shown(address, false));
                let left = self.left.contains(address).then(|| shown(address, true));
                return ContactsPage {
                    items: there.into_iter().chain(left).collect(),
                    next: None,
                    count: None,
                };
            }
            match which {
                Which::Unsubscribed => place.clone_from(&self.left),
                Which::OnList { .. } => place.clone_from(&self.on_list),
                _ => {}
            }
            let left = matches!(which, Which::Unsubscribed);
            let items = place.drain(..place.len().min(PAGE)).map(|address| shown(&address, left)).collect();
            ContactsPage { items, next: (!place.is_empty()).then(|| "next".to_owned()), count: None }
        }
    }

    /// What makes an account unusual.
    type Change = fn(&mut Account);

    impl Account {
        /// Makes an export: begun, under way, made, read.
        fn tell(&mut self, search: &mut Search, question: Question) {
            self.asked += 1;
            let job = |progress, file: Option<&str>| Activity {
                activity_id: "a-9".to_owned(),
                progress,
                state: String::new(),
                created_at: None,
                tally: Tally::default(),
                is_export: true,
                file: file.map(str::to_owned),
            };
            match question {
                Question::Export(list) => {
                    assert_eq!(list, LIST);
                    search.export_is((!self.refuses_exports).then(|| job(Progress::UnderWay, None)).as_ref());
                }
                Question::Job(id, polls) => {
                    assert_eq!((id.as_str(), search.job()), ("a-9", Some("a-9")));
                    let ends = self.polls_until_done.is_some_and(|until| polls + 1 >= until);
                    let now = if ends {
                        job(Progress::Completed, Some("f"))
                    } else {
                        job(Progress::UnderWay, None)
                    };
                    search.export_is(Some(&now));
                }
                Question::File(file, rows) => {
                    assert_eq!(file, "f");
                    let reads = self.on_list.len() / if self.breaks_off { 2 } else { 1 };
                    let there =
                        self.on_list.iter().take(reads).filter_map(|address| rows.get(address).copied());
                    search.exported(&there.collect(), !self.breaks_off);
                }
                Question::Contacts(which) => panic!("{which:?}"),
            }
        }
    }

    fn address(number: usize) -> String {
        format!("p{number:06}@example.org")
    }

    /// Searches among so many rows and says what was found, by number, with how many questions.
    fn search(
        rows: usize,
        left: &[usize],
        refused: &[usize],
        lost: &[usize],
        long: bool,
    ) -> (Vec<(i64, Missing)>, usize) {
        search_in(|_| {}, rows, left, refused, lost, long)
    }

    /// The same in an account that is not as usual.
    fn search_in(
        change: impl FnOnce(&mut Account),
        rows: usize,
        left: &[usize],
        refused: &[usize],
        lost: &[usize],
        long: bool,
    ) -> (Vec<(i64, Missing)>, usize) {
        let name = |number: usize| {
            if long && refused.contains(&number) {
                format!("{}{}", "x".repeat(40), address(number))
            } else {
                address(number)
            }
        };
        let gone =
            |number: &usize| left.contains(number) || refused.contains(number) || lost.contains(number);
        let mut account = Account {
            on_list: (0..rows).filter(|number| !gone(number)).map(name).collect(),
            left: left.iter().map(|number| name(*number)).collect(),
            asked: 0,
            refuses_exports: false,
            polls_until_done: Some(3),
            breaks_off: false,
        };
        change(&mut account);
        let landing = Landing {
            persons: (rows - refused.len() - lost.len()) as u64,
            refused: refused.len() as u64,
            unsubscribed: left.len() as u64,
        };
        let sent = (0..rows).map(|number| (name(number), i64::try_from(number).unwrap())).collect();
        let mut search = Search::new(sent, LIST.to_owned(), Timestamp::UNIX_EPOCH, landing);
        let mut place = Vec::new();
        loop {
            match search.next() {
                Ok(Question::Contacts(which)) => {
                    let page = account.page(&which, &mut place);
                    search.answer(&page);
                }
                Ok(question) => account.tell(&mut search, question),
                Err(mut found) => {
                    found.sort_by_key(|(entry, _)| *entry);
                    return (found, account.asked);
                }
            }
        }
    }

    fn kinds(found: &[(i64, Missing)]) -> Vec<(i64, char)> {
        let kind = |missing: &Missing| match missing {
            Missing::Unsubscribed(_) => 'u',
            Missing::Refused(_) => 'r',
            Missing::Unknown(_) => '?',
        };
        found.iter().map(|(entry, missing)| (*entry, kind(missing))).collect()
    }

    #[test]
    fn those_who_unsubscribed_cost_a_page() {
        let (found, asked) = search(36_000, &[5, 700, 35_999], &[], &[], false);
        assert_eq!((kinds(&found), asked), (vec![(5, 'u'), (700, 'u'), (35_999, 'u')], 1));
    }

    #[test]
    fn a_row_that_looks_like_it_is_looked_up_first() {
        let (found, asked) = search(36_000, &[], &[17], &[], true);
        assert_eq!((kinds(&found), asked), (vec![(17, 'r')], 1));
    }

    #[test]
    fn a_tail_that_was_cut_is_found_from_its_end() {
        let (found, asked) = search(36_000, &[], &[], &[35_998, 35_999], false);
        assert_eq!((kinds(&found), asked), (vec![(35_998, '?'), (35_999, '?')], 2));
    }

    #[test]
    fn what_lies_anywhere_costs_the_pages_of_the_list() {
        let (found, asked) = search(2_000, &[3], &[1_000], &[4, 1_999], false);
        // One of the last three was refused, and nobody can say which: none is called so.
        assert_eq!(kinds(&found), [(3, 'u'), (4, '?'), (1_000, '?'), (1_999, '?')]);
        assert!(matches!(&found[1].1, Missing::Unknown(why) if why.ends_with("of 3 such rows it refused 1")));
        // One page of those who left, two rows of the tail, four pages, two rows that were not on them.
        assert_eq!(asked, 1 + 2 + 4 + 2);
    }

    #[test]
    fn a_long_list_is_exported_instead_of_read_by_pages() {
        let (found, asked) = search(36_000, &[], &[], &[4, 17_000, 35_998], false);
        assert_eq!(kinds(&found), [(4, '?'), (17_000, '?'), (35_998, '?')]);
        // One row of the tail, the export with three polls and its file, three rows that were not in it.
        assert_eq!(asked, 1 + (1 + 3 + 1) + 3);
    }

    #[test]
    fn without_an_export_the_pages_are_read() {
        let lost = [4, 17_000, 35_998];
        let pages = 1 + 72 + 3;
        let changes: [(Change, usize); 3] = [
            (|account| account.refuses_exports = true, 1 + pages),
            (|account| account.polls_until_done = None, 1 + MOST_POLLS as usize + pages),
            // What the first half of the file showed need not be looked at on the pages again.
            (|account| account.breaks_off = true, 1 + 3 + 1 + pages),
        ];
        for (change, expected) in changes {
            let (found, asked) = search_in(change, 36_000, &[], &[], &lost, false);
            assert_eq!(kinds(&found), [(4, '?'), (17_000, '?'), (35_998, '?')]);
            assert_eq!(asked, expected);
        }
    }

    #[test]
    fn few_rows_are_looked_up_one_by_one() {
        let (found, asked) = search(1, &[], &[0], &[], false);
        assert_eq!((kinds(&found), asked), (vec![(0, 'r')], 1));
    }

    #[test]
    fn a_list_that_lags_behind_loses_nobody() {
        let landing = Landing { persons: 1_999, refused: 0, unsubscribed: 0 };
        let sent = (0..2_000).map(|number| (address(number), i64::try_from(number).unwrap())).collect();
        let mut search = Search::new(sent, LIST.to_owned(), Timestamp::UNIX_EPOCH, landing);
        let shown = |address: String| Shown { address, lists: vec![LIST.to_owned()], ..Shown::default() };
        let found = loop {
            match search.next() {
                // The list shows nobody after number 1,900; each by itself is there, but one.
                Ok(Question::Contacts(Which::OnList { .. })) => {
                    let items = (0..1_900).map(|number| shown(address(number))).collect();
                    search.answer(&ContactsPage { items, next: None, count: None });
                }
                Ok(Question::Contacts(Which::Address(asked))) => {
                    let items = if asked == address(1_950) { Vec::new() } else { vec![shown(asked)] };
                    search.answer(&ContactsPage { items, next: None, count: None });
                }
                Ok(other) => panic!("{other:?}"),
                Err(found) => break found,
            }
        };
        assert_eq!(kinds(&found), [(1_950, '?')]);
    }
}
