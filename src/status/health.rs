//! The one decision: how it is, in one number and one sentence.
//!
//! Pure. Whoever shows the health (the screen, the JSON, the exit status, systemd, the page, the metric, the heartbeat,
//! the hook) shows what is decided here.

use std::time::Duration;

use jiff::Timestamp;

use super::text::local;
use super::{Told, age};
use crate::oauth;
use crate::outbox::{Health, OPERATOR};

/// A row that is due leaves within seconds; one that waits longer than this should have gone.
const SHOULD_HAVE_GONE: Duration = Duration::from_mins(5);
const SECONDS_A_MINUTE: u64 = 60;

/// How it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) level: Health,
    /// Empty when all is well.
    pub(super) reason: String,
    /// The age of the oldest row that should have gone by now; zero when there is none.
    pub(super) overdue: Duration,
}

/// The most serious thing that is known. A person is called only for what does not pass by itself.
pub(super) fn health(
    told: &Told,
    authorization: &oauth::Summary,
    running: bool,
    sign_in: &str,
    now: Timestamp,
) -> Verdict {
    let overdue = overdue(told, now);
    let (level, reason) = worst(told, authorization, running, sign_in, overdue);
    Verdict { level, reason, overdue }
}

fn overdue(told: &Told, now: Timestamp) -> Duration {
    let waits = told.totals.oldest_queued.map(|oldest| age(oldest, now)).unwrap_or_default();
    if waits >= SHOULD_HAVE_GONE { waits } else { Duration::ZERO }
}

fn worst(
    told: &Told,
    authorization: &oauth::Summary,
    running: bool,
    sign_in: &str,
    overdue: Duration,
) -> (Health, String) {
    let sign_in = |why: &str| (Health::Attention, format!("{why}: sign in with `{sign_in}`"));
    match authorization.state {
        "authorized" => {}
        "none" => return sign_in("nobody has signed in yet"),
        "in_doubt" => return sign_in("the answer to a token refresh was lost"),
        _ => return sign_in(authorization.reason.as_deref().unwrap_or("the authorization has ended")),
    }
    if let Some(warning) = authorization.idle_warning() {
        return (Health::Attention, warning);
    }
    let held = told.totals.counts.held;
    match told.troubles.first() {
        Some(trouble) if trouble.health == Health::Attention => {
            return (Health::Attention, trouble.reason.clone());
        }
        _ if held > 0 => {
            let rows = if held == 1 { "row is" } else { "rows are" };
            let words =
                format!("{held} {rows} held for a person to decide: `mailchute queue list --state held`");
            return (Health::Attention, words);
        }
        Some(trouble) if trouble.scope == OPERATOR => {
            let why =
                if trouble.reason.is_empty() { String::new() } else { format!(" ({})", trouble.reason) };
            let since = local(trouble.since);
            let words = format!("sending is paused since {since}{why}; `mailchute resume` goes on");
            return (Health::Waiting, words);
        }
        Some(trouble) => {
            let until = trouble.until.map(|until| format!(", until {}", local(until))).unwrap_or_default();
            return (Health::Waiting, format!("{}{until}", trouble.reason));
        }
        None => {}
    }
    if overdue.is_zero() {
        return (Health::Ok, String::new());
    }
    let who = if running { "" } else { ", and no daemon is running" };
    (Health::Waiting, format!("the oldest row has waited for {}{who}", minutes(overdue)))
}

fn minutes(duration: Duration) -> String {
    let whole = Duration::from_secs(duration.as_secs() / SECONDS_A_MINUTE * SECONDS_A_MINUTE);
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{Counts, Totals, Trouble};

    fn told(counts: Counts, oldest: Option<Timestamp>, troubles: Vec<Trouble>) -> Told {
        let totals = Totals { counts, oldest_queued: oldest, last_delivery: None };
        Told { totals, troubles, ..Told::default() }
    }

    fn authorized(state: &'static str) -> oauth::Summary {
        oauth::Summary { state, ..oauth::Summary::default() }
    }

    fn trouble(health: Health, reason: &str) -> Trouble {
        Trouble {
            scope: "x".into(),
            health,
            reason: reason.into(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
        }
    }

    fn decide(told: &Told, state: &'static str) -> (Health, String) {
        let verdict = health(
            told,
            &authorized(state),
            true,
            "mailchute-auth",
            Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(9),
        );
        (verdict.level, verdict.reason)
    }

    #[test]
    fn a_missing_sign_in_comes_before_everything_else() {
        let (level, reason) =
            decide(&told(Counts::default(), None, vec![trouble(Health::Waiting, "slow")]), "none");
        assert_eq!(
            (level, reason.as_str()),
            (Health::Attention, "nobody has signed in yet: sign in with `mailchute-auth`")
        );
    }

    #[test]
    fn what_a_person_must_do_comes_before_what_passes() {
        let held = Counts { held: 2, ..Counts::default() };
        let waiting = trouble(Health::Waiting, "slow");
        assert_eq!(decide(&told(held, None, vec![waiting.clone()]), "authorized").0, Health::Attention);
        assert_eq!(
            decide(&told(Counts::default(), None, vec![waiting]), "authorized"),
            (Health::Waiting, "slow".into())
        );
    }

    #[test]
    fn a_row_that_should_have_gone_is_waiting_and_a_young_one_is_not() {
        let queued = Counts { queued: 1, ..Counts::default() };
        let oldest = |minutes| Some(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes));
        assert_eq!(
            decide(&told(queued, oldest(0), vec![]), "authorized"),
            (Health::Waiting, "the oldest row has waited for 9m".into())
        );
        assert_eq!(decide(&told(queued, oldest(8), vec![]), "authorized"), (Health::Ok, String::new()));
    }

    #[test]
    fn the_number_counts_only_what_should_have_gone() {
        let number = |minutes: i64| {
            let oldest = Some(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes));
            let now = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(9);
            let told = told(Counts { queued: 1, ..Counts::default() }, oldest, vec![]);
            health(&told, &authorized("none"), true, "mailchute-auth", now).overdue
        };
        assert_eq!(number(0), Duration::from_mins(9), "whatever the reason is");
        assert_eq!(number(5), Duration::ZERO);
    }

    #[test]
    fn a_pause_is_said_with_its_reason_and_passes_by_a_command() {
        let pause = Trouble { scope: OPERATOR.into(), ..trouble(Health::Waiting, "new list") };
        let (level, reason) = decide(&told(Counts::default(), None, vec![pause]), "authorized");
        assert_eq!(level, Health::Waiting);
        assert!(reason.ends_with("(new list); `mailchute resume` goes on"), "{reason}");
    }
}
