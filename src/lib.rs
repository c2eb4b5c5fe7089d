//! Mailchute: drop a file into a folder, and the people in it are on your Constant Contact lists.
//!
//! # The one idea
//!
//! **The outbox is the truth; every event is a hint.** A file event, a timer, a signal, a finished call only means "look
//! at the table again". From that come restart-safety (nothing lives only in memory), testability (call one step, look
//! at the table), and one shape of loop, used twice.
//!
//! ```text
//!  drop files ─▶ inbox ─▶ contact ─▶ plan ─▶ outbox ◀─ drain ─▶ constant_contact ─▶ HTTPS
//!                  │  wake (no data in it)     ▲         │            ▲
//!                  └───────────────────────────┼─────────┘            │ bearer token
//!                                           status                 oauth ◀── mailchute-auth
//! ```
//!
//! # The flow
//!
//! 1. [`inbox`] notices files, waits until each is complete, and reads it row by row.
//! 2. [`contact`] makes a row a contact, or a rejection with its line, field and reason.
//! 3. [`plan`] compares contacts with what was delivered and what still waits.
//! 4. [`outbox`] stores the plan in one transaction with the file's digest; only then the file leaves the inbox.
//! 5. [`drain`] takes what is due, paces it, sends it, and writes down what became of it: one call for each row whose
//!    person asked, one bulk import for thousands of those with a business relationship, whose missing rows it finds.
//! 6. [`constant_contact`] is the only place that knows the wire; its answers are one enum.
//! 7. [`oauth`] gets, keeps and renews the tokens.
//!
//! When the last row of a file is settled, `inbox` writes its receipt. [`daemon`] starts the two loops, stops them in
//! order, swaps their configuration, and reports the health to those who do not ask; [`cli`] translates arguments, signals
//! and exit statuses; [`status`] reads what the loops wrote down, and [`web`] shows it; [`forecast`] says when what waits
//! will be delivered.
//!
//! # What always holds
//!
//! 1. A drop file leaves the inbox only after its rows are committed with `synchronous=FULL`, and its rename is synced.
//! 2. A row, once committed, reaches exactly one final state, and its receipt says which, whatever crashes.
//! 3. A rotated refresh token is on the disk before the access token that came with it is used.
//! 4. Two processes never spend the same refresh token.
//! 5. Nobody who unsubscribed after a row was made is opted back in by replaying that row.
//! 6. Never more than the configured calls in any second or UTC day, across restarts.
//! 7. A fault that passes (network, 5xx, 429, a full disk) never costs a row, a file or the authorization.
//! 8. One bad row, file, list or route never stops the others.
//! 9. Memory does not grow with the size of a file or of the backlog.
//! 10. No secret and no whole address in logs, errors or status.
//!
//! The tests that try to break these are in `tests/`; `tests/house.rs` keeps the imports pointing along the arrows.
//!
//! # Absent on purpose
//!
//! Global state, an event bus, plug-in traits, a cache that is not a table, a retry that lives in a sleeping task, code
//! that knows whether it is tested.

// The modules in reading order: the flow first, then what carries it, then the edges.
pub mod inbox;

pub mod contact;

pub mod plan;

pub mod outbox;

pub mod drain;

pub mod constant_contact;

pub mod oauth;

pub mod daemon;

pub mod config;

pub mod forecast;

pub mod clock;

pub mod wake;

pub mod durable;

pub mod instance;

pub mod status;

pub mod web;

pub mod log;

pub mod hardening;

pub mod sandbox;

pub mod cli;
