//! The refresh: journal, exchange, save, in this order, by one spender at a time.
//!
//! After a crash at any instant the store says one of three things: not started (no journal), done (a new generation), or
//! in doubt (the journal). In doubt, the old token is sent once more at once and never later. With refresh tokens that do
//! not rotate there is no doubt: the same one is good again.

use jiff::Timestamp;
use secrecy::ExposeSecret;

use super::timing::{self, RESCUE_PAUSE, rescuable};
use super::{AccessToken, Cache, Retry, Tokens, is_same, token};
use crate::oauth::Unavailable;
use crate::oauth::endpoint::{self, Granted, Refusal};
use crate::oauth::store::{Document, Pair, Spender, StoreError, TokenState};

impl Tokens {
    pub(super) async fn renew(
        &self,
        cache: &mut Cache,
        refused: Option<u64>,
    ) -> Result<AccessToken, Unavailable> {
        if let Some(retry) = cache.retry.clone().filter(|retry| retry.at > (self.clock)()) {
            return self.not_ended(cache, refused).ok_or_else(|| unavailable(retry));
        }
        let spender = match self.store.spender().await {
            Ok(spender) => spender,
            Err(error) => return self.pause(cache, refused, error.to_string()),
        };
        // Whoever waited for the turn looks again: the work may be done.
        cache.read = None;
        self.read_if_changed(cache)?;
        if let Err(error) = self.save_unsaved(cache) {
            return self.pause(cache, refused, cannot_save(&error));
        }
        match self.usable(cache) {
            Some(token) if refused != Some(token.generation) => Ok(token),
            _ => self.spend(cache, refused, &spender).await,
        }
    }

    /// Brings a pair to the disk that an earlier try could not. Needs the spender's turn.
    pub(super) fn save_unsaved(&self, cache: &mut Cache) -> Result<(), StoreError> {
        let Some(unsaved) = cache.unsaved.clone() else { return Ok(()) };
        if let Some(stored) = cache.document.as_ref().filter(|stored| stored.generation >= unsaved.generation)
            && !is_same_pair(stored, &unsaved)
        {
            // Somebody signed in anew, or another process got a pair of its own: that one is in use.
            cache.unsaved = None;
            return Ok(());
        }
        // Also when it seems to be there: its name may not have reached the disk.
        self.write(cache, &unsaved)?;
        cache.unsaved = None;
        (cache.failures, cache.retry) = (0, None);
        Ok(())
    }

    async fn spend(
        &self,
        cache: &mut Cache,
        refused: Option<u64>,
        _turn: &Spender,
    ) -> Result<AccessToken, Unavailable> {
        let document = cache.document.clone().ok_or_else(|| self.login("nobody has signed in yet"))?;
        let mut pair = match &document.state {
            TokenState::Authorized(pair) => pair.clone(),
            TokenState::Needed { reason, .. } => return Err(self.login(reason)),
        };
        // A journal of this process that was not followed by a request, or one about a token that is never spent up.
        let void = cache.void.is_some_and(|(generation, since)| {
            (generation, Some(since)) == (document.generation, pair.spending_since)
        });
        pair.spending_since = pair.spending_since.filter(|_| !void && pair.rotating != Some(false));
        let interrupted = pair.spending_since.is_some();
        let now = (self.clock)();
        let since = pair.spending_since.unwrap_or(now);
        if !rescuable(since, now) {
            return self.in_doubt(cache, refused, since);
        }
        let journal = Pair { spending_since: Some(since), ..pair.clone() };
        if let Err(error) = self.write(cache, &document.with(TokenState::Authorized(journal))) {
            // Nothing is sent. The entry may be on the disk all the same: it is taken out, or known to be void.
            if !interrupted {
                cache.void = Some((document.generation, since));
                self.not_spent(cache, &document, &pair);
            }
            let reason = format!("tokens cannot be renewed because the store cannot be written ({error})");
            return self.pause(cache, refused, reason);
        }
        tracing::debug!(generation = document.generation, %since, "spending the refresh token");
        let grant = [("grant_type", "refresh_token"), ("refresh_token", pair.refresh_token.expose_secret())];
        let mut tries = 0;
        let mut was_lost = interrupted;
        loop {
            let refusal = match endpoint::spend(&self.http, &self.application, &grant).await {
                Ok(granted) => return self.keep(cache, refused, &document, &pair, granted),
                Err(refusal) => refusal,
            };
            was_lost |= matches!(refusal, Refusal::Lost(_));
            let decides = matches!(refusal, Refusal::Grant(_) | Refusal::Client(_));
            if !was_lost || decides || tries == MOST_TRIES || !rescuable(since, (self.clock)()) {
                return self.refusal(cache, refused, &document, &pair, (refusal, was_lost, since));
            }
            tracing::warn!(?refusal, "the answer to a refresh was lost; asking again at once");
            if tries > 0 {
                tokio::time::sleep(RESCUE_PAUSE).await;
            }
            tries += 1;
        }
    }

