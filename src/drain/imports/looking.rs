//! Looking for the rows of an import that did not land: the search's questions as calls, and what their answers do.
//!
//! Owns when a question that came to nothing is asked again, and when an export is not waited for any longer. Leaves which
//! question comes next to `search`.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use jiff::Timestamp;

use super::super::Drain;
use super::super::calls::is_throttled;
use super::super::gate::plus;
use super::super::lanes::BulkLane;
use super::landing::{again, asked_often, poll_pause};
use super::search::{Question, Search};
use crate::constant_contact::{ACTIVITIES, Account, Activity, Answer, CONTACTS, ContactsPage, EXPORT, Reply};
use crate::outbox::{CallRecord, Import, ImportState, ImportStep, OutboxError};

/// A row that did not arrive for no known reason is sent once more, after the account has had a moment.
const LOST_AGAIN_AFTER: Duration = Duration::from_mins(1);
/// Such rows of several imports go together, at the next full ten minutes: a row is no reason for an import of its own.
const LOST_GO_EVERY: i64 = 10 * 60;
/// The account's clock may stamp rows a little before it answers with the import's own time.
const SEARCH_MARGIN: Duration = Duration::from_mins(1);

/// What the account told a search.
pub(in super::super) enum Told {
    Contacts(Reply<ContactsPage>),
    Export(Reply<Activity>),
    Job(Reply<Option<Activity>>),
    /// The entries of the rows that are in the file, also of one that then broke off.
    File(HashSet<i64>, Reply<()>),
}

impl Told {
    pub(super) fn was_throttled(&self) -> bool {
        match self {
            Self::Contacts(reply) => is_throttled(&reply.answer),
            Self::Export(reply) => is_throttled(&reply.answer),
            Self::Job(reply) => is_throttled(&reply.answer),
            Self::File(_, reply) => is_throttled(&reply.answer),
        }
    }

    /// The call for the history.
    pub(super) fn record(&self) -> CallRecord {
        match self {
            Self::Contacts(reply) => super::landing::record(&reply.answer, &reply.trace),
            Self::Export(reply) => super::landing::record(&reply.answer, &reply.trace),
            Self::Job(reply) => super::landing::record(&reply.answer, &reply.trace),
            Self::File(_, reply) => super::landing::record(&reply.answer, &reply.trace),
        }
    }
}

/// When rows that did not arrive are sent once more.
fn lost_again_at(now: Timestamp) -> Timestamp {
    let earliest = plus(now, LOST_AGAIN_AFTER).as_second();
    let together = earliest.saturating_add(LOST_GO_EVERY - 1).div_euclid(LOST_GO_EVERY) * LOST_GO_EVERY;
    Timestamp::from_second(together).unwrap_or(Timestamp::MAX)
}

/// The endpoint of a question, as the history names it.
pub(super) fn endpoint(question: &Question) -> &'static str {
    match question {
        Question::Contacts(_) => CONTACTS,
        Question::Export(_) | Question::File(..) => EXPORT,
        Question::Job(..) => ACTIVITIES,
    }
}

/// Asks the account.
pub(super) async fn ask(account: &impl Account, question: Question) -> Told {
    match question {
        Question::Contacts(which) => Told::Contacts(account.contacts(&which).await),
        Question::Export(list) => Told::Export(account.export(&list).await),
        Question::Job(job, _) => Told::Job(account.activity(&job).await),
        Question::File(file, rows) => {
            let mut there = HashSet::new();
            let mut tell = |address: &str| there.extend(rows.get(&address.to_lowercase()));
            let reply = account.exported(&file, &mut tell).await;
            Told::File(there, reply)
        }
    }
}

/// A question may come to nothing so often before the list is read without an export.
fn may_be_asked_again<T>(answer: &Answer<T>, import: &Import) -> bool {
    let passes = matches!(answer, Answer::Later(_) | Answer::LoginNeeded { .. } | Answer::Quota);
    passes && !asked_often(import)
}

