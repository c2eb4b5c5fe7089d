use std::time::Duration;

use hyper::Method;
use serde_json::json;

use super::super::{Endpoint, Permission, Settings, Source, World};
use super::bench::{Bench, settings};

#[tokio::test]
async fn the_form_makes_once_and_updates_in_part() {
    let bench = Bench::with(Settings { custom_fields: vec!["Fruit".to_owned()], ..settings() }).await;
    let (news, members) = (bench.list("Newsletter"), bench.list("Members"));
    let fruit = bench.sandbox.inspect(|world| world.custom_field("Fruit").unwrap().id);
    let made = bench
        .post(
            "/v3/contacts/sign_up_form",
            json!({
                "email_address": "Ann@Example.org", "first_name": "Ann", "last_name": "Lee", "list_memberships": [news],
                "custom_fields": [{ "custom_field_id": fruit.to_string(), "value": "apple" }],
                "birthday_month": 2, "birthday_day": 29, "anniversary": "11/15/2006", "phone_number": "555",
                "street_address": { "kind": "home", "city": "Ulm" }
            }),
        )
        .await;
    assert_eq!((made.status, &made.json()["action"]), (201, &json!("created")), "{}", made.text);
    let body = json!({ "email_address": "ann@example.org", "first_name": "Anna", "list_memberships": [members] });
    let again = bench.post("/v3/contacts/sign_up_form", body).await;
    assert_eq!((again.status, &again.json()["action"]), (200, &json!("updated")));
    assert_eq!(again.json()["contact_id"], made.json()["contact_id"]);
    bench.sandbox.inspect(|world| {
        let ann = world.contact("ANN@example.org").unwrap();
        assert_eq!((ann.first_name.as_deref(), ann.last_name.as_deref()), (Some("Anna"), Some("Lee")));
        assert_eq!((ann.birthday, ann.anniversary.as_deref()), (Some((2, 29)), Some("2006-11-15")));
        assert_eq!((ann.custom_field(fruit), ann.lists.len()), (Some("apple"), 2));
        assert_eq!((ann.phones[0].number.as_str(), ann.street_addresses[0].city.as_str()), ("555", "Ulm"));
        assert_eq!((ann.permission, ann.opt_in.unwrap().0), (Permission::Explicit, Source::Contact));
        assert_eq!(world.contacts().len(), 1);
    });
}

#[tokio::test]
async fn the_form_names_what_it_refuses() {
    let bench = Bench::start().await;
    let news = bench.list("Newsletter");
    let good = json!({ "email_address": "ann@example.org", "list_memberships": [news] });
    let long = "x".repeat(51);
    for (field, value, complaint) in [
        ("email_address", json!({ "address": "ann@example.org" }), "email_address is invalid"),
        ("email_address", json!("ann@example"), "email_address is an invalid email address"),
        ("list_memberships", json!([]), "list_memberships must have 1 to 50 items"),
        ("list_memberships", json!(["Newsletter"]), "list_memberships is in an invalid format."),
        ("first_name", json!(long), "first_name is too long (maximum is 50 characters)"),
        ("first_name", json!(null), "first_name is invalid"),
        ("phone_numbers", json!([]), "phone_numbers is invalid"),
        ("create_source", json!("Contact"), "create_source is invalid"),
        ("birthday_month", json!("2"), "birthday_month is invalid"),
        ("birthday_month", json!(2), "birthday_day is missing"),
        ("anniversary", json!("15.11.2006"), "anniversary is invalid"),
        ("street_address", json!({ "city": "Ulm" }), "street_address[kind] is missing"),
        ("custom_fields", json!([{ "label": "x" }]), "custom_fields[custom_field_id] is missing"),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let answer = bench.post("/v3/contacts/sign_up_form", body).await;
        assert_eq!(answer.status, 400, "{field}");
        assert_eq!(answer.error().0, "contacts.api.validation.error");
        assert!(answer.error().1.contains(complaint), "{field}: {}", answer.error().1);
    }
    assert_eq!(bench.sandbox.inspect(|world| world.contacts().len()), 0);
}

