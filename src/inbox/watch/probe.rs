//! The folder's self-test: a hidden file is made in it; does an event come, and how late?

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use notify::{ErrorKind, RecursiveMode, Watcher};

use super::filesystem;

/// An event of this machine's own file systems comes within a millisecond; one that takes longer than this is none.
const PATIENCE: Duration = Duration::from_secs(1);

/// The file of the test. Its name is always the same, so that one that a crash left behind goes with the next test.
const FILE_NAME: &str = ".mailchute-probe";

/// What a folder's self-test found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The folder.
    pub folder: PathBuf,
    /// Its events can be relied upon.
    pub events: bool,
    /// How late the event of the test came, if one came.
    pub delay: Option<Duration>,
    /// The kind of network or user file system that it lies on, if it does.
    pub shared: Option<&'static str>,
    /// Why its events cannot be relied upon, or what could not be tested, and what would help.
    pub reason: String,
}

/// Tests a folder.
#[must_use]
pub fn test(folder: &Path) -> Finding {
    let mut found = Finding {
        folder: folder.to_owned(),
        events: false,
        delay: None,
        shared: None,
        reason: String::new(),
    };
    match filesystem::shared(folder) {
        Ok(kind) => found.shared = kind,
        Err(error) => {
            found.reason = format!("it cannot be looked at: {error}");
            return found;
        }
    }
    match listen(folder) {
        Ok(delay) => (found.events, found.delay) = (found.shared.is_none(), Some(delay)),
        Err(Silent::Unwatched(reason)) => found.reason = reason,
        Err(Silent::Unheard) => {
            found.reason = format!("no event came within {}", humantime::format_duration(PATIENCE));
        }
        Err(Silent::Unwritable(error)) => {
            // Nobody can say; the rescan finds what is missed.
            found.events = found.shared.is_none();
            found.reason =
                format!("no file can be made in it ({error}): files cannot be moved out of it either");
        }
    }
    if let Some(kind) = found.shared {
        found.reason = format!("it lies on {kind}, where changes by others come without an event");
    }
    found
}

/// Why no event was heard.
enum Silent {
    Unwatched(String),
    Unwritable(io::Error),
    Unheard,
}

fn listen(folder: &Path) -> Result<Duration, Silent> {
    let (sender, receiver) = mpsc::channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let about = |path: &PathBuf| path.file_name().is_some_and(|name| name == FILE_NAME);
        if event.is_ok_and(|event| event.paths.iter().any(about)) {
            // Whoever asked may have given up.
            let _unheard = sender.send(());
        }
    })
    .map_err(|error| Silent::Unwatched(in_words(&error)))?;
    watcher
        .watch(folder, RecursiveMode::NonRecursive)
        .map_err(|error| Silent::Unwatched(in_words(&error)))?;
    let file = folder.join(FILE_NAME);
    let made = Instant::now();
    fs::write(&file, b"").map_err(Silent::Unwritable)?;
    let heard = receiver.recv_timeout(PATIENCE);
    let delay = made.elapsed();
    match fs::remove_file(&file) {
        // Somebody else tests the folder just now; the event tells both of us the same.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Silent::Unwritable(error)),
        _ => {}
    }
    heard.map(|()| delay).map_err(|_| Silent::Unheard)
}

/// What a watcher says when it cannot watch, with the setting that would help.
pub fn in_words(error: &notify::Error) -> String {
    let raised = |what: &str, key: &str| {
        format!("the system's limit of {what} is reached: raise it with `sysctl fs.inotify.{key}=…`")
    };
    match &error.kind {
        ErrorKind::MaxFilesWatch => raised("watches", "max_user_watches"),
        ErrorKind::Io(io) => match rustix::io::Errno::from_io_error(io) {
            Some(rustix::io::Errno::MFILE) => raised("inotify instances", "max_user_instances"),
            Some(rustix::io::Errno::NOSPC) => raised("watches", "max_user_watches"),
            _ => format!("it cannot be watched: {io}"),
        },
        _ => format!("it cannot be watched: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_of_this_machine_gives_events_and_keeps_nothing_of_the_test() {
        let folder = tempfile::tempdir().unwrap();
        let found = test(folder.path());
        assert!(found.events && found.delay.is_some(), "{found:?}");
        assert_eq!((found.shared, found.reason.as_str()), (None, ""));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_said() {
        let found = test(Path::new("/nowhere/at/all"));
        assert!(!found.events && found.reason.starts_with("it cannot be looked at: "), "{found:?}");
    }

    #[test]
    fn limits_of_the_system_name_their_setting() {
        let watches = notify::Error::new(ErrorKind::MaxFilesWatch);
        insta::assert_snapshot!(in_words(&watches), @"the system's limit of watches is reached: raise it with `sysctl fs.inotify.max_user_watches=…`");
        let instances = notify::Error::io(io::Error::from(rustix::io::Errno::MFILE));
        insta::assert_snapshot!(in_words(&instances), @"the system's limit of inotify instances is reached: raise it with `sysctl fs.inotify.max_user_instances=…`");
    }
}
