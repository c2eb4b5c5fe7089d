//! When a file is complete.
//!
//! Pure. Promises that a file whose writer may not be done is never handed out: it was renamed into place, or nothing
//! about it has changed for the configured time, by its own time stamps or by our watching. Only this module makes a
//! [`Settled`].

use std::{
    collections::HashMap,
    fs::Metadata,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

/// What changes about a file when somebody writes to it or replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    /// The file system.
    pub device: u64,
    /// The file on it.
    pub inode: u64,
    /// Its length.
    pub size: u64,
    /// When its bytes changed, in nanoseconds.
    pub modified: i128,
    /// When anything about it changed, its name included, in nanoseconds.
    pub changed: i128,
}

impl Fingerprint {
    /// The fingerprint of a file.
    #[must_use]
    pub fn of(meta: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * NANOS + i128::from(nanos);
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether it is the same file with the same bytes, whatever its name is now.
    #[must_use]
    pub fn same_content(&self, other: &Self) -> bool {
        (self.device, self.inode, self.size, self.modified)
            == (other.device, other.inode, other.size, other.modified)
    }

    /// When its bytes last changed.
    #[must_use]
    pub fn modified_at(&self) -> Timestamp {
        Timestamp::from_nanosecond(self.modified).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

/// Nanoseconds in a second.
const NANOS: i128 = 1_000_000_000;

/// A complete file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    path: PathBuf,
    fingerprint: Fingerprint,
}

impl Settled {
    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it looked like when it was complete.
    #[must_use]
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }
}

/// What a look at a file came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// It is complete.
    Complete(Settled),
    /// It may not be: look again then.
    Wait(Timestamp),
}

/// How a file came to lie where it lies, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// It was seen to be renamed or linked into place, which nobody does with half a file.
    Arrived,
    /// Nobody saw it come; the time stamps are this machine's own.
    Stamped,
    /// The time stamps are another machine's: only what two looks see counts.
    Looked,
}

/// How many times the usual wait a file gets that is complete by its time stamps and ends in the middle of a text.
const PATIENCE: u32 = 10;

/// A file that is watched until it is complete.
#[derive(Debug, Clone, Copy)]
struct Watched {
    fingerprint: Fingerprint,
    unchanged_since: Timestamp,
    changes: u32,
}

/// The files that are not complete yet.
#[derive(Debug)]
pub struct Settling {
    settle: Duration,
    watched: HashMap<PathBuf, Watched>,
    /// Files that ended in the middle, and until when their writer may go on.
    patient: HashMap<PathBuf, (Fingerprint, Timestamp)>,
}

impl Settling {
    /// With the time that a file must stay unchanged.
    #[must_use]
    pub fn new(settle: Duration) -> Self {
        Self { settle, watched: HashMap::new(), patient: HashMap::new() }
    }

    /// Looks at a file.
    pub fn look(&mut self, path: &Path, fingerprint: Fingerprint, manner: Manner, now: Timestamp) -> Look {
        let complete = || Look::Complete(Settled { path: path.to_owned(), fingerprint });
        if let Some((seen, until)) = self.patient.get(path)
            && seen.same_content(&fingerprint)
            && now < *until
        {
            return Look::Wait(*until);
        }
        if manner == Manner::Arrived || (manner == Manner::Stamped && self.is_old(&fingerprint, now)) {
            self.watched.remove(path);
            return complete();
        }
        let fresh = Watched { fingerprint, unchanged_since: now, changes: 0 };
        let watched = self.watched.entry(path.to_owned()).or_insert(fresh);
        if watched.fingerprint != fingerprint {
            *watched = Watched { changes: watched.changes.saturating_add(1), ..fresh };
        }
        // A clock that was set back begins the wait anew rather than making it endless.
        watched.unchanged_since = watched.unchanged_since.min(now);
        let complete_at = watched.unchanged_since.checked_add(self.settle).unwrap_or(Timestamp::MAX);
        if complete_at <= now {
            self.watched.remove(path);
            return complete();
        }
        Look::Wait(complete_at)
    }

    /// A complete file ends in the middle of a text: its writer may only be slow. Says whether to wait for that; a second
    /// time the file is taken for what it is.
    pub fn be_patient(&mut self, settled: &Settled, now: Timestamp) -> bool {
        if self.patient.get(&settled.path).is_some_and(|(seen, _)| seen.same_content(&settled.fingerprint)) {
            return false;
        }
        let until = now.checked_add(self.settle.saturating_mul(PATIENCE)).unwrap_or(Timestamp::MAX);
        self.patient.insert(settled.path.clone(), (settled.fingerprint, until));
        true
    }

