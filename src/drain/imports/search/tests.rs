//! Searches in an account that counts what it is asked.

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
            return ContactsPage { items: there.into_iter().chain(left).collect(), next: None, count: None };
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
                let now =
                    if ends { job(Progress::Completed, Some("f")) } else { job(Progress::UnderWay, None) };
                search.export_is(Some(&now));
            }
            Question::File(file, rows) => {
                assert_eq!(file, "f");
                let reads = self.on_list.len() / if self.breaks_off { 2 } else { 1 };
                let there = self.on_list.iter().take(reads).filter_map(|address| rows.get(address).copied());
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
    let gone = |number: &usize| left.contains(number) || refused.contains(number) || lost.contains(number);
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
