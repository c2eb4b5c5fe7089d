//! Getting, keeping and renewing the authorization (RFC 6749, 7636, 8252, 8628).
//!
//! Owns the token endpoint and the token store. Promises that a rotated refresh token is on the disk before the access
//! token that came with it is used, that one process spends a refresh token at a time, and that only the server's
//! `invalid_grant` ends an authorization. Leaves what the tokens are good for to `constant_contact`.

mod endpoint;
mod sign_in;
mod store;
mod summary;
mod tokens;

use jiff::Timestamp;
use secrecy::SecretString;
use thiserror::Error;
use url::Url;

pub use sign_in::{AuthorizeError, Authorized, Expected, Place, Prompt, Way, authorize};
pub use store::StoreError;
pub use summary::{Summary, summary};
pub use tokens::{AccessToken, Tokens};

/// How the program introduces itself; the firewall in front of the service refuses libraries' default names.
pub const USER_AGENT: &str = concat!("mailchute/", env!("CARGO_PKG_VERSION"));

/// An application as registered in the developer portal.
#[derive(Debug, Clone)]
pub struct Application {
    /// The API key.
    pub client_id: String,
    /// Only confidential applications have one.
    pub client_secret: Option<SecretString>,
    /// As registered, to the letter.
    pub redirect_uri: String,
    /// Asked for at the authorization page.
    pub scopes: Vec<String>,
    /// The page for the person.
    pub authorize_url: Url,
    /// Codes and refresh tokens are spent here.
    pub token_url: Url,
    /// The device flow begins here.
    pub device_url: Url,
    /// The API.
    pub base_url: Url,
    /// The command line that signs in for this configuration.
    pub sign_in: String,
}

/// Why there is no access token just now.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// A person must sign in.
    #[error("{reason}")]
    Login {
        /// Why, and with which command.
        reason: String,
    },
    /// A person must mend the application's id, secret or registration; the authorization is kept and tried again.
    #[error("{reason}")]
    Refused {
        /// Why, and what to mend.
        reason: String,
        /// When it is tried again.
        retry_at: Timestamp,
    },
    /// It passes by itself.
    #[error("{reason}")]
    Passing {
        /// Why.
        reason: String,
        /// When to ask again.
        retry_at: Timestamp,
    },
}
