//! `NAME.receipt.json`: what became of every row of a file.
//!
//! Owns the receipt's form, which is part of the contract. Promises to write it row by row, however many were refused.

use std::io::Write;

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use super::ReceiptError;
use crate::outbox::{Counts, ReceiptFacts, SettledRow};

/// The form of a receipt. Another number means that keys changed their meaning.
const VERSION: u32 = 1;

/// The receipt, but for its lists of rows.
#[derive(Serialize)]
struct Receipt<'a, R, H, N> {
    version: u32,
    file: &'a str,
    sha256: &'a str,
    route: &'a str,
    #[serde(serialize_with = "seconds")]
    received_at: Timestamp,
    #[serde(serialize_with = "seconds")]
    settled_at: Timestamp,
    rows: u64,
    counts: ReceiptCounts,
    /// Only where several columns could hold the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    address_column: Option<&'a str>,
    rejected: R,
    held: H,
    /// What was done to rows besides their fate.
    notes: N,
}

/// The counts that a receipt names.
#[derive(Serialize)]
struct ReceiptCounts {
    created: u64,
    updated: u64,
    unchanged: u64,
    duplicate: u64,
    rejected: u64,
    held: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    imported: Option<u64>,
}

impl From<Counts> for ReceiptCounts {
    fn from(counts: Counts) -> Self {
        let Counts {
            created,
            updated,
            imported,
            unchanged,
            duplicate,
            rejected,
            held,
            queued: _,
            sending: _,
        } = counts;
        let imported = Some(imported).filter(|imported| *imported > 0);
        Self { created, updated, unchanged, duplicate, rejected, held, imported }
    }
}

#[derive(Serialize)]
struct ReceiptRow {
    line: u64,
    email: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    reason: String,
}

/// Rows that are fetched while they are written.
struct Rows<'a>(std::cell::RefCell<&'a mut dyn Iterator<Item = Result<SettledRow, ReceiptError>>>);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for row in &mut **self.0.borrow_mut() {
            let SettledRow { id: _, line, email, field, reason } = row.map_err(serde::ser::Error::custom)?;
            list.serialize_element(&ReceiptRow { line, email: email.unwrap_or_default(), field, reason })?;
        }
        list.end()
    }
}

/// Writes a receipt.
pub fn write(
    facts: &ReceiptFacts,
    rejected: &mut dyn Iterator<Item = Result<SettledRow, ReceiptError>>,
    held: &mut dyn Iterator<Item = Result<SettledRow, ReceiptError>>,
    notes: &mut dyn Iterator<Item = Result<SettledRow, ReceiptError>>,
    out: &mut dyn Write,
) -> Result<(), ReceiptError> {
    let receipt = Receipt {
        version: VERSION,
        file: &facts.name,
        sha256: &facts.sha256,
        route: &facts.route,
        received_at: facts.received_at,
        settled_at: facts.settled_at,
        rows: facts.counts.rows(),
        counts: facts.counts.into(),
        address_column: facts.address_column.as_deref(),
        rejected: Rows(std::cell::RefCell::new(rejected)),
        held: Rows(std::cell::RefCell::new(held)),
        notes: Rows(std::cell::RefCell::new(notes)),
    };
    serde_json::to_writer_pretty(&mut *out, &receipt).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// RFC 3339 in UTC; fractions of a second help nobody who reads a receipt.
pub(super) fn seconds<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&time.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_reads_as_the_contract_says() {
        let facts = ReceiptFacts {
            id: 1,
            name: "a.csv".into(),
            sha256: "abc".into(),
            route: ".".into(),
            received_at: "2026-11-24T10:00:00.25Z".parse().unwrap(),
            settled_at: "2026-11-24T10:00:07Z".parse().unwrap(),
            archived_as: "done/2026-11-24/a.csv".into(),
            counts: Counts { created: 2, rejected: 1, ..Counts::default() },
            address_column: Some("E-Mail".into()),
        };
        let row = SettledRow {
            id: 3,
            line: 3,
            email: Some("bad".into()),
            field: Some("email".into()),
            reason: "no @".into(),
        };
        let mut out = Vec::new();
        let note = SettledRow {
            id: 2,
            line: 2,
            email: Some("jane@example.org".into()),
            field: Some("birthday".into()),
            reason: "left out".into(),
        };
        let (mut rejected, mut notes) = ([Ok(row)].into_iter(), [Ok(note)].into_iter());
        write(&facts, &mut rejected, &mut std::iter::empty(), &mut notes, &mut out).unwrap();
        insta::assert_snapshot!(String::from_utf8(out).unwrap(), @r#"
        {
          "version": 1,
          "file": "a.csv",
          "sha256": "abc",
          "route": ".",
          "received_at": "2026-11-24T10:00:00Z",
          "settled_at": "2026-11-24T10:00:07Z",
          "rows": 3,
          "counts": {
            "created": 2,
            "updated": 0,
            "unchanged": 0,
            "duplicate": 0,
            "rejected": 1,
            "held": 0
          },
          "address_column": "E-Mail",
          "rejected": [
            {
              "line": 3,
              "email": "bad",
              "field": "email",
              "reason": "no @"
            }
          ],
          "held": [],
          "notes": [
            {
              "line": 2,
              "email": "jane@example.org",
              "field": "birthday",
              "reason": "left out"
            }
          ]
        }
        "#);
    }
}
