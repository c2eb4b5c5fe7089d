//! The tokens while the daemon runs: read, renewed before they end, never spent twice.
//!
//! Promises, in this order: one spender at a time over all threads and processes; the store is read again after waiting
//! for one's turn; what is about to be spent is on the disk before it is sent; the new pair is on the disk before it is
//! used. A pair that cannot be saved is kept in memory, not used, and saved as soon as that works.

use std::{path::Path, sync::Arc, time::Duration};

use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use super::endpoint::{self, Granted, Refusal};
use super::store::{Document, Pair, Spender, Store, StoreError, TokenState};
use super::{Application, Unavailable};

/// Tokens live a day and a refresh may have to be repeated for a while: an hour before the end there is time for that,
/// and a clock that is a few minutes off does not matter.
const MARGIN: Duration = Duration::from_hours(1);
/// Short-lived tokens (a rehearsal's) are renewed when this part of their life is left, else they would never be good.
const MARGIN_SHARE: u32 = 4;
/// Refreshing at least weekly keeps an idle authorization far from its end after 180 days.
const IDLE_REFRESH: Duration = Duration::from_hours(168);
/// Pauses after a refresh that failed in passing; the last is repeated for as long as it takes.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(5),
    Duration::from_secs(15),
    Duration::from_mins(1),
    Duration::from_mins(5),
    Duration::from_mins(15),
];
/// The server takes a spent token again for up to a minute at most (30 seconds usually): a lost answer is asked for
/// again at once, within this time, and never after.
const RESCUE: Duration = Duration::from_secs(25);
/// How soon after a good refresh a refusal points to another program that uses the same application.
const SUSPICIOUSLY_SOON: Duration = Duration::from_hours(48);

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
    read_at: Option<std::time::SystemTime>,
    /// A new pair that the disk would not take: newer than the document, and not to be used before it is saved.
    unsaved: Option<Document>,
    failures: usize,
    retry_at: Option<(Timestamp, String)>,
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
        let http = endpoint::http().map_err(|error| StoreError::Content {
            path: state.to_owned(),
            what: format!("HTTPS cannot be prepared ({error})"),
        })?;
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

    /// When [`Tokens::upkeep`] has something to do.
    #[must_use]
    pub fn next_upkeep(&self) -> Timestamp {
        let refreshed_at = match self.store.read() {
            Ok(Some(Document { state: TokenState::Authorized(pair), .. })) => pair.refreshed_at,
            _ => return Timestamp::MAX,
        };
        refreshed_at.checked_add(IDLE_REFRESH).unwrap_or(Timestamp::MAX)
    }

    /// Keeps an authorization alive that nobody used for a week.
    pub async fn upkeep(&self) {
        if self.next_upkeep() > (self.clock)() {
            return;
        }
        // The access token has ended long ago: asking for one refreshes. What fails is said when somebody needs it.
        if let Err(unavailable) = self.access().await {
            tracing::warn!(%unavailable, "the weekly refresh");
        }
    }

    fn read_if_changed(&self, cache: &mut Cache) -> Result<(), Unavailable> {
        let changed_at = self.store.changed_at();
        if cache.document.is_some() && changed_at == cache.read_at {
            return Ok(());
        }
        let before = cache.document.as_ref().map(|document| document.generation);
        cache.document = self.store.read().map_err(|error| self.login(&error.to_string()))?;
        cache.read_at = changed_at;
        if before != cache.document.as_ref().map(|document| document.generation) {
            // Somebody signed in anew or refreshed: what failed before is not worth waiting for.
            (cache.failures, cache.retry_at) = (0, None);
        }
        Ok(())
    }

    /// The cached access token if it is good for a while yet.
    fn usable(&self, cache: &Cache) -> Option<AccessToken> {
        let document = cache.document.as_ref()?;
        let TokenState::Authorized(pair) = &document.state else { return None };
        let life = Duration::try_from(pair.access_expires_at.duration_since(pair.refreshed_at)).ok()?;
        let margin = MARGIN.min(life / MARGIN_SHARE);
        let renew_at = pair.access_expires_at.checked_sub(margin).ok()?;
        // A clock that was set back far behind the refresh says nothing about the token's age.
        (renew_at > (self.clock)()).then(|| token(document, pair))
    }

    /// An access token that should be renewed but has not ended: good enough while renewing fails in passing.
    fn not_ended(&self, cache: &Cache, refused: Option<u64>) -> Option<AccessToken> {
        let document = cache.document.as_ref()?;
        let TokenState::Authorized(pair) = &document.state else { return None };
        let good = pair.access_expires_at > (self.clock)() && refused != Some(document.generation);
        good.then(|| token(document, pair))
    }

    async fn renew(&self, cache: &mut Cache, refused: Option<u64>) -> Result<AccessToken, Unavailable> {
        if let Some((retry_at, reason)) = cache.retry_at.clone().filter(|(at, _)| *at > (self.clock)()) {
            return self.not_ended(cache, refused).ok_or(Unavailable::Passing { reason, retry_at });
        }
        let spender = match self.store.spender().await {
            Ok(spender) => spender,
            Err(error) => return self.pause(cache, refused, error.to_string()),
        };
        // Whoever waited for the turn looks again: the work may be done.
        cache.read_at = None;
        self.read_if_changed(cache)?;
        if let Err(error) = self.save_unsaved(cache) {
            return self.pause(
                cache,
                None,
                format!("new tokens cannot be saved ({error}); nothing is sent before they are"),
            );
        }
        match self.usable(cache) {
            Some(token) if refused != Some(token.generation) => Ok(token),
            _ => self.spend(cache, refused, &spender).await,
        }
    }

    /// Brings a pair to the disk that an earlier try could not.
    fn save_unsaved(&self, cache: &mut Cache) -> Result<(), StoreError> {
        let Some(unsaved) = cache.unsaved.take() else { return Ok(()) };
        let stored = cache.document.as_ref().map_or(0, |document| document.generation);
        if stored >= unsaved.generation {
            return Ok(());
        }
        if let Err(error) = self.store.write(&unsaved) {
            cache.unsaved = Some(unsaved);
            return Err(error);
        }
        cache.read_at = self.store.changed_at();
        cache.document = Some(unsaved);
        Ok(())
    }

    async fn spend(
        &self,
        cache: &mut Cache,
        refused: Option<u64>,
        _turn: &Spender,
    ) -> Result<AccessToken, Unavailable> {
        let document = cache.document.clone().ok_or_else(|| self.login("nobody has signed in yet"))?;
        let pair = match &document.state {
            TokenState::Authorized(pair) => pair.clone(),
            TokenState::Needed { reason, .. } => return Err(self.login(reason)),
        };
        let now = (self.clock)();
        let since = pair.spending_since.unwrap_or(now);
        if pair.spending_since.is_some_and(|since| !rescuable(since, now)) {
            return self.in_doubt(cache, refused);
        }
        let journal = Pair { spending_since: Some(since), ..pair.clone() };
        let journal = document.with(TokenState::Authorized(journal));
        if let Err(error) = self.write(cache, &journal) {
            let reason = format!("tokens cannot be renewed because the store cannot be written ({error})");
            return self.pause(cache, refused, reason);
        }
        let grant = [("grant_type", "refresh_token"), ("refresh_token", pair.refresh_token.expose_secret())];
        loop {
            match endpoint::spend(&self.http, &self.application, &grant).await {
                Ok(granted) => return self.keep(cache, &document, &pair, granted),
                Err(Refusal::Lost(reason)) if rescuable(since, (self.clock)()) => {
                    tracing::warn!(reason, "the answer to a refresh was lost; asking again at once");
                    tokio::time::sleep(PAUSES[0]).await;
                }
                Err(refusal) => return self.refusal(cache, refused, &document, &pair, refusal),
            }
        }
    }

    /// The new pair: on the disk first, then in use.
    fn keep(
        &self,
        cache: &mut Cache,
        document: &Document,
        old: &Pair,
        granted: Granted,
    ) -> Result<AccessToken, Unavailable> {
        let now = (self.clock)();
        let is_new = |new: &SecretString| new.expose_secret() != old.refresh_token.expose_secret();
        let pair = Pair {
            access_token: granted.access_token,
            access_expires_at: now.checked_add(granted.life).unwrap_or(Timestamp::MAX),
            rotating: Some(granted.refresh_token.as_ref().is_some_and(is_new)),
            // Long-lived tokens may come back not at all: then the old one stays.
            refresh_token: granted.refresh_token.unwrap_or_else(|| old.refresh_token.clone()),
            refreshed_at: now,
            spending_since: None,
        };
        let renewed = Document::new(
            document.generation + 1,
            document.account.clone(),
            TokenState::Authorized(pair.clone()),
        );
        if let Err(error) = self.write(cache, &renewed) {
            cache.unsaved = Some(renewed);
            return self.pause(
                cache,
                None,
                format!("new tokens cannot be saved ({error}); nothing is sent before they are"),
            );
        }
        (cache.failures, cache.retry_at) = (0, None);
        tracing::info!(generation = renewed.generation, expires_at = %pair.access_expires_at, "tokens renewed");
        Ok(token(&renewed, &pair))
    }

    fn refusal(
        &self,
        cache: &mut Cache,
        refused: Option<u64>,
        document: &Document,
        pair: &Pair,
        refusal: Refusal,
    ) -> Result<AccessToken, Unavailable> {
        match refusal {
            Refusal::Grant(said) => self.end(cache, document, pair, &said),
            Refusal::Lost(_) => self.in_doubt(cache, refused),
            Refusal::Client(said) => {
                self.not_spent(cache, document, pair)?;
                let reason = format!(
                    "the application's client id or secret is refused ({said}): put the right secret into \
                     client_secret_file; the authorization itself is kept"
                );
                self.pause(cache, refused, reason)
            }
            Refusal::NotSent(reason) | Refusal::Passing(reason) | Refusal::Request(reason) => {
                self.not_spent(cache, document, pair)?;
                self.pause(cache, refused, reason)
            }
        }
    }

    /// Takes the entry out of the journal: the refresh token was not spent.
    fn not_spent(&self, cache: &mut Cache, document: &Document, pair: &Pair) -> Result<(), Unavailable> {
        let pair = Pair { spending_since: None, ..pair.clone() };
        let clean = document.with(TokenState::Authorized(pair));
        self.write(cache, &clean).map_err(|error| Unavailable::Passing {
            reason: error.to_string(),
            retry_at: (self.clock)().checked_add(PAUSES[0]).unwrap_or(Timestamp::MAX),
        })
    }

    /// The server says that the grant is over.
    fn end(
        &self,
        cache: &mut Cache,
        document: &Document,
        pair: &Pair,
        said: &str,
    ) -> Result<AccessToken, Unavailable> {
        let now = (self.clock)();
        let age = Duration::try_from(now.duration_since(pair.refreshed_at)).unwrap_or_default();
        let hint = if age < SUSPICIOUSLY_SOON {
            " so soon after a good refresh: another program probably uses the same application; give each its own"
        } else {
            ""
        };
        let reason = format!("the service ended the authorization ({said}){hint}");
        let needed = TokenState::Needed { reason: reason.clone(), since: now };
        let ended = document.with(needed);
        if let Err(error) = self.write(cache, &ended) {
            tracing::error!(%error, "the end of the authorization cannot be written down");
        }
        Err(self.login(&reason))
    }

    /// The answer to a refresh is lost for good. What is left of the access token is used; then a person must come.
    fn in_doubt(&self, cache: &Cache, refused: Option<u64>) -> Result<AccessToken, Unavailable> {
        let reason = "the answer to a refresh was lost, so that the refresh token is in doubt";
        self.not_ended(cache, refused).ok_or_else(|| self.login(reason))
    }

    /// A fault that passes: what is left of the access token is used while we wait.
    fn pause(
        &self,
        cache: &mut Cache,
        refused: Option<u64>,
        reason: String,
    ) -> Result<AccessToken, Unavailable> {
        let pause = PAUSES[cache.failures.min(PAUSES.len() - 1)];
        cache.failures += 1;
        let retry_at = (self.clock)().checked_add(pause).unwrap_or(Timestamp::MAX);
        tracing::warn!(reason, %retry_at, "tokens cannot be renewed now");
        cache.retry_at = Some((retry_at, reason.clone()));
        let unsaved = cache.unsaved.is_some();
        let left = if unsaved { None } else { self.not_ended(cache, refused) };
        left.ok_or(Unavailable::Passing { reason, retry_at })
    }

    fn write(&self, cache: &mut Cache, document: &Document) -> Result<(), StoreError> {
        self.store.write(document)?;
        cache.document = Some(document.clone());
        cache.read_at = self.store.changed_at();
        Ok(())
    }

    fn login(&self, why: &str) -> Unavailable {
        Unavailable::Login { reason: format!("{why}: sign in with `{}`", self.application.sign_in) }
    }
}

fn token(document: &Document, pair: &Pair) -> AccessToken {
    AccessToken { secret: pair.access_token.clone(), generation: document.generation }
}

/// Whether a token that was about to be spent then may be sent once more.
fn rescuable(since: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(since);
    !age.is_negative() && Duration::try_from(age).is_ok_and(|age| age <= RESCUE)
}
