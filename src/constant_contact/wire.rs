//! Bytes to meaning: what a status, a content type and a body say. What a refusal means is a table of its own (`refusal`).
//!
//! Pure. Promises one meaning for every answer, in any of the four shapes of error body and on any status, and that a
//! success is believed only when the field that proves it is there.

use std::time::Duration;

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use serde::Deserialize;
use serde_json::Value;

use super::refusal::{Endpoint, Means, complaint, means, refusal, words};
use super::{
    Activities, Activity, Answer, ContactsPage, Page, Passing, Progress, Reply, RetryAfter, Shown, SignedUp,
    Tally, Trace,
};

/// An answer as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
    /// Which token the call carried.
    pub(super) generation: u64,
}

/// What a Retry-After header says: seconds, or a date.
pub(super) fn retry_after(header: &str) -> Option<RetryAfter> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(RetryAfter::In(Duration::from_secs(seconds)));
    }
    let date = jiff::fmt::rfc2822::parse(header).ok()?;
    Some(RetryAfter::At(date.timestamp()))
}

#[derive(Deserialize)]
struct SignUpBody {
    contact_id: Option<String>,
    action: Option<String>,
}

/// What a sign-up's answer means.
pub(super) fn sign_up(raw: Raw<'_>) -> Reply<SignedUp> {
    interpret(raw, Endpoint::SignUp, |body| {
        let body: SignUpBody = serde_json::from_slice(body).ok()?;
        let contact_id = body.contact_id.filter(|id| !id.is_empty())?;
        // The status says it as well; the word is there for proxies that change the status.
        let created = body.action.map_or(raw.status == 201, |action| action == "created");
        Some(SignedUp { contact_id, created })
    })
}

/// What a page of lists or custom fields means.
pub(super) fn page(raw: Raw<'_>, things: &str, id: &str) -> Reply<Page> {
    interpret(raw, Endpoint::Other, |body| {
        let body: Value = serde_json::from_slice(body).ok()?;
        let items = body.get(things)?.as_array()?;
        let items = items.iter().map(|thing| Some((text(thing, id)?, text(thing, "name")?)));
        Some(Page { items: items.collect::<Option<_>>()?, next: next(&body) })
    })
}

/// What the answer to the making of a list means: its id.
pub(super) fn list(raw: Raw<'_>) -> Reply<String> {
    interpret(raw, Endpoint::Other, |body| {
        text(&serde_json::from_slice(body).ok()?, "list_id").filter(|id| !id.is_empty())
    })
}

/// What the answer to a bulk import means: the job's id.
pub(super) fn import(raw: Raw<'_>) -> Reply<Activity> {
    interpret(raw, Endpoint::Import, |body| one_activity(&serde_json::from_slice(body).ok()?))
}

/// What the answer to the wish for an export means: the job's id.
pub(super) fn export(raw: Raw<'_>) -> Reply<Activity> {
    interpret(raw, Endpoint::Other, |body| one_activity(&serde_json::from_slice(body).ok()?))
}

/// What an export's file means beside its contents, which are read as they come.
pub(super) fn export_file(raw: Raw<'_>, has_addresses: bool) -> Reply<()> {
    interpret(raw, Endpoint::Other, |_| has_addresses.then_some(()))
}

/// What the answer about one bulk job means.
pub(super) fn activity(raw: Raw<'_>) -> Reply<Option<Activity>> {
    if means(Endpoint::Job, raw.status, &complaint(raw.body)) == Means::Gone {
        let trace = Trace { status: Some(raw.status), ..Trace::default() };
        return Reply { answer: Answer::Done(None), trace };
    }
    interpret(raw, Endpoint::Job, |body| one_activity(&serde_json::from_slice(body).ok()?).map(Some))
}

/// What a page of bulk jobs means.
pub(super) fn activities(raw: Raw<'_>) -> Reply<Activities> {
    interpret(raw, Endpoint::Other, |body| {
        let body: Value = serde_json::from_slice(body).ok()?;
        let items = body.get("activities")?.as_array()?.iter().map(one_activity);
        Some(Activities { items: items.collect::<Option<_>>()?, next: next(&body) })
    })
}

