//! What a refusal means: one table for every status, key, wording and shape of body, on every endpoint.
//!
//! Pure. Promises a meaning for each answer that is not a success, also for those that nobody has seen yet, and that only
//! what the service itself says is held against a row: a page or a proxy judges none.

use std::ops::RangeInclusive;

use serde::Deserialize;

use super::wire::Raw;
use super::{Answer, Passing};

/// The longest piece of somebody else's words that the history keeps.
const WORDS_KEPT: usize = 300;
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

/// Which question was refused, as far as that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// `sign_up_form`, which names lists.
    SignUp,
    /// `contacts_json_import`, which names lists.
    Import,
    /// One bulk job, by its id.
    Job,
    /// Anything else: pages of things, the making of a list, the account itself.
    Other,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// The token is not taken.
    Token,
    /// The token is taken, the call is forbidden.
    Forbidden,
    /// The same thing is being changed, or made, by somebody else.
    Conflict,
    /// Too many calls in a second.
    Throttled,
    /// Too many in a day.
    Quota,
    /// Too many bulk jobs at once.
    QueueFull,
    /// A limit without a name: first the one per second, and if it lasts the one per day.
    UnknownLimit,
    /// The service is in trouble.
    Trouble,
    /// A list that the call names is refused.
    List,
    /// What is asked for is not there.
    Gone,
    /// What the call says is refused, and always will be.
    Never,
    /// Something else than the service spoke.
    Stranger,
    /// The call itself is refused; a person must look.
    Hold,
}

