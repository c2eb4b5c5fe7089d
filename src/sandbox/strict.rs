//! What the service refuses in a write: unknown, over-long and wrongly typed properties, in its own words.

use serde_json::{Map, Value};

/// What a property may hold.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A text of at most so many characters.
    Text(usize),
    /// A whole number between two.
    Number(i64, i64),
    /// A list of UUIDs, at most so many.
    Ids(usize),
    /// One of some words.
    Word(&'static [&'static str]),
    /// Checked elsewhere.
    Any,
}

/// Checks an object against the properties it may have. Says everything that is wrong, joined as the service joins it.
pub fn check(object: &Map<String, Value>, known: &[(&str, Kind)], required: &[&str]) -> Result<(), String> {
    let mut wrong: Vec<String> = required
        .iter()
        .filter(|name| object.get(**name).is_none_or(Value::is_null))
        .map(|name| format!("{name} is missing"))
        .collect();
    for (name, value) in object {
        match known.iter().find(|(known, _)| known == name) {
            None => wrong.push(format!("{name} is invalid")),
            Some((_, kind)) => wrong.extend(fault(value, *kind).map(|fault| format!("{name} {fault}"))),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join(", ")) }
}

fn fault(value: &Value, kind: Kind) -> Option<&'static str> {
    let good = match (kind, value) {
        (Kind::Any, _) => return None,
        (Kind::Text(longest), Value::String(text)) if text.chars().count() > longest => {
            return Some("is too long");
        }
        (Kind::Text(_), Value::String(_)) => true,
        (Kind::Number(low, high), value) => {
            value.as_i64().is_some_and(|number| (low..=high).contains(&number))
        }
        (Kind::Ids(most), Value::Array(ids)) => {
            ids.len() <= most && ids.iter().all(|id| id.as_str().is_some_and(|id| id.len() == 36))
        }
        (Kind::Word(words), Value::String(word)) if !words.contains(&word.as_str()) => {
            return Some("does not have a valid value");
        }
        (Kind::Word(_), Value::String(_)) => true,
        _ => false,
    };
    (!good).then_some("is invalid")
}

/// The service's idea of an address, as far as it is known: one `@`, a full domain, no blanks, commas or brackets.
pub fn is_address(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let plain = |part: &str| {
        !part.is_empty()
            && part.is_ascii()
            && !part.contains([' ', ',', '(', ')', '<', '>', '[', ']', '@', '"'])
    };
    plain(local)
        && plain(domain)
        && domain.split('.').count() >= 2
        && domain.split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_wrong_property_is_named() {
        let known = [
            ("a", Kind::Text(2)),
            ("n", Kind::Number(1, 12)),
            ("w", Kind::Word(&["home"])),
            ("l", Kind::Ids(1)),
        ];
        let said = |value: Value| check(value.as_object().unwrap(), &known, &["a"]).unwrap_err();
        assert_eq!(said(json!({})), "a is missing");
        assert_eq!(said(json!({"a": "xyz", "n": 13, "x": 1})), "a is too long, n is invalid, x is invalid");
        assert_eq!(said(json!({"a": "x", "w": "moon"})), "w does not have a valid value");
        assert_eq!(said(json!({"a": {}, "l": ["short"]})), "a is invalid, l is invalid");
    }

    #[test]
    fn addresses_have_one_at_and_a_full_domain() {
        assert!(is_address("a+b@example.org"));
        for bad in ["a", "a@b", "a@b@c.de", "a b@c.de", "a@.de", "ä@b.de"] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
