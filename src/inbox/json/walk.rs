//! From a JSON text to its elements, one after the other.
//!
//! Pure over any input. Promises that memory holds one element, however long the text is, and that a text which ends in
//! the middle is `Unreadable` as a whole: what was read of it is worth nothing.

use std::{
    cell::Cell,
    fmt,
    io::{self, BufRead, Cursor, Read},
    ops::ControlFlow,
};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::object::{Kind, Object, depth};
use super::{Unreadable, Wanted, refuse};
use crate::contact::Rejection;

/// A contact with all that a shop keeps about it is a few thousand bytes; a megabyte is no contact.
const LARGEST_ELEMENT: u64 = 1 << 20;
/// What stands beside the array of contacts: links, totals, definitions of fields.
const LARGEST_ASIDE: u64 = 16 << 20;
/// Nobody nests what they know of a person so deep; whoever does wants to see us fail.
const DEEPEST: usize = 128;
/// What a visitor says to stop the parser when nobody wants more.
const ENOUGH: &str = "enough";

/// An element with its number, as it stands in the file.
pub(in crate::inbox) type Element<'a> = (u64, Result<Object<'a>, Rejection>);
/// Who takes the elements, and says when no more is wanted.
pub(in crate::inbox) type Each<'a> = &'a mut dyn FnMut(Element<'_>) -> ControlFlow<()>;

/// Hands every element of one JSON text to a closure.
pub(in crate::inbox) fn elements(
    mut input: impl BufRead,
    wanted: &Wanted,
    each: Each<'_>,
) -> Result<(), Unreadable> {
    let mut start = Vec::new();
    (&mut input)
        .take(LARGEST_ELEMENT + 1)
        .read_to_end(&mut start)
        .map_err(|error| Unreadable::new("the beginning", format!("cannot be read: {error}")))?;
    let is_whole = start.len() as u64 <= LARGEST_ELEMENT;
    let is_object = start.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if is_whole && is_object {
        let text: &RawValue = serde_json::from_slice(&start).map_err(|error| unreadable(&error, 0))?;
        let object = object(1, text);
        match object.as_ref().map_or(Shape::Contact, |object| shape(object, wanted)) {
            // The closure's answer is of no matter: there is no other element.
            Shape::Contact => _ = each((1, object)),
            Shape::Around => return walk(&start[..], wanted, each),
            Shape::Nobody => {}
        }
        return Ok(());
    }
    walk(Cursor::new(start).chain(input), wanted, each)
}

/// What a lone object is.
enum Shape {
    /// A contact: it has an address, or nothing that could be an array of contacts.
    Contact,
    /// What is around an array of contacts.
    Around,
    /// The same, and the array is empty.
    Nobody,
}

fn shape(object: &Object<'_>, wanted: &Wanted) -> Shape {
    if wanted.has_address(object) {
        return Shape::Contact;
    }
    let arrays = object.members().filter(|(_, value)| Kind::of(value) == Kind::Array);
    let mut firsts = arrays.map(|(_, array)| array.get()[1..].trim_start().as_bytes().first());
    if firsts.clone().any(|first| first == Some(&b'{')) {
        return Shape::Around;
    }
    let is_empty = firsts.any(|first| first == Some(&b']'));
    if is_empty && !wanted.has_any(object) { Shape::Nobody } else { Shape::Contact }
}

/// Hands every line's element to a closure. A line that is too long is a rejection like any other that is wrong.
pub(in crate::inbox) fn line_elements(mut input: impl BufRead, each: Each<'_>) -> Result<(), Unreadable> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let unreadable =
            |error| Unreadable::new(&format!("line {number}"), format!("cannot be read: {error}"));
        let got = (&mut input).take(LARGEST_ELEMENT).read_until(b'\n', &mut line).map_err(unreadable)?;
        if got == 0 {
            return Ok(());
        }
        let too_long = got as u64 == LARGEST_ELEMENT && line.last() != Some(&b'\n');
        if too_long {
            skip_line(&mut input).map_err(unreadable)?;
        }
        let text = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line);
        if text.iter().all(u8::is_ascii_whitespace) && !too_long {
            continue;
        }
        let element = if too_long {
            Err(refuse(
                number,
                None,
                None,
                format!("the line has more than {LARGEST_ELEMENT} bytes: that is no contact"),
            ))
        } else {
            serde_json::from_slice(text)
                .map_err(|error| {
                    refuse(number, None, None, format!("the line is not JSON: {}", plain(&error)))
                })
                .and_then(|value| object(number, value))
        };
        if each((number, element)).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

fn skip_line(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let buffer = input.fill_buf()?;
        let (length, ended) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(place) => (place + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        input.consume(length);
        if ended {
            return Ok(());
        }
    }
}

/// The object that an element is, or why it is none.
fn object(number: u64, value: &RawValue) -> Result<Object<'_>, Rejection> {
    let kind = Kind::of(value);
    if kind != Kind::Object {
        let reason = format!("{} is not an object like {{\"email\": …}}", kind.words());
        return Err(refuse(number, None, None, reason));
    }
    if depth(value.get()) > DEEPEST {
        let reason = format!("arrays and objects stand in each other more than {DEEPEST} levels deep");
        return Err(refuse(number, None, None, reason));
    }
    serde_json::from_str(value.get())
        .map_err(|error| refuse(number, None, None, format!("it cannot be read: {}", plain(&error))))
}

