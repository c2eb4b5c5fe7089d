//! Asking the account who left, when a row may not go before that is known.
//!
//! Owns one such call at a time, paced and counted like every other, and what happens while there is no answer: the rows
//! that need it are put off, the others go on. Leaves which rows need it, and what they need, to the outbox.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::calls::{Landed, record};
use super::gate::{midnight_after, plus};
use super::{Drain, Step};
use crate::clock::monotonic;
use crate::constant_contact::{Account, Answer, CONTACTS, ContactsPage, Reply, Shown, Which};
use crate::outbox::{LeftBy, OutboxError, Question, Reading, ReadingAnswer, Standing};

/// Questions that came to nothing are asked again after a little longer each time.
const ASK_AGAIN: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_mins(2), Duration::from_mins(10)];

/// What is known about asking: nothing that a restart would miss.
#[derive(Default)]
pub(super) struct News {
    /// A question is under way.
    pub(super) busy: bool,
    /// The last one came to nothing: until when it is not asked again.
    again_at: Option<Timestamp>,
    /// Questions in a row that came to nothing.
    failures: usize,
}

impl News {
    /// Until when nothing is asked.
    pub(super) fn silent_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.again_at.filter(|at| *at > now)
    }

    fn failed(&mut self, now: Timestamp) {
        self.again_at = Some(plus(now, ASK_AGAIN[self.failures.min(ASK_AGAIN.len() - 1)]));
        self.failures += 1;
    }
}

impl<A: Account> Drain<A> {
    /// A row that goes by itself needs an answer first.
    pub(super) async fn ask_for_rows(
        &mut self,
        question: Question,
        now: Timestamp,
    ) -> Result<Step, OutboxError> {
        if self.news.busy {
            return Ok(Step::Idle { until: None });
        }
        if let Some(until) = self.news.silent_until(now) {
            let routes = self.lanes.routes();
            self.parts.outbox.ask(move |outbox| outbox.put_off_guarded(&routes, until, now)).await?;
            return Ok(Step::Worked);
        }
        self.ask_who_left(question, now).await?;
        Ok(Step::Worked)
    }

    /// Asks, if the day still has a call for it; if not, then tomorrow.
    pub(super) async fn ask_who_left(
        &mut self,
        question: Question,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        // Once the backlog has had its share, only rows that just came in still ask.
        let waits = self.turns.backlog_waits_until(now).is_some();
        let limits = self.parts.limits;
        let allowance = if waits { limits.per_day } else { limits.backlog_per_day() };
        let call =
            self.parts.outbox.ask(move |outbox| outbox.begin_account_call(CONTACTS, allowance, now)).await?;
        let Some(call) = call else {
            if !waits {
                return self.backlog_is_spent(now).await.map(|_| ());
            }
            self.news.again_at = Some(midnight_after(now));
            self.day_is_spent(now).await?;
            return Ok(());
        };
        self.news.busy = true;
        let departure = self.pace.leave(monotonic());
        let account = Arc::clone(&self.parts.account);
        self.under_way.push(Box::pin(async move {
            let reply = account.contacts(&which(&question)).await;
            Landed::News { call, departure, question, reply }
        }));
        Ok(())
    }

    /// Takes an answer about who left.
    pub(super) async fn land_news(
        &mut self,
        call: i64,
        question: Question,
        reply: Reply<ContactsPage>,
    ) -> Result<(), OutboxError> {
        let now = self.parts.clock.now();
        self.news.busy = false;
        if matches!(reply.answer, Answer::Done(_)) {
            (self.news.again_at, self.news.failures) = (None, 0);
        } else {
            self.news.failed(now);
        }
        let record = record(&reply.answer, reply.trace.clone());
        let written = match question {
            Question::LookUp { address } => {
                let standing = match &reply.answer {
                    Answer::Done(page) => Some(standing(page, &address, now)),
                    _ => None,
                };
                self.parts
                    .outbox
                    .ask(move |outbox| outbox.record_look_up(call, &record, &address, standing.as_ref(), now))
                    .await
            }
            Question::Members { list, next: _, began_at } => {
                match &reply.answer {
                    Answer::Done(page) => self.bulk.guard.read(&list, page.next.clone()),
                    Answer::Never { .. } | Answer::Hold { .. } | Answer::List { .. } => {
                        self.bulk.guard.refused();
                    }
                    _ => {}
                }
                let members = members(&reply.answer, now);
                self.parts
                    .outbox
                    .ask(move |outbox| outbox.record_members(call, &record, (&list, began_at), &members, now))
                    .await
            }
            Question::Read(reading) => {
                let answer = brought(&reading, &reply.answer, now);
                self.parts
                    .outbox
                    .ask(move |outbox| outbox.record_reading(call, &record, &reading, &answer, now))
                    .await
            }
        };
        self.heed(&reply.answer, &reply.trace, now).await?;
        written
    }
}

