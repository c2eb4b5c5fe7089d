//! The status page: what a site owner wants to know, on one sheet.
//!
//! Rendered here, whole: no script, no asset from elsewhere. Whatever comes from a file or the service is escaped, and
//! addresses are masked.

use std::time::Duration;

use jiff::Timestamp;

use super::plot::{self, Span};
use crate::config::Config;
use crate::contact::EmailAddress;
use crate::outbox::{Counts, Listed, Outbox, Sample};
use crate::status::{Status, StatusError, local};

/// Files and rows that are shown: what fits on a screen.
const SHOWN: u32 = 15;
/// A bar for each half hour of a day, and for each half day of a month.
const BARS_A_DAY: u32 = 48;
const BARS_A_MONTH: u32 = 60;
const A_DAY: Duration = Duration::from_hours(24);
const A_MONTH: Duration = Duration::from_hours(24 * 30);

/// What the outbox adds to the status.
#[derive(Default)]
struct More {
    files: Vec<(String, String, Counts)>,
    open: Vec<Listed>,
    samples: Vec<Sample>,
}

/// The whole page.
pub(super) fn page(config: &Config, now: Timestamp) -> Result<String, StatusError> {
    let status = Status::gather(config, now)?;
    let from = now.checked_sub(A_MONTH).unwrap_or(Timestamp::MIN);
    let more = match Outbox::open_to_look(&config.state)? {
        None => More::default(),
        Some(mut outbox) => More {
            files: outbox.latest_files(SHOWN)?,
            open: outbox.open_rows(SHOWN)?,
            samples: outbox.samples(from)?,
        },
    };
    Ok(render(&status, &more, now))
}

fn render(status: &Status, more: &More, now: Timestamp) -> String {
    let (level, reason) = status.health();
    let sentence =
        if reason.is_empty() { "Everything that came is delivered or on its way." } else { reason };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{level} · Mailchute</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"60\">\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n\
         <h1>Mailchute</h1>\n<main>\n\
         <section class=\"health {level}\" role=\"status\"><strong>{level}</strong>{}</section>\n{}\n\
         <h2>Delivered and waiting</h2>\n\
         <p class=\"quiet\"><span class=\"key-delivered\">■</span> rows delivered · <span class=\"key-waiting\">━</span> rows waiting</p>\n\
         {}\n{}\n<h2>Last files</h2>\n{}\n<h2>What waits</h2>\n{}\n</main>\n\
         <footer>{} · Mailchute {} · <a href=\"/status\">JSON</a> · <a href=\"/metrics\">metrics</a></footer>\n</body>\n</html>\n",
        escape(sentence),
        figures(status),
        plot(&more.samples, "the last day", "a day ago", A_DAY, BARS_A_DAY, now),
        plot(&more.samples, "the last month", "a month ago", A_MONTH, BARS_A_MONTH, now),
        files(&more.files),
        open(&more.open),
        local(now),
        env!("CARGO_PKG_VERSION"),
    )
}

fn figures(status: &Status) -> String {
    let cell = |name: &str, value: &str| format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value));
    let figures = status.figures();
    let rows = figures.rows.map(|(state, count)| cell(state, &count.to_string())).concat();
    let time = |time: Option<Timestamp>| time.map_or_else(|| "never".to_owned(), local);
    format!(
        "<dl>{rows}{}{}{}{}{}</dl>",
        cell("sign-in", &status.sign_in_words()),
        cell("calls today", &format!("{} of {}", figures.calls_today, figures.calls_a_day)),
        cell("files waiting", &figures.waiting_files.to_string()),
        cell("files unreadable", &figures.failed_files.to_string()),
        cell("last delivery", &time(figures.last_delivery)),
    )
}

