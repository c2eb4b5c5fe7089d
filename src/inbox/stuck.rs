//! Files that something is in the way of: when each is tried again, and what is said about them.
//!
//! Pure. Promises that a file that cannot be read or moved is tried ever more rarely, and stops no other.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

/// What passes by itself is usually over by then.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Whoever has mended it should not wait longer than over a cup of tea.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// What has not passed by itself after pauses of this length needs a person.
const LASTING: Duration = Duration::from_secs(30);

/// What is in the way of a file.
#[derive(Debug, Clone)]
struct Held {
    reason: String,
    pause: Duration,
    again_at: Timestamp,
}

/// The files that something is in the way of, by where they lie or shall lie.
#[derive(Debug, Clone, Default)]
pub struct Stuck(BTreeMap<PathBuf, Held>);

impl Stuck {
    /// Something is in the way of a file: it is left alone for a while.
    pub fn hold(&mut self, path: &Path, reason: String, now: Timestamp) {
        let pause = self.0.get(path).map_or(FIRST_PAUSE, |held| (held.pause * 2).min(LONGEST_PAUSE));
        let again_at = now.checked_add(pause).unwrap_or(Timestamp::MAX);
        self.0.insert(path.to_owned(), Held { reason, pause, again_at });
    }

    /// Nothing is in its way any more.
    pub fn free(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// Whether a file is to be left alone now.
    #[must_use]
    pub fn holds(&self, path: &Path, now: Timestamp) -> bool {
        self.0.get(path).is_some_and(|held| now < held.again_at)
    }

    /// Forgets files that are not there and that nobody tries again.
    pub fn keep_only(&mut self, wanted: impl Fn(&Path) -> bool) {
        self.0.retain(|path, _| wanted(path));
    }

    /// When the next one is tried again.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.0.values().map(|held| held.again_at).min()
    }

    /// Whether something has been in the way for so long that it will not pass by itself.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        self.0.values().any(|held| held.pause >= LASTING)
    }

    /// A sentence for `status`, if anything is stuck.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let (path, held) = self.0.first_key_value()?;
        let others = match self.0.len() - 1 {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        Some(format!("{}: {}{others}", path.display(), held.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_stuck_file_is_tried_ever_more_rarely_and_said() {
        let (mut stuck, path) = (Stuck::default(), Path::new("a.csv"));
        stuck.hold(path, "immutable".into(), at(0));
        assert!(!stuck.is_lasting());
        assert!(stuck.holds(path, at(1)) && !stuck.holds(path, at(2)));
        for _ in 0..20 {
            stuck.hold(path, "immutable".into(), at(2));
        }
        assert_eq!((stuck.next(), stuck.is_lasting()), (Some(at(302)), true));
        stuck.hold(Path::new("b.csv"), "other".into(), at(2));
        assert_eq!(stuck.sentence().unwrap(), "a.csv: immutable (and 1 more)");
        stuck.free(path);
        stuck.keep_only(|_| false);
        assert_eq!((stuck.sentence(), stuck.next()), (None, None));
    }
}
