//! The HTTP server: sockets and limits. What is answered is decided elsewhere.
//!
//! A client that is slow, silent or endless costs one connection and no more: headers, bodies and answers have time limits, bodies
//! and connections have bounds. Everything is answered in JSON, refusals too.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use pipeline::{Error, Result};
use registry::api::{self, Api};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 4096;
/// Bytes of a request's line and headers.
const HEADER_BYTES: usize = 64 << 10;

/// What a server allows.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of a body.
    pub(crate) body: usize,
    /// How long a request's headers, and after that its body, may take to arrive; also how long a connection may be silent.
    pub(crate) read: Duration,
    /// How long an answer may take to be made.
    pub(crate) answer: Duration,
    /// How long requests may go on once the server is told to stop.
    pub(crate) shutdown: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let half = Duration::from_secs(30);
        Self { body: 10 << 20, read: half, answer: half, shutdown: half }
    }
}

/// Serves a registry until it is told to stop; what was begun is finished first.
///
/// # Errors
/// None once it listens: a connection that fails is its client's affair.
pub(crate) async fn serve(
    listener: TcpListener,
    api: Arc<Api>,
    limits: Limits,
    stop: CancellationToken,
) -> Result<()> {
    let limits = Arc::new(limits);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let place = place.map_err(|e| Error::permanent("the server has lost its limits").caused_by(e))?;
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // Small answers must not wait for each other.
        let _ = stream.set_nodelay(true);
        let (api, limits, stop) = (Arc::clone(&api), Arc::clone(&limits), stop.clone());
        connections.spawn(async move {
            let _place = place;
            let read = limits.read;
            let service = service_fn(move |request| {
                let (api, limits) = (Arc::clone(&api), Arc::clone(&limits));
                async move { Ok::<_, Infallible>(respond(&api, &limits, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(read)
                .max_buf_size(HEADER_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%client, %error, "a connection ended in an error");
            }
        });
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.shutdown, rest).await.is_err() {
        tracing::warn!("requests that took too long were given up");
    }
    Ok(())
}

async fn respond(api: &Api, limits: &Limits, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let answered = async {
        let read = match tokio::time::timeout(limits.read, read(request, limits.body)).await {
            Ok(read) => read,
            Err(_) => Err((408, "The body did not arrive in time")),
        };
        match read {
            Ok(request) => tokio::time::timeout(limits.answer, api.answer(&request)).await.map_err(|_| {
                (
                    503,
                    "The answer took too long; what was asked for may still happen. Look before trying again",
                )
            }),
            Err(refused) => Err(refused),
        }
    };
    match answered.await {
        Ok(answer) => response(answer.status, answer.content_type, answer.body),
        Err((status, why)) => response(status, api::JSON, api::error_body(u32::from(status), why)),
    }
}

async fn read(
    request: Request<Incoming>,
    limit: usize,
) -> std::result::Result<api::Request, (u16, &'static str)> {
    let header = |name| request.headers().get(&name).and_then(|value: &HeaderValue| value.to_str().ok());
    let (accept, content_type) = (header(ACCEPT).map(str::to_owned), header(CONTENT_TYPE).map(str::to_owned));
    let (parts, body) = request.into_parts();
    let has_body = !matches!(parts.method, Method::GET | Method::HEAD);
    let body = if has_body {
        match Limited::new(body, limit).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => return Err((413, "The body is too large")),
            Err(_) => return Err((400, "The body ended before it was complete")),
        }
    } else {
        Bytes::new()
    };
    Ok(api::Request {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or("").to_owned(),
        accept,
        content_type,
        body,
    })
}

fn response(status: u16, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
