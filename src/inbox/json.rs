//! JSON in the forms that tools export: an object, an array of them, an object that holds the array, or one a line.
//!
//! Pure over any input, element by element. Promises that an element that is no contact is a rejection, and that a text
//! that ends in the middle is `Unreadable` as a whole: what was read of it is worth nothing.

use std::{collections::BTreeMap, fmt, io::BufRead, ops::ControlFlow};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::columns::guess;
use super::{Said, Sink, Unreadable, refuse};
use crate::contact::{Field, Rejection, Row};

/// A line of a megabyte is no contact.
const LONGEST_LINE: u64 = 1 << 20;
/// What a visitor says to stop the parser when nobody wants more.
const ENOUGH: &str = "enough";

/// An element with its number, for those who want it as it stands in the file.
pub(super) type Element = (u64, Result<Map<String, Value>, Rejection>);

/// Reads rows of one JSON text.
pub fn read(
    input: impl BufRead,
    configured: &BTreeMap<String, String>,
    sink: Sink<'_>,
) -> Result<Said, Unreadable> {
    elements(input, configured, &mut |(number, element)| {
        sink(element.map(|object| row(number, object, configured)))
    })?;
    Ok(Said::default())
}

/// Reads rows of one JSON text a line.
pub fn read_lines(
    input: impl BufRead,
    configured: &BTreeMap<String, String>,
    sink: Sink<'_>,
) -> Result<Said, Unreadable> {
    line_elements(input, &mut |(number, element)| {
        sink(element.map(|object| row(number, object, configured)))
    })?;
    Ok(Said::default())
}

/// Hands every element of one JSON text to a closure.
pub(super) fn elements(
    input: impl BufRead,
    configured: &BTreeMap<String, String>,
    each: &mut dyn FnMut(Element) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    let mut walk = Walk { number: 0, configured, each, stopped: false };
    let mut parser = serde_json::Deserializer::from_reader(input);
    let walked = Top(&mut walk).deserialize(&mut parser).and_then(|()| parser.end());
    match walked {
        Err(_) if walk.stopped => Ok(()),
        Err(error) => Err(unreadable(&error)),
        Ok(()) => Ok(()),
    }
}

/// Hands every line's element to a closure.
pub(super) fn line_elements(
    mut input: impl BufRead,
    each: &mut dyn FnMut(Element) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let place = format!("line {number}");
        let got = std::io::Read::take(&mut input, LONGEST_LINE).read_until(b'\n', &mut line);
        let got = got.map_err(|error| Unreadable::new(&place, format!("cannot be read: {error}")))?;
        if got == 0 {
            return Ok(());
        }
        if u64::try_from(got).is_ok_and(|got| got == LONGEST_LINE) {
            return Err(Unreadable::new(
                &place,
                format!("a line of more than {LONGEST_LINE} bytes is no contact"),
            ));
        }
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
        if text.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let element = serde_json::from_slice(text)
            .map_err(|error| refuse(number, None, None, format!("the line is not JSON: {}", plain(&error))))
            .and_then(|value| object(number, value));
        if each((number, element)).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// What is carried through a JSON text.
struct Walk<'a> {
    number: u64,
    configured: &'a BTreeMap<String, String>,
    each: &'a mut dyn FnMut(Element) -> ControlFlow<()>,
    stopped: bool,
}

impl Walk<'_> {
    fn hand_over<E: serde::de::Error>(&mut self, value: Value) -> Result<(), E> {
        self.number += 1;
        let element = object(self.number, value);
        self.stopped = (self.each)((self.number, element)).is_break();
        if self.stopped { Err(E::custom(ENOUGH)) } else { Ok(()) }
    }
}

/// The text as a whole: an object or an array.
struct Top<'a, 'b>(&'a mut Walk<'b>);

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element()? {
            self.0.hand_over(value)?;
        }
        Ok(())
    }

    /// A contact, or a wrapper around one array of them. Which it is shows by what comes first: an address or the array.
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut object, mut is_contact, mut arrays) = (Map::new(), false, 0);
        while let Some(key) = map.next_key::<String>()? {
            if is_contact {
                object.insert(key, map.next_value()?);
                continue;
            }
            if field(&key, self.0.configured) == Some(Field::Email) {
                if arrays > 0 {
                    return Err(A::Error::custom(format!(
                        "`{key}` stands beside an array of objects: which of them are the contacts?"
                    )));
                }
                is_contact = true;
                object.insert(key, map.next_value()?);
                continue;
            }
            match map.next_value_seed(Inner(&mut *self.0))? {
                Held::Objects if arrays > 0 => {
                    return Err(A::Error::custom(format!(
                        "`{key}` is a second array of objects: one is wanted"
                    )));
                }
                Held::Objects => arrays += 1,
                Held::Value(value) => {
                    object.insert(key, value);
                }
            }
        }
        if arrays == 0 { self.0.hand_over(Value::Object(object)) } else { Ok(()) }
    }
}

/// What a key of the outermost object holds.
enum Held {
    /// An array whose objects were handed over.
    Objects,
    Value(Value),
}

/// A value of the outermost object: an array of objects is walked, anything else is kept.
struct Inner<'a, 'b>(&'a mut Walk<'b>);

