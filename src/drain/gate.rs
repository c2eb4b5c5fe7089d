//! Whether anything may be sent at all: tokens, the account's pauses, its outages.
//!
//! Owns what is known about the account as a whole, and says it to `status`. The rows know nothing of it: a closed gate
//! costs none of them a try.

use std::time::Duration;

use jiff::Timestamp;

use super::Drain;
use super::outage::Outage;
use crate::constant_contact::{Account, Answer, Passing, Trace};
use crate::oauth::Unavailable;
use crate::outbox::{Obstacle, OutboxError};

/// The fact that holds until when the service gives no more calls.
pub(super) const QUOTA_UNTIL: &str = "quota_until";
/// Past a limit per second on any clock.
const THROTTLED_PAUSE: Duration = Duration::from_secs(2);
/// A limit without a name that lasts this long is the day's.
const UNKNOWN_LIMIT_IS_THE_DAYS_AFTER: Duration = Duration::from_mins(5);
/// A person who grants a missing right waits no longer than this for it to be noticed, and the day's calls last.
const FORBIDDEN_PAUSE: Duration = Duration::from_mins(5);
/// How soon a new authorization is taken up.
const LOGIN_LOOK: Duration = Duration::from_secs(2);
/// After midnight the service's clock may still say yesterday; everybody's programs come back then, too.
const MIDNIGHT_MARGIN: Duration = Duration::from_secs(30);
/// A UTC day has no other length: Unix time knows no leap seconds.
const SECONDS_A_DAY: i64 = 24 * 60 * 60;
/// Lists and fields are read again no sooner: a person makes a list in a minute. Where nobody does, a route that waits for
/// one must not spend the day's calls: at the last of these pauses it takes 600 of them.
const DIRECTORY_AGAIN_AFTER: [Duration; 4] =
    [Duration::from_mins(1), Duration::from_mins(1), Duration::from_mins(2), Duration::from_mins(5)];
/// A reading that failed is repeated sooner; how the account is, the gate knows by then.
const DIRECTORY_RETRY: Duration = Duration::from_secs(5);

/// What this run found out about the account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// A person must sign in.
    pub login_needed: bool,
    /// Nothing got through lately.
    pub unreachable: bool,
    /// A route names a list that the account lacks: which, and what would help.
    pub unknown_list: Option<String>,
    /// The account forbids calls: why, and what would help.
    pub forbidden: Option<String>,
}

/// What is known about the account as a whole.
pub(super) struct Gate {
    outage: Outage,
    pause_until: Option<Timestamp>,
    quota_until: Option<Timestamp>,
    /// Until when our own count has no more calls for the backlog.
    spent_until: Option<Timestamp>,
    unknown_limit_since: Option<Timestamp>,
    login_needed: bool,
    forbidden: Option<String>,
    /// The pair of tokens that was renewed because it was refused, while nothing got through since.
    renewed: Option<u64>,
    directory_again_at: Timestamp,
    directory_wanted: bool,
    /// Readings, one after the other, that opened no route.
    directory_in_vain: usize,
}

impl Gate {
    pub(super) fn new(directory_read_at: Option<Timestamp>, quota_until: Option<Timestamp>) -> Self {
        Self {
            outage: Outage::default(),
            pause_until: None,
            quota_until,
            spent_until: None,
            unknown_limit_since: None,
            login_needed: false,
            forbidden: None,
            renewed: None,
            directory_again_at: directory_read_at
                .map_or(Timestamp::MIN, |at| plus(at, DIRECTORY_AGAIN_AFTER[0])),
            directory_wanted: false,
            directory_in_vain: 0,
        }
    }

    pub(super) fn day_is_spent_until(&mut self, until: Timestamp) {
        self.spent_until = Some(until);
    }

    pub(super) fn probes(&self) -> bool {
        self.outage.is_open()
    }

    pub(super) fn findings(&self, unknown_list: Option<String>) -> Findings {
        Findings {
            login_needed: self.login_needed,
            unreachable: self.outage.is_feared(),
            unknown_list,
            forbidden: self.forbidden.clone(),
        }
    }

    pub(super) fn login_is_needed(&self) -> bool {
        self.login_needed
    }

    /// Whether a new reading of lists and fields would be granted now.
    pub(super) fn may_ask_directory_again(&self, now: Timestamp) -> bool {
        self.directory_again_at <= now
    }

    /// Asks for a new reading of lists and fields, unless there was one just now. Says whether there will be one.
    pub(super) fn ask_directory_again(&mut self, now: Timestamp) -> bool {
        let may = self.directory_again_at <= now;
        self.directory_wanted |= may;
        may
    }

    /// When lists may be read again for a route whose list is unknown; in the past when they may now.
    pub(super) fn directory_again_at(&self) -> Timestamp {
        self.directory_again_at
    }

    /// Asks for a new reading as soon as there may be one.
    pub(super) fn want_directory(&mut self) {
        self.directory_wanted = true;
    }

