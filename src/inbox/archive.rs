//! Moving files out of the inbox, so that a crash leaves each either here or there.
//!
//! Promises never to overwrite: a taken name gets a number. Promises that a rename is on the disk when it returns.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::settle::Fingerprint;
use super::source;
use crate::durable::{self, sync_folder_of};

/// A copy in the archive is for those who may read its receipt.
const COPIED: u32 = 0o640;
/// How many files of one name a folder of a day takes before something is wrong with the names.
const MOST_OF_ONE_NAME: u32 = 1 << 20;
/// File systems take names of 255 bytes. What is archived leaves room for a number, for `.receipt.json` and for what a
/// draft adds to that.
const LONGEST_NAME: usize = 200;
/// The end of a long name that is kept, because it says what the file is: `.csv.gz` and a little more.
const KEPT_END: usize = 16;
/// Stands for the middle that was left out of a long name.
const LEFT_OUT: &str = "~";

/// A name in the folder that nothing has yet: `a.csv`, else `a (2).csv`. A name that is too long loses its middle.
pub fn free_name(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let name = shortened(name);
    let (stem, end) = match name.split_once('.') {
        Some((stem, end)) if !stem.is_empty() => (stem, format!(".{end}")),
        _ => (name.as_str(), String::new()),
    };
    let path = |number: u32| match number {
        1 => folder.join(&name),
        _ => folder.join(format!("{stem} ({number}){end}")),
    };
    if is_free(&path(1))? {
        return Ok(path(1));
    }
    // Numbers are given without gaps, so that doubling and halving finds the end of them: a form that always writes the
    // same name must not cost more with each file.
    let (mut taken, mut free) = (1, 2);
    while !is_free(&path(free))? {
        if free >= MOST_OF_ONE_NAME {
            return Err(io::Error::other(format!("{} holds {free} files named {name}", folder.display())));
        }
        (taken, free) = (free, free * 2);
    }
    while free - taken > 1 {
        let middle = taken.midpoint(free);
        if is_free(&path(middle))? { free = middle } else { taken = middle }
    }
    Ok(path(free))
}

fn is_free(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
        Ok(_) => Ok(false),
    }
}

fn shortened(name: &str) -> String {
    if name.len() <= LONGEST_NAME {
        return name.to_owned();
    }
    let beginning = name.floor_char_boundary(LONGEST_NAME - KEPT_END - LEFT_OUT.len());
    let end = name.ceil_char_boundary(name.len() - KEPT_END);
    format!("{}{LEFT_OUT}{}", &name[..beginning], &name[end..])
}

/// Renames without ever overwriting, and sees to it that both folders are on the disk.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        // Some network file systems cannot promise it in one step; a link can.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)?;
        }
        Err(error) => return Err(error.into()),
    }
    sync_folder_of(to)?;
    sync_folder_of(from)
}

/// Moves a file to another file system: a folder of the inbox may be a mount of its own. The copy is on the disk before the
/// file is removed, and a file that was replaced meanwhile stays for the next look.
pub fn move_across(from: &Path, fingerprint: &Fingerprint, to: &Path) -> io::Result<()> {
    let mut file = source::open(from)?;
    let meta = file.metadata()?;
    if !meta.is_file() || !Fingerprint::of(&meta).same_content(fingerprint) {
        return Err(io::Error::other(
            "it is no plain file, or changed while it was moved to another file system",
        ));
    }
    durable::write(to, COPIED, |out| io::copy(&mut file, out).map(|_| ()))?;
    if Fingerprint::of(&fs::symlink_metadata(from)?).same_content(fingerprint) {
        fs::remove_file(from)?;
        sync_folder_of(from)?;
    }
    Ok(())
}

/// Makes the folder of a day, and sees to it that it is on the disk before anything is moved into it. Where the inbox is
/// not there, the spool is not mounted, and nothing is made in its place.
pub fn day_folder(spool: &Path, kind: &str, day: &str) -> io::Result<PathBuf> {
    let folder = spool.join(kind).join(day);
    if !folder.is_dir() {
        if !spool.join("inbox").is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the spool has no inbox: is it mounted?"));
        }
        fs::create_dir_all(&folder)?;
        sync_folder_of(&folder)?;
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_name_gets_a_number_before_its_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut names = Vec::new();
        for _ in 0..3 {
            let path = free_name(folder.path(), "a.csv.gz").unwrap();
            fs::write(&path, "x").unwrap();
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
        assert_eq!(names, ["a.csv.gz", "a (2).csv.gz", "a (3).csv.gz"]);
    }

    #[test]
    fn a_rename_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&a, "new").unwrap();
        fs::write(&b, "old").unwrap();
        assert_eq!(rename(&a, &b).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&b).unwrap(), "old");
        fs::remove_file(&b).unwrap();
        rename(&a, &b).unwrap();
        assert_eq!((a.exists(), fs::read_to_string(&b).unwrap().as_str()), (false, "new"));
    }

    #[test]
    fn the_number_is_found_without_trying_all() {
        let folder = tempfile::tempdir().unwrap();
        for number in 1..=70 {
            let path = free_name(folder.path(), "form.json").unwrap();
            let expected = if number == 1 { "form.json".to_owned() } else { format!("form ({number}).json") };
            assert_eq!(path.file_name().unwrap().to_string_lossy(), expected);
            fs::write(path, "x").unwrap();
        }
    }

    #[test]
    fn a_name_that_leaves_no_room_loses_its_middle_and_keeps_its_ends() {
        let name = format!("{}.csv.gz", "ü".repeat(124));
        assert_eq!(name.len(), 255);
        let short = shortened(&name);
        assert!(
            short.len() <= LONGEST_NAME && short.starts_with("üü") && short.ends_with("ü.csv.gz"),
            "{short}"
        );
        assert_eq!(shortened("short.csv"), "short.csv");
    }

    #[test]
    fn a_file_is_moved_across_only_if_it_is_still_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&from, "text").unwrap();
        let seen = Fingerprint::of(&fs::symlink_metadata(&from).unwrap());
        assert!(
            move_across(&from, &Fingerprint { size: 9, ..seen }, &to).is_err()
                && from.exists()
                && !to.exists()
        );
        move_across(&from, &seen, &to).unwrap();
        assert_eq!((from.exists(), fs::read_to_string(&to).unwrap().as_str()), (false, "text"));
    }
}
