//! Rows on their way out: taken with a call in `take`, settled with its answer in `settle`.
//!
//! Promises that a row is sent only after the call is written down, that a [`Job`] is settled once, that two rows of one
//! address are never under way together and go in the order they came, and that a file's counts change in the same
//! transaction as its rows.

mod settle;
mod take;

use jiff::Timestamp;

use super::opt_outs::Question;
use super::rank::Rank;
use super::{Outbox, OutboxError, Result, millis};
use crate::contact::Contact;
use crate::plan::Digest;
pub(super) use settle::{Final, finish, put_off};
pub(super) use take::Candidate;

/// A route that can be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenRoute {
    /// Its folder.
    pub folder: String,
    /// Its set of lists, as one string that is equal for equal sets.
    pub lists: String,
    /// Its lists' ids.
    pub list_ids: Vec<String>,
}

/// A row that is under way. Not `Clone`, and consumed by [`Outbox::settle`]: nothing is settled twice.
#[derive(Debug)]
pub struct Job {
    entry: i64,
    file: i64,
    call: i64,
    address: String,
    digest: Digest,
    lists: String,
    route: String,
    contact: Contact,
    rank: Rank,
    attempts: u32,
    tried_since: Timestamp,
    file_name: String,
    line: u64,
    /// Lists of its route, by id, that its person left.
    without: Vec<String>,
}

impl Job {
    pub(super) fn key(&self) -> RowKey<'_> {
        RowKey { entry: self.entry, file: self.file, address: &self.address }
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Lists of its route, by id, that its person left: it does not go there.
    #[must_use]
    pub fn without(&self) -> &[String] {
        &self.without
    }

    /// Its place in the outbox.
    #[must_use]
    pub fn entry(&self) -> i64 {
        self.entry
    }

    /// Whom it is about.
    #[must_use]
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Its route's folder.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route
    }

    /// The name of the file it came from, and its line there.
    #[must_use]
    pub fn place(&self) -> (&str, u64) {
        (&self.file_name, self.line)
    }

    /// The call that is written down for it.
    #[must_use]
    pub fn call(&self) -> i64 {
        self.call
    }

    /// Whether it went before the backlog, or with it.
    #[must_use]
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// Whether a field was left out of it that the account refused: its digest is still that of the whole.
    #[must_use]
    pub fn lacks_a_field(&self) -> bool {
        self.contact.digest() != self.digest
    }

    /// Calls made for it, this one included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// When its first call left.
    #[must_use]
    pub fn tried_since(&self) -> Timestamp {
        self.tried_since
    }
}

/// What a row's end needs to know of it.
#[derive(Clone, Copy)]
pub(super) struct RowKey<'a> {
    pub(super) entry: i64,
    pub(super) file: i64,
    pub(super) address: &'a str,
}

/// What [`Outbox::take`] found.
#[derive(Debug)]
pub enum Take {
    /// A row to send now.
    Job(Box<Job>),
    /// Rows that had nothing new to say were settled; look again. Says whether a file was finished by that.
    Skipped {
        /// A file's last row was among them.
        file_finished: bool,
    },
    /// Nothing is due.
    Nothing,
    /// The account must say first whether the next row's person left since.
    Ask(Question),
    /// A row of this rank is due, but the day has no more calls for it.
    Spent(Rank),
}

/// When the next row is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Now.
    Now,
    /// Later.
    At(Timestamp),
    /// No row waits on these routes.
    Never,
}

/// A job whose fate could not be written down: it is still under way, and the write can be tried again.
#[derive(Debug)]
pub struct Unsettled {
    /// The job, given back.
    pub job: Job,
    /// Why.
    pub error: OutboxError,
}

/// What the account did with a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// A new contact.
    Created,
    /// One that was there.
    Updated,
}

/// Why a row is held: what must be asked before it is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldBecause {
    /// The person left the account after giving consent: releasing it needs new consent.
    Left,
    /// It was tried too long.
    GivenUp,
    /// The account refuses the call, and not for what it says about the contact.
    RefusedCall,
    /// The operator wanted it.
    Operator,
}

impl HeldBecause {
    /// The word in the outbox.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::GivenUp => "given_up",
            Self::RefusedCall => "refused_call",
            Self::Operator => "operator",
        }
    }
}

/// What became of a row after a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It is in the account.
    Delivered {
        /// New or not.
        how: Delivered,
        /// The account's name for it.
        contact_id: String,
    },
    /// It is tried again.
    Later {
        /// When.
        at: Timestamp,
        /// Why not now.
        reason: String,
        /// False when the call says nothing about this row (a limit, a token): it does not lengthen its pauses.
        counts: bool,
    },
    /// It is sent once more without a field that the service refuses.
    LeftOut {
        /// What is left of it.
        contact: Box<Contact>,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The service refuses it.
    Rejected {
        /// The field that is wrong, if the service named one.
        field: Option<String>,
        /// What is wrong.
        reason: String,
    },
    /// A person must decide.
    Held {
        /// Of which kind the reason is.
        because: HeldBecause,
        /// Why, in words.
        reason: String,
    },
}

impl Outbox {
    /// At start: rows whose answer was lost with the process before go back to the queue. Says how many.
    ///
    /// Repeating them is safe: the sign-up call is an upsert that leaves the same contact behind.
    pub fn recover(&mut self, now: Timestamp) -> Result<usize> {
        self.write("recover rows that were under way", |transaction| {
            // Rows in imports stay in them: an import outlives the process.
            transaction.execute(
                "UPDATE file SET queued = queued + single.rows, sending = sending - single.rows
                   FROM (SELECT file, count(*) AS rows FROM entry WHERE state = 'sending' AND import IS NULL
                          GROUP BY file) AS single
                  WHERE single.file = file.id",
                (),
            )?;
            super::imports::recover(transaction, now)?;
            transaction.execute(
                "UPDATE entry SET state = 'queued', due_at = ?1,
                        reason = 'in doubt: the answer of the last call was lost'
                  WHERE state = 'sending' AND import IS NULL",
                [millis(now)],
            )
        })
    }

    /// Folders of routes whose rows wait, with how many.
    pub fn waiting_routes(&mut self) -> Result<Vec<(String, u64)>> {
        self.doing("count waiting rows by route", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT folder, sum(queued) FROM file JOIN route ON route.id = file.route
                  WHERE queued > 0 GROUP BY folder ORDER BY folder",
            )?;
            let routes = statement
                .query_map((), |row| Ok((row.get(0)?, row.get::<_, i64>(1).map(super::unsigned)?)))?;
            routes.collect()
        })
    }
}
