//! `tokens.json`: the authorization on disk.
//!
//! Owns the file's form, its permissions and the lock that belongs to it. Promises that a write is there whole or not at
//! all, and that what is about to be spent is written down before: after a crash it is known whether a refresh was not
//! started, done, or in doubt. It belongs to no backup: a restored refresh token is a spent one.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;

use crate::durable;

/// The store's name in the state folder.
const FILE_NAME: &str = "tokens.json";
/// The lock's name beside it. The store itself is replaced at each write, so that its own lock would go with it.
const LOCK_NAME: &str = "tokens.lock";
/// The form of the file. Another number means that this program cannot read it.
const VERSION: u32 = 1;
/// Nobody else may read or write it.
const MODE: u32 = 0o600;
/// The bits of a mode that let somebody else in.
const OTHERS: u32 = 0o077;
/// How often a waiting process looks whether the lock is free: a refresh takes a fraction of a second.
const LOCK_LOOK: Duration = Duration::from_millis(50);

/// What is wrong with the store.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The disk.
    #[error("token store {}: cannot {doing}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else can read the tokens.
    #[error("other users can read {0}: `chmod 600 {0}`, and sign in again if one of them may have", path.display())]
    Open {
        /// The file.
        path: PathBuf,
    },
    /// There is no HTTPS.
    #[error(
        "HTTPS cannot be prepared ({0}): it needs the system's certificate authorities (package ca-certificates)"
    )]
    Https(String),
    /// The file is not one that this program wrote.
    #[error("token store {}: {what}: move the file away and sign in again", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// The authorization as it stands on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Document {
    version: u32,
    /// Counts every pair of tokens that was ever stored here: a refusal names the pair that it is about.
    pub(super) generation: u64,
    /// The account's name, for people.
    pub(super) account: Option<String>,
    #[serde(flatten)]
    pub(super) state: TokenState,
}

/// The life of an authorization, with its data.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(super) enum TokenState {
    /// There are tokens.
    Authorized(Pair),
    /// A person must sign in.
    Needed {
        /// Why.
        reason: String,
        /// Since when.
        since: Timestamp,
    },
}

/// An access token with the refresh token that came with it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Pair {
    #[serde(serialize_with = "expose")]
    pub(super) access_token: SecretString,
    pub(super) access_expires_at: Timestamp,
    #[serde(serialize_with = "expose")]
    pub(super) refresh_token: SecretString,
    /// When the pair came: the refresh token's 180 days count from here.
    pub(super) refreshed_at: Timestamp,
    /// Whether each refresh brings another refresh token, once one has shown it.
    pub(super) rotating: Option<bool>,
    /// The journal: the refresh token was about to be spent then. Gone once the answer is stored.
    pub(super) spending_since: Option<Timestamp>,
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

impl Document {
    pub(super) fn new(generation: u64, account: Option<String>, state: TokenState) -> Self {
        Self { version: VERSION, generation, account, state }
    }

    /// The same authorization in another state.
    pub(super) fn with(&self, state: TokenState) -> Self {
        Self { state, ..self.clone() }
    }
}

/// The store of a state folder.
#[derive(Debug, Clone)]
pub(super) struct Store {
    folder: PathBuf,
}

/// What tells one file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    modified: std::time::SystemTime,
    inode: u64,
    mode: u32,
}

/// The right to spend the refresh token, given back when dropped.
pub(super) struct Spender {
    _lock: File,
}

impl Store {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE_NAME)
    }

    /// Which file is there now: another one when somebody signed in anew, or another process refreshed.
    pub(super) fn version(&self) -> Option<Version> {
        let meta = fs::metadata(self.path()).ok()?;
        // Each write makes a file of its own; two in one tick of the clock differ in their number.
        Some(Version { modified: meta.modified().ok()?, inode: meta.ino(), mode: meta.mode() })
    }

    /// The authorization, or `None` before the first sign-in.
    pub(super) fn read(&self) -> Result<Option<Document>, StoreError> {
        let path = self.path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => SecretString::from(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StoreError::Io { path, doing: "read it", source }),
        };
        let mode = fs::metadata(&path).map(|meta| meta.permissions().mode()).unwrap_or_default();
        if mode & OTHERS != 0 {
            return Err(StoreError::Open { path });
        }
        match serde_json::from_str::<Document>(text.expose_secret()) {
            Ok(document) if document.version == VERSION => Ok(Some(document)),
            Ok(document) => {
                let what = format!("it has form {} and this program knows {VERSION}", document.version);
                Err(StoreError::Content { path, what })
            }
            // serde's message could repeat a value, and a value here is a secret.
            Err(error) => {
                let what = format!("line {}, column {} is not as it should be", error.line(), error.column());
                Err(StoreError::Content { path, what })
            }
        }
    }

    /// Replaces the file: temporary name, fsync, rename, fsync of the folder.
    pub(super) fn write(&self, document: &Document) -> Result<(), StoreError> {
        let path = self.path();
        let written = durable::write(&path, MODE, |out| {
            serde_json::to_writer_pretty(out, document).map_err(io::Error::from)
        });
        written.map_err(|source| StoreError::Io { path, doing: "write it", source })
    }

    /// Waits until nobody else, in any process, spends the refresh token.
    pub(super) async fn spender(&self) -> Result<Spender, StoreError> {
        let path = self.folder.join(LOCK_NAME);
        let fail = |source| StoreError::Io { path: path.clone(), doing: "lock it", source };
        let mut options = OpenOptions::new();
        let lock = options.create(true).write(true).truncate(false).mode(MODE).open(&path).map_err(fail)?;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Spender { _lock: lock }),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_LOOK).await,
                Err(TryLockError::Error(source)) => return Err(fail(source)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        Pair {
            access_token: "secret-access".into(),
            access_expires_at: Timestamp::UNIX_EPOCH,
            refresh_token: "secret-refresh".into(),
            refreshed_at: Timestamp::UNIX_EPOCH,
            rotating: Some(true),
            spending_since: None,
        }
    }

    #[test]
    fn what_is_written_comes_back_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        assert!(store.read().unwrap().is_none());
        store.write(&Document::new(3, Some("Club".into()), TokenState::Authorized(pair()))).unwrap();
        let back = store.read().unwrap().unwrap();
        let TokenState::Authorized(stored) = back.state else { panic!("not authorized") };
        assert_eq!((back.generation, stored.refresh_token.expose_secret()), (3, "secret-refresh"));
        let path = folder.path().join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(store.read().unwrap_err().to_string().contains("chmod 600"));
    }

    #[test]
    fn secrets_reach_neither_debug_output_nor_errors() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let document = Document::new(1, None, TokenState::Authorized(pair()));
        assert!(!format!("{document:?}").contains("secret-"));
        store.write(&document).unwrap();
        let path = folder.path().join(FILE_NAME);
        let broken =
            fs::read_to_string(&path).unwrap().replace("\"rotating\": true", "\"rotating\": \"secret-x\"");
        fs::write(&path, broken).unwrap();
        assert!(!store.read().unwrap_err().to_string().contains("secret-"));
    }
}
