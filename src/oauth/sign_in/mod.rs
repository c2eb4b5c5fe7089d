//! The one sign-in: from an address in a browser to tokens on the disk.
//!
//! Owns the three ways in, and what is checked before it says done: a refresh token came and works, the scopes and the
//! user's privileges suffice, it is the account that rows wait for. Promises that nothing is stored before that is known,
//! and that every failure names what to register, whom to sign in as, or what to run. Leaves printing to `cli`.

mod account;
mod callback;
mod device;
mod error;
mod loopback;
mod pages;
mod paste;

use std::{io, path::Path, sync::Arc};

use jiff::Timestamp;
use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub use account::Expected;
pub use device::Prompt;
pub use error::AuthorizeError;

use super::endpoint::{self, Granted, Refusal};
use super::store::{Document, Pair, Store, TokenState};
use super::tokens::Tokens;
use super::{Application, Unavailable};
use account::Account;
use loopback::Listener;
use pages::Page;

/// Without this scope the service gives no refresh token, and says nothing about it.
const OFFLINE: &str = "offline_access";
/// Without this scope no contact can be written.
const CONTACTS: &str = "contact_data";

/// How the person's browser and this program meet.
pub enum Way<'a> {
    /// The browser comes back to a listener on this machine.
    Loopback {
        /// Shows the address, or opens a browser with it.
        visit: &'a mut dyn FnMut(&Url),
    },
    /// The person brings the address on which the browser ended.
    Paste {
        /// Shows the address.
        visit: &'a mut dyn FnMut(&Url),
        /// Asks for a line; nothing at the end of the input.
        bring: &'a mut dyn FnMut(&str) -> io::Result<Option<String>>,
    },
    /// The person types a code on any device.
    Device {
        /// Shows the code.
        show: &'a mut dyn FnMut(&Prompt),
    },
}

/// What a sign-in came to.
#[derive(Debug, Clone)]
pub struct Authorized {
    /// The account's name, when the service says it.
    pub account: Option<String>,
    /// Whether each refresh brings another refresh token, when the first one could show it.
    pub rotating: Option<bool>,
    /// What the configuration names and the account lacks, a sentence each.
    pub findings: Vec<String>,
    /// What could not be asked just now.
    pub unknown: Vec<String>,
}

/// Where the sign-in happens.
pub struct Place<'a> {
    /// The application.
    pub application: &'a Application,
    /// Where the tokens are kept.
    pub state_folder: &'a Path,
    /// The wall clock.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// What the configuration counts on.
    pub expected: &'a Expected,
}

/// Signs in and stores the tokens.
pub async fn authorize(place: &Place<'_>, way: Way<'_>) -> Result<Authorized, AuthorizeError> {
    let application = place.application;
    let http = endpoint::http().map_err(|error| AuthorizeError::Unreachable { said: error.to_string() })?;
    let request = AuthorizationRequest::new(application);
    match way {
        Way::Loopback { visit } => {
            let listener = Listener::bind(&application.redirect_uri).await?;
            visit(&request.address);
            let (code, visitor) = listener.wait(&request.state).await?;
            let outcome = place.finish(&http, request.redeem(&http, application, &code).await).await;
            let page = outcome.as_ref().map_or_else(Page::failed, Page::signed_in);
            visitor.tell(page).await;
            outcome
        }
        Way::Paste { visit, bring } => {
            visit(&request.address);
            let code = paste::ask(&application.redirect_uri, &request.state, bring)?;
            place.finish(&http, request.redeem(&http, application, &code).await).await
        }
        Way::Device { show } => place.finish(&http, device::authorize(&http, application, show).await).await,
    }
}

/// What is asked for, and what proves later that the answer belongs to it.
struct AuthorizationRequest {
    address: Url,
    state: SecretString,
    verifier: Option<PkceCodeVerifier>,
}

impl AuthorizationRequest {
    fn new(application: &Application) -> Self {
        let state = CsrfToken::new_random();
        // A client without a secret proves itself by PKCE; whether the service takes it beside a secret is not known.
        let pkce = application.client_secret.is_none().then(PkceCodeChallenge::new_random_sha256);
        let (challenge, verifier) = pkce.unzip();
        let address = address(application, state.secret(), challenge.as_ref());
        Self { address, state: state.secret().as_str().into(), verifier }
    }

    async fn redeem(
        &self,
        http: &reqwest::Client,
        application: &Application,
        code: &SecretString,
    ) -> Result<Granted, AuthorizeError> {
        let mut grant = vec![
            ("grant_type", "authorization_code"),
            ("code", code.expose_secret()),
            ("redirect_uri", &application.redirect_uri),
        ];
        if let Some(verifier) = &self.verifier {
            grant.push(("code_verifier", verifier.secret()));
        }
        let granted = endpoint::spend(http, application, &grant).await;
        granted.map_err(|refusal| exchange_error(refusal, application))
    }
}

