//! What an answer about imports means for them.
//!
//! The decisions are pure functions from an answer to the next step of an import; a test goes through each line. What
//! they come to is written down with the call in one transaction, and again if that failed.

use std::time::Duration;

use jiff::Timestamp;

use super::super::Drain;
use super::super::gate::plus;
use super::{Asked, looking};
use crate::constant_contact::{Account, Activity, Answer, Passing, Progress, Tally, Trace};
use crate::outbox::{CallRecord, Import, ImportState, ImportStep, Landing, Missing, OutboxError};

/// Pauses between polls of a job: short ones for small jobs, then a minute, because each poll is one of the day's calls.
const POLLS: [Duration; 6] = [
    Duration::from_secs(5),
    Duration::from_secs(8),
    Duration::from_secs(12),
    Duration::from_secs(20),
    Duration::from_secs(35),
    Duration::from_mins(1),
];
/// What the gate closes for, it opens again; the import is ready then.
const AT_THE_GATE: Duration = Duration::from_secs(1);
/// Unfinished jobs end in minutes.
const QUEUE_PAUSE: Duration = Duration::from_mins(1);
/// A lost call may still be on its way when the account is asked about it.
const DOUBT_PAUSE: Duration = Duration::from_secs(5);
/// Questions that came to nothing are asked again after a little longer each time.
const ASK_AGAIN: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_mins(2), Duration::from_mins(10)];
/// How far the account's clock may be from ours when a lost import is looked for.
const CLOCKS_DIFFER: Duration = Duration::from_mins(5);
/// Halving an import of 36,000 rows finds one bad row in 16 refusals; more in a row are not about a row.
const REFUSALS_ABOUT_ROWS: u32 = 20;

/// Steps that are to be written with a call's answer.
pub(in super::super) struct Written {
    pub(in super::super) call: Option<(i64, CallRecord)>,
    pub(in super::super) steps: Vec<(i64, ImportStep)>,
}

/// What becomes of an import that was posted.
#[derive(Debug, PartialEq, Eq)]
enum Posting {
    Step(Fate),
    /// The account refuses something in it: its halves are tried.
    Split,
}

/// A step without what tests do not look at.
type Fate = (ImportState, Duration, Option<String>);

/// What the answer to a posted import means.
fn posted(answer: &Answer<Activity>, rows: u64, refusals: u32) -> Posting {
    let step = |state, pause, reason| Posting::Step((state, pause, reason));
    match answer {
        Answer::Done(_) => step(ImportState::Running, POLLS[0], None),
        Answer::LoginNeeded { .. }
        | Answer::Forbidden { .. }
        | Answer::Quota
        | Answer::Later(Passing::NotSent | Passing::Throttled | Passing::UnknownLimit) => {
            step(ImportState::Ready, AT_THE_GATE, None)
        }
        Answer::Later(Passing::QueueFull) => step(
            ImportState::Ready,
            QUEUE_PAUSE,
            Some("the account has too many unfinished bulk activities".to_owned()),
        ),
        Answer::Later(Passing::Lost | Passing::Rubbish | Passing::Server | Passing::Conflict) => {
            step(ImportState::Doubt, DOUBT_PAUSE, Some("in doubt: no answer came".to_owned()))
        }
        Answer::List { reason } => {
            step(ImportState::Failed, Duration::ZERO, Some(format!("the account refuses a list: {reason}")))
        }
        Answer::Never { .. } if rows > 1 && refusals < REFUSALS_ABOUT_ROWS => Posting::Split,
        Answer::Never { reason, .. } | Answer::Hold { reason } => step(
            ImportState::Refused,
            Duration::ZERO,
            Some(format!("the account refuses the import: {reason}")),
        ),
    }
}

/// The pause before a poll of a job that was polled so often.
pub(super) fn poll_pause(polls: u32) -> Duration {
    let place = usize::try_from(polls).unwrap_or(usize::MAX).min(POLLS.len() - 1);
    POLLS[place]
}

/// Whether a question came to nothing so often that asking otherwise is better.
pub(super) fn asked_often(import: &Import) -> bool {
    usize::try_from(import.tries).is_ok_and(|tries| tries >= ASK_AGAIN.len())
}

