//! The commands: one file each, which only translate and print.
//!
//! Owns the arguments, the exit statuses of the contract and standard output. Leaves every decision to the library.

mod add;
mod ask;
pub mod auth;
mod backup;
mod check;
mod demo;
mod explain;
mod init;
mod pause;
mod queue;
mod run;
mod sandbox;
mod status;

use std::{
    fmt::Display,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anstyle::{AnsiColor, Style};
use clap::{Args, CommandFactory, Parser, Subcommand};
use rustix::process::{Pid, Signal, kill_process};

use crate::config::{Config, ConfigError};
use crate::daemon::DaemonError;
use crate::instance;
use crate::outbox::Outbox;
use crate::{hardening, log};

/// The exit statuses of the contract (`sysexits.h` where it has one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done, healthy.
    Done = 0,
    /// Our fault or the machine's.
    Failed = 1,
    /// Everything ran, some rows or files were refused.
    Refused = 65,
    /// The account cannot be reached.
    Unreachable = 69,
    /// Entries still wait.
    Waiting = 75,
    /// A person must sign in.
    LoginNeeded = 77,
    /// The configuration is wrong.
    Config = 78,
}

/// Why a command ends otherwise than done: the status, and what to say on standard error.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string() }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Config, error)
    }
}

impl From<DaemonError> for Failure {
    fn from(error: DaemonError) -> Self {
        let exit = match error {
            DaemonError::Config(_) => Exit::Config,
            _ => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::Failed, error)
    }
}

type Outcome = Result<Exit, Failure>;

/// Puts the people in dropped files on your Constant Contact lists.
#[derive(Debug, Parser)]
#[command(name = "mailchute", version)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Common {
    /// The configuration; otherwise $`MAILCHUTE_CONFIG`, then the user's, then /etc/mailchute/mailchute.toml
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Log errors only; twice for nothing
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    quiet: u8,
    /// How log lines on standard error are written
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: log::Format,
    /// What bars and log lines share.
    #[arg(skip)]
    screen: log::Screen,
}

impl Common {
    fn begin_log(&self) {
        let level = |count: u8| i8::try_from(count).unwrap_or(i8::MAX);
        log::begin(level(self.verbose).saturating_sub(level(self.quiet)), self.log_format, &self.screen);
    }

    fn config(&self) -> Result<Config, ConfigError> {
        Config::load(self.config.as_deref())
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    #[command(
        after_help = "Example:\n  mailchute run --once    # take in what is there, deliver it, end (for cron)"
    )]
    Run(run::Arguments),
    /// Show the health in one screen; the exit status says it too
    #[command(after_help = "Example:\n  mailchute status --json | jq .health")]
    Status(status::Arguments),
    /// Look whether everything is as it should be: this machine, then the account
    #[command(after_help = "Example:\n  mailchute check --offline")]
    Check(check::Arguments),
    /// Show what waits, and try, hold, release or drop it
    #[command(after_help = "Example:\n  mailchute queue list --state held")]
    Queue(queue::Arguments),
    /// Tell the life of one address: where it came from, each try, what is next
    #[command(after_help = "Example:\n  mailchute explain jane@example.org --live")]
    Explain(explain::Arguments),
    /// Put one contact into the inbox
    #[command(
        after_help = "Example:\n  mailchute add jane@example.org --first-name Jane --field cf:member_no=17"
    )]
    Add(add::Arguments),
    /// Stop sending; files are still taken in, also after a restart
    #[command(after_help = "Example:\n  mailchute pause waiting for the new list")]
    Pause(pause::Arguments),
    /// Go on sending
    #[command(after_help = "Example:\n  mailchute resume")]
    Resume,
    /// Copy the outbox while the daemon runs
    #[command(after_help = "Example:\n  mailchute backup /var/backups/mailchute.db")]
    Backup(backup::Arguments),
    /// Write a commented configuration to start from
    #[command(after_help = "Example:\n  mailchute init --config ./mailchute.toml")]
    Init,
    /// Show the whole thing without an account
    #[command(after_help = "Example:\n  mailchute demo --rows 100 --keep ./demo")]
    Demo(demo::Arguments),
    /// Run only the stand-in for Constant Contact, to rehearse against
    #[command(
        after_help = "Example:\n  mailchute sandbox --listen 127.0.0.1:8080 --fault 500@sign_up_form=share:0.1"
    )]
    Sandbox(sandbox::Arguments),
}

/// The command line of `mailchute`, for manual pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The `mailchute` program.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    arguments.common.begin_log();
    hardening::begin();
    let common = &arguments.common;
    finish(match arguments.command {
        Command::Run(run) => run::run(common, &run),
        Command::Status(status) => status::run(common, &status),
        Command::Check(check) => check::run(common, &check),
        Command::Queue(queue) => queue::run(common, &queue),
        Command::Explain(explain) => explain::run(common, &explain),
        Command::Add(add) => add::run(common, &add),
        Command::Pause(pause) => pause::pause(common, &pause),
        Command::Resume => pause::resume(common),
        Command::Backup(backup) => backup::run(common, &backup),
        Command::Init => init::run(common),
        Command::Demo(demo) => demo::run(common, &demo),
        Command::Sandbox(sandbox) => sandbox::run(&sandbox),
    })
}

/// `--help` and `--version` are no mistakes; everything else is status 2.
fn usage(error: &clap::Error) -> ExitCode {
    let _nobody_reads = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn finish(outcome: Outcome) -> ExitCode {
    let exit = match outcome {
        Ok(exit) => exit,
        Err(Failure { exit, message }) => {
            let _nobody_reads = writeln!(io::stderr(), "mailchute: {message}");
            exit
        }
    };
    ExitCode::from(exit as u8)
}

/// Prints to standard output; a reader that went away is no error.
fn say(text: impl Display) {
    let _nobody_reads = writeln!(io::stdout(), "{text}");
}

/// The outbox, to look at.
fn outbox_to_look(config: &Config) -> Result<Outbox, Failure> {
    let looked = Outbox::open_to_look(&config.state).map_err(|error| Failure::new(Exit::Failed, error))?;
    looked.ok_or_else(|| no_outbox(config))
}

/// The outbox, to change it. A command makes none: in the wrong state folder that would hide the mistake.
fn outbox_to_change(config: &Config) -> Result<Outbox, Failure> {
    outbox_to_look(config)?;
    Outbox::open(&config.state).map_err(|error| Failure::new(Exit::Failed, error))
}

fn no_outbox(config: &Config) -> Failure {
    let message =
        format!("there is no outbox in {} yet: the first `mailchute run` makes it", config.state.display());
    Failure::new(Exit::Failed, message)
}

/// Lets a running daemon look at once. Where that is not allowed, it looks within a minute by itself.
fn nudge(config: &Config) {
    let pid =
        instance::running(&config.state).and_then(|running| Pid::from_raw(i32::try_from(running.pid).ok()?));
    if let Some(pid) = pid {
        let _not_allowed = kill_process(pid, Signal::USR1);
    }
}

/// A word in a colour, for a person at a terminal; the word alone for everything else.
fn coloured(word: &str, colour: AnsiColor) -> String {
    let style = if log::may_colour(&io::stdout()) { colour.on_default().bold() } else { Style::new() };
    format!("{style}{word}{style:#}")
}

/// The threads of a small daemon: one for each loop; what blocks has threads of its own.
const WORKERS: usize = 2;

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    runtime.map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))
}
