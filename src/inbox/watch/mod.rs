//! Events from the file system: hints to look again, and the news that a file was put into place whole.
//!
//! Decides folder by folder whether events can be relied upon, by the folder's self-test. Promises nothing about events:
//! one that does not come is found by the rescan, and counted.

mod events;
mod filesystem;
mod probe;

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::Parts;
use super::settle::{Fingerprint, Manner};
use crate::config;
use crate::outbox::WatchedFolder;
use events::Heard;
pub use probe::{Finding, test};

/// How a folder is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Folder {
    /// Device and inode: a folder that was made anew under its old name is another one.
    id: (u64, u64),
    events: bool,
    /// Why it is polled; empty where there are events.
    reason: String,
    /// Files that changed after this should have come with an event.
    since: Timestamp,
    /// The watch is to be set again: a file system that went and came back took it away without a word.
    stale: bool,
}

/// The events of a spool, or none.
pub struct Watch {
    configured: config::Watch,
    watcher: Option<RecommendedWatcher>,
    /// Why there is no watcher.
    silent: String,
    heard: Arc<Mutex<Heard>>,
    folders: HashMap<PathBuf, Folder>,
    /// It goes on watching; a single look tells nobody how folders are watched.
    lasts: bool,
    changed: bool,
}

impl Watch {
    /// Without events, for a single look: files are complete by their time stamps where these can be trusted.
    pub fn off(configured: config::Watch) -> Self {
        Self {
            configured,
            watcher: None,
            silent: String::new(),
            heard: Arc::default(),
            folders: HashMap::new(),
            lasts: false,
            changed: false,
        }
    }

    /// With events, unless polling is configured or there are none to be had.
    pub fn on(parts: &Parts) -> Self {
        let mut watch = Self { lasts: true, ..Self::off(parts.settings.watch) };
        if watch.configured == config::Watch::Polling {
            return watch;
        }
        let (heard, wake) = (Arc::clone(&watch.heard), parts.wake.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error is a lost watch: all the more reason to look.
            if event.map_or(true, |event| lock(&heard).take(&event)) {
                wake.hint();
            }
        });
        match watcher {
            Ok(watcher) => watch.watcher = Some(watcher),
            Err(error) => watch.silent = probe::in_words(&error),
        }
        watch
    }

    /// A folder was met: sees to it that it is watched from before its files are listed.
    pub fn meet(&mut self, path: &Path, meta: &fs::Metadata, now: Timestamp) {
        let id = (meta.dev(), meta.ino());
        let lost = lock(&self.heard).lost.remove(path);
        match self.folders.get_mut(path) {
            Some(known) if known.id == id && !lost && !known.stale => return,
            Some(known) if known.id == id && !lost => {
                known.stale = false;
                if let (true, Some(watcher)) = (known.events, &mut self.watcher)
                    && let Err(error) = watcher.watch(path, RecursiveMode::NonRecursive)
                {
                    self.give_up(path, probe::in_words(&error));
                }
                return;
            }
            Some(_) => self.unwatch(path),
            None => {}
        }
        let (events, reason) = self.decide(path);
        if !reason.is_empty() && self.watcher.is_some() {
            tracing::warn!(folder = %path.display(), reason, "looked at regularly instead of waiting for events");
        }
        if events {
            lock(&self.heard).folders.insert(path.to_owned());
        }
        self.folders.insert(path.to_owned(), Folder { id, events, reason, since: now, stale: false });
        self.changed = true;
    }

    /// Whether a folder's events can be relied upon, else why not.
    fn decide(&mut self, path: &Path) -> (bool, String) {
        let no = |reason: String| (false, reason);
        if self.configured == config::Watch::Polling {
            return no("`watch` says so".to_owned());
        }
        let Some(watcher) = &mut self.watcher else {
            // Without any watcher only the file system can say whether time stamps mean something.
            let kind = filesystem::shared(path).ok().flatten();
            return no(kind.map_or_else(|| self.silent.clone(), |kind| format!("it lies on {kind}")));
        };
        if self.configured == config::Watch::Auto {
            let found = test(path);
            if !found.events {
                return no(found.reason);
            }
        }
        match watcher.watch(path, RecursiveMode::NonRecursive) {
            Ok(()) => (true, String::new()),
            Err(error) => no(probe::in_words(&error)),
        }
    }

    fn give_up(&mut self, path: &Path, reason: String) {
        if let Some(folder) = self.folders.get_mut(path) {
            (folder.events, folder.reason, self.changed) = (false, reason, true);
        }
    }

    fn unwatch(&mut self, path: &Path) {
        lock(&self.heard).folders.remove(path);
        if let Some(watcher) = &mut self.watcher {
            // A watch that ended by itself cannot be ended again.
            let _ended_already = watcher.unwatch(path);
        }
    }

    /// Before a look that no event asked for: sets every watch again.
    pub fn renew(&mut self) {
        self.folders.values_mut().for_each(|folder| folder.stale = true);
    }

    /// After a look: forgets folders and files that are not there.
    pub fn looked(&mut self, folders: &HashSet<PathBuf>, files: &HashSet<&Path>) {
        let gone: Vec<PathBuf> =
            self.folders.keys().filter(|path| !folders.contains(*path)).cloned().collect();
        for path in gone {
            self.unwatch(&path);
            self.folders.remove(&path);
            self.changed = true;
        }
        lock(&self.heard).looked(files);
    }

    /// How a file of a folder can be known to be complete.
    pub fn manner(&self, folder: &Path, path: &Path, fingerprint: &Fingerprint) -> Manner {
        if lock(&self.heard).arrived(path, fingerprint) {
            return Manner::Arrived;
        }
        match self.folders.get(folder) {
            // A polled folder without a reason is one that a single run looks at.
            Some(known) if !known.events && !known.reason.is_empty() => Manner::Looked,
            _ => Manner::Stamped,
        }
    }

    /// Whether an event should have told of a file that is complete now, and none did.
    pub fn missed(&self, folder: &Path, path: &Path, fingerprint: &Fingerprint) -> bool {
        self.folders.get(folder).is_some_and(|known| {
            known.events
                && fingerprint.changed > known.since.as_nanosecond()
                && !lock(&self.heard).knows(path)
        })
    }

    /// Whether some folder is looked at instead of listened to.
    pub fn polls(&self) -> bool {
        self.folders.values().any(|folder| !folder.events)
    }

    /// How each folder is watched, if that changed since it was last asked.
    pub fn news(&mut self) -> Option<Vec<WatchedFolder>> {
        if !std::mem::take(&mut self.changed) || !self.lasts {
            return None;
        }
        let told = |(path, folder): (&PathBuf, &Folder)| WatchedFolder {
            path: path.to_string_lossy().into_owned(),
            watch: if folder.events { "events" } else { "polling" }.to_owned(),
            reason: folder.reason.clone(),
        };
        let mut all: Vec<WatchedFolder> = self.folders.iter().map(told).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        Some(all)
    }

    /// Whoever asked for the news could not use it.
    pub fn still_news(&mut self, still: bool) {
        self.changed |= still;
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