fn which(question: &Question) -> Which {
    match question {
        Question::LookUp { address } => Which::Address(address.clone()),
        Question::Read(Reading { next: Some(next), .. }) | Question::Members { next: Some(next), .. } => {
            Which::Next(next.clone())
        }
        Question::Members { list, .. } => Which::Members(list.clone()),
        Question::Read(Reading { left_by: LeftBy::Unsubscribing, since, .. }) => {
            Which::UnsubscribedSince(*since)
        }
        Question::Read(Reading { left_by: LeftBy::Deletion, since, .. }) => Which::DeletedSince(*since),
    }
}

/// When a contact unsubscribed and when it was deleted. Where the account does not say when, its last change was not
/// before; where it does not say that either, it was just now.
fn left(shown: &Shown, now: Timestamp) -> (Option<Timestamp>, Option<Timestamp>) {
    let when = |at: Option<Timestamp>| at.or(shown.updated_at).unwrap_or(now);
    (shown.unsubscribed.then(|| when(shown.unsubscribed_at)), shown.deleted.then(|| when(shown.deleted_at)))
}

fn standing(page: &ContactsPage, address: &str, now: Timestamp) -> Standing {
    let Some(shown) = page.items.iter().find(|shown| shown.address.to_lowercase() == address) else {
        return Standing::default();
    };
    let (unsubscribed_at, deleted_at) = left(shown, now);
    let updated_at = Some(shown.updated_at.unwrap_or(now));
    Standing { unsubscribed_at, deleted_at, updated_at, lists: shown.lists.clone() }
}

fn members(answer: &Answer<ContactsPage>, now: Timestamp) -> Vec<(String, Timestamp)> {
    let Answer::Done(page) = answer else { return Vec::new() };
    let there = page.items.iter().filter(|shown| !shown.unsubscribed && !shown.deleted);
    there.map(|shown| (shown.address.to_lowercase(), shown.updated_at.unwrap_or(now))).collect()
}

fn brought(reading: &Reading, answer: &Answer<ContactsPage>, now: Timestamp) -> ReadingAnswer {
    match answer {
        Answer::Done(page) => {
            let person = |shown: &Shown| {
                let (unsubscribed_at, deleted_at) = left(shown, now);
                let left_at = match reading.left_by {
                    LeftBy::Unsubscribing => unsubscribed_at,
                    LeftBy::Deletion => deleted_at,
                };
                Some((shown.address.to_lowercase(), left_at?))
            };
            let date = |shown: &Shown| match reading.left_by {
                LeftBy::Unsubscribing => shown.unsubscribed_at,
                LeftBy::Deletion => shown.updated_at,
            };
            ReadingAnswer::Page {
                people: page.items.iter().filter_map(person).collect(),
                latest: page.items.iter().filter_map(date).max(),
                next: page.next.clone(),
            }
        }
        Answer::Never { .. } | Answer::Hold { .. } | Answer::List { .. } => ReadingAnswer::Refused,
        _ => ReadingAnswer::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn where_the_account_does_not_say_when_somebody_left_it_was_not_long_ago() {
        let shown = Shown { unsubscribed: true, updated_at: Some(at(7)), ..Shown::default() };
        assert_eq!(left(&shown, at(9)), (Some(at(7)), None));
        let shown = Shown { deleted: true, ..Shown::default() };
        assert_eq!(left(&shown, at(9)), (None, Some(at(9))));
        let shown = Shown { updated_at: Some(at(7)), ..Shown::default() };
        assert_eq!(left(&shown, at(9)), (None, None));
    }

    #[test]
    fn questions_that_come_to_nothing_are_asked_less_and_less_often() {
        let mut news = News::default();
        let pauses: Vec<_> = (0..5)
            .map(|_| {
                news.failed(at(0));
                news.silent_until(at(0)).unwrap().as_second()
            })
            .collect();
        assert_eq!(pauses, [5, 30, 120, 600, 600]);
    }
}
