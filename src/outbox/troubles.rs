//! What stands in the way, by whom it concerns, so that `status` can say it without asking the daemon.
//!
//! A trouble is a row while it lasts and gone when it is over. The loops set and clear their own scopes.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, params};

use super::{Outbox, Result, at_most_one, millis, one, timestamp};

/// The scope of an operator's pause: the only trouble that somebody else than a loop sets.
pub const OPERATOR: &str = "operator";

/// How the program is, and how serious a trouble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing stands in the way.
    Ok,
    /// It passes by itself.
    Waiting,
    /// A person must act.
    Attention,
}

impl Health {
    /// The word of the contract.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Waiting => "waiting",
            Self::Attention => "attention",
        }
    }
}

/// Something that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whom it concerns: `inbox`, `account`, `authorization`, `route members`.
    pub scope: String,
    /// How serious it is.
    pub health: Health,
    /// What it is and what would help.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Until when it is known to last.
    pub until: Option<Timestamp>,
}

impl Outbox {
    /// Sets a scope's trouble; the same trouble keeps its `since`.
    pub fn set_trouble(
        &mut self,
        scope: &str,
        health: Health,
        reason: &str,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<()> {
        self.write("write down a trouble", |transaction| {
            let touched = transaction.execute(
                "INSERT INTO trouble (scope, health, reason, since, until) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (scope) DO UPDATE SET health = excluded.health, reason = excluded.reason,
                        until = excluded.until,
                        since = CASE WHEN health = excluded.health THEN since ELSE excluded.since END",
                params![scope, health.as_str(), reason, millis(now), until.map(millis)],
            )?;
            one(touched)
        })
    }

    /// A scope's trouble is over.
    pub fn clear_trouble(&mut self, scope: &str) -> Result<()> {
        self.write("clear a trouble", |transaction| {
            at_most_one(transaction.execute("DELETE FROM trouble WHERE scope = ?1", [scope])?)
        })
    }

    /// Nothing is sent until [`Outbox::resume`], whatever restarts; a second pause keeps the first one's time.
    pub fn pause(&mut self, reason: &str, now: Timestamp) -> Result<()> {
        self.set_trouble(OPERATOR, Health::Waiting, reason, None, now)
    }

    /// Sending goes on. Says whether it was paused.
    pub fn resume(&mut self) -> Result<bool> {
        let was_paused = self.paused()?.is_some();
        self.clear_trouble(OPERATOR)?;
        Ok(was_paused)
    }

    /// The operator's reason, which may be empty, while sending is paused.
    pub fn paused(&mut self) -> Result<Option<String>> {
        self.doing("look for a pause", |connection| {
            connection
                .prepare_cached("SELECT reason FROM trouble WHERE scope = ?1")?
                .query_row([OPERATOR], |row| row.get(0))
                .optional()
        })
    }

    /// All troubles, the most serious and oldest first.
    pub fn troubles(&mut self) -> Result<Vec<Trouble>> {
        self.doing("list troubles", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT scope, health, reason, since, until FROM trouble ORDER BY health = 'waiting', since, scope",
            )?;
            let troubles = statement.query_map((), |row| {
                let health: String = row.get(1)?;
                Ok(Trouble {
                    scope: row.get(0)?,
                    health: if health == "attention" { Health::Attention } else { Health::Waiting },
                    reason: row.get(2)?,
                    since: timestamp(3, row.get(3)?)?,
                    until: row.get::<_, Option<i64>>(4)?.map(|until| timestamp(4, until)).transpose()?,
                })
            })?;
            troubles.collect()
        })
    }

    /// A single time that must survive a restart.
    pub fn time_of(&mut self, name: &'static str) -> Result<Option<Timestamp>> {
        self.doing("read a fact", |connection| {
            connection
                .query_row("SELECT value FROM fact WHERE name = ?1", [name], |row| timestamp(0, row.get(0)?))
                .optional()
        })
    }

    /// Writes down a single time, or forgets it.
    pub fn set_time_of(&mut self, name: &'static str, time: Option<Timestamp>) -> Result<()> {
        self.write("write down a fact", |transaction| match time {
            Some(time) => one(transaction.execute(
                "INSERT INTO fact (name, value) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                params![name, millis(time)],
            )?),
            None => at_most_one(transaction.execute("DELETE FROM fact WHERE name = ?1", [name])?),
        })
    }
}
