//! Column names to fields: the standard names, their usual spellings, and what the configuration says.
//!
//! Pure. Promises that case, blanks, dashes and underscores do not matter, and that a table without an address column is
//! told so with the names it has.

use std::collections::{BTreeMap, BTreeSet};

use super::Unreadable;
use super::spellings::{self, fold};
use crate::config::pointer;
use crate::contact::{EmailAddress, Field};

/// Columns that our own rejects files have besides the original ones.
pub const LINE_COLUMN: &str = "mailchute_line";
/// The other of them.
pub const REASON_COLUMN: &str = "mailchute_reason";

/// What each column of a table means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Columns {
    fields: Vec<Option<Field>>,
    /// The table is one of our rejects files, whose cells were defused for spreadsheets.
    pub defused: bool,
    /// The column with the address, where more than one could hold it.
    pub address_column: Option<String>,
}

impl Columns {
    /// Understands a header.
    pub fn of_header(header: &[String], configured: &BTreeMap<String, String>) -> Result<Self, Unreadable> {
        // Columns without a name at the end come from delimiters at the end: rows may leave them out.
        let width = header.iter().rposition(|title| !title.is_empty()).map_or(0, |last| last + 1);
        let header = &header[..width];
        let mut fields: Vec<Option<Field>> = vec![None; width];
        for (name, column) in configured {
            let wanted = fold(column);
            let is_pointer = pointer::is_pointer(column);
            match header.iter().position(|title| fold(title) == wanted) {
                Some(place) => fields[place] = Some(field_of(name)),
                // The address column is the one that a file cannot do without.
                // A pointer is meant for JSON; a rejects file that was made of JSON has it for a title.
                None if field_of(name) == Field::Email && !is_pointer => {
                    return Err(no_address(header, Some(column)));
                }
                None => {}
            }
        }
        // Looked up and not searched for, because a hostile header may have very many columns.
        let taken: BTreeSet<Field> = fields.iter().flatten().cloned().collect();
        for (field, place) in best_columns(header) {
            if fields[place].is_none() && !taken.contains(&field) {
                fields[place] = Some(field);
            }
        }
        if !fields.contains(&Some(Field::Email)) {
            return Err(no_address(header, None));
        }
        let defused = header.iter().any(|title| title == REASON_COLUMN);
        let address_column = address_among_several(header, &fields);
        Ok(Self { fields, defused, address_column })
    }

    /// A table without a header, whose first column holds addresses.
    #[must_use]
    pub fn of_addresses(width: usize) -> Self {
        let mut fields = vec![None; width.max(1)];
        fields[0] = Some(Field::Email);
        Self { fields, defused: false, address_column: None }
    }

    /// How many cells a row has.
    #[must_use]
    pub fn width(&self) -> usize {
        self.fields.len()
    }

    /// What a column means, if anything.
    #[must_use]
    pub fn field(&self, place: usize) -> Option<&Field> {
        self.fields.get(place).and_then(Option::as_ref)
    }
}

/// Whether a first line holds addresses rather than names of columns.
#[must_use]
pub fn is_no_header(first: &[String]) -> bool {
    first.first().is_some_and(|cell| cell.parse::<EmailAddress>().is_ok())
}

/// For each field the column whose name is the best one for it; of equals the first.
fn best_columns(header: &[String]) -> BTreeMap<Field, usize> {
    let mut best: BTreeMap<Field, (usize, usize)> = BTreeMap::new();
    for (place, title) in header.iter().enumerate() {
        let Some((field, rank)) = spellings::guess(title) else { continue };
        let known = best.entry(field).or_insert((rank, place));
        *known = (*known).min((rank, place));
    }
    best.into_iter().map(|(field, (_, place))| (field, place)).collect()
}

/// The name of the address column, if another one could have been it.
fn address_among_several(header: &[String], fields: &[Option<Field>]) -> Option<String> {
    let chosen = fields.iter().position(|field| *field == Some(Field::Email))?;
    let could_be = |place: usize| fields[place].is_none() && guess(&header[place]) == Some(Field::Email);
    (0..fields.len()).any(could_be).then(|| header[chosen].clone())
}

/// The field that a column's name means, as far as it can be guessed.
#[must_use]
pub fn guess(title: &str) -> Option<Field> {
    spellings::guess(title).map(|(field, _)| field)
}

/// The field that a key of `columns` names.
pub fn field_of(name: &str) -> Field {
    guess(name).unwrap_or_else(|| Field::Custom(name.to_owned()))
}

