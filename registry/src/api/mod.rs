//! The REST API: a request in, an answer out. It knows HTTP's words, and nothing of sockets.
//!
//! ```text
//! request  ->  path (decoded once, contexts and aliases told)  ->  endpoint  ->  handler  ->  answer
//! ```
//! One file a resource. The paths, the numbers of errors and the shapes of bodies are Confluent's.

use crate::error::{Error, Result};
use crate::service::Registry;
use bytes::Bytes;
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

pub mod body;
mod compatibility;
mod config;
mod contexts;
mod endpoint;
mod entity;
mod health;
mod metadata;
mod mode;
mod path;
mod query;
mod schemas;
mod subjects;

pub use endpoint::Endpoint;

/// The type of an answer where the request asks for none of the others.
pub const JSON: &str = "application/vnd.schemaregistry.v1+json";

/// Types of bodies, in the order of preference where a client takes any.
const TYPES: [&str; 3] = [JSON, "application/vnd.schemaregistry+json", "application/json"];

/// A request, read whole.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`, `POST`, ...
    pub method: String,
    /// The path as it was received.
    pub path: String,
    /// The query as it was received, without its question mark.
    pub query: String,
    /// `Accept`, if there is one.
    pub accept: Option<String>,
    /// `Content-Type`, if there is one.
    pub content_type: Option<String>,
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
}

/// The API of a registry.
pub struct Api {
    registry: Arc<Registry>,
    about: About,
}

/// What a handler makes.
enum Made {
    /// A JSON document.
    Json(Bytes),
    /// No body at all.
    Nothing,
    /// A document under another status.
    Status(u16, Bytes),
}

fn json(value: &impl serde::Serialize) -> Result<Made> {
    match serde_json::to_vec(value) {
        Ok(bytes) => Ok(Made::Json(bytes.into())),
        Err(error) => Err(Error::new(500, format!("The answer could not be written: {error}"))),
    }
}

impl Api {
    /// An API on a registry.
    pub fn new(registry: Arc<Registry>, about: About) -> Self {
        Self { registry, about }
    }

    /// The registry.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Answers a request. There is an answer for everything, and it is JSON.
    pub async fn answer(&self, request: &Request) -> Answer {
        let content_type = accepted(request.accept.as_deref());
        let (endpoint, made) = match route(request) {
            Ok(routed) => {
                let endpoint = Some(routed.endpoint);
                // Whatever fails at a request fails at that one only.
                let handled = AssertUnwindSafe(self.handle(request, routed)).catch_unwind().await;
                let failed = || Err(Error::new(500, "The registry has failed at this request. Report it"));
                (endpoint, handled.unwrap_or_else(|_| failed()))
            }
            Err((endpoint, error)) => (endpoint, Err(error)),
        };
        let (status, body) = match made {
            Ok(Made::Json(body)) => (200, body),
            Ok(Made::Nothing) => (204, Bytes::new()),
            Ok(Made::Status(status, body)) => (status, body),
            Err(error) => (error.status(), error_body(error.code(), error.message())),
        };
        Answer { status, content_type, body, endpoint }
    }

    async fn handle(&self, request: &Request, routed: path::Routed) -> Result<Made> {
        let target = if routed.follows() { self.registry.target(&routed.subject).await? } else { None };
        let routed = routed.through(target);
        let path::Routed { endpoint, subject, received, segments, query } = routed;
        let call = Call { api: self, request, subject, received, segments, query };
        match endpoint {
            Endpoint::Root => health::root(&call),
            Endpoint::Live => health::live(),
            Endpoint::Ready | Endpoint::Startup => health::ready(&call).await,
            Endpoint::Types => schemas::types(),
            Endpoint::Schemas => schemas::list(&call).await,
            Endpoint::SchemaById => schemas::by_id(&call).await,
            Endpoint::SchemaTextById => schemas::text_by_id(&call).await,
            Endpoint::SubjectsOfId => schemas::subjects(&call).await,
            Endpoint::VersionsOfId => schemas::versions(&call).await,
            Endpoint::SchemaByGuid => schemas::by_guid(&call).await,
            Endpoint::IdsOfGuid => schemas::ids_of_guid(&call).await,
            Endpoint::Subjects => subjects::list(&call).await,
            Endpoint::LookUp => subjects::look_up(&call).await,
            Endpoint::DeleteSubject => subjects::delete(&call).await,
            Endpoint::ByMetadata => subjects::by_metadata(&call).await,
            Endpoint::Versions => subjects::versions(&call).await,
            Endpoint::Register => subjects::register(&call).await,
            Endpoint::Version => subjects::version(&call).await,
            Endpoint::VersionText => subjects::text(&call).await,
            Endpoint::ReferencedBy => subjects::referenced_by(&call).await,
            Endpoint::DeleteVersion => subjects::delete_version(&call).await,
            Endpoint::CheckVersion | Endpoint::CheckSubject => compatibility::check(&call).await,
            Endpoint::Config | Endpoint::ConfigOfSubject => config::get(&call).await,
            Endpoint::SetConfig | Endpoint::SetConfigOfSubject => config::put(&call).await,
            Endpoint::DeleteConfig | Endpoint::DeleteConfigOfSubject => config::delete(&call).await,
            Endpoint::Mode | Endpoint::ModeOfSubject => mode::get(&call).await,
            Endpoint::SetMode | Endpoint::SetModeOfSubject => mode::put(&call).await,
            Endpoint::DeleteMode | Endpoint::DeleteModeOfSubject => mode::delete(&call).await,
            Endpoint::Contexts => contexts::list(&call).await,
            Endpoint::DeleteContext => contexts::delete(&call).await,
            Endpoint::MetadataId => metadata::id(&call),
            Endpoint::MetadataVersion => metadata::version(&call),
        }
    }
}

fn route(request: &Request) -> std::result::Result<path::Routed, (Option<Endpoint>, Error)> {
    let query = query::Query::parse(&request.query);
    let routed = path::route(&request.method, &request.path, query).map_err(|error| (None, error))?;
    let has_body = matches!(request.method.as_str(), "POST" | "PUT");
    if has_body && !is_json(request.content_type.as_deref()) {
        let endpoint = Some(routed.endpoint);
        return Err((
            endpoint,
            Error::new(415, "HTTP 415 Unsupported Media Type. Send Content-Type: application/json"),
        ));
    }
    Ok(routed)
}

/// What a handler is given.
struct Call<'a> {
    api: &'a Api,
    request: &'a Request,
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

fn accepted(accept: Option<&str>) -> &'static str {
    let Some(accept) = accept else { return JSON };
    let mut asked = accept.split(',').map(|part| part.split(';').next().unwrap_or("").trim());
    asked.find_map(|asked| TYPES.into_iter().find(|known| known.eq_ignore_ascii_case(asked))).unwrap_or(JSON)
}

fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let named = content_type.split(';').next().unwrap_or("").trim();
    TYPES.iter().chain(&["application/octet-stream"]).any(|known| known.eq_ignore_ascii_case(named))
}