fn one_activity(body: &Value) -> Option<Activity> {
    let state = text(body, "state").unwrap_or_default();
    let count =
        |name: &str| body.pointer(&format!("/status/{name}")).and_then(Value::as_u64).unwrap_or_default();
    let file = body.pointer("/_links/results/href").and_then(Value::as_str).map(str::to_owned);
    Some(Activity {
        activity_id: text(body, "activity_id").filter(|id| !id.is_empty())?,
        progress: match state.as_str() {
            "completed" => Progress::Completed,
            "failed" | "cancelled" | "timed_out" => Progress::Failed,
            _ => Progress::UnderWay,
        },
        state,
        created_at: text(body, "created_at").and_then(|time| time.parse().ok()),
        tally: Tally {
            items: count("items_total_count"),
            persons: count("person_count"),
            refused: count("error_count") + count("correctable_count"),
            unsubscribed: count("cannot_add_to_list_count"),
        },
        // Imports count persons, exports what they have completed.
        is_export: file.is_some() || body.pointer("/status/items_completed_count").is_some(),
        file,
    })
}

/// What a page of contacts means. Contacts without an address (telephone numbers have some) are passed over.
pub(super) fn contacts(raw: Raw<'_>) -> Reply<ContactsPage> {
    interpret(raw, Endpoint::Other, |body| {
        let body: Value = serde_json::from_slice(body).ok()?;
        let items = body.get("contacts")?.as_array()?.iter().filter_map(|contact| {
            let email = contact.get("email_address")?;
            Some(Shown {
                address: text(email, "address")?,
                unsubscribed: text(email, "permission_to_send").as_deref() == Some("unsubscribed"),
                unsubscribed_at: text(email, "opt_out_date").and_then(|at| moment(&at)),
                deleted: contact.get("deleted_at").is_some_and(|at| !at.is_null()),
                deleted_at: text(contact, "deleted_at").and_then(|at| moment(&at)),
                updated_at: text(contact, "updated_at").and_then(|at| moment(&at)),
                lists: contact
                    .get("list_memberships")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(|id| id.as_str().map(str::to_owned))
                    .collect(),
            })
        });
        let count = body.get("contacts_count").and_then(Value::as_u64);
        Some(ContactsPage { items: items.collect(), next: next(&body), count })
    })
}

/// A time of the account. A date alone, which the specification has for deletions, is taken for the last moment of its day:
/// nobody is put back because it was earlier.
fn moment(text: &str) -> Option<Timestamp> {
    let at_the_end = |date: Date| TimeZone::UTC.to_timestamp(date.at(23, 59, 59, 999_999_999)).ok();
    text.parse().ok().or_else(|| at_the_end(text.parse().ok()?))
}

fn text(thing: &Value, name: &str) -> Option<String> {
    thing.get(name).and_then(Value::as_str).map(str::to_owned)
}

/// Where the next page is: the last one has no link, an empty one, or none of it.
fn next(body: &Value) -> Option<String> {
    body.pointer("/_links/next/href").and_then(Value::as_str).map(str::to_owned)
}