/// What a job's progress means for its import.
fn polled(activity: Option<&Activity>, import: &Import, now: Timestamp) -> ImportStep {
    let Some(activity) = activity else {
        let mut step = ImportStep::to(ImportState::Failed, now);
        step.reason = Some("the account has forgotten the import: it is sent again".to_owned());
        return step;
    };
    match activity.progress {
        Progress::UnderWay => {
            let pause = poll_pause(import.tries.saturating_add(1));
            let mut step = ImportStep::to(ImportState::Running, plus(now, pause));
            step.tries = import.tries.saturating_add(1);
            step
        }
        Progress::Failed => {
            let mut step = ImportStep::to(ImportState::Failed, now);
            step.reason = Some(format!("the import ended {}: it is sent again", activity.state));
            step
        }
        Progress::Completed => {
            let Tally { persons, refused, unsubscribed, .. } = activity.tally;
            let whole = persons >= import.rows && refused == 0 && unsubscribed == 0;
            let state = if whole { ImportState::Landed } else { ImportState::Short };
            let mut step = ImportStep::to(state, now);
            step.landing = Some(Landing { persons, refused, unsubscribed });
            step
        }
    }
}

/// Whether a job can be the one that an import's lost call made.
fn may_be(activity: &Activity, import: &Import, claimed: &[String]) -> bool {
    let since = import.posted_at.map(|at| at.checked_sub(CLOCKS_DIFFER).unwrap_or(at));
    let in_time = activity.created_at.zip(since).is_some_and(|(created, since)| created >= since);
    // A job that has just begun has not counted yet; with a header the account counts one more.
    let items = activity.tally.items;
    let fits = items == 0 || items == import.rows || items == import.rows + 1;
    in_time && fits && !activity.is_export && !claimed.contains(&activity.activity_id)
}

/// A question that came to nothing is asked again later, without a change.
pub(super) fn again(import: &Import, now: Timestamp) -> ImportStep {
    let place = usize::try_from(import.tries).unwrap_or(usize::MAX).min(ASK_AGAIN.len() - 1);
    let mut step = ImportStep::to(import.state, plus(now, ASK_AGAIN[place]));
    step.tries = import.tries.saturating_add(1);
    step
}

impl<A: Account> Drain<A> {
    /// Takes the answer to a question about imports.
    pub(in super::super) async fn land_bulk(&mut self, call: i64, asked: Asked) -> Result<(), OutboxError> {
        self.bulk.busy = false;
        let now = self.parts.clock.now();
        let (steps, record) = match &asked {
            Asked::Post(import, reply) => {
                (self.posted(import, &reply.answer, now).await?, record(&reply.answer, &reply.trace))
            }
            Asked::Poll(import, reply) => {
                let step = match &reply.answer {
                    Answer::Done(activity) => {
                        self.bulk.unlisted.retain(|id| *id != import.id);
                        polled(activity.as_ref(), import, now)
                    }
                    _ => again(import, now),
                };
                (vec![(import.id, step)], record(&reply.answer, &reply.trace))
            }
            Asked::PollAll(imports, reply) => {
                let steps = imports.iter().filter_map(|import| {
                    let Answer::Done(page) = &reply.answer else {
                        return Some((import.id, again(import, now)));
                    };
                    let known =
                        |activity: &&Activity| Some(&activity.activity_id) == import.activity_id.as_ref();
                    let found = page.items.iter().find(known);
                    if found.is_none() {
                        self.bulk.unlisted.push(import.id);
                    }
                    found.map(|activity| (import.id, polled(Some(activity), import, now)))
                });
                (steps.collect(), record(&reply.answer, &reply.trace))
            }
            Asked::Doubt(import, claimed, reply) => {
                let step = match &reply.answer {
                    Answer::Done(page) => match page.items.iter().find(|job| may_be(job, import, claimed)) {
                        Some(activity) => taken(activity, now),
                        None if page.next.is_some() => {
                            self.bulk.doubt_page.clone_from(&page.next);
                            ImportStep::to(ImportState::Doubt, now)
                        }
                        None => ImportStep::to(ImportState::Ready, now),
                    },
                    _ => again(import, now),
                };
                (vec![(import.id, step)], record(&reply.answer, &reply.trace))
            }
            Asked::Search(import, told) => {
                let step = match &mut self.bulk.search {
                    Some((id, search)) if *id == import.id => looking::take(search, told, import, now),
                    _ => again(import, now),
                };
                (vec![(import.id, step)], told.record())
            }
        };
        // The steps first: what is known of the account is found out again, an answer is not.
        let written = self.write_bulk(Written { call: Some((call, record)), steps }).await;
        match &asked {
            Asked::Post(_, reply) => self.heed(&reply.answer, &reply.trace, now).await?,
            Asked::Poll(_, reply) => self.heed(&reply.answer, &reply.trace, now).await?,
            Asked::PollAll(_, reply) | Asked::Doubt(_, _, reply) => {
                self.heed(&reply.answer, &reply.trace, now).await?;
            }
            Asked::Search(_, told) => self.heed_told(told, now).await?,
        }
        written
    }

