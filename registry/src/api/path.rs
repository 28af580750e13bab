//! From a path to an endpoint: decoded once, double and trailing slashes forgiven, `/contexts/{context}/...` understood.

use super::endpoint::Endpoint;
use super::query::Query;
use crate::error::{Error, Result};
use crate::names::{Context, Subject};

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

impl Routed {
    /// Whether an alias is followed: never for settings and modes.
    pub(super) fn follows(&self) -> bool {
        matches!(
            self.endpoint,
            Endpoint::LookUp
                | Endpoint::DeleteSubject
                | Endpoint::ByMetadata
                | Endpoint::Versions
                | Endpoint::Register
                | Endpoint::Version
                | Endpoint::VersionText
                | Endpoint::ReferencedBy
                | Endpoint::DeleteVersion
                | Endpoint::CheckVersion
                | Endpoint::CheckSubject
        )
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

/// Finds the endpoint of a path.
pub(super) fn route(method: &str, path: &str, query: Query) -> Result<Routed> {
    let mut segments = split(path)?;
    let mut context = Context::default_context();
    if segments.len() > 2 && segments[0] == "contexts" {
        context = context_of(&segments[1])?;
        segments.drain(..2);
    }
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    let found = find(method, &words)?;
    let (endpoint, subject, rest) = found;
    let rest = rest.into_iter().map(str::to_owned).collect();
    let (subject, received) = match subject {
        Some(name) => {
            let subject = Subject::parse_in(name, &context);
            let received =
                if name.starts_with(":.") { name.to_owned() } else { format!("{}{name}", context.prefix()) };
            (subject, received)
        }
        None => (Subject::new(context.clone(), ""), context.prefix()),
    };
    Ok(Routed { endpoint, subject, received, segments: rest, query: query.in_context(&context) })
}

type Found<'a> = (Endpoint, Option<&'a str>, Vec<&'a str>);

fn find<'a>(method: &str, words: &[&'a str]) -> Result<Found<'a>> {
    use Endpoint as E;
    let plain = |endpoint| Ok((endpoint, None, Vec::new()));
    match (method, words) {
        ("GET" | "HEAD" | "POST", []) => plain(E::Root),
        ("GET", ["health", "live"]) => plain(E::Live),
        ("GET", ["health", "ready"]) => plain(E::Ready),
        ("GET", ["health", "startup"]) => plain(E::Startup),
        ("GET", ["schemas"]) => plain(E::Schemas),
        ("GET", ["schemas", "types"]) => plain(E::Types),
        ("GET", ["schemas", "ids", id]) => Ok((E::SchemaById, None, vec![id])),
        ("GET", ["schemas", "ids", id, "schema"]) => Ok((E::SchemaTextById, None, vec![id])),
        ("GET", ["schemas", "ids", id, "subjects"]) => Ok((E::SubjectsOfId, None, vec![id])),
        ("GET", ["schemas", "ids", id, "versions"]) => Ok((E::VersionsOfId, None, vec![id])),
        ("GET", ["schemas", "guids", guid]) => Ok((E::SchemaByGuid, None, vec![guid])),
        ("GET", ["schemas", "guids", guid, "ids"]) => Ok((E::IdsOfGuid, None, vec![guid])),
        ("GET", ["subjects"]) => plain(E::Subjects),
        ("POST", ["subjects", subject]) => Ok((E::LookUp, Some(subject), Vec::new())),
        ("DELETE", ["subjects", subject]) => Ok((E::DeleteSubject, Some(subject), Vec::new())),
        ("GET", ["subjects", subject, "metadata"]) => Ok((E::ByMetadata, Some(subject), Vec::new())),
        ("GET", ["subjects", subject, "versions"]) => Ok((E::Versions, Some(subject), Vec::new())),
        ("POST", ["subjects", subject, "versions"]) => Ok((E::Register, Some(subject), Vec::new())),
        ("GET", ["subjects", subject, "versions", v]) => Ok((E::Version, Some(subject), vec![v])),
        ("DELETE", ["subjects", subject, "versions", v]) => Ok((E::DeleteVersion, Some(subject), vec![v])),
        ("GET", ["subjects", subject, "versions", v, "schema"]) => {
            Ok((E::VersionText, Some(subject), vec![v]))
        }
        ("GET", ["subjects", subject, "versions", v, "referencedby"]) => {
            Ok((E::ReferencedBy, Some(subject), vec![v]))
        }
        ("POST", ["compatibility", "subjects", subject, "versions"]) => {
            Ok((E::CheckSubject, Some(subject), Vec::new()))
        }
        ("POST", ["compatibility", "subjects", subject, "versions", v]) => {
            Ok((E::CheckVersion, Some(subject), vec![v]))
        }
        ("GET", ["config"]) => plain(E::Config),
        ("PUT", ["config"]) => plain(E::SetConfig),
        ("DELETE", ["config"]) => plain(E::DeleteConfig),
        ("GET", ["config", subject]) => Ok((E::ConfigOfSubject, Some(subject), Vec::new())),
        ("PUT", ["config", subject]) => Ok((E::SetConfigOfSubject, Some(subject), Vec::new())),
        ("DELETE", ["config", subject]) => Ok((E::DeleteConfigOfSubject, Some(subject), Vec::new())),
        ("GET", ["mode"]) => plain(E::Mode),
        ("PUT", ["mode"]) => plain(E::SetMode),
        ("DELETE", ["mode"]) => plain(E::DeleteMode),
        ("GET", ["mode", subject]) => Ok((E::ModeOfSubject, Some(subject), Vec::new())),
        ("PUT", ["mode", subject]) => Ok((E::SetModeOfSubject, Some(subject), Vec::new())),
        ("DELETE", ["mode", subject]) => Ok((E::DeleteModeOfSubject, Some(subject), Vec::new())),
        ("GET", ["contexts"]) => plain(E::Contexts),
        ("DELETE", ["contexts", context]) => Ok((E::DeleteContext, None, vec![context])),
        ("GET", ["v1", "metadata", "id"]) => plain(E::MetadataId),
        ("GET", ["v1", "metadata", "version"]) => plain(E::MetadataVersion),
        _ => Err(unknown(method, words)),
    }
}

/// 405 where another method would have found something, else 404.
fn unknown(method: &str, words: &[&str]) -> Error {
    let others = ["GET", "POST", "PUT", "DELETE"].into_iter().filter(|other| *other != method);
    let allowed: Vec<&str> = others.filter(|other| is_path(other, words)).collect();
    match allowed.is_empty() {
        true => Error::not_found(),
        false => {
            Error::new(405, format!("HTTP 405 Method Not Allowed. Allowed here: {}", allowed.join(", ")))
        }
    }
}

fn is_path(method: &str, words: &[&str]) -> bool {
    let same = |template: &str| {
        let parts: Vec<&str> = template.split('/').filter(|part| !part.is_empty()).collect();
        parts.len() == words.len()
            && parts.iter().zip(words).all(|(part, word)| part.starts_with('{') || part == word)
    };
    Endpoint::ALL.iter().any(|endpoint| endpoint.method() == method && same(endpoint.path()))
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
    let name = name.trim_start_matches(':').trim_end_matches(':');
    Context::named(name).ok_or_else(|| Error::new(400, "Context name cannot contain a colon"))
}
