//! The token endpoint: one function sends, one understands the answer.
//!
//! Promises that no secret and no address of a request reaches an error, and that an answer is believed to end an
//! authorization only when it says so in the terms of RFC 6749.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::{Application, USER_AGENT};

/// A server that has not taken a connection after this long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A refresh takes under a second. A lost answer must be noticed while the server still takes the old token a second time
/// (30 seconds usually), and a slow server must have had its time.
const TIMEOUT: Duration = Duration::from_secs(20);
/// A day, which is what the service's tokens live, for an answer that does not say or says nonsense.
const USUAL_LIFE: Duration = Duration::from_hours(24);
/// A life beyond this is a time stamp that somebody took for a duration.
const LONGEST_LIFE: u64 = 366 * 24 * 60 * 60;

/// What the token endpoint granted.
pub(super) struct Granted {
    pub(super) access_token: SecretString,
    pub(super) life: Duration,
    /// Absent when a long-lived one stays as it is, or none was asked for.
    pub(super) refresh_token: Option<SecretString>,
    pub(super) scope: Option<String>,
}

/// Why it granted nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The grant is over: only a person can bring another.
    Grant(String),
    /// The application's id or secret is refused; the grant may still be good.
    Client(String),
    /// Nothing was sent: the grant is untouched.
    NotSent(String),
    /// An answer came that decides nothing.
    Passing(String),
    /// No answer came: the grant may be spent.
    Lost(String),
    /// The endpoint refuses the request as such; a fault in the configuration or in this program.
    Request(String),
    /// What only a device that asks hears.
    Device(DeviceAnswer),
}

/// The answers of RFC 8628, 3.5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum DeviceAnswer {
    /// The person has not decided.
    Pending,
    /// Asked too often.
    SlowDown,
    /// The person refused, in the service's words.
    Denied(String),
    /// The code has ended.
    Expired,
}

#[derive(Deserialize)]
struct TokenBody {
    access_token: Option<SecretString>,
    expires_in: Option<serde_json::Value>,
    refresh_token: Option<SecretString>,
    scope: Option<String>,
}

/// RFC 6749's error object, or the authorization server product's own.
#[derive(Default, Deserialize)]
struct ErrorBody {
    error: Option<String>,
    error_description: Option<String>,
    #[serde(rename = "errorCode")]
    error_code: Option<String>,
}

/// A client for the token endpoint and for what the companion asks the API.
pub(super) fn http() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// Spends a grant.
pub(super) async fn spend(
    http: &reqwest::Client,
    application: &Application,
    grant: &[(&str, &str)],
) -> Result<Granted, Refusal> {
    let (status, body) = ask(http, application, &application.token_url, grant).await?;
    understand(status, &body)
}

/// Sends a form as the application and gives the answer's status and body.
pub(super) async fn ask(
    http: &reqwest::Client,
    application: &Application,
    url: &Url,
    form: &[(&str, &str)],
) -> Result<(u16, Vec<u8>), Refusal> {
    let mut form = form.to_vec();
    let mut request = http.post(url.clone()).header("Accept", "application/json");
    match &application.client_secret {
        // Never both ways of authentication: the server refuses that.
        Some(secret) => request = request.basic_auth(&application.client_id, Some(secret.expose_secret())),
        None => form.push(("client_id", &application.client_id)),
    }
    let answer = request.form(&form).send().await.map_err(|error| {
        if error.is_connect() { Refusal::NotSent(words(&error)) } else { Refusal::Lost(words(&error)) }
    })?;
    let status = answer.status().as_u16();
    let body = answer.bytes().await.map_err(|error| Refusal::Lost(words(&error)))?;
    Ok((status, body.to_vec()))
}

fn understand(status: u16, body: &[u8]) -> Result<Granted, Refusal> {
    if status == 200 {
        return match serde_json::from_slice::<TokenBody>(body) {
            Ok(TokenBody { access_token: Some(access_token), expires_in, refresh_token, scope }) => {
                Ok(Granted { access_token, life: life(expires_in.as_ref()), refresh_token, scope })
            }
            // It may be half of a good answer: then the grant is spent.
            _ => Err(Refusal::Lost("the token endpoint answered something else than tokens".to_owned())),
        };
    }
    Err(refusal(status, body))
}

