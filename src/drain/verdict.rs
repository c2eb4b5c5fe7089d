//! What an answer means for its row: the table that decides between done, again, refused and held.
//!
//! Pure: the answer, the row's history, the time and a random number go in. Promises that a fault that passes never costs
//! a row, and that a row is never tried for ever: after `give_up_after` it is held for a person.

use std::time::Duration;

use jiff::Timestamp;

use crate::constant_contact::{Answer, Passing, SignedUp};
use crate::contact::Contact;
use crate::outbox::{Delivered, HeldBecause, Settlement};

/// Pauses before a row's next try, by how many calls it had, of which a random part is waited. The first is short
/// because most faults are; the last is repeated until `give_up_after`. They grow fast because an address has four tries
/// in a day and the fourth should still meet a service that recovers.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(20),
    Duration::from_mins(30),
    Duration::from_hours(8),
    Duration::from_hours(12),
];
/// A fault takes at least this long to pass.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// Somebody else changes the contact: that is over in a moment, but not in the same one.
const CONFLICT_PAUSE: Duration = Duration::from_secs(3);
/// The limit counts a second by the server's clock; two seconds are past it on any clock.
const THROTTLED_PAUSE: Duration = Duration::from_secs(2);
/// A list that the account refuses is looked up again at once; its route and the row wait for what that brings.
pub const LIST_PAUSE: Duration = Duration::from_mins(1);
/// The service refuses a good address for 48 hours once it was tried more than five times in 24 hours.
const FLAGGED_AFTER: u32 = 5;
/// How long such a refusal says nothing about the address.
const FLAGGED_FOR: Duration = Duration::from_hours(49);

/// What is known of a row when its answer comes.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// Calls made for it, this one included.
    pub attempts: u32,
    /// When the first left.
    pub tried_since: Timestamp,
    /// How long it is tried before a person must look.
    pub give_up_after: Duration,
}

/// Decides about a row. `luck` is a random number from 0 to 1 that spreads retries.
#[must_use]
pub fn verdict(answer: &Answer<SignedUp>, history: History, now: Timestamp, luck: f64) -> Settlement {
    match answer {
        Answer::Done(SignedUp { contact_id, created }) => Settlement::Delivered {
            how: if *created { Delivered::Created } else { Delivered::Updated },
            contact_id: contact_id.clone(),
        },
        Answer::Never { field, .. }
            if field.as_deref() == Some("email") && history.attempts > FLAGGED_AFTER =>
        {
            let reason = "the service refuses the address after many tries; that passes after 48 hours";
            again_or_hold(history, now, FLAGGED_FOR, reason)
        }
        Answer::Never { field, reason } => {
            Settlement::Rejected { field: field.clone(), reason: format!("the account refuses it: {reason}") }
        }
        Answer::Hold { reason } => {
            let because = HeldBecause::RefusedCall;
            Settlement::Held { because, reason: format!("the account refuses the call: {reason}") }
        }
        Answer::List { reason } => {
            again_or_hold(history, now, LIST_PAUSE, &format!("the account refuses a list: {reason}"))
        }
        Answer::LoginNeeded { .. } => without_blame(now, Duration::ZERO, "the access token was refused"),
        Answer::Forbidden { reason } => without_blame(now, Duration::ZERO, &format!("forbidden: {reason}")),
        Answer::Quota => without_blame(now, Duration::ZERO, "the day's calls are spent"),
        Answer::Later(passing) => later(*passing, history, now, luck),
    }
}

/// Turns a refusal that names a field, other than the address, into one more try without it.
#[must_use]
pub fn leaving_out(settlement: Settlement, contact: &Contact) -> Settlement {
    match settlement {
        Settlement::Rejected { field: Some(field), reason } => match contact.without(&field) {
            Some(rest) => Settlement::LeftOut { contact: Box::new(rest), field, reason },
            None => Settlement::Rejected { field: Some(field), reason },
        },
        settlement => settlement,
    }
}

fn later(passing: Passing, history: History, now: Timestamp, luck: f64) -> Settlement {
    match passing {
        Passing::Throttled | Passing::UnknownLimit | Passing::QueueFull => {
            without_blame(now, THROTTLED_PAUSE, "the account asks for a pause")
        }
        Passing::Conflict => {
            again_or_hold(history, now, spread(CONFLICT_PAUSE, luck), "the contact is being changed")
        }
        Passing::Server => again_or_hold(history, now, pause(history, luck), "the service is in trouble"),
        Passing::NotSent => again_or_hold(history, now, pause(history, luck), "there was no connection"),
        Passing::Lost => again_or_hold(history, now, pause(history, luck), "in doubt: no answer came"),
        Passing::Rubbish => {
            again_or_hold(history, now, pause(history, luck), "the answer was not the service's")
        }
    }
}

fn without_blame(now: Timestamp, pause: Duration, reason: &str) -> Settlement {
    Settlement::Later { at: after(now, pause), reason: reason.to_owned(), counts: false }
}

fn again_or_hold(history: History, now: Timestamp, pause: Duration, reason: &str) -> Settlement {
    let tried_for = Duration::try_from(now.duration_since(history.tried_since)).unwrap_or_default();
    if tried_for >= history.give_up_after {
        let since = history.tried_since;
        return Settlement::Held {
            because: HeldBecause::GivenUp,
            reason: format!("given up after {} calls since {since}: {reason}", history.attempts),
        };
    }
    Settlement::Later { at: after(now, pause), reason: reason.to_owned(), counts: true }
}

