//! The account without a socket: for histories of months on a clock that a test moves.
//!
//! Promises what the sandbox on a port does with the same request, faults and delays included. With a stopped tokio clock
//! sockets time out at once, and a call to a function does not; that is the only difference.

use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt;
use hyper::{Request, Response};
use jiff::Timestamp;
use thiserror::Error;

use super::request::Call;
use super::{Settings, World, answer_call};

/// The answer did not come, or not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the answer was lost on its way")]
pub struct Lost;

/// A sandbox that is called as a function.
#[derive(Clone)]
pub struct InProcess {
    world: Arc<Mutex<World>>,
}

impl InProcess {
    /// A fresh account that reads the time from a clock.
    #[must_use]
    pub fn new(settings: Settings, clock: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self { world: Arc::new(Mutex::new(World::new(settings, clock))) }
    }

    /// Answers a request.
    pub async fn answer(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Lost> {
        let (head, body) = request.into_parts();
        let answer = answer_call(&self.world, Call::new(&head, body)).await.map_err(|_| Lost)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes().to_vec();
        Ok(Response::from_parts(head, body))
    }

    /// Looks at the account.
    pub fn inspect<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        look(&self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes the account.
    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        change(&mut self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
