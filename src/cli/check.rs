//! `mailchute check`: is everything as it should be? One line a finding.
//!
//! First what this machine knows, then what the account says. Changes nothing and works beside a running daemon.

use std::{fs, path::Path};

use clap::Args;
use jiff::Timestamp;

use super::ask::Asker;
use super::{Common, Exit, Outcome, runtime, say};
use crate::config::{Config, nearest};
use crate::constant_contact::{
    Account, Answer, CUSTOM_FIELDS, LISTS, PRIVILEGES, Page, Reply, SUMMARY, words,
};
use crate::inbox;
use crate::instance;
use crate::oauth;
use crate::outbox::{Directory, Outbox};

/// What the program cannot do without.
const PRIVILEGES_NEEDED: [&str; 3] = ["contacts:write", "contacts:read", "contacts:lists:read"];
/// A clock that is further off than this lets tokens end too late and days begin at the wrong time.
const CLOCK_MAY_BE_OFF_SECONDS: i64 = 60;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Only this machine: configuration, folders, outbox, tokens
    #[arg(long)]
    offline: bool,
}

/// The findings so far, and the first reason not to be content.
#[derive(Default)]
struct Findings {
    exit: Option<Exit>,
}

impl Findings {
    fn wrong(&mut self, exit: Exit, subject: &str, words: impl std::fmt::Display) {
        say(format!("WRONG  {subject:<14} {words}"));
        self.exit.get_or_insert(exit);
    }
}

fn good(subject: &str, words: impl std::fmt::Display) {
    say(format!("ok     {subject:<14} {words}"));
}

