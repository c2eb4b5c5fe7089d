//! The one hint that the two loops and the file events share: look at the table again.
//!
//! Carries no data. A loop registers before it looks, so that no hint is lost between the look and the wait.

use std::sync::Arc;

use tokio::sync::{Notify, futures::Notified};

/// A hint that something may have changed.
#[derive(Clone, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    /// Wakes every loop that waits.
    pub fn hint(&self) {
        self.0.notify_waiters();
    }

    /// What a loop registers (`enable`) before it looks and awaits after.
    pub fn listen(&self) -> Notified<'_> {
        self.0.notified()
    }
}
