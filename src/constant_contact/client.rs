//! The wire itself: one function sends, one turns bytes into an answer (`wire`).
//!
//! Promises a time-out on every call, a `User-Agent` of our own, and that a paging link never leads elsewhere than the
//! API. Leaves tokens to `oauth`, and when to call to `drain`.

use std::{sync::Arc, time::Duration};

use reqwest::{Method, RequestBuilder, StatusCode};
use secrecy::ExposeSecret;
use serde::Serialize;
use thiserror::Error;
use url::Url;

use super::wire::{self, Raw};
use super::{Account, Answer, CUSTOM_FIELDS, LISTS, Page, Passing, Reply, SignUp, SignedUp, Trace};
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
            Err(unavailable) => return lost(format!("no token: {unavailable}")),
        };
        let request = request.header("Accept", "application/json").bearer_auth(token.secret.expose_secret());
        match receive(request).await {
            Ok((status, body)) => {
                read(Raw { status: status.as_u16(), body: &body, generation: token.generation })
            }
            Err(words) => lost(words),
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
        let request = match next.map(|href| self.page_url(href)) {
            None => self.http.get(self.url(endpoint)).query(&[("limit", limit)]),
            Some(Some(url)) => self.http.request(Method::GET, url),
            Some(None) => return lost("the next page's address leads away from the API".to_owned()),
        };
        self.call(request, |raw| wire::page(raw, things, id)).await
    }
}

async fn receive(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), String> {
    receive_dated(request).await.map(|(status, body, _)| (status, body))
}

/// An answer with the service's clock, as its header `Date` has it.
pub(super) async fn receive_dated(
    request: RequestBuilder,
) -> Result<(StatusCode, Vec<u8>, Option<String>), String> {
    let mut answer = request.send().await.map_err(|error| words(&error))?;
    let status = answer.status();
    let date = answer.headers().get("Date").and_then(|date| date.to_str().ok()).map(str::to_owned);
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| words(&error))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(format!("the answer is larger than {LARGEST_ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok((status, body, date))
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
    Reply { answer: Answer::Later(Passing::Lost), trace: Trace { message: Some(words), ..Trace::default() } }
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
            phone_number: details.phone_number.as_deref(),
            street_address: details.street_address.as_ref(),
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
