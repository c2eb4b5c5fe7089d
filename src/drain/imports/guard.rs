//! Before an import leaves: who left is found out, and taken out of it.
//!
//! Owns how far the members of its lists were read, when there are too many to look each up. Leaves which rows go to the
//! outbox, and the calls to `drain/consent`.

use jiff::Timestamp;

use super::super::Drain;
use crate::constant_contact::Account;
use crate::outbox::{Import, ImportGuard, LeavingImport, OutboxError, Question};

/// What is found out before an import leaves: nothing that a restart would miss.
#[derive(Default)]
pub(in super::super) struct Guarding {
    /// An import waits for an answer.
    pub(super) waits: bool,
    members: Option<Members>,
}

/// How far the members of an import's lists were read.
struct Members {
    import: i64,
    lists: Vec<String>,
    /// Which list is being read; past the last one when all were.
    place: usize,
    next: Option<String>,
    began_at: Timestamp,
}

impl Members {
    fn question(&self) -> Option<Question> {
        let list = self.lists.get(self.place)?.clone();
        Some(Question::Members { list, next: self.next.clone(), began_at: self.began_at })
    }
}

impl Guarding {
    /// A page was read: the next one follows, or the next list.
    pub(in super::super) fn read(&mut self, list: &str, next: Option<String>) {
        if let Some(members) = &mut self.members
            && members.lists.get(members.place).is_some_and(|known| known == list)
        {
            members.place += usize::from(next.is_none());
            members.next = next;
        }
    }

    /// The page cannot be read: the list is read from its beginning again.
    pub(in super::super) fn refused(&mut self) {
        self.members = None;
    }
}

impl<A: Account> Drain<A> {
    /// Whether an import may leave as it is. If not, rows were taken out of it or the account is being asked.
    pub(super) async fn may_leave(
        &mut self,
        import: &Import,
        list_ids: &[String],
        now: Timestamp,
    ) -> Result<bool, OutboxError> {
        let members = self.bulk.guard.members.take().filter(|members| members.import == import.id);
        let under_way = members.as_ref().and_then(Members::question);
        let members_read = members.is_some() && under_way.is_none();
        self.bulk.guard.members = members;
        let leaving = LeavingImport {
            id: import.id,
            lists: import.lists.clone(),
            list_ids: list_ids.to_vec(),
            silent_until: self.news.silent_until(now),
            members_read,
        };
        let question = match self.parts.outbox.ask(move |outbox| outbox.guard_import(&leaving, now)).await? {
            ImportGuard::Goes => {
                self.bulk.guard.members = None;
                return Ok(true);
            }
            ImportGuard::Changed { file_finished } => {
                self.progressed = true;
                if file_finished {
                    self.parts.wake.hint();
                }
                return Ok(false);
            }
            ImportGuard::Ask(question) => question,
            ImportGuard::ReadMembers => {
                let members = self.bulk.guard.members.get_or_insert_with(|| Members {
                    import: import.id,
                    lists: list_ids.to_vec(),
                    place: 0,
                    next: None,
                    began_at: now,
                });
                let Some(question) = members.question() else { return Ok(false) };
                question
            }
        };
        self.bulk.guard.waits = true;
        if !self.news.busy {
            self.ask_who_left(question, now).await?;
        }
        Ok(false)
    }
}
