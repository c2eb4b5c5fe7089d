//! The service's limit per second, as the service would measure it.
//!
//! Pure. Promises that no window of a second, wherever the server's clock puts it, sees more than the limit: a call may
//! leave when the one that came `limit` calls before it was *answered* a second ago, because its arrival at the server
//! lies somewhere between its leaving and its answer. Leaves the day's limit to the outbox, which survives a restart.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// The service counts calls in a second; a little more covers the grain of clocks and timers.
const WINDOW: Duration = Duration::from_millis(1005);

/// A call's place in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Departure(u64);

/// The sliding window.
#[derive(Debug)]
pub struct Pace {
    limit: usize,
    next: u64,
    /// Calls that may still count: when they were answered, `None` while they are under way.
    window: BTreeMap<Departure, Option<Instant>>,
}

impl Pace {
    /// An empty window.
    #[must_use]
    pub fn new(limit: NonZeroU32) -> Self {
        Self { limit: usize::try_from(limit.get()).unwrap_or(usize::MAX), next: 0, window: BTreeMap::new() }
    }

    /// Counts calls of the process before this one, by when they were last heard of.
    pub fn remember(&mut self, answered: impl IntoIterator<Item = Instant>) {
        for at in answered {
            let departure = self.number();
            self.window.insert(departure, Some(at));
        }
    }

    /// When the next call may leave: `Ok` now, `Err(Some(t))` at `t`, `Err(None)` once a call under way is answered.
    pub fn may_leave(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        self.window.retain(|_, answered| answered.is_none_or(|at| at + WINDOW > now));
        if self.window.len() < self.limit {
            return Ok(());
        }
        Err(self.window.values().flatten().min().map(|first| *first + WINDOW))
    }

    /// A call leaves.
    pub fn leave(&mut self) -> Departure {
        let departure = self.number();
        self.window.insert(departure, None);
        departure
    }

    /// A call was answered, or given up: from here on it cannot arrive later than now.
    pub fn answered(&mut self, departure: Departure, now: Instant) {
        self.window.insert(departure, Some(now));
    }

    fn number(&mut self) -> Departure {
        self.next += 1;
        Departure(self.next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);

    #[test]
    fn the_fifth_call_waits_for_the_first_ones_answer_and_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT);
        let calls: Vec<_> = (0..4).map(|_| pace.leave()).collect();
        assert_eq!(pace.may_leave(start), Err(None));
        pace.answered(calls[0], start + Duration::from_millis(300));
        assert_eq!(pace.may_leave(start), Err(Some(start + Duration::from_millis(300) + WINDOW)));
        assert_eq!(pace.may_leave(start + Duration::from_millis(300) + WINDOW), Ok(()));
    }

    #[test]
    fn a_restart_remembers_the_calls_before_it() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT);
        pace.remember([start; 4]);
        assert_eq!(pace.may_leave(start), Err(Some(start + WINDOW)));
    }

    proptest! {
        /// Whatever the network does to each call, no second at the server sees more than the limit.
        #[test]
        fn no_window_at_the_server_sees_more_than_the_limit(
            delays in prop::collection::vec((0_u64..700, 0_u64..700), 1..120)
        ) {
            let start = Instant::now();
            let mut now = start;
            let mut pace = Pace::new(LIMIT);
            let mut under_way: Vec<(Instant, Departure)> = Vec::new();
            let mut arrivals = Vec::new();
            for (there, back) in delays {
                loop {
                    under_way.sort_by_key(|(answered, _)| *answered);
                    while under_way.first().is_some_and(|(answered, _)| *answered <= now) {
                        let (answered, departure) = under_way.remove(0);
                        pace.answered(departure, answered);
                    }
                    match pace.may_leave(now) {
                        Ok(()) => break,
                        Err(Some(at)) => now = now.max(at),
                        Err(None) => now = under_way[0].0,
                    }
                }
                let arrival = now + Duration::from_millis(there);
                arrivals.push(arrival);
                under_way.push((arrival + Duration::from_millis(back), pace.leave()));
            }
            arrivals.sort();
            for window in arrivals.windows(5) {
                prop_assert!(window[4] - window[0] >= Duration::from_secs(1));
            }
        }
    }
}
