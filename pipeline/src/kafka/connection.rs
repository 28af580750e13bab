//! One connection to one broker: requests go out in order, answers come back in the same order.
//!
//! Two small tasks own the stream. The writer takes whole frames from a short queue; the reader matches each answer with
//! the oldest outstanding request. So any future here may be dropped at any time without harm to the stream, and several
//! requests can be under way. Kafka itself handles the requests of one connection one after the other.
//!
//! Every wait is bounded: for the write and the body by progress, for an answer to begin by the request's own allowance,
//! which runs from the moment it was written or the answer before it had arrived. Payload waits for the byte budget
//! *before* its body is read, and that wait counts against no limit.
//!
//! A connection that failed once stays failed: every outstanding and later request gets an error that says why.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, pending};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::auth::Authenticator;
use super::config::{ClientConfig, HostPort};
use super::error::KafkaErrorCode;
use super::frame::{self, Chunks, Frame, api_name};
use super::stream::{Connector, Stream};
use super::versions::{ApiVersions, Versions};
use crate::budget::Budget;
use crate::{Error, ErrorKind, Result};

/// Requests that may wait for the writer. More are held back in their senders.
const QUEUE: usize = 16;

/// What counts as progress of a body within one `body_timeout`.
const PROGRESS: usize = 16 << 10;

/// How much of an answer may come along with its length.
const READ_AHEAD: usize = 4 << 10;

type Incoming = BufReader<ReadHalf<Box<dyn Stream>>>;

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The broker's id, unknown while bootstrapping.
    pub broker: Option<i32>,
    /// Its address.
    pub address: HostPort,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.broker {
            Some(broker) => write!(f, "broker {broker} ({})", self.address),
            None => write!(f, "bootstrap server {}", self.address),
        }
    }
}

/// Time limits and sizes, as [`ClientConfig`] has them.
#[derive(Debug, Clone)]
struct Limits {
    request_timeout: Duration,
    body_timeout: Duration,
    max_frame_bytes: usize,
}

/// A connection to a broker that has said which versions it speaks and has accepted us.
#[derive(Debug)]
pub struct Connection {
    shared: Arc<Shared>,
    versions: ApiVersions,
    queue: mpsc::Sender<(i32, Chunks)>,
    _tasks: [Task; 2],
}

impl Connection {
    /// Connects, asks for the versions and authenticates.
    ///
    /// # Errors
    /// Retriable where the broker may come back; permanent where the other end is no Kafka broker.
    pub async fn open(
        peer: Peer,
        config: &ClientConfig,
        connector: &dyn Connector,
        authenticator: &dyn Authenticator,
    ) -> Result<Self> {
        let stream = connector.connect(&peer.address, config.connect_timeout).await?;
        let mut connection = Self::start(peer, config, stream);
        let handshake = async {
            connection.versions = connection.negotiate().await?;
            authenticator.authenticate(&connection).await
        };
        match timeout(config.connect_timeout, handshake).await {
            Ok(done) => done?,
            Err(_) => {
                let limit = config.connect_timeout;
                return Err(Error::retry(format!(
                    "{}: no handshake within {limit:?}",
                    connection.shared.peer
                ))
                .hint("check that this is a PLAINTEXT listener of a Kafka broker"));
            }
        }
        tracing::debug!(peer = %connection.shared.peer, "connected");
        Ok(connection)
    }

    fn start(peer: Peer, config: &ClientConfig, stream: Box<dyn Stream>) -> Self {
        let shared = Arc::new(Shared {
            peer,
            client_id: config.client_id.clone(),
            limits: Limits {
                request_timeout: config.request_timeout,
                body_timeout: config.body_timeout,
                max_frame_bytes: config.max_frame_bytes,
            },
            state: Mutex::new(State { next_correlation: 0, waiting: VecDeque::new(), failure: None }),
            wake: Notify::new(),
        });
        let (reader, writer) = tokio::io::split(stream);
        let (queue, frames) = mpsc::channel(QUEUE);
        let tasks = [
            Task::spawn(Arc::clone(&shared), read_all(Arc::clone(&shared), reader)),
            Task::spawn(Arc::clone(&shared), write_all(Arc::clone(&shared), writer, frames)),
        ];
        Self { shared, versions: ApiVersions::default(), queue, _tasks: tasks }
    }