fn walk(input: impl Read, wanted: &Wanted, each: Each<'_>) -> Result<(), Unreadable> {
    let ration = Ration::default();
    let mut walk = Walk { number: 0, wanted, ration: &ration, each, stopped: false };
    let mut parser = serde_json::Deserializer::from_reader(Rationed { input, ration: &ration });
    let walked = Top(&mut walk).deserialize(&mut parser).and_then(|()| {
        ration.set(LARGEST_ASIDE);
        parser.end()
    });
    match walked {
        Err(_) if walk.stopped => Ok(()),
        Err(error) => Err(unreadable(&error, walk.number + 1)),
        Ok(()) => Ok(()),
    }
}

/// How many bytes the parser may still have for what it reads now.
#[derive(Default)]
struct Ration {
    left: Cell<u64>,
    of: Cell<u64>,
}

impl Ration {
    fn set(&self, most: u64) {
        self.left.set(most);
        self.of.set(most);
    }
}

/// Lets no value fill the memory.
struct Rationed<'a, R> {
    input: R,
    ration: &'a Ration,
}

impl<R: Read> Read for Rationed<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.ration.left.get();
        if left == 0 {
            let most = self.ration.of.get();
            return Err(io::Error::other(format!("it has more than {most} bytes: that is no contact")));
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let got = self.input.read(&mut buffer[..most])?;
        self.ration.left.set(left.saturating_sub(got as u64));
        Ok(got)
    }
}

/// What is carried through a JSON text.
struct Walk<'a> {
    number: u64,
    wanted: &'a Wanted,
    ration: &'a Ration,
    each: Each<'a>,
    stopped: bool,
}

impl Walk<'_> {
    /// The next element of an array.
    fn next<'de, A: SeqAccess<'de>>(&self, seq: &mut A) -> Result<Option<Box<RawValue>>, A::Error> {
        self.ration.set(LARGEST_ELEMENT);
        seq.next_element()
    }

    fn hand_over<E: serde::de::Error>(&mut self, value: &RawValue) -> Result<(), E> {
        self.number += 1;
        self.stopped = (self.each)((self.number, object(self.number, value))).is_break();
        if self.stopped { Err(E::custom(ENOUGH)) } else { Ok(()) }
    }
}

/// The text as a whole: an array, or an object around one.
struct Top<'a, 'b>(&'a mut Walk<'b>);

impl<'de> DeserializeSeed<'de> for Top<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.ration.set(LARGEST_ELEMENT);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Top<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = self.0.next(&mut seq)? {
            self.0.hand_over(&value)?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut arrays = 0;
        loop {
            self.0.ration.set(LARGEST_ELEMENT);
            let Some(key) = map.next_key::<String>()? else { break };
            if self.0.wanted.is_address(&key) {
                return Err(A::Error::custom(format!(
                    "`{key}` makes this one contact, and it has more than {LARGEST_ELEMENT} bytes"
                )));
            }
            self.0.ration.set(LARGEST_ASIDE);
            arrays += usize::from(map.next_value_seed(Inner(&mut *self.0))?);
            if arrays > 1 {
                return Err(A::Error::custom(format!("`{key}` is a second array of objects: one is wanted")));
            }
        }
        if arrays == 0 { Err(A::Error::custom("it holds no array of objects")) } else { Ok(()) }
    }
}

/// A value of the outermost object: an array of objects is handed over, anything else passed by. Says which it was.
struct Inner<'a, 'b>(&'a mut Walk<'b>);

impl<'de> DeserializeSeed<'de> for Inner<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inner<'_, '_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut next = self.0.next(&mut seq)?;
        if next.as_deref().is_none_or(|first| Kind::of(first) != Kind::Object) {
            self.0.ration.set(LARGEST_ASIDE);
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(false);
        }
        while let Some(value) = next {
            self.0.hand_over(&value)?;
            next = self.0.next(&mut seq)?;
        }
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// What is wrong with a text as a whole. Where the input itself gave out, the element is of more use than the column.
fn unreadable(error: &serde_json::Error, element: u64) -> Unreadable {
    let place = if error.is_io() {
        format!("element {element}")
    } else {
        format!("line {}, column {}", error.line(), error.column())
    };
    if error.is_eof() {
        return Unreadable::cut_short(&place, "the JSON text ends in the middle".to_owned());
    }
    Unreadable::new(&place, plain(error))
}

/// The error without the place, which is said elsewhere.
pub(super) fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(words, _)| words.to_owned())
}
