//! `mailchute demo`: the whole thing without an account, with the real daemon.
//!
//! Sets a stage (`stage`) with sample files (`samples`), lets the program itself run on it, and says done only when the
//! account holds exactly what it should.

mod samples;
mod stage;

use std::{
    io::{IsTerminal, stderr},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};
use indicatif::ProgressBar;

use super::{Common, Exit, Failure, Outcome, runtime, say};
use crate::outbox::{Counts, Outbox};
use samples::Samples;
use stage::Stage;

/// Enough rows to watch, few enough to be through in a quarter of a minute at four calls a second.
const ROWS: usize = 40;
/// How often the progress is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Time for starting and settling, besides the calls themselves.
const PATIENCE: Duration = Duration::from_mins(1);
/// The service's limit, and a margin for a slow machine.
const SECONDS_A_ROW: f64 = 0.5;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Customers in the sample export
    #[arg(long, default_value_t = ROWS, value_name = "N")]
    rows: usize,
    /// Keep everything in this folder, to look at afterwards
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Outcome {
    runtime()?.block_on(async {
        let samples = Samples::new(arguments.rows);
        say("Starting a stand-in for Constant Contact on this machine and signing in to it …");
        let mut stage = Stage::set(arguments.keep.as_deref(), &samples).await?;
        say(format!(
            "Dropping {} files into {} …",
            samples.first.len() + samples.again.len(),
            stage.inbox().display()
        ));
        let patience = PATIENCE
            + Duration::from_secs_f64(SECONDS_A_ROW)
                .saturating_mul(u32::try_from(arguments.rows).unwrap_or(u32::MAX));
        let bar = common.screen.bar("rows");
        stage.start_daemon()?;
        stage.drop_files(&samples.first)?;
        watch(&mut stage, &bar, samples.answered_first(), patience).await?;
        // What was delivered once and comes again costs no call.
        let calls = stage.calls();
        stage.drop_files(&samples.again)?;
        watch(&mut stage, &bar, samples.answered_first() + samples.again.len(), patience).await?;
        bar.finish_and_clear();
        let more_calls = stage.calls() - calls;
        stage.stop_daemon().await?;
        say(table(&stage)?);
        say(account(&stage));
        let mut wrong = samples.differences(&stage);
        if more_calls > 0 {
            wrong.push(format!("a file that came again cost {more_calls} calls instead of none"));
        }
        if let Some(kept) = &arguments.keep {
            say(format!("Everything is kept in {}.", kept.display()));
        }
        if wrong.is_empty() {
            say("The account holds exactly what it should.");
            return Ok(Exit::Done);
        }
        Err(Failure::new(
            Exit::Failed,
            format!("the account is not as it should be:\n  {}", wrong.join("\n  ")),
        ))
    })
}

/// Shows the rows settle until so many files are answered.
async fn watch(
    stage: &mut Stage,
    bar: &ProgressBar,
    answered: usize,
    patience: Duration,
) -> Result<(), Failure> {
    let (began, mut said) = (Instant::now(), 0);
    loop {
        let counts = stage.look(Outbox::totals)?.counts;
        let settled = counts.rows() - counts.queued - counts.sending;
        bar.set_length(counts.rows());
        bar.set_position(settled);
        // Where there is no terminal, a line now and then shows that it goes on.
        let tenth = settled * 10 / counts.rows().max(1);
        if !stderr().is_terminal() && tenth > said {
            said = tenth;
            say(format!("  {settled} of {} rows settled", counts.rows()));
        }
        if stage.answered()? >= answered {
            return Ok(());
        }
        stage.daemon_is_alive()?;
        if began.elapsed() > patience {
            return Err(Failure::new(
                Exit::Failed,
                format!("not done after {patience:?}; see {}", stage.log().display()),
            ));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What became of each file.
fn table(stage: &Stage) -> Result<String, Failure> {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    table.set_header(["file", "rows", "created", "updated", "unchanged", "duplicate", "rejected", "receipt"]);
    for (name, archived_as, counts) in stage.look(Outbox::files)? {
        let Counts { created, updated, unchanged, duplicate, rejected, .. } = counts;
        let numbers =
            [counts.rows(), created, updated, unchanged, duplicate, rejected].map(|n| n.to_string());
        let mut row = vec![name];
        row.extend(numbers);
        row.push(format!("{archived_as}.receipt.json"));
        table.add_row(row);
    }
    for (name, reason, place) in stage.failed_files() {
        let mut row = vec![name, "unreadable".to_owned()];
        row.extend(std::iter::repeat_n(String::new(), 5));
        row.push(format!("{place}\n{reason}"));
        table.add_row(row);
    }
    Ok(table.to_string())
}

/// What the account now holds.
fn account(stage: &Stage) -> String {
    stage.sandbox().inspect(|world| {
        let lists =
            samples::LISTS.map(|list| format!("{} on `{list}`", world.members(list).len())).join(", ");
        format!(
            "The account holds {} contacts: {lists}. It saw {} calls, at most {} in any second.",
            world.contact_count(),
            world.all_calls(),
            world.highest_rate()
        )
    })
}