fn note(subject: &str, words: impl std::fmt::Display) {
    say(format!("note   {subject:<14} {words}"));
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Outcome {
    let config = common.config()?;
    let mut findings = Findings::default();
    good("configuration", config.file.display());
    match config.application() {
        Ok(application) if application.client_secret.is_some() => good("application", "with a client secret"),
        Ok(_) => good("application", "without a client secret (PKCE or device)"),
        Err(error) => findings.wrong(Exit::Config, "application", error),
    }
    folders(&config, &mut findings);
    noticing(&config);
    outbox(&config, &mut findings);
    let signed_in = sign_in(&config, &mut findings);
    if !arguments.offline && signed_in && findings.exit.is_none_or(|exit| exit != Exit::Config) {
        runtime()?.block_on(account(&config, &mut findings))?;
    }
    Ok(findings.exit.unwrap_or(Exit::Done))
}

fn folders(config: &Config, findings: &mut Findings) {
    if config.spool_is_named && !config.spool.is_dir() {
        let words = format!(
            "there is no folder {0}: make it (`mkdir -p {0}`), mount it, or name another",
            config.spool.display()
        );
        return findings.wrong(Exit::Config, "spool", words);
    }
    let inbox = config.inbox_folder();
    let routes = config.routes.iter().map(|route| route.place(&inbox));
    for folder in [config.spool.join("done"), config.spool.join("failed"), config.state.clone()]
        .into_iter()
        .chain(routes)
    {
        let name = folder.display().to_string();
        match writable(&folder) {
            None => note("folder", format!("{name} is made at the first start")),
            Some(Ok(())) => good("folder", name),
            Some(Err(error)) => {
                let words =
                    format!("{name}: {error}; the user who runs mailchute must be able to write here");
                findings.wrong(Exit::Failed, "folder", words);
            }
        }
    }
}

/// How files will be noticed: by events where they come, by looking where they do not.
fn noticing(config: &Config) {
    for found in inbox::self_test(&config.spool, &config.routes) {
        let folder = found.folder.display();
        match found.delay {
            _ if !found.folder.is_dir() => {}
            Some(delay) if found.events => {
                good("noticing", format!("{folder}: an event came after {} ms", delay.as_millis()));
            }
            _ if found.reason.is_empty() => note("noticing", format!("{folder} is looked at regularly")),
            _ => note("noticing", format!("{folder} is looked at regularly: {}", found.reason)),
        }
    }
}

/// Whether files can be made in a folder; `None` when it is not there yet.
fn writable(folder: &Path) -> Option<std::io::Result<()>> {
    fs::metadata(folder).ok()?;
    Some(tempfile::Builder::new().prefix(".mailchute-check-").tempfile_in(folder).map(drop))
}

fn outbox(config: &Config, findings: &mut Findings) {
    let looked = Outbox::open_to_look(&config.state).and_then(|outbox| match outbox {
        None => Ok(None),
        Some(mut outbox) => Ok(Some((outbox.totals()?, outbox.is_sound()?))),
    });
    match looked {
        Ok(None) => note("outbox", "there is none yet; the first start makes it"),
        Ok(Some((totals, None))) => {
            let counts = totals.counts;
            good(
                "outbox",
                format!(
                    "{} rows, {} wait, {} are held",
                    counts.rows(),
                    counts.queued + counts.sending,
                    counts.held
                ),
            );
        }
        Ok(Some((_, Some(damage)))) => findings.wrong(
            Exit::Failed,
            "outbox",
            format!("is damaged ({damage}): stop the daemon and restore a backup, see the README"),
        ),
        Err(error) => findings.wrong(Exit::Failed, "outbox", error),
    }
    match instance::running(&config.state) {
        Some(running) => good("daemon", format!("running, pid {}", running.pid)),
        None => note("daemon", "not running"),
    }
}

/// Whether there are tokens to ask the account with.
fn sign_in(config: &Config, findings: &mut Findings) -> bool {
    let sign_in = format!("sign in with `{}`", config.sign_in());
    match oauth::summary(&config.state, jiff::Timestamp::now()) {
        Err(error) => findings.wrong(Exit::Failed, "sign-in", error),
        Ok(summary) if summary.state == "authorized" => {
            good("sign-in", summary.account.as_deref().unwrap_or("signed in"));
            return true;
        }
        Ok(summary) if summary.state == "none" => {
            findings.wrong(Exit::LoginNeeded, "sign-in", format!("nobody has signed in yet: {sign_in}"));
        }
        Ok(summary) => {
            let reason = summary.reason.as_deref().unwrap_or("the answer to a token refresh was lost");
            findings.wrong(Exit::LoginNeeded, "sign-in", format!("{reason}: {sign_in}"));
        }
    }
    false
}

async fn account(config: &Config, findings: &mut Findings) -> Result<(), super::Failure> {
    let mut asker = Asker::new(config)?;
    let call = asker.begin(PRIVILEGES).await?;
    let (reply, service_time) = asker.client.privileges().await;
    asker.end(call, &reply)?;
    let Some(privileges) = answer(reply, config, findings, "account") else { return Ok(()) };
    let missing: Vec<_> =
        PRIVILEGES_NEEDED.into_iter().filter(|needed| !privileges.iter().any(|has| has == needed)).collect();
    if missing.is_empty() {
        good("privileges", PRIVILEGES_NEEDED.join(", "));
    } else {
        let words =
            format!("the user who signed in lacks {}: sign in as the account's owner", missing.join(", "));
        findings.wrong(Exit::Failed, "privileges", words);
    }
    clock(service_time, findings);
    let call = asker.begin(SUMMARY).await?;
    let reply = asker.client.account_name().await;
    asker.end(call, &reply)?;
    match reply.answer {
        Answer::Done(name) => good("account", name),
        Answer::Forbidden { .. } => {
            note(
                "account",
                "is not named, because the scope account_read was not granted; nothing else needs it",
            );
        }
        _ => note("account", format!("is not named: {}", words(&reply.trace))),
    }
    let Some(lists) = pages(&mut asker, LISTS, config, findings).await? else { return Ok(()) };
    let Some(fields) = pages(&mut asker, CUSTOM_FIELDS, config, findings).await? else { return Ok(()) };
    let directory = Directory {
        lists: lists.into_iter().collect(),
        custom_fields: fields.into_iter().map(|(id, name)| (name, id)).collect(),
        read_at: Some(Timestamp::now()),
    };
    names(config, &directory, findings);
    Ok(())
}

/// What was asked for, or why not, as a finding.
fn answer<T>(reply: Reply<T>, config: &Config, findings: &mut Findings, subject: &str) -> Option<T> {
    let said = words(&reply.trace);
    match reply.answer {
        Answer::Done(done) => return Some(done),
        Answer::LoginNeeded { .. } => {
            let words =
                format!("the account does not take the token ({said}): sign in with `{}`", config.sign_in());
            findings.wrong(Exit::LoginNeeded, subject, words);
        }
        Answer::Forbidden { .. } => {
            let words = format!(
                "the account forbids the question ({said}): check the application's scopes and that it is active in the portal"
            );
            findings.wrong(Exit::Failed, subject, words);
        }
        _ => match oauth::summary(&config.state, jiff::Timestamp::now()) {
            Ok(summary) if summary.state == "needed" => {
                let reason = summary.reason.unwrap_or_default();
                findings.wrong(
                    Exit::LoginNeeded,
                    subject,
                    format!("{reason}: sign in with `{}`", config.sign_in()),
                );
            }
            _ => findings.wrong(Exit::Unreachable, subject, format!("the account cannot be asked: {said}")),
        },
    }
    None
}

fn clock(service_time: Option<Timestamp>, findings: &mut Findings) {
    let Some(time) = service_time else { return };
    let off = Timestamp::now().duration_since(time).as_secs();
    if off.abs() <= CLOCK_MAY_BE_OFF_SECONDS {
        good("clock", "agrees with the service's");
    } else {
        let (by, way) = (off.abs(), if off > 0 { "ahead" } else { "behind" });
        findings.wrong(
            Exit::Failed,
            "clock",
            format!("this machine's is {by} seconds {way}: set it (for example with timesyncd)"),
        );
    }
}

async fn pages(
    asker: &mut Asker,
    endpoint: &'static str,
    config: &Config,
    findings: &mut Findings,
) -> Result<Option<Vec<(String, String)>>, super::Failure> {
    let (mut items, mut next) = (Vec::new(), None::<String>);
    loop {
        let call = asker.begin(endpoint).await?;
        let reply = if endpoint == LISTS {
            asker.client.lists(next.as_deref()).await
        } else {
            asker.client.custom_fields(next.as_deref()).await
        };
        asker.end(call, &reply)?;
        let Some(Page { items: more, next: after }) = answer(reply, config, findings, endpoint) else {
            return Ok(None);
        };
        items.extend(more);
        if after.is_none() {
            return Ok(Some(items));
        }
        next = after;
    }
}

/// Lists and custom fields that the configuration names.
fn names(config: &Config, directory: &Directory, findings: &mut Findings) {
    for route in &config.routes {
        for list in &route.lists {
            let subject = format!("route {}", route.folder);
            if let Some(id) = directory.list_id(list) {
                let name = directory.lists.get(id).map_or(list.as_str(), String::as_str);
                good(&subject, format!("list `{name}`"));
                continue;
            }
            let known = directory.lists.values().map(String::as_str);
            let hint = match nearest(list, known.clone()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it has: {}", known.collect::<Vec<_>>().join(", ")),
            };
            findings.wrong(Exit::Config, &subject, format!("the account has no list `{list}`; {hint}"));
        }
        for field in route.columns.keys().filter_map(|field| field.strip_prefix("cf:")) {
            let subject = format!("route {}", route.folder);
            if directory.custom_fields.contains_key(field) {
                good(&subject, format!("custom field `{field}`"));
            } else {
                let known = directory.custom_fields.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let has =
                    if known.is_empty() { "it has none".to_owned() } else { format!("it has: {known}") };
                findings.wrong(
                    Exit::Config,
                    &subject,
                    format!("the account has no custom field `{field}`; {has}"),
                );
            }
        }
    }
}
