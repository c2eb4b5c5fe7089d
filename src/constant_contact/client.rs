//! The wire itself: one function sends, one turns bytes into an answer (`wire`).
//!
//! Promises a time-out on every call, a `User-Agent` of our own, and that a paging link never leads elsewhere than the
//! API. Leaves tokens to `oauth`, and when to call to `drain`.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use thiserror::Error;
use url::Url;

use super::wire::{self, Raw};
use super::{
    ACTIVITIES, Account, Activities, Activity, Answer, CONTACTS, CUSTOM_FIELDS, ContactsPage, LISTS, Page,
    Passing, Reply, SignUp, SignedUp, Trace, Which,
};
use crate::contact::StreetAddress;
use crate::oauth::{Tokens, USER_AGENT, Unavailable};

/// A service that has not taken a connection after this long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The gateway in front of the service gives up after 29 seconds itself; after this no answer will come.
const CALL_TIMEOUT: Duration = Duration::from_secs(35);
/// An answer to any of our calls is a few hundred kilobytes at most; more is not for us.
const LARGEST_ANSWER: usize = 8 << 20;
/// The largest page that the specification's prose allows for lists (its schema says 1,000).
const LISTS_PER_PAGE: &str = "500";
/// The largest page of bulk jobs, and of contacts.
const LARGEST_PAGE: &str = "500";
/// Uploading the largest import takes this long on a slow line (400 kbit/s); other calls are small.
const IMPORT_TIMEOUT: Duration = Duration::from_mins(2);
/// The largest page of custom fields; an account has 100 at most.
const FIELDS_PER_PAGE: &str = "100";

/// The system gives no HTTP client, for example because it has no certificates.
#[derive(Debug, Error)]
#[error("cannot prepare HTTPS: {0}")]
pub struct ClientError(#[from] reqwest::Error);

/// The account, over HTTPS.
pub struct Client {
    pub(super) http: reqwest::Client,
    base_url: Url,
    pub(super) tokens: Arc<Tokens>,
}

impl Client {
    /// A client for the API at an address, with the tokens that open it.
    pub fn new(base_url: Url, tokens: Arc<Tokens>) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self { http, base_url, tokens })
    }

    pub(super) fn url(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.base_url.as_str().trim_end_matches('/'))
    }

    /// A paging link has no host but begins with the API's path: it is joined to the origin, never to the base.
    fn page_url(&self, href: &str) -> Option<Url> {
        let url = self.base_url.join(href).ok()?;
        let inside = url.origin() == self.base_url.origin() && url.path().starts_with(self.base_url.path());
        inside.then_some(url)
    }

    async fn call<T>(&self, request: RequestBuilder, read: impl FnOnce(Raw<'_>) -> Reply<T>) -> Reply<T> {
        let token = match self.tokens.access().await {
            Ok(token) => token,
            // `ready` was asked just before; only a token that ended in between comes here.
            Err(unavailable) => return failed(Passing::NotSent, format!("no token: {unavailable}")),
        };
        let request = request.header("Accept", "application/json").bearer_auth(token.secret.expose_secret());
        match receive(request).await {
            Ok(Received { status, retry_after, body, .. }) => {
                let mut reply =
                    read(Raw { status: status.as_u16(), body: &body, generation: token.generation });
                reply.trace.retry_after = retry_after.as_deref().and_then(wire::retry_after);
                reply
            }
            Err((fate, words)) => failed(fate, words),
        }
    }

    async fn page(
        &self,
        endpoint: &str,
        limit: &str,
        things: &str,
        id: &str,
        next: Option<&str>,
    ) -> Reply<Page> {
        let Some(request) = self.get_page(endpoint, &[("limit", limit)], next) else { return astray() };
        self.call(request, |raw| wire::page(raw, things, id)).await
    }

    /// Asks for the first page by a query, or for the next by its link; `None` if that leads away from the API.
    fn get_page(&self, endpoint: &str, query: &[(&str, &str)], next: Option<&str>) -> Option<RequestBuilder> {
        match next {
            None => Some(self.http.get(self.url(endpoint)).query(query)),
            Some(href) => self.page_url(href).map(|url| self.http.request(Method::GET, url)),
        }
    }
}

fn astray<T>() -> Reply<T> {
    lost("the next page's address leads away from the API".to_owned())
}

/// An answer with what is read of its head.
pub(super) struct Received {
    pub(super) status: StatusCode,
    retry_after: Option<String>,
    /// The service's clock, as its header `Date` has it.
    pub(super) date: Option<String>,
    pub(super) body: Vec<u8>,
}

