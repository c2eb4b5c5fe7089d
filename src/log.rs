//! Where log lines go: standard error, as text or JSON, at the level that was asked for.
//!
//! Levels by who must act: error a person soon, warn a person some time, info what changed, debug each call. What repeats
//! is counted (`repeats`).

mod repeats;
mod screen;

use std::io::stderr;

use tracing_subscriber::{EnvFilter, fmt};

use repeats::Counted;
pub use screen::{Line, Screen, may_colour};

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people and the journal.
    Text,
    /// One object a line, for collectors.
    Json,
}

/// The level for so many `-v` and `-q`.
fn level(verbosity: i8) -> &'static str {
    match verbosity {
        ..=-2 => "off",
        -1 => "error",
        0 => "info",
        1 => "debug",
        2.. => "trace",
    }
}

/// Begins to log. `RUST_LOG` wins over `-v` and `-q`; a second call in one process has no effect.
pub fn begin(verbosity: i8, format: Format, screen: &Screen) {
    // Other people's crates speak only when they are worried.
    let default = format!("warn,mailchute={}", level(verbosity));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let builder = fmt().with_env_filter(filter).with_writer(screen.clone());
    // A second start in one process (tests) keeps the first one's settings.
    let _begun = match format {
        Format::Text => {
            let lines = Counted::new(fmt::format().with_target(false), format);
            builder.with_ansi(may_colour(&stderr())).event_format(lines).try_init()
        }
        Format::Json => {
            let lines = Counted::new(fmt::format().json().with_target(false), format);
            builder.json().event_format(lines).try_init()
        }
    };
}
