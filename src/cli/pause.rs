//! `mailchute pause` and `mailchute resume`.

use clap::Args;
use jiff::Timestamp;

use super::{Common, Exit, Failure, Outcome, nudge, outbox_to_change, say};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Why, for whoever asks; shown by `status`
    #[arg(value_name = "REASON", num_args = 0..)]
    reason: Vec<String>,
}

pub(super) fn pause(common: &Common, arguments: &Arguments) -> Outcome {
    let config = common.config()?;
    let reason = arguments.reason.join(" ");
    let mut outbox = outbox_to_change(&config)?;
    outbox.pause(reason.trim(), Timestamp::now()).map_err(|error| Failure::new(Exit::Failed, error))?;
    nudge(&config);
    say("Sending is paused; files are still taken in. `mailchute resume` goes on.");
    Ok(Exit::Done)
}

pub(super) fn resume(common: &Common) -> Outcome {
    let config = common.config()?;
    let mut outbox = outbox_to_change(&config)?;
    let was_paused = outbox.resume().map_err(|error| Failure::new(Exit::Failed, error))?;
    nudge(&config);
    say(if was_paused { "Sending goes on." } else { "Sending was not paused." });
    Ok(Exit::Done)
}
