//! One daemon for a state folder.
//!
//! Owns `daemon.lock`: the lock belongs to the process and goes with it, however it ends; the text in it (pid and start)
//! is only for people and `status`.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use thiserror::Error;

/// The lock's name in the state folder.
const FILE_NAME: &str = "daemon.lock";

/// Why this process may not be the daemon.
#[derive(Debug, Error)]
pub enum InstanceError {
    /// Another one is.
    #[error("a daemon is already running on {} (pid {pid}): stop it first, or use another `state` folder", state.display())]
    Running {
        /// The state folder.
        state: PathBuf,
        /// Its pid, as it wrote it.
        pid: u32,
    },
    /// The lock cannot be made.
    #[error("cannot lock {}: {source}", path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The right to be the daemon of a state folder, given back when dropped.
#[derive(Debug)]
pub struct Instance {
    _lock: File,
}

/// A daemon that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Running {
    /// Its pid.
    pub pid: u32,
    /// Since when.
    pub since: Option<Timestamp>,
}

impl Instance {
    /// Takes the lock, or says who has it.
    pub fn take(state: &Path, now: Timestamp) -> Result<Self, InstanceError> {
        let path = state.join(FILE_NAME);
        let io = |source| InstanceError::Io { path: path.clone(), source };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = written(&mut file).map_or(0, |running| running.pid);
                return Err(InstanceError::Running { state: state.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{} {now}", std::process::id())).map_err(io)?;
        Ok(Self { _lock: file })
    }
}

/// The daemon that runs on a state folder, if one does.
#[must_use]
pub fn running(state: &Path) -> Option<Running> {
    let mut file = File::open(state.join(FILE_NAME)).ok()?;
    // A shared lock is refused only while a daemon holds its own.
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => written(&mut file),
        _ => None,
    }
}

fn written(file: &mut File) -> Option<Running> {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).ok()?;
    file.read_to_string(&mut text).ok()?;
    let (pid, since) = text.trim().split_once(' ')?;
    Some(Running { pid: pid.parse().ok()?, since: since.parse().ok() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_with_the_firsts_pid_until_the_first_is_gone() {
        let state = tempfile::tempdir().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(running(state.path()), None);
        let first = Instance::take(state.path(), now).unwrap();
        let here = Running { pid: std::process::id(), since: Some(now) };
        assert_eq!(running(state.path()), Some(here));
        match Instance::take(state.path(), now) {
            Err(InstanceError::Running { pid, .. }) => assert_eq!(pid, here.pid),
            other => panic!("{other:?}"),
        }
        drop(first);
        assert_eq!(running(state.path()), None);
        Instance::take(state.path(), now).unwrap();
    }
}
