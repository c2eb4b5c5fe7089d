//! Delimited text, record by record, in constant memory.
//!
//! Pure over any input. Promises that a bad record is a rejection with its line and the records after it are read, and
//! that nothing in the bytes can make memory grow. Leaves the meaning of columns to `columns`.

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    io::{self, BufRead, Read},
    ops::ControlFlow,
    rc::Rc,
};

use csv::{ByteRecord, ReaderBuilder};

use super::columns::{Columns, is_no_header};
use super::{Sink, Unreadable, refuse};
use crate::contact::{Field, Row};

/// Characters that separate cells, the most usual first.
const DELIMITERS: [u8; 4] = *b",;\t|";
/// A record of a contact is a few hundred bytes; one of a megabyte is a quote that was never closed.
const LARGEST_RECORD: u64 = 1 << 20;
/// The mark that some programs put before UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A record as it stands in the file.
pub(super) struct Record<'a> {
    pub(super) line: u64,
    pub(super) cells: &'a ByteRecord,
}

/// Reads rows.
pub fn read(
    input: impl BufRead,
    configured: &BTreeMap<String, String>,
    sink: Sink<'_>,
) -> Result<(), Unreadable> {
    let mut columns: Option<Columns> = None;
    records(input, &mut |record| {
        let Some(known) = &columns else {
            let first = texts(&record)?;
            if is_no_header(&first) {
                columns = Some(Columns::of_addresses(first.len()));
                return Ok(row(&record, &Columns::of_addresses(first.len()), sink));
            }
            columns = Some(Columns::of_header(&first, configured)?);
            return Ok(ControlFlow::Continue(()));
        };
        Ok(row(&record, known, sink))
    })?;
    if columns.is_none() {
        return Err(Unreadable::new(
            "line 1",
            "the file holds nothing: a header and a row are the least".to_owned(),
        ));
    }
    Ok(())
}

/// Hands every record to a closure, header included, until it breaks off.
pub(super) fn records(
    mut input: impl BufRead,
    each: &mut dyn FnMut(Record<'_>) -> Result<ControlFlow<()>, Unreadable>,
) -> Result<(), Unreadable> {
    let io = |line: u64, error: &dyn std::fmt::Display| {
        Unreadable::new(&format!("line {line}"), format!("cannot be read: {error}"))
    };
    let start = input.fill_buf().map_err(|error| io(1, &error))?;
    let mark = if start.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
    let delimiter = delimiter(&start[mark..]);
    refuse_other_formats(&start[mark..])?;
    input.consume(mark);
    let passed = Rc::new(RefCell::new(Passed { ceiling: LARGEST_RECORD, ..Passed::default() }));
    let input = Counted { input, passed: Rc::clone(&passed) };
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(false).from_reader(input);
    let mut cells = ByteRecord::new();
    loop {
        let last_line = passed.borrow_mut().begin_record(reader.position().byte());
        if !reader.read_byte_record(&mut cells).map_err(|error| io(last_line + 1, &error))? {
            break;
        }
        let breaks = cells.as_slice().split(|byte| *byte == b'\n').count() - 1;
        let line = passed.borrow_mut().last_line(reader.position().byte())
            - u64::try_from(breaks).unwrap_or_default();
        if each(Record { line, cells: &cells })?.is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// What has passed from the input to the parser, which reads ahead: where lines end, and how much a record may have.
///
/// The parser's own line numbers take blank lines and the second half of a CR LF for the record after them.
#[derive(Default)]
struct Passed {
    bytes: u64,
    ceiling: u64,
    /// Where line feeds stand that the parser has not consumed yet.
    feeds: VecDeque<u64>,
    /// Line feeds that it has consumed, and where the last of them stood.
    consumed: u64,
    last_feed: Option<u64>,
}

impl Passed {
    /// A record begins at a byte: it may be so long and no longer. Gives the line that ends there.
    fn begin_record(&mut self, byte: u64) -> u64 {
        self.ceiling = byte + LARGEST_RECORD;
        self.last_line(byte)
    }

    /// The number of the line that the byte before the given one belongs to.
    fn last_line(&mut self, byte: u64) -> u64 {
        while let Some(feed) = self.feeds.front().copied().filter(|feed| *feed < byte) {
            self.feeds.pop_front();
            self.consumed += 1;
            self.last_feed = Some(feed);
        }
        let ends_here = self.last_feed.is_some_and(|feed| feed + 1 == byte);
        if ends_here { self.consumed } else { self.consumed + 1 }
    }
}

/// Counts what passes, and stops when one record would fill the memory.
struct Counted<R> {
    input: R,
    passed: Rc<RefCell<Passed>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut passed = self.passed.borrow_mut();
        if passed.bytes > passed.ceiling {
            let words =
                format!("the record has more than {LARGEST_RECORD} bytes; a quote is probably never closed");
            return Err(io::Error::other(words));
        }
        let got = self.input.read(buffer)?;
        let start = passed.bytes;
        let feeds = (start..).zip(&buffer[..got]).filter(|(_, byte)| **byte == b'\n').map(|(place, _)| place);
        passed.feeds.extend(feeds);
        passed.bytes += u64::try_from(got).unwrap_or_default();
        Ok(got)
    }
}

/// Bytes that no delimited text begins with, by what they are.
fn refuse_other_formats(start: &[u8]) -> Result<(), Unreadable> {
    let what = match start {
        [b'P', b'K', 3, 4, ..] => "this is a workbook or an archive: save it as CSV",
        [0xd0, 0xcf, 0x11, 0xe0, ..] => "this is an old workbook: save it as CSV",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "this is UTF-16: save it as UTF-8",
        _ if is_markup(start) => "this is a web page, probably an error message: fetch the file again",
        _ if start.contains(&0) => "this holds zero bytes and is no text: save it as CSV in UTF-8",
        _ => return Ok(()),
    };
    Err(Unreadable::new("line 1", what.to_owned()))
}

/// Whether a text begins as a web page does.
fn is_markup(start: &[u8]) -> bool {
    let text = start.trim_ascii_start();
    ["<!doctype", "<html", "<head", "<body", "<?xml"]
        .iter()
        .any(|tag| text.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag.as_bytes())))
}

