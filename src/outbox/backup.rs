//! A consistent copy of the outbox while the daemon writes to it (SQLite's online backup).
//!
//! Promises that the copy appears under its name whole or not at all, and that an existing file is never overwritten.

use std::{path::Path, time::Duration};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};

use super::{Outbox, OutboxError, Result, unsigned};

/// Pages a step: about a megabyte, after which the daemon's writes go first.
const PAGES_A_STEP: i32 = 256;
/// Pause after a step that found the file locked.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

impl Outbox {
    /// Copies the outbox into a file that is not there yet. `progress` hears pages done and pages in all.
    pub fn back_up(&mut self, file: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let fail = |source| OutboxError::Sqlite { path: file.to_owned(), doing: "write the copy", source };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(file, flags).map_err(fail)?;
        {
            let backup = Backup::new(&self.connection, &mut copy).map_err(fail)?;
            loop {
                match backup.step(PAGES_A_STEP).map_err(fail)? {
                    StepResult::Done => break,
                    StepResult::More => {}
                    _ => std::thread::sleep(AGAIN_AFTER),
                }
                let told = backup.progress();
                let (all, left) = (unsigned(told.pagecount.into()), unsigned(told.remaining.into()));
                progress(all.saturating_sub(left), all);
            }
        }
        // One file that needs no other beside it.
        copy.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(fail)?;
        let sound: String = copy.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(fail)?;
        if sound != "ok" {
            let what = format!("the copy is damaged, and so is probably the outbox itself: {sound}");
            return Err(OutboxError::Content { path: file.to_owned(), what });
        }
        copy.close().map_err(|(_, source)| fail(source))
    }
}
