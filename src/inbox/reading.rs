//! The readers as one: from the bytes of a file, by its name, to rows.
//!
//! This is what the daemon does with a file, without the daemon: also for those who want to know what it would make of one.

use std::{collections::BTreeMap, io};

use encoding_rs::Encoding;

use super::names::Format;
use super::{Said, Sink, Unreadable, delimited, json, source};

/// How a file is read.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// Its name: the ending says which reader it is for, and whether it is packed.
    pub name: &'a str,
    /// The most bytes that it may have, unpacked.
    pub most: u64,
    /// What text that is neither marked nor UTF-8 is written in, if that is known.
    pub encoding: Option<&'static Encoding>,
    /// Field name to column name or JSON pointer, where the guess is wrong.
    pub columns: &'a BTreeMap<String, String>,
}

impl Reading<'_> {
    /// Hands every row to a sink, until it wants no more.
    pub fn read(&self, bytes: impl io::Read, sink: Sink<'_>) -> Result<Said, Unreadable> {
        let input = source::reader(self.name, bytes, self.most, self.encoding)
            .map_err(|error| Unreadable::new("line 1", format!("cannot be read: {error}")))?;
        match source::format(self.name) {
            Format::Delimited => delimited::read(input, self.columns, sink),
            Format::Json => json::read(input, self.columns, sink),
            Format::JsonLines => json::read_lines(input, self.columns, sink),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, ops::ControlFlow};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    const PLENTY: u64 = 1 << 20;

    fn lines(name: &str, bytes: &[u8], most: u64) -> Result<Vec<u64>, Unreadable> {
        let reading = Reading { name, most, encoding: None, columns: &BTreeMap::new() };
        let mut lines = Vec::new();
        reading.read(bytes, &mut |row| {
            lines.push(row.unwrap().line);
            ControlFlow::Continue(())
        })?;
        Ok(lines)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn each_kind_of_file_is_read_packed_and_up_to_what_it_may_unpack_to() {
        let object = r#"{"email":"jane@example.org"}"#;
        let many = |separator: &str| vec![object; 2_000].join(separator);
        for (name, text, first) in [
            ("a.csv", format!("email,x\n{}", "jane@example.org,1\n".repeat(2_000)), 2),
            ("a.tsv", format!("email\tx\n{}", "jane@example.org\t1\n".repeat(2_000)), 2),
            ("a.txt", "jane@example.org\n".repeat(2_000), 1),
            ("a.json", format!("[{}]", many(",")), 1),
            ("a.jsonl", many("\n"), 1),
            ("a.ndjson", many("\n"), 1),
        ] {
            let (packed, name) = (packed(text.as_bytes()), format!("{name}.gz"));
            let found = lines(&name, &packed, PLENTY).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((found.len(), found[0]), (2_000, first), "{name}");
            let most = 20 << 10;
            assert!((packed.len() as u64) < most, "{name}: the ceiling is on what it unpacks to");
            let error = lines(&name, &packed, most).expect_err(&name).to_string();
            assert!(error.ends_with("the file is larger than max_file_size (20480 bytes)"), "{error}");
            let cut = lines(&name, &packed[..packed.len() - 20], PLENTY).expect_err(&name);
            assert!(cut.reason.starts_with("cannot be read") || name.contains(".json."), "{name}: {cut}");
        }
    }
}
