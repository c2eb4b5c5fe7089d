//! The lane of implicit consent: rows wait for company, leave as one import, and are accounted for one by one.
//!
//! Owns when an import is begun, posted, polled and searched. Promises one call about imports at a time, so that
//! sign-ups have the others, and that everything which must survive stands in the outbox before the next thing is done.
//! Leaves the meaning of answers to `landing` and the search for rows that did not land to `search`.

mod guard;
mod landing;
mod looking;
mod search;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::calls::{Landed, is_throttled};
use super::gate::plus;
use super::lanes::BulkLane;
use super::{Drain, Step};
use crate::clock::monotonic;
use crate::constant_contact::{ACTIVITIES, Account, Activities, Activity, IMPORT, ImportBody, Reply};
use crate::contact::Contact;
use crate::outbox::{Fit, Import, ImportState, ImportStep, Outbox, OutboxError};
use looking::Told;
use search::Search;

/// More waiting rows than an import can hold do not have to wait for company.
const ENOUGH_COMPANY: u64 = 36_000;
/// How many rows are read at once when an import's body is put together.
const ROWS_AT_ONCE: u32 = 2_000;
/// Pauses of rows whose import failed, by how often they were tried. The first four lie so that no address is sent more
/// than four times in 24 hours.
const AGAIN_AFTER: [Duration; 4] =
    [Duration::from_mins(5), Duration::from_hours(1), Duration::from_hours(8), Duration::from_hours(24)];

pub(super) use landing::Written;

/// What the lane keeps in memory: nothing that a restart would miss.
#[derive(Default)]
pub(super) struct Bulk {
    /// A call about imports is under way.
    busy: bool,
    /// The size of the import that is being filled.
    filling: Option<(i64, ImportBody)>,
    /// The search for rows of an import that did not land.
    search: Option<(i64, Search)>,
    /// Running jobs that were not on the shared page: they are asked for by themselves.
    unlisted: Vec<i64>,
    /// Where the account's jobs go on, while one of them is looked for.
    doubt_page: Option<String>,
    /// Imports that the account refused, with none taken between them.
    refusals: u32,
    /// What is found out before an import leaves.
    pub(super) guard: guard::Guarding,
    /// Imports are under way, which `run --once` waits for.
    pub(super) under_way: bool,
}

/// A call about imports, for the one who reads its answer.
pub(super) enum Asked {
    Post(Import, Reply<Activity>),
    Poll(Import, Reply<Option<Activity>>),
    PollAll(Vec<Import>, Reply<Activities>),
    Doubt(Import, Vec<String>, Reply<Activities>),
    Search(Import, Told),
}

impl Asked {
    /// Whether the service said that it was one call too many in a second.
    pub(super) fn was_throttled(&self) -> bool {
        match self {
            Self::Post(_, reply) => is_throttled(&reply.answer),
            Self::Poll(_, reply) => is_throttled(&reply.answer),
            Self::PollAll(_, reply) | Self::Doubt(_, _, reply) => is_throttled(&reply.answer),
            Self::Search(_, told) => told.was_throttled(),
        }
    }
}

/// What is to be asked.
enum Question {
    Post(Import, Vec<u8>),
    Poll(Import, String),
    PollAll(Vec<Import>),
    Doubt(Import, Vec<String>, Option<String>),
    Search(Import, search::Question),
}

/// The lists that an import goes to.
fn remaining(list_ids: &[String], import: &Import) -> Vec<String> {
    list_ids.iter().filter(|list| !import.without.contains(list)).cloned().collect()
}

impl<A: Account> Drain<A> {
    /// Looks at the imports and does one thing.
    pub(super) async fn imports(&mut self, now: Timestamp) -> Result<Step, OutboxError> {
        // An import that may not leave before an answer comes, waits for it.
        if self.bulk.busy || (self.bulk.guard.waits && self.news.busy) {
            return Ok(Step::Idle { until: None });
        }
        self.bulk.guard.waits = false;
        let lanes = self.lanes.bulk();
        let folders: Vec<Vec<String>> = lanes.iter().map(|lane| lane.folders.clone()).collect();
        let (imports, backlogs) = self
            .parts
            .outbox
            .ask(move |outbox| {
                let backlogs: Result<Vec<_>, _> =
                    folders.iter().map(|folders| outbox.backlog(folders)).collect();
                Ok::<_, OutboxError>((outbox.imports()?, backlogs?))
            })
            .await?;
        self.bulk.under_way = !imports.is_empty();
        if let Some(step) = self.portion(&imports, &lanes, now).await? {
            return Ok(step);
        }
        let next = self.next_import(&imports).cloned();
        let mut until = next.as_ref().map(|import| import.due_at);
        if let Some(due) = next.filter(|import| import.due_at <= now) {
            return self.ask_about(due, imports, &lanes, now).await;
        }
        // One import that waits to be posted is enough: rows that are not in it can still change their minds.
        if !imports.iter().any(|import| import.state == ImportState::Ready) {
            for (lane, backlog) in lanes.into_iter().zip(backlogs) {
                let Some((oldest, rows)) = backlog else { continue };
                let leaves = if self.once { oldest } else { plus(oldest, self.parts.linger) };
                if oldest <= now && (leaves <= now || rows >= ENOUGH_COMPANY) {
                    self.parts.outbox.ask(move |outbox| outbox.open_import(&lane.lists, now)).await?;
                    return Ok(Step::Worked);
                }
                until = until.into_iter().chain([leaves]).min();
            }
        }
        Ok(Step::Idle { until })
    }

