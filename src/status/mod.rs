//! The truth in one screen: health, what waits, the authorization, the day's calls.
//!
//! Reads what the loops wrote down, so that it works beside a daemon and without one. Owns the contract's JSON. The health
//! is decided in `health`, the words for people are in `text`. Leaves printing to `cli`.

mod figures;
mod health;
mod text;

use std::{fs, path::Path, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use thiserror::Error;

use crate::config::Config;
use crate::forecast::{Waiting, done_at};
use crate::instance;
use crate::oauth::{self, StoreError};
use crate::outbox::{Health, OPERATOR, Outbox, OutboxError, Totals, Trouble, WatchedFolder};
pub use figures::Figures;
use health::{Verdict, health};
pub(crate) use text::local;

/// The form of the JSON. Another number means that keys changed their meaning.
const VERSION: u32 = 1;
/// Folders of `failed/` that are counted: as many days as anyone looks back.
const FAILED_DAYS: usize = 400;

/// Why the status cannot be told.
#[derive(Debug, Error)]
pub enum StatusError {
    /// The outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The tokens.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What `status --json` says; the keys are the contract's.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    version: u32,
    health: &'static str,
    reason: String,
    /// The age of the oldest row that should have gone by now; 0 when there is none.
    overdue_seconds: u64,
    outbox: OutboxPart,
    authorization: oauth::Summary,
    api: ApiPart,
    inbox: InboxPart,
    daemon: DaemonPart,
    last_delivery_at: Option<Timestamp>,
    #[serde(skip)]
    level: Health,
}

#[derive(Debug, Clone, Default, Serialize)]
struct OutboxPart {
    queued: u64,
    sending: u64,
    delivered: u64,
    unchanged: u64,
    rejected: u64,
    held: u64,
    oldest_queued_seconds: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
struct ApiPart {
    calls_today: u64,
    requests_per_day: u32,
    resets_at: Timestamp,
    paused_until: Option<Timestamp>,
    forecast_done_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Serialize)]
struct InboxPart {
    folders: Vec<FolderPart>,
    missed_events: u64,
    waiting_files: usize,
    failed_files: usize,
}

#[derive(Debug, Clone, Serialize)]
struct FolderPart {
    path: String,
    watch: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
}

#[derive(Debug, Clone, Serialize)]
struct DaemonPart {
    running: bool,
    pid: Option<u32>,
    since: Option<Timestamp>,
    paused: Option<String>,
}

/// What the outbox says, or what an absent one would.
#[derive(Default)]
struct Told {
    totals: Totals,
    troubles: Vec<Trouble>,
    calls_today: u64,
    watched: Vec<WatchedFolder>,
    missed_events: u64,
    /// Rows that wait, by their route's folder.
    waiting: Vec<(String, u64)>,
}

impl Status {
    /// Looks at everything that there is.
    pub fn gather(config: &Config, now: Timestamp) -> Result<Self, StatusError> {
        let authorization = oauth::summary(&config.state, now)?;
        let told = match Outbox::open_to_look(&config.state)? {
            None => Told::default(),
            Some(mut outbox) => Told {
                totals: outbox.totals()?,
                troubles: outbox.troubles()?,
                calls_today: outbox.calls_today(now)?,
                watched: outbox.watched()?,
                missed_events: outbox.missed_events()?,
                waiting: outbox.waiting_routes()?,
            },
        };
        let running = instance::running(&config.state);
        let Verdict { level, reason, overdue } =
            health(&told, &authorization, running.is_some(), &config.sign_in(), now);
        let operator = told.troubles.iter().find(|trouble| trouble.scope == OPERATOR);
        Ok(Self {
            version: VERSION,
            health: level.as_str(),
            reason,
            overdue_seconds: overdue.as_secs(),
            outbox: outbox_part(&told.totals, now),
            authorization,
            api: api_part(&told, config, now),
            inbox: inbox_part(config, told.watched, told.missed_events),
            daemon: DaemonPart {
                running: running.is_some(),
                pid: running.map(|running| running.pid),
                since: running.and_then(|running| running.since),
                paused: operator.map(|pause| pause.reason.clone()),
            },
            last_delivery_at: told.totals.last_delivery,
            level,
        })
    }

    /// The health.
    #[must_use]
    pub fn level(&self) -> Health {
        self.level
    }

    /// The health as word and reason, which is empty when all is well.
    #[must_use]
    pub fn health(&self) -> (&'static str, &str) {
        (self.health, &self.reason)
    }

    /// The age of the oldest row that should have gone by now; zero when there is none.
    #[must_use]
    pub fn overdue(&self) -> Duration {
        Duration::from_secs(self.overdue_seconds)
    }

    /// When a row last reached the account.
    #[must_use]
    pub fn last_delivery(&self) -> Option<Timestamp> {
        self.last_delivery_at
    }

    /// Whether what a person must do is to sign in.
    #[must_use]
    pub fn login_is_needed(&self) -> bool {
        self.authorization.state != "authorized"
    }
}

fn outbox_part(totals: &Totals, now: Timestamp) -> OutboxPart {
    let counts = totals.counts;
    OutboxPart {
        queued: counts.queued,
        sending: counts.sending,
        delivered: counts.created + counts.updated + counts.imported,
        unchanged: counts.unchanged + counts.duplicate,
        rejected: counts.rejected,
        held: counts.held,
        oldest_queued_seconds: totals.oldest_queued.map(|oldest| age(oldest, now).as_secs()),
    }
}

fn api_part(told: &Told, config: &Config, now: Timestamp) -> ApiPart {
    let tomorrow = TimeZone::UTC.to_datetime(now).date().tomorrow().ok();
    let midnight = tomorrow
        .and_then(|day| TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).ok());
    let account = told.troubles.iter().find(|trouble| trouble.scope == "account");
    let paused_until = account.and_then(|trouble| trouble.until).filter(|until| *until > now);
    let waiting = Waiting::of(&told.waiting, &config.routes);
    let begins = paused_until.unwrap_or(now);
    // After a pause over midnight, the calls of today are those of yesterday.
    let calls = if midnight.is_some_and(|midnight| begins >= midnight) { 0 } else { told.calls_today };
    let forecast_done_at =
        if waiting.is_nothing() { None } else { done_at(waiting, config.limits, calls, begins) };
    ApiPart {
        calls_today: told.calls_today,
        requests_per_day: config.limits.per_day,
        resets_at: midnight.unwrap_or(now),
        paused_until,
        forecast_done_at,
    }
}

fn inbox_part(config: &Config, watched: Vec<WatchedFolder>, missed_events: u64) -> InboxPart {
    let told = |WatchedFolder { path, watch, reason }| FolderPart { path, watch, reason };
    let failed = config.spool.join("failed");
    let days = fs::read_dir(&failed).into_iter().flatten().flatten().take(FAILED_DAYS);
    // Each failed file has its reason beside it; only one of the two is counted.
    let reasons = |name: &str| name.ends_with(".reason.json");
    InboxPart {
        folders: watched.into_iter().map(told).collect(),
        missed_events,
        waiting_files: files(&config.inbox_folder(), &|name| !name.starts_with('.')),
        failed_files: days.map(|day| files(&day.path(), &reasons)).sum(),
    }
}

/// Files of a folder and the folders below it whose names fit.
fn files(folder: &Path, fits: &dyn Fn(&str) -> bool) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.file_type() {
            Ok(kind) if kind.is_dir() => files(&entry.path(), fits),
            Ok(kind) if kind.is_file() => usize::from(fits(&entry.file_name().to_string_lossy())),
            _ => 0,
        })
        .sum()
}

fn age(time: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(time)).unwrap_or_default()
}
