//! The REST API: a request in, an answer out. It knows HTTP's words, and nothing of sockets.
//!
//! ```text
//! request  ->  path (decoded once, contexts and aliases told)  ->  endpoint  ->  handler  ->  answer
//! ```
//! One file a resource. The paths, the numbers of errors and the shapes of bodies are Confluent's.

use crate::error::{Error, Result};
use crate::service::Registry;
use crate::standby::{Following, Status};
use crate::store::kafka::log::Writer;
use bytes::Bytes;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

mod analysis;
pub mod body;
mod compatibility;
mod config;
mod contexts;
mod endpoint;
mod entity;
mod forward;
mod health;
mod import;
mod metadata;
mod mode;
pub mod openapi;
mod path;
mod query;
mod schemas;
mod search;
mod standby;
mod subjects;
#[cfg(test)]
mod tests;

pub use endpoint::{Endpoint, Route};
pub use forward::{Forward, HEADER as FORWARD_HEADER};

/// The type of an answer where the request asks for none of the others.
pub const JSON: &str = "application/vnd.schemaregistry.v1+json";

/// Types of bodies, in the order of preference where a client takes any.
const TYPES: [&str; 3] = [JSON, "application/vnd.schemaregistry+json", "application/json"];

/// The number of a refusal because another instance writes, or none does.
const NO_WRITER: u32 = 50004;

/// A request, read whole.
#[derive(Debug, Clone, Default)]
pub struct Request<'a> {
    /// `GET`, `POST`, ...
    pub method: &'a str,
    /// The path as it was received.
    pub path: &'a str,
    /// The query as it was received, without its question mark.
    pub query: &'a str,
    /// `Accept`, if there is one.
    pub accept: Option<&'a str>,
    /// `Content-Type`, if there is one.
    pub content_type: Option<&'a str>,
    /// Another instance has passed it on ([`FORWARD_HEADER`]): it is answered here, whoever writes.
    pub is_forwarded: bool,
    /// The body.
    pub body: Bytes,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Bytes,
    /// What the request was taken for; nothing where there is no such path.
    pub endpoint: Option<Endpoint>,
    /// `Allow`: the methods of the path, where the answer is about them.
    pub allow: Option<String>,
}

/// What is told about the process that answers.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// The version of the program.
    pub version: String,
    /// The commit that it was built from, where that is known.
    pub commit: String,
    /// The name of the Kafka cluster that the schemas belong to, where one was given.
    pub cluster_id: String,
    /// `/docs`, `/openapi.json` and `/openapi.yaml` exist.
    pub docs_enabled: bool,
}

/// The API of a registry.
pub struct Api {
    registry: Arc<Registry>,
    about: About,
    forward: Option<Arc<dyn Forward>>,
    standby: Option<Arc<dyn Following>>,
}

/// What a handler makes.
enum Made {
    /// A JSON document.
    Json(Bytes),
    /// No body at all.
    Nothing,
    /// A document under another status.
    Status(u16, Bytes),
    /// A document of another type.
    Typed(&'static str, Bytes),
}

/// What a request is about.
enum Asked {
    Endpoint(path::Routed),
    /// `OPTIONS`, or a method that the path does not have.
    Methods(Vec<&'static str>),
}

fn json(value: &impl serde::Serialize) -> Result<Made> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(Made::Json(bytes.into())),
        Err(error) => Err(Error::new(500, format!("The answer could not be written: {error}"))),
    }
}

impl Api {
    /// An API on a registry. What only another instance can do is refused, naming it.
    pub fn new(registry: Arc<Registry>, about: About) -> Self {
        Self { registry, about, forward: None, standby: None }
    }

    /// The same of a standby, by what keeps it like its leader.
    pub fn standing_by(self, standby: Arc<dyn Following>) -> Self {
        Self { standby: Some(standby), ..self }
    }

    /// Whether it is a standby, of whom, and how far behind.
    pub fn standby(&self) -> Status {
        self.standby.as_ref().map_or_else(|| self.registry.unattended(), |standby| standby.status())
    }

