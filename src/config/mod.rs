//! What `mailchute.toml` means on this machine.
//!
//! Owns the way from the file to values that need no more thought: `RawConfig` is exactly the TOML, [`Config`] has every
//! path resolved, every span parsed and no defaults left to apply. Promises that an error names file, line, key and what
//! would be right, and that a secret is read only by who asks for it ([`Config::application`]). Leaves the folders
//! themselves to those that use them: nothing is created here.

mod place;
pub mod pointer;
mod raw;
mod values;

use std::{
    collections::BTreeMap,
    env, fs,
    net::SocketAddr,
    num::NonZeroU32,
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use directories::ProjectDirs;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use toml::Spanned;
use url::Url;

pub use place::ConfigError;
use place::Source;
pub(crate) use place::nearest;
use raw::{RawApplication, RawConfig, RawMetrics, RawRoute};

use crate::oauth::{Application, Expected};

const BASE_URL: &str = "https://api.cc.email/v3";
const AUTHORIZE_URL: &str = "https://authz.constantcontact.com/oauth2/default/v1/authorize";
const TOKEN_URL: &str = "https://authz.constantcontact.com/oauth2/default/v1/token";
const DEVICE_URL: &str = "https://authz.constantcontact.com/oauth2/default/v1/device/authorize";
/// Where a system-wide installation keeps its configuration.
const SYSTEM_CONFIG: &str = "/etc/mailchute/mailchute.toml";
/// Where systemd keeps the state folders of services.
const SERVICES: &str = "/var/lib";
/// Is there while systemd is the init.
const SYSTEMD_RUNS: &str = "/run/systemd/system";
/// Bits of a file's mode that let somebody else than the owner look in.
const OTHERS_MAY_LOOK: u32 = 0o077;

/// Who gave the permission to be mailed, and so which way a row may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// The person asked: one sign-up call each.
    Explicit,
    /// There is a business relationship: bulk import.
    Implicit,
}

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

/// A sub-folder of the inbox and where its people go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `.` for the inbox itself, else a path below it.
    pub folder: String,
    /// Lists by name or by id, as configured.
    pub lists: Vec<String>,
    /// Which way its rows may go.
    pub consent: Consent,
    /// Field name to column name, only where the guess is wrong.
    pub columns: BTreeMap<String, String>,
}

impl Route {
    /// Its folder below an inbox.
    #[must_use]
    pub fn place(&self, inbox: &Path) -> PathBuf {
        if self.folder == "." { inbox.to_owned() } else { inbox.join(&self.folder) }
    }

    /// The set of lists as one string: equal sets are equal whatever their order.
    #[must_use]
    pub fn lists_key(&self) -> String {
        let mut lists: Vec<&str> = self.lists.iter().map(|list| list.trim()).collect();
        lists.sort_unstable();
        lists.dedup();
        lists.join("\n")
    }
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

/// The application without its secret.
#[derive(Debug, Clone)]
struct PublicApplication {
    client_id: String,
    client_secret_file: Option<PathBuf>,
    redirect_uri: String,
    scopes: Vec<String>,
    authorize_url: Url,
    token_url: Url,
    device_url: Url,
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
        let file = find(given)?;
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
        let application = application(&source, &raw.application, api)?;
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
            routes: routes(&source, &raw.route)?,
            base_url,
            application,
        })
    }

    /// The application with its secret, read now: `$CREDENTIALS_DIRECTORY/client_secret`, else the configured file.
    pub fn application(&self) -> Result<Application, ConfigError> {
        let public = self.application.clone();
        Ok(Application {
            client_id: public.client_id,
            client_secret: self.secret(public.client_secret_file.as_deref())?,
            redirect_uri: public.redirect_uri,
            scopes: public.scopes,
            authorize_url: public.authorize_url,
            token_url: public.token_url,
            device_url: public.device_url,
            base_url: self.base_url.clone(),
            sign_in: self.sign_in(),
        })
    }

    /// The command line that signs in for this configuration; for the packaged service, as its user and with its secret.
    #[must_use]
    pub fn sign_in(&self) -> String {
        let file = self.file.display();
        // The folder that exists where systemd runs (sd_booted(3)): in a container the same paths are no unit's.
        let booted = Path::new(SYSTEMD_RUNS).is_dir();
        match service(&self.state).filter(|_| booted) {
            None => format!("mailchute-auth --config {file}"),
            Some(name) => format!(
                "sudo systemd-run --pty --collect --uid=mailchute --property=LoadCredential=client_secret:{name}.client_secret \
                 mailchute-auth --no-open --config {file}"
            ),
        }
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

    fn secret(&self, configured: Option<&Path>) -> Result<Option<SecretString>, ConfigError> {
        let credential =
            env::var_os("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join("client_secret"));
        if let Some(path) = credential.filter(|path| path.exists()) {
            return self.read_secret(&path).map(Some);
        }
        let Some(path) = configured else { return Ok(None) };
        let mode = fs::metadata(path).map(|meta| meta.permissions().mode()).unwrap_or_default();
        if mode & OTHERS_MAY_LOOK != 0 {
            let path = path.display();
            return Err(self.secret_error(format!("other users can read {path}: `chmod 600 {path}`")));
        }
        self.read_secret(path).map(Some)
    }

    fn read_secret(&self, path: &Path) -> Result<SecretString, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|error| self.secret_error(format!("{} cannot be read: {error}", path.display())))?;
        let text = SecretString::from(text);
        let secret = text.expose_secret().trim();
        if secret.is_empty() {
            return Err(
                self.secret_error(format!("{} is empty: put the client secret into it", path.display()))
            );
        }
        Ok(SecretString::from(secret))
    }

    fn secret_error(&self, problem: String) -> ConfigError {
        ConfigError {
            file: self.file.clone(),
            line: None,
            key: Some("application.client_secret_file".to_owned()),
            problem,
        }
    }
}

