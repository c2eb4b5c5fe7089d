//! The tokens while the daemon runs: read, renewed before they end, never spent twice.
//!
//! Promises, in this order: one spender at a time over all threads and processes; the store is read again after waiting
//! for one's turn; what is about to be spent is on the disk before it is sent; the new pair is on the disk before it is
//! used. A pair that cannot be saved is kept in memory, not used, and saved as soon as that works. This file knows which
//! token is good; `renew` brings another; `timing` says when.

mod renew;
mod timing;

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::endpoint;
use super::store::{Document, Pair, Store, StoreError, TokenState, Version};
use super::{Application, Unavailable};

/// How often upkeep that failed is looked at again: how long to wait before another try, `timing` says.
const UPKEEP_AGAIN: Duration = Duration::from_mins(1);
/// How often a process that wants to end tries to bring unsaved tokens to the disk.
const SAVE_AGAIN: Duration = Duration::from_secs(1);

/// A token to call with.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// For the header and nothing else.
    pub secret: SecretString,
    /// Which pair it belongs to, for [`Tokens::refused`].
    pub generation: u64,
}

/// The tokens of a state folder.
pub struct Tokens {
    store: Store,
    application: Application,
    http: reqwest::Client,
    clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    cache: Mutex<Cache>,
}

/// What is in memory.
#[derive(Default)]
struct Cache {
    document: Option<Document>,
    read: Option<Version>,
    /// A new pair that the disk would not take: newer than the document, and not to be used before it is saved.
    unsaved: Option<Document>,
    /// An entry of the journal that this process knows to be void, while the disk would not take that: the generation,
    /// and since when it was to be spent.
    void: Option<(u64, Timestamp)>,
    failures: usize,
    retry: Option<Retry>,
}

/// When a refresh that failed is tried again, and why it failed.
#[derive(Clone)]
struct Retry {
    at: Timestamp,
    reason: String,
    /// Whether a person must mend something.
    refused: bool,
}

impl Tokens {
    /// Looks after the tokens of a state folder. There need not be any yet.
    pub fn open(
        state: &Path,
        application: Application,
        clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    ) -> Result<Self, StoreError> {
        let store = Store::new(state);
        // A store that others can read, or that is none, is said at the start and not at night.
        store.read()?;
        let http = endpoint::http().map_err(|error| StoreError::Https(error.to_string()))?;
        Ok(Self { store, application, http, clock, cache: Mutex::new(Cache::default()) })
    }

    /// A token to call with, renewed if it must be.
    pub async fn access(&self) -> Result<AccessToken, Unavailable> {
        let mut cache = self.cache.lock().await;
        self.read_if_changed(&mut cache)?;
        if let Some(token) = self.usable(&cache) {
            return Ok(token);
        }
        self.renew(&mut cache, None).await
    }

    /// A token instead of one that the API refused. Renews it unless somebody did already.
    pub async fn refused(&self, generation: u64) -> Result<AccessToken, Unavailable> {
        let mut cache = self.cache.lock().await;
        self.read_if_changed(&mut cache)?;
        self.renew(&mut cache, Some(generation)).await
    }

    /// Whether each refresh brings another refresh token, when one has shown it.
    #[must_use]
    pub fn rotating(&self) -> Option<bool> {
        match self.store.read() {
            Ok(Some(Document { state: TokenState::Authorized(pair), .. })) => pair.rotating,
            _ => None,
        }
    }

    /// Keeps an authorization alive that nobody used for a week, and saves what could not be saved. Gives when to look
    /// again.
    pub async fn upkeep(&self) -> Timestamp {
        let now = (self.clock)();
        let mut cache = self.cache.lock().await;
        // What cannot be read is said when somebody needs a token.
        let _readable = self.read_if_changed(&mut cache);
        let due = cache.unsaved.as_ref().map_or_else(|| upkeep_due(&cache, now), |_| now);
        if due > now {
            return due;
        }
        let generation = cache.document.as_ref().map(|document| document.generation);
        if let Err(unavailable) = self.renew(&mut cache, generation).await {
            tracing::warn!(%unavailable, "the weekly refresh");
        }
        let again = now.checked_add(UPKEEP_AGAIN).unwrap_or(Timestamp::MAX);
        upkeep_due(&cache, now).max(again)
    }

    /// Before the process ends: brings a pair to the disk that could not be saved, trying for a while.
    pub async fn save_before_end(&self, patience: Duration) {
        let gives_up = tokio::time::Instant::now() + patience;
        loop {
            let mut cache = self.cache.lock().await;
            if cache.unsaved.is_none() {
                return;
            }
            let Ok(_turn) = self.store.spender().await else { return };
            match self.save_unsaved(&mut cache) {
                Ok(()) => return,
                Err(error) if tokio::time::Instant::now() >= gives_up => {
                    tracing::error!(%error, "new tokens are lost because they cannot be saved");
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "new tokens cannot be saved; trying again before ending");
                }
            }
            drop(cache);
            tokio::time::sleep(SAVE_AGAIN).await;
        }
    }

    fn read_if_changed(&self, cache: &mut Cache) -> Result<(), Unavailable> {
        let version = self.store.version();
        if cache.document.is_some() && version == cache.read {
            return Ok(());
        }
        let before = cache.document.as_ref().map(|document| document.generation);
        cache.document = self.store.read().map_err(|error| self.login(&error.to_string()))?;
        cache.read = version;
        if before != cache.document.as_ref().map(|document| document.generation) {
            // Somebody signed in anew or refreshed: what failed before is not worth waiting for.
            (cache.failures, cache.retry) = (0, None);
        }
        Ok(())
    }

    /// The cached access token if it is good for a while yet, and nothing newer waits to be saved.
    fn usable(&self, cache: &Cache) -> Option<AccessToken> {
        let document = cache.document.as_ref().filter(|_| cache.unsaved.is_none())?;
        let TokenState::Authorized(pair) = &document.state else { return None };
        timing::is_fresh(pair, (self.clock)()).then(|| token(document, pair))
    }

    /// An access token that should be renewed but has not ended: good enough while renewing fails in passing.
    fn not_ended(&self, cache: &Cache, refused: Option<u64>) -> Option<AccessToken> {
        let document = cache.document.as_ref().filter(|_| cache.unsaved.is_none())?;
        let TokenState::Authorized(pair) = &document.state else { return None };
        let good = timing::has_not_ended(pair, (self.clock)()) && refused != Some(document.generation);
        good.then(|| token(document, pair))
    }

    fn write(&self, cache: &mut Cache, document: &Document) -> Result<(), StoreError> {
        self.store.write(document)?;
        cache.document = Some(document.clone());
        cache.read = self.store.version();
        Ok(())
    }

    fn login(&self, why: &str) -> Unavailable {
        Unavailable::Login { reason: format!("{why}: sign in with `{}`", self.application.sign_in) }
    }
}

/// When an authorization that nobody uses must be refreshed; never for one that is over or in doubt.
fn upkeep_due(cache: &Cache, now: Timestamp) -> Timestamp {
    match cache.document.as_ref().map(|document| &document.state) {
        Some(TokenState::Authorized(pair)) if pair.spending_since.is_none() => timing::upkeep_due(pair, now),
        _ => Timestamp::MAX,
    }
}

fn token(document: &Document, pair: &Pair) -> AccessToken {
    AccessToken { secret: pair.access_token.clone(), generation: document.generation }
}

fn is_same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() == other.expose_secret()
}
