//! Reading the account's lists and custom fields when a route or a row needs a name that is not known.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::calls::{is_throttled, record};
use super::lanes::{Lanes, missing_lists};
use super::{Drain, Step};
use crate::clock::monotonic;
use crate::constant_contact::{Account, Answer, CUSTOM_FIELDS, LISTS, Page, Reply};
use crate::outbox::{Directory, Obstacle, OutboxError};

/// Which part of the directory a call reads.
#[derive(Clone, Copy)]
enum Part {
    Lists,
    CustomFields,
}

impl<A: Account> Drain<A> {
    /// Whether lists should be read now: rows wait on a route whose lists are unknown, or a row asked for it.
    pub(super) fn directory_is_wanted(&self, waiting: &[(String, u64)], now: Timestamp) -> bool {
        self.gate.directory_is_wanted(now)
            || self.next_directory_look(waiting).is_some_and(|look| look <= now)
    }

    /// When lists may be read again, if rows wait for that.
    pub(super) fn next_directory_look(&self, waiting: &[(String, u64)]) -> Option<Timestamp> {
        let worth_it = !self.once || !self.directory_is_fresh;
        (worth_it && self.blocked_and_waiting(waiting)).then(|| self.gate.directory_again_at())
    }

    fn blocked_and_waiting(&self, waiting: &[(String, u64)]) -> bool {
        waiting.iter().any(|(folder, _)| self.lanes.blocked.contains_key(folder))
    }

    /// Reads lists and custom fields, page by page, and opens or blocks the routes accordingly.
    pub(super) async fn read_directory(&mut self) -> Result<Step, OutboxError> {
        let now = self.parts.clock.now();
        self.gate.directory_asked(now);
        let mut directory = Directory::default();
        for part in [Part::Lists, Part::CustomFields] {
            let Some(items) = self.read_all(part).await? else { return Ok(Step::Worked) };
            match part {
                Part::Lists => directory.lists.extend(items),
                Part::CustomFields => {
                    directory.custom_fields.extend(items.into_iter().map(|(id, name)| (name, id)));
                }
            }
        }
        directory.read_at = Some(now);
        let could_not_be_made = self.make_lists(&mut directory).await?;
        let stored = directory.clone();
        self.parts.outbox.ask(move |outbox| outbox.set_directory(&stored, now)).await?;
        self.directory_is_fresh = true;
        let before =
            std::mem::replace(&mut self.lanes, Lanes::resolve(&self.parts.routes, &directory)).blocked;
        self.lanes.blocked.extend(could_not_be_made);
        self.gate.directory_read(!before.is_empty() && before == self.lanes.blocked, now);
        self.directory = directory;
        self.tell_routes().await?;
        Ok(Step::Worked)
    }

    /// All pages of one part; `None` when the account could not be asked, which the gate then knows.
    async fn read_all(&mut self, part: Part) -> Result<Option<Vec<(String, String)>>, OutboxError> {
        let (mut items, mut next) = (Vec::new(), None);
        loop {
            match self.read_page(part, next.as_deref()).await? {
                Some(page) => {
                    items.extend(page.items);
                    if page.next.is_none() {
                        return Ok(Some(items));
                    }
                    next = page.next;
                }
                None => return Ok(None),
            }
        }
    }

    /// Makes the lists that routes name and the account lacks, where that is wanted. The account was just asked for its
    /// lists, so that none is made twice, also when an answer was lost or the process ended before it came. Says which
    /// routes have a list that could not be made, and why.
    async fn make_lists(&mut self, directory: &mut Directory) -> Result<Vec<(String, String)>, OutboxError> {
        let mut failed = Vec::new();
        if !self.parts.create_lists {
            return Ok(failed);
        }
        for (folder, name) in missing_lists(&self.parts.routes, directory) {
            let account = Arc::clone(&self.parts.account);
            let wanted = name.clone();
            let call = async move {
                let reply = account.create_list(&wanted).await;
                // Who may not make lists may add contacts all the same.
                let answer = match reply.answer {
                    Answer::Forbidden { reason } => Answer::Hold { reason },
                    answer => answer,
                };
                Reply { answer, ..reply }
            };
            let Some(answer) = self.ask(LISTS, call).await? else {
                return Ok(failed);
            };
            match answer {
                Answer::Done(id) => {
                    tracing::info!(list = name, "made a list in the account");
                    directory.lists.insert(id, name);
                }
                Answer::Never { reason, .. } | Answer::List { reason } | Answer::Hold { reason } => {
                    failed.push((
                        folder,
                        format!("the account has no list `{name}`, and it could not be made: {reason}"),
                    ));
                }
                // Somebody made it just now, or the answer is in doubt: the next reading tells.
                _ => {}
            }
        }
        Ok(failed)
    }

