//! What a file's name says: which reader it is for, or that it is none of our business.
//!
//! Pure.

use std::path::Path;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Cells with a delimiter between them.
    Delimited,
    /// One JSON text.
    Json,
    /// One JSON text a line.
    JsonLines,
}

/// What a name means to the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// A drop file, and whether it is packed with gzip.
    Drop(Format, bool),
    /// Somebody's unfinished or private file: never touched.
    Ignored,
    /// Neither.
    Unknown,
}

/// Beginnings of names that hide a file.
const HIDDEN: [char; 2] = ['.', '~'];
/// Ends of names that programs give to files they have not finished.
const UNFINISHED: [&str; 6] = ["tmp", "part", "partial", "filepart", "crdownload", "swp"];
/// Litter that desktops and file servers leave in folders.
const LITTER: [&str; 3] = ["thumbs.db", "desktop.ini", "@eadir"];

/// What a file or folder name means.
#[must_use]
pub fn meaning(name: &str) -> Meaning {
    let lower = name.to_lowercase();
    let extension = |name: &str| Path::new(name).extension().map(|end| end.to_string_lossy().into_owned());
    let end = extension(&lower).unwrap_or_default();
    if name.starts_with(HIDDEN) || UNFINISHED.contains(&end.as_str()) || LITTER.contains(&lower.as_str()) {
        return Meaning::Ignored;
    }
    let packed = end == "gz";
    let inner = if packed { extension(lower.trim_end_matches(".gz")).unwrap_or_default() } else { end };
    match inner.as_str() {
        "csv" | "tsv" | "txt" => Meaning::Drop(Format::Delimited, packed),
        "json" => Meaning::Drop(Format::Json, packed),
        "jsonl" | "ndjson" => Meaning::Drop(Format::JsonLines, packed),
        _ => Meaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_which_reader_a_file_is_for() {
        let drop = |format, packed| Meaning::Drop(format, packed);
        for (name, expected) in [
            ("a.csv", drop(Format::Delimited, false)),
            ("A.TSV", drop(Format::Delimited, false)),
            ("a.b.txt", drop(Format::Delimited, false)),
            ("a.csv.gz", drop(Format::Delimited, true)),
            ("a.json", drop(Format::Json, false)),
            ("a.NDJSON.gz", drop(Format::JsonLines, true)),
            ("a.jsonl", drop(Format::JsonLines, false)),
            ("a.xlsx", Meaning::Unknown),
            ("a.gz", Meaning::Unknown),
            ("csv", Meaning::Unknown),
        ] {
            assert_eq!(meaning(name), expected, "{name}");
        }
    }

    #[test]
    fn unfinished_and_private_files_are_left_alone() {
        for name in [
            ".a.csv",
            "~a.csv",
            "a.csv.tmp",
            "a.csv.part",
            "a.filepart",
            "a.csv.crdownload",
            "a.swp",
            "Thumbs.db",
            "@eaDir",
        ] {
            assert_eq!(meaning(name), Meaning::Ignored, "{name}");
        }
    }
}
