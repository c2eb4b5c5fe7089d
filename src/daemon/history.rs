//! `keep_history`: what is long settled leaves the outbox, a little at a time.

use std::time::Duration;

use jiff::Timestamp;
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

use super::DaemonError;
use crate::clock::Clock;
use crate::outbox::{Outbox, OutboxError, SharedOutbox};

/// Nobody waits for it: four times a day is often enough for a history of months.
const EVERY: Duration = Duration::from_hours(6);
/// Between two parts, so that the loops come first.
const BREATH: Duration = Duration::from_millis(50);

/// Prunes at the start and every few hours, until told to stop.
pub(super) async fn keep(
    outbox: SharedOutbox,
    keep: Duration,
    clock: Clock,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut next = clock.now();
    while !stop.is_cancelled() {
        if next <= clock.now() {
            let before = clock.now().checked_sub(keep).unwrap_or(Timestamp::MIN);
            match prune(&outbox, before, &stop).await {
                Ok(0) => {}
                Ok(parts) => tracing::info!(parts, %before, "history pruned"),
                Err(error) if error.is_passing() => tracing::warn!(%error, "the history is pruned later"),
                Err(error) => return Err(error.into()),
            }
            next = clock.now().checked_add(EVERY).unwrap_or(Timestamp::MAX);
        }
        select! {
            () = sleep(clock.nap_until(Some(next))) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

/// Prunes once, at the end of `run --once`.
pub(super) async fn once(
    outbox: &SharedOutbox,
    keep: Duration,
    now: Timestamp,
    stop: &CancellationToken,
) -> Result<(), DaemonError> {
    prune(outbox, now.checked_sub(keep).unwrap_or(Timestamp::MIN), stop).await?;
    Ok(())
}

/// Says in how many parts it went.
async fn prune(
    outbox: &SharedOutbox,
    before: Timestamp,
    stop: &CancellationToken,
) -> Result<u64, OutboxError> {
    let mut parts = 0;
    while !stop.is_cancelled() && outbox.ask(move |outbox| outbox.prune(before)).await? {
        parts += 1;
        sleep(BREATH).await;
    }
    while !stop.is_cancelled() && outbox.ask(Outbox::shrink).await? {
        sleep(BREATH).await;
    }
    Ok(parts)
}
