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
use super::{Said, Sink, Unreadable, refuse};
use crate::contact::{Field, Row};

/// Characters that separate cells, the most usual first.
const DELIMITERS: [u8; 4] = *b",;\t|";
/// A record of a contact is a few hundred bytes; one of a megabyte is a quote that was never closed.
const LARGEST_RECORD: u64 = 1 << 20;
/// Lines that are looked at to find the delimiter: a preamble and a few rows.
const LINES_LOOKED_AT: usize = 20;
/// Bytes that they may have together.
const START_LOOKED_AT: u64 = 16 << 10;
/// What a spreadsheet writes before the delimiter in a line of its own.
const DELIMITER_LINE: &[u8] = b"sep=";

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
) -> Result<Said, Unreadable> {
    let mut columns: Option<Columns> = None;
    records(input, &mut |record| {
        let Some(known) = &columns else {
            // A spreadsheet that begins with empty lines has its header below them.
            if is_blank(&record) {
                return Ok(ControlFlow::Continue(()));
            }
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
    match columns {
        Some(columns) => Ok(Said { address_column: columns.address_column }),
        None => Err(Unreadable::new(
            "line 1",
            "the file holds nothing: a header and a row are the least".to_owned(),
        )),
    }
}

/// Hands every record to a closure, header included, until it breaks off.
pub(super) fn records(
    mut input: impl BufRead,
    each: &mut dyn FnMut(Record<'_>) -> Result<ControlFlow<()>, Unreadable>,
) -> Result<(), Unreadable> {
    let io = |line: u64, error: &dyn std::fmt::Display| {
        Unreadable::new(&format!("line {line}"), format!("cannot be read: {error}"))
    };
    let mut start = Vec::new();
    (&mut input).take(START_LOOKED_AT).read_to_end(&mut start).map_err(|error| io(1, &error))?;
    refuse_other_formats(&start)?;
    let named = named_delimiter(&start);
    let delimiter = named.unwrap_or_else(|| delimiter(&start));
    let passed = Rc::new(RefCell::new(Passed { ceiling: LARGEST_RECORD, ..Passed::default() }));
    let input = Counted { input: io::Cursor::new(start).chain(input), passed: Rc::clone(&passed) };
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).flexible(true).has_headers(false).from_reader(input);
    let mut cells = ByteRecord::new();
    let mut unread = named.is_none();
    loop {
        let start = reader.position().byte();
        passed.borrow_mut().ceiling = start + LARGEST_RECORD;
        let read = reader.read_byte_record(&mut cells);
        // Only now is known what stands between the record before and this one.
        let line = passed.borrow_mut().first_line(start);
        if !read.map_err(|error| io(line, &error))? {
            break;
        }
        if !std::mem::replace(&mut unread, true) {
            continue;
        }
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
    last_byte: u8,
    /// Line ends that do not stand before a record that was asked about.
    ends: VecDeque<LineEnd>,
    /// How many stand before it.
    before: u64,
}

/// Where a line ends.
struct LineEnd {
    start: u64,
    end: u64,
    /// False for the second half of a CR LF whose first half was counted before the second came.
    counts: bool,
}

impl Passed {
    /// The line on which the record begins that was read from a byte on: the line ends before it are those of the record
    /// before, and blank lines.
    fn first_line(&mut self, mut byte: u64) -> u64 {
        while let Some(end) = self.ends.pop_front_if(|end| end.start <= byte) {
            self.before += u64::from(end.counts);
            byte = byte.max(end.end);
        }
        self.before + 1
    }

    /// A CR or LF has passed, and whether it is the second half of both.
    fn line_ends(&mut self, place: u64, is_second: bool) {
        match self.ends.back_mut() {
            Some(end) if is_second && end.end == place => end.end += 1,
            _ => self.ends.push_back(LineEnd { start: place, end: place + 1, counts: !is_second }),
        }
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
        let mut before = passed.last_byte;
        for (place, byte) in (passed.bytes..).zip(&buffer[..got]) {
            if matches!(*byte, b'\n' | b'\r') {
                passed.line_ends(place, *byte == b'\n' && before == b'\r');
            }
            before = *byte;
        }
        passed.last_byte = before;
        passed.bytes += u64::try_from(got).unwrap_or_default();
        Ok(got)
    }
}

/// Bytes that no delimited text begins with, by what they are.
fn refuse_other_formats(start: &[u8]) -> Result<(), Unreadable> {
    let what = match start {
        [b'P', b'K', 3, 4, ..] => "this is a workbook or an archive: save it as CSV",
        [0xd0, 0xcf, 0x11, 0xe0, ..] => "this is an old workbook: save it as CSV",
        _ if is_markup(start) => "this is a web page, probably an error message: fetch the file again",
        _ if start.contains(&0) => {
            "this holds zero bytes: it is no text, or UTF-16 without its mark: save it as CSV in UTF-8"
        }
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

/// The delimiter that a first line like `sep=;` names.
fn named_delimiter(start: &[u8]) -> Option<u8> {
    let rest = start.strip_prefix(DELIMITER_LINE)?;
    let (delimiter, rest) = rest.split_first()?;
    let alone = rest.first().is_none_or(|byte| [b'\r', b'\n'].contains(byte));
    (alone && DELIMITERS.contains(delimiter)).then_some(*delimiter)
}

/// The delimiter that most lines have as often as the first one has it, outside quotes; of equals the one that the first
/// line has most of.
fn delimiter(start: &[u8]) -> u8 {
    let lines = counted_lines(start);
    let Some((first, others)) = lines.split_first() else { return DELIMITERS[0] };
    let score = |which: &usize| {
        let agreeing = others.iter().filter(|counts| counts[*which] == first[*which]).count();
        (first[*which] > 0).then_some((agreeing, first[*which]))
    };
    // The first of equals wins, so that a single column is read with the comma.
    let best = (0..DELIMITERS.len()).rev().max_by_key(score).unwrap_or_default();
    DELIMITERS[best]
}

/// How often each delimiter stands in each of the first lines that are not blank.
fn counted_lines(start: &[u8]) -> Vec<[usize; DELIMITERS.len()]> {
    let (mut lines, mut counts) = (Vec::new(), [0_usize; DELIMITERS.len()]);
    let (mut quoted, mut blank) = (false, true);
    for byte in start {
        quoted ^= *byte == b'"';
        if !quoted && [b'\r', b'\n'].contains(byte) {
            if !blank {
                lines.push(std::mem::take(&mut counts));
            }
            blank = true;
            if lines.len() == LINES_LOOKED_AT {
                return lines;
            }
            continue;
        }
        blank &= byte.is_ascii_whitespace();
        if let (false, Some(which)) = (quoted, DELIMITERS.iter().position(|delimiter| delimiter == byte)) {
            counts[which] += 1;
        }
    }
    // What the buffer cuts off says nothing, unless it is all there is.
    if lines.is_empty() && !blank {
        lines.push(counts);
    }
    lines
}

fn texts(record: &Record<'_>) -> Result<Vec<String>, Unreadable> {
    let text = |cell: &[u8]| std::str::from_utf8(cell).map(|text| text.trim().to_owned());
    let all: Result<Vec<_>, _> = record.cells.iter().map(text).collect();
    all.map_err(|_| {
        Unreadable::new(
            &format!("line {}", record.line),
            "the header is not UTF-8: save the file as UTF-8, or name its encoding under `[inbox] encoding`"
                .to_owned(),
        )
    })
}

fn is_blank(record: &Record<'_>) -> bool {
    record.cells.iter().all(|cell| cell.iter().all(u8::is_ascii_whitespace))
}

/// Makes a row of a record, or a rejection.
fn row(record: &Record<'_>, columns: &Columns, sink: Sink<'_>) -> ControlFlow<()> {
    if is_blank(record) {
        return ControlFlow::Continue(());
    }
    let (line, found, wanted) = (record.line, record.cells.len(), columns.width());
    // Delimiters at the end of a line are not worth a rejection when nothing stands between them.
    let surplus = record.cells.iter().skip(wanted).any(|cell| !cell.is_empty());
    if found < wanted || surplus {
        let reason = format!(
            "line {line} has {found} cells and the header {wanted}: a delimiter is missing, or one stands unquoted in a cell"
        );
        return sink(Err(refuse(line, email(record, columns), None, reason)));
    }
    let mut row = Row { line, ..Row::default() };
    for (place, cell) in record.cells.iter().enumerate() {
        let Some(field) = columns.field(place) else { continue };
        let Ok(text) = std::str::from_utf8(cell) else {
            let reason = format!(
                "cell {} is not UTF-8: save the file as UTF-8, or name its encoding under `[inbox] encoding`",
                place + 1
            );
            row.unusable.push((field.clone(), reason));
            continue;
        };
        let text = if columns.defused { super::rejects::rearm(text) } else { text };
        row.cells.push((field.clone(), text.to_owned()));
    }
    sink(Ok(row))
}

/// What stands in the address column of a record that is not a row.
fn email(record: &Record<'_>, columns: &Columns) -> Option<String> {
    let place = (0..columns.width()).find(|place| columns.field(*place) == Some(&Field::Email))?;
    record.cells.get(place).map(|cell| String::from_utf8_lossy(cell).into_owned())
}

#[cfg(test)]
mod tests;
