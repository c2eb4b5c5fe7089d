//! One JSON object as it stands in the file: its keys in order, each with the text of its value.
//!
//! Pure. Promises that a number is never rounded and that a key which stands twice is noticed, which is why it is not a map
//! of parsed values.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object; its values are texts that are read when they are wanted.
#[derive(Debug, Default)]
pub struct Object<'a> {
    members: Vec<(String, &'a RawValue)>,
    /// A key that stands twice with different values.
    doubled: Option<String>,
}

/// A key that stands twice with different values: nobody can know which was meant.
#[derive(Debug, PartialEq, Eq)]
pub struct Doubled(pub String);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                let doubled = doubled(&members);
                Ok(Object { members, doubled })
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// Sorted, because a hostile object may have very many keys.
fn doubled(members: &[(String, &RawValue)]) -> Option<String> {
    let mut sorted: Vec<_> = members.iter().map(|(key, value)| (key.as_str(), value.get())).collect();
    sorted.sort_unstable();
    let differ = |pair: &&[(&str, &str)]| pair[0].0 == pair[1].0 && pair[0].1 != pair[1].1;
    sorted.windows(2).find(differ).map(|pair| pair[0].0.to_owned())
}

impl<'a> Object<'a> {
    /// Its keys with their values, in order. A key that stands twice with one value is there twice.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a RawValue)> + Clone {
        self.members.iter().map(|(key, value)| (key.as_str(), *value))
    }

    /// Refuses an object in which a key stands twice with different values.
    pub fn unambiguous(&self) -> Result<(), Doubled> {
        self.doubled.clone().map_or(Ok(()), |key| Err(Doubled(key)))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.members().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// The value that a JSON pointer's keys lead to; none where something on the way is not there.
    pub fn at(&self, path: &[String]) -> Result<Option<&'a RawValue>, Doubled> {
        let Some((first, rest)) = path.split_first() else { return Ok(None) };
        let mut found = self.get(first);
        for key in rest {
            found = match found {
                Some(value) => inside(value, key)?,
                None => return Ok(None),
            };
        }
        Ok(found)
    }
}

/// What a key or an index leads to within a value.
fn inside<'a>(value: &'a RawValue, key: &str) -> Result<Option<&'a RawValue>, Doubled> {
    if let Ok(object) = serde_json::from_str::<Object<'a>>(value.get()) {
        object.unambiguous()?;
        return Ok(object.get(key));
    }
    // An index has no sign and no zeros before it.
    let plain = key.bytes().all(|byte| byte.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
    let index = if plain { key.parse::<usize>().ok() } else { None };
    let values = serde_json::from_str::<Vec<&'a RawValue>>(value.get()).unwrap_or_default();
    Ok(index.and_then(|index| values.get(index).copied()))
}

/// What kind of value a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Null,
    Text,
    Number,
    Truth,
    Array,
    Object,
}

impl Kind {
    /// The kind of a value.
    pub fn of(value: &RawValue) -> Self {
        match value.get().bytes().next() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::Text,
            Some(b't' | b'f') => Self::Truth,
            Some(b'n') => Self::Null,
            _ => Self::Number,
        }
    }

    /// For sentences.
    pub fn words(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Truth => "true or false",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// A value as the text of a cell: what stands between the quotes, a number or a truth as it is written, nothing for null.
/// An array or an object is its JSON, for those who only copy it.
pub fn text(value: &RawValue) -> Result<Cow<'_, str>, serde_json::Error> {
    match Kind::of(value) {
        Kind::Null => Ok(Cow::Borrowed("")),
        Kind::Text => serde_json::from_str::<String>(value.get()).map(Cow::Owned),
        _ => Ok(Cow::Borrowed(value.get())),
    }
}

/// How deep arrays and objects stand in each other in a text that is JSON.
pub fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}
