//! The body of a bulk import, counted while it grows.
//!
//! Pure. The service drops what is beyond its limits without a word, so the limits are kept here: a row that would not
//! fit is not added. Promises that the bytes that leave are the bytes that were counted.

use std::{collections::BTreeMap, io::Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::contact::{Contact, Details, StreetAddress};

/// The service reads four megabytes of a body and drops the rest; whether they are decimal or binary is unknown, so the
/// smaller is believed, and a tenth is left as margin.
const LARGEST_BODY: usize = 3_600_000;
/// The service reads 40,000 rows and drops the rest; a tenth is left as margin.
const MOST_ROWS: usize = 36_000;
/// The service keeps three phone numbers of a contact.
const MOST_PHONES: usize = 3;

/// An import on its way to be sent.
#[derive(Debug)]
pub struct ImportBody {
    /// The body but for its end.
    bytes: Vec<u8>,
    tail: Vec<u8>,
    rows: usize,
}

impl ImportBody {
    /// An empty import to lists, by id.
    #[must_use]
    pub fn new(lists: &[String]) -> Self {
        let ids = serde_json::to_string(lists).unwrap_or_default();
        Self {
            bytes: b"{\"import_data\":[".to_vec(),
            tail: format!("],\"list_ids\":{ids}}}").into_bytes(),
            rows: 0,
        }
    }

    /// Adds a contact, unless the body would grow beyond what the service reads.
    #[must_use]
    pub fn push(&mut self, contact: &Contact) -> bool {
        let before = self.bytes.len();
        if self.rows > 0 {
            self.bytes.push(b',');
        }
        // Writing to memory cannot fail, and a contact holds nothing that JSON lacks.
        let written = serde_json::to_writer(&mut self.bytes, &ImportRow(contact)).is_ok();
        let fits = self.bytes.len() + self.tail.len() <= LARGEST_BODY && self.rows < MOST_ROWS;
        if written && fits {
            self.rows += 1;
        } else {
            self.bytes.truncate(before);
        }
        written && fits
    }

    /// How many contacts are in it.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The whole body.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        // Writing to memory cannot fail.
        let _written = self.bytes.write_all(&self.tail);
        self.bytes
    }
}

/// A contact as a row of an import: flat, with names of its own that are neither the sign-up's nor the resource's.
struct ImportRow<'a>(&'a Contact);

impl Serialize for ImportRow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let details = self.0.details();
        let mut row = serializer.serialize_map(None)?;
        row.serialize_entry("email", self.0.email().as_str())?;
        let texts = [
            ("first_name", &details.first_name),
            ("last_name", &details.last_name),
            ("job_title", &details.job_title),
            ("company_name", &details.company_name),
            ("anniversary", &details.anniversary),
        ];
        for (name, value) in texts {
            if let Some(value) = value {
                row.serialize_entry(name, value)?;
            }
        }
        if let Some((month, day)) = details.birthday {
            row.serialize_entry("birthday_month", &month)?;
            row.serialize_entry("birthday_day", &day)?;
        }
        for (name, number) in phones(details) {
            row.serialize_entry(name, number)?;
        }
        for (kind, address) in addresses(details) {
            // Names without a kind are the home address.
            let prefix = if kind == "home" { String::new() } else { format!("{kind}_") };
            let parts = [
                ("street", &address.street),
                ("city", &address.city),
                ("state", &address.state),
                ("zip", &address.postal_code),
                ("country", &address.country),
            ];
            for (name, value) in parts {
                if let Some(value) = value {
                    row.serialize_entry(&format!("{prefix}{name}"), value)?;
                }
            }
        }
        for (name, value) in &details.custom_fields {
            row.serialize_entry(&format!("cf:{name}"), value)?;
        }
        row.end()
    }
}

/// The phone numbers by the import's names: the one of no kind first, as in a sign-up, up to the service's limit.
fn phones(details: &Details) -> impl Iterator<Item = (&'static str, &str)> {
    const NAMES: [(&str, &str); 4] = [
        ("mobile", "mobile_phone"),
        ("home", "home_phone"),
        ("work", "work_phone"),
        ("other", "other_phone"),
    ];
    let of_a_kind =
        NAMES.into_iter().filter_map(|(kind, name)| Some((name, details.phones.get(kind)?.as_str())));
    let plain = details.phone_number.as_deref().map(|number| ("phone", number));
    plain.into_iter().chain(of_a_kind).take(MOST_PHONES)
}

/// The postal addresses by kind. The one whose columns name no kind gives way to one whose columns do.
fn addresses(details: &Details) -> BTreeMap<&str, &StreetAddress> {
    let plain = details.street_address.iter().map(|address| (address.kind.as_str(), address));
    plain.chain(details.addresses.iter().map(|(kind, address)| (kind.as_str(), address))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::{AddressKind, Field, Part, PhoneKind, Row};

    fn contact(cells: &[(Field, &str)]) -> Contact {
        let cells = cells.iter().map(|(field, text)| (field.clone(), (*text).to_owned())).collect();
        Contact::from_row(&Row { line: 1, cells, ..Row::default() }).unwrap()
    }

    #[test]
    fn a_row_is_flat_and_has_the_imports_own_names() {
        let ann = contact(&[
            (Field::Email, "ann@example.org"),
            (Field::FirstName, "Ann"),
            (Field::PhoneNumber, "+49 1"),
            (Field::Phone(PhoneKind::Mobile), "+49 2"),
            (Field::AddressOf(AddressKind::Other, Part::City), "Ulm"),
            (Field::BirthdayMonth, "2"),
            (Field::BirthdayDay, "28"),
            (Field::AddressKind, "work"),
            (Field::Address(Part::Street), "Main St 1"),
            (Field::Address(Part::PostalCode), "53111"),
            (Field::Custom("member_no".into()), "7"),
        ]);
        let mut body = ImportBody::new(&["l-1".to_owned()]);
        assert!(body.push(&ann));
        assert!(
            body.push(&contact(&[(Field::Email, "bob@example.org"), (Field::Address(Part::City), "Bonn")]))
        );
        let text = String::from_utf8(body.finish()).unwrap();
        assert_eq!(
            text,
            r#"{"import_data":[{"email":"ann@example.org","first_name":"Ann","birthday_month":2,"birthday_day":28,"phone":"+49 1","mobile_phone":"+49 2","other_city":"Ulm","work_street":"Main St 1","work_zip":"53111","cf:member_no":"7"},{"email":"bob@example.org","city":"Bonn"}],"list_ids":["l-1"]}"#
        );
    }

    #[test]
    fn what_would_be_dropped_in_silence_is_not_added() {
        let small = contact(&[(Field::Email, "ann@example.org")]);
        let mut body = ImportBody::new(&["l-1".to_owned()]);
        assert_eq!((0..=MOST_ROWS).filter(|_| body.push(&small)).count(), MOST_ROWS);
        let name = "n".repeat(50);
        let large = contact(&[
            (Field::Email, "ann@example.org"),
            (Field::FirstName, &name),
            (Field::Address(Part::Street), &"s".repeat(255)),
        ]);
        let mut body = ImportBody::new(&["l-1".to_owned()]);
        while body.push(&large) {}
        assert!(body.rows() < MOST_ROWS);
        let bytes = body.finish();
        assert!(bytes.len() <= LARGEST_BODY && bytes.len() > LARGEST_BODY - 1_000, "{}", bytes.len());
        serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
    }
}
