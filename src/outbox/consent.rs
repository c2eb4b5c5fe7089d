//! The guard: whoever left after a row was made is not put back by sending it.
//!
//! Owns when a row's consent was given, and what must be known before it may go. A sign-up that has just come, for the
//! first time, goes at once. Whatever is older, was tried before, or stood in a file that came before, goes only with
//! fresh knowledge of who left. What is known is always heeded. Leaves reading the account to `drain`, and keeping what was
//! read to `opt_outs`.

use std::time::Duration;

use jiff::{Timestamp, tz::TimeZone};
use rusqlite::{OptionalExtension, Row, Transaction, params, types::ValueRef};

use super::directory::{Directory, directory};
use super::entries::{self, Candidate, Final, Job, finish};
use super::opt_outs::{self, Question, length};
use super::rank::Rank;
use super::{HeldBecause, OpenRoute, Outbox, Result, millis, one, timestamp, unsigned};

/// Nobody leaves much sooner after agreeing: so old a row needs no question.
pub(super) const JUST_NOW: Duration = Duration::from_hours(1);
/// How long knowledge of who left is good. Asking costs two calls at least: 576 a day at most.
pub(super) const GOOD_FOR: Duration = Duration::from_mins(5);
/// So few addresses are looked up by themselves, each just before its row goes; more are read by the page.
const FEW: u64 = 5;
/// How far down the queue is looked for more rows that need an answer, to choose between the two.
const LOOKED_AT: u32 = 64;
/// Rows that are put off in one transaction.
const PUT_OFF_AT_ONCE: u32 = 500;
/// Why a row waits that needs an answer.
pub(super) const WAITS: &str = "waits until the account has said who left since";

/// SQL for when a row's person agreed: as the row says, else when its bytes were first written. Nobody agreed later than
/// the file came.
pub(super) const CONSENT: &str = "coalesce(entry.consent_at, \
     min(file.modified_at, file.received_at, coalesce(file.replay_of, file.received_at)))";

/// What is known about a row and its person.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) consent_at: i64,
    /// The row itself says when.
    pub(super) stated: bool,
    pub(super) received_at: i64,
    pub(super) due_at: i64,
    /// Its file came before.
    pub(super) replayed: bool,
    /// The file's rows.
    pub(super) rows: u64,
    /// A call for it may have reached the contact.
    pub(super) tried: bool,
    /// When the address was last delivered to the same lists, and whether this row says the same.
    pub(super) delivered: Option<(i64, bool)>,
    /// The lists, by id, that the address was given with another set of lists.
    pub(super) given_elsewhere: Vec<String>,
    pub(super) unsubscribed_at: Option<i64>,
    pub(super) deleted_at: Option<i64>,
    pub(super) looked_up: Option<LookedUp>,
    /// From when on it is known who left, and when that was read.
    pub(super) read: Option<(i64, i64)>,
}

/// What a look-up showed.
#[derive(Debug, Clone)]
pub(super) struct LookedUp {
    pub(super) at: i64,
    updated_at: Option<i64>,
    active: bool,
    lists: Vec<String>,
}

impl LookedUp {
    fn is_on(&self, lists: &[String]) -> bool {
        self.active && lists.iter().all(|list| self.lists.contains(list))
    }
}

/// Whether a row may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It may, without these lists, by id, which its person left.
    Goes { without: Vec<String> },
    /// The account was given exactly this, and the person is still there.
    Unchanged,
    /// The person left.
    Left(Leaving),
    /// It is not known. `alone`: only a look-up of the address can tell.
    Unknown { alone: bool },
}

/// How somebody left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Leaving {
    Unsubscribed(i64),
    Deleted(i64),
    /// All lists that the row is for.
    Lists,
}

impl Facts {
    /// No knowledge that is older than this is good enough for the row.
    pub(super) fn needed_at(&self, now: Timestamp) -> i64 {
        let recent = now.checked_sub(GOOD_FOR).map_or(i64::MIN, millis);
        self.due_at.max(self.received_at).max(recent).min(millis(now))
    }