    async fn posted(
        &mut self,
        import: &Import,
        answer: &Answer<Activity>,
        now: Timestamp,
    ) -> Result<Vec<(i64, ImportStep)>, OutboxError> {
        let id = import.id;
        let decision = posted(answer, import.rows, self.bulk.refusals);
        match answer {
            Answer::Done(activity) => {
                self.bulk.refusals = 0;
                self.progressed = true;
                return Ok(vec![(id, taken(activity, now))]);
            }
            Answer::Never { .. } => self.bulk.refusals += 1,
            Answer::List { .. } => {
                self.gate.ask_directory_again(now);
            }
            _ => {}
        }
        match (decision, answer) {
            (Posting::Split, _) => {
                self.parts.outbox.ask(move |outbox| outbox.split_import(id, now)).await?;
                Ok(Vec::new())
            }
            // Halving has come down to the row that the account refuses.
            (Posting::Step(_), Answer::Never { reason, .. }) if import.rows == 1 => {
                let reason = format!("the account refuses it: {reason}");
                self.refuse_the_only_row(id, reason, now).await?;
                Ok(vec![(id, ImportStep::to(ImportState::Landed, now))])
            }
            (Posting::Step((state, pause, reason)), _) => {
                let mut step = ImportStep::to(state, plus(now, pause));
                step.reason = reason;
                Ok(vec![(id, step)])
            }
        }
    }

    async fn refuse_the_only_row(
        &mut self,
        id: i64,
        reason: String,
        now: Timestamp,
    ) -> Result<(), OutboxError> {
        let finished = self
            .parts
            .outbox
            .ask(move |outbox| {
                let rows = outbox.import_rows(id, 0, 1)?;
                let missing: Vec<_> =
                    rows.into_iter().map(|(entry, _)| (entry, Missing::Refused(reason.clone()))).collect();
                outbox.settle_missing(id, &missing, now, now)
            })
            .await?;
        if finished {
            self.parts.wake.hint();
        }
        Ok(())
    }

    /// Writes steps down; if that cannot be now, they are kept and nothing else is done before they are written.
    pub(in super::super) async fn write_bulk(&mut self, written: Written) -> Result<(), OutboxError> {
        let now = self.parts.clock.now();
        let (outcome, written) = self
            .parts
            .outbox
            .ask(move |outbox| (outbox.step_imports(written.call.as_ref(), &written.steps, now), written))
            .await;
        if outcome.is_err() {
            self.unwritten_steps.push(written);
        }
        outcome
    }
}

fn taken(activity: &Activity, now: Timestamp) -> ImportStep {
    let mut step = ImportStep::to(ImportState::Running, plus(now, POLLS[0]));
    step.activity_id = Some(activity.activity_id.clone());
    step.taken_at = activity.created_at;
    step
}