pub(super) async fn receive(request: RequestBuilder) -> Result<Received, (Passing, String)> {
    let mut answer = request.send().await.map_err(|error| {
        let fate = if error.is_connect() { Passing::NotSent } else { Passing::Lost };
        (fate, words(&error))
    })?;
    let status = answer.status();
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (retry_after, date) = (header(reqwest::header::RETRY_AFTER), header(reqwest::header::DATE));
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| (Passing::Lost, words(&error)))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err((Passing::Lost, format!("the answer is larger than {LARGEST_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Received { status, retry_after, date, body })
}

/// The error with its causes and without the address, which `reqwest` would repeat in each.
fn words(error: &reqwest::Error) -> String {
    let kind = match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "no connection",
        _ => "the connection broke",
    };
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.by_ref().last().map_or_else(|| kind.to_owned(), |cause| format!("{kind}: {cause}"))
}

pub(super) fn lost<T>(words: String) -> Reply<T> {
    failed(Passing::Lost, words)
}

pub(super) fn failed<T>(fate: Passing, words: String) -> Reply<T> {
    Reply { answer: Answer::Later(fate), trace: Trace { message: Some(words), ..Trace::default() } }
}

impl Account for Client {
    async fn ready(&self) -> Result<(), Unavailable> {
        self.tokens.access().await.map(|_| ())
    }

    async fn renew(&self, generation: u64) -> Result<(), Unavailable> {
        self.tokens.refused(generation).await.map(|_| ())
    }

    async fn sign_up(&self, sign_up: &SignUp) -> Reply<SignedUp> {
        let body = SignUpRequest::new(sign_up);
        let request = self.http.post(self.url("contacts/sign_up_form")).json(&body);
        self.call(request, wire::sign_up).await
    }

    async fn lists(&self, page: Option<&str>) -> Reply<Page> {
        self.page(LISTS, LISTS_PER_PAGE, "lists", "list_id", page).await
    }

    async fn custom_fields(&self, page: Option<&str>) -> Reply<Page> {
        self.page(CUSTOM_FIELDS, FIELDS_PER_PAGE, "custom_fields", "custom_field_id", page).await
    }

    async fn import(&self, body: Vec<u8>) -> Reply<Activity> {
        let request = self.http.post(self.url("activities/contacts_json_import"));
        let request = request.header("Content-Type", "application/json").body(body).timeout(IMPORT_TIMEOUT);
        self.call(request, wire::import).await
    }

    async fn activity(&self, id: &str) -> Reply<Option<Activity>> {
        let request = self.http.get(self.url(&format!("{ACTIVITIES}/{id}")));
        self.call(request, wire::activity).await
    }

    async fn activities(&self, page: Option<&str>) -> Reply<Activities> {
        let Some(request) = self.get_page(ACTIVITIES, &[("limit", LARGEST_PAGE)], page) else {
            return astray();
        };
        self.call(request, wire::activities).await
    }

    async fn contacts(&self, which: &Which) -> Reply<ContactsPage> {
        let (since, limit) = (|at: &Timestamp| at.to_string(), ("limit", LARGEST_PAGE));
        let request = match which {
            Which::Address(address) => {
                let query = [("status", "all"), ("include", "list_memberships"), ("email", address)];
                self.get_page(CONTACTS, &query, None)
            }
            Which::Unsubscribed => {
                self.get_page(CONTACTS, &[("status", "unsubscribed"), ("include_count", "true"), limit], None)
            }
            Which::OnList { list, since: at } => {
                self.get_page(CONTACTS, &[("lists", list), ("updated_after", &since(at)), limit], None)
            }
            Which::Next(href) => self.get_page(CONTACTS, &[], Some(href)),
        };
        let Some(request) = request else { return astray() };
        self.call(request, wire::contacts).await
    }
}

/// The body of a sign-up: flat and singular, unlike the contact resource.
#[derive(Debug, Serialize)]
struct SignUpRequest<'a> {
    email_address: &'a str,
    list_memberships: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    first_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    company_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    street_address: Option<&'a StreetAddress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    anniversary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    birthday_month: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    birthday_day: Option<u8>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    custom_fields: Vec<CustomField<'a>>,
}

impl<'a> SignUpRequest<'a> {
    fn new(sign_up: &'a SignUp) -> Self {
        let details = sign_up.contact.details();
        let custom_fields = details.custom_fields.iter().filter_map(|(name, value)| {
            Some(CustomField { custom_field_id: sign_up.custom_fields.get(name)?, value })
        });
        Self {
            email_address: sign_up.contact.email().as_str(),
            list_memberships: &sign_up.lists,
            first_name: details.first_name.as_deref(),
            last_name: details.last_name.as_deref(),
            job_title: details.job_title.as_deref(),
            company_name: details.company_name.as_deref(),
            phone_number: details.sign_up_phone(),
            street_address: details.sign_up_address(),
            anniversary: details.anniversary.as_deref(),
            birthday_month: details.birthday.map(|(month, _)| month),
            birthday_day: details.birthday.map(|(_, day)| day),
            custom_fields: custom_fields.collect(),
        }
    }
}

#[derive(Debug, Serialize)]
struct CustomField<'a> {
    custom_field_id: &'a str,
    value: &'a str,
}
