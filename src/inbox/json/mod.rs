//! JSON in the forms that tools export: an object, an array of them, an object that holds the array, or one a line.
//!
//! Pure over any input, element by element. Promises that an element that is no contact is a rejection with its place, and
//! that what a value means is decided here and nowhere else: null is an empty cell, a number the digits that are written,
//! true and false words where words are wanted.

mod object;
mod walk;

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    io::BufRead,
};

use serde_json::value::RawValue;

use super::columns::field_of;
use super::spellings::{fold, guess};
use super::{Said, Sink, Unreadable, refuse};
use crate::config::pointer;
use crate::contact::{Field, Rejection, Row};
use object::{Doubled, Kind};
pub(super) use object::{Object, text};
use walk::plain;
pub(super) use walk::{Element, elements, line_elements};

/// Reads rows of one JSON text.
pub fn read(
    input: impl BufRead,
    configured: &BTreeMap<String, String>,
    sink: Sink<'_>,
) -> Result<Said, Unreadable> {
    let (wanted, mut said) = (Wanted::new(configured), Said::default());
    elements(input, &wanted, &mut |(number, element)| {
        sink(element.and_then(|object| wanted.row(number, &object, &mut said)))
    })?;
    Ok(said)
}

/// Reads rows of one JSON text a line.
pub fn read_lines(
    input: impl BufRead,
    configured: &BTreeMap<String, String>,
    sink: Sink<'_>,
) -> Result<Said, Unreadable> {
    let (wanted, mut said) = (Wanted::new(configured), Said::default());
    line_elements(input, &mut |(number, element)| {
        sink(element.and_then(|object| wanted.row(number, &object, &mut said)))
    })?;
    Ok(said)
}

/// Where the configuration takes a field from.
enum Source {
    /// From inside other values.
    Pointer(Vec<String>),
    /// From a key, folded.
    Key(String),
}

/// What the configuration says about keys; the others are guessed.
pub(super) struct Wanted {
    configured: Vec<(Field, Source, String)>,
}

/// A value that means a field.
struct Found<'a> {
    /// How good its name is for the field, and where it stands among the keys.
    rank: (usize, usize),
    name: &'a str,
    value: &'a RawValue,
}

impl Wanted {
    /// Understands the `columns` of a route.
    pub(super) fn new(configured: &BTreeMap<String, String>) -> Self {
        let source = |column: &str| {
            let path = if pointer::is_pointer(column) { pointer::parse(column).ok() } else { None };
            path.map_or_else(|| Source::Key(fold(column)), Source::Pointer)
        };
        let configured = configured.iter();
        let configured = configured.map(|(name, column)| (field_of(name), source(column), column.clone()));
        Self { configured: configured.collect() }
    }

    /// The pointers of the configuration, as written there and as paths.
    pub(super) fn pointers(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.configured.iter().filter_map(|(_, source, column)| match source {
            Source::Pointer(path) => Some((column.as_str(), path.as_slice())),
            Source::Key(_) => None,
        })
    }

    /// Whether a key is the address of a contact.
    fn is_address(&self, key: &str) -> bool {
        let configured = self.configured.iter().find(|(field, ..)| *field == Field::Email);
        match configured {
            Some((_, Source::Key(name), _)) => *name == fold(key),
            Some((_, Source::Pointer(path), _)) => path.first().is_some_and(|first| first == key),
            None => guess(key).is_some_and(|(field, _)| field == Field::Email),
        }
    }

    /// Whether an object says anybody's address.
    fn has_address(&self, object: &Object<'_>) -> bool {
        self.find(object, &mut None).is_ok_and(|found| found.contains_key(&Field::Email))
    }

    /// Whether an object has any field of a contact.
    fn has_any(&self, object: &Object<'_>) -> bool {
        self.find(object, &mut None).is_ok_and(|found| !found.is_empty())
    }

