//! The one hint that the two loops and the file events share: look at the table again.
//!
//! Carries no data. A loop registers before it looks, so that no hint is lost between the look and the wait. Registering
//! is also the sign that the loop still turns: whoever watches over it feels its [`Pulse`].

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::{Notify, futures::Notified};

/// A hint that something may have changed.
#[derive(Clone, Default)]
pub struct Wake {
    hint: Arc<Notify>,
    pulse: Pulse,
}

impl Wake {
    /// Wakes every loop that waits.
    pub fn hint(&self) {
        self.hint.notify_waiters();
    }

    /// What a loop registers (`enable`) before it looks and awaits after.
    pub fn listen(&self) -> Notified<'_> {
        self.beat();
        self.hint.notified()
    }

    /// A sign of life in the midst of long work.
    pub fn beat(&self) {
        self.pulse.0.fetch_add(1, Ordering::Relaxed);
    }

    /// The same hint for a loop that somebody watches over.
    #[must_use]
    pub fn with_pulse(&self, pulse: &Pulse) -> Self {
        Self { hint: Arc::clone(&self.hint), pulse: pulse.clone() }
    }
}

/// How often a loop has turned. A loop that hangs stops counting.
#[derive(Clone, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Beats so far.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_is_a_sign_of_life_of_the_loop_that_listens_and_of_no_other() {
        let (wake, inbox, drain) = (Wake::default(), Pulse::default(), Pulse::default());
        drop(wake.with_pulse(&inbox).listen());
        assert_eq!((inbox.beats(), drain.beats()), (1, 0));
        wake.with_pulse(&drain).beat();
        assert_eq!((inbox.beats(), drain.beats()), (1, 1));
    }
}
