use super::*;

fn row(cells: &[(&str, &str)]) -> Row {
    let field = |name: &str| {
        let known = STANDARD_FIELDS.iter().find(|(_, known)| *known == name).map(|(field, _)| field.clone());
        known.unwrap_or_else(|| Field::Custom(name.trim_start_matches("cf:").to_owned()))
    };
    Row {
        line: 7,
        cells: cells.iter().map(|(name, text)| (field(name), (*text).to_owned())).collect(),
        ..Row::default()
    }
}

fn contact(cells: &[(&str, &str)]) -> Contact {
    Contact::from_row(&row(cells)).expect("a contact")
}

fn rejected(cells: &[(&str, &str)]) -> (String, String) {
    let rejection = Contact::from_row(&row(cells)).expect_err("no contact");
    assert_eq!(rejection.line, 7);
    (rejection.field.expect("a field"), rejection.reason)
}

#[test]
fn empty_cells_are_absent_and_blanks_around_values_go() {
    let jane = contact(&[
        ("email", "jane@example.org"),
        ("first_name", " Jane\u{a0}"),
        ("last_name", ""),
        ("cf:member_no", "7"),
    ]);
    assert_eq!(jane.details().first_name.as_deref(), Some("Jane"));
    assert_eq!(jane.details().last_name, None);
    assert_eq!(jane.custom_fields()["member_no"], "7");
}

#[test]
fn every_limit_names_its_field_and_what_would_be_right() {
    let jane = ("email", "jane@example.org");
    let long = |n: usize| "x".repeat(n);
    for (name, longest) in
        [("first_name", 50), ("phone_number", 25), ("street", 255), ("city", 50), ("cf:a", 255)]
    {
        contact(&[jane, (name, &long(longest))]);
        let (field, reason) = rejected(&[jane, (name, &long(longest + 1))]);
        assert_eq!(field, name);
        assert!(reason.contains(&format!("at most {longest}")), "{reason}");
    }
    let (field, reason) = rejected(&[("first_name", "Jane")]);
    assert_eq!((field.as_str(), reason.as_str()), ("email", "the row has no address"));
}

#[test]
fn limits_count_characters_and_not_bytes() {
    contact(&[("email", "jane@example.org"), ("first_name", &"ü".repeat(50))]);
}

#[test]
fn birthdays_need_both_halves_and_must_exist() {
    let jane = ("email", "jane@example.org");
    let born =
        |month, day| Contact::from_row(&row(&[jane, ("birthday_month", month), ("birthday_day", day)]));
    assert_eq!(born("2", "29").unwrap().details().birthday, Some((2, 29)));
    assert!(born("2", "30").is_err());
    assert!(born("May", "3").is_err());
    assert_eq!(rejected(&[jane, ("birthday_day", "3")]).0, "birthday_day");
}

#[test]
fn anniversaries_mean_one_day() {
    let day = |text: &str| {
        let row = row(&[("email", "jane@example.org"), ("anniversary", text)]);
        Contact::from_row(&row).ok().and_then(|contact| contact.details().anniversary.clone())
    };
    for text in [
        "2020-02-09",
        "2020-2-9",
        "2020/02/09",
        "2/9/2020",
        "02/09/2020",
        "9.2.2020",
        "9 February 2020",
        "Feb 9, 2020",
        "2020-02-09 00:00:00",
    ] {
        assert_eq!(day(text).as_deref(), Some("2020-02-09"), "{text}");
    }
    for text in ["02.30.2020", "2020-13-01", "31/12/2020", "yesterday", "20-02-09"] {
        assert_eq!(day(text), None, "{text}");
    }
}

#[test]
fn an_address_without_a_kind_is_home_and_a_kind_without_an_address_is_none() {
    let jane = ("email", "jane@example.org");
    let address = contact(&[jane, ("city", "Bonn")]).details().street_address.clone().expect("an address");
    assert_eq!((address.kind.as_str(), address.city.as_deref()), ("home", Some("Bonn")));
    assert_eq!(contact(&[jane, ("address_kind", "Work")]).details().street_address, None);
    assert_eq!(rejected(&[jane, ("address_kind", "castle")]).0, "address_kind");
}

