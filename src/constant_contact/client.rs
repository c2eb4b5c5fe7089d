//! The account as one calls it: each question has its request here; one function sends (`carry`), one turns bytes into
//! an answer (`wire`).
//!
//! Promises that every request carries a token, and that a paging link never leads elsewhere than the API. Leaves tokens
//! to `oauth`, and when to call to `drain`.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use reqwest::{Method, RequestBuilder};
use secrecy::ExposeSecret;
use serde::Serialize;
use thiserror::Error;
use url::Url;

use super::carry::{self, Carried, Carry, NotCarried};
use super::export::{Addresses, ExportRequest};
use super::wire::{self, Raw};
use super::{
    ACTIVITIES, Account, Activities, Activity, Answer, CONTACTS, CUSTOM_FIELDS, ContactsPage, LISTS, Page,
    Passing, Reply, SignUp, SignedUp, Trace, Which,
};
use crate::contact::StreetAddress;
use crate::oauth::{AccessToken, Tokens, Unavailable};

/// The largest page that the specification's prose allows for lists (its schema says 1,000).
const LISTS_PER_PAGE: &str = "500";
/// The largest page of bulk jobs, and of contacts.
const LARGEST_PAGE: &str = "500";
/// Uploading the largest import takes this long on a slow line (400 kbit/s); other calls are small.
const IMPORT_TIMEOUT: Duration = Duration::from_mins(2);
/// The addresses of a million contacts (30 MB) arrive within this on a slow line (400 kbit/s).
const EXPORT_TIMEOUT: Duration = Duration::from_mins(10);
/// The largest page of custom fields; an account has 100 at most.
const FIELDS_PER_PAGE: &str = "100";

/// The system gives no HTTP client, for example because it has no certificates.
#[derive(Debug, Error)]
#[error("cannot prepare HTTPS: {0}")]
pub struct ClientError(#[from] reqwest::Error);

/// The account, over HTTPS.
pub struct Client {
    /// Makes requests; they leave by the carrier.
    pub(super) http: reqwest::Client,
    carrier: Box<dyn Carry>,
    base_url: Url,
    pub(super) tokens: Arc<Tokens>,
}

impl Client {
    /// A client for the API at an address, with the tokens that open it.
    pub fn new(base_url: Url, tokens: Arc<Tokens>) -> Result<Self, ClientError> {
        let http = carry::https()?;
        Ok(Self { carrier: Box::new(http.clone()), http, base_url, tokens })
    }

    /// The same client with another way to the service.
    #[must_use]
    pub fn carried_by(self, carrier: impl Carry) -> Self {
        Self { carrier: Box::new(carrier), ..self }
    }

    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Carried, NotCarried> {
        self.carrier.carry(built(request)?).await
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
        match self.token().await {
            Ok(token) => {
                let request = request.header("Accept", "application/json");
                let carried = self.send(request.bearer_auth(token.secret.expose_secret())).await;
                answered(carried, token.generation, read)
            }
            Err(words) => failed(Passing::NotSent, words),
        }
    }

    async fn token(&self) -> Result<AccessToken, String> {
        // `ready` was asked just before; only a token that ended in between comes here.
        self.tokens.access().await.map_err(|unavailable| format!("no token: {unavailable}"))
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

fn built(request: RequestBuilder) -> Result<reqwest::Request, NotCarried> {
    request.build().map_err(|error| (Passing::NotSent, carry::words(&error)))
}

fn answered<T>(
    carried: Result<Carried, NotCarried>,
    generation: u64,
    read: impl FnOnce(Raw<'_>) -> Reply<T>,
) -> Reply<T> {
    match carried {
        Ok(Carried { status, retry_after, body, .. }) => {
            let mut reply = read(Raw { status: status.as_u16(), body: &body, generation });
            reply.trace.retry_after = retry_after.as_deref().and_then(wire::retry_after);
            reply
        }
        Err((fate, words)) => failed(fate, words),
    }
}

fn astray<T>() -> Reply<T> {
    lost("the next page's address leads away from the API".to_owned())
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

    async fn create_list(&self, name: &str) -> Reply<String> {
        let request = self.http.post(self.url(LISTS)).json(&NewList { name });
        self.call(request, wire::list).await
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
            Which::UnsubscribedSince(at) => {
                let query = [("status", "unsubscribed"), ("optout_after", &since(at)), limit];
                self.get_page(CONTACTS, &query, None)
            }
            Which::DeletedSince(at) => {
                let query = [("status", "deleted"), ("updated_after", &since(at)), limit];
                self.get_page(CONTACTS, &query, None)
            }
            Which::Members(list) => self.get_page(CONTACTS, &[("lists", list), limit], None),
            Which::OnList { list, since: at } => {
                self.get_page(CONTACTS, &[("lists", list), ("updated_after", &since(at)), limit], None)
            }
            Which::Next(href) => self.get_page(CONTACTS, &[], Some(href)),
        };
        let Some(request) = request else { return astray() };
        self.call(request, wire::contacts).await
    }

    async fn export(&self, list: &str) -> Reply<Activity> {
        let request = self.http.post(self.url("activities/contact_exports"));
        self.call(request.json(&ExportRequest::of(list)), wire::export).await
    }

    async fn exported(&self, file: &str, tell: &mut (dyn FnMut(&str) + Send)) -> Reply<()> {
        let Some(url) = self.page_url(file) else { return astray() };
        let token = match self.token().await {
            Ok(token) => token,
            Err(words) => return failed(Passing::NotSent, words),
        };
        let request = self.http.get(url).header("Accept", "text/csv").timeout(EXPORT_TIMEOUT);
        let mut addresses = Addresses::new(tell);
        let carried = match built(request.bearer_auth(token.secret.expose_secret())) {
            Ok(request) => self.carrier.carry_into(request, &mut addresses).await,
            Err(not_built) => Err(not_built),
        };
        let has_addresses = addresses.finish();
        answered(carried, token.generation, |raw| wire::export_file(raw, has_addresses))
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
struct NewList<'a> {
    name: &'a str,
}

#[derive(Debug, Serialize)]
struct CustomField<'a> {
    custom_field_id: &'a str,
    value: &'a str,
}
