//! The account's own things: lists, custom fields, its name and the user's privileges.

use serde_json::{Value, json};

use super::answer::{Answer, array, invalid, not_found};
use super::contacts::object;
use super::request::Call;
use super::strict::{Kind, check};
use super::world::{FIELD, LIST, World, number, uuid};

/// The largest pages.
const LISTS_PAGE: usize = 500;
const FIELDS_PAGE: usize = 100;
/// The usual page of both.
const USUAL_PAGE: usize = 50;
/// How many an account may have.
const MOST_LISTS: usize = 1_000;
const MOST_FIELDS: usize = 100;

/// `GET /contact_lists`
pub fn lists(world: &mut World, call: &Call) -> Answer {
    let named = call.param("name");
    let items = world.lists.iter().filter(|list| named.is_none_or(|name| name == list.name));
    let items = items.map(|list| (u64::from(list.number), list_body(list.number, &list.name))).collect();
    page(world, call, "lists", items, LISTS_PAGE)
}

/// `POST /contact_lists`
pub fn create_list(world: &mut World, call: &Call) -> Answer {
    let known = [("name", Kind::Text(255)), ("favorite", Kind::Any), ("description", Kind::Text(255))];
    let body = match object(call) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    if let Err(said) = check(&body, &known, &["name"]) {
        return invalid(&said);
    }
    let name = body["name"].as_str().unwrap_or_default().to_owned();
    if world.lists.iter().any(|list| list.name == name) || world.lists.len() >= MOST_LISTS {
        return array(409, "contacts.api.conflict", "Validation failed: Name has already been taken");
    }
    let number = world.add_list(&name);
    Answer::json(201, list_body(number, &name))
}

/// `GET /contact_lists/{id}`
pub fn list(world: &World, id: &str) -> Answer {
    let known = world.lists.iter().find(|list| number(LIST, id) == Some(u64::from(list.number)));
    known.map_or_else(
        || not_found("list_id was not found"),
        |list| Answer::json(200, list_body(list.number, &list.name)),
    )
}

fn list_body(number: u32, name: &str) -> Value {
    json!({ "list_id": uuid(LIST, u64::from(number)), "name": name, "favorite": false, "description": null, "extension": [] })
}

/// `GET /contact_custom_fields`
pub fn custom_fields(world: &mut World, call: &Call) -> Answer {
    let items = world
        .custom_fields
        .iter()
        .map(|field| (u64::from(field.number), field_body(field.number, &field.label, &field.name)));
    let items = items.collect();
    page(world, call, "custom_fields", items, FIELDS_PAGE)
}

/// `POST /contact_custom_fields`
pub fn create_custom_field(world: &mut World, call: &Call) -> Answer {
    let known = [("label", Kind::Text(50)), ("type", Kind::Word(&["string", "date", "number", "boolean"]))];
    let body = match object(call) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    if let Err(said) = check(&body, &known, &["label", "type"]) {
        return invalid(&said);
    }
    let label = body["label"].as_str().unwrap_or_default().to_owned();
    if world.custom_fields.iter().any(|field| field.label == label)
        || world.custom_fields.len() >= MOST_FIELDS
    {
        return array(409, "contacts.api.conflict", "Validation failed: Label has already been taken");
    }
    let number = world.add_custom_field(&label);
    Answer::json(201, field_body(number, &label, &label.replace(' ', "_")))
}

fn field_body(number: u32, label: &str, name: &str) -> Value {
    json!({ "custom_field_id": uuid(FIELD, u64::from(number)), "label": label, "name": name, "type": "string", "version": 2 })
}

/// A page of numbered things.
fn page(world: &mut World, call: &Call, things: &str, items: Vec<(u64, Value)>, most: usize) -> Answer {
    let limit = call.param("limit").map_or(Ok(USUAL_PAGE), str::parse);
    let Some(limit) = limit.ok().filter(|limit| (1..=most).contains(limit)) else {
        return invalid("limit does not have a valid value");
    };
    let after: u64 = call.param("cursor").and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let rest: Vec<_> = items.into_iter().filter(|(number, _)| *number > after).collect();
    let next = (rest.len() > limit).then(|| rest[limit - 1].0.to_string());
    let mut body = json!({});
    body[things] = rest.into_iter().take(limit).map(|(_, item)| item).collect();
    super::api::page_link(world, &mut body, call, next);
    Answer::json(200, body)
}

/// `GET /account/summary`
pub fn summary(world: &World) -> Answer {
    Answer::json(
        200,
        json!({
            "organization_name": world.settings.organization_name, "contact_email": "owner@example.org",
            "country_code": "US", "encoded_account_id": "p07e1l2l3m4n", "first_name": null, "time_zone_id": "US/Eastern",
        }),
    )
}

/// `GET /account/user/privileges`
pub fn privileges(world: &mut World) -> Answer {
    if world.fault_fires("no_account", "account_user_privileges") {
        return super::answer::unauthorized();
    }
    let mut names = vec![
        "contacts:read",
        "contacts:write",
        "contacts:lists:read",
        "contacts:lists:write",
        "account:read",
    ];
    if world.fault_fires("campaign_manager", "account_user_privileges") {
        names = vec!["campaign:create", "account:read"];
    }
    let all: Vec<Value> =
        (30..).zip(names).map(|(id, name)| json!({ "privilege_id": id, "privilege_name": name })).collect();
    Answer::json(200, Value::Array(all))
}
