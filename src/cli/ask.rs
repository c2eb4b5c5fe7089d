//! Questions to the account from a command, beside a daemon that may be calling too.
//!
//! Each call is counted against the same day and leaves when the second has room, as far as the outbox knows.

use std::{fmt::Display, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{Exit, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::constant_contact::{Client, Reply};
use crate::oauth::Tokens;
use crate::outbox::{CallRecord, Outbox};

/// A limit per second on any clock.
const A_SECOND: Duration = Duration::from_millis(1_100);
/// How soon to look again for room.
const LOOK: Duration = Duration::from_millis(100);
/// A busy daemon leaves no room for long; a person who asks does not wait longer than this.
const PATIENCE: u32 = 50;

/// The account, with the outbox in which the calls are counted.
pub(super) struct Asker {
    pub(super) client: Client,
    outbox: Outbox,
    per_second: u32,
    per_day: u32,
}

fn failed(error: impl Display) -> Failure {
    Failure::new(Exit::Failed, error)
}

impl Asker {
    pub(super) fn new(config: &Config) -> Result<Self, Failure> {
        crate::daemon::private_folder(&config.state)?;
        let application = config.application()?;
        let tokens = Tokens::open(&config.state, application, Clock::system().as_fn()).map_err(failed)?;
        Ok(Self {
            client: Client::new(config.base_url.clone(), Arc::new(tokens)).map_err(failed)?,
            outbox: Outbox::open(&config.state).map_err(failed)?,
            per_second: config.limits.per_second.get(),
            per_day: config.limits.per_day,
        })
    }

    /// A call may leave now: written down and counted.
    pub(super) async fn begin(&mut self, endpoint: &'static str) -> Result<i64, Failure> {
        for _ in 0..PATIENCE {
            let latest = self.outbox.latest_calls(self.per_second).map_err(failed)?;
            let now = Timestamp::now();
            let recent =
                latest.iter().filter(|at| at.checked_add(A_SECOND).is_ok_and(|end| end > now)).count();
            // One place is left to a daemon, which does not know of us.
            if recent == 0 || u32::try_from(recent).is_ok_and(|recent| recent + 1 < self.per_second) {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
        let call =
            self.outbox.begin_account_call(endpoint, self.per_day, Timestamp::now()).map_err(failed)?;
        call.ok_or_else(|| Failure::new(Exit::Waiting, format!("the day's {} calls are spent", self.per_day)))
    }

    /// Its answer is written down.
    pub(super) fn end<T>(&mut self, call: i64, reply: &Reply<T>) -> Result<(), Failure> {
        let trace = reply.trace.clone();
        let reached = reply.answer.may_have_reached();
        let record =
            CallRecord { reached, status: trace.status, error_key: trace.error_key, message: trace.message };
        self.outbox.end_account_call(call, &record, Timestamp::now()).map_err(failed)
    }
}