#[tokio::test]
async fn an_unknown_or_deleted_list_or_field_is_refused() {
    let bench = Bench::start().await;
    bench.sandbox.change(|world| world.settings.unknown_list_status = 404);
    let gone = bench.list("Members");
    bench.sandbox.change(|world| world.delete_list("Members"));
    let body = json!({ "email_address": "ann@example.org", "list_memberships": [gone] });
    let answer = bench.post("/v3/contacts/sign_up_form", body.clone()).await;
    assert_eq!((answer.status, answer.error().0), (404, "contacts.api.not_found".to_owned()));
    bench.sandbox.change(|world| world.settings.unknown_list_status = 400);
    let answer = bench.post("/v3/contacts/sign_up_form", body).await;
    assert_eq!((answer.status, answer.error().1), (400, "list_memberships does not have a valid value".to_owned()));
    bench.sandbox.fault("list_unknown:404=once").unwrap();
    assert_eq!(bench.sign_up("ann@example.org").await.status, 404);
    let news = bench.list("Newsletter");
    let field = json!([{ "custom_field_id": gone, "value": "x" }]);
    let body = json!({ "email_address": "ann@example.org", "list_memberships": [news], "custom_fields": field });
    let answer = bench.post("/v3/contacts/sign_up_form", body).await;
    assert_eq!(answer.error().1, "custom_fields[custom_field_id] does not have a valid value");
}

#[tokio::test]
async fn the_form_restores_the_deleted_and_the_unsubscribed() {
    let bench = Bench::start().await;
    bench.sign_up("ann@example.org").await;
    bench.sandbox.change(|world| assert!(world.delete_contact("ann@example.org")));
    assert_eq!(bench.sign_up("ann@example.org").await.status, 200);
    bench.sandbox.change(|world| {
        assert!(world.contact("ann@example.org").unwrap().deleted_at.is_none());
        assert!(world.unsubscribe("ann@example.org", Source::Contact));
        assert!(world.members("Newsletter").is_empty());
    });
    assert_eq!(bench.sign_up("ann@example.org").await.status, 200);
    bench.sandbox.change(|world| {
        assert_eq!(world.contact("ann@example.org").unwrap().permission, Permission::Explicit);
        assert_eq!((world.members("Newsletter"), world.lifted_opt_outs()), (vec!["ann@example.org"], 1));
        world.settings.sign_up_lifts_opt_out = false;
        world.unsubscribe("ann@example.org", Source::Contact);
    });
    assert_eq!(bench.sign_up("ann@example.org").await.status, 200);
    bench.sandbox.inspect(|world| {
        assert_eq!(world.contact("ann@example.org").unwrap().permission, Permission::Unsubscribed);
        assert_eq!((world.members("Newsletter").len(), world.lifted_opt_outs()), (0, 1));
    });
}

#[tokio::test]
async fn confirmed_opt_in_leaves_the_new_pending() {
    let bench = Bench::with(Settings { confirmed_opt_in: true, ..settings() }).await;
    bench.sign_up("ann@example.org").await;
    let counts = bench.get("/v3/contacts/counts").await.json();
    assert_eq!((&counts["total"], &counts["pending"], &counts["explicit"]), (&json!(1), &json!(1), &json!(0)));
}

#[tokio::test]
async fn two_changes_of_one_address_at_a_time_conflict() {
    let bench = Bench::start().await;
    bench.sandbox.fault("slow:200@sign_up_form=once").unwrap();
    let (first, second) = tokio::join!(bench.sign_up("ann@example.org"), bench.sign_up("Ann@example.org"));
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
    assert_eq!(bench.sign_up("ann@example.org").await.status, 200, "the first has ended");
}