    /// Asks which versions the broker speaks: v3, and v0 where it does not know v3 (KIP-511).
    async fn negotiate(&self) -> Result<ApiVersions> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("replevin"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let answer = self.send(&request, 3, Duration::ZERO).await?;
        let frame = answer.frame().await?;
        if frame.get(4..6) != Some(&35_i16.to_be_bytes()[..]) {
            return self.accept(frame::decode::<ApiVersionsRequest>(frame, 3));
        }
        tracing::debug!(peer = %self.shared.peer, "the broker does not speak ApiVersions v3, asking with v0");
        let frame = self.send(&ApiVersionsRequest::default(), 0, Duration::ZERO).await?.frame().await?;
        let (code, versions) = ApiVersions::decode_v0(frame.slice(4..))
            .ok_or_else(|| self.not_kafka("the answer to ApiVersions v0 cannot be read"))?;
        match KafkaErrorCode::check(code) {
            None => Ok(versions),
            Some(code) => Err(code.to_error(format!("{}: ApiVersions v0", self.shared.peer), None)),
        }
    }

    fn accept(&self, response: Result<ApiVersionsResponse, frame::CodecError>) -> Result<ApiVersions> {
        let response = response.map_err(|error| {
            self.not_kafka("the answer to ApiVersions v3 cannot be read").caused_by(error)
        })?;
        if let Some(code) = KafkaErrorCode::check(response.error_code) {
            return Err(code.to_error(format!("{}: ApiVersions v3", self.shared.peer), None));
        }
        let ranges = response.api_keys.iter();
        Ok(ApiVersions::new(
            ranges.map(|api| (api.api_key, Versions { min: api.min_version, max: api.max_version })),
        ))
    }

    fn not_kafka(&self, why: &str) -> Error {
        Error::permanent(format!("{}: {why}", self.shared.peer))
            .hint("check that this is a listener of a Kafka broker")
    }

    /// The other end.
    pub fn peer(&self) -> &Peer {
        &self.shared.peer
    }

    /// What the broker offers.
    pub fn versions(&self) -> &ApiVersions {
        &self.versions
    }

    /// Whether requests can still be sent, as far as is known.
    pub fn is_alive(&self) -> bool {
        self.shared.state().failure.is_none()
    }

    /// The highest version of a request that both sides speak.
    ///
    /// # Errors
    /// None in common.
    pub fn version<R: Request>(&self) -> Result<i16> {
        self.versions.choose::<R>().map_err(|error| error.at(self.peer()))
    }

