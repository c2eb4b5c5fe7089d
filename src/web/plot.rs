//! A plot as plain SVG: bars for what was delivered in each span of time, a line for what waited at its end.
//!
//! Pure. No script, no style of its own: the page's style sheet colours it, also in the dark.

use std::fmt::Write;

/// A span of time in the plot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// Rows that reached the account in it.
    pub delivered: u64,
    /// Rows that waited at its end; none when nobody looked.
    pub waiting: Option<u64>,
}

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 160.0;
/// Room for the labels above and below.
const MARGIN: f64 = 18.0;
/// Bars do not touch.
const BAR_SHARE: f64 = 0.8;

/// The plot with its title and the words below its two ends.
#[must_use]
pub fn svg(title: &str, from: &str, to: &str, spans: &[Span]) -> String {
    let most_delivered = spans.iter().map(|span| span.delivered).max().unwrap_or_default();
    let most_waiting = spans.iter().filter_map(|span| span.waiting).max().unwrap_or_default();
    let step = WIDTH / count(spans.len().max(1) as u64);
    let height = |value: u64, most: u64| count(value) / count(most.max(1)) * (HEIGHT - 2.0 * MARGIN);
    let floor = HEIGHT - MARGIN;
    let mut drawn = format!(
        "<svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" aria-label=\"{title}: at most {most_delivered} delivered and {most_waiting} waiting\">"
    );
    let mut line = Vec::new();
    for (at, span) in (0u64..).zip(spans) {
        let left = count(at) * step;
        if span.delivered > 0 {
            let tall = height(span.delivered, most_delivered).max(1.0);
            let (top, wide) = (floor - tall, step * BAR_SHARE);
            // Writing into a string cannot fail.
            let _written = write!(
                drawn,
                "<rect class=\"delivered\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{tall:.1}\"/>"
            );
        }
        if let Some(waiting) = span.waiting {
            line.push(format!(
                "{:.1},{:.1}",
                left + step * BAR_SHARE / 2.0,
                floor - height(waiting, most_waiting)
            ));
        }
    }
    drawn += &format!(
        "<line class=\"axis\" x1=\"0\" y1=\"{floor}\" x2=\"{WIDTH}\" y2=\"{floor}\"/>\
         <polyline class=\"waiting\" points=\"{}\"/>\
         <text x=\"0\" y=\"12\">most delivered: {most_delivered}</text>\
         <text class=\"end\" x=\"{WIDTH}\" y=\"12\">most waiting: {most_waiting}</text>\
         <text x=\"0\" y=\"{below}\">{from}</text><text class=\"end\" x=\"{WIDTH}\" y=\"{below}\">{to}</text></svg>",
        line.join(" "),
        below = HEIGHT - 4.0
    );
    drawn
}

#[allow(clippy::cast_precision_loss, reason = "counts of rows are far below 2^53")]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_bar_is_as_high_as_the_plot_and_a_gap_draws_nothing() {
        let spans = [
            Span { delivered: 10, waiting: Some(4) },
            Span::default(),
            Span { delivered: 5, waiting: Some(0) },
        ];
        let drawn = svg("day", "then", "now", &spans);
        assert_eq!(drawn.matches("<rect").count(), 2);
        assert!(drawn.contains("height=\"124.0\"") && drawn.contains("height=\"62.0\""), "{drawn}");
        assert!(drawn.contains("points=\"96.0,18.0 576.0,142.0\""), "{drawn}");
    }

    #[test]
    fn nothing_at_all_is_a_plot_too() {
        assert!(svg("day", "then", "now", &[]).contains("most delivered: 0"));
    }
}
