//! Files that are there whole or not at all, also after a power cut.
//!
//! Owns the order: a draft under a hidden name in the same folder, fsync, rename, fsync of the folder. The draft's name
//! is always the same for a file, so that one that a crash left behind is replaced by the next try and never piles up.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Writes a file with the given permissions. What was there before stays until the new one is whole.
pub fn write<E: From<io::Error>>(
    path: &Path,
    mode: u32,
    content: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft = path.with_file_name(format!(".{name}.draft"));
    let written = fill(&draft, mode, content).and_then(|()| fs::rename(&draft, path).map_err(E::from));
    if written.is_err() {
        // Whether it could be removed or not: the next try replaces it.
        let _gone = fs::remove_file(&draft);
    }
    written?;
    Ok(sync_folder_of(path)?)
}

fn fill<E: From<io::Error>>(
    draft: &Path,
    mode: u32,
    content: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    // An older draft may have other permissions: it goes first.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
    let mut out = BufWriter::new(&file);
    content(&mut out)?;
    out.flush()?;
    drop(out);
    Ok(file.sync_all()?)
}

/// Brings a folder's list of names to the disk: a rename is only then safe.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const MODE: u32 = 0o600;

    #[test]
    fn a_write_that_fails_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let fail = |out: &mut dyn Write| {
            out.write_all(b"half")?;
            Err(io::Error::other("no"))
        };
        assert!(write(&path, MODE, fail).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        write::<io::Error>(&path, MODE, |out| out.write_all(b"whole")).unwrap();
        assert!(write(&path, MODE, fail).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
    }

    #[test]
    fn a_draft_that_a_crash_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(folder.path().join(".a.json.draft"), "a longer text than the new one").unwrap();
        write::<io::Error>(&path, MODE, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
