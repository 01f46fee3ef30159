//! What values look like: what messages repeat of them, and what has crept into them.

use std::path::Path;

/// Settings in which an `@` can stand for itself. In every other one it follows a user or a password.
const WITH_AT: [&str; 7] = [
    "SCANLOGIN_APP_JWT_AUDIENCE",
    "SCANLOGIN_APP_JWT_ISSUER",
    "SCANLOGIN_APP_NAME",
    "SCANLOGIN_LOG",
    "SCANLOGIN_REDIS_PREFIX",
    "SCANLOGIN_TOKEN_AUDIENCE",
    "SCANLOGIN_TOKEN_ISSUER",
];

/// Settings that others compare byte by byte, as they do with secrets.
const EXACT: [&str; 4] = [
    "SCANLOGIN_APP_JWT_AUDIENCE",
    "SCANLOGIN_APP_JWT_ISSUER",
    "SCANLOGIN_TOKEN_AUDIENCE",
    "SCANLOGIN_TOKEN_ISSUER",
];

/// A value as a message repeats it: one line, and nothing before its last `@`, which may be a
/// password.
pub(super) fn quoted(text: &str) -> String {
    let (dots, text) = text.rsplit_once('@').map_or(("", text), |(_, rest)| ("...@", rest));
    if text.contains(char::is_control) { "'...'".into() } else { format!("'{dots}{text}'") }
}

/// What is wrong with the value of this setting, which is no secret, before anybody looks at what it
/// means.
pub(super) fn fault_of_open(name: &str, text: &str) -> Option<String> {
    let address = text.find("://").map(|at| &text[at..]);
    let may_hold_at = WITH_AT.contains(&name) || name.ends_with("_FILE");
    if address.is_some_and(|address| address.contains('@')) || (text.contains('@') && !may_hold_at)
    {
        let what = "must not hold a user or a password (what stands before an @): it is shown in \
                    logs and to others; write %40 for an @ that is part of a path";
        return Some(what.into());
    }
    if text.contains("-----BEGIN ") {
        return Some(
            "holds a key in PEM form: it wants something else, such as a file's path".into(),
        );
    }
    EXACT.contains(&name).then(|| stray(text)).flatten()
}

/// What stands at the beginning or the end of a text and cannot be seen: it came along with a copy,
/// and whoever has the text without it will never agree with us.
pub(crate) fn stray(text: &str) -> Option<String> {
    let ends = [("begins", text.chars().next()), ("ends", text.chars().next_back())];
    ends.into_iter().find_map(|(verb, character)| {
        let what = match character? {
            '\n' | '\r' => "a line break".into(),
            '\u{feff}' => "a byte order mark".into(),
            c if c.is_whitespace() => "a blank".into(),
            c if c.is_control() || is_invisible(c) => {
                format!("a character that cannot be seen (U+{:04X})", u32::from(c))
            }
            _ => return None,
        };
        Some(format!(
            "{verb} with {what}, which would be part of the value: take it out (of a file, one line \
             break at the end is left out)"
        ))
    })
}

/// Zero-width characters and marks of direction (Unicode: Cf).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

/// Reads a secret's file, without the line break at its end.
///
/// # Errors
/// It cannot be read, or is not UTF-8.
pub(crate) fn secret_of_file(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let line = text.strip_suffix('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    Ok(line.unwrap_or(&text).to_owned())
}

/// A path as it is repeated. A setting that wants one is sometimes given the secret itself: only what
/// leads into a folder that exists is shown.
pub(crate) fn shown_path(path: &str) -> Option<String> {
    let folder = Path::new(path).parent().filter(|folder| folder.parent().is_some())?;
    (folder.is_absolute() && folder.is_dir()).then(|| quoted(path))
}

/// That a file cannot be read.
pub(crate) fn unreadable(path: &str, error: &std::io::Error) -> String {
    let path = shown_path(path).unwrap_or_else(|| "the path in it".into());
    format!("{path} cannot be read: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_before_an_at_sign_is_repeated() {
        for (text, shown) in [
            ("10.0.0.0/33", "'10.0.0.0/33'"),
            ("https://bob:123/secret@h", "'...@h'"),
            ("a@b@c", "'...@c'"),
            ("-----BEGIN PRIVATE KEY-----\nMII", "'...'"),
        ] {
            assert_eq!(quoted(text), shown);
        }
    }

    #[test]
    fn what_cannot_be_seen_at_an_end_is_named() {
        for (text, what) in [
            ("secret\n", "ends with a line break"),
            ("secret\r", "ends with a line break"),
            ("\nsecret", "begins with a line break"),
            ("\u{feff}secret", "begins with a byte order mark"),
            (" secret", "begins with a blank"),
            ("secret\t", "ends with a blank"),
            ("secret\u{a0}", "ends with a blank"),
            ("secret\u{200b}", "ends with a character that cannot be seen (U+200B)"),
            ("\0secret", "begins with a character that cannot be seen (U+0000)"),
        ] {
            let said = stray(text).unwrap_or_default();
            assert!(said.starts_with(what), "{text:?}: {said}");
        }
        for text in ["", "secret", "two\nlines", "a b", "ü", "=\u{301}"] {
            assert_eq!(stray(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_path_is_repeated_only_where_its_folder_exists() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("nothing");
        let path = path.to_str().unwrap();
        assert!(unreadable(path, &error).starts_with(&format!("'{path}' cannot be read")));
        for path in ["a-secret-of-thirty-two-bytes-or-more", "/base64+of/a+secret=", "/abc", ""] {
            assert!(unreadable(path, &error).starts_with("the path in it cannot"), "{path}");
        }
    }
}
