//! Faults that can be switched on by name: always, for the n-th call, for the next calls, or for a share of them.
//!
//! Owns the list of names with a sentence each, which `--help` and the error for an unknown name share.

use std::collections::BTreeMap;

use rand::{RngExt, rngs::StdRng};
use thiserror::Error;

/// Every fault with what it does.
pub const FAULTS: [(&str, &str); 44] = [
    ("throttled", "429 of the limit per second"),
    ("quota", "429 of the limit per day"),
    ("queue_full", "429 of too many unfinished activities"),
    ("unknown_429", "429 without a body"),
    ("array_429", "every 429 has an array as its body instead of an object"),
    ("retry_after", "every 429 has a Retry-After header of thirty seconds"),
    ("retry_after_date", "every 429 has a Retry-After header with the time thirty seconds from now"),
    ("400", "400 of the contacts service, naming the address"),
    ("401", "401 as for an expired token"),
    ("403", "403 of the gateway"),
    ("404", "404 of the contacts service"),
    ("409", "409 as if the contact were being changed"),
    ("500", "500 of the gateway"),
    ("502", "502 of the gateway"),
    ("503", "503 of the service"),
    ("html_503", "503 with a maintenance page"),
    ("html_200", "200 with a login page, nothing is carried out"),
    ("empty_200", "200 with nothing, nothing is carried out"),
    ("reset", "the connection is closed before anything is carried out"),
    ("lost", "the call is carried out, then the connection is closed without an answer"),
    ("cut", "the call is carried out, the answer ends in the middle"),
    ("hang", "no answer ever comes, nothing is carried out"),
    ("slow", "the answer comes three seconds late"),
    ("activity_failed", "a bulk job that is posted now will end failed, and nothing of it is carried out"),
    ("activity_timed_out", "a bulk job that is posted now will end timed_out"),
    ("activity_cancelled", "a bulk job that is posted now will end cancelled"),
    ("activity_stuck", "a bulk job that is posted now never ends"),
    ("activity_forgotten", "a bulk job that is posted now is not known when it is asked for"),
    (
        "import_invalid",
        "400 to a bulk import that holds an address which imports refuse, as if the body were wrong",
    ),
    ("strict_names", "sign-ups with a period in the first name are refused, as somebody saw the service do"),
    ("list_unknown", "sign-ups are refused with 404 as if a list were gone"),
    ("bare_last_page", "the last page has `_links` null instead of none"),
    ("token_500", "the token endpoint answers 500"),
    ("token_429", "the token endpoint answers 429 in its own form"),
    ("token_html_403", "the token endpoint answers 403 with a firewall's page"),
    ("token_lost", "tokens are issued, then the connection is closed without an answer"),
    ("token_slow", "the token endpoint answers three seconds late"),
    ("token_invalid_client", "the token endpoint refuses the client's secret"),
    ("omit_refresh_token", "the token endpoint answers without a refresh token"),
    ("token_scope", "the token endpoint grants everything but contact_data"),
    ("slow_down", "a device that asks is told that it asked too soon"),
    ("campaign_manager", "the user has no right to contacts"),
    ("no_account", "the user's login belongs to no account"),
    ("deny", "the authorization page answers as if the person had refused"),
];

/// A fault that cannot be switched.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FaultError {
    /// There is no such fault.
    #[error("there is no fault `{0}`; known: {known}", known = names())]
    Unknown(String),
    /// The value is not one.
    #[error(
        "`{0}` is not a fault's value: write NAME=always, off, once, nth:3, next:5 or share:0.2; NAME@ENDPOINT limits it to one endpoint"
    )]
    Value(String),
}

fn names() -> String {
    FAULTS.map(|(name, _)| name).join(", ")
}

/// When a fault fires.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    Always,
    Next(u64),
    Nth(u64),
    Share(f64),
}

/// The faults that are on, by name and endpoint; an empty endpoint is every one.
#[derive(Debug, Default)]
pub struct Faults(BTreeMap<(String, String), When>);

impl Faults {
    /// Switches a fault by its specification: `500@sign_up_form=next:3`.
    pub fn set(&mut self, spec: &str) -> Result<(), FaultError> {
        let bad = || FaultError::Value(spec.to_owned());
        let (name, value) = spec.trim().split_once('=').ok_or_else(bad)?;
        let (name, endpoint) = name.split_once('@').unwrap_or((name, ""));
        if !FAULTS.iter().any(|(known, _)| *known == name) {
            return Err(FaultError::Unknown(name.to_owned()));
        }
        let key = (name.to_owned(), endpoint.to_owned());
        let when = match value.split_once(':').unwrap_or((value, "")) {
            ("always", "") => When::Always,
            ("once", "") => When::Next(1),
            ("next", n) => When::Next(n.parse().map_err(|_| bad())?),
            ("nth", n) => When::Nth(n.parse().ok().filter(|n| *n > 0).ok_or_else(bad)?),
            ("share", share) => {
                When::Share(share.parse().ok().filter(|s| (0.0..=1.0).contains(s)).ok_or_else(bad)?)
            }
            ("off", "") => {
                self.0.remove(&key);
                return Ok(());
            }
            _ => return Err(bad()),
        };
        self.0.insert(key, when);
        Ok(())
    }

    /// Switches all faults off.
    pub fn calm(&mut self) {
        self.0.clear();
    }

    /// The faults that are on, as specifications.
    #[must_use]
    pub fn on(&self) -> Vec<String> {
        self.0.iter().map(|((name, endpoint), when)| format!("{name}@{endpoint}: {when:?}")).collect()
    }

    /// Whether a fault fires for this call; counts it for those that are about numbers of calls.
    pub(super) fn fires(&mut self, name: &str, endpoint: &str, luck: &mut StdRng) -> bool {
        ["", endpoint].into_iter().any(|scope| {
            let key = (name.to_owned(), scope.to_owned());
            let Some(when) = self.0.get_mut(&key) else { return false };
            let (fires, over) = match when {
                When::Always => (true, false),
                When::Share(share) => (luck.random_bool(*share), false),
                When::Next(left) => {
                    *left = left.saturating_sub(1);
                    (true, *left == 0)
                }
                When::Nth(left) => {
                    *left -= 1;
                    (*left == 0, *left == 0)
                }
            };
            if over {
                self.0.remove(&key);
            }
            fires
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn fired(spec: &str, calls: usize) -> Vec<bool> {
        let (mut faults, mut luck) = (Faults::default(), StdRng::seed_from_u64(1));
        faults.set(spec).unwrap();
        (0..calls).map(|_| faults.fires("500", "sign_up_form", &mut luck)).collect()
    }

    #[test]
    fn each_way_of_firing() {
        assert_eq!(fired("500=always", 3), [true; 3]);
        assert_eq!(fired("500=once", 3), [true, false, false]);
        assert_eq!(fired("500=next:2", 3), [true, true, false]);
        assert_eq!(fired("500=nth:2", 3), [false, true, false]);
        assert_eq!(fired("500@sign_up_form=always", 1), [true]);
        assert_eq!(fired("500@contact_lists=always", 1), [false]);
        let share = fired("500=share:0.2", 1000).into_iter().filter(|fired| *fired).count();
        assert!((150..250).contains(&share), "{share}");
    }

    #[test]
    fn what_cannot_be_switched_says_what_can() {
        let mut faults = Faults::default();
        assert!(faults.set("5000=always").unwrap_err().to_string().contains("throttled, quota"));
        for bad in ["500", "500=sometimes", "500=nth:0", "500=share:2"] {
            assert!(matches!(faults.set(bad), Err(FaultError::Value(_))), "{bad}");
        }
    }
}