#[tokio::test]
async fn the_sixth_attempt_on_an_address_in_a_day_calls_it_invalid() {
    let bench = Bench::start().await;
    for _ in 0..5 {
        assert!(bench.sign_up("ann@example.org").await.status < 300);
    }
    let refused = bench.sign_up("ANN@example.org").await;
    assert_eq!((refused.status, refused.error().1), (400, "email_address is an invalid email address".to_owned()));
    assert_eq!(bench.sign_up("bob@example.org").await.status, 201);
    bench.sandbox.change(|world| world.settings.attempts_per_address = None);
    assert_eq!(bench.sign_up("ann@example.org").await.status, 200);
}

#[tokio::test]
async fn making_a_contact_that_exists_conflicts_and_names_it() {
    let bench = Bench::start().await;
    let body = json!({
        "email_address": { "address": "ann@example.org", "permission_to_send": "implicit" },
        "create_source": "Account", "first_name": "Ann", "list_memberships": [bench.list("Newsletter")]
    });
    let made = bench.post("/v3/contacts", body.clone()).await;
    assert_eq!((made.status, &made.json()["email_address"]["permission_to_send"]), (201, &json!("implicit")));
    bench.sandbox.change(|world| world.delete_contact("ann@example.org"));
    let again = bench.post("/v3/contacts", body).await;
    let id = made.json()["contact_id"].as_str().unwrap().to_owned();
    assert_eq!(again.status, 409);
    assert_eq!(again.error().1, format!("Validation failed: Email already exists for contact {id}"));
    let bare = bench.post("/v3/contacts", json!({ "email_address": { "address": "bob@example.org" } })).await;
    assert_eq!(bare.error().1, "create_source is missing");
}

#[tokio::test]
async fn a_replacement_forgets_what_it_leaves_out_but_keeps_the_lists() {
    let bench = Bench::start().await;
    let (news, body) = (bench.list("Newsletter"), json!({ "first_name": "Ann", "last_name": "Lee" }));
    let mut body = body;
    body["email_address"] = json!("ann@example.org");
    body["list_memberships"] = json!([news]);
    let made = bench.post("/v3/contacts/sign_up_form", body).await.json();
    let path = format!("/v3/contacts/{}", made["contact_id"].as_str().unwrap());
    let put = json!({
        "email_address": { "address": "anna@example.org", "permission_to_send": "unsubscribed", "opt_out_reason": "bored" },
        "first_name": "Anna", "update_source": "Contact"
    });
    let answer = bench.try_send(Method::PUT, &path, &put).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    bench.sandbox.inspect(|world| {
        assert!(world.contact("ann@example.org").is_none());
        let anna = world.contact("anna@example.org").unwrap();
        assert_eq!((anna.first_name.as_deref(), anna.last_name.as_deref()), (Some("Anna"), None));
        assert_eq!((anna.lists.len(), anna.permission), (1, Permission::Unsubscribed));
        assert_eq!(anna.opt_out.as_ref().unwrap().reason.as_deref(), Some("bored"));
    });
    assert_eq!(bench.get(&path).await.json()["email_address"]["address"], "anna@example.org");
}

#[tokio::test]
async fn a_deleted_contact_is_still_found_by_its_identifier() {
    let bench = Bench::start().await;
    let made = bench.sign_up("ann@example.org").await.json();
    let path = format!("/v3/contacts/{}", made["contact_id"].as_str().unwrap());
    assert_eq!(bench.try_send(Method::DELETE, &path, &json!(null)).await.unwrap().status, 204);
    let shown = bench.get(&format!("{path}?include=list_memberships")).await.json();
    assert!(shown["deleted_at"].is_string());
    assert_eq!(shown["list_memberships"], json!([]));
    assert_eq!(bench.get("/v3/contacts?email=ann@example.org").await.json()["contacts"], json!([]));
    let all = bench.get("/v3/contacts?status=all&email=ann@example.org").await.json();
    assert_eq!(all["contacts"].as_array().unwrap().len(), 1);
    let put = json!({ "email_address": { "address": "ann@example.org" }, "update_source": "Contact" });
    assert_eq!(bench.try_send(Method::PUT, &path, &put).await.unwrap().status, 400, "needs the account");
    assert_eq!(bench.get("/v3/contacts/not-a-uuid").await.error().1, "contact_id is in an invalid format.");
    assert_eq!(bench.get("/v3/contacts/123e4567-e89b-42d3-a456-426614174000").await.status, 404);
}

