//! The account at the other end of the wire.
//!
//! Owns every fact about the v3 API: its addresses, bodies, limits and errors. Promises that no JSON of the API and no
//! status code leaves this room: an answer is one [`Answer`], and what it said word for word is a [`Trace`] for the
//! history. Leaves pacing, retrying and deciding to `drain`.

mod carry;
mod client;
mod export;
mod import;
mod look;
mod refusal;
mod wire;

use std::{collections::BTreeMap, future::Future, time::Duration};

pub use carry::{CALL_TIMEOUT, Carried, Carry, Carrying, NotCarried};
pub use client::{Client, ClientError};
pub use export::EXPORT;
pub use import::ImportBody;
pub use look::{Held, PRIVILEGES, SUMMARY, words};

use jiff::Timestamp;

use crate::contact::Contact;
use crate::oauth::Unavailable;

/// The endpoint of the sign-up call, as the history names it.
pub const SIGN_UP: &str = "sign_up_form";
/// The endpoint that lists the account's lists, as the history names it.
pub const LISTS: &str = "contact_lists";
/// The endpoint that lists the account's custom fields, as the history names it.
pub const CUSTOM_FIELDS: &str = "contact_custom_fields";

/// The endpoint of the bulk import, as the history names it.
pub const IMPORT: &str = "contacts_json_import";
/// The endpoint that tells how bulk jobs are getting on, as the history names it.
pub const ACTIVITIES: &str = "activities";
/// The endpoint that lists contacts, as the history names it.
pub const CONTACTS: &str = "contacts";

/// What the account answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T> {
    /// It did what was asked.
    Done(T),
    /// It could not now; the same call can be made again.
    Later(Passing),
    /// It refuses what the call says about the contact, and always will.
    Never {
        /// The field that is wrong, by its standard name.
        field: Option<String>,
        /// The service's words.
        reason: String,
    },
    /// It refuses a list that the call names.
    List {
        /// The service's words.
        reason: String,
    },
    /// It refuses the call for a reason that is not the contact's; a person must look.
    Hold {
        /// The service's words.
        reason: String,
    },
    /// It does not take the access token.
    LoginNeeded {
        /// Which token, for the one that renews it.
        generation: u64,
    },
    /// It takes the token and forbids the call: scope, privilege or application.
    Forbidden {
        /// The service's words.
        reason: String,
    },
    /// The day's calls are spent.
    Quota,
}

impl<T> Answer<T> {
    /// Whether the call may have reached the contact. What a limit, a token or a missing connection stops surely did not.
    #[must_use]
    pub fn may_have_reached(&self) -> bool {
        !matches!(
            self,
            Self::LoginNeeded { .. }
                | Self::Forbidden { .. }
                | Self::Quota
                | Self::Later(
                    Passing::Throttled | Passing::UnknownLimit | Passing::QueueFull | Passing::NotSent
                )
        )
    }
}

/// Why a call can be made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passing {
    /// Too many calls in a second.
    Throttled,
    /// A limit that the service does not name.
    UnknownLimit,
    /// Too many unfinished bulk activities.
    QueueFull,
    /// Somebody else changes the same contact just now.
    Conflict,
    /// The service is in trouble.
    Server,
    /// There was no connection: the call never left.
    NotSent,
    /// No answer came, or half of one: it may have been done.
    Lost,
    /// An answer that is none: a page, nothing, or JSON without what was asked for.
    Rubbish,
}

/// An answer word for word, for the history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// The HTTP status, if an answer came.
    pub status: Option<u16>,
    /// The service's `error_key`.
    pub error_key: Option<String>,
    /// The service's or the network's words.
    pub message: Option<String>,
    /// When it may be tried again, should the service ever say so.
    pub retry_after: Option<RetryAfter>,
}

/// The two forms of a Retry-After header (RFC 9110, 10.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// After a time.
    In(Duration),
    /// At a time.
    At(Timestamp),
}

/// A service that wants to be left alone for longer than this is asked again all the same.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

impl Trace {
    /// When to try again: when the service says so, else after a pause.
    #[must_use]
    pub fn retry_at(&self, now: Timestamp, pause: Duration) -> Timestamp {
        let after = |pause: Duration| now.checked_add(pause).unwrap_or(Timestamp::MAX);
        match self.retry_after {
            None => after(pause),
            Some(RetryAfter::In(wait)) => after(wait.min(LONGEST_RETRY_AFTER)),
            Some(RetryAfter::At(at)) => at.clamp(now, after(LONGEST_RETRY_AFTER)),
        }
    }
}

/// An answer with its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    /// What it means.
    pub answer: Answer<T>,
    /// What it said.
    pub trace: Trace,
}

/// A sign-up: the person asked to be on these lists.
#[derive(Debug, Clone)]
pub struct SignUp {
    /// Who.
    pub contact: Contact,
    /// Lists by id, at least one.
    pub lists: Vec<String>,
    /// Ids of the custom fields that the contact uses, by name.
    pub custom_fields: BTreeMap<String, String>,
}

