//! What a row of a drop file means: a contact, or a rejection that names its place.
//!
//! Owns the fields that the service takes and their limits. Pure. Promises that a [`Contact`] was parsed once and can be
//! sent as it is, and that a bad row is a value and never the end of its file. Leaves column names to `inbox`.

mod dates;
mod details;
mod email;
mod evidence;
mod fields;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use details::{Details, StreetAddress};
pub use email::{EmailAddress, NotAnAddress};
pub use evidence::Evidence;
pub use fields::{AddressKind, Field, Part, PhoneKind, STANDARD_FIELDS};

/// A row that a reader hands over: the wanted cells, with the place they stand at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// The line it begins on; for a JSON array the element, counted from 1.
    pub line: u64,
    /// The cells that mean something.
    pub cells: Vec<(Field, String)>,
    /// Fields that hold something else than a text, and what.
    pub unusable: Vec<(Field, String)>,
}

/// Why a row is no contact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The line of the row.
    pub line: u64,
    /// What stood in the address column.
    pub email: Option<String>,
    /// The field that is wrong, by its standard name or its column.
    pub field: Option<String>,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// A field that a row had and its contact has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The field.
    pub field: Field,
    /// Why it could not be used, and what would be right.
    pub reason: String,
}

/// Somebody who is to be on a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    email: EmailAddress,
    #[serde(flatten)]
    details: Details,
    /// Kept beside the contact in the outbox, because it is never sent and two rows that differ in it say the same.
    #[serde(skip)]
    evidence: Evidence,
    /// What the row had and could not be used; what is inside can be sent all the same.
    #[serde(skip)]
    left_out: Vec<LeftOut>,
}

impl Contact {
    /// The address.
    #[must_use]
    pub fn email(&self) -> &EmailAddress {
        &self.email
    }

    /// What is known besides.
    #[must_use]
    pub fn details(&self) -> &Details {
        &self.details
    }

    /// Custom fields by the account's name for them.
    #[must_use]
    pub fn custom_fields(&self) -> &BTreeMap<String, String> {
        &self.details.custom_fields
    }

    /// What the row says about the person's consent.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// The same contact with the evidence that was stored beside it.
    #[must_use]
    pub fn with_evidence(self, evidence: Evidence) -> Self {
        Self { evidence, ..self }
    }

    /// The same contact without a field, by the name that the service's refusals have for it; `None` where it has none
    /// such.
    #[must_use]
    pub fn without(&self, field: &str) -> Option<Self> {
        let mut less = self.clone();
        less.details.leave_out(field).then_some(less)
    }

    /// Hands out the fields that were left out when the contact was made.
    pub fn take_left_out(&mut self) -> Vec<LeftOut> {
        std::mem::take(&mut self.left_out)
    }

    /// Makes a contact of a row. A field that cannot be used makes it none.
    pub fn from_row(row: &Row) -> Result<Self, Rejection> {
        Self::judged(row, |_| false)
    }

    /// Makes a contact of what can be used of a row. Without its address it is none, nor where the person's own word on
    /// being mailed is unclear: leaving out when somebody agreed would make the consent look younger than it is.
    pub fn from_usable(row: &Row) -> Result<Self, Rejection> {
        let own_word =
            |field: &Field| matches!(field, Field::Permission | Field::OptedOut | Field::ConsentAt);
        Self::judged(row, |field| *field != Field::Email && !own_word(field))
    }

    fn judged(row: &Row, may_be_left_out: impl Fn(&Field) -> bool) -> Result<Self, Rejection> {
        let written = row.cells.iter().find(|(field, _)| *field == Field::Email).map(|(_, text)| text.trim());
        let reject = |field: &Field, reason: String| Rejection {
            line: row.line,
            email: written.map(email::shown),
            field: Some(field.name()),
            reason,
        };
        let mut complaints = row.unusable.clone();
        if let Some((field, reason)) = complaints.iter().find(|(field, _)| *field == Field::Email) {
            return Err(reject(field, reason.clone()));
        }
        let email = match written {
            None | Some("") => return Err(reject(&Field::Email, "the row has no address".to_owned())),
            Some(text) => {
                text.parse().map_err(|error: NotAnAddress| reject(&Field::Email, error.to_string()))?
            }
        };
        let mut details = Details::from_cells(&row.cells, &mut complaints);
        let evidence = Evidence::from_cells(&row.cells, &mut complaints);
        if let Some((field, reason)) = complaints.iter().find(|(field, _)| !may_be_left_out(field)) {
            return Err(reject(field, reason.clone()));
        }
        complaints.extend(details.take_surplus_phones());
        let left_out = left_out(complaints);
        Ok(Self { email, details, evidence, left_out })
    }

    /// Adds what a newer row of the same address says: its fields win, the others stay as far as there is room. Gives those
    /// for which there was none.
    pub fn merge(&mut self, newer: &Self) -> Vec<LeftOut> {
        self.evidence.merge(&newer.evidence);
        left_out(self.details.merge(newer.details.clone()))
    }

    /// SHA-256 of what the service would be told: equal for rows that say the same.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut canonical = self.email.key().into_bytes();
        canonical.push(0);
        // Maps are sorted and field order is fixed, so that the text is canonical. It holds nothing that could fail.
        canonical.extend(serde_json::to_vec(&self.details).unwrap_or_default());
        Sha256::digest(&canonical).into()
    }
}

type Complaint = (Field, String);

fn left_out(complaints: Vec<Complaint>) -> Vec<LeftOut> {
    complaints.into_iter().map(|(field, reason)| LeftOut { field, reason }).collect()
}

#[cfg(test)]
mod tests;
