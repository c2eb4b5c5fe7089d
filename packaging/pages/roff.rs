//! Just enough of Markdown as manual pages: headings, paragraphs, lists, tables of two or more columns, code.

const CHANGELOG: &str = include_str!("../../CHANGELOG.md");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The day of this version, as the change log has it.
fn date(changelog: &str) -> Option<&str> {
    changelog.lines().find_map(|line| line.strip_prefix(&format!("## [{VERSION}] - ")))
}

/// The head of a page. Reproducible: its date is the version's.
pub fn title(name: &str, section: u8) -> String {
    format!(
        ".\\\" Made by packaging/pages.\n.ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH \"{}\" {section} \"{}\" \"mailchute {VERSION}\"\n",
        inline(name),
        date(CHANGELOG).unwrap_or_default(),
    )
}

/// A section's heading.
pub fn section(name: &str) -> String {
    format!(".SH \"{}\"\n", inline(&name.to_uppercase()))
}

/// Text of a line or of several: what roff would take for its own is escaped, code and stress become bold.
pub fn inline(text: &str) -> String {
    let mut out = String::new();
    let mut bold = false;
    let mut at_start = true;
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let skip = match letter {
            '`' => 1,
            '*' if rest.starts_with("**") => 2,
            _ => 0,
        };
        if skip > 0 {
            bold = !bold;
            out += if bold { "\\fB" } else { "\\fR" };
            rest = &rest[skip..];
            continue;
        }
        if let Some((shown, after)) = link(rest) {
            out += &inline(shown);
            rest = after;
            continue;
        }
        match letter {
            '\\' => out += "\\e",
            '-' => out += "\\-",
            '\'' => out += "\\(aq",
            '.' if at_start => out += "\\&.",
            other => out.push(other),
        }
        at_start = letter == '\n';
        rest = &rest[letter.len_utf8()..];
    }
    out
}

/// `[shown](address)` at the beginning of a text: what is shown, and what follows.
fn link(text: &str) -> Option<(&str, &str)> {
    let (shown, rest) = text.strip_prefix('[')?.split_once("](")?;
    let (_, after) = rest.split_once(')')?;
    (!shown.contains(['[', '\n'])).then_some((shown, after))
}

/// A text in Markdown as the body of a page.
pub fn from_markdown(text: &str) -> String {
    let mut out = String::new();
    let mut lines = text.lines().peekable();
    // A list's item or a paragraph goes on in the next line; anything else begins anew.
    let mut goes_on = false;
    while let Some(line) = lines.next() {
        let was_going_on = std::mem::replace(&mut goes_on, false);
        let after_heading = out.lines().last().is_some_and(|last| last.starts_with(".SH"));
        if let Some(heading) = line.strip_prefix("## ").or_else(|| line.strip_prefix("# ")) {
            out += &section(heading);
        } else if line.trim_start().starts_with("```") {
            let code = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```"));
            out += &format!(".PP\n.nf\n.RS 4\n{}.RE\n.fi\n", code.map(inline_code).collect::<String>());
        } else if line.starts_with('|') {
            out += &row(line, lines.peek().copied());
        } else if let Some(item) = line.trim_start().strip_prefix("- ") {
            out += &format!(".IP \\(bu 2\n{}\n", inline(item));
            goes_on = true;
        } else if !line.trim().is_empty() {
            // A heading begins a paragraph by itself.
            if !was_going_on && !after_heading {
                out += ".PP\n";
            }
            out += &format!("{}\n", inline(line.trim()));
            goes_on = true;
        }
    }
    out
}

fn inline_code(line: &str) -> String {
    // Stress has no meaning in code.
    let plain = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    let guard = if plain.starts_with('.') { "\\&" } else { "" };
    format!("{guard}{plain}\n")
}

/// A row of a table as a term and what it means; the header and the line below it are left out.
fn row(line: &str, next: Option<&str>) -> String {
    let is_rule = |line: &str| line.starts_with("| ---") || line.starts_with("|---");
    if is_rule(line) || next.is_some_and(is_rule) {
        return String::new();
    }
    let mut cells = line.trim_matches('|').split(" | ").map(|cell| inline(cell.trim()));
    let term = cells.next().unwrap_or_default().replace("\\fB", "").replace("\\fR", "");
    let meaning: Vec<String> = cells.collect();
    format!(".TP\n\\fB{term}\\fR\n{}\n", meaning.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_roff_would_take_for_its_own_is_escaped() {
        assert_eq!(inline(".csv and `--x` it's a\\b"), "\\&.csv and \\fB\\-\\-x\\fR it\\(aqs a\\eb");
        assert_eq!(inline("see [the map](src/lib.rs)."), "see the map.");
        assert_eq!(inline("a [link] and (more)"), "a [link] and (more)");
    }

    #[test]
    fn the_date_of_a_page_is_the_versions() {
        assert!(date(CHANGELOG).is_some_and(|date| date.len() == "2026-11-25".len()));
    }

    #[test]
    fn tables_lists_code_and_paragraphs() {
        let markdown = "## A title\n\nOne\ntwo.\n\n- item\n  more\n\n| a | b |\n| --- | --- |\n| `k` | v |\n\n```sh\n.x -y\n```\n";
        let roff = ".SH \"A TITLE\"\nOne\ntwo.\n.IP \\(bu 2\nitem\nmore\n.TP\n\\fBk\\fR\nv\n.PP\n.nf\n.RS 4\n\\&.x \\-y\n.RE\n.fi\n";
        assert_eq!(from_markdown(markdown), roff);
    }
}
