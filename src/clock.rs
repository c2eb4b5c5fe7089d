//! The wall clock as a part that is handed in, because due times, budgets and tokens live by it.
//!
//! The daemon gets the system's; a rehearsal or a test hands in one that it can move. Waiting and pacing use tokio's
//! monotonic time, in naps short enough that a jump of the wall clock is noticed: when a test stops that, all stands still.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

/// The longest that a loop sleeps before it looks at the wall clock again: a laptop's suspend or a corrected clock
/// is noticed within this time.
const LONGEST_NAP: Duration = Duration::from_mins(1);

/// A wall clock.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// A clock that reads what it is given.
    #[must_use]
    pub fn reading(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }

    /// How long to sleep until a time, as far as one should sleep at all before looking at the clock again.
    #[must_use]
    pub fn nap_until(&self, until: Option<Timestamp>) -> Duration {
        let left =
            until.map(|until| Duration::try_from(until.duration_since(self.now())).unwrap_or_default());
        left.map_or(LONGEST_NAP, |left| left.min(LONGEST_NAP))
    }

    /// The clock as a plain function, for those who want no more.
    #[must_use]
    pub fn as_fn(&self) -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
        Arc::clone(&self.0)
    }
}

/// The monotonic time, by which calls are spaced: no corrected clock makes two of them come together.
#[must_use]
pub fn monotonic() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The system's clock with a hand that can be moved, for rehearsals of tomorrow.
#[derive(Clone, Default)]
pub struct MovableClock(Arc<Mutex<Duration>>);

impl MovableClock {
    /// Moves the hand on.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }

    /// The clock to hand in.
    #[must_use]
    pub fn clock(&self) -> Clock {
        let hand = Arc::clone(&self.0);
        Clock(Arc::new(move || {
            let moved = *hand.lock().unwrap_or_else(PoisonError::into_inner);
            Timestamp::now().checked_add(moved).unwrap_or(Timestamp::MAX)
        }))
    }
}
