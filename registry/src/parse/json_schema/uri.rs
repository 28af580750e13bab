//! References between documents: RFC 3986, as far as schemas need it. Nothing is ever fetched, so this is only a way to
//! give every place one name.

/// Longer ones are taken for unresolvable: resolving costs the length of the base each time.
pub(super) const MAX_LENGTH: usize = 2048;

/// Before and behind the `#`.
pub(super) fn split_fragment(reference: &str) -> (&str, &str) {
    reference.split_once('#').unwrap_or((reference, ""))
}

fn scheme(uri: &str) -> Option<&str> {
    let (scheme, _) = uri.split_once(':')?;
    let mut letters = scheme.chars();
    let first = letters.next().is_some_and(|c| c.is_ascii_alphabetic());
    (first && letters.all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))).then_some(scheme)
}

/// `a/./b/../c` is `a/c`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let absolute = path.starts_with('/');
    let count = path.split('/').count();
    for (n, segment) in path.split('/').enumerate() {
        let last = n + 1 == count;
        match segment {
            "." if last => kept.push(""),
            "." => {}
            ".." => {
                if kept.len() > usize::from(absolute) {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    kept.join("/")
}

/// What `reference` means in a document called `base`; without its fragment. Both may be relative.
pub(super) fn resolve(base: &str, reference: &str) -> String {
    let (reference, _) = split_fragment(reference);
    if reference.is_empty() {
        return base.to_owned();
    }
    if scheme(reference).is_some() {
        return reference.to_owned();
    }
    let (prefix, rest) = match scheme(base) {
        Some(scheme) => base.split_at(scheme.len() + 1),
        None => ("", base),
    };
    if !prefix.is_empty() && !rest.starts_with('/') {
        // A URN has no path to resolve against.
        return without_dots(reference);
    }
    if reference.starts_with("//") {
        return format!("{prefix}{reference}");
    }
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) => rest.split_at(2 + after.find('/').unwrap_or(after.len())),
        None => ("", rest),
    };
    let path = path.split('?').next().unwrap_or(path);
    let joined = if reference.starts_with('/') {
        reference.to_owned()
    } else {
        match path.rfind('/') {
            Some(at) => format!("{}/{reference}", &path[..at]),
            None if authority.is_empty() => reference.to_owned(),
            None => format!("/{reference}"),
        }
    };
    format!("{prefix}{authority}{}", without_dots(&joined))
}

/// `%41` is `A`; what is no valid escape stays as it is.
pub(super) fn decode(fragment: &str) -> String {
    if !fragment.contains('%') {
        return fragment.to_owned();
    }
    let bytes = fragment.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |offset| bytes.get(at + offset).and_then(|b| char::from(*b).to_digit(16));
        match (byte, digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).unwrap_or_else(|_| fragment.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved() {
        for (base, reference, expected) in [
            ("", "a.json", "a.json"),
            ("", "./a.json", "a.json"),
            ("b.json", "a.json", "a.json"),
            ("x/b.json", "a.json", "x/a.json"),
            ("x/y/b.json", "../a.json", "x/a.json"),
            ("http://e.com/x/b.json", "a.json", "http://e.com/x/a.json"),
            ("http://e.com", "a.json", "http://e.com/a.json"),
            ("http://e.com/x/b.json?q=/1", "/a.json#frag", "http://e.com/a.json"),
            ("http://e.com/x/", "../../../a", "http://e.com/a"),
            ("http://e.com/x", "https://f.org/y#z", "https://f.org/y"),
            ("http://e.com/x", "//f.org/y", "http://f.org/y"),
            ("urn:a:b", "a.json", "a.json"),
            ("urn:a:b", "#x", "urn:a:b"),
            ("http://e.com/x", "", "http://e.com/x"),
        ] {
            assert_eq!(resolve(base, reference), expected, "{base} {reference}");
        }
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(decode("/a%20b%25/%zz%4"), "/a b%/%zz%4");
        assert_eq!(decode("%ff"), "%ff");
    }
}
