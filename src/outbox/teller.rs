//! Telling `status` what stands in the way, once per change.

use std::collections::HashMap;

use jiff::Timestamp;

use super::{Health, Result, SharedOutbox};
use crate::clock::Clock;

/// What stands in the way of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// How serious it is.
    pub health: Health,
    /// What it is and what would help.
    pub reason: String,
    /// Until when it is known to last.
    pub until: Option<Timestamp>,
}

impl Obstacle {
    /// Something that passes by itself.
    #[must_use]
    pub fn waiting(reason: impl Into<String>, until: Option<Timestamp>) -> Self {
        Self { health: Health::Waiting, reason: reason.into(), until }
    }

    /// Something that a person must act upon.
    #[must_use]
    pub fn attention(reason: impl Into<String>) -> Self {
        Self { health: Health::Attention, reason: reason.into(), until: None }
    }
}

/// A loop's voice: writes troubles down and logs them, each once.
pub struct Teller {
    outbox: SharedOutbox,
    clock: Clock,
    told: HashMap<String, Option<Obstacle>>,
}

impl Teller {
    /// A voice that has said nothing yet.
    #[must_use]
    pub fn new(outbox: SharedOutbox, clock: Clock) -> Self {
        Self { outbox, clock, told: HashMap::new() }
    }

    /// Says what stands in a scope's way, or that nothing does.
    pub async fn tell(&mut self, scope: &str, obstacle: Option<Obstacle>) -> Result<()> {
        let before = self.told.get(scope);
        if before == Some(&obstacle) {
            return Ok(());
        }
        let reason = |obstacle: &Obstacle| (obstacle.health, obstacle.reason.clone());
        let news = before.and_then(Option::as_ref).map(reason) != obstacle.as_ref().map(reason);
        match &obstacle {
            Some(obstacle) if news => {
                tracing::warn!(scope, health = obstacle.health.as_str(), "{}", obstacle.reason);
            }
            None if before.is_some_and(Option::is_some) => tracing::info!(scope, "over"),
            _ => {}
        }
        let (name, said, now) = (scope.to_owned(), obstacle.clone(), self.clock.now());
        self.outbox
            .ask(move |outbox| match said {
                Some(Obstacle { health, reason, until }) => {
                    outbox.set_trouble(&name, health, &reason, until, now)
                }
                None => outbox.clear_trouble(&name),
            })
            .await?;
        self.told.insert(scope.to_owned(), obstacle);
        Ok(())
    }
}
