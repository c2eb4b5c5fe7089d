//! The loopback redirect (RFC 8252, section 7.3): a listener for one browser and one answer.
//!
//! Promises to listen on loopback only, to take one answer with the right `state`, and to answer everybody else plainly.
//! The browser gets its page before the code is spent: a reload then finds nothing to spend twice.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use tokio::{net::TcpListener, sync::oneshot, task::JoinSet, time::timeout};
use url::{Host, Url};

use super::AuthorizeError;

/// How long a person may take to sign in: with a password to look up and a second factor, minutes.
const PATIENCE: Duration = Duration::from_mins(5);

/// What the browser brought.
#[derive(Debug, Default, Deserialize)]
struct Callback {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
}

/// The listener before it listens: bound, so that a taken port is known before the browser is sent anywhere.
pub(super) struct Listener {
    sockets: Vec<TcpListener>,
    path: String,
}

struct Expected {
    state: String,
    answer: Mutex<Option<oneshot::Sender<Result<String, AuthorizeError>>>>,
}

impl Listener {
    /// Binds the registered address.
    pub(super) async fn bind(redirect_uri: &str) -> Result<Self, AuthorizeError> {
        let wrong =
            |why: &str| AuthorizeError::RedirectUri { uri: redirect_uri.to_owned(), why: why.to_owned() };
        let url = Url::parse(redirect_uri).map_err(|_| wrong("it is not an address"))?;
        if url.scheme() != "http" {
            return Err(wrong(
                "the browser can reach this program only by http:// on the loopback interface",
            ));
        }
        let addresses = match url.host() {
            Some(Host::Domain("localhost")) => {
                vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            }
            Some(Host::Ipv4(address)) if address.is_loopback() => vec![IpAddr::V4(address)],
            Some(Host::Ipv6(address)) if address.is_loopback() => vec![IpAddr::V6(address)],
            _ => return Err(wrong("its host is not localhost or 127.0.0.1")),
        };
        let port = url.port().ok_or_else(|| wrong("it names no port"))?;
        let mut sockets = Vec::new();
        let mut taken = None;
        for address in addresses {
            match TcpListener::bind(SocketAddr::new(address, port)).await {
                Ok(socket) => sockets.push(socket),
                // A machine without IPv6 is no reason to stop; a taken port is.
                Err(error) => taken = Some(error),
            }
        }
        match taken {
            Some(source) if sockets.is_empty() || source.kind() == std::io::ErrorKind::AddrInUse => {
                Err(AuthorizeError::Port { port, source })
            }
            _ => Ok(Self { sockets, path: url.path().to_owned() }),
        }
    }

    /// Waits for the browser and gives the code that it brought.
    pub(super) async fn wait(self, state: &str) -> Result<String, AuthorizeError> {
        let (sender, answer) = oneshot::channel();
        let expected = Arc::new(Expected { state: state.to_owned(), answer: Mutex::new(Some(sender)) });
        let router = Router::new().route(&self.path, get(callback)).fallback(stranger).with_state(expected);
        let mut servers = JoinSet::new();
        let (close, closed) = tokio::sync::watch::channel(false);
        for socket in self.sockets {
            let (router, mut closed) = (router.clone(), closed.clone());
            servers.spawn(async move {
                let ended = async move {
                    let _either_way = closed.changed().await;
                };
                axum::serve(socket, router).with_graceful_shutdown(ended).await
            });
        }
        let answer = timeout(PATIENCE, answer).await;
        // The page goes out before the listener does.
        let _nobody_listens = close.send(true);
        let _late =
            timeout(Duration::from_secs(1), async { while servers.join_next().await.is_some() {} }).await;
        match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(AuthorizeError::NobodyCame { minutes: PATIENCE.as_secs() / 60 }),
        }
    }
}

async fn callback(
    State(expected): State<Arc<Expected>>,
    headers: HeaderMap,
    Query(callback): Query<Callback>,
) -> Response {
    if !is_loopback(&headers) {
        return stranger().await;
    }
    let given = callback.state.unwrap_or_default();
    if !bool::from(given.as_bytes().ct_eq(expected.state.as_bytes())) {
        let text =
            "This answer belongs to another sign-in. Use the newest address that mailchute-auth has printed.";
        return page(StatusCode::BAD_REQUEST, "Not this sign-in", text);
    }
    let Some(sender) = expected.answer.lock().unwrap_or_else(PoisonError::into_inner).take() else {
        return page(
            StatusCode::OK,
            "Already answered",
            "You can close this window and look at the terminal.",
        );
    };
    let (result, response) = match (callback.code, callback.error) {
        (Some(code), None) => {
            let text = "mailchute-auth now fetches its tokens and says in the terminal which account it is for. \
                        You can close this window.";
            (Ok(code), page(StatusCode::OK, "Signed in", text))
        }
        (_, error) => {
            let error = error.unwrap_or_else(|| "no code".to_owned());
            let text = "Nothing was authorized. The terminal says what to do. You can close this window.";
            let said = callback.error_description.unwrap_or_default();
            (Err(AuthorizeError::Refused { error, said }), page(StatusCode::OK, "Not authorized", text))
        }
    };
    let _nobody_waits = sender.send(result);
    response
}

async fn stranger() -> Response {
    page(
        StatusCode::NOT_FOUND,
        "Nothing here",
        "This is mailchute-auth, waiting for one browser to come back.",
    )
}

/// A name that was made to point here (DNS rebinding) is not ours.
fn is_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost"
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title} – Mailchute</title>\
         <style>body{{font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:15vh auto;padding:0 1rem;\
         color-scheme:light dark}}</style><h1>{title}</h1><p>{text}</p>"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (status, headers, Html(html)).into_response()
}
