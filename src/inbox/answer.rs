//! After the rows are recorded: the file goes to `done/`, and when its last row is settled, its receipt is written.
//!
//! Both are repeated from the outbox's stages until they are done, so that a crash at any step is only a delay.

use std::{
    cell::RefCell,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use jiff::{Timestamp, tz::TimeZone};

use super::settle::{Fingerprint, Settled};
use super::stuck::Stuck;
use super::{InTheWay, Inbox, Parts, ReceiptError, archive, receipt, rejects, source};
use crate::durable;
use crate::outbox::{Outbox, OutboxError, ReceiptFacts, RecordedFile, SettledRow};

/// Rows of a receipt that are in memory together.
const PAGE: u32 = 1_000;

/// Whoever shares a spool's group may read what became of their files.
pub const READABLE: u32 = 0o640;

/// The folder of a day, in UTC like everything that is written down.
pub fn day(now: Timestamp) -> String {
    TimeZone::UTC.to_datetime(now).date().to_string()
}

/// `a.csv` and `receipt.json` make `a.csv.receipt.json`.
pub fn beside(path: &Path, end: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{end}"))
}

impl Inbox {
    /// Archives what is recorded and answers what is settled. What is in the way of a file is remembered.
    pub(super) async fn answer(&mut self, now: Timestamp) -> Result<(), OutboxError> {
        let (parts, mut stuck) = (Arc::clone(&self.parts), self.stuck.clone());
        let (answered, stuck) = self
            .parts
            .outbox
            .ask(move |outbox| {
                let answered = archive_recorded(outbox, &parts.spool, None, &mut stuck, now)
                    .and_then(|()| write_receipts(outbox, &parts, &mut stuck, now));
                (answered, stuck)
            })
            .await;
        self.stuck = stuck;
        answered
    }
}

/// Moves every file whose rows are recorded to `done/`: the one that was just taken in, or what a crash left.
pub fn archive_recorded(
    outbox: &mut Outbox,
    spool: &Path,
    fresh: Option<&Settled>,
    stuck: &mut Stuck,
    now: Timestamp,
) -> Result<(), OutboxError> {
    for recorded in outbox.recorded_files()? {
        let path = spool.join("inbox").join(&recorded.route).join(&recorded.name);
        // `inbox/./a.csv` and `inbox/a.csv` are one path; comparing needs one spelling.
        let path: PathBuf = path.components().collect();
        if stuck.holds(&path, now) {
            continue;
        }
        match archive_one(outbox, spool, &path, &recorded, fresh, now) {
            Ok(()) => stuck.free(&path),
            Err(InTheWay::Outbox(error)) => return Err(error),
            Err(InTheWay::Io(error)) => {
                stuck.hold(
                    &path,
                    format!("its rows are recorded, and it cannot be moved to `done`: {error}"),
                    now,
                );
            }
        }
    }
    Ok(())
}

fn archive_one(
    outbox: &mut Outbox,
    spool: &Path,
    path: &Path,
    recorded: &RecordedFile,
    fresh: Option<&Settled>,
    now: Timestamp,
) -> Result<(), InTheWay> {
    match still_there(path, recorded, fresh)? {
        Some(fingerprint) => {
            let folder = archive::day_folder(spool, "done", &day(now))?;
            let target = archive::free_name(&folder, &recorded.name)?;
            outbox.intend_archive(recorded.id, target.strip_prefix(spool).unwrap_or(&target))?;
            move_out(path, &fingerprint, &target)?;
        }
        None if recorded.archive.as_ref().is_some_and(|archive| spool.join(archive).exists()) => {}
        None => {
            tracing::warn!(
                file = recorded.name,
                "the file left the inbox by another hand; its rows are recorded"
            );
            if recorded.archive.is_none() {
                let folder = archive::day_folder(spool, "done", &day(now))?;
                let archive = archive::free_name(&folder, &recorded.name)?;
                outbox.intend_archive(recorded.id, archive.strip_prefix(spool).unwrap_or(&archive))?;
            }
        }
    }
    outbox.archived(recorded.id)?;
    Ok(())
}

/// The recorded file, if it still lies in the inbox: known by its fingerprint when it was just read, else by its digest.
fn still_there(
    path: &Path,
    recorded: &RecordedFile,
    fresh: Option<&Settled>,
) -> io::Result<Option<Fingerprint>> {
    let fingerprint = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_file() => Fingerprint::of(&meta),
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let just_read = fresh
        .is_some_and(|settled| settled.path() == path && settled.fingerprint().same_content(&fingerprint));
    Ok((just_read || source::sha256(path)? == recorded.sha256).then_some(fingerprint))
}

/// Renames a file out of the inbox. If a writer has put another in its place in that moment, that one is put back.
pub fn move_out(path: &Path, fingerprint: &Fingerprint, target: &Path) -> io::Result<()> {
    match archive::rename(path, target) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            return archive::move_across(path, fingerprint, target);
        }
        renamed => renamed?,
    }
    let moved = Fingerprint::of(&fs::symlink_metadata(target)?);
    if moved.same_content(fingerprint) {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let back = archive::free_name(folder, &name)?;
    tracing::warn!(path = %path.display(), "the file was replaced while it was read; the new one is read next");
    archive::rename(target, &back)
}

