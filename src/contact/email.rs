//! An e-mail address, cleaned as a careful clerk would and then judged once.
//!
//! Promises that what is inside can be sent as it is: no blanks, no display name, a full domain in ASCII, at most the
//! service's length. Leaves to the service whether anybody reads mail there.

use std::{fmt, str::FromStr};

use email_address::{EmailAddress as Syntax, Options};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

/// The contact resource of the service takes 80 characters; its upsert schemas say 50 and are not believed in practice.
const LONGEST: usize = 80;
/// Characters that look like nothing and come out of spreadsheets and web pages: zero-width ones, the byte order mark
/// and the soft hyphen.
const INVISIBLE: [char; 6] = ['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{00ad}'];

/// An address that can be sent to the service.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct EmailAddress(String);

/// Why a text is no address, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotAnAddress(String);

impl EmailAddress {
    /// The address as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The address for comparing: the service treats it without case.
    #[must_use]
    pub fn key(&self) -> String {
        self.0.to_lowercase()
    }

    /// The address for eyes that need not know it: `j…@example.org`.
    #[must_use]
    pub fn masked(&self) -> String {
        let (local, domain) = self.0.rsplit_once('@').unwrap_or((&self.0, ""));
        format!("{}…@{domain}", local.chars().next().unwrap_or_default())
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl<'de> Deserialize<'de> for EmailAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl FromStr for EmailAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        let bare = unwrap(text);
        let refuse =
            |why: &str| Err(NotAnAddress(format!("`{}` is not an e-mail address: {why}", shown(text))));
        let Some((local, domain)) = bare.rsplit_once('@') else {
            return refuse(if bare.is_empty() { "it is empty" } else { "it has no @" });
        };
        if local.is_empty() || domain.is_empty() {
            return refuse(if local.is_empty() {
                "nothing stands before the @"
            } else {
                "nothing follows the @"
            });
        }
        if !local.is_ascii() {
            return refuse("the part before the @ has letters that mail cannot carry everywhere");
        }
        if bare.chars().any(char::is_whitespace) {
            return refuse("it has a blank in it");
        }
        let Ok(domain) = idna::domain_to_ascii_strict(domain.trim_end_matches('.')) else {
            return refuse("the part after the @ is not a domain like example.org");
        };
        let address = format!("{local}@{domain}");
        if address.chars().count() > LONGEST {
            return refuse(&format!("it has more than {LONGEST} characters"));
        }
        let strict = Options::default().with_required_tld().without_display_text().without_domain_literal();
        match Syntax::parse_with_options(&address, strict) {
            Ok(_) if local.starts_with('"') => refuse("the service takes no quotes before the @"),
            Ok(_) => Ok(Self(address)),
            Err(email_address::Error::DomainTooFew | email_address::Error::DomainInvalidSeparator) => {
                refuse("the part after the @ is not a full domain like example.org")
            }
            Err(error) => refuse(&error.to_string().to_lowercase()),
        }
    }
}

/// Takes the address out of what people and programs put around it.
fn unwrap(text: &str) -> String {
    let visible: String = text.chars().filter(|c| !INVISIBLE.contains(c)).collect();
    // Of several addresses in one cell, as one export writes them, the first counts.
    let mut bare = visible.split(":::").next().unwrap_or_default().trim();
    // `Jane Doe <jane@example.org>`
    if let (Some(open), true) = (bare.rfind('<'), bare.ends_with('>')) {
        bare = bare[open + 1..bare.len() - 1].trim();
    }
    if let Some(prefix) = bare.get(..7).filter(|prefix| prefix.eq_ignore_ascii_case("mailto:")) {
        bare = bare[prefix.len()..].split('?').next().unwrap_or_default().trim();
    }
    bare.to_owned()
}

/// The text as an error repeats it: not longer than an address may be.
pub(super) fn shown(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cleaned(text: &str) -> String {
        text.parse::<EmailAddress>().unwrap_or_else(|error| panic!("{error}")).0
    }

    fn refused(text: &str) -> String {
        text.parse::<EmailAddress>().expect_err("not an address").to_string()
    }

    #[test]
    fn what_stands_around_an_address_is_taken_off() {
        for text in [
            "jane@example.org",
            "  jane@example.org\u{a0}",
            "\u{feff}jane@example.org\u{200b}",
            "mailto:jane@example.org?subject=hi",
            "Jane Doe <jane@example.org>",
            "\"Doe, Jane\" < jane@EXAMPLE.org >",
            "jane@example.org.",
        ] {
            assert_eq!(cleaned(text), "jane@example.org", "{text:?}");
        }
        assert_eq!(cleaned("O'Neil+news@Example.ORG"), "O'Neil+news@example.org");
        assert_eq!(cleaned("info@münchen.example"), "info@xn--mnchen-3ya.example");
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        insta::assert_snapshot!(refused(" "), @"`` is not an e-mail address: it is empty");
        insta::assert_snapshot!(refused("jane"), @"`jane` is not an e-mail address: it has no @");
        insta::assert_snapshot!(refused("jane@"), @"`jane@` is not an e-mail address: nothing follows the @");
        insta::assert_snapshot!(refused("@example.org"), @"`@example.org` is not an e-mail address: nothing stands before the @");
        insta::assert_snapshot!(refused("ja ne@example.org"), @"`ja ne@example.org` is not an e-mail address: it has a blank in it");
        insta::assert_snapshot!(refused("jane@localhost"), @"`jane@localhost` is not an e-mail address: the part after the @ is not a full domain like example.org");
        for text in [
            "jane@[127.0.0.1]",
            "\"jane\"@example.org",
            "jané@example.org",
            "a@b",
            "a@b@c.org",
            "jane..d@example.org",
            "jane@exa_mple..org",
        ] {
            refused(text);
        }
        assert!(refused(&format!("{}@example.org", "j".repeat(70))).contains("more than 80"));
    }

    #[test]
    fn eyes_that_need_not_know_it_see_one_letter() {
        let jane: EmailAddress = "Jane@example.org".parse().unwrap();
        assert_eq!(jane.masked(), "J…@example.org");
        assert_eq!(format!("{jane:?}"), "J…@example.org");
        assert_eq!(jane.key(), "jane@example.org");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_was_cleaned_is_clean(text in "\\PC{0,90}") {
            if let Ok(address) = text.parse::<EmailAddress>() {
                prop_assert_eq!(address.as_str().parse::<EmailAddress>().unwrap(), address);
            }
        }

        #[test]
        fn plain_addresses_pass(local in "[a-z][a-z0-9]{0,9}", host in "[a-z]{2,10}", tld in "[a-z]{2,5}") {
            let text = format!("{local}@{host}.{tld}");
            prop_assert_eq!(cleaned(&text), text);
        }
    }
}
