//! Loop 2: from the outbox to the account.
//!
//! Owns when a call leaves: paced under the limit per second, within the day's, with pauses where the account asks for
//! them. Promises that nothing is sent without a written call and that every answer is written before the row moves on,
//! however often the write must be tried. Leaves the meaning of bytes to `constant_contact`, the fate of a row to
//! `verdict`, and remembering to `outbox`.

mod backlog;
mod calls;
mod consent;
mod directory;
mod gate;
mod imports;
mod lanes;
mod outage;
mod pace;
mod pause;
mod turns;
mod verdict;

use std::{
    collections::BTreeMap,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

use calls::Landed;
pub use gate::Findings;
use gate::Gate;
use lanes::Lanes;
use pace::Pace;
use turns::{Lane, Turns};

use crate::clock::{Clock, monotonic};
use crate::config::{Limits, OnBadField, Route};
use crate::constant_contact::{Account, SIGN_UP};
use crate::outbox::{Directory, Due, Obstacle, OpenRoute, OutboxError, Rank, SharedOutbox, Take, Teller};
use crate::wake::Wake;

/// More calls under way than this would not go faster at the service's limit, and each could be in doubt after a crash.
const UNDER_WAY: usize = 8;
/// After a write failed (a full disk, a stray lock), how long until it is tried again.
const WRITE_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// How long answers are waited for when the daemon stops; systemd and people expect it to be gone within five seconds.
const STOP_PATIENCE: Duration = Duration::from_secs(3);
/// `run --once` waits this long for the next row to reach its end: a single fault is waited out, an outage is left to a
/// later run.
const ONCE_PATIENCE: Duration = Duration::from_secs(30);

/// What the drain needs.
pub struct Parts<A> {
    /// Where the rows are.
    pub outbox: SharedOutbox,
    /// Where they go.
    pub account: Arc<A>,
    /// Which way.
    pub routes: Vec<Route>,
    /// How fast, and how many a day.
    pub limits: Limits,
    /// How long rows with implicit consent wait for company.
    pub linger: Duration,
    /// How long a row is tried.
    pub give_up_after: Duration,
    /// What becomes of a row with a field that the account refuses.
    pub on_bad_field: OnBadField,
    /// Whether lists that the account lacks are made there.
    pub create_lists: bool,
    /// The time.
    pub clock: Clock,
    /// The hint that is shared with the other loop.
    pub wake: Wake,
}

/// Loop 2.
pub struct Drain<A> {
    parts: Parts<A>,
    lanes: Lanes,
    pace: Pace,
    gate: Gate,
    under_way: FuturesUnordered<Pin<Box<dyn Future<Output = Landed> + Send>>>,
    /// Answers that could not be written down yet; nothing is taken before they are.
    unwritten: Vec<calls::Fate>,
    /// The account's lists and custom fields as last read.
    directory: Directory,
    /// It was read by this process.
    directory_is_fresh: bool,
    /// Routes with a list that the account refused just now, and until when they are left alone.
    held_routes: BTreeMap<String, Timestamp>,
    /// What was last said about a backlog that takes days.
    takes_days: Option<(String, Obstacle)>,
    /// A row reached its end since somebody last asked.
    progressed: bool,
    /// Import steps that could not be written down yet.
    unwritten_steps: Vec<imports::Written>,
    bulk: imports::Bulk,
    news: consent::News,
    turns: Turns,
    /// `run --once`: it has not the time to wait for company or for lists that may appear.
    once: bool,
    /// What `status` is told, so that it is written only when it changes.
    teller: Teller,
}

/// What a look at the table came to.
enum Step {
    /// Something was done: look again.
    Worked,
    /// Nothing to do before a time, a hint or an answer.
    Idle { until: Option<Timestamp> },
}

impl<A: Account> Drain<A> {
    /// Starts where the process before stopped: what was under way is due again, and its calls still count.
    pub async fn start(parts: Parts<A>) -> Result<Self, OutboxError> {
        let now = parts.clock.now();
        let seed = parts.limits.per_second.get();
        let (recovered, calls, directory, quota) = parts
            .outbox
            .ask(move |outbox| {
                Ok::<_, OutboxError>((
                    outbox.recover(now)?,
                    outbox.latest_calls(seed)?,
                    outbox.directory()?,
                    outbox.time_of(gate::QUOTA_UNTIL)?,
                ))
            })
            .await?;
        if recovered > 0 {
            tracing::warn!(
                rows = recovered,
                "answers were lost with the process before; these rows are tried again"
            );
        }
        let mut pace = Pace::new(parts.limits.per_second);
        pace.remember(calls.into_iter().filter_map(|at| instant(at, now)));
        let lanes = Lanes::resolve(&parts.routes, &directory);
        let gate = Gate::new(directory.read_at, quota);
        let teller = Teller::new(parts.outbox.clone(), parts.clock.clone());
        let mut drain = Self {
            parts,
            lanes,
            pace,
            gate,
            directory,
            directory_is_fresh: false,
            held_routes: BTreeMap::new(),
            takes_days: None,
            under_way: FuturesUnordered::new(),
            unwritten: Vec::new(),
            progressed: false,
            unwritten_steps: Vec::new(),
            bulk: imports::Bulk::default(),
            news: consent::News::default(),
            turns: Turns::default(),
            once: false,
            teller,
        };
        drain.tell_routes().await?;
        drain.tell_orphans().await?;
        Ok(drain)
    }

    /// What this run found out about the account, for the exit status of `run --once`.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let blocked = self.lanes.blocked.iter().next();
        // Before the account's lists were read, nothing is known to be missing.
        let unknown = blocked.filter(|_| self.directory.read_at.is_some());
        self.gate.findings(unknown.map(|(folder, reason)| format!("route `{folder}`: {reason}")))
    }

    /// Runs until told to stop; what is under way then gets a moment to be answered.
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), OutboxError> {
        while !stop.is_cancelled() {
            let wake = self.parts.wake.clone();
            let mut hint = pin!(wake.listen());
            // Registered before looking: no hint is lost.
            hint.as_mut().enable();
            let until = match self.step().await {
                Ok(Step::Worked) => continue,
                Ok(Step::Idle { until }) => self.parts.clock.nap_until(until),
                Err(error) => Self::bear(error)?,
            };
            select! {
                () = hint => {}
                () = sleep(until) => {}
                Some(landed) = self.under_way.next() => self.land_or_bear(landed).await?,
                () = stop.cancelled() => {}
            }
        }
        self.finish().await
    }

    /// Works until nothing is due within a short patience and nothing is under way, or until told to stop.
    pub async fn run_once(&mut self, stop: &CancellationToken) -> Result<(), OutboxError> {
        self.once = true;
        let mut patience_ends = Timestamp::MIN;
        while !stop.is_cancelled() {
            if std::mem::take(&mut self.progressed) || patience_ends == Timestamp::MIN {
                patience_ends = gate::plus(self.parts.clock.now(), ONCE_PATIENCE);
            }
            let nap = match self.step().await {
                Ok(Step::Worked) => continue,
                Ok(Step::Idle { until }) => {
                    let nothing_soon =
                        until.is_none_or(|until| until > patience_ends) || self.gate.login_is_needed();
                    // Imports end by themselves, in minutes: unless nothing can be asked, they are waited for.
                    let nothing_soon =
                        nothing_soon && !(self.bulk.under_way && self.may_ask(self.parts.clock.now()));
                    if self.under_way.is_empty() && nothing_soon {
                        return Ok(());
                    }
                    self.parts.clock.nap_until(until)
                }
                Err(error) => Self::bear(error)?,
            };
            select! {
                () = sleep(nap) => {}
                Some(landed) = self.under_way.next() => self.land_or_bear(landed).await?,
                () = stop.cancelled() => {}
            }
        }
        self.finish().await
    }

    /// Looks at the table and does one thing.
    async fn step(&mut self) -> Result<Step, OutboxError> {
        let now = self.parts.clock.now();
        self.write_again().await?;
        if self.is_paused().await? {
            return Ok(Step::Idle { until: None });
        }
        let room = if self.gate.probes() { 1 } else { UNDER_WAY };
        if self.under_way.len() >= room {
            return Ok(Step::Idle { until: None });
        }
        let mut until = None;
        for lane in self.turns.lanes() {
            let step = match lane {
                Lane::Rows => self.rows(now).await?,
                Lane::Imports => self.imports(now).await?,
            };
            match step {
                Step::Worked => {
                    self.turns.took(lane);
                    return Ok(Step::Worked);
                }
                Step::Idle { until: at } => until = until.into_iter().chain(at).min(),
            }
        }
        Ok(Step::Idle { until })
    }

    /// Looks at the rows that go one by one, and at the account's lists.
    async fn rows(&mut self, now: Timestamp) -> Result<Step, OutboxError> {
        let (routes, turn) = (self.open_routes(now), self.turns.row(self.parts.limits, now));
        let (due, waiting, calls_today) = self
            .parts
            .outbox
            .ask(move |outbox| {
                let due = outbox.due(&routes, turn, now)?;
                Ok::<_, OutboxError>((due, outbox.waiting_routes()?, outbox.calls_today(now)?))
            })
            .await?;
        self.tell_backlog(&waiting, calls_today, now).await?;
        let unknown = self.directory_is_wanted(&waiting, now);
        // What waits for another day, or for a list, is looked for again then.
        let later = [self.turns.backlog_waits_until(now), self.next_directory_look(&waiting)];
        let held = self.held_routes.values().min().copied();
        let later = later.into_iter().chain([held]).flatten();
        match due {
            _ if unknown => {}
            Due::Now => {}
            Due::At(at) => return Ok(Step::Idle { until: later.chain([at]).min() }),
            Due::Never => return Ok(Step::Idle { until: later.min() }),
        }
        if let Some(idle) = self.must_wait(now).await? {
            return Ok(idle);
        }
        if unknown {
            return self.read_directory().await;
        }
        self.take(now).await
    }

    /// Why no call may leave now, as a time to look again.
    async fn must_wait(&mut self, now: Timestamp) -> Result<Option<Step>, OutboxError> {
        if let Some(until) = self.closed(now).await? {
            return Ok(Some(Step::Idle { until: Some(until) }));
        }
        let free = self.pace.may_leave(monotonic()).err();
        Ok(free.map(|free| Step::Idle { until: free.map(|at| wall(at, now)) }))
    }

    /// The routes whose rows go one by one and may go now.
    fn open_routes(&mut self, now: Timestamp) -> Vec<OpenRoute> {
        self.held_routes.retain(|_, until| *until > now);
        let mut routes = self.lanes.routes();
        routes.retain(|route| !self.held_routes.contains_key(&route.folder));
        routes
    }

    /// Takes a row and sends it.
    async fn take(&mut self, now: Timestamp) -> Result<Step, OutboxError> {
        let (routes, turn) = (self.open_routes(now), self.turns.row(self.parts.limits, now));
        match self.parts.outbox.ask(move |outbox| outbox.take(&routes, SIGN_UP, turn, now)).await? {
            Take::Job(job) => {
                self.turns.sent(job.rank());
                self.send(*job).await?;
                Ok(Step::Worked)
            }
            Take::Skipped { file_finished } => {
                if file_finished {
                    self.parts.wake.hint();
                }
                Ok(Step::Worked)
            }
            Take::Ask(question) => self.ask_for_rows(question, now).await,
            Take::Nothing => Ok(Step::Idle { until: None }),
            Take::Spent(Rank::Live) => self.day_is_spent(now).await,
            Take::Spent(Rank::Backlog) => {
                self.backlog_is_spent(now).await?;
                Ok(Step::Worked)
            }
        }
    }

    /// Our own count of the day is full: nothing leaves before the service's clock says midnight.
    async fn day_is_spent(&mut self, now: Timestamp) -> Result<Step, OutboxError> {
        let until = gate::midnight_after(now);
        self.gate.day_is_spent_until(until);
        let reason = format!("the day's {} calls are spent", self.parts.limits.per_day);
        self.teller.tell("account", Some(Obstacle::waiting(reason, Some(until)))).await?;
        Ok(Step::Idle { until: Some(until) })
    }

    async fn land_or_bear(&mut self, landed: Landed) -> Result<(), OutboxError> {
        match self.land(landed).await {
            Ok(()) => Ok(()),
            Err(error) => Self::bear(error).map(|_| ()),
        }
    }

    /// A fault of the outbox: one that passes is waited out, any other ends the daemon.
    fn bear(error: OutboxError) -> Result<Duration, OutboxError> {
        if !error.is_passing() {
            return Err(error);
        }
        tracing::error!(%error, "the outbox cannot be written; trying again");
        Ok(WRITE_AGAIN_AFTER)
    }

    /// Gives what is under way a moment to be answered; what is not is known to be in doubt at the next start.
    async fn finish(&mut self) -> Result<(), OutboxError> {
        let patience = sleep(STOP_PATIENCE);
        let mut patience = pin!(patience);
        while !self.under_way.is_empty() {
            select! {
                Some(landed) = self.under_way.next() => self.land_or_bear(landed).await?,
                () = &mut patience => break,
            }
        }
        self.write_again().await
    }
}

/// Where a wall-clock time lies on the monotonic clock, as far as it can be told.
fn instant(at: Timestamp, now: Timestamp) -> Option<Instant> {
    let ago = Duration::try_from(now.duration_since(at)).unwrap_or_default();
    monotonic().checked_sub(ago)
}

/// Where a monotonic time lies on the wall clock.
fn wall(at: Instant, now: Timestamp) -> Timestamp {
    now.checked_add(at.saturating_duration_since(monotonic())).unwrap_or(now)
}
