//! The loopback redirect (RFC 8252, section 7.3): a listener for one browser and one answer.
//!
//! Promises to listen on loopback only, to take one answer with the right `state`, to answer everybody else plainly and
//! soon, and to hold nobody up for a stranger. The browser is answered before the code is spent, by a page that leads on
//! to the outcome; so the code leaves the address bar, and a reload finds nothing to spend twice.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use oauth2::CsrfToken;
use secrecy::SecretString;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use url::{Host, Url};

use super::AuthorizeError;
use super::callback::{Callback, understand};
use super::pages::Page;

/// How long a person may take to sign in: with a password to look up and a second factor, minutes.
const PATIENCE: Duration = Duration::from_mins(5);
/// A browser sends its few hundred bytes at once; who dribbles is no browser.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// A browser with every cookie that `localhost` ever set stays below this.
const LARGEST_HEADER: usize = 64 << 10;
/// Browsers open a handful of connections; more than these are waited with until others have ended.
const MOST_CONNECTIONS: usize = 128;
/// Longer than the exchange and the questions to the account can take.
const OUTCOME_TIME: Duration = Duration::from_mins(3);
/// How long a browser may take to follow from the first page to the outcome, and to read it.
const FOLLOW_TIME: Duration = Duration::from_secs(2);

/// The listener before it listens: bound, so that a taken port is known before the browser is sent anywhere.
pub(super) struct Listener {
    sockets: Vec<TcpListener>,
    path: String,
    redirect_uri: String,
}

/// What the connections share.
struct Desk {
    path: String,
    /// Known only to the browser that brought the answer.
    outcome_path: String,
    state: SecretString,
    answer: Mutex<Option<oneshot::Sender<Result<SecretString, AuthorizeError>>>>,
    outcome: watch::Receiver<Option<Page>>,
    /// How many have asked for the outcome, and how many of them were answered.
    asked: watch::Sender<(usize, usize)>,
}

/// The browser that brought the code and waits for what becomes of it.
pub(super) struct Visitor {
    outcome: watch::Sender<Option<Page>>,
    asked: watch::Receiver<(usize, usize)>,
    servers: JoinSet<()>,
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
            _ => Ok(Self { sockets, path: url.path().to_owned(), redirect_uri: redirect_uri.to_owned() }),
        }
    }

    /// Waits for the browser; gives the code that it brought, and the browser.
    pub(super) async fn wait(self, state: &SecretString) -> Result<(SecretString, Visitor), AuthorizeError> {
        let (sender, answer) = oneshot::channel();
        let (outcome, outcome_seen) = watch::channel(None);
        let (asked, asked_seen) = watch::channel((0, 0));
        let desk = Arc::new(Desk {
            path: self.path,
            outcome_path: format!("/{}", CsrfToken::new_random().secret()),
            state: state.clone(),
            answer: Mutex::new(Some(sender)),
            outcome: outcome_seen,
            asked,
        });
        let mut servers = JoinSet::new();
        for socket in self.sockets {
            servers.spawn(serve(socket, Arc::clone(&desk)));
        }
        let visitor = Visitor { outcome, asked: asked_seen, servers };
        match timeout(PATIENCE, answer).await {
            Ok(Ok(Ok(code))) => Ok((code, visitor)),
            Ok(Ok(Err(refused))) => {
                visitor.tell(Page::failed(&refused)).await;
                Err(refused)
            }
            Ok(Err(_)) | Err(_) => Err(AuthorizeError::NobodyCame {
                minutes: PATIENCE.as_secs() / 60,
                redirect_uri: self.redirect_uri,
            }),
        }
    }
}

impl Visitor {
    /// Shows the browser what came of it, then closes. A browser that does not follow is not waited for.
    pub(super) async fn tell(mut self, page: Page) {
        self.outcome.send_replace(Some(page));
        let answered = self.asked.wait_for(|(asked, answered)| *asked > 0 && asked == answered);
        // Either way the terminal says it.
        let _in_time = timeout(FOLLOW_TIME, answered).await;
        self.servers.shutdown().await;
    }
}

