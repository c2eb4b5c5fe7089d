//! What is known of a contact besides the address: cleaned, judged, merged.
//!
//! Owns the limits of the service for each field. Pure. Promises that what is inside can be sent as it is.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::fields::{AddressKind, Field, Part, PhoneKind};
use super::{Complaint, dates};

/// Names, job title, company, and the parts of a postal address but the street.
const LONGEST_NAME: usize = 50;
/// One phone number of a sign-up.
const LONGEST_PHONE: usize = 25;
/// The street of an address, and the value of a custom field.
const LONGEST_TEXT: usize = 255;
/// Custom fields of one contact, in the strictest of the service's schemas.
const MOST_CUSTOM_FIELDS: usize = 25;
/// Characters that nobody sees and nobody means: the zero-width blank, the word joiner, the byte order mark and the soft
/// hyphen. The zero-width joiners are letters' business in some scripts and stay.
const INVISIBLE: [char; 4] = ['\u{200b}', '\u{2060}', '\u{feff}', '\u{ad}'];
/// What stands where a character was lost before the file was written.
const LOST: char = '\u{fffd}';
/// What one plug-in writes before a cell that a spreadsheet might take for a formula, as a phone number with its country:
/// how it begins and how it ends.
const ALERT: (&str, &str) = ("(Security Alert:", "for details.)");
/// What others write before a number, so that a spreadsheet keeps its zeros and its plus.
const KEPT_AS_TEXT: char = '\'';
/// Phone numbers that the service keeps of one contact.
const MOST_PHONES: usize = 3;
/// What an export puts between several values of one cell.
const SEVERAL: &str = ":::";

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

/// What is known of a contact besides the address. Absent means: leave it as it is.
///
/// Its JSON form is stored in the outbox: a name in it is never given another meaning.
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
    /// Phone number of no particular kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_number: Option<String>,
    /// Phone numbers by kind: mobile, home, work, other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub phones: BTreeMap<String, String>,
    /// A day that is celebrated, as YYYY-MM-DD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anniversary: Option<String>,
    /// Month and day of birth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birthday: Option<(u8, u8)>,
    /// The postal address whose columns name no kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub street_address: Option<StreetAddress>,
    /// Postal addresses by kind: home, work, other.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, StreetAddress>,
    /// Custom fields by the account's name for them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub custom_fields: BTreeMap<String, String>,
}

impl Details {
    /// The one phone number that a sign-up can carry: that of no kind, else mobile, home, work, other.
    #[must_use]
    pub fn sign_up_phone(&self) -> Option<&str> {
        let of_kinds = PhoneKind::ALL.into_iter().find_map(|kind| self.phones.get(kind.name()));
        self.phone_number.as_ref().or(of_kinds).map(String::as_str)
    }

    /// The one postal address that a sign-up can carry: that of no kind, else home, work, other.
    #[must_use]
    pub fn sign_up_address(&self) -> Option<&StreetAddress> {
        let of_kinds = AddressKind::ALL.into_iter().find_map(|kind| self.addresses.get(kind.name()));
        self.street_address.as_ref().or(of_kinds)
    }

    /// Adds what a newer row of the same address says: its fields win, the others stay.
    /// Gives what has no room beside them.
    #[must_use]
    pub(super) fn merge(&mut self, new: Self) -> Vec<Complaint> {
        let take = |old: &mut Option<String>, new: Option<String>| *old = new.or_else(|| old.take());
        take(&mut self.first_name, new.first_name);
        take(&mut self.last_name, new.last_name);
        take(&mut self.job_title, new.job_title);
        take(&mut self.company_name, new.company_name);
        take(&mut self.phone_number, new.phone_number);
        take(&mut self.anniversary, new.anniversary);
        self.phones.extend(new.phones);
        self.birthday = new.birthday.or(self.birthday);
        // The service replaces an address as a whole; so do we.
        self.street_address = new.street_address.or_else(|| self.street_address.take());
        self.addresses.extend(new.addresses);
        let older = std::mem::replace(&mut self.custom_fields, new.custom_fields);
        let mut left_out = Vec::new();
        for (name, value) in older {
            if self.custom_fields.contains_key(&name) {
                continue;
            }
            if self.custom_fields.len() < MOST_CUSTOM_FIELDS {
                self.custom_fields.insert(name, value);
            } else {
                left_out.push((Field::Custom(name), too_many_custom_fields()));
            }
        }
        left_out.extend(self.take_surplus_phones());
        left_out
    }

