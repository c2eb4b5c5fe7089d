//! The account that the sandbox stands for: contacts, lists, fields, activities, tokens, and what was called.
//!
//! All in memory. Tests and the demo read it back and set it up; the handlers in the other files change it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::{Timestamp, tz::TimeZone};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::Value;

use super::authorization::Authorizations;
use super::faults::Faults;
use super::{Limiter, Settings};

/// The window in which the service counts calls.
const SECOND: Duration = Duration::from_secs(1);

/// May the account mail a contact?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// The person asked.
    Explicit,
    /// There is a business relationship.
    Implicit,
    /// The person asked and has not yet confirmed.
    PendingConfirmation,
    /// The person left.
    Unsubscribed,
}

impl Permission {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Implicit => "implicit",
            Self::PendingConfirmation => "pending_confirmation",
            Self::Unsubscribed => "unsubscribed",
        }
    }
}

/// A contact of the account.
#[derive(Debug, Clone, PartialEq)]
pub struct Contact {
    /// The account's name for it, as a number; on the wire it is a UUID.
    pub number: u64,
    /// The address as it was first written.
    pub address: String,
    /// May the account mail it?
    pub permission: Permission,
    /// Lists by number.
    pub lists: BTreeSet<u32>,
    /// Properties by the names of the contact resource; custom fields by their id.
    pub details: BTreeMap<String, Value>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// When it was deleted; it then still holds its address.
    pub deleted_at: Option<Timestamp>,
    /// When it left.
    pub opted_out_at: Option<Timestamp>,
    /// Who said so, while it is out.
    pub opt_out_source: Option<OptOutSource>,
}

/// Who took a contact out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptOutSource {
    /// The person: the account may not mail until they come back by themselves.
    Contact,
    /// Somebody at the account.
    Account,
}

impl OptOutSource {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Contact => "Contact",
            Self::Account => "Account",
        }
    }
}

/// A list of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Its number; on the wire it is a UUID.
    pub number: u32,
    /// Its name, unique in the account.
    pub name: String,
}

/// A custom field of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomField {
    /// Its number; on the wire it is a UUID.
    pub number: u32,
    /// What people see.
    pub label: String,
    /// What imports call it: the label with underscores for blanks.
    pub name: String,
}

/// What a bulk job has still to do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Work {
    /// Rows, and the lists that they go to.
    Import(Vec<serde_json::Map<String, Value>>, Vec<u32>),
    /// Lists whose members are written down.
    Export(Vec<u32>),
}

/// A bulk job.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    pub(super) number: u64,
    pub(super) created_at: Timestamp,
    pub(super) polls: u32,
    pub(super) done: bool,
    pub(super) counts: [usize; 5],
    pub(super) work: Option<Work>,
    pub(super) is_export: bool,
    /// What an export wrote down, once it is done.
    pub(super) file: Option<String>,
    /// The end that a fault gave it, instead of being done.
    pub(super) fate: Option<Fate>,
}

/// The end of a bulk job that is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Failed,
    TimedOut,
    Cancelled,
    /// It never ends.
    Stuck,
    /// The account knows nothing of it.
    Forgotten,
}

/// Where the service reads the time.
pub(super) type ServiceClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The whole account.
pub struct World {
    pub(super) settings: Settings,
    pub(super) faults: Faults,
    pub(super) luck: StdRng,
    pub(super) contacts: BTreeMap<String, Contact>,
    pub(super) by_number: HashMap<u64, String>,
    pub(super) lists: Vec<List>,
    pub(super) custom_fields: Vec<CustomField>,
    pub(super) activities: Vec<Activity>,
    pub(super) authorizations: Authorizations,
    pub(super) in_flight: HashSet<String>,
    pub(super) tries: HashMap<String, Vec<Timestamp>>,
    pub(super) refused_rows: HashSet<String>,
    pub(super) lost_rows: HashSet<String>,
    clock: ServiceClock,
    clock_moved: Duration,
    calls: BTreeMap<(String, u16), u64>,
    calls_by_day: BTreeMap<String, u64>,
    recent: VecDeque<Instant>,
    admitted: VecDeque<Instant>,
    bucket: f64,
    began: Option<Instant>,
    highest_rate: usize,
    /// Calls that came when a limit was reached, faults aside.
    pub(super) over_a_limit: u64,
}

