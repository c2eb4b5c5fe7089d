//! One call's life inside the drain: leaves, lands, is written down.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use tracing::{Instrument, Span, info_span};

use super::Drain;
use super::gate::plus;
use super::imports::Asked;
use super::pace::Departure;
use super::verdict::{History, LIST_PAUSE, leaving_out, verdict};
use crate::clock::monotonic;
use crate::config::OnBadField;
use crate::constant_contact::{Account, Answer, ContactsPage, Passing, Reply, SignUp, SignedUp, Trace};
use crate::outbox::{CallRecord, HeldBecause, Job, Obstacle, OutboxError, Question, Settlement};

/// An answered call.
pub(super) enum Landed {
    /// About a row.
    Row { job: Box<Job>, departure: Departure, reply: Reply<SignedUp>, span: Span },
    /// About who left.
    News { call: i64, departure: Departure, question: Question, reply: Reply<ContactsPage> },
    /// About imports.
    Bulk { call: i64, departure: Departure, asked: Box<Asked> },
}

/// What is to be written about a job.
pub(super) struct Fate {
    job: Job,
    settlement: Settlement,
    record: CallRecord,
}

pub(super) fn record<T>(answer: &Answer<T>, trace: Trace) -> CallRecord {
    let reached = answer.may_have_reached();
    CallRecord { reached, status: trace.status, error_key: trace.error_key, message: trace.message }
}

/// What ties everything that is logged about a call to its row and that row's file. Addresses are masked.
fn span(job: &Job) -> Span {
    let (file_name, line) = job.place();
    let file = info_span!("file", file_name);
    let row = info_span!(parent: &file, "row", line, entry = job.entry(), email = ?job.contact().email());
    info_span!(parent: &row, "call", id = job.call(), try_number = job.attempts())
}

/// Whether the service said that it was one call too many in a second.
pub(super) fn is_throttled<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Answer::Later(Passing::Throttled | Passing::UnknownLimit))
}

impl<A: Account> Drain<A> {
    /// Sends a job whose call is written down.
    pub(super) async fn send(&mut self, job: Job) -> Result<(), OutboxError> {
        let mut lists = self.lanes.open.get(job.route()).map(|lane| lane.lists.clone()).unwrap_or_default();
        lists.retain(|list| !job.without().contains(list));
        let sign_up = match self.custom_field_ids(&job) {
            Ok(custom_fields) => SignUp { contact: job.contact().clone(), lists, custom_fields },
            Err(settlement) => {
                let record = CallRecord { message: Some("not sent".to_owned()), ..CallRecord::default() };
                return self.write(Fate { job, settlement, record }).await;
            }
        };
        let departure = self.pace.leave(monotonic());
        let (account, span) = (Arc::clone(&self.parts.account), span(&job));
        self.under_way.push(Box::pin(async move {
            let reply = account.sign_up(&sign_up).instrument(span.clone()).await;
            Landed::Row { job: Box::new(job), departure, reply, span }
        }));
        Ok(())
    }

    /// The ids of the custom fields that a contact uses. A name that the account lacks is looked up anew once, and then
    /// is for a person to mend: the row is as good as its file's other rows.
    fn custom_field_ids(&mut self, job: &Job) -> Result<BTreeMap<String, String>, Settlement> {
        let now = self.parts.clock.now();
        let mut ids = BTreeMap::new();
        for name in job.contact().custom_fields().keys() {
            match self.directory.custom_fields.get(name) {
                Some(id) => {
                    ids.insert(name.clone(), id.clone());
                }
                None if self.gate.ask_directory_again(now) => {
                    let reason = format!("looking for the custom field `{name}`");
                    return Err(Settlement::Later { at: now, reason, counts: false });
                }
                None => {
                    let reason = format!("the account has no custom field named `{name}`: make it there");
                    return Err(Settlement::Held { because: HeldBecause::RefusedCall, reason });
                }
            }
        }
        Ok(ids)
    }

    /// An answer came: what it says about the account goes to the gate, what it says about the row to the outbox.
    pub(super) async fn land(&mut self, landed: Landed) -> Result<(), OutboxError> {
        match landed {
            Landed::Row { job, departure, reply, span } => {
                self.pace.answered(departure, monotonic(), is_throttled(&reply.answer));
                self.land_row(*job, reply).instrument(span).await
            }
            Landed::News { call, departure, question, reply } => {
                self.pace.answered(departure, monotonic(), is_throttled(&reply.answer));
                self.land_news(call, question, reply).await
            }
            Landed::Bulk { call, departure, asked } => {
                self.pace.answered(departure, monotonic(), asked.was_throttled());
                self.land_bulk(call, *asked).await
            }
        }
    }

    async fn land_row(&mut self, job: Job, reply: Reply<SignedUp>) -> Result<(), OutboxError> {
        let now = self.parts.clock.now();
        tracing::debug!(
            status = reply.trace.status,
            error_key = reply.trace.error_key,
            "the account answered"
        );
        let history = History {
            attempts: job.attempts(),
            tried_since: job.tried_since(),
            give_up_after: self.parts.give_up_after,
        };
        let mut settlement = verdict(&reply.answer, history, now, rand::random());
        if self.parts.on_bad_field == OnBadField::Drop && !job.lacks_a_field() {
            settlement = leaving_out(settlement, job.contact());
        }
        self.progressed |= !matches!(settlement, Settlement::Later { .. } | Settlement::LeftOut { .. });
        let route = job.route().to_owned();
        // The row first: what is known of the account is found out again, an answer is not.
        let written =
            self.write(Fate { job, settlement, record: record(&reply.answer, reply.trace.clone()) }).await;
        match &reply.answer {
            Answer::List { reason } => self.hold_route(&route, reason, now).await?,
            Answer::Done(_) => self.teller.tell(&format!("route {route}"), None).await?,
            _ => {}
        }
        self.heed(&reply.answer, &reply.trace, now).await?;
        written
    }

    /// A list of the route was refused: the others go on, and the account is asked what lists it has.
    async fn hold_route(&mut self, folder: &str, why: &str, now: Timestamp) -> Result<(), OutboxError> {
        self.gate.want_directory();
        self.held_routes.insert(folder.to_owned(), plus(now, LIST_PAUSE));
        let reason = format!("route `{folder}`: the account refuses a list that it has: {why}");
        self.teller.tell(&format!("route {folder}"), Some(Obstacle::attention(reason))).await
    }

    /// Writes a fate down; if that cannot be now, it is kept and nothing else is taken before it is written.
    pub(super) async fn write(&mut self, fate: Fate) -> Result<(), OutboxError> {
        let now = self.parts.clock.now();
        let Fate { job, settlement, record } = fate;
        let (outcome, settlement, record) = self
            .parts
            .outbox
            .ask(move |outbox| (outbox.settle(job, &settlement, &record, now), settlement, record))
            .await;
        match outcome {
            Ok(file_finished) => {
                if file_finished {
                    self.parts.wake.hint();
                }
                Ok(())
            }
            Err(unsettled) => {
                let error = unsettled.error;
                self.unwritten.push(Fate { job: unsettled.job, settlement, record });
                Err(error)
            }
        }
    }

    /// Writes down what could not be written before.
    pub(super) async fn write_again(&mut self) -> Result<(), OutboxError> {
        while let Some(fate) = self.unwritten.pop() {
            self.write(fate).await?;
        }
        while let Some(written) = self.unwritten_steps.pop() {
            self.write_bulk(written).await?;
        }
        Ok(())
    }
}
