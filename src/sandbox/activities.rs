//! Bulk jobs: accepted at once, carried out while they are polled. Leaves what they do to `imports` and `exports`.

use serde_json::{Map, Value, json};

use super::answer::{Answer, invalid, not_found, object};
use super::request::Call;
use super::world::{ACTIVITY, Activity, Fate, LIST, Work, World, number, uuid};
use super::{exports, imports};

/// Unfinished jobs of an account.
const MOST_UNFINISHED: usize = 1_000;
/// Lists that a job may name.
const MOST_LISTS: usize = 50;
/// The largest page of jobs, and the usual one.
const LARGEST_PAGE: usize = 500;
const USUAL_PAGE: usize = 50;
/// States that jobs can be asked for by.
const STATES: [&str; 5] = ["processing", "completed", "cancelled", "failed", "timed_out"];
/// How long a job is remembered.
const REMEMBERED_HOURS: i64 = 240;

/// The lists that a job names; `None` unless there are one to fifty.
pub(super) fn list_numbers(body: &Map<String, Value>) -> Option<Vec<u32>> {
    let ids = body.get("list_ids")?.as_array()?;
    let known = |id: &Value| number(LIST, id.as_str()?).and_then(|number| u32::try_from(number).ok());
    let lists: Vec<u32> = ids.iter().map(known).collect::<Option<_>>()?;
    (1..=MOST_LISTS).contains(&lists.len()).then_some(lists)
}

/// The refusal of a job that names a list that is not there.
pub(super) fn unknown_list(world: &World, lists: &[u32]) -> Option<Answer> {
    let is_known = |list: &&u32| world.lists.iter().any(|known| known.number == **list);
    let unknown = lists.iter().find(|list| !is_known(list))?;
    let id = uuid(LIST, u64::from(*unknown));
    Some(not_found(&format!("list_ids: contact list {id} was not found")))
}

/// Takes a job, unless too many are unfinished. It is carried out while it is polled.
pub(super) fn begin(world: &mut World, endpoint: &str, work: Work) -> Answer {
    if world.activities.iter().filter(|activity| !activity.done).count() >= MOST_UNFINISHED {
        return queue_full();
    }
    let fate = FATES.into_iter().find(|(fault, _)| world.fault_fires(fault, endpoint));
    let activity = Activity {
        number: u64::try_from(world.activities.len()).unwrap_or(u64::MAX) + 1,
        created_at: world.now(),
        polls: 0,
        done: false,
        counts: [0; 5],
        is_export: matches!(work, Work::Export(_)),
        file: None,
        work: Some(work),
        fate: fate.map(|(_, fate)| fate),
    };
    world.activities.push(activity);
    Answer::json(201, resource(&world.activities[world.activities.len() - 1], "initialized"))
}

/// Faults that end a job otherwise than by being done.
const FATES: [(&str, Fate); 5] = [
    ("activity_failed", Fate::Failed),
    ("activity_timed_out", Fate::TimedOut),
    ("activity_cancelled", Fate::Cancelled),
    ("activity_stuck", Fate::Stuck),
    ("activity_forgotten", Fate::Forgotten),
];

/// The third of the service's limits, told apart only by its words.
pub fn queue_full() -> Answer {
    object(429, "activities.api.limit", "You exceeded 1,000 queued activities for this user account.")
}

/// `GET /activities/{id}`
pub fn get(world: &mut World, id: &str) -> Answer {
    let index = number(ACTIVITY, id)
        .and_then(|number| world.activities.iter().position(|known| known.number == number));
    let Some(index) = index.filter(|index| remembered(world, *index)) else {
        return not_found("activity_id was not found");
    };
    let state = advance(world, index);
    Answer::json(200, resource(&world.activities[index], state))
}

/// `GET /activities`, the newest first
pub fn list(world: &mut World, call: &Call) -> Answer {
    let limit = call.param("limit").map_or(Ok(USUAL_PAGE), str::parse);
    let Some(limit) = limit.ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)) else {
        return invalid("limit does not have a valid value");
    };
    let wanted = call.param("state").map(str::to_owned);
    if wanted.as_deref().is_some_and(|wanted| !STATES.contains(&wanted)) {
        return invalid("state does not have a valid value");
    }
    let before: u64 = call.param("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(u64::MAX);
    let mut found = Vec::new();
    for index in (0..world.activities.len()).rev() {
        if world.activities[index].number < before && remembered(world, index) {
            let state = advance(world, index);
            if wanted.as_deref().is_none_or(|wanted| wanted == state) {
                found.push((world.activities[index].number, resource(&world.activities[index], state)));
            }
        }
        if found.len() > limit {
            break;
        }
    }
    let next = (found.len() > limit).then(|| found[limit - 1].0.to_string());
    let items: Vec<Value> = found.into_iter().take(limit).map(|(_, item)| item).collect();
    let mut body = json!({ "activities": items });
    super::api::page_link(world, &mut body, call, next);
    Answer::json(200, body)
}

fn remembered(world: &World, index: usize) -> bool {
    let activity = &world.activities[index];
    activity.fate != Some(Fate::Forgotten)
        && world.now().duration_since(activity.created_at).as_hours() < REMEMBERED_HOURS
}

/// A poll brings a job on: processing first, done after the configured number.
fn advance(world: &mut World, index: usize) -> &'static str {
    world.activities[index].polls += 1;
    let fate = world.activities[index].fate;
    if world.activities[index].polls < world.settings.polls_until_done || fate == Some(Fate::Stuck) {
        return "processing";
    }
    let end = match fate {
        Some(Fate::Failed) => "failed",
        Some(Fate::TimedOut) => "timed_out",
        Some(Fate::Cancelled) => "cancelled",
        _ => "completed",
    };
    if end != "completed" {
        (world.activities[index].work, world.activities[index].done) = (None, true);
        return end;
    }
    match world.activities[index].work.take() {
        Some(Work::Import(rows, lists)) => {
            world.activities[index].counts = imports::carry_out(world, rows, &lists);
        }
        Some(Work::Export(lists)) => {
            world.activities[index].file = Some(exports::file(world, &lists));
        }
        None => {}
    }
    world.activities[index].done = true;
    "completed"
}

fn resource(activity: &Activity, state: &str) -> Value {
    let id = uuid(ACTIVITY, activity.number);
    let mut resource = json!({
        "activity_id": id, "state": state, "created_at": activity.created_at.to_string(), "activity_errors": [],
        "percent_done": if activity.done { 100 } else { 1 },
        "_links": { "self": { "href": format!("/v3/activities/{id}") } },
    });
    if activity.is_export {
        let lines = activity.file.as_ref().map_or(0, |file| file.lines().count().saturating_sub(1));
        resource["status"] = json!({ "items_total_count": lines, "items_completed_count": lines });
        if activity.file.is_some() {
            resource["_links"]["results"] = json!({ "href": format!("/v3/contact_exports/{id}") });
        }
        return resource;
    }
    let [items, persons, errors, correctable, not_added] = activity.counts;
    resource["status"] = json!({
        "items_total_count": items, "person_count": persons, "error_count": errors,
        "correctable_count": correctable, "cannot_add_to_list_count": not_added,
    });
    resource
}
