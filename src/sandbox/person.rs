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

/// Visits the authorization page and presses Allow. Gives the text of the page that the redirect led to.
pub async fn allow(address: &Url) -> Result<String, Stuck> {
    decide(address, "allow").await
}

/// Visits the authorization page and presses Deny.
pub async fn deny(address: &Url) -> Result<String, Stuck> {
    decide(address, "deny").await
}

async fn decide(address: &Url, decision: &str) -> Result<String, Stuck> {
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
    let location = Url::parse(&location).map_err(|error| stuck(&error.to_string()))?;
    fetch(&location, None).await.map(|(_, _, page)| page)
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
