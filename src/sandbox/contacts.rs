//! Contacts: the sign-up call, the resource, and the paged list.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::answer::{Answer, array, invalid, not_found};
use super::request::Call;
use super::strict::{Kind, check, is_address};
use super::world::{CONTACT, Contact, FIELD, LIST, OptOutSource, Permission, World, number, uuid};

/// The service takes 80 characters of an address everywhere that it was tried.
const LONGEST_ADDRESS: usize = 80;
const NAME: Kind = Kind::Text(50);
const TEXT: Kind = Kind::Text(255);
const MONTH: Kind = Kind::Number(1, 12);
const DAY: Kind = Kind::Number(1, 31);
/// Words that a list of contacts may be filtered by.
const STATUSES: [&str; 7] =
    ["all", "active", "deleted", "not_set", "pending_confirmation", "temp_hold", "unsubscribed"];
/// Parts of a contact that an answer to GET has only when they are named.
const INCLUDES: [&str; 7] = [
    "custom_fields",
    "list_memberships",
    "phone_numbers",
    "street_addresses",
    "taggings",
    "notes",
    "sms_channel",
];
/// Filters that are a time.
const TIMES: [&str; 6] =
    ["updated_after", "updated_before", "created_after", "created_before", "optout_after", "optout_before"];
/// The largest page, and the usual one.
const PAGE: (usize, usize) = (500, 50);

/// Properties of a sign-up: flat and singular.
const SIGN_UP: [(&str, Kind); 12] = [
    ("email_address", Kind::Text(LONGEST_ADDRESS)),
    ("list_memberships", Kind::Ids(50)),
    ("first_name", NAME),
    ("last_name", NAME),
    ("job_title", NAME),
    ("company_name", NAME),
    ("phone_number", Kind::Text(25)),
    ("street_address", Kind::Any),
    ("custom_fields", Kind::Any),
    ("anniversary", Kind::Text(10)),
    ("birthday_month", MONTH),
    ("birthday_day", DAY),
];

/// Properties of the contact resource.
const RESOURCE: [(&str, Kind); 15] = [
    ("email_address", Kind::Any),
    ("first_name", NAME),
    ("last_name", NAME),
    ("job_title", NAME),
    ("company_name", NAME),
    ("birthday_month", MONTH),
    ("birthday_day", DAY),
    ("anniversary", Kind::Text(10)),
    ("create_source", Kind::Word(&["Contact", "Account"])),
    ("update_source", Kind::Word(&["Contact", "Account"])),
    ("custom_fields", Kind::Any),
    ("phone_numbers", Kind::Any),
    ("street_addresses", Kind::Any),
    ("list_memberships", Kind::Ids(50)),
    ("taggings", Kind::Ids(50)),
];

const STREET: [(&str, Kind); 6] = [
    ("kind", Kind::Word(&["home", "work", "other"])),
    ("street", TEXT),
    ("city", NAME),
    ("state", NAME),
    ("postal_code", NAME),
    ("country", NAME),
];

const CUSTOM_FIELD: [(&str, Kind); 2] = [("custom_field_id", Kind::Text(36)), ("value", TEXT)];

/// A JSON object as the body of a write, or the refusal.
pub fn object(call: &Call) -> Result<Map<String, Value>, Answer> {
    if !call.header(hyper::header::CONTENT_TYPE).starts_with("application/json") {
        return Err(array(
            415,
            "contacts.api.unsupported_media_type",
            "Content-Type must be application/json",
        ));
    }
    match serde_json::from_slice(&call.body) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(array(400, "contacts.api.validation.error", "The request body is not valid JSON")),
    }
}

/// The address of a sign-up, folded, for telling calls for one contact apart.
pub fn address_of(call: &Call) -> Option<String> {
    let body: Value = serde_json::from_slice(&call.body).ok()?;
    body.get("email_address")?.as_str().map(str::to_lowercase)
}

/// Whether a sign-up has a first name that the service was seen to refuse.
pub fn has_odd_name(call: &Call) -> bool {
    let body: Option<Value> = serde_json::from_slice(&call.body).ok();
    body.is_some_and(|body| body["first_name"].as_str().is_some_and(|name| name.contains('.')))
}

