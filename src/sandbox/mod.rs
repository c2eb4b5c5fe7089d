//! A strict stand-in for the service on a loopback port: the one fake that the demo, rehearsals and tests share.
//!
//! Owns an account in memory, the authorization server before it, the service's limits and every fault that a client must
//! bear. Promises to refuse what the service would refuse, and that its state can be read back. Imports nothing of the
//! client, so that it catches the client's mistakes. It is no load test and keeps nothing on disk.

mod activities;
mod answer;
mod api;
mod authorization;
mod contacts;
mod control;
mod exports;
mod faults;
mod imports;
mod in_process;
mod lists;
pub mod person;
mod request;
mod strict;
mod world;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt;
use hyper::{
    Request, Response,
    body::{Body as HttpBody, Bytes, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use rand::RngExt;
use thiserror::Error;
use tokio::{net::TcpListener, task::JoinHandle};

use answer::{Answer, Body, Delivery};
pub use authorization::Issued;
pub use faults::{FAULTS, FaultError};
pub use in_process::{InProcess, Lost};
use request::Call;
pub use world::{Activity, Contact, CustomField, List, OptOutSource, Permission, World};

/// How late the answers of the `slow` faults are.
const SLOW: Duration = Duration::from_secs(3);

/// What becomes of refresh tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rotation {
    /// Each refresh brings another; the former one works for the leeway.
    Rotating {
        /// Usually 30 seconds.
        leeway: Duration,
    },
    /// The same one always.
    LongLived,
}

/// How the limit per second is measured. The service does not say; each of these has been met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limiter {
    /// In any second.
    Sliding,
    /// In each second of a clock that is ahead of ours.
    ClockSecond(Duration),
    /// A bucket that holds a second's calls and fills up steadily.
    Bucket,
}

/// How the sandbox behaves. The defaults are the service's.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The application.
    pub client_id: String,
    /// Its secret; `None` for a public client.
    pub client_secret: Option<String>,
    /// Its registered redirect addresses.
    pub redirect_uris: Vec<String>,
    /// Calls in any second.
    pub requests_per_second: u32,
    /// Calls in a UTC day.
    pub requests_per_day: u32,
    /// Posts for one address in a day before it is refused.
    pub posts_per_address: Option<usize>,
    /// How long access tokens live.
    pub access_token_life: Duration,
    /// What becomes of refresh tokens.
    pub rotation: Rotation,
    /// How long a device must wait between two questions.
    pub device_interval: Duration,
    /// The account takes the tokens of another authorization server, for rehearsals with a real one.
    pub foreign_tokens: bool,
    /// The account's name.
    pub organization_name: String,
    /// Its lists.
    pub lists: Vec<String>,
    /// Its custom fields, by label.
    pub custom_fields: Vec<String>,
    /// Polls until a bulk job is done.
    pub polls_until_done: u32,
    /// Imports count rows with columns that the account does not know as errors; else such columns are ignored.
    pub unknown_columns_are_errors: bool,
    /// New contacts must confirm.
    pub confirmed_opt_in: bool,
    /// How long a call takes each way, at most; the time is random.
    pub latency: Duration,
    /// How calls in a second are counted.
    pub limiter: Limiter,
    /// Where randomness begins: the same seed, the same sandbox.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            client_id: "5a4dbe55-5a4d-4be5-a4db-e55a4dbe55a4".to_owned(),
            client_secret: Some("sandbox-secret".to_owned()),
            redirect_uris: vec!["http://localhost:28910/callback".to_owned()],
            requests_per_second: 4,
            requests_per_day: 10_000,
            posts_per_address: Some(5),
            access_token_life: Duration::from_hours(24),
            rotation: Rotation::Rotating { leeway: Duration::from_secs(30) },
            device_interval: Duration::from_secs(5),
            foreign_tokens: false,
            organization_name: "Sandbox Gardening Club".to_owned(),
            lists: vec!["Newsletter".to_owned()],
            custom_fields: Vec::new(),
            polls_until_done: 2,
            unknown_columns_are_errors: false,
            confirmed_opt_in: false,
            latency: Duration::ZERO,
            limiter: Limiter::Sliding,
            seed: 1,
        }
    }
}

/// A sandbox that runs; it stops when it is dropped.
pub struct Sandbox {
    world: Arc<Mutex<World>>,
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Sandbox {
    /// Starts a sandbox.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(settings.listen).await?;
        let address = listener.local_addr()?;
        let world = Arc::new(Mutex::new(World::new(settings, Arc::new(Timestamp::now))));
        let server = tokio::spawn(accept(listener, Arc::clone(&world)));
        Ok(Self { world, address, server })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The API's base.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v3", self.address)
    }

    /// The `[api]` table of a configuration that leads here, and the application's id.
    #[must_use]
    pub fn configuration(&self) -> String {
        let (base, server) = (self.base_url(), format!("http://{}/oauth2/default/v1", self.address));
        format!(
            "[api]\nbase_url = \"{base}\"\nauthorize_url = \"{server}/authorize\"\ntoken_url = \"{server}/token\"\n\
             device_url = \"{server}/device/authorize\"\n"
        )
    }