#[tokio::test]
async fn a_plus_sign_must_be_encoded_in_the_query() {
    let bench = Bench::start().await;
    bench.sign_up("ann+news@example.org").await;
    let found = async |path: &str| bench.get(path).await.json()["contacts"].as_array().unwrap().len();
    assert_eq!(found("/v3/contacts?email=ann+news@example.org").await, 0);
    assert_eq!(found("/v3/contacts?email=ann%2Bnews@example.org").await, 1);
}

#[tokio::test]
async fn pages_of_contacts_carry_their_filters_and_meet_everybody_once() {
    let bench = Bench::start().await;
    bench.sandbox.change(|world| {
        let members = world.list("Members").unwrap().id;
        for number in 0..7 {
            world.add_contact(&format!("p{number}@example.org")).lists = vec![members];
        }
        world.add_contact("outsider@example.org");
        world.unsubscribe("p3@example.org", Source::Contact);
    });
    let mut path = format!("/v3/contacts?limit=2&include_count=true&lists={}", bench.list("Members"));
    let mut seen = Vec::new();
    loop {
        let page = bench.get(&path).await.json();
        assert_eq!(page["contacts_count"], 6, "who unsubscribed is on no list");
        let addresses = page["contacts"].as_array().unwrap().iter();
        seen.extend(addresses.map(|one| one["email_address"]["address"].as_str().unwrap().to_owned()));
        let Some(next) = page["_links"]["next"]["href"].as_str() else { break };
        path = next.to_owned();
    }
    assert_eq!(seen, [0, 1, 2, 4, 5, 6].map(|number| format!("p{number}@example.org")));
}

#[tokio::test]
async fn contacts_are_filtered_by_status_and_time() {
    let bench = Bench::start().await;
    let start = bench.sandbox.change(|world| {
        world.add_contact("old@example.org");
        world.advance_clock(Duration::from_hours(1));
        world.now()
    });
    bench.sandbox.change(|world| {
        world.add_contact("new@example.org");
        world.add_contact("left@example.org");
        world.unsubscribe("left@example.org", Source::Account);
    });
    let found = async |query: &str| -> Vec<String> {
        let json = bench.get(&format!("/v3/contacts?{query}")).await.json();
        let address = |one: &serde_json::Value| one["email_address"]["address"].as_str().unwrap().to_owned();
        json["contacts"].as_array().unwrap().iter().map(address).collect()
    };
    assert_eq!(found("status=active").await, ["new@example.org", "old@example.org"]);
    assert_eq!(found("status=unsubscribed").await, ["left@example.org"]);
    assert_eq!(found(&format!("status=active&created_before={start}")).await, ["old@example.org"]);
    assert_eq!(found(&format!("optout_after={start}")).await, ["left@example.org"]);
    assert_eq!(bench.get("/v3/contacts?updated_after=yesterday").await.status, 400);
}

#[tokio::test]
async fn somebody_can_leave_one_list_only() {
    let bench = Bench::start().await;
    bench.sandbox.change(|world| {
        let lists: Vec<_> = world.lists().iter().map(|list| list.id).collect();
        world.add_contact("ann@example.org").lists = lists;
        assert!(world.leave_list("ann@example.org", "Members"));
        assert!(!world.leave_list("nobody@example.org", "Members"));
        assert_eq!((world.members("Members").len(), world.members("Everyone").len()), (0, 1));
    });
    assert_eq!(bench.sandbox.inspect(|world: &World| world.log.calls(Endpoint::SignUpForm)), 0);
}