impl<'de> DeserializeSeed<'de> for Inner<'_, '_> {
    type Value = Held;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Held, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_, '_> {
    type Value = Held;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Held, A::Error> {
        let Some(first) = seq.next_element::<Value>()? else {
            return Ok(Held::Value(Value::Array(Vec::new())));
        };
        if !first.is_object() {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(Held::Value(Value::Array(vec![first])));
        }
        self.0.hand_over(first)?;
        while let Some(value) = seq.next_element()? {
            self.0.hand_over(value)?;
        }
        Ok(Held::Objects)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Held, A::Error> {
        let mut object = Map::new();
        while let Some((key, value)) = map.next_entry()? {
            object.insert(key, value);
        }
        Ok(Held::Value(Value::Object(object)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Held, E> {
        Ok(Held::Value(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Held, E> {
        Ok(Held::Value(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Held, E> {
        Ok(Held::Value(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Held, E> {
        Ok(Held::Value(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Held, E> {
        Ok(Held::Value(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Held, E> {
        Ok(Held::Value(Value::Null))
    }
}

fn object(number: u64, value: Value) -> Result<Map<String, Value>, Rejection> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(refuse(
            number,
            None,
            None,
            format!("{} is not an object like {{\"email\": …}}", kind(&other)),
        )),
    }
}

/// The field that a key means: by the configuration, else by its name.
fn field(key: &str, configured: &BTreeMap<String, String>) -> Option<Field> {
    let named = configured.iter().find(|(_, column)| column.as_str() == key).map(|(name, _)| name.as_str());
    guess(named.unwrap_or(key))
}

fn row(number: u64, object: Map<String, Value>, configured: &BTreeMap<String, String>) -> Row {
    let mut cells: Vec<(Field, String)> = Vec::new();
    let mut unusable = Vec::new();
    for (key, value) in object {
        let Some(field) = field(&key, configured) else { continue };
        if cells.iter().any(|(known, _)| *known == field) {
            continue;
        }
        match value {
            Value::Null => {}
            Value::String(text) => cells.push((field, text)),
            Value::Number(number) => cells.push((field, number.to_string())),
            Value::Bool(truth) => cells.push((field, truth.to_string())),
            value => {
                unusable.push((field, format!("{} stands where a text or a number should be", kind(&value))));
            }
        }
    }
    Row { line: number, cells, unusable }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
        Value::Null => "null",
        _ => "a single value",
    }
}

fn unreadable(error: &serde_json::Error) -> Unreadable {
    let place = format!("line {}, column {}", error.line(), error.column());
    if error.is_eof() {
        return Unreadable::cut_short(&place, "the JSON text ends in the middle".to_owned());
    }
    Unreadable::new(&place, plain(error))
}

/// The error without the place, which is said elsewhere.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(words, _)| words.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str, lines: bool) -> Result<Vec<Result<Row, Rejection>>, Unreadable> {
        let mut rows = Vec::new();
        let mut sink = |row| {
            rows.push(row);
            ControlFlow::Continue(())
        };
        let configured = BTreeMap::new();
        if lines {
            read_lines(text.as_bytes(), &configured, &mut sink)?;
        } else {
            read(text.as_bytes(), &configured, &mut sink)?;
        }
        Ok(rows)
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
        assert_eq!(
            emails(r#"{"first_name":"A","email":"a@example.org","orders":[{"id":1}]}"#, false).len(),
            1
        );
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
        let found =
            emails(r#"[1,{"email":"a@example.org"},{"email":"b@example.org","first_name":{"x":1}}]"#, false);
        assert_eq!(found[0], "1: a single value is not an object like {\"email\": …}");
        assert_eq!(found[1], "a@example.org");
        assert_eq!(found[2], "b@example.org", "a row, but for one field");
        let rows = all(r#"{"email":"b@example.org","first_name":{"x":1}}"#, false).unwrap();
        let (field, reason) = &rows[0].as_ref().unwrap().unusable[0];
        assert_eq!(
            (field, reason.as_str()),
            (&Field::FirstName, "an object stands where a text or a number should be")
        );
        let found = emails("{\"email\":\"a@example.org\"}\n{\"email\":\n", true);
        assert!(found[1].starts_with("2: the line is not JSON: EOF"), "{}", found[1]);
    }

    #[test]
    fn numbers_and_truths_are_texts_and_the_first_of_two_names_wins() {
        let rows =
            all(r#"{"e-mail":"a@example.org","email":"b@example.org","cf:n":7,"cf:t":true}"#, false).unwrap();
        let texts: Vec<_> = rows[0].as_ref().unwrap().cells.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["a@example.org", "7", "true"]);
    }

    #[test]
    fn a_broken_text_is_unreadable_as_a_whole_with_its_place() {
        let error = |text: &str| all(text, false).expect_err("unreadable").to_string();
        insta::assert_snapshot!(error("[{\"email\":\"a@example.org\"},\n{\"ema"), @"line 2, column 5: the JSON text ends in the middle");
        insta::assert_snapshot!(error("[{\"email\":}]"), @"line 1, column 11: expected value");
        insta::assert_snapshot!(error("7"), @"line 1, column 1: invalid type: integer `7`, expected an object or an array of objects");
        insta::assert_snapshot!(error(r#"{"a":[{"x":1}],"b":[{"x":1}]}"#), @"line 1, column 29: `b` is a second array of objects: one is wanted");
        assert!(error(&"[".repeat(100_000)).contains("recursion limit"));
        assert!(error("[] []").contains("trailing characters"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[\\[\\]{}:,\"a-z0-9 \n]{0,80}") {
            let _ = all(&text, false);
            let _ = all(&text, true);
        }
    }
}
