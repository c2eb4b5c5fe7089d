#![no_main]
//! Any bytes as one JSON text and as one a line, with pointers: elements are counted from one on, in whatever pieces.

use std::collections::BTreeMap;

use common::{Drip, assert_lines_grow, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let pointers = [("first_name", "/a/b"), ("cf:n", "/a/0/b~1c"), ("phone", "/p")];
    let pointers = pointers.map(|(name, column)| (name.to_owned(), column.to_owned())).into();
    for (name, columns) in [("a.json", &BTreeMap::new()), ("a.json", &pointers), ("a.jsonl", &pointers)] {
        let found = read(name, data, None, columns);
        if let Ok((rows, _)) = &found {
            assert_lines_grow(rows);
        }
        assert_eq!(found, read(name, Drip(data), None, columns));
    }
});
