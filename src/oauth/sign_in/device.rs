//! The device authorization grant (RFC 8628): a code that the person types on any other device.
//!
//! Promises to ask no more often than the server allows, and to go on asking through faults that pass, until the code ends.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::{Instant, sleep};
use url::Url;

use super::{AuthorizeError, exchange_error};
use crate::oauth::Application;
use crate::oauth::endpoint::{self, DeviceAnswer, Granted, Refusal};

/// The grant's name (RFC 8628, 3.4).
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Between two questions when the server names no interval (RFC 8628, 3.2).
const USUAL_INTERVAL: u64 = 5;
/// What `slow_down` adds to the interval (RFC 8628, 3.5).
const SLOWER: Duration = Duration::from_secs(5);
/// A code's life where the server names none or nonsense: what the service usually gives.
const USUAL_LIFE: u64 = 600;
/// Longer than any server lets a code live.
const LONGEST_LIFE: u64 = 24 * 60 * 60;

/// What the person is to do.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// To be typed.
    pub code: String,
    /// Where.
    pub page: Url,
    /// The page with the code filled in, where the server has one.
    pub complete: Option<Url>,
    /// How long the code works.
    pub life: Duration,
}

#[derive(Deserialize)]
struct Started {
    device_code: SecretString,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: Url,
    verification_uri_complete: Option<Url>,
    expires_in: Option<u64>,
    interval: Option<u64>,
}

/// Shows the code and waits until the person has used it.
pub(super) async fn authorize(
    http: &reqwest::Client,
    application: &Application,
    show: &mut dyn FnMut(&Prompt),
) -> Result<Granted, AuthorizeError> {
    let started = start(http, application).await?;
    let life = started.expires_in.filter(|life| (1..=LONGEST_LIFE).contains(life)).unwrap_or(USUAL_LIFE);
    let life = Duration::from_secs(life);
    show(&Prompt {
        code: started.user_code,
        page: started.verification_uri,
        complete: started.verification_uri_complete,
        life,
    });
    let ended = || AuthorizeError::DeviceCodeEnded { minutes: life.as_secs().div_ceil(60) };
    let (ends_at, mut interval) =
        (Instant::now() + life, Duration::from_secs(started.interval.unwrap_or(USUAL_INTERVAL).max(1)));
    let grant = [("grant_type", GRANT), ("device_code", started.device_code.expose_secret())];
    while Instant::now() + interval < ends_at {
        sleep(interval).await;
        match endpoint::spend(http, application, &grant).await {
            Ok(granted) => return Ok(granted),
            Err(refusal) => interval = longer(interval, refusal, ended, application)?,
        }
    }
    Err(ended())
}

async fn start(http: &reqwest::Client, application: &Application) -> Result<Started, AuthorizeError> {
    let scopes = super::scopes(application);
    let form = [("scope", scopes.as_str())];
    let answer = endpoint::ask(http, application, &application.device_url, &form).await;
    let (status, body) = answer.map_err(|refusal| exchange_error(refusal, application))?;
    if status == 200 {
        return serde_json::from_slice(&body).map_err(|_| AuthorizeError::Unreachable {
            said: "the device endpoint answered something else than a code".to_owned(),
        });
    }
    match endpoint::refusal(status, &body) {
        Refusal::Request(said) => Err(AuthorizeError::refused("device".to_owned(), said)),
        refusal => Err(exchange_error(refusal, application)),
    }
}

/// How long to wait before the next question, or why there is none.
fn longer(
    interval: Duration,
    refusal: Refusal,
    ended: impl Fn() -> AuthorizeError,
    application: &Application,
) -> Result<Duration, AuthorizeError> {
    match refusal {
        Refusal::Device(DeviceAnswer::Pending) => Ok(interval),
        Refusal::Device(DeviceAnswer::SlowDown) => Ok(interval + SLOWER),
        Refusal::Device(DeviceAnswer::Denied(said)) => {
            Err(AuthorizeError::refused("access_denied".to_owned(), said))
        }
        Refusal::Device(DeviceAnswer::Expired) => Err(ended()),
        // A fault that passes is no reason to ask more often (RFC 8628, 3.5).
        Refusal::NotSent(_) | Refusal::Passing(_) | Refusal::Lost(_) => Ok(interval + SLOWER),
        refusal => Err(exchange_error(refusal, application)),
    }
}
