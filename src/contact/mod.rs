//! What a row of a drop file means: a contact, or a rejection that names its place.
//!
//! Owns the fields that the service takes and their limits. Pure. Promises that a [`Contact`] was parsed once and can be
//! sent as it is, and that a bad row is a value and never the end of its file. Leaves column names to `inbox`.

mod dates;
mod email;
mod evidence;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use email::{EmailAddress, NotAnAddress};
pub use evidence::Evidence;

/// Names, job title, company, and the parts of a postal address but the street.
const LONGEST_NAME: usize = 50;
/// One phone number of a sign-up.
const LONGEST_PHONE: usize = 25;
/// The street of an address, and the value of a custom field.
const LONGEST_TEXT: usize = 255;
/// Custom fields of one contact, in the strictest of the service's schemas.
const MOST_CUSTOM_FIELDS: usize = 25;
/// Kinds of postal address that the service knows.
const ADDRESS_KINDS: [&str; 3] = ["home", "work", "other"];

/// A field of a contact, by its standard name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The address.
    Email,
    /// First name.
    FirstName,
    /// Last name.
    LastName,
    /// Job title.
    JobTitle,
    /// Company.
    CompanyName,
    /// Phone number.
    PhoneNumber,
    /// A day that is celebrated.
    Anniversary,
    /// Month of birth, 1 to 12.
    BirthdayMonth,
    /// Day of birth, 1 to 31.
    BirthdayDay,
    /// Which postal address it is: home, work or other.
    AddressKind,
    /// Street and number.
    Street,
    /// Town.
    City,
    /// State or province.
    State,
    /// Postal code.
    PostalCode,
    /// Country.
    Country,
    /// When the person agreed to be mailed.
    ConsentAt,
    /// Where: a form, a page, a shop.
    Source,
    /// From which network address.
    Ip,
    /// A custom field of the account, by the account's name for it.
    Custom(String),
}

/// The standard names, in the order of a receipt.
pub const STANDARD_FIELDS: [(Field, &str); 18] = [
    (Field::Email, "email"),
    (Field::FirstName, "first_name"),
    (Field::LastName, "last_name"),
    (Field::JobTitle, "job_title"),
    (Field::CompanyName, "company_name"),
    (Field::PhoneNumber, "phone_number"),
    (Field::Anniversary, "anniversary"),
    (Field::BirthdayMonth, "birthday_month"),
    (Field::BirthdayDay, "birthday_day"),
    (Field::AddressKind, "address_kind"),
    (Field::Street, "street"),
    (Field::City, "city"),
    (Field::State, "state"),
    (Field::PostalCode, "postal_code"),
    (Field::Country, "country"),
    (Field::ConsentAt, "consent_at"),
    (Field::Source, "source"),
    (Field::Ip, "ip"),
];

impl Field {
    /// The standard name: `first_name`, `cf:member_no`.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Custom(name) => format!("cf:{name}"),
            field => {
                let known = STANDARD_FIELDS.iter().find(|(known, _)| known == field);
                known.map(|(_, name)| (*name).to_owned()).unwrap_or_default()
            }
        }
    }
}

/// A row that a reader hands over: the wanted cells, with the place they stand at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The line it begins on; for a JSON array the element, counted from 1.
    pub line: u64,
    /// The cells that mean something.
    pub cells: Vec<(Field, String)>,
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

/// A postal address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StreetAddress {
    /// home, work or other.
    pub kind: String,
    /// Street and number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street: Option<String>,
    /// Town.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<String>,
    /// State or province.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Postal code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postal_code: Option<String>,
    /// Country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
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
}