#[test]
fn merging_is_what_sending_both_would_do() {
    let mut older = contact(&[
        ("email", "jane@example.org"),
        ("first_name", "Jane"),
        ("last_name", "Doe"),
        ("cf:a", "1"),
    ]);
    let no_room =
        older.merge(&contact(&[("email", "Jane@example.org"), ("first_name", "Janet"), ("cf:b", "2")]));
    assert_eq!(no_room, []);
    let both = contact(&[
        ("email", "jane@example.org"),
        ("first_name", "Janet"),
        ("last_name", "Doe"),
        ("cf:a", "1"),
        ("cf:b", "2"),
    ]);
    assert_eq!(older.digest(), both.digest());
}

#[test]
fn a_digest_tells_rows_apart_that_say_different_things() {
    let jane = contact(&[("email", "jane@example.org"), ("first_name", "Jane")]);
    assert_eq!(jane.digest(), contact(&[("first_name", "Jane"), ("email", "JANE@example.org")]).digest());
    assert_ne!(jane.digest(), contact(&[("email", "jane@example.org"), ("last_name", "Jane")]).digest());
    assert_ne!(jane.digest(), contact(&[("email", "jane@example.net"), ("first_name", "Jane")]).digest());
}

#[test]
fn a_stored_contact_comes_back_the_same() {
    let jane = contact(&[
        ("email", "jane@example.org"),
        ("city", "Bonn"),
        ("birthday_month", "5"),
        ("birthday_day", "3"),
        ("cf:a", "1"),
    ]);
    let text = serde_json::to_string(&jane).unwrap();
    assert_eq!(serde_json::from_str::<Contact>(&text).unwrap(), jane);
}

#[test]
fn evidence_is_kept_beside_the_contact_and_makes_no_difference_to_it() {
    let plain = contact(&[("email", "jane@example.org")]);
    let with = |at: &str| {
        contact(&[
            ("email", "jane@example.org"),
            ("consent_at", at),
            ("source", " footer form "),
            ("ip", "192.0.2.7"),
        ])
    };
    let jane = with("2026-11-24 10:00:05");
    assert_eq!(jane.digest(), plain.digest());
    assert_eq!(jane.evidence().source.as_deref(), Some("footer form"));
    assert_eq!(jane.evidence().ip.as_deref(), Some("192.0.2.7"));
    for (text, expected) in [
        ("2026-11-24 10:00:05", "2026-11-24T10:00:05Z"),
        ("2026-11-24T12:00:05+02:00", "2026-11-24T10:00:05Z"),
        ("2026-11-24", "2026-11-24T00:00:00Z"),
        ("1795514405", "2026-11-24T10:00:05Z"),
        ("1795514405000", "2026-11-24T10:00:05Z"),
        ("11/24/2026 10:00:05 PM", "2026-11-24T22:00:05Z"),
        ("24.11.2026, 10:00", "2026-11-24T10:00:00Z"),
        // Either March or April: the earlier one, so that a refusal in between wins.
        ("04/03/2026 12:30 am", "2026-03-04T00:30:00Z"),
    ] {
        assert_eq!(with(text).evidence().consent_at, Some(expected.parse().unwrap()), "{text}");
    }
    let jane = ("email", "jane@example.org");
    assert_eq!(rejected(&[jane, ("consent_at", "last week")]).0, "consent_at");
    assert_eq!(rejected(&[jane, ("ip", "localhost")]).0, "ip");
}

#[test]
fn who_left_by_the_rows_own_word_is_not_taken() {
    let jane = ("email", "jane@example.org");
    for out in ["2024-01-05 08:00:00", "true", "1", "yes", "Hard bounce"] {
        let (field, reason) = rejected(&[jane, ("opted_out", out), ("consent_at", "2026-01-01")]);
        assert_eq!((field.as_str(), reason.contains(out)), ("opted_out", true), "{out}: {reason}");
    }
    for not_out in ["", " ", "false", "0", "No"] {
        contact(&[jane, ("opted_out", not_out)]);
    }
}

