//! `mailchute init`

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    path::PathBuf,
};

use super::{Common, Exit, Failure, Outcome, say};
use crate::config;

/// The configuration to start from: what must be filled in stands open, everything else is a comment with its default.
const TEMPLATE: &str = include_str!("../../contrib/mailchute.toml");

pub(super) fn run(common: &Common) -> Outcome {
    let file =
        common.config.clone().or_else(config::user_file).unwrap_or_else(|| PathBuf::from("mailchute.toml"));
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("{}: {error}", file.display()));
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut out = match OpenOptions::new().write(true).create_new(true).open(&file) {
        Ok(out) => out,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let message = format!("{} is there already and is left as it is", file.display());
            return Err(Failure::new(Exit::Failed, message));
        }
        Err(error) => return Err(failed(error)),
    };
    out.write_all(TEMPLATE.as_bytes()).and_then(|()| out.sync_all()).map_err(failed)?;
    let shown = file.display();
    say(format!("Wrote {shown}. Next:"));
    say("  1. fill in client_id, the secret's file and your list in it");
    say(format!("  2. mailchute-auth --config {shown}"));
    say(format!("  3. mailchute check --config {shown}"));
    say(format!("  4. mailchute run --config {shown}"));
    Ok(Exit::Done)
}