/// `POST /contacts/sign_up_form`
pub fn sign_up(world: &mut World, call: &Call) -> Answer {
    let body = match object(call).and_then(|body| checked_sign_up(world, body)) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let address = body["email_address"].as_str().unwrap_or_default().to_owned();
    if let Some(refusal) = too_often(world, &address) {
        return refusal;
    }
    let lists = list_numbers(&body);
    if let Some(unknown) = lists.iter().find(|list| !world.lists.iter().any(|known| known.number == **list)) {
        return not_found(&format!(
            "list_memberships: contact list {} was not found",
            uuid(LIST, u64::from(*unknown))
        ));
    }
    let (now, confirmed) = (world.now(), world.settings.confirmed_opt_in);
    let was_there = world.contact(&address).is_some();
    let contact = world.add_contact(&address, Permission::Explicit);
    contact.permission = match (confirmed, was_there) {
        (true, false) => Permission::PendingConfirmation,
        _ => Permission::Explicit,
    };
    contact.lists.extend(lists);
    (contact.deleted_at, contact.opted_out_at, contact.updated_at) = (None, None, now);
    contact.opt_out_source = None;
    for (name, value) in body {
        match name.as_str() {
            "email_address" | "list_memberships" => {}
            "custom_fields" => {
                for field in value.as_array().into_iter().flatten() {
                    let id = field["custom_field_id"].as_str().unwrap_or_default().to_owned();
                    contact.details.insert(id, field["value"].clone());
                }
            }
            _ => {
                contact.details.insert(name, value);
            }
        }
    }
    let (status, action) = if was_there { (200, "updated") } else { (201, "created") };
    let id = uuid(CONTACT, contact.number);
    Answer::json(status, json!({ "action": action, "extension": null, "contact_id": id }))
}

fn checked_sign_up(world: &World, body: Map<String, Value>) -> Result<Map<String, Value>, Answer> {
    check(&body, &SIGN_UP, &["email_address", "list_memberships"]).map_err(|said| invalid(&said))?;
    let lists = body["list_memberships"].as_array().map_or(0, Vec::len);
    if lists == 0 {
        return Err(invalid("list_memberships is missing"));
    }
    if !body["email_address"].as_str().is_some_and(is_address) {
        return Err(invalid("email_address is invalid"));
    }
    if body.contains_key("birthday_month") != body.contains_key("birthday_day") {
        return Err(invalid("birthday_month, birthday_day are both required"));
    }
    if let Some(street) = body.get("street_address") {
        let object = street.as_object().ok_or_else(|| invalid("street_address is invalid"))?;
        check(object, &STREET, &["kind"]).map_err(|said| invalid(&format!("street_address: {said}")))?;
    }
    for field in body.get("custom_fields").and_then(Value::as_array).into_iter().flatten() {
        let object = field.as_object().ok_or_else(|| invalid("custom_fields is invalid"))?;
        check(object, &CUSTOM_FIELD, &["custom_field_id", "value"])
            .map_err(|said| invalid(&format!("custom_fields: {said}")))?;
        let id = number(FIELD, object["custom_field_id"].as_str().unwrap_or_default());
        if !world.custom_fields.iter().any(|known| Some(u64::from(known.number)) == id) {
            return Err(invalid("custom_fields: custom_field_id does not have a valid value"));
        }
    }
    Ok(body)
}

/// The service refuses an address that was posted too often in a day as if it were a bad one.
fn too_often(world: &mut World, address: &str) -> Option<Answer> {
    let (most, now) = (world.settings.posts_per_address?, world.now());
    let tries = world.tries.entry(address.to_lowercase()).or_default();
    tries.retain(|at| now.duration_since(*at).as_hours() < 24);
    tries.push(now);
    (tries.len() > most).then(|| invalid("email_address is an invalid email address"))
}

fn list_numbers(body: &Map<String, Value>) -> Vec<u32> {
    let ids = body
        .get("list_memberships")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    ids.map(|id| number(LIST, id).and_then(|number| u32::try_from(number).ok()).unwrap_or(u32::MAX)).collect()
}

/// `POST /contacts`
pub fn create(world: &mut World, call: &Call) -> Answer {
    let body = match object(call) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    if let Err(said) = check(&body, &RESOURCE, &["create_source"]) {
        return invalid(&said);
    }
    let address = body.get("email_address").and_then(|email| email.get("address")).and_then(Value::as_str);
    let Some(address) = address.filter(|address| is_address(address)) else {
        return invalid("email_address[address] is missing");
    };
    if let Some(known) = world.contact(address) {
        let id = uuid(CONTACT, known.number);
        return array(
            409,
            "contacts.api.conflict",
            &format!("Validation failed: Email already exists for contact {id}"),
        );
    }
    let number = world.add_contact(address, Permission::Implicit).number;
    replace(world, number, &body);
    let contact = world.by_number.get(&number).and_then(|key| world.contacts.get(key));
    contact.map_or_else(|| Answer::empty(500), |contact| Answer::json(201, resource(contact, &INCLUDES)))
}

