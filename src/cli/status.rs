//! `mailchute status`

use anstyle::AnsiColor;
use clap::Args;
use jiff::Timestamp;

use super::{Common, Exit, Failure, Outcome, coloured, say};
use crate::outbox::Health;
use crate::status::Status;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The contract's JSON instead of text
    #[arg(long)]
    json: bool,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Outcome {
    let config = common.config()?;
    let status =
        Status::gather(&config, Timestamp::now()).map_err(|error| Failure::new(Exit::Failed, error))?;
    if arguments.json {
        let json = serde_json::to_string(&status).map_err(|error| Failure::new(Exit::Failed, error))?;
        say(json);
    } else {
        say(painted(&status));
    }
    Ok(match status.level() {
        Health::Ok => Exit::Done,
        Health::Waiting => Exit::Waiting,
        Health::Attention if status.login_is_needed() => Exit::LoginNeeded,
        Health::Attention => Exit::Failed,
    })
}

/// The screen with its health in a colour, where there is one.
fn painted(status: &Status) -> String {
    let (level, text) = (status.level(), status.text());
    let colour = match level {
        Health::Ok => AnsiColor::Green,
        Health::Waiting => AnsiColor::Yellow,
        Health::Attention => AnsiColor::Red,
    };
    text.replacen(level.as_str(), &coloured(level.as_str(), colour), 1)
}
