use std::{
    io::{self, Read},
    ops::ControlFlow,
};

use proptest::prelude::*;

use super::*;

type Rows = Vec<Result<Row, Rejection>>;

fn read_with(input: impl BufRead, lines: bool, columns: &[(&str, &str)]) -> Result<(Rows, Said), Unreadable> {
    let mut rows = Vec::new();
    let mut sink = |row| {
        rows.push(row);
        ControlFlow::Continue(())
    };
    let configured = columns.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let said =
        if lines { read_lines(input, &configured, &mut sink)? } else { read(input, &configured, &mut sink)? };
    Ok((rows, said))
}

fn all(text: &str, lines: bool) -> Result<Rows, Unreadable> {
    read_with(text.as_bytes(), lines, &[]).map(|(rows, _)| rows)
}

/// The one row of a text, as `field=text` for what it has and `field!reason` for what it cannot have.
fn row(text: &str, columns: &[(&str, &str)]) -> String {
    let (mut rows, _) = read_with(text.as_bytes(), false, columns).unwrap();
    assert_eq!(rows.len(), 1, "{text}");
    match rows.remove(0) {
        Ok(Row { cells, unusable, .. }) => {
            let cells = cells.into_iter().map(|(field, text)| format!("{}={text}", field.name()));
            let unusable = unusable.into_iter().map(|(field, reason)| format!("{}!{reason}", field.name()));
            cells.chain(unusable).collect::<Vec<_>>().join(" ")
        }
        Err(Rejection { email, field, reason, .. }) => {
            format!("{} {}: {reason}", email.unwrap_or_default(), field.unwrap_or_default())
        }
    }
}

fn emails(text: &str, lines: bool) -> Vec<String> {
    let rows = all(text, lines).unwrap_or_else(|error| panic!("{error}"));
    rows.into_iter()
        .map(|row| {
            row.map_or_else(
                |rejection| format!("{}: {}", rejection.line, rejection.reason),
                |row| row.cells[0].1.clone(),
            )
        })
        .collect()
}

