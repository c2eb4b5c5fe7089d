//! When tokens are renewed, tried again, and never tried again. Pure: every number with its reason.

use std::time::Duration;

use jiff::Timestamp;

use crate::oauth::store::Pair;

/// Tokens live a day and a refresh may have to be repeated for a while: an hour before the end there is time for that,
/// and a clock that is a few minutes off does not matter.
const MARGIN: Duration = Duration::from_hours(1);
/// Short-lived tokens (a rehearsal's) are renewed when this part of their life is left, else they would never be good.
const MARGIN_SHARE: u32 = 4;
/// Refreshing at least weekly keeps an idle authorization far from its end after 180 days.
const IDLE_REFRESH: Duration = Duration::from_hours(168);
/// Pauses after a refresh that failed in passing; the last is repeated for as long as it takes.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
];
/// The server takes a spent token again for a while (30 seconds usually, a minute at most): a lost answer is asked for
/// again at once, within this time, and never after, when it would count as theft.
const RESCUE: Duration = Duration::from_secs(25);
/// Between two tries to get a lost answer, after the first, which comes at once.
pub(super) const RESCUE_PAUSE: Duration = Duration::from_secs(2);
/// How soon after a good refresh a refusal points to another program that uses the same application: that program
/// refreshes daily too, and ours notices at its next refresh.
const SUSPICIOUSLY_SOON: Duration = Duration::from_hours(48);

/// Whether a token need not be renewed yet.
pub(super) fn is_fresh(pair: &Pair, now: Timestamp) -> bool {
    let life = span(pair.refreshed_at, pair.access_expires_at);
    let margin = MARGIN.min(life / MARGIN_SHARE);
    let left = span(now, pair.access_expires_at);
    // More than a whole life left: the clock was set back, and says nothing about the token's age any more.
    left > margin && left <= life + MARGIN
}

/// Whether a token that should be renewed still opens the account.
pub(super) fn has_not_ended(pair: &Pair, now: Timestamp) -> bool {
    pair.access_expires_at > now
}

/// When an authorization that nobody uses must be refreshed. One that was refreshed in the future (the clock was set
/// back) counts from now.
pub(super) fn upkeep_due(pair: &Pair, now: Timestamp) -> Timestamp {
    pair.refreshed_at.min(now).checked_add(IDLE_REFRESH).unwrap_or(Timestamp::MAX)
}

/// The pause after so many failures in a row.
pub(super) fn pause(failures: usize) -> Duration {
    PAUSES[failures.min(PAUSES.len() - 1)]
}

/// Whether a token that was about to be spent then may be sent once more.
pub(super) fn rescuable(since: Timestamp, now: Timestamp) -> bool {
    since <= now && span(since, now) <= RESCUE
}

/// Whether the end of an authorization comes so soon after it was last good that somebody else must have used it.
pub(super) fn is_suspiciously_soon(pair: &Pair, now: Timestamp) -> bool {
    span(pair.refreshed_at, now) < SUSPICIOUSLY_SOON
}

/// From a time to another, or nothing when that lies before.
fn span(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn pair(life: i64) -> Pair {
        Pair {
            access_token: "a".into(),
            access_expires_at: at(life),
            refresh_token: "r".into(),
            refreshed_at: at(0),
            rotating: None,
            spending_since: None,
        }
    }

    #[test]
    fn a_token_is_renewed_an_hour_before_its_end_or_in_its_last_quarter() {
        let day = pair(24 * HOUR);
        assert!(is_fresh(&day, at(0)) && is_fresh(&day, at(23 * HOUR - 1)));
        assert!(!is_fresh(&day, at(23 * HOUR)) && !is_fresh(&day, at(30 * HOUR)));
        assert!(is_fresh(&pair(60), at(44)) && !is_fresh(&pair(60), at(45)));
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_token_young_again() {
        let day = pair(24 * HOUR);
        assert!(is_fresh(&day, at(-HOUR / 2)), "half an hour is a clock's correction");
        assert!(!is_fresh(&day, at(-48 * HOUR)));
        assert_eq!(upkeep_due(&day, at(-48 * HOUR)), at((168 - 48) * HOUR));
        assert_eq!(upkeep_due(&day, at(48 * HOUR)), at(168 * HOUR));
    }

    #[test]
    fn a_lost_answer_is_asked_for_again_only_at_once() {
        assert!(rescuable(at(0), at(0)) && rescuable(at(0), at(25)));
        assert!(!rescuable(at(0), at(26)) && !rescuable(at(10), at(0)));
    }

    #[test]
    fn pauses_grow_and_stay() {
        let pauses: Vec<u64> = (0..7).map(|failures| pause(failures).as_secs()).collect();
        assert_eq!(pauses, [5, 15, 60, 300, 900, 900, 900]);
    }
}