/// The delimiter that the first line has most of, outside quotes.
fn delimiter(start: &[u8]) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in start.iter().take_while(|byte| **byte != b'\n') {
        quoted ^= *byte == b'"';
        if let (false, Some(which)) = (quoted, DELIMITERS.iter().position(|delimiter| delimiter == byte)) {
            counts[which] += 1;
        }
    }
    // The first of equals wins, so that a single column is read with the comma.
    let most = (0..DELIMITERS.len()).rev().max_by_key(|which| counts[*which]).unwrap_or_default();
    DELIMITERS[most]
}

fn texts(record: &Record<'_>) -> Result<Vec<String>, Unreadable> {
    let text = |cell: &[u8]| std::str::from_utf8(cell).map(|text| text.trim().to_owned());
    let all: Result<Vec<_>, _> = record.cells.iter().map(text).collect();
    all.map_err(|_| {
        Unreadable::new(
            &format!("line {}", record.line),
            "the header is not UTF-8: save the file as UTF-8".to_owned(),
        )
    })
}

/// Makes a row of a record, or a rejection.
fn row(record: &Record<'_>, columns: &Columns, sink: Sink<'_>) -> ControlFlow<()> {
    if record.cells.iter().all(|cell| cell.iter().all(u8::is_ascii_whitespace)) {
        return ControlFlow::Continue(());
    }
    let (line, found, wanted) = (record.line, record.cells.len(), columns.width());
    // Delimiters at the end of a line are not worth a rejection when nothing stands between them.
    let surplus = record.cells.iter().skip(wanted).any(|cell| !cell.is_empty());
    if found < wanted || surplus {
        let reason = format!(
            "the row has {found} cells and the header {wanted}: a delimiter is missing, or one stands unquoted in a cell"
        );
        return sink(Err(refuse(line, email(record, columns), None, reason)));
    }
    let mut cells = Vec::new();
    for (place, cell) in record.cells.iter().enumerate() {
        let Some(field) = columns.field(place) else { continue };
        let Ok(text) = std::str::from_utf8(cell) else {
            let reason = format!("cell {} is not UTF-8: save the file as UTF-8", place + 1);
            return sink(Err(refuse(line, email(record, columns), Some(field.name()), reason)));
        };
        let text = if columns.defused { super::rejects::rearm(text) } else { text };
        cells.push((field.clone(), text.to_owned()));
    }
    sink(Ok(Row { line, cells }))
}

/// What stands in the address column of a record that is not a row.
fn email(record: &Record<'_>, columns: &Columns) -> Option<String> {
    let place = (0..columns.width()).find(|place| columns.field(*place) == Some(&Field::Email))?;
    record.cells.get(place).map(|cell| String::from_utf8_lossy(cell).into_owned())
}

#[cfg(test)]
mod tests;
