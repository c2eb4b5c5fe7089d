//! Mailchute: drop a file into a folder, and the people in it are on your Constant Contact lists.

pub mod config;
pub mod contact;
pub mod oauth;
