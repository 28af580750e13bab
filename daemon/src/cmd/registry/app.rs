//! What `registry serve` answers: health from the first moment, the registry's API as soon as its store answers, metrics.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use registry::api::{self, Answer, Api, Request};
use serde::Deserialize;

use crate::http::{Handler, Reply, Served};
use crate::metrics::{self, Numbers};

/// A registry, or one that still waits for its store.
pub(super) struct App {
    api: OnceLock<Arc<Api>>,
    /// Why there is no registry yet.
    waiting: Mutex<String>,
    /// The level at which requests are logged.
    requests: Option<tracing::Level>,
    numbers: Arc<Numbers>,
    /// Where the numbers are told, if anywhere.
    metrics: Option<String>,
}

/// The part of a registration that numbers are counted by.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Typed<'a> {
    #[serde(borrow)]
    schema_type: Option<Cow<'a, str>>,
}

impl App {
    /// One that waits for its store.
    pub(super) fn new(requests: Option<tracing::Level>, metrics: Option<String>) -> Self {
        Self {
            api: OnceLock::new(),
            waiting: Mutex::new("the store was not reached yet".to_owned()),
            requests,
            numbers: Arc::new(Numbers::new()),
            metrics,
        }
    }

    /// Its numbers.
    pub(super) fn numbers(&self) -> &Arc<Numbers> {
        &self.numbers
    }

    /// The store answers: from now on the registry does too.
    pub(super) fn open(&self, api: Api) {
        let _ = self.api.set(Arc::new(api));
    }

    /// The store does not answer yet.
    pub(super) fn wait(&self, why: String) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// What is answered while there is no registry. `/health/live` and `/`, which the guide's probes ask, are well: the process is
    /// alive, and killing it would not help.
    fn waiting(&self, path: &str) -> Reply {
        let why = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let endpoint = api::Endpoint::ALL.iter().find(|endpoint| endpoint.path() == path).copied();
        let json = |status, body: serde_json::Value| {
            let body = Bytes::from(body.to_string());
            Reply { status, content_type: api::JSON, body, endpoint, allow: None }
        };
        match path {
            "/" => json(200, serde_json::json!({})),
            "/health/live" => json(200, serde_json::json!({ "status": "UP" })),
            "/health/ready" | "/health/startup" => {
                json(503, serde_json::json!({ "status": "DOWN", "reason": why }))
            }
            _ => Reply::error(503, 50001, &format!("The registry waits for its store: {why}. Try again")),
        }
    }

    /// The numbers, if this is where they are told.
    async fn told(&self, request: &Request<'_>) -> Option<Reply> {
        if self.metrics.as_deref() != Some(request.path) {
            return None;
        }
        if request.method != "GET" {
            let mut refusal = Reply::error(405, 405, "HTTP 405 Method Not Allowed. Allowed here: GET");
            refusal.allow = Some("GET, HEAD".to_owned());
            return Some(refusal);
        }
        let body = Bytes::from(self.numbers.text(self.api.get().cloned()).await);
        Some(Reply { status: 200, content_type: metrics::TEXT, body, endpoint: None, allow: None })
    }
}

impl Handler for App {
    async fn answer(&self, request: &Request<'_>) -> Reply {
        if let Some(told) = self.told(request).await {
            return told;
        }
        let Some(api) = self.api.get() else { return self.waiting(request.path) };
        let Answer { status, content_type, body, endpoint, allow } = api.answer(request).await;
        if metrics::is_registration(endpoint) {
            let typed: Typed<'_> = serde_json::from_slice(&request.body).unwrap_or_default();
            self.numbers.registered(typed.schema_type.as_deref().unwrap_or("AVRO"), status < 400);
        }
        Reply { status, content_type, body, endpoint, allow }
    }

    fn is_urgent(&self, path: &str) -> bool {
        path == "/" || path.starts_with("/health/") || self.metrics.as_deref() == Some(path)
    }

    fn in_flight(&self, change: i64) {
        self.numbers.in_flight(change);
    }

    fn connections(&self, change: i64) {
        self.numbers.connections(change);
    }

    fn served(&self, served: &Served<'_>) {
        self.numbers.served(served);
        let Served { method, path, status, bytes, request_id, .. } = *served;
        let ms = u64::try_from(served.elapsed.as_millis()).unwrap_or(u64::MAX);
        let endpoint = served.endpoint.map_or("", |endpoint| endpoint.label());
        match self.requests {
            None => {}
            Some(_) if status >= 500 => {
                tracing::warn!(%method, path, endpoint, status, bytes, ms, request_id, "request failed");
            }
            Some(tracing::Level::INFO) => {
                tracing::info!(%method, path, endpoint, status, bytes, ms, request_id, "request");
            }
            Some(_) => tracing::debug!(%method, path, endpoint, status, bytes, ms, request_id, "request"),
        }
    }
}

/// The port that has only the numbers.
pub(super) struct MetricsOnly(pub(super) Arc<App>);

impl Handler for MetricsOnly {
    async fn answer(&self, request: &Request<'_>) -> Reply {
        match self.0.told(request).await {
            Some(told) => told,
            None => {
                let path = self.0.metrics.as_deref().unwrap_or_default();
                Reply::error(404, 404, &format!("HTTP 404 Not Found. Only {path} is here"))
            }
        }
    }

    fn is_urgent(&self, path: &str) -> bool {
        self.0.metrics.as_deref() == Some(path)
    }
}