    /// The same, passing on what only another instance can do.
    pub fn forwarding(self, forward: Arc<dyn Forward>) -> Self {
        Self { forward: Some(forward), ..self }
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Answers a request. There is an answer for everything, and but for the pages for people it is JSON. The answer to `HEAD` is
    /// that to `GET`: whoever sends it leaves the body away.
    pub async fn answer(&self, request: &Request<'_>) -> Answer {
        let content_type = accepted(request.accept);
        if let Some(body) = schemas::finished(&self.registry, request) {
            let endpoint = Some(Endpoint::SchemaById);
            return Answer { status: 200, content_type, body, endpoint, allow: None };
        }
        // What all handlers need is large, and would be moved about with every request.
        Box::pin(self.made(request, content_type)).await
    }

    async fn made(&self, request: &Request<'_>, content_type: &'static str) -> Answer {
        let (endpoint, allow, made) = match self.route(request) {
            Ok(Asked::Endpoint(routed)) => {
                let endpoint = routed.endpoint;
                (Some(endpoint), None, self.here_or_elsewhere(request, endpoint, routed).await)
            }
            Ok(Asked::Methods(methods)) => {
                let allow = methods.join(", ");
                let made = match request.method {
                    "OPTIONS" => Ok(Made::Nothing),
                    _ => Err(Error::new(405, format!("HTTP 405 Method Not Allowed. Allowed here: {allow}"))),
                };
                (None, Some(allow), made)
            }
            Err((endpoint, error)) => (endpoint, None, Err(error)),
        };
        let (status, content_type, body) = match made {
            Ok(Made::Json(body)) => (200, content_type, body),
            Ok(Made::Nothing) => (204, content_type, Bytes::new()),
            Ok(Made::Status(status, body)) => (status, content_type, body),
            Ok(Made::Typed(content_type, body)) => (200, content_type, body),
            Err(error) => (error.status(), content_type, error_body(error.code(), error.message())),
        };
        Answer { status, content_type, body, endpoint, allow }
    }

    /// Has a change made by the instance that writes, also where that was elected only now.
    async fn here_or_elsewhere(
        &self,
        request: &Request<'_>,
        endpoint: Endpoint,
        routed: path::Routed,
    ) -> Result<Made> {
        if let Some((forward, url)) = self.elsewhere(request, endpoint) {
            return forward.forward(&url, request).await.map(|(status, body)| Made::Status(status, body));
        }
        // What is registered already may be registered again, so that is refused later.
        if endpoint.is_change() && !matches!(endpoint, Endpoint::Register | Endpoint::Promote) {
            self.registry.live().require_own()?;
        }
        // Whatever fails at a request fails at that one only.
        let handled = AssertUnwindSafe(self.handle(request, routed)).catch_unwind().await;
        let failed = || Err(Error::new(500, "The registry has failed at this request. Report it"));
        let made = handled.unwrap_or_else(|_| failed());
        match self.elsewhere(request, endpoint) {
            Some((forward, url)) if made.as_ref().is_err_and(|error| error.code() == NO_WRITER) => {
                forward.forward(&url, request).await.map(|(status, body)| Made::Status(status, body))
            }
            _ => made,
        }
    }

    /// The instance that must make a change, where that is another one and can be asked.
    fn elsewhere(&self, request: &Request<'_>, endpoint: Endpoint) -> Option<(&Arc<dyn Forward>, String)> {
        let forward = self.forward.as_ref().filter(|_| !request.is_forwarded && endpoint.is_change())?;
        match self.registry.live().store().writer() {
            Writer::Other(url) => Some((forward, url)),
            Writer::This(_) | Writer::Nobody(_) => None,
        }
    }

    fn route(&self, request: &Request<'_>) -> std::result::Result<Asked, (Option<Endpoint>, Error)> {
        let query = query::Query::parse(request.query);
        let method = if request.method == "HEAD" { "GET" } else { request.method };
        let found = path::route(method, request.path, query).map_err(|error| (None, error))?;
        let routed = match found {
            path::Found::Endpoint(routed) => routed,
            path::Found::Only(methods) => return Ok(Asked::Methods(methods)),
        };
        let is_docs =
            matches!(routed.endpoint, Endpoint::Docs | Endpoint::OpenApiJson | Endpoint::OpenApiYaml);
        if is_docs && !self.about.docs_enabled {
            return Err((None, Error::not_found()));
        }
        let has_body = matches!(request.method, "POST" | "PUT");
        if has_body && !is_json(request.content_type) {
            let endpoint = Some(routed.endpoint);
            return Err((
                endpoint,
                Error::new(415, "HTTP 415 Unsupported Media Type. Send Content-Type: application/json"),
            ));
        }
        Ok(Asked::Endpoint(routed))
    }

    async fn handle(&self, request: &Request<'_>, routed: path::Routed) -> Result<Made> {
        let target = if routed.follows() { self.registry.target(&routed.subject).await? } else { None };
        let routed = routed.through(target);
        let path::Routed { endpoint, subject, received, segments, query } = routed;
        let call = Call { api: self, request, subject, received, segments, query };
        match endpoint {
            Endpoint::Root | Endpoint::PostRoot => health::root(&call),
            Endpoint::Live => health::live(),
            Endpoint::Ready => health::ready(&call).await,
            Endpoint::Startup => health::started(&call).await,
            Endpoint::KarapaceHealth => health::karapace(&call).await,
            Endpoint::MasterAvailable => health::master(&call).await,
            Endpoint::Types => schemas::types(),
            Endpoint::Schemas => schemas::list(&call).await,
            Endpoint::SchemaById => schemas::by_id(&call).await,
            Endpoint::SchemaTextById => schemas::text_by_id(&call).await,
            Endpoint::SubjectsOfId => schemas::subjects(&call).await,
            Endpoint::VersionsOfId => schemas::versions(&call).await,
            Endpoint::SchemaByGuid => schemas::by_guid(&call).await,
            Endpoint::IdsOfGuid => schemas::ids_of_guid(&call).await,
            Endpoint::ValidateSchema => analysis::validate(&call).await,
            Endpoint::NormalizeSchema => analysis::normalize(&call).await,
            Endpoint::SearchSchemas => search::texts(&call).await,
            Endpoint::SearchFields => search::fields(&call).await,
            Endpoint::SearchTypes => search::types(&call).await,
            Endpoint::Subjects => subjects::list(&call).await,
            Endpoint::CountSubjects => subjects::count(&call).await,
            Endpoint::ValidateSubject => search::validate_subject(&call).await,
            Endpoint::MatchSubjects => search::match_subjects(&call).await,
            Endpoint::LookUp => subjects::look_up(&call).await,
            Endpoint::DeleteSubject => subjects::delete(&call).await,
            Endpoint::ByMetadata => subjects::by_metadata(&call).await,
            Endpoint::History => subjects::history(&call).await,
            Endpoint::ExportSubject => import::export(&call).await,
            Endpoint::Diff => analysis::diff(&call).await,
            Endpoint::Versions => subjects::versions(&call).await,
            Endpoint::CountVersions => subjects::count_versions(&call).await,
            Endpoint::Register => subjects::register(&call).await,
            Endpoint::Version => subjects::version(&call).await,
            Endpoint::VersionText => subjects::text(&call).await,
            Endpoint::ReferencedBy => subjects::referenced_by(&call).await,
            Endpoint::Dependencies => subjects::dependencies(&call).await,
            Endpoint::ExportVersion => import::export_version(&call).await,
            Endpoint::DeleteVersion => subjects::delete_version(&call).await,
            Endpoint::CheckVersion | Endpoint::CheckSubject => compatibility::check(&call).await,
            Endpoint::Explain => compatibility::explain(&call).await,
            Endpoint::Suggest => compatibility::suggest(&call).await,
            Endpoint::CheckSubjects => compatibility::check_subjects(&call).await,
            Endpoint::CompareSubjects => analysis::compare(&call).await,
            Endpoint::Config | Endpoint::ConfigOfSubject => config::get(&call).await,
            Endpoint::SetConfig | Endpoint::SetConfigOfSubject => config::put(&call).await,
            Endpoint::DeleteConfig | Endpoint::DeleteConfigOfSubject => config::delete(&call).await,
            Endpoint::Mode | Endpoint::ModeOfSubject => mode::get(&call).await,
            Endpoint::SetMode | Endpoint::SetModeOfSubject => mode::put(&call).await,
            Endpoint::DeleteMode | Endpoint::DeleteModeOfSubject => mode::delete(&call).await,
            Endpoint::Import => import::schemas(&call).await,
            Endpoint::Statistics => analysis::statistics(&call).await,
            Endpoint::FieldStatistics => search::field_usages(&call).await,
            Endpoint::PatternStatistics => search::patterns(&call).await,
            Endpoint::Standby => standby::get(&call),
            Endpoint::Promote => standby::promote(&call).await,
            Endpoint::Contexts => contexts::list(&call).await,
            Endpoint::DeleteContext => contexts::delete(&call).await,
            Endpoint::MetadataId => metadata::id(&call),
            Endpoint::MetadataVersion => metadata::version(&call),
            Endpoint::MetadataDeployment => metadata::deployment(),
            Endpoint::OpenApiJson => json(openapi::document(&self.about)?.as_ref()),
            Endpoint::OpenApiYaml => Ok(Made::Typed("application/yaml", openapi::yaml(&self.about)?.into())),
            Endpoint::Docs => Ok(Made::Typed("text/html; charset=utf-8", openapi::PAGE.into())),
        }
    }
}

/// What a handler is given.
struct Call<'a> {
    api: &'a Api,
    request: &'a Request<'a>,
    /// The subject of the path, an alias followed; the default context's root where the path names none.
    subject: crate::names::Subject,
    /// The subject as it was received.
    received: String,
    /// What the path holds beside the subject: an id, a version, a GUID, a context.
    segments: Vec<String>,
    query: query::Query,
}

