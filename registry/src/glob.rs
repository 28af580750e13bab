//! Patterns of names with `*` and `?`, as regular expressions.

/// An expression for whole names: `*` is any characters, line breaks too, `?` any one, everything else itself.
pub(crate) fn expression(pattern: &str) -> String {
    let mut text = "(?s)^".to_owned();
    for c in pattern.chars() {
        match c {
            '*' => text.push_str(".*"),
            '?' => text.push('.'),
            c => text.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    text.push('$');
    text
}
