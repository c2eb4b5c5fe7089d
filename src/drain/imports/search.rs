//! Which rows of an import did not land: asked with as few calls as will do.
//!
//! Pure: says the next question and takes its answer. The account only counts; it names nobody. First those who
//! unsubscribed are asked for (a page for 500), then rows that look as if the service might refuse them, then the end of
//! the import (what is too long is cut there), and only then each row by itself, everybody on the list by pages, or an
//! export of the list, whichever costs fewer calls. The search ends as soon as as many are found as are missing.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use crate::constant_contact::{Activity, ContactsPage, Progress, Shown, Which};
use crate::outbox::{Landing, Missing};

/// Contacts on a page.
const PAGE: usize = 500;
/// Rows that everything else left over are looked up by themselves, unless they are more than this: then the account
/// lost so many that they are sent again without a question.
const LOOKED_UP_AT_MOST: usize = 200;
/// What an export costs at most: one call to begin it, one to read it, and polls of a job that takes minutes. A list of
/// fewer pages is read by pages.
const EXPORT_COSTS: usize = 10;
/// An export that is not done after so many polls, which takes a quarter of an hour, is given up.
const MOST_POLLS: u32 = 18;
/// The import's specification takes addresses up to this length, though others of its pages take more.
const LONGEST_USUAL_ADDRESS: usize = 50;

const REFUSED: &str =
    "the account refuses the row: mend the address, the dates or the birthday and drop it again";
const NOT_ARRIVED: &str =
    "the account says that the import is done, but the row did not arrive, and it does not say why";

/// What the search does now.
#[derive(Debug)]
enum Stage {
    Unsubscribed,
    /// Rows to look up; whether the first that is there ends it.
    LookUp {
        rows: VecDeque<String>,
        ends_when_found: bool,
        then: After,
    },
    OnList,
    Export(Export),
    Over,
}

/// How far an export is.
#[derive(Debug, Clone)]
enum Export {
    Wanted,
    Begun { job: String, polls: u32 },
    Made { file: String },
}

/// What a search asks next.
#[derive(Debug, Clone)]
pub enum Question {
    /// A page of contacts.
    Contacts(Which),
    /// An export of a list, by its id.
    Export(String),
    /// How far an export is: the job, and how often that was asked.
    Job(String, u32),
    /// Which of these rows are in an export's file.
    File(String, Rows),
}

/// Rows by folded address.
pub type Rows = Arc<BTreeMap<String, i64>>;

/// What follows single look-ups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Tail,
    OnList,
    Over,
}

/// A search under way.
#[derive(Debug)]
pub struct Search {
    list: String,
    since: Timestamp,
    landing: Landing,
    sent: usize,
    /// Rows of which it is not known whether they landed: entry by folded address.
    rows: Rows,
    found: Vec<(i64, Missing)>,
    /// Rows that the account does not know: whether they look unusual, and their entries.
    absent: Vec<(bool, i64)>,
    stage: Stage,
    next: Option<String>,
}

impl Search {
    /// A search for the rows of an import, by folded address, on a list's id, among those that changed since a time.
    #[must_use]
    pub fn new(rows: BTreeMap<String, i64>, list: String, since: Timestamp, landing: Landing) -> Self {
        let mut search = Self {
            list,
            since,
            landing,
            sent: rows.len(),
            rows: Arc::new(rows),
            found: Vec::new(),
            absent: Vec::new(),
            stage: Stage::Unsubscribed,
            next: None,
        };
        if landing.unsubscribed == 0 {
            search.look_at_suspects();
        }
        search
    }

    /// How many rows are missing by the account's own count. Those who unsubscribed are among its persons.
    fn missing(&self) -> usize {
        let number = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let not_persons = self.sent.saturating_sub(number(self.landing.persons));
        number(self.landing.unsubscribed).saturating_add(not_persons.max(number(self.landing.refused)))
    }

    fn still_missing(&self) -> usize {
        self.missing().saturating_sub(self.found.len() + self.absent.len())
    }

    fn pages(&self) -> usize {
        self.sent.div_ceil(PAGE)
    }