fn pause(history: History, luck: f64) -> Duration {
    let step =
        usize::try_from(history.attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(PAUSES.len() - 1);
    spread(PAUSES[step], luck)
}

/// Any part of the pause (full jitter): rows that failed together do not come back together.
fn spread(pause: Duration, luck: f64) -> Duration {
    pause.mul_f64(luck.clamp(0.0, 1.0)).max(SHORTEST_PAUSE)
}

fn after(now: Timestamp, pause: Duration) -> Timestamp {
    now.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::{Field, Row};

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const DAY: Duration = Duration::from_hours(24);

    fn decide(answer: &Answer<SignedUp>, attempts: u32) -> Settlement {
        verdict(answer, History { attempts, tried_since: NOW, give_up_after: 5 * DAY }, NOW, 1.0)
    }

    fn pauses(answer: &Answer<SignedUp>, attempts: u32) -> (Duration, bool) {
        match decide(answer, attempts) {
            Settlement::Later { at, counts, .. } => {
                (Duration::try_from(at.duration_since(NOW)).unwrap(), counts)
            }
            other => panic!("{answer:?} is not tried again but {other:?}"),
        }
    }

    #[test]
    fn what_the_account_did_is_what_the_row_became() {
        let done = |created| Answer::Done(SignedUp { contact_id: "u-1".into(), created });
        let delivered = |how| Settlement::Delivered { how, contact_id: "u-1".into() };
        assert_eq!(decide(&done(true), 1), delivered(Delivered::Created));
        assert_eq!(decide(&done(false), 1), delivered(Delivered::Updated));
    }

    #[test]
    fn a_refused_row_is_rejected_with_the_services_words() {
        let never = Answer::Never { field: Some("first_name".into()), reason: "first_name is odd".into() };
        let reason = "the account refuses it: first_name is odd".to_owned();
        assert_eq!(decide(&never, 1), Settlement::Rejected { field: Some("first_name".into()), reason });
        let hold = Answer::Hold { reason: "HTTP 415".into() };
        assert_eq!(
            decide(&hold, 1),
            Settlement::Held {
                because: HeldBecause::RefusedCall,
                reason: "the account refuses the call: HTTP 415".into()
            }
        );
    }

    #[test]
    fn a_refused_field_is_left_out_where_there_is_one_to_leave_out() {
        let cells = [("jane@example.org", Field::Email), ("J. R.", Field::FirstName)];
        let cells = cells.map(|(text, field)| (field, text.to_owned())).to_vec();
        let jane = Contact::from_row(&Row { line: 2, cells, ..Row::default() }).unwrap();
        let refused = |field: Option<&str>| Settlement::Rejected {
            field: field.map(str::to_owned),
            reason: "no".into(),
        };
        let Settlement::LeftOut { contact, field, .. } = leaving_out(refused(Some("first_name")), &jane)
        else {
            panic!("not left out");
        };
        assert_eq!((contact.details().first_name.as_deref(), field.as_str()), (None, "first_name"));
        for stays in [refused(Some("email")), refused(Some("last_name")), refused(None)] {
            assert_eq!(leaving_out(stays.clone(), &jane), stays);
        }
    }

    #[test]
    fn a_good_address_that_was_tried_too_often_is_not_rejected() {
        let never = Answer::Never { field: Some("email".into()), reason: "invalid".into() };
        assert!(matches!(decide(&never, FLAGGED_AFTER), Settlement::Rejected { .. }));
        assert_eq!(pauses(&never, FLAGGED_AFTER + 1).0, FLAGGED_FOR);
    }

    #[test]
    fn pauses_grow_with_the_rows_own_failures_only() {
        for passing in [Passing::Server, Passing::NotSent, Passing::Lost, Passing::Rubbish] {
            let answer = Answer::Later(passing);
            assert_eq!(pauses(&answer, 1), (PAUSES[0], true));
            assert_eq!(pauses(&answer, 4), (PAUSES[3], true));
            assert_eq!(pauses(&answer, 4000), (PAUSES[4], true));
        }
        for passing in [Passing::Throttled, Passing::UnknownLimit, Passing::QueueFull] {
            assert_eq!(pauses(&Answer::Later(passing), 9), (THROTTLED_PAUSE, false));
        }
        assert_eq!(pauses(&Answer::Later(Passing::Conflict), 9), (CONFLICT_PAUSE, true));
        for answer in
            [Answer::Quota, Answer::LoginNeeded { generation: 1 }, Answer::Forbidden { reason: "x".into() }]
        {
            assert_eq!(pauses(&answer, 9), (Duration::ZERO, false));
        }
    }

    #[test]
    fn after_give_up_after_a_row_is_held_and_never_dropped() {
        let late = NOW.checked_add(5 * DAY).unwrap();
        let history = History { attempts: 30, tried_since: NOW, give_up_after: 5 * DAY };
        for passing in [Passing::Server, Passing::Lost, Passing::Rubbish, Passing::Conflict] {
            let settled = verdict(&Answer::Later(passing), history, late, 0.5);
            assert!(
                matches!(settled, Settlement::Held { because: HeldBecause::GivenUp, .. }),
                "{passing:?}: {settled:?}"
            );
        }
        let settled = verdict(&Answer::Quota, history, late, 0.5);
        assert!(matches!(settled, Settlement::Later { .. }), "a limit is nobody's fault: {settled:?}");
    }
}
