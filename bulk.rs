use serde_json::{Value, json};

use super::super::{Permission, Settings, Source, State, UnknownColumn};
use super::bench::{Answer, Bench, settings};

async fn import(bench: &Bench, rows: &Value) -> Answer {
    let body = json!({ "import_data": rows, "list_ids": [bench.list("Members")] });
    bench.post("/v3/activities/contacts_json_import", body).await
}

async fn poll(bench: &Bench, accepted: &Answer) -> Value {
    let id = accepted.json()["activity_id"].as_str().unwrap().to_owned();
    bench.get(&format!("/v3/activities/{id}")).await.json()
}

/// Imports and polls to the end.
async fn finished(bench: &Bench, rows: Value) -> Value {
    let accepted = import(bench, &rows).await;
    assert_eq!(accepted.status, 201, "{}", accepted.text);
    poll(bench, &accepted).await;
    let last = poll(bench, &accepted).await;
    assert_eq!(last["state"], "completed");
    last["status"].clone()
}

fn counts(status: &Value) -> [u64; 5] {
    ["items_total_count", "person_count", "error_count", "correctable_count", "cannot_add_to_list_count"]
        .map(|name| status[name].as_u64().unwrap())
}

#[tokio::test]
async fn an_import_is_carried_out_some_polls_later() {
    let bench = Bench::start().await;
    let accepted = import(&bench, &json!([{ "email": "ann@example.org", "first_name": "Ann" }])).await;
    assert_eq!((accepted.status, &accepted.json()["state"]), (201, &json!("initialized")));
    assert_eq!(poll(&bench, &accepted).await["state"], "processing");
    assert!(bench.sandbox.inspect(|world| world.contact("ann@example.org").is_none()));
    let done = poll(&bench, &accepted).await;
    assert_eq!((&done["state"], &done["percent_done"]), (&json!("completed"), &json!(100)));
    bench.sandbox.inspect(|world| {
        let ann = world.contact("ann@example.org").unwrap();
        assert_eq!((ann.permission, ann.opt_in.unwrap().0), (Permission::Implicit, Source::Account));
        assert_eq!((ann.first_name.as_deref(), world.members("Members").len()), (Some("Ann"), 1));
    });
    let all = bench.get("/v3/activities?limit=500&state=completed").await.json();
    assert_eq!(all["activities"][0]["activity_id"], accepted.json()["activity_id"]);
    assert_eq!(bench.get("/v3/activities?state=initialized").await.status, 400);
}

#[tokio::test]
async fn the_counts_tell_merged_barred_and_bad_rows_apart() {
    let bench = Bench::with(Settings { custom_fields: vec!["Fav color".to_owned()], ..settings() }).await;
    bench.sandbox.change(|world| {
        world.add_contact("left@example.org");
        world.unsubscribe("left@example.org", Source::Contact);
    });
    let status = finished(
        &bench,
        json!([
            { "email": "ann@example.org", "cf:Fav_color": "blue" },
            { "email": "ANN@example.org", "last_name": "Lee" },
            { "email": "left@example.org", "first_name": "Lou" },
            { "email": "no address" },
            { "first_name": "Nobody" },
            { "email": "bob@example.org", "birthday_month": 13, "birthday_day": 1 },
            { "email": "cid@example.org", "cf:Fav color": "the label is not the name" },
        ]),
    )
    .await;
    assert_eq!(counts(&status), [8, 2, 1, 3, 1]);
    bench.sandbox.inspect(|world| {
        let ann = world.contact("ann@example.org").unwrap();
        let color = world.custom_field("Fav color").unwrap().id;
        assert_eq!((ann.custom_field(color), ann.last_name.as_deref()), (Some("blue"), Some("Lee")));
        let left = world.contact("left@example.org").unwrap();
        assert_eq!((left.permission, left.first_name.as_deref()), (Permission::Unsubscribed, Some("Lou")));
        assert_eq!(world.members("Members"), ["ann@example.org"]);
    });
}

#[tokio::test]
async fn unknown_custom_columns_can_be_ignored_instead() {
    let bench = Bench::with(Settings { unknown_columns: UnknownColumn::Ignored, ..settings() }).await;
    let status = finished(&bench, json!([{ "email": "ann@example.org", "cf:none": "x" }])).await;
    assert_eq!(counts(&status), [2, 1, 0, 0, 0]);
}

