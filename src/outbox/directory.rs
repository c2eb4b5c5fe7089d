//! The account's lists and custom fields as last read: names that people write, ids that the service wants.
//!
//! A cache that is a table. Leaves reading them from the account to `drain`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Outbox, Result, millis, one, timestamp};

/// The fact that holds when the directory was read.
const READ_AT: &str = "directory_read_at";

/// The account's lists and custom fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// Name by id.
    pub lists: BTreeMap<String, String>,
    /// Id by name.
    pub custom_fields: BTreeMap<String, String>,
    /// When it was read from the account; `None` before the first time.
    pub read_at: Option<Timestamp>,
}

impl Directory {
    /// The id of a list that is named by its id or its name; names are compared without case if only one fits so.
    #[must_use]
    pub fn list_id(&self, wanted: &str) -> Option<&str> {
        if let Some((id, _)) = self.lists.get_key_value(wanted) {
            return Some(id);
        }
        if let Some((id, _)) = self.lists.iter().find(|(_, name)| *name == wanted) {
            return Some(id);
        }
        let folded = wanted.trim().to_lowercase();
        let mut alike = self.lists.iter().filter(|(_, name)| name.trim().to_lowercase() == folded);
        match (alike.next(), alike.next()) {
            (Some((id, _)), None) => Some(id),
            _ => None,
        }
    }
}

impl Outbox {
    /// The directory as last read.
    pub fn directory(&mut self) -> Result<Directory> {
        self.doing("read the account's directory", directory)
    }

    /// Replaces the directory by what was just read.
    pub fn set_directory(&mut self, directory: &Directory, now: Timestamp) -> Result<()> {
        self.write("write down the account's directory", |transaction| {
            transaction.execute("DELETE FROM list", ())?;
            transaction.execute("DELETE FROM custom_field", ())?;
            for (id, name) in &directory.lists {
                one(transaction
                    .execute("INSERT INTO list (list_id, name) VALUES (?1, ?2)", params![id, name])?)?;
            }
            for (name, id) in &directory.custom_fields {
                one(transaction.execute(
                    "INSERT INTO custom_field (custom_field_id, name) VALUES (?1, ?2)",
                    params![id, name],
                )?)?;
            }
            one(transaction.execute(
                "INSERT INTO fact (name, value) VALUES (?1, ?2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                params![READ_AT, millis(now)],
            )?)
        })
    }
}

/// The directory as last read.
pub(super) fn directory(connection: &Connection) -> rusqlite::Result<Directory> {
    let pairs = |sql: &str| {
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map((), |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<BTreeMap<String, String>>>()
    };
    Ok(Directory {
        lists: pairs("SELECT list_id, name FROM list")?,
        custom_fields: pairs("SELECT name, custom_field_id FROM custom_field")?,
        read_at: connection
            .query_row("SELECT value FROM fact WHERE name = ?1", [READ_AT], |row| timestamp(0, row.get(0)?))
            .optional()?,
    })
}
