//! The service's limit per second, as the service would measure it.
//!
//! Pure. A call counts at the service when it arrives there, which is somewhere between its leaving and its answer. Where
//! answers come quickly the pace is *strict*: a call leaves when the one that came `limit` calls before it was answered a
//! second ago, so that no second, wherever the service's clock puts it, sees more than the limit. Where answers take
//! long, that would waste what they take. Then the pace *learns* how much of an answer's delay it may leave out of the
//! count: a little more with every call that the service takes, a lot less with one that it refuses, so that fewer than
//! one in a thousand are refused. Calls never leave in a burst. The day's limit is the outbox's, which survives a restart.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    time::{Duration, Instant},
};

/// The service counts calls in a second; a little more covers the grain of clocks and timers.
const WINDOW: Duration = Duration::from_millis(1005);
/// Two calls leave no closer than this share of an even spacing: the rest lets a late timer catch up.
const SPACING: f64 = 0.96;
/// Up to this delay of answers, strictness costs less than a fortieth of the limit.
const STRICT_BELOW: Duration = Duration::from_millis(25);
/// How much one answer changes the idea of the usual delay.
const SMOOTHING: f64 = 0.05;
/// No answer's delay counts for longer: a call that hangs would stop the others.
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// What a refused call adds to the delay that is counted.
const BACK: Duration = Duration::from_millis(300);
/// What a taken call takes off it, before the first refusal and after it. The second is such that refusals settle below
/// one in 2,000 calls; the first finds the place within a few minutes.
const FORWARD_AT_FIRST: Duration = Duration::from_micros(2_500);
const FORWARD: Duration = Duration::from_micros(150);

/// A call's place in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Departure(u64);

/// A call that may still count.
#[derive(Debug, Clone, Copy)]
struct Call {
    left: Instant,
    answered: Option<Instant>,
}

/// The sliding window.
#[derive(Debug)]
pub struct Pace {
    limit: usize,
    spacing: Duration,
    next: u64,
    last_left: Option<Instant>,
    window: BTreeMap<Departure, Call>,
    /// The usual delay of an answer.
    delay: Duration,
    /// How much of an answer's delay is counted, once answers are slow.
    counted: Duration,
    refused_before: bool,
}

impl Pace {
    /// An empty window.
    #[must_use]
    pub fn new(limit: NonZeroU32) -> Self {
        Self {
            limit: usize::try_from(limit.get()).unwrap_or(usize::MAX),
            spacing: WINDOW.mul_f64(SPACING) / limit.get(),
            next: 0,
            last_left: None,
            window: BTreeMap::new(),
            delay: Duration::ZERO,
            counted: LONGEST_DELAY,
            refused_before: false,
        }
    }

    /// Counts calls of the process before this one, by when they were last heard of.
    pub fn remember(&mut self, answered: impl IntoIterator<Item = Instant>) {
        for at in answered {
            let departure = self.number();
            self.window.insert(departure, Call { left: at, answered: Some(at) });
        }
    }

    /// When the next call may leave: `Ok` now, `Err(Some(t))` at `t`, `Err(None)` once a call under way is answered.
    pub fn may_leave(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        let strict = self.is_strict();
        let counted = self.counted;
        let free = |call: &Call| match (call.answered, strict) {
            (answered, true) => answered.map(|at| at + WINDOW),
            (Some(at), false) => Some(call.left + at.duration_since(call.left).min(counted) + WINDOW),
            (None, false) => Some(call.left + counted + WINDOW),
        };
        self.window.retain(|_, call| free(call).is_none_or(|at| at > now));
        if self.window.len() >= self.limit {
            return Err(self.window.values().filter_map(free).min());
        }
        match self.last_left.map(|last| last + self.spacing) {
            Some(at) if at > now => Err(Some(at)),
            _ => Ok(()),
        }
    }

    /// A call leaves.
    pub fn leave(&mut self, now: Instant) -> Departure {
        let departure = self.number();
        self.last_left = Some(now);
        self.window.insert(departure, Call { left: now, answered: None });
        departure
    }

