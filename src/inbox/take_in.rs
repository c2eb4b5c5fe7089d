//! One file into the outbox: read, understood, planned, recorded, all in one transaction; then moved away.

use std::{fs::File, io, ops::ControlFlow, path::Path, sync::Arc};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::names::Format;
use super::settle::{Fingerprint, Settled};
use super::source::{self, Hashed};
use super::{InTheWay, Inbox, Parts, Unreadable, answer, archive, delimited, json, receipt};
use crate::config::Route;
use crate::contact::{Contact, Rejection, Row};
use crate::durable;
use crate::outbox::{Intake, NewFile, Outbox, OutboxError};
use crate::plan::{Reading, plan};

/// Rows that are planned together: enough that looking them up is cheap, few enough that memory does not notice.
const CHUNK: usize = 1_000;

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
    /// Takes a file in. Says what is in the way, if the disk or a folder is.
    pub(super) async fn take_in(&mut self, settled: Settled) -> Result<Option<String>, OutboxError> {
        let (parts, stop, now) = (Arc::clone(&self.parts), self.stop.clone(), self.parts.clock.now());
        let path = settled.path().display().to_string();
        let taken = self.parts.outbox.ask(move |outbox| take_in(outbox, &parts, &settled, &stop, now)).await;
        match taken {
            Ok(Taken::Recorded(file)) => {
                tracing::info!(file, path, "taken in");
                self.parts.wake.hint();
                Ok(None)
            }
            Ok(Taken::NotNow) => Ok(None),
            Ok(Taken::Unreadable(unreadable)) => {
                tracing::warn!(path, %unreadable, "the file cannot be read; it is in `failed` with its reason");
                self.failed_files += 1;
                Ok(None)
            }
            Err(InTheWay::Outbox(error)) => Err(error),
            Err(InTheWay::Io(error)) => Ok(Some(format!("{path}: {error}"))),
        }
    }
}

fn take_in(
    outbox: &mut Outbox,
    parts: &Parts,
    settled: &Settled,
    stop: &CancellationToken,
    now: Timestamp,
) -> Result<Taken, InTheWay> {
    let (route, name) = place(&parts.spool, settled.path());
    let taken = match (parts.routes.iter().find(|known| known.folder == route), source::open(settled.path()))
    {
        (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Taken::NotNow),
        (_, Err(error)) => {
            Taken::Unreadable(Unreadable::new("the file", format!("cannot be opened: {error}")))
        }
        (None, Ok(_)) => Taken::Unreadable(no_route(&route)),
        (Some(route), Ok(file)) => {
            let incoming =
                Incoming { parts, route, name: &name, fingerprint: settled.fingerprint(), stop, now };
            incoming.record(outbox, &file)?
        }
    };
    match &taken {
        Taken::Recorded(_) => answer::archive_recorded(outbox, &parts.spool, Some(settled), now)?,
        Taken::Unreadable(unreadable) => fail(&parts.spool, settled, &name, unreadable, now)?,
        Taken::NotNow => {}
    }
    Ok(taken)
}

/// A path's route (`.` for the inbox itself) and name.
fn place(spool: &Path, path: &Path) -> (String, String) {
    let inside = path.strip_prefix(spool.join("inbox")).unwrap_or(path);
    let folder = inside.parent().map(|folder| folder.to_string_lossy().into_owned()).unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    (if folder.is_empty() { ".".to_owned() } else { folder }, name)
}

fn no_route(folder: &str) -> Unreadable {
    let reason = format!(
        "no [[route]] of the configuration names the folder `{folder}`: add one, or drop the file elsewhere"
    );
    Unreadable::new("the folder", reason)
}

/// A file that is being read.
struct Incoming<'a> {
    parts: &'a Parts,
    route: &'a Route,
    name: &'a str,
    fingerprint: &'a Fingerprint,
    stop: &'a CancellationToken,
    now: Timestamp,
}