#[test]
fn of_two_consents_the_last_counts() {
    let at = |at: &str, source: &str| {
        contact(&[("email", "jane@example.org"), ("consent_at", at), ("source", source)])
    };
    let merged = |mut older: Contact, newer: Contact| {
        let _no_room = older.merge(&newer);
        older.evidence().clone()
    };
    let (old, new) = (at("2020-01-01", "fair"), at("2024-01-01", "shop"));
    assert_eq!(merged(old.clone(), new.clone()), *new.evidence());
    assert_eq!(merged(new.clone(), old.clone()), *new.evidence());
    assert_eq!(merged(old.clone(), at("", "shop")), *old.evidence(), "a row without a time takes none away");
}

/// Each rule with the words that README has for it: a field, what is written, what is taken.
const CLEANED: [(&str, &str, &str, &str); 28] = [
    ("Blanks and no-break blanks around a value", "first_name", "\u{a0} Jane\u{2003}\t", "Jane"),
    ("zero-width blanks", "first_name", "\u{200b}Ja\u{200b}ne", "Jane"),
    ("byte order marks", "first_name", "\u{feff}Jane", "Jane"),
    ("soft hyphens", "last_name", "Doe\u{ad}", "Doe"),
    ("control characters", "last_name", "D\u{0}oe\u{7f}", "Doe"),
    ("joiners that some scripts need stay", "first_name", "\u{645}\u{200c}\u{627}", "\u{645}\u{200c}\u{627}"),
    ("a line end becomes a blank", "company_name", "Doe\r\n& Daughters", "Doe & Daughters"),
    ("in a street a comma", "street", "1 High Street,\nFlat 2", "1 High Street, Flat 2"),
    ("custom fields keep their lines", "cf:note", "a\nb", "a\nb"),
    ("`mailto:`", "email", "MailTo:jane@example.org?subject=Hi", "jane@example.org"),
    (
        "the name in `Jane <jane@example.org>`",
        "email",
        "\"Doe, Jane\" <jane@example.org>",
        "jane@example.org",
    ),
    ("a dot at its end", "email", "jane@example.org.", "jane@example.org"),
    ("the domain is written small", "email", "Jane.Doe@EXAMPLE.Org", "Jane.Doe@example.org"),
    ("A-labels", "email", "info@B\u{fc}cher.example", "info@xn--bcher-kva.example"),
    ("Blanks and no-break blanks around a value", "email", "\u{a0}jane@example.org ", "jane@example.org"),
    ("zero-width blanks", "email", "jane\u{200b}@example\u{200d}.org", "jane@example.org"),
    ("with `:::` between them the first", "email", "jane@example.org ::: jd@example.org", "jane@example.org"),
    ("with `:::` between them the first", "mobile_phone", "555 0100 ::: 555 0101", "555 0100"),
    ("an apostrophe before a phone or a postal code", "phone_number", "'+49 170 1", "+49 170 1"),
    ("an apostrophe before a phone or a postal code", "mobile_phone", "'030 555", "030 555"),
    ("an apostrophe before a phone or a postal code", "postal_code", "'01067", "01067"),
    (
        "a warning for spreadsheets",
        "phone_number",
        "(Security Alert: Suspicious content is detected. See https://example.org for details.) +49 170 1",
        "+49 170 1",
    ),
    ("`DD.MM.YYYY`", "anniversary", "9.2.2020", "2020-02-09"),
    ("`MM/DD/YYYY`", "anniversary", "2/9/2020", "2020-02-09"),
    ("Zeros only are no date", "anniversary", "0/0/00", ""),
    ("also without the year", "birthday", "9 February", "2/9"),
    ("`Doe, Jane` and `Jane Doe` are told apart", "full_name", "Doe, Jane", "Jane|Doe"),
    ("the last word is the last name", "full_name", "Mary Jane Doe", "Mary Jane|Doe"),
];