    /// The kernel's own time stamp says that nothing happened for long enough; one in the future says nothing. The time of
    /// the bytes is the writer's to set: by it a file with a time in the future would be taken after one that came later.
    fn is_old(&self, fingerprint: &Fingerprint, now: Timestamp) -> bool {
        let settle = i128::try_from(self.settle.as_nanos()).unwrap_or(i128::MAX);
        fingerprint.changed.checked_add(settle).is_some_and(|old_at| old_at <= now.as_nanosecond())
    }

    /// Whether the file changed while it was watched: somebody is writing it.
    #[must_use]
    pub fn is_being_written(&self, path: &Path) -> bool {
        self.watched.get(path).is_some_and(|watched| watched.changes > 0)
    }

    /// Forgets files that are not among those that lie there now.
    pub fn keep_only(&mut self, present: impl Fn(&Path) -> bool) {
        self.watched.retain(|path, _| present(path));
        self.patient.retain(|path, _| present(path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMPED: Manner = Manner::Stamped;
    const SETTLE: Duration = Duration::from_secs(2);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    fn print(size: u64, changed: i64) -> Fingerprint {
        let nanos = at(changed).as_nanosecond();
        Fingerprint { device: 1, inode: 2, size, modified: nanos, changed: nanos }
    }

    fn complete(look: &Look) -> bool {
        matches!(look, Look::Complete(_))
    }

    #[test]
    fn a_file_that_grows_is_complete_only_after_it_stopped() {
        let (mut settling, path) = (Settling::new(SETTLE), Path::new("a.csv"));
        for second in 0..10 {
            let look =
                settling.look(path, print(u64::try_from(second).unwrap(), second), STAMPED, at(second));
            assert_eq!(look, Look::Wait(at(second + 2)));
        }
        assert!(settling.is_being_written(path));
        assert_eq!(settling.look(path, print(9, 9), STAMPED, at(10)), Look::Wait(at(11)));
        assert!(complete(&settling.look(path, print(9, 9), STAMPED, at(11))));
    }

    #[test]
    fn a_file_that_has_lain_there_or_was_moved_in_is_complete_at_once() {
        let mut settling = Settling::new(SETTLE);
        assert!(complete(&settling.look(Path::new("a.csv"), print(1, 0), STAMPED, at(2))));
        assert!(complete(&settling.look(Path::new("b.csv"), print(1, 0), Manner::Arrived, at(0))));
    }

    #[test]
    fn time_stamps_in_the_future_say_nothing() {
        let (mut settling, path) = (Settling::new(SETTLE), Path::new("a.csv"));
        assert_eq!(settling.look(path, print(1, 9000), STAMPED, at(0)), Look::Wait(at(2)));
        assert!(complete(&settling.look(path, print(1, 9000), STAMPED, at(2))));
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_make_the_wait_endless() {
        let (mut settling, path) = (Settling::new(SETTLE), Path::new("a.csv"));
        settling.look(path, print(1, 5000), STAMPED, at(5000));
        assert_eq!(settling.look(path, print(1, 5000), STAMPED, at(0)), Look::Wait(at(2)));
        assert!(complete(&settling.look(path, print(1, 5000), STAMPED, at(2))));
    }

    #[test]
    fn a_file_that_is_replaced_is_another() {
        let (mut settling, path) = (Settling::new(SETTLE), Path::new("a.csv"));
        settling.look(path, print(1, 0), STAMPED, at(0));
        let other = Fingerprint { inode: 3, ..print(1, 0) };
        assert_eq!(settling.look(path, other, STAMPED, at(1)), Look::Wait(at(3)));
    }

    #[test]
    fn on_a_folder_of_another_machine_only_two_looks_count() {
        let (mut settling, path) = (Settling::new(SETTLE), Path::new("a.csv"));
        let mut look = |size, second| settling.look(path, print(size, 0), Manner::Looked, at(second));
        assert_eq!(look(1, 1000), Look::Wait(at(1002)), "however old the stamps are");
        assert_eq!(look(2, 1003), Look::Wait(at(1005)), "it grew between two looks");
        assert!(complete(&look(2, 1005)));
    }

    #[test]
    fn a_text_that_ends_in_the_middle_is_waited_for_once() {
        let (mut settling, path) = (Settling::new(SETTLE), Path::new("a.json"));
        let Look::Complete(half) = settling.look(path, print(1, 0), Manner::Arrived, at(0)) else { panic!() };
        assert!(settling.be_patient(&half, at(0)));
        assert_eq!(settling.look(path, print(1, 0), STAMPED, at(5)), Look::Wait(at(20)));
        assert!(complete(&settling.look(path, print(2, 6), STAMPED, at(8))), "its writer went on");
        let Look::Complete(half) = settling.look(path, print(1, 0), STAMPED, at(20)) else { panic!() };
        assert!(!settling.be_patient(&half, at(20)));
    }
}
