//! `mailchute-auth`: the one sign-in.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{CommandFactory, Parser};
use jiff::Timestamp;

use super::{Exit, Failure, Outcome, finish, runtime, say, usage};
use crate::config::Config;
use crate::daemon::private_folder;
use crate::log;
use crate::oauth::{self, AuthorizeError};

/// Signs in once, so that mailchute can put people on your lists from then on.
#[derive(Debug, Parser)]
#[command(
    name = "mailchute-auth",
    version,
    after_help = "Example:\n  mailchute-auth --config /etc/mailchute/mailchute.toml"
)]
struct Arguments {
    /// The configuration; otherwise $`MAILCHUTE_CONFIG`, then the user's, then /etc/mailchute/mailchute.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do not open a browser; print the address to visit alone on a line of standard output
    #[arg(long)]
    no_open: bool,
}

/// The command line of `mailchute-auth`, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The `mailchute-auth` program.
#[must_use]
pub fn main() -> ExitCode {
    log::begin(0, log::Format::Text);
    match Arguments::try_parse() {
        Ok(arguments) => finish(run(&arguments)),
        Err(error) => usage(&error),
    }
}

fn run(arguments: &Arguments) -> Outcome {
    let config = Config::load(arguments.config.as_deref())?;
    let application = config.application()?;
    private_folder(&config.state)?;
    tell("Sign in as the user who created the application: the account's owner.");
    tell(&format!("The portal must have exactly this redirect URI: {}", application.redirect_uri));
    let mut visit = |address: &url::Url| show(address, arguments.no_open);
    let signing_in =
        oauth::authorize(&application, &config.state, Timestamp::now, oauth::Ways { visit: &mut visit });
    let authorized = runtime()?.block_on(signing_in).map_err(failure)?;
    let account = authorized.account.map_or_else(
        || "the account (its name is not known: the scope account_read is missing)".to_owned(),
        |name| format!("the account `{name}`"),
    );
    tell(&format!("Done: mailchute may now write to {account}. A running daemon takes it up by itself."));
    Ok(Exit::Done)
}

fn show(address: &url::Url, no_open: bool) {
    if no_open {
        return say(address);
    }
    if let Err(error) = open::that_detached(address.as_str()) {
        tell(&format!("No browser could be opened ({error}). Visit this address:"));
        return say(address);
    }
    tell("Your browser was opened. If it was not, visit this address:");
    tell(address.as_str());
}

/// Standard output belongs to the address; everything else goes to standard error.
fn tell(text: &str) {
    let _nobody_reads = writeln!(io::stderr(), "{text}");
}

fn failure(error: AuthorizeError) -> Failure {
    let exit = match &error {
        AuthorizeError::RedirectUri { .. }
        | AuthorizeError::Client { .. }
        | AuthorizeError::NoRefreshToken => Exit::Config,
        AuthorizeError::Unreachable { .. } => Exit::Unreachable,
        AuthorizeError::NobodyCame { .. }
        | AuthorizeError::Refused { .. }
        | AuthorizeError::Code { .. }
        | AuthorizeError::Scope(_) => Exit::LoginNeeded,
        AuthorizeError::Port { .. } | AuthorizeError::Store(_) => Exit::Failed,
    };
    Failure::new(exit, error)
}