    /// The next question, or what was found.
    pub fn next(&mut self) -> Result<Question, Vec<(i64, Missing)>> {
        loop {
            if self.found.len() + self.absent.len() >= self.missing() {
                self.stage = Stage::Over;
                self.next = None;
            }
            if let Some(next) = self.next.clone() {
                return Ok(Question::Contacts(Which::Next(next)));
            }
            let which = match &mut self.stage {
                Stage::Over => {
                    self.judge_absent();
                    return Err(std::mem::take(&mut self.found));
                }
                Stage::Export(export) => {
                    return Ok(match export.clone() {
                        Export::Wanted => Question::Export(self.list.clone()),
                        Export::Begun { job, polls } => Question::Job(job, polls),
                        Export::Made { file } => Question::File(file, Arc::clone(&self.rows)),
                    });
                }
                Stage::Unsubscribed => Which::Unsubscribed,
                Stage::OnList => Which::OnList { list: self.list.clone(), since: self.since },
                Stage::LookUp { rows, then, .. } => match (rows.front(), *then) {
                    (Some(address), _) => Which::Address(address.clone()),
                    (None, After::Tail) => {
                        self.look_at_the_tail();
                        continue;
                    }
                    (None, After::OnList) => {
                        self.look_at_everybody();
                        continue;
                    }
                    (None, After::Over) => {
                        self.stage = Stage::Over;
                        continue;
                    }
                },
            };
            return Ok(Question::Contacts(which));
        }
    }

    /// The job of an export that this search had made, which is no import's.
    #[must_use]
    pub fn job(&self) -> Option<&str> {
        match &self.stage {
            Stage::Export(Export::Begun { job, .. }) => Some(job),
            _ => None,
        }
    }

    /// Takes how far an export is. Without one, or with one that ended badly, the list is read by pages.
    pub fn export_is(&mut self, activity: Option<&Activity>) {
        let Stage::Export(export) = &mut self.stage else { return };
        let polls = match export {
            Export::Begun { polls, .. } => *polls + 1,
            _ => 0,
        };
        *export = match activity.map(|activity| (activity.progress, activity)) {
            Some((Progress::Completed, Activity { file: Some(file), .. })) => {
                Export::Made { file: file.clone() }
            }
            Some((Progress::UnderWay, Activity { activity_id, .. })) if polls < MOST_POLLS => {
                Export::Begun { job: activity_id.clone(), polls }
            }
            _ => {
                self.stage = Stage::OnList;
                return;
            }
        };
    }

    /// Takes which rows an export holds; if it broke off, the others are looked for on pages.
    pub fn exported(&mut self, there: &HashSet<i64>, whole: bool) {
        Arc::make_mut(&mut self.rows).retain(|_, entry| !there.contains(entry));
        if whole {
            self.look_at_the_rest();
        } else {
            self.stage = Stage::OnList;
        }
    }

    /// Takes the answer to the last question.
    pub fn answer(&mut self, page: &ContactsPage) {
        self.next.clone_from(&page.next);
        match &mut self.stage {
            Stage::Over | Stage::Export(_) => {}
            Stage::Unsubscribed => self.some_unsubscribed(page),
            Stage::OnList => {
                for shown in page.items.iter().filter(|shown| !shown.unsubscribed && !shown.deleted) {
                    Arc::make_mut(&mut self.rows).remove(&shown.address.to_lowercase());
                }
                // As many are left as did not arrive: further pages show other people's rows.
                if self.next.is_none() || self.rows.len() <= self.still_missing() {
                    self.next = None;
                    self.look_at_the_rest();
                }
            }
            Stage::LookUp { rows, ends_when_found, .. } => {
                let ends_when_found = *ends_when_found;
                let Some(address) = rows.pop_front() else { return };
                self.next = None;
                let landed = self.judge(&address, page);
                if let Stage::LookUp { rows, .. } = &mut self.stage
                    && landed
                    && ends_when_found
                {
                    rows.clear();
                }
            }
        }
    }

    fn some_unsubscribed(&mut self, page: &ContactsPage) {
        for shown in page.items.iter().filter(|shown| shown.unsubscribed) {
            if let Some(entry) = Arc::make_mut(&mut self.rows).remove(&shown.address.to_lowercase()) {
                self.found.push((entry, unsubscribed()));
            }
        }
        let all = usize::try_from(self.landing.unsubscribed).unwrap_or(usize::MAX);
        // An account that many left has more of these pages than the import has rows.
        let too_many = page.count.is_some_and(|count| count.div_ceil(PAGE as u64) > self.pages() as u64 + 1);
        if self.next.is_none() || self.found.len() >= all || too_many {
            self.next = None;
            self.look_at_suspects();
        }
    }

