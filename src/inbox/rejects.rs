//! `NAME.rejects.csv`: the refused rows with their own columns, to be mended and dropped again.
//!
//! Promises that a spreadsheet runs nothing that stands in a cell, and that reading the file back gives the cells as they
//! were. Memory stays that of one record: the archived file is read again beside the list of refused lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, Write},
    ops::ControlFlow,
};

use super::columns::{LINE_COLUMN, REASON_COLUMN, is_no_header};
use super::delimited::{Record, records};
use super::json;
use super::names::Format;
use super::{ReceiptError, Unreadable};

/// What a spreadsheet takes for the beginning of a formula.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];
/// What tells a spreadsheet that a cell is text.
const DEFUSE: char = '\'';

/// Columns of a table that was made of JSON: a person mends it by hand, and hostile keys must not fill the memory.
const MOST_KEYS: usize = 1_000;

/// A refused row: its line and why.
pub type Refused = (u64, String);

/// Writes the rejects of a file. `refused` comes in the order of the file; `open` opens the archived file anew.
pub fn write<R: BufRead>(
    format: Format,
    configured: &BTreeMap<String, String>,
    open: &dyn Fn() -> Result<R, ReceiptError>,
    refused: impl Iterator<Item = Result<Refused, ReceiptError>>,
    out: &mut dyn Write,
) -> Result<(), ReceiptError> {
    let mut rejects =
        Rejects { out: csv::Writer::from_writer(out), refused: refused.peekable(), failure: None };
    let read = match format {
        Format::Delimited => rejects.copy_records(open()?),
        Format::Json | Format::JsonLines => {
            rejects.copy_elements(format, &json::Wanted::new(configured), open)
        }
    };
    if let Some(failure) = rejects.failure.take() {
        Err(failure)
    } else {
        read?;
        rejects.out.flush()?;
        Ok(())
    }
}

/// Makes a cell harmless.
fn defuse(cell: &str) -> String {
    // A cell that already begins like a defused one is defused again, so that reading back is exact.
    let bare = cell.trim_start_matches(DEFUSE);
    if bare.starts_with(FORMULA) { format!("{DEFUSE}{cell}") } else { cell.to_owned() }
}

/// Takes the defusing off again.
pub fn rearm(cell: &str) -> &str {
    match cell.strip_prefix(DEFUSE) {
        Some(rest) if rest.trim_start_matches(DEFUSE).starts_with(FORMULA) => rest,
        _ => cell,
    }
}

struct Rejects<'a, I: Iterator<Item = Result<Refused, ReceiptError>>> {
    out: csv::Writer<&'a mut dyn Write>,
    refused: std::iter::Peekable<I>,
    failure: Option<ReceiptError>,
}

impl<I: Iterator<Item = Result<Refused, ReceiptError>>> Rejects<'_, I> {
    /// The reason if the record of this line was refused; breaks off when no refused line is left.
    fn reason_for(&mut self, line: u64) -> Result<Option<String>, ()> {
        loop {
            match self.refused.peek() {
                None => return Err(()),
                Some(Ok((refused, _))) if *refused > line => return Ok(None),
                _ => {}
            }
            match self.refused.next() {
                Some(Ok((refused, reason))) if refused == line => return Ok(Some(reason)),
                Some(Ok(_)) => {}
                Some(Err(failure)) => {
                    self.failure = Some(failure);
                    return Err(());
                }
                None => return Err(()),
            }
        }
    }

    fn line(&mut self, cells: impl Iterator<Item = String>, line: &str, reason: &str) -> ControlFlow<()> {
        let record = cells.chain([line.to_owned(), reason.to_owned()]);
        match self.out.write_record(record) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failure = Some(error.into());
                ControlFlow::Break(())
            }
        }
    }

    fn copy_records(&mut self, input: impl BufRead) -> Result<(), ReceiptError> {
        let mut own: Option<Vec<usize>> = None;
        let read = records(input, &mut |record| Ok(self.copy_record(&record, &mut own)));
        // The file was read to its end when it came in. What cannot be read now has no refused rows after it.
        read.map_err(ReceiptError::from)
    }

    fn copy_record(&mut self, record: &Record<'_>, own: &mut Option<Vec<usize>>) -> ControlFlow<()> {
        let texts: Vec<String> =
            record.cells.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect();
        let Some(places) = own else {
            let plain = is_no_header(&texts);
            let title =
                |place: usize| if place == 0 { "email".to_owned() } else { format!("column{}", place + 1) };
            let titles = if plain { (0..texts.len()).map(title).collect() } else { texts.clone() };
            // The two columns of an earlier rejects file are not the file's own.
            let ours = [LINE_COLUMN, REASON_COLUMN];
            let kept: Vec<usize> =
                (0..titles.len()).filter(|place| !ours.contains(&titles[*place].as_str())).collect();
            let header = kept.iter().map(|place| defuse(&titles[*place])).collect::<Vec<_>>();
            *own = Some(kept);
            if self.line(header.into_iter(), LINE_COLUMN, REASON_COLUMN).is_break() {
                return ControlFlow::Break(());
            }
            return if plain { self.copy_record(record, own) } else { ControlFlow::Continue(()) };
        };
        let places = places.clone();
        match self.reason_for(record.line) {
            Err(()) => ControlFlow::Break(()),
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(reason)) => {
                // A short row is filled up, so that the reason stands in its column; what is too much stands nowhere else.
                let cells =
                    places.iter().map(|place| texts.get(*place).map(|cell| defuse(cell)).unwrap_or_default());
                self.line(cells.collect::<Vec<_>>().into_iter(), &record.line.to_string(), &defuse(&reason))
            }
        }
    }

    /// JSON has no header: the columns are the pointers of the configuration, and all other keys of the file's objects in
    /// the order they are first seen.
    fn copy_elements<R: BufRead>(
        &mut self,
        format: Format,
        wanted: &json::Wanted,
        open: &dyn Fn() -> Result<R, ReceiptError>,
    ) -> Result<(), ReceiptError> {
        let keys = keys(format, wanted, open()?)?;
        let pointers: Vec<(&str, &[String])> = wanted.pointers().collect();
        let titles = pointers.iter().map(|(title, _)| *title).chain(keys.iter().map(String::as_str));
        if self.line(titles.map(defuse), LINE_COLUMN, REASON_COLUMN).is_break() {
            return Ok(());
        }
        each_element(format, wanted, open()?, &mut |(number, element)| match self.reason_for(number) {
            Err(()) => ControlFlow::Break(()),
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some(reason)) => {
                let object = element.unwrap_or_default();
                let inner = pointers.iter().map(|(_, path)| object.at(path).ok().flatten());
                let values = inner.chain(keys.iter().map(|key| object.get(key)));
                let cells =
                    values.map(|value| value.and_then(|value| json::text(value).ok()).unwrap_or_default());
                self.line(cells.map(|text| defuse(&text)), &number.to_string(), &defuse(&reason))
            }
        })?;
        Ok(())
    }
}

