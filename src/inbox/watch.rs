//! Events from the file system: hints to look again, and the news that a file was renamed into place.
//!
//! Promises nothing: an event that does not come is found by the rescan.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

use super::Parts;
use super::settle::Fingerprint;
use crate::config;
use crate::wake::Wake;

/// Files that were seen to be renamed into place, by path: device and inode, because the next file of that name is
/// another one.
type Arrivals = Arc<Mutex<HashMap<PathBuf, (u64, u64)>>>;

/// The events of a spool, or none.
pub struct Watch {
    watcher: Option<RecommendedWatcher>,
    arrivals: Arrivals,
}

impl Watch {
    /// No events: only the rescan looks.
    pub fn off() -> Self {
        Self { watcher: None, arrivals: Arrivals::default() }
    }

    /// Events of the inbox and everything below it, unless polling is configured or there are none to be had.
    pub fn on(parts: &Parts) -> Self {
        if parts.settings.watch == config::Watch::Polling {
            return Self::off();
        }
        let arrivals = Arrivals::default();
        let inbox = parts.spool.join("inbox");
        match begin(&inbox, Arc::clone(&arrivals), parts.wake.clone()) {
            Ok(watcher) => Self { watcher: Some(watcher), arrivals },
            Err(error) => {
                tracing::warn!(%error, "no file events; looking every {:?} instead", parts.settings.rescan);
                Self::off()
            }
        }
    }

    /// How each folder is watched, for `status`.
    pub fn folders(&self, parts: &Parts) -> Vec<(String, &'static str)> {
        let how = if self.watcher.is_some() { "events" } else { "polling" };
        let inbox = parts.spool.join("inbox");
        let folder = |folder: &str| if folder == "." { inbox.clone() } else { inbox.join(folder) };
        let mut paths: Vec<PathBuf> = parts.routes.iter().map(|route| folder(&route.folder)).collect();
        paths.push(inbox.clone());
        paths.sort();
        paths.dedup();
        paths.into_iter().map(|path| (path.to_string_lossy().into_owned(), how)).collect()
    }

    /// Whether this very file was seen to be renamed into place.
    pub fn was_moved_in(&self, path: &Path, fingerprint: &Fingerprint) -> bool {
        let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.remove(path) == Some((fingerprint.device, fingerprint.inode))
    }
}

fn begin(inbox: &Path, arrivals: Arrivals, wake: Wake) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error is an overflow or a lost watch: all the more reason to look.
        let Ok(event) = event else { return wake.hint() };
        if is_news(event.kind) {
            remember(&event, &arrivals);
            wake.hint();
        }
    })?;
    watcher.watch(inbox, RecursiveMode::Recursive)?;
    Ok(watcher)
}

/// Single writes and openings are no news: a large file would keep us looking for nothing.
fn is_news(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => matches!(access, AccessKind::Close(AccessMode::Write)),
        EventKind::Modify(modify) => !matches!(modify, ModifyKind::Data(_)),
        EventKind::Any | EventKind::Create(_) | EventKind::Remove(_) | EventKind::Other => true,
    }
}

fn remember(event: &Event, arrivals: &Arrivals) {
    if !matches!(event.kind, EventKind::Modify(ModifyKind::Name(RenameMode::To))) {
        return;
    }
    for path in &event.paths {
        if let Ok(meta) = fs::symlink_metadata(path) {
            let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.insert(path.clone(), (meta.dev(), meta.ino()));
        }
    }
}