pub(super) fn record<T>(answer: &Answer<T>, trace: &Trace) -> CallRecord {
    super::super::calls::record(answer, trace.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn job(progress: Progress, tally: Tally) -> Activity {
        let created_at = Some(NOW);
        let (activity_id, state) = ("a-1".into(), "failed".into());
        Activity { activity_id, progress, state, created_at, tally, is_export: false, file: None }
    }

    fn import(rows: u64, tries: u32) -> Import {
        Import {
            id: 1,
            lists: "Members".into(),
            state: ImportState::Running,
            rows,
            due_at: NOW,
            posted_at: Some(NOW),
            activity_id: Some("a-1".into()),
            taken_at: None,
            tries,
            landing: Landing::default(),
            without: Vec::new(),
        }
    }

    fn tally(persons: u64, refused: u64, unsubscribed: u64) -> Tally {
        Tally { items: persons + refused + 1, persons, refused, unsubscribed }
    }

    #[test]
    fn each_answer_to_a_posted_import_has_its_step() {
        let never = || Answer::Never { field: None, reason: "odd".into() };
        let state = |answer: Answer<Activity>, rows, refusals| match posted(&answer, rows, refusals) {
            Posting::Step((state, pause, _)) => Some((state, pause)),
            Posting::Split => None,
        };
        let at_the_gate = Some((ImportState::Ready, AT_THE_GATE));
        let doubt = Some((ImportState::Doubt, DOUBT_PAUSE));
        let refused = Some((ImportState::Refused, Duration::ZERO));
        let cases = [
            (Answer::Done(job(Progress::UnderWay, Tally::default())), Some((ImportState::Running, POLLS[0]))),
            (Answer::LoginNeeded { generation: 1 }, at_the_gate),
            (Answer::Forbidden { reason: "no".into() }, at_the_gate),
            (Answer::Quota, at_the_gate),
            (Answer::Later(Passing::Throttled), at_the_gate),
            (Answer::Later(Passing::UnknownLimit), at_the_gate),
            (Answer::Later(Passing::NotSent), at_the_gate),
            (Answer::Later(Passing::QueueFull), Some((ImportState::Ready, QUEUE_PAUSE))),
            (Answer::Later(Passing::Lost), doubt),
            (Answer::Later(Passing::Server), doubt),
            (Answer::Later(Passing::Rubbish), doubt),
            (Answer::Later(Passing::Conflict), doubt),
            (Answer::List { reason: "gone".into() }, Some((ImportState::Failed, Duration::ZERO))),
            (Answer::Hold { reason: "415".into() }, refused),
        ];
        for (answer, expected) in cases {
            assert_eq!(state(answer.clone(), 10, 0), expected, "{answer:?}");
        }
        assert_eq!(state(never(), 10, 0), None, "halves are tried");
        assert_eq!(state(never(), 1, 0), refused, "a single row has no halves");
        assert_eq!(state(never(), 10, REFUSALS_ABOUT_ROWS), refused, "it is not about a row");
    }

    #[test]
    fn polls_grow_to_a_minute_and_ends_are_told_apart() {
        let pause = |tries| {
            let step = polled(Some(&job(Progress::UnderWay, Tally::default())), &import(5, tries), NOW);
            Duration::try_from(step.due_at.duration_since(NOW)).unwrap()
        };
        assert_eq!([0, 3, 4, 400].map(pause).map(|pause| pause.as_secs()), [8, 35, 60, 60]);
        let state = |activity: Option<&Activity>| polled(activity, &import(5, 0), NOW).state;
        assert_eq!(state(None), ImportState::Failed);
        assert_eq!(state(Some(&job(Progress::Failed, Tally::default()))), ImportState::Failed);
        assert_eq!(state(Some(&job(Progress::Completed, tally(5, 0, 0)))), ImportState::Landed);
        for short in [tally(4, 0, 0), tally(4, 1, 0), tally(5, 0, 1), tally(5, 1, 0)] {
            assert_eq!(state(Some(&job(Progress::Completed, short))), ImportState::Short, "{short:?}");
        }
    }

    #[test]
    fn a_lost_import_is_known_again_by_its_time_and_size() {
        let own = import(5, 0);
        let ours = job(Progress::Completed, tally(5, 0, 0));
        assert!(may_be(&ours, &own, &[]));
        assert!(may_be(&Activity { tally: Tally::default(), ..ours.clone() }, &own, &[]), "not counted yet");
        assert!(!may_be(&ours, &own, &["a-1".to_owned()]), "it is another import's");
        assert!(!may_be(&Activity { is_export: true, ..ours.clone() }, &own, &[]), "it is no import");
        assert!(!may_be(&Activity { tally: tally(9, 0, 0), ..ours.clone() }, &own, &[]), "of another size");
        let long_ago = NOW.checked_sub(CLOCKS_DIFFER * 2).unwrap();
        assert!(!may_be(&Activity { created_at: Some(long_ago), ..ours }, &own, &[]), "from before");
    }
}
