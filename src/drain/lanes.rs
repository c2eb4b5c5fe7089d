//! Which routes can be sent: configured names become the account's ids.
//!
//! Pure. Promises that a route with one unknown list is blocked as a whole, with the names that the account has, and that
//! the other routes are not.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::{Consent, Route, nearest};
use crate::outbox::{Directory, OpenRoute};

/// How many of the account's lists a message names; with more nobody would read them.
const LISTS_NAMED: usize = 20;

/// A route that can be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lane {
    /// As the outbox asks for it.
    pub open: OpenRoute,
    /// Row by row, or in bulk.
    pub consent: Consent,
    /// Its lists' ids.
    pub lists: Vec<String>,
}

/// Routes that share their imports because their lists are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkLane {
    /// The set of lists, as one string that is equal for equal sets.
    pub lists: String,
    /// Its lists' ids.
    pub list_ids: Vec<String>,
    /// The folders of its routes.
    pub folders: Vec<String>,
}

/// The routes, sorted into those that can be sent and those that cannot.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Lanes {
    /// By folder.
    pub open: BTreeMap<String, Lane>,
    /// By folder: why not, and what would help.
    pub blocked: BTreeMap<String, String>,
}

impl Lanes {
    /// Looks every route's lists up in the directory.
    #[must_use]
    pub fn resolve(routes: &[Route], directory: &Directory) -> Self {
        let mut lanes = Self::default();
        for route in routes {
            let ids: Result<Vec<_>, _> = route.lists.iter().map(|name| id(name, directory)).collect();
            match ids {
                Ok(lists) => {
                    let (folder, list_ids) = (route.folder.clone(), lists.clone());
                    let open = OpenRoute { folder, lists: route.lists_key(), list_ids };
                    lanes.open.insert(route.folder.clone(), Lane { open, consent: route.consent, lists });
                }
                Err(reason) => {
                    lanes.blocked.insert(route.folder.clone(), reason);
                }
            }
        }
        lanes
    }

    /// The open routes whose rows go one by one, as the outbox asks for them.
    #[must_use]
    pub fn routes(&self) -> Vec<OpenRoute> {
        let single = self.open.values().filter(|lane| lane.consent == Consent::Explicit);
        single.map(|lane| lane.open.clone()).collect()
    }

    /// The open routes whose rows go in bulk, by their sets of lists.
    #[must_use]
    pub fn bulk(&self) -> Vec<BulkLane> {
        let mut lanes: BTreeMap<&str, BulkLane> = BTreeMap::new();
        for lane in self.open.values().filter(|lane| lane.consent == Consent::Implicit) {
            let bulk = lanes.entry(&lane.open.lists).or_insert_with(|| BulkLane {
                lists: lane.open.lists.clone(),
                list_ids: lane.lists.clone(),
                folders: Vec::new(),
            });
            bulk.folders.push(lane.open.folder.clone());
        }
        lanes.into_values().collect()
    }
}

/// The lists that routes name and the account lacks, each once, with the first route's folder. What looks like an id names
/// a list that there was once: no name can bring it back.
#[must_use]
pub fn missing_lists(routes: &[Route], directory: &Directory) -> Vec<(String, String)> {
    let folded = |name: &str| name.trim().to_lowercase();
    let missing = |name: &str| {
        let known = directory.lists.values().any(|known| folded(known) == folded(name));
        directory.list_id(name).is_none() && !known && !is_an_id(name)
    };
    let mut seen = BTreeSet::new();
    let all = routes.iter().flat_map(|route| route.lists.iter().map(|name| (&route.folder, name)));
    all.filter(|(_, name)| missing(name) && seen.insert(folded(name)))
        .map(|(folder, name)| (folder.clone(), name.trim().to_owned()))
        .collect()
}

/// The service's ids are UUIDs.
fn is_an_id(name: &str) -> bool {
    let shape = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = name.trim().split('-').collect();
    parts.len() == shape.len()
        && parts
            .iter()
            .zip(shape)
            .all(|(part, length)| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn id(name: &str, directory: &Directory) -> Result<String, String> {
    if let Some(id) = directory.list_id(name) {
        return Ok(id.to_owned());
    }
    let known: Vec<&str> = directory.lists.values().map(String::as_str).collect();
    Err(match (nearest(name, known.iter().copied()), known.is_empty()) {
        (_, true) => format!("the account has no list `{name}`, nor any other: make it there"),
        (Some(near), _) => format!("the account has no list `{name}`; did you mean `{near}`?"),
        (None, _) => {
            let named = known.iter().take(LISTS_NAMED).copied().collect::<Vec<_>>().join(", ");
            format!("the account has no list `{name}`; it has: {named}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(folder: &str, lists: &[&str]) -> Route {
        Route {
            folder: folder.to_owned(),
            lists: lists.iter().map(|list| (*list).to_owned()).collect(),
            consent: Consent::Explicit,
            columns: BTreeMap::new(),
        }
    }

    fn directory(lists: &[(&str, &str)]) -> Directory {
        let lists = lists.iter().map(|(id, name)| ((*id).to_owned(), (*name).to_owned())).collect();
        Directory { lists, ..Directory::default() }
    }

    #[test]
    fn lists_are_found_by_id_by_name_and_by_name_without_case_where_only_one_fits() {
        let known = directory(&[("l-1", "Newsletter"), ("l-2", "Members"), ("l-3", "MEMBERS")]);
        let ids = |name: &str| {
            Lanes::resolve(&[route(".", &[name])], &known).open.get(".").map(|lane| lane.lists.clone())
        };
        assert_eq!(ids("l-2"), Some(vec!["l-2".to_owned()]));
        assert_eq!(ids("newsletter "), Some(vec!["l-1".to_owned()]));
        assert_eq!(ids("Members"), Some(vec!["l-2".to_owned()]));
        assert_eq!(ids("members"), None, "two lists fit");
    }

    #[test]
    fn an_unknown_list_blocks_its_route_only_and_says_what_there_is() {
        let known = directory(&[("l-1", "Newsletter"), ("l-2", "Members")]);
        let routes = [route(".", &["Newsletter"]), route("a", &["Membres"]), route("b", &["xyz", "Members"])];
        let lanes = Lanes::resolve(&routes, &known);
        assert_eq!(lanes.open.keys().collect::<Vec<_>>(), ["."]);
        assert_eq!(lanes.blocked["a"], "the account has no list `Membres`; did you mean `Members`?");
        assert_eq!(lanes.blocked["b"], "the account has no list `xyz`; it has: Newsletter, Members");
    }

    #[test]
    fn only_names_that_nobody_could_mean_otherwise_are_lists_to_make() {
        let known = directory(&[("l-1", "Newsletter"), ("l-2", "Members"), ("l-3", "MEMBERS")]);
        let gone = "7c9e6679-7425-40de-944b-e07fc1f90ae7";
        let routes = [route(".", &["newsletter", " Fair "]), route("a", &["members", gone, "FAIR"])];
        assert_eq!(missing_lists(&routes, &known), [(".".to_owned(), "Fair".to_owned())]);
    }

    #[test]
    fn equal_sets_of_lists_have_equal_keys() {
        assert_eq!(route("a", &["x", "y "]).lists_key(), route("b", &["y", "x", "x"]).lists_key());
        assert_ne!(route("a", &["x", "y"]).lists_key(), route("a", &["x"]).lists_key());
    }
}
