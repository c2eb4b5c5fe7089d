//! What is to be done with the rows of a file, compared with what was delivered and what still waits.
//!
//! Pure: a chunk of readings and what the outbox knows about their addresses go in, a plan comes out. It promises one
//! fate a reading, in the order of the file, and that sending the plan leaves the account as sending every row in turn
//! would. Leaves looking things up and writing them down to `outbox`.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::contact::{Contact, EmailAddress, LeftOut, Rejection};

/// SHA-256 of a contact in canonical form.
pub type Digest = [u8; 32];

/// A row as it came out of a reader: a contact with its line, or why it is none.
pub type Reading = Result<(u64, Contact), Rejection>;

/// What the account was last given for an address on a set of lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// What it said.
    pub digest: Digest,
    /// When.
    pub at: Timestamp,
}

impl Given {
    /// Whether giving this would change nothing: it says the same, and the person did not agree anew in the meantime, who
    /// may have left before that.
    #[must_use]
    pub fn says_all(&self, digest: Digest, consent_at: Option<Timestamp>) -> bool {
        self.digest == digest && consent_at.is_none_or(|consent| consent <= self.at)
    }
}

/// What the outbox knows about an address before the chunk is planned.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// What the account was last given on the route's lists.
    pub delivered: Option<Given>,
    /// A row of an older file still waits, so that what was delivered last is not the last word.
    pub waiting: bool,
    /// The row of the same file that came first.
    pub earlier: Option<Earlier>,
}

/// The first row of an address in a file, stored with an earlier chunk.
#[derive(Debug, Clone)]
pub struct Earlier {
    /// Its place in the outbox.
    pub entry: i64,
    /// What it holds so far.
    pub contact: Contact,
}

/// Where a contact goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// Into the queue, due at once.
    Queue,
    /// Into the queue, behind an older row of the same address.
    Behind,
    /// Nowhere: the account was given exactly this before.
    Unchanged,
}

/// What becomes of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// A contact, and where it goes.
    Take(Box<Contact>, Destination),
    /// The address stood in the file before; what this row says was merged into the first.
    Duplicate(EmailAddress),
    /// Not a contact.
    Reject(Rejection),
}

/// One row of the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRow {
    /// The line in the file.
    pub line: u64,
    /// What becomes of it.
    pub fate: Fate,
    /// What it had and could not be used; whatever becomes of the rest.
    pub left_out: Vec<LeftOut>,
}

/// A stored row of the same file that a later row adds to.
#[derive(Debug, Clone, PartialEq)]
pub struct Amendment {
    /// Its place in the outbox.
    pub entry: i64,
    /// What it holds now.
    pub contact: Contact,
    /// Where it goes now.
    pub destination: Destination,
}

/// The plan for a chunk of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// One row for each reading, in order.
    pub rows: Vec<PlannedRow>,
    /// Changes to rows of earlier chunks, sorted by their place.
    pub amendments: Vec<Amendment>,
}

/// Plans a chunk. `known` is keyed by [`EmailAddress::key`]; an address without an entry is new.
#[must_use]
pub fn plan<S: std::hash::BuildHasher>(readings: Vec<Reading>, known: &HashMap<String, Known, S>) -> Plan {
    let mut planner = Planner { known, first: HashMap::new(), plan: Plan::default() };
    for reading in readings {
        planner.add(reading);
    }
    planner.plan.amendments.sort_by_key(|amendment| amendment.entry);
    planner.plan
}

/// Where the first row of an address stands while a chunk is planned.
enum First {
    Row(usize),
    Amendment(usize),
}

struct Planner<'a, S> {
    known: &'a HashMap<String, Known, S>,
    first: HashMap<String, First>,
    plan: Plan,
}

impl<S: std::hash::BuildHasher> Planner<'_, S> {
    fn add(&mut self, reading: Reading) {
        let (line, mut contact) = match reading {
            Err(rejection) => {
                let line = rejection.line;
                return self.plan.rows.push(PlannedRow {
                    line,
                    fate: Fate::Reject(rejection),
                    left_out: Vec::new(),
                });
            }
            Ok(row) => row,
        };
        let mut left_out = contact.take_left_out();
        let key = contact.email().key();
        let fate = if self.merge(&key, &contact, &mut left_out) {
            Fate::Duplicate(contact.email().clone())
        } else {
            self.first.insert(key.clone(), First::Row(self.plan.rows.len()));
            let destination = destination(&contact, self.known.get(&key));
            Fate::Take(Box::new(contact), destination)
        };
        self.plan.rows.push(PlannedRow { line, fate, left_out });
    }

    /// Adds to the first row of the address, if there is one in this file. What has no room beside it is left out.
    fn merge(&mut self, key: &str, contact: &Contact, left_out: &mut Vec<LeftOut>) -> bool {
        let known = self.known.get(key);
        if !self.first.contains_key(key) {
            let Some(earlier) = known.and_then(|known| known.earlier.clone()) else { return false };
            let Earlier { entry, contact } = earlier;
            self.first.insert(key.to_owned(), First::Amendment(self.plan.amendments.len()));
            self.plan.amendments.push(Amendment { entry, contact, destination: Destination::Queue });
        }
        let (stored, place) = match self.first.get(key) {
            Some(First::Amendment(index)) => {
                let amendment = &mut self.plan.amendments[*index];
                (&mut amendment.contact, &mut amendment.destination)
            }
            Some(First::Row(index)) => match &mut self.plan.rows[*index].fate {
                Fate::Take(stored, place) => (stored.as_mut(), place),
                Fate::Duplicate(_) | Fate::Reject(_) => return false,
            },
            None => return false,
        };
        left_out.extend(stored.merge(contact));
        *place = destination(stored, known);
        true
    }
}

fn destination(contact: &Contact, known: Option<&Known>) -> Destination {
    match known {
        Some(known) if known.waiting => Destination::Behind,
        Some(Known { delivered: Some(given), .. })
            if given.says_all(contact.digest(), contact.evidence().consent_at) =>
        {
            Destination::Unchanged
        }
        _ => Destination::Queue,
    }
}
