//! Why a sign-in came to nothing, each with what to register, whom to sign in as, or what to run.

use thiserror::Error;

use crate::oauth::store::StoreError;

/// Why a sign-in came to nothing.
#[derive(Debug, Error)]
pub enum AuthorizeError {
    /// The redirect address cannot work.
    #[error(
        "redirect_uri `{uri}` cannot be listened on: {why}. Register `http://localhost:28910/callback` in the portal and \
         write the same string here, or sign in with `--paste`, which listens nowhere"
    )]
    RedirectUri {
        /// As configured.
        uri: String,
        /// What is wrong with it.
        why: String,
    },
    /// The port is taken.
    #[error(
        "port {port} of redirect_uri is in use ({source}): stop the other mailchute-auth, or register another port, or sign \
         in with `--paste`, which needs no port"
    )]
    Port {
        /// Which.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody came back.
    #[error(
        "no browser came back within {minutes} minutes: run the command again. If the page said that the redirect is \
         wrong, register exactly `{redirect_uri}` in the portal. If your browser runs on another machine, use `--paste`"
    )]
    NobodyCame {
        /// How long was waited.
        minutes: u64,
        /// What must be registered.
        redirect_uri: String,
    },
    /// Nothing was pasted.
    #[error(
        "no address was pasted: run the command again, and paste the one that begins with `{redirect_uri}`"
    )]
    NothingPasted {
        /// Where the browser ends.
        redirect_uri: String,
    },
    /// The person or the service refused.
    #[error("the sign-in was refused ({error}{}): {advice}", colon(said))]
    Refused {
        /// RFC 6749's word.
        error: String,
        /// The service's words.
        said: String,
        /// What would help.
        advice: &'static str,
    },
    /// The code was not taken.
    #[error(
        "the code was not taken ({said}): codes live five minutes and work once; run the command again. redirect_uri must be \
         registered exactly as `{redirect_uri}`"
    )]
    Code {
        /// The service's words.
        said: String,
        /// What must be registered.
        redirect_uri: String,
    },
    /// The code for the device ended before anybody typed it.
    #[error("nobody entered the code within {minutes} minutes: run the command again")]
    DeviceCodeEnded {
        /// How long it lived.
        minutes: u64,
    },
    /// The application is not known so.
    #[error(
        "the service does not know this application ({said}): compare client_id with the portal's API key, and the secret in \
         client_secret_file; the way of signing in must be the one that the application was registered for"
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
        "the service gave no refresh token, so that somebody would have to sign in every day: `offline_access` must be among \
         `scopes`, and the application's refresh method must be set in the portal"
    )]
    NoRefreshToken,
    /// A scope is missing.
    #[error("the scope `{0}` was not granted: add it to `scopes` and sign in as a user who may use it")]
    Scope(&'static str),
    /// The user has not the rank that is needed.
    #[error(
        "this login lacks the privilege {missing}{}: sign in as the account's owner; a campaign manager cannot do it",
        account.as_ref().map(|name| format!(" in the account `{name}`")).unwrap_or_default()
    )]
    Privileges {
        /// What is missing, with commas.
        missing: String,
        /// The account that was signed in to.
        account: Option<String>,
    },
    /// The token opens nothing.
    #[error(
        "the service gave tokens and then refused them ({said}): this login probably belongs to no account; sign in as the \
         account's owner, who created the application"
    )]
    NoAccount {
        /// The service's words.
        said: String,
    },
    /// Somebody signed in to another account than the one that rows wait for.
    #[error(
        "you signed in to the account `{new}`, and until now this installation wrote to `{old}`: nothing was changed. Sign in \
         to `{old}`, or, if the people in your files may really be put into `{new}`, run it again with `--other-account`"
    )]
    OtherAccount {
        /// Until now.
        old: String,
        /// What was chosen in the browser.
        new: String,
    },
    /// The first refresh was refused.
    #[error(
        "the refresh token that came was refused at its first use ({said}): the application's refresh method must be set in \
         the portal, and no other program may use the same application"
    )]
    NotRenewable {
        /// What happened.
        said: String,
    },
    /// The tokens cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AuthorizeError {
    /// The refusal that the authorization server sent back with the browser (RFC 6749, 4.1.2.1).
    pub(super) fn refused(error: String, said: String) -> Self {
        let advice = match error.as_str() {
            "access_denied" => {
                "only the user who created the application can authorize it, and they must be the account's owner; \
                 run the command again and choose Allow"
            }
            "invalid_scope" => {
                "the application may not have one of the `scopes`: compare them with the portal's"
            }
            "server_error" | "temporarily_unavailable" => {
                "the service is in trouble; run the command again in a while"
            }
            _ => {
                "the application must be registered in the portal for this way of signing in: with a client secret, or by \
                 PKCE without one, or for devices"
            }
        };
        Self::Refused { error, said, advice }
    }
}

fn colon(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(": {said}") }
}
