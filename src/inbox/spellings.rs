//! How people and programs write the names of the fields.
//!
//! Pure. Promises that case, blanks, dashes and signs do not matter, and a rank for each spelling, so that of two columns
//! that could mean one field the better one can be told. README has these tables for people.

use crate::contact::{AddressKind, Field, Part, PhoneKind, STANDARD_FIELDS};

/// A spelling that a kind or a wrapper was taken off stands behind every one that means the field by itself.
const BEHIND: usize = 100;

/// The spellings of each field besides its standard name, folded as [`fold`] does, the better one first. English, then
/// German, French, Spanish, Dutch.
const SPELLINGS: [(Field, &[&str]); 23] = [
    (
        Field::Email,
        &[
            "emailaddress",
            "mail",
            "mailaddress",
            "youremail",
            "primaryemail",
            "email1value",
            "email1",
            "email1address",
            "attendeeemail",
            "buyeremail",
            "customeremail",
            "contactemail",
            "subscriberemail",
            "useremail",
            "emailadresse",
            "mailadresse",
            "adresseemail",
            "adressemail",
            "courriel",
            "adressedemessagerie",
            "adresseélectronique",
            "correoelectrónico",
            "correoelectronico",
            "correo",
            "direccióndecorreoelectrónico",
            "emailadres",
            "mailadres",
            "secondaryemail",
            "email2value",
            "email2",
            "email2address",
        ],
    ),
    (
        Field::FirstName,
        &[
            "givenname",
            "forename",
            "fname",
            "namefirst",
            "yourfirstname",
            "attendeefirstname",
            "buyerfirstname",
            "vorname",
            "prénom",
            "prenom",
            "nombre",
            "nombredepila",
            "voornaam",
        ],
    ),
    (
        Field::LastName,
        &[
            "surname",
            "familyname",
            "lname",
            "namelast",
            "yourlastname",
            "attendeelastname",
            "buyerlastname",
            "nachname",
            "familienname",
            "zuname",
            "nomdefamille",
            "apellidos",
            "apellido",
            "achternaam",
        ],
    ),
    (
        Field::FullName,
        &["name", "yourname", "contactname", "customername", "nomcomplet", "nombrecompleto", "naam"],
    ),
    (
        Field::JobTitle,
        &[
            "jobposition",
            "position",
            "organizationtitle",
            "organization1title",
            "berufsbezeichnung",
            "stellenbezeichnung",
            "fonction",
            "poste",
            "cargo",
            "puesto",
            "functie",
        ],
    ),
    (
        Field::CompanyName,
        &[
            "company",
            "organization",
            "organisation",
            "companynames",
            "organizationname",
            "organization1name",
            "accountname",
            "associatedcompany",
            "firma",
            "unternehmen",
            "société",
            "societe",
            "entreprise",
            "empresa",
            "bedrijf",
            "bedrijfsnaam",
        ],
    ),
    (
        Field::PhoneNumber,
        &[
            "phone",
            "telephone",
            "telephonenumber",
            "yourphone",
            "yourtel",
            "tel",
            "phone1value",
            "phone1",
            "primaryphone",
            "telefon",
            "telefonnummer",
            "téléphone",
            "numérodetéléphone",
            "teléfono",
            "telefono",
            "telefoon",
            "telefoonnummer",
        ],
    ),
    (
        Field::Phone(PhoneKind::Mobile),
        &[
            "mobile",
            "cellphone",
            "cell",
            "phonemobile",
            "mobilephonenumber",
            "mobilenumber",
            "handy",
            "mobiltelefon",
            "mobil",
            "portable",
            "móvil",
            "movil",
            "mobiel",
        ],
    ),
    (
        Field::Birthday,
        &[
            "birthdate",
            "dateofbirth",
            "dob",
            "geburtstag",
            "geburtsdatum",
            "datedenaissance",
            "anniversairedenaissance",
            "fechadenacimiento",
            "geboortedatum",
        ],
    ),
    (Field::BirthdayMonth, &["birthmonth", "birthdaymonth"]),
    (Field::BirthdayDay, &["birthdayday"]),
    (Field::Anniversary, &["weddinganniversary", "jahrestag"]),
    (
        Field::Address(Part::Street),
        &[
            "streetaddress",
            "street1",
            "streetaddress1",
            "streetaddressline1",
            "addressline1",
            "address1",
            "address12",
            "address",
            "strasse",
            "straße",
            "adresse",
            "rue",
            "calle",
            "dirección",
            "direccion",
            "straat",
            "adres",
        ],
    ),
    (
        Field::Address(Part::Street2),
        &[
            "streetaddress2",
            "streetaddressline2",
            "streetline2",
            "addressline2",
            "address2",
            "extendedaddress",
        ],
    ),
    (
        Field::Address(Part::City),
        &["town", "ort", "stadt", "wohnort", "ville", "ciudad", "plaats", "woonplaats"],
    ),
    (
        Field::Address(Part::State),
        &[
            "province",
            "region",
            "stateprovince",
            "provincestate",
            "stateregion",
            "provincecode",
            "statecode",
            "bundesland",
            "région",
            "provincia",
            "provincie",
        ],
    ),
    (
        Field::Address(Part::PostalCode),
        &[
            "postcode",
            "zip",
            "zipcode",
            "zippostalcode",
            "plz",
            "postleitzahl",
            "codepostal",
            "códigopostal",
            "codigopostal",
        ],
    ),
    (Field::Address(Part::Country), &["countryregion", "countrycode", "land", "pays", "país", "pais"]),
    (
        Field::ConsentAt,
        &[
            "consentdate",
            "consenttime",
            "confirmtime",
            "confirmedoptindate",
            "optindate",
            "optintime",
            "optinat",
            "signupdate",
            "signuptime",
            "subscribedat",
            "subscribersince",
            "entrydate",
            "timestamp",
        ],
    ),
    (
        Field::Source,
        &["consentsource", "optinsource", "signupsource", "subscribersource", "sourcename", "sourceurl"],
    ),
    (Field::Ip, &["confirmip", "optinip", "signupip", "ipaddress", "userip"]),
    (
        Field::Permission,
        &["emailpermissionstatus", "emailsubscriberstatus", "acceptsemailmarketing", "acceptsmarketing"],
    ),
    (
        Field::OptedOut,
        &[
            "unsubtime",
            "cleantime",
            "optoutdate",
            "confirmedoptoutdate",
            "emailoptout",
            "hasoptedoutofemail",
            "unsubscribed",
            "unsubscribedat",
            "unsubscribedfromallemail",
        ],
    ),
];

