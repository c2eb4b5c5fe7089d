//! A route: a folder of the inbox, and the lists of the people in it.
//!
//! Promises that a folder has one route, that it lies below the inbox, and that it says which consent there is.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use super::place::{ConfigError, Source};
use super::pointer;
use super::raw::RawRoute;

/// Who gave the permission to be mailed, and so which way a row may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consent {
    /// The person asked: one sign-up call each.
    Explicit,
    /// There is a business relationship: bulk import.
    Implicit,
}

/// A sub-folder of the inbox and where its people go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// `.` for the inbox itself, else a path below it.
    pub folder: String,
    /// Lists by name or by id, as configured.
    pub lists: Vec<String>,
    /// Which way its rows may go.
    pub consent: Consent,
    /// Field name to column name, only where the guess is wrong.
    pub columns: BTreeMap<String, String>,
}

impl Route {
    /// Its folder below an inbox.
    #[must_use]
    pub fn place(&self, inbox: &Path) -> PathBuf {
        if self.folder == "." { inbox.to_owned() } else { inbox.join(&self.folder) }
    }

    /// The set of lists as one string: equal sets are equal whatever their order.
    #[must_use]
    pub fn lists_key(&self) -> String {
        let mut lists: Vec<&str> = self.lists.iter().map(|list| list.trim()).collect();
        lists.sort_unstable();
        lists.dedup();
        lists.join("\n")
    }
}

/// The routes of a file.
pub(super) fn read(source: &Source<'_>, raw: &[Spanned<RawRoute>]) -> Result<Vec<Route>, ConfigError> {
    if raw.is_empty() {
        let mut error =
            source.error_at(source.text.len(), "there is none, so no folder leads to a list: add one");
        error.key = Some("[[route]]".to_owned());
        return Err(error);
    }
    let mut routes: Vec<Route> = Vec::with_capacity(raw.len());
    for spanned in raw {
        let route = route(source, spanned)?;
        if routes.iter().any(|other| other.folder == route.folder) {
            let at = spanned.get_ref().folder.span().start;
            return Err(
                source.error_at(at, format!("`{}` has a route already: a folder has one", route.folder))
            );
        }
        routes.push(route);
    }
    Ok(routes)
}

fn route(source: &Source<'_>, spanned: &Spanned<RawRoute>) -> Result<Route, ConfigError> {
    let raw = spanned.get_ref();
    let Some(consent) = &raw.consent else {
        let mut error = source.error_at(
            spanned.span().start,
            "is missing. Say \"explicit\" when each person asked to be on the list (a sign-up form), or \"implicit\" when \
             they are customers or members whom you may mail (bulk import); it decides whether people who left can be \
             signed up again, so there is no default",
        );
        error.key = Some("route.consent".to_owned());
        return Err(error);
    };
    if raw.lists.iter().all(|list| list.trim().is_empty()) {
        let mut error =
            source.error_at(spanned.span().start, "names no list: the service needs at least one");
        error.key = Some("route.lists".to_owned());
        return Err(error);
    }
    Ok(Route {
        folder: folder(source, &raw.folder)?,
        lists: raw.lists.clone(),
        consent: *consent.get_ref(),
        columns: columns(source, &raw.columns)?,
    })
}

/// Names of columns as they are, once those that are pointers are known to be good ones.
fn columns(
    source: &Source<'_>,
    raw: &BTreeMap<String, Spanned<String>>,
) -> Result<BTreeMap<String, String>, ConfigError> {
    let column = |(field, column): (&String, &Spanned<String>)| {
        if pointer::is_pointer(column.get_ref()) {
            pointer::parse(column.get_ref())
                .map_err(|problem| source.error_at(column.span().start, problem))?;
        }
        Ok((field.clone(), column.get_ref().clone()))
    };
    raw.iter().map(column).collect()
}

/// A route's folder is the inbox (`.`) or a plain path below it.
fn folder(source: &Source<'_>, raw: &Spanned<String>) -> Result<String, ConfigError> {
    let text = raw.get_ref().trim_end_matches('/');
    let path = Path::new(text);
    let plain = path.components().all(|part| match part {
        Component::Normal(name) => !name.to_string_lossy().starts_with(['.', '~']),
        _ => false,
    });
    match text {
        "." | "" => Ok(".".to_owned()),
        _ if plain => Ok(path.components().collect::<PathBuf>().to_string_lossy().into_owned()),
        _ => Err(source.error_at(
            raw.span().start,
            format!("`{text}` is not a folder below the inbox: write \".\" or a name like \"members\""),
        )),
    }
}
