//! A rehearsal: both loops, the client and SQLite as they are, an account that is called as a function, and a clock that
//! stands still while anybody works. Weeks pass in moments, and the same seed is the same history.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a rehearsal that cannot go on says so at once"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use mailchute::{
    clock::Clock,
    config::Config,
    constant_contact::{CALL_TIMEOUT, Carried, Carry, Carrying, Client, Passing},
    drain::{self, Drain},
    inbox::{self, Inbox},
    oauth::Tokens,
    outbox::{Counts, Outbox, SharedOutbox},
    sandbox::{InProcess, Settings},
    wake::Wake,
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// How often the inbox is looked at.
pub const LOOK: Duration = Duration::from_mins(5);

/// Runs a rehearsal on a runtime whose clock moves only when everybody waits.
pub fn rehearse<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

/// A way to the account without a network.
struct ByFunction(InProcess);

impl Carry for ByFunction {
    fn carry(&self, request: reqwest::Request) -> Carrying<'_> {
        Box::pin(async move {
            let mut there =
                hyper::Request::builder().method(request.method().clone()).uri(request.url().as_str());
            *there.headers_mut().unwrap() = request.headers().clone();
            let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default().to_vec();
            let answered = tokio::time::timeout(CALL_TIMEOUT, self.0.answer(there.body(body).unwrap())).await;
            let back = match answered {
                Err(_) => return Err((Passing::Lost, "no answer in time".to_owned())),
                Ok(Err(lost)) => return Err((Passing::Lost, lost.to_string())),
                Ok(Ok(back)) => back,
            };
            let header = |name| back.headers().get(name)?.to_str().ok().map(str::to_owned);
            let (retry_after, date) = (header("retry-after"), header("date"));
            Ok(Carried { status: back.status(), retry_after, date, body: back.into_body() })
        })
    }
}

/// A spool, a state folder, and an account that knows the application.
pub struct Rehearsal {
    pub home: tempfile::TempDir,
    pub account: InProcess,
    pub config: Config,
    tokens: Arc<Tokens>,
    /// By how much our clock is wrong, in milliseconds.
    skew: Arc<AtomicI64>,
    service: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl Rehearsal {
    /// With an account, and what the configuration says of limits, inbox, delivery and routes.
    pub fn new(settings: Settings, tables: &str) -> Self {
        let home = folder();
        let (base, began) = (Timestamp::now(), tokio::time::Instant::now());
        let service: Arc<dyn Fn() -> Timestamp + Send + Sync> =
            Arc::new(move || base + SignedDuration::try_from(began.elapsed()).unwrap());
        let settings = Settings { access_token_life: Duration::from_hours(24 * 365), ..settings };
        let account = InProcess::new(settings, Arc::clone(&service));
        let config = configuration(home.path(), tables);
        let state = config.state.clone();
        fs::create_dir_all(&state).unwrap();
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).unwrap();
        for route in &config.routes {
            fs::create_dir_all(route.place(&config.inbox_folder())).unwrap();
        }
        sign_in(&state, &account, base);
        let tokens =
            Arc::new(Tokens::open(&state, config.application().unwrap(), Arc::clone(&service)).unwrap());
        Self { home, account, config, tokens, skew: Arc::default(), service }
    }

    /// The service's time, which is right.
    pub fn now(&self) -> Timestamp {
        (self.service)()
    }

    /// Ours, which may be wrong.
    pub fn our_clock(&self) -> Clock {
        let (service, skew) = (Arc::clone(&self.service), Arc::clone(&self.skew));
        Clock::reading(move || service() + SignedDuration::from_millis(skew.load(Ordering::Relaxed)))
    }

    /// Makes our clock wrong.
    pub fn set_our_clock_wrong_by(&self, skew: SignedDuration) {
        self.skew.store(i64::try_from(skew.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// Drops a file by rename.
    pub fn drop_file(&self, path: &str, text: &str) {
        let target = self.config.inbox_folder().join(path);
        let hidden = target.with_file_name(".hidden");
        fs::write(&hidden, text).unwrap();
        fs::rename(&hidden, target).unwrap();
    }

    /// Runs for a while and is told to stop.
    pub async fn run(&self, how_long: Duration) {
        let stop = CancellationToken::new();
        let stopping = async {
            tokio::time::sleep(how_long).await;
            stop.cancel();
        };
        tokio::join!(Box::pin(self.live(stop.clone())), stopping);
    }

    /// Both loops, from their start to their end.
    pub async fn live(&self, stop: CancellationToken) {
        let open = || SharedOutbox::new(Outbox::open(&self.config.state).unwrap());
        let (config, wake) = (&self.config, Wake::default());
        let mut inbox = Inbox::new(inbox::Parts {
            outbox: open(),
            spool: config.spool.clone(),
            routes: config.routes.clone(),
            settings: config.inbox.clone(),
            clock: self.our_clock(),
            wake: wake.clone(),
        });
        let client = Client::new(config.base_url.clone(), Arc::clone(&self.tokens)).unwrap();
        let drain = Drain::start(drain::Parts {
            outbox: open(),
            account: Arc::new(client.carried_by(ByFunction(self.account.clone()))),
            routes: config.routes.clone(),
            limits: config.limits,
            linger: config.linger,
            give_up_after: config.give_up_after,
            on_bad_field: config.inbox.on_bad_field,
            create_lists: config.create_lists,
            clock: self.our_clock(),
            wake: wake.clone(),
        });
        let looks = async {
            while !stop.is_cancelled() {
                inbox.run_once(&stop).await.unwrap();
                inbox.answer_all().await.unwrap();
                wake.hint();
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {}
                    () = stop.cancelled() => {}
                }
            }
        };
        let drained = async { drain.await.unwrap().run(stop.clone()).await.unwrap() };
        tokio::join!(looks, drained);
    }

    /// What became of all rows so far.
    pub fn counts(&self) -> Counts {
        Outbox::open(&self.config.state).unwrap().totals().unwrap().counts
    }

    /// Rows that are not at their end.
    pub fn waits(&self) -> u64 {
        let counts = self.counts();
        counts.queued + counts.sending
    }
}

/// A folder in memory where there is one: what is rehearsed is not the disk.
fn folder() -> tempfile::TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn configuration(home: &Path, tables: &str) -> Config {
    let id = Settings::default().client_id;
    let text = format!(
        "spool = \"spool\"\nstate = \"state\"\n[application]\nclient_id = \"{id}\"\n\
         redirect_uri = \"http://localhost:28910/callback\"\n{tables}"
    );
    fs::create_dir_all(home.join("spool/inbox")).unwrap();
    Config::parse(&home.join("mailchute.toml"), &text).unwrap()
}

fn sign_in(state: &Path, account: &InProcess, now: Timestamp) {
    let issued = account.change(|world| world.issue_tokens("contact_data account_read offline_access"));
    let year = SignedDuration::from_hours(24 * 365);
    let document = json!({
        "version": 1, "generation": 1, "account": "Sandbox Gardening Club", "state": "authorized",
        "access_token": issued.access_token, "access_expires_at": now + year,
        "refresh_token": issued.refresh_token, "refreshed_at": now, "rotating": null, "spending_since": null,
    });
    let file = state.join("tokens.json");
    fs::write(&file, document.to_string()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}