    /// Whether the row itself tells of a consent after it was delivered.
    fn is_renewed(&self, delivered_at: i64) -> bool {
        self.stated && self.consent_at > delivered_at
    }

    /// Whether the row may tell of one by its file's time. In a large file that says nothing: a nightly export has a new time
    /// every night, and nobody agreed anew.
    fn may_be_renewed(&self, delivered_at: i64) -> bool {
        self.rows <= FEW && self.received_at > delivered_at.saturating_add(length(JUST_NOW))
    }

    /// How the person left the whole account after agreeing, as far as is known.
    pub(super) fn left(&self) -> Option<Leaving> {
        let after = |at: &i64| *at >= self.consent_at;
        let unsubscribed = self.unsubscribed_at.filter(after).map(Leaving::Unsubscribed);
        unsubscribed.or_else(|| self.deleted_at.filter(after).map(Leaving::Deleted))
    }

    /// Whether the address was given a list of the row before, with these or with others.
    fn was_given(&self, list: &String) -> bool {
        self.delivered.is_some() || self.given_elsewhere.contains(list)
    }

    /// The lists of the row that were given before and that the person is not on.
    fn given_and_not_on(&self, looked_up: &LookedUp, lists: &[String]) -> Vec<String> {
        let left = |list: &&String| self.was_given(list) && !looked_up.lists.contains(list);
        lists.iter().filter(left).cloned().collect()
    }

    /// The lists of the row that the person left after they were given. A change at the account that is older than the
    /// consent was before it.
    fn lists_left(&self, looked_up: &LookedUp, lists: &[String]) -> Vec<String> {
        let long_ago = looked_up.updated_at.is_none_or(|at| at < self.consent_at);
        if looked_up.active && !long_ago { self.given_and_not_on(looked_up, lists) } else { Vec::new() }
    }

    /// The lists of the row that the person left after they were given; `None` while that is not known. For a bulk import the
    /// file's time is no consent: it is written anew whether or not anybody agreed.
    pub(super) fn lists_left_for_an_import(&self, lists: &[String], known_since: i64) -> Option<Vec<String>> {
        let looked_up = self.looked_up.as_ref().filter(|looked_up| looked_up.at >= known_since)?;
        let agreed_since = self.stated && looked_up.updated_at.is_none_or(|at| at < self.consent_at);
        if !looked_up.active || agreed_since {
            return Some(Vec::new());
        }
        Some(self.given_and_not_on(looked_up, lists))
    }

    /// Whether only a look-up of the address can tell that its person left a list of the row.
    pub(super) fn may_have_left(&self, lists: &[String]) -> bool {
        lists.iter().any(|list| self.was_given(list))
    }

    /// Whether the row may go to these lists.
    pub(super) fn judge(&self, lists: &[String], now: Timestamp) -> Judgement {
        let same_since = self.delivered.and_then(|(at, same)| same.then_some(at));
        let renewed = same_since.is_some_and(|at| self.is_renewed(at));
        if same_since.is_some_and(|at| !renewed && !self.may_be_renewed(at)) {
            return Judgement::Unchanged;
        }
        if let Some(leaving) = self.left() {
            return Judgement::Left(leaving);
        }
        let just_now = now.checked_sub(JUST_NOW).map_or(i64::MIN, millis);
        let says_nothing_new = same_since.is_some() && !renewed;
        let guarded = says_nothing_new || self.consent_at < just_now || self.tried || self.replayed;
        if !guarded {
            return Judgement::Goes { without: Vec::new() };
        }
        let needed = self.needed_at(now)..=millis(now);
        let looked_up = self.looked_up.as_ref().filter(|looked_up| needed.contains(&looked_up.at));
        let read = self.read.is_some_and(|(from, at)| from <= self.consent_at && needed.contains(&at));
        let alone = self.may_have_left(lists);
        let Some(looked_up) = looked_up else {
            return if alone || !read {
                Judgement::Unknown { alone }
            } else {
                Judgement::Goes { without: Vec::new() }
            };
        };
        match same_since {
            Some(at) if !renewed => self.nothing_new(at, looked_up, lists),
            // The person agreed anew to what the account still holds.
            Some(_) if looked_up.is_on(lists) => Judgement::Unchanged,
            _ => match self.lists_left(looked_up, lists) {
                without if !without.is_empty() && without.len() == lists.len() => {
                    Judgement::Left(Leaving::Lists)
                }
                without => Judgement::Goes { without },
            },
        }
    }

