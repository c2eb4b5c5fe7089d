#![no_main]
//! Any bytes as a table, with and without a good header before them: lines grow, and the pieces they come in are no matter.

use std::collections::BTreeMap;

use common::{Drip, assert_lines_grow, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let columns = BTreeMap::new();
    for head in [&b""[..], b"email,first_name,birthday,consent_at\n", b"sep=;\r\nE-Mail;Telefon;cf:a\r\n"] {
        let text = [head, data].concat();
        let found = read("a.csv", &text[..], None, &columns);
        if let Ok((rows, _)) = &found {
            assert_lines_grow(rows);
        }
        assert_eq!(found, read("a.csv", Drip(&text), None, &columns));
    }
});
