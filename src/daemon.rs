//! The daemon: two loops over one outbox.
//!
//! Owns the order of starting and stopping and the two long-lived tasks; nothing else in the program spawns one. Promises
//! that a stop leaves everything recorded, and that a loop that ends in an error takes the other down with it in order.
//! Leaves arguments, signals and exit statuses to `cli`.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use sd_notify::NotifyState;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::constant_contact::{Client, ClientError};
use crate::drain::{self, Drain, Findings};
use crate::inbox::{self, Inbox};
use crate::instance::{Instance, InstanceError};
use crate::oauth::{StoreError, Tokens};
use crate::outbox::{Outbox, OutboxError, SharedOutbox, Totals};
use crate::wake::Wake;

/// Only this user may look into the state folder: it holds addresses and tokens.
const STATE_MODE: u32 = 0o700;

/// Why the daemon cannot start or go on.
#[derive(Debug, Error)]
pub enum DaemonError {
    /// The configuration does not fit this machine.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Another daemon runs here.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// The outbox is not usable.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The token store is not usable.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no HTTPS.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A folder cannot be made or used.
    #[error("cannot use the folder {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A loop ended by a fault in the program.
    #[error("a loop of the daemon ended by a fault in the program: {0}")]
    Loop(#[from] tokio::task::JoinError),
}

/// What `run --once` came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The outbox before.
    pub before: Totals,
    /// The outbox after.
    pub after: Totals,
    /// Files that could not be read in this run.
    pub failed_files: u64,
    /// What was found out about the account.
    pub findings: Findings,
}

/// Everything that both ways of running need, opened and locked.
struct House {
    _instance: Instance,
    outbox: SharedOutbox,
    inbox: Inbox,
    drain: drain::Parts<Client>,
    tokens: Arc<Tokens>,
}

/// Runs until told to stop.
pub async fn run(
    config: Config,
    clock: Clock,
    wake: Wake,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    let house = open(&config, &clock, &wake)?;
    let drain = Drain::start(house.drain).await?;
    tracing::info!(spool = %config.spool.display(), state = %config.state.display(), "ready");
    notify(&[NotifyState::Ready, NotifyState::Status("running")]);
    let mut loops: JoinSet<Result<(), DaemonError>> = JoinSet::new();
    loops.spawn(watched_over(stop.clone(), {
        let stop = stop.clone();
        async move { Ok(drain.run(stop).await?) }
    }));
    loops.spawn(watched_over(stop.clone(), {
        let stop = stop.clone();
        async move { Ok(house.inbox.run(stop).await?) }
    }));
    loops.spawn(watched_over(stop.clone(), upkeep(Arc::clone(&house.tokens), clock, stop.clone())));
    let mut first_error = None;
    while let Some(ended) = loops.join_next().await {
        notify(&[NotifyState::Stopping]);
        if let Err(error) = ended.map_err(DaemonError::from).flatten() {
            first_error.get_or_insert(error);
        }
    }
    tracing::info!("stopped");
    first_error.map_or(Ok(()), Err)
}

/// A loop that ends for whatever reason ends the others.
async fn watched_over(
    stop: CancellationToken,
    work: impl Future<Output = Result<(), DaemonError>>,
) -> Result<(), DaemonError> {
    let _ends_the_others = stop.drop_guard();
    work.await
}

/// Keeps the authorization alive when there is nothing to send.
async fn upkeep(tokens: Arc<Tokens>, clock: Clock, stop: CancellationToken) -> Result<(), DaemonError> {
    while !stop.is_cancelled() {
        tokio::select! {
            () = tokio::time::sleep(clock.nap_until(Some(tokens.next_upkeep()))) => {}
            () = stop.cancelled() => return Ok(()),
        }
        if tokens.next_upkeep() <= clock.now() {
            tokens.upkeep().await;
        }
    }
    Ok(())
}

/// Takes in every complete file, delivers until nothing is due or under way, answers, and ends.
pub async fn run_once(
    config: Config,
    clock: Clock,
    wake: Wake,
    stop: CancellationToken,
) -> Result<Outcome, DaemonError> {
    let house = open(&config, &clock, &wake)?;
    let before = house.outbox.ask(Outbox::totals).await?;
    let mut inbox = house.inbox;
    inbox.run_once(&stop).await?;
    let mut drain = Drain::start(house.drain).await?;
    drain.run_once(&stop).await?;
    inbox.answer_all().await?;
    let after = house.outbox.ask(Outbox::totals).await?;
    Ok(Outcome { before, after, failed_files: inbox.failed_files(), findings: drain.findings() })
}

fn open(config: &Config, clock: &Clock, wake: &Wake) -> Result<House, DaemonError> {
    for note in &config.notes {
        tracing::warn!("{}: {note}", config.file.display());
    }
    prepare_folders(config)?;
    let instance = Instance::take(&config.state, clock.now())?;
    let application = config.application()?;
    let (inbox_outbox, outbox) =
        (Outbox::open(&config.state)?, SharedOutbox::new(Outbox::open(&config.state)?));
    let tokens = Arc::new(Tokens::open(&config.state, application, clock.as_fn())?);
    let account = Arc::new(Client::new(config.base_url.clone(), Arc::clone(&tokens))?);
    let inbox = Inbox::new(inbox::Parts {
        outbox: SharedOutbox::new(inbox_outbox),
        spool: config.spool.clone(),
        routes: config.routes.clone(),
        settings: config.inbox.clone(),
        clock: clock.clone(),
        wake: wake.clone(),
    });
    let drain = drain::Parts {
        outbox: outbox.clone(),
        account,
        routes: config.routes.clone(),
        limits: config.limits,
        give_up_after: config.give_up_after,
        clock: clock.clone(),
        wake: wake.clone(),
    };
    Ok(House { _instance: instance, outbox, inbox, drain, tokens })
}

/// Makes what is missing, but not a spool that the configuration names: a missing mount must not become a new folder.
fn prepare_folders(config: &Config) -> Result<(), DaemonError> {
    if config.spool_is_named && !config.spool.is_dir() {
        return Err(DaemonError::Config(ConfigError {
            file: config.file.clone(),
            line: None,
            key: Some("spool".to_owned()),
            problem: format!(
                "there is no folder {0}: make it (`mkdir -p {0}`), mount it, or name another",
                config.spool.display()
            ),
        }));
    }
    private_folder(&config.state)?;
    let inbox = config.inbox_folder();
    let routes = config.routes.iter().map(|route| inbox.join(&route.folder));
    for folder in routes.chain(["inbox", "done", "failed"].map(|name| config.spool.join(name))) {
        fs::create_dir_all(&folder).map_err(|source| DaemonError::Folder { path: folder.clone(), source })?;
    }
    Ok(())
}

/// A folder that only this user may look into, made where it is missing.
pub fn private_folder(path: &Path) -> Result<(), DaemonError> {
    let made = DirBuilder::new().recursive(true).mode(STATE_MODE).create(path);
    made.map_err(|source| DaemonError::Folder { path: path.to_owned(), source })
}

/// Tells systemd, where there is one.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd was not told");
    }
}
