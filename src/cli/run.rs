//! `mailchute run`

use std::{path::Path, sync::Arc, time::Duration};

use clap::Args;
use futures_util::StreamExt;
use indicatif::ProgressBar;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook_tokio::Signals;
use tokio::{select, sync::Notify, task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Common, Exit, Failure, Outcome, runtime, say};
use crate::clock::Clock;
use crate::daemon;
use crate::drain::Findings;
use crate::outbox::{Outbox, Totals};
use crate::wake::Wake;

/// How often a person sees the bar move.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub struct Arguments {
    /// Take in every complete file, deliver until nothing is due or under way, then end
    #[arg(long)]
    once: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Outcome {
    runtime()?.block_on(async {
        let (stop, wake, reload) = (CancellationToken::new(), Wake::default(), Arc::new(Notify::new()));
        // Before anything else: a reload that comes early must not end the process.
        let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
        tokio::spawn(heed(signals, stop.clone(), wake.clone(), Arc::clone(&reload)));
        let config = common.config()?;
        let sign_in = config.sign_in();
        if !arguments.once {
            daemon::serve(config, Clock::system(), wake, stop, reload).await?;
            return Ok(Exit::Done);
        }
        let bar = common.screen.bar("rows");
        let state = config.state.clone();
        let before = totals(&state).map_or(0, |totals| settled(&totals));
        let outcome = select! {
            outcome = daemon::run_once(config, Clock::system(), wake, stop) => outcome,
            () = show(&state, before, &bar), if !bar.is_hidden() => unreachable!("the bar is shown until the run ends"),
        };
        bar.finish_and_clear();
        report(&outcome?, &sign_in)
    })
}

/// Shows how many of the rows that were to go have gone, for as long as it is asked to.
async fn show(state: &Path, before: u64, bar: &ProgressBar) {
    loop {
        let state = state.to_owned();
        // Looking is beside the run: what cannot be seen just now is not shown.
        if let Ok(Some(totals)) = spawn_blocking(move || totals(&state)).await {
            let done = settled(&totals).saturating_sub(before);
            let all = totals.counts.rows().saturating_sub(before);
            if all > 0 {
                bar.set_length(all);
                bar.set_position(done);
            }
        }
        sleep(LOOK).await;
    }
}

fn totals(state: &Path) -> Option<Totals> {
    Outbox::open_to_look(state).ok().flatten()?.totals().ok()
}

fn settled(totals: &Totals) -> u64 {
    totals.counts.rows() - totals.counts.queued - totals.counts.sending
}

/// Signals are hints too: stop in order, read the configuration again, or look now.
async fn heed(mut signals: Signals, stop: CancellationToken, wake: Wake, reload: Arc<Notify>) {
    while let Some(signal) = signals.next().await {
        match signal {
            SIGUSR1 => wake.hint(),
            SIGHUP => reload.notify_one(),
            _ => {
                tracing::info!(signal, "stopping");
                stop.cancel();
            }
        }
    }
}

/// What the run came to: a line for people, a status for scripts.
fn report(outcome: &daemon::Outcome, sign_in: &str) -> Outcome {
    let (before, after) = (outcome.before.counts, outcome.after.counts);
    let waiting = after.queued + after.sending;
    let rejected = after.rejected - before.rejected;
    let held = after.held.saturating_sub(before.held);
    say(format!(
        "{} created, {} updated, {} unchanged, {} duplicate, {rejected} rejected, {held} held, {waiting} waiting; {} files could not be read",
        after.created - before.created,
        after.updated - before.updated,
        after.unchanged - before.unchanged,
        after.duplicate - before.duplicate,
        outcome.failed_files,
    ));
    match &outcome.findings {
        Findings { login_needed: true, .. } => {
            let message = format!("{waiting} rows wait for an authorization: sign in with `{sign_in}`");
            Err(Failure::new(Exit::LoginNeeded, message))
        }
        Findings { unknown_list: Some(reason), .. } if waiting > 0 => Err(Failure::new(Exit::Config, reason)),
        Findings { forbidden: Some(reason), .. } if waiting > 0 => Err(Failure::new(Exit::Failed, reason)),
        Findings { unreachable: true, .. } if waiting > 0 => {
            let message =
                format!("the account cannot be reached; {waiting} rows wait and are tried at the next run");
            Err(Failure::new(Exit::Unreachable, message))
        }
        _ if waiting > 0 => Ok(Exit::Waiting),
        _ if rejected > 0 || held > 0 || outcome.failed_files > 0 => Ok(Exit::Refused),
        _ => Ok(Exit::Done),
    }
}