/// `PUT /contacts/{id}`: what is left out becomes null.
pub fn put(world: &mut World, call: &Call, id: &str) -> Answer {
    let body = match object(call) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    if let Err(said) = check(&body, &RESOURCE, &["update_source"]) {
        return invalid(&said);
    }
    let Some(number) = number(CONTACT, id).filter(|number| world.by_number.contains_key(number)) else {
        return not_found("contact_id was not found");
    };
    replace(world, number, &body);
    shown(world, id, &INCLUDES)
}

fn replace(world: &mut World, number: u64, body: &Map<String, Value>) {
    let (now, lists) = (world.now(), list_numbers(body));
    let Some(contact) = world.by_number.get(&number).and_then(|key| world.contacts.get_mut(key)) else {
        return;
    };
    let permission = body.get("email_address").and_then(|email| email["permission_to_send"].as_str());
    contact.permission = match permission {
        Some("explicit") => Permission::Explicit,
        Some("unsubscribed") => Permission::Unsubscribed,
        Some(_) => Permission::Implicit,
        None => contact.permission,
    };
    if contact.permission == Permission::Unsubscribed {
        let by_the_person = body.get("update_source").and_then(Value::as_str) == Some("Contact");
        let source = if by_the_person { OptOutSource::Contact } else { OptOutSource::Account };
        contact.opt_out_source.get_or_insert(source);
        contact.opted_out_at.get_or_insert(now);
    } else {
        (contact.opt_out_source, contact.opted_out_at) = (None, None);
    }
    if body.contains_key("list_memberships") {
        contact.lists = lists.into_iter().collect();
    }
    let kept =
        |name: &str| !["email_address", "list_memberships", "create_source", "update_source"].contains(&name);
    contact.details = body
        .iter()
        .filter(|(name, _)| kept(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (contact.deleted_at, contact.updated_at) = (None, now);
}

/// `GET /contacts/{id}`
pub fn get(world: &World, call: &Call, id: &str) -> Answer {
    match included(call) {
        Some(include) => shown(world, id, &include),
        None => invalid("include does not have a valid value"),
    }
}

fn shown(world: &World, id: &str, include: &[&str]) -> Answer {
    let known = number(CONTACT, id)
        .and_then(|number| world.by_number.get(&number))
        .and_then(|key| world.contacts.get(key));
    known.map_or_else(
        || not_found("contact_id was not found"),
        |contact| Answer::json(200, resource(contact, include)),
    )
}

/// `DELETE /contacts/{id}`
pub fn delete(world: &mut World, id: &str) -> Answer {
    let known = number(CONTACT, id).and_then(|number| world.by_number.get(&number).cloned());
    known.map_or_else(
        || not_found("contact_id was not found"),
        |address| {
            world.delete(&address);
            Answer::empty(204)
        },
    )
}

/// `GET /contacts/counts`
pub fn counts(world: &World) -> Answer {
    let count = |permission| world.contacts().filter(|contact| contact.permission == permission).count();
    Answer::json(
        200,
        json!({
            "total": world.contact_count(), "explicit": count(Permission::Explicit), "implicit": count(Permission::Implicit),
            "pending": count(Permission::PendingConfirmation), "unsubscribed": count(Permission::Unsubscribed),
        }),
    )
}

/// `GET /contacts`
pub fn list(world: &mut World, call: &Call) -> Answer {
    let limit = call.param("limit").map_or(Ok(PAGE.1), str::parse);
    let Some(limit) = limit.ok().filter(|limit| (1..=PAGE.0).contains(limit)) else {
        return invalid("limit does not have a valid value");
    };
    if let Some(name) = odd_filter(call) {
        return invalid(&format!("{name} does not have a valid value"));
    }
    let Some(include) = included(call) else {
        return invalid("include does not have a valid value");
    };
    let after = call.param("cursor").unwrap_or_default();
    let chosen = |contact: &Contact| filter(contact, call);
    let found: Vec<Value> = world
        .contacts
        .range::<str, _>((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded))
        .filter(|(_, contact)| chosen(contact))
        .take(limit + 1)
        .map(|(_, contact)| resource(contact, &include))
        .collect();
    let more = found.len() > limit;
    let last =
        found.get(limit.saturating_sub(1)).and_then(|contact| contact["email_address"]["address"].as_str());
    let mut body = json!({ "contacts": found.iter().take(limit).collect::<Vec<_>>() });
    if call.param("include_count") == Some("true") {
        body["contacts_count"] = json!(world.contacts.values().filter(|contact| chosen(contact)).count());
    }
    super::api::page_link(world, &mut body, call, more.then(|| last.unwrap_or_default().to_lowercase()));
    Answer::json(200, body)
}

/// The first filter with a value that the service does not know.
fn odd_filter(call: &Call) -> Option<&'static str> {
    let statuses = call.param("status").unwrap_or("all").split(',');
    if !statuses.into_iter().all(|status| STATUSES.contains(&status)) {
        return Some("status");
    }
    TIMES
        .into_iter()
        .find(|name| call.param(name).is_some_and(|text| text.parse::<jiff::Timestamp>().is_err()))
}

/// The parts that a call asks for; `None` when it names one that there is not.
fn included(call: &Call) -> Option<Vec<&str>> {
    let names = call.param("include").unwrap_or_default().split(',').filter(|name| !name.is_empty());
    names.map(|name| INCLUDES.contains(&name).then_some(name)).collect()
}

fn filter(contact: &Contact, call: &Call) -> bool {
    let statuses: Vec<&str> =
        call.param("status").unwrap_or_default().split(',').filter(|s| !s.is_empty()).collect();
    let status = if contact.deleted_at.is_some() { "deleted" } else { contact.permission.as_str() };
    let active =
        matches!(contact.permission, Permission::Explicit | Permission::Implicit) && status != "deleted";
    let by_status = if statuses.is_empty() {
        status != "deleted"
    } else {
        statuses.iter().any(|wanted| *wanted == "all" || *wanted == status || (*wanted == "active" && active))
    };
    let by_email = call.param("email").is_none_or(|email| email.eq_ignore_ascii_case(&contact.address));
    let lists: Vec<&str> =
        call.param("lists").unwrap_or_default().split(',').filter(|s| !s.is_empty()).collect();
    let on = |id: &&str| contact.lists.iter().any(|list| uuid(LIST, u64::from(*list)) == **id);
    let by_list = lists.is_empty() || lists.iter().any(on);
    let later = |name: &str, time: Option<jiff::Timestamp>| {
        let wanted = call.param(name).and_then(|text| text.parse::<jiff::Timestamp>().ok());
        wanted.is_none_or(|wanted| time.is_some_and(|time| time > wanted))
    };
    let earlier = |name: &str, time: Option<jiff::Timestamp>| {
        let wanted = call.param(name).and_then(|text| text.parse::<jiff::Timestamp>().ok());
        wanted.is_none_or(|wanted| time.is_some_and(|time| time < wanted))
    };
    by_status
        && by_email
        && by_list
        && later("updated_after", Some(contact.updated_at))
        && later("created_after", Some(contact.created_at))
        && later("optout_after", contact.opted_out_at)
        && earlier("updated_before", Some(contact.updated_at))
        && earlier("created_before", Some(contact.created_at))
        && earlier("optout_before", contact.opted_out_at)
}

/// The contact as an answer shows it, with the parts that were asked for.
fn resource(contact: &Contact, include: &[&str]) -> Value {
    let mut details: BTreeMap<String, Value> = contact.details.clone();
    let fields: Vec<Value> = details
        .extract_if(.., |name, _| number(FIELD, name).is_some())
        .map(|(id, value)| json!({ "custom_field_id": id, "value": value }))
        .collect();
    let lists: Vec<String> = contact.lists.iter().map(|list| uuid(LIST, u64::from(*list))).collect();
    let mut body = json!({
        "contact_id": uuid(CONTACT, contact.number),
        "email_address": {
            "address": contact.address,
            "permission_to_send": contact.permission.as_str(),
            "opt_out_source": contact.opt_out_source.map(OptOutSource::as_str),
            "opt_out_date": contact.opted_out_at.map(|time| time.to_string()),
        },
        "created_at": contact.created_at.to_string(),
        "updated_at": contact.updated_at.to_string(),
        "extension": null,
    });
    for (name, value) in details {
        body[name] = value;
    }
    for (name, part) in [("custom_fields", json!(fields)), ("list_memberships", json!(lists))] {
        if include.contains(&name) {
            body[name] = part;
        }
    }
    if let Some(deleted_at) = contact.deleted_at {
        body["deleted_at"] = json!(deleted_at.to_string());
    }
    body
}
