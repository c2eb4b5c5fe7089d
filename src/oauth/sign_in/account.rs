//! What the companion asks the account before it says done: whose it is, what the user may do, whether the configured
//! lists and custom fields exist.
//!
//! Promises that what cannot be asked in passing is said and stops nothing: the authorization itself is good.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::AuthorizeError;
use crate::oauth::Application;

/// Without these the daemon can do nothing.
const PRIVILEGES: [&str; 2] = ["contacts:write", "contacts:lists:read"];
/// How many names a message lists; with more nobody would read them.
const NAMED: usize = 20;
/// A daemon may be using up the second's calls at the same time.
const TRIES: u32 = 4;
/// The limit is one per second: after that there is room.
const PAUSE: Duration = Duration::from_secs(1);
/// More pages than any account has: 1,000 lists in pages of 500.
const MOST_PAGES: usize = 20;

/// What the configuration counts on.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// Lists by name or id.
    pub lists: Vec<String>,
    /// Custom fields by name.
    pub custom_fields: Vec<String>,
    /// Whether the account may be another than until now.
    pub other_account: bool,
}

/// What the account said.
#[derive(Debug, Default)]
pub(super) struct Account {
    pub(super) name: Option<String>,
    /// What the configuration names and the account lacks.
    pub(super) findings: Vec<String>,
    /// What could not be asked.
    pub(super) unknown: Vec<String>,
}

/// Why a question got no answer.
enum NoAnswer {
    /// The token is not taken.
    Token(String),
    /// The token is taken and does not open this.
    Forbidden,
    /// It passes.
    Passing(String),
}

struct Api<'a> {
    http: &'a reqwest::Client,
    base: &'a Url,
    token: &'a SecretString,
}

/// Asks the account.
pub(super) async fn look(
    http: &reqwest::Client,
    application: &Application,
    token: &SecretString,
    expected: &Expected,
) -> Result<Account, AuthorizeError> {
    let api = Api { http, base: &application.base_url, token };
    let mut account = Account { name: api.name().await, ..Account::default() };
    match api.get("account/user/privileges").await {
        Ok(body) => privileges(&body, &account)?,
        Err(NoAnswer::Token(said)) => return Err(AuthorizeError::NoAccount { said }),
        Err(NoAnswer::Forbidden) => {
            return Err(AuthorizeError::NoAccount { said: "403 Forbidden".to_owned() });
        }
        Err(NoAnswer::Passing(why)) => account.unknown.push(format!("the user's privileges ({why})")),
    }
    let kinds = [
        ("list", "contact_lists?limit=500", "lists", "list_id", &expected.lists),
        (
            "custom field",
            "contact_custom_fields?limit=100",
            "custom_fields",
            "custom_field_id",
            &expected.custom_fields,
        ),
    ];
    for (kind, path, things, id, wanted) in kinds {
        if wanted.is_empty() {
            continue;
        }
        match api.all(path, things, id).await {
            Ok(known) => account.findings.extend(missing(kind, wanted, &known)),
            Err(NoAnswer::Passing(why) | NoAnswer::Token(why)) => {
                account.unknown.push(format!("the account's {kind}s ({why})"));
            }
            Err(NoAnswer::Forbidden) => account.unknown.push(format!("the account's {kind}s (403)")),
        }
    }
    Ok(account)
}

