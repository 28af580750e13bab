//! From hyper's request to an answer: the body is read within its bounds, the handler asked within its time, and whatever goes wrong
//! is answered in words.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, VARY};
use hyper::{Method, Request, Response, StatusCode};
use registry::api;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::connection::{Phase, State};
use super::{Handler, Reply, Served, Shared};

/// Said where all places are taken.
pub(super) const NO_PLACE: &str = "There are too many connections. Try again";
/// The first bytes of every body cost nothing: the number of connections bounds them.
const FREE: usize = 16 << 10;
/// Room is asked for in steps of this, and counted in KiB.
const STEP: usize = 256 << 10;
/// How long to wait for room. Who waits holds memory already, so this is short.
const ROOM_TIME: Duration = Duration::from_secs(1);
const FORWARDED: HeaderName = HeaderName::from_static(api::FORWARD_HEADER);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of a request's own id that are given back.
const LONGEST_ID: usize = 128;

/// Room for bodies in memory.
pub(super) struct Budget {
    room: Arc<Semaphore>,
    all: u32,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        let all = u32::try_from(bytes >> 10).unwrap_or(u32::MAX >> 4).max(1);
        Self { room: Arc::new(Semaphore::new(usize::try_from(all).unwrap_or(1))), all }
    }

    /// Takes room for so many bytes, or for as many as there are at all.
    async fn take(&self, bytes: usize, limit: Duration) -> Option<OwnedSemaphorePermit> {
        let wanted = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(self.all);
        let taken = tokio::time::timeout(limit, Arc::clone(&self.room).acquire_many_owned(wanted)).await;
        taken.ok()?.ok()
    }
}

/// Bytes with the room that they take, which is free again when they are sent.
struct Held {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Counts a request for as long as it is answered, however that ends.
struct InFlight<'a, H: Handler>(&'a H);

impl<'a, H: Handler> InFlight<'a, H> {
    fn new(handler: &'a H) -> Self {
        handler.in_flight(1);
        Self(handler)
    }
}

impl<H: Handler> Drop for InFlight<'_, H> {
    fn drop(&mut self) {
        self.0.in_flight(-1);
    }
}

/// Answers a request.
pub(super) async fn respond<H: Handler>(
    shared: &Shared<H>,
    state: &State,
    urgent_only: bool,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let started = Instant::now();
    state.enter(Phase::Busy);
    let _in_flight = InFlight::new(&*shared.handler);
    let (parts, body) = request.into_parts();
    let id = request_id(parts.headers.get(&REQUEST_ID));
    let (mut reply, is_read) = match answered(shared, urgent_only, &parts, body).await {
        Ok(reply) => (reply, true),
        Err(Refused { reply, is_read }) => (reply, is_read),
    };
    if !is_read {
        state.leave_unread();
    }
    if reply.body.len() > FREE {
        match shared.answers.take(reply.body.len(), ROOM_TIME).await {
            Some(room) => reply.body = Bytes::from_owner(Held { bytes: reply.body, _room: room }),
            None => reply = busy("Too many large answers are being read by slow clients. Try again"),
        }
    }
    shared.handler.served(&Served {
        method: &parts.method,
        path: parts.uri.path(),
        endpoint: reply.endpoint,
        status: reply.status,
        bytes: reply.body.len(),
        elapsed: started.elapsed(),
        request_id: id.to_str().unwrap_or(""),
    });
    let response = response(reply, id, is_read);
    state.enter(Phase::Sending);
    response
}

/// Why a request was not handled, and whether its body was read.
struct Refused {
    reply: Reply,
    is_read: bool,
}

async fn answered<H: Handler>(
    shared: &Shared<H>,
    urgent_only: bool,
    parts: &hyper::http::request::Parts,
    body: Incoming,
) -> Result<Reply, Refused> {
    let path = parts.uri.path();
    let has_body = !body.is_end_stream();
    let unread = |reply| Refused { reply, is_read: !has_body };
    if urgent_only && !shared.handler.is_urgent(path) {
        return Err(unread(busy(NO_PLACE)));
    }
    let reading = within(shared.limits.read, std::pin::pin!(read(shared, body))).await;
    let body = match reading {
        Some(body) => body.map_err(unread)?,
        None => return Err(unread(Reply::error(408, 408, "The body did not arrive in time"))),
    };
    let header = |name| parts.headers.get(&name).and_then(|value: &HeaderValue| value.to_str().ok());
    let is_head = parts.method == Method::HEAD;
    let request = api::Request {
        method: if is_head { "GET" } else { parts.method.as_str() },
        path,
        query: parts.uri.query().unwrap_or(""),
        accept: header(ACCEPT),
        content_type: header(CONTENT_TYPE),
        is_forwarded: parts.headers.contains_key(&FORWARDED),
        body: body.bytes,
    };
    let answer = std::pin::pin!(AssertUnwindSafe(shared.handler.answer(&request)).catch_unwind());
    let reply = match within(shared.limits.write, answer).await {
        Some(Ok(reply)) => reply,
        Some(Err(_)) => {
            tracing::error!(method = %parts.method, path, "the answer to a request panicked");
            let why = "The registry failed at this request, which is a fault of its own. Its log says where";
            Reply::error(500, 50001, why)
        }
        None => Reply::error(
            500,
            50002,
            "The answer took too long; what was asked for may still happen. Look before trying again",
        ),
    };
    Ok(reply)
}

/// What comes of it, or nothing where that takes longer. Most is there at once, and then no clock is looked at.
async fn within<T>(limit: Duration, mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match futures::poll!(future.as_mut()) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => tokio::time::timeout(limit, future).await.ok(),
    }
}

/// A body, with its room for as long as the request is handled.
struct Read {
    bytes: Bytes,
    _room: Vec<OwnedSemaphorePermit>,
}

async fn read<H>(shared: &Shared<H>, mut body: Incoming) -> Result<Read, Reply> {
    let limit = shared.limits.body;
    let too_large = || Reply::error(413, 413, &format!("The body is larger than {limit} bytes"));
    // What a client announces is refused before it is read, or even asked for.
    if usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX) > limit {
        return Err(too_large());
    }
    let (mut bytes, mut room, mut held) = (BytesMut::new(), Vec::new(), FREE);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Reply::error(400, 400, "The body ended before it was complete"))?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(too_large());
        }
        while bytes.len() + data.len() > held {
            let step = STEP.min(limit.saturating_sub(held)).max(1 << 10);
            let taken = shared.requests.take(step, ROOM_TIME).await;
            room.push(taken.ok_or_else(|| busy("Too many large requests are being read. Try again"))?);
            held += step;
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Read { bytes: bytes.freeze(), _room: room })
}

/// There is no room now; there may be soon.
fn busy(why: &str) -> Reply {
    Reply::error(503, 50001, why)
}

/// The request's own id where that is a short text, or a new one.
fn request_id(given: Option<&HeaderValue>) -> HeaderValue {
    let fits = |value: &&HeaderValue| value.to_str().is_ok() && (1..=LONGEST_ID).contains(&value.len());
    given.filter(fits).cloned().unwrap_or_else(|| {
        let mut text = uuid::Uuid::encode_buffer();
        let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
        // Digits and dashes.
        HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
    })
}

fn response(reply: Reply, id: HeaderValue, is_read: bool) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(REQUEST_ID, id);
    if let Some(allow) = reply.allow.and_then(|allow| HeaderValue::from_str(&allow).ok()) {
        headers.insert(ALLOW, allow);
    }
    if reply.status == 503 {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if !is_read {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