    /// Sends a request at the highest common version and waits for the answer.
    ///
    /// # Errors
    /// The connection's; error codes inside the answer are the caller's business.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Response> {
        self.call_patiently(request, Duration::ZERO).await
    }

    /// As [`Connection::call`], for a request that allows the broker to wait so long before it answers.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn call_patiently<R: Request>(
        &self,
        request: &R,
        broker_wait: Duration,
    ) -> Result<R::Response> {
        let version = self.version::<R>()?;
        self.send(request, version, broker_wait).await?.response().await
    }

    /// Sends a request at a version that the broker offers, without waiting for its answer. `broker_wait` is what the
    /// request itself allows the broker to wait before answering.
    ///
    /// # Errors
    /// The connection has failed, or the request cannot be encoded at this version.
    pub async fn send<R: Request>(
        &self,
        request: &R,
        version: i16,
        broker_wait: Duration,
    ) -> Result<Answer<R>> {
        self.send_charged(request, version, broker_wait, None).await
    }

    /// As [`Connection::send`]; the answer's body is read only once its bytes are admitted to the budget, and the charge is
    /// tied to the answer's buffer.
    pub(super) async fn send_charged<R: Request>(
        &self,
        request: &R,
        version: i16,
        broker_wait: Duration,
        budget: Option<&Budget>,
    ) -> Result<Answer<R>> {
        let frame = Frame::encode(request, version, &self.shared.client_id).map_err(|error| {
            let api = api_name(R::KEY);
            Error::permanent(format!("{}: cannot encode {api} v{version}", self.shared.peer)).caused_by(error)
        })?;
        self.send_frame(frame, version, broker_wait, budget).await
    }

    /// Sends a frame made elsewhere.
    pub(super) async fn send_frame<R: Request>(
        &self,
        frame: Frame,
        version: i16,
        broker_wait: Duration,
        budget: Option<&Budget>,
    ) -> Result<Answer<R>> {
        let call = |correlation| Call { api: R::KEY, version, correlation };
        let Ok(permit) = self.queue.reserve().await else {
            return Err(self.shared.error(&call(-1)));
        };
        let (sender, receiver) = oneshot::channel();
        // One lock from the number to the queue: answers are matched by order.
        let mut state = self.shared.state();
        if state.failure.is_some() {
            drop(state);
            return Err(self.shared.error(&call(-1)));
        }
        let correlation = state.next_correlation;
        state.next_correlation = correlation.checked_add(1).unwrap_or(0);
        state.waiting.push_back(Waiting {
            call: call(correlation),
            written: None,
            allowance: self.shared.limits.request_timeout.saturating_add(broker_wait),
            budget: budget.cloned(),
            answer: sender,
        });
        permit.send((correlation, frame.stamp(correlation)));
        drop(state);
        Ok(Answer {
            receiver,
            shared: Arc::clone(&self.shared),
            call: call(correlation),
            request: PhantomData,
        })
    }

    /// The client id that frames made elsewhere must carry.
    pub(super) fn client_id(&self) -> &str {
        &self.shared.client_id
    }
}

/// An answer that is still to come.
#[derive(Debug)]
pub struct Answer<R> {
    receiver: oneshot::Receiver<Bytes>,
    shared: Arc<Shared>,
    call: Call,
    request: PhantomData<fn() -> R>,
}

impl<R: Request> Answer<R> {
    /// Waits for the answer and decodes it. May be dropped: the answer is then read and thrown away.
    ///
    /// # Errors
    /// The connection failed, or the answer cannot be decoded.
    pub async fn response(mut self) -> Result<R::Response> {
        self.wait().await
    }

    /// As [`Answer::response`]; a call that is dropped while it waits may be made again.
    pub(super) async fn wait(&mut self) -> Result<R::Response> {
        let frame = self.receive().await?;
        frame::decode::<R>(frame, self.call.version).map_err(|error| {
            Error::permanent(format!("{}: the answer to {} cannot be read", self.shared.peer, self.call))
                .caused_by(error)
        })
    }

    /// The undecoded answer, from its correlation id on.
    async fn frame(mut self) -> Result<Bytes> {
        self.receive().await
    }

    async fn receive(&mut self) -> Result<Bytes> {
        (&mut self.receiver).await.map_err(|_| self.shared.error(&self.call))
    }
}

/// Which request something is about.
#[derive(Debug, Clone, Copy)]
struct Call {
    api: i16,
    version: i16,
    correlation: i32,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{}", api_name(self.api), self.version)?;
        if self.correlation >= 0 { write!(f, ", correlation {}", self.correlation) } else { Ok(()) }
    }
}