/// Where `init` writes when no file is named: the user's own configuration.
#[must_use]
pub fn user_file() -> Option<PathBuf> {
    project().map(|dirs| dirs.config_dir().join("mailchute.toml"))
}

/// The name of the packaged service whose state folder this is: `mailchute`, or `mailchute-NAME` of an instance.
fn service(state: &Path) -> Option<&str> {
    let name = state.strip_prefix(SERVICES).ok()?.to_str()?;
    let is_ours = name == "mailchute" || (name.starts_with("mailchute-") && !name.contains('/'));
    is_ours.then_some(name)
}

fn project() -> Option<ProjectDirs> {
    ProjectDirs::from("", "", "mailchute")
}

fn find(given: Option<&Path>) -> Result<PathBuf, ConfigError> {
    if let Some(file) = given {
        return Ok(file.to_owned());
    }
    if let Some(file) = env::var_os("MAILCHUTE_CONFIG") {
        return Ok(PathBuf::from(file));
    }
    let user = user_file();
    let candidates = user.iter().cloned().chain([PathBuf::from(SYSTEM_CONFIG)]);
    candidates.into_iter().find(|file| file.exists()).ok_or_else(|| ConfigError {
        file: user.unwrap_or_else(|| PathBuf::from(SYSTEM_CONFIG)),
        line: None,
        key: None,
        problem: format!(
            "there is no configuration here, nor at {SYSTEM_CONFIG}: `mailchute init` writes one"
        ),
    })
}

/// Where relative and missing folder names lead.
struct Folders {
    base: PathBuf,
    file: PathBuf,
    /// systemd's folder first, then the user's data folder.
    data: Option<PathBuf>,
}

impl Folders {
    fn new(file: &Path) -> Self {
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let base = whole.parent().map(Path::to_owned).unwrap_or_default();
        // systemd separates several StateDirectory= entries by colons; the first one is ours.
        let service =
            env::var("STATE_DIRECTORY").ok().and_then(|all| all.split(':').next().map(PathBuf::from));
        let data = service.or_else(|| project().map(|dirs| dirs.data_dir().to_owned()));
        Self { base, file: file.to_owned(), data }
    }

    fn resolve(&self, named: Option<&Path>, below_data: &str) -> Result<PathBuf, ConfigError> {
        match (named, &self.data) {
            (Some(path), _) => Ok(self.base.join(path)),
            (None, Some(data)) => {
                Ok(if below_data.is_empty() { data.clone() } else { data.join(below_data) })
            }
            (None, None) => Err(ConfigError {
                file: self.file.clone(),
                line: None,
                key: Some(if below_data.is_empty() { "state" } else { below_data }.to_owned()),
                problem: "this user has no home folder to take a default from: name the folder".to_owned(),
            }),
        }
    }
}

fn address(configured: Option<&values::Address>, default: &str) -> Url {
    configured.map_or_else(
        || {
            Url::parse(default)
                .unwrap_or_else(|error| unreachable!("the default {default} is an address: {error}"))
        },
        |address| address.0.clone(),
    )
}

