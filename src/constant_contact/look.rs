//! What an operator asks the account: who it is, what this sign-in may do, and what it holds for one address.
//!
//! Only for `check` and `explain --live`; the drain does without.

use jiff::Timestamp;
use reqwest::Url;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::Value;

use super::carry::Carried;
use super::client::{Client, failed, lost};
use super::refusal::Endpoint;
use super::wire::{self, Raw};
use super::{Reply, Trace};

/// The endpoint that lists what the user may do, as the history names it.
pub const PRIVILEGES: &str = "account_user_privileges";
/// The endpoint that names the account, as the history names it.
pub const SUMMARY: &str = "account_summary";

/// What the account holds for an address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, serde::Serialize)]
pub struct Held {
    /// The account's name for it.
    pub contact_id: String,
    /// `explicit`, `implicit`, `unsubscribed`, …
    pub permission: Option<String>,
    /// When it was created there.
    pub created_at: Option<String>,
    /// When it was last changed there.
    pub updated_at: Option<String>,
    /// When it was deleted there, if it was.
    pub deleted_at: Option<String>,
    /// Lists, by id.
    pub lists: Vec<String>,
}

impl Client {
    /// What the user who signed in may do, and the service's clock. Needs no scope: any good token will do.
    pub async fn privileges(&self) -> (Reply<Vec<String>>, Option<Timestamp>) {
        let name = |each: &Value| Some(each.get("privilege_name")?.as_str()?.to_owned());
        self.look("account/user/privileges", &[], |body| body.as_array()?.iter().map(name).collect()).await
    }

    /// The account's name. Needs the scope `account_read`.
    pub async fn account_name(&self) -> Reply<String> {
        let name = |body: &Value| Some(body.get("organization_name")?.as_str()?.to_owned());
        self.look("account/summary", &[], name).await.0
    }

    /// What the account holds for an address, deleted or not.
    pub async fn contact(&self, address: &str) -> Reply<Option<Held>> {
        let query = [("email", address), ("status", "all"), ("include", "list_memberships")];
        let first = |body: &Value| Some(body.get("contacts")?.as_array()?.first().and_then(held));
        self.look("contacts", &query, first).await.0
    }

    async fn look<T>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        read: impl Fn(&Value) -> Option<T>,
    ) -> (Reply<T>, Option<Timestamp>) {
        let Ok(mut url) = Url::parse(&self.url(path)) else {
            return (lost("the API's address cannot be extended".to_owned()), None);
        };
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let token = match self.tokens.access().await {
            Ok(token) => token,
            Err(unavailable) => return (lost(format!("no token: {unavailable}")), None),
        };
        let request = self.http.get(url).header("Accept", "application/json");
        match self.send(request.bearer_auth(token.secret.expose_secret())).await {
            Ok(Carried { status, body, date, .. }) => {
                let raw = Raw { status: status.as_u16(), body: &body, generation: token.generation };
                let reply =
                    wire::interpret(raw, Endpoint::Other, |body| read(&serde_json::from_slice(body).ok()?));
                (reply, date.and_then(|date| jiff::fmt::rfc2822::parse(&date).ok()).map(|at| at.timestamp()))
            }
            Err((fate, words)) => (failed(fate, words), None),
        }
    }
}

fn held(contact: &Value) -> Option<Held> {
    let text = |place: &str| contact.pointer(place).and_then(Value::as_str).map(str::to_owned);
    let lists = contact.get("list_memberships").and_then(Value::as_array);
    Some(Held {
        contact_id: text("/contact_id")?,
        permission: text("/email_address/permission_to_send"),
        created_at: text("/created_at"),
        updated_at: text("/updated_at"),
        deleted_at: text("/deleted_at"),
        lists: lists.into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect(),
    })
}

/// In words, for a person, why a question was not answered.
#[must_use]
pub fn words(trace: &Trace) -> String {
    let status = trace.status.map_or_else(|| "no answer".to_owned(), |status| format!("HTTP {status}"));
    match &trace.message {
        Some(message) => format!("{status}: {message}"),
        None => status,
    }
}
