//! What the sandbox answers: bodies in the service's shapes, and the ways in which an answer does not arrive.

use serde_json::{Value, json};

/// An answer, or what happens instead of one.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Body,
    pub headers: Vec<(&'static str, String)>,
    pub delivery: Delivery,
}

/// The bytes of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    Json(Value),
    Html(String),
    Csv(String),
    Empty,
}

/// How an answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As it should.
    Whole,
    /// Its second half is missing and the connection closed.
    Cut,
    /// Not at all: the connection is closed.
    Lost,
    /// Never.
    Hang,
}

impl Answer {
    pub fn json(status: u16, body: Value) -> Self {
        Self { status, body: Body::Json(body), headers: Vec::new(), delivery: Delivery::Whole }
    }

    pub fn html(status: u16, text: impl Into<String>) -> Self {
        Self { body: Body::Html(text.into()), ..Self::json(status, Value::Null) }
    }

    pub fn csv(text: String) -> Self {
        Self { body: Body::Csv(text), ..Self::json(200, Value::Null) }
    }

    pub fn empty(status: u16) -> Self {
        Self { body: Body::Empty, ..Self::json(status, Value::Null) }
    }

    pub fn redirect(to: &str) -> Self {
        Self::empty(302).with("Location", to)
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn delivered(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }
}

/// The contacts service's array.
pub fn array(status: u16, key: &str, message: &str) -> Answer {
    Answer::json(status, json!([{ "error_key": key, "error_message": message }]))
}

/// The single object of 401 and 429.
pub fn object(status: u16, key: &str, message: &str) -> Answer {
    Answer::json(status, json!({ "error_key": key, "error_message": message }))
}

/// The gateway's object.
pub fn gateway(status: u16, message: &str) -> Answer {
    Answer::json(status, json!({ "message": message }))
}

/// A request that names something wrongly.
pub fn invalid(message: &str) -> Answer {
    array(400, "contacts.api.validation.error", message)
}

/// Something that is not there.
pub fn not_found(message: &str) -> Answer {
    array(404, "contacts.api.not_found", message)
}

/// The answer to a missing, malformed, ended or revoked token: they cannot be told apart.
pub fn unauthorized() -> Answer {
    object(401, "unauthorized", "Unauthorized")
        .with("WWW-Authenticate", "Bearer realm=api.cc.email")
        .with("x-amzn-ErrorType", "UnauthorizedException")
}

/// The token endpoint's object (RFC 6749, 5.2).
pub fn oauth(status: u16, error: &str, description: &str) -> Answer {
    Answer::json(status, json!({ "error": error, "error_description": description }))
}