    /// A call was answered, or given up: from here on it cannot arrive later than now. `refused` says that it was one
    /// too many.
    pub fn answered(&mut self, departure: Departure, now: Instant, refused: bool) {
        if refused {
            self.counted = (self.counted + BACK).min(LONGEST_DELAY);
            self.refused_before = true;
        }
        let Some(call) = self.window.get_mut(&departure) else { return };
        let delay = now.duration_since(call.left).min(LONGEST_DELAY);
        // A refused call does not count, but when it is repeated must be thought of all the same.
        call.answered = Some(now);
        self.delay = self.delay.mul_f64(1.0 - SMOOTHING) + delay.mul_f64(SMOOTHING);
        if !refused && !self.is_strict() {
            let forward = if self.refused_before { FORWARD } else { FORWARD_AT_FIRST };
            // Delays that do not occur need not be unlearned.
            self.counted = self.counted.min(self.delay * 2).saturating_sub(forward);
        }
    }

    fn is_strict(&self) -> bool {
        self.delay <= STRICT_BELOW
    }

    fn number(&mut self) -> Departure {
        self.next += 1;
        Departure(self.next)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    use super::*;

    const LIMIT: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
    const SECOND: Duration = Duration::from_secs(1);

    fn millis(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    /// Something that limits calls as a service may.
    enum Limiter {
        /// Four in any second.
        Sliding(VecDeque<Duration>),
        /// Four in each second of a clock that is offset against ours.
        ClockSecond { offset: Duration, second: u64, calls: u32 },
        /// A bucket of four that fills up at four a second, as gateways have it.
        Bucket { tokens: f64, at: Duration },
    }

    impl Limiter {
        fn takes(&mut self, at: Duration) -> bool {
            match self {
                Self::Sliding(admitted) => {
                    while admitted.front().is_some_and(|first| at.saturating_sub(*first) >= SECOND) {
                        admitted.pop_front();
                    }
                    let room = admitted.len() < 4;
                    if room {
                        admitted.push_back(at);
                    }
                    room
                }
                Self::ClockSecond { offset, second, calls } => {
                    let now = (at + *offset).as_secs();
                    if now != *second {
                        (*second, *calls) = (now, 0);
                    }
                    *calls += 1;
                    *calls <= 4
                }
                Self::Bucket { tokens, at: last } => {
                    *tokens = (*tokens + 4.0 * at.saturating_sub(*last).as_secs_f64()).min(4.0);
                    *last = at;
                    let room = *tokens >= 1.0;
                    if room {
                        *tokens -= 1.0;
                    }
                    room
                }
            }
        }
    }

    /// Runs a pace against a limiter for some minutes of simulated time, with a random delay each way of up to so much.
    /// Gives the calls taken a second, the refused ones, and the shortest time between two departures.
    fn run(mut limiter: Limiter, delay: Duration, minutes: u64) -> (f64, usize, Duration) {
        enum Event {
            Arrives(Departure),
            Answered(Departure, bool),
        }
        let (start, end) = (Instant::now(), Duration::from_secs(60 * minutes));
        let (mut luck, mut now) = (StdRng::seed_from_u64(7), Duration::ZERO);
        let (mut events, mut pace) = (Vec::<(Duration, Event)>::new(), Pace::new(LIMIT));
        let (mut taken, mut refused, mut last, mut shortest) = (0_u32, 0, None::<Duration>, SECOND);
        let mut some = |most: Duration| most.mul_f64(luck.random::<f64>()) + millis(1);
        while now < end {
            let leaves = match pace.may_leave(start + now) {
                Ok(()) => Some(now),
                Err(at) => at.map(|at| at - start),
            };
            events.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
            if events.last().is_some_and(|(at, _)| leaves.is_none_or(|leaves| *at <= leaves)) {
                let Some((at, event)) = events.pop() else { continue };
                now = now.max(at);
                match event {
                    Event::Arrives(departure) => {
                        let good = limiter.takes(at);
                        taken += u32::from(good);
                        refused += usize::from(!good);
                        events.push((at + some(delay), Event::Answered(departure, !good)));
                    }
                    Event::Answered(departure, no) => pace.answered(departure, start + at, no),
                }
            } else if let Some(at) = leaves {
                now = now.max(at);
                shortest = last.map_or(shortest, |last| shortest.min(now.saturating_sub(last)));
                last = Some(now);
                let departure = pace.leave(start + now);
                events.push((now + some(delay), Event::Arrives(departure)));
            }
        }
        (f64::from(taken) / end.as_secs_f64(), refused, shortest)
    }

    fn limiters() -> [(&'static str, Limiter); 4] {
        [
            ("sliding", Limiter::Sliding(VecDeque::new())),
            ("clock second", Limiter::ClockSecond { offset: Duration::ZERO, second: 0, calls: 0 }),
            ("offset clock second", Limiter::ClockSecond { offset: millis(437), second: 0, calls: 0 }),
            ("bucket", Limiter::Bucket { tokens: 4.0, at: Duration::ZERO }),
        ]
    }

    #[test]
    fn without_delay_nearly_the_whole_limit_is_used_and_nothing_is_refused() {
        for (name, limiter) in limiters() {
            let (rate, refused, shortest) = run(limiter, Duration::ZERO, 10);
            assert!(rate >= 3.9 && refused == 0, "{name}: {rate} a second, {refused} refused");
            assert!(shortest >= millis(240), "{name}: a burst, {shortest:?}");
        }
    }

    /// With 0 to 300 ms each way a sliding second allows 3.5 a second at most to somebody who knows every arrival, because
    /// a call's own delay cannot be foreseen. A bucket, which gateways use, allows more.
    #[test]
    fn delay_is_learned_and_few_calls_are_refused() {
        for ((name, limiter), least) in limiters().into_iter().zip([3.05, 3.05, 3.05, 3.6]) {
            let (rate, refused, _) = run(limiter, millis(300), 10);
            println!("{name}: {rate:.3} a second, {refused} refused");
            assert!(rate >= least, "{name}: {rate} a second");
            assert!(refused <= 2, "{name}: {refused} of {:.0} refused", rate * 600.0);
        }
    }

    #[test]
    fn the_fifth_call_waits_for_the_first_ones_answer_and_a_second() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT);
        let calls: Vec<_> = (0..4).map(|_| pace.leave(start)).collect();
        assert_eq!(pace.may_leave(start), Err(None));
        pace.answered(calls[0], start + millis(20), false);
        assert_eq!(pace.may_leave(start), Err(Some(start + millis(20) + WINDOW)));
        assert_eq!(pace.may_leave(start + millis(20) + WINDOW), Ok(()));
    }

    #[test]
    fn a_restart_remembers_the_calls_before_it() {
        let start = Instant::now();
        let mut pace = Pace::new(LIMIT);
        pace.remember([start; 4]);
        assert_eq!(pace.may_leave(start), Err(Some(start + WINDOW)));
    }

    proptest! {
        /// While answers come quickly, no second at the server sees more than the limit, whatever single calls do.
        #[test]
        fn no_window_at_the_server_sees_more_than_the_limit(
            delays in prop::collection::vec((0_u64..12, 0_u64..12), 1..120)
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
                        pace.answered(departure, answered, false);
                    }
                    match pace.may_leave(now) {
                        Ok(()) => break,
                        Err(Some(at)) => now = now.max(at),
                        Err(None) => now = under_way[0].0,
                    }
                }
                let arrival = now + millis(there);
                arrivals.push(arrival);
                under_way.push((arrival + millis(back), pace.leave(now)));
            }
            arrivals.sort();
            for window in arrivals.windows(5) {
                prop_assert!(window[4] - window[0] >= SECOND);
            }
        }
    }
}