async fn serve(socket: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.accept(), if connections.len() < MOST_CONNECTIONS => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, Arc::clone(&desk)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request on one connection.
async fn converse(stream: TcpStream, desk: Arc<Desk>) {
    let asked = desk.asked.clone();
    let follows = Arc::new(Mutex::new(false));
    let noted = Arc::clone(&follows);
    let service = service_fn(move |request: Request<Incoming>| {
        let (desk, noted) = (Arc::clone(&desk), Arc::clone(&noted));
        async move {
            let is_outcome = request.uri().path() == desk.outcome_path;
            if is_outcome {
                *noted.lock().unwrap_or_else(PoisonError::into_inner) = true;
                desk.asked.send_modify(|(asked, _)| *asked += 1);
            }
            Ok::<_, Infallible>(response(&answer(&desk, &request).await))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(LARGEST_HEADER)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    let _whatever_came = timeout(OUTCOME_TIME, connection).await;
    // Only now the page is out.
    if *follows.lock().unwrap_or_else(PoisonError::into_inner) {
        asked.send_modify(|(_, answered)| *answered += 1);
    }
}

async fn answer(desk: &Desk, request: &Request<Incoming>) -> Page {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if !host.is_some_and(is_loopback) {
        return Page::stranger();
    }
    if request.uri().path() == desk.outcome_path {
        return outcome(desk).await;
    }
    if request.uri().path() != desk.path {
        return Page::stranger();
    }
    if request.method() != Method::GET {
        return Page::wrong_method();
    }
    let result = match understand(request.uri().query().unwrap_or_default(), &desk.state) {
        Callback::WrongState => return Page::wrong_state(),
        Callback::NoAnswer => return Page::no_answer(),
        Callback::Code(code) => Ok(code),
        Callback::Refused { error, said } => Err(AuthorizeError::refused(error, said)),
    };
    let sender = desk.answer.lock().unwrap_or_else(PoisonError::into_inner).take();
    // Somebody who comes again sees what became of the first time.
    let page = match &result {
        Err(refused) if sender.is_some() => Page::failed(refused),
        _ => Page::under_way(&desk.outcome_path),
    };
    if let Some(sender) = sender {
        let _nobody_waits = sender.send(result);
    }
    page
}

/// Waits for the outcome.
async fn outcome(desk: &Desk) -> Page {
    let mut outcome = desk.outcome.clone();
    let told = outcome.wait_for(Option::is_some).await;
    told.ok().and_then(|page| page.clone()).unwrap_or_else(Page::stranger)
}

/// A name that was made to point here (DNS rebinding) is not ours.
fn is_loopback(host: &str) -> bool {
    match Url::parse(&format!("http://{host}/")).ok().as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

fn response(page: &Page) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(page.html())));
    *response.status_mut() = hyper::StatusCode::from_u16(page.status).unwrap_or_default();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, header::HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_callback_that_never_comes_is_given_up_after_five_minutes() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let uri = format!("http://{free}/callback");
        let before = tokio::time::Instant::now();
        let error = Listener::bind(&uri).await.unwrap().wait(&"state".into()).await.err().unwrap();
        assert_eq!(before.elapsed().as_secs(), PATIENCE.as_secs());
        assert!(error.to_string().contains(&format!("register exactly `{uri}`")), "{error}");
    }

    #[tokio::test]
    async fn what_cannot_be_listened_on_says_what_can() {
        for uri in
            ["https://localhost:1/x", "http://example.org:80/x", "http://0.0.0.0:1/", "http://localhost/x"]
        {
            let error = Listener::bind(uri).await.err().unwrap().to_string();
            assert!(error.contains(uri) && error.contains("http://localhost:28910/callback"), "{error}");
        }
    }

    #[test]
    fn only_names_of_this_machine_are_ours() {
        for host in ["localhost", "localhost:28910", "127.0.0.1:1", "[::1]:28910", "[::1]", "LOCALHOST:1"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["", "evil.example", "localhost.evil.example:28910", "10.0.0.1", "localhost@evil.example"]
        {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
