use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::super::{Endpoint, FAULTS};
use super::bench::Bench;

fn count(bench: &Bench) -> usize {
    bench.sandbox.inspect(|world| world.contacts().len())
}

#[tokio::test]
async fn a_fault_that_stands_in_for_the_call_does_not_carry_it_out() {
    let bench = Bench::start().await;
    for (fault, status, text) in [
        ("throttled", 429, r#"{"error_key":"throttled","error_message":"Too Many Requests"}"#),
        ("quota", 429, "quota_exceeded"),
        ("queue_full", 429, "You exceeded 1,000 queued activities for this user account."),
        ("unknown_429", 429, "message"),
        ("400", 400, "contacts.api.validation.error"),
        ("401", 401, "unauthorized"),
        ("403", 403, "Forbidden"),
        ("404", 404, "contacts.api.not_found"),
        ("409", 409, "contacts.api.conflict"),
        ("500", 500, "Internal server error"),
        ("502", 502, "Bad Gateway"),
        ("503", 503, "Service Unavailable"),
        ("html_503", 503, "<!doctype html>"),
        ("html_200", 200, "<!doctype html>"),
        ("empty_200", 200, ""),
    ] {
        bench.sandbox.fault(&format!("{fault}=once")).unwrap();
        let answer = bench.sign_up("ann@example.org").await;
        assert_eq!(answer.status, status, "{fault}");
        assert!(answer.text.contains(text), "{fault}: {}", answer.text);
        assert_eq!(count(&bench), 0, "{fault}");
    }
    assert_eq!(bench.sign_up("ann@example.org").await.status, 201);
}

#[tokio::test]
async fn a_reset_comes_before_the_call_and_a_loss_after_it() {
    let bench = Bench::start().await;
    let body = json!({ "email_address": "ann@example.org", "list_memberships": [bench.list("Newsletter")] });
    let send = || bench.try_send(hyper::Method::POST, "/v3/contacts/sign_up_form", &body);
    bench.sandbox.fault("reset=once").unwrap();
    assert!(send().await.is_none());
    assert_eq!(count(&bench), 0);
    bench.sandbox.fault("lost=once").unwrap();
    assert!(send().await.is_none());
    assert_eq!(count(&bench), 1);
    assert_eq!(bench.sandbox.inspect(|world| world.log.answered(Endpoint::SignUpForm, None)), 2);
    assert_eq!(send().await.unwrap().status, 200);
}

/// What comes over a bare socket, so that a client library hides nothing.
async fn bare(bench: &Bench) -> (std::io::Result<usize>, String) {
    let mut socket = tokio::net::TcpStream::connect(bench.sandbox.address()).await.unwrap();
    let request = format!(
        "GET /v3/account/summary HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
        bench.token
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(super::bench::PATIENCE, socket.read_to_end(&mut bytes)).await.unwrap();
    (end, String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn a_reset_is_a_reset_and_no_orderly_end() {
    let bench = Bench::start().await;
    bench.sandbox.fault("lost=once").unwrap();
    let (end, text) = bare(&bench).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(text, "");
}

#[tokio::test]
async fn a_cut_answer_has_its_head_and_half_of_its_body() {
    let bench = Bench::start().await;
    let (_, whole) = bare(&bench).await;
    bench.sandbox.fault("cut=once").unwrap();
    let (_, part) = bare(&bench).await;
    assert!(part.starts_with("HTTP/1.1 200"), "{part:?}");
    let body = |text: &str| text.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert_eq!(body(&part), body(&whole)[..body(&whole).len() / 2]);
    assert!(part.contains(&format!("content-length: {}", body(&whole).len())));
}

#[tokio::test]
async fn a_hanging_call_is_never_answered_nor_carried_out() {
    let bench = Bench::start().await;
    bench.sandbox.fault("hang@sign_up_form=once").unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(100), bench.sign_up("ann@example.org")).await;
    assert!(waited.is_err());
    assert_eq!(count(&bench), 0);
    assert_eq!(bench.sign_up("ann@example.org").await.status, 201);
}

#[tokio::test]
async fn a_slow_answer_takes_its_time_and_the_call_is_carried_out_at_once() {
    let bench = Bench::start().await;
    bench.sandbox.fault("slow:150=once").unwrap();
    let begin = Instant::now();
    assert_eq!(bench.sign_up("ann@example.org").await.status, 201);
    assert!(begin.elapsed() >= Duration::from_millis(150));
    bench.sandbox.fault("slow:60000=once").unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(100), bench.sign_up("bob@example.org")).await;
    assert!(waited.is_err());
    assert_eq!(count(&bench), 2);
    // The client that gave up has let go of the address, as soon as the server has noticed.
    let freed = async {
        while bench.sign_up("bob@example.org").await.status == 409 {
            tokio::task::yield_now().await;
        }
    };
    bench.sandbox.change(|world| world.settings.attempts_per_address = None);
    tokio::time::timeout(super::bench::PATIENCE, freed).await.expect("the address is free again");
}

#[tokio::test]
async fn retry_after_comes_only_with_a_refusal_that_can_be_waited_out() {
    let bench = Bench::start().await;
    bench.sandbox.fault("retry_after:7=once").unwrap();
    assert_eq!(bench.sign_up("ann@example.org").await.header("retry-after"), None);
    bench.sandbox.fault("503=once").unwrap();
    assert_eq!(bench.sign_up("ann@example.org").await.header("retry-after"), Some("7"));
}

#[tokio::test]
async fn calm_ends_every_fault_and_every_fault_can_be_switched_on() {
    let bench = Bench::start().await;
    for fault in FAULTS {
        bench.sandbox.fault(&format!("{}=always", fault.name)).unwrap();
        assert!(fault.about.ends_with('.'), "{}", fault.name);
    }
    bench.sandbox.calm();
    assert_eq!(bench.sign_up("ann@example.org").await.status, 201);
}