pub(super) fn interpret<T>(
    raw: Raw<'_>,
    endpoint: Endpoint,
    success: impl Fn(&[u8]) -> Option<T>,
) -> Reply<T> {
    if matches!(raw.status, 200..=299) {
        let trace = Trace { status: Some(raw.status), ..Trace::default() };
        return match success(raw.body) {
            Some(done) => Reply { answer: Answer::Done(done), trace },
            None => Reply {
                answer: Answer::Later(Passing::Rubbish),
                trace: Trace {
                    message: Some(format!("no such answer expected: {}", words(raw.body))),
                    ..trace
                },
            },
        };
    }
    let complaint = complaint(raw.body);
    let answer = refusal(endpoint, raw, &complaint);
    let message = complaint.message.or_else(|| Some(words(raw.body)).filter(|words| !words.is_empty()));
    let trace = Trace { status: Some(raw.status), error_key: complaint.key, message, retry_after: None };
    Reply { answer, trace }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTML: &str = "<html><body>Service maintenance</body></html>";

    fn meaning(status: u16, body: &str) -> Answer<SignedUp> {
        sign_up(Raw { status, body: body.as_bytes(), generation: 7 }).answer
    }

    fn done(created: bool) -> Answer<SignedUp> {
        Answer::Done(SignedUp { contact_id: "u-1".to_owned(), created })
    }

    fn never(field: Option<&str>, reason: &str) -> Answer<SignedUp> {
        Answer::Never { field: field.map(str::to_owned), reason: reason.to_owned() }
    }

    #[test]
    fn a_success_is_believed_only_with_its_proof() {
        assert_eq!(meaning(201, r#"{"contact_id":"u-1","action":"created"}"#), done(true));
        assert_eq!(meaning(200, r#"{"action":"updated","x":null,"contact_id":"u-1"}"#), done(false));
        assert_eq!(meaning(201, r#"{"contact_id":"u-1"}"#), done(true));
        for rubbish in
            ["", HTML, "{}", r#"{"contact_id":""}"#, r#"{"contact_id":"u-1","action":"cre"#, "[]", "null"]
        {
            assert_eq!(meaning(200, rubbish), Answer::Later(Passing::Rubbish), "{rubbish}");
        }
    }

    #[test]
    fn each_status_has_its_meaning_in_the_services_own_shape() {
        let array =
            |key: &str, message: &str| format!(r#"[{{"error_key":"{key}","error_message":"{message}"}}]"#);
        let invalid = "contacts.api.validation.error";
        let cases = [
            (
                400,
                array(invalid, "email_address is invalid"),
                never(Some("email"), "email_address is invalid"),
            ),
            (
                400,
                array(invalid, "first_name is too long"),
                never(Some("first_name"), "first_name is too long"),
            ),
            (400, array(invalid, "odd"), never(None, "odd")),
            (
                400,
                array(invalid, "list_memberships is invalid"),
                Answer::List { reason: "list_memberships is invalid".into() },
            ),
            (404, array("contacts.api.not_found", "gone"), Answer::List { reason: "gone".into() }),
            (409, array("contacts.api.conflict", "busy"), Answer::Later(Passing::Conflict)),
            (415, array("x", "wrong type"), Answer::Hold { reason: "HTTP 415: wrong type".into() }),
            (500, array("x", "oops"), Answer::Later(Passing::Server)),
            (503, String::new(), Answer::Later(Passing::Server)),
        ];
        for (status, body, expected) in cases {
            assert_eq!(meaning(status, &body), expected, "{status} {body}");
        }
    }

    #[test]
    fn the_token_and_the_permission_are_told_apart() {
        let unauthorized = r#"{"error_key":"unauthorized","error_message":"Unauthorized"}"#;
        assert_eq!(meaning(401, unauthorized), Answer::LoginNeeded { generation: 7 });
        assert_eq!(
            meaning(403, r#"{"message":"Forbidden"}"#),
            Answer::Forbidden { reason: "Forbidden".into() }
        );
    }

    #[test]
    fn the_limits_are_told_apart_in_every_shape() {
        let queue = "You exceeded 1,000 queued activities for this user account.";
        let limits = [
            ("throttled", "Too Many Requests", Answer::Later(Passing::Throttled)),
            ("quota_exceeded", "Limit Exceeded", Answer::Quota),
            ("contacts.api.queue", queue, Answer::Later(Passing::QueueFull)),
            ("news", "what?", Answer::Later(Passing::UnknownLimit)),
        ];
        for (key, message, expected) in limits {
            let object = format!(r#"{{"error_key":"{key}","error_message":"{message}"}}"#);
            assert_eq!(meaning(429, &object), expected, "{object}");
            assert_eq!(meaning(429, &format!("[{object}]")), expected, "[{object}]");
        }
        assert_eq!(meaning(429, r#"{"message":"Limit Exceeded"}"#), Answer::Quota);
        assert_eq!(meaning(429, r#"{"message":"Too Many Requests"}"#), Answer::Later(Passing::Throttled));
        assert_eq!(meaning(429, HTML), Answer::Later(Passing::UnknownLimit));
        assert_eq!(meaning(429, ""), Answer::Later(Passing::UnknownLimit));
    }

    #[test]
    fn what_stands_between_the_service_and_us_does_not_judge_a_row() {
        for status in [302, 400, 404] {
            assert_eq!(meaning(status, HTML), Answer::Later(Passing::Rubbish), "{status}");
        }
        assert_eq!(meaning(400, r#"{"message":"Bad Request"}"#), Answer::Later(Passing::Rubbish));
    }

    #[test]
    fn both_forms_of_retry_after_are_read_and_none_is_believed_for_longer_than_a_day() {
        let date = "2015-10-21T07:28:00Z".parse().unwrap();
        assert_eq!(retry_after(" 120 "), Some(RetryAfter::In(Duration::from_mins(2))));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(RetryAfter::At(date)));
        assert_eq!(retry_after("soon"), None);
        let (now, day) = (jiff::Timestamp::UNIX_EPOCH, Duration::from_hours(24));
        let at =
            |retry_after| Trace { retry_after, ..Trace::default() }.retry_at(now, Duration::from_secs(2));
        assert_eq!(at(None), now.checked_add(Duration::from_secs(2)).unwrap());
        assert_eq!(
            at(Some(RetryAfter::In(Duration::from_secs(9)))),
            now.checked_add(Duration::from_secs(9)).unwrap()
        );
        assert_eq!(at(Some(RetryAfter::In(day * 30))), now.checked_add(day).unwrap());
        assert_eq!(at(Some(RetryAfter::At(date))), now.checked_add(day).unwrap());
    }

    #[test]
    fn a_bulk_job_is_believed_with_its_id_and_its_end_is_known_by_its_word() {
        let read =
            |status: u16, body: &str| activity(Raw { status, body: body.as_bytes(), generation: 1 }).answer;
        let job = |state: &str| {
            format!(
                r#"{{"activity_id":"a-1","state":"{state}","created_at":"2026-01-01T00:00:00Z","activity_errors":[{{"message":"x"}}],"status":{{"items_total_count":4,"person_count":2,"error_count":1,"correctable_count":2,"cannot_add_to_list_count":3}}}}"#
            )
        };
        for (state, progress) in [
            ("initialized", Progress::UnderWay),
            ("processing", Progress::UnderWay),
            ("unheard_of", Progress::UnderWay),
            ("completed", Progress::Completed),
            ("failed", Progress::Failed),
            ("cancelled", Progress::Failed),
            ("timed_out", Progress::Failed),
        ] {
            let Answer::Done(Some(found)) = read(200, &job(state)) else { panic!("{state}") };
            assert_eq!(found.progress, progress, "{state}");
            assert_eq!(found.tally, Tally { items: 4, persons: 2, refused: 3, unsubscribed: 3 });
        }
        assert_eq!(read(404, r#"[{"error_key":"x","error_message":"gone"}]"#), Answer::Done(None));
        assert_eq!(read(404, HTML), Answer::Later(Passing::Rubbish), "a page does not know of jobs");
        assert_eq!(read(200, "{}"), Answer::Later(Passing::Rubbish));
        let taken = |body: &str| import(Raw { status: 201, body: body.as_bytes(), generation: 1 }).answer;
        assert!(matches!(taken(r#"{"activity_id":"a-1"}"#), Answer::Done(job) if job.activity_id == "a-1"));
        assert_eq!(taken(r#"{"activity_id":null}"#), Answer::Later(Passing::Rubbish));
    }

    #[test]
    fn a_contact_says_whether_it_left_or_was_deleted() {
        let body = r#"{"contacts":[{"email_address":{"address":"a@b.c","permission_to_send":"unsubscribed","opt_out_date":"2026-01-02T03:04:05Z"},"updated_at":"2026-01-03T00:00:00Z"},{"sms_channel":{}},{"email_address":{"address":"d@e.f","permission_to_send":"implicit"},"deleted_at":"2026-01-01"}],"contacts_count":3}"#;
        let Answer::Done(page) = contacts(Raw { status: 200, body: body.as_bytes(), generation: 1 }).answer
        else {
            panic!("no page");
        };
        let at = |text: &str| Some(text.parse().unwrap());
        let left = Shown {
            address: "a@b.c".into(),
            unsubscribed: true,
            unsubscribed_at: at("2026-01-02T03:04:05Z"),
            updated_at: at("2026-01-03T00:00:00Z"),
            ..Shown::default()
        };
        // A day without a time: whoever agreed on that day may have done so before.
        let deleted = Shown {
            address: "d@e.f".into(),
            deleted: true,
            deleted_at: at("2026-01-01T23:59:59.999999999Z"),
            ..Shown::default()
        };
        assert_eq!(page.items, [left, deleted]);
        assert_eq!((page.count, page.next), (Some(3), None));
    }

    #[test]
    fn a_page_needs_its_things_and_says_where_the_next_is() {
        let read = |body: &str| {
            page(Raw { status: 200, body: body.as_bytes(), generation: 1 }, "lists", "list_id").answer
        };
        let full = r#"{"lists":[{"list_id":"l-1","name":"News","x":1}],"_links":{"next":{"href":"/v3/contact_lists?cursor=a"}}}"#;
        let items = vec![("l-1".to_owned(), "News".to_owned())];
        assert_eq!(read(full), Answer::Done(Page { items, next: Some("/v3/contact_lists?cursor=a".into()) }));
        for last in [r#"{"lists":[]}"#, r#"{"lists":[],"_links":null}"#, r#"{"lists":[],"_links":{}}"#] {
            assert_eq!(read(last), Answer::Done(Page::default()), "{last}");
        }
        for rubbish in ["{}", r#"{"lists":{}}"#, r#"{"lists":[{"name":"no id"}]}"#] {
            assert_eq!(read(rubbish), Answer::Later(Passing::Rubbish), "{rubbish}");
        }
    }
}
