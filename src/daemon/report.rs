//! The daemon's word about its own health, to those who do not ask.
//!
//! Looks at the same status that `mailchute status` shows, so that there is one truth.

use std::time::Duration;

use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{DaemonError, service};
use crate::clock::Clock;
use crate::config::Config;
use crate::status::{Status, StatusError};
use crate::wake::Wake;

/// How often to look without a hint: a person learns of trouble within a minute.
const LOOK: Duration = Duration::from_secs(15);
/// Hints come many a second while files are taken in; looking more often than this would be work for nothing.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Reports until told to stop.
pub(super) async fn run(
    config: Config,
    clock: Clock,
    wake: Wake,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let mut said = String::new();
    while !stop.is_cancelled() {
        let listening = wake.clone();
        let hint = listening.listen();
        match look(&config, &clock).await {
            Ok(status) => {
                let headline = status.headline();
                if headline != said {
                    service::sentence(&headline);
                    said = headline;
                }
            }
            // What is wrong with the outbox stops the loops, which say it; here it only means that nothing is known.
            Err(error) => tracing::debug!(%error, "the health is not known"),
        }
        select! {
            () = async { sleep(AT_MOST_EVERY).await; hint.await } => {}
            () = sleep(LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
    Ok(())
}

async fn look(config: &Config, clock: &Clock) -> Result<Status, StatusError> {
    let (config, now) = (config.clone(), clock.now());
    let looked = tokio::task::spawn_blocking(move || Status::gather(&config, now)).await;
    looked.unwrap_or_else(|fault| std::panic::resume_unwind(fault.into_panic()))
}
