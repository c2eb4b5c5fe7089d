//! One look over the inbox: which files are complete, and when to look again.
//!
//! Promises that whatever lies there is either taken in, waited for, refused with its reason, or none of our business.

use std::{
    collections::HashSet,
    fs::{self, Metadata},
    io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use super::Parts;
use super::names::{Meaning, meaning};
use super::settle::{Fingerprint, Look, Manner, Settled, Settling};
use super::stuck::Stuck;
use super::watch::Watch;

/// A file that no reader knows is somebody's mistake after this long; before that it may be on its way.
const UNKNOWN_FOR: Duration = Duration::from_hours(1);
/// A folder that others than its owner can write in.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// A complete file, and why it is refused unread, if it is.
#[derive(Debug, Clone)]
pub struct Ready {
    /// The file.
    pub settled: Settled,
    /// What it is instead of a drop file.
    pub refusal: Option<String>,
}

/// What a look came to.
pub struct Scan {
    /// Complete files, in the order they were completed.
    pub ready: Vec<Ready>,
    /// There are files that will be complete soon, and nobody writes to them.
    pub pending: bool,
    /// When the next one may be complete.
    pub look_at: Option<Timestamp>,
    /// Files that are complete and that no event told of.
    pub missed: u64,
}

/// Something that lies in the inbox.
struct Lying {
    path: PathBuf,
    folder: usize,
    fingerprint: Fingerprint,
    refusal: Option<String>,
}

/// Everything that lies in the inbox.
#[derive(Default)]
struct Listing {
    folders: Vec<PathBuf>,
    files: Vec<Lying>,
}

/// Looks over the inbox. The error says what is in the way.
pub fn scan(
    parts: &Parts,
    settling: &mut Settling,
    watch: &mut Watch,
    stuck: &mut Stuck,
    now: Timestamp,
) -> Result<Scan, String> {
    let inbox = parts.spool.join("inbox");
    let mut listing = Listing::default();
    let listed = list(parts, &inbox, watch, now, &mut listing);
    let present: HashSet<&Path> = listing.files.iter().map(|lying| lying.path.as_path()).collect();
    settling.keep_only(|path| present.contains(path));
    stuck.keep_only(|path| present.contains(path) || !path.starts_with(&inbox));
    let mut found = Scan { ready: Vec::new(), pending: false, look_at: None, missed: 0 };
    for lying in &listing.files {
        if !stuck.holds(&lying.path, now) {
            look(lying, &listing.folders[lying.folder], settling, watch, now, &mut found);
        }
    }
    watch.looked(&listing.folders.iter().cloned().collect(), &present);
    listed.map_err(|error| {
        format!("the inbox {} cannot be read ({error}): mount it or make it again", inbox.display())
    })?;
    let order = |ready: &Ready| (ready.settled.fingerprint().changed, ready.settled.path().to_owned());
    found.ready.sort_by_cached_key(order);
    Ok(found)
}

/// Looks at one file.
fn look(
    lying: &Lying,
    folder: &Path,
    settling: &mut Settling,
    watch: &Watch,
    now: Timestamp,
    found: &mut Scan,
) {
    let Lying { path, fingerprint, refusal, .. } = lying;
    let known = meaning(&path.file_name().unwrap_or_default().to_string_lossy()) != Meaning::Unknown;
    // What is refused by its kind did not become so by arriving.
    let manner = match watch.manner(folder, path, fingerprint) {
        Manner::Arrived if refusal.is_some() => Manner::Stamped,
        manner => manner,
    };
    let look = if known {
        settling.look(path, *fingerprint, manner, now)
    } else {
        Settling::new(UNKNOWN_FOR).look(path, *fingerprint, Manner::Stamped, now)
    };
    match look {
        Look::Complete(settled) => {
            let missed = known && manner == Manner::Stamped && watch.missed(folder, path, fingerprint);
            found.missed += u64::from(missed);
            found.ready.push(Ready { settled, refusal: refusal.clone() });
        }
        Look::Wait(at) => {
            found.pending |= known && !settling.is_being_written(path);
            found.look_at = Some(found.look_at.map_or(at, |earlier| earlier.min(at)));
        }
    }
}

/// Lists what lies in a folder and the folders below it. What vanishes while we look is no error.
fn list(
    parts: &Parts,
    folder: &Path,
    watch: &mut Watch,
    now: Timestamp,
    listing: &mut Listing,
) -> io::Result<()> {
    let own = fs::symlink_metadata(folder)?;
    // Watched before it is listed: what comes in between is seen by one of the two.
    watch.meet(folder, &own, now);
    let place = listing.folders.len();
    listing.folders.push(folder.to_owned());
    for entry in fs::read_dir(folder)? {
        let Ok(entry) = entry else { continue };
        let path = entry.path();
        let meaning = meaning(&entry.file_name().to_string_lossy());
        if meaning == Meaning::Ignored {
            continue;
        }
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() && (meaning == Meaning::Unknown || leads_to_a_route(parts, &path)) {
            // A folder that cannot be listed does not stop the others.
            if let Err(error) = list(parts, &path, watch, now, listing) {
                tracing::warn!(folder = ?path, %error, "this folder of the inbox cannot be read");
            }
            continue;
        }
        let refusal = refusal(&meta, &own);
        listing.files.push(Lying { path, folder: place, fingerprint: Fingerprint::of(&meta), refusal });
    }
    Ok(())
}

fn leads_to_a_route(parts: &Parts, folder: &Path) -> bool {
    let inbox = parts.spool.join("inbox");
    parts.routes.iter().any(|route| inbox.join(&route.folder).starts_with(folder))
}

/// What is never opened, because it is no plain file, or one that somebody else owns under another name.
fn refusal(meta: &Metadata, folder: &Metadata) -> Option<String> {
    let kind = meta.file_type();
    let what = if kind.is_symlink() {
        "a symbolic link: drop the file itself"
    } else if kind.is_dir() {
        "a folder with the name of a file: drop the files themselves"
    } else if kind.is_fifo() {
        "a pipe: write a file"
    } else if kind.is_socket() {
        "a socket: write a file"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device: write a file"
    } else if meta.nlink() > 1 && !only_its_owner_can_have_linked_it(meta, folder) {
        "a file that has other names besides (hard links), so that anybody's file may be behind it: drop a copy"
    } else {
        return None;
    };
    Some(format!("this is {what}"))
}

/// Where only the file's owner can write, nobody else can have brought it in.
fn only_its_owner_can_have_linked_it(meta: &Metadata, folder: &Metadata) -> bool {
    meta.uid() == folder.uid() && folder.mode() & OTHERS_MAY_WRITE == 0
}