    pub(super) fn directory_is_wanted(&self, now: Timestamp) -> bool {
        self.directory_wanted && self.directory_again_at <= now
    }

    /// The account is asked for its lists: until that has come to something, it is not asked again at once.
    pub(super) fn directory_asked(&mut self, now: Timestamp) {
        self.directory_again_at = plus(now, DIRECTORY_RETRY);
        self.directory_wanted = false;
    }

    /// Lists and fields were read: in vain if the same routes wait for a list as before.
    pub(super) fn directory_read(&mut self, in_vain: bool, now: Timestamp) {
        self.directory_in_vain = if in_vain { self.directory_in_vain + 1 } else { 0 };
        let place = self.directory_in_vain.min(DIRECTORY_AGAIN_AFTER.len() - 1);
        self.directory_again_at = plus(now, DIRECTORY_AGAIN_AFTER[place]);
    }

    /// Until when nothing may be sent.
    fn closed_until(&self, now: Timestamp) -> Option<Timestamp> {
        [self.pause_until, self.quota_until, self.outage.until(now)]
            .into_iter()
            .flatten()
            .filter(|at| *at > now)
            .max()
    }

    fn pause(&mut self, until: Timestamp) {
        self.pause_until = self.pause_until.max(Some(until));
    }
}

/// The first moment of the next UTC day, by the service's clock too.
pub(super) fn midnight_after(now: Timestamp) -> Timestamp {
    let tomorrow = (now.as_second().div_euclid(SECONDS_A_DAY) + 1) * SECONDS_A_DAY;
    Timestamp::from_second(tomorrow).map_or(Timestamp::MAX, |midnight| plus(midnight, MIDNIGHT_MARGIN))
}

