//! Moving files out of the inbox, so that a crash leaves each either here or there.
//!
//! Promises never to overwrite: a taken name gets a number. Promises that a rename is on the disk when it returns.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::durable::sync_folder_of;

/// How many files of one name a folder of a day takes before something is wrong with the names.
const MOST_OF_ONE_NAME: u32 = 100_000;

/// A name in the folder that nothing has yet: `a.csv`, else `a (2).csv`.
pub fn free_name(folder: &Path, name: &str) -> io::Result<PathBuf> {
    let (stem, end) = match name.split_once('.') {
        Some((stem, end)) if !stem.is_empty() => (stem, format!(".{end}")),
        _ => (name, String::new()),
    };
    let numbered = (2..MOST_OF_ONE_NAME).map(|number| format!("{stem} ({number}){end}"));
    for candidate in std::iter::once(name.to_owned()).chain(numbered) {
        let path = folder.join(candidate);
        match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Err(io::Error::other(format!("{} holds {MOST_OF_ONE_NAME} files named {name}", folder.display())))
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

/// Makes the folder of a day, and sees to it that it is on the disk before anything is moved into it.
pub fn day_folder(parent: &Path, day: &str) -> io::Result<PathBuf> {
    let folder = parent.join(day);
    if !folder.is_dir() {
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
}
