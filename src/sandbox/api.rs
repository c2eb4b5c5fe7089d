//! The gateway of `/v3`: counts, limits, tokens, faults, and the way to each endpoint.

use serde_json::{Value, json};

use super::answer::{Answer, Body, Delivery, array, gateway, invalid, not_found, object, unauthorized};
use super::authorization::scope_of;
use super::request::Call;
use super::world::World;
use super::{activities, contacts, exports, imports, lists};

/// What stands in for an answer while the fault of that name fires.
fn replaced(name: &str) -> Answer {
    let page = "<!doctype html><title>Constant Contact</title><p>We will be right back.</p>";
    match name {
        "throttled" => object(429, "throttled", "Too Many Requests"),
        "quota" => object(429, "quota_exceeded", "Limit Exceeded"),
        "queue_full" => activities::queue_full(),
        "unknown_429" => Answer::empty(429),
        "400" => array(400, "contacts.api.validation.error", "email_address is invalid"),
        "401" => unauthorized(),
        "403" => gateway(403, "Forbidden"),
        "404" => not_found("not found"),
        "409" => array(409, "contacts.api.conflict", "The contact is being changed by another request"),
        "500" => gateway(500, "Internal server error"),
        "502" => gateway(502, "Internal server error"),
        "503" => array(503, "contacts.api.unavailable", "Service Not Available"),
        "html_503" => Answer::html(503, page),
        "html_200" => Answer::html(200, page),
        "empty_200" => Answer::empty(200),
        "reset" => Answer::empty(500).delivered(Delivery::Lost),
        "hang" => Answer::empty(500).delivered(Delivery::Hang),
        _ => not_found("list_memberships: contact list was not found"),
    }
}

/// How long whoever met a limit is asked to wait: longer than anybody would by himself.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(30);
/// Faults that come instead of an answer, in the order in which they are looked at.
const REPLACING: [&str; 17] = [
    "reset",
    "hang",
    "html_503",
    "503",
    "502",
    "500",
    "html_200",
    "empty_200",
    "throttled",
    "quota",
    "unknown_429",
    "queue_full",
    "401",
    "403",
    "404",
    "409",
    "400",
];

/// The endpoint's name in the log of calls.
pub(super) fn endpoint(call: &Call) -> String {
    let path = call.path.trim_start_matches("/v3/");
    let mut segments = path.split('/');
    match (segments.next().unwrap_or_default(), segments.next()) {
        ("contacts", Some("sign_up_form")) => "sign_up_form".to_owned(),
        ("activities", Some("contacts_json_import")) => "contacts_json_import".to_owned(),
        ("activities", Some("contact_exports")) => "contact_exports".to_owned(),
        ("account", _) => path.replace('/', "_"),
        (first, _) => first.to_owned(),
    }
}

/// Answers a call of the API.
pub(super) fn handle(world: &mut World, call: &Call) -> Answer {
    let name = endpoint(call);
    world.arrive(call.at);
    let answer = admitted(world, call, &name);
    world.answered(&name, answer.status);
    shaped(world, answer, &name)
}

fn admitted(world: &mut World, call: &Call, name: &str) -> Answer {
    if let Some(fault) = REPLACING.into_iter().find(|fault| world.fault_fires(fault, name)) {
        return replaced(fault);
    }
    let Some(scope) = call.bearer().and_then(|token| scope_of(world, token)) else {
        return unauthorized();
    };
    if world.calls_today() > u64::from(world.settings.requests_per_day) {
        world.over_a_limit += 1;
        return replaced("quota");
    }
    if !world.admit(call.at) {
        world.over_a_limit += 1;
        return replaced("throttled");
    }
    let answer = route(world, call, &scope);
    let delivery = match (world.fault_fires("lost", name), world.fault_fires("cut", name)) {
        (true, _) => Delivery::Lost,
        (_, true) => Delivery::Cut,
        _ => answer.delivery,
    };
    answer.delivered(delivery)
}

fn route(world: &mut World, call: &Call, scope: &str) -> Answer {
    let has = |wanted: &str| scope.split(' ').any(|scope| scope == wanted);
    let path: Vec<&str> = call.path.trim_start_matches("/v3/").split('/').collect();
    let needed = if path[0] == "account" { "account_read" } else { "contact_data" };
    match (call.method.as_str(), path.as_slice()) {
        ("GET", ["account", "user", "privileges"]) => lists::privileges(world),
        _ if !has(needed) => array(403, "insufficient_scope", "Insufficient scope to process this request"),
        ("GET", ["account", "summary"]) => lists::summary(world),
        ("POST", ["contacts", "sign_up_form"]) => sign_up(world, call),
        ("GET", ["contacts"]) => contacts::list(world, call),
        ("POST", ["contacts"]) => contacts::create(world, call),
        ("GET", ["contacts", "counts"]) => contacts::counts(world),
        ("GET", ["contacts", id]) => contacts::get(world, call, id),
        ("PUT", ["contacts", id]) => contacts::put(world, call, id),
        ("DELETE", ["contacts", id]) => contacts::delete(world, id),
        ("GET", ["contact_lists"]) => lists::lists(world, call),
        ("POST", ["contact_lists"]) => lists::create_list(world, call),
        ("GET", ["contact_lists", id]) => lists::list(world, id),
        ("GET", ["contact_custom_fields"]) => lists::custom_fields(world, call),
        ("POST", ["contact_custom_fields"]) => lists::create_custom_field(world, call),
        ("POST", ["activities", "contacts_json_import"]) => imports::import(world, call),
        ("POST", ["activities", "contact_exports"]) => exports::export(world, call),
        ("GET", ["contact_exports", id]) => exports::get(world, id),
        ("GET", ["activities"]) => activities::list(world, call),
        ("GET", ["activities", id]) => activities::get(world, id),
        _ => gateway(403, "Forbidden"),
    }
}

fn sign_up(world: &mut World, call: &Call) -> Answer {
    if world.fault_fires("list_unknown", "sign_up_form") {
        return replaced("list_unknown");
    }
    if contacts::has_odd_name(call) && world.fault_fires("strict_names", "sign_up_form") {
        return invalid("first_name is invalid");
    }
    contacts::sign_up(world, call)
}

/// The knobs that change the form of an answer.
fn shaped(world: &mut World, mut answer: Answer, name: &str) -> Answer {
    if answer.status == 429 {
        if world.fault_fires("array_429", name) {
            answer.body = match answer.body {
                Body::Json(body) => Body::Json(json!([body])),
                body => body,
            };
        }
        if world.fault_fires("retry_after", name) {
            return answer.with("Retry-After", &RETRY_AFTER.as_secs().to_string());
        }
        if world.fault_fires("retry_after_date", name) {
            let at = world.now().checked_add(RETRY_AFTER).unwrap_or_else(|_| world.now());
            return answer.with("Retry-After", &at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        }
    }
    answer
}

/// Where the next page is, in one of the forms that the last page has.
pub(super) fn page_link(world: &mut World, body: &mut Value, call: &Call, next: Option<String>) {
    if let Some(next) = next {
        let kept = call.query.iter().filter(|(name, _)| name != "cursor");
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(kept).append_pair("cursor", &next);
        body["_links"] = json!({ "next": { "href": format!("{}?{}", call.path, query.finish()) } });
    } else if world.fault_fires("bare_last_page", "") {
        body["_links"] = Value::Null;
    }
}
