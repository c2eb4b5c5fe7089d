//! Who goes first: rows that just came, before the backlog.
//!
//! Owns the rule that tells them apart. A file that queues at most [`LIVE_ROWS`] rows is live: forms, shops and people drop
//! such files, and somebody waits for what they say. What a larger file queues is backlog: an export, a move from elsewhere.
//! The rank is written with the row, so that asking for the next one is one step in an index, however many wait.

use rusqlite::{Transaction, params};

use super::one;

/// More than people sign up at a moment. At the service's four calls a second these take less than half a minute, so that
/// not even a handful of such files makes a single sign-up wait for long.
pub const LIVE_ROWS: usize = 100;

/// Which rows go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// Of a file that queues few rows.
    Live,
    /// Of a file that queues many.
    Backlog,
}

impl Rank {
    /// Both, the first first.
    pub const ALL: [Self; 2] = [Self::Live, Self::Backlog];

    /// The number in the outbox.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Live => 0,
            Self::Backlog => 1,
        }
    }
}

/// Whose turn it is, and how far each may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Which rank is asked first.
    pub first: Rank,
    /// Calls that the day may come to for a live row.
    pub live_calls: u32,
    /// Calls that the day may come to for a row of the backlog; `None` when the backlog waits.
    pub backlog_calls: Option<u32>,
}

impl Turn {
    /// The ranks that may go, in the order of this turn.
    pub fn order(self) -> impl Iterator<Item = Rank> {
        let second = if self.first == Rank::Live { Rank::Backlog } else { Rank::Live };
        [self.first, second].into_iter().filter(move |rank| self.calls(*rank).is_some())
    }

    /// Calls that the day may come to for a row of a rank; `None` when its rows wait.
    pub(super) fn calls(self, rank: Rank) -> Option<u32> {
        match rank {
            Rank::Live => Some(self.live_calls),
            Rank::Backlog => self.backlog_calls,
        }
    }
}

/// Ranks a file's rows while they are recorded: whether there are many of them is known only once there are.
#[derive(Debug, Default)]
pub(super) struct Ranking {
    live: Vec<i64>,
    /// Rows of older files that go with what a row of this one says.
    joined: Vec<i64>,
    many: bool,
}

impl Ranking {
    /// What the next row is, as far as is known.
    pub(super) fn next(&self) -> Rank {
        if self.many { Rank::Backlog } else { Rank::Live }
    }

    /// Counts a row that was queued. With the one that makes them many, those before it go back to the backlog, too.
    pub(super) fn queued(&mut self, transaction: &Transaction<'_>, entry: i64) -> rusqlite::Result<()> {
        if self.many {
            return Ok(());
        }
        self.live.push(entry);
        if self.live.len() <= LIVE_ROWS {
            return Ok(());
        }
        self.many = true;
        self.joined = Vec::new();
        self.live.drain(..).try_for_each(|entry| set(transaction, entry, Rank::Backlog))
    }
}

impl Ranking {
    /// A row of an older file goes with what a row of this one says.
    pub(super) fn joined(&mut self, older: i64) {
        if !self.many {
            self.joined.push(older);
        }
    }

    /// At the end of a file that stayed small: what its rows joined is as live as they are.
    pub(super) fn finish(self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        self.joined.into_iter().try_for_each(|entry| set(transaction, entry, Rank::Live))
    }
}

/// Ranks a row anew.
fn set(transaction: &Transaction<'_>, entry: i64, rank: Rank) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE entry SET rank = ?2 WHERE id = ?1")?
        .execute(params![entry, rank.number()])
        .and_then(one)
}
