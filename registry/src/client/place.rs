//! URLs of a registry, and paths below them.

use super::error::{Error, ErrorKind, Result};
use super::settings::Auth;
use crate::secret::Secret;
use reqwest::Url;
use std::fmt::Write;

/// The URLs of a registry without credentials, and the credentials that stood in them.
pub(super) fn read(texts: &[String]) -> Result<(Vec<Url>, Option<Auth>)> {
    let mut auth = None;
    let mut urls = Vec::new();
    for text in texts {
        let wrong = |why: &str| {
            Error::new(ErrorKind::Settings, format!("a registry's URL {why}"))
                .hint("write it like https://registry.example.com:8081, several with commas between them")
        };
        let mut url = Url::parse(text.trim()).map_err(|error| wrong(&format!("makes no sense: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong(&format!("begins with {}://, and not with http:// or https://", url.scheme())));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("has a ? or a # in it"));
        }
        // A token stands behind an empty user.
        if !url.username().is_empty() || url.password().is_some() {
            let password = decoded(url.password().unwrap_or(""));
            auth = Some(Auth::Basic { user: decoded(url.username()), password: Secret::new(password) });
            // These fail only for URLs without a host, and http has one.
            let _ = url.set_username("");
            let _ = url.set_password(None);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        urls.push(url);
    }
    if urls.is_empty() {
        return Err(Error::new(ErrorKind::Settings, "no URL of a registry is given"));
    }
    Ok((urls, auth))
}

fn decoded(text: &str) -> String {
    // In a query a plus sign is a space; here it is one of the password's own.
    let text = text.replace('+', "%2B");
    form_urlencoded::parse(format!("x={text}").as_bytes())
        .next()
        .map_or_else(String::new, |(_, value)| value.into_owned())
}

/// A URL of the registry with a path (encoded already) and a query behind it.
pub(super) fn at(base: &Url, path: &str, query: &[(&str, String)]) -> Url {
    let mut url = base.clone();
    let whole = format!("{}{path}", base.path().trim_end_matches('/'));
    url.set_path(&whole);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// A name as one segment of a path: whatever is in it, it stays one segment.
pub(super) fn segment(name: &str) -> String {
    // URLs take these two, encoded or not, for folders. The context's prefix says the same and is none.
    if matches!(name, "." | "..") { encoded(&format!(":.:{name}")) } else { encoded(name) }
}

/// A text that means itself in a path and in a form.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_stays_one_segment() {
        let base = Url::parse("http://host/base").expect("a URL");
        for name in ["a/b", "..", ".", "../../x", "%2e%2e", "a?b#c", ":.ctx:ä;b", "a\u{0}b", "a//b", "\\..\\"]
        {
            let url = at(&base, &format!("/subjects/{}/versions", segment(name)), &[]);
            let segments: Vec<&str> = url.path().split('/').collect();
            assert_eq!(segments.len(), 5, "{url}");
            assert!(url.path().starts_with("/base/subjects/"), "{url}");
            assert!(url.query().is_none() && url.fragment().is_none(), "{url}");
        }
        assert_eq!(segment(".."), "%3A.%3A..");
    }

    #[test]
    fn credentials_leave_the_url() {
        let (urls, auth) = read(&["http://us%40er:p%2B+w@host:81/x/".to_owned()]).expect("read");
        assert_eq!(urls[0].as_str(), "http://host:81/x");
        let password = Secret::new("p++w");
        assert_eq!(auth, Some(Auth::Basic { user: "us@er".to_owned(), password }));
        let (urls, auth) = read(&["https://:token@host".to_owned()]).expect("read");
        assert_eq!(urls[0].as_str(), "https://host/");
        assert_eq!(auth, Some(Auth::Basic { user: String::new(), password: Secret::new("token") }));
        for wrong in ["host:8081", "ftp://host", "http://host?x=1", ""] {
            let error = read(&[wrong.to_owned()]).expect_err("no URL");
            assert_eq!(error.kind(), ErrorKind::Settings);
        }
    }
}
