//! What the browser brought back, whether it came to the listener or was pasted.
//!
//! Pure. Promises that an answer counts only with this sign-in's `state`, compared in constant time, and that a parameter
//! that stands there twice counts as none (RFC 6749, 3.1).

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

/// What an answer means.
#[derive(Debug)]
pub(super) enum Callback {
    /// The person allowed it.
    Code(SecretString),
    /// The person or the service refused.
    Refused {
        /// RFC 6749's word.
        error: String,
        /// The service's words.
        said: String,
    },
    /// It belongs to another sign-in.
    WrongState,
    /// It is no answer of an authorization server.
    NoAnswer,
}

/// Understands the query of the address on which the browser ended.
pub(super) fn understand(query: &str, state: &SecretString) -> Callback {
    let pairs: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
    let one = |wanted: &str| {
        let mut found = pairs.iter().filter(|(name, _)| name == wanted);
        match (found.next(), found.next()) {
            (Some((_, value)), None) if !value.is_empty() => Some(value.clone().into_owned()),
            _ => None,
        }
    };
    let (code, error, given) = (one("code"), one("error"), one("state"));
    let Some(given) = given.filter(|_| code.is_some() || error.is_some()) else { return Callback::NoAnswer };
    if !bool::from(given.as_bytes().ct_eq(state.expose_secret().as_bytes())) {
        return Callback::WrongState;
    }
    match (code, error) {
        (Some(code), None) => Callback::Code(code.into()),
        (_, error) => Callback::Refused {
            error: error.unwrap_or_else(|| "no code".to_owned()),
            said: one("error_description").unwrap_or_default(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(query: &str) -> String {
        match understand(query, &"right".into()) {
            Callback::Code(code) => format!("code {}", code.expose_secret()),
            Callback::Refused { error, said } => format!("refused {error} {said}"),
            Callback::WrongState => "wrong state".to_owned(),
            Callback::NoAnswer => "no answer".to_owned(),
        }
    }

    #[test]
    fn only_a_code_with_the_right_state_is_one() {
        for (query, expected) in [
            ("code=a%2Fb&state=right", "code a/b"),
            ("state=right&code=a&iss=https%3A%2F%2Fexample.org", "code a"),
            (
                "error=access_denied&error_description=no+thanks&state=right",
                "refused access_denied no thanks",
            ),
            ("code=a&error=server_error&state=right", "refused server_error "),
            ("code=a&state=wrong", "wrong state"),
            ("code=a&state=righ", "wrong state"),
            ("code=a&state=right2", "wrong state"),
            ("error=access_denied&state=wrong", "wrong state"),
            ("code=a", "no answer"),
            ("state=right", "no answer"),
            ("code=&state=right", "no answer"),
            ("code=a&state=right&state=right", "no answer"),
            ("code=a&code=b&state=right", "no answer"),
            ("", "no answer"),
        ] {
            assert_eq!(word(query), expected, "{query}");
        }
    }
}
