//! What a browser or a scraper on this machine may see: `/`, `/status`, `/health`, `/metrics`.
//!
//! Owns the listener of `[metrics] listen`. Promises that only names of this machine are answered (a page elsewhere that
//! rebinds its name here is refused), that nothing can be changed here, and that nothing secret and no whole address is
//! shown. Reads the same status as everybody else.

mod metrics;
mod page;
mod plot;

use std::net::{IpAddr, SocketAddr};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::outbox::Health;
use crate::status::{Status, StatusError};

/// Nothing is loaded from anywhere but here, nothing runs, and nobody may frame it.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const STYLE: &str = include_str!("style.css");
/// What the metrics are written in.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
struct Shared {
    config: Config,
    clock: Clock,
    listen: SocketAddr,
}

/// Listens; the address may be in use.
pub async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Answers until told to stop.
pub async fn serve(
    listener: TcpListener,
    config: Config,
    clock: Clock,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listen = listener.local_addr()?;
    tracing::info!(%listen, "the status page can be looked at");
    let shared = Shared { config, clock, listen };
    let router = Router::new()
        .route("/", get(front))
        .route("/status", get(status))
        .route("/health", get(health))
        .route("/metrics", get(figures))
        .route("/style.css", get(|| async { ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE) }))
        .layer(middleware::from_fn_with_state(shared.clone(), guard))
        .with_state(shared);
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

/// Refuses foreign names and puts the protective headers on every answer.
async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let mut response = if host.is_some_and(|host| is_ours(host, shared.listen)) {
        next.run(request).await
    } else {
        let words = "this page answers only to the names of its own machine, as in http://127.0.0.1\n";
        (StatusCode::MISDIRECTED_REQUEST, words).into_response()
    };
    protect(response.headers_mut());
    response
}

fn protect(headers: &mut HeaderMap) {
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CACHE_CONTROL, "no-store");
}

/// Whether a `Host` header is a name of this machine, with our port or none.
fn is_ours(host: &str, listen: SocketAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.parse() == Ok(listen.port()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn front(State(shared): State<Shared>) -> Response {
    let now = shared.clock.now();
    let gathered = blocking(move || page::page(&shared.config, now)).await;
    match gathered {
        Ok(page) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response(),
        Err(error) => broken(&error),
    }
}

async fn status(State(shared): State<Shared>) -> Response {
    match look(shared).await {
        Ok(status) => match serde_json::to_string(&status) {
            Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        },
        Err(error) => broken(&error),
    }
}

/// 200 while nothing needs a person, 503 when something does: what load balancers and watchers understand.
async fn health(State(shared): State<Shared>) -> Response {
    match look(shared).await {
        Ok(status) => {
            let code = match status.level() {
                Health::Attention => StatusCode::SERVICE_UNAVAILABLE,
                Health::Ok | Health::Waiting => StatusCode::OK,
            };
            (code, format!("{}\n", status.headline())).into_response()
        }
        Err(error) => broken(&error),
    }
}

async fn figures(State(shared): State<Shared>) -> Response {
    match look(shared).await.map(|status| metrics::text(&status)) {
        Ok(Ok(text)) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
        Err(error) => broken(&error),
    }
}

fn broken(error: &StatusError) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("attention: {error}\n")).into_response()
}

async fn look(shared: Shared) -> Result<Status, StatusError> {
    let now = shared.clock.now();
    blocking(move || Status::gather(&shared.config, now)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|fault| std::panic::resume_unwind(fault.into_panic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_answered() {
        let listen = "127.0.0.1:9464".parse().unwrap();
        for ours in ["127.0.0.1:9464", "localhost:9464", "LOCALHOST", "[::1]:9464", "[::1]", "127.0.0.1"] {
            assert!(is_ours(ours, listen), "{ours}");
        }
        for foreign in [
            "evil.example",
            "evil.example:9464",
            "127.0.0.1.evil.example:9464",
            "10.0.0.1:9464",
            "localhost:80",
            "",
        ] {
            assert!(!is_ours(foreign, listen), "{foreign}");
        }
    }
}
