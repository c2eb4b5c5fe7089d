//! The status as plain figures, for those who draw or measure.

use jiff::Timestamp;

use super::Status;

/// The figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Rows by state, in the order of the contract.
    pub rows: [(&'static str, f64); 6],
    /// The age of the oldest row that should have gone by now.
    pub overdue_seconds: f64,
    /// Calls in this UTC day.
    pub calls_today: f64,
    /// Calls that a UTC day may have.
    pub calls_a_day: f64,
    /// Files in the inbox.
    pub waiting_files: f64,
    /// Files that could not be read.
    pub failed_files: f64,
    /// Whether an operator has paused sending.
    pub paused: bool,
    /// When a row last reached the account.
    pub last_delivery: Option<Timestamp>,
    /// When the access token ends.
    pub access_expires: Option<Timestamp>,
    /// When the authorization ends if nobody uses it.
    pub refresh_dies: Option<Timestamp>,
}

impl Status {
    /// The figures.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "counts of rows, files and seconds are far below 2^53")]
    pub fn figures(&self) -> Figures {
        let Self { outbox, authorization, api, inbox, daemon, .. } = self;
        let rows = [
            ("queued", outbox.queued),
            ("sending", outbox.sending),
            ("delivered", outbox.delivered),
            ("unchanged", outbox.unchanged),
            ("rejected", outbox.rejected),
            ("held", outbox.held),
        ];
        Figures {
            rows: rows.map(|(state, count)| (state, count as f64)),
            overdue_seconds: self.overdue_seconds as f64,
            calls_today: api.calls_today as f64,
            calls_a_day: f64::from(api.requests_per_day),
            waiting_files: inbox.waiting_files as f64,
            failed_files: inbox.failed_files as f64,
            paused: daemon.paused.is_some(),
            last_delivery: self.last_delivery_at,
            access_expires: authorization.access_expires_at,
            refresh_dies: authorization.refresh_dies_at,
        }
    }
}
