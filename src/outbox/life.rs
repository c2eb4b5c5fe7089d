//! The life of one address: where it came from, each call that was made for it, and what is next.

use jiff::Timestamp;
use rusqlite::params;
use serde::Serialize;

use super::notes::{Note, of_entry};
use super::queue::{Listed, Selector};
use super::{Outbox, Result, timestamp};

/// Rows of one address that are told; a nightly export of years has more, and the latest are the ones that matter.
const ROWS: u32 = 10_000;

/// A call that was made for a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// The service's name for the call.
    pub endpoint: String,
    /// When it left.
    pub started_at: Timestamp,
    /// When it was answered; none while it is under way, or when the answer was lost.
    pub answered_at: Option<Timestamp>,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The service's `error_key`.
    pub error_key: Option<String>,
    /// The service's or the network's words.
    pub message: Option<String>,
}

/// One row of an address with its history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Episode {
    /// The row.
    #[serde(flatten)]
    pub row: Listed,
    /// Where its file lies now, below the spool.
    pub archived_as: Option<String>,
    /// When the person agreed; where the row does not say, its file's time counts.
    pub consent_at: Timestamp,
    /// Whether the row itself says when.
    pub consent_is_stated: bool,
    /// What the row says about the consent (source, IP address), as JSON.
    pub evidence: Option<serde_json::Value>,
    /// The account's name for the contact.
    pub contact_id: Option<String>,
    /// Every call, the oldest first.
    pub calls: Vec<Attempt>,
    /// What was done to it besides its fate.
    pub notes: Vec<Note>,
}

impl Outbox {
    /// Everything about an address (in lower case), the oldest row first.
    pub fn life(&mut self, address: &str) -> Result<Vec<Episode>> {
        let selector = Selector { address: Some(address.to_owned()), ..Selector::default() };
        let rows = self.rows(&selector, 0, ROWS)?;
        rows.iter().map(|row| self.episode(row)).collect()
    }

    fn episode(&mut self, row: &Listed) -> Result<Episode> {
        self.doing("read the history of a row", |connection| {
            let mut calls = connection.prepare_cached(
                "SELECT endpoint, started_at, answered_at, status, error_key, message FROM attempt
                  WHERE entry = ?1 ORDER BY id",
            )?;
            let calls = calls.query_map([row.id], |call| {
                Ok(Attempt {
                    endpoint: call.get(0)?,
                    started_at: timestamp(1, call.get(1)?)?,
                    answered_at: call.get::<_, Option<i64>>(2)?.map(|at| timestamp(2, at)).transpose()?,
                    status: call.get(3)?,
                    error_key: call.get(4)?,
                    message: call.get(5)?,
                })
            })?;
            let calls = calls.collect::<rusqlite::Result<Vec<_>>>()?;
            let notes = of_entry(connection, row.id)?;
            let mut rest = connection.prepare_cached(
                "SELECT archived_as, coalesce(consent_at, modified_at), consent_at IS NOT NULL, evidence, contact_id
                   FROM entry JOIN file ON file.id = entry.file WHERE entry.id = ?1",
            )?;
            rest.query_row(params![row.id], |rest| {
                Ok(Episode {
                    archived_as: rest.get(0)?,
                    consent_at: timestamp(1, rest.get(1)?)?,
                    consent_is_stated: rest.get(2)?,
                    evidence: rest
                        .get::<_, Option<String>>(3)?
                        .and_then(|text| serde_json::from_str(&text).ok()),
                    contact_id: rest.get(4)?,
                    calls,
                    notes,
                    row: row.clone(),
                })
            })
        })
    }
}