#[test]
fn each_cleaning_rule_does_what_the_readme_says() {
    // Words may stand on two lines there.
    let readme = include_str!("../../README.md").split_whitespace().collect::<Vec<_>>().join(" ");
    for (words, field, written, taken) in CLEANED {
        assert!(readme.to_lowercase().contains(&words.to_lowercase()), "README does not say `{words}`");
        let email = if field == "email" { written } else { "jane@example.org" };
        let jane = contact(&[("email", email), (field, written)]);
        let details = jane.details();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let found = match field {
            "email" => jane.email().as_str().to_owned(),
            "first_name" => text(&details.first_name),
            "last_name" => text(&details.last_name),
            "full_name" => format!("{}|{}", text(&details.first_name), text(&details.last_name)),
            "company_name" => text(&details.company_name),
            "phone_number" => text(&details.phone_number),
            "mobile_phone" => details.phones["mobile"].clone(),
            "anniversary" => text(&details.anniversary),
            "birthday" => details.birthday.map(|(month, day)| format!("{month}/{day}")).unwrap_or_default(),
            "postal_code" => text(&details.street_address.clone().expect("an address").postal_code),
            "street" => text(&details.street_address.clone().expect("an address").street),
            "cf:note" => details.custom_fields["note"].clone(),
            other => panic!("{other}"),
        };
        assert_eq!(found, taken, "{words}: {written:?}");
    }
}

#[test]
fn a_value_that_is_too_long_is_not_repeated_in_its_reason() {
    let (jane, long) = (("email", "jane@example.org"), "x".repeat(1 << 20));
    for field in [
        "birthday",
        "anniversary",
        "full_name",
        "address_kind",
        "consent_at",
        "permission",
        "ip",
        "cf:a",
        "street",
    ] {
        let (found, reason) = rejected(&[jane, (field, &long)]);
        assert_eq!(found, field);
        assert!(reason.starts_with("1048576 characters") && reason.len() < 200, "{field}: {reason:.300}");
    }
    let rejection = Contact::from_row(&row(&[("email", &long)])).expect_err("no address");
    assert!(rejection.reason.len() < 400 && rejection.email.is_some_and(|email| email.len() < 100));
}

#[test]
fn of_more_than_three_phones_those_that_count_least_are_left_out_and_noted() {
    let phones = [("other_phone", "5"), ("home_phone", "3"), ("work_phone", "4"), ("mobile_phone", "2")];
    let cells = |plain: bool| {
        let plain = plain.then_some(("phone_number", "1"));
        [("email", "jane@example.org")].into_iter().chain(phones).chain(plain).collect::<Vec<_>>()
    };
    for (plain, kept, left_out) in [(false, "home mobile work", "other"), (true, "home mobile", "work other")]
    {
        let mut jane = contact(&cells(plain));
        assert_eq!(jane.details().phones.keys().cloned().collect::<Vec<_>>().join(" "), kept);
        let noted = jane.take_left_out();
        let fields: Vec<String> = noted.iter().map(|note| note.field.name().replace("_phone", "")).collect();
        assert_eq!(fields.join(" "), left_out, "also where a bad field would reject the row");
        assert!(noted[0].reason.starts_with("the service keeps 3 phone numbers"), "{}", noted[0].reason);
    }
}

#[test]
fn a_contact_has_at_most_25_custom_fields() {
    let names: Vec<String> = (0..30).map(|number| format!("cf:f{number:02}")).collect();
    let cells = |range: std::ops::Range<usize>| {
        let fields = names[range].iter().map(|name| (name.as_str(), "x"));
        [("email", "jane@example.org")].into_iter().chain(fields).collect::<Vec<_>>()
    };
    let mut full = contact(&cells(0..25));
    let (field, reason) = rejected(&cells(0..26));
    assert_eq!(field, "cf:f25");
    assert_eq!(reason, "more than 25 custom fields: the service takes no more for one contact");
    let mut usable = Contact::from_usable(&row(&cells(0..30))).unwrap();
    assert_eq!((usable.custom_fields().len(), usable.take_left_out().len()), (25, 5));
    let no_room = full.merge(&contact(&cells(20..30)));
    assert_eq!(full.custom_fields().len(), 25);
    assert_eq!(
        no_room.iter().map(|no| no.field.name()).collect::<Vec<_>>(),
        names[15..20],
        "the newer row's win"
    );
}