#[derive(Debug)]
struct Shared {
    peer: Peer,
    client_id: String,
    limits: Limits,
    state: Mutex<State>,
    /// Told to the reader: the oldest request, and with it the time limit, has changed.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    next_correlation: i32,
    waiting: VecDeque<Waiting>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Waiting {
    call: Call,
    written: Option<Instant>,
    allowance: Duration,
    budget: Option<Budget>,
    answer: oneshot::Sender<Bytes>,
}

/// Why a connection is no more.
#[derive(Debug, Clone)]
struct Failure {
    kind: ErrorKind,
    why: String,
    hint: Option<&'static str>,
}

impl Failure {
    fn lost(why: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Retry, why: why.into(), hint: None }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here is left half changed by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails the connection. The first reason stays.
    fn fail(&self, failure: Failure) {
        let mut state = self.state();
        if state.failure.is_none() {
            let outstanding = state.waiting.len();
            tracing::debug!(peer = %self.peer, outstanding, why = %failure.why, "connection lost");
            state.failure = Some(failure);
        }
        // Dropping the senders wakes the receivers, which then look at the failure.
        state.waiting.clear();
    }

    fn error(&self, call: &Call) -> Error {
        let failure =
            self.state().failure.clone().unwrap_or_else(|| Failure::lost("the connection was closed here"));
        let error = Error::new(failure.kind, format!("{}: {} failed: {}", self.peer, call, failure.why));
        match failure.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }

    /// When the oldest request must have been answered. None where nothing is being waited for.
    fn due(&self, previous: Instant) -> Option<Instant> {
        let state = self.state();
        let oldest = state.waiting.front()?;
        Some(oldest.written?.max(previous) + oldest.allowance)
    }