    /// What becomes of a row that says what was delivered before, without a time of its own: if the person left since, only
    /// somebody who knows whether they asked again can tell.
    fn nothing_new(&self, delivered_at: i64, looked_up: &LookedUp, lists: &[String]) -> Judgement {
        let since = |at: &i64| *at > delivered_at;
        if let Some(at) = self.unsubscribed_at.filter(since) {
            return Judgement::Left(Leaving::Unsubscribed(at));
        }
        if let Some(at) = self.deleted_at.filter(since) {
            return Judgement::Left(Leaving::Deleted(at));
        }
        if looked_up.active && !lists.iter().any(|list| looked_up.lists.contains(list)) {
            return Judgement::Left(Leaving::Lists);
        }
        Judgement::Unchanged
    }
}

/// In words for the receipt.
pub(super) fn words(
    transaction: &Transaction<'_>,
    leaving: &Leaving,
    lists: &[String],
) -> rusqlite::Result<String> {
    let day = |at: &i64| timestamp(0, *at).map(|at| TimeZone::UTC.to_datetime(at).date().to_string());
    Ok(match leaving {
        Leaving::Unsubscribed(at) => format!("left on {}", day(at)?),
        Leaving::Deleted(at) => format!("was deleted on {}", day(at)?),
        Leaving::Lists => {
            let mut names = Vec::new();
            for list in lists {
                let mut statement = transaction.prepare_cached("SELECT name FROM list WHERE list_id = ?1")?;
                let name: Option<String> = statement.query_row([list], |row| row.get(0)).optional()?;
                names.push(name.unwrap_or_else(|| list.clone()));
            }
            let list = if names.len() == 1 { "list" } else { "lists" };
            format!("left the {list} {}", names.join(", "))
        }
    })
}

/// The column of [`facts_sql`] with the other sets of lists that the address was given.
const ELSEWHERE: usize = 15;

/// The columns of a row's facts, in the order in which [`facts_from`] reads them. Parameter 2 is the set of lists.
pub(super) fn facts_sql(which: &str) -> String {
    format!(
        "SELECT {CONSENT}, entry.consent_at IS NOT NULL, file.received_at, coalesce(entry.due_at, file.received_at),
                file.replay_of IS NOT NULL, file.rows,
                EXISTS (SELECT 1 FROM attempt WHERE attempt.entry = entry.id AND coalesce(reached, 1)),
                delivered.delivered_at, delivered.digest = entry.digest, opt_out.unsubscribed_at, opt_out.deleted_at,
                looked_up.at, looked_up.updated_at, looked_up.active, looked_up.lists,
                (SELECT group_concat(other.lists, char(10)) FROM delivered AS other
                  WHERE other.address = entry.address AND other.lists <> ?2),
                entry.id, entry.file, entry.address
           FROM entry JOIN file ON file.id = entry.file
           LEFT JOIN delivered ON delivered.address = entry.address AND delivered.lists = ?2
           LEFT JOIN opt_out ON opt_out.address = entry.address
           LEFT JOIN looked_up ON looked_up.address = entry.address
          WHERE {which}"
    )
}

