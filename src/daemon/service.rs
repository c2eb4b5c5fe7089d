//! What systemd is told, where there is one (`sd_notify(3)`, `Type=notify-reload`).
//!
//! Promises that a watchdog ping means that both loops have turned since the last one: the pings come from nowhere else.

use sd_notify::NotifyState;
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

use super::DaemonError;
use crate::wake::{Pulse, Wake};

/// Pings within systemd's time-out: a loop that is late once or twice is not killed for it.
const PINGS_A_TIMEOUT: u32 = 4;

/// The loops run under the configuration that was read last.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The configuration is being read again. systemd wants the time in the same message.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => {
            tracing::warn!(%error, "systemd was not told of the reload: there is no monotonic clock");
        }
    }
}

/// The loops are being stopped for good.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The one sentence of `systemctl status`.
pub(super) fn sentence(text: &str) {
    notify(&[NotifyState::Status(text)]);
}

/// Asks the loops to turn, feels each one's pulse, and passes that on as a ping. Without a watchdog it does nothing.
pub(super) async fn watch_over(
    pulses: [(&'static str, Pulse); 2],
    wake: Wake,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let Some(timeout) = sd_notify::watchdog_enabled() else {
        stop.cancelled().await;
        return Ok(());
    };
    let every = timeout / PINGS_A_TIMEOUT;
    let mut seen = pulses.each_ref().map(|(_, pulse)| pulse.beats());
    while !stop.is_cancelled() {
        // A loop that sleeps for good reason turns once, and shows by that that it could.
        wake.hint();
        select! {
            () = sleep(every) => {}
            () = stop.cancelled() => return Ok(()),
        }
        let felt = pulses.each_ref().map(|(_, pulse)| pulse.beats());
        match still(&pulses, seen, felt) {
            None => {
                seen = felt;
                notify(&[NotifyState::Watchdog]);
            }
            Some(name) => tracing::debug!(name, ?timeout, "this loop has not turned since the last ping"),
        }
    }
    Ok(())
}

/// The first loop whose pulse stands still.
fn still(pulses: &[(&'static str, Pulse); 2], seen: [u64; 2], felt: [u64; 2]) -> Option<&'static str> {
    let mut names = pulses.iter().map(|(name, _)| *name).zip(seen.into_iter().zip(felt));
    names.find(|(_, (seen, felt))| seen == felt).map(|(name, _)| name)
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loop_that_stands_still_is_enough_to_withhold_the_ping() {
        let pulses = [("inbox", Pulse::default()), ("drain", Pulse::default())];
        assert_eq!(still(&pulses, [3, 7], [4, 8]), None);
        assert_eq!(still(&pulses, [3, 7], [3, 9]), Some("inbox"));
        assert_eq!(still(&pulses, [3, 7], [4, 7]), Some("drain"));
    }
}
