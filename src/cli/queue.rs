//! `mailchute queue`: what waits, and the operator's hand in it.

use clap::{Args, Subcommand};
use comfy_table::{Table, presets::NOTHING};
use jiff::Timestamp;

use super::{Common, Exit, Failure, Outcome, nudge, outbox_to_change, outbox_to_look, say};
use crate::contact::EmailAddress;
use crate::outbox::{Change, Listed, Outbox, Selector, Touched};
use crate::status::local;

/// As many rows as fit on a screen or two; `--json` and `--limit` show more.
const SCREEN: u32 = 50;
/// Rows that are read at a time.
const PAGE: u32 = 1_000;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show entries; without a selector those that wait
    #[command(after_help = "Example:\n  mailchute queue list --state held")]
    List(List),
    /// Try queued entries now instead of when they are due
    #[command(after_help = "Example:\n  mailchute queue retry --all")]
    Retry(Which),
    /// Keep queued entries back until they are released
    #[command(after_help = "Example:\n  mailchute queue hold --file friday.csv")]
    Hold(Which),
    /// Queue held entries again
    #[command(after_help = "Example:\n  mailchute queue release --state held")]
    Release(Release),
    /// Never send queued or held entries; they count as rejected
    #[command(after_help = "Example:\n  mailchute queue drop --id 17 18")]
    Drop(Which),
}

#[derive(Debug, Args)]
struct List {
    /// Only entries in this state
    #[arg(long, value_name = "S", value_parser = STATES)]
    state: Option<String>,
    /// Only entries of files of this name
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Only entries of this address
    #[arg(long, value_name = "ADDR")]
    email: Option<EmailAddress>,
    /// At most so many; without --json 50
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// One object a line
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Release {
    #[command(flatten)]
    which: Which,
    /// Also people who left: you know that each of them asked to be on the list again
    #[arg(long)]
    i_have_consent: bool,
}

/// Which entries.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// By number, as `queue list` shows it
    #[arg(long, value_name = "N", num_args = 1..)]
    id: Vec<i64>,
    /// Those of files of this name
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
    /// Those of this address
    #[arg(long, value_name = "ADDR")]
    email: Option<EmailAddress>,
    /// Those in this state
    #[arg(long, value_name = "S", value_parser = STATES)]
    state: Option<String>,
    /// Every one
    #[arg(long, conflicts_with_all = ["id", "file", "email", "state"])]
    all: bool,
}

/// The states of the contract.
const STATES: [&str; 6] = ["queued", "sending", "delivered", "unchanged", "rejected", "held"];

impl Which {
    fn selector(&self) -> Selector {
        Selector {
            ids: self.id.clone(),
            file: self.file.clone(),
            address: self.email.as_ref().map(EmailAddress::key),
            state: self.state.clone(),
        }
    }
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Outcome {
    match &arguments.action {
        Action::List(list) => show(common, list),
        Action::Retry(which) => change(common, which, Change::Retry, "due now"),
        Action::Hold(which) => change(common, which, Change::Hold, "held"),
        Action::Release(Release { which, i_have_consent }) => {
            change(common, which, Change::Release { consent: *i_have_consent }, "queued again")
        }
        Action::Drop(which) => change(common, which, Change::Drop, "dropped, and counted as rejected"),
    }
}

fn show(common: &Common, wanted: &List) -> Outcome {
    let mut outbox = outbox_to_look(&common.config()?)?;
    let selector = Selector {
        ids: Vec::new(),
        file: wanted.file.clone(),
        address: wanted.email.as_ref().map(EmailAddress::key),
        state: wanted.state.clone(),
    };
    if wanted.json {
        let rows = pages(&mut outbox, &selector, wanted.limit.unwrap_or(u32::MAX));
        let mut rows = rows;
        return rows.try_for_each(|page| print(&page?)).map(|()| Exit::Done);
    }
    let limit = wanted.limit.unwrap_or(SCREEN);
    // One more than is shown, to know whether there are more.
    let rows = pages(&mut outbox, &selector, limit.saturating_add(1));
    let mut rows: Vec<Listed> = rows.collect::<Result<Vec<_>, _>>()?.concat();
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > shown;
    rows.truncate(shown);
    say(table(&rows));
    if more {
        say("… and more: --limit N shows more of them, --json all");
    }
    Ok(Exit::Done)
}

/// The rows that are wanted, page by page: a million lines need no memory. Without a selector, those that wait.
fn pages(
    outbox: &mut Outbox,
    selector: &Selector,
    limit: u32,
) -> impl Iterator<Item = Result<Vec<Listed>, Failure>> {
    let (mut after, mut left, all_open) = (0, limit, *selector == Selector::default());
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let page =
            if all_open { outbox.open_rows(left) } else { outbox.rows(selector, after, left.min(PAGE)) };
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                left = 0;
                return Some(Err(Failure::new(Exit::Failed, error)));
            }
        };
        let end = page.last()?.id;
        after = end;
        left = if all_open { 0 } else { left - u32::try_from(page.len()).unwrap_or(left) };
        Some(Ok(page))
    })
}

fn print(rows: &[Listed]) -> Result<(), Failure> {
    for row in rows {
        say(serde_json::to_string(row).map_err(|error| Failure::new(Exit::Failed, error))?);
    }
    Ok(())
}

fn table(rows: &[Listed]) -> String {
    if rows.is_empty() {
        return "No entry.".to_owned();
    }
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["id", "state", "email", "file", "line", "tries", "due", "reason"]);
    for row in rows {
        table.add_row([
            row.id.to_string(),
            row.state.clone(),
            row.email.clone().unwrap_or_default(),
            row.file.clone(),
            row.line.to_string(),
            row.attempts.to_string(),
            row.due_at.map(local).unwrap_or_default(),
            row.reason.clone().unwrap_or_default(),
        ]);
    }
    // The style without lines still begins each row with a blank.
    let trimmed = |line: &str| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned();
    table.to_string().lines().map(trimmed).collect::<Vec<_>>().join("\n")
}

fn change(common: &Common, which: &Which, change: Change, done: &str) -> Outcome {
    let config = common.config()?;
    let mut outbox = outbox_to_change(&config)?;
    let bar = common.screen.bar("entries");
    let touched =
        outbox.change(&which.selector(), change, Timestamp::now(), &mut |looked| bar.set_position(looked));
    bar.finish_and_clear();
    let Touched { changed, under_way, left } = touched.map_err(|error| Failure::new(Exit::Failed, error))?;
    nudge(&config);
    say(format!("{changed} {} {done}.", entries(changed)));
    if under_way > 0 {
        say(format!(
            "{under_way} {} under way just now and left alone.",
            if under_way == 1 { "is" } else { "are" }
        ));
    }
    if left > 0 {
        let message = format!(
            "{left} {} held because the person left the list. If each of them asked to be on it again: the same with \
             --i-have-consent",
            if left == 1 { "entry stays" } else { "entries stay" }
        );
        return Err(Failure::new(Exit::Failed, message));
    }
    Ok(Exit::Done)
}

fn entries(count: u64) -> &'static str {
    if count == 1 { "entry" } else { "entries" }
}
