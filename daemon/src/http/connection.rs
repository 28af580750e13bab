//! One connection's stream, with its times: how long a client may be silent, take over its headers, and take to read an answer.
//!
//! ```text
//! Idle --first byte--> Head --headers complete--> Busy --last byte of the answer--> Idle
//! ```
//! [`State`] is how the side that answers tells this one where a request is. What hyper itself answers to broken requests has no body;
//! it is replaced on its way by the same status in JSON.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use registry::api;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::Limits;

/// A client that takes this much of an answer may take a second more over the rest.
const BYTES_A_SECOND: u64 = 64 << 10;
/// A client that was refused is listened to for so long, and so many bytes, for if the connection were closed while it still
/// sends, the answer would be lost with it.
const LINGER: Duration = Duration::from_secs(10);
const LINGER_BYTES: usize = 64 << 20;

const HEAD: u8 = Phase::Head as u8;
const BUSY: u8 = Phase::Busy as u8;
const SENDING: u8 = Phase::Sending as u8;

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests.
    Idle,
    /// Headers are on their way.
    Head,
    /// A request is answered.
    Busy,
    /// The answer is made, and is being sent.
    Sending,
}

/// Where a connection is, shared by its stream and by who answers. Both are parts of one task, so no order between its fields matters.
#[derive(Debug)]
pub(super) struct State {
    phase: AtomicU8,
    /// Since when it is between requests.
    idle: Mutex<Instant>,
    /// The client may still be sending what nobody reads.
    unread: AtomicBool,
}

impl Default for State {
    fn default() -> Self {
        let idle = Mutex::new(Instant::now());
        Self { phase: AtomicU8::new(Phase::Idle as u8), idle, unread: AtomicBool::new(false) }
    }
}

impl State {
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            HEAD => Phase::Head,
            BUSY => Phase::Busy,
            SENDING => Phase::Sending,
            _ => Phase::Idle,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// Whether it has been between requests for so long.
    pub(super) fn is_idle(&self, least: Duration) -> bool {
        self.phase() == Phase::Idle
            && self.idle.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > least
    }

    fn idle_since(&self, now: Instant) {
        self.enter(Phase::Idle);
        *self.idle.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// The body of a request will not be read to its end.
    pub(super) fn leave_unread(&self) {
        self.unread.store(true, Relaxed);
    }
}

/// A stream with times.
pub(super) struct Connection {
    stream: TcpStream,
    state: Arc<State>,
    limits: Limits,
    /// When waiting for a request ends.
    deadline: Instant,
    /// Wakes no later than that, and mostly earlier: to set a timer anew costs more than to look at the time now and then.
    reading: Pin<Box<Sleep>>,
    /// When waiting for the client to read an answer ends; set while it keeps us waiting.
    writing: Option<Pin<Box<Sleep>>>,
    /// Our words in place of hyper's, and how many of them are sent.
    instead: Option<(Vec<u8>, usize)>,
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, state: Arc<State>, limits: Limits) -> Self {
        // Who connects has something to say.
        let deadline = Instant::now() + limits.read;
        let reading = Box::pin(tokio::time::sleep(limits.read.min(limits.idle)));
        Self { stream, state, limits, deadline, reading, writing: None, instead: None, lingering: None }
    }

