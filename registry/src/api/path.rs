//! From a path to an endpoint: decoded once, double and trailing slashes forgiven, `/contexts/{context}/...` understood.

use super::endpoint::Endpoint;
use super::query::Query;
use crate::error::{Error, Result};
use crate::names::{Context, Subject};
use std::sync::LazyLock;

/// Segments that any path has at most; more are no path of ours.
const MAX_SEGMENTS: usize = 12;

/// A request that an endpoint was found for.
#[derive(Debug)]
pub(super) struct Routed {
    pub(super) endpoint: Endpoint,
    pub(super) subject: Subject,
    pub(super) received: String,
    pub(super) segments: Vec<String>,
    pub(super) query: Query,
}

/// What a path leads to, whatever the method.
pub(super) enum Found {
    /// An endpoint.
    Endpoint(Routed),
    /// Other methods would find something here: these.
    Only(Vec<&'static str>),
}

impl Routed {
    /// Whether an alias is followed: never for settings and modes.
    pub(super) fn follows(&self) -> bool {
        let path = self.endpoint.path();
        path.starts_with("/subjects/{subject}") || path.starts_with("/compatibility/subjects/{subject}")
    }

    /// Goes to the subject that an alias leads to.
    pub(super) fn through(mut self, target: Option<Subject>) -> Self {
        if let Some(target) = target {
            self.received = target.to_string();
            self.subject = target;
        }
        self
    }
}

/// The paths of all endpoints, taken apart, by how many segments they have.
static TEMPLATES: LazyLock<[Vec<Template>; MAX_SEGMENTS + 1]> = LazyLock::new(|| {
    let mut all = [const { Vec::new() }; MAX_SEGMENTS + 1];
    for endpoint in Endpoint::ALL {
        let words: Vec<_> = endpoint.path().split('/').filter(|word| !word.is_empty()).collect();
        all[words.len()].push((*endpoint, words));
    }
    all
});

type Template = (Endpoint, Vec<&'static str>);

fn is_name(word: &str) -> bool {
    word.starts_with('{')
}

/// Finds the endpoint of a path.
pub(super) fn route(method: &str, path: &str, query: Query) -> Result<Found> {
    let mut segments = split(path)?;
    let mut named = None;
    if segments.len() > 2 && segments[0] == "contexts" {
        named = Some(context_of(&segments[1])?);
        segments.drain(..2);
    }
    let context = named.clone().unwrap_or_else(Context::default_context);
    let fits = |template: &[&str]| {
        template.iter().zip(&segments).all(|(word, segment)| is_name(word) || word == segment)
    };
    let fitting = TEMPLATES[segments.len()].iter().filter(|(_, template)| fits(template));
    let fixed = |template: &[&str]| template.iter().filter(|word| !is_name(word)).count();
    let found = fitting
        .clone()
        .filter(|(endpoint, _)| endpoint.method() == method)
        .max_by_key(|(_, template)| fixed(template));
    let Some((endpoint, template)) = found else {
        let mut methods: Vec<&str> = fitting.map(|(endpoint, _)| endpoint.method()).collect();
        if methods.is_empty() {
            return Err(Error::not_found());
        }
        if methods.contains(&"GET") {
            methods.push("HEAD");
        }
        methods.push("OPTIONS");
        methods.sort_unstable();
        methods.dedup();
        return Ok(Found::Only(methods));
    };
    let (mut name, mut rest) = (None, Vec::new());
    for (word, segment) in template.iter().zip(segments) {
        match *word {
            "{subject}" => name = Some(segment),
            word if is_name(word) => rest.push(segment),
            _ => {}
        }
    }
    let (subject, received) = match name {
        Some(name) => {
            let subject = Subject::parse_in(&name, &context);
            let received = if name.starts_with(":.") { name } else { format!("{}{name}", context.prefix()) };
            (subject, received)
        }
        None => (Subject::new(context.clone(), ""), context.prefix()),
    };
    Ok(Found::Endpoint(Routed {
        endpoint: *endpoint,
        subject,
        received,
        segments: rest,
        query: query.in_context(named),
    }))
}

fn split(path: &str) -> Result<Vec<String>> {
    let parts = path.split('/').filter(|part| !part.is_empty());
    let segments: Vec<String> = parts.take(MAX_SEGMENTS + 1).map(decode).collect::<Result<_>>()?;
    if segments.len() > MAX_SEGMENTS { Err(Error::not_found()) } else { Ok(segments) }
}

/// Percent-decodes once; a plus sign stays one.
pub(super) fn decode(text: &str) -> Result<String> {
    let wrong = || Error::new(400, format!("HTTP 400 Bad Request: {text:?} is not percent-encoded UTF-8"));
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<&u8>| byte.and_then(|byte| (*byte as char).to_digit(16));
        let (Some(high), Some(low)) = (digit(rest.next()), digit(rest.next())) else { return Err(wrong()) };
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

/// `payments`, `.payments` and `:.payments:` are one context.
pub(super) fn context_of(name: &str) -> Result<Context> {
    let name = name.strip_prefix(':').unwrap_or(name);
    let name = name.strip_suffix(':').unwrap_or(name);
    match Context::named(name) {
        Some(context) => Ok(context),
        None if name.contains(':') => Err(Error::new(400, "Context name cannot contain a colon")),
        None => Err(Error::new(400, "Context name cannot contain a control character")),
    }
}
