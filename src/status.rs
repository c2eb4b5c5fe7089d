//! The truth in one screen: health, what waits, the authorization, the day's calls.
//!
//! Reads what the loops wrote down, so that it works beside a daemon and without one. Health is decided in one pure
//! function. Leaves printing to `cli`.

use std::{fs, path::Path, time::Duration};

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;
use thiserror::Error;

use crate::config::Config;
use crate::instance;
use crate::oauth::{self, StoreError};
use crate::outbox::{Health, Outbox, OutboxError, Totals, Trouble, WatchedFolder};

/// The form of the JSON. Another number means that keys changed their meaning.
const VERSION: u32 = 1;
/// A row that is due leaves within seconds; one that waits longer than this waits for something.
const SHOULD_HAVE_GONE: Duration = Duration::from_mins(5);
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
}

impl Status {
    /// Looks at everything that there is.
    pub fn gather(config: &Config, now: Timestamp) -> Result<Self, StatusError> {
        let authorization = oauth::summary(&config.state)?;
        let told = match Outbox::open_to_look(&config.state)? {
            None => Told::default(),
            Some(mut outbox) => Told {
                totals: outbox.totals()?,
                troubles: outbox.troubles()?,
                calls_today: outbox.calls_today(now)?,
                watched: outbox.watched()?,
                missed_events: outbox.missed_events()?,
            },
        };
        let running = instance::running(&config.state);
        let sign_in = format!("mailchute-auth --config {}", config.file.display());
        let (level, reason) = health(&told, &authorization, running.is_some(), &sign_in, now);
        Ok(Self {
            version: VERSION,
            health: level.as_str(),
            reason,
            outbox: outbox_part(&told.totals, now),
            authorization,
            api: api_part(&told, config.limits.per_day, now),
            inbox: inbox_part(config, told.watched, told.missed_events),
            daemon: DaemonPart {
                running: running.is_some(),
                pid: running.map(|running| running.pid),
                since: running.and_then(|running| running.since),
                paused: None,
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

    /// Whether what a person must do is to sign in.
    #[must_use]
    pub fn login_is_needed(&self) -> bool {
        self.authorization.state != "authorized"
    }

    /// The health in one sentence.
    #[must_use]
    pub fn headline(&self) -> String {
        if self.reason.is_empty() {
            self.health.to_owned()
        } else {
            format!("{}: {}", self.health, self.reason)
        }
    }

    /// The screen for people, in local time.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { outbox, authorization, api, inbox, daemon, .. } = self;
        let headline = self.headline();
        let account = authorization.account.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
        let until = authorization
            .access_expires_at
            .map(|at| format!(", access token until {}", local(at)))
            .unwrap_or_default();
        let lies = authorization
            .refresh_dies_at
            .map(|at| format!(", ends {} if unused", local(at)))
            .unwrap_or_default();
        let running = match (daemon.pid, daemon.since) {
            (Some(pid), Some(since)) => format!("running since {} (pid {pid})", local(since)),
            _ => "not running".to_owned(),
        };
        let watch = inbox
            .folders
            .iter()
            .map(|folder| {
                let why = if folder.reason.is_empty() { "" } else { ": " };
                format!("\n             {} ({}{why}{})", folder.path, folder.watch, folder.reason)
            })
            .collect::<String>();
        let last = self.last_delivery_at.map_or_else(|| "never".to_owned(), local);
        format!(
            "mailchute {headline}\n\
             \n  outbox     {} queued, {} sending, {} delivered, {} unchanged, {} rejected, {} held\
             \n  sign-in    {}{account}{until}{lies}\
             \n  calls      {} of {} today, new ones at {}\
             \n  inbox      {} files wait, {} failed{watch}\
             \n  daemon     {running}\
             \n  delivered  {last}",
            outbox.queued,
            outbox.sending,
            outbox.delivered,
            outbox.unchanged,
            outbox.rejected,
            outbox.held,
            authorization.state,
            api.calls_today,
            api.requests_per_day,
            local(api.resets_at),
            inbox.waiting_files,
            inbox.failed_files,
        )
    }
}

/// The one decision: the most serious thing that is known, in one sentence.
fn health(
    told: &Told,
    authorization: &oauth::Summary,
    running: bool,
    sign_in: &str,
    now: Timestamp,
) -> (Health, String) {
    let sign_in = |why: &str| (Health::Attention, format!("{why}: sign in with `{sign_in}`"));
    match authorization.state {
        "authorized" => {}
        "none" => return sign_in("nobody has signed in yet"),
        "in_doubt" => return sign_in("the answer to a token refresh was lost"),
        _ => return sign_in(authorization.reason.as_deref().unwrap_or("the authorization has ended")),
    }
    let held = told.totals.counts.held;
    let worst = told.troubles.first();
    match worst {
        Some(trouble) if trouble.health == Health::Attention => {
            return (Health::Attention, trouble.reason.clone());
        }
        _ if held > 0 => return (Health::Attention, format!("{held} rows are held for a person to decide")),
        Some(trouble) => {
            let until = trouble.until.map(|until| format!(", until {}", local(until))).unwrap_or_default();
            return (Health::Waiting, format!("{}{until}", trouble.reason));
        }
        None => {}
    }
    let waits = told.totals.oldest_queued.map(|oldest| age(oldest, now)).unwrap_or_default();
    if waits >= SHOULD_HAVE_GONE {
        let who = if running { "" } else { ", and no daemon is running" };
        return (Health::Waiting, format!("the oldest row has waited for {}{who}", minutes(waits)));
    }
    (Health::Ok, String::new())
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

fn api_part(told: &Told, requests_per_day: u32, now: Timestamp) -> ApiPart {
    let tomorrow = TimeZone::UTC.to_datetime(now).date().tomorrow().ok();
    let midnight = tomorrow
        .and_then(|day| TimeZone::UTC.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).ok());
    let account = told.troubles.iter().find(|trouble| trouble.scope == "account");
    ApiPart {
        calls_today: told.calls_today,
        requests_per_day,
        resets_at: midnight.unwrap_or(now),
        paused_until: account.and_then(|trouble| trouble.until).filter(|until| *until > now),
        forecast_done_at: None,
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

fn minutes(duration: Duration) -> String {
    humantime::format_duration(Duration::from_secs(duration.as_secs() / 60 * 60)).to_string()
}

fn local(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Counts;

    fn told(counts: Counts, oldest: Option<Timestamp>, troubles: Vec<Trouble>) -> Told {
        let totals = Totals { counts, oldest_queued: oldest, last_delivery: None };
        Told { totals, troubles, ..Told::default() }
    }

    fn authorized(state: &'static str) -> oauth::Summary {
        oauth::Summary { state, ..oauth::Summary::default() }
    }

    fn trouble(health: Health, reason: &str) -> Trouble {
        Trouble {
            scope: "x".into(),
            health,
            reason: reason.into(),
            since: Timestamp::UNIX_EPOCH,
            until: None,
        }
    }

    fn decide(told: &Told, state: &'static str) -> (Health, String) {
        health(
            told,
            &authorized(state),
            true,
            "mailchute-auth",
            Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(9),
        )
    }

    #[test]
    fn a_missing_sign_in_comes_before_everything_else() {
        let (level, reason) =
            decide(&told(Counts::default(), None, vec![trouble(Health::Waiting, "slow")]), "none");
        assert_eq!(
            (level, reason.as_str()),
            (Health::Attention, "nobody has signed in yet: sign in with `mailchute-auth`")
        );
    }

    #[test]
    fn what_a_person_must_do_comes_before_what_passes() {
        let held = Counts { held: 2, ..Counts::default() };
        let waiting = trouble(Health::Waiting, "slow");
        assert_eq!(decide(&told(held, None, vec![waiting.clone()]), "authorized").0, Health::Attention);
        assert_eq!(
            decide(&told(Counts::default(), None, vec![waiting]), "authorized"),
            (Health::Waiting, "slow".into())
        );
    }

    #[test]
    fn a_row_that_should_have_gone_is_waiting_and_a_young_one_is_not() {
        let queued = Counts { queued: 1, ..Counts::default() };
        let oldest = |minutes| Some(Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes));
        assert_eq!(
            decide(&told(queued, oldest(0), vec![]), "authorized"),
            (Health::Waiting, "the oldest row has waited for 9m".into())
        );
        assert_eq!(decide(&told(queued, oldest(8), vec![]), "authorized"), (Health::Ok, String::new()));
    }
}