/// Words before or behind a name that say which kind it is of.
const KINDS: [(&str, AddressKind, PhoneKind); 4] = [
    ("home", AddressKind::Home, PhoneKind::Home),
    ("work", AddressKind::Work, PhoneKind::Work),
    ("business", AddressKind::Work, PhoneKind::Work),
    ("other", AddressKind::Other, PhoneKind::Other),
];
/// Words before or behind a name that change nothing about it.
const WRAPPERS: [&str; 5] = ["defaultaddress", "address1", "address", "mailing", "billing"];

/// The field that a column's name means, as far as it can be guessed, and how good a name for it that is: less is better.
pub fn guess(title: &str) -> Option<(Field, usize)> {
    let title = title.trim_start_matches('\u{feff}').trim();
    if let Some(custom) = title.strip_prefix("cf:") {
        return Some((Field::Custom(custom.trim().to_owned()), 0));
    }
    let folded = fold(title);
    if let Some(found) = spelled(&folded) {
        return Some(found);
    }
    let without =
        |word: &str| folded.strip_prefix(word).or_else(|| folded.strip_suffix(word)).map(str::to_owned);
    for (word, address, phone) in KINDS {
        let Some((field, rank)) = without(word).and_then(|rest| spelled(&rest)) else { continue };
        return Some(match field {
            Field::Address(part) => (Field::AddressOf(address, part), rank + BEHIND),
            Field::PhoneNumber => (Field::Phone(phone), rank + BEHIND),
            Field::Email => (Field::Email, rank + BEHIND),
            // A spelling says that it is about mail; the bare name with a kind may be somebody's permission to work.
            Field::Permission if rank > 0 => (Field::Permission, rank + BEHIND),
            _ => continue,
        });
    }
    let plain = |(field, _): &(Field, usize)| {
        !matches!(
            field,
            Field::ConsentAt
                | Field::Source
                | Field::Ip
                | Field::Permission
                | Field::OptedOut
                | Field::FullName
        )
    };
    let found =
        WRAPPERS.into_iter().find_map(|word| without(word).and_then(|rest| spelled(&rest)).filter(plain));
    found.map(|(field, rank)| (field, rank + BEHIND))
}

fn spelled(folded: &str) -> Option<(Field, usize)> {
    if let Some((field, _)) = STANDARD_FIELDS.iter().find(|(_, name)| same(name, folded)) {
        return Some((field.clone(), 0));
    }
    SPELLINGS.iter().find_map(|(field, spellings)| {
        let place = spellings.iter().position(|spelling| *spelling == folded)?;
        Some((field.clone(), place + 1))
    })
}

/// Whether a standard name is a folded one, but for its underscores.
fn same(name: &str, folded: &str) -> bool {
    name.bytes().filter(|byte| *byte != b'_').eq(folded.bytes())
}

/// A name without what makes no difference.
pub fn fold(title: &str) -> String {
    title.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
