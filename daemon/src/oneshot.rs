//! A job with an end that is watched: while it runs its numbers can be asked for, and they are pushed to a Pushgateway, also when it is
//! over, since nobody asks then. Where the file's `metrics` section says nothing, neither is done. Whatever goes wrong here is said,
//! and never ends the job.

mod push;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pipeline::Result;
use registry::api::{self, Request};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Metrics;
use crate::exit;
use crate::http::{self, Handler, Reply};
use crate::metrics::{self, OneShotNumbers, Watched};
use push::Pushgateway;

/// Runs a job that ends with an exit code, and tells of it where its file asks for that.
pub(crate) async fn told(
    place: Option<&Metrics>,
    watched: Watched,
    run: impl Future<Output = Result<u8>>,
) -> Result<u8> {
    let telling = match place.filter(|place| place.is_asked_for) {
        Some(place) => Some(Telling::begin(place, watched).await),
        None => None,
    };
    let done = run.await;
    if let Some(telling) = telling {
        telling.end(done.as_ref().map_or_else(|error| exit::code(error.kind()), |code| *code)).await;
    }
    done
}

/// A job that is told of.
struct Telling {
    numbers: Arc<OneShotNumbers>,
    pushgateway: Option<Arc<Pushgateway>>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Telling {
    /// The job begins.
    async fn begin(place: &Metrics, watched: Watched) -> Self {
        let numbers = Arc::new(OneShotNumbers::new(watched, place.most));
        let (stop, mut tasks) = (CancellationToken::new(), Vec::new());
        match TcpListener::bind((place.host.as_str(), place.port)).await {
            Ok(listener) => {
                let address = listener.local_addr().ok();
                tracing::info!(address = address.map(|address| address.to_string()), "numbers are told");
                let app = App { numbers: Arc::clone(&numbers), path: place.path.clone() };
                tasks.push(tokio::spawn(http::serve(listener, Arc::new(app), http::FEW, stop.clone())));
            }
            Err(error) => {
                let (host, port) = (&place.host, place.port);
                tracing::warn!(%error, host, port, "numbers cannot be asked for: choose another metrics.bind_address or metrics.port");
            }
        }
        let pushgateway =
            place.push.as_ref().and_then(|push| match Pushgateway::new(push, &numbers.watched) {
                Ok(pushgateway) => Some(Arc::new(pushgateway)),
                Err(error) => {
                    tracing::warn!(%error, url = push.url, "numbers are not pushed");
                    None
                }
            });
        if let (Some(push), Some(pushgateway)) = (&place.push, &pushgateway) {
            let pushing =
                keep_pushing(Arc::clone(pushgateway), Arc::clone(&numbers), push.interval, stop.clone());
            tasks.push(tokio::spawn(pushing));
        }
        Self { numbers, pushgateway, stop, tasks }
    }

    /// The job has ended with this exit code, which is pushed.
    async fn end(self, code: u8) {
        self.numbers.ended(code);
        self.stop.cancel();
        for task in self.tasks {
            let _ = task.await;
        }
        if let Some(pushgateway) = self.pushgateway {
            pushgateway.push_at_the_end(&self.numbers).await;
        }
    }
}

async fn keep_pushing(
    pushgateway: Arc<Pushgateway>,
    numbers: Arc<OneShotNumbers>,
    interval: Duration,
    stop: CancellationToken,
) {
    let mut has_failed = false;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            pushed = pushgateway.push(numbers.text()) => {
                // Once is enough: it is tried again and again.
                if let Err(error) = &pushed && !has_failed {
                    tracing::warn!(error, "numbers were not pushed; they are again later");
                }
                has_failed = pushed.is_err();
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}

/// What is answered.
struct App {
    numbers: Arc<OneShotNumbers>,
    path: String,
}

impl Handler for App {
    async fn answer(&self, request: &Request<'_>) -> Reply {
        if request.method != "GET" {
            let mut refusal = Reply::error(405, 405, "HTTP 405 Method Not Allowed. Allowed here: GET");
            refusal.allow = Some("GET, HEAD".to_owned());
            return refusal;
        }
        let said = |content_type, body: String| Reply {
            status: 200,
            content_type,
            body: Bytes::from(body),
            endpoint: None,
            allow: None,
        };
        match request.path {
            "/livez" | "/readyz" => said(api::JSON, json!({ "alive": true }).to_string()),
            "/version" => said(
                api::JSON,
                json!({ "name": "replevin", "version": env!("CARGO_PKG_VERSION") }).to_string(),
            ),
            path if path == self.path => said(metrics::TEXT, self.numbers.text()),
            _ => {
                let known =
                    format!("HTTP 404 Not Found. Here are /livez, /readyz, /version and {}", self.path);
                Reply::error(404, 404, &known)
            }
        }
    }

    fn is_urgent(&self, _path: &str) -> bool {
        true
    }
}
