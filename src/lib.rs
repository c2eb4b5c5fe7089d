//! Mailchute: drop a file into a folder, and the people in it are on your Constant Contact lists.

pub mod cli;
pub mod clock;
pub mod config;
pub mod constant_contact;
pub mod contact;
pub mod daemon;
pub mod drain;
pub mod durable;
pub mod inbox;
pub mod instance;
pub mod log;
pub mod oauth;
pub mod outbox;
pub mod plan;
pub mod sandbox;
pub mod status;
pub mod wake;
