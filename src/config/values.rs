//! The kinds of value that `mailchute.toml` holds and TOML itself does not know.
//!
//! Owns the spelling of durations and sizes. Each type refuses a wrong value while the file is being read, so that the
//! error carries the line it stands on.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de::Error};

/// A span of time as people write it: `2s`, `30m`, `5d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Span).map_err(|_| {
            D::Error::custom(format!(
                "`{text}` is not a span of time: write it as \"2s\", \"5m\", \"3h\" or \"90d\""
            ))
        })
    }
}

/// A number of bytes as people write it: `500MB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<bytesize::ByteSize>().map(|size| Size(size.as_u64())).map_err(|_| {
            D::Error::custom(format!("`{text}` is not a size: write it as \"500MB\" or \"1GiB\""))
        })
    }
}

/// An absolute `http` or `https` address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address(pub(super) url::Url);

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match url::Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(Self(url)),
            _ => Err(D::Error::custom(format!(
                "`{text}` is not an address: write it whole, as \"https://api.example.org/v3\""
            ))),
        }
    }
}
