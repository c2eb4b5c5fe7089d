//! One file into the outbox, or to `failed/` with its reason.

use std::{io, path::Path, sync::Arc};

use jiff::Timestamp;
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::record::{Incoming, Recorded};
use super::scan::Ready;
use super::settle::Settled;
use super::stuck::Stuck;
use super::{InTheWay, Inbox, Parts, Unreadable, answer, archive, receipt, source};
use crate::durable;
use crate::outbox::{Outbox, OutboxError};

/// What came of a file.
enum Taken {
    /// Its rows are in the outbox.
    Recorded(i64),
    /// It changed, vanished, or we are to stop: the next look will see.
    NotNow,
    /// Nothing of it can be taken.
    Unreadable(Unreadable),
}

impl Inbox {
    /// Takes a file in. What is in its way is remembered.
    pub(super) async fn take_in(&mut self, ready: Ready, now: Timestamp) -> Result<(), OutboxError> {
        let (parts, stop, mut stuck) = (Arc::clone(&self.parts), self.stop.clone(), self.stuck.clone());
        let settled = ready.settled.clone();
        let file_name = settled.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
        let span = tracing::info_span!("file", file_name);
        let within = span.clone();
        let (taken, stuck) = self
            .parts
            .outbox
            .ask(move |outbox| {
                let _what_is_said_is_about_this_file = within.entered();
                let taken = take_in(outbox, &parts, &ready, &mut stuck, &stop, now);
                (taken, stuck)
            })
            .await;
        self.stuck = stuck;
        let (path, _about_this_file) = (settled.path(), span.entered());
        match taken {
            Ok(Taken::Recorded(id)) => {
                tracing::info!(id, ?path, "taken in");
                self.parts.wake.hint();
            }
            Ok(Taken::NotNow) => {}
            Ok(Taken::Unreadable(unreadable))
                if unreadable.cut_short && self.settling.be_patient(&settled, now) =>
            {
                tracing::info!(?path, %unreadable, "its writer may only be slow");
            }
            Ok(Taken::Unreadable(unreadable)) => {
                if self.fail(&settled, &unreadable, now) {
                    tracing::warn!(?path, %unreadable, "the file cannot be read; it is in `failed` with its reason");
                    self.failed_files += 1;
                }
            }
            Err(InTheWay::Outbox(error)) => return Err(error),
            Err(InTheWay::Io(error)) => self.stuck.hold(path, format!("cannot be read: {error}"), now),
        }
        Ok(())
    }

    /// Moves a file to `failed/`; one that cannot be moved is left and said.
    fn fail(&mut self, settled: &Settled, unreadable: &Unreadable, now: Timestamp) -> bool {
        match fail(&self.parts.spool, settled, unreadable, now) {
            Ok(()) => true,
            Err(error) => {
                let reason = format!("cannot be read ({unreadable}) and not be moved to `failed` ({error})");
                self.stuck.hold(settled.path(), reason, now);
                false
            }
        }
    }
}

fn take_in(
    outbox: &mut Outbox,
    parts: &Parts,
    ready: &Ready,
    stuck: &mut Stuck,
    stop: &CancellationToken,
    now: Timestamp,
) -> Result<Taken, InTheWay> {
    let Ready { settled, refusal } = ready;
    if let Some(reason) = refusal {
        return Ok(Taken::Unreadable(Unreadable::new("the file", reason.clone())));
    }
    let Some((folder, name)) = place(&parts.spool, settled.path()) else {
        return Ok(Taken::Unreadable(Unreadable::new("the name", NOT_UTF_8.to_owned())));
    };
    let Some(route) = parts.routes.iter().find(|known| known.folder == folder) else {
        return Ok(Taken::Unreadable(no_route(folder)));
    };
    let file = match source::open(settled.path()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::NotNow),
        Err(error) => return cannot_open(error),
    };
    let incoming = Incoming { parts, route, name, fingerprint: settled.fingerprint(), stop, now };
    match incoming.record(outbox, &file)? {
        Recorded::NotNow => Ok(Taken::NotNow),
        Recorded::Unreadable(unreadable) => Ok(Taken::Unreadable(unreadable)),
        Recorded::File(file) => {
            answer::archive_recorded(outbox, &parts.spool, Some(settled), stuck, now)?;
            Ok(Taken::Recorded(file))
        }
    }
}

/// What is refused because of the file is a reason; what is refused because of the machine passes.
fn cannot_open(error: io::Error) -> Result<Taken, InTheWay> {
    match Errno::from_io_error(&error) {
        Some(Errno::ACCESS | Errno::PERM) => {
            let reason = format!("cannot be opened ({error}): let the user that runs mailchute read it");
            Ok(Taken::Unreadable(Unreadable::new("the file", reason)))
        }
        // It became a link since it was looked at: the next look says so.
        Some(Errno::LOOP) => Ok(Taken::NotNow),
        _ => Err(error.into()),
    }
}

const NOT_UTF_8: &str = "the name of the file or of its folder is not UTF-8: rename it";

/// A path's route (`.` for the inbox itself) and name, if both can be written down.
fn place<'a>(spool: &Path, path: &'a Path) -> Option<(&'a str, &'a str)> {
    let inside = path.strip_prefix(spool.join("inbox")).unwrap_or(path);
    let folder = inside.parent().map_or(Some(""), Path::to_str)?;
    let name = path.file_name()?.to_str()?;
    Some((if folder.is_empty() { "." } else { folder }, name))
}

fn no_route(folder: &str) -> Unreadable {
    let reason = format!(
        "no [[route]] of the configuration names the folder `{folder}`: add one, or drop the file elsewhere"
    );
    Unreadable::new("the folder", reason)
}

/// `NAME.reason.json` beside a file that cannot be read.
#[derive(serde::Serialize)]
struct Reason<'a> {
    version: u32,
    file: &'a str,
    place: &'a str,
    #[serde(rename = "reason")]
    why: &'a str,
    #[serde(serialize_with = "receipt::seconds")]
    failed_at: Timestamp,
}

/// Moves a file to `failed/`, its reason first: a crash in between leaves a reason that is written again.
fn fail(spool: &Path, settled: &Settled, unreadable: &Unreadable, now: Timestamp) -> io::Result<()> {
    let name = settled.path().file_name().unwrap_or_default().to_string_lossy();
    let folder = archive::day_folder(spool, "failed", &answer::day(now))?;
    let target = archive::free_name(&folder, &name)?;
    let reason =
        Reason { version: 1, file: &name, place: &unreadable.place, why: &unreadable.reason, failed_at: now };
    let beside = answer::beside(&target, "reason.json");
    durable::write(&beside, answer::READABLE, |out| {
        serde_json::to_writer_pretty(&mut *out, &reason).map_err(io::Error::from)?;
        out.write_all(b"\n")
    })?;
    let moved = answer::move_out(settled.path(), settled.fingerprint(), &target);
    if moved.is_err() {
        // A reason without its file would only confuse; whether it could be removed or not, the failure is said.
        let _gone = std::fs::remove_file(beside);
    }
    moved
}
