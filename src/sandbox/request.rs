//! A request as the handlers see it: read whole, taken apart once.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, header};

/// The time by which the service spaces calls.
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A request.
pub struct Call {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub form: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub host: String,
    pub body: Vec<u8>,
    pub at: Instant,
}

impl Call {
    pub fn new(parts: &hyper::http::request::Parts, body: Vec<u8>) -> Self {
        let pairs = |bytes: &[u8]| url::form_urlencoded::parse(bytes).into_owned().collect::<Vec<_>>();
        let text = |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_form = text(header::CONTENT_TYPE).starts_with("application/x-www-form-urlencoded");
        Self {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: pairs(parts.uri.query().unwrap_or_default().as_bytes()),
            form: if is_form { pairs(&body) } else { Vec::new() },
            host: text(header::HOST).to_owned(),
            headers: parts.headers.clone(),
            body,
            at: now(),
        }
    }

    pub fn header(&self, name: header::HeaderName) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// A parameter of the form or the query: the token endpoint takes both.
    pub fn param(&self, name: &str) -> Option<&str> {
        let find = |pairs: &'_ [(String, String)]| pairs.iter().position(|(known, _)| known == name);
        match (find(&self.form), find(&self.query)) {
            (Some(place), _) => Some(&self.form[place].1),
            (None, Some(place)) => Some(&self.query[place].1),
            (None, None) => None,
        }
    }

    pub fn bearer(&self) -> Option<&str> {
        self.header(header::AUTHORIZATION).strip_prefix("Bearer ")
    }

    pub fn basic_credentials(&self) -> Option<(String, String)> {
        let encoded = self.header(header::AUTHORIZATION).strip_prefix("Basic ")?;
        let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
        let (id, secret) = text.split_once(':')?;
        Some((id.to_owned(), secret.to_owned()))
    }
}
