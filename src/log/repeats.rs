//! Warnings and errors that repeat are counted, not repeated.
//!
//! Promises that the first of a kind is written at once, that an equal one within a minute is only counted, and that the
//! next one that is written says how many were not. What is told once per change anyway never comes here twice.

use std::{
    collections::HashMap,
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use super::Format;

/// A fault that is tried again every two seconds fills no log, and is still seen to last.
const QUIET: Duration = Duration::from_mins(1);

/// What to do with a line.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Write it, and that so many equal ones were not written.
    Write { not_written: u64 },
    /// Count it.
    Count,
}

/// When each kind of line was last written, and how many were not since.
#[derive(Default)]
struct Kinds(HashMap<u64, (Instant, u64)>);

impl Kinds {
    fn heard(&mut self, kind: u64, now: Instant) -> Heard {
        if let Some((written, count)) = self.0.get_mut(&kind)
            && now.duration_since(*written) < QUIET
        {
            *count += 1;
            return Heard::Count;
        }
        let not_written = self.0.remove(&kind).map_or(0, |(_, count)| count);
        // Kinds that were not heard for a while are forgotten, so that there are never many.
        self.0.retain(|_, (written, count)| *count > 0 || now.duration_since(*written) < QUIET);
        self.0.insert(kind, (now, 0));
        Heard::Write { not_written }
    }
}

/// Another way of writing, with what repeats taken out.
pub(super) struct Counted<E> {
    inner: E,
    format: Format,
    kinds: Mutex<Kinds>,
}

impl<E> Counted<E> {
    pub(super) fn new(inner: E, format: Format) -> Self {
        Self { inner, format, kinds: Mutex::default() }
    }
}

impl<S, N, E> FormatEvent<S, N> for Counted<E>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    E: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if *event.metadata().level() > Level::WARN {
            return self.inner.format_event(context, writer, event);
        }
        let mut kind = Kind(DefaultHasher::new());
        event.metadata().callsite().hash(&mut kind.0);
        event.record(&mut kind);
        let heard =
            self.kinds.lock().unwrap_or_else(PoisonError::into_inner).heard(kind.0.finish(), Instant::now());
        match heard {
            Heard::Count => return Ok(()),
            Heard::Write { not_written: 0 } => {}
            Heard::Write { not_written } => match self.format {
                Format::Text => writeln!(
                    writer,
                    "(the next line came {not_written} times more since it was last written)"
                )?,
                Format::Json => writeln!(
                    writer,
                    "{{\"level\":\"{}\",\"fields\":{{\"message\":\"the next line repeats\",\"not_written\":{not_written}}}}}",
                    event.metadata().level()
                )?,
            },
        }
        self.inner.format_event(context, writer, event)
    }
}

/// Equal lines come from one place with equal fields.
struct Kind(DefaultHasher);

impl Visit for Kind {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        field.name().hash(&mut self.0);
        format!("{value:?}").hash(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_written_the_rest_of_a_minute_is_counted_and_the_next_says_how_many() {
        let (mut kinds, start) = (Kinds::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(kinds.heard(1, at(0)), Heard::Write { not_written: 0 });
        assert_eq!(kinds.heard(1, at(2)), Heard::Count);
        assert_eq!(kinds.heard(2, at(3)), Heard::Write { not_written: 0 });
        assert_eq!(kinds.heard(1, at(59)), Heard::Count);
        assert_eq!(kinds.heard(1, at(60)), Heard::Write { not_written: 2 });
    }

    #[test]
    fn kinds_that_were_not_heard_for_a_while_are_forgotten() {
        let (mut kinds, start) = (Kinds::default(), Instant::now());
        for kind in 0..1000 {
            kinds.heard(kind, start + QUIET * u32::try_from(kind).unwrap());
        }
        assert_eq!(kinds.0.len(), 1);
    }
}
