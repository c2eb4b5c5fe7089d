#![no_main]
//! Any text as a birthday, an anniversary and a time of consent: what was understood is understood the same again.

use libfuzzer_sys::fuzz_target;
use mailchute::contact::{Contact, Field, Row};

fn with(field: Field, text: &str) -> Option<Contact> {
    let cells = vec![(Field::Email, "jane@example.org".to_owned()), (field, text.to_owned())];
    Contact::from_row(&Row { line: 1, cells, ..Row::default() }).ok()
}

fuzz_target!(|text: &str| {
    let day = with(Field::Anniversary, text).and_then(|contact| contact.details().anniversary.clone());
    if let Some(day) = day {
        let again = with(Field::Anniversary, &day).and_then(|contact| contact.details().anniversary.clone());
        assert_eq!(again, Some(day));
    }
    if let Some((month, day)) = with(Field::Birthday, text).and_then(|contact| contact.details().birthday) {
        let again = with(Field::Birthday, &format!("{month}/{day}")).expect("a birthday");
        assert_eq!(again.details().birthday, Some((month, day)));
    }
    if let Some(at) = with(Field::ConsentAt, text).and_then(|contact| contact.evidence().consent_at) {
        let again = with(Field::ConsentAt, &at.to_string()).expect("a time");
        assert_eq!(again.evidence().consent_at, Some(at));
    }
});
