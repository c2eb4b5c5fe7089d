//! `/sandbox/…`: looking at a sandbox that runs by itself, and switching its faults. Not limited and not counted.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::Answer;
use super::request::Call;
use super::world::World;

pub(super) fn handle(world: &mut World, call: &Call) -> Answer {
    let body = String::from_utf8_lossy(&call.body).into_owned();
    match (call.method.as_str(), call.path.as_str()) {
        ("GET", "/sandbox/state") => state(world),
        ("GET", "/sandbox/contacts") => contacts(world),
        ("POST", "/sandbox/faults") => {
            let set: Result<Vec<()>, _> = body
                .lines()
                .filter(|line| !line.trim().is_empty())
                .map(|line| world.faults.set(line))
                .collect();
            set.map_or_else(
                |error| Answer::json(400, json!({ "error": error.to_string() })),
                |_| state(world),
            )
        }
        ("POST", "/sandbox/calm") => {
            world.faults.calm();
            state(world)
        }
        ("POST", "/sandbox/clock") => match body.trim().parse() {
            Ok(seconds) => {
                world.advance_clock(Duration::from_secs(seconds));
                state(world)
            }
            Err(_) => {
                Answer::json(400, json!({ "error": "write the number of seconds to move the clock on" }))
            }
        },
        _ => Answer::json(
            404,
            json!({ "error": "known: GET state, GET contacts, POST faults, POST calm, POST clock" }),
        ),
    }
}

fn state(world: &World) -> Answer {
    let lists: Value =
        world.lists.iter().map(|list| (list.name.clone(), json!(world.members(&list.name).len()))).collect();
    let calls: Value = world
        .calls_by_status()
        .iter()
        .map(|((name, status), calls)| (format!("{name} {status}"), json!(calls)))
        .collect();
    Answer::json(
        200,
        json!({
            "now": world.now().to_string(), "contacts": world.contact_count(), "lists": lists, "calls": calls,
            "calls_today": world.calls_today(), "highest_rate": world.highest_rate(), "faults": world.faults.on(),
        }),
    )
}

fn contacts(world: &World) -> Answer {
    let all: Vec<Value> = world
        .contacts()
        .map(|contact| {
            let lists =
                world.lists.iter().filter(|list| contact.lists.contains(&list.number)).map(|list| &list.name);
            json!({
                "address": contact.address, "permission": contact.permission.as_str(),
                "lists": lists.collect::<Vec<_>>(), "details": contact.details,
            })
        })
        .collect();
    Answer::json(200, Value::Array(all))
}