    async fn read_page(&mut self, part: Part, next: Option<&str>) -> Result<Option<Page>, OutboxError> {
        let account = Arc::clone(&self.parts.account);
        let next = next.map(str::to_owned);
        let answer = match part {
            Part::Lists => self.ask(LISTS, async move { account.lists(next.as_deref()).await }).await?,
            Part::CustomFields => {
                self.ask(CUSTOM_FIELDS, async move { account.custom_fields(next.as_deref()).await }).await?
            }
        };
        Ok(match answer {
            Some(Answer::Done(page)) => Some(page),
            _ => None,
        })
    }

    /// Makes a call that concerns the account as a whole, when one may leave; `None` when the day has no more.
    async fn ask<T: Sync>(
        &mut self,
        endpoint: &'static str,
        call: impl Future<Output = Reply<T>>,
    ) -> Result<Option<Answer<T>>, OutboxError> {
        // Page after page is waited for here: each is a sign of life.
        self.parts.wake.beat();
        while let Err(free) = self.pace.may_leave(monotonic()) {
            match free {
                Some(at) => sleep_until(TokioInstant::from_std(at)).await,
                // Every place in the window is taken by a call under way: its answer frees one.
                None => self.land_next().await?,
            }
        }
        let (now, per_day) = (self.parts.clock.now(), self.parts.limits.per_day);
        let written =
            self.parts.outbox.ask(move |outbox| outbox.begin_account_call(endpoint, per_day, now)).await?;
        let Some(written) = written else {
            self.day_is_spent(now).await?;
            return Ok(None);
        };
        let departure = self.pace.leave(monotonic());
        let Reply { answer, trace } = call.await;
        self.pace.answered(departure, monotonic(), is_throttled(&answer));
        let now = self.parts.clock.now();
        self.heed(&answer, &trace, now).await?;
        let record = record(&answer, trace);
        self.parts.outbox.ask(move |outbox| outbox.end_account_call(written, &record, now)).await?;
        Ok(Some(answer))
    }

    async fn land_next(&mut self) -> Result<(), OutboxError> {
        match futures_util::StreamExt::next(&mut self.under_way).await {
            Some(landed) => self.land(landed).await,
            None => Ok(()),
        }
    }

    /// Tells `status` about routes that cannot be sent, and about rows of routes that are configured no more.
    pub(super) async fn tell_routes(&mut self) -> Result<(), OutboxError> {
        if self.directory.read_at.is_none() {
            return Ok(());
        }
        let folders: Vec<String> = self.parts.routes.iter().map(|route| route.folder.clone()).collect();
        for folder in folders {
            let blocked = self.lanes.blocked.get(&folder).cloned();
            if blocked.is_none() && self.held_routes.contains_key(&folder) {
                continue;
            }
            let obstacle = blocked.map(|reason| Obstacle::attention(format!("route `{folder}`: {reason}")));
            self.teller.tell(&format!("route {folder}"), obstacle).await?;
        }
        Ok(())
    }

    /// Tells `status` about rows whose route is configured no more: they wait until it is again, or are dropped.
    pub(super) async fn tell_orphans(&mut self) -> Result<(), OutboxError> {
        let waiting = self.parts.outbox.ask(super::super::outbox::Outbox::waiting_routes).await?;
        for (folder, rows) in waiting {
            if !self.parts.routes.iter().any(|route| route.folder == folder) {
                let reason = format!(
                    "{rows} rows wait on route `{folder}`, which the configuration no longer has: add it again"
                );
                self.teller.tell(&format!("route {folder}"), Some(Obstacle::attention(reason))).await?;
            }
        }
        Ok(())
    }
}
