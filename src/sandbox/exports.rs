//! Exports: a bulk job that writes down who is on lists, and the file that it makes.

use serde_json::Value;

use super::activities::{begin, list_numbers, unknown_list};
use super::answer::{Answer, invalid, not_found};
use super::contacts::object;
use super::request::Call;
use super::world::{ACTIVITY, Permission, Work, World, number};

/// The only way to ask that the sandbox knows: lists, and their members' addresses.
const PROPERTIES: [&str; 2] = ["list_ids", "fields"];
const FIELD: &str = "email_address";
/// How the service heads that column.
const HEADING: &str = "Email address";

/// `POST /activities/contact_exports`
pub fn export(world: &mut World, call: &Call) -> Answer {
    let body = match object(call) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    if let Some(unknown) = body.keys().find(|name| !PROPERTIES.contains(&name.as_str())) {
        return invalid(&format!("{unknown}: the sandbox exports by list_ids and fields alone"));
    }
    if body.get("fields").and_then(Value::as_array).is_none_or(|fields| fields.as_slice() != [FIELD]) {
        return invalid(&format!("fields: the sandbox exports [\"{FIELD}\"] alone"));
    }
    let Some(lists) = list_numbers(&body) else { return invalid("list_ids is invalid") };
    if let Some(refusal) = unknown_list(world, &lists) {
        return refusal;
    }
    begin(world, "contact_exports", Work::Export(lists))
}

/// What an export finds when it is carried out: everybody who is on one of the lists.
pub(super) fn file(world: &World, lists: &[u32]) -> String {
    let mut file = format!("{HEADING}\r\n");
    for contact in world.contacts() {
        let is_there = lists.iter().any(|list| contact.lists.contains(list));
        if is_there && contact.permission != Permission::Unsubscribed {
            file.push('"');
            file.push_str(&contact.address.replace('"', "\"\""));
            file.push_str("\"\r\n");
        }
    }
    file
}

/// `GET /contact_exports/{id}`
pub fn get(world: &World, id: &str) -> Answer {
    let activity = number(ACTIVITY, id)
        .and_then(|number| world.activities.iter().find(|activity| activity.number == number));
    match activity.and_then(|activity| activity.file.as_ref()) {
        Some(file) => Answer::csv(file.clone()),
        None => not_found("file_export_id was not found"),
    }
}