    /// The new pair: on the disk first, then in use.
    fn keep(
        &self,
        cache: &mut Cache,
        refused: Option<u64>,
        document: &Document,
        old: &Pair,
        granted: Granted,
    ) -> Result<AccessToken, Unavailable> {
        let now = (self.clock)();
        let rotating = granted.refresh_token.as_ref().is_some_and(|new| !is_same(new, &old.refresh_token));
        let pair = Pair {
            access_token: granted.access_token,
            access_expires_at: now.checked_add(granted.life).unwrap_or(Timestamp::MAX),
            rotating: Some(rotating),
            // Long-lived tokens may come back not at all: then the old one stays.
            refresh_token: granted.refresh_token.unwrap_or_else(|| old.refresh_token.clone()),
            refreshed_at: now,
            spending_since: None,
        };
        let state = TokenState::Authorized(pair.clone());
        let renewed = Document::new(document.generation + 1, document.account.clone(), state);
        if let Err(error) = self.write(cache, &renewed) {
            cache.unsaved = Some(renewed);
            return self.pause(cache, refused, cannot_save(&error));
        }
        (cache.failures, cache.retry, cache.void) = (0, None, None);
        tracing::info!(generation = renewed.generation, expires_at = %pair.access_expires_at, "tokens renewed");
        Ok(token(&renewed, &pair))
    }

    fn refusal(
        &self,
        cache: &mut Cache,
        refused: Option<u64>,
        document: &Document,
        pair: &Pair,
        (refusal, was_lost, since): (Refusal, bool, Timestamp),
    ) -> Result<AccessToken, Unavailable> {
        let rotates = pair.rotating != Some(false);
        let (reason, by_a_person) = match refusal {
            Refusal::Grant(said) => return self.end(cache, document, pair, &said, was_lost),
            Refusal::Lost(_) if rotates => return self.in_doubt(cache, refused, since),
            // An answer was lost before this one, which decides nothing: the doubt stays.
            _ if was_lost && rotates => return self.in_doubt(cache, refused, since),
            Refusal::Client(said) => {
                let reason = format!(
                    "the application's client id or secret is refused ({said}): put the right secret into \
                     client_secret_file; the authorization itself is kept"
                );
                (reason, true)
            }
            Refusal::Lost(reason)
            | Refusal::NotSent(reason)
            | Refusal::Passing(reason)
            | Refusal::Request(reason) => (reason, false),
            Refusal::Device(answer) => (format!("the token endpoint answers {answer:?}"), false),
        };
        cache.void = Some((document.generation, since));
        self.not_spent(cache, document, pair);
        self.wait(cache, refused, reason, by_a_person)
    }

    /// Takes the entry out of the journal: the refresh token was not spent.
    fn not_spent(&self, cache: &mut Cache, document: &Document, pair: &Pair) {
        let clean = Pair { spending_since: None, ..pair.clone() };
        match self.write(cache, &document.with(TokenState::Authorized(clean))) {
            Ok(()) => cache.void = None,
            Err(error) => {
                tracing::warn!(%error, "the journal cannot be cleared; this process knows that it is void");
            }
        }
    }

    /// The server says that the grant is over.
    fn end(
        &self,
        cache: &mut Cache,
        document: &Document,
        pair: &Pair,
        said: &str,
        was_lost: bool,
    ) -> Result<AccessToken, Unavailable> {
        let now = (self.clock)();
        let hint = if was_lost {
            ", after the answer to a refresh was lost and the old token was no longer taken"
        } else if timing::is_suspiciously_soon(pair, now) {
            " so soon after a good refresh. Another program probably uses the same application key: give each \
             installation an application of its own in the portal, and put its client_id here"
        } else {
            ""
        };
        let reason = format!("the service ended the authorization ({said}){hint}");
        let needed = TokenState::Needed { reason: reason.clone(), since: now };
        if let Err(error) = self.write(cache, &document.with(needed)) {
            tracing::error!(%error, "the end of the authorization cannot be written down");
        }
        Err(self.login(&reason))
    }

    /// The answer to a refresh is lost for good. What is left of the access token is used; then a person must come.
    fn in_doubt(
        &self,
        cache: &Cache,
        refused: Option<u64>,
        since: Timestamp,
    ) -> Result<AccessToken, Unavailable> {
        self.not_ended(cache, refused).ok_or_else(|| {
            self.login(&format!(
                "the answer to a refresh at {since:.0} was lost, so that the refresh token is in doubt and is not sent again"
            ))
        })
    }

    /// A fault that passes: what is left of the access token is used while we wait.
    fn pause(
        &self,
        cache: &mut Cache,
        refused: Option<u64>,
        reason: String,
    ) -> Result<AccessToken, Unavailable> {
        self.wait(cache, refused, reason, false)
    }

    fn wait(
        &self,
        cache: &mut Cache,
        refused: Option<u64>,
        reason: String,
        by_a_person: bool,
    ) -> Result<AccessToken, Unavailable> {
        let pause = timing::pause(cache.failures);
        cache.failures += 1;
        let at = (self.clock)().checked_add(pause).unwrap_or(Timestamp::MAX);
        tracing::warn!(reason, retry_at = %at, "tokens cannot be renewed now");
        let retry = Retry { at, reason, refused: by_a_person };
        cache.retry = Some(retry.clone());
        self.not_ended(cache, refused).ok_or_else(|| unavailable(retry))
    }
}

/// How often a lost answer is asked for again: within the leeway there is no time for more.
const MOST_TRIES: u32 = 5;

fn unavailable(Retry { at, reason, refused }: Retry) -> Unavailable {
    if refused {
        Unavailable::Refused { reason, retry_at: at }
    } else {
        Unavailable::Passing { reason, retry_at: at }
    }
}

fn cannot_save(error: &StoreError) -> String {
    format!("new tokens cannot be saved ({error}); nothing is sent before they are")
}

fn is_same_pair(one: &Document, other: &Document) -> bool {
    match (&one.state, &other.state) {
        (TokenState::Authorized(one), TokenState::Authorized(other)) => {
            is_same(&one.refresh_token, &other.refresh_token)
                && is_same(&one.access_token, &other.access_token)
        }
        _ => false,
    }
}
