//! An export of a list: asked for as a job, read as CSV while it arrives, never held as a whole.
//!
//! Promises that a million contacts are read with a few kilobytes, and that a table without a column of addresses is not
//! taken for an empty list. Leaves asking for the job's progress to the client, and what an address means to the caller.

use std::io::{self, Write};

use csv_core::{ReadFieldResult, Reader};
use serde::Serialize;

/// The endpoint that exports contacts, as the history names it.
pub const EXPORT: &str = "contact_exports";
/// What the service calls the column, and the only one that is asked for.
const FIELD: &str = "email_address";
/// How the column may be headed: the service's exports say `Email address`, its API says `email_address`.
const HEADINGS: [&str; 2] = ["emailaddress", "email"];
/// The service takes 80 characters of an address; a longer field is none, and only its beginning is kept.
const LONGEST_FIELD: usize = 512;

/// What is asked for.
#[derive(Debug, Serialize)]
pub(super) struct ExportRequest<'a> {
    list_ids: [&'a str; 1],
    fields: [&'static str; 1],
}

impl<'a> ExportRequest<'a> {
    pub(super) fn of(list: &'a str) -> Self {
        Self { list_ids: [list], fields: [FIELD] }
    }
}

/// Takes the bytes of an export and tells each address.
pub(super) struct Addresses<'a> {
    tell: &'a mut (dyn FnMut(&str) + Send),
    reader: Reader,
    field: Vec<u8>,
    /// How much of the field is there.
    filled: usize,
    /// Which column holds addresses, once the heading was read.
    column: Option<usize>,
    place: usize,
    in_heading: bool,
}

impl<'a> Addresses<'a> {
    pub(super) fn new(tell: &'a mut (dyn FnMut(&str) + Send)) -> Self {
        Self {
            tell,
            reader: Reader::new(),
            field: vec![0; LONGEST_FIELD],
            filled: 0,
            column: None,
            place: 0,
            in_heading: true,
        }
    }

    /// Reads what is left. Says whether there was a column of addresses.
    pub(super) fn finish(mut self) -> bool {
        self.read(&[]);
        self.column.is_some()
    }

    fn read(&mut self, mut bytes: &[u8]) {
        // To this parser an empty piece is the end of the text.
        let at_the_end = bytes.is_empty();
        while at_the_end || !bytes.is_empty() {
            let (result, read, written) = self.reader.read_field(bytes, &mut self.field[self.filled..]);
            bytes = &bytes[read..];
            self.filled += written;
            match result {
                ReadFieldResult::Field { record_end } => self.take(record_end),
                // Too long for an address: the rest is read over it.
                ReadFieldResult::OutputFull => self.filled = LONGEST_FIELD / 2,
                ReadFieldResult::InputEmpty => {}
                ReadFieldResult::End => return,
            }
        }
    }

    fn take(&mut self, record_end: bool) {
        let text = String::from_utf8_lossy(&self.field[..self.filled]);
        if self.in_heading {
            let plain: String = text.chars().filter(char::is_ascii_alphanumeric).collect();
            if self.column.is_none() && HEADINGS.contains(&plain.to_ascii_lowercase().as_str()) {
                self.column = Some(self.place);
            }
        } else if self.column == Some(self.place) {
            (self.tell)(&text);
        }
        self.filled = 0;
        self.place += 1;
        if record_end {
            (self.place, self.in_heading) = (0, false);
        }
    }
}

impl Write for Addresses<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            self.read(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a text in pieces of a size; `None` without a column of addresses.
    fn read(text: &str, piece: usize) -> Option<Vec<String>> {
        let mut found = Vec::new();
        let mut tell = |address: &str| found.push(address.to_owned());
        let mut reader = Addresses::new(&mut tell);
        for piece in text.as_bytes().chunks(piece) {
            reader.write_all(piece).unwrap();
        }
        reader.finish().then_some(found)
    }

    #[test]
    fn the_column_is_known_by_its_heading_and_anything_else_is_no_export() {
        let found = |text| read(text, 3);
        let both = Some(vec!["a@b.c".to_owned(), "d@e.f".to_owned()]);
        assert_eq!(found("Email address\r\na@b.c\r\nd@e.f\r\n"), both);
        assert_eq!(found("\u{feff}Email Address,First name\na@b.c,\"Ann, \n\"\"x\"\"\"\nd@e.f,Dan"), both);
        assert_eq!(found("First name,email_address\nAnn,a@b.c\nDan,d@e.f"), both);
        assert_eq!(found("Email address\n"), Some(Vec::new()));
        for text in ["", "<html><body>Email</body></html>", "{\"error\":1}", "First name\na@b.c\n"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_too_long_for_an_address_harms_nothing_behind_it() {
        let text = format!("Email address\n{}\na@b.c\n", "x".repeat(100_000));
        let found = read(&text, 1_000).unwrap();
        assert_eq!((found.len(), found[0].len() < LONGEST_FIELD, found[1].as_str()), (2, true, "a@b.c"));
    }

    proptest! {
        #[test]
        fn any_table_of_addresses_is_told_whole_in_pieces_of_any_size(
            rows in prop::collection::vec("[a-z\",\n ]{1,20}@x", 0..20), piece in 1..64_usize,
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["Email address", "First name"]).unwrap();
            for row in &rows {
                writer.write_record([row, "Ann"]).unwrap();
            }
            let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
            prop_assert_eq!(read(&text, piece), Some(rows));
        }
    }
}
