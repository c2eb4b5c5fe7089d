//! What `mailchute.toml` means on this machine.
//!
//! Owns the way from the file to values that need no more thought: `RawConfig` is exactly the TOML, [`Config`] has every
//! path resolved, every span parsed and no defaults left to apply. Promises that an error names file, line, key and what
//! would be right, and that a secret is read only by who asks for it ([`Config::application`]). Leaves the folders
//! themselves to those that use them: nothing is created here.

mod application;
mod folders;
mod place;
pub mod pointer;
mod raw;
mod route;
mod values;

use std::{
    fs,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;
use toml::Spanned;
use url::Url;

use application::{PublicApplication, address};
use folders::Folders;
pub use folders::user_file;
pub use place::ConfigError;
use place::Source;
pub(crate) use place::nearest;
use raw::{RawConfig, RawMetrics};
pub use route::{Consent, Route};

use crate::oauth::Expected;

const BASE_URL: &str = "https://api.cc.email/v3";

/// How a folder is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Watch {
    /// Events where they come, polling where they do not.
    Auto,
    /// Events, with the rescan behind them.
    Events,
    /// The rescan alone.
    Polling,
}

/// What becomes of a row with a field, other than the address, that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadField {
    /// The row is rejected.
    Reject,
    /// The field is left out.
    Drop,
}

/// How the inbox is watched and read.
#[derive(Debug, Clone)]
pub struct InboxSettings {
    /// An in-place writer's file counts as complete after this long unchanged.
    pub settle: Duration,
    /// How often to look besides events.
    pub rescan: Duration,
    /// Events or polling.
    pub watch: Watch,
    /// Files above this fail.
    pub max_file_size: u64,
    /// Files with more rows fail.
    pub max_rows: u64,
    /// What text that is neither marked nor UTF-8 is written in, if that is known.
    pub encoding: Option<&'static encoding_rs::Encoding>,
    /// What becomes of a row with a field that cannot be used.
    pub on_bad_field: OnBadField,
    /// Archived files are removed after this.
    pub keep_done: Duration,
}

/// One call in so many of a day's is left for rows that just come in, for the account's lists and for asking about tokens.
const RESERVE: u32 = 20;

/// The limits of the application key, or this program's share of them.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls in any second.
    pub per_second: NonZeroU32,
    /// Calls in a UTC day.
    pub per_day: u32,
}

/// Everything the daemon needs to know, resolved.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// The folder that holds inbox, done and failed.
    pub spool: PathBuf,
    /// True when the file names the spool: then a missing one is a mistake and is not made anew.
    pub spool_is_named: bool,
    /// The folder that holds the outbox and the tokens.
    pub state: PathBuf,
    /// How the inbox is watched and read.
    pub inbox: InboxSettings,
    /// Calls a second and a day.
    pub limits: Limits,
    /// How long rows with implicit consent wait for company before they leave as one import.
    pub linger: Duration,
    /// How long a row is tried before it is held for a person.
    pub give_up_after: Duration,
    /// Whether a list that a route names and the account lacks is made there.
    pub create_lists: bool,
    /// Settled entries leave the outbox after this.
    pub keep_history: Duration,
    /// The program, with its arguments, that tells a person; empty when there is none.
    pub on_attention: Vec<String>,
    /// Who wants a sign of life.
    pub heartbeat_url: Option<Url>,
    /// Where the status page and the metrics are; a loopback address.
    pub listen: Option<SocketAddr>,
    /// Folders and their lists.
    pub routes: Vec<Route>,
    /// The API's address, `…/v3`.
    pub base_url: Url,
    application: PublicApplication,
}

impl Limits {
    /// What the backlog, with explicit or implicit consent, may use of a day's calls.
    #[must_use]
    pub fn backlog_per_day(self) -> u32 {
        self.per_day - self.per_day / RESERVE
    }
}

