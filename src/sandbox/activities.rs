//! Bulk imports: accepted at once, done while they are polled, silent about what they leave out.

use serde_json::{Map, Value, json};

use super::answer::{Answer, invalid, not_found, object as limit_object};
use super::contacts::object;
use super::request::Call;
use super::strict::is_address;
use super::world::{ACTIVITY, Activity, LIST, Permission, World, number, uuid};

/// What is beyond this is not imported, and nothing says so. Whether the service means decimal or binary megabytes is
/// unknown: the smaller is the stricter.
const BODY_READ: usize = 4_000_000;
/// Rows beyond this are not imported either.
const ROWS_READ: usize = 40_000;
/// Unfinished jobs of an account.
const MOST_UNFINISHED: usize = 1_000;
/// How long a job is remembered.
const REMEMBERED_HOURS: i64 = 240;

/// `POST /activities/contacts_json_import`
pub fn import(world: &mut World, call: &Call) -> Answer {
    if world.activities.iter().filter(|activity| !activity.done).count() >= MOST_UNFINISHED {
        return queue_full();
    }
    let body = match object(call) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let lists: Option<Vec<u32>> = body.get("list_ids").and_then(Value::as_array).and_then(|ids| {
        let known = |id: &Value| number(LIST, id.as_str()?).and_then(|number| u32::try_from(number).ok());
        ids.iter().map(known).collect()
    });
    let Some(lists) = lists.filter(|lists| (1..=50).contains(&lists.len())) else {
        return invalid("list_ids is missing");
    };
    let Some(rows) = body.get("import_data").and_then(Value::as_array) else {
        return invalid("import_data is missing");
    };
    if rows.iter().any(|row| {
        row.as_object().is_none_or(|row| row.values().any(|value| value.is_object() || value.is_array()))
    }) {
        return invalid("import_data is invalid");
    }
    let mut read = 0;
    let within = |row: &&Value| {
        read += row.to_string().len() + 1;
        read <= BODY_READ
    };
    let rows: Vec<_> =
        rows.iter().take_while(within).take(ROWS_READ).filter_map(Value::as_object).cloned().collect();
    let number = u64::try_from(world.activities.len()).unwrap_or(u64::MAX) + 1;
    let created_at = world.now();
    let activity =
        Activity { number, created_at, polls: 0, done: false, counts: [0; 5], work: Some((rows, lists)) };
    world.activities.push(activity);
    Answer::json(201, resource(&world.activities[world.activities.len() - 1], "initialized"))
}

/// The third of the service's limits, told apart only by its words.
pub fn queue_full() -> Answer {
    limit_object(429, "activities.api.limit", "You exceeded 1,000 queued activities for this user account.")
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

/// `GET /activities`
pub fn list(world: &mut World, call: &Call) -> Answer {
    let wanted = call.param("state").map(str::to_owned);
    let mut found = Vec::new();
    for index in 0..world.activities.len() {
        if remembered(world, index) {
            let state = advance(world, index);
            if wanted.as_deref().is_none_or(|wanted| wanted == state) {
                found.push(resource(&world.activities[index], state));
            }
        }
    }
    Answer::json(200, json!({ "activities": found }))
}

fn remembered(world: &World, index: usize) -> bool {
    world.now().duration_since(world.activities[index].created_at).as_hours() < REMEMBERED_HOURS
}

/// A poll brings a job on: processing first, done after the configured number.
fn advance(world: &mut World, index: usize) -> &'static str {
    world.activities[index].polls += 1;
    if world.activities[index].polls < world.settings.polls_until_done {
        return "processing";
    }
    if let Some((rows, lists)) = world.activities[index].work.take() {
        world.activities[index].counts = carry_out(world, rows, &lists);
        world.activities[index].done = true;
    }
    "completed"
}

/// Imports rows; gives the counts of items, persons, errors, correctable rows, and rows not added to lists.
fn carry_out(world: &mut World, rows: Vec<Map<String, Value>>, lists: &[u32]) -> [usize; 5] {
    let mut counts = [rows.len() + 1, 0, 0, 0, 0];
    let mut seen = std::collections::HashSet::new();
    for row in rows {
        let address = row.get("email").and_then(Value::as_str).unwrap_or_default().to_owned();
        if !is_address(&address) {
            counts[3] += 1;
            continue;
        }
        if seen.insert(address.to_lowercase()) {
            counts[1] += 1;
        }
        let now = world.now();
        let fields: Vec<(String, String)> = world
            .custom_fields
            .iter()
            .map(|field| (format!("cf:{}", field.name), uuid(super::world::FIELD, u64::from(field.number))))
            .collect();
        let contact = world.add_contact(&address, Permission::Implicit);
        (contact.deleted_at, contact.updated_at) = (None, now);
        if contact.permission == Permission::Unsubscribed {
            counts[4] += 1;
        } else {
            contact.lists.extend(lists);
        }
        for (name, value) in row.into_iter().filter(|(name, _)| name != "email") {
            let id = fields.iter().find(|(known, _)| *known == name).map(|(_, id)| id.clone());
            contact.details.insert(id.unwrap_or(name), value);
        }
    }
    counts
}

fn resource(activity: &Activity, state: &str) -> Value {
    let id = uuid(ACTIVITY, activity.number);
    let [items, persons, errors, correctable, not_added] = activity.counts;
    json!({
        "activity_id": id, "state": state, "created_at": activity.created_at.to_string(), "activity_errors": [],
        "percent_done": if activity.done { 100 } else { 1 },
        "status": {
            "items_total_count": items, "person_count": persons, "error_count": errors,
            "correctable_count": correctable, "cannot_add_to_list_count": not_added,
        },
        "_links": { "self": { "href": format!("/v3/activities/{id}") } },
    })
}