impl World {
    pub(super) fn new(settings: Settings, clock: ServiceClock) -> Self {
        let mut world = Self {
            clock,
            luck: StdRng::seed_from_u64(settings.seed),
            faults: Faults::default(),
            contacts: BTreeMap::new(),
            by_number: HashMap::new(),
            lists: Vec::new(),
            custom_fields: Vec::new(),
            activities: Vec::new(),
            authorizations: Authorizations::default(),
            in_flight: HashSet::new(),
            tries: HashMap::new(),
            refused_rows: HashSet::new(),
            lost_rows: HashSet::new(),
            clock_moved: Duration::ZERO,
            calls: BTreeMap::new(),
            calls_by_day: BTreeMap::new(),
            recent: VecDeque::new(),
            admitted: VecDeque::new(),
            bucket: 0.0,
            began: None,
            highest_rate: 0,
            over_a_limit: 0,
            settings,
        };
        for name in world.settings.lists.clone() {
            world.add_list(&name);
        }
        for label in world.settings.custom_fields.clone() {
            world.add_custom_field(&label);
        }
        world
    }

    /// The service's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)().checked_add(self.clock_moved).unwrap_or(Timestamp::MAX)
    }

    /// Moves the service's clock on.
    pub fn advance_clock(&mut self, by: Duration) {
        self.clock_moved += by;
    }

    /// Switches a fault by its specification.
    pub fn fault(&mut self, spec: &str) -> Result<(), super::FaultError> {
        self.faults.set(spec)
    }

    /// Adds a list.
    pub fn add_list(&mut self, name: &str) -> u32 {
        let number = u32::try_from(self.lists.len()).unwrap_or(u32::MAX) + 1;
        self.lists.push(List { number, name: name.to_owned() });
        number
    }

    /// Deletes a list, with its memberships.
    pub fn remove_list(&mut self, name: &str) {
        let gone = self.lists.iter().find(|list| list.name == name).map(|list| list.number);
        self.lists.retain(|list| Some(list.number) != gone);
        for contact in self.contacts.values_mut() {
            contact.lists.retain(|list| Some(*list) != gone);
        }
    }

    /// The names of the lists, in the order they were made.
    #[must_use]
    pub fn list_names(&self) -> Vec<&str> {
        self.lists.iter().map(|list| list.name.as_str()).collect()
    }

    /// Adds a custom field.
    pub fn add_custom_field(&mut self, label: &str) -> u32 {
        let number = u32::try_from(self.custom_fields.len()).unwrap_or(u32::MAX) + 1;
        self.custom_fields.push(CustomField {
            number,
            label: label.to_owned(),
            name: label.replace(' ', "_"),
        });
        number
    }

    /// The contact of an address, deleted ones included.
    #[must_use]
    pub fn contact(&self, address: &str) -> Option<&Contact> {
        self.contacts.get(&address.to_lowercase())
    }

    /// All contacts that are not deleted, by folded address.
    pub fn contacts(&self) -> impl Iterator<Item = &Contact> {
        self.contacts.values().filter(|contact| contact.deleted_at.is_none())
    }

    /// How many contacts are not deleted.
    #[must_use]
    pub fn contact_count(&self) -> usize {
        self.contacts().count()
    }

    /// Addresses on a list, folded.
    #[must_use]
    pub fn members(&self, list: &str) -> BTreeSet<String> {
        let Some(list) = self.lists.iter().find(|known| known.name == list) else { return BTreeSet::new() };
        let on_it = self.contacts.iter().filter(|(_, contact)| contact.lists.contains(&list.number));
        on_it.map(|(address, _)| address.clone()).collect()
    }

    /// The person behind an address leaves the account.
    pub fn unsubscribe(&mut self, address: &str) {
        let now = self.now();
        if let Some(contact) = self.contacts.get_mut(&address.to_lowercase()) {
            contact.permission = Permission::Unsubscribed;
            contact.lists.clear();
            contact.opt_out_source = Some(OptOutSource::Contact);
            (contact.opted_out_at, contact.updated_at) = (Some(now), now);
        }
    }

    /// The person behind an address leaves one list and stays on the others.
    pub fn leave_list(&mut self, address: &str, list: &str) {
        let now = self.now();
        let number = self.lists.iter().find(|known| known.name == list).map(|known| known.number);
        if let (Some(contact), Some(number)) = (self.contacts.get_mut(&address.to_lowercase()), number) {
            contact.lists.remove(&number);
            contact.updated_at = now;
        }
    }

    /// The person behind an address clicks the link in the confirmation mail.
    pub fn confirm(&mut self, address: &str) {
        let now = self.now();
        if let Some(contact) = self.contacts.get_mut(&address.to_lowercase())
            && contact.permission == Permission::PendingConfirmation
        {
            (contact.permission, contact.updated_at) = (Permission::Explicit, now);
        }
    }

    /// The person behind an address signs up anew, on the account's own page.
    pub fn come_back(&mut self, address: &str) {
        let now = self.now();
        if let Some(contact) = self.contacts.get_mut(&address.to_lowercase()) {
            (contact.permission, contact.updated_at) = (Permission::Explicit, now);
            (contact.opted_out_at, contact.opt_out_source, contact.deleted_at) = (None, None, None);
        }
    }

    /// Switches all faults off.
    pub fn calm(&mut self) {
        self.faults.calm();
    }

    /// A person at the account deletes a contact.
    pub fn delete(&mut self, address: &str) {
        let now = self.now();
        if let Some(contact) = self.contacts.get_mut(&address.to_lowercase()) {
            contact.lists.clear();
            (contact.deleted_at, contact.updated_at) = (Some(now), now);
        }
    }

    /// Imports count this address as a row that a person must correct, and leave it out.
    pub fn refuse_in_imports(&mut self, address: &str) {
        self.refused_rows.insert(address.to_lowercase());
    }

    /// Imports leave this address out and do not say so.
    pub fn lose_in_imports(&mut self, address: &str) {
        self.lost_rows.insert(address.to_lowercase());
    }

    /// Adds a contact, or gives the one that is there.
    pub fn add_contact(&mut self, address: &str, permission: Permission) -> &mut Contact {
        let (now, number) = (self.now(), u64::try_from(self.contacts.len()).unwrap_or(u64::MAX) + 1);
        let key = address.to_lowercase();
        self.by_number.entry(number).or_insert_with(|| key.clone());
        self.contacts.entry(key).or_insert_with(|| Contact {
            number,
            address: address.to_owned(),
            permission,
            lists: BTreeSet::new(),
            details: BTreeMap::new(),
            created_at: now,
            updated_at: now,
            deleted_at: None,
            opted_out_at: None,
            opt_out_source: None,
        })
    }

    /// Changes the limits.
    pub fn set_limits(&mut self, per_second: u32, per_day: u32) {
        (self.settings.requests_per_second, self.settings.requests_per_day) = (per_second, per_day);
    }

    /// Calls of an endpoint, whatever was answered.
    #[must_use]
    pub fn calls(&self, endpoint: &str) -> u64 {
        self.calls.iter().filter(|((name, _), _)| name == endpoint).map(|(_, calls)| calls).sum()
    }

    /// Calls of all endpoints of the API.
    #[must_use]
    pub fn all_calls(&self) -> u64 {
        self.calls_by_day.values().sum()
    }

    /// Calls by endpoint and status.
    #[must_use]
    pub fn calls_by_status(&self) -> &BTreeMap<(String, u16), u64> {
        &self.calls
    }

    /// Calls of the service's UTC day.
    #[must_use]
    pub fn calls_today(&self) -> u64 {
        self.calls_by_day.get(&self.day()).copied().unwrap_or_default()
    }

    /// The most calls that were seen in any one second.
    #[must_use]
    pub fn highest_rate(&self) -> usize {
        self.highest_rate
    }

    /// How many calls were refused because a limit was truly reached.
    #[must_use]
    pub fn over_a_limit(&self) -> u64 {
        self.over_a_limit
    }

    pub(super) fn day(&self) -> String {
        TimeZone::UTC.to_datetime(self.now()).date().to_string()
    }

    /// A call of the API arrives: it counts, whatever becomes of it.
    pub(super) fn arrive(&mut self, at: Instant) {
        self.recent.push_back(at);
        while self.recent.front().is_some_and(|first| at.duration_since(*first) >= SECOND) {
            self.recent.pop_front();
        }
        self.highest_rate = self.highest_rate.max(self.recent.len());
        *self.calls_by_day.entry(self.day()).or_default() += 1;
    }

    /// Whether the limit per second has room for a call.
    pub(super) fn admit(&mut self, at: Instant) -> bool {
        let most = usize::try_from(self.settings.requests_per_second).unwrap_or(usize::MAX);
        let began = *self.began.get_or_insert(at);
        let second = |at: Instant, ahead: Duration| (at.duration_since(began) + ahead).as_secs();
        match self.settings.limiter {
            Limiter::Sliding => {
                while self.admitted.front().is_some_and(|first| at.duration_since(*first) >= SECOND) {
                    self.admitted.pop_front();
                }
            }
            Limiter::ClockSecond(ahead) => {
                self.admitted.retain(|first| second(*first, ahead) == second(at, ahead));
            }
            Limiter::Bucket => return self.draw(at),
        }
        let room = self.admitted.len() < most;
        if room {
            self.admitted.push_back(at);
        }
        room
    }

    /// Takes a call out of the bucket, if it holds one. It fills up from call to call, also from refused ones.
    fn draw(&mut self, at: Instant) -> bool {
        let per_second = f64::from(self.settings.requests_per_second);
        let since = self.admitted.pop_back().map_or(SECOND, |last| at.duration_since(last));
        self.admitted.push_back(at);
        self.bucket = (self.bucket + per_second * since.as_secs_f64()).min(per_second);
        let room = self.bucket >= 1.0;
        self.bucket -= f64::from(u8::from(room));
        room
    }

    pub(super) fn answered(&mut self, endpoint: &str, status: u16) {
        *self.calls.entry((endpoint.to_owned(), status)).or_default() += 1;
    }

    /// A secret that nobody guesses, in letters that go everywhere.
    pub(super) fn secret(&mut self, letters: usize) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..letters).map(|_| char::from(ALPHABET[self.luck.random_range(0..ALPHABET.len())])).collect()
    }
}

/// A number as the wire's UUID; the kind keeps lists, fields and contacts apart.
pub(super) fn uuid(kind: u16, number: u64) -> String {
    format!("{:08x}-{kind:04x}-4000-8000-{:012x}", number >> 48, number & 0xffff_ffff_ffff)
}

/// The number behind a UUID of a kind.
pub(super) fn number(kind: u16, uuid: &str) -> Option<u64> {
    let number = u64::from_str_radix(uuid.get(24..)?, 16).ok()?;
    (self::uuid(kind, number) == uuid).then_some(number)
}

/// Kinds of UUID.
pub(super) const CONTACT: u16 = 0xc;
pub(super) const LIST: u16 = 0x1;
pub(super) const FIELD: u16 = 0xf;
pub(super) const ACTIVITY: u16 = 0xa;
