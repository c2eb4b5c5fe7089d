//! One look over the inbox: which files are complete, and when to look again.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use super::Parts;
use super::names::{Meaning, meaning};
use super::settle::{Fingerprint, Look, Settled, Settling};
use super::watch::Watch;

/// A file that no reader knows is somebody's mistake after this long; before that it may be on its way.
const UNKNOWN_FOR: Duration = Duration::from_hours(1);

/// What a look came to.
pub struct Scan {
    /// Complete files, in the order they were completed.
    pub ready: Vec<Settled>,
    /// There are files that will be complete soon, and nobody writes to them.
    pub pending: bool,
    /// When the next one may be complete.
    pub look_at: Option<Timestamp>,
}

/// Looks over the inbox. The error says what is in the way.
pub fn scan(parts: &Parts, settling: &mut Settling, watch: &Watch, now: Timestamp) -> Result<Scan, String> {
    let inbox = parts.spool.join("inbox");
    let mut files = Vec::new();
    list(&inbox, &mut files).map_err(|error| {
        format!("the inbox {} cannot be read ({error}): mount it or make it again", inbox.display())
    })?;
    let mut found = Scan { ready: Vec::new(), pending: false, look_at: None };
    for (path, fingerprint) in &files {
        let moved = watch.was_moved_in(path, fingerprint);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let look = match meaning(&name) {
            Meaning::Ignored => continue,
            Meaning::Drop(..) => settling.look(path, *fingerprint, moved, now),
            Meaning::Unknown => Settling::new(UNKNOWN_FOR).look(path, *fingerprint, false, now),
        };
        match look {
            Look::Complete(settled) => found.ready.push(settled),
            Look::Wait(at) => {
                let soon = meaning(&name) != Meaning::Unknown && !settling.is_being_written(path);
                found.pending |= soon;
                found.look_at = Some(found.look_at.map_or(at, |earlier| earlier.min(at)));
            }
        }
    }
    let present: HashSet<&Path> = files.iter().map(|(path, _)| path.as_path()).collect();
    settling.keep_only(|path| present.contains(path));
    found.ready.sort_by(|a, b| {
        let order = |settled: &Settled| (settled.fingerprint().changed, settled.path().to_owned());
        order(a).cmp(&order(b))
    });
    Ok(found)
}

/// Lists the regular files of a folder and the folders below it. What vanishes while we look is no error.
fn list(folder: &Path, files: &mut Vec<(PathBuf, Fingerprint)>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let Ok(entry) = entry else { continue };
        let path = entry.path();
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_file() {
            files.push((path, Fingerprint::of(&meta)));
        } else if meta.is_dir() && meaning(&entry.file_name().to_string_lossy()) != Meaning::Ignored {
            // A folder that cannot be listed does not stop the others.
            if let Err(error) = list(&path, files) {
                tracing::warn!(folder = %path.display(), %error, "this folder of the inbox cannot be read");
            }
        }
    }
    Ok(())
}
