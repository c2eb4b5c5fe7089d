//! The account at the other end of the wire.
//!
//! Owns every fact about the v3 API: its addresses, bodies, limits and errors. Promises that no JSON of the API and no
//! status code leaves this room: an answer is one [`Answer`], and what it said word for word is a [`Trace`] for the
//! history. Leaves pacing, retrying and deciding to `drain`.

mod client;
mod look;
mod wire;

use std::{collections::BTreeMap, future::Future};

pub use client::{Client, ClientError};
pub use look::{CONTACTS, Held, PRIVILEGES, SUMMARY, words};

use crate::contact::Contact;
use crate::oauth::Unavailable;

/// The endpoint of the sign-up call, as the history names it.
pub const SIGN_UP: &str = "sign_up_form";
/// The endpoint that lists the account's lists, as the history names it.
pub const LISTS: &str = "contact_lists";
/// The endpoint that lists the account's custom fields, as the history names it.
pub const CUSTOM_FIELDS: &str = "contact_custom_fields";

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

    /// A page of the account's custom fields.
    fn custom_fields(&self, page: Option<&str>) -> impl Future<Output = Reply<Page>> + Send;
}