/// The keys of a file's objects, but for those that the configuration looks into, and up to a bound.
fn keys(format: Format, wanted: &json::Wanted, input: impl BufRead) -> Result<Vec<String>, Unreadable> {
    let (mut keys, mut seen) =
        (Vec::new(), BTreeSet::from([LINE_COLUMN.to_owned(), REASON_COLUMN.to_owned()]));
    seen.extend(wanted.pointers().filter_map(|(_, path)| path.first().cloned()));
    each_element(format, wanted, input, &mut |(_, element)| {
        for (key, _) in element.iter().flat_map(json::Object::members) {
            if keys.len() < MOST_KEYS && !seen.contains(key) {
                seen.insert(key.to_owned());
                keys.push(key.to_owned());
            }
        }
        ControlFlow::Continue(())
    })?;
    Ok(keys)
}

fn each_element(
    format: Format,
    wanted: &json::Wanted,
    input: impl BufRead,
    each: &mut dyn FnMut(json::Element<'_>) -> ControlFlow<()>,
) -> Result<(), Unreadable> {
    match format {
        Format::JsonLines => json::line_elements(input, each),
        _ => json::elements(input, wanted, each),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(format: Format, text: &str, refused: &[(u64, &str)]) -> String {
        let mut out = Vec::new();
        let configured = [("cf:nick".to_owned(), "/also/nick".to_owned())].into();
        let refused = refused.iter().map(|(line, reason)| Ok((*line, (*reason).to_owned())));
        write(format, &configured, &|| Ok(text.as_bytes()), refused, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn refused_rows_keep_their_columns_and_get_line_and_reason() {
        let text = "email;n\njane@example.org;1\nbad;=1+1\nworse\njoe@example.org;2\n";
        insta::assert_snapshot!(written(Format::Delimited, text, &[(3, "no @"), (4, "short")]), @r"
        email,n,mailchute_line,mailchute_reason
        bad,'=1+1,3,no @
        worse,,4,short
        ");
    }

    #[test]
    fn a_file_without_a_header_gets_one_and_a_rejects_file_keeps_its_own() {
        insta::assert_snapshot!(written(Format::Delimited, "jane@example.org,1\nbad,2\n", &[(2, "no @")]), @r"
        email,column2,mailchute_line,mailchute_reason
        bad,2,2,no @
        ");
        let again = "email,mailchute_line,mailchute_reason\nbad,3,no @\n";
        insta::assert_snapshot!(written(Format::Delimited, again, &[(2, "no @")]), @r"
        email,mailchute_line,mailchute_reason
        bad,2,no @
        ");
    }

    #[test]
    fn objects_become_a_table() {
        let text = r#"[{"email":"bad","n":1.50,"also":{"nick":"=J","x":1}},{"email":"ok"},{"x":null,"email":"@","n":[2]}]"#;
        insta::assert_snapshot!(written(Format::Json, text, &[(1, "no @"), (3, "nothing")]), @r"
        /also/nick,email,n,x,mailchute_line,mailchute_reason
        '=J,bad,1.50,,1,no @
        ,'@,[2],,3,nothing
        ");
    }

    proptest! {
        #[test]
        fn what_is_defused_comes_back_the_same(cell in "['=+@a\t-]{0,6}") {
            let harmless = defuse(&cell);
            prop_assert!(!harmless.starts_with(FORMULA));
            prop_assert_eq!(rearm(&harmless), cell);
        }
    }
}
