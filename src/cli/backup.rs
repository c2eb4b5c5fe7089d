//! `mailchute backup`

use std::{io, path::PathBuf};

use clap::Args;

use super::{Common, Exit, Failure, Outcome, outbox_to_look, say};
use crate::durable;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The copy's name; never overwritten
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(common: &Common, arguments: &Arguments) -> Outcome {
    let config = common.config()?;
    let mut outbox = outbox_to_look(&config)?;
    let file = &arguments.file;
    let failed = |error: io::Error| Failure::new(Exit::Failed, format!("{}: {error}", file.display()));
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(".".as_ref());
    // Only its owner may read it: it holds addresses.
    let copy = tempfile::Builder::new().prefix(".mailchute-backup-").tempfile_in(folder).map_err(failed)?;
    let bar = common.screen.bar("pages");
    let copied = outbox.back_up(copy.path(), &mut |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    copied.map_err(|error| Failure::new(Exit::Failed, error))?;
    let kept = copy
        .as_file()
        .sync_all()
        .and_then(|()| copy.persist_noclobber(file).map(drop).map_err(|error| error.error));
    kept.map_err(failed)?;
    durable::sync_folder_of(file).map_err(failed)?;
    say(format!(
        "{} is a whole copy of the outbox. The tokens are not in it: after a restore, sign in anew.",
        file.display()
    ));
    Ok(Exit::Done)
}