fn no_address(header: &[String], configured: Option<&str>) -> Unreadable {
    let columns = header.iter().map(|title| format!("`{title}`")).collect::<Vec<_>>().join(", ");
    let wanted = match configured {
        Some(column) => {
            format!("the configuration takes the address from the column `{column}`, which is not there")
        }
        None => "no column is named `email`".to_owned(),
    };
    Unreadable::new(
        "line 1",
        format!("{wanted}; the columns are {columns}: rename one, or name it under `columns` of the route"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::contact::{Part, PhoneKind, STANDARD_FIELDS};

    fn titles(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn fields(names: &[&str], configured: &[(&str, &str)]) -> Vec<Option<Field>> {
        let configured = configured.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        Columns::of_header(&titles(names), &configured).unwrap().fields
    }

    #[test]
    fn names_are_recognised_in_any_dress() {
        let found =
            fields(&["E-Mail", "FIRST_NAME", "last name", "Zip-Code", "cf:member_no", "whatever"], &[]);
        let expected = [Field::Email, Field::FirstName, Field::LastName, Field::Address(Part::PostalCode)];
        assert_eq!(found[..4], expected.map(Some));
        assert_eq!(found[4..], [Some(Field::Custom("member_no".into())), None]);
    }

    #[test]
    fn the_configuration_wins_and_the_first_of_two_columns() {
        let found =
            fields(&["email", "Contact", "phone", "mobile"], &[("email", "contact"), ("cf:nick", "email")]);
        assert_eq!(
            found,
            [
                Some(Field::Custom("nick".into())),
                Some(Field::Email),
                Some(Field::PhoneNumber),
                Some(Field::Phone(PhoneKind::Mobile))
            ]
        );
    }

    #[test]
    fn of_two_columns_that_could_be_the_address_the_better_named_one_is_it() {
        let address = |names: &[&str]| {
            let found = fields(names, &[]);
            names[found.iter().position(|field| *field == Some(Field::Email)).unwrap()].to_owned()
        };
        assert_eq!(address(&["Work email", "E-mail 2 - Value", "E-mail 1 - Value"]), "E-mail 1 - Value");
        assert_eq!(address(&["Billing Email", "Email Address", "mail"]), "Email Address");
        assert_eq!(address(&["E-Mail-Adresse", "EMAIL", "email"]), "EMAIL");
    }

    #[test]
    fn who_comes_stands_before_who_pays_in_each_field() {
        let header = [
            "Buyer first name",
            "Buyer last name",
            "Buyer email",
            "Attendee first name",
            "Attendee last name",
            "Attendee email",
        ];
        let expected = [Field::FirstName, Field::LastName, Field::Email].map(Some);
        assert_eq!(fields(&header, &[])[3..], expected);
        assert_eq!(fields(&header[..3], &[]), expected);
    }

    #[test]
    fn a_kind_does_not_hide_the_permission_and_does_not_make_one() {
        let header = ["Email address - other", "Email permission status - other"];
        assert_eq!(fields(&header, &[]), [Field::Email, Field::Permission].map(Some));
        assert_eq!(guess("Work permission"), None);
    }

    #[test]
    fn plain_fields_are_recognised_in_five_languages() {
        for header in [
            ["E-Mail", "First name", "Surname", "Company", "Phone", "Town", "Zip"],
            ["E-Mail-Adresse", "Vorname", "Nachname", "Firma", "Telefon", "Ort", "PLZ"],
            ["Adresse e-mail", "Prénom", "Nom de famille", "Société", "Téléphone", "Ville", "Code postal"],
            ["Correo electrónico", "Nombre", "Apellidos", "Empresa", "Teléfono", "Ciudad", "Código postal"],
            ["E-mailadres", "Voornaam", "Achternaam", "Bedrijf", "Telefoonnummer", "Woonplaats", "Postcode"],
        ] {
            let names: Vec<String> = fields(&header, &[]).iter().flatten().map(Field::name).collect();
            let expected =
                ["email", "first_name", "last_name", "company_name", "phone_number", "city", "postal_code"];
            assert_eq!(names, expected, "{header:?}");
        }
    }

    #[test]
    fn a_table_without_an_address_says_what_it_has() {
        let error = Columns::of_header(&titles(&["name", "age"]), &BTreeMap::new()).unwrap_err();
        insta::assert_snapshot!(error.to_string(), @"line 1: no column is named `email`; the columns are `name`, `age`: rename one, or name it under `columns` of the route");
        let configured = [("email".to_owned(), "E-Post".to_owned())].into();
        let error = Columns::of_header(&titles(&["mail"]), &configured).unwrap_err();
        assert!(error.to_string().contains("takes the address from the column `E-Post`"), "{error}");
    }

    #[test]
    fn a_list_of_addresses_needs_no_header() {
        assert!(is_no_header(&titles(&["jane@example.org", "Jane"])));
        assert!(!is_no_header(&titles(&["email"])));
        assert_eq!(Columns::of_addresses(2).fields, [Some(Field::Email), None]);
    }

    #[test]
    fn every_standard_name_means_its_field() {
        for (field, name) in STANDARD_FIELDS {
            assert_eq!(guess(name), Some(field), "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(header in prop::collection::vec("\\PC{0,20}", 0..8)) {
            let _ = Columns::of_header(&header, &BTreeMap::new());
        }
    }
}
