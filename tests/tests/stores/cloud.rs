//! A small cloud in memory: the part of the XML interface that S3 and GCS share, told apart by their headers. It also
//! plays the careless server that ignores conditions.
//!
//! The usual GCS emulator does not take puts over this interface, which is the one that the client speaks.

use std::collections::BTreeMap;
use std::sync::Mutex;

use url::form_urlencoded;

/// Whether a create-only put of an object that exists is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Conditions {
    Honoured,
    Ignored,
}

#[derive(Debug)]
pub(super) struct Cloud {
    conditions: Conditions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<String, (Vec<u8>, u64)>,
    uploads: BTreeMap<String, BTreeMap<u32, Vec<u8>>>,
    counter: u64,
}

/// An answer: status, headers of its own, body.
type Answer = (u16, String, Vec<u8>);

impl Cloud {
    pub(super) fn new(conditions: Conditions) -> Self {
        Self { conditions, state: Mutex::default() }
    }

    pub(super) fn objects(&self) -> usize {
        self.state.lock().unwrap().objects.len()
    }

    /// The whole HTTP answer to a request.
    pub(super) fn answer(&self, method: &str, target: &str, head: &str, body: &[u8]) -> Vec<u8> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let key = decode(key);
        let query: BTreeMap<String, String> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let (status, headers, answer) = self.act(method, &key, &query, head, body);
        let head = format!(
            "HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        if method == "HEAD" { head.into_bytes() } else { [head.into_bytes(), answer].concat() }
    }

    fn act(
        &self,
        method: &str,
        key: &str,
        query: &BTreeMap<String, String>,
        head: &str,
        body: &[u8],
    ) -> Answer {
        let mut state = self.state.lock().unwrap();
        let state = &mut *state;
        let upload = query.get("uploadId");
        match (method, upload) {
            ("PUT", Some(id)) => match (state.uploads.get_mut(id), query["partNumber"].parse()) {
                (Some(parts), Ok(number)) => {
                    parts.insert(number, body.to_vec());
                    (200, tag(number.into()), Vec::new())
                }
                _ => (404, String::new(), Vec::new()),
            },
            ("PUT", None) => {
                let conditional = header(head, "if-none-match") == Some("*")
                    || header(head, "x-goog-if-generation-match") == Some("0");
                if conditional && self.conditions == Conditions::Honoured && state.objects.contains_key(key) {
                    return (412, String::new(), Vec::new());
                }
                (200, state.insert(key, body.to_vec()), Vec::new())
            }
            ("POST", None) => {
                state.counter += 1;
                let id = format!("upload-{}", state.counter);
                state.uploads.insert(id.clone(), BTreeMap::new());
                let xml = format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                );
                (200, String::new(), xml.into())
            }
            ("POST", Some(id)) => match state.uploads.remove(id) {
                Some(parts) => {
                    let headers = state.insert(key, parts.into_values().flatten().collect());
                    let xml =
                        "<CompleteMultipartUploadResult><ETag>\"x\"</ETag></CompleteMultipartUploadResult>";
                    (200, headers, xml.into())
                }
                None => (404, String::new(), Vec::new()),
            },
            ("DELETE", Some(id)) => {
                let status = if state.uploads.remove(id).is_some() { 204 } else { 404 };
                (status, String::new(), Vec::new())
            }
            ("DELETE", None) => {
                let status = if state.objects.remove(key).is_some() { 204 } else { 404 };
                (status, String::new(), Vec::new())
            }
            (_, _) if key.is_empty() => (200, String::new(), state.list(query).into()),
            (_, _) => match state.objects.get(key) {
                Some((body, generation)) => read(body, *generation, header(head, "range")),
                None => (404, String::new(), Vec::new()),
            },
        }
    }
}

impl State {
    fn insert(&mut self, key: &str, body: Vec<u8>) -> String {
        self.counter += 1;
        self.objects.insert(key.to_owned(), (body, self.counter));
        tag(self.counter)
    }

    /// A page of at most 100 keys.
    fn list(&self, query: &BTreeMap<String, String>) -> String {
        let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let (prefix, delimiter) = (text("prefix"), text("delimiter"));
        let after = text("start-after").max(text("continuation-token"));
        let mut xml = String::new();
        let (mut count, mut last, mut folder) = (0, "", String::new());
        for (key, (body, _)) in
            self.objects.iter().filter(|(key, _)| key.starts_with(prefix) && key.as_str() > after)
        {
            if count == 100 {
                xml += &format!("<NextContinuationToken>{}</NextContinuationToken>", escape(last));
                break;
            }
            (count, last) = (count + 1, key);
            match key[prefix.len()..].split_once('/').filter(|_| !delimiter.is_empty()) {
                Some((name, _)) if name == folder => {}
                Some((name, _)) => {
                    folder = name.to_owned();
                    let prefix = escape(&format!("{prefix}{name}/"));
                    xml += &format!("<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>");
                }
                None => {
                    xml += &format!(
                        "<Contents><Key>{}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>{}</Size></Contents>",
                        escape(key),
                        body.len()
                    );
                }
            }
        }
        format!("<ListBucketResult>{xml}</ListBucketResult>")
    }
}

fn tag(generation: u64) -> String {
    format!(
        "etag: \"{generation}\"\r\nx-goog-generation: {generation}\r\nlast-modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"
    )
}

fn read(body: &[u8], generation: u64, range: Option<&str>) -> Answer {
    let Some((start, end)) = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-')) else {
        return (200, tag(generation), body.to_vec());
    };
    let (start, end): (usize, usize) = (start.parse().unwrap(), end.parse().unwrap());
    if start >= body.len() {
        return (416, String::new(), Vec::new());
    }
    let end = end.min(body.len() - 1);
    let headers = format!("{}content-range: bytes {start}-{end}/{}\r\n", tag(generation), body.len());
    (206, headers, body[start..=end].to_vec())
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

fn decode(text: &str) -> String {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
            decoded.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).unwrap()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
