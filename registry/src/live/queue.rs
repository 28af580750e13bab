//! What waits to be written: a queue a context, with a bound, and a task as long as something waits in it.

use super::Live;
use super::write::Draft;
use crate::error::{Error, Result};
use crate::names::Context;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// What may wait for one context, in KiB; a request counts as [`LEAST`] at least, so that there are no more than 4,096.
const PLACES: u32 = 64 << 10;
const LEAST: usize = 16;
/// What was read of a schema is about so many times as large as its text.
const GROWTH: usize = 6;
/// How long to wait for a place.
const PATIENCE: Duration = Duration::from_secs(10);
/// Decisions in one commit, and bytes of their texts.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 4 << 20;

/// What a decision looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Its own subject, and what stays true whatever is registered under others.
    Subject(Arc<str>),
    /// More than that.
    Context,
}

/// A decision that waits for its turn.
pub(super) struct Waiting {
    scope: Scope,
    bytes: usize,
    pub(super) decision: Box<dyn Decision>,
    _place: OwnedSemaphorePermit,
}

pub(super) trait Decision: Send {
    /// Adds to the draft; what it answers is kept until the commit is done.
    fn decide(&mut self, draft: &mut Draft<'_>) -> Result<()>;

    /// Nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;

    fn done(self: Box<Self>, outcome: Result<()>);
}

struct Deciding<F, T> {
    decide: F,
    value: Option<T>,
    answer: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut Draft<'_>) -> Result<T> + Send> Decision for Deciding<F, T> {
    fn decide(&mut self, draft: &mut Draft<'_>) -> Result<()> {
        self.value = Some((self.decide)(draft)?);
        Ok(())
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn done(self: Box<Self>, outcome: Result<()>) {
        let Self { value, answer, .. } = *self;
        let lost = || Error::new(500, "A decision was committed without a value");
        // Nobody waits any more where the client has gone.
        let _ = answer.send(outcome.and_then(|()| value.ok_or_else(lost)));
    }
}

struct Queue {
    waiting: VecDeque<Waiting>,
    places: Arc<Semaphore>,
    served: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), places: Arc::new(Semaphore::new(PLACES as usize)), served: false }
    }
}

/// The queues of contexts in which something waits or is being written.
#[derive(Default)]
pub(super) struct Queues(Mutex<HashMap<Context, Queue>>);

impl Queues {
    fn lock(&self) -> MutexGuard<'_, HashMap<Context, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    #[cfg(test)]
    pub(super) fn waiting(&self, context: &Context) -> usize {
        self.lock().get(context).map_or(0, |queue| queue.waiting.len())
    }

    /// What is to be committed next; where nothing waits, the queue is gone, and who serves it must end.
    fn next(&self, context: &Context) -> Option<Vec<Waiting>> {
        let mut queues = self.lock();
        let queue = queues.get_mut(context)?;
        queue.waiting.retain(|waiting| !waiting.decision.is_abandoned());
        let batch = take(&mut queue.waiting);
        if batch.is_empty() {
            queues.remove(context);
            return None;
        }
        Some(batch)
    }
}

impl Live {
    /// Decides and commits what adds about so many bytes. `decide` may be asked again where another instance was faster, and
    /// must not do anything but look and add. Once it is being committed it goes on, whether or not the caller still waits.
    pub async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        context: &Context,
        scope: Scope,
        bytes: usize,
        mut decide: impl FnMut(&mut Draft<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let own = move |draft: &mut Draft<'_>| {
            draft.require_own()?;
            decide(draft)
        };
        self.mirror(context, scope, bytes, own).await
    }

    /// The same, also where the store is a standby's: for what its leader says, and for the marker.
    pub(crate) async fn mirror<T: Send + 'static>(
        self: &Arc<Self>,
        context: &Context,
        scope: Scope,
        bytes: usize,
        decide: impl FnMut(&mut Draft<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let decision = Box::new(Deciding { decide, value: None, answer });
        let place = self.place(context, bytes).await?;
        self.enqueue(context, Waiting { scope, bytes, decision, _place: place });
        let lost = || Error::new(50001, "The registry is shutting down, and nothing was changed");
        answered.await.map_err(|_| lost())?
    }

    /// A place in the queue of a context, as soon as there is one.
    async fn place(&self, context: &Context, bytes: usize) -> Result<OwnedSemaphorePermit> {
        let cost = u32::try_from((bytes * GROWTH).div_ceil(1024).max(LEAST)).unwrap_or(PLACES).min(PLACES);
        // A queue that is not there has room.
        let places = self.queues.lock().get(context).map(|queue| Arc::clone(&queue.places));
        let places = places.unwrap_or_else(|| Queue::default().places);
        match tokio::time::timeout(PATIENCE, places.acquire_many_owned(cost)).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Error::new(
                50001,
                format!(
                    "Too many changes wait for context {context}, and this one was not made. Try again later"
                ),
            )),
        }
    }

    fn enqueue(self: &Arc<Self>, context: &Context, waiting: Waiting) {
        let mut queues = self.queues.lock();
        let places = Arc::clone(waiting._place.semaphore());
        let queue = queues.entry(context.clone()).or_insert_with(|| Queue { places, ..Queue::default() });
        queue.waiting.push_back(waiting);
        if !std::mem::replace(&mut queue.served, true) {
            tokio::spawn(serve(Serving { live: Arc::clone(self), context: context.clone() }));
        }
    }
}

/// Who serves a queue. If it panics, what waits is told so, and the next request finds no queue.
struct Serving {
    live: Arc<Live>,
    context: Context,
}

impl Drop for Serving {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.live.queues.lock().remove(&self.context);
        }
    }
}

async fn serve(serving: Serving) {
    let Serving { live, context } = &serving;
    while let Some(batch) = live.queues.next(context) {
        live.batch(context, batch).await;
    }
}

/// The first decision, and as many others as do not look at what an earlier one writes.
fn take(waiting: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let Some(first) = waiting.pop_front() else { return Vec::new() };
    let Scope::Subject(subject) = &first.scope else { return vec![first] };
    let mut subjects = HashSet::from([Arc::clone(subject)]);
    let mut bytes = first.bytes;
    let mut batch = vec![first];
    let mut rest = VecDeque::new();
    while let Some(next) = waiting.pop_front() {
        match &next.scope {
            Scope::Subject(subject)
                if batch.len() < BATCH
                    && bytes + next.bytes <= BATCH_BYTES
                    && subjects.insert(Arc::clone(subject)) =>
            {
                bytes += next.bytes;
                batch.push(next);
            }
            // What comes behind must not overtake it.
            Scope::Context => {
                rest.push_back(next);
                rest.append(waiting);
            }
            Scope::Subject(_) => rest.push_back(next),
        }
    }
    *waiting = rest;
    batch
}