/// The scopes that are asked for, with the one that makes it last.
fn scopes(application: &Application) -> String {
    let mut scopes = application.scopes.clone();
    if !scopes.iter().any(|scope| scope == OFFLINE) {
        scopes.push(OFFLINE.to_owned());
    }
    scopes.join(" ")
}

/// The address that the person visits (RFC 6749, 4.1.1; RFC 7636, 4.3).
fn address(application: &Application, state: &str, challenge: Option<&PkceCodeChallenge>) -> Url {
    let mut url = application.authorize_url.clone();
    let mut query = url.query_pairs_mut();
    query
        .append_pair("response_type", "code")
        .append_pair("client_id", &application.client_id)
        .append_pair("redirect_uri", &application.redirect_uri)
        .append_pair("scope", &scopes(application))
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

fn exchange_error(refusal: Refusal, application: &Application) -> AuthorizeError {
    match refusal {
        Refusal::Grant(said) | Refusal::Request(said) => {
            AuthorizeError::Code { said, redirect_uri: application.redirect_uri.clone() }
        }
        Refusal::Client(said) => AuthorizeError::Client { said },
        Refusal::NotSent(said) | Refusal::Passing(said) | Refusal::Lost(said) => {
            AuthorizeError::Unreachable { said }
        }
        Refusal::Device(answer) => AuthorizeError::Unreachable { said: format!("{answer:?}") },
    }
}

impl Place<'_> {
    /// Checks what was granted, stores it, and tries at once whether it can be renewed.
    async fn finish(
        &self,
        http: &reqwest::Client,
        granted: Result<Granted, AuthorizeError>,
    ) -> Result<Authorized, AuthorizeError> {
        let granted = granted?;
        check(&granted)?;
        let account = account::look(http, self.application, &granted.access_token, self.expected).await?;
        let generation = self.store(granted, account.name.clone()).await?;
        let Account { name, findings, mut unknown } = account;
        let rotating = match self.renew(generation).await? {
            Ok(rotating) => rotating,
            Err(reason) => {
                unknown.push(format!("whether the tokens can be renewed ({reason})"));
                None
            }
        };
        Ok(Authorized { account: name, rotating, findings, unknown })
    }

    async fn store(&self, granted: Granted, account: Option<String>) -> Result<u64, AuthorizeError> {
        let Some(refresh_token) = granted.refresh_token else { return Err(AuthorizeError::NoRefreshToken) };
        let store = Store::new(self.state_folder);
        // A daemon may be in the middle of a refresh: it finishes first, and finds the new tokens when it looks next.
        let _turn = store.spender().await?;
        // What cannot be read any more is replaced: that is what the person is here for.
        let before = store.read().ok().flatten();
        let old = before.as_ref().and_then(|document| document.account.clone());
        if let (Some(old), Some(new), false) = (&old, &account, self.expected.other_account)
            && old != new
        {
            return Err(AuthorizeError::OtherAccount { old: old.clone(), new: new.clone() });
        }
        let generation = before.map_or(0, |document| document.generation) + 1;
        let now = (self.clock)();
        let pair = Pair {
            access_token: granted.access_token,
            access_expires_at: now.checked_add(granted.life).unwrap_or(Timestamp::MAX),
            refresh_token,
            refreshed_at: now,
            rotating: None,
            spending_since: None,
        };
        store.write(&Document::new(generation, account, TokenState::Authorized(pair)))?;
        Ok(generation)
    }

    /// Renews once, because now a person is there to hear that it does not work, and because the answer shows whether
    /// refresh tokens rotate. A fault that passes is only said: the daemon tries again.
    async fn renew(&self, generation: u64) -> Result<Result<Option<bool>, String>, AuthorizeError> {
        let tokens = Tokens::open(self.state_folder, self.application.clone(), Arc::clone(&self.clock))?;
        match tokens.refused(generation).await {
            Ok(_) => Ok(Ok(tokens.rotating())),
            Err(Unavailable::Login { reason }) => Err(AuthorizeError::NotRenewable { said: reason }),
            Err(Unavailable::Refused { reason, .. } | Unavailable::Passing { reason, .. }) => Ok(Err(reason)),
        }
    }
}

fn check(granted: &Granted) -> Result<(), AuthorizeError> {
    if granted.refresh_token.is_none() {
        return Err(AuthorizeError::NoRefreshToken);
    }
    let has =
        |wanted: &str| granted.scope.as_ref().is_none_or(|all| all.split(' ').any(|scope| scope == wanted));
    if has(CONTACTS) { Ok(()) } else { Err(AuthorizeError::Scope(CONTACTS)) }
}