    /// Takes a field out by the name that the service's refusals have for it. Says whether there was one.
    pub(super) fn leave_out(&mut self, field: &str) -> bool {
        let before = self.clone();
        let parts = |details: &mut Self, part: fn(&mut StreetAddress) -> &mut Option<String>| {
            for address in details.street_address.iter_mut().chain(details.addresses.values_mut()) {
                *part(address) = None;
            }
        };
        match field {
            "first_name" => self.first_name = None,
            "last_name" => self.last_name = None,
            "job_title" => self.job_title = None,
            "company_name" => self.company_name = None,
            "phone_number" => (self.phone_number, self.phones) = (None, BTreeMap::new()),
            "anniversary" => self.anniversary = None,
            "birthday_month" | "birthday_day" => self.birthday = None,
            "postal_code" => parts(self, |address| &mut address.postal_code),
            "country" => parts(self, |address| &mut address.country),
            "street" => (self.street_address, self.addresses) = (None, BTreeMap::new()),
            // The service does not say which of them.
            "custom_fields" => self.custom_fields = BTreeMap::new(),
            _ => {}
        }
        *self != before
    }

    /// Cleans and judges a row's cells. What cannot be used is left out, with a complaint.
    pub(super) fn from_cells(cells: &[(Field, String)], complaints: &mut Vec<Complaint>) -> Self {
        let mut building = Building::default();
        for (field, text) in cells {
            let text = in_one_line(field, clean(text));
            if !text.is_empty() {
                let added = building.add(field, &text);
                complaints.extend(added.err());
            }
        }
        building.finish(complaints)
    }

    /// Takes out the phone numbers beyond those that the service keeps, the ones that count least. No fault of the row's.
    pub(super) fn take_surplus_phones(&mut self) -> Vec<Complaint> {
        let most = MOST_PHONES - usize::from(self.phone_number.is_some());
        let surplus =
            PhoneKind::ALL.into_iter().filter(|kind| self.phones.contains_key(kind.name())).skip(most);
        let surplus: Vec<PhoneKind> = surplus.collect();
        let complaint = |kind: PhoneKind| {
            self.phones.remove(kind.name());
            let reason = format!(
                "the service keeps {MOST_PHONES} phone numbers of a contact: the one of no kind, then mobile, home, work, \
                 other"
            );
            (Field::Phone(kind), reason)
        };
        surplus.into_iter().map(complaint).collect()
    }
}