#[test]
fn the_shapes_that_tools_export() {
    assert_eq!(emails(r#"{"email":"a@example.org","tags":["x"],"n":null}"#, false), ["a@example.org"]);
    assert_eq!(emails(r#"{"first_name":"A","email":"a@example.org","orders":[{"id":1}]}"#, false).len(), 1);
    assert_eq!(
        emails(r#"[{"email":"a@example.org"},{"email":"b@example.org"}]"#, false),
        ["a@example.org", "b@example.org"]
    );
    assert_eq!(
        emails(r#"{"ok":true,"total":1,"contacts":[{"email":"a@example.org"}],"x":{"y":1}}"#, false),
        ["a@example.org"]
    );
    assert_eq!(
        emails("{\"email\":\"a@example.org\"}\n\n{\"email\":\"b@example.org\"}\n", true),
        ["a@example.org", "b@example.org"]
    );
    assert_eq!(emails("[]", false), Vec::<String>::new());
}

#[test]
fn elements_that_are_no_contacts_are_rejections_with_their_place() {
    let found = emails(r#"[1,{"email":"a@example.org"},[],null]"#, false);
    assert_eq!(
        found,
        [
            "1: a number is not an object like {\"email\": …}",
            "a@example.org",
            "3: an array is not an object like {\"email\": …}",
            "4: null is not an object like {\"email\": …}"
        ]
    );
    let found = emails("{\"email\":\"a@example.org\"}\n{\"email\":\n", true);
    assert!(found[1].starts_with("2: the line is not JSON: EOF"), "{}", found[1]);
}

#[test]
fn a_lone_object_is_a_contact_unless_it_is_around_an_array_of_them() {
    let addresses = |text: &str| emails(text, false);
    assert_eq!(addresses(r#"{"orders":[{"id":1}],"email":"a@example.org"}"#), ["a@example.org"]);
    assert_eq!(addresses(r#"{"total":0,"contacts":[]}"#), Vec::<String>::new());
    assert_eq!(row(r#"{"first_name":"A","tags":[]}"#, &[]), "first_name=A");
    let pointed = [("email", "/person/mail")];
    assert_eq!(row(r#"{"x":[{"y":1}],"person":{"mail":"a@example.org"}}"#, &pointed), "email=a@example.org");
    let inside = r#"{"x":{"y":1},"rows":[{"person":{"mail":"a@example.org"}}]}"#;
    assert_eq!(row(inside, &pointed), "email=a@example.org");
}

#[test]
fn a_pointer_leads_to_a_value_inside_of_others() {
    let columns = [
        ("email", "/person/mail"),
        ("first_name", "/person/name/given"),
        ("phone", "/phones/1/number"),
        ("cf:a/b", "/a~1b"),
    ];
    let text = r#"{"person":{"mail":"a@example.org","name":{"given":"A"}},"phones":[{"number":1},{"number":2}],"a/b":true}"#;
    let expected = "cf:a/b=true email=a@example.org first_name=A phone_number=2";
    let mut found: Vec<String> = row(text, &columns).split(' ').map(str::to_owned).collect();
    found.sort();
    assert_eq!(found.join(" "), expected);
    for lines in [false, true] {
        let text = if lines { text.to_owned() } else { format!("[{text}]") };
        let (rows, _) = read_with(text.as_bytes(), lines, &columns).unwrap();
        assert_eq!(rows[0].as_ref().unwrap().cells.len(), 4, "{text}");
    }
}

#[test]
fn a_pointer_into_something_absent_is_an_empty_cell() {
    let columns = [("email", "/person/mail"), ("first_name", "/person/name/given"), ("cf:n", "/list/9")];
    for rest in [r#""name":null"#, r#""name":"A""#, r#""name":{}"#, r#""name":{"given":null}"#, r#""x":1"#] {
        let text = format!(r#"{{"person":{{"mail":"a@example.org",{rest}}},"list":[1]}}"#);
        assert_eq!(row(&text, &columns), "email=a@example.org", "{rest}");
    }
    insta::assert_snapshot!(row(r#"{"email":"a@example.org"}"#, &columns), @"email!nothing stands at `/person/mail`, where the configuration takes the address from");
}

#[test]
fn values_are_taken_as_people_mean_them() {
    let jane = |rest: &str| row(&format!(r#"{{"email":"j@example.org",{rest}}}"#), &[]);
    assert_eq!(jane(r#""first_name":null,"last_name":"""#), "email=j@example.org last_name=");
    assert_eq!(
        jane(r#""phone":491701234567,"zip":501.50"#),
        "email=j@example.org phone_number=491701234567 postal_code=501.50"
    );
    assert_eq!(
        jane(r#""cf:n":123456789012345678901234567890"#),
        "email=j@example.org cf:n=123456789012345678901234567890"
    );
    assert_eq!(
        jane(r#""cf:a":true,"accepts_marketing":false"#),
        "email=j@example.org cf:a=true permission=false"
    );
    insta::assert_snapshot!(jane(r#""first_name":false"#), @"email=j@example.org first_name!false stands where a text or a number should be");
    insta::assert_snapshot!(jane(r#""address":{"city":"Bonn"}"#), @"email=j@example.org street!an object stands where a text or a number should be: name what is in it under `columns` of the route, like `/address/…`");
    insta::assert_snapshot!(jane(r#""phone":[1]"#), @"email=j@example.org phone_number!an array stands where a text or a number should be: name what is in it under `columns` of the route, like `/phone/…`");
    insta::assert_snapshot!(jane(r#""first_name":"\ud800""#), @"email=j@example.org first_name!the text cannot be read: unexpected end of hex escape");
    assert_eq!(jane(r#""unknown":{"x":[1,{}]},"other":[{"id":2}]"#), "email=j@example.org");
}

#[test]
fn of_several_keys_for_a_field_the_better_name_wins_and_the_choice_is_said() {
    let text = r#"[{"work_email":"w@example.org","email":"a@example.org"},{"email":"b@example.org","mail":"c@example.org"}]"#;
    let (rows, said) = read_with(text.as_bytes(), false, &[]).unwrap();
    let addresses: Vec<&str> = rows.iter().map(|row| row.as_ref().unwrap().cells[0].1.as_str()).collect();
    assert_eq!(addresses, ["a@example.org", "b@example.org"]);
    assert_eq!(said.address_column.as_deref(), Some("email"));
    let (_, said) = read_with(&br#"[{"email":"a@example.org"}]"#[..], false, &[]).unwrap();
    assert_eq!(said.address_column, None);
    let (rows, said) = read_with(text.as_bytes(), false, &[("email", "Work-Email")]).unwrap();
    assert_eq!(rows[0].as_ref().unwrap().cells[0].1, "w@example.org");
    assert_eq!(said.address_column.as_deref(), Some("Work-Email"));
}

#[test]
fn a_key_that_stands_twice_is_refused_unless_it_says_the_same() {
    let found = row(r#"{"email":"a@example.org","first_name":"A","first_name":"B"}"#, &[]);
    insta::assert_snapshot!(found, @"a@example.org first_name: the key `first_name` stands there twice with different values: take one out");
    assert_eq!(row(r#"{"email":"a@example.org","email":"a@example.org"}"#, &[]), "email=a@example.org");
    let nested = r#"{"p":{"m":"a@example.org","n":"A","m":"b@example.org"}}"#;
    assert!(
        row(nested, &[("email", "/p/m")]).contains("the key `m` stands there twice"),
        "on a pointer's way"
    );
    assert_eq!(
        row(r#"{"email":"a@example.org","x":{"y":1,"y":2}}"#, &[]),
        "email=a@example.org",
        "not looked into"
    );
}

#[test]
fn a_broken_text_is_unreadable_as_a_whole_with_its_place() {
    let error = |text: &str| all(text, false).expect_err("unreadable").to_string();
    insta::assert_snapshot!(error("[{\"email\":\"a@example.org\"},\n{\"ema"), @"line 2, column 5: the JSON text ends in the middle");
    insta::assert_snapshot!(error("[{\"email\":}]"), @"line 1, column 11: expected value");
    insta::assert_snapshot!(error("{\"email\":}"), @"line 1, column 10: expected value");
    insta::assert_snapshot!(error("7"), @"line 1, column 1: invalid type: integer `7`, expected an object or an array of objects");
    insta::assert_snapshot!(error(r#"{"a":[{"x":1}],"b":[{"x":1}]}"#), @"line 1, column 29: `b` is a second array of objects: one is wanted");
    assert!(error("[] []").contains("trailing characters"));
    assert!(all("{\"email\"", false).unwrap_err().cut_short);
}

#[test]
fn what_is_nested_without_end_is_refused_and_its_neighbours_are_read() {
    let deep = |levels: usize| {
        format!(r#"{{"email":"d@example.org","x":{}{}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    let text = format!(r#"[{{"email":"a@example.org"}},{},{{"email":"b@example.org"}}]"#, deep(1_000));
    assert_eq!(
        emails(&text, false),
        [
            "a@example.org",
            "2: arrays and objects stand in each other more than 128 levels deep",
            "b@example.org"
        ]
    );
    assert_eq!(emails(&deep(100), false), ["d@example.org"]);
    assert_eq!(emails(&format!("{}\n", deep(1_000)), true).len(), 1);
    let only_brackets = all(&"[".repeat(3 << 20), false).unwrap_err().to_string();
    insta::assert_snapshot!(only_brackets, @"element 1: it has more than 1048576 bytes: that is no contact");
    let beside = format!(r#"{{"x":{}"#, "[".repeat(3 << 20));
    assert!(all(&beside, false).is_err());
}

/// The beginning of a JSON text, and then a letter for ever.
struct Endless(&'static [u8], u64);

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let got = if self.0.is_empty() {
            buffer.fill(b'x');
            buffer.len()
        } else {
            self.0.read(buffer)?
        };
        self.1 += got as u64;
        assert!(self.1 < 20 << 20, "a reader that goes on would go on for ever");
        Ok(got)
    }
}

#[test]
fn a_text_without_end_is_given_up_after_the_bytes_that_a_contact_may_have() {
    let read = |start: &'static [u8]| {
        let input = io::BufReader::new(Endless(start, 0));
        read_with(input, false, &[]).expect_err("unreadable").to_string()
    };
    let element_2 = read(br#"[{"email":"a@example.org"},{"email":""#);
    insta::assert_snapshot!(element_2, @"element 2: it has more than 1048576 bytes: that is no contact");
    assert!(read(br#"{"email":""#).contains("makes this one contact"));
    assert!(read(br#"{"ema"#).contains("more than 1048576 bytes"));
    assert!(read(br#"{"note":""#).contains("more than 16777216 bytes"));
}

#[test]
fn a_line_that_is_too_long_is_a_rejection_and_the_next_one_is_read() {
    let long = format!(r#"{{"email":"l@example.org","x":"{}"}}"#, "x".repeat(2 << 20));
    let found = emails(
        &format!("{{\"email\":\"a@example.org\"}}\n{long}\n{{\"email\":\"b@example.org\"}}\n{long}"),
        true,
    );
    let refused = |line: u64| format!("{line}: the line has more than 1048576 bytes: that is no contact");
    assert_eq!(found, ["a@example.org".to_owned(), refused(2), "b@example.org".to_owned(), refused(4)]);
}

proptest! {
    #[test]
    fn no_text_panics(text in "[\\[\\]{}:,\"a-z0-9 \n]{0,80}") {
        let _ = all(&text, false);
        let _ = all(&text, true);
    }
}
