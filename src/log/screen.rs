//! The terminal that people look at: what may be coloured, and log lines beside progress bars.
//!
//! Promises that nothing but text goes to what is not a terminal, and that `NO_COLOR` is heard.

use std::{
    env,
    io::{self, IsTerminal, Write, stderr},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

/// Whether colour is welcome there: a terminal that knows it, and nobody said no (<https://no-color.org>).
pub fn may_colour(place: &impl IsTerminal) -> bool {
    let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    place.is_terminal() && !refused && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Standard error, shared by log lines and progress bars: a line goes above the bar and leaves it whole.
#[derive(Debug, Clone, Default)]
pub struct Screen(MultiProgress);

impl Screen {
    /// A bar for so many things; nothing where standard error is no terminal.
    #[must_use]
    pub fn bar(&self, things: &str) -> ProgressBar {
        let bar = self.0.add(ProgressBar::no_length());
        if let Ok(style) = ProgressStyle::with_template(&format!("{{bar:30}} {{pos}}/{{len}} {things}")) {
            bar.set_style(style);
        }
        bar
    }
}

/// One log line on its way to the screen.
pub struct Line(MultiProgress);

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(self.0.clone())
    }
}