pub(super) fn facts_from(
    row: &Row<'_>,
    read: Option<(i64, i64)>,
    directory: &Directory,
) -> rusqlite::Result<Facts> {
    let delivered_at: Option<i64> = row.get(7)?;
    let same: Option<bool> = row.get(8)?;
    let looked_up_at: Option<i64> = row.get(11)?;
    let looked_up = looked_up_at.map(|at| {
        let lists: String = row.get(14)?;
        let lists = serde_json::from_str(&lists).unwrap_or_default();
        Ok::<_, rusqlite::Error>(LookedUp { at, updated_at: row.get(12)?, active: row.get(13)?, lists })
    });
    // A set of lists is stored as a route names them.
    let elsewhere: Option<String> = row.get(ELSEWHERE)?;
    let names = elsewhere.iter().flat_map(|sets| sets.lines());
    let given_elsewhere = names.filter_map(|name| directory.list_id(name)).map(str::to_owned).collect();
    Ok(Facts {
        consent_at: row.get(0)?,
        stated: row.get(1)?,
        received_at: row.get(2)?,
        due_at: row.get(3)?,
        replayed: row.get(4)?,
        rows: row.get::<_, i64>(5).map(unsigned)?,
        tried: row.get(6)?,
        delivered: delivered_at.map(|at| (at, same.unwrap_or_default())),
        given_elsewhere,
        unsubscribed_at: row.get(9)?,
        deleted_at: row.get(10)?,
        looked_up: looked_up.transpose()?,
        read,
    })
}

fn facts(transaction: &Transaction<'_>, entry: i64, lists: &str) -> rusqlite::Result<Facts> {
    let read = opt_outs::known(transaction)?;
    transaction.prepare_cached(&facts_sql("entry.id = ?1"))?.query_row(params![entry, lists], |row| {
        // Few were given anything elsewhere, and a directory may be long.
        let nowhere = row.get_ref(ELSEWHERE)? == ValueRef::Null;
        let directory = if nowhere { Directory::default() } else { directory(transaction)? };
        facts_from(row, read, &directory)
    })
}

/// What the guard says to a row that is about to go.
pub(super) enum Guard {
    /// It goes, without these lists.
    Goes(Vec<String>),
    /// It is settled. Says whether its file is finished by that.
    Settled(bool),
    /// The account must be asked first.
    Ask(Question),
}

/// Lets a row go, settles it, or says what must be asked first.
pub(super) fn guard(
    transaction: &Transaction<'_>,
    job: &Job,
    candidate: &Candidate,
    routes: &[OpenRoute],
    now: Timestamp,
) -> rusqlite::Result<Guard> {
    let facts = facts(transaction, candidate.entry, &candidate.open.lists)?;
    let lists = &candidate.open.list_ids;
    let settled = match facts.judge(lists, now) {
        Judgement::Goes { without } => return Ok(Guard::Goes(without)),
        Judgement::Unchanged => finish(transaction, job.key(), "queued", &Final::unchanged(), now)?,
        Judgement::Left(leaving) => {
            let reason = words(transaction, &leaving, lists)?;
            finish(transaction, job.key(), "queued", &Final::held(HeldBecause::Left, &reason), now)?
        }
        Judgement::Unknown { alone } => {
            let look_up = Question::LookUp { address: job.address().to_owned() };
            if alone || are_few(transaction, routes, now)? {
                return Ok(Guard::Ask(look_up));
            }
            let question = opt_outs::next_reading(transaction, facts.consent_at, facts.needed_at(now), now)?;
            return Ok(Guard::Ask(question.map_or(look_up, Question::Read)));
        }
    };
    Ok(Guard::Settled(settled))
}