impl Config {
    /// Reads the configuration: the given file, else `$MAILCHUTE_CONFIG`, the user's, the system's.
    pub fn load(given: Option<&Path>) -> Result<Self, ConfigError> {
        let file = folders::find(given)?;
        let text = fs::read_to_string(&file).map_err(|error| ConfigError {
            file: file.clone(),
            line: None,
            key: None,
            problem: format!("cannot be read: {error}"),
        })?;
        Self::parse(&file, &text)
    }

    /// Makes a configuration of a file's text; relative paths in it start at the file's folder.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let source = Source { file, text };
        let raw: RawConfig = toml::from_str(text).map_err(|error| source.explain(&error))?;
        let api = &raw.api;
        let base_url = address(api.base_url.as_ref(), BASE_URL);
        let application = application::read(&source, &raw.application, api)?;
        let folders = Folders::new(file);
        Ok(Self {
            spool: folders.resolve(raw.spool.as_deref(), "spool")?,
            spool_is_named: raw.spool.is_some(),
            state: folders.resolve(raw.state.as_deref(), "")?,
            file: file.to_owned(),
            inbox: InboxSettings {
                settle: raw.inbox.settle.0,
                rescan: raw.inbox.rescan.0,
                watch: raw.inbox.watch,
                max_file_size: raw.inbox.max_file_size.0,
                max_rows: raw.inbox.max_rows,
                encoding: encoding(&source, &raw.inbox.encoding)?,
                on_bad_field: raw.inbox.on_bad_field,
                keep_done: raw.inbox.keep_done.0,
            },
            limits: Limits { per_second: api.requests_per_second, per_day: api.requests_per_day },
            linger: raw.delivery.linger.0,
            give_up_after: raw.delivery.give_up_after.0,
            create_lists: raw.delivery.create_lists,
            keep_history: raw.delivery.keep_history.0,
            on_attention: raw.delivery.on_attention.clone(),
            heartbeat_url: raw.delivery.heartbeat_url.as_ref().map(|address| address.0.clone()),
            listen: raw.metrics.as_ref().map(|metrics| listen(&source, metrics)).transpose()?,
            routes: route::read(&source, &raw.route)?,
            base_url,
            application,
        })
    }

    /// What the routes count on in the account.
    #[must_use]
    pub fn expected(&self) -> Expected {
        let fields = self.routes.iter().flat_map(|route| route.columns.keys());
        Expected {
            lists: self.routes.iter().flat_map(|route| route.lists.iter().cloned()).collect(),
            custom_fields: fields.filter_map(|field| field.strip_prefix("cf:")).map(str::to_owned).collect(),
            other_account: false,
        }
    }

    /// The route of a folder, `.` being the inbox itself.
    #[must_use]
    pub fn route(&self, folder: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.folder == folder)
    }

    /// The folder that people and programs drop files into.
    #[must_use]
    pub fn inbox_folder(&self) -> PathBuf {
        self.spool.join("inbox")
    }
}

/// The status page shows what is nobody else's business, and has no password.
fn listen(source: &Source<'_>, raw: &RawMetrics) -> Result<SocketAddr, ConfigError> {
    let address = *raw.listen.get_ref();
    if address.ip().is_loopback() {
        return Ok(address);
    }
    let problem = format!(
        "{address} could be reached from elsewhere: write a loopback address like \"127.0.0.1:9464\", and let a proxy \
         that asks for a password stand before it if others are to look"
    );
    Err(source.error_at(raw.listen.span().start, problem))
}

/// The encoding that a label of the Encoding Standard names.
fn encoding(
    source: &Source<'_>,
    label: &Spanned<String>,
) -> Result<Option<&'static encoding_rs::Encoding>, ConfigError> {
    if label.get_ref() == "auto" {
        return Ok(None);
    }
    let known = encoding_rs::Encoding::for_label(label.get_ref().as_bytes());
    known.map(Some).ok_or_else(|| {
        let problem = format!(
            "`{}` is no encoding: write \"auto\", \"windows-1252\", \"iso-8859-2\", \"utf-16le\" or the like",
            label.get_ref()
        );
        source.error_at(label.span().start, problem)
    })
}

#[cfg(test)]
mod tests;