impl Incoming<'_> {
    fn record(&self, outbox: &mut Outbox, file: &File) -> Result<Taken, InTheWay> {
        if !self.is_the_same(file)? {
            return Ok(Taken::NotNow);
        }
        let intake = outbox.begin(NewFile {
            name: self.name.to_owned(),
            route: self.route.folder.clone(),
            received_at: self.now,
            modified_at: self.fingerprint.modified_at(),
            lists: self.route.lists_key(),
        })?;
        let mut rows = Rows {
            intake,
            chunk: Vec::with_capacity(CHUNK),
            count: 0,
            most: self.parts.settings.max_rows,
            failure: None,
        };
        let mut bytes = Hashed::new(file);
        let read = self.read(&mut bytes, &mut |row| {
            self.parts.wake.beat();
            rows.add(row, self.stop)
        });
        if let Some(failure) = rows.failure {
            return match failure {
                Failure::Outbox(error) => Err(error.into()),
                Failure::Unreadable(unreadable) => Ok(Taken::Unreadable(unreadable)),
                Failure::Stopped => Ok(Taken::NotNow),
            };
        }
        if let Some(failure) = bytes.failure() {
            // The disk's fault is not the file's.
            return Err(failure.into());
        }
        if let Err(unreadable) = read {
            // What was written to while we read is not unreadable, it is not complete.
            return Ok(if self.is_the_same(file)? { Taken::Unreadable(unreadable) } else { Taken::NotNow });
        }
        rows.flush()?;
        let digest = bytes.finish()?;
        if !self.is_the_same(file)? {
            return Ok(Taken::NotNow);
        }
        Ok(Taken::Recorded(rows.intake.commit(&digest)?))
    }

    fn read(&self, bytes: impl io::Read, sink: super::Sink<'_>) -> Result<(), Unreadable> {
        let settings = &self.parts.settings;
        let input = source::reader(self.name, bytes, settings.max_file_size, settings.encoding)
            .map_err(|error| Unreadable::new("line 1", format!("cannot be read: {error}")))?;
        let configured = &self.route.columns;
        match source::format(self.name) {
            Format::Delimited => delimited::read(input, configured, sink),
            Format::Json => json::read(input, configured, sink),
            Format::JsonLines => json::read_lines(input, configured, sink),
        }
    }

    fn is_the_same(&self, file: &File) -> io::Result<bool> {
        Ok(Fingerprint::of(&file.metadata()?).same_content(self.fingerprint))
    }
}

/// Why reading was broken off.
enum Failure {
    Outbox(OutboxError),
    Unreadable(Unreadable),
    Stopped,
}

/// Rows on their way into the outbox, a chunk at a time.
struct Rows<'a> {
    intake: Intake<'a>,
    chunk: Vec<Reading>,
    count: u64,
    most: u64,
    failure: Option<Failure>,
}

impl Rows<'_> {
    fn add(&mut self, row: Result<Row, Rejection>, stop: &CancellationToken) -> ControlFlow<()> {
        self.count += 1;
        if self.count > self.most {
            let reason = format!("the file has more than max_rows ({}) rows: split it", self.most);
            self.failure = Some(Failure::Unreadable(Unreadable::new("the file", reason)));
            return ControlFlow::Break(());
        }
        self.chunk.push(row.and_then(|row| Ok((row.line, Contact::from_row(&row)?))));
        if self.chunk.len() < CHUNK {
            return ControlFlow::Continue(());
        }
        if stop.is_cancelled() {
            self.failure = Some(Failure::Stopped);
            return ControlFlow::Break(());
        }
        match self.flush() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(Failure::Outbox(error));
                ControlFlow::Break(())
            }
        }
    }

    fn flush(&mut self) -> Result<(), OutboxError> {
        let readings = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        let mut keys: Vec<String> =
            readings.iter().flatten().map(|(_, contact)| contact.email().key()).collect();
        keys.sort_unstable();
        keys.dedup();
        let known = self.intake.known(keys.iter().map(String::as_str))?;
        self.intake.record(&plan(readings, &known))
    }
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
fn fail(
    spool: &Path,
    settled: &Settled,
    name: &str,
    unreadable: &Unreadable,
    now: Timestamp,
) -> io::Result<()> {
    let folder = archive::day_folder(&spool.join("failed"), &answer::day(now))?;
    let target = archive::free_name(&folder, name)?;
    let reason =
        Reason { version: 1, file: name, place: &unreadable.place, why: &unreadable.reason, failed_at: now };
    durable::write(&answer::beside(&target, "reason.json"), answer::READABLE, |out| {
        serde_json::to_writer_pretty(&mut *out, &reason).map_err(io::Error::from)?;
        out.write_all(b"\n")
    })?;
    answer::move_out(settled.path(), settled.fingerprint(), &target)
}
