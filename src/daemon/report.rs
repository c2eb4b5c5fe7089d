//! The daemon's word about its own health, to those who do not ask: systemd, a person, a watcher outside.
//!
//! Looks at the same status that `mailchute status` shows, so that there is one truth. An outbox that cannot be read is
//! something a person must act upon, and is told without it. Also takes the samples for the plots of the status page.

use std::time::Duration;

use jiff::Timestamp;
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

use super::heartbeat::{self, Beat};
use super::hook::{self, Told};
use super::{DaemonError, service};
use crate::clock::Clock;
use crate::config::Config;
use crate::outbox::{Health, Outbox, OutboxError, Sample, SharedOutbox, Totals};
use crate::status::{Status, StatusError};
use crate::wake::Wake;

/// How often to look without a hint: a person learns of trouble within a minute.
const LOOK: Duration = Duration::from_secs(15);
/// Hints come many a second while files are taken in; looking more often than this would be work for nothing.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// Samples for a plot of half hours.
const SAMPLE_EVERY: Duration = Duration::from_mins(5);
/// A month's plot, and a little more.
const KEEP_SAMPLES: Duration = Duration::from_hours(24 * 32);
/// The fact that a person was told to act and not yet that it is over: a restart tells it no second time.
const TOLD: &str = "attention_told";
/// When a person was last told anything: the cap holds over a restart, too.
const TOLD_AT: &str = "told_at";

/// What the health is at a look.
struct Seen {
    level: Health,
    reason: String,
    overdue: Duration,
    last_delivery: Option<Timestamp>,
}

/// Reports until told to stop.
pub(super) struct Reporter {
    config: Config,
    clock: Clock,
    outbox: SharedOutbox,
    said: String,
    told: Told,
    beat: Beat,
    sampled_at: Option<Timestamp>,
}

impl Reporter {
    /// A voice that goes on where the process before stopped.
    pub(super) async fn new(
        config: &Config,
        clock: &Clock,
        outbox: &SharedOutbox,
    ) -> Result<Self, DaemonError> {
        let (attention, at) = outbox
            .ask(|outbox| Ok::<_, OutboxError>((outbox.time_of(TOLD)?.is_some(), outbox.time_of(TOLD_AT)?)))
            .await?;
        Ok(Self {
            config: config.clone(),
            clock: clock.clone(),
            outbox: outbox.clone(),
            said: String::new(),
            told: Told { attention, at },
            beat: Beat::default(),
            sampled_at: None,
        })
    }

    pub(super) async fn run(mut self, wake: Wake, stop: CancellationToken) -> Result<(), DaemonError> {
        while !stop.is_cancelled() {
            let listening = wake.clone();
            let hint = listening.listen();
            select! {
                () = self.report() => {}
                () = stop.cancelled() => return Ok(()),
            }
            select! {
                () = async { sleep(AT_MOST_EVERY).await; hint.await } => {}
                () = sleep(LOOK) => {}
                () = stop.cancelled() => {}
            }
        }
        Ok(())
    }

    async fn report(&mut self) {
        let now = self.clock.now();
        let seen = match self.look(now).await {
            Ok(status) => seen(&status),
            Err(error) => Seen {
                level: Health::Attention,
                reason: error.to_string(),
                overdue: Duration::ZERO,
                last_delivery: None,
            },
        };
        let sentence = match seen.reason.as_str() {
            "" => seen.level.as_str().to_owned(),
            reason => format!("{}: {reason}", seen.level.as_str()),
        };
        if sentence != self.said {
            service::sentence(&sentence);
            self.said = sentence;
        }
        self.tell(&seen, now).await;
        if let Some(url) = &self.config.heartbeat_url
            && self.beat.is_due(seen.level, seen.overdue, seen.last_delivery, now)
        {
            self.beat = Beat::beats(seen.last_delivery, now);
            heartbeat::send(url).await;
        }
        if self.sampled_at.is_none_or(|at| at.checked_add(SAMPLE_EVERY).is_ok_and(|next| next <= now)) {
            self.sampled_at = Some(now);
            if let Err(error) = self.sample(now).await {
                tracing::debug!(%error, "no sample for the plots");
            }
        }
    }

    async fn tell(&mut self, seen: &Seen, now: Timestamp) {
        if self.config.on_attention.is_empty() || !self.told.is_news(seen.level, now) {
            return;
        }
        let attention = seen.level == Health::Attention;
        self.told = Told { attention, at: Some(now) };
        // Remembered as far as the outbox allows: a person who is told twice is better off than one who is not told.
        let since = attention.then_some(now);
        let remember = move |outbox: &mut Outbox| {
            outbox.set_time_of(TOLD, since)?;
            outbox.set_time_of(TOLD_AT, Some(now))
        };
        if let Err(error) = self.outbox.ask(remember).await {
            tracing::debug!(%error, "that a person was told is not remembered");
        }
        let message = hook::message(seen.level, &seen.reason, seen.overdue, now);
        hook::run(&self.config.on_attention, &message).await;
    }

    async fn sample(&self, now: Timestamp) -> Result<(), OutboxError> {
        let forget_before = now.checked_sub(KEEP_SAMPLES).unwrap_or(Timestamp::MIN);
        let taken = move |outbox: &mut Outbox| {
            let Totals { counts, .. } = outbox.totals()?;
            let delivered = counts.created + counts.updated + counts.imported;
            let sample = Sample { at: now, delivered, waiting: counts.queued + counts.sending };
            outbox.sample(sample, forget_before)
        };
        self.outbox.ask(taken).await
    }

    async fn look(&self, now: Timestamp) -> Result<Status, StatusError> {
        let config = self.config.clone();
        let looked = tokio::task::spawn_blocking(move || Status::gather(&config, now)).await;
        looked.unwrap_or_else(|fault| std::panic::resume_unwind(fault.into_panic()))
    }
}

fn seen(status: &Status) -> Seen {
    let (_, reason) = status.health();
    Seen {
        level: status.level(),
        reason: reason.to_owned(),
        overdue: status.overdue(),
        last_delivery: status.last_delivery(),
    }
}
