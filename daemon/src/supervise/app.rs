//! What a daemon answers over HTTP: its numbers, its health, what all of its jobs do.

use std::sync::Arc;

use bytes::Bytes;
use registry::api::{self, Request};
use serde_json::{Value, json};

use super::job::{Phase, Supervised};
use super::jobs::Jobs;
use super::status::Status;
use crate::config::Metrics;
use crate::http::{Handler, Reply};
use crate::metrics;

/// All jobs of this process, at one address.
pub(crate) struct App {
    jobs: Arc<Jobs>,
    numbers: Arc<metrics::JobNumbers>,
    /// Where the numbers are.
    path: String,
    most: metrics::Most,
}

impl App {
    /// One that tells of these jobs.
    pub(crate) fn new(jobs: Arc<Jobs>, numbers: Arc<metrics::JobNumbers>, place: &Metrics) -> Self {
        Self { jobs, numbers, path: place.path.clone(), most: place.most }
    }

    /// Ready where every job's pipeline is up; the others are named.
    fn ready(&self) -> Reply {
        let jobs = self.jobs.list();
        let not = jobs.iter().filter(|job| job.standing().phase != Phase::Running);
        let not: Vec<Value> = not.map(|job| about(job)).collect();
        let status = if not.is_empty() { 200 } else { 503 };
        said(status, &json!({ "ready": not.is_empty(), "not_ready": not }))
    }
}

fn said(status: u16, body: &Value) -> Reply {
    Reply {
        status,
        content_type: api::JSON,
        body: Bytes::from(body.to_string()),
        endpoint: None,
        allow: None,
    }
}

fn about(job: &Supervised) -> Value {
    let standing = job.standing();
    json!({ "file": job.file, "backup_id": job.job.backup_id, "phase": standing.phase, "since_ms": standing.since_ms, "why": standing.why })
}

impl Handler for App {
    async fn answer(&self, request: &Request<'_>) -> Reply {
        if request.method != "GET" {
            let mut refusal = Reply::error(405, 405, "HTTP 405 Method Not Allowed. Allowed here: GET");
            refusal.allow = Some("GET, HEAD".to_owned());
            return refusal;
        }
        match request.path {
            "/livez" => said(200, &json!({ "alive": true })),
            "/readyz" => self.ready(),
            "/version" => said(200, &json!({ "name": "replevin", "version": env!("CARGO_PKG_VERSION") })),
            "/status" => said(200, &json!(Status::of(&self.jobs))),
            path if path == self.path => {
                let body = Bytes::from(self.numbers.text(&self.jobs.list(), self.most));
                Reply { status: 200, content_type: metrics::TEXT, body, endpoint: None, allow: None }
            }
            _ => {
                let known = format!(
                    "HTTP 404 Not Found. Here are /livez, /readyz, /status, /version and {}",
                    self.path
                );
                Reply::error(404, 404, &known)
            }
        }
    }

    fn is_urgent(&self, _path: &str) -> bool {
        true
    }
}