    /// Looks at the account.
    pub fn inspect<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the account.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Switches a fault by its specification, as `500@sign_up_form=next:3`.
    pub fn fault(&self, spec: &str) -> Result<(), FaultError> {
        self.change(|world| world.faults.set(spec))
    }

    /// Switches all faults off.
    pub fn calm(&self) {
        self.change(World::calm);
    }

    /// Serves until the task is ended.
    pub async fn serve(mut self) {
        let _ended = (&mut self.server).await;
    }
}

impl World {
    pub(super) fn fault_fires(&mut self, name: &str, endpoint: &str) -> bool {
        self.faults.fires(name, endpoint, &mut self.luck)
    }
}

async fn accept(listener: TcpListener, world: Arc<Mutex<World>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&world), request));
            // A connection that a fault closed is no error of ours.
            let _closed = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The connection is to be closed without an answer.
#[derive(Debug, Error)]
#[error("closed by a fault")]
struct Closed;

async fn answer(world: Arc<Mutex<World>>, request: Request<Incoming>) -> Result<Response<Parcel>, Closed> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Closed)?.to_bytes().to_vec();
    answer_call(&world, Call::new(&parts, body)).await
}

async fn answer_call(world: &Mutex<World>, mut call: Call) -> Result<Response<Parcel>, Closed> {
    let there = delay_there(&mut world.lock().unwrap_or_else(PoisonError::into_inner), &call);
    if !there.is_zero() {
        tokio::time::sleep(there).await;
        call.at = request::now();
    }
    let turn = Turn::take(world, &call);
    let (answer, delay) = {
        let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = if turn.refused { simultaneous(&mut world, &call) } else { dispatch(&mut world, &call) };
        (answer, delay(&mut world, &call))
    };
    tokio::time::sleep(delay).await;
    drop(turn);
    if answer.delivery == Delivery::Hang {
        std::future::pending::<Infallible>().await;
    }
    response(answer)
}

/// A sign-up's claim on its contact while it is answered. Given back when the caller hangs up, too.
struct Turn<'a> {
    world: &'a Mutex<World>,
    contact: Option<String>,
    refused: bool,
}

impl<'a> Turn<'a> {
    fn take(world: &'a Mutex<World>, call: &Call) -> Self {
        let contact =
            (call.path == "/v3/contacts/sign_up_form").then(|| contacts::address_of(call)).flatten();
        let mut inside = world.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = contact.as_ref().is_some_and(|contact| !inside.in_flight.insert(contact.clone()));
        drop(inside);
        Self { world, contact: contact.filter(|_| !refused), refused }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(contact) = &self.contact {
            self.world.lock().unwrap_or_else(PoisonError::into_inner).in_flight.remove(contact);
        }
    }
}

fn dispatch(world: &mut World, call: &Call) -> Answer {
    match call.path.split('/').nth(1).unwrap_or_default() {
        "v3" => api::handle(world, call),
        "oauth2" | "activate" => authorization::handle(world, call),
        "sandbox" => control::handle(world, call),
        _ => answer::gateway(403, "Forbidden"),
    }
}

/// Two calls that change one contact at the same time: the later one is refused.
fn simultaneous(world: &mut World, call: &Call) -> Answer {
    world.arrive(call.at);
    let refused =
        answer::array(409, "contacts.api.conflict", "The contact is being changed by another request");
    world.answered(&api::endpoint(call), refused.status);
    refused
}

/// The way to the service takes its time as well as the way back.
fn delay_there(world: &mut World, call: &Call) -> Duration {
    if call.path.starts_with("/v3/") {
        world.settings.latency.mul_f64(world.luck.random())
    } else {
        Duration::ZERO
    }
}

fn delay(world: &mut World, call: &Call) -> Duration {
    let slow = match call.path.as_str() {
        path if path.starts_with("/v3/") => world.fault_fires("slow", &api::endpoint(call)),
        path if path.ends_with("/token") => world.fault_fires("token_slow", "token"),
        _ => false,
    };
    let latency = world.settings.latency.mul_f64(world.luck.random());
    if slow { latency + SLOW } else { latency }
}

fn response(answer: Answer) -> Result<Response<Parcel>, Closed> {
    if answer.delivery == Delivery::Lost {
        return Err(Closed);
    }
    let (kind, bytes) = match answer.body {
        Body::Json(value) => ("application/json", value.to_string()),
        Body::Html(text) => ("text/html; charset=utf-8", text),
        Body::Csv(text) => ("text/csv; charset=utf-8", text),
        Body::Empty => ("text/plain", String::new()),
    };
    let mut response = Response::builder().status(answer.status).header("Content-Type", kind);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let cut = answer.delivery == Delivery::Cut;
    response.body(Parcel { bytes: Some(Bytes::from(bytes)), cut }).map_err(|_| Closed)
}

/// A body that may break off in the middle.
struct Parcel {
    bytes: Option<Bytes>,
    cut: bool,
}

impl HttpBody for Parcel {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        Poll::Ready(match (self.bytes.take(), self.cut) {
            (Some(bytes), true) => Some(Ok(Frame::data(bytes.slice(..bytes.len() / 2)))),
            (Some(bytes), false) if !bytes.is_empty() => Some(Ok(Frame::data(bytes))),
            (None, true) => Some(Err(Closed)),
            _ => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(
            self.bytes.as_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or_default()),
        )
    }
}
