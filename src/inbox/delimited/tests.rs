use proptest::prelude::*;

use super::*;
use crate::contact::Rejection;

fn rows(bytes: &[u8]) -> Result<Vec<Result<Row, Rejection>>, Unreadable> {
    let mut rows = Vec::new();
    read(bytes, &BTreeMap::new(), &mut |row| {
        rows.push(row);
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

fn cells(bytes: &[u8]) -> Vec<(u64, Vec<String>)> {
    let rows = rows(bytes).expect("readable");
    let good = rows.into_iter().map(|row| row.expect("good"));
    good.map(|row| (row.line, row.cells.into_iter().map(|(_, text)| text).collect())).collect()
}

fn rejections(bytes: &[u8]) -> Vec<(u64, String)> {
    let rows = rows(bytes).expect("readable");
    rows.into_iter().filter_map(|row| row.err().map(|rejection| (rejection.line, rejection.reason))).collect()
}

#[test]
fn quotes_line_ends_and_blank_lines() {
    let text = b"email,first name,x\r\n\"jane@example.org\",\"Jane, \"\"J\"\"\nDoe\",1\r\n\r\njoe@example.org,Joe,2,\n";
    let expected = [(2, vec!["jane@example.org", "Jane, \"J\"\nDoe"]), (5, vec!["joe@example.org", "Joe"])];
    assert_eq!(
        cells(text),
        expected.map(|(line, cells)| (line, cells.into_iter().map(str::to_owned).collect()))
    );
}

#[test]
fn the_four_delimiters_are_recognised() {
    for delimiter in [",", ";", "\t", "|"] {
        let text = format!(
            "email{delimiter}\"a,b;c|d\"{delimiter}last_name\nj@example.org{delimiter}x{delimiter}Doe\n"
        );
        assert_eq!(
            cells(text.as_bytes()),
            [(2, vec!["j@example.org".to_owned(), "Doe".to_owned()])],
            "{delimiter:?}"
        );
    }
}

#[test]
fn a_list_of_addresses_without_a_header() {
    assert_eq!(cells(b"jane@example.org\njoe@example.org\n").len(), 2);
}

#[test]
fn bad_rows_name_their_line_and_the_others_are_read() {
    let text = b"email,first_name\nshort@example.org\njane@example.org,Jane\nlong@example.org,a,b\nodd@example.org,\xff\n";
    let found = rejections(text);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 4]);
    insta::assert_snapshot!(found[0].1, @"line 2 has 1 cells and the header 2: a delimiter is missing, or one stands unquoted in a cell");
    let odd = rows(text).unwrap().pop().unwrap().expect("a row, but for one field");
    assert_eq!((odd.line, &odd.unusable[0].0), (5, &Field::FirstName));
    insta::assert_snapshot!(odd.unusable[0].1, @"cell 2 is not UTF-8: save the file as UTF-8, or name its encoding under `[inbox] encoding`");
    assert_eq!(rows(text).unwrap().len(), 4);
}

#[test]
fn other_formats_are_told_what_they_are() {
    for (bytes, word) in [
        (&b"PK\x03\x04abc"[..], "workbook"),
        (b"\xd0\xcf\x11\xe0", "old workbook"),
        (b"a\0b", "zero bytes"),
        (b"e\0m\0a\0", "UTF-16"),
        (b"", "nothing"),
    ] {
        let error = rows(bytes).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_quote_that_is_never_closed_does_not_fill_the_memory() {
    let mut text = b"email\n\"".to_vec();
    text.resize(4 << 20, b'x');
    assert!(rows(&text).unwrap_err().to_string().contains("never closed"));
}

#[test]
fn a_sep_line_names_the_delimiter_and_is_no_header() {
    let text = b"sep=;\r\nemail;first_name\r\njane@example.org;Jane, J\r\n";
    assert_eq!(cells(text), [(3, vec!["jane@example.org".to_owned(), "Jane, J".to_owned()])]);
}

#[test]
fn lines_may_end_with_a_carriage_return_alone() {
    let text = b"email,first_name\r\rjane@example.org,\"J\rD\"\rshort@example.org\rjoe@example.org,Joe";
    let found: Vec<_> = rows(text).unwrap().into_iter().map(|row| row.map(|row| row.line)).collect();
    assert_eq!(found[0], Ok(3));
    assert_eq!(found[1].as_ref().map_err(|rejection| rejection.line), Err(5));
    assert_eq!(found[2], Ok(6));
}

#[test]
fn lines_are_counted_the_same_in_whatever_pieces_they_come() {
    // A quote that is never closed takes the last lines with it, and a CR LF may come in two pieces.
    let text = b"email,first_name\r\n\r\na@example.org,A\r\nshort@example.org\r\n\n\rb@example.org,\"B\r\n\nC\"\r\nshort,\"x\n\n";
    for capacity in [1, 2, 3, 7, 1 << 10] {
        let mut lines = Vec::new();
        let input = io::BufReader::with_capacity(capacity, &text[..]);
        read(input, &BTreeMap::new(), &mut |row| {
            lines.push(row.map_or_else(|rejection| rejection.line, |row| row.line));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(lines, [3, 4, 7, 10], "{capacity} bytes at a time");
    }
}

#[test]
fn the_rows_help_where_the_header_does_not_say_the_delimiter() {
    let text = b"Name, first and last;email\nJane;jane@example.org\nJoe;joe@example.org\n";
    assert_eq!(cells(text).len(), 2);
    assert_eq!(cells(text)[1].1.last().map(String::as_str), Some("joe@example.org"));
}

#[test]
fn empty_lines_and_cells_around_the_table_are_no_matter() {
    let text = b"\n,,\nemail,first_name,,\njane@example.org,Jane\njoe@example.org,Joe,,\n,,,\n";
    let found = cells(text);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn of_two_columns_with_one_name_the_first_counts() {
    let text = b"email,email,first_name,,first_name\njane@example.org,x,Jane,y,z\n";
    assert_eq!(cells(text)[0].1, ["jane@example.org", "Jane"]);
}

proptest! {
    #[test]
    fn any_table_in_any_dialect_and_encoding_comes_back_the_same(
        table in prop::collection::vec(prop::collection::vec("[a-zäöüß \"\n\r,;|\t]{0,8}", 2), 1..8),
        delimiter in prop::sample::select(DELIMITERS.to_vec()),
        always in any::<bool>(),
        crlf in any::<bool>(),
        encoding in 0..5_usize,
    ) {
        let style = if always { csv::QuoteStyle::Always } else { csv::QuoteStyle::Necessary };
        let end = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).quote_style(style).terminator(end).from_writer(Vec::new());
        writer.write_record(["email", "first_name", "last_name"]).unwrap();
        for cells in &table {
            writer.write_record(["jane@example.org", &cells[0], &cells[1]]).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let wide = |order: fn(u16) -> [u8; 2]| format!("\u{feff}{text}").encode_utf16().flat_map(order).collect::<Vec<u8>>();
        let bytes = match encoding {
            0 => text.clone().into_bytes(),
            1 => format!("\u{feff}{text}").into_bytes(),
            2 => wide(u16::to_le_bytes),
            3 => wide(u16::to_be_bytes),
            _ => encoding_rs::WINDOWS_1252.encode(&text).0.into_owned(),
        };
        let decoded = super::super::decode::text(Box::new(&bytes[..]), Some(encoding_rs::WINDOWS_1252)).unwrap();
        let mut back = Vec::new();
        read(decoded, &BTreeMap::new(), &mut |row| {
            back.push(row.unwrap().cells[1..].iter().map(|(_, text)| text.clone()).collect::<Vec<_>>());
            ControlFlow::Continue(())
        }).unwrap();
        prop_assert_eq!(back, table);
    }
}

proptest! {
    #[test]
    fn what_the_csv_crate_writes_comes_back_the_same(
        table in prop::collection::vec(prop::collection::vec("\\PC{0,12}|[\"\n\r,;| ]{0,5}", 2), 1..8),
        delimiter in prop::sample::select(DELIMITERS.to_vec())
    ) {
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
        writer.write_record(["email", "first_name", "last_name"]).unwrap();
        for cells in &table {
            writer.write_record(["jane@example.org", &cells[0], &cells[1]]).unwrap();
        }
        let back: Vec<Vec<String>> = cells(&writer.into_inner().unwrap()).into_iter().map(|(_, cells)| cells[1..].to_vec()).collect();
        prop_assert_eq!(back, table);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = rows(&bytes);
        let mut headed = b"email,first_name\n".to_vec();
        headed.extend(bytes);
        let _ = rows(&headed);
    }
}
