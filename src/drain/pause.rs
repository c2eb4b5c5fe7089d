//! An operator's pause: nothing new leaves while it lasts; what is under way is answered.

use super::Drain;
use crate::constant_contact::Account;
use crate::outbox::{Outbox, OutboxError};

impl<A: Account> Drain<A> {
    /// Whether an operator has paused sending. Looked up each time, so that it holds across restarts by itself.
    pub(super) async fn is_paused(&mut self) -> Result<bool, OutboxError> {
        Ok(self.parts.outbox.ask(Outbox::paused).await?.is_some())
    }
}
