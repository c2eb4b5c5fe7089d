//! The figures for Prometheus, by the rules of its names: a unit at the end, seconds and not milliseconds.
//!
//! Everything is a gauge, read from the status: the outbox is the truth, and what is settled long ago leaves it.

use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};

use crate::status::Status;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct State {
    state: &'static str,
}

type Whole = Gauge<f64, AtomicU64>;

/// The text for one scrape.
pub(super) fn text(status: &Status) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::with_prefix("mailchute");
    registry.register("build", "The program", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
    let mut gauge = |name: &str, help: &str, unit: Option<Unit>, value: f64| {
        let gauge = Whole::default();
        gauge.set(value);
        match unit {
            Some(unit) => registry.register_with_unit(name, help, unit, gauge),
            None => registry.register(name, help, gauge),
        }
    };
    let figures = status.figures();
    gauge(
        "overdue",
        "Age of the oldest row that should have gone by now; 0 when there is none",
        Some(Unit::Seconds),
        figures.overdue_seconds,
    );
    gauge("api_calls_today", "Calls to the service in this UTC day", None, figures.calls_today);
    gauge(
        "api_calls_per_day_limit",
        "Calls that this program may make in a UTC day",
        None,
        figures.calls_a_day,
    );
    gauge("inbox_waiting_files", "Files that lie in the inbox", None, figures.waiting_files);
    gauge("inbox_failed_files", "Files that could not be read", None, figures.failed_files);
    gauge("paused", "1 while an operator has paused sending", None, if figures.paused { 1.0 } else { 0.0 });
    let times = [
        ("last_delivery_timestamp", "When a row last reached the account", figures.last_delivery),
        ("access_token_expires_timestamp", "When the access token ends", figures.access_expires),
        (
            "authorization_expires_timestamp",
            "When the authorization ends if it is not used before",
            figures.refresh_dies,
        ),
    ];
    for (name, help, time) in times {
        if let Some(time) = time {
            gauge(name, help, Some(Unit::Seconds), seconds(time));
        }
    }
    let (rows, health) = (Family::<State, Whole>::default(), Family::<State, Whole>::default());
    for (state, count) in figures.rows {
        rows.get_or_create(&State { state }).set(count);
    }
    for state in ["ok", "waiting", "attention"] {
        let is = if status.level().as_str() == state { 1.0 } else { 0.0 };
        health.get_or_create(&State { state }).set(is);
    }
    registry.register("outbox_rows", "Rows by state", rows);
    registry.register("health", "1 for the health as it is, 0 for the others", health);
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of our time fit into a double's 53 bits")]
fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1_000.0
}