/// What the body of a refusal must say for a line to fit.
#[derive(Debug, Clone, Copy)]
enum Says {
    /// Whatever it says.
    Anything,
    /// This `error_key`.
    Key(&'static str),
    /// These words somewhere, in any case.
    Words(&'static str),
    /// Something about a list.
    AList,
    /// Anything with an `error_key`, which only the service itself gives.
    ByTheService,
}

use Endpoint::{Import, Job, Other, SignUp};

const ANY: &[Endpoint] = &[SignUp, Import, Job, Other];
const NAMES_LISTS: &[Endpoint] = &[SignUp, Import];

/// The table: the first line that fits counts, and the last one fits everything.
const TABLE: [(RangeInclusive<u16>, &[Endpoint], Says, Means); 23] = [
    (401..=401, ANY, Says::Anything, Means::Token),
    (403..=403, ANY, Says::Anything, Means::Forbidden),
    (409..=409, ANY, Says::Anything, Means::Conflict),
    (429..=429, ANY, Says::Key("quota_exceeded"), Means::Quota),
    (429..=429, ANY, Says::Key("throttled"), Means::Throttled),
    (429..=429, ANY, Says::Words("queued activities"), Means::QueueFull),
    (429..=429, ANY, Says::Words("limit exceeded"), Means::Quota),
    (429..=429, ANY, Says::Words("too many requests"), Means::Throttled),
    (429..=429, ANY, Says::Anything, Means::UnknownLimit),
    (408..=408, ANY, Says::Anything, Means::Trouble),
    (425..=425, ANY, Says::Anything, Means::Trouble),
    (500..=599, ANY, Says::Anything, Means::Trouble),
    (400..=400, NAMES_LISTS, Says::AList, Means::List),
    (404..=404, NAMES_LISTS, Says::AList, Means::List),
    // A sign-up and an import name nothing that could be unknown but their lists.
    (404..=404, NAMES_LISTS, Says::ByTheService, Means::List),
    (404..=404, &[Job], Says::ByTheService, Means::Gone),
    (400..=400, ANY, Says::ByTheService, Means::Never),
    (422..=422, ANY, Says::ByTheService, Means::Never),
    (404..=404, &[Other], Says::ByTheService, Means::Hold),
    // Without a key it was something between the service and us: nobody has judged what the call says. A redirect is
    // never part of this API: a login or maintenance page stands in front of it.
    (300..=399, ANY, Says::Anything, Means::Stranger),
    (400..=400, ANY, Says::Anything, Means::Stranger),
    (404..=404, ANY, Says::Anything, Means::Stranger),
    (422..=422, ANY, Says::Anything, Means::Stranger),
];

#[derive(Debug, Default, Deserialize)]
struct ErrorBody {
    error_key: Option<String>,
    #[serde(alias = "message")]
    error_message: Option<String>,
}

/// What an error body says, whatever its shape.
pub(super) struct Complaint {
    pub(super) key: Option<String>,
    pub(super) message: Option<String>,
    /// The service itself spoke, not something between it and us.
    by_the_service: bool,
}

impl Complaint {
    fn fits(&self, says: Says) -> bool {
        let says_one_of = |words: &[&str]| {
            let message = self.message.as_deref().unwrap_or_default().to_lowercase();
            words.iter().any(|words| message.contains(words))
        };
        match says {
            Says::Anything => true,
            Says::Key(key) => self.key.as_deref() == Some(key),
            Says::Words(words) => says_one_of(&[words]),
            Says::AList => says_one_of(&["list_membership", "list_id", "contact list"]),
            Says::ByTheService => self.by_the_service,
        }
    }
}

/// What a refusal means.
pub(super) fn means(endpoint: Endpoint, status: u16, complaint: &Complaint) -> Means {
    let line = TABLE.iter().find(|(statuses, endpoints, says, _)| {
        statuses.contains(&status) && endpoints.contains(&endpoint) && complaint.fits(*says)
    });
    line.map_or(Means::Hold, |(.., means)| *means)
}

/// The answer that a refusal is.
pub(super) fn refusal<T>(endpoint: Endpoint, raw: Raw<'_>, complaint: &Complaint) -> Answer<T> {
    let reason = || {
        let words = complaint.message.clone().unwrap_or_else(|| words(raw.body));
        if words.is_empty() { format!("HTTP {}", raw.status) } else { words }
    };
    match means(endpoint, raw.status, complaint) {
        Means::Token => Answer::LoginNeeded { generation: raw.generation },
        Means::Forbidden => Answer::Forbidden { reason: reason() },
        Means::Conflict => Answer::Later(Passing::Conflict),
        Means::Throttled => Answer::Later(Passing::Throttled),
        Means::Quota => Answer::Quota,
        Means::QueueFull => Answer::Later(Passing::QueueFull),
        Means::UnknownLimit => Answer::Later(Passing::UnknownLimit),
        Means::Trouble => Answer::Later(Passing::Server),
        Means::List => Answer::List { reason: reason() },
        Means::Never => Answer::Never { field: field(complaint), reason: reason() },
        Means::Stranger => Answer::Later(Passing::Rubbish),
        Means::Gone | Means::Hold => Answer::Hold { reason: format!("HTTP {}: {}", raw.status, reason()) },
    }
}

/// Reads the array, the object, and the gateway's object; a page or nothing is none of them.
pub(super) fn complaint(body: &[u8]) -> Complaint {
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

/// The first field of ours that the service's words name.
fn field(complaint: &Complaint) -> Option<String> {
    let message = complaint.message.as_deref()?.to_lowercase();
    let named = FIELDS.iter().filter_map(|(theirs, ours)| Some((message.find(theirs)?, *ours)));
    named.min_by_key(|(place, _)| *place).map(|(_, ours)| ours.to_owned())
}

pub(super) fn words(body: &[u8]) -> String {
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

    /// What a status with a key and words means in the service's own shapes (an array, an object), in the gateway's
    /// (words without a key), and where a page or nothing stands in their place.
    type Line = (&'static [Endpoint], u16, &'static str, &'static str, [Means; 3]);

    use Means::{
        Conflict, Forbidden, Gone, Hold, List, Never, QueueFull, Quota, Stranger, Throttled, Token, Trouble,
        UnknownLimit,
    };

    const INVALID: &str = "contacts.api.validation.error";
    const QUEUE: &str = "You exceeded 1,000 queued activities for this user account.";

    const LINES: [Line; 33] = [
        (ANY, 401, "unauthorized", "Unauthorized", [Token; 3]),
        (ANY, 403, "insufficient_scope", "Forbidden", [Forbidden; 3]),
        (ANY, 409, "contacts.api.conflict", "Validation failed: Email already exists", [Conflict; 3]),
        (ANY, 429, "throttled", "Too Many Requests", [Throttled, Throttled, UnknownLimit]),
        (ANY, 429, "throttled", "", [Throttled, UnknownLimit, UnknownLimit]),
        (ANY, 429, "quota_exceeded", "Limit Exceeded", [Quota, Quota, UnknownLimit]),
        (ANY, 429, "quota_exceeded", "", [Quota, UnknownLimit, UnknownLimit]),
        // A key that contradicts the words: the key is the service's, the words are for people.
        (ANY, 429, "quota_exceeded", "Too Many Requests", [Quota, Throttled, UnknownLimit]),
        (ANY, 429, "throttled", "Limit Exceeded", [Throttled, Quota, UnknownLimit]),
        (ANY, 429, "contacts.api.queue", QUEUE, [QueueFull, QueueFull, UnknownLimit]),
        (ANY, 429, "news", "what?", [UnknownLimit; 3]),
        (ANY, 408, "x", "Request Timeout", [Trouble; 3]),
        (ANY, 425, "x", "Too Early", [Trouble; 3]),
        (ANY, 500, "x", "Internal server error", [Trouble; 3]),
        (ANY, 502, "x", "Bad Gateway", [Trouble; 3]),
        (ANY, 503, "x", "temporarily unavailable", [Trouble; 3]),
        (ANY, 504, "x", "Endpoint request timed out", [Trouble; 3]),
        (ANY, 599, "x", "?", [Trouble; 3]),
        (NAMES_LISTS, 400, INVALID, "list_memberships is invalid", [List, List, Stranger]),
        (NAMES_LISTS, 400, INVALID, "list_ids does not have a valid value", [List, List, Stranger]),
        (&[Job, Other], 400, INVALID, "list_id is invalid", [Never, Stranger, Stranger]),
        (ANY, 400, INVALID, "first_name is too long", [Never, Stranger, Stranger]),
        (ANY, 422, INVALID, "first_name is too long", [Never, Stranger, Stranger]),
        (NAMES_LISTS, 404, "contacts.api.not_found", "contact list x was not found", [List, List, Stranger]),
        (NAMES_LISTS, 404, "contacts.api.not_found", "gone", [List, Stranger, Stranger]),
        (&[Job], 404, "contacts.api.not_found", "gone", [Gone, Stranger, Stranger]),
        (&[Other], 404, "contacts.api.not_found", "gone", [Hold, Stranger, Stranger]),
        (ANY, 302, "x", "Found", [Stranger; 3]),
        (ANY, 402, "x", "Payment Required", [Hold; 3]),
        (ANY, 405, "x", "Method Not Allowed", [Hold; 3]),
        (ANY, 406, "x", "Not Acceptable", [Hold; 3]),
        (ANY, 413, "x", "Request Too Long", [Hold; 3]),
        (ANY, 415, "x", "Unsupported Media Type", [Hold; 3]),
    ];

    #[test]
    fn every_line_in_every_shape_on_every_endpoint() {
        for (endpoints, status, key, message, expected) in LINES {
            let object = format!(r#"{{"error_key":"{key}","error_message":"{message}"}}"#);
            let shapes = [
                (format!("[{object}]"), expected[0]),
                (format!(r#"[{{"error_key":"{key}"}},{{"error_message":"{message}"}}]"#), expected[0]),
                (object, expected[0]),
                (format!(r#"{{"message":"{message}"}}"#), expected[1]),
                ("<html><body>Service maintenance</body></html>".to_owned(), expected[2]),
                (String::new(), expected[2]),
            ];
            for (body, expected) in shapes {
                for endpoint in endpoints {
                    let complaint = complaint(body.as_bytes());
                    assert_eq!(
                        means(*endpoint, status, &complaint),
                        expected,
                        "{endpoint:?} {status} {body}"
                    );
                }
            }
        }
    }

    #[test]
    fn no_line_of_the_table_is_left_untried() {
        let tried: Vec<usize> = LINES
            .iter()
            .flat_map(|(endpoints, status, key, message, _)| {
                let object = format!(r#"{{"error_key":"{key}","error_message":"{message}"}}"#);
                let bodies = [object, format!(r#"{{"message":"{message}"}}"#)];
                endpoints.iter().flat_map(move |endpoint| {
                    bodies.clone().map(|body| {
                        let complaint = complaint(body.as_bytes());
                        TABLE.iter().position(|(statuses, endpoints, says, _)| {
                            statuses.contains(status) && endpoints.contains(endpoint) && complaint.fits(*says)
                        })
                    })
                })
            })
            .flatten()
            .collect();
        let untried: Vec<usize> = (0..TABLE.len()).filter(|line| !tried.contains(line)).collect();
        assert!(untried.is_empty(), "lines {untried:?}");
    }
}
