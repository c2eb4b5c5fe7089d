//! Each judgement of the guard, on a row that came a thousand hours after the epoch.

use super::*;

const HOUR: i64 = 3_600_000;
/// Now, in hours.
const NOW: i64 = 1_000;

/// A row that came just now with a consent of so many hours ago.
fn row(hours_ago: i64) -> Facts {
    Facts {
        consent_at: (NOW - hours_ago) * HOUR,
        stated: true,
        received_at: NOW * HOUR,
        due_at: NOW * HOUR,
        replayed: false,
        rows: 1_000,
        tried: false,
        delivered: None,
        given_elsewhere: Vec::new(),
        unsubscribed_at: None,
        deleted_at: None,
        looked_up: None,
        read: None,
    }
}

fn lists() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn judge(facts: &Facts) -> Judgement {
    facts.judge(&lists(), timestamp(0, NOW * HOUR).unwrap())
}

fn goes() -> Judgement {
    Judgement::Goes { without: Vec::new() }
}

fn on(lists: &[&str], changed_hours_ago: i64) -> LookedUp {
    LookedUp {
        at: NOW * HOUR,
        updated_at: Some((NOW - changed_hours_ago) * HOUR),
        active: true,
        lists: lists.iter().map(|list| (*list).to_owned()).collect(),
    }
}

#[test]
fn only_a_new_row_of_a_new_file_goes_without_a_question() {
    let unknown = Judgement::Unknown { alone: false };
    assert_eq!(judge(&row(0)), goes());
    assert_eq!(judge(&row(1)), goes(), "an hour is not more than an hour");
    assert_eq!(judge(&row(2)), unknown);
    assert_eq!(judge(&Facts { tried: true, ..row(0) }), unknown);
    assert_eq!(judge(&Facts { replayed: true, ..row(0) }), unknown);
}

#[test]
fn knowledge_is_good_if_it_is_fresh_and_goes_back_far_enough() {
    let read = |from: i64, at: i64| judge(&Facts { read: Some(((NOW - from) * HOUR, at)), ..row(5) });
    let unknown = Judgement::Unknown { alone: false };
    assert_eq!(read(5, NOW * HOUR), goes());
    assert_eq!(read(4, NOW * HOUR), unknown, "not far enough");
    assert_eq!(read(5, NOW * HOUR - 1), unknown, "before the row came");
    assert_eq!(read(5, NOW * HOUR + 1), unknown, "a clock went back");
    let waiting = Facts { received_at: 0, due_at: 0, ..row(5) };
    let read =
        |minutes: i64| judge(&Facts { read: Some((0, NOW * HOUR - minutes * 60_000)), ..waiting.clone() });
    assert_eq!((read(5), read(6)), (goes(), unknown));
}

#[test]
fn what_is_known_is_heeded_also_for_a_new_row() {
    let left = |at: i64| judge(&Facts { unsubscribed_at: Some(at), ..row(0) });
    assert_eq!(left(NOW * HOUR), Judgement::Left(Leaving::Unsubscribed(NOW * HOUR)));
    assert_eq!(left(NOW * HOUR - 1), goes(), "they agreed after that");
    let deleted = judge(&Facts { deleted_at: Some(NOW * HOUR), ..row(0) });
    assert_eq!(deleted, Judgement::Left(Leaving::Deleted(NOW * HOUR)));
}

#[test]
fn a_list_that_was_given_with_others_and_left_is_not_sent_either() {
    let given = Facts { given_elsewhere: vec!["b".to_owned(), "c".to_owned()], ..row(5) };
    assert_eq!(judge(&given), Judgement::Unknown { alone: true });
    let looked = |lists: &[&str]| judge(&Facts { looked_up: Some(on(lists, 1)), ..given.clone() });
    assert_eq!(looked(&[]), Judgement::Goes { without: vec!["b".to_owned()] }, "`a` was never given");
    assert_eq!(looked(&["b"]), goes());
    let other = Facts { given_elsewhere: vec!["c".to_owned()], ..row(5) };
    assert_eq!(judge(&other), Judgement::Unknown { alone: false }, "no list of the row");
}

#[test]
fn a_list_that_was_left_is_not_sent_again_unless_the_consent_is_younger() {
    let changed = Facts { delivered: Some((0, false)), ..row(5) };
    assert_eq!(judge(&changed), Judgement::Unknown { alone: true });
    let looked = |looked_up| judge(&Facts { looked_up: Some(looked_up), ..changed.clone() });
    assert_eq!(looked(on(&["a", "b"], 1)), goes());
    assert_eq!(looked(on(&["b"], 1)), Judgement::Goes { without: vec!["a".to_owned()] });
    assert_eq!(looked(on(&[], 1)), Judgement::Left(Leaving::Lists));
    assert_eq!(looked(on(&[], 6)), goes(), "they agreed after the account last changed");
    let elsewhere = Facts { looked_up: Some(on(&[], 1)), ..row(5) };
    assert_eq!(judge(&elsewhere), goes(), "nothing was delivered there before");
}

#[test]
fn a_row_that_says_what_was_delivered_is_sent_only_if_it_states_a_consent_since() {
    let same = |hours_ago: i64| Facts { delivered: Some(((NOW - 10) * HOUR, true)), ..row(hours_ago) };
    assert_eq!(judge(&same(10)), Judgement::Unchanged);
    assert_eq!(judge(&same(0)), goes());
    let looked = |facts: Facts, looked_up| judge(&Facts { looked_up: Some(looked_up), ..facts });
    assert_eq!(looked(same(2), on(&["a", "b"], 9)), Judgement::Unchanged);
    assert_eq!(looked(same(2), on(&["b"], 3)), goes());
    // Without a time of its own, in a file of few rows: a person decides.
    let small = Facts { stated: false, rows: 1, ..same(0) };
    assert_eq!(judge(&small), Judgement::Unknown { alone: true });
    assert_eq!(looked(small.clone(), on(&["b"], 3)), Judgement::Unchanged);
    assert_eq!(looked(small.clone(), on(&[], 3)), Judgement::Left(Leaving::Lists));
    let left_at = (NOW - 3) * HOUR;
    let left = Facts { unsubscribed_at: Some(left_at), ..small };
    assert_eq!(looked(left, on(&[], 3)), Judgement::Left(Leaving::Unsubscribed(left_at)));
    assert_eq!(judge(&Facts { stated: false, ..same(0) }), Judgement::Unchanged, "a nightly export");
}