/// What an answer that grants nothing means.
pub(super) fn refusal(status: u16, body: &[u8]) -> Refusal {
    let error: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let said = error.error_description.unwrap_or_default();
    match error.error.as_deref() {
        Some("invalid_grant") => Refusal::Grant(said),
        Some("invalid_client") => Refusal::Client(said),
        // The application's registration forbids it: mended in the portal, the same grant is good again.
        Some("unauthorized_client") => Refusal::Client(format!("unauthorized_client: {said}")),
        Some("authorization_pending") => Refusal::Device(DeviceAnswer::Pending),
        Some("slow_down") => Refusal::Device(DeviceAnswer::SlowDown),
        Some("access_denied") => Refusal::Device(DeviceAnswer::Denied(said)),
        Some("expired_token") => Refusal::Device(DeviceAnswer::Expired),
        Some("temporarily_unavailable" | "server_error") => {
            Refusal::Passing(format!("HTTP {status}: {said}"))
        }
        Some(other) if (400..429).contains(&status) => Refusal::Request(format!("{other}: {said}")),
        _ => {
            let code = error.error_code.map(|code| format!(" {code}")).unwrap_or_default();
            Refusal::Passing(format!("the token endpoint answers HTTP {status}{code}"))
        }
    }
}

/// Seconds of life, as a number or a text; nonsense counts as the usual.
fn life(expires_in: Option<&serde_json::Value>) -> Duration {
    let seconds = expires_in.and_then(|value| value.as_u64().or_else(|| value.as_str()?.parse().ok()));
    seconds.filter(|seconds| (1..=LONGEST_LIFE).contains(seconds)).map_or(USUAL_LIFE, Duration::from_secs)
}

/// The innermost cause: the layers above it repeat the address.
fn words(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if error.is_timeout() {
        return "no answer from the token endpoint in time".to_owned();
    }
    format!("the token endpoint cannot be reached: {cause}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        understand(status, body.as_bytes()).err().expect("a refusal")
    }

    #[test]
    fn what_a_device_hears_has_names_of_its_own() {
        let heard = |name: &str| refusal(400, &format!(r#"{{"error":"{name}","error_description":"why"}}"#));
        assert_eq!(heard("authorization_pending"), Refusal::Device(DeviceAnswer::Pending));
        assert_eq!(heard("slow_down"), Refusal::Device(DeviceAnswer::SlowDown));
        assert_eq!(heard("expired_token"), Refusal::Device(DeviceAnswer::Expired));
        assert_eq!(heard("access_denied"), Refusal::Device(DeviceAnswer::Denied("why".into())));
    }

    fn granted(body: &str) -> Granted {
        understand(200, body.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal:?}"))
    }

    #[test]
    fn only_the_terms_of_the_standard_end_a_grant() {
        let error = |name: &str| format!(r#"{{"error":"{name}","error_description":"why"}}"#);
        assert_eq!(refusal(400, &error("invalid_grant")), Refusal::Grant("why".into()));
        assert_eq!(refusal(401, &error("invalid_client")), Refusal::Client("why".into()));
        assert_eq!(
            refusal(400, &error("unauthorized_client")),
            Refusal::Client("unauthorized_client: why".into())
        );
        assert_eq!(refusal(400, &error("invalid_request")), Refusal::Request("invalid_request: why".into()));
        for (status, body) in [
            (429, r#"{"errorCode":"E0000047","errorSummary":"API call exceeded rate limit"}"#),
            (500, ""),
            (503, "<html>maintenance</html>"),
            (403, "<html>who are you</html>"),
            (400, "<html>bad</html>"),
        ] {
            assert!(matches!(refusal(status, body), Refusal::Passing(_)), "{status} {body}");
        }
    }

    #[test]
    fn a_success_without_a_token_may_have_spent_the_grant() {
        for body in ["", "<html>", r#"{"access_token":"a","refre"#, "{}"] {
            assert!(matches!(refusal(200, body), Refusal::Lost(_)), "{body}");
        }
    }

    #[test]
    fn a_life_that_is_no_duration_counts_as_the_usual() {
        for (said, seconds) in
            [("28800", 28_800), ("\"3600\"", 3_600), ("1700000000", 86_400), ("-1", 86_400), ("null", 86_400)]
        {
            let body = format!(r#"{{"access_token":"a","expires_in":{said}}}"#);
            assert_eq!(granted(&body).life.as_secs(), seconds, "{said}");
        }
    }
}