fn privileges(body: &Value, account: &Account) -> Result<(), AuthorizeError> {
    let named = |wanted: &str| {
        body.as_array().is_some_and(|all| all.iter().any(|one| one["privilege_name"] == wanted))
    };
    let missing: Vec<_> = PRIVILEGES.into_iter().filter(|wanted| !named(wanted)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(AuthorizeError::Privileges { missing: missing.join(", "), account: account.name.clone() })
}

/// A sentence for each name that the account does not know, with those that it has.
fn missing(kind: &str, wanted: &[String], known: &[(String, String)]) -> Vec<String> {
    let fold = |name: &str| name.trim().to_lowercase();
    let is_known = |name: &String| known.iter().any(|(id, other)| id == name || fold(other) == fold(name));
    let mut names: Vec<&str> = known.iter().map(|(_, name)| name.as_str()).collect();
    names.sort_unstable();
    let there = match names.len() {
        0 => format!("it has no {kind} at all"),
        all if all > NAMED => format!("it has {}, and {} more", names[..NAMED].join(", "), all - NAMED),
        _ => format!("it has {}", names.join(", ")),
    };
    let unknown = wanted.iter().filter(|name| !is_known(name));
    unknown.map(|name| format!("the account has no {kind} `{name}`; {there}")).collect()
}

#[derive(Deserialize)]
struct Summary {
    organization_name: Option<String>,
    contact_email: Option<String>,
}

impl Api<'_> {
    /// The account's name, so that the person sees whether it is the right one. Without the scope for it there is none.
    async fn name(&self) -> Option<String> {
        let body = self.get("account/summary").await.ok()?;
        let Summary { organization_name, contact_email } = serde_json::from_value(body).ok()?;
        organization_name.filter(|name| !name.trim().is_empty()).or(contact_email)
    }

    async fn get(&self, path: &str) -> Result<Value, NoAnswer> {
        let url = format!("{}/{path}", self.base.as_str().trim_end_matches('/'));
        self.fetch(Url::parse(&url).map_err(|error| NoAnswer::Passing(error.to_string()))?).await
    }

    async fn fetch(&self, url: Url) -> Result<Value, NoAnswer> {
        let mut tries = 1..=TRIES;
        loop {
            let request = self
                .http
                .get(url.clone())
                .header("Accept", "application/json")
                .bearer_auth(self.token.expose_secret());
            let status = match request.send().await {
                Ok(answer) if answer.status().is_success() => {
                    let body = answer.json().await;
                    return body.map_err(|_| NoAnswer::Passing("an answer that is no JSON".to_owned()));
                }
                Ok(answer) => answer.status().as_u16(),
                Err(_) => return Err(NoAnswer::Passing("no answer".to_owned())),
            };
            match status {
                401 => return Err(NoAnswer::Token("401 Unauthorized".to_owned())),
                403 => return Err(NoAnswer::Forbidden),
                429 if tries.next().is_some() => tokio::time::sleep(PAUSE).await,
                _ => return Err(NoAnswer::Passing(format!("HTTP {status}"))),
            }
        }
    }

    /// Id and name of everything on all pages. A paging link never leads elsewhere than the API.
    async fn all(&self, path: &str, things: &str, id: &str) -> Result<Vec<(String, String)>, NoAnswer> {
        let odd = || NoAnswer::Passing("an answer without what was asked for".to_owned());
        let (mut known, mut body) = (Vec::new(), self.get(path).await?);
        for _ in 0..MOST_PAGES {
            let text = |thing: &Value, name: &str| thing[name].as_str().map(str::to_owned);
            let items = body[things].as_array().ok_or_else(odd)?;
            known.extend(items.iter().filter_map(|thing| Some((text(thing, id)?, text(thing, "name")?))));
            let Some(href) = body.pointer("/_links/next/href").and_then(Value::as_str) else {
                return Ok(known);
            };
            let next = self.base.join(href).ok().filter(|next| next.origin() == self.base.origin());
            body = self.fetch(next.ok_or_else(odd)?).await?;
        }
        Ok(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_the_account_lacks_is_said_with_those_that_it_has() {
        let known = [("1".to_owned(), "Newsletter ".to_owned()), ("2".to_owned(), "Members".to_owned())];
        let wanted = ["newsletter", "2", "News"].map(str::to_owned);
        assert_eq!(
            missing("list", &wanted, &known),
            ["the account has no list `News`; it has Members, Newsletter "]
        );
        assert_eq!(
            missing("list", &wanted[..1], &[]),
            ["the account has no list `newsletter`; it has no list at all"]
        );
    }
}
