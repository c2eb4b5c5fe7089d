//! The one sign-in: from an address in a browser to tokens on the disk.
//!
//! Promises that it says done only when a refresh token came and is stored, and that every failure names what to
//! register, whom to sign in as, or what to run. Leaves printing to `cli`.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier};
use secrecy::ExposeSecret;
use serde::Deserialize;
use thiserror::Error;
use url::Url;

use super::Application;
use super::endpoint::{self, Granted, Refusal};
use super::loopback::Listener;
use super::store::{Document, Pair, Store, StoreError, TokenState};

/// Without this scope the service gives no refresh token, and says nothing about it.
const OFFLINE: &str = "offline_access";
/// Without this scope no contact can be written.
const CONTACTS: &str = "contact_data";

/// Why a sign-in came to nothing.
#[derive(Debug, Error)]
pub enum AuthorizeError {
    /// The redirect address cannot work.
    #[error(
        "redirect_uri `{uri}` cannot be listened on: {why}. Register `http://localhost:28910/callback` in the portal and write the same string here"
    )]
    RedirectUri {
        /// As configured.
        uri: String,
        /// What is wrong with it.
        why: String,
    },
    /// The port is taken.
    #[error(
        "port {port} of redirect_uri is in use ({source}): stop the other mailchute-auth, or register another port"
    )]
    Port {
        /// Which.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody came back.
    #[error(
        "no browser came back within {minutes} minutes: run the command again. If the page said that the redirect is wrong, register exactly the redirect_uri above in the portal"
    )]
    NobodyCame {
        /// How long was waited.
        minutes: u64,
    },
    /// The person or the service refused.
    #[error(
        "the sign-in was refused ({error} {said}): only the user who created the application can authorize it, and they must be the account's owner"
    )]
    Refused {
        /// RFC 6749's word.
        error: String,
        /// The service's words.
        said: String,
    },
    /// The code was not taken.
    #[error(
        "the code was not taken ({said}): codes live five minutes and work once; run the command again. redirect_uri must be registered exactly as `{redirect_uri}`"
    )]
    Code {
        /// The service's words.
        said: String,
        /// What must be registered.
        redirect_uri: String,
    },
    /// The application is not known so.
    #[error(
        "the service does not know this application ({said}): compare client_id with the portal's API key, and the secret in client_secret_file"
    )]
    Client {
        /// The service's words.
        said: String,
    },
    /// The service cannot be reached.
    #[error("{said}: try again in a while")]
    Unreachable {
        /// What happened.
        said: String,
    },
    /// No refresh token came.
    #[error(
        "the service gave no refresh token, so that somebody would have to sign in every day: `offline_access` must be among `scopes`, and the application's refresh method must be set in the portal"
    )]
    NoRefreshToken,
    /// A scope is missing.
    #[error("the scope `{0}` was not granted: add it to `scopes` and sign in as a user who may use it")]
    Scope(&'static str),
    /// The tokens cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a sign-in came to.
#[derive(Debug, Clone)]
pub struct Authorized {
    /// The account's name, when the service says it.
    pub account: Option<String>,
    /// What was granted.
    pub scope: String,
    /// How long the access token lives.
    pub life: Duration,
}

/// How the person's browser is reached.
pub struct Ways<'a> {
    /// Shows the address, or opens a browser with it.
    pub visit: &'a mut dyn FnMut(&Url),
}

/// Signs in by the loopback redirect and stores the tokens.
pub async fn authorize(
    application: &Application,
    state_folder: &Path,
    now: impl Fn() -> Timestamp,
    ways: Ways<'_>,
) -> Result<Authorized, AuthorizeError> {
    let listener = Listener::bind(&application.redirect_uri).await?;
    let http = endpoint::http().map_err(|error| AuthorizeError::Unreachable { said: error.to_string() })?;
    let state = CsrfToken::new_random();
    let pkce = application.client_secret.is_none().then(PkceCodeChallenge::new_random_sha256);
    let (challenge, verifier) = pkce.unzip();
    (ways.visit)(&address(application, state.secret(), challenge.as_ref()));
    let code = listener.wait(state.secret()).await?;
    let granted = exchange(&http, application, &code, verifier.as_ref()).await?;
    let scope = granted.scope.clone().unwrap_or_default();
    check(&granted)?;
    let account = account_name(&http, application, &granted).await;
    let life = granted.life;
    store(state_folder, granted, account.clone(), now()).await?;
    Ok(Authorized { account, scope, life })
}

