//! Whose turn it is: rows or imports, rows that just came or the backlog, and what each may use of the day's calls.
//!
//! Pure. Promises that none of them starves another: who goes first lets the other go now and then, and of each day's calls
//! a share is left for rows that just come in, however many wait behind them.

use jiff::Timestamp;

use crate::config::Limits;
use crate::outbox::{Rank, Turn};

/// A call about imports moves 36,000 rows: one in eight is enough for it, however many sign-ups there are.
const ROWS_BEFORE_AN_IMPORT: u32 = 7;
/// A sign-up that comes while others are sent waits for one row of the backlog at most; with many sign-ups at once the
/// backlog still gets a call in five.
const LIVE_BEFORE_BACKLOG: u32 = 4;

/// The ways to the account, which take turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Rows,
    Imports,
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Rows since the last call about imports.
    rows: u32,
    /// Live rows since the last one of the backlog.
    live: u32,
    /// Until when the backlog has used its share of the day.
    backlog_spent_until: Option<Timestamp>,
}

impl Turns {
    /// The lanes: rows come first, but imports are not starved by them.
    pub(super) fn lanes(&self) -> [Lane; 2] {
        if self.rows < ROWS_BEFORE_AN_IMPORT {
            [Lane::Rows, Lane::Imports]
        } else {
            [Lane::Imports, Lane::Rows]
        }
    }

    pub(super) fn took(&mut self, lane: Lane) {
        self.rows = if lane == Lane::Rows { self.rows.saturating_add(1) } else { 0 };
    }

    /// The turn of the next row.
    pub(super) fn row(&self, limits: Limits, now: Timestamp) -> Turn {
        let first = if self.live < LIVE_BEFORE_BACKLOG { Rank::Live } else { Rank::Backlog };
        let waits = self.backlog_waits_until(now).is_some();
        let backlog_calls = (!waits).then(|| limits.backlog_per_day());
        Turn { first, live_calls: limits.per_day, backlog_calls }
    }

    pub(super) fn sent(&mut self, rank: Rank) {
        self.live = if rank == Rank::Live { self.live.saturating_add(1) } else { 0 };
    }

    pub(super) fn backlog_is_spent_until(&mut self, until: Timestamp) {
        self.backlog_spent_until = Some(until);
    }

    /// Until when the backlog waits for another day, if it does.
    pub(super) fn backlog_waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.backlog_spent_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const LIMITS: Limits = Limits { per_second: NonZeroU32::MIN, per_day: 10_000 };

    #[test]
    fn the_backlog_gets_a_call_in_five_while_live_rows_keep_coming() {
        let mut turns = Turns::default();
        let ranks: Vec<_> = (0..15)
            .map(|_| {
                let rank = turns.row(LIMITS, NOW).first;
                turns.sent(rank);
                rank
            })
            .collect();
        let backlog: Vec<_> = (0..15).filter(|call| ranks[*call] == Rank::Backlog).collect();
        assert_eq!(backlog, [4, 9, 14]);
    }

    #[test]
    fn live_rows_may_use_what_the_backlog_must_leave_until_the_next_day() {
        let mut turns = Turns::default();
        let midnight = Timestamp::from_second(100).unwrap();
        let turn = turns.row(LIMITS, NOW);
        assert_eq!((turn.live_calls, turn.backlog_calls), (10_000, Some(9_500)));
        turns.backlog_is_spent_until(midnight);
        assert_eq!(turns.row(LIMITS, NOW).order().collect::<Vec<_>>(), [Rank::Live]);
        assert_eq!(turns.row(LIMITS, midnight).order().count(), 2);
    }

    #[test]
    fn imports_get_a_call_in_eight() {
        let mut turns = Turns::default();
        let lanes: Vec<_> = (0..16)
            .map(|_| {
                let lane = turns.lanes()[0];
                turns.took(lane);
                lane
            })
            .collect();
        let imports: Vec<_> = (0..16).filter(|call| lanes[*call] == Lane::Imports).collect();
        assert_eq!(imports, [7, 15]);
    }
}
