//! `heartbeat_url`: a sign of life for whoever watches from outside (a dead man's switch).
//!
//! Promises that a beat means progress: rows go out, or none is there that should have gone. A daemon that only runs
//! does not beat, so that the watcher raises the alarm when it matters.

use std::time::Duration;

use jiff::Timestamp;
use url::Url;

use crate::oauth::USER_AGENT;
use crate::outbox::Health;

/// Watchers expect a beat every few minutes; more would be noise.
const AT_MOST_EVERY: Duration = Duration::from_mins(5);
/// A watcher that does not answer by then gets the next beat.
const TIME_OUT: Duration = Duration::from_secs(10);

/// When it beat last, and what was delivered by then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Beat {
    at: Option<Timestamp>,
    last_delivery: Option<Timestamp>,
}

impl Beat {
    /// Whether there is progress to tell, and it is time.
    pub(super) fn is_due(
        &self,
        health: Health,
        overdue: Duration,
        last_delivery: Option<Timestamp>,
        now: Timestamp,
    ) -> bool {
        let soon = self.at.is_some_and(|at| at.checked_add(AT_MOST_EVERY).is_ok_and(|again| again > now));
        let progress = overdue.is_zero() || last_delivery > self.last_delivery;
        health != Health::Attention && progress && !soon
    }

    /// It beats now.
    pub(super) fn beats(last_delivery: Option<Timestamp>, now: Timestamp) -> Self {
        Self { at: Some(now), last_delivery }
    }
}

/// Sends the beat. That nobody hears it is the watcher's alarm and not ours.
pub(super) async fn send(url: &Url) {
    let client = reqwest::Client::builder().user_agent(USER_AGENT).timeout(TIME_OUT).build();
    let sent = match client {
        Ok(client) => client.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status),
        Err(error) => Err(error),
    };
    if let Err(error) = sent {
        // The address is a secret: whoever knows it can keep the alarm quiet.
        tracing::warn!(error = %error.without_url(), "the heartbeat was not heard");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_beats_for_progress_only_and_every_five_minutes_at_most() {
        let at = |minutes| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes);
        let (none, late) = (Duration::ZERO, Duration::from_mins(9));
        let fresh = Beat::default();
        assert!(fresh.is_due(Health::Ok, none, None, at(0)), "nothing to do is fine");
        assert!(!fresh.is_due(Health::Attention, none, None, at(0)));
        assert!(!fresh.is_due(Health::Waiting, late, None, at(0)), "it runs, and nothing goes out");
        assert!(fresh.is_due(Health::Waiting, late, Some(at(0)), at(0)), "late, and on its way");
        let beaten = Beat::beats(Some(at(0)), at(0));
        assert!(!beaten.is_due(Health::Ok, none, Some(at(1)), at(4)));
        assert!(beaten.is_due(Health::Ok, none, Some(at(0)), at(5)));
        assert!(!beaten.is_due(Health::Waiting, late, Some(at(0)), at(5)));
    }
}