/// Takes what a search was told; gives the import's next step.
pub(super) fn take(search: &mut Search, told: &Told, import: &Import, now: Timestamp) -> ImportStep {
    let mut due_at = now;
    match told {
        Told::Contacts(Reply { answer: Answer::Done(page), .. }) => search.answer(page),
        Told::Contacts(_) => return again(import, now),
        Told::Export(Reply { answer: Answer::Done(job), .. }) => {
            search.export_is(Some(job));
            due_at = plus(now, poll_pause(0));
        }
        Told::Job(Reply { answer: Answer::Done(job), .. }) => {
            search.export_is(job.as_ref());
            if let Ok(Question::Job(_, polls)) = search.next() {
                due_at = plus(now, poll_pause(polls));
            }
        }
        Told::Export(reply) if may_be_asked_again(&reply.answer, import) => return again(import, now),
        Told::Job(reply) if may_be_asked_again(&reply.answer, import) => return again(import, now),
        Told::Export(_) | Told::Job(_) => search.export_is(None),
        Told::File(there, reply) => match &reply.answer {
            Answer::Done(()) => search.exported(there, true),
            answer if there.is_empty() && may_be_asked_again(answer, import) => return again(import, now),
            _ => search.exported(there, false),
        },
    }
    ImportStep::to(ImportState::Short, due_at)
}

impl<A: Account> Drain<A> {
    /// What an answer to a search means for tokens, limits and outages.
    pub(super) async fn heed_told(&mut self, told: &Told, now: Timestamp) -> Result<(), OutboxError> {
        match told {
            Told::Contacts(reply) => self.heed(&reply.answer, &reply.trace, now).await,
            // Whom exports are forbidden may still do all else.
            Told::Export(Reply { answer: Answer::Forbidden { .. }, .. })
            | Told::File(_, Reply { answer: Answer::Forbidden { .. }, .. }) => Ok(()),
            Told::Export(reply) => self.heed(&reply.answer, &reply.trace, now).await,
            Told::Job(reply) => self.heed(&reply.answer, &reply.trace, now).await,
            Told::File(_, reply) => self.heed(&reply.answer, &reply.trace, now).await,
        }
    }

    /// The search's next question, or its end.
    pub(super) async fn look(
        &mut self,
        import: Import,
        lanes: &[BulkLane],
        now: Timestamp,
    ) -> Result<Option<super::Question>, OutboxError> {
        if self.bulk.search.as_ref().is_none_or(|(id, _)| *id != import.id) {
            let list = lanes.iter().find(|lane| lane.lists == import.lists);
            let list = list.and_then(|lane| super::remaining(&lane.list_ids, &import).into_iter().next());
            let list = list.unwrap_or_default();
            let since = import.taken_at.or(import.posted_at).unwrap_or(now);
            let since = since.checked_sub(SEARCH_MARGIN).unwrap_or(Timestamp::MIN);
            let rows = self.addresses(import.id).await?;
            self.bulk.search = Some((import.id, Search::new(rows, list, since, import.landing)));
        }
        let Some((_, search)) = &mut self.bulk.search else { return Ok(None) };
        let found = match search.next() {
            Ok(question) => return Ok(Some(super::Question::Search(import, question))),
            Err(found) => found,
        };
        self.bulk.search = None;
        tracing::info!(
            import = import.id,
            rows = import.rows,
            missing = found.len(),
            "an import's rows were searched"
        );
        let (id, again_at) = (import.id, lost_again_at(now));
        let finished = self
            .parts
            .outbox
            .ask(move |outbox| {
                let finished = outbox.settle_missing(id, &found, again_at, now)?;
                outbox.step_imports(None, &[(id, ImportStep::to(ImportState::Landed, now))], now)?;
                Ok::<_, OutboxError>(finished)
            })
            .await?;
        self.progressed = true;
        if finished {
            self.parts.wake.hint();
        }
        Ok(None)
    }

    /// An import's rows: entry by folded address.
    async fn addresses(&mut self, id: i64) -> Result<BTreeMap<String, i64>, OutboxError> {
        self.parts
            .outbox
            .ask(move |outbox| {
                let (mut all, mut after) = (BTreeMap::new(), 0);
                loop {
                    let rows = outbox.import_rows(id, after, super::ROWS_AT_ONCE)?;
                    let Some((last, _)) = rows.last() else { return Ok(all) };
                    after = *last;
                    all.extend(rows.into_iter().map(|(entry, contact)| (contact.email().key(), entry)));
                }
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_did_not_arrive_gather_until_the_next_full_ten_minutes() {
        for (now, expected) in [("10:00:00", "10:10:00"), ("10:08:59", "10:10:00"), ("10:09:01", "10:20:00")]
        {
            let at = |time: &str| format!("2026-01-02T{time}Z").parse::<Timestamp>().unwrap();
            assert_eq!(lost_again_at(at(now)), at(expected), "{now}");
        }
    }
}