    /// Finds the value of each field: what the configuration names, else the key with the best name, of equals the first.
    /// `choice` becomes the key of the address where several could be it.
    fn find<'a>(
        &'a self,
        object: &'a Object<'_>,
        choice: &mut Option<String>,
    ) -> Result<BTreeMap<Field, Found<'a>>, Doubled> {
        let (mut found, mut used) = (BTreeMap::new(), BTreeSet::new());
        for (field, source, column) in &self.configured {
            let (value, key) = match source {
                Source::Pointer(path) => (object.at(path)?, path.first().map(String::as_str)),
                Source::Key(name) => {
                    let member = object.members().find(|(key, _)| key == column);
                    let member = member.or_else(|| object.members().find(|(key, _)| fold(key) == *name));
                    (member.map(|(_, value)| value), member.map(|(key, _)| key))
                }
            };
            used.extend(key);
            if let Some(value) = value {
                found.insert(field.clone(), Found { rank: (0, 0), name: column, value });
            }
        }
        let mut addresses = usize::from(found.contains_key(&Field::Email));
        for (place, (key, value)) in object.members().enumerate() {
            let Some((field, rank)) = guess(key).filter(|_| !used.contains(key)) else { continue };
            addresses += usize::from(field == Field::Email);
            if self.configured.iter().any(|(known, ..)| *known == field) {
                continue;
            }
            let new = Found { rank: (rank + 1, place), name: key, value };
            match found.entry(field) {
                Entry::Vacant(entry) => {
                    entry.insert(new);
                }
                Entry::Occupied(mut entry) if new.rank < entry.get().rank => {
                    entry.insert(new);
                }
                Entry::Occupied(_) => {}
            }
        }
        if addresses > 1 && choice.is_none() {
            *choice = found.get(&Field::Email).map(|found| found.name.to_owned());
        }
        Ok(found)
    }

    /// Makes a row of an object. Where a key stands twice with different values, nobody can know which was meant.
    fn row(&self, number: u64, object: &Object<'_>, said: &mut Said) -> Result<Row, Rejection> {
        let found = object.unambiguous().and_then(|()| self.find(object, &mut said.address_column));
        let found = found.map_err(|Doubled(key)| {
            let email = self.find(object, &mut None).ok();
            let email = email.and_then(|found| text(found.get(&Field::Email)?.value).ok().map(Into::into));
            let reason = format!("the key `{key}` stands there twice with different values: take one out");
            refuse(number, email, Some(key), reason)
        })?;
        let mut row = Row { line: number, ..Row::default() };
        let configured = self.configured.iter().find(|(field, ..)| *field == Field::Email);
        if let Some((field, _, column)) = configured.filter(|_| !found.contains_key(&Field::Email)) {
            let reason =
                format!("nothing stands at `{column}`, where the configuration takes the address from");
            row.unusable.push((field.clone(), reason));
        }
        let mut found: Vec<(Field, Found<'_>)> = found.into_iter().collect();
        found.sort_by_key(|(_, found)| found.rank.1);
        for (field, Found { name, value, .. }) in found {
            match cell(&field, name, value) {
                Ok(Some(text)) => row.cells.push((field, text)),
                Ok(None) => {}
                Err(reason) => row.unusable.push((field, reason)),
            }
        }
        Ok(row)
    }
}

/// A value as the text of a field, nothing for null, or why it is none.
fn cell(field: &Field, name: &str, value: &RawValue) -> Result<Option<String>, String> {
    match Kind::of(value) {
        Kind::Null => Ok(None),
        Kind::Truth if !matches!(field, Field::Custom(_) | Field::Permission | Field::OptedOut) => {
            Err(format!("{value} stands where a text or a number should be"))
        }
        kind @ (Kind::Array | Kind::Object) => {
            let below = name.replace('~', "~0").replace('/', "~1");
            let below = if pointer::is_pointer(name) { name.to_owned() } else { format!("/{below}") };
            Err(format!(
                "{} stands where a text or a number should be: name what is in it under `columns` of the route, like \
                 `{below}/…`",
                kind.words()
            ))
        }
        Kind::Text | Kind::Number | Kind::Truth => {
            let text = text(value).map_err(|error| format!("the text cannot be read: {}", plain(&error)))?;
            Ok(Some(text.into_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
