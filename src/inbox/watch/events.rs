//! What the file system's events told us, until the next look has used it.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use notify::{
    Event, EventKind,
    event::{AccessKind, AccessMode, ModifyKind, RenameMode},
};

use crate::inbox::names::{Meaning, meaning};
use crate::inbox::settle::Fingerprint;

/// A file that an event was about.
#[derive(Debug, Clone, Copy)]
struct Word {
    /// It was put into place whole: device and inode, because the next file of that name is another one.
    arrived: Option<(u64, u64)>,
    /// The look before which it came.
    before_look: u64,
}

/// What was heard since it was last used.
#[derive(Default)]
pub struct Heard {
    files: HashMap<PathBuf, Word>,
    /// The folders that are watched, and those whose watch has ended.
    pub folders: HashSet<PathBuf>,
    pub lost: HashSet<PathBuf>,
    looks: u64,
}

impl Heard {
    /// Takes an event in. Says whether it is a reason to look.
    pub fn take(&mut self, event: &Event) -> bool {
        if event.need_rescan() {
            return true;
        }
        match event.kind {
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => self.gone(event),
            EventKind::Create(_) => self.note(event, has_other_names),
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => self.note(event, |_| true),
            // Single writes are no news: a large file would keep us looking for nothing.
            EventKind::Modify(ModifyKind::Data(_)) => false,
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(_) => {
                self.note(event, |_| false)
            }
            EventKind::Access(_) => false,
            EventKind::Any | EventKind::Other => true,
        }
    }

    /// A file that leaves is no news; a folder that does is not watched any more.
    fn gone(&mut self, event: &Event) -> bool {
        let lost: Vec<_> = event.paths.iter().filter(|path| self.folders.contains(*path)).cloned().collect();
        let news = !lost.is_empty();
        self.lost.extend(lost);
        news
    }

    /// Hidden and unfinished files are nobody's business, our own drafts and probes included.
    fn note(&mut self, event: &Event, arrived: impl Fn(&fs::Metadata) -> bool) -> bool {
        let mut news = false;
        for path in &event.paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if meaning(&name) == Meaning::Ignored {
                continue;
            }
            news = true;
            let Ok(meta) = fs::symlink_metadata(path) else { continue };
            let whole = (meta.is_file() && arrived(&meta)).then(|| (meta.dev(), meta.ino()));
            let before = self.files.get(path).and_then(|word| word.arrived);
            let word = Word { arrived: whole.or(before), before_look: self.looks };
            self.files.insert(path.clone(), word);
        }
        news
    }

    /// Whether this very file was put into place whole.
    pub fn arrived(&self, path: &Path, fingerprint: &Fingerprint) -> bool {
        let arrived = self.files.get(path).and_then(|word| word.arrived);
        arrived == Some((fingerprint.device, fingerprint.inode))
    }

    /// Whether any event was about this path.
    pub fn knows(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// A look has ended: forgets what it was told about files that are not there, unless that came during the look.
    pub fn looked(&mut self, present: &HashSet<&Path>) {
        let look = self.looks;
        self.files.retain(|path, word| word.before_look == look || present.contains(path.as_path()));
        self.looks += 1;
    }
}

/// A new name for a file that has one already is a link into place, which nobody makes of half a file.
fn has_other_names(meta: &fs::Metadata) -> bool {
    meta.nlink() > 1
}

#[cfg(test)]
mod tests {
    use notify::event::{CreateKind, Flag, RemoveKind};

    use super::*;

    fn event(kind: EventKind, path: &Path) -> Event {
        Event::new(kind).add_path(path.to_owned())
    }

    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const RENAMED: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));

    #[test]
    fn a_rename_and_a_link_into_place_are_arrivals_and_a_creation_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        fs::write(&path, "x").unwrap();
        let print = || Fingerprint::of(&fs::symlink_metadata(&path).unwrap());
        let mut heard = Heard::default();
        assert!(heard.take(&event(CREATED, &path)));
        assert!(heard.knows(&path) && !heard.arrived(&path, &print()));
        fs::hard_link(&path, folder.path().join("other")).unwrap();
        heard.take(&event(CREATED, &path));
        assert!(heard.arrived(&path, &print()));
        let mut heard = Heard::default();
        heard.take(&event(RENAMED, &path));
        assert!(heard.arrived(&path, &print()));
        assert!(
            !heard.arrived(&path, &Fingerprint { inode: 0, ..print() }),
            "the next file of that name is another"
        );
    }

    #[test]
    fn an_overflow_and_a_lost_folder_are_news_and_hidden_files_are_not() {
        let mut heard = Heard::default();
        assert!(heard.take(&Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(!heard.take(&event(RENAMED, Path::new("/x/.draft"))));
        let removed = EventKind::Remove(RemoveKind::Folder);
        assert!(!heard.take(&event(removed, Path::new("/x/members"))));
        heard.folders.insert("/x/members".into());
        assert!(heard.take(&event(removed, Path::new("/x/members"))));
        assert!(heard.lost.contains(Path::new("/x/members")));
    }

    #[test]
    fn what_was_heard_of_vanished_files_is_forgotten_after_the_next_look() {
        let folder = tempfile::tempdir().unwrap();
        let (mut heard, path) = (Heard::default(), folder.path().join("a.csv"));
        fs::write(&path, "email").unwrap();
        heard.take(&event(RENAMED, &path));
        fs::remove_file(&path).unwrap();
        heard.looked(&HashSet::new());
        assert!(heard.knows(&path), "it may have come while we looked");
        heard.looked(&HashSet::new());
        assert!(!heard.knows(&path));
    }
}