/// The address that the person visits (RFC 6749, 4.1.1; RFC 7636, 4.3).
fn address(application: &Application, state: &str, challenge: Option<&PkceCodeChallenge>) -> Url {
    let mut scopes = application.scopes.clone();
    if !scopes.iter().any(|scope| scope == OFFLINE) {
        scopes.push(OFFLINE.to_owned());
    }
    let mut url = application.authorize_url.clone();
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &application.client_id)
        .append_pair("redirect_uri", &application.redirect_uri)
        .append_pair("scope", &scopes.join(" "))
        .append_pair("state", state)
        // The browser may still know somebody else's login: the person is to choose.
        .append_pair("prompt", "login");
    if let Some(challenge) = challenge {
        query
            .append_pair("code_challenge", challenge.as_str())
            .append_pair("code_challenge_method", challenge.method().as_str());
    }
    drop(query);
    url
}

async fn exchange(
    http: &reqwest::Client,
    application: &Application,
    code: &str,
    verifier: Option<&PkceCodeVerifier>,
) -> Result<Granted, AuthorizeError> {
    let mut grant = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", &application.redirect_uri),
    ];
    if let Some(verifier) = verifier {
        grant.push(("code_verifier", verifier.secret()));
    }
    endpoint::spend(http, application, &grant).await.map_err(|refusal| match refusal {
        Refusal::Grant(said) | Refusal::Request(said) => {
            AuthorizeError::Code { said, redirect_uri: application.redirect_uri.clone() }
        }
        Refusal::Client(said) => AuthorizeError::Client { said },
        Refusal::NotSent(said) | Refusal::Passing(said) | Refusal::Lost(said) => {
            AuthorizeError::Unreachable { said }
        }
    })
}

fn check(granted: &Granted) -> Result<(), AuthorizeError> {
    if granted.refresh_token.is_none() {
        return Err(AuthorizeError::NoRefreshToken);
    }
    let has =
        |wanted: &str| granted.scope.as_ref().is_none_or(|all| all.split(' ').any(|scope| scope == wanted));
    if has(CONTACTS) { Ok(()) } else { Err(AuthorizeError::Scope(CONTACTS)) }
}

#[derive(Deserialize)]
struct AccountSummary {
    organization_name: Option<String>,
}

/// The account's name, so that the person sees whether it is the right one. Without the scope for it there is none.
async fn account_name(
    http: &reqwest::Client,
    application: &Application,
    granted: &Granted,
) -> Option<String> {
    let url = format!("{}/account/summary", application.base_url.as_str().trim_end_matches('/'));
    let answer = http.get(url).bearer_auth(granted.access_token.expose_secret()).send().await.ok()?;
    answer.json::<AccountSummary>().await.ok()?.organization_name
}

async fn store(
    state_folder: &Path,
    granted: Granted,
    account: Option<String>,
    now: Timestamp,
) -> Result<(), AuthorizeError> {
    let Some(refresh_token) = granted.refresh_token else { return Err(AuthorizeError::NoRefreshToken) };
    let store = Store::new(state_folder);
    // A daemon may be in the middle of a refresh: it finishes first, and finds the new tokens when it looks next.
    let _turn = store.spender().await?;
    // What cannot be read any more is replaced: that is what the person is here for.
    let generation = store.read().ok().flatten().map_or(0, |document| document.generation) + 1;
    let pair = Pair {
        access_token: granted.access_token,
        access_expires_at: now.checked_add(granted.life).unwrap_or(Timestamp::MAX),
        refresh_token,
        refreshed_at: now,
        rotating: None,
        spending_since: None,
    };
    Ok(store.write(&Document::new(generation, account, TokenState::Authorized(pair)))?)
}
