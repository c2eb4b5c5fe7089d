//! Bulk imports: silent about what they leave out.

use serde_json::{Map, Value};

use super::activities::{list_numbers, unknown_list};
use super::answer::{Answer, invalid};
use super::contacts::object;
use super::request::Call;
use super::strict::is_address;
use super::world::{Permission, Work, World, uuid};

/// What is beyond this is not imported, and nothing says so. Whether the service means decimal or binary megabytes is
/// unknown: the smaller is the stricter.
const BODY_READ: usize = 4_000_000;
/// Rows beyond this are not imported either.
const ROWS_READ: usize = 40_000;

/// `POST /activities/contacts_json_import`
pub fn import(world: &mut World, call: &Call) -> Answer {
    let body = match object(call) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let Some(lists) = list_numbers(&body) else { return invalid("list_ids is missing") };
    let Some(rows) = body.get("import_data").and_then(Value::as_array) else {
        return invalid("import_data is missing");
    };
    let rows = rows.as_slice();
    if let Some(refusal) = wrong_row(world, rows) {
        return refusal;
    }
    if let Some(refusal) = unknown_list(world, &lists) {
        return refusal;
    }
    let mut read = 0;
    let within = |row: &&Value| {
        read += row.to_string().len() + 1;
        read <= BODY_READ
    };
    let rows: Vec<_> =
        rows.iter().take_while(within).take(ROWS_READ).filter_map(Value::as_object).cloned().collect();
    super::activities::begin(world, "contacts_json_import", Work::Import(rows, lists))
}

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
pub(super) fn carry_out(world: &mut World, rows: Vec<Map<String, Value>>, lists: &[u32]) -> [usize; 5] {
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
