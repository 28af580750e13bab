//! Writing: one task a context, which takes what waits, decides it against one state and commits it as one.
//!
//! A decision is made where nothing else can be written between looking and writing; so "check and insert" is one step. Several
//! registrations become one commit, because a durable commit costs the same for one row and for fifty. Decisions that look at more
//! than their own subject are committed alone.

use super::Live;
use crate::error::{Error, Result};
use crate::names::Context;
use crate::schema::SchemaType;
use crate::state::ContextState;
use crate::store::{Change, Commit, Revision, SchemaId, SchemaRow, StoreError, Texts};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Requests that may wait for one context.
const WAITING: usize = 1024;
/// Decisions in one commit, and bytes of their texts.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 4 << 20;
/// Lost races before giving up. Every lost race is somebody else's commit.
const RACES: u32 = 100;

/// What a decision looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Its own subject, and what stays true whatever is registered under others.
    Subject(Arc<str>),
    /// More than that.
    Context,
}

/// A context as it will be after the decisions before this one, and what this one adds.
pub struct Draft<'a> {
    live: &'a Live,
    context: &'a Context,
    state: &'a ContextState,
    changes: Vec<Change>,
    texts: Vec<Texts>,
    guards: BTreeMap<Context, Revision>,
}

impl Draft<'_> {
    /// The context before this commit.
    pub fn state(&self) -> &ContextState {
        self.state
    }

    /// Another context, which must not have moved until this is committed.
    pub fn other<T>(&mut self, context: &Context, look: impl FnOnce(&ContextState) -> T) -> T {
        if context == self.context {
            return look(self.state);
        }
        self.live.read(context, |state| {
            self.guards.insert(context.clone(), state.head().revision);
            look(state)
        })
    }

    /// All contexts.
    pub fn contexts(&self) -> Vec<Context> {
        self.live.contexts()
    }

    /// Schemas that this commit brings.
    fn fresh(&self) -> impl Iterator<Item = &SchemaRow> {
        self.changes
            .iter()
            .filter_map(|change| if let Change::Schema(row) = change { Some(row) } else { None })
    }

    /// The ids of a content, the lowest first.
    pub fn ids_of(&self, identity: &[u8; 16]) -> Vec<SchemaId> {
        let fresh = self.fresh().find(|row| row.identity == *identity).map(|row| row.id);
        self.state.ids_of(identity).chain(fresh).collect()
    }

    /// The type of a content that an earlier decision of this commit has brought.
    pub fn fresh_type(&self, identity: &[u8; 16]) -> Option<SchemaType> {
        self.fresh().find(|row| row.identity == *identity).map(|row| row.schema_type)
    }

    /// The id that a new schema would get.
    pub fn next_id(&self) -> SchemaId {
        self.fresh().map(|row| row.id.saturating_add(1)).fold(self.state.head().next_id, SchemaId::max)
    }

    /// Adds a schema under its id.
    pub fn put_schema(&mut self, row: SchemaRow, texts: Texts) {
        self.changes.push(Change::Schema(row));
        self.texts.push(texts);
    }

    /// Adds a change.
    pub fn put(&mut self, change: Change) {
        self.changes.push(change);
    }
}

/// A decision that waits for its turn.
pub(super) struct Waiting {
    scope: Scope,
    bytes: usize,
    decision: Box<dyn Decision>,
}

trait Decision: Send {
    /// Adds to the draft; what it answers is kept until the commit is done.
    fn decide(&mut self, draft: &mut Draft<'_>) -> Result<()>;

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

    fn done(self: Box<Self>, outcome: Result<()>) {
        let Self { value, answer, .. } = *self;
        let lost = || Error::new(500, "A decision was committed without a value");
        // Nobody waits any more where the client has gone.
        let _ = answer.send(outcome.and_then(|()| value.ok_or_else(lost)));
    }
}

impl Live {
    /// Decides and commits what adds about so many bytes. `decide` may be asked again where another instance was faster, and
    /// must not do anything but look and add. Once this is called it goes on, whether or not the caller still waits.
    pub async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        context: &Context,
        scope: Scope,
        bytes: usize,
        decide: impl FnMut(&mut Draft<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let decision = Box::new(Deciding { decide, value: None, answer });
        let writer = self.writer(context);
        let lost = || Error::new(50001, "The registry is shutting down, and nothing was changed");
        writer.send(Waiting { scope, bytes, decision }).await.map_err(|_| lost())?;
        answered.await.map_err(|_| lost())?
    }

