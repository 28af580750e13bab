//! What `registry serve` answers: health from the first moment, the registry's API as soon as its store answers, metrics.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use registry::api::{self, Answer, Api, Request};

use crate::http::{Handler, Reply, Served};

/// A registry, or one that still waits for its store.
pub(super) struct App {
    api: OnceLock<Arc<Api>>,
    /// Why there is no registry yet.
    waiting: Mutex<String>,
    /// The level at which requests are logged.
    requests: Option<tracing::Level>,
}

impl App {
    /// One that waits for its store.
    pub(super) fn new(requests: Option<tracing::Level>) -> Self {
        Self {
            api: OnceLock::new(),
            waiting: Mutex::new("the store was not reached yet".to_owned()),
            requests,
        }
    }

    /// The store answers: from now on the registry does too.
    pub(super) fn open(&self, api: Api) {
        let _ = self.api.set(Arc::new(api));
    }

    /// The store does not answer yet.
    pub(super) fn wait(&self, why: String) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// What is answered while there is no registry. Only `/health/live` is well: the process is alive, and killing it would not help.
    fn waiting(&self, path: &str) -> Reply {
        let why = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let endpoint = api::Endpoint::ALL.iter().find(|endpoint| endpoint.path() == path);
        let json = |status, body: serde_json::Value| Reply {
            status,
            content_type: api::JSON,
            body: Bytes::from(body.to_string()),
            endpoint: endpoint.copied(),
            allow: None,
        };
        match path {
            "/health/live" => json(200, serde_json::json!({ "status": "UP" })),
            "/health/ready" | "/health/startup" => {
                json(503, serde_json::json!({ "status": "DOWN", "reason": why }))
            }
            _ => Reply::error(503, 50001, &format!("The registry waits for its store: {why}. Try again")),
        }
    }
}

impl Handler for App {
    async fn answer(&self, request: &Request) -> Reply {
        match self.api.get() {
            Some(api) => {
                let Answer { status, content_type, body, endpoint } = api.answer(request).await;
                Reply { status, content_type, body, endpoint, allow: None }
            }
            None => self.waiting(&request.path),
        }
    }

    fn is_urgent(&self, path: &str) -> bool {
        path == "/" || path.starts_with("/health/")
    }

    fn served(&self, served: &Served<'_>) {
        let Served { method, path, status, bytes, request_id, .. } = *served;
        let ms = served.elapsed.as_millis();
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
