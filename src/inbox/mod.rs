//! Loop 1: from a file in a folder to rows in the outbox, and back to a receipt.
//!
//! Owns the spool. Promises that a file leaves the inbox only after its rows are committed, that one that cannot be read
//! goes to `failed/` with its reason, and that a receipt is written when the last row is settled. Events are hints: what
//! they miss, the rescan finds. Leaves what rows mean to `contact` and `plan`, and sending to `drain`, which it does not
//! know.

mod answer;
mod archive;
mod columns;
mod decode;
mod delimited;
#[cfg(test)]
mod exports;
mod json;
mod keep;
mod names;
mod reading;
mod receipt;
mod record;
mod rejects;
mod scan;
mod settle;
mod source;
mod spellings;
mod stuck;
mod take_in;
mod watch;

use std::{
    collections::VecDeque,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use thiserror::Error;
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{InboxSettings, Route};
use crate::contact::{Rejection, Row};
use crate::outbox::{Obstacle, Outbox, OutboxError, SharedOutbox, Teller};
use crate::wake::Wake;
pub use reading::Reading;
use scan::{Ready, Scan};
use settle::Settling;
use stuck::Stuck;
pub use watch::Finding;
use watch::Watch;

/// After a fault of the disk or the outbox, how long until it is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// The scope of our troubles.
const SCOPE: &str = "inbox";
/// Rescans come this much earlier or later, by chance, so that many daemons on one file server do not look together.
const JITTER: f64 = 0.1;
/// A folder without events is looked at at least this often: nobody wonders for longer why nothing happens, and no file
/// server notices.
const POLL: Duration = Duration::from_secs(5);

/// Where a reader puts what it reads; it says when no more is wanted.
pub type Sink<'a> = &'a mut dyn FnMut(Result<Row, Rejection>) -> ControlFlow<()>;

/// What a reader says of a file besides its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The column that the addresses were taken from, where several could hold them.
    pub address_column: Option<String>,
}

/// Why nothing of a file can be taken, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {reason}")]
pub struct Unreadable {
    /// Where in the file.
    pub place: String,
    /// What is wrong and what would be right.
    pub reason: String,
    /// The text ends in the middle: its writer may only be slow.
    pub cut_short: bool,
}

impl Unreadable {
    fn new(place: &str, reason: String) -> Self {
        Self { place: place.to_owned(), reason, cut_short: false }
    }

    fn cut_short(place: &str, reason: String) -> Self {
        Self { cut_short: true, ..Self::new(place, reason) }
    }
}