/// Details whose parts are still being collected.
#[derive(Default)]
struct Building<'a> {
    details: Details,
    full_name: Option<(&'a Field, String)>,
    month: Option<(&'a Field, String)>,
    day: Option<(&'a Field, String)>,
    address: Parts,
    kind: Option<AddressKind>,
    addresses: BTreeMap<AddressKind, Parts>,
}

/// Parts of a postal address, with the second line of the street.
#[derive(Default)]
struct Parts {
    address: StreetAddress,
    street2: Option<String>,
}

impl<'a> Building<'a> {
    fn add(&mut self, field: &'a Field, text: &str) -> Result<(), Complaint> {
        if text.len() > LONGEST_TEXT && !matches!(field, Field::Email | Field::PhoneNumber | Field::Phone(_))
        {
            // Longer than anything that is taken, so that no reason has to repeat it.
            limited(field, text, LONGEST_TEXT)?;
        }
        let limited = |longest| limited(field, text, longest);
        let complain = |reason| (field.clone(), reason);
        let details = &mut self.details;
        match field {
            // The address was read before, and evidence is no detail.
            Field::Email
            | Field::ConsentAt
            | Field::Source
            | Field::Ip
            | Field::Permission
            | Field::OptedOut => {}
            Field::FirstName => details.first_name = Some(limited(LONGEST_NAME)?),
            Field::LastName => details.last_name = Some(limited(LONGEST_NAME)?),
            Field::FullName => self.full_name = Some((field, text.to_owned())),
            Field::JobTitle => details.job_title = Some(limited(LONGEST_NAME)?),
            Field::CompanyName => details.company_name = Some(limited(LONGEST_NAME)?),
            Field::PhoneNumber => details.phone_number = Some(phone(field, text)?),
            Field::Phone(kind) => {
                details.phones.insert(kind.name().to_owned(), phone(field, text)?);
            }
            Field::Anniversary if dates::is_blank(text) => {}
            Field::Anniversary => details.anniversary = Some(dates::anniversary(text).map_err(complain)?),
            Field::Birthday if dates::is_blank(text) => {}
            Field::Birthday => details.birthday = Some(dates::day_of_birth(text).map_err(complain)?),
            Field::BirthdayMonth => self.month = Some((field, text.to_owned())),
            Field::BirthdayDay => self.day = Some((field, text.to_owned())),
            Field::AddressKind => self.kind = Some(kind(field, text)?),
            Field::Address(part) => self.address.set(field, *part, text)?,
            Field::AddressOf(kind, part) => {
                self.addresses.entry(*kind).or_default().set(field, *part, text)?;
            }
            Field::Custom(_) if details.custom_fields.len() == MOST_CUSTOM_FIELDS => {
                return Err(complain(too_many_custom_fields()));
            }
            Field::Custom(name) => {
                details.custom_fields.insert(name.clone(), limited(LONGEST_TEXT)?);
            }
        }
        Ok(())
    }

    fn finish(mut self, complaints: &mut Vec<Complaint>) -> Details {
        if let Some((field, name)) = self.full_name.take() {
            complaints.extend(self.split_name(field, &name).err());
        }
        match birthday(self.month, self.day) {
            Ok(birthday) => self.details.birthday = birthday.or(self.details.birthday),
            Err(complaint) => complaints.push(complaint),
        }
        let kind = self.kind.unwrap_or(AddressKind::Home);
        self.details.street_address = self.address.finish(None, kind, complaints);
        for (kind, parts) in self.addresses {
            if let Some(address) = parts.finish(Some(kind), kind, complaints) {
                self.details.addresses.insert(kind.name().to_owned(), address);
            }
        }
        self.details
    }

    /// `Doe, Jane` and `Jane Doe`: where neither name stands by itself, the last word is the last name.
    fn split_name(&mut self, field: &Field, name: &str) -> Result<(), Complaint> {
        if self.details.first_name.is_some() || self.details.last_name.is_some() {
            return Ok(());
        }
        let (first, last) = match (name.split_once(','), name.rsplit_once(' ')) {
            (Some((last, first)), _) => (first.trim(), last.trim()),
            (None, Some((first, last))) => (first.trim(), last),
            (None, None) => (name, ""),
        };
        let part =
            |text: &str| Some(limited(field, text, LONGEST_NAME)).filter(|_| !text.is_empty()).transpose();
        (self.details.first_name, self.details.last_name) = (part(first)?, part(last)?);
        Ok(())
    }
}

impl Parts {
    fn set(&mut self, field: &Field, part: Part, text: &str) -> Result<(), Complaint> {
        let longest = if matches!(part, Part::Street | Part::Street2) { LONGEST_TEXT } else { LONGEST_NAME };
        let place = match part {
            Part::Street => &mut self.address.street,
            Part::Street2 => &mut self.street2,
            Part::City => &mut self.address.city,
            Part::State => &mut self.address.state,
            Part::PostalCode => &mut self.address.postal_code,
            Part::Country => &mut self.address.country,
        };
        let text = if part == Part::PostalCode { without_apostrophe(text) } else { text };
        *place = Some(limited(field, text, longest)?);
        Ok(())
    }

    /// A kind without any part of an address is none. `named` is the kind that the columns name.
    fn finish(
        mut self,
        named: Option<AddressKind>,
        kind: AddressKind,
        complaints: &mut Vec<Complaint>,
    ) -> Option<StreetAddress> {
        if let Some(second) = self.street2.take() {
            let street = self.address.street.take();
            let both = street.map_or_else(|| second.clone(), |street| format!("{street}, {second}"));
            let field =
                named.map_or(Field::Address(Part::Street), |kind| Field::AddressOf(kind, Part::Street));
            match limited(&field, &both, LONGEST_TEXT) {
                Ok(both) => self.address.street = Some(both),
                Err(complaint) => complaints.push(complaint),
            }
        }
        let address = self.address;
        let parts = [&address.street, &address.city, &address.state, &address.postal_code, &address.country];
        let any = parts.iter().any(|part| part.is_some());
        any.then(|| StreetAddress { kind: kind.name().to_owned(), ..address })
    }
}

fn too_many_custom_fields() -> String {
    format!("more than {MOST_CUSTOM_FIELDS} custom fields: the service takes no more for one contact")
}

/// A cell without what nobody meant to write: blanks and no-break blanks around it, invisible characters in it.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    if !text.contains(is_invisible) {
        return Cow::Borrowed(text);
    }
    let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
    Cow::Owned(visible.trim().to_owned())
}

