//! How it went: a few samples an hour, for the plots of the status page.

use jiff::Timestamp;
use rusqlite::params;

use super::{Outbox, Result, millis, one, signed, timestamp, unsigned};

/// The outbox at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// Rows delivered so far, as far as the outbox remembers.
    pub delivered: u64,
    /// Rows that wait.
    pub waiting: u64,
}

impl Outbox {
    /// Writes a sample down and forgets those before a time.
    pub fn sample(&mut self, sample: Sample, forget_before: Timestamp) -> Result<()> {
        self.write("write down a sample", |transaction| {
            transaction.execute("DELETE FROM sample WHERE at < ?1", [millis(forget_before)])?;
            one(transaction.execute(
                "INSERT INTO sample (at, delivered, waiting) VALUES (?1, ?2, ?3)
                     ON CONFLICT (at) DO UPDATE SET delivered = excluded.delivered, waiting = excluded.waiting",
                params![millis(sample.at), signed(sample.delivered), signed(sample.waiting)],
            )?)
        })
    }

    /// The samples from a time on, the oldest first.
    pub fn samples(&mut self, from: Timestamp) -> Result<Vec<Sample>> {
        self.doing("list samples", |connection| {
            let mut statement = connection
                .prepare_cached("SELECT at, delivered, waiting FROM sample WHERE at >= ?1 ORDER BY at")?;
            let samples = statement.query_map([millis(from)], |row| {
                Ok(Sample {
                    at: timestamp(0, row.get(0)?)?,
                    delivered: row.get(1).map(unsigned)?,
                    waiting: row.get(2).map(unsigned)?,
                })
            })?;
            samples.collect()
        })
    }
}