pub(super) fn plus(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

impl<A: Account> Drain<A> {
    /// Whether the account can be asked before long, as far as is known.
    pub(super) fn may_ask(&self, now: Timestamp) -> bool {
        let soon = plus(now, Duration::from_mins(1));
        !self.gate.login_needed
            && self.gate.forbidden.is_none()
            && !self.gate.outage.is_open()
            && self.gate.spent_until.is_none_or(|until| until <= now)
            && self.turns.backlog_waits_until(now).is_none()
            && self.gate.closed_until(now).is_none_or(|until| until <= soon)
    }

    /// Until when nothing may be sent; `None` when a call may leave as far as the account is concerned.
    pub(super) async fn closed(&mut self, now: Timestamp) -> Result<Option<Timestamp>, OutboxError> {
        if let Some(until) = self.gate.closed_until(now) {
            return Ok(Some(until));
        }
        match self.parts.account.ready().await {
            Ok(()) => {
                self.gate.login_needed = false;
                self.teller.tell("authorization", None).await?;
                Ok(None)
            }
            Err(unavailable) => self.no_token(unavailable, now).await.map(Some),
        }
    }

    async fn no_token(&mut self, unavailable: Unavailable, now: Timestamp) -> Result<Timestamp, OutboxError> {
        match unavailable {
            Unavailable::Login { reason } => {
                self.gate.login_needed = true;
                self.teller.tell("authorization", Some(Obstacle::attention(reason))).await?;
                Ok(plus(now, LOGIN_LOOK))
            }
            Unavailable::Refused { reason, retry_at } => {
                self.teller.tell("authorization", Some(Obstacle::attention(reason))).await?;
                Ok(retry_at.max(plus(now, LOGIN_LOOK)))
            }
            Unavailable::Passing { reason, retry_at } => {
                self.teller.tell("authorization", Some(Obstacle::waiting(reason, Some(retry_at)))).await?;
                Ok(retry_at.max(plus(now, LOGIN_LOOK)))
            }
        }
    }

    /// What an answer says about the account as a whole.
    pub(super) async fn heed<T: Sync>(
        &mut self,
        answer: &Answer<T>,
        trace: &Trace,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        match answer {
            Answer::LoginNeeded { generation } => return self.token_refused(*generation, now).await,
            Answer::Forbidden { reason } => {
                self.gate.pause(plus(now, FORBIDDEN_PAUSE));
                let words = format!(
                    "the account forbids calls ({reason}): check the application's scopes, the user's privileges and that \
                     the application is active in the portal"
                );
                self.gate.forbidden = Some(words.clone());
                return self.teller.tell("account", Some(Obstacle::attention(words))).await;
            }
            Answer::Quota => return self.quota(now).await,
            Answer::Later(Passing::Throttled) => self.gate.pause(trace.retry_at(now, THROTTLED_PAUSE)),
            // Too many bulk activities are no reason for sign-ups to wait: the import itself waits.
            Answer::Later(Passing::QueueFull) => {}
            Answer::Later(Passing::UnknownLimit) => return self.unknown_limit(trace, now).await,
            Answer::Later(Passing::Server | Passing::NotSent | Passing::Lost | Passing::Rubbish) => {
                return self.did_not_get_through(trace, now).await;
            }
            Answer::Done(_)
            | Answer::Never { .. }
            | Answer::List { .. }
            | Answer::Hold { .. }
            | Answer::Later(Passing::Conflict) => {
                self.gate.renewed = None;
                self.gate.forbidden = None;
                self.gate.unknown_limit_since = None;
                self.gate.outage.over();
                return self.teller.tell("account", None).await;
            }
        }
        self.gate.outage.over();
        Ok(())
    }

    async fn did_not_get_through(&mut self, trace: &Trace, now: Timestamp) -> Result<(), OutboxError> {
        self.gate.outage.failed(now);
        if trace.retry_after.is_some() {
            self.gate.pause(trace.retry_at(now, Duration::ZERO));
        }
        if !self.gate.outage.is_open() {
            return Ok(());
        }
        let status = trace.status.map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}"));
        let words = trace.message.as_deref().unwrap_or_default();
        let reason = format!("the account does not answer as it should ({status} {words})");
        let until = self.gate.outage.until(now);
        self.teller.tell("account", Some(Obstacle::waiting(reason, until))).await
    }

    /// One refused token is renewed at once; a second one in a row is not a matter of age.
    async fn token_refused(&mut self, generation: u64, now: Timestamp) -> Result<(), OutboxError> {
        // Calls that left with the old token are answered after it was renewed: they say nothing new.
        if self.gate.renewed.is_some_and(|old| generation <= old) {
            return Ok(());
        }
        if self.gate.renewed.is_some() {
            self.gate.pause(plus(now, FORBIDDEN_PAUSE));
            let reason = "the account refuses a token that was just renewed: the account or the application may be closed; \
                          if it is open, sign in again with `mailchute-auth`";
            return self.teller.tell("authorization", Some(Obstacle::attention(reason.to_owned()))).await;
        }
        match self.parts.account.renew(generation).await {
            Ok(()) => {
                self.gate.renewed = Some(generation);
                Ok(())
            }
            Err(unavailable) => {
                let until = self.no_token(unavailable, now).await?;
                self.gate.pause(until);
                Ok(())
            }
        }
    }

    async fn unknown_limit(&mut self, trace: &Trace, now: Timestamp) -> Result<(), OutboxError> {
        let since = *self.gate.unknown_limit_since.get_or_insert(now);
        if plus(since, UNKNOWN_LIMIT_IS_THE_DAYS_AFTER) <= now {
            return self.quota(now).await;
        }
        self.gate.pause(trace.retry_at(now, THROTTLED_PAUSE));
        Ok(())
    }

    async fn quota(&mut self, now: Timestamp) -> Result<(), OutboxError> {
        let until = midnight_after(now);
        self.gate.quota_until = Some(until);
        self.parts.outbox.ask(move |outbox| outbox.set_time_of(QUOTA_UNTIL, Some(until))).await?;
        let reason = "the service gives no more calls today".to_owned();
        self.teller.tell("account", Some(Obstacle::waiting(reason, Some(until)))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_day_begins_a_little_after_midnight() {
        let evening: Timestamp = "2026-11-24T23:59:59.5Z".parse().unwrap();
        assert_eq!(midnight_after(evening).to_string(), "2026-11-25T00:00:30Z");
        let midnight: Timestamp = "2026-11-25T00:00:00Z".parse().unwrap();
        assert_eq!(midnight_after(midnight).to_string(), "2026-11-26T00:00:30Z");
    }

    #[test]
    fn lists_are_asked_for_again_only_after_a_while() {
        let now = Timestamp::UNIX_EPOCH;
        let mut gate = Gate::new(None, None);
        assert!(gate.ask_directory_again(now));
        gate.directory_asked(now);
        assert!(!gate.ask_directory_again(now));
        gate.directory_read(false, now);
        assert!(!gate.ask_directory_again(plus(now, DIRECTORY_RETRY)));
        assert!(gate.ask_directory_again(plus(now, DIRECTORY_AGAIN_AFTER[0])));
        let pause = |in_vain: bool, gate: &mut Gate| {
            gate.directory_read(in_vain, now);
            gate.directory_again_at().duration_since(now).as_secs()
        };
        assert_eq!([true; 5].map(|in_vain| pause(in_vain, &mut gate)), [60, 120, 300, 300, 300]);
        assert_eq!([false, true].map(|in_vain| pause(in_vain, &mut gate)), [60, 60]);
    }

    #[test]
    fn the_longest_pause_counts() {
        let now = Timestamp::UNIX_EPOCH;
        let mut gate = Gate::new(None, Some(plus(now, Duration::from_mins(1))));
        gate.pause(plus(now, Duration::from_secs(5)));
        assert_eq!(gate.closed_until(now), Some(plus(now, Duration::from_mins(1))));
        assert_eq!(gate.closed_until(plus(now, Duration::from_mins(1))), None);
    }
}