fn files(files: &[(String, String, Counts)]) -> String {
    if files.is_empty() {
        return "<p class=\"quiet\">No file has come yet.</p>".to_owned();
    }
    let row = |(name, _, counts): &(String, String, Counts)| {
        let delivered = counts.created + counts.updated + counts.imported;
        let numbers = [
            counts.rows(),
            delivered,
            counts.unchanged + counts.duplicate,
            counts.rejected,
            counts.held,
            counts.queued + counts.sending,
        ];
        let numbers = numbers.map(|number| format!("<td class=\"number\">{number}</td>")).concat();
        format!("<tr><td>{}</td>{numbers}</tr>", escape(name))
    };
    let names = ["rows", "delivered", "had it", "rejected", "held", "waiting"];
    let names = names.map(|name| format!("<th class=\"number\">{name}</th>")).concat();
    let rows = files.iter().map(row).collect::<String>();
    format!("<div class=\"scroll\"><table><tr><th>file</th>{names}</tr>{rows}</table></div>")
}

fn open(rows: &[Listed]) -> String {
    if rows.is_empty() {
        return "<p class=\"quiet\">Nothing waits.</p>".to_owned();
    }
    let row = |row: &Listed| {
        let cells = [
            row.state.clone(),
            row.email.as_deref().map(masked).unwrap_or_default(),
            row.file.clone(),
            row.due_at.map(local).unwrap_or_default(),
            row.reason.clone().unwrap_or_default(),
        ];
        format!("<tr>{}</tr>", cells.map(|cell| format!("<td>{}</td>", escape(&cell))).concat())
    };
    let names = ["state", "who", "file", "until", "why"].map(|name| format!("<th>{name}</th>")).concat();
    let rows = rows.iter().map(row).collect::<String>();
    format!("<div class=\"scroll\"><table><tr>{names}</tr>{rows}</table></div>")
}

/// What is no address is not shown at all: it could be anything that stood in a file.
fn masked(email: &str) -> String {
    email.parse::<EmailAddress>().map_or_else(|_| "…".to_owned(), |email| email.masked())
}

fn plot(samples: &[Sample], title: &str, from: &str, length: Duration, bars: u32, now: Timestamp) -> String {
    plot::svg(title, from, "now", &spans(samples, length, bars, now))
}

/// Samples made bars: what was delivered between two of them belongs to the later one's span.
fn spans(samples: &[Sample], length: Duration, bars: u32, now: Timestamp) -> Vec<Span> {
    let mut spans = vec![Span::default(); usize::try_from(bars).unwrap_or_default()];
    let step = length / bars;
    let mut before: Option<&Sample> = None;
    for sample in samples {
        let age = Duration::try_from(now.duration_since(sample.at)).unwrap_or_default();
        let back = usize::try_from(age.as_nanos() / step.as_nanos().max(1)).unwrap_or(usize::MAX);
        if let Some(span) = spans.len().checked_sub(back.saturating_add(1)).and_then(|at| spans.get_mut(at)) {
            // What was pruned makes the sum smaller: that is no delivery.
            span.delivered += before.map_or(0, |before| sample.delivered.saturating_sub(before.delivered));
            span.waiting = Some(sample.waiting);
        }
        before = Some(sample);
    }
    spans
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_delivered_lands_in_the_bar_of_its_time_and_a_pruned_sum_is_no_delivery() {
        let at = |minutes: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_mins(minutes);
        let sample = |minutes, delivered, waiting| Sample { at: at(minutes), delivered, waiting };
        let samples = [sample(0, 5, 9), sample(31, 8, 6), sample(59, 12, 2), sample(89, 3, 0)];
        let spans = spans(&samples, Duration::from_mins(90), 3, at(90));
        let told: Vec<_> = spans.iter().map(|span| (span.delivered, span.waiting)).collect();
        assert_eq!(told, [(0, None), (7, Some(2)), (0, Some(0))]);
    }

    #[test]
    fn nothing_from_outside_becomes_markup() {
        assert_eq!(escape("<b a='1' c=\"2\">&"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;");
        assert_eq!(masked("jane@example.org"), "j…@example.org");
        assert_eq!(masked("<script>"), "…");
    }
}
