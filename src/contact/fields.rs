//! The fields of a contact and their standard names.
//!
//! Pure. Promises one name for each field, which is what receipts, rejects and the configuration call it.

/// Kinds of postal address that the service knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AddressKind {
    /// Where the person lives.
    Home,
    /// Where the person works.
    Work,
    /// Any other.
    Other,
}

impl AddressKind {
    /// All of them, the one that counts first in front.
    pub const ALL: [Self; 3] = [Self::Home, Self::Work, Self::Other];

    /// The service's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Home => "home",
            Self::Work => "work",
            Self::Other => "other",
        }
    }
}

/// Kinds of phone that the service knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PhoneKind {
    /// In the pocket.
    Mobile,
    /// At home.
    Home,
    /// At work.
    Work,
    /// Any other.
    Other,
}

impl PhoneKind {
    /// All of them, the one that counts first in front.
    pub const ALL: [Self; 4] = [Self::Mobile, Self::Home, Self::Work, Self::Other];

    /// The service's word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Mobile => "mobile",
            Self::Home => "home",
            Self::Work => "work",
            Self::Other => "other",
        }
    }
}

/// A part of a postal address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Street and number.
    Street,
    /// A second line, which is put behind the street.
    Street2,
    /// Town.
    City,
    /// State or province.
    State,
    /// Postal code.
    PostalCode,
    /// Country.
    Country,
}

/// A field of a contact, by its standard name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Field {
    /// The address.
    Email,
    /// First name.
    FirstName,
    /// Last name.
    LastName,
    /// First and last name in one; counts where neither stands by itself.
    FullName,
    /// Job title.
    JobTitle,
    /// Company.
    CompanyName,
    /// Phone number of no particular kind.
    PhoneNumber,
    /// Phone number of a kind.
    Phone(PhoneKind),
    /// A day that is celebrated.
    Anniversary,
    /// Day of birth in one cell, with or without the year.
    Birthday,
    /// Month of birth, 1 to 12.
    BirthdayMonth,
    /// Day of birth, 1 to 31.
    BirthdayDay,
    /// Which kind the parts of a postal address without a kind belong to: home, work or other.
    AddressKind,
    /// A part of the postal address without a kind.
    Address(Part),
    /// A part of the postal address of a kind.
    AddressOf(AddressKind, Part),
    /// When the person agreed to be mailed.
    ConsentAt,
    /// Where: a form, a page, a shop.
    Source,
    /// From which network address.
    Ip,
    /// Whether the person agreed to be mailed; only a no counts.
    Permission,
    /// That the person left or mail to them came back: when, or yes.
    OptedOut,
    /// A custom field of the account, by the account's name for it.
    Custom(String),
}

use AddressKind::{Home, Other, Work};
use Part::{City, Country, PostalCode, State, Street, Street2};

/// The standard names, in the order of a receipt.
pub const STANDARD_FIELDS: [(Field, &str); 45] = [
    (Field::Email, "email"),
    (Field::FirstName, "first_name"),
    (Field::LastName, "last_name"),
    (Field::FullName, "full_name"),
    (Field::JobTitle, "job_title"),
    (Field::CompanyName, "company_name"),
    (Field::PhoneNumber, "phone_number"),
    (Field::Phone(PhoneKind::Mobile), "mobile_phone"),
    (Field::Phone(PhoneKind::Home), "home_phone"),
    (Field::Phone(PhoneKind::Work), "work_phone"),
    (Field::Phone(PhoneKind::Other), "other_phone"),
    (Field::Anniversary, "anniversary"),
    (Field::Birthday, "birthday"),
    (Field::BirthdayMonth, "birthday_month"),
    (Field::BirthdayDay, "birthday_day"),
    (Field::AddressKind, "address_kind"),
    (Field::Address(Street), "street"),
    (Field::Address(Street2), "street2"),
    (Field::Address(City), "city"),
    (Field::Address(State), "state"),
    (Field::Address(PostalCode), "postal_code"),
    (Field::Address(Country), "country"),
    (Field::AddressOf(Home, Street), "home_street"),
    (Field::AddressOf(Home, Street2), "home_street2"),
    (Field::AddressOf(Home, City), "home_city"),
    (Field::AddressOf(Home, State), "home_state"),
    (Field::AddressOf(Home, PostalCode), "home_postal_code"),
    (Field::AddressOf(Home, Country), "home_country"),
    (Field::AddressOf(Work, Street), "work_street"),
    (Field::AddressOf(Work, Street2), "work_street2"),
    (Field::AddressOf(Work, City), "work_city"),
    (Field::AddressOf(Work, State), "work_state"),
    (Field::AddressOf(Work, PostalCode), "work_postal_code"),
    (Field::AddressOf(Work, Country), "work_country"),
    (Field::AddressOf(Other, Street), "other_street"),
    (Field::AddressOf(Other, Street2), "other_street2"),
    (Field::AddressOf(Other, City), "other_city"),
    (Field::AddressOf(Other, State), "other_state"),
    (Field::AddressOf(Other, PostalCode), "other_postal_code"),
    (Field::AddressOf(Other, Country), "other_country"),
    (Field::ConsentAt, "consent_at"),
    (Field::Source, "source"),
    (Field::Ip, "ip"),
    (Field::Permission, "permission"),
    (Field::OptedOut, "opted_out"),
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
