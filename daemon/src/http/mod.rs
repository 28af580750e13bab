//! The HTTP server: sockets and limits. What is answered is decided elsewhere, behind [`Handler`].
//!
//! ```text
//! listener -> place -> connection.rs (times of reading and writing) -> hyper -> respond.rs (bodies, panics, time) -> Handler
//! ```
//! A client that is slow, silent or endless costs one connection and no more: headers, bodies, making answers and sending them have
//! time limits, bodies and connections have bounds, each alone and all together. When all places are taken, connections that are idle
//! are closed, and a few further places answer who asks for health and metrics; others are told so. Everything is answered in JSON,
//! refusals too, also those that hyper makes of what is no HTTP.

pub(crate) mod client;
mod connection;
mod respond;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use registry::api;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use connection::{Connection, State};
use respond::Budget;

/// Connections beyond the others', for health and metrics alone.
const RESERVED: usize = 16;
/// How long such a connection may take over anything.
const RESERVED_TIME: Duration = Duration::from_secs(5);
/// Files that are not connections: stores, logs, libraries.
const OTHER_FILES: usize = 128;
/// Idle connections are closed for lack of places only after so long: a client may be about to go on.
const SHORTLY: Duration = Duration::from_secs(1);
/// Between two times that all connections are asked whether they are idle.
const ROOM_PAUSE: Duration = Duration::from_millis(100);

/// Who asks for numbers and health is not many.
pub(crate) const FEW: Limits = Limits {
    body: 64 << 10,
    bodies: 16 << 20,
    head: 64 << 10,
    connections: 64,
    read: Duration::from_secs(10),
    write: Duration::from_secs(30),
    idle: Duration::from_secs(120),
    shutdown: Duration::from_secs(1),
};

/// What a server allows.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Bytes of a body.
    pub(crate) body: usize,
    /// Bytes of large bodies of requests in memory at once, and the same of answers.
    pub(crate) bodies: usize,
    /// Bytes of a request's line and headers.
    pub(crate) head: usize,
    /// Connections at once.
    pub(crate) connections: usize,
    /// How long a request's headers, and after that its body, may take to arrive.
    pub(crate) read: Duration,
    /// How long an answer may take to be made, and after that to be read by the client: with a second more for each 64 KiB.
    pub(crate) write: Duration,
    /// How long a connection may be silent between requests.
    pub(crate) idle: Duration,
    /// How long requests may go on once the server is told to stop.
    pub(crate) shutdown: Duration,
}

/// An answer, and what HTTP says beside it.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Bytes,
    /// What the request was taken for, if anything.
    pub(crate) endpoint: Option<api::Endpoint>,
    /// The methods that the path knows, where the request's is not one of them or asked for them.
    pub(crate) allow: Option<String>,
}

impl Reply {
    /// An error's body, under the status that its number says.
    pub(crate) fn error(status: u16, code: u32, message: &str) -> Self {
        let body = api::error_body(code, message);
        Self { status, content_type: api::JSON, body, endpoint: None, allow: None }
    }
}

/// What a request was and what became of it.
#[derive(Debug)]
pub(crate) struct Served<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) endpoint: Option<api::Endpoint>,
    pub(crate) status: u16,
    /// Bytes of the body of the answer.
    pub(crate) bytes: usize,
    pub(crate) elapsed: Duration,
    /// The request's own id, or the one that it was given.
    pub(crate) request_id: &'a str,
}

