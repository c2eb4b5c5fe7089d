//! What a row says about somebody's consent: when it was given, where, and from which network address.
//!
//! Promises that none of it is ever sent, and that doubt about the time makes a consent older and never younger, because
//! a refusal that came after it must win. Leaves to `outbox` to keep it and to `drain` to compare it.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::details::{clean, limited};
use super::{Complaint, Field, dates};

/// Long enough for the address of a page with its parameters.
const LONGEST_SOURCE: usize = 255;

/// The evidence for a consent, as far as there is any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// When it was given. It has a column of its own, because it is compared.
    #[serde(skip)]
    pub consent_at: Option<Timestamp>,
    /// Where: a form, a page, a shop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// From which network address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
}

/// What exports write for somebody who did not agree or no longer does.
const REFUSALS: [&str; 11] = [
    "no",
    "false",
    "0",
    "unsubscribed",
    "never subscribed",
    "not subscribed",
    "opted out",
    "opt-out",
    "nein",
    "non",
    "nee",
];

fn is_refusal(text: &str) -> bool {
    is_one_of(&REFUSALS, text)
}

/// What exports write for somebody who did not opt out. Anything else, a time above all, says that they did.
const NOT_OUT: [&str; 6] = ["no", "false", "0", "nein", "non", "nee"];

fn is_one_of(words: &[&str], text: &str) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(text))
}

impl Evidence {
    /// Finds the evidence among a row's cells. What cannot be used is left out, with a complaint.
    pub(super) fn from_cells(cells: &[(Field, String)], complaints: &mut Vec<Complaint>) -> Self {
        let mut evidence = Self::default();
        for (field, text) in cells {
            let text = clean(text);
            if !text.is_empty() {
                complaints.extend(evidence.add(field, &text).err());
            }
        }
        evidence
    }

    fn add(&mut self, field: &Field, text: &str) -> Result<(), Complaint> {
        let complain = |reason: String| (field.clone(), reason);
        let is_short = matches!(field, Field::ConsentAt | Field::Permission | Field::OptedOut | Field::Ip);
        if text.len() > LONGEST_SOURCE && is_short {
            limited(field, text, LONGEST_SOURCE)?;
        }
        match field {
            Field::ConsentAt => self.consent_at = Some(dates::instant(text).map_err(complain)?),
            Field::Permission if is_refusal(text) => {
                return Err(complain(format!("`{text}`: the person does not want to be mailed")));
            }
            Field::OptedOut if !is_one_of(&NOT_OUT, text) => {
                return Err(complain(format!("`{text}`: the person left, or mail to them came back")));
            }
            Field::Source => self.source = Some(limited(field, text, LONGEST_SOURCE)?),
            Field::Ip => {
                let ip: Result<IpAddr, _> = text.parse();
                let ip = ip.map_err(|_| complain(format!("`{text}` is no IP address")))?;
                self.ip = Some(ip.to_string());
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds what a newer row of the same address says: the last consent counts, with what belongs to it.
    pub(super) fn merge(&mut self, newer: &Self) {
        if newer.consent_at >= self.consent_at {
            self.consent_at = newer.consent_at;
            self.source = newer.source.clone().or_else(|| self.source.take());
            self.ip = newer.ip.clone().or_else(|| self.ip.take());
        }
    }
}