/// Also what steers machines and not the eye, like a zero byte; line ends and tabs are blanks.
fn is_invisible(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_control() && !c.is_ascii_whitespace() } else { INVISIBLE.contains(&c) }
}

/// A value of several lines in one: with commas where it is a street, with blanks elsewhere. Custom fields may have lines.
fn in_one_line<'a>(field: &Field, text: Cow<'a, str>) -> Cow<'a, str> {
    if matches!(field, Field::Custom(_)) || !text.contains(['\r', '\n']) {
        return text;
    }
    let is_street = matches!(
        field,
        Field::Address(Part::Street | Part::Street2) | Field::AddressOf(_, Part::Street | Part::Street2)
    );
    let lines = text.split(['\r', '\n']).map(|line| line.trim().trim_end_matches(','));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    Cow::Owned(lines.join(if is_street { ", " } else { " " }))
}

/// A text that is not too long and whose characters are all there.
pub(super) fn limited(field: &Field, text: &str, longest: usize) -> Result<String, Complaint> {
    if text.len() > longest {
        let length = text.chars().count();
        if length > longest {
            let reason =
                format!("{length} characters: the service takes at most {longest} for {}", field.name());
            return Err((field.clone(), reason));
        }
    }
    if text.contains(LOST) {
        let reason = format!("`{text}` has lost characters ({LOST}): export it again as UTF-8");
        return Err((field.clone(), reason));
    }
    Ok(text.to_owned())
}

/// Of several numbers in one cell the first counts; what was written before it for spreadsheets goes.
fn phone(field: &Field, text: &str) -> Result<String, Complaint> {
    let (begin, end) = ALERT;
    let behind = text.strip_prefix(begin).and_then(|rest| rest.split_once(end));
    let text = behind.map_or(text, |(_, number)| number.trim_start());
    let first = text.split(SEVERAL).next().unwrap_or_default().trim();
    limited(field, without_apostrophe(first), LONGEST_PHONE)
}

/// A number without the apostrophe that keeps it a text.
fn without_apostrophe(text: &str) -> &str {
    let is_number = |rest: &&str| rest.starts_with(|c: char| c == '+' || c.is_ascii_digit());
    text.strip_prefix(KEPT_AS_TEXT).filter(is_number).unwrap_or(text)
}

fn kind(field: &Field, text: &str) -> Result<AddressKind, Complaint> {
    let known = AddressKind::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text));
    known.ok_or_else(|| {
        let kinds = AddressKind::ALL.map(AddressKind::name).join(", ");
        (field.clone(), format!("`{text}` is no kind of address: write {kinds}"))
    })
}

fn birthday(
    month: Option<(&Field, String)>,
    day: Option<(&Field, String)>,
) -> Result<Option<(u8, u8)>, Complaint> {
    match (month, day) {
        (None, None) => Ok(None),
        (Some((field, month)), Some((_, day))) => {
            dates::birthday(&month, &day).map(Some).map_err(|reason| (field.clone(), reason))
        }
        (Some((field, _)), None) | (None, Some((field, _))) => {
            Err((field.clone(), "month and day of birth only count together: fill in both".to_owned()))
        }
    }
}
