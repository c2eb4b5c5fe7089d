//! The status in words, for people: local times, and what is not there is not shown.

use jiff::{Timestamp, tz::TimeZone};

use super::Status;

impl Status {
    /// The health in one sentence.
    #[must_use]
    pub fn headline(&self) -> String {
        if self.reason.is_empty() {
            self.health.to_owned()
        } else {
            format!("{}: {}", self.health, self.reason)
        }
    }

    /// The authorization in words.
    #[must_use]
    pub fn sign_in_words(&self) -> String {
        let account = self.authorization.account.as_ref().map(|name| format!(" for {name}"));
        format!("{}{}", self.authorization.state, account.unwrap_or_default())
    }

    /// The screen for people, in local time.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { outbox, authorization, api, inbox, daemon, .. } = self;
        let headline = self.headline();
        let sign_in = self.sign_in_words();
        let until = authorization
            .access_expires_at
            .map(|at| format!(", access token until {}", local(at)))
            .unwrap_or_default();
        let lies = authorization
            .refresh_dies_at
            .map(|at| {
                let days = authorization.refresh_days_left.unwrap_or_default();
                format!(", ends in {days} days if unused ({})", local(at))
            })
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
        let forecast = api
            .forecast_done_at
            .map(|at| format!("\n  forecast   what waits is delivered about {}", local(at)))
            .unwrap_or_default();
        let last = self.last_delivery_at.map_or_else(|| "never".to_owned(), local);
        format!(
            "mailchute {headline}\n\
             \n  outbox     {} queued, {} sending, {} delivered, {} unchanged, {} rejected, {} held\
             \n  sign-in    {sign_in}{until}{lies}\
             \n  calls      {} of {} today, new ones at {}\
             {forecast}\
             \n  inbox      {} files wait, {} failed{watch}\
             \n  daemon     {running}\
             \n  delivered  {last}",
            outbox.queued,
            outbox.sending,
            outbox.delivered,
            outbox.unchanged,
            outbox.rejected,
            outbox.held,
            api.calls_today,
            api.requests_per_day,
            local(api.resets_at),
            inbox.waiting_files,
            inbox.failed_files,
        )
    }
}

/// A time as people read it, in their own zone.
pub(crate) fn local(time: Timestamp) -> String {
    time.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}