    /// Judges one row by what the account shows for its address. Says whether it landed.
    fn judge(&mut self, address: &str, page: &ContactsPage) -> bool {
        let shown = page.items.iter().find(|shown| shown.address.eq_ignore_ascii_case(address));
        let Some(entry) = Arc::make_mut(&mut self.rows).remove(address) else { return false };
        match shown {
            Some(Shown { unsubscribed: true, .. }) => self.found.push((entry, unsubscribed())),
            Some(shown) if !shown.deleted && shown.lists.contains(&self.list) => return true,
            Some(_) => self.found.push((entry, Missing::Unknown(NOT_ARRIVED.to_owned()))),
            None => self.absent.push((is_unusual(address), entry)),
        }
        false
    }

    /// The account says how many rows it refused and not which. Those that look unusual are believed to be among them;
    /// the others are only if that explains all of them.
    fn judge_absent(&mut self) {
        let mut absent = std::mem::take(&mut self.absent);
        let refused = usize::try_from(self.landing.refused).unwrap_or(usize::MAX);
        absent.sort_unstable_by_key(|(unusual, entry)| (!unusual, *entry));
        let unusual = absent.iter().filter(|(unusual, _)| *unusual).count();
        let certain = if absent.len() <= refused { absent.len() } else { unusual.min(refused) };
        let (all, left) = (absent.len() - certain, refused - certain.min(refused));
        for (place, (_, entry)) in absent.into_iter().enumerate() {
            let missing = if place < certain {
                Missing::Refused(REFUSED.to_owned())
            } else if left > 0 {
                Missing::Unknown(format!("{NOT_ARRIVED}; of {all} such rows it refused {left}"))
            } else {
                Missing::Unknown(NOT_ARRIVED.to_owned())
            };
            self.found.push((entry, missing));
        }
    }

    fn look_at_suspects(&mut self) {
        let suspects: VecDeque<String> =
            self.rows.keys().filter(|address| is_unusual(address)).take(self.pages() + 1).cloned().collect();
        // More suspects than pages: reading everybody is cheaper.
        let rows = if suspects.len() > self.pages() { VecDeque::new() } else { suspects };
        self.stage = Stage::LookUp { rows, ends_when_found: false, then: After::Tail };
    }

    fn look_at_the_tail(&mut self) {
        let mut rows: Vec<(&String, &i64)> = self.rows.iter().collect();
        rows.sort_unstable_by_key(|(_, entry)| std::cmp::Reverse(**entry));
        let rows = rows.into_iter().take(self.pages()).map(|(address, _)| address.clone()).collect();
        self.stage = Stage::LookUp { rows, ends_when_found: true, then: After::OnList };
    }

    fn look_at_everybody(&mut self) {
        if self.rows.len() <= self.pages() {
            self.look_at_the_rest();
        } else if self.pages() > EXPORT_COSTS {
            self.stage = Stage::Export(Export::Wanted);
        } else {
            self.stage = Stage::OnList;
        }
    }

    /// Rows that were not seen are looked up, because the list may lag behind.
    fn look_at_the_rest(&mut self) {
        if self.rows.len() <= LOOKED_UP_AT_MOST {
            let rows = self.rows.keys().cloned().collect();
            self.stage = Stage::LookUp { rows, ends_when_found: false, then: After::Over };
            return;
        }
        let lost = Arc::unwrap_or_clone(std::mem::take(&mut self.rows)).into_values();
        let reason = "the account says that the import is done, but many of its rows did not arrive";
        self.found.extend(lost.map(|entry| (entry, Missing::Unknown(reason.to_owned()))));
        self.stage = Stage::Over;
    }
}

fn unsubscribed() -> Missing {
    Missing::Unsubscribed(
        "the person has unsubscribed from the account, which does not put them back".to_owned(),
    )
}

/// Rows that the service may refuse although they are good by the rules that are known.
fn is_unusual(address: &str) -> bool {
    address.len() > LONGEST_USUAL_ADDRESS
        || !address.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@'))
}

#[cfg(test)]
mod tests;