/// What a sign-up did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedUp {
    /// The account's name for the contact.
    pub contact_id: String,
    /// True for a new contact, false for one that was there.
    pub created: bool,
}

/// A page of things that have a name and an id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Id and name of each.
    pub items: Vec<(String, String)>,
    /// Where the next page is.
    pub next: Option<String>,
}

/// How far a bulk job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not at its end. A state that is not known counts as this.
    UnderWay,
    /// At its end. What became of the rows is in the tally, as far as the service says it.
    Completed,
    /// Over without being done: failed, cancelled or timed out.
    Failed,
}

/// What a bulk import counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Rows, with one more for a header in some answers.
    pub items: u64,
    /// Contacts, those included that could not be put on a list.
    pub persons: u64,
    /// Rows that the service refused: beyond repair, or for a person to repair.
    pub refused: u64,
    /// Contacts that had unsubscribed and were not put on a list.
    pub unsubscribed: u64,
}

/// A bulk job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// The account's name for it.
    pub activity_id: String,
    /// How far it is.
    pub progress: Progress,
    /// The service's word for that.
    pub state: String,
    /// When the service took it.
    pub created_at: Option<Timestamp>,
    /// What it counted.
    pub tally: Tally,
    /// It is an export and not an import.
    pub is_export: bool,
    /// The file that an export made, by its address.
    pub file: Option<String>,
}

/// A page of bulk jobs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Activities {
    /// The jobs.
    pub items: Vec<Activity>,
    /// Where the next page is.
    pub next: Option<String>,
}

/// Which contacts are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The one of an address, whatever became of it.
    Address(String),
    /// All who unsubscribed.
    Unsubscribed,
    /// Those who unsubscribed since a time.
    UnsubscribedSince(Timestamp),
    /// Deleted contacts that changed since a time, for example by being deleted.
    DeletedSince(Timestamp),
    /// All on a list.
    Members(String),
    /// Those on a list that changed since a time.
    OnList {
        /// The list's id.
        list: String,
        /// Since when.
        since: Timestamp,
    },
    /// The next page of an earlier question, by its address.
    Next(String),
}

/// A contact as the account shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    /// The address.
    pub address: String,
    /// The person left, or the account took it off all lists.
    pub unsubscribed: bool,
    /// When, if the account says it.
    pub unsubscribed_at: Option<Timestamp>,
    /// A person at the account deleted it.
    pub deleted: bool,
    /// When, if the account says it. A day without a time counts to its end.
    pub deleted_at: Option<Timestamp>,
    /// When it last changed there.
    pub updated_at: Option<Timestamp>,
    /// The ids of its lists, if they were asked for.
    pub lists: Vec<String>,
}

/// A page of contacts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContactsPage {
    /// The contacts.
    pub items: Vec<Shown>,
    /// Where the next page is.
    pub next: Option<String>,
    /// How many there are on all pages, if the service said.
    pub count: Option<u64>,
}

/// The account as the drain sees it; a test can put another in its place.
pub trait Account: Send + Sync + 'static {
    /// Makes sure that there is a token to call with, so that no call is counted that could not be made.
    fn ready(&self) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Renews the token that was refused, unless somebody did already.
    fn renew(&self, generation: u64) -> impl Future<Output = Result<(), Unavailable>> + Send;

    /// Creates or updates a contact who asked for it.
    fn sign_up(&self, sign_up: &SignUp) -> impl Future<Output = Reply<SignedUp>> + Send;

    /// A page of the account's lists.
    fn lists(&self, page: Option<&str>) -> impl Future<Output = Reply<Page>> + Send;

    /// Makes a list, and says its id.
    fn create_list(&self, name: &str) -> impl Future<Output = Reply<String>> + Send;

    /// A page of the account's custom fields.
    fn custom_fields(&self, page: Option<&str>) -> impl Future<Output = Reply<Page>> + Send;

    /// Hands over a bulk import.
    fn import(&self, body: Vec<u8>) -> impl Future<Output = Reply<Activity>> + Send;

    /// How a bulk job is getting on; `None` when the account knows of no such job.
    fn activity(&self, id: &str) -> impl Future<Output = Reply<Option<Activity>>> + Send;

    /// A page of the account's bulk jobs of the last ten days.
    fn activities(&self, page: Option<&str>) -> impl Future<Output = Reply<Activities>> + Send;

    /// A page of contacts.
    fn contacts(&self, which: &Which) -> impl Future<Output = Reply<ContactsPage>> + Send;

    /// Asks for the addresses on a list as a file, which a bulk job makes.
    fn export(&self, list: &str) -> impl Future<Output = Reply<Activity>> + Send;

    /// Reads the file of an export and tells each address in it, also when it then breaks off.
    fn exported(
        &self,
        file: &str,
        tell: &mut (dyn FnMut(&str) + Send),
    ) -> impl Future<Output = Reply<()>> + Send;
}
