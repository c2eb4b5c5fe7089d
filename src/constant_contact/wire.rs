//! Bytes to meaning: what a status, a content type and a body say.
//!
//! Pure. Promises one meaning for every answer, in any of the four shapes of error body and on any status, and that a
//! success is believed only when the field that proves it is there.

use serde::Deserialize;
use serde_json::Value;

use super::{Answer, Page, Passing, Reply, SignedUp, Trace};

/// The longest piece of somebody else's words that the history keeps.
const WORDS_KEPT: usize = 300;
/// `error_key` of the limit per second.
const THROTTLED: &str = "throttled";
/// `error_key` of the limit per day.
const QUOTA: &str = "quota_exceeded";
/// What the message of the third limit says in every wording that is known.
const QUEUED_ACTIVITIES: &str = "queued activities";

/// The service's names of a contact's fields, and ours. The longer one stands before one that it contains.
const FIELDS: [(&str, &str); 16] = [
    ("email_address", "email"),
    ("first_name", "first_name"),
    ("last_name", "last_name"),
    ("job_title", "job_title"),
    ("company_name", "company_name"),
    ("phone_number", "phone_number"),
    ("anniversary", "anniversary"),
    ("birthday_month", "birthday_month"),
    ("birthday_day", "birthday_day"),
    ("postal_code", "postal_code"),
    ("country", "country"),
    ("street_address", "street"),
    ("street", "street"),
    ("custom_field", "custom_fields"),
    ("email address", "email"),
    ("invalid email", "email"),
];

/// An answer as it came.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
    /// Which token the call carried.
    pub(super) generation: u64,
}

#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    error_key: Option<String>,
    #[serde(alias = "message")]
    error_message: Option<String>,
}

/// What an error body says, whatever its shape.
struct Complaint {
    key: Option<String>,
    message: Option<String>,
    /// The service itself spoke, not something between it and us.
    by_the_service: bool,
}

#[derive(Deserialize)]
struct SignUpBody {
    contact_id: Option<String>,
    action: Option<String>,
}

/// What a sign-up's answer means.
pub(super) fn sign_up(raw: Raw<'_>) -> Reply<SignedUp> {
    interpret(raw, |body| {
        let body: SignUpBody = serde_json::from_slice(body).ok()?;
        let contact_id = body.contact_id.filter(|id| !id.is_empty())?;
        // The status says it as well; the word is there for proxies that change the status.
        let created = body.action.map_or(raw.status == 201, |action| action == "created");
        Some(SignedUp { contact_id, created })
    })
}

/// What a page of lists or custom fields means.
pub(super) fn page(raw: Raw<'_>, things: &str, id: &str) -> Reply<Page> {
    interpret(raw, |body| {
        let body: Value = serde_json::from_slice(body).ok()?;
        let text = |thing: &Value, name: &str| thing.get(name).and_then(Value::as_str).map(str::to_owned);
        let items = body.get(things)?.as_array()?;
        let items = items.iter().map(|thing| Some((text(thing, id)?, text(thing, "name")?)));
        let next = body.pointer("/_links/next/href").and_then(Value::as_str).map(str::to_owned);
        Some(Page { items: items.collect::<Option<_>>()?, next })
    })
}

pub(super) fn interpret<T>(raw: Raw<'_>, success: impl Fn(&[u8]) -> Option<T>) -> Reply<T> {
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
    let answer = refusal(raw, &complaint);
    let message = complaint.message.or_else(|| Some(words(raw.body)).filter(|words| !words.is_empty()));
    Reply { answer, trace: Trace { status: Some(raw.status), error_key: complaint.key, message } }
}

fn refusal<T>(raw: Raw<'_>, complaint: &Complaint) -> Answer<T> {
    let reason = || {
        let words = complaint.message.clone().unwrap_or_else(|| words(raw.body));
        if words.is_empty() { format!("HTTP {}", raw.status) } else { words }
    };
    match raw.status {
        401 => Answer::LoginNeeded { generation: raw.generation },
        403 => Answer::Forbidden { reason: reason() },
        409 => Answer::Later(Passing::Conflict),
        429 => limit(complaint),
        408 | 425 | 500..=599 => Answer::Later(Passing::Server),
        400 | 404 if names_a_list(complaint) => Answer::List { reason: reason() },
        400 | 422 if complaint.by_the_service => Answer::Never { field: field(complaint), reason: reason() },
        // A sign-up names nothing that could be unknown but its lists; a page names nothing at all.
        404 if complaint.by_the_service => Answer::List { reason: reason() },
        // Something between the service and us spoke: the service has not judged the row.
        400 | 404 | 422 => Answer::Later(Passing::Rubbish),
        // A redirect is never part of this API: a login or maintenance page stands in front of it.
        300..=399 => Answer::Later(Passing::Rubbish),
        _ => Answer::Hold { reason: format!("HTTP {}: {}", raw.status, reason()) },
    }
}

fn limit<T>(complaint: &Complaint) -> Answer<T> {
    let message = complaint.message.as_deref().unwrap_or_default().to_lowercase();
    match complaint.key.as_deref() {
        Some(QUOTA) => Answer::Quota,
        Some(THROTTLED) => Answer::Later(Passing::Throttled),
        _ if message.contains(QUEUED_ACTIVITIES) => Answer::Later(Passing::QueueFull),
        _ if message.contains("limit exceeded") => Answer::Quota,
        _ if message.contains("too many requests") => Answer::Later(Passing::Throttled),
        _ => Answer::Later(Passing::UnknownLimit),
    }
}

/// Reads the array, the object, and the gateway's object; a page or nothing is none of them.
fn complaint(body: &[u8]) -> Complaint {
    let one = serde_json::from_slice::<ErrorBody>(body).map(|one| vec![one]);
    let all = serde_json::from_slice::<Vec<ErrorBody>>(body).or(one).unwrap_or_default();
    let join = |parts: Vec<String>| Some(parts.join("; ")).filter(|joined| !joined.is_empty());
    Complaint {
        key: all.iter().find_map(|error| error.error_key.clone()),
        by_the_service: all.iter().any(|error| error.error_key.is_some()),
        message: join(all.into_iter().filter_map(|error| error.error_message).collect())
            .map(|words| clip(&words)),
    }
}

fn names_a_list(complaint: &Complaint) -> bool {
    let message = complaint.message.as_deref().unwrap_or_default().to_lowercase();
    message.contains("list_membership") || message.contains("list_id") || message.contains("contact list")
}

/// The first field of ours that the service's words name.
fn field(complaint: &Complaint) -> Option<String> {
    let message = complaint.message.as_deref()?.to_lowercase();
    let named = FIELDS.iter().filter_map(|(theirs, ours)| Some((message.find(theirs)?, *ours)));
    named.min_by_key(|(place, _)| *place).map(|(_, ours)| ours.to_owned())
}

fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    clip(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn clip(words: &str) -> String {
    match words.char_indices().nth(WORDS_KEPT) {
        Some((end, _)) => format!("{}…", &words[..end]),
        None => words.to_owned(),
    }
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
