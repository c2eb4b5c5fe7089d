//! The authorization as `status` tells it: nothing secret.

use std::{path::Path, time::Duration};

use jiff::Timestamp;
use serde::Serialize;

use super::store::{Pair, Store, StoreError, TokenState};

/// The service ends an authorization that was not refreshed for this many days.
const REFRESH_DAYS: i64 = 180;
/// A daemon that is up refreshes weekly; after 150 days without, none is up, and a month is left to notice that.
const DAYS_LEFT_TO_WARN: i64 = 30;

/// The authorization for `status`: nothing secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// `authorized`, `none`, `needed` or `in_doubt`.
    pub state: &'static str,
    /// The account's name.
    pub account: Option<String>,
    /// When the access token ends.
    pub access_expires_at: Option<Timestamp>,
    /// When the authorization ends if it is not refreshed before.
    pub refresh_dies_at: Option<Timestamp>,
    /// How many whole days are left until then: the countdown that each refresh starts anew.
    pub refresh_days_left: Option<i64>,
    /// Whether each refresh brings another refresh token.
    pub rotating: Option<bool>,
    /// Why a person must act, if one must.
    #[serde(skip)]
    pub reason: Option<String>,
}

impl Summary {
    /// What to do about an authorization that nobody refreshed for so long that it will end.
    #[must_use]
    pub fn idle_warning(&self) -> Option<String> {
        let left = self.refresh_days_left.filter(|left| *left <= DAYS_LEFT_TO_WARN)?;
        Some(format!(
            "the authorization was not refreshed for {} days and ends in {left} days if it is not: keep the daemon running, \
             or run `mailchute run --once`",
            REFRESH_DAYS - left
        ))
    }
}

/// Reads the authorization of a state folder for `status`.
pub fn summary(state: &Path, now: Timestamp) -> Result<Summary, StoreError> {
    let Some(document) = Store::new(state).read()? else {
        return Ok(Summary { state: "none", ..Summary::default() });
    };
    let account = document.account;
    Ok(match document.state {
        TokenState::Needed { reason, .. } => {
            Summary { state: "needed", account, reason: Some(reason), ..Summary::default() }
        }
        TokenState::Authorized(pair) => {
            let dies_at =
                pair.refreshed_at.checked_add(Duration::from_hours(24 * REFRESH_DAYS.unsigned_abs())).ok();
            Summary {
                state: if is_in_doubt(&pair) { "in_doubt" } else { "authorized" },
                account,
                access_expires_at: Some(pair.access_expires_at),
                refresh_dies_at: dies_at,
                refresh_days_left: dies_at.map(|dies_at| dies_at.duration_since(now).as_hours().max(0) / 24),
                rotating: pair.rotating,
                reason: None,
            }
        }
    })
}

/// A refresh was begun and not ended. With tokens that do not rotate that means nothing.
fn is_in_doubt(pair: &Pair) -> bool {
    pair.spending_since.is_some() && pair.rotating != Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::store::Document;

    const DAY: i64 = 24 * 60 * 60;

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
    fn the_summary_says_which_of_the_four_states_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let state = || summary(folder.path(), Timestamp::UNIX_EPOCH).unwrap().state;
        assert_eq!(state(), "none");
        store.write(&Document::new(1, None, TokenState::Authorized(pair()))).unwrap();
        assert_eq!(state(), "authorized");
        let spending = Pair { spending_since: Some(Timestamp::UNIX_EPOCH), ..pair() };
        store.write(&Document::new(1, None, TokenState::Authorized(spending))).unwrap();
        assert_eq!(state(), "in_doubt");
        let needed = TokenState::Needed { reason: "revoked".into(), since: Timestamp::UNIX_EPOCH };
        store.write(&Document::new(1, None, needed)).unwrap();
        assert_eq!(state(), "needed");
    }

    #[test]
    fn the_countdown_warns_from_day_150() {
        let folder = tempfile::tempdir().unwrap();
        Store::new(folder.path()).write(&Document::new(1, None, TokenState::Authorized(pair()))).unwrap();
        let on_day = |day: i64| summary(folder.path(), Timestamp::from_second(day * DAY).unwrap()).unwrap();
        assert_eq!((on_day(0).refresh_days_left, on_day(0).idle_warning()), (Some(180), None));
        assert_eq!((on_day(149).refresh_days_left, on_day(149).idle_warning()), (Some(31), None));
        let warning = on_day(150).idle_warning().unwrap();
        assert!(warning.contains("150 days and ends in 30 days"), "{warning}");
        assert_eq!(on_day(300).refresh_days_left, Some(0));
    }
}
