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
    older.merge(&contact(&[("email", "Jane@example.org"), ("first_name", "Janet"), ("cf:b", "2")]));
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
fn of_two_consents_the_last_counts() {
    let at = |at: &str, source: &str| {
        contact(&[("email", "jane@example.org"), ("consent_at", at), ("source", source)])
    };
    let merged = |mut older: Contact, newer: Contact| {
        older.merge(&newer);
        older.evidence().clone()
    };
    let (old, new) = (at("2020-01-01", "fair"), at("2024-01-01", "shop"));
    assert_eq!(merged(old.clone(), new.clone()), *new.evidence());
    assert_eq!(merged(new.clone(), old.clone()), *new.evidence());
    assert_eq!(merged(old.clone(), at("", "shop")), *old.evidence(), "a row without a time takes none away");
}