    /// The import that is due next. While the rows of one are searched, others wait for their search: each would begin
    /// from its first question again. While it is in doubt whether one arrived, none is posted: the account's jobs have
    /// no name of ours, and another's would be taken for it.
    fn next_import<'a>(&mut self, imports: &'a [Import]) -> Option<&'a Import> {
        let short = |import: &&Import| import.state == ImportState::Short;
        self.bulk.search.take_if(|(id, _)| !imports.iter().filter(short).any(|import| import.id == *id));
        let searched = self.bulk.search.as_ref().map(|(id, _)| *id);
        let doubt = imports.iter().any(|import| import.state == ImportState::Doubt);
        imports.iter().find(|import| match import.state {
            ImportState::Short => searched.is_none_or(|id| id == import.id),
            ImportState::Ready => !doubt,
            _ => true,
        })
    }

    /// Does a portion of the work that needs no call.
    async fn portion(
        &mut self,
        imports: &[Import],
        lanes: &[BulkLane],
        now: Timestamp,
    ) -> Result<Option<Step>, OutboxError> {
        let tried_before = now.checked_sub(self.parts.give_up_after).unwrap_or(Timestamp::MIN);
        for import in imports {
            let (id, lists) = (import.id, import.lists.clone());
            let portion = match import.state {
                ImportState::Open => self.fill(import, lanes, now).await?,
                ImportState::Landed => {
                    self.progressed = true;
                    self.parts.outbox.ask(move |outbox| outbox.settle_import(id, &lists, now)).await?
                }
                ImportState::Failed => {
                    self.parts
                        .outbox
                        .ask(move |outbox| outbox.give_back_import(id, &AGAIN_AFTER, tried_before, now))
                        .await?
                }
                ImportState::Refused => {
                    self.parts.outbox.ask(move |outbox| outbox.hold_import(id, now)).await?
                }
                _ => continue,
            };
            if portion.file_finished {
                self.parts.wake.hint();
            }
            return Ok(Some(Step::Worked));
        }
        Ok(None)
    }

    async fn fill(
        &mut self,
        import: &Import,
        lanes: &[BulkLane],
        now: Timestamp,
    ) -> Result<crate::outbox::Portion, OutboxError> {
        let lane = lanes.iter().find(|lane| lane.lists == import.lists).cloned();
        // A lane that is gone since adds nothing more: what is in the import is all there is.
        let (folders, list_ids) = lane.map(|lane| (lane.folders, lane.list_ids)).unwrap_or_default();
        let body = self.bulk.filling.take().filter(|(id, _)| *id == import.id);
        let mut body = body.map_or_else(|| ImportBody::new(&list_ids), |(_, body)| body);
        let known = self.directory.custom_fields.clone();
        let may_look = self.gate.may_ask_directory_again(now);
        let (id, lists) = (import.id, import.lists.clone());
        let (portion, body, looks) = self
            .parts
            .outbox
            .ask(move |outbox| {
                let mut looks = false;
                let fits = |contact: &Contact| {
                    let unknown = contact.custom_fields().keys().find(|name| !known.contains_key(*name));
                    match unknown {
                        Some(name) if may_look => {
                            looks = true;
                            let reason = format!("looking for the custom field `{name}`");
                            Fit::Waits { until: plus(now, Duration::from_secs(1)), reason }
                        }
                        Some(name) => Fit::Held(format!(
                            "the account has no custom field named `{name}`: make it there"
                        )),
                        None if body.push(contact) => Fit::Goes,
                        None => Fit::Full,
                    }
                };
                let portion = outbox.fill_import(id, &folders, &lists, now, fits);
                portion.map(|portion| (portion, body, looks))
            })
            .await?;
        if looks {
            self.gate.ask_directory_again(now);
        }
        self.bulk.filling = portion.more.then_some((import.id, body));
        Ok(portion)
    }

    /// Makes the call that an import waits for, if one may leave now.
    async fn ask_about(
        &mut self,
        import: Import,
        imports: Vec<Import>,
        lanes: &[BulkLane],
        now: Timestamp,
    ) -> Result<Step, OutboxError> {
        if let Some(until) = self.turns.backlog_waits_until(now) {
            return Ok(Step::Idle { until: Some(until) });
        }
        if let Some(idle) = self.must_wait(now).await? {
            return Ok(idle);
        }
        let Some(question) = self.question(import, imports, lanes, now).await? else {
            return Ok(Step::Worked);
        };
        let allowance = self.parts.limits.backlog_per_day();
        let call = match &question {
            Question::Post(import, _) => {
                let id = import.id;
                self.parts.outbox.ask(move |outbox| outbox.post_import(id, IMPORT, allowance, now)).await?
            }
            question => {
                let endpoint = match question {
                    Question::Search(_, question) => looking::endpoint(question),
                    _ => ACTIVITIES,
                };
                self.parts
                    .outbox
                    .ask(move |outbox| outbox.begin_account_call(endpoint, allowance, now))
                    .await?
            }
        };
        let Some(call) = call else {
            let until = Some(self.backlog_is_spent(now).await?);
            return Ok(Step::Idle { until });
        };
        self.bulk.busy = true;
        let departure = self.pace.leave(monotonic());
        let account = Arc::clone(&self.parts.account);
        self.under_way.push(Box::pin(async move {
            let asked = match question {
                Question::Post(import, body) => Asked::Post(import, account.import(body).await),
                Question::Poll(import, id) => Asked::Poll(import, account.activity(&id).await),
                Question::PollAll(imports) => Asked::PollAll(imports, account.activities(None).await),
                Question::Doubt(import, claimed, page) => {
                    Asked::Doubt(import, claimed, account.activities(page.as_deref()).await)
                }
                Question::Search(import, question) => {
                    Asked::Search(import, looking::ask(&*account, question).await)
                }
            };
            Landed::Bulk { call, departure, asked: Box::new(asked) }
        }));
        Ok(Step::Worked)
    }

    /// What is to be asked about an import; `None` when that was settled without a call.
    async fn question(
        &mut self,
        import: Import,
        imports: Vec<Import>,
        lanes: &[BulkLane],
        now: Timestamp,
    ) -> Result<Option<Question>, OutboxError> {
        Ok(match import.state {
            ImportState::Ready => self.post(import, lanes, now).await?,
            ImportState::Doubt => {
                let mut claimed = self.parts.outbox.ask(Outbox::claimed_activities).await?;
                claimed.extend(
                    self.bulk.search.as_ref().and_then(|(_, search)| search.job().map(str::to_owned)),
                );
                Some(Question::Doubt(import, claimed, self.bulk.doubt_page.take()))
            }
            ImportState::Short => self.look(import, lanes, now).await?,
            _ => {
                let running: Vec<Import> = imports
                    .into_iter()
                    .filter(|other| {
                        other.state == ImportState::Running && !self.bulk.unlisted.contains(&other.id)
                    })
                    .collect();
                match import.activity_id.clone() {
                    Some(id) if running.len() < 2 || self.bulk.unlisted.contains(&import.id) => {
                        Some(Question::Poll(import, id))
                    }
                    _ => Some(Question::PollAll(running)),
                }
            }
        })
    }

    /// Puts an import's body together from the outbox, as it was counted when it was filled.
    async fn post(
        &mut self,
        import: Import,
        lanes: &[BulkLane],
        now: Timestamp,
    ) -> Result<Option<Question>, OutboxError> {
        let Some(lane) = lanes.iter().find(|lane| lane.lists == import.lists) else {
            // Its route is gone or its lists are unknown: the rows wait with the others of the route.
            let mut step = ImportStep::to(ImportState::Failed, now);
            step.reason = Some("the route's lists are not known any more".to_owned());
            self.step_import(import.id, step, now).await?;
            return Ok(None);
        };
        let list_ids = remaining(&lane.list_ids, &import);
        if !self.may_leave(&import, &list_ids, now).await? {
            return Ok(None);
        }
        let (mut body, id) = (ImportBody::new(&list_ids), import.id);
        let body = self
            .parts
            .outbox
            .ask(move |outbox| {
                let mut after = 0;
                loop {
                    let rows = outbox.import_rows(id, after, ROWS_AT_ONCE)?;
                    let Some((last, _)) = rows.last() else { return Ok::<_, OutboxError>(Some(body)) };
                    after = *last;
                    if !rows.iter().all(|(_, contact)| body.push(contact)) {
                        return Ok(None);
                    }
                }
            })
            .await?;
        if let Some(body) = body {
            return Ok(Some(Question::Post(import, body.finish())));
        }
        // Longer ids of lists than when it was filled: two halves fit.
        self.parts.outbox.ask(move |outbox| outbox.split_import(id, now)).await?;
        Ok(None)
    }

    async fn step_import(&mut self, id: i64, step: ImportStep, now: Timestamp) -> Result<(), OutboxError> {
        self.parts.outbox.ask(move |outbox| outbox.step_imports(None, &[(id, step)], now)).await
    }
}
