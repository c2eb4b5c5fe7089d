//! What is said about the backlog: that it has had its share of the day, and that it will take days.

use jiff::{Timestamp, tz::TimeZone};

use super::Drain;
use super::gate::midnight_after;
use crate::constant_contact::Account;
use crate::forecast::{Waiting, done_at, takes_days};
use crate::outbox::{Obstacle, OutboxError};

/// What stands in the way of the backlog alone, as `status` tells it.
const SCOPE: &str = "backlog";

impl<A: Account> Drain<A> {
    /// The backlog has had its share of the day: only what just comes in may still be sent. Says until when.
    pub(super) async fn backlog_is_spent(&mut self, now: Timestamp) -> Result<Timestamp, OutboxError> {
        let (until, limits) = (midnight_after(now), self.parts.limits);
        self.turns.backlog_is_spent_until(until);
        let spent = limits.backlog_per_day();
        let reason = format!(
            "the day's {spent} calls for the backlog are spent; {} are left for what just comes in",
            limits.per_day - spent
        );
        self.teller.tell(SCOPE, Some(Obstacle::waiting(reason, Some(until)))).await?;
        Ok(until)
    }

    /// Says at once when rows will take days, and when they no longer do.
    pub(super) async fn tell_backlog(
        &mut self,
        waiting: &[(String, u64)],
        calls_today: u64,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        if self.turns.backlog_waits_until(now).is_some() {
            return Ok(());
        }
        let waiting = Waiting::of(waiting, &self.parts.routes);
        let done = done_at(waiting, self.parts.limits, calls_today, now).filter(|at| takes_days(*at, now));
        let words = done.map(|at| words(waiting, at));
        let obstacle = match (words, self.takes_days.take()) {
            (None, _) => None,
            // The numbers change with every row, the day seldom: it is said when that changes.
            (Some((day, _)), Some((told, obstacle))) if day == told => Some((told, obstacle)),
            (Some((day, reason)), _) => Some((day, Obstacle::waiting(reason, None))),
        };
        self.takes_days.clone_from(&obstacle);
        self.teller.tell(SCOPE, obstacle.map(|(_, obstacle)| obstacle)).await
    }
}

/// The day of the end, and a sentence about it.
fn words(waiting: Waiting, done: Timestamp) -> (String, String) {
    let day = TimeZone::system().to_datetime(done).date().to_string();
    let rows = waiting.single;
    let reason = format!(
        "{rows} rows with explicit consent wait, a call each: the day's calls last until {day} for them"
    );
    (day, reason)
}