/// Whether so few rows need an answer that each is looked up by itself.
fn are_few(transaction: &Transaction<'_>, routes: &[OpenRoute], now: Timestamp) -> rusqlite::Result<bool> {
    let mut unknown = 0;
    for route in routes {
        for entry in waiting(transaction, route, LOOKED_AT, now)? {
            let judgement = facts(transaction, entry, &route.lists)?.judge(&route.list_ids, now);
            unknown += u64::from(judgement == Judgement::Unknown { alone: false });
            if unknown > FEW {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn waiting(
    transaction: &Transaction<'_>,
    route: &OpenRoute,
    limit: u32,
    now: Timestamp,
) -> rusqlite::Result<Vec<i64>> {
    let mut statement = transaction.prepare_cached(
        "SELECT id FROM entry
          WHERE route = (SELECT id FROM route WHERE folder = ?1) AND rank = ?2 AND state = 'queued' AND due_at <= ?3
          ORDER BY due_at, id LIMIT ?4",
    )?;
    let mut found = Vec::new();
    for rank in Rank::ALL {
        let room = limit.saturating_sub(u32::try_from(found.len()).unwrap_or(limit));
        let rows = statement
            .query_map(params![route.folder, rank.number(), millis(now), room], |row| row.get::<_, i64>(0))?;
        found.extend(rows.collect::<rusqlite::Result<Vec<_>>>()?);
    }
    Ok(found)
}

impl Outbox {
    /// The account does not say now who left: rows that need it are put off until a time, so that others can go. Says
    /// whether any was.
    pub fn put_off_guarded(
        &mut self,
        routes: &[OpenRoute],
        until: Timestamp,
        now: Timestamp,
    ) -> Result<bool> {
        self.write("put rows off until it is known who left", |transaction| {
            let mut put_off = 0;
            for route in routes {
                for entry in waiting(transaction, route, PUT_OFF_AT_ONCE, now)? {
                    let judgement = facts(transaction, entry, &route.lists)?.judge(&route.list_ids, now);
                    if matches!(judgement, Judgement::Unknown { .. }) {
                        entries::put_off(transaction, entry, until, WAITS)?;
                        put_off += 1;
                    }
                    if put_off >= PUT_OFF_AT_ONCE {
                        return Ok(true);
                    }
                }
            }
            Ok(put_off > 0)
        })
    }
}

/// A file that is about to be recorded.
pub(super) struct Ending<'a> {
    pub(super) file: i64,
    pub(super) sha256: &'a str,
    pub(super) lists: &'a str,
    pub(super) rows: u64,
    pub(super) unchanged: u64,
    /// The earliest consent that a row of it states.
    pub(super) earliest: Option<i64>,
}

/// Writes down how old a file's consents are, and queues rows of a small file that say nothing new but may tell of a new
/// consent: their people may have left in between. Says how many.
pub(super) fn end_of_file(transaction: &Transaction<'_>, ending: &Ending<'_>) -> rusqlite::Result<u64> {
    let touched = transaction.execute(
        "UPDATE file SET replay_of = before.at,
                         consent_from = min(modified_at, received_at, coalesce(before.at, received_at),
                                            coalesce(?3, received_at))
           FROM (SELECT min(coalesce(replay_of, min(modified_at, received_at))) AS at FROM file
                  WHERE sha256 = ?2 AND id <> ?1) AS before
          WHERE file.id = ?1",
        params![ending.file, ending.sha256, ending.earliest],
    )?;
    one(touched)?;
    if ending.unchanged == 0 || ending.rows > FEW {
        return Ok(0);
    }
    let renewed = transaction.execute(
        "UPDATE entry SET state = 'queued', outcome = NULL, due_at = file.received_at
           FROM file, delivered
          WHERE file.id = ?1 AND entry.id >= file.first_entry AND entry.file = file.id
            AND delivered.address = entry.address AND delivered.lists = ?2
            AND entry.state = 'unchanged' AND entry.outcome = 'unchanged'
            AND file.received_at > delivered.delivered_at + ?3",
        params![ending.file, ending.lists, length(JUST_NOW)],
    )?;
    Ok(renewed as u64)
}

#[cfg(test)]
mod tests;
