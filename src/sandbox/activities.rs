//! Bulk imports: accepted at once, done while they are polled, silent about what they leave out.

use serde_json::{Map, Value, json};

use super::answer::{Answer, invalid, not_found, object as limit_object};
use super::contacts::object;
use super::request::Call;
use super::strict::is_address;
use super::world::{ACTIVITY, Activity, Fate, LIST, Permission, World, number, uuid};

/// What is beyond this is not imported, and nothing says so. Whether the service means decimal or binary megabytes is
/// unknown: the smaller is the stricter.
const BODY_READ: usize = 4_000_000;
/// Rows beyond this are not imported either.
const ROWS_READ: usize = 40_000;
/// Unfinished jobs of an account.
const MOST_UNFINISHED: usize = 1_000;
/// The largest page of jobs, and the usual one.
const LARGEST_PAGE: usize = 500;
const USUAL_PAGE: usize = 50;
/// States that jobs can be asked for by.
const STATES: [&str; 5] = ["processing", "completed", "cancelled", "failed", "timed_out"];
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
    let rows = rows.as_slice();
    if let Some(refusal) = wrong_row(world, rows) {
        return refusal;
    }
    if let Some(unknown) = lists.iter().find(|list| !world.lists.iter().any(|known| known.number == **list)) {
        return not_found(&format!(
            "list_ids: contact list {} was not found",
            uuid(LIST, u64::from(*unknown))
        ));
    }
    let mut read = 0;
    let within = |row: &&Value| {
        read += row.to_string().len() + 1;
        read <= BODY_READ
    };
    let rows: Vec<_> =
        rows.iter().take_while(within).take(ROWS_READ).filter_map(Value::as_object).cloned().collect();
    let number = u64::try_from(world.activities.len()).unwrap_or(u64::MAX) + 1;
    let fate = FATES.into_iter().find(|(fault, _)| world.fault_fires(fault, "contacts_json_import"));
    let activity = Activity {
        number,
        created_at: world.now(),
        polls: 0,
        done: false,
        counts: [0; 5],
        work: Some((rows, lists)),
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

/// Refuses an import with a row of the wrong shape. Rows are flat; what a row says is judged when it is carried out.
fn wrong_row(world: &mut World, rows: &[Value]) -> Option<Answer> {
    let flat = |row: &Value| {
        row.as_object().is_some_and(|row| {
            row.iter().all(|(name, value)| match value {
                Value::String(_) => true,
                Value::Number(number) => name.starts_with("birthday_") && number.is_u64(),
                _ => false,
            })
        })
    };
    if !rows.iter().all(flat) {
        return Some(invalid("import_data is invalid"));
    }
    let refused = |row: &Value| {
        row["email"].as_str().is_some_and(|address| world.refused_rows.contains(&address.to_lowercase()))
    };
    let holds_one = rows.iter().any(refused);
    (holds_one && world.fault_fires("import_invalid", "contacts_json_import"))
        .then(|| invalid("import_data[email] is invalid"))
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
    if let Some((rows, lists)) = world.activities[index].work.take() {
        world.activities[index].counts = carry_out(world, rows, &lists);
        world.activities[index].done = true;
    }
    "completed"
}

/// Properties of a row, but for custom fields, with the longest text of each.
const ROW: [(&str, usize); 40] = [
    ("email", 80),
    ("first_name", 50),
    ("last_name", 50),
    ("job_title", 50),
    ("company_name", 50),
    ("birthday_month", 2),
    ("birthday_day", 2),
    ("anniversary", 10),
    ("phone", 50),
    ("home_phone", 50),
    ("work_phone", 50),
    ("mobile_phone", 50),
    ("other_phone", 50),
    ("street", 255),
    ("street2", 255),
    ("city", 50),
    ("state", 50),
    ("zip", 50),
    ("country", 50),
    ("home_street", 255),
    ("home_street2", 255),
    ("home_city", 50),
    ("home_state", 50),
    ("home_zip", 50),
    ("home_country", 50),
    ("home country", 50),
    ("work_street", 255),
    ("work_street2", 255),
    ("work_city", 50),
    ("work_state", 50),
    ("work_zip", 50),
    ("work_country", 50),
    ("other_street", 255),
    ("other_street2", 255),
    ("other_city", 50),
    ("other_state", 50),
    ("other_zip", 50),
    ("other_country", 50),
    ("sms_number", 16),
    ("sms_consent_date", 10),
];

/// Whether a row can be taken: a good address, and nothing that is too long or, by choice of the account, unknown.
fn is_good(world: &World, row: &Map<String, Value>) -> bool {
    let address = row.get("email").and_then(Value::as_str).unwrap_or_default();
    let known = |name: &str, value: &Value| {
        let longest = match name.strip_prefix("cf:") {
            Some(field) => world.custom_fields.iter().any(|known| known.name == field).then_some(255),
            None => ROW.iter().find(|(known, _)| *known == name).map(|(_, longest)| *longest),
        };
        let length = value.as_str().map_or(0, |text| text.chars().count());
        longest.map_or(!world.settings.unknown_columns_are_errors, |longest| length <= longest)
    };
    is_address(address)
        && !world.refused_rows.contains(&address.to_lowercase())
        && row.contains_key("birthday_month") == row.contains_key("birthday_day")
        && row.iter().all(|(name, value)| known(name, value))
}

/// Imports rows; gives the counts of items, persons, errors, correctable rows, and rows not added to lists.
fn carry_out(world: &mut World, rows: Vec<Map<String, Value>>, lists: &[u32]) -> [usize; 5] {
    let mut counts = [rows.len() + 1, 0, 0, 0, 0];
    let mut seen = std::collections::HashSet::new();
    let fields: std::collections::HashMap<String, String> = world
        .custom_fields
        .iter()
        .map(|field| (format!("cf:{}", field.name), uuid(super::world::FIELD, u64::from(field.number))))
        .collect();
    let now = world.now();
    for row in rows {
        if !is_good(world, &row) {
            counts[3] += 1;
            continue;
        }
        let address = row.get("email").and_then(Value::as_str).unwrap_or_default().to_owned();
        let key = address.to_lowercase();
        if world.lost_rows.contains(&key) {
            continue;
        }
        // Equal addresses are merged and counted once.
        let first = seen.insert(key);
        counts[1] += usize::from(first);
        let contact = world.add_contact(&address, Permission::Implicit);
        (contact.deleted_at, contact.updated_at) = (None, now);
        if contact.permission == Permission::Unsubscribed {
            counts[4] += usize::from(first);
        } else {
            // Also for one who has only left a list: the import puts them back.
            contact.lists.extend(lists);
        }
        for (name, value) in row.into_iter().filter(|(name, _)| name != "email") {
            let id = fields.get(&name).cloned();
            if id.is_some() || !name.starts_with("cf:") {
                contact.details.insert(id.unwrap_or(name), value);
            }
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