/// Why a receipt or a rejects file could not be written.
#[derive(Debug, Error)]
pub enum ReceiptError {
    /// The disk.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The table.
    #[error(transparent)]
    Csv(#[from] csv::Error),
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The archived file is not what was read before.
    #[error("the archived file cannot be read again: {0}")]
    Unreadable(#[from] Unreadable),
}

/// What can be in the way of a file that is otherwise good.
enum InTheWay {
    Outbox(OutboxError),
    Io(io::Error),
}

impl From<OutboxError> for InTheWay {
    fn from(error: OutboxError) -> Self {
        Self::Outbox(error)
    }
}

impl From<io::Error> for InTheWay {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn refuse(line: u64, email: Option<String>, field: Option<String>, reason: String) -> Rejection {
    Rejection { line, email, field, reason }
}

/// What the inbox needs.
pub struct Parts {
    /// Where the rows go.
    pub outbox: SharedOutbox,
    /// The folder that holds inbox, done and failed.
    pub spool: PathBuf,
    /// Folders and what they are for.
    pub routes: Vec<Route>,
    /// How to watch and read.
    pub settings: InboxSettings,
    /// The time.
    pub clock: Clock,
    /// The hint that is shared with the other loop.
    pub wake: Wake,
}

/// Loop 1.
pub struct Inbox {
    parts: Arc<Parts>,
    teller: Teller,
    settling: Settling,
    stuck: Stuck,
    ready: VecDeque<Ready>,
    watch: Watch,
    failed_files: u64,
    rescan_at: Timestamp,
    sweep_at: Timestamp,
    stop: CancellationToken,
}

/// What a look at the folders came to.
enum Step {
    /// Something was done: look again.
    Worked,
    /// Nothing to do before a time or a hint.
    Idle { until: Timestamp, pending: bool },
    /// The inbox itself is in the way.
    Obstructed,
}

/// Tests each folder of a configuration by itself: does an event come, how late, on what file system does it lie?
#[must_use]
pub fn self_test(spool: &Path, routes: &[Route]) -> Vec<Finding> {
    let inbox = spool.join("inbox");
    let mut folders: Vec<PathBuf> = routes.iter().map(|route| route.place(&inbox)).collect();
    folders.push(inbox);
    folders.sort();
    folders.dedup();
    folders.iter().map(|folder| watch::test(folder)).collect()
}

impl Inbox {
    /// Looks after a spool.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self {
            teller: Teller::new(parts.outbox.clone(), parts.clock.clone()),
            settling: Settling::new(parts.settings.settle),
            stuck: Stuck::default(),
            ready: VecDeque::new(),
            watch: Watch::off(parts.settings.watch),
            failed_files: 0,
            rescan_at: Timestamp::MIN,
            sweep_at: Timestamp::MIN,
            stop: CancellationToken::new(),
            parts: Arc::new(parts),
        }
    }

    /// Files that could not be read since the start.
    #[must_use]
    pub fn failed_files(&self) -> u64 {
        self.failed_files
    }

    /// Runs until told to stop; a file that is being read then is left for the next start.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), OutboxError> {
        self.stop = stop.clone();
        self.watch = Watch::on(&self.parts);
        while !stop.is_cancelled() {
            let wake = self.parts.wake.clone();
            let mut hint = pin!(wake.listen());
            // Registered before looking: no hint is lost.
            hint.as_mut().enable();
            let nap = match self.step().await {
                Ok(Step::Worked) => continue,
                Ok(Step::Idle { until, .. }) => self.parts.clock.nap_until(Some(until)),
                Ok(Step::Obstructed) => AGAIN_AFTER,
                Err(error) => Self::bear(error)?,
            };
            select! {
                () = hint => {}
                () = sleep(nap) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Takes in every file that is complete, or becomes so without being written to, and ends.
    pub async fn run_once(&mut self, stop: &CancellationToken) -> Result<(), OutboxError> {
        self.stop = stop.clone();
        while !stop.is_cancelled() {
            match self.step().await? {
                Step::Worked => {}
                Step::Idle { until, pending: true } => {
                    select! {
                        () = sleep(self.parts.clock.nap_until(Some(until))) => {}
                        () = stop.cancelled() => {}
                    }
                }
                Step::Idle { pending: false, .. } | Step::Obstructed => break,
            }
        }
        Ok(())
    }

    /// Answers every file whose last row is settled.
    pub async fn answer_all(&mut self) -> Result<(), OutboxError> {
        self.answer(self.parts.clock.now()).await
    }

    /// Looks at the outbox and the folders and does one thing.
    async fn step(&mut self) -> Result<Step, OutboxError> {
        let now = self.parts.clock.now();
        self.answer(now).await?;
        if let Some(ready) = self.ready.pop_front() {
            self.take_in(ready, now).await?;
            return Ok(Step::Worked);
        }
        self.sweep(now).await?;
        if now >= self.rescan_at {
            self.watch.renew();
        }
        match scan::scan(&self.parts, &mut self.settling, &mut self.watch, &mut self.stuck, now) {
            Err(reason) => {
                self.teller.tell(SCOPE, Some(Obstacle::waiting(reason, None))).await?;
                Ok(Step::Obstructed)
            }
            Ok(scan) => {
                self.report(&scan).await?;
                self.ready.extend(scan.ready);
                if !self.ready.is_empty() {
                    return Ok(Step::Worked);
                }
                if now >= self.rescan_at {
                    self.rescan_at = self.next_rescan(now);
                }
                self.parts.outbox.ask(Outbox::rest).await?;
                let times = [Some(self.rescan_at), self.poll_at(now), scan.look_at, self.stuck.next()];
                let until = times.into_iter().flatten().min().unwrap_or(self.rescan_at);
                Ok(Step::Idle { until, pending: scan.pending })
            }
        }
    }

    fn next_rescan(&self, now: Timestamp) -> Timestamp {
        let pause = self.parts.settings.rescan.mul_f64(rand::random_range(1.0 - JITTER..=1.0 + JITTER));
        now.checked_add(pause).unwrap_or(Timestamp::MAX)
    }

    fn poll_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.watch.polls().then(|| now.checked_add(POLL).unwrap_or(Timestamp::MAX))
    }

    /// Writes down what `status` says of the folders and of what is in the way.
    async fn report(&mut self, scan: &Scan) -> Result<(), OutboxError> {
        let lasting = self.stuck.is_lasting();
        let obstacle = self.stuck.sentence().map(|reason| {
            if lasting { Obstacle::attention(reason) } else { Obstacle::waiting(reason, None) }
        });
        self.teller.tell(SCOPE, obstacle).await?;
        if let Some(told) = self.watch.news() {
            let written = self.parts.outbox.ask(move |outbox| outbox.set_watched(&told)).await;
            self.watch.still_news(written.is_err());
            written?;
        }
        if scan.missed > 0 {
            let missed = scan.missed;
            tracing::warn!(files = missed, "found by looking: no event told of them");
            self.parts.outbox.ask(move |outbox| outbox.count_missed_events(missed)).await?;
        }
        Ok(())
    }

    /// A fault of the outbox: one that passes is waited out, any other ends the daemon.
    fn bear(error: OutboxError) -> Result<Duration, OutboxError> {
        if !error.is_passing() {
            return Err(error);
        }
        tracing::error!(%error, "the outbox cannot be written; files stay in the inbox");
        Ok(AGAIN_AFTER)
    }
}