    /// Ready when the client has been silent for too long.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.reading.as_mut().poll(cx));
            let now = Instant::now();
            if now >= self.deadline {
                return Poll::Ready(());
            }
            // As short as the shortest wait, so that none that begins meanwhile is over before it wakes.
            let next = self.deadline.min(now + self.limits.read.min(self.limits.idle));
            self.reading.as_mut().reset(next);
        }
    }

    /// Writes, and fails when the client has kept us waiting for too long.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match write(Pin::new(&mut self.stream), cx) {
            Poll::Ready(Ok(written)) => {
                if let Some(timer) = &mut self.writing {
                    let bytes = u32::try_from(written).unwrap_or(u32::MAX);
                    let more = Duration::from_secs(1).mul_f64(f64::from(bytes) / BYTES_A_SECOND as f64);
                    let deadline = timer.deadline() + more;
                    timer.as_mut().reset(deadline);
                }
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                let limit = self.limits.write;
                let timer = self.writing.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Err(late("the client did not read its answer in time")))
            }
        }
    }

    /// Sends our words; what hyper wanted to send counts as sent.
    fn write_instead(&mut self, cx: &mut Context<'_>, taken: usize) -> Poll<io::Result<usize>> {
        while let Some((words, sent)) = self.instead.take() {
            let wrote = match words.get(sent..).filter(|rest| !rest.is_empty()) {
                None => {
                    self.instead = Some((words, sent));
                    return Poll::Ready(Ok(taken));
                }
                Some(rest) => self.write(cx, |stream, cx| stream.poll_write(cx, rest)),
            };
            match wrote {
                Poll::Ready(Ok(written)) => self.instead = Some((words, sent + written)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.instead = Some((words, sent));
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(taken))
    }

    /// Whether hyper speaks for itself: nobody was asked for an answer. Prepares what is said instead.
    fn speaks_for_itself(&mut self, first: &[u8]) -> bool {
        if !matches!(self.state.phase(), Phase::Idle | Phase::Head) {
            return false;
        }
        if self.instead.is_none() {
            let status = first.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
            let status = status.and_then(|digits| digits.parse().ok()).unwrap_or(400);
            let why = match status {
                431 => format!("The headers are larger than {} bytes, or too many", self.limits.head),
                414 => "The path is too long".to_owned(),
                _ => "This is not a request of HTTP/1.1".to_owned(),
            };
            self.state.leave_unread();
            self.instead = Some((refusal(status, &why), 0));
        }
        true
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buffer) {
            if buffer.filled().len() > before && self.state.phase() == Phase::Idle {
                self.state.enter(Phase::Head);
                self.deadline = Instant::now() + self.limits.read;
            }
            return Poll::Ready(read);
        }
        match self.state.phase() {
            // Bodies have a time of their own.
            Phase::Busy | Phase::Sending => Poll::Pending,
            Phase::Idle => {
                ready!(self.poll_late(cx));
                // As if the client had closed it.
                Poll::Ready(Ok(()))
            }
            Phase::Head => {
                ready!(self.poll_late(cx));
                refuse(&self.stream, 408, "The headers did not arrive in time");
                Poll::Ready(Err(late("the headers did not arrive in time")))
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        if self.speaks_for_itself(data) {
            return self.write_instead(cx, data.len());
        }
        self.write(cx, |stream, cx| stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.speaks_for_itself(parts.first().map_or(&[], |part| part)) {
            return self.write_instead(cx, parts.iter().map(|part| part.len()).sum());
        }
        self.write(cx, |stream, cx| stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when everything that hyper holds was written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.writing = None;
        if self.state.phase() == Phase::Sending {
            let now = Instant::now();
            self.state.idle_since(now);
            self.deadline = now + self.limits.idle;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
        if !self.state.unread.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        let (timer, heard) = this.lingering.get_or_insert_with(|| (Box::pin(tokio::time::sleep(LINGER)), 0));
        let mut space = [0; 16 << 10];
        loop {
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && *heard < LINGER_BYTES => {
                    *heard += buffer.filled().len();
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(timer.as_mut().poll(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

/// Says no without waiting: whoever does not read it now, does not get it.
pub(super) fn refuse(stream: &TcpStream, status: u16, why: &str) {
    let _ = stream.try_write(&refusal(status, why));
}

/// A whole answer that ends the connection.
fn refusal(status: u16, why: &str) -> Vec<u8> {
    let code = if status == 503 { 50001 } else { u32::from(status) };
    let body = api::error_body(code, why);
    let reason = hyper::StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let head = format!(
        "HTTP/1.1 {status} {}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        reason.unwrap_or("Error"),
        api::JSON,
        body.len(),
    );
    [head.as_bytes(), &body].concat()
}

fn late(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, why)
}
