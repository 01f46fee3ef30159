//! Characters that nobody sees, and what they do to the text around them.

/// Changes the direction in which the text around it is shown (Unicode's `Bidi_Control`).
pub fn is_direction_mark(c: char) -> bool {
    matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    )
}

/// Breaks the text around it, or changes how it is shown: C0 and C1 controls, line and paragraph
/// separators, direction marks. Not the joiners that Persian, Indic scripts and emoji are written with.
pub fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') || is_direction_mark(c)
}

/// Has neither a glyph nor a width: what comes along when a text is copied.
pub fn is_invisible(c: char) -> bool {
    is_direction_mark(c)
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200d}'
                | '\u{2060}'..='\u{2064}'
                | '\u{206a}'..='\u{206f}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
        )
}

/// The text without what would break the line that it is shown in, or change its direction; `None` where nothing
/// is left.
pub fn in_one_line(text: String) -> Option<String> {
    if !text.contains(is_control) {
        return (!text.is_empty()).then_some(text);
    }
    let plain: String = text
        .chars()
        .filter(|c| !is_direction_mark(*c))
        .map(|c| if is_control(c) { ' ' } else { c })
        .collect();
    let plain = plain.trim();
    (!plain.is_empty()).then(|| plain.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_scripts_stay_and_what_steers_them_goes() {
        for name in ["Alice Example", "علی‌رضا", "👩‍💻", "क्‍ष", "Ünal", "李雷"]
        {
            assert_eq!(in_one_line(name.into()).as_deref(), Some(name), "{name}");
        }
        for (name, shown) in [
            ("a\nb", Some("a b")),
            ("a\u{85}b\u{2028}c\u{9b}d", Some("a b c d")),
            ("\u{202e}ecilA", Some("ecilA")),
            ("\u{2066}a\u{2069}\u{200f}", Some("a")),
            ("\u{7}\u{202e}\n", None),
            ("", None),
        ] {
            assert_eq!(in_one_line(name.into()).as_deref(), shown, "{name:?}");
        }
    }
}
