//! The person at the browser, for the demo and rehearsals: visits the page, presses a button, follows the redirect.

use std::collections::BTreeMap;

use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, body::Bytes, header};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use thiserror::Error;
use url::Url;

/// What went wrong in the browser.
#[derive(Debug, Error)]
#[error("the browser got stuck at {place}: {what}")]
pub struct Stuck {
    place: String,
    what: String,
}

/// How often a browser follows a page that leads on by itself, or a redirect.
const MOST_STEPS: usize = 5;

/// Visits the authorization page, presses Allow, and follows to the end. Gives the text of the last page.
pub async fn allow(address: &Url) -> Result<String, Stuck> {
    visit(&press(address, "allow").await?).await
}

/// Visits the authorization page, presses Deny, and follows to the end.
pub async fn deny(address: &Url) -> Result<String, Stuck> {
    visit(&press(address, "deny").await?).await
}

/// Visits the authorization page and presses a button. Gives the address on which the browser would go on.
pub async fn press(address: &Url, decision: &str) -> Result<Url, Stuck> {
    let (status, _, page) = fetch(address, None).await?;
    let stuck = |what: &str| Stuck { place: address.path().to_owned(), what: what.to_owned() };
    if status != StatusCode::OK {
        return Err(stuck(&format!("HTTP {status} {page}")));
    }
    let mut form = hidden_fields(&page);
    form.insert("decision".to_owned(), decision.to_owned());
    let action = address.join("/oauth2/default/v1/authorize").map_err(|error| stuck(&error.to_string()))?;
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let (_, location, _) = fetch(&action, Some(form)).await?;
    let location = location.ok_or_else(|| stuck("the button led nowhere"))?;
    Url::parse(&location).map_err(|error| stuck(&error.to_string()))
}

/// Visits a page and follows it where it leads on by itself, as a browser does. Gives the text of the last one.
pub async fn visit(address: &Url) -> Result<String, Stuck> {
    let mut place = address.clone();
    for _ in 0..MOST_STEPS {
        let (_, _, page) = fetch(&place, None).await?;
        let next =
            page.split_once("http-equiv=refresh content=\"0;url=").and_then(|(_, rest)| rest.split_once('"'));
        match next.and_then(|(next, _)| place.join(&next.replace("&amp;", "&")).ok()) {
            Some(next) => place = next,
            None => return Ok(page),
        }
    }
    Err(Stuck { place: place.path().to_owned(), what: "the page leads on and on".to_owned() })
}

/// Visits the page for devices with its code filled in and presses a button.
pub async fn activate(address: &Url, decision: &str) -> Result<String, Stuck> {
    let stuck = |what: String| Stuck { place: address.path().to_owned(), what };
    let code = address.query_pairs().find(|(name, _)| name == "user_code").map(|(_, code)| code.into_owned());
    let code = code.ok_or_else(|| stuck("no code to type".to_owned()))?;
    let form = [("user_code", code.as_str()), ("decision", decision)];
    let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let (status, _, page) = fetch(address, Some(form)).await?;
    if status == StatusCode::OK { Ok(page) } else { Err(stuck(format!("HTTP {status} {page}"))) }
}

/// The hidden fields of the page's form.
fn hidden_fields(page: &str) -> BTreeMap<String, String> {
    let quoted = |input: &str, name: &str| {
        let (_, rest) = input.split_once(&format!("{name}=\""))?;
        let (value, _) = rest.split_once('"')?;
        Some(value.replace("&quot;", "\"").replace("&lt;", "<").replace("&amp;", "&"))
    };
    page.split("<input type=hidden")
        .skip(1)
        .filter_map(|input| Some((quoted(input, "name")?, quoted(input, "value")?)))
        .collect()
}

async fn fetch(url: &Url, form: Option<String>) -> Result<(StatusCode, Option<String>, String), Stuck> {
    let stuck = |what: String| Stuck { place: url.path().to_owned(), what };
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder().uri(url.as_str());
    let request = match form {
        None => request.body(Full::default()),
        Some(form) => request
            .method("POST")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form)),
    };
    let request = request.map_err(|error| stuck(error.to_string()))?;
    let answer = client.request(request).await.map_err(|error| stuck(error.to_string()))?;
    let (status, location) = (answer.status(), answer.headers().get(header::LOCATION).cloned());
    let location = location.and_then(|value| value.to_str().ok().map(str::to_owned));
    let body = answer.into_body().collect().await.map_err(|error| stuck(error.to_string()))?.to_bytes();
    Ok((status, location, String::from_utf8_lossy(&body).into_owned()))
}