    /// What the oldest request has done by not being answered in time.
    fn overdue(&self) -> Failure {
        let why = self.state().waiting.front().map_or_else(
            || "no answer in time".to_owned(),
            |oldest| format!("no answer to {} within {:?}", oldest.call, oldest.allowance),
        );
        Failure::lost(why)
    }
}

/// A task that ends with its connection. However it ends, nobody is left waiting.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Task {
    fn spawn(shared: Arc<Shared>, work: impl Future<Output = Failure> + Send + 'static) -> Self {
        // Made here, so that it is dropped even with a task that never ran.
        let end = FailOnDrop(shared);
        Self(tokio::spawn(async move { end.0.fail(work.await) }))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct FailOnDrop(Arc<Shared>);

impl Drop for FailOnDrop {
    fn drop(&mut self) {
        self.0.fail(Failure::lost("the connection was closed here"));
    }
}

async fn write_all(
    shared: Arc<Shared>,
    mut stream: WriteHalf<Box<dyn Stream>>,
    mut frames: mpsc::Receiver<(i32, Chunks)>,
) -> Failure {
    while let Some((correlation, mut frame)) = frames.recv().await {
        while frame.has_remaining() {
            match timeout(shared.limits.body_timeout, stream.write_buf(&mut frame)).await {
                Ok(Ok(0)) => return Failure::lost("the connection takes no more bytes"),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Failure::lost(format!("write failed: {error}")),
                Err(_) => {
                    let limit = shared.limits.body_timeout;
                    return Failure::lost(format!("the broker took no bytes of a request for {limit:?}"));
                }
            }
        }
        if let Err(error) = stream.flush().await {
            return Failure::lost(format!("write failed: {error}"));
        }
        let mut state = shared.state();
        // Not there any more where the broker was quicker than this task.
        let place = state.waiting.iter().position(|waiting| waiting.call.correlation == correlation);
        if let Some(waiting) = place.and_then(|place| state.waiting.get_mut(place)) {
            waiting.written = Some(Instant::now());
        }
        drop(state);
        // The reader looks at the oldest only; for the others it looks again when their turn comes.
        if place == Some(0) {
            shared.wake.notify_one();
        }
    }
    Failure::lost("the connection was closed here")
}

async fn read_all(shared: Arc<Shared>, stream: ReadHalf<Box<dyn Stream>>) -> Failure {
    // Small answers come with their length in one call to the system; large bodies are read past the buffer.
    let mut stream = BufReader::with_capacity(READ_AHEAD, stream);
    loop {
        if let Err(failure) = read_one(&shared, &mut stream).await {
            return failure;
        }
    }
}

async fn read_one(shared: &Shared, stream: &mut Incoming) -> Result<(), Failure> {
    let length = read_length(shared, stream).await?;
    let budget = match shared.state().waiting.front() {
        Some(oldest) => oldest.budget.clone(),
        None => {
            return Err(Failure::lost(format!("the broker sent {length} bytes that nobody had asked for")));
        }
    };
    let frame = match budget {
        Some(budget) => {
            let (charge, room) = budget.admit_buffer(length).await;
            charge.attach(read_body(shared, stream, length, room).await?)
        }
        None => Bytes::from(read_body(shared, stream, length, Vec::with_capacity(length)).await?),
    };
    let correlation = frame.first_chunk().map_or(-1, |bytes| i32::from_be_bytes(*bytes));
    let mut state = shared.state();
    match state.waiting.pop_front() {
        Some(oldest) if oldest.call.correlation == correlation => {
            // A caller that went away does not want it any more.
            let _ = oldest.answer.send(frame);
            Ok(())
        }
        Some(oldest) => {
            let why =
                format!("an answer with correlation {correlation} came instead of that to {}", oldest.call);
            state.waiting.push_front(oldest);
            Err(Failure::lost(why))
        }
        None => Err(Failure::lost("an answer came after its request was given up")),
    }
}

/// Waits for an answer and reads its length. Also notices that an idle connection was closed.
async fn read_length(shared: &Shared, stream: &mut Incoming) -> Result<usize, Failure> {
    let previous = Instant::now();
    let mut bytes = [0; 4];
    let mut have = 0;
    while have < bytes.len() {
        let due = shared.due(previous);
        let expired = async {
            match due {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        tokio::select! {
            read = stream.read(&mut bytes[have..]) => match read {
                Ok(0) => return Err(Failure::lost("the broker closed the connection")),
                Ok(count) => have += count,
                Err(error) => return Err(Failure::lost(format!("read failed: {error}"))),
            },
            () = expired => return Err(shared.overdue()),
            () = shared.wake.notified() => {}
        }
    }
    let length = i32::from_be_bytes(bytes);
    let max = shared.limits.max_frame_bytes;
    usize::try_from(length).ok().filter(|length| (4..=max).contains(length)).ok_or_else(|| Failure {
        kind: ErrorKind::Permanent,
        why: format!("the broker announces an answer of {length} bytes, but 4 to {max} are accepted"),
        hint: Some(match bytes {
            [0x15, 3, ..] => "this looks like a TLS listener, but the client speaks plaintext",
            [b'H', b'T', b'T', b'P'] => "this looks like an HTTP server",
            _ => "check that this is a Kafka listener, or raise max_frame_bytes",
        }),
    })
}

async fn read_body(
    shared: &Shared,
    stream: &mut Incoming,
    length: usize,
    mut body: Vec<u8>,
) -> Result<Vec<u8>, Failure> {
    let limit = shared.limits.body_timeout;
    while body.len() < length {
        let until = length.min(body.len() + PROGRESS);
        let progress = async {
            while body.len() < until {
                let room = length - body.len();
                match stream.take(room as u64).read_buf(&mut body).await {
                    Ok(0) => return Err("the broker closed the connection".to_owned()),
                    Ok(_) => {}
                    Err(error) => return Err(format!("read failed: {error}")),
                }
            }
            Ok(())
        };
        let why = match timeout(limit, progress).await {
            Ok(Ok(())) => continue,
            Ok(Err(why)) => why,
            Err(_) => format!("no progress for {limit:?}"),
        };
        return Err(Failure::lost(format!("{why} after {} of {length} bytes of an answer", body.len())));
    }
    Ok(body)
}
