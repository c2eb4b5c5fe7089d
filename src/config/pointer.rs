//! JSON pointers (RFC 6901): how `columns` names a value inside of others.
//!
//! Pure.

/// What every pointer begins with, and a plain key does not.
const SEPARATOR: char = '/';

/// Whether the name of a column is meant as a pointer.
#[must_use]
pub fn is_pointer(column: &str) -> bool {
    column.starts_with(SEPARATOR)
}

/// The keys and indices that lead to the value, from the outside to the inside; or what is wrong with the text.
pub fn parse(text: &str) -> Result<Vec<String>, String> {
    let Some(path) = text.strip_prefix(SEPARATOR) else {
        return Err(format!("`{text}` is no JSON pointer: it begins with `/`, as in `/person/mail`"));
    };
    path.split(SEPARATOR).map(unescaped).collect::<Option<_>>().ok_or_else(|| {
        format!(
            "`{text}` is no JSON pointer: in a key, `~` is written `~0` and `/` is written `~1`, as in `/person/e~1mail`"
        )
    })
}

fn unescaped(token: &str) -> Option<String> {
    let mut parts = token.split('~');
    let mut key = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        key.push(match part.chars().next()? {
            '0' => '~',
            '1' => SEPARATOR,
            _ => return None,
        });
        key.push_str(&part[1..]);
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_read_as_their_standard_says() {
        for (text, keys) in [
            ("/person/mail", &["person", "mail"][..]),
            ("/emails/0/value", &["emails", "0", "value"]),
            ("/a~1b/m~0n/~01", &["a/b", "m~n", "~1"]),
            ("/", &[""]),
            ("//ü", &["", "ü"]),
        ] {
            assert_eq!(parse(text).unwrap(), keys, "{text}");
        }
        for text in ["person", "", "/a~", "/a~2", "/~ü"] {
            parse(text).expect_err(text);
        }
    }
}
