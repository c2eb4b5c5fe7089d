//! Whole exchanges over the wire.

mod api;
mod bench;
mod bulk;
mod contacts;
mod faults;
mod oauth;
