//! `mailchute-auth`: the one sign-in.

use std::{
    env,
    io::{self, BufRead, Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{CommandFactory, Parser};
use url::Url;

use super::{Exit, Failure, Outcome, finish, runtime, say, usage};
use crate::clock::Clock;
use crate::config::Config;
use crate::daemon::private_folder;
use crate::oauth::{self, AuthorizeError, Authorized, Place, Prompt, Way};
use crate::{hardening, log};

/// The longest line that is read from a paste: addresses of authorization servers stay far below.
const LONGEST_PASTE: u64 = 64 << 10;

/// Signs in once, so that mailchute can put people on your lists from then on.
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, Parser)]
#[command(
    name = "mailchute-auth",
    version,
    after_help = "Example:\n  mailchute-auth                # your browser opens and comes back to this machine\n  \
                  mailchute-auth --paste        # over SSH: visit an address anywhere, paste the one it ends on\n  \
                  mailchute-auth --device       # an application for devices: type a code on any other device"
)]
struct Arguments {
    /// The configuration; otherwise $`MAILCHUTE_CONFIG`, then the user's, then /etc/mailchute/mailchute.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// No listener here: paste the address on which the browser ended
    #[arg(long, conflicts_with = "device")]
    paste: bool,
    /// Show a code to type on any other device; the application must be registered for this
    #[arg(long)]
    device: bool,
    /// Do not open a browser; print the address to visit alone on a line of standard output
    #[arg(long)]
    no_open: bool,
    /// Take the account that is signed in to, even if this installation wrote to another one until now
    #[arg(long)]
    other_account: bool,
}

/// The command line of `mailchute-auth`, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The `mailchute-auth` program.
#[must_use]
pub fn main() -> ExitCode {
    match Arguments::try_parse() {
        Ok(arguments) => {
            log::begin(-1, log::Format::Text, &log::Screen::default());
            hardening::begin();
            finish(run(&arguments))
        }
        Err(error) => usage(&error),
    }
}

fn run(arguments: &Arguments) -> Outcome {
    let config = Config::load(arguments.config.as_deref())?;
    let application = config.application()?;
    private_folder(&config.state)?;
    let expected = oauth::Expected { other_account: arguments.other_account, ..config.expected() };
    let place = Place {
        application: &application,
        state_folder: &config.state,
        clock: Clock::system().as_fn(),
        expected: &expected,
    };
    tell("Sign in as the user who created the application: the account's owner.");
    let no_open = arguments.no_open;
    let mut visit = |address: &Url| show(address, no_open || arguments.paste);
    let mut bring = |prompt: &str| paste(prompt);
    let mut show_code = |prompt: &Prompt| code(prompt, no_open);
    let way = if arguments.device {
        Way::Device { show: &mut show_code }
    } else {
        tell(&format!("The portal must have exactly this redirect URI: {}", application.redirect_uri));
        tell_about_ssh(&application.redirect_uri, arguments);
        if arguments.paste {
            Way::Paste { visit: &mut visit, bring: &mut bring }
        } else {
            Way::Loopback { visit: &mut visit }
        }
    };
    let authorized = runtime()?.block_on(oauth::authorize(&place, way)).map_err(failure)?;
    report(&authorized)
}

/// A browser on another machine reaches a listener on this one through SSH; the line to type is ready.
fn tell_about_ssh(redirect_uri: &str, arguments: &Arguments) {
    let port = Url::parse(redirect_uri).ok().filter(|url| url.scheme() == "http").and_then(|url| url.port());
    let (Some(port), true) = (port, arguments.paste || env::var_os("SSH_CONNECTION").is_some()) else {
        return;
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let user = env::var("USER").or_else(|_| env::var("LOGNAME")).map(|user| user + "@").unwrap_or_default();
    let line = format!("ssh -L {port}:localhost:{port} {user}{host}");
    if arguments.paste {
        tell(&format!(
            "Instead of pasting: `{line}` from the machine with the browser, and there `mailchute-auth --no-open`."
        ));
    } else {
        tell(&format!(
            "Your browser runs on another machine? Come from there with `{line}`, or sign in with `--paste`."
        ));
    }
}

fn show(address: &Url, no_open: bool) {
    if no_open {
        tell("Visit this address:");
        return say(address);
    }
    if let Err(error) = open::that_detached(address.as_str()) {
        tell(&format!("No browser could be opened ({error}). Visit this address:"));
        return say(address);
    }
    tell("Your browser was opened. If it was not, visit this address:");
    tell(address.as_str());
}

fn code(prompt: &Prompt, no_open: bool) {
    let Prompt { code, page, complete, life } = prompt;
    let minutes = life.as_secs() / 60;
    tell(&format!("On any device, visit {page} and type this code within {minutes} minutes: {code}"));
    let address = complete.as_ref().unwrap_or(page);
    if no_open || open::that_detached(address.as_str()).is_err() {
        say(address);
    }
}

fn paste(prompt: &str) -> io::Result<Option<String>> {
    tell(prompt);
    let mut line = String::new();
    let read = io::stdin().lock().take(LONGEST_PASTE).read_line(&mut line)?;
    Ok((read > 0).then_some(line))
}

fn report(authorized: &Authorized) -> Outcome {
    let Authorized { account, rotating, findings, unknown } = authorized;
    let account = account.as_ref().map_or_else(
        || "the account (its name is not known: the scope account_read is missing)".to_owned(),
        |name| format!("the account `{name}`"),
    );
    let kind = match rotating {
        Some(true) => {
            " Refresh tokens rotate: a backup or a second copy of this installation must not use them."
        }
        Some(false) => " The refresh token is long-lived.",
        None => "",
    };
    for what in unknown {
        tell(&format!("Could not be checked just now: {what}."));
    }
    tell(&format!(
        "Done: mailchute may now write to {account}. A running daemon takes it up by itself.{kind}"
    ));
    if findings.is_empty() {
        return Ok(Exit::Done);
    }
    let findings = findings.join("\n");
    Err(Failure::new(
        Exit::Config,
        format!("{findings}\nYou need not sign in again: mend the configuration or the account"),
    ))
}

/// Standard output belongs to the address; everything else goes to standard error.
fn tell(text: &str) {
    let _nobody_reads = writeln!(io::stderr(), "{text}");
}

fn failure(error: AuthorizeError) -> Failure {
    let exit = match &error {
        AuthorizeError::RedirectUri { .. }
        | AuthorizeError::Client { .. }
        | AuthorizeError::NotRenewable { .. }
        | AuthorizeError::NoRefreshToken => Exit::Config,
        AuthorizeError::Unreachable { .. } => Exit::Unreachable,
        AuthorizeError::NobodyCame { .. }
        | AuthorizeError::NothingPasted { .. }
        | AuthorizeError::DeviceCodeEnded { .. }
        | AuthorizeError::Refused { .. }
        | AuthorizeError::Code { .. }
        | AuthorizeError::Privileges { .. }
        | AuthorizeError::NoAccount { .. }
        | AuthorizeError::OtherAccount { .. }
        | AuthorizeError::Scope(_) => Exit::LoginNeeded,
        AuthorizeError::Port { .. } | AuthorizeError::Store(_) => Exit::Failed,
    };
    Failure::new(exit, error)
}