fn application(
    source: &Source<'_>,
    raw: &Spanned<RawApplication>,
    api: &raw::RawApi,
) -> Result<PublicApplication, ConfigError> {
    let inner = raw.get_ref();
    let id = &inner.client_id;
    if id.get_ref().trim().is_empty() || id.get_ref().contains(['…', '<', ' ']) {
        return Err(source.error_at(
            id.span().start,
            "is not filled in: copy the API key (client id) from the developer portal's application page",
        ));
    }
    let redirect = &inner.redirect_uri;
    if let Err(error) = Url::parse(redirect.get_ref()) {
        let problem =
            format!("is not an address ({error}): write the string that is registered in the portal");
        return Err(source.error_at(redirect.span().start, problem));
    }
    let folders = Folders::new(source.file);
    Ok(PublicApplication {
        client_id: id.get_ref().trim().to_owned(),
        client_secret_file: inner.client_secret_file.as_ref().map(|path| folders.base.join(path)),
        // Kept to the letter: the service compares strings, and a parsed address may be spelled differently.
        redirect_uri: redirect.get_ref().clone(),
        scopes: inner.scopes.clone(),
        authorize_url: address(api.authorize_url.as_ref(), AUTHORIZE_URL),
        token_url: address(api.token_url.as_ref(), TOKEN_URL),
        device_url: address(api.device_url.as_ref(), DEVICE_URL),
    })
}

fn routes(source: &Source<'_>, raw: &[Spanned<RawRoute>]) -> Result<Vec<Route>, ConfigError> {
    if raw.is_empty() {
        let mut error =
            source.error_at(source.text.len(), "there is none, so no folder leads to a list: add one");
        error.key = Some("[[route]]".to_owned());
        return Err(error);
    }
    let mut routes: Vec<Route> = Vec::with_capacity(raw.len());
    for spanned in raw {
        let route = route(source, spanned)?;
        if routes.iter().any(|other| other.folder == route.folder) {
            let at = spanned.get_ref().folder.span().start;
            return Err(
                source.error_at(at, format!("`{}` has a route already: a folder has one", route.folder))
            );
        }
        routes.push(route);
    }
    Ok(routes)
}

fn route(source: &Source<'_>, spanned: &Spanned<RawRoute>) -> Result<Route, ConfigError> {
    let raw = spanned.get_ref();
    let Some(consent) = &raw.consent else {
        let mut error = source.error_at(
            spanned.span().start,
            "is missing. Say \"explicit\" when each person asked to be on the list (a sign-up form), or \"implicit\" when \
             they are customers or members whom you may mail (bulk import); it decides whether people who left can be \
             signed up again, so there is no default",
        );
        error.key = Some("route.consent".to_owned());
        return Err(error);
    };
    if raw.lists.iter().all(|list| list.trim().is_empty()) {
        let mut error =
            source.error_at(spanned.span().start, "names no list: the service needs at least one");
        error.key = Some("route.lists".to_owned());
        return Err(error);
    }
    Ok(Route {
        folder: folder(source, &raw.folder)?,
        lists: raw.lists.clone(),
        consent: *consent.get_ref(),
        columns: columns(source, &raw.columns)?,
    })
}

/// Names of columns as they are, once those that are pointers are known to be good ones.
fn columns(
    source: &Source<'_>,
    raw: &BTreeMap<String, Spanned<String>>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let column = |(field, column): (&String, &Spanned<String>)| {
        if pointer::is_pointer(column.get_ref()) {
            pointer::parse(column.get_ref())
                .map_err(|problem| source.error_at(column.span().start, problem))?;
        }
        Ok((field.clone(), column.get_ref().clone()))
    };
    raw.iter().map(column).collect()
}

/// A route's folder is the inbox (`.`) or a plain path below it.
fn folder(source: &Source<'_>, raw: &Spanned<String>) -> Result<String, ConfigError> {
    let text = raw.get_ref().trim_end_matches('/');
    let path = Path::new(text);
    let plain = path.components().all(|part| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with(['.', '~']),
        _ => false,
    });
    match text {
        "." | "" => Ok(".".to_owned()),
        _ if plain => Ok(path.components().collect::<PathBuf>().to_string_lossy().into_owned()),
        _ => Err(source.error_at(
            raw.span().start,
            format!("`{text}` is not a folder below the inbox: write \".\" or a name like \"members\""),
        )),
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