/// Writes every receipt that is due. One that cannot be written does not stop the others.
fn write_receipts(
    outbox: &mut Outbox,
    parts: &Parts,
    stuck: &mut Stuck,
    now: Timestamp,
) -> Result<(), OutboxError> {
    let mut after = 0;
    while let Some(facts) = outbox.receipt_due(after)? {
        after = facts.id;
        let path = parts.spool.join(&facts.archived_as);
        if stuck.holds(&path, now) {
            continue;
        }
        match write_receipt(outbox, parts, &facts) {
            Ok(()) => {
                outbox.answered(facts.id, now)?;
                stuck.free(&path);
            }
            Err(ReceiptError::Outbox(error)) => return Err(error),
            Err(error) => stuck.hold(&path, format!("its receipt cannot be written: {error}"), now),
        }
    }
    Ok(())
}

/// The rejects first: whoever sees the receipt finds them.
fn write_receipt(outbox: &mut Outbox, parts: &Parts, facts: &ReceiptFacts) -> Result<(), ReceiptError> {
    let archived = parts.spool.join(&facts.archived_as);
    if let Some(day) = facts.archived_as.parent().and_then(Path::file_name) {
        // Somebody may have cleared the archive away while the rows were sent.
        archive::day_folder(&parts.spool, "done", &day.to_string_lossy())?;
    }
    if facts.counts.rejected > 0 {
        write_rejects(outbox, &archived, facts, parts)?;
    }
    let shared = RefCell::new(outbox);
    durable::write(&beside(&archived, "receipt.json"), READABLE, |out| {
        let mut rejected = rows(&shared, facts.id, "rejected");
        let mut held = rows(&shared, facts.id, "held");
        let mut notes = pages((0, 0), |after| shared.borrow_mut().notes(facts.id, after, PAGE));
        receipt::write(facts, &mut rejected, &mut held, &mut notes, out)
    })
}

fn write_rejects(
    outbox: &mut Outbox,
    archived: &Path,
    facts: &ReceiptFacts,
    parts: &Parts,
) -> Result<(), ReceiptError> {
    if !archived.exists() {
        tracing::warn!(file = facts.name, "the file is gone from `done`: its receipt names the refused rows");
        return Ok(());
    }
    let shared = RefCell::new(outbox);
    let (most, encoding) = (parts.settings.max_file_size, parts.settings.encoding);
    let route = parts.routes.iter().find(|route| route.folder == facts.route);
    let columns = route.map(|route| route.columns.clone()).unwrap_or_default();
    let open = || Ok(source::reader(&facts.name, source::open(archived)?, most, encoding)?);
    durable::write(&beside(archived, "rejects.csv"), READABLE, |out| {
        let refused = rows(&shared, facts.id, "rejected").map(|row| row.map(|row| (row.line, row.reason)));
        rejects::write(source::format(&facts.name), &columns, &open, refused, out)
    })
}

/// A file's rows in a state.
fn rows<'a, 'o>(
    outbox: &'a RefCell<&'o mut Outbox>,
    file: i64,
    state: &'static str,
) -> impl Iterator<Item = Result<SettledRow, ReceiptError>> + use<'a, 'o> {
    pages(0, move |after| {
        let page = outbox.borrow_mut().settled_rows(file, state, after, PAGE)?;
        Ok(page.into_iter().map(|row| (row.id, row)).collect())
    })
}

/// Rows that are fetched page by page: each page begins where the last one ended.
fn pages<P: Copy>(
    start: P,
    mut fetch: impl FnMut(P) -> Result<Vec<(P, SettledRow)>, OutboxError>,
) -> impl Iterator<Item = Result<SettledRow, ReceiptError>> {
    let (mut page, mut after, mut ended) = (Vec::new().into_iter(), start, false);
    std::iter::from_fn(move || {
        loop {
            if let Some((place, row)) = page.next() {
                after = place;
                return Some(Ok(row));
            }
            if ended {
                return None;
            }
            match fetch(after) {
                Ok(rows) => {
                    ended = rows.is_empty();
                    page = rows.into_iter();
                }
                Err(error) => {
                    ended = true;
                    return Some(Err(error.into()));
                }
            }
        }
    })
}
