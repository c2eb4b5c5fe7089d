//! Exactly the TOML: one struct a table, nothing resolved, unknown keys refused.
//!
//! Owns the names of the keys and the defaults that are the same on every machine. What depends on the machine (folders,
//! the environment) is resolved in the parent module.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use serde::Deserialize;
use toml::Spanned;

use super::values::{Address, Size, Span};
use super::{Consent, OnBadField, Watch};

/// The service's own limit is 4 requests a second for an application key.
const REQUESTS_PER_SECOND: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
/// The service's own limit is 10,000 requests a UTC day for an application key.
const REQUESTS_PER_DAY: u32 = 10_000;
/// Long enough for a slow writer between two blocks, short enough that a person who watches does not wonder.
const SETTLE: Duration = Duration::from_secs(2);
/// Events are hints that can be missed; a minute is the longest that a missed one goes unnoticed.
const RESCAN: Duration = Duration::from_mins(1);
/// Above any export that people have, below what would fill a small server's disk unnoticed.
const MAX_FILE_SIZE: u64 = 1 << 30;
/// A hundred times the service's price list for one account; more is a mistake somewhere.
const MAX_ROWS: u64 = 5_000_000;
/// A quarter: long enough to answer "did she get on the list?" after a campaign.
const KEEP_DONE: Duration = Duration::from_hours(2160);
/// A form's burst of sign-ups fits into it, and nobody waits for a bulk import to begin.
const LINGER: Duration = Duration::from_secs(30);
/// A long week-end without anyone at the keyboard; the mail world's usual queue life.
const GIVE_UP_AFTER: Duration = Duration::from_hours(120);
/// The life of an idle authorization; older history explains nothing that can still be mended.
const KEEP_HISTORY: Duration = Duration::from_hours(4320);
/// A free port in the dynamic range, registered in the portal once.
const REDIRECT_URI: &str = "http://localhost:28910/callback";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    pub(super) spool: Option<PathBuf>,
    pub(super) state: Option<PathBuf>,
    pub(super) application: Spanned<RawApplication>,
    #[serde(default)]
    pub(super) api: RawApi,
    #[serde(default)]
    pub(super) inbox: RawInbox,
    #[serde(default)]
    pub(super) delivery: RawDelivery,
    pub(super) metrics: Option<RawMetrics>,
    #[serde(default)]
    pub(super) route: Vec<Spanned<RawRoute>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawApplication {
    pub(super) client_id: Spanned<String>,
    pub(super) client_secret_file: Option<PathBuf>,
    #[serde(default = "redirect_uri")]
    pub(super) redirect_uri: Spanned<String>,
    #[serde(default = "scopes")]
    pub(super) scopes: Vec<String>,
}

fn redirect_uri() -> Spanned<String> {
    Spanned::new(0..0, REDIRECT_URI.to_owned())
}

fn scopes() -> Vec<String> {
    ["contact_data", "account_read", "offline_access"].map(String::from).to_vec()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawApi {
    pub(super) base_url: Option<Address>,
    pub(super) authorize_url: Option<Address>,
    pub(super) token_url: Option<Address>,
    pub(super) device_url: Option<Address>,
    pub(super) requests_per_second: NonZeroU32,
    pub(super) requests_per_day: u32,
}

impl Default for RawApi {
    fn default() -> Self {
        Self {
            base_url: None,
            authorize_url: None,
            token_url: None,
            device_url: None,
            requests_per_second: REQUESTS_PER_SECOND,
            requests_per_day: REQUESTS_PER_DAY,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawInbox {
    pub(super) settle: Span,
    pub(super) rescan: Span,
    pub(super) watch: Watch,
    pub(super) max_file_size: Size,
    pub(super) max_rows: u64,
    pub(super) encoding: Spanned<String>,
    pub(super) on_bad_field: OnBadField,
    pub(super) keep_done: Span,
}

impl Default for RawInbox {
    fn default() -> Self {
        Self {
            settle: Span(SETTLE),
            rescan: Span(RESCAN),
            watch: Watch::Auto,
            max_file_size: Size(MAX_FILE_SIZE),
            max_rows: MAX_ROWS,
            encoding: Spanned::new(0..0, "auto".to_owned()),
            on_bad_field: OnBadField::Reject,
            keep_done: Span(KEEP_DONE),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDelivery {
    pub(super) linger: Span,
    pub(super) give_up_after: Span,
    pub(super) create_lists: bool,
    pub(super) keep_history: Span,
    pub(super) on_attention: Vec<String>,
    pub(super) heartbeat_url: Option<Address>,
}

impl Default for RawDelivery {
    fn default() -> Self {
        Self {
            linger: Span(LINGER),
            give_up_after: Span(GIVE_UP_AFTER),
            create_lists: false,
            keep_history: Span(KEEP_HISTORY),
            on_attention: Vec::new(),
            heartbeat_url: None,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawMetrics {
    pub(super) listen: Spanned<SocketAddr>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRoute {
    pub(super) folder: Spanned<String>,
    pub(super) lists: Vec<String>,
    pub(super) consent: Option<Spanned<Consent>>,
    #[serde(default)]
    pub(super) columns: BTreeMap<String, Spanned<String>>,
}
