//! The stand-in is as strict as the service: what it refuses, truncates, limits and remembers, over the wire.
//!
//! Everything else is tested against the sandbox, so what it lets pass is tested nowhere. Here it is asked as a client
//! asks, with requests that the real service would refuse as well.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so at once"
)]

use std::time::Duration;

use mailchute::sandbox::{FAULTS, Issued, Permission, Rotation, Sandbox, Settings, World};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

const SCOPE: &str = "contact_data account_read offline_access";
/// A limit for tests that are not about it.
const UNLIMITED: u32 = 1_000_000;

/// What came back.
struct Answer {
    status: u16,
    text: String,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The key and the words of the contacts service's array.
    fn complaint(&self) -> (String, String) {
        let error = &self.json()[0];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (text("error_key"), text("error_message"))
    }
}

/// A sandbox and a client with a token.
struct Wire {
    sandbox: Sandbox,
    http: reqwest::Client,
    issued: Issued,
}

impl Wire {
    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            requests_per_second: UNLIMITED,
            requests_per_day: UNLIMITED,
            lists: vec!["Newsletter".to_owned(), "Members".to_owned()],
            custom_fields: vec!["Favourite colour".to_owned()],
            ..Settings::default()
        };
        change(&mut settings);
        let sandbox = Sandbox::start(settings).await.unwrap();
        let issued = sandbox.change(|world| world.issue_tokens(SCOPE));
        let http =
            reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
        Self { sandbox, http, issued }
    }

    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.sandbox.address()))
    }

    async fn answer(request: RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        Self::answer(self.request(Method::GET, path).bearer_auth(&self.issued.access_token)).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Answer {
        Self::answer(self.request(method, path).bearer_auth(&self.issued.access_token).json(body)).await
    }

    async fn sign_up(&self, body: &Value) -> Answer {
        self.send(Method::POST, "/v3/contacts/sign_up_form", body).await
    }

    /// The id of a list, as a client finds it.
    async fn list(&self, name: &str) -> String {
        let lists = self.get("/v3/contact_lists?limit=500").await.json();
        let found = lists["lists"].as_array().unwrap().iter().find(|list| list["name"] == name).unwrap();
        found["list_id"].as_str().unwrap().to_owned()
    }

    async fn token(&self, form: &[(&str, &str)]) -> Answer {
        let settings = Settings::default();
        let request = self
            .request(Method::POST, "/oauth2/default/v1/token")
            .basic_auth(&settings.client_id, settings.client_secret.as_deref());
        Self::answer(request.form(form)).await
    }

    async fn refresh(&self, token: &str) -> Answer {
        self.token(&[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    }
}

fn refresh_token(answer: &Answer) -> String {
    answer.json()["refresh_token"].as_str().unwrap_or_else(|| panic!("{}", answer.text)).to_owned()
}

#[tokio::test]
async fn a_sign_up_makes_once_and_afterwards_updates_what_it_names() {
    let wire = Wire::new().await;
    let (news, members) = (wire.list("Newsletter").await, wire.list("Members").await);
    let field = wire.get("/v3/contact_custom_fields").await.json()["custom_fields"][0].clone();
    assert_eq!((&field["label"], &field["name"]), (&json!("Favourite colour"), &json!("Favourite_colour")));
    let made = wire
        .sign_up(&json!({
            "email_address": "Ann@Example.org", "list_memberships": [news], "first_name": "Ann", "last_name": "Lee",
            "custom_fields": [{ "custom_field_id": field["custom_field_id"], "value": "green" }],
        }))
        .await;
    assert_eq!((made.status, &made.json()["action"]), (201, &json!("created")));
    let again = wire
        .sign_up(
            &json!({ "email_address": "ann@example.org", "list_memberships": [members], "last_name": "Ray" }),
        )
        .await;
    assert_eq!((again.status, &again.json()["action"]), (200, &json!("updated")));
    assert_eq!(again.json()["contact_id"], made.json()["contact_id"], "the address is compared without case");
    let id = made.json()["contact_id"].as_str().unwrap().to_owned();
    let ann = wire.get(&format!("/v3/contacts/{id}?include=custom_fields,list_memberships")).await.json();
    assert_eq!((&ann["first_name"], &ann["last_name"]), (&json!("Ann"), &json!("Ray")));
    assert_eq!(ann["custom_fields"][0]["value"], "green");
    assert_eq!(ann["list_memberships"].as_array().unwrap().len(), 2, "lists are added to");
    assert_eq!(ann["email_address"]["permission_to_send"], "explicit");
}

#[tokio::test]
async fn a_sign_up_in_another_shape_is_refused_with_every_fault_named() {
    let wire = Wire::new().await;
    let news = wire.list("Newsletter").await;
    let good = json!({ "email_address": "ann@example.org", "list_memberships": [news] });
    let with = |name: &str, value: Value| {
        let mut body = good.clone();
        body[name] = value;
        body
    };
    for (body, words) in [
        (json!({}), "email_address is missing, list_memberships is missing"),
        (with("email_address", json!({ "address": "ann@example.org" })), "email_address is invalid"),
        (with("email_address", json!("ann@localhost")), "email_address is invalid"),
        (
            with("email_address", json!(format!("{}@example.org", "x".repeat(80)))),
            "email_address is too long",
        ),
        (with("list_memberships", json!([])), "list_memberships is missing"),
        (with("first_name", json!("x".repeat(51))), "first_name is too long"),
        (with("phone_number", json!("1".repeat(26))), "phone_number is too long"),
        (with("phone_numbers", json!([])), "phone_numbers is invalid"),
        (with("street_addresses", json!([])), "street_addresses is invalid"),
        (with("create_source", json!("Contact")), "create_source is invalid"),
        (with("birthday_month", json!(2)), "birthday_month, birthday_day are both required"),
        (with("birthday_month", json!(13)), "birthday_month is invalid"),
        (with("street_address", json!({ "city": "Ulm" })), "street_address: kind is missing"),
        (
            with("custom_fields", json!([{ "custom_field_id": "x", "value": "y" }])),
            "custom_field_id does not have a valid value",
        ),
    ] {
        let refused = wire.sign_up(&body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text);
        let (key, said) = refused.complaint();
        assert_eq!(key, "contacts.api.validation.error");
        assert!(said.contains(words), "{body}: {said}");
    }
    assert_eq!(wire.sandbox.inspect(World::contact_count), 0);
    let unknown = with("list_memberships", json!(["00000000-0001-4000-8000-0000000000ff"]));
    assert!(matches!(wire.sign_up(&unknown).await.status, 400 | 404));
}

#[tokio::test]
async fn what_is_no_json_or_no_path_is_refused_at_the_gate() {
    let wire = Wire::new().await;
    let post =
        || wire.request(Method::POST, "/v3/contacts/sign_up_form").bearer_auth(&wire.issued.access_token);
    assert_eq!(Wire::answer(post().body("{}").header("Content-Type", "text/plain")).await.status, 415);
    let broken = Wire::answer(post().body("{\"email").header("Content-Type", "application/json")).await;
    assert_eq!(broken.status, 400);
    for path in ["/v3/contacts/x/lists/y", "/v4/contacts", "/"] {
        let nowhere = wire.get(path).await;
        assert_eq!((nowhere.status, nowhere.json()), (403, json!({ "message": "Forbidden" })), "{path}");
    }
}

#[tokio::test]
async fn a_token_that_is_none_is_answered_as_the_service_does() {
    let wire = Wire::new().await;
    for token in ["", "rubbish"] {
        let request = wire.request(Method::GET, "/v3/account/summary").bearer_auth(token);
        let refused = Wire::answer(request).await;
        assert_eq!(refused.status, 401);
        assert_eq!(refused.text, r#"{"error_key":"unauthorized","error_message":"Unauthorized"}"#);
        assert_eq!(refused.headers["www-authenticate"], "Bearer realm=api.cc.email");
    }
    let narrow = wire.sandbox.change(|world| world.issue_tokens("account_read"));
    let lists = wire.request(Method::GET, "/v3/contact_lists").bearer_auth(&narrow.access_token);
    assert_eq!(Wire::answer(lists).await.status, 403, "a scope that was not granted");
    let privileges =
        wire.request(Method::GET, "/v3/account/user/privileges").bearer_auth(&narrow.access_token);
    assert_eq!(Wire::answer(privileges).await.status, 200, "no scope is needed");
}

#[tokio::test]
async fn a_contact_that_exists_even_deleted_is_a_conflict_and_a_put_forgets_what_it_leaves_out() {
    let wire = Wire::new().await;
    let new = json!({
        "email_address": { "address": "ann@example.org", "permission_to_send": "implicit" },
        "create_source": "Account", "first_name": "Ann", "job_title": "Smith",
    });
    let made = wire.send(Method::POST, "/v3/contacts", &new).await;
    assert_eq!(made.status, 201);
    let id = made.json()["contact_id"].as_str().unwrap().to_owned();
    let put = json!({ "email_address": { "address": "ann@example.org" }, "update_source": "Account", "first_name": "Anna" });
    let changed = wire.send(Method::PUT, &format!("/v3/contacts/{id}"), &put).await.json();
    assert_eq!((&changed["first_name"], &changed["job_title"]), (&json!("Anna"), &Value::Null));
    assert_eq!(wire.send(Method::DELETE, &format!("/v3/contacts/{id}"), &json!(null)).await.status, 204);
    let conflict = wire.send(Method::POST, "/v3/contacts", &new).await;
    let (key, said) = conflict.complaint();
    assert_eq!((conflict.status, key.as_str()), (409, "contacts.api.conflict"));
    assert!(said.ends_with(&format!("Email already exists for contact {id}")), "{said}");
    let found = wire.get("/v3/contacts?email=ann%40example.org").await.json();
    assert_eq!(found["contacts"], json!([]), "deleted contacts are left out");
    let found = wire.get("/v3/contacts?email=ann%40example.org&status=all").await.json();
    assert_eq!(found["contacts"][0]["contact_id"], json!(id));
}

#[tokio::test]
async fn pages_lead_to_the_next_by_a_link_without_a_host() {
    let wire = Wire::new().await;
    wire.sandbox.change(|world| {
        for number in 0..7 {
            world.add_contact(&format!("p{number}+x@example.org"), Permission::Implicit);
        }
    });
    let (mut path, mut seen) = ("/v3/contacts?limit=3&status=active".to_owned(), Vec::new());
    loop {
        let page = wire.get(&path).await.json();
        let contacts = page["contacts"].as_array().unwrap().clone();
        assert!(contacts.len() <= 3);
        seen.extend(contacts.iter().map(|contact| contact["email_address"]["address"].to_string()));
        match page["_links"]["next"]["href"].as_str() {
            Some(next) => {
                assert!(next.starts_with("/v3/contacts?"), "{next}");
                next.clone_into(&mut path);
            }
            None => break,
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 7);
    for bad in ["0", "501", "x"] {
        assert_eq!(wire.get(&format!("/v3/contacts?limit={bad}")).await.status, 400, "{bad}");
    }
    let plus = wire.get("/v3/contacts?email=p1+x@example.org").await.json();
    assert_eq!(plus["contacts"], json!([]), "an unencoded plus sign is a blank");
    assert_eq!(
        wire.get("/v3/contacts?email=p1%2Bx@example.org").await.json()["contacts"][0]["email_address"]["address"],
        "p1+x@example.org"
    );
}

#[tokio::test]
async fn the_limits_are_three_and_each_speaks_its_own_words() {
    let wire =
        Wire::with(|settings| (settings.requests_per_second, settings.requests_per_day) = (4, 9)).await;
    let mut statuses = Vec::new();
    for _ in 0..6 {
        let answer = wire.get("/v3/account/user/privileges").await;
        if answer.status == 429 {
            assert_eq!(answer.json()["error_key"], "throttled");
            assert!(!answer.headers.contains_key("retry-after"));
        }
        statuses.push(answer.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    wire.sandbox.change(|world| world.set_limits(UNLIMITED, 9));
    while wire.sandbox.inspect(World::calls_today) < 9 {
        wire.get("/v3/account/user/privileges").await;
    }
    let spent = wire.get("/v3/account/user/privileges").await;
    assert_eq!((spent.status, &spent.json()["error_key"]), (429, &json!("quota_exceeded")));
    wire.sandbox.change(|world| world.advance_clock(Duration::from_hours(24)));
    // Access tokens live a day as well.
    let issued = wire.sandbox.change(|world| world.issue_tokens(SCOPE));
    let request = wire.request(Method::GET, "/v3/account/user/privileges").bearer_auth(issued.access_token);
    assert_eq!(Wire::answer(request).await.status, 200, "the day after");
}

#[tokio::test]
async fn an_address_that_is_tried_too_often_is_called_invalid() {
    let wire = Wire::new().await;
    let body =
        json!({ "email_address": "ann@example.org", "list_memberships": [wire.list("Newsletter").await] });
    for attempt in 1..=5 {
        assert!(wire.sign_up(&body).await.status < 300, "{attempt}");
    }
    let flagged = wire.sign_up(&body).await;
    assert_eq!(flagged.status, 400);
    assert!(flagged.complaint().1.contains("invalid email address"), "{}", flagged.text);
}

#[tokio::test]
async fn a_spent_refresh_token_works_for_the_leeway_and_then_ends_its_family() {
    let wire =
        Wire::with(|settings| settings.rotation = Rotation::Rotating { leeway: Duration::from_secs(30) })
            .await;
    let first = wire.issued.refresh_token.clone().unwrap();
    let second = refresh_token(&wire.refresh(&first).await);
    let third = refresh_token(&wire.refresh(&first).await);
    assert!(second != third && second != first);
    wire.sandbox.change(|world| world.advance_clock(Duration::from_secs(31)));
    let reused = wire.refresh(&first).await;
    assert_eq!((reused.status, &reused.json()["error"]), (400, &json!("invalid_grant")));
    assert_eq!(wire.refresh(&third).await.status, 400, "the newest of the family is gone with it");
    assert_eq!(wire.get("/v3/account/summary").await.status, 401, "and its access tokens");
}

#[tokio::test]
async fn an_authorization_dies_after_180_idle_days_and_a_long_lived_token_stays_the_same() {
    let wire = Wire::with(|settings| settings.rotation = Rotation::LongLived).await;
    let first = wire.issued.refresh_token.clone().unwrap();
    wire.sandbox.change(|world| world.advance_clock(Duration::from_hours(179 * 24)));
    assert_eq!(refresh_token(&wire.refresh(&first).await), first);
    wire.sandbox.change(|world| world.advance_clock(Duration::from_hours(180 * 24)));
    assert_eq!(wire.refresh(&first).await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn the_token_endpoint_takes_one_way_of_authentication_and_the_right_one() {
    let wire = Wire::new().await;
    let settings = Settings::default();
    let (id, secret) = (settings.client_id, settings.client_secret.unwrap());
    let endpoint = || wire.request(Method::POST, "/oauth2/default/v1/token");
    let refresh = wire.issued.refresh_token.clone().unwrap();
    let grant = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let both = [&grant[..], &[("client_id", id.as_str()), ("client_secret", secret.as_str())]].concat();
    let twice = Wire::answer(endpoint().basic_auth(&id, Some(&secret)).form(&both)).await;
    assert_eq!((twice.status, &twice.json()["error"]), (400, &json!("invalid_request")));
    let none = Wire::answer(endpoint().form(&grant)).await;
    assert_eq!((none.status, &none.json()["error"]), (401, &json!("invalid_client")));
    let wrong = Wire::answer(endpoint().basic_auth(&id, Some("wrong")).form(&grant)).await;
    assert_eq!((wrong.status, &wrong.json()["error"]), (401, &json!("invalid_client")));
    assert_eq!(Wire::answer(endpoint().form(&both)).await.status, 200, "in the body alone");
}

#[tokio::test]
async fn the_authorization_page_redirects_only_to_what_is_registered() {
    let wire = Wire::new().await;
    let settings = Settings::default();
    let address = |changes: &[(&str, &str)]| {
        let mut query = vec![
            ("client_id", settings.client_id.as_str()),
            ("redirect_uri", settings.redirect_uris[0].as_str()),
            ("response_type", "code"),
            ("scope", SCOPE),
            ("state", "s1"),
        ];
        query.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        query.extend(changes.iter().filter(|(_, value)| !value.is_empty()));
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        format!("/oauth2/default/v1/authorize?{query}")
    };
    let visit =
        async |changes: &[(&str, &str)]| Wire::answer(wire.request(Method::GET, &address(changes))).await;
    assert!(visit(&[]).await.text.contains("Allow"));
    for wrong in [("client_id", "x"), ("redirect_uri", "http://localhost:28910/callback/"), ("state", "")] {
        assert_eq!(visit(&[wrong]).await.status, 400, "{wrong:?} is a page and no redirect");
    }
    for (wrong, error) in
        [(("scope", "openid"), "invalid_scope"), (("response_type", "token"), "unsupported_response_type")]
    {
        let back = visit(&[wrong]).await;
        let location = back.headers["location"].to_str().unwrap();
        assert!(location.starts_with(&settings.redirect_uris[0]) && location.contains(error), "{location}");
        assert!(location.contains("state=s1"), "{location}");
    }
}

#[tokio::test]
async fn every_fault_has_a_name_a_sentence_and_an_end() {
    let wire = Wire::new().await;
    for (name, sentence) in FAULTS {
        wire.sandbox.fault(&format!("{name}=always")).unwrap();
        assert!(sentence.len() > 10, "{name}");
    }
    assert_eq!(wire.sandbox.inspect(World::contact_count), 0);
    wire.sandbox.calm();
    assert_eq!(wire.get("/v3/account/summary").await.status, 200);
    let body =
        json!({ "email_address": "ann@example.org", "list_memberships": [wire.list("Newsletter").await] });
    for (fault, status) in [("500", 500), ("html_503", 503), ("empty_200", 200), ("401", 401), ("409", 409)] {
        wire.sandbox.fault(&format!("{fault}@sign_up_form=once")).unwrap();
        assert_eq!(wire.sign_up(&body).await.status, status);
        assert_eq!(wire.sandbox.inspect(World::contact_count), 0, "{fault} stands in for the call");
    }
    wire.sandbox.fault("lost@sign_up_form=once").unwrap();
    let lost = wire.request(Method::POST, "/v3/contacts/sign_up_form").bearer_auth(&wire.issued.access_token);
    assert!(lost.json(&body).send().await.is_err());
    assert_eq!(wire.sandbox.inspect(World::contact_count), 1, "a lost answer comes after the call");
}

#[tokio::test]
async fn who_left_is_told_by_date_and_the_parts_of_a_contact_only_when_they_are_named() {
    let wire = Wire::new().await;
    let list = wire.list("Newsletter").await;
    for name in ["ann", "bob", "cid"] {
        let body = json!({ "email_address": format!("{name}@example.org"), "list_memberships": [list] });
        assert_eq!(wire.send(Method::POST, "/v3/contacts/sign_up_form", &body).await.status, 201);
    }
    let before = wire.sandbox.change(|world| {
        let before = world.now();
        world.unsubscribe("ann@example.org");
        world.delete("bob@example.org");
        world.leave_list("cid@example.org", "Newsletter");
        before
    });
    let left = |since: jiff::Timestamp| format!("/v3/contacts?status=unsubscribed&optout_after={since}");
    let found = wire.get(&left(before)).await.json();
    let ann = &found["contacts"][0]["email_address"];
    assert_eq!((&ann["address"], &ann["opt_out_source"]), (&json!("ann@example.org"), &json!("Contact")));
    let later = before + jiff::SignedDuration::from_hours(1);
    assert_eq!(wire.get(&left(later)).await.json()["contacts"], json!([]));
    let deleted = wire.get(&format!("/v3/contacts?status=deleted&updated_after={before}")).await.json();
    assert_eq!(deleted["contacts"].as_array().map(Vec::len), Some(1));
    assert!(deleted["contacts"][0]["deleted_at"].is_string());

    let cid = wire.get("/v3/contacts?email=cid%40example.org&status=all").await.json();
    assert_eq!(cid["contacts"][0]["list_memberships"], Value::Null, "not asked for");
    let cid = wire.get("/v3/contacts?email=cid%40example.org&include=list_memberships").await.json();
    assert_eq!(cid["contacts"][0]["list_memberships"], json!([]), "on no list any more, and not out");
    for odd in ["status=gone", "optout_after=yesterday", "include=everything"] {
        assert_eq!(wire.get(&format!("/v3/contacts?{odd}")).await.status, 400, "{odd}");
    }
}