/// Answers requests, and is told what became of them.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers a request that was read whole. `HEAD` comes as `GET`.
    fn answer(&self, request: &api::Request<'_>) -> impl Future<Output = Reply> + Send;

    /// Whether a path is answered when there is place for nothing else.
    fn is_urgent(&self, path: &str) -> bool;

    /// A request begins (1) or ends (-1).
    fn in_flight(&self, _change: i64) {}

    /// A request was answered.
    fn served(&self, _served: &Served<'_>) {}

    /// A connection was opened (1) or closed (-1).
    fn connections(&self, _change: i64) {}
}

/// What all connections of a server share.
struct Shared<H> {
    handler: Arc<H>,
    limits: Limits,
    /// Room for bodies of requests and of answers.
    requests: Budget,
    answers: Budget,
    /// Tells idle connections that others wait for their places.
    crowded: Notify,
}

impl<H> Shared<H> {
    /// Asks idle connections to go, but not so often that the asking itself keeps the process busy.
    fn make_room(&self, asked: &mut Option<Instant>) {
        let now = Instant::now();
        if asked.is_none_or(|last| now.duration_since(last) >= ROOM_PAUSE) {
            *asked = Some(now);
            self.crowded.notify_waiters();
        }
    }
}

/// Raises the number of files that this process may open as far as it may itself, and says how many connections fit.
pub(crate) fn places(wanted: usize) -> usize {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let needed = u64::try_from(wanted + RESERVED + OTHER_FILES).unwrap_or(u64::MAX);
    let raised = needed.min(hard).max(soft);
    let files =
        if soft < needed && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() { raised } else { soft };
    let files = usize::try_from(files).unwrap_or(usize::MAX);
    wanted.min(files.saturating_sub(RESERVED + OTHER_FILES)).max(1)
}

/// Serves until it is told to stop; what was begun is finished first.
pub(crate) async fn serve<H: Handler>(
    listener: TcpListener,
    handler: Arc<H>,
    limits: Limits,
    stop: CancellationToken,
) {
    let (places, reserved) =
        (Arc::new(Semaphore::new(limits.connections)), Arc::new(Semaphore::new(RESERVED)));
    let shared = Arc::new(Shared {
        handler,
        requests: Budget::new(limits.bodies),
        answers: Budget::new(limits.bodies),
        crowded: Notify::new(),
        limits,
    });
    let mut connections = JoinSet::new();
    let mut asked = None;
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: others must end first.
                tracing::warn!(%error, "a connection could not be accepted");
                shared.make_room(&mut asked);
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => Place { _permit: place, is_reserved: false },
            Err(_) => {
                shared.make_room(&mut asked);
                match Arc::clone(&reserved).try_acquire_owned() {
                    Ok(place) => Place { _permit: place, is_reserved: true },
                    Err(_) => {
                        connection::refuse(&stream, 503, respond::NO_PLACE);
                        continue;
                    }
                }
            }
        };
        connections.spawn(serve_one(Arc::clone(&shared), stream, place, stop.clone()));
    }
    drop(listener);
    let rest = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(shared.limits.shutdown, rest).await.is_err() {
        tracing::warn!("requests that took too long were given up");
    }
}

/// What a connection holds while it lasts.
struct Place {
    _permit: OwnedSemaphorePermit,
    is_reserved: bool,
}

async fn serve_one<H: Handler>(
    shared: Arc<Shared<H>>,
    stream: TcpStream,
    place: Place,
    stop: CancellationToken,
) {
    shared.handler.connections(1);
    // Small answers must not wait for each other.
    let _ = stream.set_nodelay(true);
    let mut limits = shared.limits.clone();
    if place.is_reserved {
        limits.read = limits.read.min(RESERVED_TIME);
        limits.write = limits.write.min(RESERVED_TIME);
        limits.idle = limits.read;
    }
    let state = Arc::new(State::default());
    let head = limits.head;
    let connection = Connection::new(stream, Arc::clone(&state), limits);
    let service = {
        let (shared, state) = (Arc::clone(&shared), Arc::clone(&state));
        service_fn(move |request| {
            let (shared, state) = (Arc::clone(&shared), Arc::clone(&state));
            let urgent_only = place.is_reserved;
            async move { Ok::<_, Infallible>(respond::respond(&shared, &state, urgent_only, request).await) }
        })
    };
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // Times are kept by the connection, which can also say so to the client.
        .header_read_timeout(None)
        .max_buf_size(head)
        .keep_alive(!place.is_reserved)
        .serve_connection(TokioIo::new(connection), service);
    let mut served = std::pin::pin!(served);
    let mut stopping = false;
    let ended = loop {
        tokio::select! {
            ended = served.as_mut() => break ended,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
            () = shared.crowded.notified(), if !stopping => {
                if state.is_idle(SHORTLY) {
                    stopping = true;
                    served.as_mut().graceful_shutdown();
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in an error");
    }
    shared.handler.connections(-1);
}
