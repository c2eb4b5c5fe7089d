//! A file's rows on their way into the outbox, in one transaction.
//!
//! Reading and understanding goes on beside the recording, a few chunks ahead and no more: memory stays the same however
//! long the file is.

use std::{
    fs::File,
    io,
    ops::ControlFlow,
    panic,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::settle::Fingerprint;
use super::source::Hashed;
use super::{InTheWay, Parts, Said, Unreadable};
use crate::config::{OnBadField, Route};
use crate::contact::{Contact, Rejection, Row};
use crate::outbox::{Intake, NewFile, Outbox, OutboxError};
use crate::plan::{Reading, plan};

/// Rows that are planned together: enough that looking them up is cheap, few enough that memory does not notice.
const CHUNK: usize = 1_000;
/// Chunks that are read before they can be recorded: what evens out the two sides' speed.
const AHEAD: usize = 2;

/// What came of reading a file.
pub enum Recorded {
    /// Its rows are in the outbox, under this number.
    File(i64),
    /// It changed, or we are to stop: the next look will see.
    NotNow,
    /// Nothing of it can be taken.
    Unreadable(Unreadable),
}

/// A file that is being read.
pub struct Incoming<'a> {
    pub parts: &'a Parts,
    pub route: &'a Route,
    pub name: &'a str,
    pub fingerprint: &'a Fingerprint,
    pub stop: &'a CancellationToken,
    pub now: Timestamp,
}

/// Why reading came to its end.
enum End {
    /// The file's own end, with the digest of its bytes.
    Whole(String, Said),
    /// The file cannot be used.
    Unreadable(Unreadable),
    /// The disk failed, which is not the file's fault.
    Disk(io::Error),
    /// We are to stop, or the other side did.
    Stopped,
}

impl Incoming<'_> {
    /// Reads and records a file.
    pub fn record(&self, outbox: &mut Outbox, file: &File) -> Result<Recorded, InTheWay> {
        if !self.is_the_same(file)? {
            return Ok(Recorded::NotNow);
        }
        let mut intake = outbox.begin(NewFile {
            name: self.name.to_owned(),
            route: self.route.folder.clone(),
            received_at: self.now,
            modified_at: self.fingerprint.modified_at(),
            lists: self.route.lists_key(),
        })?;
        let (sender, receiver) = sync_channel(AHEAD);
        let (end, kept) = thread::scope(|scope| {
            let reader = scope.spawn(|| self.read(file, sender));
            let kept = keep(&mut intake, receiver);
            (reader.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)), kept)
        });
        kept?;
        match end {
            End::Whole(digest, said) if self.is_the_same(file)? => {
                intake.took_addresses_from(said.address_column);
                Ok(Recorded::File(intake.commit(&digest)?))
            }
            // What was written to while we read is not unreadable, it is not complete.
            End::Unreadable(unreadable) if self.is_the_same(file)? => Ok(Recorded::Unreadable(unreadable)),
            End::Whole(..) | End::Unreadable(_) | End::Stopped => Ok(Recorded::NotNow),
            End::Disk(error) => Err(error.into()),
        }
    }

    fn read(&self, file: &File, sender: SyncSender<Vec<Reading>>) -> End {
        let mut rows = Rows {
            sender,
            chunk: Vec::with_capacity(CHUNK),
            count: 0,
            most: self.parts.settings.max_rows,
            judge: match self.parts.settings.on_bad_field {
                OnBadField::Reject => Contact::from_row,
                OnBadField::Drop => Contact::from_usable,
            },
            broken_off: None,
        };
        let mut bytes = Hashed::new(file);
        let read = self.reading().read(&mut bytes, &mut |row| {
            self.parts.wake.beat();
            rows.add(row, self.stop)
        });
        if let Some(end) = rows.broken_off.take() {
            return end;
        }
        if let Some(error) = bytes.failure() {
            return End::Disk(error);
        }
        let said = match read {
            Ok(said) => said,
            Err(unreadable) => return End::Unreadable(unreadable),
        };
        if rows.flush().is_err() {
            return End::Stopped;
        }
        bytes.finish().map_or_else(End::Disk, |digest| End::Whole(digest, said))
    }

    fn reading(&self) -> super::Reading<'_> {
        let settings = &self.parts.settings;
        super::Reading {
            name: self.name,
            most: settings.max_file_size,
            encoding: settings.encoding,
            columns: &self.route.columns,
        }
    }

    fn is_the_same(&self, file: &File) -> io::Result<bool> {
        Ok(Fingerprint::of(&file.metadata()?).same_content(self.fingerprint))
    }
}

/// Plans and records chunk after chunk. Dropping the receiver at an error tells the reader to stop.
fn keep(intake: &mut Intake<'_>, receiver: Receiver<Vec<Reading>>) -> Result<(), OutboxError> {
    for readings in receiver {
        let mut keys: Vec<String> =
            readings.iter().flatten().map(|(_, contact)| contact.email().key()).collect();
        keys.sort_unstable();
        keys.dedup();
        let known = intake.known(keys.iter().map(String::as_str))?;
        intake.record(&plan(readings, &known))?;
    }
    Ok(())
}

/// Rows on their way to the other side, a chunk at a time.
struct Rows {
    sender: SyncSender<Vec<Reading>>,
    chunk: Vec<Reading>,
    count: u64,
    most: u64,
    judge: fn(&Row) -> Result<Contact, Rejection>,
    broken_off: Option<End>,
}

impl Rows {
    fn add(&mut self, row: Result<Row, Rejection>, stop: &CancellationToken) -> ControlFlow<()> {
        self.count += 1;
        if self.count > self.most {
            let reason = format!("the file has more than max_rows ({}) rows: split it", self.most);
            return self.break_off(End::Unreadable(Unreadable::new("the file", reason)));
        }
        self.chunk.push(row.and_then(|row| Ok((row.line, (self.judge)(&row)?))));
        if self.chunk.len() < CHUNK {
            return ControlFlow::Continue(());
        }
        if stop.is_cancelled() || self.flush().is_err() {
            return self.break_off(End::Stopped);
        }
        ControlFlow::Continue(())
    }

    fn break_off(&mut self, end: End) -> ControlFlow<()> {
        self.broken_off = Some(end);
        ControlFlow::Break(())
    }

    /// Hands the chunk over; an error when nobody takes it any more.
    fn flush(&mut self) -> Result<(), ()> {
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
        self.sender.send(chunk).map_err(|_| ())
    }
}
