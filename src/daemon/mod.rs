//! The daemon: two loops over one outbox.
//!
//! Owns the order of starting and stopping and the long-lived tasks; nothing else in the program spawns one. Promises
//! that a stop leaves everything recorded, that a loop that ends in an error takes the other down with it in order, and
//! that a configuration is checked before it replaces the one in use. A new configuration means stopping both loops in
//! order and starting them again under the same lock: there is one way to start, and it is exercised each day. Leaves
//! arguments, signals and exit statuses to `cli`.

mod heartbeat;
mod history;
mod hook;
mod reload;
mod report;
mod service;

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use thiserror::Error;
use tokio::{net::TcpListener, select, sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{Config, ConfigError};
use crate::constant_contact::{Client, ClientError};
use crate::drain::{self, Drain, Findings};
use crate::inbox::{self, Inbox};
use crate::instance::{Instance, InstanceError};
use crate::oauth::{StoreError, Tokens};
use crate::outbox::{Health, Outbox, OutboxError, SharedOutbox, Totals};
use crate::wake::{Pulse, Wake};
use crate::web;
use report::Reporter;

/// Only this user may look into the state folder: it holds addresses and tokens.
const STATE_MODE: u32 = 0o700;

/// How long an end waits for a disk that does not take new tokens: less than a service manager waits before it kills.
const SAVE_PATIENCE: Duration = Duration::from_mins(1);

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
    /// The status page cannot be served any more.
    #[error("the status page cannot be served: {0}")]
    Page(io::Error),
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

/// Everything that both ways of running need, opened.
struct House {
    outbox: SharedOutbox,
    inbox: Inbox,
    drain: drain::Parts<Client>,
    tokens: Arc<Tokens>,
}

/// How a period of running under one configuration ended.
enum Ended {
    /// Told to stop.
    Stopped,
    /// The configuration is to be replaced by this one.
    Replaced(Box<Config>),
}

/// Runs until told to stop.
pub async fn run(
    config: Config,
    clock: Clock,
    wake: Wake,
    stop: CancellationToken,
) -> Result<(), DaemonError> {
    serve(config, clock, wake, stop, Arc::default()).await
}

/// Runs until told to stop, and reads its configuration again each time that `reload` is notified.
pub async fn serve(
    mut config: Config,
    clock: Clock,
    wake: Wake,
    stop: CancellationToken,
    reload: Arc<Notify>,
) -> Result<(), DaemonError> {
    prepare_folders(&config)?;
    let _instance = Instance::take(&config.state, clock.now())?;
    let mut tokens = tokens(&config, &clock, None)?;
    loop {
        let orders = Orders { clock: &clock, wake: &wake, stop: &stop, reload: &reload };
        match period(&config, &tokens, orders).await? {
            Ended::Stopped => break,
            Ended::Replaced(new) => {
                tokens = self::tokens(&new, &clock, Some((&config, tokens)))?;
                config = *new;
                tracing::info!(file = %config.file.display(), "running with the new configuration");
            }
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// What is asked of a period from outside.
#[derive(Clone, Copy)]
struct Orders<'a> {
    clock: &'a Clock,
    wake: &'a Wake,
    stop: &'a CancellationToken,
    reload: &'a Notify,
}

/// Both loops under one configuration, from their start to their end.
async fn period(config: &Config, tokens: &Arc<Tokens>, orders: Orders<'_>) -> Result<Ended, DaemonError> {
    let Orders { clock, wake, stop, reload } = orders;
    let (inbox_pulse, drain_pulse) = (Pulse::default(), Pulse::default());
    let house = open(config, tokens, clock, &wake.with_pulse(&inbox_pulse), &wake.with_pulse(&drain_pulse))?;
    let outbox = house.outbox.clone();
    let drain = Drain::start(house.drain).await?;
    let inner = stop.child_token();
    let mut loops: JoinSet<Result<(), DaemonError>> = JoinSet::new();
    loops.spawn(watched_over(inner.clone(), {
        let stop = inner.clone();
        async move { Ok(drain.run(stop).await?) }
    }));
    loops.spawn(watched_over(inner.clone(), {
        let stop = inner.clone();
        async move { Ok(house.inbox.run(stop).await?) }
    }));
    loops.spawn(watched_over(inner.clone(), upkeep(house.tokens, clock.clone(), inner.clone())));
    let pulses = [("inbox", inbox_pulse), ("drain", drain_pulse)];
    loops.spawn(watched_over(inner.clone(), service::watch_over(pulses, wake.clone(), inner.clone())));
    let reporter = Reporter::new(config, clock, &outbox).await?;
    loops.spawn(watched_over(inner.clone(), reporter.run(wake.clone(), inner.clone())));
    let pruning = history::keep(outbox.clone(), config.keep_history, clock.clone(), inner.clone());
    loops.spawn(watched_over(inner.clone(), pruning));
    if let Some(listener) = status_page(config, &outbox, clock.now()).await? {
        let served = web::serve(listener, config.clone(), clock.clone(), inner.clone());
        loops.spawn(watched_over(inner.clone(), async { served.await.map_err(DaemonError::Page) }));
    }
    tracing::info!(spool = %config.spool.display(), state = %config.state.display(), "ready");
    reload::is_over(&outbox).await?;
    service::ready();
    let (mut first_error, mut new, mut ending) = (None, None, false);
    loop {
        select! {
            ended = loops.join_next() => match ended {
                None => break,
                Some(ended) => if let Err(error) = ended.map_err(DaemonError::from).flatten() {
                    first_error.get_or_insert(error);
                },
            },
            () = inner.cancelled(), if !ending => {
                ending = true;
                if new.is_none() {
                    service::stopping();
                }
            }
            () = reload.notified(), if !ending => {
                service::reloading();
                match reload::read_again(config, &outbox, clock.now()).await? {
                    Some(read) => {
                        new = Some(read);
                        inner.cancel();
                    }
                    None => service::ready(),
                }
            }
        }
    }
    match (first_error, new) {
        (Some(error), _) => Err(error),
        (None, Some(new)) if !stop.is_cancelled() => Ok(Ended::Replaced(new)),
        (None, _) => Ok(Ended::Stopped),
    }
}

/// The listener of the status page, if there is to be one. A port in use is no reason to send nothing: it is said.
async fn status_page(
    config: &Config,
    outbox: &SharedOutbox,
    now: Timestamp,
) -> Result<Option<TcpListener>, DaemonError> {
    const SCOPE: &str = "metrics";
    let Some(address) = config.listen else {
        outbox.ask(|outbox| outbox.clear_trouble(SCOPE)).await?;
        return Ok(None);
    };
    match web::listen(address).await {
        Ok(listener) => {
            outbox.ask(|outbox| outbox.clear_trouble(SCOPE)).await?;
            Ok(Some(listener))
        }
        Err(error) => {
            let reason = format!(
                "there is no status page, because {address} cannot be listened on ({error}): free it or change \
                 metrics.listen, then reload"
            );
            tracing::error!("{reason}");
            outbox
                .ask(move |outbox| outbox.set_trouble(SCOPE, Health::Attention, &reason, None, now))
                .await?;
            Ok(None)
        }
    }
}

/// A loop that ends for whatever reason ends the others.
async fn watched_over(
    stop: CancellationToken,
    work: impl Future<Output = Result<(), DaemonError>>,
) -> Result<(), DaemonError> {
    let _ends_the_others = stop.drop_guard();
    work.await
}

/// Keeps the authorization alive when there is nothing to send, and does not end with tokens that are not saved.
async fn upkeep(tokens: Arc<Tokens>, clock: Clock, stop: CancellationToken) -> Result<(), DaemonError> {
    while !stop.is_cancelled() {
        let next = tokens.upkeep().await;
        tokio::select! {
            () = tokio::time::sleep(clock.nap_until(Some(next))) => {}
            () = stop.cancelled() => {}
        }
    }
    tokens.save_before_end(SAVE_PATIENCE).await;
    Ok(())
}

/// Takes in every complete file, delivers until nothing is due or under way, answers, and ends.
pub async fn run_once(
    config: Config,
    clock: Clock,
    wake: Wake,
    stop: CancellationToken,
) -> Result<Outcome, DaemonError> {
    prepare_folders(&config)?;
    let _instance = Instance::take(&config.state, clock.now())?;
    let house = open(&config, &tokens(&config, &clock, None)?, &clock, &wake, &wake)?;
    let before = house.outbox.ask(Outbox::totals).await?;
    let mut inbox = house.inbox;
    inbox.run_once(&stop).await?;
    let mut drain = Drain::start(house.drain).await?;
    drain.run_once(&stop).await?;
    inbox.answer_all().await?;
    house.tokens.save_before_end(SAVE_PATIENCE).await;
    let after = house.outbox.ask(Outbox::totals).await?;
    history::once(&house.outbox, config.keep_history, clock.now(), &stop).await?;
    Ok(Outcome { before, after, failed_files: inbox.failed_files(), findings: drain.findings() })
}

/// The tokens; under a new configuration the same ones, unless it is about another application: a pair that is not on
/// the disk yet lives only in them.
fn tokens(
    config: &Config,
    clock: &Clock,
    before: Option<(&Config, Arc<Tokens>)>,
) -> Result<Arc<Tokens>, DaemonError> {
    let application = config.application()?;
    if let Some((old, tokens)) = before
        && old.application().is_ok_and(|old| reload::is_the_same(&old, &application))
    {
        return Ok(tokens);
    }
    Ok(Arc::new(Tokens::open(&config.state, application, clock.as_fn())?))
}

fn open(
    config: &Config,
    tokens: &Arc<Tokens>,
    clock: &Clock,
    inbox_wake: &Wake,
    drain_wake: &Wake,
) -> Result<House, DaemonError> {
    let (inbox_outbox, outbox) =
        (Outbox::open(&config.state)?, SharedOutbox::new(Outbox::open(&config.state)?));
    let account = Arc::new(Client::new(config.base_url.clone(), Arc::clone(tokens))?);
    let inbox = Inbox::new(inbox::Parts {
        outbox: SharedOutbox::new(inbox_outbox),
        spool: config.spool.clone(),
        routes: config.routes.clone(),
        settings: config.inbox.clone(),
        clock: clock.clone(),
        wake: inbox_wake.clone(),
    });
    let drain = drain::Parts {
        outbox: outbox.clone(),
        account,
        routes: config.routes.clone(),
        limits: config.limits,
        linger: config.linger,
        give_up_after: config.give_up_after,
        on_bad_field: config.inbox.on_bad_field,
        create_lists: config.create_lists,
        clock: clock.clone(),
        wake: drain_wake.clone(),
    };
    Ok(House { outbox, inbox, drain, tokens: Arc::clone(tokens) })
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
    let routes = config.routes.iter().map(|route| route.place(&inbox));
    for folder in ["inbox", "done", "failed"].map(|name| config.spool.join(name)).into_iter().chain(routes) {
        fs::create_dir_all(&folder).map_err(|source| DaemonError::Folder { path: folder.clone(), source })?;
    }
    Ok(())
}

/// A folder that only this user may look into, made where it is missing.
pub fn private_folder(path: &Path) -> Result<(), DaemonError> {
    let made = DirBuilder::new().recursive(true).mode(STATE_MODE).create(path);
    made.map_err(|source| DaemonError::Folder { path: path.to_owned(), source })
}
