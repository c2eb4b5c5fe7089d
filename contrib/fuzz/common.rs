//! What the targets share: reading bytes as the inbox does, and handing them over in pieces.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    ops::ControlFlow,
};

use encoding_rs::Encoding;
use mailchute::contact::{Contact, Rejection, Row};
use mailchute::inbox::{Reading, Said, Unreadable};

/// More than the fuzzer's inputs have, and unpacked ones can reach.
const MOST: u64 = 1 << 22;

/// Everything that a reader makes of bytes.
pub type Outcome = Result<(Vec<Result<Row, Rejection>>, Said), Unreadable>;

/// Reads bytes under a name.
pub fn read(
    name: &str,
    bytes: impl Read,
    encoding: Option<&'static Encoding>,
    columns: &BTreeMap<String, String>,
) -> Outcome {
    let reading = Reading { name, most: MOST, encoding, columns };
    let mut rows = Vec::new();
    let said = reading.read(bytes, &mut |row| {
        // What is made of a row must hold as well, strictly and leniently.
        if let Ok(row) = &row {
            let _ = Contact::from_row(row);
            if let Ok(contact) = Contact::from_usable(row) {
                let text = serde_json::to_string(&contact).expect("a contact can be stored");
                let back: Contact = serde_json::from_str(&text).expect("a stored contact can be read");
                assert_eq!(back.digest(), contact.digest());
            }
        }
        rows.push(row);
        ControlFlow::Continue(())
    })?;
    Ok((rows, said))
}

/// Gives one byte at a time, as the slowest of disks would.
pub struct Drip<'a>(pub &'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(1);
        self.0.read(&mut buffer[..most])
    }
}

/// The lines of rows and rejections, which must grow.
pub fn assert_lines_grow(rows: &[Result<Row, Rejection>]) {
    let line = |row: &Result<Row, Rejection>| row.as_ref().map_or_else(|no| no.line, |row| row.line);
    assert!(rows.is_sorted_by(|a, b| line(a) < line(b)), "{rows:?}");
}
