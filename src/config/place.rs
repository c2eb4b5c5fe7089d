//! Where in the file an error is, and which key was probably meant.
//!
//! Pure text work over the configuration's source. Leaves the parsing to the `toml` crate and only explains its spans.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Below this likeness two names have nothing to do with each other, and a hint would only mislead.
const LIKENESS_WORTH_A_HINT: f64 = 0.7;

/// What is wrong with a configuration, where, and what would be right.
#[derive(Debug, Error)]
#[error("{}{}{}{problem}", file.display(), line.map(|n| format!(":{n}")).unwrap_or_default(), match key { Some(k) => format!(": `{k}`: "), None => ": ".to_owned() })]
pub struct ConfigError {
    /// The file that was read, or was looked for.
    pub file: PathBuf,
    /// The line, counted from 1, where it is known.
    pub line: Option<usize>,
    /// The key with its table, as in `delivery.linger`.
    pub key: Option<String>,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A configuration's text with its name: what an error needs to name its place.
pub(super) struct Source<'a> {
    pub(super) file: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    /// An error at a byte offset of the text.
    pub(super) fn error_at(&self, offset: usize, problem: impl Into<String>) -> ConfigError {
        ConfigError {
            file: self.file.to_owned(),
            line: Some(self.text[..offset.min(self.text.len())].matches('\n').count() + 1),
            key: key_at(self.text, offset),
            problem: problem.into(),
        }
    }

    /// What the `toml` crate found, in our words where it names an unknown or missing key.
    pub(super) fn explain(&self, error: &toml::de::Error) -> ConfigError {
        let offset = error.span().map_or(0, |span| span.start);
        let message = error.message();
        if let Some(unknown) = unknown_key(message) {
            let mut found = self.error_at(offset, unknown_key_problem(message));
            let table =
                found.key.as_deref().and_then(|k| k.rsplit_once('.')).map(|(table, _)| table.to_owned());
            found.key = Some(table.map_or(unknown.to_owned(), |table| format!("{table}.{unknown}")));
            return found;
        }
        if message == "missing field `application`" {
            let mut found =
                self.error_at(0, "this table is missing: put the developer portal's client_id into it");
            found.key = Some("[application]".to_owned());
            return found;
        }
        self.error_at(offset, message)
    }
}

fn unknown_key(message: &str) -> Option<&str> {
    message.strip_prefix("unknown field `")?.split('`').next()
}

/// serde names the keys that it would have taken; the nearest of them is what was meant.
fn unknown_key_problem(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("there is no such key; did you mean `{near}`?"),
        None => format!("there is no such key; known here: {}", known.join(", ")),
    }
}

/// The known name that is most like the given one, if any is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&name, &candidate.to_lowercase()), candidate))
        .filter(|(likeness, _)| *likeness >= LIKENESS_WORTH_A_HINT)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// The key, with its table, on whose line the offset stands.
fn key_at(text: &str, offset: usize) -> Option<String> {
    let mut table = String::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let end = start + line.len();
        let bare = line.trim();
        if bare.starts_with('[') {
            let name = bare.trim_matches(|c| c == '[' || c == ']').split(']').next();
            name.unwrap_or_default().clone_into(&mut table);
        }
        // An error may stand behind the last character.
        if offset < end || end == text.len() {
            let key = bare.split('=').next().unwrap_or_default().trim().trim_matches('"');
            return match (bare.starts_with('['), bare.contains('='), table.is_empty()) {
                (true, ..) => Some(format!("[{table}]")),
                (false, true, true) => Some(key.to_owned()),
                (false, true, false) => Some(format!("{table}.{key}")),
                (false, false, _) => None,
            };
        }
        start = end;
    }
    None
}
