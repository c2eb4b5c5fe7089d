//! The breaker for the account as a whole: while nothing gets through, one call probes and the others wait.
//!
//! Pure. Without it an outage of an hour would spend the day's calls on retries, and each row's patience too.

use std::time::Duration;

use jiff::Timestamp;

/// One row's bad luck is not an outage; this many failures in a row, with no success between them, are.
const FAILURES_THAT_ARE_AN_OUTAGE: u32 = 4;
/// How long to wait before the next probe, by how many have failed. The last is repeated: a recovered service is
/// noticed within five minutes.
const PROBE_AFTER: [Duration; 7] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
    Duration::from_mins(2),
    Duration::from_mins(5),
];

/// How the account has answered lately.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Outage {
    failures: u32,
    probe_at: Option<Timestamp>,
}

impl Outage {
    /// A call got through, whatever it said.
    pub fn over(&mut self) {
        *self = Self::default();
    }

    /// A call did not get through.
    pub fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        let Some(probes) = self.failures.checked_sub(FAILURES_THAT_ARE_AN_OUTAGE) else { return };
        let step = usize::try_from(probes).unwrap_or(usize::MAX).min(PROBE_AFTER.len() - 1);
        self.probe_at = now.checked_add(PROBE_AFTER[step]).ok();
    }

    /// Until when nothing should be sent; `None` when calls may go.
    #[must_use]
    pub fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.probe_at.filter(|at| *at > now)
    }

    /// Whether the last call did not get through.
    #[must_use]
    pub fn is_feared(&self) -> bool {
        self.failures > 0
    }

    /// How many calls may be under way together: one probe in an outage.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.probe_at.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_failures_in_a_row_are_an_outage_and_one_success_ends_it() {
        let now = Timestamp::UNIX_EPOCH;
        let mut outage = Outage::default();
        for _ in 1..FAILURES_THAT_ARE_AN_OUTAGE {
            outage.failed(now);
            assert!(!outage.is_open());
        }
        outage.failed(now);
        assert_eq!(outage.until(now), now.checked_add(PROBE_AFTER[0]).ok());
        outage.failed(now);
        assert_eq!(outage.until(now), now.checked_add(PROBE_AFTER[1]).ok());
        outage.over();
        assert_eq!((outage.until(now), outage.is_open()), (None, false));
    }

    #[test]
    fn the_longest_pause_is_repeated() {
        let now = Timestamp::UNIX_EPOCH;
        let mut outage = Outage::default();
        (0..1000).for_each(|_| outage.failed(now));
        assert_eq!(outage.until(now), now.checked_add(PROBE_AFTER[6]).ok());
    }
}