#[tokio::test]
async fn an_import_keeps_permissions_and_puts_back_who_left_one_list() {
    let bench = Bench::start().await;
    bench.sign_up("ann@example.org").await;
    bench.sandbox.change(|world| {
        world.add_contact("gone@example.org");
        world.delete_contact("gone@example.org");
    });
    finished(&bench, json!([{ "email": "ann@example.org" }, { "email": "gone@example.org" }])).await;
    bench.sandbox.change(|world| {
        assert_eq!(world.contact("ann@example.org").unwrap().permission, Permission::Explicit);
        assert!(world.contact("gone@example.org").unwrap().deleted_at.is_none());
        world.leave_list("ann@example.org", "Members");
    });
    finished(&bench, json!([{ "email": "ann@example.org" }])).await;
    assert_eq!(bench.sandbox.inspect(|world| world.members("Members").len()), 2);
}

#[tokio::test]
async fn what_lies_beyond_the_limits_is_dropped_without_a_word() {
    let rows: Vec<Value> = (0..10).map(|number| json!({ "email": format!("p{number}@example.org") })).collect();
    let bench = Bench::with(Settings { import_rows: 6, ..settings() }).await;
    assert_eq!(counts(&finished(&bench, json!(rows)).await), [7, 6, 0, 0, 0]);
    // Room for the first words of the body and three rows of 27 bytes with their commas.
    let bench = Bench::with(Settings { import_bytes: 14 + 3 * 28, ..settings() }).await;
    assert_eq!(counts(&finished(&bench, json!(rows)).await)[1], 3);
    assert_eq!(bench.sandbox.inspect(|world| world.activities[0].rows_sent), 10);
}

#[tokio::test]
async fn a_row_in_the_shape_of_the_contact_resource_is_refused() {
    let bench = Bench::start().await;
    for (row, complaint) in [
        (json!({ "email_address": { "address": "ann@example.org" } }), "email_address is invalid"),
        (json!({ "email": "ann@example.org", "list_memberships": [] }), "list_memberships is invalid"),
        (json!({ "email": "ann@example.org", "birthday_month": "2" }), "birthday_month is invalid"),
        (json!({ "email": "ann@example.org", "cf:age": 7 }), "cf:age is invalid"),
        (json!({ "email": "ann@example.org", "first_name": "x".repeat(51) }), "first_name is too long"),
    ] {
        let answer = import(&bench, &json!([{ "email": "ok@example.org" }, row])).await;
        assert_eq!(answer.status, 400);
        assert!(answer.error().1.contains(&format!("import_data[1]: {complaint}")), "{}", answer.error().1);
    }
    let no_lists = bench.post("/v3/activities/contacts_json_import", json!({ "import_data": [] })).await;
    assert_eq!(no_lists.error().1, "list_ids is missing");
}

#[tokio::test]
async fn a_full_queue_refuses_until_it_has_drained() {
    let bench = Bench::with(Settings { queued_activities: 2, ..settings() }).await;
    let rows = json!([{ "email": "ann@example.org" }]);
    import(&bench, &rows).await;
    import(&bench, &rows).await;
    let refused = import(&bench, &rows).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.error().1, "You exceeded 1,000 queued activities for this user account.");
    bench.sandbox.change(super::super::World::finish_activities);
    assert_eq!(import(&bench, &rows).await.status, 201);
}

#[tokio::test]
async fn an_import_can_fail_or_never_end() {
    let bench = Bench::start().await;
    let rows = json!([{ "email": "ann@example.org" }]);
    bench.sandbox.fault("activity_failed=once").unwrap();
    let failed = import(&bench, &rows).await;
    bench.sandbox.fault("activity_stuck=once").unwrap();
    let stuck = import(&bench, &rows).await;
    for _ in 0..3 {
        poll(&bench, &failed).await;
        poll(&bench, &stuck).await;
    }
    assert_eq!(poll(&bench, &failed).await["state"], "failed");
    assert_eq!(poll(&bench, &stuck).await["state"], "processing");
    bench.sandbox.inspect(|world| {
        assert_eq!(world.activities[0].state, State::Failed);
        assert!(world.contact("ann@example.org").is_none());
    });
}

#[tokio::test]
async fn columns_of_phones_and_addresses_become_their_kinds() {
    let bench = Bench::start().await;
    let row = json!({
        "email": "ann@example.org", "work_phone": "1", "phone": "2", "street": "Main St 1", "street2": "Flat 2",
        "zip": "89073", "work_city": "Ulm"
    });
    finished(&bench, json!([row])).await;
    bench.sandbox.inspect(|world| {
        let ann = world.contact("ann@example.org").unwrap();
        let phones: Vec<_> = ann.phones.iter().map(|phone| (phone.kind.as_str(), phone.number.as_str())).collect();
        assert_eq!(phones, [("other", "2"), ("work", "1")]);
        let home = &ann.street_addresses[0];
        assert_eq!((home.kind.as_str(), home.street.as_str(), home.postal_code.as_str()), ("home", "Main St 1 Flat 2", "89073"));
        assert_eq!((ann.street_addresses[1].kind.as_str(), ann.street_addresses[1].city.as_str()), ("work", "Ulm"));
    });
}
