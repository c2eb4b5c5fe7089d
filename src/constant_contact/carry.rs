//! What carries a request to the service and its answer back.
//!
//! Promises a time-out on every call, that no redirect is followed, that an answer is read up to a limit, and that what
//! surely did not leave is told from what may have arrived. Leaves tokens and meaning to `client` and `wire`. A test can
//! carry requests to an account in its own process.

use std::{io::Write, pin::Pin, time::Duration};

use reqwest::{Request, StatusCode};

use super::Passing;
use super::client::ClientError;
use crate::oauth::USER_AGENT;

/// A service that has not taken a connection after this long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The gateway in front of the service gives up after 29 seconds itself; after this no answer will come.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(35);
/// An answer to any of our calls is a few hundred kilobytes at most; more is not for us.
const LARGEST_ANSWER: usize = 8 << 20;

/// An answer with what is read of its head.
#[derive(Debug, Default)]
pub struct Carried {
    /// The HTTP status.
    pub status: StatusCode,
    /// The header `Retry-After`, should it ever come.
    pub retry_after: Option<String>,
    /// The service's clock, as its header `Date` has it.
    pub date: Option<String>,
    /// The whole body.
    pub body: Vec<u8>,
}

/// What became of a call without an answer, and in which words.
pub type NotCarried = (Passing, String);

/// An answer that is still on its way.
pub type Carrying<'a> = Pin<Box<dyn Future<Output = Result<Carried, NotCarried>> + Send + 'a>>;

/// A way to the service.
pub trait Carry: Send + Sync + 'static {
    /// Carries a request there and its answer back.
    fn carry(&self, request: Request) -> Carrying<'_>;

    /// The same, but what a success brings goes into a sink instead of the answer's body.
    fn carry_into<'a>(&'a self, request: Request, sink: &'a mut Sink<'a>) -> Carrying<'a> {
        Box::pin(async move {
            let mut carried = self.carry(request).await?;
            if carried.status.is_success() {
                pour(sink, &std::mem::take(&mut carried.body))?;
            }
            Ok(carried)
        })
    }
}

/// Takes what is too large to be held. It does not fail by itself.
pub type Sink<'a> = dyn Write + Send + 'a;

fn pour(sink: &mut Sink<'_>, bytes: &[u8]) -> Result<(), NotCarried> {
    sink.write_all(bytes).map_err(|error| (Passing::Lost, error.to_string()))
}

/// The way over the network.
pub(super) fn https() -> Result<reqwest::Client, ClientError> {
    let builder = reqwest::Client::builder().user_agent(USER_AGENT).connect_timeout(CONNECT_TIMEOUT);
    Ok(builder.timeout(CALL_TIMEOUT).redirect(reqwest::redirect::Policy::none()).build()?)
}

impl Carry for reqwest::Client {
    fn carry(&self, request: Request) -> Carrying<'_> {
        Box::pin(receive(self, request, None))
    }

    fn carry_into<'a>(&'a self, request: Request, sink: &'a mut Sink<'a>) -> Carrying<'a> {
        Box::pin(receive(self, request, Some(sink)))
    }
}

async fn receive(
    http: &reqwest::Client,
    request: Request,
    mut sink: Option<&mut Sink<'_>>,
) -> Result<Carried, NotCarried> {
    let mut answer = http.execute(request).await.map_err(|error| {
        let fate = if error.is_connect() { Passing::NotSent } else { Passing::Lost };
        (fate, words(&error))
    })?;
    let status = answer.status();
    let header = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (retry_after, date) = (header(reqwest::header::RETRY_AFTER), header(reqwest::header::DATE));
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| (Passing::Lost, words(&error)))? {
        if let Some(sink) = sink.as_deref_mut().filter(|_| status.is_success()) {
            pour(sink, &chunk)?;
            continue;
        }
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err((Passing::Lost, format!("the answer is larger than {LARGEST_ANSWER} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Carried { status, retry_after, date, body })
}

/// The error with its causes and without the address, which `reqwest` would repeat in each.
pub(super) fn words(error: &reqwest::Error) -> String {
    let kind = match error {
        error if error.is_timeout() => "no answer in time",
        error if error.is_connect() => "no connection",
        _ => "the connection broke",
    };
    let mut causes = std::iter::successors(std::error::Error::source(error), |cause| cause.source());
    causes.by_ref().last().map_or_else(|| kind.to_owned(), |cause| format!("{kind}: {cause}"))
}
