//! Getting, keeping and renewing the authorization (RFC 6749, 7636, 8252, 8628).

use secrecy::SecretString;
use url::Url;

/// An application as registered in the developer portal.
#[derive(Debug, Clone)]
pub struct Application {
    /// The API key.
    pub client_id: String,
    /// Only confidential applications have one.
    pub client_secret: Option<SecretString>,
    /// As registered, to the letter.
    pub redirect_uri: Url,
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
}