impl Call<'_> {
    fn registry(&self) -> &Registry {
        &self.api.registry
    }

    /// A subject that the body names, an alias followed as in a path.
    async fn named(&self, name: &str) -> Result<crate::names::Subject> {
        let subject = crate::names::Subject::parse_in(name, &self.subject.context);
        Ok(self.registry().target(&subject).await?.unwrap_or(subject))
    }

    /// The nth of what the path holds beside the subject.
    fn segment(&self, n: usize) -> &str {
        self.segments.get(n).map_or("", String::as_str)
    }

    /// The body; its absence is an error that names the parameter as Confluent's registry does.
    fn body(&self, parameter: &str) -> Result<body::Object> {
        body::Object::read(&self.request.body, parameter)
    }
}

/// The body of an error.
pub fn error_body(code: u32, message: &str) -> Bytes {
    let body = serde_json::json!({ "error_code": code, "message": message });
    body.to_string().into_bytes().into()
}

/// The type that a client prefers among ours: the one with the highest weight, of equal ones the one that it names first. Who
/// takes none of them gets JSON all the same.
fn accepted(accept: Option<&str>) -> &'static str {
    // What most clients say, if anything.
    let Some(accept) = accept.filter(|accept| *accept != "*/*") else { return JSON };
    let mut best: Option<(f32, &'static str)> = None;
    for part in accept.split(',') {
        let mut parameters = part.split(';').map(str::trim);
        let asked = parameters.next().unwrap_or("");
        let known = TYPES.into_iter().find(|known| known.eq_ignore_ascii_case(asked));
        let weight = parameters.find_map(|parameter| {
            parameter.strip_prefix(['q', 'Q'])?.strip_prefix('=')?.trim().parse::<f32>().ok()
        });
        let weight = weight.unwrap_or(1.0);
        if let Some(known) = known
            && weight > best.map_or(0.0, |(weight, _)| weight)
        {
            best = Some((weight, known));
        }
    }
    best.map_or(JSON, |(_, known)| known)
}

fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let named = content_type.split(';').next().unwrap_or("").trim();
    TYPES.iter().chain(&["application/octet-stream"]).any(|known| known.eq_ignore_ascii_case(named))
}