/// What is known of a contact besides the address. Absent means: leave it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// First name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_name: Option<String>,
    /// Last name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_name: Option<String>,
    /// Job title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_title: Option<String>,
    /// Company.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub company_name: Option<String>,
    /// Phone number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// A day that is celebrated, as YYYY-MM-DD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anniversary: Option<String>,
    /// Month and day of birth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birthday: Option<(u8, u8)>,
    /// Postal address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street_address: Option<StreetAddress>,
    /// Custom fields by the account's name for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_fields: BTreeMap<String, String>,
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

    /// Makes a contact of a row.
    pub fn from_row(row: &Row) -> Result<Self, Rejection> {
        let written = row.cells.iter().find(|(field, _)| *field == Field::Email).map(|(_, text)| text.trim());
        let reject = |field: &Field, reason: String| Rejection {
            line: row.line,
            email: written.map(str::to_owned),
            field: Some(field.name()),
            reason,
        };
        let email = match written {
            None | Some("") => return Err(reject(&Field::Email, "the row has no address".to_owned())),
            Some(text) => {
                text.parse().map_err(|error: NotAnAddress| reject(&Field::Email, error.to_string()))?
            }
        };
        let details = details(&row.cells).map_err(|(field, reason)| reject(&field, reason))?;
        let evidence = Evidence::from_cells(&row.cells).map_err(|(field, reason)| reject(&field, reason))?;
        Ok(Self { email, details, evidence })
    }

    /// Adds what a newer row of the same address says: its fields win, the others stay.
    pub fn merge(&mut self, newer: &Self) {
        let (old, new) = (&mut self.details, newer.details.clone());
        let take = |old: &mut Option<String>, new: Option<String>| *old = new.or_else(|| old.take());
        take(&mut old.first_name, new.first_name);
        take(&mut old.last_name, new.last_name);
        take(&mut old.job_title, new.job_title);
        take(&mut old.company_name, new.company_name);
        take(&mut old.phone_number, new.phone_number);
        take(&mut old.anniversary, new.anniversary);
        old.birthday = new.birthday.or(old.birthday);
        // The service replaces an address as a whole; so do we.
        old.street_address = new.street_address.or_else(|| old.street_address.take());
        old.custom_fields.extend(new.custom_fields);
        self.evidence.merge(&newer.evidence);
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

fn details(cells: &[(Field, String)]) -> Result<Details, Complaint> {
    let mut details = Details::default();
    let (mut month, mut day) = (None, None);
    let mut address = StreetAddress::default();
    for (field, text) in cells {
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}' || c == '\u{200b}');
        if text.is_empty() {
            continue;
        }
        let limited = |longest| limited(field, text, longest).map(Some);
        match field {
            // The address was read before, and evidence is no detail.
            Field::Email | Field::ConsentAt | Field::Source | Field::Ip => {}
            Field::FirstName => details.first_name = limited(LONGEST_NAME)?,
            Field::LastName => details.last_name = limited(LONGEST_NAME)?,
            Field::JobTitle => details.job_title = limited(LONGEST_NAME)?,
            Field::CompanyName => details.company_name = limited(LONGEST_NAME)?,
            Field::PhoneNumber => details.phone_number = limited(LONGEST_PHONE)?,
            Field::Anniversary => {
                details.anniversary = Some(dates::anniversary(text).map_err(|e| (field.clone(), e))?);
            }
            Field::BirthdayMonth => month = Some((field, text)),
            Field::BirthdayDay => day = Some((field, text)),
            Field::AddressKind => address.kind = kind(field, text)?,
            Field::Street => address.street = limited(LONGEST_TEXT)?,
            Field::City => address.city = limited(LONGEST_NAME)?,
            Field::State => address.state = limited(LONGEST_NAME)?,
            Field::PostalCode => address.postal_code = limited(LONGEST_NAME)?,
            Field::Country => address.country = limited(LONGEST_NAME)?,
            Field::Custom(name) => {
                let value = self::limited(field, text, LONGEST_TEXT)?;
                details.custom_fields.insert(name.clone(), value);
            }
        }
    }
    if details.custom_fields.len() > MOST_CUSTOM_FIELDS {
        let reason = format!(
            "more than {MOST_CUSTOM_FIELDS} custom fields: the service takes no more for one contact"
        );
        return Err((Field::Custom("*".to_owned()), reason));
    }
    details.birthday = birthday(month, day)?;
    details.street_address = street_address(address);
    Ok(details)
}

fn limited(field: &Field, text: &str, longest: usize) -> Result<String, Complaint> {
    let length = text.chars().count();
    if length > longest {
        let reason = format!("{length} characters: the service takes at most {longest} for {}", field.name());
        return Err((field.clone(), reason));
    }
    Ok(text.to_owned())
}

fn kind(field: &Field, text: &str) -> Result<String, Complaint> {
    let lower = text.to_lowercase();
    if ADDRESS_KINDS.contains(&lower.as_str()) {
        return Ok(lower);
    }
    Err((field.clone(), format!("`{text}` is no kind of address: write {}", ADDRESS_KINDS.join(", "))))
}

/// A kind without any part of an address is none.
fn street_address(mut address: StreetAddress) -> Option<StreetAddress> {
    let parts = [&address.street, &address.city, &address.state, &address.postal_code, &address.country];
    if parts.iter().all(|part| part.is_none()) {
        return None;
    }
    if address.kind.is_empty() {
        ADDRESS_KINDS[0].clone_into(&mut address.kind);
    }
    Some(address)
}

fn birthday(
    month: Option<(&Field, &str)>,
    day: Option<(&Field, &str)>,
) -> Result<Option<(u8, u8)>, Complaint> {
    match (month, day) {
        (None, None) => Ok(None),
        (Some((field, month)), Some((_, day))) => {
            dates::birthday(month, day).map(Some).map_err(|reason| (field.clone(), reason))
        }
        (Some((field, _)), None) | (None, Some((field, _))) => {
            Err((field.clone(), "month and day of birth only count together: fill in both".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