    fn writer(self: &Arc<Self>, context: &Context) -> mpsc::Sender<Waiting> {
        let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = writers.get(context).filter(|writer| !writer.is_closed());
        if let Some(writer) = known {
            return writer.clone();
        }
        let (writer, waiting) = mpsc::channel(WAITING);
        writers.insert(context.clone(), writer.clone());
        // It holds the registry weakly: with the registry its queue goes, and with the queue the task.
        tokio::spawn(serve(Arc::downgrade(self), context.clone(), waiting));
        writer
    }

    /// Decides a batch and commits it; answers every decision.
    async fn batch(&self, context: &Context, mut batch: Vec<Waiting>) {
        for _ in 0..RACES {
            if let Some(why) = self.broken() {
                return answer(batch, &Error::new(50001, format!("Nothing is written: {why}")));
            }
            let shared = self.shared_or_new(context);
            let (commit, decided) = {
                let state = shared.read().unwrap_or_else(PoisonError::into_inner);
                self.decide(context, &state, batch)
            };
            batch = decided;
            if batch.is_empty() {
                return;
            }
            let Some(commit) = commit else {
                return batch.into_iter().for_each(|waiting| waiting.decision.done(Ok(())));
            };
            match self.store.commit(&commit).await {
                Ok(head) => {
                    self.remember(&commit);
                    // Where a look at the store was faster, it has all of this already.
                    self.apply(context, commit.expected, head, commit.changes);
                    return batch.into_iter().for_each(|waiting| waiting.decision.done(Ok(())));
                }
                Err(StoreError::Conflict) => {
                    let followed = self.refresh(Duration::ZERO).await;
                    if let Err(error) = followed {
                        return answer(batch, &error);
                    }
                }
                Err(error) => {
                    // Whatever became of it: the next look finds out.
                    self.seen.store(0, std::sync::atomic::Ordering::Release);
                    return answer(batch, &error.into());
                }
            }
        }
        answer(batch, &StoreError::Conflict.into());
    }

    /// Decides all against one state. What is refused is answered here; the rest is given back with its commit, or without where
    /// nothing changes.
    fn decide(
        &self,
        context: &Context,
        state: &ContextState,
        batch: Vec<Waiting>,
    ) -> (Option<Commit>, Vec<Waiting>) {
        let head = state.head();
        let mut draft = Draft {
            live: self,
            context,
            state,
            changes: Vec::new(),
            texts: Vec::new(),
            guards: BTreeMap::new(),
        };
        let mut decided = Vec::with_capacity(batch.len());
        for mut waiting in batch {
            let (changes, texts) = (draft.changes.len(), draft.texts.len());
            match waiting.decision.decide(&mut draft) {
                Ok(()) => decided.push(waiting),
                Err(error) => {
                    draft.changes.truncate(changes);
                    draft.texts.truncate(texts);
                    waiting.decision.done(Err(error));
                }
            }
        }
        let next_id = draft.next_id();
        let Draft { changes, texts, guards, .. } = draft;
        let commit = (!changes.is_empty()).then(|| Commit {
            context: context.clone(),
            expected: head,
            guards: guards.into_iter().collect(),
            attempt: Uuid::new_v4(),
            next_id,
            changes,
            texts,
        });
        (commit, decided)
    }

    fn remember(&self, commit: &Commit) {
        for (row, texts) in commit.schemas().into_iter().flatten() {
            self.texts.insert(&commit.context, row.id, texts.clone());
        }
    }
}

fn answer(batch: Vec<Waiting>, error: &Error) {
    batch.into_iter().for_each(|waiting| waiting.decision.done(Err(error.clone())));
}

async fn serve(live: std::sync::Weak<Live>, context: Context, mut queue: mpsc::Receiver<Waiting>) {
    let mut waiting: VecDeque<Waiting> = VecDeque::new();
    loop {
        if waiting.is_empty() {
            match queue.recv().await {
                Some(next) => waiting.push_back(next),
                None => return,
            }
        }
        while let Ok(next) = queue.try_recv() {
            waiting.push_back(next);
        }
        let Some(live) = live.upgrade() else { return };
        let batch = take(&mut waiting);
        live.batch(&context, batch).await;
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
